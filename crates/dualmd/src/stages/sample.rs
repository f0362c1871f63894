//! Generating: every model from the same noise, and how near what it draws lies to its training images.

use super::attack::weight_set;
use super::draw::Draw;
use super::prepare::Images;
use super::score::Drawing;
use super::text::Told;
use super::{RunFolder, create_folder, files_in, hash_files, pictures, text};
use crate::choices::{self, Order};
use crate::engine::Engine;
use crate::plan::{Plan, Target};
use crate::reporter::meanwhile;
use crate::session::Session;
use anyhow::{Result, bail};
use dualmd_attack::nn;
use dualmd_attack::side::Steering;
use dualmd_data::{ImageSet, Record, drawn, grid, save_png};
use dualmd_defense::EnsembleDenoiser;
use dualmd_diffusion::latent::{Delayed, Early, Guided};
use dualmd_diffusion::lora;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::sampler::{SampleOptions, Sampler, Start, sample_in_rounds};
use dualmd_diffusion::{
    AdapterFolder, Condition, Contrasted, Denoiser, DiffusionError, DualDenoiser, Foreign, Model,
    ModelOrder, network_folder, raw_network_folder, scheduler_file,
};
use dualmd_files::{Building, shown};
use dualmd_record::folder::{NEAREST, PROMPTS};
use dualmd_record::samples::{HeldoutReference, Nearest, NearestPair, PromptedImage};
use dualmd_remote::RemoteDenoiser;
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Device, Tensor};
use std::path::{Path, PathBuf};

/// Pairs of generated and nearest training image that are kept for the report.
const PAIRS: usize = 12;
/// Pictures in a grid.
const GRID: usize = 32;

/// How images are generated.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Sampler.
    pub sampler: choices::Sampler,
    /// Network calls per image.
    pub steps: usize,
    /// Which of two models takes which step.
    pub order: Order,
    /// Images at a time.
    pub batch: usize,
    /// What is random about it follows from this.
    pub seed: u64,
}

/// The guidance that a plan has at first, if it has another there.
pub fn early_of(plan: &Plan) -> Option<Early> {
    let s = &plan.sample;
    s.guidance_from.map(|above| Early {
        above: i64::from(above),
        scale: s.early_guidance,
    })
}

/// What the models of a plan draw.
pub fn drawing_of(plan: &Plan) -> Drawing {
    let s = &plan.sample;
    Drawing {
        n: s.n,
        steps: s.steps,
        sampler: s.sampler,
        order: s.order,
        per_prompt: s.per_prompt,
        guidance: s.guidance,
    }
}

/// What conditional models are told while they draw.
pub struct Prompts {
    /// A text or a class for each image, N rows.
    pub condition: Condition,
    /// The empty text, or no label, one row.
    pub nothing: Condition,
    /// Guidance scale.
    pub guidance: f64,
}

impl Prompts {
    /// Images that there are prompts for.
    pub fn count(&self) -> usize {
        usize::try_from(self.condition.len()).unwrap_or(0)
    }

    /// The prompts of `n` images from `first` on.
    pub fn part(&self, first: i64, n: i64) -> Self {
        Self {
            condition: self.condition.narrow(first, n),
            nothing: self.nothing.again(),
            guidance: self.guidance,
        }
    }
}

/// One model, or two that alternate.
pub struct Generator {
    models: Models,
    /// The model that they were fine-tuned from, where images are drawn by the difference to it, and how far that is followed.
    base: Option<(Box<Model>, f64)>,
    /// Another guidance at first.
    early: Option<Early>,
    fingerprint: String,
}

/// A model's folder with the LoRA over it, if there is one.
struct Place {
    base: PathBuf,
    set: WeightSet,
    lora: Option<PathBuf>,
}

impl Place {
    /// Of a model's folder and a file of its own, or of an adapter's folder, which names its base.
    fn of(folder: &Path, lora: Option<&PathBuf>, set: WeightSet) -> Result<Self> {
        if let Some(lora) = lora {
            refuse_missing(lora)?;
        }
        Ok(match (AdapterFolder::of(folder, set)?, lora) {
            (Some(_), Some(lora)) => bail!(
                "{} is an adapter itself, to which {} cannot be added: name its base",
                folder.display(),
                lora.display()
            ),
            (Some(adapter), None) => Self {
                base: adapter.base,
                set: WeightSet::Ema,
                lora: Some(adapter.lora),
            },
            (None, lora) => Self {
                base: folder.to_owned(),
                set,
                lora: lora.cloned(),
            },
        })
    }
}

/// Refuses a LoRA whose file is not there, before anything is said of the model's kind.
///
/// # Errors
/// No such file; a folder that holds none.
pub fn refuse_missing(lora: &Path) -> Result<()> {
    let file = lora::path_of(lora);
    if !file.exists() {
        bail!(
            "{} is not there: --lora names a LoRA file, or the folder that holds one",
            shown(&file)
        );
    }
    Ok(())
}

/// The two LoRAs of two places over one base.
fn adapters_of_one_base(places: &[Place; 2]) -> Option<[&Path; 2]> {
    let [first, second] = places;
    let real = |place: &Place| place.base.canonicalize().ok();
    let same = first.set == second.set && real(first).is_some_and(|a| Some(a) == real(second));
    let (a, b) = first.lora.as_deref().zip(second.lora.as_deref())?;
    same.then_some([a, b])
}

enum Models {
    One(Box<Model>),
    /// DualMD.
    Two(Box<(Model, Model)>),
    /// Three or more, averaged.
    Many(Box<Model>, Vec<Model>),
}

impl Generator {
    /// Opens pipeline folders: one model, two that alternate, or more whose predictions are averaged.
    ///
    /// # Errors
    /// What cannot be opened; models with different schedules, or that are told different classes.
    pub fn open(folders: &[PathBuf], set: WeightSet, engine: &Engine) -> Result<Self> {
        Self::open_adapted(folders, &[], set, engine)
    }

    /// The same, each with the LoRA of a file of its own; none where `loras` is empty.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Model::with_lora`].
    pub fn open_adapted(
        folders: &[PathBuf],
        loras: &[PathBuf],
        set: WeightSet,
        engine: &Engine,
    ) -> Result<Self> {
        let alone = folders.len() == 1;
        let one = |folder: &Path, place: usize| -> Result<Model> {
            let place = Place::of(folder, loras.get(place), set)?;
            let Some(lora) = &place.lora else {
                return Ok(Model::load_to_ask(
                    &place.base,
                    place.set,
                    engine.precision,
                    engine.device,
                )?);
            };
            // What is added to the weights is added in f32.
            let model = Model::load(&place.base, place.set, engine.device)?;
            let adapted = match alone {
                true => model.with_lora(lora)?,
                // Several models are told the same.
                false => model.with_network_lora(lora)?,
            };
            Ok(adapted.with_precision(engine.precision))
        };
        let models = match folders {
            [only] => Models::One(Box::new(one(only, 0)?)),
            [first, second] => {
                let places = [
                    Place::of(first, loras.first(), set)?,
                    Place::of(second, loras.get(1), set)?,
                ];
                let [a, b] = match adapters_of_one_base(&places) {
                    Some(adapters) => {
                        // Their additions are computed beside it, so that it may be held in half precision.
                        let base = Model::load_to_ask(
                            &places[0].base,
                            places[0].set,
                            engine.precision,
                            engine.device,
                        )?;
                        let pair = base.adapted_twice(adapters)?;
                        pair.map(|model| model.with_precision(engine.precision))
                    }
                    None => [one(first, 0)?, one(second, 1)?],
                };
                same_classes(first, &a, second, &b)?;
                if a.schedule().config() != b.schedule().config() {
                    bail!(
                        "{} and {} have different noise schedules: they cannot take turns",
                        first.display(),
                        second.display()
                    );
                }
                Models::Two(Box::new((a, b)))
            }
            [] => bail!("a model is needed"),
            [first, others @ ..] => {
                let head = one(first, 0)?;
                let models = (others.iter().enumerate())
                    .map(|(place, folder)| one(folder, place + 1))
                    .collect::<Result<Vec<_>>>()?;
                for (model, folder) in models.iter().zip(others) {
                    same_classes(first, &head, folder, model)?;
                    if model.schedule().config() != head.schedule().config() {
                        bail!(
                            "{} and {} have different noise schedules: they cannot be averaged",
                            first.display(),
                            folder.display()
                        );
                    }
                }
                Models::Many(Box::new(head), models)
            }
        };
        let fingerprint = match loras {
            [] => fingerprint(folders, set)?,
            loras => hash_files(
                &[
                    files_of(folders, set)?,
                    loras.iter().flat_map(|l| lora::files_of(l)).collect(),
                ]
                .concat(),
            )?,
        };
        Ok(Self {
            models,
            base: None,
            early: None,
            fingerprint,
        })
    }

    /// The same, with another guidance at first wherever prompts are followed. Its fingerprint stays: whoever keeps images by it adds
    /// this to it.
    pub fn delayed(self, early: Option<Early>) -> Self {
        Self { early, ..self }
    }

    /// The same, drawing by what it learnt beyond `base`, the folder of the model that it was fine-tuned from:
    /// eps_base + weight (eps - eps_base), see [`Contrasted`].
    ///
    /// # Errors
    /// What cannot be opened; a base with another noise schedule, of other images, or that is told a text where the model is not.
    pub fn beyond(self, base: &Path, weight: f64, set: WeightSet, engine: &Engine) -> Result<Self> {
        let model = Model::load_to_ask(base, set, engine.precision, engine.device)?;
        let (own, other) = (self.first(), &model);
        let name = base.display();
        if own.schedule().config() != other.schedule().config() {
            bail!(
                "{name} has another noise schedule than the model: it is not what the model was fine-tuned from"
            );
        }
        let shapes = |m: &Model| (m.sample_shape(), m.image_shape(), Told::by(m));
        if shapes(own) != shapes(other) || own.labels() != other.labels() {
            bail!(
                "{name} draws images of another shape than the model, or is told a text or other classes where the model is not: it is not \
                 what the model was fine-tuned from"
            );
        }
        let of = fingerprint(&[base.to_path_buf()], set)?;
        let of = format!("{} {of} {weight}", self.fingerprint);
        Ok(Self {
            base: Some((Box::new(model), weight)),
            fingerprint: blake3::hash(of.as_bytes()).to_hex().to_string(),
            ..self
        })
    }

    /// A model in another process.
    pub fn remote(denoiser: RemoteDenoiser) -> Self {
        Self {
            fingerprint: denoiser.fingerprint().to_owned(),
            base: None,
            early: None,
            models: Models::One(Box::new(Model::Foreign(Box::new(denoiser)))),
        }
    }

    /// A denoiser of the caller's own; `fingerprint`: what its answers depend on.
    pub fn given(denoiser: impl Foreign + 'static, fingerprint: impl Into<String>) -> Self {
        Self {
            fingerprint: fingerprint.into(),
            base: None,
            early: None,
            models: Models::One(Box::new(Model::Foreign(Box::new(denoiser)))),
        }
    }

    /// BLAKE3 over the files that make the model: network configuration, weights, noise schedule. Of a model in another process, over
    /// what [`RemoteDenoiser::fingerprint`] says.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The (first) model.
    pub fn first(&self) -> &Model {
        match &self.models {
            Models::One(p) => p,
            Models::Two(pair) => &pair.0,
            Models::Many(first, _) => first,
        }
    }

    /// The two models of a pair.
    pub fn pair(&self) -> Option<[&dyn Denoiser; 2]> {
        match &self.models {
            Models::One(_) | Models::Many(..) => None,
            Models::Two(pair) => Some([&pair.0, &pair.1]),
        }
    }

    /// A denoiser for a sampling run (or for questions at single timesteps, answered by the model whose turn covers it).
    pub fn denoiser(&self, order: Order, timesteps: Vec<i64>, seed: u64) -> Box<dyn Denoiser + '_> {
        let tuned = self.of_models(order, timesteps, seed);
        match &self.base {
            None => tuned,
            Some((base, weight)) => Box::new(Contrasted {
                tuned,
                base: base.as_ref(),
                weight: *weight,
            }),
        }
    }

    /// As [`Self::denoiser`], without the base.
    fn of_models(&self, order: Order, timesteps: Vec<i64>, seed: u64) -> Box<dyn Denoiser + '_> {
        match &self.models {
            Models::One(p) => Box::new(p.as_ref()),
            Models::Many(first, others) => Box::new(EnsembleDenoiser::new(
                first.as_ref(),
                others.iter().collect(),
            )),
            Models::Two(pair) => {
                let order = match order {
                    Order::First => ModelOrder::FirstStarts,
                    Order::Second => ModelOrder::SecondStarts,
                    Order::RandomStart => ModelOrder::RandomStart,
                    Order::RandomStep => ModelOrder::RandomEachStep,
                };
                Box::new(DualDenoiser::new(&pair.0, &pair.1, order, timesteps, seed))
            }
        }
    }

    /// Generates one image per row of `noise`, which is of the shape that the network sees.
    pub fn sample(
        &self,
        noise: &Tensor,
        how: &Sampling,
        prompts: Option<&Prompts>,
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<Tensor> {
        let images: Vec<u64> = (0..noise.size()[0]).map(|i| i as u64).collect();
        self.sample_in_rounds(noise, &images, how, 1, prompts, go_on)
    }

    /// The same several times over, each round from one timestep further down: see [`sample_in_rounds`]. `images`: the number
    /// of each row, from which all that is random about it follows.
    pub fn sample_in_rounds(
        &self,
        noise: &Tensor,
        images: &[u64],
        how: &Sampling,
        rounds: usize,
        prompts: Option<&Prompts>,
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<Tensor> {
        let from = Start {
            x_t: noise,
            images,
            condition: None,
            known: None,
        };
        let made = self.undecoded(&from, how, rounds, prompts, go_on)?;
        decoded(self.first(), &made)
    }

    /// As [`Self::sample_in_rounds`], as the network makes it: images, or latents. `from`: what `prompts` tell comes in the place of its
    /// condition.
    pub(crate) fn undecoded(
        &self,
        from: &Start<'_>,
        how: &Sampling,
        rounds: usize,
        prompts: Option<&Prompts>,
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<Tensor> {
        let pipeline = self.first();
        let Sampling {
            steps, order, seed, ..
        } = *how;
        let timesteps = pipeline.schedule().sampling_timesteps(steps)?;
        let asked = || self.denoiser(order, timesteps.clone(), seed);
        let denoiser: Box<dyn Denoiser + '_> = match prompts {
            None => asked(),
            Some(prompts) => {
                let guided = |scale| Guided {
                    model: asked(),
                    unconditional: prompts.nothing.again(),
                    scale,
                };
                let late = guided(prompts.guidance);
                match self.early {
                    None => Box::new(late),
                    Some(Early { above, scale }) => Box::new(Delayed {
                        early: guided(scale),
                        late,
                        above,
                        level: pipeline.schedule().level(above),
                    }),
                }
            }
        };
        let from = Start {
            condition: prompts.map(|p| &p.condition),
            ..*from
        };
        self.drawn(denoiser.as_ref(), &from, how, rounds, go_on)
    }

    /// As [`Self::undecoded`] of a model that is told nothing, which a classifier leads.
    pub(crate) fn undecoded_led(
        &self,
        from: &Start<'_>,
        how: &Sampling,
        steering: Steering<'_>,
    ) -> Result<Tensor> {
        let schedule = self.first().schedule();
        let timesteps = schedule.sampling_timesteps(how.steps)?;
        let plain = self.denoiser(how.order, timesteps, how.seed);
        let led = steering.around(plain.as_ref(), schedule);
        self.drawn(&led, from, how, 1, |_| true)
    }

    /// What a denoiser makes of `from`, with the model's noise schedule and bounds.
    fn drawn(
        &self,
        denoiser: &dyn Denoiser,
        from: &Start<'_>,
        how: &Sampling,
        rounds: usize,
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<Tensor> {
        let pipeline = self.first();
        let sampler = match how.sampler {
            choices::Sampler::Ddim => Sampler::Ddim,
            choices::Sampler::Ddpm => Sampler::Ancestral {
                large_variance: pipeline.schedule().config().variance_type == "fixed_large",
            },
        };
        let options = SampleOptions {
            sampler,
            steps: how.steps,
            batch: how.batch,
            seed: how.seed,
            clip: pipeline.clip(),
            unbounded: pipeline.is_latent(),
        };
        Ok(sample_in_rounds(
            denoiser,
            pipeline.schedule(),
            from,
            &options,
            rounds,
            go_on,
        )?)
    }
}

/// Models that answer together are told the same: nothing, or the same classes.
fn same_classes(first: &Path, a: &Model, second: &Path, b: &Model) -> Result<()> {
    if a.labels() != b.labels() {
        bail!(
            "{} and {} are told different classes, or one of them is told none: they do not belong together",
            first.display(),
            second.display()
        );
    }
    Ok(())
}

/// Images of what a network made.
pub fn decoded(model: &Model, made: &Tensor) -> Result<Tensor> {
    if !model.is_latent() {
        return Ok(made.shallow_clone());
    }
    let parts = text::in_parts(made, |part| Ok(model.decode(part)?))?;
    Ok(Tensor::f_cat(&parts, 0)?)
}

/// BLAKE3 over the files of pipeline folders that decide what the models answer.
pub fn fingerprint(folders: &[PathBuf], set: WeightSet) -> Result<String> {
    hash_files(&files_of(folders, set)?)
}

fn files_of(folders: &[PathBuf], set: WeightSet) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in folders {
        // An adapter's folder names its base.
        let adapter = AdapterFolder::of(folder, set)?;
        let (folder, set) = match &adapter {
            Some(adapter) => (&adapter.base, WeightSet::Ema),
            None => (folder, set),
        };
        files.extend(adapter.iter().flat_map(|a| lora::files_of(&a.lora)));
        let network = network_folder(folder);
        let weights = match set {
            WeightSet::Ema => network.clone(),
            WeightSet::Raw => raw_network_folder(folder),
        };
        let safetensors = |path: &Path| path.extension().is_some_and(|e| e == "safetensors");
        files.extend(files_in(&weights, safetensors)?);
        // What turns texts into embeddings and latents into images, where there is such a thing.
        for part in [
            "text_encoder",
            "tokenizer",
            "text_encoder_2",
            "tokenizer_2",
            "vae",
            "vqvae",
        ] {
            let part = folder.join(part);
            if part.is_dir() {
                files.extend(files_in(&part, |_| true)?);
            }
        }
        files.push(network.join("config.json"));
        files.push(scheduler_file(folder));
    }
    Ok(files)
}

/// Samples from every audited model of a plan. Returns false if asked to stop before the end.
pub fn all(run: &RunFolder, plan: &Plan, images: &Images, session: &Session) -> Result<bool> {
    let reporter = session.reporter.as_ref();
    for target in &plan.models {
        if session.stopped() {
            return Ok(false);
        }
        let folder = run.samples(&target.name);
        if folder.join(NEAREST).exists() {
            if !compared(&folder)? {
                let generated = of_members(plan, images, read_samples(run, &target.name)?);
                meanwhile(reporter, &target.name, "nearest images", || {
                    nearest_of_run(plan, images, &folder, &generated)
                })?;
            }
            continue;
        }
        drawn::room(&folder, true)?;
        let generated = meanwhile(reporter, &target.name, "generating", || {
            generate(run, plan, target, images, session)
        });
        let generated = match generated {
            Ok(generated) => generated,
            Err(error) if stopped(&error) => return Ok(false),
            Err(error) => {
                return Err(error.context(format!("sampling from {} failed", target.name)));
            }
        };
        write_samples(&folder, &generated, true)?;
        if plan.model.text {
            let asked =
                prompted(images).map(|(r, member)| (r.id.as_str(), member, &r.captions[..]));
            write_prompts(&folder, asked, plan.sample.per_prompt)?;
        }
        let generated = of_members(plan, images, generated);
        meanwhile(reporter, &target.name, "nearest images", || {
            nearest_of_run(plan, images, &folder, &generated)
        })?;
        session.reporter.finished(
            &target.name,
            &format!("{} images drawn", generated.size()[0]),
        );
    }
    Ok(true)
}

/// Does `nearest.json` hold the comparison at equal numbers? Those of earlier versions do not; the images that were drawn are still
/// there.
///
/// # Errors
/// A newer version of this program wrote it.
fn compared(folder: &Path) -> Result<bool> {
    let file: Option<Nearest> = dualmd_record::read_if_usable(&folder.join(NEAREST))?;
    Ok(file.is_some_and(|file| file.equal.is_some()) || !folder.join("samples.npy").exists())
}

fn nearest_of_run(plan: &Plan, images: &Images, folder: &Path, generated: &Tensor) -> Result<()> {
    let (set, members) = images.held()?;
    let positions: Vec<usize> = (0..set.len()).collect();
    let (members, nonmembers) = positions.split_at(members);
    let side = |positions| Side {
        set: &set,
        positions,
    };
    write_nearest(
        folder,
        generated,
        side(members),
        side(nonmembers),
        images.alone(),
        plan.seed,
        plan.model.text,
    )
}

fn generate(
    run: &RunFolder,
    plan: &Plan,
    target: &Target,
    images: &Images,
    session: &Session,
) -> Result<Tensor> {
    let folders: Vec<PathBuf> = target.parts.iter().map(|p| run.model(p)).collect();
    let generator = Generator::open(&folders, weight_set(plan.audit.weights), &session.engine)?
        .delayed(early_of(plan));
    let told = Told::by(generator.first());
    let words = prompted(images).map(|(record, _)| told.words(images.set(), record));
    let words = words.collect::<Result<Vec<_>>>()?;
    let words: Vec<&[String]> = words.iter().map(Vec::as_slice).collect();
    let draw = Draw {
        generator: &generator,
        name: &target.name,
        words: Some(&words),
        label_guidance: plan.sample.label_guidance,
        shape: images.set().shape(),
        drawing: drawing_of(plan),
        batch: plan.sample.batch,
        seed: plan.seed,
    };
    draw.images(session, None)
}

/// Pictures whose captions are the prompts of a run's images: all members, then all non-members.
fn prompted(images: &Images) -> impl Iterator<Item = (&Record, bool)> {
    let (s, set) = (&images.selected, images.set());
    let record = |i: &usize| &set.records[*i];
    let members = s.members.iter().map(move |i| (record(i), true));
    members.chain(s.nonmembers.iter().map(move |i| (record(i), false)))
}

/// `prompts.json`: what each image was drawn for. `asked`: of every sample its id, whether it is a member, and its captions, of
/// which the first was drawn for `each` times.
pub fn write_prompts<'a>(
    folder: &Path,
    asked: impl IntoIterator<Item = (&'a str, bool, &'a [String])>,
    each: usize,
) -> Result<()> {
    let mut entries = Vec::new();
    for (id, member, captions) in asked {
        for _ in 0..each {
            entries.push(PromptedImage {
                png: drawn::image_name(entries.len()),
                prompt: captions.first().cloned(),
                id: id.to_owned(),
                member,
            });
        }
    }
    Ok(dualmd_record::write_list(&folder.join(PROMPTS), &entries)?)
}

/// The images drawn for members' captions, of all that a model of the plan drew; all of them of an unconditional model.
pub fn of_members(plan: &Plan, images: &Images, generated: Tensor) -> Tensor {
    if !plan.model.text {
        return generated;
    }
    let n = images.selected.members.len() * plan.sample.per_prompt;
    generated.narrow(0, 0, n as i64)
}

/// Was this a request to stop, and no failure?
pub fn stopped(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(DiffusionError::Stopped))
}

/// `samples.npy`, `NNNN.png` and `grid.png`, in place of those of an earlier call. `own`: the folder is this program's by its
/// place, within a run's.
///
/// # Errors
/// A folder that holds other pictures ([`drawn::room`] says so before the work) or cannot be written.
pub fn write_samples(folder: &Path, generated: &Tensor, own: bool) -> Result<()> {
    create_folder(folder)?;
    drawn::clear(&drawn::room(folder, own)?)?;
    let pictures = pictures::pictures(generated)?;
    // First: it says of which pictures the folder is.
    write_npy(&folder.join(drawn::ARRAY), generated)?;
    for (i, picture) in pictures.iter().enumerate() {
        save_png(&folder.join(drawn::image_name(i)), picture)?;
    }
    Ok(save_png(
        &folder.join(drawn::SHEET),
        &grid(&pictures[..pictures.len().min(GRID)], 8, 1),
    )?)
}

/// The images drawn by a model of a run, as the sampling stage left them.
pub fn read_samples(run: &RunFolder, name: &str) -> Result<Tensor> {
    Ok(read_npy(&run.samples(name).join(drawn::ARRAY))?)
}

/// Some pictures of a set.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The set.
    pub set: &'a ImageSet,
    /// Positions in it.
    pub positions: &'a [usize],
}

impl Side<'_> {
    /// [N, C, H, W] f32 in [-1, 1] on the CPU.
    pub fn tensor(&self) -> Tensor {
        pictures::tensor(self.set, self.positions)
    }
}

/// `nearest.json`: the generated images that lie nearest to a member, with the distance unseen images have as yardstick, and all of
/// them against as many members as unseen images, of these one of each group (`alone`, places in the sides' positions). `prompted`: they were drawn for captions of members, near whose images they lie
/// for that alone; then there is no such comparison.
pub fn write_nearest(
    folder: &Path,
    generated: &Tensor,
    members: Side<'_>,
    heldout: Side<'_>,
    alone: Option<[Vec<usize>; 2]>,
    seed: u64,
    prompted: bool,
) -> Result<()> {
    let (trained, unseen) = (members.tensor(), heldout.tensor());
    let generated = generated.to_device(Device::Cpu);
    let to_members = nn::nearest(&generated, &trained)?;
    let to_heldout = nn::nearest(&generated, &unseen)?;
    let reference = nn::nearest(&unseen, &trained)?;
    let equal = match prompted {
        true => None,
        false => match alone {
            None => super::nearer::measure(&generated, members, heldout, seed)?,
            Some(places) => {
                let [own, others] = places;
                let of = |side: Side<'_>, places: &[usize]| -> Vec<usize> {
                    places.iter().map(|&i| side.positions[i]).collect()
                };
                let (own, others) = (of(members, &own), of(heldout, &others));
                let members = Side {
                    positions: &own,
                    ..members
                };
                let heldout = Side {
                    positions: &others,
                    ..heldout
                };
                super::nearer::measure(&generated, members, heldout, seed)?
            }
        },
    };
    let mut order: Vec<usize> = (0..to_members.len()).collect();
    order.sort_by(|&a, &b| to_members[a].distance.total_cmp(&to_members[b].distance));
    // As with the exposed members: the list speaks of pictures that are there; those of an earlier call are of other images.
    let list = folder.join(NEAREST);
    super::remove(&list)?;
    create_folder(folder)?;
    let building = Building::new(&folder.join(drawn::NEAREST))?;
    let mut pairs = Vec::new();
    for &i in order.iter().take(PAIRS) {
        let record = &members.set.records[members.positions[to_members[i].index]];
        let id = record.id.as_str();
        save_png(&building.path().join(format!("{id}.png")), &record.picture)?;
        pairs.push(NearestPair {
            sample: drawn::image_name(i),
            member_id: id.to_owned(),
            member_png: format!("nearest/{id}.png"),
            distance: Some(to_members[i].distance),
            heldout_distance: Some(to_heldout[i].distance),
        });
    }
    let distances = |list: &[nn::Nearest]| list.iter().map(|n| n.distance).collect::<Vec<_>>();
    building.finish()?;
    let nearest = Nearest {
        n_generated: Some(to_members.len().into()),
        pairs,
        median_distance_members: quantile(distances(&to_members), 0.5),
        median_distance_heldout: quantile(distances(&to_heldout), 0.5),
        heldout_reference: HeldoutReference {
            q05: quantile(distances(&reference), 0.05),
            median: quantile(distances(&reference), 0.5),
        },
        equal: Some(equal),
        prompted,
    };
    Ok(dualmd_record::write(&list, &nearest)?)
}

/// The q-quantile by linear interpolation; None of nothing.
fn quantile(mut values: Vec<f64>, q: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let at = q * values.len().checked_sub(1)? as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    Some(values[low] + (values[high] - values[low]) * at.fract())
}

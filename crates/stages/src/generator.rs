//! A model that generates: one, several that answer together, or what it learnt beyond its base.

use super::text::{self, Prompts, Told};
use super::{files_in, hash_files};
use crate::choices::{self, Order, Weights};
use crate::engine::Engine;
use anyhow::{Result, bail};
use dualmd_attack::side::Steering;
use dualmd_defense::EnsembleDenoiser;
use dualmd_diffusion::latent::{Delayed, Early, Guided};
use dualmd_diffusion::lora;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::sampler::{SampleOptions, Sampler, Start, sample_in_rounds};
use dualmd_diffusion::{
    AdapterFolder, Contrasted, Denoiser, DiffusionError, DualDenoiser, Foreign, Model, ModelOrder,
    network_folder, raw_network_folder, scheduler_file,
};
use dualmd_files::shown;
use dualmd_remote::RemoteDenoiser;
use dualmd_torch::Tensor;
use std::path::{Path, PathBuf};

/// Which weights a choice means.
pub fn weight_set(weights: Weights) -> WeightSet {
    match weights {
        Weights::Ema => WeightSet::Ema,
        Weights::Raw => WeightSet::Raw,
    }
}

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
    pub fn undecoded(
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
    pub fn undecoded_led(
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

/// Was this a request to stop, and no failure?
pub fn stopped(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(DiffusionError::Stopped))
}

//! Images of models, wherever they were trained, and single calls of their networks.

use crate::bail_usage;
use crate::choices::{self, ImageFormat, Order, Weights};
use crate::reporter::{ProgressEvent, Work, meanwhile};
use crate::room;
use crate::session::Session;
use crate::stages::batches::InBatches;
use crate::stages::generator::{Generator, Sampling, decoded, refuse_missing, weight_set};
use crate::stages::hashes::hash_tensor;
use crate::stages::held::Held;
use crate::stages::mitigation::{self, Drawing};
use crate::stages::sample::write_samples;
use crate::stages::score::parts::{self, Folder};
use crate::stages::text::{Encoded, Prompts, Told};
use anyhow::{Context, Result, bail};
use dualmd_attack::memorisation::Mitigation;
use dualmd_attack::{Batches, Share};
use dualmd_data::drawn;
use dualmd_diffusion::latent::Early;
use dualmd_diffusion::latent::sail::Sail;
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{Denoiser, Labels, Model};
use dualmd_files::limit;
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Kind, Tensor, no_grad};
use std::path::{Path, PathBuf};

pub use crate::options::PredictOptions;

/// Guidance of text-to-image models where none is asked for: that of Stable Diffusion's pipeline.
const TEXT_GUIDANCE: f64 = 7.5;

/// What is to be generated.
#[derive(Debug, Clone)]
pub struct SampleOptions {
    /// One pipeline folder, or two that alternate.
    pub models: Vec<PathBuf>,
    /// LoRA files: one for each model, or two over one model, which then take turns. Empty: none.
    pub loras: Vec<PathBuf>,
    /// Images.
    pub n: usize,
    /// Sampler.
    pub sampler: choices::Sampler,
    /// Network calls per image.
    pub steps: usize,
    /// Begin with this noise, an npy file of f32 [N, C, H, W], instead of drawing it.
    pub noise: Option<PathBuf>,
    /// What a text-to-image model is told, or the class (its name or number) of a class-conditional one.
    pub prompt: Option<String>,
    /// A file of prompts, one a line: image i is drawn for line i, from the first again after the last.
    pub prompts: Option<PathBuf>,
    /// How strongly the prompt is followed (classifier-free guidance); 1: as learnt. `None`: 7.5 of a text-to-image model, 1 of a
    /// class-conditional one.
    pub guidance: Option<f64>,
    /// Another guidance while there is much noise.
    pub early: Option<Early>,
    /// What is done about remembered prompts.
    pub remedy: Option<Mitigation>,
    /// Other noise is looked for to start from, from which prompts do not call up images by heart.
    pub sail: Option<Sail>,
    /// Which of two models takes which step.
    pub order: Order,
    /// Which of the models' weights.
    pub weights: Weights,
    /// Images at a time.
    pub batch: usize,
    /// Folder for the images; those of an earlier call in it are removed, other pictures in it are refused.
    pub out: PathBuf,
    /// How they are written.
    pub format: ImageFormat,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Generates images. What several processes generated before ([`sample_part`]) is taken from where they left it.
///
/// # Errors
/// What cannot be read; more images than the machine holds; a stop that was asked for
/// ([`stopped`](crate::stages::generator::stopped)).
pub fn sample(session: &Session, args: &SampleOptions) -> Result<()> {
    let _held = Held::open_folder(&args.out, session.reporter.as_ref())?;
    // Before hours of work, not after.
    drawn::room(&args.out, false)?;
    let asked = Asked::open(session, args)?;
    let shared = parts::is_shared(&parts::beside(&asked.array()));
    let images = match shared {
        true => asked.gathered(session)?,
        false => asked.generated(session)?,
    };
    match args.format {
        ImageFormat::Npy => {
            drawn::clear(&drawn::room(&args.out, false)?)?;
            write_npy(&asked.array(), &images)?;
        }
        ImageFormat::Png => write_samples(&args.out, &images, false)?,
    }
    if shared {
        parts::remove(&asked.array())?;
    }
    session.reporter.done(
        "sample",
        &format!("{} images in {}", args.n, args.out.display()),
    );
    Ok(())
}

/// Does what one of several processes has to do for [`sample`]: it generates the batches of its share and leaves them in the folder
/// `out`, without pictures. [`sample`] with the same options takes them from there. All processes see one file system.
///
/// # Errors
/// As [`sample`]; [`sample`] is at work there; what processes with other options left.
pub fn sample_part(session: &Session, args: &SampleOptions, share: Share) -> Result<Batches> {
    let _held = Held::share_open_folder(&args.out, session.reporter.as_ref())?;
    drawn::room(&args.out, false)?;
    let asked = Asked::open(session, args)?;
    let parts = Folder::share(&parts::beside(&asked.array()), &asked.key(session)?)?;
    let batches = asked
        .in_batches(&parts)
        .share(share, || asked.prompts(session), session)?;
    let said = format!("part {share}: {batches}");
    session.reporter.done("sample", &said);
    Ok(batches)
}

/// What is to be generated, with the model and the noise.
struct Asked<'a> {
    args: &'a SampleOptions,
    /// The (first) model's folder.
    model: &'a Path,
    generator: Generator,
    /// [N, C, H, W], one row for each image.
    noise: Tensor,
}

impl<'a> Asked<'a> {
    fn open(session: &Session, args: &'a SampleOptions) -> Result<Self> {
        let (engine, folders) = (&session.engine, &args.models);
        let Some(model) = folders.first() else {
            bail_usage!("no model is named");
        };
        let bases = match (folders.len(), args.loras.len()) {
            (1, 2) => vec![model.clone(), model.clone()],
            (n, l) if l == 0 || l == n => folders.clone(),
            (n, l) => bail_usage!(
                "--lora: {l} files for {n} models; name one for each model, or two for one model, which then take turns"
            ),
        };
        let generator =
            Generator::open_adapted(&bases, &args.loras, weight_set(args.weights), engine)?
                .delayed(args.early);
        if let Some(class) = generator.first().schedule().config().other_sampler() {
            session.say(&format!(
                "note: {}: its scheduler is {class}; this program draws with {} in its place, so images differ from those of diffusers",
                model.display(),
                args.sampler
            ));
        }
        let noise = match &args.noise {
            Some(path) => {
                let noise = read_npy(path)?
                    .to_kind(Kind::Float)
                    .to_device(engine.device);
                if noise.dim() != 4 {
                    bail!(
                        "{}: shape {:?}, expected [N, C, H, W]",
                        path.display(),
                        noise.size()
                    );
                }
                let rows = noise.size()[0];
                if (rows as usize) < args.n {
                    bail!(
                        "{} holds noise for {rows} images, {} are asked for",
                        path.display(),
                        args.n
                    );
                }
                noise.narrow(0, 0, args.n as i64)
            }
            None => {
                let shape = generator.first().sample_shape().with_context(|| {
                    format!(
                        "{}: unet/config.json gives no sample_size; add it",
                        model.display()
                    )
                })?;
                room::check(generator.first(), args.n, args.batch, shape)?;
                initial_noise(args.seed, args.n, shape, engine.device)
            }
        };
        let mut asked = Self {
            args,
            model,
            generator,
            noise,
        };
        if let Some(options) = &args.sail {
            asked.noise = asked.elsewhere(session, options)?;
        }
        Ok(asked)
    }

    /// What images start from in place of their noise (SAIL).
    fn elsewhere(&self, session: &Session, options: &Sail) -> Result<Tensor> {
        let args = self.args;
        let Some((prompts, _)) = prompts(args, &self.generator, self.model)? else {
            bail_usage!(
                "--sail is about what a prompt calls up in a text-to-image model, and {} is told no text",
                self.model.display()
            );
        };
        let drawing = Drawing {
            generator: &self.generator,
            noise: &self.noise,
            steps: args.steps,
            order: args.order,
            seed: args.seed,
        };
        let (noise, reached) =
            mitigation::begin_elsewhere(&drawing, &prompts, args.batch, options)?;
        session.say(&format!(
            "sail: {reached} of {} images start where the loss is at most {}",
            args.n, options.target
        ));
        Ok(noise)
    }

    /// The array of all images, beside which parts lie.
    fn array(&self) -> PathBuf {
        self.args.out.join(drawn::ARRAY)
    }

    fn how(&self) -> Sampling {
        Sampling {
            sampler: self.args.sampler,
            steps: self.args.steps,
            order: self.args.order,
            batch: self.args.batch,
            seed: self.args.seed,
        }
    }

    /// What the model is told for each image, after what is done about remembered prompts.
    fn prompts(&self, session: &Session) -> Result<Option<Prompts>> {
        let args = self.args;
        let mut prompts = prompts(args, &self.generator, self.model)?;
        match (&mut prompts, &args.remedy) {
            (Some((prompts, of)), Some(options)) => {
                let drawing = Drawing {
                    generator: &self.generator,
                    noise: &self.noise,
                    steps: args.steps,
                    order: args.order,
                    seed: args.seed,
                };
                let all = mitigation::remedy(&drawing, prompts, of, options)?;
                for found in &all {
                    let reached = if found.reached {
                        "reached"
                    } else {
                        "not reached"
                    };
                    let said = format!("mitigate: losses {:?}, target {reached}", found.losses);
                    session.reporter.detail(&said);
                }
            }
            (None, Some(_)) => bail_usage!(
                "--mitigate changes what a prompt says to a text-to-image model, and {} is told no text",
                self.model.display()
            ),
            _ => {}
        }
        Ok(prompts.map(|(prompts, _)| prompts))
    }

    /// The images, generated by this process alone.
    fn generated(&self, session: &Session) -> Result<Tensor> {
        let prompts = self.prompts(session)?;
        let began = std::time::Instant::now();
        let told = |done| {
            let event = ProgressEvent::images("", done, self.args.n, began).doing("sample");
            session.reporter.progress(&event.of(Work::Generate));
            !session.stopped()
        };
        meanwhile(session.reporter.as_ref(), "", "sample", || {
            self.generator
                .sample(&self.noise, &self.how(), prompts.as_ref(), told)
        })
    }

    /// The images of which other processes generated parts.
    fn gathered(&self, session: &Session) -> Result<Tensor> {
        let parts = Folder::open(&parts::beside(&self.array()), &self.key(session)?)?;
        let made = self
            .in_batches(&parts)
            .gather(|| self.prompts(session), session)?;
        let made = made.f_to_device(session.engine.device)?;
        decoded(self.generator.first(), &made)
    }

    fn in_batches<'b>(&'b self, parts: &'b Folder) -> InBatches<'b> {
        InBatches {
            name: "",
            generator: &self.generator,
            noise: &self.noise,
            known: None,
            steering: None,
            how: self.how(),
            parts,
        }
    }

    /// The hash of all that the images depend on.
    fn key(&self, session: &Session) -> Result<String> {
        let args = self.args;
        let noise = args.noise.as_ref().map(|_| hash_tensor(&self.noise));
        let of = format!(
            "{} {} {} {:?} {} {} {} {} {} {:?} {:?} {:?} {:?} {:?} {:?}",
            self.generator.fingerprint(),
            session.engine.precision.name(),
            args.weights,
            self.noise.size(),
            args.sampler,
            args.steps,
            args.order,
            args.batch,
            args.seed,
            noise.transpose()?,
            lines(args)?,
            args.guidance,
            args.remedy,
            args.early,
            args.sail
        );
        Ok(blake3::hash(of.as_bytes()).to_hex().to_string())
    }
}

/// The texts that --prompt and --prompts give; none of neither.
fn lines(args: &SampleOptions) -> Result<Vec<String>> {
    Ok(match (&args.prompt, &args.prompts) {
        (Some(prompt), _) => vec![prompt.clone()],
        (None, Some(file)) => {
            let text = dualmd_files::read_text(file, limit::TABLE)?;
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.is_empty() {
                bail!("{}: holds no prompt; write one a line", file.display());
            }
            lines
        }
        (None, None) => Vec::new(),
    })
}

/// What a conditional model is told for each image: --prompt, or the lines of --prompts in turn; where a class-conditional one is given
/// neither, its classes in turn.
/// Also says which line each image is drawn for.
fn prompts(
    args: &SampleOptions,
    generator: &Generator,
    folder: &Path,
) -> Result<Option<(Prompts, Vec<usize>)>> {
    let lines = lines(args)?;
    let model = generator.first();
    let (lines, guidance) = match Told::by(model) {
        Told::Nothing if lines.is_empty() => return Ok(None),
        Told::Nothing => bail!(
            "{}: this model is told no text; leave --prompt and --prompts out",
            folder.display()
        ),
        // Its classes in turn.
        Told::Class if lines.is_empty() => (model.labels().map_or_else(Vec::new, Labels::all), 1.0),
        Told::Class => (lines, 1.0),
        Told::Captions if lines.is_empty() => (vec![String::new()], TEXT_GUIDANCE),
        Told::Captions => (lines, TEXT_GUIDANCE),
    };
    let guidance = args.guidance.unwrap_or(guidance);
    let of: Vec<usize> = (0..args.n).map(|i| i % lines.len()).collect();
    let texts: Vec<[String; 1]> = of.iter().map(|&line| [lines[line].clone()]).collect();
    let texts: Vec<&[String]> = texts.iter().map(|t| t.as_slice()).collect();
    let encoded = Encoded::of(model, &texts)?;
    let prompts = Prompts {
        condition: encoded.main(1),
        nothing: encoded.nothing(),
        guidance,
    };
    Ok(Some((prompts, of)))
}

/// One call of the network, for parity checks.
///
/// # Errors
/// Files that cannot be read; timesteps outside the schedule; shapes that the network does not take.
pub fn predict(session: &Session, args: &PredictOptions) -> Result<()> {
    let engine = &session.engine;
    if let Some(lora) = &args.lora {
        refuse_missing(lora)?;
    }
    let model = Model::load(&args.model, weight_set(args.weights), engine.device)?;
    let model = match &args.lora {
        Some(lora) => model.with_lora(lora)?,
        None => model,
    };
    let model = model.with_precision(engine.precision);
    let x = read_npy(&args.x)?
        .to_kind(Kind::Float)
        .to_device(engine.device);
    let t = read_npy(&args.t)?
        .to_kind(Kind::Int64)
        .to_device(engine.device);
    let last = model.schedule().len() as i64 - 1;
    if t.numel() > 0 && (i64::try_from(t.min())? < 0 || i64::try_from(t.max())? > last) {
        bail!(
            "{}: timesteps must lie between 0 and {last}",
            args.t.display()
        );
    }
    let condition = match (Told::by(&model), &args.prompt) {
        (Told::Captions | Told::Class, prompt) => {
            let prompt = prompt.as_deref().unwrap_or_default();
            let n = x.size().first().copied().unwrap_or(0);
            Some(model.told(&[prompt])?.expand(n)?)
        }
        (Told::Nothing, Some(_)) => bail!(
            "{}: this model is told no text; leave --prompt out",
            args.model.display()
        ),
        (Told::Nothing, None) => None,
    };
    let eps = no_grad(|| model.predict_noise(&x, &t, condition.as_ref()))
        .with_context(|| format!("{}", args.x.display()))?;
    write_npy(&args.out, &eps)?;
    Ok(())
}

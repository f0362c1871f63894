//! The images that are generated, batch by batch, and what they cost.

use super::hidden::Restored;
use super::led::Led;
use super::searched::Searched;
use super::{ExtractOptions, IMAGES};
use crate::audit::Sides;
use crate::room;
use crate::session::Session;
use crate::stages::batches::InBatches;
use crate::stages::generator::{Generator, Sampling, decoded};
use crate::stages::hashes::hash_tensor;
use crate::stages::score::parts::{self, Folder};
use crate::stages::text::{Encoded, Prompts, Told, in_parts, in_turn};
use anyhow::{Context, Result};
use dualmd_diffusion::Condition;
use dualmd_diffusion::sampler::{Known, initial_noise};
use dualmd_record::extraction::{self as record, ExtractionCost};
use dualmd_torch::{Device, Tensor, no_grad};
use std::time::Instant;

/// What is to be generated.
pub(super) struct Drawing<'a> {
    pub(super) session: &'a Session,
    pub(super) args: &'a ExtractOptions,
    pub(super) generator: &'a Generator,
    /// What the model is told of every image that is asked for, its captions or its class; `None` where none is asked for in particular,
    /// or nothing is told.
    pub(super) words: Option<&'a [&'a [String]]>,
    /// The images that are asked for, where they are to be restored.
    pub(super) restored: Option<&'a Restored>,
    /// The images that are asked for, where what the model is told of them is searched for.
    pub(super) searched: Option<&'a Searched>,
    /// How the model is led, where it is.
    pub(super) led: Option<Led<'a>>,
}

/// Generated images.
pub(super) struct Drawn {
    /// [N, C, H, W] in [-1, 1] on the CPU.
    pub(super) images: Tensor,
    /// How many of them this call generated.
    pub(super) now: usize,
    /// Seconds that these took.
    pub(super) seconds: f64,
    /// How the model was led.
    pub(super) led: Option<record::Led>,
}

impl Drawn {
    /// How many.
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.images.size().first().copied().unwrap_or(0)).unwrap_or(0)
    }
}

impl Drawing<'_> {
    /// Generates the images, or those of them that no earlier call left.
    ///
    /// # Errors
    /// More than the machine holds; what the model refuses; a stop that was asked for.
    pub(super) fn images(&self, sides: &Sides) -> Result<Drawn> {
        let (session, args) = (self.session, self.args);
        let (model, device) = (self.generator.first(), session.engine.device);
        let asked = match (self.restored, self.words) {
            (Some(restored), _) => Some(restored.count()),
            (None, words) => words.map(<[_]>::len),
        };
        let n = asked.map_or(args.images, |asked| asked * args.per_prompt);
        let shape = model
            .sample_shape()
            .unwrap_or_else(|| sides.members.shape().map(|d| d as i64));
        room::check(model, n, args.batch, shape).context(
            "--images, or --per-prompt and --captions, say how many images are generated",
        )?;
        let noise = initial_noise(args.seed, n, shape, device);
        let key = self.key(&noise.size(), sides)?;
        if let Some(led) = &self.led {
            return led.images(self, &noise, &key);
        }
        let folder = Folder::open(&parts::beside(&args.out.join(IMAGES)), &key)?;
        let known = self.restored.map(|restored| self.known(restored));
        let known = known.transpose()?;
        let in_batches = InBatches {
            name: "",
            generator: self.generator,
            noise: &noise,
            known: known
                .as_ref()
                .map(|[images, given]| Known { images, given }),
            steering: None,
            how: self.how(args.seed),
            parts: &folder,
        };
        let (there, began) = (in_batches.there(), Instant::now());
        let prompts = || self.prompts(n, sides, &folder);
        let made = in_batches.gather(prompts, session)?;
        let seconds = began.elapsed().as_secs_f64();
        let images = decoded(model, &made.f_to_device(device)?)
            .context("what the model made cannot be turned into images")?;
        Ok(Drawn {
            images: images.f_to_device(Device::Cpu)?,
            now: n.saturating_sub(there),
            seconds,
            led: None,
        })
    }

    /// How images are generated, all that is random about it from this seed.
    pub(super) fn how(&self, seed: u64) -> Sampling {
        let args = self.args;
        Sampling {
            sampler: args.sampler,
            steps: args.steps,
            order: args.order,
            batch: args.batch,
            seed,
        }
    }

    /// What the model is told, for each of `n` images; `parts`: where embeddings are kept that were searched for.
    fn prompts(&self, n: usize, sides: &Sides, parts: &Folder) -> Result<Option<Prompts>> {
        let model = self.generator.first();
        let told = Told::by(model);
        if let Some(words) = self.words {
            let encoded = Encoded::of(model, words)?;
            let condition = match self.searched {
                None => encoded.main(self.args.per_prompt),
                Some(searched) => {
                    let found = searched.embeddings(self, parts, &encoded.main(1))?;
                    Condition::of_text(self.each(&found)?)
                }
            };
            return Ok(Some(Prompts {
                condition,
                nothing: encoded.nothing(),
                guidance: match told {
                    Told::Captions => self.args.guidance,
                    Told::Class | Told::Nothing => 1.0,
                },
            }));
        }
        let classes = sides.texts().filter(|_| told == Told::Class);
        let classes = classes.map(|classes| in_turn(model, &classes, n, 1.0));
        classes.transpose()
    }

    /// What the network sees of the images that are to be restored, each as often as it is, and where that is given.
    fn known(&self, restored: &Restored) -> Result<[Tensor; 2]> {
        let (model, device) = (self.generator.first(), self.session.engine.device);
        let seen = |part: &Tensor| -> Result<Tensor> {
            Ok(no_grad(|| model.encode(&part.f_to_device(device)?))?)
        };
        let images = Tensor::f_cat(&in_parts(&restored.shown, seen)?, 0)?;
        Ok([self.each(&images)?, restored.hidden.given(device)?])
    }

    /// Every row as often as its image is asked for.
    fn each(&self, rows: &Tensor) -> Result<Tensor> {
        let times = i64::try_from(self.args.per_prompt)?;
        Ok(rows.f_repeat_interleave_self_int(times, 0_i64, None::<i64>)?)
    }

    /// The hash of all that the images depend on.
    fn key(&self, size: &[i64], sides: &Sides) -> Result<String> {
        let (args, engine) = (self.args, &self.session.engine);
        let first = |own: &&[String]| own.first().cloned();
        let captions: Option<Vec<Option<String>>> =
            self.words.map(|all| all.iter().map(first).collect());
        let of = format!(
            "{} {} {} {:?} {} {} {} {} {} {:?} {} {}",
            self.generator.fingerprint(),
            engine.precision.name(),
            args.weights,
            size,
            args.sampler,
            args.steps,
            args.order,
            args.batch,
            args.seed,
            captions,
            args.per_prompt,
            args.guidance
        );
        let of = match Told::by(self.generator.first()) {
            Told::Class => format!("{of} {:?}", sides.texts()),
            Told::Nothing | Told::Captions => of,
        };
        let of = match (self.restored, self.searched) {
            (Some(restored), _) => {
                let shown = hash_tensor(&restored.shown)?;
                format!("{of} {:?} {shown}", restored.hidden)
            }
            (None, Some(searched)) => {
                let images = hash_tensor(&searched.images)?;
                format!("{of} {:?} {:?} {images}", searched.options, searched.ids)
            }
            (None, None) => of,
        };
        Ok(blake3::hash(of.as_bytes()).to_hex().to_string())
    }

    /// What the images cost.
    pub(super) fn cost(&self, drawn: &Drawn) -> ExtractionCost {
        let n = drawn.count();
        // With guidance the model is asked with and without the caption, and so is the base where there is one.
        let guided = self.generator.first().is_told() && self.args.guidance != 1.0;
        let times = |twice: bool| if twice { 2_u64 } else { 1 };
        let each = self.args.steps as u64 * times(guided) * times(self.args.base.is_some());
        let search = self.searched.map_or(0, Searched::calls) * times(self.args.base.is_some());
        ExtractionCost {
            network_calls: n as u64 * each + search,
            generated_now: drawn.now,
            seconds: (drawn.now > 0).then(|| drawn.seconds * n as f64 / drawn.now as f64),
        }
    }
}

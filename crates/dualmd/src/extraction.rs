//! Which training images can be got out of what a model generates, beside the same count for images that it never saw.
//!
//! Images are generated, candidates are found among them without a look at training images, and both sides are judged in the same way:
//! members, and as many held-out images in their place. The other half of the held-out images sets the thresholds.
//! Whole images are asked for, or the hidden half of each, or each by an embedding that is searched for, or a classifier leads the model
//! ([`ExtractMethod`]): all are judged alike. `docs/extraction.md` says what the numbers mean; [`dualmd_attack::extraction`] has the formulas.

mod chosen;
mod compared;
mod drawing;
mod hidden;
mod judge;
mod led;
mod searched;
mod written;

pub use dualmd_attack::Search;
pub use dualmd_attack::side::Side;
pub use written::lines;

use crate::audit::{Sides, refuse_foreign_split};
use crate::choices::{ExtractMethod, Features, Order, Sampler, Weights};
use crate::reporter::{Reporter, meanwhile};
use crate::session::Session;
use crate::stages::generator::{Generator, weight_set};
use crate::stages::held::Held;
use crate::stages::pictures::as_seen;
use crate::stages::score::parts;
use crate::stages::text::Told;
use crate::stages::{remove, utility};
use crate::whole::{Part, Whole};
use crate::{bail_usage, machine};
use anyhow::{Result, bail};
use chosen::Chosen;
use compared::Compared;
use drawing::Drawing;
use dualmd_attack::extraction::{ALPHA, NEIGHBOURS, spacing};
use dualmd_data::{Alpha, LoadOptions, Split};
use dualmd_diffusion::Foreign;
use dualmd_record::extraction::{self as record, Contrast, Extraction, Inpainted, Prompted};
use dualmd_torch::Tensor;
use hidden::{Hidden, Restored};
use judge::{Aim, Judged};
use led::Led;
use searched::Searched;
use std::path::PathBuf;
use std::sync::Arc;

/// Name of the array of generated images, beside which their batches are kept: `generated.parts`.
const IMAGES: &str = "generated.npy";
/// Folder of the batches.
const PARTS: &str = "generated.parts";
/// The same of images that a classifier led the model to.
const LED: &str = "led.npy";
/// Folder of the batches of these.
const LED_PARTS: &str = "led.parts";
/// Share of unseen images that have another one within the distance of near images.
const SPACING: f64 = 0.01;
/// Others near a candidate, where images are generated without a text. A pair may be chance, since a share of unseen images has a
/// neighbour as near. Two neighbours from independent noise are the least that is more than that, and with some thousand images for as
/// many members more would find only what is generated more often than its turn.
const CLIQUE: usize = 2;
/// Images for one caption to each that a candidate has near it: Carlini et al. look for ten in 500.
const PER_NEIGHBOUR: usize = 50;

/// What is generated, and what it is compared with.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// One pipeline folder, or two that alternate.
    pub models: Vec<PathBuf>,
    /// The model that it was fine-tuned from, and how far the difference to it is followed: images are drawn by eps_base + w (eps -
    /// eps_base) (FineXtract, arXiv 2410.03039).
    pub base: Option<(PathBuf, f64)>,
    /// Images that the model was trained on: a folder, a file, or a bundled set.
    pub members: String,
    /// Images of the same kind that it never saw: one half sets the thresholds, the other is the control.
    pub nonmembers: String,
    /// Split file that `DATA#member` and `DATA#nonmember` refer to.
    pub split: Option<PathBuf>,
    /// Column that says what belongs together, such as patient or artist.
    pub group_column: Option<String>,
    /// Column of the images' names; the file's name or the row's number unless named.
    pub id_column: Option<String>,
    /// Column of the captions, where a set has several that may be.
    pub caption_column: Option<String>,
    /// Column of the labels, which a class-conditional model is told; `label`, or the folder of an image, unless named.
    pub label_column: Option<String>,
    /// What becomes of transparency: as in the training.
    pub alpha: Alpha,
    /// How images are asked for.
    pub method: ExtractMethod,
    /// Images to generate from a model that is told no text.
    pub images: usize,
    /// Images to generate for each caption from one that is; restorations of each image that is restored.
    pub per_prompt: usize,
    /// Captions of members, of calibration images and of control images, at most so many of each; so many images that are restored.
    pub captions: usize,
    /// How far embeddings are searched for.
    pub search: Search,
    /// How the model is led to what it draws again and again.
    pub side: Side,
    /// Others that lie near a candidate, at least; if not given 2, or one in 50 of the images for a caption where that is more.
    pub clique: Option<usize>,
    /// Root mean square difference up to which two images are near each other, in the features' unit (of pixels: black is 0 and white
    /// is 1); if not given, what one in a hundred of the calibration images has another one within.
    pub radius: Option<f64>,
    /// Share of the calibration images that may pass for extracted, in (0, 1).
    pub rate: f64,
    /// Sampler.
    pub sampler: Sampler,
    /// Denoising steps of each image.
    pub steps: usize,
    /// How strongly a caption is followed (classifier-free guidance).
    pub guidance: f64,
    /// Which of two models takes which step.
    pub order: Order,
    /// What images are compared by.
    pub features: Features,
    /// File of the features' network, or folder of a ViT.
    pub features_weights: Option<PathBuf>,
    /// Which of the model's weights.
    pub weights: Weights,
    /// Images at a time.
    pub batch: usize,
    /// Write what shows or names single images: the gallery, the table, and the generated images, which further calls use again.
    pub pictures: bool,
    /// Folder for `extraction.json`, `extraction.csv`, `gallery.png` and the generated images.
    pub out: PathBuf,
    /// Everything random follows from it.
    pub seed: u64,
}

impl ExtractOptions {
    /// The defaults, of no model yet: add [`models`](Self::models).
    pub fn new(
        members: impl Into<String>,
        nonmembers: impl Into<String>,
        out: impl Into<PathBuf>,
    ) -> Self {
        Self {
            models: Vec::new(),
            base: None,
            members: members.into(),
            nonmembers: nonmembers.into(),
            split: None,
            group_column: None,
            id_column: None,
            caption_column: None,
            label_column: None,
            alpha: Alpha::White,
            method: ExtractMethod::Generate,
            images: 4096,
            per_prompt: 32,
            captions: 64,
            search: Search::default(),
            side: Side::default(),
            clique: None,
            radius: None,
            rate: 0.01,
            sampler: Sampler::Ddim,
            steps: 50,
            guidance: 7.5,
            order: Order::First,
            features: Features::Pixels,
            features_weights: None,
            weights: Weights::Ema,
            batch: 64,
            pictures: true,
            out: out.into(),
            seed: 0,
        }
    }

    /// Others that lie near a candidate, at least; `each`: images are asked for one by one.
    fn clique(&self, each: bool) -> Result<usize> {
        let (of, flag) = match each {
            true => (self.per_prompt, "--per-prompt"),
            false => (self.images, "--images"),
        };
        let plain = match each {
            true => self.per_prompt.div_ceil(PER_NEIGHBOUR).max(CLIQUE),
            false => CLIQUE,
        };
        let clique = self.clique.unwrap_or(plain);
        if clique < 1 || clique >= of {
            bail_usage!(
                "{flag} {of}: a candidate needs {clique} others near it (--clique, at least 1): generate at least {} images",
                clique.max(1) + 1
            );
        }
        Ok(clique)
    }
}

/// Generates images, looks for members among them, and writes what it finds to the folder of the options. What an earlier call with the
/// same model and the same images to generate left is used again.
///
/// # Errors
/// What cannot be read; images of different sizes, the same one on both sides, or too few; a stop that was asked for
/// ([`stopped`](crate::stages::generator::stopped)): the same call goes on then.
pub fn extract(session: &Session, args: &ExtractOptions) -> Result<Extraction> {
    if args.models.is_empty() {
        bail_usage!("no model is named");
    }
    let _held = Held::folder(&args.out, &[PARTS, LED_PARTS], session.reporter.as_ref())?;
    let set = weight_set(args.weights);
    let tuned = Generator::open(&args.models, set, &session.engine)?;
    let generator = match &args.base {
        Some((base, weight)) => tuned.beyond(base, *weight, set, &session.engine)?,
        None => tuned,
    };
    extracted(session, args, &generator)
}

/// The same of a denoiser of the caller's own; `fingerprint`: what its answers depend on. The options' models and their base are not
/// opened.
///
/// # Errors
/// As [`extract`].
pub fn extract_denoiser(
    session: &Session,
    denoiser: impl Foreign + 'static,
    fingerprint: &str,
    args: &ExtractOptions,
) -> Result<Extraction> {
    let _held = Held::folder(&args.out, &[PARTS, LED_PARTS], session.reporter.as_ref())?;
    extracted(session, args, &Generator::given(denoiser, fingerprint))
}

fn extracted(
    session: &Session,
    args: &ExtractOptions,
    generator: &Generator,
) -> Result<Extraction> {
    let told = Told::by(generator.first());
    let restores = args.method == ExtractMethod::Inpaint;
    if restores && args.features != Features::Pixels {
        bail_usage!(
            "--features {}: --method inpaint compares the pixels of the half that was hidden; leave it out",
            args.features
        );
    }
    if args.method == ExtractMethod::Search && told != Told::Captions {
        bail_usage!(
            "--method search looks for what a text-to-image model is to be told, and this model is told no text: use generate or inpaint"
        );
    }
    let leads = args.method == ExtractMethod::Side;
    if leads && told != Told::Nothing {
        bail_usage!(
            "--method side leads a model that is told nothing, and this one is told a text or a class: use generate or inpaint"
        );
    }
    if leads && generator.first().schedule().is_flow() {
        bail_usage!(
            "--method side leads models that predict noise, and this one is of flow matching: use generate or inpaint"
        );
    }
    let each = told == Told::Captions || restores;
    let clique = args.clique(each)?;
    let sides = sides(session, args, generator)?;
    let most = each.then_some(args.captions);
    let chosen = Chosen::draw(&sides.labels, most, args.seed)?;
    let rows = |rows: &[usize]| -> Result<Tensor> {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        Ok(sides.x.f_index_select(0, &Tensor::from_slice(&rows))?)
    };
    let asked: Vec<usize> = chosen.asked().collect();
    let (restored, searched) = match args.method {
        ExtractMethod::Generate | ExtractMethod::Side => (None, None),
        ExtractMethod::Inpaint => (Some(restored(generator, &sides, &rows(&asked)?)?), None),
        ExtractMethod::Search => {
            let id = |&row: &usize| sides.labels[row].id.clone();
            let searched = Searched {
                images: rows(&asked)?,
                ids: asked.iter().map(id).collect(),
                options: args.search,
            };
            (None, Some(searched))
        }
    };
    let compared = match (&restored, args.features) {
        (Some(restored), _) => Compared::Below(restored.hidden),
        (None, Features::None) => bail_usage!("--features none: there is nothing to compare by"),
        (None, features) => {
            let weights = args.features_weights.as_deref();
            let device = session.engine.device;
            let found = utility::extractor_or_pixels(features, weights, sides.sides(), device)?;
            Compared::Whole(found)
        }
    };
    // Until the new ones are whole, what stands there must not speak of them.
    for name in [written::REPORT, written::TABLE, written::GALLERY] {
        remove(&args.out.join(name))?;
    }
    if !leads {
        parts::remove(&args.out.join(LED))?;
    }
    // The texts of those that are asked for. (A class-conditional model that generates is told all classes in turn.)
    let texts = sides.texts().filter(|_| each);
    let words = texts.map(|texts| asked.iter().map(|&row| texts[row]).collect::<Vec<_>>());
    let n = match each {
        true => asked.len() * args.per_prompt,
        false => args.images,
    };
    let found = searched.as_ref().map_or(0, Searched::count);
    let counted = [
        (Part::Search, "search", found as f64),
        (Part::Sample, "sample", n as f64),
        (Part::Judge, "", 1.0),
    ];
    let whole = Arc::new(Whole::of_parts(&counted, Arc::clone(&session.reporter)));
    let session = &match leads {
        // Of what is led the second half takes as long as it takes.
        true => session.clone(),
        false => Session {
            reporter: Arc::clone(&whole) as Arc<dyn Reporter>,
            ..session.clone()
        },
    };
    whole.enter(match searched {
        Some(_) => Part::Search,
        None => Part::Sample,
    });
    let drawing = Drawing {
        session,
        args,
        generator,
        words: words.as_deref(),
        restored: restored.as_ref(),
        searched: searched.as_ref(),
        led: leads.then_some(Led {
            options: args.side,
            compared: &compared,
        }),
    };
    let drawn = drawing.images(&sides)?;
    whole.enter(Part::Judge);
    let reporter = session.reporter.as_ref();
    let features = |of: &[usize]| -> Result<Tensor> { compared.of(&rows(of)?) };
    let (generated, radius) = meanwhile(reporter, "", "comparing images", || {
        let generated = compared.of(&drawn.images)?;
        let radius = match args.radius {
            Some(radius) => radius,
            None => spacing(&features(&chosen.calibration.concat())?, SPACING)?,
        };
        anyhow::Ok((generated, radius))
    })?;
    let aim = Aim {
        generated: &generated,
        each: each.then_some(args.per_prompt),
    };
    let judged = meanwhile(reporter, "", "groups of like images", || {
        Judged::new(&aim, &chosen, &sides.labels, &features, (radius, clique))
    })?;
    let cost = drawing.cost(&drawn);
    let found = Extraction {
        models: args
            .models
            .iter()
            .map(|m| m.display().to_string())
            .collect(),
        weights_blake3: generator.fingerprint().to_owned(),
        weights: args.weights.as_str().to_owned(),
        base: args.base.as_ref().map(|(base, weight)| Contrast {
            model: base.display().to_string(),
            weight: *weight,
        }),
        seed: args.seed,
        command: session.command.clone(),
        versions: machine::versions(),
        dtype: session.engine.precision.name().to_owned(),
        sampler: args.sampler.as_str().to_owned(),
        steps: args.steps,
        order: args.order.as_str().to_owned(),
        prompted: (told == Told::Captions).then_some(Prompted {
            captions: asked.len(),
            per_prompt: args.per_prompt,
            guidance: args.guidance,
        }),
        inpainted: restored.as_ref().map(|restored| {
            let [shown, rows] = restored.hidden.rows();
            Inpainted {
                images: restored.count(),
                each: args.per_prompt,
                shown,
                rows,
            }
        }),
        searched: searched.as_ref().map(|searched| record::Searched {
            images: searched.count(),
            steps: searched.options.steps,
            draws: searched.options.draws,
            learning_rate: searched.options.learning_rate,
        }),
        led: drawn.led.clone(),
        generated: drawn.count(),
        features: compared.name(),
        radius,
        radius_given: args.radius.is_some(),
        clique,
        candidates: judged.candidates.len(),
        alpha: ALPHA,
        neighbours: NEIGHBOURS,
        rate: args.rate,
        n: chosen.members.len(),
        n_calibration: chosen.calibration.iter().map(Vec::len).sum(),
        n_members: sides.members.len(),
        n_heldout: sides.nonmembers.len(),
        alike: sides.alike,
        attacks: judged.attacks(args.rate, &cost)?,
        cost,
    };
    match args.pictures {
        true => written::single_images(&args.out, &sides, &judged, &found, &drawn.images)?,
        false => {
            parts::remove(&args.out.join(IMAGES))?;
            parts::remove(&args.out.join(LED))?;
        }
    }
    dualmd_record::write(&args.out.join(written::REPORT), &found)?;
    let said = format!(
        "{} images, results in {}",
        found.generated,
        args.out.display()
    );
    session.reporter.done("extract", &said);
    Ok(found)
}

/// What is shown of `images` [N, C, H, W], which the model is to restore.
fn restored(generator: &Generator, sides: &Sides, images: &Tensor) -> Result<Restored> {
    let [rows, columns] = sides.sides().map(|side| side as i64);
    let seen = generator.first().sample_shape();
    let size = seen.map_or([rows, columns], |[_, height, width]| [height, width]);
    let hidden = Hidden::half(rows, size)?;
    Ok(Restored {
        hidden,
        shown: hidden.shown(images)?,
    })
}

/// The real images, as the model sees them.
fn sides(session: &Session, args: &ExtractOptions, generator: &Generator) -> Result<Sides> {
    let model = generator.first();
    let split = args.split.as_deref().map(Split::load).transpose()?;
    if let Some(split) = &split {
        refuse_foreign_split(&args.models, &args.members, split)?;
    }
    let shape = model.image_shape();
    if let Some([_, h, w]) = shape
        && h != w
    {
        bail!("the model draws images of {w} x {h}: only square ones can be compared yet");
    }
    let options = LoadOptions {
        split: split.as_ref(),
        group_column: args.group_column.as_deref(),
        id_column: args.id_column.as_deref(),
        caption_column: args.caption_column.as_deref(),
        label_column: args.label_column.as_deref(),
        alpha: args.alpha,
        tell_changes: true,
        ..as_seen(shape)
    };
    let sides = Sides::open(
        &args.members,
        &args.nonmembers,
        &options,
        Told::by(model),
        session.reporter.as_ref(),
    )?;
    if let Some(said) = sides.unlike() {
        session.warn(&format!("warning: {said}"));
    }
    Ok(sides)
}

//! Which prompts call up images that a model remembers, and how like these are.

mod summary;

use crate::audit::undoubled;
use crate::choices::{Features, Order, Weights};
use crate::reporter::{ProgressEvent, Reporter, meanwhile};
use crate::session::Session;
use crate::stages::fit::Fitting;
use crate::stages::generator::{Generator, weight_set};
use crate::stages::held::Held;
use crate::stages::memorisation::{Found, Measure, Prompt, Real};
use crate::stages::pictures::{as_seen, pictures, tensor_of_all};
use crate::stages::text::captions_of;
use crate::stages::{create_folder, remove, utility};
use crate::whole::{Part, Whole};
use crate::{bail_usage, machine};
use anyhow::{Context, Result, bail};
use dualmd_attack::SecMi;
use dualmd_attack::memorisation::Mitigation;
use dualmd_audit::cells::cell;
use dualmd_data::{ImageSet, LoadOptions, Record, Split, drawn, save_png};
use dualmd_diffusion::Model;
use dualmd_encoders::ClipModel;
use dualmd_files::limit;
use dualmd_record::memorisation::{FitScores, Memorisation, PromptMeasure};
use dualmd_torch::Tensor;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use summary::Summary;

/// Prompts, and their images where there are any.
struct Case {
    prompts: Vec<Prompt>,
    /// [N, C, H, W] in [-1, 1], those of the members first, and how many these are.
    images: Option<(Tensor, usize)>,
}

/// What is measured on which prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct MemorisationOptions {
    /// Folder of a text-to-image model, or of two that alternate.
    pub models: Vec<PathBuf>,
    /// Where prompts come from.
    pub prompts: PromptSource,
    /// Images for each prompt.
    pub n: usize,
    /// DDIM steps of each.
    pub steps: usize,
    /// How strongly the prompt is followed (classifier-free guidance) while drawing; the t-error is taken at 1.
    pub guidance: f64,
    /// Timestep of SecMI's step up and back; 150 for latents and 100 for pixels if not given.
    pub t_sec: Option<i64>,
    /// Which of two models takes which step.
    pub order: Order,
    /// What generated images and training images are compared by.
    pub features: Features,
    /// File of the features' network, or folder of a ViT.
    pub features_weights: Option<PathBuf>,
    /// CLIP folder by which it is measured how well images fit their prompts.
    pub clip: Option<PathBuf>,
    /// Captioned image sets from which a small head learns that.
    pub fit: Vec<String>,
    /// Where that head is kept; `fit.safetensors` in the folder if not given.
    pub fit_head: Option<PathBuf>,
    /// Go on without a head that cannot be learnt.
    pub fit_if_possible: bool,
    /// The remedy.
    pub remedy: Option<Mitigation>,
    /// Which of the model's weights.
    pub weights: Weights,
    /// Images at a time.
    pub batch: usize,
    /// Folder for `memorisation.json`, `memorisation.csv` and `images/`.
    pub out: PathBuf,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptSource {
    /// First captions of images.
    Images {
        /// Images the model was trained on.
        members: String,
        /// Images it never saw: how like they are to what is drawn is the yardstick.
        nonmembers: Option<String>,
        /// Split file that `DATA#member` and `DATA#nonmember` refer to.
        split: Option<PathBuf>,
        /// Column of the captions, where a set has several that may be.
        caption_column: Option<String>,
    },
    /// Files with a prompt a line.
    Files {
        /// Prompts that are known to be memorised.
        memorised: PathBuf,
        /// Prompts that are not.
        others: Option<PathBuf>,
    },
}

/// Measures every prompt and writes the table; gives the summary for people, line by line.
///
/// # Errors
/// What cannot be read; a model that is told no text; a stop that was asked for
/// ([`stopped`](crate::stages::generator::stopped)): the same call begins anew then.
pub fn memorisation(session: &Session, args: &MemorisationOptions) -> Result<Vec<String>> {
    let _held = Held::folder(&args.out, &["images"], session.reporter.as_ref())?;
    measured(session, args)
}

/// What [`memorisation()`] left in a folder.
///
/// # Errors
/// There is nothing, or it is damaged.
pub fn read(out: &Path) -> Result<Memorisation> {
    Ok(dualmd_record::read(&out.join("memorisation.json"))?)
}

/// As [`memorisation()`], in a folder that the caller holds.
///
/// # Errors
/// As there.
pub fn measured(session: &Session, args: &MemorisationOptions) -> Result<Vec<String>> {
    let folder = args.out.join("images");
    // Before hours of work, not after.
    drawn::stale(&folder, &is_drawn)?;
    let (engine, seed) = (&session.engine, args.seed);
    let reporter = session.reporter.as_ref();
    let Some(first) = args.models.first() else {
        bail_usage!("no model is named");
    };
    let generator = Generator::open(&args.models, weight_set(args.weights), engine)?;
    let Some(text) = generator.first().text() else {
        bail_usage!(
            "{}: this model is told no text: prompts can be asked of text-to-image models only",
            first.display()
        );
    };
    let plain = if text.is_latent() {
        SecMi::latent()
    } else {
        SecMi::default()
    };
    let secmi = SecMi {
        t_sec: args.t_sec.unwrap_or(plain.t_sec),
        ..plain
    };
    if args.t_sec.is_some_and(|t| t % secmi.k != 0) {
        bail_usage!("--t-sec {}: give a multiple of {}", secmi.t_sec, secmi.k);
    }
    let case = case(args, generator.first(), session)?;
    let extractor = match &case.images {
        Some((x, _)) => {
            let sides = [x.size()[2] as usize, x.size()[3] as usize];
            let weights = args.features_weights.as_deref();
            Some(match args.features {
                Features::Auto => {
                    utility::extractor_or_pixels(Features::Auto, weights, sides, engine.device)?
                }
                Features::None => bail_usage!("--features none: there is nothing to compare by"),
                chosen => utility::extractor_or_pixels(chosen, weights, sides, engine.device)?,
            })
        }
        None => None,
    };
    let real = match (&case.images, extractor.as_deref()) {
        (Some((x, members)), Some(extractor)) => {
            let real = || Real::new(extractor, x, *members);
            Some(meanwhile(reporter, "", "features of real images", real)?)
        }
        _ => None,
    };
    let clip = args.clip.as_deref();
    let clip = clip
        .map(|folder| ClipModel::load(folder, engine.device))
        .transpose()?;
    let (fitting, unfit) = match args.fit.is_empty() {
        true => (None, None),
        false => match meanwhile(reporter, "", "sentences", || {
            fitting(session, args, &case, &generator)
        }) {
            Ok(fitting) => (Some(fitting), None),
            Err(error) if args.fit_if_possible => {
                let reason = format!("{error:#}");
                session.warn(&format!(
                    "warning: how images fit their prompts is not measured: {reason}"
                ));
                (None, Some(reason))
            }
            Err(error) => return Err(error),
        },
    };
    let measure = Measure {
        generator: &generator,
        engine,
        generations: args.n,
        steps: args.steps,
        guidance: args.guidance,
        order: args.order,
        batch: args.batch,
        seed,
        secmi,
        mitigation: args.remedy,
        clip: clip.as_ref(),
        fit: fitting.as_ref(),
    };
    // Until the new ones are whole, what stands there must not speak of them.
    for name in ["memorisation.json", "memorisation.csv"] {
        remove(&args.out.join(name))?;
    }
    dualmd_files::create_private_folder(&args.out)?;
    create_folder(&folder)?;
    drawn::clear(&drawn::stale(&folder, &is_drawn)?)?;
    let (began, total) = (std::time::Instant::now(), case.prompts.len() * args.n);
    let counted = [
        (Part::Prompts, "memorisation", total as f64),
        (Part::Judge, "", 1.0),
    ];
    let whole = Whole::of_parts(&counted, Arc::clone(&session.reporter));
    whole.enter(Part::Prompts);
    let each = |done: usize, images: &Tensor| -> Result<bool> {
        let (each, new) = (args.n, images.size()[0] as usize);
        let first = done * each - new;
        for (i, picture) in pictures(images)?.iter().enumerate() {
            let (prompt, image) = ((first + i) / each, (first + i) % each);
            save_png(&folder.join(image_name(prompt, image)), picture)?;
        }
        let event = ProgressEvent::images("", done * each, total, began);
        whole.progress(&event.doing("memorisation"));
        Ok(!session.stopped())
    };
    let found = meanwhile(reporter, "", "memorisation", || {
        measure.prompts(&case.prompts, real.as_ref(), each)
    })?;
    write_table(&args.out.join("memorisation.csv"), &case.prompts, &found)?;
    let summary = Summary {
        prompts: &case.prompts,
        found: &found,
        seed,
    };
    let models: Vec<String> = args
        .models
        .iter()
        .map(|m| m.display().to_string())
        .collect();
    let report = Memorisation {
        models,
        weights_blake3: generator.fingerprint().to_owned(),
        weights: args.weights.as_str().to_owned(),
        seed,
        command: session.command.clone(),
        versions: machine::versions(),
        dtype: engine.precision.name().to_owned(),
        generations: args.n,
        steps: args.steps,
        guidance: args.guidance,
        order: args.order.as_str().to_owned(),
        n_memorised: summary.count(true),
        n_others: summary.count(false),
        t_error: PromptMeasure {
            t: Some(secmi.error_at()),
            ..summary.measured(|f| f.t_error, -1.0)?
        },
        mean_norm: summary.measured(|f| f.mean_norm, 1.0)?,
        first_norm: summary.measured(|f| f.first_norm, 1.0)?,
        alignment: summary.measured(|f| f.alignment, 1.0)?,
        anisotropy: summary.measured(|f| f.anisotropy, 1.0)?,
        sharpness: summary.measured(|f| f.sharpness, 1.0)?,
        similarity: extractor
            .as_ref()
            .map(|e| summary.similarity(&e.name()))
            .transpose()?,
        clip_score: args.clip.as_ref().map(|folder| summary.clip(folder)),
        fit: match &fitting {
            Some(fitting) => Some(fitted(fitting, &summary, &case)?),
            None => unfit.map(|reason| FitScores::Missing { reason }),
        },
        mitigation: measure.mitigation.map(|m| summary.remedied(&m)),
    };
    dualmd_record::write(&args.out.join("memorisation.json"), &report)?;
    session.reporter.done(
        "memorisation",
        &format!("{} prompts in {}", found.len(), args.out.display()),
    );
    Ok(summary::lines(&report))
}

/// `PPPP-I.png`: image I of prompt P.
fn image_name(prompt: usize, image: usize) -> String {
    format!("{prompt:04}-{image}.png")
}

/// Is this a name that [`image_name`] gives?
fn is_drawn(name: &str) -> bool {
    let parts = name.strip_suffix(".png").and_then(|n| n.split_once('-'));
    let numbers =
        parts.and_then(|(p, i)| Some((p.parse::<usize>().ok()?, i.parse::<usize>().ok()?)));
    numbers.is_some_and(|(p, i)| image_name(p, i) == name)
}

/// The head that `--fit` asks for.
fn fitting(
    session: &Session,
    args: &MemorisationOptions,
    case: &Case,
    generator: &Generator,
) -> Result<Fitting> {
    let (split, caption_column) = args.prompts.columns()?;
    let options = LoadOptions {
        split: split.as_ref(),
        caption_column,
        ..as_seen(generator.first().image_shape())
    };
    let (mut records, mut seen) = (Vec::new(), BTreeSet::new());
    for data in &args.fit {
        let set = undoubled(data, &options, session.reporter.as_ref())?;
        let new = |r: &Record| seen.insert(r.id.as_str().to_owned());
        records.extend(set.records.into_iter().filter(new));
    }
    let set = ImageSet::new(args.fit.join(" "), None, records).context("--fit")?;
    let ids = case
        .prompts
        .iter()
        .filter_map(|p| p.id.as_deref())
        .collect();
    let texts = case.prompts.iter().map(|p| p.text.as_str()).collect();
    let kept = args.fit_head.clone();
    let kept = kept.unwrap_or_else(|| args.out.join("fit.safetensors"));
    Fitting::learn(
        &set,
        (&ids, &texts),
        args.seed,
        &kept,
        session.engine.device,
    )
}

/// What the fits came to, with what they are worth and what the prompts' own images reach.
fn fitted(fitting: &Fitting, summary: &Summary<'_>, case: &Case) -> Result<FitScores> {
    let mut real = Vec::new();
    if let Some((images, members)) = &case.images {
        let own = case.prompts[..*members].iter().map(|p| p.text.as_str());
        let own: Vec<&str> = own.collect();
        real = fitting.of(&own, &images.narrow(0, 0, *members as i64))?;
    }
    Ok(FitScores::Measured(Box::new(summary.fit(fitting, &real))))
}

impl PromptSource {
    /// The split and the column of the captions, where images are named.
    fn columns(&self) -> Result<(Option<Split>, Option<&str>)> {
        Ok(match self {
            Self::Images {
                split,
                caption_column,
                ..
            } => {
                let split = split.as_deref().map(Split::load).transpose()?;
                (split, caption_column.as_deref())
            }
            Self::Files { .. } => (None, None),
        })
    }
}

fn case(args: &MemorisationOptions, model: &Model, session: &Session) -> Result<Case> {
    let (members, nonmembers) = match &args.prompts {
        PromptSource::Images {
            members,
            nonmembers,
            ..
        } => (members, nonmembers),
        PromptSource::Files { memorised, others } => {
            let mut prompts = lines(memorised, true)?;
            if let Some(file) = others {
                prompts.extend(lines(file, false)?);
            }
            return Ok(Case {
                prompts,
                images: None,
            });
        }
    };
    let (split, caption_column) = args.prompts.columns()?;
    let options = LoadOptions {
        split: split.as_ref(),
        caption_column,
        ..as_seen(model.image_shape())
    };
    let read = |data| undoubled(data, &options, session.reporter.as_ref());
    let mut sets: Vec<(ImageSet, bool)> = vec![(read(members)?, true)];
    if let Some(data) = nonmembers {
        sets.push((read(data)?, false));
    }
    let mut prompts = Vec::new();
    for (set, memorised) in &sets {
        for record in &set.records {
            prompts.push(Prompt {
                text: captions_of(set, record)?[0].clone(),
                memorised: *memorised,
                id: Some(record.id.as_str().to_owned()),
            });
        }
    }
    let tensors: Vec<Tensor> = sets.iter().map(|(set, _)| tensor_of_all(set)).collect();
    Ok(Case {
        prompts,
        images: Some((Tensor::f_cat(&tensors, 0)?, sets[0].0.len())),
    })
}

/// Prompts, one a line; empty lines are none.
fn lines(file: &Path, memorised: bool) -> Result<Vec<Prompt>> {
    let text = dualmd_files::read_text(file, limit::TABLE)?;
    let prompts: Vec<Prompt> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| Prompt {
            text: line.to_owned(),
            memorised,
            id: None,
        })
        .collect();
    if prompts.is_empty() {
        bail!("{}: holds no prompt; write one a line", file.display());
    }
    Ok(prompts)
}

/// `memorisation.csv`: a row for each prompt, means over its images.
fn write_table(path: &Path, prompts: &[Prompt], found: &[Found]) -> Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "prompt",
        "memorised",
        "sample_id",
        "t_error",
        "mean_norm",
        "first_norm",
        "similarity",
        "nearest_member",
        "nearest_heldout",
        "clip_score",
        "fit",
        "loss_before",
        "loss_after",
        "alignment",
        "anisotropy",
        "sharpness",
    ])?;
    let number = |x: Option<f64>| x.map(|x| format!("{x:.16e}")).unwrap_or_default();
    for (p, f) in prompts.iter().zip(found) {
        table.write_record([
            cell(&p.text).into_owned(),
            u8::from(p.memorised).to_string(),
            cell(p.id.as_deref().unwrap_or_default()).into_owned(),
            number(Some(f.t_error)),
            number(Some(f.mean_norm)),
            number(Some(f.first_norm)),
            number(f.similarity),
            number(f.nearest_member),
            number(f.nearest_heldout),
            number(f.clip_score),
            number(f.fit),
            number(f.mitigation.map(|m| m.before)),
            number(f.mitigation.map(|m| m.after)),
            number(Some(f.alignment)),
            number(Some(f.anisotropy)),
            number(Some(f.sharpness)),
        ])?;
    }
    Ok(dualmd_files::write(path, &table.into_inner()?)?)
}

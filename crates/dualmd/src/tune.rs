//! `dualmd tune`: adapters on a text-to-image base, as an experiment made from a few arguments.
//!
//! What is run is the preset `tune` with base, images and numbers filled in ([`TuneOptions::experiment`]): there is no second pipeline.
//! Where images have no captions, a BLIP folder of the user's makes some first.

use crate::bail_usage;
use crate::check::{self, Checked};
use crate::experiment::Source;
use crate::report::ReportOptions;
use crate::run::{Ran, RunOptions, run};
use crate::session::Session;
use crate::stages::captions;
use crate::stages::pictures::{self, as_seen};
use anyhow::{Context, Result};
use dualmd_data::{ImageSet, Listing};
use dualmd_diffusion::unet2d::ImageSize;
use dualmd_diffusion::{
    AutoencoderKlConfig, UNet2dConditionConfig, check_text_to_image, network_folder, read_json,
};
use dualmd_files::shown;
use dualmd_names::Defense;
use std::path::{Path, PathBuf};

/// Name of the preset.
pub const PRESET: &str = "tune";

/// Models of the preset; rivals come after them.
const OWN: usize = 3;

/// Steps between two looks of early stopping. The preset has none for the others: each costs passes over hundreds of images.
const WATCHED_EVERY: u64 = 50;

/// What adapters are made of.
#[derive(Debug, Clone)]
pub struct TuneOptions {
    /// A text-to-image folder, which stays as it is.
    pub base: PathBuf,
    /// Image set.
    pub images: String,
    /// The run's folder; of several seeds, the folder of their folders.
    pub out: PathBuf,
    /// Images to train on, even; three quarters of all that are not needed otherwise if not given.
    pub members: Option<usize>,
    /// Images that no adapter sees; all others if not given.
    pub nonmembers: Option<usize>,
    /// A BLIP folder that describes the images, and how many captions it adds to each.
    pub captioner: Option<(PathBuf, usize)>,
    /// Column of the captions, where the set has several that may be.
    pub caption_column: Option<String>,
    /// Defences that are trained beside the three adapters: `early-stopping` and `dp-sgd`.
    pub rivals: Vec<Defense>,
    /// What `dp-sgd` may spend.
    pub epsilon: f64,
    /// Changes of the experiment's keys, after all others.
    pub sets: Vec<String>,
    /// Runs: with the experiment's seed and those after it.
    pub seeds: u64,
    /// What the reports hold.
    pub report: ReportOptions,
}

impl TuneOptions {
    /// Plain LoRA, a pair and a student.
    pub fn new(
        base: impl Into<PathBuf>,
        images: impl Into<String>,
        out: impl Into<PathBuf>,
    ) -> Self {
        Self {
            base: base.into(),
            images: images.into(),
            out: out.into(),
            members: None,
            nonmembers: None,
            captioner: None,
            caption_column: None,
            rivals: Vec::new(),
            epsilon: 8.0,
            sets: Vec::new(),
            seeds: 1,
            report: ReportOptions::default(),
        }
    }

    /// The file of the captions that a BLIP folder makes.
    fn captions(&self) -> PathBuf {
        self.out.join("captions.jsonl")
    }

    /// The experiment: the preset and what is changed in it. Captions that are to be made are there already.
    ///
    /// # Errors
    /// A base that is no text-to-image folder; images that cannot be read, without captions, or too few.
    pub fn experiment(&self, session: &Session) -> Result<RunOptions> {
        let shape = shape_of(&self.base)?;
        let mut listing = self.listing(shape, session)?;
        let made = self.captioner.is_some().then(|| self.captions());
        if let Some(path) = &made {
            captions::take(listing.set_mut(), path)?;
        }
        let set = listing.set();
        let (members, nonmembers) = self.sizes(set.len())?;
        let several = check_captions(set, members)?;
        if !several {
            session.say(
                "most images have one caption: no prompt diversification (several captions for each, or --caption-model)",
            );
        }
        let text = |value: &str| toml::Value::from(value).to_string();
        let [channels, side, _] = shape;
        let mut sets = vec![
            format!("model.base={}", text(&self.base.display().to_string())),
            format!("data.source={}", text(&self.images)),
            format!("data.image_size={side}"),
            format!("data.channels={channels}"),
            format!("data.members={members}"),
            format!("data.nonmembers={nonmembers}"),
            format!("train.captions={}", if several { "any" } else { "first" }),
        ];
        let column = self.caption_column.as_deref();
        sets.extend(column.map(|column| format!("data.caption_column={}", text(column))));
        sets.extend(
            made.map(|path| format!("data.captions={}", text(&path.display().to_string()))),
        );
        for (place, rival) in (OWN..).zip(&self.rivals) {
            let model = format!("models.{place}");
            sets.push(format!("{model}.name={rival}"));
            sets.push(format!("{model}.defense={rival}"));
            if *rival == Defense::DpSgd {
                sets.push(format!("{model}.epsilon={}", self.epsilon));
            } else {
                sets.push(format!("{model}.train.eval_every={WATCHED_EVERY}"));
            }
        }
        sets.extend(self.sets.iter().cloned());
        Ok(RunOptions {
            sets,
            seeds: self.seeds,
            report: self.report,
            ..RunOptions::new(Source::Preset(PRESET.into()), self.out.clone())
        })
    }

    /// The images, counted here and read again by the run: the pixels wait where its folder is to be, or above.
    fn listing(&self, shape: [i64; 3], session: &Session) -> Result<Listing> {
        let options = dualmd_data::LoadOptions {
            caption_column: self.caption_column.as_deref(),
            ..as_seen(Some(shape))
        };
        let out = std::path::absolute(&self.out)?;
        let folder = out.ancestors().find(|folder| folder.is_dir());
        let folder = folder.unwrap_or(&out);
        let mut listing =
            pictures::list(&self.images, &options, folder, session.reporter.as_ref())?;
        listing.dedupe()?;
        Ok(listing)
    }

    /// Members and non-members of so many images: three to one, as far as nothing else is asked for and early stopping has images of
    /// its own to watch.
    fn sizes(&self, images: usize) -> Result<(usize, usize)> {
        if let Some(odd) = self.members.filter(|n| !n.is_multiple_of(2)) {
            bail_usage!(
                "--members {odd}: use an even number, because the two adapters of the pair are trained on a half each"
            );
        }
        let there = match images {
            1 => "1 image".to_owned(),
            n => format!("{n} different images"),
        };
        let early = self.rivals.contains(&Defense::EarlyStopping);
        let watched = |members: usize| match early {
            true => crate::stages::prepare::watched(members),
            false => 0,
        };
        let rest = |members: usize| images.saturating_sub(members + watched(members));
        let members = self.members.or_else(|| {
            let even = (2..=images).rev().filter(|n| n.is_multiple_of(2));
            even.map(|n| (n, rest(n)))
                .find(|(n, rest)| {
                    *rest > 0
                        && self
                            .nonmembers
                            .map_or(rest * 3 >= *n, |asked| asked <= *rest)
                })
                .map(|(n, _)| n)
        });
        let Some(members) = members else {
            bail_usage!(
                "{} has {there}: too few to train on two at least, to keep others back{}{}; give more images",
                self.images,
                match self.nonmembers {
                    Some(n) => format!(" (--nonmembers {n})"),
                    None => String::new(),
                },
                match early {
                    true => ", and to let early stopping watch some more",
                    false => "",
                }
            );
        };
        let nonmembers = self.nonmembers.unwrap_or_else(|| rest(members));
        if nonmembers == 0 || nonmembers > rest(members) {
            bail_usage!(
                "{} has {there}: of {members} members (--members) {} are left, and {} non-members are asked for",
                self.images,
                rest(members),
                nonmembers.max(1)
            );
        }
        Ok((members, nonmembers))
    }
}

/// Makes captions where that is asked for, then runs, or goes on with, the experiment. None if the session was asked to stop; the same
/// call goes on then.
///
/// # Errors
/// As [`TuneOptions::experiment`] and [`run`].
pub fn tune(session: &Session, options: &TuneOptions) -> Result<Option<Ran>> {
    let shape = refuse(options)?;
    if options.captioner.is_some() {
        // Found now and not after an hour of captions.
        if !options.captions().exists() {
            options.sizes(options.listing(shape, session)?.set().len())?;
        }
        if !describe(session, options)? {
            return Ok(None);
        }
    }
    run(session, &options.experiment(session)?)
}

/// As [`check::check`] of the experiment that is made from these options. Nothing is written.
///
/// # Errors
/// As [`TuneOptions::experiment`]; captions that are still to be made.
pub fn check(session: &Session, options: &TuneOptions) -> Result<Checked> {
    refuse(options)?;
    if options.captioner.is_some() && !options.captions().is_file() {
        bail_usage!(
            "--check: the captions of --caption-model are not made yet, and the adapters of {} learn from them: check without --caption-model, if \
             these images have captions of their own",
            options.images
        );
    }
    check::check(session, &options.experiment(session)?)
}

/// The shape of the base's images. Refuses what no experiment can be made of: found now and not after an hour of captions.
fn refuse(options: &TuneOptions) -> Result<[i64; 3]> {
    for rival in &options.rivals {
        if !matches!(rival, Defense::EarlyStopping | Defense::DpSgd) {
            bail_usage!(
                "--rival {rival}: {} and {} stand beside the adapters; other defences are entries of [[models]] of an experiment \
                 (dualmd new mine.toml --preset {PRESET})",
                Defense::EarlyStopping,
                Defense::DpSgd
            );
        }
    }
    shape_of(&options.base)
}

/// Writes [`TuneOptions::captions`]; false if asked to stop before the end.
#[cfg(feature = "caption")]
fn describe(session: &Session, options: &TuneOptions) -> Result<bool> {
    let Some((model, n)) = &options.captioner else {
        return Ok(true);
    };
    dualmd_files::create_private_folder(&options.out)?;
    let args = crate::caption::CaptionsOptions {
        data: options.images.clone(),
        model: model.clone(),
        n: *n,
        greedy: false,
        top_p: 0.9,
        prompt: None,
        image_size: None,
        caption_column: options.caption_column.clone(),
        batch: 16,
        out: options.captions(),
        seed: 0,
    };
    crate::caption::caption(session, &args)
}

#[cfg(not(feature = "caption"))]
fn describe(_: &Session, _: &TuneOptions) -> Result<bool> {
    bail_usage!(
        "--caption-model: this program was built without `caption`: build it with its feature `caption`, or give the images captions"
    )
}

/// [C, H, W] of the images that a text-to-image folder makes, from its configurations alone.
///
/// # Errors
/// Another folder; a network that does not say its size, or is not square.
fn shape_of(base: &Path) -> Result<[i64; 3]> {
    if !base.exists() {
        bail_usage!(
            "{}: there is no such folder, and nothing is downloaded here: save a text-to-image model first, in Python \
             StableDiffusionPipeline.from_pretrained(NAME).save_pretrained(FOLDER)",
            shown(base)
        );
    }
    let needed = || {
        format!(
            "{}: adapters are trained on the U-Net of a text-to-image folder (Stable Diffusion 1, 2 and XL, as diffusers' \
             save_pretrained writes them)",
            shown(base)
        )
    };
    check_text_to_image(base).with_context(needed)?;
    let network = network_folder(base).join("config.json");
    let config = read_json(&network)
        .and_then(|file: serde_json::Value| UNet2dConditionConfig::read(&file))
        .with_context(needed)?;
    let side = match config.sample_size {
        Some(ImageSize::Side(side)) => side,
        Some(ImageSize::HeightWidth([h, w])) if h == w => h,
        _ => bail_usage!(
            "{}: sample_size gives no square; set the side that the base was made for",
            shown(&network)
        ),
    };
    let vae = base.join("vae").join("config.json");
    if !vae.is_file() {
        return Ok([config.in_channels, side, side]);
    }
    let vae =
        read_json(&vae).and_then(|file: serde_json::Value| AutoencoderKlConfig::read(&file))?;
    let side = side * vae.reduction();
    Ok([vae.in_channels, side, side])
}

/// Has every image a caption? Have so many several that a split with this many members has one among them?
///
/// # Errors
/// Images without a caption.
fn check_captions(set: &ImageSet, members: usize) -> Result<bool> {
    let none = set.records.iter().filter(|r| r.captions.is_empty());
    if let (Some(first), n) = (none.clone().next(), none.count()) {
        bail_usage!(
            "{}: {n} of {} images have no caption, the first is {}: write it into NAME.txt beside NAME.png, or as `text` into \
             metadata.jsonl; or let a BLIP folder of yours describe them (--caption-model)",
            set.source,
            set.len(),
            shown(&first.name)
        );
    }
    let several = set.records.iter().filter(|r| r.captions.len() > 1).count();
    Ok(several + members > set.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::exit_code;

    #[test]
    fn images_are_divided_three_to_one_and_early_stopping_has_its_own() {
        let mut options = TuneOptions::new("base", "images", "out");
        assert_eq!(options.sizes(100).unwrap(), (74, 26));
        assert_eq!(options.sizes(3).unwrap(), (2, 1));
        options.nonmembers = Some(10);
        assert_eq!(options.sizes(100).unwrap(), (90, 10));
        options.members = Some(40);
        assert_eq!(options.sizes(100).unwrap(), (40, 10));
        options.nonmembers = None;
        assert_eq!(options.sizes(100).unwrap(), (40, 60));
        options.nonmembers = Some(61);
        let error = options.sizes(100).unwrap_err();
        assert!(error.to_string().contains("60 are left"), "{error}");
        assert_eq!(exit_code(&error), 2);
        let early = TuneOptions {
            rivals: vec![Defense::EarlyStopping],
            ..TuneOptions::new("base", "images", "out")
        };
        // 42 members, 42 to watch, 16 kept back.
        assert_eq!(early.sizes(100).unwrap(), (42, 16));
        assert!(early.sizes(30).is_err());
        assert!(TuneOptions::new("b", "i", "o").sizes(2).is_err());
        let one = TuneOptions::new("b", "i", "o").sizes(1).unwrap_err();
        assert!(one.to_string().contains("i has 1 image: too few"), "{one}");
        let odd = TuneOptions {
            members: Some(5),
            ..TuneOptions::new("b", "i", "o")
        };
        let odd = odd.sizes(100).unwrap_err();
        assert!(odd.to_string().contains("--members 5"), "{odd}");
        assert_eq!(exit_code(&odd), 2);
    }
}

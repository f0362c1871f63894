//! Generated images against real ones.

use crate::bail_usage;
use crate::choices::{Copies, Features};
use crate::session::Session;
use crate::stages::alone;
use crate::stages::copies::{self, Sides};
use crate::stages::features::extract;
use crate::stages::pictures::{self, bytes_of_all};
use crate::stages::real::{FeatureStore, RealImages};
use crate::stages::utility::{Real, extractor, measure};
use anyhow::{Context, Result, bail};
use dualmd_data::{ImageSet, LoadOptions, Split};
use dualmd_metrics::{Gaussian, Likeness, frechet_distance};
use dualmd_record::utility::{Copying, Frechet, ImageQuality, Utility};
use serde::Serialize;

pub use crate::options::MetricsOptions;

/// Compares generated images with real ones. Features of the real ones are kept in the cache folder, so that a second call looks at
/// the generated ones alone.
///
/// # Errors
/// Images that cannot be read; features whose weights are not at hand; sizes that cannot be compared.
pub fn metrics(session: &Session, args: &MetricsOptions) -> Result<Measured> {
    let counts = args.members.is_some() && args.copies != Copies::None;
    if args.features == Features::Auto || (args.features == Features::None && !counts) {
        bail_usage!(
            "--features {}: name what the images are compared by, or name --members to count copies of",
            args.features
        );
    }
    let engine = &session.engine;
    let split = args.split.as_deref().map(Split::load).transpose()?;
    let load = |data: &str| read(data, args, split.as_ref(), session);
    let (generated, real) = (load(&args.generated)?, load(&args.real)?);
    let members = args.members.as_deref().map(load).transpose()?;
    let sets: Vec<&ImageSet> = [&generated, &real].into_iter().chain(&members).collect();
    let differ = different_sizes(&sets);
    let pixels_asked =
        args.features == Features::Pixels || (counts && args.copies == Copies::Pixels);
    if let Some(differ) = differ.as_ref().filter(|_| pixels_asked) {
        bail!("{differ}");
    }
    let [_, height, width] = generated.shape();
    let size = [height, width];
    let seed = args.seed;
    let mut measured = Measured {
        utility: Utility {
            missing: Some(Vec::new()),
            ..Utility::default()
        },
        frechet_to_statistics: None,
    };
    let store = match args.no_cache {
        true => FeatureStore::nowhere(session.reporter.as_ref()),
        false => FeatureStore::in_cache(session.reporter.as_ref()),
    };
    let heldout = store.images(bytes_of_all(&real));
    let inside = members.as_ref().map(|set| store.images(bytes_of_all(set)));
    if let Some(extractor) = extractor(args.features, args.weights.as_deref(), size, engine.device)?
    {
        let features = |images: &RealImages<'_>, set: &ImageSet| {
            images
                .features(extractor.as_ref())
                .with_context(|| format!("features of {}", set.source))
        };
        let groups = |set: &ImageSet| -> Vec<Option<String>> {
            set.records.iter().map(|r| r.group.clone()).collect()
        };
        let sides = Real {
            alone: members
                .as_ref()
                .and_then(|members| alone(&groups(members), &groups(&real))),
            heldout: features(&heldout, &real)?,
            members: match (&inside, &members) {
                (Some(images), Some(set)) => Some(features(images, set)?),
                _ => None,
            },
        };
        let drawn = extract(extractor.as_ref(), &bytes_of_all(&generated))
            .with_context(|| format!("features of {}", generated.source))?;
        measured.utility = measure(&drawn, &sides, seed);
        if let Some(path) = &args.save_statistics {
            Gaussian::of(&sides.heldout).write_npz(path)?;
        }
        if let Some(path) = &args.statistics {
            let theirs = Gaussian::read_npz(path)?;
            let distance = frechet_distance(&Gaussian::of(&drawn.features), &theirs)
                .with_context(|| format!("the distance to {}", path.display()))?;
            measured.frechet_to_statistics = Some(ToStatistics {
                file: path.display().to_string(),
                n: theirs.n(),
                distance,
            });
        }
    } else if args.statistics.is_some() || args.save_statistics.is_some() {
        bail_usage!("--statistics are of features: choose some with --features");
    }
    if let (Some(members), Some(inside)) = (members.filter(|_| counts), inside) {
        let mut likened = copies::likenesses(args.copies, args.copies_weights.as_deref(), size)?;
        if let Some(differ) = &differ {
            likened.retain(|(_, likeness)| *likeness != Likeness::Rmse);
            let missing = measured.utility.missing.get_or_insert_default();
            missing.push(format!("copies by pixels: {differ}"));
        }
        let ids: Vec<&str> = members.records.iter().map(|r| r.id.as_str()).collect();
        let sides = Sides::new(likened, &inside, &heldout)?;
        let copies = sides.measure(&bytes_of_all(&generated), None, &ids, seed)?;
        measured.utility.copies = Some(copies);
    }
    Ok(measured)
}

/// What `utility/MODEL.json` of a run holds, and the distance to another program's statistics.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// As in a run.
    #[serde(flatten)]
    pub utility: Utility,
    /// Where statistics were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frechet_to_statistics: Option<ToStatistics>,
}

impl Measured {
    /// What was found, in lines for people.
    pub fn lines(&self) -> Vec<String> {
        let utility = &self.utility;
        let images = utility.images.iter();
        let distances = images.flat_map(|images| self.distances(images));
        let copies = utility.copies.iter().flatten().flat_map(copies_of);
        let missing = utility.missing.iter().flatten();
        distances
            .chain(copies)
            .chain(missing.map(|reason| format!("not measured: {reason}")))
            .collect()
    }

    fn distances(&self, images: &ImageQuality) -> Vec<String> {
        let line =
            |name: &str, value: f64, rest: String| format!("{name:<24} {value:>10.4}  {rest}");
        let mut out = vec![format!(
            "{} generated, {} real images, features {}",
            images.n_generated, images.n_real, images.features
        )];
        if let Some(ToStatistics { file, distance, .. }) = &self.frechet_to_statistics {
            out.push(line(
                "FD to the statistics",
                distance.value,
                format!("({file})"),
            ));
        }
        if let Some(frechet) = &images.frechet {
            let [low, high] = frechet.ci;
            let range = format!("{low:.4} to {high:.4}");
            out.push(line("Fréchet distance", frechet.distance.value, range));
            let floor = &frechet.floor;
            let n = format!("{} images a side", floor.n);
            out.push(line(
                "  generated and real",
                floor.generated_real.mean,
                n.clone(),
            ));
            out.push(line("  real and real", floor.real_real.mean, n.clone()));
            out.push(line("  excess", floor.excess, n));
        }
        if let Some(kid) = &images.kid {
            let se = format!("unbiased; standard error {:.4}", kid.full_se);
            out.push(line("KID", kid.full, se));
        }
        if let Some(score) = &images.inception_score {
            let most = format!("one split, at most {}", score.upper_bound);
            out.push(line("Inception score", score.mean, most));
        }
        if let Some(found) = &images.precision_recall {
            out.push(line("precision", found.precision, String::new()));
            out.push(line("recall", found.recall, String::new()));
        }
        if let Some(found) = &images.density_coverage {
            out.push(line("density", found.density, String::new()));
            out.push(line("coverage", found.coverage, String::new()));
        }
        if let Some(found) = &images.gap {
            let p = found
                .p_value
                .map(|p| format!("; p = {p:.3}, by kernel distances"));
            let p = p.unwrap_or_default();
            out.push(line(
                "gap to members",
                found.gap,
                format!("below 0: nearer to members{p}"),
            ));
        }
        out
    }
}

/// Copies found by one likeness, and the control.
fn copies_of(c: &Copying) -> [String; 2] {
    let side = if c.likeness == Likeness::Rmse.name() {
        "below"
    } else {
        "above"
    };
    [
        format!(
            "copies by {}: {} of {} generated images, of {} different members ({} {side} {:.4}, passed by {:.2} % of real images it never saw; {:.1} % to {:.1} %)",
            c.features,
            c.found.copies,
            c.n_generated,
            c.found.distinct,
            c.likeness,
            c.found.threshold,
            100.0 * c.false_copy_rate,
            100.0 * c.found.share_ci[0],
            100.0 * c.found.share_ci[1],
        ),
        format!(
            "  at {} images a side: of members {}, of images it never saw {} (thresholds that {:.2} % of such images pass)",
            c.control.n,
            c.control.members.copies,
            c.control.heldout.copies,
            100.0 * c.control.false_copy_rate,
        ),
    ]
}

/// The distance of generated images to the statistics in a file.
#[derive(Debug, Serialize)]
pub struct ToStatistics {
    /// The file.
    pub file: String,
    /// Images that the statistics are of, where the file says.
    pub n: Option<usize>,
    /// The distance.
    pub distance: Frechet,
}

/// What to say where not all sets have one size, and are compared pixel by pixel.
fn different_sizes(sets: &[&ImageSet]) -> Option<String> {
    let size = |set: &ImageSet| {
        let [_, height, width] = set.shape();
        (width, height)
    };
    let first = sets.first()?;
    let other = sets.iter().find(|set| size(set) != size(first))?;
    let ((w, h), (ow, oh)) = (size(first), size(other));
    Some(format!(
        "the pictures of {} are {w}x{h} and those of {} {ow}x{oh}; pixels compare between pictures of one size only, to which --image-size \
         brings all",
        first.source, other.source
    ))
}

/// A set as it is: at its own size and with its own channels. The networks see each picture as it is, as pytorch-fid has it; to
/// bring one set to the size or the grey of the other would measure something else (only `--image-size` does, to all alike).
fn read(
    data: &str,
    args: &MetricsOptions,
    split: Option<&Split>,
    session: &Session,
) -> Result<ImageSet> {
    let set = pictures::load(
        data,
        &LoadOptions {
            image_size: args.image_size,
            split,
            ..LoadOptions::default()
        },
        session.reporter.as_ref(),
    )?;
    if set.is_empty() {
        bail!("{data} holds no images");
    }
    Ok(set)
}

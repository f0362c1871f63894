//! Generated images against real ones.

use crate::choices::Features as Choice;
use crate::session::Session;
use crate::stages::alone;
use crate::stages::copies::{self, Sides};
use crate::stages::pictures::{self, bytes_of_all};
use crate::stages::utility::{Real, extract, extractor, measure};
use crate::{bail_usage, choices};
use anyhow::{Context, Result, bail};
use dualmd_data::{ImageSet, LoadOptions, Split};
use dualmd_metrics::{Gaussian, Likeness, frechet_distance};
use dualmd_record::utility::{Frechet, Utility};
use serde::Serialize;
use std::path::PathBuf;

/// What is compared, and by what.
#[derive(Debug, Clone)]
pub struct MetricsOptions {
    /// Generated images.
    pub generated: String,
    /// Real images that the model never saw.
    pub real: String,
    /// Real images that it was trained on.
    pub members: Option<String>,
    /// Split file that `DATA#member` and `DATA#nonmember` refer to.
    pub split: Option<PathBuf>,
    /// What they are compared by; with none, copies alone are counted.
    pub features: Choice,
    /// File of the features' network.
    pub weights: Option<PathBuf>,
    /// Statistics of real features in the field's format: a distance to these as well.
    pub statistics: Option<PathBuf>,
    /// Where the statistics of the real images are written in that format.
    pub save_statistics: Option<PathBuf>,
    /// What copies of the members are found by.
    pub copies: choices::Copies,
    /// File of the network that copies are found by (ONNX).
    pub copies_weights: Option<PathBuf>,
    /// Bring all images to this side first, in pixels.
    pub image_size: Option<u32>,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Compares generated images with real ones.
///
/// # Errors
/// Images that cannot be read; features whose weights are not at hand; sizes that cannot be compared.
pub fn metrics(session: &Session, args: &MetricsOptions) -> Result<Measured> {
    let counts = args.members.is_some() && args.copies != choices::Copies::None;
    if args.features == Choice::Auto || (args.features == Choice::None && !counts) {
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
        args.features == Choice::Pixels || (counts && args.copies == choices::Copies::Pixels);
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
    if let Some(extractor) = extractor(args.features, args.weights.as_deref(), size, engine.device)?
    {
        let features = |set: &ImageSet| {
            extract(
                extractor.as_ref(),
                &bytes_of_all(set).to_device(engine.device),
            )
            .with_context(|| format!("features of {}", set.source))
        };
        let groups = |set: &ImageSet| -> Vec<Option<String>> {
            set.records.iter().map(|r| r.group.clone()).collect()
        };
        let sides = Real {
            alone: members
                .as_ref()
                .and_then(|members| alone(&groups(members), &groups(&real))),
            heldout: features(&real)?.features,
            members: members
                .as_ref()
                .map(features)
                .transpose()?
                .map(|m| m.features),
        };
        let drawn = features(&generated)?;
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
    if let Some(members) = members.filter(|_| counts) {
        let mut likened = copies::likenesses(args.copies, args.copies_weights.as_deref(), size)?;
        if let Some(differ) = &differ {
            likened.retain(|(_, likeness)| *likeness != Likeness::Rmse);
            let missing = measured.utility.missing.get_or_insert_default();
            missing.push(format!("copies by pixels: {differ}"));
        }
        let ids: Vec<&str> = members.records.iter().map(|r| r.id.as_str()).collect();
        let sides = Sides::new(likened, &bytes_of_all(&members), &bytes_of_all(&real))?;
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

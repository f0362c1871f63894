//! What the generated images are worth: distances of features between them and real images, to `utility/NAME.json`.

use super::copies::Sides;
use super::features::extract;
use super::prepare::Images;
use super::real::FeatureStore;
use super::sample::{of_members, read_samples};
use super::vit::VitFeatures;
use super::{RunFolder, copies, create_folder};
use crate::choices::Features as Choice;
use crate::plan::Plan;
use crate::reporter::meanwhile;
use crate::session::Session;
use anyhow::{Context, Result, bail};
use dualmd_metrics::{
    EfficientNetLite0, Extracted, Extractor, Features, InceptionFid, Layer, Order, Pixels,
    SscdForm, TorchScriptInception, density_coverage, fd_with_interval, frechet_of_features,
    inception_score, kid, memorisation_gap, precision_recall,
};
use dualmd_record::utility::{Asked, ImageQuality, Published, Utility};
use dualmd_torch::Device;
use std::path::{Path, PathBuf};

/// Comparisons of real with real images.
const FLOORS: usize = 5;
/// Neighbours of precision and recall, and of density and coverage: those of the papers.
const NEIGHBOURS: [usize; 2] = [3, 5];
/// Columns of the features that FID is of.
const FID_DIM: usize = 2048;
/// Relabellings of the gap between members and others.
const RELABELLINGS: usize = 999;
/// Variable that names the weights of EfficientNet-Lite0.
pub const WEIGHTS: &str = "DUALMD_EFFLITE0";

/// The file that set-up leaves: in `$DUALMD_EFFLITE0`, else in the cache folder of this project.
pub fn efflite0_weights() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(WEIGHTS).filter(|p| !p.is_empty()) {
        return Some(path.into());
    }
    let path = cache_folder()?.join("efflite0.safetensors");
    path.exists().then_some(path)
}

/// The cache folder of this project, where set-up leaves what it fetches.
pub fn cache_folder() -> Option<PathBuf> {
    let own = std::env::var_os("DUALMD_CACHE").map(PathBuf::from);
    own.or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base =
            base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        Some(base.join("dualmd"))
    })
}

/// Opens what makes features; `None` for [`Choice::Auto`] where no weights are at hand, and for [`Choice::None`].
///
/// # Errors
/// Weights that are missing or are not those of the network.
pub fn extractor(
    choice: Choice,
    weights: Option<&Path>,
    [height, width]: [usize; 2],
    device: Device,
) -> Result<Option<Box<dyn Extractor>>> {
    let inception = |layer: Layer| -> Result<Option<Box<dyn Extractor>>> {
        let Some(weights) = weights else {
            bail!(
                "Inception features need the weights of the FID network, which this program does not bring: name the file \
                 (docs/metrics.md says where they come from)"
            );
        };
        // What the field passes round under this ending is StyleGAN's TorchScript file, inception-2015-12-05.pt.
        if weights.extension().is_some_and(|e| e == "pt") {
            if layer != Layer::FinalPool {
                bail!(
                    "{}: a TorchScript file shows the features behind the final pool only: --features inception-2048",
                    weights.display()
                );
            }
            return Ok(Some(Box::new(TorchScriptInception::load(weights, device)?)));
        }
        Ok(Some(Box::new(InceptionFid::load(weights, layer, device)?)))
    };
    match choice {
        Choice::None => Ok(None),
        Choice::Pixels => Ok(Some(Box::new(Pixels { height, width }))),
        Choice::Auto | Choice::EffLite0 => {
            let path = weights.map(Path::to_path_buf).or_else(efflite0_weights);
            match path {
                Some(path) => Ok(Some(Box::new(EfficientNetLite0::load(&path, device)?))),
                None if choice == Choice::Auto => Ok(None),
                None => bail!(
                    "the weights of EfficientNet-Lite0 are not there: `cargo xtask features`, in a source checkout, fetches \
                     them, or {WEIGHTS} names their file"
                ),
            }
        }
        Choice::Sscd => Ok(Some(Box::new(copies::sscd(SscdForm::Full, weights)?))),
        Choice::SscdDistilled => Ok(Some(Box::new(copies::sscd(SscdForm::Distilled, weights)?))),
        Choice::Vit => match weights {
            Some(folder) => Ok(Some(Box::new(VitFeatures::load(folder, device)?))),
            None => bail!(
                "features of a vision transformer need its folder, which this program does not bring: name it (in Python: \
                 AutoModel.from_pretrained(..).save_pretrained(FOLDER), and the same with AutoImageProcessor)"
            ),
        },
        Choice::Inception64 => inception(Layer::FirstPool),
        Choice::Inception192 => inception(Layer::SecondPool),
        Choice::Inception768 => inception(Layer::PreAux),
        Choice::Inception2048 => inception(Layer::FinalPool),
    }
}

/// The same, and pixels where it would make nothing.
///
/// # Errors
/// As [`extractor`].
pub fn extractor_or_pixels(
    choice: Choice,
    weights: Option<&Path>,
    [height, width]: [usize; 2],
    device: Device,
) -> Result<Box<dyn Extractor>> {
    let found = extractor(choice, weights, [height, width], device)?;
    Ok(found.unwrap_or_else(|| Box::new(Pixels { height, width })))
}

/// What the real images of a comparison are.
pub struct Real {
    /// Images the model did not learn from: what it is compared with.
    pub heldout: Features,
    /// Images it learnt from, for the gap.
    pub members: Option<Features>,
    /// Members and held-out images that the gap is about, where not all: one of each group ([`alone`](super::alone)).
    pub alone: Option<[Vec<usize>; 2]>,
}

/// All numbers about one set of generated images. A number that cannot be had from so few images is left out, with the reason.
pub fn measure(generated: &Extracted, real: &Real, seed: u64) -> Utility {
    let mut missing = Vec::new();
    let (g, held) = (&generated.features, &real.heldout);
    let frechet = fd_with_interval(g, held, FLOORS, seed);
    let frechet = keep("Fréchet distance", frechet, &mut missing);
    let kernel = kid(g, held, dualmd_metrics::KID_SUBSETS, seed);
    let kernel = keep("kernel distance", kernel, &mut missing);
    let pr = precision_recall(g, held, NEIGHBOURS[0]);
    let pr = keep("precision and recall", pr, &mut missing);
    let dc = density_coverage(g, held, NEIGHBOURS[1]);
    let dc = keep("density and coverage", dc, &mut missing);
    let score = |splits| {
        let logits = &generated.logits.as_ref()?.unbiased;
        Some(inception_score(logits, splits, Order::Shuffled(seed)))
    };
    let one = score(1).and_then(|one| keep("Inception score", one, &mut missing));
    // As public codes print FID and IS: to every training image of the data set, member or not, and in ten splits.
    let published = real.members.as_ref().filter(|_| is_fid(g)).map(|members| {
        let all = members.concat(held);
        let all = all.and_then(|all| frechet_of_features(g, &all));
        let all = keep("Fréchet distance to all training images", all, &mut missing);
        let ten = score(10);
        Published {
            frechet: all,
            inception_score: ten
                .and_then(|ten| keep("Inception score in ten splits", ten, &mut missing)),
        }
    });
    let gap = real.members.as_ref().and_then(|members| {
        let gap = match &real.alone {
            None => memorisation_gap(g, members, held, RELABELLINGS, seed),
            Some([own, others]) => members.select(own).and_then(|members| {
                memorisation_gap(g, &members, &held.select(others)?, RELABELLINGS, seed)
            }),
        };
        keep("gap between members and others", gap, &mut missing)
    });
    Utility {
        images: Some(ImageQuality {
            features: g.extractor().to_owned(),
            n_generated: g.count(),
            n_real: held.count(),
            frechet,
            kid: kernel,
            inception_score: one,
            precision_recall: pr,
            density_coverage: dc,
            gap,
            published,
        }),
        missing: Some(missing),
        ..Utility::default()
    }
}

/// Are these the features that FID is of?
fn is_fid(features: &Features) -> bool {
    features.extractor().starts_with("inception") && features.dim() == FID_DIM
}

/// What was measured; what was not, goes to `missing` with the reason.
fn keep<T>(
    name: &str,
    measured: dualmd_metrics::Result<T>,
    missing: &mut Vec<String>,
) -> Option<T> {
    measured
        .map_err(|reason| missing.push(format!("{name}: {reason}")))
        .ok()
}

/// Utility of every audited model of a plan. Returns false if asked to stop before the end.
pub fn all(run: &RunFolder, plan: &Plan, images: &Images, session: &Session) -> Result<bool> {
    let device = session.engine.device;
    let weights = plan.sample.features_weights.as_deref().map(Path::new);
    let [_, height, width] = images.set().shape();
    let extractor = extractor(plan.sample.features, weights, [height, width], device)?;
    let weights = plan.sample.copies_weights.as_deref().map(Path::new);
    let likened = copies::likenesses(plan.sample.copies, weights, [height, width])?;
    // What is asked may change when a run goes on, and what set-up has fetched.
    let likenesses: Vec<String> = likened.iter().map(|(e, _)| e.name()).collect();
    let asked = Asked(
        extractor.as_ref().map(|e| e.name()),
        plan.sample.features_weights.clone(),
        likenesses,
        plan.sample.copies_weights.clone(),
    );
    let mut wanted = Vec::new();
    for target in &plan.models {
        let found: Option<Utility> = dualmd_record::read_if_usable(&run.utility(&target.name))?;
        if found.and_then(|found| found.asked).as_ref() != Some(&asked) {
            wanted.push(target.name.as_str());
        }
    }
    if wanted.is_empty() || (extractor.is_none() && likened.is_empty()) {
        return Ok(true);
    }
    create_folder(&run.0.join("utility"))?;
    let s = &images.selected;
    let store = FeatureStore::new(run.real_features(), session.reporter.as_ref());
    let (members, heldout) = (
        store.images(images.tensor(&s.members, device)?),
        store.images(images.tensor(&s.nonmembers, device)?),
    );
    let reporter = session.reporter.as_ref();
    let (real, sides) = meanwhile(reporter, "", "features of real images", || {
        let real = match &extractor {
            Some(extractor) => Some(Real {
                heldout: heldout.features(extractor.as_ref())?,
                members: Some(members.features(extractor.as_ref())?),
                alone: images.alone(),
            }),
            None => None,
        };
        anyhow::Ok((real, Sides::new(likened, &members, &heldout)?))
    })?;
    let ids: Vec<&str> = s
        .members
        .iter()
        .map(|&i| images.set().records[i].id.as_str())
        .collect();
    let per_prompt = plan.model.text.then_some(plan.sample.per_prompt);
    for name in wanted {
        if session.stopped() {
            return Ok(false);
        }
        let drawn = read_samples(run, name)?.to_device(device);
        let explain = || format!("features of the images of {name}");
        let mut measured = Utility::default();
        if let (Some(extractor), Some(real)) = (&extractor, &real) {
            let for_members = of_members(plan, images, drawn.shallow_clone());
            measured = meanwhile(reporter, name, "quality", || {
                let generated = extract(extractor.as_ref(), &for_members).with_context(explain)?;
                anyhow::Ok(measure(&generated, real, plan.seed))
            })?;
        }
        let copies = meanwhile(reporter, name, "copies", || {
            sides.measure(&drawn, per_prompt, &ids, plan.seed)
        });
        measured.copies = Some(copies.with_context(explain)?);
        measured.asked = Some(asked.clone());
        dualmd_record::write(&run.utility(name), &measured)?;
        session.reporter.finished(name, "utility measured");
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torchscript_file_is_known_by_its_ending() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden/torchscript/inception.pt");
        let open = |choice| extractor(choice, Some(&file), [8, 8], Device::Cpu);
        let found = open(Choice::Inception2048).unwrap().unwrap();
        assert_eq!(found.name(), "inception-torchscript-2048");
        let error = open(Choice::Inception768).err().unwrap().to_string();
        assert!(error.contains("inception-2048"), "{error}");
    }
}

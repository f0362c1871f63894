//! How many generated images are copies of members, for `copies` in `utility/NAME.json`.

use super::features::extract;
use super::real::RealImages;
use super::utility::cache_folder;
use crate::choices::Copies as Choice;
use anyhow::{Context, Result, bail};
use dualmd_metrics::copies::{FALSE_COPIES, Likeness, Pair, copies, to_own};
use dualmd_metrics::{Extractor, Features, Pixels, Sscd, SscdForm};
use dualmd_record::utility::{CopyPair, Copying, OwnPrompt};
use dualmd_torch::Tensor;
use std::path::{Path, PathBuf};

/// Variable that names the folder of the networks.
const FOLDER: &str = "DUALMD_SSCD";
/// Variable that names the library; it is that of the crate `ort`.
const RUNTIME: &str = "ORT_DYLIB_PATH";

/// What images are likened by, and how two of its rows compare.
pub type Likened = (Box<dyn Extractor>, Likeness);

/// The network of one form and the library that runs it: in `$DUALMD_SSCD` and `$ORT_DYLIB_PATH`, else where set-up leaves them.
pub struct SscdFiles {
    model: PathBuf,
    runtime: PathBuf,
}

impl SscdFiles {
    /// Where they should be; `weights` names another network's file.
    pub fn of(form: SscdForm, weights: Option<&Path>) -> Option<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let folder = variable(FOLDER)
            .map(PathBuf::from)
            .or_else(|| Some(cache_folder()?.join("sscd")))?;
        Some(Self {
            model: weights.map_or_else(|| folder.join(form.file()), Path::to_path_buf),
            runtime: variable(RUNTIME)
                .map_or_else(|| folder.join("libonnxruntime.so"), PathBuf::from),
        })
    }

    /// Have they been fetched, and can this program run them?
    pub fn are_there(&self) -> bool {
        Sscd::BUILT_IN && self.model.is_file() && self.runtime.is_file()
    }
}

/// The network of one form; `weights` names another file.
///
/// # Errors
/// Files that are missing, or are not what they should be.
pub fn sscd(form: SscdForm, weights: Option<&Path>) -> Result<Sscd> {
    let Some(files) = SscdFiles::of(form, weights) else {
        bail!(
            "the files of SSCD are not there: `cargo xtask features`, in a source checkout, fetches them, or {FOLDER} names their folder"
        );
    };
    Ok(Sscd::load(form, &files.model, &files.runtime)?)
}

/// Opens what images are likened by; pixels are always among it, but for [`Choice::None`].
///
/// # Errors
/// Files that are missing, or are not what they should be.
pub fn likenesses(
    choice: Choice,
    weights: Option<&Path>,
    [height, width]: [usize; 2],
) -> Result<Vec<Likened>> {
    let form = match choice {
        Choice::None => return Ok(Vec::new()),
        Choice::Pixels => None,
        Choice::Sscd => Some(SscdForm::Full),
        Choice::Auto | Choice::SscdDistilled => Some(SscdForm::Distilled),
    };
    let mut all: Vec<Likened> = Vec::new();
    if let Some(form) = form {
        let there = SscdFiles::of(form, weights).is_some_and(|files| files.are_there());
        if choice != Choice::Auto || weights.is_some() || there {
            let network = sscd(form, weights)
                .context("SSCD cannot be had; copies can be counted by pixels alone")?;
            all.push((Box::new(network), Likeness::Cosine));
        }
    }
    all.push((Box::new(Pixels { height, width }), Likeness::Rmse));
    Ok(all)
}

/// Members and held-out images, ready to be compared with.
pub struct Sides(Vec<Side>);

struct Side {
    extractor: Box<dyn Extractor>,
    likeness: Likeness,
    members: Features,
    heldout: Features,
}

impl Sides {
    /// With fewer than two of either nothing will be counted.
    ///
    /// # Errors
    /// What an extractor refuses.
    pub fn new(
        likened: Vec<Likened>,
        members: &RealImages<'_>,
        heldout: &RealImages<'_>,
    ) -> Result<Self> {
        if members.count().min(heldout.count()) < 2 {
            return Ok(Self(Vec::new()));
        }
        let side = |(extractor, likeness): Likened| {
            Ok(Side {
                members: members.features(extractor.as_ref())?,
                heldout: heldout.features(extractor.as_ref())?,
                extractor,
                likeness,
            })
        };
        Ok(Self(likened.into_iter().map(side).collect::<Result<_>>()?))
    }

    /// One entry for each likeness. `generated`: as the others. `per_prompt`: of a text-to-image model that drew so many
    /// for the caption of every member, then of every held-out image; those for members are looked through for copies, and both
    /// are compared with the images that their captions are of. `ids`: of the members.
    ///
    /// # Errors
    /// What an extractor refuses; another number of images than captions times `per_prompt`.
    pub fn measure(
        &self,
        generated: &Tensor,
        per_prompt: Option<usize>,
        ids: &[&str],
        seed: u64,
    ) -> Result<Vec<Copying>> {
        if generated.size()[0] < 2 {
            return Ok(Vec::new());
        }
        let measured = self.0.iter().map(|side| {
            let drawn = extract(side.extractor.as_ref(), generated)?.features;
            side.measure(&drawn, per_prompt, ids, seed)
        });
        measured.collect()
    }
}

impl Side {
    fn measure(
        &self,
        drawn: &Features,
        per_prompt: Option<usize>,
        ids: &[&str],
        seed: u64,
    ) -> Result<Copying> {
        let (members, heldout) = (&self.members, &self.heldout);
        let mut own_prompt = None;
        let mut of_members = drawn.clone();
        let mut strangers = None;
        if let Some(k) = per_prompt {
            let split = members.count() * k;
            let rows = |range: std::ops::Range<usize>| drawn.select(&range.collect::<Vec<_>>());
            let others = rows(split..drawn.count())?;
            of_members = rows(0..split)?;
            let mean = |drawn: &Features, images: &Features| {
                let rows: Vec<usize> = (0..drawn.count()).map(|i| i / k).collect();
                to_own(drawn, images, &rows, self.likeness)
            };
            own_prompt = Some(OwnPrompt {
                members: mean(&of_members, members)?,
                heldout: mean(&others, heldout)?,
            });
            strangers = Some(others);
        }
        let counted = copies(
            &of_members,
            strangers.as_ref(),
            members,
            heldout,
            self.likeness,
            FALSE_COPIES,
            seed,
        )?;
        let pair = |pair: &Pair| CopyPair {
            generated: pair.generated,
            member_id: ids.get(pair.member).map(|&id| id.to_owned()),
            likeness: pair.likeness,
        };
        Ok(Copying {
            pairs: counted.pairs.iter().map(pair).collect(),
            features: counted.features,
            likeness: counted.likeness.name().to_owned(),
            n_generated: counted.n_generated,
            n_members: counted.n_members,
            n_heldout: counted.n_heldout,
            false_copy_rate: counted.false_copy_rate,
            found: counted.found,
            control: counted.control,
            own_prompt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::FeatureStore;
    use crate::reporter::Silent;
    use dualmd_torch::{Device, Kind};

    /// By pixels, of images that are one colour each.
    fn sides(members: &[f64], heldout: &[f64]) -> Sides {
        let likened = likenesses(Choice::Pixels, None, [2, 2]).unwrap();
        let store = FeatureStore::nowhere(&Silent);
        let [members, heldout] = [members, heldout].map(|values| store.images(flat(values)));
        Sides::new(likened, &members, &heldout).unwrap()
    }

    fn flat(values: &[f64]) -> Tensor {
        let images: Vec<Tensor> = values
            .iter()
            .map(|&v| Tensor::full([1, 1, 2, 2], v, (Kind::Float, Device::Cpu)))
            .collect();
        Tensor::cat(&images, 0)
    }

    #[test]
    fn a_copy_is_counted_and_named() {
        let sides = sides(&[-1.0, 0.0, 1.0], &[-0.5, 0.5]);
        let ids = ["black", "grey", "white"];
        let found = sides.measure(&flat(&[0.9, -0.5]), None, &ids, 1).unwrap();
        let pixels = &found[0];
        assert_eq!(pixels.features, "pixels-2x2");
        assert_eq!((pixels.found.copies, pixels.likeness.as_str()), (1, "rmse"));
        assert_eq!(pixels.pairs[0].member_id.as_deref(), Some("white"));
        assert_eq!(pixels.pairs[0].generated, 0);
        assert_eq!(pixels.own_prompt, None);
    }

    #[test]
    fn images_for_captions_are_compared_with_their_own() {
        let sides = sides(&[-1.0, 1.0], &[-0.2, 0.2]);
        // Two for each caption: exact for the members, off by 0.4 of 2 for the others.
        let drawn = flat(&[-1.0, -1.0, 1.0, 1.0, 0.2, 0.2, -0.2, -0.2]);
        let found = sides.measure(&drawn, Some(2), &["a", "b"], 1).unwrap();
        let own = found[0].own_prompt.unwrap();
        assert_eq!(own.members, 0.0);
        assert!((own.heldout - 0.2).abs() < 0.005, "{own:?}");
        assert_eq!(found[0].n_generated, 4);
        assert!(
            sides
                .measure(&flat(&[0.0; 6]), Some(4), &["a", "b"], 1)
                .is_err()
        );
    }

    #[test]
    fn too_few_images_are_not_counted() {
        let one = sides(&[0.0], &[0.0, 1.0]);
        assert_eq!(
            one.measure(&flat(&[0.0, 1.0]), None, &["a"], 1).unwrap(),
            []
        );
        let two = sides(&[0.0, 0.5], &[0.0, 1.0]);
        assert_eq!(
            two.measure(&flat(&[0.0]), None, &["a", "b"], 1).unwrap(),
            []
        );
        assert!(likenesses(Choice::None, None, [2, 2]).unwrap().is_empty());
        let missing = likenesses(Choice::Sscd, Some(Path::new("none.onnx")), [2, 2]);
        let error = format!("{:#}", missing.err().unwrap());
        assert!(error.contains("cargo xtask features"), "{error}");
    }
}

//! How well drawn images fit their prompts where no CLIP is at hand: by a head between MiniLM's sentences and EfficientNet-Lite0's
//! features, learnt from captioned images that are neither measured nor have a measured prompt for a caption.

use super::features::{hash_answer, vectors};
use super::hashes::hash_tensor;
use super::text::captions_of;
use super::utility::{cache_folder, extractor};
use super::{create_folder, remove};
use crate::choices::Features;
use anyhow::{Context, Result, bail};
use dualmd_data::{ImageSet, stream};
use dualmd_encoders::SentenceEncoder;
use dualmd_encoders::fit::{Fit, Pairs};
use dualmd_files::limit;
use dualmd_metrics::Extractor;
use dualmd_record::memorisation::Calibration;
use dualmd_record::write_json;
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Variable that names the folder of the sentence encoder.
const FOLDER: &str = "DUALMD_MINILM";
/// Most images that are learnt from; their features take 20 ms each on two cores.
const MOST: usize = 4_000;
/// Images through the network at a time.
const CHUNK: usize = 64;

/// The folder of the sentence encoder: in `$DUALMD_MINILM`, else where set-up leaves it; `None` if it is not there.
pub fn sentences() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER).filter(|v| !v.is_empty()) {
        return Some(folder.into());
    }
    Some(cache_folder()?.join("minilm")).filter(|folder| folder.join("config.json").is_file())
}

/// A head with the networks before it.
pub struct Fitting {
    fit: Fit,
    /// What it is worth.
    pub calibration: Calibration,
    encoder: SentenceEncoder,
    extractor: Box<dyn Extractor>,
}

impl Fitting {
    /// Learns a head from the images of `set`, or reads the one in `kept` if it was learnt from the same. `measured`: ids of images
    /// and texts that are measured with it, and are no part of the lesson.
    ///
    /// # Errors
    /// Networks that are not at hand; too few pairs.
    pub fn learn(
        set: &ImageSet,
        measured: (&BTreeSet<&str>, &BTreeSet<&str>),
        seed: u64,
        kept: &Path,
        device: Device,
    ) -> Result<Self> {
        let Some(folder) = sentences() else {
            bail!(
                "--fit needs a sentence encoder: `cargo xtask features`, in a source checkout, fetches all-MiniLM-L6-v2, or {FOLDER} names its folder"
            );
        };
        let encoder = SentenceEncoder::load(&folder, device)?;
        let sides = [set.shape()[1], set.shape()[2]];
        let extractor = extractor(Features::EffLite0, None, sides, device)?
            .context("EfficientNet-Lite0 gave no features")?;
        let positions = lesson(set, measured, seed)?;
        let captions: Vec<&[String]> = positions
            .iter()
            .map(|&i| captions_of(set, &set.records[i]))
            .collect::<Result<_>>()?;
        let (texts, of) = distinct(&captions);
        let told = encoder.encode(&texts)?;
        // What two pictures become stands for the weights of the network.
        let some = super::pictures::tensor(set, &positions[..positions.len().min(2)]);
        let ids: Vec<&str> = positions
            .iter()
            .map(|&i| set.records[i].id.as_str())
            .collect();
        let key = blake3::hash(
            format!(
                "{} {} {ids:?} {of:?} {seed} {}",
                hash_tensor(&told)?,
                hash_answer(extractor.as_ref(), &some)?,
                dualmd_encoders::fit::VERSION
            )
            .as_bytes(),
        )
        .to_hex()
        .to_string();
        if let Some((fit, calibration)) = read(kept, &key) {
            return Ok(Self {
                fit,
                calibration,
                encoder,
                extractor,
            });
        }
        let mut parts = Vec::new();
        for some in positions.chunks(CHUNK) {
            let x = super::pictures::tensor(set, some);
            parts.push(vectors(extractor.as_ref(), &x)?);
        }
        let pairs = Pairs {
            images: &Tensor::f_cat(&parts, 0)?,
            texts: &told,
            of: &of,
        };
        let (fit, calibration) = Fit::learn(pairs, seed)?;
        write(kept, &key, &fit, &calibration)?;
        Ok(Self {
            fit,
            calibration,
            encoder,
            extractor,
        })
    }

    /// Name of the measure.
    pub fn name(&self) -> String {
        format!("minilm-{}", self.extractor.name())
    }

    /// Fits of images [N k, C, H, W] in [-1, 1], k in a row for each of N prompts: means over a prompt's images.
    ///
    /// # Errors
    /// What a network refuses.
    pub fn of(&self, prompts: &[&str], images: &Tensor) -> Result<Vec<f64>> {
        let (n, all) = (prompts.len() as i64, images.size()[0]);
        let seen = self
            .fit
            .images(&vectors(self.extractor.as_ref(), images)?)?;
        let told = self.fit.texts(&self.encoder.encode(prompts)?)?;
        let told = told.f_repeat_interleave_self_int(all / n, 0, None)?;
        let fits = (seen * told).f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?;
        let means =
            fits.f_view([n, all / n])?
                .f_mean_dim([1i64].as_slice(), false, Kind::Double)?;
        Ok(Vec::try_from(means)?)
    }
}

/// Positions of the pictures to learn from: at most [`MOST`], by seed.
fn lesson(
    set: &ImageSet,
    (ids, texts): (&BTreeSet<&str>, &BTreeSet<&str>),
    seed: u64,
) -> Result<Vec<usize>> {
    let mut free: Vec<usize> = (0..set.len())
        .filter(|&i| {
            let record = &set.records[i];
            !ids.contains(record.id.as_str())
                && !record.captions.iter().any(|c| texts.contains(c.as_str()))
        })
        .collect();
    if free.is_empty() {
        bail!(
            "--fit {}: every image there is measured or has a measured prompt for a caption: give other captioned images of the \
             same kind",
            set.source
        );
    }
    free.shuffle(&mut stream(seed, "fit/images", 0));
    free.truncate(MOST);
    free.sort_unstable();
    Ok(free)
}

/// Each text once, and the rows of each list, a text that is there twice counting once.
fn distinct<'a>(lists: &[&'a [String]]) -> (Vec<&'a str>, Vec<Vec<usize>>) {
    let (mut rows, mut texts) = (BTreeMap::new(), Vec::new());
    let of = lists
        .iter()
        .map(|list| {
            let mut own = Vec::new();
            for text in *list {
                let row = *rows.entry(text.as_str()).or_insert_with(|| {
                    texts.push(text.as_str());
                    texts.len() - 1
                });
                if !own.contains(&row) {
                    own.push(row);
                }
            }
            own
        })
        .collect();
    (texts, of)
}

/// What is written beside a head.
#[derive(Serialize, Deserialize)]
struct Learnt {
    /// Hash of all that it was learnt from.
    of: String,
    calibration: Calibration,
}

/// The description beside a head.
fn beside(kept: &Path) -> PathBuf {
    kept.with_extension("json")
}

/// A head that was learnt from the same; nothing if there is none or it is damaged.
fn read(kept: &Path, key: &str) -> Option<(Fit, Calibration)> {
    let description = dualmd_files::read(&beside(kept), limit::TABLE).ok()?;
    let Learnt { of, calibration } = serde_json::from_slice(&description).ok()?;
    if of != key {
        return None;
    }
    let fit = Fit::from_tensors(read_safetensors(kept).ok()?).ok()?;
    Some((fit, calibration))
}

fn write(kept: &Path, key: &str, fit: &Fit, calibration: &Calibration) -> Result<()> {
    if let Some(folder) = kept.parent() {
        create_folder(folder)?;
    }
    // What stood there is another head's.
    remove(&beside(kept))?;
    write_safetensors(kept, fit.tensors(), &[("of", key)])?;
    let learnt = Learnt {
        of: key.to_owned(),
        calibration: calibration.clone(),
    };
    // As a value, whose keys are in alphabetical order.
    Ok(write_json(&beside(kept), &serde_json::to_value(learnt)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_once() {
        let lists: Vec<Vec<String>> = [vec!["a", "b", "a"], vec!["b"], vec!["c", "a"]]
            .into_iter()
            .map(|l| l.into_iter().map(str::to_owned).collect())
            .collect();
        let lists: Vec<&[String]> = lists.iter().map(Vec::as_slice).collect();
        let (texts, of) = distinct(&lists);
        assert_eq!(texts, ["a", "b", "c"]);
        assert_eq!(of, [vec![0, 1], vec![1], vec![2, 0]]);
    }
}

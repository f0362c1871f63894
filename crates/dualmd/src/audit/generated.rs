//! Images that the model generated, given in place of the model: all that someone has who sees what is published.

use super::case::Case;
use super::options::ScoreOptions;
use crate::reporter::Reporter;
use crate::stages::pictures::{self, as_seen, tensor_of_all};
use anyhow::{Context, Result, bail};
use dualmd_data::{ImageSet, LoadOptions, Record};
use dualmd_diffusion::{Condition, Denoiser, DiffusionError, Foreign, NoiseSchedule};
use dualmd_files::shown;
use dualmd_names::{AttackSpec, BaseAttack};
use dualmd_torch::Tensor;
use std::collections::HashMap;

/// A model of which nothing but images is known.
#[derive(Debug)]
pub struct Unseen {
    source: String,
    schedule: NoiseSchedule,
    shape: [i64; 3],
    images: usize,
    /// Hash over the images.
    fingerprint: String,
}

impl Unseen {
    /// Reads the images, and gives them beside it: all of one size, and square.
    ///
    /// # Errors
    /// They cannot be read; they are of several sizes, or not square.
    pub fn open(
        source: &str,
        args: &ScoreOptions,
        reporter: &dyn Reporter,
    ) -> Result<(Self, ImageSet)> {
        let set = load(source, None, args, reporter)?;
        let [c, h, w] = set.shape();
        if h != w {
            bail!(
                "{}: the generated images are of {w} x {h}: only square ones can be audited yet",
                shown(source)
            );
        }
        let mut hasher = blake3::Hasher::new();
        for record in &set.records {
            hasher.update(record.id.as_str().as_bytes());
        }
        let unseen = Self {
            source: source.to_owned(),
            schedule: NoiseSchedule::default(),
            shape: [c as i64, h as i64, w as i64],
            images: set.len(),
            fingerprint: hasher.finalize().to_hex().to_string(),
        };
        Ok((unseen, set))
    }

    /// What its answers depend on.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl Denoiser for Unseen {
    fn predict_noise(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        Err(DiffusionError::Foreign(format!(
            "of this model nothing is there but {}: name the model too for attacks that ask it",
            shown(&self.source)
        )))
    }
}

impl Foreign for Unseen {
    fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    fn sample_shape(&self) -> [i64; 3] {
        self.shape
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::Value::from_iter([("images", self.images)])
    }

    fn notes(&self) -> Vec<String> {
        vec![format!(
            "nothing of the model was there but {} images that it generated: only attackers who see these are tested, and one who sees more images finds more",
            self.images
        )]
    }
}

/// Does the attack need nothing but generated images and the samples?
pub fn is_enough(spec: &AttackSpec) -> bool {
    matches!(
        spec.base(),
        BaseAttack::Nearest | BaseAttack::NearestFeatures | BaseAttack::Density
    )
}

/// The images that `args` give, as the model of `case` draws them: of one that is told captions, those for the samples' main captions, as
/// many for each as are drawn. `None` if none are given.
///
/// # Errors
/// They cannot be read; a caption for which there are too few.
pub fn given(case: &Case, args: &ScoreOptions, reporter: &dyn Reporter) -> Result<Option<Tensor>> {
    let Some(source) = &args.generated else {
        return Ok(None);
    };
    let loaded;
    let set = match &case.seen {
        Some(set) => set,
        None => {
            let shape = case.images.members.shape().map(|d| d as i64);
            loaded = load(source, Some(shape), args, reporter)?;
            &loaded
        }
    };
    if !case.generator.first().is_told() {
        return Ok(Some(tensor_of_all(set)));
    }
    let texts = case
        .images
        .texts()
        .context("a model with text and no captions")?;
    if set.records.iter().all(|r| r.captions.is_empty()) {
        bail!(
            "{}: the images have no captions: this model is told a text, so each image needs the caption that it was generated for (metadata.jsonl), and \
             there have to be some for the captions of members and of non-members",
            shown(source)
        );
    }
    let mut places = Vec::new();
    let mut of: HashMap<&str, std::vec::IntoIter<usize>> = by_caption(&set.records);
    for own in &texts {
        let caption = own.first().map_or("", String::as_str);
        for _ in 0..args.draw.per_prompt {
            let Some(place) = of.get_mut(caption).and_then(Iterator::next) else {
                bail!(
                    "{}: too few images for the caption {:?}: {} are needed for each sample's (--per-prompt), each with its caption in metadata.jsonl",
                    shown(source),
                    caption,
                    args.draw.per_prompt
                );
            };
            places.push(place);
        }
    }
    let records = places.iter().map(|&i| set.records[i].clone()).collect();
    let chosen = ImageSet::new(set.source.clone(), None, records)?;
    Ok(Some(tensor_of_all(&chosen)))
}

/// The places of the images of each caption, in their order.
fn by_caption(records: &[Record]) -> HashMap<&str, std::vec::IntoIter<usize>> {
    let mut of: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, record) in records.iter().enumerate() {
        let caption = record.captions.first().map_or("", String::as_str);
        of.entry(caption).or_default().push(i);
    }
    of.into_iter().map(|(k, v)| (k, v.into_iter())).collect()
}

fn load(
    source: &str,
    shape: Option<[i64; 3]>,
    args: &ScoreOptions,
    reporter: &dyn Reporter,
) -> Result<ImageSet> {
    let as_drawn = LoadOptions {
        channels: shape.and_then(|s| u8::try_from(s[0]).ok()),
        ..as_seen(shape)
    };
    let options = LoadOptions {
        caption_column: args.caption_column.as_deref(),
        alpha: args.alpha,
        ..as_drawn
    };
    let set = pictures::load(source, &options, reporter)
        .with_context(|| format!("--generated {}", shown(source)))?;
    if set.len() < 2 {
        bail!(
            "--generated {}: {} images, and at least 2 are needed",
            shown(source),
            set.len()
        );
    }
    Ok(set)
}

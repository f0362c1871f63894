//! `utility/MODEL.json`: generated images against real ones, and copies among them.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::RunFile;
use crate::number::if_known;

/// What the images of one model are worth.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Utility {
    /// Distances of features to real images; none where no features were at hand. Its fields stand beside the others in the file.
    #[serde(flatten, deserialize_with = "images_of")]
    pub images: Option<ImageQuality>,
    /// What could not be measured, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<String>>,
    /// Copies of members among the generated images, for each likeness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<Vec<Copying>>,
    /// What was to be measured when the file was written. A run that asks for something else measures again.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "if_known")]
    pub asked: Option<Asked>,
    /// Hash over all that the file follows from, where an audit measured: while it is the same, nothing is measured again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

impl RunFile for Utility {}

/// What a run asks of its images: name of the features, file of their weights, names of the likenesses, file of their weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked(
    pub Option<String>,
    pub Option<String>,
    pub Vec<String>,
    pub Option<String>,
);

/// The distances, if the features have a name.
fn images_of<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<ImageQuality>, D::Error> {
    let fields = Map::<String, Value>::deserialize(deserializer)?;
    match fields.get("features") {
        None | Some(Value::Null) => Ok(None),
        Some(_) => serde_json::from_value(Value::Object(fields))
            .map(Some)
            .map_err(D::Error::custom),
    }
}

/// Generated images against real ones that no model saw. What cannot be had from so few images is null.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageQuality {
    /// Name of the features.
    pub features: String,
    /// Generated images.
    #[serde(default)]
    pub n_generated: usize,
    /// Real images.
    #[serde(default)]
    pub n_real: usize,
    /// Frechet distance with interval and floor.
    pub frechet: Option<FrechetReport>,
    /// Kernel distance.
    pub kid: Option<Kid>,
    /// Inception score in one split, of features that have classes.
    pub inception_score: Option<InceptionScore>,
    /// Precision and recall.
    pub precision_recall: Option<PrecisionRecall>,
    /// Density and coverage.
    pub density_coverage: Option<DensityCoverage>,
    /// Distances to members and to non-members.
    pub gap: Option<MemorisationGap>,
    /// Frechet distance and Inception score as public codes print them, of Inception features only.
    pub published: Option<Published>,
}

/// Image quality as public codes print it: against all training images of the data set, members or not.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// Frechet distance to all training images.
    pub frechet: Option<Frechet>,
    /// Inception score in ten splits.
    pub inception_score: Option<InceptionScore>,
}

/// A Frechet distance with its interval and its floor.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FrechetReport {
    /// The distance over all images.
    pub distance: Frechet,
    /// 95 % interval of the expected distance at these numbers of images, not below 0.
    pub ci: [f64; 2],
    /// Jackknife standard deviation from the choice of generated images.
    pub sd_generated: f64,
    /// Jackknife standard deviation from the choice of real images.
    pub sd_real: f64,
    /// The comparison at equal n.
    pub floor: Floor,
}

/// A Frechet distance.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Frechet {
    /// The distance (a squared length, as the field reports it); not below 0.
    pub value: f64,
    /// The part |m1 - m2|^2 of it.
    pub mean_term: f64,
    /// Images on either side, where known.
    pub n: [Option<usize>; 2],
    /// Columns of the features, D.
    pub dim: usize,
    /// Whether a side is known to have no more images than D: its covariance has no full rank, and much of the value is
    /// bias.
    pub rank_deficient: bool,
}

/// Distances at one n on every side.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Floor {
    /// Images on each side of each distance.
    pub n: usize,
    /// Whether n is at most D: covariances without full rank.
    pub rank_deficient: bool,
    /// Real against other real images: what a perfect model would score.
    pub real_real: Spread,
    /// Generated against the first half of the same real images.
    pub generated_real: Spread,
    /// Mean of `generated_real` less mean of `real_real`: what is the model's own.
    pub excess: f64,
}

/// A quantity that was measured several times.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Lowest.
    pub low: f64,
    /// Highest.
    pub high: f64,
    /// All, in the order of the repetitions.
    pub values: Vec<f64>,
}

/// Kernel distance.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Kid {
    /// Mean over the subsets.
    pub mean: f64,
    /// Standard deviation over the subsets (division by their number, as the field has it).
    pub sd: f64,
    /// Subsets drawn.
    pub subsets: usize,
    /// Images per subset on either side: 1,000, or half the smaller side where that has fewer.
    pub subset_size: usize,
    /// The unbiased estimate from all images.
    pub full: f64,
    /// Jackknife standard error of `full`, over the images of both sides.
    pub full_se: f64,
}

/// Inception score.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InceptionScore {
    /// Mean over the splits.
    pub mean: f64,
    /// Standard deviation over the splits (division by their number, as the field has it).
    pub sd: f64,
    /// The score of each split.
    pub splits: Vec<f64>,
    /// What no split can exceed: the smaller of classes and images in the largest split.
    pub upper_bound: usize,
}

/// Improved precision and recall.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PrecisionRecall {
    /// Share of generated images that look like real ones.
    pub precision: f64,
    /// Share of real images that the model could have drawn.
    pub recall: f64,
    /// Neighbours.
    pub k: usize,
    /// Generated and real images.
    pub n: [usize; 2],
}

/// Density and coverage.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DensityCoverage {
    /// Around 1 for a perfect model; above where it stays among crowded real images.
    pub density: f64,
    /// Share of real images with a generated one nearby.
    pub coverage: f64,
    /// Neighbours.
    pub k: usize,
    /// Generated and real images.
    pub n: [usize; 2],
}

/// Are generated images nearer to the training images than to others of the same kind?
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemorisationGap {
    /// Distance from the generated images to the members.
    pub to_members: f64,
    /// Distance from the generated images to the non-members.
    pub to_nonmembers: f64,
    /// `to_members` less `to_nonmembers`: below 0 when the generated images are nearer to the members.
    pub gap: f64,
    /// Real images on either side.
    pub n: usize,
    /// The same of kernel distances (KID), by which the test is made; null when none was asked for, and in files of earlier versions.
    pub kernel_gap: Option<f64>,
    /// Real images on either side that the test looked at: fewer than `n` where there are many.
    pub tested: Option<usize>,
    /// Relabellings of these images.
    pub relabellings: Option<usize>,
    /// Share of relabellings with a `kernel_gap` at least as low, the true labels counted as one of them; null when none were asked for.
    /// In files of earlier versions, which have no `kernel_gap`, of 99 relabellings with a `gap` at least as low.
    pub p_value: Option<f64>,
}

/// Generated images that pass for copies of training images, by one likeness.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Copying {
    /// Name of the features.
    pub features: String,
    /// `cosine` (higher is more alike) or `rmse` (lower is).
    pub likeness: String,
    /// Generated images.
    pub n_generated: usize,
    /// Members.
    pub n_members: usize,
    /// Held-out images.
    pub n_heldout: usize,
    /// Share of unseen images that pass for copies of members.
    pub false_copy_rate: f64,
    /// Copies of all members.
    pub found: CopiesFound,
    /// The same at equal numbers, for members and for images that cannot have been copied.
    pub control: CopiesControl,
    /// The generated images most similar to a member, most similar first.
    pub pairs: Vec<CopyPair>,
    /// Of a text-to-image model: mean likeness of what a caption draws to the image it belongs to.
    pub own_prompt: Option<OwnPrompt>,
}

/// Generated images that pass a threshold.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CopiesFound {
    /// How many.
    pub copies: usize,
    /// 95 % interval of their share of all generated images (Clopper-Pearson).
    pub share_ci: [f64; 2],
    /// How many different images they are most similar to.
    pub distinct: usize,
    /// What had to be passed.
    pub threshold: f64,
}

/// Copies of members and of as many held-out images.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CopiesControl {
    /// Real images on either side.
    pub n: usize,
    /// Generated images that were looked at on either side; all of them where it is not said.
    pub drawn: Option<usize>,
    /// Share of real images that pass for copies of the other side.
    pub false_copy_rate: f64,
    /// Copies of members.
    pub members: CopiesFound,
    /// What passes for copies of images that no model saw.
    pub heldout: CopiesFound,
}

/// A generated image and the member it is most similar to.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CopyPair {
    /// Number of the generated image, from 0: that of its PNG in `samples/NAME`.
    pub generated: usize,
    /// Content id of the member.
    pub member_id: Option<String>,
    /// How alike they are.
    pub likeness: f64,
}

/// Mean likeness of generated images to the images that their captions belong to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OwnPrompt {
    /// For captions that the model learnt.
    pub members: f64,
    /// For captions that it did not.
    pub heldout: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn copies_may_stand_alone() {
        let file: Utility = parse(br#"{"copies": [{"copies": 1, "n_members": 3}]}"#).unwrap();
        assert_eq!(file.images, None);
        assert_eq!(file.copies.as_ref().unwrap()[0].n_members, 3);
        let text = serde_json::to_string(&Utility {
            copies: Some(Vec::new()),
            ..Utility::default()
        });
        assert_eq!(text.unwrap(), r#"{"copies":[]}"#);
    }

    #[test]
    fn what_could_not_be_measured_is_null() {
        let written = Utility {
            images: Some(ImageQuality {
                features: "pixels".into(),
                kid: Some(Kid::default()),
                ..ImageQuality::default()
            }),
            missing: Some(vec!["gap: too few".into()]),
            asked: Some(Asked(None, None, vec!["rmse".into()], None)),
            ..Utility::default()
        };
        let value = serde_json::to_value(&written).unwrap();
        assert_eq!(value["features"], "pixels");
        assert!(value["frechet"].is_null() && value.get("frechet").is_some());
        assert!(value.get("copies").is_none());
        let read: Utility = parse(value.to_string().as_bytes()).unwrap();
        assert_eq!(read, written);
        // What is asked in another way is not known; features of another kind are damage.
        let of = |text: &str| parse::<Utility>(text.as_bytes());
        assert_eq!(of(r#"{"asked": 3}"#).unwrap(), Utility::default());
        assert!(of(r#"{"features": 3}"#).is_err());
    }
}

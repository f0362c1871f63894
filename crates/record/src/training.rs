//! How a model was trained: `models/MODEL/training.json`, and a line of `logs/MODEL.jsonl`.

use dualmd_names::ModelKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::number::{if_known, nan, or_nan};
use crate::recipe::{Additions, Distill, TrainOptions};
use crate::{Count, RunFile};

/// A finished training. A model that was trained elsewhere may say less.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Training {
    /// Name of the model.
    pub name: String,
    /// Its defence; `teacher`, `reference` or `base` of a model that others need.
    #[schemars(with = "String")]
    pub defense: ModelKind,
    /// Optimiser steps.
    pub steps: Option<Count>,
    /// Passes over the images that it was trained on. Files of earlier versions do not say.
    pub epochs: Option<f64>,
    /// Images per step.
    pub batch: Option<Count>,
    /// Peak learning rate.
    pub learning_rate: Option<f64>,
    /// Seed of this model's training.
    pub seed: Option<u64>,
    /// Hash of the split it was trained with.
    pub split_hash: Option<String>,
    /// Trainable parameters.
    pub parameters: Option<Count>,
    /// Images it was trained on.
    pub images: Option<Count>,
    /// Of a teacher: the half of the members that it saw, 1 or 2.
    pub half: Option<u8>,
    /// Mean squared error of the noise prediction at the end, on training batches.
    pub train_loss: Option<f64>,
    /// The same on all members without dropout or augmentation.
    pub member_loss: Option<f64>,
    /// The same on non-members.
    pub heldout_loss: Option<f64>,
    /// Wall time, s.
    pub seconds: Option<f64>,
    /// Training speed.
    pub images_per_second: Option<f64>,
    /// Threads used, of each rank.
    pub threads: Option<Count>,
    /// Processes that trained it together, at the end; null where it was one, and in files of earlier versions.
    pub ranks: Option<Count>,
    /// `f32`, `tf32` or `bf16`.
    pub dtype: Option<String>,
    /// Peak resident memory, MB.
    pub peak_rss_mb: Option<f64>,
    /// Names of the models that it learnt from.
    pub teachers: Vec<String>,
    /// Of a model that learnt from others: how. Null for others, and where another version or program wrote it in another form.
    #[serde(deserialize_with = "if_known")]
    pub distill: Option<Distill>,
    /// What DP-SGD guarantees; null for trainings that promise nothing.
    pub privacy: Option<Guarantee>,
    /// Which weights early stopping kept.
    pub kept: Option<KeptAt>,
    /// Cutout and early stopping, as they were set; null where another program says it in another form.
    #[serde(deserialize_with = "if_known")]
    pub additions: Option<Additions>,
    /// All settings of the training loop; null where another program says them in another form.
    #[serde(deserialize_with = "if_known")]
    pub recipe: Option<TrainOptions>,
    /// Wall time of the last process that worked on it, s.
    pub wall_seconds_of_last_invocation: Option<f64>,
}

impl RunFile for Training {
    const LIMIT: u64 = dualmd_files::limit::SETTINGS;
}

/// The guarantee of a differentially private training, as its accountants computed it.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Guarantee {
    /// Upper bound on epsilon, by `accountant`: the one that is claimed, and that the noise was chosen by.
    pub epsilon: Option<f64>,
    /// The delta that it holds at.
    pub delta: Option<f64>,
    /// Order of the Renyi divergence that gave the bound.
    pub order: Option<f64>,
    /// Standard deviation of the noise over the clipping norm.
    pub noise_multiplier: Option<f64>,
    /// Largest L2 norm of one image's gradient.
    pub clip: Option<f64>,
    /// Draws of (t, noise) that one image's gradient averages over.
    pub noise_multiplicity: Option<Count>,
    /// Probability of an image to be in a batch.
    pub sampling_rate: Option<f64>,
    /// `RDP`.
    pub accountant: Option<String>,
    /// The same epsilon by the PRV accountant, which follows the whole distribution of the privacy loss. Null where it
    /// cannot be computed, and in files of earlier versions.
    pub prv: Option<Prv>,
    /// What neighbouring sets of images are.
    pub adjacency: Option<String>,
}

/// Epsilon by the PRV accountant (Gopi, Lee & Wutschitz 2021), at the delta of the guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prv {
    /// Proven: the mechanism spends at least this.
    pub lower: f64,
    /// What it spends, without proof.
    pub estimate: f64,
    /// Proven: it spends no more than this.
    pub upper: f64,
}

/// Which weights early stopping kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeptAt {
    /// Steps done then.
    pub step: u64,
    /// Noise-prediction loss on the calibration images, the lowest of the run so far.
    pub calibration_loss: f64,
}

/// One line of `logs/MODEL.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Steps done.
    pub step: u64,
    /// Mean training loss since the last line (against the target: noise or teacher).
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub loss: f64,
    /// Learning rate of the last step.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub lr: f64,
    /// Gradient norm of the last step, before clipping.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub grad_norm: f64,
    /// Images per second since the last line.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub images_per_second: f64,
    /// Seconds of training so far.
    #[serde(default = "nan", deserialize_with = "or_nan")]
    pub seconds: f64,
    /// Noise-prediction loss of the EMA weights on members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_loss: Option<f64>,
    /// The same on images the run never trains on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout_loss: Option<f64>,
    /// `heldout_loss - member_loss`: over-fitting, the story of this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<f64>,
    /// Loss of the EMA weights on the calibration images of early stopping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration_loss: Option<f64>,
    /// Share of the images since the last line that `train.drop_memorised` or `train.skip_easy` left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Cutout, EarlyStopping, Init, Levels, Objective, Routing, Weights};
    use serde_json::{Value, json};

    /// As a version wrote it whose loop had fewer settings.
    const EARLIER: &str = r#"{
        "name": "student", "defense": "distillmd", "steps": 1600,
        "distill": { "routing": "example" },
        "additions": { "cutout": null, "early_stopping": { "calibration": [4, 9], "patience": 2 } },
        "recipe": {
            "batch": 32, "checkpoint_every": 400, "clip": 1.0, "decay_fraction": 0.4, "ema": 0.999, "ema_warmup": true, "eval_every": 100,
            "flip": false, "keep_checkpoints": 2, "learning_rate": 0.002, "log_every": 50, "sample_every": 0, "steps": 1600, "warmup": 50,
            "weight_decay": 0.0
        }
    }"#;

    #[test]
    fn how_an_earlier_version_trained_is_read() {
        let read: Training = crate::parse(EARLIER.as_bytes()).unwrap();
        let distill = read.distill.clone().unwrap();
        assert_eq!(
            (distill.routing, distill.teacher_weights, distill.init),
            (Routing::Example, Weights::Ema, Init::Independent)
        );
        let stopping = EarlyStopping {
            calibration: vec![4, 9],
            patience: 2,
        };
        let additions = read.additions.clone().unwrap();
        assert_eq!(
            (additions.cutout, additions.early_stopping),
            (None, Some(stopping))
        );
        let recipe = read.recipe.clone().unwrap();
        assert_eq!((recipe.steps, recipe.eval_every), (1600, 100));
        assert_eq!(
            (recipe.accumulate, recipe.objective),
            (1, Objective::Ddpm),
            "what is written only where it is on was off"
        );
        // Written again it says no more than before.
        let before: Value = serde_json::from_str(EARLIER).unwrap();
        let again = serde_json::to_value(&read).unwrap();
        for part in ["additions", "recipe"] {
            assert_eq!(again[part], before[part]);
        }
    }

    #[test]
    fn how_this_version_trained_comes_back() {
        let training = Training {
            distill: Some(Distill::default()),
            additions: Some(Additions {
                cutout: Some(Cutout {
                    side: 4,
                    probability: 0.5,
                }),
                early_stopping: None,
            }),
            recipe: Some(TrainOptions {
                objective: Objective::Flow(Levels::LogitNormal),
                accumulate: 2,
                skip_easy: 2.0,
                ..TrainOptions::default()
            }),
            ..Training::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("training.json");
        crate::write(&path, &training).unwrap();
        assert_eq!(crate::read::<Training>(&path).unwrap(), training);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""flow": "logit-normal""#), "{text}");
    }

    /// A model that was trained by another program.
    #[test]
    fn another_form_counts_as_none_and_the_rest_is_read() {
        let other = json!({
            "steps": 7, "distill": "progressive", "additions": ["cutout"], "recipe": { "optimizer": "sgd", "steps": 7 },
        });
        let read: Training = crate::parse(other.to_string().as_bytes()).unwrap();
        assert_eq!(read.steps, Some(Count::Whole(7)));
        assert_eq!(
            (read.distill, read.additions, read.recipe),
            (None, None, None)
        );
        let none: Training = crate::parse(b"{}").unwrap();
        assert_eq!(none, Training::default());
    }
}

//! Where things are in a run folder.

use std::path::PathBuf;

/// Name of the file in a model's folder that says how it was trained.
pub const TRAINING: &str = "training.json";

/// Name of the file in a model's samples that compares them with training images.
pub const NEAREST: &str = "nearest.json";

/// Name of the file in a model's samples that says what each was drawn for.
pub const PROMPTS: &str = "prompts.json";

/// A run folder, by its path.
#[derive(Debug, Clone)]
pub struct RunFolder(pub PathBuf);

impl RunFolder {
    /// `experiment.toml`: what was asked.
    #[must_use]
    pub fn experiment(&self) -> PathBuf {
        self.0.join("experiment.toml")
    }

    /// `plan.json`: what was resolved.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// `split.json`: who is a member.
    #[must_use]
    pub fn split(&self) -> PathBuf {
        self.0.join("split.json")
    }

    /// `models/NAME`, a folder.
    #[must_use]
    pub fn model(&self, name: &str) -> PathBuf {
        self.0.join("models").join(name)
    }

    /// `models/NAME/training.json`: how a model was trained.
    #[must_use]
    pub fn training(&self, name: &str) -> PathBuf {
        self.model(name).join(TRAINING)
    }

    /// `checkpoints/NAME`, a folder.
    #[must_use]
    pub fn checkpoints(&self, name: &str) -> PathBuf {
        self.0.join("checkpoints").join(name)
    }

    /// `samples/NAME`, a folder: what a model drew.
    #[must_use]
    pub fn samples(&self, name: &str) -> PathBuf {
        self.0.join("samples").join(name)
    }

    /// `samples/NAME/nearest.json`: what a model drew against training images.
    #[must_use]
    pub fn nearest(&self, name: &str) -> PathBuf {
        self.samples(name).join(NEAREST)
    }

    /// `samples/NAME/prompts.json`: what each image was drawn for.
    #[must_use]
    pub fn prompts(&self, name: &str) -> PathBuf {
        self.samples(name).join(PROMPTS)
    }

    /// `logs/NAME.jsonl`: how the loss went.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.jsonl"))
    }

    /// `scores/NAME.EXTENSION`: `csv` holds the scores, `json` how they came about.
    #[must_use]
    pub fn scores(&self, name: &str, extension: &str) -> PathBuf {
        self.0.join("scores").join(format!("{name}.{extension}"))
    }

    /// `utility/NAME.json`: what a model's images are worth.
    #[must_use]
    pub fn utility(&self, name: &str) -> PathBuf {
        self.0.join("utility").join(format!("{name}.json"))
    }

    /// `utility/real/`: features of the real images, as networks gave them.
    #[must_use]
    pub fn real_features(&self) -> PathBuf {
        self.0.join("utility").join("real")
    }

    /// `sets/NAME.json`: tests of whole sets of images.
    #[must_use]
    pub fn sets(&self, name: &str) -> PathBuf {
        self.0.join("sets").join(format!("{name}.json"))
    }

    /// `controls.json`: the blind baseline.
    #[must_use]
    pub fn controls(&self) -> PathBuf {
        self.0.join("controls.json")
    }

    /// `exposed.json`: the members that the attacks rank highest.
    #[must_use]
    pub fn exposed(&self) -> PathBuf {
        self.0.join("exposed.json")
    }

    /// `jobs`, a folder: who trains which model, while several processes share the trainings.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }

    /// `jobs/NAME.claim`: who trains a model.
    #[must_use]
    pub fn claim(&self, name: &str) -> PathBuf {
        self.jobs().join(format!("{name}.claim"))
    }

    /// `jobs/NAME.failed`: why the training of a model failed.
    #[must_use]
    pub fn failed(&self, name: &str) -> PathBuf {
        self.jobs().join(format!("{name}.failed"))
    }

    /// `report.json`: what the report says.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.0.join("report.json")
    }
}

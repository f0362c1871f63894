//! What `dualmd run --check --json` prints: what speaks against beginning a run, and about what it takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the form; fields may be added without changing it.
pub const VERSION: u32 = 1;

/// A run that was looked at before it begins. All times are estimates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunCheck {
    /// Version of the form.
    pub schema: u32,
    /// The run's folder; of several seeds, the folder of their folders.
    pub folder: String,
    /// Runs, one for each seed.
    pub seeds: u64,
    /// What stops the run, now or after hours; each with its remedy. Where there are none, nothing was found that does.
    pub problems: Vec<String>,
    /// What stops nothing, and should be known before.
    pub look_at: Vec<String>,
    /// What was not checked, and why.
    pub unchecked: Vec<String>,
    /// The images; `null` where they were not read to the end.
    pub images: Option<ImagesFound>,
    /// Trainings side by side.
    pub side_by_side: usize,
    /// Threads of each of them.
    pub threads: usize,
    /// The trainings of one run that are still to be done, in their order.
    pub trainings: Vec<TrainingTime>,
    /// The stages of one run that are asked for.
    pub stages: Vec<StageTime>,
    /// Seconds by the clock of all these stages of all runs; `null` where one of them could not be measured.
    pub seconds: Option<f64>,
    /// Memory; `null` where the system does not tell.
    pub memory: Option<MemoryHeld>,
    /// Room on the disk; `null` where nothing could be measured.
    pub disk: Option<DiskRoom>,
    /// How the estimates came about, and what they leave out.
    pub method: String,
}

/// Images as the run would divide them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImagesFound {
    /// Images of the source, exact duplicates left out.
    pub records: usize,
    /// Exact duplicates.
    pub duplicates: usize,
    /// Members.
    pub members: usize,
    /// Non-members.
    pub nonmembers: usize,
    /// Others, for a model to compare with, for early stopping to watch, or for an attacker that learns along.
    pub outside: usize,
}

/// One training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingTime {
    /// The model.
    pub name: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Images of a step.
    pub batch: usize,
    /// Images of a step as it was timed; fewer than `batch` where a whole one would have taken long.
    pub timed_batch: usize,
    /// Seconds of a whole step.
    pub step_seconds: f64,
    /// Seconds of the training, alone on its threads, with the losses that are watched.
    pub seconds: f64,
}

/// One stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageTime {
    /// `train`, `sample` or `attack`.
    pub stage: String,
    /// Models that it still has to work on, those of a shadow run among them.
    pub models: usize,
    /// Seconds by the clock; `null` where they could not be measured.
    pub seconds: Option<f64>,
}

/// Memory, in GB (10^9 bytes).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryHeld {
    /// The most that this process held up to the last training that was timed; a training of its own holds about as much.
    pub one_gb: f64,
    /// The same for each of the trainings side by side.
    pub all_gb: f64,
    /// What this process may use; `null` where the system does not tell.
    pub there_gb: Option<f64>,
    /// Were all steps and calls timed with as many images at a time as the run has? If not, it holds more.
    pub whole: bool,
}

/// Room on the disk of the run's folder, in GB (10^9 bytes).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskRoom {
    /// What models, checkpoints and images take, by count; of all runs.
    pub needed_gb: f64,
    /// What is free; `null` where the system does not tell.
    pub free_gb: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let check = RunCheck {
            schema: VERSION,
            problems: vec!["too few images".into()],
            stages: vec![StageTime {
                stage: "train".into(),
                models: 2,
                seconds: Some(1.5),
            }],
            ..RunCheck::default()
        };
        let text = serde_json::to_string(&check).unwrap();
        assert!(text.starts_with(r#"{"schema":1,"#), "{text}");
        assert_eq!(serde_json::from_str::<RunCheck>(&text).unwrap(), check);
    }
}

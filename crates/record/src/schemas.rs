//! JSON schemas of the files, generated from their types. `docs/schema/` holds them; a test of `dualmd` keeps them true.

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use crate::evidence::{Halves, Manifest};
use crate::exposed::Exposed;
use crate::extraction::Extraction;
use crate::memorisation::Memorisation;
use crate::prepared::Prepared;
use crate::run_check::RunCheck;
use crate::samples::{DrawnFrom, Nearest, PromptedImage};
use crate::training::{LogLine, Training};
use crate::{RunFile, schema};
use crate::{controls, lira, plan, scores, sets, split, utility};

/// The schema of one file.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Its name in `docs/schema/`, without `.schema.json`.
    pub name: &'static str,
    /// Where such a file is in a run folder.
    pub file: &'static str,
    /// The schema, of draft 2020-12.
    pub schema: Value,
}

/// The schemas of the files of this crate, by name. That of `report.json` is `dualmd_audit::schema`, and that of a run's
/// plan is made of `dualmd_experiment::plan::Plan`.
#[must_use]
pub fn all() -> Vec<Schema> {
    vec![
        object::<controls::Controls>("controls", "controls.json"),
        object::<DrawnFrom>("drawn", "samples/MODEL/drawn.json"),
        other::<Vec<Exposed>>("exposed", "exposed.json"),
        object::<Extraction>("extraction", "extraction.json"),
        object::<Halves>("halves", "halves.json of an evidence folder"),
        other::<LogLine>("log", "logs/MODEL.jsonl, each line"),
        object::<lira::Lira>("lira", "lira.json"),
        object::<Manifest>("manifest", "manifest.json of an evidence folder"),
        object::<Memorisation>("memorisation", "memorisation.json"),
        object::<Nearest>("nearest", "samples/MODEL/nearest.json"),
        other::<Vec<PromptedImage>>("prompts", "samples/MODEL/prompts.json"),
        object::<plan::AuditPlan>("plan-of-audit", "plan.json of `dualmd audit`"),
        object::<Prepared>("prepared", "prepared/images.json"),
        other::<RunCheck>("run-check", "output of `dualmd run --check --json`"),
        object::<scores::Scores>("scores", "scores/MODEL.json"),
        object::<sets::Sets>("sets", "sets/MODEL.json"),
        object::<split::SplitFile>("split", "split.json"),
        object::<Training>("training", "models/MODEL/training.json"),
        object::<utility::Utility>("utility", "utility/MODEL.json"),
    ]
}

/// The schema of a file with a version.
fn object<T: RunFile>(name: &'static str, file: &'static str) -> Schema {
    let schema = schema::<T>();
    Schema { name, file, schema }
}

/// The schema of what has no version, or has it among its own fields: a list, a line, a report.
#[must_use]
pub fn other<T: JsonSchema>(name: &'static str, file: &'static str) -> Schema {
    let schema = schema_for!(T).to_value();
    Schema { name, file, schema }
}

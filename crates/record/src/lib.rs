//! The files of a run folder as types: one type per file, and whoever writes a file and whoever reads it use the same.
//!
//! There are no tensors here and no statistics: only what is in the files, how a file is written and read, its version, and
//! its JSON schema (`docs/schema/`).
//!
//! | module | files |
//! |---|---|
//! | [`folder`] | where things are in a run folder |
//! | [`scores`] | `scores/MODEL.json` |
//! | [`parameters`] | what an attack was run with, in `scores/MODEL.json` and `report.json` |
//! | [`utility`] | `utility/MODEL.json` |
//! | [`training`] | `models/MODEL/training.json`, `logs/MODEL.jsonl` |
//! | [`recipe`] | how a training is set, in `training.json` |
//! | [`split`] | `split.json` |
//! | [`samples`] | `nearest.json`, `prompts.json`, `drawn.json` in `samples/MODEL/` |
//! | [`sets`] | `sets/MODEL.json` |
//! | [`controls`] | `controls.json` |
//! | [`exposed`] | `exposed.json` |
//! | [`extraction`] | `extraction.json` |
//! | [`evidence`] | `manifest.json`, `halves.json` of an evidence folder |
//! | [`plan`] | `plan.json` of an audit |
//! | [`planned`] | parts of a run's plan, and what is read of any plan |
//! | [`prepared`] | `prepared/images.json` |
//! | [`lira`] | `lira.json` |
//! | [`memorisation`] | `memorisation.json` |
//! | [`run_check`] | no file: the output of `dualmd run --check --json` |
//! | [`events`] | `tensorboard/MODEL/`: event files |
//! | [`schemas`] | JSON schemas of them all, for `docs/schema/` |
//! | [`number`] | numbers that files of other programs write in more than one way |
//! | [`words`] | descriptions that a file has as one text or as several |
//!
//! **Versions.** Every file that is an object has a field `schema`, its version, which [`write`](fn@write) adds and [`parse`]
//! checks. Files of earlier versions of this program have none and count as version 1. A larger number than this program knows is
//! refused: what such a file says may mean something else. Fields may be added without a new version, and readers pass over
//! fields that they do not know.
//!
//! Files that are lists (`exposed.json`, `prompts.json`) have no version.
//!
//! **Order.** The keys of an object are written in alphabetical order, whatever the order of the fields, unless the type says
//! otherwise ([`RunFile::KEYS`]).

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod controls;
pub mod events;
pub mod evidence;
pub mod exposed;
pub mod extraction;
mod file;
pub mod folder;
pub mod lira;
pub mod memorisation;
pub mod number;
pub mod parameters;
pub mod plan;
pub mod planned;
pub mod prepared;
pub mod recipe;
pub mod run_check;
pub mod samples;
pub mod schemas;
pub mod scores;
pub mod sets;
mod sorted;
pub mod split;
pub mod training;
pub mod utility;
pub mod words;

pub use file::{
    Keys, RecordError, Result, RunFile, Unusable, check_version, holds, parse, read,
    read_if_usable, read_list, schema, write, write_json, write_list,
};
pub use folder::RunFolder;
pub use number::Count;
pub use parameters::AttackParameters;
pub use words::Words;

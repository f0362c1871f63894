//! The files of a run folder as types: one type per file, and whoever writes a file and whoever reads it use the same.
//!
//! There are no tensors here and no statistics: only what is in the files, how a file is written and read, its version, and
//! its JSON schema (`docs/schema/`).
//!
//! | module | files |
//! |---|---|
//! | [`folder`] | where things are in a run folder |
//! | [`scores`] | `scores/MODEL.json` |
//! | [`utility`] | `utility/MODEL.json` |
//! | [`number`] | numbers that files of other programs write in more than one way |
//!
//! **Versions.** Every file that is an object has a field `schema`, its version, which [`write`](fn@write) adds and [`parse`]
//! checks. Files of earlier versions of this program have none and count as version 1. A larger number than this program knows is
//! refused: what such a file says may mean something else. Fields may be added without a new version, and readers pass over
//! fields that they do not know.
//!
//! **Order.** The keys of an object are written in alphabetical order, whatever the order of the fields.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod file;
pub mod folder;
pub mod number;
pub mod scores;
pub mod utility;

pub use file::{
    RecordError, Result, RunFile, Unusable, parse, read, read_if_usable, schema, write,
};
pub use folder::RunFolder;
pub use number::Count;

//! Checks of the audit itself.
//!
//! The *blind baseline* (Das, Zhang and Tramer 2024, arXiv 2406.16201): a classifier that never sees the model tries to
//! tell members from non-members by the images alone. If it can, the two sets differ in something other than membership, and what
//! an attack finds on them means nothing.

mod draws;
mod error;
pub mod features;
pub mod judge;
mod matrix;
mod ridge;
mod subject;
mod words;

pub use error::ControlsError;
pub use features::{Description, describe};
pub use judge::{BlindBaseline, FamilyResult, LEVEL, blind_baseline, judge};
pub use subject::{FileFacts, Subject};

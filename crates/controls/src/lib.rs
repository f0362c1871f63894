//! Checks of the audit itself.
//!
//! The *blind baseline* (Das, Zhang and Tramer 2024, arXiv 2406.16201): a classifier that never sees the model tries to
//! tell members from non-members by the images alone. If it can, the two sets differ in something other than membership,
//! and what an attack finds on them means nothing.
//!
//! Each picture is described by some 180 (grey) or 300 (colour) numbers in families that look for one kind of
//! difference; ridge regression with cross-validation scores the pictures by each family and by all together; permuting the
//! labels through the whole of it says whether the best family is better than chance. The permutation test is exact
//! whatever the features are, so that they can be many and crude.
//!
//! | module | idea |
//! |---|---|
//! | [`features`] | what the classifier sees: `pixels`, `texture`, `jpeg`, `resize`, `file` |
//! | `ridge` | cross-validated scores for many labellings at once |
//! | `draws` | folds that keep groups together, permutations that deal whole groups |
//! | [`mod@judge`] | AUCs, corrected p-values, the verdict |
//! | `words` | what to look at |
//!
//! What it misses: a difference that needs to understand the picture, or that few pictures show. Between 100 members and 200
//! non-members of Fashion-MNIST, half of every other class left out of the members is found in about one audit of eight
//! (a chi-square test that is told the classes: three of five), nine tenths left out nearly always; with 500 and 1,000
//! pictures the mild shift is found as well.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod draws;
mod error;
pub mod features;
pub mod judge;
mod matrix;
mod ridge;
mod subject;
mod words;

pub use dualmd_data::FileFacts;
pub use error::ControlsError;
pub use features::{Description, describe};
pub use judge::{BlindBaseline, FamilyResult, LEVEL, blind_baseline, judge};
pub use subject::Subject;

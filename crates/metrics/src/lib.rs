//! What generated images are worth.
//!
//! Two layers. **Numbers from features**: a [`Features`] table has one row per image; distances between such tables
//! need no network and no tensors. **Features from images**: an [`Extractor`] turns pictures into such a table.
//!
//! | function | question | source |
//! |---|---|---|
//! | [`fd_with_interval`], [`frechet_of_features`], [`frechet_distance`] | how far apart are mean and covariance? | Heusel et al., 2017 |
//! | [`kid()`] | the same with three moments, unbiased for few images | Binkowski et al., 2018 |
//! | [`inception_score()`] | are single images clear and all of them varied? | Salimans et al., 2016 |
//! | [`precision_recall`], [`density_coverage`] | quality and variety apart | Kynkaanniemi et al., 2019; Naeem et al., 2020 |
//! | [`copies()`] | how many are copies of training images? | this project; SSCD: Pizzi et al., 2022 |
//! | [`memorisation_gap`] | are the images nearer to the training images than to others? | this project |
//!
//! Each module says what its metric misses and how many images it needs. No metric here sees a copied training image as
//! a fault but the last two: one counts copies, one hints at copying in bulk.
//!
//! | extractor | features | weights |
//! |---|---|---|
//! | [`InceptionFid`] | 2048, 768, 192 or 64; the literature's FID, KID and IS | the user's file |
//! | [`EfficientNetLite0`] | 1280; never called FID | fetched by set-up |
//! | [`Sscd`] | 512, for copies; runs in ONNX Runtime | fetched by set-up |
//! | [`Pixels`] | the pixels themselves | none |
//!
//! Everything random takes a `u64` seed.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod copies;
pub mod error;
pub mod extract;
pub mod features;
pub mod frechet;
pub mod gaussian;
pub mod inception_score;
pub mod kid;

mod linalg;
pub mod neighbours;
#[cfg(test)]
mod testing;
pub mod uncertainty;

pub use copies::{Copies, FALSE_COPIES, Likeness, copies};
pub use error::{MetricsError, Result};
pub use extract::{
    EfficientNetLite0, Extracted, Extractor, InceptionFid, Layer, Logits, Pixels, Places, Sscd,
    SscdForm, TorchScriptInception, in_batches,
};
pub use features::Features;
pub use frechet::{
    Frechet, MemorisationGap, frechet_distance, frechet_of_features, memorisation_gap,
};
pub use gaussian::Gaussian;
pub use inception_score::{InceptionScore, Order, inception_score};
pub use kid::{KID_SUBSET_SIZE, KID_SUBSETS, Kid, kid};
pub use neighbours::{DensityCoverage, PrecisionRecall, density_coverage, precision_recall};
pub use uncertainty::{Floor, FrechetReport, Spread, fd_with_interval};

//! Statistics of membership-inference audits: from two lists of scores to rates with honest intervals.
//!
//! Everything here takes the scores of members and of non-members as plain `f64` slices, where **a higher score means
//! "more likely a member"**. The direction is fixed in advance: an AUC below 0.5 is reported as it is and never turned
//! round. There are no tensors, no files and no global random state; what draws at random takes a `u64` seed.
//!
//! | module | question |
//! |---|---|
//! | [`roc`] | how many members does each threshold find, and at what false-positive rate? |
//! | [`auc`] | how far is the ranking from chance, within which interval, and what could have been seen at all? |
//! | [`delong`] | are two AUCs different? |
//! | [`binomial`] | exact interval of a rate; is one rate higher than another? |
//! | [`resample`] | bootstrap intervals, permutation test |
//! | [`epsilon`] | lower bounds on the epsilon of differential privacy |
//! | [`summary`] | all of it for one row of a report |
//! | [`compat`] | what would the public attack codes have printed for these scores? |
//! | [`selection`] | which attack is best, and how good is it on samples that did not choose it? |
//! | [`set_test`] | do two sets of features differ, and how many images does one person need to prove use? |
//! | [`lira`] | how likely is a statistic under models with and without the sample? |
//! | [`rmia`] | how many images of the population does the target like less than this one, compared with reference models? |
//! | [`density`] | is a sample likelier among generated images than among images in general? |
//! | [`combine`] | how much do all attacks together tell, weighed by what known samples teach? |
//! | [`nearer()`] | do generated images lie nearer to training images than to as many others? |
//! | [`privacy`] | what does differentially private training spend? |
//! | [`seeds`] | how much of a result is the training seed? |
//!
//! ```
//! let members = [0.9, 0.8, 0.4];
//! let nonmembers = [0.7, 0.4, 0.2, 0.1];
//! let summary = dualmd_stats::summarise(&members, &nonmembers, &[0.25, 0.01], 0)?;
//! assert_eq!(summary.auc, 0.875);
//! assert_eq!(summary.tpr_at_fpr[0].tpr, 2.0 / 3.0);
//! assert!(!summary.tpr_at_fpr[1].measurable); // 1 % of 4 non-members is less than one sample
//! # Ok::<(), dualmd_stats::StatsError>(())
//! ```

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod auc;
#[cfg(test)]
mod auc_study;
pub mod binomial;
pub mod combine;
pub mod compat;
pub mod delong;
pub mod density;
pub mod epsilon;
mod error;
mod linalg;
pub mod lira;
mod logs;
pub mod nearer;
pub mod privacy;
mod ranks;
pub mod resample;
pub mod rmia;
pub mod roc;
pub mod seeds;
pub mod selection;
pub mod set_test;
pub mod summary;

pub use auc::{
    AucInterval, IntervalMethod, auc_interval, minimum_detectable_auc,
    minimum_detectable_auc_with_power, null_auc_se,
};
pub use binomial::{clopper_pearson, fisher_more};
pub use combine::Logistic;
pub use compat::{CompatPoint, CompatRule, CompatSummary, summarise_compat};
pub use delong::{AucDifference, delong_paired};
pub use density::{Bandwidth, DensityOptions, DensityRatio, Table, density_ratio};
pub use epsilon::{
    Guesses, clopper_pearson_epsilon, guess_membership, one_run_epsilon, one_run_p_value,
};
pub use error::StatsError;
pub use lira::{LiraScores, LiraVariance, lira_offline_scores, lira_scores};
pub use nearer::{Nearer, nearer};
pub use resample::{BootstrapInterval, bootstrap_tpr_at_fpr};
pub use rmia::{
    Marginal, RmiaImages, RmiaOptions, RmiaScores, rmia_pool_scores, rmia_scale, rmia_scores,
};
pub use roc::{BandPoint, OperatingPoint, Roc, RocPoint};
pub use seeds::{SeedSummary, combine_seeds};
pub use selection::{Halves, Selection, TransferredThreshold, calibration_half, select_and_report};
pub use set_test::{
    DatasetInference, MmdTest, PowerPoint, dataset_inference, inference_power, mmd_permutation,
    power_against_k,
};
pub use summary::{AttackSummary, summarise};

/// Confidence of every interval whose level is not an argument.
pub const CONFIDENCE: f64 = 0.95;

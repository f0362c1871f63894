//! Early stopping: the averaged weights of the evaluation at which the loss on calibration images was lowest.
//!
//! A model leaks the more, the longer it is trained beyond the point where unseen images stop profiting. Stopping there is
//! the cheapest defence, and any other must be compared with it. The choice is made on held-out images that are *not*
//! audited: a model chosen for doing well on the audited non-members would look better on them than it is.

use crate::indices::Among;
use crate::{DefenseError, Result};
pub use dualmd_record::recipe::EarlyStopping;
pub use dualmd_record::training::KeptAt;

/// Refuses calibration images that cannot be. `members`: images that are trained on; `heldout`: those of the logged held-out loss, which are
/// the audited ones; `images`: size of the training set.
///
/// # Errors
/// No calibration image, one that is out of range, trained on or audited, or no evaluations.
pub(crate) fn check(
    early: &EarlyStopping,
    members: &Among,
    heldout: &Among,
    images: usize,
    eval_every: u64,
) -> Result<()> {
    let fail = |text: String| Err(DefenseError::Setting(format!("early stopping: {text}")));
    if eval_every == 0 {
        return fail("train.eval_every is 0, so nothing is ever measured; set it".into());
    }
    if early.calibration.is_empty() {
        return fail("no calibration images: put some held-out images aside for it".into());
    }
    if let Some(i) = early.calibration.iter().find(|&&i| i >= images) {
        return fail(format!("calibration image {i} does not exist"));
    }
    if let Some(i) = early.calibration.iter().find(|&&i| members.has(i)) {
        return fail(format!(
            "image {i} is trained on and cannot be a calibration image too"
        ));
    }
    if let Some(i) = early.calibration.iter().find(|&&i| heldout.has(i)) {
        return fail(format!(
            "image {i} is a calibration image and an audited one: take the calibration images out of the held-out list"
        ));
    }
    Ok(())
}

/// Has patience run out at `step`? A pure function of what a checkpoint holds.
pub(crate) fn is_over(
    early: &EarlyStopping,
    kept: Option<KeptAt>,
    step: u64,
    eval_every: u64,
) -> bool {
    early.patience > 0
        && kept.is_some_and(|kept| {
            step.saturating_sub(kept.step) >= early.patience.saturating_mul(eval_every)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_evaluations_since_the_best() {
        let kept = |step| {
            Some(KeptAt {
                step,
                calibration_loss: 0.1,
            })
        };
        let early = |patience| EarlyStopping {
            calibration: vec![0],
            patience,
        };
        assert!(!is_over(&early(2), None, 1000, 10));
        assert!(!is_over(&early(2), kept(20), 39, 10));
        assert!(is_over(&early(2), kept(20), 40, 10));
        assert!(!is_over(&early(0), kept(20), 1000, 10));
    }

    #[test]
    fn calibration_images_are_neither_trained_on_nor_audited() {
        let checked = |calibration: &[usize], eval_every| {
            let early = EarlyStopping {
                calibration: calibration.to_vec(),
                patience: 0,
            };
            check(&early, &(0..2).collect(), &(2..4).collect(), 6, eval_every)
        };
        assert!(checked(&[4, 5], 10).is_ok());
        assert!(checked(&[4, 5], 0).is_err());
        assert!(checked(&[], 10).is_err());
        for bad in [0, 2, 6] {
            assert!(checked(&[4, bad], 10).is_err(), "{bad}");
        }
    }
}

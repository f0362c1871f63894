//! The error type, and the checks that every entry point shares.

/// Why scores or parameters were refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// One side has no scores.
    #[error(
        "there are no {side} scores; give at least one score of a member and one of a non-member"
    )]
    Empty {
        /// "member" or "non-member".
        side: &'static str,
    },
    /// Scores that are not numbers. Leaving them out would change the rates silently.
    #[error(
        "{count} of {total} {side} scores are NaN; find out why the attack failed on these samples, then drop them from both sides of the comparison or repeat the attack"
    )]
    NotANumber {
        /// "member" or "non-member".
        side: &'static str,
        /// Scores that are NaN.
        count: usize,
        /// All scores of this side.
        total: usize,
    },
    /// A paired comparison of lists that cannot be pairs.
    #[error(
        "a paired comparison needs both scores of the same {side}s in the same order, but there are {first} and {second}; keep only samples that both attacks scored"
    )]
    Unpaired {
        /// "member" or "non-member".
        side: &'static str,
        /// Length of the first list.
        first: usize,
        /// Length of the second list.
        second: usize,
    },
    /// A parameter outside its range.
    #[error("{name} is {value}, but must be {expected}")]
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// A bootstrapped statistic returned NaN.
    #[error(
        "the bootstrapped statistic is NaN in replicate {replicate}; return a number for every resample, also for one with repeated scores"
    )]
    Statistic {
        /// Index of the first such replicate.
        replicate: usize,
    },
    /// Lists that belong together have different lengths.
    #[error(
        "there are {got} {what}, but {expected} are needed, one for each {per}; give them in the same order and leave none out"
    )]
    Lengths {
        /// The list that does not fit.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length it should have.
        expected: usize,
        /// What each entry belongs to.
        per: &'static str,
    },
    /// Not enough data for what was asked.
    #[error("there are {got} {what}, but at least {needed} are needed; {remedy}")]
    TooFew {
        /// What is missing.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many it takes.
        needed: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// An infinite number or NaN where sums are taken.
    #[error(
        "{what} {index} is not a finite number; find out why it could not be computed, then leave it out or repeat the computation"
    )]
    NotFinite {
        /// What was given.
        what: &'static str,
        /// Its place in the list, from 0.
        index: usize,
    },
    /// What a privacy accountant cannot compute or meet; the message says what to do.
    #[error("{0}")]
    Privacy(String),
    /// A name that is no [`crate::CompatRule`].
    #[error("no public code's rule is called \"{name}\"; choose one of {known}")]
    UnknownRule {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A grid of thresholds between scores that leave no room for one.
    #[error(
        "the rule {rule} puts its thresholds on an even grid and needs two different, finite scores (the public code fails on these as well); report the exact ROC instead"
    )]
    NoGrid {
        /// Name of the rule.
        rule: &'static str,
    },
}

/// Refuses empty sides and NaN.
pub(crate) fn check_scores(members: &[f64], nonmembers: &[f64]) -> Result<(), StatsError> {
    for (side, scores) in [("member", members), ("non-member", nonmembers)] {
        if scores.is_empty() {
            return Err(StatsError::Empty { side });
        }
        let count = scores.iter().filter(|s| s.is_nan()).count();
        if count > 0 {
            let total = scores.len();
            return Err(StatsError::NotANumber { side, count, total });
        }
    }
    Ok(())
}

/// Refuses a confidence (or level) outside the open interval (0, 1).
pub(crate) fn check_open_unit(name: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    let expected = "strictly between 0 and 1";
    Err(StatsError::OutOfRange {
        name,
        value,
        expected,
    })
}

/// Refuses a rate outside [0, 1].
pub(crate) fn check_rate(name: &'static str, value: f64) -> Result<(), StatsError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    let expected = "between 0 and 1";
    Err(StatsError::OutOfRange {
        name,
        value,
        expected,
    })
}

/// Refuses infinite numbers and NaN; `what` names one of the values.
pub(crate) fn check_finite(what: &'static str, values: &[f64]) -> Result<(), StatsError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(StatsError::NotFinite { what, index }),
        None => Ok(()),
    }
}

/// Refuses zero where a count of repetitions is needed.
pub(crate) fn check_repetitions(name: &'static str, value: usize) -> Result<(), StatsError> {
    if value > 0 {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        name,
        value: 0.0,
        expected: "at least 1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_scores_are_named_and_counted() {
        assert_eq!(
            check_scores(&[], &[1.0]),
            Err(StatsError::Empty { side: "member" })
        );
        assert_eq!(
            check_scores(&[1.0], &[]),
            Err(StatsError::Empty { side: "non-member" })
        );
        let error = check_scores(&[1.0], &[f64::NAN, 2.0, f64::NAN]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("2 of 3 non-member scores are NaN"),
            "{error}"
        );
        // Infinite scores still have a rank.
        assert_eq!(check_scores(&[f64::INFINITY], &[f64::NEG_INFINITY]), Ok(()));
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let error = check_finite("value of seed", &[0.5, f64::INFINITY]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("value of seed 1 is not a finite number"),
            "{error}"
        );
        assert!(check_finite("value of seed", &[]).is_ok());
    }

    #[test]
    fn ranges() {
        for bad in [0.0, 1.0, -0.1, 1.1, f64::NAN] {
            assert!(check_open_unit("confidence", bad).is_err(), "{bad}");
        }
        assert!(check_rate("fpr", 0.0).is_ok() && check_rate("fpr", 1.0).is_ok());
        assert!(check_rate("fpr", f64::NAN).is_err() && check_rate("fpr", 1.01).is_err());
    }
}

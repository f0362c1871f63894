//! Lower bounds on the epsilon of differential privacy from an attack's success.
//!
//! They bound from below what the *training procedure* can claim: an attack that fails proves nothing, a bound of 0 is
//! no promise of privacy. Both need memberships drawn by fair coin flips; a fixed-size half split is not that.

use serde::Serialize;

use crate::binomial::{ln_pmf, tail_at_least, two_sided};
use crate::error::{StatsError, check_open_unit, check_rate, check_scores};

/// p-value of the hypothesis "the training is (`epsilon`, `delta`)-DP" in an audit of one run
/// (Steinke, Nasr & Jagielski, 2023, arXiv 2305.08846).
///
/// Each of `canaries` samples was included by a fair coin flip; the auditor guessed the membership of `guesses` of them
/// and `correct` guesses were right. With q = e^epsilon / (1 + e^epsilon), r guesses and v correct:
///
/// ```text
/// beta  = P[Bin(r, q) >= v]
/// alpha = max over i in 1..=v of P[v - i <= Bin(r, q) <= v - 1] / i
/// p     = min(1, beta + 2 canaries delta alpha)
/// ```
///
/// # Errors
/// [`StatsError::OutOfRange`] unless `correct <= guesses <= canaries`, `epsilon >= 0` and `delta` is in [0, 1].
pub fn one_run_p_value(
    canaries: u64,
    guesses: u64,
    correct: u64,
    epsilon: f64,
    delta: f64,
) -> Result<f64, StatsError> {
    let out_of_range = |name, value, expected| {
        Err(StatsError::OutOfRange {
            name,
            value,
            expected,
        })
    };
    if guesses > canaries {
        return out_of_range(
            "number of guesses",
            guesses as f64,
            "at most the number of canaries",
        );
    }
    if correct > guesses {
        return out_of_range(
            "number of correct guesses",
            correct as f64,
            "at most all guesses",
        );
    }
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return out_of_range("epsilon", epsilon, "a finite number of at least 0");
    }
    check_rate("delta", delta)?;
    let q = 1.0 / (1.0 + (-epsilon).exp());
    let beta = tail_at_least(correct, guesses, q)?;
    // Beyond epsilon 36 q rounds to 1, beta is 1, and no mass is left below `correct` = `guesses` to weigh.
    if delta == 0.0 || q >= 1.0 {
        return Ok(beta.min(1.0));
    }
    Ok((beta + 2.0 * canaries as f64 * delta * alpha(guesses, correct, q, epsilon)).min(1.0))
}

/// Largest mean of P[Bin(r, q) = j] over the i places below v, for i = 1, ..., v.
fn alpha(r: u64, v: u64, q: f64, epsilon: f64) -> f64 {
    let (mut best, mut sum, mut ln_mass) = (0.0_f64, 0.0, f64::NAN);
    for i in 1..=v {
        let j = v - i;
        ln_mass = match i {
            1 => ln_pmf(j, r, q),
            // pmf(j) = pmf(j + 1) (j + 1) / (r - j) (1 - q) / q, and (1 - q) / q = e^-epsilon.
            _ => ln_mass + ((j + 1) as f64 / (r - j) as f64).ln() - epsilon,
        };
        sum += ln_mass.exp();
        best = best.max(sum / i as f64);
        // The sum cannot exceed 1: no longer stretch can be better.
        if best * i as f64 >= 1.0 {
            break;
        }
    }
    best
}

/// The largest epsilon that one run refutes at level `level` (0.05 for 95 % confidence); 0 when it refutes none.
///
/// The numbers of guesses must be fixed before looking, or `level` divided by the number of choices tried; the best
/// of a grid without that is not a bound.
///
/// ```
/// // 100 guesses, all right: what no audit of 100 guesses can exceed.
/// let epsilon = dualmd_stats::one_run_epsilon(100, 100, 100, 0.0, 0.05)?;
/// assert!((epsilon - 3.49).abs() < 0.01);
/// # Ok::<(), dualmd_stats::StatsError>(())
/// ```
///
/// # Errors
/// As [`one_run_p_value`], and [`StatsError::OutOfRange`] for a `level` outside (0, 1).
pub fn one_run_epsilon(
    canaries: u64,
    guesses: u64,
    correct: u64,
    delta: f64,
    level: f64,
) -> Result<f64, StatsError> {
    check_open_unit("level", level)?;
    let refuted = |epsilon: f64| {
        Ok::<bool, StatsError>(one_run_p_value(canaries, guesses, correct, epsilon, delta)? < level)
    };
    if !refuted(0.0)? {
        return Ok(0.0);
    }
    let (mut low, mut high) = (0.0, 1.0);
    while refuted(high)? {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if refuted(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Outcome of [`guess_membership`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Guesses {
    /// All samples that were included or left out by coin flip.
    pub canaries: u64,
    /// Memberships guessed.
    pub guesses: u64,
    /// Of them correct.
    pub correct: u64,
}

/// Guesses "in" for the `guess_in` highest scores and "out" for the `guess_out` lowest, and abstains on the rest.
///
/// Ties at either border are settled against the auditor: a rule that looks at the order of the lists would use the
/// labels.
///
/// # Errors
/// [`StatsError::Empty`], [`StatsError::NotANumber`], or [`StatsError::OutOfRange`] when there are fewer samples than guesses.
pub fn guess_membership(
    members: &[f64],
    nonmembers: &[f64],
    guess_in: usize,
    guess_out: usize,
) -> Result<Guesses, StatsError> {
    check_scores(members, nonmembers)?;
    let canaries = members.len() + nonmembers.len();
    let guesses = guess_in.saturating_add(guess_out);
    if guesses > canaries {
        let expected = "at most the number of samples";
        return Err(StatsError::OutOfRange {
            name: "number of guesses",
            value: guesses as f64,
            expected,
        });
    }
    let mut pooled: Vec<(f64, bool)> = members.iter().map(|&s| (s + 0.0, true)).collect();
    // Adding 0.0 turns -0.0 into 0.0, so that the two tie under the total order too.
    pooled.extend(nonmembers.iter().map(|&s| (s + 0.0, false)));
    // Highest first; among equals non-members first, so that guesses of "in" meet them first.
    pooled.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let hits_in = pooled[..guess_in]
        .iter()
        .filter(|(_, member)| *member)
        .count();
    // For "out" the worst order among equals is the other one; samples already guessed "in" are gone.
    let mut rest = pooled.split_off(guess_in);
    rest.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let hits_out = rest[..guess_out]
        .iter()
        .filter(|(_, member)| !*member)
        .count();
    Ok(Guesses {
        canaries: canaries as u64,
        guesses: guesses as u64,
        correct: (hits_in + hits_out) as u64,
    })
}

/// Lower bound on epsilon from the error rates of a threshold fixed in advance, over many independent memberships.
///
/// `(tp, n_members)` and `(fp, n_nonmembers)` count what the threshold calls a member. Any (epsilon, delta)-DP
/// mechanism has TPR <= e^epsilon FPR + delta, and the same for the rates of being called a non-member (Kairouz et
/// al., 2015). One exact bound on either rate, each at half of 1 - `confidence`, serves both inequalities: the better
/// one is returned, never below 0. A threshold picked on the same scores makes the bound too high.
///
/// # Errors
/// [`StatsError::OutOfRange`] for counts above their totals, `delta` outside [0, 1] or `confidence` outside (0, 1).
pub fn clopper_pearson_epsilon(
    (tp, n_members): (u64, u64),
    (fp, n_nonmembers): (u64, u64),
    delta: f64,
    confidence: f64,
) -> Result<f64, StatsError> {
    check_rate("delta", delta)?;
    check_open_unit("confidence", confidence)?;
    for (name, k, n) in [
        ("number of members found", tp, n_members),
        ("number of false positives", fp, n_nonmembers),
    ] {
        if k > n {
            let expected = "at most the samples of its side";
            return Err(StatsError::OutOfRange {
                name,
                value: k as f64,
                expected,
            });
        }
    }
    // One bound per side, so each side's tail is one half of the error, not a quarter.
    let tail = (1.0 - confidence) / 2.0;
    let tpr_low = two_sided(tp, n_members, tail)[0];
    let fpr_high = two_sided(fp, n_nonmembers, tail)[1];
    let called_in = ((tpr_low - delta) / fpr_high).ln();
    let called_out = ((1.0 - fpr_high - delta) / (1.0 - tpr_low)).ln();
    // `max` drops the NaN of a negative numerator.
    Ok(called_in.max(called_out).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance, "{a} is not {b}");
    }

    /// Values of two independent implementations of the paper's formula, at level 0.05.
    #[test]
    fn published_vectors() {
        for (m, r, v, delta, expected) in [
            (1000, 1000, 600, 0.0, 0.2975),
            (1000, 1000, 600, 1e-5, 0.2972),
            (1000, 100, 90, 1e-5, 1.6261),
            (50_000, 500, 450, 1e-5, 1.8744),
            (50_000, 2000, 1200, 1e-5, 0.3229),
            (50_000, 500, 300, 1e-5, 0.2233),
        ] {
            close(
                one_run_epsilon(m, r, v, delta, 0.05).unwrap(),
                expected,
                1e-4,
            );
        }
    }

    #[test]
    fn all_right_has_a_closed_form() {
        // q^r = 0.05
        for (r, expected) in [(100, 3.49), (1000, 5.81), (25_000, 9.03)] {
            let epsilon = one_run_epsilon(r, r, r, 0.0, 0.05).unwrap();
            close(epsilon, expected, 0.005);
            let q = 0.05_f64.powf(1.0 / r as f64);
            close(epsilon, (q / (1.0 - q)).ln(), 1e-6);
        }
    }

    #[test]
    fn p_values_by_hand() {
        // Two guesses, one right, q = 1/2: beta = 3/4, alpha = P[0] = 1/4, p = 3/4 + 2 * 2 * 0.1 / 4.
        close(one_run_p_value(2, 2, 1, 0.0, 0.1).unwrap(), 0.85, 1e-14);
        // Both right: beta = 1/4, alpha = max(P[1], (P[0] + P[1]) / 2) = 1/2.
        close(one_run_p_value(2, 2, 2, 0.0, 0.1).unwrap(), 0.45, 1e-14);
        assert_eq!(one_run_p_value(5, 0, 0, 1.0, 1e-5).unwrap(), 1.0);
        assert_eq!(one_run_p_value(5, 5, 5, 700.0, 1e-5).unwrap(), 1.0);
    }

    #[test]
    fn chance_and_worse_refute_nothing() {
        for correct in [0, 40, 50, 58] {
            assert_eq!(one_run_epsilon(100, 100, correct, 1e-5, 0.05).unwrap(), 0.0);
        }
        assert!(one_run_epsilon(100, 100, 59, 0.0, 0.05).unwrap() > 0.0);
    }

    /// Randomised response is exactly epsilon-DP: the bound may exceed epsilon in 5 % of audits, summed here exactly.
    #[test]
    fn the_bound_is_valid_for_randomised_response() {
        for epsilon in [0.0, 0.5, 2.0_f64] {
            let q = 1.0 / (1.0 + (-epsilon).exp());
            let wrong: f64 = (0..=200)
                .filter(|&v| one_run_epsilon(200, 200, v, 0.0, 0.05).unwrap() > epsilon)
                .map(|v| ln_pmf(v, 200, q).exp())
                .sum();
            assert!(wrong <= 0.05 && wrong > 0.02, "{epsilon}: {wrong}");
        }
    }

    #[test]
    fn guesses_by_hand() {
        let (m, n) = ([0.9, 0.8, 0.4], [0.7, 0.4, 0.2, 0.1]);
        let guess = |guess_in, guess_out| guess_membership(&m, &n, guess_in, guess_out).unwrap();
        assert_eq!(
            guess(2, 2),
            Guesses {
                canaries: 7,
                guesses: 4,
                correct: 4
            }
        );
        assert_eq!(guess(3, 3).correct, 2 + 2); // 0.7 is wrong; the tie at 0.4 is guessed "out" for the member
        assert_eq!(guess(4, 0).correct, 2); // and "in" for the non-member
        assert_eq!(guess(4, 3).correct, 2 + 2); // one sample of the tie each way: both wrong
        assert!(guess_membership(&m, &n, 4, 4).is_err());
        // Ties settled against the auditor: constant scores are never right.
        assert_eq!(
            guess_membership(&[0.0; 5], &[-0.0; 5], 5, 5)
                .unwrap()
                .correct,
            0
        );
    }

    #[test]
    fn epsilon_of_rates() {
        // 5 % of members and no non-member of 1,000 each: ln(TPR_low / FPR_high).
        let epsilon = clopper_pearson_epsilon((50, 1000), (0, 1000), 0.0, 0.95).unwrap();
        let [low, _] = crate::clopper_pearson(50, 1000, 0.95).unwrap();
        let [_, high] = crate::clopper_pearson(0, 1000, 0.95).unwrap();
        close(epsilon, (low / high).ln(), 1e-12);
        // The paper's CIFAR-10 line: TPR 0.03 at FPR 0.01 of 25,000 each.
        let paper = clopper_pearson_epsilon((750, 25_000), (250, 25_000), 0.0, 0.95).unwrap();
        close(paper, 0.90, 0.01);
        // The other direction: all members called, half of the non-members too.
        let out = clopper_pearson_epsilon((1000, 1000), (500, 1000), 0.0, 0.95).unwrap();
        assert!(out > 4.0, "{out}");
        assert_eq!(
            clopper_pearson_epsilon((5, 100), (5, 100), 0.0, 0.95).unwrap(),
            0.0
        );
        assert_eq!(
            clopper_pearson_epsilon((5, 100), (5, 100), 1.0, 0.95).unwrap(),
            0.0
        );
        assert_eq!(
            clopper_pearson_epsilon((0, 0), (0, 0), 0.0, 0.95).unwrap(),
            0.0
        );
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(one_run_p_value(5, 6, 1, 0.0, 0.0).is_err());
        assert!(one_run_p_value(5, 5, 6, 0.0, 0.0).is_err());
        assert!(one_run_p_value(5, 5, 5, f64::NAN, 0.0).is_err());
        assert!(one_run_p_value(5, 5, 5, -1.0, 0.0).is_err());
        assert!(one_run_epsilon(5, 5, 5, 2.0, 0.05).is_err());
        assert!(one_run_epsilon(5, 5, 5, 0.0, 0.0).is_err());
        assert!(clopper_pearson_epsilon((2, 1), (0, 1), 0.0, 0.95).is_err());
    }
}

//! Exact binomial tails, the Clopper-Pearson interval, and Fisher's test of two rates.

use statrs::function::beta::beta_reg;
use statrs::function::erf::{erfc, erfc_inv};
use statrs::function::gamma::ln_gamma;

use crate::error::{StatsError, check_open_unit, check_rate};

/// Exact two-sided interval of a rate after `k` successes in `n` independent trials (Clopper & Pearson, 1934).
///
/// Covers the true rate with probability at least `confidence`, usually more. `n` = 0 gives `[0, 1]`: nothing is known.
///
/// # Errors
/// [`StatsError::OutOfRange`] when `k > n` or `confidence` is not strictly between 0 and 1.
pub fn clopper_pearson(k: u64, n: u64, confidence: f64) -> Result<[f64; 2], StatsError> {
    check_trials(k, n)?;
    check_open_unit("confidence", confidence)?;
    Ok(two_sided(k, n, (1.0 - confidence) / 2.0))
}

/// The rate above which `k` or fewer successes of `n` have probability `tail`: a one-sided exact upper bound.
///
/// # Errors
/// As [`clopper_pearson`], for `tail`.
pub fn upper_bound(k: u64, n: u64, tail: f64) -> Result<f64, StatsError> {
    check_trials(k, n)?;
    check_open_unit("tail probability", tail)?;
    Ok(two_sided(k, n, tail)[1])
}

/// Both bounds, for arguments known to be in range: `k <= n`, `tail` in (0, 1).
pub(crate) fn two_sided(k: u64, n: u64, tail: f64) -> [f64; 2] {
    let lower = |k: u64| match k {
        0 => 0.0,
        _ if k == n => tail.powf(1.0 / n as f64),
        _ => beta_quantile(k as f64, (n - k) as f64 + 1.0, tail),
    };
    // The upper bound is the lower bound of the failures, seen from the other side.
    [lower(k), 1.0 - lower(n - k)]
}

/// P[Bin(n, p) >= k].
///
/// # Errors
/// [`StatsError::OutOfRange`] when `p` is not a probability.
pub fn tail_at_least(k: u64, n: u64, p: f64) -> Result<f64, StatsError> {
    check_rate("probability", p)?;
    Ok(match k {
        0 => 1.0,
        _ if k > n => 0.0,
        _ => beta_reg(k as f64, (n - k) as f64 + 1.0, p),
    })
}

/// How surprising it is that the first of two groups has `first[0]` successes of `first[1]` or more, where both have the same rate
/// and as many successes together: Fisher's exact test (1935), one-sided. `second`: successes and trials of the other group.
///
/// If it makes no difference which trials are in which group, the chance of a p-value of at most q is at most q.
///
/// # Errors
/// [`StatsError::OutOfRange`] for more successes than trials.
pub fn fisher_more(first: [u64; 2], second: [u64; 2]) -> Result<f64, StatsError> {
    let ([k, n], [l, m]) = (first, second);
    check_trials(k, n)?;
    check_trials(l, m)?;
    let successes = k + l;
    let ln_choose = |n: u64, k: u64| {
        let f = |x: u64| ln_gamma(x as f64 + 1.0);
        f(n) - f(k) - f(n - k)
    };
    let all = ln_choose(n + m, successes);
    let chance = |x: u64| (ln_choose(n, x) + ln_choose(m, successes - x) - all).exp();
    let (least, most) = (successes.saturating_sub(m), successes.min(n));
    if k <= least {
        return Ok(1.0);
    }
    Ok((k..=most).map(chance).sum::<f64>().min(1.0))
}

/// ln P[Bin(n, p) = k] for 0 < p < 1.
pub(crate) fn ln_pmf(k: u64, n: u64, p: f64) -> f64 {
    let (k, n) = (k as f64, n as f64);
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
        + k * p.ln()
        + (n - k) * (-p).ln_1p()
}

fn check_trials(k: u64, n: u64) -> Result<(), StatsError> {
    if k <= n {
        return Ok(());
    }
    let expected = "at most the number of trials";
    Err(StatsError::OutOfRange {
        name: "number of successes",
        value: k as f64,
        expected,
    })
}

/// x with I_x(a, b) = `target`, for a, b >= 1.
///
/// Newton steps inside a bracket that halves whenever a step would leave it: the incomplete beta function is
/// monotone, so this cannot fail to converge, which the usual AS 109 does not promise. Good to about 1e-12 in the
/// tails (below 0.2 and above 0.8) up to a million trials.
fn beta_quantile(a: f64, b: f64, target: f64) -> f64 {
    let ln_beta = ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    let (mut low, mut high) = (0.0, 1.0);
    let mut x = a / (a + b);
    for _ in 0..200 {
        let error = beta_reg(a, b, x) - target;
        if error > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let slope = ((a - 1.0) * x.ln() + (b - 1.0) * (-x).ln_1p() - ln_beta).exp();
        let newton = x - error / slope;
        let next = if newton > low && newton < high {
            newton
        } else {
            (low + high) / 2.0
        };
        if (next - x).abs() <= 1e-15 + 1e-13 * x {
            return next;
        }
        x = next;
    }
    x
}

/// z with P[N(0, 1) <= z] = `p`.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p)
}

/// P[|N(0, 1)| >= |z|].
pub(crate) fn two_sided_p(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The z of a two-sided interval: 1.96 for 0.95.
pub(crate) fn two_sided_z(confidence: f64) -> f64 {
    normal_quantile(0.5 + confidence / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance, "{a} is not {b}");
    }

    #[test]
    fn edges_have_closed_forms() {
        let [low, high] = clopper_pearson(0, 10, 0.95).unwrap();
        close(low, 0.0, 0.0);
        close(high, 1.0 - 0.025_f64.powf(0.1), 1e-15); // 0.30850
        let [low, high] = clopper_pearson(1, 1, 0.95).unwrap();
        close(low, 0.025, 1e-15);
        close(high, 1.0, 0.0);
        assert_eq!(clopper_pearson(0, 0, 0.95).unwrap(), [0.0, 1.0]);
    }

    #[test]
    fn known_values() {
        // 5 of 10: the textbook 0.1871, 0.8129.
        let [low, high] = clopper_pearson(5, 10, 0.95).unwrap();
        close(low, 0.187_086, 1e-6);
        close(high, 0.812_914, 1e-6);
        // 4 of 417, the non-members behind the paper's "TPR 0.02 at 1 % FPR" on Pokemon: FPR 0.26-2.4 %.
        let [low, high] = clopper_pearson(4, 417, 0.95).unwrap();
        close(low, 0.0026, 5e-5);
        close(high, 0.0244, 5e-5);
        // 3 % and 1 % of 25,000 (its CIFAR-10 claim): TPR 2.79-3.22 %, FPR 0.88-1.13 %.
        let [low, high] = clopper_pearson(750, 25_000, 0.95).unwrap();
        close(low, 0.0279, 5e-5);
        close(high, 0.0322, 5e-5);
        let [low, high] = clopper_pearson(250, 25_000, 0.95).unwrap();
        close(low, 0.0088, 5e-5);
        close(high, 0.0113, 5e-5);
    }

    #[test]
    fn bounds_invert_the_tail_exactly() {
        for (k, n) in [
            (1, 2),
            (3, 64),
            (63, 64),
            (5, 512),
            (511, 512),
            (20_000, 50_000),
        ] {
            for tail in [0.025, 0.001, 0.16] {
                let [low, _] = two_sided(k, n, tail);
                close(tail_at_least(k, n, low).unwrap(), tail, 1e-10);
                let high = upper_bound(k, n, tail).unwrap();
                close(1.0 - tail_at_least(k + 1, n, high).unwrap(), tail, 1e-10);
                assert!(low < k as f64 / n as f64 && k as f64 / (n as f64) < high);
            }
        }
    }

    #[test]
    fn tails_agree_with_the_sum_of_the_mass_function() {
        for (n, p) in [(7_u64, 0.3), (64, 0.01), (2_000, 0.57)] {
            let mut sum = 0.0;
            for k in (0..=n).rev() {
                sum += ln_pmf(k, n, p).exp();
                close(tail_at_least(k, n, p).unwrap(), sum, 1e-10);
            }
        }
    }

    /// No simulation: the coverage for every rate on a grid, summed exactly.
    #[test]
    fn coverage_is_never_below_the_level() {
        let n = 64;
        let intervals: Vec<_> = (0..=n)
            .map(|k| clopper_pearson(k, n, 0.95).unwrap())
            .collect();
        for i in 1..200 {
            let p = f64::from(i) / 200.0;
            let covered: f64 = (0..=n)
                .filter(|&k| intervals[k as usize][0] <= p && p <= intervals[k as usize][1])
                .map(|k| ln_pmf(k, n, p).exp())
                .sum();
            assert!(covered >= 0.95, "{p}: {covered}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(clopper_pearson(3, 2, 0.95).is_err());
        assert!(clopper_pearson(1, 2, 1.0).is_err());
        assert!(clopper_pearson(1, 2, f64::NAN).is_err());
        assert!(tail_at_least(1, 2, -0.1).is_err());
    }

    #[test]
    fn fisher_by_hand() {
        // The lady tasting tea: all four right, 1 in 70; three or more right, 17 in 70.
        close(fisher_more([4, 4], [0, 4]).unwrap(), 1.0 / 70.0, 1e-12);
        close(fisher_more([3, 4], [1, 4]).unwrap(), 17.0 / 70.0, 1e-12);
        // Groups of different size: both successes in the group of 2 of 5, 1 in 10.
        close(fisher_more([2, 2], [0, 3]).unwrap(), 0.1, 1e-12);
        // Nothing found, or as little as can be: no surprise at all.
        close(fisher_more([0, 10], [0, 10]).unwrap(), 1.0, 0.0);
        close(fisher_more([0, 4], [4, 4]).unwrap(), 1.0, 0.0);
        close(fisher_more([1, 2], [3, 3]).unwrap(), 1.0, 0.0);
        assert!(fisher_more([3, 2], [0, 2]).is_err());
        assert!(fisher_more([1, 2], [3, 2]).is_err());
    }

    #[test]
    fn normal_constants() {
        close(two_sided_z(0.95), 1.959_963_984_540_054, 1e-12);
        close(normal_quantile(0.8), 0.841_621_233_572_914, 1e-12);
        close(two_sided_p(1.959_963_984_540_054), 0.05, 1e-11);
    }
}

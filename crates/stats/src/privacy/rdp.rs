//! What DP-SGD spends: Renyi differential privacy (RDP) of the Poisson-subsampled Gaussian mechanism, in f64.
//!
//! One step draws each image with probability q, adds up vectors of norm at most C and adds N(0, sigma^2 C^2 I). Its RDP
//! of order a (Mironov, Talwar & Zhang 2019, arXiv 1908.10530, section 3.3) is
//!
//! ```text
//! rdp(a) = ln A(a) / (a - 1),     A(a) = E over z ~ N(0, sigma^2) of ((1 - q) + q exp((2 z - 1) / (2 sigma^2)))^a
//! A(a)   = sum over k = 0..a of C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 sigma^2))       for whole a
//! ```
//!
//! Steps add up, and (epsilon, delta) follows by Proposition 12 of Canonne, Kamath & Steinke 2020 (arXiv 2004.00010), the
//! conversion of Opacus and dp-accounting:
//!
//! ```text
//! epsilon = min over a of  steps rdp(a) + ln((a - 1) / a) - (ln delta + ln a) / (a - 1)
//! ```
//!
//! Neighbours are sets that differ by one image added or removed. For fractional orders the paper develops A into two
//! series, which converge like k^-(a + 2) and so hardly at all for small a (dp-accounting 0.6.0 then leaves orders out,
//! and its epsilon is larger for it). Here the integral itself is taken, by the trapezoidal rule, whose error for this
//! integrand is below 1e-15 of the value.
//!
//! RDP gives an upper bound on what is spent. [`super::prv`] follows the whole privacy loss distribution and finds smaller
//! values for the same training.

use std::f64::consts::PI;

use super::{LEAST_NOISE, MOST_NOISE};
use crate::error::{StatsError, check_open_unit, check_rate};
use crate::logs::ln_sum_exp;

/// Privacy spent, as an upper bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// epsilon; infinite without noise.
    pub epsilon: f64,
    /// The order the bound comes from. At the smallest or largest of [`orders`] a smaller epsilon may exist.
    pub order: f64,
}

/// The orders that are tried: 1.1, 1.2, ..., 11, whole numbers to 63, and 128, 256, 512, 1024.
#[must_use]
pub fn orders() -> Vec<f64> {
    (1..=100)
        .map(|i| 1.0 + f64::from(i) / 10.0)
        .chain((12..64).map(f64::from))
        .chain([128.0, 256.0, 512.0, 1024.0])
        .collect()
}

/// Upper bound on the epsilon, at `delta`, of `steps` steps at `sampling_rate` q with `noise_multiplier` sigma.
///
/// # Errors
/// [`StatsError::OutOfRange`] for q outside [0, 1], sigma negative, or delta outside (0, 1).
pub fn spent(
    steps: u64,
    sampling_rate: f64,
    noise_multiplier: f64,
    delta: f64,
) -> Result<Spent, StatsError> {
    check(sampling_rate, noise_multiplier)?;
    check_open_unit("delta", delta)?;
    let mut best = Spent {
        epsilon: f64::INFINITY,
        order: f64::NAN,
    };
    if steps == 0 || sampling_rate == 0.0 {
        return Ok(Spent {
            epsilon: 0.0,
            ..best
        });
    }
    for order in orders() {
        let total = steps as f64 * step_rdp(order, sampling_rate, noise_multiplier);
        let epsilon =
            total + ((order - 1.0) / order).ln() - (delta.ln() + order.ln()) / (order - 1.0);
        if epsilon.max(0.0) < best.epsilon {
            best = Spent {
                epsilon: epsilon.max(0.0),
                order,
            };
        }
    }
    Ok(best)
}

/// The epsilon of [`spent`].
///
/// # Errors
/// As [`spent`].
pub fn epsilon(
    steps: u64,
    sampling_rate: f64,
    noise_multiplier: f64,
    delta: f64,
) -> Result<f64, StatsError> {
    Ok(spent(steps, sampling_rate, noise_multiplier, delta)?.epsilon)
}

/// The noise multiplier that `steps` steps at `sampling_rate` q need to spend no more than `target` epsilon at `delta`, by
/// bisection to 1e-6 of its value, rounded up.
///
/// # Errors
/// [`StatsError::OutOfRange`], or [`StatsError::Privacy`] when no step draws an image or no multiplier between 0.01 and 1e6
/// meets the target.
pub fn noise_multiplier_for(
    target: f64,
    delta: f64,
    steps: u64,
    sampling_rate: f64,
) -> Result<f64, StatsError> {
    super::check_target(target, steps, sampling_rate)?;
    let spends = |sigma: f64| epsilon(steps, sampling_rate, sigma, delta);
    let (mut low, mut high) = (LEAST_NOISE, 2.0 * LEAST_NOISE);
    if spends(low)? <= target {
        return Err(super::promises_nothing(target));
    }
    while spends(high)? > target {
        if high > MOST_NOISE {
            return Err(super::cannot_be_shown(target, delta));
        }
        (low, high) = (high, 2.0 * high);
    }
    while high - low > 1e-6 * high {
        let middle = 0.5 * (low + high);
        if spends(middle)? > target {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(high)
}

fn check(sampling_rate: f64, noise_multiplier: f64) -> Result<(), StatsError> {
    check_rate("sampling rate", sampling_rate)?;
    if noise_multiplier >= 0.0 && noise_multiplier.is_finite() {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        name: "noise multiplier",
        value: noise_multiplier,
        expected: "a finite number of at least 0",
    })
}

fn step_rdp(order: f64, q: f64, sigma: f64) -> f64 {
    if q == 0.0 {
        return 0.0;
    }
    if sigma == 0.0 {
        return f64::INFINITY;
    }
    if q == 1.0 {
        return order / (2.0 * sigma * sigma);
    }
    let ln_a = if order.fract() == 0.0 {
        ln_a_whole(order, q, sigma)
    } else {
        ln_a_fractional(order, q, sigma)
    };
    // A is at least 1; rounding may say a little less.
    (ln_a / (order - 1.0)).max(0.0)
}

/// ln A for whole orders: the binomial sum.
fn ln_a_whole(order: f64, q: f64, sigma: f64) -> f64 {
    let (ln_q, ln_rest) = (q.ln(), (-q).ln_1p());
    let mut ln_choose = 0.0;
    let mut terms = Vec::with_capacity(order as usize + 1);
    let mut k = 0.0;
    while k <= order {
        terms.push(
            ln_choose + (order - k) * ln_rest + k * ln_q + (k * k - k) / (2.0 * sigma * sigma),
        );
        ln_choose += ((order - k) / (k + 1.0)).ln();
        k += 1.0;
    }
    ln_sum_exp(&terms)
}

/// ln A for any order: the integral over z, by the trapezoidal rule.
///
/// The integrand is a mixture of bumps around 0 and around `order`, both of width sigma. It is analytic where |Im z| <
/// pi sigma^2 (beyond, the logarithm has branch points), which together with the Gaussian sets the step.
fn ln_a_fractional(order: f64, q: f64, sigma: f64) -> f64 {
    let (ln_q, ln_rest) = (q.ln(), (-q).ln_1p());
    let variance = sigma * sigma;
    let step = (sigma / 4.0).min(2.0 * PI * PI * variance / 45.0);
    // Where a bump has fallen by e^-45, even if the mixture is 2^order times the larger of its two parts there.
    let reach = sigma * (2.0 * (45.0 + order * std::f64::consts::LN_2)).sqrt();
    let windows = if reach >= order - reach {
        vec![(-reach, order + reach)]
    } else {
        vec![(-reach, reach), (order - reach, order + reach)]
    };
    let mut terms = Vec::new();
    for (from, to) in windows {
        let points = ((to - from) / step).ceil() as u64;
        terms.extend((0..=points).map(|i| {
            let z = from + i as f64 * step;
            let (a, b) = (ln_rest, ln_q + (2.0 * z - 1.0) / (2.0 * variance));
            let mixture = a.max(b) + (-(a - b).abs()).exp().ln_1p();
            order * mixture - z * z / (2.0 * variance)
        }));
    }
    ln_sum_exp(&terms) + (step / (sigma * (2.0 * PI).sqrt())).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MNIST: f64 = 256.0 / 60000.0;

    #[test]
    fn rdp_agrees_with_the_integral_by_mpmath() {
        // The integral by mpmath 1.4.1 at 40 digits, rounded; Opacus 1.6.0 has the same to 8 digits for orders from 1.5.
        let table = [
            (MNIST, 1.1, 1.1, 1.277_966_637_131_99e-5),
            (MNIST, 1.1, 1.5, 1.747_978_446_292_43e-5),
            (MNIST, 1.1, 2.0, 2.339_577_600_994_92e-5),
            (MNIST, 1.1, 10.9, 0.000_137_798_419_117_86),
            (MNIST, 1.1, 32.0, 7.590_188_346_210_11),
            (0.3, 0.9, 1.1, 0.080_006_609_755_197_1),
            (0.3, 0.9, 2.5, 0.306_168_374_501_787),
            (0.3, 0.9, 4.7, 1.406_917_755_633_24),
            (0.7, 2.0, 1.1, 0.068_463_716_223_581_5),
            (0.7, 2.0, 10.9, 1.010_885_695_604_03),
            (0.01, 0.4, 1.1, 0.004_881_638_695_232_87),
            (0.01, 0.4, 1.5, 0.011_161_211_798_527_4),
            (0.01, 0.4, 4.7, 8.837_689_234_593_04),
            (0.01, 0.4, 32.0, 95.246_275_937_044_5),
        ];
        for (q, sigma, order, expected) in table {
            let got = step_rdp(order, q, sigma);
            assert!(
                (got - expected).abs() < 1e-13 + 1e-12 * expected,
                "q {q}, sigma {sigma}, order {order}: {got} instead of {expected}"
            );
        }
    }

    #[test]
    fn sum_and_integral_are_one_function_of_the_order() {
        for (q, sigma) in [(0.01, 0.3), (0.2, 1.0), (0.9, 5.0), (0.5, 0.05)] {
            for order in [2.0, 7.0, 40.0] {
                let (sum, integral) = (
                    ln_a_whole(order, q, sigma),
                    ln_a_fractional(order, q, sigma),
                );
                assert!(
                    (sum - integral).abs() < 1e-12 * (1.0 + sum),
                    "{q} {sigma} {order}"
                );
            }
        }
    }

    #[test]
    fn epsilon_agrees_with_opacus_and_dp_accounting() {
        // (q, sigma, steps, delta, epsilon). Opacus 1.6.0 (compute_rdp, get_privacy_spent) with the orders of this file;
        // dp-accounting 0.6.0 has the same to 1e-8 in the rows marked *, where no order fails to converge. The first
        // three are the usual MNIST examples: batch 256, 60, 15 and 45 epochs.
        let table = [
            (MNIST, 1.1, 14062, 1e-5, 2.596_555_868_960_75), // *
            (MNIST, 1.3, 3515, 1e-5, 0.954_429_508_730_031), // *
            (MNIST, 0.7, 10546, 1e-5, 6.318_100_586_877_76),
            (0.01, 4.0, 10000, 1e-5, 1.035_490_066_036_25), // *
            (0.01, 1.0, 1000, 1e-6, 2.436_693_803_022_14),  // *
            (64.0 / 208.0, 2.0, 1800, 1e-3, 46.695_425_965_754_7),
            (0.064, 1.5, 1800, 1e-4, 10.053_883_204_945_9),
            (0.04, 0.8, 12500, 1e-5, 72.166_020_880_545_5),
            (1.0, 10.0, 100, 1e-5, 4.728_507_067_217_62), // *
            (0.5, 5.0, 500, 1e-5, 12.492_459_899_838),    // *
            (0.001, 0.5, 10000, 1e-5, 6.418_367_323_134_74), // *
            (0.9, 30.0, 10, 1e-6, 0.407_535_939_231_556), // *
        ];
        for (q, sigma, steps, delta, expected) in table {
            let got = epsilon(steps, q, sigma, delta).unwrap();
            assert!(
                (got - expected).abs() < 1e-3,
                "q {q}, sigma {sigma}, {steps} steps, delta {delta}: {got} instead of {expected}"
            );
        }
    }

    #[test]
    fn the_older_conversion_gives_the_published_values() {
        // (sigma, epochs, epsilon) at batch 256 of MNIST's 60,000 and delta 1e-5: README of TensorFlow Privacy's tutorials
        // (January 2019), and the last two Bu, Dong, Long & Su 2020, Figure 4. All by Mironov 2017, Proposition 3:
        // steps rdp(a) + ln(1 / delta) / (a - 1).
        let table = [
            (1.12, 60, 2.92),
            (0.6, 30, 9.74),
            (1.2, 10, 1.20),
            (1.3, 20, 1.34),
            (0.7, 70, 8.68),
        ];
        for (sigma, epochs, published) in table {
            let steps = f64::from(epochs * 60_000 / 256);
            let epsilon = orders()
                .into_iter()
                .map(|a| steps * step_rdp(a, MNIST, sigma) - 1e-5f64.ln() / (a - 1.0))
                .fold(f64::INFINITY, f64::min);
            assert!(
                (epsilon - published).abs() < 0.02,
                "sigma {sigma}: {epsilon}, published {published}"
            );
        }
    }

    #[test]
    fn without_subsampling_it_is_the_gaussian_mechanism_and_without_noise_nothing() {
        assert_eq!(step_rdp(7.5, 1.0, 2.0), 7.5 / 8.0);
        assert_eq!(step_rdp(7.5, 0.0, 2.0), 0.0);
        assert_eq!(epsilon(10, 0.5, 0.0, 1e-5).unwrap(), f64::INFINITY);
        assert_eq!(epsilon(0, 0.5, 0.0, 1e-5).unwrap(), 0.0);
        // Close to q = 1 the sampled mechanism comes close to it, at the ends of the orders and in between.
        for order in [1.1, 2.0, 10.3, 64.0] {
            let (near, full) = (step_rdp(order, 1.0 - 1e-9, 2.0), step_rdp(order, 1.0, 2.0));
            assert!((near - full).abs() < 1e-6 * full, "{order}: {near} {full}");
        }
    }

    #[test]
    fn more_noise_and_fewer_steps_and_rarer_draws_spend_less() {
        let base = epsilon(1000, 0.05, 1.0, 1e-5).unwrap();
        assert!(epsilon(1000, 0.05, 1.1, 1e-5).unwrap() < base);
        assert!(epsilon(900, 0.05, 1.0, 1e-5).unwrap() < base);
        assert!(epsilon(1000, 0.04, 1.0, 1e-5).unwrap() < base);
        assert!(epsilon(1000, 0.05, 1.0, 1e-4).unwrap() < base);
        // Hardly any noise: a number, and an absurd one.
        let absurd = epsilon(500, 0.03, 0.006_25, 1e-5).unwrap();
        assert!(absurd.is_finite() && absurd > 1e5, "{absurd}");
    }

    #[test]
    fn the_noise_for_an_epsilon_spends_it_and_not_more() {
        for (target, delta, steps, q) in [(1.0, 1e-5, 2000, 0.02), (8.0, 1e-3, 1800, 0.3)] {
            let sigma = noise_multiplier_for(target, delta, steps, q).unwrap();
            let spends = epsilon(steps, q, sigma, delta).unwrap();
            assert!(
                spends <= target && spends > target - 1e-3,
                "{spends} for {target}"
            );
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert!(epsilon(1, 1.5, 1.0, 1e-5).is_err());
        assert!(epsilon(1, 0.5, -1.0, 1e-5).is_err());
        assert!(epsilon(1, 0.5, f64::NAN, 1e-5).is_err());
        assert!(epsilon(1, 0.5, 1.0, 0.0).is_err());
        assert!(noise_multiplier_for(0.0, 1e-5, 10, 0.1).is_err());
        assert!(
            noise_multiplier_for(1e-6, 1e-5, 10, 0.1).is_err(),
            "cannot be shown"
        );
        assert!(
            noise_multiplier_for(1e9, 1e-5, 10, 0.1).is_err(),
            "promises nothing"
        );
        assert!(noise_multiplier_for(1.0, 1e-5, 0, 0.1).is_err());
    }
}

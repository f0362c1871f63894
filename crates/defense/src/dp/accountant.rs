//! What DP-SGD spends, by Renyi differential privacy of the Poisson-subsampled Gaussian mechanism, and by the distribution
//! of its privacy loss (PRV).
//!
//! The mathematics, their sources and their tests are in [`dualmd_stats::privacy`]; here its errors become those of this
//! crate. What is claimed, and what noise is chosen by, is RDP's epsilon: it is defined for all settings, and its proof asks no
//! trust in a numerical composition. PRV's says how much of it is slack.

use crate::{DefenseError, Result};
use dualmd_stats::StatsError;
use dualmd_stats::privacy::{prv, rdp};

pub use prv::Epsilon;
pub use rdp::{Spent, orders};

/// Upper bound on the epsilon, at `delta`, of `steps` steps at `sampling_rate` q with `noise_multiplier` sigma.
///
/// # Errors
/// q outside [0, 1], sigma negative, or delta outside (0, 1).
pub fn spent(steps: u64, sampling_rate: f64, noise_multiplier: f64, delta: f64) -> Result<Spent> {
    rdp::spent(steps, sampling_rate, noise_multiplier, delta).map_err(setting)
}

/// The epsilon of [`spent`].
///
/// # Errors
/// As [`spent`].
pub fn epsilon(steps: u64, sampling_rate: f64, noise_multiplier: f64, delta: f64) -> Result<f64> {
    rdp::epsilon(steps, sampling_rate, noise_multiplier, delta).map_err(setting)
}

/// The same by the PRV accountant: lower bound, estimate and upper bound; `None` where it has none, which is where noise, delta
/// or steps lie beyond its range.
#[must_use]
pub fn by_distribution(
    steps: u64,
    sampling_rate: f64,
    noise_multiplier: f64,
    delta: f64,
) -> Option<Epsilon> {
    prv::epsilon(steps, sampling_rate, noise_multiplier, delta).ok()
}

/// The noise multiplier that `steps` steps at `sampling_rate` q need to spend no more than `target` epsilon at `delta`, by
/// bisection to 1e-6 of its value, rounded up.
///
/// # Errors
/// A value out of range, or a target that no multiplier between 0.01 and 1e6 meets exactly.
pub fn noise_multiplier_for(
    target: f64,
    delta: f64,
    steps: u64,
    sampling_rate: f64,
) -> Result<f64> {
    rdp::noise_multiplier_for(target, delta, steps, sampling_rate).map_err(setting)
}

fn setting(error: StatsError) -> DefenseError {
    DefenseError::Setting(format!("privacy accountant: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_accountant_of_the_statistics_and_refuses_in_its_words() {
        let sigma = noise_multiplier_for(1.0, 1e-5, 2000, 0.02).unwrap();
        let spends = epsilon(2000, 0.02, sigma, 1e-5).unwrap();
        assert!(spends <= 1.0 && spends > 1.0 - 1e-3, "{spends}");
        let tighter = by_distribution(2000, 0.02, sigma, 1e-5).unwrap();
        assert!(tighter.upper < spends, "{tighter:?}");
        assert!(tighter.lower > 0.6 * spends, "{tighter:?}");
        assert_eq!(by_distribution(2000, 0.02, 0.0, 1e-5), None);
        let error = spent(1, 1.5, 1.0, 1e-5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "privacy accountant: sampling rate is 1.5, but must be between 0 and 1"
        );
        assert!(noise_multiplier_for(1.0, 1e-5, 0, 0.1).is_err());
    }
}

//! beta_t of the named schedules, as diffusers' schedulers compute them (there in f32, here in f64).

use super::SchedulerConfig;
use crate::{DiffusionError, Result};
use std::f64::consts::FRAC_PI_2;

/// diffusers' cap of the cosine schedule (Nichol and Dhariwal 2021).
const LARGEST: f64 = 0.999;

/// One beta for each timestep, all in (0, 1).
///
/// # Errors
/// An unknown schedule; betas out of their range.
pub(super) fn of(config: &SchedulerConfig) -> Result<Vec<f64>> {
    let n = config.num_train_timesteps;
    let (start, end) = (config.beta_start, config.beta_end);
    let line = |a: f64, b: f64, i: usize| a + (b - a) * i as f64 / (n - 1) as f64;
    let betas: Vec<f64> = match (&config.trained_betas, config.beta_schedule.as_str()) {
        (Some(betas), _) if betas.len() == n => betas.clone(),
        (Some(betas), _) => {
            return Err(DiffusionError::Config(format!(
                "trained_betas has {} values but num_train_timesteps is {n}",
                betas.len()
            )));
        }
        (None, "linear") => (0..n).map(|i| line(start, end, i)).collect(),
        (None, "scaled_linear") => (0..n)
            .map(|i| line(start.sqrt(), end.sqrt(), i).powi(2))
            .collect(),
        (None, "squaredcos_cap_v2") => (0..n)
            .map(|i| {
                let abar = |i: usize| {
                    let share = i as f64 / n as f64;
                    ((share + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2)
                };
                (1.0 - abar(i + 1) / abar(i)).min(LARGEST)
            })
            .collect(),
        // GeoDiff's.
        (None, "sigmoid") => (0..n)
            .map(|i| (end - start) / (1.0 + (-line(-6.0, 6.0, i)).exp()) + start)
            .collect(),
        (None, other) => {
            return Err(DiffusionError::Config(format!(
                "beta_schedule \"{other}\" is not known: use linear, scaled_linear, squaredcos_cap_v2 or sigmoid, or give \
                 trained_betas"
            )));
        }
    };
    match betas.iter().position(|b| !(*b > 0.0 && *b < 1.0)) {
        Some(i) => Err(DiffusionError::Config(format!(
            "beta[{i}] = {}: every beta must lie in (0, 1)",
            betas[i]
        ))),
        None => Ok(betas),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoiseSchedule;

    /// Values of diffusers 0.42.1: `DDPMScheduler(num_train_timesteps=T, beta_schedule=NAME, ...)`, its `betas` (f32) and their
    /// sum, and its `alphas_cumprod`, a product of f32 that is 4e-7 off by rounding at most.
    #[test]
    fn betas_and_abar_are_those_of_diffusers() {
        type Row = (usize, f64, f64);
        type Case = (&'static str, usize, f64, f64, f64, [Row; 6]);
        let cases: [Case; 4] = [
            (
                "squaredcos_cap_v2",
                1000,
                1e-4,
                0.02,
                12.441_496_467,
                [
                    (0, 4.128_422_370e-05, 9.999_586_940e-01),
                    (1, 4.614_175_123e-05, 9.999_125_600e-01),
                    (250, 1.327_223_959e-03, 8.458_880_186e-01),
                    (500, 3.155_691_549e-03, 4.922_850_430e-01),
                    (998, 7.499_994_040e-01, 2.428_766_265e-06),
                    (999, 9.990_000_129e-01, 2.428_734_991e-09),
                ],
            ),
            (
                "squaredcos_cap_v2",
                50,
                1e-4,
                0.02,
                6.537_902_175,
                [
                    (0, 1.747_513_539e-03, 9.982_525_110e-01),
                    (1, 3.688_954_748e-03, 9.945_700_169e-01),
                    (12, 2.615_903_504e-02, 8.356_206_417e-01),
                    (25, 6.304_977_834e-02, 4.627_068_639e-01),
                    (48, 7.497_569_919e-01, 9.711_931_925e-04),
                    (49, 9.990_000_129e-01, 9.711_807_252e-07),
                ],
            ),
            (
                "sigmoid",
                1000,
                1e-4,
                0.02,
                10.049_999_756,
                [
                    (0, 1.492_051_961e-04, 9.998_508_096e-01),
                    (1, 1.497_983_176e-04, 9.997_010_231e-01),
                    (250, 1.046_478_283e-03, 9.027_990_103e-01),
                    (500, 1.007_987_838e-02, 2.988_875_806e-01),
                    (998, 1.995_019_987e-02, 4.048_962_364e-05),
                    (999, 1.995_079_592e-02, 3.968_182_136e-05),
                ],
            ),
            (
                "sigmoid",
                50,
                0.001,
                0.3,
                7.524_999_653,
                [
                    (0, 1.739_314_292e-03, 9.982_606_769e-01),
                    (1, 1.943_819_690e-03, 9.963_202_477e-01),
                    (12, 1.437_586_918e-02, 9.291_707_277e-01),
                    (25, 1.596_416_384e-01, 3.394_106_328e-01),
                    (48, 2.990_561_724e-01, 2.413_829_061e-04),
                    (49, 2.992_606_759e-01, 1.691_465_004e-04),
                ],
            ),
        ];
        for (name, n, beta_start, beta_end, sum, rows) in cases {
            let config = SchedulerConfig {
                num_train_timesteps: n,
                beta_schedule: name.into(),
                beta_start,
                beta_end,
                ..SchedulerConfig::default()
            };
            let betas = of(&config).unwrap();
            assert_eq!(betas.len(), n);
            let total: f64 = betas.iter().sum();
            assert!(
                (total - sum).abs() < 1e-6,
                "{name} {n}: {total} is not {sum}"
            );
            let schedule = NoiseSchedule::new(config).unwrap();
            for (t, beta, abar) in rows {
                assert!(
                    (betas[t] - beta).abs() < 1e-7,
                    "{name} {n} {t}: {}",
                    betas[t]
                );
                let ours = schedule.alpha_bar(t as i64);
                assert!((ours - abar).abs() < 5e-7, "{name} {n} {t}: {ours}");
            }
        }
    }

    #[test]
    fn schedules_that_cannot_be_are_named() {
        let refused = |config: SchedulerConfig| of(&config).unwrap_err().to_string();
        let plain = SchedulerConfig::default();
        let unknown = SchedulerConfig {
            beta_schedule: "laplace".into(),
            ..plain.clone()
        };
        assert!(refused(unknown).contains("squaredcos_cap_v2"));
        for (given, words) in [(vec![0.1], "1 values"), (vec![0.1; 1000], "")] {
            let config = SchedulerConfig {
                trained_betas: Some(given),
                ..plain.clone()
            };
            match words {
                "" => assert_eq!(of(&config).unwrap().len(), 1000),
                words => assert!(refused(config).contains(words)),
            }
        }
        let one = SchedulerConfig {
            beta_end: 1.0,
            ..plain
        };
        assert!(refused(one).contains("beta[999] = 1"));
    }
}

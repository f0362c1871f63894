//! What follows from the settings of the training loop.

use crate::{DefenseError, Result};

pub use dualmd_record::recipe::TrainOptions;

/// Refuses settings that no training can have.
///
/// # Errors
/// The first value out of range.
pub fn check(options: &TrainOptions) -> Result<()> {
    let fail = |key: &str, value: &dyn std::fmt::Display, rule: &str| {
        Err(DefenseError::Setting(format!(
            "train.{key} = {value}: must be {rule}"
        )))
    };
    if options.steps == 0 {
        return fail("steps", &options.steps, "at least 1");
    }
    if options.batch == 0 {
        return fail("batch", &options.batch, "at least 1");
    }
    if !(1..=options.batch).contains(&options.accumulate) {
        return fail("accumulate", &options.accumulate, "1 to train.batch");
    }
    if !(options.learning_rate > 0.0 && options.learning_rate.is_finite()) {
        return fail("learning_rate", &options.learning_rate, "a positive number");
    }
    if !(0.0..=1.0).contains(&options.decay_fraction) {
        return fail("decay_fraction", &options.decay_fraction, "between 0 and 1");
    }
    if !(0.0..1.0).contains(&options.ema) {
        return fail("ema", &options.ema, "in [0, 1)");
    }
    if !(options.clip >= 0.0 && options.weight_decay >= 0.0) {
        return fail("clip", &options.clip, "0 or more, like train.weight_decay");
    }
    if !(options.drop_memorised >= 0.0 && options.drop_memorised.is_finite()) {
        return fail("drop_memorised", &options.drop_memorised, "0 or more");
    }
    if !(options.skip_easy >= 0.0 && options.skip_easy.is_finite()) {
        return fail("skip_easy", &options.skip_easy, "0 or more");
    }
    Ok(())
}

/// Learning rate of step `step` (0-based).
#[must_use]
pub fn rate(options: &TrainOptions, step: u64) -> f64 {
    let warm = if options.warmup == 0 {
        1.0
    } else {
        (step + 1).min(options.warmup) as f64 / options.warmup as f64
    };
    let tail = options.steps as f64 * options.decay_fraction;
    let left = (options.steps - step.min(options.steps)) as f64;
    let decay = if tail > 0.0 {
        (left / tail).min(1.0)
    } else {
        1.0
    };
    options.learning_rate * warm * decay
}

/// EMA decay of step `step` (0-based).
#[must_use]
pub fn ema_decay(options: &TrainOptions, step: u64) -> f64 {
    if options.ema_warmup {
        options.ema.min((1.0 + step as f64) / (10.0 + step as f64))
    } else {
        options.ema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let o = TrainOptions {
            steps: 100,
            warmup: 10,
            decay_fraction: 0.4,
            learning_rate: 1.0,
            ..Default::default()
        };
        assert_eq!(rate(&o, 0), 0.1);
        assert_eq!(rate(&o, 9), 1.0);
        assert_eq!(rate(&o, 60), 1.0);
        assert!((rate(&o, 80) - 0.5).abs() < 1e-12);
        assert!((rate(&o, 99) - 0.025).abs() < 1e-12);
    }
}

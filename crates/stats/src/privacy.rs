//! What differentially private training spends: (epsilon, delta) of many steps of the Poisson-subsampled Gaussian mechanism.
//!
//! One step draws each image with probability q, adds up vectors of norm at most C and adds N(0, sigma^2 C^2 I). Neighbours
//! are sets that differ by one image added or removed.
//!
//! | module | follows | gives |
//! |---|---|---|
//! | [`rdp`] | Renyi divergences of some orders | an upper bound, in moments |
//! | [`prv`] | the whole distribution of the privacy loss | a lower bound, an estimate and an upper bound; smaller than that of `rdp` |

pub mod prv;
pub mod rdp;

use crate::error::StatsError;

/// Smallest noise multiplier searched for: what needs less spends an epsilon in the thousands per step.
const LEAST_NOISE: f64 = 0.01;
/// Largest one.
const MOST_NOISE: f64 = 1e6;

/// Refuses an epsilon to aim at that no noise multiplier belongs to.
fn check_target(target: f64, steps: u64, sampling_rate: f64) -> Result<(), StatsError> {
    if !(target > 0.0 && target.is_finite()) {
        return Err(StatsError::OutOfRange {
            name: "epsilon",
            value: target,
            expected: "a positive number",
        });
    }
    if steps == 0 || sampling_rate == 0.0 {
        return Err(StatsError::Privacy(
            "no step draws any image: nothing is spent, whatever the noise multiplier".into(),
        ));
    }
    Ok(())
}

fn promises_nothing(target: f64) -> StatsError {
    StatsError::Privacy(format!(
        "epsilon = {target}: met with a noise multiplier below {LEAST_NOISE} already and promises nothing; give the noise \
         multiplier itself"
    ))
}

fn cannot_be_shown(target: f64, delta: f64) -> StatsError {
    StatsError::Privacy(format!(
        "epsilon = {target}: cannot be shown at delta = {delta} with any amount of noise; ask for a larger epsilon or delta"
    ))
}

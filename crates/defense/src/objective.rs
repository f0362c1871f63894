//! What the network learns: the noise of a noise schedule, or the velocity of a flow.
//!
//! | objective | the network is shown | is told | learns |
//! |---|---|---|---|
//! | [`Objective::Ddpm`] | x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps | t, uniform in 0..T | eps (or v or x_0, as the schedule says) |
//! | [`Objective::Flow`] | x_s = (1 - s) x_0 + s eps | 1000 s | eps - x_0 |
//!
//! Liu et al. 2022 draw s uniformly; Esser et al. 2024 (Stable Diffusion 3) by the logistic function of a standard normal, which
//! favours the middle of the path. A teacher is asked what its student learns: its noise, or its velocity. The folder, the network's
//! times and the sampler are those of diffusers' `FlowMatchEulerDiscreteScheduler` ([`dualmd_diffusion::schedule::flow`]).

use dualmd_torch::{Device, Tensor, noise};
use rand::Rng;

pub use dualmd_record::recipe::{Levels, Objective};

/// `n` levels, \[n\] f32 in [0, 1].
pub(crate) fn draw(levels: Levels, rng: &mut impl Rng, n: usize, device: Device) -> Tensor {
    match levels {
        Levels::Uniform => {
            let values: Vec<f32> = (0..n).map(|_| rng.random()).collect();
            Tensor::from_slice(&values).to_device(device)
        }
        Levels::LogitNormal => noise::normal(rng, &[n as i64], device).sigmoid(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::stream;

    #[test]
    fn levels_are_distributed_as_they_are_named() {
        let n = 20_000;
        let shares = |levels: Levels| {
            let drawn = draw(levels, &mut stream(3, "levels", 0), n, Device::Cpu);
            assert_eq!(drawn.size(), [n as i64]);
            let values: Vec<f32> = Vec::try_from(&drawn).unwrap();
            assert!(values.iter().all(|s| (0.0..=1.0).contains(s)));
            let below = |limit: f32| {
                let count = values.iter().filter(|s| **s < limit).count();
                count as f64 / n as f64
            };
            [below(0.1), below(0.5), below(0.731_058_6)]
        };
        // P(z < -2.197) = 0.0140, P(z < 0) = 1/2, P(z < 1) = 0.8413 of a standard normal z.
        for (levels, expected) in [
            (Levels::Uniform, [0.1, 0.5, 0.7311]),
            (Levels::LogitNormal, [0.0140, 0.5, 0.8413]),
        ] {
            for (share, expected) in shares(levels).into_iter().zip(expected) {
                // Four standard errors at most.
                assert!((share - expected).abs() < 0.0142, "{levels:?}: {share}");
            }
        }
        assert!(shares(Levels::LogitNormal)[0] < 0.03);
    }
}

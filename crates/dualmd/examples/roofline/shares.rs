//! Where the time of a training step, of the attacks and of sampling goes, by libtorch's own account of its operations.

use crate::common::{Outcome, run, trainer};
use crate::groups::{GROUPS, group};
use crate::network::Work;
use crate::{CHANNELS, Case, fresh};
use dualmd_attack::{Others, RunOptions, Samples, default_set};
use dualmd_data::stream;
use dualmd_defense::{Plain, TrainOptions};
use dualmd_diffusion::NoiseSchedule;
use dualmd_diffusion::sampler::{SampleOptions, Sampler, initial_noise, sample};
use dualmd_torch::device::Precision;
use dualmd_torch::profile::{Operation, Profile};
use dualmd_torch::{Device, Tensor, noise};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::time::Instant;

/// Images of the training set.
const IMAGES: usize = 256;
/// Steps before those that count.
const FIRST: u64 = 2;
/// Steps that are timed, and as many more that are taken apart: to be told of every operation costs a little time.
const STEPS: u64 = 4;
/// Denoising steps of sampling.
const DENOISING: usize = 10;

/// What was taken apart.
#[derive(Debug, Serialize)]
pub struct Taken {
    /// `training step`, `attacks` or `sampling`.
    pub what: &'static str,
    /// The preset.
    pub network: &'static str,
    /// Images of the batch.
    pub batch: i64,
    /// `f32` or `bf16`.
    pub dtype: &'static str,
    /// Seconds by the clock: of a step, or of all of it, without an observer.
    pub seconds: f64,
    /// Multiply-adds of the network in that time, counted. A backward pass is two forward ones.
    pub multiply_adds: f64,
    /// Shares of the time with an observer, as [`GROUPS`], then other operations, then what lies outside of operations.
    pub shares: Vec<f64>,
    /// The ten longest operations and their shares.
    pub longest: Vec<(String, f64)>,
}

/// Shares of `seconds`, and the longest operations.
fn shares(operations: Vec<Operation>, seconds: f64) -> (Vec<f64>, Vec<(String, f64)>) {
    let mut shares = vec![0.0; GROUPS.len() + 2];
    for operation in &operations {
        shares[group(&operation.name)] += operation.seconds / seconds;
    }
    let inside: f64 = shares.iter().sum();
    shares[GROUPS.len() + 1] = 1.0 - inside;
    let longest = operations.into_iter().take(10);
    let longest = longest.map(|o| (o.name, o.seconds / seconds)).collect();
    (shares, longest)
}

/// `images` random images in [-1, 1].
fn images(n: usize, case: Case) -> Tensor {
    let size = [n as i64, CHANNELS, case.side, case.side];
    noise::normal(&mut stream(1, "images", 0), &size, Device::Cpu).clamp(-1.0, 1.0)
}

/// A step of the training loop.
///
/// # Errors
/// What the loop refuses.
pub fn step(case: Case, precision: Precision, work: &Work) -> Outcome<Taken> {
    let folder = tempfile::tempdir()?;
    let recipe = Plain::new((0..IMAGES).collect(), 1)?;
    let options = TrainOptions {
        // After the last one losses are measured.
        steps: FIRST + 2 * STEPS + 1,
        batch: usize::try_from(case.batch)?,
        ..TrainOptions::default()
    };
    let set = images(IMAGES, case).into();
    let mut trainer = trainer(folder.path(), (case.name, case.side), set, &recipe, options)?;
    trainer.precision = precision;
    let (done, began) = (Cell::new(0), Cell::new(Instant::now()));
    let (plain, profile, observed) = (Cell::new(0.0), RefCell::new(None), RefCell::new(None));
    let after = || {
        done.set(done.get() + 1);
        let taken = began.get().elapsed().as_secs_f64();
        if done.get() == FIRST {
            began.set(Instant::now());
        } else if done.get() == FIRST + STEPS {
            plain.set(taken);
            *profile.borrow_mut() = Some(Profile::begin());
            began.set(Instant::now());
        } else if done.get() == FIRST + 2 * STEPS {
            let ended = profile.take().map(|begun| begun.and_then(Profile::end));
            *observed.borrow_mut() = Some((taken, ended));
        }
    };
    run(trainer, &after)?;
    let Some((seconds, Some(operations))) = observed.take() else {
        return Err("the training ended before its steps were taken apart".into());
    };
    let (shares, longest) = shares(operations?, seconds);
    Ok(Taken {
        what: "training step",
        network: case.name,
        batch: case.batch,
        dtype: precision.name(),
        seconds: plain.get() / STEPS as f64,
        multiply_adds: 3.0 * work.multiply_adds() * case.batch as f64,
        shares,
        longest,
    })
}

/// The usual attacks on one batch.
///
/// # Errors
/// What an attack refuses.
pub fn suite(case: Case, precision: Precision, work: &Work) -> Outcome<Taken> {
    let network = fresh(case)?.with_precision(precision);
    let n = usize::try_from(case.batch)?;
    let ids = (0..n).map(|i| i.to_string()).collect();
    let samples = Samples::new(images(n, case), ids)?;
    let calls = Cell::new(0);
    let attack = || -> Outcome<()> {
        let options = RunOptions {
            batch: n,
            seed: 1,
            device: Device::Cpu,
            others: Others::default(),
            known: None,
            shadow: None,
            parts: None,
            progress: &mut |_, _| (),
            stop: &|| false,
        };
        let schedule = NoiseSchedule::default();
        let outcome = dualmd_attack::run(&network, &schedule, &samples, &default_set(), options)?;
        for result in outcome.results {
            result.scores?;
        }
        calls.set(outcome.network_calls_made);
        Ok(())
    };
    let (seconds, shares, longest) = twice(&attack)?;
    Ok(Taken {
        what: "attacks",
        network: case.name,
        batch: case.batch,
        dtype: precision.name(),
        seconds,
        multiply_adds: work.multiply_adds() * calls.get() as f64,
        shares,
        longest,
    })
}

/// Images by DDIM.
///
/// # Errors
/// What the sampler refuses.
pub fn sampling(case: Case, precision: Precision, work: &Work) -> Outcome<Taken> {
    let network = fresh(case)?.with_precision(precision);
    let n = usize::try_from(case.batch)?;
    let x = initial_noise(1, n, [CHANNELS, case.side, case.side], Device::Cpu);
    let options = SampleOptions {
        sampler: Sampler::Ddim,
        steps: DENOISING,
        batch: n,
        seed: 1,
        clip: Some(1.0),
        unbounded: false,
    };
    let draw = || -> Outcome<()> {
        let schedule = NoiseSchedule::default();
        let _ = sample(&network, &schedule, &x, None, &options, |_| true)?;
        Ok(())
    };
    let (seconds, shares, longest) = twice(&draw)?;
    Ok(Taken {
        what: "sampling",
        network: case.name,
        batch: case.batch,
        dtype: precision.name(),
        seconds,
        multiply_adds: work.multiply_adds() * (n * DENOISING) as f64,
        shares,
        longest,
    })
}

/// Once to set up convolutions, once by the clock, once taken apart.
#[allow(clippy::type_complexity)]
fn twice(call: &dyn Fn() -> Outcome<()>) -> Outcome<(f64, Vec<f64>, Vec<(String, f64)>)> {
    call()?;
    let began = Instant::now();
    call()?;
    let plain = began.elapsed().as_secs_f64();
    let (profile, began) = (Profile::begin()?, Instant::now());
    call()?;
    let observed = began.elapsed().as_secs_f64();
    let (shares, longest) = shares(profile.end()?, observed);
    Ok((plain, shares, longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_of_operations_is_the_rest() {
        let operation = |name: &str, seconds| Operation {
            name: name.into(),
            calls: 1,
            seconds,
        };
        let all = vec![
            operation("aten::conv2d", 1.0),
            operation("aten::histc", 0.5),
        ];
        let (shares, longest) = shares(all, 2.0);
        assert_eq!(shares[0], 0.5);
        assert_eq!(shares[GROUPS.len()..], [0.25, 0.25]);
        assert_eq!(shares.iter().sum::<f64>(), 1.0);
        assert_eq!(longest[0], ("aten::conv2d".to_owned(), 0.5));
    }
}

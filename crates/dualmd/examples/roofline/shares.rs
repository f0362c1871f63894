//! Where the time of a training step, of the attacks and of sampling goes, by libtorch's own account of its operations.

use crate::common::{Outcome, run, trainer};
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

/// What the time is spent on, in the order of the tables.
pub const GROUPS: [&str; 10] = [
    "convolutions",
    "attention",
    "matrix products",
    "norms",
    "activations",
    "optimiser",
    "copies",
    "arithmetic",
    "allocation",
    "autograd and views",
];

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

/// What the names of a group's operations contain; of several the first counts. Nodes of the graph come first: they are what is done around
/// the operation that they call, which has a name of its own.
const RULES: [(&str, &[&str]); 11] = [
    (
        "autograd and views",
        &[
            "evaluate_function",
            "backward0",
            "backward1",
            "accumulategrad",
            "cppnode",
        ],
    ),
    (
        "optimiser",
        &[
            "_foreach",
            "_fused_adam",
            "linalg_vector_norm",
            "aten::norm",
            "aten::stack",
        ],
    ),
    ("norms", &["norm"]),
    ("convolutions", &["conv"]),
    ("attention", &["attention", "softmax", "bmm"]),
    (
        "matrix products",
        &["aten::mm", "addmm", "matmul", "linear"],
    ),
    (
        "activations",
        &[
            "silu",
            "sigmoid",
            "gelu",
            "relu",
            "tanh",
            "dropout",
            "bernoulli",
        ],
    ),
    (
        "copies",
        &[
            "copy",
            "clone",
            "contiguous",
            "aten::to",
            "aten::cat",
            "upsample",
            "aten::pad",
            "_pad_nd",
            "index",
        ],
    ),
    (
        "allocation",
        &[
            "aten::empty",
            "aten::zeros",
            "aten::ones",
            "aten::new_",
            "aten::full",
            "fill_",
            "zero_",
            "resize_",
            "scalar_tensor",
        ],
    ),
    (
        "autograd and views",
        &[
            "view",
            "expand",
            "as_strided",
            "reshape",
            "squeeze",
            "permute",
            "transpose",
            "slice",
            "select",
            "narrow",
            "detach",
            "alias",
            "flatten",
            "chunk",
            "split",
            "requires_grad",
        ],
    ),
    (
        "arithmetic",
        &[
            "add",
            "sub",
            "mul",
            "div",
            "neg",
            "pow",
            "sqrt",
            "sum",
            "mean",
            "mse",
            "exp",
            "log",
            "sin",
            "cos",
            "abs",
            "square",
            "lerp",
            "clamp",
            "aten::ge",
            "aten::lt",
            "where",
            "item",
            "_local_scalar_dense",
            "isfinite",
            "aten::eq",
            "aten::all",
        ],
    ),
];

/// The place of an operation in [`GROUPS`]; behind the last one where it is none of them.
pub fn group(name: &str) -> usize {
    let name = name.to_lowercase();
    let fits = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let rule = RULES.iter().find(|(_, words)| fits(words));
    let group = match rule {
        Some((group, _)) => *group,
        // Too short a name to look for in others.
        None if name == "aten::t" => "autograd and views",
        None => return GROUPS.len(),
    };
    let place = GROUPS.iter().position(|known| *known == group);
    place.unwrap_or(GROUPS.len())
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
        sample(&network, &schedule, &x, None, &options, |_| true)?;
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
    fn operations_have_their_groups() {
        for (name, expected) in [
            ("aten::mkldnn_convolution", "convolutions"),
            ("aten::convolution_backward", "convolutions"),
            ("ConvolutionBackward0", "autograd and views"),
            (
                "autograd::engine::evaluate_function: AddmmBackward0",
                "autograd and views",
            ),
            (
                "aten::_scaled_dot_product_flash_attention_for_cpu",
                "attention",
            ),
            ("aten::addmm", "matrix products"),
            ("dualmd::group_norm_silu", "norms"),
            ("aten::native_group_norm", "norms"),
            ("dualmd::group_norm_silu_backward", "norms"),
            ("aten::silu_backward", "activations"),
            ("aten::_fused_adam_", "optimiser"),
            ("aten::_foreach_norm", "optimiser"),
            ("aten::_to_copy", "copies"),
            ("aten::upsample_nearest2d", "copies"),
            ("aten::add_", "arithmetic"),
            ("aten::empty_like", "allocation"),
            ("aten::t", "autograd and views"),
            ("aten::transpose", "autograd and views"),
        ] {
            assert_eq!(GROUPS.get(group(name)), Some(&expected), "{name}");
        }
        assert_eq!(group("aten::histc"), GROUPS.len());
        for (group, _) in RULES {
            assert!(GROUPS.contains(&group), "{group}");
        }
    }

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

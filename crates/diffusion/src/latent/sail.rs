//! SAIL: a starting noise from which a prompt does not call up its image (*Understanding and Mitigating Memorization in Generative Models
//! via Sharpness of Probability Landscapes*, Jeon et al. 2025, ICML, arXiv:2412.04140, algorithm 2, as its public code has it).
//!
//! Where a prompt is memorised the landscape of log p(x | text) is sharp already at the noise that a drawing starts from. With
//! d(x) = eps(x, T, text) - eps(x, T, nothing),
//!
//! ```text
//! loss(x) = |d(x + d(x) / |d(x)|)| + a |x|              a step along d says how sharp it is there; |x| keeps x a noise
//! ```
//!
//! is brought down by Adam on x, each image for itself, until it is at most a target; a drawing then starts from there. Neither the model
//! nor the prompt is changed.
//!
//! Where an image does not come to the target within its steps, the code raises the target by and by, and draws other noise; here the
//! noise of the lowest loss is taken, and it is said that the target was not reached.

use crate::{Condition, Denoiser, DiffusionError, NoiseSchedule, Result, StepInfo};
use dualmd_torch::{Kind, Tensor, no_grad, tch};

/// How far to go. Default: the public code's for Stable Diffusion 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sail {
    /// Adam's learning rate (0.05).
    pub learning_rate: f64,
    /// Most updates of an image (10).
    pub steps: usize,
    /// a: weight of |x| (0.05; 0.01 for Stable Diffusion 2).
    pub gaussianity: f64,
    /// Loss at which an image is done (8.2). It holds norms over all values: for other sizes than 4 x 64 x 64 another target means the same.
    pub target: f64,
}

impl Default for Sail {
    fn default() -> Self {
        Self {
            learning_rate: 0.05,
            steps: 10,
            gaussianity: 0.05,
            target: 8.2,
        }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Begun {
    /// Where to start from, [N, C, H, W] f32.
    pub noise: Tensor,
    /// The loss there, of each image.
    pub losses: Vec<f64>,
    /// Is it at most the target?
    pub reached: Vec<bool>,
}

/// Adam's betas and epsilon, PyTorch's defaults.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Changes `noise` [N, C, H, W], from which images would be drawn for `told`, one embedding for each. `t`: the first timestep of the
/// drawing; `nothing`: the empty text, or no label, one row. A pair of models is asked as in the first step of a drawing.
///
/// # Errors
/// Settings that make no sense; shapes that do not fit; a model without a gradient by its input; a loss that is not finite.
pub fn begin(
    denoiser: &dyn Denoiser,
    noise: &Tensor,
    t: i64,
    told: &Condition,
    nothing: &Condition,
    options: &Sail,
) -> Result<Begun> {
    if !(options.learning_rate > 0.0 && options.gaussianity >= 0.0 && options.steps > 0) {
        return Err(DiffusionError::Config(format!(
            "SAIL with learning rate {}, {} steps and weight {} of the noise's size: choose a positive rate (0.05), at least one step (10) and a \
             weight of at least 0 (0.05)",
            options.learning_rate, options.steps, options.gaussianity
        )));
    }
    let (size, n) = (noise.size(), told.len());
    if size.len() != 4 || size.first() != Some(&n) || n == 0 || nothing.len() != 1 {
        return Err(DiffusionError::Shape {
            what: "starting noise, rows of what is told and of nothing",
            expected: "[N, C, H, W], N and 1".into(),
            got: [size, vec![n, nothing.len()]].concat(),
        });
    }
    let images: Vec<u64> = (0..n.unsigned_abs()).collect();
    let times = NoiseSchedule::timestep_tensor(t, n, noise.device());
    let empty = nothing.expand(n)?;
    let ask = |x: &Tensor, told: &Condition| {
        let step = StepInfo {
            index: 0,
            images: &images,
        };
        denoiser.predict_noise_in_step(x, &times, Some(told), step)
    };
    let moved = |x: &Tensor| -> Result<Tensor> { Ok(ask(x, told)?.f_sub(&ask(x, &empty)?)?) };
    let losses = |x: &Tensor| -> Result<Tensor> {
        let d = moved(x)?;
        let along = x.f_add(&d.f_div(&norms(&d)?.f_view([-1, 1, 1, 1])?)?)?;
        let sharp = norms(&moved(&along)?)?;
        if !sharp.requires_grad() {
            return Err(no_gradient());
        }
        Ok(sharp.f_add(&(norms(x)? * options.gaussianity))?)
    };

    let mut x = noise.f_detach()?.f_to_kind(Kind::Float)?.copy();
    let (mut mean, mut square) = (x.f_zeros_like()?, x.f_zeros_like()?);
    let (best, mut lowest) = (x.copy(), vec![f64::INFINITY; n.unsigned_abs() as usize]);
    for step in 1..=options.steps {
        let leaf = x.f_detach()?.f_set_requires_grad(true)?;
        let (values, gradient) = tch::with_grad(|| -> Result<(Vec<f64>, Tensor)> {
            let each = losses(&leaf)?;
            let values = Vec::try_from(each.f_detach()?.f_to_kind(Kind::Double)?)?;
            let sum = each.f_sum(Kind::Float)?;
            let mut gradients = Tensor::f_run_backward(&[sum], &[&leaf], false, false)?;
            let gradient = gradients.pop().filter(Tensor::defined);
            Ok((values, gradient.ok_or_else(no_gradient)?))
        })?;
        if let Some(value) = values.iter().find(|v| !v.is_finite()) {
            return Err(DiffusionError::Config(format!(
                "SAIL: a loss is {value} after {} updates; check the weights or work in f32",
                step - 1
            )));
        }
        no_grad(|| -> Result<()> {
            for (row, &value) in values.iter().enumerate() {
                // The first noise that meets the target is kept, as in the code, and the lowest where none does.
                if lowest[row] > options.target && value < lowest[row] {
                    lowest[row] = value;
                    let at = row as i64;
                    best.f_narrow(0, at, 1)?.f_copy_(&x.f_narrow(0, at, 1)?)?;
                }
            }
            mean = &mean * BETAS[0] + &gradient * (1.0 - BETAS[0]);
            square = &square * BETAS[1] + gradient.f_square()? * (1.0 - BETAS[1]);
            let bias = BETAS.map(|beta| 1.0 - beta.powi(step as i32));
            let spread = square.f_sqrt()? / bias[1].sqrt() + EPSILON;
            x = &x - &mean / spread * (options.learning_rate / bias[0]);
            Ok(())
        })?;
        if lowest.iter().all(|&loss| loss <= options.target) {
            break;
        }
    }
    Ok(Begun {
        noise: best,
        reached: lowest.iter().map(|&loss| loss <= options.target).collect(),
        losses: lowest,
    })
}

fn no_gradient() -> DiffusionError {
    DiffusionError::Config(
        "SAIL needs the model's gradient by its input, and this model has none (it runs in another process, or was asked without gradients)"
            .into(),
    )
}

/// The L2 norm of each row, \[N\]. (Its gradient at 0 is 0, where that of a root would be no number.)
fn norms(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_flatten(1, -1)?
        .f_norm_scalaropt_dim(2.0, [1i64], false)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Device;

    /// eps(x, t, text) = text x: with text a and nothing b, d = (a - b) x.
    struct Scales;

    impl Denoiser for Scales {
        fn predict_noise(
            &self,
            x_t: &Tensor,
            _: &Tensor,
            condition: Option<&Condition>,
        ) -> Result<Tensor> {
            let text = condition.unwrap().texts().unwrap();
            let value = text.mean_dim([1i64, 2].as_slice(), false, Kind::Float);
            Ok(x_t * value.view([-1, 1, 1, 1]))
        }
    }

    /// With d = (a - b) x, a > b: loss = (a - b) (|x| + 1) + 0.5 |x|, whose gradient points along x: |x| falls until the target is met,
    /// for an image with a flat prompt (a - b small) at once.
    #[test]
    fn sharp_images_move_until_they_are_flat_enough() {
        let kind = (Kind::Float, Device::Cpu);
        let noise = Tensor::full([2, 1, 2, 2], 1.0, kind);
        let told = Condition::of_text(Tensor::cat(
            &[
                Tensor::full([1, 1, 1], 2.5, kind),
                Tensor::full([1, 1, 1], 0.6, kind),
            ],
            0,
        ));
        let nothing = Condition::of_text(Tensor::full([1, 1, 1], 0.5, kind));
        let options = Sail {
            gaussianity: 0.5,
            target: 6.6,
            ..Sail::default()
        };
        // |x| = 2. Losses 2 x 3 + 1 = 7 and 0.1 x 3 + 1 = 1.3.
        let begun = begin(&Scales, &noise, 981, &told, &nothing, &options).unwrap();
        assert_eq!(begun.reached, [true, true]);
        assert!((begun.losses[1] - 1.3).abs() < 1e-5, "{:?}", begun.losses);
        assert_eq!(begun.noise.get(1), noise.get(1), "it was flat, and stays");
        // Each step takes 0.05 from every value, 0.1 from |x| and 0.25 from the loss: 6.75, and then 6.5.
        assert!((begun.losses[0] - 6.5).abs() < 1e-3, "{:?}", begun.losses);
        let moved = begun.noise.get(0).mean(Kind::Float).double_value(&[]);
        assert!((moved - 0.9).abs() < 1e-3, "{moved}");

        let few = Sail {
            target: 1.0,
            steps: 3,
            ..options
        };
        let begun = begin(&Scales, &noise, 981, &told, &nothing, &few).unwrap();
        assert_eq!(begun.reached, [false, false]);
        assert!((begun.losses[0] - 6.5).abs() < 1e-3, "the lowest of three");
    }

    /// A model in another process.
    struct Far;

    impl Denoiser for Far {
        fn predict_noise(
            &self,
            x_t: &Tensor,
            t: &Tensor,
            condition: Option<&Condition>,
        ) -> Result<Tensor> {
            Scales.predict_noise(&x_t.detach(), t, condition)
        }
    }

    #[test]
    fn what_cannot_be_begun_is_refused() {
        let kind = (Kind::Float, Device::Cpu);
        let noise = Tensor::ones([2, 1, 2, 2], kind);
        let text = |n: i64| Condition::of_text(Tensor::ones([n, 1, 1], kind));
        let nothing = Condition::of_text(Tensor::zeros([1, 1, 1], kind));
        let refused = |denoiser: &dyn Denoiser, n: i64, options: Sail| {
            let begun = begin(denoiser, &noise, 981, &text(n), &nothing, &options);
            begun.unwrap_err().to_string()
        };
        let usual = Sail::default();
        assert!(refused(&Scales, 3, usual).contains("[N, tokens, width]"));
        let none = Sail { steps: 0, ..usual };
        assert!(refused(&Scales, 2, none).contains("at least one step"));
        assert!(refused(&Far, 2, usual).contains("gradient"));
    }
}

//! The classifier of Pang and Wang's public code: a perceptron on the standardised similarities.
//!
//! Layers d-1024-512-256-128-64-32-2; batch normalisation and ReLU after the first, ReLU6 after the others, half of all
//! values dropped after each; cross-entropy, Adam at 1e-4, all known samples in every step, 1,000 steps. The public code
//! prints the best of the 1,000 networks, chosen on the audited images and for every statistic anew; here the last counts.

use crate::Result;
use dualmd_data::stream;
use dualmd_torch::tch::{COptimizer, Reduction};
use dualmd_torch::{Kind, Tensor, no_grad, noise, tch};

/// Widths after the input.
const WIDTHS: [i64; 7] = [1024, 512, 256, 128, 64, 32, 2];
/// Share of the values that are dropped.
const DROPPED: f64 = 0.5;

/// Rate and length of a training.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    rate: f64,
    steps: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            rate: 1e-4,
            steps: 1000,
        }
    }
}

/// Learns from `known` [N, D], standardised, and the truth about each; the scores of `judged` [M, D] are log-odds.
pub(super) fn scores(
    recipe: Recipe,
    known: &Tensor,
    member: &[bool],
    judged: &Tensor,
    seed: u64,
) -> Result<Vec<f64>> {
    let (known, judged) = (
        known.f_to_kind(Kind::Float)?,
        judged.f_to_kind(Kind::Float)?,
    );
    let network = Perceptron::new(known.size()[1], seed, known.device());
    let truth: Vec<i64> = member.iter().map(|&m| i64::from(m)).collect();
    let truth = Tensor::from_slice(&truth).f_to_device(known.device())?;
    tch::with_grad(|| network.train(recipe, &known, &truth, seed))?;
    let odds = no_grad(|| network.forward(&judged, None))?;
    let odds = odds.f_select(1, 1)? - odds.f_select(1, 0)?;
    Ok(Vec::try_from(odds.f_to_kind(Kind::Double)?)?)
}

struct Perceptron {
    /// Weight and bias of every layer.
    layers: Vec<[Tensor; 2]>,
    /// Of the batch normalisation: weight, bias, running mean and variance.
    norm: [Tensor; 4],
}

impl Perceptron {
    /// PyTorch's initialisation: uniform within 1 / sqrt(fan-in).
    fn new(inputs: i64, seed: u64, device: dualmd_torch::Device) -> Self {
        let mut rng = stream(seed, "attack/pw-classifier/init", 0);
        let mut inside = inputs;
        let layers = WIDTHS.map(|width| {
            let bound = (inside as f64).powf(-0.5);
            let shapes: [&[i64]; 2] = [&[width, inside], &[width]];
            inside = width;
            shapes.map(|shape| {
                noise::uniform(&mut rng, bound, shape)
                    .to_device(device)
                    .set_requires_grad(true)
            })
        });
        let flat = |value: f64| Tensor::full([WIDTHS[0]], value, (Kind::Float, device));
        Self {
            layers: layers.into(),
            norm: [
                flat(1.0).set_requires_grad(true),
                flat(0.0).set_requires_grad(true),
                flat(0.0),
                flat(1.0),
            ],
        }
    }

    /// [N, 2]. `masks`: what is kept after each layer but the last, doubled; none outside training.
    fn forward(&self, x: &Tensor, masks: Option<&[Tensor]>) -> Result<Tensor> {
        let mut h = x.shallow_clone();
        let last = self.layers.len() - 1;
        for (index, [weight, bias]) in self.layers.iter().enumerate() {
            h = h.f_linear(weight, Some(bias))?;
            if index == last {
                break;
            }
            h = if index == 0 {
                let [weight, bias, mean, variance] = &self.norm;
                h.f_batch_norm(
                    Some(weight),
                    Some(bias),
                    Some(mean),
                    Some(variance),
                    masks.is_some(),
                    0.1,
                    1e-5,
                    false,
                )?
                .f_relu()?
            } else {
                h.f_relu6()?
            };
            if let Some(masks) = masks {
                h = h.f_mul(&masks[index])?;
            }
        }
        Ok(h)
    }

    fn train(&self, recipe: Recipe, x: &Tensor, truth: &Tensor, seed: u64) -> Result<()> {
        let mut adam = COptimizer::adam(recipe.rate, 0.9, 0.999, 0.0, 1e-8, false)?;
        for parameter in self.layers.iter().flatten().chain(&self.norm[..2]) {
            adam.add_parameters(parameter, 0)?;
        }
        let n = x.size()[0];
        let hidden = &WIDTHS[..WIDTHS.len() - 1];
        for step in 0..recipe.steps {
            let mut rng = stream(seed, "attack/pw-classifier/dropout", step);
            let all = noise::uniform(&mut rng, 1.0, &[n, hidden.iter().sum()]);
            let kept = all.f_ge(2.0 * DROPPED - 1.0)?.f_to_kind(Kind::Float)? / (1.0 - DROPPED);
            let masks = kept
                .f_to_device(x.device())?
                .f_split_with_sizes(hidden, 1)?;
            let loss = self.forward(x, Some(&masks))?.f_cross_entropy_loss(
                truth,
                None::<&Tensor>,
                Reduction::Mean,
                -100,
                0.0,
            )?;
            adam.zero_grad()?;
            loss.f_backward()?;
            adam.step()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Device;

    #[test]
    fn it_has_the_published_layers() {
        let network = Perceptron::new(768, 0, Device::Cpu);
        let parameters: usize = network
            .layers
            .iter()
            .flatten()
            .chain(&network.norm[..2])
            .map(Tensor::numel)
            .sum();
        // Linear layers of 768, 1024, 512, 256, 128, 64, 32, 2, each with a bias, and 2 x 1024 of the normalisation.
        assert_eq!(
            parameters,
            769 * 1024 + 1025 * 512 + 513 * 256 + 257 * 128 + 129 * 64 + 65 * 32 + 33 * 2 + 2048
        );
    }

    #[test]
    fn it_learns_what_there_is_to_learn() {
        let draw = |purpose: &str, shift: f64| {
            noise::normal(&mut stream(3, purpose, 0), &[40, 4], Device::Cpu) + shift
        };
        let known = Tensor::cat(&[draw("members", 1.0), draw("others", -1.0)], 0);
        let member: Vec<bool> = (0..80).map(|i| i < 40).collect();
        let fresh = Tensor::cat(&[draw("new members", 1.0), draw("new others", -1.0)], 0);
        let recipe = Recipe {
            rate: 1e-3,
            steps: 60,
        };
        let learn = |seed| scores(recipe, &known, &member, &fresh, seed).unwrap();
        let found = learn(0);
        let (inside, outside) = found.split_at(40);
        let wins = inside
            .iter()
            .flat_map(|a| outside.iter().map(move |b| a > b))
            .filter(|win| *win)
            .count();
        assert!(wins > 1500, "{wins} of 1600 pairs");
        assert_eq!(learn(0), found);
        assert_ne!(learn(1), found);
    }
}

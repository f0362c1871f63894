//! The classifier of SecMI-NNs and of ReDiffuse's public code: a CIFAR ResNet-18 that tells residuals of members from
//! those of others.
//!
//! Architecture and recipe as in SecMI's public code: 3x3 convolution, four stages of two basic blocks with widths w, 2w,
//! 4w, 8w (w = 64) and strides 1, 2, 2, 2, average pooling, one output without a sigmoid; squared error to the labels 1 and
//! 0; SGD with momentum 0.9, weight decay 5e-4, batches of 128, 15 epochs, rate 1e-3; the last epoch counts.
//!
//! Those 15 epochs are 1,170 steps on the 10,000 known images of CIFAR-10. A hospital's audit knows a few hundred images,
//! on which they would be some thirty steps, and the network would still be where it was initialised. Below
//! [`PUBLISHED_FROM`] known images the recipe is therefore another: w = 16, rate 1e-2, 300 steps.
//!
//! Both sides weigh the same in the loss, whatever their numbers; with as many members as non-members that is the
//! published loss.

use crate::{Result, Rule};
use dualmd_data::stream;
use dualmd_diffusion::DiffusionError;
use dualmd_torch::tch::COptimizer;
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise, shim};
use rand::seq::SliceRandom;

/// Known images from which on the published recipe is used.
pub const PUBLISHED_FROM: usize = 5000;

const BATCH: usize = 128;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 5e-4;
/// Samples per forward pass when scoring.
const SCORED_AT_ONCE: i64 = 256;

/// Width, rate and length of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Recipe {
    width: i64,
    rate: f64,
    epochs: usize,
}

impl Recipe {
    fn for_images(n: usize) -> Self {
        if n >= PUBLISHED_FROM {
            return Self {
                width: 64,
                rate: 1e-3,
                epochs: 15,
            };
        }
        Self {
            width: 16,
            rate: 1e-2,
            epochs: 300_usize.div_ceil(n.div_ceil(BATCH).max(1)),
        }
    }
}

/// Trains on `x` [N, C, H, W] f32 and the truth about each, and returns the trained network as a rule.
pub(crate) fn learn(name: &str, x: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
    learn_by(Recipe::for_images(member.len()), name, x, member, seed)
}

fn learn_by(recipe: Recipe, name: &str, x: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
    let network = Network::new(name, x.size()[1], recipe.width, seed, x.device());
    network.train(name, x, member, &recipe, seed)?;
    Ok(Box::new(move |x| network.score(x)))
}

struct Conv {
    weight: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_conv2d(
            &self.weight,
            None::<&Tensor>,
            [self.stride; 2].as_slice(),
            [self.padding; 2].as_slice(),
            [1i64; 2].as_slice(),
            1,
        )?)
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
}

impl Norm {
    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        Ok(x.f_batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.mean),
            Some(&self.var),
            train,
            0.1,
            1e-5,
            false,
        )?)
    }
}

struct Block {
    first: (Conv, Norm),
    second: (Conv, Norm),
    shortcut: Option<(Conv, Norm)>,
}

impl Block {
    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let apply =
            |(conv, norm): &(Conv, Norm), x: &Tensor| norm.forward(&conv.forward(x)?, train);
        let h = apply(&self.first, x)?.f_relu()?;
        let h = apply(&self.second, &h)?;
        let side = match &self.shortcut {
            Some(shortcut) => apply(shortcut, x)?,
            None => x.shallow_clone(),
        };
        Ok((h + side).f_relu()?)
    }
}

struct Network {
    stem: (Conv, Norm),
    blocks: Vec<Block>,
    weight: Tensor,
    bias: Tensor,
}

impl Network {
    fn new(name: &str, channels: i64, width: i64, seed: u64, device: Device) -> Self {
        // PyTorch's initialisation of convolutions and linear layers: uniform within 1 / sqrt(fan-in). (The output's one
        // bias starts at 0.)
        let mut rng = stream(seed, &format!("attack/{name}/init"), 0);
        let mut uniform = |shape: &[i64]| {
            let fan_in = shape[1..].iter().product::<i64>() as f64;
            noise::uniform(&mut rng, fan_in.powf(-0.5), shape)
                .to_device(device)
                .set_requires_grad(true)
        };
        let flat = |value: f64, n: i64| Tensor::full([n], value, (Kind::Float, device));
        let mut conv = |io: [i64; 2], kernel: i64, stride: i64| {
            let conv = Conv {
                weight: uniform(&[io[1], io[0], kernel, kernel]),
                stride,
                padding: kernel / 2,
            };
            let norm = Norm {
                weight: flat(1.0, io[1]).set_requires_grad(true),
                bias: flat(0.0, io[1]).set_requires_grad(true),
                mean: flat(0.0, io[1]),
                var: flat(1.0, io[1]),
            };
            (conv, norm)
        };
        let stem = conv([channels, width], 3, 1);
        let mut blocks = Vec::new();
        let mut inside = width;
        for (outside, stride) in [(width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)] {
            for stride in [stride, 1] {
                let shortcut =
                    (stride != 1 || inside != outside).then(|| conv([inside, outside], 1, stride));
                blocks.push(Block {
                    first: conv([inside, outside], 3, stride),
                    second: conv([outside, outside], 3, 1),
                    shortcut,
                });
                inside = outside;
            }
        }
        let weight = uniform(&[1, inside]);
        Self {
            stem,
            blocks,
            weight,
            bias: flat(0.0, 1).set_requires_grad(true),
        }
    }

    fn parameters(&self) -> Vec<&Tensor> {
        let layers = self.blocks.iter().flat_map(|block| {
            [
                Some(&block.first),
                Some(&block.second),
                block.shortcut.as_ref(),
            ]
            .into_iter()
            .flatten()
        });
        std::iter::once(&self.stem)
            .chain(layers)
            .flat_map(|(conv, norm)| [&conv.weight, &norm.weight, &norm.bias])
            .chain([&self.weight, &self.bias])
            .collect()
    }

    /// [N] f32.
    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        // A quarter faster on CPUs, with as few channels as these.
        let x = shim::to_channels_last(x).map_err(DiffusionError::from)?;
        let mut h = self
            .stem
            .1
            .forward(&self.stem.0.forward(&x)?, train)?
            .f_relu()?;
        for block in &self.blocks {
            h = block.forward(&h, train)?;
        }
        let pooled = h.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?;
        Ok(pooled
            .f_linear(&self.weight, Some(&self.bias))?
            .f_squeeze_dim(1)?)
    }

    fn train(
        &self,
        name: &str,
        x: &Tensor,
        member: &[bool],
        recipe: &Recipe,
        seed: u64,
    ) -> Result<()> {
        let mut optimizer = COptimizer::sgd(recipe.rate, MOMENTUM, 0.0, WEIGHT_DECAY, false)?;
        for parameter in self.parameters() {
            optimizer.add_parameters(parameter, 0)?;
        }
        let n = member.len() as f64;
        let members = member.iter().filter(|m| **m).count() as f64;
        // Each side as a whole counts for half.
        let share = |m: bool| n / (2.0 * if m { members } else { n - members });
        let labels: Vec<f32> = member.iter().map(|&m| f32::from(u8::from(m))).collect();
        let weights: Vec<f32> = member.iter().map(|&m| share(m) as f32).collect();
        let labels = Tensor::from_slice(&labels).to_device(x.device());
        let weights = Tensor::from_slice(&weights).to_device(x.device());
        let mut order: Vec<i64> = (0..member.len() as i64).collect();
        let mut rng = stream(seed, &format!("attack/{name}/order"), 0);
        for _ in 0..recipe.epochs {
            order.shuffle(&mut rng);
            for rows in order.chunks(BATCH) {
                // A batch of one has no variance to normalise by.
                if rows.len() < 2 {
                    continue;
                }
                let rows = Tensor::from_slice(rows).to_device(x.device());
                let error = self.forward(&x.f_index_select(0, &rows)?, true)?
                    - labels.f_index_select(0, &rows)?;
                let loss =
                    (error.f_square()? * weights.f_index_select(0, &rows)?).f_mean(Kind::Float)?;
                optimizer.zero_grad()?;
                loss.f_backward()?;
                optimizer.step()?;
            }
        }
        Ok(())
    }

    fn score(&self, x: &Tensor) -> Result<Vec<f64>> {
        let mut scores = Vec::new();
        let n = x.size()[0];
        for start in (0..n).step_by(SCORED_AT_ONCE as usize) {
            let part = x.f_narrow(0, start, SCORED_AT_ONCE.min(n - start))?;
            let outputs = no_grad(|| self.forward(&part, false))?;
            scores.extend(Vec::<f64>::try_from(&outputs.f_to_kind(Kind::Double)?)?);
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(seed: u64, n: i64, scale: f64) -> Tensor {
        noise::normal(
            &mut stream(seed, "resnet/test", 0),
            &[n, 1, 8, 8],
            Device::Cpu,
        ) * scale
    }

    #[test]
    fn it_is_a_resnet_18() {
        let network = Network::new("test", 3, 64, 0, Device::Cpu);
        let parameters: usize = network.parameters().iter().map(|p| p.numel()).sum();
        // The CIFAR ResNet-18 has 11,173,962 parameters with 10 outputs of 513 each.
        assert_eq!(parameters, 11_173_962 - 9 * 513);
        let out = network.forward(
            &Tensor::zeros([2, 3, 32, 32], (Kind::Float, Device::Cpu)),
            false,
        );
        assert_eq!(out.unwrap().size(), [2]);
    }

    #[test]
    fn the_recipe_follows_the_number_of_images() {
        assert_eq!(Recipe::for_images(10_000).epochs, 15);
        assert_eq!(Recipe::for_images(100).epochs, 300);
        assert_eq!(Recipe::for_images(400).epochs, 75);
    }

    /// Residuals of two sizes are told apart, and the same seed gives the same network.
    #[test]
    fn it_learns_what_there_is_to_learn() {
        let x = Tensor::cat(&[images(1, 40, 0.5), images(2, 20, 1.0)], 0);
        let member: Vec<bool> = (0..60).map(|i| i < 40).collect();
        let fresh = Tensor::cat(&[images(3, 30, 0.5), images(4, 30, 1.0)], 0);
        let recipe = Recipe {
            width: 4,
            rate: 1e-2,
            epochs: 40,
        };
        let learn = |seed| learn_by(recipe, "test", &x, &member, seed).unwrap()(&fresh).unwrap();
        let scores = learn(0);
        let (inside, outside) = scores.split_at(30);
        let wins = inside
            .iter()
            .flat_map(|a| outside.iter().map(move |b| a > b))
            .filter(|win| *win)
            .count();
        assert!(wins > 850, "{wins} of 900 pairs");
        assert_eq!(learn(0), scores);
        assert_ne!(learn(1), scores);
    }
}

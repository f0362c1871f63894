//! Training against an attacker (SMP: Luo et al., AAAI 2025, *Privacy-Preserving Low-Rank Adaptation against Membership Inference Attacks
//! for Latent Diffusion Models*, arXiv:2402.11989, and its public code): a small network learns to tell members by the squares of their
//! errors, value by value, and the loss of the model grows where it succeeds.
//!
//! ```text
//! e_i     <- (target_i - eps(x_t, t))^2, flat                              of the members drawn, and of as many other images
//! attacker: Adam steps against the mean of  log(1 + exp(-z(e)))  of members and  log(1 + exp(z(e)))  of the others
//! model:    loss <- L / (beta + alpha A + 1e-5)                            L: mean of e, A: mean of log(1 + exp(-z(e))) of the members
//! ```
//!
//! A is small where the attacker is sure of the members, and then the loss is large. z is 512 - 256 - 1 units with ReLU, as in their code,
//! which has two outputs for the two sides: the same function of their difference. The other images are trained on by nobody and are not
//! audited: an attacker that had learnt from audited ones would make the audit look better than it is.
//!
//! Where their code differs: it draws fresh noise for A, in a second pass with gradients, where this takes the errors that are there; its
//! attacker drops half of its units, and learns after the model's step from batches of its own. Guarantee: none.

use crate::indices::Among;
use crate::optimizer::Optimizer;
use crate::order::EpochOrder;
use crate::recipe::{Draw, Recipe, Target};
use crate::{DefenseError, Indices, Result, TrainOptions};
use dualmd_data::stream;
use dualmd_diffusion::Condition;
use dualmd_torch::ranks::Group;
use dualmd_torch::shim::{AdamOptions, fused_adam};
use dualmd_torch::{Device, Kind, Tensor, noise, tch};

/// Added to what the loss is divided by.
pub(crate) const FLOOR: f64 = 1e-5;
/// Units of the attacker's hidden layers.
const HIDDEN: [i64; 2] = [512, 256];
/// Adam's L2 term of the attacker.
const WEIGHT_DECAY: f64 = 1e-4;

/// How much the attacker counts, and how it learns. Defaults: those of the public code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Against {
    /// alpha, above 0: weight of the attacker's surprise (1).
    pub alpha: f64,
    /// beta, at least 0: what the loss is divided by where the attacker is sure (1).
    pub beta: f64,
    /// Adam's learning rate of the attacker (1e-5).
    pub rate: f64,
    /// Its steps for each of the model's (1).
    pub steps: u64,
}

impl Default for Against {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            beta: 1.0,
            rate: 1e-5,
            steps: 1,
        }
    }
}

/// Ordinary training on all members, with the attacker in the loss.
#[derive(Debug)]
pub struct Smp {
    order: EpochOrder,
    others: EpochOrder,
    against: Against,
    seed: u64,
}

impl Smp {
    /// `pool`: the images that are trained on; `others`: images that nobody trains on and that are not audited.
    ///
    /// # Errors
    /// An empty pool, no other images, or one that is trained on; numbers out of their ranges.
    pub fn new(pool: Vec<usize>, others: Vec<usize>, against: Against, seed: u64) -> Result<Self> {
        let fail = |text: String| Err(DefenseError::Setting(text));
        if pool.is_empty() {
            return fail("no images to train on: the split's half is empty".into());
        }
        if others.is_empty() {
            return fail(
                "smp needs other images, which its attacker tells members from: put some aside for it"
                    .into(),
            );
        }
        let members: Among = pool.iter().copied().collect();
        if let Some(i) = others.iter().find(|&&i| members.has(i)) {
            return fail(format!(
                "image {i} is trained on and cannot be one of the attacker's other images"
            ));
        }
        let Against {
            alpha,
            beta,
            rate,
            steps,
        } = against;
        let above = |x: f64| x > 0.0 && x.is_finite();
        if !(above(alpha) && above(rate) && beta >= 0.0 && beta.is_finite() && steps > 0) {
            return fail(format!(
                "smp with alpha {alpha}, beta {beta}, attacker_rate {rate} and attacker_steps {steps}: alpha and attacker_rate must be above 0, \
                 beta at least 0, attacker_steps at least 1"
            ));
        }
        Ok(Self {
            order: EpochOrder::new(pool, seed, "train/order"),
            others: EpochOrder::new(others, seed, "train/others"),
            against,
            seed,
        })
    }

    /// How much the attacker counts, and how it learns.
    pub(crate) fn against(&self) -> Against {
        self.against
    }

    /// The seed of its streams.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The other images of a step: a pure function of `step`, as [`Recipe::draw`].
    pub(crate) fn draw_others(&self, step: u64, batch: usize) -> Draw {
        Draw {
            images: self.others.draw(step, batch),
            target: Target::Noise,
        }
    }

    /// Settings that contradict it. `heldout`: the audited images; `images`: size of the training set.
    ///
    /// # Errors
    /// The setting's name and the remedy.
    pub(crate) fn check(
        &self,
        options: &TrainOptions,
        heldout: &Indices,
        images: usize,
    ) -> Result<()> {
        let fail = |text: String| Err(DefenseError::Setting(format!("smp: {text}")));
        if options.accumulate > 1 {
            return fail(
                "the loss is a quotient over the whole batch, which cannot go through the network in parts: leave out train.accumulate"
                    .into(),
            );
        }
        if options.skip_easy > 0.0 || options.drop_memorised > 0.0 {
            return fail(
                "its attacker looks at all images of a step: leave out train.skip_easy and train.drop_memorised"
                    .into(),
            );
        }
        let audited: Among = heldout.iter().collect();
        let others = self.others.pool();
        if let Some(i) = others.iter().find(|&i| audited.has(i)) {
            return fail(format!(
                "image {i} is audited and cannot be one of the attacker's other images"
            ));
        }
        match others.iter().find(|&i| i >= images) {
            Some(i) => fail(format!("the attacker's other image {i} does not exist")),
            None => Ok(()),
        }
    }
}

impl Recipe for Smp {
    fn members(&self) -> Indices {
        self.order.pool().clone()
    }

    fn draw(&self, step: u64, batch: usize) -> Draw {
        Draw {
            images: self.order.draw(step, batch),
            target: Target::Noise,
        }
    }

    fn teach(&self, _: &[usize], _: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        Err(DefenseError::Setting("smp has no teacher".into()))
    }

    fn adversary(&self) -> Option<&Smp> {
        Some(self)
    }
}

/// The attacker: what it has learnt lies in what the training carries.
pub(crate) struct Attacker {
    /// Weight and bias of each layer.
    weights: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    /// Steps done, \[1\].
    count: Tensor,
}

impl Attacker {
    /// As the training has it so far, for errors of `values` values; fresh where there is none yet.
    pub(crate) fn of(
        optimizer: &Optimizer,
        values: i64,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let sizes = [values, HIDDEN[0], HIDDEN[1], 1];
        let mut fresh = Vec::new();
        for (layer, pair) in (0_u64..).zip(sizes.windows(2)) {
            let &[inputs, outputs] = pair else { continue };
            // PyTorch's.
            let bound = 1.0 / (inputs.max(1) as f64).sqrt();
            let mut rng = stream(seed, "train/attacker", layer);
            fresh.push(noise::uniform(&mut rng, bound, &[outputs, inputs]));
            fresh.push(noise::uniform(&mut rng, bound, &[outputs]));
        }
        let found = |part: &str, place: usize, like: &Tensor| -> Result<Tensor> {
            let carried = optimizer.carried(&name(part, place));
            match carried.filter(|found| found.size() == like.size()) {
                Some(found) => Ok(found.shallow_clone()),
                None => Ok(like.f_to_device(device)?),
            }
        };
        let all = |part: &str, like: &dyn Fn(&Tensor) -> Tensor| -> Result<Vec<Tensor>> {
            let places = fresh.iter().enumerate();
            places.map(|(i, t)| found(part, i, &like(t))).collect()
        };
        Ok(Self {
            weights: all("weight", &Tensor::shallow_clone)?,
            first: all("first", &Tensor::zeros_like)?,
            second: all("second", &Tensor::zeros_like)?,
            count: found("steps", 0, &Tensor::zeros([1], (Kind::Float, Device::Cpu)))?,
        })
    }

    /// Hands it to the training, for the next step and for checkpoints.
    pub(crate) fn carry(&self, optimizer: &mut Optimizer) {
        let parts = [
            ("weight", &self.weights),
            ("first", &self.first),
            ("second", &self.second),
        ];
        for (part, tensors) in parts {
            for (place, tensor) in tensors.iter().enumerate() {
                optimizer.carry(&name(part, place), tensor.shallow_clone());
            }
        }
        optimizer.carry(&name("steps", 0), self.count.shallow_clone());
    }

    /// How much it is surprised, summed over the rows of `errors` [B, D] f32, that these are of members, or that they are not.
    pub(crate) fn surprise(&self, errors: &Tensor, member: bool) -> Result<Tensor> {
        surprise(&self.weights, errors, member)
    }

    /// One step of Adam on errors [B, D] without a gradient, with whether they are of members; `whole`: rows of all ranks together.
    pub(crate) fn learn(
        &self,
        shown: &[(Tensor, bool)],
        whole: f64,
        rate: f64,
        ranks: &Group,
    ) -> Result<()> {
        let weights: Vec<Tensor> = self
            .weights
            .iter()
            .map(|w| w.detach().set_requires_grad(true))
            .collect();
        let gradients = tch::with_grad(|| -> Result<Vec<Tensor>> {
            let mut loss: Option<Tensor> = None;
            for (errors, member) in shown {
                let own = surprise(&weights, errors, *member)?;
                loss = Some(match loss {
                    Some(loss) => loss.f_add(&own)?,
                    None => own,
                });
            }
            Ok(match loss {
                Some(loss) => {
                    let mean = loss.f_div_scalar(whole)?;
                    Tensor::f_run_backward(&[mean], &weights, false, false)?
                }
                // A rank without images.
                None => self.weights.iter().map(Tensor::zeros_like).collect(),
            })
        })?;
        ranks.sum(&gradients)?;
        let adam = AdamOptions {
            learning_rate: rate,
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: WEIGHT_DECAY,
            decoupled: false,
            eps: 1e-8,
        };
        fused_adam(
            &self.weights,
            &gradients,
            &self.first,
            &self.second,
            &self.count.f_squeeze()?,
            &adam,
        )?;
        Ok(())
    }
}

/// What a part of the attacker is carried as.
fn name(part: &str, place: usize) -> String {
    format!("attacker/{part}-{place}")
}

/// Sum over rows of log(1 + exp(-z)) of members, log(1 + exp(z)) of others.
fn surprise(weights: &[Tensor], errors: &Tensor, member: bool) -> Result<Tensor> {
    let layers = weights.len() / 2;
    let mut x = errors.shallow_clone();
    for (layer, pair) in weights.chunks(2).enumerate() {
        let [weight, bias] = pair else { continue };
        x = x.f_linear(weight, Some(bias))?;
        if layer + 1 < layers {
            x = x.f_relu()?;
        }
    }
    let z = if member { x.f_neg()? } else { x };
    Ok(z.f_softplus()?.f_sum(Kind::Float)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_diffusion::nn::Parameters;

    fn optimizer() -> Optimizer {
        let one = Tensor::from_slice(&[0.0_f32]);
        Optimizer::new(&Parameters(vec![("w".into(), one)]))
    }

    /// Errors of eight images whose noise is this large.
    fn errors(index: u64, size: f64) -> Tensor {
        let noise = noise::normal(&mut stream(1, "errors", index), &[8, 16], Device::Cpu);
        (noise * size).square()
    }

    fn mean(attacker: &Attacker, errors: &Tensor, member: bool) -> f64 {
        attacker.surprise(errors, member).unwrap().double_value(&[]) / 8.0
    }

    #[test]
    fn the_attacker_learns_to_tell_members_by_their_errors() {
        let (mut optimizer, alone) = (optimizer(), Group::alone());
        let attacker = Attacker::of(&optimizer, 16, 3, Device::Cpu).unwrap();
        // Before it has learnt anything it is as good as a coin: ln 2 = 0.69.
        for member in [true, false] {
            let surprise = mean(&attacker, &errors(0, 1.0), member);
            assert!((surprise - 2.0_f64.ln()).abs() < 0.4, "{surprise}");
        }
        for i in 0..200 {
            let shown = [(errors(2 * i, 0.2), true), (errors(2 * i + 1, 1.0), false)];
            attacker.learn(&shown, 16.0, 1e-3, &alone).unwrap();
        }
        assert!(mean(&attacker, &errors(1000, 0.2), true) < 0.2);
        assert!(mean(&attacker, &errors(1001, 1.0), false) < 0.2);
        assert!(mean(&attacker, &errors(1001, 1.0), true) > 1.0);
        // What is carried goes on: the same after the same step.
        attacker.carry(&mut optimizer);
        let again = Attacker::of(&optimizer, 16, 4, Device::Cpu).unwrap();
        assert_eq!(again.count.double_value(&[0]), 200.0);
        for (a, b) in attacker.weights.iter().zip(&again.weights) {
            assert_eq!(a, b);
        }
        // One for other errors begins anew.
        let other = Attacker::of(&optimizer, 9, 4, Device::Cpu).unwrap();
        assert_eq!(other.weights[0].size(), [512, 9]);
    }

    /// Two rows of one value through weights of one: z = relu(e) with all but one unit off.
    #[test]
    fn surprises_by_hand() {
        let one = |size: &[i64]| {
            let weight = Tensor::zeros(size, (Kind::Float, Device::Cpu));
            let _ = weight.view(-1).narrow(0, 0, 1).fill_(1.0);
            weight
        };
        let none = |n: i64| Tensor::zeros([n], (Kind::Float, Device::Cpu));
        let weights = [
            one(&[3, 1]),
            none(3),
            one(&[2, 3]),
            none(2),
            one(&[1, 2]),
            none(1),
        ];
        let errors = Tensor::from_slice(&[0.5_f32, 2.0]).view([2, 1]);
        for (member, sign) in [(true, -1.0_f64), (false, 1.0)] {
            let found = surprise(&weights, &errors, member).unwrap();
            let wanted = (1.0 + (0.5 * sign).exp()).ln() + (1.0 + (2.0 * sign).exp()).ln();
            let off = found.double_value(&[]) - wanted;
            assert!(off.abs() < 1e-6, "{member}: {off}");
        }
    }

    #[test]
    fn other_images_are_neither_trained_on_nor_audited() {
        let new = |others: Vec<usize>| Smp::new(vec![0, 1], others, Against::default(), 1);
        let smp = new(vec![4, 5]).unwrap();
        let check = |heldout: &[usize], images: usize, options: &TrainOptions| {
            smp.check(options, &heldout.to_vec().into(), images)
                .map_err(|e| e.to_string())
        };
        let plain = TrainOptions::default();
        assert_eq!(check(&[2, 3], 6, &plain), Ok(()));
        assert!(check(&[3, 4], 6, &plain).unwrap_err().contains("audited"));
        assert!(check(&[2], 5, &plain).unwrap_err().contains("not exist"));
        for (options, says) in [
            (
                TrainOptions {
                    accumulate: 2,
                    ..plain.clone()
                },
                "train.accumulate",
            ),
            (
                TrainOptions {
                    skip_easy: 2.0,
                    ..plain.clone()
                },
                "train.skip_easy",
            ),
            (
                TrainOptions {
                    drop_memorised: 2.0,
                    ..plain.clone()
                },
                "train.drop_memorised",
            ),
        ] {
            assert!(check(&[2], 6, &options).unwrap_err().contains(says));
        }
        let said = |smp: Result<Smp>| smp.unwrap_err().to_string();
        assert!(said(new(vec![])).contains("other images"));
        assert!(said(new(vec![1, 4])).contains("image 1 is trained on"));
        for against in [
            Against {
                alpha: 0.0,
                ..Against::default()
            },
            Against {
                beta: -1.0,
                ..Against::default()
            },
            Against {
                rate: f64::NAN,
                ..Against::default()
            },
            Against {
                steps: 0,
                ..Against::default()
            },
        ] {
            assert!(Smp::new(vec![0], vec![1], against, 1).is_err());
        }
        // Every other image has its turn, and none twice in one.
        let mut drawn = smp.draw_others(0, 2).images;
        drawn.sort_unstable();
        assert_eq!(drawn, [4, 5]);
    }
}

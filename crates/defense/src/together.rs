//! What several ranks of one training do together ([`dualmd_torch::ranks`]); with one process every part of it is nothing.
//!
//! A draw is a pure function of its name: every rank draws the whole batch from the streams that one process draws from, and
//! keeps its own rows. Losses and gradients are *summed*, each weighted by its part of the whole batch, so that shares of unequal
//! size weigh right; clipping, privacy noise, Adam and the averages come after the sum and are the same on every rank. Every
//! decision is made from numbers that all ranks have: sums, never a local loss or a clock. Rank 0 alone writes.

use crate::checkpoint::{LossSoFar, State};
use crate::easy::Usual;
use crate::optimizer::Optimizer;
use crate::trainer::{Additions, Trainer};
use crate::{DefenseError, KeptAt, Result};
use dualmd_torch::{LIBTORCH_VERSION, Tensor, no_grad};

/// Elements of a tensor that are hashed at once.
const ELEMENTS: usize = 1 << 24;

/// Where a training goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Beginning {
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// The running mean of the loss.
    pub loss: LossSoFar,
}

impl Trainer<'_> {
    /// Hash of what defines the run. Dropout's masks are drawn in libtorch, by each rank for its own rows: with dropout the
    /// number of ranks defines a run as well.
    pub(crate) fn full_fingerprint(&self) -> String {
        match self.ranks.world() {
            world if world > 1 && self.network.has_dropout() => {
                format!("{}, dropout on {world} ranks", self.fingerprint)
            }
            _ => self.fingerprint.clone(),
        }
    }

    /// Refuses ranks that have other programs, settings, data or weights than rank 0.
    pub(crate) fn agree(&self, additions: &Additions) -> Result<()> {
        if self.ranks.is_alone() {
            return Ok(());
        }
        let mut settings = blake3::Hasher::new();
        let text = format!(
            "{} {LIBTORCH_VERSION} {} {:?} {} {} {} {additions:?}",
            env!("CARGO_PKG_VERSION"),
            self.fingerprint,
            self.options,
            self.precision.name(),
            self.seed,
            self.evaluation_seed,
        );
        settings.update(text.as_bytes());
        let members = self.recipe.members();
        for list in [&members, &self.set.heldout] {
            settings.update(&(list.len() as u64).to_le_bytes());
            for i in list.iter() {
                settings.update(&(i as u64).to_le_bytes());
            }
        }
        self.ranks.agree(
            "the program or its settings",
            first(&settings.finalize()),
            "start the same program with the same experiment on every machine",
        )?;
        let set = &self.set;
        let mut data: Vec<&Tensor> = set.deviation.iter().collect();
        data.extend(set.mirrored.iter().flat_map(|(m, d)| [m, d]));
        let told = set.captions.as_ref().map(|c| &c.told);
        data.extend(told.iter().flat_map(|told| told.parts()).flatten());
        let mut images = blake3::Hasher::new();
        set.images.add_to(&mut images)?;
        data.iter()
            .try_for_each(|tensor| add(&mut images, tensor))?;
        self.ranks.agree(
            "the training images",
            first(&images.finalize()),
            "does every machine see the same run folder and the same data?",
        )?;
        let weights = self.network.parameters().tensors();
        self.ranks.agree(
            "the weights that the training begins with",
            hash(&weights)?,
            "does every machine see the same base model, and is the program the same build?",
        )?;
        Ok(())
    }

    /// Gives every rank what rank 0 found in its checkpoints: no other one needs to see them.
    pub(crate) fn hand_on(
        &self,
        optimizer: &mut Optimizer,
        found: Option<State>,
    ) -> Result<Beginning> {
        let mut own = Beginning::default();
        let mut kept = None;
        if let Some(state) = found {
            own = Beginning {
                step: state.step,
                seconds: state.seconds,
                loss: state.loss,
            };
            kept = state.kept;
        }
        if self.ranks.is_alone() {
            return Ok(own);
        }
        // The others add nothing. Whole numbers of this size are exact in f64.
        let mut numbers = [
            own.step as f64,
            own.seconds,
            own.loss.sum,
            own.loss.count as f64,
            own.loss.last,
            f64::from(u8::from(kept.is_some())),
            kept.map_or(0.0, |k| k.step as f64),
            kept.map_or(0.0, |k| k.calibration_loss),
        ];
        self.ranks.sum_f64(&mut numbers)?;
        let [
            step,
            seconds,
            sum,
            count,
            last,
            is_kept,
            kept_step,
            calibration_loss,
        ] = numbers;
        if is_kept > 0.0 && !self.ranks.leads() {
            optimizer.keep(KeptAt {
                step: kept_step as u64,
                calibration_loss,
            });
        }
        if step > 0.0 {
            // Room for what rank 0 has found beside weights and moments.
            if self.recipe.iterative().is_some() && !self.ranks.leads() {
                optimizer.begin_round();
            }
            if let Some(smp) = self.recipe.adversary() {
                self.attacker(smp, optimizer)?.carry(optimizer);
            }
            if self.options.skip_easy > 0.0 {
                Usual::of(optimizer, self.schedule.len()).carry(optimizer);
            }
        }
        self.ranks.broadcast(&optimizer.everything(), 0)?;
        Ok(Beginning {
            step: step as u64,
            seconds,
            loss: LossSoFar {
                sum,
                count: count as u64,
                last,
            },
        })
    }

    /// Refuses ranks whose weights are no longer the same: processors of two kinds round differently.
    pub(crate) fn still_the_same(&self, optimizer: &Optimizer, step: u64) -> Result<()> {
        if self.ranks.is_alone() {
            return Ok(());
        }
        self.ranks.agree(
            &format!("the weights after step {step}"),
            hash(&optimizer.everything())?,
            "processors or libraries of two kinds round differently; give the ranks machines of one kind. The newest checkpoint \
             is good",
        )?;
        Ok(())
    }

    /// The sum over the ranks of what each has calculated. A number that is not finite on one of them is an error on all of them, at the
    /// same step.
    pub(crate) fn together(&self, own: Result<f64>, step: u64) -> Result<f64> {
        let mut sum = [match &own {
            Ok(value) => *value,
            Err(DefenseError::NotFinite { .. }) => f64::NAN,
            Err(_) => return own,
        }];
        self.ranks.sum_f64(&mut sum)?;
        own?;
        match sum[0] {
            total if total.is_finite() => Ok(total),
            value => Err(DefenseError::NotFinite {
                step,
                what: "loss on another rank",
                value,
            }),
        }
    }

    /// The gradients, summed over the ranks, in place.
    pub(crate) fn summed_gradients(&self, optimizer: &Optimizer) -> Result<Vec<Tensor>> {
        let own = optimizer.gradients();
        if self.ranks.is_alone() {
            return Ok(own);
        }
        // A rank without images has none yet in its first step.
        let gradients: Vec<Tensor> = no_grad(|| {
            let pairs = own.into_iter().zip(optimizer.parameters());
            pairs
                .map(|(gradient, weight)| match gradient.defined() {
                    true => gradient,
                    false => weight.zeros_like(),
                })
                .collect()
        });
        self.ranks.sum(&gradients)?;
        Ok(gradients)
    }
}

/// Hash of the tensors' elements and shapes.
fn hash<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<u64> {
    let mut hasher = blake3::Hasher::new();
    for tensor in tensors {
        add(&mut hasher, tensor)?;
    }
    Ok(first(&hasher.finalize()))
}

/// Adds a tensor's shape and elements to a hash.
pub(crate) fn add(hasher: &mut blake3::Hasher, tensor: &Tensor) -> Result<()> {
    let mut bytes = Vec::new();
    hasher.update(format!("{:?} {:?}", tensor.size(), tensor.kind()).as_bytes());
    let flat = tensor.detach().f_reshape([-1])?;
    let n = flat.size1()?;
    let width = tensor.kind().elt_size_in_bytes();
    for at in (0..n).step_by(ELEMENTS) {
        let here = (n - at).min(ELEMENTS as i64);
        bytes.resize(here as usize * width, 0);
        let part = flat.f_narrow(0, at, here)?;
        part.f_copy_data_u8(&mut bytes, here as usize)?;
        hasher.update(&bytes);
    }
    Ok(())
}

fn first(hash: &blake3::Hash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::{Device, Kind};

    #[test]
    fn a_hash_sees_values_and_shapes() {
        let of = |shape: &[i64], kind| Tensor::ones(shape, (kind, Device::Cpu));
        let plain = hash(&[of(&[2, 3], Kind::Float)]).unwrap();
        assert_eq!(plain, hash(&[of(&[2, 3], Kind::Float)]).unwrap());
        let changed = of(&[2, 3], Kind::Float);
        let _ = changed.get(1).get(2).fill_(0.5);
        for other in [changed, of(&[3, 2], Kind::Float), of(&[2, 3], Kind::Double)] {
            assert_ne!(plain, hash(&[other]).unwrap());
        }
        // Not where they lie in memory.
        let table = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        let turned = table.transpose(0, 1).contiguous().transpose(0, 1);
        assert_eq!(hash(&[table]).unwrap(), hash(&[turned]).unwrap());
        let long = Tensor::zeros([ELEMENTS as i64 + 1], (Kind::Uint8, Device::Cpu));
        let other = long.copy();
        let _ = other.get(-1).fill_(200);
        assert_ne!(hash(&[long]).unwrap(), hash(&[other]).unwrap());
    }
}

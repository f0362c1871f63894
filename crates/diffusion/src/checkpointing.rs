//! Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174): of a training pass only what goes from one stretch of the network
//! to the next is kept; each stretch is run again, last first, when its gradient is due. One pass more, for a fraction of the
//! memory; the output is that of an ordinary pass, and so is the gradient, up to the order in which its parts are added.
//!
//! A network walks a tape stretch by stretch, whether or not anything is kept: there is one description of its arithmetic.

use crate::{DiffusionError, Result};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor, no_grad, shim};

/// What is kept of a pass that a gradient is wanted of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// All that autograd asks for.
    #[default]
    Everything,
    /// What goes from stretch to stretch.
    Checkpoints,
}

/// What one stretch computes from the values it takes.
type Work<'a> = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + 'a>;

/// What goes into a stretch or comes out of it.
#[derive(Debug)]
pub(crate) struct Value {
    tensor: Tensor,
    /// Which stretch of a checkpointed pass it came out of; none for what goes into the network, which takes no gradient.
    from: Option<usize>,
}

impl Value {
    /// Something that goes into the network.
    pub(crate) fn given(tensor: &Tensor) -> Self {
        Self {
            tensor: tensor.shallow_clone(),
            from: None,
        }
    }

    /// The same value, once more.
    pub(crate) fn again(&self) -> Self {
        Self {
            tensor: self.tensor.shallow_clone(),
            from: self.from,
        }
    }

    pub(crate) fn into_tensor(self) -> Tensor {
        self.tensor
    }
}

struct Stretch<'a> {
    takes: Vec<Value>,
    work: Work<'a>,
    /// libtorch's generator as it was before a stretch that drops.
    generator: Option<Tensor>,
}

/// A pass through a network, stretch by stretch.
pub(crate) struct Tape<'a> {
    /// For running a stretch again; the first time is the caller's care.
    precision: Precision,
    /// None: nothing is kept but what autograd keeps.
    stretches: Option<Vec<Stretch<'a>>>,
    drops: bool,
}

impl<'a> Tape<'a> {
    /// A pass in `precision`; `drops`: some stretches draw dropout masks.
    pub(crate) fn new(precision: Precision, keep: Keep, drops: bool) -> Self {
        Self {
            precision,
            stretches: (keep == Keep::Checkpoints).then(Vec::new),
            drops,
        }
    }

    /// The next stretch: `work` on the tensors of `takes`, in their order.
    pub(crate) fn stretch(
        &mut self,
        takes: &[&Value],
        work: impl Fn(&[Tensor]) -> Result<Tensor> + 'a,
    ) -> Result<Value> {
        let tensors: Vec<Tensor> = takes.iter().map(|v| v.tensor.shallow_clone()).collect();
        let Some(stretches) = &mut self.stretches else {
            let tensor = work(&tensors)?;
            return Ok(Value { tensor, from: None });
        };
        let device = tensors.first().map_or(Device::Cpu, Tensor::device);
        let generator = self
            .drops
            .then(|| shim::generator_state(device))
            .transpose()?;
        let tensor = no_grad(|| work(&tensors))?;
        stretches.push(Stretch {
            takes: takes.iter().map(|v| v.again()).collect(),
            work: Box::new(work),
            generator,
        });
        Ok(Value {
            tensor,
            from: Some(stretches.len() - 1),
        })
    }

    /// Ends the pass with its last value.
    pub(crate) fn finish(self, last: Value) -> Pass<'a> {
        let whole = match self.stretches {
            Some(_) => last.tensor.detach().set_requires_grad(true),
            None => last.tensor.shallow_clone(),
        };
        Pass {
            output: whole.shallow_clone(),
            whole,
            last,
            tape: self,
        }
    }

    /// Runs the stretches again, last first; `gradient` is that of the value the last of them gave.
    fn unwind(self, gradient: Tensor) -> Result<()> {
        let Some(mut stretches) = self.stretches else {
            return Ok(());
        };
        let mut gradients: Vec<Option<Tensor>> = stretches.iter().map(|_| None).collect();
        if let Some(last) = gradients.last_mut() {
            *last = Some(gradient);
        }
        while let (Some(stretch), Some(gradient)) = (stretches.pop(), gradients.pop()) {
            let Some(gradient) = gradient else { continue };
            let leaves: Vec<Tensor> = stretch
                .takes
                .iter()
                .map(|v| {
                    v.tensor
                        .detach()
                        .set_requires_grad(v.from.is_some() && v.tensor.is_floating_point())
                })
                .collect();
            let device = gradient.device();
            if let Some(state) = &stretch.generator {
                shim::set_generator_state(device, state)?;
            }
            let out = shim::with_precision(self.precision, device, || (stretch.work)(&leaves))??;
            if !out.requires_grad() {
                // Nothing in it is trained, and it takes nothing that depends on what is.
                continue;
            }
            // The gradient of this sum is `gradient`, whatever the sum itself rounds to.
            out.f_mul(&gradient)?.f_sum(gradient.kind())?.f_backward()?;
            for (value, leaf) in stretch.takes.iter().zip(&leaves) {
                let Some(from) = value.from else { continue };
                let more = leaf.grad();
                if more.defined() {
                    gradients[from] = Some(match gradients[from].take() {
                        Some(sum) => sum + more,
                        None => more,
                    });
                }
            }
        }
        Ok(())
    }
}

/// A training pass: its output, and the way back.
pub struct Pass<'a> {
    whole: Tensor,
    /// The part of it that a loss is computed from.
    output: Tensor,
    last: Value,
    tape: Tape<'a>,
}

impl Pass<'_> {
    /// What the network answered, to compute a loss from: [B, C, H, W] f32. The way back is [`Self::backward`]: the loss's own
    /// ends here where only checkpoints were kept.
    pub fn output(&self) -> &Tensor {
        &self.output
    }

    /// The same, of whose output the first `channels` alone are the answer: what lies after them takes a gradient of zero.
    pub(crate) fn of_channels(mut self, channels: i64) -> Self {
        self.output = self.whole.narrow(1, 0, channels);
        self
    }

    /// Adds the gradient of `loss`, computed from [`Self::output`], to that of the parameters.
    ///
    /// # Errors
    /// A loss that does not depend on the output; what libtorch refuses.
    pub fn backward(self, loss: &Tensor) -> Result<()> {
        loss.f_backward()?;
        drop(self.last);
        if self.tape.stretches.is_none() {
            return Ok(());
        }
        let gradient = self.whole.grad();
        if !gradient.defined() {
            return Err(DiffusionError::Config(
                "the loss does not depend on the network's output: there is no gradient".into(),
            ));
        }
        let device = gradient.device();
        // Masks of what comes after go on where the pass ended, as if nothing had been run again.
        let drops = self.tape.drops;
        let after = drops.then(|| shim::generator_state(device)).transpose()?;
        self.tape.unwind(gradient)?;
        if let Some(state) = after {
            shim::set_generator_state(device, &state)?;
        }
        Ok(())
    }
}

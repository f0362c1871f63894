//! DiT, the diffusion transformer of Peebles and Xie (2023, arXiv:2212.09748), in the layout of diffusers' `DiTTransformer2DModel`: same
//! parameter names, same arithmetic.

mod block;
mod config;
mod patches;
mod preset;

pub use config::DitConfig;
pub(crate) use config::{CLASS, OLD_CLASS};
pub use preset::{DIT_PRESETS, DitPreset};

use crate::blocks::{check_labels, check_squares};
use crate::checkpointing::{Keep, Pass, Tape, Value};
use crate::nn::{Builder, Linear, Parameters, check_count, standardised};
use crate::{Condition, Denoiser, DiffusionError, Result};
use block::{Activation, Block, PLAIN_EPS, Told};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Kind, Tensor, shim};
use patches::Patches;
use std::collections::BTreeMap;

/// A transformer over squares of pixels, of images or latents, that is told a class or nothing.
#[derive(Debug)]
pub struct Dit {
    config: DitConfig,
    parameters: Parameters,
    precision: Precision,
    drops: bool,
    patches: Patches,
    /// There is one at least; what it is told is also what the last layers are told.
    first: Layer,
    others: Vec<Layer>,
    /// Shift and scale before the last layer.
    modulation: Linear,
    last: Linear,
}

/// A block, and what it is told: each has embeddings of its own.
#[derive(Debug)]
struct Layer {
    told: Told,
    block: Block,
}

impl Layer {
    fn new(b: &Builder, index: i64, config: &DitConfig, activation: Activation) -> Result<Self> {
        let name = format!("transformer_blocks.{index}");
        Ok(Self {
            told: Told::new(b, &format!("{name}.norm1.emb"), config)?,
            block: Block::new(b, &name, config, activation)?,
        })
    }
}

impl Dit {
    /// A fresh network; every weight from its own stream of `seed`. Initialised as the DiT reference code does: Xavier-uniform, zero
    /// biases, embeddings of timestep and class normal with deviation 0.02, and what weighs a block's output, and the last layer, zero
    /// (adaLN-zero): every block begins as nothing, and the network answers 0.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn fresh(config: &DitConfig, seed: u64, device: Device) -> Result<Self> {
        // Sizes that no memory holds are told before it is asked for.
        let outline = Self::outline(config)?;
        check_count(outline.parameters.count())?;
        Self::build(config, Builder::fresh(seed, device))
    }

    /// A network with the given weights (moved to `device`, not copied if already there).
    ///
    /// # Errors
    /// Missing, surplus or misshapen tensors, by name.
    pub fn from_weights(
        config: &DitConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        Self::build(config, Builder::loaded(weights, device))
    }

    /// As [`Self::from_weights`], held in bf16 where all weights are in half precision: half the memory of f32. For a network that is asked,
    /// not trained: it computes in bf16 then, whatever [`Self::with_precision`] is told.
    ///
    /// # Errors
    /// As [`Self::from_weights`].
    pub fn from_halves(
        config: &DitConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        let network = Self::build(config, Builder::halves(weights, device))?;
        Ok(network.with_precision(Precision::F32))
    }

    /// Names and shapes without memory for the weights, which are all zero ([`Builder::outline`]).
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn outline(config: &DitConfig) -> Result<Self> {
        Self::build(config, Builder::outline())
    }

    fn build(config: &DitConfig, b: Builder) -> Result<Self> {
        config.check()?;
        let activation = Activation::of(&config.activation_fn).ok_or_else(|| {
            DiffusionError::Config(format!("activation_fn = {:?}", config.activation_fn))
        })?;
        let width = config.width();
        let patches = Patches::new(&b, config)?;
        let layer = |index: i64| Layer::new(&b, index, config, activation);
        let first = layer(0)?;
        let others = (1..config.num_layers).map(layer).collect::<Result<_>>()?;
        let outputs = config.patch_size * config.patch_size * config.channels_out();
        let modulation = block::nothing(&b, "proj_out_1", [width, 2 * width])?;
        let last = block::nothing(&b, "proj_out_2", [width, outputs])?;
        Ok(Self {
            config: config.clone(),
            parameters: b.finish()?,
            precision: Precision::F32,
            drops: false,
            patches,
            first,
            others,
            modulation,
            last,
        })
    }

    /// Chooses f32 or bf16 autocast for every later call.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = self.parameters.precision(precision);
        self
    }

    /// Whether it also drops when it answers as a [`Denoiser`], which then depends on libtorch's generator: a module that
    /// nobody put into evaluation mode.
    #[must_use]
    pub fn with_dropout(mut self, on: bool) -> Self {
        self.drops = on;
        self
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// The parameters, in creation order.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Where the weights live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// One pass through the network: its whole output, [B, channels out, H, W]. `label`: a class for each image, \[B\] i64, of a network
    /// that is told one, `num_embeds_ada_norm` standing for no label; others do not look at it. `train` switches dropout on. Shapes as
    /// [`Denoiser::predict_noise`]; images are square.
    ///
    /// # Errors
    /// Shapes the network cannot take; a class that it does not have, or none.
    pub fn forward(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        let label = self.told(x, t, label)?;
        let mut tape = Tape::new(self.precision, Keep::Everything, false);
        let out = shim::with_precision(self.precision, x.device(), || {
            self.walk(&mut tape, [x, t, &label], train)
        })??;
        Ok(out.into_tensor())
    }

    /// As [`Self::forward`] with dropout, for a gradient; `keep` chooses between memory and time. Of a network that also predicts a
    /// variance the noise alone.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_training(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: Option<&Tensor>,
        keep: Keep,
    ) -> Result<Pass<'_>> {
        let label = self.told(x, t, label)?;
        let mut tape = Tape::new(self.precision, keep, self.config.dropout > 0.0);
        let out = shim::with_precision(self.precision, x.device(), || {
            self.walk(&mut tape, [x, t, &label], true)
        })??;
        let pass = tape.finish(out);
        Ok(match self.config.predicts_variance() {
            true => pass.of_channels(self.config.in_channels),
            false => pass,
        })
    }

    /// The labels that the network is told of images that it can take.
    fn told(&self, x: &Tensor, t: &Tensor, label: Option<&Tensor>) -> Result<Tensor> {
        check_squares(x, t, self.config.in_channels, self.config.patch_size)?;
        let batch = x.size()[0];
        if self.config.num_embeds_ada_norm == 0 {
            return Ok(Tensor::f_zeros([batch], (Kind::Int64, x.device()))?);
        }
        let label = check_labels(label, batch, self.config.embeddings())?;
        Ok(label.shallow_clone())
    }

    fn walk<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        [x, t, label]: [&Tensor; 3],
        train: bool,
    ) -> Result<Value> {
        let config = &self.config;
        let (patch, width) = (config.patch_size, config.width());
        let side = x.size()[2] / patch;
        let places = patches::places(side, config.sample_size / patch, width, x.device());
        let (x, label) = (Value::given(x), Value::given(label));
        let time = Value::given(&block::time(t));
        let mut h = tape.stretch(&[&x], move |v| Ok(self.patches.forward(&v[0], &places)))?;
        let first = &self.first;
        let told = tape.stretch(&[&time, &label], move |v| first.told.forward(&v[0], &v[1]))?;
        h = tape.stretch(&[&h, &told], move |v| {
            first.block.forward(&v[0], &v[1], train)
        })?;
        for layer in &self.others {
            let own = tape.stretch(&[&time, &label], move |v| layer.told.forward(&v[0], &v[1]))?;
            h = tape.stretch(&[&h, &own], move |v| {
                layer.block.forward(&v[0], &v[1], train)
            })?;
        }
        tape.stretch(&[&h, &told], move |v| {
            let parts = block::parts(&self.modulation, &v[1], 2);
            let h = standardised(&v[0], width, PLAIN_EPS);
            let out = self
                .last
                .forward(&block::modulated(&h, &parts[0], &parts[1]));
            let image = patches::image(&out, side, patch, self.config.channels_out());
            Ok(image.to_kind(Kind::Float))
        })
    }
}

impl Denoiser for Dit {
    /// The network's output as it is, without the variance that some networks predict beside it.
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let label = condition.and_then(|c| c.label.as_ref());
        let out = self.forward(x_t, t, label, self.drops)?;
        Ok(match self.config.predicts_variance() {
            true => out.narrow(1, 0, self.config.in_channels),
            false => out,
        })
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        Some(self.parameters.tensors())
    }
}

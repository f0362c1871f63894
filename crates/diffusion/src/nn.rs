//! Parameters by name, and the few layers the networks are made of.

use crate::ghost::{self, How};
use crate::lora::{Adapter, Plan};
use crate::{DiffusionError, Result};
use dualmd_data::stream;
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Kind, Tensor, noise, shim};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Named parameters in the order in which the network creates them.
#[derive(Debug)]
pub struct Parameters(pub Vec<(String, Tensor)>);

impl Parameters {
    /// Number of scalar parameters.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|(_, t)| t.numel()).sum()
    }

    /// Where they live; the CPU where there are none.
    #[must_use]
    pub fn device(&self) -> Device {
        self.0.first().map_or(Device::Cpu, |(_, t)| t.device())
    }

    /// Are they held in bf16? So are all parameters of a network, or none ([`Builder::in_bf16`]).
    #[must_use]
    pub fn are_bf16(&self) -> bool {
        let first = self.0.first();
        first.is_some_and(|(_, t)| t.kind() == Kind::BFloat16)
    }

    /// In what a network of these parameters computes that is told to compute in `asked`: in bf16 where they are held in it.
    pub(crate) fn precision(&self, asked: Precision) -> Precision {
        match self.are_bf16() {
            true => Precision::Bf16,
            false => asked,
        }
    }

    /// The tensors under their names, those in half precision as f32, the others shared.
    pub(crate) fn widened(&self) -> Vec<(String, Tensor)> {
        self.0
            .iter()
            .map(|(n, t)| (n.clone(), t.detach().to_kind(Kind::Float)))
            .collect()
    }

    /// The tensors, sharing storage with the network.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        self.0.iter().map(|(_, t)| t.shallow_clone()).collect()
    }

    /// Names with tensors, for writing.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// The tensors under their names, storage shared, without gradients: what is trained in one is trained in the other.
    #[must_use]
    pub fn shared(&self) -> BTreeMap<String, Tensor> {
        self.0
            .iter()
            .map(|(n, t)| (n.clone(), t.detach()))
            .collect()
    }

    /// Deep copies under the same names.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<String, Tensor> {
        self.0
            .iter()
            .map(|(n, t)| (n.clone(), t.detach().copy()))
            .collect()
    }
}

/// Most parameters of a fresh network: ten times those of the largest that diffusers has of this kind.
const MOST_PARAMETERS: usize = 30_000_000_000;

/// Refuses to make a network of more parameters than any has.
pub(crate) fn check_count(parameters: usize) -> Result<()> {
    if parameters > MOST_PARAMETERS {
        return Err(DiffusionError::Config(format!(
            "the network would have {parameters} parameters, and at most {MOST_PARAMETERS} are made: choose a smaller \
             block_out_channels or layers_per_block (of a DiT: num_layers, num_attention_heads or attention_head_dim)"
        )));
    }
    Ok(())
}

/// How a new weight is drawn.
#[derive(Debug, Clone, Copy)]
pub enum Init {
    /// Xavier-uniform times a gain (the DDPM reference code; gain 1e-5 makes a residual branch start near zero).
    Xavier(f64),
    /// PyTorch's default for convolutions and linear layers, weights and biases alike: uniform in +-1 / sqrt(fan-in).
    FanIn(i64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
}

enum Source {
    Fresh { seed: u64 },
    Outline,
    Loaded(RefCell<BTreeMap<String, Tensor>>),
}

/// In what parameters are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// All in f32.
    Single,
    /// All in bf16.
    Bf16,
    /// In half precision those that are given so, the others in f32.
    AsGiven,
}

/// Is it in half precision?
fn is_half(t: &Tensor) -> bool {
    matches!(t.kind(), Kind::Half | Kind::BFloat16)
}

/// Hands out parameters by name while a network is being put together: fresh ones or those of a file.
pub struct Builder {
    source: Source,
    device: Device,
    held: Held,
    entries: RefCell<Vec<(String, Tensor)>>,
    lora: Option<Plan>,
    adapters: RefCell<Vec<(String, Adapter)>>,
}

impl Builder {
    /// Fresh weights; each is drawn from its own stream (seed, "init/NAME"), so that adding a layer changes no other.
    #[must_use]
    pub fn fresh(seed: u64, device: Device) -> Self {
        Self::of(Source::Fresh { seed }, device)
    }

    /// Zeros that take no memory: every parameter is one zero, expanded to its shape. For names, shapes and counts of
    /// networks that are too large to make.
    #[must_use]
    pub fn outline() -> Self {
        Self::of(Source::Outline, Device::Cpu)
    }

    /// Weights from a file. If every name begins with what `torch.compile` or `DataParallel` puts before it, that is left out.
    #[must_use]
    pub fn loaded(tensors: BTreeMap<String, Tensor>, device: Device) -> Self {
        let tensors = unwrapped(tensors);
        Self::of(Source::Loaded(RefCell::new(tensors)), device)
    }

    fn of(source: Source, device: Device) -> Self {
        Self {
            source,
            device,
            held: Held::Single,
            entries: RefCell::default(),
            lora: None,
            adapters: RefCell::default(),
        }
    }

    /// As [`Self::loaded`], [`Self::in_bf16`] where all weights are in half precision.
    #[must_use]
    pub fn halves(tensors: BTreeMap<String, Tensor>, device: Device) -> Self {
        let all = !tensors.is_empty() && tensors.values().all(is_half);
        let b = Self::loaded(tensors, device);
        match all {
            true => b.in_bf16(),
            false => b,
        }
    }

    /// Parameters are handed out in bf16: each is made in f32, or taken from the file as it is, and rounded at once, so that there is never more than one of
    /// them in f32. For a network that computes in bf16.
    #[must_use]
    pub fn in_bf16(mut self) -> Self {
        self.held = Held::Bf16;
        self
    }

    /// Parameters that are given in half precision stay so, and layers widen them while they are used: the answers are those of the
    /// same weights in f32, bit for bit. For a network that is asked too seldom for this to take time.
    #[must_use]
    pub fn as_given(mut self) -> Self {
        self.held = Held::AsGiven;
        self
    }

    /// Linear layers get what `plan` has for them.
    pub(crate) fn with_lora(mut self, plan: Option<Plan>) -> Self {
        self.lora = plan;
        self
    }

    /// What the plan has for the linear layer `name`, `input` to `output` features.
    fn adapter(&self, name: &str, [input, output]: [i64; 2]) -> Result<Option<Adapter>> {
        let Some(plan) = &self.lora else {
            return Ok(None);
        };
        let adapter = plan.adapter(name, [input, output], self.device)?;
        if let Some(adapter) = &adapter {
            let entry = (name.to_owned(), adapter.shallow_clone());
            self.adapters.borrow_mut().push(entry);
        }
        Ok(adapter)
    }

    /// The adapters handed out, by the names of their layers, once the network is complete.
    ///
    /// # Errors
    /// A plan for layers that no linear layer answered to.
    pub(crate) fn take_adapters(&self) -> Result<Vec<(String, Adapter)>> {
        if let Some(plan) = &self.lora {
            plan.check_used(self.adapters.borrow().len())?;
        }
        Ok(self.adapters.take())
    }

    /// The parameter `name` of `shape`.
    ///
    /// # Errors
    /// A name the file lacks, or a tensor of another shape.
    pub fn get(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let tensor = match &self.source {
            Source::Fresh { seed } => match init {
                Init::Zeros => Tensor::zeros(shape, (Kind::Float, Device::Cpu)),
                Init::Ones => Tensor::ones(shape, (Kind::Float, Device::Cpu)),
                Init::Xavier(gain) => {
                    let receptive: i64 = shape.iter().skip(2).product();
                    let (fan_in, fan_out) = (shape[1] * receptive, shape[0] * receptive);
                    let bound = gain * (6.0 / (fan_in + fan_out) as f64).sqrt();
                    noise::uniform(&mut stream(*seed, &format!("init/{name}"), 0), bound, shape)
                }
                Init::FanIn(fan_in) => {
                    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
                    noise::uniform(&mut stream(*seed, &format!("init/{name}"), 0), bound, shape)
                }
                Init::Normal(deviation) => {
                    let mut rng = stream(*seed, &format!("init/{name}"), 0);
                    noise::normal(&mut rng, shape, Device::Cpu) * deviation
                }
            },
            Source::Outline => {
                Tensor::zeros([1], (Kind::Float, Device::Cpu)).f_expand(shape, false)?
            }
            Source::Loaded(map) => {
                let found = take_with_old_names(&mut map.borrow_mut(), name).ok_or_else(|| {
                    DiffusionError::Config(format!("the weights file has no tensor \"{name}\""))
                })?;
                // Old diffusers files keep attention projections as 1x1 convolutions, [C, C, 1, 1].
                let size = found.size();
                let found = if size.len() > shape.len()
                    && size.starts_with(shape)
                    && size[shape.len()..].iter().all(|&d| d == 1)
                {
                    found.reshape(shape)
                } else {
                    found
                };
                if found.size() != shape {
                    return Err(DiffusionError::Config(format!(
                        "tensor \"{name}\" has shape {:?} in the weights file, but config.json asks for {shape:?}",
                        found.size()
                    )));
                }
                found
            }
        };
        let tensor = match self.held {
            Held::AsGiven if is_half(&tensor) => tensor,
            Held::AsGiven | Held::Single => tensor.to_kind(Kind::Float),
            Held::Bf16 => tensor.to_kind(Kind::BFloat16),
        };
        let tensor = tensor.to_device(self.device);
        self.entries
            .borrow_mut()
            .push((name.to_owned(), tensor.shallow_clone()));
        Ok(tensor)
    }

    /// All parameters handed out, once the network is complete.
    ///
    /// # Errors
    /// Tensors in the file that no layer asked for: the file belongs to another network.
    pub fn finish(self) -> Result<Parameters> {
        if let Source::Loaded(map) = &self.source
            && let Some(name) = map.borrow().keys().next()
        {
            return Err(DiffusionError::Config(format!(
                "the weights file has {} tensors that config.json has no place for, the first is \"{name}\"",
                map.borrow().len()
            )));
        }
        Ok(Parameters(self.entries.into_inner()))
    }
}

/// What PyTorch's wrappers put before all names of the network that they hold.
pub(crate) const WRAPPERS: [&str; 2] = ["_orig_mod.", "module."];

/// Tensors by the names that they have in the network itself, whichever wrappers it was saved in.
#[must_use]
pub fn unwrapped(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    while let Some(wrapper) = wrapper_of(tensors.keys()) {
        tensors = tensors
            .into_iter()
            .map(|(name, t)| (name.strip_prefix(wrapper).unwrap_or(&name).to_owned(), t))
            .collect();
    }
    tensors
}

/// The wrapper whose mark every name bears.
pub(crate) fn wrapper_of<'a>(
    names: impl Iterator<Item = &'a String> + Clone,
) -> Option<&'static str> {
    names.clone().next()?;
    let all = |wrapper: &&str| names.clone().all(|name| name.starts_with(*wrapper));
    WRAPPERS.into_iter().find(all)
}

/// diffusers renamed the attention projections in 0.18; older files (google/ddpm-cifar10-32) still have the old names.
fn take_with_old_names(map: &mut BTreeMap<String, Tensor>, name: &str) -> Option<Tensor> {
    map.remove(name).or_else(|| {
        [
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ]
        .iter()
        .find_map(|(new, old)| {
            map.remove(&name.replace(new, old))
                .filter(|_| name.contains(new))
        })
    })
}

/// `parameter` in f32, if it is held in half precision and `x`, which it meets, is in f32.
fn widened(parameter: &Tensor, x: &Tensor) -> Option<Tensor> {
    let meets = x.kind() == Kind::Float && is_half(parameter);
    meets.then(|| parameter.to_kind(Kind::Float))
}

/// The same of a parameter of convolutions and matrix products, which autocast brings to one kind.
fn widened_factor(parameter: &Tensor, x: &Tensor) -> Option<Tensor> {
    match shim::autocasts() {
        true => None,
        false => widened(parameter, x),
    }
}

/// A 2-d convolution.
#[derive(Debug)]
pub struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv {
    /// `kernel` x `kernel`, `input` to `output` channels.
    ///
    /// # Errors
    /// As [`Builder::get`].
    pub fn new(
        b: &Builder,
        name: &str,
        [input, output]: [i64; 2],
        kernel: i64,
        stride: i64,
        padding: i64,
        gain: f64,
    ) -> Result<Self> {
        Ok(Self {
            weight: b.get(
                &format!("{name}.weight"),
                &[output, input, kernel, kernel],
                Init::Xavier(gain),
            )?,
            bias: b.get(&format!("{name}.bias"), &[output], Init::Zeros)?,
            stride,
            padding,
        })
    }

    /// As [`Conv::new`], initialised as PyTorch does ([`Init::FanIn`]).
    ///
    /// # Errors
    /// As [`Builder::get`].
    pub fn default_init(
        b: &Builder,
        name: &str,
        [input, output]: [i64; 2],
        kernel: i64,
        stride: i64,
        padding: i64,
    ) -> Result<Self> {
        let init = Init::FanIn(input * kernel * kernel);
        Ok(Self {
            weight: b.get(
                &format!("{name}.weight"),
                &[output, input, kernel, kernel],
                init,
            )?,
            bias: b.get(&format!("{name}.bias"), &[output], init)?,
            stride,
            padding,
        })
    }

    /// [B, C_in, H, W] to [B, C_out, H', W'].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let weight = widened_factor(&self.weight, x);
        let bias = widened_factor(&self.bias, x);
        let y = x.conv2d(
            weight.as_ref().unwrap_or(&self.weight),
            Some(bias.as_ref().unwrap_or(&self.bias)),
            [self.stride, self.stride],
            [self.padding, self.padding],
            [1, 1],
            1,
        );
        let how = How::Conv {
            kernel: self.weight.size()[2],
            stride: self.stride,
            padding: self.padding,
        };
        ghost::product(x, &y, &self.weight, Some(&self.bias), how);
        y
    }
}

/// A fully connected layer, with a low-rank addition where a network was given one ([`crate::lora`]).
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    adapter: Option<Adapter>,
}

impl Linear {
    /// `input` to `output` features.
    ///
    /// # Errors
    /// As [`Builder::get`].
    pub fn new(b: &Builder, name: &str, input: i64, output: i64) -> Result<Self> {
        let inits = (Init::Xavier(1.0), Some(Init::Zeros));
        Self::with_inits(b, name, [input, output], inits)
    }

    /// As [`Linear::new`], initialised as PyTorch does ([`Init::FanIn`]); `bias` false: none.
    ///
    /// # Errors
    /// As [`Builder::get`].
    pub fn default_init(
        b: &Builder,
        name: &str,
        input: i64,
        output: i64,
        bias: bool,
    ) -> Result<Self> {
        let init = Init::FanIn(input);
        Self::with_inits(b, name, [input, output], (init, bias.then_some(init)))
    }

    /// As [`Linear::new`] with normal weights of the given standard deviation.
    ///
    /// # Errors
    /// As [`Builder::get`].
    pub fn normal_init(
        b: &Builder,
        name: &str,
        input: i64,
        output: i64,
        deviation: f64,
    ) -> Result<Self> {
        let inits = (Init::Normal(deviation), Some(Init::Zeros));
        Self::with_inits(b, name, [input, output], inits)
    }

    /// As [`Linear::new`], with what weight and bias begin as; without the second there is no bias.
    ///
    /// # Errors
    /// As [`Builder::get`].
    pub(crate) fn with_inits(
        b: &Builder,
        name: &str,
        [input, output]: [i64; 2],
        (weight, bias): (Init, Option<Init>),
    ) -> Result<Self> {
        Ok(Self {
            weight: b.get(&format!("{name}.weight"), &[output, input], weight)?,
            bias: bias
                .map(|init| b.get(&format!("{name}.bias"), &[output], init))
                .transpose()?,
            adapter: b.adapter(name, [input, output])?,
        })
    }

    /// [.., in] to [.., out].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let own = self.bias.as_ref();
        let weight = widened_factor(&self.weight, x);
        let bias = own.and_then(|bias| widened_factor(bias, x));
        let y = x.linear(
            weight.as_ref().unwrap_or(&self.weight),
            bias.as_ref().or(own),
        );
        ghost::product(x, &y, &self.weight, self.bias.as_ref(), How::Linear);
        match &self.adapter {
            None => y,
            Some(adapter) => y + adapter.forward(x),
        }
    }
}

/// Layer normalisation over the last axis.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    width: i64,
    eps: f64,
}

impl LayerNorm {
    /// Over `width` features.
    ///
    /// # Errors
    /// As [`Builder::get`].
    pub fn new(b: &Builder, name: &str, width: i64, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: b.get(&format!("{name}.weight"), &[width], Init::Ones)?,
            bias: b.get(&format!("{name}.bias"), &[width], Init::Zeros)?,
            width,
            eps,
        })
    }

    /// [.., width] to the same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let norm = |weight: Option<&Tensor>, bias: Option<&Tensor>| {
            x.layer_norm([self.width], weight, bias, self.eps, false)
        };
        match ghost::once_a_row([&self.weight, &self.bias], x) {
            None => {
                let [weight, bias] = [&self.weight, &self.bias].map(|p| widened(p, x));
                norm(
                    Some(weight.as_ref().unwrap_or(&self.weight)),
                    Some(bias.as_ref().unwrap_or(&self.bias)),
                )
            }
            Some([weight, bias]) => norm(None, None) * weight + bias,
        }
    }
}

/// Each row of `x` [.., width] with mean 0 and variance 1, f32 under autocast: a layer normalisation without parameters.
pub(crate) fn standardised(x: &Tensor, width: i64, eps: f64) -> Tensor {
    x.layer_norm([width], None::<&Tensor>, None::<&Tensor>, eps, false)
}

/// Multi-head attention of projected tokens: `q` [B, N, C], `k` and `v` [B, M, C] to [B, N, C]. `heads` divides C;
/// `causal`: no token sees a later one.
///
/// # Errors
/// What libtorch refuses.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, heads: i64, causal: bool) -> Result<Tensor> {
    let (batch, tokens, channels) = q.size3()?;
    let split = |x: &Tensor| -> Result<Tensor> {
        let (_, n, _) = x.size3()?;
        Ok(x.view([batch, n, heads, channels / heads]).transpose(1, 2))
    };
    let mixed = Tensor::f_scaled_dot_product_attention(
        &split(q)?,
        &split(k)?,
        &split(v)?,
        None::<&Tensor>,
        0.0,
        causal,
        None,
        false,
    )?;
    Ok(mixed.transpose(1, 2).reshape([batch, tokens, channels]))
}

/// Group normalisation, optionally with SiLU behind it (one fused operation).
#[derive(Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl GroupNorm {
    /// `channels` in `groups` groups.
    ///
    /// # Errors
    /// As [`Builder::get`]; groups that do not divide the channels.
    pub fn new(b: &Builder, name: &str, channels: i64, groups: i64, eps: f64) -> Result<Self> {
        if groups <= 0 || channels % groups != 0 {
            return Err(DiffusionError::Config(format!(
                "norm_num_groups = {groups} does not divide the {channels} channels of {name}"
            )));
        }
        Ok(Self {
            weight: b.get(&format!("{name}.weight"), &[channels], Init::Ones)?,
            bias: b.get(&format!("{name}.bias"), &[channels], Init::Zeros)?,
            groups,
            eps,
        })
    }

    /// Normalised, same shape.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fused(x, None, false)
    }

    /// SiLU of the normalised, same shape.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.fused(x, None, true)
    }

    /// SiLU of the normalised `x + add`, where `add` [B, C] is the same for all pixels.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn forward_silu_after(&self, x: &Tensor, add: &Tensor) -> Result<Tensor> {
        self.fused(x, Some(add), true)
    }

    fn fused(&self, x: &Tensor, add: Option<&Tensor>, silu: bool) -> Result<Tensor> {
        let norm = |[weight, bias]: [&Tensor; 2], silu: bool| {
            shim::group_norm_silu(x, add, weight, bias, self.groups, self.eps, silu)
        };
        let Some([weight, bias]) = ghost::once_a_channel([&self.weight, &self.bias], x) else {
            let [weight, bias] = [&self.weight, &self.bias].map(|p| widened(p, x));
            let parameters = [
                weight.as_ref().unwrap_or(&self.weight),
                bias.as_ref().unwrap_or(&self.bias),
            ];
            return Ok(norm(parameters, silu)?);
        };
        let (ones, zeros) = (
            self.weight.detach().ones_like(),
            self.bias.detach().zeros_like(),
        );
        let y = norm([&ones, &zeros], false)?.f_mul(&weight)?.f_add(&bias)?;
        Ok(if silu { y.f_silu()? } else { y })
    }
}

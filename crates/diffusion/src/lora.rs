//! LoRA (Hu et al. 2022): trainable low-rank additions to a conditional U-Net whose own weights stay as they are.
//!
//! A linear layer y = W x becomes y = W x + (alpha / rank) B (A x), A of [rank, in], B of [out, rank], as in PEFT, with
//! which diffusers does it. Files: [`UNet2dCondition::save_lora`] and [`UNet2dCondition::load_lora`] write and read
//! `pytorch_lora_weights.safetensors`, the file of `pipeline.load_lora_weights(folder)` in Python; [`LoraForm`] has other forms.
//! A file may change the text encoders too ([`crate::TextToImage::with_lora`]).

mod blocks;
mod file;
mod forms;
mod keys;
mod metadata;
mod singular;

use crate::ghost::{self, How};
use crate::latent::files::file_error;
use crate::nn::{Builder, Parameters};
use crate::{ClipTextModel, DiffusionError, Result, UNet2dCondition};
use dualmd_data::stream;
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

pub use file::{LORA_FILE, PEFT_CONFIG, PEFT_FILE, files_of, path_of};
pub use forms::KOHYA_FILE;
pub use singular::singular_values;

/// How A of a fresh layer is drawn. B is zero: a fresh LoRA changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraInit {
    /// Normal with standard deviation 1 / rank: `init_lora_weights="gaussian"` of PEFT, which diffusers' training
    /// scripts set.
    Gaussian,
    /// Kaiming-uniform with a = sqrt(5), that is uniform in +-1 / sqrt(in): the default of PEFT and of the paper's code.
    KaimingUniform,
}

/// In what form LoRA layers are written into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraForm<'a> {
    /// [`LORA_FILE`], which `pipeline.load_lora_weights(folder)` of diffusers reads.
    Diffusers,
    /// [`PEFT_FILE`] and [`PEFT_CONFIG`], which `PeftModel.from_pretrained(unet, folder)` reads.
    Peft {
        /// What the configuration names as the base: its folder, absolute or as seen from this one.
        base: &'a str,
    },
    /// [`KOHYA_FILE`], the form of kohya's trainer, which ComfyUI reads.
    Kohya,
}

/// What fresh LoRA layers are like.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank of the additions, at least 1; diffusers' training script has 4.
    pub rank: i64,
    /// The additions are scaled by alpha / rank; positive.
    pub alpha: f64,
    /// Linear layers that get one: those whose name is one of these, or ends in a dot and one of these.
    pub targets: Vec<String>,
    /// How A is drawn.
    pub init: LoraInit,
}

impl LoraConfig {
    /// The layers that diffusers' script adds to: the four projections of every attention.
    pub const TARGETS: [&'static str; 4] = ["to_q", "to_k", "to_v", "to_out.0"];

    /// As diffusers' `train_text_to_image_lora.py`: alpha = rank, the four projections of every attention
    /// (`to_q`, `to_k`, `to_v`, `to_out.0`), Gaussian.
    #[must_use]
    pub fn new(rank: i64) -> Self {
        Self {
            rank,
            alpha: rank as f64,
            targets: Self::TARGETS.map(str::to_owned).to_vec(),
            init: LoraInit::Gaussian,
        }
    }

    fn check(&self) -> Result<()> {
        if self.rank < 1 {
            return Err(DiffusionError::Config(format!(
                "LoRA rank {}: use at least 1",
                self.rank
            )));
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(DiffusionError::Config(format!(
                "LoRA alpha {}: use a positive number; the rank is the usual choice",
                self.alpha
            )));
        }
        Ok(())
    }

    fn takes(&self, name: &str) -> bool {
        self.targets.iter().any(|target| {
            name.strip_suffix(target.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }
}

/// The addition to one linear layer.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// [rank, in].
    a: Tensor,
    /// [out, rank].
    b: Tensor,
    rank: i64,
    alpha: f64,
}

impl Adapter {
    fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// [.., in] to [.., out].
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let inner = x.linear(&self.a, None::<&Tensor>);
        ghost::product(x, &inner, &self.a, None, How::Linear);
        let y = inner.linear(&self.b, None::<&Tensor>);
        ghost::product(&inner, &y, &self.b, None, How::Linear);
        y * self.scale()
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            a: self.a.shallow_clone(),
            b: self.b.shallow_clone(),
            ..*self
        }
    }
}

/// The tensors of one layer of a file.
#[derive(Debug)]
pub(crate) struct Given {
    a: Tensor,
    b: Tensor,
    alpha: f64,
    /// The key of A in the file.
    key: String,
}

/// Which linear layers get an addition while a network is being put together.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Fresh ones; every A is drawn from its own stream (seed, "lora/NAME").
    Fresh { config: LoraConfig, seed: u64 },
    /// Those of a file, by the names of their layers.
    Given(RefCell<BTreeMap<String, Given>>),
}

impl Plan {
    /// The addition to the linear layer `name`, if it gets one.
    pub(crate) fn adapter(
        &self,
        name: &str,
        [input, output]: [i64; 2],
        device: Device,
    ) -> Result<Option<Adapter>> {
        match self {
            Self::Fresh { config, .. } if !config.takes(name) => Ok(None),
            Self::Fresh { config, seed } => {
                let rank = config.rank;
                let mut rng = stream(*seed, &format!("lora/{name}"), 0);
                let shape = [rank, input];
                let a = match config.init {
                    LoraInit::Gaussian => {
                        noise::normal(&mut rng, &shape, Device::Cpu) / rank as f64
                    }
                    LoraInit::KaimingUniform => {
                        noise::uniform(&mut rng, 1.0 / (input as f64).sqrt(), &shape)
                    }
                };
                Ok(Some(Adapter {
                    a: a.to_device(device).set_requires_grad(true),
                    b: Tensor::zeros([output, rank], (Kind::Float, device)).set_requires_grad(true),
                    rank,
                    alpha: config.alpha,
                }))
            }
            Self::Given(layers) => {
                let Some(given) = layers.borrow_mut().remove(name) else {
                    return Ok(None);
                };
                let (a, b) = (given.a.size(), given.b.size());
                if a[1] != input || b[0] != output {
                    return Err(DiffusionError::Config(format!(
                        "\"{}\" and its other half have the shapes {a:?} and {b:?}, but the layer has {input} inputs and \
                         {output} outputs: the file belongs to another network",
                        given.key
                    )));
                }
                Ok(Some(Adapter {
                    a: given.a.to_device(device),
                    b: given.b.to_device(device),
                    rank: a[0],
                    alpha: given.alpha,
                }))
            }
        }
    }

    /// Refuses a plan that left something out, or did nothing. `made`: additions handed out.
    pub(crate) fn check_used(&self, made: usize) -> Result<()> {
        match self {
            Self::Given(layers) => match layers.borrow().values().next() {
                None => Ok(()),
                Some(given) => Err(DiffusionError::Config(format!(
                    "\"{}\" belongs to a layer that is not linear: only linear layers can have LoRA here",
                    given.key
                ))),
            },
            Self::Fresh { config, .. } if made == 0 => Err(DiffusionError::Config(format!(
                "LoRA targets {:?}: no linear layer of the network has such a name",
                config.targets
            ))),
            Self::Fresh { .. } => Ok(()),
        }
    }
}

/// The additions of a network, sharing their tensors with its layers.
#[derive(Debug)]
pub(crate) struct Lora {
    layers: Vec<(String, Adapter)>,
    parameters: Parameters,
}

impl Lora {
    /// `None` of no layers.
    pub(crate) fn of(layers: Vec<(String, Adapter)>) -> Option<Self> {
        let parameters = layers
            .iter()
            .flat_map(|(name, layer)| {
                [("lora_A", &layer.a), ("lora_B", &layer.b)]
                    .map(|(part, tensor)| (format!("{name}.{part}.weight"), tensor.shallow_clone()))
            })
            .collect();
        (!layers.is_empty()).then_some(Self {
            layers,
            parameters: Parameters(parameters),
        })
    }
}

impl UNet2dCondition {
    /// Adds fresh LoRA layers and freezes the network's own weights (`requires_grad` false, storage shared). Every A is
    /// drawn from its own stream of `seed`; every B is zero, so the network computes what it did.
    ///
    /// # Errors
    /// A rank below 1; an alpha that is not positive; targets that no linear layer answers to; a network that has LoRA
    /// layers.
    pub fn with_lora(self, config: &LoraConfig, seed: u64) -> Result<Self> {
        config.check()?;
        self.without_lora()?.rebuilt(Some(Plan::Fresh {
            config: config.clone(),
            seed,
        }))
    }

    /// Adds the LoRA layers of a file, or of a folder's `pytorch_lora_weights.safetensors`; as [`Self::with_lora`]
    /// otherwise, but that nothing requires a gradient yet. Read are the keys that diffusers writes today
    /// (`lora_A.weight`), those of its scripts (`lora.down.weight`) and of its old attention processors
    /// (`processor.to_q_lora.down.weight`), with or without `unet.` in front, and those of kohya's trainer
    /// (`lora_unet_..`). alpha is that of the file's `alpha` keys or of its header (`lora_adapter_metadata`), else the
    /// rank. Dropout that the header names would matter to training only and is left out.
    ///
    /// # Errors
    /// Naming file and key: what is not there, not whole, of another network, of a text encoder, of a layer that is
    /// not linear, DoRA, or not LoRA at all. A network that has LoRA layers.
    pub fn load_lora(self, path: &Path) -> Result<Self> {
        let path = file::path_of(path);
        let layers = file::read(&path, &self, [None, None])?;
        self.with_layers(layers.unet)
            .map_err(|e| file_error(&path, e))
    }

    fn with_layers(self, layers: BTreeMap<String, Given>) -> Result<Self> {
        let network = self.without_lora()?;
        network.rebuilt(Some(Plan::Given(RefCell::new(layers))))
    }

    /// The same network once more over the same weights (storage shared), without LoRA layers: for another LoRA over them.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn shared(&self) -> Result<Self> {
        self.rebuilt(None)
    }

    /// Writes the LoRA layers alone to `pytorch_lora_weights.safetensors` of `folder`, with ranks and alphas in the
    /// header as PEFT has them, so that `pipeline.load_lora_weights(folder)` reads it. `tensors`: others than the
    /// network's own (an average of them, say), named and shaped as [`Self::lora_parameters`].
    ///
    /// # Errors
    /// A network without LoRA layers; `tensors` of other names or shapes; what writing gives, naming the file.
    pub fn save_lora(&self, folder: &Path, tensors: Option<&[(String, Tensor)]>) -> Result<()> {
        let path = folder.join(LORA_FILE);
        let lora = self.lora.as_ref().ok_or_else(|| {
            file_error(&path, "cannot be written: the network has no LoRA layers")
        })?;
        file::write(folder, lora, tensors)
    }

    /// As [`Self::save_lora`], in any form.
    ///
    /// # Errors
    /// As [`Self::save_lora`].
    pub fn save_lora_as(
        &self,
        form: LoraForm<'_>,
        folder: &Path,
        tensors: Option<&[(String, Tensor)]>,
    ) -> Result<()> {
        let Some(lora) = &self.lora else {
            return self.save_lora(folder, tensors);
        };
        match form {
            LoraForm::Diffusers => file::write(folder, lora, tensors),
            LoraForm::Peft { base } => forms::write_peft(folder, lora, tensors, base),
            LoraForm::Kohya => forms::write_kohya(folder, lora, tensors, self.config()),
        }
    }

    /// A and B of every LoRA layer, `LAYER.lora_A.weight` [rank, in] and `LAYER.lora_B.weight` [out, rank], in the order
    /// of the layers. `None` of a network without.
    #[must_use]
    pub fn lora_parameters(&self) -> Option<&Parameters> {
        self.lora.as_ref().map(|lora| &lora.parameters)
    }

    /// The same network over other LoRA tensors (storage shared), named and shaped as [`Self::lora_parameters`].
    ///
    /// # Errors
    /// A network without LoRA layers; tensors of other names or shapes.
    pub fn over_lora(&self, mut tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let Some(lora) = &self.lora else {
            return Err(DiffusionError::Config(
                "the network has no LoRA layers".into(),
            ));
        };
        let mut layers = BTreeMap::new();
        for (name, layer) in &lora.layers {
            let mut take = |part: &str| {
                let key = format!("{name}.{part}.weight");
                let tensor = tensors.remove(&key).ok_or_else(|| {
                    DiffusionError::Config(format!("there is no LoRA tensor \"{key}\""))
                })?;
                Ok::<_, DiffusionError>((tensor, key))
            };
            let ((a, key), (b, _)) = (take("lora_A")?, take("lora_B")?);
            let alpha = layer.alpha;
            layers.insert(name.clone(), Given { a, b, alpha, key });
        }
        if let Some(surplus) = tensors.keys().next() {
            return Err(DiffusionError::Config(format!(
                "\"{surplus}\" is no tensor of the network's LoRA layers"
            )));
        }
        self.rebuilt(Some(Plan::Given(RefCell::new(layers))))
    }

    /// The network with (alpha / rank) B A added to its own weights (new tensors: whoever shares the old ones keeps them)
    /// and without LoRA layers, in f32 however the network is held. A network without them is returned as it is.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn fuse(self) -> Result<Self> {
        let Some(lora) = &self.lora else {
            return Ok(self);
        };
        let mut weights = self.own_weights();
        for (name, layer) in &lora.layers {
            if let Some(weight) = weights.get_mut(&format!("{name}.weight")) {
                let product = no_grad(|| layer.b.f_matmul(&layer.a))?;
                *weight = no_grad(|| &*weight + product * layer.scale());
            }
        }
        let fused = Self::from_weights(self.config(), weights, self.device())?;
        Ok(fused.with_precision(self.precision))
    }

    fn without_lora(self) -> Result<Self> {
        if self.lora.is_some() {
            return Err(DiffusionError::Config(
                "the network has LoRA layers already: fuse them before others are added".into(),
            ));
        }
        Ok(self)
    }

    fn own_weights(&self) -> BTreeMap<String, Tensor> {
        let named = self.parameters().named();
        named.map(|(n, t)| (n.to_owned(), t.detach())).collect()
    }

    fn rebuilt(&self, plan: Option<Plan>) -> Result<Self> {
        let b = Builder::loaded(self.own_weights(), self.device()).with_lora(plan);
        // What is held in bf16 stays so, and is shared; what is added is in f32.
        let b = match self.is_held_in_bf16() {
            true => b.in_bf16(),
            false => b,
        };
        Ok(Self::build(self.config(), b)?.with_precision(self.precision))
    }
}

/// (alpha / rank) B A of a layer of a file for a weight of this shape.
///
/// # Errors
/// Tensors that do not fit it.
fn product(given: &Given, size: &[i64], device: Device) -> Result<Tensor> {
    let (a, b) = (given.a.size(), given.b.size());
    if [b[0], a[1]] != *size {
        return Err(DiffusionError::Config(format!(
            "\"{}\" and its other half have the shapes {a:?} and {b:?}, but the layer's weight has {size:?}: the file belongs to \
             another network",
            given.key
        )));
    }
    let scale = given.alpha / a[0] as f64;
    let product = no_grad(|| given.b.f_matmul(&given.a))?;
    Ok((product * scale).to_device(device))
}

/// A network with what a file adds to it, as low-rank additions, and the sums of its text encoders' weights with what the file adds to
/// them (new tensors), `None` where it says nothing of one.
pub(crate) struct Changed {
    pub(crate) unet: UNet2dCondition,
    pub(crate) texts: [Option<ClipTextModel>; 2],
}

/// What the file `path` makes of a network and of its text encoders: none, one, or two.
///
/// # Errors
/// As [`UNet2dCondition::load_lora`]; layers of a text encoder that was not opened.
pub(crate) fn changed(
    path: &Path,
    unet: UNet2dCondition,
    texts: [Option<&ClipTextModel>; 2],
) -> Result<Changed> {
    let path = file::path_of(path);
    let fail = |e: DiffusionError| file_error(&path, e);
    let own = texts.map(|text| text.map(ClipTextModel::parameters));
    let layers = file::read(&path, &unet, own)?;
    let [first, second] = texts;
    let texts = [
        added_to(first, &layers.text).map_err(fail)?,
        added_to(second, &layers.second).map_err(fail)?,
    ];
    // A file may change the text encoders alone.
    let unet = match layers.unet.is_empty() {
        true => unet,
        false => unet.with_layers(layers.unet).map_err(fail)?,
    };
    Ok(Changed { unet, texts })
}

/// A text encoder with its layers' additions added up, if there are any.
fn added_to(
    text: Option<&ClipTextModel>,
    layers: &BTreeMap<String, Given>,
) -> Result<Option<ClipTextModel>> {
    let Some(text) = text.filter(|_| !layers.is_empty()) else {
        return Ok(None);
    };
    let mut weights = text.parameters().shared();
    for (name, given) in layers {
        // Names of layers are those of weights: the file's were looked up among them.
        if let Some(weight) = weights.get_mut(&format!("{name}.weight")) {
            let added = product(given, &weight.size(), weight.device())?;
            *weight = no_grad(|| &*weight + added);
        }
    }
    let device = text.parameters().device();
    ClipTextModel::from_weights(text.config(), weights, device).map(Some)
}

//! Layers that the networks and the autoencoder share, as in diffusers.

use crate::nn::{Builder, Conv, GroupNorm, Init, Linear, attend};
use crate::{Condition, DiffusionError, Result, ghost};
use dualmd_torch::device::bring;
use dualmd_torch::{Kind, Tensor};

/// How fresh weights begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// As in the DDPM reference code: Xavier-uniform with a gain, zero biases.
    Ddpm,
    /// As PyTorch's layers do, which is diffusers' way.
    PyTorch,
    /// As in the DiT reference code: Xavier-uniform, zero biases.
    Dit,
}

impl Start {
    /// A convolution that keeps the size, or halves it with `stride` 2. `gain`: of [`Start::Ddpm`] and [`Start::Dit`].
    fn conv(
        self,
        b: &Builder,
        name: &str,
        io: [i64; 2],
        [kernel, stride, padding]: [i64; 3],
        gain: f64,
    ) -> Result<Conv> {
        match self {
            Self::Ddpm | Self::Dit => Conv::new(b, name, io, kernel, stride, padding, gain),
            Self::PyTorch => Conv::default_init(b, name, io, kernel, stride, padding),
        }
    }

    /// A fully connected layer. The DDPM reference code has none without a bias.
    fn linear(
        self,
        b: &Builder,
        name: &str,
        [input, output]: [i64; 2],
        bias: bool,
    ) -> Result<Linear> {
        match self {
            Self::Ddpm => Linear::new(b, name, input, output),
            Self::PyTorch => Linear::default_init(b, name, input, output, bias),
            Self::Dit => {
                let inits = (Init::Xavier(1.0), bias.then_some(Init::Zeros));
                Linear::with_inits(b, name, [input, output], inits)
            }
        }
    }
}

/// The sinusoid of diffusers' `get_timestep_embedding`: \[B\] to [B, `width`].
pub(crate) fn sinusoid(t: &Tensor, width: i64, flip_sin_to_cos: bool, freq_shift: i64) -> Tensor {
    let half = width / 2;
    let scale = -(10_000f64.ln()) / (half - freq_shift) as f64;
    let frequencies: Vec<f32> = (0..half).map(|i| (i as f64 * scale).exp() as f32).collect();
    let frequencies = bring(&Tensor::from_slice(&frequencies), t.device());
    let angles = t.to_kind(Kind::Float).unsqueeze(1) * frequencies.unsqueeze(0);
    let (sin, cos) = (angles.sin(), angles.cos());
    let both = if flip_sin_to_cos {
        [cos, sin]
    } else {
        [sin, cos]
    };
    let embedding = Tensor::cat(&both, 1);
    if width % 2 == 1 {
        embedding.constant_pad_nd([0, 1])
    } else {
        embedding
    }
}

/// Two layers behind a sinusoid.
#[derive(Debug)]
pub(crate) struct TimeEmbedding {
    first: Linear,
    second: Linear,
}

impl TimeEmbedding {
    pub(crate) fn new(b: &Builder, input: i64, width: i64, start: Start) -> Result<Self> {
        Self::named(b, "time_embedding", input, width, start)
    }

    fn named(b: &Builder, name: &str, input: i64, width: i64, start: Start) -> Result<Self> {
        let linear = |layer: &str, input: i64| {
            start.linear(b, &format!("{name}.{layer}"), [input, width], true)
        };
        Ok(Self {
            first: linear("linear_1", input)?,
            second: linear("linear_2", width)?,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.second.forward(&self.first.forward(x).silu())
    }
}

/// An embedding for each class, which is added to that of the timestep (diffusers' `num_class_embeds`, and a DiT's).
#[derive(Debug)]
pub(crate) struct ClassEmbedding {
    weight: Tensor,
}

impl ClassEmbedding {
    /// The table `name` of `classes` embeddings; fresh ones are normal with this standard deviation (PyTorch's is 1).
    pub(crate) fn new(
        b: &Builder,
        name: &str,
        [classes, width]: [i64; 2],
        deviation: f64,
    ) -> Result<Self> {
        let init = Init::Normal(deviation);
        Ok(Self {
            weight: b.get(name, &[classes, width], init)?,
        })
    }

    /// `labels` \[B\] i64, which were checked ([`check_labels`]), to [B, width].
    pub(crate) fn forward(&self, labels: &Tensor) -> Result<Tensor> {
        let rows = Tensor::f_embedding(&self.weight, labels, -1, false, false)?;
        ghost::lookup(labels, &rows, &self.weight);
        Ok(rows)
    }
}

/// Refuses images that are not [B, `channels`, H, W] with sides that are multiples of `multiple`, and timesteps that are not one for each.
pub(crate) fn check_images(x: &Tensor, t: &Tensor, channels: i64, multiple: i64) -> Result<()> {
    let sides = format!("H and W multiples of {multiple}");
    check_input([x, t], channels, &sides, |side| {
        side.iter().all(|s| *s > 0 && s % multiple == 0)
    })
}

/// The same of a network that takes squares alone.
pub(crate) fn check_squares(x: &Tensor, t: &Tensor, channels: i64, multiple: i64) -> Result<()> {
    let sides = format!("H = W a multiple of {multiple}");
    check_input([x, t], channels, &sides, |side| {
        side[0] == side[1] && side[0] > 0 && side[0] % multiple == 0
    })
}

fn check_input(
    [x, t]: [&Tensor; 2],
    channels: i64,
    sides: &str,
    fit: impl Fn(&[i64]) -> bool,
) -> Result<()> {
    let size = x.size();
    if size.len() != 4 || size[1] != channels || !fit(&size[2..]) {
        return Err(DiffusionError::Shape {
            what: "image batch",
            expected: format!("[B, {channels}, H, W] with {sides}"),
            got: size,
        });
    }
    if t.size() != [size[0]] {
        return Err(DiffusionError::Shape {
            what: "timesteps",
            expected: format!("[{}]", size[0]),
            got: t.size(),
        });
    }
    Ok(())
}

/// The labels; refuses those that are not one for each of `batch` images, or that name none of `classes` embeddings.
pub(crate) fn check_labels(labels: Option<&Tensor>, batch: i64, classes: i64) -> Result<&Tensor> {
    let Some(labels) = labels else {
        return Err(DiffusionError::Config(
            "this network is told a class with every image (num_class_embeds, of a DiT num_embeds_ada_norm), and was told none"
                .into(),
        ));
    };
    if labels.size() != [batch] || labels.kind() != Kind::Int64 {
        return Err(DiffusionError::Shape {
            what: "class labels",
            expected: format!("[{batch}], whole numbers"),
            got: labels.size(),
        });
    }
    if batch == 0 {
        return Ok(labels);
    }
    let (least, most) = (
        i64::try_from(labels.f_min()?)?,
        i64::try_from(labels.f_max()?)?,
    );
    if least < 0 {
        return Err(DiffusionError::Config(
            "this network has no class that stands for no label, which guidance asks for: every one of its embeddings is a class \
             (or name the classes in model_index.json, as id2label: the embedding after them is meant for no label)"
                .into(),
        ));
    }
    if most >= classes {
        return Err(DiffusionError::Config(format!(
            "class {most} of {classes}: classes count from 0"
        )));
    }
    Ok(labels)
}

/// Numbers in a row of [`Condition::size`].
pub(crate) const SIZES: i64 = 6;

/// A pooled text and sizes, whose embedding is added to that of the timestep (diffusers' `addition_embed_type` = `text_time`).
#[derive(Debug)]
pub(crate) struct Addition {
    embedding: TimeEmbedding,
    options: AdditionOptions,
}

/// Sizes of an [`Addition`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdditionOptions {
    /// Width of the pooled text.
    pub pooled: i64,
    /// Of the sinusoid of each size: its width, and how diffusers' configuration has it.
    pub width: i64,
    pub flip_sin_to_cos: bool,
    pub freq_shift: i64,
}

impl Addition {
    /// `width`: that of the timestep's embedding.
    pub(crate) fn new(b: &Builder, width: i64, options: AdditionOptions) -> Result<Self> {
        let input = options.pooled + SIZES * options.width;
        Ok(Self {
            embedding: TimeEmbedding::named(b, "add_embedding", input, width, Start::PyTorch)?,
            options,
        })
    }

    /// What its layers take, [B, pooled + 6 width].
    ///
    /// # Errors
    /// A condition without a pooled text or without sizes.
    pub(crate) fn given(&self, condition: &Condition) -> Result<Tensor> {
        let (Some(pooled), Some(size)) = (&condition.pooled, &condition.size) else {
            return Err(DiffusionError::Config(
                "this network is told a pooled text and the size of the image beside the text (addition_embed_type = text_time), and was \
                 not"
                    .into(),
            ));
        };
        let AdditionOptions {
            width,
            flip_sin_to_cos,
            freq_shift,
            ..
        } = self.options;
        let rows = size.size().first().copied().unwrap_or(0);
        let waves = sinusoid(&size.f_flatten(0, -1)?, width, flip_sin_to_cos, freq_shift);
        let waves = waves.f_view([rows, SIZES * width])?;
        Ok(Tensor::f_cat(&[pooled, &waves], 1)?)
    }

    /// What is added, [B, width of the timestep's embedding].
    pub(crate) fn forward(&self, given: &Tensor) -> Tensor {
        self.embedding.forward(given)
    }

    /// Refuses pooled texts and sizes that are not one row for each of `batch` images.
    pub(crate) fn check(&self, condition: &Condition, batch: i64) -> Result<()> {
        for (what, part, width) in [
            ("pooled text", &condition.pooled, self.options.pooled),
            ("sizes of images", &condition.size, SIZES),
        ] {
            let got = part.as_ref().map(Tensor::size).unwrap_or_default();
            if got != [batch, width] {
                return Err(DiffusionError::Shape {
                    what,
                    expected: format!("[{batch}, {width}]"),
                    got,
                });
            }
        }
        Ok(())
    }
}

/// Sizes of a [`Residual`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResidualOptions {
    /// Width of the time embedding; `None` for a block that has none.
    pub time_width: Option<i64>,
    pub groups: i64,
    pub eps: f64,
    /// The time embedding scales and shifts instead of being added.
    pub scale_shift: bool,
    pub dropout: f64,
    pub divisor: f64,
    pub start: Start,
}

/// GN-SiLU-conv, + time embedding, GN-SiLU-dropout-conv, + shortcut (diffusers' `ResnetBlock2D`).
#[derive(Debug)]
pub(crate) struct Residual {
    norm1: GroupNorm,
    conv1: Conv,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
    options: ResidualOptions,
}

impl Residual {
    pub(crate) fn new(
        b: &Builder,
        name: &str,
        [input, output]: [i64; 2],
        options: ResidualOptions,
    ) -> Result<Self> {
        let start = options.start;
        let conv = |layer: &str, io: [i64; 2], kernel: i64, gain: f64| {
            let layer = format!("{name}.{layer}");
            start.conv(b, &layer, io, [kernel, 1, kernel / 2], gain)
        };
        let norm = |layer: &str, channels: i64| {
            let layer = format!("{name}.{layer}");
            GroupNorm::new(b, &layer, channels, options.groups, options.eps)
        };
        let time_outputs = if options.scale_shift {
            2 * output
        } else {
            output
        };
        Ok(Self {
            norm1: norm("norm1", input)?,
            conv1: conv("conv1", [input, output], 3, 1.0)?,
            time: match options.time_width {
                Some(width) => {
                    let layer = format!("{name}.time_emb_proj");
                    Some(start.linear(b, &layer, [width, time_outputs], true)?)
                }
                None => None,
            },
            norm2: norm("norm2", output)?,
            // Of DDPM's initialisation: a branch starts near zero.
            conv2: conv("conv2", [output, output], 3, 1e-5)?,
            shortcut: if input == output {
                None
            } else {
                Some(conv("conv_shortcut", [input, output], 1, 1.0)?)
            },
            options,
        })
    }

    /// `time`: SiLU of the time embedding, [B, width], for a block that has one.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let h = self.conv1.forward(&self.norm1.forward_silu(x)?);
        let time = self
            .time
            .as_ref()
            .zip(time)
            .map(|(layer, t)| layer.forward(t));
        let h = match time {
            Some(time) if self.options.scale_shift => {
                let parts = time.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
                (self.norm2.forward(&h)? * (&parts[0] + 1.0) + &parts[1]).silu()
            }
            Some(time) => self.norm2.forward_silu_after(&h, &time)?,
            None => self.norm2.forward_silu(&h)?,
        };
        let h = if train && self.options.dropout > 0.0 {
            h.dropout(self.options.dropout, true)
        } else {
            h
        };
        let h = self.conv2.forward(&h);
        let sum = match &self.shortcut {
            Some(conv) => conv.forward(x) + h,
            None => x + h,
        };
        Ok(if self.options.divisor == 1.0 {
            sum
        } else {
            sum / self.options.divisor
        })
    }
}

/// Projections to queries, keys and values, attention, and the projection back (diffusers' `Attention`).
#[derive(Debug)]
pub(crate) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: i64,
}

impl Attention {
    /// Queries of `channels` features; keys and values of `context` features. `bias` is that of the three projections in;
    /// the one out always has it.
    pub(crate) fn new(
        b: &Builder,
        name: &str,
        channels: i64,
        context: i64,
        heads: i64,
        bias: bool,
        start: Start,
    ) -> Result<Self> {
        if heads < 1 || channels % heads != 0 {
            return Err(DiffusionError::Config(format!(
                "attention_head_dim gives {heads} heads, which do not divide the {channels} channels of {name}"
            )));
        }
        let linear = |layer: &str, input: i64, bias: bool| {
            start.linear(b, &format!("{name}.{layer}"), [input, channels], bias)
        };
        Ok(Self {
            q: linear("to_q", channels, bias)?,
            k: linear("to_k", context, bias)?,
            v: linear("to_v", context, bias)?,
            out: linear("to_out.0", channels, true)?,
            heads,
        })
    }

    /// `x` [B, N, channels], `context` [B, M, context width] to [B, N, channels].
    pub(crate) fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let mixed = attend(
            &self.q.forward(x),
            &self.k.forward(context),
            &self.v.forward(context),
            self.heads,
            false,
        )?;
        Ok(self.out.forward(&mixed))
    }
}

/// Self-attention over all positions, residual (diffusers' `Attention`, most often with a group norm in front).
#[derive(Debug)]
pub(crate) struct SelfAttention {
    norm: Option<GroupNorm>,
    attention: Attention,
    divisor: f64,
}

impl SelfAttention {
    /// `groups` `None`: no normalisation.
    pub(crate) fn new(
        b: &Builder,
        name: &str,
        channels: i64,
        head_width: i64,
        groups: Option<i64>,
        eps: f64,
        divisor: f64,
    ) -> Result<Self> {
        let heads = (channels / head_width.max(1)).max(1);
        if channels % heads != 0 {
            return Err(DiffusionError::Config(format!(
                "attention_head_dim = {head_width} gives {heads} heads, which do not divide the {channels} channels of {name}"
            )));
        }
        Ok(Self {
            norm: match groups {
                Some(groups) => {
                    let name = format!("{name}.group_norm");
                    Some(GroupNorm::new(b, &name, channels, groups, eps)?)
                }
                None => None,
            },
            attention: Attention::new(b, name, channels, channels, heads, true, Start::Ddpm)?,
            divisor,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.size4()?;
        let seen = match &self.norm {
            Some(norm) => norm.forward(x)?,
            None => x.shallow_clone(),
        };
        let tokens = seen
            .reshape([batch, channels, height * width])
            .transpose(1, 2);
        let out = self
            .attention
            .forward(&tokens, &tokens)?
            .transpose(1, 2)
            .reshape([batch, channels, height, width]);
        let sum = out + x;
        Ok(if self.divisor == 1.0 {
            sum
        } else {
            sum / self.divisor
        })
    }
}

/// Strided 3x3 convolution.
#[derive(Debug)]
pub(crate) struct Downsample {
    conv: Conv,
    asymmetric: bool,
}

impl Downsample {
    /// `padding` 0 pads on the right and at the bottom only.
    pub(crate) fn new(
        b: &Builder,
        name: &str,
        channels: i64,
        padding: i64,
        start: Start,
    ) -> Result<Self> {
        let name = format!("{name}.conv");
        Ok(Self {
            conv: start.conv(b, &name, [channels, channels], [3, 2, padding], 1.0)?,
            asymmetric: padding == 0,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        if self.asymmetric {
            self.conv.forward(&x.constant_pad_nd([0, 1, 0, 1]))
        } else {
            self.conv.forward(x)
        }
    }
}

/// Nearest-neighbour doubling, then a 3x3 convolution.
#[derive(Debug)]
pub(crate) struct Upsample(Conv);

impl Upsample {
    pub(crate) fn new(b: &Builder, name: &str, channels: i64, start: Start) -> Result<Self> {
        let name = format!("{name}.conv");
        Ok(Self(start.conv(
            b,
            &name,
            [channels, channels],
            [3, 1, 1],
            1.0,
        )?))
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.size4()?;
        Ok(self
            .0
            .forward(&x.upsample_nearest2d([2 * height, 2 * width], None, None)))
    }
}

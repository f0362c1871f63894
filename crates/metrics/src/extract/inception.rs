//! The Inception v3 network of the literature's FID, KID and Inception score.

use std::collections::BTreeMap;
use std::path::Path;

use dualmd_torch::Device;
use dualmd_torch::tch::Tensor;

use super::net::{Conv, Geometry, Linear, Weights, spatial_mean};
use super::{Extracted, Extractor, classified, in_batches, resize};
use crate::error::Result;

const REMEDY: &str =
    "it must be pt_inception-2015-12-05-6726825d.pth saved as safetensors, see docs/metrics.md";

/// Side of the pictures that the network sees.
const SIDE: i64 = 299;

/// Classes of the TensorFlow network of 2015.
const CLASSES: i64 = 1008;

/// Where features are taken; the number of columns is the customary name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// 64, after the first max pool, averaged over places.
    FirstPool,
    /// 192, after the second max pool, averaged over places.
    SecondPool,
    /// 768, before the auxiliary classifier, averaged over places.
    PreAux,
    /// 2048, after the final average pool: the layer of FID.
    FinalPool,
}

impl Layer {
    /// Columns of the features.
    #[must_use]
    pub fn dim(self) -> usize {
        match self {
            Self::FirstPool => 64,
            Self::SecondPool => 192,
            Self::PreAux => 768,
            Self::FinalPool => 2048,
        }
    }
}

/// The FID Inception v3 (`pt_inception-2015-12-05-6726825d`, 1008 outputs): torchvision's Inception v3 (Szegedy et al.,
/// 2016) with TensorFlow's average pools, which leave the padding out of their average, and a max pool in the last
/// block.
///
/// Input: 8-bit colour, resized to 299 x 299 (see the module [`crate::extract`]), divided by 255, 2x - 1, as in
/// pytorch-fid. FID with 64, 192 or 768 columns is another quantity than FID and far smaller; its name says so
/// (`inception-64`).
#[derive(Debug)]
pub struct InceptionFid {
    layer: Layer,
    /// Up to the first and the second max pool.
    stem: [Vec<Conv>; 2],
    /// Mixed_5b to Mixed_6e.
    middle: Vec<Vec<Branch>>,
    /// Mixed_7a to Mixed_7c.
    last: Vec<Vec<Branch>>,
    classifier: Option<Linear>,
    device: Device,
}

#[derive(Debug)]
struct Branch {
    pool: Option<Pool>,
    convs: Vec<Conv>,
    /// Two more that both read the last of `convs`.
    fork: Option<[Conv; 2]>,
}

#[derive(Debug, Clone, Copy)]
enum Pool {
    /// 3 x 3, stride 1, without the padding.
    Average,
    /// 3 x 3, stride 1.
    Max,
    /// 3 x 3, stride 2, no padding.
    Halving,
}

impl InceptionFid {
    /// Reads the weights, under the names of `pt_inception-2015-12-05-6726825d.pth` (`Conv2d_1a_3x3.conv.weight`, ...);
    /// others in the file are passed over. What lies behind `layer` is neither needed nor computed.
    ///
    /// # Errors
    /// A missing or broken file, or a tensor that is missing or has another shape, by name.
    pub fn load(path: &Path, layer: Layer, device: Device) -> Result<Self> {
        Self::build(&Weights::read(path, REMEDY, device)?, layer, device)
    }

    /// As [`Self::load`], from tensors in memory; `origin` stands in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_tensors(
        origin: &str,
        tensors: BTreeMap<String, Tensor>,
        layer: Layer,
        device: Device,
    ) -> Result<Self> {
        let weights = Weights::new(origin.into(), tensors, REMEDY, device);
        Self::build(&weights, layer, device)
    }

    fn build(weights: &Weights, layer: Layer, device: Device) -> Result<Self> {
        let stem = |name: &str, inputs, outputs, kernel, stride, padding| {
            let geometry = Geometry {
                inputs,
                outputs,
                kernel: [kernel, kernel],
                stride,
                padding: [padding, padding],
                groups: 1,
            };
            weights.conv(&format!("{name}.conv"), &format!("{name}.bn"), geometry)
        };
        let first = vec![
            stem("Conv2d_1a_3x3", 3, 32, 3, 2, 0)?,
            stem("Conv2d_2a_3x3", 32, 32, 3, 1, 0)?,
            stem("Conv2d_2b_3x3", 32, 64, 3, 1, 1)?,
        ];
        let (mut second, mut middle, mut last, mut classifier) = (vec![], vec![], vec![], None);
        if layer.dim() >= Layer::SecondPool.dim() {
            second = vec![
                stem("Conv2d_3b_1x1", 64, 80, 1, 1, 0)?,
                stem("Conv2d_4a_3x3", 80, 192, 3, 1, 0)?,
            ];
        }
        if layer.dim() >= Layer::PreAux.dim() {
            let block = |name, inputs| Mixed {
                weights,
                name,
                inputs,
            };
            middle = vec![
                block("Mixed_5b", 192).a(32)?,
                block("Mixed_5c", 256).a(64)?,
                block("Mixed_5d", 288).a(64)?,
                block("Mixed_6a", 288).b()?,
                block("Mixed_6b", 768).c(128)?,
                block("Mixed_6c", 768).c(160)?,
                block("Mixed_6d", 768).c(160)?,
                block("Mixed_6e", 768).c(192)?,
            ];
            if layer == Layer::FinalPool {
                last = vec![
                    block("Mixed_7a", 768).d()?,
                    block("Mixed_7b", 1280).e(Pool::Average)?,
                    block("Mixed_7c", 2048).e(Pool::Max)?,
                ];
                classifier = Some(weights.linear("fc", 2048, CLASSES)?);
            }
        }
        Ok(Self {
            layer,
            stem: [first, second],
            middle,
            last,
            classifier,
            device,
        })
    }

    /// Features, and both logits behind the final pool, of [n, 3, H, W] in 0..=255.
    fn forward(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        // In this order of operations, and not as one scaling at the end: rounding is then pytorch-fid's.
        let x = resize(&images.f_div_scalar(255.0)?, SIDE)?;
        let mut x = x.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
        for convs in &self.stem {
            if !convs.is_empty() {
                x = Pool::Halving.forward(&chain(&x, convs)?)?;
            }
        }
        for block in self.middle.iter().chain(&self.last) {
            let parts = block
                .iter()
                .map(|branch| branch.forward(&x))
                .collect::<Result<Vec<_>>>()?;
            x = Tensor::f_cat(&parts, 1)?;
        }
        let features = spatial_mean(&x)?;
        Ok(match &self.classifier {
            None => vec![features],
            Some(classifier) => {
                let [biased, unbiased] = classifier.forward(&features)?;
                vec![features, biased, unbiased]
            }
        })
    }
}

impl Extractor for InceptionFid {
    fn name(&self) -> String {
        format!("inception-{}", self.dim())
    }

    fn dim(&self) -> usize {
        self.layer.dim()
    }

    fn extract(&self, images: &Tensor) -> Result<Extracted> {
        let tables = in_batches(images, self.device, |x| self.forward(x))?;
        classified(
            tables,
            (self.name(), self.dim()),
            "inception-logits",
            CLASSES as usize,
        )
    }
}

impl Branch {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = match self.pool {
            Some(pool) => pool.forward(x)?,
            None => x.shallow_clone(),
        };
        let x = chain(&x, &self.convs)?;
        Ok(match &self.fork {
            None => x,
            Some(fork) => {
                let ends = [
                    fork[0].forward(&x)?.f_relu()?,
                    fork[1].forward(&x)?.f_relu()?,
                ];
                Tensor::f_cat(&ends, 1)?
            }
        })
    }
}

impl Pool {
    fn forward(self, x: &Tensor) -> Result<Tensor> {
        let window = [3, 3];
        Ok(match self {
            Self::Average => x.f_avg_pool2d(window, [1, 1], [1, 1], false, false, None)?,
            Self::Max => x.f_max_pool2d(window, [1, 1], [1, 1], [1, 1], false)?,
            Self::Halving => x.f_max_pool2d(window, [2, 2], [0, 0], [1, 1], false)?,
        })
    }
}

fn chain(x: &Tensor, convs: &[Conv]) -> Result<Tensor> {
    let mut x = x.shallow_clone();
    for conv in convs {
        x = conv.forward(&x)?.f_relu()?;
    }
    Ok(x)
}

/// A block of parallel branches, under the letters of torchvision.
struct Mixed<'a> {
    weights: &'a Weights,
    name: &'static str,
    inputs: i64,
}

/// `(name, output channels, kernel, stride)` of one convolution.
type Step = (&'static str, i64, [i64; 2], i64);

impl Mixed<'_> {
    /// Convolutions one after the other; those with stride 1 keep the size.
    fn convs(&self, steps: &[Step]) -> Result<Vec<Conv>> {
        let mut inputs = self.inputs;
        let mut convs = Vec::new();
        for &(name, outputs, kernel, stride) in steps {
            let geometry = Geometry {
                inputs,
                outputs,
                kernel,
                stride,
                padding: if stride == 1 {
                    kernel.map(|k| k / 2)
                } else {
                    [0, 0]
                },
                groups: 1,
            };
            let [conv, norm] = ["conv", "bn"].map(|part| format!("{}.{name}.{part}", self.name));
            convs.push(self.weights.conv(&conv, &norm, geometry)?);
            inputs = outputs;
        }
        Ok(convs)
    }

    fn branch(&self, steps: &[Step]) -> Result<Branch> {
        Ok(Branch {
            pool: None,
            convs: self.convs(steps)?,
            fork: None,
        })
    }

    fn pooled(&self, pool: Pool, steps: &[Step]) -> Result<Branch> {
        Ok(Branch {
            pool: Some(pool),
            ..self.branch(steps)?
        })
    }

    /// A branch that ends in a 1 x 3 and a 3 x 1 convolution side by side.
    fn forked(&self, steps: &[Step], ends: [&'static str; 2]) -> Result<Branch> {
        let branch = self.branch(steps)?;
        let inner = Mixed {
            inputs: branch.convs.last().map_or(self.inputs, Conv::outputs),
            ..*self
        };
        let end = |name, kernel| inner.convs(&[(name, 384, kernel, 1)]).map(Vec::into_iter);
        let (mut flat, mut tall) = (end(ends[0], [1, 3])?, end(ends[1], [3, 1])?);
        Ok(Branch {
            fork: flat.next().zip(tall.next()).map(|(a, b)| [a, b]),
            ..branch
        })
    }

    fn a(&self, pooled: i64) -> Result<Vec<Branch>> {
        Ok(vec![
            self.branch(&[("branch1x1", 64, [1, 1], 1)])?,
            self.branch(&[
                ("branch5x5_1", 48, [1, 1], 1),
                ("branch5x5_2", 64, [5, 5], 1),
            ])?,
            self.branch(&[
                ("branch3x3dbl_1", 64, [1, 1], 1),
                ("branch3x3dbl_2", 96, [3, 3], 1),
                ("branch3x3dbl_3", 96, [3, 3], 1),
            ])?,
            self.pooled(Pool::Average, &[("branch_pool", pooled, [1, 1], 1)])?,
        ])
    }

    fn b(&self) -> Result<Vec<Branch>> {
        Ok(vec![
            self.branch(&[("branch3x3", 384, [3, 3], 2)])?,
            self.branch(&[
                ("branch3x3dbl_1", 64, [1, 1], 1),
                ("branch3x3dbl_2", 96, [3, 3], 1),
                ("branch3x3dbl_3", 96, [3, 3], 2),
            ])?,
            self.pooled(Pool::Halving, &[])?,
        ])
    }

    fn c(&self, inner: i64) -> Result<Vec<Branch>> {
        Ok(vec![
            self.branch(&[("branch1x1", 192, [1, 1], 1)])?,
            self.branch(&[
                ("branch7x7_1", inner, [1, 1], 1),
                ("branch7x7_2", inner, [1, 7], 1),
                ("branch7x7_3", 192, [7, 1], 1),
            ])?,
            self.branch(&[
                ("branch7x7dbl_1", inner, [1, 1], 1),
                ("branch7x7dbl_2", inner, [7, 1], 1),
                ("branch7x7dbl_3", inner, [1, 7], 1),
                ("branch7x7dbl_4", inner, [7, 1], 1),
                ("branch7x7dbl_5", 192, [1, 7], 1),
            ])?,
            self.pooled(Pool::Average, &[("branch_pool", 192, [1, 1], 1)])?,
        ])
    }

    fn d(&self) -> Result<Vec<Branch>> {
        Ok(vec![
            self.branch(&[
                ("branch3x3_1", 192, [1, 1], 1),
                ("branch3x3_2", 320, [3, 3], 2),
            ])?,
            self.branch(&[
                ("branch7x7x3_1", 192, [1, 1], 1),
                ("branch7x7x3_2", 192, [1, 7], 1),
                ("branch7x7x3_3", 192, [7, 1], 1),
                ("branch7x7x3_4", 192, [3, 3], 2),
            ])?,
            self.pooled(Pool::Halving, &[])?,
        ])
    }

    fn e(&self, pool: Pool) -> Result<Vec<Branch>> {
        Ok(vec![
            self.branch(&[("branch1x1", 320, [1, 1], 1)])?,
            self.forked(
                &[("branch3x3_1", 384, [1, 1], 1)],
                ["branch3x3_2a", "branch3x3_2b"],
            )?,
            self.forked(
                &[
                    ("branch3x3dbl_1", 448, [1, 1], 1),
                    ("branch3x3dbl_2", 384, [3, 3], 1),
                ],
                ["branch3x3dbl_3a", "branch3x3dbl_3b"],
            )?,
            self.pooled(pool, &[("branch_pool", 192, [1, 1], 1)])?,
        ])
    }
}

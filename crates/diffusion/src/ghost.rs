//! Gradients of single images out of one pass over all of them, for clipping image by image.
//!
//! The gradient of a linear layer y = W x for one image is the sum over its positions of (dL/dy) x^T, and that of a convolution the
//! same with the patches that the kernel saw in place of x. So one needs, of every layer, what went in and the gradient of what came
//! out, and no weight's gradient at all: a recorded pass keeps the first ([`record`]), one backward pass gives the second
//! ([`Recorded::differentiate`]). From these follow
//!
//! * the norm of each image's gradient, either from the gradient itself or, where that takes fewer multiplications, without it:
//!   |G^T X|^2 = sum of (X X^T) * (G G^T) over pairs of positions. ("Ghost norm": Goodfellow 2015, arXiv:1510.01799; Li et al. 2022,
//!   arXiv:2110.05679; the choice layer by layer is that of Bu et al. 2022, arXiv:2205.10683.)
//! * the sum of the gradients, each times a number of its own ([`PerImage::weighted`]), from the same two, without a second backward
//!   pass (Bu et al. 2023, arXiv:2210.00038).
//!
//! What normalisations are scaled and shifted by is laid out once a row while recording, and autograd then gives its gradient row by
//! row. A table of embeddings is a linear layer of rows that are 1 at their label and 0 elsewhere. Both numbers come from the same tensors in f32, whatever the pass was computed in: what is added up is as long as its norm
//! says, up to rounding in f32.

use crate::{DiffusionError, Result};
use dualmd_torch::{Device, Kind, Tensor, no_grad};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// What the layers did since recording began on this thread; none: nobody records.
    static TAPE: RefCell<Option<Vec<Taken>>> = const { RefCell::new(None) };
}

/// How a layer's weight meets its input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    /// x [.., in] to [.., out].
    Linear,
    /// Square kernels over [B, C, H, W].
    Conv {
        kernel: i64,
        stride: i64,
        padding: i64,
    },
}

/// One use of parameters.
#[derive(Debug)]
enum Taken {
    /// y = weight x + bias.
    Product {
        x: Tensor,
        y: Tensor,
        weight: Tensor,
        bias: Option<Tensor>,
        how: How,
    },
    /// A parameter laid out once for each row.
    Rows { wide: Tensor, parameter: Tensor },
    /// y = the rows of a table that labels name.
    Lookup {
        labels: Tensor,
        y: Tensor,
        table: Tensor,
    },
}

/// Notes that `y` is made of `x` with these parameters, if anybody records and the weight is trained.
pub(crate) fn product(x: &Tensor, y: &Tensor, weight: &Tensor, bias: Option<&Tensor>, how: How) {
    TAPE.with_borrow_mut(|tape| {
        let Some(tape) = tape.as_mut().filter(|_| weight.requires_grad()) else {
            return;
        };
        tape.push(Taken::Product {
            x: x.detach(),
            y: y.shallow_clone(),
            weight: weight.shallow_clone(),
            bias: bias.map(Tensor::shallow_clone),
            how,
        });
    });
}

/// Notes that `y` [B, width] are the rows of `table` [classes, width] that `labels` \[B\] i64 name, if anybody records and the table is
/// trained.
pub(crate) fn lookup(labels: &Tensor, y: &Tensor, table: &Tensor) {
    TAPE.with_borrow_mut(|tape| {
        let Some(tape) = tape.as_mut().filter(|_| table.requires_grad()) else {
            return;
        };
        tape.push(Taken::Lookup {
            labels: labels.shallow_clone(),
            y: y.shallow_clone(),
            table: table.shallow_clone(),
        });
    });
}

/// Scale and shift \[C\] of a normalisation of `x` [B, .., C], laid out once for each row of it, [B, 1, .., C], if anybody records
/// and they are trained: to be used in place of the parameters themselves.
pub(crate) fn once_a_row(parameters: [&Tensor; 2], x: &Tensor) -> Option<[Tensor; 2]> {
    let mut shape = vec![1; x.dim().max(2)];
    shape[0] = x.size().first().copied().unwrap_or(1);
    if let Some(last) = shape.last_mut() {
        *last = -1;
    }
    laid_out(parameters, &shape)
}

/// The same of `x` [B, C, H, W]: [B, C, 1, 1].
pub(crate) fn once_a_channel(parameters: [&Tensor; 2], x: &Tensor) -> Option<[Tensor; 2]> {
    let rows = x.size().first().copied().unwrap_or(1);
    laid_out(parameters, &[rows, -1, 1, 1])
}

/// Parameters \[C\] as rows of `shape`, where -1 stands for C.
fn laid_out(parameters: [&Tensor; 2], shape: &[i64]) -> Option<[Tensor; 2]> {
    TAPE.with_borrow_mut(|tape| {
        let trained = parameters.iter().all(|p| p.requires_grad());
        let tape = tape.as_mut().filter(|_| trained)?;
        Some(parameters.map(|parameter| {
            let channels = parameter.numel() as i64;
            let wide = parameter.unsqueeze(0).expand([shape[0], channels], false);
            tape.push(Taken::Rows {
                wide: wide.shallow_clone(),
                parameter: parameter.shallow_clone(),
            });
            wide.view(shape)
        }))
    })
}

/// Runs `pass`, which sends rows through a network, and keeps what its layers were given. Only networks of this crate are recorded,
/// and only what runs on this thread.
pub fn record<T>(pass: impl FnOnce() -> T) -> (T, Recorded) {
    /// Puts back what was there, also if `pass` panics.
    struct Before(Option<Vec<Taken>>);
    impl Drop for Before {
        fn drop(&mut self) {
            TAPE.set(self.0.take());
        }
    }
    let before = Before(TAPE.replace(Some(Vec::new())));
    let out = pass();
    let taken = TAPE.take().unwrap_or_default();
    drop(before);
    (out, Recorded(taken))
}

/// A recorded pass.
#[derive(Debug)]
pub struct Recorded(Vec<Taken>);

/// How much memory the arithmetic may take at once, in numbers of four bytes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Of patches laid side by side.
    columns: i64,
    /// Of gradients of single images that are kept until they are added up; the others are computed twice.
    kept: i64,
}

const LIMITS: Limits = Limits {
    columns: 1 << 26,
    kept: 1 << 27,
};

impl Recorded {
    /// The gradients of the images' losses by `parameters`, not yet added up. `loss`: the sum of the losses, computed from what the
    /// recorded pass gave; an image's loss depends on its own rows only. `images`: how many they are, each of as many rows as the
    /// next, one image's rows after the other's. After it the pass is spent.
    ///
    /// # Errors
    /// A parameter that no layer used, or that several did; a loss that was computed without gradients; rows that `images` does not
    /// divide; what libtorch refuses.
    pub fn differentiate(
        self,
        loss: &Tensor,
        images: i64,
        parameters: &[Tensor],
    ) -> Result<PerImage> {
        self.within(loss, images, parameters, LIMITS)
    }

    fn within(
        self,
        loss: &Tensor,
        images: i64,
        parameters: &[Tensor],
        limits: Limits,
    ) -> Result<PerImage> {
        let refused =
            |what: &str| DiffusionError::Config(format!("gradients of single images: {what}"));
        let outputs: Vec<&Tensor> = self
            .0
            .iter()
            .map(|taken| match taken {
                Taken::Product { y, .. } | Taken::Lookup { y, .. } => y,
                Taken::Rows { wide, .. } => wide,
            })
            .collect();
        if images < 1 || !loss.requires_grad() || outputs.iter().any(|y| !y.requires_grad()) {
            return Err(refused(
                "the pass was computed without gradients, or of no image",
            ));
        }
        let gradients = Tensor::f_run_backward(&[loss], &outputs, false, false)?;
        let places: HashMap<usize, usize> = parameters
            .iter()
            .enumerate()
            .map(|(place, p)| (p.data_ptr() as usize, place))
            .collect();
        let mut all = PerImage {
            images,
            squares: Tensor::zeros([images], (Kind::Double, loss.device())),
            parts: parameters.iter().map(|_| None).collect(),
            shapes: parameters.iter().map(Tensor::size).collect(),
            device: loss.device(),
            limits,
        };
        let mut kept = 0;
        let mut part_of = |product: Product| -> Result<Part> {
            let numel = images * product.inputs * product.outputs;
            if product.is_ghost() || kept + numel > limits.kept {
                return Ok(Part::Product(product));
            }
            kept += numel;
            Ok(Part::Each(product.each(0, images, limits)?))
        };
        no_grad(|| -> Result<()> {
            for (taken, gradient) in self.0.into_iter().zip(gradients) {
                if !gradient.defined() {
                    return Err(refused("the loss does not depend on all of the network"));
                }
                let rows = gradient.size().first().copied().unwrap_or(0);
                if rows % images != 0 {
                    return Err(refused("the rows cannot be shared out among the images"));
                }
                let gradient = gradient.f_to_kind(Kind::Float)?;
                match taken {
                    Taken::Rows { parameter, .. } => {
                        let each = gradient.f_reshape([images, rows / images, -1])?;
                        let each = each.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
                        all.put(&places, &parameter, Part::Each(each))?;
                    }
                    Taken::Product {
                        x,
                        weight,
                        bias,
                        how,
                        ..
                    } => {
                        let product = Product::new(x, gradient, &weight, images, how)?;
                        if let Some(bias) = bias {
                            let each = Part::Each(product.of_bias()?);
                            all.put(&places, &bias, each)?;
                        }
                        all.put(&places, &weight, part_of(product)?)?;
                    }
                    Taken::Lookup { labels, table, .. } => {
                        // The classes are this layer's outputs: the gradient of its weight is the sum of (1 at the label) (dL/dy)^T.
                        let classes = table.size().first().copied().unwrap_or(1);
                        let told = labels.f_one_hot(classes)?.f_to_kind(Kind::Float)?;
                        let product = Product::new(gradient, told, &table, images, How::Linear)?;
                        all.put(&places, &table, part_of(product)?)?;
                    }
                }
            }
            Ok(())
        })?;
        if all.parts.iter().any(Option::is_none) {
            return Err(refused("a parameter takes no part in the pass"));
        }
        Ok(all)
    }
}

/// The inputs of a layer and the gradients of its outputs.
#[derive(Debug)]
struct Product {
    x: Tensor,
    gradient: Tensor,
    how: How,
    images: i64,
    /// Rows of an image.
    copies: i64,
    inputs: i64,
    outputs: i64,
    /// Positions of a row.
    positions: i64,
}

impl Product {
    fn new(x: Tensor, gradient: Tensor, weight: &Tensor, images: i64, how: How) -> Result<Self> {
        let outputs = weight.size().first().copied().unwrap_or(1).max(1);
        let rows = x.size().first().copied().unwrap_or(0).max(1);
        Ok(Self {
            copies: rows / images,
            inputs: weight.numel() as i64 / outputs,
            positions: gradient.numel() as i64 / (rows * outputs),
            outputs,
            x,
            gradient,
            how,
            images,
        })
    }

    /// Does the norm take fewer multiplications without the gradient?
    fn is_ghost(&self) -> bool {
        let (p, d) = (self.inputs, self.outputs);
        (self.copies * self.positions).saturating_mul(p + d) < p.saturating_mul(d)
    }

    /// How many images go through at once.
    fn at_once(&self, limits: Limits) -> i64 {
        let each = self.copies * self.positions * (self.inputs + self.outputs);
        (limits.columns / each.max(1)).clamp(1, self.images)
    }

    /// Runs of images: (first, how many).
    fn runs(&self, limits: Limits) -> impl Iterator<Item = (i64, i64)> + use<> {
        let (each, images) = (self.at_once(limits), self.images);
        (0..images)
            .step_by(each as usize)
            .map(move |first| (first, each.min(images - first)))
    }

    /// What the weight met, [n, copies, inputs, positions].
    fn met(&self, first: i64, n: i64) -> Result<Tensor> {
        let rows = n * self.copies;
        let x = self.x.f_narrow(0, first * self.copies, rows)?;
        let x = x.f_to_kind(Kind::Float)?;
        let shape = [n, self.copies, self.inputs, self.positions];
        Ok(match self.how {
            How::Linear => x
                .f_reshape([n, self.copies, self.positions, self.inputs])?
                .f_transpose(2, 3)?,
            How::Conv {
                kernel: 1,
                stride: 1,
                padding: 0,
            } => x.f_reshape(shape)?,
            How::Conv {
                kernel,
                stride,
                padding,
            } => x
                .f_im2col(
                    [kernel, kernel],
                    [1, 1],
                    [padding, padding],
                    [stride, stride],
                )?
                .f_reshape(shape)?,
        })
    }

    /// The gradients of what came out, [n, copies, outputs, positions].
    fn gave(&self, first: i64, n: i64) -> Result<Tensor> {
        let g = self
            .gradient
            .f_narrow(0, first * self.copies, n * self.copies)?;
        Ok(match self.how {
            How::Linear => g
                .f_reshape([n, self.copies, self.positions, self.outputs])?
                .f_transpose(2, 3)?,
            How::Conv { .. } => g.f_reshape([n, self.copies, self.outputs, self.positions])?,
        })
    }

    /// [images, outputs]: the gradients of the bias.
    fn of_bias(&self) -> Result<Tensor> {
        let g = self.gave(0, self.images)?;
        Ok(g.f_sum_dim_intlist([1i64, 3].as_slice(), false, Kind::Float)?)
    }

    /// [n, outputs inputs]: the gradients of the weight for `n` images.
    fn each(&self, first: i64, n: i64, limits: Limits) -> Result<Tensor> {
        let mut runs = Vec::new();
        let at_once = self.at_once(limits);
        for start in (first..first + n).step_by(at_once as usize) {
            let here = at_once.min(first + n - start);
            let (met, gave) = (self.met(start, here)?, self.gave(start, here)?);
            let of_copy = |k: i64| -> Result<Tensor> {
                let met = met.f_select(1, k)?.f_transpose(1, 2)?;
                Ok(gave.f_select(1, k)?.f_bmm(&met)?)
            };
            let mut sum = of_copy(0)?;
            for k in 1..self.copies {
                let _ = sum.f_add_(&of_copy(k)?)?;
            }
            runs.push(sum.f_reshape([here, self.outputs * self.inputs])?);
        }
        Ok(match runs.len() {
            1 => runs.swap_remove(0),
            _ => Tensor::f_cat(&runs, 0)?,
        })
    }

    /// [images] f64: squares of the norms.
    fn squares(&self, limits: Limits) -> Result<Tensor> {
        let mut all = Vec::new();
        for (first, n) in self.runs(limits) {
            all.push(if self.is_ghost() {
                // [n, S, S] of products between positions, all copies' side by side; in f64, because terms of both signs cancel.
                let between = |t: Tensor| -> Result<Tensor> {
                    let width = t.size()[2];
                    let t = t.f_permute([0, 1, 3, 2])?.f_reshape([n, -1, width])?;
                    let t = t.f_to_kind(Kind::Double)?;
                    Ok(t.f_bmm(&t.f_transpose(1, 2)?)?)
                };
                let both = between(self.met(first, n)?)? * between(self.gave(first, n)?)?;
                both.f_sum_dim_intlist([1i64, 2].as_slice(), false, Kind::Double)?
            } else {
                squares(&self.each(first, n, limits)?)?
            });
        }
        Ok(Tensor::f_cat(&all, 0)?)
    }

    /// [outputs, inputs]: the sum of the images' gradients, each times its number in `scales` \[images\].
    fn weighted(&self, scales: &Tensor, limits: Limits) -> Result<Tensor> {
        let size = (Kind::Float, self.x.device());
        let mut sum = Tensor::f_zeros([self.outputs, self.inputs], size)?;
        for (first, n) in self.runs(limits) {
            let scale = scales.f_narrow(0, first, n)?.f_view([n, 1, 1, 1])?;
            let gave = self.gave(first, n)?.f_mul(&scale)?;
            let gave = gave
                .f_permute([2, 0, 1, 3])?
                .f_reshape([self.outputs, -1])?;
            let met = self.met(first, n)?.f_permute([0, 1, 3, 2])?;
            let _ = sum.f_add_(&gave.f_mm(&met.f_reshape([-1, self.inputs])?)?)?;
        }
        Ok(sum)
    }
}

/// What is known of one parameter's gradients.
#[derive(Debug)]
enum Part {
    /// [images, ..]: themselves.
    Each(Tensor),
    /// What they are computed from.
    Product(Product),
}

/// The gradients of single images, by parameters.
#[derive(Debug)]
pub struct PerImage {
    images: i64,
    squares: Tensor,
    parts: Vec<Option<Part>>,
    shapes: Vec<Vec<i64>>,
    device: Device,
    limits: Limits,
}

impl PerImage {
    /// Takes up what is known of `parameter`; one that is not among those asked for is left out.
    fn put(
        &mut self,
        places: &HashMap<usize, usize>,
        parameter: &Tensor,
        part: Part,
    ) -> Result<()> {
        let Some(&place) = places.get(&(parameter.data_ptr() as usize)) else {
            return Ok(());
        };
        let known = &mut self.parts[place];
        if known.is_some() {
            return Err(DiffusionError::Config(
                "gradients of single images: several layers share a parameter".into(),
            ));
        }
        let squares = match &part {
            Part::Each(each) => squares(each)?,
            Part::Product(product) => product.squares(self.limits)?,
        };
        let _ = self.squares.f_add_(&squares)?;
        *known = Some(part);
        Ok(())
    }

    /// The L2 norm of each image's gradient over all parameters together.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn norms(&self) -> Result<Vec<f64>> {
        Ok(Vec::try_from(
            self.squares
                .f_clamp_min(0.0)?
                .f_sqrt()?
                .f_to_device(Device::Cpu)?,
        )?)
    }

    /// The sum of the gradients, each times its number in `scales`: one tensor for each parameter, f32.
    ///
    /// # Errors
    /// Another number of scales than of images; what libtorch refuses.
    pub fn weighted(&self, scales: &[f64]) -> Result<Vec<Tensor>> {
        if scales.len() as i64 != self.images {
            return Err(DiffusionError::Config(format!(
                "gradients of {} images are to be added up with {} numbers",
                self.images,
                scales.len()
            )));
        }
        let scales = Tensor::from_slice(scales)
            .f_to_kind(Kind::Float)?
            .f_to_device(self.device)?;
        no_grad(|| {
            self.parts
                .iter()
                .flatten()
                .zip(&self.shapes)
                .map(|(part, shape)| {
                    let sum = match part {
                        Part::Each(each) => {
                            let flat = each.f_reshape([self.images, -1])?;
                            scales.f_view([1, self.images])?.f_mm(&flat)?
                        }
                        Part::Product(product) => product.weighted(&scales, self.limits)?,
                    };
                    Ok(sum.f_reshape(shape.as_slice())?)
                })
                .collect()
        })
    }
}

/// The sum of squares of each row, f64.
fn squares(rows: &Tensor) -> Result<Tensor> {
    let flat = rows.f_flatten(1, -1)?;
    Ok(flat
        .f_square()?
        .f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UNet2d;
    use crate::blocks::ClassEmbedding;
    use crate::nn::{Builder, Linear};
    use crate::preset::preset;
    use dualmd_data::stream;
    use dualmd_torch::noise;

    const IMAGES: i64 = 3;

    fn drawn(name: &str, size: &[i64]) -> Tensor {
        noise::normal(&mut stream(1, name, 0), size, Device::Cpu)
    }

    /// A network whose layers all have gradients, and its parameters.
    fn network() -> (UNet2d, Vec<Tensor>) {
        let network = UNet2d::fresh(&preset("tiny", 1, 8).unwrap(), 3, Device::Cpu).unwrap();
        for (name, tensor) in network.parameters().named() {
            let more = drawn(name, &tensor.size()) * 0.1;
            let _ = no_grad(|| tensor.shallow_clone().f_add_(&more).unwrap());
        }
        let parameters = network.parameters().tensors().into_iter();
        let parameters = parameters.map(|p| p.set_requires_grad(true)).collect();
        (network, parameters)
    }

    /// The sum of losses of two rows for each image.
    fn recorded(network: &UNet2d) -> (Tensor, Recorded) {
        let x = drawn("x", &[2 * IMAGES, 1, 8, 8]);
        let t = Tensor::from_slice(&[0i64, 10, 100, 300, 700, 999]);
        let (out, recorded) = record(|| network.forward(&x, &t, None, true).unwrap());
        (out.square().sum(Kind::Float), recorded)
    }

    #[test]
    fn little_memory_gives_the_same() {
        let (network, parameters) = network();
        let scales = [0.5, 2.0, 1.0];
        let of = |limits: Limits| {
            let (loss, recorded) = recorded(&network);
            let all = recorded.within(&loss, IMAGES, &parameters, limits).unwrap();
            (all.norms().unwrap(), all.weighted(&scales).unwrap())
        };
        let (norms, sums) = of(LIMITS);
        let few = Limits {
            columns: 1,
            kept: 0,
        };
        let (other, others) = of(few);
        for (a, b) in norms.iter().zip(&other) {
            assert!((a - b).abs() < 1e-5 * a && *a > 0.0, "{a}, {b}");
        }
        for (a, b) in sums.iter().zip(&others) {
            let off = (a - b).norm().double_value(&[]);
            assert!(off < 1e-4 * a.norm().double_value(&[]).max(1.0), "{off}");
        }
        // With all scales 1 it is the gradient of the sum.
        let (loss, once) = recorded(&network);
        let all = once.differentiate(&loss, IMAGES, &parameters).unwrap();
        let (loss, _) = recorded(&network);
        let whole = Tensor::run_backward(&[loss], &parameters, false, false);
        for (a, b) in all.weighted(&[1.0; 3]).unwrap().iter().zip(&whole) {
            let off = (a - b).norm().double_value(&[]);
            assert!(off < 1e-4 * b.norm().double_value(&[]).max(1.0), "{off}");
        }
        assert!(all.weighted(&[1.0]).is_err());
    }

    /// Two rows of each image, of which two may have one label: the gradient of a row of the table is the sum of those that name it.
    #[test]
    fn embeddings_are_told_apart_by_their_labels() {
        let labels = Tensor::from_slice(&[2i64, 2, 0, 1, 3, 0]);
        // Small, where the gradients are kept, and large, where they are not.
        for (classes, width) in [(4i64, 3i64), (40, 30)] {
            let b = Builder::fresh(1, Device::Cpu);
            let embedding = ClassEmbedding::new(&b, "table", [classes, width], 1.0).unwrap();
            let own = b.finish().unwrap().tensors().into_iter();
            let own: Vec<Tensor> = own.map(|p| p.set_requires_grad(true)).collect();
            let g = drawn("weights", &[2 * IMAGES, width]);
            let (y, recorded) = record(|| embedding.forward(&labels).unwrap());
            let loss = (y * &g).sum(Kind::Float);
            let all = recorded.differentiate(&loss, IMAGES, &own).unwrap();
            let norm = |t: Tensor| t.norm().double_value(&[]);
            let want = [
                norm(g.get(0) + g.get(1)),
                norm(g.narrow(0, 2, 2)),
                norm(g.narrow(0, 4, 2)),
            ];
            for (got, want) in all.norms().unwrap().iter().zip(want) {
                assert!((got - want).abs() < 1e-5 * want, "{got}, {want}");
            }
            let sum = all.weighted(&[0.5, 2.0, 1.0]).unwrap().swap_remove(0);
            assert_eq!(sum.size(), [classes, width]);
            let rows = [
                g.get(2) * 2.0 + g.get(5),
                g.get(3) * 2.0,
                (g.get(0) + g.get(1)) * 0.5,
                g.get(4),
            ];
            for (class, row) in (0..).zip(rows) {
                let off = norm(sum.get(class) - &row);
                assert!(off < 1e-5 * norm(row), "class {class}: {off}");
            }
            let others = sum.narrow(0, 4, classes - 4);
            assert_eq!(others.abs().sum(Kind::Float).double_value(&[]), 0.0);
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let (network, mut parameters) = network();
        let refused = |images: i64, parameters: &[Tensor]| {
            let (loss, recorded) = recorded(&network);
            let all = recorded.differentiate(&loss, images, parameters);
            all.unwrap_err().to_string()
        };
        assert!(refused(4, &parameters).contains("shared out"));
        assert!(refused(0, &parameters).contains("of no image"));
        parameters.push(Tensor::zeros([1], (Kind::Float, Device::Cpu)));
        assert!(refused(IMAGES, &parameters).contains("takes no part"));
        let (loss, blind) = no_grad(|| recorded(&network));
        let error = blind.differentiate(&loss, IMAGES, &parameters).unwrap_err();
        assert!(error.to_string().contains("without gradients"), "{error}");

        // One layer twice: its gradient is a sum, whose norm does not follow from those of its parts.
        let b = Builder::fresh(1, Device::Cpu);
        let layer = Linear::new(&b, "layer", 2, 2).unwrap();
        let own = b.finish().unwrap().tensors().into_iter();
        let own: Vec<Tensor> = own.map(|p| p.set_requires_grad(true)).collect();
        let x = drawn("x", &[IMAGES, 2]);
        let (y, twice) = record(|| layer.forward(&layer.forward(&x)));
        let error = twice.differentiate(&y.sum(Kind::Float), IMAGES, &own);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("share a parameter"), "{error}");
        // Outside of a recording nothing is kept.
        let _ = layer.forward(&x);
        assert!(record(|| ()).1.0.is_empty());
    }
}

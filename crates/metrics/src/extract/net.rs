//! Convolutions with their batch normalisation folded in, from named weights.

use std::collections::BTreeMap;
use std::path::Path;

use dualmd_torch::Device;
use dualmd_torch::tch::{Kind, Tensor};
use dualmd_torch::weights::read_safetensors;

use crate::error::{MetricsError, Result};

/// Both networks were trained in TensorFlow, which adds 1e-3 to the variance of a batch normalisation.
const EPSILON: f64 = 1e-3;

/// The named tensors of a network and where they came from.
pub(super) struct Weights {
    origin: String,
    remedy: &'static str,
    tensors: BTreeMap<String, Tensor>,
    device: Device,
}

impl Weights {
    pub(super) fn read(path: &Path, remedy: &'static str, device: Device) -> Result<Self> {
        let tensors = read_safetensors(path)?;
        Ok(Self::new(
            path.display().to_string(),
            tensors,
            remedy,
            device,
        ))
    }

    pub(super) fn new(
        origin: String,
        tensors: BTreeMap<String, Tensor>,
        remedy: &'static str,
        device: Device,
    ) -> Self {
        Self {
            origin,
            remedy,
            tensors,
            device,
        }
    }

    fn refuse<T>(&self, reason: &str) -> Result<T> {
        Err(MetricsError::File {
            path: self.origin.clone(),
            reason: format!("{reason}; {}", self.remedy),
        })
    }

    /// The tensor `name` as f64, checked.
    fn take(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let Some(tensor) = self.tensors.get(name) else {
            return self.refuse(&format!("there is no tensor {name}"));
        };
        if tensor.size() != shape || !matches!(tensor.kind(), Kind::Float | Kind::Double) {
            return self.refuse(&format!(
                "tensor {name} is {:?} of shape {:?}, not f32 of shape {shape:?}",
                tensor.kind(),
                tensor.size()
            ));
        }
        if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return self.refuse(&format!("tensor {name} holds a number that is not finite"));
        }
        Ok(tensor.f_to_kind(Kind::Double)?)
    }

    /// Convolution `conv` followed by batch normalisation `norm` in evaluation, as one convolution.
    pub(super) fn conv(&self, conv: &str, norm: &str, geometry: Geometry) -> Result<Conv> {
        let Geometry {
            inputs,
            outputs,
            kernel: [h, w],
            groups,
            ..
        } = geometry;
        let weight = self.take(&format!("{conv}.weight"), &[outputs, inputs / groups, h, w])?;
        let part = |name: &str| self.take(&format!("{norm}.{name}"), &[outputs]);
        let variance = part("running_var")?;
        if variance.f_min()?.f_double_value(&[])? < 0.0 {
            return self.refuse(&format!(
                "tensor {norm}.running_var holds a negative variance"
            ));
        }
        let scale = part("weight")?.f_div(&variance.f_add_scalar(EPSILON)?.f_sqrt()?)?;
        let bias = part("bias")?.f_sub(&part("running_mean")?.f_mul(&scale)?)?;
        let weight = weight.f_mul(&scale.f_reshape([outputs, 1, 1, 1])?)?;
        Ok(Conv {
            weight: self.ready(&weight)?,
            bias: self.ready(&bias)?,
            geometry,
        })
    }

    /// A fully connected layer.
    pub(super) fn linear(&self, name: &str, inputs: i64, outputs: i64) -> Result<Linear> {
        Ok(Linear {
            weight: self.ready(&self.take(&format!("{name}.weight"), &[outputs, inputs])?)?,
            bias: self.ready(&self.take(&format!("{name}.bias"), &[outputs])?)?,
        })
    }

    fn ready(&self, tensor: &Tensor) -> Result<Tensor> {
        Ok(tensor.f_to_kind(Kind::Float)?.f_to_device(self.device)?)
    }
}

/// Shape of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub inputs: i64,
    pub outputs: i64,
    /// Height, width.
    pub kernel: [i64; 2],
    pub stride: i64,
    /// On all sides: height, width.
    pub padding: [i64; 2],
    pub groups: i64,
}

#[derive(Debug)]
pub(super) struct Conv {
    weight: Tensor,
    bias: Tensor,
    geometry: Geometry,
}

impl Conv {
    pub(super) fn outputs(&self) -> i64 {
        self.geometry.outputs
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let g = &self.geometry;
        Ok(x.f_conv2d(
            &self.weight,
            Some(&self.bias),
            [g.stride, g.stride],
            g.padding,
            [1, 1],
            g.groups,
        )?)
    }
}

#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// With and without the bias.
    pub(super) fn forward(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let unbiased = x.f_matmul(&self.weight.f_tr()?)?;
        Ok([unbiased.f_add(&self.bias)?, unbiased])
    }
}

/// Mean over all places: [n, C, H, W] to [n, C].
pub(super) fn spatial_mean(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?)
}

//! Weights as safetensors, arrays as npy. Pickles (`.bin`, `.pt`, `.pth`) are never opened: reading one runs its code.

use crate::{Result, TorchError};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::{Kind, Tensor};

fn file_error(path: &Path, reason: impl std::fmt::Display) -> TorchError {
    TorchError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// Reads every tensor of a safetensors file, f16 and bf16 widened to f32, on the CPU.
///
/// # Errors
/// A missing or truncated file, or one in another format, by name.
pub fn read_safetensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    if matches!(
        path.extension().and_then(|e| e.to_str()),
        Some("bin" | "pt" | "pth" | "ckpt" | "pkl")
    ) {
        return Err(file_error(
            path,
            "is a pickle, which can run code when opened; save it as safetensors in Python: \
             safetensors.torch.save_file(state_dict, \"diffusion_pytorch_model.safetensors\")",
        ));
    }
    let bytes = std::fs::read(path).map_err(|e| file_error(path, e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| {
        file_error(
            path,
            format!("not a whole safetensors file ({e}); copy or save it again"),
        )
    })?;
    file.tensors()
        .into_iter()
        .map(|(name, view)| Ok((name, to_tensor(path, &view)?)))
        .collect()
}

fn to_tensor(path: &Path, view: &TensorView<'_>) -> Result<Tensor> {
    let shape: Vec<i64> = view.shape().iter().map(|&d| d as i64).collect();
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        other => {
            return Err(file_error(
                path,
                format!("holds a tensor of dtype {other:?}, which is not supported"),
            ));
        }
    };
    let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?;
    Ok(match kind {
        Kind::Half | Kind::BFloat16 => tensor.to_kind(Kind::Float),
        _ => tensor,
    })
}

/// Writes named tensors (f32, f64, i64 or u8; made contiguous, moved to the CPU) as a safetensors file, atomically.
///
/// # Errors
/// A tensor of another dtype, or what writing gives (full disk, no permission), with the path.
pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &[(&str, &str)],
) -> Result<()> {
    let mut owned: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, tensor) in tensors {
        let (dtype, size) = match tensor.kind() {
            Kind::Float => (Dtype::F32, 4),
            Kind::Double => (Dtype::F64, 8),
            Kind::Int64 => (Dtype::I64, 8),
            Kind::Uint8 => (Dtype::U8, 1),
            other => {
                return Err(file_error(
                    path,
                    format!("tensor {name} has dtype {other:?}: convert it to f32 first"),
                ));
            }
        };
        let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
        let n = tensor.numel();
        let mut data = vec![0u8; n * size];
        tensor.f_copy_data_u8(&mut data, n)?;
        let shape = tensor.size().iter().map(|&d| d as usize).collect();
        owned.push((name.to_owned(), dtype, shape, data));
    }
    let views = owned
        .iter()
        .map(|(name, dtype, shape, data)| {
            TensorView::new(*dtype, shape.clone(), data)
                .map(|v| (name.as_str(), v))
                .map_err(|e| file_error(path, e))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| file_error(path, e))?;
    dualmd_data::write_atomic(path, &bytes).map_err(|e| file_error(path, e))
}

/// Reads an npy array; floats become f32.
///
/// # Errors
/// A missing file or one that is not npy.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    if !path.exists() {
        return Err(file_error(path, "no such file"));
    }
    let tensor = Tensor::read_npy(path)
        .map_err(|e| file_error(path, format!("not a readable npy array ({e})")))?;
    Ok(match tensor.kind() {
        Kind::Double | Kind::Half | Kind::BFloat16 => tensor.to_kind(Kind::Float),
        _ => tensor,
    })
}

/// Writes an npy array (f32 or i64), atomically.
///
/// # Errors
/// What writing gives, with the path.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<()> {
    let partial = path.with_extension("npy.partial");
    tensor
        .to_device(tch::Device::Cpu)
        .contiguous()
        .write_npy(&partial)
        .map_err(|e| file_error(path, format!("cannot write ({e}); is the disk full?")))?;
    std::fs::rename(&partial, path).map_err(|e| file_error(path, e))
}

//! Devices, dtypes and threads as users name them (`--device`, `--dtype`, `--threads`).

use crate::{Result, TorchError};
use tch::Device;

/// Reads `cpu`, `cuda`, `cuda:N` or `auto` (CUDA if this build and machine have it, else CPU).
///
/// # Errors
/// An unknown name, or a CUDA device that is not there, with the remedy.
pub fn parse(name: &str) -> Result<Device> {
    let wanted = match name {
        "cpu" => return Ok(Device::Cpu),
        _ if !crate::shim::load_cuda() && name == "auto" => return Ok(Device::Cpu),
        "auto" => {
            return Ok(if tch::Cuda::is_available() {
                Device::Cuda(0)
            } else {
                Device::Cpu
            });
        }
        "cuda" => 0,
        other => match other
            .strip_prefix("cuda:")
            .and_then(|n| n.parse::<usize>().ok())
        {
            Some(index) => index,
            None => {
                return Err(TorchError::Setting(format!(
                    "unknown device \"{other}\": use cpu, cuda, cuda:N or auto"
                )));
            }
        },
    };
    let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if wanted < count {
        Ok(Device::Cuda(wanted))
    } else if crate::shim::load_cuda() {
        Err(TorchError::Setting(format!(
            "device \"{name}\" is not there: libtorch sees {count} CUDA devices; check nvidia-smi and CUDA_VISIBLE_DEVICES"
        )))
    } else {
        Err(TorchError::Setting(format!(
            "device \"{name}\": this build of dualmd has no CUDA; run `cargo xtask setup --cuda` with a CUDA libtorch and build again"
        )))
    }
}

/// How forward and backward passes compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Everything in f32.
    F32,
    /// Convolutions and matrix products in bf16 under autocast; weights, statistics and optimiser in f32.
    Bf16,
}

impl Precision {
    /// Reads `f32`, `bf16`, or `auto`: bf16 where the processor (or GPU) multiplies it natively, else f32.
    ///
    /// # Errors
    /// Any other name.
    pub fn parse(name: &str, device: Device) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "auto" if device != Device::Cpu || cpu_has_bf16() => Ok(Self::Bf16),
            "auto" => Ok(Self::F32),
            other => Err(TorchError::Setting(format!(
                "unknown dtype \"{other}\": use f32, bf16 or auto"
            ))),
        }
    }

    /// The name users and files see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Does this processor multiply bf16 natively (AVX512-BF16 or AMX)? Without it bf16 is emulated and slower than f32.
#[must_use]
pub fn cpu_has_bf16() -> bool {
    cpu_info("flags").is_some_and(|flags| {
        flags
            .split_whitespace()
            .any(|f| f == "avx512_bf16" || f == "amx_bf16")
    })
}

fn cpu_info(key: &str) -> Option<String> {
    let file = std::path::Path::new("/proc/cpuinfo");
    let text = dualmd_files::read_text(file, dualmd_files::limit::SETTINGS).ok()?;
    text.lines().find_map(|line| {
        let (k, v) = line.split_once(':')?;
        (k.trim() == key).then(|| v.trim().to_owned())
    })
}

/// Sets the intra-op threads of this process. Call before the first tensor operation.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(1));
}

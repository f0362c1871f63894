//! Devices, dtypes and threads as users name them (`--device`, `--dtype`, `--threads`).

use crate::{Result, TorchError, shim};
use tch::{Device, Tensor};

/// Reads `cpu`, `cuda`, `cuda:N` or `auto` (CUDA if this build and machine have it, else CPU). On a GPU f32 is f32 from then on, until
/// something asks for [`Precision::Tf32`]: libtorch by itself rounds what convolutions multiply to TF32.
///
/// # Errors
/// An unknown name, or a CUDA device that is not there, with the remedy.
pub fn parse(name: &str) -> Result<Device> {
    let device = named(name)?;
    if device.is_cuda() {
        shim::allow_tf32(false)?;
    }
    Ok(device)
}

fn named(name: &str) -> Result<Device> {
    let wanted = match name {
        "cpu" => return Ok(Device::Cpu),
        _ if !shim::load_cuda() && name == "auto" => return Ok(Device::Cpu),
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
    } else if shim::load_cuda() {
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
    /// On a GPU: f32 whose convolutions and matrix products round the factors to TF32, 10 bits of mantissa in place of 23, and add in f32. GPUs
    /// from NVIDIA's Ampere on are faster with it; older ones compute in f32.
    Tf32,
    /// Convolutions and matrix products in bf16 under autocast; weights, statistics and optimiser in f32.
    Bf16,
}

impl Precision {
    /// Reads `f32`, `tf32`, `bf16`, or `auto`: bf16 where the processor (or GPU) multiplies it natively, else f32.
    ///
    /// # Errors
    /// Any other name; `tf32` without a GPU.
    pub fn parse(name: &str, device: Device) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "tf32" if device.is_cuda() => Ok(Self::Tf32),
            "tf32" => Err(TorchError::Setting(
                "dtype \"tf32\" is a GPU's, and this is computed on the processor: use f32, or a GPU (--device cuda)"
                    .into(),
            )),
            "bf16" => Ok(Self::Bf16),
            "auto" if device != Device::Cpu || cpu_has_bf16() => Ok(Self::Bf16),
            "auto" => Ok(Self::F32),
            other => Err(TorchError::Setting(format!(
                "unknown dtype \"{other}\": use f32, tf32, bf16 or auto"
            ))),
        }
    }

    /// The name users and files see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
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

/// `x` on `device`. From the processor to a GPU it goes by way of pinned memory and nobody waits: neither for the copy nor for what the GPU
/// has to do before it, as [`Tensor::to_device`] does. Everything that uses the result comes after it in the GPU's order of work.
pub fn bring(x: &Tensor, device: Device) -> Tensor {
    if x.device() == Device::Cpu
        && device.is_cuda()
        && let Ok(there) = shim::bring(x, device)
    {
        return there;
    }
    // Also where no memory can be pinned.
    x.to_device(device)
}

/// Bytes of a GPU's memory that nobody uses; `None` of a processor, and where libtorch does not say.
#[must_use]
pub fn unused_memory(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(_) => shim::memory(device).ok().map(|[unused, _]| unused),
        _ => None,
    }
}

/// What libtorch is told as long as this lives, which is as long as a training: see [`tuned`].
#[derive(Debug)]
pub struct Tuned {
    /// TF32, and whether cuDNN measures.
    cuda: Option<Option<shim::Tf32>>,
}

/// Has a GPU compute as a training wants it, in the whole process, until the result is dropped: with TF32 where `precision` asks for it, also in
/// backward passes, and with cuDNN choosing the fastest of its convolutions for each shape by measuring them once. (Two runs may choose
/// differently and differ in last digits; attacks and samples are drawn without it.) Nothing on a processor.
///
/// # Errors
/// What libtorch refuses.
pub fn tuned(precision: Precision, device: Device) -> Result<Tuned> {
    if !device.is_cuda() {
        return Ok(Tuned { cuda: None });
    }
    let tf32 = match precision {
        Precision::Tf32 => shim::Tf32::allowed(device)?,
        Precision::F32 | Precision::Bf16 => None,
    };
    tch::Cuda::cudnn_set_benchmark(true);
    Ok(Tuned { cuda: Some(tf32) })
}

impl Drop for Tuned {
    fn drop(&mut self) {
        if self.cuda.is_some() {
            tch::Cuda::cudnn_set_benchmark(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_is_a_gpus() {
        let gpu = Device::Cuda(0);
        assert_eq!(Precision::parse("tf32", gpu).unwrap(), Precision::Tf32);
        assert_eq!(Precision::Tf32.name(), "tf32");
        let refused = Precision::parse("tf32", Device::Cpu).unwrap_err();
        assert!(refused.to_string().contains("use f32"), "{refused}");
        // Never unless it is asked for.
        assert_eq!(Precision::parse("auto", gpu).unwrap(), Precision::Bf16);
        assert_eq!(Precision::parse("f32", gpu).unwrap(), Precision::F32);
    }

    #[test]
    fn on_a_processor_nothing_is_brought_or_tuned() {
        let x = Tensor::from_slice(&[1.0f32, 2.0]);
        let same = bring(&x, Device::Cpu);
        assert_eq!(same.data_ptr(), x.data_ptr());
        assert_eq!(unused_memory(Device::Cpu), None);
        let tuned = tuned(Precision::Tf32, Device::Cpu).unwrap();
        assert!(tuned.cuda.is_none());
        assert!(shim::bring(&x, Device::Cpu).is_err() && shim::memory(Device::Cpu).is_err());
        assert_eq!(
            shim::with_precision(Precision::Tf32, Device::Cpu, || 3).unwrap(),
            3
        );
    }
}

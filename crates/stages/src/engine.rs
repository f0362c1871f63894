//! The engine that work is done with: device, arithmetic, threads.

use crate::choices::Dtype;
use anyhow::Result;
use dualmd_torch::device::{self, Precision};
use dualmd_torch::ranks::Place;
use dualmd_torch::{Device, tch};

/// Where and how it is calculated.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// Where tensors live.
    pub device: Device,
    /// Arithmetic of attacks and samples; trainings have their experiment's ([`Engine::to_train`]).
    pub precision: Precision,
    /// Cores to use.
    pub threads: usize,
}

impl Engine {
    /// `device`: `cpu`, `cuda`, `cuda:N`, or `auto` for a GPU where there is one; `dtype`: f32 where it is not given, since attacks
    /// compare small differences. `threads` is set for libtorch at once, for all work that this thread begins.
    ///
    /// # Errors
    /// A device or a number format that this build or machine does not have.
    pub fn new(device: &str, dtype: Option<Dtype>, threads: usize) -> Result<Self> {
        let device = device::parse(device)?;
        let precision = Precision::parse(dtype.unwrap_or(Dtype::F32).as_str(), device)?;
        device::set_threads(threads);
        Ok(Self {
            device,
            precision,
            threads,
        })
    }

    /// The same with the arithmetic that a training asks for.
    ///
    /// # Errors
    /// A number format that the device does not have.
    pub fn to_train(self, dtype: Dtype) -> Result<Self> {
        Ok(Self {
            precision: Precision::parse(dtype.as_str(), self.device)?,
            ..self
        })
    }

    /// The same for one of several ranks: its share of `threads`, which are those of its machine, and of the machine's GPUs its own.
    /// `threads` is set for libtorch at once.
    #[must_use]
    pub fn for_rank(self, place: &Place, threads: usize) -> Self {
        let gpus = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
        let device = match self.device {
            // Slurm may show each task one GPU only.
            Device::Cuda(_) if gpus > 0 => Device::Cuda(place.local % gpus),
            device => device,
        };
        let threads = (threads / place.local_world).max(1);
        device::set_threads(threads);
        Self {
            device,
            threads,
            ..self
        }
    }

    /// `cpu` or `cuda:N`.
    pub fn device_name(&self) -> String {
        match self.device {
            Device::Cuda(n) => format!("cuda:{n}"),
            _ => "cpu".into(),
        }
    }
}

/// In one line, for people.
impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "engine: libtorch {}, {}, {}, {} threads, {}",
            dualmd_torch::LIBTORCH_VERSION,
            self.device_name(),
            self.precision.name(),
            self.threads,
            crate::machine::cpu_name()
        )
    }
}

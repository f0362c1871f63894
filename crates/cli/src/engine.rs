//! The engine as this process uses it: device, arithmetic, threads.

use crate::args::Global;
use crate::choices::Dtype;
use anyhow::Result;
use dualmd_torch::Device;
use dualmd_torch::device::{self, Precision};

/// Variables that libraries read when they are loaded, before `main`:
///
/// * libtorch's OpenMP threads spin while they wait, which makes a machine with more threads than free cores crawl;
/// * glibc returns every large tensor's memory to the system as soon as it is freed, and each training step pays for
///   fetching (and clearing) it again: a third of the time of a small network's step went into the kernel.
const EARLY: [(&str, &str); 4] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "67108864"),
];

/// Marks a process that has been through [`settle_environment`].
const SETTLED: &str = "DUALMD_SETTLED";

/// Sets the variables of [`EARLY`] that the user has not set, and starts the program once more with them.
pub fn settle_environment() {
    #[cfg(unix)]
    if std::env::var_os(SETTLED).is_none()
        && EARLY
            .iter()
            .any(|(name, _)| std::env::var_os(name).is_none())
        && let Ok(program) = std::env::current_exe()
    {
        use std::os::unix::process::CommandExt;
        let unset = EARLY
            .iter()
            .filter(|(name, _)| std::env::var_os(name).is_none());
        // Returns only if it fails; then the program runs on, just slower.
        let _ = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs(unset.copied())
            .env(SETTLED, "1")
            .exec();
    }
}

/// What `--device`, `--dtype` and `--threads` came to.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    /// Where tensors live.
    pub device: Device,
    /// Arithmetic of training (attacks use f32 unless asked otherwise).
    pub precision: Precision,
    /// Cores to use.
    pub threads: usize,
}

impl Engine {
    /// Resolves the flags; `dtype` is the experiment's choice, `threads` the default number.
    ///
    /// # Errors
    /// A device this build or machine does not have.
    pub fn new(global: &Global, dtype: Dtype, threads: usize) -> Result<Self> {
        let device = device::parse(&global.device.to_string())?;
        let precision = Precision::parse(dtype.as_str(), device)?;
        let threads = global.threads.unwrap_or(threads);
        device::set_threads(threads);
        let engine = Self {
            device,
            precision,
            threads,
        };
        if global.verbose > 0 {
            tell!(
                "engine: libtorch {}, {}, {}, {threads} threads, {}",
                dualmd_torch::LIBTORCH_VERSION,
                engine.device_name(),
                precision.name(),
                crate::machine::cpu_name()
            );
        }
        Ok(engine)
    }

    /// For commands that only look at models: f32 unless `--dtype` says otherwise, all cores.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn exact(global: &Global) -> Result<Self> {
        Self::new(
            global,
            global.dtype.unwrap_or(Dtype::F32),
            crate::machine::cores(),
        )
    }

    /// `cpu` or `cuda:N`.
    pub fn device_name(&self) -> String {
        match self.device {
            Device::Cuda(n) => format!("cuda:{n}"),
            _ => "cpu".into(),
        }
    }
}

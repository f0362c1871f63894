//! The FID network as the TorchScript file that StyleGAN's code uses (inception-2015-12-05.pt), which brings its own preprocessing.

use super::{Extracted, Extractor, in_batches};
use crate::error::{MetricsError, Result};
use crate::features::Features;
use dualmd_torch::tch::{CModule, IValue, Kind, TchError, Tensor};
use dualmd_torch::{Device, no_grad};
use std::path::Path;

/// Columns behind the final pool.
const DIM: i64 = 2048;
/// Side of the pictures that a file is tried with.
const TRIAL: i64 = 32;

/// A TorchScript module `forward(img, return_features, ..)`: [n, 3, H, W] of numbers in 0..=255 to [n, 2048].
///
/// A TorchScript file is a program, which libtorch runs: open none that you would not run.
#[derive(Debug)]
pub struct TorchScriptInception {
    module: CModule,
    device: Device,
}

impl TorchScriptInception {
    /// Opens the file and asks it about one picture.
    ///
    /// # Errors
    /// [`MetricsError::File`] if it is no TorchScript, has another signature, or answers with something else.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        let refuse = |reason: String| MetricsError::File {
            path: path.display().to_string(),
            reason,
        };
        // libtorch opens it by its name; that it is a regular file is looked at first.
        dualmd_files::open(path)?;
        let module = CModule::load_on_device(path, device)
            .map_err(|e| refuse(format!("is no TorchScript file: {}", first_line(&e))))?;
        let mut network = Self { module, device };
        network.module.f_set_eval()?;
        let trial = Tensor::full([2, 3, TRIAL, TRIAL], 100, (Kind::Float, device));
        let answer = no_grad(|| network.forward(&trial)).map_err(|e| match e {
            MetricsError::Tch(e) => refuse(format!(
                "does not answer forward(img, return_features=True) as the FID network of StyleGAN's code does: {}",
                first_line(&e)
            )),
            other => other,
        })?;
        if answer.size() != [2, DIM] {
            return Err(refuse(format!(
                "answers with {:?} for two pictures, and not with [2, {DIM}]: it is another network",
                answer.size()
            )));
        }
        let finite = answer.f_isfinite()?.f_all()?;
        if !bool::try_from(finite)? {
            return Err(refuse(
                "answers with values that are no finite numbers: its weights are damaged; get the file again".into(),
            ));
        }
        Ok(network)
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        // The pictures are bytes there.
        let bytes = images.f_to_kind(Kind::Uint8)?;
        let asked = [IValue::Tensor(bytes), IValue::Bool(true)];
        match self.module.forward_is(&asked)? {
            IValue::Tensor(features) => Ok(features.f_to_kind(Kind::Float)?),
            other => Err(MetricsError::Tch(TchError::Torch(format!(
                "forward gives {other:?} and no tensor"
            )))),
        }
    }
}

/// libtorch's messages go on with a stack of its own.
fn first_line(error: &TchError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

impl Extractor for TorchScriptInception {
    /// Not `inception-2048`: pictures are resized otherwise there, which moves FID by several per cent.
    fn name(&self) -> String {
        format!("inception-torchscript-{DIM}")
    }

    fn dim(&self) -> usize {
        DIM as usize
    }

    fn extract(&self, images: &Tensor) -> Result<Extracted> {
        let tables = in_batches(images, self.device, |x| Ok(vec![self.forward(x)?]))?;
        let values = tables.into_iter().next().unwrap_or_default();
        Ok(Extracted {
            features: Features::new(self.name(), self.dim(), values)?,
            logits: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::weights::read_safetensors;
    use std::path::PathBuf;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden/torchscript")
            .join(name)
    }

    /// A module of the same signature that looks at bytes, and at nothing but the features.
    #[test]
    fn a_torchscript_network_answers_as_in_python() {
        let network = TorchScriptInception::load(&golden("inception.pt"), Device::Cpu).unwrap();
        let tensors = read_safetensors(&golden("golden.safetensors")).unwrap();
        let images = tensors["images"].to_kind(Kind::Uint8);
        let found = network.extract(&images).unwrap();
        assert_eq!((found.features.dim(), found.logits), (2048, None));
        let flat: Vec<f32> = found.features.rows().flatten().copied().collect();
        let off = Tensor::from_slice(&flat).view([-1, DIM]) - &tensors["features"];
        let off = off.abs().max().double_value(&[]);
        assert!(off < 1e-4, "{off}");
    }

    #[test]
    fn other_files_are_refused() {
        let error = |name: &str| {
            let loaded = TorchScriptInception::load(&golden(name), Device::Cpu);
            loaded.unwrap_err().to_string()
        };
        let text = error("golden.safetensors");
        assert!(text.contains("is no TorchScript file"), "{text}");
        let text = error("other.pt");
        assert!(
            text.contains("other.pt") && text.contains("[2, 3]"),
            "{text}"
        );
    }
}

//! The network itself.

use std::cell::RefCell;
use std::path::Path;

use dualmd_torch::tch::{self, Kind, Tensor};
use dualmd_torch::{Device, no_grad};
use ort::session::Session;
use ort::value::Tensor as OrtTensor;

use super::{SscdForm, WIDTH};
use crate::error::{MetricsError, Result, file_error};
use crate::extract::{BATCH, Extracted, Extractor, eight_bit, resize};
use crate::features::Features;

const REMEDY: &str = "`cargo xtask features`, in a source checkout, fetches SSCD and ONNX Runtime into the cache folder";

/// Names in the ONNX files.
const INPUT: &str = "image";
const OUTPUT: &str = "embedding";

/// SSCD (Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection", 2022): 512 numbers of unit length, whose
/// cosine is high for copies of an image, also cropped, recoloured or noisy ones.
///
/// Input: 8-bit colour, resized to the network's side (see the module [`crate::extract`]; the published network was used with
/// an antialiased resize, which differs where pictures are larger than that) and rounded to 8 bits; the mean and deviation of
/// ImageNet are in the graph. It runs on the CPU.
///
/// **A cosine means nothing by itself.** The 0.5 of the literature is for photographs of some size; small drawings on white
/// have it to their neighbours ([`mod@crate::copies`] measures what unseen images have and takes that as yardstick).
#[derive(Debug)]
pub struct Sscd {
    session: RefCell<Session>,
    form: SscdForm,
    origin: String,
}

impl Sscd {
    /// Whether this program was built with what it runs in.
    pub const BUILT_IN: bool = true;

    /// Opens the network in the ONNX file `model` with the ONNX Runtime library `runtime` (1.17 or newer). The library is
    /// loaded once in a process: a second call keeps the first one's.
    ///
    /// # Errors
    /// [`MetricsError::File`] for either file that is missing or is something else.
    pub fn load(form: SscdForm, model: &Path, runtime: &Path) -> Result<Self> {
        for path in [runtime, model] {
            if !path.is_file() {
                return Err(file_error(path, format!("there is no such file; {REMEDY}")));
            }
        }
        let library = ort::init_from(runtime).map_err(|e| {
            let reason = format!("ONNX Runtime cannot be loaded from it: {e}; {REMEDY}");
            file_error(runtime, reason)
        })?;
        // False where an earlier call did it.
        library.with_telemetry(false).commit();
        let session = open(model)
            .map_err(|e| file_error(model, format!("ONNX Runtime refuses it: {e}; {REMEDY}")))?;
        let names = (
            session.inputs().iter().any(|i| i.name() == INPUT),
            session.outputs().iter().any(|o| o.name() == OUTPUT),
        );
        if names != (true, true) {
            let reason = format!("it has no input \"{INPUT}\" or no output \"{OUTPUT}\"; {REMEDY}");
            return Err(file_error(model, reason));
        }
        Ok(Self {
            session: RefCell::new(session),
            form,
            origin: model.display().to_string(),
        })
    }

    /// Embeddings of [n, 3, H, W] in 0..=255 f32, row by row.
    fn embed(&self, images: &Tensor) -> Result<Vec<f32>> {
        let side = self.form.side();
        let resized = resize(images, side)?.f_round()?.f_clamp(0.0, 255.0)?;
        let bytes = resized
            .f_permute([0, 2, 3, 1])?
            .f_to_kind(Kind::Uint8)?
            .f_contiguous()?;
        let n = bytes.size()[0];
        let bytes = Vec::<u8>::try_from(bytes.f_flatten(0, -1)?)?;
        let refuse = |reason: String| MetricsError::File {
            path: self.origin.clone(),
            reason: format!("{reason}; {REMEDY}"),
        };
        let input = OrtTensor::from_array(([n, side, side, 3], bytes))
            .map_err(|e| refuse(e.to_string()))?;
        let mut session = self.session.borrow_mut();
        let outputs = session
            .run(ort::inputs![INPUT => input])
            .map_err(|e| refuse(format!("ONNX Runtime: {e}")))?;
        let (shape, values) = outputs[OUTPUT]
            .try_extract_tensor::<f32>()
            .map_err(|e| refuse(e.to_string()))?;
        if shape[..] != [n, WIDTH as i64] {
            return Err(refuse(format!(
                "it answers with shape {shape:?} and not [{n}, {WIDTH}]"
            )));
        }
        Ok(values.to_vec())
    }
}

/// Threads as libtorch has them; ONNX Runtime's would spin while they wait for work, and so they must not.
fn open(model: &Path) -> std::result::Result<Session, String> {
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
    let text = |e: &dyn std::fmt::Display| e.to_string();
    Session::builder()
        .map_err(|e| text(&e))?
        .with_intra_threads(threads)
        .map_err(|e| text(&e))?
        .with_intra_op_spinning(false)
        .map_err(|e| text(&e))?
        .commit_from_file(model)
        .map_err(|e| text(&e))
}

impl Extractor for Sscd {
    fn name(&self) -> String {
        self.form.features().to_owned()
    }

    fn dim(&self) -> usize {
        WIDTH
    }

    fn extract(&self, images: &Tensor) -> Result<Extracted> {
        let values = no_grad(|| -> Result<Vec<f32>> {
            let images = eight_bit(images)?;
            let mut values = Vec::new();
            for batch in images.f_split(BATCH, 0)? {
                let batch = batch.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
                values.extend(self.embed(&batch)?);
            }
            Ok(values)
        })?;
        Ok(Extracted {
            features: Features::new(self.name(), WIDTH, values)?,
            logits: None,
        })
    }
}

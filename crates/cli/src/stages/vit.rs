//! A vision transformer of the user's as what images are compared by: its class token as one vector, all of its tokens place by
//! place (Pang and Wang compare images by DeiT's).

use anyhow::{Context, Result};
use dualmd_caption::Vit;
use dualmd_data::Picture;
use dualmd_metrics::{Extracted, Extractor, Features, MetricsError, Places, eight_bit};
use dualmd_torch::{Device, Tensor};
use std::path::Path;

/// Images at a time: a transformer of base size holds some 600 MB of 32 at 384 pixels.
const BATCH: i64 = 32;

/// The network with a name that tells it from others.
pub struct VitFeatures {
    network: Vit,
    /// `deit-1a2b3c4d`: its kind, and the beginning of the BLAKE3 hash of its weights.
    name: String,
}

impl VitFeatures {
    /// Opens a folder of transformers' `ViTModel` or `DeiTModel`.
    ///
    /// # Errors
    /// What [`Vit::load`] refuses.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        let network = Vit::load(folder, device)?;
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .with_context(|| format!("cannot list {}", folder.display()))?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
            .collect();
        files.sort();
        let mut hash = blake3::Hasher::new();
        for file in files {
            std::fs::File::open(&file)
                .and_then(|weights| hash.update_reader(weights).map(|_| ()))
                .with_context(|| format!("cannot read {}", file.display()))?;
        }
        let name = format!("{}-{}", network.kind(), &hash.finalize().to_hex()[..8]);
        Ok(Self { network, name })
    }

    /// `of` the last hidden states [n, places, width] of batches of images, joined, as numbers.
    fn states(
        &self,
        images: &Tensor,
        of: impl Fn(Tensor) -> Tensor,
    ) -> dualmd_metrics::Result<Vec<f32>> {
        let bytes = eight_bit(images)?.f_to_device(Device::Cpu)?;
        let shape = bytes.size();
        let mut out = Vec::new();
        for first in (0..shape[0]).step_by(BATCH as usize) {
            let here = BATCH.min(shape[0] - first);
            let pictures = (first..first + here)
                .map(|i| {
                    let last = bytes.f_get(i)?.f_permute([1, 2, 0])?.f_contiguous()?;
                    Ok(Picture {
                        width: shape[3] as u32,
                        height: shape[2] as u32,
                        channels: 3,
                        pixels: Vec::try_from(last.f_flatten(0, -1)?)?,
                    })
                })
                .collect::<dualmd_metrics::Result<Vec<_>>>()?;
            let pictures: Vec<&Picture> = pictures.iter().collect();
            let states = self
                .network
                .encode(&pictures)
                .map_err(|e| MetricsError::Images {
                    reason: e.to_string(),
                })?;
            let states = of(states).f_to_device(Device::Cpu)?.f_contiguous()?;
            out.extend(Vec::<f32>::try_from(states.f_flatten(0, -1)?)?);
        }
        Ok(out)
    }
}

impl Extractor for VitFeatures {
    fn name(&self) -> String {
        format!("{}-{}", self.name, self.dim())
    }

    fn dim(&self) -> usize {
        self.network.width() as usize
    }

    fn extract(&self, images: &Tensor) -> dualmd_metrics::Result<Extracted> {
        let class = self.states(images, |states| states.select(1, 0))?;
        Ok(Extracted {
            features: Features::new(Extractor::name(self), self.dim(), class)?,
            logits: None,
        })
    }

    fn places(&self) -> Option<&dyn Places> {
        Some(self)
    }
}

impl Places for VitFeatures {
    fn name(&self) -> String {
        let (places, width) = (self.network.places(), self.network.width());
        format!("{}-{places}x{width}", self.name)
    }

    fn features(&self, images: &Tensor) -> dualmd_metrics::Result<Tensor> {
        let (places, width) = (self.network.places(), self.network.width());
        let all = self.states(images, |states| states)?;
        Ok(Tensor::from_slice(&all).f_view([images.size()[0], places, width])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::{Kind, noise};

    #[test]
    fn the_class_token_is_one_of_the_places() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/vit/deit");
        let vit = VitFeatures::load(&folder, Device::Cpu).unwrap();
        let mut rng = dualmd_data::stream(1, "images", 0);
        let noise = noise::normal(&mut rng, &[35, 1, 8, 8], Device::Cpu);
        let images = (noise * 0.2 + 0.5).clamp(0.0, 1.0);
        let (vectors, places) = (
            vit.extract(&images).unwrap(),
            vit.features(&images).unwrap(),
        );
        assert_eq!(places.size(), [35, 18, 16]);
        let flat: Vec<f32> = vectors.features.rows().flatten().copied().collect();
        let class = places.select(1, 0);
        let off = (Tensor::from_slice(&flat).view([35, 16]) - class)
            .abs()
            .max();
        assert_eq!(off.to_kind(Kind::Double).double_value(&[]), 0.0);
        // An image's features do not depend on the batch that it is in.
        let alone = vit.features(&images.narrow(0, 34, 1)).unwrap();
        let off = (alone - places.narrow(0, 34, 1))
            .abs()
            .max()
            .double_value(&[]);
        assert!(off < 1e-5, "{off}");
        assert!(
            Extractor::name(&vit).starts_with("deit-") && Places::name(&vit).ends_with("-18x16")
        );
    }
}

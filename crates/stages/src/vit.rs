//! A vision transformer of the user's as what images are compared by: its class token as one vector, all of its tokens place by
//! place (Pang and Wang compare images by DeiT's).

use anyhow::{Context, Result};
use dualmd_data::Picture;
use dualmd_encoders::Vit;
use dualmd_metrics::{Extracted, Extractor, Features, MetricsError, Places, in_batches};
use dualmd_torch::{Device, Kind, Tensor};
use std::path::Path;

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
        let mut files = dualmd_files::list(folder)?;
        files.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
        let mut hash = blake3::Hasher::new();
        for file in files {
            hash.update_reader(dualmd_files::open(&file)?)
                .with_context(|| format!("cannot read {}", dualmd_files::shown(&file)))?;
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
        // On the CPU, where pictures are prepared; the network has a device of its own.
        let tables = in_batches(images, Device::Cpu, |x| {
            let pictures = pictures(x)?;
            let pictures: Vec<&Picture> = pictures.iter().collect();
            let states = self.network.encode(&pictures);
            let states = states.map_err(|e| MetricsError::Images {
                reason: e.to_string(),
            })?;
            Ok(vec![of(states)])
        })?;
        Ok(tables.into_iter().next().unwrap_or_default())
    }
}

/// Of bytes [n, 3, H, W], whatever their type.
fn pictures(bytes: &Tensor) -> dualmd_metrics::Result<Vec<Picture>> {
    let shape = bytes.size();
    let last = bytes.f_to_kind(Kind::Uint8)?.f_permute([0, 2, 3, 1])?;
    (0..shape[0])
        .map(|i| {
            Ok(Picture {
                width: shape[3] as u32,
                height: shape[2] as u32,
                channels: 3,
                pixels: Vec::try_from(last.f_get(i)?.f_contiguous()?.f_flatten(0, -1)?)?,
            })
        })
        .collect()
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
    use dualmd_torch::noise;

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

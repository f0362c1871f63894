//! What LoRA layers add, by its singular values: how far they reach in each direction, whatever the network they are added to.

use super::file;
use crate::latent::files::file_error;
use crate::{DiffusionError, Result};
use dualmd_torch::{Kind, Tensor, no_grad};
use std::collections::BTreeMap;
use std::path::Path;

/// The singular values of (alpha / rank) B A, largest first, of every layer of a LoRA file, or of a folder's
/// `pytorch_lora_weights.safetensors` or `adapter_model.safetensors`: as many as its rank, or as the layer has inputs or outputs where that
/// is less. Layers are named with underscores for dots, as in kohya's files, so that all forms of one LoRA agree, but for kohya's of SDXL, which has other names of blocks: compare files of one form. No network is
/// needed.
///
/// # Errors
/// Naming file and key: what is not there, not whole, of a layer that is not linear, DoRA, or not LoRA at all.
pub fn singular_values(path: &Path) -> Result<BTreeMap<String, Vec<f64>>> {
    let path = file::path_of(path);
    let layers = file::read_alone(&path)?;
    let of = |(name, given): (String, super::Given)| -> Result<(String, Vec<f64>)> {
        let scale = given.alpha / given.a.size().first().copied().unwrap_or(1).max(1) as f64;
        let values = no_grad(|| spectrum(&given.a, &given.b))?;
        let scaled = values.into_iter().map(|value| value * scale.abs());
        Ok((name, scaled.collect()))
    };
    let found: Result<BTreeMap<_, _>> = layers.into_iter().map(of).collect();
    found.map_err(|e: DiffusionError| file_error(&path, e))
}

/// The singular values of B A, `b` [out, r] and `a` [r, in], largest first. With B = Q R and A^T = P S they are those of R S^T, which is
/// as small as the rank.
fn spectrum(a: &Tensor, b: &Tensor) -> Result<Vec<f64>> {
    let triangle = |x: &Tensor| -> Result<Tensor> {
        let (_, r) = Tensor::f_linalg_qr(&x.f_to_kind(Kind::Double)?, "reduced")?;
        Ok(r)
    };
    let (r, s) = (triangle(b)?, triangle(&a.f_tr()?)?);
    let (_, values, _) = r.f_matmul(&s.f_tr()?)?.f_svd(true, false)?;
    Ok(Vec::try_from(&values)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::stream;
    use dualmd_torch::weights::write_safetensors;
    use dualmd_torch::{Device, noise};

    #[test]
    fn two_directions_by_hand() {
        // B A = 6 u v^T + 2 w z^T with orthonormal u, w and v, z.
        let a = Tensor::from_slice(&[3.0_f32, 0.0, 0.0, 0.0, 0.0, 1.0]).view([2, 3]);
        let b = Tensor::from_slice(&[0.0_f32, 0.0, 2.0, 0.0, 0.0, -2.0, 0.0, 0.0]).view([4, 2]);
        let values = spectrum(&a, &b).unwrap();
        assert_eq!(values.len(), 2);
        assert!((values[0] - 6.0).abs() < 1e-12 && (values[1] - 2.0).abs() < 1e-12);
    }

    /// The small matrix has the values of the large one, also where the rank is larger than the layer.
    #[test]
    fn they_are_those_of_the_product() {
        for [out, rank, input] in [[9, 3, 7], [4, 6, 8], [8, 6, 4]] {
            let mut rng = stream(out as u64, "lora", 0);
            let a = noise::normal(&mut rng, &[rank, input], Device::Cpu);
            let b = noise::normal(&mut rng, &[out, rank], Device::Cpu);
            let product = b.to_kind(Kind::Double).matmul(&a.to_kind(Kind::Double));
            let (_, whole, _) = product.svd(true, false);
            let whole = Vec::<f64>::try_from(&whole).unwrap();
            let few = spectrum(&a, &b).unwrap();
            assert_eq!(few.len() as i64, rank.min(out).min(input));
            for (few, whole) in few.iter().zip(&whole) {
                assert!((few - whole).abs() < 1e-9, "{few} and {whole}");
            }
            assert!(whole[few.len()..].iter().all(|rest| rest.abs() < 1e-9));
        }
    }

    #[test]
    fn alpha_scales_them_and_names_agree() {
        let dir = tempfile::tempdir().unwrap();
        let a = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0]).view([2, 2]);
        let b = Tensor::from_slice(&[5.0_f32, 0.0, 0.0, 3.0]).view([2, 2]);
        let alpha = Tensor::from(1.0_f32);
        let write = |name: &str, keys: [&str; 3]| {
            let path = dir.path().join(name);
            let tensors = keys.into_iter().zip([&a, &b, &alpha]);
            write_safetensors(&path, tensors, &[]).unwrap();
            singular_values(&path).unwrap()
        };
        let dots = write(
            "dots.safetensors",
            [
                "unet.mid.to_q.lora_A.weight",
                "unet.mid.to_q.lora_B.weight",
                "unet.mid.to_q.alpha",
            ],
        );
        let flat = write(
            "flat.safetensors",
            [
                "lora_unet_mid_to_q.lora_down.weight",
                "lora_unet_mid_to_q.lora_up.weight",
                "lora_unet_mid_to_q.alpha",
            ],
        );
        assert_eq!(dots, flat);
        assert_eq!(dots.keys().collect::<Vec<_>>(), ["unet_mid_to_q"]);
        let values = &dots["unet_mid_to_q"];
        assert!((values[0] - 2.5).abs() < 1e-12 && (values[1] - 1.5).abs() < 1e-12);
    }
}

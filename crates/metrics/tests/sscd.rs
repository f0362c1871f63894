//! SSCD in ONNX Runtime, against Python's. `DUALMD_TEST_SSCD` names the folder that `cargo xtask features` fills;
//! `cargo xtask test` sets it.

#![cfg(feature = "onnx")]

use std::path::{Path, PathBuf};

use dualmd_metrics::copies::{Likeness, most_similar};
use dualmd_metrics::{Extractor, Features, Sscd, SscdForm};
use dualmd_torch::{Device, Kind, Tensor};

fn folder() -> PathBuf {
    std::env::var_os("DUALMD_TEST_SSCD")
        .map(PathBuf::from)
        .expect("DUALMD_TEST_SSCD names a folder; `cargo xtask features`, then `cargo xtask test`")
}

/// [1, 3, side, side] uint8 with x (k+2)/3 + y (3-k)/2 + 60 c + x y / (40+30k), in whole numbers, modulo 256.
fn pattern(k: i64, side: i64) -> Tensor {
    let mut bytes = Vec::new();
    for c in 0..3 {
        for y in 0..side {
            for x in 0..side {
                let sum = x * (k + 2) / 3 + y * (3 - k) / 2 + c * 60 + x * y / (40 + 30 * k);
                bytes.push((sum % 256) as u8);
            }
        }
    }
    Tensor::from_slice(&bytes).view([1, 3, side, side])
}

fn embedded(network: &Sscd, images: &[Tensor]) -> Features {
    network.extract(&Tensor::cat(images, 0)).unwrap().features
}

fn refuse(model: &Path, runtime: &Path) -> String {
    let error = Sscd::load(SscdForm::Full, model, runtime).unwrap_err();
    error.to_string()
}

#[test]
fn what_is_missing_or_something_else_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("text");
    std::fs::write(&file, "no library").unwrap();
    for (model, runtime, named) in [
        (file.as_path(), Path::new("none.so"), "none.so"),
        (Path::new("none.onnx"), file.as_path(), "none.onnx"),
        (file.as_path(), file.as_path(), "text"),
    ] {
        let text = refuse(model, runtime);
        assert!(
            text.contains(named) && text.contains("cargo xtask features"),
            "{text}"
        );
    }
}

fn open(folder: &Path, form: SscdForm) -> Sscd {
    let runtime = folder.join("libonnxruntime.so");
    Sscd::load(form, &folder.join(form.file()), &runtime).unwrap()
}

mod needs_sscd {
    use super::*;

    /// The first four numbers of each embedding as onnxruntime 1.32.0 gives them in Python, at sizes that need no resizing.
    #[test]
    #[ignore = "needs SSCD and ONNX Runtime: `cargo xtask features`, then `cargo xtask test`"]
    fn embeddings_are_those_of_python() {
        let folder = folder();
        let full = [
            [0.043338, -0.031111, -0.008556, 0.056331],
            [0.069433, -0.052901, 0.006717, 0.010418],
            [0.072937, -0.053686, 0.036779, 0.022073],
        ];
        let distilled = [
            [0.022399, 0.024998, -0.003044, 0.067029],
            [0.003516, -0.00314, 0.001618, 0.077401],
            [0.008607, -0.020358, 0.025964, 0.070063],
        ];
        for (form, side, expected, tolerance) in [
            // Integers: another processor may round a step elsewhere.
            (SscdForm::Full, 288, full, 5e-3),
            (SscdForm::Distilled, 224, distilled, 1e-4),
        ] {
            let network = open(&folder, form);
            let images: Vec<Tensor> = (0..3).map(|k| pattern(k, side)).collect();
            let features = embedded(&network, &images);
            assert_eq!(
                (features.extractor(), features.dim()),
                (form.features(), 512)
            );
            for (row, expected) in features.rows().zip(expected) {
                let squares: f32 = row.iter().map(|x| x * x).sum();
                assert!((squares - 1.0).abs() < 1e-4, "{squares}");
                for (found, expected) in row.iter().zip(expected) {
                    assert!(
                        (found - expected).abs() < tolerance,
                        "{form:?}: {found} is not {expected}"
                    );
                }
            }
        }
    }

    /// Small pictures are enlarged, and a noisy copy stays nearest to what it is a copy of.
    #[test]
    #[ignore = "needs SSCD and ONNX Runtime: `cargo xtask features`, then `cargo xtask test`"]
    fn a_noisy_copy_is_nearest_to_its_original() {
        let folder = folder();
        let network = open(&folder, SscdForm::Distilled);
        let images: Vec<Tensor> = (0..3).map(|k| pattern(k, 40)).collect();
        let noise =
            Tensor::from_slice(&(0..4800).map(|i| (i * 7919 % 9) as f32).collect::<Vec<_>>());
        let noise = noise.view([1, 3, 40, 40]) - 4.0;
        let noisy = |image: &Tensor| {
            (image.to_kind(Kind::Float) + &noise)
                .clamp(0.0, 255.0)
                .to_kind(Kind::Uint8)
        };
        let copies = embedded(&network, &[noisy(&images[2]), noisy(&images[0])]);
        let found = most_similar(&copies, &embedded(&network, &images), Likeness::Cosine).unwrap();
        assert_eq!([found[0].row, found[1].row], [2, 0]);
        assert!(found.iter().all(|m| m.likeness > 0.5), "{found:?}");
    }

    #[test]
    #[ignore = "needs SSCD and ONNX Runtime: `cargo xtask features`, then `cargo xtask test`"]
    fn pictures_of_any_type_are_taken() {
        let folder = folder();
        let network = open(&folder, SscdForm::Distilled);
        let grey = pattern(1, 32).narrow(1, 0, 1);
        let floats = grey.to_kind(Kind::Float) / 255.0;
        let both = Tensor::cat(&[grey.to_kind(Kind::Float) / 255.0, floats.flip([3i64])], 0);
        let from_floats = network.extract(&both).unwrap().features;
        let bytes = Tensor::cat(&[grey.shallow_clone(), grey.flip([3i64])], 0);
        assert_eq!(from_floats, network.extract(&bytes).unwrap().features);
        let wrong = Tensor::zeros([2, 2, 4, 4], (Kind::Float, Device::Cpu));
        assert!(network.extract(&wrong).is_err());
    }

    #[test]
    #[ignore = "needs SSCD and ONNX Runtime: `cargo xtask features`, then `cargo xtask test`"]
    fn what_the_runtime_refuses_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("text");
        std::fs::write(&file, "no network").unwrap();
        let text = refuse(&file, &folder().join("libonnxruntime.so"));
        assert!(text.contains("refuses it"), "{text}");
    }
}

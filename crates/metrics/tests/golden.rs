//! Every metric and both networks against numbers computed in Python (interop/make_metrics_golden.py).

use std::collections::BTreeMap;
use std::path::PathBuf;

use dualmd_metrics::{
    EfficientNetLite0, Extractor, Features, Gaussian, InceptionFid, Layer, Order, density_coverage,
    frechet_distance, frechet_of_features, inception_score, kid, precision_recall,
};
use dualmd_torch::weights::read_npy;
use dualmd_torch::{Device, Kind, Tensor};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/metrics"
    ))
    .join(name)
}

fn numbers(value: &Value) -> Vec<f64> {
    let of = |v: &Value| v.as_f64().unwrap();
    value.as_array().unwrap().iter().map(of).collect()
}

fn table(file: &Value, key: &str, dim: usize) -> Features {
    Features::from_f64("golden", dim, &numbers(&file[key])).unwrap()
}

#[track_caller]
fn close(found: f64, expected: &Value, relative: f64) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (found - expected).abs() <= relative * expected.abs(),
        "{found} is not {expected}"
    );
}

#[test]
fn metrics_agree_with_python() {
    for name in ["tall", "wide"] {
        let file: Value =
            serde_json::from_slice(&std::fs::read(golden(&format!("{name}.json"))).unwrap())
                .unwrap();
        let dim = file["dim"].as_u64().unwrap() as usize;
        let (a, b) = (table(&file, "a", dim), table(&file, "b", dim));
        let [g, h] = [&a, &b].map(Gaussian::of);
        for found in [
            frechet_of_features(&a, &b).unwrap(),
            frechet_distance(&g, &h).unwrap(),
            frechet_distance(&h, &g).unwrap(),
        ] {
            close(found.value, &file["frechet"]["value"], 1e-6);
            close(found.mean_term, &file["frechet"]["mean_term"], 1e-9);
            assert_eq!(found.rank_deficient, name == "wide");
        }
        let found = kid(&a, &b, 1, 0).unwrap();
        close(found.full, &file["kid"]["full"], 1e-9);
        close(found.full_se, &file["kid"]["full_se"], 1e-9);
        // The subsets of Python, one at a time.
        let draws = file["kid"]["draws"].as_array().unwrap();
        let rows = |v: &Value| numbers(v).iter().map(|&i| i as usize).collect::<Vec<_>>();
        let values: Vec<f64> = draws
            .iter()
            .map(|draw| {
                let [x, y] =
                    [(&a, 0), (&b, 1)].map(|(f, side)| f.select(&rows(&draw[side])).unwrap());
                kid(&x, &y, 1, 0).unwrap().full
            })
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        close(mean, &file["kid"]["mean"], 1e-9);
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let sd = (squares / values.len() as f64).sqrt();
        close(sd, &file["kid"]["sd"], 1e-9);

        let logits = table(&file, "logits", 10);
        for splits in [1, 7] {
            let expected = &file["inception_score"][splits.to_string()];
            let found = inception_score(&logits, splits, Order::Given).unwrap();
            for (found, expected) in found
                .splits
                .iter()
                .zip(expected["splits"].as_array().unwrap())
            {
                close(*found, expected, 1e-9);
            }
            close(found.mean, &expected["mean"], 1e-9);
            assert!((found.sd - expected["sd"].as_f64().unwrap()).abs() < 1e-9);
        }

        let expected = &file["neighbours"];
        let pr = precision_recall(&a, &b, 3).unwrap();
        let dc = density_coverage(&a, &b, 5).unwrap();
        close(pr.precision, &expected["precision"], 1e-12);
        close(pr.recall, &expected["recall"], 1e-12);
        close(dc.density, &expected["density"], 1e-12);
        close(dc.coverage, &expected["coverage"], 1e-12);
    }
}

#[test]
fn statistics_that_numpy_saved_are_read() {
    let file: Value = serde_json::from_slice(&std::fs::read(golden("tall.json")).unwrap()).unwrap();
    let ours = Gaussian::of(&table(&file, "a", 16));
    let theirs = Gaussian::read_npz(&golden("stats.npz")).unwrap();
    assert_eq!((theirs.n(), theirs.dim()), (None, 16));
    let off = |a: &[f64], b: &[f64]| {
        a.iter()
            .zip(b)
            .map(|(x, y)| (x - y).abs())
            .fold(0.0, f64::max)
    };
    assert!(off(ours.mean(), theirs.mean()) < 1e-12);
    assert!(off(&ours.covariance(), &theirs.covariance()) < 1e-12);
    assert!(frechet_distance(&ours, &theirs).unwrap().value < 1e-9);
}

/// `mixed` of the script.
fn mixed(n: usize, seed: u32) -> impl Iterator<Item = u32> {
    (0..n as u32).map(move |i| {
        let mut v = i.wrapping_add(seed);
        v = (v ^ (v >> 16)).wrapping_mul(0x7feb_352d);
        v = (v ^ (v >> 15)).wrapping_mul(0x846c_a68b);
        v ^ (v >> 16)
    })
}

/// `made` of the script.
fn made(name: &str, shape: &[i64]) -> Tensor {
    let seed = name.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let (offset, scale) = if name.ends_with("running_var") {
        (1.0, 0.5)
    } else if shape.len() > 1 {
        (
            0.0,
            (6.0 / shape[1..].iter().product::<i64>() as f64).sqrt(),
        )
    } else if name.ends_with("bn.weight") || (name.contains("_bn") && name.ends_with("weight")) {
        (1.0, 0.2)
    } else {
        (0.0, 0.2)
    };
    let n = shape.iter().product::<i64>() as usize;
    let even = |v: u32| f64::from(v) / f64::from(1u32 << 31) - 1.0;
    let values: Vec<f32> = mixed(n, seed)
        .map(|v| (offset + scale * even(v)) as f32)
        .collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// `images` of the script.
fn images() -> Tensor {
    let (height, width) = (36usize, 28);
    let values: Vec<u8> = mixed(2 * 3 * height * width, 77)
        .enumerate()
        .map(|(place, noise)| {
            let (x, y) = (place % width, place / width % height);
            let value = if place < 3 * height * width {
                (noise >> 25) as usize + x * 4
            } else {
                (noise >> 27) as usize + y * 6
            };
            value as u8
        })
        .collect();
    Tensor::from_slice(&values).reshape([2, 3, height as i64, width as i64])
}

fn joined(tables: &[&Features]) -> Tensor {
    let tensor = |f: &&Features| {
        let values: Vec<f32> = f.rows().flatten().copied().collect();
        Tensor::from_slice(&values).reshape([f.count() as i64, f.dim() as i64])
    };
    Tensor::cat(&tables.iter().map(tensor).collect::<Vec<_>>(), 1)
}

#[track_caller]
fn agrees(found: &Tensor, file: &str) {
    let expected = read_npy(&golden(file)).unwrap();
    assert_eq!(found.size(), expected.size());
    let off = (found - &expected).abs() / expected.abs().clamp_min(1.0);
    let worst = off.max().double_value(&[]);
    println!("{file}: largest difference {worst}");
    assert!(worst < 1e-4, "{file}: largest difference {worst}");
}

/// Names and shapes as the safetensors file of the real weights has them.
fn efflite0_weights() -> BTreeMap<String, Tensor> {
    let mut weights = BTreeMap::new();
    let mut put = |name: String, shape: &[i64]| {
        let tensor = made(&name, shape);
        weights.insert(name, tensor);
    };
    let mut conv = |conv: String, norm: String, shape: [i64; 4]| {
        put(format!("{conv}.weight"), &shape);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            put(format!("{norm}.{part}"), &shape[..1]);
        }
    };
    conv("_conv_stem".into(), "_bn0".into(), [32, 3, 3, 3]);
    let (mut block, mut inputs) = (0, 32);
    for (repeats, kernel, expansion, outputs) in [
        (1, 3, 1, 16),
        (2, 3, 6, 24),
        (2, 5, 6, 40),
        (3, 3, 6, 80),
        (3, 5, 6, 112),
        (4, 5, 6, 192),
        (1, 3, 6, 320),
    ] {
        for _ in 0..repeats {
            let name = |part: &str| format!("_blocks.{block}.{part}");
            let inner = inputs * expansion;
            if expansion > 1 {
                conv(name("_expand_conv"), name("_bn0"), [inner, inputs, 1, 1]);
            }
            conv(
                name("_depthwise_conv"),
                name("_bn1"),
                [inner, 1, kernel, kernel],
            );
            conv(name("_project_conv"), name("_bn2"), [outputs, inner, 1, 1]);
            (block, inputs) = (block + 1, outputs);
        }
    }
    conv("_conv_head".into(), "_bn1".into(), [1280, 320, 1, 1]);
    put("_fc.weight".into(), &[1000, 1280]);
    put("_fc.bias".into(), &[1000]);
    weights
}

#[test]
fn efficientnet_agrees_with_python() {
    let weights = efflite0_weights();
    let bias = weights["_fc.bias"].shallow_clone();
    let network = EfficientNetLite0::from_tensors("made", weights, Device::Cpu).unwrap();
    let found = network.extract(&images()).unwrap();
    let logits = found.logits.unwrap();
    agrees(&joined(&[&found.features, &logits.biased]), "efflite0.npy");
    let difference = joined(&[&logits.biased]) - joined(&[&logits.unbiased]) - bias;
    assert!(difference.abs().max().double_value(&[]) < 1e-5);
    assert_eq!(found.features.extractor(), "efflite0-1280");
    // The features are the mean of those of the 49 places.
    let map = network.places().unwrap();
    let places = map.features(&images()).unwrap();
    let n = found.features.count() as i64;
    assert_eq!(map.name(), "efflite0-7x7x1280");
    assert_eq!(places.size(), [n, 49, 1280]);
    let mean = places.mean_dim([1i64].as_slice(), false, Kind::Float);
    let difference = (mean - joined(&[&found.features])).abs().max();
    assert!(difference.double_value(&[]) < 1e-5);
    assert_eq!(logits.unbiased.extractor(), "efflite0-logits-unbiased");
}

#[test]
fn efficientnet_names_what_is_missing() {
    let mut weights = efflite0_weights();
    weights.remove("_blocks.3._bn1.running_var");
    let error = EfficientNetLite0::from_tensors("my.safetensors", weights, Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("my.safetensors") && error.contains("_blocks.3._bn1.running_var"),
        "{error}"
    );
    let mut weights = efflite0_weights();
    weights.insert(
        "_fc.bias".into(),
        Tensor::zeros([999], (Kind::Float, Device::Cpu)),
    );
    let error = EfficientNetLite0::from_tensors("x", weights, Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("[999]"), "{error}");
    let mut weights = efflite0_weights();
    let _ = weights["_bn0.running_mean"].shallow_clone().fill_(f64::NAN);
    let error = EfficientNetLite0::from_tensors("x", std::mem::take(&mut weights), Device::Cpu);
    assert!(error.unwrap_err().to_string().contains("not finite"));
}

/// Names and shapes as in pt_inception-2015-12-05-6726825d.pth.
fn inception_weights() -> BTreeMap<String, Tensor> {
    let mut weights = BTreeMap::new();
    let mut put = |name: String, shape: &[i64]| {
        let tensor = made(&name, shape);
        weights.insert(name, tensor);
    };
    let mut conv = |name: &str, shape: [i64; 4]| {
        put(format!("{name}.conv.weight"), &shape);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            put(format!("{name}.bn.{part}"), &shape[..1]);
        }
    };
    conv("Conv2d_1a_3x3", [32, 3, 3, 3]);
    conv("Conv2d_2a_3x3", [32, 32, 3, 3]);
    conv("Conv2d_2b_3x3", [64, 32, 3, 3]);
    conv("Conv2d_3b_1x1", [80, 64, 1, 1]);
    conv("Conv2d_4a_3x3", [192, 80, 3, 3]);
    for (block, inputs, pool) in [("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)] {
        for (part, shape) in [
            ("branch1x1", [64, inputs, 1, 1]),
            ("branch5x5_1", [48, inputs, 1, 1]),
            ("branch5x5_2", [64, 48, 5, 5]),
            ("branch3x3dbl_1", [64, inputs, 1, 1]),
            ("branch3x3dbl_2", [96, 64, 3, 3]),
            ("branch3x3dbl_3", [96, 96, 3, 3]),
            ("branch_pool", [pool, inputs, 1, 1]),
        ] {
            conv(&format!("Mixed_{block}.{part}"), shape);
        }
    }
    for (part, shape) in [
        ("branch3x3", [384, 288, 3, 3]),
        ("branch3x3dbl_1", [64, 288, 1, 1]),
        ("branch3x3dbl_2", [96, 64, 3, 3]),
        ("branch3x3dbl_3", [96, 96, 3, 3]),
    ] {
        conv(&format!("Mixed_6a.{part}"), shape);
    }
    for (block, c) in [("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)] {
        for (part, shape) in [
            ("branch1x1", [192, 768, 1, 1]),
            ("branch7x7_1", [c, 768, 1, 1]),
            ("branch7x7_2", [c, c, 1, 7]),
            ("branch7x7_3", [192, c, 7, 1]),
            ("branch7x7dbl_1", [c, 768, 1, 1]),
            ("branch7x7dbl_2", [c, c, 7, 1]),
            ("branch7x7dbl_3", [c, c, 1, 7]),
            ("branch7x7dbl_4", [c, c, 7, 1]),
            ("branch7x7dbl_5", [192, c, 1, 7]),
            ("branch_pool", [192, 768, 1, 1]),
        ] {
            conv(&format!("Mixed_{block}.{part}"), shape);
        }
    }
    for (part, shape) in [
        ("branch3x3_1", [192, 768, 1, 1]),
        ("branch3x3_2", [320, 192, 3, 3]),
        ("branch7x7x3_1", [192, 768, 1, 1]),
        ("branch7x7x3_2", [192, 192, 1, 7]),
        ("branch7x7x3_3", [192, 192, 7, 1]),
        ("branch7x7x3_4", [192, 192, 3, 3]),
    ] {
        conv(&format!("Mixed_7a.{part}"), shape);
    }
    for (block, inputs) in [("7b", 1280), ("7c", 2048)] {
        for (part, shape) in [
            ("branch1x1", [320, inputs, 1, 1]),
            ("branch3x3_1", [384, inputs, 1, 1]),
            ("branch3x3_2a", [384, 384, 1, 3]),
            ("branch3x3_2b", [384, 384, 3, 1]),
            ("branch3x3dbl_1", [448, inputs, 1, 1]),
            ("branch3x3dbl_2", [384, 448, 3, 3]),
            ("branch3x3dbl_3a", [384, 384, 1, 3]),
            ("branch3x3dbl_3b", [384, 384, 3, 1]),
            ("branch_pool", [192, inputs, 1, 1]),
        ] {
            conv(&format!("Mixed_{block}.{part}"), shape);
        }
    }
    put("fc.weight".into(), &[1008, 2048]);
    put("fc.bias".into(), &[1008]);
    weights
}

#[test]
fn inception_agrees_with_python() {
    let weights = inception_weights();
    let mut tables = Vec::new();
    for (layer, dim) in [
        (Layer::FirstPool, 64),
        (Layer::SecondPool, 192),
        (Layer::PreAux, 768),
        (Layer::FinalPool, 2048),
    ] {
        assert_eq!(layer.dim(), dim);
        let copy = weights.iter().map(|(k, v)| (k.clone(), v.shallow_clone()));
        let network =
            InceptionFid::from_tensors("made", copy.collect(), layer, Device::Cpu).unwrap();
        let found = network.extract(&images()).unwrap();
        assert_eq!(found.features.extractor(), format!("inception-{dim}"));
        assert_eq!(found.logits.is_some(), dim == 2048);
        tables.push(found.features);
        if let Some(logits) = found.logits {
            let bias =
                joined(&[&logits.biased]) - joined(&[&logits.unbiased]) - &weights["fc.bias"];
            assert!(bias.abs().max().double_value(&[]) < 1e-5);
            tables.push(logits.biased);
        }
    }
    agrees(&joined(&tables.iter().collect::<Vec<_>>()), "inception.npy");
    // The first layer needs the first weights only.
    let mut few = inception_weights();
    few.retain(|name, _| name.starts_with("Conv2d_1") || name.starts_with("Conv2d_2"));
    let first = |weights| InceptionFid::from_tensors("x", weights, Layer::FirstPool, Device::Cpu);
    assert!(first(few).is_ok());
    let error = first(BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("docs/metrics.md"), "{error}");
}

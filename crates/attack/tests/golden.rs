//! Scores of saved checkpoints against numbers computed independently in Python (interop/make_golden.py).

mod common;

use common::{Linear, assert_close, attack};
use dualmd_attack::{
    Attack, Batch, Learned, Loss, LossGrid, Pfami, Pia, Pian, ReDiffuse, Samples, SecMi, SimA,
    by_name,
};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{NoiseSchedule, Pipeline};
use dualmd_torch::weights::read_npy;
use dualmd_torch::{Device, IndexOp, Tensor};
use serde_json::Value;
use std::path::Path;

/// Python's model ran in f32 as ours; its own distance from f64 is recorded beside its scores (at most 2e-5).
const TOLERANCE: f64 = 1e-4;

fn numbers(scores: &Value) -> Vec<f64> {
    scores
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

#[test]
fn scores_agree_with_python() {
    // Three folders that Python wrote, one that dualmd trained and Python read.
    for name in ["tiny-grey", "tiny-grey-2", "tiny-ddpm", "trained-here"] {
        let folder =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name);
        let golden: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("golden.json")).unwrap())
                .unwrap();
        let pipeline = Pipeline::load(&folder, WeightSet::Ema, Device::Cpu).unwrap();
        let x = read_npy(&folder.join(golden["images"]["x"].as_str().unwrap())).unwrap();
        let ids: Vec<String> = (0..x.size()[0]).map(|i| i.to_string()).collect();
        let draws = read_npy(&folder.join(golden["loss_noise"].as_str().unwrap())).unwrap();
        let draws: Vec<_> = (0..draws.size()[0]).map(|k| draws.i(k)).collect();
        let mut batch = Batch::new(&pipeline, &pipeline.schedule, &x, &ids, 0)
            .and_then(|batch| batch.with_draws(&draws))
            .unwrap();
        let rediffuse = ReDiffuse {
            draws: draws.len(),
            ..ReDiffuse::default()
        };
        let computed = [
            ("loss", Loss::default().score(&mut batch)),
            ("pfami", Pfami::default().score(&mut batch)),
            ("rediffuse", rediffuse.score(&mut batch)),
            ("secmi", SecMi::default().score(&mut batch)),
            ("pia", Pia::default().score(&mut batch)),
            ("pian", Pian::default().score(&mut batch)),
            ("sima", SimA::default().score(&mut batch)),
        ];
        for (attack, scores) in computed {
            let expected = numbers(&golden["scores"][attack]["score"]);
            let scores = scores.unwrap();
            assert_eq!(scores.len(), expected.len());
            for (i, (score, expected)) in scores.iter().zip(expected).enumerate() {
                assert_close(
                    *score,
                    expected,
                    TOLERANCE,
                    &format!("{name}, {attack}, image {i}"),
                );
            }
        }

        // Through the runner, shuffled and in batches of 3: the same.
        let samples = Samples::new(x, ids).unwrap();
        let attacks = ["secmi", "pia", "pian", "sima"].map(|attack| by_name(attack).unwrap());
        for result in attack(&pipeline, &samples, &attacks, 3, 0).results {
            let expected = numbers(&golden["scores"][&result.info.name]["score"]);
            for (score, expected) in result.scores.unwrap().iter().zip(expected) {
                assert_close(
                    *score,
                    expected,
                    TOLERANCE,
                    &format!("{name}, {}", result.info.name),
                );
            }
        }
    }
}

/// Levels and features on a linear model, with shared noise that Python draws from the same streams (interop/make_loss_grid_golden.py).
#[test]
fn loss_grid_agrees_with_python() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/attacks/loss-grid.json"
    );
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rows = |key: &str| -> Vec<Vec<f64>> {
        let rows = golden[key].as_array().unwrap().iter();
        rows.map(numbers).collect()
    };
    let number = |key: &str| golden[key].as_f64().unwrap();
    let images = rows("images");
    let (n, side) = (images.len() as i64, golden["side"].as_i64().unwrap());
    let flat: Vec<f32> = images.iter().flatten().map(|v| *v as f32).collect();
    let x = Tensor::from_slice(&flat).view([n, 1, side, side]);
    let ids: Vec<String> = (0..n).map(|i| i.to_string()).collect();
    let denoiser = Linear {
        slope: number("slope"),
        offset: number("offset"),
    };
    let schedule = NoiseSchedule::default();
    let seed = golden["seed"].as_u64().unwrap();
    let mut batch = Batch::new(&denoiser, &schedule, &x, &ids, seed).unwrap();
    let features = LossGrid::default().features(&mut batch).unwrap();
    assert_eq!(features.size(), [n, 8]);
    for (i, expected) in rows("features").iter().enumerate() {
        for (j, expected) in expected.iter().enumerate() {
            let got = features.double_value(&[i as i64, j as i64]);
            // Logarithms near 0: f32 against Python's f64.
            assert!(
                (got - expected).abs() < 2e-5,
                "image {i}, level {j}: {got}, Python {expected}"
            );
        }
    }
}

//! Similarity of generated images: by hand, and on features whose truth is known.

mod common;

use common::{assert_close, auc, null_error};
use dualmd_attack::Known;
use dualmd_attack::similarity::{Similarity, channel_similarities, sim_mean};
use dualmd_attack::{Result, similarity};
use dualmd_data::stream;
use dualmd_torch::{Device, Kind, Tensor, noise};

/// Learnt from the known samples, judged on the rest.
fn learnt(form: Similarity, features: &Tensor, known: &Known, seed: u64) -> Result<Vec<f64>> {
    let of = |rows: &[usize]| {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        features.index_select(0, &Tensor::from_slice(&rows))
    };
    let rest = known.rest(features.size()[0] as usize);
    let taught = of(known.rows());
    similarity::learnt(form, (&taught, known.member()), &of(&rest), seed)
}

fn normal(purpose: &str, shape: &[i64]) -> Tensor {
    noise::normal(&mut stream(4, purpose, 0), shape, Device::Cpu)
}

#[test]
fn cosines_go_over_tokens_and_means_over_generations() {
    // Two tokens, two channels; channel 0 is (3, 4), channel 1 is (1, 0).
    let query = Tensor::from_slice(&[3.0, 1.0, 4.0, 0.0]).view([1, 2, 2]);
    // First generation: channel 0 is (4, 3), channel 1 is (0, 2); second: the query, doubled.
    let generated =
        Tensor::from_slice(&[4.0, 0.0, 3.0, 2.0, 6.0, 2.0, 8.0, 0.0]).view([1, 2, 2, 2]);
    let channels = Vec::<f64>::try_from(
        channel_similarities(&query, &generated)
            .unwrap()
            .flatten(0, -1),
    )
    .unwrap();
    assert_close(
        channels[0],
        f64::midpoint(24.0 / 25.0, 1.0),
        1e-12,
        "channel 0",
    );
    assert_close(channels[1], 0.5, 1e-12, "channel 1");
    // All features as one vector: (3, 1, 4, 0) . (4, 0, 3, 2) = 24, lengths sqrt(26) and sqrt(29).
    let whole = sim_mean(&query, &generated).unwrap();
    assert_close(
        whole[0],
        f64::midpoint(24.0 / (26.0f64 * 29.0).sqrt(), 1.0),
        1e-12,
        "sim-mean",
    );
    // A channel of zeros has no direction.
    let blank = channel_similarities(&query.zeros_like(), &generated).unwrap();
    assert_eq!(blank.abs().max().double_value(&[]), 0.0);
    let refused = sim_mean(&query, &generated.squeeze_dim(0))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("[N, R, tokens, channels]"), "{refused}");
    assert!(sim_mean(&(query * f64::NAN), &generated).is_err());
}

/// Standardised by the known rows 0, 1 (members) and 2, 3: channel 0 has mean 0.5 and deviation 0.5 there, channel 1
/// mean 2 and 1.
#[test]
fn the_scaler_sees_the_known_samples_only() {
    let rows = [
        0.0, 1.0, 1.0, 3.0, 0.0, 3.0, 1.0, 1.0, 1.5, 0.0, -100.0, 7.0,
    ];
    let features = Tensor::from_slice(&rows).view([6, 2]);
    let keys: Vec<String> = (0..6).map(|i| i.to_string()).collect();
    let known =
        |seed| Known::draw(&keys, &[true, true, false, false, true, false], 0.6, seed).unwrap();
    let known = (0..1000)
        .map(known)
        .find(|k| k.rows() == [0, 1, 2, 3])
        .unwrap();
    let scores = learnt(Similarity::Threshold, &features, &known, 0).unwrap();
    // max((1.5 - 0.5) / 0.5, (0 - 2) / 1) and max(-201, 5).
    assert_eq!(scores, [2.0, 5.0]);

    // Standardised, the members are (-1, -1) and (1, 1), the others (-1, 1) and (1, -1): covariances 2 on the diagonal
    // and +-2 beside it, plus 1e-5. At (2, -2) and (-201, 5) with u = (z0 + z1)/sqrt 2, v = (z0 - z1)/sqrt 2 the
    // members' form is u^2 / (4 + 1e-5) + v^2 / 1e-5, the others' the reverse; the determinants are equal.
    let scores = learnt(Similarity::Distribution, &features, &known, 0).unwrap();
    for (score, (a, b)) in scores.iter().zip([(2.0, -2.0), (-201.0, 5.0f64)]) {
        let (u, v) = ((a + b).powi(2) / 2.0, (a - b).powi(2) / 2.0);
        let expected = -0.5 * (u / 4.00001 + v / 1e-5 - v / 4.00001 - u / 1e-5);
        assert_close(*score, expected, 1e-6, "pw-distribution");
    }
    assert!(
        learnt(Similarity::Mean, &features, &known, 0)
            .unwrap_err()
            .to_string()
            .contains("sim_mean")
    );
    let few = Known::draw(&keys, &[true, true, false, false, true, false], 0.2, 0).unwrap();
    assert!(
        learnt(Similarity::Threshold, &features, &few, 0)
            .unwrap_err()
            .to_string()
            .contains("two of either")
    );
}

/// Generations of members share a part of the query's features; of a model that remembers nothing, none.
#[test]
fn reproduced_images_are_found_and_others_are_not() {
    let (n, members) = (200, 100);
    let query = normal("query", &[n, 12, 5]);
    let generated = |share: f64| {
        let raw = normal("generated", &[n, 3, 12, 5]);
        let mine = query.unsqueeze(1) * share;
        let keep: Vec<f32> = (0..n)
            .map(|i| if i < members { 1.0 } else { 0.0 })
            .collect();
        raw + mine * Tensor::from_slice(&keep).view([n, 1, 1, 1])
    };
    let truth: Vec<bool> = (0..n).map(|i| i < members).collect();
    let keys: Vec<String> = (0..n).map(|i| i.to_string()).collect();
    let known = Known::draw(&keys, &truth, 0.3, 2).unwrap();
    for (share, caught) in [(0.8, true), (0.0, false)] {
        let generated = generated(share);
        let features = channel_similarities(&query, &generated).unwrap();
        // The classifier has tests of its own: its thousand steps would take most of this file's time.
        for form in [
            Similarity::Mean,
            Similarity::Threshold,
            Similarity::Distribution,
        ] {
            let (scores, rows) = if form.learns() {
                (
                    learnt(form, &features, &known, 0).unwrap(),
                    known.rest(n as usize),
                )
            } else {
                (
                    sim_mean(&query, &generated).unwrap(),
                    (0..n as usize).collect(),
                )
            };
            assert_eq!(scores.len(), rows.len());
            let side = |member| -> Vec<f64> {
                rows.iter()
                    .zip(&scores)
                    .filter(|(row, _)| truth[**row] == member)
                    .map(|(_, s)| *s)
                    .collect()
            };
            let (inside, outside) = (side(true), side(false));
            let auc = auc(&inside, &outside);
            let name = similarity::info(form, 3, "test").name;
            assert_eq!(name, form.name());
            if caught {
                assert!(auc > 0.95, "{name}: {auc}");
            } else {
                let chance = 2.576 * null_error(inside.len(), outside.len());
                assert!((auc - 0.5).abs() < chance, "{name}: {auc}");
            }
        }
    }
    let constant = Tensor::ones([n, 5], (Kind::Double, Device::Cpu));
    let scores = learnt(Similarity::Threshold, &constant, &known, 0).unwrap();
    assert!(scores.iter().all(|&s| s == 0.0));
}

/// What a shadow model showed standardises what the target shows: channel 0 had mean 2 there, channel 1
/// mean 0, whatever the target's are.
#[test]
fn the_scaler_of_a_shadow_model_is_the_targets() {
    let shadow = [4.0, 1.0, 4.0, -1.0, 1.0, 1.0, 1.0, -1.0, 0.0, 0.0];
    let shadow = Tensor::from_slice(&shadow).view([5, 2]);
    let member = [true, true, false, false, false];
    let deviations = [(14.0f64 / 5.0).sqrt(), (4.0f64 / 5.0).sqrt()];
    let target = Tensor::from_slice(&[6.0, 0.5, 2.0, 3.0, 100.0, 0.0]).view([3, 2]);
    let scores = similarity::learnt(Similarity::Threshold, (&shadow, &member), &target, 0).unwrap();
    for (score, expected) in scores.iter().zip([
        4.0 / deviations[0],
        3.0 / deviations[1],
        98.0 / deviations[0],
    ]) {
        assert_close(*score, expected, 1e-12, "pw-threshold");
    }
    for wrong in [
        similarity::learnt(Similarity::Threshold, (&shadow, &member[1..]), &target, 0),
        similarity::learnt(
            Similarity::Threshold,
            (&shadow, &member),
            &target.narrow(1, 0, 1),
            0,
        ),
    ] {
        let message = wrong.unwrap_err().to_string();
        assert!(message.contains("known samples"), "{message}");
    }
}

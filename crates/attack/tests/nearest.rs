//! The nearest generated image.

use dualmd_attack::nn::{feature_scores, info, nearest};
use dualmd_data::stream;
use dualmd_names::BlackBox;
use dualmd_torch::{Device, Kind, Tensor, noise};

#[test]
fn distances_are_rmse_on_zero_to_one() {
    // White against black is distance 1; one of four values off by 1 (of 2) is sqrt(1/4) / 2.
    let queries =
        Tensor::from_slice(&[1.0f32, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]).view([2, 1, 2, 2]);
    let pool = Tensor::from_slice(&[-1.0f32, -1.0, -1.0, -1.0]).view([1, 1, 2, 2]);
    assert_eq!(nearest(&queries, &pool).unwrap()[0].distance, 1.0);
    let pool = Tensor::cat(
        &[
            pool,
            Tensor::zeros([2, 1, 2, 2], (Kind::Float, Device::Cpu)),
        ],
        0,
    );
    let found = nearest(&queries, &pool).unwrap();
    assert_eq!(
        (found[1].index, found[1].distance),
        (1, 0.25),
        "the first of two equals"
    );
    assert_eq!(found[1].score(), -0.25);
}

/// More queries than a chunk, and near copies that f32 cannot tell apart.
#[test]
fn agrees_with_brute_force_on_near_copies() {
    let mut rng = stream(1, "test/nearest", 0);
    let base = noise::normal(&mut rng, &[1, 192], Device::Cpu);
    let pool = &base + noise::normal(&mut rng, &[40, 192], Device::Cpu) * 3e-4;
    let queries = pool.repeat([2, 1]) + noise::normal(&mut rng, &[80, 192], Device::Cpu) * 1e-5;
    let difference =
        queries.to_kind(Kind::Double).unsqueeze(1) - pool.to_kind(Kind::Double).unsqueeze(0);
    let rmse = (&difference * &difference)
        .mean_dim([2i64].as_slice(), false, Kind::Double)
        .sqrt()
        / 2.0;
    for (i, found) in nearest(&queries, &pool).unwrap().iter().enumerate() {
        assert_eq!(found.index, i % 40);
        let expected = rmse.double_value(&[i as i64, found.index as i64]);
        assert!((found.distance - expected).abs() < 1e-12 && found.distance > 1e-6);
    }
}

#[test]
fn refuses_what_cannot_be_compared() {
    let zeros = |n: i64, d: i64| Tensor::zeros([n, d], (Kind::Float, Device::Cpu));
    assert!(nearest(&zeros(1, 4), &zeros(0, 4)).is_err());
    assert!(
        nearest(&zeros(1, 4), &zeros(2, 5))
            .unwrap_err()
            .to_string()
            .contains("sizes must agree")
    );
    // As many values, and yet another picture: nothing is reshaped to make it comparable.
    let turned = |h: i64, w: i64| Tensor::zeros([2, 3, h, w], (Kind::Float, Device::Cpu));
    assert!(nearest(&turned(96, 128), &turned(128, 96)).is_err());
    assert!(
        nearest(&(zeros(1, 4) / 0.0), &zeros(2, 4))
            .unwrap_err()
            .to_string()
            .contains("NaN")
    );
    assert!(nearest(&zeros(0, 4), &zeros(2, 4)).unwrap().is_empty());
    assert!(feature_scores(&zeros(1, 4), &zeros(2, 5)).is_err());
    assert_eq!(
        info(BlackBox::Nearest, 100, "").parameters.generated,
        Some(100)
    );
}

/// Rows (3, 4) and (0, 0) from (0, 0): 5 / sqrt 2 and 0, in the features' own units.
#[test]
fn features_score_by_their_own_distance() {
    let row = |v: &[f32]| Tensor::from_slice(v).view([-1, 2]);
    let scores = feature_scores(&row(&[3.0, 4.0, 0.0, 0.0]), &row(&[0.0, 0.0, 90.0, 9.0])).unwrap();
    assert!((scores[0] + 12.5f64.sqrt()).abs() < 1e-12, "{scores:?}");
    assert_eq!(scores[1], 0.0);
    let of = |name: &str| BlackBox::of(&name.parse().unwrap());
    assert_eq!(of("nn-features"), Some(BlackBox::Features));
    assert_eq!(of("rounds@2"), Some(BlackBox::Rounds(2)));
    for other in ["loss", "rounds@1", "rounds@2+second", "rounds@2+captions"] {
        assert_eq!(of(other), None, "{other}");
    }
    let info = info(BlackBox::Features, 8, "net-2");
    assert_eq!(
        (info.name.as_str(), info.parameters.encoder.as_deref()),
        ("nn-features", Some("net-2"))
    );
    assert!(BlackBox::Features.takes_drawn() && !BlackBox::Rounds(2).takes_drawn());
}

/// What files have of the attacks by generated images.
#[test]
fn parameters_are_written_as_ever() {
    for (attack, expected) in [
        (BlackBox::Nearest, r#"{"generated":8}"#),
        (BlackBox::Features, r#"{"encoder":"net-2","generated":8}"#),
        (
            BlackBox::Density,
            r#"{"bandwidth":"scott","components":16,"encoder":"net-2","generated":8}"#,
        ),
        (BlackBox::Rounds(2), r#"{"generated":8,"rounds":2}"#),
    ] {
        let parameters = info(attack, 8, "net-2").parameters;
        assert_eq!(serde_json::to_string(&parameters).unwrap(), expected);
    }
}

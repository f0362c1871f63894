//! RMIA, the density ratio and the learnt combination against numpy, scipy and scikit-learn.

use dualmd_stats::{
    Bandwidth, DensityOptions, Logistic, Marginal, RmiaImages, RmiaOptions, Table, density_ratio,
    rmia_scores,
};
use serde_json::Value;

/// The numbers of `golden/attacks.py`.
fn numbers(n: u64, d: u64, a: u64) -> Vec<Vec<f64>> {
    let entry = |i: u64, j: u64| (i * i * a + 31 * i * j + 17 * (j + 1) * i + 7 * j) % 1009;
    (0..n)
        .map(|i| (0..d).map(|j| entry(i, j) as f64 / 1009.0).collect())
        .collect()
}

fn golden(part: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("golden/attacks.json")).unwrap();
    all[part].clone()
}

fn list(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn close(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() < tolerance, "{got:?} instead of {expected:?}");
    }
}

#[test]
fn rmia_is_what_numpy_says() {
    let images = |n: usize, a: u64| {
        let rows = numbers(n as u64, 5, a);
        let column = |m: usize| rows.iter().map(|row| -row[m]).collect::<Vec<f64>>();
        let inside = (0..4).map(|m: usize| match m {
            0 => vec![true; n],
            1 => vec![false; n],
            _ => (0..n)
                .map(|i| (i + m * (i % 3 + 1)).is_multiple_of(2))
                .collect(),
        });
        let references: Vec<Vec<f64>> = (1..5).map(column).collect();
        (column(0), references, inside.collect::<Vec<Vec<bool>>>())
    };
    let (x, z) = (images(12, 389), images(20, 577));
    let marginals = [
        Marginal::Online,
        Marginal::Offline { a: 1.0 },
        Marginal::Offline { a: 0.3 },
    ];
    for (marginal, expected) in marginals
        .into_iter()
        .zip(golden("rmia").as_array().unwrap())
    {
        let options = RmiaOptions {
            gamma: 1.1,
            scale: 2.0,
            marginal,
        };
        let [x, z] = [&x, &z].map(|(target, references, inside)| RmiaImages {
            target,
            references,
            inside,
        });
        let found = rmia_scores(x, z, options).unwrap();
        let scores: Vec<f64> = found.scores.into_iter().map(Option::unwrap).collect();
        close(&scores, &list(expected), 1e-12);
    }
}

#[test]
fn density_ratios_are_those_of_scikit_learn() {
    let golden = golden("density");
    let table = |n, d: u64, a| Table::new(&numbers(n, d, a).concat(), d as usize).unwrap();
    let narrow = [table(40, 3, 389), table(30, 3, 577), table(10, 3, 101)];
    let wide = [table(9, 12, 389), table(8, 12, 577), table(4, 12, 101)];
    let of = |[g, r, x]: &[Table; 3], components, bandwidth| {
        let options = DensityOptions {
            components,
            bandwidth,
        };
        density_ratio(g, r, x, options).unwrap()
    };
    let plain = of(&narrow, None, Bandwidth::Scott);
    close(&plain.scores, &list(&golden["plain"]), 1e-9);
    assert_eq!(plain.dimensions, 3);
    let likely = of(&narrow, None, Bandwidth::Likelihood);
    let h = golden["bandwidth"].as_f64().unwrap();
    close(&likely.bandwidths, &[h, h], 1e-9);
    close(&likely.scores, &list(&golden["likely"]), 1e-9);
    let components = of(&narrow, Some(2), Bandwidth::Scott);
    close(&components.scores, &list(&golden["components"]), 1e-9);
    let wide = of(&wide, Some(3), Bandwidth::Scott);
    close(&wide.scores, &list(&golden["wide"]), 1e-9);
    assert_eq!(wide.dimensions, 3);
}

#[test]
fn the_regression_is_that_of_scikit_learn() {
    let (known, others) = (numbers(60, 3, 389), numbers(8, 3, 577));
    let noise = numbers(60, 4, 101);
    let member: Vec<bool> = known
        .iter()
        .zip(&noise)
        .map(|(row, extra)| row[0] + 0.5 * extra[3] > 0.8)
        .collect();
    for expected in golden("logistic").as_array().unwrap() {
        let penalty = expected["penalty"].as_f64().unwrap();
        let rule = Logistic::fit(&known, &member, penalty).unwrap();
        close(&rule.weights, &list(&expected["weights"]), 1e-6);
        close(
            &[rule.intercept],
            &[expected["intercept"].as_f64().unwrap()],
            1e-6,
        );
        close(&rule.scores(&others), &list(&expected["scores"]), 1e-6);
    }
}

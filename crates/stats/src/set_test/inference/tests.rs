use rand_distr::{Distribution as _, StandardNormal};

use super::*;

fn rows(n: usize, d: usize, shift: f64, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let value = |rng: &mut ChaCha8Rng| -> f64 { StandardNormal.sample(rng) };
    (0..n)
        .map(|_| {
            (0..d)
                .map(|j| value(rng) + if j == 0 { shift } else { 0.0 })
                .collect()
        })
        .collect()
}

/// Scores, difference and the count of all 126 relabellings by scikit-learn (`tests/golden/attacks.py`), folds dealt out
/// in the order of the rows.
#[test]
fn it_is_what_scikit_learn_says() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/attacks.json")).unwrap();
    let golden = &golden["inference"];
    let entry = |i: u64, j: u64, a: u64| {
        ((i * i * a + 31 * i * j + 17 * (j + 1) * i + 7 * j) % 1009) as f64 / 1009.0
    };
    let set = |n: u64, a: u64, more: f64| -> Vec<Vec<f64>> {
        (0..n)
            .map(|i| (0..2).map(|j| entry(i, j, a) + more).collect())
            .collect()
    };
    let all = [set(5, 389, 0.2), set(4, 577, 0.0)].concat();
    let test = Test {
        rows: Scale::new(&all).of(&all),
        order: (0..9).collect(),
        folds: 2,
    };
    let mut places: Vec<usize> = (0..5).collect();
    let labels = |places: &[usize]| -> Vec<bool> { (0..9).map(|i| places.contains(&i)).collect() };
    let scores = test.scores(&labels(&places));
    let expected: Vec<f64> = serde_json::from_value(golden["scores"].clone()).unwrap();
    for (a, b) in scores.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-6, "{scores:?} instead of {expected:?}");
    }
    let true_value = test.statistic(&labels(&places));
    assert!((true_value - golden["difference"].as_f64().unwrap()).abs() < 1e-6);
    let (mut as_large, mut of) = (1, 1);
    while next_choice(&mut places, 9) {
        as_large += u64::from(test.statistic(&labels(&places)) >= true_value - 1e-9);
        of += 1;
    }
    assert_eq!(
        (as_large, of),
        (
            golden["as_large"].as_u64().unwrap(),
            golden["of"].as_u64().unwrap()
        )
    );
}

#[test]
fn choices_are_counted_and_gone_through() {
    assert_eq!(
        (choose(9, 5), choose(4, 4), choose(1000, 500)),
        (Some(126), Some(1), None)
    );
    let mut places = vec![0, 1];
    let mut seen = vec![places.clone()];
    while next_choice(&mut places, 4) {
        seen.push(places.clone());
    }
    assert_eq!(seen, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
}

/// 200 tests of sets that do not differ, level 0.1: between 0.04 and 0.17, 3 standard errors (false alarm 0.3 %).
/// Exact tests keep their level in every case, drawn ones too.
#[test]
fn the_level_is_kept() {
    let mut rng = ChaCha8Rng::seed_from_u64(51);
    let rejected = (0..200).filter(|&seed| {
        let (a, b) = (rows(8, 3, 0.0, &mut rng), rows(10, 3, 0.0, &mut rng));
        dataset_inference(&a, &b, 2, 39, seed).unwrap().p_value <= 0.1
    });
    let share = rejected.count() as f64 / 200.0;
    assert!((0.04..0.17).contains(&share), "{share}");
}

#[test]
fn a_shift_is_found_and_few_images_are_tested_exactly() {
    let mut rng = ChaCha8Rng::seed_from_u64(52);
    let (a, b) = (rows(40, 4, 1.2, &mut rng), rows(50, 4, 0.0, &mut rng));
    let found = dataset_inference(&a, &b, 5, 99, 1).unwrap();
    assert!(
        found.p_value == 0.01 && found.difference > 0.1 && !found.exact,
        "{found:?}"
    );
    assert_eq!((found.relabellings, found.images), (99, [40, 50]));
    assert!(found.suspect_scores.iter().all(|p| (0.0..=1.0).contains(p)));
    let gap = mean(&found.suspect_scores) - mean(&found.unpublished_scores);
    assert!((gap - found.difference).abs() < 1e-12);
    assert_eq!(found, dataset_inference(&a, &b, 5, 99, 1).unwrap());
    // 5 of 10: 252 labellings, all looked at, whatever is asked for beyond.
    let few = dataset_inference(&a[..5], &b[..5], 2, 1000, 1).unwrap();
    assert!(few.exact && few.relabellings == 251, "{few:?}");
    let whole = few.p_value * 252.0;
    assert!((whole - whole.round()).abs() < 1e-9 && whole >= 1.0);
    // Sets that are one another's copies: nothing differs.
    let same = dataset_inference(&a, &a, 5, 99, 1).unwrap();
    assert!(same.p_value > 0.05, "{same:?}");
}

/// Power rises with k; false alarms stay near the level (100 sets: standard error 0.03, limit 5 of them).
#[test]
fn more_images_prove_more() {
    let mut rng = ChaCha8Rng::seed_from_u64(53);
    let (a, b) = (rows(60, 2, 1.0, &mut rng), rows(120, 2, 0.0, &mut rng));
    let points = inference_power(&a, &b, &[5, 20], 0.1, 19, 4).unwrap();
    assert!(
        points[0].power < points[1].power && points[1].power > 0.7,
        "{points:?}"
    );
    for p in &points {
        assert!(p.false_alarm < 0.25, "{points:?}");
        assert!(p.ci[0] <= p.power && p.power <= p.ci[1], "{p:?}");
    }
    assert_eq!(
        inference_power(&a, &b, &[5], 0.1, 19, 4).unwrap()[0],
        points[0]
    );
}

#[test]
fn nonsense_is_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(54);
    let (a, b) = (rows(12, 2, 0.0, &mut rng), rows(12, 2, 0.0, &mut rng));
    assert!(dataset_inference(&a, &b, 1, 9, 0).is_err());
    assert!(dataset_inference(&a, &b, 13, 9, 0).is_err());
    assert!(dataset_inference(&a, &b, 2, 0, 0).is_err());
    assert!(dataset_inference(&a, &rows(12, 3, 0.0, &mut rng), 2, 9, 0).is_err());
    assert!(dataset_inference(&[vec![], vec![]], &[vec![], vec![]], 2, 9, 0).is_err());
    let broken = vec![vec![0.0, f64::NAN]; 12];
    let error = dataset_inference(&a, &broken, 2, 9, 0).unwrap_err();
    assert!(error.to_string().contains("unpublished image 0"), "{error}");
    assert!(
        inference_power(&a, &b, &[7], 0.1, 9, 0).is_err(),
        "14 of 12"
    );
    assert!(inference_power(&a, &b, &[4], 0.1, 9, 0).is_err());
    assert!(
        inference_power(&a, &b, &[5], 0.05, 9, 0).is_err(),
        "no p below 0.1"
    );
    assert!(inference_power(&a, &b, &[5], 1.5, 9, 0).is_err());
}

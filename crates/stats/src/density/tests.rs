use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::*;

fn normals(n: usize, d: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..n * d).map(|_| StandardNormal.sample(rng)).collect()
}

fn table(values: &[f64], columns: usize) -> Table {
    Table::new(values, columns).unwrap()
}

#[test]
fn two_rows_by_hand() {
    // Reference -1 and 1: mean 0, deviation sqrt 2. Generated 0 and 0. At 0, with h = 2^(-1/5):
    // p_G = 1 / (sqrt(2 pi) h), p_R = e^(-1 / (4 h^2)) of it.
    let found = density_ratio(
        &table(&[0.0, 0.0], 1),
        &table(&[-1.0, 1.0], 1),
        &table(&[0.0], 1),
        DensityOptions::default(),
    )
    .unwrap();
    let h = 2.0_f64.powf(-0.2);
    assert_eq!(found.bandwidths, [h, h]);
    assert!(
        (found.scores[0] - 0.25 / (h * h)).abs() < 1e-14,
        "{found:?}"
    );
}

/// A generator that repeats its members with a little noise, among images in six dimensions: members score higher, under
/// either rule and in components, and nothing is found where the generator is honest. 300 and 300 images: AUC 0.5 has
/// standard error 0.024, the limits are 4 of them.
#[test]
fn an_overfitted_generator_gives_its_members_away() {
    let mut rng = ChaCha8Rng::seed_from_u64(31);
    let d = 6;
    let (members, others) = (normals(300, d, &mut rng), normals(300, d, &mut rng));
    let reference = table(&normals(600, d, &mut rng), d);
    let noise = normals(600, d, &mut rng);
    let copies: Vec<f64> = noise
        .iter()
        .enumerate()
        .map(|(i, e)| members[i % members.len()] + 0.3 * e)
        .collect();
    let honest = table(&normals(600, d, &mut rng), d);
    let rules = [
        (None, Bandwidth::Scott),
        (None, Bandwidth::Likelihood),
        (Some(5), Bandwidth::Scott),
    ];
    for (components, bandwidth) in rules {
        let options = DensityOptions {
            components,
            bandwidth,
        };
        let auc = |generated: &Table| {
            let of = |x: &[f64]| {
                let found = density_ratio(generated, &reference, &table(x, d), options).unwrap();
                found.scores
            };
            crate::Roc::new(&of(&members), &of(&others)).unwrap().auc()
        };
        let (leak, none) = (auc(&table(&copies, d)), auc(&honest));
        assert!(leak > 0.6, "{options:?}: {leak}");
        assert!((none - 0.5).abs() < 0.096, "{options:?}: {none}");
    }
}

#[test]
fn a_narrower_kernel_is_chosen_for_clusters_and_copies_do_not_choose_it() {
    let mut rng = ChaCha8Rng::seed_from_u64(32);
    let reference = table(&normals(100, 2, &mut rng), 2);
    let x = table(&normals(5, 2, &mut rng), 2);
    let options = DensityOptions {
        bandwidth: Bandwidth::Likelihood,
        ..Default::default()
    };
    let h = |values: &[f64]| {
        let found = density_ratio(&table(values, 2), &reference, &x, options).unwrap();
        found.bandwidths[0] / (values.len() as f64 / 2.0).powf(-1.0 / 6.0)
    };
    // Twenty tight clusters.
    let centres = normals(20, 2, &mut rng);
    let jitter = normals(100, 2, &mut rng);
    let clusters: Vec<f64> = (0..200)
        .map(|i| centres[i % 40] + 0.02 * jitter[i])
        .collect();
    let spread = normals(100, 2, &mut rng);
    assert!(
        h(&clusters) < 0.2 && h(&spread) > 0.4,
        "{} {}",
        h(&clusters),
        h(&spread)
    );
    // Each row twice: the copy says nothing about the width.
    let twice = [spread.clone(), spread.clone()].concat();
    assert!(h(&twice) > 0.4, "{}", h(&twice));
    assert!(
        (h(&[1.0; 20]) - 1.0).abs() < 1e-12,
        "nothing but copies: Scott's rule"
    );
}

#[test]
fn units_and_places_of_the_columns_do_not_matter() {
    let mut rng = ChaCha8Rng::seed_from_u64(33);
    let sets = [50, 40, 8].map(|n| normals(n, 3, &mut rng));
    let of = |change: fn(&[f64]) -> Vec<f64>, columns: usize| {
        let [g, r, x] = sets.clone().map(|s| {
            let rows: Vec<f64> = s.chunks(3).flat_map(change).collect();
            Table::new(&rows, columns).unwrap()
        });
        density_ratio(&g, &r, &x, DensityOptions::default()).unwrap()
    };
    let base = of(|row| row.to_vec(), 3);
    // Other units and origin, another order, and a column that never varies.
    let changed = of(
        |row| vec![5.0 - 100.0 * row[2], 7.0, 1e-3 * row[0], row[1] + 1e3],
        4,
    );
    assert_eq!(changed.dimensions, 3);
    for (a, b) in base.scores.iter().zip(&changed.scores) {
        assert!((a - b).abs() < 1e-8, "{a} {b}");
    }
}

#[test]
fn f32_and_far_images_and_more_columns_than_rows() {
    let narrow: Vec<f32> = (0..40).map(|i| (i * i % 11) as f32).collect();
    let (g, r) = (&narrow[..20], &narrow[20..]);
    // 2 rows of 10 columns on either side, and an image a million away.
    let far = Table::new(&[1e6_f32; 10], 10).unwrap();
    let [g, r] = [g, r].map(|v| Table::new(v, 10).unwrap());
    assert_eq!((g.rows(), g.columns()), (2, 10));
    for components in [None, Some(1)] {
        let options = DensityOptions {
            components,
            ..Default::default()
        };
        let found = density_ratio(&g, &r, &far, options).unwrap();
        assert!(found.scores[0].is_finite(), "{found:?}");
    }
}

#[test]
fn nonsense_is_refused() {
    assert!(Table::new(&[1.0, 2.0, 3.0], 2).is_err());
    assert!(Table::new(&[1.0], 0).is_err());
    assert!(Table::new::<f64>(&[], 1).is_err());
    assert!(Table::new(&[f32::NAN], 1).is_err());
    let pair = |a: f64| table(&[a, 0.0, 1.0, 2.0], 2);
    let of = |g: &Table, r: &Table, x: &Table, components| {
        let options = DensityOptions {
            components,
            ..Default::default()
        };
        density_ratio(g, r, x, options)
    };
    let (g, r) = (pair(0.5), pair(3.0));
    assert!(of(&g, &r, &pair(1.0), None).is_ok());
    assert!(of(&g, &r, &table(&[1.0], 1), None).is_err());
    assert!(of(&table(&[1.0, 2.0], 2), &r, &g, None).is_err());
    assert!(of(&g, &table(&[1.0, 2.0], 2), &g, None).is_err());
    assert!(of(&g, &r, &g, Some(0)).is_err());
    assert!(
        of(&g, &r, &g, Some(2)).is_err(),
        "two rows have one component"
    );
    let error = of(&g, &table(&[1.0; 4], 2), &g, None).unwrap_err();
    assert!(error.to_string().contains("must differ"), "{error}");
    assert!(of(&g, &table(&[1.0; 4], 2), &g, Some(1)).is_err());
}

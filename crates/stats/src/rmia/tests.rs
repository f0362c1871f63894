use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::*;

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// Images with one reference model that has seen none of them: the target's phi is shifted by `shift` times 1.
struct Drawn {
    target: Vec<f64>,
    references: Vec<Vec<f64>>,
    inside: Vec<Vec<bool>>,
}

impl Drawn {
    /// phi = difficulty of the image + noise of the model, the difficulty ten times the noise.
    fn new(n: usize, models: usize, shift: f64, rng: &mut ChaCha8Rng) -> Self {
        let hard: Vec<f64> = (0..n).map(|_| 10.0 * normal(rng)).collect();
        let mut of = |shift: f64| hard.iter().map(|h| h + shift + normal(rng)).collect();
        let target = of(shift);
        Self {
            target,
            references: (0..models).map(|_| of(0.0)).collect(),
            inside: vec![vec![false; n]; models],
        }
    }

    fn images(&self) -> RmiaImages<'_> {
        RmiaImages {
            target: &self.target,
            references: &self.references,
            inside: &self.inside,
        }
    }
}

fn flat(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().map(|v| v.unwrap()).collect()
}

fn options(gamma: f64, marginal: Marginal) -> RmiaOptions {
    RmiaOptions {
        gamma,
        scale: 1.0,
        marginal,
    }
}

/// With one reference the difference of two normals of variance 1 remains, whatever the difficulty: AUC = Phi(shift / 2). And
/// non-members beat a share of the population that is uniform for gamma 1. 4 standard errors: false alarm below 0.02 %.
#[test]
fn normal_statistics_have_the_auc_of_their_closed_form() {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let (n, shift) = (2000, 1.5);
    let members = Drawn::new(n, 1, shift, &mut rng);
    let others = Drawn::new(n, 1, 0.0, &mut rng);
    let population = Drawn::new(n, 1, 0.0, &mut rng);
    let of = |d: &Drawn, gamma| {
        let options = options(gamma, Marginal::Offline { a: 1.0 });
        rmia_scores(d.images(), population.images(), options).unwrap()
    };
    let (m, o) = (of(&members, 1.0), of(&others, 1.0));
    let auc = crate::Roc::new(&flat(&m.ln_ratios), &flat(&o.ln_ratios))
        .unwrap()
        .auc();
    // Phi(0.75).
    assert!((auc - 0.773_373).abs() < 4.0 * 0.0075, "{auc}");
    let mean = crate::ranks::mean(&flat(&o.scores));
    assert!(
        (mean - 0.5).abs() < 4.0 * (1.0 / 6.0 / n as f64).sqrt(),
        "{mean}"
    );
    // The score is the order of the ratio with ties: a larger gamma only lowers it.
    let strict = of(&members, 3.0);
    assert!(
        flat(&m.scores)
            .iter()
            .zip(flat(&strict.scores))
            .all(|(a, b)| *a >= b)
    );
    assert_eq!(strict.population, n);
    // Without a reference, difficulty hides nearly all of it.
    let plain = crate::Roc::new(&members.target, &others.target)
        .unwrap()
        .auc();
    assert!(plain < 0.6, "{plain}");
}

/// For a normal model with known means the online marginal is exact: as many models with the image as without.
#[test]
fn the_marginals_by_hand() {
    let images = |inside: [bool; 3]| Drawn {
        target: vec![0.0],
        references: [0.5_f64, 0.25, 0.125].map(|p| vec![p.ln()]).to_vec(),
        inside: inside.map(|i| vec![i]).to_vec(),
    };
    let ratio = |d: &Drawn, marginal| {
        let against = images([false; 3]);
        let found = rmia_scores(d.images(), against.images(), options(1.0, marginal));
        found.unwrap().ln_ratios[0].unwrap().exp()
    };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-14 * b, "{a} {b}");
    let mixed = images([true, false, false]);
    close(ratio(&mixed, Marginal::Online), 2.0 / (0.5 + 0.1875));
    close(ratio(&mixed, Marginal::Offline { a: 1.0 }), 1.0 / 0.1875);
    close(ratio(&mixed, Marginal::Offline { a: 0.0 }), 2.0 / 1.1875);
    close(
        ratio(&mixed, Marginal::Offline { a: 0.5 }),
        2.0 / (1.5 * 0.1875 + 0.5),
    );
}

#[test]
fn what_must_not_matter_does_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let (x, z) = (
        Drawn::new(40, 3, 0.5, &mut rng),
        Drawn::new(60, 3, 0.0, &mut rng),
    );
    let offline = options(1.5, Marginal::Offline { a: 1.0 });
    let base = rmia_scores(x.images(), z.images(), offline).unwrap();
    // The order of the reference models.
    let turned = |d: &Drawn| Drawn {
        target: d.target.clone(),
        references: d.references.iter().rev().cloned().collect(),
        inside: d.inside.clone(),
    };
    let found = rmia_scores(turned(&x).images(), turned(&z).images(), offline).unwrap();
    assert_eq!(found.scores, base.scores);
    // What every model thinks of an image, and a target that likes all images better.
    let shifted = |d: &Drawn, all: f64| Drawn {
        target: d.target.iter().map(|v| v + 3.0 + all).collect(),
        references: d
            .references
            .iter()
            .map(|r| r.iter().map(|v| v + 3.0).collect())
            .collect(),
        inside: d.inside.clone(),
    };
    let found = rmia_scores(
        shifted(&x, 2.0).images(),
        shifted(&z, 2.0).images(),
        offline,
    );
    for (a, b) in flat(&found.unwrap().scores)
        .into_iter()
        .zip(flat(&base.scores))
    {
        // A ratio at the very edge may fall on the other side.
        assert!((a - b).abs() < 1.5 / 60.0, "{a} {b}");
    }
    // Losses far out: the numbers stay finite.
    let far = |d: &Drawn| Drawn {
        target: d.target.iter().map(|v| v - 1e5).collect(),
        references: d
            .references
            .iter()
            .map(|r| r.iter().map(|v| v - 1e5).collect())
            .collect(),
        inside: d.inside.clone(),
    };
    let found = rmia_scores(far(&x).images(), far(&z).images(), offline).unwrap();
    assert!(flat(&found.ln_ratios).iter().all(|r| r.is_finite()));
}

#[test]
fn a_pool_is_its_parts() {
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    let phi: Vec<Vec<f64>> = (0..5)
        .map(|_| (0..12).map(|_| -normal(&mut rng).abs()).collect())
        .collect();
    let inside: Vec<Vec<bool>> = (0..5_usize)
        .map(|m| (0..12).map(|i| (i + m).is_multiple_of(2)).collect())
        .collect();
    // Model 1 has the odd ones; 0, 4 and 10 are its population.
    let chosen = options(1.0, Marginal::Online);
    let found = rmia_pool_scores(&phi, &inside, 1, &[10, 0, 4], chosen).unwrap();
    assert_eq!(found.population, 3);
    let rest: Vec<usize> = (0..12).filter(|i| ![0, 4, 10].contains(i)).collect();
    let part = |places: &[usize]| Drawn {
        target: places.iter().map(|&i| phi[1][i]).collect(),
        references: [0, 2, 3, 4]
            .map(|m: usize| places.iter().map(|&i| phi[m][i]).collect())
            .to_vec(),
        inside: [0, 2, 3, 4]
            .map(|m: usize| places.iter().map(|&i| inside[m][i]).collect())
            .to_vec(),
    };
    let (x, z) = (part(&rest), part(&[0, 4, 10]));
    let expected = rmia_scores(x.images(), z.images(), chosen).unwrap();
    for (place, score) in rest.iter().zip(expected.scores) {
        assert_eq!(found.scores[*place], score);
        assert!(score.is_some());
    }
    assert_eq!(found.scores[4], None);
    let refused = |target, population: &[usize]| {
        rmia_pool_scores(&phi, &inside, target, population, chosen)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(1, &[1]).contains("not trained on"));
    assert!(refused(1, &[0, 0]).contains("given once"));
    assert!(refused(1, &[12]).contains("one of the images"));
    assert!(refused(5, &[0]).contains("one of the models"));
    assert!(refused(1, &[]).contains("population images"));
}

#[test]
fn images_without_their_models_have_no_score_and_nonsense_is_refused() {
    let phi = [vec![-1.0, -2.0], vec![-1.5, -1.0]];
    let inside = [vec![true, false], vec![true, false]];
    let x = RmiaImages {
        target: &[-0.5, -0.6],
        references: &phi,
        inside: &inside,
    };
    let z = RmiaImages {
        target: &[-1.0],
        references: &[vec![-1.0], vec![-2.0]],
        inside: &[vec![false], vec![false]],
    };
    let offline = RmiaOptions::default();
    let found = rmia_scores(x, z, offline).unwrap();
    assert!(found.scores[0].is_none() && found.scores[1].is_some());
    let online = options(1.0, Marginal::Online);
    let error = rmia_scores(x, z, online).unwrap_err();
    assert!(
        error.to_string().contains("online: and with them"),
        "{error}"
    );

    let with = |gamma, scale, a| RmiaOptions {
        gamma,
        scale,
        marginal: Marginal::Offline { a },
    };
    for bad in [
        with(0.0, 1.0, 1.0),
        with(1.0, -1.0, 1.0),
        with(1.0, 1.0, 1.1),
        with(f64::NAN, 1.0, 1.0),
    ] {
        assert!(rmia_scores(x, z, bad).is_err(), "{bad:?}");
    }
    let above = RmiaImages {
        target: &[0.5],
        ..z
    };
    assert!(rmia_scores(x, above, with(1.0, 1.0, 1.0)).is_ok());
    assert!(rmia_scores(x, above, with(1.0, 1.0, 0.5)).is_err());
    assert!(
        rmia_scores(
            x,
            RmiaImages {
                target: &[f64::NAN],
                ..z
            },
            offline
        )
        .is_err()
    );
    assert!(
        rmia_scores(
            x,
            RmiaImages {
                target: &[-1.0, -1.0],
                ..z
            },
            offline
        )
        .is_err()
    );
    assert!(
        rmia_scores(
            x,
            RmiaImages {
                references: &[],
                inside: &[],
                ..z
            },
            offline
        )
        .is_err()
    );
    let one = [vec![-1.0]];
    assert!(
        rmia_scores(
            x,
            RmiaImages {
                references: &one,
                inside: &[vec![false]],
                ..z
            },
            offline
        )
        .is_err()
    );
}

/// Three references that saw neither image: 0, 2, 4 about their mean 2, and 1, 1, 1. The variance is (8 + 0) / (2 + 2).
#[test]
fn the_scale_is_one_over_the_spread_between_references() {
    let column = |a: f64, b: f64| vec![a, b];
    let phi = [
        column(100.0, -7.0),
        column(0.0, 1.0),
        column(2.0, 1.0),
        column(4.0, 1.0),
        // It saw both, and is not looked at.
        column(50.0, 50.0),
    ];
    let mut inside = vec![vec![false; 2]; 4];
    inside.push(vec![true; 2]);
    let scale = rmia_scale(&phi, &inside, 0).unwrap();
    assert!((scale - 0.5_f64.sqrt()).abs() < 1e-12, "{scale}");
    // In other units of the statistic the attack is the same.
    let thousandth: Vec<Vec<f64>> = phi
        .iter()
        .map(|row| row.iter().map(|v| v / 1000.0).collect())
        .collect();
    let other = rmia_scale(&thousandth, &inside, 0).unwrap();
    assert!((other / scale - 1000.0).abs() < 1e-9);
    let said = |result: Result<f64, StatsError>| result.unwrap_err().to_string();
    assert!(said(rmia_scale(&phi, &inside, 9)).contains("target model is 9"));
    let all = vec![vec![true; 2]; 5];
    assert!(said(rmia_scale(&phi, &all, 0)).contains("train more models"));
    let same = vec![column(1.0, 2.0); 5];
    assert!(said(rmia_scale(&same, &inside, 0)).contains("must differ"));
}

use rand::SeedableRng as _;
use rand_distr::{Distribution as _, StandardNormal};

use super::*;

/// Members have `shift` times `signal` added to noise of deviation 1.
fn drawn(n: usize, signal: &[f64], rng: &mut ChaCha8Rng) -> (Vec<Vec<f64>>, Vec<bool>) {
    let member: Vec<bool> = (0..n).map(|i| i.is_multiple_of(3)).collect();
    let row = |&m: &bool| {
        let shift = |s: &f64| if m { *s } else { 0.0 };
        let value = |s: &f64| -> f64 {
            let noise: f64 = StandardNormal.sample(rng);
            noise + shift(s)
        };
        signal.iter().map(value).collect()
    };
    (member.iter().map(row).collect(), member)
}

fn auc(scores: &[f64], member: &[bool]) -> f64 {
    let side = |wanted: bool| -> Vec<f64> {
        let kept = scores.iter().zip(member).filter(|(_, m)| **m == wanted);
        kept.map(|(s, _)| *s).collect()
    };
    crate::Roc::new(&side(true), &side(false)).unwrap().auc()
}

/// What was learnt from known images, and what it says of others.
#[derive(Debug, PartialEq)]
struct Found {
    rule: Logistic,
    scores: Vec<f64>,
    cross_validation: Vec<(f64, f64)>,
}

fn combined(
    known: &[Vec<f64>],
    member: &[bool],
    others: &[Vec<f64>],
    seed: u64,
) -> Result<Found, StatsError> {
    let (rule, cross_validation) = Logistic::learn(known, member, seed)?;
    Ok(Found {
        scores: rule.scores(others),
        rule,
        cross_validation,
    })
}

/// At the minimum the gradient is 0: sum of weight (p - y) z + penalty w, and that of the intercept without the penalty.
#[test]
fn newton_finds_the_minimum() {
    let mut rng = ChaCha8Rng::seed_from_u64(41);
    let (rows, member) = drawn(60, &[1.0, -0.5, 0.0], &mut rng);
    for penalty in PENALTIES {
        let rule = Logistic::fit(&rows, &member, penalty).unwrap();
        let scores = rule.scores(&rows);
        let residual: Vec<f64> = balanced(&member)
            .iter()
            .zip(&scores)
            .zip(&member)
            .map(|((v, z), m)| v * (1.0 / (1.0 + (-z).exp()) - f64::from(u8::from(*m))))
            .collect();
        assert!(residual.iter().sum::<f64>().abs() < 1e-12);
        for j in 0..3 {
            let z = rows
                .iter()
                .map(|row| (row[j] - rule.means[j]) / rule.deviations[j]);
            let slope: f64 = z.zip(&residual).map(|(z, r)| z * r).sum();
            assert!(
                (slope + penalty * rule.weights[j]).abs() < 1e-12,
                "{penalty}: {slope}"
            );
        }
    }
}

/// Two attacks with AUC Phi(1 / sqrt 2) = 0.76 each and independent noise: together Phi(1) = 0.84. 20 useless ones beside them cost
/// little. 300 members and 600 others are judged: standard error 0.014.
#[test]
fn together_they_are_better_than_alone() {
    let mut rng = ChaCha8Rng::seed_from_u64(42);
    let signal: Vec<f64> = (0..22).map(|j| if j < 2 { 1.0 } else { 0.0 }).collect();
    let (known, member) = drawn(600, &signal, &mut rng);
    let (others, truth) = drawn(900, &signal, &mut rng);
    let found = combined(&known, &member, &others, 7).unwrap();
    let alone: Vec<f64> = others.iter().map(|row| row[0]).collect();
    let (alone, together) = (auc(&alone, &truth), auc(&found.scores, &truth));
    assert!((alone - 0.760).abs() < 0.06, "{alone}");
    assert!(
        (together - 0.841).abs() < 0.06 && together > alone + 0.02,
        "{together} {alone}"
    );
    // Its weights lie on the two, and the penalty chosen has the smallest loss of all that were tried.
    let least = found.rule.weights[..2]
        .iter()
        .fold(f64::INFINITY, |m, w| m.min(*w));
    assert!(
        found.rule.weights[2..].iter().all(|w| w.abs() < least),
        "{:?}",
        found.rule
    );
    let losses = &found.cross_validation;
    assert_eq!(losses.len(), PENALTIES.len());
    let chosen = losses
        .iter()
        .find(|(p, _)| *p == found.rule.penalty)
        .unwrap()
        .1;
    assert!(losses.iter().all(|(_, l)| *l >= chosen));
}

/// Nothing to learn: the strongest penalties win, and others are ranked by chance.
#[test]
fn noise_is_not_learnt() {
    let mut rng = ChaCha8Rng::seed_from_u64(43);
    let (known, member) = drawn(90, &[0.0; 10], &mut rng);
    let (others, truth) = drawn(900, &[0.0; 10], &mut rng);
    let found = combined(&known, &member, &others, 0).unwrap();
    assert!(found.rule.penalty >= 0.1, "{:?}", found.cross_validation);
    // 4 standard errors of 0.0204.
    assert!((auc(&found.scores, &truth) - 0.5).abs() < 0.082);
}

#[test]
fn what_must_not_matter_does_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(44);
    let (known, member) = drawn(60, &[1.0, 0.3], &mut rng);
    let (others, _) = drawn(10, &[1.0, 0.3], &mut rng);
    let base = combined(&known, &member, &others, 3).unwrap();
    assert_eq!(base, combined(&known, &member, &others, 3).unwrap());
    // Units of the columns, and a column that never varies.
    let change = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
        rows.iter()
            .map(|r| vec![1e6 * r[0] - 5.0, 42.0, -0.01 * r[1]])
            .collect()
    };
    let changed = combined(&change(&known), &member, &change(&others), 3).unwrap();
    assert_eq!(changed.rule.penalty, base.rule.penalty);
    assert_eq!(changed.rule.weights[1], 0.0);
    for (a, b) in base.scores.iter().zip(&changed.scores) {
        assert!((a - b).abs() < 1e-8, "{a} {b}");
    }
    // The others do not choose anything.
    let fewer = combined(&known, &member, &others[..1], 3).unwrap();
    assert_eq!(fewer.scores[0], base.scores[0]);
}

#[test]
fn told_apart_few_and_constant() {
    let column = |values: &[f64]| values.iter().map(|&v| vec![v]).collect::<Vec<_>>();
    let halves: Vec<bool> = (0..20).map(|i| i >= 10).collect();
    let ascending: Vec<f64> = (0..20).map(f64::from).collect();
    let found = combined(&column(&ascending), &halves, &column(&[0.0, 19.0]), 0).unwrap();
    assert!(found.scores[0] < 0.0 && found.scores[1] > 0.0);
    assert!(found.scores.iter().all(|s| s.is_finite()));
    // Too few to hold any back: the strongest penalty.
    let few = combined(&column(&[0.0, 1.0, 2.0]), &[false, true, true], &[], 0).unwrap();
    assert!(few.cross_validation.is_empty() && few.rule.penalty == PENALTIES[0]);
    let constant = combined(&column(&[3.0; 20]), &halves, &column(&[3.0]), 0).unwrap();
    assert!(constant.scores[0].abs() < 1e-12);
    // Twice as many members tell nothing by their number.
    assert!(
        Logistic::fit(&column(&[1.0; 3]), &[true, true, false], 1.0)
            .unwrap()
            .intercept
            .abs()
            < 1e-12
    );
}

#[test]
fn nonsense_is_refused() {
    let rows = vec![vec![1.0, 2.0], vec![2.0, 1.0]];
    let both = [true, false];
    assert!(combined(&rows, &both, &rows, 0).is_ok());
    assert!(combined(&rows, &[true, true], &rows, 0).is_err());
    assert!(combined(&rows, &[true], &rows, 0).is_err());
    assert!(combined(&[], &[], &rows, 0).is_err());
    assert!(combined(&[vec![], vec![]], &both, &[], 0).is_err());
    let error = combined(&[vec![1.0, f64::INFINITY], vec![2.0, 1.0]], &both, &[], 0).unwrap_err();
    assert!(
        error.to_string().starts_with("some score of known image 0"),
        "{error}"
    );
    assert!(Logistic::fit(&rows, &both, 0.0).is_err());
    let rule = Logistic::fit(&rows, &both, 1.0).unwrap();
    assert!(rule.scores(&[vec![1.0]])[0].is_nan());
}

//! Closed-form models whose privacy is known without training (attacks.md, section 14).

mod common;

use common::{attack, auc, aucs, covariance, gaussian_images, images, null_error, samples};
use dualmd_attack::{Others, RunOptions, by_name, run};
use dualmd_diffusion::{GaussianDenoiser, MemorisedDenoiser, NoiseSchedule};
use dualmd_torch::{Device, Kind, Tensor};

const MEMBERS: usize = 24;
/// Two-sided 99 % of a normal distribution: each comparison with chance below fails by luck with probability 1 %, the
/// seven of one test together with at most 7 %. The seeds are fixed, so a green test stays green.
const Z99: f64 = 2.576;

fn memorised(images: &Tensor) -> MemorisedDenoiser {
    MemorisedDenoiser::new(images, NoiseSchedule::default()).unwrap()
}

/// AUC 1, but for PFAMI, which measures a difference: this model's loss is the squared distance to the nearest training image,
/// so a fresh image whose crop lies far out beats a member whose crop hardly moves. Measured here: 0.90 and 0.91.
fn assert_caught(name: &str, auc: f64, what: &str) {
    if name == "pfami" {
        assert!(auc > 0.85, "{name}, {what}: {auc}");
    } else {
        assert_eq!(auc, 1.0, "{name}, {what}");
    }
}

/// A model that is nothing but its training images is caught by every attack, at full contrast, where each image is
/// alone in its neighbourhood. (SecMI wins about a fifth of its comparisons on rounding: on the path of a member and of
/// such a fresh image alike the predicted noise does not change, but it is thousands of times larger for the fresh one, and so
/// is its rounding.)
#[test]
fn a_memorised_set_is_caught_by_every_attack() {
    for seed in 0..3 {
        let members = images(seed, "members", MEMBERS as i64, 1.0);
        let fresh = images(seed, "fresh", 100, 1.0);
        for (name, auc) in aucs(&memorised(&members), &samples(&members, &fresh), MEMBERS) {
            assert_caught(&name, auc, &format!("seed {seed}"));
        }
    }
}

/// SecMI asks whether the predicted noise changes along the path, not whether it is small, so it depends on how the
/// training images lie. Close together, members are found. At a moderate distance the path of a *fresh* image leaves in
/// one direction, along which nothing changes, while a member's path passes its neighbours: the score is inverted, on
/// a model that has memorised everything, and SimA finds every one of the same images. Measured here: AUC 0.99 at
/// contrast 0.02, 0.03 at 0.1, 0.17 at 0.2.
#[test]
fn secmi_can_be_inverted_on_a_model_that_has_memorised_everything() {
    let mean = |name: &str, contrast: f64| {
        let one = |seed| {
            let members = images(seed, "members", MEMBERS as i64, contrast);
            let both = samples(&members, &images(seed, "fresh", 100, contrast));
            let mut outcome = attack(
                &memorised(&members),
                &both,
                &[by_name(name).unwrap()],
                16,
                7,
            );
            let scores = outcome.results.remove(0).scores.unwrap();
            auc(&scores[..MEMBERS], &scores[MEMBERS..])
        };
        (0..4).map(one).sum::<f64>() / 4.0
    };
    assert!(mean("secmi", 0.02) > 0.9, "close together");
    assert!(
        mean("secmi", 0.1) < 0.1 && mean("secmi", 0.2) < 0.3,
        "in between"
    );
    assert!(mean("sima", 0.2) > 0.99, "the same images under sima");
}

/// A model that knows the distribution and no image of it: every attack is at chance.
#[test]
fn a_gaussian_model_gives_nothing_away() {
    let n = 200;
    let mean = Tensor::zeros([64], (Kind::Float, Device::Cpu));
    let denoiser = GaussianDenoiser::new(&mean, &covariance(), NoiseSchedule::default()).unwrap();
    let both = samples(
        &gaussian_images(5, "called members", n),
        &gaussian_images(5, "fresh", n),
    );
    let n = n as usize;
    for (name, auc) in aucs(&denoiser, &both, n) {
        assert!((auc - 0.5).abs() < Z99 * null_error(n, n), "{name}: {auc}");
    }
}

/// The premise of the dual-model defences: teacher 2 knows its own half and nothing of the other.
#[test]
fn teacher_two_does_not_know_the_first_half() {
    let (d1, d2) = (
        images(11, "d1", 100, 1.0),
        images(11, "d2", MEMBERS as i64, 1.0),
    );
    let fresh = images(11, "fresh", 100, 1.0);
    let teacher = memorised(&d2);
    for (name, auc) in aucs(&teacher, &samples(&d1, &fresh), 100) {
        assert!(
            (auc - 0.5).abs() < Z99 * null_error(100, 100),
            "{name} on D1: {auc}"
        );
    }
    for (name, auc) in aucs(&teacher, &samples(&d2, &fresh), MEMBERS) {
        assert_caught(&name, auc, "D2");
    }
}

/// Whoever holds both teachers finds the members of both halves: each is the other's perfect reference model.
#[test]
fn both_teachers_together_give_their_halves_away() {
    for seed in 0..3 {
        let half = |name| images(seed, name, MEMBERS as i64, 1.0);
        let (d1, d2) = (half("d1"), half("d2"));
        let (first, second) = (memorised(&d1), memorised(&d2));
        let both = samples(
            &Tensor::cat(&[&d1, &d2], 0),
            &images(seed, "fresh", 100, 1.0),
        );
        let options = RunOptions {
            batch: 16,
            seed: 7,
            device: Device::Cpu,
            others: Others {
                teachers: Some([&first, &second]),
                reference: None,
            },
            known: None,
            shadow: None,
            parts: None,
            progress: &mut |_, _| (),
            stop: &|| false,
        };
        let attacks = [by_name("teacher-difference").unwrap()];
        let schedule = NoiseSchedule::default();
        let mut outcome = run(&first, &schedule, &both, &attacks, options).unwrap();
        let scores = outcome.results.remove(0).scores.unwrap();
        let auc = auc(&scores[..2 * MEMBERS], &scores[2 * MEMBERS..]);
        assert!(auc > 0.99, "seed {seed}: {auc}");
    }
}

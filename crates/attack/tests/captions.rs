//! Attacks on captions, on closed-form models whose memory of (image, caption) pairs is known.

mod common;

use common::{Counting, auc, covariance, gaussian_images, images, null_error, quiet};
use dualmd_attack::{
    Known, Others, Outcome, Prompts, RunOptions, Samples, by_name, default_set, run,
};
use dualmd_data::stream;
use dualmd_diffusion::{Condition, Denoiser, GaussianDenoiser, NoiseSchedule, Result};
use dualmd_names::AttackSpec;
use dualmd_torch::{Device, Kind, Tensor, noise};
use std::cell::Cell;

const MEMBERS: usize = 40;
const FRESH: usize = 60;
const ALL: usize = MEMBERS + FRESH;
const Z99: f64 = 2.576;
const TOKENS: i64 = 4;
const WIDTH: i64 = 6;
/// Low enough that noise of t = 450 hides which image it is: only the caption says.
const CONTRAST: f64 = 0.2;

/// Captions of length 1 in random directions.
fn captions(seed: u64, purpose: &str, n: usize) -> Tensor {
    let raw = noise::normal(
        &mut stream(seed, purpose, 0),
        &[n as i64, TOKENS * WIDTH],
        Device::Cpu,
    );
    let length = raw
        .square()
        .sum_dim_intlist([1i64].as_slice(), true, Kind::Float)
        .sqrt();
    (raw / length).view([n as i64, TOKENS, WIDTH])
}

/// The optimal denoiser of pairs of an image and a caption whose embedding is known up to some spread:
/// weights w_i = softmax(-|x_t - sqrt(abar) y_i|^2 / 2 (1 - abar) - |c - c_i|^2 / 2 spread^2).
struct MemorisedPairs {
    images: Tensor,
    captions: Tensor,
    schedule: NoiseSchedule,
}

const SPREAD: f64 = 0.15;

impl MemorisedPairs {
    fn new(images: &Tensor, captions: &Tensor) -> Self {
        Self {
            images: images.to_kind(Kind::Double).flatten(1, -1),
            captions: captions.to_kind(Kind::Double).flatten(1, -1),
            schedule: NoiseSchedule::default(),
        }
    }
}

/// |a_i - b_j|^2.
fn squares(a: &Tensor, b: &Tensor) -> Tensor {
    (a.unsqueeze(1) - b.unsqueeze(0)).square().sum_dim_intlist(
        [2i64].as_slice(),
        false,
        Kind::Double,
    )
}

impl Denoiser for MemorisedPairs {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let (a, b) = self.schedule.coefficients(t);
        let (a, b) = (
            a.to_kind(Kind::Double).view([-1, 1]),
            b.to_kind(Kind::Double).view([-1, 1]),
        );
        let x = x_t.to_kind(Kind::Double).flatten(1, -1);
        let told = condition.unwrap().texts()?;
        let told = told.to_kind(Kind::Double).flatten(1, -1);
        assert_eq!(told.size()[0], x.size()[0]);
        // |x - a y|^2 / b^2 = |x / a - y|^2 (a / b)^2
        let logits = squares(&(&x / &a), &self.images) * (&a / &b).square() * -0.5
            - squares(&told, &self.captions) / (2.0 * SPREAD * SPREAD);
        let mean = logits.softmax(1, Kind::Double).matmul(&self.images);
        Ok(((x - mean * a) / b).view_as(x_t).to_kind(Kind::Float))
    }
}

fn pictures(seed: u64) -> Tensor {
    let part = |purpose, n: usize| images(seed, purpose, n as i64, CONTRAST);
    Tensor::cat(&[part("members", MEMBERS), part("fresh", FRESH)], 0)
}

fn empty() -> Tensor {
    Tensor::zeros([1, TOKENS, WIDTH], (Kind::Float, Device::Cpu))
}

fn samples(x: &Tensor, embeddings: &Tensor, captions: Vec<Vec<usize>>) -> Samples {
    let ids = (0..x.size()[0]).map(|i| format!("image-{i}")).collect();
    let prompts = Prompts::new(embeddings, captions, &empty()).unwrap();
    Samples::new(x.shallow_clone(), ids)
        .and_then(|s| s.with_prompts(prompts))
        .unwrap()
}

fn own() -> Vec<Vec<usize>> {
    (0..ALL).map(|i| vec![i]).collect()
}

fn outcome(
    model: &dyn Denoiser,
    samples: &Samples,
    names: &[&str],
    options: RunOptions<'_>,
) -> Outcome {
    let attacks: Vec<_> = names.iter().map(|name| by_name(name).unwrap()).collect();
    run(model, &NoiseSchedule::default(), samples, &attacks, options).unwrap()
}

fn scores(model: &dyn Denoiser, samples: &Samples, names: &[&str]) -> Vec<Vec<f64>> {
    outcome(model, samples, names, quiet(16, 7))
        .results
        .into_iter()
        .map(|r| r.scores.unwrap())
        .collect()
}

fn auc_of(scores: &[f64]) -> f64 {
    auc(&scores[..MEMBERS], &scores[MEMBERS..])
}

#[test]
fn pairs_that_were_memorised_are_found_by_their_captions() {
    for seed in 0..3 {
        let (x, told) = (pictures(seed), captions(seed, "captions", ALL));
        let model = MemorisedPairs::new(
            &x.narrow(0, 0, MEMBERS as i64),
            &told.narrow(0, 0, MEMBERS as i64),
        );
        let honest = scores(&model, &samples(&x, &told, own()), &["clid-gap", "wen"]);
        assert!(
            auc_of(&honest[0]) > 0.95,
            "seed {seed}: {}",
            auc_of(&honest[0])
        );

        // Captions handed round, on either side: each member is asked about with another member's. (Below chance here:
        // what such a caption calls up is one wrong image, and what a caption that nobody saw calls up lies between
        // several.)
        let turned = |i: usize| match i {
            0..MEMBERS => (i + 1) % MEMBERS,
            _ => MEMBERS + (i + 1 - MEMBERS) % FRESH,
        };
        let permuted = samples(&x, &told, (0..ALL).map(|i| vec![turned(i)]).collect());
        let gap = auc_of(&scores(&model, &permuted, &["clid-gap"])[0]);
        assert!(
            gap < 0.5 + Z99 * null_error(MEMBERS, FRESH),
            "seed {seed}, permuted: {gap}"
        );
        // Wen's norm looks at captions alone: it does not notice, but for the noise that belongs to the images.
        let wen = auc_of(&scores(&model, &permuted, &["wen"])[0]);
        assert!((wen - auc_of(&honest[1])).abs() < 0.1, "seed {seed}: {wen}");
    }
}

/// What is learnt from a fifth holds for the rest.
#[test]
fn clid_learns_what_the_gap_shows() {
    let (x, told) = (pictures(3), captions(3, "captions", ALL));
    let model = MemorisedPairs::new(
        &x.narrow(0, 0, MEMBERS as i64),
        &told.narrow(0, 0, MEMBERS as i64),
    );
    let both = samples(&x, &told, own());
    let truth: Vec<bool> = (0..ALL).map(|i| i < MEMBERS).collect();
    let known = Known::draw(both.ids(), &truth, 0.2, 1).unwrap();
    let options = RunOptions {
        known: Some(&known),
        shadow: None,
        parts: None,
        ..quiet(16, 7)
    };
    let outcome = outcome(&model, &both, &["clid-gap", "clid"], options);
    let clid = &outcome.results[1];
    assert_eq!(clid.rows, known.rest(ALL));
    let (inside, outside): (Vec<_>, Vec<_>) = clid
        .rows
        .iter()
        .zip(clid.scores.as_ref().unwrap())
        .partition(|(row, _)| **row < MEMBERS);
    let values = |side: Vec<(&usize, &f64)>| side.into_iter().map(|(_, s)| *s).collect::<Vec<_>>();
    let auc = auc(&values(inside), &values(outside));
    assert!(auc > 0.95, "{auc}");
    // Both ask for the same six predictions.
    assert_eq!(
        (outcome.network_calls_made, clid.network_calls),
        (6 * ALL as u64, 0)
    );
}

/// A model that does not listen: the same noise under every caption, so no difference at all.
#[test]
fn a_model_that_ignores_captions_has_no_gap() {
    let mean = Tensor::zeros([64], (Kind::Float, Device::Cpu));
    let model = GaussianDenoiser::new(&mean, &covariance(), NoiseSchedule::default()).unwrap();
    let x = gaussian_images(5, "all", ALL as i64);
    let both = samples(&x, &captions(5, "captions", ALL), own());
    for scores in scores(&model, &both, &["clid-gap", "wen"]) {
        assert!(scores.iter().all(|&s| s == 0.0), "{scores:?}");
    }
}

/// x given c is Gaussian around a linear function of c, and the model knows that function and no image.
struct Listening {
    centred: GaussianDenoiser,
    directions: Tensor,
    schedule: NoiseSchedule,
}

impl Listening {
    fn mean(&self, told: &Tensor, like: &Tensor) -> Tensor {
        told.flatten(1, -1).matmul(&self.directions).view_as(like)
    }
}

impl Denoiser for Listening {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let (a, _) = self.schedule.coefficients(t);
        let mean = self.mean(condition.unwrap().texts()?, x_t) * a.view([-1, 1, 1, 1]);
        self.centred.predict_noise(&(x_t - mean), t, None)
    }
}

#[test]
fn a_model_that_listens_and_remembers_nothing_is_at_chance() {
    let zero = Tensor::zeros([64], (Kind::Float, Device::Cpu));
    let schedule = NoiseSchedule::default;
    let model = Listening {
        centred: GaussianDenoiser::new(&zero, &covariance(), schedule()).unwrap(),
        directions: noise::normal(
            &mut stream(6, "directions", 0),
            &[TOKENS * WIDTH, 64],
            Device::Cpu,
        ) * 0.5,
        schedule: schedule(),
    };
    let told = captions(6, "captions", ALL);
    let x = gaussian_images(6, "all", ALL as i64);
    let x = &x + model.mean(&told, &x);
    let both = samples(&x, &told, own());
    for (scores, name) in scores(&model, &both, &["clid-gap", "wen"])
        .iter()
        .zip(["clid-gap", "wen"])
    {
        let auc = auc_of(scores);
        assert!(
            (auc - 0.5).abs() < Z99 * null_error(MEMBERS, FRESH),
            "{name}: {auc}"
        );
    }
    // The captions do help, all alike.
    let gaps = &scores(&model, &both, &["clid-gap"])[0];
    assert!(gaps.iter().filter(|&&gap| gap > 0.0).count() > ALL * 9 / 10);
}

/// Trained with a variant of the caption (prompt diversification): the original caption misses, several find.
#[test]
fn several_captions_find_what_one_misses() {
    for seed in 0..3 {
        let x = pictures(10 + seed);
        let told = captions(10 + seed, "captions", 3 * ALL);
        // Sample i has captions i, ALL + i and 2 ALL + i, the fresh ones of odd number only the first two; trained was
        // with the last.
        let model = MemorisedPairs::new(
            &x.narrow(0, 0, MEMBERS as i64),
            &told.narrow(0, 2 * ALL as i64, MEMBERS as i64),
        );
        let of = |i: usize| {
            let all = vec![i, ALL + i, 2 * ALL + i];
            if i >= MEMBERS && i % 2 == 1 {
                all[..2].to_vec()
            } else {
                all
            }
        };
        let both = samples(&x, &told, (0..ALL).map(of).collect());
        for base in ["loss", "sima", "clid-gap"] {
            let name = |suffix| format!("{base}@450{suffix}");
            let names = ["", "+captions", "+captions-mean"].map(name);
            let got = scores(&model, &both, &names.each_ref().map(String::as_str));
            let aucs: Vec<f64> = got.iter().map(|s| auc_of(s)).collect();
            assert!(
                got[1].iter().zip(&got[0]).all(|(best, one)| best >= one),
                "{base}"
            );
            assert!(
                got[1].iter().zip(&got[2]).all(|(best, mean)| best >= mean),
                "{base}"
            );
            assert!(
                aucs[1] >= aucs[0] && aucs[1] > 0.9,
                "seed {seed}, {base}: {aucs:?}"
            );
        }
        // Each caption asked alone gives the numbers that best and mean are made of.
        let alone = |k: usize| {
            samples(
                &x,
                &told,
                (0..ALL).map(|i| vec![of(i)[k % of(i).len()]]).collect(),
            )
        };
        for base in ["sima", "secmi", "rediffuse"] {
            let single: Vec<Vec<f64>> = (0..3)
                .map(|k| scores(&model, &alone(k), &[base]).remove(0))
                .collect();
            let names = ["+captions", "+captions-mean"].map(|suffix| format!("{base}{suffix}"));
            let got = scores(&model, &both, &names.each_ref().map(String::as_str));
            for i in 0..ALL {
                let mine: Vec<f64> = (0..of(i).len()).map(|k| single[k][i]).collect();
                let best = mine.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                common::assert_close(got[0][i], best, 1e-6, &names[0]);
                let mean = mine.iter().sum::<f64>() / mine.len() as f64;
                common::assert_close(got[1][i], mean, 1e-6, &names[1]);
            }
        }
    }
}

/// Mirrored and low-passed batches keep their captions, and nothing remembered under one caption answers for another.
#[test]
fn variants_keep_step_with_captions() {
    let (x, told) = (pictures(20), captions(20, "captions", 2 * ALL));
    let model = MemorisedPairs::new(
        &x.narrow(0, 0, MEMBERS as i64),
        &told.narrow(0, 0, MEMBERS as i64),
    );
    let pairs = |x: &Tensor| samples(x, &told, (0..ALL).map(|i| vec![ALL + i, i]).collect());
    let both = pairs(&x);
    let mirrored = pairs(&x.flip([3i64]));
    let names = [
        "sima",
        "sima+captions",
        "sima+captions+flip",
        "sima+flip+captions-mean",
        "sima+lowpass+captions",
        "sima+lowpass",
    ];
    let got = scores(&model, &both, &names);
    let there = scores(&model, &mirrored, &["sima+captions"]);
    let low_alone = samples(&x, &told, own());
    let low = scores(&model, &low_alone, &["sima+lowpass", "sima", "sima+flip"]);
    let first = scores(&model, &both, &["sima+flip"]);
    for i in 0..ALL {
        common::assert_close(
            got[2][i],
            f64::midpoint(got[1][i], there[0][i]),
            1e-9,
            "captions+flip",
        );
        common::assert_close(
            got[3][i],
            f64::midpoint(first[0][i], low[2][i]),
            1e-9,
            "flip+captions-mean",
        );
        common::assert_close(
            got[4][i],
            got[5][i].max(low[0][i]),
            1e-9,
            "lowpass+captions",
        );
        common::assert_close(got[1][i], got[0][i].max(low[1][i]), 1e-9, "captions");
    }
    // Upright and mirrored, two captions: four predictions, whatever is made of them.
    let model = Counting {
        inner: model,
        samples: Cell::new(0),
    };
    let outcome = outcome(&model, &both, &names, quiet(16, 7));
    assert_eq!(model.samples.get(), 4 * ALL as u64);
    assert_eq!(outcome.network_calls_made, 4 * ALL as u64);
}

/// Models beside the target are told the same captions.
#[test]
fn the_reference_model_is_told_as_well() {
    let (x, told) = (pictures(30), captions(30, "captions", ALL));
    let half = |from: i64| {
        MemorisedPairs::new(
            &x.narrow(0, from, MEMBERS as i64),
            &told.narrow(0, from, MEMBERS as i64),
        )
    };
    let (target, other) = (half(0), half(MEMBERS as i64));
    let others = Others {
        teachers: Some([&target, &other]),
        reference: Some(&other),
    };
    let both = samples(&x, &told, own());
    let options = RunOptions {
        others,
        ..quiet(16, 7)
    };
    let outcome = outcome(
        &target,
        &both,
        &["reference", "teacher-difference"],
        options,
    );
    let scores = outcome.results[0].scores.as_ref().unwrap();
    // The first 40 are the target's, the next 40 the other's, and 20 nobody's.
    assert!(auc(&scores[..MEMBERS], &scores[2 * MEMBERS..]) > 0.95);
    assert!(auc(&scores[2 * MEMBERS..], &scores[MEMBERS..2 * MEMBERS]) > 0.95);
    let scores = outcome.results[1].scores.as_ref().unwrap();
    assert!(auc(&scores[..2 * MEMBERS], &scores[2 * MEMBERS..]) > 0.95);
}

/// A model of pixels without text: attacks on captions are refused one by one, the others go on.
#[test]
fn without_captions_there_is_nothing_to_compare() {
    let mean = Tensor::zeros([64], (Kind::Float, Device::Cpu));
    let model = GaussianDenoiser::new(&mean, &covariance(), NoiseSchedule::default()).unwrap();
    let x = gaussian_images(5, "all", 8);
    let bare = Samples::new(x, (0..8).map(|i| format!("image-{i}")).collect()).unwrap();
    let names = ["clid-gap", "wen", "pia-sd-2024", "sima+captions"];
    for result in outcome(&model, &bare, &names, quiet(4, 0)).results {
        let reason = result.scores.unwrap_err();
        assert!(reason.contains("these samples have none"), "{reason}");
    }
    // A model that does not listen gives the same scores, bit for bit, with captions and without.
    let told = captions(5, "captions", 8);
    let with = samples(bare.x(), &told, (0..8).map(|i| vec![i]).collect());
    let all: Vec<_> = default_set().iter().map(|a| a.info().name).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(scores(&model, &with, &all), scores(&model, &bare, &all));
    assert!(default_set().iter().all(|a| {
        !a.info()
            .name
            .parse::<AttackSpec>()
            .unwrap()
            .compares_captions()
    }));
    assert!(scores(&model, &bare, &["sima"])[0].len() == 8);
}

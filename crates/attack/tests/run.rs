//! Running attacks: call counting, independence of the batch, failures that stay where they happen.

mod common;

use common::{Counting, Linear, assert_close, attack, images, samples};
use dualmd_attack::{
    AttackError, AttackInfo, Batch, Batches, Known, Learned, Method, Others, Parts, Pian, Rule,
    RunOptions, Samples, Shadow, Share, SimA, by_name, default_set, run, run_share,
};
use dualmd_diffusion::{MemorisedDenoiser, NoiseSchedule};
use dualmd_torch::{Device, Kind, Tensor};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

fn memorised() -> (MemorisedDenoiser, Samples) {
    // Low contrast: the posterior is a real mixture, so that no score is a rounding error.
    let members = images(1, "members", 10, 0.2);
    let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
    (model, samples(&members, &images(1, "fresh", 13, 0.2)))
}

fn scores(outcome: dualmd_attack::Outcome) -> Vec<Vec<f64>> {
    outcome
        .results
        .into_iter()
        .map(|r| r.scores.unwrap())
        .collect()
}

/// loss 8, secmi 11, pia 2, pian 2, sima 1, pfami 20, rediffuse 20; eps(x, 0) serves secmi, pia and pian, the noisy images at
/// t = 200 serve loss, pfami (one draw) and rediffuse (eight).
#[test]
fn network_calls_are_counted_and_shared() {
    let (inner, samples) = memorised();
    let model = Counting {
        inner,
        samples: Cell::new(0),
    };
    let outcome = attack(&model, &samples, &default_set(), 5, 0);
    assert_eq!(
        (outcome.network_calls_made, outcome.network_calls_saved),
        (53 * 23, 11 * 23)
    );
    assert_eq!(model.samples.get(), 53 * 23);
    let per_attack: Vec<u64> = outcome
        .results
        .iter()
        .map(|r| r.network_calls / 23)
        .collect();
    assert_eq!(per_attack, [8, 11, 1, 1, 1, 19, 12]);
    let promised: usize = outcome
        .results
        .iter()
        .map(|r| r.info.network_calls_per_sample)
        .sum();
    assert_eq!(
        promised as u64 * 23,
        outcome.network_calls_made + outcome.network_calls_saved
    );

    // PIA at three timesteps pays eps(x, 0) once.
    let outcome = attack(
        &model,
        &samples,
        &["pia@50", "pia@100", "pia@150"].map(|name| by_name(name).unwrap()),
        23,
        0,
    );
    assert_eq!(
        (outcome.network_calls_made, outcome.network_calls_saved),
        (4 * 23, 2 * 23)
    );
}

#[test]
fn scores_do_not_depend_on_the_batch_and_repeat() {
    let (model, samples) = memorised();
    let reference = scores(attack(&model, &samples, &default_set(), 23, 4));
    assert_eq!(
        scores(attack(&model, &samples, &default_set(), 23, 4)),
        reference
    );
    for batch in [0, 1, 7] {
        let others = scores(attack(&model, &samples, &default_set(), batch, 4));
        for (a, b) in others.iter().flatten().zip(reference.iter().flatten()) {
            assert_close(*a, *b, 1e-5, &format!("batch {batch}"));
        }
    }
    // Another seed: other noise for the attacks that draw some, and nothing else changes (beyond rounding: batches are
    // cut elsewhere).
    let other = attack(&model, &samples, &default_set(), 23, 5);
    for (result, reference) in other.results.iter().zip(&reference) {
        let draws = ["loss", "pfami", "rediffuse"].contains(&result.info.name.as_str());
        for (a, b) in result.scores.as_ref().unwrap().iter().zip(reference) {
            if draws {
                assert_ne!(a, b, "{}", result.info.name);
            } else {
                assert_close(*a, *b, 1e-5, "seed");
            }
        }
    }
}

#[test]
fn scores_come_back_in_the_order_of_the_samples() {
    let x = Tensor::from_slice(&[0.1f32, 0.2, 0.3, 0.4, 0.5]).view([5, 1, 1, 1]);
    let samples = Samples::new(x, (0..5).map(|i| i.to_string()).collect()).unwrap();
    let outcome = attack(
        &Linear {
            slope: 1.0,
            offset: 0.0,
        },
        &samples,
        &[by_name("sima").unwrap()],
        2,
        9,
    );
    for (i, score) in scores(outcome)[0].iter().enumerate() {
        assert_close(*score, -(0.1 * (i + 1) as f64).powi(4), 1e-6, "sima");
    }
}

/// Where eps(x, 0) is exactly 0 PIAN divides by it. The others go on.
#[test]
fn a_failing_attack_does_not_take_the_others_with_it() {
    let x = Tensor::from_slice(&[0.5f32, 0.0, 0.25]).view([3, 1, 1, 1]);
    let samples = Samples::new(x, ["a", "black", "c"].map(String::from).to_vec()).unwrap();
    let attacks: Vec<Method> = vec![
        Pian::default().into(),
        SimA { t: 5000, p: 4 }.into(),
        SimA::default().into(),
    ];
    // Both SimA have one name.
    let options = |seed| RunOptions {
        batch: 2,
        seed,
        device: Device::Cpu,
        others: Others::default(),
        known: None,
        shadow: None,
        parts: None,
        progress: Box::leak(Box::new(|_, _| ())),
        stop: &|| false,
    };
    let (model, schedule) = (
        Linear {
            slope: 1.0,
            offset: 0.0,
        },
        NoiseSchedule::default(),
    );
    let repeated = run(&model, &schedule, &samples, &attacks, options(0));
    assert!(matches!(repeated, Err(AttackError::Repeated(name)) if name == "sima"));

    let attacks = ["pian", "sima@5000", "sima"].map(|name| by_name(name).unwrap());
    let outcome = run(&model, &schedule, &samples, &attacks, options(0)).unwrap();
    let reason = |i: usize| outcome.results[i].scores.as_ref().unwrap_err();
    assert!(reason(0).contains("sample black is NaN"), "{}", reason(0));
    assert!(reason(1).contains("choose 0 to 999"), "{}", reason(1));
    assert_eq!(outcome.results[2].scores.as_ref().unwrap().len(), 3);
}

#[test]
fn a_run_can_be_watched_and_stopped() {
    let (model, samples) = memorised();
    let schedule = NoiseSchedule::default();
    // After whole batches, and in the middle of one: the error counts what the progress told.
    for told in [4, 3] {
        let mut seen = Vec::new();
        let calls = Cell::new(0);
        let stop = || {
            calls.set(calls.get() + 1);
            calls.get() > told
        };
        let result = run(
            &model,
            &schedule,
            &samples,
            &[by_name("sima").unwrap(), by_name("pia").unwrap()],
            RunOptions {
                batch: 10,
                seed: 0,
                device: Device::Cpu,
                others: Others::default(),
                known: None,
                shadow: None,
                parts: None,
                progress: &mut |d, t| seen.push((d, t)),
                stop: &stop,
            },
        );
        let Err(AttackError::Stopped { done, total }) = result else {
            panic!("{result:?}");
        };
        assert_eq!((done, total), (10 * told, 46));
        let expected: Vec<_> = (1..=told).map(|i| (10 * i, 46)).collect();
        assert_eq!(seen, expected);
    }
}

/// Parts in memory.
#[derive(Default)]
struct Kept(RefCell<BTreeMap<String, BTreeMap<String, Tensor>>>);

impl Parts for Kept {
    fn read(&self, name: &str) -> Option<BTreeMap<String, Tensor>> {
        let all = self.0.borrow();
        let part = all.get(name)?.iter();
        Some(part.map(|(n, t)| (n.clone(), t.copy())).collect())
    }

    fn write(&self, name: &str, part: &BTreeMap<String, Tensor>) -> Result<(), String> {
        let part = part.iter().map(|(n, t)| (n.clone(), t.copy())).collect();
        self.0.borrow_mut().insert(name.to_owned(), part);
        Ok(())
    }
}

/// A run that was stopped goes on where it was: the same scores to the last bit, costs and warnings, and no batch is looked at
/// twice, whether attacks have a formula, learn from known samples or from a shadow model.
#[test]
fn a_stopped_run_goes_on() {
    let (inner, both) = memorised();
    let (shadow, _) = memorised();
    let others = {
        let x = images(2, "elsewhere", 6, 0.2);
        Samples::new(x, (0..6).map(|i| format!("other-{i}")).collect()).unwrap()
    };
    let member = [true, true, true, false, false, false];
    let truth: Vec<bool> = (0..23).map(|i| i < 10).collect();
    let known = Known::draw(both.ids(), &truth, 0.3, 1).unwrap();
    let schedule = NoiseSchedule::default();
    let names = ["loss", "pian", "sima@5000", "secmi", "mean", "mean+shadow"];
    let make = |name: &&str| match *name {
        "mean" => Method::Learned(Box::new(Mean)),
        "mean+shadow" => Method::Shadowed(Box::new(Named(Mean))),
        name => by_name(name).unwrap(),
    };
    let attacks: Vec<Method> = names.iter().map(make).collect();
    let model = Counting {
        inner,
        samples: Cell::new(0),
    };
    let go = |kept: &Kept, stop_after: usize| {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > stop_after
        };
        let options = RunOptions {
            known: Some(&known),
            shadow: Some(Shadow {
                denoiser: &shadow,
                schedule: &schedule,
                samples: &others,
                member: &member,
            }),
            parts: Some(kept),
            stop: &stop,
            ..common::quiet(5, 3)
        };
        run(&model, &schedule, &both, &attacks, options)
    };
    let whole = go(&Kept::default(), usize::MAX).unwrap();
    let calls = model.samples.replace(0);
    let kept = Kept::default();
    // Two batches of the shadow's samples, and three of the model's and a little.
    assert!(matches!(
        go(&kept, 2 + 3 * 6 + 2),
        Err(AttackError::Stopped { .. })
    ));
    let (before, parts) = (model.samples.replace(0), kept.0.borrow().len());
    assert_eq!(parts, 2 + 3);
    // Somebody damages one of them.
    kept.0.borrow_mut().get_mut("1").unwrap().remove("0");
    let resumed = go(&kept, usize::MAX).unwrap();
    let after = model.samples.get();
    // 20 calls a sample. Batch 0 again, because the attack that failed is tried again; 1, which is damaged; 3 from its
    // beginning; 4.
    assert_eq!((calls, after), (23 * 20, 3 * 100 + 60), "{before}");
    assert_eq!(resumed.network_calls_made, whole.network_calls_made);
    assert_eq!(resumed.network_calls_saved, whole.network_calls_saved);
    assert_eq!(resumed.warnings, whole.warnings);
    for (a, b) in resumed.results.iter().zip(&whole.results) {
        let name = &a.info.name;
        assert_eq!((&a.scores, &a.rows), (&b.scores, &b.rows), "{name}");
        assert_eq!(a.network_calls, b.network_calls, "{name}");
        assert_eq!(a.scores.is_err(), name == "sima@5000", "{name}");
    }
    // A third run looks at nothing, but for the attack that fails on the first batch that it is asked about.
    model.samples.set(0);
    go(&kept, usize::MAX).unwrap();
    assert_eq!(model.samples.get(), 100);
}

/// Three processes go through a run's batches, in any order; the run then finds all of them and scores as one process does.
#[test]
fn shares_of_a_run_are_the_run() {
    let (inner, both) = memorised();
    let (other, _) = memorised();
    let others = {
        let x = images(2, "elsewhere", 6, 0.2);
        Samples::new(x, (0..6).map(|i| format!("other-{i}")).collect()).unwrap()
    };
    let truth: Vec<bool> = (0..23).map(|i| i < 10).collect();
    let known = Known::draw(both.ids(), &truth, 0.3, 1).unwrap();
    let schedule = NoiseSchedule::default();
    let shadow = Shadow {
        denoiser: &other,
        schedule: &schedule,
        samples: &others,
        member: &[true, true, true, false, false, false],
    };
    let attacks = [
        by_name("loss").unwrap(),
        by_name("sima@5000").unwrap(),
        Method::Learned(Box::new(Mean)),
        Method::Shadowed(Box::new(Named(Mean))),
    ];
    let model = Counting {
        inner,
        samples: Cell::new(0),
    };
    let go = |kept: &Kept| {
        let options = RunOptions {
            known: Some(&known),
            shadow: Some(shadow),
            parts: Some(kept),
            ..common::quiet(5, 3)
        };
        run(&model, &schedule, &both, &attacks, options).unwrap()
    };
    let whole = go(&Kept::default());
    let kept = Kept::default();
    // Two batches of the shadow's samples and five of the model's.
    for (text, own, there) in [("3/3", 1, 1), ("1/3", 3, 4), ("2/3", 3, 7)] {
        let last = Cell::new((0, 1));
        let options = RunOptions {
            known: Some(&known),
            shadow: Some(shadow),
            parts: Some(&kept),
            progress: &mut |done, total| last.set((done, total)),
            ..common::quiet(5, 3)
        };
        let share = Share::parse(text).unwrap();
        let looked = run_share(&model, &schedule, &both, &attacks, options, share).unwrap();
        let expected = Batches {
            own,
            made: own,
            there,
            all: 7,
        };
        assert_eq!(looked.batches, expected, "{text}");
        let (failed, reason) = &looked.failed[0];
        assert_eq!((looked.failed.len(), failed.as_str()), (1, "sima@5000"));
        assert!(reason.contains("outside the model's schedule"), "{reason}");
        let (done, total) = last.get();
        assert_eq!(done, total, "{text}");
    }
    model.samples.set(0);
    let merged = go(&kept);
    // The loss of one batch again, on which the attack that failed is tried again.
    assert_eq!(model.samples.get(), 5 * 8);
    assert_eq!(merged.network_calls_made, whole.network_calls_made);
    assert_eq!(merged.network_calls_saved, whole.network_calls_saved);
    for (a, b) in merged.results.iter().zip(&whole.results) {
        let name = &a.info.name;
        assert_eq!((&a.scores, &a.rows), (&b.scores, &b.rows), "{name}");
        assert_eq!(a.network_calls, b.network_calls, "{name}");
        assert_eq!(a.scores.is_err(), name == "sima@5000", "{name}");
    }
}

/// Learns nothing: the score is the mean of the sample.
#[derive(Debug)]
struct Mean;

impl Learned for Mean {
    fn info(&self) -> AttackInfo {
        let mut info = by_name("sima").unwrap().info();
        info.name = "mean".into();
        info
    }

    fn features(&self, batch: &mut Batch<'_>) -> dualmd_attack::Result<Tensor> {
        Ok(batch
            .x()
            .mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float))
    }

    fn learn(&self, taught: &Tensor, _: &[bool], _: u64) -> dualmd_attack::Result<Rule> {
        let shift = taught.mean(Kind::Double).double_value(&[]);
        Ok(Box::new(move |x| {
            Ok(Vec::try_from(x.to_kind(Kind::Double) - shift)?)
        }))
    }
}

/// The same under the name of one that is learnt on a shadow model.
#[derive(Debug)]
struct Named(Mean);

impl Learned for Named {
    fn info(&self) -> AttackInfo {
        let mut info = self.0.info();
        info.name += "+shadow";
        info
    }

    fn features(&self, batch: &mut Batch<'_>) -> dualmd_attack::Result<Tensor> {
        self.0.features(batch)
    }

    fn learn(&self, taught: &Tensor, member: &[bool], seed: u64) -> dualmd_attack::Result<Rule> {
        self.0.learn(taught, member, seed)
    }
}

#[test]
fn clean_noise_is_reported_and_warned_about() {
    let (model, samples) = memorised();
    // eps(x, 0) of a memorised image is 0.005 x.
    let outcome = attack(&model, &samples, &default_set(), 10, 0);
    let clean = outcome.clean_noise.unwrap();
    assert_eq!(clean.rms.len(), 23);
    assert!(clean.rms[..10].iter().all(|&r| r < 0.01) && clean.rms[10..].iter().all(|&r| r > 1.0));
    assert!(
        outcome.warnings[0].contains("below 0.5 on 43 % of the images"),
        "{}",
        outcome.warnings[0]
    );
    // Nobody asked for eps(x, 0): it is not computed for the statistic alone.
    let outcome = attack(&model, &samples, &[by_name("sima").unwrap()], 10, 0);
    assert!(outcome.clean_noise.is_none() && outcome.warnings.is_empty());
    assert_eq!(outcome.network_calls_made, 23);
}

#[test]
fn samples_are_checked() {
    let x = Tensor::from_slice(&[0.5f32, f32::NAN]).view([2, 1, 1, 1]);
    let message = |x: &Tensor, ids: [&str; 2]| {
        Samples::new(x.shallow_clone(), ids.map(String::from).to_vec())
            .unwrap_err()
            .to_string()
    };
    assert!(message(&x, ["a", "b"]).contains("sample b holds NaN"));
    assert!(message(&x.zeros_like(), ["a", "a"]).contains("sample a is listed twice"));
    assert!(message(&x.zeros_like().view([2, 1]), ["a", "b"]).contains("[N, C, H, W]"));
}

/// Averaged over both mirror images: twice the calls, the same score for an image and its mirror image.
#[test]
fn a_flip_averages_both_orientations() {
    let (model, samples) = memorised();
    let mirrored = Samples::new(samples.x().flip([3i64]), samples.ids().to_vec()).unwrap();
    let attacks = || ["sima", "sima+flip", "secmi@150+flip"].map(|name| by_name(name).unwrap());
    let (a, b) = (
        attack(&model, &samples, &attacks(), 8, 0),
        attack(&model, &mirrored, &attacks(), 8, 0),
    );
    // SimA of the upright images is asked twice and computed once.
    assert_eq!((a.network_calls_made, a.network_calls_saved), (34 * 23, 23));
    let (a, b) = (scores(a), scores(b));
    for i in 0..23 {
        assert_close(a[1][i], f64::midpoint(a[0][i], b[0][i]), 1e-9, "sima+flip");
        assert_close(a[1][i], b[1][i], 1e-5, "sima+flip, mirrored");
    }
}

#[test]
fn the_difference_of_teachers_needs_teachers() {
    let (model, samples) = memorised();
    let outcome = attack(
        &model,
        &samples,
        &[by_name("teacher-difference").unwrap()],
        8,
        0,
    );
    let reason = outcome.results[0].scores.as_ref().unwrap_err();
    assert!(reason.contains("name both model folders"), "{reason}");
}

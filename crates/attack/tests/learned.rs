//! Attacks that learn from known samples, and what they are not told.

mod common;

use common::{assert_close, auc, covariance, gaussian_images, images, null_error, samples};
use dualmd_attack::{
    Attack, Batch, Gsa1, Gsa2, Known, Learned, Method, Others, Outcome, Reference, RunOptions,
    Samples, Shadow, by_name, run,
};
use dualmd_diffusion::{
    Condition, Denoiser, GaussianDenoiser, GradientQuestion, Gradients, MemorisedDenoiser,
    NoiseSchedule, Result,
};
use dualmd_torch::{Device, Kind, Tensor, no_grad, tch};
use std::cell::Cell;

const MEMBERS: usize = 40;

fn attacks(names: &[&str]) -> Vec<Method> {
    names.iter().map(|name| by_name(name).unwrap()).collect()
}

/// The first `members` samples are members; half of all are known.
fn known(both: &Samples, members: usize) -> Known {
    let truth: Vec<bool> = (0..both.ids().len()).map(|i| i < members).collect();
    Known::draw(both.ids(), &truth, 0.5, 1).unwrap()
}

fn learnt(
    denoiser: &dyn Denoiser,
    both: &Samples,
    known: &Known,
    names: &[&str],
    batch: usize,
) -> Outcome {
    let options = RunOptions {
        batch,
        seed: 3,
        device: Device::Cpu,
        others: Others::default(),
        known: Some(known),
        shadow: None,
        parts: None,
        progress: &mut |_, _| (),
        stop: &|| false,
    };
    let schedule = NoiseSchedule::default();
    run(denoiser, &schedule, both, &attacks(names), options).unwrap()
}

/// (name, AUC on the samples that were not learnt from).
fn aucs(outcome: Outcome, members: usize) -> Vec<(String, f64)> {
    let of = |r: dualmd_attack::AttackResult| {
        let scores = r.scores.unwrap();
        let (inside, outside): (Vec<_>, Vec<_>) = r
            .rows
            .iter()
            .zip(scores)
            .partition(|(row, _)| **row < members);
        let values =
            |side: Vec<(&usize, f64)>| side.into_iter().map(|(_, s)| s).collect::<Vec<_>>();
        (r.info.name, auc(&values(inside), &values(outside)))
    };
    outcome.results.into_iter().map(of).collect()
}

#[test]
fn classifiers_find_the_members_of_a_model_that_has_memorised() {
    let members = images(1, "members", MEMBERS as i64, 1.0);
    let both = samples(&members, &images(1, "fresh", 60, 1.0));
    let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
    let outcome = learnt(
        &model,
        &both,
        &known(&both, MEMBERS),
        &["secmi-nn", "rediffuse-nn", "loss-grid", "combined"],
        16,
    );
    for (name, auc) in aucs(outcome, MEMBERS) {
        assert!(auc > 0.95, "{name}: {auc}");
    }
    // Told the opposite, they learn the opposite: nothing but what they are told says who is a member.
    let truth: Vec<bool> = (0..both.ids().len()).map(|i| i >= MEMBERS).collect();
    let lies = Known::draw(both.ids(), &truth, 0.5, 1).unwrap();
    let outcome = learnt(&model, &both, &lies, &["secmi-nn"], 16);
    let auc = aucs(outcome, MEMBERS)[0].1;
    assert!(auc < 0.05, "told the opposite: {auc}");
}

#[test]
fn classifiers_are_at_chance_where_there_is_nothing_to_learn() {
    let n = 100;
    let mean = Tensor::zeros([64], (Kind::Float, Device::Cpu));
    let model = GaussianDenoiser::new(&mean, &covariance(), NoiseSchedule::default()).unwrap();
    let both = samples(
        &gaussian_images(2, "called members", n),
        &gaussian_images(2, "fresh", n),
    );
    let outcome = learnt(
        &model,
        &both,
        &known(&both, n as usize),
        &["secmi-nn", "rediffuse-nn", "loss-grid", "combined"],
        50,
    );
    for (name, auc) in aucs(outcome, n as usize) {
        // Half of either side was learnt from. 2.58: 99 % of chance results.
        assert!(
            (auc - 0.5).abs() < 2.58 * null_error(50, 50),
            "{name}: {auc}"
        );
    }
}

/// Their network calls are those of the plain attacks, and who is scored does not depend on the batches.
#[test]
fn residuals_are_shared_and_known_samples_are_not_scored() {
    let members = images(1, "members", 10, 0.2);
    let both = samples(&members, &images(1, "fresh", 14, 0.2));
    let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
    let known = known(&both, 10);
    let names = ["secmi", "secmi-nn", "rediffuse", "rediffuse-nn"];
    let outcome = learnt(&model, &both, &known, &names, 7);
    assert_eq!(
        (outcome.network_calls_made, outcome.network_calls_saved),
        (31 * 24, 31 * 24)
    );
    let rest: Vec<usize> = (0..24).filter(|i| !known.rows().contains(i)).collect();
    for (result, learns) in outcome.results.iter().zip([false, true, false, true]) {
        let rows = if learns {
            rest.clone()
        } else {
            (0..24).collect()
        };
        assert_eq!(result.rows, rows, "{}", result.info.name);
        assert_eq!(result.scores.as_ref().unwrap().len(), rows.len());
    }
    assert_eq!(known.counts(), [5, 7]);
}

/// The combination asks nothing that its parts have not asked, and learns from nobody that it is judged on.
#[test]
fn a_combination_costs_nothing_beside_its_parts() {
    let members = images(1, "members", 20, 0.2);
    let both = samples(&members, &images(1, "fresh", 24, 0.2));
    let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
    let known = known(&both, 20);
    let parts = ["loss", "secmi", "pia", "pian", "sima", "pfami", "rediffuse"];
    let alone = learnt(&model, &both, &known, &parts, 7);
    let with: Vec<&str> = parts.into_iter().chain(["combined"]).collect();
    let outcome = learnt(&model, &both, &known, &with, 7);
    let last = outcome.results.last().unwrap();
    assert_eq!(last.info.name, "combined");
    // PFAMI's crops and PIA's second call are asked anew; what is remembered is not.
    assert!(last.network_calls < 44 * last.info.network_calls_per_sample as u64);
    assert_eq!(
        outcome.network_calls_made,
        alone.network_calls_made + last.network_calls
    );
    assert_eq!(last.rows, known.rest(44));
    for (a, b) in alone.results.iter().zip(&outcome.results) {
        assert_eq!(a.scores, b.scores, "{}", a.info.name);
    }
}

/// The same amount of noise under every schedule: at the timestep that has it, the attack is the one at that timestep.
#[test]
fn a_level_by_its_noise_is_the_timestep_that_has_it() {
    let members = images(1, "members", 10, 0.2);
    let both = samples(&members, &images(1, "fresh", 14, 0.2));
    let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
    let names = [
        "loss@258",
        "loss@snr=1",
        "loss-grid@258",
        "loss-grid@snr=1",
        "loss@snr=0.0000001",
    ];
    let outcome = learnt(&model, &both, &known(&both, 10), &names, 8);
    let scores = |i: usize| outcome.results[i].scores.clone();
    assert_eq!(scores(0), scores(1));
    assert_eq!(scores(2), scores(3));
    assert!(scores(0).is_ok() && scores(2).is_ok());
    let reason = scores(4).unwrap_err();
    assert!(reason.contains("ratios from"), "{reason}");
    let info = &outcome.results[1].info;
    assert_eq!(info.name, "loss@snr=1");
    assert_eq!(
        serde_json::to_value(&info.parameters).unwrap(),
        serde_json::json!({ "draws": 8, "snr": 1.0 })
    );
}

#[test]
fn without_known_samples_they_fail_and_the_others_go_on() {
    let members = images(1, "members", 10, 0.2);
    let both = samples(&members, &images(1, "fresh", 14, 0.2));
    let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
    let outcome = common::attack(&model, &both, &attacks(&["secmi-nn", "gsa1", "sima"]), 8, 0);
    let reason = |i: usize| outcome.results[i].scores.as_ref().unwrap_err().clone();
    assert!(reason(0).contains("none were set aside"), "{}", reason(0));
    assert_eq!(outcome.results[2].scores.as_ref().unwrap().len(), 24);
    let outcome = learnt(&model, &both, &known(&both, 10), &["gsa1", "sima"], 8);
    let reason = outcome.results[0].scores.as_ref().unwrap_err();
    assert!(
        reason.contains("gradients of the model's parameters"),
        "{reason}"
    );
}

/// Scores on a target, learnt on a shadow model; the first samples of either are its members.
fn transferred(
    (target, both): (&dyn Denoiser, &Samples),
    (shadow, others, members): (&dyn Denoiser, &Samples, usize),
    names: &[&str],
) -> Outcome {
    let schedule = NoiseSchedule::default();
    let member: Vec<bool> = (0..others.ids().len()).map(|i| i < members).collect();
    let mut last = (0, 0);
    let options = RunOptions {
        shadow: Some(Shadow {
            denoiser: shadow,
            schedule: &schedule,
            samples: others,
            member: &member,
        }),
        progress: &mut |done, total| last = (done, total),
        ..common::quiet(16, 3)
    };
    let outcome = run(target, &schedule, both, &attacks(names), options).unwrap();
    assert_eq!(last.0, last.1, "told to the end");
    outcome
}

/// Samples whose ids are not those of [`samples`].
fn elsewhere(members: &Tensor, fresh: &Tensor) -> Samples {
    let x = Tensor::cat(&[members, fresh], 0);
    let ids = (0..x.size()[0]).map(|i| format!("other-{i}")).collect();
    Samples::new(x, ids).unwrap()
}

/// What a shadow model's classifier learns holds for the target, of which nobody is known and everybody is scored; where the
/// target remembers nothing it finds nothing, however much the shadow remembers.
#[test]
fn what_a_shadow_model_teaches_holds_for_the_target() {
    let memorised = |members: &Tensor| MemorisedDenoiser::new(members, NoiseSchedule::default());
    let members = images(1, "members", MEMBERS as i64, 1.0);
    let both = samples(&members, &images(1, "fresh", 60, 1.0));
    let own = images(2, "shadow members", 30, 1.0);
    let others = elsewhere(&own, &images(2, "shadow fresh", 30, 1.0));
    let (target, shadow) = (memorised(&members).unwrap(), memorised(&own).unwrap());
    let names = ["secmi-nn+shadow", "sima"];
    let outcome = transferred((&target, &both), (&shadow, &others, 30), &names);
    // Twelve chains of SecMI for each of the shadow's samples and of the target's.
    assert!(outcome.results[0].network_calls > outcome.results[1].network_calls);
    for (result, (name, auc)) in [100, 100].iter().zip(aucs(outcome, MEMBERS)) {
        assert!(auc > 0.95, "{name}: {auc} of {result}");
    }
    // The same shadow, and a target that was trained on other images.
    let strangers = memorised(&images(3, "somebody", MEMBERS as i64, 1.0)).unwrap();
    let outcome = transferred((&strangers, &both), (&shadow, &others, 30), &names[..1]);
    assert_eq!(outcome.results[0].rows, (0..100).collect::<Vec<_>>());
    let auc = aucs(outcome, MEMBERS)[0].1;
    let chance = 2.576 * null_error(MEMBERS, 60);
    assert!((auc - 0.5).abs() < chance, "nothing to find: {auc}");
}

#[test]
fn a_shadow_model_has_images_of_its_own() {
    let members = images(1, "members", 10, 0.2);
    let both = samples(&members, &images(1, "fresh", 14, 0.2));
    let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
    let outcome = common::attack(&model, &both, &attacks(&["secmi-nn+shadow", "sima"]), 8, 0);
    let reason = outcome.results[0].scores.as_ref().unwrap_err();
    assert!(reason.contains("--shadow MODEL"), "{reason}");
    assert_eq!(outcome.results[1].scores.as_ref().unwrap().len(), 24);

    let schedule = NoiseSchedule::default();
    let refused = |samples: &Samples, member: &[bool]| {
        let options = RunOptions {
            shadow: Some(Shadow {
                denoiser: &model,
                schedule: &schedule,
                samples,
                member,
            }),
            ..common::quiet(8, 0)
        };
        let attacks = attacks(&["secmi-nn+shadow"]);
        run(&model, &schedule, &both, &attacks, options)
            .unwrap_err()
            .to_string()
    };
    let truth: Vec<bool> = (0..24).map(|i| i < 10).collect();
    assert!(refused(&both, &truth).contains("image-0 is under attack"));
    let other = elsewhere(&members, &images(2, "fresh", 14, 0.2));
    assert!(refused(&other, &[true; 24]).contains("trained on and others"));
    assert!(refused(&other, &truth[1..]).contains("24 samples of the shadow model with 23 labels"));
}

/// eps(x, t) = a x + b with both as parameters.
struct Affine {
    a: Tensor,
    b: Tensor,
}

impl Denoiser for Affine {
    fn predict_noise(&self, x: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        Ok(x * &self.a + &self.b)
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        Some(vec![self.a.shallow_clone(), self.b.shallow_clone()])
    }
}

/// Gradients of the squared residual r = eps - a x_t - b: -2 mean x_t r and -2 mean r.
#[test]
fn gradient_norms_by_hand() {
    let (a, b) = (0.3f32, -0.1f32);
    let model = affine();
    let x = Tensor::from_slice(&[0.5f32, -0.25]).view([1, 1, 1, 2]);
    let draws: Vec<Tensor> = [[1.0f32, -2.0], [0.5, 0.25]]
        .iter()
        .map(|d| Tensor::from_slice(d).view([1, 1, 1, 2]))
        .collect();
    let (schedule, ids) = (NoiseSchedule::default(), ["a".to_owned()]);
    let timesteps = vec![100, 600];
    let mut batch = Batch::new(&model, &schedule, &x, &ids, 0)
        .and_then(|batch| batch.with_draws(&draws))
        .unwrap();
    let gradients: Vec<[f64; 2]> = timesteps
        .iter()
        .zip(&draws)
        .map(|(&t, eps)| {
            let abar = schedule.alpha_bar(t);
            let mut gradient = [0.0, 0.0];
            for i in 0..2 {
                let e = eps.double_value(&[0, 0, 0, i]);
                let x_t = abar.sqrt() * x.double_value(&[0, 0, 0, i]) + (1.0 - abar).sqrt() * e;
                let residual = e - f64::from(a) * x_t - f64::from(b);
                gradient[0] -= x_t * residual;
                gradient[1] -= residual;
            }
            gradient
        })
        .collect();
    let expected_1 = [0, 1].map(|p| (gradients[0][p] + gradients[1][p]).abs() / 2.0);
    let expected_2 = [0, 1].map(|p| (gradients[0][p].abs() + gradients[1][p].abs()) / 2.0);
    let gsa1 = Gsa1 {
        timesteps: timesteps.clone(),
    };
    let gsa2 = Gsa2 { timesteps };
    let check = |features: Tensor, expected: [f64; 2], what: &str| {
        assert_eq!(features.size(), [1, 2]);
        for (p, expected) in expected.into_iter().enumerate() {
            assert_close(
                features.double_value(&[0, p as i64]),
                expected.ln(),
                1e-5,
                what,
            );
        }
    };
    check(gsa1.features(&mut batch).unwrap(), expected_1, "GSA1 alone");
    check(gsa2.features(&mut batch).unwrap(), expected_2, "GSA2");
    let before = batch.calls();
    check(
        gsa1.features(&mut batch).unwrap(),
        expected_1,
        "GSA1 from GSA2's gradients",
    );
    assert_eq!((before.made, batch.calls().made - before.made), (4, 0));
    assert_eq!(batch.calls().saved - before.saved, 2);
    // The model is left as it was.
    assert!(!model.a.requires_grad());
}

fn affine() -> Affine {
    Affine {
        a: Tensor::from_slice(&[0.3f32]),
        b: Tensor::from_slice(&[-0.1f32]),
    }
}

/// A model that keeps its weights to itself and answers for their gradients: `whole` times for both, and then for the first alone.
struct Answering {
    model: Affine,
    whole: Cell<usize>,
}

impl Answering {
    fn new(whole: usize) -> Self {
        Self {
            model: affine(),
            whole: Cell::new(whole),
        }
    }

    fn norms(&self, asked: &GradientQuestion<'_>) -> Result<Tensor> {
        let mut weights = self.model.weights().unwrap();
        match self.whole.get() {
            0 => weights.truncate(1),
            left => self.whole.set(left - 1),
        }
        let by = Gradients::by(weights)?;
        let losses = tch::with_grad(|| -> Result<Tensor> {
            let eps = self.predict_noise(asked.x_t, asked.t, asked.condition)?;
            let squares = (asked.noise - eps).square().flatten(1, -1);
            Ok(squares.mean_dim([1i64].as_slice(), false, Kind::Float))
        })?;
        let both = by.norms(&losses, asked.each)?.concat();
        Ok(Tensor::from_slice(&both).view([2, 1, -1]))
    }
}

impl Denoiser for Answering {
    fn predict_noise(&self, x: &Tensor, t: &Tensor, told: Option<&Condition>) -> Result<Tensor> {
        self.model.predict_noise(x, t, told)
    }

    fn gradient_norms(&self, question: &GradientQuestion<'_>) -> Option<Result<Tensor>> {
        Some(self.norms(question))
    }
}

#[test]
fn a_model_that_answers_for_its_gradients_is_seen_as_one_that_shows_its_weights() {
    let (schedule, x) = (NoiseSchedule::default(), images(1, "members", 3, 1.0));
    let ids: Vec<String> = (0..3).map(|i| format!("image-{i}")).collect();
    let seen = |model: &dyn Denoiser, attack: &dyn Learned| {
        let mut batch = Batch::new(model, &schedule, &x, &ids, 0).unwrap();
        let features = attack.features(&mut batch);
        (features, batch.calls().made)
    };
    let (gsa1, gsa2) = (Gsa1::default(), Gsa2::default());
    for attack in [&gsa1 as &dyn Learned, &gsa2] {
        let (here, there) = (seen(&affine(), attack), seen(&Answering::new(3), attack));
        assert_eq!(here.0.unwrap(), there.0.unwrap());
        assert_eq!((here.1, there.1), (30, 30));
        let (changed, _) = seen(&Answering::new(2), attack);
        let changed = changed.unwrap_err().to_string();
        assert!(
            changed.contains("of 1 parameter tensors, and for another sample of 2"),
            "{changed}"
        );
    }
}

/// The order in which a model elsewhere has its layers need not be that of a folder.
#[test]
fn gradients_learnt_on_a_shadow_that_is_a_folder_do_not_hold_for_a_model_elsewhere() {
    let both = samples(&images(1, "members", 6, 1.0), &images(1, "fresh", 6, 1.0));
    let others = elsewhere(&images(2, "members", 6, 1.0), &images(2, "fresh", 6, 1.0));
    let names = ["gsa1+shadow", "gsa2@99+shadow", "sima"];
    let elsewhere = Answering::new(usize::MAX);
    let outcome = transferred((&elsewhere, &both), (&affine(), &others, 6), &names);
    for result in &outcome.results[..2] {
        let reason = result.scores.as_ref().unwrap_err();
        assert!(reason.contains("another order"), "{reason}");
    }
    assert!(outcome.results[2].scores.is_ok());
    let shadow = Answering::new(usize::MAX);
    for outcome in [
        transferred((&elsewhere, &both), (&shadow, &others, 6), &names),
        transferred((&affine(), &both), (&affine(), &others, 6), &names),
    ] {
        for result in outcome.results {
            assert_eq!(result.scores.unwrap().len(), 12, "{}", result.info.name);
        }
    }
}

/// The memorising oracle with the stored images [N, D] as its parameters: eps = (x_t - sqrt(abar) y) / sqrt(1 - abar), y their mean
/// weighted by nearness.
struct Stored {
    images: Tensor,
    schedule: NoiseSchedule,
}

impl Denoiser for Stored {
    fn predict_noise(&self, x: &Tensor, t: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        let (a, b) = self.schedule.coefficients(t);
        let (a, b) = (a.view([-1, 1]), b.view([-1, 1]));
        let flat = x.flatten(1, -1);
        let far = (flat.unsqueeze(1) - a.unsqueeze(2) * self.images.unsqueeze(0))
            .square()
            .sum_dim_intlist([2i64].as_slice(), false, Kind::Float);
        let nearness = (far / (b.square() * -2.0)).softmax(1, Kind::Float);
        Ok(((flat - &a * nearness.matmul(&self.images)) / b).view_as(x))
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        Some(vec![self.images.shallow_clone()])
    }
}

#[test]
fn gradients_find_the_members_of_a_model_that_has_memorised() {
    let members = images(6, "members", 40, 1.0);
    let model = Stored {
        images: members.flatten(1, -1),
        schedule: NoiseSchedule::default(),
    };
    let both = samples(&members, &images(6, "fresh", 40, 1.0));
    let outcome = learnt(&model, &both, &known(&both, 40), &["gsa2", "gsa1"], 20);
    assert_eq!(
        (outcome.network_calls_made, outcome.network_calls_saved),
        (800, 800)
    );
    for (name, auc) in aucs(outcome, 40) {
        assert!(auc > 0.95, "{name}: {auc}");
    }
    // And it is not the samples that differ: on strangers on both sides the same model gives nothing away.
    let strangers = samples(&images(7, "one", 60, 1.0), &images(7, "two", 60, 1.0));
    let outcome = learnt(
        &model,
        &strangers,
        &known(&strangers, 60),
        &["gsa2", "gsa1"],
        20,
    );
    for (name, auc) in aucs(outcome, 60) {
        assert!(
            (auc - 0.5).abs() < 2.58 * null_error(30, 30),
            "{name}: {auc}"
        );
    }
}

#[test]
fn a_reference_model_shows_who_was_seen() {
    let members = images(8, "members", 30, 1.0);
    let both = samples(&members, &images(8, "fresh", 60, 1.0));
    let model = MemorisedDenoiser::new(&members, NoiseSchedule::default()).unwrap();
    let reference =
        MemorisedDenoiser::new(&images(8, "elsewhere", 30, 1.0), NoiseSchedule::default()).unwrap();
    let (schedule, ids) = (NoiseSchedule::default(), both.ids());
    let mut alone = Batch::new(&model, &schedule, both.x(), ids, 0).unwrap();
    let refused = no_grad(|| Reference::default().score(&mut alone)).unwrap_err();
    assert!(refused.to_string().contains("--reference"), "{refused}");
    let mut batch = Batch::new(&model, &schedule, both.x(), ids, 0)
        .unwrap()
        .with_others(Others {
            teachers: None,
            reference: Some(&reference),
        });
    let scores = Reference::default().score(&mut batch).unwrap();
    assert!(auc(&scores[..30], &scores[30..]) > 0.99);
    assert_eq!(batch.calls().made, 16 * 90);
}

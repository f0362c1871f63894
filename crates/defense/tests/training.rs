//! The one loop with what can be added to it: DP-SGD, early stopping, cutout, generated images.

mod common;

use common::{CALIBRATION, HELDOUT, images, options, run, same, trainer};
use dualmd_data::Pixels;
use dualmd_defense::journal::LogLine;
use dualmd_defense::{
    Additions, Against, Ambient, Cutout, DefenseError, DpSgd, Draw, EarlyStopping, Finished,
    Images, Indices, Iterative, Levels, Objective, Plain, Privacy, Recipe, Result, Smp, Target,
    TrainOptions,
};
use dualmd_diffusion::Condition;
use dualmd_torch::Tensor;
use std::path::Path;
use std::time::Duration;

fn none() -> Additions {
    Additions::default()
}

fn private(noise_multiplier: f64, secret: &str) -> DpSgd {
    let privacy = Privacy {
        noise_multiplier,
        clip: 0.5,
        noise_multiplicity: 2,
    };
    DpSgd::new((0..12).collect(), privacy, secret).unwrap()
}

/// The steps of every recipe can be timed without a file; what the training would refuse is refused.
#[test]
fn steps_are_timed_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Plain::new((0..12).collect(), 7).unwrap();
    let smp = Smp::new(
        (0..12).collect(),
        CALIBRATION.collect(),
        Against::default(),
        7,
    )
    .unwrap();
    let dp = private(1.0, "a secret");
    let recipes: [&dyn Recipe; 3] = [&plain, &smp, &dp];
    for recipe in recipes {
        let timed = trainer(dir.path(), images(1), recipe, options());
        let seconds = timed.time_steps(&none(), 2, Duration::from_secs(60));
        assert!(seconds.unwrap() > 0.0);
    }
    // One is timed, however little time there is.
    let timed = trainer(dir.path(), images(1), &plain, options());
    assert!(timed.time_steps(&none(), 2, Duration::ZERO).unwrap() > 0.0);
    let large = TrainOptions {
        batch: 13,
        ..options()
    };
    let timed = trainer(dir.path(), images(1), &dp, large);
    let said = timed.time_steps(&none(), 2, Duration::ZERO).unwrap_err();
    assert!(said.to_string().contains("train.batch = 13"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_resumed_private_run_is_the_unbroken_one_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    // Expect two images per step; take a secret under which some step draws none.
    let options = TrainOptions {
        batch: 2,
        ..options()
    };
    let empty = |r: &DpSgd| (0..6).any(|step| r.draw(step, 2).images.is_empty());
    let recipe = (0..100)
        .map(|i| private(0.7, &format!("secret {i}")))
        .find(empty)
        .unwrap();
    let start = |name: &str| trainer(&dir.path().join(name), images(1), &recipe, options.clone());
    let whole = run(start("whole"), &none(), None).unwrap();
    let half = run(start("parts"), &none(), Some(3)).unwrap();
    assert_eq!(half.finished, Finished::Stopped { step: 3 });
    let parts = run(start("parts"), &none(), None).unwrap();
    assert!(same(&whole.optimizer.raw(), &parts.optimizer.raw()));
    assert!(same(&whole.optimizer.ema(), &parts.optimizer.ema()));
    assert!(!same(&whole.optimizer.raw(), &half.optimizer.raw()));
    assert!(
        lines(&dir.path().join("whole"))
            .iter()
            .all(|l| l.loss.is_finite())
    );

    let other = private(0.7, "another secret");
    let other = trainer(
        &dir.path().join("other"),
        images(1),
        &other,
        options.clone(),
    );
    let other = run(other, &none(), None).unwrap();
    assert!(!same(&whole.optimizer.raw(), &other.optimizer.raw()));
}

/// Images in a file are learnt as those in memory are, to the last bit, also from where a training with images in memory stopped.
#[test]
fn images_in_a_file_are_learnt_as_those_in_memory_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("images.pixels");
    let bytes: Vec<u8> = (0..24 * 64_u32).map(|i| (i * 37 % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let filed = || {
        let file = dualmd_files::open(&path).unwrap();
        Images::Filed(Pixels::stored(file, &path, [1, 8, 8], 24).unwrap())
    };
    let values: Vec<f32> = bytes.iter().map(|&v| f32::from(v) / 127.5 - 1.0).collect();
    let held = || Images::from(Tensor::from_slice(&values).view([24, 1, 8, 8]));
    let plain = Plain::new((0..12).collect(), 7).unwrap();
    let private = private(0.7, "a secret");
    let recipes: [(&str, &dyn Recipe); 2] = [("plain", &plain), ("private", &private)];
    for (name, recipe) in recipes {
        let options = TrainOptions {
            flip: true,
            eval_every: 2,
            ..options()
        };
        let folder = |part: &str| dir.path().join(format!("{name}-{part}"));
        let start =
            |part: &str, images: Images| trainer(&folder(part), images, recipe, options.clone());
        let whole = run(start("held", held()), &none(), None).unwrap();
        let other = run(start("filed", filed()), &none(), None).unwrap();
        let half = run(start("parts", held()), &none(), Some(3)).unwrap();
        assert_eq!(half.finished, Finished::Stopped { step: 3 });
        let parts = run(start("parts", filed()), &none(), None).unwrap();
        for (part, again) in [("filed", other), ("parts", parts)] {
            assert!(
                same(&whole.optimizer.raw(), &again.optimizer.raw()),
                "{name}, {part}"
            );
            assert!(
                same(&whole.optimizer.ema(), &again.optimizer.ema()),
                "{name}, {part}"
            );
            let losses = |part: &str| -> Vec<_> {
                let lines = lines(&folder(part)).into_iter();
                lines
                    .map(|l| (l.step, l.loss, l.member_loss, l.heldout_loss))
                    .collect()
            };
            assert_eq!(losses(part), losses("held"), "{name}, {part}");
        }
    }
    // One that is cut while it is in use is named.
    let cut = trainer(&dir.path().join("cut"), filed(), &plain, options());
    std::fs::write(&path, &bytes[..64]).unwrap();
    let said = run(cut, &none(), None).err().unwrap().to_string();
    assert!(
        said.contains("images.pixels: it ends before picture") && said.contains("remove it"),
        "{said}"
    );
}

/// What a recipe carries from step to step is in its checkpoints: sums of weights in the middle of a round, usual losses.
#[test]
fn resumed_rivals_are_the_unbroken_ones_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let shards = vec![(0..6).collect(), (6..9).collect(), (9..12).collect()];
    let iterative = Iterative::new(shards, 2, 12, 7).unwrap();
    let ambient = Ambient::new((0..12).collect(), 0.5, 7).unwrap();
    let plain = Plain::new((0..12).collect(), 7).unwrap();
    let against = Against {
        rate: 1e-3,
        steps: 2,
        ..Against::default()
    };
    let smp = Smp::new((0..12).collect(), CALIBRATION.collect(), against, 7).unwrap();
    let recipes: [(&str, &dyn Recipe, f64); 5] = [
        ("iet", &iterative, 0.0),
        ("ambient", &ambient, 0.0),
        ("smp", &smp, 0.0),
        // A ratio so small that an image is kept only where none of its timestep came before it.
        ("easy", &plain, 1e-6),
        ("both", &iterative, 2.0),
    ];
    let mut raw = Vec::new();
    for (name, recipe, skip_easy) in recipes {
        let options = TrainOptions {
            steps: 12,
            skip_easy,
            flip: true,
            ..options()
        };
        let start = |part: &str| {
            let folder = dir.path().join(format!("{name}-{part}"));
            trainer(&folder, images(1), recipe, options.clone())
        };
        let whole = run(start("whole"), &none(), None).unwrap();
        for stop in [3, 5] {
            let parted = format!("parts-{stop}");
            let half = run(start(&parted), &none(), Some(stop)).unwrap();
            assert_eq!(half.finished, Finished::Stopped { step: stop });
            let parts = run(start(&parted), &none(), None).unwrap();
            assert!(
                same(&whole.optimizer.raw(), &parts.optimizer.raw()),
                "{name}"
            );
            assert!(
                same(&whole.optimizer.ema(), &parts.optimizer.ema()),
                "{name}"
            );
        }
        raw.push(whole.optimizer.raw());
    }
    // So few draws of so many timesteps may leave none out of the last.
    for (i, one) in raw[..4].iter().enumerate() {
        assert!(raw[..i].iter().all(|other| !same(one, other)), "{i}");
    }
}

/// A flow with every kind of level, mirrored images included.
fn flow(levels: Levels) -> TrainOptions {
    TrainOptions {
        objective: Objective::Flow(levels),
        flip: true,
        ..options()
    }
}

#[test]
fn a_resumed_flow_is_the_unbroken_one_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Plain::new((0..12).collect(), 7).unwrap();
    let start = |name: &str, options: TrainOptions| {
        trainer(&dir.path().join(name), images(1), &recipe, options)
    };
    let mut raw = Vec::new();
    for (name, levels) in [("a", Levels::Uniform), ("b", Levels::LogitNormal)] {
        let parted = format!("{name}-parts");
        let whole = run(start(name, flow(levels)), &none(), None).unwrap();
        let half = run(start(&parted, flow(levels)), &none(), Some(3)).unwrap();
        assert_eq!(half.finished, Finished::Stopped { step: 3 });
        let parts = run(start(&parted, flow(levels)), &none(), None).unwrap();
        assert!(same(&whole.optimizer.raw(), &parts.optimizer.raw()));
        assert!(same(&whole.optimizer.ema(), &parts.optimizer.ema()));
        assert!(!same(&whole.optimizer.raw(), &half.optimizer.raw()));
        raw.push(whole.optimizer.raw());
    }
    let ddpm = TrainOptions {
        flip: true,
        ..options()
    };
    raw.push(
        run(start("c", ddpm), &none(), None)
            .unwrap()
            .optimizer
            .raw(),
    );
    assert!(!same(&raw[0], &raw[1]), "the levels make a difference");
    assert!(!same(&raw[0], &raw[2]) && !same(&raw[1], &raw[2]));
}

#[test]
fn a_flow_learns_its_images() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Plain::new((0..12).collect(), 7).unwrap();
    let loss = |name: &str, steps| {
        let options = TrainOptions {
            steps,
            batch: 12,
            learning_rate: 2e-3,
            log_every: 20,
            flip: false,
            ..flow(Levels::Uniform)
        };
        let start = trainer(&dir.path().join(name), images(1), &recipe, options);
        match run(start, &none(), None).unwrap().finished {
            Finished::Complete { evaluation, .. } => evaluation.member_loss,
            Finished::Stopped { .. } => panic!("not complete"),
        }
    };
    let (before, after) = (loss("before", 1), loss("after", 200));
    assert!(after < 0.95 * before, "{before} became {after}");
}

#[test]
fn a_step_that_draws_nothing_adds_noise_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = (0..100)
        .map(|i| private(0.7, &format!("secret {i}")))
        .find(|r| r.draw(0, 1).images.is_empty())
        .unwrap();
    let options = TrainOptions {
        steps: 1,
        batch: 1,
        ..options()
    };
    let step = |name: &str, images| {
        let t = trainer(&dir.path().join(name), images, &recipe, options.clone());
        run(t, &none(), None).unwrap().optimizer.raw()
    };
    let start = trainer(dir.path(), images(1), &recipe, options.clone());
    let before: Vec<_> = start
        .network
        .parameters()
        .0
        .iter()
        .map(|(_, t)| t.copy())
        .collect();
    let after = step("a", images(1));
    assert!(
        before.iter().zip(&after).all(|(b, (_, a))| *b != *a),
        "every tensor gets noise"
    );
    assert!(
        same(&after, &step("b", images(2))),
        "no image has a part in it"
    );
}

/// Private, and yet with a teacher.
struct Both(DpSgd);
impl Recipe for Both {
    fn members(&self) -> Indices {
        self.0.members()
    }
    fn draw(&self, step: u64, batch: usize) -> Draw {
        let images = self.0.draw(step, batch).images;
        let target = Target::Teacher(vec![0; images.len()]);
        Draw { images, target }
    }
    fn teach(
        &self,
        _: &[usize],
        x_t: &Tensor,
        _: &Tensor,
        _: Option<&Condition>,
    ) -> Result<Tensor> {
        Ok(x_t.zeros_like())
    }
    fn private(&self) -> Option<&DpSgd> {
        Some(&self.0)
    }
}

#[test]
fn privacy_with_a_teacher_or_with_more_draws_than_images_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |recipe: &dyn Recipe, batch| {
        let options = TrainOptions { batch, ..options() };
        match run(
            trainer(dir.path(), images(1), recipe, options),
            &none(),
            None,
        ) {
            Err(DefenseError::Setting(text)) => text,
            _ => panic!("accepted"),
        }
    };
    assert!(refusal(&Both(private(1.0, "a")), 4).contains("teachers"));
    assert!(refusal(&private(1.0, "a"), 13).contains("train.batch"));
}

fn lines(folder: &Path) -> Vec<LogLine> {
    let text = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// Learning far too fast: the loss is lowest early and the run goes astray.
fn hasty(patience: u64) -> (TrainOptions, Additions) {
    let options = TrainOptions {
        steps: 16,
        learning_rate: 0.05,
        ema: 0.0,
        ema_warmup: false,
        eval_every: 2,
        log_every: 1,
        ..options()
    };
    let additions = Additions {
        early_stopping: Some(EarlyStopping {
            calibration: CALIBRATION.collect(),
            patience,
        }),
        ..none()
    };
    (options, additions)
}

#[test]
fn early_stopping_keeps_the_averages_of_the_best_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Plain::new((0..12).collect(), 7).unwrap();
    let (options, additions) = hasty(0);
    let start = |name: &str, options: &TrainOptions| {
        trainer(&dir.path().join(name), images(1), &recipe, options.clone())
    };
    let outcome = run(start("a", &options), &additions, None).unwrap();
    assert_eq!(outcome.steps, 16, "no patience: to the end");
    let kept = outcome.kept.unwrap();
    let lines = lines(&dir.path().join("a"));
    let losses: Vec<(f64, u64)> = lines
        .iter()
        .filter_map(|l| Some((l.calibration_loss?, l.step)))
        .collect();
    assert_eq!(losses.len(), 8);
    let best = losses
        .iter()
        .copied()
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    assert_eq!(kept.step, best.1);
    assert!(kept.step < 16, "it went astray, or this tests nothing");
    // The same run, left at that step, has those averages.
    let there = run(start("b", &options), &none(), Some(kept.step)).unwrap();
    assert!(same(&outcome.optimizer.result(), &there.optimizer.ema()));
    assert!(!same(&outcome.optimizer.result(), &outcome.optimizer.ema()));
    // And the reported losses are theirs.
    let Finished::Complete { evaluation, .. } = outcome.finished else {
        panic!("not complete")
    };
    let line = lines.iter().find(|l| l.step == kept.step).unwrap();
    assert!((line.member_loss.unwrap() - evaluation.member_loss).abs() < 1e-12);
    assert!((line.heldout_loss.unwrap() - evaluation.heldout_loss).abs() < 1e-12);
}

#[test]
fn patience_ends_a_run_the_same_way_whatever_interrupts_it() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Plain::new((0..12).collect(), 7).unwrap();
    let (options, additions) = hasty(3);
    let start = |name: &str| trainer(&dir.path().join(name), images(1), &recipe, options.clone());
    let whole = run(start("whole"), &additions, None).unwrap();
    let kept = whole.kept.unwrap();
    assert!(matches!(whole.finished, Finished::Complete { .. }));
    assert_eq!(
        whole.steps,
        kept.step + 6,
        "three evaluations, two steps apart"
    );
    assert!(whole.steps < 16);
    let mut parts = run(start("parts"), &additions, Some(3)).unwrap();
    for _ in 0..10 {
        if matches!(parts.finished, Finished::Complete { .. }) {
            break;
        }
        parts = run(start("parts"), &additions, Some(3)).unwrap();
    }
    // Once more on the finished run: nothing is left to do.
    for again in [parts, run(start("parts"), &additions, None).unwrap()] {
        assert_eq!(
            (again.steps, again.kept.unwrap().step),
            (whole.steps, kept.step)
        );
        assert!(same(&whole.optimizer.result(), &again.optimizer.result()));
        assert!(same(&whole.optimizer.raw(), &again.optimizer.raw()));
    }
    assert_eq!(
        lines(&dir.path().join("whole")).len(),
        lines(&dir.path().join("parts")).len()
    );
}

#[test]
fn damaged_kept_averages_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Plain::new((0..12).collect(), 7).unwrap();
    let (options, additions) = hasty(0);
    let start = || trainer(dir.path(), images(1), &recipe, options.clone());
    run(start(), &additions, Some(4)).unwrap();
    let file = dir
        .path()
        .join("checkpoints/checkpoint-4/unet_kept/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let mut warned = 0;
    let outcome = start().run_with(
        &additions,
        &mut dualmd_defense::Observer {
            stop: &|| false,
            progress: &mut |_| (),
            sheet: &mut |_, _| (),
            warn: &mut |_| warned += 1,
            max_steps_now: None,
        },
    );
    assert!(outcome.is_err());
    assert_eq!(warned, 1);
}

#[test]
fn calibration_images_that_are_audited_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Plain::new((0..12).collect(), 7).unwrap();
    let (options, mut additions) = hasty(0);
    for bad in [0, HELDOUT.start] {
        additions.early_stopping = Some(EarlyStopping {
            calibration: vec![20, bad],
            patience: 0,
        });
        let start = trainer(dir.path(), images(1), &recipe, options.clone());
        assert!(run(start, &additions, None).is_err(), "{bad}");
    }
}

#[test]
fn cutout_of_the_whole_image_is_training_on_grey() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Plain::new((0..12).collect(), 7).unwrap();
    let cut = |side| Additions {
        cutout: Some(Cutout {
            side,
            probability: 1.0,
        }),
        ..none()
    };
    let train = |name: &str, images, additions: &Additions| {
        let t = trainer(&dir.path().join(name), images, &recipe, options());
        run(t, additions, None).map(|o| o.optimizer.raw())
    };
    let grey = train("grey", images(1) * 0.0, &none()).unwrap();
    assert!(same(&train("all", images(1), &cut(8)).unwrap(), &grey));
    assert!(!same(&train("part", images(1), &cut(4)).unwrap(), &grey));
    assert!(train("more", images(1), &cut(9)).is_err());
}

#[test]
fn a_student_of_generated_images_never_meets_the_real_ones() {
    let dir = tempfile::tempdir().unwrap();
    // 0..12 stand for generated images; the real members behind them, 12..18, are only watched.
    let recipe = Plain::new((0..12).collect(), 7)
        .unwrap()
        .watching(HELDOUT.collect());
    let train = |name: &str, images| {
        run(
            trainer(&dir.path().join(name), images, &recipe, options()),
            &none(),
            None,
        )
        .unwrap()
    };
    let a = train("a", images(1));
    let others = Tensor::cat(
        &[images(1).narrow(0, 0, 12), images(2).narrow(0, 12, 12)],
        0,
    );
    let b = train("b", others);
    assert!(same(&a.optimizer.raw(), &b.optimizer.raw()));
    let Finished::Complete { evaluation, .. } = a.finished else {
        panic!("not complete")
    };
    assert_eq!(
        evaluation.member_loss, evaluation.heldout_loss,
        "the same images"
    );
    assert_eq!(recipe.members(), (0..12).collect::<Indices>());
}

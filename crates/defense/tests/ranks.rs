//! Several processes that train one model: what they learn, and what becomes of them when one is killed, stopped or told to leave.

#[path = "../../torch/tests/children/mod.rs"]
mod children;
mod common;

use children::{Ranks, this_rank};
use common::{CALIBRATION, config, images, options, same, trainer};
use dualmd_data::{Pixels, stream};
use dualmd_defense::journal::LogLine;
use dualmd_defense::{
    Additions, Against, Ambient, Captions, Cutout, DefenseError, DistillMd, Distillation, DpSgd,
    EarlyStopping, Finished, Images, Iterative, KWay, Levels, Objective, Observer, Outcome, Plain,
    Privacy, Recipe, Routing, Smp, TrainOptions, Trainer,
};
use dualmd_diffusion::unet2d_condition::PerLevel;
use dualmd_diffusion::{Condition, Denoiser, UNet2d, UNet2dCondition, UNet2dConditionConfig};
use dualmd_torch::ranks::{Group, Place, RanksError};
use dualmd_torch::{Device, Kind, Tensor, noise};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

const STEPS: u64 = 50;

/// Every recipe, with what can be combined with it.
const CASES: [&str; 14] = [
    "plain",
    "filed",
    "parts",
    "told",
    "ordinary",
    "distill",
    "k-way",
    "private",
    "private-slow",
    "ambient",
    "against",
    "in-turn",
    "stops-early",
    "flow",
];

/// The one that carries most from step to step.
const BROKEN: &str = "in-turn";

fn teacher(seed: u64) -> Box<dyn Denoiser> {
    Box::new(UNet2d::fresh(&config(), seed, Device::Cpu).unwrap())
}

/// What a case trains: recipe, settings, additions. Batches that neither two nor three ranks share evenly.
fn case(name: &str) -> (Box<dyn Recipe>, TrainOptions, Additions) {
    let mut options = TrainOptions {
        steps: STEPS,
        batch: 5,
        learning_rate: 1e-4,
        flip: true,
        eval_every: 10,
        ..options()
    };
    let mut additions = Additions::default();
    let plain = || Box::new(Plain::new((0..12).collect(), 7).unwrap());
    let recipe: Box<dyn Recipe> = match name {
        "plain" | "filed" | "other-settings" | "other-images" | "no-number" | "long" => plain(),
        "parts" => {
            (options.accumulate, options.gradient_checkpointing) = (2, true);
            plain()
        }
        "told" => {
            // An image is left out if its text says anything at all.
            options.drop_memorised = 1e-6;
            options.learning_rate = 1e-5;
            plain()
        }
        "ordinary" => {
            additions.cutout = Some(Cutout {
                side: 3,
                probability: 0.5,
            });
            Box::new(Distillation::new((0..12).collect(), teacher(11), 7).unwrap())
        }
        "flow" => {
            options.objective = Objective::Flow(Levels::LogitNormal);
            plain()
        }
        "stops-early" => {
            additions.early_stopping = Some(EarlyStopping {
                calibration: CALIBRATION.collect(),
                patience: 0,
            });
            plain()
        }
        "distill" => {
            let halves = ((0..6).collect(), (6..12).collect());
            let teachers = [teacher(11), teacher(12)];
            Box::new(DistillMd::new(halves.0, halves.1, teachers, Routing::Example, 7).unwrap())
        }
        "k-way" => {
            let shards = (0..3).map(|i| (4 * i..4 * i + 4).collect()).collect();
            let teachers = (11..14).map(teacher).collect();
            Box::new(KWay::new(shards, teachers, Routing::Iteration, 7).unwrap())
        }
        "ambient" => Box::new(Ambient::new((0..12).collect(), 0.5, 7).unwrap()),
        "against" => {
            let against = Against {
                alpha: 0.1,
                ..Against::default()
            };
            let others = CALIBRATION.collect();
            Box::new(Smp::new((0..12).collect(), others, against, 7).unwrap())
        }
        "in-turn" => {
            // An image is left out where its timestep was met before: a tenth of its loss is less than what is usual then.
            options.skip_easy = 0.1;
            let shards = [(0..8).collect(), (8..12).collect()];
            Box::new(Iterative::new(shards.into(), 3, STEPS, 7).unwrap())
        }
        "private" | "private-slow" => {
            options.gradient_checkpointing = name == "private-slow";
            // One image a step on average: often fewer than there are ranks, now and then none.
            options.batch = 1;
            let privacy = Privacy {
                noise_multiplier: 0.7,
                clip: 0.5,
                noise_multiplicity: 2,
            };
            Box::new(DpSgd::new((0..12).collect(), privacy, "a secret").unwrap())
        }
        other => panic!("{other}"),
    };
    (recipe, options, additions)
}

/// As many images as in memory, as 8-bit pixels in a file.
fn in_a_file(path: &Path) -> Images {
    let bytes: Vec<u8> = (0..24 * 64_u32).map(|i| (i * 37 % 251) as u8).collect();
    std::fs::write(path, &bytes).unwrap();
    let file = dualmd_files::open(path).unwrap();
    Images::Filed(Pixels::stored(file, path, [1, 8, 8], 24).unwrap())
}

/// A network that is told a text with each image, mostly one that says what no text says.
fn tell(trainer: &mut Trainer<'_>) {
    let config = UNet2dConditionConfig {
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![8, 8],
        down_block_types: vec!["DownBlock2D".into(), "CrossAttnDownBlock2D".into()],
        up_block_types: vec!["CrossAttnUpBlock2D".into(), "UpBlock2D".into()],
        layers_per_block: 1,
        norm_num_groups: 4,
        cross_attention_dim: 8,
        attention_head_dim: PerLevel::All(2),
        ..UNet2dConditionConfig::default()
    };
    trainer.network = Box::new(UNet2dCondition::fresh(&config, 7, Device::Cpu).unwrap());
    let texts = noise::normal(&mut stream(1, "texts", 0), &[2, 4, 8], Device::Cpu);
    let told = Tensor::cat(&[&texts, &texts.narrow(0, 0, 1)], 0);
    let of = |image: usize| match image % 3 {
        0 => vec![0, 1],
        _ => vec![image % 2],
    };
    trainer.set.captions = Some(Captions {
        told: Condition::of_text(told),
        of: (0..24).map(of).collect(),
        empty: 2,
        any: true,
        dropout: 0.2,
    });
}

/// Trains a case in `folder/NAME`. `stop` is asked with the number of steps of this call.
fn train(
    name: &str,
    folder: &Path,
    ranks: Group,
    stop: &dyn Fn(u64) -> bool,
    warn: &mut dyn FnMut(String),
) -> Result<Outcome, DefenseError> {
    let (recipe, mut options, additions) = case(name);
    let mut data = images(1);
    match name {
        "other-settings" if ranks.rank() == 1 => options.log_every = 2,
        "other-images" if ranks.rank() == 1 => data = images(2),
        "no-number" => {
            let _ = data.get(3).fill_(f64::NAN);
        }
        "long" => (options.steps, options.checkpoint_every) = (1_000_000, 5),
        _ => (),
    }
    let data = match name {
        "filed" => in_a_file(&folder.join(format!("{}-{}", ranks.world(), ranks.rank()))),
        _ => data.into(),
    };
    let mut trainer = trainer(&folder.join(name), data, recipe.as_ref(), options);
    if name == "told" {
        tell(&mut trainer);
    }
    trainer.ranks = Rc::new(ranks);
    let steps = Cell::new(0);
    trainer.run_with(
        &additions,
        &mut Observer {
            stop: &|| {
                steps.set(steps.get() + 1);
                stop(steps.get())
            },
            progress: &mut |_| (),
            sheet: &mut |_, _| (),
            warn,
            max_steps_now: None,
        },
    )
}

fn quiet(text: String) {
    panic!("{text}")
}

/// Raw and averaged weights in one file.
fn write(outcome: &Outcome, path: &Path) {
    let all = |prefix: &str, list: Vec<(String, Tensor)>| {
        let named = list.into_iter().map(|(n, t)| (format!("{prefix}/{n}"), t));
        named.collect::<Vec<_>>()
    };
    let mut tensors = all("raw", outcome.optimizer.raw());
    tensors.extend(all("result", outcome.optimizer.result()));
    let views = tensors.iter().map(|(n, t)| (n.as_str(), t));
    dualmd_torch::weights::write_safetensors(path, views, &[]).unwrap();
}

fn read(path: &Path) -> BTreeMap<String, Tensor> {
    dualmd_torch::weights::read_safetensors(path).unwrap()
}

/// What a rank does; nothing where this is a test of its own.
#[test]
fn as_a_rank() {
    let Some((what, folder, place)) = this_rank() else {
        return;
    };
    let rank = place.rank;
    match what.as_str() {
        "every-recipe" => {
            for name in CASES {
                let group = Group::open(&place, name).unwrap();
                let outcome = train(name, &folder, group, &|_| false, &mut quiet).unwrap();
                assert_eq!(outcome.steps, STEPS);
                write(&outcome, &folder.join(format!("{name}-{rank}.safetensors")));
            }
        }
        // Up to step 12, where the last rank wants to leave, and nobody else.
        "first-part" => {
            let group = Group::open(&place, "part").unwrap();
            let leaves = rank + 1 == place.world;
            let outcome = train(BROKEN, &folder, group, &|n| leaves && n == 12, &mut quiet);
            assert_eq!(outcome.unwrap().finished, Finished::Stopped { step: 12 });
            let checkpoint = folder.join(BROKEN).join("checkpoints/checkpoint-12");
            assert!(checkpoint.join("state.json").exists());
        }
        "second-part" => {
            let group = Group::open(&place, "part").unwrap();
            let mut said = Vec::new();
            let outcome = train(BROKEN, &folder, group, &|_| false, &mut |t| said.push(t)).unwrap();
            write(
                &outcome,
                &folder.join(format!("{BROKEN}-{rank}.safetensors")),
            );
            std::fs::write(folder.join(format!("said-{rank}")), said.join("\n")).unwrap();
        }
        name => {
            let said = match refused(name, &folder, &place) {
                DefenseError::Ranks(RanksError::Lost(text)) => format!("lost {text}"),
                DefenseError::Ranks(RanksError::Timeout(text)) => format!("timeout {text}"),
                DefenseError::Ranks(RanksError::Differ(text)) => format!("differ {text}"),
                DefenseError::NotFinite { step, what, .. } => format!("{what} {step}"),
                other => panic!("{other:?}"),
            };
            std::fs::write(folder.join(format!("said-{rank}")), said).unwrap();
        }
    }
}

fn refused(name: &str, folder: &Path, place: &Place) -> DefenseError {
    let joined = folder.join(format!("joined-{}", place.rank));
    let stop = |steps| {
        if steps == 7 {
            std::fs::write(&joined, "").unwrap();
        }
        false
    };
    let group = Group::open(place, name).unwrap();
    match train(name, folder, group, &stop, &mut quiet) {
        Err(error) => error,
        Ok(_) => panic!("it ended well"),
    }
}

fn start(what: &str, folder: &Path, world: usize, seconds: u64) -> Ranks {
    Ranks::start("as_a_rank", (what, folder), 0..world, world, seconds)
}

fn lines(folder: &Path) -> Vec<LogLine> {
    let text = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

fn furthest(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> f64 {
    assert!(a.keys().eq(b.keys()));
    let away = |(a, b): (&Tensor, &Tensor)| (a - b).abs().max().double_value(&[]);
    a.values().zip(b.values()).map(away).fold(0.0, f64::max)
}

/// Two logs of one training: the same steps, losses within 1e-6.
fn alike(one: &[LogLine], other: &[LogLine]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one.step, other.step);
        let close =
            |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "step {}: {a} and {b}", one.step);
        close(one.loss, other.loss);
        assert_eq!(one.left_out, other.left_out, "step {}", one.step);
        for (a, b) in [
            (one.member_loss, other.member_loss),
            (one.heldout_loss, other.heldout_loss),
            (one.calibration_loss, other.calibration_loss),
        ] {
            assert_eq!(a.is_some(), b.is_some());
            close(a.unwrap_or(0.0), b.unwrap_or(0.0));
        }
    }
}

/// What one process learns, by case.
fn alone(folder: &Path, name: &str) -> (BTreeMap<String, Tensor>, Vec<LogLine>) {
    let outcome = train(name, folder, Group::alone(), &|_| false, &mut quiet).unwrap();
    let path = folder.join(format!("{name}.safetensors"));
    write(&outcome, &path);
    (read(&path), lines(&folder.join(name)))
}

#[test]
fn ranks_learn_what_one_process_learns() {
    let dir = tempfile::tempdir().unwrap();
    let one: Vec<_> = CASES.iter().map(|name| alone(dir.path(), name)).collect();
    let told = CASES.iter().position(|name| *name == "told").unwrap();
    let some = |line: &LogLine| line.left_out.is_some_and(|s| s > 0.0 && s < 1.0);
    assert!(one[told].1.iter().any(some), "all or none are left out");
    let mut before: Option<Vec<Vec<u8>>> = None;
    // Twice two ranks: the same bits.
    for world in [2, 3, 2] {
        let dir = tempfile::tempdir().unwrap();
        start("every-recipe", dir.path(), world, 120).well();
        let mut first = Vec::new();
        for (name, (weights, log)) in CASES.iter().zip(&one) {
            let path = |rank| dir.path().join(format!("{name}-{rank}.safetensors"));
            let bytes = |rank| std::fs::read(path(rank)).unwrap();
            for rank in 1..world {
                assert!(
                    bytes(0) == bytes(rank),
                    "{name}: ranks 0 and {rank} of {world} differ"
                );
            }
            let away = furthest(weights, &read(&path(0)));
            assert!(away < 1e-6, "{name}, {world} ranks: {away}");
            alike(log, &lines(&dir.path().join(name)));
            first.push(bytes(0));
        }
        if world == 2 {
            assert!(
                before.take().is_none_or(|before| before == first),
                "twice two ranks"
            );
            before = Some(first);
        }
    }
}

#[test]
fn one_rank_that_leaves_takes_all_with_it_and_another_number_goes_on() {
    let one = tempfile::tempdir().unwrap();
    let (weights, log) = alone(one.path(), BROKEN);
    let left_out = |line: &LogLine| line.left_out.is_some_and(|share| share > 0.0);
    assert!(log.iter().any(|line| line.step <= 12 && left_out(line)));
    assert!(log.iter().any(|line| line.step > 12 && left_out(line)));
    let unbroken = tempfile::tempdir().unwrap();
    for second in [2, 3, 1] {
        let dir = tempfile::tempdir().unwrap();
        start("first-part", dir.path(), 2, 120).well();
        let path = dir.path().join(format!("{BROKEN}-0.safetensors"));
        if second == 1 {
            let mut said = Vec::new();
            let went_on = train(BROKEN, dir.path(), Group::alone(), &|_| false, &mut |t| {
                said.push(t)
            });
            write(&went_on.unwrap(), &path);
            assert!(
                said.len() == 1 && said[0].contains("2 ranks and goes on with 1 process"),
                "{said:?}"
            );
        } else {
            start("second-part", dir.path(), second, 120).well();
            let said =
                |rank| std::fs::read_to_string(dir.path().join(format!("said-{rank}"))).unwrap();
            match second {
                2 => assert_eq!(said(0), "", "nothing to say"),
                _ => assert!(
                    said(0)
                        .contains("checkpoint 12 was trained by 2 ranks and goes on with 3 ranks")
                ),
            }
            assert_eq!(said(1), "", "rank 0 alone speaks");
        }
        assert!(furthest(&weights, &read(&path)) < 1e-6, "2 and {second}");
        alike(&log, &lines(&dir.path().join(BROKEN)));
        if second == 2 {
            // Broken or not, two ranks give the same bits.
            start("second-part", unbroken.path(), 2, 120).well();
            let whole =
                std::fs::read(unbroken.path().join(format!("{BROKEN}-0.safetensors"))).unwrap();
            assert!(whole == std::fs::read(&path).unwrap());
        }
    }
}

fn said(folder: &Path, rank: usize) -> String {
    std::fs::read_to_string(folder.join(format!("said-{rank}"))).unwrap_or_else(|_| {
        panic!(
            "{}",
            std::fs::read_to_string(folder.join(format!("output-{rank}"))).unwrap()
        )
    })
}

#[test]
fn a_killed_rank_ends_the_training_and_the_newest_checkpoint_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut ranks = start("long", dir.path(), 3, 120);
    ranks.await_files("joined");
    ranks.signal(1, "KILL");
    ranks.wait(&[1]);
    for rank in [0, 2] {
        let text = said(dir.path(), rank);
        assert!(
            text.starts_with(&format!("lost rank {rank} of 3 on ")),
            "{text}"
        );
        assert!(text.contains("rank 1 on "), "{text}");
    }
    // One process goes on from it: told that it was another number that trained it, and of nothing broken.
    let mut said = Vec::new();
    let outcome = train("long", dir.path(), Group::alone(), &|n| n == 1, &mut |t| {
        said.push(t)
    })
    .unwrap();
    assert!(
        outcome.steps >= 6 && outcome.steps % 5 == 1,
        "{}",
        outcome.steps
    );
    assert!(said.len() == 1 && said[0].contains("3 ranks"), "{said:?}");
}

#[test]
fn a_stopped_rank_ends_the_training_after_the_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let mut ranks = start("long", dir.path(), 2, 15);
    ranks.await_files("joined");
    ranks.signal(0, "STOP");
    ranks.wait(&[0]);
    let text = said(dir.path(), 1);
    assert!(
        text.starts_with("timeout rank 1 of 2 on ") && text.contains("rank 0 on "),
        "{text}"
    );
}

#[test]
fn ranks_that_do_not_do_the_same_refuse_to_begin() {
    for (name, what) in [
        ("other-settings", "its settings"),
        ("other-images", "training images"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        start(name, dir.path(), 2, 120).well();
        for rank in [0, 1] {
            let text = said(dir.path(), rank);
            assert!(
                text.starts_with("differ rank 1 of 2 on ") && text.contains(what),
                "{text}"
            );
        }
        assert!(!dir.path().join(name).join("checkpoints").exists());
    }
}

/// The image is in one rank's share; both hear of it, at the same step.
#[test]
fn a_loss_that_is_no_number_ends_all_ranks_at_the_same_step() {
    let dir = tempfile::tempdir().unwrap();
    start("no-number", dir.path(), 2, 120).well();
    let mut both = [said(dir.path(), 0), said(dir.path(), 1)];
    both.sort();
    let step = |text: &str| text.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(step(&both[0]), step(&both[1]));
    assert!(both[0].starts_with("loss "), "{both:?}");
    assert!(both.iter().any(|t| !t.contains("another rank")), "{both:?}");
}

/// What is compared above changes in training, and a batch is not what one rank alone would draw.
#[test]
fn there_is_something_to_learn() {
    let dir = tempfile::tempdir().unwrap();
    let (weights, _) = alone(dir.path(), "plain");
    let fresh = UNet2d::fresh(&config(), 7, Device::Cpu).unwrap();
    let fresh: Vec<(String, Tensor)> = fresh
        .parameters()
        .0
        .iter()
        .map(|(n, t)| (format!("raw/{n}"), t.copy()))
        .collect();
    let trained: Vec<(String, Tensor)> = fresh
        .iter()
        .map(|(n, _)| (n.clone(), weights[n].shallow_clone()))
        .collect();
    assert!(!same(&fresh, &trained));
    let away = fresh
        .iter()
        .zip(&trained)
        .map(|((_, a), (_, b))| (a - b).abs().max());
    let furthest = away
        .map(|t| t.to_kind(Kind::Double).double_value(&[]))
        .fold(0.0, f64::max);
    assert!(
        furthest > 1e-3,
        "a thousand times what ranks may differ by: {furthest}"
    );
}

//! Which models are trained and audited, in which order, on how many cores; and when a run may be gone on with.

use super::schedule::{Machine, share};
use super::*;
use crate::experiment::{Run, Source};
use dualmd_names::AttackSpec;

/// The demo with as many members as the context has.
fn experiment(sets: &[&str]) -> Experiment {
    let sets: Vec<_> = ["data.members=64"]
        .iter()
        .chain(sets)
        .map(|set| (*set).to_owned())
        .collect();
    Experiment::load(&Source::Preset("demo".into()), &sets).unwrap()
}

fn attacks(specs: &[AttackSpec]) -> Vec<String> {
    specs.iter().map(ToString::to_string).collect()
}

fn context() -> Context {
    Context {
        name: "demo".into(),
        created: "2026-11-24T05:09:00Z".into(),
        command: "dualmd demo".into(),
        auditor: None,
        versions: Versions {
            dualmd: "0.1.0".into(),
            libtorch: "2.13.0".into(),
            commit: None,
        },
        cpu: "a processor".into(),
        cores: 2,
        memory_gb: Some(8.0),
        device: "cpu".into(),
        dtype: "bf16".into(),
        data: DataFacts {
            source: "fashion".into(),
            image_size: 16,
            channels: 1,
            records: 3000,
            duplicates_dropped: 0,
            near_duplicate_groups: 4,
            members: 64,
            nonmembers: 512,
            d1: 32,
            d2: 32,
            licence: Some("MIT".into()),
            captions: None,
            content: Some("c0ffee".into()),
            pretrain_content: None,
        },
        split_hash: "0123456789abcdef".into(),
        network: NetworkFacts {
            text: false,
            labels: None,
            base: None,
            autoencoder: None,
            preset: "tiny".into(),
            parameters: 171_265,
            config: serde_json::json!({"dropout": 0.0}),
        },
    }
}

fn plan(sets: &[&str]) -> Plan {
    Plan::resolve(&experiment(sets), &context()).unwrap()
}

fn names<'a>(jobs: impl Iterator<Item = &'a Job>) -> Vec<&'a str> {
    jobs.map(|job| job.name.as_str()).collect()
}

#[test]
fn the_teachers_are_trained_once_and_shared() {
    let plan = plan(&[]);
    assert_eq!(
        names(plan.trainings.iter()),
        ["baseline", "teacher-1", "teacher-2", "student", "kd"]
    );
    assert_eq!(
        plan.training("student").unwrap().needs,
        ["teacher-1", "teacher-2"]
    );
    assert_eq!(
        plan.training("kd").unwrap().kind,
        JobKind::Kd {
            teacher: "baseline".into()
        }
    );
    assert_eq!(
        plan.training("teacher-2").unwrap().kind,
        JobKind::Teacher { half: 2 }
    );
}

#[test]
fn a_shared_beginning_is_the_teachers_draw() {
    let plan = plan(&[
        "models=[{name='own', defense='distillmd'}, {name='shared', defense='distillmd', distill={init='shared'}}, \
         {name='early', defense='kd', teacher='late', distill={init='shared'}}, {name='late', defense='none', seed_offset=3}]",
    ]);
    let job = |name| plan.training(name).unwrap();
    assert_eq!(job("shared").init_seed(), job("teacher-1").seed);
    assert_eq!(job("early").init_seed(), job("late").seed);
    assert_eq!(job("own").init_seed(), job("own").seed);
    assert_ne!(job("own").seed, job("teacher-1").seed);
}

#[test]
fn teachers_drop_only_where_the_network_has_dropout() {
    let drops = experiment(&["distill.teacher_dropout=true"]);
    let mut context = context();
    let message = format!("{:#}", Plan::resolve(&drops, &context).unwrap_err());
    assert!(message.contains("model.dropout"), "{message}");
    context.network.config = serde_json::json!({"dropout": 0.1});
    assert!(Plan::resolve(&drops, &context).is_ok());
}

#[test]
fn the_pair_is_audited_through_its_images_only() {
    let plan = plan(&[]);
    let audited: Vec<_> = plan
        .models
        .iter()
        .map(|target| (target.name.as_str(), target.defense.as_str()))
        .collect();
    assert_eq!(
        audited,
        [
            ("baseline", "none"),
            ("teacher-1", "teacher"),
            ("teacher-2", "teacher"),
            ("dualmd", "dualmd"),
            ("student", "distillmd"),
            ("kd", "kd")
        ]
    );
    assert_eq!(plan.models[3].parts, ["teacher-1", "teacher-2"]);
    assert_eq!(attacks(&plan.models[3].attacks), ["nn"]);
    assert_eq!(
        attacks(&plan.models[4].attacks),
        ["loss", "secmi", "pia", "pian", "sima", "nn"]
    );
    let message = format!("{:#}", plan.training("dualmd").unwrap_err());
    assert_eq!(
        message,
        "dualmd is not trained: it is the pair of teacher-1 and teacher-2; train these"
    );
    assert!(
        format!("{:#}", plan.training("teacher-3").unwrap_err()).contains("did you mean teacher-")
    );
}

#[test]
fn an_attack_without_a_model_is_said() {
    let warned = |sets: &[&str]| {
        let warnings = plan(sets).warnings;
        warnings
            .into_iter()
            .find(|w| w.starts_with("audit.attacks"))
    };
    let attacks = "audit.attacks=[\"loss\", \"rounds@2\", \"teacher-difference\"]";
    assert_eq!(warned(&[attacks]), None, "the demo has a pair");
    let alone = "models=[{name = \"baseline\", defense = \"none\"}]";
    let said = warned(&[attacks, alone]).unwrap();
    assert!(
        said.contains("attacked by rounds@2, teacher-difference: "),
        "{said}"
    );
}

#[test]
fn what_looks_at_images_alone_is_asked_of_all_that_draw() {
    let plan = plan(&["audit.attacks=[\"loss\", \"nn-features\", \"nn\"]"]);
    for target in &plan.models {
        let own: &[&str] = match target.defense.as_str() {
            "dualmd" => &[],
            _ => &["loss"],
        };
        let expected: Vec<&str> = own.iter().copied().chain(["nn", "nn-features"]).collect();
        assert_eq!(attacks(&target.attacks), expected, "{}", target.name);
    }
}

#[test]
fn whatever_the_order_in_the_file_needs_come_first() {
    let plan = plan(&[
        "models=[{name='kd', defense='kd', teacher='late'}, {name='student', defense='distillmd'}, {name='alone', defense='none'}, {name='late', defense='none'}]",
    ]);
    assert_eq!(
        names(plan.trainings.iter()),
        ["teacher-1", "teacher-2", "late", "alone", "kd", "student"]
    );
    for (index, job) in plan.trainings.iter().enumerate() {
        assert!(job.needs.iter().all(|need| {
            plan.trainings[..index]
                .iter()
                .any(|before| &before.name == need)
        }));
    }
}

#[test]
fn a_training_is_ready_when_its_needs_are_finished() {
    let plan = plan(&[]);
    assert_eq!(
        names(plan.ready(&[], |_| false)),
        ["baseline", "teacher-1", "teacher-2"]
    );
    let finished = ["baseline", "teacher-1"].map(String::from);
    assert_eq!(
        names(plan.ready(&finished, |name| name == "teacher-2")),
        ["kd"]
    );
    let finished = ["baseline", "teacher-1", "teacher-2", "kd"].map(String::from);
    assert_eq!(names(plan.ready(&finished, |_| false)), ["student"]);
}

#[test]
fn seeds_follow_from_seed_name_and_offset_alone() {
    let golden = training_seed(0, 0, "baseline");
    assert_eq!(golden, 3_822_455_066_617_251);
    assert_ne!(golden, training_seed(1, 0, "baseline"));
    assert_ne!(golden, training_seed(0, 1, "baseline"));
    assert_ne!(golden, training_seed(0, 0, "kd"));
    assert!((0..1000).all(|seed| training_seed(seed, 0, "x") < 1 << 53));
    let alone = plan(&["models=[{name='baseline', defense='none'}]"]);
    assert_eq!(alone.trainings[0].seed, plan(&[]).trainings[0].seed);
    let moved = plan(&["models.0.seed_offset=1"]);
    assert_eq!(moved.trainings[0].seed, training_seed(0, 1, "baseline"));
}

#[test]
fn cores_are_divided_never_shared() {
    let jobs = plan(&[]).trainings;
    let auto = Run::default();
    let share_of = |cores, memory_gb, parameters, cuda, run: &Run| {
        share(
            &jobs,
            run,
            &Machine {
                cores,
                memory_gb,
                parameters,
                cuda,
            },
        )
    };
    assert_eq!(share_of(1, None, 171_265, false, &auto), (1, 1));
    assert_eq!(share_of(2, Some(8.0), 171_265, false, &auto), (2, 1));
    assert_eq!(share_of(16, Some(64.0), 171_265, false, &auto), (3, 5));
    // 36 million parameters: 1.4 GB each.
    assert_eq!(share_of(16, Some(4.0), 35_746_307, false, &auto), (1, 16));
    assert_eq!(share_of(16, Some(64.0), 35_746_307, true, &auto), (1, 16));
    assert_eq!(
        share_of(
            2,
            None,
            171_265,
            false,
            &Run {
                jobs: 9,
                threads_per_model: 0
            }
        ),
        (3, 1)
    );
    assert_eq!(
        share_of(
            8,
            None,
            171_265,
            false,
            &Run {
                jobs: 0,
                threads_per_model: 2
            }
        ),
        (3, 2)
    );
}

#[test]
fn what_a_reader_should_know_is_said() {
    assert!(plan(&[]).warnings.is_empty());
    assert!(plan(&["run.threads_per_model=4"]).warnings[0].contains("want 8 cores, there are 2"));
    assert!(plan(&["train.steps=20"]).warnings[0].contains("train.warmup = 50"));
    let mut few = context();
    few.data.nonmembers = 99;
    assert!(Plan::resolve(&experiment(&[]), &few).unwrap().warnings[0].contains("at least 100"));
}

#[test]
fn what_captions_draw_is_compared_of_every_model_and_rounds_are_for_pairs() {
    let asked = "audit.attacks=[\"loss\", \"pw-threshold\", \"sim-mean\", \"rounds@2+second\"]";
    let text = experiment(&["model.preset=\"t2i-pixels-32\"", asked]);
    let of = |experiment: &Experiment, name: &str| {
        let targets = schedule::targets(experiment);
        let target = targets.into_iter().find(|t| t.name == name);
        attacks(&target.unwrap().attacks)
    };
    check_attacks(&text).unwrap();
    let drawn = ["nn", "sim-mean", "pw-threshold"];
    assert_eq!(of(&text, "student"), [&["loss"][..], &drawn].concat());
    assert_eq!(
        of(&text, "dualmd"),
        [&["rounds@2+second"][..], &drawn].concat()
    );
    let told = |error: anyhow::Error| format!("{error:#}");
    let plain = experiment(&["audit.attacks=[\"pw-threshold\"]"]);
    let error = told(check_attacks(&plain).unwrap_err());
    assert!(
        error.starts_with("audit.attacks: ") && error.contains("told no text"),
        "{error}"
    );
    let error = told(check_attacks(&experiment(&["audit.attacks=[\"rounds@99\"]"])).unwrap_err());
    assert!(error.contains("at most 50 rounds"), "{error}");
}

#[test]
fn the_plan_is_kept_as_the_contract_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    let plan = plan(&[]);
    plan.save(&path).unwrap();
    assert_eq!(Plan::load(&path).unwrap(), plan);
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["hardware"]["parallel_models"], 2);
    assert_eq!(json["data"]["d1"], 32);
    assert_eq!(json["train"]["learning_rate"], 3e-3);
    assert_eq!(json["audit"]["weights"], "ema");
    assert_eq!(json["models"][3]["needs"][1], "teacher-2");
    assert_eq!(json["trainings"][1]["kind"], "teacher");
    assert_eq!(json["trainings"][1]["half"], 1);
    assert!(
        json["experiment_toml"]
            .as_str()
            .unwrap()
            .contains("[[models]]")
    );
    // Nothing but the file is left behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::write(&path, "{\"schema\": 1").unwrap();
    assert!(format!("{:#}", Plan::load(&path).unwrap_err()).contains("plan.json is no plan"));
}

#[test]
fn a_run_goes_on_only_as_the_same_experiment() {
    let old = plan(&[]);
    let same = plan(&["train.log_every=1", "run.jobs=1"])
        .go_on_from(&old)
        .unwrap();
    assert_eq!(
        (
            same.hardware.threads_per_model,
            same.hardware.parallel_models
        ),
        (1, 1)
    );
    let error = plan(&["train.steps=9"])
        .go_on_from(&old)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("train.steps was 2000, now it is 9") && error.contains("--out"),
        "{error}"
    );
    let error = plan(&["models.0.name=plain", "models.3.teacher=plain"])
        .go_on_from(&old)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("models.0.name was \"baseline\", now it is \"plain\""),
        "{error}"
    );
    let mut other = context();
    other.split_hash = "f00".into();
    let error = Plan::resolve(&experiment(&[]), &other)
        .unwrap()
        .go_on_from(&old)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the split's hash was 0123456789abcdef, now it is f00"),
        "{error}"
    );
}

#[test]
fn images_that_have_moved_are_the_same_images() {
    let (old, set) = (plan(&[]), ["data.source=/elsewhere"]);
    let moved = |content: Option<&str>, old: &Plan| {
        let mut now = context();
        now.data.content = content.map(str::to_owned);
        let plan = Plan::resolve(&experiment(&set), &now).unwrap();
        plan.go_on_from(old).map_err(|e| e.to_string())
    };
    let same = moved(Some("c0ffee"), &old).unwrap();
    assert!(same.experiment_toml.contains("/elsewhere") && same.warnings == old.warnings);
    let error = moved(Some("decaf"), &old).unwrap_err();
    assert!(
        error.contains(
            "data.source was \"fashion\", now it is \"/elsewhere\", where not the same images lie"
        ),
        "{error}"
    );
    // A plan of a version that noted nothing.
    let mut before = old.clone();
    before.data.content = None;
    let error = moved(Some("c0ffee"), &before).unwrap_err();
    assert!(error.contains("did not note"), "{error}");
    // In their old place they may have changed: with a word where only the images count, not at all where captions do.
    let mut now = context();
    now.data.content = Some("decaf".into());
    let changed = Plan::resolve(&experiment(&[]), &now).unwrap();
    let warnings = changed.clone().go_on_from(&old).unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("images of data.source have changed")),
        "{warnings:?}"
    );
    let text = |mut plan: Plan| {
        plan.model.text = true;
        plan
    };
    let error = text(changed)
        .go_on_from(&text(old))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("images of data.source have changed"),
        "{error}"
    );
}

#[test]
fn going_on_elsewhere_keeps_the_threads_where_it_can() {
    let old = plan(&[]);
    let mut larger = context();
    (larger.cores, larger.created) = (12, "2027-01-01T00:00:00Z".into());
    larger.versions.libtorch = "2.14.0".into();
    let plan = Plan::resolve(&experiment(&[]), &larger).unwrap();
    assert_eq!(plan.hardware.threads_per_model, 4);
    let plan = plan.go_on_from(&old).unwrap();
    assert_eq!(
        (plan.hardware.threads_per_model, plan.created.as_str()),
        (1, "2026-11-24T05:09:00Z")
    );
    assert!(plan.warnings[0].contains("libtorch was 2.13.0 when the run began"));
}

#[test]
fn the_plan_reads_well() {
    let text = plan(&["run.threads_per_model=2"]).describe();
    let expected = "\
run demo (seed 0)
  images    fashion, 16 px, grey: 64 members (D1 32, D2 32) and 512 non-members of 3,000
            0 exact duplicates dropped, 4 groups of near-duplicates, split 0123456789ab
  network   tiny, 171,265 parameters
  recipe    2,000 steps of 32 images, 1,000 epochs over all members, learning rate 0.003, moving average 0.998, bf16
  train     baseline     all members, 1,000 epochs
            teacher-1    D1, 2,000 epochs
            teacher-2    D2, 2,000 epochs
            student      all members, each taught by the one of teacher-1 and teacher-2 that never saw it, 1,000 epochs
            kd           all members, taught by baseline, 1,000 epochs
  audit     baseline     loss, secmi, pia, pian, sima, nn
            teacher-1    loss, secmi, pia, pian, sima, nn
            teacher-2    loss, secmi, pia, pian, sima, nn
            dualmd       nn
            student      loss, secmi, pia, pian, sima, nn
            kd           loss, secmi, pia, pian, sima, nn
            nn by what every model generates (audit.black_box = false leaves that out)
  machine   2 cores, 8 GB, a processor on cpu: 2 models at a time, 2 threads each
  warning   2 trainings with 2 threads each want 4 cores, there are 2: threads that wait for a core can make a step many times slower (run.jobs, run.threads_per_model)
";
    assert_eq!(text, expected);
    // What was named, or left out, needs no word.
    for set in ["audit.attacks=[\"loss\", \"nn\"]", "audit.black_box=false"] {
        let text = plan(&[set]).describe();
        assert!(!text.contains("black_box"), "{text}");
    }
}

#[test]
fn guidance_needs_an_empty_text_that_was_learnt() {
    let with = |sets: &[&str]| {
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        let e = Experiment::load(&Source::Preset("emoji-t2i-demo".into()), &sets).unwrap();
        let warnings = Plan::resolve(&e, &context()).unwrap().warnings;
        warnings.iter().any(|w| w.contains("sample.guidance"))
    };
    assert!(!with(&[]));
    assert!(with(&["pretrain.train.caption_dropout=0.0"]));
    assert!(!with(&[
        "pretrain.train.caption_dropout=0.0",
        "sample.guidance=1.0"
    ]));
}

/// What an older version did not know had its default; another value is another experiment.
#[test]
fn a_run_of_an_older_version_may_go_on() {
    let mut old = plan(&[]);
    let without: Vec<&str> = old
        .experiment_toml
        .lines()
        .filter(|line| !line.starts_with("accumulate"))
        .collect();
    assert_ne!(without.len(), old.experiment_toml.lines().count());
    old.experiment_toml = without.join("\n");
    assert!(plan(&[]).go_on_from(&old).is_ok());
    let changed = plan(&["train.accumulate=2"]).go_on_from(&old);
    let message = format!("{:#}", changed.unwrap_err());
    assert!(
        message.contains("train.accumulate was 1, now it is 2"),
        "{message}"
    );
}

/// The report combines trainings of one recipe over seeds.
#[test]
fn a_recipe_trained_again_is_a_repeat() {
    let plan = plan(&[
        "models=[{name='a', defense='none'}, {name='b', defense='none', seed_offset=1}, {name='c', defense='distillmd'}, \
         {name='d', defense='none', train={weight_decay=1e-3}}, {name='e', defense='distillmd'}, {name='f', defense='dualmd'}, \
         {name='g', defense='dualmd'}]",
    ]);
    let repeats: Vec<(&str, &str)> = plan
        .models
        .iter()
        .filter_map(|m| Some((m.name.as_str(), m.repeat_of.as_deref()?)))
        .collect();
    assert_eq!(repeats, [("b", "a"), ("e", "c")]);
}

/// 64 members, batches of 32: an epoch is two steps. Every model has the same steps; its own passes are over its own images.
#[test]
fn epochs_are_passes_over_all_members_and_each_model_shows_its_own() {
    let plan = plan(&[
        "train.epochs=4000",
        "models=[{name='baseline', defense='none'}, {name='student', defense='distillmd'}, {name='k', defense='k-way', shards=4}, \
         {name='drawn', defense='synthetic', images=16}, {name='short', defense='none', train={epochs=100.5}}, \
         {name='steps', defense='none', train={steps=7}}, {name='small', defense='none', train={batch=16}}, \
         {name='private', defense='dp-sgd', epsilon=8.0, train={batch=128, steps=10}}]",
        "audit.attacks=['reference']",
    ]);
    assert_eq!((plan.train.steps, plan.epochs), (8000, Some(4000.0)));
    let of = |name: &str| {
        let job = plan.training(name).unwrap();
        let train = job.train.as_ref().unwrap_or(&plan.train);
        (train.steps, job.epochs.unwrap())
    };
    assert_eq!(of("baseline"), (8000, 4000.0));
    assert_eq!(of("teacher-1"), (8000, 8000.0));
    assert_eq!(of("student"), (8000, 4000.0));
    assert_eq!(of("shard-2-of-4"), (8000, 16_000.0));
    assert_eq!(of("k"), (8000, 4000.0));
    assert_eq!(of("drawn"), (8000, 16_000.0));
    assert_eq!(of("reference"), (8000, 4000.0));
    assert_eq!(of("short"), (201, 100.5));
    assert_eq!(of("steps"), (7, 3.5));
    assert_eq!(of("small"), (16_000, 4000.0));
    // At most all members in a step.
    assert_eq!(of("private"), (10, 10.0));
    // The plan that is kept has the steps, and reads back as it was.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.json");
    plan.save(&path).unwrap();
    assert_eq!(Plan::load(&path).unwrap(), plan);
    let again = Experiment::parse(&plan.experiment_toml, "plan.json", &[]).unwrap();
    assert_eq!(again.train.steps, 8000);
}

/// A run that began with steps goes on with as many epochs, and the other way round; other lengths are another experiment.
#[test]
fn the_unit_of_a_training_does_not_make_another_run() {
    let models =
        "models=[{name='a', defense='none'}, {name='b', defense='none', train={steps=200}}]";
    let epochs =
        "models=[{name='a', defense='none'}, {name='b', defense='none', train={epochs=100}}]";
    let old = plan(&["train.steps=8000", models]);
    assert!(
        plan(&["train.epochs=4000", epochs])
            .go_on_from(&old)
            .is_ok()
    );
    let old = plan(&["train.epochs=4000", epochs]);
    assert!(plan(&["train.steps=8000", models]).go_on_from(&old).is_ok());
    let error = plan(&["train.epochs=2000", epochs])
        .go_on_from(&old)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("train.steps was 8000, now it is 4000"),
        "{error}"
    );
}

#[test]
fn epochs_of_another_split_are_a_warning() {
    let mut context = context();
    context.data.members = 40;
    let plan = Plan::resolve(&experiment(&["train.epochs=100"]), &context).unwrap();
    assert!(
        plan.warnings.iter().any(|w| w.contains("data.members = 64")
            && w.contains("the split has 40 members")
            && w.contains("160 passes")),
        "{:?}",
        plan.warnings
    );
}

/// Adapters on a base: the base is what `reference` compares with, so that no model is trained for it.
#[test]
fn tuning_trains_adapters_alone() {
    use crate::choices::{LoraSave, Reference};
    let of = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Experiment::load(&Source::Preset("tune".into()), &sets).unwrap()
    };
    let names = |experiment: &Experiment| {
        let mut names: Vec<String> = super::schedule::jobs(experiment)
            .unwrap()
            .into_iter()
            .map(|job| job.name)
            .collect();
        names.sort();
        names
    };
    let tune = of(&[]);
    assert_eq!(tune.audit.reference, Reference::Base);
    assert_eq!(tune.train.lora_save, LoraSave::Adapter);
    // diffusers' script: 100 passes over 64 images, 16 at a time.
    assert_eq!((tune.train.lora_rank, tune.train.steps), (4, 400));
    let own = ["plain", "student", "teacher-1", "teacher-2"];
    assert_eq!(names(&tune), own);
    let targets = super::schedule::targets(&tune);
    let compared = |name: &str| {
        let target = targets.iter().find(|target| target.name == name).unwrap();
        target.attacks.iter().any(|a| a.to_string() == "reference")
    };
    assert!(compared("plain") && compared("student") && compared("teacher-1"));
    assert!(!compared("pair"), "two models have no one loss");
    // Otherwise one more is trained.
    let trained = names(&of(&["audit.reference=trained"]));
    assert_eq!(trained[1], "reference", "{trained:?}");
    // As `dualmd tune` adds rivals.
    let rivals = of(&[
        "models.3.name=early-stopping",
        "models.3.defense=early-stopping",
        "models.3.train.eval_every=50",
        "models.4.name=dp-sgd",
        "models.4.defense=dp-sgd",
        "models.4.epsilon=8",
    ]);
    assert_eq!(names(&rivals)[..2], ["dp-sgd", "early-stopping"]);
}

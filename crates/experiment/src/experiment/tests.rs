//! What a person who writes an experiment file meets: defaults, layers, and messages.

use super::{Experiment, ModelEntry, Source, keys};
use crate::choices::{Dtype, Init, Levels, Objective, Order, Routing, SplitMethod};
use crate::presets::PRESETS;
use dualmd_names::{AttackSpec, Defense};

const SMALL: &str = r#"
seed = 7
[data]
source = "fashion"
image_size = 16
members = 64
nonmembers = 512
[model]
preset = "tiny"
[train]
steps = 100
[[models]]
name = "baseline"
defense = "none"
[[models]]
name = "kd"
defense = "kd"
"#;

fn parse(text: &str) -> anyhow::Result<Experiment> {
    Experiment::parse(text, "small.toml", &[])
}

fn with(sets: &[&str]) -> anyhow::Result<Experiment> {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    Experiment::parse(SMALL, "small.toml", &sets)
}

/// All causes in one line.
fn message<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.unwrap_err())
}

fn names(attacks: &[AttackSpec]) -> Vec<String> {
    attacks.iter().map(ToString::to_string).collect()
}

#[test]
fn a_misspelt_attack_is_found_where_it_stands() {
    let told = message(with(&["audit.attacks=[\"loss\", \"secmia\"]"]));
    assert!(
        told.starts_with("--set audit.attacks=[\"loss\", \"secmia\"]: ")
            && told.contains("unknown attack \"secmia\" (did you mean secmi?)"),
        "{told}"
    );
    let file = format!("{SMALL}\n[audit]\nattacks = [\"sima@soon\"]\n");
    let error = parse(&file).unwrap_err();
    assert!(error.is::<crate::Usage>(), "{error}");
    assert_eq!(
        error.to_string(),
        "small.toml: audit.attacks: attack sima: \"sima@soon\": write sima@T with a whole number T, such as sima@100, or sima@snr=S with a number S above 0, such as sima@snr=1"
    );
}

#[test]
fn missing_keys_have_defaults() {
    let experiment = parse(SMALL).unwrap();
    assert_eq!(experiment.seed, 7);
    assert_eq!(experiment.train.batch, 64);
    assert_eq!(experiment.train.dtype, Dtype::Auto);
    assert_eq!(experiment.sample.n, 256);
    assert_eq!(
        names(&experiment.audit.attacks),
        ["loss", "secmi", "pia", "pian", "sima"]
    );
    assert_eq!(experiment.models[1].kd_teacher(), "baseline");
}

#[test]
fn the_file_of_the_contract_is_read() {
    let text = r#"
seed = 0
[data]
source = "fashion"
image_size = 16
members = 64
nonmembers = 512
[model]
preset = "tiny"
[train]
steps = 2400
batch = 64
learning_rate = 2e-3
checkpoint_every = 500
[[models]]
name = "baseline"
defense = "none"
[[models]]
name = "dualmd"
defense = "dualmd"
[[models]]
name = "student"
defense = "distillmd"
[audit]
attacks = ["loss", "secmi", "pia", "pian", "sima"]
"#;
    let experiment = parse(text).unwrap();
    let defenses: Vec<_> = experiment
        .models
        .iter()
        .map(|model| model.defense)
        .collect();
    assert_eq!(
        defenses,
        [Defense::None, Defense::Dualmd, Defense::Distillmd]
    );
}

#[test]
fn every_preset_is_an_experiment() {
    for preset in PRESETS {
        let sets = if preset.name == "paper-cifar10" {
            vec!["data.source=cifar".into()]
        } else {
            vec![]
        };
        let experiment = Experiment::load(&Source::Preset(preset.name.into()), &sets).unwrap();
        assert_eq!(
            parse(&experiment.to_toml().unwrap()).unwrap(),
            experiment,
            "{}",
            preset.name
        );
    }
    let paper = message(Experiment::load(
        &Source::Preset("paper-cifar10".into()),
        &[],
    ));
    assert!(
        paper.contains("preset paper-cifar10: data.source is not set")
            && paper.contains("--set data.source=")
    );
    let typo = message(Experiment::load(&Source::Preset("dmeo".into()), &[]));
    assert_eq!(typo, "unknown preset dmeo: did you mean demo?");
}

/// Adapters alone are saved where adapters alone are trained, and a base is a reference where there is one.
#[test]
fn what_is_about_adapters_needs_a_base() {
    let text = SMALL.replace("preset = \"tiny\"", "base = \"sd\"");
    let of = |sets: &[&str]| {
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        Experiment::parse(&text, "t.toml", &sets)
    };
    let rank = "train.lora_rank=4";
    let all = of(&[rank, "train.lora_save=adapter", "audit.reference=base"]).unwrap();
    assert_eq!(all.train.lora_targets, ["to_q", "to_k", "to_v", "to_out.0"]);
    assert_eq!(parse(&all.to_toml().unwrap()).unwrap(), all);
    for (sets, says) in [
        (&["train.lora_save=adapter"][..], "set train.lora_rank"),
        (
            &[rank, "train.lora_targets=[]"][..],
            "lora_targets names no layer",
        ),
    ] {
        let told = message(of(sets));
        assert!(told.contains(says), "{told}");
    }
    let told = message(with(&["audit.reference=base"]));
    assert!(told.contains("audit.reference"), "{told}");
}

/// Networks that are told no text start from a folder, or see the latents of an autoencoder.
#[test]
fn what_brings_its_own_network_takes_no_other() {
    let text = SMALL.replace("preset = \"tiny\"\n", "");
    let of = |sets: &[&str]| {
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        Experiment::parse(&text, "t.toml", &sets)
    };
    let started = of(&["model.start=dit", "audit.reference=base"]).unwrap();
    assert!(!started.is_text());
    assert_eq!(parse(&started.to_toml().unwrap()).unwrap(), started);
    // It may have learnt what no label is.
    let guided = ["data.labels=true", "sample.label_guidance=2.0"];
    of(&[&guided[..], &["model.start=dit"]].concat()).unwrap();
    let latent = of(&["model.preset=dit-tiny", "model.autoencoder=vae"]).unwrap();
    assert!(!latent.is_text());
    assert_eq!(parse(&latent.to_toml().unwrap()).unwrap(), latent);
    for (sets, says) in [
        (
            &["model.start=a", "model.autoencoder=b"][..],
            "remove model.autoencoder",
        ),
        (&["model.start=a", "model.num_layers=2"], "finished network"),
        (
            &["model.start=a", "model.base=b"],
            "model.start is for models that are told no text",
        ),
        (
            &["model.autoencoder=a", "model.preset=t2i-latent-small"],
            "model.autoencoder is for models that are told no text",
        ),
        (
            &[
                "model.start=a",
                "models=[{name='s', defense='distillmd', distill={init='shared'}}]",
            ],
            "all models start from the same base",
        ),
    ] {
        let told = message(of(sets));
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn what_is_written_back_is_the_same_experiment() {
    let experiment = with(&[
        "model.attention_head_dim=null",
        "model.block_out_channels=[32, 64]",
        "models.1.seed_offset=3",
    ])
    .unwrap();
    assert_eq!(parse(&experiment.to_toml().unwrap()).unwrap(), experiment);
}

#[test]
fn an_unknown_key_is_refused_with_line_and_nearest() {
    let text = SMALL.replace("steps = 100", "steps = 100\nlearnig_rate = 1e-3");
    assert_eq!(
        message(parse(&text)),
        "unknown key train.learnig_rate in small.toml line 12: did you mean train.learning_rate?"
    );
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
    let text = SMALL.replace("[train]", "[train]\nimage_size = 16");
    assert!(message(parse(&text)).ends_with("did you mean data.image_size?"));
    let text = format!("steps = 3\n{SMALL}");
    assert!(message(parse(&text)).ends_with("small.toml line 1: did you mean train.steps?"));
}

#[test]
fn unknown_sections_entries_and_network_keys_are_refused_all_at_once() {
    let text = format!("{SMALL}defence = 'kd'\n[trian]\nsteps = 1\n[data2]\n").replace(
        "preset = \"tiny\"",
        "preset = \"tiny\"\nlayers_per_bloc = 1",
    );
    let message = message(parse(&text));
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 4, "{message}");
    assert!(
        message.contains("models.1.defence in small.toml line 19: did you mean models.1.defense?"),
        "{message}"
    );
    assert!(
        message.contains("unknown key trian in small.toml line 20: did you mean train?"),
        "{message}"
    );
    assert!(
        message.contains("data2") && message.contains("did you mean data?"),
        "{message}"
    );
    assert!(
        message.contains("model.layers_per_bloc") && message.contains("model.layers_per_block?"),
        "{message}"
    );
}

#[test]
fn a_key_like_no_other_gets_the_list_of_its_section() {
    let text = SMALL.replace("[model]", "[distill]\ntemperature_of_softmax = 2\n[model]");
    assert!(
        message(parse(&text))
            .ends_with("[distill] has: routing, teacher_weights, teacher_dropout, init")
    );
}

#[test]
fn a_wrong_type_shows_line_and_key() {
    let text = SMALL.replace("steps = 100", "steps = \"many\"");
    let message = message(parse(&text));
    assert!(
        message.contains("small.toml") && message.contains("line 11") && message.contains("steps"),
        "{message}"
    );
    assert!(super::tests::message(parse("seed = = 1")).contains("line 1"));
}

#[test]
fn a_choice_that_does_not_exist_lists_those_that_do() {
    let message = message(parse(
        &SMALL.replace("defense = \"none\"", "defense = \"dpsgd\""),
    ));
    assert!(
        message.contains("dpsgd") && message.contains("distillmd") && message.contains("line"),
        "{message}"
    );
}

#[test]
fn sets_win_over_the_file_and_later_ones_over_earlier() {
    let experiment = with(&[
        "train.steps=5",
        "train.steps = 9",
        "data.source=my pictures/set=1",
        "data.method=coin-flip",
        "sample.order=\"random-step\"",
        "audit.attacks=[\"loss\"]",
        "train.learning_rate=1e-4",
        "models.0.name=plain",
        "models.1.teacher=plain",
    ])
    .unwrap();
    assert_eq!(experiment.train.steps, 9);
    assert_eq!(experiment.data.source, "my pictures/set=1");
    assert_eq!(experiment.data.method, SplitMethod::CoinFlip);
    assert_eq!(experiment.sample.order, Order::RandomStep);
    assert_eq!(names(&experiment.audit.attacks), ["loss"]);
    assert!((experiment.train.learning_rate - 1e-4).abs() < 1e-18);
    assert_eq!(experiment.models[1].kd_teacher(), "plain");
}

#[test]
fn sets_reach_a_new_section_a_new_entry_and_whole_arrays() {
    let experiment = with(&[
        "run.jobs=2",
        "models.2.name=pair",
        "models.2.defense=dualmd",
    ])
    .unwrap();
    assert_eq!((experiment.run.jobs, experiment.models.len()), (2, 3));
    let experiment = with(&["models=[{name='only', defense='none'}]"]).unwrap();
    assert_eq!(experiment.models[0].name, "only");
}

#[test]
fn sets_are_checked_like_files() {
    assert_eq!(
        message(with(&["train.learnig_rate=1"])),
        "unknown key train.learnig_rate in --set train.learnig_rate=1: did you mean train.learning_rate?"
    );
    assert!(
        message(with(&["models=[{nmae='x', defense='none'}]"]))
            .contains("did you mean models.0.name?")
    );
    assert!(message(with(&["train.steps"])).contains("section.key=value"));
    assert!(message(with(&["models.7.name=x"])).contains("there are 2 entries"));
    assert!(message(with(&["train=3", "train.steps=3"])).contains("train: is of type integer"));
    assert!(message(with(&["train.steps.x=3"])).contains("unknown key train.steps.x"));
    let wrong = message(with(&["train.steps=soon"]));
    assert!(
        wrong.starts_with("--set train.steps=soon: ") && wrong.contains("`train.steps`"),
        "{wrong}"
    );
    assert!(
        message(with(&["train.steps=0"]))
            .contains("small.toml with --set train.steps=0: train.steps = 0")
    );
    // A line break cannot smuggle in a second key.
    assert!(message(with(&["data.source=1\nseed = 2", "train.steps=0"])).contains("train.steps"));
}

#[test]
fn values_out_of_range_are_named_with_what_is_needed() {
    for (set, expected) in [
        ("data.members=63", "data.members = 63: an even number"),
        ("data.members=0", "data.members = 0"),
        ("data.nonmembers=0", "data.nonmembers = 0"),
        ("data.channels=4", "data.channels = 4: use 1 (grey) or 3"),
        ("data.image_size=2", "data.image_size = 2"),
        ("train.batch=0", "train.batch = 0: at least 1"),
        ("train.learning_rate=0", "train.learning_rate = 0"),
        ("train.learning_rate=nan", "train.learning_rate = nan"),
        ("train.ema=1.0", "train.ema = 1"),
        ("train.decay_fraction=1.5", "train.decay_fraction = 1.5"),
        ("train.clip=-1.0", "train.clip = -1"),
        ("train.keep_checkpoints=0", "train.keep_checkpoints = 0"),
        ("sample.steps=1001", "sample.steps = 1001: 1 to 1000"),
        ("audit.attacks=[\"loss\", \"loss\"]", "names loss twice"),
        (
            "train.levels=logit-normal",
            "train.levels = \"logit-normal\" is about flows",
        ),
        ("models.0.train.objective=flow", "the same for all models"),
        ("models.0.name=../up", "cannot be a folder"),
        ("models.0.name=.hidden", "cannot be a folder"),
        ("models.0.name=Teacher-1", "taken by the teachers"),
        ("models.0.name=KD", "two models are named"),
        ("models.0.teacher=kd", "only defense = \"kd\" has a teacher"),
        ("models.1.teacher=baselin", "did you mean baseline?"),
        ("models.0.name=zero", "set teacher to one of: zero"),
        ("models=[]", "no [[models]]"),
    ] {
        let message = message(with(&[set]));
        assert!(message.contains(expected), "--set {set}: {message}");
    }
    assert!(with(&["data.members=63", "data.method=coin-flip"]).is_ok());
}

#[test]
fn flows_are_chosen_in_train_and_sampled_along_their_path() {
    assert_eq!(parse(SMALL).unwrap().train.objective, Objective::Ddpm);
    let flow = with(&["train.objective=flow", "train.levels=logit-normal"]).unwrap();
    assert_eq!(
        (flow.train.objective, flow.train.levels),
        (Objective::Flow, Levels::LogitNormal)
    );
    assert_eq!(parse(&flow.to_toml().unwrap()).unwrap(), flow);
    let refused = message(with(&["train.objective=flow", "sample.sampler=ddpm"]));
    assert!(refused.contains("sample.sampler"), "{refused}");
    let text = message(with(&[
        "train.objective=flow",
        "model.preset=t2i-pixels-32",
    ]));
    assert!(text.contains("told no text"), "{text}");
    let unknown = message(with(&["train.objective=edm"]));
    assert!(unknown.contains("train.objective"), "{unknown}");
}

#[test]
fn a_model_may_be_distilled_its_own_way() {
    let student = "models=[{name='s', defense='distillmd', distill={init='shared'}}]";
    let read = |sets: &[&str]| {
        let e = with(sets)?;
        e.models[0].distillation(&e.distill)
    };
    // Its own key, and those of [distill] for the rest.
    let own = read(&[student, "distill.routing='example'"])
        .unwrap()
        .unwrap();
    assert_eq!((own.routing, own.init), (Routing::Example, Init::Shared));
    assert!(!own.teacher_dropout);
    for (sets, said) in [
        (
            vec!["models=[{name='b', defense='none', distill={init='shared'}}]"],
            "distill is for defense = \"distillmd\"",
        ),
        (
            vec!["models=[{name='s', defense='distillmd', distill={rooting='example'}}]"],
            "routing",
        ),
        (
            vec!["models=[{name='s', defense='distillmd', distill={teacher_dropout=1}}]"],
            "model s, distill",
        ),
        (
            vec![student, "model.preset='t2i-pixels-32'", "model.base='x'"],
            "all models start from the same base",
        ),
    ] {
        let said_now = message(read(&sets));
        assert!(said_now.contains(said), "{said_now}");
    }
}

#[test]
fn rivals_have_keys_of_their_own_and_refuse_what_undoes_them() {
    let iet =
        "models=[{name='i', defense='iet', shards=5, rounds=3}, {name='a', defense='ambient'}]";
    let read = with(&[iet]).unwrap();
    assert_eq!((read.models[0].shards(), read.models[0].rounds()), (5, 3));
    assert_eq!(parse(&read.to_toml().unwrap()).unwrap(), read);
    for (set, said) in [
        (
            "models=[{name='i', defense='iet', rounds=0}]",
            "rounds = 0: at least 1",
        ),
        (
            "models=[{name='i', defense='iet', shards=1}]",
            "shards = 1: 2 to",
        ),
        (
            "models=[{name='i', defense='iet', train={steps=39}}]",
            "40 turns, and there are 39 steps",
        ),
        (
            "models=[{name='n', defense='none', rounds=3}]",
            "rounds is for defense = \"iet\"",
        ),
        (
            "models=[{name='a', defense='ambient', own_noise=0.0}]",
            "own_noise = 0",
        ),
        (
            "models=[{name='n', defense='none', own_noise=0.5}]",
            "own_noise is for defense = \"ambient\"",
        ),
        (
            "models=[{name='a', defense='ambient', train={cutout_side=4}}]",
            "cutout_side",
        ),
        (
            "models=[{name='d', defense='dp-sgd', epsilon=1.0, train={skip_easy=2.0}}]",
            "train.skip_easy",
        ),
        (
            "models=[{name='n', defense='none', attacker_rate=1e-4}]",
            "attacker_rate is for defense = \"smp\"",
        ),
        ("models=[{name='s', defense='smp', alpha=0.0}]", "alpha = 0"),
        (
            "models=[{name='s', defense='smp', attacker_steps=0}]",
            "attacker_steps = 0: at least 1",
        ),
        (
            "models=[{name='s', defense='smp', train={accumulate=2}}]",
            "leave out train.accumulate",
        ),
        (
            "models=[{name='s', defense='smp', train={skip_easy=2.0}}]",
            "leave out train.skip_easy",
        ),
        ("train.skip_easy=-1.0", "train.skip_easy = -1"),
        ("sample.guidance_from=500", "told no text"),
    ] {
        let message = message(with(&[set]));
        assert!(message.contains(said), "--set {set}: {message}");
    }
    let flow = message(with(&[iet, "train.objective=flow"]));
    assert!(
        flow.contains("ambient is for models that learn the noise"),
        "{flow}"
    );
    let late = ["model.preset=t2i-pixels-32", "sample.early_guidance=-2.0"];
    let message = message(with(&late));
    assert!(
        message.contains("sample.guidance_from: set that too"),
        "{message}"
    );
    assert!(with(&[late[0], late[1], "sample.guidance_from=650"]).is_ok());
}

#[test]
fn all_problems_are_told_at_once() {
    let message = message(with(&["train.batch=0", "data.members=3"]));
    assert!(
        message.contains("2 problems")
            && message.contains("train.batch")
            && message.contains("data.members")
    );
}

#[test]
fn network_keys_become_diffusers_json() {
    let experiment = with(&[
        "model.dropout=0.1",
        "model.attention_head_dim=null",
        "model.block_out_channels=[8,16]",
    ]);
    let overrides = experiment.unwrap().model.overrides().unwrap();
    assert_eq!(
        serde_json::Value::Object(overrides),
        serde_json::json!({"dropout": 0.1, "attention_head_dim": null, "block_out_channels": [8, 16]})
    );
}

#[test]
fn labels_and_what_goes_with_them() {
    assert!(!with(&["data.labels=true"]).unwrap().drops_labels());
    let dropped = ["data.labels=true", "train.label_dropout=0.1"];
    assert!(with(&dropped).unwrap().drops_labels());
    let guided = [&dropped[..], &["sample.label_guidance=2.0"]].concat();
    assert!(with(&guided).unwrap().drops_labels());
    for (sets, words) in [
        (
            &["train.label_dropout=0.1"][..],
            "train.label_dropout is for class-conditional",
        ),
        (
            &["sample.label_guidance=2.0"],
            "sample.label_guidance is for class-conditional",
        ),
        (
            &["data.labels=true", "sample.label_guidance=2.0"],
            "train.label_dropout = 0 never trains that",
        ),
        (
            &["data.labels=true", "model.preset=t2i-pixels-32"],
            "data.labels = true is for models that are told no text",
        ),
        (&["model.num_class_embeds=5"], "num_class_embeds"),
    ] {
        let error = message(with(sets));
        assert!(error.contains(words), "{error} lacks {words}");
    }
}

#[test]
fn the_key_table_and_the_structs_agree() {
    let mut experiment = parse(SMALL).unwrap();
    experiment.data.channels = Some(3);
    experiment.data.caption_column = Some("text".into());
    experiment.data.label_column = Some("breed".into());
    experiment.data.captions = Some("x".into());
    experiment.data.group_column = Some("patient".into());
    experiment.data.id_column = Some("file".into());
    experiment.sample.features_weights = Some("x".into());
    experiment.sample.copies_weights = Some("x".into());
    experiment.sample.guidance_from = Some(500);
    experiment.model.base = Some("x".into());
    experiment.model.start = Some("x".into());
    experiment.model.autoencoder = Some("x".into());
    experiment.train.epochs = Some(3.0);
    // By name: a new field has to be thought of here.
    let own: toml::Table = toml::from_str("steps = 3").unwrap();
    experiment.models[0] = ModelEntry {
        name: "x".into(),
        defense: Defense::Kd,
        teacher: Some("x".into()),
        seed_offset: 1,
        epsilon: Some(1.0),
        noise_multiplier: Some(1.0),
        clip: Some(1.0),
        noise_multiplicity: Some(1),
        patience: Some(1),
        shards: Some(4),
        rounds: Some(2),
        own_noise: Some(0.5),
        alpha: Some(2.0),
        beta: Some(0.5),
        attacker_rate: Some(1e-4),
        attacker_steps: Some(2),
        images: Some(4),
        teachers: Some("any".into()),
        train: own.clone(),
        distill: toml::from_str("routing = 'example'").unwrap(),
    };
    experiment.pretrain = Some(super::Pretrain {
        source: "x".into(),
        train: own,
    });
    let mut written = Vec::new();
    collect(
        &toml::Value::try_from(&experiment).unwrap(),
        &mut Vec::new(),
        &mut written,
    );
    for path in &written {
        assert!(keys::is_known(path), "{path:?} is missing in keys.rs");
    }
    // And the other way: each key of the table is accepted, so none is left over from a renaming.
    let known = written
        .iter()
        .map(|path| path.join(".").replace(".0", ".*"))
        .collect::<Vec<_>>();
    for key in keys::table() {
        let path = &key.path;
        assert!(known.contains(path) || path.starts_with("model."), "{path}");
        assert!(!key.about.is_empty(), "{path} says nothing");
    }
}

/// `docs/experiment.md` holds what the fields say.
#[test]
fn the_page_of_keys_is_that_of_the_fields() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/experiment.md");
    let page = keys::markdown();
    if std::env::var_os("DUALMD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).is_ok_and(|there| there == page),
        "docs/experiment.md is not what the fields say; write it again with DUALMD_WRITE_DOCS=1"
    );
    // By hand: name, default, range and meaning of three.
    for line in [
        "| `train.steps` | `4000` | at least 1 | Optimiser steps per model. |",
        "| `sample.sampler` | `\"ddim\"` | `ddim`, `ddpm` | Sampler. |",
        "| `models.*.epsilon` | - | a number above 0 |",
    ] {
        assert!(page.contains(line), "{line}");
    }
}

fn collect(value: &toml::Value, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    let inner: Vec<(String, &toml::Value)> = match value {
        toml::Value::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        toml::Value::Array(items) => items
            .iter()
            .enumerate()
            .filter(|(_, v)| v.is_table())
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => return,
    };
    for (key, value) in inner {
        path.push(key);
        out.push(path.clone());
        collect(value, path, out);
        path.pop();
    }
}

/// 64 members, batches of 64: as many steps as epochs, and never fewer passes than were asked for.
#[test]
fn epochs_become_steps() {
    let steps = |sets: &[&str]| with(sets).unwrap().train.steps;
    assert_eq!(steps(&["train.epochs=4000"]), 4000);
    assert_eq!(steps(&["train.epochs=4000", "train.batch=32"]), 8000);
    assert_eq!(steps(&["train.epochs=0.5"]), 1);
    // 10 x 64 / 48 = 13.3
    assert_eq!(steps(&["train.epochs=10", "train.batch=48"]), 14);
    // The paper: 780,000 steps of 128 on 25,000 images.
    assert_eq!(super::epochs::steps(3993.6, 25_000, 128), 780_000);
    assert_eq!(super::epochs::passes(780_000, 128, 25_000), Some(3993.6));
    assert_eq!(super::epochs::passes(1, 1, 0), None);
    // Of coins half come up.
    assert_eq!(
        steps(&[
            "train.epochs=10",
            "data.method=coin-flip",
            "data.nonmembers=64"
        ]),
        10
    );
}

#[test]
fn one_unit_of_length_at_a_time() {
    // A later layer takes the place of an earlier one, whichever unit it has.
    let e = with(&["train.epochs=8"]).unwrap();
    assert_eq!((e.train.epochs, e.train.steps), (Some(8.0), 8));
    let e = with(&["train.epochs=8", "train.steps=5"]).unwrap();
    assert_eq!((e.train.epochs, e.train.steps), (None, 5));
    assert_eq!(parse(&e.to_toml().unwrap()).unwrap(), e);
    let e = with(&["train.epochs=8", "models.0.train.epochs=2"]).unwrap();
    assert_eq!(e.models[0].recipe(&e).unwrap().unwrap().steps, 2);
    let written = e.to_toml().unwrap();
    assert!(
        !written.contains("steps = 8\n") && written.contains("epochs = 8"),
        "{written}"
    );
    assert_eq!(parse(&written).unwrap(), e);
    // Both in one place are refused, and name the place.
    let both = SMALL.replace("steps = 100", "steps = 100\nepochs = 3");
    let said = message(parse(&both));
    assert!(
        said.contains("small.toml") && said.contains("train.steps and train.epochs"),
        "{said}"
    );
    let said = message(with(&["models.1.train={ steps = 3, epochs = 3 }"]));
    assert!(
        said.contains("models.1.train.steps and models.1.train.epochs"),
        "{said}"
    );
    for wrong in ["train.epochs=0", "train.epochs=-2", "train.epochs=nan"] {
        let said = message(with(&[wrong]));
        assert!(
            said.contains("train.epochs") && said.contains("above 0"),
            "{wrong}: {said}"
        );
    }
    let text = [
        "model.preset=t2i-pixels-32",
        "pretrain.source=emoji",
        "pretrain.train.epochs=3",
    ];
    let said = message(with(&text));
    assert!(
        said.contains("pretrain.train.epochs") && said.contains("pretrain.train.steps"),
        "{said}"
    );
}

#[test]
fn a_source_says_where_it_runs_and_a_folder_where_it_came_from() {
    let file = |path: &str| Source::named(Some(path.into()), Some("demo".into())).unwrap();
    assert_eq!(file("a/mine.toml"), Source::File("a/mine.toml".into()));
    let preset = Source::named(None, Some("demo".into())).unwrap();
    assert_eq!(Source::named(None, None), None);
    let folder = |source: &Source, ending| source.folder(ending).map(|f| f.display().to_string());
    assert_eq!(folder(&file("a/mine.toml"), "").unwrap(), "runs/mine");
    assert_eq!(folder(&preset, "-lira").unwrap(), "runs/demo-lira");
    assert!(folder(&file(".."), "").is_err());

    let dir = tempfile::tempdir().unwrap();
    let none = Source::of_run(dir.path()).unwrap_err().to_string();
    assert!(none.contains("holds no run"), "{none}");
    let written = dir.path().join("experiment.toml");
    std::fs::write(&written, "").unwrap();
    assert_eq!(Source::of_run(dir.path()).unwrap(), Source::File(written));
}

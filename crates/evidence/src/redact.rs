//! A run's files with ids sealed and texts taken out. Numbers stay.
//!
//! Structs are written out in full, so that whoever adds a field to a file of a run has to say here whether it may leave the
//! house. Kept are texts that the program itself chooses from a list: kinds of access, defences, features, number formats,
//! versions; names of models and attacks; hashes of weights. Every other text is sealed.

use dualmd_record::controls::{BlindBaseline, Controls};
use dualmd_record::samples::Nearest;
use dualmd_record::scores::{LearntOnShadow, OwnImages, ScoredAttack, Scores};
use dualmd_record::sets::Sets;
use dualmd_record::split::{Member, NonMember, SplitFile};
use dualmd_record::training::Training;
use dualmd_record::utility::{Copying, Utility};
use dualmd_record::{AttackParameters, Words};
use serde_json::{Map, Value};

use crate::seal::Salt;
use dualmd_audit::is_plain_name;

/// Texts of a plan that are kept: paths of keys, with lists passed through.
const KEPT: [&str; 30] = [
    "auditor",
    "audit.attacks",
    "audit.compat",
    "audit.weights",
    "created",
    "hardware.cpu",
    "hardware.device",
    "hardware.dtype",
    "model.preset",
    "models.defense",
    "models.name",
    "models.needs",
    "models.parts",
    "models.repeat_of",
    "models.weights_blake3",
    "sample.features",
    "shadow.weights_blake3",
    "train.captions",
    "train.dtype",
    "trainings.defense",
    "trainings.kind",
    "trainings.name",
    "trainings.needs",
    "trainings.starts_from",
    "trainings.train.captions",
    "trainings.train.dtype",
    "versions.dualmd",
    "versions.libtorch",
    "versions.commit",
    "distill.target",
];

/// Flags of a command whose values are words of the program.
const WORDS: [&str; 8] = [
    "--attacks",
    "--compat",
    "--device",
    "--dtype",
    "--fail-on",
    "--preset",
    "--until",
    "--weights",
];

/// `plan.json`. `name`: what the only model is called after the run, where it is.
pub(super) fn plan(plan: &Value, salt: &Salt, models: &[&str]) -> Value {
    let mut out = value(plan, salt, "");
    if let Some(name) = plan["name"].as_str() {
        // A report calls its only model so, where the name can be that of a file.
        out["name"] = match (models.contains(&name), is_plain_name(name)) {
            (true, _) => name.into(),
            (false, true) => salt.text(name).into(),
            (false, false) => "".into(),
        };
    }
    if let Some(line) = plan["command"].as_str() {
        out["command"] = command(line, salt).into();
    }
    // What is no file's name is no model of the report, and may be a path.
    for model in out["models"].as_array_mut().into_iter().flatten() {
        if model["name"].as_str().is_some_and(|n| !is_plain_name(n)) {
            model["name"] = "".into();
        }
    }
    out
}

/// Any value: numbers stay, texts are sealed unless they stand at one of the paths that are [`KEPT`].
fn value(value_: &Value, salt: &Salt, at: &str) -> Value {
    match value_ {
        Value::String(text) if KEPT.contains(&at) => text.as_str().into(),
        Value::String(text) => salt.text(text).into(),
        Value::Array(entries) => entries.iter().map(|v| value(v, salt, at)).collect(),
        Value::Object(fields) => {
            let field = |(key, v): (&String, &Value)| {
                let at = match at {
                    "" => key.clone(),
                    at => format!("{at}.{key}"),
                };
                // A key that is no key of this program's may be anything.
                let plain = key
                    .bytes()
                    .all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit());
                let key = if plain { key.clone() } else { salt.text(key) };
                (key, value(v, salt, &at))
            };
            Value::Object(fields.iter().map(field).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// A command line: program, command, flags and their numbers stay; paths and all other words are sealed one by one.
fn command(line: &str, salt: &Salt) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut before = "";
    for (place, word) in line.split_whitespace().enumerate() {
        let (flag, given) = match word.split_once('=') {
            Some((flag, given)) => (flag, Some(given)),
            None => (word, None),
        };
        let is_flag = |word: &str| {
            let name = word.trim_start_matches('-');
            let letters = |b: u8| b.is_ascii_lowercase() || b == b'-';
            word.starts_with('-') && !name.is_empty() && name.bytes().all(letters)
        };
        let may_stay = |flag: &str, text: &str| {
            let word =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"@+,-_:".contains(&b);
            WORDS.contains(&flag) && text.bytes().all(word)
                || is_flag(flag) && text.parse::<f64>().is_ok()
        };
        out.push(match given {
            Some(given) if is_flag(flag) && may_stay(flag, given) => word.to_owned(),
            Some(given) if is_flag(flag) => format!("{flag}={}", salt.text(given)),
            None if is_flag(word) || may_stay(before, word) => word.to_owned(),
            _ if (place == 0 && word == "dualmd")
                || (place == 1 && word.bytes().all(|b| b.is_ascii_lowercase())) =>
            {
                word.to_owned()
            }
            _ => salt.text(word),
        });
        before = word;
    }
    out.join(" ")
}

/// `split.json`, its lists in the order of commitments.
pub(super) fn split(file: &SplitFile, salt: &Salt) -> SplitFile {
    let group = |group: &Option<String>| group.as_deref().map(|g| salt.group(g));
    let member = |m: &Member| Member {
        id: salt.image(&m.id),
        name: None,
        half: m.half,
        group: group(&m.group),
    };
    let nonmember = |m: &NonMember| NonMember {
        id: salt.image(&m.id),
        name: None,
        group: group(&m.group),
    };
    let mut members: Vec<Member> = file.members.iter().map(member).collect();
    let mut nonmembers: Vec<NonMember> = file.nonmembers.iter().map(nonmember).collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    nonmembers.sort_by(|a, b| a.id.cmp(&b.id));
    SplitFile {
        method: file.method.clone(),
        seed: file.seed,
        source: salt.text(&file.source),
        // Over ids without salt: who has all of the images but one could try which the last one is.
        hash: salt.text(&file.hash),
        members,
        nonmembers,
    }
}

/// `controls.json`.
pub(super) fn controls(file: &Controls, salt: &Salt) -> Controls {
    let blind = |b: &BlindBaseline| BlindBaseline {
        auc: b.auc,
        auc_ci: b.auc_ci,
        p_value: b.p_value,
        void: b.void,
        families: b.families.clone(),
        why: salt.text(&b.why),
        features: b.features.as_ref().map(|w| words(w, salt)),
        method: b.method.as_ref().map(|w| words(w, salt)),
        file_findings: texts(&b.file_findings, salt),
    };
    Controls {
        blind_baseline: file.blind_baseline.as_ref().map(blind),
    }
}

/// `scores/MODEL.json`.
pub(super) fn scores(file: &Scores, salt: &Salt) -> Scores {
    Scores {
        model: file.model.clone(),
        defense: file.defense.clone(),
        attacks: file.attacks.iter().map(|a| attack(a, salt)).collect(),
        network_calls_made: file.network_calls_made,
        network_calls_saved: file.network_calls_saved,
        warnings: texts(&file.warnings, salt),
        weights: file.weights.clone(),
        dtype: file.dtype.clone(),
        weights_blake3: file.weights_blake3.clone(),
        known_fraction: file.known_fraction,
        compared_by: sealed(&file.compared_by, salt),
    }
}

fn attack(file: &ScoredAttack, salt: &Salt) -> ScoredAttack {
    let shadow = |s: &LearntOnShadow| LearntOnShadow {
        members: s.members,
        nonmembers: s.nonmembers,
        weights_blake3: s.weights_blake3.clone(),
        of: None,
    };
    // Of an attack that the program knows, what it says of it is the same in every run.
    let known = dualmd_names::BaseAttack::of(&file.attack).is_some();
    let about = |text: &Option<String>| match known {
        true => text.clone(),
        false => sealed(text, salt),
    };
    ScoredAttack {
        attack: file.attack.clone(),
        title: about(&file.title),
        access: file.access.clone(),
        network_calls_per_sample: file.network_calls_per_sample,
        seconds: file.seconds,
        status: file.status.clone(),
        reason: sealed(&file.reason, salt),
        parameters: file.parameters.as_ref().and_then(|p| parameters(p, salt)),
        paper: about(&file.paper),
        formula: about(&file.formula),
        misses: about(&file.misses),
        fingerprint: None,
        trained_on: file.trained_on,
        own: file.own.as_ref().map(|own| OwnImages {
            of: String::new(),
            scores: own.scores.clone(),
        }),
        shadow: file.shadow.as_ref().map(shadow),
    }
}

/// The parameters of an attack, sealed as any value is.
fn parameters(file: &AttackParameters, salt: &Salt) -> Option<AttackParameters> {
    let plain = serde_json::to_value(file).ok()?;
    AttackParameters::of_value(value(&plain, salt, ""))
}

/// `models/MODEL/training.json`: what a report says of it.
pub(super) fn training(file: &Training, salt: &Salt) -> Training {
    Training {
        name: file.name.clone(),
        defense: file.defense.clone(),
        steps: file.steps,
        epochs: file.epochs,
        batch: file.batch,
        learning_rate: file.learning_rate,
        seed: file.seed,
        split_hash: sealed(&file.split_hash, salt),
        parameters: file.parameters,
        images: file.images,
        half: file.half,
        train_loss: file.train_loss,
        member_loss: file.member_loss,
        heldout_loss: file.heldout_loss,
        seconds: file.seconds,
        images_per_second: file.images_per_second,
        threads: file.threads,
        ranks: file.ranks,
        dtype: file.dtype.clone(),
        peak_rss_mb: file.peak_rss_mb,
        teachers: file.teachers.clone(),
        distill: None,
        privacy: file.privacy.clone(),
        kept: file.kept,
        additions: None,
        recipe: None,
        wall_seconds_of_last_invocation: file.wall_seconds_of_last_invocation,
    }
}

/// `utility/MODEL.json`.
pub(super) fn utility(file: &Utility, salt: &Salt) -> Utility {
    let copies = |c: &Copying| Copying {
        pairs: Vec::new(),
        ..c.clone()
    };
    Utility {
        images: file.images.clone(),
        missing: file.missing.as_deref().map(|m| texts(m, salt)),
        copies: file
            .copies
            .as_ref()
            .map(|all| all.iter().map(copies).collect()),
        asked: None,
        of: None,
    }
}

/// `samples/MODEL/nearest.json`, without the pairs.
pub(super) fn nearest(file: &Nearest) -> Nearest {
    Nearest {
        n_generated: file.n_generated,
        pairs: Vec::new(),
        median_distance_members: file.median_distance_members,
        median_distance_heldout: file.median_distance_heldout,
        heldout_reference: file.heldout_reference,
        equal: file.equal,
        prompted: file.prompted,
    }
}

/// `sets/MODEL.json`.
pub(super) fn sets(file: &Sets, salt: &Salt) -> Sets {
    Sets {
        features: file.features.as_ref().map(|w| words(w, salt)),
        tests: file.tests.clone(),
        inference: file.inference.clone(),
    }
}

fn texts(all: &[String], salt: &Salt) -> Vec<String> {
    all.iter().map(|text| salt.text(text)).collect()
}

fn words(all: &Words, salt: &Salt) -> Words {
    match all {
        Words::Text(text) => Words::Text(salt.text(text)),
        Words::List(list) => Words::List(texts(list, salt)),
        Words::Other(other) => Words::Other(value(other, salt, "")),
    }
}

fn sealed(text: &Option<String>, salt: &Salt) -> Option<String> {
    text.as_deref().map(|text| salt.text(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_command_keeps_its_flags_and_numbers_and_no_path() {
        let salt = Salt::new().expect("salt");
        let line = "dualmd audit models/anna --members=photos/anna --nonmembers other -n 64 --attacks loss,sima@50 \
                    --weights ema --device=cuda:0 -o audit --auditor 'A. Auditor' 1990 --preset ../x";
        let out = command(line, &salt);
        let words: Vec<&str> = out.split(' ').collect();
        let sealed = |place: usize| words[place].contains("sealed:");
        assert_eq!(words[..2], ["dualmd", "audit"]);
        assert!(sealed(2) && words[3].starts_with("--members=sealed:") && sealed(5));
        assert_eq!(
            words[6..11],
            ["-n", "64", "--attacks", "loss,sima@50", "--weights"]
        );
        assert_eq!(words[11..14], ["ema", "--device=cuda:0", "-o"]);
        for text in ["anna", "photos", "other", "Auditor", "1990", "../x"] {
            assert!(!out.contains(text), "{text} in {out}");
        }
    }

    #[test]
    fn a_plan_keeps_numbers_and_words_of_the_program() {
        let salt = Salt::new().expect("salt");
        let before = json!({
            "name": "run of anna", "seed": 7, "created": "2026-01-02", "split_hash": "5b1f", "note": "", "none": null,
            "data": {"source": "/home/anna/photos", "members": 64, "flags": [true, "x"]},
            "models": [{"name": "student", "weights_blake3": "0a0a"}, {"name": "../up"}],
            "strange/key": 3, "audit": {"attacks": ["loss"], "generated": "/tmp/x"},
        });
        let after = plan(&before, &salt, &["student"]);
        assert_eq!(after["seed"], 7);
        assert_eq!(after["data"]["members"], 64);
        assert_eq!(after["data"]["flags"][0], true);
        assert_eq!(after["models"][0], before["models"][0]);
        assert_eq!(after["models"][1]["name"], "");
        assert_eq!((&after["note"], &after["none"]), (&json!(""), &Value::Null));
        assert_eq!(after["audit"]["attacks"], json!(["loss"]));
        assert_eq!(after["split_hash"], salt.text("5b1f"));
        let text = after.to_string();
        for secret in ["anna", "5b1f\"", "strange", "/tmp", "../up"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(
            plan(&before, &salt, &["run of anna"])["name"],
            "run of anna"
        );
    }
}

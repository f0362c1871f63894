//! The commands that README and guide print, run one after the other as a reader would type them, on tiny stand-ins of what they name.
//!
//! A command has a rule: how it is made small, or why it is not run. A command without a rule fails, and so does a rule without a command.

mod common;

use common::settled;
use dualmd_data::{Picture, save_png, stream};
use rand::Rng;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is done with the commands that begin so; of several rules the first counts.
struct Rule(&'static str, How);

enum How {
    /// It is run, with other words instead of some, and with flags that make it small.
    Run {
        instead: &'static [[&'static str; 2]],
        more: &'static str,
    },
    /// It is not run; why.
    Not(&'static str),
}

/// It is run with these flags.
const fn with(more: &'static str) -> How {
    How::Run { instead: &[], more }
}

const AUDIT: &str = "--attacks loss,sima,nn --images 8 --steps 2 --features none";
/// Both numbers of the documents' splits.
const FEW: &[[&str; 2]] = &[["1000", "12"]];
const RUN: &str = "--threads 2 --set data.image_size=8 --set data.members=8 --set data.nonmembers=20 --set model.preset=tiny \
    --set 'model.block_out_channels=[4, 8]' --set model.norm_num_groups=4 --set model.attention_head_dim=8 --set train.steps=4 \
    --set train.batch=4 --set train.warmup=2 --set train.dtype=f32 --set sample.n=4 --set sample.steps=2 --set sample.features=none \
    --set sample.copies=pixels --set 'audit.attacks=[\"loss\", \"sima\"]' --set run.jobs=2 --set run.threads_per_model=1";
/// The same of two seeds.
const SEEDS: How = How::Run {
    instead: &[["--seeds 3", "--seeds 2"]],
    more: RUN,
};
const REPRODUCE: Rule = Rule(
    "dualmd reproduce ",
    How::Not("trains for hours; tests/reproduce.rs runs its studies in small"),
);

const README: [Rule; 14] = [
    Rule(
        "dualmd setup",
        How::Not("the Python package's own; `cargo xtask wheel --check` tries it"),
    ),
    Rule("dualmd demo", How::Not("five trainings: minutes")),
    Rule("dualmd selftest", with("")),
    Rule("dualmd audit my-model ", with(AUDIT)),
    Rule("dualmd audit --generated ", with("--features none")),
    Rule(
        "dualmd audit base/ ",
        with("--attacks loss,reference --per-prompt 1 --steps 2 --features none"),
    ),
    Rule(
        "dualmd tune ",
        How::Not("trains four adapters; tests/tune.rs does so in small"),
    ),
    Rule(
        "dualmd split ",
        How::Run {
            instead: FEW,
            more: "",
        },
    ),
    Rule("dualmd run experiment.toml --seeds 3", SEEDS),
    Rule(
        "dualmd lira ",
        How::Not("sixteen times the demo; tests/attacks.rs makes four small runs"),
    ),
    Rule("dualmd metrics ", with("--features pixels")),
    Rule(
        "dualmd memorisation my-model ",
        How::Run {
            // It is for models that are told a text.
            instead: &[["my-model", "my-t2i"]],
            more: "-n 2 --steps 4 --features pixels --batch 6",
        },
    ),
    Rule(
        "dualmd extract my-model ",
        with("--images 16 --steps 2 --batch 8"),
    ),
    REPRODUCE,
];

const GUIDE: [Rule; 13] = [
    Rule("dualmd selftest", How::Not("that of the README is run")),
    Rule("dualmd audit my-model ", with(AUDIT)),
    Rule(
        "dualmd import unet ",
        How::Run {
            instead: &[["-o my-model", "-o imported"]],
            more: "",
        },
    ),
    Rule(
        "dualmd split ",
        How::Run {
            instead: FEW,
            more: "",
        },
    ),
    Rule(
        "dualmd export images ",
        How::Run {
            instead: &[["-o train/", "-o exported/"]],
            more: "",
        },
    ),
    Rule("dualmd audit --model ", with(AUDIT)),
    Rule("dualmd audit --generated ", with("--features none")),
    Rule("dualmd run experiment.toml --seeds 3", SEEDS),
    Rule("dualmd run experiment.toml", with(RUN)),
    Rule("dualmd export copy ", with("")),
    Rule(
        "dualmd lira ",
        How::Not("sixteen times the trainings; tests/attacks.rs makes four small runs"),
    ),
    Rule("dualmd report ", with("")),
    REPRODUCE,
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands of a page on lines of their own, without what is said about them.
fn commands(page: &str) -> Vec<String> {
    let joined = page.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim_start);
    lines
        .filter(|line| line.starts_with("dualmd "))
        .map(|line| line.split(" # ").next().unwrap().trim_end().to_owned())
        .collect()
}

/// The experiment file that the guide prints.
fn experiment() -> String {
    let guide = fs::read_to_string(root().join("docs/guide.md")).unwrap();
    let block = guide
        .split("```toml\n")
        .find(|b| b.starts_with("# experiment.toml"));
    let block = block.expect("the guide prints an experiment");
    block.split("```").next().unwrap().to_owned()
}

/// Pictures of noise with captions at 16 px, no two of which are alike.
fn noise(folder: &Path, n: u64) {
    fs::create_dir_all(folder).unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    let mut captions = String::new();
    for i in 0..n {
        let mut pixels = vec![0_u8; 16 * 16 * 3];
        stream(0, name, i).fill(&mut pixels[..]);
        let picture = Picture {
            width: 16,
            height: 16,
            channels: 3,
            pixels,
        };
        save_png(&folder.join(format!("{i}.png")), &picture).unwrap();
        captions += &format!("{{\"file_name\": \"{i}.png\", \"text\": \"a {name} {i}\"}}\n");
    }
    fs::write(folder.join("metadata.jsonl"), captions).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}

/// What the commands name, in small.
fn stand_ins(dir: &Path) {
    let golden = root().join("tests/golden");
    let at = |name: &str| dir.join(name);
    for (name, n) in [
        ("train", 12),
        ("heldout", 16),
        ("synthetic", 8),
        ("images", 8),
        ("photos", 60),
    ] {
        noise(&at(name), n);
    }
    for model in ["my-model", "models/a", "models/b"] {
        copy(&golden.join("tiny-ddpm"), &at(model));
    }
    for model in ["base", "my-t2i"] {
        copy(&golden.join("conditional/sd1"), &at(model));
    }
    for (from, to) in [
        (
            "lora/kohya/pytorch_lora_weights.safetensors",
            "lora.safetensors",
        ),
        (
            "tiny-ddpm/unet/diffusion_pytorch_model.safetensors",
            "weights.safetensors",
        ),
        ("tiny-ddpm/unet/config.json", "config.json"),
    ] {
        fs::copy(golden.join(from), at(to)).unwrap();
    }
    fs::write(at("experiment.toml"), experiment()).unwrap();
}

/// Runs a page's commands in one folder, in their order.
fn run(page: &str, rules: &[Rule]) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    stand_ins(dir.path());
    let mut used = vec![false; rules.len()];
    for command in commands(&text) {
        let rule = rules.iter().position(|rule| command.starts_with(rule.0));
        let rule = rule.unwrap_or_else(|| {
            panic!(
                "{page} prints `{command}`, and there is no rule for it in {}",
                file!()
            )
        });
        used[rule] = true;
        let (instead, more) = match &rules[rule].1 {
            How::Run { instead, more } => (instead, more),
            How::Not(why) => {
                println!("{page}: not run: {command} ({why})");
                continue;
            }
        };
        let mut line = command.clone();
        for [words, others] in *instead {
            assert!(line.contains(words), "{page}: `{command}` has no {words}");
            line = line.replace(words, others);
        }
        let program = env!("CARGO_BIN_EXE_dualmd");
        let line = format!("'{program}'{} {more}", line.trim_start_matches("dualmd"));
        // By a shell, which takes quotes and `#` as a reader's does.
        let mut shell = Command::new("sh");
        let output = settled(shell.args(["-c", line.as_str()]))
            .env("DUALMD_CACHE", dir.path().join("cache"))
            .env_remove("DUALMD_EFFLITE0")
            .current_dir(dir.path())
            .output()
            .unwrap();
        let code = output.status.code();
        let finding = command.contains("--fail-on") && matches!(code, Some(3 | 4));
        assert!(
            code == Some(0) || finding,
            "{page}: `{command}` ended with {code:?}, run as\n{line}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let idle = rules.iter().zip(used).filter(|(_, used)| !used);
    let idle: Vec<&str> = idle.map(|(rule, _)| rule.0).collect();
    assert!(idle.is_empty(), "{page} prints no command for {idle:?}");
}

#[test]
fn the_commands_of_the_readme_run() {
    run("README.md", &README);
}

#[test]
fn the_commands_of_the_guide_run() {
    run("docs/guide.md", &GUIDE);
}

#[test]
fn commands_are_found_without_their_remarks() {
    let page = "text\n```\ndualmd audit m \\\n  -o x   # why\n  dualmd split photos/#member -o s\ncargo build\n```\n`dualmd list`\n";
    assert_eq!(
        commands(page),
        ["dualmd audit m    -o x", "dualmd split photos/#member -o s"]
    );
    assert!(experiment().contains("[[models]]"));
}

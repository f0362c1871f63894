//! The scripts that docs/scaling.md prints for clusters: a shell reads them, the program knows their flags, and with stand-ins for
//! sbatch, srun and torchrun they do in small what they are for.
#![cfg(target_os = "linux")]

mod common;

use common::{Given, MANY, TINY, settled, sides, succeed, text, weights};
use dualmd_torch::ranks;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn tests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

/// What stands between the fences of the page.
fn blocks() -> Vec<String> {
    let page = fs::read_to_string(tests().join("../../../docs/scaling.md")).unwrap();
    let parts = page.split("```\n").skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

/// The one block that has this in it.
fn block(known: &str) -> String {
    let all = blocks();
    let mut found = all.iter().filter(|block| block.contains(known));
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no block of the page has {known}"));
    assert!(found.next().is_none(), "several blocks have {known}");
    first.clone()
}

/// With other words in place of some, which have to be there.
fn instead(script: &str, pairs: &[[&str; 2]]) -> String {
    pairs
        .iter()
        .fold(script.to_owned(), |script, [words, others]| {
            assert!(script.contains(words), "no `{words}` in\n{script}");
            script.replace(words, others)
        })
}

#[test]
fn a_shell_reads_every_block() {
    let dir = tempfile::tempdir().unwrap();
    let all = blocks();
    assert!(all.len() >= 12, "{} blocks", all.len());
    for block in all {
        let path = dir.path().join("block.sh");
        fs::write(&path, &block).unwrap();
        let read = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success() && said.is_empty(), "{block}\n{said}");
    }
}

/// Flags of `dualmd COMMAND` in a line, and those of what stands before it left out.
fn flags(line: &str) -> Option<(String, Vec<String>)> {
    let mut words = line
        .split(|c: char| c.is_whitespace() || "\"'()".contains(c))
        .filter(|word| !word.is_empty())
        .skip_while(|word| *word != "dualmd")
        .skip(1);
    let command = words
        .next()
        .filter(|word| word.chars().all(char::is_alphabetic))?;
    let flags = words.take_while(|word| *word != "#");
    let flags = flags.filter(|word| word.len() > 2 && word.starts_with("--"));
    Some((command.to_owned(), flags.map(str::to_owned).collect()))
}

#[test]
fn the_program_knows_the_flags_of_every_block() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut known = 0;
    for block in blocks() {
        for line in block.replace("\\\n", " ").lines() {
            let Some((command, flags)) = flags(line) else {
                continue;
            };
            let help = helps.entry(command).or_insert_with_key(|command| {
                let output = succeed(&[command, "--help"]);
                String::from_utf8(output.stdout).unwrap()
            });
            let words: Vec<&str> = help
                .split(|c: char| !(c.is_alphanumeric() || c == '-'))
                .collect();
            for flag in flags {
                assert!(words.contains(&flag.as_str()), "{flag} in `{line}`");
                known += 1;
            }
        }
    }
    assert!(
        known >= 30 && helps.len() >= 5,
        "{known} flags, {:?}",
        helps.keys()
    );
}

#[test]
fn flags_are_those_of_the_program() {
    let line = r#"    "${start[@]}" torchrun --standalone dualmd audit "$m" --part "$n/8" -o x --json # --no"#;
    let found = flags(line).unwrap();
    assert_eq!(found.0, "audit");
    assert_eq!(found.1, ["--part", "--json"]);
    assert_eq!(flags("echo dualmd"), None);
}

/// Calls a shell in a folder, with the stand-ins and the program on its path.
fn shell(dir: &Path, script: &str, variables: &[(&str, &str)]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_dualmd")).parent().unwrap();
    let path = format!(
        "{}:{}:{}",
        tests().join("slurm").display(),
        program.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new("bash");
    ranks::alone(&mut command);
    // Whatever started the tests.
    for name in ["SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "TASKS"] {
        command.env_remove(name);
    }
    settled(&mut command)
        .args(["-e", "-c", script])
        .current_dir(dir)
        .env("PATH", path)
        .env("DUALMD_CACHE", dir.join("cache"))
        .env_remove("DUALMD_EFFLITE0")
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}\n{said}");
    said
}

/// The audit of a text-to-image model in two parts, as the page has it in eight: by Slurm's array and by torchrun.
#[test]
fn the_audit_of_stable_diffusion_works_with_slurm_and_with_torchrun() {
    let dir = tempfile::tempdir().unwrap();
    let golden = tests().join("../../../tests/golden/conditional/sd1");
    let (members, others) = sides(dir.path(), 12);
    fs::rename(&members, dir.path().join("train")).unwrap();
    fs::rename(&others, dir.path().join("heldout")).unwrap();
    let prompts: String = ["train", "heldout"]
        .map(|side| captions(&dir.path().join(side)))
        .concat();
    assert_eq!(prompts.lines().count(), 24);
    fs::write(dir.path().join("prompts.txt"), prompts).unwrap();
    let model = format!("model='{}'", text(&golden));
    let script = instead(
        &block("# sd.sh"),
        &[
            ["model=stable-diffusion-v1-5", model.as_str()],
            ["each=3", "each=2"],
            [
                "attacks=loss,secmi,pia,sima,clid-gap,nn",
                "attacks=loss,clid-gap,nn",
            ],
            ["_TASK_ID/8", "_TASK_ID/2"],
            [r#" --device "cuda:$LOCAL_RANK""#, ""],
            ["--steps 50", "--steps 2"],
            ["--threads 8", "--threads 1 --device cpu"],
            ["--per-prompt", "--features none --per-prompt"],
        ],
    );
    let out = |name: &str| dir.path().join(name);
    let written = |name: &str| {
        let own = out(name);
        let script = instead(&script, &[["/shared/sd", text(&own)]]);
        fs::write(dir.path().join("sd.sh"), script).unwrap();
    };
    written("slurm");
    let queue = instead(
        &block("--array=1-8 sd.sh images"),
        &[["--array=1-8", "--array=1-2"]],
    );
    let by_slurm = shell(dir.path(), &queue, &[]);
    written("torchrun");
    let launch = instead(&block("bash sd.sh \"$what\""), &[["node 8", "node 2"]]);
    let by_torchrun = shell(dir.path(), &launch, &[]);
    for (name, said) in [("slurm", by_slurm), ("torchrun", by_torchrun)] {
        assert!(said.contains("part 2/2"), "{said}");
        let all = said.matches("batches of the parts are there").count();
        assert!(all >= 2, "images and audit: {said}");
        let caption = |i: usize| fs::read_to_string(out(name).join(format!("images/{i:04}.txt")));
        assert_eq!(caption(0).unwrap(), caption(24).unwrap());
        assert!(caption(47).is_ok() && caption(48).is_err());
        let report = fs::read_to_string(out(name).join("audit/report.json")).unwrap();
        for attack in ["loss", "clid-gap", "nn"] {
            assert!(report.contains(&format!("\"{attack}\"")), "{attack}");
        }
    }
    let scores = |name: &str| tables(&out(name).join("audit/scores"));
    assert!(!scores("slurm").is_empty());
    assert!(scores("slurm") == scores("torchrun"));
}

/// The captions of a folder, one a line.
fn captions(folder: &Path) -> String {
    let lines = fs::read_to_string(folder.join("metadata.jsonl")).unwrap();
    let caption = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        // Of several captions the first.
        let first = line["text"].as_str().or_else(|| line["text"][0].as_str());
        format!("{}\n", first.unwrap())
    };
    lines.lines().map(caption).collect()
}

/// The tables in a folder, by name.
fn tables(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = dualmd_files::list(folder).unwrap();
    let is_csv = |path: &PathBuf| path.extension().is_some_and(|e| e == "csv");
    let read = |path: PathBuf| {
        (
            path.strip_prefix(folder).unwrap().to_owned(),
            fs::read(&path).unwrap(),
        )
    };
    all.into_iter().filter(is_csv).map(read).collect()
}

/// A training by two tasks, as the page has it by eight.
#[test]
fn the_script_of_ranks_trains_a_model() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("experiment.toml"), TINY).unwrap();
    let out = dir.path().join("run");
    let script = instead(&block("# train.sh"), &[["/shared/runs/mine", text(&out)]]);
    let port = ranks::free_port().unwrap().to_string();
    let variables = [
        ("SLURM_JOB_ID", "4711"),
        ("TASKS", "2"),
        ("MASTER_PORT", port.as_str()),
        ("DUALMD_RANKS_TIMEOUT", "120"),
    ];
    let said = shell(dir.path(), &script, &variables);
    assert!(
        said.contains("2 ranks on 1 machine (Slurm job 4711)"),
        "{said}"
    );
    weights(&out, "baseline");
}

/// A run whose trainings are a job array, as the page has it for the paper's recipe.
#[test]
fn the_script_of_the_recipe_works_off_a_run() {
    let given = Given::new(&MANY.replace("TRAIN", "steps = 4\neval_every = 0"));
    let out = given.out("recipe");
    let paper = "--preset paper-cifar10 --set data.source=/shared/cifar-10-batches-bin --set train.dtype=bf16";
    let script = instead(
        &block("# cifar10.sh"),
        &[
            [paper, text(&given.experiment)],
            ["threads_per_model=8", "threads_per_model=1"],
            ["/shared/runs/cifar10", text(&out)],
        ],
    );
    let said = shell(given.dir.path(), &script, &[]);
    assert!(said.contains("every model is trained"), "{said}");
    for model in ["baseline", "teacher-1", "teacher-2", "student", "kd"] {
        weights(&out, model);
    }
    assert!(out.join("report.html").exists());
}

/// The audit in parts, by a job array.
#[test]
fn the_script_of_an_audit_makes_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let (members, others) = sides(dir.path(), 12);
    fs::rename(&members, dir.path().join("train")).unwrap();
    fs::rename(&others, dir.path().join("heldout")).unwrap();
    let golden = tests().join("../../../tests/golden/tiny-ddpm");
    let small = "--attacks loss --images 4 --steps 2 --features none";
    let model = format!("('{}' {small} ", text(&golden));
    let out = dir.path().join("audit");
    let script = instead(
        &block("# audit.sh"),
        &[
            ["(my-model ", model.as_str()],
            ["_TASK_ID/8", "_TASK_ID/2"],
            ["--threads 8", "--threads 1 --batch 6"],
            ["/shared/audits/mine", text(&out)],
        ],
    );
    fs::write(dir.path().join("audit.sh"), script).unwrap();
    let queue = instead(
        &block("--array=1-8 audit.sh"),
        &[["--array=1-8", "--array=1-2"]],
    );
    let said = shell(dir.path(), &queue, &[]);
    assert!(
        said.contains("part 1/2") && said.contains("all 4 batches of the parts are there"),
        "{said}"
    );
    assert!(out.join("report.html").exists());
}

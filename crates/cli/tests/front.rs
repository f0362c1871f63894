//! The two programs: the one that is typed needs no libtorch, and becomes the one that computes, once.

mod common;

use common::{settled, text};
use std::path::Path;
use std::process::{Command, Output};

const FRONT: &str = env!("CARGO_BIN_EXE_dualmd");
const ENGINE: &str = env!("CARGO_BIN_EXE_dualmd-engine");

/// A program with nothing set that it would set itself.
fn fresh(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    settled(command.args(args));
    for name in [
        "DUALMD_SETTLED",
        "OMP_WAIT_POLICY",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
        "MALLOC_TOP_PAD_",
    ] {
        command.env_remove(name);
    }
    command
}

fn words(output: &Output) -> (String, String, Option<i32>) {
    let read = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        read(&output.stdout),
        read(&output.stderr),
        output.status.code(),
    )
}

/// The libraries that the loader of glibc would load with a program: it says so in place of starting it.
fn libraries(program: &str) -> String {
    let output = fresh(program, &[])
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .output()
        .unwrap();
    words(&output).0
}

#[test]
fn the_program_that_is_typed_needs_no_libtorch() {
    let engine = libraries(ENGINE);
    assert!(engine.contains("libtorch_cpu.so"), "{engine}");
    let front = libraries(FRONT);
    assert!(front.contains("libc.so"), "{front}");
    for library in ["libtorch", "libc10", "libgomp", "libstdc++"] {
        assert!(!front.contains(library), "{library}: {front}");
    }
}

/// How often a process became a program, and how often libtorch was loaded, as the loader of glibc logs it.
fn starts(program: &str, args: &[&str]) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let output = fresh(program, args)
        .env("LD_DEBUG", "files")
        .env("LD_DEBUG_OUTPUT", dir.path().join("loaded"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{:?}", words(&output));
    let mut log = String::new();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        log += &std::fs::read_to_string(file.unwrap().path()).unwrap();
    }
    let inits = log.lines().filter(|line| line.contains("calling init: "));
    (
        log.matches("transferring control: ").count(),
        inits
            .filter(|line| line.contains("libtorch_cpu.so"))
            .count(),
    )
}

#[test]
fn what_computes_loads_libtorch_once() {
    let predict = [
        "predict",
        "no-such-model",
        "--x",
        "x.npy",
        "--t",
        "t.npy",
        "-o",
        "e.npy",
    ];
    assert_eq!(starts(FRONT, &predict), (2, 1));
    // What fails without a network does so without libtorch.
    assert_eq!(starts(FRONT, &["report", "no-such-run"]), (1, 0));
    // Started by itself the engine sets the variables of its libraries, and starts once more.
    assert_eq!(starts(ENGINE, &predict), (2, 2));
}

/// Whichever program reads it: the same words and the same code.
#[test]
fn both_programs_say_the_same() {
    for args in [
        &["--version"][..],
        &["--help"],
        &["help", "audit"],
        &["train", "--help"],
        &["list", "keys"],
        &["list", "attacks"],
        &["list", "attacks", "--json"],
        &["list", "presets"],
        &["list", "keys", "--json"],
        &["completions", "zsh"],
        &["roc", "no-such-file.csv"],
        &["report", "no-such-run"],
        &["verify", "no-such-folder"],
        &["sample", "a", "-n", "0", "-o", "b"],
        &["audit", "a"],
        &["frobnicate"],
        &[],
    ] {
        let said = |program| words(&fresh(program, args).output().unwrap());
        assert_eq!(said(FRONT), said(ENGINE), "{args:?}");
    }
    let codes = |args: &[&str]| fresh(FRONT, args).output().unwrap().status.code();
    assert_eq!(codes(&["--version"]), Some(0));
    assert_eq!(codes(&["audit", "a"]), Some(2));
    assert_eq!(codes(&["report", "no-such-run"]), Some(1));
}

#[test]
fn without_the_other_program_the_rest_works_and_says_what_is_missing() {
    // Beside it: a link, since a copy that another test's child still holds open could not be started.
    let dir = tempfile::tempdir_in(Path::new(FRONT).parent().unwrap()).unwrap();
    let alone = dir.path().canonicalize().unwrap().join("dualmd");
    std::fs::hard_link(FRONT, &alone).unwrap();
    let call = |args: &[&str]| words(&fresh(text(&alone), args).output().unwrap());
    let (keys, _, code) = call(&["list", "keys"]);
    assert!(keys.contains("train.steps") && code == Some(0), "{keys}");
    let (_, said, code) = call(&["selftest"]);
    assert_eq!(code, Some(1), "{said}");
    let missing = alone.with_file_name("dualmd-engine");
    assert!(
        said.contains(text(&missing)) && said.contains("install dualmd again"),
        "{said}"
    );
    // The launcher of the Python package knows more.
    let output = fresh(FRONT, &["selftest"])
        .env(
            "DUALMD_NO_ENGINE",
            "dualmd needs libtorch: run `dualmd setup`",
        )
        .output()
        .unwrap();
    let (_, said, code) = words(&output);
    assert_eq!(
        (said.as_str(), code),
        (
            "error: dualmd needs libtorch: run `dualmd setup`\n",
            Some(1)
        )
    );
}

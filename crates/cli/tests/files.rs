//! Where results go: what the umask says, links followed, devices, pipes and read-only files left alone.

mod common;

use common::{TINY, dualmd, fail, succeed, text};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// `dualmd` under a umask.
fn under(umask: &str, args: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
    let program = dualmd(&[]).get_program().to_owned();
    let output = shell.arg(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[test]
fn files_are_as_the_umask_says_and_run_folders_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("tiny.toml");
    std::fs::write(&experiment, TINY).unwrap();
    for (umask, expected) in [
        ("077", 0o600),
        ("027", 0o640),
        ("022", 0o644),
        ("000", 0o666),
    ] {
        let run = dir.path().join(umask);
        under(
            umask,
            &[
                "run",
                text(&experiment),
                "--out",
                text(&run),
                "--until",
                "split",
            ],
        );
        assert_eq!(mode(&run), 0o700, "umask {umask}");
        for name in ["split.json", "plan.json", "experiment.toml"] {
            assert_eq!(mode(&run.join(name)), expected, "{name}, umask {umask}");
        }
        // Also a file that was there before.
        let split = dir.path().join("split.json");
        let sides = ["--members", "20", "--nonmembers", "20"];
        under(
            umask,
            &[&["split", "fashion", "-o", text(&split)], &sides[..]].concat(),
        );
        assert_eq!(mode(&split), expected, "umask {umask}");
    }
}

/// A command that writes one file, quickly.
fn split(out: &Path) -> [&str; 8] {
    let out = text(out);
    [
        "split",
        "fashion",
        "--members",
        "20",
        "--nonmembers",
        "20",
        "-o",
        out,
    ]
}

#[test]
fn only_files_are_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let refused = |out: &Path, what: &str| {
        let said = fail(&split(out));
        assert!(said.contains(what) && said.contains(text(out)), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    // A device of the system's, by name and through a link; as root, it would have been replaced.
    symlink("/dev/null", path("null")).unwrap();
    refused(&path("null"), "a device");
    refused(Path::new("/dev/null"), "a device");
    let null = std::fs::metadata("/dev/null").unwrap();
    assert!(null.file_type().is_char_device());
    let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    refused(&path("pipe"), "a pipe (FIFO)");
    std::fs::write(path("kept"), b"kept").unwrap();
    std::fs::set_permissions(path("kept"), std::fs::Permissions::from_mode(0o444)).unwrap();
    refused(&path("kept"), "read-only");
    assert_eq!(std::fs::read(path("kept")).unwrap(), b"kept");
    // A link is followed, and stays one.
    std::fs::create_dir(path("elsewhere")).unwrap();
    symlink("elsewhere/split.json", path("link")).unwrap();
    succeed(&split(&path("link")));
    assert!(path("link").is_symlink() && path("elsewhere/split.json").is_file());
    let left = std::fs::read_dir(path("elsewhere")).unwrap().count();
    assert_eq!(left, 1, "nothing beside it");
}

#[test]
fn messages_carry_no_escape_sequences() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "\u{1b}]0;mine\u{7}";
    let images = dir.path().join("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::write(images.join(format!("{evil}.png")), b"x").unwrap();
    let out = dir.path().join("out");
    let experiment = dir.path().join(format!("{evil}.toml"));
    std::fs::write(&experiment, format!("seed = 1\n\"{evil}\" = 2\n")).unwrap();
    let broken = dir.path().join(format!("{evil}.csv"));
    std::fs::write(&broken, "member,score\n").unwrap();
    for args in [
        &["export", "images", text(&images), "-o", text(&out)][..],
        &["run", text(&experiment), "--out", text(&out)],
        &["roc", text(&broken)],
        &["report", text(&experiment)],
    ] {
        let said = fail(args);
        assert!(!said.contains(['\u{1b}', '\u{7}']), "{args:?}: {said:?}");
    }
}

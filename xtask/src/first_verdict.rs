//! `cargo xtask wheel --time`: how long it takes from an empty environment to the first verdict, step by step.
//!
//! The machine is as one without Rust: no folder of `PATH` has cargo or rustc, and no variable of theirs is left. What pip downloads is
//! told apart from what it installs, because the network is not this program's.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::version;
use crate::wheels;
use crate::workspace::{Scratch, Workspace};

/// Has the audit that is timed, as its reader types it.
const PAGE: &str = include_str!("../../python/README.md");
const HEADING: &str = "\n## A first audit\n";

/// Times of `dualmd --version`: the first reads the program from disk.
const STARTS: usize = 6;

/// Whether a step's seconds are part of the sum.
#[derive(Clone, Copy, PartialEq)]
enum Counted {
    Yes,
    /// A download, or a step that is done again.
    No,
}

/// What was done, in seconds by the clock.
struct Timed(Vec<(String, f64, Counted)>);

impl Timed {
    fn step<T>(
        &mut self,
        name: &str,
        counted: Counted,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        eprintln!("{name}");
        let start = Instant::now();
        let made = work().with_context(|| name.to_owned())?;
        self.0
            .push((name.to_owned(), start.elapsed().as_secs_f64(), counted));
        Ok(made)
    }

    /// A line for each step, and the sum of those that count.
    fn table(&self) -> String {
        let mut out = String::new();
        for (name, seconds, counted) in &self.0 {
            let apart = match counted {
                Counted::Yes => "",
                Counted::No => "  (not in the sum)",
            };
            out += &format!("{seconds:9.2} s  {name}{apart}\n");
        }
        let counted = self.0.iter().filter(|step| step.2 == Counted::Yes);
        let sum: f64 = counted.map(|step| step.1).sum();
        out + &format!("{sum:9.2} s  install and first verdict (goal: 120 s)\n")
    }
}

/// Installs the wheel into an empty environment with torch and diffusers, and times everything up to the verdict on a pipeline that is made
/// in Python. With `torch`, a version that is not the program's, the program runs on the libtorch of `dualmd setup` beside it.
pub fn run(workspace: &Workspace, wheel: &Path, torch: Option<&str>) -> Result<()> {
    let script = example(PAGE).context("python/README.md has no first audit")?;
    let scratch = Scratch::new(&workspace.target, "wheel-time")?;
    let dir = &scratch.0;
    let (bin, cache) = (dir.join("venv/bin"), dir.join("cache"));
    let path = without_rust(std::env::var_os("PATH").unwrap_or_default(), &bin)?;
    let plain = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(dir);
        for (name, _) in std::env::vars_os() {
            if is_ours(&name.to_string_lossy()) {
                command.env_remove(name);
            }
        }
        command.env("PATH", &path).env("DUALMD_CACHE", &cache);
        command
    };
    let (python, dualmd) = (bin.join("python"), bin.join("dualmd"));
    let mut timed = Timed(Vec::new());

    timed.step("python3 -m venv", Counted::Yes, || {
        // By the PATH of whoever called: what it starts is in the environment's folder.
        let mut make = plain(Path::new("python3"), &["-m", "venv", "venv"]);
        if let Some(given) = std::env::var_os("PATH") {
            make.env("PATH", given);
        }
        said(make).map(drop)
    })?;
    // Kept between calls.
    let fetched = workspace.target.join("wheel-time-downloads");
    fs::create_dir_all(&fetched).with_context(|| format!("cannot make {}", fetched.display()))?;
    let (fetched, kept) = (text(&fetched)?, wheels::downloads(&workspace.cache));
    let (kept_links, wheel) = (text(&kept)?, text(wheel)?);
    let asked = match torch {
        None => vec![format!("{wheel}[torch]")],
        Some(version) => vec![wheel.to_owned(), format!("torch=={version}")],
    };
    let pip = |arguments: &[&str]| {
        let mut pip = plain(&python, &["-m", "pip"]);
        pip.args(arguments)
            .args(["--only-binary=:all:", "--disable-pip-version-check"])
            .args(["--quiet", "--find-links", fetched])
            .args(&asked)
            .arg("diffusers");
        pip
    };
    timed.step("pip download", Counted::No, || {
        said(pip(&[
            "download",
            "--dest",
            fetched,
            "--find-links",
            kept_links,
        ]))
        .map(drop)
    })?;
    timed.step("pip install", Counted::Yes, || {
        said(pip(&["install", "--no-index"])).map(drop)
    })?;
    timed.step("dualmd --version, for the first time", Counted::Yes, || {
        said(plain(&dualmd, &["--version"])).map(drop)
    })?;
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        let start = Instant::now();
        said(plain(&dualmd, &["--version"]))?;
        starts.push(start.elapsed().as_secs_f64());
    }
    starts.sort_by(f64::total_cmp);

    if let Some(version) = torch {
        refused(plain(&dualmd, &["selftest"]), version)?;
        let name = match kept.is_dir() {
            true => {
                fs::create_dir_all(&cache)?;
                std::os::unix::fs::symlink(&kept, cache.join("downloads"))?;
                "dualmd setup"
            }
            false => "dualmd setup, with its download",
        };
        timed.step(name, Counted::Yes, || {
            said(plain(&dualmd, &["setup"])).map(drop)
        })?;
    }
    timed.step("dualmd selftest", Counted::Yes, || {
        said(plain(&dualmd, &["selftest"])).map(drop)
    })?;
    fs::write(dir.join("first.py"), script)?;
    let verdict = timed.step("the audit of python/README.md", Counted::Yes, || {
        said(plain(&python, &["first.py"]))
    })?;
    let version = "import importlib.metadata as all; print(all.version('torch'))";
    let installed = said(plain(&python, &["-c", version]))?;
    println!("torch {installed} in the environment");
    println!("the verdict: {verdict}");
    print!("{}", timed.table());
    println!(
        "{:9.2} s  dualmd --version, the least of {} more; the most {:.2} s (goal: 0.3 s)",
        starts.first().copied().unwrap_or(f64::NAN),
        starts.len(),
        starts.last().copied().unwrap_or(f64::NAN),
    );
    Ok(())
}

/// The code of the page's first audit.
fn example(page: &str) -> Option<&str> {
    let (_, below) = page.split_once(HEADING)?;
    let (_, code) = below.split_once("```python\n")?;
    code.split_once("```").map(|(code, _)| code)
}

/// Variables that a machine without Rust has not, and those that say where a libtorch or a package is.
fn is_ours(name: &str) -> bool {
    ["CARGO", "RUST", "LIBTORCH", "DUALMD_"]
        .iter()
        .any(|beginning| name.starts_with(beginning))
        || ["LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"].contains(&name)
}

/// `PATH` with the environment's folder first, and without the folders that have Rust.
fn without_rust(path: OsString, bin: &Path) -> Result<OsString> {
    let rust = |folder: &Path| {
        ["cargo", "rustc", "rustup"]
            .iter()
            .any(|name| folder.join(name).exists())
    };
    let others: Vec<_> = std::env::split_paths(&path)
        .filter(|folder| !rust(folder))
        .collect();
    std::env::join_paths(std::iter::once(bin.to_owned()).chain(others))
        .context("cannot put the environment's folder into PATH")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is no UTF-8, which pip is to be told", path.display()))
}

/// What a command printed, trimmed. Its standard error is shown as it comes.
fn said(mut command: Command) -> Result<String> {
    let ended = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    if !ended.status.success() {
        bail!("it failed ({}); its words are above", ended.status);
    }
    Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
}

/// Fails unless the command names the other torch and the way out, before `dualmd setup` was called.
fn refused(mut command: Command, torch: &str) -> Result<()> {
    let ended = command.output()?;
    let words = String::from_utf8_lossy(&ended.stderr);
    let named = format!("torch {torch}");
    if ended.status.code() != Some(1) || !words.contains(&named) || !words.contains("dualmd setup")
    {
        bail!(
            "beside torch {torch}, before set-up: {}, \"{words}\"; expected status 1, \"{named}\" and \"dualmd setup\" (is it the program's own {}?)",
            ended.status,
            version::REQUIRED
        );
    }
    eprint!("beside torch {torch}, before set-up: {words}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_first_audit_of_a_pipeline() {
        let code = example(PAGE).unwrap();
        assert!(code.contains("DDPMPipeline("), "{code}");
        assert!(code.contains("dualmd.audit(pipe,"), "{code}");
        assert!(code.trim_end().ends_with("print(found)"), "{code}");
        assert!(code.lines().count() <= 15, "{code}");
        assert_eq!(example("## A first audit\n```python\n"), None);
    }

    #[test]
    fn path_has_no_folder_with_rust() {
        let root = tempfile::tempdir().unwrap();
        let [rust, plain] = ["rust", "plain"].map(|name| root.path().join(name));
        for folder in [&rust, &plain] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(rust.join("rustc"), "").unwrap();
        let given = std::env::join_paths([&rust, &plain]).unwrap();
        let left = without_rust(given, Path::new("/venv/bin")).unwrap();
        let left: Vec<_> = std::env::split_paths(&left).collect();
        assert_eq!(left, [Path::new("/venv/bin"), plain.as_path()]);
        for name in ["CARGO_HOME", "RUSTUP_HOME", "LIBTORCH", "DUALMD_LIBTORCH"] {
            assert!(is_ours(name), "{name}");
        }
        assert!(!is_ours("HOME") && !is_ours("PIP_INDEX_URL"));
    }

    #[test]
    fn downloads_are_not_in_the_sum() {
        let timed = Timed(vec![
            ("pip download".into(), 300.0, Counted::No),
            ("pip install".into(), 30.0, Counted::Yes),
            ("the audit".into(), 12.5, Counted::Yes),
        ]);
        let table = timed.table();
        assert!(
            table.contains("   300.00 s  pip download  (not in the sum)\n"),
            "{table}"
        );
        assert!(
            table.ends_with("    42.50 s  install and first verdict (goal: 120 s)\n"),
            "{table}"
        );
    }
}

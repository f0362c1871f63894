//! `cargo xtask wheel`: the program as a Python package, and the check that the package works.
//!
//! A wheel is a zip file (PEP 427) with the package `python/dualmd`, the two stripped programs in it, and what this workspace pins of
//! libtorch. It holds no libtorch: the launcher finds one (`python/dualmd/engine.py`). One program serves CPU and CUDA builds of
//! torch, as long as it asks the loader for nothing of CUDA; the other starts without any libtorch. Both is looked at here.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use crate::Usage;
use crate::engine::{self, Choice, Engine};
use crate::first_verdict;
use crate::version;
use crate::wheels;
use crate::workspace::{self, ENGINE, FRONT, Scratch, Workspace};

/// What was asked for.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// Folder of the wheel.
    out: PathBuf,
    /// A program that is built already, with the other one beside it.
    program: Option<PathBuf>,
    /// Whether to install and try the wheel.
    check: bool,
    /// Whether to time everything from an empty environment to a first verdict.
    time: bool,
    /// For that: another version of torch than the program's.
    torch: Option<String>,
}

impl Options {
    /// Reads `[--check] [--time [--torch VERSION]] [--program FILE] [OUT]`.
    pub fn parse(args: &[String]) -> Result<Self> {
        let (mut out, mut program, mut check) = (None, None, false);
        let (mut time, mut torch) = (false, None);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--check" => check = true,
                "--time" => time = true,
                "--torch" => match args.next() {
                    Some(other) if other.starts_with(|c: char| c.is_ascii_digit()) => {
                        torch = Some(other.clone());
                    }
                    _ => bail!(Usage("--torch wants a version".into())),
                },
                "--program" => match args.next() {
                    Some(file) => program = Some(file.into()),
                    None => bail!(Usage("--program wants a file".into())),
                },
                flag if flag.starts_with('-') => bail!(Usage(format!("wheel has no {flag}"))),
                folder if out.is_none() => out = Some(folder.into()),
                extra => bail!(Usage(format!("unexpected argument: {extra}"))),
            }
        }
        if torch.is_some() && !time {
            bail!(Usage("--torch is for --time".into()));
        }
        if torch.as_deref().map(version::release) == Some(version::REQUIRED) {
            bail!(Usage(format!(
                "--torch wants another version than {}, which --time installs by itself",
                version::REQUIRED
            )));
        }
        Ok(Self {
            out: out.unwrap_or_else(|| "target/wheel".into()),
            program,
            check,
            time,
            torch,
        })
    }
}

/// Builds the wheel, and tries it if asked to.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let engine = engine::ensure(workspace, Choice::Keep)?;
    let mut types = Command::new("python3");
    types
        .arg(workspace.root.join("python/generate.py"))
        .arg("--check");
    workspace::run(types)?;
    let mut mypy = Command::new("python3");
    mypy.args(["-m", "mypy", "--version"]);
    if workspace::output(mypy).is_ok() {
        let mut hints = Command::new("python3");
        hints
            .current_dir(workspace.root.join("python"))
            .args(["-m", "mypy", "--strict", "--cache-dir", "/dev/null"])
            .args(["dualmd", "tests/typed.py"]);
        workspace::run(hints)?;
    } else {
        eprintln!("not tried: mypy --strict (this python3 has no mypy)");
    }
    let program = match &options.program {
        Some(file) => file.clone(),
        // Without the path of this machine's libtorch: the launcher says where one is.
        None => {
            workspace.build_release(&engine, &[("DUALMD_RPATH", "")])?;
            workspace.program()
        }
    };
    let out = workspace.root.join(&options.out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let shipped = options.program.is_none();
    let mut programs = Vec::new();
    for name in [FRONT, ENGINE] {
        let stripped = out.join(name);
        let mut strip = Command::new("strip");
        strip
            .arg("-o")
            .arg(&stripped)
            .arg(program.with_file_name(name));
        workspace::run(strip)
            .context("stripping needs binutils, which comes with the C++ compiler")?;
        let needs = Needs::of(&stripped)?;
        match name {
            FRONT => needs.check_front()?,
            _ => needs.check_engine()?,
        }
        if shipped {
            needs.check_path()?;
        }
        programs.push((name, stripped, needs.glibc));
    }
    let wheel = write(workspace, &out, &programs)?;
    for (_, stripped, _) in &programs {
        fs::remove_file(stripped)
            .with_context(|| format!("cannot delete {}", stripped.display()))?;
    }
    let size = fs::metadata(&wheel).map_or(0, |data| data.len());
    eprintln!("{} ({:.1} MB)", wheel.display(), size as f64 / 1e6);
    if options.check {
        check(workspace, &wheel, &engine)?;
    }
    if options.time {
        first_verdict::run(workspace, &wheel, options.torch.as_deref())?;
    }
    Ok(())
}

/// What a program asks of the machine, as readelf says.
#[derive(Debug, PartialEq)]
struct Needs {
    libraries: Vec<String>,
    /// Where it looks for them itself.
    run_path: Option<String>,
    /// The newest minor version of glibc 2 that a symbol is of.
    glibc: u32,
}

impl Needs {
    fn of(program: &Path) -> Result<Self> {
        let readelf = |what: &str| {
            let mut command = Command::new("readelf");
            command.args([what, "--wide"]).arg(program);
            workspace::output(command)
        };
        Ok(Self::parse(
            &readelf("--dynamic")?,
            &readelf("--version-info")?,
        ))
    }

    fn parse(dynamic: &str, versions: &str) -> Self {
        let bracketed = |line: &str| {
            let (_, rest) = line.split_once('[')?;
            rest.split_once(']').map(|(name, _)| name.to_owned())
        };
        let of = |kind: &'static str| dynamic.lines().filter(move |line| line.contains(kind));
        let glibc = versions.split("GLIBC_2.").skip(1).filter_map(|rest| {
            let digits = rest.find(|c: char| !c.is_ascii_digit());
            rest[..digits.unwrap_or(rest.len())].parse().ok()
        });
        Self {
            libraries: of("(NEEDED)").filter_map(bracketed).collect(),
            run_path: of("PATH)").find_map(bracketed),
            glibc: glibc.max().unwrap_or(0),
        }
    }

    /// Of the program that starts without libtorch.
    fn check_front(&self) -> Result<()> {
        let torch = |library: &&String| {
            ["libtorch", "libc10", "libgomp"]
                .iter()
                .any(|name| library.starts_with(name))
        };
        match self.libraries.iter().find(torch) {
            Some(library) => bail!(
                "{FRONT} needs {library}, and must start without libtorch: crates/cli/src/main.rs, or a crate that it names, names one that links it"
            ),
            None => Ok(()),
        }
    }

    /// Of the program that computes.
    fn check_engine(&self) -> Result<()> {
        for wrong in ["libtorch.so", "libtorch_cuda.so", "libc10_cuda.so"] {
            if self.libraries.iter().any(|library| library == wrong) {
                bail!(
                    "the program needs {wrong}: a wheel must start with a CPU build of torch and load no CUDA before it is asked to"
                );
            }
        }
        if !self
            .libraries
            .iter()
            .any(|library| library == "libtorch_cpu.so")
        {
            bail!("the program needs no libtorch_cpu.so: it is no program of this workspace");
        }
        Ok(())
    }

    /// Of a program that other machines get.
    fn check_path(&self) -> Result<()> {
        match &self.run_path {
            Some(path) => {
                bail!("the program looks for libraries in {path}, a folder of this machine")
            }
            None => Ok(()),
        }
    }
}

/// Writes the wheel into a folder. `programs`: name, file, and the newest minor version of glibc 2 that it asks for.
fn write(workspace: &Workspace, out: &Path, programs: &[(&str, PathBuf, u32)]) -> Result<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let glibc = programs.iter().map(|(_, _, glibc)| *glibc).max();
    let tag = format!(
        "py3-none-manylinux_2_{}_{}",
        glibc.unwrap_or(0),
        std::env::consts::ARCH
    );
    let path = out.join(format!("dualmd-{version}-{tag}.whl"));
    let info = format!("dualmd-{version}.dist-info");
    let mut files: Vec<(String, Vec<u8>, u32)> = Vec::new();
    let package = workspace.root.join("python/dualmd");
    let mut names = Vec::new();
    let listed = fs::read_dir(&package)
        .with_context(|| format!("cannot look into {}", package.display()))?;
    for entry in listed {
        let name = entry?.file_name();
        names.extend(
            name.to_str()
                .filter(|n| n.ends_with(".py") || *n == "py.typed")
                .map(str::to_owned),
        );
    }
    names.sort();
    for name in names {
        files.push((format!("dualmd/{name}"), read(&package.join(&name))?, 0o644));
    }
    files.push((
        "dualmd/engine.json".into(),
        wheels::pins().into_bytes(),
        0o644,
    ));
    for (name, program, _) in programs {
        files.push((format!("dualmd/bin/{name}"), read(program)?, 0o755));
    }
    let readme = read(&workspace.root.join("python/README.md"))?;
    files.push((format!("{info}/METADATA"), metadata(&readme), 0o644));
    let about =
        format!("Wheel-Version: 1.0\nGenerator: xtask\nRoot-Is-Purelib: false\nTag: {tag}\n");
    files.push((format!("{info}/WHEEL"), about.into_bytes(), 0o644));
    let entry_points = "[console_scripts]\ndualmd = dualmd:main\n";
    files.push((
        format!("{info}/entry_points.txt"),
        entry_points.into(),
        0o644,
    ));
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let text = read(&workspace.root.join(licence))?;
        files.push((format!("{info}/licenses/{licence}"), text, 0o644));
    }
    let mut record = String::new();
    for (name, content, _) in &files {
        let hash = base64(&Sha256::digest(content));
        // Writing to a string cannot fail.
        let _ = writeln!(record, "{name},sha256={hash},{}", content.len());
    }
    let _ = writeln!(record, "{info}/RECORD,,");
    files.push((format!("{info}/RECORD"), record.into_bytes(), 0o644));
    zipped(&path, &files).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The same files give the same bytes: no time of this day is in them.
fn zipped(path: &Path, files: &[(String, Vec<u8>, u32)]) -> Result<()> {
    let mut zip = zip::ZipWriter::new(File::create(path)?);
    for (name, content, mode) in files {
        let options = SimpleFileOptions::default().unix_permissions(*mode);
        zip.start_file(name.as_str(), options)?;
        zip.write_all(content)?;
    }
    zip.finish()?;
    Ok(())
}

fn metadata(readme: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "Metadata-Version: 2.4\nName: dualmd\nVersion: {}\n\
         Summary: Trains diffusion models with defences against membership inference, and measures what any diffusion model gives away\n\
         License-Expression: MIT OR Apache-2.0\nLicense-File: LICENSE-APACHE\nLicense-File: LICENSE-MIT\n\
         Requires-Python: >=3.10\nProvides-Extra: torch\nRequires-Dist: torch=={}; extra == \"torch\"\n\
         Description-Content-Type: text/markdown\n\n",
        env!("CARGO_PKG_VERSION"),
        version::REQUIRED,
    )
    .into_bytes();
    out.extend(readme);
    out
}

/// Base 64 with the letters for addresses and without padding, as RECORD wants it.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let at = |k: usize| u32::from(chunk.get(k).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for k in 0..=chunk.len() {
            out.push(char::from(LETTERS[(bits >> (18 - 6 * k) & 63) as usize]));
        }
    }
    out
}

/// A small experiment of every kind of stage.
const TINY: &str = r#"seed = 0
[data]
source = "fashion"
image_size = 8
members = 8
nonmembers = 16
[model]
preset = "tiny"
[train]
steps = 4
batch = 4
[sample]
n = 4
steps = 2
[audit]
attacks = ["loss", "sima"]
[[models]]
name = "baseline"
defense = "none"
"#;

/// Installs the wheel into a fresh environment and tries what a user meets: no torch, another torch, the right one, and a
/// libtorch in the cache.
fn check(workspace: &Workspace, wheel: &Path, engine: &Engine) -> Result<()> {
    let scratch = Scratch::new(&workspace.target, "wheel-check")?;
    let dir = &scratch.0;
    let environment = dir.join("venv");
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&environment);
    workspace::run(make)
        .context("a fresh environment needs Python's venv (Debian: apt install python3-venv)")?;
    let bin = environment.join("bin");
    let mut install = Command::new(bin.join("python"));
    // Nothing is fetched: the wheel depends on nothing.
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--disable-pip-version-check",
        ])
        .arg(wheel);
    workspace::run(install)?;
    let site = workspace::output(python(
        &bin,
        "import sysconfig; print(sysconfig.get_path('platlib'))",
    ))?;
    let trial = Trial {
        bin,
        dir: dir.clone(),
        cache: dir.join("cache"),
    };

    // What needs no libtorch works without.
    trial.works("without torch", trial.command(&["--version"]), "dualmd ")?;
    trial.works(
        "without torch",
        trial.command(&["list", "keys"]),
        "train.steps",
    )?;
    trial.refuses(
        "without torch",
        &["selftest"],
        &["needs libtorch", "dualmd setup", "dualmd[torch]"],
    )?;
    let torch = Path::new(&site).join("torch");
    fs::create_dir_all(&torch)?;
    fs::write(
        torch.join("__init__.py"),
        "raise RuntimeError('torch was imported')",
    )?;
    fs::write(torch.join("version.py"), "__version__ = '2.15.0+cu130'\n")?;
    trial.refuses(
        "with another torch",
        &["selftest"],
        &["torch 2.15.0+cu130 is installed", "dualmd setup"],
    )?;

    let same = format!("__version__ = '{}+cpu'\n", version::REQUIRED);
    fs::write(torch.join("version.py"), same)?;
    std::os::unix::fs::symlink(engine.path.join("lib"), torch.join("lib"))?;
    trial.works("with its torch", trial.command(&["--version"]), "dualmd ")?;
    trial.works("with its torch", trial.command(&["selftest"]), "")?;
    trial.works("as a module", python(&trial.bin, "import sys, runpy; sys.argv = ['dualmd', '--version']; runpy.run_module('dualmd', run_name='__main__')"), "dualmd ")?;
    trial.works(
        "from Python",
        python(
            &trial.bin,
            "import dualmd, sys; sys.stderr = sys.stdout; dualmd.call(['--version'])",
        ),
        "dualmd ",
    )?;
    fs::write(dir.join("tiny.toml"), TINY)?;
    trial.works(
        "a run",
        trial.command(&["run", "tiny.toml", "--out", "run", "-q"]),
        "",
    )?;
    if !dir.join("run/report.html").is_file() {
        bail!("the wheel's program made no report");
    }
    for file in [
        "test_audit.py",
        "test_defense.py",
        "test_denoiser.py",
        "test_program.py",
    ] {
        let mut tests = Command::new(trial.bin.join("python"));
        tests.arg(workspace.root.join("python/tests").join(file));
        trial.works("the tests of the Python package", tests, "")?;
    }

    // Beside another torch, the libtorch that set-up fetches: from what this workspace downloaded, if it did.
    fs::write(torch.join("version.py"), "__version__ = '2.15.0'\n")?;
    let downloads = wheels::downloads(&workspace.cache);
    if downloads.is_dir() {
        fs::create_dir_all(&trial.cache)?;
        std::os::unix::fs::symlink(downloads, trial.cache.join("downloads"))?;
        trial.works("set-up", trial.command(&["setup"]), "")?;
        trial.works("beside another torch", trial.command(&["selftest"]), "")?;
    } else {
        eprintln!(
            "not tried: dualmd setup (this workspace downloaded no libtorch that it could take)"
        );
    }
    eprintln!("the wheel works");
    Ok(())
}

fn python(bin: &Path, code: &str) -> Command {
    let mut command = Command::new(bin.join("python"));
    command.args(["-c", code]);
    command
}

/// An environment with the wheel.
struct Trial {
    bin: PathBuf,
    dir: PathBuf,
    cache: PathBuf,
}

impl Trial {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("dualmd"));
        command.args(args);
        command
    }

    fn prepared(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.dir)
            .env("DUALMD_CACHE", &self.cache)
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("DUALMD_LIBTORCH")
            .env_remove("DUALMD_SETTLED")
            .env_remove("PYTHONPATH");
        command
    }

    fn works(&self, what: &str, command: Command, says: &str) -> Result<()> {
        eprintln!("{what}: {command:?}");
        let said = workspace::output(self.prepared(command)).with_context(|| what.to_owned())?;
        if !said.contains(says) {
            bail!("{what}: \"{said}\" holds no \"{says}\"");
        }
        Ok(())
    }

    fn refuses(&self, what: &str, args: &[&str], says: &[&str]) -> Result<()> {
        eprintln!("{what}: dualmd {}", args.join(" "));
        let ended = self.prepared(self.command(args)).output()?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if ended.status.code() != Some(1) || !says.iter().all(|s| said.contains(s)) {
            bail!(
                "{what}: status {:?}, \"{said}\"; expected 1 and {says:?}",
                ended.status.code()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg"),
            ("no", "bm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn what_the_programs_need_is_read_and_cuda_is_refused() {
        let dynamic = " 0x1d (RUNPATH)            Library runpath: [/a/lib]\n 0x1 (NEEDED)             Shared library: [libtorch_cpu.so]\n";
        let versions =
            "  0x0010:   Name: GLIBC_2.34  Flags: none\n  0x0020:   Name: GLIBC_2.9  Flags: none\n";
        let needs = Needs::parse(dynamic, versions);
        assert_eq!(
            needs,
            Needs {
                libraries: vec!["libtorch_cpu.so".into()],
                run_path: Some("/a/lib".into()),
                glibc: 34
            }
        );
        needs.check_engine().unwrap();
        let said = needs.check_path().unwrap_err().to_string();
        assert!(said.contains("/a/lib"), "{said}");
        let said = needs.check_front().unwrap_err().to_string();
        assert!(said.contains("libtorch_cpu.so"), "{said}");
        let plain = Needs::parse(" 0x1 (NEEDED) Shared library: [libc.so.6]\n", versions);
        plain.check_front().unwrap();
        plain.check_path().unwrap();
        assert!(plain.check_engine().is_err());
        for cuda in ["libtorch.so", "libtorch_cuda.so"] {
            let line = format!("{dynamic} 0x1 (NEEDED) Shared library: [{cuda}]\n");
            assert!(
                Needs::parse(&line, versions)
                    .check_engine()
                    .unwrap_err()
                    .to_string()
                    .contains(cuda)
            );
        }
    }

    /// The launcher sets what the program would set itself.
    #[test]
    fn the_launcher_knows_the_early_variables() {
        let program = include_str!("../../crates/front/src/environment.rs");
        let (_, early) = program.split_once("const EARLY").unwrap();
        let (early, _) = early.split_once("];").unwrap();
        let launcher = include_str!("../../python/dualmd/launcher.py");
        let pairs: Vec<&str> = early
            .lines()
            .map(str::trim)
            .filter(|l| l.starts_with("(\""))
            .collect();
        assert_eq!(pairs.len(), 4);
        for pair in pairs {
            let (name, value) = pair.trim_matches(['(', ')', ',']).split_once(", ").unwrap();
            assert!(launcher.contains(&format!("{name}: {value},")), "{pair}");
        }
    }

    #[test]
    fn options_are_read() {
        let parse = |args: &[&str]| {
            Options::parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
        };
        let read = parse(&["--check", "--program", "p", "out"]).unwrap();
        assert_eq!(
            read,
            Options {
                out: "out".into(),
                program: Some("p".into()),
                check: true,
                time: false,
                torch: None,
            }
        );
        let timed = parse(&["--time", "--torch", "2.12.1"]).unwrap();
        assert!(timed.time && !timed.check);
        assert_eq!(timed.torch.as_deref(), Some("2.12.1"));
        let wrong: [(&[&str], &str); 4] = [
            (&["--torch", "2.12.1"], "--time"),
            (&["--time", "--torch"], "a version"),
            (&["--time", "--torch", "--check"], "a version"),
            (&["--time", "--torch", version::REQUIRED], "another version"),
        ];
        for (wrong, says) in wrong {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
        assert_eq!(parse(&[]).unwrap().out, Path::new("target/wheel"));
        assert!(
            parse(&["--nonsense"])
                .unwrap_err()
                .to_string()
                .contains("--nonsense")
        );
        assert!(parse(&["--program"]).is_err() && parse(&["a", "b"]).is_err());
    }
}

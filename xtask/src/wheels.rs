//! What is fetched out of pinned wheels: libtorch, and whatever else comes as files in a Python package.
//!
//! libtorch: the Linux wheel of PyTorch in the package index is the CUDA build, but its `libtorch_cpu.so` needs only `libc10` and
//! `libgomp` (in the wheel) and `libcudart` and `libcupti` (two small wheels). So a CPU program runs without the
//! gigabytes of the other `nvidia-*` wheels: headers and five libraries, about 500 MB, are all that is kept.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::checksum;
use crate::version;
use crate::workspace;

/// One file of the package index, and what of it is needed.
pub struct Wheel {
    /// Package.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Name of the file.
    pub file: &'static str,
    /// Its checksum.
    pub sha256: &'static str,
    /// The Python that pip is told to fetch it for; nothing of it is ever run.
    pub python: &'static str,
    /// `(path in the wheel, path in the folder)`; a path that ends in `/` means all below it.
    pub take: &'static [(&'static str, &'static str)],
}

/// torch is always the build for CPython 3.11, whatever Python asks for it: libtorch does not depend on Python,
/// but each build is a file of its own with its own checksum.
const WHEELS: [Wheel; 3] = [
    Wheel {
        name: "torch",
        version: version::REQUIRED,
        file: "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256: "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
        python: CPYTHON,
        take: &[
            ("torch/include/", "include/"),
            ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
            ("torch/lib/libc10.so", "lib/libc10.so"),
            ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
        ],
    },
    Wheel {
        name: "nvidia-cuda-runtime",
        version: "13.0.96",
        file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        python: CPYTHON,
        take: &[("nvidia/cu13/lib/libcudart.so.13", "lib/libcudart.so.13")],
    },
    Wheel {
        name: "nvidia-cuda-cupti",
        version: "13.0.85",
        file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
        sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        python: CPYTHON,
        take: &[("nvidia/cu13/lib/libcupti.so.13", "lib/libcupti.so.13")],
    },
];

/// The Python that [`PIP_TARGET`]'s ABI belongs to.
pub const CPYTHON: &str = "3.11";

/// What pip must be told to get these files on any Python. Platforms in the order of the table above.
const PIP_TARGET: &[&str] = &[
    "--no-deps",
    "--only-binary=:all:",
    "--implementation=cp",
    "--abi=cp311",
    "--abi=none",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_25_x86_64",
    "--platform=manylinux2014_x86_64",
];

const FETCH: &str = include_str!("fetch_wheel.py");

/// Written last into the engine folder: a folder without it was never finished.
const STAMP: &str = "dualmd-complete.json";

/// What is pinned, for `dualmd setup` of the Python package: the files, their checksums, which libraries to take, and what pip is
/// to be told.
pub fn pins() -> String {
    let libraries = |wheel: &Wheel| -> Vec<_> {
        let one = wheel.take.iter().filter(|(from, _)| !from.ends_with('/'));
        one.map(|(from, to)| json!([from, to])).collect()
    };
    let wheels: Vec<_> = WHEELS
        .iter()
        .map(|w| {
            json!({
                "name": w.name, "version": w.version, "file": w.file, "sha256": w.sha256, "take": libraries(w),
            })
        })
        .collect();
    let python = format!("--python-version={CPYTHON}");
    let pip: Vec<&str> = [python.as_str()]
        .iter()
        .chain(PIP_TARGET)
        .copied()
        .collect();
    format!(
        "{:#}\n",
        json!({ "version": version::REQUIRED, "wheels": wheels, "pip": pip })
    )
}

/// The folder of the wheels themselves.
pub fn downloads(cache: &Path) -> PathBuf {
    cache.join("downloads")
}

/// The engine folder in the cache; downloads and unpacks what is missing.
pub fn engine(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("libtorch-{}-cpu", version::REQUIRED));
    let foreign = format!(
        "the pinned download is for x86-64 Linux with glibc; here, install PyTorch {v} and set LIBTORCH_USE_PYTORCH=1, or \
         unpack libtorch {v} and set LIBTORCH to its folder",
        v = version::REQUIRED
    );
    gather(cache, &folder, &WHEELS, &foreign, |fresh| {
        // The real libtorch.so of the wheel would pull in the CUDA libraries.
        write(&fresh.join("lib/libtorch.so"), "INPUT(libtorch_cpu.so)\n")?;
        write(
            &fresh.join("build-version"),
            &format!("{}+cpu\n", version::REQUIRED),
        )
    })?;
    Ok(folder)
}

/// Fills `folder`, which lies in the cache, with what is to be taken from `wheels`, and with what `finish` adds; downloads what
/// is missing. `foreign`: what to say on a machine that the files are not for.
pub fn gather(
    cache: &Path,
    folder: &Path,
    wheels: &[Wheel],
    foreign: &str,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let stamp = stamp(wheels);
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|text| text == stamp) {
        return Ok(());
    }
    if !cfg!(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu"
    )) {
        bail!("{foreign}");
    }
    for wheel in wheels {
        download(cache, wheel)?;
    }
    eprintln!("unpacking into {}", folder.display());
    sweep(cache);
    let fresh = cache.join(format!("{UNPACKING}{}", std::process::id()));
    for wheel in wheels {
        unpack(&downloads(cache).join(wheel.file), wheel.take, &fresh)?;
    }
    finish(&fresh)?;
    write(&fresh.join(STAMP), &stamp)?;
    replace_folder(&fresh, folder)
}

/// The wheel in the cache, by its checksum; downloaded if it is not there.
///
/// Every file that this program has pip fetch comes through here: a wheel, never a source package (whose set-up is code that
/// would run), for a Python that is named, and of no use unless it is the pinned file.
pub fn download(cache: &Path, wheel: &Wheel) -> Result<PathBuf> {
    let downloads = downloads(cache);
    fs::create_dir_all(&downloads).with_context(|| {
        format!(
            "cannot make {}: set DUALMD_CACHE to a folder you may write",
            downloads.display()
        )
    })?;
    let file = downloads.join(wheel.file);
    checksum::ensure(&file, wheel.sha256, || fetch(wheel, &file))?;
    Ok(file)
}

const UNPACKING: &str = ".unpacking-";

/// Deletes what killed set-ups left. A process that still lives may be another set-up at work.
fn sweep(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix(UNPACKING)) else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            // Only disk space depends on it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn replace_folder(fresh: &Path, folder: &Path) -> Result<()> {
    let explain = || format!("cannot move {} to {}", fresh.display(), folder.display());
    if folder.exists() {
        let old = fresh.with_extension("old");
        fs::rename(folder, &old).with_context(explain)?;
        fs::rename(fresh, folder).with_context(explain)?;
        return fs::remove_dir_all(&old)
            .with_context(|| format!("cannot delete {}", old.display()));
    }
    fs::rename(fresh, folder).with_context(explain)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What the folder was made of, so that other pins make a new one.
fn stamp(wheels: &[Wheel]) -> String {
    let wheels: Vec<_> = wheels
        .iter()
        .map(|w| json!({ "file": w.file, "sha256": w.sha256 }))
        .collect();
    format!("{:#}\n", json!({ "wheels": wheels }))
}

fn fetch(wheel: &Wheel, file: &Path) -> Result<()> {
    check_pip()?;
    eprintln!("downloading {}", wheel.file);
    // Three signs: a mirror's 2.13.0+cpu would be "equal" by two, and is another file.
    let requirement = format!("{}==={}", wheel.name, wheel.version);
    let python = format!("--python-version={}", wheel.python);
    let mut resuming = Command::new("python3");
    resuming
        .args(["-c", FETCH, &requirement])
        .arg(file)
        .arg(&python)
        .args(PIP_TARGET);
    if workspace::run(resuming).is_ok() {
        return Ok(());
    }
    eprintln!("downloading with pip instead");
    let mut plain = Command::new("python3");
    plain
        .args(["-m", "pip", "download"])
        .arg(&python)
        .args(PIP_TARGET)
        .arg("--dest");
    plain.args(file.parent()).arg(&requirement);
    workspace::run(plain).with_context(|| {
        format!("cannot download {requirement}: check the network and pip's index settings, then start again")
    })
}

/// Both are needed for the download only, so they are asked for as late as this.
fn check_pip() -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--version"]);
    workspace::output(command).map(drop).context(
        "downloading needs python3 with pip (Debian: apt install python3-pip); libtorch may be set instead: LIBTORCH to a libtorch 2.13.0",
    )
}

/// Writes the wanted entries of a wheel under `folder`; every entry of `take` must be there.
fn unpack(wheel: &Path, take: &[(&str, &str)], folder: &Path) -> Result<()> {
    let explain = || {
        format!(
            "cannot unpack {} into {}",
            wheel.display(),
            folder.display()
        )
    };
    let file = File::open(wheel).with_context(explain)?;
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).with_context(explain)?;
    let mut found = vec![false; take.len()];
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).with_context(explain)?;
        let Some((rule, to)) = destination(entry.name(), take) else {
            continue;
        };
        // A path with dots could leave the folder.
        if entry.is_dir() || entry.name().split('/').any(|part| part == "..") {
            continue;
        }
        found[rule] = true;
        let to = folder.join(to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(explain)?;
        }
        let mut out = File::create(&to).with_context(explain)?;
        io::copy(&mut entry, &mut out).with_context(explain)?;
    }
    match found.iter().position(|found| !found) {
        Some(rule) => bail!("{} holds no {}", wheel.display(), take[rule].0),
        None => Ok(()),
    }
}

/// Which rule takes this entry, and where to.
fn destination(name: &str, take: &[(&str, &str)]) -> Option<(usize, String)> {
    take.iter()
        .enumerate()
        .find_map(|(rule, (from, to))| match name.strip_prefix(from) {
            Some("") if !from.ends_with('/') => Some((rule, (*to).to_owned())),
            Some(rest) if from.ends_with('/') && !rest.is_empty() => {
                Some((rule, format!("{to}{rest}")))
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever adds a call of pip reads here what it needs.
    #[test]
    fn pip_is_called_in_four_places_and_takes_wheels_only() {
        assert!(PIP_TARGET.contains(&"--only-binary=:all:") && PIP_TARGET.contains(&"--no-deps"));
        let sources = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let call = concat!('"', "pip", '"');
        let mut callers: Vec<String> = sources
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "rs"))
            .filter(|path| fs::read_to_string(path).unwrap().contains(call))
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        callers.sort();
        assert_eq!(
            callers,
            ["first_verdict.rs", "interop.rs", "wheel.rs", "wheels.rs"]
        );
        // What a stranger installs, on the one machine that it is timed on: the newest wheels, and no source.
        assert!(include_str!("first_verdict.rs").contains("--only-binary=:all:"));
        // The program's own wheel needs nothing from anywhere.
        assert!(include_str!("wheel.rs").contains("--no-index"));
        let interop = include_str!("interop.rs");
        assert!(interop.contains("--only-binary=:all:") && interop.contains("--require-hashes"));
    }

    #[test]
    fn only_what_is_needed_is_taken() {
        let take = WHEELS[0].take;
        assert_eq!(
            destination("torch/include/ATen/ATen.h", take),
            Some((0, "include/ATen/ATen.h".into()))
        );
        assert_eq!(
            destination("torch/lib/libc10.so", take),
            Some((2, "lib/libc10.so".into()))
        );
        for name in [
            "torch/lib/libc10.so.sig",
            "torch/lib/libc10_cuda.so",
            "torch/lib/libtorch.so",
            "torch/include/",
            "x",
        ] {
            assert_eq!(destination(name, take), None, "{name}");
        }
    }

    #[test]
    fn unpacking_takes_the_wanted_and_stays_inside() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("a.whl");
        let mut zip = zip::ZipWriter::new(File::create(&wheel).unwrap());
        for (name, text) in [
            ("p/in/x/y.h", "header"),
            ("p/in/../../evil", "no"),
            ("p/lib.so", "code"),
            ("q", "no"),
        ] {
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            io::Write::write_all(&mut zip, text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let out = dir.path().join("deep/er/out");
        unpack(
            &wheel,
            &[("p/in/", "include/"), ("p/lib.so", "lib/l.so")],
            &out,
        )
        .unwrap();
        assert_eq!(
            fs::read_to_string(out.join("include/x/y.h")).unwrap(),
            "header"
        );
        assert_eq!(fs::read_to_string(out.join("lib/l.so")).unwrap(), "code");
        assert!(!dir.path().join("deep/er/evil").exists());
        let error = unpack(&wheel, &[("p/none.so", "n")], &out)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a.whl") && error.contains("p/none.so"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (fresh, folder) = (dir.path().join(".unpacking-1"), dir.path().join("engine"));
        for (path, file) in [(&fresh, "new"), (&folder, "old")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join(file), "").unwrap();
        }
        replace_folder(&fresh, &folder).unwrap();
        assert!(folder.join("new").exists() && !folder.join("old").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

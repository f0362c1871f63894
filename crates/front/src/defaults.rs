//! Defaults of common flags that belong to a machine or a person: from variables, else from a file of settings. A flag that is typed
//! comes before both. Nothing that a result depends on is among them, but for the device.

use anyhow::Result;
use dualmd_experiment::bail_usage;
use dualmd_files::{limit, shown};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names the file, in place of `dualmd/config.toml` in the user's folder of settings.
const FILE: &str = "DUALMD_CONFIG";

/// What flags take where they are not given; none where clap's own default holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `--threads`.
    pub threads: Option<usize>,
    /// `--device`.
    pub device: Option<String>,
    /// `--auditor`, of the commands that have it.
    pub auditor: Option<String>,
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    threads: Option<usize>,
    device: Option<String>,
    auditor: Option<String>,
}

impl Defaults {
    /// Those of this process: its variables, and the file that they or the user's folder of settings name.
    ///
    /// # Errors
    /// A file that cannot be read or has other keys or values; a file that `DUALMD_CONFIG` names and that is not there; values that the
    /// flag would refuse.
    pub fn of_process() -> Result<Self> {
        Self::of(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let (settings, place) = match file(&variable) {
            Some((path, named)) => (read(&path, named)?, shown(&path).to_string()),
            None => (Settings::default(), String::new()),
        };
        // A key of the file, as messages name it.
        let key = |name: &str| format!("{place}: {name}");
        let text = |name: &str| {
            let value = variable(name)?;
            Some((name.to_owned(), value.to_string_lossy().into_owned()))
        };
        let threads = match text("DUALMD_THREADS") {
            Some((name, value)) => match value.parse() {
                Ok(threads) => Some((name, threads)),
                Err(_) => bail_usage!("{name}={value:?}: write a number of cores, such as 4"),
            },
            None => settings.threads.map(|n| (key("threads"), n)),
        };
        if let Some((name, 0)) = &threads {
            bail_usage!(
                "{name}: 0 cores can do nothing; write at least 1, or leave it out for all"
            );
        }
        let device = text("DUALMD_DEVICE").or(settings.device.map(|d| (key("device"), d)));
        if let Some((name, value)) = &device
            && let Err(why) = crate::args::device(value)
        {
            bail_usage!("{name}={value:?}: {why}");
        }
        Ok(Self {
            threads: threads.map(|(_, n)| n),
            device: device.map(|(_, value)| value),
            auditor: text("DUALMD_AUDITOR")
                .map(|(_, who)| who)
                .or(settings.auditor),
        })
    }
}

/// Where the file is, and whether it was named and has to be there; none where no folder of settings is known.
fn file(variable: impl Fn(&str) -> Option<OsString>) -> Option<(PathBuf, bool)> {
    if let Some(named) = variable(FILE) {
        return Some((named.into(), true));
    }
    let base = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")))?;
    Some((base.join("dualmd/config.toml"), false))
}

fn read(path: &Path, named: bool) -> Result<Settings> {
    let text = match dualmd_files::read_text(path, limit::SETTINGS) {
        Ok(text) => text,
        Err(error) if error.is_absent() && !named => return Ok(Settings::default()),
        Err(error) => return Err(error.into()),
    };
    match toml::from_str(&text) {
        Ok(settings) => Ok(settings),
        Err(why) => {
            let before = why.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            bail_usage!(
                "{}, line {line}: {}; the keys are threads, device and auditor",
                shown(path),
                why.message()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defaults with these variables.
    fn with(variables: &[(&str, &str)]) -> Result<Defaults> {
        Defaults::of(|name| {
            let found = variables.iter().find(|(n, _)| *n == name)?;
            Some(found.1.into())
        })
    }

    #[test]
    fn a_variable_comes_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let home = home.as_str();
        assert_eq!(with(&[]).unwrap(), Defaults::default());
        assert_eq!(with(&[("HOME", home)]).unwrap(), Defaults::default());
        let folder = dir.path().join(".config/dualmd");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("config.toml");
        std::fs::write(&path, "threads = 3\nauditor = \"A. Name\"\n").unwrap();
        let found = with(&[("HOME", home)]).unwrap();
        assert_eq!((found.threads, found.device), (Some(3), None));
        assert_eq!(found.auditor.as_deref(), Some("A. Name"));
        let found = with(&[
            ("HOME", home),
            ("DUALMD_THREADS", "5"),
            ("DUALMD_DEVICE", "cuda:1"),
        ]);
        let found = found.unwrap();
        assert_eq!(
            (found.threads, found.device.as_deref()),
            (Some(5), Some("cuda:1"))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        let file = path.display().to_string();
        let file = file.as_str();
        let said = |variables: &[(&str, &str)]| with(variables).unwrap_err().to_string();
        assert!(said(&[("DUALMD_CONFIG", file)]).contains("mine.toml"));
        std::fs::write(&path, "# mine\nthread = 3\n").unwrap();
        let why = said(&[("DUALMD_CONFIG", file)]);
        assert!(
            why.contains("mine.toml, line 2: ") && why.contains("threads, device"),
            "{why}"
        );
        for (text, wanted) in [
            ("threads = 0\n", "mine.toml: threads: 0 cores"),
            ("device = \"gpu\"\n", "mine.toml: device=\"gpu\": "),
        ] {
            std::fs::write(&path, text).unwrap();
            let why = said(&[("DUALMD_CONFIG", file)]);
            assert!(why.contains(wanted), "{why}");
        }
        assert!(said(&[("DUALMD_THREADS", "many")]).contains("DUALMD_THREADS"));
        assert!(said(&[("DUALMD_DEVICE", "gpu")]).contains("cuda:N"));
    }
}

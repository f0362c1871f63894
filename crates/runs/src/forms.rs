//! A report in the forms of other programs.

use anyhow::{Context, Result};
use dualmd_audit::Report;
use dualmd_experiment::bail_usage;
use dualmd_exports as exports;
use dualmd_files::shown;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit XML, for test reports.
    Junit,
    /// A section for a model card of Hugging Face.
    ModelCard,
    /// The annex of a data-protection impact assessment: Markdown, or through pandoc what the file's ending says.
    Annex,
    /// The table of attacks as Markdown.
    Markdown,
    /// The same as LaTeX.
    Latex,
    /// A folder for `mlflow ui`.
    Mlflow,
    /// A folder for `tensorboard --logdir`.
    Tensorboard,
}

impl Form {
    const ALL: [(&'static str, Self); 8] = [
        ("sarif", Self::Sarif),
        ("junit", Self::Junit),
        ("model-card", Self::ModelCard),
        ("annex", Self::Annex),
        ("markdown", Self::Markdown),
        ("latex", Self::Latex),
        ("mlflow", Self::Mlflow),
        ("tensorboard", Self::Tensorboard),
    ];
}

/// A form, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Also {
    /// The form.
    pub form: Form,
    /// A file; of [`Form::Mlflow`] and [`Form::Tensorboard`] a folder.
    pub path: PathBuf,
}

impl FromStr for Also {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Form::ALL.map(|(name, _)| name).join(", ");
        match text.split_once('=') {
            Some((name, path)) if !path.is_empty() => {
                let form = Form::ALL.into_iter().find(|(n, _)| *n == name);
                let (_, form) =
                    form.ok_or_else(|| format!("no form {name}: there are {}", names()))?;
                let path = path.into();
                Ok(Self { form, path })
            }
            _ => Err(format!(
                "write FORM=PATH, e.g. sarif=report.sarif; forms: {}",
                names()
            )),
        }
    }
}

impl Also {
    /// Refuses a place that [`write`](Self::write) would refuse, to be called before long work. `out`: the folder of the report, which may not be
    /// there yet.
    ///
    /// # Errors
    /// A folder that is not there or cannot be written to; something else than a file, or a file that is read-only.
    pub fn check(&self, out: &Path) -> Result<()> {
        // So that ./audit and audit are one.
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let in_new_folder = whole(&self.path).starts_with(whole(out)) && !out.exists();
        let checked = match self.form {
            Form::Mlflow | Form::Tensorboard => dualmd_files::check_folder(&self.path).map(drop),
            _ if in_new_folder => {
                dualmd_files::check_folder(dualmd_files::parent(&self.path)).map(drop)
            }
            _ => dualmd_files::check_target(&self.path),
        };
        Ok(checked?)
    }

    /// Writes the report in this form; a file that is there is written over.
    ///
    /// # Errors
    /// A place that cannot be written to; an annex that is no Markdown where pandoc is not there, or what pandoc says.
    pub fn write(&self, report: &Report) -> Result<()> {
        let text = match self.form {
            Form::Sarif => exports::sarif(report),
            Form::Junit => exports::junit(report),
            Form::ModelCard => exports::model_card(report),
            Form::Markdown => exports::markdown_table(report),
            Form::Latex => exports::latex_table(report),
            Form::Mlflow => {
                exports::mlflow(report, &self.path)?;
                return Ok(());
            }
            Form::Tensorboard => {
                exports::tensorboard(report, &self.path)?;
                return Ok(());
            }
            Form::Annex => {
                let text = exports::annex(report);
                let ending = self.path.extension().and_then(|e| e.to_str());
                if !matches!(ending, Some("md" | "markdown" | "txt") | None) {
                    return through_pandoc(&text, &self.path);
                }
                text
            }
        };
        Ok(dualmd_files::write(&self.path, text.as_bytes())?)
    }
}

/// Markdown as what the file's ending says.
fn through_pandoc(text: &str, path: &Path) -> Result<()> {
    let mut pandoc = Command::new("pandoc");
    pandoc
        .args(["--from", "gfm", "--output"])
        .arg(path)
        .stdin(Stdio::piped());
    let mut running = match pandoc.spawn() {
        Ok(running) => running,
        Err(error) => bail_usage!(
            "{}: pandoc makes this from Markdown, and cannot be started ({error}): install it, or name a file that ends with .md",
            shown(path)
        ),
    };
    if let Some(mut input) = running.stdin.take() {
        input
            .write_all(text.as_bytes())
            .context("pandoc does not read the annex")?;
    }
    let ended = running.wait().context("pandoc did not end")?;
    if !ended.success() {
        bail_usage!(
            "{}: pandoc failed ({ended}); its own words stand above. Name a file that ends with .md to have the Markdown",
            shown(path)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_a_name_and_a_place() {
        let also: Also = "sarif=a=b.sarif".parse().unwrap();
        assert_eq!(
            (also.form, also.path),
            (Form::Sarif, PathBuf::from("a=b.sarif"))
        );
        for (name, form) in Form::ALL {
            assert_eq!(format!("{name}=x").parse::<Also>().unwrap().form, form);
        }
        for wrong in ["sarif", "sarif=", "pdf=x", ""] {
            let said = wrong.parse::<Also>().unwrap_err();
            assert!(said.contains("junit"), "{said}");
        }
    }

    #[test]
    fn a_report_is_written_in_every_form() {
        let dir = tempfile::tempdir().unwrap();
        let stored =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results/demo/report.json");
        let report = dualmd_audit::read(&stored).unwrap();
        for (name, form) in Form::ALL {
            let path = dir.path().join(name);
            Also {
                form,
                path: path.clone(),
            }
            .write(&report)
            .unwrap();
            let there = match form {
                Form::Mlflow => path.join("mlruns").is_dir(),
                Form::Tensorboard => {
                    let audit = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap();
                    audit.path().join("student").is_dir()
                }
                _ => std::fs::read_to_string(&path)
                    .unwrap()
                    .contains("DistillMD"),
            };
            assert!(there, "{name}");
        }
        let nowhere = Also {
            form: Form::Junit,
            path: dir.path().join("not/there.xml"),
        };
        assert!(nowhere.write(&report).is_err());
    }
}

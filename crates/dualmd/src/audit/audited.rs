//! Which models are audited, and under which names.

use super::options::ScoreOptions;
use crate::bail_usage;
use crate::reporter::Reporter;
use anyhow::Result;
use dualmd_diffusion::lora::LORA_FILE;
use dualmd_names::{Defense, Half, Part, check_name};
use dualmd_record::folder::TRAINING;
use dualmd_record::training::Training;
use dualmd_remote::Place;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Name of a pair in files, and of the only model.
const PAIR: &str = Defense::Dualmd.name();
const ONE: &str = "model";

/// One thing that is audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Its name in files and in the report.
    pub name: String,
    /// One folder, or two that alternate; none of a model in another process.
    pub folders: Vec<PathBuf>,
    /// A LoRA for each folder, or none.
    pub loras: Vec<PathBuf>,
    /// Where a model in another process is.
    pub denoiser: Option<Place>,
    /// Images that it generated, of a model of which nothing else is there.
    pub images: Option<String>,
}

impl Audited {
    /// Two models that take turns?
    pub fn is_pair(&self) -> bool {
        self.folders.len() == 2
    }

    /// A denoiser of the caller's own.
    pub fn given() -> Self {
        Self::of(ONE.to_owned(), Vec::new())
    }

    /// A model or a pair in folders.
    fn of(name: String, folders: Vec<PathBuf>) -> Self {
        Self {
            name,
            folders,
            loras: Vec::new(),
            denoiser: None,
            images: None,
        }
    }

    /// How many models it is.
    pub fn models(&self) -> usize {
        self.folders.len().max(1)
    }

    /// Its folders as they were typed, or the place of a model in another process.
    pub fn shown(&self) -> String {
        if let Some(place) = &self.denoiser {
            return place.shown();
        }
        if let Some(images) = &self.images {
            return format!("the model that generated {images}");
        }
        if self.folders.is_empty() {
            return "a denoiser of this process".to_owned();
        }
        let folders = self.folders.iter().enumerate().map(|(i, folder)| {
            let lora = self.loras.get(i);
            let lora = lora.map_or(String::new(), |l| format!(" with {}", l.display()));
            format!("{}{lora}", folder.display())
        });
        folders.collect::<Vec<_>>().join(" + ")
    }
}

/// All that `args` name: models by folder and by name, and a pair. Two folders alone are a pair only where both say that they
/// were trained on the two halves of one split.
///
/// # Errors
/// Names that are no names or taken twice; a damaged `training.json`.
pub fn audited(args: &ScoreOptions, reporter: &dyn Reporter) -> Result<Vec<Audited>> {
    let mut pair = args.pair.clone();
    let mut models = args.models.as_slice();
    if let [first, second] = models
        && pair.is_empty()
        && args.named.is_empty()
        && halves_of_one_split(first, second)?
    {
        reporter.warn(&format!(
            "{} and {} were trained on the two halves of one split: audited as a DualMD pair (each by itself: --model NAME=FOLDER)",
            first.display(),
            second.display()
        ));
        pair = models.to_vec();
        models = &[];
    }
    let mut out: Vec<Audited> = Vec::new();
    out.extend(args.denoiser.clone().map(|place| Audited {
        denoiser: Some(place),
        ..Audited::given()
    }));
    let alone = models.len() == 1 && args.named.is_empty() && pair.is_empty();
    for folder in models {
        let name = if alone {
            ONE.to_owned()
        } else {
            usable(folder.file_name(), folder, "")?
        };
        out.push(Audited::of(name, vec![folder.clone()]));
    }
    let named = args.named.iter();
    out.extend(named.map(|(name, folder)| Audited::of(name.clone(), vec![folder.clone()])));
    if !pair.is_empty() {
        out.push(Audited::of(PAIR.into(), pair));
    }
    if !args.loras.is_empty() {
        out = adapted(out, &args.loras)?;
    }
    if let Some(images) = &args.generated {
        match out.len() {
            0 => out.push(Audited {
                images: Some(images.clone()),
                ..Audited::of(ONE.to_owned(), Vec::new())
            }),
            1 => {}
            n => bail_usage!(
                "--generated names the images of one model, and {n} are audited: audit them one by one"
            ),
        }
    }
    for (i, one) in out.iter().enumerate() {
        // File systems that take upper and lower case for the same would mix their scores.
        let same = |other: &Audited| other.name.to_lowercase() == one.name.to_lowercase();
        if let Some(other) = out[..i].iter().find(|o| same(o)) {
            bail_usage!(
                "{} and {} would both be called {}: give each a name of its own (--model NAME=FOLDER, --lora NAME=FILE)",
                other.shown(),
                one.shown(),
                one.name
            );
        }
        // A report judges teacher-1 and teacher-2 on one half of the members.
        if let Some(half) = Part::half(&one.name).map(Half::number)
            && one
                .folders
                .iter()
                .any(|f| half_of(f).ok().flatten().is_none_or(|(h, _)| h != half))
        {
            bail_usage!(
                "{} would be called {}, which names the model of half {half} of a split, and its training.json does not say that it is: \
                 give it another name (--model NAME=FOLDER)",
                one.shown(),
                one.name
            );
        }
    }
    Ok(out)
}

/// LoRA files over what was named: over one model each by itself, over a pair one for each of its two.
fn adapted(named: Vec<Audited>, loras: &[(Option<String>, PathBuf)]) -> Result<Vec<Audited>> {
    let files = || loras.iter().map(|(_, file)| file.clone());
    match named.as_slice() {
        [pair] if pair.is_pair() => {
            if loras.len() != 2 {
                bail_usage!(
                    "--lora: a pair takes one for each of its two models, and {} are named",
                    loras.len()
                );
            }
            Ok(vec![Audited {
                loras: files().collect(),
                ..pair.clone()
            }])
        }
        [one] if one.folders.len() == 1 => loras
            .iter()
            .map(|(name, file)| {
                let name = match (name, loras.len()) {
                    (Some(name), _) => name.clone(),
                    (None, 1) => one.name.clone(),
                    (None, _) => name_of_lora(file)?,
                };
                Ok(Audited {
                    name,
                    loras: vec![file.clone()],
                    ..one.clone()
                })
            })
            .collect(),
        _ => bail_usage!(
            "--lora is added to one model folder, or to the two of a pair: name its base as MODEL"
        ),
    }
}

/// The name of a LoRA: of its file, or of its folder where that has the name which all have.
fn name_of_lora(file: &Path) -> Result<String> {
    let of_folder = file.parent().filter(|_| file.ends_with(LORA_FILE));
    let stem = of_folder.unwrap_or(file).file_stem();
    usable(stem, file, " (--lora NAME=FILE gives it another)")
}

/// A part of a path as a model's name; `remedy` ends what is said if it is none.
fn usable(part: Option<&OsStr>, path: &Path, remedy: &str) -> Result<String> {
    let name = part.and_then(OsStr::to_str).unwrap_or_default();
    if let Err(why) = check_name(name) {
        bail_usage!("{}: {why}{remedy}", path.display());
    }
    Ok(name.to_owned())
}

/// The one thing that `dualmd attack` scores.
///
/// # Errors
/// As [`audited`]; several models.
pub fn only(args: &ScoreOptions, reporter: &dyn Reporter) -> Result<Audited> {
    let mut all = audited(args, reporter)?;
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => bail_usage!(
            "one model is attacked at a time: name one folder, or a DualMD pair (--pair MODEL1 MODEL2); \
             `dualmd audit --model NAME=FOLDER --model NAME=FOLDER` compares several"
        ),
    }
}

/// The half of a split that a model of `dualmd` was trained on, and the split's hash.
fn half_of(folder: &Path) -> Result<Option<(u8, String)>> {
    let path = folder.join(TRAINING);
    if !path.is_file() {
        return Ok(None);
    }
    let training: Training = dualmd_record::read(&path)?;
    let split = training.split_hash.filter(|h| !h.is_empty());
    Ok(training.half.zip(split))
}

fn halves_of_one_split(first: &Path, second: &Path) -> Result<bool> {
    Ok(match (half_of(first)?, half_of(second)?) {
        (Some((a, one)), Some((b, other))) => one == other && [a, b] != [b, a],
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::exit_code;
    use crate::reporter::Silent;

    /// Of `FOLDER... --model NAME=FOLDER --pair FOLDER FOLDER`.
    fn args(line: &str) -> ScoreOptions {
        let mut options = ScoreOptions::new("a", "b");
        let mut words = line.split_whitespace().map(str::to_owned);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--model" => {
                    let (name, folder) = words.next().unwrap().split_once('=').map_or_else(
                        || panic!("{line}"),
                        |(name, folder)| (name.to_owned(), PathBuf::from(folder)),
                    );
                    options.named.push((name, folder));
                }
                "--pair" => options.pair = words.by_ref().take(2).map(PathBuf::from).collect(),
                folder => options.models.push(folder.into()),
            }
        }
        options
    }

    fn names(line: &str) -> Vec<(String, usize)> {
        let all = audited(&args(line), &Silent).unwrap();
        all.into_iter().map(|a| (a.name, a.folders.len())).collect()
    }

    #[test]
    fn two_folders_are_two_models_and_a_pair_is_asked_for() {
        let of = |all: &[(&str, usize)]| -> Vec<(String, usize)> {
            all.iter().map(|(n, f)| ((*n).to_owned(), *f)).collect()
        };
        assert_eq!(names("x/a"), of(&[("model", 1)]));
        assert_eq!(names("x/a y/b"), of(&[("a", 1), ("b", 1)]));
        assert_eq!(names("--pair x/a y/b"), of(&[("dualmd", 2)]));
        assert_eq!(
            names("x/a --model other=y/a --pair c d"),
            of(&[("a", 1), ("other", 1), ("dualmd", 2)])
        );
        for line in [
            "x/a y/a",
            "x/a y/A",
            "a --model a=b",
            "..  b",
            "x/teacher-1 b",
        ] {
            let error = audited(&args(line), &Silent).expect_err(line);
            assert!(
                error.to_string().contains("--model NAME=FOLDER") || line.starts_with(".."),
                "{error}"
            );
            assert_eq!(exit_code(&error), 2, "{line}");
        }
        let error = only(&args("a b"), &Silent).expect_err("two models");
        assert!(
            error.to_string().contains("--pair MODEL1 MODEL2"),
            "{error}"
        );
        assert_eq!(exit_code(&error), 2);
        assert!(only(&args("--pair a b"), &Silent).unwrap().is_pair());
        assert_eq!(only(&args("--model a=b"), &Silent).unwrap().name, "a");
    }

    #[test]
    fn halves_of_one_split_are_known_by_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("training.json"), text).unwrap();
            path.display().to_string()
        };
        let first = folder("teacher-1", r#"{"half": 1, "split_hash": "abc"}"#);
        let second = folder("teacher-2", r#"{"half": 2, "split_hash": "abc"}"#);
        let stranger = folder("stranger", r#"{"half": 2, "split_hash": "def"}"#);
        let student = folder("student", r#"{"half": null, "split_hash": "abc"}"#);
        assert_eq!(
            names(&format!("{first} {second}")),
            [("dualmd".to_owned(), 2)]
        );
        for other in [&stranger, &student] {
            assert_eq!(names(&format!("{first} {other}")).len(), 2, "{other}");
        }
        // Asked for by name they are two models, the names being right.
        let apart = names(&format!("--model teacher-1={first} --model b={second}"));
        assert_eq!(apart.len(), 2);
        let wrong = args(&format!("--model teacher-2={first}"));
        assert!(audited(&wrong, &Silent).is_err());
        std::fs::write(dir.path().join("student/training.json"), "{").unwrap();
        let error = audited(&args(&format!("{first} {student}")), &Silent).expect_err("damaged");
        assert!(format!("{error:#}").contains("training.json"), "{error:#}");
    }
}

//! The layers an experiment is written in: a preset or a file, then each `--set` in turn.

use super::{Experiment, epochs, keys};
use crate::{bail_usage, usage};
use anyhow::{Context, Result, anyhow, bail};
use dualmd_files::limit;
use dualmd_names::{AttackSpec, NameError};
use dualmd_record::RunFolder;
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Where an experiment comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A TOML file.
    File(PathBuf),
    /// A file that is part of the program: `dualmd list presets`.
    Preset(String),
}

impl Source {
    /// The file or preset, as one would name it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Preset(name) => name.clone(),
        }
    }

    /// The file, or else the preset, whichever is named.
    pub fn named(file: Option<PathBuf>, preset: Option<String>) -> Option<Self> {
        file.map(Self::File).or(preset.map(Self::Preset))
    }

    /// The experiment of a run that is to go on.
    ///
    /// # Errors
    /// A folder that holds none.
    pub fn of_run(folder: &Path) -> Result<Self> {
        let file = RunFolder(folder.to_path_buf()).experiment();
        if !file.is_file() {
            bail_usage!(
                "{} holds no run to go on with (no experiment.toml): name an experiment file or a --preset",
                folder.display()
            );
        }
        Ok(Self::File(file))
    }

    /// Where it runs unless a folder is named: `runs/`, then the name of the file or preset with `ending` behind it.
    ///
    /// # Errors
    /// A path that names no file, such as `..`.
    pub fn folder(&self, ending: &str) -> Result<PathBuf> {
        let name = match self {
            Self::Preset(name) => Some(OsString::from(name)),
            Self::File(file) => file.file_stem().map(OsStr::to_os_string),
        };
        let Some(mut name) = name else {
            bail_usage!("{} is no file name: give an experiment file", self.name());
        };
        name.push(ending);
        Ok(Path::new("runs").join(name))
    }
}

impl Experiment {
    /// Reads an experiment and applies `sets` ("a.b=value") in order.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML; a key is unknown (the message says where, and which was meant); a value has
    /// the wrong type or is out of range.
    pub fn load(source: &Source, sets: &[String]) -> Result<Self> {
        match source {
            Source::File(path) => {
                let text = dualmd_files::read_text(path, limit::SETTINGS)?;
                Self::parse(&text, &path.display().to_string(), sets)
            }
            Source::Preset(name) => Self::parse(
                crate::presets::find(name)?.text,
                &format!("preset {name}"),
                sets,
            ),
        }
    }

    /// As [`Experiment::load`] from a text; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`Experiment::load`].
    pub fn parse(text: &str, origin: &str, sets: &[String]) -> Result<Self> {
        // serde would stop at the first unknown key and cannot say which was meant, so the keys are looked at first.
        let document = DeTable::parse(text).map_err(|error| anyhow!("{origin}: {error}"))?;
        let mut unknown = Vec::new();
        unknown_keys(document.get_ref(), &mut Vec::new(), &mut |path, at| {
            let line = text[..at.min(text.len())].matches('\n').count() + 1;
            unknown.push(format!(
                "unknown key {} in {origin} line {line}: {}",
                path.join("."),
                keys::advice(path)
            ));
        });
        if !unknown.is_empty() {
            bail!("{}", unknown.join("\n"));
        }
        let mut merged: Table =
            toml::from_str(text).map_err(|error| anyhow!("{origin}: {error}"))?;
        // What attacks are asked for is an argument: said in one line, and not as an ill-typed value.
        check_attacks(&merged)
            .map_err(|error| usage(anyhow!("{origin}: audit.attacks: {error}")))?;
        // Also the file alone must be well-typed: these errors show the line.
        let mut experiment: Self =
            toml::from_str(text).map_err(|error| anyhow!("{origin}: {error}"))?;
        epochs::check_units(&merged).with_context(|| origin.to_owned())?;
        let right_without = !sets.is_empty() && {
            let mut alone = experiment.clone();
            alone.resolve_epochs();
            alone.check(origin).is_ok()
        };
        if !sets.is_empty() {
            for set in sets {
                apply(&mut merged, set).map_err(usage)?;
            }
            epochs::check_units(&merged).with_context(|| display(sets))?;
            experiment = Self::deserialize(Value::Table(merged)).map_err(|error| {
                usage(anyhow!(
                    "{}: {}",
                    display(sets),
                    error.to_string().trim_end().replace('\n', " ")
                ))
            })?;
        }
        let with = if sets.is_empty() {
            origin.to_owned()
        } else {
            format!("{origin} with {}", display(sets))
        };
        experiment.resolve_epochs();
        // Where the file alone is right, what was typed is to blame.
        experiment
            .check(&with)
            .map_err(|e| if right_without { usage(e) } else { e })?;
        Ok(experiment)
    }
}

fn display(sets: &[String]) -> String {
    sets.iter()
        .map(|set| format!("--set {set}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Are all names of attacks those of attacks?
fn check_attacks(experiment: &Table) -> std::result::Result<(), NameError> {
    let named = experiment
        .get("audit")
        .and_then(|audit| audit.get("attacks"));
    let mut names = named.and_then(Value::as_array).into_iter().flatten();
    names.try_for_each(|name| match name.as_str() {
        Some(name) => name.parse::<AttackSpec>().map(|_| ()),
        None => Ok(()),
    })
}

/// Reports each key that is not known, with its position in the text. Does not look inside unknown ones.
fn unknown_keys(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    report: &mut impl FnMut(&[String], usize),
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        if !keys::is_known(path) {
            report(path, key.span().start);
        } else if let DeValue::Table(inner) = value.get_ref() {
            unknown_keys(inner, path, report);
        } else if let DeValue::Array(items) = value.get_ref() {
            for (index, item) in items.iter().enumerate() {
                if let DeValue::Table(inner) = item.get_ref() {
                    path.push(index.to_string());
                    unknown_keys(inner, path, report);
                    path.pop();
                }
            }
        }
        path.pop();
    }
}

/// Applies one "a.b=value"; `models.0.name=x` reaches into arrays of tables, and the index after the last adds an entry.
fn apply(root: &mut Table, set: &str) -> Result<()> {
    let Some((key, text)) = set.split_once('=') else {
        bail!("--set {set}: write it as section.key=value, e.g. --set train.steps=1000");
    };
    let path: Vec<String> = key
        .trim()
        .split('.')
        .map(|part| part.trim().to_owned())
        .collect();
    let value = value(text.trim());
    refuse_unknown(&path, &value, set)?;

    let mut place = Place::Table(root);
    for (depth, part) in path[..path.len() - 1].iter().enumerate() {
        place = place
            .enter(part)
            .with_context(|| format!("--set {set}: {}", path[..=depth].join(".")))?;
    }
    let last = &path[path.len() - 1];
    if let (Place::Table(table), Some(other)) = (&mut place, epochs::replaced(&path)) {
        table.remove(other);
    }
    place
        .put(last, value)
        .with_context(|| format!("--set {set}: {}", path.join(".")))
}

fn refuse_unknown(path: &[String], value: &Value, set: &str) -> Result<()> {
    if !keys::is_known(path) {
        bail!(
            "unknown key {} in --set {set}: {}",
            path.join("."),
            keys::advice(path)
        );
    }
    let inner: Vec<(String, &Value)> = match value {
        Value::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.is_table())
            .map(|(index, item)| (index.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    inner.into_iter().try_for_each(|(key, value)| {
        let path: Vec<String> = path.iter().cloned().chain([key]).collect();
        refuse_unknown(&path, value, set)
    })
}

/// A TOML value; what is none is a string without its quotes.
fn value(text: &str) -> Value {
    // More than one key would mean that a line break in the text started another one.
    match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => table
            .remove("value")
            .unwrap_or_else(|| Value::String(text.into())),
        _ => Value::String(text.into()),
    }
}

/// Where a path has led.
enum Place<'a> {
    Table(&'a mut Table),
    Array(&'a mut Vec<Value>),
}

impl<'a> Place<'a> {
    fn enter(self, part: &str) -> Result<Place<'a>> {
        let next = match self {
            Place::Table(table) => {
                let empty = if part == "models" {
                    Value::Array(Vec::new())
                } else {
                    Value::Table(Table::new())
                };
                table.entry(part).or_insert(empty)
            }
            Place::Array(items) => {
                let index = index(part, items.len())?;
                if index == items.len() {
                    items.push(Value::Table(Table::new()));
                }
                &mut items[index]
            }
        };
        match next {
            Value::Table(table) => Ok(Place::Table(table)),
            Value::Array(items) => Ok(Place::Array(items)),
            other => bail!("is of type {}: it has no keys below it", other.type_str()),
        }
    }

    fn put(self, part: &str, value: Value) -> Result<()> {
        match self {
            Place::Table(table) => {
                table.insert(part.to_owned(), value);
            }
            Place::Array(items) => {
                let index = index(part, items.len())?;
                if index == items.len() {
                    items.push(value);
                } else {
                    items[index] = value;
                }
            }
        }
        Ok(())
    }
}

fn index(part: &str, len: usize) -> Result<usize> {
    match part.parse::<usize>() {
        Ok(index) if index <= len => Ok(index),
        _ => bail!("there are {len} entries, counted from 0; {len} adds one"),
    }
}

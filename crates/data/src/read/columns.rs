//! Which column of a table, or key of a JSON object, means what.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::About;
use crate::{Error, LoadOptions, Result};

/// Names under which captions are found without being asked for.
pub(super) const TEXT: [&str; 4] = ["text", "caption", "captions", "prompt"];
/// The column of labels where the user names no other.
const LABEL: &str = "label";
/// The column of groups where the user names no other.
const GROUP: &str = "group";
/// The column of names where the user names no other: as this program exports it.
pub(crate) const ID: &str = "original";

/// The columns that a table's records are described by.
pub(super) struct Columns {
    pub text: Option<String>,
    pub label: String,
    pub group: String,
    pub id: String,
}

impl Columns {
    /// Chooses among the columns of one table: `options.caption_column` where the user named one, else the one of
    /// [`TEXT`] that is among `texts`. `all` is what the message lists.
    ///
    /// # Errors
    /// Several columns that may hold captions, and none named.
    pub fn choose<'n>(
        options: &LoadOptions<'_>,
        texts: impl IntoIterator<Item = &'n str>,
        all: &BTreeSet<String>,
        place: &str,
    ) -> Result<Self> {
        let texts: BTreeSet<&str> = texts.into_iter().collect();
        let text = match options.caption_column {
            Some(name) => texts.contains(name).then_some(name),
            None => {
                let known: Vec<&str> = TEXT.into_iter().filter(|n| texts.contains(n)).collect();
                if known.len() > 1 {
                    let list: Vec<&str> = all.iter().map(String::as_str).collect();
                    let problem = format!(
                        "{} may each be the captions (the columns are: {})",
                        known.join(" and "),
                        list.join(", ")
                    );
                    let remedy = "name the one that is meant as `caption_column`";
                    return Err(Error::format(place, problem, remedy));
                }
                known.first().copied()
            }
        };
        Ok(Self {
            text: text.map(str::to_owned),
            label: options.label_column.unwrap_or(LABEL).to_owned(),
            group: options.group_column.unwrap_or(GROUP).to_owned(),
            id: options.id_column.unwrap_or(ID).to_owned(),
        })
    }

    /// Captions, label and group of one JSON object.
    ///
    /// # Errors
    /// A group that is a list or an object: without it, what belongs together would be divided.
    pub fn about(&self, object: &Map<String, Value>, place: &str) -> Result<About> {
        let captions = self.text.as_ref().and_then(|k| object.get(k)).map(texts);
        let group = object.get(&self.group).filter(|v| !v.is_null());
        if let Some(Value::Array(_) | Value::Object(_)) = group {
            return Err(no_group(place, &self.group));
        }
        Ok(About {
            captions: captions.unwrap_or_default(),
            label: object.get(&self.label).and_then(scalar_text),
            // Nothing written is nothing said, as in an empty cell of a CSV file.
            group: group.and_then(scalar_text).filter(|t| !t.is_empty()),
            called: object
                .get(&self.id)
                .and_then(scalar_text)
                .filter(|t| !t.is_empty()),
            ..About::default()
        })
    }
}

/// What is said of a group column without single values.
pub(super) fn no_group(place: &str, column: &str) -> Error {
    Error::format(
        place,
        format!("`{column}` is not the name of a group"),
        "a group is named by one string or whole number",
    )
}

/// The keys of an object that hold something.
pub(super) fn keys(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    object
        .iter()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, _)| k.as_str())
}

/// Captions from a text, one to a line; empty lines are dropped.
pub(super) fn lines(text: &str) -> Vec<String> {
    trimmed(text.lines().map(str::to_owned))
}

/// Without the white space around them, and without empty ones.
pub(super) fn trimmed(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    texts
        .into_iter()
        .map(|t| t.trim().to_owned())
        .filter(|t| !t.is_empty())
        .collect()
}

/// A text field that may hold one string or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => trimmed(list.iter().filter_map(scalar_text)),
        other => trimmed(scalar_text(other)),
    }
}

/// A string, number or truth value as text.
fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

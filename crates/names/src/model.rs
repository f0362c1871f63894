//! What a model is, as files record it, and the models that others are made from, by the names of their folders.

use crate::defense::Defense;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What a model is, as plans, score files, trainings and reports record it under `defense`. Any text is one: a file may be of
/// another version, or of a model from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelKind {
    /// A model that an experiment names, or the pair.
    Of(Defense),
    /// A teacher or the model of a shard ([`Part`]): what others are made from.
    Part,
    /// The model of other images that attacks compare with.
    Reference,
    /// What all models of an experiment start from.
    Base,
    /// Whatever else is recorded; nothing, or `unknown`, where nothing is known.
    Foreign(String),
}

/// Recorded of teachers and of the models of shards.
const PART: &str = "teacher";
/// Recorded where nothing is known.
const UNKNOWN: &str = "unknown";
/// Ordinary distillation in files of the first versions.
const DISTILLATION: &str = "distillation";

impl ModelKind {
    /// Name of the model of other images, and what is recorded of it.
    pub const REFERENCE: &'static str = "reference";
    /// Name of the model that all start from, and what is recorded of it.
    pub const BASE: &'static str = "base";

    /// A model of which nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self::Foreign(UNKNOWN.into())
    }

    /// The defence, where the record says one.
    #[must_use]
    pub fn defense(&self) -> Option<Defense> {
        match self {
            Self::Of(defense) => Some(*defense),
            Self::Foreign(text) if text == DISTILLATION => Some(Defense::Kd),
            _ => None,
        }
    }

    /// Is it a model of this defence?
    #[must_use]
    pub fn is(&self, defense: Defense) -> bool {
        self.defense() == Some(defense)
    }

    /// Is nothing recorded, as of models from elsewhere?
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Foreign(text) if text.is_empty() || text == UNKNOWN)
    }

    /// As files record it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Of(defense) => defense.name(),
            Self::Part => PART,
            Self::Reference => Self::REFERENCE,
            Self::Base => Self::BASE,
            Self::Foreign(text) => text,
        }
    }
}

/// Of which nothing is recorded.
impl Default for ModelKind {
    fn default() -> Self {
        Self::Foreign(String::new())
    }
}

impl From<Defense> for ModelKind {
    fn from(defense: Defense) -> Self {
        Self::Of(defense)
    }
}

impl From<&str> for ModelKind {
    fn from(text: &str) -> Self {
        match text {
            PART => Self::Part,
            Self::REFERENCE => Self::Reference,
            Self::BASE => Self::Base,
            text => Defense::named(text).map_or_else(|| Self::Foreign(text.to_owned()), Self::Of),
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ModelKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ModelKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}

/// One half of the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Half {
    /// D1.
    First,
    /// D2.
    Second,
}

impl Half {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// 1 or 2, as files number it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }
}

/// A model that others are made from, by the name of its folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `teacher-1`, `teacher-2`; `OWN-teacher-1` of models with teachers of their own.
    Teacher {
        /// The half that it was trained on.
        half: Half,
        /// Whose teachers, where not everybody's.
        own: Option<String>,
    },
    /// `shard-1-of-4`.
    Shard {
        /// 1 to K.
        shard: usize,
        /// K.
        shards: usize,
    },
}

/// What the names of teachers end with, less the number.
const TEACHER: &str = "teacher-";
/// What the names of shards' models begin with.
const SHARD: &str = "shard-";

impl Part {
    /// The part that a folder is named after; `None` of other models.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        if let Some((before, number)) = name.rsplit_once(TEACHER) {
            let half = Half::ALL
                .into_iter()
                .find(|h| h.number().to_string() == number)?;
            let own = match before {
                "" => None,
                before => Some(before.strip_suffix('-')?.to_owned()),
            };
            return Some(Self::Teacher { half, own });
        }
        let (shard, shards) = name.strip_prefix(SHARD)?.split_once("-of-")?;
        let part = Self::Shard {
            shard: shard.parse().ok()?,
            shards: shards.parse().ok()?,
        };
        (part.to_string() == name).then_some(part)
    }

    /// The half that a teacher of this name was trained on; `None` of other models.
    #[must_use]
    pub fn half(name: &str) -> Option<Half> {
        match Self::of(name)? {
            Self::Teacher { half, .. } => Some(half),
            Self::Shard { .. } => None,
        }
    }

    /// The two teachers, `own` or everybody's.
    #[must_use]
    pub fn teachers(own: Option<&str>) -> [Self; 2] {
        Half::ALL.map(|half| Self::Teacher {
            half,
            own: own.map(str::to_owned),
        })
    }

    /// The models of K shards.
    #[must_use]
    pub fn shards(shards: usize) -> Vec<Self> {
        (1..=shards)
            .map(|shard| Self::Shard { shard, shards })
            .collect()
    }

    /// Could the name be taken for a teacher's, on a file system that does not tell upper from lower case?
    #[must_use]
    pub fn resembles_teacher(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        Self::teachers(None)
            .iter()
            .any(|teacher| name.ends_with(&teacher.to_string()))
    }

    /// Could the name be taken for that of a shard's model?
    #[must_use]
    pub fn resembles_shard(name: &str) -> bool {
        name.to_ascii_lowercase().starts_with(SHARD)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Teacher { half, own } => {
                let own = own
                    .as_ref()
                    .map_or_else(String::new, |own| format!("{own}-"));
                format!("{own}{TEACHER}{}", half.number())
            }
            Self::Shard { shard, shards } => format!("{SHARD}{shard}-of-{shards}"),
        };
        f.pad(&name)
    }
}

/// A model's name becomes part of file names and of tables.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_alphanumeric() || "-_. +".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!(
            "{name:?} is no name for a model: use letters, digits, spaces and - _ . +, e.g. --model base=models/base"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_recorded_as_it_was() {
        for text in [
            "none",
            "kd",
            "distillation",
            "teacher",
            "reference",
            "base",
            "",
            "unknown",
            "mine",
        ] {
            let kind = ModelKind::from(text);
            assert_eq!(kind.as_str(), text);
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<ModelKind>(&json).unwrap(), kind);
        }
        for defense in Defense::ALL {
            assert_eq!(ModelKind::from(defense.name()), ModelKind::Of(defense));
        }
        assert!(ModelKind::from("distillation").is(Defense::Kd));
        assert!(ModelKind::default().is_unknown() && ModelKind::unknown().is_unknown());
        for known in ["none", "teacher", "mine"] {
            assert!(!ModelKind::from(known).is_unknown(), "{known}");
        }
        assert_eq!(ModelKind::from("mine").defense(), None);
    }

    #[test]
    fn parts_have_one_name_each() {
        let own = Part::teachers(Some("any"));
        let shared = Part::teachers(None);
        let names: Vec<String> = shared.iter().chain(&own).map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["teacher-1", "teacher-2", "any-teacher-1", "any-teacher-2"]
        );
        for part in shared.into_iter().chain(own).chain(Part::shards(11)) {
            assert_eq!(Part::of(&part.to_string()), Some(part));
        }
        assert_eq!(Part::half("any-teacher-2"), Some(Half::Second));
        for other in [
            "teacher-3",
            "teacher-",
            "teacher-01",
            "xteacher-1",
            "teacher-1-raw",
            "shard-1",
            "shard-01-of-4",
            "shard-x-of-4",
            "student",
        ] {
            assert_eq!(Part::of(other), None, "{other}");
        }
        assert_eq!(Part::half("shard-1-of-2"), None);
        assert!(Part::resembles_teacher("Xteacher-1") && !Part::resembles_teacher("teacher-3"));
        assert!(Part::resembles_shard("Shard-x"));
    }
}

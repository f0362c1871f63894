//! Every defence, what holds of it, and the models that a run makes for it.

use crate::error::near;
use dualmd_files::shown;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A way to train (or to combine) models so that they give less away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Defense {
    /// `none`.
    #[default]
    None,
    /// `dualmd`.
    Dualmd,
    /// `distillmd`.
    Distillmd,
    /// `kd`.
    Kd,
    /// `dp-sgd`.
    DpSgd,
    /// `early-stopping`.
    EarlyStopping,
    /// `k-way`.
    KWay,
    /// `ensemble`.
    Ensemble,
    /// `synthetic`.
    Synthetic,
}

/// The models that a defence is made from: what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MadeFrom {
    /// None: the images are enough.
    Images,
    /// One ordinary model.
    OneModel,
    /// Two teachers on disjoint halves of the members.
    Teachers,
    /// K models on disjoint shards of the members.
    Shards,
}

/// What holds of a defence: its row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefenseFacts {
    /// Name in files and on the command line.
    pub name: &'static str,
    /// What a model of it is called in a report.
    pub title: &'static str,
    /// Does the title begin with a name, which keeps its capital inside a sentence?
    pub proper: bool,
    /// What stands before the title inside a sentence.
    pub article: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// How a model of it came about, in a few words.
    pub made_by: &'static str,
    /// Models that it needs.
    pub made_from: MadeFrom,
    /// Is it a training of its own? If not, the models that it is made from generate together.
    pub trains: bool,
    /// Is that training taught by the models it is made from?
    pub distilled: bool,
    /// What must not be published, beside the run folder.
    pub withheld: Option<&'static str>,
}

/// One training on the members.
const ORDINARY: DefenseFacts = DefenseFacts {
    name: "",
    title: "",
    proper: false,
    article: "the ",
    about: "",
    made_by: "",
    made_from: MadeFrom::Images,
    trains: true,
    distilled: false,
    withheld: None,
};
/// Made from two teachers.
const OF_TEACHERS: DefenseFacts = DefenseFacts {
    made_from: MadeFrom::Teachers,
    withheld: Some("the two teachers"),
    ..ORDINARY
};
/// Made from the models of shards.
const OF_SHARDS: DefenseFacts = DefenseFacts {
    made_from: MadeFrom::Shards,
    withheld: Some("the models of the shards"),
    ..ORDINARY
};

impl Defense {
    /// All, in the order of lists.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Dualmd,
        Self::Distillmd,
        Self::Kd,
        Self::DpSgd,
        Self::EarlyStopping,
        Self::KWay,
        Self::Ensemble,
        Self::Synthetic,
    ];

    /// The row of the table.
    #[must_use]
    pub const fn facts(self) -> DefenseFacts {
        match self {
            Self::None => DefenseFacts {
                name: "none",
                title: "Undefended model",
                about: "ordinary training on all members: what the defences are compared with",
                made_by: "trained on all members, no defence",
                ..ORDINARY
            },
            Self::Dualmd => DefenseFacts {
                name: "dualmd",
                title: "DualMD pair",
                proper: true,
                about: "two teachers on disjoint halves that alternate while sampling (Algorithm 1)",
                made_by: "two teachers alternate while sampling",
                trains: false,
                ..OF_TEACHERS
            },
            Self::Distillmd => DefenseFacts {
                name: "distillmd",
                title: "DistillMD student",
                proper: true,
                about: "one student of two teachers, each teaching the half it never saw (Algorithm 2)",
                made_by: "taught on each half by the teacher that never saw it",
                distilled: true,
                ..OF_TEACHERS
            },
            Self::Kd => DefenseFacts {
                name: "kd",
                title: "Ordinary distillation",
                article: "the student of ",
                about: "one student of one ordinary teacher: the baseline of the paper's Table 10",
                made_by: "taught on all members by one teacher that saw them all",
                made_from: MadeFrom::OneModel,
                distilled: true,
                withheld: Some("the teacher"),
                ..ORDINARY
            },
            Self::DpSgd => DefenseFacts {
                name: "dp-sgd",
                title: "DP-SGD model",
                proper: true,
                about: "ordinary training with clipped and noised gradients: the only one with a formal guarantee",
                made_by: "trained with clipped and noised gradients",
                withheld: Some("its seed, from which the noise could be computed"),
                ..ORDINARY
            },
            Self::EarlyStopping => DefenseFacts {
                name: "early-stopping",
                title: "Early-stopped model",
                about: "ordinary training, left where the loss on images kept for it was lowest",
                made_by: "left where other images were predicted best",
                ..ORDINARY
            },
            Self::KWay => DefenseFacts {
                name: "k-way",
                title: "K-way student",
                proper: true,
                about: "one student of K teachers on disjoint shards, each image taught by those that never saw it",
                made_by: "taught on each shard by the models that never saw it",
                distilled: true,
                ..OF_SHARDS
            },
            Self::Ensemble => DefenseFacts {
                name: "ensemble",
                title: "Ensemble of shards",
                about: "images drawn by the average of K models on disjoint shards",
                made_by: "the average of models of disjoint shards",
                trains: false,
                ..OF_SHARDS
            },
            Self::Synthetic => DefenseFacts {
                name: "synthetic",
                title: "Student of generated images",
                about: "ordinary training on images that a DualMD pair drew",
                made_by: "trained on images that two teachers drew in turns",
                ..OF_TEACHERS
            },
        }
    }

    /// Name in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What a model of it is called in a report.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().title
    }

    /// The models that it needs.
    #[must_use]
    pub const fn made_from(self) -> MadeFrom {
        self.facts().made_from
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl fmt::Display for Defense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no defence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown defence \"{}\"{}: there are {}", shown(name), crate::error::meant(near), Defense::ALL.map(Defense::name).join(", "))]
pub struct NoDefense {
    /// What was asked for.
    pub name: String,
    /// Names that are spelt like it, the nearest first.
    pub near: Vec<&'static str>,
}

impl FromStr for Defense {
    type Err = NoDefense;

    fn from_str(name: &str) -> Result<Self, NoDefense> {
        Self::named(name).ok_or_else(|| NoDefense {
            name: name.to_owned(),
            near: near(name, Self::ALL.map(Self::name)),
        })
    }
}

impl Serialize for Defense {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Defense {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defences_round_trip() {
        for (place, defense) in Defense::ALL.into_iter().enumerate() {
            assert_eq!(
                defense as usize, place,
                "the list is in the order of the enum"
            );
            assert_eq!(defense.name().parse(), Ok(defense));
            assert_eq!(defense.to_string(), defense.name());
            let json = serde_json::to_string(&defense).unwrap();
            assert_eq!(serde_json::from_str::<Defense>(&json).unwrap(), defense);
            assert_eq!(ModelKind::from(defense.name()), ModelKind::Of(defense));
        }
        let told = "distillm".parse::<Defense>().unwrap_err().to_string();
        assert_eq!(
            told,
            "unknown defence \"distillm\" (did you mean distillmd?): there are none, dualmd, distillmd, kd, dp-sgd, \
             early-stopping, k-way, ensemble, synthetic"
        );
        assert!(
            !"no"
                .parse::<Defense>()
                .unwrap_err()
                .to_string()
                .contains("kd?")
        );
    }

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

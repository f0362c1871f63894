//! Every defence, and what holds of it.

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
    /// `iet`.
    Iet,
    /// `ambient`.
    Ambient,
    /// `smp`.
    Smp,
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
    pub const ALL: [Self; 12] = [
        Self::None,
        Self::Dualmd,
        Self::Distillmd,
        Self::Kd,
        Self::DpSgd,
        Self::EarlyStopping,
        Self::KWay,
        Self::Ensemble,
        Self::Synthetic,
        Self::Iet,
        Self::Ambient,
        Self::Smp,
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
                withheld: Some("the secret beside its checkpoints, which names its noise"),
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
            Self::Iet => DefenseFacts {
                name: "iet",
                title: "Iterative ensemble",
                about: "one model trained on disjoint shards in turn, its weights averaged after every round (IET)",
                made_by: "trained on shards in turn, averaged after every round",
                ..ORDINARY
            },
            Self::Ambient => DefenseFacts {
                name: "ambient",
                title: "Ambient model",
                about: "ordinary training, but at high noise each image lies under noise of its own (ambient diffusion)",
                made_by: "shown images under noise of their own where there is much noise",
                ..ORDINARY
            },
            Self::Smp => DefenseFacts {
                name: "smp",
                title: "Model trained against an attacker",
                about: "ordinary training whose loss grows where an attacker, which learns along, tells members by their errors (SMP)",
                made_by: "trained against an attacker that learnt along with it",
                ..ORDINARY
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

    pub(crate) fn named(name: &str) -> Option<Self> {
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
        }
        let told = "distillm".parse::<Defense>().unwrap_err().to_string();
        assert_eq!(
            told,
            "unknown defence \"distillm\" (did you mean distillmd?): there are none, dualmd, distillmd, kd, dp-sgd, \
             early-stopping, k-way, ensemble, synthetic, iet, ambient, smp"
        );
        assert!(
            !"no"
                .parse::<Defense>()
                .unwrap_err()
                .to_string()
                .contains("kd?")
        );
    }
}

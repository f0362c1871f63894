//! What stands in the rows and columns of the paper's tables: one description for all of them.

use super::paper::{self, Metric};
use crate::What;
use Asked::{Attacks, Quality, Strongest};
use Models::{But, Only};

/// A table of the paper, with what we add to it.
#[derive(Debug)]
pub struct Layout {
    /// Its number in the paper.
    pub number: u8,
    /// Heading.
    pub title: &'static str,
    /// It is about text-to-image models.
    pub text: bool,
    /// What stands before the numbers.
    pub labels: Labels,
    /// Kinds of captions: each has its columns.
    pub captions: &'static [Captions],
    /// The columns of each image set and kind of captions.
    pub metrics: &'static [Metric],
    /// The rows.
    pub sections: &'static [Section],
}

/// What stands before the numbers of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// The method.
    Method,
    /// Attack and method.
    Attack,
    /// How many rounds the adaptive attack makes.
    Rounds,
}

/// How a text-to-image model was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captions {
    /// Each image has one caption. Models without a text belong here, too.
    One,
    /// One of several is drawn each time: prompt diversification.
    Any,
}

impl Captions {
    /// Name of a model in the study: with prompt diversification it ends in -any.
    pub fn model(self, model: &str) -> String {
        match self {
            Self::One => model.to_owned(),
            Self::Any => format!("{model}-any"),
        }
    }

    /// Of a model by its name in the study.
    fn of(model: &str) -> Self {
        match model.ends_with("-any") {
            true => Self::Any,
            false => Self::One,
        }
    }

    /// For heads of columns.
    pub fn title(self) -> &'static str {
        match self {
            Self::One => "w/o PD",
            Self::Any => "w/ PD",
        }
    }
}

/// Rows below a heading: each attack on each model.
#[derive(Debug)]
pub struct Section {
    /// Empty above the paper's own rows.
    pub heading: &'static str,
    /// The attacks.
    pub asked: Asked,
    /// The models.
    pub models: Models,
}

/// What is asked of the models of a section.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// Nothing: their images are looked at.
    Quality,
    /// Each of these attacks.
    Attacks(&'static [&'static str]),
    /// The attack that is the strongest on each.
    Strongest,
}

/// The models of a section.
#[derive(Debug, Clone, Copy)]
pub enum Models {
    /// These.
    Only(&'static [&'static str]),
    /// All that a study compares but these.
    But(&'static [&'static str]),
}

const fn section(heading: &'static str, asked: Asked, models: Models) -> Section {
    Section {
        heading,
        asked,
        models,
    }
}

const ALL: Models = But(&[]);
/// The rows of tables 2, 5 and 7.
const DEFENDED: &[&str] = &["baseline", "dualmd", "student"];
/// The rows of tables 3, 4 and 8.
const SINGLE: &[&str] = &["baseline", "student"];
/// The rows of table 10.
const DISTILLED: &[&str] = &["baseline", "kd", "student"];
/// The rows of table 9.
const PAIR: &[&str] = &["dualmd"];
/// The attack of table 10.
const SECMI: Asked = Attacks(&["secmi"]);
/// The two attacks of the paper's other white-box tables.
const OF_PAPER: Asked = Attacks(&["secmi", "pia"]);
const OTHER_ATTACKS: &str = "other attacks, not in the paper's table";
const STRONGEST: &str = "the strongest attack on each model";
const QUALITY: &[Metric] = &[Metric::Fd, Metric::Is, Metric::Excess];

/// The black-box attack that is compared with the paper's.
pub const LIKENESS: &str = "sim-mean";

/// Attacks on a pair with one round and more, every round beginning with the first model as in the paper.
pub const FIRST_BEGINS: &[&str] = &[LIKENESS, "rounds@2", "rounds@3", "rounds@6"];

/// The same with the second model.
pub const SECOND_BEGINS: &[&str] = &[
    "rounds@1+second",
    "rounds@2+second",
    "rounds@3+second",
    "rounds@6+second",
];

/// How many rounds one of these makes.
pub fn rounds(attack: &str) -> &str {
    let number = attack.strip_prefix("rounds@").unwrap_or("1");
    number.split('+').next().unwrap_or(number)
}

/// Attacks of table 3 beside the paper's.
const WHITE_BOX: Asked = Attacks(&[
    "secmi-nn",
    "secmi-nn+shadow",
    "loss",
    "sima",
    "reference",
    "gsa2",
    "gsa2+shadow",
]);

/// Attacks of tables 4 and 8 beside the paper's.
const TEXT_WHITE_BOX: Asked = Attacks(&[
    "pia-sd-2024",
    "loss",
    "sima",
    "pian",
    "clid-gap",
    "clid",
    "clid+shadow",
    "secmi-nn",
    "secmi-nn+shadow",
    "wen",
    "loss+captions",
    "sima+captions",
]);

/// Attacks of table 5 beside the paper's.
const BLACK_BOX: Asked = Attacks(&[
    "sim-mean+captions",
    "sim-mean+captions-mean",
    "pw-threshold",
    "pw-distribution",
    "pw-classifier",
    "pw-threshold+shadow",
    "pw-distribution+shadow",
    "pw-classifier+shadow",
    "nn",
]);

/// The rows of tables 4 and 8.
const WHITE_BOX_ROWS: &[Section] = &[
    section("", OF_PAPER, Only(SINGLE)),
    section(OTHER_ATTACKS, TEXT_WHITE_BOX, Only(SINGLE)),
    section(STRONGEST, Strongest, Only(SINGLE)),
];

/// What the tables of attacks on unconditional models have in common.
const PLAIN: Layout = Layout {
    number: 0,
    title: "",
    text: false,
    labels: Labels::Attack,
    captions: &[Captions::One],
    metrics: &[Metric::Auc, Metric::Tpr],
    sections: &[],
};

/// The same on text-to-image models, without and with prompt diversification.
const TEXT: Layout = Layout {
    text: true,
    captions: &[Captions::One, Captions::Any],
    ..PLAIN
};

/// All tables that are views of reports.
pub static LAYOUTS: [Layout; 8] = [
    Layout {
        number: 2,
        title: "Table 2: quality of the generated images",
        labels: Labels::Method,
        metrics: QUALITY,
        sections: &[
            section("", Quality, Only(DEFENDED)),
            section("not in the paper's table", Quality, But(DEFENDED)),
        ],
        ..PLAIN
    },
    Layout {
        number: 3,
        title: "Table 3: white-box attacks",
        sections: &[
            section("", OF_PAPER, Only(SINGLE)),
            section(
                "other methods, not in the paper's table",
                OF_PAPER,
                But(SINGLE),
            ),
            section(OTHER_ATTACKS, WHITE_BOX, ALL),
            section(STRONGEST, Strongest, ALL),
        ],
        ..PLAIN
    },
    Layout {
        number: 4,
        title: "Table 4: white-box attacks on text-to-image models",
        captions: PLAIN.captions,
        sections: WHITE_BOX_ROWS,
        ..TEXT
    },
    Layout {
        number: 5,
        title: "Table 5: black-box attacks, without and with prompt diversification",
        sections: &[
            section("", Attacks(&[LIKENESS]), Only(DEFENDED)),
            section("other black-box attacks", BLACK_BOX, Only(DEFENDED)),
        ],
        ..TEXT
    },
    Layout {
        number: 7,
        title: "Table 7 and the right of Table 2: quality of the images for the members' prompts",
        labels: Labels::Method,
        metrics: QUALITY,
        sections: &[section("", Quality, Only(DEFENDED))],
        ..TEXT
    },
    Layout {
        number: 8,
        title: "Table 8: white-box attacks, without and with prompt diversification",
        sections: WHITE_BOX_ROWS,
        ..TEXT
    },
    Layout {
        number: 9,
        title: "Table 9: the adaptive attack of A.5 on DualMD",
        labels: Labels::Rounds,
        metrics: &[Metric::Auc, Metric::Tpr, Metric::D1, Metric::D2],
        sections: &[
            section("", Attacks(FIRST_BEGINS), Only(PAIR)),
            section(
                "every round begins with the second model",
                Attacks(SECOND_BEGINS),
                Only(PAIR),
            ),
            section(
                "asked with every caption, the best likeness",
                Attacks(&["sim-mean+captions", "rounds@3+captions"]),
                Only(PAIR),
            ),
        ],
        ..TEXT
    },
    Layout {
        number: 10,
        title: "Table 10: SecMI against distillation",
        sections: &[
            section("", SECMI, Only(DISTILLED)),
            section("not in the paper's table", SECMI, But(DISTILLED)),
            section(
                "with a classifier on the same differences",
                Attacks(&["secmi-nn"]),
                ALL,
            ),
            section(
                "with one that learnt on a shadow model",
                Attacks(&["secmi-nn+shadow"]),
                ALL,
            ),
        ],
        ..PLAIN
    },
];

/// The table of that name.
pub fn of(what: What) -> Option<&'static Layout> {
    numbered(what.as_str().strip_prefix("table")?.parse().ok()?)
}

/// The table with that number in the paper.
pub fn numbered(number: u8) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.number == number)
}

impl Layout {
    /// The columns of which the paper has numbers.
    pub fn printed(&self, captions: Captions) -> Vec<Metric> {
        let there = |metric: &Metric| {
            paper::numbers(self.number)
                .any(|n| n.metric == metric.key() && Captions::of(n.model) == captions)
        };
        self.metrics.iter().copied().filter(there).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_names::AttackSpec;

    #[test]
    fn the_tables_name_attacks_that_there_are() {
        let mut names = 0;
        for section in LAYOUTS.iter().flat_map(|layout| layout.sections) {
            let Attacks(attacks) = section.asked else {
                continue;
            };
            for name in attacks {
                let spec: AttackSpec = name.parse().unwrap();
                assert_eq!(spec.to_string(), *name);
                names += 1;
            }
        }
        assert!(names > 60, "{names}");
    }

    #[test]
    fn every_table_of_reports_has_a_layout() {
        let all = [
            What::Table2,
            What::Table3,
            What::Table4,
            What::Table5,
            What::Table7,
            What::Table8,
            What::Table9,
            What::Table10,
        ];
        let numbers = all.map(|what| of(what).unwrap().number);
        assert_eq!(numbers, LAYOUTS.each_ref().map(|layout| layout.number));
        for what in all {
            assert_eq!(of(what).unwrap().text, what.is_text());
        }
        assert!(of(What::Table1).is_none() && of(What::Fig5).is_none());
    }

    #[test]
    fn rounds_are_counted() {
        for attacks in [FIRST_BEGINS, SECOND_BEGINS] {
            let counts: Vec<&str> = attacks.iter().map(|attack| rounds(attack)).collect();
            assert_eq!(counts, ["1", "2", "3", "6"]);
        }
        assert_eq!(rounds("rounds@3+captions"), "3");
    }
}

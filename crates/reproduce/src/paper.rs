//! The paper's numbers, as `data/paper.csv` has them.

use std::sync::LazyLock;

/// What a number is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Frechet distance; the paper's is FID.
    Fd,
    /// Frechet distance at equal numbers less that of real images to real images; not in the paper.
    Excess,
    /// Inception score.
    Is,
    /// Area under the ROC curve.
    Auc,
    /// The same of the members of D1 alone; not in the paper.
    D1,
    /// The same of D2.
    D2,
    /// Share of members found at 1 % false alarms.
    Tpr,
}

impl Metric {
    /// Its key in files, its column in the paper, and its digits after the point.
    const fn facts(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::Fd => ("frechet", "FID", 2),
            Self::Excess => ("frechet_excess", "FID", 2),
            Self::Is => ("inception_score", "IS", 2),
            Self::Auc => ("auc", "AUC", 3),
            Self::D1 => ("auc_d1", "AUC D1", 3),
            Self::D2 => ("auc_d2", "AUC D2", 3),
            Self::Tpr => ("tpr_at_1_percent_fpr", "TPR@1%FPR", 3),
        }
    }

    /// As files name it.
    pub const fn key(self) -> &'static str {
        self.facts().0
    }

    /// Head of its column in the paper.
    pub const fn column(self) -> &'static str {
        self.facts().1
    }

    /// Digits after the point.
    pub const fn digits(self) -> usize {
        self.facts().2
    }

    /// A share of pairs or of members, from 0 to 1.
    pub const fn is_share(self) -> bool {
        matches!(self, Self::Auc | Self::D1 | Self::D2 | Self::Tpr)
    }
}

/// A number of the paper.
#[derive(Debug)]
pub struct Number {
    /// The table it is compared in.
    pub table: u8,
    /// Where it was measured: an image set as the paper names it, or a set and a version of Stable Diffusion.
    pub place: &'static str,
    /// Attack as this program names it; none for image quality.
    pub attack: Option<&'static str>,
    /// Model as the study names it.
    pub model: &'static str,
    /// What it is of, as this program's files name it.
    pub metric: &'static str,
    /// The number.
    pub value: f64,
}

static NUMBERS: LazyLock<Vec<Number>> =
    LazyLock::new(|| read(include_str!("../data/paper.csv")).unwrap_or_default());

/// Reads the file: after four columns that say what a row is of, one for each metric. None where a row is not so.
fn read(text: &'static str) -> Option<Vec<Number>> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let metrics: Vec<&str> = lines.next()?.split(',').skip(4).collect();
    let mut all = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let [table, place, attack, model, ref values @ ..] = cells[..] else {
            return None;
        };
        if values.len() != metrics.len() {
            return None;
        }
        let table = table.parse().ok()?;
        for (&metric, &value) in metrics.iter().zip(values).filter(|(_, v)| !v.is_empty()) {
            all.push(Number {
                table,
                place,
                attack: Some(attack).filter(|a| !a.is_empty()),
                model,
                metric,
                value: value.parse().ok()?,
            });
        }
    }
    Some(all)
}

/// All numbers of a table.
pub fn numbers(table: u8) -> impl Iterator<Item = &'static Number> {
    NUMBERS.iter().filter(move |n| n.table == table)
}

/// Where the numbers of a table were measured, in its order.
pub fn places(table: u8) -> Vec<&'static str> {
    let mut out = Vec::new();
    for number in numbers(table) {
        if !out.contains(&number.place) {
            out.push(number.place);
        }
    }
    out
}

/// (place, number) wherever the paper has it, in its order; `metric` as files name it.
pub fn of(table: u8, attack: Option<&str>, model: &str, metric: &str) -> Vec<(&'static str, f64)> {
    numbers(table)
        .filter(|n| (n.attack, n.model, n.metric) == (attack, model, metric))
        .map(|n| (n.place, n.value))
        .collect()
}

/// The same at one place.
pub fn at(table: u8, place: &str, attack: Option<&str>, model: &str, metric: &str) -> Option<f64> {
    let mut all = of(table, attack, model, metric).into_iter();
    all.find(|(own, _)| *own == place).map(|n| n.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_names::AttackSpec;

    /// Of every table one cell, and how many there are: a row that cannot be read would leave none.
    #[test]
    fn the_papers_cells() {
        let counts = [1, 2, 3, 4, 5, 7, 8, 9, 10].map(|table| numbers(table).count());
        assert_eq!(counts, [8, 6, 48, 32, 12, 24, 16, 8, 12]);
        let values = |table, attack, model, metric| -> Vec<f64> {
            let found = of(table, attack, model, metric);
            found.into_iter().map(|(_, v)| v).collect()
        };
        let (secmi, pia) = (Some("secmi"), Some("pia"));
        assert_eq!(values(1, None, "student", "clip_score"), [0.28]);
        assert_eq!(values(2, None, "dualmd", "frechet"), [21.389]);
        let tiny = |model| at(3, "Tiny-ImageNet", pia, model, "auc");
        assert_eq!(
            [tiny("baseline"), tiny("student")],
            [Some(0.84), Some(0.56)]
        );
        let four = values(4, secmi, "baseline", "auc");
        assert_eq!(four, [0.99, 0.98, 0.93, 0.90]);
        let tpr = "tpr_at_1_percent_fpr";
        assert_eq!(values(5, Some("sim-mean"), "student-any", tpr), [0.005]);
        assert_eq!(values(7, None, "dualmd", "inception_score")[3], 2.55);
        assert_eq!(values(8, pia, "baseline-any", "auc"), [0.61]);
        assert_eq!(values(9, Some("rounds@3"), "dualmd-any", tpr), [0.048]);
        assert_eq!(at(10, "CIFAR10", secmi, "kd", tpr), Some(0.06));
        assert_eq!(at(10, "CIFAR100", secmi, "kd", tpr), None);
        assert!(values(4, pia, "baseline-any", "auc").is_empty());
        let sets = ["CIFAR10", "CIFAR100", "Tiny-ImageNet", "STL10-Unlabeled"];
        assert_eq!(places(3), sets);
    }

    #[test]
    fn a_damaged_row_is_noticed() {
        assert!(read("table,place,attack,model,auc\n3,x,pia,student").is_none());
        assert!(read("table,place,attack,model,auc\n3,x,pia,student,high").is_none());
        let empty = read("# why\ntable,place,attack,model,auc");
        assert!(empty.is_some_and(|numbers| numbers.is_empty()));
    }

    #[test]
    fn attacks_are_there() {
        for name in NUMBERS.iter().filter_map(|n| n.attack) {
            let spec: AttackSpec = name.parse().unwrap();
            assert_eq!(spec.to_string(), name);
        }
    }
}

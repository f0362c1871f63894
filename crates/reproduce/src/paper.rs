//! The paper's numbers: "Dual-Model Defense: Safeguarding Diffusion Models from Membership Inference Attacks through Disjoint
//! Data Splitting", tables 2 and 3 (section 4) and 10 (appendix A.6), as printed there.

use dualmd_names::BaseAttack;

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

/// A number of the paper.
#[derive(Debug)]
pub struct Number {
    /// The table.
    pub table: u8,
    /// Image set as the paper names it.
    pub dataset: &'static str,
    /// Attack as this program names it; none in table 2.
    pub attack: Option<&'static str>,
    /// Model as the study names it.
    pub model: &'static str,
    /// What it is of.
    pub metric: Metric,
    /// The number.
    pub value: f64,
}

/// Image sets of the unconditional experiments, in the order of table 3.
pub const DATASETS: [&str; 4] = ["CIFAR10", "CIFAR100", "Tiny-ImageNet", "STL10-Unlabeled"];

/// Table 2, CIFAR10: (model, FID, IS).
const TABLE_2: [(&str, f64, f64); 3] = [
    ("baseline", 14.127, 8.586),
    ("dualmd", 21.389, 8.011),
    ("student", 14.192, 8.391),
];

/// A line of table 3.
type Line = (&'static str, &'static str, [(f64, f64); 4]);

/// Table 3: (attack, model, (AUC, TPR at 1 % FPR) in the order of [`DATASETS`]). The attack that the paper calls SecMIA is
/// compared with this program's `secmi` and `secmi-nn`; its size suggests the latter.
const TABLE_3: [Line; 4] = [
    (
        "secmi",
        "baseline",
        [(0.93, 0.35), (0.96, 0.45), (0.96, 0.53), (0.94, 0.30)],
    ),
    (
        "secmi",
        "student",
        [(0.59, 0.03), (0.61, 0.02), (0.57, 0.02), (0.58, 0.02)],
    ),
    (
        "pia",
        "baseline",
        [(0.89, 0.13), (0.88, 0.14), (0.84, 0.08), (0.83, 0.09)],
    ),
    (
        "pia",
        "student",
        [(0.59, 0.02), (0.59, 0.03), (0.56, 0.02), (0.58, 0.02)],
    ),
];

/// Table 10, SecMI on CIFAR10: (model, AUC, TPR at 1 % FPR).
const TABLE_10: [(&str, f64, f64); 3] = [
    ("baseline", 0.93, 0.35),
    ("kd", 0.74, 0.06),
    ("student", 0.59, 0.03),
];

/// All of them.
pub fn numbers() -> Vec<Number> {
    let mut all = Vec::new();
    let mut add = |table, dataset, attack, model, pairs: [(Metric, f64); 2]| {
        all.extend(pairs.map(|(metric, value)| Number {
            table,
            dataset,
            attack,
            model,
            metric,
            value,
        }));
    };
    for (model, fid, is) in TABLE_2 {
        let pairs = [(Metric::Fd, fid), (Metric::Is, is)];
        add(2, DATASETS[0], None, model, pairs);
    }
    for (attack, model, cells) in TABLE_3 {
        for (dataset, (auc, tpr)) in DATASETS.into_iter().zip(cells) {
            let pairs = [(Metric::Auc, auc), (Metric::Tpr, tpr)];
            add(3, dataset, Some(attack), model, pairs);
            if BaseAttack::named(attack) == Some(BaseAttack::SecMi) {
                add(3, dataset, Some("secmi-nn"), model, pairs);
            }
        }
    }
    for (model, auc, tpr) in TABLE_10 {
        let pairs = [(Metric::Auc, auc), (Metric::Tpr, tpr)];
        for attack in ["secmi", "secmi-nn"] {
            add(10, DATASETS[0], Some(attack), model, pairs);
        }
    }
    all
}

/// One number, where the paper has it.
pub fn number(
    table: u8,
    dataset: &str,
    attack: Option<&str>,
    model: &str,
    metric: Metric,
) -> Option<f64> {
    numbers()
        .into_iter()
        .find(|n| {
            (n.table, n.dataset, n.attack, n.model, n.metric)
                == (table, dataset, attack, model, metric)
        })
        .map(|n| n.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_cells() {
        let tiny = |model| number(3, "Tiny-ImageNet", Some("pia"), model, Metric::Auc);
        assert_eq!(
            (tiny("baseline"), tiny("student")),
            (Some(0.84), Some(0.56))
        );
        assert_eq!(
            number(2, "CIFAR10", None, "dualmd", Metric::Fd),
            Some(21.389)
        );
        assert_eq!(
            number(10, "CIFAR10", Some("secmi"), "kd", Metric::Tpr),
            Some(0.06)
        );
        assert_eq!(
            number(10, "CIFAR100", Some("secmi"), "kd", Metric::Tpr),
            None
        );
    }
}

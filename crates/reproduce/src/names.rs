//! Names of methods, attacks and columns, as the paper has them where it has them.

use super::paper::Metric;
use super::read::Evidence;
use dualmd_names::{AttackSpec, BaseAttack, ModelKind};

/// (model as the study names it, name in the tables): those of the paper first, then the others.
const METHODS: [(&str, &str); 16] = [
    ("baseline", "No defense"),
    ("dualmd", "DualMD"),
    ("student", "DistillMD"),
    ("kd", "Normal KD"),
    ("early-stopping", "Early stopping"),
    ("k-way-4", "K-way, K = 4"),
    ("ensemble-4", "Ensemble of 4"),
    ("synthetic", "Generated images"),
    ("weight-decay", "Weight decay"),
    ("augmentation", "Augmentation"),
    ("skip-easy", "Skipping easy images"),
    ("iet", "Iterative ensemble"),
    ("ambient", "Ambient diffusion"),
    ("smp", "Against an attacker"),
    ("dp-sgd", "DP-SGD"),
    ("dp-sgd-weak", "DP-SGD, little noise"),
];

/// The undefended model.
pub const BASELINE: &str = "baseline";

/// The method of a model: the paper's name, else the model's own.
pub fn method(model: &str) -> String {
    METHODS
        .iter()
        .find(|(name, _)| *name == model)
        .map_or_else(|| model.to_owned(), |(_, method)| (*method).to_owned())
}

/// Models that a table compares, the known ones first: all but the teachers, whose members are only half the members, and the
/// undefended model at other numbers of steps.
pub fn compared(evidence: &Evidence) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for set in &evidence.sets {
        let baseline = set.baseline().map(|m| m.name.as_str());
        let line = set.undefended();
        for model in set.models() {
            let name = model.name.as_str();
            let station = Some(name) != baseline && line.iter().any(|(n, _)| n == name);
            let other = station || model.defense == ModelKind::Part;
            if !other && !found.contains(&model.name) {
                found.push(model.name.clone());
            }
        }
    }
    // Stable: unknown ones stay in the order of the report.
    found.sort_by_key(|name| rank(name));
    found
}

/// Has the model a method's name?
pub fn is_method(model: &str) -> bool {
    METHODS.iter().any(|(name, _)| *name == model)
}

/// Place of a model among the methods of a table: the known ones first.
pub fn rank(model: &str) -> usize {
    let known = METHODS.iter().position(|(name, _)| *name == model);
    known.unwrap_or(METHODS.len())
}

/// An attack as the tables name it.
pub fn attack(name: &str) -> String {
    use BaseAttack::{
        Gsa1, Gsa2, Loss, Nearest, Pfami, Pia, Pian, ReDiffuse, Reference, SecMi, SecMiNn, SimA,
    };
    let Ok(spec) = name.parse::<AttackSpec>() else {
        return name.to_owned();
    };
    let (plain, learnt) = match spec.is_shadowed() {
        true => (spec.not_shadowed(), ", learnt on a shadow"),
        false => (spec, ""),
    };
    let known = match plain.base() {
        _ if plain != AttackSpec::from(plain.base()) => None,
        Reference => Some("Reference model"),
        Nearest => Some("Nearest image"),
        base @ (Loss | SecMi | SecMiNn | Pia | Pian | SimA | Pfami | ReDiffuse | Gsa1 | Gsa2) => {
            Some(base.title())
        }
        _ => None,
    };
    let title = known.map_or_else(|| plain.to_string(), str::to_owned);
    title + learnt
}

/// What a distance of these features is called; FID only where it is that.
fn features(evidence: &Evidence) -> String {
    match evidence.features().as_slice() {
        [] => "features".into(),
        all => all
            .iter()
            .map(|name| match name.as_str() {
                name if name.starts_with("efflite0") => "EffLite0".to_owned(),
                name => name.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("/"),
    }
}

/// Head of a column.
pub fn column(metric: Metric, evidence: &Evidence) -> String {
    let features = features(evidence);
    let fid = features == "inception-2048";
    // What public codes print is FID to all training images and IS in ten splits; anything else says what it is.
    let published = evidence.published_quality();
    match metric {
        Metric::Fd if fid && published => "FID".into(),
        Metric::Fd if fid => "FID to held-out images".into(),
        Metric::Fd if published => format!("FD-{features} to all training images"),
        Metric::Fd => format!("FD-{features}"),
        Metric::Excess if fid => "FID excess".into(),
        Metric::Excess => format!("FD-{features} excess"),
        Metric::Is if fid && published => "IS".into(),
        Metric::Is if fid => "IS in one split".into(),
        Metric::Is => format!("IS-{features}"),
        Metric::Auc => "AUC".into(),
        Metric::D1 => "AUC D1".into(),
        Metric::D2 => "AUC D2".into(),
        Metric::Tpr => "TPR@1%FPR".into(),
    }
}

/// Short names for one column of all four.
pub fn short(dataset: &str) -> &str {
    match dataset {
        "CIFAR10" => "C10",
        "CIFAR100" => "C100",
        "Tiny-ImageNet" => "Tiny",
        "STL10-Unlabeled" => "STL",
        other => other,
    }
}

/// As the paper prints it: at least two digits.
pub fn printed(value: f64) -> String {
    let text = format!("{value}");
    match text.split_once('.') {
        Some((_, digits)) if digits.len() >= 2 => text,
        _ => format!("{value:.2}"),
    }
}

//! One recipe trained several times: how much of a result is the training seed?

use dualmd_stats::combine_seeds;

use crate::report::{Combined, Measurement, ModelReport, Repeated, RepeatedAttack};

/// Half the width of a 95 % interval in standard errors.
const Z: f64 = 1.959_963_985;

/// All recipes of which at least two trainings share an attack.
pub fn repeated(models: &[ModelReport]) -> Vec<Repeated> {
    let mut bases: Vec<&str> = Vec::new();
    for model in models.iter().filter(|m| m.attacks_run() > 0) {
        if !bases.contains(&model.base()) {
            bases.push(model.base());
        }
    }
    bases
        .into_iter()
        .filter_map(|b| recipe(b, models))
        .collect()
}

fn recipe(base: &str, models: &[ModelReport]) -> Option<Repeated> {
    let trainings: Vec<&ModelReport> = models
        .iter()
        .filter(|m| m.base() == base && m.attacks_run() > 0)
        .collect();
    let mut attacks: Vec<(&str, &str)> = Vec::new();
    for r in trainings.iter().flat_map(|m| &m.results) {
        if attacks.iter().all(|a| a.0 != r.attack) {
            attacks.push((&r.attack, &r.title));
        }
    }
    let attacks: Vec<RepeatedAttack> = attacks
        .into_iter()
        .filter_map(|(name, title)| attack(name, title, &trainings))
        .collect();
    (!attacks.is_empty()).then(|| Repeated {
        base: base.to_owned(),
        models: trainings.iter().map(|m| m.name.clone()).collect(),
        attacks,
    })
}

fn attack(name: &str, title: &str, trainings: &[&ModelReport]) -> Option<RepeatedAttack> {
    let measured: Vec<(&str, &Measurement)> = trainings
        .iter()
        .filter_map(|m| {
            let result = m.results.iter().find(|r| r.attack == name)?;
            Some((m.name.as_str(), result.view(m.primary)?))
        })
        .collect();
    if measured.len() < 2 {
        return None;
    }
    let aucs = measured.iter().map(|(n, m)| (*n, m.auc, m.auc_ci));
    let rates: Option<Vec<_>> = measured
        .iter()
        .map(|(n, m)| {
            let mut points = m.tpr_at_fpr.iter();
            let p = points.find(|p| p.fpr == 0.01 && p.measurable)?;
            Some((*n, p.tpr, p.tpr_ci_bootstrap.unwrap_or(p.tpr_ci)))
        })
        .collect();
    Some(RepeatedAttack {
        attack: name.to_owned(),
        title: title.to_owned(),
        auc: combine(aucs)?,
        tpr_at_1_percent: rates.and_then(|r| combine(r.into_iter())),
    })
}

fn combine<'a>(values: impl Iterator<Item = (&'a str, f64, [f64; 2])>) -> Option<Combined> {
    let values: Vec<_> = values.collect();
    let numbers: Vec<f64> = values.iter().map(|v| v.1).collect();
    let within: Vec<f64> = values
        .iter()
        .map(|(_, _, ci)| (ci[1] - ci[0]) / (2.0 * Z))
        .collect();
    Some(Combined {
        summary: combine_seeds(&numbers, &within).ok()?,
        values: values.iter().map(|v| (v.0.to_owned(), v.1)).collect(),
    })
}

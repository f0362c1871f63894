//! What was not tested: as prominent as what was.

use crate::format::{fpr_name, list};
use crate::report::Report;

/// Attacks a reader may ask for, by the names that score files would use, and what to call them when they were not run.
const CATALOGUE: [(&str, &str); 9] = [
    ("gsa", "gradients (GSA)"),
    ("lira", "shadow models (LiRA)"),
    ("secmi-nn", "trained classifiers (SecMI-NNs)"),
    ("pfami", "fluctuation under crops (PFAMI)"),
    ("rediffuse", "image variation (ReDiffuse)"),
    ("likelihood", "likelihood"),
    ("teacher-difference", "the difference of the two teachers"),
    ("mmd", "tests on whole sets of images (MMD)"),
    ("nn", "distance to generated images"),
];

/// Threats without a test, and what the tests that were run cannot resolve.
pub fn not_tested(report: &Report) -> Vec<String> {
    let results = || report.models.iter().flat_map(|m| &m.results);
    let run = |name: &str| results().any(|r| r.attack == name && r.pooled.is_some());
    let pair = report.models.iter().any(|m| m.defense == "dualmd");
    let absent: Vec<String> = CATALOGUE
        .iter()
        .filter(|(name, _)| !run(name) && (pair || *name != "teacher-difference"))
        .map(|(_, text)| (*text).to_owned())
        .collect();
    let mut out = Vec::new();
    if !absent.is_empty() {
        out.push(format!("Attacks not run: {}.", list(&absent)));
    }
    let unknown = results().any(|r| r.access == "unknown");
    // Without the attacks' description nobody can say which kinds are absent.
    for access in ["white-box", "black-box"].into_iter().filter(|_| !unknown) {
        if !results().any(|r| r.access == access && r.pooled.is_some()) {
            let who = if access == "white-box" {
                "who hold the weights"
            } else {
                "who only see generated images"
            };
            out.push(format!(
                "Attackers {who} ({access}): no attack of this kind gave a result."
            ));
        }
    }
    let mut failed: Vec<String> = results()
        .filter(|r| r.status != "ok")
        .map(|r| r.title.clone())
        .collect();
    failed.sort();
    failed.dedup();
    if !failed.is_empty() {
        out.push(format!(
            "Attacks that failed on at least one model: {}. The reasons stand in the table.",
            list(&failed)
        ));
    }
    if let Some(n) = results()
        .filter_map(|r| r.pooled.as_ref())
        .map(|m| m.n_nonmembers)
        .max()
    {
        let rates: Vec<f64> = crate::measure::FPRS
            .iter()
            .copied()
            .filter(|f| f * (n as f64) < 1.0)
            .collect();
        if let Some(largest) = rates.iter().copied().reduce(f64::max) {
            out.push(format!(
                "False-alarm rates of {} and below: with {n} non-members they cannot be measured ({} would be needed).",
                fpr_name(largest),
                crate::format::grouped((1.0 / largest).ceil() as i64)
            ));
        }
    }
    out.push("Other trainings: each model was trained once, and the intervals cover the choice of images, not of seeds.".into());
    if report
        .models
        .iter()
        .any(|m| m.defense == "dualmd" || m.defense == "distillmd")
    {
        out.push("A worst-case bound: DualMD and DistillMD come with no formal guarantee (no ε), whatever the numbers here are.".into());
    }
    out
}

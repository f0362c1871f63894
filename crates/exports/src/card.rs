//! A block for the model card of Hugging Face.

use serde_json::{Value, json};

use crate::markdown::{self, block, text};
use crate::{called, corrected, found, of_name, said, strongest, version};
use dualmd_audit::facts::{by_whom, plan, when};
use dualmd_audit::format::{grouped, interval, rate};
use dualmd_audit::release::{self, is_product};
use dualmd_audit::report::{ModelReport, Released, Report};

/// The report as a block for a model card of Hugging Face: the entry `model-index` of its front matter, in YAML, with the numbers of every
/// model that could be given out, and a section of Markdown "Membership-inference audit" with the results in words, the limits, the date,
/// the program's version and the command that repeats it. For a card that has a front matter already the entry is to be put into it. The
/// command stands there as it was given, with its paths. Of a void report there are no numbers and no front matter.
#[must_use]
pub fn model_card(report: &Report) -> String {
    let section = section(report);
    match index(report) {
        Some(index) => format!("---\nmodel-index:\n{index}---\n\n{section}"),
        None => section,
    }
}

/// The entries of `model-index`, one for each model.
fn index(report: &Report) -> Option<String> {
    if report.is_void() {
        return None;
    }
    let mut models: Vec<&ModelReport> = report.models.iter().filter(|m| is_product(m)).collect();
    if models.is_empty() {
        models = report.models.iter().collect();
    }
    let entries: Vec<String> = models
        .into_iter()
        .filter_map(|m| entry(report, m))
        .collect();
    (!entries.is_empty()).then(|| entries.concat())
}

/// A string of JSON is one of YAML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// One number of an entry: its kind, its name for people, its value.
type Metric = (String, String, f64);

fn entry(report: &Report, model: &ModelReport) -> Option<String> {
    let mut metrics: Vec<Metric> = Vec::new();
    for line in release::of_model(&report.verdict.releases, &model.name) {
        let Some(s) = line.tried() else {
            continue;
        };
        let (kind, by) = match line.what {
            Released::Images => ("images", "generated images"),
            Released::Queries => ("queries", "queries"),
            Released::Weights => ("weights", "the weights"),
        };
        metrics.push((
            format!("membership_inference_auc_{kind}"),
            format!(
                "AUC of the strongest attack by {by} ({}; 95 % interval, widened for the choice among the attacks, {})",
                s.title,
                interval(s.auc_ci)
            ),
            s.auc,
        ));
        if let Some(f) = line.found.filter(|f| f.fpr < 0.011 && f.total > 0) {
            metrics.push((
                format!("membership_inference_tpr_at_1_percent_fpr_{kind}"),
                format!(
                    "share of the training images found by {by} at 1 % false alarms ({} of {})",
                    f.found, f.total
                ),
                f.found as f64 / f.total as f64,
            ));
        }
    }
    let mut sizes = None;
    if let Some((attack, m)) = strongest(model) {
        sizes = Some((m.n_members, m.n_nonmembers));
        if metrics.is_empty() {
            metrics.push((
                "membership_inference_auc".to_owned(),
                format!(
                    "AUC of the strongest attack ({}; 95 % interval, widened for the choice among the attacks, {})",
                    attack.title,
                    interval(corrected(m))
                ),
                m.auc,
            ));
            if let Some((tp, n)) = found(m) {
                metrics.push((
                    "membership_inference_tpr_at_1_percent_fpr".to_owned(),
                    format!("share of the training images found at 1 % false alarms ({tp} of {n})"),
                    tp as f64 / n.max(1) as f64,
                ));
            }
        }
    }
    let utility = model.image_utility.as_ref();
    if let Some((utility, excess)) = utility.and_then(|u| Some((u, u.excess?))) {
        metrics.push((
            "excess_frechet_distance".to_owned(),
            format!(
                "Fréchet distance beyond that of real images by the features {}",
                utility.features
            ),
            excess,
        ));
    }
    let (members, others) = sizes?;
    let task = match draws_for_texts(report, model) {
        true => "text-to-image",
        false => "unconditional-image-generation",
    };
    let data = format!(
        "{} training images, {} unseen images",
        grouped(members as i64),
        grouped(others as i64)
    );
    let mut out = format!(
        "- name: {}\n  results:\n  - task:\n      type: {task}\n    dataset:\n      type: membership-inference\n      name: {}\n    metrics:\n",
        quoted(&called(model)),
        quoted(&data)
    );
    for (kind, name, value) in metrics.iter().filter(|m| m.2.is_finite()) {
        out.push_str(&format!(
            "    - type: {kind}\n      name: {}\n      value: {value}\n",
            quoted(name)
        ));
    }
    Some(out)
}

/// Does a model take texts? Its network's configuration says it, and what it drew.
fn draws_for_texts(report: &Report, model: &ModelReport) -> bool {
    let class = |config: Option<&Value>| {
        config.and_then(|c| c.get("_class_name")) == Some(&json!("UNet2DConditionModel"))
    };
    let audited = report.run.get("models").and_then(Value::as_array);
    let mut audited = audited.into_iter().flatten();
    let own = audited.find(|m| m.get("name").and_then(Value::as_str) == Some(&model.name));
    class(report.run.pointer("/model/config"))
        || class(own.and_then(|m| m.pointer("/model/config")))
        || model.copying.iter().any(|c| c.own_prompt.is_some())
        || !model.pictures.prompted.is_empty()
}

fn section(report: &Report) -> String {
    let mut out = String::from("## Membership-inference audit\n\n");
    let made = when(report).map_or_else(String::new, |d| format!(" on {}", text(&d)));
    let by = by_whom(report).map_or_else(String::new, |a| format!(" by {}", text(&a)));
    out.push_str(&format!(
        "Audited{made}{by} with dualmd {}. The question: can someone who already has a picture find out whether it was among the training images?\n\n",
        text(&version(report))
    ));
    if let Some(reason) = &report.verdict.void {
        out.push_str(&format!(
            "**The audit is void: no result follows from it.** {}\n",
            text(reason)
        ));
        return out;
    }
    let verdict = &report.verdict;
    out.push_str("### Results\n\n");
    let summary: Vec<String> = match verdict.summary.is_empty() {
        true => said(report)
            .iter()
            .map(|s| format!("{}: {}. {}", called(s.model), s.words, s.text))
            .collect(),
        false => verdict.summary.clone(),
    };
    for sentence in &summary {
        out.push_str(&format!("- {}\n", text(sentence)));
    }
    out.push('\n');
    out.push_str(&releases(report));
    out.push_str("### Limits\n\n");
    if !verdict.false_alarms.is_empty() {
        out.push_str(&format!("{}\n\n", text(&verdict.false_alarms)));
    }
    if !verdict.not_tested.is_empty() {
        out.push_str("Not tested:\n\n");
        for item in &verdict.not_tested {
            out.push_str(&format!("- {}\n", text(item)));
        }
        out.push('\n');
    }
    for warning in &report.warnings {
        out.push_str(&format!("- Note. {}\n", text(warning)));
    }
    if !report.warnings.is_empty() {
        out.push('\n');
    }
    out.push_str("Attacks that found nothing are evidence about those attacks only. No number here makes a model anonymous.\n");
    out.push_str(&repeat(report));
    out
}

/// What each thing that could be given out gives away.
fn releases(report: &Report) -> String {
    let lines = &report.verdict.releases;
    if lines.is_empty() {
        return String::new();
    }
    let rows = lines.iter().map(|line| {
        let result = match line.tried() {
            Some(s) => {
                let auc = format!("{}, AUC {} ({})", s.title, rate(s.auc), interval(s.auc_ci));
                match release::in_words_of(line, &report.models) {
                    Some(words) => format!("{words}: {auc}"),
                    None => auc,
                }
            }
            None => "not tested".to_owned(),
        };
        vec![
            text(&of_name(report, &line.model)),
            line.what.title().to_owned(),
            text(&result),
            line.advice.words().to_owned(),
        ]
    });
    let head = ["Model", "Who has", "Strongest attack", "Advice"];
    format!(
        "{}\nFound at 1 false alarm in 100 where no other rate is named; AUC 0.5 is guessing, 1 certainty; 95 % intervals, widened for the number of attacks.\n\n",
        markdown::table(&head, rows)
    )
}

/// Hashes, the seed and the command.
fn repeat(report: &Report) -> String {
    let mut out = String::from("\n### To repeat it\n\n");
    for model in &report.models {
        if let Some(hash) = &model.weights_blake3 {
            out.push_str(&format!(
                "- Weights of {} (BLAKE3): {}\n",
                text(&called(model)),
                markdown::code(hash)
            ));
        }
    }
    for (label, pointer) in [
        ("Training images (BLAKE3)", "/data/members_blake3"),
        ("Unseen images (BLAKE3)", "/data/nonmembers_blake3"),
        ("Split (BLAKE3)", "/split_hash"),
    ] {
        if let Some(hash) = plan(report, pointer) {
            out.push_str(&format!("- {label}: {}\n", markdown::code(&hash)));
        }
    }
    if let Some(seed) = report.run.get("seed").filter(|s| s.is_number()) {
        out.push_str(&format!("- Seed: {seed}\n"));
    }
    match plan(report, "/command") {
        Some(command) => out.push_str(&format!("\n{}", block(&command))),
        None => out.push_str("- The command was not recorded.\n"),
    }
    out
}

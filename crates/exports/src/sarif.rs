//! SARIF 2.1.0 (OASIS): what code scanning reads.

use serde_json::{Value, json};

use crate::{Said, called, corrected, found, said, strongest, version};
use dualmd_audit::facts::{plan, run_name};
use dualmd_audit::report::{Finding, Report};

/// One kind of finding as a rule.
struct Rule {
    finding: Finding,
    name: &'static str,
    level: &'static str,
    short: &'static str,
    full: &'static str,
    help: &'static str,
}

/// The kinds of findings, in the order in which a report looks for them.
const RULES: [Rule; 5] = [
    Rule {
        finding: Finding::Leak,
        name: "TrainingImagesAreTold",
        level: "error",
        short: "An attack tells training images from unseen ones.",
        full: "An attack on the model ranks single training images above unseen images by more than luck allows, after correction for the number of attacks.",
        help: "Do not publish what the attack needs (weights, queries or generated images). Train with a defence, on more images or for fewer steps, and audit again.",
    },
    Rule {
        finding: Finding::Inverted,
        name: "ScoresAreInverted",
        level: "error",
        short: "An attack ranks training images below unseen ones.",
        full: "An attack ranks training images below unseen images by more than luck allows. An attacker can turn the score round.",
        help: "Treat it as a leak. It is no protection.",
    },
    Rule {
        finding: Finding::Set,
        name: "TheSetIsTold",
        level: "warning",
        short: "The training images taken together are told from unseen ones.",
        full: "No single image is told apart, but a test of whole sets tells the training images from others: that these images were used can be shown, which of them cannot.",
        help: "Publish only if it is no secret that these images were used.",
    },
    Rule {
        finding: Finding::Copies,
        name: "CopiesAreDrawn",
        level: "error",
        short: "The model draws copies of training images.",
        full: "Among the images that the model generates more pass for copies of training images than as many unseen images explain.",
        help: "Do not publish the model, nor images from it. Remove duplicates among the training images and audit again.",
    },
    Rule {
        finding: Finding::Void,
        name: "TheAuditIsVoid",
        level: "error",
        short: "The audit is void.",
        full: "A control failed: the two image sets differ in something other than membership, or the files contradict each other. No number of the audit can be trusted.",
        help: "Do what the message says, and audit again.",
    },
];

/// The report as SARIF 2.1.0: a rule for each kind of finding (`leak`, `inverted`, `set`, `copies`, `void`), and a result for each model that
/// has it, in the words of the verdict. A model of which nothing was found has no result. What was not tested, and models without any
/// result, are notifications of the run. The results are placed in `report.json`, which is what code scanning can link to.
#[must_use]
pub fn sarif(report: &Report) -> String {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|r| {
            json!({
                "id": r.finding.name(),
                "name": r.name,
                "shortDescription": { "text": r.short },
                "fullDescription": { "text": r.full },
                "help": { "text": r.help },
                "defaultConfiguration": { "level": r.level },
            })
        })
        .collect();
    let models = said(report);
    let mut results: Vec<Value> = models.iter().filter_map(result).collect();
    if let (Some(reason), true) = (&report.verdict.void, results.is_empty()) {
        results.extend(at_rule(
            Finding::Void,
            reason,
            "the audit",
            "audit",
            json!({}),
        ));
    }
    let mut notes: Vec<Value> = Vec::new();
    for model in models.iter().filter(|s| s.finding == Finding::Unknown) {
        let text = format!("{}: {}. {}", called(model.model), model.words, model.text);
        notes.push(notification(&text, "warning"));
    }
    if !report.is_void() {
        let verdict = &report.verdict;
        notes.extend(
            verdict
                .not_tested
                .iter()
                .map(|n| notification(&format!("Not tested. {n}"), "note")),
        );
    }
    notes.extend(report.warnings.iter().map(|w| notification(w, "note")));
    let mut invocation =
        json!({ "executionSuccessful": true, "toolExecutionNotifications": notes });
    if let Some(command) = plan(report, "/command") {
        invocation["commandLine"] = command.into();
    }
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "dualmd", "version": version(report), "rules": rules } },
            "automationDetails": { "id": format!("membership-inference/{}", run_name(report)) },
            "invocations": [invocation],
            "results": results,
        }],
    });
    // Strings and numbers only: serialising cannot fail.
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

fn notification(text: &str, level: &str) -> Value {
    json!({ "level": level, "message": { "text": plain(text) } })
}

/// In a message of SARIF a brace is a place to fill in, and a bracket may begin a link: the one is doubled, the other escaped.
fn plain(text: &str) -> String {
    let text = text.replace('{', "{{").replace('}', "}}");
    text.replace('[', "\\[").replace(']', "\\]")
}

fn result(said: &Said) -> Option<Value> {
    let model = said.model;
    let mut properties = json!({ "model": model.name, "title": model.title });
    if let Some(hash) = &model.weights_blake3 {
        properties["weightsBlake3"] = hash.as_str().into();
    }
    if let Some((attack, m)) = strongest(model).filter(|_| said.finding != Finding::Void) {
        properties["strongestAttack"] = attack.attack.as_str().into();
        properties["auc"] = m.auc.into();
        properties["aucInterval"] = json!(corrected(m));
        if let Some((tp, of)) = found(m) {
            properties["membersFoundAt1PercentFalseAlarms"] = tp.into();
            properties["members"] = of.into();
        }
    }
    let text = format!("{}: {}. {}", called(model), said.words, said.text);
    at_rule(said.finding, &text, &model.name, "model", properties)
}

/// A result of the rule of a finding; none for findings that are no alarm.
fn at_rule(
    finding: Finding,
    text: &str,
    name: &str,
    kind: &str,
    properties: Value,
) -> Option<Value> {
    let index = RULES.iter().position(|r| r.finding == finding)?;
    Some(json!({
        "ruleId": finding.name(),
        "ruleIndex": index,
        "kind": "fail",
        "level": RULES[index].level,
        "message": { "text": plain(text) },
        "locations": [{
            "physicalLocation": { "artifactLocation": { "uri": "report.json" }, "region": { "startLine": 1 } },
            "logicalLocations": [{ "name": name, "kind": kind }],
        }],
        // A later run of the same model and finding is the same alarm.
        "partialFingerprints": { "modelAndFinding/v1": format!("{name}:{}", finding.name()) },
        "properties": properties,
    }))
}

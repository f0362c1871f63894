//! From the files of a run to [`Report`]: statistics per model and attack, halves apart, comparisons, warnings.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::controls;
use crate::error::{AuditError, Result};
use crate::files::{AttackInfo, ModelFiles, RunFiles};
use crate::measure::{FPRS, figures, measure};
use crate::report::{Agreement, AttackResult, Comparison, Copies, CurvePoint, Finding, ModelReport, Pictures, Report, View};
use crate::scores::{ScoreRow, ScoresFile};
use crate::verdict;

/// False-positive rate at which members count as found when attacks are compared member by member.
const AGREEMENT_FPR: f64 = 0.01;

/// Turns the files into a report.
pub fn assemble(files: RunFiles) -> Result<Report> {
    let seed = files.plan.get("seed").and_then(Value::as_u64).unwrap_or(0);
    let halves: HashMap<String, u8> =
        files.split.as_ref().map(|s| s.halves().into_iter().map(|(id, h)| (id.to_owned(), h)).collect()).unwrap_or_default();
    let mut warnings = integrity(&files);
    let comparisons = comparisons(&files.models)?;
    let null = controls::null(&files.models, seed);
    let blind_baseline = files.controls.and_then(|c| c.blind_baseline).map(controls::blind);
    let mut models = Vec::new();
    for model in files.models {
        models.push(model_report(model, &halves, seed, &mut warnings)?);
    }
    distinguish_titles(&mut models);
    let mut report = Report {
        schema: 1,
        run: files.plan,
        verdict: crate::report::Verdict::default(),
        models,
        comparisons,
        controls: crate::report::Controls { blind_baseline, null },
        missing: files.missing,
        warnings,
        exposed: files.exposed,
    };
    report.verdict = verdict::verdict(&report);
    Ok(report)
}

/// Do the files belong together? Each mismatch makes some row of the report meaningless, so it is said aloud.
fn integrity(files: &RunFiles) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(split) = &files.split else { return warnings };
    let planned = files.plan.get("split_hash").and_then(Value::as_str).unwrap_or_default();
    if !planned.is_empty() && !split.hash.is_empty() && planned != split.hash {
        warnings.push("The split file is not the one that the plan names (their hashes differ): who is a member may be wrong throughout.".into());
    }
    let members: BTreeSet<&str> = split.members.iter().map(|m| m.id.as_str()).collect();
    let nonmembers: BTreeSet<&str> = split.nonmembers.iter().map(|m| m.id.as_str()).collect();
    for model in &files.models {
        if let Some(hash) = model.training.as_ref().and_then(|t| t.split_hash.as_deref())
            && !split.hash.is_empty()
            && hash != split.hash
        {
            warnings.push(format!("{} was trained with another split than the one audited: its row does not say anything about its training set.", model.name));
        }
        let rows = model.scores.iter().flat_map(|s| &s.rows);
        let wrong: BTreeSet<&str> = rows
            .filter(|r| if r.member { nonmembers.contains(r.sample_id.as_str()) } else { members.contains(r.sample_id.as_str()) })
            .map(|r| r.sample_id.as_str())
            .collect();
        if !wrong.is_empty() {
            warnings.push(format!("{} samples in the scores of {} have another side than in split.json.", wrong.len(), model.name));
        }
    }
    let scored: BTreeMap<&str, &str> = files
        .models
        .iter()
        .flat_map(|m| m.scores.iter().flat_map(|s| &s.rows))
        .filter_map(|r| Some((r.sample_id.as_str(), r.group.as_deref()?)))
        .collect();
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for group in scored.values() {
        *sizes.entry(group).or_default() += 1;
    }
    let (groups, images) = sizes.values().filter(|&&n| n > 1).fold((0, 0), |(g, i), n| (g + 1, i + n));
    if groups > 0 {
        warnings.push(format!("{images} of the scored images belong to {groups} groups of near-duplicates. Intervals treat every image as independent and are a little too narrow for these."));
    }
    warnings
}

fn model_report(model: ModelFiles, halves: &HashMap<String, u8>, seed: u64, warnings: &mut Vec<String>) -> Result<ModelReport> {
    let title = title(&model.name, &model.defense);
    let primary = match model.name.strip_prefix("teacher-") {
        Some("1") if !halves.is_empty() => View::D1,
        Some("2") if !halves.is_empty() => View::D2,
        _ => View::Pooled,
    };
    let info = model.info.unwrap_or_default();
    let scores = model.scores.unwrap_or_default();
    let scored = scores.attacks();
    let mut described: Vec<AttackInfo> = info.attacks;
    for attack in &scored {
        if described.iter().all(|a| a.attack != *attack) {
            described.push(AttackInfo { attack: attack.clone(), ..AttackInfo::default() });
        }
    }
    let mut results = Vec::new();
    for attack in described {
        let result = attack_result(&attack, &model.name, &scores, halves, scored.len(), primary, seed)?;
        results.push(result);
    }
    let agreement = agreement(&scores, &scored, primary, halves);
    for warning in &info.warnings {
        warnings.push(format!("{title}: {warning}"));
    }
    let curve = model
        .log
        .iter()
        .filter_map(|p| Some(CurvePoint { step: p.step, member: p.member_loss?, heldout: p.heldout_loss? }))
        .filter(|p| p.member.is_finite() && p.heldout.is_finite())
        .collect();
    let copies = model.nearest.as_ref().map(|n| Copies {
        n_generated: n.n_generated,
        median_distance_members: n.median_distance_members,
        median_distance_heldout: n.median_distance_heldout,
        heldout_q05: n.heldout_reference.q05,
        heldout_median: n.heldout_reference.median,
    });
    Ok(ModelReport {
        name: model.name,
        defense: model.defense,
        title,
        primary,
        results,
        agreement,
        utility: model.training,
        weights: info.weights,
        dtype: info.dtype,
        network_calls_made: info.network_calls_made,
        network_calls_saved: info.network_calls_saved,
        warnings: info.warnings,
        copies,
        pictures: Pictures { grid: model.grid, nearest: model.nearest },
        curve,
    })
}

fn attack_result(
    attack: &AttackInfo,
    model: &str,
    scores: &ScoresFile,
    halves: &HashMap<String, u8>,
    attacks: usize,
    primary: View,
    seed: u64,
) -> Result<AttackResult> {
    let name = attack.attack.as_str();
    let rows: Vec<&ScoreRow> = scores.rows.iter().filter(|r| r.attack == name).collect();
    let nonmembers: Vec<f64> = rows.iter().filter(|r| !r.member).map(|r| r.score).collect();
    let members = |view: View| members(&rows, view, halves);
    let stats = |what: &str, source| AuditError::Stats { what: format!("scores/{model}.csv, attack {name}, {what}"), source };
    let mut result = AttackResult {
        attack: name.to_owned(),
        title: attack.title.clone().unwrap_or_else(|| attack_title(name)),
        access: attack.access.clone().unwrap_or_else(|| "unknown".into()),
        network_calls_per_sample: attack.network_calls_per_sample,
        seconds: attack.seconds,
        status: attack.status.clone().unwrap_or_else(|| "ok".into()),
        reason: attack.reason.clone(),
        parameters: attack.parameters.clone(),
        pooled: None,
        d1: None,
        d2: None,
        halves_differ: false,
        figures: None,
    };
    let pooled = members(View::Pooled);
    if result.status != "ok" {
        return Ok(result);
    }
    if pooled.is_empty() || nonmembers.is_empty() {
        result.status = "failed".into();
        result.reason = Some(format!("the score file holds {} members and {} non-members for it; both sides are needed", pooled.len(), nonmembers.len()));
        return Ok(result);
    }
    result.pooled = Some(measure(&pooled, &nonmembers, attacks, &FPRS, seed).map_err(|e| stats("all members", e))?);
    for view in [View::D1, View::D2] {
        let half = members(view);
        // Two images are too few for an interval that means anything.
        if half.len() > 2 {
            let measured = measure(&half, &nonmembers, 2 * attacks, &FPRS, seed).map_err(|e| stats(view.name(), e))?;
            *(if view == View::D1 { &mut result.d1 } else { &mut result.d2 }) = Some(measured);
        }
    }
    if let (Some(a), Some(b)) = (&result.d1, &result.d2) {
        result.halves_differ = a.auc_ci[1] < b.auc_ci[0] || b.auc_ci[1] < a.auc_ci[0];
    }
    let shown = members(primary);
    let shown = if shown.is_empty() { &pooled } else { &shown };
    result.figures = Some(figures(shown, &nonmembers).map_err(|e| stats("figures", e))?);
    Ok(result)
}

fn members(rows: &[&ScoreRow], view: View, halves: &HashMap<String, u8>) -> Vec<f64> {
    rows.iter().filter(|r| r.member && in_view(&r.sample_id, view, halves)).map(|r| r.score).collect()
}

fn in_view(id: &str, view: View, halves: &HashMap<String, u8>) -> bool {
    match view {
        View::Pooled => true,
        View::D1 => halves.get(id) == Some(&1),
        View::D2 => halves.get(id) == Some(&2),
    }
}

/// Members that one, two or all attacks find at 1 % FPR. `None` with fewer than two attacks or too few non-members.
fn agreement(scores: &ScoresFile, attacks: &[String], primary: View, halves: &HashMap<String, u8>) -> Option<Agreement> {
    if attacks.len() < 2 {
        return None;
    }
    // sample -> (member, attacks that scored it, attacks that call it a member)
    let mut found: BTreeMap<&str, (bool, usize, usize)> = BTreeMap::new();
    for attack in attacks {
        let rows: Vec<&ScoreRow> = scores.rows.iter().filter(|r| r.attack == *attack && !r.sample_id.is_empty()).collect();
        let mut nonmembers: Vec<f64> = rows.iter().filter(|r| !r.member).map(|r| r.score).collect();
        let allowed = (AGREEMENT_FPR * nonmembers.len() as f64 + 1e-9).floor() as usize;
        if allowed < 1 {
            return None;
        }
        nonmembers.sort_by(|a, b| b.total_cmp(a));
        // Strictly above this score at most `allowed` non-members remain: the conservative rule of the ROC.
        let bar = *nonmembers.get(allowed)?;
        for row in rows.iter().filter(|r| !r.member || in_view(&r.sample_id, primary, halves)) {
            let entry = found.entry(&row.sample_id).or_insert((row.member, 0, 0));
            entry.1 += 1;
            entry.2 += usize::from(row.score > bar);
        }
    }
    let complete: Vec<&(bool, usize, usize)> = found.values().filter(|(_, scored, _)| *scored == attacks.len()).collect();
    let count = |member: bool, at_least: usize| complete.iter().filter(|(m, _, hits)| *m == member && *hits >= at_least).count();
    Some(Agreement {
        attacks: attacks.len(),
        n_members: count(true, 0),
        by_one: count(true, 1),
        by_two: count(true, 2),
        by_all: count(true, attacks.len()),
        nonmembers_by_one: count(false, 1),
        n_nonmembers: count(false, 0),
    })
}

/// The undefended model against every other one, attack by attack, on the samples that both scored.
fn comparisons(models: &[ModelFiles]) -> Result<Vec<Comparison>> {
    let Some(baseline) = models.iter().find(|m| m.defense == "none" && m.scores.is_some()) else { return Ok(Vec::new()) };
    let Some(reference) = &baseline.scores else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for model in models.iter().filter(|m| m.name != baseline.name && !m.name.starts_with("teacher-")) {
        let Some(scores) = &model.scores else { continue };
        for attack in reference.attacks() {
            let theirs: HashMap<&str, &ScoreRow> =
                scores.rows.iter().filter(|r| r.attack == attack && !r.sample_id.is_empty()).map(|r| (r.sample_id.as_str(), r)).collect();
            let pairs: Vec<(&ScoreRow, &ScoreRow)> = reference
                .rows
                .iter()
                .filter(|r| r.attack == attack)
                .filter_map(|r| Some((r, *theirs.get(r.sample_id.as_str())?)))
                .filter(|(a, b)| a.member == b.member)
                .collect();
            let side = |member: bool, second: bool| -> Vec<f64> {
                pairs.iter().filter(|(a, _)| a.member == member).map(|(a, b)| if second { b.score } else { a.score }).collect()
            };
            if pairs.iter().filter(|(a, _)| a.member).count() < 2 || pairs.iter().filter(|(a, _)| !a.member).count() < 2 {
                continue;
            }
            let difference = crate::measure::paired(&side(true, false), &side(false, false), &side(true, true), &side(false, true))
                .map_err(|source| AuditError::Stats { what: format!("{} against {}, attack {attack}", baseline.name, model.name), source })?;
            out.push(Comparison {
                attack,
                baseline: baseline.name.clone(),
                model: model.name.clone(),
                difference: difference.difference,
                difference_ci: difference.ci,
                p_value: difference.p_value,
            });
        }
    }
    Ok(out)
}

/// A model's name for people.
fn title(name: &str, defense: &str) -> String {
    match (name.strip_prefix("teacher-"), defense) {
        (Some(n), _) => format!("Teacher {n}"),
        (_, "none") => "Undefended model".into(),
        (_, "dualmd") => "DualMD pair".into(),
        (_, "distillmd") => "DistillMD student".into(),
        (_, "kd" | "distillation") => "Ordinary distillation".into(),
        _ => name.to_owned(),
    }
}

/// Two models with the same defence get their folder names added.
fn distinguish_titles(models: &mut [ModelReport]) {
    let titles: Vec<String> = models.iter().map(|m| m.title.clone()).collect();
    for model in models {
        if titles.iter().filter(|t| **t == model.title).count() > 1 {
            model.title = format!("{} ({})", model.title, model.name);
        }
    }
}

/// Titles for score files that come without their JSON.
fn attack_title(name: &str) -> String {
    match name {
        "loss" => "Loss",
        "secmi" => "SecMI",
        "pia" => "PIA",
        "pian" => "PIAN",
        "sima" => "SimA",
        "nn" => "Nearest generated image",
        other => other,
    }
    .into()
}

impl ModelReport {
    /// The attack with the strongest claim on this model's primary view: the largest AUC among leaks, else the largest AUC.
    pub fn strongest(&self) -> Option<&AttackResult> {
        let key = |r: &AttackResult| r.view(self.primary).map(|m| (m.finding == Finding::Leak, m.auc));
        self.results.iter().filter(|r| key(r).is_some()).max_by(|a, b| match (key(a), key(b)) {
            (Some(x), Some(y)) => x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)),
            _ => std::cmp::Ordering::Equal,
        })
    }

    /// Attacks that gave scores.
    pub fn attacks_run(&self) -> usize {
        self.results.iter().filter(|r| r.pooled.is_some()).count()
    }
}

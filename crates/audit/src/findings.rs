//! From the files of a run to [`Report`]: statistics per model and attack, halves apart, comparisons, warnings.

use std::collections::HashMap;

use dualmd_names::{Half, ModelKind, Part};
use dualmd_record::Count;
use dualmd_record::evidence::Halves;
use dualmd_record::planned::{AnyPlan, PlannedAudit, Written};
use dualmd_record::samples::Nearest;
use dualmd_record::scores::{LearntOnShadow, ScoredAttack};
use dualmd_record::sets;
use dualmd_record::sets::SetTest;
use dualmd_record::split::SplitFile;
use dualmd_record::utility::ImageQuality;
use dualmd_stats::{CompatRule, StatsError};

use crate::chosen::chosen;
use crate::compare::{agreement, comparisons, same_images};
use crate::controls;
use crate::epsilon::DELTA;
use crate::error::{AuditError, Result};
use crate::files::{ModelFiles, RunFiles};
use crate::grouped::by_groups;
use crate::halves::Book;
use crate::integrity::{Integrity, integrity};
use crate::measure::{FPRS, figures, measure};
use crate::report::{
    AttackResult, Copies, CurvePoint, EpsilonBound, Finding, ImageUtility, ModelReport,
    NearestEqual, OneRun, OwnImages, Pictures, Released, Report, Sets, Training, View,
};
use crate::run::UNNAMED;
use crate::samples::{in_view, samples};
use crate::scores::{ScoreRow, ScoresFile};
use crate::verdict;

/// Name of the test of what lies nearest to generated images.
pub const NEARER: &str = "generated-nearest";

/// What the models of a run have in common.
struct Run {
    split: Option<SplitFile>,
    /// Half (1 or 2) of the members that have one.
    halves: HashMap<String, u8>,
    /// Which samples choose and which report.
    book: Book,
    delta: f64,
    compat: Vec<CompatRule>,
}

/// Turns the files into a report.
pub fn assemble(files: RunFiles) -> Result<Report> {
    Ok(with_halves(files)?.0)
}

/// Turns the files into a report, and says which samples chose and which reported in it.
///
/// # Errors
/// As [`build`](crate::build).
pub fn with_halves(files: RunFiles) -> Result<(Report, Halves)> {
    let plan = AnyPlan::of(&files.plan);
    let seed = plan.seed.unwrap_or(0);
    let halves: HashMap<String, u8> = files
        .split
        .as_ref()
        .map(|s| {
            s.halves()
                .into_iter()
                .map(|(id, h)| (id.to_owned(), h))
                .collect()
        })
        .unwrap_or_default();
    let Integrity {
        mut warnings,
        contradictions,
    } = integrity(&files, plan.split_hash.as_deref());
    warnings.extend(crate::captions::warning(&plan));
    if files.halves.is_some() {
        warnings.push("One half of the images chose the best attack and set thresholds, and the other half reported. Which is which was not drawn here: it is taken from halves.json, as in every folder of evidence, whose ids are sealed. The best attack on the other half, bounds on epsilon and the one-run audit rest on it.".into());
    }
    let delta = delta(&plan.audit, &mut warnings);
    let (compat, problems) = crate::compat::rules(&plan.audit);
    warnings.extend(problems);
    let comparisons = comparisons(&files.models)?;
    let null = controls::null(&files.models, seed);
    let blind_baseline = files
        .controls
        .and_then(|c| c.blind_baseline)
        .map(controls::blind);
    let run = Run {
        split: files.split,
        halves,
        book: Book::new(seed, files.halves),
        delta,
        compat,
    };
    let mut models = Vec::new();
    for model in files.models {
        models.push(model_report(model, &run, &mut warnings)?);
    }
    distinguish_titles(&mut models);
    let (used, unusable) = run.book.close();
    warnings.extend(unusable);
    warnings.extend(crate::epochs::warning(&plan.model, &models));
    let mut report = Report {
        schema: crate::SCHEMA,
        run: files.plan,
        verdict: crate::report::Verdict::default(),
        repeated: crate::repeats::repeated(&models),
        models,
        comparisons,
        controls: crate::report::Controls {
            blind_baseline,
            null,
        },
        missing: files.missing,
        warnings,
        exposed: files.exposed,
        images_left_out: false,
    };
    let void = verdict::void(&report.controls, &contradictions);
    if void.is_some() {
        void_findings(&mut report.models);
    }
    report.verdict = verdict::verdict(&report, void);
    Ok((report, used))
}

/// Nothing follows from the numbers of a void report.
fn void_findings(models: &mut [ModelReport]) {
    for result in models.iter_mut().flat_map(|m| &mut m.results) {
        let measured = [&mut result.pooled, &mut result.d1, &mut result.d2];
        for measurement in measured.into_iter().flatten() {
            measurement.finding = Finding::Void;
        }
    }
}

/// `audit.delta` of the plan, or the default.
fn delta(plan: &PlannedAudit, warnings: &mut Vec<String>) -> f64 {
    match &plan.delta {
        None => DELTA,
        Some(Written::Known(delta)) if (0.0..1.0).contains(delta) => *delta,
        Some(written) => {
            warnings.push(format!(
                "plan.json, audit.delta: {written} is no number from 0 to below 1; bounds on epsilon are for delta = {DELTA}."
            ));
            DELTA
        }
    }
}

fn model_report(model: ModelFiles, run: &Run, warnings: &mut Vec<String>) -> Result<ModelReport> {
    let halves = &run.halves;
    let base = model.repeat_of.as_deref().unwrap_or(&model.name);
    let title = title(base, &model.defense);
    let primary = match Part::half(base) {
        Some(Half::First) if !halves.is_empty() => View::D1,
        Some(Half::Second) if !halves.is_empty() => View::D2,
        _ => View::Pooled,
    };
    let info = model.info.unwrap_or_default();
    let scores = model.scores.unwrap_or_default();
    let scored = scores.attacks();
    let mut described: Vec<ScoredAttack> = info.attacks;
    for attack in &scored {
        if described.iter().all(|a| a.attack != *attack) {
            described.push(ScoredAttack {
                attack: attack.clone(),
                ..ScoredAttack::default()
            });
        }
    }
    let mut results = Vec::new();
    for attack in described {
        let result = attack_result(&attack, &model.name, &scores, scored.len(), primary, run)?;
        results.push(result);
    }
    let deal = run.book.of(&model.name);
    let agreement = agreement(&scores, &scored, primary, halves);
    let chosen = chosen(&scores, &results, primary, halves, run.delta, &deal);
    let by_groups = by_groups(&scores, &results, primary, halves);
    let same_images = same_images(&scores, &results, primary, halves)?;
    let (one_run, one_run_missing) = match OneRun::of(
        &scores,
        &results,
        primary,
        run.split.as_ref(),
        run.delta,
        &deal,
    ) {
        Ok(audit) => (Some(audit), None),
        Err(reason) => (None, Some(reason)),
    };
    // Two models of a run may have the same title.
    let called = match title == model.name {
        true => title.clone(),
        false => format!("{title} ({})", model.name),
    };
    // A teacher is compared with members that it never saw as well: nothing follows for its own half.
    let nearer = (model.nearest.as_ref())
        .filter(|n| !n.prompted && primary == View::Pooled && model.defense != ModelKind::Part)
        .and_then(nearer);
    let sets = match (model.sets, nearer) {
        (None, None) => None,
        (file, nearer) => Some(sets(file.unwrap_or_default(), nearer, &called, warnings)),
    };
    for warning in &info.warnings {
        warnings.push(format!("{called}: {warning}"));
    }
    let curve = model
        .log
        .iter()
        .filter_map(|p| {
            Some(CurvePoint {
                step: p.step as f64,
                member: p.member_loss?,
                heldout: p.heldout_loss?,
            })
        })
        .filter(|p| p.member.is_finite() && p.heldout.is_finite())
        .collect();
    let copies = model.nearest.as_ref().map(|n| Copies {
        n_generated: n.n_generated.map(Count::as_f64),
        median_distance_members: n.median_distance_members,
        median_distance_heldout: n.median_distance_heldout,
        heldout_q05: n.heldout_reference.q05,
        heldout_median: n.heldout_reference.median,
        equal: n.equal.flatten().as_ref().map(NearestEqual::of),
    });
    let utility = model.utility.unwrap_or_default();
    let copying = utility.copies.unwrap_or_default();
    let missing = utility.missing.unwrap_or_default();
    Ok(ModelReport {
        name: model.name,
        defense: model.defense,
        title,
        repeat_of: model.repeat_of,
        audit: model.audit,
        weights_blake3: model.weights_blake3.or(info.weights_blake3),
        // A file may hold copies alone.
        image_utility: (utility.images)
            .filter(|u| !u.features.is_empty())
            .map(|images| image_utility(images, missing)),
        primary,
        results,
        agreement,
        chosen,
        by_groups,
        same_images,
        one_run,
        one_run_missing,
        sets,
        utility: model.training.as_ref().map(Training::of),
        weights: info.weights,
        dtype: info.dtype,
        network_calls_made: info.network_calls_made.map(Count::as_f64),
        network_calls_saved: info.network_calls_saved.map(Count::as_f64),
        warnings: info.warnings,
        copies,
        copying,
        pictures: Pictures {
            grid: model.grid,
            nearest: model.nearest,
            pairs: model.pairs,
            prompted: model.prompted,
        },
        curve,
    })
}

fn image_utility(images: ImageQuality, missing: Vec<String>) -> ImageUtility {
    let frechet = images.frechet.as_ref();
    let published = images.published.as_ref();
    let in_ten = published.and_then(|p| p.inception_score.as_ref());
    ImageUtility {
        frechet: frechet.map(|f| f.distance.value),
        frechet_ci: frechet.map(|f| f.ci),
        equal_n: frechet.map(|f| f.floor.n as f64),
        at_equal_n: frechet.map(|f| f.floor.generated_real.mean),
        floor: frechet.map(|f| f.floor.real_real.mean),
        excess: frechet.map(|f| f.floor.excess),
        kid: images.kid.as_ref().map(|k| k.full),
        kid_se: images.kid.as_ref().map(|k| k.full_se),
        inception_score: images.inception_score.as_ref().map(|s| s.mean),
        frechet_all: published.and_then(|p| Some(p.frechet?.value)),
        inception_score_ten: in_ten.map(|s| s.mean),
        precision: images.precision_recall.map(|p| p.precision),
        recall: images.precision_recall.map(|p| p.recall),
        gap: images.gap.map(|g| g.gap),
        features: images.features,
        n_generated: images.n_generated as f64,
        n_real: images.n_real as f64,
        missing,
    }
}

fn attack_result(
    attack: &ScoredAttack,
    model: &str,
    scores: &ScoresFile,
    attacks: usize,
    primary: View,
    run: &Run,
) -> Result<AttackResult> {
    let deal = run.book.of(model);
    let (halves, seed) = (&run.halves, deal.seed());
    let name = attack.attack.as_str();
    let rows: Vec<&ScoreRow> = scores.rows.iter().filter(|r| r.attack == name).collect();
    let nonmembers: Vec<f64> = rows.iter().filter(|r| !r.member).map(|r| r.score).collect();
    let members = |view: View| members(&rows, view, halves);
    let stats = |what: &str, source| AuditError::Stats {
        what: format!("scores/{model}.csv, attack {name}, {what}"),
        source,
    };
    let mut result = AttackResult {
        title: attack
            .title
            .clone()
            .unwrap_or_else(|| dualmd_names::title(name)),
        access: attack.access.clone().unwrap_or_else(|| "unknown".into()),
        network_calls_per_sample: attack.network_calls_per_sample.map(Count::as_f64),
        seconds: attack.seconds,
        status: attack.status.clone().unwrap_or_else(|| "ok".into()),
        reason: attack.reason.clone(),
        parameters: attack.parameters.clone(),
        paper: attack.paper.clone(),
        formula: attack.formula.clone(),
        misses: attack.misses.clone(),
        samples_scored: rows.len(),
        trained_on: attack.trained_on,
        shadow: attack.shadow.as_ref().map(LearntOnShadow::samples),
        ..AttackResult::named(name)
    };
    let pooled = members(View::Pooled);
    if result.status != "ok" {
        return Ok(result);
    }
    if pooled.is_empty() || nonmembers.is_empty() {
        result.status = "failed".into();
        result.reason = Some(format!(
            "the score file holds {} members and {} non-members for it; both sides are needed",
            pooled.len(),
            nonmembers.len()
        ));
        return Ok(result);
    }
    result.pooled = Some(
        measure(&pooled, &nonmembers, attacks, &FPRS, seed).map_err(|e| stats("all members", e))?,
    );
    for view in [View::D1, View::D2] {
        let half = members(view);
        // Two images are too few for an interval that means anything.
        if half.len() > 2 {
            let measured = measure(&half, &nonmembers, 2 * attacks, &FPRS, seed)
                .map_err(|e| stats(view.name(), e))?;
            *(if view == View::D1 {
                &mut result.d1
            } else {
                &mut result.d2
            }) = Some(measured);
        }
    }
    if let (Some(a), Some(b)) = (&result.d1, &result.d2) {
        result.halves_differ = a.auc_ci[1] < b.auc_ci[0] || b.auc_ci[1] < a.auc_ci[0];
    }
    let shown = members(primary);
    let shown = if shown.is_empty() { &pooled } else { &shown };
    result.figures = Some(figures(shown, &nonmembers).map_err(|e| stats("figures", e))?);
    result.compat = crate::compat::apply(&run.compat, shown, &nonmembers);
    result.own = own(attack, &nonmembers, seed).map_err(|e| stats("the model's own images", e))?;
    result.epsilon = EpsilonBound::of(
        &samples(scores, name, primary, halves),
        name,
        run.delta,
        &deal,
    );
    Ok(result)
}

/// How the model's own images stand against the non-members.
fn own(
    attack: &ScoredAttack,
    nonmembers: &[f64],
    seed: u64,
) -> std::result::Result<Option<OwnImages>, StatsError> {
    let Some(own) = attack.own.as_ref().filter(|own| !own.scores.is_empty()) else {
        return Ok(None);
    };
    let found = dualmd_stats::summarise(&own.scores, nonmembers, &FPRS, seed)?;
    Ok(Some(OwnImages {
        n: own.scores.len(),
        auc: found.auc,
        auc_ci: found.auc_ci,
        counted_at_fpr: found.tpr_at_fpr,
    }))
}

fn members(rows: &[&ScoreRow], view: View, halves: &HashMap<String, u8>) -> Vec<f64> {
    rows.iter()
        .filter(|r| r.member && in_view(&r.sample_id, view, halves))
        .map(|r| r.score)
        .collect()
}

/// A model's name for people.
fn title(name: &str, defense: &ModelKind) -> String {
    match (Part::half(name), defense.defense()) {
        (Some(half), _) => format!("Teacher {}", half.number()),
        (None, Some(defense)) => defense.title().into(),
        // A score file alone does not say what it is about.
        (None, None) if defense.is_unknown() && name == UNNAMED => "Audited model".into(),
        (None, None) => name.to_owned(),
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

/// What the model draws against as many images of either side, as a test of whole sets.
fn nearer(nearest: &Nearest) -> Option<SetTest> {
    let equal = nearest.equal.flatten()?;
    Some(SetTest {
        name: NEARER.into(),
        title: "Generated images: nearer to a member than to as many non-members?".into(),
        what: "share of generated images whose nearest real image is a member, pixel by pixel"
            .into(),
        members: equal.n,
        nonmembers: equal.n,
        statistic: equal.share,
        p_value: equal.p_value,
        permutations: equal.relabellings,
    })
}

/// The tests that can be: a p-value outside (0, 1] is said and passed over.
fn sets(
    file: sets::Sets,
    nearer: Option<SetTest>,
    model: &str,
    warnings: &mut Vec<String>,
) -> Sets {
    let (mut tests, bad): (Vec<_>, Vec<_>) = file
        .tests
        .into_iter()
        .chain(nearer)
        .partition(|t| t.p_value > 0.0 && t.p_value <= 1.0 && t.statistic.is_finite());
    for test in bad {
        warnings.push(format!(
            "{model}: the set test {} has the p-value {} and the statistic {}, which no test can give; it is left out.",
            test.name, test.p_value, test.statistic
        ));
    }
    for test in &mut tests {
        if test.title.is_empty() {
            test.title.clone_from(&test.name);
        }
    }
    Sets {
        features: file.features,
        tests,
        inference: file.inference,
    }
}

impl ModelReport {
    /// The attack with the strongest claim on this model's primary view: the largest AUC among leaks, else the largest AUC.
    pub fn strongest(&self) -> Option<&AttackResult> {
        self.strongest_with(Released::Weights)
    }

    /// The same of the attacks that whoever holds `what` can run.
    pub fn strongest_with(&self, what: Released) -> Option<&AttackResult> {
        let key = |r: &AttackResult| {
            r.view(self.primary)
                .map(|m| (m.finding == Finding::Leak, m.auc))
        };
        self.results
            .iter()
            .filter(|r| Released::needed(r) <= what && key(r).is_some())
            .max_by(|a, b| match (key(a), key(b)) {
                (Some(x), Some(y)) => x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)),
                _ => std::cmp::Ordering::Equal,
            })
    }

    /// Attacks that gave scores.
    pub fn attacks_run(&self) -> usize {
        self.results.iter().filter(|r| r.pooled.is_some()).count()
    }
}

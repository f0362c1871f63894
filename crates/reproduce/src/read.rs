//! Reports of finished runs, as far as the tables need them.

use super::names;
use super::paper::Metric;
use anyhow::{Context, Result};
use dualmd_audit::report::{self, BlindBaseline, Measurement, ModelReport};
use dualmd_names::{Defense, Part};
use dualmd_record::planned::{AnyPlan, JobKind, PlannedRecipe};
use dualmd_record::training::Training;
use dualmd_record::{Count, RunFolder};
use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// False-alarm rate of the tables.
pub const FPR: f64 = 0.01;

/// The finished runs of every image set.
#[derive(Debug)]
pub struct Evidence {
    /// One entry per set.
    pub sets: Vec<Set>,
}

/// The finished runs on one image set.
#[derive(Debug, Clone)]
pub struct Set {
    /// As the study names it.
    pub name: String,
    /// For people.
    pub title: String,
    /// Its name in the paper's tables.
    pub paper: Option<&'static str>,
    /// Images (and base models) that the user brought, at the paper's scale.
    pub brought: bool,
    /// Epochs of all its models, where a study compares lengths of training.
    pub epochs: Option<f64>,
    /// One report per seed.
    pub runs: Vec<Run>,
}

/// One finished run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// What was audited.
    pub models: Vec<Model>,
    /// What was planned, as far as the report says it.
    pub plan: AnyPlan,
    /// Members that the models were trained on, where the report says.
    pub members: Option<f64>,
    /// What tells its members from others without a model, where that was measured.
    pub blind: Option<Box<BlindBaseline>>,
}

/// One audited model.
#[derive(Debug, Clone)]
pub struct Model {
    /// As the report has it.
    pub reported: ModelReport,
    /// Training time with all models that it needs, s: see [`cost`].
    pub seconds: Option<f64>,
    /// Training steps with those of all models that it needs.
    pub steps: Option<f64>,
    /// Network evaluations of these steps, an image each: see [`evaluations`].
    pub evaluations: Option<f64>,
    /// Network evaluations of an image that it generates.
    pub calls: Option<f64>,
    /// Models that generate for it, where that is not one of its own name.
    pub parts: Vec<String>,
    /// How it was trained but for the number of steps: see [`recipe`].
    pub recipe: Option<PlannedRecipe>,
}

impl Deref for Model {
    type Target = ModelReport;

    fn deref(&self) -> &ModelReport {
        &self.reported
    }
}

/// A number with its interval over images.
pub type Measured = (f64, Option<[f64; 2]>);

impl Model {
    /// A model of which there is neither a plan nor what its training cost.
    pub fn alone(reported: ModelReport) -> Self {
        Self {
            seconds: None,
            steps: None,
            evaluations: None,
            calls: None,
            parts: parts(&AnyPlan::default(), &reported),
            recipe: None,
            reported,
        }
    }

    /// One number; `attack` is for those that are of an attack.
    pub fn measured(&self, attack: Option<&str>, metric: Metric) -> Option<Measured> {
        let quality = self.image_utility.as_ref();
        let mut results = self.results.iter();
        let result = results.find(|r| Some(r.attack.as_str()) == attack);
        Some(match metric {
            Metric::Fd => match quality?.frechet_all {
                // As public codes have it, where it was measured so.
                Some(all) => (all, None),
                None => (quality?.frechet?, quality?.frechet_ci),
            },
            Metric::Excess => (quality?.excess?, None),
            Metric::Is => {
                let (ten, one) = (quality?.inception_score_ten, quality?.inception_score);
                (ten.or(one)?, None)
            }
            Metric::Auc => auc(result?.pooled.as_ref()?),
            Metric::D1 => auc(result?.d1.as_ref()?),
            Metric::D2 => auc(result?.d2.as_ref()?),
            Metric::Tpr => {
                let mut points = result?.pooled.as_ref()?.tpr_at_fpr.iter();
                let point = points.find(|p| p.fpr == FPR && p.measurable)?;
                (point.tpr, Some(point.tpr_ci))
            }
        })
    }
}

fn auc(measurement: &Measurement) -> Measured {
    (measurement.auc, Some(measurement.auc_ci))
}

impl Evidence {
    /// The audited models of all runs.
    fn audited(&self) -> impl Iterator<Item = &Model> {
        self.sets.iter().flat_map(Set::audited)
    }

    /// Was every image quality measured as public codes do: against all training images, the score in ten splits?
    pub fn published_quality(&self) -> bool {
        let quality = self.audited().filter_map(|m| m.image_utility.as_ref());
        let mut all = quality.peekable();
        all.peek().is_some() && all.all(|q| q.frechet_all.is_some())
    }

    /// Was any model attacked with this?
    pub fn attacked_with(&self, attack: &str) -> bool {
        let mut results = self.audited().flat_map(|m| &m.results);
        results.any(|r| r.attack == attack)
    }

    /// Names of the features that image quality was measured by.
    pub fn features(&self) -> Vec<String> {
        let quality = self.audited().filter_map(|m| m.image_utility.as_ref());
        let names: BTreeSet<String> = quality.map(|q| q.features.clone()).collect();
        names.into_iter().collect()
    }
}

impl Set {
    /// Runs that belong to no study.
    pub fn of(name: &str, title: &str, runs: Vec<Run>) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            paper: None,
            brought: false,
            epochs: None,
            runs,
        }
    }

    /// Its name, and the length of training where a study compares several.
    pub fn label(&self) -> String {
        match self.epochs {
            Some(epochs) => format!("{} e-{epochs}", self.name),
            None => self.name.clone(),
        }
    }

    /// The audited models of all runs.
    pub fn audited(&self) -> impl Iterator<Item = &Model> {
        self.runs.iter().flat_map(|r| &r.models)
    }

    /// Models by name in the order of the first report that has them.
    pub fn models(&self) -> Vec<&Model> {
        let mut out: Vec<&Model> = Vec::new();
        for model in self.audited() {
            if out.iter().all(|m| m.name != model.name) {
                out.push(model);
            }
        }
        out
    }

    /// The undefended model that the others are compared with: the one of that name, else the first whose name is of no other method. Weight
    /// decay and the like are trained without a defence, too.
    pub fn baseline(&self) -> Option<&Model> {
        let models = self.models();
        let mut undefended = models.iter().filter(|m| m.defense.is(Defense::None));
        let named = undefended.clone().find(|m| m.name == names::BASELINE);
        named
            .or_else(|| undefended.find(|m| !names::is_method(&m.name)))
            .copied()
    }

    /// The undefended model at several numbers of steps, (name, steps), few steps first. A model without a defence that was trained
    /// in another way, such as with weight decay, is none of them.
    pub fn undefended(&self) -> Vec<(String, f64)> {
        let Some(baseline) = self.baseline() else {
            return Vec::new();
        };
        let mut out: Vec<(String, f64)> = self
            .models()
            .into_iter()
            .filter(|m| m.defense.is(Defense::None) && m.recipe == baseline.recipe)
            .filter_map(|m| Some((m.name.clone(), m.utility.as_ref()?.steps?)))
            .collect();
        out.sort_by(|a, b| a.1.total_cmp(&b.1));
        out
    }

    /// The attacks on any model, in the order of the reports.
    pub fn attacks(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for result in self.audited().flat_map(|m| &m.results) {
            if !out.contains(&result.attack) {
                out.push(result.attack.clone());
            }
        }
        out
    }
}

/// Reads one run.
///
/// # Errors
/// There is no readable report.json of a schema that this program knows.
pub fn read(seed: u64, folder: &Path) -> Result<Run> {
    read_report(seed, &folder.join("report.json"), folder)
}

/// The same of a report of any name; `folder`: where its run is or was.
///
/// # Errors
/// As [`read`].
pub fn read_report(seed: u64, path: &Path, folder: &Path) -> Result<Run> {
    let report = dualmd_audit::read(path).with_context(|| {
        format!(
            "{} is no report: `dualmd report {}` writes it again",
            path.display(),
            folder.display()
        )
    })?;
    let plan = AnyPlan::of(&report.run);
    let recorded = |name: &str| {
        let file = RunFolder(folder.to_path_buf()).training(name);
        dualmd_record::read::<Training>(&file).ok()
    };
    let reported = |name: &str, of: &dyn Fn(&report::Training) -> Option<f64>| {
        let mut models = report.models.iter();
        of(models.find(|m| m.name == name)?.utility.as_ref()?)
    };
    let seconds = |name: &str| {
        let own = recorded(name).and_then(|t| t.seconds);
        own.or_else(|| reported(name, &|t: &report::Training| t.seconds))
    };
    // What only the plan says was done as planned: a model that others are made from has no entry in a report.
    let steps = |name: &str| {
        let own = recorded(name).and_then(|t| t.steps).map(Count::as_f64);
        own.or_else(|| reported(name, &|t: &report::Training| t.steps))
            .or_else(|| planned(&plan, name, |recipe| recipe.steps))
    };
    let evaluated = |name: &str| {
        let own = recorded(name).and_then(|t| t.batch).map(Count::as_f64);
        let batch = own
            .or_else(|| reported(name, &|t: &report::Training| t.batch))
            .or_else(|| planned(&plan, name, |recipe| recipe.batch))?;
        Some(steps(name)? * batch * evaluations(&plan, name))
    };
    let models: Vec<Model> = report
        .models
        .iter()
        .map(|reported| {
            let (name, parts) = (reported.name.as_str(), parts(&plan, reported));
            Model {
                seconds: cost(&plan, name, &seconds),
                steps: cost(&plan, name, &steps),
                evaluations: cost(&plan, name, &evaluated),
                calls: plan.sample.steps.map(|steps| {
                    match reported.defense.is(Defense::Ensemble) {
                        true => steps as f64 * parts.len().max(1) as f64,
                        false => steps as f64,
                    }
                }),
                parts,
                recipe: recipe(&plan, name),
                reported: reported.clone(),
            }
        })
        .collect();
    let whole = |m: &Model| {
        let training = m.utility.as_ref()?;
        training.images.filter(|_| m.defense.is(Defense::None))
    };
    Ok(Run {
        seed,
        folder: folder.to_path_buf(),
        members: plan
            .data
            .members
            .map(|n| n as f64)
            .or_else(|| models.iter().find_map(whole)),
        models,
        plan,
        blind: report.controls.blind_baseline.map(Box::new),
    })
}

/// Models that generate for this one, where that is not one of its own name: the teachers of a pair, the models of shards.
fn parts(plan: &AnyPlan, model: &ModelReport) -> Vec<String> {
    let mut own = plan.models.iter().filter(|entry| entry.name == model.name);
    let parts = match own.find_map(|entry| entry.parts.clone()) {
        Some(listed) => listed,
        // What is left of a run may have no plan.
        None if model.is_pair() => Part::teachers(None).map(|t| t.to_string()).to_vec(),
        None => Vec::new(),
    };
    match parts.as_slice() {
        [only] if *only == model.name => Vec::new(),
        _ => parts,
    }
}

/// A number of `[train]` as it was planned for a training; none of one that the plan does not have.
fn planned(plan: &AnyPlan, name: &str, of: impl Fn(&PlannedRecipe) -> Option<u64>) -> Option<f64> {
    let own = plan.training(name)?.train.as_ref().and_then(&of);
    let number = own.or_else(|| plan.train.as_ref().and_then(&of))?;
    Some(number as f64)
}

/// Network evaluations for each image of a step: one, the draws of DP-SGD, and one more for every teacher that answers. What an attacker
/// that learns along, early stopping and the measurements meanwhile evaluate is not among them.
fn evaluations(plan: &AnyPlan, name: &str) -> f64 {
    match plan.training(name).and_then(|entry| entry.kind.as_ref()) {
        Some(JobKind::DpSgd {
            noise_multiplicity, ..
        }) => *noise_multiplicity as f64,
        Some(JobKind::Student | JobKind::Kd { .. }) => 2.0,
        // Of K models all but the one that saw the image.
        Some(JobKind::KWay { shards }) => *shards as f64,
        _ => 1.0,
    }
}

/// What a model's training and everything that had to be trained for it took together, each counted once, such as seconds; `own` says what
/// one training took. None where one of them says nothing.
fn cost(plan: &AnyPlan, model: &str, own: &dyn Fn(&str) -> Option<f64>) -> Option<f64> {
    // A pair is no training of its own: its parts are.
    let target = plan.models.iter().find(|entry| entry.name == model);
    let mut left = match target.and_then(|entry| entry.parts.clone()) {
        Some(parts) => parts,
        None => vec![model.to_owned()],
    };
    let mut seen = BTreeSet::new();
    let mut total = 0.0;
    while let Some(name) = left.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        total += own(&name)?;
        if let Some(training) = plan.training(&name) {
            left.extend(training.needs.iter().cloned());
        }
    }
    Some(total)
}

/// `[train]` of a model's own training, without its length and what changes no weights; none where the plan says nothing.
fn recipe(plan: &AnyPlan, model: &str) -> Option<PlannedRecipe> {
    let mut recipe = plan.recipe(model)?.clone();
    recipe.steps = None;
    for key in [
        "epochs",
        "checkpoint_every",
        "keep_checkpoints",
        "log_every",
        "eval_every",
        "sample_every",
    ] {
        recipe.other.remove(key);
    }
    Some(recipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A student needs its teachers, kd its teacher, a pair its parts; what is shared counts once.
    #[test]
    fn costs_include_teachers() {
        let plan = AnyPlan::of(&json!({
            "models": [
                { "name": "baseline", "parts": ["baseline"] },
                { "name": "dualmd", "parts": ["teacher-1", "teacher-2"] },
                { "name": "student", "parts": ["student"] },
            ],
            "trainings": [
                { "name": "baseline", "needs": [] },
                { "name": "teacher-1", "needs": [] },
                { "name": "teacher-2", "needs": [] },
                { "name": "student", "needs": ["teacher-1", "teacher-2"] },
            ],
        }));
        let own = |name: &str| match name {
            "baseline" => Some(10.0),
            "teacher-1" => Some(11.0),
            "teacher-2" => Some(12.0),
            "student" => Some(20.0),
            _ => None,
        };
        let of = |model| cost(&plan, model, &own);
        assert_eq!(of("baseline"), Some(10.0));
        assert_eq!(of("dualmd"), Some(23.0));
        assert_eq!(of("student"), Some(43.0));
        assert_eq!(of("unknown"), None);
        // An audit's plan has no parts: the model is its own.
        let audit = AnyPlan::of(&json!({ "models": [{ "name": "baseline", "needs": [] }] }));
        assert_eq!(cost(&audit, "baseline", &own), Some(10.0));
        assert_eq!(cost(&audit, "elsewhere", &own), None);
    }

    /// 100 steps of 8: once for each image of an ordinary training, twice for a student's, four times with four draws, and once and three
    /// teachers for a student of four. The pair: both teachers. Four models draw an image of the ensemble.
    #[test]
    fn costs_in_steps_and_evaluations() {
        let dir = tempfile::tempdir().unwrap();
        let shards: Vec<String> = Part::shards(4).iter().map(Part::to_string).collect();
        let mut trainings = vec![
            json!({ "name": "teacher-1", "kind": "teacher", "half": 1, "needs": [] }),
            json!({ "name": "teacher-2", "kind": "teacher", "half": 2, "needs": [] }),
            json!({ "name": "student", "kind": "student", "needs": ["teacher-1", "teacher-2"] }),
            json!({
                "name": "dp", "kind": "dp-sgd", "epsilon": 10.0, "noise_multiplier": null, "clip": 1.0, "noise_multiplicity": 4, "delta": 1e-3,
                "needs": [], "train": { "steps": 10, "batch": 8 },
            }),
            json!({ "name": "four", "kind": "k-way", "shards": 4, "needs": shards }),
        ];
        for name in &shards {
            trainings.push(json!({ "name": name, "kind": "shard", "needs": [] }));
        }
        let plan = json!({
            "train": { "steps": 100, "batch": 8 },
            "sample": { "steps": 50 },
            "models": [
                { "name": "dualmd", "parts": ["teacher-1", "teacher-2"] },
                { "name": "student", "parts": ["student"] },
                { "name": "dp", "parts": ["dp"] },
                { "name": "four", "parts": ["four"] },
                { "name": "average", "parts": shards },
            ],
            "trainings": trainings,
        });
        let model = |name: &str, defense: &str| json!({ "name": name, "defense": defense });
        let models = [
            model("dualmd", "dualmd"),
            model("student", "distillmd"),
            model("dp", "dp-sgd"),
            model("four", "k-way"),
            model("average", "ensemble"),
        ];
        let report = json!({ "schema": 1, "run": plan, "models": models });
        std::fs::write(dir.path().join("report.json"), report.to_string()).unwrap();
        let run = read(0, dir.path()).unwrap();
        let costs = |name: &str| {
            let model = run.models.iter().find(|m| m.name == name).unwrap();
            (model.steps, model.evaluations, model.calls)
        };
        let of = |steps, evaluations, calls| (Some(steps), Some(evaluations), Some(calls));
        assert_eq!(costs("dualmd"), of(200.0, 1600.0, 50.0));
        assert_eq!(costs("student"), of(300.0, 3200.0, 50.0));
        assert_eq!(costs("dp"), of(10.0, 320.0, 50.0));
        assert_eq!(costs("four"), of(500.0, 6400.0, 50.0));
        assert_eq!(costs("average"), of(400.0, 3200.0, 200.0));
    }

    #[test]
    fn a_damaged_report_names_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("report.json"), "{}").unwrap();
        let error = format!("{:#}", read(0, dir.path()).unwrap_err());
        assert!(error.contains("dualmd report"), "{error}");
    }
}

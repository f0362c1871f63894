//! Reads a run folder leniently: only the scores are indispensable.
//!
//! Whatever else is missing or damaged ends up in [`RunFiles::missing`], and the report says so. Image paths come from
//! the folder's own JSON files, so they are only followed downwards, and only PNG files are embedded.

use std::path::Path;

use dualmd_files::limit;
use dualmd_names::{ModelKind, Part};
use dualmd_record::RunFile;
use dualmd_record::exposed::Exposed;
use dualmd_record::planned::AnyPlan;
use dualmd_record::samples::PromptedImage;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::disk::{Png, is_plain_name};
use crate::error::{AuditError, Result};
use crate::files::{ModelFiles, Pictured, RunFiles, ShownPair};
use crate::scores::read_scores;

/// Prompts of training images, and of others, that the report shows images for.
const MEMBER_PROMPTS: usize = 5;
const UNSEEN_PROMPTS: usize = 3;

/// Which samples chose and which reported, in an evidence folder.
pub const HALVES: &str = "halves.json";

/// Name of the model when a folder holds nothing but its scores.
pub const UNNAMED: &str = "model";

impl RunFiles {
    /// Reads the folder.
    ///
    /// # Errors
    /// When the folder or a score file cannot be read, when `plan.json` is damaged, or when there are no scores at all.
    pub fn read(dir: &Path) -> Result<Self> {
        dualmd_files::list(dir).map_err(|e| {
            AuditError::read(
                e,
                "give the folder that `dualmd run` or `dualmd audit` wrote",
            )
        })?;
        let mut run = Self {
            plan: Value::Object(serde_json::Map::new()),
            ..Self::default()
        };
        let plan_path = dir.join("plan.json");
        if plan_path.exists() {
            let text = dualmd_files::read(&plan_path, limit::TABLE)
                .map_err(|e| AuditError::read(e, "check its permissions"))?;
            run.plan = serde_json::from_slice(&text).map_err(|e| AuditError::Json {
                path: plan_path.clone(),
                message: e.to_string(),
                remedy: "delete it and start the run again: finished stages are kept",
            })?;
        } else {
            run.missing
                .push("plan.json: settings, seeds, versions and hardware are unknown".into());
        }
        run.split = run.record(
            dir,
            "split.json",
            "members of D1 and D2 cannot be told apart",
        );
        let exposed: Option<Vec<Exposed>> =
            run.list(dir, "exposed.json", "no list of the most exposed members");
        for entry in exposed.unwrap_or_default() {
            let picture = picture(&mut run.missing, dir, &entry.png);
            run.exposed.push(Pictured { entry, picture });
        }
        run.controls = run.record(
            dir,
            "controls.json",
            "no blind baseline: nothing rules out that the two image sets differ by themselves",
        );
        // Of an evidence folder alone; a run draws its halves from the ids.
        if dir.join(HALVES).exists() {
            run.halves = run.record(dir, HALVES, "the halves of the samples are drawn anew");
        }
        for model in run.planned(dir)? {
            let model = run.read_model(dir, model)?;
            run.models.push(model);
        }
        if run.models.iter().all(|m| m.scores.is_none()) {
            return Err(AuditError::NoScores { path: dir.into() });
        }
        Ok(run)
    }

    /// Models of the plan in its order, then whatever else has a score file; nothing is read but what the plan says.
    fn planned(&self, dir: &Path) -> Result<Vec<ModelFiles>> {
        let plan = AnyPlan::of(&self.plan);
        let some = |text: Option<String>| text.filter(|t| !t.is_empty());
        let unplanned = |name: String| ModelFiles {
            name,
            ..ModelFiles::default()
        };
        let planned = plan.models.into_iter().map(|m| ModelFiles {
            name: m.name,
            defense: m.defense,
            repeat_of: some(m.repeat_of),
            weights_blake3: some(m.weights_blake3),
            ..ModelFiles::default()
        });
        let mut models: Vec<ModelFiles> = planned.collect();
        models.retain(|m| is_plain_name(&m.name));
        let folder = dir.join("scores");
        let mut found = Vec::new();
        if folder.is_dir() {
            let entries = dualmd_files::list(&folder)
                .map_err(|e| AuditError::read(e, "check its permissions"))?;
            for path in entries {
                if let (Some(stem), true) = (
                    path.file_stem().and_then(|s| s.to_str()),
                    path.extension().is_some_and(|e| e == "csv"),
                ) {
                    found.push(stem.to_owned());
                }
            }
        } else if dir.join("scores.csv").exists() {
            // `dualmd audit` of one foreign model writes its scores at the top of the folder.
            let name = plan.name.unwrap_or_default();
            if models.len() != 1 {
                models = vec![unplanned(if is_plain_name(&name) {
                    name
                } else {
                    UNNAMED.into()
                })];
            }
        }
        found.sort();
        for name in found {
            if models.iter().all(|m| m.name != name) {
                models.push(unplanned(name));
            }
        }
        Ok(models)
    }

    fn read_model(&mut self, dir: &Path, mut model: ModelFiles) -> Result<ModelFiles> {
        let name = &model.name;
        let mut csv = dir.join("scores").join(format!("{name}.csv"));
        let mut info = format!("scores/{name}.json");
        if !csv.exists() && dir.join("scores.csv").exists() {
            csv = dir.join("scores.csv");
            info = "scores.json".into();
        }
        if csv.exists() {
            model.scores = Some(read_scores(&csv)?);
            model.info = self.record(
                dir,
                &info,
                "the cost of the attacks and the access they need are unknown",
            );
        } else {
            self.missing
                .push(format!("scores/{name}.csv: {name} was not attacked"));
        }
        let mut ignored = Vec::new();
        // A pair of teachers has no weights, training or log of its own.
        let trained = model.defense.defense().is_none_or(|d| d.facts().trains);
        let quiet = match trained {
            true => &mut self.missing,
            false => &mut ignored,
        };
        model.training = given(
            quiet,
            dir,
            &format!("models/{name}/training.json"),
            "its losses and cost are unknown",
            dualmd_record::parse,
        );
        let log_path = format!("logs/{name}.jsonl");
        match dualmd_files::read_text(&dir.join(&log_path), limit::TABLE) {
            // A line that a killed run left half written is skipped: the curve does not depend on it.
            Ok(text) => {
                model.log = text
                    .lines()
                    .filter_map(|l| serde_json::from_str(l).ok())
                    .collect()
            }
            Err(_) => quiet.push(format!("{log_path}: no training curve of {name}")),
        }
        let samples = dir.join("samples").join(name);
        let own = |file: &str| match file {
            "" => String::new(),
            file => format!("samples/{name}/{file}"),
        };
        model.grid = picture(&mut self.missing, dir, &own("grid.png"));
        let base = model.repeat_of.as_deref().unwrap_or(name);
        if model.grid.is_none() && Part::half(base).is_none() {
            self.missing
                .push(format!("samples/{name}/grid.png: no pictures of {name}"));
        }
        let sets = format!("sets/{name}.json");
        if dir.join(&sets).exists() {
            model.sets = self.record(dir, &sets, "no tests of whole sets of images");
        }
        if dir.join("utility").join(format!("{name}.json")).exists() {
            model.utility = self.record(
                dir,
                &format!("utility/{name}.json"),
                "what its images are worth is unknown",
            );
        }
        if samples.join("nearest.json").exists() {
            model.nearest = self.record(&samples, "nearest.json", "no nearest training images");
        }
        let prompted: Option<Vec<PromptedImage>> = match samples.join("prompts.json").exists() {
            true => self.list(
                &samples,
                "prompts.json",
                "what the images were drawn for is unknown",
            ),
            false => None,
        };
        let prompted = prompted.unwrap_or_default();
        for pair in model.nearest.iter().flat_map(|nearest| &nearest.pairs) {
            let drawn_for = prompted.iter().find(|p| p.png == pair.sample);
            model.pairs.push(ShownPair {
                prompt: drawn_for.and_then(|p| p.prompt.clone()),
                pictures: (
                    picture(&mut self.missing, dir, &own(&pair.sample)),
                    picture(&mut self.missing, dir, &own(&pair.member_png)),
                ),
                pair: pair.clone(),
            });
        }
        for entry in shown(prompted) {
            let picture = picture(&mut self.missing, dir, &own(&entry.png));
            model.prompted.push(Pictured { entry, picture });
        }
        if model.defense == ModelKind::default()
            && let Some(training) = &model.training
        {
            model.defense.clone_from(&training.defense);
        }
        Ok(model)
    }

    /// A file with a version.
    fn record<T: RunFile>(&mut self, dir: &Path, relative: &str, consequence: &str) -> Option<T> {
        given(
            &mut self.missing,
            dir,
            relative,
            consequence,
            dualmd_record::parse,
        )
    }

    /// A file that is a list.
    fn list<T: DeserializeOwned>(
        &mut self,
        dir: &Path,
        relative: &str,
        consequence: &str,
    ) -> Option<Vec<T>> {
        given(&mut self.missing, dir, relative, consequence, |bytes| {
            serde_json::from_slice(bytes)
        })
    }
}

/// A picture of the run folder; says in `missing` what is there and cannot be embedded.
fn picture(missing: &mut Vec<String>, dir: &Path, relative: &str) -> Option<Png> {
    Png::read(dir, relative).unwrap_or_else(|refused| {
        missing.push(refused);
        None
    })
}

/// The first image of the first few prompts of either kind.
fn shown(prompted: Vec<PromptedImage>) -> Vec<PromptedImage> {
    let mut taken: Vec<PromptedImage> = Vec::new();
    for image in prompted {
        let of_its_kind = taken.iter().filter(|t| t.member == image.member).count();
        let most = if image.member {
            MEMBER_PROMPTS
        } else {
            UNSEEN_PROMPTS
        };
        let new = taken.iter().all(|t| t.prompt != image.prompt);
        if new && of_its_kind < most && image.prompt.is_some() {
            taken.push(image);
        }
    }
    taken
}

/// Reads an optional JSON file; says in `missing` what follows from its absence or damage.
fn given<T, E: std::fmt::Display>(
    missing: &mut Vec<String>,
    dir: &Path,
    relative: &str,
    consequence: &str,
    parse: impl Fn(&[u8]) -> std::result::Result<T, E>,
) -> Option<T> {
    let bytes = match dualmd_files::read(&dir.join(relative), limit::TABLE) {
        Ok(bytes) => bytes,
        Err(e) if e.is_absent() => {
            missing.push(format!("{relative}: {consequence}"));
            return None;
        }
        Err(e) => {
            missing.push(format!("{relative} cannot be used ({e}): {consequence}"));
            return None;
        }
    };
    match parse(&bytes) {
        Ok(value) => Some(value),
        Err(e) => {
            missing.push(format!("{relative} cannot be used ({e}): {consequence}"));
            None
        }
    }
}

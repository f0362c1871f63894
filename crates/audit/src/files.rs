//! The files of a run folder, read leniently: only the scores are indispensable.
//!
//! Whatever else is missing or damaged ends up in [`RunFiles::missing`], and the report says so. Image paths come from
//! the folder's own JSON files, so they are only followed downwards, and only PNG files are embedded.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::error::{AuditError, Result};
use crate::scores::{ScoresFile, read_scores};

/// Everything the report can use from a run folder.
#[derive(Debug, Default)]
pub struct RunFiles {
    /// `plan.json`, or an empty object.
    pub plan: Value,
    /// `split.json`, if it is there.
    pub split: Option<SplitFile>,
    /// One entry per model, in the order of the plan, then by name.
    pub models: Vec<ModelFiles>,
    /// `exposed.json`: the most exposed members with their thumbnails.
    pub exposed: Vec<Exposed>,
    /// `controls.json`, written by the attack stage.
    pub controls: Option<ControlsFile>,
    /// What is not there or could not be used, one sentence each.
    pub missing: Vec<String>,
}

/// The files of one model.
#[derive(Debug, Default)]
pub struct ModelFiles {
    /// Folder name under `models/` and stem of the score file.
    pub name: String,
    /// `none`, `dualmd`, `distillmd`, `kd`, ... as the plan says.
    pub defense: String,
    /// `scores/NAME.csv`.
    pub scores: Option<ScoresFile>,
    /// `scores/NAME.json`.
    pub info: Option<ScoreInfo>,
    /// `models/NAME/training.json`.
    pub training: Option<Training>,
    /// `logs/NAME.jsonl`.
    pub log: Vec<LogPoint>,
    /// `samples/NAME/nearest.json`.
    pub nearest: Option<Nearest>,
    /// `samples/NAME/grid.png`.
    pub grid: Option<Png>,
}

/// The parts of `split.json` that the report uses.
#[derive(Debug, Default, Deserialize)]
pub struct SplitFile {
    /// How the sides were drawn: `half`, `coin-flip` or `import`.
    #[serde(default)]
    pub method: String,
    /// Hash over ids and sides.
    #[serde(default)]
    pub hash: String,
    /// Members with their half.
    #[serde(default)]
    pub members: Vec<SplitMember>,
    /// Non-members.
    #[serde(default)]
    pub nonmembers: Vec<SplitMember>,
}

/// One image of a split.
#[derive(Debug, Deserialize)]
pub struct SplitMember {
    /// Content hash of the image.
    pub id: String,
    /// 1 = D1 (teacher 1 trained on it), 2 = D2; absent for non-members.
    #[serde(default)]
    pub half: Option<u8>,
}

impl SplitFile {
    /// Half (1 or 2) of every member that has one.
    pub fn halves(&self) -> BTreeMap<&str, u8> {
        self.members.iter().filter_map(|m| Some((m.id.as_str(), m.half?))).collect()
    }
}

/// `scores/NAME.json`: how the scores came about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScoreInfo {
    /// One entry per attack that was asked for, failed ones included.
    pub attacks: Vec<AttackInfo>,
    /// Calls of the network over all attacks, and calls saved by sharing them between attacks.
    pub network_calls_made: Option<f64>,
    /// See `network_calls_made`.
    pub network_calls_saved: Option<f64>,
    /// Sentences for the reader, e.g. that eps(x,0) is far from unit variance.
    pub warnings: Vec<String>,
    /// `ema` or `raw`.
    pub weights: Option<String>,
    /// Number format the network ran in.
    pub dtype: Option<String>,
}

/// One attack as `scores/NAME.json` describes it.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct AttackInfo {
    /// Name as in the score file.
    pub attack: String,
    /// Name for people.
    pub title: Option<String>,
    /// `white-box`, `grey-box` or `black-box`.
    pub access: Option<String>,
    /// Calls of the network per sample.
    pub network_calls_per_sample: Option<f64>,
    /// Wall time over all samples, s.
    pub seconds: Option<f64>,
    /// `ok` or `failed`.
    pub status: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Timesteps, norms and the like.
    pub parameters: Value,
}

/// `models/NAME/training.json`. Absent fields stay `None` and are shown as not recorded.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Training {
    /// Optimiser steps.
    pub steps: Option<f64>,
    /// Images per step.
    pub batch: Option<f64>,
    /// Peak learning rate.
    pub learning_rate: Option<f64>,
    /// Seed of this model's training.
    pub seed: Option<u64>,
    /// Hash of the split it was trained with.
    pub split_hash: Option<String>,
    /// Trainable parameters.
    pub parameters: Option<f64>,
    /// Images it was trained on.
    pub images: Option<f64>,
    /// Mean squared error of the noise prediction at the end, on training batches.
    pub train_loss: Option<f64>,
    /// The same on all members without dropout or augmentation.
    pub member_loss: Option<f64>,
    /// The same on non-members.
    pub heldout_loss: Option<f64>,
    /// Wall time, s.
    pub seconds: Option<f64>,
    /// Training speed.
    pub images_per_second: Option<f64>,
    /// Threads used.
    pub threads: Option<f64>,
    /// `f32` or `bf16`.
    pub dtype: Option<String>,
    /// Peak resident memory, MB.
    pub peak_rss_mb: Option<f64>,
    /// Names of the teachers, if it was distilled.
    pub teachers: Vec<String>,
}

/// One line of `logs/NAME.jsonl`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct LogPoint {
    /// Optimiser step.
    pub step: f64,
    /// Training loss.
    pub loss: Option<f64>,
    /// Loss on members.
    pub member_loss: Option<f64>,
    /// Loss on non-members.
    pub heldout_loss: Option<f64>,
}

/// `samples/NAME/nearest.json`; distances are root mean squared errors per pixel on [0, 1].
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Nearest {
    /// How many images were generated for the medians.
    pub n_generated: Option<f64>,
    /// Generated images with their nearest training image.
    pub pairs: Vec<NearestPair>,
    /// Median distance of generated images to the nearest member.
    pub median_distance_members: Option<f64>,
    /// Median distance of generated images to the nearest held-out image.
    pub median_distance_heldout: Option<f64>,
    /// How near unseen images lie to the training set.
    pub heldout_reference: HeldoutReference,
}

/// Distances of held-out images to the nearest member: what "near" means without copying.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct HeldoutReference {
    /// 5 % quantile.
    pub q05: Option<f64>,
    /// Median.
    pub median: Option<f64>,
}

/// A generated image beside its nearest training image.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct NearestPair {
    /// File of the generated image, relative to `samples/NAME`.
    pub sample: String,
    /// Id of the nearest member.
    pub member_id: String,
    /// File of the nearest member, relative to `samples/NAME`.
    pub member_png: String,
    /// Distance to the nearest member.
    pub distance: Option<f64>,
    /// Distance to the nearest held-out image.
    pub heldout_distance: Option<f64>,
    /// The two pictures, read from the files above.
    #[serde(skip)]
    pub pictures: (Option<Png>, Option<Png>),
}

/// One entry of `exposed.json`.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Exposed {
    /// Model under attack.
    pub model: String,
    /// Attack that found the member.
    pub attack: String,
    /// Id of the member.
    pub id: String,
    /// Thumbnail, relative to the run folder.
    pub png: String,
    /// Its score.
    pub score: f64,
    /// 1 = the most exposed.
    pub rank: u32,
    /// The thumbnail.
    #[serde(skip)]
    pub picture: Option<Png>,
}

/// `controls.json`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct ControlsFile {
    /// A classifier that sees images only, never the model.
    pub blind_baseline: Option<BlindBaselineFile>,
}

/// The blind baseline as the attack stage measured it.
#[derive(Debug, Clone, Deserialize)]
pub struct BlindBaselineFile {
    /// Its AUC.
    pub auc: f64,
    /// 95 % interval.
    pub auc_ci: [f64; 2],
    /// What it looked at.
    #[serde(default)]
    pub features: Value,
    /// How it was trained and judged.
    #[serde(default)]
    pub method: Value,
}

/// A PNG file ready to be embedded.
#[derive(Debug, Clone)]
pub struct Png {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Width in pixels, from the header.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Largest PNG that is embedded: the report has to stay a file one can mail.
const MAX_PNG_BYTES: u64 = 1 << 20;

impl Png {
    /// Reads `relative` below `base`. `None` if it is absent, leaves `base`, is too large or no PNG.
    pub fn read(base: &Path, relative: &str) -> Option<Self> {
        let path = Path::new(relative);
        if relative.is_empty() || !path.components().all(|c| matches!(c, Component::Normal(_))) {
            return None;
        }
        let path = base.join(path);
        if std::fs::metadata(&path).ok()?.len() > MAX_PNG_BYTES {
            return None;
        }
        let bytes = std::fs::read(path).ok()?;
        // Signature, then the IHDR chunk, which the format puts first: width and height at bytes 16 and 20.
        let head = bytes.get(..24).filter(|h| h.starts_with(b"\x89PNG\r\n\x1a\n"))?;
        let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let (width, height) = (number(16)?, number(20)?);
        Some(Self { bytes, width, height })
    }
}

impl RunFiles {
    /// Reads the folder.
    ///
    /// # Errors
    /// When the folder or a score file cannot be read, when `plan.json` is damaged, or when there are no scores at all.
    pub fn read(dir: &Path) -> Result<Self> {
        std::fs::read_dir(dir)
            .map_err(|e| AuditError::read(dir, e, "give the folder that `dualmd run` or `dualmd audit` wrote"))?;
        let mut run = Self { plan: Value::Object(serde_json::Map::new()), ..Self::default() };
        let plan_path = dir.join("plan.json");
        if plan_path.exists() {
            let text = std::fs::read(&plan_path).map_err(|e| AuditError::read(&plan_path, e, "check its permissions"))?;
            run.plan = serde_json::from_slice(&text).map_err(|e| AuditError::Json {
                path: plan_path.clone(),
                message: e.to_string(),
                remedy: "delete it and start the run again: finished stages are kept",
            })?;
        } else {
            run.missing.push("plan.json: settings, seeds, versions and hardware are unknown".into());
        }
        run.split = run.optional(dir, "split.json", "members of D1 and D2 cannot be told apart");
        run.exposed = run.optional::<Vec<Exposed>>(dir, "exposed.json", "no list of the most exposed members").unwrap_or_default();
        for entry in &mut run.exposed {
            entry.picture = Png::read(dir, &entry.png);
        }
        run.controls = run.optional(dir, "controls.json", "no blind baseline: nothing rules out that the two image sets differ by themselves");
        for (name, defense) in run.model_names(dir)? {
            let model = run.read_model(dir, name, defense)?;
            run.models.push(model);
        }
        if run.models.iter().all(|m| m.scores.is_none()) {
            return Err(AuditError::NoScores { path: dir.into() });
        }
        Ok(run)
    }

    /// Models of the plan in its order, then whatever else has a score file.
    fn model_names(&self, dir: &Path) -> Result<Vec<(String, String)>> {
        let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut names: Vec<(String, String)> = self
            .plan
            .get("models")
            .and_then(Value::as_array)
            .map(|models| models.iter().map(|m| (text(m, "name"), text(m, "defense"))).collect())
            .unwrap_or_default();
        names.retain(|(name, _)| is_plain_name(name));
        let folder = dir.join("scores");
        let mut found = Vec::new();
        if folder.is_dir() {
            let entries = std::fs::read_dir(&folder).map_err(|e| AuditError::read(&folder, e, "check its permissions"))?;
            for path in entries.flatten().map(|e| e.path()) {
                if let (Some(stem), true) = (path.file_stem().and_then(|s| s.to_str()), path.extension().is_some_and(|e| e == "csv")) {
                    found.push((stem.to_owned(), String::new()));
                }
            }
        } else if dir.join("scores.csv").exists() {
            // `dualmd audit` of one foreign model writes its scores at the top of the folder.
            let name = text(&self.plan, "name");
            if names.len() != 1 {
                names = vec![(if is_plain_name(&name) { name } else { "model".into() }, String::new())];
            }
        }
        found.sort();
        for entry in found {
            if names.iter().all(|(name, _)| *name != entry.0) {
                names.push(entry);
            }
        }
        Ok(names)
    }

    fn read_model(&mut self, dir: &Path, name: String, defense: String) -> Result<ModelFiles> {
        let mut csv = dir.join("scores").join(format!("{name}.csv"));
        let mut info = format!("scores/{name}.json");
        if !csv.exists() && dir.join("scores.csv").exists() {
            csv = dir.join("scores.csv");
            info = "scores.json".into();
        }
        let mut model = ModelFiles { name, defense, ..ModelFiles::default() };
        let name = &model.name;
        if csv.exists() {
            model.scores = Some(read_scores(&csv)?);
            model.info = self.optional(dir, &info, "the cost of the attacks and the access they need are unknown");
        } else {
            self.missing.push(format!("scores/{name}.csv: {name} was not attacked"));
        }
        let mut ignored = Vec::new();
        // A pair of teachers has no weights, training or log of its own.
        let quiet = if model.defense == "dualmd" { &mut ignored } else { &mut self.missing };
        model.training = optional(quiet, dir, &format!("models/{name}/training.json"), "its losses and cost are unknown");
        let log_path = format!("logs/{name}.jsonl");
        match std::fs::read_to_string(dir.join(&log_path)) {
            // A line that a killed run left half written is skipped: the curve does not depend on it.
            Ok(text) => model.log = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect(),
            Err(_) => quiet.push(format!("{log_path}: no training curve of {name}")),
        }
        let samples = dir.join("samples").join(name);
        model.grid = Png::read(&samples, "grid.png");
        if model.grid.is_none() && !name.starts_with("teacher") {
            self.missing.push(format!("samples/{name}/grid.png: no pictures of {name}"));
        }
        if samples.join("nearest.json").exists() {
            model.nearest = self.optional(&samples, "nearest.json", "no nearest training images");
        }
        if let Some(nearest) = &mut model.nearest {
            for pair in &mut nearest.pairs {
                pair.pictures = (Png::read(&samples, &pair.sample), Png::read(&samples, &pair.member_png));
            }
        }
        if model.defense.is_empty() && let Some(training) = read_json::<Value>(dir, &format!("models/{name}/training.json")) {
            model.defense = training.get("defense").and_then(Value::as_str).unwrap_or_default().to_owned();
        }
        Ok(model)
    }

    fn optional<T: DeserializeOwned>(&mut self, dir: &Path, relative: &str, consequence: &str) -> Option<T> {
        optional(&mut self.missing, dir, relative, consequence)
    }
}

/// Reads an optional JSON file; says in `missing` what follows from its absence or damage.
fn optional<T: DeserializeOwned>(missing: &mut Vec<String>, dir: &Path, relative: &str, consequence: &str) -> Option<T> {
    let Ok(text) = std::fs::read(dir.join(relative)) else {
        missing.push(format!("{relative}: {consequence}"));
        return None;
    };
    match serde_json::from_slice(&text) {
        Ok(value) => Some(value),
        Err(e) => {
            missing.push(format!("{relative} cannot be used ({e}): {consequence}"));
            None
        }
    }
}

fn read_json<T: DeserializeOwned>(dir: &Path, relative: &str) -> Option<T> {
    serde_json::from_slice(&std::fs::read(dir.join(relative)).ok()?).ok()
}

/// A name that is one folder and nothing else: it becomes part of paths.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// Writes a file so that a reader sees the old one or the new one, never a part: temporary file beside it, flush to
/// disk, rename.
///
/// # Errors
/// Names the file (a full disk, a folder that may not be written to); the temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e: std::io::Error| AuditError::write(path, e);
    let parent: PathBuf = path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| ".".into(), Path::to_path_buf);
    std::fs::create_dir_all(&parent).map_err(fail)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".dualmd-").suffix(".partial");
    #[cfg(unix)]
    {
        // tempfile's default 0600 would make reports unreadable for everyone else; the umask still applies.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(&parent).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_never_come_from_outside_the_folder() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inner = dir.path().join("run");
        std::fs::create_dir(&inner).expect("mkdir");
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 0, 7, 0, 0, 0, 9]);
        std::fs::write(dir.path().join("secret.png"), &png).expect("write");
        std::fs::write(inner.join("ok.png"), &png).expect("write");
        std::fs::write(inner.join("text.png"), b"hello").expect("write");
        assert!(Png::read(&inner, "../secret.png").is_none());
        let absolute = dir.path().join("secret.png");
        assert!(Png::read(&inner, absolute.to_str().expect("utf-8")).is_none());
        assert!(Png::read(&inner, "text.png").is_none());
        let ok = Png::read(&inner, "ok.png").expect("png");
        assert_eq!((ok.width, ok.height), (7, 9));
        assert!(!is_plain_name("../x") && !is_plain_name("a/b") && !is_plain_name("") && is_plain_name("a b<c>"));
    }

    #[test]
    fn files_are_replaced_whole() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("new").join("x.txt");
        write_atomic(&path, b"one").expect("write");
        write_atomic(&path, b"two").expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(std::fs::read_dir(path.parent().expect("parent")).expect("list").count(), 1);
        let error = write_atomic(&dir.path().join("new/x.txt/y"), b"").expect_err("a file is no folder").to_string();
        assert!(error.contains("x.txt"), "{error}");
    }
}

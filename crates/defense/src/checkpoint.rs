//! Checkpoints: `checkpoint-N/{unet,unet_ema}/diffusion_pytorch_model.safetensors`, `optimizer.safetensors`, `state.json`,
//! and `unet_kept/...` where early stopping holds on to earlier averages.
//!
//! The names are those of accelerate's folders; the contents are never pickles. A checkpoint is written to a hidden
//! folder, synced, and renamed when complete; `state.json` holds a hash of every file, so that a truncated one is noticed
//! and the one before it is used. At any moment, killed or without power, the last good checkpoint is there: a whole one of
//! the same step is kept as it is, and older ones go after the new one has its name.

use crate::optimizer::Optimizer;
use crate::{DefenseError, KeptAt, Result};
use dualmd_files::{Building, limit, remove_folder};
use dualmd_torch::{Tensor, weights};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const FILES: [&str; 3] = ["unet", "unet_ema", "optimizer.safetensors"];
/// A fourth, in runs with early stopping.
const KEPT: &str = "unet_kept";

/// The running mean of the training loss, so that a resumed run logs what an unbroken one would have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LossSoFar {
    /// Sum over the steps since the last line of the log.
    pub sum: f64,
    /// Number of those steps.
    pub count: u64,
    /// The mean of the last line.
    pub last: f64,
}

/// How far a training is, beside its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stand {
    /// Seconds of training so far.
    pub seconds: f64,
    /// The running loss.
    pub loss: LossSoFar,
    /// Processes that trained it.
    pub ranks: usize,
}

fn one() -> usize {
    1
}

// By reference, because serde's attribute calls it so.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(value: &usize) -> bool {
    *value == 1
}

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Where the running mean of the training loss stands.
    #[serde(default)]
    pub loss: LossSoFar,
    /// Processes that trained the last step before it; another number may go on, and gives other last digits.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ranks: usize,
    /// Which averages early stopping holds on to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptAt>,
    /// Hash of everything that defines the run (settings, seed, data, network): another run's checkpoint is refused.
    pub fingerprint: String,
    /// blake3 of every file.
    pub files: BTreeMap<String, String>,
}

fn file_error(path: &Path, reason: impl std::fmt::Display) -> DefenseError {
    DefenseError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn path(folder: &Path, name: &str) -> PathBuf {
    if name.ends_with(".safetensors") {
        folder.join(name)
    } else {
        folder.join(name).join(WEIGHTS)
    }
}

fn hash(path: &Path) -> Result<String> {
    let bytes = dualmd_files::read(path, limit::WEIGHTS)?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Writes `checkpoint-STEP` and removes all but the newest `keep`. A whole checkpoint of this step and run that is there
/// already says the same, and stays.
///
/// # Errors
/// What writing gives, naming the file; earlier checkpoints are then untouched.
pub fn save(
    root: &Path,
    optimizer: &Optimizer,
    step: u64,
    stand: Stand,
    fingerprint: &str,
    keep: usize,
) -> Result<()> {
    let folder = root.join(format!("checkpoint-{step}"));
    let same = |state: &State| state.step == step && state.fingerprint == fingerprint;
    if !read(&folder).is_ok_and(|(state, ..)| same(&state)) {
        write(&folder, optimizer, step, stand, fingerprint)?;
    }
    for (_, old) in list(root)?.into_iter().rev().skip(keep.max(1)) {
        remove_folder(&old)?;
    }
    Ok(())
}

/// Writes a checkpoint, in place of a broken one if there is one.
fn write(
    folder: &Path,
    optimizer: &Optimizer,
    step: u64,
    stand: Stand,
    fingerprint: &str,
) -> Result<()> {
    let building = Building::new(folder)?;
    let partial = building.path();
    let mut files = BTreeMap::new();
    let contents = [optimizer.raw(), optimizer.ema(), optimizer.state()];
    let kept = optimizer.kept_weights().map(|weights| (KEPT, weights));
    for (name, tensors) in FILES.into_iter().zip(contents).chain(kept) {
        let path = path(partial, name);
        dualmd_files::create_folder(path.parent().unwrap_or(partial))?;
        let views = tensors
            .iter()
            .map(|(n, t): &(String, Tensor)| (n.as_str(), t));
        weights::write_safetensors(&path, views, &[("format", "pt")])?;
        files.insert(name.to_owned(), hash(&path)?);
    }
    let state = State {
        step,
        seconds: stand.seconds,
        loss: stand.loss,
        ranks: stand.ranks,
        kept: optimizer.kept_at(),
        fingerprint: fingerprint.to_owned(),
        files,
    };
    let state_path = partial.join("state.json");
    let json = serde_json::to_vec_pretty(&state).map_err(|e| file_error(&state_path, e))?;
    dualmd_files::write(&state_path, &json)?;
    Ok(building.finish()?)
}

/// Complete or broken checkpoint folders, oldest first.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(root: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    if !root.exists() {
        return Ok(found);
    }
    for path in dualmd_files::list(root)? {
        let step = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix("checkpoint-"))
            .and_then(|n| n.parse().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Puts the newest whole checkpoint into `optimizer`. Returns its state, `None` if there is none; `warn` hears of each
/// broken one that was passed over.
///
/// # Errors
/// Checkpoints exist but none is usable, or they belong to another run.
pub fn resume(
    root: &Path,
    optimizer: &mut Optimizer,
    fingerprint: &str,
    warn: &mut dyn FnMut(String),
) -> Result<Option<State>> {
    let found = list(root)?;
    let mut last_problem = None;
    let mut broken = Vec::new();
    for (step, folder) in found.iter().rev() {
        match read(folder) {
            Ok((state, [raw, ema, optimizer_state], kept)) => {
                if state.fingerprint != fingerprint {
                    return Err(file_error(
                        folder,
                        "is a checkpoint of another run (settings, data, split or seed differ): choose another --out, \
                         or remove the folder",
                    ));
                }
                optimizer.restore(&raw, &ema, &optimizer_state)?;
                if let Some((at, weights)) = kept {
                    optimizer.restore_kept(at, &weights)?;
                }
                // Out of the way, or they would count as the newest ones and push good checkpoints out.
                for (step, folder) in broken {
                    let aside = root.join(format!(".broken-{step}"));
                    remove_folder(&aside)?;
                    set_aside(folder, &aside)?;
                }
                return Ok(Some(state));
            }
            Err(problem) => {
                warn(format!("{problem}; trying the checkpoint before it"));
                last_problem = Some(problem);
                broken.push((step, folder));
            }
        }
    }
    match last_problem {
        Some(problem) => Err(file_error(
            root,
            format!(
                "has no usable checkpoint ({problem}); remove the folder to train this model from the start"
            ),
        )),
        None => Ok(None),
    }
}

/// Gives a broken checkpoint a name that is no checkpoint's.
#[expect(
    clippy::disallowed_methods,
    reason = "a folder that is there changes its name; nothing is written"
)]
fn set_aside(folder: &Path, aside: &Path) -> Result<()> {
    std::fs::rename(folder, aside).map_err(|e| file_error(aside, e))
}

type Tensors = BTreeMap<String, Tensor>;

/// A whole checkpoint: its state, the three files, and what early stopping kept.
type Contents = (State, [Tensors; 3], Option<(KeptAt, Tensors)>);

fn read(folder: &Path) -> Result<Contents> {
    let state_path = folder.join("state.json");
    let text = dualmd_files::read_text(&state_path, limit::SETTINGS)?;
    let state: State = serde_json::from_str(&text).map_err(|e| file_error(&state_path, e))?;
    let whole = |name: &str| -> Result<Tensors> {
        let path = path(folder, name);
        if state.files.get(name) != Some(&hash(&path)?) {
            return Err(file_error(
                &path,
                "is damaged (its hash is not the one in state.json)",
            ));
        }
        Ok(weights::read_safetensors(&path)?)
    };
    let [raw, ema, optimizer] = FILES;
    let tensors = [whole(raw)?, whole(ema)?, whole(optimizer)?];
    let kept = match state.kept {
        Some(at) => Some((at, whole(KEPT)?)),
        None => None,
    };
    Ok((state, tensors, kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_diffusion::nn::Parameters;
    use std::collections::BTreeSet;

    fn optimizer(weight: f32) -> Optimizer {
        let one = Tensor::from_slice(&[weight]);
        Optimizer::new(&Parameters(vec![("w".into(), one)]))
    }

    fn names(root: &Path) -> BTreeSet<String> {
        let name = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().into_owned();
        dualmd_files::list(root).unwrap().iter().map(name).collect()
    }

    fn resumed(root: &Path) -> (u64, f64) {
        let mut found = optimizer(0.0);
        let state = resume(root, &mut found, "run", &mut |_| {}).unwrap();
        (state.unwrap().step, found.raw()[0].1.double_value(&[0]))
    }

    #[test]
    fn the_last_good_checkpoint_is_always_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let save = |weight, step, seconds| {
            let stand = Stand {
                seconds,
                loss: LossSoFar::default(),
                ranks: 1,
            };
            save(root, &optimizer(weight), step, stand, "run", 2).unwrap();
        };
        save(1.0, 10, 1.0);
        save(2.0, 20, 2.0);
        save(3.0, 30, 3.0);
        let all = ["checkpoint-20", "checkpoint-30"].map(str::to_owned);
        assert_eq!(names(root), BTreeSet::from(all.clone()));
        // Of the same step and run: the one that is there is not touched.
        let state = root.join("checkpoint-30/state.json");
        let before = std::fs::metadata(&state).unwrap().modified().unwrap();
        save(3.0, 30, 9.0);
        assert_eq!(
            std::fs::metadata(&state).unwrap().modified().unwrap(),
            before
        );
        assert_eq!(resumed(root), (30, 3.0));
        // A broken one of the same step is replaced, as is one of another run.
        std::fs::write(root.join("checkpoint-30/optimizer.safetensors"), b"").unwrap();
        save(4.0, 30, 3.0);
        assert_eq!(resumed(root), (30, 4.0));
        let text = std::fs::read_to_string(&state).unwrap();
        std::fs::write(&state, text.replace("\"run\"", "\"other\"")).unwrap();
        save(5.0, 30, 3.0);
        assert_eq!(resumed(root), (30, 5.0));
        assert_eq!(names(root), BTreeSet::from(all));
    }
}

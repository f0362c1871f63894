//! Checkpoints: `checkpoint-N/{unet,unet_ema}/diffusion_pytorch_model.safetensors`, `optimizer.safetensors`, `state.json`,
//! and `unet_kept/...` where early stopping holds on to earlier averages.
//!
//! The names are those of accelerate's folders; the contents are never pickles. A checkpoint is written to a hidden
//! folder and renamed when complete; `state.json` holds a hash of every file, so that a truncated one is noticed and
//! the one before it is used.

use crate::optimizer::Optimizer;
use crate::{DefenseError, KeptAt, Result};
use dualmd_files::limit;
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

/// Writes `checkpoint-STEP` and removes all but the newest `keep`. `progress`: seconds of training and the running loss.
///
/// # Errors
/// What writing gives, naming the file; earlier checkpoints are then untouched.
pub fn save(
    root: &Path,
    optimizer: &Optimizer,
    step: u64,
    progress: (f64, LossSoFar),
    fingerprint: &str,
    keep: usize,
) -> Result<()> {
    let (seconds, loss) = progress;
    let partial = root.join(format!(".partial-{step}"));
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(|e| file_error(&partial, e))?;
    }
    let mut files = BTreeMap::new();
    let contents = [optimizer.raw(), optimizer.ema(), optimizer.state()];
    let kept = optimizer.kept_weights().map(|weights| (KEPT, weights));
    for (name, tensors) in FILES.into_iter().zip(contents).chain(kept) {
        let path = path(&partial, name);
        dualmd_files::create_folder(path.parent().unwrap_or(&partial))?;
        let views = tensors
            .iter()
            .map(|(n, t): &(String, Tensor)| (n.as_str(), t));
        weights::write_safetensors(&path, views, &[("format", "pt")])?;
        files.insert(name.to_owned(), hash(&path)?);
    }
    let state = State {
        step,
        seconds,
        loss,
        kept: optimizer.kept_at(),
        fingerprint: fingerprint.to_owned(),
        files,
    };
    let state_path = partial.join("state.json");
    let json = serde_json::to_vec_pretty(&state).map_err(|e| file_error(&state_path, e))?;
    dualmd_files::write(&state_path, &json)?;
    let folder = root.join(format!("checkpoint-{step}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|e| file_error(&folder, e))?;
    }
    std::fs::rename(&partial, &folder).map_err(|e| file_error(&folder, e))?;
    for (_, old) in list(root)?.into_iter().rev().skip(keep.max(1)) {
        std::fs::remove_dir_all(&old).map_err(|e| file_error(&old, e))?;
    }
    Ok(())
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
                    if aside.exists() {
                        std::fs::remove_dir_all(&aside).map_err(|e| file_error(&aside, e))?;
                    }
                    std::fs::rename(folder, &aside).map_err(|e| file_error(&aside, e))?;
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

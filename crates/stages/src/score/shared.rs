//! Scoring by several processes: each looks at the batches of its share, and a last call scores.

use super::kept::Kept;
use super::network::{Ready, key};
use super::parts;
use super::subject::{Label, Subject};
use crate::session::Session;
use anyhow::Result;
use dualmd_attack::{Looked, Share};
use dualmd_torch::Tensor;

/// What one of several processes did for a model.
#[derive(Debug, Clone)]
pub struct PartDone {
    /// The model's name in files.
    pub model: String,
    /// Batches, and attacks that failed on some.
    pub looked: Looked,
    /// Attacks whose scores are there from an earlier call.
    pub kept: usize,
    /// Attacks that the call which scores does alone: they compare images that are generated first.
    pub left: Vec<String>,
}

/// Looks at the batches of a share, with all attacks of the subject that ask the network, and leaves them in the folder of parts:
/// [`score`](super::score) finds them there. Nobody has a score yet.
///
/// # Errors
/// As [`score`](super::score); a folder with parts of something else.
pub fn score_part(
    subject: &Subject<'_>,
    x: &Tensor,
    labels: &[Label],
    kept: &Kept,
    share: Share,
    session: &Session,
) -> Result<PartDone> {
    let ready = Ready::new(subject, x, labels, &session.engine)?;
    let (mut methods, mut fingerprints, mut left) = (Vec::new(), Vec::new(), Vec::new());
    let mut reused = 0;
    for spec in subject.attacks {
        if ready.is_compared(spec) {
            left.push(spec.to_string());
            continue;
        }
        let shadow = match ready.taught_by {
            Some(_) => ready.base.shadow(spec),
            None => kept.shadow(spec),
        };
        let (method, _, fingerprint) = ready.method(subject, spec, shadow.as_ref())?;
        if kept.scores.contains_key(&fingerprint) {
            reused += 1;
        } else if ready.lacks(&method).is_none() {
            methods.push(method);
            fingerprints.push(fingerprint);
        }
    }
    let mut looked = Looked::default();
    if !methods.is_empty() {
        let of = key(fingerprints.iter(), subject);
        let parts = parts::Folder::share(subject.parts, &of)?;
        looked = ready.ask(
            subject,
            &methods,
            &parts,
            session,
            |denoiser, schedule, samples, methods, options| {
                dualmd_attack::run_share(denoiser, schedule, samples, methods, options, share)
            },
        )?;
    }
    Ok(PartDone {
        model: subject.name.to_owned(),
        looked,
        kept: reused,
        left,
    })
}

//! Several captions: a model that was trained with one of them is asked with all.
//!
//! *Source*: no paper; the adaptive attack that prompt diversification calls for. That defence trains every image with one of
//! several captions at random (the DualMD paper's Table 5 uses six), and its low numbers come from asking with one
//! caption only.
//!
//! *Equation*: with s(x, c) the score of any attack, `NAME+captions` = max_j s(x, c_j) and `NAME+captions-mean` = mean_j
//! s(x, c_j) over the captions c_j of the sample, the original one among them.
//!
//! *Threat model*: that of the attack, and captions of the kind that was trained with: from the same captioner, say.
//!
//! *Queries per sample*: those of the attack for each caption. In a batch whose samples have different numbers of captions,
//! those with fewer are asked with some of theirs again, and the answers are not counted twice.
//!
//! *What it misses*: the best of J scores is larger for non-members as well; where captions make little difference, the
//! mean, or one caption, finds more.

use crate::prompts::Caption;
use crate::{Attack, AttackInfo, Batch, Result};
use dualmd_names::Variant;

pub use dualmd_names::Over;

/// One score of the scores under each caption of a sample, of which there is at least one.
#[must_use]
pub fn combined(over: Over, scores: &[f64]) -> f64 {
    match over {
        Over::Best => scores.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Over::Mean => scores.iter().sum::<f64>() / scores.len() as f64,
    }
}

/// The description of an attack, asked with several captions.
pub(crate) fn described(over: Over, mut info: AttackInfo) -> AttackInfo {
    info.name += Variant::Captions(over).suffix();
    let (title, parameter) = match over {
        Over::Best => (", best of several captions", "best"),
        Over::Mean => (", mean over several captions", "mean"),
    };
    info.title += title;
    info.parameters.captions = Some(parameter.to_owned());
    info
}

/// An attack with each of the samples' captions.
#[derive(Debug)]
pub(crate) struct Captions(pub(crate) Box<dyn Attack>, pub(crate) Over);

impl Attack for Captions {
    /// Network calls are those per caption: how many there are the attack cannot know.
    fn info(&self) -> AttackInfo {
        described(self.1, self.0.info())
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        let counts = batch.captions()?;
        let first = self.0.score(batch)?;
        let mut scores: Vec<Vec<f64>> = first.into_iter().map(|score| vec![score]).collect();
        for k in 1..counts.iter().copied().max().unwrap_or(1) {
            let more = batch.with_caption(Caption::Variant(k), |batch| self.0.score(batch))?;
            for ((scores, more), &count) in scores.iter_mut().zip(more).zip(&counts) {
                if k < count {
                    scores.push(more);
                }
            }
        }
        Ok(scores
            .iter()
            .map(|scores| combined(self.1, scores))
            .collect())
    }
}

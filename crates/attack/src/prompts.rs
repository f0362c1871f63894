//! The captions of samples, for attacks on text-to-image models; or their classes, for attacks on class-conditional ones.
//!
//! A data set repeats captions ("a pokemon"), and several captions may belong to one image (prompt diversification trains
//! with six). So the distinct embeddings are held once, and a sample names its own by their positions.

use crate::{AttackError, Result};
use dualmd_diffusion::Condition;
use dualmd_torch::{Device, Kind, Tensor};

/// Which caption of a sample the model is told. Part of the key under which network calls are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Caption {
    /// The sample's first caption: the one of the data set. Also what models without text are asked with: nothing.
    #[default]
    Original,
    /// Its k-th further caption, k at least 1. A sample that has fewer begins again with its first.
    Variant(usize),
    /// Its k-th reduced caption, k at least 0, for CLiD. A sample that has fewer is told the empty prompt.
    Reduced(usize),
    /// The empty prompt, as guidance uses it.
    Empty,
}

/// What the models are told of all samples: embeddings of their captions, or their classes.
#[derive(Debug)]
pub struct Prompts {
    /// The distinct ones and, last, what stands for telling nothing.
    told: Condition,
    captions: Vec<Vec<usize>>,
    reduced: Vec<Vec<usize>>,
    empty: Condition,
}

impl Prompts {
    /// Of a model that is told texts alone. `embeddings`: the distinct ones, [M, tokens, width]; `captions`: for each sample the
    /// positions of its captions among them, at least one, the original first; `empty`: embedding of the empty prompt, [1, tokens, width].
    ///
    /// # Errors
    /// Shapes that do not fit, a sample without a caption, a position that does not exist, values that are not finite.
    pub fn new(embeddings: &Tensor, captions: Vec<Vec<usize>>, empty: &Tensor) -> Result<Self> {
        let [all, empty] = [embeddings, empty].map(|t| Condition::of_text(t.shallow_clone()));
        Self::of(&all, captions, &empty)
    }

    /// As [`Self::new`], of all that a model is told of texts: a row for each distinct one.
    ///
    /// # Errors
    /// As [`Self::new`]; conditions without a text, or of different kinds.
    pub fn of(told: &Condition, captions: Vec<Vec<usize>>, empty: &Condition) -> Result<Self> {
        let (size, one) = (told.texts()?.size(), empty.texts()?.size());
        if size.len() != 3 || size.contains(&0) || one != [1, size[1], size[2]] {
            return Err(AttackError::Samples(format!(
                "caption embeddings of shape {size:?} with an empty prompt of {one:?}: expected [M, tokens, width] and [1, \
                 tokens, width]"
            )));
        }
        if let Some(none) = captions.iter().position(Vec::is_empty) {
            return Err(AttackError::Samples(format!(
                "sample number {none} has no caption: every sample of a text-to-image model needs one (an empty text will do)"
            )));
        }
        check_positions(&captions, size[0])?;
        for (what, of) in [("a caption", told), ("the empty prompt", empty)] {
            for tensor in of.parts().into_iter().flatten() {
                if tensor.f_isfinite()?.f_all()?.int64_value(&[]) != 1 {
                    return Err(AttackError::Samples(format!(
                        "the embedding of {what} holds NaN or infinity: check the text encoder"
                    )));
                }
            }
        }
        let single = |t: &Tensor| t.f_to_kind(Kind::Float);
        let empty = empty.try_each(single)?;
        Ok(Self {
            told: told.try_each(single)?.then(&empty)?,
            reduced: vec![Vec::new(); captions.len()],
            captions,
            empty,
        })
    }

    /// Of a class-conditional model: the class of each sample, and what stands for no class. A class is asked about as a caption is.
    #[must_use]
    pub fn of_labels(labels: &[i64], none: i64) -> Self {
        let all = [labels, &[none]].concat();
        Self {
            told: Condition::of_labels(Tensor::from_slice(&all)),
            reduced: vec![Vec::new(); labels.len()],
            captions: (0..labels.len()).map(|row| vec![row]).collect(),
            empty: Condition::of_labels(Tensor::from_slice(&[none])),
        }
    }

    /// Adds for each sample the positions of its *reduced* captions (important words left out, or parts of the caption),
    /// which [`crate::Clid`] compares with the whole one. Kept apart from the captions: a paraphrase is not a reduced
    /// caption.
    ///
    /// # Errors
    /// Another number of samples, a position that does not exist.
    pub fn with_reduced(mut self, reduced: Vec<Vec<usize>>) -> Result<Self> {
        if reduced.len() != self.captions.len() {
            return Err(AttackError::Samples(format!(
                "reduced captions of {} samples, captions of {}: give one list per sample (it may be empty)",
                reduced.len(),
                self.captions.len()
            )));
        }
        check_positions(&reduced, self.told.len() - 1)?;
        self.reduced = reduced;
        Ok(self)
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.captions.len()
    }

    /// No samples at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.captions.is_empty()
    }

    /// Number of captions of sample `row`, at least 1; `None` if there is no such sample.
    #[must_use]
    pub fn captions(&self, row: usize) -> Option<usize> {
        self.captions.get(row).map(Vec::len)
    }

    /// Number of reduced captions of sample `row`; `None` if there is no such sample.
    #[must_use]
    pub fn reduced(&self, row: usize) -> Option<usize> {
        self.reduced.get(row).map(Vec::len)
    }

    /// A row for each on `device`: what the model is told of the samples `rows`, all of which exist.
    pub(crate) fn condition(
        &self,
        rows: &[usize],
        caption: Caption,
        device: Device,
    ) -> Result<Condition> {
        let at = |row: usize| -> Option<usize> {
            let all = &self.captions[row];
            match caption {
                Caption::Original => Some(all[0]),
                Caption::Variant(k) => Some(all[k % all.len()]),
                Caption::Reduced(k) => self.reduced[row].get(k).copied(),
                Caption::Empty => None,
            }
        };
        // Telling nothing comes last.
        let last = self.told.len() - 1;
        let index: Vec<i64> = rows
            .iter()
            .map(|&row| at(row).map_or(last, |i| i as i64))
            .collect();
        let told = if index.iter().all(|&i| i == last) {
            self.empty.expand(rows.len() as i64)?
        } else {
            let index = Tensor::from_slice(&index).f_to_device(self.told.device())?;
            self.told
                .try_each(|t| -> Result<Tensor> { Ok(t.f_index_select(0, &index)?) })?
        };
        told.try_each(|t| -> Result<Tensor> { Ok(t.f_to_device(device)?) })
    }
}

fn check_positions(lists: &[Vec<usize>], embeddings: i64) -> Result<()> {
    let beyond = |&i: &usize| i64::try_from(i).map_or(true, |i| i >= embeddings);
    match lists.iter().flatten().copied().find(beyond) {
        Some(i) => Err(AttackError::Samples(format!(
            "caption number {i} of {embeddings}: positions count from 0"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: i64) -> Tensor {
        Tensor::arange(n, (Kind::Float, Device::Cpu)).view([n, 1, 1])
    }

    fn told(prompts: &Prompts, rows: &[usize], caption: Caption) -> Vec<f64> {
        let told = prompts.condition(rows, caption, Device::Cpu).unwrap();
        Vec::try_from(told.texts().unwrap().flatten(0, -1)).unwrap()
    }

    #[test]
    fn every_sample_gets_its_own() {
        let empty = Tensor::full([1, 1, 1], -1.0, (Kind::Float, Device::Cpu));
        let prompts = Prompts::new(
            &numbered(5),
            vec![vec![4, 2], vec![0], vec![1, 3, 0]],
            &empty,
        )
        .and_then(|p| p.with_reduced(vec![vec![3], vec![], vec![0, 1]]))
        .unwrap();
        let rows = [2, 0, 1];
        assert_eq!(told(&prompts, &rows, Caption::Original), [1.0, 4.0, 0.0]);
        assert_eq!(told(&prompts, &rows, Caption::Variant(1)), [3.0, 2.0, 0.0]);
        assert_eq!(told(&prompts, &rows, Caption::Variant(2)), [0.0, 4.0, 0.0]);
        assert_eq!(
            told(&prompts, &rows, Caption::Reduced(1)),
            [1.0, -1.0, -1.0]
        );
        assert_eq!(told(&prompts, &rows, Caption::Empty), [-1.0; 3]);
        assert_eq!(
            (prompts.captions(2), prompts.reduced(1)),
            (Some(3), Some(0))
        );
    }

    #[test]
    fn classes_are_told_as_captions_are() {
        let prompts = Prompts::of_labels(&[7, 0, 3], 10);
        let told = |rows: &[usize], caption| -> Vec<i64> {
            let told = prompts.condition(rows, caption, Device::Cpu).unwrap();
            assert!(told.text.is_none());
            Vec::try_from(told.label.unwrap()).unwrap()
        };
        assert_eq!(told(&[2, 0], Caption::Original), [3, 7]);
        assert_eq!(told(&[1, 2, 0], Caption::Empty), [10; 3]);
        assert_eq!((prompts.len(), prompts.captions(1)), (3, Some(1)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = |embeddings: &Tensor, captions, empty: &Tensor| {
            Prompts::new(embeddings, captions, empty)
                .unwrap_err()
                .to_string()
        };
        let (two, one) = (numbered(2), numbered(1));
        assert!(message(&two, vec![vec![0], vec![]], &one).contains("number 1 has no caption"));
        assert!(message(&two, vec![vec![0, 2]], &one).contains("caption number 2 of 2"));
        assert!(message(&two, vec![vec![0]], &two).contains("[1, tokens, width]"));
        assert!(message(&(&two * f64::NAN), vec![vec![0]], &one).contains("a caption holds NaN"));
        let prompts = Prompts::new(&two, vec![vec![0]], &one).unwrap();
        let error = prompts.with_reduced(vec![]).unwrap_err().to_string();
        assert!(error.contains("0 samples, captions of 1"), "{error}");
    }
}

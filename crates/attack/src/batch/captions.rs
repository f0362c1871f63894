//! What the models are told beside the image.

use super::Batch;
use crate::prompts::{Caption, Prompts};
use crate::{AttackError, Result};
use dualmd_diffusion::Condition;
use dualmd_torch::Tensor;
use std::collections::BTreeMap;

/// Captions of the samples of a batch.
pub(super) struct Told<'a> {
    prompts: &'a Prompts,
    /// Positions of the batch's samples among those of `prompts`.
    rows: Vec<usize>,
    /// What was asked for, B rows on the samples' device.
    ready: BTreeMap<Caption, Condition>,
}

impl Told<'_> {
    pub(super) fn share(&self) -> Self {
        Self {
            prompts: self.prompts,
            rows: self.rows.clone(),
            ready: self
                .ready
                .iter()
                .map(|(&caption, told)| (caption, told.again()))
                .collect(),
        }
    }
}

impl<'a> Batch<'a> {
    /// Captions: from now on every model is told the first caption of each sample, unless an attack asks otherwise.
    /// `rows`: the positions of the batch's samples among those of `prompts`.
    ///
    /// # Errors
    /// Another number of rows than of samples, or a row that `prompts` lacks.
    pub fn with_prompts(mut self, prompts: &'a Prompts, rows: &[usize]) -> Result<Self> {
        if rows.len() != self.ids.len() || rows.iter().any(|&row| row >= prompts.len()) {
            return Err(AttackError::Samples(format!(
                "captions {rows:?} of {} for {} samples: give each sample the position of its captions",
                prompts.len(),
                self.ids.len()
            )));
        }
        self.told = Some(Told {
            prompts,
            rows: rows.to_vec(),
            ready: BTreeMap::new(),
        });
        Ok(self)
    }

    /// Number of captions of each sample.
    ///
    /// # Errors
    /// [`AttackError::NoPrompts`] if there are none.
    pub(crate) fn captions(&self) -> Result<Vec<usize>> {
        self.count_of(Prompts::captions)
    }

    /// Number of reduced captions of each sample.
    ///
    /// # Errors
    /// [`AttackError::NoPrompts`] if there are no captions at all.
    pub(crate) fn reduced_captions(&self) -> Result<Vec<usize>> {
        self.count_of(Prompts::reduced)
    }

    fn count_of(&self, of: fn(&Prompts, usize) -> Option<usize>) -> Result<Vec<usize>> {
        let told = self.told.as_ref().ok_or(AttackError::NoPrompts)?;
        Ok(told
            .rows
            .iter()
            .map(|&row| of(told.prompts, row).unwrap_or(0))
            .collect())
    }

    /// `ask` with another caption in place of the one that is told now.
    pub(crate) fn with_caption<T>(
        &mut self,
        caption: Caption,
        ask: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let before = std::mem::replace(&mut self.caption, caption);
        let result = ask(self);
        self.caption = before;
        result
    }

    /// What a model is told of an input of `n` rows, one per sample of the batch; `None` of samples without captions.
    pub(super) fn condition(&mut self, n: i64) -> Result<Option<Condition>> {
        let Some(told) = self.all_told()? else {
            return Ok(None);
        };
        if told.len() != n {
            return Err(AttackError::Samples(format!(
                "an input of {n} rows for {} captioned samples: they must agree",
                told.len()
            )));
        }
        Ok(Some(told))
    }

    /// What a model is told of sample `row` alone, shown `n` times.
    pub(crate) fn condition_of_row(&mut self, row: i64, n: i64) -> Result<Option<Condition>> {
        let Some(all) = self.all_told()? else {
            return Ok(None);
        };
        let own = all.try_each(|t| -> Result<Tensor> { Ok(t.f_narrow(0, row, 1)?) })?;
        Ok(Some(own.expand(n)?))
    }

    fn all_told(&mut self) -> Result<Option<Condition>> {
        let (caption, device) = (self.caption, self.x.device());
        let Some(told) = &mut self.told else {
            // Nobody is told anything; but whoever asks what another caption would change must not get an answer.
            return match caption {
                Caption::Original => Ok(None),
                _ => Err(AttackError::NoPrompts),
            };
        };
        if let Some(ready) = told.ready.get(&caption) {
            return Ok(Some(ready.again()));
        }
        let made = told.prompts.condition(&told.rows, caption, device)?;
        told.ready.insert(caption, made.again());
        Ok(Some(made))
    }
}

//! From logits to tokens: greedy search and nucleus sampling, the steps and their order being those of transformers.

use crate::model::BlipModel;
use crate::{CaptionError, Result};
use dualmd_data::stream_for_id;
use dualmd_torch::{Device, Kind, Tensor, no_grad};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The likeliest.
    Greedy,
    /// At random among the likeliest (Holtzman et al. 2020, arXiv:1904.09751).
    Nucleus {
        /// Fewest tokens whose probabilities add up to at least this are kept; above 0, to 1 (all).
        top_p: f64,
        /// Of those, tokens beyond this many are dropped beforehand; 0 keeps all.
        top_k: usize,
    },
}

/// How captions are written.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionOptions {
    /// How the next token is chosen.
    pub method: Method,
    /// A caption does not end before this many tokens, the prompt not counted.
    pub min_new_tokens: usize,
    /// A caption is cut after this many tokens, the prompt and the end not counted; at least 1.
    pub max_new_tokens: usize,
    /// Logits of tokens that are there already (prompt included) are divided by this, or multiplied where negative
    /// (Keskar et al. 2019, arXiv:1909.05858); above 0, and 1 changes nothing.
    pub repetition_penalty: f64,
    /// What every caption starts with, such as "a picture of"; empty: nothing.
    pub prompt: String,
    /// Whether the prompt stays in the caption, as in transformers; the authors' code cuts it off.
    pub keep_prompt: bool,
    /// Seed of the draws.
    pub seed: u64,
    /// Images that go through the networks together; at least 1. Only speed and memory depend on it.
    pub batch: usize,
}

impl CaptionOptions {
    /// The likeliest token each time, from none to 20 tokens, no penalty: transformers' defaults.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            method: Method::Greedy,
            min_new_tokens: 0,
            max_new_tokens: 20,
            repetition_penalty: 1.0,
            prompt: String::new(),
            keep_prompt: true,
            seed: 0,
            batch: 8,
        }
    }

    /// Nucleus sampling as in the BLIP authors' code (github.com/salesforce/BLIP): top_p 0.9 and repetition penalty 1.1 of
    /// models/blip.py, the 5 to 20 tokens of predict.py, and top_k 50, which stands in neither but was the default of the
    /// transformers 4.15 they ask for. Their lengths count the start and the prompt, these do not.
    #[must_use]
    pub fn nucleus(seed: u64) -> Self {
        Self {
            method: Method::Nucleus {
                top_p: 0.9,
                top_k: 50,
            },
            min_new_tokens: 5,
            repetition_penalty: 1.1,
            seed,
            ..Self::greedy()
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The first option out of its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |reason: String| Err(CaptionError::Options(reason));
        if let Method::Nucleus { top_p, .. } = self.method
            && !(top_p > 0.0 && top_p <= 1.0)
        {
            return wrong(format!("top_p = {top_p} must be above 0 and at most 1"));
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return wrong(format!(
                "repetition_penalty = {} must be above 0",
                self.repetition_penalty
            ));
        }
        if self.max_new_tokens == 0 || self.min_new_tokens > self.max_new_tokens {
            return wrong(format!(
                "captions of {} to {} tokens: the second number must be at least 1 and not below the first",
                self.min_new_tokens, self.max_new_tokens
            ));
        }
        if self.batch == 0 {
            return wrong("batch = 0: at least one image goes through the networks".into());
        }
        Ok(())
    }
}

/// Tokens that may come next with their probabilities (they sum to 1), likeliest first and by id where equal. `logits`:
/// one per token of the vocabulary; `before`: start, prompt and what is written so far, of which the last `written` are
/// not start or prompt; `end`: the token that ends a caption.
///
/// # Errors
/// Logits that are not finite.
pub fn distribution(
    logits: &[f32],
    before: &[i64],
    written: usize,
    end: i64,
    options: &CaptionOptions,
) -> Result<Vec<(i64, f64)>> {
    if logits.iter().any(|v| !v.is_finite()) {
        return Err(CaptionError::Options(
            "the text decoder's output is not finite: the weights file is damaged, or not of a trained model".into(),
        ));
    }
    let mut left: Vec<(i64, f64)> = (0..).zip(logits.iter().map(|&v| f64::from(v))).collect();
    if options.repetition_penalty != 1.0 {
        for id in before.iter().collect::<BTreeSet<_>>() {
            if let Some((_, v)) = usize::try_from(*id).ok().and_then(|i| left.get_mut(i)) {
                if *v < 0.0 {
                    *v *= options.repetition_penalty;
                } else {
                    *v /= options.repetition_penalty;
                }
            }
        }
    }
    if written < options.min_new_tokens {
        left.retain(|(id, _)| *id != end);
    }
    let order = |a: &(i64, f64), b: &(i64, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let (top_p, top_k) = match options.method {
        Method::Greedy => (1.0, 1),
        Method::Nucleus { top_p, top_k } => (top_p, top_k),
    };
    if top_k > 0 && top_k < left.len() {
        left.select_nth_unstable_by(top_k - 1, order);
        left.truncate(top_k);
    }
    left.sort_unstable_by(order);
    let highest = left.first().map_or(0.0, |(_, v)| *v);
    for (_, v) in &mut left {
        *v = (*v - highest).exp();
    }
    let sum: f64 = left.iter().map(|(_, v)| v).sum();
    let mut before_it = 0.0;
    let kept = left
        .iter()
        .take_while(|(_, v)| {
            let keep = before_it < top_p * sum;
            before_it += v;
            keep
        })
        .count();
    left.truncate(kept.max(1));
    let sum: f64 = left.iter().map(|(_, v)| v).sum();
    for (_, v) in &mut left {
        *v /= sum;
    }
    Ok(left)
}

/// One caption while it is written.
struct Row {
    ids: Vec<i64>,
    rng: ChaCha8Rng,
    ended: bool,
}

impl Row {
    fn draw(&mut self, candidates: &[(i64, f64)]) -> Option<i64> {
        // The last candidate also takes what rounding leaves of the sum.
        let (&last, others) = candidates.split_last()?;
        if others.is_empty() {
            return Some(last.0);
        }
        let mut left = self.rng.random::<f64>();
        for (id, probability) in others {
            left -= probability;
            if left < 0.0 {
                return Some(*id);
            }
        }
        Some(last.0)
    }
}

impl BlipModel {
    /// Writes `draws` captions for each of `images`, the image tokens [B, ..] of [`BlipModel::see`], as token ids: start,
    /// `prompt`, and what was written, without the end; `captions[image][draw]`. Draw `d` of the image with id `ids[i]`
    /// takes its random numbers from the stream (seed, "caption/d", id): it is the same in every batch, except where
    /// rounding in libtorch, which may depend on the batch, crosses the border between two tokens.
    ///
    /// # Errors
    /// Options out of range; more tokens than the model has positions; several draws of greedy captions, which would all be
    /// the same; weights whose output is not finite.
    pub fn generate(
        &self,
        images: &Tensor,
        ids: &[&str],
        draws: usize,
        prompt: &[i64],
        options: &CaptionOptions,
    ) -> Result<Vec<Vec<Vec<i64>>>> {
        options.check()?;
        let text = &self.config().text_config;
        // Configurations without these tokens are refused when they are read.
        let token = |id: Option<i64>| id.unwrap_or(0);
        let (start, end, pad) = (
            token(text.bos_token_id),
            token(text.sep_token_id),
            token(text.pad_token_id),
        );
        let wrong = |reason: String| Err(CaptionError::Options(reason));
        if images.dim() != 3 || images.size()[0] != ids.len() as i64 || ids.is_empty() {
            return wrong(format!(
                "image tokens of shape {:?} for {} ids",
                images.size(),
                ids.len()
            ));
        }
        if draws == 0 || (draws > 1 && options.method == Method::Greedy) {
            return wrong(format!(
                "{draws} captions per image: at least 1, and of greedy ones no more, since they would all be the same; \
                 use nucleus sampling"
            ));
        }
        if prompt.iter().any(|id| !(0..text.vocab_size).contains(id)) {
            return wrong(format!(
                "the prompt has tokens beyond vocab_size = {}",
                text.vocab_size
            ));
        }
        let longest = 1 + prompt.len() + options.max_new_tokens;
        if longest as i64 > text.max_position_embeddings {
            return wrong(format!(
                "the start, {} tokens of prompt and {} of caption are more than max_position_embeddings = {}: shorten them",
                prompt.len(),
                options.max_new_tokens,
                text.max_position_embeddings
            ));
        }
        let first: Vec<i64> = [&[start], prompt].concat();
        let mut rows: Vec<Row> = ids
            .iter()
            .flat_map(|id| (0..draws).map(move |draw| (id, draw)))
            .map(|(id, draw)| Row {
                ids: first.clone(),
                rng: stream_for_id(options.seed, &format!("caption/{draw}"), id),
                ended: false,
            })
            .collect();
        no_grad(|| self.write(images, &mut rows, &first, [end, pad], options))?;
        let mut rows = rows.into_iter().map(|row| row.ids);
        Ok(ids
            .iter()
            .map(|_| rows.by_ref().take(draws).collect())
            .collect())
    }

    fn write(
        &self,
        images: &Tensor,
        rows: &mut [Row],
        first: &[i64],
        [end, pad]: [i64; 2],
        options: &CaptionOptions,
    ) -> Result<()> {
        let mut memory = self.text().start(images);
        let mut next = first.repeat(rows.len());
        for _ in 0..options.max_new_tokens {
            let ids = Tensor::from_slice(&next).f_reshape([rows.len() as i64, -1])?;
            let logits = self
                .text()
                .forward_last(&ids.to_device(self.device()), &mut memory)?;
            let logits: Vec<Vec<f32>> =
                Vec::try_from(logits.to_device(Device::Cpu).to_kind(Kind::Float))?;
            next.clear();
            for (row, logits) in rows.iter_mut().zip(&logits) {
                if !row.ended {
                    let written = row.ids.len() - first.len();
                    let candidates = distribution(logits, &row.ids, written, end, options)?;
                    let id = row.draw(&candidates).unwrap_or(end);
                    row.ended = id == end;
                    if !row.ended {
                        row.ids.push(id);
                    }
                    next.push(id);
                } else {
                    next.push(pad);
                }
            }
            if rows.iter().all(|row| row.ended) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::stream;

    const END: i64 = 3;

    fn options(top_p: f64, top_k: usize) -> CaptionOptions {
        CaptionOptions {
            method: Method::Nucleus { top_p, top_k },
            min_new_tokens: 0,
            repetition_penalty: 1.0,
            ..CaptionOptions::nucleus(0)
        }
    }

    fn ids(logits: &[f32], before: &[i64], options: &CaptionOptions) -> Vec<i64> {
        let candidates = distribution(logits, before, 0, END, options).unwrap();
        let sum: f64 = candidates.iter().map(|(_, p)| p).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        candidates.into_iter().map(|(id, _)| id).collect()
    }

    /// Probabilities 0.1, 0.4, 0.3, 0.2.
    fn logits() -> [f32; 4] {
        [1.0f32, 4.0, 3.0, 2.0].map(f32::ln)
    }

    #[test]
    fn the_nucleus_is_the_fewest_that_reach_top_p() {
        let of = |top_p, top_k| ids(&logits(), &[], &options(top_p, top_k));
        assert_eq!(of(1.0, 0), [1, 2, 3, 0]);
        assert_eq!(of(0.35, 0), [1]);
        assert_eq!(of(0.45, 0), [1, 2]);
        assert_eq!(of(0.75, 0), [1, 2, 3]);
        assert_eq!(of(1e-9, 0), [1]);
        assert_eq!(of(1.0, 2), [1, 2]);
        // Of the two that are left, the first has 4 / 7.
        assert_eq!(of(0.5, 2), [1]);
        assert_eq!(of(0.6, 2), [1, 2]);
        assert_eq!(ids(&[1.0; 4], &[], &options(1.0, 3)), [0, 1, 2]);
    }

    #[test]
    fn repeated_tokens_lose_and_the_end_waits() {
        let mut options = options(1.0, 0);
        options.repetition_penalty = 2.0;
        // Positive logits are divided, negative ones multiplied, and once however often the token was there.
        let (candidates, before) = ([3.0, 2.0, -1.0, -1.5], [0, 0, 2]);
        assert_eq!(ids(&candidates, &before, &options), [1, 0, 3, 2]);
        options.repetition_penalty = 1.0;
        options.min_new_tokens = 2;
        let left = |written| distribution(&logits(), &[], written, END, &options).unwrap();
        assert!(left(1).iter().all(|(id, _)| *id != END));
        assert!(left(2).iter().any(|(id, _)| *id == END));
    }

    #[test]
    fn tokens_come_as_often_as_they_should() {
        let candidates = distribution(&logits(), &[], 0, END, &options(1.0, 0)).unwrap();
        let mut row = Row {
            ids: vec![],
            rng: stream(5, "test", 0),
            ended: false,
        };
        let mut counts = [0.0f64; 4];
        for _ in 0..20_000 {
            counts[row.draw(&candidates).unwrap() as usize] += 1.0;
        }
        let chi2: f64 = counts
            .iter()
            .zip([0.1, 0.4, 0.3, 0.2])
            .map(|(n, p)| (n - 20_000.0 * p).powi(2) / (20_000.0 * p))
            .sum();
        // 3 degrees of freedom: beyond this once in 1000 seeds.
        assert!(chi2 < 16.3, "{chi2}");
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(distribution(&[0.0, bad], &[], 0, END, &options(0.9, 50)).is_err());
        }
    }
}

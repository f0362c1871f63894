//! Texts of the images: which one a step tells the network.
//!
//! Prompt diversification (paper section 4.2) is [`Captions::any`]: each time an image is drawn, one of its captions is
//! drawn with it, uniformly. Without it an image always comes with its first caption, by which it is then learnt by heart.

use crate::{DefenseError, Result};
use dualmd_data::stream;
use dualmd_diffusion::Condition;
use dualmd_torch::Tensor;
use rand::Rng;
use std::ops::Range;

/// Embeddings of the captions of a training set.
pub struct Captions {
    /// The distinct texts, [K, tokens, width] f32 on the training device.
    pub embeddings: Tensor,
    /// For each image of the set the rows of its captions, the main one first; at least one.
    pub of: Vec<Vec<usize>>,
    /// Row of the empty text.
    pub empty: usize,
    /// Draw one of an image's captions each time (prompt diversification), not always the first.
    pub any: bool,
    /// Chance that the empty text takes the caption's place, which guidance needs: 0 to 1.
    pub dropout: f64,
}

impl Captions {
    /// Settings and indices that make sense for `images` images.
    ///
    /// # Errors
    /// Which of them does not.
    pub fn check(&self, images: usize) -> Result<()> {
        let fail = |text: String| Err(DefenseError::Setting(text));
        if self.of.len() != images {
            return fail(format!("captions for {} images of {images}", self.of.len()));
        }
        if let Some(bare) = self.of.iter().position(Vec::is_empty) {
            return fail(format!("image {bare} has no caption"));
        }
        let rows = self.embeddings.size().first().map_or(0, |&k| k as usize);
        let most = self.of.iter().flatten().chain([&self.empty]).max();
        if let Some(most) = most.filter(|&&m| m >= rows) {
            return fail(format!("caption {most} of {rows} embeddings"));
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            return fail(format!(
                "train.caption_dropout = {}: must be between 0 and 1",
                self.dropout
            ));
        }
        Ok(())
    }

    /// What step `step` tells the network about the images at `own` of `images`, in their order, from the streams of `seed`. It is
    /// drawn for all of them, so that it does not depend on who asks for which.
    pub fn drawn(&self, images: &[i64], own: Range<usize>, seed: u64, step: u64) -> Condition {
        let mut which = stream(seed, "train/caption", step);
        let mut dropped = stream(seed, "train/caption-dropout", step);
        let all = images.iter().map(|&image| {
            let captions = &self.of[image as usize];
            // One number for each image, so that what an image has changes nothing for the others.
            let chosen: f64 = which.random();
            let caption = if self.any {
                captions[((chosen * captions.len() as f64) as usize).min(captions.len() - 1)]
            } else {
                captions[0]
            };
            if self.dropout > 0.0 && dropped.random_bool(self.dropout) {
                self.empty
            } else {
                caption
            }
        });
        self.rows(all.take(own.end).skip(own.start))
    }

    /// No text, for `n` images.
    pub fn nothing(&self, n: i64) -> Condition {
        self.rows((0..n).map(|_| self.empty))
    }

    /// The main caption of each of `images`.
    pub fn main(&self, images: &[i64]) -> Condition {
        self.rows(images.iter().map(|&image| self.of[image as usize][0]))
    }

    fn rows(&self, rows: impl Iterator<Item = usize>) -> Condition {
        let rows: Vec<i64> = rows.map(|row| row as i64).collect();
        let rows = Tensor::from_slice(&rows).to_device(self.embeddings.device());
        Condition {
            embedding: self.embeddings.index_select(0, &rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::{Device, Kind};

    fn captions(any: bool, dropout: f64) -> Captions {
        Captions {
            embeddings: Tensor::arange(4, (Kind::Float, Device::Cpu)).view([4, 1, 1]),
            of: vec![vec![0], vec![1, 2]],
            empty: 3,
            any,
            dropout,
        }
    }

    fn told(captions: &Captions, image: i64) -> [usize; 4] {
        let mut counts = [0; 4];
        for step in 0..400 {
            let drawn = captions.drawn(&[image], 0..1, 5, step).embedding;
            counts[drawn.double_value(&[0, 0, 0]) as usize] += 1;
        }
        counts
    }

    #[test]
    fn one_of_the_captions_is_drawn_only_when_asked() {
        assert_eq!(told(&captions(false, 0.0), 1), [0, 400, 0, 0]);
        let [none, first, second, empty] = told(&captions(true, 0.0), 1);
        assert_eq!((none, empty, first + second), (0, 0, 400));
        // Binomial(400, 1/2): five standard deviations are 50.
        assert!(first.abs_diff(200) < 50, "{first}");
        assert_eq!(told(&captions(true, 0.0), 0), [400, 0, 0, 0]);
        let [.., empty] = told(&captions(false, 0.1), 0);
        // Binomial(400, 0.1): five standard deviations are 30.
        assert!(empty.abs_diff(40) < 30, "{empty}");
    }

    #[test]
    fn captions_that_do_not_fit_are_refused() {
        assert!(captions(false, 0.0).check(2).is_ok());
        assert!(captions(false, 0.0).check(3).is_err());
        assert!(captions(false, 1.5).check(2).is_err());
        let mut broken = captions(false, 0.0);
        broken.of[0].clear();
        assert!(broken.check(2).is_err());
        broken.of[0].push(9);
        assert!(broken.check(2).is_err());
    }
}

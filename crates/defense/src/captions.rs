//! Texts of the images, or their classes: which one a step tells the network.
//!
//! Prompt diversification (paper section 4.2) is [`Captions::any`]: each time an image is drawn, one of its captions is
//! drawn with it, uniformly. Without it an image always comes with its first caption, by which it is then learnt by heart.
//!
//! A class-conditional network is told an image's class in the same way: an image has one, and now and then no label takes its place.

use crate::{DefenseError, Indices, Result};
use dualmd_data::stream;
use dualmd_diffusion::Condition;
use dualmd_torch::Tensor;
use dualmd_torch::device::bring;
use rand::Rng;
use serde::{Serialize, Serializer};
use std::ops::Range;

/// A list of rows for each image: four bytes for each row, and where every image has one no more than that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// Those of all images, one list after the other.
    rows: Indices,
    /// Where each list ends among them.
    ends: Indices,
}

impl Lists {
    /// Of how many images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many rows an image has.
    #[must_use]
    pub fn count(&self, image: usize) -> usize {
        self.range(image).len()
    }

    /// One row of an image; None past the end of its list.
    #[must_use]
    pub fn row(&self, image: usize, at: usize) -> Option<usize> {
        let place = self.range(image).nth(at)?;
        self.rows.get(place)
    }

    /// Where its list is.
    fn range(&self, image: usize) -> Range<usize> {
        let before = image.checked_sub(1).map_or(Some(0), |i| self.ends.get(i));
        match (before, self.ends.get(image)) {
            (Some(start), Some(end)) => start..end,
            _ => 0..0,
        }
    }
}

impl FromIterator<Vec<usize>> for Lists {
    fn from_iter<I: IntoIterator<Item = Vec<usize>>>(lists: I) -> Self {
        let mut end = 0;
        let mut ends = Vec::new();
        let rows = lists.into_iter().flat_map(|list| {
            end += list.len();
            ends.push(end);
            list
        });
        let rows = rows.collect();
        Self {
            rows,
            ends: ends.into(),
        }
    }
}

impl From<Vec<Vec<usize>>> for Lists {
    fn from(lists: Vec<Vec<usize>>) -> Self {
        lists.into_iter().collect()
    }
}

/// As lists of numbers.
impl Serialize for Lists {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let list = |image| {
            let rows = self.range(image).filter_map(|place| self.rows.get(place));
            rows.collect::<Vec<usize>>()
        };
        serializer.collect_seq((0..self.len()).map(list))
    }
}

/// What there is to tell of a training set.
pub struct Captions {
    /// The distinct texts or classes, a row each, on the training device.
    pub told: Condition,
    /// For each image of the set the rows of its captions, the main one first; at least one.
    pub of: Lists,
    /// Row of what tells nothing: the empty text, or no label.
    pub empty: usize,
    /// Draw one of an image's captions each time (prompt diversification), not always the first.
    pub any: bool,
    /// Chance that this takes the caption's place, which guidance needs: 0 to 1.
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
        if let Some(bare) = (0..images).find(|&image| self.of.count(image) == 0) {
            return fail(format!("image {bare} has no caption"));
        }
        let rows = usize::try_from(self.told.len()).unwrap_or(0);
        let most = self.of.rows.iter().chain([self.empty]).max();
        if let Some(most) = most.filter(|&most| most >= rows) {
            return fail(format!("caption {most} of {rows}"));
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            return fail(format!(
                "a chance of {} to tell nothing: must be between 0 and 1",
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
            let n = self.of.count(image as usize);
            // One number for each image, so that what an image has changes nothing for the others.
            let chosen: f64 = which.random();
            let at = if self.any {
                ((chosen * n as f64) as usize).min(n.saturating_sub(1))
            } else {
                0
            };
            let caption = self.caption(image, at);
            if self.dropout > 0.0 && dropped.random_bool(self.dropout) {
                self.empty
            } else {
                caption
            }
        });
        self.rows(all.take(own.end).skip(own.start))
    }

    /// Nothing, for `n` images.
    pub fn nothing(&self, n: i64) -> Condition {
        self.rows((0..n).map(|_| self.empty))
    }

    /// The main caption of each of `images`.
    pub fn main(&self, images: &[i64]) -> Condition {
        self.rows(images.iter().map(|&image| self.caption(image, 0)))
    }

    /// The row of one of an image's captions.
    fn caption(&self, image: i64, at: usize) -> usize {
        self.of.row(image as usize, at).unwrap_or(self.empty)
    }

    fn rows(&self, rows: impl Iterator<Item = usize>) -> Condition {
        let rows: Vec<i64> = rows.map(|row| row as i64).collect();
        let rows = bring(&Tensor::from_slice(&rows), self.told.device());
        self.told.select(&rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::{Device, Kind};

    fn captions(any: bool, dropout: f64) -> Captions {
        Captions {
            told: Condition::of_text(Tensor::arange(4, (Kind::Float, Device::Cpu)).view([4, 1, 1])),
            of: vec![vec![0], vec![1, 2]].into(),
            empty: 3,
            any,
            dropout,
        }
    }

    fn told(captions: &Captions, image: i64) -> [usize; 4] {
        let mut counts = [0; 4];
        for step in 0..400 {
            let drawn = captions.drawn(&[image], 0..1, 5, step).text.unwrap();
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

    /// The same draws as of captions, so that the same images are told nothing.
    #[test]
    fn a_class_gives_way_to_no_label_as_a_caption_does_to_no_text() {
        let of = |dropout| Captions {
            told: Condition::of_labels(Tensor::from_slice(&[4i64, 9, 10])),
            of: vec![vec![0], vec![1]].into(),
            empty: 2,
            any: false,
            dropout,
        };
        of(0.5).check(2).unwrap();
        let labels = |captions: &Captions, step| -> Vec<i64> {
            let drawn = captions.drawn(&[1, 0, 1, 1], 0..4, 5, step);
            assert!(drawn.text.is_none());
            Vec::try_from(drawn.label.unwrap()).unwrap()
        };
        assert_eq!(labels(&of(0.0), 3), [9, 4, 9, 9]);
        assert_eq!(labels(&of(1.0), 3), [10; 4]);
        let texts = captions(false, 0.5);
        for step in 0..20 {
            let told = texts.drawn(&[1, 0, 1, 1], 0..4, 5, step).text.unwrap();
            let told = Vec::<f64>::try_from(told.flatten(0, -1)).unwrap();
            let nothing: Vec<bool> = told.iter().map(|&row| row == 3.0).collect();
            let unlabelled = labels(&of(0.5), step);
            let unlabelled: Vec<bool> = unlabelled.iter().map(|&label| label == 10).collect();
            assert_eq!(unlabelled, nothing);
        }
    }

    #[test]
    fn captions_that_do_not_fit_are_refused() {
        assert!(captions(false, 0.0).check(2).is_ok());
        assert!(captions(false, 0.0).check(3).is_err());
        assert!(captions(false, 1.5).check(2).is_err());
        let mut broken = captions(false, 0.0);
        broken.of = vec![vec![], vec![1, 2]].into();
        assert!(broken.check(2).is_err());
        broken.of = vec![vec![9], vec![1, 2]].into();
        assert!(broken.check(2).is_err());
    }

    /// Fingerprints of trainings are made from the text.
    #[test]
    fn lists_are_written_as_lists() {
        for lists in [
            vec![],
            vec![vec![]],
            vec![vec![0], vec![1], vec![2]],
            vec![vec![5], vec![], vec![1, 0, 5], vec![]],
        ] {
            let held = Lists::from(lists.clone());
            let text = serde_json::to_string(&held).unwrap();
            assert_eq!(text, serde_json::to_string(&lists).unwrap());
            assert_eq!(
                (held.len(), held.is_empty()),
                (lists.len(), lists.is_empty())
            );
            for (i, list) in lists.iter().enumerate() {
                assert_eq!(held.count(i), list.len());
                let rows = (0..list.len()).map(|at| held.row(i, at));
                assert!(rows.eq(list.iter().map(|&row| Some(row))), "{lists:?}");
                assert_eq!(held.row(i, list.len()), None);
            }
            assert_eq!(
                (held.count(lists.len()), held.row(lists.len(), 0)),
                (0, None)
            );
        }
    }
}

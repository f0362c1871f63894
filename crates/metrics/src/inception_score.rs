//! Inception score (Salimans et al., "Improved Techniques for Training GANs", 2016), from the logits of any classifier.
//!
//! ```text
//! exp( mean over images of KL( p(class | image) || p(class) ) ),    p(class) = mean over the images of one split
//! ```
//!
//! Log-softmax in f64, so that no logarithm of 0 is taken. Between 1 and the smaller of the number of classes and the
//! images in a split: 41 images per split cannot score above 41. **What it misses.** It never looks at real images: a
//! model that draws one perfect picture per class scores best, and so does a copy of the training set. On pictures
//! unlike the classifier's it means little. It is "IS" of the literature only with the FID Inception's logits without
//! bias; **smallest useful n**: some thousand images in a split; with fewer compare only at equal n.

pub use dualmd_record::utility::InceptionScore;

use crate::error::{MetricsError, Result};
use crate::features::Features;

/// How images are put into splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    Given,
    /// Shuffled with this seed first, for images that come sorted by class.
    Shuffled(u64),
}

/// Score of `logits` (one row per image, one column per class) in `splits` equal parts (10 in the literature; 1 for few
/// images). Split i takes images floor(i N / splits) to floor((i + 1) N / splits).
///
/// # Errors
/// [`MetricsError::OutOfRange`] for no splits or more than images.
pub fn inception_score(logits: &Features, splits: usize, order: Order) -> Result<InceptionScore> {
    let n = logits.count();
    if splits == 0 || splits > n {
        return Err(MetricsError::OutOfRange {
            name: "splits",
            value: splits,
            expected: "at least 1 and at most the number of images",
        });
    }
    let mut images: Vec<usize> = (0..n).collect();
    if let Order::Shuffled(seed) = order {
        let mut rng = dualmd_data::stream(seed, "inception score", 0);
        rand::seq::SliceRandom::shuffle(images.as_mut_slice(), &mut rng);
    }
    let parts: Vec<&[usize]> = (0..splits)
        .map(|i| &images[i * n / splits..(i + 1) * n / splits])
        .collect();
    let scores: Vec<f64> = parts.iter().map(|part| score(logits, part)).collect();
    let mean = scores.iter().sum::<f64>() / splits as f64;
    let squares: f64 = scores.iter().map(|s| (s - mean).powi(2)).sum();
    let largest = parts.iter().map(|part| part.len()).max().unwrap_or(0);
    Ok(InceptionScore {
        mean,
        sd: (squares / splits as f64).sqrt(),
        splits: scores,
        upper_bound: largest.min(logits.dim()),
    })
}

fn score(logits: &Features, part: &[usize]) -> f64 {
    let mut marginal = vec![0.0; logits.dim()];
    let mut entropy = 0.0;
    for &image in part {
        let log_p = log_softmax(logits.row(image));
        for (m, l) in marginal.iter_mut().zip(log_p) {
            let p = l.exp();
            *m += p / part.len() as f64;
            entropy -= p * l / part.len() as f64;
        }
    }
    // Mean KL = entropy of the marginal less mean entropy. A class nobody has adds nothing.
    let of_marginal: f64 = marginal
        .iter()
        .filter(|&&m| m > 0.0)
        .map(|m| -m * m.ln())
        .sum();
    (of_marginal - entropy).exp()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let off = |&x: &f32| f64::from(x) - f64::from(top);
    let norm = logits.iter().map(|x| off(x).exp()).sum::<f64>().ln();
    logits.iter().map(|x| off(x) - norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(classes: usize, rows: &[Vec<f32>]) -> Features {
        Features::new("logits", classes, rows.concat()).unwrap()
    }

    fn sure(class: usize, classes: usize) -> Vec<f32> {
        (0..classes)
            .map(|c| if c == class { 2000.0 } else { 0.0 })
            .collect()
    }

    #[test]
    fn the_two_ends() {
        let all: Vec<_> = (0..8).map(|i| sure(i % 4, 4)).collect();
        let best = inception_score(&of(4, &all), 1, Order::Given).unwrap();
        assert!(
            (best.mean - 4.0).abs() < 1e-12 && best.upper_bound == 4,
            "{best:?}"
        );
        let same = vec![vec![0.3, -1.0, 2.0]; 5];
        let worst = inception_score(&of(3, &same), 1, Order::Given).unwrap();
        assert!((worst.mean - 1.0).abs() < 1e-12, "{worst:?}");
    }

    /// Two images with p = (3/4, 1/4) and (1/4, 3/4): mean KL = ln 2 - H(1/4).
    #[test]
    fn by_hand() {
        let three = 3f32.ln();
        let found = inception_score(
            &of(2, &[vec![three, 0.0], vec![0.0, three]]),
            1,
            Order::Given,
        );
        let entropy = -(0.75f64.ln() * 0.75 + 0.25f64.ln() * 0.25);
        assert!((found.unwrap().mean - (2f64.ln() - entropy).exp()).abs() < 1e-7);
    }

    #[test]
    fn splits_and_order() {
        // Sorted by class: each split sees one class only, unless shuffled.
        let sorted: Vec<_> = (0..40).map(|i| sure(i / 20, 2)).collect();
        let logits = of(2, &sorted);
        let given = inception_score(&logits, 2, Order::Given).unwrap();
        assert_eq!((given.splits.len(), given.sd), (2, 0.0));
        assert!((given.mean - 1.0).abs() < 1e-12);
        let shuffled = inception_score(&logits, 2, Order::Shuffled(0)).unwrap();
        assert!(shuffled.mean > 1.9, "{shuffled:?}");
        assert_eq!(
            inception_score(&logits, 7, Order::Given)
                .unwrap()
                .upper_bound,
            2
        );
        assert!(inception_score(&logits, 0, Order::Given).is_err());
        assert!(inception_score(&logits, 41, Order::Given).is_err());
    }
}

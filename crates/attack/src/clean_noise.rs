//! eps(x, 0): how much noise the model sees in a clean image.
//!
//! PIA, PIAN and SecMI start from eps(x, 0) and use it where noise of unit variance belongs. On photographs a model
//! answers with something of about that size; on flat drawings, and on images it has memorised deeply, with almost
//! nothing. The scores then come from inputs cleaner than their timestep says, and a reader must be told. It need not
//! spoil them: on one small model SecMI found nearly every member at an rms of 0.35, once the model had been trained
//! for the paper's number of epochs (`docs/attacks/secmi.md`).

use crate::Result;
use crate::reduce::mean_of_powers;
use dualmd_torch::Tensor;
use serde::Serialize;

/// Below this rms the starting noise carries less than a quarter of the variance it should.
const LOW: f64 = 0.5;
/// Above this, four times as much.
const HIGH: f64 = 2.0;
/// Images outside that range that are worth a warning. Members are often few beside the non-members, and they are the
/// ones that go wrong first: the median would not show them.
const WORTH_A_WARNING: f64 = 0.05;

/// Root mean square of eps(x, 0) per sample; 1 is unit variance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CleanNoise {
    /// In the order of the samples.
    pub rms: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Share of samples below 0.5.
    pub share_low: f64,
    /// Share of samples above 2.
    pub share_high: f64,
}

impl CleanNoise {
    /// Summarises the rms of every sample.
    #[must_use]
    pub fn new(rms: Vec<f64>) -> Self {
        let mut sorted = rms.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        let share = |outside: &dyn Fn(f64) -> bool| {
            rms.iter().filter(|&&r| outside(r)).count() as f64 / rms.len().max(1) as f64
        };
        let (share_low, share_high) = (share(&|r| r < LOW), share(&|r| r > HIGH));
        Self {
            rms,
            median,
            share_low,
            share_high,
        }
    }

    /// A warning for the report if PIA's assumption fails on at least 5 % of the samples, or at the median.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let measured = format!("median {:.2}; real noise has 1", self.median);
        if self.share_low >= WORTH_A_WARNING {
            Some(format!(
                "What PIA and SecMI say of this model is uncertain: read PIAN, loss and SimA before them. PIA and SecMI start \
                 from the noise that the model sees in a clean image, eps(x, 0), as if it were real noise. Its strength (rms, \
                 the root mean square) is below {LOW} on {:.0} % of the images ({measured}). On some models the two did worse \
                 than guessing there, on others they found nearly every member. PIAN corrects the strength; loss and SimA do \
                 not use this noise.",
                100.0 * self.share_low
            ))
        } else if self.share_high >= WORTH_A_WARNING {
            Some(format!(
                "What PIA and SecMI say of this model is uncertain: read loss and SimA before them, and check that the images \
                 have the range and size this model was trained on. PIA and SecMI start from the noise that the model sees in a \
                 clean image, eps(x, 0), as if it were real noise. Its strength (rms, the root mean square) is above {HIGH} on \
                 {:.0} % of the images ({measured}), so they look at inputs that are far too noisy. Loss and SimA do not use \
                 this noise.",
                100.0 * self.share_high
            ))
        } else {
            None
        }
    }
}

/// Root mean square per sample of `eps` [B, C, H, W].
pub(crate) fn rms(eps: &Tensor) -> Result<Vec<f64>> {
    Ok(mean_of_powers(eps, 2)?.into_iter().map(f64::sqrt).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_when_the_noise_is_no_noise() {
        assert_eq!(CleanNoise::new(vec![0.9, 1.1, 1.0]).warning(), None);
        let few = CleanNoise::new([vec![0.3; 11], vec![0.8; 100]].concat());
        assert_eq!(few.median, 0.8);
        // What follows for a reader comes first, then why.
        let said = few.warning().unwrap();
        assert!(
            said.starts_with("What PIA and SecMI say of this model is uncertain: read PIAN, loss and SimA before them.")
                && said.contains("below 0.5 on 10 % of the images (median 0.80; real noise has 1)"),
            "{said}"
        );
        assert!(
            said.split_inclusive(". ")
                .all(|s| s.split(' ').count() <= 30),
            "{said}"
        );
        assert!(
            CleanNoise::new(vec![5.0, 6.0])
                .warning()
                .unwrap()
                .contains("above 2 on 100 %")
        );
        assert_eq!(CleanNoise::new(vec![5.0, 6.0]).median, 5.5);
    }
}

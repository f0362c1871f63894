//! Leaving out easy images (the "anti-gradient control" of Liu et al. 2024, IET-AGC, arXiv:2407.15328): an image whose loss is far
//! below what is usual at its timestep is one that the network knows by heart, and takes no part in the step.
//!
//! ```text
//! kept    <- images with r loss_i >= m_t                  r: `train.skip_easy`, 2 in the paper's code
//! m_t     <- 0.8 m_t + 0.2 loss_i                         of every image, kept or not; m begins at 0, so that all are kept at first
//! loss    <- mean over the images that are kept
//! ```
//!
//! The paper's text and its code agree on this but for one thing: the code multiplies by batch / kept after a mean over the batch,
//! which is the mean over the kept. Guarantee: none.

use crate::optimizer::Optimizer;
use dualmd_torch::{Kind, Tensor};

/// How much of the usual loss is kept when another one is met.
const MEMORY: f32 = 0.8;
/// Its name among what a training carries from step to step.
const NAME: &str = "usual-loss";

/// The usual loss at every timestep.
pub(crate) struct Usual(Vec<f32>);

impl Usual {
    /// As the training has it so far, of `timesteps` timesteps; 0 where none was met yet.
    pub(crate) fn of(optimizer: &Optimizer, timesteps: usize) -> Self {
        let found = optimizer.carried(NAME);
        let found = found.and_then(|t| Vec::try_from(t.to_kind(Kind::Float)).ok());
        Self(
            found
                .filter(|usual: &Vec<f32>| usual.len() == timesteps)
                .unwrap_or_else(|| vec![0.0; timesteps]),
        )
    }

    /// The place of what the network is told of an image: its timestep, or 1000 s of a flow.
    fn place(&self, t: f64) -> usize {
        (t.max(0.0) as usize).min(self.0.len().saturating_sub(1))
    }

    /// Which of the images with these losses are kept; `t`: what the network was told of each.
    pub(crate) fn kept(&self, losses: &[f64], t: &[f64], ratio: f64) -> Vec<bool> {
        let usual = |t: f64| f64::from(self.0.get(self.place(t)).copied().unwrap_or(0.0));
        losses
            .iter()
            .zip(t)
            .map(|(loss, &t)| loss * ratio >= usual(t))
            .collect()
    }

    /// Takes these losses up, one after the other.
    pub(crate) fn learn(&mut self, losses: &[f64], t: &[f64]) {
        for (&loss, &t) in losses.iter().zip(t) {
            let place = self.place(t);
            if let Some(usual) = self.0.get_mut(place) {
                *usual = MEMORY * *usual + (1.0 - MEMORY) * loss as f32;
            }
        }
    }

    /// Hands it to the training, for the next step and for checkpoints.
    pub(crate) fn carry(&self, optimizer: &mut Optimizer) {
        optimizer.carry(NAME, Tensor::from_slice(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_diffusion::nn::Parameters;

    #[test]
    fn what_is_far_below_the_usual_loss_is_left_out() {
        let one = Tensor::from_slice(&[0.0f32]);
        let mut optimizer = Optimizer::new(&Parameters(vec![("w".into(), one)]));
        let mut usual = Usual::of(&optimizer, 10);
        let t = [3.0, 3.9, 9.0];
        assert_eq!(
            usual.kept(&[0.0; 3], &t, 2.0),
            [true; 3],
            "nothing is usual yet"
        );
        usual.learn(&[1.0, 2.0], &t[..2]);
        // 0.8 x 0.2 + 0.2 x 2 = 0.56 at timestep 3, for a flow at 1000 s = 3.9 too; nothing at 9.
        assert!((usual.0[3] - 0.56).abs() < 1e-6);
        assert_eq!(usual.kept(&[0.27, 0.29, 0.0], &t, 2.0), [false, true, true]);
        assert_eq!(
            usual.kept(&[0.27, 0.29, 0.0], &t, 1.0),
            [false, false, true]
        );
        // Beyond the ends nothing falls over.
        assert_eq!(usual.kept(&[0.0, 0.0], &[-1.0, 1e9], 2.0), [true, true]);
        usual.carry(&mut optimizer);
        assert_eq!(Usual::of(&optimizer, 10).0, usual.0);
        assert_eq!(
            Usual::of(&optimizer, 11).0,
            [0.0; 11],
            "of another schedule"
        );
    }
}

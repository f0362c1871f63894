//! Losses of the averaged weights: on members, on held-out images, on calibration images. They are those of the predicted noise at the
//! schedule's timesteps whatever the network learns, so that a flow's can be laid beside a DDPM's.

use crate::trainer::{Evaluation, Trainer};
use crate::{EarlyStopping, Indices, Result};
use dualmd_data::stream;
use dualmd_diffusion::Denoiser;
use dualmd_torch::{Device, Kind, Tensor, noise, tch};
use rand::Rng;
use rand::seq::SliceRandom;

/// Draws of (t, noise) per image in an evaluation.
const EVALUATION_DRAWS: u64 = 4;
/// Images per side in an evaluation.
const EVALUATION_IMAGES: usize = 256;

impl Trainer<'_> {
    /// Loss on the images that early stopping decides by.
    pub(crate) fn calibrate(&self, network: &dyn Denoiser, early: &EarlyStopping) -> Result<f64> {
        let calibration: Indices = early.calibration.iter().copied().collect();
        let n = calibration.len().min(EVALUATION_IMAGES);
        self.noise_loss(network, &spread(&calibration, n))
    }

    /// As many members as held-out images, through the same code, with the same timesteps and noise.
    pub(crate) fn evaluate(&self, network: &dyn Denoiser) -> Result<Evaluation> {
        let members = self.recipe.watched();
        let heldout = &self.set.heldout;
        let n = if heldout.is_empty() {
            members.len()
        } else {
            members.len().min(heldout.len())
        };
        let n = n.min(EVALUATION_IMAGES);
        Ok(Evaluation {
            member_loss: self.noise_loss(network, &spread(&members, n))?,
            heldout_loss: if heldout.is_empty() {
                f64::NAN
            } else {
                self.noise_loss(network, &spread(heldout, n))?
            },
        })
    }

    fn noise_loss(&self, network: &dyn Denoiser, images: &[usize]) -> Result<f64> {
        let _guard = tch::no_grad_guard();
        let (mut sum, mut count) = (0.0, 0usize);
        let total = self.schedule.len() as i64;
        for (chunk_index, chunk) in images.chunks(64).enumerate() {
            count += chunk.len() * EVALUATION_DRAWS as usize;
            let indices: Vec<i64> = chunk.iter().map(|&i| i as i64).collect();
            let own = self.ranks.share(chunk.len());
            if own.is_empty() {
                continue;
            }
            let mine = &indices[own.clone()];
            let keep = |all: Tensor| all.narrow(0, own.start as i64, own.len() as i64);
            let x0 = self.set.images.rows(mine, self.device)?;
            let mut shape = x0.size();
            shape[0] = chunk.len() as i64;
            let told = self.set.captions.as_ref().map(|c| c.main(mine));
            for draw in 0..EVALUATION_DRAWS {
                let index = draw * 1_000_003 + chunk_index as u64;
                let mut rng = stream(self.evaluation_seed, "evaluate", index);
                // Timesteps are stratified, so that few images still cover the whole schedule; which image gets which
                // stratum is drawn anew each time.
                let n = chunk.len() as i64;
                let mut times: Vec<i64> = (0..n)
                    .map(|i| {
                        let (low, high) = (i * total / n, (i + 1) * total / n);
                        rng.random_range(low..high.max(low + 1))
                    })
                    .collect();
                times.shuffle(&mut rng);
                let t = keep(Tensor::from_slice(&times)).to_device(self.device);
                let eps = keep(noise::normal(&mut rng, &shape, Device::Cpu)).to_device(self.device);
                let x_t = self.schedule.add_noise(&x0, &eps, &t);
                let (x, time) = self.schedule.question(&x_t, &t);
                let output = network.predict_noise(&x, &time, told.as_ref())?;
                let error = self.schedule.noise_of_output(output, &x_t, &t) - eps;
                let per_image =
                    (&error * &error).mean_dim([1i64, 2, 3].as_slice(), false, Kind::Double);
                sum += per_image.sum(Kind::Double).double_value(&[]);
            }
        }
        // Every rank decides by the same number.
        let mut all = [sum];
        self.ranks.sum_f64(&mut all)?;
        Ok(all[0] / count.max(1) as f64)
    }
}

/// `n` of `all`, evenly spread over the list (which may hold one half after the other).
fn spread(all: &Indices, n: usize) -> Vec<usize> {
    (0..n.min(all.len()))
        .filter_map(|i| all.get(i * all.len() / n))
        .collect()
}

//! Remedies while sampling: embeddings of prompts are changed before images are drawn with them (Wen et al.), or the noise that
//! images start from (SAIL).

use super::generator::Generator;
use super::text::Prompts;
use crate::bail_usage;
use crate::choices::Order;
use anyhow::Result;
use dualmd_attack::memorisation::{Mitigated, Mitigation, mitigate};
use dualmd_diffusion::Denoiser;
use dualmd_diffusion::latent::sail::{self, Sail};
use dualmd_torch::Tensor;
use std::collections::BTreeMap;

/// Images of one prompt that share an embedding, as in the public code: the loss is one norm over all of them.
const GROUP: usize = 4;

/// How images are to be drawn.
pub struct Drawing<'a> {
    /// The model, or the pair.
    pub generator: &'a Generator,
    /// What it starts from, [N, C, H, W].
    pub noise: &'a Tensor,
    /// Denoising steps.
    pub steps: usize,
    /// Which model of a pair takes which step.
    pub order: Order,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Drawing<'_> {
    /// The model that takes the first step, and the timestep of it.
    fn asked_first(&self, flag: &str) -> Result<(Box<dyn Denoiser + '_>, i64)> {
        if !matches!(self.order, Order::First | Order::Second) {
            bail_usage!(
                "{flag} asks the model that takes the first step, and with --order {} that is another one for each image: use \
                 first or second",
                self.order
            );
        }
        let schedule = self.generator.first().schedule();
        let times = schedule.sampling_timesteps(self.steps)?;
        let first = times[0];
        Ok((self.generator.denoiser(self.order, times, self.seed), first))
    }
}

/// Other noise to start from, of the same shape, from which `prompts` do not call up their images (SAIL); `batch` images at a time.
/// Returns it with how many images came to the target.
///
/// # Errors
/// As [`remedy`]; what [`sail::begin`] refuses.
pub fn begin_elsewhere(
    drawing: &Drawing<'_>,
    prompts: &Prompts,
    batch: usize,
    options: &Sail,
) -> Result<(Tensor, usize)> {
    let (denoiser, first) = drawing.asked_first("--sail")?;
    let n = drawing.noise.size()[0];
    let (mut noise, mut reached) = (Vec::new(), 0);
    for start in (0..n).step_by(batch.max(1)) {
        let here = (batch.max(1) as i64).min(n - start);
        let told = prompts.condition.narrow(start, here);
        let begun = sail::begin(
            denoiser.as_ref(),
            &drawing.noise.narrow(0, start, here),
            first,
            &told,
            &prompts.nothing,
            options,
        )?;
        reached += begun.reached.iter().filter(|reached| **reached).count();
        noise.push(begun.noise);
    }
    Ok((Tensor::f_cat(&noise, 0)?, reached))
}

/// Changes the embeddings of `prompts`, one for each image; `of`: the prompt of each image, by number. Returns what the remedy
/// came to, for every four images of a prompt.
///
/// # Errors
/// An order of turns that is drawn for each image; what [`mitigate`] refuses.
pub fn remedy(
    drawing: &Drawing<'_>,
    prompts: &mut Prompts,
    of: &[usize],
    options: &Mitigation,
) -> Result<Vec<Mitigated>> {
    let (denoiser, first) = drawing.asked_first("--mitigate")?;
    let mut images: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (image, &prompt) in of.iter().enumerate() {
        images.entry(prompt).or_default().push(image);
    }
    let (embeddings, nothing) = (prompts.condition.texts()?, &prompts.nothing);
    let mut changed: Vec<Tensor> = (0..of.len() as i64)
        .map(|image| embeddings.narrow(0, image, 1))
        .collect();
    let mut all = Vec::new();
    for group in images.values().flat_map(|images| images.chunks(GROUP)) {
        let rows: Vec<Tensor> = group
            .iter()
            .map(|&image| drawing.noise.narrow(0, image as i64, 1))
            .collect();
        let noise = Tensor::f_cat(&rows, 0)?;
        let text = prompts.condition.narrow(group[0] as i64, 1);
        // The target is for a norm over four images.
        let share = (group.len() as f64 / GROUP as f64).sqrt();
        let options = Mitigation {
            target: options.target * share,
            ..*options
        };
        let found = mitigate(denoiser.as_ref(), &noise, first, &text, nothing, &options)?;
        for &image in group {
            changed[image] = found.embedding.shallow_clone();
        }
        all.push(found);
    }
    // What is told beside the tokens stays as it is.
    prompts.condition.text = Some(Tensor::f_cat(&changed, 0)?);
    Ok(all)
}

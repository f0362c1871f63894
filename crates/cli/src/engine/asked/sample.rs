//! Options of `dualmd sample`.

use super::memorisation::remedy;
use super::{Asked, models};
use dualmd::SampleOptions;
use dualmd_diffusion::latent::Early;
use dualmd_diffusion::latent::sail::Sail;
use dualmd_front::args::{Global, SampleArgs};

impl Asked for SampleArgs {
    type Options = SampleOptions;

    fn options(&self, global: &Global) -> SampleOptions {
        SampleOptions {
            models: models(&self.model, self.model2.as_ref()),
            loras: self.loras.clone(),
            n: self.n,
            sampler: self.sampler,
            steps: self.steps.unwrap_or(self.sampler.usual_steps()),
            noise: self.noise.clone(),
            prompt: self.prompt.clone(),
            prompts: self.prompts.clone(),
            guidance: self.guidance,
            early: self.guidance_from.map(|above| Early {
                above: i64::from(above),
                scale: self.early_guidance,
            }),
            sail: self.sail.then(|| Sail {
                target: self.sail_target,
                ..Sail::default()
            }),
            remedy: remedy(&self.remedy),
            order: self.order,
            weights: self.weights,
            batch: self.batch,
            out: self.out.clone(),
            format: self.format,
            seed: global.seed(),
        }
    }
}

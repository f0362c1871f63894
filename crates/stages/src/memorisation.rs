//! What prompts call up: images are generated from each, and what the model gives away on the way is measured, and how like the
//! prompt's own training image they are.

use super::features::vectors;
use super::fit::Fitting;
use super::generator::{Generator, decoded};
use super::mitigation::{Drawing, remedy};
use super::pictures::pictures;
use super::text::{Encoded, Prompts};
use crate::choices::Order;
use crate::engine::Engine;
use crate::room;
use anyhow::{Context, Result, bail};
use dualmd_attack::SecMi;
use dualmd_attack::memorisation::{
    Generation, Mitigation, from_noise, guided_trajectory, per_prompt, t_errors,
};
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{DiffusionError, TextToImage};
use dualmd_encoders::ClipModel;
use dualmd_metrics::Extractor;
use dualmd_torch::{Device, Kind, Tensor, unit_rows};
use serde::Serialize;

/// A prompt, and what is known about it.
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Was the model trained with it, or is it known to be memorised?
    pub memorised: bool,
    /// Content id of its image.
    pub id: Option<String>,
}

/// How prompts are measured.
pub struct Measure<'a> {
    /// The model, or the pair.
    pub generator: &'a Generator,
    /// Where it runs.
    pub engine: &'a Engine,
    /// Images for each prompt.
    pub generations: usize,
    /// DDIM steps.
    pub steps: usize,
    /// Scale of classifier-free guidance.
    pub guidance: f64,
    /// Which model of a pair takes which step.
    pub order: Order,
    /// Images at a time.
    pub batch: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// Whose error of an image counts.
    pub secmi: SecMi,
    /// The remedy, if there is to be one.
    pub mitigation: Option<Mitigation>,
    /// What says how well an image fits its prompt.
    pub clip: Option<&'a ClipModel>,
    /// The same without a CLIP.
    pub fit: Option<&'a Fitting>,
}

/// What one prompt came to: means over its images.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// SecMI's error of what was generated, with what the model was told; small = memorised.
    pub t_error: f64,
    /// Wen's norm, mean over all steps; large = memorised.
    pub mean_norm: f64,
    /// The same at the first step.
    pub first_norm: f64,
    /// Mean cosine between the prediction for pure noise without the prompt and what the prompt changes; large = memorised.
    pub alignment: f64,
    /// `first_norm` and twice the alignment; large = memorised.
    pub anisotropy: f64,
    /// How much the pull of the prompt changes along itself, at pure noise; large = memorised.
    pub sharpness: f64,
    /// Cosine between features of a generated image and of the prompt's own image.
    pub similarity: Option<f64>,
    /// To the most similar member.
    pub nearest_member: Option<f64>,
    /// To the most similar image that no model saw, the prompt's own left out.
    pub nearest_heldout: Option<f64>,
    /// Cosine between CLIP's embeddings of a generated image and of the prompt as it was given.
    pub clip_score: Option<f64>,
    /// The same by a head that was learnt for it.
    pub fit: Option<f64>,
    /// With a remedy: losses before its first and its last update, and whether the target was reached.
    pub mitigation: Option<Remedied>,
}

/// What the remedy came to for one prompt.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Remedied {
    /// Loss before the first update; the mean where there are more than four images.
    pub before: f64,
    /// The last loss that is known.
    pub after: f64,
    /// Was the target reached for all images?
    pub reached: bool,
}

/// Real images in features: those of the prompts, in their order.
pub struct Real<'a> {
    extractor: &'a dyn Extractor,
    /// [N, D] f64, of length 1.
    features: Tensor,
    /// How many of them, the first ones, are members.
    members: i64,
}

impl<'a> Real<'a> {
    /// `x`: [N, C, H, W] in [-1, 1], members first.
    ///
    /// # Errors
    /// What the extractor refuses.
    pub fn new(extractor: &'a dyn Extractor, x: &Tensor, members: usize) -> Result<Self> {
        Ok(Self {
            extractor,
            features: directions(extractor, x)?,
            members: members as i64,
        })
    }

    /// Cosines of `images`, `each` of every prompt from the `start`-th on: to the prompt's own image, to the nearest member, to the
    /// nearest other; means over the images of a prompt.
    fn similarities(
        &self,
        images: &Tensor,
        start: i64,
        each: i64,
    ) -> Result<[Vec<Option<f64>>; 3]> {
        let cosines =
            directions(self.extractor, images)?.f_matmul(&self.features.f_transpose(0, 1)?)?;
        let (n, prompts) = (self.features.size()[0], images.size()[0] / each);
        let best = |of: &Tensor, from: i64, length: i64| -> Result<Option<f64>> {
            if length < 1 {
                return Ok(None);
            }
            let nearest = of
                .f_narrow(1, from, length)?
                .f_amax([1i64].as_slice(), false)?;
            let mean = nearest.f_mean(Kind::Double)?.double_value(&[]);
            Ok(Some(mean).filter(|m| m.is_finite()))
        };
        let mut all = [Vec::new(), Vec::new(), Vec::new()];
        for prompt in 0..prompts {
            let of = cosines.f_narrow(0, prompt * each, each)?;
            let own = start + prompt;
            all[0].push(best(&of, own, 1)?);
            all[1].push(best(&of, 0, self.members)?);
            // An image is no yardstick for its own prompt.
            let others = of.copy();
            let _ = others.f_narrow(1, own, 1)?.f_fill_(f64::NEG_INFINITY)?;
            all[2].push(best(&others, self.members, n - self.members)?);
        }
        Ok(all)
    }
}

/// Features of images in [-1, 1] as vectors of length 1, [N, D] f64.
fn directions(extractor: &dyn Extractor, x: &Tensor) -> Result<Tensor> {
    Ok(unit_rows(&vectors(extractor, x)?)?)
}

/// CLIP scores of prompts: means over the `k` images of each.
fn clip_scores(
    clip: &ClipModel,
    prompts: &[Prompt],
    images: &Tensor,
    k: usize,
) -> Result<Vec<f64>> {
    let pictures = pictures(images)?;
    let seen = clip.pictures(&pictures.iter().collect::<Vec<_>>())?;
    let texts: Vec<&str> = prompts.iter().map(|p| p.text.as_str()).collect();
    let told = clip
        .texts(&texts)?
        .f_repeat_interleave_self_int(k as i64, 0, None)?;
    let cosines = (seen * told).f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?;
    Ok(per_prompt(&Vec::<f64>::try_from(&cosines)?, k))
}

impl Measure<'_> {
    /// Measures every prompt. `real`: the prompts' own images, where there are any; `each` is given the number of prompts that are
    /// done and the new images, [n k, C, H, W] in [-1, 1] on the CPU, and says whether to go on.
    ///
    /// # Errors
    /// A model that is told no text, what it or the extractor refuses; a stop that was asked for.
    pub fn prompts(
        &self,
        prompts: &[Prompt],
        real: Option<&Real<'_>>,
        mut each: impl FnMut(usize, &Tensor) -> Result<bool>,
    ) -> Result<Vec<Found>> {
        let model = self.generator.first();
        let Some(text) = model.text() else {
            bail!("this model is told no text: prompts can be asked of text-to-image models only");
        };
        let shape = model
            .sample_shape()
            .context("unet/config.json gives no sample_size; add it")?;
        let lists: Vec<[String; 1]> = prompts.iter().map(|p| [p.text.clone()]).collect();
        let lists: Vec<&[String]> = lists.iter().map(<[String; 1]>::as_slice).collect();
        let encoded = Encoded::new(text, &lists)?;
        let condition = encoded.main(self.generations);
        let k = self.generations;
        let n = prompts.len().saturating_mul(k);
        room::check(model, n, self.batch, shape)?;
        let noise = initial_noise(self.seed, n, shape, self.engine.device);
        let mut all = Vec::new();
        let at_once = (self.batch / k).max(1);
        for start in (0..prompts.len()).step_by(at_once) {
            let here = at_once.min(prompts.len() - start);
            let part = |x: &Tensor| x.narrow(0, (start * k) as i64, (here * k) as i64);
            let told = Prompts {
                condition: condition.each(part),
                nothing: encoded.nothing(),
                guidance: self.guidance,
            };
            let (mut found, images) =
                self.some(text, &part(&noise), told, here, (start * k) as u64)?;
            if let Some(real) = real {
                let [own, members, heldout] = real.similarities(&images, start as i64, k as i64)?;
                for (i, f) in found.iter_mut().enumerate() {
                    (f.similarity, f.nearest_member, f.nearest_heldout) =
                        (own[i], members[i], heldout[i]);
                }
            }
            if let Some(clip) = self.clip {
                let here = &prompts[start..start + here];
                for (f, score) in found.iter_mut().zip(clip_scores(clip, here, &images, k)?) {
                    f.clip_score = Some(score);
                }
            }
            if let Some(fit) = self.fit {
                let here = &prompts[start..start + here];
                let texts: Vec<&str> = here.iter().map(|p| p.text.as_str()).collect();
                for (f, score) in found.iter_mut().zip(fit.of(&texts, &images)?) {
                    f.fit = Some(score);
                }
            }
            all.extend(found);
            if !each(all.len(), &images)? {
                return Err(DiffusionError::Stopped.into());
            }
        }
        Ok(all)
    }

    /// Some prompts at once, with their images, of which `first` were generated before.
    fn some(
        &self,
        model: &TextToImage,
        noise: &Tensor,
        mut told: Prompts,
        prompts: usize,
        first: u64,
    ) -> Result<(Vec<Found>, Tensor)> {
        let k = self.generations;
        let drawing = Drawing {
            generator: self.generator,
            noise,
            steps: self.steps,
            order: self.order,
            seed: self.seed,
        };
        let of: Vec<usize> = (0..prompts * k).map(|image| image / k).collect();
        let remedied = match &self.mitigation {
            Some(options) => Some(remedy(&drawing, &mut told, &of, options)?),
            None => None,
        };
        let schedule = &model.schedule;
        let times = schedule.sampling_timesteps(self.steps)?;
        let denoiser = self.generator.denoiser(self.order, times, self.seed);
        let (text, empty) = (&told.condition, &told.nothing);
        let generation = Generation {
            noise,
            text,
            empty,
            guidance: self.guidance,
            steps: self.steps,
            clip: self.generator.first().clip(),
            first,
        };
        let trajectory = guided_trajectory(denoiser.as_ref(), schedule, &generation)?;
        let seen = from_noise(denoiser.as_ref(), schedule, &generation)?;
        let errors = t_errors(
            denoiser.as_ref(),
            schedule,
            &trajectory.end,
            text,
            empty,
            self.batch,
            self.secmi,
        )?;
        let images = decoded(self.generator.first(), &trajectory.end)?
            .clamp(-1.0, 1.0)
            .to_device(Device::Cpu);
        let errors = per_prompt(&errors, k);
        let mean = per_prompt(&trajectory.mean_norms(), k);
        let first = per_prompt(&trajectory.first_norms(), k);
        let alignment = per_prompt(&seen.alignment, k);
        let anisotropy = per_prompt(&seen.anisotropy, k);
        let sharpness = per_prompt(&seen.sharpness, k);
        let groups = remedied.as_ref().map_or(0, |all| all.len() / prompts);
        let found = (0..prompts).map(|i| Found {
            t_error: errors[i],
            mean_norm: mean[i],
            first_norm: first[i],
            alignment: alignment[i],
            anisotropy: anisotropy[i],
            sharpness: sharpness[i],
            similarity: None,
            nearest_member: None,
            nearest_heldout: None,
            clip_score: None,
            fit: None,
            mitigation: remedied.as_ref().map(|all| {
                let own = &all[i * groups..(i + 1) * groups];
                let mean = |loss: fn(&[f64]) -> Option<&f64>| {
                    let losses = own.iter().filter_map(|m| loss(&m.losses));
                    losses.sum::<f64>() / own.len() as f64
                };
                Remedied {
                    before: mean(<[f64]>::first),
                    after: mean(<[f64]>::last),
                    reached: own.iter().all(|m| m.reached),
                }
            }),
        });
        Ok((found.collect(), images))
    }
}

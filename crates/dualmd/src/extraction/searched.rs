//! What a text-to-image model is to be told of each image, searched for.

use super::drawing::Drawing;
use crate::bail_usage;
use crate::reporter::{ProgressEvent, Work};
use crate::stages::score::parts::Folder;
use anyhow::Result;
use dualmd_attack::{Parts, Search, search};
use dualmd_diffusion::{Condition, DiffusionError};
use dualmd_torch::{Kind, Tensor, no_grad};
use std::collections::BTreeMap;
use std::time::Instant;

/// Name of the only tensor of a part.
const EMBEDDINGS: &str = "embeddings";

/// The images that embeddings are searched for.
pub(super) struct Searched {
    /// [N, C, H, W] in [-1, 1] on the CPU.
    pub(super) images: Tensor,
    /// Their ids, from which all that is drawn follows.
    pub(super) ids: Vec<String>,
    /// How far.
    pub(super) options: Search,
}

impl Searched {
    /// Images.
    pub(super) fn count(&self) -> usize {
        self.ids.len()
    }

    /// Embeddings from which the model generates these images, from their captions' `text` on: [N, tokens, width]. Those that an earlier
    /// call left in `parts` are taken from there.
    ///
    /// # Errors
    /// What [`search()`] refuses; a part that cannot be written; a stop that was asked for.
    pub(super) fn embeddings(
        &self,
        drawing: &Drawing<'_>,
        parts: &Folder,
        text: &Condition,
    ) -> Result<Tensor> {
        let (session, args) = (drawing.session, drawing.args);
        let (model, device) = (drawing.generator.first(), session.engine.device);
        if text.pooled.is_some() {
            bail_usage!(
                "--method search: the text alone is searched for, and this model is told a pooled text beside it (Stable Diffusion XL); \
                 use --method generate or inpaint"
            );
        }
        let text = text.texts()?;
        let timesteps = model.schedule().sampling_timesteps(args.steps)?;
        let denoiser = drawing.generator.denoiser(args.order, timesteps, args.seed);
        // An image has as many rows as draws.
        let at_once = (args.batch / self.options.draws.max(1)).max(1);
        let (mut found, began) = (Vec::new(), Instant::now());
        for (place, ids) in self.ids.chunks(at_once).enumerate() {
            let (first, here) = ((place * at_once) as i64, ids.len() as i64);
            let start = text.f_narrow(0, first, here)?;
            let name = format!("search-{first}");
            let kept = parts
                .read(&name)
                .and_then(|mut part| part.remove(EMBEDDINGS));
            if let Some(kept) = kept.filter(|kept| kept.size() == start.size()) {
                found.push(kept.f_to_device(device)?.f_to_kind(Kind::Float)?);
                continue;
            }
            if session.stopped() {
                return Err(DiffusionError::Stopped.into());
            }
            let images = self.images.f_narrow(0, first, here)?.f_to_device(device)?;
            let seen = no_grad(|| model.encode(&images))?;
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let made = search(
                denoiser.as_ref(),
                model.schedule(),
                [&seen, &start],
                &ids,
                args.seed,
                &self.options,
            )?;
            let part = BTreeMap::from([(EMBEDDINGS.to_owned(), made.shallow_clone())]);
            parts.write(&name, &part).map_err(anyhow::Error::msg)?;
            found.push(made);
            let done = place * at_once + ids.len();
            let event = ProgressEvent::images("", done, self.count(), began).doing("search");
            session.reporter.progress(&event.of(Work::Generate));
        }
        Ok(Tensor::f_cat(&found, 0)?)
    }

    /// Network calls for all images.
    pub(super) fn calls(&self) -> u64 {
        (self.count() * self.options.steps * self.options.draws) as u64
    }
}

//! Options of `dualmd extract`.

use super::{Asked, models};
use dualmd::ExtractOptions;
use dualmd::extraction::{Search, Side};
use dualmd_front::args::{ExtractArgs, Global};

impl Asked for ExtractArgs {
    type Options = ExtractOptions;

    fn options(&self, global: &Global) -> ExtractOptions {
        ExtractOptions {
            models: models(&self.model, self.model2.as_ref()),
            base: self.base.clone().map(|base| (base, self.contrast)),
            members: self.members.clone(),
            nonmembers: self.nonmembers.clone(),
            split: self.read.split.clone(),
            group_column: self.read.group_column.clone(),
            id_column: self.read.id_column.clone(),
            caption_column: self.read.caption_column.clone(),
            label_column: self.read.label_column.clone(),
            alpha: self.read.alpha.into(),
            method: self.method,
            images: self.images,
            per_prompt: self.per_prompt,
            captions: self.captions,
            search: Search {
                steps: self.search_steps,
                ..Search::default()
            },
            side: Side {
                clusters: self.clusters,
                scale: self.lead,
                ..Side::default()
            },
            clique: self.clique,
            radius: self.radius,
            rate: self.rate,
            sampler: self.sampler,
            steps: self.steps.unwrap_or(self.sampler.usual_steps()),
            guidance: self.guidance,
            order: self.order,
            features: self.features,
            features_weights: self.features_weights.clone(),
            weights: self.weights,
            batch: self.batch,
            pictures: !self.no_images,
            out: self.out.clone(),
            seed: global.seed(),
        }
    }
}

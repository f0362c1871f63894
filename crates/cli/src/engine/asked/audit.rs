//! Options of `dualmd attack` and `dualmd audit`.

use super::Asked;
use dualmd::audit::{AuditOptions, DrawOptions, ScoreOptions, ShadowOptions};
use dualmd::machine::called_as;
use dualmd_front::args::{AuditArgs, Global, ScoreArgs};
use std::time::Duration;

impl Asked for ScoreArgs {
    type Options = ScoreOptions;

    fn options(&self, global: &Global) -> ScoreOptions {
        let shadow = match (&self.shadow_members, &self.shadow_nonmembers) {
            (Some(members), Some(nonmembers)) if !self.shadow.is_empty() => Some(ShadowOptions {
                models: self.shadow.clone(),
                members: members.clone(),
                nonmembers: nonmembers.clone(),
                split: self.shadow_split.clone(),
            }),
            _ => None,
        };
        ScoreOptions {
            models: self.models.clone(),
            named: self.named.clone(),
            pair: self.pair.clone(),
            loras: self.loras.clone(),
            // Of a program that calls this one, a socket is its own.
            denoiser: self.denoiser.clone().map(|place| match called_as() {
                Some(_) => place.of_caller(),
                None => place,
            }),
            generated: self.generated.clone(),
            denoiser_timeout: Duration::from_secs(self.denoiser_timeout),
            members: self.members.clone(),
            nonmembers: self.nonmembers.clone(),
            split: self.read.split.clone(),
            attacks: self.attacks.clone(),
            group_column: self.read.group_column.clone(),
            id_column: self.read.id_column.clone(),
            caption_column: self.read.caption_column.clone(),
            label_column: self.read.label_column.clone(),
            alpha: self.read.alpha.into(),
            reference: self.reference.clone(),
            shadow,
            features: self.features,
            features_weights: self.features_weights.clone(),
            known_fraction: self.known_fraction,
            draw: DrawOptions {
                images: self.draw.images,
                per_prompt: self.draw.per_prompt,
                steps: self.draw.steps,
                guidance: self.draw.guidance,
            },
            weights: self.weights,
            batch: self.batch,
            seed: global.seed(),
        }
    }
}

impl Asked for AuditArgs {
    type Options = AuditOptions;

    fn options(&self, global: &Global) -> AuditOptions {
        AuditOptions {
            score: self.score.options(global),
            compat: self.compat.clone(),
            out: self.out.clone(),
            report: self.fail.report(),
        }
    }
}

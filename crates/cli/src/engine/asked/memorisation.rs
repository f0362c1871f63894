//! Options of `dualmd memorisation`, and of Wen's remedy.

use super::{Asked, models};
use dualmd::choices::Mitigate;
use dualmd::memorisation::{MemorisationOptions, PromptSource};
use dualmd_attack::memorisation::Mitigation;
use dualmd_front::args::{Global, MemorisationArgs, MitigateArgs};

impl Asked for MemorisationArgs {
    type Options = MemorisationOptions;

    fn options(&self, global: &Global) -> MemorisationOptions {
        let prompts = match (&self.members, &self.memorised) {
            (Some(members), _) => PromptSource::Images {
                members: members.clone(),
                nonmembers: self.nonmembers.clone(),
                split: self.split.clone(),
                caption_column: self.caption_column.clone(),
            },
            // One of the two is required.
            (None, memorised) => PromptSource::Files {
                memorised: memorised.clone().unwrap_or_default(),
                others: self.others.clone(),
            },
        };
        MemorisationOptions {
            models: models(&self.model, self.model2.as_ref()),
            prompts,
            n: self.n,
            steps: self.steps,
            guidance: self.guidance,
            t_sec: self.t_sec,
            order: self.order,
            features: self.features,
            features_weights: self.features_weights.clone(),
            clip: self.clip.clone(),
            fit: self.fit.clone(),
            fit_head: self.fit_head.clone(),
            fit_if_possible: false,
            remedy: remedy(&self.remedy),
            weights: self.weights,
            batch: self.batch,
            out: self.out.clone(),
            seed: global.seed(),
        }
    }
}

/// The remedy's settings; `None`: no remedy.
pub(super) fn remedy(args: &MitigateArgs) -> Option<Mitigation> {
    args.mitigate.map(|Mitigate::Wen| Mitigation {
        steps: args.mitigate_steps,
        target: args.mitigate_target,
        ..Mitigation::default()
    })
}

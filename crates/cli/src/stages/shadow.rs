//! The shadow of a run, in its folder `shadow/`: the same experiment on images that the run does not touch, for attacks that are
//! learnt on a shadow model (`pw-classifier+shadow`).
//!
//! Every model of the run has its shadow there, trained by the same recipe with the same defence: an attacker who knows the
//! defence would do so. A base that `[pretrain]` made is not made again, as the base of a fine-tuned model is public. The
//! shadow is sampled where an attack compares drawn images, and not attacked itself.

use super::prepare::{self, Images, prepare, subset};
use super::similar::needs_images;
use super::{RunFolder, create_folder, sample, trainings};
use crate::bail_usage;
use crate::choices::SplitMethod;
use crate::engine::Engine;
use crate::experiment::Experiment;
use crate::plan::{BASE, Plan, SHADOW, training_seed};
use crate::progress::View;
use anyhow::{Context, Result};
use dualmd_attack::{Needs, needs};
use dualmd_data::Split;
use std::sync::atomic::AtomicBool;

/// A run's shadow.
pub struct Shadow {
    /// Its folder.
    pub run: RunFolder,
    /// What is trained in it.
    pub plan: Plan,
    /// Its members and non-members.
    pub images: Images,
}

/// Is the attack learnt on a shadow model?
pub fn learns_there(attack: &str) -> bool {
    needs(attack) == Needs::Shadow
}

/// Does an attack of the plan need a shadow?
pub fn asked(plan: &Plan) -> bool {
    plan.models
        .iter()
        .any(|target| target.attacks.iter().any(|a| learns_there(a)))
}

/// Members and non-members of the shadow: as many of either as the run has, or as many non-members as are left.
///
/// # Errors
/// Too few images are left.
pub fn sizes(plan: &Plan, experiment: &Experiment, images: &Images) -> Result<(usize, usize)> {
    let data = &plan.data;
    let free = images.free(experiment.data.near_duplicates).len();
    let members = data.members.next_multiple_of(2);
    let nonmembers = data.nonmembers.min(free.saturating_sub(members));
    if nonmembers < FEWEST_NONMEMBERS.min(data.nonmembers) {
        bail_usage!(
            "audit.attacks: a shadow model is trained on {members} other images of {} and needs some more that it does not see; {} has \
             {free} that are neither members nor non-members: ask for fewer members or non-members (data.members, data.nonmembers), or \
             leave out the attacks that end with +shadow",
            data.source,
            data.source
        );
    }
    Ok((members, nonmembers))
}

/// Fewer would leave an attack next to nothing to learn from.
const FEWEST_NONMEMBERS: usize = 16;

impl Shadow {
    /// Prepares the shadow of a run whose base, if it has one of its own, is trained.
    ///
    /// # Errors
    /// Too few images; a folder that holds another shadow.
    pub fn prepare(run: &RunFolder, plan: &Plan, images: &Images, engine: &Engine) -> Result<Self> {
        let mut own = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?;
        let (members, nonmembers) = sizes(plan, &own, images)?;
        let near = own.data.near_duplicates;
        own.seed = training_seed(plan.seed, 0, SHADOW);
        own.data.method = SplitMethod::Half;
        (own.data.members, own.data.nonmembers) = (members, nonmembers);
        // Nobody attacks it; an experiment names an attack, and this one asks for no further model.
        own.audit.attacks = vec!["loss".to_owned()];
        own.audit.black_box = false;
        if own.pretrain.take().is_some() {
            own.model.base = Some(run.model(BASE).display().to_string());
            own.model.config = toml::Table::new();
        }
        let folder = RunFolder(run.0.join(SHADOW));
        create_folder(&folder.0)?;
        if !folder.split().exists() {
            let pool = subset(&images.set, &images.free(near))?;
            let groups = prepare::group(&pool, near);
            Split::half(&pool, &groups, members, Some(nonmembers), own.seed)?
                .save(&folder.split())?;
        }
        let (plan, images) = prepare(
            &own,
            &folder,
            engine,
            super::super::commands::run::command_line(),
        )
        .with_context(|| format!("preparing {} failed", folder.0.display()))?;
        Ok(Self {
            run: folder,
            plan,
            images,
        })
    }

    /// Trains what is not trained yet. False if asked to stop before the end.
    ///
    /// # Errors
    /// A training that fails.
    pub fn train(&self, engine: &Engine, view: View, stop: &AtomicBool) -> Result<bool> {
        trainings::all(&self.run, &self.plan, engine, view, stop).context("the shadow run")
    }

    /// Draws what the attacks of `plan`, the run's own, compare. False if asked to stop before the end.
    ///
    /// # Errors
    /// As [`sample::all`].
    pub fn sample(
        &self,
        plan: &Plan,
        engine: &Engine,
        view: View,
        stop: &AtomicBool,
    ) -> Result<bool> {
        let compares = |a: &String| learns_there(a) && needs_images(a);
        if !plan.models.iter().any(|t| t.attacks.iter().any(compares)) {
            return Ok(true);
        }
        sample::all(&self.run, &self.plan, &self.images, engine, view, stop)
    }
}

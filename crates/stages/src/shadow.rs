//! The shadow of a run, in its folder `shadow/`: the same experiment on images that the run does not touch, for attacks that are
//! learnt on a shadow model (`pw-classifier+shadow`).
//!
//! Every model of the run has its shadow there, trained by the same recipe with the same defence: an attacker who knows the
//! defence would do so. A base that `[pretrain]` made is not made again, as the base of a fine-tuned model is public. The
//! shadow is sampled where an attack compares drawn images, and not attacked itself.

use super::held::Held;
use super::prepare::{self, Images, prepare};
use super::score::subject::Label;
use super::text::captions_of;
use super::train::finished;
use super::{RunFolder, sample, trainings};
use crate::bail_usage;
use crate::choices::SplitMethod;
use crate::experiment::Experiment;
use crate::plan::{BASE, JobKind, Plan, SHADOW, training_seed};
use crate::session::Session;
use anyhow::{Context, Result};
use dualmd_data::Split;
use dualmd_names::{AttackSpec, BaseAttack};
use std::collections::BTreeSet;

/// A run's shadow.
pub struct Shadow {
    /// Its folder.
    pub run: RunFolder,
    /// What is trained in it.
    pub plan: Plan,
    /// Its members and non-members.
    pub images: Images,
    /// Nobody else works in its folder.
    _held: Held,
}

/// Does an attack of the plan need a shadow?
pub fn asked(plan: &Plan) -> bool {
    plan.models
        .iter()
        .any(|target| target.attacks.iter().any(AttackSpec::is_shadowed))
}

/// The shadow's folder in that of a run.
pub fn folder(run: &RunFolder) -> RunFolder {
    RunFolder(run.0.join(SHADOW))
}

/// Can the shadow of a run be prepared? Where the run makes a base of its own, that is what the shadow's models start from.
///
/// # Errors
/// A base that was trained on another split.
pub fn can_be_prepared(run: &RunFolder, plan: &Plan) -> Result<bool> {
    for job in plan.trainings.iter().filter(|job| job.name == BASE) {
        if !finished(run, plan, &job.name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The seed of the shadow of what has the seed `seed`: its training and its images begin with other noise.
pub fn seed(seed: u64) -> u64 {
    training_seed(seed, 0, SHADOW)
}

/// Do attacks compare what the shadow draws?
pub fn draws(attacks: &[AttackSpec]) -> bool {
    attacks.iter().any(|a| a.is_shadowed() && a.needs_images())
}

/// Members and non-members of the shadow: as many of either as the run has, or as many non-members as are left.
///
/// # Errors
/// Too few images are left.
fn sizes(plan: &Plan, experiment: &Experiment, images: &Images) -> Result<(usize, usize)> {
    let data = &plan.data;
    let free = images.free(experiment.data.near_duplicates)?.len();
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

/// Are there images enough for the shadow? Nothing is written.
///
/// # Errors
/// Too few are left.
pub fn enough(run: &RunFolder, plan: &Plan, images: &Images) -> Result<()> {
    if folder(run).split().exists() {
        return Ok(());
    }
    let experiment = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?;
    sizes(plan, &experiment, images).map(drop)
}

impl Shadow {
    /// Draws the shadow's members and non-members, or reads those of an earlier call: before anything is trained.
    ///
    /// # Errors
    /// Too few images; one without a caption where models are told a text.
    pub fn split(run: &RunFolder, plan: &Plan, images: &Images) -> Result<(usize, usize)> {
        let experiment = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?;
        let near = experiment.data.near_duplicates;
        let path = folder(run).split();
        let split = if path.exists() {
            Split::load(&path)?
        } else {
            let (members, nonmembers) = sizes(plan, &experiment, images)?;
            let pool = images.listing.part(&images.free(near)?)?;
            let groups = prepare::group(&pool, near)?;
            let pool = pool.set();
            let split = Split::half(pool, &groups, members, Some(nonmembers), seed(plan.seed))?;
            if plan.model.text {
                let chosen = split.select(pool)?;
                for &i in chosen.members.iter().chain(&chosen.nonmembers) {
                    captions_of(pool, &pool.records[i])?;
                }
            }
            dualmd_files::create_private_folder(&folder(run).0)?;
            split.save(&path)?;
            split
        };
        Ok((split.members().len(), split.nonmembers().len()))
    }

    /// Prepares the shadow of a run whose base, if it has one of its own, is trained.
    ///
    /// # Errors
    /// As [`Self::split`]; a folder that holds another shadow.
    pub fn prepare(
        run: &RunFolder,
        plan: &Plan,
        images: &Images,
        session: &Session,
    ) -> Result<Self> {
        // As many steps as the run's models, also where its members are a few more or fewer.
        let mut own = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?.in_steps()?;
        (own.data.members, own.data.nonmembers) = Self::split(run, plan, images)?;
        own.data.method = SplitMethod::Half;
        own.seed = seed(plan.seed);
        // Nobody attacks it; an experiment names an attack, and this one asks for no further model.
        own.audit.attacks = vec![BaseAttack::Loss.into()];
        own.audit.black_box = false;
        if own.pretrain.take().is_some() {
            own.model.base = Some(run.model(BASE).display().to_string());
            own.model.config = toml::Table::new();
        }
        let folder = folder(run);
        let held = Held::run(&folder.0, session.reporter.as_ref())?;
        let (plan, images) = prepare(&own, &folder, session)
            .with_context(|| format!("preparing {} failed", folder.0.display()))?;
        Ok(Self {
            run: folder,
            plan,
            images,
            _held: held,
        })
    }

    /// `labels`, those of all its images, for the model of `parts`: a teacher saw the members of its half only.
    pub fn labels(&self, parts: &[String], labels: &[Label]) -> Vec<Label> {
        let s = &self.images.selected;
        let job = parts.first().filter(|_| parts.len() == 1);
        let job = job.and_then(|name| self.plan.trainings.iter().find(|job| job.name == *name));
        let seen: BTreeSet<&str> = match job.map(|job| &job.kind) {
            Some(JobKind::Teacher { half: 1 }) => &s.d1,
            Some(JobKind::Teacher { .. }) => &s.d2,
            _ => &s.members,
        }
        .iter()
        .map(|&i| self.images.set().records[i].id.as_str())
        .collect();
        let of = |label: &Label| Label {
            member: seen.contains(label.id.as_str()),
            ..label.clone()
        };
        labels.iter().map(of).collect()
    }

    /// Trains what is not trained yet. False if asked to stop before the end.
    ///
    /// # Errors
    /// A training that fails.
    pub fn train(&self, session: &Session) -> Result<bool> {
        trainings::all(&self.run, &self.plan, session).context("the shadow run")
    }

    /// Draws what the attacks of `plan`, the run's own, compare. False if asked to stop before the end.
    ///
    /// # Errors
    /// As [`sample::all`].
    pub fn sample(&self, plan: &Plan, session: &Session) -> Result<bool> {
        if !plan.models.iter().any(|t| draws(&t.attacks)) {
            return Ok(true);
        }
        sample::all(&self.run, &self.plan, &self.images, session)
    }
}

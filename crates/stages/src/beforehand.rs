//! What would fail after hours of training, found before: attacks that no model of the noise schedule allows, networks for features that
//! are not there.

use super::attack::labels;
use super::prepare::Images;
use super::score::{Label, lacks_network};
use super::{RunFolder, copies, utility};
use crate::bail_usage;
use crate::experiment::Experiment;
use crate::plan::{Job, JobKind, Plan};
use anyhow::{Context, Result};
use dualmd_attack::{AttackError, Known, Space, rehearsal};
use dualmd_diffusion::NoiseSchedule;
use dualmd_metrics::Extractor;
use dualmd_names::{AttackSpec, BaseAttack, BlackBox};
use dualmd_torch::Device;
use std::path::Path;

/// Attacks that fail on every model of this noise schedule, each with the reason; `latent`: the models see latents.
pub fn impossible(attacks: &[AttackSpec], schedule: &NoiseSchedule, latent: bool) -> Vec<String> {
    let space = match latent {
        true => Space::Latent,
        false => Space::Pixels,
    };
    let reason = |attack: &AttackSpec| {
        if BlackBox::of(attack).is_some() || attack.drawn().is_some() {
            // They look at generated images.
            return None;
        }
        let why = match dualmd_attack::method(attack, space) {
            Ok(method) => rehearsal::refused(&method, schedule)?,
            Err(why) => why,
        };
        let why = match why {
            AttackError::Parameter { reason, .. } => reason,
            other => other.to_string(),
        };
        Some(format!("attack {attack}: {why}"))
    };
    attacks.iter().filter_map(reason).collect()
}

/// Refuses what no model of an experiment with this noise schedule can do.
///
/// # Errors
/// Attacks as of [`impossible`]; more steps of an image than there are timesteps.
pub fn check_schedule(
    experiment: &Experiment,
    schedule: &NoiseSchedule,
    latent: bool,
) -> Result<()> {
    let found = impossible(&experiment.audit.attacks, schedule, latent);
    if !found.is_empty() {
        bail_usage!(
            "audit.attacks: {}; change it, or leave it out",
            found.join("; ")
        );
    }
    let steps = experiment.sample.steps;
    if let Err(why) = schedule.sampling_timesteps(steps) {
        bail_usage!("sample.steps = {steps}: {why}");
    }
    Ok(())
}

/// Refuses a training with DP-SGD whose batch is larger than its set.
///
/// # Errors
/// It is.
pub fn private_batch(plan: &Plan, job: &Job) -> Result<()> {
    let (batch, members) = (plan.train_of(job).batch, plan.data.members);
    if matches!(job.kind, JobKind::DpSgd { .. }) && batch > members {
        bail_usage!(
            "train.batch = {batch}: with DP-SGD at most the number of images, {members}, because each is drawn at most once in a step"
        );
    }
    Ok(())
}

/// Opens the networks that generated images are measured and compared by, as the run does once its models are trained. `shape`: that of its
/// images, [C, H, W]. Nothing is opened where all is trained: they are then opened at once.
///
/// # Errors
/// Files that are missing or are not what they should be, with the key; `nn-features` without a network for it.
pub fn networks(run: &RunFolder, plan: &Plan, shape: [usize; 3], device: Device) -> Result<()> {
    if plan
        .trainings
        .iter()
        .all(|job| run.training(&job.name).exists())
    {
        return Ok(());
    }
    let ([_, height, width], sample) = (shape, &plan.sample);
    let weights = sample.features_weights.as_deref().map(Path::new);
    let extractor = utility::extractor(sample.features, weights, [height, width], device)
        .context("sample.features")?;
    let attacks = plan.models.iter().flat_map(|target| &target.attacks);
    if let Some(why) = without_network(attacks, extractor.as_deref()) {
        bail_usage!("audit.attacks: {why}");
    }
    let weights = sample.copies_weights.as_deref().map(Path::new);
    copies::likenesses(sample.copies, weights, [height, width]).context("sample.copies")?;
    Ok(())
}

/// Why `nn-features` fails, if it is among the attacks and there is no network that makes features.
pub fn without_network<'a>(
    mut attacks: impl Iterator<Item = &'a AttackSpec>,
    extractor: Option<&dyn Extractor>,
) -> Option<String> {
    let asked = attacks.any(|attack| attack.base() == BaseAttack::NearestFeatures);
    let there = extractor.is_some_and(|e| !e.name().starts_with("pixels"));
    (asked && !there).then(lacks_network)
}

/// Why attacks that learn on a known part of the images fail, if some are asked for and the images cannot be divided so.
pub fn nothing_known(plan: &Plan, images: &Images) -> Option<String> {
    let attacks = plan.models.iter().flat_map(|target| &target.attacks);
    let mut learnt: Vec<String> = attacks
        .filter(|attack| attack.learns() && !attack.is_shadowed())
        .map(ToString::to_string)
        .collect();
    learnt.sort_unstable();
    learnt.dedup();
    if learnt.is_empty() {
        return None;
    }
    let labels = labels(images);
    let keys: Vec<String> = labels.iter().map(Label::key).collect();
    let truth: Vec<bool> = labels.iter().map(|label| label.member).collect();
    let why = Known::draw(&keys, &truth, plan.audit.known_fraction, plan.seed).err()?;
    Some(format!("{} will fail: {why}", learnt.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_diffusion::schedule::SchedulerConfig;
    use dualmd_metrics::Pixels;

    fn specs(names: &[&str]) -> Vec<AttackSpec> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn attacks_that_the_schedule_does_not_allow_are_told_before() {
        let attacks = specs(&[
            "loss",
            "sima@999",
            "sima@5000",
            "secmi@155",
            "nn",
            "rounds@2",
        ]);
        let schedule = NoiseSchedule::default();
        let found = impossible(&attacks, &schedule, false);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            found[0],
            "attack sima@5000: timestep 5000 is outside the model's schedule: choose 0 to 999"
        );
        assert!(
            found[1].starts_with("attack secmi@155: t_sec = 155 with k = 10"),
            "{}",
            found[1]
        );
        let short = NoiseSchedule::new(SchedulerConfig {
            num_train_timesteps: 500,
            ..SchedulerConfig::default()
        })
        .unwrap();
        assert_eq!(impossible(&attacks, &short, false).len(), 3);
    }

    #[test]
    fn features_of_a_network_need_one() {
        let why = |names: &[&str], extractor: Option<&dyn Extractor>| {
            without_network(specs(names).iter(), extractor)
        };
        let pixels = Pixels {
            height: 2,
            width: 2,
        };
        assert_eq!(why(&["nn", "density"], None), None);
        for extractor in [None, Some(&pixels as &dyn Extractor)] {
            let why = why(&["nn", "nn-features"], extractor);
            assert!(
                why.as_ref()
                    .is_some_and(|why| why.contains("cargo xtask features")),
                "{why:?}"
            );
        }
    }
}

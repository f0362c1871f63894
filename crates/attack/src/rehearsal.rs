//! Attacks tried beforehand, on one small picture and a stand-in for the model: what their settings and the model's noise schedule do not
//! allow is known in a moment, and not after hours of training.

use crate::{AttackError, Batch, Method, Others, Prompts, Result};
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule};
use dualmd_torch::{Device, Kind, Tensor};

/// Pixels of a side of the picture.
const SIDE: i64 = 16;

/// Takes whatever it is shown for noise: its answers are finite and never 0, so that no attack stumbles over them.
struct StandIn;

impl Denoiser for StandIn {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        _: &Tensor,
        _: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        Ok(x_t.shallow_clone())
    }
}

/// Why an attack fails on every model of this noise schedule, whatever its weights are: a timestep that the schedule lacks, a
/// signal-to-noise ratio that it does not reach, parameters that do not fit each other. None of an attack that fails for another reason,
/// or does not.
#[must_use]
pub fn refused(method: &Method, schedule: &NoiseSchedule) -> Option<AttackError> {
    tried(method, schedule).err().filter(|reason| {
        matches!(
            reason,
            AttackError::Timestep { .. } | AttackError::Snr { .. } | AttackError::Parameter { .. }
        )
    })
}

/// Asks all that the attack asks about one sample.
fn tried(method: &Method, schedule: &NoiseSchedule) -> Result<()> {
    let model: &dyn Denoiser = &StandIn;
    let x = Tensor::f_full(&[1, 1, SIDE, SIDE][..], 0.5, (Kind::Float, Device::Cpu))?;
    let ids = ["rehearsal".to_owned()];
    // A class stands for the caption, and for a part of it.
    let prompts = Prompts::of_labels(&[0], 1).with_reduced(vec![vec![0]])?;
    let mut batch = Batch::new(model, schedule, &x, &ids, 0)?
        .with_others(Others {
            teachers: Some([model, model]),
            reference: Some(model),
        })
        .with_prompts(&prompts, &[0])?
        .with_mask(x.f_ones_like()?);
    match method {
        Method::Formula(attack) => attack.score(&mut batch).map(drop),
        Method::Learned(attack) | Method::Shadowed(attack) => attack.features(&mut batch).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ALL, Space, by_name_for};
    use dualmd_diffusion::schedule::SchedulerConfig;

    fn said(name: &str, schedule: &NoiseSchedule) -> Option<String> {
        let method = by_name_for(name, Space::Pixels).unwrap();
        refused(&method, schedule).map(|reason| reason.to_string())
    }

    #[test]
    fn every_attack_can_be_made_on_the_usual_schedule() {
        let schedule = NoiseSchedule::default();
        for space in [Space::Pixels, Space::Latent] {
            for base in ALL {
                let method = by_name_for(base.name(), space).unwrap();
                let found = refused(&method, &schedule);
                assert!(found.is_none(), "{}: {found:?}", base.name());
            }
        }
        for name in [
            "sima@999",
            "loss@snr=1",
            "secmi@150+flip",
            "loss@50+lowpass",
            "sima@50+pullback",
            "loss@50+captions-mean",
            "secmi-nn@150+shadow",
            "gsa2@10",
        ] {
            assert_eq!(said(name, &schedule), None, "{name}");
        }
    }

    #[test]
    fn what_no_model_of_the_schedule_can_be_asked_is_refused() {
        let schedule = NoiseSchedule::default();
        for (name, why) in [
            ("sima@1000", "timestep 1000 is outside"),
            ("loss@5000+flip", "timestep 5000 is outside"),
            ("gsa1@5000", "timestep 5000 is outside"),
            ("clid@5000", "is outside the model's schedule"),
            ("loss-grid@5000", "timestep 5000 is outside"),
            ("combined@5000+shadow", "timestep 5000 is outside"),
            ("reference@5000", "timestep 5000 is outside"),
            ("teacher-difference@5000", "timestep 5000 is outside"),
            ("loss@5000+captions", "timestep 5000 is outside"),
            ("loss@snr=1000000", "the timesteps of the model's schedule"),
            ("secmi@155", "t_sec = 155"),
        ] {
            let found = said(name, &schedule);
            assert!(
                found.as_ref().is_some_and(|found| found.contains(why)),
                "{name}: {found:?}"
            );
        }
        // Their own timesteps, on a schedule that is shorter.
        let short = NoiseSchedule::new(SchedulerConfig {
            num_train_timesteps: 80,
            ..SchedulerConfig::default()
        })
        .unwrap();
        assert!(said("sima", &short).is_some());
        assert_eq!(said("sima@50", &short), None);
    }
}

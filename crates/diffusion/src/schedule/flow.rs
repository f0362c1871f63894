//! Rectified flow (Liu et al. 2022; Lipman et al. 2023): the straight path x_s = (1 - s) x_0 + s eps from the image (s = 0) to the
//! noise (s = 1). The network answers with the velocity dx_s/ds = eps - x_0, and is told 1000 s, as diffusers'
//! `FlowMatchEulerDiscreteScheduler` has it (its timestep is sigma * num_train_timesteps, sigma being s).
//!
//! **Attacks** ask for eps at a timestep t of DDPM's linear schedule, of a flow as of every model. With a = sqrt(abar_t) and
//! b = sqrt(1 - abar_t) the place on the path with the signal-to-noise ratio of x_t is x_t / (a + b), at the level s = b / (a + b), and
//! eps = x_s + (1 - s) v. t = 258 is the middle of the path. The levels of t = 0 and t = 999 are s = 0.0099 and s = 0.9937.
//!
//! **Images** are drawn by Euler steps from level to level, x + (s' - s) v. In the images and noises that v means, x_0 = x - s v and
//! eps = x + (1 - s) v, the step is (1 - s') x_0 + s' eps: DDIM's, with the path's coefficients. So one sampler takes both.

use super::SchedulerConfig;
use super::config::number;
use crate::latent::files::check_others;
use crate::ranges::{self, Range, real};
use crate::{DiffusionError, NoiseSchedule, Result};
use dualmd_torch::Tensor;
use serde_json::{Map, Value, json};

/// What a reader of a flow's scores must know.
pub const NOTE: &str = "the model predicts a flow's velocity. It is asked at the signal-to-noise ratio of the attacks' timesteps: in DDPM's \
    schedule t = 258 is the middle of its path. The attacks' timesteps were chosen for models of DDPM's kind";

/// diffusers' scheduler of it.
pub(super) const CLASS: &str = "FlowMatchEulerDiscreteScheduler";
/// What the level is multiplied with for the network: `num_train_timesteps` of every published model.
const TIMES: usize = 1000;
/// SD3 has 3, high resolutions more.
const RANGES: &[(&str, Range)] = &[("shift", real(0.01, 100.0))];

/// Keys that matter only with a value of another key that is refused.
const HARMLESS: &[&str] = &[
    "base_image_seq_len",
    "base_shift",
    "max_image_seq_len",
    "max_shift",
    "time_shift_type",
];

/// Keys with the one value that is implemented: others choose other levels, or add noise.
fn neutral() -> [(&'static str, Value); 7] {
    [
        ("invert_sigmas", json!(false)),
        ("shift_terminal", Value::Null),
        ("stochastic_sampling", json!(false)),
        ("use_beta_sigmas", json!(false)),
        ("use_dynamic_shifting", json!(false)),
        ("use_exponential_sigmas", json!(false)),
        ("use_karras_sigmas", json!(false)),
    ]
}

/// The configuration of a scheduler_config.json of [`CLASS`].
///
/// # Errors
/// The first key whose value is out of its range, is not implemented or is unknown.
pub(super) fn read(file: &Map<String, Value>) -> Result<SchedulerConfig> {
    let mut keys = file.clone();
    // What Python calls None, and what only marks a key as the default.
    keys.retain(|key, value| !value.is_null() && key != "_use_default_values");
    keys.insert("_class_name".into(), json!(CLASS));
    keys.entry("shift").or_insert(json!(1.0));
    let own = [
        "_class_name",
        "_diffusers_version",
        "num_train_timesteps",
        "shift",
    ];
    let (own, others): (Map<String, Value>, Map<String, Value>) = keys
        .into_iter()
        .partition(|(key, _)| own.contains(&key.as_str()));
    let own = Value::Object(own);
    ranges::check(&own, RANGES)?;
    let read: SchedulerConfig = ranges::fields(&own)?;
    let config = SchedulerConfig {
        diffusers_version: read.diffusers_version,
        num_train_timesteps: read.num_train_timesteps,
        shift: read.shift,
        ..SchedulerConfig::flow()
    };
    config.check()?;
    check_others(&others.into_iter().collect(), &neutral(), HARMLESS)?;
    Ok(config)
}

impl SchedulerConfig {
    /// A flow that is sampled without a shift. Its tables are those of DDPM's linear schedule, at whose timesteps attacks ask
    /// (see [`crate::schedule::flow`]).
    #[must_use]
    pub fn flow() -> Self {
        Self {
            class_name: CLASS.into(),
            clip_sample: false,
            shift: Some(1.0),
            ..Self::default()
        }
    }

    /// scheduler_config.json of a flow, which has none of the keys about betas; `None` of another schedule, whose fields are its keys.
    pub(crate) fn flow_file(&self) -> Option<Value> {
        let shift = self.shift?;
        Some(json!({
            "_class_name": self.class_name,
            "_diffusers_version": self.diffusers_version,
            "num_train_timesteps": self.num_train_timesteps,
            "shift": shift,
        }))
    }

    /// Checks what a flow's configuration has beside the tables'.
    pub(super) fn check_flow(&self) -> Result<()> {
        let Some(shift) = self.shift else {
            return Ok(());
        };
        ranges::check(&json!({ "shift": number(shift) }), RANGES)?;
        if self.num_train_timesteps != TIMES {
            return Err(DiffusionError::Config(format!(
                "num_train_timesteps = {}: of flow matching only {TIMES} is supported",
                self.num_train_timesteps
            )));
        }
        Ok(())
    }
}

/// s of the signal-to-noise ratio of `alpha_bar`.
fn level_of(alpha_bar: f64) -> f64 {
    let (a, b) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
    b / (a + b)
}

impl NoiseSchedule {
    /// A flow's, sampled without a shift: [`SchedulerConfig::flow`].
    #[must_use]
    pub fn flow() -> Self {
        Self::new(SchedulerConfig::flow())
            .unwrap_or_else(|_| unreachable!("the schedule of a flow is valid"))
    }

    /// Is the network that of a flow? It is then asked as [`Self::question`] says, and has a velocity.
    #[must_use]
    pub fn is_flow(&self) -> bool {
        self.config.shift.is_some()
    }

    /// The level s in (0, 1) of the path that has the signal-to-noise ratio of timestep `t`: 0.0099 to 0.9937 of DDPM's timesteps.
    #[must_use]
    pub fn level(&self, t: i64) -> f64 {
        level_of(self.alpha_bar(t))
    }

    /// x_s = (1 - s) x_0 + s noise, [B, C, H, W], with a level for each row, `s` \[B\] f32.
    pub fn on_path(x0: &Tensor, noise: &Tensor, s: &Tensor) -> Tensor {
        let s = s.view([-1, 1, 1, 1]);
        x0 * (-&s + 1.0) + noise * s
    }

    /// What a flow's network is told of levels `s` \[B\] f32: 1000 s.
    pub fn time_of_level(&self, s: &Tensor) -> Tensor {
        s * self.len() as f64
    }

    /// What the network is shown, [B, C, H, W], and told of its place, \[B\], to be asked for the noise in `x_t` at timesteps `t` \[B\]
    /// i64: x_t and t themselves, or of a flow the place on its path with the same signal-to-noise ratio, and 1000 s as f32.
    /// [`Self::noise_of_output`] is what the answer means.
    pub fn question(&self, x_t: &Tensor, t: &Tensor) -> (Tensor, Tensor) {
        if !self.is_flow() {
            return (x_t.shallow_clone(), t.shallow_clone());
        }
        let times = self.len() as f64;
        let scale = self.table(t, &|abar| 1.0 / (abar.sqrt() + (1.0 - abar).sqrt()));
        let time = self.table(t, &|abar| times * level_of(abar));
        (x_t * scale.view([-1, 1, 1, 1]), time)
    }

    /// The levels from which the Euler steps of a flow go, largest first; the last step goes to 0. They are those of diffusers'
    /// `set_timesteps(steps)`: evenly spaced from 1 to the end of the scheduler's table and then shifted,
    /// shift u / (1 + (shift - 1) u). The end, 1/1000, is shifted twice: as the table is made, and with the others.
    ///
    /// # Errors
    /// More steps than timesteps, or none; a schedule that is no flow's.
    pub fn sampling_levels(&self, steps: usize) -> Result<Vec<f64>> {
        let Some(shift) = self.config.shift else {
            return Err(DiffusionError::Config(
                "this model is no flow: it is sampled at timesteps, and has no levels of a path"
                    .into(),
            ));
        };
        self.check_steps(steps)?;
        let shifted = |u: f64| shift * u / (1.0 + (shift - 1.0) * u);
        let end = shifted(1.0 / self.len() as f64);
        let each = (1.0 - end) / steps.saturating_sub(1).max(1) as f64;
        Ok((0..steps).map(|i| shifted(1.0 - i as f64 * each)).collect())
    }

    /// The timesteps, largest first, that the steps from these levels cover: of each the last timestep whose level it does not exceed.
    /// A step that begins below the level of t = 0 covers none and is left out.
    pub(super) fn timesteps_under(&self, levels: &[f64]) -> Vec<i64> {
        let under = |level: &f64| {
            let count = self
                .alphas_cumprod
                .partition_point(|&abar| level_of(abar) <= *level);
            (count > 0).then(|| count as i64 - 1)
        };
        levels.iter().filter_map(under).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Device;

    fn read(file: Value) -> Result<SchedulerConfig> {
        SchedulerConfig::read(&file, None)
    }

    fn with_shift(shift: f64) -> NoiseSchedule {
        NoiseSchedule::new(SchedulerConfig {
            shift: Some(shift),
            ..SchedulerConfig::flow()
        })
        .unwrap()
    }

    /// As `save_pretrained` of diffusers 0.42 writes it.
    #[test]
    fn a_scheduler_of_diffusers_is_read_and_written_back() {
        let file = json!({"_class_name": CLASS, "_diffusers_version": "0.42.1", "base_image_seq_len": 256, "base_shift": 0.5,
            "invert_sigmas": false, "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0,
            "shift_terminal": null, "stochastic_sampling": false, "time_shift_type": "exponential", "use_beta_sigmas": false,
            "use_dynamic_shifting": false, "use_exponential_sigmas": false, "use_karras_sigmas": false});
        let config = read(file).unwrap();
        assert_eq!(config.shift, Some(3.0));
        assert_eq!(config.other_sampler(), None);
        assert_eq!(read(config.flow_file().unwrap()).unwrap(), config);
        let schedule = NoiseSchedule::new(config).unwrap();
        assert!(schedule.is_flow());
        let ddpm = NoiseSchedule::default();
        assert!(!ddpm.is_flow() && ddpm.config().flow_file().is_none());
        for t in [0, 258, 999] {
            assert_eq!(schedule.alpha_bar(t), ddpm.alpha_bar(t));
        }
        let plain = read(json!({ "_class_name": CLASS })).unwrap();
        assert_eq!(plain, SchedulerConfig::flow());
    }

    #[test]
    fn what_would_draw_or_mean_something_else_is_refused_by_its_key() {
        for (key, value) in [
            ("shift", json!(0.0)),
            ("shift", json!("NaN")),
            ("shift", json!("x")),
            ("num_train_timesteps", json!(500)),
            ("num_train_timesteps", json!(-1)),
            ("invert_sigmas", json!(true)),
            ("stochastic_sampling", json!(true)),
            ("use_karras_sigmas", json!(true)),
            ("use_dynamic_shifting", json!(true)),
            ("shift_terminal", json!(0.1)),
            ("beta_start", json!(0.1)),
            ("new_key", json!(1)),
        ] {
            let mut file = json!({ "_class_name": CLASS });
            file[key] = value.clone();
            let error = read(file).unwrap_err().to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
        // Neither class describes the other's file.
        let (flow, ddim) = (
            json!({ "_class_name": CLASS }),
            json!({"_class_name": "DDIMScheduler"}),
        );
        for (file, class) in [(&flow, "DDIMScheduler"), (&ddim, CLASS)] {
            let error = SchedulerConfig::read(file, Some(class)).unwrap_err();
            assert!(error.to_string().contains("flow matching"), "{error}");
        }
        // A noise schedule has no such key.
        assert!(read(json!({"_class_name": "DDPMScheduler", "shift": 1.0})).is_err());
    }

    /// Numbers of diffusers 0.42.1, `FlowMatchEulerDiscreteScheduler(shift=...).set_timesteps(4).sigmas`.
    #[test]
    fn levels_are_those_of_diffusers() {
        for (shift, expected) in [
            (1.0, [1.0, 0.667, 0.334, 0.001]),
            (3.0, [1.0, 0.857_692_3, 0.602_150_56, 0.008_928_571]),
        ] {
            let levels = with_shift(shift).sampling_levels(4).unwrap();
            assert_eq!(levels.len(), 4);
            for (ours, theirs) in levels.iter().zip(expected) {
                assert!((ours - theirs).abs() < 1e-6, "{shift}: {levels:?}");
            }
        }
        assert_eq!(NoiseSchedule::flow().sampling_levels(1).unwrap(), [1.0]);
        for steps in [0, 1001] {
            assert!(NoiseSchedule::flow().sampling_levels(steps).is_err());
        }
        assert!(NoiseSchedule::default().sampling_levels(4).is_err());
    }

    /// The middle of the path has as much signal as noise, which 258 is nearest to.
    #[test]
    fn timesteps_and_levels_are_of_one_signal_to_noise_ratio() {
        let flow = NoiseSchedule::flow();
        assert!((flow.level(258) - 0.5).abs() < 2e-3);
        assert!((flow.level(0) - 0.009_901).abs() < 1e-5);
        assert!((flow.level(999) - 0.993_69).abs() < 1e-5);
        // The steps of a run of four begin at 1, 0.667, 0.334 and 0.001, and the last covers no timestep.
        let covered = flow.sampling_timesteps(4).unwrap();
        assert_eq!((covered.len(), covered[0]), (3, 999));
        let levels = flow.sampling_levels(4).unwrap();
        for (&t, &level) in covered.iter().zip(&levels) {
            assert!(flow.level(t) <= level);
            assert!(t == 999 || flow.level(t + 1) > level);
        }
    }

    #[test]
    fn a_question_and_its_answer_by_hand() {
        // abar_0 = 0.64 gives a = 0.8 and b = 0.6; the second row is of another timestep, abar_1 = 0.32.
        let flow = NoiseSchedule::new(SchedulerConfig {
            trained_betas: Some([&[0.36, 0.5][..], &[1e-9; 998][..]].concat()),
            ..SchedulerConfig::flow()
        })
        .unwrap();
        let row = |values: &[f32]| Tensor::from_slice(values).view([-1, 1, 1, 1]);
        let (x0, eps) = (row(&[1.0, -0.5]), row(&[1.0, 2.0]));
        let t = Tensor::from_slice(&[0i64, 1]);
        let x_t = flow.add_noise(&x0, &eps, &t);
        let (x, time) = flow.question(&x_t, &t);
        let s = 0.6 / 1.4;
        assert_eq!(x.size(), [2, 1, 1, 1]);
        assert!((time.double_value(&[0]) - 1000.0 * s).abs() < 1e-3);
        let levels = &time / 1000.0;
        let away = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        assert!(away(&x, &NoiseSchedule::on_path(&x0, &eps, &levels)) < 1e-6);
        let velocity = &eps - &x0;
        let noise = flow.noise_of_output(velocity.shallow_clone(), &x_t, &t);
        assert!(away(&noise, &eps) < 1e-6);
        let output = flow.output_for_noise(eps.shallow_clone(), &x_t, &t);
        assert!(away(&output, &velocity) < 1e-5);
        // A flow that answers with nothing sees the noise in its own input.
        let still = flow.noise_of_output(x_t.zeros_like(), &x_t, &t);
        assert!(away(&still, &x) < 1e-6);
        let device = Device::Cpu;
        let ddpm = NoiseSchedule::default();
        let t = NoiseSchedule::timestep_tensor(500, 2, device);
        let (same, at) = ddpm.question(&x_t, &t);
        assert_eq!((same, at), (x_t, t));
    }
}

//! `scheduler_config.json` of anyone's: which classes are noise schedules of this program's kind, what their missing keys mean, and
//! which keys would change the mathematics.

use super::config::RANGES;
use super::{SchedulerConfig, flow};
use crate::{DiffusionError, Result, ranges};
use serde_json::{Map, Value, json};

/// A scheduler of diffusers whose forward process is x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps with abar from betas, and
/// whose network is asked at whole timesteps. They differ in how they sample.
struct Class {
    name: &'static str,
    /// Defaults of `beta_start` and `beta_end`.
    betas: [f64; 2],
    /// Default of `timestep_spacing`.
    spacing: &'static str,
    /// Default of `clip_sample`; `None`: the class has no such key, and never clips.
    clips: Option<bool>,
    /// Default of `set_alpha_to_one`; `None`: the class has no such key.
    to_one: Option<bool>,
}

const fn class(
    name: &'static str,
    betas: [f64; 2],
    spacing: &'static str,
    clips: Option<bool>,
    to_one: Option<bool>,
) -> Class {
    Class {
        name,
        betas,
        spacing,
        clips,
        to_one,
    }
}

const DDPM: [f64; 2] = [1e-4, 0.02];
const STABLE: [f64; 2] = [0.00085, 0.012];

/// With the defaults of diffusers 0.42.1, from the signatures of the classes' constructors.
const CLASSES: &[Class] = &[
    class("DDPMScheduler", DDPM, "leading", Some(true), None),
    class("DDPMParallelScheduler", DDPM, "leading", Some(true), None),
    class("DDIMScheduler", DDPM, "leading", Some(true), Some(true)),
    class(
        "DDIMParallelScheduler",
        DDPM,
        "leading",
        Some(true),
        Some(true),
    ),
    class("PNDMScheduler", DDPM, "leading", None, Some(false)),
    class("DEISMultistepScheduler", DDPM, "linspace", None, None),
    class("DPMSolverMultistepScheduler", DDPM, "linspace", None, None),
    class("DPMSolverSinglestepScheduler", DDPM, "linspace", None, None),
    class("DPMSolverSDEScheduler", STABLE, "linspace", None, None),
    class(
        "EulerAncestralDiscreteScheduler",
        DDPM,
        "linspace",
        None,
        None,
    ),
    class("EulerDiscreteScheduler", DDPM, "linspace", None, None),
    class(
        "HeunDiscreteScheduler",
        STABLE,
        "linspace",
        Some(false),
        None,
    ),
    class(
        "KDPM2AncestralDiscreteScheduler",
        STABLE,
        "linspace",
        None,
        None,
    ),
    class("KDPM2DiscreteScheduler", STABLE, "linspace", None, None),
    class("LMSDiscreteScheduler", DDPM, "linspace", None, None),
    class("UniPCMultistepScheduler", DDPM, "linspace", None, None),
];

/// What others are instead, by a part of their names.
const OTHERS: &[(&str, &str)] = &[
    (
        "FlowM",
        "it is of flow matching, whose x_t is another one, and of that kind only FlowMatchEulerDiscreteScheduler is read, where \
         model_index.json names it too",
    ),
    (
        "EDM",
        "its noise levels are sigmas of Karras et al. 2022, not betas",
    ),
    (
        "KarrasVe",
        "its noise levels are sigmas of Karras et al. 2022, not betas",
    ),
    (
        "ScoreSde",
        "it is of a score SDE, which has no betas of this kind",
    ),
    ("IPNDM", "its noise levels are sines and cosines, not betas"),
    (
        "Consistency",
        "it is of a consistency model, which predicts no noise",
    ),
    (
        "CMStochastic",
        "it is of a consistency model, which predicts no noise",
    ),
    (
        "LCM",
        "it is of a distilled model, which is sampled in few steps",
    ),
    (
        "TCD",
        "it is of a distilled model, which is sampled in few steps",
    ),
    ("CogVideoX", "it shifts the signal-to-noise ratio"),
    ("VQDiffusion", "it is of discrete pixels"),
    (
        "Inverse",
        "it goes from images to noise; name the scheduler that the model samples with",
    ),
];

/// Keys that change nothing here: how other samplers of the list take their steps, what matters only with a value that is
/// refused, and what old versions wrote.
const HARMLESS: &[&str] = &[
    "algorithm_type",
    "disable_corrector",
    "dynamic_thresholding_ratio",
    "euler_at_final",
    "flow_shift",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "noise_sampler_seed",
    "predict_x0",
    "sample_max_value",
    "sigma_max",
    "sigma_min",
    "skip_prk_steps",
    "solver_order",
    "solver_p",
    "solver_type",
    "tensor_format",
    "time_shift_type",
    "timestep_values",
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
];

/// Keys with the one value that is implemented.
fn neutral() -> [(&'static str, Value); 4] {
    [
        ("use_flow_sigmas", json!(false)),
        ("use_dynamic_shifting", json!(false)),
        ("shift_terminal", Value::Null),
        // Otherwise the network is told the logarithm of the noise level.
        ("timestep_type", json!("discrete")),
    ]
}

fn wrong<T>(reason: String) -> Result<T> {
    Err(DiffusionError::Config(reason))
}

impl SchedulerConfig {
    /// The configuration that `file`, a scheduler_config.json, stands for. `class`: what model_index.json names as the scheduler,
    /// which is what diffusers makes of the file, whatever class wrote it.
    ///
    /// # Errors
    /// The class, if it is not one of diffusers' with this program's kind of noise; the first key whose value is out of its range,
    /// is not implemented or is unknown, with what it may be.
    pub fn read(file: &Value, class: Option<&str>) -> Result<Self> {
        let Some(keys) = file.as_object() else {
            return wrong("is no object of JSON, {\"_class_name\": ..., ...}".into());
        };
        let own = match keys.get("_class_name") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.as_str()),
            Some(other) => return wrong(format!("_class_name = {other} is no name of a class")),
        };
        let Some(name) = class.or(own) else {
            return wrong(
                "names no _class_name: which scheduler it is for decides what its numbers mean"
                    .into(),
            );
        };
        if name == flow::CLASS {
            return match own {
                Some(other) if other != flow::CLASS => wrong(format!(
                    "_class_name \"{}\" is no scheduler of flow matching, and model_index.json names {}",
                    dualmd_files::shown(other),
                    flow::CLASS
                )),
                _ => flow::read(keys),
            };
        }
        // A file of a class of another kind is no description of this one.
        let known = known(name)?;
        if let Some(own) = own {
            self::known(own)?;
        }
        let mut keys = keys.clone();
        // What Python calls None, and what only marks a key as the default.
        keys.retain(|key, value| !value.is_null() && key != "_use_default_values");
        renamed(&mut keys)?;
        keys.insert("_class_name".into(), json!(known.name));
        let mut default = |key: &str, value: Value| {
            keys.entry(key).or_insert(value);
        };
        default("beta_start", json!(known.betas[0]));
        default("beta_end", json!(known.betas[1]));
        default("timestep_spacing", json!(known.spacing));
        if let Some(clips) = known.clips {
            default("clip_sample", json!(clips));
        }
        if let Some(to_one) = known.to_one {
            default("set_alpha_to_one", json!(to_one));
        }
        if known.clips.is_none() {
            keys.insert("clip_sample".into(), json!(false));
        }
        ends(&mut keys)?;
        let keys = Value::Object(keys);
        ranges::check(&keys, RANGES)?;
        if let Some(betas) = keys.get("trained_betas") {
            let numbers = betas
                .as_array()
                .is_some_and(|b| b.iter().all(Value::is_number));
            if !numbers {
                return wrong("trained_betas: must be a list of numbers, or null".into());
            }
        }
        let config: Self = ranges::fields(&keys)?;
        config.check()?;
        let fields = serde_json::to_value(Self {
            trained_betas: Some(Vec::new()),
            rescale_betas_zero_snr: true,
            thresholding: true,
            ..Self::default()
        })
        .map_err(|e| DiffusionError::Config(e.to_string()))?;
        let others = keys.as_object().into_iter().flatten();
        let others = others.filter(|(key, _)| fields.get(key.as_str()).is_none());
        let others = others.map(|(k, v)| (k.clone(), v.clone())).collect();
        crate::latent::files::check_others(&others, &neutral(), HARMLESS)?;
        Ok(config)
    }
}

fn known(name: &str) -> Result<&'static Class> {
    if let Some(class) = CLASSES.iter().find(|c| c.name == name) {
        return Ok(class);
    }
    let list: Vec<&str> = (CLASSES.iter().map(|c| c.name))
        .chain([flow::CLASS])
        .collect();
    let why = OTHERS.iter().find(|(part, _)| name.contains(part));
    wrong(format!(
        "_class_name \"{}\" is not supported{}; known are {}",
        dualmd_files::shown(name),
        why.map_or(String::new(), |(_, why)| format!(": {why}")),
        list.join(", ")
    ))
}

/// `predict_epsilon` of diffusers before 0.13 is `prediction_type` of today.
fn renamed(keys: &mut Map<String, Value>) -> Result<()> {
    let Some(old) = keys.remove("predict_epsilon") else {
        return Ok(());
    };
    let meant = match old {
        Value::Bool(true) => "epsilon",
        Value::Bool(false) => "sample",
        other => return wrong(format!("predict_epsilon = {other}: must be true or false")),
    };
    match keys.get("prediction_type") {
        Some(new) if new != meant => wrong(format!(
            "predict_epsilon = {old} and prediction_type = {new} contradict each other; remove the wrong one"
        )),
        _ => {
            keys.insert("prediction_type".into(), json!(meant));
            Ok(())
        }
    }
}

/// `final_sigmas_type` of the solvers is `set_alpha_to_one` of DDIM: "zero" ends at the image, "sigma_min" at abar_0.
fn ends(keys: &mut Map<String, Value>) -> Result<()> {
    let Some(kind) = keys.remove("final_sigmas_type") else {
        return Ok(());
    };
    let to_one = match kind.as_str() {
        Some("zero") => true,
        Some("sigma_min") => false,
        _ => {
            return wrong(format!(
                "final_sigmas_type = {kind} is not known: use zero or sigma_min"
            ));
        }
    };
    keys.entry("set_alpha_to_one").or_insert(json!(to_one));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoiseSchedule;

    fn read(file: Value) -> Result<SchedulerConfig> {
        SchedulerConfig::read(&file, None)
    }

    fn refused(file: Value) -> String {
        read(file).unwrap_err().to_string()
    }

    /// The case of a published Stable Diffusion folder with DPM-Solver, after the JSON reader: -Infinity is a string here.
    #[test]
    fn a_solver_of_another_order_has_the_same_noise() {
        let text = r#"{"_class_name": "DPMSolverMultistepScheduler", "_diffusers_version": "0.35.1", "algorithm_type": "dpmsolver++",
            "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "dynamic_thresholding_ratio": 0.995,
            "euler_at_final": false, "final_sigmas_type": "zero", "flow_shift": 1.0, "lambda_min_clipped": -Infinity,
            "lower_order_final": true, "num_train_timesteps": 1000, "prediction_type": "epsilon", "rescale_betas_zero_snr": false,
            "sample_max_value": 1.0, "solver_order": 2, "solver_type": "midpoint", "steps_offset": 0, "thresholding": false,
            "time_shift_type": "exponential", "timestep_spacing": "linspace", "trained_betas": null, "use_beta_sigmas": false,
            "use_dynamic_shifting": false, "use_exponential_sigmas": false, "use_flow_sigmas": false, "use_karras_sigmas": true,
            "use_lu_lambdas": false, "variance_type": null, "_use_default_values": ["use_lu_lambdas"]}"#;
        let config = read(crate::json::parse(text).unwrap()).unwrap();
        let ours = NoiseSchedule::new(config.clone()).unwrap();
        let plain = NoiseSchedule::new(SchedulerConfig::stable_diffusion()).unwrap();
        for t in [0, 1, 200, 999] {
            assert_eq!(ours.alpha_bar(t), plain.alpha_bar(t));
        }
        assert!(!config.clip_sample && config.set_alpha_to_one);
        assert_eq!(config.other_sampler(), Some("DPMSolverMultistepScheduler"));
        assert_eq!(SchedulerConfig::default().other_sampler(), None);
    }

    #[test]
    fn missing_keys_are_those_of_the_class() {
        let of = |name: &str| read(json!({ "_class_name": name })).unwrap();
        let ddpm = of("DDPMScheduler");
        assert!(ddpm.clip_sample && ddpm.beta_end == 0.02 && ddpm.timestep_spacing == "leading");
        let pndm = of("PNDMScheduler");
        assert!(!pndm.clip_sample && !pndm.set_alpha_to_one);
        let heun = of("HeunDiscreteScheduler");
        assert!(!heun.clip_sample && heun.beta_start == 0.00085 && heun.beta_end == 0.012);
        assert_eq!(heun.timestep_spacing, "linspace");
        // diffusers does not look at a key that the class does not have.
        let stray = json!({"_class_name": "PNDMScheduler", "clip_sample": true});
        assert!(!read(stray).unwrap().clip_sample);
        // model_index.json says which class is made of the file.
        let file = json!({"_class_name": "DDIMScheduler"});
        let config = SchedulerConfig::read(&file, Some("PNDMScheduler")).unwrap();
        assert!(config.class_name == "PNDMScheduler" && !config.set_alpha_to_one);
        // Files of 2022.
        let old = json!({"_class_name": "DDPMScheduler", "tensor_format": "pt", "timestep_values": null, "predict_epsilon": false});
        assert_eq!(read(old).unwrap().prediction_type, "sample");
        let euler =
            json!({"_class_name": "EulerDiscreteScheduler", "final_sigmas_type": "sigma_min"});
        assert!(!read(euler).unwrap().set_alpha_to_one);
    }

    #[test]
    fn classes_of_another_kind_are_refused_by_name_with_what_is_known() {
        for name in [
            "FlowMatchHeunDiscreteScheduler",
            "EDMEulerScheduler",
            "EDMDPMSolverMultistepScheduler",
            "ScoreSdeVeScheduler",
            "ScoreSdeVpScheduler",
            "KarrasVeScheduler",
            "IPNDMScheduler",
            "ConsistencyDecoderScheduler",
            "CMStochasticIterativeScheduler",
            "LCMScheduler",
            "TCDScheduler",
            "DDIMInverseScheduler",
            "CogVideoXDDIMScheduler",
            "DDPMWuerstchenScheduler",
            "UnCLIPScheduler",
            "MyScheduler",
            "",
        ] {
            let file = json!({ "_class_name": name });
            let error = refused(file.clone());
            assert!(error.contains(&format!("\"{name}\"")), "{error}");
            assert!(error.contains("DDPMScheduler, DDPMParallel"), "{error}");
            let plain = json!({"_class_name": "DDIMScheduler"});
            assert!(SchedulerConfig::read(&plain, Some(name)).is_err());
            assert!(SchedulerConfig::read(&file, Some("DDIMScheduler")).is_err());
        }
        assert!(refused(json!({})).contains("_class_name"));
        assert!(refused(json!({"_class_name": 5})).contains("_class_name"));
        assert!(refused(json!([1])).contains("no object"));
    }

    #[test]
    fn keys_that_change_the_mathematics_are_refused() {
        for (key, value) in [
            ("use_flow_sigmas", json!(true)),
            ("use_dynamic_shifting", json!(true)),
            ("shift_terminal", json!(0.1)),
            ("timestep_type", json!("continuous")),
            ("prediction_type", json!("flow_prediction")),
            ("prediction_type", json!(1)),
            ("clip_sample", json!("yes")),
            ("beta_schedule", json!("laplace")),
            ("thresholding", json!(true)),
            ("rescale_betas_zero_snr", json!(true)),
            ("timestep_spacing", json!("log")),
            ("variance_type", json!("learned_small")),
            ("variance_type", json!("fixed_large_log")),
            ("final_sigmas_type", json!("one")),
            ("predict_epsilon", json!("yes")),
            ("snr_shift_scale", json!(3.0)),
            ("trained_betas", json!("x")),
            ("trained_betas", json!(["NaN"])),
            ("num_train_timesteps", json!(1_000_000_000)),
            ("num_train_timesteps", json!(-1)),
            ("num_train_timesteps", json!(1)),
            ("num_train_timesteps", json!(2.5)),
            ("num_train_timesteps", json!("NaN")),
            ("steps_offset", json!(-1)),
            ("steps_offset", json!(1000)),
            ("steps_offset", json!(4_611_686_018_427_387_904i64)),
            ("beta_start", json!(-0.1)),
            ("beta_end", json!("Infinity")),
            ("clip_sample_range", json!(0)),
        ] {
            let mut file = json!({"_class_name": "DDPMScheduler"});
            file[key] = value.clone();
            let made = read(file).and_then(NoiseSchedule::new);
            let error = made.unwrap_err().to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
        let both = json!({"_class_name": "DDPMScheduler", "predict_epsilon": true, "prediction_type": "sample"});
        assert!(refused(both).contains("contradict"));
    }
}

//! What an attack was run with: timesteps, norms, numbers of draws.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What an attack was run with. Which of these there are depends on the attack; a variant (`+flip`, `@snr=1`) adds its own.
// In alphabetical order, as a JSON value has its keys: what scores depend on is hashed as text, and earlier versions hashed such a value.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AttackParameters {
    /// Backward passes per sample, of attacks on gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backward_passes: Option<usize>,
    /// Rule for the bandwidth of a kernel density.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<String>,
    /// Which model of a pair begins each round: `first` or `second`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins: Option<String>,
    /// First and last beta of a linear schedule that is used in place of the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// How the scores under several captions become one: `best` or `mean`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captions: Option<String>,
    /// Most principal components that a density is taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<usize>,
    /// Sides of the crops, as shares of the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crops: Option<Vec<f64>>,
    /// Draws of noise per sample and timestep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<usize>,
    /// Name of the features that images are compared by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// Timestep at which SecMI compares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_at: Option<i64>,
    /// True where the image and its mirror image are both asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<bool>,
    /// Threshold of RMIA on the ratio of likelihood ratios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Images that the model generated, which all samples are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated: Option<usize>,
    /// Images that were generated for each sample, by its caption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generations: Option<usize>,
    /// Scale of classifier-free guidance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
    /// Length of SecMI's steps, in timesteps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<i64>,
    /// What it learnt from, where that was not a part of the samples: `shadow model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learnt_on: Option<String>,
    /// The filter of residuals, of `+lowpass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowpass: Option<LowPassParameters>,
    /// Runs that likelihoods were fitted over, the target among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<usize>,
    /// The parameters of the attacks that it combines, by their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<BTreeMap<String, AttackParameters>>,
    /// RMIA's a, by which the mean over runs that did not see an image stands for that over all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_a: Option<f64>,
    /// Exponent of the norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<u32>,
    /// Images in RMIA's population.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub population: Option<usize>,
    /// Known samples from which on the published recipe of training is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_recipe_from: Option<usize>,
    /// The mask of residuals, of `+pullback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pullback: Option<PullbackParameters>,
    /// Signal-to-noise ratios of the timesteps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratios: Option<Vec<f64>>,
    /// Those of the ReDiffuse whose difference is classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rediffuse: Option<Box<AttackParameters>>,
    /// Reduced captions per sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduced_captions: Option<usize>,
    /// Rounds in which a pair generates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<usize>,
    /// What RMIA multiplies losses by: one over the spread of the statistic between runs that did not see an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Those of the SecMI whose residual is classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secmi: Option<Box<AttackParameters>>,
    /// Signal-to-noise ratio at which the model is asked, of `@snr=R`; the timesteps follow from the model's schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snr: Option<f64>,
    /// Length of a DDIM step, in timesteps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<i64>,
    /// Timestep at which the model is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t: Option<i64>,
    /// Timestep up to which SecMI's chain goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t_sec: Option<i64>,
    /// Timesteps at which the model is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timesteps: Option<Vec<i64>>,
    /// What another program, or another version of this one, says beside these, or says in another form.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// The filter of `+lowpass`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LowPassParameters {
    /// Half the width of the square of frequencies that stay, of images of 32 x 32.
    pub half_width_at_32: f64,
    /// What the other frequencies are multiplied by.
    pub remains: f64,
}

/// The mask of `+pullback`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PullbackParameters {
    /// Draws through the decoder, per sample.
    pub draws: usize,
    /// Share of a latent's numbers that is left out.
    pub left_out: f64,
}

impl AttackParameters {
    /// The parameters in a JSON value, whoever wrote it; `None` where it is no object. What stands under a name of ours in
    /// another form is kept among [`Self::other`].
    #[must_use]
    pub fn of_value(value: Value) -> Option<Self> {
        let Value::Object(all) = value else {
            return None;
        };
        let (mut known, mut other) = (Map::new(), BTreeMap::new());
        for (key, value) in all {
            let alone = Map::from_iter([(key.clone(), value.clone())]);
            match Self::deserialize(Value::Object(alone)) {
                Ok(_) => known.insert(key, value),
                Err(_) => other.insert(key, value),
            };
        }
        let mut read = Self::deserialize(Value::Object(known)).unwrap_or_default();
        read.other.append(&mut other);
        Some(read)
    }
}

impl fmt::Display for AttackParameters {
    /// `draws = 8, t = 200`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(Value::Object(all)) = serde_json::to_value(self) else {
            return Ok(());
        };
        for (place, (key, value)) in all.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            match value {
                Value::String(text) => write!(f, "{key} = {text}")?,
                value => write!(f, "{key} = {value}")?,
            }
        }
        Ok(())
    }
}

/// Deserialises the parameters of an attack as [`AttackParameters::of_value`] reads them.
///
/// # Errors
/// No JSON value at all.
pub fn parameters_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AttackParameters>, D::Error> {
    Ok(AttackParameters::of_value(Value::deserialize(
        deserializer,
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::ScoredAttack;
    use serde_json::json;

    /// Every field, as a file may hold it.
    const EVERY_FIELD: &str = r#"{"backward_passes":1,"bandwidth":"scott","begins":"first","betas":[0.00085,0.012],"captions":"best","components":16,"crops":[0.825],"draws":8,"encoder":"vit","error_at":90,"flip":true,"gamma":1.0,"generated":64,"generations":4,"guidance":7.5,"k":10,"learnt_on":"shadow model","lowpass":{"half_width_at_32":5.0,"remains":0.2},"models":8,"of":{"loss":{"draws":8,"t":200}},"offline_a":1.0,"p":4,"population":100,"published_recipe_from":5000,"pullback":{"draws":8,"left_out":0.4},"ratios":[256.0,0.015625],"rediffuse":{"draws":10,"stride":100,"t":200},"reduced_captions":3,"rounds":2,"scale":2.5,"secmi":{"error_at":90,"k":10,"t_sec":100},"snr":1.0,"stride":100,"t":200,"t_sec":100,"timesteps":[0,50]}"#;

    /// As text too: the keys are in the order of a value's.
    #[test]
    fn parameters_come_back_as_they_were_written() {
        let value: Value = serde_json::from_str(EVERY_FIELD).unwrap();
        let read = AttackParameters::of_value(value.clone()).unwrap();
        assert!(read.other.is_empty(), "{:?}", read.other);
        assert_eq!(serde_json::to_value(&read).unwrap(), value);
        assert_eq!(serde_json::to_string(&read).unwrap(), EVERY_FIELD);
        // A field that is missing above would be missing in a file.
        let schema = schemars::schema_for!(AttackParameters).to_value();
        let fields = schema["properties"].as_object().unwrap();
        assert_eq!(
            fields.keys().collect::<Vec<_>>(),
            value.as_object().unwrap().keys().collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_others_write_is_kept() {
        for value in [
            json!({}),
            json!({"interval": 10, "t_sec": 100}),
            json!({"t": "late", "p": -1, "draws": 2.5, "k": 10}),
            json!({"secmi": "as published", "of": [1], "lowpass": {}}),
        ] {
            let read = AttackParameters::of_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), value);
        }
        let read = AttackParameters::of_value(json!({"t": "late", "k": 10})).unwrap();
        assert_eq!((read.t, read.k), (None, Some(10)));

        let of = |text: &str| {
            serde_json::from_str::<ScoredAttack>(text)
                .unwrap()
                .parameters
        };
        assert_eq!(of("{}"), None);
        for none in ["null", "3", "\"fast\"", "[1]"] {
            assert_eq!(of(&format!(r#"{{"parameters": {none}}}"#)), None, "{none}");
        }
        let empty = of(r#"{"parameters": {}}"#);
        assert_eq!(empty, Some(AttackParameters::default()));
        let text = serde_json::to_string(&ScoredAttack::default()).unwrap();
        assert!(text.contains(r#""parameters":null"#), "{text}");
    }

    #[test]
    fn for_people() {
        let value = json!({"encoder": "vit", "crops": [0.825], "t": 200});
        let read = AttackParameters::of_value(value).unwrap();
        assert_eq!(read.to_string(), "crops = [0.825], encoder = vit, t = 200");
        assert_eq!(AttackParameters::default().to_string(), "");
    }
}

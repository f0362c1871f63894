//! What a LoRA file's header says of scaling: PEFT's configuration under diffusers' key `lora_adapter_metadata`.

use super::Adapter;
use super::keys::Part;
use crate::{DiffusionError, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The header's key.
pub(super) const KEY: &str = "lora_adapter_metadata";

/// PEFT's `lora_alpha` where a configuration does not have it.
const DEFAULT_ALPHA: f64 = 8.0;

/// PEFT's keys of variants that compute something else.
const VARIANTS: &[&str] = &[
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
    "layer_replication",
];

/// PEFT's initialisations that leave the base model as it is.
const KEEP_THE_BASE: &[&str] = &["gaussian", "eva", "orthogonal"];

/// The scaling a configuration asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scaling {
    alpha: f64,
    /// Layers of their own alpha, in the order in which PEFT looks for them.
    patterns: Vec<(Pattern, f64)>,
    /// Divide by the rank's root (rsLoRA).
    root: bool,
}

impl Scaling {
    /// Reads what the header's JSON says of a part: PEFT's keys, with `unet.`, `text_encoder.` or `text_encoder_2.` in front or, from
    /// `unet.save_lora_adapter`, without. `None`: it speaks of other parts alone.
    ///
    /// # Errors
    /// Not an object of JSON; variants of LoRA; values that are not numbers; patterns that are more than names.
    pub(super) fn read(text: &str, part: Part) -> Result<Option<Self>> {
        let wrong = |reason: String| DiffusionError::Config(format!("{KEY}: {reason}"));
        let all: Map<String, Value> = crate::json::parse(text).map_err(|e| wrong(e.to_string()))?;
        let own = match part {
            Part::Unet => "unet.",
            Part::Text => "text_encoder.",
            Part::Second => "text_encoder_2.",
        };
        let begins = |prefix: &str| all.keys().any(|key| key.starts_with(prefix));
        let prefixed = ["unet.", "text_encoder.", "text_encoder_2."]
            .into_iter()
            .any(begins);
        if prefixed && !begins(own) {
            return Ok(None);
        }
        let get = |key: &str| {
            let found = if prefixed {
                all.get(&format!("{own}{key}"))
            } else {
                all.get(key)
            };
            found.filter(|value| !value.is_null())
        };
        if let Some(key) = VARIANTS.iter().find(|key| {
            let off = |value: &Value| matches!(value, Value::Bool(false));
            get(key).is_some_and(|value| !off(value))
        }) {
            return Err(wrong(format!(
                "{key} is set: this variant of LoRA is not supported, train without it"
            )));
        }
        if let Some(Value::String(init)) = get("init_lora_weights")
            && !KEEP_THE_BASE.contains(&init.as_str())
        {
            return Err(wrong(format!(
                "init_lora_weights = \"{init}\" changes the base model's weights, which the file does not hold; \
                 fuse it in Python"
            )));
        }
        let number = |key: &str, value: &Value| {
            value
                .as_f64()
                .ok_or_else(|| wrong(format!("{key} = {value} is not a number")))
        };
        let mut patterns = Vec::new();
        if let Some(value) = get("alpha_pattern") {
            let map = value
                .as_object()
                .ok_or_else(|| wrong(format!("alpha_pattern = {value} is not an object")))?;
            for (key, value) in map {
                let pattern = Pattern::read(key).ok_or_else(|| {
                    wrong(format!(
                        "alpha_pattern \"{key}\" is a regular expression; only layers' names are understood"
                    ))
                })?;
                patterns.push((pattern, number(key, value)?));
            }
        }
        Ok(Some(Self {
            alpha: get("lora_alpha").map_or(Ok(DEFAULT_ALPHA), |v| number("lora_alpha", v))?,
            patterns,
            root: get("use_rslora") == Some(&Value::Bool(true)),
        }))
    }

    /// The alpha of a layer of `rank` whose addition is scaled by alpha / rank.
    pub(super) fn alpha(&self, layer: &str, rank: i64) -> f64 {
        let found = self.patterns.iter().find(|(p, _)| p.takes(layer));
        let alpha = found.map_or(self.alpha, |(_, alpha)| *alpha);
        if self.root {
            alpha * (rank as f64).sqrt()
        } else {
            alpha
        }
    }
}

/// A key of PEFT's patterns: the end of a layer's name, or with ^ in front all of it.
#[derive(Debug, Clone, PartialEq)]
struct Pattern {
    name: String,
    whole: bool,
}

impl Pattern {
    fn read(key: &str) -> Option<Self> {
        let name = key.strip_prefix('^').unwrap_or(key).replace("\\.", ".");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        name.chars().all(plain).then_some(Self {
            whole: key.starts_with('^'),
            name,
        })
    }

    fn takes(&self, layer: &str) -> bool {
        match layer.strip_suffix(self.name.as_str()) {
            Some("") => true,
            Some(before) => !self.whole && before.ends_with('.'),
            None => false,
        }
    }
}

/// PEFT's configuration of `layers`: the commonest rank and alpha, the layers that differ by name, and every layer's name
/// as a target, so that a reader meets exactly these layers.
pub(super) fn config(layers: &[(String, Adapter)]) -> Map<String, Value> {
    let commonest = |values: Vec<f64>| {
        let mut counts: BTreeMap<u64, (usize, f64)> = BTreeMap::new();
        for value in values {
            let entry = counts.entry(value.to_bits()).or_insert((0, value));
            entry.0 += 1;
        }
        counts
            .into_values()
            .max_by_key(|(count, _)| *count)
            .map_or(1.0, |(_, value)| value)
    };
    // PEFT declares both as integers.
    let number = |value: f64| {
        if value.fract() == 0.0 && value.abs() < 1e15 {
            json!(value as i64)
        } else {
            json!(value)
        }
    };
    let rank = commonest(layers.iter().map(|(_, l)| l.rank as f64).collect());
    let alpha = commonest(layers.iter().map(|(_, l)| l.alpha).collect());
    let pattern = |usual: f64, of: &dyn Fn(&Adapter) -> f64| -> Map<String, Value> {
        layers
            .iter()
            .filter(|(_, layer)| of(layer) != usual)
            .map(|(name, layer)| (format!("^{name}"), number(of(layer))))
            .collect()
    };
    let targets: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
    let entries = [
        ("r", number(rank)),
        ("lora_alpha", number(alpha)),
        ("rank_pattern", json!(pattern(rank, &|l| l.rank as f64))),
        ("alpha_pattern", json!(pattern(alpha, &|l| l.alpha))),
        ("target_modules", json!(targets)),
    ];
    entries
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}

/// The header's JSON for `layers` of a U-Net.
pub(super) fn write(layers: &[(String, Adapter)]) -> String {
    let config = config(layers).into_iter();
    let named: Map<String, Value> = config
        .map(|(key, value)| (format!("unet.{key}"), value))
        .collect();
    Value::Object(named).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphas_are_those_that_peft_would_use() {
        let text = r#"{"unet.r": 4, "unet.lora_alpha": 8, "text_encoder.lora_alpha": 3,
            "unet.alpha_pattern": {"^a.to_q": 2, "attn2.to_k": 1.5, "b\\.to_v": 5}}"#;
        let read = |text: &str, part| Scaling::read(text, part).map(|found| found.unwrap());
        let scaling = read(text, Part::Unet).unwrap();
        for (layer, alpha) in [
            ("a.to_q", 2.0),
            ("x.a.to_q", 8.0),
            ("x.attn2.to_k", 1.5),
            ("x.other_attn2.to_k", 8.0),
            ("b.to_v", 5.0),
        ] {
            assert_eq!(scaling.alpha(layer, 4), alpha, "{layer}");
        }
        assert_eq!(read(text, Part::Text).unwrap().alpha("a.to_q", 4), 3.0);
        let unet_alone = Scaling::read(r#"{"unet.lora_alpha": 2}"#, Part::Text).unwrap();
        assert_eq!(unet_alone, None);
        let rooted = r#"{"lora_alpha": 6, "use_rslora": true, "use_dora": false, "init_lora_weights": "gaussian"}"#;
        let second = r#"{"unet.lora_alpha": 2, "text_encoder_2.lora_alpha": 5}"#;
        assert_eq!(read(second, Part::Second).unwrap().alpha("a", 4), 5.0);
        assert_eq!(Scaling::read(second, Part::Text).unwrap(), None);
        for part in [Part::Unet, Part::Text, Part::Second] {
            assert_eq!(read(rooted, part).unwrap().alpha("x", 4), 12.0);
            assert_eq!(read("{}", part).unwrap().alpha("x", 2), 8.0);
        }
        for (text, reason) in [
            ("[1]", "lora_adapter_metadata"),
            (r#"{"use_dora": true}"#, "use_dora"),
            (r#"{"unet.arrow_config": {}}"#, "arrow_config"),
            (r#"{"init_lora_weights": "pissa"}"#, "pissa"),
            (r#"{"lora_alpha": "x"}"#, "lora_alpha"),
            (r#"{"alpha_pattern": {"a.*": 1}}"#, "a.*"),
            (r#"{"alpha_pattern": 1}"#, "alpha_pattern"),
        ] {
            let error = Scaling::read(text, Part::Unet).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}

//! Every key an experiment file may have, made from the fields of the structs: name, doc comment, default, range.

use super::{Audit, Data, Distill, Experiment, ModelEntry, Pretrain, Run, Sample, Train};
use crate::suggest::nearest;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// A key of an experiment file.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its path, `train.steps`; `*` stands for the index of a `[[models]]` entry.
    pub path: String,
    /// What it means.
    pub about: String,
    /// What it is where the file does not say, as TOML; none where it must be given, or nothing is in its place.
    pub default: Option<String>,
    /// What its value must be: words, or the values that there are.
    pub needed: Option<String>,
}

/// Keys of diffusers' network configurations that `[model]` may have, too.
const DIFFUSERS: &[&str] = &[
    // diffusers' UNet2DConditionModel has these too, and `cross_attention_dim`, ...
    "model.cross_attention_dim",
    "model.transformer_layers_per_block",
    "model.use_linear_projection",
    // diffusers' UNet2DModel. `sample_size`, `in_channels`, `out_channels` and `num_class_embeds` follow from [data].
    "model.center_input_sample",
    "model.time_embedding_type",
    "model.freq_shift",
    "model.flip_sin_to_cos",
    "model.down_block_types",
    "model.up_block_types",
    "model.block_out_channels",
    "model.layers_per_block",
    "model.mid_block_scale_factor",
    "model.downsample_padding",
    "model.downsample_type",
    "model.upsample_type",
    "model.dropout",
    "model.act_fn",
    "model.attention_head_dim",
    "model.norm_num_groups",
    "model.attn_norm_num_groups",
    "model.norm_eps",
    "model.resnet_time_scale_shift",
    "model.add_attention",
    "model.class_embed_type",
    "model.num_train_timesteps",
    // diffusers' DiTTransformer2DModel, which has dropout, attention_head_dim and norm_eps, too. `num_embeds_ada_norm` follows from [data].
    "model.num_attention_heads",
    "model.num_layers",
    "model.attention_bias",
    "model.patch_size",
    "model.activation_fn",
    "model.norm_elementwise_affine",
];

/// The schema of a section, without references.
pub(super) fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Keys of a section, in the order of its fields: those with a default first.
fn section<T: JsonSchema + Serialize>(name: &str, default: Option<&T>) -> Vec<Key> {
    let schema = schema::<T>();
    let written = default
        .and_then(|d| toml::to_string(d).ok())
        .unwrap_or_default();
    let values: toml::Table = written.parse().unwrap_or_default();
    // A struct is written in the order of its fields; what it reads back to is not.
    let place = |key: &str| {
        let begins = |line: &str| line.split([' ', ']']).next() == Some(key);
        written.lines().position(begins).unwrap_or(usize::MAX)
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut keys: Vec<(usize, Key)> = properties
        .into_iter()
        .flatten()
        .map(|(key, of)| {
            let prefix = if name.is_empty() { "" } else { "." };
            let found = Key {
                path: format!("{name}{prefix}{key}"),
                about: text(of, "description").replace('\n', " "),
                default: values
                    .get(key)
                    .filter(|v| !v.is_table() && v.as_str() != Some("") && allowed(of, v))
                    .map(ToString::to_string),
                needed: needed(of),
            };
            (place(key), found)
        })
        .collect();
    keys.sort_by_key(|(place, _)| *place);
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Is this default a value that may stay? (Of a number that must be given it is 0, which its range leaves out.)
fn allowed(of: &Value, value: &toml::Value) -> bool {
    let low = of.get("minimum").and_then(Value::as_f64);
    low.zip(value.as_integer())
        .is_none_or(|(low, value)| value as f64 >= low)
}

fn text(of: &Value, key: &str) -> String {
    of.get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// What a field's schema asks for, in words.
fn needed(of: &Value) -> Option<String> {
    if let Some(words) = of.get("x-needed").and_then(Value::as_str) {
        return Some(words.trim_end_matches(',').to_owned());
    }
    let choices = ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| of.get(key)?.as_array())?;
    let names = choices.iter().filter_map(|one| one.get("const")?.as_str());
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// All keys but those of diffusers' network configurations, in the order of the file.
pub fn table() -> Vec<Key> {
    let mut all = section("", Some(&Experiment::default()));
    // Sections stand by themselves below.
    all.retain(|key| key.path == "seed");
    let top = section::<Experiment>("", None);
    let about = |name: &str| {
        let found = top.iter().find(|key| key.path == name);
        found.map_or_else(String::new, |key| key.about.clone())
    };
    let mut add = |name: &str, keys: Vec<Key>| {
        all.push(Key {
            path: name.to_owned(),
            about: about(name),
            default: None,
            needed: None,
        });
        all.extend(keys);
    };
    let of = |name: &str, default: &Experiment| match name {
        "data" => section::<Data>("data", Some(&default.data)),
        "train" => section::<Train>("train", Some(&default.train)),
        "distill" => section::<Distill>("distill", Some(&default.distill)),
        "sample" => section::<Sample>("sample", Some(&default.sample)),
        "audit" => section::<Audit>("audit", Some(&default.audit)),
        "run" => section::<Run>("run", Some(&default.run)),
        "pretrain" => section::<Pretrain>("pretrain", None),
        _ => section::<ModelEntry>("models.*", None),
    };
    let default = Experiment::default();
    add("data", of("data", &default));
    add("model", network(&default));
    for name in [
        "pretrain", "train", "distill", "sample", "audit", "run", "models",
    ] {
        add(name, of(name, &default));
    }
    all
}

/// The keys of `[model]` that are the program's own.
fn network(default: &Experiment) -> Vec<Key> {
    let mut keys = section("model", Some(&default.model));
    let own = ["preset", "base", "start", "autoencoder"];
    keys.retain(|key| {
        let name = key.path.strip_prefix("model.");
        name.is_some_and(|name| own.contains(&name))
    });
    keys
}

/// Paths of all keys.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let own = table().into_iter().map(|key| key.path);
    own.chain(DIFFUSERS.iter().map(|&key| key.to_owned()))
        .collect()
});

/// `docs/experiment.md`.
pub fn markdown() -> String {
    let mut out = String::from(include_str!("page.md"));
    for key in table() {
        let heading = !key.path.contains('.') && key.path != "seed";
        if heading {
            let name = match key.path.as_str() {
                "models" => "[[models]]".to_owned(),
                name => format!("[{name}]"),
            };
            let _ = write!(
                out,
                "\n## {name}\n\n{}\n\n| key | default | values | meaning |\n|---|---|---|---|\n",
                key.about
            );
            continue;
        }
        if key.path == "seed" {
            out.push_str("\n| key | default | values | meaning |\n|---|---|---|---|\n");
        }
        let default = key.default.map_or_else(|| "-".into(), |d| format!("`{d}`"));
        let _ = writeln!(
            out,
            "| `{}` | {default} | {} | {} |",
            key.path,
            key.needed.unwrap_or_else(|| "-".into()),
            key.about.replace('|', "\\|")
        );
    }
    let names = DIFFUSERS.iter().map(|key| format!("`{key}`"));
    let _ = write!(
        out,
        "\n## The network\n\nKeys of diffusers' configurations that replace those of `model.preset`: {}. Write `\"null\"` where diffusers has null. Not every \
         value that diffusers knows is supported; the others are refused by name. `sample_size`, `in_channels`, `out_channels`, `num_class_embeds` and `num_embeds_ada_norm` follow from \
         `[data]`.\n",
        names.collect::<Vec<_>>().join(", ")
    );
    out
}

/// Whether an experiment may have the key at this path.
pub fn is_known(path: &[String]) -> bool {
    let pattern = pattern(path);
    // A model's own recipe has the keys of [train], and [distill].
    let own = pattern
        .strip_prefix("models.*.")
        .or_else(|| pattern.strip_prefix("pretrain."));
    KEYS.contains(&pattern)
        || (path.len() == 2 && pattern == "models.*")
        || own.is_some_and(|key| {
            (key.starts_with("train.")
                || (pattern.starts_with("models") && key.starts_with("distill.")))
                && KEYS.iter().any(|known| known == key)
        })
}

/// What to say about an unknown key: "did you mean ...", or what the section has.
pub fn advice(path: &[String]) -> String {
    let pattern = pattern(path);
    let (section, leaf) = pattern.rsplit_once('.').unwrap_or(("", &pattern));
    let all = || KEYS.iter().map(String::as_str);
    let in_section =
        |key: &&str| key.rsplit_once('.').map_or("", |(section, _)| section) == section;
    let leaf_of = |key: &'static str| key.rsplit_once('.').map_or(key, |(_, leaf)| leaf);

    let elsewhere = all().find(|key| leaf_of(key) == leaf);
    let sibling = || {
        let near = nearest(leaf, all().filter(in_section).map(leaf_of))?;
        all().filter(in_section).find(|key| leaf_of(key) == near)
    };
    let meant = elsewhere.or_else(sibling).or_else(|| {
        let near = nearest(leaf, all().map(leaf_of).filter(|key| key.len() > 3))?;
        all().find(|key| leaf_of(key) == near)
    });
    match meant {
        Some(key) => {
            // The entry that was meant is the entry that was written.
            let index = path
                .get(1)
                .filter(|_| path[0] == "models")
                .map_or("0", String::as_str);
            format!("did you mean {}?", key.replace('*', index))
        }
        None => {
            let known: Vec<_> = all().filter(in_section).map(leaf_of).collect();
            match section {
                "" => format!("an experiment has: {}", known.join(", ")),
                "models.*" => format!("[[models]] has: {}", known.join(", ")),
                _ if known.is_empty() => format!("{section} has no keys below it"),
                _ => format!("[{section}] has: {}", known.join(", ")),
            }
        }
    }
}

/// The path with the index of an array entry written as `*`.
fn pattern(path: &[String]) -> String {
    let part = |(depth, part): (usize, &String)| match part.parse::<usize>() {
        Ok(_) if depth > 0 => "*".to_owned(),
        _ => part.clone(),
    };
    path.iter()
        .enumerate()
        .map(part)
        .collect::<Vec<_>>()
        .join(".")
}

/// Says of every number of a section that is not what its field's schema asks for: `KEY = VALUE: ... is needed`.
pub fn check_ranges<T: JsonSchema + Serialize>(section: &str, of: &T, problems: &mut Vec<String>) {
    let schema = schema::<T>();
    let Ok(values) = toml::Table::try_from(of) else {
        // Checked where it is written.
        return;
    };
    for (key, value) in values {
        let number = match value {
            toml::Value::Integer(number) => number as f64,
            toml::Value::Float(number) => number,
            _ => continue,
        };
        let of = schema.get("properties").and_then(|all| all.get(&key));
        let Some(of) = of else { continue };
        let bound = |name: &str| of.get(name).and_then(Value::as_f64);
        let good = number.is_finite()
            && bound("minimum").is_none_or(|low| number >= low)
            && bound("maximum").is_none_or(|high| number <= high)
            && bound("exclusiveMinimum").is_none_or(|low| number > low)
            && bound("exclusiveMaximum").is_none_or(|high| number < high);
        if !good {
            let needed = of.get("x-needed").and_then(Value::as_str);
            let needed = needed.unwrap_or("another number");
            problems.push(format!("{section}{key} = {value}: {needed} is needed"));
        }
    }
}

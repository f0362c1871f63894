//! Every key an experiment file may have.
//!
//! The structs say the same to serde, but only a table can name the key that a misspelt one is nearest to, also across
//! sections. A test holds the two together.

use crate::suggest::nearest;

/// Known keys in the order of the file; `*` stands for the index of a `[[models]]` entry.
const KEYS: &[&str] = &[
    "seed",
    "data",
    "data.source",
    "data.image_size",
    "data.channels",
    "data.members",
    "data.nonmembers",
    "data.method",
    "data.near_duplicates",
    "data.filter",
    "data.alpha",
    "data.caption_column",
    "data.group_column",
    "model",
    "model.preset",
    "model.base",
    "pretrain",
    "pretrain.source",
    "pretrain.train",
    "train",
    "train.steps",
    "train.epochs",
    "train.batch",
    "train.accumulate",
    "train.gradient_checkpointing",
    "train.learning_rate",
    "train.warmup",
    "train.decay_fraction",
    "train.ema",
    "train.ema_warmup",
    "train.clip",
    "train.optimizer",
    "train.weight_decay",
    "train.flip",
    "train.cutout_side",
    "train.cutout_probability",
    "train.captions",
    "train.caption_dropout",
    "train.drop_memorised",
    "train.lora_rank",
    "train.lora_alpha",
    "train.dtype",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.log_every",
    "train.eval_every",
    "train.sample_every",
    "distill",
    "distill.routing",
    "distill.teacher_weights",
    "distill.teacher_dropout",
    "distill.init",
    "sample",
    "sample.n",
    "sample.sampler",
    "sample.steps",
    "sample.order",
    "sample.batch",
    "sample.guidance",
    "sample.per_prompt",
    "sample.features",
    "sample.features_weights",
    "sample.copies",
    "sample.copies_weights",
    "audit",
    "audit.attacks",
    "audit.weights",
    "audit.batch",
    "audit.known_fraction",
    "audit.delta",
    "audit.black_box",
    "run",
    "run.jobs",
    "run.threads_per_model",
    "models",
    "models.*.name",
    "models.*.defense",
    "models.*.teacher",
    "models.*.seed_offset",
    "models.*.epsilon",
    "models.*.noise_multiplier",
    "models.*.clip",
    "models.*.noise_multiplicity",
    "models.*.patience",
    "models.*.shards",
    "models.*.images",
    "models.*.teachers",
    "models.*.train",
    "models.*.distill",
    // diffusers' UNet2DConditionModel has these too, and `cross_attention_dim`, ...
    "model.cross_attention_dim",
    "model.transformer_layers_per_block",
    "model.use_linear_projection",
    // diffusers' UNet2DModel. `sample_size`, `in_channels` and `out_channels` follow from [data].
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
    "model.num_class_embeds",
    "model.num_train_timesteps",
];

/// Whether an experiment may have the key at this path.
pub fn is_known(path: &[String]) -> bool {
    let pattern = pattern(path);
    // A model's own recipe has the keys of [train], and [distill].
    let own = pattern
        .strip_prefix("models.*.")
        .or_else(|| pattern.strip_prefix("pretrain."));
    KEYS.contains(&pattern.as_str())
        || (path.len() == 2 && pattern == "models.*")
        || own.is_some_and(|key| {
            (key.starts_with("train.")
                || (pattern.starts_with("models") && key.starts_with("distill.")))
                && KEYS.contains(&key)
        })
}

/// What to say about an unknown key: "did you mean ...", or what the section has.
pub fn advice(path: &[String]) -> String {
    let pattern = pattern(path);
    let (section, leaf) = pattern.rsplit_once('.').unwrap_or(("", &pattern));
    let in_section =
        |key: &&&str| key.rsplit_once('.').map_or("", |(section, _)| section) == section;
    let leaf_of = |key: &'static str| key.rsplit_once('.').map_or(key, |(_, leaf)| leaf);

    let elsewhere = KEYS.iter().find(|key| leaf_of(key) == leaf).copied();
    let sibling = || {
        let near = nearest(leaf, KEYS.iter().filter(in_section).map(|key| leaf_of(key)))?;
        KEYS.iter()
            .filter(in_section)
            .find(|key| leaf_of(key) == near)
            .copied()
    };
    let meant = elsewhere.or_else(sibling).or_else(|| {
        let near = nearest(
            leaf,
            KEYS.iter()
                .map(|key| leaf_of(key))
                .filter(|key| key.len() > 3),
        )?;
        KEYS.iter().find(|key| leaf_of(key) == near).copied()
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
            let known: Vec<_> = KEYS
                .iter()
                .filter(in_section)
                .map(|key| leaf_of(key))
                .collect();
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

/// The whole table, for the test that compares it with the structs.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = &'static str> {
    KEYS.iter().copied()
}

//! Going on with a run: the folder's plan and today's must be the same experiment.
//!
//! Images are known by their content and not by their place: a source that has moved is the same source if its images are.

use super::{NetworkFacts, Plan};
use crate::experiment::Experiment;
use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// Keys that do not change a result, so a run may go on with others.
const FREE: &[&str] = &[
    "run.",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.log_every",
    // For a run that was out of memory: its gradients differ in their last digits only.
    "train.gradient_checkpointing",
    // Their weights are compared.
    "model.base",
    "model.start",
    "model.autoencoder",
    // Other attacks can be asked of the same models; scores that are there are kept.
    "audit.attacks",
    "audit.batch",
    "audit.black_box",
    "audit.known_fraction",
    "sample.features",
    "sample.features_weights",
    "sample.copies",
    "sample.copies_weights",
];

impl Plan {
    /// Today's plan for going on with a run that began as `old`: it keeps the beginning's date, number format and number
    /// of threads, on which the last digits depend.
    ///
    /// # Errors
    /// The two differ in something that changes results; the message names the first such key.
    pub fn go_on_from(mut self, old: &Self) -> Result<Self> {
        let remedy = "repeat the run with what it began with, or choose another folder (--out)";
        let (before, now) = (&old.data, &self.data);
        let sources = [
            ("data.source", &before.content, &now.content),
            (
                "pretrain.source",
                &before.pretrain_content,
                &now.pretrain_content,
            ),
        ];
        let moved: Vec<&str> = sources
            .iter()
            .filter(|(_, before, now)| before.is_some() && before == now)
            .map(|(key, ..)| *key)
            .collect();
        if let Some(difference) = difference(&old.experiment_toml, &self.experiment_toml, &moved)? {
            let why = match sources.iter().find(|(key, ..)| difference.starts_with(key)) {
                Some((_, None, _)) => {
                    ", and the version of dualmd that began the run did not note which images they were"
                }
                Some(_) => ", where not the same images lie (by their content, order and captions)",
                None => "",
            };
            bail!("this folder holds another experiment: {difference}{why}; {remedy}");
        }
        for (key, before, now) in sources {
            if before.is_none() || before == now {
                continue;
            }
            // Where texts or classes are learnt, a caption or label is as much of the training as its image.
            if self.model.text || self.model.labels.is_some() {
                bail!(
                    "this folder holds another run: the images of {key} have changed since it began, or their captions, labels or order; \
                     {remedy}"
                );
            }
            self.warnings.push(format!(
                "the images of {key} have changed since the run began: its members and non-members are all there, but others that are drawn \
                 from the source (for a reference model, a shadow, early stopping) may not be those of an uninterrupted run"
            ));
        }
        for (what, before, now) in [
            ("the split's hash", &old.split_hash, &self.split_hash),
            (
                "the number format",
                &old.hardware.dtype,
                &self.hardware.dtype,
            ),
        ] {
            if before != now {
                bail!(
                    "this folder holds another run: {what} was {before}, now it is {now}; {remedy}"
                );
            }
        }
        // Of a base its weights count, not where it lies.
        let place = |mut facts: NetworkFacts| {
            if facts.base.is_some() {
                facts.preset = String::new();
            }
            facts
        };
        if place(old.model.clone()) != place(self.model.clone()) {
            bail!(
                "this folder holds another run: the network has changed, what it starts from, or its autoencoder; {remedy}"
            );
        }
        let mut changed = |what: &str, before: &str, now: &str| {
            if before != now {
                self.warnings.push(format!(
                    "{what} was {before} when the run began, now it is {now}: last digits may differ from an uninterrupted run"
                ));
            }
        };
        changed("dualmd", &old.versions.dualmd, &self.versions.dualmd);
        changed("libtorch", &old.versions.libtorch, &self.versions.libtorch);
        changed("the device", &old.hardware.device, &self.hardware.device);
        changed("the processor", &old.hardware.cpu, &self.hardware.cpu);
        let threads = old.hardware.threads_per_model;
        if threads <= self.hardware.cores {
            // Fewer side by side rather than other sums.
            let room = (self.hardware.cores / threads).max(1);
            self.hardware.parallel_models = self.hardware.parallel_models.min(room);
            self.hardware.threads_per_model = threads;
        } else {
            changed(
                "threads per model",
                &threads.to_string(),
                &self.hardware.threads_per_model.to_string(),
            );
        }
        self.created.clone_from(&old.created);
        Ok(self)
    }
}

/// The first key on which two experiments differ, in words.
/// `moved`: keys whose values are places of the same images.
fn difference(before: &str, now: &str, moved: &[&str]) -> Result<Option<String>> {
    let read = |text: &str| -> Result<Vec<(String, String)>> {
        // A run that began with a version without some key had what is that key's default now.
        // The same number of steps is the same training, whether it was given in steps or in epochs.
        let complete = Experiment::parse(text, "plan.json", &[])
            .and_then(|e| e.in_steps())
            .and_then(|e| e.to_toml());
        let text = complete.as_deref().unwrap_or(text);
        let table: Table = toml::from_str(text)
            .context("the plan's experiment is no TOML: was plan.json edited?")?;
        let mut keys = Vec::new();
        flatten(&Value::Table(table), "", &mut keys);
        keys.retain(|(key, _)| {
            !moved.contains(&key.as_str())
                && !FREE
                    .iter()
                    .any(|free| key == free || (free.ends_with('.') && key.starts_with(free)))
        });
        Ok(keys)
    };
    let (before, now) = (read(before)?, read(now)?);
    let value = |keys: &[(String, String)], key: &str| {
        keys.iter()
            .find(|(other, _)| other == key)
            .map_or("not there".to_owned(), |(_, value)| value.clone())
    };
    let mut keys = before.iter().chain(&now).map(|(key, _)| key);
    Ok(keys
        .find(|key| value(&before, key) != value(&now, key))
        .map(|key| {
            format!(
                "{key} was {}, now it is {}",
                value(&before, key),
                value(&now, key)
            )
        }))
}

fn flatten(value: &Value, path: &str, out: &mut Vec<(String, String)>) {
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        Value::Table(table) => table
            .iter()
            .for_each(|(key, value)| flatten(value, &below(key), out)),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| flatten(item, &below(&index.to_string()), out));
        }
        other => out.push((path.to_owned(), other.to_string())),
    }
}

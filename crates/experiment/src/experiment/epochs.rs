//! Passes over the images as the unit of a training's length: `train.epochs` in place of `train.steps`.
//!
//! All models of a run train for the same number of steps, so an epoch of an experiment is a pass over *all* its members:
//! `steps = ceil(epochs * members / batch)`. A teacher that learns from half of them makes twice the passes over its own.
//! How far an attack gets depends on passes, not on steps: a study on few images is comparable with one on many by them.

use super::{Experiment, Train, merged};
use crate::choices::SplitMethod;
use anyhow::{Result, bail};
use toml::{Table, Value};

/// The two keys that say how long a training is.
const UNITS: [&str; 2] = ["steps", "epochs"];

/// Steps of `epochs` passes over `members` images, `batch` at a time: the least whole number that suffices, at least 1.
pub fn steps(epochs: f64, members: usize, batch: usize) -> u64 {
    let exact = epochs * members as f64 / batch.max(1) as f64;
    // Products of decimal fractions may end a hair above the whole number that is meant.
    let steps = (exact * (1.0 - 1e-12)).ceil();
    (steps as u64).max(1)
}

/// Passes over `images` images that `steps` steps of `batch` make; none over no images.
pub fn passes(steps: u64, batch: usize, images: usize) -> Option<f64> {
    (images > 0).then(|| steps as f64 * batch as f64 / images as f64)
}

/// Passes for people: `4,000`, `12.5`, `0.75`.
pub fn text(epochs: f64) -> String {
    if epochs >= 100.0 {
        return crate::plan::grouped(epochs.round() as u64);
    }
    let digits = if epochs >= 10.0 { 1 } else { 2 };
    let text = format!("{epochs:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Train {
    /// Sets the steps where epochs are given.
    pub(super) fn resolve(&mut self, members: usize) {
        if let Some(epochs) = self.epochs {
            self.steps = steps(epochs, members, self.batch);
        }
    }

    /// `common` with keys of its own; its length in the unit that it names, else in that of `common`.
    pub(super) fn with_own(common: &Self, own: &Table, members: usize) -> Result<Self> {
        both(own, "train")?;
        let mut common = common.clone();
        if own.contains_key("steps") {
            common.epochs = None;
        }
        let mut train: Self = merged(&common, own)?;
        train.resolve(members);
        Ok(train)
    }
}

impl Experiment {
    /// Members that an epoch is counted in: those that are asked for, and of a coin-flip split as many as are expected.
    pub fn counted_members(&self) -> usize {
        let d = &self.data;
        match d.method {
            SplitMethod::Half => d.members,
            SplitMethod::CoinFlip => d.members.saturating_add(d.nonmembers) / 2,
        }
    }

    /// Sets the steps where epochs are given: after reading, and wherever the number of members has changed.
    pub fn resolve_epochs(&mut self) {
        self.train.resolve(self.counted_members());
    }

    /// The same trainings with every length in steps: what two experiments are compared by, and what keeps the steps where the
    /// number of members changes.
    ///
    /// # Errors
    /// A model's own recipe has a value of the wrong type.
    pub fn in_steps(&self) -> Result<Self> {
        let mut out = self.clone();
        for (own, model) in out.models.iter_mut().zip(&self.models) {
            let Some(recipe) = model.recipe(self)? else {
                continue;
            };
            own.train.remove("epochs");
            if recipe.steps != self.train.steps || model.train.contains_key("steps") {
                let steps = i64::try_from(recipe.steps).unwrap_or(i64::MAX);
                own.train.insert("steps".into(), Value::Integer(steps));
            }
        }
        out.train.epochs = None;
        Ok(out)
    }
}

/// Refuses a section that names both units.
fn both(train: &Table, section: &str) -> Result<()> {
    if UNITS.iter().all(|unit| train.contains_key(*unit)) {
        bail!(
            "{section}.steps and {section}.epochs both say how long training is: keep one (an epoch is a pass over all members)"
        );
    }
    Ok(())
}

/// Refuses an experiment that names both units in one section.
///
/// # Errors
/// It does; the message names the section.
pub(super) fn check_units(experiment: &Table) -> Result<()> {
    let train = |table: &Value| table.get("train").and_then(Value::as_table).cloned();
    let whole = Value::Table(experiment.clone());
    if let Some(table) = train(&whole) {
        both(&table, "train")?;
    }
    if let Some(table) = whole.get("pretrain").and_then(train) {
        both(&table, "pretrain.train")?;
    }
    let models = whole.get("models").and_then(Value::as_array);
    for (i, model) in models.into_iter().flatten().enumerate() {
        if let Some(table) = train(model) {
            both(&table, &format!("models.{i}.train"))?;
        }
    }
    Ok(())
}

/// The key that a later layer with `path` takes the place of: `train.steps` of `train.epochs`, and the other way round.
pub(super) fn replaced(path: &[String]) -> Option<&'static str> {
    let [.., section, key] = path else {
        return None;
    };
    let own = UNITS.iter().position(|unit| unit == key);
    own.filter(|_| section == "train").map(|i| UNITS[1 - i])
}

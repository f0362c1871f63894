//! What a run leaves on the way, batch by batch: one that was cut off goes on from there, and several processes can make the batches
//! of one run.
//!
//! A part is what one batch came to: the scores of attacks with a formula, the features of attacks that learn, how much noise the
//! model saw in the clean samples, and what it cost. Attacks are named by their place in the list; whoever keeps parts must see to it
//! that they are of the same model, samples, attacks, batch size and seed.

use crate::{AttackResult, Result};
use dualmd_torch::{Kind, Tensor};
use std::collections::BTreeMap;

/// Where parts are kept.
pub trait Parts {
    /// What an earlier run left under `name`; nothing if it is not there, or damaged.
    fn read(&self, name: &str) -> Option<BTreeMap<String, Tensor>>;

    /// Is something there under `name`? Cheaper than to read it.
    fn has(&self, name: &str) -> bool {
        self.read(name).is_some()
    }

    /// Leaves a part.
    ///
    /// # Errors
    /// Why it cannot be written.
    fn write(&self, name: &str, part: &BTreeMap<String, Tensor>)
    -> std::result::Result<(), String>;
}

/// Costs: network calls made and saved.
pub(crate) type Calls = (u64, u64);

/// A part while it is made or read.
#[derive(Debug, Default)]
pub(crate) struct Part(BTreeMap<String, Tensor>);

impl Part {
    pub(crate) fn of(tensors: BTreeMap<String, Tensor>) -> Self {
        Self(tensors)
    }

    pub(crate) fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.0
    }

    /// What attack number `index` came to.
    pub(crate) fn put(&mut self, index: usize, values: &Tensor, seconds: f64, calls: u64) {
        self.0.insert(format!("{index}"), values.shallow_clone());
        let cost = Tensor::from_slice(&[seconds, calls as f64]);
        self.0.insert(format!("{index}/cost"), cost);
    }

    pub(crate) fn put_rest(&mut self, clean: Option<&[f64]>, (made, saved): Calls) {
        if let Some(clean) = clean {
            self.0.insert("clean".into(), Tensor::from_slice(clean));
        }
        let calls = Tensor::from_slice(&[made as i64, saved as i64]);
        self.0.insert("calls".into(), calls);
    }

    /// Is everything there for the attacks that have not failed, of `n` samples? `asked`: which attacks are part of it.
    pub(crate) fn whole(&self, n: usize, results: &[AttackResult], asked: &[bool]) -> bool {
        let of = |index: usize| {
            let values = self.0.get(&index.to_string());
            let there = values.is_some_and(|v| v.size().first() == Some(&(n as i64)));
            there && self.0.contains_key(&format!("{index}/cost"))
        };
        let needed = results.iter().zip(asked).enumerate();
        self.0.contains_key("calls")
            && needed
                .filter(|(_, (r, asked))| **asked && r.scores.is_ok())
                .all(|(index, _)| of(index))
    }

    /// The values of attack number `index`, with its costs added to `result`; `None` if it had failed.
    pub(crate) fn take(&self, index: usize, result: &mut AttackResult) -> Result<Option<Tensor>> {
        let (Some(values), Some(cost)) = (
            self.0.get(&index.to_string()),
            self.0.get(&format!("{index}/cost")),
        ) else {
            return Ok(None);
        };
        let cost = Vec::<f64>::try_from(cost)?;
        if let [seconds, calls] = cost[..] {
            result.seconds += seconds;
            result.network_calls += calls as u64;
        }
        Ok(Some(values.shallow_clone()))
    }

    /// How much noise the model saw in the clean samples, and all network calls.
    pub(crate) fn rest(&self) -> Result<(Option<Vec<f64>>, Calls)> {
        let clean = self.0.get("clean").map(|c| c.f_to_kind(Kind::Double));
        let clean = clean.transpose()?.map(Vec::<f64>::try_from).transpose()?;
        let calls = match self.0.get("calls") {
            Some(calls) => Vec::<i64>::try_from(calls)?,
            None => Vec::new(),
        };
        match calls[..] {
            [made, saved] => Ok((clean, (made as u64, saved as u64))),
            _ => Ok((clean, (0, 0))),
        }
    }
}

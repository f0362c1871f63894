//! The plan in words: what a person reads before the work starts.

use super::{JobKind, Plan};
use crate::choices::Objective;
use crate::experiment::epochs;
use dualmd_files::grouped;
use dualmd_names::{AttackSpec, BaseAttack};
use std::fmt::Write;

impl Plan {
    /// A few lines: images, network, recipe, models in order, machine, attacks, warnings.
    pub fn describe(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_to(&mut out);
        out
    }

    fn write_to(&self, out: &mut String) -> std::fmt::Result {
        let (d, t, h) = (&self.data, &self.train, &self.hardware);
        writeln!(out, "run {} (seed {})", self.name, self.seed)?;
        writeln!(
            out,
            "  images    {}, {} px, {}: {} members (D1 {}, D2 {}) and {} non-members of {}",
            d.source,
            d.image_size,
            if d.channels == 1 { "grey" } else { "colour" },
            grouped(d.members as u64),
            grouped(d.d1 as u64),
            grouped(d.d2 as u64),
            grouped(d.nonmembers as u64),
            grouped(d.records as u64),
        )?;
        writeln!(
            out,
            "            {} exact duplicates dropped, {} groups of near-duplicates, split {}",
            grouped(d.duplicates_dropped as u64),
            grouped(d.near_duplicate_groups as u64),
            self.split_hash.get(..12).unwrap_or(&self.split_hash),
        )?;
        writeln!(
            out,
            "  network   {}, {} parameters{}{}",
            self.model.preset,
            grouped(self.model.parameters),
            match self.model.autoencoder {
                Some(_) => ", of latents",
                None => "",
            },
            self.model
                .labels
                .as_ref()
                .map_or(String::new(), |classes| format!(
                    ", told one of {} classes",
                    classes.len()
                ))
        )?;
        writeln!(
            out,
            "  recipe    {}{} steps of {} images{}, learning rate {}, moving average {}, {}",
            match t.objective {
                Objective::Ddpm => String::new(),
                Objective::Flow => format!("flow matching ({} levels), ", t.levels),
            },
            grouped(t.steps),
            grouped(t.batch as u64),
            self.epochs.map_or(String::new(), |e| format!(
                ", {} over all members",
                in_epochs(e)
            )),
            t.learning_rate,
            t.ema,
            h.dtype
        )?;
        for (index, job) in self.trainings.iter().enumerate() {
            let head = if index == 0 { "train" } else { "" };
            let what = match &job.kind {
                JobKind::Pretrain => {
                    "the images of [pretrain]: what the others start from".to_owned()
                }
                JobKind::Baseline => "all members".to_owned(),
                JobKind::Teacher { half } => format!("D{half}"),
                JobKind::Student => {
                    format!(
                        "all members, each taught by the one of {} that never saw it",
                        job.needs.join(" and ")
                    )
                }
                JobKind::Reference => "as many other images, for attacks that compare".to_owned(),
                JobKind::Kd { teacher } => format!("all members, taught by {teacher}"),
                JobKind::DpSgd {
                    epsilon: Some(epsilon),
                    delta,
                    ..
                } => {
                    format!("all members, DP-SGD with epsilon {epsilon} at delta {delta}")
                }
                JobKind::DpSgd {
                    noise_multiplier, ..
                } => format!(
                    "all members, DP-SGD with noise multiplier {}",
                    noise_multiplier.unwrap_or_default()
                ),
                JobKind::EarlyStopping { .. } => {
                    "all members, left where other images are predicted best".to_owned()
                }
                JobKind::Shard { shards, shard } => format!("shard {shard} of {shards}"),
                JobKind::KWay { shards } => format!(
                    "all members, each taught by the {} of {shards} shards' models that never saw it",
                    shards - 1
                ),
                JobKind::Iterative { shards, rounds } => {
                    format!("{shards} shards in turn, averaged after each of {rounds} rounds")
                }
                JobKind::Ambient { own_noise } => {
                    format!("all members, at high noise under noise {own_noise} of their own")
                }
                JobKind::Smp { .. } => {
                    "all members, against an attacker that learns along on other images".to_owned()
                }
                JobKind::Synthetic { .. } => {
                    format!("images that {} drew in turns", job.needs.join(" and "))
                }
            };
            let own = if job.train.is_some() {
                ", with a recipe of its own"
            } else {
                ""
            };
            let passes = job
                .epochs
                .map_or(String::new(), |e| format!(", {}", in_epochs(e)));
            writeln!(out, "  {head:<9} {:<12} {what}{passes}{own}", job.name)?;
        }
        for (index, target) in self.models.iter().enumerate() {
            let head = if index == 0 { "audit" } else { "" };
            let attacks = if target.attacks.is_empty() {
                "-".to_owned()
            } else {
                listed(&target.attacks)
            };
            writeln!(out, "  {head:<9} {:<12} {attacks}", target.name)?;
        }
        let added = self.added();
        if !added.is_empty() {
            writeln!(
                out,
                "            {} by what every model generates (audit.black_box = false leaves that out)",
                listed(&added)
            )?;
        }
        writeln!(
            out,
            "  machine   {}, {}{} on {}: {} at a time, {} each",
            plural(h.cores, "core"),
            h.memory_gb
                .map_or(String::new(), |gb| format!("{gb:.0} GB, ")),
            h.cpu,
            h.device,
            plural(h.parallel_models, "model"),
            plural(h.threads_per_model, "thread"),
        )?;
        for warning in &self.warnings {
            writeln!(out, "  warning   {warning}")?;
        }
        Ok(())
    }

    /// Attacks that nobody named: those that `audit.black_box` adds.
    fn added(&self) -> Vec<AttackSpec> {
        let own = [BaseAttack::Nearest, BaseAttack::SimMean].map(AttackSpec::from);
        let run = |spec: &AttackSpec| {
            self.models
                .iter()
                .any(|target| target.attacks.contains(spec))
        };
        own.into_iter()
            .filter(|spec| run(spec) && !self.audit.attacks.contains(spec))
            .collect()
    }
}

fn listed(attacks: &[AttackSpec]) -> String {
    let names: Vec<String> = attacks.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// "400 epochs"
fn in_epochs(epochs: f64) -> String {
    let text = epochs::text(epochs);
    format!("{text} epoch{}", if text == "1" { "" } else { "s" })
}

fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

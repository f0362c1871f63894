//! One number over seeds: its mean and interval, as text and for files.

use super::paper::Metric;
use super::read::{Measured, Model, Set};
use anyhow::Result;
use dualmd_audit::format::joined;
use dualmd_stats::{SeedSummary, combine_seeds};
use serde::Serialize;

/// One number over seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// (seed, number) of the runs that have it.
    pub values: Vec<(u64, f64)>,
    /// Runs that were looked at.
    pub runs: usize,
    /// Mean and between-seed interval; none where no run has the number.
    #[serde(flatten)]
    pub summary: Option<SeedSummary>,
    /// 95 % interval over the images, of the one run there is.
    pub image_ci: Option<[f64; 2]>,
    /// What more to say, such as the attack that was the strongest.
    pub note: Option<String>,
}

impl Cell {
    /// Combines the numbers of `runs` runs.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn new(numbers: &[(u64, Measured)], runs: usize) -> Result<Self> {
        let values: Vec<(u64, f64)> = numbers.iter().map(|(seed, m)| (*seed, m.0)).collect();
        let plain: Vec<f64> = values.iter().map(|v| v.1).collect();
        Ok(Self {
            summary: match plain.as_slice() {
                [] => None,
                some => Some(combine_seeds(some, &[])?),
            },
            image_ci: match numbers {
                [(_, (_, ci))] => *ci,
                _ => None,
            },
            values,
            runs,
            note: None,
        })
    }

    /// One number of one model over all runs of a set.
    ///
    /// # Errors
    /// As [`Cell::new`].
    pub fn of(set: &Set, model: &str, number: impl Fn(&Model) -> Option<Measured>) -> Result<Self> {
        let numbers: Vec<(u64, Measured)> = set
            .runs
            .iter()
            .filter_map(|run| {
                let model = run.models.iter().find(|m| m.name == model)?;
                Some((run.seed, number(model)?))
            })
            .collect();
        Self::new(&numbers, set.runs.len())
    }

    /// The same of a metric.
    ///
    /// # Errors
    /// As [`Cell::new`].
    pub fn metric(set: &Set, model: &str, attack: Option<&str>, metric: Metric) -> Result<Self> {
        let mut cell = Self::of(set, model, |m| m.measured(attack, metric))?;
        // A share of pairs or of members: what the t interval says beyond 0 and 1 cannot be.
        if let Some(ci) = cell.summary.as_mut().and_then(|s| s.between_ci.as_mut())
            && metric.is_share()
        {
            *ci = ci.map(|v| v.clamp(0.0, 1.0));
        }
        Ok(cell)
    }

    /// The AUC of an attack.
    ///
    /// # Errors
    /// As [`Cell::new`].
    pub fn auc(set: &Set, model: &str, attack: &str) -> Result<Self> {
        Self::metric(set, model, Some(attack), Metric::Auc)
    }

    /// The excess of a model's images.
    ///
    /// # Errors
    /// As [`Cell::new`].
    pub fn excess(set: &Set, model: &str) -> Result<Self> {
        Self::metric(set, model, None, Metric::Excess)
    }

    /// This less another, seed by seed: the same images were drawn for both.
    ///
    /// # Errors
    /// As [`Cell::new`].
    pub fn less(&self, other: &Self) -> Result<Self> {
        let numbers: Vec<(u64, Measured)> = self
            .values
            .iter()
            .filter_map(|(seed, value)| {
                let other = other.values.iter().find(|(s, _)| s == seed)?;
                Some((*seed, (value - other.1, None)))
            })
            .collect();
        Self::new(&numbers, self.runs)
    }

    /// The mean.
    pub fn mean(&self) -> Option<f64> {
        self.summary.map(|s| s.mean)
    }

    /// The between-seed interval.
    pub fn between(&self) -> Option<[f64; 2]> {
        self.summary.and_then(|s| s.between_ci)
    }

    /// Does the between-seed interval tell a difference from 0? None of one seed.
    pub fn told(&self) -> Option<bool> {
        self.between().map(|[low, high]| low > 0.0 || high < 0.0)
    }

    /// The between-seed interval, or that over the images where there is one run.
    pub fn interval(&self) -> Option<[f64; 2]> {
        self.between().or(self.image_ci)
    }

    /// `0.612 [0.58-0.64]` over seeds, `0.612 (0.58-0.64)` over the images of one run; `-` without a number.
    pub fn text(&self, digits: usize) -> String {
        let Some(mean) = self.mean() else {
            return "-".into();
        };
        let mut out = decimal(mean, digits);
        let interval = |ci: [f64; 2]| {
            let [low, high] = ci.map(|x| decimal(x, digits));
            joined(&low, &high, '-')
        };
        match (self.between(), self.image_ci) {
            (Some(ci), _) => out.push_str(&format!(" [{}]", interval(ci))),
            (None, Some(ci)) => out.push_str(&format!(" ({})", interval(ci))),
            (None, None) => {}
        }
        if self.values.len() < self.runs {
            out.push_str(&format!(" ({} of {} seeds)", self.values.len(), self.runs));
        }
        if let Some(note) = &self.note {
            out.push_str(&format!(" {note}"));
        }
        out
    }

    /// [`Self::text`] with the metric's digits; a TPR that these non-members cannot show is said to be that. What the number is of:
    /// as for [`Self::metric`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn shown(
        &self,
        set: &Set,
        model: &str,
        attack: Option<&str>,
        metric: Metric,
    ) -> Result<String> {
        let hidden = metric == Metric::Tpr
            && self.mean().is_none()
            && Self::metric(set, model, attack, Metric::Auc)?
                .mean()
                .is_some();
        Ok(match hidden {
            true => "not measurable".into(),
            false => self.text(metric.digits()),
        })
    }
}

/// A decimal number without "-0.000".
pub fn decimal(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
        _ => text,
    }
}

/// The attack with the largest mean AUC on a model, and that AUC; attacks that lack a seed are passed over where others
/// have all. The interval is that of the named attack: of several about equal ones the largest is taken, so it is a little high.
///
/// # Errors
/// As [`Cell::new`].
pub fn strongest(set: &Set, model: &str) -> Result<Option<(String, Cell)>> {
    strongest_of(set, model, &attacks_on(set, model))
}

/// The same among these attacks.
///
/// # Errors
/// As [`Cell::new`].
pub fn strongest_of(set: &Set, model: &str, attacks: &[String]) -> Result<Option<(String, Cell)>> {
    let mut best: Option<(String, Cell)> = None;
    for attack in attacks {
        let cell = Cell::auc(set, model, attack)?;
        let key = |c: &Cell| c.mean().map(|mean| (c.values.len(), mean));
        if key(&cell) > best.as_ref().and_then(|(_, c)| key(c)) {
            best = Some((attack.clone(), cell));
        }
    }
    Ok(best)
}

/// Attacks that gave a result on a model in any run.
pub fn attacks_on(set: &Set, model: &str) -> Vec<String> {
    let on = |attack: &str| {
        let mut own = set.audited().filter(|m| m.name == model);
        own.any(|m| m.measured(Some(attack), Metric::Auc).is_some())
    };
    let mut all = set.attacks();
    all.retain(|attack| on(attack));
    all
}

//! The undefended model at several lengths of training: what a defence is compared with.

use super::cell::{Cell, strongest_of};
use super::read::{Measured, Set};
use anyhow::Result;
use dualmd::experiment::epochs;

/// The undefended model of a set at several numbers of steps.
pub struct Line<'a> {
    /// The set.
    pub set: &'a Set,
    /// Short trainings first.
    pub stations: Vec<Station>,
    /// Lengths are told in epochs, where all stations have them; else in steps.
    pub unit: &'static str,
}

/// The undefended model at one number of steps.
pub struct Station {
    /// The model.
    pub name: String,
    /// In the unit of the line.
    pub length: f64,
    /// The same for people, without the unit.
    pub shown: String,
    /// Of its images.
    pub excess: Cell,
}

impl<'a> Line<'a> {
    /// That of a set.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn of(set: &'a Set) -> Result<Self> {
        let models = set.undefended();
        let passes = |name: &str| {
            let own = set.models().into_iter().find(|m| m.name == name)?;
            own.utility.as_ref()?.passes()
        };
        let passes: Vec<Option<f64>> = models.iter().map(|(name, _)| passes(name)).collect();
        let unit = match passes.iter().all(Option::is_some) {
            true => "epochs",
            false => "steps",
        };
        let mut stations = Vec::new();
        for ((name, steps), passes) in models.into_iter().zip(passes) {
            let (length, shown) = match passes.filter(|_| unit == "epochs") {
                Some(passes) => (passes, epochs::text(passes)),
                None => (steps, steps.to_string()),
            };
            stations.push(Station {
                excess: Cell::excess(set, &name)?,
                name,
                length,
                shown,
            });
        }
        Ok(Self {
            set,
            stations,
            unit,
        })
    }

    /// The length of a station for people.
    pub fn long(&self, station: &Station) -> String {
        format!("{} {}", station.shown, self.unit)
    }

    /// The undefended line at the defence's quality in each seed; at each number of steps the strongest of `attacks`, which are
    /// those that were made on the defence: an attacker has the same access to both.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn at_equal_quality(&self, quality: &Cell, attacks: &[String]) -> Result<Cell> {
        let runs = self.set.runs.len();
        let mut aucs = Vec::new();
        for station in &self.stations {
            aucs.push(match strongest_of(self.set, &station.name, attacks)? {
                Some((_, cell)) => cell,
                None => Cell::new(&[], runs)?,
            });
        }
        let at = |cell: &Cell, seed: u64| cell.values.iter().find(|(s, _)| *s == seed).map(|v| v.1);
        let numbers: Vec<(u64, Measured)> = quality
            .values
            .iter()
            .filter_map(|(seed, x)| {
                let line: Vec<(f64, f64)> = self
                    .stations
                    .iter()
                    .zip(&aucs)
                    .filter_map(|(s, auc)| Some((at(&s.excess, *seed)?, at(auc, *seed)?)))
                    .collect();
                Some((*seed, (interpolate(&line, *x)?, None)))
            })
            .collect();
        Cell::new(&numbers, runs)
    }

    /// The undefended model of a defence's quality, or why there is none.
    pub fn equal(&self, model: &str, quality: &Cell, equal: &Cell) -> String {
        let Some(own) = quality.mean().filter(|_| model != baseline(self.set)) else {
            return "-".into();
        };
        if equal.mean().is_some() {
            return equal.text(3);
        }
        let means: Vec<f64> = self
            .stations
            .iter()
            .filter_map(|s| s.excess.mean())
            .collect();
        let worst = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let why = match means.len() {
            0 => "-",
            1 => "one number of steps only",
            _ if own > worst => "worse than all of them",
            _ => "better than all of them",
        };
        why.into()
    }
}

/// y of a line at x; none beyond its ends. The points are taken in the order of x.
pub fn interpolate(line: &[(f64, f64)], x: f64) -> Option<f64> {
    let mut line = line.to_vec();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let [one] = line.as_slice() {
        return (one.0 == x).then_some(one.1);
    }
    line.windows(2).find_map(|pair| {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        if !(x0..=x1).contains(&x) {
            return None;
        }
        let share = if x1 > x0 { (x - x0) / (x1 - x0) } else { 0.0 };
        Some(y0 + share * (y1 - y0))
    })
}

/// Name of the undefended model that the others are compared with; empty where there is none.
pub fn baseline(set: &Set) -> &str {
    set.baseline().map_or("", |m| m.name.as_str())
}

//! How near generated images come to images of either side, and what passes.

use super::chosen::Chosen;
use crate::stages::score::Label;
use anyhow::Result;
use dualmd_attack::extraction::{Clique, Reach, cliques, reach};
use dualmd_record::extraction::{Extracted, ExtractionAttack, ExtractionCost};
use dualmd_stats::{CONFIDENCE, clopper_pearson, fisher_more};
use dualmd_torch::Tensor;
use std::collections::BTreeMap;

/// The ratio below which Carlini et al. call an image extracted. Calibration images may lower it.
const LIMIT: f64 = 1.0;

/// Name of the attack by candidates alone.
const CLIQUES: &str = "cliques";
/// Name of the attack by all generated images.
pub(super) const EVERY: &str = "every";

/// Which images a table of features is made of: places among all.
type FeaturesOf<'a> = dyn Fn(&[usize]) -> Result<Tensor> + 'a;

/// A generated image, and the image of a set that it lies nearest to or that it asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shot {
    /// Number of the generated image.
    pub(super) drawn: usize,
    /// Place of the real image among all.
    pub(super) row: usize,
    /// Root mean square difference.
    pub(super) distance: f64,
    /// Against the neighbours' distances.
    pub(super) ratio: f64,
}

/// The generated images.
pub(super) struct Aim<'a> {
    /// Their features, [N, D].
    pub(super) generated: &'a Tensor,
    /// Images for each real image that is asked for, by its caption or by a part of it, in a row; `None` where none is asked for.
    pub(super) each: Option<usize>,
}

impl Aim<'_> {
    /// Every generated image against the images `rows` with these features; of images that are asked for one by one those that
    /// ask for these, of which `first` is the place of the first among all that are asked for.
    fn shots(&self, rows: &[usize], features: &Tensor, first: usize) -> Result<Vec<Shot>> {
        let found = match self.each {
            None => reach(self.generated, features, None)?,
            Some(k) => {
                let (from, length) = ((first * k) as i64, (rows.len() * k) as i64);
                let own: Vec<usize> = (0..rows.len() * k).map(|i| i / k).collect();
                let queries = self.generated.f_narrow(0, from, length)?;
                reach(&queries, features, Some(&own))?
            }
        };
        let before = first * self.each.unwrap_or(0);
        let shot = |(i, found): (usize, &Reach)| Shot {
            drawn: before + i,
            row: rows[found.index],
            distance: found.distance,
            ratio: found.ratio,
        };
        Ok(found.iter().enumerate().map(shot).collect())
    }

    /// Candidates among all images, or among those that ask for the same one; those with most neighbours first.
    fn candidates(&self, radius: f64, least: usize) -> Result<Vec<Clique>> {
        let Some(k) = self.each else {
            return Ok(cliques(self.generated, radius, least)?);
        };
        let n = usize::try_from(self.generated.size()[0]).unwrap_or(0);
        let mut all = Vec::new();
        for from in (0..n).step_by(k.max(1)) {
            let own = self.generated.f_narrow(0, from as i64, k as i64)?;
            let found = cliques(&own, radius, least)?;
            all.extend(found.into_iter().map(|clique| Clique {
                centre: from + clique.centre,
                ..clique
            }));
        }
        all.sort_by(|a, b| {
            let most = b.neighbours.cmp(&a.neighbours);
            most.then_with(|| a.spread.total_cmp(&b.spread))
        });
        Ok(all)
    }
}

/// All that was compared.
pub(super) struct Judged {
    /// Candidates, those with most neighbours first.
    pub(super) candidates: Vec<Clique>,
    /// Generated images against the members that are compared.
    pub(super) members: Vec<Shot>,
    /// The same against the control.
    pub(super) control: Vec<Shot>,
    /// The same against each set of calibration images.
    calibration: Vec<Vec<Shot>>,
    /// The same against all members; `None` where it is limited who is asked for.
    all: Option<Vec<Shot>>,
    /// Images on either side.
    n: usize,
    /// Calibration images.
    n_calibration: usize,
    /// All members.
    n_members: usize,
}

impl Judged {
    /// Compares what was generated with both sides, each set by itself and in the same way. `features`: those of real images;
    /// `radius`, `least`: what candidates are.
    pub(super) fn new(
        aim: &Aim<'_>,
        chosen: &Chosen,
        labels: &[Label],
        features: &FeaturesOf<'_>,
        (radius, least): (f64, usize),
    ) -> Result<Self> {
        let n = chosen.members.len();
        // In the order in which they are asked for.
        let mut first = 0;
        let mut shots = |rows: &[usize]| -> Result<Vec<Shot>> {
            let found = aim.shots(rows, &features(rows)?, first);
            first += rows.len();
            found
        };
        let members = shots(&chosen.members)?;
        let calibration = chosen.calibration.iter().map(|rows| shots(rows));
        let calibration = calibration.collect::<Result<Vec<_>>>()?;
        let control = shots(&chosen.control)?;
        let every: Vec<usize> = (0..labels.len()).filter(|&i| labels[i].member).collect();
        let all = match aim.each {
            None if every.len() > n => Some(aim.shots(&every, &features(&every)?, 0)?),
            None => Some(members.clone()),
            Some(_) => None,
        };
        Ok(Self {
            candidates: aim.candidates(radius, least)?,
            members,
            control,
            calibration,
            all,
            n,
            n_calibration: chosen.calibration.iter().map(Vec::len).sum(),
            n_members: every.len(),
        })
    }

    /// How many others lie near each candidate, by its number.
    pub(super) fn neighbours(&self) -> BTreeMap<usize, usize> {
        let of = |c: &Clique| (c.centre, c.neighbours);
        self.candidates.iter().map(of).collect()
    }

    /// What candidates extract, and what all generated images do.
    ///
    /// # Errors
    /// Numbers that make no interval.
    pub(super) fn attacks(
        &self,
        rate: f64,
        cost: &ExtractionCost,
    ) -> Result<Vec<ExtractionAttack>> {
        let candidates = self.neighbours();
        let among = |shot: &Shot| candidates.contains_key(&shot.drawn);
        Ok(vec![
            self.attack(CLIQUES, &among, rate, cost)?,
            self.attack(EVERY, &|_| true, rate, cost)?,
        ])
    }

    fn attack(
        &self,
        name: &str,
        takes: &dyn Fn(&Shot) -> bool,
        rate: f64,
        cost: &ExtractionCost,
    ) -> Result<ExtractionAttack> {
        let best = |shots: &[Shot]| best(shots.iter().filter(|shot| takes(shot)));
        let calibration = self
            .calibration
            .iter()
            .flat_map(|set| best(set).into_values());
        let ratios = calibration.map(|shot| shot.ratio).collect();
        let threshold = threshold(ratios, self.n_calibration, rate);
        let extracted = |shots: &[Shot], n: usize| -> Result<Extracted> {
            let passes = |shot: &Shot| shot.ratio < threshold.value;
            let k = best(shots).values().filter(|shot| passes(shot)).count();
            Ok(Extracted {
                extracted: k,
                n,
                share: k as f64 / n as f64,
                share_ci: clopper_pearson(k as u64, n as u64, CONFIDENCE)?,
            })
        };
        let members = extracted(&self.members, self.n)?;
        let control = extracted(&self.control, self.n)?;
        let all = self.all.as_ref();
        let trials = |of: &Extracted| [of.extracted as u64, of.n as u64];
        let each = |whole: f64| (members.extracted > 0).then(|| whole / members.extracted as f64);
        Ok(ExtractionAttack {
            name: name.to_owned(),
            threshold: threshold.value,
            calibration_passed: threshold.passed,
            false_rate: threshold.false_rate,
            p_value: fisher_more(trials(&members), trials(&control))?,
            all_members: all
                .map(|shots| extracted(shots, self.n_members))
                .transpose()?,
            calls_per_extracted: each(cost.network_calls as f64),
            seconds_per_extracted: cost.seconds.and_then(each),
            members,
            control,
        })
    }
}

/// The shot with the lowest ratio at each image; of equal ones the first.
pub(super) fn best<'a>(shots: impl Iterator<Item = &'a Shot>) -> BTreeMap<usize, Shot> {
    let mut found: BTreeMap<usize, Shot> = BTreeMap::new();
    for shot in shots {
        let own = found.entry(shot.row).or_insert(*shot);
        if shot.ratio < own.ratio {
            *own = *shot;
        }
    }
    found
}

/// What calibration images say of how small a ratio is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Threshold {
    value: f64,
    passed: usize,
    false_rate: f64,
}

/// The largest threshold up to [`LIMIT`] that at most `rate` of `n` calibration images pass; `ratios`: the lowest of each that a
/// generated image came near to at all.
///
/// With the (m + 1)-th smallest ratio as the threshold, another image like these passes with probability (m + 1) / (n + 1): nothing is
/// assumed of their distribution.
fn threshold(mut ratios: Vec<f64>, n: usize, rate: f64) -> Threshold {
    ratios.sort_by(f64::total_cmp);
    // 0.29 of 100 is 28.999... in binary.
    let most = (rate * n as f64 + 1e-9).floor() as usize;
    let value = ratios.get(most).map_or(LIMIT, |ratio| ratio.min(LIMIT));
    Threshold {
        value,
        passed: ratios.iter().filter(|ratio| **ratio < value).count(),
        false_rate: ((most + 1) as f64 / (n + 1) as f64).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_by_hand() {
        // Two of 200 may pass.
        let ratios = vec![0.9, 0.2, 1.7, 0.4, 0.3];
        let found = threshold(ratios.clone(), 200, 0.01);
        assert_eq!((found.value, found.passed), (0.4, 2));
        assert!((found.false_rate - 3.0 / 201.0).abs() < 1e-12);
        // None of 99 may.
        let found = threshold(ratios.clone(), 99, 0.01);
        assert_eq!((found.value, found.passed), (0.2, 0));
        // No more than the paper's limit, whatever is allowed; and that where nothing came near.
        assert_eq!(threshold(ratios, 10, 0.5).value, LIMIT);
        let found = threshold(Vec::new(), 10, 0.01);
        assert_eq!((found.value, found.passed), (LIMIT, 0));
    }

    #[test]
    fn the_best_shot_at_each_image() {
        let shot = |drawn, row, ratio| Shot {
            drawn,
            row,
            distance: 0.1,
            ratio,
        };
        let shots = [
            shot(0, 5, 0.9),
            shot(1, 5, 0.2),
            shot(2, 7, 0.4),
            shot(3, 5, 0.2),
        ];
        let found = best(shots.iter());
        assert_eq!(found.values().map(|s| s.drawn).collect::<Vec<_>>(), [1, 2]);
    }

    /// Images on a line. Two members are generated three times each, and one held-out image once.
    #[test]
    fn both_sides_are_counted_in_the_same_way() {
        let places: Vec<f64> = (0..12).map(|i| 10.0 * f64::from(i)).collect();
        let labels: Vec<Label> = (0..12)
            .map(|i| Label {
                id: i.to_string(),
                name: i.to_string(),
                group: None,
                member: i < 4,
            })
            .collect();
        let chosen = Chosen {
            members: vec![0, 1, 2, 3],
            control: vec![4, 5, 6, 7],
            calibration: vec![vec![8, 9, 10, 11]],
        };
        let features = |rows: &[usize]| -> Result<Tensor> {
            let values: Vec<f64> = rows.iter().map(|&row| places[row]).collect();
            Ok(Tensor::from_slice(&values).view([-1, 1]))
        };
        let drawn = [0.0, 0.1, 0.2, 10.0, 10.1, 9.9, 60.1, 1000.0];
        let generated = Tensor::from_slice(&drawn).view([-1, 1]);
        let aim = Aim {
            generated: &generated,
            each: None,
        };
        let judged = Judged::new(&aim, &chosen, &labels, &features, (0.25, 2)).unwrap();
        assert_eq!(judged.candidates.len(), 2);
        let cost = ExtractionCost {
            network_calls: 80,
            generated_now: 0,
            seconds: None,
        };
        let attacks = judged.attacks(0.01, &cost).unwrap();
        let counts = |a: &ExtractionAttack| (a.members.extracted, a.control.extracted);
        assert_eq!(counts(&attacks[0]), (2, 0), "{attacks:?}");
        assert_eq!(counts(&attacks[1]), (2, 1), "{attacks:?}");
        assert_eq!(attacks[0].calls_per_extracted, Some(40.0));
        assert_eq!(attacks[0].seconds_per_extracted, None);
        assert_eq!(attacks[0].all_members, Some(attacks[0].members));
        let p = fisher_more([2, 4], [0, 4]).unwrap();
        assert_eq!(attacks[0].p_value, p);

        // For captions: two images each. The one of member 0 is its image, that of member 1 is image 0.
        let asked: Vec<f64> = [0.0, 0.1, 0.0, 0.1]
            .into_iter()
            .chain(std::iter::repeat_n(500.0, 20))
            .collect();
        let generated = Tensor::from_slice(&asked).view([-1, 1]);
        let aim = Aim {
            generated: &generated,
            each: Some(2),
        };
        let judged = Judged::new(&aim, &chosen, &labels, &features, (0.25, 1)).unwrap();
        // Every caption has a pair.
        assert_eq!(judged.candidates.len(), 12);
        let attacks = judged.attacks(0.01, &cost).unwrap();
        assert_eq!(counts(&attacks[0]), (1, 0), "{attacks:?}");
        assert_eq!(attacks[0].all_members, None);
        assert_eq!(judged.members[2].row, 1);
        assert_eq!(judged.control[0].drawn, 16);
    }
}

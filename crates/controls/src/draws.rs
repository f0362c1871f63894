//! Folds that keep groups together, and permutations that keep what may be kept.

use std::collections::BTreeMap;

use dualmd_data::stream;
use rand::seq::SliceRandom;

/// Which samples belong together: samples of one group are one unit, every other sample is its own.
pub(crate) struct Units {
    /// Samples by group.
    groups: Vec<Vec<usize>>,
    /// Samples by group and side: what a permutation moves.
    movable: Vec<Vec<usize>>,
}

impl Units {
    pub fn new(groups: &[Option<&str>], labels: &[bool]) -> Self {
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut all = Vec::new();
        for (i, group) in groups.iter().enumerate() {
            match group {
                Some(name) => named.entry(name).or_default().push(i),
                None => all.push(vec![i]),
            }
        }
        all.extend(named.into_values());
        let movable = all
            .iter()
            .flat_map(|unit| {
                let (inside, outside): (Vec<usize>, Vec<usize>) =
                    unit.iter().partition(|&&i| labels[i]);
                [inside, outside]
            })
            .filter(|unit| !unit.is_empty())
            .collect();
        Self {
            groups: all,
            movable,
        }
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// The fold of every sample: groups in random order, each into the fold that has fewest samples. Labels play no part.
    pub fn partition(&self, folds: usize, seed: u64, index: u64) -> Vec<usize> {
        let mut order: Vec<&Vec<usize>> = self.groups.iter().collect();
        order.shuffle(&mut stream(seed, "controls/folds", index));
        // Large groups first: the rest then levels the folds.
        order.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let mut sizes = vec![0usize; folds];
        let mut out = vec![0; self.groups.iter().map(Vec::len).sum()];
        for group in order {
            let fold = (0..folds).min_by_key(|&f| sizes[f]).unwrap_or(0);
            sizes[fold] += group.len();
            group.iter().for_each(|&i| out[i] = fold);
        }
        out
    }

    /// The labels dealt anew, to whole units of about the same size (1, 2 to 3, 4 to 7, ...). A group that is on both sides
    /// counts as two units. Of labels that mean nothing every such deal is as likely.
    pub fn permuted(&self, labels: &[bool], seed: u64, index: u64) -> Vec<bool> {
        let mut rng = stream(seed, "controls/permutations", index);
        let mut out = labels.to_vec();
        for class in self.classes() {
            let mut dealt: Vec<bool> = class.iter().map(|unit| labels[unit[0]]).collect();
            dealt.shuffle(&mut rng);
            for (unit, label) in class.iter().zip(dealt) {
                unit.iter().for_each(|&i| out[i] = label);
            }
        }
        out
    }

    /// Natural logarithm of the number of different deals.
    pub fn log_deals(&self, labels: &[bool]) -> f64 {
        self.classes()
            .iter()
            .map(|class| {
                let members = class.iter().filter(|unit| labels[unit[0]]).count();
                (1..=members)
                    .map(|i| ((class.len() - members + i) as f64 / i as f64).ln())
                    .sum::<f64>()
            })
            .sum()
    }

    fn classes(&self) -> Vec<Vec<&Vec<usize>>> {
        let mut classes: BTreeMap<u32, Vec<&Vec<usize>>> = BTreeMap::new();
        for unit in &self.movable {
            classes.entry(unit.len().ilog2()).or_default().push(unit);
        }
        classes.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [bool; 10] = [
        true, true, true, false, false, false, false, true, true, false,
    ];

    fn units() -> Units {
        let groups = [
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            Some("a"),
            Some("a"),
            Some("b"),
        ];
        Units::new(&groups, &LABELS)
    }

    #[test]
    fn groups_stay_in_one_fold_and_folds_are_level() {
        let units = units();
        assert_eq!(units.len(), 9);
        for index in 0..20 {
            let folds = units.partition(5, 1, index);
            assert_eq!(folds[7], folds[8]);
            for fold in 0..5 {
                assert_eq!(folds.iter().filter(|f| **f == fold).count(), 2);
            }
        }
        assert_ne!(units.partition(5, 1, 0), units.partition(5, 1, 1));
        assert_eq!(units.partition(5, 1, 0), units.partition(5, 1, 0));
    }

    #[test]
    fn deals_keep_units_whole_and_counts_by_size() {
        let units = units();
        // Eight single samples, three of them members: 56 deals; the pair is alone in its class.
        assert!((units.log_deals(&LABELS) - 56.0_f64.ln()).abs() < 1e-12);
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..2000 {
            let deal = units.permuted(&LABELS, 1, index);
            assert!(deal[7] && deal[8]);
            assert_eq!(deal.iter().filter(|l| **l).count(), 5);
            seen.insert(deal);
        }
        // A deal is missed by all of 2,000 draws once in 10^15.
        assert_eq!(seen.len(), 56);
    }

    #[test]
    fn a_group_on_both_sides_is_one_fold_and_two_units() {
        let units = Units::new(
            &[Some("g"), Some("g"), None, None],
            &[true, false, true, false],
        );
        assert_eq!(units.len(), 3);
        assert!((units.log_deals(&[true, false, true, false]) - 6.0_f64.ln()).abs() < 1e-12);
    }
}

//! Which samples an attack scored, and which of them several attacks have in common.
//!
//! An attack that learns leaves out the samples it learnt from, and shadow models may lack some. AUCs of different samples
//! must not be compared, so whatever sets attacks against each other goes through here.

use std::collections::HashMap;

use crate::report::View;
use crate::scores::{ScoreRow, ScoresFile};

/// Samples of each kind below which halving leaves nothing to look at.
pub const FEWEST: usize = 20;

/// Does a member belong to a view?
pub fn in_view(id: &str, view: View, halves: &HashMap<String, u8>) -> bool {
    match view {
        View::Pooled => true,
        View::D1 => halves.get(id) == Some(&1),
        View::D2 => halves.get(id) == Some(&2),
    }
}

/// A sample: its id, whether it is a member, and the how-manieth row it is with this id (files without ids have empty
/// ones, told apart by their place).
pub type Key<'a> = (&'a str, bool, usize);

/// The rows of one attack by sample, in the order of the file.
#[derive(Debug)]
pub struct Samples<'a> {
    keys: Vec<Key<'a>>,
    rows: HashMap<Key<'a>, &'a ScoreRow>,
}

impl<'a> Samples<'a> {
    /// All samples, in the order of the file.
    pub fn keys(&self) -> &[Key<'a>] {
        &self.keys
    }

    /// Samples in all.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Was this sample scored?
    pub fn has(&self, key: &Key<'_>) -> bool {
        self.rows.contains_key(key)
    }

    /// The row of a sample.
    pub fn get(&self, key: &Key<'_>) -> Option<&'a ScoreRow> {
        self.rows.get(key).copied()
    }
}

/// What one attack scored: all non-members, and the members of a view.
pub fn samples<'a>(
    scores: &'a ScoresFile,
    attack: &str,
    view: View,
    halves: &HashMap<String, u8>,
) -> Samples<'a> {
    let mut seen: HashMap<(&str, bool), usize> = HashMap::new();
    let mut out = Samples {
        keys: Vec::new(),
        rows: HashMap::new(),
    };
    let rows = scores.rows.iter().filter(|r| r.attack == attack);
    let rows = rows.filter(|r| !r.member || in_view(&r.sample_id, view, halves));
    for row in rows {
        let nth = seen.entry((&row.sample_id, row.member)).or_default();
        *nth += 1;
        let key = (row.sample_id.as_str(), row.member, *nth);
        out.keys.push(key);
        out.rows.insert(key, row);
    }
    out
}

/// Members and non-members among some samples.
pub fn sides<'a>(keys: impl IntoIterator<Item = &'a Key<'a>>) -> (usize, usize) {
    keys.into_iter().fold((0, 0), |(m, n), key| match key.1 {
        true => (m + 1, n),
        false => (m, n + 1),
    })
}

/// Attacks that can be compared with each other, by their place in the list, and the samples that all of them scored.
///
/// As many attacks as share at least `fewest` samples of each kind and half of what the largest of them scored: the one
/// with the fewest samples is dropped until that holds. `None` if it never does.
pub fn common<'a>(attacks: &[Samples<'a>], fewest: usize) -> Option<(Vec<usize>, Vec<Key<'a>>)> {
    let mut kept: Vec<usize> = (0..attacks.len()).collect();
    while let Some((first, rest)) = kept.split_first() {
        let keys: Vec<Key<'a>> = attacks[*first]
            .keys()
            .iter()
            .filter(|k| rest.iter().all(|&i| attacks[i].has(k)))
            .copied()
            .collect();
        let largest = kept.iter().map(|&i| attacks[i].len()).max()?;
        let (members, nonmembers) = sides(&keys);
        if members >= fewest && nonmembers >= fewest && 2 * keys.len() >= largest {
            return Some((kept, keys));
        }
        // Of equals the last goes.
        let smallest = (0..kept.len())
            .rev()
            .min_by_key(|&i| attacks[kept[i]].len())?;
        kept.remove(smallest);
    }
    None
}

/// Scores of (members, non-members) on some samples, in their order.
pub fn on(samples: &Samples<'_>, keys: &[Key<'_>]) -> (Vec<f64>, Vec<f64>) {
    let side = |member: bool| -> Vec<f64> {
        keys.iter()
            .filter(|k| k.1 == member)
            .filter_map(|k| Some(samples.get(k)?.score))
            .collect()
    };
    (side(true), side(false))
}

/// What is not to be torn apart when samples are divided: the group, or the sample itself.
pub fn unit(key: &Key<'_>, row: &ScoreRow) -> String {
    match (&row.group, key) {
        (Some(group), _) => format!("group {group}"),
        (None, ("", member, nth)) => format!("{member} {nth}"),
        (None, (id, ..)) => (*id).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(parts: &[(&str, std::ops::Range<usize>)]) -> ScoresFile {
        let row = |attack: &str, i: usize| ScoreRow {
            sample_id: format!("s{i:03}"),
            name: None,
            group: None,
            member: i.is_multiple_of(2),
            attack: attack.into(),
            score: i as f64,
        };
        let rows = parts
            .iter()
            .flat_map(|(attack, part)| part.clone().map(|i| row(attack, i)));
        ScoresFile {
            rows: rows.collect(),
        }
    }

    #[test]
    fn common_samples_by_hand() {
        let scores = file(&[("full", 0..100), ("most", 10..100), ("few", 90..100)]);
        let of = |a: &str| samples(&scores, a, View::Pooled, &HashMap::new());
        let attacks = [of("full"), of("most"), of("few")];
        let (kept, keys) = common(&attacks, 20).expect("two attacks share 90 samples");
        assert_eq!((kept, sides(&keys)), (vec![0, 1], (45, 45)));
        let (m, n) = on(&attacks[0], &keys);
        assert_eq!((m[0], n[0], m.len()), (10.0, 11.0, 45));
        assert!(common(&attacks[2..], 20).is_none());
        assert!(common(&[], 0).is_none());
    }

    #[test]
    fn rows_without_ids_are_told_apart_by_their_place() {
        let mut scores = file(&[("a", 0..6), ("b", 0..6)]);
        for row in &mut scores.rows {
            row.sample_id.clear();
        }
        let of = |a: &str| samples(&scores, a, View::Pooled, &HashMap::new());
        let (kept, keys) = common(&[of("a"), of("b")], 3).expect("the same six samples");
        assert_eq!((kept.len(), keys.len()), (2, 6));
    }
}

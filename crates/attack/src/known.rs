//! The samples whose membership an attacker knows.
//!
//! Attacks that learn ([`crate::Learned`]) are told about a small part of the samples and score the rest. The part is
//! drawn from a seed and the samples' keys, so all models and all such attacks of an audit learn from the same images.

use crate::{AttackError, Result};
use dualmd_data::stream_for_id;
use rand::Rng;
use std::collections::BTreeMap;

/// Share of either side that is known unless another is asked for.
const FRACTION: f64 = dualmd_names::KNOWN_FRACTION;

/// Some of the samples, with the truth about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    rows: Vec<usize>,
    member: Vec<bool>,
}

impl Known {
    /// Draws about `fraction` of the members and of the non-members (at least one of each).
    ///
    /// `keys`: one per sample: its group where it has one (a person, near-duplicates), else its id. A group is known as
    /// a whole or not at all, or a near-copy of what an attack learnt from would be among what it is judged on.
    ///
    /// # Errors
    /// Lists of different lengths, a fraction outside (0, 1), or too few groups to leave both sides something to learn
    /// from and something to be judged on.
    pub fn draw(keys: &[String], member: &[bool], fraction: f64, seed: u64) -> Result<Self> {
        if keys.len() != member.len() {
            return Err(AttackError::Samples(format!(
                "{} keys for {} samples: give one key per sample",
                keys.len(),
                member.len()
            )));
        }
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(AttackError::Samples(format!(
                "known fraction {fraction}: choose a share of the samples between 0 and 1, such as {FRACTION}"
            )));
        }
        let mut sizes: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        let mut totals = [0; 2];
        for (key, &member) in keys.iter().zip(member) {
            sizes.entry(key).or_default()[usize::from(member)] += 1;
            totals[usize::from(member)] += 1;
        }
        let quota = totals.map(|n| ((n as f64 * fraction).round() as usize).max(1));
        let mut order: Vec<(u64, &str)> = sizes
            .keys()
            .map(|&key| (stream_for_id(seed, "attack/known", key).random(), key))
            .collect();
        order.sort_unstable();
        let mut taken = [0; 2];
        let mut chosen = BTreeMap::new();
        for (_, key) in order {
            let size = sizes[key];
            // Room on every side that the group has a part in.
            let fits = (0..2).all(|side| size[side] == 0 || taken[side] < quota[side]);
            if fits {
                (0..2).for_each(|side| taken[side] += size[side]);
                chosen.insert(key, ());
            }
        }
        if (0..2).any(|side| taken[side] == 0 || taken[side] == totals[side]) {
            return Err(AttackError::Samples(format!(
                "attacks that learn need some members and non-members to learn from and others to be judged on: {} and {} \
                 in {} groups cannot be divided so",
                totals[1],
                totals[0],
                sizes.len()
            )));
        }
        let rows: Vec<usize> = (0..keys.len())
            .filter(|&i| chosen.contains_key(keys[i].as_str()))
            .collect();
        let member = rows.iter().map(|&i| member[i]).collect();
        Ok(Self { rows, member })
    }

    /// Positions of the known samples, ascending.
    #[must_use]
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The truth about each of [`Known::rows`].
    #[must_use]
    pub fn member(&self) -> &[bool] {
        &self.member
    }

    /// Known members and known non-members.
    #[must_use]
    pub fn counts(&self) -> [usize; 2] {
        let members = self.member.iter().filter(|m| **m).count();
        [members, self.member.len() - members]
    }

    /// Positions of `n` samples in all that are not known, ascending.
    #[must_use]
    pub fn rest(&self, n: usize) -> Vec<usize> {
        (0..n)
            .filter(|i| self.rows.binary_search(i).is_err())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("image {i}")).collect()
    }

    #[test]
    fn a_fifth_of_either_side_is_known() {
        let member: Vec<bool> = (0..300).map(|i| i < 100).collect();
        let known = Known::draw(&keys(300), &member, FRACTION, 0).unwrap();
        assert_eq!(known.counts(), [20, 40]);
        assert_eq!(known.rest(300).len(), 240);
        assert!(
            known
                .rows()
                .iter()
                .zip(known.member())
                .all(|(&i, &m)| m == (i < 100))
        );
        assert_eq!(
            known,
            Known::draw(&keys(300), &member, FRACTION, 0).unwrap()
        );
        assert_ne!(
            known,
            Known::draw(&keys(300), &member, FRACTION, 1).unwrap()
        );
    }

    /// The order of the samples does not matter: a key is known or it is not.
    #[test]
    fn the_draw_belongs_to_the_keys() {
        let member: Vec<bool> = (0..50).map(|i| i % 2 == 0).collect();
        let names = |known: &Known, keys: &[String]| {
            let mut names: Vec<String> = known.rows().iter().map(|&i| keys[i].clone()).collect();
            names.sort();
            names
        };
        let forward = Known::draw(&keys(50), &member, 0.3, 7).unwrap();
        let (mut back, mut flags) = (keys(50), member);
        back.reverse();
        flags.reverse();
        let backward = Known::draw(&back, &flags, 0.3, 7).unwrap();
        assert_eq!(names(&forward, &keys(50)), names(&backward, &back));
    }

    #[test]
    fn groups_stay_whole() {
        let keys: Vec<String> = (0..200).map(|i| format!("person {}", i / 4)).collect();
        let member: Vec<bool> = (0..200).map(|i| i < 80).collect();
        let known = Known::draw(&keys, &member, 0.25, 3).unwrap();
        for person in 0..50 {
            let n = known.rows().iter().filter(|&&i| i / 4 == person).count();
            assert!(n == 0 || n == 4, "person {person}: {n} of 4");
        }
        assert_eq!(known.counts(), [20, 32]);
    }

    #[test]
    fn what_cannot_be_divided_is_refused() {
        let message = |keys: &[String], member: &[bool], fraction| {
            Known::draw(keys, member, fraction, 0)
                .unwrap_err()
                .to_string()
        };
        assert!(message(&keys(3), &[true, true, false], 0.2).contains("2 and 1 in 3 groups"));
        assert!(message(&keys(3), &[true], 0.2).contains("3 keys for 1 samples"));
        assert!(message(&keys(4), &[true, true, false, false], 1.0).contains("between 0 and 1"));
    }
}

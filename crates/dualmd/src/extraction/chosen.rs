//! Which images are compared, and which set the thresholds.

use crate::stages::score::Label;
use anyhow::{Result, bail};
use dualmd_data::stream;
use dualmd_stats::calibration_half;
use rand::seq::index;
use std::collections::BTreeSet;

/// Images that take part, as places among all (members first). No two are of one group, and the groups of held-out images are either
/// calibration or control.
pub(super) struct Chosen {
    /// Members that are compared.
    pub(super) members: Vec<usize>,
    /// As many held-out images that are compared.
    pub(super) control: Vec<usize>,
    /// Sets of as many held-out images that the thresholds are set by, at least one.
    pub(super) calibration: Vec<Vec<usize>>,
}

impl Chosen {
    /// Divides the held-out images in two halves by seed, whole groups, and draws as many of each kind as the smallest has. `most`: no
    /// more of each, and one set of calibration images, where each image that takes part costs something.
    ///
    /// # Errors
    /// Too few images, counted by groups.
    pub(super) fn draw(labels: &[Label], most: Option<usize>, seed: u64) -> Result<Self> {
        let key = |row: usize| labels[row].group.as_deref().unwrap_or(&labels[row].id);
        let side = |member: bool| -> Vec<usize> {
            let all = 0..labels.len();
            all.filter(|&row| labels[row].member == member).collect()
        };
        let heldout = side(false);
        let keys: Vec<&str> = heldout.iter().map(|&row| key(row)).collect();
        let halves = calibration_half(&[], &keys, seed);
        let half = |calibration: bool| -> Vec<usize> {
            let all = heldout.iter().zip(&halves.nonmembers);
            all.filter(|(_, own)| **own == calibration)
                .map(|(&row, _)| row)
                .collect()
        };
        let one_each = |rows: Vec<usize>| -> Vec<usize> {
            let mut seen = BTreeSet::new();
            rows.into_iter()
                .filter(|&row| seen.insert(key(row)))
                .collect()
        };
        let members = one_each(side(true));
        let (calibration, control) = (one_each(half(true)), one_each(half(false)));
        let all = members.len().min(calibration.len()).min(control.len());
        let n = most.map_or(all, |most| all.min(most));
        if n < 2 {
            bail!(
                "{} members, {} held-out images to set thresholds by and {} as the control are too few: name at least 2 members and 4 \
                 held-out images (--members, --nonmembers); images of one group or that look almost the same count once",
                members.len(),
                calibration.len(),
                control.len()
            );
        }
        let some = |rows: &[usize], purpose: &str| -> Vec<usize> {
            let mut rng = stream(seed, purpose, 0);
            let mut places = index::sample(&mut rng, rows.len(), n).into_vec();
            places.sort_unstable();
            places.into_iter().map(|place| rows[place]).collect()
        };
        let mut rng = stream(seed, "extract/calibration", 0);
        let shuffled = index::sample(&mut rng, calibration.len(), calibration.len());
        let shuffled: Vec<usize> = shuffled.into_iter().map(|i| calibration[i]).collect();
        let sets = most.map_or(usize::MAX, |_| 1);
        Ok(Self {
            members: some(&members, "extract/members"),
            control: some(&control, "extract/control"),
            calibration: shuffled
                .chunks_exact(n)
                .take(sets)
                .map(<[usize]>::to_vec)
                .collect(),
        })
    }

    /// All that take part: members, calibration images, control. They are asked for in this order.
    pub(super) fn asked(&self) -> impl Iterator<Item = usize> + '_ {
        let calibration = self.calibration.iter().flatten();
        let all = self.members.iter().chain(calibration).chain(&self.control);
        all.copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(
        members: usize,
        heldout: usize,
        group: impl Fn(usize) -> Option<String>,
    ) -> Vec<Label> {
        let label = |i: usize| Label {
            id: format!("id-{i}"),
            name: format!("{i}.png"),
            group: group(i),
            member: i < members,
        };
        (0..members + heldout).map(label).collect()
    }

    #[test]
    fn equal_numbers_and_no_image_twice() {
        let labels = labels(10, 100, |_| None);
        let chosen = Chosen::draw(&labels, None, 3).unwrap();
        assert_eq!((chosen.members.len(), chosen.control.len()), (10, 10));
        // A half of 50 is five sets of ten.
        assert_eq!(chosen.calibration.len(), 5);
        assert!(chosen.calibration.iter().all(|set| set.len() == 10));
        let all: Vec<usize> = chosen.asked().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.iter().filter(|&&row| row < 10).count() == 10);
        // Captions cost: no more than asked for, and one set.
        let few = Chosen::draw(&labels, Some(4), 3).unwrap();
        assert_eq!((few.members.len(), few.calibration.len()), (4, 1));
        assert_eq!(few.asked().count(), 12);
        let other = Chosen::draw(&labels, None, 4).unwrap();
        assert_ne!(other.control, chosen.control);
    }

    /// Held-out images in groups of four: a group sets thresholds or is compared, and counts once.
    #[test]
    fn groups_stay_whole_and_count_once() {
        let group = |i: usize| (i >= 6).then(|| format!("person {}", i / 4));
        let labels = labels(6, 82, group);
        let chosen = Chosen::draw(&labels, None, 1).unwrap();
        let people = |rows: &[usize]| -> BTreeSet<String> {
            rows.iter()
                .filter_map(|&row| labels[row].group.clone())
                .collect()
        };
        let (own, others) = (
            people(&chosen.control),
            people(&chosen.calibration.concat()),
        );
        assert_eq!(own.len(), chosen.control.len());
        assert_eq!(others.len(), chosen.calibration.concat().len());
        assert!(own.is_disjoint(&others));
        assert_eq!(chosen.members.len(), 6);
    }

    #[test]
    fn too_few_are_refused() {
        let said = |labels: &[Label]| match Chosen::draw(labels, None, 0) {
            Ok(_) => panic!("drawn"),
            Err(error) => error.to_string(),
        };
        assert!(said(&labels(1, 100, |_| None)).contains("1 members"));
        assert!(said(&labels(9, 3, |_| None)).contains("too few"));
        // Ten pictures of one person are one.
        let one = |i: usize| (i >= 9).then(|| "one".to_owned());
        assert!(said(&labels(9, 10, one)).contains("of one group"));
    }
}

//! Numbers of images, in few bytes: the memory of a training hardly grows with them.

use std::ops::Range;

/// Numbers of images in a training set, in an order of their own. Where each is one more than the one before it, they take no memory; else
/// four bytes each, as long as none needs more.
#[derive(Clone, PartialEq, Eq)]
pub struct Indices(Kept);

/// How they are held. The same numbers are always held in the same way.
#[derive(Clone, PartialEq, Eq)]
enum Kept {
    /// One after the other.
    Run(Range<usize>),
    /// None above 2^32 - 1.
    Short(Vec<u32>),
    /// Any.
    Long(Vec<usize>),
}

impl Indices {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Run(run) => run.len(),
            Kept::Short(list) => list.len(),
            Kept::Long(list) => list.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one that stands at a place, from 0 on; None past the end.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<usize> {
        match &self.0 {
            Kept::Run(run) => run.start.checked_add(at).filter(|i| *i < run.end),
            Kept::Short(list) => list.get(at).map(|&i| i as usize),
            Kept::Long(list) => list.get(at).copied(),
        }
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter_map(move |at| self.get(at))
    }

    fn push(&mut self, i: usize) {
        if let Kept::Run(run) = &mut self.0 {
            let empty = run.start >= run.end;
            let next = empty || run.end == i;
            if let Some(end) = i.checked_add(1).filter(|_| next) {
                let first = if empty { i } else { run.start };
                *run = first..end;
                return;
            }
            let short: Result<Vec<u32>, _> = run.clone().map(u32::try_from).collect();
            self.0 = match short {
                Ok(list) => Kept::Short(list),
                Err(_) => Kept::Long(run.clone().collect()),
            };
        }
        if let Kept::Short(list) = &mut self.0 {
            if let Ok(i) = u32::try_from(i) {
                list.push(i);
                return;
            }
            self.0 = Kept::Long(list.iter().map(|&i| i as usize).collect());
        }
        if let Kept::Long(list) = &mut self.0 {
            list.push(i);
        }
    }
}

impl Default for Indices {
    /// None.
    fn default() -> Self {
        Self(Kept::Run(0..0))
    }
}

impl FromIterator<usize> for Indices {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut all = Self::default();
        numbers.into_iter().for_each(|i| all.push(i));
        if let Kept::Short(list) = &mut all.0 {
            list.shrink_to_fit();
        }
        all
    }
}

impl From<Vec<usize>> for Indices {
    fn from(numbers: Vec<usize>) -> Self {
        numbers.into_iter().collect()
    }
}

impl std::fmt::Debug for Indices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Which images are among some: a bit for each, up to the last of them.
#[derive(Debug, Default)]
pub(crate) struct Among(Vec<u64>);

impl Among {
    /// Adds one; whether it is new.
    pub fn insert(&mut self, i: usize) -> bool {
        let (word, bit) = (i / 64, 1_u64 << (i % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Whether it is among them.
    pub fn has(&self, i: usize) -> bool {
        let word = self.0.get(i / 64).copied().unwrap_or(0);
        word & (1_u64 << (i % 64)) != 0
    }
}

impl FromIterator<usize> for Among {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut all = Self::default();
        numbers.into_iter().for_each(|i| {
            all.insert(i);
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_however_they_are_held() {
        let large = u32::MAX as usize + 1;
        let lists = [
            (vec![], "run"),
            (vec![5], "run"),
            (vec![0, 1, 2, 3], "run"),
            (vec![7, 8, 9], "run"),
            (vec![large, large + 1], "run"),
            (vec![0, 1, 2, 2], "short"),
            (vec![3, 2, 1], "short"),
            (vec![4, 6], "short"),
            (vec![4, 6, large], "long"),
            (vec![large, 1], "long"),
            (vec![1, large, 2], "long"),
            (vec![usize::MAX], "long"),
            (vec![usize::MAX - 1, usize::MAX], "long"),
        ];
        for (list, held) in &lists {
            let all = Indices::from(list.clone());
            let found = match &all.0 {
                Kept::Run(_) => "run",
                Kept::Short(_) => "short",
                Kept::Long(_) => "long",
            };
            assert_eq!(found, *held, "{list:?}");
            assert_eq!(all.len(), list.len());
            assert_eq!(all.is_empty(), list.is_empty());
            assert_eq!(all.iter().collect::<Vec<_>>(), *list);
            assert_eq!(all.get(list.len()), None);
            assert_eq!(format!("{all:?}"), format!("{list:?}"));
            for (other, _) in &lists {
                assert_eq!(all == Indices::from(other.clone()), list == other);
            }
        }
    }

    #[test]
    fn those_among_some() {
        let mut some: Among = [3, 64, 200].into_iter().collect();
        for i in 0..300 {
            assert_eq!(some.has(i), [3, 64, 200].contains(&i), "{i}");
        }
        assert!(!some.insert(64) && some.insert(65) && some.has(65));
        assert!(!Among::default().has(0));
    }
}

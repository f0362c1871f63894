//! Work that several processes share, each of them some of its batches.

use std::fmt;

/// Process K of N: of batches that are numbered from 0 it takes those whose number modulo N is K - 1. Every batch is one process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// K - 1.
    place: usize,
    /// N.
    of: usize,
}

impl Share {
    /// All batches.
    pub const ALL: Self = Self { place: 0, of: 1 };

    /// `K/N`, with K from 1 to N.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write K/N for part K of N, such as 3/8".to_owned();
        let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
        let (k, n) = text.split_once('/').ok_or_else(wrong)?;
        let (k, of) = (number(k)?, number(n)?);
        if of == 0 {
            return Err("there is no part of 0: write K/N for part K of N, such as 3/8".into());
        }
        match k.checked_sub(1).filter(|place| *place < of) {
            Some(place) => Ok(Self { place, of }),
            None => Err(format!(
                "of {of} parts the first is 1/{of} and the last {of}/{of}"
            )),
        }
    }

    /// Is batch number `index`, counted from 0, among its own?
    #[must_use]
    pub const fn has(self, index: usize) -> bool {
        index % self.of == self.place
    }

    /// How many of `n` samples, in batches of `batch`, are in its own.
    #[must_use]
    pub fn samples(self, n: usize, batch: usize) -> usize {
        let batch = batch.max(1);
        let batches = (0..n.div_ceil(batch)).filter(|&index| self.has(index));
        batches.map(|index| batch.min(n - index * batch)).sum()
    }
}

/// As it is typed: `3/8`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place + 1, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_is_in_one_share() {
        let shares = ["1/3", "2/3", "3/3"].map(|text| Share::parse(text).unwrap());
        for index in 0..10 {
            let owners = shares.iter().filter(|share| share.has(index)).count();
            assert_eq!(owners, 1, "{index}");
        }
        assert!((0..10).all(|index| Share::ALL.has(index)));
        // Batches of 4, 4 and 2.
        assert_eq!(shares.map(|share| share.samples(10, 4)), [4, 4, 2]);
        assert_eq!(shares.map(|share| share.samples(4, 0)), [2, 1, 1]);
        assert_eq!(Share::ALL.samples(10, 4), 10);
        assert_eq!(shares[1].to_string(), "2/3");
        assert_eq!(Share::parse("1/1"), Ok(Share::ALL));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for (text, said) in [
            ("0/3", "the first is 1/3 and the last 3/3"),
            ("4/3", "the first is 1/3 and the last 3/3"),
            ("1/0", "no part of 0"),
            ("3", "such as 3/8"),
            ("a/3", "such as 3/8"),
            ("1/", "such as 3/8"),
            ("-1/3", "such as 3/8"),
            ("1/2/3", "such as 3/8"),
        ] {
            let error = Share::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}

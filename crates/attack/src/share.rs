//! How far work is that several processes share, each of them some of its batches ([`Share`](crate::Share)).

use std::fmt;

/// How far shared work is, in batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batches {
    /// Of the process's share.
    pub own: usize,
    /// Of these, made now; the others were there.
    pub made: usize,
    /// There in the end, of all shares.
    pub there: usize,
    /// In all.
    pub all: usize,
}

impl Batches {
    /// Counts one more of the share: made now (`new`), or there already.
    pub fn count(&mut self, new: bool) {
        self.own += 1;
        self.made += usize::from(new);
    }
}

/// In one line, for people.
impl fmt::Display for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            own,
            made,
            there,
            all,
        } = self;
        write!(
            f,
            "{made} of its {own} batches made now; {there} of {all} batches are there"
        )
    }
}

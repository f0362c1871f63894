//! Counting what attacks ask.

use std::ops::Add;

/// Network evaluations, counted per sample: a forward pass over a batch of 64 counts 64, so that the numbers do not
/// depend on the batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkCalls {
    /// Evaluations that ran.
    pub made: u64,
    /// Evaluations answered from memory, because another attack had already asked.
    pub saved: u64,
}

impl Add for NetworkCalls {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            saved: self.saved + other.saved,
        }
    }
}

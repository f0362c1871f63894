//! Which samples choose and which report.
//!
//! A run draws its halves from the images' ids ([`dualmd_stats::calibration_half`]). In an evidence folder ids are sealed, and a
//! seal that let the halves be drawn again would let ids be guessed. So the folder notes the halves (`halves.json`), and a
//! report that is built from it takes them as they stand there.

use std::cell::RefCell;

use dualmd_files::shown;
use dualmd_record::evidence::{Division, Halves, Purpose};

/// A sample's half: `Some(true)` calibration, `Some(false)` report, `None` neither.
pub type Half = Option<bool>;

/// The halves of one report: those that were given, and all that were used.
#[derive(Debug, Default)]
pub struct Book {
    seed: u64,
    given: Option<Halves>,
    used: RefCell<Vec<Division>>,
    unusable: RefCell<Vec<String>>,
}

impl Book {
    /// `seed`: of the draws; `given`: halves that are not drawn.
    pub fn new(seed: u64, given: Option<Halves>) -> Self {
        Self {
            seed,
            given,
            ..Self::default()
        }
    }

    /// The halves of one model.
    pub fn of<'a>(&'a self, model: &'a str) -> Deal<'a> {
        Deal { book: self, model }
    }

    /// All halves that were used, and sentences on those that were given and could not be.
    pub fn close(self) -> (Halves, Vec<String>) {
        let divisions = self.used.into_inner();
        (Halves { divisions }, self.unusable.into_inner())
    }
}

/// The halves of one model.
#[derive(Debug, Clone, Copy)]
pub struct Deal<'a> {
    book: &'a Book,
    model: &'a str,
}

impl Deal<'_> {
    /// Seed of all draws.
    pub fn seed(&self) -> u64 {
        self.book.seed
    }

    /// The halves of `samples` samples for a purpose: those that were given, else what `draw` gives.
    pub fn halves(
        &self,
        purpose: Purpose,
        attack: Option<&str>,
        samples: usize,
        draw: impl FnOnce() -> Vec<Half>,
    ) -> Vec<Half> {
        let attack = attack.map(str::to_owned);
        let halves = match self.given(purpose, attack.as_deref(), samples) {
            Some(halves) => halves,
            None => draw(),
        };
        self.book.used.borrow_mut().push(Division {
            model: self.model.to_owned(),
            purpose,
            attack,
            halves: halves.iter().map(letter).collect(),
        });
        halves
    }

    fn given(&self, purpose: Purpose, attack: Option<&str>, samples: usize) -> Option<Vec<Half>> {
        let given = self.book.given.as_ref()?;
        let found = given.divisions.iter().find(|d| {
            d.model == self.model && d.purpose == purpose && d.attack.as_deref() == attack
        });
        let halves: Option<Vec<Half>> = found.and_then(|d| d.halves.chars().map(half).collect());
        let halves = halves.filter(|h| h.len() == samples);
        if halves.is_none() {
            let (model, attack) = (shown(self.model), attack.unwrap_or("all attacks"));
            self.book.unusable.borrow_mut().push(format!(
                "halves.json holds no halves of the {samples} samples of {model} ({}, {purpose:?}): they are drawn anew, and numbers that rest on them are others.",
                shown(attack)
            ));
        }
        halves
    }
}

fn letter(half: &Half) -> char {
    match half {
        Some(true) => 'c',
        Some(false) => 'r',
        None => '-',
    }
}

fn half(letter: char) -> Option<Half> {
    match letter {
        'c' => Some(Some(true)),
        'r' => Some(Some(false)),
        '-' => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_taken_again_and_nothing_is_drawn() {
        let drawn = vec![Some(true), Some(false), None];
        let book = Book::new(3, None);
        let deal = book.of("m");
        assert_eq!(deal.seed(), 3);
        assert_eq!(
            deal.halves(Purpose::OneRun, None, 3, || drawn.clone()),
            drawn
        );
        let (used, unusable) = book.close();
        assert_eq!(
            (used.divisions[0].halves.as_str(), unusable.len()),
            ("cr-", 0)
        );
        let book = Book::new(3, Some(used.clone()));
        let nothing = || -> Vec<Half> { Vec::new() };
        let deal = book.of("m");
        assert_eq!(deal.halves(Purpose::OneRun, None, 3, nothing), drawn);
        // Of another purpose, another attack, another model, or as many samples as there are not: drawn, and said.
        deal.halves(Purpose::Choice, None, 3, nothing);
        deal.halves(Purpose::OneRun, Some("a"), 3, nothing);
        deal.halves(Purpose::OneRun, None, 4, nothing);
        book.of("n").halves(Purpose::OneRun, None, 3, nothing);
        let (again, unusable) = book.close();
        assert_eq!(again.divisions[0], used.divisions[0]);
        assert_eq!(unusable.len(), 4, "{unusable:?}");
        assert!(unusable[3].contains("samples of n"), "{unusable:?}");
    }

    #[test]
    fn letters_that_mean_nothing_are_no_halves() {
        let division = Division {
            model: "m".into(),
            halves: "cx".into(),
            ..Division::default()
        };
        let book = Book::new(
            0,
            Some(Halves {
                divisions: vec![division],
            }),
        );
        let drawn = book
            .of("m")
            .halves(Purpose::Choice, None, 2, || vec![None, None]);
        assert_eq!((drawn, book.close().1.len()), (vec![None, None], 1));
    }
}

//! Names that are none.

use dualmd_files::shown;

/// Why a text names no attack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No attack is called so.
    #[error("unknown attack \"{}\"{}: known attacks are {}", shown(name), meant(near), known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names that are spelt like it, the nearest first.
        near: Vec<&'static str>,
        /// All names.
        known: Vec<&'static str>,
    },
    /// There is an attack of this name, and it has no such variant or timestep.
    #[error("attack {attack}: \"{}\": {remedy}", shown(name))]
    Variant {
        /// Name of the attack.
        attack: &'static str,
        /// What was asked for.
        name: String,
        /// What is wrong and what to ask for.
        remedy: String,
    },
}

pub(crate) fn meant(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        near => format!(" (did you mean {}?)", near.join(" or ")),
    }
}

/// The known words that are spelt like `word`, the nearest first: those within one letter of the nearest, of which at most half
/// the letters differ. A word that differs in case only is the only one.
pub(crate) fn near(word: &str, known: impl IntoIterator<Item = &'static str>) -> Vec<&'static str> {
    let word = word.to_lowercase();
    let mut found: Vec<(usize, &'static str)> = known
        .into_iter()
        .map(|known| (edit_distance(&word, known), known))
        // Half the letters wrong is not a slip of the finger any more.
        .filter(|(distance, known)| 2 * distance <= known.len())
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    let limit = match found.first() {
        Some((0, _)) | None => 0,
        Some((nearest, _)) => nearest + 1,
    };
    let within = found.into_iter().filter(|(distance, _)| *distance <= limit);
    within.map(|(_, known)| known).collect()
}

/// Levenshtein distance: insertions, deletions and replacements of one letter.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

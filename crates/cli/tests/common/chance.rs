//! What tests that kill draw: the same in every call with the same `DUALMD_KILLS_SEED`.

use std::io::Write;

/// To the terminal, also of a test that passes.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A number of the environment, or what stands for it.
pub fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: give a number"))
    })
}

/// How many kills are tried.
pub fn kills() -> usize {
    number("DUALMD_KILLS", 10)
}

/// One of 0..n, by name: the same in every call with the same `DUALMD_KILLS_SEED` (1 if it is not set).
pub fn draw(what: &str, index: usize, n: usize) -> usize {
    let seed = number("DUALMD_KILLS_SEED", 1);
    let hash = blake3::hash(format!("{seed} {what} {index}").as_bytes());
    let first: [u8; 8] = hash.as_bytes()[..8].try_into().unwrap();
    (u64::from_le_bytes(first) % n.max(1) as u64) as usize
}

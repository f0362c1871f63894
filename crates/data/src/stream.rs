//! Named random streams: every random number of the project comes from `(seed, purpose, index)`.
//!
//! A stream is independent of every other, so that a run is repeatable, resumes bit for bit, does not depend on the
//! number of processes, and two models are attacked with the same noise.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The stream of `(seed, purpose, index)`.
#[must_use]
pub fn stream(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    keyed(seed, purpose, &index.to_le_bytes())
}

/// The stream of `(seed, purpose, id)`, for noise that belongs to one sample whatever its place in a list.
#[must_use]
pub fn stream_for_id(seed: u64, purpose: &str, id: &str) -> ChaCha8Rng {
    keyed(seed, purpose, id.as_bytes())
}

fn keyed(seed: u64, purpose: &str, last: &[u8]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    // The length keeps ("ab", "c") and ("a", "bc") apart.
    hasher.update(&(purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update(last);
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |mut rng: ChaCha8Rng| rng.random::<u64>();
        assert_eq!(draw(stream(1, "a", 2)), draw(stream(1, "a", 2)));
        let all = [
            draw(stream(1, "a", 2)),
            draw(stream(2, "a", 2)),
            draw(stream(1, "b", 2)),
            draw(stream(1, "a", 3)),
            draw(stream_for_id(1, "a", "2")),
            draw(stream_for_id(1, "a2", "")),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }
}

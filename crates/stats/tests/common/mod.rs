//! Simulated audits whose true AUC is known.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// A standard normal number.
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// Shift between two unit normals whose AUC is the key: sqrt(2) times the normal quantile.
pub const SHIFTS: [(f64, f64); 5] = [
    (0.5, 0.0),
    (0.6, 0.358_286_909_1),
    (0.8, 1.190_232_185_6),
    (0.95, 2.326_174_306_7),
    (0.99, 3.289_952_714_1),
];

/// Unit normals, the members shifted.
pub fn binormal(n1: usize, n0: usize, shift: f64, rng: &mut ChaCha8Rng) -> (Vec<f64>, Vec<f64>) {
    let members = (0..n1).map(|_| normal(rng) + shift).collect();
    (members, (0..n0).map(|_| normal(rng)).collect())
}

/// What memorisation looks like: a share of 2 AUC - 1 of the members stands apart, the others are like non-members.
#[allow(dead_code, reason = "not every test binary needs both shapes")]
pub fn mixture(n1: usize, n0: usize, auc: f64, rng: &mut ChaCha8Rng) -> (Vec<f64>, Vec<f64>) {
    let exposed = 2.0 * auc - 1.0;
    let members = (0..n1).map(|_| {
        normal(rng)
            + if rng.random::<f64>() < exposed {
                40.0
            } else {
                0.0
            }
    });
    let members = members.collect();
    (members, (0..n0).map(|_| normal(rng)).collect())
}

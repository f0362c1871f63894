//! Features for tests.

use rand_distr::{Distribution as _, Normal};

use crate::features::Features;

/// Independent normal numbers; every seed gives others.
pub(crate) fn gaussian(n: usize, dim: usize, mean: f64, sd: f64, seed: u64) -> Features {
    let mut rng = dualmd_data::stream(seed, "test features", 0);
    let values = Normal::new(mean, sd).unwrap().sample_iter(&mut rng);
    let values: Vec<f64> = values.take(n * dim).collect();
    Features::from_f64("toy", dim, &values).unwrap()
}

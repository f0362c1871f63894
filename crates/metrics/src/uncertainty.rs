//! How far to trust a Frechet distance: an interval for it, and the distance that real images have from real images.
//!
//! **Interval.** The distance at n images estimates something other than the distance of the distributions: it is
//! biased, and the bias shrinks with n. A bootstrap is of no use here, because a resample with repeated images has a
//! smaller effective n, so it is centred on another bias. What can be said is how much the distance *at this n* would
//! scatter with other images. The delete-a-group jackknife says that: both sides are divided at random into 10 groups,
//! the distance is taken with each group left out in turn, and
//!
//! ```text
//! variance = (10 - 1)/10 sum over groups (d_j - mean d)^2,     one such sum per side
//! interval = d +- 2.262 sqrt(variance generated + variance real)       (Student's t, 97.5 %, 9 degrees of freedom)
//! ```
//!
//! The jackknife errs upwards (Efron and Stein, Annals of Statistics 9, 1981), most where the two distributions are
//! equal: the interval is too wide rather than too narrow. It holds the expected distance at these n and makes no claim
//! about n to infinity. It knows nothing of other training runs either: a model's seed moves its distance too.
//!
//! **Floor.** What of the value is bias shows in a comparison at equal n: disjoint random subsets of the real images
//! are compared with each other and with as many generated images, several times. Only the excess over the
//! real-versus-real distance is a property of the model. Half the real images must suffice for one side, so the n of
//! the floor can be lower than that of the value.

pub use dualmd_record::utility::{Floor, FrechetReport, Spread};

use crate::error::{MetricsError, Result};
use crate::features::{Features, draw};
use crate::frechet::{Frechet, Pair};

/// Groups of the jackknife.
const GROUPS: usize = 10;

/// 97.5 % quantile of Student's t with GROUPS - 1 degrees of freedom.
const T_QUANTILE: f64 = 2.262_157_162_798_205;

/// Fewest images on a side: two in each group.
const FEWEST: usize = 2 * GROUPS;

/// Mean and range of repetitions.
fn spread(values: Vec<f64>) -> Spread {
    Spread {
        mean: values.iter().sum::<f64>() / values.len() as f64,
        low: values.iter().copied().fold(f64::INFINITY, f64::min),
        high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        values,
    }
}

/// The distance with its interval and its floor, drawn with `seed`; `repetitions` is for the floor (5 is usual).
///
/// It takes 21 + 2 `repetitions` distances.
///
/// # Errors
/// [`MetricsError::TooFew`] below 20 images on a side, [`MetricsError::OutOfRange`] for no repetitions,
/// [`MetricsError::Mismatch`], [`MetricsError::Decomposition`].
pub fn fd_with_interval(
    generated: &Features,
    real: &Features,
    repetitions: usize,
    seed: u64,
) -> Result<FrechetReport> {
    for (what, side) in [("generated images", generated), ("real images", real)] {
        if side.count() < FEWEST {
            return Err(MetricsError::TooFew {
                what,
                got: side.count(),
                needed: FEWEST,
                remedy: "the interval leaves out a tenth of them at a time",
            });
        }
    }
    let pair = Pair::new(generated, real)?;
    let all_generated: Vec<usize> = (0..generated.count()).collect();
    let all_real: Vec<usize> = (0..real.count()).collect();
    let distance = pair.distance(&all_generated, &all_real)?;
    let sd_generated = jackknife_sd(generated.count(), seed, 0, |rows| {
        pair.distance(rows, &all_real)
    })?;
    let sd_real = jackknife_sd(real.count(), seed, 1, |rows| {
        pair.distance(&all_generated, rows)
    })?;
    let reach = T_QUANTILE * sd_generated.hypot(sd_real);
    Ok(FrechetReport {
        distance,
        ci: [(distance.value - reach).max(0.0), distance.value + reach],
        sd_generated,
        sd_real,
        floor: floor_of(&pair, generated, real, repetitions, seed)?,
    })
}

/// The comparison at equal n: `n` is the smaller of the number of generated and half the number of real images.
fn floor_of(
    pair: &Pair<'_>,
    generated: &Features,
    real: &Features,
    repetitions: usize,
    seed: u64,
) -> Result<Floor> {
    if repetitions == 0 {
        return Err(MetricsError::OutOfRange {
            name: "repetitions",
            value: 0,
            expected: "at least 1",
        });
    }
    if real.count() < 4 {
        return Err(MetricsError::TooFew {
            what: "real images",
            got: real.count(),
            needed: 4,
            remedy: "they are compared with each other in two halves",
        });
    }
    let n = generated.count().min(real.count() / 2);
    let among_real = Pair::new(real, real)?;
    let (mut real_real, mut generated_real) = (Vec::new(), Vec::new());
    for repetition in 0..repetitions {
        let mut rng = dualmd_data::stream(seed, "fd floor", repetition as u64);
        let halves = draw(real.count(), 2 * n, &mut rng);
        let (first, second) = halves.split_at(n);
        let of_model = draw(generated.count(), n, &mut rng);
        real_real.push(among_real.distance(second, first)?.value);
        generated_real.push(pair.distance(&of_model, first)?.value);
    }
    let (real_real, generated_real) = (spread(real_real), spread(generated_real));
    Ok(Floor {
        n,
        rank_deficient: n <= real.dim(),
        excess: generated_real.mean - real_real.mean,
        real_real,
        generated_real,
    })
}

/// Delete-a-group jackknife standard deviation of a distance over one of its sides.
fn jackknife_sd(
    n: usize,
    seed: u64,
    side: u64,
    distance: impl Fn(&[usize]) -> Result<Frechet>,
) -> Result<f64> {
    let order = draw(n, n, &mut dualmd_data::stream(seed, "fd jackknife", side));
    let without = |group: usize| {
        let kept = order
            .iter()
            .enumerate()
            .filter(|(k, _)| k % GROUPS != group);
        distance(&kept.map(|(_, &row)| row).collect::<Vec<_>>()).map(|d| d.value)
    };
    let values = (0..GROUPS).map(without).collect::<Result<Vec<_>>>()?;
    let mean = values.iter().sum::<f64>() / GROUPS as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Ok((squares * (GROUPS - 1) as f64 / GROUPS as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frechet::frechet_of_features;
    use crate::testing::gaussian;

    /// Share of intervals that hold the mean distance at this n (over the same 150 pairs of samples), and the mean
    /// ratio of the jackknife's standard deviation to the real one.
    fn coverage(n: usize, dim: usize, shift: f64, sd: f64) -> (f64, f64) {
        let trials = 150;
        let reports: Vec<_> = (0..trials)
            .map(|k| {
                let real = gaussian(n, dim, 0.0, 1.0, 2 * k);
                let generated = gaussian(n, dim, shift, sd, 2 * k + 1);
                fd_with_interval(&generated, &real, 1, k).unwrap()
            })
            .collect();
        let mean =
            |f: &dyn Fn(&FrechetReport) -> f64| reports.iter().map(f).sum::<f64>() / trials as f64;
        let expected = mean(&|r| r.distance.value);
        let spread = mean(&|r| (r.distance.value - expected).powi(2)).sqrt();
        let held = mean(&|r| f64::from(u8::from(r.ci[0] <= expected && expected <= r.ci[1])));
        let claimed = mean(&|r| r.sd_generated.hypot(r.sd_real));
        (held, claimed / spread)
    }

    /// 95 % intervals, 150 audits: below 0.90 has probability 0.004 if they hold what they say. The claimed standard
    /// deviations are never smaller than the real ones by more than the noise of 150 trials.
    #[test]
    fn intervals_hold_the_expected_distance() {
        for (n, dim, shift, sd) in [
            (60, 4, 0.5, 1.5),
            // Equal distributions.
            (60, 4, 0.0, 1.0),
            // Fewer images than columns.
            (30, 40, 0.3, 1.3),
            (30, 40, 0.0, 1.0),
        ] {
            let (held, ratio) = coverage(n, dim, shift, sd);
            println!("n {n} D {dim} shift {shift}: coverage {held}, sd ratio {ratio}");
            assert!(held >= 0.9, "n {n}, D {dim}, shift {shift}: {held}");
            assert!(ratio > 0.9, "n {n}, D {dim}, shift {shift}: {ratio}");
        }
    }

    fn floor(
        generated: &Features,
        real: &Features,
        repetitions: usize,
        seed: u64,
    ) -> Result<Floor> {
        floor_of(
            &Pair::new(generated, real)?,
            generated,
            real,
            repetitions,
            seed,
        )
    }

    /// The bias: at n = 40 in 20 columns equal distributions are far apart, and the excess is not.
    #[test]
    fn the_floor_takes_the_bias_away() {
        let (mut value, mut excess) = (0.0, 0.0);
        let trials = 20;
        for k in 0..trials {
            let real = gaussian(80, 20, 0.0, 1.0, 2 * k);
            let generated = gaussian(40, 20, 0.0, 1.0, 2 * k + 1);
            let floor = floor(&generated, &real, 3, k).unwrap();
            assert_eq!((floor.n, floor.rank_deficient), (40, false));
            assert!(floor.real_real.low <= floor.real_real.mean);
            value += floor.generated_real.mean / trials as f64;
            excess += floor.excess / trials as f64;
        }
        assert!(
            value > 2.0 && excess.abs() < 0.1 * value,
            "{value} {excess}"
        );
        let real = gaussian(80, 20, 0.0, 1.0, 900);
        let shifted = floor(&gaussian(40, 20, 1.0, 1.0, 901), &real, 3, 0).unwrap();
        // |dm|^2 = 20.
        assert!((16.0..24.0).contains(&shifted.excess), "{shifted:?}");
    }

    #[test]
    fn seeds_repeat_and_nonsense_is_refused() {
        let (a, b) = (gaussian(30, 5, 0.0, 1.0, 1), gaussian(25, 5, 0.2, 1.0, 2));
        let report = fd_with_interval(&a, &b, 2, 7).unwrap();
        assert_eq!(report, fd_with_interval(&a, &b, 2, 7).unwrap());
        assert_ne!(report, fd_with_interval(&a, &b, 2, 8).unwrap());
        assert_eq!(report.distance, frechet_of_features(&a, &b).unwrap());
        assert_eq!(report.floor.n, 12);
        assert!(fd_with_interval(&a, &b, 0, 7).is_err());
        let error = fd_with_interval(&gaussian(19, 5, 0.0, 1.0, 1), &b, 1, 0).unwrap_err();
        assert!(error.to_string().contains("19 generated images"), "{error}");
        assert!(floor(&a, &gaussian(3, 5, 0.0, 1.0, 1), 1, 0).is_err());
    }
}

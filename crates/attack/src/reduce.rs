//! Per-sample reductions, in f64: sums of fourth powers lose their small terms in f32.

use crate::Result;
use dualmd_torch::{Kind, Tensor};

/// sum |e|^p over everything but the first dimension.
pub(crate) fn sum_of_powers(e: &Tensor, p: u32) -> Result<Vec<f64>> {
    // abs and pow are taken in f64 as well: in f32 the fourth power of a residual of 1e-10 is already 0.
    let powers = e
        .f_flatten(1, -1)?
        .f_to_kind(Kind::Double)?
        .f_abs()?
        .f_pow_tensor_scalar(i64::from(p))?;
    let sums = powers.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?;
    Ok(Vec::<f64>::try_from(&sums)?)
}

/// mean |e|^p over everything but the first dimension.
pub(crate) fn mean_of_powers(e: &Tensor, p: u32) -> Result<Vec<f64>> {
    let numbers_per_sample = e.numel() as f64 / e.size()[0] as f64;
    let sums = sum_of_powers(e, p)?;
    Ok(sums.into_iter().map(|s| s / numbers_per_sample).collect())
}

/// Adds `weight` times the mean square of each sample's residual to its sum.
pub(crate) fn add_mean_squares(sums: &mut [f64], residual: &Tensor, weight: f64) -> Result<()> {
    for (sum, error) in sums.iter_mut().zip(mean_of_powers(residual, 2)?) {
        *sum += weight * error;
    }
    Ok(())
}

/// The scores of an error attack: a large error speaks against membership.
pub(crate) fn negated(errors: Vec<f64>) -> Vec<f64> {
    errors.into_iter().map(|e| -e).collect()
}

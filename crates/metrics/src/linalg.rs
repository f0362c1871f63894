//! The few pieces of linear algebra that the metrics share, all in f64.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

use crate::error::{MetricsError, Result};
use crate::features::Features;

/// Rows converted to f64 at a time where the whole table is not needed at once.
pub(crate) const BLOCK: usize = 512;

/// Mean row.
pub(crate) fn mean(features: &Features) -> Vec<f64> {
    let mut mean = vec![0.0; features.dim()];
    for row in features.rows() {
        for (m, &x) in mean.iter_mut().zip(row) {
            *m += f64::from(x);
        }
    }
    let n = features.count() as f64;
    mean.iter_mut().for_each(|m| *m /= n);
    mean
}

/// Rows `from..to` less `shift`, in row-major order.
pub(crate) fn shifted(features: &Features, from: usize, to: usize, shift: &[f64]) -> Vec<f64> {
    let rows = features.rows().skip(from).take(to - from);
    rows.flat_map(|row| row.iter().zip(shift).map(|(&x, s)| f64::from(x) - s))
        .collect()
}

/// Unbiased covariance (division by N - 1) about `mean`, D x D.
pub(crate) fn covariance(features: &Features, mean: &[f64]) -> Mat<f64> {
    let (n, d) = (features.count(), features.dim());
    let mut sum = Mat::zeros(d, d);
    for from in (0..n).step_by(BLOCK) {
        let to = (from + BLOCK).min(n);
        let block = shifted(features, from, to, mean);
        let block = MatRef::from_row_major_slice(&block, to - from, d);
        let scale = 1.0 / (n - 1) as f64;
        matmul(
            &mut sum,
            Accum::Add,
            block.transpose(),
            block,
            scale,
            Par::Seq,
        );
    }
    sum
}

/// Inner products of the rows of `a` with the rows of `b` (both row-major with `dim` columns).
pub(crate) fn inner_products(a: &[f64], b: &[f64], dim: usize) -> Mat<f64> {
    let a = MatRef::from_row_major_slice(a, a.len() / dim, dim);
    let b = MatRef::from_row_major_slice(b, b.len() / dim, dim);
    a * b.transpose()
}

/// Eigenvalues in ascending order, and eigenvectors as columns.
pub(crate) fn eigen(symmetric: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let size = symmetric.nrows();
    let found = symmetric
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| MetricsError::Decomposition { size })?;
    let values = found.S().column_vector().iter().copied().collect();
    Ok((values, found.U().to_owned()))
}

/// Eigenvalues in ascending order.
pub(crate) fn eigenvalues(symmetric: &Mat<f64>) -> Result<Vec<f64>> {
    let size = symmetric.nrows();
    symmetric
        .self_adjoint_eigenvalues(Side::Lower)
        .map_err(|_| MetricsError::Decomposition { size })
}

/// Sum of the singular values.
pub(crate) fn nuclear_norm(matrix: &Mat<f64>) -> Result<f64> {
    let size = matrix.nrows();
    let values = matrix
        .singular_values()
        .map_err(|_| MetricsError::Decomposition { size })?;
    Ok(values.into_iter().sum())
}

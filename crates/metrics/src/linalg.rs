//! The few pieces of linear algebra that the metrics share, all in f64. Products and decompositions are libtorch's (BLAS and
//! LAPACK), which is linked anyway.

use dualmd_torch::{Kind, Tensor, no_grad};

use crate::error::{MetricsError, Result};
use crate::features::Features;

/// Rows converted to f64 at a time where the whole table is not needed at once.
pub(crate) const BLOCK: usize = 512;

/// A matrix of f64 in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// With the entry `of(row, column)`.
    pub(crate) fn from_fn(rows: usize, cols: usize, of: impl Fn(usize, usize) -> f64) -> Self {
        let entries = (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j)));
        let values = entries.map(|(i, j)| of(i, j)).collect();
        Self { rows, cols, values }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// All entries, row after row.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    fn tensor(&self) -> Tensor {
        table(&self.values, self.rows, self.cols)
    }

    /// `tensor`: [rows, cols], f64.
    fn of(tensor: &Tensor) -> Self {
        let (rows, cols) = tensor.size2().unwrap_or((0, 0));
        Self {
            rows: rows as usize,
            cols: cols as usize,
            values: numbers(tensor),
        }
    }
}

impl std::ops::Index<(usize, usize)> for Matrix {
    type Output = f64;

    fn index(&self, (i, j): (usize, usize)) -> &f64 {
        &self.values[i * self.cols + j]
    }
}

impl std::ops::IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut f64 {
        &mut self.values[i * self.cols + j]
    }
}

fn table(values: &[f64], rows: usize, cols: usize) -> Tensor {
    Tensor::from_slice(values).view([rows as i64, cols as i64])
}

/// All numbers of a tensor of f64, in row-major order.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.contiguous().to_kind(Kind::Double).view([-1]);
    let mut out = vec![0.0; flat.numel()];
    flat.copy_data(&mut out, flat.numel());
    out
}

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
pub(crate) fn covariance(features: &Features, mean: &[f64]) -> Matrix {
    let (n, d) = (features.count(), features.dim());
    no_grad(|| {
        let mut sum = Tensor::zeros(
            [d as i64, d as i64],
            (Kind::Double, dualmd_torch::Device::Cpu),
        );
        for from in (0..n).step_by(BLOCK) {
            let to = (from + BLOCK).min(n);
            let block = table(&shifted(features, from, to, mean), to - from, d);
            sum += block.tr().matmul(&block);
        }
        Matrix::of(&(sum / (n - 1) as f64))
    })
}

/// Inner products of the rows of `a` with the rows of `b` (both row-major with `dim` columns).
pub(crate) fn inner_products(a: &[f64], b: &[f64], dim: usize) -> Matrix {
    let rows = |of: &[f64]| table(of, of.len() / dim, dim);
    Matrix::of(&rows(a).matmul(&rows(b).tr()))
}

/// F' A F.
pub(crate) fn congruent(a: &Matrix, factor: &Matrix) -> Matrix {
    let f = factor.tensor();
    Matrix::of(&f.tr().matmul(&a.tensor().matmul(&f)))
}

/// Eigenvalues in ascending order, and eigenvectors as columns.
pub(crate) fn eigen(symmetric: &Matrix) -> Result<(Vec<f64>, Matrix)> {
    let (values, vectors) = symmetric
        .tensor()
        .f_linalg_eigh("L")
        .map_err(|_| failed(symmetric))?;
    Ok((numbers(&values), Matrix::of(&vectors)))
}

/// Eigenvalues in ascending order.
pub(crate) fn eigenvalues(symmetric: &Matrix) -> Result<Vec<f64>> {
    let values = symmetric.tensor().f_linalg_eigvalsh("L");
    values.map(|v| numbers(&v)).map_err(|_| failed(symmetric))
}

/// Sum of the singular values.
pub(crate) fn nuclear_norm(matrix: &Matrix) -> Result<f64> {
    // `linalg_svdvals` of tch always names a driver, which libtorch refuses on a CPU.
    let found = matrix.tensor().f_svd(true, false);
    let (_, values, _) = found.map_err(|_| failed(matrix))?;
    Ok(numbers(&values).into_iter().sum())
}

fn failed(matrix: &Matrix) -> MetricsError {
    MetricsError::Decomposition { size: matrix.rows }
}

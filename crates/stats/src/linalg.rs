//! The little linear algebra that is needed here: symmetric systems and eigenvectors of some hundred rows.

/// Solves `matrix` x = `right` for a symmetric, positive definite matrix of n x n numbers, row by row, by Cholesky's
/// factors; `None` where it is not positive definite.
pub(crate) fn solve(matrix: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    let n = right.len();
    let mut lower = matrix.to_vec();
    for j in 0..n {
        for i in j..n {
            let known: f64 = (0..j).map(|k| lower[i * n + k] * lower[j * n + k]).sum();
            let rest = lower[i * n + j] - known;
            lower[i * n + j] = if i == j {
                // NaN is not positive either.
                if rest.is_nan() || rest <= 0.0 {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / lower[j * n + j]
            };
        }
    }
    let mut x = right.to_vec();
    for i in 0..n {
        let known: f64 = (0..i).map(|k| lower[i * n + k] * x[k]).sum();
        x[i] = (x[i] - known) / lower[i * n + i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| lower[k * n + i] * x[k]).sum();
        x[i] = (x[i] - known) / lower[i * n + i];
    }
    Some(x)
}

/// Eigenvalues of a symmetric matrix of n x n numbers, largest first, and their eigenvectors, by Jacobi's rotations.
pub(crate) fn eigen(matrix: &[f64], n: usize) -> Vec<(f64, Vec<f64>)> {
    let mut a = matrix.to_vec();
    // Row i is the i-th eigenvector once the rotations are done.
    let mut vectors: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect();
    let size: f64 = a.iter().map(|v| v * v).sum();
    // Convergence is quadratic: a dozen sweeps are many.
    for _ in 0..40 {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i * n + j] * a[i * n + j])
            .sum();
        if off <= 1e-30 * size {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let entry = a[p * n + q];
                if entry == 0.0 {
                    continue;
                }
                // The rotation that makes the entry 0 (Golub & Van Loan, Matrix Computations, section 8.5.2).
                let tau = (a[q * n + q] - a[p * n + p]) / (2.0 * entry);
                let sign = if tau >= 0.0 { 1.0 } else { -1.0 };
                let t = sign / (tau.abs() + tau.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (a[p * n + k], a[q * n + k]);
                    (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
                }
                let (left, right) = vectors.split_at_mut(q);
                for (x, y) in left[p].iter_mut().zip(&mut right[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    let mut found: Vec<(f64, Vec<f64>)> = (0..n).map(|i| a[i * n + i]).zip(vectors).collect();
    found.sort_by(|x, y| y.0.total_cmp(&x.0));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_by_hand() {
        // 4 x + 2 y = 8, 2 x + 3 y = 8.
        let x = solve(&[4.0, 2.0, 2.0, 3.0], &[8.0, 8.0]).unwrap();
        assert!(
            (x[0] - 1.0).abs() < 1e-15 && (x[1] - 2.0).abs() < 1e-15,
            "{x:?}"
        );
        assert_eq!(solve(&[1.0, 2.0, 2.0, 1.0], &[1.0, 1.0]), None);
        assert_eq!(solve(&[f64::NAN], &[1.0]), None);
    }

    #[test]
    fn eigenvectors_by_hand_and_by_their_equation() {
        let found = eigen(&[2.0, 1.0, 1.0, 2.0], 2);
        assert!((found[0].0 - 3.0).abs() < 1e-14 && (found[1].0 - 1.0).abs() < 1e-14);
        let n = 20;
        let entry = |i: usize, j: usize| ((i * j + i + j) % 7) as f64 - 3.0;
        let matrix: Vec<f64> = (0..n * n).map(|k| entry(k / n, k % n)).collect();
        let found = eigen(&matrix, n);
        assert!(found.windows(2).all(|w| w[0].0 >= w[1].0));
        for (value, vector) in found {
            let length: f64 = vector.iter().map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-12);
            for i in 0..n {
                let image: f64 = (0..n).map(|j| matrix[i * n + j] * vector[j]).sum();
                assert!((image - value * vector[i]).abs() < 1e-12 * 60.0, "{value}");
            }
        }
    }
}

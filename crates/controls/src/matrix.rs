//! The little linear algebra that ridge regression needs, in f64.

/// A matrix, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub v: Vec<f64>,
}

impl Matrix {
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            v: vec![0.0; rows * columns],
        }
    }

    pub fn row(&self, i: usize) -> &[f64] {
        &self.v[i * self.columns..(i + 1) * self.columns]
    }

    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.v[i * self.columns..(i + 1) * self.columns]
    }

    /// The lower triangle of sum over `rows` of x x'.
    pub fn gram(&self, rows: &[usize]) -> Self {
        let mut out = Self::zeros(self.columns, self.columns);
        for &i in rows {
            let x = self.row(i);
            for (j, &xj) in x.iter().enumerate() {
                add_scaled(&mut out.row_mut(j)[..=j], &x[..=j], xj);
            }
        }
        out
    }

    /// The Cholesky factor L (lower triangle) of a positive definite matrix, of which the lower triangle is read.
    /// A pivot that rounding made negative is taken as tiny: with a ridge on the diagonal there is none.
    pub fn cholesky(mut self) -> Self {
        for i in 0..self.rows {
            let (done, rest) = self.v.split_at_mut(i * self.columns);
            let row = &mut rest[..=i];
            for j in 0..i {
                let other = &done[j * self.columns..j * self.columns + j + 1];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            let (before, pivot) = row.split_at_mut(i);
            pivot[0] = (pivot[0] - dot(before, before)).max(1e-12).sqrt();
        }
        self
    }

    /// Solves L L' y = x in place, L being a Cholesky factor and `transposed` its transpose.
    pub fn solve(&self, transposed: &Self, x: &mut [f64]) {
        for i in 0..x.len() {
            let row = self.row(i);
            x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
        }
        for i in (0..x.len()).rev() {
            let row = transposed.row(i);
            x[i] = (x[i] - dot(&row[i + 1..], &x[i + 1..])) / row[i];
        }
    }

    pub fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.columns, self.rows);
        for i in 0..self.rows {
            for (j, &v) in self.row(i).iter().enumerate() {
                out.v[j * self.rows + i] = v;
            }
        }
        out
    }
}

/// Four sums side by side: a single chain of additions would wait for itself.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (mut s, n) = ([0.0; 4], a.len().min(b.len()));
    let (a4, b4) = (a[..n].chunks_exact(4), b[..n].chunks_exact(4));
    let rest: f64 = a4
        .remainder()
        .iter()
        .zip(b4.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a4.zip(b4) {
        s[0] += x[0] * y[0];
        s[1] += x[1] * y[1];
        s[2] += x[2] * y[2];
        s[3] += x[3] * y[3];
    }
    s[0] + s[1] + s[2] + s[3] + rest
}

/// a += factor * b.
pub(crate) fn add_scaled(a: &mut [f64], b: &[f64], factor: f64) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += factor * b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        let x = Matrix {
            rows: 4,
            columns: 3,
            v: vec![1., 2., 0., 0., 1., 5., 3., 1., 1., 2., 2., 2.],
        };
        let mut a = x.gram(&[0, 1, 2, 3]);
        // 1 + 9 + 4, 2 + 3 + 4, 4 + 1 + 1 + 4.
        assert_eq!((a.row(0)[0], a.row(1)[0], a.row(1)[1]), (14.0, 9.0, 10.0));
        for i in 0..3 {
            for j in 0..i {
                a.v[j * 3 + i] = a.row(i)[j];
            }
        }
        let want = [0.5, -1.0, 2.0];
        let mut b: Vec<f64> = (0..3).map(|i| dot(a.row(i), &want)).collect();
        let l = a.cholesky();
        l.solve(&l.transposed(), &mut b);
        assert!(
            b.iter().zip(want).all(|(x, y)| (x - y).abs() < 1e-10),
            "{b:?}"
        );
    }
}

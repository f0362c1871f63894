//! The discrete cosine transform (type II, orthonormal), as in JPEG and for spectra.

use super::plane::Plane;

/// Rows of the n x n transform matrix.
pub(crate) fn matrix(n: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(n * n);
    for u in 0..n {
        let scale = if u == 0 { 1.0 } else { 2.0_f64 };
        for x in 0..n {
            let angle = std::f64::consts::PI * (2 * x + 1) as f64 * u as f64 / (2 * n) as f64;
            out.push((scale / n as f64).sqrt() * angle.cos());
        }
    }
    out
}

/// Coefficients of a plane, `[v * w + u]` for horizontal frequency u and vertical frequency v.
pub(crate) fn transform(plane: &Plane, across: &[f64], down: &[f64]) -> Vec<f64> {
    let (w, h) = (plane.w, plane.h);
    let mut rows = vec![0.0; w * h];
    for y in 0..h {
        let line = &plane.v[y * w..(y + 1) * w];
        for u in 0..w {
            rows[y * w + u] = dot(line, &across[u * w..(u + 1) * w]);
        }
    }
    let mut out = vec![0.0; w * h];
    for v in 0..h {
        for y in 0..h {
            let factor = down[v * h + y];
            for u in 0..w {
                out[v * w + u] += factor * rows[y * w + u];
            }
        }
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_kept_and_a_constant_has_one_coefficient() {
        let (across, down) = (matrix(5), matrix(3));
        let v: Vec<f64> = (0..15).map(|i| f64::from(i * i % 7)).collect();
        let energy = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        let c = transform(
            &Plane {
                w: 5,
                h: 3,
                v: v.clone(),
            },
            &across,
            &down,
        );
        assert!((energy(&c) - energy(&v)).abs() < 1e-9);
        let c = transform(
            &Plane {
                w: 5,
                h: 3,
                v: vec![2.0; 15],
            },
            &across,
            &down,
        );
        assert!((c[0] - 2.0 * 15.0_f64.sqrt()).abs() < 1e-12);
        assert!(c[1..].iter().all(|x| x.abs() < 1e-12));
    }
}

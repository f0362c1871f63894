//! One channel of a picture as numbers.

use dualmd_data::Picture;

/// Values of one channel, row by row, in [0, 255] (differences of colour in [-128, 128]).
#[derive(Debug, Clone)]
pub(crate) struct Plane {
    pub w: usize,
    pub h: usize,
    pub v: Vec<f64>,
}

impl Plane {
    /// Channel `k` as stored.
    pub fn channel(picture: &Picture, k: usize) -> Self {
        let c = usize::from(picture.channels);
        Self {
            w: picture.width as usize,
            h: picture.height as usize,
            v: picture
                .pixels
                .chunks_exact(c)
                .map(|p| f64::from(p[k]))
                .collect(),
        }
    }

    /// Luma and, of a colour picture, the two colour differences: the full-range BT.601 of JPEG (JFIF 1.02).
    pub fn jfif(picture: &Picture) -> Vec<Self> {
        if picture.channels == 1 {
            return vec![Self::channel(picture, 0)];
        }
        let plane = |r: f64, g: f64, b: f64| Self {
            w: picture.width as usize,
            h: picture.height as usize,
            v: picture
                .pixels
                .chunks_exact(3)
                .map(|p| r * f64::from(p[0]) + g * f64::from(p[1]) + b * f64::from(p[2]))
                .collect(),
        };
        vec![
            plane(0.299, 0.587, 0.114),
            plane(-0.168_736, -0.331_264, 0.5),
            plane(0.5, -0.418_688, -0.081_312),
        ]
    }

    pub fn at(&self, x: usize, y: usize) -> f64 {
        self.v[y * self.w + x]
    }

    /// Means of `s` x `s` blocks; what does not fill a block is left out.
    pub fn shrunk(&self, s: usize) -> Self {
        let (w, h) = (self.w / s, self.h / s);
        let mut v = Vec::with_capacity(w * h);
        for y in 0..h {
            for x in 0..w {
                let mut sum = 0.0;
                for row in 0..s {
                    let start = (y * s + row) * self.w + x * s;
                    sum += self.v[start..start + s].iter().sum::<f64>();
                }
                v.push(sum / (s * s) as f64);
            }
        }
        Self { w, h, v }
    }

    /// The middle, at most `size` on a side.
    pub fn middle(&self, size: usize) -> Self {
        let (w, h) = (self.w.min(size), self.h.min(size));
        let (left, top) = ((self.w - w) / 2, (self.h - h) / 2);
        let mut v = Vec::with_capacity(w * h);
        for y in top..top + h {
            v.extend_from_slice(&self.v[y * self.w + left..y * self.w + left + w]);
        }
        Self { w, h, v }
    }

    /// Mean of the `cells` x `cells` parts the plane is divided into.
    pub fn thumbnail(&self, cells: usize) -> Vec<f64> {
        let edges = |n: usize, i: usize| {
            let start = (i * n / cells).min(n - 1);
            (start, ((i + 1) * n / cells).max(start + 1))
        };
        let mut out = Vec::with_capacity(cells * cells);
        for ty in 0..cells {
            for tx in 0..cells {
                let ((x0, x1), (y0, y1)) = (edges(self.w, tx), edges(self.h, ty));
                let sum: f64 = (y0..y1)
                    .map(|y| self.v[y * self.w + x0..y * self.w + x1].iter().sum::<f64>())
                    .sum();
                out.push(sum / ((x1 - x0) * (y1 - y0)) as f64);
            }
        }
        out
    }
}

/// The value below which the share `q` of the sorted values lies.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((q * last as f64).round() as usize)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_middles_and_thumbnails() {
        let p = Plane {
            w: 4,
            h: 2,
            v: (0..8).map(f64::from).collect(),
        };
        assert_eq!(p.shrunk(2).v, [2.5, 4.5]);
        assert_eq!(p.middle(2).v, [1.0, 2.0, 5.0, 6.0]);
        assert_eq!(p.thumbnail(2), [0.5, 2.5, 4.5, 6.5]);
        // More cells than pixels: pixels are repeated, nothing is out of range.
        assert_eq!(p.thumbnail(8).len(), 64);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), 2.0);
    }

    #[test]
    fn luma_of_grey_is_the_grey() {
        let p = Plane::jfif(&Picture::filled(2, 1, 3, 80));
        assert!(p[0].v.iter().all(|v| (v - 80.0).abs() < 1e-9));
        assert!(p[1].v.iter().chain(&p[2].v).all(|v| v.abs() < 1e-9));
    }
}

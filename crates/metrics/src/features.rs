//! One row of numbers per image, and the name of what computed them.

use rand::seq::index;

use crate::error::{MetricsError, Result};

/// A checked N x D table, one row per image: at least two rows, at least one column, every number finite.
///
/// Values are kept in f32, as networks give them; every sum over them is taken in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    extractor: String,
    dim: usize,
    values: Vec<f32>,
}

impl Features {
    /// Builds a table from `values` in row-major order. `extractor` names network and layer (`inception-2048`,
    /// `efflite0-1280`, `pixels-3072`); tables of different extractors are never compared.
    ///
    /// # Errors
    /// [`MetricsError::Features`] for no columns, a length that is no multiple of `dim`, fewer than two rows, or a
    /// value that is not finite (the first row with one is named).
    pub fn new(extractor: impl Into<String>, dim: usize, values: Vec<f32>) -> Result<Self> {
        let extractor = extractor.into();
        let refuse = |reason: String| {
            Err(MetricsError::Features {
                extractor: extractor.clone(),
                reason,
            })
        };
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return refuse(format!(
                "{} numbers are no table with {dim} columns; give whole rows",
                values.len()
            ));
        }
        if values.len() / dim < 2 {
            return refuse(format!(
                "there are {} rows, but a distribution needs at least 2 images",
                values.len() / dim
            ));
        }
        if let Some(place) = values.iter().position(|v| !v.is_finite()) {
            return refuse(format!(
                "row {} holds a number that is not finite; find out what is wrong with that image, or with the network's weights",
                place / dim
            ));
        }
        Ok(Self {
            extractor,
            dim,
            values,
        })
    }

    /// As [`Self::new`], from f64, rounded to f32.
    ///
    /// # Errors
    /// As [`Self::new`]; a number beyond the range of f32 is not finite.
    pub fn from_f64(extractor: impl Into<String>, dim: usize, values: &[f64]) -> Result<Self> {
        Self::new(extractor, dim, values.iter().map(|&v| v as f32).collect())
    }

    /// Name of the network and layer.
    #[must_use]
    pub fn extractor(&self) -> &str {
        &self.extractor
    }

    /// N, the number of images.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len() / self.dim
    }

    /// D, the numbers per image.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The rows in order, each of D numbers.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dim)
    }

    /// The rows with these indices, in the order given; an index may repeat.
    ///
    /// # Errors
    /// [`MetricsError::TooFew`] for fewer than two indices, [`MetricsError::OutOfRange`] for one that is not there.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        if indices.len() < 2 {
            return Err(MetricsError::TooFew {
                what: "rows selected",
                got: indices.len(),
                needed: 2,
                remedy: "a distribution needs at least two images",
            });
        }
        let mut values = Vec::with_capacity(indices.len() * self.dim);
        for &index in indices {
            if index >= self.count() {
                return Err(MetricsError::OutOfRange {
                    name: "row index",
                    value: index,
                    expected: "below the number of images",
                });
            }
            values.extend_from_slice(self.row(index));
        }
        Ok(Self {
            extractor: self.extractor.clone(),
            dim: self.dim,
            values,
        })
    }

    /// The rows of both tables, `self` first.
    ///
    /// # Errors
    /// [`MetricsError::Mismatch`] when the extractors differ.
    pub fn concat(&self, other: &Self) -> Result<Self> {
        self.check_comparable(other)?;
        let mut joined = self.clone();
        joined.values.extend_from_slice(&other.values);
        Ok(joined)
    }

    /// Row `index`, which must be there.
    pub(crate) fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..][..self.dim]
    }

    /// The rows scaled to unit length; rows of zeros as they are.
    pub(crate) fn unit(&self) -> Self {
        let mut unit = self.clone();
        for row in unit.values.chunks_exact_mut(self.dim) {
            let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            if squares > 0.0 {
                let scale = squares.sqrt().recip();
                row.iter_mut()
                    .for_each(|x| *x = (f64::from(*x) * scale) as f32);
            }
        }
        unit
    }

    /// `n` different rows at random.
    pub(crate) fn subsample(&self, n: usize, rng: &mut impl rand::Rng) -> Result<Self> {
        self.select(&draw(self.count(), n, rng))
    }

    pub(crate) fn check_comparable(&self, other: &Self) -> Result<()> {
        if self.extractor == other.extractor && self.dim == other.dim {
            return Ok(());
        }
        Err(MetricsError::Mismatch {
            first: self.describe(),
            second: other.describe(),
        })
    }

    fn describe(&self) -> String {
        format!("{} ({} columns)", self.extractor, self.dim)
    }
}

/// `n` different indices below `from`, in random order; `n` must not exceed `from`.
pub(crate) fn draw(from: usize, n: usize, rng: &mut impl rand::Rng) -> Vec<usize> {
    index::sample(rng, from, n).into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_where_they_were_put() {
        let f = Features::new("x", 2, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!((f.count(), f.dim(), f.extractor()), (3, 2, "x"));
        assert_eq!(f.rows().nth(1).unwrap(), [2.0, 3.0]);
        let s = f.select(&[2, 0]).unwrap();
        assert_eq!(s.values, [4.0, 5.0, 0.0, 1.0]);
        assert_eq!(s.concat(&f).unwrap().count(), 5);
        let drawn = f.subsample(3, &mut dualmd_data::stream(0, "t", 0)).unwrap();
        let mut rows: Vec<_> = drawn.rows().map(|r| r[0]).collect();
        rows.sort_by(f32::total_cmp);
        assert_eq!(rows, [0.0, 2.0, 4.0]);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let text = |r: Result<Features>| r.unwrap_err().to_string();
        assert!(text(Features::new("net", 2, vec![0.0; 3])).contains("net: 3 numbers"));
        assert!(text(Features::new("net", 0, vec![])).contains("0 columns"));
        assert!(text(Features::new("net", 2, vec![0.0; 2])).contains("1 rows"));
        assert!(text(Features::new("net", 2, vec![0.0, 0.0, 0.0, f32::NAN])).contains("row 1"));
        assert!(Features::from_f64("net", 1, &[1e300, 0.0]).is_err());
        let f = Features::new("net", 1, vec![0.0; 4]).unwrap();
        assert!(f.select(&[0]).is_err() && f.select(&[0, 4]).is_err());
        let g = Features::new("other", 1, vec![0.0; 4]).unwrap();
        let error = f.concat(&g).unwrap_err().to_string();
        assert!(error.contains("net") && error.contains("other"), "{error}");
    }
}

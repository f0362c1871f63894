//! The density-ratio attack: is an image likelier among what the model generates than among images in general?
//!
//! A model that memorises puts too much density near its members (DOMIAS: van Breugel, Sun, Qian & van der Schaar,
//! "Membership Inference Attacks against Synthetic Data through Overfitting Detection", AISTATS 2023, arXiv 2302.12580):
//!
//! ```text
//! score(x) = ln p_G(x) - ln p_R(x)
//! ```
//!
//! with p_G estimated from the features of generated images and p_R from those of a reference set that neither trained the
//! model nor is scored. The second term is what a distance to the nearest generated image lacks: an ordinary image lies
//! near to many generated ones without being a member.
//!
//! Both densities are kernel estimates with a normal kernel,
//!
//! ```text
//! p(x) = mean over rows y of N(x; y, h^2 I)
//! ```
//!
//! in columns standardised by the reference set, or in its leading principal components, each with variance 1. Kernel
//! estimates need many rows in many dimensions: a few dozen components of a network's features are what some thousand rows
//! carry, and with fewer rows than columns the score is close to a difference of distances to the nearest rows.
//!
//! One score takes as many distances as there are rows in both sets; the choice of h by likelihood one per pair of
//! generated rows.

use std::f64::consts::PI;

use serde::Serialize;

use crate::error::{StatsError, check_finite};
use crate::linalg::eigen;
use crate::logs::ln_sum_exp;

/// Rows of the reference set that the principal components are taken from, when it has more of them and more columns as
/// well. They are spread evenly over it.
pub const PCA_ROWS: usize = 512;

/// Generated rows whose likelihood chooses the bandwidth, spread evenly: the choice compares them in pairs.
pub const LIKELIHOOD_ROWS: usize = 2000;

/// Bandwidths tried by [`Bandwidth::Likelihood`], as multiples of Scott's.
const MULTIPLES: [f64; 11] = [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.3, 1.7];

/// A table of features: one row per image, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    values: Vec<f64>,
    columns: usize,
}

impl Table {
    /// Takes `values` in row-major order, `columns` to a row, in f32 or f64.
    ///
    /// # Errors
    /// [`StatsError::OutOfRange`] for no columns, [`StatsError::Lengths`] for a last row that is not whole,
    /// [`StatsError::TooFew`] without rows, or [`StatsError::NotFinite`].
    pub fn new<T: Copy + Into<f64>>(values: &[T], columns: usize) -> Result<Self, StatsError> {
        if columns == 0 {
            return Err(StatsError::OutOfRange {
                name: "number of columns",
                value: 0.0,
                expected: "at least 1",
            });
        }
        if values.is_empty() {
            return Err(StatsError::TooFew {
                what: "rows of features",
                got: 0,
                needed: 1,
                remedy: "give the features of at least one image",
            });
        }
        if !values.len().is_multiple_of(columns) {
            return Err(StatsError::Lengths {
                what: "features in the last row",
                got: values.len() % columns,
                expected: columns,
                per: "column",
            });
        }
        let values: Vec<f64> = values.iter().map(|&v| v.into()).collect();
        check_finite("feature", &values)?;
        Ok(Self { values, columns })
    }

    /// Images.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    /// Features of one image.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns)
    }

    fn map(&self, columns: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        Self {
            values: self.iter().flat_map(f).collect(),
            columns,
        }
    }

    /// `most` rows at even distances, or all.
    fn spread(&self, most: usize) -> Self {
        let n = self.rows();
        let amount = n.min(most);
        let rows = (0..amount).flat_map(|i| {
            let from = i * n / amount * self.columns;
            self.values[from..from + self.columns].to_vec()
        });
        Self {
            values: rows.collect(),
            columns: self.columns,
        }
    }
}

/// How the width of the kernels is chosen. No rule looks at an image that is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bandwidth {
    /// Scott's rule (Scott, "Multivariate Density Estimation", 1992) for columns of variance 1: n^(-1 / (d + 4)) for n rows
    /// of d columns, each set by its own n. The paper's choice.
    #[default]
    Scott,
    /// Of the multiples 0.1 to 1.7 of Scott's, the one under which the generated rows are likeliest when each is left
    /// out in turn, its copies as well; for both sets.
    Likelihood,
}

/// Settings of [`density_ratio`]; the default is all columns and Scott's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DensityOptions {
    /// Leading principal components of the reference set to keep, each scaled to variance 1; `None` for the standardised
    /// columns themselves. Components without variance are left out.
    pub components: Option<usize>,
    /// The width of the kernels.
    pub bandwidth: Bandwidth,
}

/// Scores of the density-ratio attack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DensityRatio {
    /// ln p_G - ln p_R of each image in nats, higher for members.
    pub scores: Vec<f64>,
    /// Widths of the kernels of the generated and of the reference set, in standard deviations.
    pub bandwidths: [f64; 2],
    /// Dimensions in which densities were estimated: columns or components that vary.
    pub dimensions: usize,
}

/// ln p_G(x) - ln p_R(x) of each row of `images`, the densities estimated from `generated` and `reference`.
///
/// `images` must not be among the reference set: an image in it has a density there that others have not, and scores low.
/// Members in the reference set score low for the same reason.
///
/// # Errors
/// [`StatsError::Lengths`] for tables of different widths, [`StatsError::TooFew`] for fewer than two rows of either set, or
/// [`StatsError::OutOfRange`] for no components, more than the rows or columns give, or a reference set without variance.
pub fn density_ratio(
    generated: &Table,
    reference: &Table,
    images: &Table,
    options: DensityOptions,
) -> Result<DensityRatio, StatsError> {
    for table in [generated, images] {
        if table.columns != reference.columns {
            return Err(StatsError::Lengths {
                what: "features of an image",
                got: table.columns,
                expected: reference.columns,
                per: "feature of the reference set",
            });
        }
    }
    for (what, table) in [
        ("generated images", generated),
        ("reference images", reference),
    ] {
        if table.rows() < 2 {
            return Err(StatsError::TooFew {
                what,
                got: table.rows(),
                needed: 2,
                remedy: "a density takes many: some hundred at least",
            });
        }
    }
    let axes = Axes::new(reference, options.components)?;
    let [generated, reference, images] = [generated, reference, images].map(|t| axes.project(t));
    let scott = |t: &Table| (t.rows() as f64).powf(-1.0 / (t.columns as f64 + 4.0));
    let bandwidths = match options.bandwidth {
        Bandwidth::Scott => [scott(&generated), scott(&reference)],
        Bandwidth::Likelihood => {
            [likeliest(&generated.spread(LIKELIHOOD_ROWS), scott(&generated)); 2]
        }
    };
    let scores = images.iter().map(|x| {
        ln_density(x, &generated, bandwidths[0]) - ln_density(x, &reference, bandwidths[1])
    });
    Ok(DensityRatio {
        scores: scores.collect(),
        bandwidths,
        dimensions: axes.rows.len(),
    })
}

/// ln of the kernel estimate at `x`.
fn ln_density(x: &[f64], rows: &Table, h: f64) -> f64 {
    let terms: Vec<f64> = rows
        .iter()
        .map(|y| -squared(x, y) / (2.0 * h * h))
        .collect();
    ln_sum_exp(&terms) - (terms.len() as f64).ln() - ln_volume(rows.columns, h)
}

/// ln of what a kernel is divided by.
fn ln_volume(dimensions: usize, h: f64) -> f64 {
    dimensions as f64 * ((2.0 * PI).sqrt() * h).ln()
}

fn squared(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The bandwidth under which the rows are likeliest, each judged by the others that are no copies of it.
fn likeliest(rows: &Table, scott: f64) -> f64 {
    let mut totals = [0.0; MULTIPLES.len()];
    for x in rows.iter() {
        let distances: Vec<f64> = rows
            .iter()
            .map(|y| squared(x, y))
            .filter(|&d| d > 0.0)
            .collect();
        if distances.is_empty() {
            continue;
        }
        for (total, multiple) in totals.iter_mut().zip(MULTIPLES) {
            let h = multiple * scott;
            let terms: Vec<f64> = distances.iter().map(|d| -d / (2.0 * h * h)).collect();
            // The number of the others is the same for every h.
            *total += ln_sum_exp(&terms) - ln_volume(rows.columns, h);
        }
    }
    let best = MULTIPLES
        .iter()
        .zip(totals)
        .max_by(|a, b| a.1.total_cmp(&b.1));
    // Nothing but copies: Scott's rule.
    match best {
        Some((multiple, _)) if totals.iter().any(|t| *t != 0.0) => multiple * scott,
        _ => scott,
    }
}

/// The directions in which densities are estimated: projections of a row less the mean.
struct Axes {
    mean: Vec<f64>,
    /// Each scaled so that the reference set has variance 1 along it.
    rows: Vec<Direction>,
}

enum Direction {
    /// A column and what it is divided by.
    Column(usize, f64),
    /// A direction in all columns.
    Component(Vec<f64>),
}

impl Axes {
    fn new(reference: &Table, components: Option<usize>) -> Result<Self, StatsError> {
        let (n, d) = (reference.rows(), reference.columns);
        let mut mean = vec![0.0; d];
        for row in reference.iter() {
            mean.iter_mut()
                .zip(row)
                .for_each(|(m, v)| *m += v / n as f64);
        }
        let rows = match components {
            None => (0..d)
                .filter_map(|j| {
                    let squares: f64 = reference.iter().map(|row| (row[j] - mean[j]).powi(2)).sum();
                    let constant = reference.iter().all(|row| row[j] == reference.values[j]);
                    let deviation = (squares / (n - 1) as f64).sqrt();
                    (!constant && deviation > 0.0).then_some(Direction::Column(j, deviation))
                })
                .collect(),
            Some(kept) => principal(reference, &mean, kept)?,
        };
        if rows.is_empty() {
            return Err(StatsError::OutOfRange {
                name: "variance of the reference set",
                value: 0.0,
                expected: "positive: its rows must differ",
            });
        }
        Ok(Self { mean, rows })
    }

    fn project(&self, table: &Table) -> Table {
        table.map(self.rows.len(), |row| {
            let along = |direction: &Direction| match direction {
                Direction::Column(j, deviation) => (row[*j] - self.mean[*j]) / deviation,
                Direction::Component(weights) => {
                    let centred = row.iter().zip(&self.mean).map(|(v, m)| v - m);
                    centred.zip(weights).map(|(v, w)| v * w).sum()
                }
            };
            self.rows.iter().map(along).collect()
        })
    }
}

/// The `kept` leading principal components, from the covariance of the columns or, where there are fewer rows, from the
/// products of the rows, which has the same eigenvalues.
fn principal(reference: &Table, mean: &[f64], kept: usize) -> Result<Vec<Direction>, StatsError> {
    let d = reference.columns;
    let used = if d > PCA_ROWS {
        reference.spread(PCA_ROWS)
    } else {
        reference.clone()
    };
    let n = used.rows();
    if kept == 0 || kept > d.min(n - 1) {
        return Err(StatsError::OutOfRange {
            name: "number of components",
            value: kept as f64,
            expected: "at least 1, at most the columns and less than the reference rows (of which 512 are used when there \
                       are more columns than that)",
        });
    }
    // The rows at even distances have a mean of their own.
    let mean: Vec<f64> = if n == reference.rows() {
        mean.to_vec()
    } else {
        (0..d)
            .map(|j| used.iter().map(|row| row[j]).sum::<f64>() / n as f64)
            .collect()
    };
    let centred = used.map(d, |row| row.iter().zip(&mean).map(|(v, m)| v - m).collect());
    let scale = (n - 1) as f64;
    let by_columns = d <= n;
    let size = d.min(n);
    let mut products = vec![0.0; size * size];
    if by_columns {
        for row in centred.iter() {
            for i in 0..d {
                for j in 0..=i {
                    products[i * d + j] += row[i] * row[j] / scale;
                }
            }
        }
    } else {
        let rows: Vec<&[f64]> = centred.iter().collect();
        for i in 0..n {
            for j in 0..=i {
                let product: f64 = rows[i].iter().zip(rows[j]).map(|(a, b)| a * b).sum();
                products[i * n + j] = product / scale;
            }
        }
    }
    for i in 0..size {
        for j in 0..i {
            products[j * size + i] = products[i * size + j];
        }
    }
    let found = eigen(&products, size);
    let least = found.first().map_or(0.0, |f| f.0) * 1e-12;
    let directions = found
        .into_iter()
        .take(kept)
        .filter(|(value, _)| *value > least);
    Ok(directions
        .map(|(value, vector)| {
            let deviation = value.sqrt();
            if by_columns {
                return Direction::Component(vector.iter().map(|v| v / deviation).collect());
            }
            // Rows weighed by the eigenvector: a vector of length sqrt(value scale).
            let mut weights = vec![0.0; d];
            for (row, v) in centred.iter().zip(&vector) {
                let share = v / (value * scale.sqrt());
                weights
                    .iter_mut()
                    .zip(row)
                    .for_each(|(w, x)| *w += share * x);
            }
            Direction::Component(weights)
        })
        .collect())
}

#[cfg(test)]
mod tests;

//! Copies: how many generated images are more like a training image than images the model never saw are.
//!
//! With s(x, A) the likeness of x to the most similar image of A:
//!
//! ```text
//! threshold  t    the k-th highest s(h, members) over H held-out images h, k = floor(r (H + 1)), at least 1
//! copies          generated images g with s(g, members) > t
//! extracted       different members that are the most similar to some copy
//! ```
//!
//! **The yardstick.** How alike two unrelated images are depends on the kind of images: SSCD's customary threshold of 0.5 is
//! passed by most pairs of small drawings. So the threshold is what held-out images do. A held-out image that was drawn like
//! the members passes it with probability k / (H + 1) (`false_copy_rate`; r = [`FALSE_COPIES`] where H allows): t is an order
//! statistic and nothing is assumed about the distribution.
//!
//! **The control.** What a model draws is no real image: smooth or typical pictures are near to everything. So the same count
//! is made with the roles exchanged: members set the threshold, held-out images are what might have been copied, which they
//! cannot have been. Both counts use equally many members and held-out images. A text-to-image model is looked at for the
//! images of members' captions, which describe members: its control is for the images of held-out captions, which describe
//! held-out images, equally many. Copying is what the members have and the control lacks.
//!
//! **What it misses.** Parts of images; members that would be drawn in the next thousand images; copies that the likeness does
//! not see as such. Held-out images that are near-duplicates of members raise the threshold until nothing passes: group them
//! when splitting. The interval is over the choice of generated images, with both sets as they are. **Smallest useful n**: 99
//! held-out images for a rate of 1 %.

use dualmd_data::stream;
use dualmd_record::utility::{CopiesControl, CopiesFound};
use dualmd_stats::clopper_pearson;

use crate::error::{MetricsError, Result};
use crate::features::{Features, draw};
use crate::neighbours::each_distance;

/// Share of unseen images that may pass for copies.
pub const FALSE_COPIES: f64 = 0.01;

/// Pairs that are named.
const PAIRS: usize = 12;

/// Confidence of the intervals.
const CONFIDENCE: f64 = 0.95;

/// By what images are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// Cosine of the features: -1 to 1, higher is more alike.
    Cosine,
    /// Root mean square difference of the features, of pixels on [0, 1]: lower is more alike.
    Rmse,
}

impl Likeness {
    /// As files and people call it: `cosine` or `rmse`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Rmse => "rmse",
        }
    }

    /// Of two rows, as it is reported.
    fn of(self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        match self {
            Self::Cosine => {
                let sum = |f: fn((f64, f64)) -> f64| pairs().map(f).sum::<f64>();
                let norms = (sum(|(a, _)| a * a) * sum(|(_, b)| b * b)).sqrt();
                sum(|(a, b)| a * b) / norms.max(f64::MIN_POSITIVE)
            }
            Self::Rmse => {
                let squares: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
                (squares / a.len() as f64).sqrt()
            }
        }
    }

    /// Is `a` strictly more alike than `b`?
    fn closer(self, a: f64, b: f64) -> bool {
        match self {
            Self::Cosine => a > b,
            Self::Rmse => a < b,
        }
    }

    /// Most alike first.
    fn order(self, a: f64, b: f64) -> std::cmp::Ordering {
        match self {
            Self::Cosine => b.total_cmp(&a),
            Self::Rmse => a.total_cmp(&b),
        }
    }
}

/// The most similar image of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Its row.
    pub row: usize,
    /// How alike the two are.
    pub likeness: f64,
}

/// A generated image and the member most similar to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Row of the generated image.
    pub generated: usize,
    /// Row of the member.
    pub member: usize,
    /// How alike they are.
    pub likeness: f64,
}

/// What [`copies`] counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Copies {
    /// Name of the features.
    pub features: String,
    /// By what images are alike.
    pub likeness: Likeness,
    /// Generated images.
    pub n_generated: usize,
    /// Members.
    pub n_members: usize,
    /// Held-out images.
    pub n_heldout: usize,
    /// Share of unseen images that pass for copies at this threshold.
    pub false_copy_rate: f64,
    /// Copies of all members.
    pub found: CopiesFound,
    /// The same at equal numbers, and without anything to copy.
    pub control: CopiesControl,
    /// The generated images most similar to a member, most similar first.
    pub pairs: Vec<Pair>,
}

/// For each row of `queries` the most similar row of `pool`; of equally similar ones the first.
///
/// # Errors
/// [`MetricsError::Mismatch`].
pub fn most_similar(queries: &Features, pool: &Features, likeness: Likeness) -> Result<Vec<Match>> {
    queries.check_comparable(pool)?;
    // On rows of unit length the highest cosine is the least distance.
    let unit = [queries, pool].map(|f| match likeness {
        Likeness::Cosine => f.unit(),
        Likeness::Rmse => f.clone(),
    });
    let mut best = vec![(f64::INFINITY, 0); queries.count()];
    each_distance(&unit[0], &unit[1], |i, j, distance, _| {
        if distance < best[i].0 {
            best[i] = (distance, j);
        }
    });
    // The fast distance loses its last digits exactly on near copies.
    let matches = best.into_iter().enumerate().map(|(i, (_, row))| Match {
        row,
        likeness: likeness.of(queries.row(i), pool.row(row)),
    });
    Ok(matches.collect())
}

/// Counts copies among the generated images; `strangers`: what was generated for the held-out images' captions, where
/// `generated` was for the members'; `rate`: the share of unseen images that may pass for copies, in (0, 1); `seed`: which
/// images take part in the control where the sets differ in size.
///
/// # Errors
/// [`MetricsError::Mismatch`]; [`MetricsError::Share`] for a rate outside its range.
pub fn copies(
    generated: &Features,
    strangers: Option<&Features>,
    members: &Features,
    heldout: &Features,
    likeness: Likeness,
    rate: f64,
    seed: u64,
) -> Result<Copies> {
    if !(rate > 0.0 && rate < 1.0) {
        return Err(MetricsError::Share {
            name: "share of unseen images that may pass for copies",
            value: rate,
        });
    }
    generated.check_comparable(members)?;
    let to_members = most_similar(generated, members, likeness)?;
    let found = count(&to_members, members, heldout, likeness, rate)?;
    let n = members.count().min(heldout.count());
    let some = |side: &Features, purpose: &str| match side.count() {
        all if all == n => Ok(side.clone()),
        all => side.select(&draw(all, n, &mut stream(seed, purpose, 0))),
    };
    let (inside, outside) = (
        some(members, "copies/members")?,
        some(heldout, "copies/heldout")?,
    );
    let strangers = strangers.unwrap_or(generated);
    let drawn = generated.count().min(strangers.count());
    let some = |side: &Features, purpose: &str| match side.count() {
        all if all == drawn => Ok(side.clone()),
        all => side.select(&draw(all, drawn, &mut stream(seed, purpose, 0))),
    };
    let (for_members, for_others) = (
        some(generated, "copies/generated")?,
        some(strangers, "copies/strangers")?,
    );
    let counted = |queries: &Features, pool: &Features, yardstick: &Features| {
        let matches = most_similar(queries, pool, likeness)?;
        count(&matches, pool, yardstick, likeness, rate)
    };
    let control = CopiesControl {
        n,
        drawn: Some(drawn),
        false_copy_rate: false_copy_rate(n, rate),
        // At equal numbers all take part, and were counted.
        members: if members.count() == heldout.count() && drawn == generated.count() {
            found
        } else {
            counted(&for_members, &inside, &outside)?
        },
        heldout: counted(&for_others, &outside, &inside)?,
    };
    let mut pairs: Vec<Pair> = (to_members.iter().enumerate())
        .map(|(generated, found)| Pair {
            generated,
            member: found.row,
            likeness: found.likeness,
        })
        .collect();
    pairs.sort_by(|a, b| likeness.order(a.likeness, b.likeness));
    pairs.truncate(PAIRS);
    Ok(Copies {
        features: generated.extractor().to_owned(),
        likeness,
        n_generated: generated.count(),
        n_members: members.count(),
        n_heldout: heldout.count(),
        false_copy_rate: false_copy_rate(heldout.count(), rate),
        found,
        control,
        pairs,
    })
}

/// Mean likeness of each generated image to the image that its prompt describes. `own`: for each generated image the row of
/// that image.
///
/// # Errors
/// [`MetricsError::Mismatch`]; [`MetricsError::OutOfRange`] for another number of rows than generated images, or a row that is
/// not there.
pub fn to_own(
    generated: &Features,
    images: &Features,
    own: &[usize],
    likeness: Likeness,
) -> Result<f64> {
    generated.check_comparable(images)?;
    let refuse = |name, value, expected| {
        Err(MetricsError::OutOfRange {
            name,
            value,
            expected,
        })
    };
    if own.len() != generated.count() {
        return refuse(
            "rows of prompts' images",
            own.len(),
            "one a generated image",
        );
    }
    if let Some(&row) = own.iter().find(|&&row| row >= images.count()) {
        return refuse("row of a prompt's image", row, "below the number of images");
    }
    let rows = generated.rows().zip(own);
    let sum: f64 = rows.map(|(g, &row)| likeness.of(g, images.row(row))).sum();
    Ok(sum / own.len() as f64)
}

/// Which place among the unseen images, counted from the most alike, sets the threshold.
fn place(unseen: usize, rate: f64) -> usize {
    // 0.29 of 100 is 28.999... in binary.
    ((rate * (unseen + 1) as f64 + 1e-9).floor() as usize).clamp(1, unseen)
}

/// How often another image like the unseen ones passes.
fn false_copy_rate(unseen: usize, rate: f64) -> f64 {
    place(unseen, rate) as f64 / (unseen + 1) as f64
}

/// `matches`: of the generated images in `pool`; `yardstick`: images that cannot have been copied from.
fn count(
    matches: &[Match],
    pool: &Features,
    yardstick: &Features,
    likeness: Likeness,
    rate: f64,
) -> Result<CopiesFound> {
    let mut unseen = most_similar(yardstick, pool, likeness)?;
    unseen.sort_by(|a, b| likeness.order(a.likeness, b.likeness));
    let threshold = unseen[place(unseen.len(), rate) - 1].likeness;
    let mut rows: Vec<usize> = matches
        .iter()
        .filter(|m| likeness.closer(m.likeness, threshold))
        .map(|m| m.row)
        .collect();
    let copies = rows.len();
    rows.sort_unstable();
    rows.dedup();
    Ok(CopiesFound {
        copies,
        share_ci: clopper_pearson(copies as u64, matches.len() as u64, CONFIDENCE)?,
        distinct: rows.len(),
        threshold,
    })
}

#[cfg(test)]
mod tests;

//! Extraction: which training images can be got out of what a model generates.
//!
//! *Paper*: Carlini et al. 2023, "Extracting Training Data from Diffusion Models" (USENIX Security, arXiv 2301.13188).
//!
//! *Finding candidates* ([`cliques`]): a model draws a memorised image again and again from different noise, and draws nothing else
//! twice. Generated images that lie near many other generated ones are candidates. No training image is looked at. The paper connects
//! images of one prompt that are nearer than a fixed distance and looks for cliques of ten in 500. Here a candidate is the centre
//! of a star: at least so many other images lie within the distance of it. A clique is a star around each of its images; no two
//! candidates share an image.
//!
//! *Judging them* ([`reach`]): the ratio of the paper, with distances d to a set of real images,
//!
//! ```text
//! ratio(g, A) = d(g, nearest of A) / (alpha * mean of d(g, y) over the n nearest y of A),   alpha = 0.5, n = 50
//! ```
//!
//! Below 1 the nearest image is less than half as far as its neighbours are on average. A smooth image, which is near to everything,
//! has no small ratio. The paper measures distances as the root of a sum of squares; here they are roots of means of squares, which
//! leaves the ratio as it is.
//!
//! *Threat model*: black box for unconditional models, grey box where the captions of training images are known.
//!
//! *What it misses*: images that the model would draw after more attempts; parts of images; copies that are moved or recoloured, where
//! pixels are compared.

use crate::{AttackError, Result};
use dualmd_torch::{Device, Kind, Tensor};

/// Weight of the neighbours in the ratio (Carlini et al., section 5.1).
pub const ALPHA: f64 = 0.5;
/// Neighbours in the ratio (Carlini et al., section 5.1); all images of a smaller set.
pub const NEIGHBOURS: usize = 50;

/// Images compared with all others at once.
const CHUNK: i64 = 64;
/// Images whose neighbours are compared value by value at once: with 50 neighbours of 3,072 values 20 MB.
const QUERIES: i64 = 16;

/// A candidate: a generated image with others near it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clique {
    /// Row of the image in the middle.
    pub centre: usize,
    /// Other images within the distance that belong to no clique before it.
    pub neighbours: usize,
    /// Their mean distance to it.
    pub spread: f64,
}

/// A generated image and an image of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// Row of the image in the set: the nearest one, or the one that was asked for.
    pub index: usize,
    /// Root mean square difference per value, in the unit of the values.
    pub distance: f64,
    /// That distance against the neighbours' (see the module's page): below 1 for what looks like a copy.
    pub ratio: f64,
}

/// The candidates among `images` [N, D]: at least `least` others lie within `radius` (root mean square difference per value). Those
/// with most neighbours come first, of these the one with the nearest. No image belongs to two.
///
/// # Errors
/// Another rank; values that are not finite; what libtorch refuses.
pub fn cliques(images: &Tensor, radius: f64, least: usize) -> Result<Vec<Clique>> {
    let all = rows(images, "generated images")?;
    let n = all.size()[0];
    let (norms, limit) = (squares(&all)?, radius * radius);
    let mut counts: Vec<usize> = Vec::new();
    for start in (0..n).step_by(CHUNK as usize) {
        let part = all.f_narrow(0, start, CHUNK.min(n - start))?;
        let near = mean_squares(&part, &all, &norms)?.f_le(limit)?;
        let near = near.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Int64)?;
        // Each is near itself.
        let others = |count: i64| usize::try_from(count - 1).unwrap_or(0);
        counts.extend(Vec::<i64>::try_from(&near)?.into_iter().map(others));
    }
    let mut order: Vec<usize> = (0..counts.len()).filter(|&i| counts[i] >= least).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(counts[i]), i));
    let mut taken = vec![false; counts.len()];
    let mut found = Vec::new();
    for centre in order {
        if taken[centre] {
            continue;
        }
        let own = all.f_narrow(0, centre as i64, 1)?;
        let apart = Vec::<f64>::try_from(&mean_squares(&own, &all, &norms)?.f_flatten(0, -1)?)?;
        let near: Vec<usize> = (0..apart.len())
            .filter(|&i| i != centre && !taken[i] && apart[i] <= limit)
            .collect();
        if near.len() < least {
            continue;
        }
        let spread = near.iter().map(|&i| apart[i].sqrt()).sum::<f64>() / near.len().max(1) as f64;
        taken[centre] = true;
        near.iter().for_each(|&i| taken[i] = true);
        found.push(Clique {
            centre,
            neighbours: near.len(),
            spread,
        });
    }
    found.sort_by(|a, b| {
        let most = b.neighbours.cmp(&a.neighbours);
        let nearest = || a.spread.total_cmp(&b.spread);
        most.then_with(nearest).then(a.centre.cmp(&b.centre))
    });
    Ok(found)
}

/// The distance within which a share of about `rate` of `images` [N, D] have another one: the k-th smallest distance of an image to
/// the nearest of the others, k = floor(rate (N + 1)), at least 1. Images that no model saw say by it what near means.
///
/// # Errors
/// Fewer than two images; as [`cliques`].
pub fn spacing(images: &Tensor, rate: f64) -> Result<f64> {
    let all = rows(images, "real images")?;
    let n = all.size()[0];
    if n < 2 {
        return Err(AttackError::Samples(format!(
            "extraction: {n} images have no distances between them: at least 2 are needed"
        )));
    }
    let norms = squares(&all)?;
    let mut nearest: Vec<f64> = Vec::new();
    for start in (0..n).step_by(CHUNK as usize) {
        let part = all.f_narrow(0, start, CHUNK.min(n - start))?;
        // The nearest is the image itself.
        let (two, _) = mean_squares(&part, &all, &norms)?.f_topk(2, 1, false, true)?;
        let second = two.f_select(1, 1)?.f_sqrt()?;
        nearest.extend(Vec::<f64>::try_from(&second)?);
    }
    nearest.sort_by(f64::total_cmp);
    // 0.29 of 100 is 28.999... in binary.
    let place = (rate * (nearest.len() + 1) as f64 + 1e-9).floor() as usize;
    Ok(nearest[place.clamp(1, nearest.len()) - 1])
}

/// How near each of `queries` [N, D] lies to the set `pool` [M, D]: to its nearest image, of equally near ones the first; or to the
/// image whose row `own` names for each.
///
/// # Errors
/// Fewer than two images in the set; rows of different lengths, or that are not there; as [`cliques`].
pub fn reach(queries: &Tensor, pool: &Tensor, own: Option<&[usize]>) -> Result<Vec<Reach>> {
    let (queries, pool) = (
        rows(queries, "generated images")?,
        rows(pool, "real images")?,
    );
    let (n, m) = (queries.size()[0], pool.size()[0]);
    if queries.size()[1] != pool.size()[1] || m < 2 {
        return Err(AttackError::Samples(format!(
            "extraction: generated images of {} values against {m} real images of {}: the sizes must agree, and at least 2 real images \
             are needed",
            queries.size()[1],
            pool.size()[1]
        )));
    }
    if let Some(own) = own
        && (own.len() as i64 != n || own.iter().any(|&row| row as i64 >= m))
    {
        return Err(AttackError::Samples(format!(
            "extraction: {} rows of real images for {n} generated ones, of {m}: give one that is there for each",
            own.len()
        )));
    }
    let (norms, near) = (squares(&pool)?, (NEIGHBOURS as i64).min(m));
    let mut found = Vec::new();
    for start in (0..n).step_by(QUERIES as usize) {
        let length = QUERIES.min(n - start);
        let part = queries.f_narrow(0, start, length)?;
        let (_, index) = mean_squares(&part, &pool, &norms)?.f_topk(near, 1, false, false)?;
        let neighbours = exact(&part, &pool, &index)?;
        let rows = start as usize..(start + length) as usize;
        let asked = match own {
            Some(own) => {
                let own: Vec<i64> = own[rows].iter().map(|&row| row as i64).collect();
                let index = Tensor::from_slice(&own).f_view([length, 1])?;
                let distances = flat(&exact(&part, &pool, &index)?)?;
                Some((own, distances))
            }
            None => None,
        };
        let index = Vec::<i64>::try_from(&index.f_flatten(0, -1)?)?;
        let neighbours = flat(&neighbours)?;
        let sets = index
            .chunks(near as usize)
            .zip(neighbours.chunks(near as usize));
        for (row, (index, distances)) in sets.enumerate() {
            let mut sorted = distances.to_vec();
            sorted.sort_by(f64::total_cmp);
            let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
            let target = match &asked {
                Some((own, distances)) => Some((own[row], distances[row])),
                None => index
                    .iter()
                    .copied()
                    .zip(distances.iter().copied())
                    .min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))),
            };
            found.extend(target.map(|(index, distance)| Reach {
                index: usize::try_from(index).unwrap_or(0),
                distance,
                ratio: ratio(distance, mean),
            }));
        }
    }
    Ok(found)
}

/// A distance against the mean of the neighbours'. Where all neighbours are the same image, which is this one, none is nearer than the
/// others.
fn ratio(distance: f64, mean: f64) -> f64 {
    if mean > 0.0 {
        distance / (ALPHA * mean)
    } else {
        1.0 / ALPHA
    }
}

/// Root mean square differences of each of `part` [P, D] to the rows `index` [P, K] of `pool`, value by value: [P, K]. The fast form
/// loses its last digits on near copies.
fn exact(part: &Tensor, pool: &Tensor, index: &Tensor) -> Result<Tensor> {
    let (p, k) = index.size2()?;
    let chosen =
        pool.f_index_select(0, &index.f_flatten(0, -1)?)?
            .f_view([p, k, pool.size()[1]])?;
    let difference = chosen.f_sub(&part.f_unsqueeze(1)?)?;
    Ok(difference
        .f_mul(&difference)?
        .f_mean_dim([2i64].as_slice(), false, Kind::Double)?
        .f_sqrt()?)
}

/// Mean squared differences of each of `part` [P, D] to all rows [M, D] with their sums of squares: [P, M].
fn mean_squares(part: &Tensor, all: &Tensor, norms: &Tensor) -> Result<Tensor> {
    let own = squares(part)?.f_unsqueeze(1)?;
    let products = part.f_matmul(&all.f_tr()?)?.f_mul_scalar(2.0)?;
    let squared = own.f_add(&norms.f_unsqueeze(0)?)?.f_sub(&products)?;
    let values = all.size()[1] as f64;
    Ok(squared.f_clamp_min(0.0)?.f_div_scalar(values)?)
}

/// Sums of squares of rows, \[N\].
fn squares(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_mul(x)?
        .f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?)
}

fn flat(x: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::<f64>::try_from(&x.f_flatten(0, -1)?)?)
}

/// Rows of f64 on the CPU, [N, D].
fn rows(x: &Tensor, what: &str) -> Result<Tensor> {
    if x.dim() != 2 || x.size()[1] == 0 {
        return Err(AttackError::Samples(format!(
            "extraction, {what}: shape {:?}, expected [N, D]",
            x.size()
        )));
    }
    let rows = x.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    if bool::try_from(rows.f_isfinite()?.f_all()?)? {
        return Ok(rows);
    }
    Err(AttackError::Samples(format!(
        "extraction, {what}: some values are not finite; check the generated images, or the network that makes the features"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a line.
    fn points(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).view([-1, 1])
    }

    #[test]
    fn stars_by_hand() {
        // Four around 0.1, three around 5, a pair and one alone. 0.1 has the three others within 0.15, 0 has two.
        let images = points(&[0.0, 0.1, 0.2, 0.06, 5.0, 5.1, 5.2, 9.0, 9.1, 20.0]);
        let found = cliques(&images, 0.15, 2).unwrap();
        let stars: Vec<_> = found.iter().map(|c| (c.centre, c.neighbours)).collect();
        assert_eq!(stars, [(1, 3), (5, 2)]);
        assert!((found[0].spread - (0.1 + 0.1 + 0.04) / 3.0).abs() < 1e-6);
        // A pair is enough where one neighbour is; nobody belongs to two.
        let pairs = cliques(&images, 0.15, 1).unwrap();
        assert_eq!(pairs.iter().map(|c| c.neighbours).sum::<usize>(), 6);
        assert_eq!(pairs.len(), 3);
        assert!(cliques(&images, 0.15, 4).unwrap().is_empty());
    }

    /// More images than one chunk: 70 that are the same, after 70 that are alone.
    #[test]
    fn chunks_are_joined() {
        let alone: Vec<f64> = (0..70).map(|i| 10.0 + f64::from(i)).collect();
        let images = points(&[&alone[..], &[0.0; 70]].concat());
        let found = cliques(&images, 0.5, 3).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].centre, found[0].neighbours), (70, 69));
    }

    #[test]
    fn spacings_by_hand() {
        // Distances to the nearest other: 1, 1, 3, 6.
        let images = points(&[0.0, 1.0, 4.0, 10.0]);
        for (rate, expected) in [(0.01, 1.0), (0.4, 1.0), (0.6, 3.0), (0.99, 6.0)] {
            let found = spacing(&images, rate).unwrap();
            assert!((found - expected).abs() < 1e-6, "{rate}: {found}");
        }
        assert!(spacing(&points(&[1.0]), 0.01).is_err());
    }

    #[test]
    fn ratios_by_hand() {
        let pool = points(&[0.0, 4.0, 10.0]);
        let found = reach(&points(&[1.0, 4.0]), &pool, None).unwrap();
        // Distances 1, 3, 9: 1 / (0.5 * 13 / 3). A copy has the ratio 0.
        assert_eq!((found[0].index, found[0].distance), (0, 1.0));
        assert!((found[0].ratio - 6.0 / 13.0).abs() < 1e-12);
        assert_eq!((found[1].index, found[1].ratio), (1, 0.0));
        // The same against an image that is not the nearest.
        let own = reach(&points(&[1.0, 4.0]), &pool, Some(&[1, 0])).unwrap();
        assert_eq!((own[0].index, own[0].distance), (1, 3.0));
        assert!((own[0].ratio - 18.0 / 13.0).abs() < 1e-12);
        // Of 60 images the 50 nearest count: 1 to 50, mean 25.5.
        let many: Vec<f64> = (1..=60).map(f64::from).collect();
        let found = reach(&points(&[0.0]), &points(&many), None).unwrap();
        assert!((found[0].ratio - 1.0 / (0.5 * 25.5)).abs() < 1e-12);
        // Twenty queries are more than one chunk.
        let queries: Vec<f64> = (0..20).map(|i| f64::from(i) + 1.25).collect();
        let found = reach(&points(&queries), &points(&many), None).unwrap();
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(i, r)| r.index == i && r.distance == 0.25)
        );
        // One image over and over is no copy of itself more than of the others.
        let same = reach(&points(&[3.0]), &points(&[3.0, 3.0]), None).unwrap();
        assert_eq!((same[0].index, same[0].ratio), (0, 2.0));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let (one, two) = (points(&[0.0]), points(&[0.0, 1.0]));
        let said = |r: Result<Vec<Reach>>| r.unwrap_err().to_string();
        assert!(said(reach(&two, &one, None)).contains("at least 2 real images"));
        assert!(said(reach(&two, &two.view([1, 2]), None)).contains("sizes must agree"));
        assert!(said(reach(&two, &two, Some(&[0]))).contains("1 rows of real images for 2"));
        assert!(said(reach(&two, &two, Some(&[0, 2]))).contains("one that is there"));
        assert!(said(reach(&points(&[f64::NAN]), &two, None)).contains("not finite"));
        assert!(cliques(&two.view([2, 1, 1]), 1.0, 1).is_err());
    }
}

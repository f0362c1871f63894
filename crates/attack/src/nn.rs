//! Nearest generated image: a model that reproduces its training images gives them away in what it draws.
//!
//! *Paper*: Chen et al. 2020, "GAN-Leaks" (CCS, arXiv 1909.03935), the full black-box attack, as Matsumoto et al. 2023
//! (arXiv 2302.03262) use it on diffusion models: the distance in pixels to the nearest of many generated images.
//!
//! *Equation*: score = -min_j rmse(x, g_j) over the generated images g_j; as `nn-features` -min_j rms(f(x) - f(g_j)) with features f
//! of a network that knows nothing of the model (GAN-Leaks adds such a distance, LPIPS, to that of pixels).
//!
//! *Threat model*: sees images the model generated and nothing else; the only attack here that makes sense against
//! DualMD, whose two models are never handed out.
//!
//! *Queries per sample*: none beyond the generated images, which all samples share.
//!
//! *What the score means*: minus the root mean square difference per pixel value to the most similar generated image,
//! on the scale where black is 0 and white is 1; or per feature, in the features' own units.
//!
//! *What it misses*: nearly everything but verbatim reproduction; smooth, dark or empty images are near to something
//! whether member or not, and a few hundred generated images are a small part of what the model can draw. A low
//! result says little, a high one a lot. Features see a copy that is shifted or blurred, and take for near what merely shows
//! the same thing.

use crate::{Access, AttackError, AttackInfo, Result};
use dualmd_names::{AttackSpec, BaseAttack, BlackBox};
use dualmd_record::AttackParameters;
use dualmd_torch::{Kind, Tensor};

/// Queries compared at once: bounds memory at QUERIES times the size of the pool.
const QUERIES: i64 = 64;
/// Candidates that the fast distance hands to the exact one. |a|^2 + |b|^2 - 2ab loses the last digits exactly where
/// it matters, on near copies; even in f64 (f32 picks wrong images outright) equals come out in any order.
const CANDIDATES: i64 = 8;

/// The most similar image of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Its index in the pool.
    pub index: usize,
    /// Root mean square difference per pixel value, on [0, 1].
    pub distance: f64,
}

impl Nearest {
    /// The membership score of the query: higher = more likely a member.
    #[must_use]
    pub fn score(&self) -> f64 {
        -self.distance
    }
}

/// What the attack is, for reports and score files. `encoder`: what the features are of, where it compares features.
#[must_use]
pub fn info(attack: BlackBox, generated: usize, encoder: &str) -> AttackInfo {
    let nearest = AttackInfo {
        name: BaseAttack::Nearest.name().into(),
        title: "Nearest generated image".into(),
        paper: "Chen et al. 2020, arXiv 1909.03935; Matsumoto et al. 2023, arXiv 2302.03262",
        access: Access::BlackBox,
        formula: "-min_j rmse(x, g_j) over the generated images g_j".into(),
        network_calls_per_sample: 0,
        parameters: AttackParameters {
            generated: Some(generated),
            ..AttackParameters::default()
        },
        misses: "finds only images that are reproduced almost pixel by pixel among the images that were generated",
    };
    match attack {
        BlackBox::Nearest => nearest,
        BlackBox::Features => AttackInfo {
            name: BaseAttack::NearestFeatures.name().into(),
            title: "Nearest generated image, by features".into(),
            formula: "-min_j rms(f(x) - f(g_j)) over the generated images g_j, f the features of a network that knows nothing of the model".into(),
            parameters: AttackParameters {
                generated: Some(generated),
                encoder: Some(encoder.to_owned()),
                ..AttackParameters::default()
            },
            misses: "takes images of the same thing for near whether trained on or not; sees only what is among the images that were generated",
            ..nearest
        },
        BlackBox::Density => crate::density::info(generated, encoder),
        BlackBox::Rounds(rounds) => AttackInfo {
            name: AttackSpec::in_rounds(rounds).to_string(),
            title: format!("Nearest image of {rounds} rounds with one model first"),
            paper: "DualMD, appendix A.5; Matsumoto et al. 2023, arXiv 2302.03262",
            access: Access::GreyBox,
            parameters: AttackParameters {
                generated: Some(generated),
                rounds: Some(rounds),
                ..AttackParameters::default()
            },
            ..nearest
        },
    }
}

/// Scores of the samples by their features, [N, D], against the features of what was generated, [M, D]: minus the root mean
/// square difference to the nearest row.
///
/// # Errors
/// As [`nearest`].
pub fn feature_scores(queries: &Tensor, pool: &Tensor) -> Result<Vec<f64>> {
    // Images span twice the range that `nearest` states distances on; features have no range.
    let found = nearest(queries, pool)?;
    Ok(found.iter().map(|n| -2.0 * n.distance).collect())
}

/// For each of `queries` [N, ...] the nearest of `pool` [M, ...], both in [-1, 1] with the same number of values per
/// image. As an attack: queries are the samples, the pool is what the model generated. The other way round it finds
/// the training image that a generated one resembles most. Equal distances go to the first image of the pool.
///
/// # Errors
/// An empty pool, images of different sizes, or values that are not finite.
pub fn nearest(queries: &Tensor, pool: &Tensor) -> Result<Vec<Nearest>> {
    // The same number of values is not enough: 128 x 96 is not 96 x 128.
    if queries.dim() > 0 && pool.dim() > 0 && queries.size()[1..] != pool.size()[1..] {
        return Err(AttackError::Samples(format!(
            "nearest image: queries of shape {:?} against images of shape {:?}: the sizes must agree",
            &queries.size()[1..],
            &pool.size()[1..]
        )));
    }
    let (queries, pool) = (rows(queries, "queries")?, rows(pool, "pool")?);
    let (n, m, d) = (queries.size()[0], pool.size()[0], pool.size()[1]);
    if n == 0 {
        return Ok(Vec::new());
    }
    if m == 0 {
        return Err(AttackError::Samples(format!(
            "nearest image: {n} queries of {d} values against no images: the pool must not be empty"
        )));
    }
    let norms = (&pool * &pool).f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?;
    let candidates = CANDIDATES.min(m);
    let mut found = Vec::with_capacity(usize::try_from(n).unwrap_or(0));
    for start in (0..n).step_by(QUERIES as usize) {
        let length = QUERIES.min(n - start);
        let chunk = queries.f_narrow(0, start, length)?;
        // |q|^2 is the same for all candidates of a query.
        let squared = norms.f_unsqueeze(0)? - chunk.f_matmul(&pool.f_tr()?)? * 2.0;
        let (_, index) = squared.f_topk(candidates, 1, false, false)?;
        let best = pool
            .f_index_select(0, &index.f_flatten(0, -1)?)?
            .f_view([length, candidates, d])?;
        let difference = best - chunk.f_unsqueeze(1)?;
        let mean_square =
            (&difference * &difference).f_mean_dim([2i64].as_slice(), false, Kind::Double)?;
        let index = Vec::<i64>::try_from(&index.f_flatten(0, -1)?)?;
        let mean_square = Vec::<f64>::try_from(&mean_square.f_flatten(0, -1)?)?;
        let per_query = candidates as usize;
        for (indices, squares) in index.chunks(per_query).zip(mean_square.chunks(per_query)) {
            let nearest = squares
                .iter()
                .zip(indices)
                .min_by(|a, b| a.0.total_cmp(b.0).then(a.1.cmp(b.1)));
            // [-1, 1] is twice as wide as [0, 1].
            found.extend(nearest.map(|(square, &index)| Nearest {
                index: usize::try_from(index).unwrap_or(0),
                distance: square.sqrt() / 2.0,
            }));
        }
    }
    match found.iter().position(|f| !f.distance.is_finite()) {
        Some(bad) => Err(AttackError::Samples(format!(
            "nearest image: query {bad} or the pool holds NaN or infinity; check the generated images"
        ))),
        None => Ok(found),
    }
}

/// Images as rows of f64, [N, D].
fn rows(images: &Tensor, what: &str) -> Result<Tensor> {
    if images.dim() < 2 {
        return Err(AttackError::Samples(format!(
            "nearest image, {what}: shape {:?}, expected [N, C, H, W] or [N, D]",
            images.size()
        )));
    }
    Ok(images.f_flatten(1, -1)?.f_to_kind(Kind::Double)?)
}

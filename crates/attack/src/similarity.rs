//! Similarity: what a caption generates looks like the image it was trained with.
//!
//! *Paper*: Pang and Wang 2025, "Black-box Membership Inference Attacks against Fine-tuned Diffusion Models" (NDSS, arXiv
//! 2312.08207); feature and forms as in its public code.
//!
//! *Equation*: f(x)_jc is component c of token j of an image encoder (DeiT in the paper: 578 tokens of 768 components).
//! The public code takes the cosine *over tokens*, one number for each component c: s_c = mean_r cos(f(x)_.c, f(g_r)_.c)
//! over the images g_1, g_2, g_3 that the sample's caption generates.
//!
//! * `sim-mean`: mean_r of the cosine of all of f(x) and f(g_r), each as one vector. Nothing to learn.
//! * `pw-threshold`: max_c of s_c, standardised with mean and deviation of the known samples.
//! * `pw-distribution`: log N(s; members) - log N(s; non-members) of the standardised s, with mean and full covariance (+
//!   1e-5 I) of the known samples of either side.
//! * `pw-classifier`: a perceptron on the standardised s, learnt from the known samples (`classifier`).
//!
//! *Threat model*: black box. Knows the caption, generates images with it, sees nothing but them. The `pw` forms also know
//! for a part of the images whether they were trained on; or, as in the paper, they are learnt on a shadow model
//! (`pw-classifier+shadow`, [`crate::shadow`]).
//!
//! *Queries per sample*: three generations.
//!
//! *What it misses*: a model trained with several captions per image, asked with one it did not see; images that many
//! captions lead to.

mod classifier;

use crate::{Access, AttackError, AttackInfo, Result};
use dualmd_record::AttackParameters;
use dualmd_torch::{Kind, Tensor};

/// torch's least product of norms in a cosine.
const EPSILON: f64 = 1e-8;
/// The public code's addition to the diagonal of a covariance.
const RIDGE: f64 = 1e-5;

pub use dualmd_names::Similarity;

/// What the attack is, for reports and score files. `generations`: images for each caption, 3 in the paper;
/// `encoder`: what the features are of.
#[must_use]
pub fn info(form: Similarity, generations: usize, encoder: &str) -> AttackInfo {
    let (title, formula) = match form {
        Similarity::Mean => (
            "Similarity of generated images",
            "mean_r cos(f(x), f(g_r)) over images g_r of the sample's caption",
        ),
        Similarity::Threshold => (
            "Pang & Wang, threshold",
            "max_c z_c, z standardised by the known samples, of s_c = mean_r cos over tokens (f(x)_.c, f(g_r)_.c)",
        ),
        Similarity::Distribution => (
            "Pang & Wang, distribution",
            "log N(z; members) - log N(z; non-members), z_c as in pw-threshold, Gaussians of the known samples",
        ),
        Similarity::Classifier => (
            "Pang & Wang, classifier",
            "log-odds of a perceptron on z, as in pw-threshold, learnt from the known samples",
        ),
    };
    AttackInfo {
        name: form.name().into(),
        title: title.into(),
        paper: "Pang and Wang 2025, arXiv 2312.08207",
        access: Access::BlackBox,
        formula: formula.into(),
        network_calls_per_sample: 0,
        parameters: AttackParameters {
            generations: Some(generations),
            encoder: Some(encoder.to_owned()),
            ..AttackParameters::default()
        },
        misses: "images trained with other captions than the one that is asked with; captions that describe well make images alike \
                 whether trained on or not",
    }
}

/// Scores without anything to learn: the mean over the generations of the cosine of all features. `query`: [N, tokens,
/// channels]; `generated`: [N, R, tokens, channels], R at least 1. For the cosine of one token (the class token) pass
/// that token only.
///
/// # Errors
/// Shapes that do not fit, features that are not finite.
pub fn sim_mean(query: &Tensor, generated: &Tensor) -> Result<Vec<f64>> {
    let (query, generated) = check(query, generated)?;
    let cosine = cosines(
        &query.f_flatten(1, 2)?.f_unsqueeze(1)?,
        &generated.f_flatten(2, 3)?,
        2,
    )?;
    Ok(Vec::try_from(cosine.f_mean_dim(
        [1i64].as_slice(),
        false,
        Kind::Double,
    )?)?)
}

/// The public code's feature: for each channel the cosine over tokens, averaged over the generations; [N, channels] f64.
/// `query`: [N, tokens, channels]; `generated`: [N, R, tokens, channels], R at least 1.
///
/// # Errors
/// As [`sim_mean`].
pub fn channel_similarities(query: &Tensor, generated: &Tensor) -> Result<Tensor> {
    let (query, generated) = check(query, generated)?;
    let cosine = cosines(&query.f_unsqueeze(1)?, &generated, 2)?;
    Ok(cosine.f_mean_dim([1i64].as_slice(), false, Kind::Double)?)
}

/// Scores of the samples of whom `judged` are the features, [N, channels] from [`channel_similarities`], learnt from `taught`
/// [M, channels]; `member`: the truth about each of the M. These are known samples of the same model, or those of a shadow
/// model. `seed`: of the classifier.
///
/// # Errors
/// [`Similarity::Mean`], which is [`sim_mean`]; shapes that do not fit; fewer than two of either side to learn from.
pub fn learnt(
    form: Similarity,
    (taught, member): (&Tensor, &[bool]),
    judged: &Tensor,
    seed: u64,
) -> Result<Vec<f64>> {
    let ((m, channels), wide) = (taught.size2()?, judged.size2()?.1);
    if m != member.len() as i64 || wide != channels {
        return Err(AttackError::Samples(format!(
            "{}: features {:?} of {} known samples, and {:?} of those to judge",
            form.name(),
            taught.size(),
            member.len(),
            judged.size()
        )));
    }
    let members = member.iter().filter(|m| **m).count();
    if members < 2 || member.len() - members < 2 {
        return Err(AttackError::Samples(format!(
            "{}: it learns from {members} members and {} non-members: it needs at least two of either",
            form.name(),
            member.len() - members
        )));
    }
    let seen = taught.f_to_kind(Kind::Double)?;
    // Mean and deviation of what it learns from alone, both sides together.
    let mean = seen.f_mean_dim([0i64].as_slice(), true, Kind::Double)?;
    let deviation = seen.f_std_dim([0i64].as_slice(), false, true)?;
    // A channel that never varies tells nothing and is not to be divided by its deviation.
    let deviation = deviation.f_where_scalarother(&deviation.f_gt(0.0)?, 1.0)?;
    let standard = |x: &Tensor| (x - &mean) / &deviation;
    let (seen, judged) = (standard(&seen), standard(&judged.f_to_kind(Kind::Double)?));
    match form {
        Similarity::Mean => Err(AttackError::Samples(
            "sim-mean has nothing to learn: ask sim_mean for the scores of all samples".into(),
        )),
        Similarity::Threshold => {
            let best = judged.f_amax([1i64].as_slice(), false)?;
            Ok(Vec::try_from(best)?)
        }
        Similarity::Distribution => {
            let density = |side: bool| -> Result<Tensor> {
                let of: Vec<i64> = (0..)
                    .zip(member)
                    .filter(|(_, member)| **member == side)
                    .map(|(row, _)| row)
                    .collect();
                let of = Tensor::from_slice(&of).f_to_device(seen.device())?;
                log_density(&seen.f_index_select(0, &of)?, &judged, channels)
            };
            Ok(Vec::try_from(density(true)? - density(false)?)?)
        }
        Similarity::Classifier => {
            let recipe = classifier::Recipe::default();
            classifier::scores(recipe, &seen, member, &judged, seed)
        }
    }
}

/// log N(x; mean, covariance + 1e-5 I) of the rows of `x`, up to the constant that both sides share.
fn log_density(learnt_from: &Tensor, x: &Tensor, channels: i64) -> Result<Tensor> {
    let mean = learnt_from.f_mean_dim([0i64].as_slice(), true, Kind::Double)?;
    let centred = learnt_from - &mean;
    let covariance = centred.f_tr()?.f_matmul(&centred)? / (learnt_from.size()[0] - 1) as f64
        + Tensor::f_eye(channels, (Kind::Double, x.device()))? * RIDGE;
    let factor = covariance.f_linalg_cholesky(false)?;
    // |L^-1 (x - mean)|^2, and ln det = 2 sum ln L_ii.
    let white = factor.f_linalg_solve_triangular(&(x - mean).f_tr()?, false, true, false)?;
    let distance = white
        .f_square()?
        .f_sum_dim_intlist([0i64].as_slice(), false, Kind::Double)?;
    let ln_det = factor.f_diagonal(0, 0, 1)?.f_log()?.f_sum(Kind::Double)? * 2.0;
    Ok((distance + ln_det) * -0.5)
}

/// Cosines along dimension `dim` of tensors that broadcast.
pub(crate) fn cosines(a: &Tensor, b: &Tensor, dim: i64) -> Result<Tensor> {
    let sum = |x: Tensor| x.f_sum_dim_intlist([dim].as_slice(), false, Kind::Double);
    let norms = (sum(a.f_square()?)? * sum(b.f_square()?)?).f_sqrt()?;
    Ok(sum(a * b)? / norms.f_clamp_min(EPSILON)?)
}

/// Both in f64.
fn check(query: &Tensor, generated: &Tensor) -> Result<(Tensor, Tensor)> {
    let (q, g) = (query.size(), generated.size());
    if q.len() != 3 || g.len() != 4 || g[1] < 1 || [g[0], g[2], g[3]] != q[..] || q.contains(&0) {
        return Err(AttackError::Samples(format!(
            "features of {q:?} and of generated images {g:?}: expected [N, tokens, channels] and [N, R, tokens, channels]"
        )));
    }
    for (what, features) in [("the samples", query), ("the generated images", generated)] {
        if features.f_isfinite()?.f_all()?.int64_value(&[]) != 1 {
            return Err(AttackError::Samples(format!(
                "features of {what} hold NaN or infinity: check the encoder and the images"
            )));
        }
    }
    Ok((
        query.f_to_kind(Kind::Double)?,
        generated.f_to_kind(Kind::Double)?,
    ))
}

//! Density ratio: is an image likelier among what the model generates than among images in general?
//!
//! *Paper*: van Breugel, Sun, Qian & van der Schaar 2023, "Membership Inference Attacks against Synthetic Data through
//! Overfitting Detection" (AISTATS, arXiv 2302.12580), DOMIAS. There for tables, with kernels or flows as densities; here for images,
//! with kernels over principal components of features, their width by Scott's rule as in the paper.
//!
//! *Equation*: score = ln p_G(x) - ln p_R(x), each p a mean of normal kernels: p_G over the generated images, p_R over images of the same
//! kind that the model has not seen. Formulas: [`dualmd_stats::density`].
//!
//! *Threat model*: as [`crate::nn`], sees images the model generated and nothing else; and has images of the same kind of which it is
//! known that the model was not trained on them.
//!
//! *Queries per sample*: none beyond the generated images, which all samples share.
//!
//! *What the score means*: how much likelier the image is under the model than in general, in nats.
//!
//! *What it misses*: as `nn`, what is not among the images that were generated. With few reference images p_R is rough, and the score
//! close to a difference of distances to the nearest image of either set.
//!
//! An ordinary image lies near to many generated ones without being a member. `nn` scores it high, the ratio does not. Where copies are
//! nearly exact `nn` is the stronger of the two: kernels smooth them away (`crates/attack/tests/density.rs` has both cases).

use crate::{AttackError, AttackInfo, Result, nn};
use dualmd_names::{BaseAttack, BlackBox};
use dualmd_record::AttackParameters;
use dualmd_stats::{Bandwidth, DensityOptions, Table, density_ratio};
use dualmd_torch::{Device, Kind, Tensor};

/// Principal components of the reference images in which densities are estimated, where there are as many. The paper's tables have
/// about as many columns. Fixed before anything was measured.
pub const COMPONENTS: usize = 16;

/// Fewest reference images: fewer have no density.
pub const REFERENCES: usize = 8;

/// What the attack is, for reports and score files. `encoder`: what the features are of.
#[must_use]
pub fn info(generated: usize, encoder: &str) -> AttackInfo {
    AttackInfo {
        name: BaseAttack::Density.name().into(),
        title: "Density ratio of generated images".into(),
        paper: "after van Breugel et al. 2023, arXiv 2302.12580",
        formula: "ln p_G(x) - ln p_R(x), kernel densities of the generated images and of known non-members, in the leading principal components of their features"
            .into(),
        parameters: AttackParameters {
            generated: Some(generated),
            encoder: Some(encoder.to_owned()),
            components: Some(COMPONENTS),
            bandwidth: Some("scott".into()),
            ..AttackParameters::default()
        },
        misses: "finds only images near to what was generated; with few known non-members it is close to a difference of two nearest distances",
        ..nn::info(BlackBox::Nearest, generated, encoder)
    }
}

/// Scores of the samples by their features, [N, D], against those of what was generated, [M, D], and of reference images, [R, D], that
/// the model has not seen and that are no samples.
///
/// # Errors
/// Fewer than [`REFERENCES`] reference images, features of different widths or that are not finite, and what
/// [`density_ratio`] refuses.
pub fn scores(queries: &Tensor, generated: &Tensor, reference: &Tensor) -> Result<Vec<f64>> {
    if queries.dim() > 0 && queries.size()[0] == 0 {
        return Ok(Vec::new());
    }
    let (queries, generated) = (
        table(queries, "samples")?,
        table(generated, "generated images")?,
    );
    let reference = table(reference, "reference images")?;
    if reference.rows() < REFERENCES {
        return Err(AttackError::Samples(format!(
            "density ratio: {} images that the model has not seen to compare with: at least {REFERENCES} are needed; let more be \
             known (--known-fraction, audit.known_fraction)",
            reference.rows()
        )));
    }
    let most = reference.columns().min(reference.rows() - 1);
    let options = DensityOptions {
        components: Some(COMPONENTS.min(most)),
        bandwidth: Bandwidth::Scott,
    };
    Ok(density_ratio(&generated, &reference, &queries, options)?.scores)
}

/// Features as rows of f64.
fn table(features: &Tensor, what: &str) -> Result<Table> {
    let [rows, columns] = features.size()[..] else {
        return Err(AttackError::Samples(format!(
            "density ratio, {what}: features of shape {:?}, expected [N, D]",
            features.size()
        )));
    };
    let flat = features
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Double)?
        .f_reshape([rows * columns])?;
    Ok(Table::new(
        &Vec::<f64>::try_from(&flat)?,
        usize::try_from(columns).unwrap_or_default(),
    )?)
}

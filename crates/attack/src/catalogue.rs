//! Attacks on a noise predictor by name, and the default set.
//!
//! The timesteps of the default set are fixed here, before anything was measured. Looking at many timesteps answers another
//! question - where does this model leak? - and the best of them, chosen on the audited images, is not evidence: of thirty
//! independent guesses on 416 images the best reaches an AUC of 0.54 by luck. So such rows carry other names (`sima@50`).

pub(crate) mod table;
#[cfg(test)]
mod tests;
mod variants;

pub use table::ALL;

use crate::captions::Captions;
use crate::lowpass::LowPassed;
use crate::pullback::Masked;
use crate::{Attack, AttackError, Learned, Method, Result, shadow};
use dualmd_names::{AttackSpec, BaseAttack, Level, Needs, Snr, Variant};
use variants::{At, AtSnr, Flip};

/// What the model sees. Some attacks have other defaults for latents, those of their code for Stable Diffusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Space {
    /// Images.
    #[default]
    Pixels,
    /// What an autoencoder makes of them, scaled once (by 0.18215 in Stable Diffusion).
    Latent,
}

/// An attack without variants, at its own timestep or another.
pub(crate) enum Plain {
    Formula(Box<dyn Attack>),
    Learned(Box<dyn Learned>),
}

impl From<Plain> for Method {
    fn from(plain: Plain) -> Self {
        match plain {
            Plain::Formula(attack) => Self::Formula(attack),
            Plain::Learned(attack) => Self::Learned(attack),
        }
    }
}

/// The usual attacks that need one model and nothing else, with their defaults for pixels.
#[must_use]
pub fn default_set() -> Vec<Method> {
    default_set_for(Space::Pixels, false)
}

/// The usual attacks that need one model and, if there are `prompts`, the samples' captions, with their defaults for
/// `space`.
#[must_use]
pub fn default_set_for(space: Space, prompts: bool) -> Vec<Method> {
    ALL.into_iter()
        .filter(|a| a.is_usual(prompts) && a.needs() == Needs::Nothing)
        .filter_map(|a| table::made(a, space, None))
        .map(Method::from)
        .collect()
}

/// The attack of this name, with the defaults for pixels.
///
/// # Errors
/// As [`AttackSpec`]'s parser, and [`method`].
pub fn by_name(name: &str) -> Result<Method> {
    by_name_for(name, Space::Pixels)
}

/// As [`by_name`], with the defaults for what the model sees.
///
/// # Errors
/// As [`by_name`].
pub fn by_name_for(name: &str, space: Space) -> Result<Method> {
    method(&name.parse()?, space)
}

/// The attack on a noise predictor that `spec` names, with the defaults for what the model sees. For latents SecMI measures its
/// error at t = 140, PIA and PIAN look at t = 100, ReDiffuse goes up to t = 50; all others are the same.
///
/// # Errors
/// An attack that looks at generated images and asks no noise predictor.
pub fn method(spec: &AttackSpec, space: Space) -> Result<Method> {
    let base = spec.base();
    let made = |t| table::made(base, space, t).ok_or_else(|| of_images(base));
    let mut method = Method::from(match spec.level() {
        None => made(None)?,
        Some(Level::Timestep(t)) => made(Some(t))?.at(t),
        Some(Level::Snr(snr)) => made(Some(1))?.at_snr(base, space, snr),
    });
    for variant in spec.variants() {
        method = match (method, variant) {
            (Method::Formula(a), Variant::Flip) => Method::Formula(Box::new(Flip(a))),
            (Method::Formula(a), Variant::LowPass) => Method::Formula(Box::new(LowPassed(a))),
            (Method::Formula(a), Variant::Pullback) => Method::Formula(Box::new(Masked(a))),
            (Method::Formula(a), Variant::Captions(over)) => {
                Method::Formula(Box::new(Captions(a, *over)))
            }
            (Method::Learned(a), Variant::Shadow) => {
                Method::Shadowed(Box::new(shadow::Shadowed(a)))
            }
            // Names of other combinations do not parse.
            (method, _) => method,
        };
    }
    Ok(method)
}

fn of_images(base: BaseAttack) -> AttackError {
    AttackError::Parameter {
        attack: base.name(),
        reason: "it looks at generated images and asks no network".into(),
    }
}

impl Plain {
    /// Under the name `NAME@snr=S`.
    fn at_snr(self, base: BaseAttack, space: Space, snr: Snr) -> Self {
        match self {
            Self::Formula(attack) => Self::Formula(Box::new(AtSnr {
                attack,
                base,
                space,
                snr,
            })),
            Self::Learned(attack) => Self::Learned(Box::new(AtSnr {
                attack,
                base,
                space,
                snr,
            })),
        }
    }

    /// Under the name `NAME@T`.
    fn at(self, t: i64) -> Self {
        match self {
            Self::Formula(attack) => Self::Formula(Box::new(At { attack, t })),
            Self::Learned(attack) => Self::Learned(Box::new(At { attack, t })),
        }
    }
}

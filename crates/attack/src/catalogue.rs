//! Attacks by name, the default set, and sweeps over timesteps.
//!
//! The timesteps of the default set are fixed here, before anything was measured. A sweep answers another question -
//! where does this model leak? - and its best row, chosen on the audited images, is not evidence: of thirty
//! independent guesses on 416 images the best reaches an AUC of 0.54 by luck. So its rows carry other names.

mod table;
#[cfg(test)]
mod tests;
mod variants;

pub use table::ALL;

use crate::captions::{Captions, Over};
use crate::lowpass::{LowPassed, SUFFIX as LOW_PASS};
use crate::{Attack, AttackError, Learned, Method, Result, shadow};
use variants::{At, Flip};

/// What an attack needs beside the model under attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: one model suffices.
    Nothing,
    /// Samples whose membership is known.
    Known,
    /// Both models of a DualMD pair.
    Pair,
    /// A model of the same kind that saw none of the samples.
    Reference,
    /// Such a model, and the images that it saw and did not see: a shadow model.
    Shadow,
}

/// What the model sees. Some attacks have other defaults for latents, those of their code for Stable Diffusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Space {
    /// Images.
    #[default]
    Pixels,
    /// What an autoencoder makes of them, scaled once (by 0.18215 in Stable Diffusion).
    Latent,
}

/// An attack in the table of known attacks.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name in files and on the command line.
    pub name: &'static str,
    /// What it needs beside the model under attack.
    pub needs: Needs,
    /// Does it compare captions? Then it needs, whatever else, a text-to-image model and a caption for every sample.
    pub prompts: bool,
    /// Is it part of what `audit` runs on any model unless attacks are named, where its needs are met? Gradients are not: a
    /// backward pass per image costs more than all other attacks together.
    pub usual: bool,
    /// Is it part of that on text-to-image models, where `usual` is true or not?
    pub usual_with_prompts: bool,
    make: Make,
}

#[derive(Debug, Clone, Copy)]
enum Make {
    Formula(fn(Space, Option<i64>) -> Box<dyn Attack>),
    Learned(fn(Space, Option<i64>) -> Box<dyn Learned>),
}

impl Entry {
    const fn formula(
        name: &'static str,
        needs: Needs,
        make: fn(Space, Option<i64>) -> Box<dyn Attack>,
    ) -> Self {
        Self {
            name,
            needs,
            prompts: false,
            usual: true,
            usual_with_prompts: true,
            make: Make::Formula(make),
        }
    }

    const fn learned(
        name: &'static str,
        usual: bool,
        make: fn(Space, Option<i64>) -> Box<dyn Learned>,
    ) -> Self {
        Self {
            name,
            needs: Needs::Known,
            prompts: false,
            usual,
            usual_with_prompts: usual,
            make: Make::Learned(make),
        }
    }

    /// For text-to-image models only.
    const fn with_prompts(self, usual: bool) -> Self {
        Self {
            prompts: true,
            usual: false,
            usual_with_prompts: usual,
            ..self
        }
    }

    /// The attack with its fixed defaults for pixels.
    #[must_use]
    pub fn attack(&self) -> Method {
        self.attack_in(Space::Pixels)
    }

    /// The attack with its fixed defaults for what the model sees.
    #[must_use]
    pub fn attack_in(&self, space: Space) -> Method {
        match self.make {
            Make::Formula(make) => Method::Formula(make(space, None)),
            Make::Learned(make) => Method::Learned(make(space, None)),
        }
    }

    /// The attack at another timestep (for SecMI: t_sec), under the name `NAME@T`.
    #[must_use]
    pub fn at(&self, t: i64) -> Method {
        self.at_in(Space::Pixels, t)
    }

    /// The same, with the defaults for `space` in all but the timestep.
    #[must_use]
    pub fn at_in(&self, space: Space, t: i64) -> Method {
        match self.make {
            Make::Formula(make) => Method::Formula(Box::new(At {
                attack: make(space, Some(t)),
                t,
            })),
            Make::Learned(make) => Method::Learned(Box::new(At {
                attack: make(space, Some(t)),
                t,
            })),
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
    ALL.iter()
        .filter(|e| e.usual || prompts && e.usual_with_prompts)
        .filter(|e| e.needs == Needs::Nothing)
        .map(|e| e.attack_in(space))
        .collect()
}

/// The attack that `name` is a variant of: `sima` for `sima@50`, `sima+flip` and `sima` itself.
#[must_use]
pub fn base_name(name: &str) -> &str {
    name.split(['@', '+']).next().unwrap_or(name)
}

/// What the attack called `name`, or the one it is a variant of, needs; nothing if there is none.
#[must_use]
pub fn needs(name: &str) -> Needs {
    if name.ends_with(shadow::SUFFIX) {
        return Needs::Shadow;
    }
    let base = base_name(name);
    ALL.iter()
        .find(|e| e.name == base)
        .map_or(Needs::Nothing, |e| e.needs)
}

/// Does the attack called `name`, or the one it is a variant of, compare captions? Then it needs a text-to-image model and a
/// caption for every sample, beside what [`needs`] says.
#[must_use]
pub fn needs_prompts(name: &str) -> bool {
    let base = base_name(name);
    name.split('+').skip(1).any(|s| s.starts_with("captions"))
        || ALL.iter().any(|e| e.name == base && e.prompts)
}

/// Refuses an attack on captions where there are none: before a run, not after it.
///
/// # Errors
/// A name that is not known; [`AttackError::Parameter`] with the reason.
pub fn check_prompts(name: &str, prompts: bool) -> Result<()> {
    let entry = entry(base_name(name))?;
    if !prompts && needs_prompts(name) {
        return Err(AttackError::Parameter {
            attack: entry.name,
            reason: format!(
                "\"{name}\" compares captions, and this model was trained without text: it needs a text-to-image model and \
                 a caption for every image; leave it out"
            ),
        });
    }
    Ok(())
}

/// The attack called `name` (`sima`), one row of its sweep (`sima@50`), or either averaged over both mirror images
/// (`sima+flip`: for models that were trained with random flips), on low frequencies (`sima+lowpass`), or over all captions
/// of a sample, best (`sima+captions`) or mean (`sima+captions-mean`); or an attack that learns, taught by a shadow model
/// (`secmi-nn+shadow`). With the defaults for pixels.
///
/// # Errors
/// A name that is not known, with the nearest one that is; a timestep that is no number; a variant of an attack that
/// has none.
pub fn by_name(name: &str) -> Result<Method> {
    by_name_for(name, Space::Pixels)
}

/// As [`by_name`], with the defaults for what the model sees. For latents SecMI measures its error at t = 140, PIA and PIAN
/// look at t = 100, ReDiffuse goes up to t = 50; all others are the same.
///
/// # Errors
/// As [`by_name`].
pub fn by_name_for(name: &str, space: Space) -> Result<Method> {
    if let Some(plain) = name.strip_suffix(shadow::SUFFIX) {
        return match by_name_for(plain, space)? {
            Method::Learned(attack) => Ok(Method::Shadowed(Box::new(shadow::Shadowed(attack)))),
            _ => Err(AttackError::Parameter {
                attack: entry(base_name(plain))?.name,
                reason: format!(
                    "\"{name}\": only attacks that learn are learnt on a shadow model; ask for {plain}"
                ),
            }),
        };
    }
    type Wrap = fn(Box<dyn Attack>) -> Box<dyn Attack>;
    let variants: [(&str, Wrap); 4] = [
        (Flip::SUFFIX, |a| Box::new(Flip(a))),
        (LOW_PASS, |a| Box::new(LowPassed(a))),
        (Over::Best.suffix(), |a| Box::new(Captions(a, Over::Best))),
        (Over::Mean.suffix(), |a| Box::new(Captions(a, Over::Mean))),
    ];
    for (suffix, wrap) in variants {
        let Some(plain) = name.strip_suffix(suffix) else {
            continue;
        };
        return match by_name_for(plain, space)? {
            Method::Formula(attack) => Ok(Method::Formula(wrap(attack))),
            Method::Learned(_) | Method::Shadowed(_) => Err(AttackError::Parameter {
                attack: entry(base_name(plain))?.name,
                reason: format!("\"{name}\": attacks that learn have no {suffix}; ask for {plain}"),
            }),
        };
    }
    let Some((base, t)) = name.split_once('@') else {
        return Ok(entry(name)?.attack_in(space));
    };
    let entry = entry(base)?;
    let t = t.parse().map_err(|_| AttackError::Parameter {
        attack: entry.name,
        reason: format!(
            "\"{name}\": write {}@T with a whole number T, such as {}@100",
            entry.name, entry.name
        ),
    })?;
    Ok(entry.at_in(space, t))
}

fn entry(name: &str) -> Result<Entry> {
    ALL.into_iter()
        .find(|e| e.name == name)
        .ok_or_else(|| AttackError::UnknownAttack {
            name: name.into(),
            suggestion: ALL
                .iter()
                .map(|e| (edit_distance(&name.to_lowercase(), e.name), e.name))
                .min()
                // Half the letters wrong is not a slip of the finger any more.
                .filter(|&(distance, known)| 2 * distance <= known.len())
                .map(|(_, known)| known),
            known: ALL.map(|e| e.name).join(", "),
        })
}

/// Levenshtein distance: insertions, deletions and replacements of one letter.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

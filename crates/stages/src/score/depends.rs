//! What scores depend on: scores of an earlier run are kept while none of it has changed.

use super::super::features::hash_answer;
use super::super::generator::Generator;
use super::super::hashes::{hash_tensor, hash_told};
use super::super::text::Encoded;
use super::subject::{Label, Shadow, Subject};
use crate::engine::Engine;
use anyhow::Result;
use dualmd_attack::AttackInfo;
use dualmd_names::BlackBox;
use dualmd_names::{AttackSpec, Needs};
use dualmd_torch::Tensor;
use serde::Serialize;

/// Version of what a score depends on; a change of any attack's arithmetic raises it. 2: the noise of `rounds@R` between rounds,
/// PFAMI's crop, GSA's features. 3: the folds of the logistic regression.
const SCORES: u32 = 3;

/// What the scores of every attack of a subject depend on.
pub(super) struct Base {
    model: OfModel,
    images: String,
    truth: String,
    shadow: Option<OfShadow>,
}

/// The model that is attacked, and how. What depends on it is kept under a hash: the fields stand in alphabetical order.
#[derive(Serialize)]
struct OfModel {
    dtype: &'static str,
    scores: u32,
    seed: u64,
    set: &'static str,
    weights: String,
}

/// Hashes of a shadow model with its samples: alone, and with the images that it drew.
struct OfShadow {
    asked: String,
    drawn: Option<String>,
}

impl Base {
    pub(super) fn new(
        subject: &Subject<'_>,
        x: &Tensor,
        texts: Option<&Encoded>,
        labels: &[Label],
        engine: &Engine,
    ) -> Result<Self> {
        Ok(Self {
            model: OfModel {
                dtype: engine.precision.name(),
                scores: SCORES,
                seed: subject.seed,
                set: subject.weights.as_str(),
                weights: subject.generator.fingerprint().to_owned(),
            },
            images: images(x, texts)?,
            truth: truth(labels),
            shadow: None,
        })
    }

    /// With the shadow model and its samples; `x` and `texts` as for [`Self::new`].
    pub(super) fn with_shadow(
        mut self,
        shadow: &Shadow<'_>,
        x: &Tensor,
        texts: Option<&Encoded>,
    ) -> Result<Self> {
        let everything = (
            shadow.generator.fingerprint(),
            images(x, texts)?,
            truth(shadow.labels),
        );
        self.shadow = Some(OfShadow {
            asked: hash(&everything)?,
            drawn: match shadow.generated {
                Some(images) => Some(hash(&(&everything, hash_tensor(images)?))?),
                None => None,
            },
        });
        Ok(self)
    }

    /// What stands for the shadow model and its samples in what an attack depends on; nothing without one.
    pub(super) fn shadow(&self, spec: &AttackSpec) -> Option<String> {
        let shadow = self.shadow.as_ref()?;
        // Images as any user gets them are there already; all others are made from the model.
        match spec.compares_drawn() {
            true => shadow.drawn.clone(),
            false => Some(shadow.asked.clone()),
        }
    }

    /// The hash of all that the scores of an attack depend on. `rest`: beside the model, the samples and the attack.
    pub(super) fn of(&self, info: &AttackInfo, rest: &impl Serialize) -> Result<String> {
        hash(&(
            &self.model,
            &self.images,
            &self.truth,
            &info.name,
            &info.formula,
            &info.parameters,
            rest,
        ))
    }

    pub(super) fn network(
        &self,
        info: &AttackInfo,
        needs: Needs,
        subject: &Subject<'_>,
        shadow: Option<&String>,
    ) -> Result<String> {
        // A pair answers by the turn that covers the timestep.
        let turns = subject.generator.pair().map(|_| subject.drawing.steps);
        match needs {
            Needs::Nothing | Needs::Pair => self.of(info, &((), turns)),
            Needs::Known => self.of(info, &(subject.known, turns)),
            Needs::Reference => {
                let reference = subject.reference.map(Generator::fingerprint);
                self.of(info, &(reference, turns))
            }
            Needs::Shadow => self.of(info, &(shadow, turns)),
        }
    }

    pub(super) fn black_box(
        &self,
        kind: BlackBox,
        info: &AttackInfo,
        subject: &Subject<'_>,
    ) -> Result<String> {
        let generated = match (kind, subject.generated) {
            (kind, Some(generated)) if kind.takes_drawn() => hash_tensor(generated).ok(),
            _ => None,
        };
        // Other weights of the same features give another answer.
        let encoder = match (kind, subject.generated, subject.extractor) {
            (kind, Some(images), Some(extractor)) if kind.compares_features() => {
                let some = images.narrow(0, 0, images.size()[0].min(2));
                hash_answer(extractor, &some).ok()
            }
            _ => None,
        };
        let (n, steps) = (subject.drawing.n, subject.drawing.steps);
        match encoder {
            // It looks at the samples that others learn from.
            Some(encoder) if kind == BlackBox::Density => {
                self.of(info, &(generated, n, steps, encoder, subject.known))
            }
            Some(encoder) => self.of(info, &(generated, n, steps, encoder)),
            None => self.of(info, &(generated, n, steps)),
        }
    }
}

/// BLAKE3 of a value as JSON.
fn hash(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value)?;
    Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
}

/// A hash of what the model sees of images, and of their captions.
fn images(x: &Tensor, texts: Option<&Encoded>) -> Result<String> {
    Ok(match texts {
        None => hash_tensor(x)?,
        Some(texts) => {
            let told = hash_told(&texts.told)?;
            format!("{} {told} {:?}", hash_tensor(x)?, texts.of)
        }
    })
}

/// A hash of who is a member.
fn truth(labels: &[Label]) -> String {
    let mut truth = blake3::Hasher::new();
    for label in labels {
        truth.update(format!("{} {:?} {}\n", label.id, label.group, label.member).as_bytes());
    }
    truth.finalize().to_hex().to_string()
}

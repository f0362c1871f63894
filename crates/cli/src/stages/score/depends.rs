//! What scores depend on: scores of an earlier run are kept while none of it has changed.

use super::super::sample::Generator;
use super::super::similar::vectors;
use super::super::text::Encoded;
use super::{Label, Shadow, Subject};
use crate::engine::Engine;
use anyhow::Result;
use dualmd_attack::AttackInfo;
use dualmd_attack::nn::BlackBox;
use dualmd_names::{AttackSpec, Needs};
use dualmd_torch::{Device, Kind, Tensor};
use serde_json::{Value, json};

/// Version of what a score depends on; a change of any attack's arithmetic raises it. 2: the noise of `rounds@R` between rounds,
/// PFAMI's crop, GSA's features.
const SCORES: u32 = 2;

/// What the scores of every attack of a subject depend on.
pub(super) struct Base {
    model: Value,
    images: String,
    truth: String,
    shadow: Option<OfShadow>,
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
            model: json!({
                "scores": SCORES, "weights": subject.generator.fingerprint(), "seed": subject.seed,
                "set": subject.weights.as_str(), "dtype": engine.precision.name(),
            }),
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
        let everything = json!([
            shadow.generator.fingerprint(),
            images(x, texts)?,
            truth(shadow.labels)
        ]);
        let hash = |value: &Value| {
            blake3::hash(value.to_string().as_bytes())
                .to_hex()
                .to_string()
        };
        self.shadow = Some(OfShadow {
            asked: hash(&everything),
            drawn: match shadow.generated {
                Some(images) => Some(hash(&json!([everything, hash_tensor(images)?]))),
                None => None,
            },
        });
        Ok(self)
    }

    /// What stands for the shadow model and its samples in what an attack depends on; null without one.
    pub(super) fn shadow(&self, spec: &AttackSpec) -> Value {
        let Some(shadow) = &self.shadow else {
            return Value::Null;
        };
        // Images as any user gets them are there already; all others are made from the model.
        match spec.compares_drawn() {
            true => json!(shadow.drawn),
            false => json!(shadow.asked),
        }
    }

    pub(super) fn of(&self, info: &AttackInfo, rest: &Value) -> String {
        let everything = json!([
            self.model,
            self.images,
            self.truth,
            info.name,
            info.formula,
            info.parameters,
            rest
        ]);
        blake3::hash(everything.to_string().as_bytes())
            .to_hex()
            .to_string()
    }

    pub(super) fn network(
        &self,
        info: &AttackInfo,
        needs: Needs,
        subject: &Subject<'_>,
        shadow: &Value,
    ) -> String {
        let rest = match needs {
            Needs::Nothing | Needs::Pair => Value::Null,
            Needs::Known => json!(subject.known),
            Needs::Reference => json!(subject.reference.map(Generator::fingerprint)),
            Needs::Shadow => shadow.clone(),
        };
        // A pair answers by the turn that covers the timestep.
        let turns = subject.generator.pair().map(|_| subject.drawing.steps);
        self.of(info, &json!([rest, turns]))
    }

    pub(super) fn black_box(
        &self,
        kind: BlackBox,
        info: &AttackInfo,
        subject: &Subject<'_>,
    ) -> String {
        let generated = match (kind, subject.generated) {
            (kind, Some(generated)) if kind.takes_drawn() => hash_tensor(generated).ok(),
            _ => None,
        };
        // Other weights of the same features give another answer.
        let encoder = match (kind, subject.generated, subject.extractor) {
            (BlackBox::Features, Some(images), Some(extractor)) => {
                let some = images.narrow(0, 0, images.size()[0].min(2));
                vectors(extractor, &some).and_then(|v| hash_tensor(&v)).ok()
            }
            _ => None,
        };
        let mut rest = json!([generated, subject.drawing.n, subject.drawing.steps]);
        if let (Some(encoder), Value::Array(rest)) = (encoder, &mut rest) {
            rest.push(encoder.into());
        }
        self.of(info, &rest)
    }
}

/// A hash of what the model sees of images, and of their captions.
fn images(x: &Tensor, texts: Option<&Encoded>) -> Result<String> {
    Ok(match texts {
        None => hash_tensor(x)?,
        Some(texts) => {
            let embeddings = hash_tensor(&texts.embeddings)?;
            format!("{} {embeddings} {:?}", hash_tensor(x)?, texts.of)
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

/// BLAKE3 of the values as f32.
pub fn hash_tensor(x: &Tensor) -> Result<String> {
    let flat = x
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_flatten(0, -1)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?}", x.size()).as_bytes());
    for value in Vec::<f32>::try_from(&flat)? {
        hasher.update(&value.to_le_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

//! Samples as attacks look at them: those under attack, and those of a shadow model.

use super::super::shadow;
use super::super::similar::Comparison;
use super::super::text::{self, Encoded, Told};
use super::subject::{Label, Shadow, Subject};
use crate::engine::Engine;
use crate::session::Session;
use anyhow::{Result, bail};
use dualmd_attack::{Prompts, Samples, pullback, thirds};
use dualmd_data::stream_for_id;
use dualmd_diffusion::{Model, TextToImage};
use dualmd_metrics::Extractor;
use dualmd_names::{AttackSpec, BaseAttack, Variant};
use dualmd_record::scores::LearntOnShadow;
use dualmd_torch::{Device, Tensor, noise};
use std::collections::BTreeSet;

/// Images whose decoder is differentiated at once.
const AT_ONCE: usize = 4;

/// A model's samples as its network sees them, with their captions.
///
/// # Errors
/// An image twice, so also one on both sides; a text-to-image model without captions, a class-conditional one without classes.
pub(super) fn samples(
    subject: &Subject<'_>,
    x: &Tensor,
    labels: &[Label],
    engine: &Engine,
) -> Result<(Samples, Option<Encoded>)> {
    let ids = labels.iter().map(|l| l.id.clone()).collect();
    let model = subject.generator.first();
    let mut samples = Samples::new(seen(model, x, engine)?, ids)?;
    let masked = |spec: &AttackSpec| spec.variants().contains(&Variant::Pullback);
    if subject.attacks.iter().any(masked)
        && let Some(text) = model.text().filter(|text| text.is_latent())
    {
        let mask = shown_by_decoder(text, &samples, x, subject.seed, engine)?;
        samples = samples.with_mask(mask)?;
    }
    let texts = match (Told::by(model), subject.captions) {
        (Told::Nothing, _) => None,
        (_, Some(captions)) => Some(Encoded::of(model, captions)?),
        (Told::Captions, None) => bail!("a text-to-image model is attacked without captions"),
        (Told::Class, None) => bail!("a class-conditional model is attacked without classes"),
    };
    if let Some(texts) = &texts {
        samples = samples.with_prompts(prompts(subject, model, texts)?)?;
    }
    Ok((samples, texts))
}

/// A shadow model with its samples as attacks look at them.
pub(super) struct Taught<'a> {
    pub(super) shadow: Shadow<'a>,
    /// The shadow model as if it were the one under attack: it is asked the same questions.
    subject: Subject<'a>,
    pub(super) samples: Samples,
    pub(super) texts: Option<Encoded>,
    pub(super) member: Vec<bool>,
}

impl<'a> Taught<'a> {
    /// # Errors
    /// An image that is under attack is one of the shadow model's; see [`samples`].
    pub(super) fn new(
        subject: &Subject<'a>,
        shadow: Shadow<'a>,
        judged: &[Label],
        engine: &Engine,
    ) -> Result<Self> {
        let judged: BTreeSet<&str> = judged.iter().map(|l| l.id.as_str()).collect();
        if let Some(both) = shadow
            .labels
            .iter()
            .find(|l| judged.contains(l.id.as_str()))
        {
            anyhow::bail!(
                "image {} is audited and one of the shadow model's: what is learnt on a shadow model is judged on other images; \
                 remove it from one of the two",
                both.id
            );
        }
        let own = Subject {
            generator: shadow.generator,
            captions: shadow.captions,
            generated: shadow.generated,
            reference: None,
            shadow: None,
            // Not from the noise that the model under attack draws from: its first image is a member's as well.
            seed: shadow::seed(subject.seed),
            defense: subject.defense.clone(),
            ..*subject
        };
        let (samples, texts) = samples(&own, shadow.x, shadow.labels, engine)?;
        Ok(Self {
            shadow,
            subject: own,
            samples,
            texts,
            member: shadow.labels.iter().map(|l| l.member).collect(),
        })
    }

    /// What captions of the shadow's samples draw; `None` for a model without text.
    pub(super) fn comparison<'b>(
        &'b self,
        extractor: &'b dyn Extractor,
        session: &'b Session,
    ) -> Option<(Comparison<'b>, &'b [bool])> {
        let known = Err("a shadow model's samples are all known".to_owned());
        let texts = self.texts.as_ref()?;
        let (subject, x) = (&self.subject, self.shadow.x);
        let own = Comparison::new(subject, extractor, texts, x, known, session);
        Some((own, &self.member))
    }

    /// What was learnt from, for the record.
    /// `of`: what stands for it in what scores depend on.
    pub(super) fn described(&self, of: Option<String>) -> LearntOnShadow {
        let members = self.member.iter().filter(|m| **m).count();
        LearntOnShadow {
            members,
            nonmembers: self.member.len() - members,
            weights_blake3: Some(self.shadow.generator.fingerprint().to_owned()),
            of,
        }
    }
}

/// What the samples' captions are to the model, with their parts where an attack compares them.
fn prompts(subject: &Subject<'_>, model: &Model, texts: &Encoded) -> Result<Prompts> {
    let reduces = |spec: &AttackSpec| matches!(spec.base(), BaseAttack::Clid | BaseAttack::ClidVec);
    let nothing = texts.nothing();
    if let (Some(labels), Some(none)) = (&texts.told.label, &nothing.label) {
        let labels = Vec::<i64>::try_from(labels.to_device(Device::Cpu))?;
        let own = texts.of.iter().flat_map(|rows| rows.first());
        let own: Vec<i64> = own.filter_map(|&row| labels.get(row).copied()).collect();
        return Ok(Prompts::of_labels(&own, none.int64_value(&[0])));
    }
    let (Some(captions), true) = (subject.captions, subject.attacks.iter().any(reduces)) else {
        return Ok(Prompts::of(&texts.told, texts.of.clone(), &nothing)?);
    };
    let parts: Vec<Vec<String>> = captions
        .iter()
        .map(|own| own.first().map(|c| thirds(c)).unwrap_or_default())
        .collect();
    let lists: Vec<&[String]> = parts.iter().map(Vec::as_slice).collect();
    let parts = Encoded::of(model, &lists)?;
    let first = texts.told.len() as usize;
    let reduced = parts
        .of
        .iter()
        .map(|rows| rows.iter().map(|row| first + row).collect())
        .collect();
    let all = texts.told.then(&parts.told)?;
    Ok(Prompts::of(&all, texts.of.clone(), &nothing)?.with_reduced(reduced)?)
}

/// What of the latents of images [N, C, H, W] their decoder shows, for `+pullback`.
fn shown_by_decoder(
    model: &TextToImage,
    samples: &Samples,
    x: &Tensor,
    seed: u64,
    engine: &Engine,
) -> Result<Tensor> {
    let shape = x.size();
    let mut masks = Vec::new();
    // A few at a time: the decoder's activations are kept for the way back.
    for (place, ids) in samples.ids().chunks(AT_ONCE).enumerate() {
        let start = (place * AT_ONCE) as i64;
        let latents = samples.x().f_narrow(0, start, ids.len() as i64)?;
        let draw = |k: usize| -> Result<Tensor> {
            let purpose = format!("attack/pullback/{k}");
            let of = |id: &String| {
                let mut rng = stream_for_id(seed, &purpose, id);
                noise::normal(&mut rng, &shape[1..], engine.device)
            };
            let rows: Vec<Tensor> = ids.iter().map(of).collect();
            Ok(Tensor::f_stack(&rows, 0)?)
        };
        let draws: Vec<Tensor> = (0..pullback::DRAWS).map(draw).collect::<Result<_>>()?;
        let products = model.decoder_products(&latents.f_to_device(engine.device)?, &draws)?;
        masks.push(pullback::mask(&products)?);
    }
    Ok(Tensor::f_cat(&masks, 0)?)
}

/// What the network sees of images [N, C, H, W]: the images, or their latents.
pub(super) fn seen(model: &Model, x: &Tensor, engine: &Engine) -> Result<Tensor> {
    if !model.is_latent() {
        return Ok(x.shallow_clone());
    }
    let parts = text::in_parts(x, |part| {
        let latents = model.encode(&part.to_device(engine.device))?;
        Ok(latents.to_device(Device::Cpu))
    })?;
    Ok(Tensor::f_cat(&parts, 0)?)
}

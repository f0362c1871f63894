//! The images that an audit draws.

use super::case::Sides;
use super::options::ScoreOptions;
use crate::session::Session;
use crate::stages::draw::Draw;
use crate::stages::generator::Generator;
use crate::stages::hashes::hash_tensor;
use crate::stages::sample::{write_prompts, write_samples};
use crate::stages::score::parts::{self, Folder};
use crate::stages::{create_folder, remove};
use anyhow::Result;
use dualmd_data::drawn::{ARRAY, room};
use dualmd_record::folder::{NEAREST, PROMPTS};
use dualmd_record::samples::DrawnFrom;
use dualmd_torch::Tensor;
use dualmd_torch::weights::read_npy;
use std::path::Path;

/// Images for the first captions of `images`, or, of a model without text, as many as an audit draws; of a class-conditional one they are
/// of the images' classes in turn, without guidance. `parts` as in [`Draw::images`]. The model comes with its
/// name in the report.
///
/// # Errors
/// A stop that was asked for; what the model refuses.
pub fn generate(
    session: &Session,
    (name, generator): (&str, &Generator),
    images: &Sides,
    args: &ScoreOptions,
    seed: u64,
    parts: Option<&Folder>,
) -> Result<Tensor> {
    let texts = images.texts();
    let draw = Draw {
        generator,
        name,
        words: texts.as_deref(),
        label_guidance: 1.0,
        shape: images.members.shape(),
        drawing: args.draw.drawing(),
        batch: args.batch,
        seed,
    };
    draw.images(session, parts)
}

/// The images that an audit looks at, those that are given or drawn now or by an earlier call that drew the same ones: in `folder`,
/// with what they depend on and, of a text-to-image model, what each was drawn for.
///
/// # Errors
/// As [`generate`]; files that cannot be written.
pub fn drawn(
    session: &Session,
    (name, generator): (&str, &Generator),
    images: &Sides,
    args: &ScoreOptions,
    folder: &Path,
    seed: u64,
    given: Option<Tensor>,
) -> Result<Tensor> {
    let texts = images.texts();
    let captions = texts.as_ref().map(|all| {
        let first = all.iter().map(|own| own.first().cloned());
        first.collect::<Vec<_>>()
    });
    let d = &args.draw;
    let of = DrawnFrom {
        weights_blake3: generator.fingerprint().to_owned(),
        weights: args.weights.as_str().to_owned(),
        dtype: session.engine.precision.name().to_owned(),
        seed,
        images: d.images,
        steps: d.steps,
        guidance: d.guidance,
        per_prompt: d.per_prompt,
        captions,
        shape: images.members.shape(),
        given: given.as_ref().map(hash_tensor).transpose()?,
    };
    let (description, array) = (folder.join("drawn.json"), folder.join(ARRAY));
    let before: Option<DrawnFrom> = dualmd_record::read_if_usable(&description)?;
    if before.as_ref() == Some(&of)
        && given.is_none()
        && let Ok(before) = read_npy(&array)
    {
        session.say("the images that an earlier call drew are used again");
        parts::remove(&array)?;
        return Ok(before);
    }
    room(folder, true)?;
    let generated = match given {
        Some(given) => given,
        None => {
            create_folder(folder)?;
            let key = format!("{} {}", serde_json::to_string(&of)?, args.batch);
            let key = blake3::hash(key.as_bytes()).to_hex().to_string();
            let parts = Folder::open(&parts::beside(&array), &key)?;
            generate(session, (name, generator), images, args, seed, Some(&parts))?
        }
    };
    // Until the new images are whole it must not speak of them.
    remove(&description)?;
    for of_others in [NEAREST, PROMPTS] {
        remove(&folder.join(of_others))?;
    }
    write_samples(folder, &generated, true)?;
    if let Some(captions) = texts.as_ref().filter(|_| generator.first().is_told()) {
        let each = images.labels.iter().zip(captions);
        let asked = each.map(|(label, own)| (label.id.as_str(), label.member, &own[..]));
        write_prompts(folder, asked, d.per_prompt)?;
    }
    dualmd_record::write(&description, &of)?;
    parts::remove(&array)?;
    Ok(generated)
}

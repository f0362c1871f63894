//! The images that an audit draws.

use super::case::Sides;
use super::options::{DrawOptions, ScoreOptions};
use crate::reporter::{ProgressEvent, Work};
use crate::room;
use crate::session::Session;
use crate::stages::remove;
use crate::stages::sample::{Generator, Prompts, write_prompts, write_samples};
use crate::stages::score::hash_tensor;
use crate::stages::text::Encoded;
use anyhow::Result;
use dualmd_data::drawn::{ARRAY, room};
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{Asked, DiffusionError, Foreign};
use dualmd_record::folder::{NEAREST, PROMPTS};
use dualmd_record::samples::DrawnFrom;
use dualmd_torch::weights::read_npy;
use dualmd_torch::{Device, Tensor};
use std::path::Path;

/// Images for the first captions of `images`, or, of a model without text, as many as an audit draws.
///
/// # Errors
/// A stop that was asked for; what the model refuses.
pub fn generate(
    session: &Session,
    generator: &Generator,
    images: &Sides,
    args: &ScoreOptions,
    seed: u64,
) -> Result<Tensor> {
    let d = &args.draw;
    let model = generator.first();
    let texts = images.texts();
    let prompts = match (model.is_told(), &texts) {
        (true, Some(captions)) => {
            let encoded = Encoded::of(model, captions)?;
            Some(Prompts {
                condition: encoded.main(d.per_prompt),
                nothing: encoded.nothing(),
                guidance: d.guidance,
            })
        }
        _ => None,
    };
    let n = prompts
        .as_ref()
        .map_or(d.images, |p| p.condition.embedding.size()[0] as usize);
    let shape = model
        .sample_shape()
        .unwrap_or_else(|| images.members.shape().map(|d| d as i64));
    room::check(model, n, args.batch, shape)?;
    let began = std::time::Instant::now();
    let mut go_on = |done: usize| {
        session
            .reporter
            .progress(&ProgressEvent::images("sample", done, n, began).of(Work::Generate));
        !session.stopped()
    };
    if let Some(foreign) = model.foreign().filter(|f| f.generates()) {
        let texts = texts.as_ref().filter(|_| model.is_told());
        let texts = texts.map(|captions| main_texts(captions, d.per_prompt));
        return in_its_own_way(foreign, n, texts.as_deref(), d, args.batch, seed, go_on);
    }
    let noise = initial_noise(seed, n, shape, session.engine.device);
    let generated = generator.sample(
        &noise,
        &d.sampling(args.batch, seed),
        prompts.as_ref(),
        &mut go_on,
    )?;
    // The attack compares on the CPU, where the samples are.
    Ok(generated.to_device(Device::Cpu))
}

/// The main caption of every sample, each `times` times.
fn main_texts<'a>(captions: &[&'a [String]], times: usize) -> Vec<&'a str> {
    let main = |own: &&'a [String]| own.first().map_or("", String::as_str);
    let each = captions.iter().map(main);
    each.flat_map(|text| std::iter::repeat_n(text, times))
        .collect()
}

/// Images of a model elsewhere that draws by itself, as its users get them.
fn in_its_own_way(
    model: &dyn Foreign,
    n: usize,
    texts: Option<&[&str]>,
    drawing: &DrawOptions,
    batch: usize,
    seed: u64,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<Tensor> {
    let mut parts = Vec::new();
    let mut done = 0;
    while done < n {
        let count = batch.min(n - done);
        let told = texts.and_then(|texts| texts.get(done..done + count));
        parts.push(model.generate(&Asked {
            seed,
            first: done as u64,
            count,
            steps: drawing.steps,
            texts: told.map(|texts| (texts, drawing.guidance)),
        })?);
        done += count;
        if !go_on(done) && done < n {
            return Err(DiffusionError::Stopped.into());
        }
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}

/// The images that an audit looks at, those that are given or drawn now or by an earlier call that drew the same ones: in `folder`,
/// with what they depend on and, of a text-to-image model, what each was drawn for.
///
/// # Errors
/// As [`generate`]; files that cannot be written.
pub fn drawn(
    session: &Session,
    generator: &Generator,
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
    let description = folder.join("drawn.json");
    let before: Option<DrawnFrom> = dualmd_record::read_if_usable(&description)?;
    if before.as_ref() == Some(&of)
        && given.is_none()
        && let Ok(before) = read_npy(&folder.join(ARRAY))
    {
        session.say("the images that an earlier call drew are used again");
        return Ok(before);
    }
    room(folder, true)?;
    let generated = match given {
        Some(given) => given,
        None => generate(session, generator, images, args, seed)?,
    };
    // Until the new images are whole it must not speak of them.
    remove(&description)?;
    for of_others in [NEAREST, PROMPTS] {
        remove(&folder.join(of_others))?;
    }
    write_samples(folder, &generated, true)?;
    if let Some(captions) = &texts {
        let each = images.labels.iter().zip(captions);
        let asked = each.map(|(label, own)| (label.id.as_str(), label.member, &own[..]));
        write_prompts(folder, asked, d.per_prompt)?;
    }
    dualmd_record::write(&description, &of)?;
    Ok(generated)
}

//! Several captions for every image, by a BLIP model that the user brings.

use crate::bail_usage;
use crate::reporter::{ProgressEvent, meanwhile};
use crate::session::Session;
use crate::stages::pictures;
use crate::stages::{files_in, hash_files};
use anyhow::{Context, Result, bail};
use dualmd_caption::{CaptionOptions, Captioner, Method};
use dualmd_data::{ImageSet, LoadOptions, Record, dedupe};
use dualmd_files::limit;
use dualmd_record::write_json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Images between two writes of the file.
const CHUNK: usize = 16;

/// What is captioned, and how.
#[derive(Debug, Clone)]
pub struct CaptionsOptions {
    /// Image set.
    pub data: String,
    /// A BLIP folder, as transformers writes it.
    pub model: PathBuf,
    /// Captions for each image.
    pub n: usize,
    /// The most likely words, not drawn ones; then `n` is 1.
    pub greedy: bool,
    /// Each word is drawn from the most likely ones that together have this probability, in (0, 1).
    pub top_p: f64,
    /// How every caption begins.
    pub prompt: Option<String>,
    /// Side in pixels that images are brought to first; what the model takes if not given.
    pub image_size: Option<u32>,
    /// Column of the captions that are there already.
    pub caption_column: Option<String>,
    /// Captions at a time.
    pub batch: usize,
    /// Where they go, one line an image.
    pub out: PathBuf,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Writes captions as JSON lines; goes on with a file that an earlier call left. Returns whether all are written, or a stop was asked
/// for; the same call goes on then.
///
/// # Errors
/// A model or images that cannot be read; a file that was made with other settings.
pub fn caption(session: &Session, args: &CaptionsOptions) -> Result<bool> {
    let captioner = Captioner::load(&args.model, session.engine.device)?;
    let options = LoadOptions {
        image_size: Some(args.image_size.unwrap_or(captioner.processor().side())),
        channels: Some(3),
        caption_column: args.caption_column.as_deref(),
        ..LoadOptions::default()
    };
    let mut set = pictures::load(&args.data, &options, session.reporter.as_ref())?;
    dedupe(&mut set);
    let method = options_of(args);
    method.check()?;
    let settings = settings(args, &method)?;
    let mut done = earlier(args, &settings)?;
    write_json(&beside(&args.out), &settings)?;

    let began = Instant::now();
    let missing: Vec<&Record> = set
        .records
        .iter()
        .filter(|r| !done.contains_key(r.id.as_str()))
        .collect();
    for (at, chunk) in missing.chunks(CHUNK).enumerate() {
        if session.stopped() {
            return Ok(false);
        }
        let pictures: Vec<_> = chunk.iter().map(|r| &r.picture).collect();
        let ids: Vec<&str> = chunk.iter().map(|r| r.id.as_str()).collect();
        let drawn = meanwhile(session.reporter.as_ref(), "", "caption", || {
            captioner.caption(&pictures, &ids, args.n, &method)
        })?;
        for (record, captions) in chunk.iter().zip(drawn) {
            done.insert(record.id.as_str().to_owned(), captions);
        }
        write(&args.out, &set, &done)?;
        let count = at * CHUNK + chunk.len();
        let event = ProgressEvent::images("", count, missing.len(), began);
        session.reporter.progress(&event.doing("caption"));
    }
    session.reporter.done(
        "caption",
        &format!("{} images in {}", done.len(), args.out.display()),
    );
    Ok(true)
}

fn options_of(args: &CaptionsOptions) -> CaptionOptions {
    let usual = if args.greedy {
        CaptionOptions::greedy()
    } else {
        CaptionOptions::nucleus(args.seed)
    };
    let method = match usual.method {
        Method::Nucleus { top_k, .. } => Method::Nucleus {
            top_p: args.top_p,
            top_k,
        },
        Method::Greedy => Method::Greedy,
    };
    CaptionOptions {
        method,
        prompt: args.prompt.clone().unwrap_or_default(),
        batch: args.batch,
        ..usual
    }
}

/// What the captions depend on, kept beside them.
fn settings(args: &CaptionsOptions, options: &CaptionOptions) -> Result<Settings> {
    // Captions do not depend on how many are made at a time: fewer may be what lets a run go on.
    let options = CaptionOptions {
        batch: 1,
        ..options.clone()
    };
    Ok(Settings {
        captions_per_image: args.n,
        data: args.data.clone(),
        image_size: args.image_size,
        model: args.model.display().to_string(),
        model_blake3: hash_of(&args.model)?,
        options: format!("{options:?}"),
    })
}

/// `captions.jsonl.settings.json`: what the captions depend on.
#[derive(PartialEq, Serialize, Deserialize)]
struct Settings {
    captions_per_image: usize,
    data: String,
    image_size: Option<u32>,
    model: String,
    model_blake3: String,
    options: String,
}

/// A line of the captions; `text` has the image's own captions first.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Captioned {
    file_name: String,
    generated: Vec<String>,
    id: String,
    text: Vec<String>,
}

/// Hash of configuration and weights of a folder.
fn hash_of(folder: &Path) -> Result<String> {
    let extension = |path: &Path| {
        path.extension()
            .is_some_and(|e| e == "json" || e == "safetensors")
    };
    hash_files(&files_in(folder, extension)?)
}

/// `captions.jsonl.settings.json`
fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".settings.json");
    name.into()
}

/// The captions that an earlier call with the same settings wrote, by image.
fn earlier(args: &CaptionsOptions, settings: &Settings) -> Result<BTreeMap<String, Vec<String>>> {
    let mut done = BTreeMap::new();
    dualmd_files::check_target(&args.out)?;
    let text = match dualmd_files::read_text(&args.out, limit::TABLE) {
        Err(e) if e.is_absent() => return Ok(done),
        other => other?,
    };
    let path = beside(&args.out);
    let kept = dualmd_files::read(&path, limit::SETTINGS)
        .ok()
        .and_then(|b| serde_json::from_slice::<Settings>(&b).ok());
    if kept.as_ref() != Some(settings) {
        bail_usage!(
            "{} is there and was not made with these settings ({} has its own): choose another file (-o) or remove it",
            args.out.display(),
            path.display()
        );
    }
    for (number, line) in text.lines().enumerate() {
        let entry: Captioned = serde_json::from_str(line).with_context(|| {
            format!(
                "{}, line {}: damaged; remove the line",
                args.out.display(),
                number + 1
            )
        })?;
        let Captioned { id, generated, .. } = entry;
        match generated.len() {
            n if n == args.n && !id.is_empty() => {
                done.insert(id, generated);
            }
            _ => bail!(
                "{}, line {}: has no id or not {} captions; remove the line",
                args.out.display(),
                number + 1,
                args.n
            ),
        }
    }
    Ok(done)
}

/// One line an image, in the set's order. `text` has the image's own captions first: the file can take the place of the
/// folder's metadata.jsonl.
fn write(out: &Path, set: &ImageSet, done: &BTreeMap<String, Vec<String>>) -> Result<()> {
    let mut lines = String::new();
    for record in &set.records {
        let Some(generated) = done.get(record.id.as_str()) else {
            continue;
        };
        let line = Captioned {
            file_name: record.name.clone(),
            generated: generated.clone(),
            id: record.id.as_str().to_owned(),
            text: record.captions.iter().chain(generated).cloned().collect(),
        };
        let line = serde_json::to_string(&line)?;
        writeln!(lines, "{line}").context("a line of captions")?;
    }
    dualmd_files::write(out, lines.as_bytes())?;
    Ok(())
}

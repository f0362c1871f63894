//! Figure 3 as the paper has it: the t-error of prompts that a model is known to remember against that of others, from lists that the
//! user gives (the paper: 500 of Webster's prompts for Stable Diffusion 1, 500 of Lexica's). Nothing is trained.

use super::super::table::Table;
use super::super::write::{Outcome, Place, Source};
use super::histograms::{HEADS, histogram_of};
use super::measured::{is_there, plain, read};
use crate::{Made, ReproduceOptions};
use anyhow::{Context, Result, bail};
use dualmd::Session;
use dualmd::bail_usage;
use dualmd::memorisation::{MemorisationOptions, PromptSource, measured};
use dualmd::stages::create_folder;
use dualmd_files::limit;
use std::path::Path;

/// Prompts of either kind in the paper.
const PAPER: u64 = 500;

/// Measures the prompts where that was not done yet, and writes the figure; gives the Markdown file (none of a dry run) and the text to
/// print.
///
/// # Errors
/// Lists or a model that are missing; what `dualmd memorisation` refuses; a stop that was asked for.
pub fn figure(session: &Session, args: &ReproduceOptions) -> Result<Made> {
    let (Some(memorised), Some(others)) = (&args.memorised, &args.others) else {
        bail_usage!(
            "fig3 at --scale paper is about 500 prompts that a model is known to remember and 500 others: --memorised FILE --others FILE, one prompt a line. \
             The paper takes Webster's prompts (2023, extracted from Stable Diffusion 1) and prompts of Lexica; with --only and --data \
             it is drawn for members and non-members of a fine-tuned model instead"
        );
    };
    let Some((name, folder)) = args.base.last() else {
        bail_usage!(
            "fig3 at --scale paper asks a model that remembers the prompts, in the paper Stable Diffusion 1.5: --base NAME=FOLDER"
        );
    };
    let prompts = PromptSource::Files {
        memorised: memorised.clone(),
        others: Some(others.clone()),
    };
    let out = args.out.join("paper").join("fig3").join(name);
    let asked = MemorisationOptions {
        clip: args.clip.clone(),
        ..plain(vec![folder.into()], prompts, args.seed, out)
    };
    if args.dry_run {
        return Ok(Made::Foreseen {
            text: foresee(&asked, folder)?,
            problems: Vec::new(),
        });
    }
    create_folder(&asked.out)?;
    if !same(&asked)? {
        measured(session, &asked)?;
    }
    let report = read(&asked.out)?.unwrap_or_default();
    let labels = ["prompts known to be memorised", "other prompts"];
    let found = histogram_of(
        &report,
        name,
        &format!("{name}, prompts of two lists"),
        labels,
    );
    let file = format!("fig3-paper-{name}.svg");
    dualmd_files::write(&args.out.join(&file), found.drawing.as_bytes())?;
    let counts = [report.n_memorised, report.n_others].map(|n| n as u64);
    let title = "Figure 3: t-error of prompts that a model remembers and of others";
    let outcome = Outcome {
        table: Table {
            rows: found.rows,
            notes: vec![notes(counts, asked.n)],
            ..Table::new(title, &HEADS)
        },
        heading: "What it shows",
        facts: vec![found.fact],
        pictures: vec![(format!("t-error of prompts, {name}"), file)],
    };
    let place = Place {
        folder: args.out.clone(),
        stem: "fig3-paper".into(),
        what: "fig3",
        of: "paper scale".into(),
        scale: Some("paper"),
        runs: vec![Source {
            dataset: name.clone(),
            title: format!("{} and {}", memorised.display(), others.display()),
            seed: args.seed,
            folder: asked.out.clone(),
        }],
        sets: Vec::new(),
    };
    let path = outcome.write(&place)?;
    Ok(Made::Written {
        text: outcome.text(&place.of, &[&outcome.table]),
        files: vec![path],
    })
}

/// What is there, and how many images would be drawn.
fn foresee(asked: &MemorisationOptions, folder: &str) -> Result<String> {
    let prompts = wanted(asked)?;
    let memorised = prompts.iter().filter(|p| p.1).count();
    let index = Path::new(folder).join("model_index.json");
    if !index.is_file() {
        bail!(
            "--base: there is no model_index.json in {folder}: name the folder that pipeline.save_pretrained wrote"
        );
    }
    Ok(format!(
        "{memorised} prompts that are said to be memorised, {} others; {} images of {} steps to draw, nothing to train\n",
        prompts.len() - memorised,
        prompts.len() * asked.n,
        asked.steps
    ))
}

/// What was compared, beside the paper.
fn notes([memorised, others]: [u64; 2], images: usize) -> String {
    let same = match (memorised, others) == (PAPER, PAPER) {
        true => "as many as in the paper; whether they are the paper's, this program cannot know",
        false => "the paper: 500 and 500",
    };
    format!(
        "{memorised} prompts that are said to be memorised and {others} others ({same}). The paper does not say which image a prompt's t-error is of; here it is \
         what the model draws for the prompt ({images} images, 50 steps, guidance 7.5), asked about with that prompt at guidance 1."
    )
}

/// Is the measurement there, of this model and these prompts?
fn same(asked: &MemorisationOptions) -> Result<bool> {
    if !is_there(asked)? {
        return Ok(false);
    }
    let path = asked.out.join("memorisation.csv");
    let bytes = dualmd_files::read(&path, limit::TABLE)?;
    let mut table = csv::Reader::from_reader(bytes.as_slice());
    let mut measured: Vec<(String, bool)> = Vec::new();
    for row in table.records() {
        let row = row.with_context(|| format!("cannot read {}", path.display()))?;
        let cell = |i: usize| row.get(i).unwrap_or_default().to_owned();
        measured.push((cell(0), cell(1) == "1"));
    }
    Ok(measured == wanted(asked)?)
}

/// The prompts of both lists, and whether they are said to be memorised.
fn wanted(asked: &MemorisationOptions) -> Result<Vec<(String, bool)>> {
    let mut out: Vec<(String, bool)> = Vec::new();
    let PromptSource::Files { memorised, others } = &asked.prompts else {
        return Ok(out);
    };
    for (file, memorised) in [(Some(memorised), true), (others.as_ref(), false)] {
        if let Some(file) = file {
            let text = dualmd_files::read_text(file, limit::TABLE)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            out.extend(lines.map(|line| (line.to_owned(), memorised)));
        }
    }
    Ok(out)
}

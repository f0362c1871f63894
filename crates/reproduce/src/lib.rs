//! The paper's tables and figures from runs of a study, with intervals over seeds and the paper's numbers beside them.
//!
//! - `datasets`: the image sets and their experiments
//! - `study`: which runs there are; makes those that are missing; `state`: what is in the folders
//! - `read`: their reports; `cell`: one number over seeds
//! - `layouts`: what stands in the paper's tables; `tables`: builds them
//! - `figure`, `frontier` (with `dualmd_plot`; `undefended`: what defences are compared with), `ablation`: other views
//! - `length`: how long models were trained, and the view over several lengths
//! - `check`, `estimate`: for `--dry-run`, are the images what is needed, and about how long does it take
//! - `text`: tables and figures of text-to-image models
//! - `defenses`: every defence against every kind of attacker, from runs of the study or of any experiment
//! - `by_loss`: attacks against how much is memorised, from runs of any experiments
//! - `own`: privacy against quality of runs of the user's own experiment, for `dualmd run`
//! - `paper`: the paper's numbers (`data/paper.csv`); `facts`: what agrees with them
//! - `names`: what things are called; `table`: words and numbers of a view; `write`: Markdown, CSV, JSON

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod ablation;
mod by_loss;
mod cell;
mod check;
mod datasets;
mod defenses;
mod estimate;
mod facts;
mod figure;
#[cfg(test)]
mod fixture;
mod frontier;
mod layouts;
mod length;
mod names;
mod own;
mod paper;
mod read;
mod state;
#[cfg(test)]
mod stored;
mod study;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod undefended;
mod write;

pub use dualmd::options::{ReproduceOptions, Scale, What};
pub use own::frontier as own_frontier;

use anyhow::{Result, bail};
use dualmd::{Session, bail_usage, stages};
use read::{Evidence, Set};
use std::path::PathBuf;
use study::Study;
use table::Table;
use write::Outcome;

/// What came of it.
#[derive(Debug)]
pub enum Made {
    /// Of a dry run.
    Foreseen {
        /// What would be run, and about how long it takes.
        text: String,
        /// What is in the way.
        problems: Vec<String>,
    },
    /// A table or figure.
    Written {
        /// For a terminal.
        text: String,
        /// Markdown first, then pictures.
        files: Vec<PathBuf>,
    },
}

/// Makes the runs that are missing, and writes the table or figure. None if asked to stop; the same call goes on then.
///
/// # Errors
/// An unknown image set; images or weights that are needed and not named; what a run refuses.
pub fn reproduce(session: &Session, args: &ReproduceOptions) -> Result<Option<Made>> {
    match made(session, args) {
        Err(error) if stages::generator::stopped(&error) => Ok(None),
        done => done,
    }
}

fn made(session: &Session, args: &ReproduceOptions) -> Result<Option<Made>> {
    if args.memorised.is_some() && (args.what, args.scale) != (What::Fig3, Scale::Paper) {
        bail_usage!("--memorised and --others are for fig3 --scale paper");
    }
    // The paper's figure is about prompts, of which users bring lists; a fine-tuned model's members are asked for by name.
    let lists = args.memorised.is_some() || args.data.is_empty();
    if (args.what, args.scale) == (What::Fig3, Scale::Paper) && lists {
        return text::prompts_figure(session, args).map(Some);
    }
    if args.what == What::ByLoss {
        return by_loss::made(args).map(Some);
    }
    let study = Study::resolve(args)?;
    if args.dry_run {
        let mut text = study.describe()?;
        let problems = study.foresee(&mut text, session)?;
        return Ok(Some(Made::Foreseen { text, problems }));
    }
    if !study.run(session)? {
        return Ok(None);
    }
    if args.what == What::Defenses {
        return defenses::made(session, &study, args).map(Some);
    }
    if matches!(args.what, What::Table1 | What::Fig3) {
        text::measure(&study, session, args)?;
    }
    let evidence = study.read()?;
    let outcome = outcome(args.what, &study, &evidence)?;
    let mut files = vec![outcome.write(&study.place(args.what))?];
    let pictures = outcome.pictures.iter();
    files.extend(pictures.map(|(_, file)| study.out.join(file)));
    Ok(Some(Made::Written {
        text: printed(args.what, &study, &evidence, &outcome)?,
        files,
    }))
}

/// Builds what was asked for; pictures are written.
fn outcome(what: What, study: &Study, evidence: &Evidence) -> Result<Outcome> {
    let save = |set: &Set, end: &str, drawing: &str| study.drawing(what, set, end, drawing);
    let plain = |(table, pictures): (Table, Pictures)| (table, Vec::new(), pictures);
    let worded = |(table, facts): (Table, Vec<String>)| (table, facts, Vec::new());
    let (heading, drawn): (&'static str, Drawn) = match what {
        What::Table1 => (AGREES, worded(text::memorisation(evidence)?)),
        What::Fig3 => ("What it shows", text::histograms(evidence, &save)?),
        What::Fig4 => ("", text::curves(evidence, &save)?),
        What::Fig5 => ("", plain(figure::draw(study, &evidence.sets)?)),
        What::Fig6 => ("", plain(text::grids(study, &evidence.sets, 6)?)),
        What::Fig7 => ("", plain(text::grids(study, &evidence.sets, 7)?)),
        What::Ablation => ("Which choice matters", worded(ablation::build(evidence)?)),
        What::Frontier => (EQUAL, frontier::draw(evidence, &save)?),
        What::Epochs => ("From when on a model leaks", length::draw(evidence, &save)?),
        // Its runs may be of any experiment.
        What::Defenses | What::ByLoss => {
            bail!("{} is drawn from what was collected", what.as_str())
        }
        What::Table2
        | What::Table3
        | What::Table4
        | What::Table5
        | What::Table7
        | What::Table8
        | What::Table9
        | What::Table10 => {
            let Some(layout) = layouts::of(what) else {
                bail!("{} has no layout", what.as_str());
            };
            let facts = match layout.text {
                true => text::facts(layout, evidence)?,
                false => facts::facts(layout.number, evidence)?,
            };
            (AGREES, worded((tables::build(layout, evidence)?, facts)))
        }
    };
    let (mut table, facts, pictures) = drawn;
    // In the view over lengths the epochs are a column.
    if what != What::Epochs {
        table.notes.extend(length::note(evidence, what.is_text()));
    }
    Ok(Outcome {
        table,
        heading,
        facts,
        pictures,
    })
}

/// Heading of what is compared with the paper.
const AGREES: &str = "What agrees with the paper";

/// Heading of what the frontier says.
const EQUAL: &str = "Against an undefended model of equal quality";

/// (what it shows, file name) of pictures.
type Pictures = Vec<(String, String)>;

/// A table, sentences and pictures.
type Drawn = (Table, Vec<String>, Pictures);

/// Writes a picture of a set, whose name ends as it is told, and gives the file's name.
type Save<'a> = dyn Fn(&Set, &str, &str) -> Result<String> + 'a;

/// For a terminal: one narrower table per image set, then the same notes and sentences.
fn printed(what: What, study: &Study, evidence: &Evidence, outcome: &Outcome) -> Result<String> {
    let of = study.place(what).of;
    let layout = layouts::of(what).filter(|layout| !layout.text);
    let Some(layout) = layout.filter(|_| evidence.sets.len() > 1) else {
        return Ok(outcome.text(&of, &[&outcome.table]));
    };
    let mut narrow = Vec::new();
    for set in &evidence.sets {
        let alone = Evidence {
            sets: vec![set.clone()],
        };
        narrow.push(tables::build(layout, &alone)?);
    }
    Ok(outcome.text(&of, &narrow.iter().collect::<Vec<_>>()))
}

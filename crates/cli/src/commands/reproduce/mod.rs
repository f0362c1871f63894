//! `dualmd reproduce`: the paper's tables and figure from runs of a study, with intervals over seeds and the paper's numbers.
//!
//! - `datasets`: the image sets and their experiments
//! - `study`: which runs there are; makes those that are missing; `state`: what is in the folders
//! - `read`: their reports; `cell`: one number over seeds
//! - `tables`, `figure`, `frontier` (with `svg`), `ablation`: views of them
//! - `text`: tables and figures of text-to-image models
//! - `paper`: the paper's numbers; `facts`: what agrees with them
//! - `names`: what things are called; `write`: Markdown, CSV, JSON

mod ablation;
mod cell;
mod datasets;
mod facts;
mod figure;
mod frontier;
mod names;
mod paper;
mod read;
mod state;
mod study;
mod svg;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod write;

use crate::args::{Global, ReproduceArgs, What};
use crate::{signals, stages};
use anyhow::Result;
use read::Evidence;
use std::process::ExitCode;
use study::Study;
use tables::Table;
use write::Outcome;

/// Makes the runs that are missing, and writes and prints the table or figure.
pub fn reproduce(global: &Global, args: &ReproduceArgs) -> Result<ExitCode> {
    let study = Study::resolve(global, args)?;
    if args.dry_run {
        print!("{}", study.describe()?);
        return Ok(ExitCode::SUCCESS);
    }
    let stop = signals::stop_flag()?;
    if !study.run(global, &stop)? {
        return Ok(signals::stopped(&study.out));
    }
    if matches!(args.what, What::Table1 | What::Fig3) {
        match text::measure(&study, global, args, &stop) {
            Err(error) if stages::sample::stopped(&error) => {
                return Ok(signals::stopped(&study.out));
            }
            done => done?,
        }
    }
    let evidence = Evidence::read(&study)?;
    let outcome = outcome(args.what, &study, &evidence)?;
    let path = outcome.write(args.what, &study)?;
    print!("{}", printed(args.what, &study, &evidence, &outcome)?);
    println!("written: {}", path.display());
    for (_, file) in &outcome.pictures {
        println!("written: {}", study.out.join(file).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds what was asked for; pictures are written.
fn outcome(what: What, study: &Study, evidence: &Evidence) -> Result<Outcome> {
    let plain = |table, heading, facts, pictures| Outcome {
        table,
        heading,
        facts,
        pictures,
    };
    if let Some(number) = tables::number(what) {
        let facts = facts::facts(number, evidence)?;
        let table = tables::build(number, evidence)?;
        return Ok(plain(
            table,
            "What agrees with the paper",
            facts,
            Vec::new(),
        ));
    }
    if let Some(number) = text::number(what) {
        return Ok(plain(
            text::build(number, evidence)?,
            "What agrees with the paper",
            text::facts(number, evidence)?,
            Vec::new(),
        ));
    }
    if what == What::Table1 {
        let (table, facts) = text::memorisation(evidence)?;
        return Ok(plain(
            table,
            "What agrees with the paper",
            facts,
            Vec::new(),
        ));
    }
    if what == What::Fig3 {
        let (mut pictures, mut facts) = (Vec::new(), Vec::new());
        let mut table = Table {
            title: "Figure 3: t-error of prompts on No defense, first seed".into(),
            columns: text::HISTOGRAM.map(str::to_owned).to_vec(),
            ..Table::default()
        };
        for set in &evidence.sets {
            if let Some(mut found) = text::histogram(set)? {
                let file = format!("fig3-{}-{}.svg", study.scale.as_str(), set.name);
                dualmd_data::write_atomic(&study.out.join(&file), found.drawing.as_bytes())?;
                pictures.push((format!("t-error of prompts, {}", set.title), file));
                facts.push(found.fact);
                table.rows.append(&mut found.rows);
            }
        }
        return Ok(plain(table, "What it shows", facts, pictures));
    }
    if let What::Fig6 | What::Fig7 = what {
        let number = if what == What::Fig6 { 6 } else { 7 };
        let (table, pictures) = text::grids(study, &evidence.sets, number)?;
        return Ok(plain(table, "", Vec::new(), pictures));
    }
    if what == What::Fig4 {
        let mut pictures = Vec::new();
        for set in &evidence.sets {
            let Some(drawing) = text::roc(set)? else {
                continue;
            };
            let file = format!("fig4-{}-{}.svg", study.scale.as_str(), set.name);
            dualmd_data::write_atomic(&study.out.join(&file), drawing.as_bytes())?;
            pictures.push((format!("ROC curves, {}", set.title), file));
        }
        // The numbers of the curves.
        let mut table = text::build(5, evidence)?;
        table.title = "Figure 4: ROC curves of the black-box attack, first seed".into();
        return Ok(plain(table, "", Vec::new(), pictures));
    }
    if what == What::Fig5 {
        let (table, pictures) = figure::draw(study, &evidence.sets)?;
        return Ok(plain(table, "", Vec::new(), pictures));
    }
    if what == What::Ablation {
        let (table, facts) = ablation::build(evidence)?;
        return Ok(plain(table, "Which choice matters", facts, Vec::new()));
    }
    let (table, facts) = frontier::build(evidence)?;
    let mut pictures = Vec::new();
    for set in &evidence.sets {
        let (frontier, steps) = frontier::drawings(set, evidence)?;
        let stem = format!("frontier-{}-{}", study.scale.as_str(), set.name);
        for (name, text, about) in [
            (format!("{stem}.svg"), frontier, "Privacy against quality"),
            (
                format!("{stem}-steps.svg"),
                steps,
                "Attacks against training steps",
            ),
        ] {
            dualmd_data::write_atomic(&study.out.join(&name), text.as_bytes())?;
            pictures.push((format!("{about}, {}", set.title), name));
        }
    }
    Ok(plain(
        table,
        "Against an undefended model of equal quality",
        facts,
        pictures,
    ))
}

/// For a terminal: one narrower table per image set, then the same notes and sentences.
fn printed(what: What, study: &Study, evidence: &Evidence, outcome: &Outcome) -> Result<String> {
    let Some(number) = tables::number(what).filter(|_| evidence.sets.len() > 1) else {
        return Ok(outcome.text(study.scale, &[&outcome.table]));
    };
    let mut narrow = Vec::new();
    for set in &evidence.sets {
        let alone = Evidence {
            sets: vec![set.clone()],
        };
        narrow.push(tables::build(number, &alone)?);
    }
    Ok(outcome.text(study.scale, &narrow.iter().collect::<Vec<_>>()))
}

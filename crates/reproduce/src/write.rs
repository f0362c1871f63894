//! A result as Markdown, CSV and JSON.

use super::Pictures;
use super::table::{Record, Row, Table};
use anyhow::Result;
use dualmd::machine;
use dualmd::stages::create_folder;
use dualmd_audit::cells::cell;
use dualmd_record::write_json;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Everything that a command says.
#[derive(Debug)]
pub struct Outcome {
    /// The table.
    pub table: Table,
    /// Heading of the sentences below it.
    pub heading: &'static str,
    /// The sentences.
    pub facts: Vec<String>,
    /// (what it shows, file name) of pictures beside it.
    pub pictures: Pictures,
}

/// Where a result goes, and the runs that it is made of.
#[derive(Debug)]
pub struct Place {
    /// Folder of the files; names of runs are shown as seen from it.
    pub folder: PathBuf,
    /// Name of the files, without extension.
    pub stem: String,
    /// What it is, for machines: table3, frontier.
    pub what: &'static str,
    /// What the heading says of it in parentheses: the scale, or the experiment.
    pub of: String,
    /// cpu or paper; none for an experiment of the user's.
    pub scale: Option<&'static str>,
    /// The runs.
    pub runs: Vec<Source>,
    /// What was changed in all of them, as it was typed.
    pub sets: Vec<String>,
}

/// A run behind a result.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Its image set or experiment.
    pub dataset: String,
    /// The same for people.
    #[serde(skip)]
    pub title: String,
    /// Its seed.
    pub seed: u64,
    /// Its folder.
    pub folder: PathBuf,
}

/// The numbers and sentences of a result, for programs.
#[derive(Serialize)]
struct File<'a> {
    command: String,
    dualmd: &'static str,
    facts: &'a [String],
    notes: &'a [String],
    numbers: &'a [Record],
    pictures: Vec<&'a String>,
    runs: &'a [Source],
    scale: Option<&'static str>,
    schema: u32,
    seeds: Vec<u64>,
    set: &'a [String],
    title: &'a str,
    what: &'static str,
}

impl Place {
    fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.stem))
    }

    fn relative<'a>(&self, folder: &'a Path) -> &'a Path {
        match folder.strip_prefix(&self.folder) {
            Ok(inside) if inside.as_os_str().is_empty() => Path::new("."),
            Ok(inside) => inside,
            Err(_) => folder,
        }
    }
}

impl Outcome {
    /// Tables, notes and sentences; `tables` are the own one, or parts of it.
    pub fn text(&self, of: &str, tables: &[&Table]) -> String {
        let mut out = format!("# {} ({of})\n", self.table.title);
        for table in tables {
            out.push_str(&format!("\n{}", markdown_table(table)));
            for also in &table.also {
                out.push_str(&format!("\n## {}\n\n{}", also.title, markdown_table(also)));
            }
        }
        for note in &self.table.notes {
            out.push_str(&format!("\n{note}\n"));
        }
        if !self.facts.is_empty() {
            out.push_str(&format!("\n## {}\n\n", self.heading));
            for fact in &self.facts {
                out.push_str(&format!("- {fact}\n"));
            }
        }
        out
    }

    /// The whole as Markdown.
    pub fn markdown(&self, place: &Place) -> String {
        let mut out = self.text(&place.of, &[&self.table]);
        for (alt, file) in &self.pictures {
            out.push_str(&format!("\n![{alt}]({file})\n"));
        }
        out.push_str("\n## Runs\n\n");
        for run in &place.runs {
            let name = place.relative(&run.folder).display();
            out.push_str(&format!("- {name} ({})\n", run.title));
        }
        if !place.sets.is_empty() {
            let sets = place.sets.join(", ");
            out.push_str(&format!("\nChanged in all runs: {sets}\n"));
        }
        out
    }

    /// Writes the Markdown, CSV and JSON files; gives the first one's path.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, place: &Place) -> Result<PathBuf> {
        create_folder(&place.folder)?;
        dualmd_files::write(&place.file("md"), self.markdown(place).as_bytes())?;
        let numbers = csv(place.what, &self.table.records)?;
        dualmd_files::write(&place.file("csv"), &numbers)?;
        let mut seeds: Vec<u64> = place.runs.iter().map(|r| r.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let file = File {
            command: machine::call(),
            dualmd: env!("CARGO_PKG_VERSION"),
            facts: &self.facts,
            notes: &self.table.notes,
            numbers: &self.table.records,
            pictures: self.pictures.iter().map(|p| &p.1).collect(),
            runs: &place.runs,
            scale: place.scale,
            schema: 1,
            seeds,
            set: &place.sets,
            title: &self.table.title,
            what: place.what,
        };
        // As a value, whose keys are in alphabetical order at every depth.
        write_json(&place.file("json"), &serde_json::to_value(file)?)?;
        Ok(place.file("md"))
    }
}

/// One row per number.
fn csv(what: &str, records: &[Record]) -> Result<Vec<u8>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record([
        "what", "dataset", "attack", "model", "method", "metric", "mean", "low", "high",
        "interval", "seeds", "values", "paper",
    ])?;
    for r in records {
        let text = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
        let kind = match (r.cell.between(), r.cell.image_ci) {
            (Some(_), _) => "seeds",
            (None, Some(_)) => "images",
            (None, None) => "",
        };
        let bound = |i: usize| text(r.cell.interval().map(|ci| ci[i]));
        let values: Vec<String> = r
            .cell
            .values
            .iter()
            .map(|(s, v)| format!("{s}={v}"))
            .collect();
        let paper: Vec<String> = r.paper.iter().map(|(d, v)| format!("{d}={v}")).collect();
        out.write_record([
            what,
            &*cell(&r.dataset),
            &*cell(r.attack.as_deref().unwrap_or("")),
            &*cell(&r.model),
            &*cell(&r.method),
            r.metric,
            &text(r.cell.mean()),
            &bound(0),
            &bound(1),
            kind,
            &r.cell.values.len().to_string(),
            &values.join(";"),
            &paper.join(";"),
        ])?;
    }
    Ok(out.into_inner()?)
}

/// Columns padded to one width, so that the text can be read as it is.
fn markdown_table(table: &Table) -> String {
    let width = |i: usize| {
        let cells = table.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => cells.get(i),
            Row::Heading(_) => None,
        });
        let widest = cells
            .chain(table.columns.get(i))
            .map(|c| c.chars().count())
            .max();
        widest.unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(i, w)| {
                let cell = cells.get(i).map_or("", String::as_str).replace('|', "/");
                format!("{cell:<w$}")
            })
            .collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let mut out = line(&table.columns);
    let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
    out.push_str(&line(&rule));
    for row in &table.rows {
        match row {
            Row::Cells(cells) => out.push_str(&line(cells)),
            Row::Heading(text) => {
                let filled = format!("*{text}*");
                out.push_str(&format!("| {filled} |{}\n", " |".repeat(widths.len() - 1)));
            }
        }
    }
    out
}

//! A result as Markdown, CSV and JSON.

use super::study::Study;
use super::tables::{Record, Row, Table};
use crate::args::{Scale, What};
use crate::commands::run::command_line;
use crate::stages::{create_folder, write_json};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;

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
    pub pictures: Vec<(String, String)>,
}

impl Outcome {
    /// Tables, notes and sentences; `tables` are the own one, or parts of it.
    pub fn text(&self, scale: Scale, tables: &[&Table]) -> String {
        let mut out = format!("# {} ({} scale)\n", self.table.title, scale.as_str());
        for table in tables {
            out.push_str(&format!("\n{}", markdown_table(table)));
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
    pub fn markdown(&self, study: &Study) -> String {
        let mut out = self.text(study.scale, &[&self.table]);
        for (alt, file) in &self.pictures {
            out.push_str(&format!("\n![{alt}]({file})\n"));
        }
        out.push_str("\n## Runs\n\n");
        for set in &study.datasets {
            for planned in &set.runs {
                let name = planned.folder.0.strip_prefix(&study.out);
                let name = name.unwrap_or(&planned.folder.0).display().to_string();
                out.push_str(&format!("- {name} ({})\n", set.dataset.title));
            }
        }
        if !study.sets.is_empty() {
            out.push_str(&format!(
                "\nChanged in all runs: {}\n",
                study.sets.join(", ")
            ));
        }
        out
    }

    /// Writes OUT/WHAT-SCALE.md, .csv and .json; gives the first one's path.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, what: What, study: &Study) -> Result<PathBuf> {
        create_folder(&study.out)?;
        let stem = format!("{}-{}", what.as_str(), study.scale.as_str());
        let file = |extension: &str| study.out.join(format!("{stem}.{extension}"));
        dualmd_data::write_atomic(&file("md"), self.markdown(study).as_bytes())?;
        dualmd_data::write_atomic(&file("csv"), &csv(what, &self.table.records)?)?;
        let runs = study.datasets.iter().flat_map(|set| {
            let own = set.runs.iter();
            own.map(|r| json!({ "dataset": set.dataset.name, "seed": r.experiment.seed, "folder": r.folder.0 }))
        });
        write_json(
            &file("json"),
            &json!({
                "schema": 1, "what": what.as_str(), "scale": study.scale.as_str(), "command": command_line(),
                "dualmd": env!("CARGO_PKG_VERSION"), "seeds": study.seeds, "set": study.sets,
                "runs": runs.collect::<Vec<_>>(), "title": self.table.title, "numbers": self.table.records,
                "facts": self.facts, "notes": self.table.notes,
                "pictures": self.pictures.iter().map(|p| &p.1).collect::<Vec<_>>(),
            }),
        )?;
        Ok(file("md"))
    }
}

/// One row per number.
fn csv(what: What, records: &[Record]) -> Result<Vec<u8>> {
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
            what.as_str(),
            &r.dataset,
            r.attack.as_deref().unwrap_or(""),
            &r.model,
            &r.method,
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

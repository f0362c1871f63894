//! What every view is written into: a table as text, and the numbers behind its cells.

use super::cell::Cell;
use super::read::{Evidence, Set};
use serde::Serialize;

/// A table, as text and as numbers.
#[derive(Debug, Default)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Rows.
    pub rows: Vec<Row>,
    /// How to read it.
    pub notes: Vec<String>,
    /// The numbers behind the cells.
    pub records: Vec<Record>,
    /// Tables with other columns of the same rows, each under its own heading. Their notes and numbers are those of the first.
    pub also: Vec<Table>,
}

/// A row.
#[derive(Debug, PartialEq)]
pub enum Row {
    /// As many cells as there are columns.
    Cells(Vec<String>),
    /// A heading across.
    Heading(String),
}

/// One number with what it is of.
#[derive(Debug, Serialize)]
pub struct Record {
    /// Image set.
    pub dataset: String,
    /// Attack; none for image quality and cost.
    pub attack: Option<String>,
    /// Model as the study names it.
    pub model: String,
    /// Its name in the table.
    pub method: String,
    /// What the number is.
    pub metric: &'static str,
    /// The number over seeds.
    #[serde(flatten)]
    pub cell: Cell,
    /// The paper's numbers by image set.
    pub paper: Vec<(&'static str, f64)>,
}

impl Record {
    /// A number of a model, with none of the paper's beside it; `method`: the model's name in the table.
    pub fn new(
        set: &Set,
        model: &str,
        method: &str,
        attack: Option<&str>,
        metric: &'static str,
        cell: Cell,
    ) -> Self {
        Self {
            dataset: set.label(),
            attack: attack.map(str::to_owned),
            model: model.to_owned(),
            method: method.to_owned(),
            metric,
            cell,
            paper: Vec::new(),
        }
    }
}

impl Table {
    /// An empty one.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(|head| (*head).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Adds a row of words.
    pub fn words(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(Row::Cells(cells.into()));
    }

    /// Keeps a number for files; says whether there is one.
    pub fn keep(&mut self, record: Record) -> bool {
        let there = record.cell.mean().is_some();
        if there {
            self.records.push(record);
        }
        there
    }

    /// Adds a row of numbers, each with its digits after the point, and keeps them; none of them, no row. `first` and `last`: what
    /// stands before and after them.
    pub fn numbers(&mut self, first: &[String], numbers: Vec<(Record, usize)>, last: &[String]) {
        let mut cells = first.to_vec();
        let mut known = false;
        for (record, digits) in numbers {
            cells.push(record.cell.text(digits));
            known |= self.keep(record);
        }
        if known {
            cells.extend_from_slice(last);
            self.words(cells);
        }
    }
}

/// How the intervals came about.
pub fn intervals(evidence: &Evidence) -> String {
    let runs = evidence
        .sets
        .iter()
        .map(|s| s.runs.len())
        .max()
        .unwrap_or(0);
    if runs > 1 {
        format!(
            "Mean over {runs} seeds [95 % interval between seeds, Student's t with {} degree{} of freedom; an AUC's or a share's is cut \
             at 0 and 1]; every seed draws images, split and weights anew.",
            runs - 1,
            if runs == 2 { "" } else { "s" }
        )
    } else {
        "One seed: (95 % interval over the images of that one run). It says nothing about another training; use --seeds 3.".into()
    }
}

//! The table of all defences and attackers, its cells one by one, and the figure.

use super::attackers::{Answer, Attacker, Number, Proof, Several, State, answer};
use super::collect::Collected;
use crate::cell::{Cell, decimal};
use crate::names::{self, BASELINE};
use crate::paper::Metric;
use crate::read::{Evidence, Measured, Model, Set};
use crate::table::{Record, Row as TableRow, Table, intervals};
use crate::undefended::{Line, baseline};
use crate::{frontier, length};
use anyhow::Result;
use dualmd::plan::grouped;
use dualmd_audit::cells::cell as csv_text;
use dualmd_audit::report::BlindBaseline;
use dualmd_names::Defense;
use dualmd_plot::{self as svg, Panel, Point};
use std::collections::BTreeSet;
use std::path::Path;

/// What is drawn of collected runs.
#[derive(Debug)]
pub struct Drawn {
    /// The table.
    pub table: Table,
    /// Sentences: each defence against an undefended model of equal quality.
    pub facts: Vec<String>,
    /// What the rows are made of.
    pub rows: Vec<Row>,
    /// Privacy against quality, an SVG file.
    pub figure: String,
}

/// A defence with all that is known of it.
#[derive(Debug)]
pub struct Row {
    /// Name of the model.
    pub model: String,
    /// The same for people.
    pub method: String,
    /// What each attacker finds.
    pub answers: Vec<(Attacker, Answer)>,
    /// How many images of one person prove use.
    pub proofs: Vec<(Several, Vec<Proof>)>,
    /// Quality and cost, as files name them, over seeds.
    pub numbers: Vec<(&'static str, Cell)>,
}

impl Row {
    fn number(&self, metric: &str) -> Option<&Cell> {
        let mut all = self.numbers.iter();
        all.find(|(name, _)| *name == metric).map(|(_, cell)| cell)
    }
}

/// How a place is named in the table and in the list of runs below it.
pub fn mark(place: usize) -> String {
    format!("#{}", place + 1)
}

/// Distance at equal numbers of generated and of real images.
const DISTANCE: &str = "frechet_at_equal_n";
/// The same of real images and others.
const FLOOR: &str = "frechet_floor";
/// See [`DISTANCE`].
const PRECISION: &str = "precision";
/// See [`DISTANCE`].
const RECALL: &str = "recall";
/// Of the training and all that it needs.
const STEPS: &str = "training_steps";
/// See [`STEPS`].
const EVALUATIONS: &str = "training_evaluations";
/// See [`STEPS`].
const SECONDS: &str = "training_seconds";
/// Of a generated image.
const CALLS: &str = "calls_per_image";

/// Builds all of it.
///
/// # Errors
/// A number that is not finite.
pub fn draw(collected: &Collected) -> Result<Drawn> {
    let evidence = Evidence {
        sets: vec![collected.set.clone()],
    };
    let mut rows = Vec::new();
    for model in models(collected, &evidence) {
        rows.push(row(collected, &model)?);
    }
    let (_, facts) = frontier::build(&evidence)?;
    Ok(Drawn {
        table: table(collected, &evidence, &rows),
        figure: figure(collected, &evidence, &rows)?,
        facts,
        rows,
    })
}

/// Names of the rows: what was found, and what there should be.
fn models(collected: &Collected, evidence: &Evidence) -> Vec<String> {
    let mut out = names::compared(evidence);
    for expected in &collected.expected {
        if !out.contains(&expected.name) {
            out.push(expected.name.clone());
        }
    }
    out.sort_by_key(|name| names::rank(name));
    out
}

fn row(collected: &Collected, model: &str) -> Result<Row> {
    let set = &collected.set;
    let mut expected = collected.expected.iter();
    let found = || {
        let mut own = set.audited().filter(|m| m.name == model);
        own.find_map(|m| m.defense.defense())
    };
    let defense: Option<Defense> = expected
        .find(|e| e.name == model)
        .map(|e| e.defense)
        .or_else(found);
    let mut answers = Vec::new();
    for attacker in Attacker::ALL {
        answers.push((attacker, answer(collected, model, defense, attacker)?));
    }
    let plain = |number: fn(&Model) -> Option<f64>| {
        Cell::of(set, model, |m| -> Option<Measured> {
            Some((number(m)?, None))
        })
    };
    let numbers = vec![
        (Metric::Excess.key(), Cell::excess(set, model)?),
        (DISTANCE, plain(|m| m.image_utility.as_ref()?.at_equal_n)?),
        (FLOOR, plain(|m| m.image_utility.as_ref()?.floor)?),
        (PRECISION, plain(|m| m.image_utility.as_ref()?.precision)?),
        (RECALL, plain(|m| m.image_utility.as_ref()?.recall)?),
        (STEPS, plain(|m| m.steps)?),
        (EVALUATIONS, plain(|m| m.evaluations)?),
        (SECONDS, plain(|m| m.seconds)?),
        (CALLS, plain(|m| m.calls)?),
    ];
    Ok(Row {
        model: model.to_owned(),
        method: names::method(model),
        answers,
        proofs: Several::ALL
            .map(|several| (several, several.proofs(collected, model)))
            .to_vec(),
        numbers,
    })
}

/// The table: a row for each defence; its quality and cost are a second one. A column that no row has a number in is left out.
fn table(collected: &Collected, evidence: &Evidence, rows: &[Row]) -> Table {
    let set = &collected.set;
    let mut table = Table::new("Every defence against every attacker", &["Method"]);
    let heads = Attacker::ALL.map(|a| match a {
        Attacker::Extraction => a.title().to_owned(),
        _ => format!("AUC, {}", a.title()),
    });
    table.columns.extend(heads);
    table
        .columns
        .extend(Several::ALL.map(|s| s.names().1.to_owned()));
    table.columns.push("runs".to_owned());
    let mut worth = Table::new("Quality and cost", &["Method"]);
    worth.columns.push(names::column(Metric::Excess, evidence));
    let heads = [
        "distance (floor)",
        "precision",
        "recall",
        "training steps",
        "evaluations",
        "seconds",
        "calls an image",
    ];
    worth.columns.extend(heads.map(str::to_owned));
    for row in rows {
        let own = places(collected, &row.model);
        let mut keep = |attack: Option<&str>, metric: &'static str, cell: &Cell| {
            let (model, method) = (&row.model, &row.method);
            table.keep(Record::new(
                set,
                model,
                method,
                attack,
                metric,
                cell.clone(),
            ));
        };
        let mut cells = vec![row.method.clone()];
        for (attacker, answer) in &row.answers {
            cells.push(answered(*attacker, answer, &own));
            let attack = Some(answer.attack.as_str()).filter(|_| answer.state == State::Measured);
            keep(attack, attacker.metric(), &answer.cell);
        }
        for (_, proofs) in &row.proofs {
            cells.push(proven(proofs, &own));
        }
        for (metric, cell) in &row.numbers {
            keep(None, metric, cell);
        }
        let marks: Vec<String> = own.iter().map(|place| mark(*place)).collect();
        cells.push(match marks.is_empty() {
            true => MISSING.to_owned(),
            false => marks.join(" "),
        });
        table.words(cells);
        worth.words(worthy(row));
    }
    let mut left_out = without_empty(&mut table);
    left_out.extend(without_empty(&mut worth));
    table.notes = vec![intervals(evidence)];
    table.notes.extend(NOTES.map(str::to_owned));
    table.notes.extend(blind(set));
    if !left_out.is_empty() {
        let heads = left_out.join("; ");
        let note = format!("Measured in no row, and left out: {heads}.");
        table.notes.push(note);
    }
    table.notes.extend(holes(rows));
    table.notes.extend(length::note(evidence, false));
    table.notes.extend(collected.notes.iter().cloned());
    if worth.columns.len() > 1 {
        table.also.push(worth);
    }
    table
}

/// Cells of quality and cost.
fn worthy(row: &Row) -> Vec<String> {
    let decimals = |metric: &str, digits: usize| match row.number(metric) {
        Some(cell) if cell.mean().is_some() => cell.text(digits),
        _ => MISSING.to_owned(),
    };
    let mean = |metric: &str| row.number(metric).and_then(Cell::mean);
    let whole = |metric: &str| mean(metric).map_or(MISSING.to_owned(), rounded);
    let mut cells = vec![row.method.clone()];
    cells.push(decimals(Metric::Excess.key(), Metric::Excess.digits()));
    cells.push(match (mean(DISTANCE), mean(FLOOR)) {
        (Some(distance), Some(floor)) => {
            format!("{} ({})", decimal(distance, 2), decimal(floor, 2))
        }
        _ => MISSING.to_owned(),
    });
    cells.extend([decimals(PRECISION, 2), decimals(RECALL, 2)]);
    cells.extend([STEPS, EVALUATIONS, SECONDS, CALLS].map(whole));
    cells
}

/// Takes the columns out in which no row has a number, and gives their heads.
fn without_empty(table: &mut Table) -> Vec<String> {
    let empty = |i: usize| {
        let mut cells = table.rows.iter().filter_map(|row| match row {
            TableRow::Cells(cells) => cells.get(i),
            TableRow::Heading(_) => None,
        });
        cells.all(|cell| cell == MISSING || cell == "-")
    };
    let places = 0..table.columns.len();
    let kept: Vec<bool> = places.map(|i| i == 0 || !empty(i)).collect();
    let heads = table.columns.iter().zip(&kept);
    let out = heads.filter(|(_, kept)| !**kept);
    let out = out.map(|(head, _)| head.clone()).collect();
    let some = |cells: &mut Vec<String>| {
        let mut kept = kept.iter();
        cells.retain(|_| kept.next().copied().unwrap_or(true));
    };
    some(&mut table.columns);
    for row in &mut table.rows {
        if let TableRow::Cells(cells) = row {
            some(cells);
        }
    }
    out
}

/// What tells members from others without a model, in each seed: where something does, attacks may have found the same.
fn blind(set: &Set) -> Option<String> {
    let found = set.runs.iter().filter_map(|run| {
        let blind = run.blind.as_deref()?;
        Some((run.seed, blind))
    });
    let found: Vec<(u64, &BlindBaseline)> = found.collect();
    if found.is_empty() {
        return None;
    }
    let each = found.iter().map(|(seed, blind)| {
        let [low, high] = blind.auc_ci.map(|v| decimal(v, 2));
        format!("{} ({low}-{high}) in seed {seed}", decimal(blind.auc, 2))
    });
    let each = each.collect::<Vec<_>>().join(", ");
    let mut out = format!(
        "A classifier that sees the images and no model tells members from others with AUC {each}."
    );
    for (seed, blind) in found {
        match &*blind.outcome {
            "void" => out.push_str(&format!(
                " Seed {seed}: the sets differ without any model, and what attacks find there means nothing."
            )),
            "warning" => out.push_str(&format!(
                " Seed {seed}: the sets differ a little without any model, and attacks may have found that."
            )),
            _ => {}
        }
    }
    Some(out)
}

/// What stands where there is no number and could be one.
const MISSING: &str = "missing";

/// What stands where a test was not made, because its result would mean nothing.
const REFUSED: &str = "refused";

/// How the table is read.
const NOTES: [&str; 4] = [
    "Each AUC is that of the strongest attack which such an attacker can make: the one with the largest mean. Its interval does not know that it \
     was chosen. Behind it: the attack, and for each seed the members found at 1 % false alarms. \"-\": there is no such attacker; a pair has no network to be asked, its weights \
     are those of the models that it is made of, and each of these is judged on the members that it was trained on. \"missing\": not measured.",
    "Extracted: members among the candidates that an attacker without any training image finds, for each seed, and as many unseen images in their \
     place. Images of one person: the smallest number that proves use in four of five cases at 5 % false alarms, for each seed; \"refused\": the sets \
     differ without any model, which would pass for use.",
    "Training steps, network evaluations and seconds are those of a model and of all that had to be trained for it. Evaluations: images of all steps, times \
     the draws of DP-SGD, and once more for each teacher that answers. Not counted: the attacker of smp, images drawn for synthetic. Seconds are of the \
     machines that trained.",
    "A # names a run of the list below; a cell with its own is not of the runs that stand at the end of its row. Every cell with its file stands in the \
     -cells.csv beside this table.",
];

/// Places that a model itself was read from.
fn places(collected: &Collected, model: &str) -> BTreeSet<usize> {
    let runs = collected.set.runs.iter();
    runs.filter_map(|run| collected.source(run.seed, model, ""))
        .collect()
}

/// Marks of places that are not the row's own.
fn elsewhere(places: impl Iterator<Item = Option<usize>>, own: &BTreeSet<usize>) -> String {
    let others: BTreeSet<usize> = places.flatten().filter(|p| !own.contains(p)).collect();
    others.iter().map(|p| format!(" {}", mark(*p))).collect()
}

/// What an attacker finds, for people.
fn answered(attacker: Attacker, answer: &Answer, own: &BTreeSet<usize>) -> String {
    match answer.state {
        State::Missing => return MISSING.to_owned(),
        State::None => return "-".to_owned(),
        State::Measured => {}
    }
    let elsewhere = elsewhere(answer.numbers.iter().map(|n| n.place), own);
    let found = counts(answer.numbers.iter().map(|n| n.found));
    if attacker == Attacker::Extraction {
        let control = counts(answer.numbers.iter().map(|n| n.control));
        return format!(
            "{} (unseen {}) {}{elsewhere}",
            found.unwrap_or_default(),
            control.unwrap_or_default(),
            answer.attack
        );
    }
    let attack = match answer.attack.split_once(" on ") {
        Some((attack, model)) => format!("{} on {model}", names::attack(attack)),
        None => names::attack(&answer.attack),
    };
    let found = found.map_or(String::new(), |found| format!(", {found}"));
    format!("{} {attack}{found}{elsewhere}", answer.cell.text(3))
}

/// `62, 63 of 64`, or `62/64, 31/32`; none where any is unknown.
fn counts(found: impl Iterator<Item = Option<(usize, usize)>>) -> Option<String> {
    let all: Vec<(usize, usize)> = found.collect::<Option<_>>()?;
    let (_, n) = *all.first()?;
    let parts = |text: fn(&(usize, usize)) -> String| -> String {
        let parts: Vec<String> = all.iter().map(text).collect();
        parts.join(", ")
    };
    Some(match all.iter().all(|(_, other)| *other == n) {
        true => format!("{} of {n}", parts(|(k, _)| k.to_string())),
        false => parts(|(k, n)| format!("{k}/{n}")),
    })
}

/// The images that prove use in each seed; `> 64` where so many do not.
fn proven(proofs: &[Proof], own: &BTreeSet<usize>) -> String {
    if proofs.is_empty() {
        return MISSING.to_owned();
    }
    let each = proofs.iter().map(|proof| match proof.images {
        _ if proof.refused => REFUSED.to_owned(),
        Some(images) => images.to_string(),
        None => format!("> {}", proof.most),
    });
    let text = each.collect::<Vec<_>>().join(", ");
    text + &elsewhere(proofs.iter().map(|p| p.place), own)
}

/// A count for people.
fn rounded(value: f64) -> String {
    grouped(value.round() as u64)
}

/// Which rows lack which attacker.
fn holes(rows: &[Row]) -> Vec<String> {
    let mut out = Vec::new();
    for (i, attacker) in Attacker::ALL.iter().enumerate() {
        let is = |row: &Row, state: State| {
            let answer = row.answers.get(i);
            answer.is_some_and(|(_, answer)| answer.state == state)
        };
        let lacking = rows.iter().filter(|row| is(row, State::Missing));
        let missing: Vec<&str> = lacking.map(|r| r.model.as_str()).collect();
        // A column that no row has is left out as a whole.
        let measured = rows.iter().any(|row| is(row, State::Measured));
        if measured && !missing.is_empty() {
            out.push(format!(
                "Not measured, {}: {}.",
                attacker.title(),
                missing.join(", ")
            ));
        }
    }
    let unmade: Vec<&str> = rows
        .iter()
        .filter(|row| {
            let mut answers = row.answers.iter();
            answers.all(|(_, answer)| answer.state != State::Measured)
        })
        .map(|row| row.model.as_str())
        .collect();
    if !unmade.is_empty() {
        out.push(format!(
            "Rows without any number are made by: dualmd reproduce defenses --rows {}",
            unmade.join(",")
        ));
    }
    out
}

/// One line for every cell and seed: the number, k of n, and the run that it was read from, as seen from `out`.
///
/// # Errors
/// None that is expected: the lines are written to memory.
pub fn cells(collected: &Collected, rows: &[Row], out: &Path) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "model",
        "method",
        "seed",
        "attacker",
        "attack",
        "state",
        "metric",
        "value",
        "low",
        "high",
        "k",
        "n",
        "control_k",
        "control_n",
        "place",
        "run",
    ])?;
    let run = |place: Option<usize>| {
        let taken = place.and_then(|p| collected.places.get(p));
        taken.map_or_else(String::new, |taken| {
            let inside = taken.path.strip_prefix(out).unwrap_or(&taken.path);
            inside.display().to_string()
        })
    };
    let mut line = |row: &Row,
                    seed: u64,
                    [attacker, attack, state, metric]: [&str; 4],
                    numbers: [String; 7],
                    place: Option<usize>|
     -> Result<()> {
        let mut cells = vec![
            csv_text(&row.model).into_owned(),
            csv_text(&row.method).into_owned(),
            seed.to_string(),
            attacker.to_owned(),
            csv_text(attack).into_owned(),
            state.to_owned(),
            metric.to_owned(),
        ];
        cells.extend(numbers);
        cells.push(place.map_or_else(String::new, mark));
        cells.push(csv_text(&run(place)).into_owned());
        csv.write_record(&cells)?;
        Ok(())
    };
    for row in rows {
        for seed in collected.set.runs.iter().map(|run| run.seed) {
            for (attacker, answer) in &row.answers {
                let number = answer.numbers.iter().find(|n| n.seed == seed);
                let state = match (number, answer.state) {
                    (Some(_), _) => State::Measured,
                    (None, State::None) => State::None,
                    (None, _) => State::Missing,
                };
                let words = [
                    attacker.name(),
                    answer.attack.as_str(),
                    state.name(),
                    attacker.metric(),
                ];
                let place = number.and_then(|n| n.place);
                line(row, seed, words, of_number(number), place)?;
            }
            for (several, proofs) in &row.proofs {
                let proof = proofs.iter().find(|p| p.seed == seed);
                let (by, state) = match proof {
                    Some(proof) if proof.refused => (proof.by.as_str(), REFUSED),
                    Some(proof) => (proof.by.as_str(), State::Measured.name()),
                    None => ("", State::Missing.name()),
                };
                let words = [several.names().0, by, state, "images_needed"];
                let tried = proof.filter(|p| !p.refused);
                let mut numbers = [const { String::new() }; 7];
                numbers[0] = text(tried.and_then(|p| p.images));
                numbers[4] = text(tried.map(|p| p.most));
                line(row, seed, words, numbers, proof.and_then(|p| p.place))?;
            }
            for (metric, cell) in &row.numbers {
                let value = cell.values.iter().find(|(own, _)| *own == seed);
                let state = match value {
                    Some(_) => State::Measured,
                    None => State::Missing,
                };
                let mut numbers = [const { String::new() }; 7];
                numbers[0] = text(value.map(|(_, value)| *value));
                let place = collected.source(seed, &row.model, "");
                line(row, seed, ["", "", state.name(), *metric], numbers, place)?;
            }
        }
    }
    Ok(csv.into_inner()?)
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

/// value, low, high, k, n, k and n of the control.
fn of_number(number: Option<&Number>) -> [String; 7] {
    let bound = |i: usize| text(number.and_then(|n| n.ci).map(|ci| ci[i]));
    let (found, control) = (number.and_then(|n| n.found), number.and_then(|n| n.control));
    [
        text(number.map(|n| n.value)),
        bound(0),
        bound(1),
        text(found.map(|f| f.0)),
        text(found.map(|f| f.1)),
        text(control.map(|c| c.0)),
        text(control.map(|c| c.1)),
    ]
}

/// Privacy against quality by three attackers, with the undefended model at several lengths of training.
fn figure(collected: &Collected, evidence: &Evidence, rows: &[Row]) -> Result<String> {
    let set = &collected.set;
    let line = Line::of(set)?;
    let undefended = baseline(set);
    let defended: Vec<&Row> = rows
        .iter()
        .filter(|row| row.model != undefended && row.model != BASELINE)
        .filter(|row| {
            row.number(Metric::Excess.key())
                .and_then(Cell::mean)
                .is_some()
        })
        .collect();
    let mut legend = vec![format!("No defense, by {}", line.unit)];
    legend.extend(defended.iter().map(|row| row.method.clone()));
    let x_label = format!(
        "{} (worse images to the right)",
        names::column(Metric::Excess, evidence)
    );
    let mut panels = Vec::new();
    for attacker in [Attacker::Images, Attacker::Model, Attacker::Extraction] {
        let mut panel = Panel {
            title: format!("{}: {}", set.name, attacker.title()),
            x_label: x_label.clone(),
            y_label: match attacker {
                Attacker::Extraction => "share of members extracted".into(),
                _ => "AUC (more leaks upwards)".into(),
            },
            level: match attacker {
                Attacker::Extraction => None,
                _ => Some((0.5, "chance")),
            },
            ..Panel::default()
        };
        let mut through = Vec::new();
        for station in &line.stations {
            let answer = answer(collected, &station.name, Some(Defense::None), attacker)?;
            let title = format!("No defense, {}", line.long(station));
            let label = Some(station.shown.clone());
            if let Some(point) = point(&answer, &station.excess, 0, title, label) {
                through.push((point.x.0, point.y.0));
                panel.points.push(point);
            }
        }
        for (i, row) in defended.iter().enumerate() {
            let own = row.answers.iter().find(|(a, _)| *a == attacker);
            let excess = row.number(Metric::Excess.key());
            let (Some((_, answer)), Some(excess)) = (own, excess) else {
                continue;
            };
            panel
                .points
                .extend(point(answer, excess, i + 1, row.method.clone(), None));
        }
        if !through.is_empty() {
            panel.lines.push((0, through));
        }
        if !panel.points.is_empty() {
            panels.push(panel);
        }
    }
    let about = format!(
        "What three kinds of attackers find of each defence, against the quality of its images, and of the undefended model at several lengths of training: {}",
        set.title
    );
    Ok(svg::draw(&panels, &legend, &about))
}

/// A point of the figure; none where there is no number.
fn point(
    answer: &Answer,
    excess: &Cell,
    style: usize,
    title: String,
    label: Option<String>,
) -> Option<Point> {
    let (x, y) = (excess.mean()?, answer.cell.mean()?);
    let over_images = answer.cell.image_ci.filter(|_| answer.cell.runs == 1);
    let bar = answer.cell.between().or(over_images);
    Some(Point {
        x: (x, excess.between()),
        y: (y, bar.map(|ci| ci.map(|v| v.clamp(0.0, 1.0)))),
        style,
        label,
        tip: format!(
            "{title}: {} {}, excess {}",
            answer.attack,
            answer.cell.text(3),
            excess.text(2)
        ),
    })
}

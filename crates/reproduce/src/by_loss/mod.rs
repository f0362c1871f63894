//! `dualmd reproduce by-loss`: what SecMI, PIA, PIAN and SimA find of a model against how much it memorised, from finished runs of any
//! kinds of images, grey and in colour. How much is memorised is told by the loss: the AUC of an attacker who ranks images by it.

#[cfg(test)]
mod tests;

use super::Made;
use super::cell::{Cell, decimal};
use super::defenses::collect::{Opened, members_of, opened};
use super::names;
use super::paper::Metric;
use super::read::{Measured, Model, Run};
use super::table::{Record, Table};
use super::write::{Outcome, Place, Source};
use crate::{ReproduceOptions, What};
use anyhow::Result;
use dualmd::bail_usage;
use dualmd::experiment::epochs::text as passes;
use dualmd::stages::create_folder;
use dualmd_audit::View;
use dualmd_audit::cells::cell;
use dualmd_names::{Defense, ModelKind};
use dualmd_plot::{self as svg, Panel, Point};
use std::path::{Path, PathBuf};

/// What tells how much is memorised.
const LOSS: &str = "loss";

/// What is drawn against it.
const ATTACKS: [&str; 4] = ["secmi", "pia", "pian", "sima"];

/// From this AUC of the loss on a sentence calls nearly all members known.
const KNOWN: f64 = 0.99;

/// An AUC with its 95 % interval over the images.
type Auc = (f64, [f64; 2]);

/// A model of a run.
#[derive(Debug)]
struct Mark {
    /// Place of its kind of images.
    kind: usize,
    /// Place of its run.
    place: usize,
    seed: Option<u64>,
    model: String,
    defense: ModelKind,
    /// The members that it was trained on, and that it is judged on.
    members: View,
    /// Passes over its own images, where the run says.
    epochs: Option<f64>,
    weights: Option<String>,
    loss: Auc,
    /// In the order of [`ATTACKS`].
    others: [Option<Auc>; 4],
}

impl Mark {
    /// None of a model that has no loss, such as a pair, or was not attacked with anything that is drawn against it.
    fn of(model: &Model, kind: usize, place: usize, seed: Option<u64>) -> Option<Self> {
        // Reports of earlier versions do not say which half a teacher learnt from.
        let members = match model.primary {
            View::Pooled => members_of(&model.name),
            own => own,
        };
        let auc = |attack: &str| -> Option<Auc> {
            let mut results = model.results.iter();
            let measured = results.find(|r| r.attack == attack)?.view(members)?;
            Some((measured.auc, measured.auc_ci))
        };
        let loss = auc(LOSS)?;
        let others = ATTACKS.map(auc);
        others.iter().any(Option::is_some).then(|| Self {
            kind,
            place,
            seed,
            model: model.name.clone(),
            defense: model.defense.clone(),
            members,
            epochs: model.utility.as_ref().and_then(|u| u.passes()),
            weights: model.weights_blake3.clone().filter(|h| !h.is_empty()),
            loss,
            others,
        })
    }

    /// Was a defence trained? The teachers of one are ordinary models of half the members.
    fn defended(&self) -> bool {
        matches!(&self.defense, ModelKind::Of(defense) if *defense != Defense::None)
    }

    /// Are these the same numbers, stored twice?
    fn same(&self, other: &Self) -> bool {
        self.place != other.place
            && (self.kind, &self.model) == (other.kind, &other.model)
            && (self.loss, self.others) == (other.loss, other.others)
            && !differ(self.seed, other.seed)
            && !differ(self.weights.as_ref(), other.weights.as_ref())
    }
}

/// Are both known, and not the same?
fn differ<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a != b)
}

/// A run that models were taken from.
#[derive(Debug)]
struct Taken {
    kind: usize,
    path: PathBuf,
    seed: Option<u64>,
}

/// What the runs say.
#[derive(Debug, Default)]
struct Gathered {
    /// Kinds of images, in the order in which they were named.
    kinds: Vec<String>,
    places: Vec<Taken>,
    marks: Vec<Mark>,
    notes: Vec<String>,
}

impl Gathered {
    /// Reads the runs at these places.
    ///
    /// # Errors
    /// A path without a run; a run of which nothing says which images it is of; no model with the numbers that are drawn.
    fn read(from: &[PathBuf]) -> Result<Self> {
        let mut out = Self::default();
        for asked in from {
            let (kind, path) = told(asked);
            for place in places(&path)? {
                for found in opened(&place)? {
                    // Of what was extracted there is no AUC.
                    if let Opened::Run(path, run, seed) = found {
                        out.add(path, &run, seed, kind.as_deref())?;
                    }
                }
            }
        }
        if out.marks.is_empty() {
            bail_usage!(
                "by-loss: no model of these runs was attacked with {LOSS} and one of {}",
                ATTACKS.join(", ")
            );
        }
        Ok(out)
    }

    fn add(
        &mut self,
        path: PathBuf,
        run: &Run,
        seed: Option<u64>,
        named: Option<&str>,
    ) -> Result<()> {
        let Some(name) = named.map(str::to_owned).or_else(|| images(run)) else {
            bail_usage!(
                "{path}: nothing there says of which images it is: write --from KIND={path}, with a name for them such as grey",
                path = path.display()
            );
        };
        let kind = match self.kinds.iter().position(|known| *known == name) {
            Some(known) => known,
            None => {
                self.kinds.push(name);
                self.kinds.len() - 1
            }
        };
        let place = self.places.len();
        for model in &run.models {
            let Some(mark) = Mark::of(model, kind, place, seed) else {
                continue;
            };
            let twin = self.marks.iter().find(|m| m.same(&mark)).map(|m| m.place);
            match twin {
                Some(first) => self.notes.push(format!(
                    "{} of {} has the numbers of that of {}, and counts once.",
                    mark.model,
                    number(place),
                    number(first)
                )),
                None => self.marks.push(mark),
            }
        }
        self.places.push(Taken { kind, path, seed });
        Ok(())
    }

    /// Kind by kind, what is little memorised first.
    fn ordered(&self) -> Vec<&Mark> {
        let mut all: Vec<&Mark> = self.marks.iter().collect();
        all.sort_by(|a, b| a.kind.cmp(&b.kind).then(a.loss.0.total_cmp(&b.loss.0)));
        all
    }

    fn kind(&self, place: usize) -> &str {
        self.kinds.get(place).map_or("", String::as_str)
    }
}

/// `#1`, as defences are compared with.
fn number(place: usize) -> String {
    format!("#{}", place + 1)
}

/// KIND=RUN, or a run alone.
fn told(asked: &Path) -> (Option<String>, PathBuf) {
    let text = asked.to_str().filter(|_| !asked.exists());
    match text.and_then(|text| text.split_once('=')) {
        Some((kind, path)) if !kind.trim().is_empty() && !path.is_empty() => {
            (Some(kind.trim().to_owned()), PathBuf::from(path))
        }
        _ => (None, asked.to_path_buf()),
    }
}

/// A path itself, or the tables of findings in a folder that holds no run of its own.
fn places(path: &Path) -> Result<Vec<PathBuf>> {
    let own = ["report.json", "findings.csv"];
    if !path.is_dir() || own.iter().any(|name| path.join(name).is_file()) {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut tables = dualmd_files::list(path)?;
    tables.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("findings") && name.ends_with(".csv")
    });
    Ok(match tables.is_empty() {
        true => vec![path.to_path_buf()],
        false => tables,
    })
}

/// What images a run is of, as its plan says: `textures, colour`.
fn images(run: &Run) -> Option<String> {
    let data = &run.plan.data;
    let source = Path::new(data.source.as_ref()?);
    let name = source.file_name()?.to_string_lossy();
    Some(match data.channels {
        Some(1) => format!("{name}, grey"),
        Some(_) => format!("{name}, colour"),
        None => name.into_owned(),
    })
}

/// Reads the runs, and writes table, figure and files.
///
/// # Errors
/// Flags of studies, which train; no run; a run that cannot be read, or that does not say which images it is of; a folder that cannot be
/// written to.
pub fn made(args: &ReproduceOptions) -> Result<Made> {
    let flags = [
        ("--rows", !args.rows.is_empty()),
        ("--collect", args.collect),
        ("--only", !args.only.is_empty()),
        ("--data", !args.data.is_empty()),
        ("--base", !args.base.is_empty()),
        ("--split", !args.split.is_empty()),
        ("--set", !args.set.is_empty()),
        ("--inception", args.inception.is_some()),
        ("--clip", args.clip.is_some()),
    ];
    if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
        bail_usage!("{flag} is not for by-loss, which trains nothing");
    }
    if args.from.is_empty() {
        bail_usage!(
            "by-loss draws finished runs: name them, --from RUN..., or KIND=RUN where a run does not say of which images it is"
        );
    }
    let gathered = Gathered::read(&args.from)?;
    if args.dry_run {
        let (models, runs) = (gathered.marks.len(), gathered.places.len());
        return Ok(Made::Foreseen {
            text: format!("Nothing is trained: {models} models of {runs} runs are drawn.\n"),
            problems: Vec::new(),
        });
    }
    let stem = What::ByLoss.as_str();
    create_folder(&args.out)?;
    let save = |end: &str, content: &[u8]| -> Result<PathBuf> {
        let file = args.out.join(format!("{stem}{end}"));
        dualmd_files::write(&file, content)?;
        Ok(file)
    };
    let marks = save("-marks.csv", &marks(&gathered, &args.out)?)?;
    let figure = save(".svg", drawing(&gathered).as_bytes())?;
    let outcome = Outcome {
        table: table(&gathered)?,
        heading: "What it shows",
        facts: facts(&gathered),
        pictures: vec![(
            "Attacks against how much is memorised".to_owned(),
            format!("{stem}.svg"),
        )],
    };
    let runs = gathered.places.iter().enumerate().map(|(i, taken)| Source {
        dataset: gathered.kind(taken.kind).to_owned(),
        title: match taken.seed {
            Some(seed) => format!("{}, {}, seed {seed}", number(i), gathered.kind(taken.kind)),
            None => format!("{}, {}", number(i), gathered.kind(taken.kind)),
        },
        seed: taken.seed.unwrap_or_default(),
        folder: taken.path.clone(),
    });
    let place = Place {
        folder: args.out.clone(),
        stem: stem.to_owned(),
        what: stem,
        of: gathered.kinds.join("; "),
        scale: None,
        runs: runs.collect(),
        sets: Vec::new(),
    };
    let text = outcome.text(&place.of, &[&outcome.table]);
    Ok(Made::Written {
        text,
        files: vec![outcome.write(&place)?, marks, figure],
    })
}

/// How the table is read.
const NOTES: [&str; 4] = [
    "A row is a model of a run, # its run in the list below; (95 % interval over the images of that one run). Rows of one run are of the same images, \
     and are not independent.",
    "How much is memorised is told by the loss: the AUC of an attacker who ranks images by it. A teacher is judged on the half that it was trained on. \
     A pair has no loss, and is not here.",
    "In the figure the AUC of the loss is spread as the logarithm of its odds, because it comes near 1 long before some attacks do; 1 is at the right \
     edge.",
    "An attack is above or below 0.5 where its whole interval is; of many models some are so by chance.",
];

fn table(gathered: &Gathered) -> Result<Table> {
    let heads = ["Images", "Run", "Model", "Defense", "Epochs"];
    let mut table = Table::new("Attacks against how much is memorised", &heads);
    let attacks = [LOSS].into_iter().chain(ATTACKS);
    let columns = attacks.map(|attack| format!("AUC {}", names::attack(attack)));
    table.columns.extend(columns);
    for mark in gathered.ordered() {
        let kind = gathered.kind(mark.kind);
        let method = format!("{} {}", number(mark.place), names::method(&mark.model));
        let own = [(LOSS, Some(mark.loss))].into_iter();
        let mut numbers = Vec::new();
        for (attack, auc) in own.chain(ATTACKS.into_iter().zip(mark.others)) {
            let seed = mark.seed.unwrap_or_default();
            let values: Vec<(u64, Measured)> = auc
                .iter()
                .map(|(auc, ci)| (seed, (*auc, Some(*ci))))
                .collect();
            let record = Record {
                dataset: kind.to_owned(),
                attack: Some(attack.to_owned()),
                model: mark.model.clone(),
                method: method.clone(),
                metric: Metric::Auc.key(),
                cell: Cell::new(&values, 1)?,
                paper: Vec::new(),
            };
            numbers.push((record, Metric::Auc.digits()));
        }
        let first = [
            kind.to_owned(),
            number(mark.place),
            names::method(&mark.model),
            mark.defense.to_string(),
            mark.epochs.map_or("-".to_owned(), passes),
        ];
        table.numbers(&first, numbers, &[]);
    }
    table.notes = NOTES.map(str::to_owned).to_vec();
    table.notes.extend(gathered.notes.iter().cloned());
    let places = gathered.places.iter().enumerate();
    let unknown: Vec<String> = places
        .filter(|(_, taken)| taken.seed.is_none())
        .map(|(i, _)| number(i))
        .collect();
    if !unknown.is_empty() {
        table.notes.push(format!(
            "The seed is not known of {}; 0 stands in its place in the CSV and JSON files.",
            unknown.join(", ")
        ));
    }
    Ok(table)
}

/// Of each kind of images and attack: on how many models its interval is above 0.5, how little memorised the least of these is, and where it
/// lies once the loss knows nearly all members.
fn facts(gathered: &Gathered) -> Vec<String> {
    let mut out = Vec::new();
    for (kind, name) in gathered.kinds.iter().enumerate() {
        for (at, attack) in ATTACKS.iter().enumerate() {
            let own = gathered.marks.iter().filter(|m| m.kind == kind);
            let found: Vec<(f64, Auc)> = own
                .filter_map(|m| Some((m.loss.0, m.others.get(at).copied().flatten()?)))
                .collect();
            if found.is_empty() {
                continue;
            }
            let above: Vec<f64> = found
                .iter()
                .filter(|(_, (_, [low, _]))| *low > 0.5)
                .map(|(loss, _)| *loss)
                .collect();
            let below = found.iter().filter(|(_, (_, [_, high]))| *high < 0.5);
            let mut text = format!(
                "{name}: {} is above 0.5 on {} of {} models",
                names::attack(attack),
                above.len(),
                found.len()
            );
            if let Some(least) = above.iter().copied().reduce(f64::min) {
                let least = decimal(least, 3);
                text.push_str(&format!(" (the least memorised of them: loss {least})"));
            }
            match below.count() {
                0 => {}
                below => text.push_str(&format!(", and below 0.5 on {below}")),
            }
            let known = found.iter().filter(|(loss, _)| *loss >= KNOWN);
            let known: Vec<f64> = known.map(|(_, (auc, _))| *auc).collect();
            let [low, high] = [f64::min, f64::max].map(|of| known.iter().copied().reduce(of));
            if let (Some(low), Some(high)) = (low, high) {
                text.push_str(&format!(
                    ". Where the loss has {KNOWN} or more ({} of them), its AUC is {} to {}",
                    known.len(),
                    decimal(low, 3),
                    decimal(high, 3)
                ));
            }
            out.push(format!("{text}."));
        }
    }
    out
}

/// A panel for each attack: how much is memorised across, what the attack finds up, a colour and shape for each kind of images, and another
/// for its defended models.
fn drawing(gathered: &Gathered) -> String {
    let mut styles: Vec<(usize, bool)> = Vec::new();
    let mut legend: Vec<String> = Vec::new();
    for defended in [false, true] {
        for (kind, name) in gathered.kinds.iter().enumerate() {
            let style = (kind, defended);
            let mut marks = gathered.marks.iter();
            if !marks.any(|m| (m.kind, m.defended()) == style) {
                continue;
            }
            styles.push(style);
            legend.push(match defended {
                true => format!("{name}, defended"),
                false => name.clone(),
            });
        }
    }
    let mut panels = Vec::new();
    for (at, attack) in ATTACKS.iter().enumerate() {
        let title = names::attack(attack);
        let mut panel = Panel {
            title: title.clone(),
            x_label: "AUC of the loss: how much is memorised".into(),
            y_label: "AUC".into(),
            odds: true,
            level: Some((0.5, "chance")),
            ..Panel::default()
        };
        for mark in gathered.ordered() {
            let Some((auc, ci)) = mark.others.get(at).copied().flatten() else {
                continue;
            };
            let own = (mark.kind, mark.defended());
            let epochs = mark
                .epochs
                .map_or_else(String::new, |epochs| format!(", {} epochs", passes(epochs)));
            panel.points.push(Point {
                x: (mark.loss.0, Some(mark.loss.1)),
                y: (auc, Some(ci)),
                style: styles.iter().position(|s| *s == own).unwrap_or_default(),
                label: None,
                tip: format!(
                    "{}, {} {}{epochs}: {title} {}, loss {}",
                    gathered.kind(mark.kind),
                    number(mark.place),
                    mark.model,
                    decimal(auc, 3),
                    decimal(mark.loss.0, 3)
                ),
            });
        }
        if !panel.points.is_empty() {
            panels.push(panel);
        }
    }
    let about = format!(
        "AUC of attacks on models against the AUC of their loss, which tells how much they memorised: {}",
        gathered.kinds.join("; ")
    );
    svg::draw(&panels, &legend, &about)
}

/// One line for every model and attack, with the run that it was read from, as seen from `out`.
///
/// # Errors
/// None that is expected: the lines are written to memory.
fn marks(gathered: &Gathered, out: &Path) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "images",
        "place",
        "run",
        "seed",
        "model",
        "defense",
        "members",
        "epochs",
        "loss",
        "loss_low",
        "loss_high",
        "attack",
        "auc",
        "auc_low",
        "auc_high",
    ])?;
    let text = |value: Option<String>| value.unwrap_or_default();
    for mark in gathered.ordered() {
        let run = gathered.places.get(mark.place).map(|taken| {
            let inside = taken.path.strip_prefix(out).unwrap_or(&taken.path);
            inside.display().to_string()
        });
        let (loss, [loss_low, loss_high]) = mark.loss;
        for (attack, found) in ATTACKS.into_iter().zip(mark.others) {
            let Some((auc, [low, high])) = found else {
                continue;
            };
            csv.write_record([
                &*cell(gathered.kind(mark.kind)),
                &number(mark.place),
                &*cell(&text(run.clone())),
                &text(mark.seed.map(|s| s.to_string())),
                &*cell(&mark.model),
                &*cell(mark.defense.as_str()),
                mark.members.name(),
                &text(mark.epochs.map(|e| e.to_string())),
                &loss.to_string(),
                &loss_low.to_string(),
                &loss_high.to_string(),
                attack,
                &auc.to_string(),
                &low.to_string(),
                &high.to_string(),
            ])?;
        }
    }
    Ok(csv.into_inner()?)
}

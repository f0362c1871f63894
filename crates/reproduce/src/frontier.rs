//! Privacy against quality: each defence beside an undefended model that was simply trained for fewer steps.

use super::Drawn;
use super::cell::{Cell, attacks_on, decimal, strongest, strongest_of};
use super::names;
use super::paper::Metric;
use super::read::{Evidence, Measured, Set};
use super::tables::{Record, Row, Table, intervals};
use anyhow::Result;
use dualmd::experiment::epochs;
use dualmd_names::BaseAttack;
use dualmd_plot::{self as svg, Panel, Point};

/// The undefended model at one number of steps.
struct Station {
    name: String,
    steps: f64,
    /// Passes over its images, where they are recorded.
    epochs: Option<f64>,
    excess: Cell,
}

impl Station {
    /// Its length in the unit of the line: epochs where all stations have them, else steps.
    fn length(&self, in_epochs: bool) -> f64 {
        self.epochs.filter(|_| in_epochs).unwrap_or(self.steps)
    }

    /// The same for people, without the unit.
    fn shown(&self, in_epochs: bool) -> String {
        match self.epochs.filter(|_| in_epochs) {
            Some(epochs) => epochs::text(epochs),
            None => self.steps.to_string(),
        }
    }
}

/// Is every station's number of epochs known?
fn in_epochs(stations: &[Station]) -> bool {
    stations.iter().all(|s| s.epochs.is_some())
}

/// The unit of a line.
fn unit(in_epochs: bool) -> &'static str {
    if in_epochs { "epochs" } else { "steps" }
}

/// The table of all sets with its sentences, and the pictures of each; `save` writes one, whose name ends as it is told, and
/// gives the file's name.
///
/// # Errors
/// A number that is not finite; what `save` says.
pub fn draw(
    evidence: &Evidence,
    save: &dyn Fn(&Set, &str, &str) -> Result<String>,
) -> Result<Drawn> {
    let (table, facts) = build(evidence)?;
    let mut pictures = Vec::new();
    for set in &evidence.sets {
        let (frontier, steps) = drawings(set, evidence)?;
        let file = save(set, "", &frontier)?;
        pictures.push((format!("Privacy against quality, {}", set.title), file));
        if let Some(steps) = steps {
            let file = save(set, "-steps", &steps)?;
            let title = format!("Attacks against length of training, {}", set.title);
            pictures.push((title, file));
        }
    }
    Ok((table, facts, pictures))
}

/// Has any set two methods with an attack and image quality? One alone is compared with nothing.
///
/// # Errors
/// A number that is not finite.
pub fn worth_drawing(evidence: &Evidence) -> Result<bool> {
    for set in &evidence.sets {
        let mut points = 0;
        for model in names::compared(evidence) {
            let quality = Cell::metric(set, &model, None, Metric::Excess)?;
            let drawn = quality.mean().is_some() && strongest(set, &model)?.is_some();
            points += usize::from(drawn);
        }
        if points > 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The table of all sets.
///
/// # Errors
/// A number that is not finite.
pub fn build(evidence: &Evidence) -> Result<(Table, Vec<String>)> {
    let excess = names::column(Metric::Excess, evidence);
    let mut table = Table {
        title: "Privacy against quality".into(),
        columns: [
            "Image set",
            "Method",
            "AUC of the strongest attack",
            "undefended at equal FD",
            "AUC of SimA",
            "undefended at equal FD",
            excess.as_str(),
            "training time",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Table::default()
    };
    let mut facts = Vec::new();
    for set in &evidence.sets {
        let stations = stations(set)?;
        let baseline = baseline(set);
        for model in names::compared(evidence) {
            let quality = Cell::metric(set, &model, None, Metric::Excess)?;
            let time = relative_time(set, &model)?;
            let mut cells = vec![set.name.clone(), names::method(&model)];
            let mut keep = |attack: Option<&str>, metric: &'static str, cell: &Cell| {
                if cell.mean().is_some() {
                    table.records.push(Record {
                        dataset: set.name.clone(),
                        attack: attack.map(str::to_owned),
                        model: model.clone(),
                        method: names::method(&model),
                        metric,
                        cell: cell.clone(),
                        paper: Vec::new(),
                    });
                }
            };
            let best = strongest(set, &model)?;
            let sima = Cell::metric(set, &model, Some("sima"), Metric::Auc)?;
            if best.is_none() {
                continue;
            }
            let columns = [
                best.clone(),
                sima.mean().map(|_| ("sima".to_owned(), sima.clone())),
            ];
            for (which, column) in columns.into_iter().enumerate() {
                let Some((attack, mut cell)) = column else {
                    cells.extend(["-".into(), "-".into()]);
                    continue;
                };
                let fixed = (which == 1).then_some("sima");
                let same = match fixed {
                    Some(attack) => vec![attack.to_owned()],
                    None => attacks_on(set, &model),
                };
                let equal = at_equal_quality(set, &stations, &quality, &same)?;
                keep(Some(&attack), "auc", &cell);
                keep(fixed, "auc_undefended_at_equal_fd", &equal);
                if which == 0 {
                    facts.extend(fact(set, &model, &attack, &cell, &equal)?);
                    cell.note = Some(names::attack(&attack));
                }
                cells.push(cell.text(3));
                cells.push(if quality.mean().is_none() || model == baseline {
                    "-".into()
                } else if equal.mean().is_none() {
                    outside(&stations, &quality).into()
                } else {
                    equal.text(3)
                });
            }
            keep(None, names::key(Metric::Excess), &quality);
            keep(None, "training_time_relative", &time);
            cells.push(quality.text(names::digits(Metric::Excess)));
            cells.push(match time.mean() {
                Some(_) => format!("x {}", time.text(1)),
                None => "-".into(),
            });
            table.rows.push(Row::Cells(cells));
        }
        let by_epochs = in_epochs(&stations);
        for station in &stations {
            let best = strongest(set, &station.name)?;
            let (attack, cell) = best.map_or((None, None), |(a, c)| (Some(a), Some(c)));
            for (attack, metric, cell) in [
                (attack, "auc", cell),
                (
                    Some("sima".to_owned()),
                    "auc",
                    Some(Cell::metric(set, &station.name, Some("sima"), Metric::Auc)?),
                ),
                (
                    None,
                    names::key(Metric::Excess),
                    Some(station.excess.clone()),
                ),
            ] {
                // The one at the full number of steps is among the methods.
                if let Some(cell) = cell.filter(|c| c.mean().is_some() && station.name != baseline)
                {
                    table.records.push(Record {
                        dataset: set.name.clone(),
                        attack,
                        model: station.name.clone(),
                        method: format!(
                            "No defense, {} {}",
                            station.shown(by_epochs),
                            unit(by_epochs)
                        ),
                        metric,
                        cell,
                        paper: Vec::new(),
                    });
                }
            }
        }
    }
    table.notes = vec![
        intervals(evidence),
        "The strongest attack is the one with the largest mean AUC on that model; its interval does not know that it was chosen. A pair \
         (DualMD) is attacked through its images only: its number is for an attacker who never holds a teacher's weights."
            .into(),
        format!(
            "\"undefended at equal FD\": AUC of the undefended model with fewer steps (or more; train some of them for this comparison) whose {excess} is the defence's: linear \
             between the numbers of steps that were trained, seed by seed, and by the strongest of the attacks that were made on the defence too. A defence is worth its cost where it is clearly below that. \
             Early stopping as such is a row of its own."
        ),
        "Training time: that of the model and of all models that had to be trained for it, in parts of the undefended model's. Trainings \
         that ran side by side on one machine slow each other down."
            .into(),
    ];
    Ok((table, facts))
}

/// Name of the undefended model that the others are compared with; empty where there is none.
fn baseline(set: &Set) -> &str {
    set.baseline().map_or("", |m| m.name.as_str())
}

fn stations(set: &Set) -> Result<Vec<Station>> {
    let line = set.undefended().into_iter();
    line.map(|(name, steps)| {
        let excess = Cell::metric(set, &name, None, Metric::Excess)?;
        let own = set.models().into_iter().find(|m| m.name == name);
        Ok(Station {
            epochs: own.and_then(|m| m.utility.as_ref()?.passes()),
            name,
            steps,
            excess,
        })
    })
    .collect()
}

/// The undefended line at the defence's quality in each seed; at each number of steps the strongest of `attacks`, which are
/// those that were made on the defence: an attacker has the same access to both.
fn at_equal_quality(
    set: &Set,
    stations: &[Station],
    quality: &Cell,
    attacks: &[String],
) -> Result<Cell> {
    let mut aucs = Vec::new();
    for station in stations {
        let best = strongest_of(set, &station.name, attacks)?;
        aucs.push(match best {
            Some((_, cell)) => cell,
            None => Cell::new(&[], set.runs.len())?,
        });
    }
    let at = |cell: &Cell, seed: u64| cell.values.iter().find(|(s, _)| *s == seed).map(|v| v.1);
    let numbers: Vec<(u64, Measured)> = quality
        .values
        .iter()
        .filter_map(|(seed, x)| {
            let line: Vec<(f64, f64)> = stations
                .iter()
                .zip(&aucs)
                .filter_map(|(s, auc)| Some((at(&s.excess, *seed)?, at(auc, *seed)?)))
                .collect();
            Some((*seed, (interpolate(&line, *x)?, None)))
        })
        .collect();
    Cell::new(&numbers, set.runs.len())
}

/// y of a line at x; none beyond its ends. The points are taken in the order of x.
pub fn interpolate(line: &[(f64, f64)], x: f64) -> Option<f64> {
    let mut line = line.to_vec();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let [one] = line.as_slice() {
        return (one.0 == x).then_some(one.1);
    }
    line.windows(2).find_map(|pair| {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        if !(x0..=x1).contains(&x) {
            return None;
        }
        let share = if x1 > x0 { (x - x0) / (x1 - x0) } else { 0.0 };
        Some(y0 + share * (y1 - y0))
    })
}

/// Why there is no undefended model of that quality.
fn outside(stations: &[Station], quality: &Cell) -> &'static str {
    let means: Vec<f64> = stations.iter().filter_map(|s| s.excess.mean()).collect();
    let worst = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match quality.mean() {
        _ if means.is_empty() => "-",
        _ if means.len() == 1 => "one number of steps only",
        Some(x) if x > worst => "worse than all of them",
        Some(_) => "better than all of them",
        None => "-",
    }
}

/// In parts of the undefended model's. Trainings take no less than no time, whatever the t interval of a few seeds says.
fn relative_time(set: &Set, model: &str) -> Result<Cell> {
    let undefended = baseline(set);
    let numbers: Vec<(u64, Measured)> = set
        .runs
        .iter()
        .filter_map(|run| {
            let of = |name: &str| run.models.iter().find(|m| m.name == name)?.seconds;
            Some((run.seed, (of(model)? / of(undefended)?, None)))
        })
        .collect();
    let mut cell = Cell::new(&numbers, set.runs.len())?;
    if let Some(ci) = cell.summary.as_mut().and_then(|s| s.between_ci.as_mut()) {
        *ci = ci.map(|v| v.max(0.0));
    }
    Ok(cell)
}

/// Does the defence beat the undefended model at equal quality?
fn fact(set: &Set, model: &str, attack: &str, own: &Cell, equal: &Cell) -> Result<Option<String>> {
    let (Some(_), Some(other)) = (own.mean(), equal.mean()) else {
        return Ok(None);
    };
    if model == baseline(set) {
        return Ok(None);
    }
    // A mean over some seeds beside a mean over all would compare different runs.
    if equal.values.len() < own.values.len() {
        return Ok(Some(format!(
            "{}: {} is not compared: an undefended model of equal FD was trained in {} of {} seeds only.",
            set.name,
            names::method(model),
            equal.values.len(),
            own.values.len()
        )));
    }
    let less = equal.less(own)?;
    let word = match (less.between(), less.mean()) {
        (Some([low, _]), _) if low > 0.0 => "gives less away than",
        (Some([_, high]), _) if high < 0.0 => "gives more away than",
        (Some(_), _) => "is not told apart from",
        (None, Some(d)) if d > 0.0 => "gives less away (one seed) than",
        _ => "gives no less away (one seed) than",
    };
    Ok(Some(format!(
        "{}: {} {word} an undefended model of equal FD: {} ({}) against {}; difference {}.",
        set.name,
        names::method(model),
        own.text(3),
        names::attack(attack),
        decimal(other, 3),
        less.text(3)
    )))
}

/// The drawings of a set: privacy against quality, and attacks against steps where there is more than one number of them.
///
/// # Errors
/// As [`build`].
pub fn drawings(set: &Set, evidence: &Evidence) -> Result<(String, Option<String>)> {
    let stations = stations(set)?;
    let by_epochs = in_epochs(&stations);
    let mut legend = vec![format!("No defense, by {}", unit(by_epochs))];
    let models: Vec<String> = names::compared(evidence)
        .into_iter()
        .filter(|m| m != baseline(set))
        .collect();
    legend.extend(models.iter().map(|m| match attacks_on(set, m).as_slice() {
        [only] if BaseAttack::named(only) == Some(BaseAttack::Nearest) => {
            format!("{} (by its images)", names::method(m))
        }
        _ => names::method(m),
    }));
    let mut panels = Vec::new();
    for (title, attack) in [("Strongest attack", None), ("SimA", Some("sima"))] {
        let mut panel = Panel {
            title: format!("{}: {title}", set.name),
            x_label: format!(
                "{} (worse images to the right)",
                names::column(Metric::Excess, evidence)
            ),
            y_label: "AUC (more leaks upwards)".into(),
            level: Some((0.5, "chance")),
            ..Panel::default()
        };
        let of = |model: &str| -> Result<Option<(String, Cell)>> {
            Ok(match attack {
                None => strongest(set, model)?,
                Some(a) => Some((
                    a.to_owned(),
                    Cell::metric(set, model, Some(a), Metric::Auc)?,
                )),
            })
        };
        let mut line = Vec::new();
        let undefended = stations.iter().map(|s| {
            let length = s.shown(by_epochs);
            (
                s.name.as_str(),
                0,
                format!("No defense, {length} {}", unit(by_epochs)),
            )
        });
        let defended = models
            .iter()
            .enumerate()
            .map(|(i, m)| (m.as_str(), i + 1, names::method(m)));
        for (model, style, name) in undefended.chain(defended) {
            let quality = Cell::metric(set, model, None, Metric::Excess)?;
            let Some((attack, cell)) = of(model)? else {
                continue;
            };
            let (Some(x), Some(y)) = (quality.mean(), cell.mean()) else {
                continue;
            };
            if style == 0 {
                line.push((x, y));
            }
            panel.points.push(Point {
                x: (x, quality.between()),
                y: (y, bar(&cell)),
                style,
                label: (style == 0).then(|| station_label(&stations, model)),
                tip: format!(
                    "{name}: {} AUC {}, excess {}",
                    names::attack(&attack),
                    cell.text(3),
                    quality.text(2)
                ),
            });
        }
        panel.lines.push((0, line));
        panels.push(panel);
    }
    let about = format!(
        "Privacy against quality on {}: AUC of attacks and excess of the Frechet distance for each defence, and for the undefended model at several lengths of training",
        set.title
    );
    let frontier = svg::draw(&panels, &legend, &about);
    let steps = match stations.len() {
        0 | 1 => None,
        _ => Some(steps(set, &stations)?),
    };
    Ok((frontier, steps))
}

/// An error bar within the range of an AUC: with two or three seeds an interval may reach far beyond it. Of a single run it is that
/// over its images; where others have more seeds, a model with one has none.
fn bar(cell: &Cell) -> Option<[f64; 2]> {
    let own = cell.image_ci.filter(|_| cell.runs == 1);
    cell.between()
        .or(own)
        .map(|ci| ci.map(|x| x.clamp(0.0, 1.0)))
}

/// The length of an undefended model's training.
fn station_label(stations: &[Station], model: &str) -> String {
    let own = stations.iter().find(|s| s.name == model);
    own.map_or_else(String::new, |s| s.shown(in_epochs(stations)))
}

/// Attacks on the undefended model against the length of its training.
fn steps(set: &Set, stations: &[Station]) -> Result<String> {
    let by_epochs = in_epochs(stations);
    let mut panel = Panel {
        title: format!("{}: attacks on the undefended model", set.name),
        x_label: match by_epochs {
            true => "epochs (passes over the training images)".into(),
            false => "training steps".into(),
        },
        y_label: "AUC".into(),
        log2: true,
        level: Some((0.5, "chance")),
        ..Panel::default()
    };
    let mut legend = Vec::new();
    for (attack, _) in set.attacks() {
        let style = legend.len();
        let mut line = Vec::new();
        for station in stations {
            let cell = Cell::metric(set, &station.name, Some(&attack), Metric::Auc)?;
            let Some(mean) = cell.mean() else { continue };
            line.push((station.length(by_epochs), mean));
            panel.points.push(Point {
                x: (station.length(by_epochs), None),
                y: (mean, bar(&cell)),
                style,
                label: None,
                tip: format!(
                    "{}, {} {}: AUC {}",
                    names::attack(&attack),
                    station.shown(by_epochs),
                    unit(by_epochs),
                    cell.text(3)
                ),
            });
        }
        if !line.is_empty() {
            panel.lines.push((style, line));
            legend.push(names::attack(&attack));
        }
    }
    let about = format!(
        "AUC of each attack on the undefended model against the length of its training, {}",
        set.title
    );
    Ok(svg::draw(&[panel], &legend, &about))
}

//! Privacy against quality: each defence beside an undefended model that was simply trained for fewer steps.

use super::cell::{Cell, attacks_on, decimal, strongest};
use super::names;
use super::paper::Metric;
use super::read::{Evidence, Measured, Set};
use super::table::{Record, Table, intervals};
use super::undefended::{Line, Station, baseline};
use super::{Drawn, Save};
use anyhow::Result;
use dualmd_names::BaseAttack;
use dualmd_plot::{self as svg, Panel, Point};

/// The table of all sets with its sentences, and the pictures of each.
///
/// # Errors
/// A number that is not finite; what `save` says.
pub fn draw(evidence: &Evidence, save: &Save) -> Result<Drawn> {
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
            let quality = Cell::excess(set, &model)?;
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
    let mut table = Table::new(
        "Privacy against quality",
        &[
            "Image set",
            "Method",
            "AUC of the strongest attack",
            "undefended at equal FD",
            "AUC of SimA",
            "undefended at equal FD",
            &excess,
            "training time",
        ],
    );
    let mut facts = Vec::new();
    for set in &evidence.sets {
        let line = Line::of(set)?;
        for model in names::compared(evidence) {
            facts.extend(method(&line, &model, &mut table)?);
        }
        for station in &line.stations {
            // The one at the full number of steps is among the methods.
            if station.name != baseline(set) {
                keep_station(&line, station, &mut table)?;
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

/// Adds the row of a method that was attacked, and gives a sentence.
fn method(line: &Line, model: &str, table: &mut Table) -> Result<Option<String>> {
    let set = line.set;
    let Some((attack, best)) = strongest(set, model)? else {
        return Ok(None);
    };
    let quality = Cell::excess(set, model)?;
    let sima = Cell::auc(set, model, "sima")?;
    let time = relative_time(set, model)?;
    let name = names::method(model);
    let mut keep = |attack: Option<&str>, metric: &'static str, cell: &Cell| {
        table.keep(Record::new(set, model, &name, attack, metric, cell.clone()))
    };
    let equal = line.at_equal_quality(&quality, &attacks_on(set, model))?;
    keep(Some(&attack), "auc", &best);
    keep(None, "auc_undefended_at_equal_fd", &equal);
    let fact = fact(set, model, &attack, &best, &equal)?;
    let best = Cell {
        note: Some(names::attack(&attack)),
        ..best
    };
    let mut cells = vec![set.name.clone(), name.clone(), best.text(3)];
    cells.push(line.equal(model, &quality, &equal));
    if keep(Some("sima"), "auc", &sima) {
        let equal = line.at_equal_quality(&quality, &["sima".to_owned()])?;
        keep(Some("sima"), "auc_undefended_at_equal_fd", &equal);
        cells.extend([sima.text(3), line.equal(model, &quality, &equal)]);
    } else {
        cells.extend(["-".into(), "-".into()]);
    }
    keep(None, Metric::Excess.key(), &quality);
    cells.push(quality.text(Metric::Excess.digits()));
    cells.push(match keep(None, "training_time_relative", &time) {
        true => format!("x {}", time.text(1)),
        false => "-".into(),
    });
    table.words(cells);
    Ok(fact)
}

/// Keeps the numbers of the undefended model at another length.
fn keep_station(line: &Line, station: &Station, table: &mut Table) -> Result<()> {
    let (set, name) = (line.set, station.name.as_str());
    let method = format!("No defense, {}", line.long(station));
    let mut keep = |attack: Option<&str>, metric: Metric, cell: Cell| {
        table.keep(Record::new(set, name, &method, attack, metric.key(), cell));
    };
    if let Some((attack, cell)) = strongest(set, name)? {
        keep(Some(&attack), Metric::Auc, cell);
    }
    let sima = Cell::auc(set, name, "sima")?;
    keep(Some("sima"), Metric::Auc, sima);
    keep(None, Metric::Excess, station.excess.clone());
    Ok(())
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
    let about = format!("{}: {}", set.name, names::method(model));
    // A mean over some seeds beside a mean over all would compare different runs.
    if equal.values.len() < own.values.len() {
        return Ok(Some(format!(
            "{about} is not compared: an undefended model of equal FD was trained in {} of {} seeds only.",
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
        "{about} {word} an undefended model of equal FD: {} ({}) against {}; difference {}.",
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
    let line = Line::of(set)?;
    let mut legend = vec![format!("No defense, by {}", line.unit)];
    let mut models = names::compared(evidence);
    models.retain(|m| m != baseline(set));
    legend.extend(models.iter().map(|m| match attacks_on(set, m).as_slice() {
        [only] if BaseAttack::named(only) == Some(BaseAttack::Nearest) => {
            format!("{} (by its images)", names::method(m))
        }
        _ => names::method(m),
    }));
    let x_label = format!(
        "{} (worse images to the right)",
        names::column(Metric::Excess, evidence)
    );
    let mut panels = Vec::new();
    for (title, attack) in [("Strongest attack", None), ("SimA", Some("sima"))] {
        panels.push(Panel {
            title: format!("{}: {title}", set.name),
            x_label: x_label.clone(),
            ..against_quality(&line, &models, attack)?
        });
    }
    let about = format!(
        "Privacy against quality on {}: AUC of attacks and excess of the Frechet distance for each defence, and for the undefended model at several lengths of training",
        set.title
    );
    let frontier = svg::draw(&panels, &legend, &about);
    let steps = match line.stations.len() {
        0 | 1 => None,
        _ => Some(steps(&line)?),
    };
    Ok((frontier, steps))
}

/// The stations of the undefended model with a line through them, and the defences; by one attack, or by the strongest on each.
fn against_quality(line: &Line, models: &[String], attack: Option<&str>) -> Result<Panel> {
    let set = line.set;
    let mut panel = Panel {
        y_label: "AUC (more leaks upwards)".into(),
        level: Some((0.5, "chance")),
        ..Panel::default()
    };
    let undefended = line.stations.iter().map(|station| {
        let title = format!("No defense, {}", line.long(station));
        (&station.name, 0, title, Some(station.shown.clone()))
    });
    let defended = models.iter().enumerate();
    let defended = defended.map(|(i, model)| (model, i + 1, names::method(model), None));
    let mut through = Vec::new();
    for (model, style, title, label) in undefended.chain(defended) {
        let quality = Cell::excess(set, model)?;
        let best = match attack {
            None => strongest(set, model)?,
            Some(attack) => {
                let cell = Cell::auc(set, model, attack)?;
                Some((attack.to_owned(), cell))
            }
        };
        let Some((attack, cell)) = best else { continue };
        let (Some(x), Some(y)) = (quality.mean(), cell.mean()) else {
            continue;
        };
        if style == 0 {
            through.push((x, y));
        }
        panel.points.push(Point {
            x: (x, quality.between()),
            y: (y, bar(&cell)),
            style,
            label,
            tip: format!(
                "{title}: {} AUC {}, excess {}",
                names::attack(&attack),
                cell.text(3),
                quality.text(2)
            ),
        });
    }
    panel.lines.push((0, through));
    Ok(panel)
}

/// An error bar within the range of an AUC: with two or three seeds an interval may reach far beyond it. Of a single run it is that
/// over its images; where others have more seeds, a model with one has none.
fn bar(cell: &Cell) -> Option<[f64; 2]> {
    let own = cell.image_ci.filter(|_| cell.runs == 1);
    cell.between()
        .or(own)
        .map(|ci| ci.map(|x| x.clamp(0.0, 1.0)))
}

/// Attacks on the undefended model against the length of its training.
fn steps(line: &Line) -> Result<String> {
    let set = line.set;
    let mut panel = Panel {
        title: format!("{}: attacks on the undefended model", set.name),
        x_label: match line.unit {
            "epochs" => "epochs (passes over the training images)".into(),
            _ => "training steps".into(),
        },
        y_label: "AUC".into(),
        log2: true,
        level: Some((0.5, "chance")),
        ..Panel::default()
    };
    let mut legend = Vec::new();
    for attack in set.attacks() {
        let title = names::attack(&attack);
        let style = legend.len();
        let mut through = Vec::new();
        for station in &line.stations {
            let cell = Cell::auc(set, &station.name, &attack)?;
            let Some(mean) = cell.mean() else { continue };
            through.push((station.length, mean));
            panel.points.push(Point {
                x: (station.length, None),
                y: (mean, bar(&cell)),
                style,
                label: None,
                tip: format!("{title}, {}: AUC {}", line.long(station), cell.text(3)),
            });
        }
        if !through.is_empty() {
            panel.lines.push((style, through));
            legend.push(title);
        }
    }
    let about = format!(
        "AUC of each attack on the undefended model against the length of its training, {}",
        set.title
    );
    Ok(svg::draw(&[panel], &legend, &about))
}

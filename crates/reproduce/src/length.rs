//! Length of training, in passes over a model's own images: a note under every table, and `dualmd reproduce epochs`, which compares
//! several lengths. SecMI and PIA see little of a model that was trained shorter than those of their papers.

use super::cell::{Cell, attacks_on};
use super::names;
use super::paper::Metric;
use super::read::{Evidence, Set};
use super::table::{Record, Table, intervals};
use super::{Drawn, Save};
use anyhow::Result;
use dualmd::experiment::epochs::text;
use dualmd_plot::{self as svg, Panel, Point};

/// Passes of the paper's DDPMs on half of CIFAR-10 or CIFAR-100: 780,000 steps of 128 on 25,000 images.
const PAPER: f64 = 780_000.0 * 128.0 / 25_000.0;

/// The same of its text-to-image models: 20,000 steps of 16 on 416 Pokemon, and on 610 Naruto pictures.
const PAPER_TEXT: [f64; 2] = [20_000.0 * 16.0 / 416.0, 20_000.0 * 16.0 / 610.0];

/// From this part of the paper's length on a training counts as equally long.
const ALIKE: f64 = 0.9;

/// The models that are followed over lengths.
const FOLLOWED: [&str; 3] = [names::BASELINE, "dualmd", "student"];

/// How long the models behind a table were trained, beside the paper's: none where no run recorded it.
pub fn note(evidence: &Evidence, text_to_image: bool) -> Option<String> {
    let mut sets: Vec<String> = Vec::new();
    let mut longest: f64 = 0.0;
    for set in &evidence.sets {
        let mut groups: Vec<(String, f64, Vec<String>)> = Vec::new();
        for model in set.models() {
            let Some(passes) = model.utility.as_ref().and_then(|u| u.passes()) else {
                continue;
            };
            if model.name == names::BASELINE {
                longest = longest.max(passes);
            }
            let (shown, name) = (text(passes), names::method(&model.name));
            match groups.iter_mut().find(|g| g.0 == shown) {
                Some(group) => group.2.push(name),
                None => groups.push((shown, passes, vec![name])),
            }
        }
        // The most usual length first.
        groups.sort_by(|a, b| b.2.len().cmp(&a.2.len()).then(b.1.total_cmp(&a.1)));
        let groups: Vec<String> = groups
            .iter()
            .map(|(shown, _, models)| format!("{shown} ({})", models.join(", ")))
            .collect();
        if !groups.is_empty() {
            sets.push(format!("{} {}", set.label(), groups.join("; ")));
        }
    }
    if sets.is_empty() {
        return None;
    }
    let paper = match text_to_image {
        true => format!(
            "The paper: {} on Pokemon, {} on Naruto.",
            text(PAPER_TEXT[0]),
            text(PAPER_TEXT[1])
        ),
        false => format!(
            "The paper: {} on CIFAR-10 and CIFAR-100, {} on the two larger sets, and twice as many over its half for a sub-model.",
            text(PAPER),
            text(PAPER / 2.0)
        ),
    };
    let short = !text_to_image && longest > 0.0 && longest < ALIKE * PAPER / 2.0;
    Some(format!(
        "Epochs, passes of a model over its own training images: {}. {paper}{}",
        sets.join(". "),
        match short {
            true => " Trained shorter than that: weak results of SecMI and PIA may be due to it.",
            false => "",
        }
    ))
}

/// The sets of a study over lengths by image set, short trainings first.
fn studies(evidence: &Evidence) -> Vec<(&str, Vec<(f64, &Set)>)> {
    let mut out: Vec<(&str, Vec<(f64, &Set)>)> = Vec::new();
    for set in &evidence.sets {
        let Some(epochs) = set.epochs else { continue };
        match out.iter_mut().find(|s| s.0 == set.name) {
            Some(study) => study.1.push((epochs, set)),
            None => out.push((&set.name, vec![(epochs, set)])),
        }
    }
    for (_, lengths) in &mut out {
        lengths.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    out
}

/// Attacks on a model at any length, in the order of the reports.
fn attacks(lengths: &[(f64, &Set)], model: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (_, set) in lengths {
        for attack in attacks_on(set, model) {
            if !out.contains(&attack) {
                out.push(attack);
            }
        }
    }
    out
}

/// The table over lengths, what it shows, and a picture of each image set.
///
/// # Errors
/// A number that is not finite; what `save` says.
pub fn draw(evidence: &Evidence, save: &Save) -> Result<Drawn> {
    let (table, facts) = build(evidence)?;
    let mut pictures = Vec::new();
    for (_, lengths) in studies(evidence) {
        let Some((_, first)) = lengths.first() else {
            continue;
        };
        let file = save(first, "", &drawing(&lengths, evidence)?)?;
        pictures.push((
            format!("Attacks and image quality by epochs, {}", first.title),
            file,
        ));
    }
    Ok((table, facts, pictures))
}

/// The table of all image sets: a row for each length and model, a column for each attack, and the distance of the images.
///
/// # Errors
/// A number that is not finite.
pub fn build(evidence: &Evidence) -> Result<(Table, Vec<String>)> {
    let studies = studies(evidence);
    let mut columns: Vec<String> = Vec::new();
    for (_, lengths) in &studies {
        for model in FOLLOWED {
            for attack in attacks(lengths, model) {
                if !columns.contains(&attack) {
                    columns.push(attack);
                }
            }
        }
    }
    let title = "Attacks and image quality by length of training";
    let mut table = Table::new(title, &["Image set", "Epochs", "Method"]);
    let heads = columns.iter().map(|a| format!("AUC {}", names::attack(a)));
    table.columns.extend(heads);
    table.columns.push(names::column(Metric::Excess, evidence));
    let mut facts = Vec::new();
    for (name, lengths) in &studies {
        for (epochs, set) in lengths {
            for model in FOLLOWED {
                let first = [(*name).to_owned(), text(*epochs), names::method(model)];
                let method = format!("{}, {} epochs", first[2], first[1]);
                let asked = columns.iter().map(|a| (Some(a.as_str()), Metric::Auc));
                let mut numbers = Vec::new();
                for (attack, metric) in asked.chain([(None, Metric::Excess)]) {
                    let cell = Cell::metric(set, model, attack, metric)?;
                    let record = Record::new(set, model, &method, attack, metric.key(), cell);
                    numbers.push((record, metric.digits()));
                }
                table.numbers(&first, numbers, &[]);
            }
        }
        for model in FOLLOWED {
            facts.extend(first_seen(name, lengths, model)?);
        }
    }
    table.notes = vec![
        intervals(evidence),
        "Every length is a training of its own, with its own fall of the learning rate at the end. Epochs are passes over all members: the \
         two sub-models of DualMD make twice as many over their halves in the same steps. DualMD is attacked through its images only."
            .into(),
    ];
    Ok((table, facts))
}

/// From which length on each attack is above chance on a model, the first to see it first.
fn first_seen(name: &str, lengths: &[(f64, &Set)], model: &str) -> Result<Option<String>> {
    let mut seen: Vec<(f64, String)> = Vec::new();
    let mut never: Vec<String> = Vec::new();
    for attack in attacks(lengths, model) {
        let mut found = None;
        for (epochs, set) in lengths {
            let cell = Cell::auc(set, model, &attack)?;
            if cell.interval().is_some_and(|[low, _]| low > 0.5) {
                found = Some((*epochs, cell));
                break;
            }
        }
        let shown = names::attack(&attack);
        match found {
            Some((epochs, cell)) => seen.push((epochs, format!("{shown} {}", cell.text(3)))),
            None => never.push(shown),
        }
    }
    if seen.is_empty() && never.is_empty() {
        return Ok(None);
    }
    seen.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut parts: Vec<String> = Vec::new();
    for (epochs, what) in &seen {
        parts.push(format!("{what} at {} epochs", text(*epochs)));
    }
    if !never.is_empty() {
        parts.push(format!("at no length {}", never.join(", ")));
    }
    Ok(Some(format!(
        "{name}, {}: the shortest training at which an attack is told from 0.5: {}.",
        names::method(model),
        parts.join("; ")
    )))
}

/// A panel of attacks for each model and one of the images' quality, all against epochs.
fn drawing(lengths: &[(f64, &Set)], evidence: &Evidence) -> Result<String> {
    let panel = |title: String, y_label: String| Panel {
        title,
        x_label: "epochs (passes over all members)".into(),
        y_label,
        log2: true,
        ..Panel::default()
    };
    let mut legend: Vec<String> = Vec::new();
    let mut panels = Vec::new();
    for model in FOLLOWED {
        let mut own = panel(names::method(model), "AUC".into());
        own.level = Some((0.5, "chance"));
        for attack in attacks(lengths, model) {
            let label = names::attack(&attack);
            let known = legend.iter().position(|l| *l == label);
            let style = known.unwrap_or(legend.len());
            if known.is_none() {
                legend.push(label.clone());
            }
            let cell = |set: &Set| Cell::auc(set, model, &attack);
            line(&mut own, style, &label, lengths, &cell, Metric::Auc)?;
        }
        panels.push(own);
    }
    let title = "Distance of the images to unseen ones".to_owned();
    let mut quality = panel(title, names::column(Metric::Excess, evidence));
    let labels = FOLLOWED.map(|model| format!("images of {}", names::method(model)));
    for (i, (model, label)) in FOLLOWED.iter().zip(&labels).enumerate() {
        let cell = |set: &Set| Cell::excess(set, model);
        let style = legend.len() + i;
        line(&mut quality, style, label, lengths, &cell, Metric::Excess)?;
    }
    if !quality.points.is_empty() {
        legend.extend(labels);
    }
    panels.push(quality);
    panels.retain(|panel| !panel.points.is_empty());
    let title = lengths.first().map_or("", |(_, set)| set.title.as_str());
    Ok(svg::draw(
        &panels,
        &legend,
        &format!(
            "AUC of attacks on each model, and the quality of its images, against epochs of training, {title}"
        ),
    ))
}

/// A number at each length, as points with a line through them.
fn line(
    panel: &mut Panel,
    style: usize,
    label: &str,
    lengths: &[(f64, &Set)],
    number: &dyn Fn(&Set) -> Result<Cell>,
    metric: Metric,
) -> Result<()> {
    let mut line = Vec::new();
    for (epochs, set) in lengths {
        let cell = number(set)?;
        let Some(mean) = cell.mean() else { continue };
        line.push((*epochs, mean));
        let shown = cell.text(metric.digits());
        panel.points.push(Point {
            x: (*epochs, None),
            y: (mean, cell.interval()),
            style,
            label: None,
            tip: format!("{label}, {} epochs: {shown}", text(*epochs)),
        });
    }
    if !line.is_empty() {
        panel.lines.push((style, line));
    }
    Ok(())
}

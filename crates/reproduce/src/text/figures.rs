//! Figure 4 (ROC curves of the black-box attack) and figures 6 and 7 (images for the same prompts).

use super::super::figure::{self, COLUMNS, enlarged, row};
use super::super::layouts::{Captions, LIKENESS, numbered};
use super::super::names;
use super::super::read::{Evidence, Set};
use super::super::study::{Planned, Study};
use super::super::table::Table;
use super::super::tables::build;
use super::super::{Drawn, Pictures, Save};
use anyhow::{Context, Result, bail};
use dualmd::stages::{RunFolder, pictures, prepare};
use dualmd_data::Picture;
use dualmd_names::Part;
use dualmd_plot::{self as svg, Panel};
use dualmd_record::folder::PROMPTS;
use dualmd_record::samples::PromptedImage;
use dualmd_stats::Roc;
use std::path::Path;

/// Models of the figures, in the paper's order.
const MODELS: [&str; 3] = ["baseline", "dualmd", "student"];

/// Figure 4 of every set, under the numbers of table 5.
///
/// # Errors
/// As [`roc`]; a folder that cannot be written to.
pub fn curves(evidence: &Evidence, save: &Save) -> Result<Drawn> {
    let layout = numbered(5).context("table 5 has no layout")?;
    let mut table = build(layout, evidence)?;
    table.title = "Figure 4: ROC curves of the black-box attack, first seed".into();
    let mut pictures = Vec::new();
    for set in &evidence.sets {
        if let Some(drawing) = roc(set)? {
            let file = save(set, "", &drawing)?;
            pictures.push((format!("ROC curves, {}", set.title), file));
        }
    }
    Ok((table, Vec::new(), pictures))
}

/// Figure 4 of the first seed of a set: two panels with both axes logarithmic, without and with prompt diversification. The curves
/// are computed from the run's score files: its report keeps none. None where no model was attacked so.
///
/// # Errors
/// A score file that cannot be read.
pub fn roc(set: &Set) -> Result<Option<String>> {
    let Some(run) = set.runs.first() else {
        return Ok(None);
    };
    let scores = RunFolder(run.folder.clone());
    let mut panels = Vec::new();
    for captions in [Captions::One, Captions::Any] {
        let mut lines = Vec::new();
        for (style, model) in MODELS.iter().enumerate() {
            let path = scores.scores(&captions.model(model), "csv");
            if let Some(curve) = curve(&path)?.as_deref().and_then(in_decades) {
                lines.push((style, curve));
            }
        }
        let low = lines
            .iter()
            .flat_map(|(_, points)| points)
            .map(|p: &(f64, f64)| p.0)
            .fold(0.0, f64::min);
        let chance = match lines.is_empty() {
            true => Vec::new(),
            false => vec![(low, low), (0.0, 0.0)],
        };
        panels.push(Panel {
            title: format!("{} ({})", set.title, captions.title()),
            x_label: "false alarms".into(),
            y_label: "members found".into(),
            decades: true,
            lines,
            chance,
            ..Panel::default()
        });
    }
    if panels.iter().all(|p| p.lines.is_empty()) {
        return Ok(None);
    }
    let legend: Vec<String> = MODELS.iter().map(|m| names::method(m)).collect();
    Ok(Some(svg::draw(
        &panels,
        &legend,
        &format!("ROC curves of {} on {}", names::attack(LIKENESS), set.title),
    )))
}

/// (false alarms, members found) of the black-box attack at every threshold; None where it was not run.
fn curve(path: &Path) -> Result<Option<Vec<[f64; 2]>>> {
    if !path.exists() {
        return Ok(None);
    }
    let (members, others) = dualmd_audit::read_scores(path)?.sides(LIKENESS);
    if members.is_empty() || others.is_empty() {
        return Ok(None);
    }
    let roc = Roc::new(&members, &others)?;
    Ok(Some(roc.points().iter().map(|p| [p.fpr, p.tpr]).collect()))
}

/// A ROC curve in decimal logarithms from the least false-alarm rate above 0 on; None without one.
fn in_decades(points: &[[f64; 2]]) -> Option<Vec<(f64, f64)>> {
    let least = |axis: usize| {
        let positive = points.iter().map(|p| p[axis]).filter(|v| *v > 0.0);
        positive.fold(f64::INFINITY, f64::min)
    };
    let floor = least(0).min(least(1));
    if !floor.is_finite() {
        return None;
    }
    let log = |v: f64| v.max(floor).log10();
    // Of the points at one false-alarm rate the last is the best.
    let from = points.iter().rposition(|p| p[0] == 0.0).unwrap_or(0);
    Some(
        points[from..]
            .iter()
            .map(|p| (log(p[0]), log(p[1])))
            .collect(),
    )
}

/// Draws figure 6 (without prompt diversification) or 7 (with it) of the first seed of each set, under the training images whose
/// captions are the prompts: OUT/figN-SCALE-SET.png, and the same with names before the rows and numbers above the columns as .svg.
///
/// # Errors
/// Samples or images that are missing or unreadable.
pub fn grids(study: &Study, sets: &[Set], number: u8) -> Result<(Table, Pictures)> {
    let captions = match number {
        6 => Captions::One,
        _ => Captions::Any,
    };
    let title = format!(
        "Figure {number}: images for the prompts of training images, {}",
        captions.title()
    );
    let mut table = Table::new(title, &["Image set", "Row or column", "What"]);
    table.notes.push(
        "First seed; the first members in order, the first image drawn for each, none chosen. In a column all models are given the same \
         prompt and begin with the same noise. The training images are not in the paper's figure."
            .into(),
    );
    let mut files = Vec::new();
    for (set, planned) in sets.iter().zip(&study.datasets) {
        let (Some(run), Some(planned)) = (set.runs.first(), planned.runs.first()) else {
            continue;
        };
        let there = |model: &str| run.models.iter().any(|m| m.name == model);
        let models: Vec<(String, String)> = pictured(captions)
            .into_iter()
            .filter(|(model, _)| there(model))
            .collect();
        let Some((first, _)) = models.first() else {
            table.notes.push(format!(
                "{}: the runs have no model {}.",
                set.name,
                captions.title()
            ));
            continue;
        };
        let samples = |model: &str| run.folder.join("samples").join(model);
        let prompts = prompts(&samples(first))?;
        let mut say = |place: String, what: String| {
            table.words([set.name.clone(), place, what]);
        };
        let mut rows = vec![originals(planned, &prompts)?];
        let mut labels = vec!["the training images".to_owned()];
        say("row 1".into(), "the training images".into());
        let which: Vec<usize> = prompts.iter().map(|(i, _)| *i).collect();
        for (model, label) in models {
            rows.push(row(&samples(&model), &which)?);
            labels.push(label.clone());
            say(format!("row {}", rows.len()), label);
        }
        for (i, (_, prompt)) in prompts.iter().enumerate() {
            let text = prompt.prompt.clone().unwrap_or_default();
            say(format!("column {}", i + 1), text);
        }
        let title = format!("Images for prompts, {}", set.title);
        let stem = format!("fig{number}-{}-{}", study.scale.as_str(), set.name);
        let file = figure::save(study, &stem, &rows, &labels, true, &title)?;
        files.push((title, file));
    }
    Ok((table, files))
}

/// Rows of figures 6 and 7: models, and what they are for people. The two sub-models are the teachers.
fn pictured(captions: Captions) -> Vec<(String, String)> {
    let own = match captions {
        Captions::One => None,
        Captions::Any => Some("any"),
    };
    let [first, second] = Part::teachers(own).map(|part| part.to_string());
    let teacher = |name: String, half: u8| (name, format!("the sub-model of D{half}"));
    let [none, pair, student] = MODELS.map(|m| (captions.model(m), names::method(m)));
    vec![none, teacher(first, 1), teacher(second, 2), pair, student]
}

/// (index of the first image drawn for it, prompt) of the first members.
fn prompts(samples: &Path) -> Result<Vec<(usize, PromptedImage)>> {
    let path = samples.join(PROMPTS);
    let all: Vec<PromptedImage> = dualmd_record::read_list(&path)
        .with_context(|| format!("{} is no list of prompts", path.display()))?;
    let mut out: Vec<(usize, PromptedImage)> = Vec::new();
    for (i, prompt) in all.into_iter().enumerate() {
        let new = out.iter().all(|(_, seen)| seen.id != prompt.id);
        if prompt.member && new && out.len() < COLUMNS {
            out.push((i, prompt));
        }
    }
    if out.is_empty() {
        bail!("{} has no prompt of a member", path.display());
    }
    Ok(out)
}

/// The images that the prompts are captions of.
fn originals(planned: &Planned, prompts: &[(usize, PromptedImage)]) -> Result<Vec<Picture>> {
    let data = &planned.experiment.data;
    let (set, _) = prepare::read(data)?;
    let places = prompts
        .iter()
        .map(|(_, prompt)| {
            let place = set.records.iter().position(|r| r.id.as_str() == prompt.id);
            place.with_context(|| {
                format!(
                    "{}: the image of prompt {:?} is not there any more",
                    data.source,
                    prompt.prompt.as_deref().unwrap_or_default()
                )
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let found = pictures::pictures(&pictures::tensor(&set, &places))?;
    Ok(found.iter().map(enlarged).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_begins_at_its_least_false_alarm_rate() {
        let curve = [[0.0, 0.0], [0.0, 0.1], [0.01, 0.1], [0.1, 1.0], [1.0, 1.0]];
        let got = in_decades(&curve).unwrap();
        let want = [(-2.0, -1.0), (-2.0, -1.0), (-1.0, 0.0), (0.0, 0.0)];
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!(
                (g.0 - w.0).abs() < 1e-12 && (g.1 - w.1).abs() < 1e-12,
                "{got:?}"
            );
        }
        assert!(in_decades(&[[0.0, 0.0]]).is_none());
    }
}

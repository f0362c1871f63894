//! Figure 3: the t-error of prompts.

use super::super::read::{Evidence, Set};
use super::super::table::{Row, Table};
use super::super::{Drawn, Save};
use super::measured::{folder, read};
use anyhow::Result;
use dualmd_plot::{self as svg, Panel};
use dualmd_record::memorisation::{Memorisation, Spread};

/// Figure 3 of every set.
///
/// # Errors
/// As [`histogram`]; a folder that cannot be written to.
pub fn histograms(evidence: &Evidence, save: &Save) -> Result<Drawn> {
    let title = "Figure 3: t-error of prompts on No defense, first seed";
    let mut table = Table::new(title, &HEADS);
    let (mut facts, mut pictures) = (Vec::new(), Vec::new());
    for set in &evidence.sets {
        if let Some(mut found) = histogram(set)? {
            let file = save(set, "", &found.drawing)?;
            pictures.push((format!("t-error of prompts, {}", set.title), file));
            facts.push(found.fact);
            table.rows.append(&mut found.rows);
        }
    }
    Ok((table, facts, pictures))
}

/// Heads of figure 3's table.
pub const HEADS: [&str; 5] = ["Image set", "Prompts", "number", "median", "5 % to 95 %"];

/// Figure 3 of one model.
pub struct Histogram {
    /// The figure.
    pub drawing: String,
    /// What it shows.
    pub fact: String,
    /// Rows of its table: (set, prompts, their number, median, 5 % and 95 %).
    pub rows: Vec<Row>,
}

/// Histogram of the t-error of members' prompts and of others. None where nothing was measured.
///
/// # Errors
/// A measurement that cannot be read.
pub fn histogram(set: &Set) -> Result<Option<Histogram>> {
    let Some(run) = set.runs.first() else {
        return Ok(None);
    };
    let Some(report) = read(&folder(&run.folder, "baseline"))? else {
        return Ok(None);
    };
    let labels = ["members' prompts", "prompts never seen"];
    let title = format!("{}, No defense", set.title);
    Ok(Some(histogram_of(&report, &set.name, &title, labels)))
}

/// Histogram of the t-errors of a measurement; `labels`: what its memorised prompts and the others are.
pub fn histogram_of(
    report: &Memorisation,
    name: &str,
    title: &str,
    labels: [&str; 2],
) -> Histogram {
    let errors = &report.t_error;
    let (counts, spread) = (&errors.histogram.counts, &errors.spread);
    let lines = [&counts.memorised, &counts.others].into_iter().enumerate();
    let panel = Panel {
        title: title.to_owned(),
        x_label: format!(
            "t-error of the image drawn for a prompt, t = {}",
            errors.t.unwrap_or_default()
        ),
        y_label: "prompts".into(),
        lines: lines
            .map(|(style, counts)| (style, outline(&errors.histogram.edges, counts)))
            .collect(),
        sides: true,
        ..Panel::default()
    };
    let legend = labels.map(str::to_owned);
    let row = |(title, side): (&String, Option<Spread>)| {
        let of = |number: fn(Spread) -> f64| side.map_or(f64::NAN, number);
        Row::Cells(vec![
            name.to_owned(),
            title.clone(),
            side.map_or(0, |s| s.n).to_string(),
            format!("{:.4}", of(|s| s.median)),
            format!("{:.4} to {:.4}", of(|s| s.q05), of(|s| s.q95)),
        ])
    };
    let rows = legend.iter().zip([spread.memorised, spread.others]);
    let rows = rows.map(row).collect();
    let fact = errors.detection.as_ref().map(|found| {
        let ([low, high], [ours, others]) = (found.auc_ci, labels);
        format!(
            "{name}: the t-error tells {ours} from {others} with AUC {:.3} ({low:.3}-{high:.3}); the paper shows two distributions that hardly \
             overlap, for 500 prompts that are known to be memorised and 500 others.",
            found.auc
        )
    });
    let drawing = svg::draw(&[panel], &legend, &format!("t-error of prompts, {title}"));
    Histogram {
        drawing,
        fact: fact.unwrap_or_default(),
        rows,
    }
}

/// The outline of bars from the ground to the ground.
fn outline(edges: &[f64], counts: &[u64]) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    for (pair, &count) in edges.windows(2).zip(counts) {
        out.extend([(pair[0], count as f64), (pair[1], count as f64)]);
    }
    if let (Some(first), Some(last)) = (out.first().copied(), out.last().copied()) {
        out.insert(0, (first.0, 0.0));
        out.push((last.0, 0.0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_an_outline() {
        let bars = outline(&[0.0, 1.0, 2.0], &[3, 4]);
        let heights = [(0.0, 0.0), (0.0, 3.0), (1.0, 3.0), (1.0, 4.0), (2.0, 4.0)];
        assert_eq!(bars[..5], heights);
        assert_eq!(bars[5..], [(2.0, 0.0)]);
        assert!(outline(&[], &[]).is_empty());
    }
}

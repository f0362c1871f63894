//! The paper's tables from the runs: one builder for all layouts.

use super::cell::{Cell, strongest};
use super::layouts::{Asked, Captions, Labels, Layout, Models, Section, rounds};
use super::names;
use super::paper::{self, Metric};
use super::read::{Evidence, Set};
use super::table::{Record, Row, Table, intervals};
use super::text;
use anyhow::Result;

/// What stands in a row.
struct Line {
    /// None of image quality, and of the strongest attack.
    attack: Option<&'static str>,
    model: String,
    /// Take the strongest attack on each model instead of a named one.
    strongest: bool,
}

/// The paper's image sets that a set of ours is compared with: itself, else all that the table has.
pub fn compared_with(table: u8, set: &Set) -> Vec<&'static str> {
    let mut places = paper::places(table);
    places.retain(|place| set.paper.is_none_or(|own| own == *place));
    places
}

/// Builds a table. A row that no set has a number for is left out, and so is a heading above none.
///
/// # Errors
/// A number that is not finite.
pub fn build(layout: &Layout, evidence: &Evidence) -> Result<Table> {
    let mut out = Table::new(layout.title, &[]);
    out.columns = columns(layout, evidence);
    for section in layout.sections {
        let mut rows = Vec::new();
        for line in lines(section, evidence) {
            rows.extend(row(layout, &line, evidence, &mut out.records)?.map(Row::Cells));
        }
        if !rows.is_empty() {
            if !section.heading.is_empty() {
                out.rows.push(Row::Heading(section.heading.to_owned()));
            }
            out.rows.append(&mut rows);
        }
    }
    out.notes = match layout.text {
        true => text::notes(layout, evidence),
        false => notes(layout.number, evidence, out.rows.is_empty()),
    };
    Ok(out)
}

fn columns(layout: &Layout, evidence: &Evidence) -> Vec<String> {
    let labels: &[&str] = match layout.labels {
        Labels::Method => &["Method"],
        Labels::Attack => &["Attack", "Method"],
        Labels::Rounds => &["Rounds"],
    };
    let mut out: Vec<String> = labels.iter().map(|head| (*head).to_owned()).collect();
    let kind = |captions: Captions| match layout.captions {
        [_] => String::new(),
        _ => format!(" {}", captions.title()),
    };
    for set in &evidence.sets {
        for &captions in layout.captions {
            for &metric in layout.metrics {
                let head = names::column(metric, evidence);
                out.push(format!(
                    "{}{} {head}{}",
                    set.name,
                    kind(captions),
                    match metric {
                        Metric::Fd | Metric::Is => otherwise_drawn(set),
                        _ => String::new(),
                    }
                ));
                if let Some(own) = beside(layout, set, captions, metric) {
                    out.push(format!("paper {own} {}", metric.column()));
                }
            }
        }
    }
    // A set that is not in the paper has all of the paper's beside it, once.
    if evidence.sets.iter().any(|s| s.paper.is_none()) {
        let places = match (layout.text, paper::places(layout.number).as_slice()) {
            (true, _) => String::new(),
            (false, [one]) => format!(" ({one})"),
            (false, all) => {
                let short: Vec<&str> = all.iter().map(|d| names::short(d)).collect();
                format!(" ({})", short.join(" / "))
            }
        };
        for &captions in layout.captions {
            for metric in layout.printed(captions) {
                out.push(format!(
                    "paper{} {}{places}",
                    kind(captions),
                    metric.column()
                ));
            }
        }
    }
    out
}

/// The paper's name of a set that has a column of the paper's numbers beside its own.
fn beside(layout: &Layout, set: &Set, captions: Captions, metric: Metric) -> Option<&'static str> {
    let own = set.paper?;
    let there = paper::places(layout.number).contains(&own);
    (there && layout.printed(captions).contains(&metric)).then_some(own)
}

/// How the images of one of the paper's own sets were drawn, where that is not the paper's way: 25,000 images, ancestral sampling of
/// 1,000 steps. Sets that are not the paper's are compared with it by their order only, which the notes say.
fn otherwise_drawn(set: &Set) -> String {
    let mut differs: Vec<String> = Vec::new();
    for run in set.runs.iter().filter(|_| set.paper.is_some()) {
        let sample = &run.plan.sample;
        let (Some(steps), Some(n)) = (sample.steps, sample.n) else {
            continue;
        };
        let sampler = sample.sampler.as_deref().unwrap_or("ddim");
        let mut own = Vec::new();
        if (sampler, steps) != ("ddpm", 1000) {
            own.push(format!("{steps} steps of {sampler}"));
        }
        if n != 25_000 {
            own.push(format!("{n} images"));
        }
        let own = own.join(", ");
        if !own.is_empty() && !differs.contains(&own) {
            differs.push(own);
        }
    }
    match differs.as_slice() {
        [] => String::new(),
        some => format!(" ({})", some.join("; ")),
    }
}

/// The rows of a section: all models with the first attack, then with the next.
fn lines(section: &Section, evidence: &Evidence) -> Vec<Line> {
    let models: Vec<String> = match section.models {
        Models::Only(these) => these.iter().map(|m| (*m).to_owned()).collect(),
        Models::But(these) => {
            let mut rest = names::compared(evidence);
            rest.retain(|m| !these.contains(&m.as_str()));
            rest
        }
    };
    let strongest = matches!(section.asked, Asked::Strongest);
    let attacks: Vec<Option<&'static str>> = match section.asked {
        Asked::Attacks(named) => named.iter().copied().map(Some).collect(),
        Asked::Quality | Asked::Strongest => vec![None],
    };
    let mut out = Vec::new();
    for attack in attacks {
        out.extend(models.iter().map(|model| Line {
            attack,
            model: model.clone(),
            strongest,
        }));
    }
    out
}

/// What stands before the numbers of a row.
fn labels(layout: &Layout, line: &Line) -> Vec<String> {
    let method = names::method(&line.model);
    match (layout.labels, line.attack) {
        (Labels::Method, _) => vec![method],
        (Labels::Attack, None) => vec!["strongest".into(), method],
        (Labels::Attack, Some(attack)) => vec![names::attack(attack), method],
        (Labels::Rounds, attack) => vec![match attack {
            Some(attack) if attack.starts_with("rounds@") => rounds(attack).to_owned(),
            _ => "1 (as in Table 5)".into(),
        }],
    }
}

/// One row; none where no set has a number for it.
fn row(
    layout: &Layout,
    line: &Line,
    evidence: &Evidence,
    records: &mut Vec<Record>,
) -> Result<Option<Vec<String>>> {
    let mut cells = labels(layout, line);
    let before = records.len();
    let of_paper = |model: &str, metric: Metric| match line.strongest {
        true => Vec::new(),
        false => paper::of(layout.number, line.attack, model, metric.key()),
    };
    for set in &evidence.sets {
        for &captions in layout.captions {
            let model = captions.model(&line.model);
            let attack = match line.strongest {
                true => strongest(set, &model)?.map(|(attack, _)| attack),
                false => line.attack.map(str::to_owned),
            };
            let method = match layout.text {
                true => format!("{}, {}", names::method(&line.model), captions.title()),
                false => names::method(&line.model),
            };
            for &metric in layout.metrics {
                let mut cell = Cell::metric(set, &model, attack.as_deref(), metric)?;
                if line.strongest && metric == Metric::Auc && cell.mean().is_some() {
                    cell.note = attack.as_deref().map(names::attack);
                }
                cells.push(cell.shown(set, &model, attack.as_deref(), metric)?);
                let mut paper = of_paper(&model, metric);
                paper.retain(|(place, _)| set.paper.is_none_or(|own| own == *place));
                if beside(layout, set, captions, metric).is_some() {
                    cells.push(in_one(&paper));
                }
                if cell.mean().is_some() {
                    let attack = attack.as_deref();
                    records.push(Record {
                        paper,
                        ..Record::new(set, &model, &method, attack, metric.key(), cell)
                    });
                }
            }
        }
    }
    if records.len() == before {
        return Ok(None);
    }
    if evidence.sets.iter().any(|s| s.paper.is_none()) {
        for &captions in layout.captions {
            let model = captions.model(&line.model);
            for metric in layout.printed(captions) {
                cells.push(in_one(&of_paper(&model, metric)));
            }
        }
    }
    Ok(Some(cells))
}

/// The paper's numbers as one cell.
fn in_one(numbers: &[(&str, f64)]) -> String {
    let texts: Vec<String> = numbers.iter().map(|(_, v)| names::printed(*v)).collect();
    match texts.is_empty() {
        true => "-".into(),
        false => texts.join(" / "),
    }
}

/// How the tables of unconditional models are to be read.
fn notes(table: u8, evidence: &Evidence, empty: bool) -> Vec<String> {
    let mut out = vec![intervals(evidence)];
    if table == 2 {
        if empty {
            out.push("No quality of images could be measured; `image_utility` of the runs' report.json says why.".into());
        }
        let features = evidence.features();
        match features.as_slice() {
            [] => out.push(
                "No run measured the quality of images: the weights of the features' network are missing (`cargo xtask features`, or DUALMD_EFFLITE0); \
                 run the same command with another --out, or remove report.json of the runs, once they are there. FID needs those of --inception."
                    .into(),
            ),
            [one] if one == "inception-2048" && evidence.published_quality() => out.push(
                "FID is to all images of the run, members and others: with half of a data set on either side these are its training images, \
                 as in public codes. IS is the mean of ten splits. The excess is by held-out images alone."
                    .into(),
            ),
            [one] if one == "inception-2048" => {}
            some => out.push(format!(
                "Distances and scores are by the features {}, against held-out images: they are no FID or IS of the Inception network \
                 (--inception names its weights) and cannot be compared with the paper's numbers, only their order can. \"excess\" is the distance at equal numbers of \
                 images less that of real images to real images, 0 for a perfect model.",
                some.join(", ")
            )),
        }
    } else {
        out.push(
            "AUC 0.5 is chance. TPR@1%FPR: share of members found with at most 1 false alarm in 100. DualMD is not among the white-box \
             rows of SecMI and PIA: a pair of models has no one network to ask."
                .into(),
        );
        if evidence.sets.iter().any(|s| s.paper.is_none()) && table == 3 {
            out.push("Image sets of the paper: C10 CIFAR10, C100 CIFAR100, Tiny Tiny-ImageNet, STL STL10-Unlabeled.".into());
        }
        out.push(
            format!(
                "The paper says SecMIA; `secmi` is its statistic, `secmi-nn` a classifier on the same differences. The size of the paper's \
                 numbers suggests the latter{}.",
                match evidence.attacked_with("secmi-nn") {
                    true => "",
                    false => ", which was not run here (--set audit.attacks)",
                }
            ),
        );
    }
    out
}

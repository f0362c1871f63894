//! Tables for a terminal and CSV files.

use dualmd_files::shown;
use dualmd_stats::StatsError;
use serde::Serialize;

use crate::cells::cell;
use crate::error::{AuditError, Result};
use crate::format::{fpr_name, interval_ascii, rate};
use crate::measure::measure;
use crate::report::{Finding, Measurement, Report, View};
use crate::scores::ScoresFile;
use crate::terminal;

/// Attack columns side by side before the table is broken, at most.
const COLUMNS: usize = 5;
const FIRST: usize = 22;
const WIDTH: usize = 16;

impl Report {
    /// Models x attacks for a terminal: AUC with its 95 % interval, below it the members found at 1 % false alarms; then the verdict
    /// on each model. Of a void report that it is void, and why.
    pub fn terminal_table(&self) -> String {
        self.terminal_table_in(None)
    }

    /// The same in lines of so many characters, as far as names allow; where not even two columns have room, an attack a line. None: as
    /// where it goes to a file.
    pub fn terminal_table_in(&self, columns: Option<usize>) -> String {
        let width = columns
            .unwrap_or(terminal::WIDTH)
            .clamp(20, terminal::WIDTH);
        if let Some(reason) = &self.verdict.void {
            return terminal::void(reason, width);
        }
        let fitting = match columns {
            None => COLUMNS,
            Some(columns) => (columns.saturating_sub(FIRST) / (WIDTH + 1)).min(COLUMNS),
        };
        let mut out = match fitting {
            0 | 1 => self.attack_by_attack(width),
            fitting => self.side_by_side(fitting),
        };
        let mut said = vec![match fitting {
            0 | 1 => {
                "AUC with 95 % interval; members found of all members at 1 % false alarms. 0.5 is chance."
            }
            _ => {
                "AUC with 95 % interval; below it members found / members at 1 % false alarms. 0.5 is chance."
            }
        }];
        if self.models.iter().any(|m| m.attacks_run() > 1) {
            said.push("Intervals here are of single attacks; those below are wider, corrected for the number of attacks.");
        }
        for line in said {
            match columns {
                None => out.push_str(&format!("{line}\n")),
                Some(_) => out.push_str(&terminal::wrapped(line, "", width)),
            }
        }
        out.push_str(&terminal::verdicts(self, width));
        out
    }

    /// A line for each attack on each model.
    fn attack_by_attack(&self, width: usize) -> String {
        let mut out = String::new();
        for model in &self.models {
            let members = match model.primary {
                View::Pooled => String::new(),
                own => format!(" (members of {})", own.name()),
            };
            let head = format!("{}{members}", model.name);
            out.push_str(&terminal::wrapped(&head, "  ", width));
            for result in &model.results {
                let text = match result.view(model.primary) {
                    None => format!("{}: failed", result.attack),
                    Some(m) => {
                        let found = match m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01) {
                            Some(p) if p.measurable => format!("{} of {}", p.tp, m.n_members),
                            _ => "not measurable".to_owned(),
                        };
                        let auc = format!("{} {}", rate(m.auc), interval_ascii(m.auc_ci));
                        format!("{}: AUC {auc}, found {found}", result.attack)
                    }
                };
                // Two characters before each line.
                for (i, line) in terminal::wrapped(&text, "  ", width.saturating_sub(2))
                    .lines()
                    .enumerate()
                {
                    let bullet = if i == 0 { "- " } else { "  " };
                    out.push_str(&format!("{bullet}{line}\n"));
                }
            }
            out.push('\n');
        }
        out
    }

    /// A table of so many columns at a time.
    fn side_by_side(&self, columns: usize) -> String {
        let attacks = self.attacks();
        let mut out = String::new();
        for block in attacks.chunks(columns) {
            out.push_str(&line(
                "model",
                block.iter().map(|a| shown(&a.0).to_string()),
            ));
            for model in &self.models {
                let result = |attack: &str| model.results.iter().find(|r| r.attack == attack);
                if block.iter().all(|a| result(&a.0).is_none()) {
                    continue;
                }
                let cell = |attack: &str,
                            text: &dyn Fn(&Measurement) -> String,
                            otherwise: &str| match result(attack) {
                    None => "-".into(),
                    Some(r) => r
                        .view(model.primary)
                        .map_or_else(|| otherwise.to_owned(), text),
                };
                let auc = |m: &Measurement| format!("{} {}", rate(m.auc), interval_ascii(m.auc_ci));
                let found = |m: &Measurement| match m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01) {
                    Some(p) if p.measurable => format!("{}/{}", p.tp, m.n_members),
                    _ => "not measurable".into(),
                };
                out.push_str(&line(
                    &shown(&model.name).to_string(),
                    block.iter().map(|a| cell(&a.0, &auc, "failed")),
                ));
                let members = match model.primary {
                    View::Pooled => String::new(),
                    own => format!("  (members of {})", own.name()),
                };
                out.push_str(&line(
                    &members,
                    block
                        .iter()
                        .map(|a| cell(&a.0, &found, "").replace('-', "")),
                ));
            }
            out.push('\n');
        }
        out
    }

    /// The report in two lines: what was found, and what to do.
    pub fn summary(&self) -> [String; 2] {
        terminal::summary(self)
    }

    /// (name, title) of every attack in order of first appearance.
    pub fn attacks(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = Vec::new();
        for result in self.models.iter().flat_map(|m| &m.results) {
            if out.iter().all(|(name, _)| *name != result.attack) {
                out.push((result.attack.clone(), result.title.clone()));
            }
        }
        out
    }

    /// `findings.csv`: one row per model, attack and set of members, with all digits.
    pub fn findings_csv(&self) -> String {
        let mut out = csv::Writer::from_writer(Vec::new());
        let mut header = vec![
            "model",
            "defense",
            "attack",
            "members",
            "status",
            "reason",
            "access",
            "network_calls_per_sample",
            "seconds",
        ];
        header.extend([
            "n_members",
            "n_nonmembers",
            "auc",
            "auc_low",
            "auc_high",
            "auc_low_adjusted",
            "auc_high_adjusted",
            "balanced_accuracy",
            "finding",
        ]);
        let mut header: Vec<String> = header.into_iter().map(str::to_owned).collect();
        for fpr in crate::measure::FPRS {
            for column in [
                "tpr",
                "tpr_low",
                "tpr_high",
                "realised_fpr",
                "tp",
                "fp",
                "measurable",
            ] {
                header.push(format!("{column}_at_{fpr}"));
            }
        }
        let measured_columns = header.len();
        header.extend(
            [
                "samples_scored",
                "trained_on_members",
                "trained_on_nonmembers",
                "epsilon_lower",
                "epsilon_ceiling",
                "epsilon_delta",
                "one_run_epsilon_lower",
                "one_run_epsilon_ceiling",
                "repeat_of",
            ]
            .map(str::to_owned),
        );
        // Writing to memory cannot fail, and every row has the header's length.
        let mut write = |row: &[String]| {
            drop(out.write_record(row.iter().map(|text| cell(text).into_owned())));
        };
        write(&header);
        for model in &self.models {
            for result in &model.results {
                let views = [(View::Pooled, "all"), (View::D1, "d1"), (View::D2, "d2")];
                for (view, name) in views {
                    let measured = result.view(view);
                    if measured.is_none() && view != View::Pooled {
                        continue;
                    }
                    let number = |x: Option<f64>| x.map_or_else(String::new, |x| x.to_string());
                    let mut row: Vec<String> = vec![
                        model.name.clone(),
                        model.defense.to_string(),
                        result.attack.clone(),
                        name.into(),
                        result.status.clone(),
                        result.reason.clone().unwrap_or_default(),
                        result.access.clone(),
                        number(result.network_calls_per_sample),
                        number(result.seconds),
                    ];
                    if let Some(m) = measured {
                        row.extend([m.n_members.to_string(), m.n_nonmembers.to_string()]);
                        row.extend(
                            [
                                m.auc,
                                m.auc_ci[0],
                                m.auc_ci[1],
                                m.auc_ci_adjusted[0],
                                m.auc_ci_adjusted[1],
                                m.balanced_accuracy,
                            ]
                            .map(|x| x.to_string()),
                        );
                        row.push(format!("{:?}", m.finding).to_lowercase());
                        for p in &m.tpr_at_fpr {
                            row.extend(
                                [p.tpr, p.tpr_ci[0], p.tpr_ci[1], p.realised_fpr]
                                    .map(|x| x.to_string()),
                            );
                            row.extend([
                                p.tp.to_string(),
                                p.fp.to_string(),
                                p.measurable.to_string(),
                            ]);
                        }
                    }
                    row.resize(measured_columns, String::new());
                    let text = |x: Option<usize>| x.map_or_else(String::new, |x| x.to_string());
                    let learnt = result.trained_on.as_ref();
                    row.extend([
                        result.samples_scored.to_string(),
                        text(learnt.map(|t| t.members)),
                        text(learnt.map(|t| t.nonmembers)),
                    ]);
                    // Bounds on epsilon are for the members that the model was trained on.
                    let own = view == model.primary;
                    let bound = result.epsilon.as_ref().filter(|_| own);
                    let run = model.one_run.as_ref();
                    let run = run.filter(|o| own && o.attack == result.attack);
                    row.extend(
                        [
                            bound.map(|b| b.lower),
                            bound.map(|b| b.ceiling),
                            bound.map(|b| b.delta),
                            run.map(|o| o.lower),
                            run.map(|o| o.ceiling),
                        ]
                        .map(number),
                    );
                    row.push(model.repeat_of.clone().unwrap_or_default());
                    write(&row);
                }
            }
        }
        out.into_inner()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

fn line(first: &str, cells: impl Iterator<Item = String>) -> String {
    let mut text = format!("{:<FIRST$}", shown(first).to_string());
    for cell in cells {
        let cell = shown(&cell).to_string();
        text.push_str(&format!(" {cell:>WIDTH$}"));
    }
    format!("{}\n", text.trim_end())
}

/// One attack of a score file as `dualmd roc --json` prints it.
#[derive(Debug, Serialize)]
struct RocEntry {
    attack: String,
    #[serde(flatten)]
    measurement: Measurement,
}

/// The same by the rule of a public code.
#[derive(Debug, Serialize)]
struct CompatEntry {
    attack: String,
    compat: dualmd_stats::CompatSummary,
}

/// `dualmd roc --compat RULE`: what a public code would have printed for these scores, beside the exact numbers.
///
/// # Errors
/// Scores that the rule cannot be applied to, such as equal scores where it wants a grid of thresholds.
pub fn compat_table(
    scores: &ScoresFile,
    rule: dualmd_stats::CompatRule,
    fprs: &[f64],
    json: bool,
) -> Result<String> {
    let mut entries = Vec::new();
    let mut out = format!("by the rule of {}: {}\n", rule.name(), rule.definition());
    for attack in scores.attacks() {
        let (members, nonmembers) = scores.sides(&attack);
        let summary = dualmd_stats::summarise_compat(rule, &members, &nonmembers, fprs).map_err(
            |source| AuditError::Stats {
                what: format!("attack {attack} by the rule of {}", rule.name()),
                source,
            },
        )?;
        let number =
            |value: Option<f64>| value.map_or("not computed".into(), |v| format!("{v:.4}"));
        out.push_str(&format!(
            "{}: AUC {}, accuracy {}\n",
            shown(&attack),
            number(summary.auc),
            number(summary.asr)
        ));
        for p in &summary.tpr_at_fpr {
            out.push_str(&format!(
                "  \"TPR at {} FPR\": {:.4}, taken at {:.4}\n",
                fpr_name(p.target_fpr),
                p.tpr,
                p.realised_fpr
            ));
        }
        entries.push(CompatEntry {
            attack,
            compat: summary,
        });
    }
    if json {
        // As values, whose keys are in alphabetical order.
        let entries = serde_json::to_value(&entries).unwrap_or_default();
        return Ok(serde_json::to_string_pretty(&entries).unwrap_or_default() + "\n");
    }
    out.push_str("for comparison with published tables only; `dualmd roc` without --compat has the exact numbers\n");
    Ok(out)
}

/// What the report's own rule finds in each attack of a score file: `(attack, finding)`. Corrected for the number of attacks in
/// the file; which rates are asked for plays no part.
///
/// # Errors
/// When an attack has no members or no non-members.
pub fn roc_findings(scores: &ScoresFile) -> Result<Vec<(String, Finding)>> {
    let attacks = scores.attacks();
    let of = |attack: &String| {
        let measured = measured(scores, attack, attacks.len(), &[])?;
        Ok((attack.clone(), measured.finding))
    };
    attacks.iter().map(of).collect()
}

fn measured(
    scores: &ScoresFile,
    attack: &str,
    attacks: usize,
    fprs: &[f64],
) -> Result<Measurement> {
    let (members, nonmembers) = scores.sides(attack);
    measure(&members, &nonmembers, attacks, fprs, 0).map_err(|source: StatsError| {
        AuditError::Stats {
            what: format!(
                "attack {attack} ({} members, {} non-members)",
                members.len(),
                nonmembers.len()
            ),
            source,
        }
    })
}

/// Statistics of any score file, as `dualmd roc` prints them: text, or a JSON array with one object per attack.
///
/// Intervals are corrected (`auc_ci_adjusted`) for the number of attacks in the file.
///
/// # Errors
/// When an attack has no members or no non-members, or a false-positive rate is outside (0, 1].
pub fn roc_table(scores: &ScoresFile, fprs: &[f64], json: bool) -> Result<String> {
    let attacks = scores.attacks();
    let entries = attacks
        .iter()
        .map(|attack| {
            let measurement = measured(scores, attack, attacks.len(), fprs)?;
            Ok(RocEntry {
                attack: attack.clone(),
                measurement,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    if json {
        // Plain numbers and strings: serialising cannot fail.
        return Ok(serde_json::to_string_pretty(&entries).unwrap_or_default() + "\n");
    }
    let mut out = String::new();
    for RocEntry {
        attack,
        measurement: m,
    } in &entries
    {
        out.push_str(&format!(
            "{}: AUC {:.4} (95 % interval {:.4}-{:.4}), {} members, {} non-members, balanced accuracy {:.3}\n",
            shown(attack), m.auc, m.auc_ci[0], m.auc_ci[1], m.n_members, m.n_nonmembers, m.balanced_accuracy
        ));
        for p in &m.tpr_at_fpr {
            let name = fpr_name(p.fpr);
            if p.measurable {
                out.push_str(&format!(
                    "  TPR at {name:>5} FPR: {:.4} ({:.4}-{:.4}), {}/{} members, realised FPR {:.4} ({}/{}), threshold {:.6e}\n",
                    p.tpr, p.tpr_ci[0], p.tpr_ci[1], p.tp, m.n_members, p.realised_fpr, p.fp, m.n_nonmembers, p.threshold
                ));
            } else {
                out.push_str(&format!(
                    "  TPR at {name:>5} FPR: not measurable with n = {} non-members\n",
                    m.n_nonmembers
                ));
            }
        }
    }
    Ok(out)
}

//! Models x attacks for a page and for a paper.

use crate::markdown;
use dualmd_audit::format::{grouped, interval, rate};
use dualmd_audit::report::{AttackResult, ModelReport, Report, View};

/// Attacks side by side in a table of LaTeX: more do not fit the width of a page.
const COLUMNS: usize = 4;

/// What a cell says, in plain text: AUC, interval, members found at 1 false alarm in 100.
struct Cell {
    auc: String,
    interval: String,
    found: String,
    /// Of the strongest attack on the model.
    best: bool,
}

fn cell(model: &ModelReport, result: Option<&AttackResult>) -> Result<Cell, &'static str> {
    let result = result.ok_or("not run")?;
    let m = result.view(model.primary).ok_or("failed")?;
    let best = model.strongest().is_some_and(|s| s.attack == result.attack);
    Ok(Cell {
        auc: rate(m.auc),
        interval: interval(m.auc_ci),
        found: super::found(m).map_or_else(
            || "n/a".to_owned(),
            |(tp, n)| format!("{}/{}", grouped(tp as i64), grouped(n as i64)),
        ),
        best,
    })
}

/// The result of an attack on a model.
fn result<'a>(model: &'a ModelReport, attack: &str) -> Option<&'a AttackResult> {
    model.results.iter().find(|r| r.attack == attack)
}

/// The model, and the half that it is judged on.
fn row_name(model: &ModelReport) -> String {
    match model.primary {
        View::Pooled => model.title.clone(),
        own => format!("{}, members of {}", model.title, own.name()),
    }
}

/// Under either table.
const NOTE: &str = "AUC on all images that the attack scored, with its 95 % interval of that attack alone (not widened for the number of attacks), then members found at 1 % false alarms; 0.5 is chance. In bold the strongest attack on each model.";

/// Models x attacks as a table of GitHub's Markdown: AUC with its 95 % interval and the members found at 1 % false alarms; all attacks are
/// columns. Of a void report the reason.
#[must_use]
pub fn markdown_table(report: &Report) -> String {
    if let Some(reason) = &report.verdict.void {
        return format!("**VOID.** {}\n", markdown::text(reason));
    }
    let attacks = report.attacks();
    let mut head = vec!["Model".to_owned()];
    head.extend(attacks.iter().map(|(_, title)| markdown::text(title)));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows = report.models.iter().map(|model| {
        let mut row = vec![markdown::text(&row_name(model))];
        for (attack, _) in &attacks {
            row.push(match cell(model, result(model, attack)) {
                Err(none) => none.to_owned(),
                Ok(c) => {
                    let auc = markdown::text(&c.auc);
                    let auc = if c.best { format!("**{auc}**") } else { auc };
                    format!("{auc} ({}), {}", c.interval, c.found)
                }
            });
        }
        row
    });
    format!("{}\n{NOTE}\n", markdown::table(&head, rows))
}

/// The same as a table of LaTeX with the rules of the package `booktabs`: four attacks side by side, further ones below each other. It
/// stands in a `tabular` and is put into a float by whoever pastes it.
#[must_use]
pub fn latex_table(report: &Report) -> String {
    if let Some(reason) = &report.verdict.void {
        return format!("\\textbf{{VOID.}} {}\n", latex(reason));
    }
    let attacks = report.attacks();
    let columns = attacks.len().min(COLUMNS);
    let mut out = format!(
        "% Written by dualmd {}. Needs \\usepackage{{booktabs}}.\n\\begin{{tabular}}{{l{}}}\n\\toprule\n",
        latex(&super::version(report)).replace('\n', " "),
        "c".repeat(columns)
    );
    for (i, block) in attacks.chunks(COLUMNS).enumerate() {
        if i > 0 {
            out.push_str("\\midrule\n");
        }
        // Cells of a last block that is not full.
        let rest = " &".repeat(columns - block.len());
        let titles: Vec<String> = block
            .iter()
            .map(|(_, title)| latex(short(title, &attacks)))
            .collect();
        out.push_str(&format!(
            "Model & {}{rest} \\\\\n\\midrule\n",
            titles.join(" & ")
        ));
        for model in &report.models {
            let own: Vec<_> = block
                .iter()
                .map(|(a, _)| cell(model, result(model, a)))
                .collect();
            if own.iter().all(|c| matches!(c, Err("not run"))) {
                continue;
            }
            let first: Vec<String> = own
                .iter()
                .map(|c| match c {
                    Ok(c) if c.best => format!("\\textbf{{{}}}", latex(&c.auc)),
                    Ok(c) => latex(&c.auc),
                    Err(none) => (*none).to_owned(),
                })
                .collect();
            let second: Vec<String> = own
                .iter()
                .map(|c| match c {
                    Ok(c) => format!(
                        "{{\\footnotesize {}, {}}}",
                        latex(&c.interval),
                        latex(&c.found)
                    ),
                    Err(_) => String::new(),
                })
                .collect();
            out.push_str(&format!(
                "{} & {}{rest} \\\\\n",
                latex(&row_name(model)),
                first.join(" & ")
            ));
            out.push_str(&format!(" & {}{rest} \\\\\n", second.join(" & ")));
        }
    }
    out.push_str("\\bottomrule\n\\end{tabular}\n");
    out + &format!("% {NOTE}\n")
}

/// A title without what stands behind it in brackets, where no other attack is then called the same.
fn short<'a>(title: &'a str, attacks: &[(String, String)]) -> &'a str {
    let cut = |t: &'a str| t.split(" (").next().unwrap_or(t);
    let own = cut(title);
    let same = attacks
        .iter()
        .filter(|(_, other)| other.split(" (").next() == Some(own))
        .count();
    match same > 1 || own.is_empty() {
        true => title,
        false => own,
    }
}

/// A text in LaTeX: nothing in it is a command.
fn latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '–' => out.push_str("--"),
            '−' => out.push_str("$-$"),
            'ε' => out.push_str("$\\varepsilon$"),
            '≥' => out.push_str("$\\geq$"),
            '≠' => out.push_str("$\\neq$"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn titles_are_short_where_they_stay_apart() {
        let named = |t: &[&str]| -> Vec<(String, String)> {
            t.iter().map(|t| (String::new(), (*t).to_owned())).collect()
        };
        let apart = named(&["PIA (proximal)", "SimA (size)"]);
        assert_eq!(super::short("SimA (size)", &apart), "SimA");
        let same = named(&["SimA (t = 50)", "SimA (t = 100)"]);
        assert_eq!(super::short("SimA (t = 50)", &same), "SimA (t = 50)");
    }

    #[test]
    fn a_name_is_no_command() {
        assert_eq!(
            super::latex("a_b & \\input{x} 50 %–>"),
            "a\\_b \\& \\textbackslash{}input\\{x\\} 50 \\%--\\textgreater{}"
        );
    }
}

//! The verdict as a terminal shows it, in the words of the page.

use dualmd_files::shown;

use crate::release::finding_in_words;
use crate::report::Report;

/// Characters in a line, where nobody says how many there is room for, and in the longest ones else.
pub const WIDTH: usize = 100;

/// What stands in place of the table of a void report.
pub fn void(reason: &str, width: usize) -> String {
    let text = format!(
        "VOID: {reason} There is no verdict. The numbers, which cannot be trusted, are in findings.csv."
    );
    wrapped(&text, "", width)
}

/// A paragraph for each model: its finding, and why.
pub fn verdicts(report: &Report, width: usize) -> String {
    let mut out = String::from("\n");
    for model in &report.verdict.models {
        let text = format!(
            "{}: {}. {} {}",
            model.model,
            finding_in_words(report, model),
            model.text,
            model.advice
        );
        out.push_str(&wrapped(&text, "  ", width));
    }
    if !report.verdict.false_alarms.is_empty() && report.verdict.models.len() > 1 {
        out.push_str(&wrapped(&report.verdict.false_alarms, "", width));
    }
    out
}

/// Two lines for whoever reads nothing else: what was found, and what to do. (Where the report is makes the third.)
pub fn summary(report: &Report) -> [String; 2] {
    let line = |text: String| shown(&text).to_string().replace(['–', '−'], "-");
    if let Some(reason) = &report.verdict.void {
        return [
            line(format!("VOID: {reason}")),
            "nothing follows from it: mend what is named, and audit again".to_owned(),
        ];
    }
    let models = &report.verdict.models;
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for model in models {
        let words = finding_in_words(report, model);
        match found.iter_mut().find(|(known, _)| *known == words) {
            Some((_, names)) => names.push(&model.model),
            None => found.push((words, vec![&model.model])),
        }
    }
    let found: Vec<String> = found
        .iter()
        .map(|(words, names)| format!("{words}: {}", names.join(", ")))
        .collect();
    let advice: Vec<String> = models
        .iter()
        .filter(|m| !m.advice.is_empty())
        .map(|m| format!("{}: {}", m.model, m.advice))
        .collect();
    [
        line(match found.is_empty() {
            true => "no model has a result".to_owned(),
            false => found.join("; "),
        }),
        line(match advice.is_empty() {
            true => "no model that could be released has a result".to_owned(),
            false => advice.join(" "),
        }),
    ]
}

/// Lines of at most `width` characters where the words allow it, all but the first indented; nothing in them moves the cursor.
pub fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let text = shown(text).to_string().replace(['–', '−'], "-");
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            out.push_str(indent);
            column = indent.len();
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_names_cannot_move_the_cursor() {
        let text = wrapped(
            &format!("\u{1b}[2Jmodel: {}", "word 0.5–0.6 ".repeat(40)),
            "  ",
            WIDTH,
        );
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        assert!(
            text.lines()
                .skip(1)
                .all(|l| l.starts_with("  ") && !l.starts_with("   "))
        );
        assert!(
            !text.contains('\u{1b}') && text.contains("0.5-0.6"),
            "{text}"
        );
    }
}

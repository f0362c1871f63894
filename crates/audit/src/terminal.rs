//! The verdict as a terminal shows it, in the words of the page.

use dualmd_files::shown;

use crate::report::Report;

/// Characters in a line.
const WIDTH: usize = 100;

/// What stands in place of the table of a void report.
pub fn void(reason: &str) -> String {
    let text = format!(
        "VOID: {reason} There is no verdict. The numbers, which cannot be trusted, are in findings.csv."
    );
    wrapped(&text, "")
}

/// A paragraph for each model: its finding, and why.
pub fn verdicts(report: &Report) -> String {
    let mut out = String::from("\n");
    for model in &report.verdict.models {
        let text = format!(
            "{}: {}. {} {}",
            model.model,
            model.conclusion.words(),
            model.text,
            model.advice
        );
        out.push_str(&wrapped(&text, "  "));
    }
    if !report.verdict.false_alarms.is_empty() && report.verdict.models.len() > 1 {
        out.push_str(&wrapped(&report.verdict.false_alarms, ""));
    }
    out
}

/// Lines of at most [`WIDTH`] characters where the words allow it, all but the first indented; nothing in them moves the cursor.
fn wrapped(text: &str, indent: &str) -> String {
    let text = shown(text).to_string().replace(['–', '−'], "-");
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
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

//! Cells of CSV files that a spreadsheet does not run.
//!
//! A text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return is a formula to a spreadsheet, and names of groups, models
//! and prompts come from strangers' files. Such a text is written with an apostrophe before it, which spreadsheets take for
//! "this is text" (OWASP, "CSV Injection"); [`original`] takes it off again. Numbers stay numbers: `-0.5` is one.

use std::borrow::Cow;

/// What a formula may begin with; the wide forms are read as the narrow ones in some languages.
const FORMULA: [char; 10] = [
    '=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// Would the text, behind any apostrophes, be a formula?
fn runs(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(FORMULA)
}

/// The text of a cell as it is to be written into a CSV file; quotes and commas are the writer's to deal with.
#[must_use]
pub fn cell(text: &str) -> Cow<'_, str> {
    if runs(text) && text.parse::<f64>().is_err() {
        return format!("'{text}").into();
    }
    text.into()
}

/// What [`cell`] was given; any other text as it is.
#[must_use]
pub fn original(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(text) if runs(text) => text,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_text_and_comes_back() {
        let written = |text: &str| cell(text).into_owned();
        for text in [
            "=cmd|'/c calc'!A0",
            "+1+1",
            "-2+3+cmd|' /C calc'!A0",
            "@SUM(1)",
            "\t=1",
            "\r=1",
            "\u{ff1d}1+1",
            "'=1",
            "''@x",
        ] {
            assert_eq!(written(text), format!("'{text}"));
            assert_eq!(original(&written(text)), text);
        }
        for text in [
            "", "person 7", "'quoted'", "o'clock", "-0.5", "+1e3", "-inf", "a=b",
        ] {
            assert_eq!(written(text), text);
            assert_eq!(original(text), text);
        }
    }
}

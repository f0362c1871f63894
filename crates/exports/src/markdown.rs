//! Text of a report as Markdown that says what the text says, whatever is in it.

/// A text inside a line: nothing in it is markup, and it has no line break. For CommonMark, GitHub and pandoc.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '^' | '$' | '#' | '&' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A text as code inside a line, in a fence that it does not end.
pub fn code(text: &str) -> String {
    let text: String = text
        .chars()
        // A bar ends a cell of a table even in code.
        .map(|c| if c.is_control() || c == '|' { ' ' } else { c })
        .collect();
    match (text.trim(), longest_run(&text)) {
        ("", _) => String::new(),
        (text, 0) => format!("`{text}`"),
        (text, run) => {
            let fence = "`".repeat(run + 1);
            format!("{fence} {text} {fence}")
        }
    }
}

/// A text as a block of code of its own lines, in a fence that it does not end.
pub fn block(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    let fence = "`".repeat(longest_run(&text).max(2) + 1);
    format!("{fence}\n{}\n{fence}\n", text.trim_end())
}

fn longest_run(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

/// A table of cells that are Markdown already.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        out.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            text("<b>a|b*c\nd`[x](y)"),
            "\\<b\\>a\\|b\\*c d\\`\\[x\\](y)"
        );
        assert_eq!(text("0.52–0.64, SimA (size)."), "0.52–0.64, SimA (size).");
    }

    #[test]
    fn code_cannot_be_left() {
        assert_eq!(code("dualmd audit"), "`dualmd audit`");
        assert_eq!(code("a ``b"), "``` a ``b ```");
        assert_eq!(code("a|b"), "`a b`");
        let quoted = block("x\n```\n# no heading");
        assert!(
            quoted.starts_with("````\n") && quoted.ends_with("\n````\n"),
            "{quoted}"
        );
    }
}

//! How a failure is told: what went wrong, then why, one reason a line.

/// The text for stderr: "error: ..." and one "  because: ..." line per cause, without repeating a cause that the line
/// before already quotes. Further lines of a message are indented to stay under its head.
pub fn render(error: &anyhow::Error) -> String {
    let mut out = String::from("error: ");
    let mut told = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let message = cause.to_string();
        let message = message.trim_end();
        if depth > 0 {
            if told.ends_with(message) {
                continue;
            }
            out.push_str("\n  because: ");
        }
        out.push_str(&message.replace('\n', "\n    "));
        told = message.to_owned();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::render;
    use anyhow::anyhow;

    #[test]
    fn causes_follow_one_a_line() {
        let error = anyhow!("disk full")
            .context("cannot write split.json")
            .context("split stage failed");
        assert_eq!(
            render(&error),
            "error: split stage failed\n  because: cannot write split.json\n  because: disk full"
        );
    }

    #[test]
    fn a_cause_already_quoted_is_not_repeated() {
        let error = anyhow!("disk full").context("cannot write split.json: disk full");
        assert_eq!(render(&error), "error: cannot write split.json: disk full");
        assert_eq!(render(&anyhow!("a\nb\n")), "error: a\n    b");
    }
}

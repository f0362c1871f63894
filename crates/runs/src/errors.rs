//! How a failure is told: what went wrong, then why, one reason a line; and which exit code it gets.
//!
//! 0: done. 1: failed, also over what files hold or over files that are not there. 2: wrong arguments. 3: what `--fail-on` names was
//! found. 4: `--fail-on` was given and the report is void. 130: stopped.

/// Exit status of what was asked to stop: the shell's 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;
/// Exit status where a finding was named with `--fail-on`.
pub const FOUND: u8 = 3;
/// Exit status where `--fail-on` was given and the report is void.
pub const VOID: u8 = 4;

pub use dualmd_experiment::{Usage, usage};

/// The exit code of a failure: 2 for wrong arguments, 1 for everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.chain().any(|cause| cause.is::<Usage>()) {
        true => 2,
        false => 1,
    }
}

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
        out.push_str(&harmless(message).replace('\n', "\n    "));
        told = message.to_owned();
    }
    out
}

/// A text as it may go to a terminal: escape sequences and other control characters written out, except the line breaks and
/// tabs of our own messages. Names are escaped where they enter a message ([`dualmd_files::shown`]); this is the net below.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        let end = part.trim_end_matches(['\n', '\t']).len();
        let (words, end) = part.split_at(end);
        out.push_str(&dualmd_files::shown(words).to_string());
        out.push_str(end);
    }
    out
}

//! Names of strangers on a terminal.

use std::ffi::OsStr;
use std::fmt::{Display, Formatter, Result, Write as _};

/// A name that can be printed: what [`shown`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(&'a OsStr);

/// A file's, tensor's, row's or attack's name as it may stand in a message: control characters (escape sequences, new lines)
/// and marks that turn the direction of writing are written as `\u{1b}`, bytes that are no UTF-8 as a replacement character.
pub fn shown<N: AsRef<OsStr> + ?Sized>(name: &N) -> Shown<'_> {
    Shown(name.as_ref())
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for c in self.0.to_string_lossy().chars() {
            let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || turns {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// A whole number as it stands in a message, in groups of three digits: 35746307 as `35,746,307`.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{grouped, shown};
    use std::path::Path;

    #[test]
    fn numbers_stand_in_groups_of_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(35_746_307), "35,746,307");
    }

    #[test]
    fn nothing_reaches_the_terminal_but_letters() {
        let shown = |name: &str| shown(name).to_string();
        assert_eq!(shown("a b/ü.png"), "a b/ü.png");
        assert_eq!(shown("\u{1b}]0;x\u{7}.png"), "\\u{1b}]0;x\\u{7}.png");
        assert_eq!(shown("a\nerror: b"), "a\\u{a}error: b");
        assert_eq!(shown("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(
            super::shown(Path::new("x\u{9b}2J")).to_string(),
            "x\\u{9b}2J"
        );
    }
}

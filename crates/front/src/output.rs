//! The one door to standard output, and one for remarks on standard error.
//!
//! `println!` panics where nothing can be written: on a full disk, or when the reader of a pipe has gone. Results go through
//! `outln!` instead, which says so as any other failure is said: one line and exit code 1, or no line and the
//! code of SIGPIPE when nobody reads (`dualmd list attacks | head`). Remarks go through `tell!`, which cannot fail: a
//! run of days does not end because its log is full. Clippy refuses the plain macros here and in the programs.

use anyhow::{Context, Result};
use dualmd_runs::errors::harmless;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

/// The reader of standard output has gone: the program ends with this code, which a shell reports of a program that SIGPIPE
/// ended, and says nothing.
pub const NOBODY_READS: u8 = 141;

/// Nothing more can be written because the other end of the pipe is closed.
#[derive(Debug, thiserror::Error)]
#[error("the reader of standard output has gone")]
pub struct NobodyReads;

/// Writes to standard output and flushes, so that a failure is seen here and not after the end.
///
/// # Errors
/// [`NobodyReads`] for a closed pipe; what the operating system says, e.g. that the disk is full.
pub fn print(text: Arguments<'_>) -> Result<()> {
    print_to(&mut io::stdout().lock(), text)
}

fn print_to(out: &mut impl Write, text: Arguments<'_>) -> Result<()> {
    // Names that were not escaped where they came in are harmless here.
    let text = harmless(&text.to_string());
    told(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What came of a write to standard output, as an error of this program.
///
/// # Errors
/// As [`print()`].
pub fn told(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NobodyReads.into()),
        other => other.context("cannot write to standard output"),
    }
}

/// Characters in a line of the terminal that standard output goes to; none where it is no terminal.
pub fn columns() -> Option<usize> {
    width(io::stdout())
}

/// The same of standard error.
pub fn columns_of_remarks() -> Option<usize> {
    width(io::stderr())
}

fn width(stream: impl AsFd) -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(stream)?;
    Some(usize::from(width.0))
}

/// Prints lines, as [`print()`].
///
/// # Errors
/// As [`print()`].
pub fn lines(all: impl IntoIterator<Item = String>) -> Result<()> {
    all.into_iter()
        .try_for_each(|line| print(format_args!("{line}\n")))
}

/// Writes a remark to standard error, if that can be done.
pub fn remark(text: Arguments<'_>) {
    let mut out = io::stderr().lock();
    let text = harmless(&text.to_string());
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// As `print!`, to be followed by `?`.
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

/// As `println!`, to be followed by `?`.
#[macro_export]
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// As `eprintln!`, but never a panic.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => { $crate::output::remark(format_args!("{}\n", format_args!($($text)*))) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what fits into its buffer and fails when that is flushed, as a full disk does.
    struct Full(ErrorKind);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_no_panic() {
        let error = |kind| print_to(&mut Full(kind), format_args!("a line\n")).unwrap_err();
        let full = error(ErrorKind::StorageFull);
        assert!(!full.is::<NobodyReads>());
        let text = dualmd_runs::errors::render(&full);
        assert!(
            text.starts_with("error: cannot write to standard output"),
            "{text}"
        );
        assert!(error(ErrorKind::BrokenPipe).is::<NobodyReads>());
        let mut page = Vec::new();
        print_to(&mut page, format_args!("{}\n", 1)).unwrap();
        assert_eq!(page, b"1\n");
    }
}

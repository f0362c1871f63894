//! The evidence folder: all that a report's numbers follow from, without pictures and without the names of images.
//!
//! Whoever audits writes it ([`write()`]) and keeps the salt. Whoever is to believe the report recomputes it ([`verify()`]) on a
//! machine that has neither model nor images. An image's id stands in the folder as a commitment: BLAKE3 over a key and the
//! id, where the key is BLAKE3 of the id under the secret salt. One image is opened by showing its key ([`opens_with`]);
//! who has the salt can look for any image ([`opens`]).
//!
//! | module | what it does |
//! |---|---|
//! | `seal` | salt, keys, commitments |
//! | `redact` | a run's files with ids sealed and texts taken out |
//! | `rows` | score files whose rows can be checked one by one |
//! | `manifest` | the files of a folder, with hashes |
//! | `differ` | two reports, field by field |
//! | `write` | from a run to a folder |
//! | `verify` | from a folder to what does not agree in it |
//! | `open` | where an image stands |

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod differ;
mod manifest;
mod open;
mod redact;
mod rows;
mod seal;
mod verify;
mod write;

pub use open::{Opened, OpenedRow, Side, opens, opens_with};
pub use seal::{Key, Salt};
pub use verify::{Difference, Verified, verify};
pub use write::{Bundle, export, write};

/// The list of files in the folder.
const MANIFEST: &str = "manifest.json";
/// The report in the folder.
const REPORT: &str = "report.json";

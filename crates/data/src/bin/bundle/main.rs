//! Writes the bundled tables from their packages: `bundle SET DIR OUT`, where SET is `fashion`, `emoji`, `emoji-twitter`
//! or `emoji-fluent3d`. See `assets/README.md` for the packages; `cargo xtask data` fetches them and calls this program.

#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod emoji;
mod fashion;
mod table;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [set, folder, out] = arguments.as_slice() else {
        eprintln!("usage: bundle fashion|emoji|emoji-twitter|emoji-fluent3d DIR OUT.parquet");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    // `emoji` alone is the first vendor's, as for the loader.
    let vendor = set
        .strip_prefix("emoji-")
        .or((set == "emoji").then_some("google"));
    let vendor = emoji::VENDORS.iter().find(|v| Some(v.name) == vendor);
    let table = match (set.as_str(), vendor) {
        ("fashion", _) => {
            fashion::rows(folder).map(|rows| (rows, &[][..], fashion::LICENCE.to_owned()))
        }
        (_, Some(vendor)) => {
            emoji::rows(folder, vendor).map(|rows| (rows, &emoji::COLUMNS[..], vendor.licence()))
        }
        (other, None) => {
            eprintln!(
                "no set `{other}`: there are fashion, emoji, emoji-twitter and emoji-fluent3d"
            );
            return ExitCode::from(2);
        }
    };
    let written = table.and_then(|(rows, more, licence)| {
        let bytes = table::write(&rows, more, &licence)?;
        dualmd_files::write(Path::new(out), &bytes)?;
        Ok((rows.len(), bytes.len()))
    });
    match written {
        Ok((rows, bytes)) => {
            println!("{out}: {rows} pictures, {bytes} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

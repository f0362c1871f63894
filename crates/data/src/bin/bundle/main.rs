//! Writes the bundled sets from their packages: `bundle fashion DIR OUT` and `bundle emoji DIR OUT`. See
//! `assets/README.md` for the packages; `cargo xtask data` fetches them and calls this program.

mod emoji;
mod fashion;
mod table;

use std::path::Path;
use std::process::ExitCode;

use dualmd_data::Error;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [set, folder, out] = arguments.as_slice() else {
        eprintln!("usage: bundle fashion|emoji DIR OUT.parquet");
        return ExitCode::from(2);
    };
    let rows = match set.as_str() {
        "fashion" => fashion::rows(Path::new(folder)),
        "emoji" => emoji::rows(Path::new(folder)),
        other => {
            eprintln!("no set `{other}`: there are fashion and emoji");
            return ExitCode::from(2);
        }
    };
    let licence = if set == "fashion" {
        fashion::LICENCE
    } else {
        emoji::LICENCE
    };
    let written = rows.and_then(|rows| {
        let bytes = table::write(&rows, licence)?;
        dualmd_data::write_atomic(Path::new(out), &bytes).map_err(Error::Write)?;
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

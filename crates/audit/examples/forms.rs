//! A `report.json` or a run folder in every form that a report has: `cargo run -p dualmd-audit --example forms -- REPORT DIR`.
//!
//! From a `report.json` the page has no pictures and no curves; from a run folder it has all that the folder holds.

use std::error::Error;
use std::path::Path;

use dualmd_audit::exports;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: forms REPORT.json|RUN DIR".into());
    };
    let (from, to) = (Path::new(&from), Path::new(&to));
    let report = match from.is_dir() {
        true => dualmd_audit::build(from)?,
        false => dualmd_audit::read(from)?,
    };
    let written = dualmd_audit::write(to, &report)?;
    println!("{}", written.html.display());
    for (file, text) in [
        ("report.sarif", exports::sarif(&report)),
        ("junit.xml", exports::junit(&report)),
        ("model-card.md", exports::model_card(&report)),
        ("annex.md", exports::annex(&report)),
        ("table.md", exports::markdown_table(&report)),
        ("table.tex", exports::latex_table(&report)),
    ] {
        let path = to.join(file);
        std::fs::write(&path, text)?;
        println!("{}", path.display());
    }
    println!("{}", exports::mlflow(&report, to)?.display());
    Ok(())
}

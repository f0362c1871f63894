//! `dualmd verify`.

use crate::args::{Global, VerifyArgs};
use crate::progress::Terminal;
use anyhow::Result;
use dualmd_runs::evidence::{self, Difference, Opener, Verified};
use dualmd_runs::reporter::meanwhile;
use serde::Serialize;
use std::process::ExitCode;

/// What came of a check, for programs.
#[derive(Serialize)]
struct Told<'a> {
    /// Does everything agree?
    holds: bool,
    root: &'a str,
    files: usize,
    /// Values of the report that were computed again.
    values: usize,
    differences: Vec<Different<'a>>,
    /// Where the image stands that was asked for, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Different<'a> {
    file: &'a str,
    what: &'a str,
}

impl<'a> Told<'a> {
    fn of(checked: &'a Verified, image: Option<Vec<String>>) -> Self {
        let different = |d: &'a Difference| Different {
            file: &d.file,
            what: &d.what,
        };
        Self {
            holds: checked.holds(),
            root: &checked.root,
            files: checked.files,
            values: checked.values,
            differences: checked.differences.iter().map(different).collect(),
            image,
        }
    }
}

/// Checks an evidence folder, and says where an image stands in it.
///
/// # Errors
/// A folder that is none; files that cannot be read.
pub fn verify(global: &Global, args: &VerifyArgs) -> Result<ExitCode> {
    let reporter = Terminal::new(global);
    let mut checked = meanwhile(&reporter, "", "evidence", || evidence::verify(&args.bundle))?;
    if let Some(root) = &args.root {
        checked = checked.against(root);
    }
    let image = || -> Result<Option<Vec<String>>> {
        let (Some(image), Some(with)) = (&args.image, &args.with) else {
            return Ok(None);
        };
        evidence::open(&args.bundle, image, &Opener::read(with)?).map(Some)
    };
    if args.json {
        let told = Told::of(&checked, image()?);
        outln!("{}", serde_json::to_string(&told)?)?;
    } else {
        for difference in &checked.differences {
            outln!("{difference}")?;
        }
        for line in image()?.into_iter().flatten() {
            outln!("{line}")?;
        }
        outln!("root: {}\n{}", checked.root, checked.conclusion())?;
    }
    Ok(ExitCode::from(u8::from(!checked.holds())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn programs_are_told_what_does_not_agree() {
        let mut checked = Verified {
            root: "3f".into(),
            files: 4,
            values: 20,
            differences: Vec::new(),
        };
        let told =
            |checked: &Verified, image| serde_json::to_value(Told::of(checked, image)).unwrap();
        let sound =
            json!({"holds": true, "root": "3f", "files": 4, "values": 20, "differences": []});
        assert_eq!(told(&checked, None), sound);
        checked.differences.push(Difference {
            file: "scores/a.csv".into(),
            what: "row 3".into(),
        });
        let found = told(&checked, Some(vec!["member".into()]));
        assert_eq!(found["holds"], false);
        assert_eq!(found["differences"][0]["file"], "scores/a.csv");
        assert_eq!(found["image"], json!(["member"]));
    }
}

//! Score files: `sample_id,group,member,attack,score`, one row per sample and attack.
//!
//! A higher score means "more likely a member", always; direction is fixed before the labels are looked at.
//! Texts that a spreadsheet would run are marked as text in the file, and read back as they were ([`crate::cells`]).
//! Scores are printed with 17 significant digits, so that reading them back gives the same f64.

use std::path::Path;

use crate::cells::{cell as to_cell, original};
use crate::disk;
use crate::error::{AuditError, Result};

/// One score of one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRow {
    /// Content hash of the image, or whatever names the sample; empty where the file has no such column.
    pub sample_id: String,
    /// The image's name where it came from, if the file has it.
    pub name: Option<String>,
    /// Near-duplicate group or person, if any: rows of a group are not independent.
    pub group: Option<String>,
    /// Was this sample in the model's training set?
    pub member: bool,
    /// Name of the attack (`loss`, `secmi`, ...); `score` where the file has no such column.
    pub attack: String,
    /// Higher = more likely a member. Always finite.
    pub score: f64,
}

/// The rows of one score file in file order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScoresFile {
    /// All rows.
    pub rows: Vec<ScoreRow>,
}

impl ScoresFile {
    /// The attacks in order of first appearance.
    pub fn attacks(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for row in &self.rows {
            if names.last() != Some(&row.attack) && !names.contains(&row.attack) {
                names.push(row.attack.clone());
            }
        }
        names
    }

    /// Scores of (members, non-members) for one attack, each in file order.
    pub fn sides(&self, attack: &str) -> (Vec<f64>, Vec<f64>) {
        let (members, nonmembers): (Vec<&ScoreRow>, Vec<&ScoreRow>) = self
            .rows
            .iter()
            .filter(|r| r.attack == attack)
            .partition(|r| r.member);
        (
            members.iter().map(|r| r.score).collect(),
            nonmembers.iter().map(|r| r.score).collect(),
        )
    }
}

/// Reads a score file. Columns may come in any order and others are ignored; `member` and `score` must be there.
///
/// # Errors
/// Names the file, the line and the column: a missing column, a member that is not 0/1/true/false, a score that is
/// not a finite number, a row that is cut off.
pub fn read_scores(path: &Path) -> Result<ScoresFile> {
    let file = dualmd_files::open(path).map_err(|e| {
        AuditError::read(
            e,
            "give the path of a CSV file with the columns `member` and `score`",
        )
    })?;
    let mut reader =
        csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(std::io::BufReader::new(dualmd_files::limited(
                file,
                dualmd_files::limit::TABLE,
            )));
    let fail =
        |line: u64, column: &str, problem: String, remedy: &'static str| AuditError::Scores {
            path: path.into(),
            line,
            column: column.into(),
            problem,
            remedy,
        };
    let headers = reader
        .headers()
        .map_err(|e| {
            fail(
                1,
                "(header)",
                e.to_string(),
                "the first line must name the columns, separated by commas",
            )
        })?
        .clone();
    // A byte-order mark, as spreadsheets write it, is not part of the first name.
    let find = |name: &str| {
        headers
            .iter()
            .position(|h| h.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name))
    };
    let need = |name: &'static str| {
        find(name).ok_or_else(|| {
            let have = headers.iter().collect::<Vec<_>>().join(", ");
            fail(
                1,
                name,
                format!("there is no such column (found: {have})"),
                "name the columns `member` and `score` in the first line",
            )
        })
    };
    let (member_at, score_at) = (need("member")?, need("score")?);
    let (id_at, name_at) = (find("sample_id"), find("name"));
    let (group_at, attack_at) = (find("group"), find("attack"));
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| {
            let line = e.position().map_or(0, csv::Position::line);
            fail(
                line,
                "(row)",
                e.to_string(),
                "the file may be cut off: write it again with `dualmd attack`",
            )
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |at: Option<usize>| at.and_then(|i| record.get(i)).unwrap_or("");
        let member = match cell(Some(member_at)).to_ascii_lowercase().as_str() {
            "1" | "true" => true,
            "0" | "false" => false,
            other => {
                return Err(fail(
                    line,
                    "member",
                    format!("`{other}` is neither 1 nor 0"),
                    "write 1 or true for members, 0 or false for non-members",
                ));
            }
        };
        let text = cell(Some(score_at));
        let score = text.parse::<f64>().ok().filter(|s| s.is_finite()).ok_or_else(|| {
            fail(line, "score", format!("`{text}` is not a finite number"), "leave out attacks that failed; a model whose loss became NaN has to be trained again")
        })?;
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (name, group) = (
            known(original(cell(name_at))),
            known(original(cell(group_at))),
        );
        let attack = if attack_at.is_some() {
            original(cell(attack_at)).to_owned()
        } else {
            "score".to_owned()
        };
        rows.push(ScoreRow {
            sample_id: original(cell(id_at)).to_owned(),
            name,
            group,
            member,
            attack,
            score,
        });
    }
    Ok(ScoresFile { rows })
}

/// Writes a score file atomically (a temporary file beside it, then a rename).
///
/// # Errors
/// When the file cannot be written, or when a score is not finite (nothing is written then).
pub fn write_scores(path: &Path, rows: &[ScoreRow]) -> Result<()> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let io = |e: csv::Error| AuditError::write(path, std::io::Error::other(e));
    out.write_record(["sample_id", "group", "member", "attack", "score", "name"])
        .map_err(io)?;
    for (i, row) in rows.iter().enumerate() {
        if !row.score.is_finite() {
            return Err(AuditError::Scores {
                path: path.into(),
                line: i as u64 + 2,
                column: "score".into(),
                problem: format!(
                    "`{}` of {} on sample {} is not a finite number",
                    row.score, row.attack, row.sample_id
                ),
                remedy: "report this attack as failed instead of writing its scores",
            });
        }
        let member = if row.member { "1" } else { "0" };
        let score = format!("{:.16e}", row.score);
        out.write_record([
            &*to_cell(&row.sample_id),
            &*to_cell(row.group.as_deref().unwrap_or("")),
            member,
            &*to_cell(&row.attack),
            &score,
            &*to_cell(row.name.as_deref().unwrap_or("")),
        ])
        .map_err(io)?;
    }
    let bytes = out
        .into_inner()
        .map_err(|e| AuditError::write(path, e.into_error()))?;
    disk::write(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ScoresFile> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.csv");
        std::fs::write(&path, text).expect("write");
        read_scores(&path)
    }

    #[test]
    fn what_is_written_is_read_back_exactly() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("scores.csv");
        let rows: Vec<ScoreRow> = [0.1 + 0.2, -1.0 / 3.0, f64::MIN_POSITIVE, -1.797e308, 0.0]
            .iter()
            .enumerate()
            .map(|(i, &score)| ScoreRow {
                sample_id: format!("id,\"{i}\""),
                name: None,
                group: (i % 2 == 0).then(|| "g <b>".to_owned()),
                member: i < 2,
                attack: "loss".into(),
                score,
            })
            .collect();
        write_scores(&path, &rows).expect("write");
        assert_eq!(read_scores(&path).expect("read").rows, rows);
    }

    #[test]
    fn a_group_that_a_spreadsheet_would_run_is_text_in_the_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("scores.csv");
        let groups = [
            "=HYPERLINK(\"http://x\")",
            "+1+1",
            "-1+1",
            "@a",
            "\t=1",
            "'=1",
            "'x'",
        ];
        let row = |group: &str| ScoreRow {
            sample_id: format!("={group}"),
            name: Some(group.to_owned()),
            group: Some(group.to_owned()),
            member: true,
            attack: "loss".into(),
            score: -0.5,
        };
        let rows: Vec<ScoreRow> = groups.map(row).into();
        write_scores(&path, &rows).expect("write");
        let mut raw = csv::Reader::from_path(&path).expect("open");
        for record in raw.records() {
            let record = record.expect("row");
            // The score is a number, the others must not begin a formula.
            for text in record.iter().take(4).chain(record.get(5)) {
                assert!(!text.starts_with(['=', '+', '-', '@', '\t']), "{text}");
            }
            assert!(record[4].starts_with("-5"), "{record:?}");
        }
        assert_eq!(read_scores(&path).expect("read").rows, rows);
    }

    #[test]
    fn any_csv_with_member_and_score_will_do() {
        let file = read("\u{feff}Score, Member\n1.5,TRUE\n-2,0\n").expect("read");
        assert_eq!(file.attacks(), ["score"]);
        assert_eq!(file.sides("score"), (vec![1.5], vec![-2.0]));
    }

    #[test]
    fn errors_name_line_column_and_remedy() {
        let message = |text: &str| read(text).expect_err("must fail").to_string();
        let m = message("sample_id,member,score\na,1,0.5\nb,maybe,0.5\n");
        assert!(
            m.contains("line 3, column member")
                && m.contains("`maybe`")
                && m.contains("write 1 or true"),
            "{m}"
        );
        let m = message("member,score\n1,NaN\n");
        assert!(
            m.contains("line 2, column score") && m.contains("not a finite number"),
            "{m}"
        );
        let m = message("id,score\n1,2\n");
        assert!(
            m.contains("column member") && m.contains("found: id, score"),
            "{m}"
        );
        let m = message("member,score\n1\n");
        assert!(m.contains("line 2"), "{m}");
        let missing = read_scores(Path::new("no/such.csv"))
            .expect_err("must fail")
            .to_string();
        assert!(
            missing.contains("no/such.csv") && missing.contains("`member`"),
            "{missing}"
        );
    }

    #[test]
    fn scores_that_are_not_finite_are_not_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("scores.csv");
        let row = ScoreRow {
            sample_id: "a".into(),
            name: None,
            group: None,
            member: true,
            attack: "pia".into(),
            score: f64::NAN,
        };
        assert!(write_scores(&path, &[row]).is_err());
        assert!(!path.exists());
    }
}

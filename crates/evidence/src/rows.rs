//! Score files whose rows can be checked one by one: each has its number and a check of what was written in it.
//!
//! A check is short and anybody can compute it: it says which row was changed by somebody who did not mind being seen, or by a
//! broken disk. What holds against others is the hash over the whole folder.

use std::collections::BTreeSet;
use std::path::Path;

use dualmd_files::shown;

use crate::seal::Salt;
use dualmd_audit::ScoreRow;
use dualmd_audit::cells::cell;
use dualmd_audit::{AuditError, Result};

/// The columns. Readers of score files pass over the first and the last.
const COLUMNS: [&str; 7] = [
    "row",
    "sample_id",
    "group",
    "member",
    "attack",
    "score",
    "check",
];
/// Hexadecimal digits of each of the two checks of a row.
const DIGITS: usize = 8;
/// Rows that are named of one file.
const NAMED: usize = 8;

/// A score file with ids and groups sealed and without names; rows keep their order, which last digits depend on.
pub(super) fn write(path: &Path, rows: &[ScoreRow], salt: &Salt) -> Result<()> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let io = |e: csv::Error| AuditError::write(path, std::io::Error::other(e));
    out.write_record(COLUMNS).map_err(io)?;
    for (place, row) in rows.iter().enumerate() {
        let number = (place + 1).to_string();
        let id = salt.image(&row.sample_id);
        let group = salt.group(row.group.as_deref().unwrap_or(""));
        let member = if row.member { "1" } else { "0" };
        let attack = cell(&row.attack);
        let score = format!("{:.16e}", row.score);
        let check = of_label([&number, &id, &group, member, &attack]) + &of_score(&number, &score);
        out.write_record([&number, &id, &group, member, &attack, &score, &check])
            .map_err(io)?;
    }
    let bytes = out
        .into_inner()
        .map_err(|e| AuditError::write(path, e.into_error()))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    folder
        .map_or(Ok(()), dualmd_files::create_folder)
        .and_then(|()| dualmd_files::write(path, &bytes))
        .map_err(AuditError::Write)
}

/// What was changed in a score file, row by row. `written`: its rows, as the manifest says.
pub(super) fn changes(path: &Path, written: Option<u64>) -> Vec<String> {
    let mut said = Vec::new();
    let file = match dualmd_files::open(path) {
        Ok(file) => file,
        Err(e) => return vec![format!("cannot be read ({e})")],
    };
    let limited = dualmd_files::limited(file, dualmd_files::limit::TABLE);
    let mut reader = csv::Reader::from_reader(std::io::BufReader::new(limited));
    match reader.headers() {
        Ok(headers) if headers.iter().eq(COLUMNS) => {}
        Ok(headers) => {
            let have: Vec<&str> = headers.iter().collect();
            let (have, expected) = (have.join(","), COLUMNS.join(","));
            return vec![format!(
                "its columns are {}, and {expected} were written",
                shown(&have)
            )];
        }
        Err(e) => {
            return vec![format!(
                "its header cannot be read ({})",
                shown(&e.to_string())
            )];
        }
    }
    let (mut numbers, mut changed) = (Vec::new(), 0);
    for (place, record) in reader.records().enumerate() {
        let place = place as u64 + 1;
        let Ok(record) = record else {
            said.push(format!("row {place}: cut off, or of other columns"));
            break;
        };
        let field = |i: usize| record.get(i).unwrap_or_default();
        numbers.push(field(0).parse::<u64>().ok());
        if let Some(what) = change(&field) {
            changed += 1;
            if changed <= NAMED {
                let sample = field(1).get(..12).unwrap_or(field(1));
                said.push(format!(
                    "row {place} (sample {}, attack {}): {what}",
                    shown(sample),
                    shown(field(4))
                ));
            }
        }
    }
    if changed > NAMED {
        said.push(format!("{} more rows were changed", changed - NAMED));
    }
    said.extend(order(&numbers, written));
    said
}

/// What was changed in a row, if anything.
fn change<'a>(field: &impl Fn(usize) -> &'a str) -> Option<String> {
    let (number, id, group, member, attack) = (field(0), field(1), field(2), field(3), field(4));
    let (score, check) = (field(5), field(6));
    let (of_it, of_its_score) = check.split_at_checked(DIGITS).unwrap_or((check, ""));
    if of_label([number, id, group, member, attack]) != of_it {
        let turned = if member == "1" { "0" } else { "1" };
        if of_label([number, id, group, turned, attack]) == of_it {
            return Some(format!(
                "the label is {} here, and {turned} was written",
                shown(member)
            ));
        }
        return Some("number, id, group, label or attack are not what was written".into());
    }
    (of_score(number, score) != of_its_score).then(|| {
        let score = score
            .parse::<f64>()
            .map_or(score.to_owned(), |s| s.to_string());
        format!(
            "the score is {} here, and another was written",
            shown(&score)
        )
    })
}

/// Rows that are missing or not in their place.
fn order(numbers: &[Option<u64>], written: Option<u64>) -> Vec<String> {
    let mut said = Vec::new();
    let ascending = numbers.windows(2).all(|w| w[0] < w[1]) && numbers.iter().all(Option::is_some);
    if ascending {
        let mut next = 1;
        for &number in numbers.iter().flatten() {
            match number.saturating_sub(next) {
                0 => {}
                1 => said.push(format!("row {next} is missing")),
                _ => said.push(format!("rows {next} to {} are missing", number - 1)),
            }
            next = number.saturating_add(1);
        }
    } else {
        let place = |i: usize| i as u64 + 1;
        let moved = numbers.iter().enumerate();
        for (i, number) in moved.filter(|(i, n)| **n != Some(place(*i))) {
            said.push(match number {
                Some(n) => format!("row {} was written as row {n}", place(i)),
                None => format!("row {} has no number", place(i)),
            });
        }
        let there: BTreeSet<u64> = numbers.iter().copied().flatten().collect();
        if there.len() < numbers.len() {
            said.push("some rows stand in it more than once, or have no number".into());
        }
    }
    if said.len() > NAMED {
        let more = said.len() - NAMED;
        said.truncate(NAMED);
        said.push(format!("{more} more of this kind"));
    }
    match written {
        Some(written) if written != numbers.len() as u64 => {
            said.push(format!(
                "{} rows here, {written} were written",
                numbers.len()
            ));
        }
        _ => {}
    }
    said
}

/// Check of all of a row but its score.
fn of_label(fields: [&str; 5]) -> String {
    digits(&fields.join("\u{1f}"))
}

/// Check of a row's score.
fn of_score(number: &str, score: &str) -> String {
    digits(&format!("{number}\u{1f}score\u{1f}{score}"))
}

fn digits(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rows: usize) -> (tempfile::TempDir, std::path::PathBuf, Vec<ScoreRow>) {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.csv");
        let row = |i: usize| ScoreRow {
            sample_id: format!("id {i}"),
            name: Some(format!("name {i}")),
            group: i.is_multiple_of(3).then(|| format!("group {i}")),
            member: i.is_multiple_of(2),
            attack: "=loss".into(),
            score: i as f64 / 7.0,
        };
        let rows: Vec<ScoreRow> = (0..rows).map(row).collect();
        write(&path, &rows, &Salt::new().expect("salt")).expect("write");
        (dir, path, rows)
    }

    #[test]
    fn what_is_written_holds_and_reads_as_scores() {
        let (_dir, path, rows) = written(20);
        assert_eq!(changes(&path, Some(20)), Vec::<String>::new());
        let read = dualmd_audit::read_scores(&path).expect("scores").rows;
        for (read, row) in read.iter().zip(&rows) {
            assert_eq!((read.score, read.member), (row.score, row.member));
            assert_eq!(read.attack, "=loss");
            assert_eq!(read.group.is_some(), row.group.is_some());
            assert!(read.name.is_none() && read.sample_id.len() == 64);
        }
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(!text.contains("id 1") && !text.contains("name") && !text.contains("group 3"));
    }

    #[test]
    fn every_change_is_named_by_its_row() {
        let (_dir, path, _) = written(20);
        let text = std::fs::read_to_string(&path).expect("text");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let said = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            std::fs::write(&path, lines.join("\n") + "\n").expect("write");
            changes(&path, Some(20))
        };
        let put = |lines: &mut Vec<String>, row: usize, column: usize, value: &str| {
            let mut fields: Vec<&str> = lines[row].split(',').collect();
            fields[column] = value;
            let line = fields.join(",");
            lines[row] = line;
        };
        let one = said(&|l| put(l, 17, 5, "0.31"));
        assert_eq!(one.len(), 1);
        assert!(one[0].starts_with("row 17 (sample ") && one[0].contains("the score is 0.31 here"));
        let one = said(&|l| put(l, 3, 3, "0"));
        assert!(
            one[0].contains("row 3 ") && one[0].contains("the label is 0 here, and 1 was written")
        );
        let one = said(&|l| put(l, 4, 1, "abc"));
        assert!(
            one[0].contains("row 4 (sample abc,") && one[0].contains("id, group"),
            "{one:?}"
        );
        let two = said(&|l| l.swap(5, 6));
        assert_eq!(
            two,
            ["row 5 was written as row 6", "row 6 was written as row 5"]
        );
        let gone = said(&|l| {
            l.remove(9);
        });
        assert_eq!(gone, ["row 9 is missing", "19 rows here, 20 were written"]);
        let short = said(&|l| l.truncate(11));
        assert_eq!(short, ["10 rows here, 20 were written"]);
        let twice = said(&|l| l.push(l[20].clone()));
        assert!(
            twice.iter().any(|s| s.contains("more than once")),
            "{twice:?}"
        );
        let cut = said(&|l| l[20].truncate(10));
        let expected = [
            "row 20: cut off, or of other columns",
            "19 rows here, 20 were written",
        ];
        assert_eq!(cut, expected);
        let other = said(&|l| l[0] = "a,b\u{1b}".into());
        assert!(
            other[0].contains("its columns are a,b\\u{1b}, and row,"),
            "{other:?}"
        );
        let many = said(&|l| (1..=20).for_each(|i| put(l, i, 5, "1")));
        assert_eq!(
            (many.len(), many[8].as_str()),
            (9, "12 more rows were changed")
        );
    }
}

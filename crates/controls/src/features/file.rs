//! `file`: facts about the original files that survive no matter what the pixels look like.
//!
//! Format, dimensions and bytes per pixel. Used only when they are known of every picture: that they are known of one
//! side only would itself tell the sets apart.

use std::collections::BTreeMap;

use super::sink::log;
use crate::FileFacts;

/// Formats and dimensions that get a feature of their own: the most frequent.
const MOST: usize = 8;

/// The format as it is compared: lower case, `jpeg` for `jpg`.
pub(crate) fn format(facts: &FileFacts) -> String {
    match facts.format.trim().to_lowercase() {
        name if name == "jpg" => "jpeg".into(),
        name => name,
    }
}

/// Width and height in words.
pub(crate) fn dimensions(facts: &FileFacts) -> String {
    format!("{} x {}", facts.width, facts.height)
}

/// Bytes of the file per pixel.
pub(crate) fn density(facts: &FileFacts) -> f64 {
    facts.bytes as f64 / (f64::from(facts.width) * f64::from(facts.height)).max(1.0)
}

/// Features of all files, row by row, and their names.
pub(crate) fn describe(files: &[&FileFacts]) -> (Vec<Vec<f64>>, Vec<String>) {
    let mut names: Vec<String> = [
        "log width",
        "log height",
        "log bytes",
        "log bytes per pixel",
    ]
    .map(|name| format!("{name} of the file"))
    .into();
    let mut rows: Vec<Vec<f64>> = files
        .iter()
        .map(|f| {
            vec![
                log(f64::from(f.width), 1.0),
                log(f64::from(f.height), 1.0),
                log(f.bytes as f64, 1.0),
                log(density(f), 1e-6),
            ]
        })
        .collect();
    for (what, of) in [
        ("format", format as fn(&FileFacts) -> String),
        ("dimensions", dimensions),
    ] {
        let values: Vec<String> = files.iter().map(|f| of(f)).collect();
        for value in frequent(&values) {
            for (row, v) in rows.iter_mut().zip(&values) {
                row.push(f64::from(*v == value));
            }
            names.push(format!("share of files of {what} {value}"));
        }
    }
    (rows, names)
}

/// The most frequent values, ties in alphabetical order.
pub(crate) fn frequent(values: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    values
        .iter()
        .for_each(|v| *counts.entry(v).or_default() += 1);
    let mut by_count: Vec<(&str, usize)> = counts.into_iter().collect();
    by_count.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    by_count.truncate(MOST);
    by_count.into_iter().map(|(v, _)| v.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_format_are_one() {
        let file = |format: &str| FileFacts {
            bytes: 50,
            format: format.into(),
            width: 10,
            height: 5,
            ..FileFacts::default()
        };
        let files = [file("jpg"), file("JPEG"), file("png")];
        let (rows, names) = describe(&files.iter().collect::<Vec<_>>());
        assert_eq!(rows[0], rows[1]);
        assert_ne!(rows[0], rows[2]);
        assert_eq!(rows[0].len(), names.len());
        assert_eq!(names[4], "share of files of format jpeg");
        assert_eq!(density(&files[0]), 1.0);
    }
}

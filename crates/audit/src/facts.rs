//! Single facts of a report, as people read them: its name, its date, entries of its plan.

use serde_json::Value;

use crate::format::{grouped, significant};
use crate::report::Report;

/// How long an audit holds, by the rule of the guide (section 6): no number of it says until when.
pub const HOLDS: &str = "How long this holds: the audit is about these weights and these images. Repeat it after another training, with other data, or when stronger attacks are known. No date of expiry follows from its numbers.";

/// Name of the run; of an audit the names of its folders without the way to them, which the command has.
pub fn run_name(report: &Report) -> String {
    let name = report.run.get("name").and_then(Value::as_str);
    let name = name.filter(|n| !n.is_empty()).unwrap_or("unnamed run");
    let last = |path: &str| -> String {
        let end = path.trim_end_matches('/').rsplit('/').next();
        end.filter(|end| !end.is_empty()).unwrap_or(path).to_owned()
    };
    let parts = name.split(", ").map(|part| match part.contains('(') {
        // A model in another process, and where it is.
        true => part.to_owned(),
        false => part
            .split(" with ")
            .map(last)
            .collect::<Vec<_>>()
            .join(" with "),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Text or number at a JSON pointer of the plan.
pub fn plan(report: &Report, pointer: &str) -> Option<String> {
    match report.run.pointer(pointer)? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(match (n.as_i64(), n.as_f64()) {
            (Some(whole), _) => grouped(whole),
            (None, Some(number)) => significant(number),
            (None, None) => n.to_string(),
        }),
        Value::Bool(b) => Some(if *b { "yes" } else { "no" }.into()),
        _ => None,
    }
}

/// `2026-11-24T05:09:00Z` as `24 November 2026, 05:09 UTC`; anything else as it is.
pub fn date(text: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let parse = || {
        let (day, time) = text.split_once('T')?;
        let mut parts = day.split('-');
        let (y, m, d) = (
            parts.next()?,
            parts.next()?.parse::<usize>().ok()?,
            parts.next()?.parse::<u8>().ok()?,
        );
        let zone = if text.ends_with('Z') || text.ends_with("+00:00") {
            " UTC"
        } else {
            ""
        };
        Some(format!(
            "{d} {} {y}, {}{zone}",
            MONTHS.get(m.checked_sub(1)?)?,
            time.get(..5)?
        ))
    };
    parse().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(
            super::date("2026-11-24T05:09:00Z"),
            "24 November 2026, 05:09 UTC"
        );
        assert_eq!(super::date("2026-13-24T05:09:00Z"), "2026-13-24T05:09:00Z");
        assert_eq!(super::date("yesterday"), "yesterday");
    }
}

//! The numbers of a report for programs that draw them, under names that do not change.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Said, corrected, found, said, strongest};
use dualmd_audit::facts::plan;
use dualmd_audit::report::{Finding, Report};

/// When the audit was made, in milliseconds since 1970; now where the plan does not say.
pub(super) fn made(report: &Report) -> i64 {
    plan(report, "/created")
        .and_then(|t| milliseconds(&t))
        .unwrap_or_else(now)
}

/// The audit in words.
pub(super) fn note(report: &Report) -> String {
    match &report.verdict.void {
        Some(reason) => format!("VOID. {reason}"),
        None => report.verdict.summary.join("\n\n"),
    }
}

/// How many models there are, and of how many something was found; nothing of a void report.
pub(super) fn numbers_of_audit(report: &Report) -> Vec<(String, f64)> {
    if report.is_void() {
        return Vec::new();
    }
    let models = said(report);
    let count = |finding: Finding| models.iter().filter(|m| m.finding == finding).count() as f64;
    let found = [
        Finding::Leak,
        Finding::Inverted,
        Finding::Set,
        Finding::Copies,
    ];
    let mut out = vec![("models".to_owned(), models.len() as f64)];
    out.extend(found.map(|f| (format!("models.{}", f.name()), count(f))));
    out
}

/// Of one model: the strongest attack, every attack, quality and copies; nothing of a void report.
pub(super) fn numbers(said: &Said) -> Vec<(String, f64)> {
    let model = said.model;
    let mut out = Vec::new();
    if said.finding == Finding::Void {
        return out;
    }
    let share = |m| found(m).map(|(tp, n)| tp as f64 / n.max(1) as f64);
    if let Some((_, m)) = strongest(model) {
        let [low, high] = corrected(m);
        out.extend(
            [("auc", m.auc), ("auc_low", low), ("auc_high", high)].map(|(k, v)| (k.to_owned(), v)),
        );
        out.extend(share(m).map(|s| ("tpr_at_1_percent_fpr".to_owned(), s)));
    }
    for result in &model.results {
        if let Some(m) = result.view(model.primary) {
            out.push((format!("auc.{}", result.attack), m.auc));
            out.extend(share(m).map(|s| (format!("tpr_at_1_percent_fpr.{}", result.attack), s)));
        }
    }
    if let Some(utility) = &model.image_utility {
        out.extend(utility.frechet.map(|v| ("frechet_distance".to_owned(), v)));
        out.extend(
            utility
                .excess
                .map(|v| ("excess_frechet_distance".to_owned(), v)),
        );
    }
    if let Some(most) = model.copying.iter().map(|c| c.control.members.copies).max() {
        out.push(("copies".to_owned(), most as f64));
    }
    out
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(0))
}

/// Milliseconds since 1970 of a date as `2026-11-24T05:09:00Z` or with a zone of hours and minutes.
fn milliseconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let mark = |at: usize, c: char| {
        text.get(at..=at)
            .is_some_and(|m| m.eq_ignore_ascii_case(&c.to_string()))
    };
    let shaped = mark(4, '-') && mark(7, '-') && mark(10, 'T') && mark(13, ':') && mark(16, ':');
    if !shaped {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let zone = text
        .get(19..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let sign = match zone.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            sign * (60 * hours.parse::<i64>().ok()? + minutes.parse::<i64>().ok()?)
        }
    };
    // Days since 1970 in the Gregorian calendar, of years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * ((month + 9) % 12) + 2) / 5
        + day
        - 1
        - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second;
    Some(1000 * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_1970() {
        assert_eq!(milliseconds("1970-01-01T00:00:00Z"), Some(0));
        // `date -d 2026-11-24T05:09:12Z +%s`
        assert_eq!(
            milliseconds("2026-11-24T05:09:12Z"),
            Some(1_795_496_952_000)
        );
        assert_eq!(
            milliseconds("2024-02-29T12:00:00.5+02:00"),
            Some(1_709_200_800_000)
        );
        assert_eq!(milliseconds("yesterday"), None);
        assert_eq!(milliseconds("2026-11-24T05:09:12"), None);
    }
}

//! Single facts of a report, as people read them: its name, its date, entries of its plan.

use serde_json::Value;

use crate::format::{grouped, significant};
use crate::report::{ModelReport, Report};

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

/// How a model was made, in a few words.
pub fn made_by(model: &ModelReport) -> &'static str {
    match (model.is_teacher(), model.defense.defense()) {
        (true, _) => "trained on one half of the members",
        (false, Some(defense)) => defense.facts().made_by,
        (false, None) if model.defense.is_unknown() => "no defence recorded",
        (false, None) => "defence as named in the plan",
    }
}

/// One of the audits that a comparison put together, as its own plan says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// The name that it has in the comparison.
    pub name: String,
    /// When it was made, for people.
    pub created: Option<String>,
    /// Who made it.
    pub auditor: Option<String>,
    /// Version of the program that made it.
    pub dualmd: Option<String>,
    /// Commit of that program.
    pub commit: Option<String>,
    /// The command that repeats it.
    pub command: Option<String>,
    /// Where its images were read.
    pub source: Option<String>,
}

/// The audits that a comparison put together; none of any other report. A comparison of an earlier version has their names alone.
pub fn compared(report: &Report) -> Vec<Compared> {
    let audits = report.run.get("compared").and_then(Value::as_array);
    let audit = |entry: &Value| {
        let text = |pointer: &str| {
            let value = entry.pointer(pointer).and_then(Value::as_str);
            let value = value.filter(|t| !t.trim().is_empty());
            value.map(str::to_owned)
        };
        Compared {
            name: text("/name")
                .or_else(|| entry.as_str().map(str::to_owned))
                .unwrap_or_default(),
            created: text("/created").map(|d| date(&d)),
            auditor: text("/auditor"),
            dualmd: text("/versions/dualmd"),
            commit: text("/versions/commit"),
            command: text("/command"),
            source: text("/data/source"),
        }
    };
    audits.into_iter().flatten().map(audit).collect()
}

/// When the audit was made, for people; of a comparison when its audits were. `None` where nothing says it.
pub fn when(report: &Report) -> Option<String> {
    let created = || plan(report, "/created").map(|d| date(&d));
    of_audits(report, |audit| audit.created.clone(), created)
}

/// By whom the audit was made; of a comparison by whom its audits were. `None` where nothing says it.
pub fn by_whom(report: &Report) -> Option<String> {
    let auditor = || plan(report, "/auditor").filter(|a| !a.trim().is_empty());
    of_audits(report, |audit| audit.auditor.clone(), auditor)
}

/// What the audits of a comparison say: once where all say the same, else each by its name. Of any other report what `alone` says.
fn of_audits(
    report: &Report,
    own: impl Fn(&Compared) -> Option<String>,
    alone: impl FnOnce() -> Option<String>,
) -> Option<String> {
    let audits = compared(report);
    let Some(first) = audits.first() else {
        return alone();
    };
    let said = own(first);
    if audits.iter().all(|audit| own(audit) == said) {
        return said;
    }
    let each = audits.iter().map(|audit| {
        let said = own(audit).unwrap_or_else(|| "not recorded".into());
        format!("{} ({})", said, audit.name)
    });
    Some(each.collect::<Vec<_>>().join("; "))
}

/// Where images were read, by the folders' own names: of "members a/b/c, non-members a/b/d" is left "members c, non-members d", with more of
/// the way where the two names are the same.
pub fn short_source(text: &str) -> String {
    let parts = |place: &str| -> Vec<String> {
        let parts = place.split('/').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let last = |parts: &[String], n: usize| parts[parts.len().saturating_sub(n)..].join("/");
    let sides = text
        .strip_prefix("members ")
        .and_then(|rest| rest.split_once(", non-members "));
    let Some((members, others)) = sides else {
        let parts = parts(text);
        return match parts.is_empty() {
            true => text.to_owned(),
            false => last(&parts, 1),
        };
    };
    let (members, others) = (parts(members), parts(others));
    let most = members.len().max(others.len());
    let n = (1..=most).find(|n| last(&members, *n) != last(&others, *n));
    let n = n.unwrap_or(1);
    format!(
        "members {}, non-members {}",
        last(&members, n),
        last(&others, n)
    )
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
    use serde_json::json;

    use super::{Compared, by_whom, compared, short_source, when};
    use crate::report::Report;

    #[test]
    fn a_comparison_has_the_dates_and_auditors_of_its_audits() {
        let report = |compared: serde_json::Value| -> Report {
            let run =
                json!({"created": "2026-12-01T10:00:00Z", "auditor": "C", "compared": compared});
            serde_json::from_value(json!({"schema": 1, "run": run, "models": []}))
                .expect("a report")
        };
        let one = json!({"name": "one", "created": "2026-11-24T05:09:00Z", "auditor": "A",
            "versions": {"dualmd": "0.1.0", "commit": "ab"}, "data": {"source": "x"}});
        let other = json!({"name": "other", "auditor": "A"});
        let both = report(json!([one, other]));
        assert_eq!(
            when(&both).as_deref(),
            Some("24 November 2026, 05:09 UTC (one); not recorded (other)")
        );
        assert_eq!(by_whom(&both).as_deref(), Some("A"));
        let named = |name: &str| Compared {
            name: name.into(),
            ..Compared::default()
        };
        assert_eq!(compared(&both)[1].name, "other");
        assert_eq!(compared(&both)[0].commit.as_deref(), Some("ab"));
        // One of an earlier version: who made the comparison did not make its audits.
        let old = report(json!(["one (a/one)", "other"]));
        assert_eq!(compared(&old), [named("one (a/one)"), named("other")]);
        assert_eq!((when(&old), by_whom(&old)), (None, None));
        let single = report(json!(null));
        assert_eq!(by_whom(&single).as_deref(), Some("C"));
        assert_eq!(when(&single).as_deref(), Some("1 December 2026, 10:00 UTC"));
    }

    #[test]
    fn folders_are_called_by_their_own_names() {
        for (text, short) in [
            (
                "members /a/b/seen/, non-members /a/b/unseen#test",
                "members seen, non-members unseen#test",
            ),
            (
                "members a/train/images, non-members a/test/images",
                "members train/images, non-members test/images",
            ),
            ("members a, non-members a", "members a, non-members a"),
            (
                "members images, non-members test/images",
                "members images, non-members test/images",
            ),
            ("/data/photos", "photos"),
            ("fashion", "fashion"),
            ("/", "/"),
        ] {
            assert_eq!(short_source(text), short);
        }
    }

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

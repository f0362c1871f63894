//! JUnit XML: what continuous integration shows as tests.

use serde_json::Value;

use crate::{called, said, version};
use dualmd_audit::facts::{plan, run_name};
use dualmd_audit::report::{Finding, Report};

/// The report as JUnit XML: one test for each model. A test fails where something was found of the model (its `type` is the finding:
/// `leak`, `inverted`, `set` or `copies`), is an error where the report is void, and is skipped where no attack gave a result. Its text is the
/// verdict's; its time is what the attacks took, in seconds.
#[must_use]
pub fn junit(report: &Report) -> String {
    let name = run_name(report);
    let suite = format!("membership audit: {name}");
    let (mut cases, mut failures, mut errors, mut skipped) = (Vec::new(), 0, 0, 0);
    let mut whole = 0.0;
    for model in said(report) {
        let own = model.model.results.iter().filter_map(|r| r.seconds);
        // The sum of nothing is -0.
        let seconds = own.fold(0.0, |sum, s| sum + s);
        whole += seconds;
        let inside = match model.finding {
            Finding::Chance => format!("<system-out>{}</system-out>", text(&model.text)),
            Finding::Unknown => {
                skipped += 1;
                format!("<skipped message=\"{}\"/>", text(&model.text))
            }
            Finding::Void => {
                errors += 1;
                outcome("error", model.finding, model.words, &model.text)
            }
            Finding::Leak | Finding::Inverted | Finding::Set | Finding::Copies => {
                failures += 1;
                outcome("failure", model.finding, model.words, &model.text)
            }
        };
        cases.push(case(&called(model.model), &name, seconds, &inside));
    }
    if cases.is_empty() {
        errors += 1;
        let reason = report.verdict.void.as_deref();
        let reason = reason.unwrap_or("The report holds no model, so that nothing was tested.");
        cases.push(case(
            "the audit",
            &name,
            0.0,
            &outcome("error", Finding::Void, "void", reason),
        ));
    }
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{whole:.3}\"",
        cases.len()
    );
    // The schema wants a time without a zone.
    let created = report
        .run
        .get("created")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let timestamp = match created
        .get(..19)
        .filter(|t| t.is_ascii() && t.as_bytes()[10] == b'T')
    {
        Some(t) => format!(" timestamp=\"{}\"", text(t)),
        None => String::new(),
    };
    let mut properties = vec![("dualmd".to_owned(), version(report))];
    for (label, pointer) in [
        ("command", "/command"),
        ("auditor", "/auditor"),
        ("members_blake3", "/data/members_blake3"),
        ("nonmembers_blake3", "/data/nonmembers_blake3"),
    ] {
        properties.extend(plan(report, pointer).map(|value| (label.to_owned(), value)));
    }
    let seed = report.run.get("seed").filter(|s| s.is_number());
    properties.extend(seed.map(|s| ("seed".to_owned(), s.to_string())));
    let properties: String = properties
        .iter()
        .map(|(label, value)| {
            format!(
                "      <property name=\"{label}\" value=\"{}\"/>\n",
                text(value)
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"dualmd\" {counts}>\n  <testsuite name=\"{}\" {counts}{timestamp}>\n    <properties>\n{properties}    </properties>\n{}  </testsuite>\n</testsuites>\n",
        text(&suite),
        cases.concat()
    )
}

fn case(name: &str, class: &str, seconds: f64, inside: &str) -> String {
    format!(
        "    <testcase classname=\"dualmd.{}\" name=\"{}\" time=\"{seconds:.3}\">{inside}</testcase>\n",
        text(class),
        text(name)
    )
}

fn outcome(element: &str, finding: Finding, words: &str, said: &str) -> String {
    format!(
        "<{element} type=\"{}\" message=\"{}\">{}</{element}>",
        finding.name(),
        text(words),
        text(said)
    )
}

/// A text in XML 1.0, in an element or an attribute; characters that XML cannot hold become U+FFFD.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\r' | '\t' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c < ' ' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_cannot_leave_its_attribute() {
        assert_eq!(
            super::text("a\"><b>&\u{1}\n"),
            "a&quot;&gt;&lt;b&gt;&amp;\u{fffd} "
        );
    }
}

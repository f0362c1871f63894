//! Two reports, field by field.

use dualmd_files::shown;
use serde_json::Value;

/// Two numbers this near each other, relative to the larger, are the same: machines differ in last digits of logarithms and
/// roots.
const NEAR: f64 = 1e-9;
/// The same for numbers that are nothing but rounding.
const TINY: f64 = 1e-15;
/// Letters of a text that are shown.
const SHOWN: usize = 100;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// All there is.
    Everything,
    /// Numbers, counts of entries, and what is there at all; texts may differ.
    Numbers,
}

/// A field in which two reports differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Differs {
    /// Where, by the names of models and attacks.
    pub at: String,
    /// What the first says.
    pub one: String,
    /// What the second says.
    pub other: String,
}

/// The fields in which two reports differ, and how many values were compared.
pub(super) fn differences(one: &Value, other: &Value, what: Compared) -> (Vec<Differs>, usize) {
    let mut out = Walk {
        what,
        found: Vec::new(),
        values: 0,
    };
    out.compare(one, other, "");
    (out.found, out.values)
}

struct Walk {
    what: Compared,
    found: Vec<Differs>,
    values: usize,
}

impl Walk {
    fn compare(&mut self, one: &Value, other: &Value, at: &str) {
        match (one, other) {
            (Value::Object(a), Value::Object(b)) => {
                for (key, value) in a {
                    self.compare(value, b.get(key).unwrap_or(&Value::Null), &below(at, key));
                }
                for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                    self.compare(&Value::Null, value, &below(at, key));
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                if a.len() != b.len() {
                    self.found.push(Differs {
                        at: at.to_owned(),
                        one: format!("{} entries", a.len()),
                        other: format!("{} entries", b.len()),
                    });
                }
                for (place, (x, y)) in a.iter().zip(b).enumerate() {
                    self.compare(x, y, &below(at, &called(y, place)));
                }
            }
            _ => {
                self.values += 1;
                if !self.same(one, other) {
                    self.found.push(Differs {
                        at: at.to_owned(),
                        one: brief(one),
                        other: brief(other),
                    });
                }
            }
        }
    }

    fn same(&self, one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Number(a), Value::Number(b)) => {
                a == b
                    || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| {
                        let apart = (a - b).abs();
                        apart <= NEAR * a.abs().max(b.abs()) || apart <= TINY
                    }) && !(a.is_u64() && b.is_u64())
            }
            (Value::String(_), Value::String(_)) if self.what == Compared::Numbers => true,
            _ => one == other,
        }
    }
}

fn below(at: &str, key: &str) -> String {
    let key = shown(key);
    match at {
        "" => key.to_string(),
        at => format!("{at}.{key}"),
    }
}

/// An entry of a list by what it is about, else by its place from 0.
fn called(entry: &Value, place: usize) -> String {
    let texts = ["name", "model", "attack", "base", "rule", "what"].map(|key| entry[key].as_str());
    let names: Vec<&str> = texts.into_iter().flatten().collect();
    match (names.is_empty(), entry["fpr"].as_f64()) {
        (false, _) => names.join("/"),
        (true, Some(fpr)) => format!("fpr={fpr}"),
        (true, None) => place.to_string(),
    }
}

/// A value as it may stand in a message.
fn brief(value: &Value) -> String {
    let text = match value {
        Value::Null => return "nothing".into(),
        Value::Object(fields) => return format!("{} fields", fields.len()),
        Value::Array(entries) => return format!("{} entries", entries.len()),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    let short: String = text.chars().take(SHOWN).collect();
    let more = if short.len() < text.len() { "..." } else { "" };
    format!("{}{more}", shown(&short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(one: &Value, other: &Value, what: Compared) -> Vec<String> {
        let found = differences(one, other, what).0;
        found
            .into_iter()
            .map(|d| format!("{}: {} / {}", d.at, d.one, d.other))
            .collect()
    }

    #[test]
    fn each_field_is_named() {
        let one = json!({"models": [{"name": "baseline", "results": [
            {"attack": "sima", "auc": 0.91, "tpr_at_fpr": [{"fpr": 0.1, "tp": 3}, {"fpr": 0.01, "tp": 3}]}]}], "a": [1], "gone": 1});
        let other = json!({"models": [{"name": "baseline", "results": [
            {"attack": "sima", "auc": 0.72, "tpr_at_fpr": [{"fpr": 0.1, "tp": 3}, {"fpr": 0.01, "tp": 4}]}]}], "a": [1, 2], "new": "x"});
        assert_eq!(
            at(&one, &other, Compared::Everything),
            [
                "a: 1 entries / 2 entries",
                "gone: 1 / nothing",
                "models.baseline.results.sima.auc: 0.91 / 0.72",
                "models.baseline.results.sima.tpr_at_fpr.fpr=0.01.tp: 3 / 4",
                "new: nothing / \"x\"",
            ]
        );
        assert_eq!(differences(&one, &one, Compared::Everything).1, 9);
    }

    #[test]
    fn last_digits_and_texts_may_differ_and_nothing_else() {
        let (one, other) = (json!([0.1, "a", 0.0]), json!([0.1 + 1e-12, "b", 1e-17]));
        assert_eq!(at(&one, &other, Compared::Everything).len(), 1);
        assert!(at(&one, &other, Compared::Numbers).is_empty());
        // A p-value of another size, a count, a text for nothing.
        for (one, other) in [
            (json!(1e-12), json!(2e-12)),
            (json!(10_000_000_000_u64), json!(10_000_000_001_u64)),
            (json!("a"), json!(null)),
            (json!(true), json!(false)),
        ] {
            assert_eq!(
                at(&one, &other, Compared::Numbers).len(),
                1,
                "{one} {other}"
            );
        }
        let long = at(
            &json!("x\u{1b}".repeat(100)),
            &json!(1),
            Compared::Everything,
        );
        assert!(
            !long[0].contains('\u{1b}') && long[0].len() < 900,
            "{long:?}"
        );
    }
}

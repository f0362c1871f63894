//! Ranges of the numbers in a configuration, which are checked before anything is made of them.

use crate::{DiffusionError, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Most numbers in a list.
const LONGEST: usize = 16;

/// What a key may hold; both ends belong to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    least: f64,
    most: f64,
    whole: bool,
    list: bool,
    null: bool,
}

/// A whole number.
pub(crate) const fn whole(least: i32, most: i32) -> Range {
    Range {
        least: least as f64,
        most: most as f64,
        whole: true,
        list: false,
        null: false,
    }
}

/// Any number.
pub(crate) const fn real(least: f64, most: f64) -> Range {
    Range {
        least,
        most,
        whole: false,
        list: false,
        null: false,
    }
}

impl Range {
    /// A list of such numbers too.
    pub(crate) const fn or_list(mut self) -> Self {
        self.list = true;
        self
    }

    /// null too.
    pub(crate) const fn or_null(mut self) -> Self {
        self.null = true;
        self
    }

    fn holds(self, value: &Value) -> bool {
        match value {
            Value::Null => self.null,
            Value::Array(list) => {
                self.list && list.len() <= LONGEST && list.iter().all(|v| self.number(v))
            }
            other => self.number(other),
        }
    }

    fn number(self, value: &Value) -> bool {
        (!self.whole || value.is_i64() || value.is_u64())
            && value
                .as_f64()
                .is_some_and(|n| self.least <= n && n <= self.most)
    }

    fn words(self) -> String {
        let kind = if self.whole {
            "a whole number"
        } else {
            "a number"
        };
        let list = if self.list {
            format!(", or a list of at most {LONGEST} such numbers")
        } else {
            String::new()
        };
        let null = if self.null { ", or null" } else { "" };
        format!("{kind} from {} to {}{list}{null}", self.least, self.most)
    }
}

/// Checks the keys of `table` that `config`, a JSON object, has.
///
/// # Errors
/// The first value out of its range, with key and range.
pub(crate) fn check(config: &Value, table: &[(&str, Range)]) -> Result<()> {
    for (key, range) in table {
        if let Some(value) = config.get(key)
            && !range.holds(value)
        {
            return Err(DiffusionError::Config(format!(
                "{key} = {}: must be {}",
                brief(value),
                range.words()
            )));
        }
    }
    Ok(())
}

/// A value for a message: its beginning, since a list may be of any length.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 {
        return text;
    }
    text.chars().take(80).chain("...".chars()).collect()
}

/// Reads a configuration all of whose keys may be missing, and checks it: the ranges of `table`, then types, then the whole by `own`.
///
/// # Errors
/// As [`check`] and [`fields`]; what `own` says.
pub(crate) fn read<T: DeserializeOwned>(
    file: &Value,
    table: &[(&str, Range)],
    own: fn(&T) -> Result<()>,
) -> Result<T> {
    check(file, table)?;
    let config = fields(file)?;
    own(&config)?;
    Ok(config)
}

/// Reads the fields of a configuration all of whose keys may be missing.
///
/// # Errors
/// No object of JSON; the first key whose value is of another type, by name.
pub(crate) fn fields<T: DeserializeOwned>(config: &Value) -> Result<T> {
    let wrong = |reason: String| DiffusionError::Config(reason);
    let Some(keys) = config.as_object() else {
        return Err(wrong("is no object of JSON, {\"key\": value, ...}".into()));
    };
    serde_json::from_value(config.clone()).map_err(|all| {
        // serde does not say of which key it speaks: ask it about each.
        for (key, value) in keys {
            if let Err(e) = serde_json::from_value::<T>(json!({ key: value })) {
                return wrong(format!("{key} = {}: {e}", brief(value)));
            }
        }
        wrong(all.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_type_is_named() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        struct Two {
            name: String,
            sizes: Vec<i64>,
        }
        let good: Two = fields(&json!({"name": "a", "sizes": [1]})).unwrap();
        assert!(good.name == "a" && good.sizes == [1]);
        for (bad, words) in [
            (json!({"name": "a", "sizes": [1, "x"]}), "sizes = [1,\"x\"]"),
            (json!({"name": 5}), "name = 5"),
            (json!({"sizes": null}), "sizes = null"),
            (json!([5]), "no object"),
        ] {
            let error = fields::<Two>(&bad).unwrap_err().to_string();
            assert!(error.contains(words), "{error} lacks {words}");
        }
    }

    #[test]
    fn values_out_of_range_are_named_with_the_range() {
        let table = [
            ("n", whole(1, 64)),
            ("x", real(0.0, 1.0)),
            ("w", whole(1, 8).or_list().or_null()),
        ];
        for good in [
            json!({}),
            json!({"n": 1, "x": 0, "w": null}),
            json!({"n": 64, "x": 1.0, "w": [8, 1], "other": -5}),
        ] {
            check(&good, &table).unwrap();
        }
        for (bad, words) in [
            (
                json!({"n": 0}),
                "n = 0: must be a whole number from 1 to 64",
            ),
            (json!({"n": -1}), "n = -1"),
            (json!({"n": 4_611_686_018_427_387_904i64}), "from 1 to 64"),
            (json!({"n": 1e30}), "n = 1e+30"),
            (json!({"n": 2.5}), "a whole number"),
            (json!({"n": null}), "n = null"),
            (json!({"n": "NaN"}), "n = \"NaN\""),
            (json!({"x": "-Infinity"}), "must be a number from 0 to 1"),
            (json!({"x": -1e-9}), "x = "),
            (json!({"x": [0.5]}), "x = [0.5]"),
            (
                json!({"w": [1, 9]}),
                "or a list of at most 16 such numbers, or null",
            ),
            (json!({"w": vec![1; 17]}), "w = [1,1"),
            (json!({"w": true}), "w = true"),
        ] {
            let error = check(&bad, &table).unwrap_err().to_string();
            assert!(
                error.contains(words) && error.len() < 250,
                "{error} lacks {words}"
            );
        }
    }
}

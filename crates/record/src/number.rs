//! Numbers that files of other programs write in more than one way.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// How many of something. This program writes whole numbers; a file of another program may hold a mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Count {
    /// A whole number.
    Whole(u64),
    /// Any other.
    Mean(f64),
}

impl Count {
    /// As a number to reckon with.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Mean(x) => x,
        }
    }
}

impl From<u64> for Count {
    fn from(n: u64) -> Self {
        Self::Whole(n)
    }
}

impl From<usize> for Count {
    fn from(n: usize) -> Self {
        Self::Whole(n as u64)
    }
}

/// Deserialises what a later version, or an earlier one, may have written in another way: then it is `None`.
///
/// # Errors
/// No JSON value at all.
pub fn if_known<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Deserialises a field whose absence says something else than its null.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Deserialises a number that was not finite when it was written, and is null in the file: NaN.
pub(crate) fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// What [`or_nan`] reads of a file that lacks the number.
pub(crate) fn nan() -> f64 {
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_as_they_were_read() {
        for text in ["8", "8.0", "10.5", "-1.0"] {
            let count: Count = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&count).unwrap(), text);
            assert_eq!(count.as_f64(), text.parse::<f64>().unwrap());
        }
        assert_eq!(Count::from(3usize), Count::from(3u64));
        assert!(serde_json::from_str::<Count>("\"8\"").is_err());
    }
}

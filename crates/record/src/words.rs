//! Descriptions that a file has as one text or as several.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A description: one text, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Words {
    /// One text.
    Text(String),
    /// Several.
    List(Vec<String>),
    /// What another program says in another form.
    Other(Value),
}

impl From<String> for Words {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Words {
    fn from(texts: Vec<String>) -> Self {
        Self::List(texts)
    }
}

impl fmt::Display for Words {
    /// Several texts with commas between them; another form as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::List(texts) => f.write_str(&texts.join(", ")),
            Self::Other(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_as_they_were_read() {
        for (text, shown) in [
            (r#""pixels""#, "pixels"),
            (r#"["mean","contrast"]"#, "mean, contrast"),
            ("[]", ""),
            (r#"["mean",1]"#, r#"["mean",1]"#),
            (r#"{"mean":true}"#, r#"{"mean":true}"#),
        ] {
            let words: Words = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&words).unwrap(), text);
            assert_eq!(words.to_string(), shown);
        }
        assert_eq!(serde_json::from_str::<Option<Words>>("null").unwrap(), None);
    }
}

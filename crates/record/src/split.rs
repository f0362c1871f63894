//! `split.json`: who is a member, of which half, and who is not.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Keys, RunFile};

/// A membership split, before it is checked: `dualmd_data::Split` is one whose ids and hash are right.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SplitFile {
    /// How the sides were drawn: `half`, `coin-flip` or `import`.
    pub method: String,
    /// Seed of the draw.
    pub seed: u64,
    /// The set it was drawn from, as the user wrote it.
    pub source: String,
    /// Hash over ids, sides and halves.
    pub hash: String,
    /// Members by ascending id.
    pub members: Vec<Member>,
    /// Non-members by ascending id.
    pub nonmembers: Vec<NonMember>,
}

impl RunFile for SplitFile {
    const KEYS: Keys = Keys::AsListed;
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Content id of the image.
    pub id: String,
    /// Its name where it came from: the file's, the row's number, or what the column of names says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// 1 = D1 (teacher 1 is trained on it), 2 = D2. Lists of others may not say.
    #[serde(default)]
    pub half: Option<u8>,
    /// The group it was kept together with.
    #[serde(default)]
    pub group: Option<String>,
}

/// A non-member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NonMember {
    /// Content id of the image.
    pub id: String,
    /// Its name where it came from: the file's, the row's number, or what the column of names says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The group it was kept together with.
    #[serde(default)]
    pub group: Option<String>,
}

impl SplitFile {
    /// Half (1 or 2) of every member that has one.
    #[must_use]
    pub fn halves(&self) -> BTreeMap<&str, u8> {
        self.members
            .iter()
            .filter_map(|m| Some((m.id.as_str(), m.half?)))
            .collect()
    }
}

//! `exposed.json`: the members that the attacks on each model rank highest, a list.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One exposed member of one model.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Exposed {
    /// Model under attack.
    pub model: String,
    /// Attack that found the member, or `mean rank` over all of them.
    pub attack: String,
    /// Content id of the member.
    pub id: String,
    /// Its name where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Thumbnail, relative to the run folder.
    pub png: String,
    /// Its score.
    pub score: f64,
    /// 1 = the most exposed.
    pub rank: u32,
}

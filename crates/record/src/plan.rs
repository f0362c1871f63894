//! `plan.json` as `dualmd audit` writes it. That of a run has more: it is `Plan` of the program, and the same fields have the same
//! names and meanings.

use dualmd_names::{AttackSpec, ModelKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::RunFile;

/// What was audited, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPlan {
    /// The model folders.
    pub name: String,
    /// When the audit was made, RFC 3339.
    pub created: String,
    /// The command line.
    pub command: String,
    /// Versions.
    pub versions: Versions,
    /// The machine.
    pub hardware: AuditHardware,
    /// Seed of the attacks' noise.
    pub seed: u64,
    /// The images.
    pub data: AuditData,
    /// Hash of the split file; null where there is none.
    pub split_hash: Option<String>,
    /// The network of the only model; null where there are several.
    pub model: Option<AuditNetwork>,
    /// Who made the audit.
    pub auditor: Option<String>,
    /// The models.
    pub models: Vec<AuditedModel>,
    /// The attacks.
    pub audit: AuditSettings,
    /// The shadow model of the only model; null where there is none, or there are several models.
    pub shadow: Option<AuditShadow>,
}

impl RunFile for AuditPlan {
    const LIMIT: u64 = dualmd_files::limit::SETTINGS;
}

/// Versions that results depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// This program.
    pub dualmd: String,
    /// The tensor library.
    pub libtorch: String,
    /// Commit that the program was built from, `+changes` behind it where files differed; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHardware {
    /// The processor.
    pub cpu: String,
    /// Threads.
    pub cores: usize,
    /// Memory in GB, where known.
    pub memory_gb: Option<f64>,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// `f32`, `tf32` or `bf16`.
    pub dtype: String,
}

/// The images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditData {
    /// As the command names them.
    pub source: String,
    /// Side in pixels.
    pub image_size: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Members.
    pub members: usize,
    /// Non-members.
    pub nonmembers: usize,
    /// BLAKE3 over the members' content ids in ascending order: which images these were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members_blake3: Option<String>,
    /// The same of the non-members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonmembers_blake3: Option<String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditNetwork {
    /// Parameters; none of a model in another process that does not say how many it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<usize>,
    /// The whole `unet/config.json`; of a model in another process, what its server says of it.
    pub config: Value,
}

/// One audited model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditedModel {
    /// Name in files.
    pub name: String,
    /// `dualmd` of a pair, else `unknown`.
    #[schemars(with = "String")]
    pub defense: ModelKind,
    /// Models that it needs: none.
    pub needs: Vec<String>,
    /// BLAKE3 hash of its weights.
    pub weights_blake3: String,
    /// Its network.
    pub model: AuditNetwork,
}

/// The attacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditSettings {
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub attacks: Vec<AttackSpec>,
    /// Images that the model generated, where they were given and not drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<String>,
    /// `ema` or `raw`.
    pub weights: String,
    /// Share of the samples whose membership attacks that learn were told.
    pub known_fraction: f64,
    /// Rules of public codes that the report states beside the exact numbers.
    pub compat: Vec<String>,
}

/// A shadow model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditShadow {
    /// BLAKE3 hash of its weights.
    pub weights_blake3: String,
    /// Images that it was trained on.
    pub members: usize,
    /// Images that it was not trained on.
    pub nonmembers: usize,
}

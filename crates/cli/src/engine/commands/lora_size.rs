//! `dualmd lora-size`: how many images a LoRA was trained on.

use anyhow::Result;
use dualmd::lora_size::lines;
use dualmd_front::args::LoraSizeArgs;
use dualmd_front::outln;
use std::process::ExitCode;

/// Compares, and says what came of it.
pub fn lora_size(args: &LoraSizeArgs) -> Result<ExitCode> {
    let found = dualmd::lora_size(&args.options)?;
    if args.json {
        outln!("{}", serde_json::to_string(&found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&found) {
        outln!("{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

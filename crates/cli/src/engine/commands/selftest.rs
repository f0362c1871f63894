//! `dualmd selftest`: a planted leak is found, a null is not.

use anyhow::{Result, bail};
use dualmd::machine;
use dualmd_front::args::Global;
use dualmd_front::outln;
use std::process::ExitCode;

/// Runs the default attacks on both oracles and prints what they found.
pub fn selftest(global: &Global) -> Result<ExitCode> {
    dualmd_torch::device::set_threads(global.threads.unwrap_or_else(machine::cores));
    let mut failures = Vec::new();
    outln!(
        "{:<13} {:<9} {:>6}  {:<15} verdict",
        "model",
        "attack",
        "AUC",
        "99.9 % interval"
    )?;
    for found in dualmd::selftest(global.seed())? {
        let (model, attack) = (found.model, &found.attack);
        let auc = match &found.auc {
            Ok(auc) => auc,
            Err(reason) => {
                failures.push(format!("{attack} on the {model}: {reason}"));
                continue;
            }
        };
        outln!(
            "{model:<13} {attack:<9} {:>6.3}  {:<15} {}",
            auc.auc,
            format!("{:.3}-{:.3}", auc.low, auc.high),
            if found.right {
                "as it must be"
            } else {
                "WRONG"
            }
        )?;
        if !found.right {
            failures.push(format!("{attack} on the {model}: AUC {:.3}", auc.auc));
        }
    }
    if !failures.is_empty() {
        bail!("self-test failed: {}", failures.join("; "));
    }
    outln!("the auditor sees a planted leak and sees none where there is none")?;
    Ok(ExitCode::SUCCESS)
}

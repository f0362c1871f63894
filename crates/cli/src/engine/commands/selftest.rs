//! `dualmd selftest`: a planted leak is found, a null is not.

use anyhow::{Result, bail};
use dualmd::machine;
use dualmd::selftest::{Checked, Told};
use dualmd_front::args::{Global, SelftestArgs};
use dualmd_front::outln;
use std::process::ExitCode;

/// Runs the default attacks on both oracles and prints what they found.
pub fn selftest(global: &Global, args: &SelftestArgs) -> Result<ExitCode> {
    dualmd_torch::device::set_threads(global.threads.unwrap_or_else(machine::cores));
    let found = dualmd::selftest(global.seed())?;
    let failures: Vec<String> = found.iter().filter_map(failure).collect();
    if args.json {
        let results: Vec<Told> = found.iter().map(Checked::told).collect();
        outln!("{}", serde_json::to_string(&results)?)?;
    } else {
        table(&found)?;
    }
    if !failures.is_empty() {
        bail!("self-test failed: {}", failures.join("; "));
    }
    if !args.json {
        outln!("the auditor sees a planted leak and sees none where there is none")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with what one attack found, if anything is.
fn failure(found: &Checked) -> Option<String> {
    let (model, attack) = (found.model, &found.attack);
    match &found.auc {
        Err(reason) => Some(format!("{attack} on the {model}: {reason}")),
        Ok(auc) if !found.right => Some(format!("{attack} on the {model}: AUC {:.3}", auc.auc)),
        Ok(_) => None,
    }
}

fn table(all: &[Checked]) -> Result<()> {
    outln!(
        "{:<13} {:<9} {:>6}  {:<15} verdict",
        "model",
        "attack",
        "AUC",
        "99.9 % interval"
    )?;
    for found in all {
        let (model, attack) = (found.model, &found.attack);
        let Ok(auc) = &found.auc else { continue };
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
    }
    Ok(())
}

//! `dualmd lira`: the likelihood-ratio attack with the whole pipeline as the shadow.

use super::report;
use crate::args::{FailArgs, Global, LiraArgs};
use crate::session::session;
use crate::signals;
use anyhow::Result;
use dualmd::LiraOptions;
use dualmd::lira::FPR;
use dualmd::reporter::duration;
use dualmd_names::BaseAttack;
use dualmd_record::lira::LiraResult;
use std::process::ExitCode;
use std::time::Instant;

/// Trains the shadows, attacks, and prints what came of it.
pub fn lira(global: &Global, args: &LiraArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let options = LiraOptions {
        source: args.source()?,
        sets: args.set.iter().cloned().chain(global.sets()).collect(),
        out: args.out(),
        models: args.models,
        targets: args.targets,
        pool: args.pool,
        jobs: args.jobs,
    };
    let session = session(global)?.by(args.auditor.clone());
    if args.prepare {
        let runs = dualmd::lira::prepare(&session, &options)?;
        session.say(&format!(
            "{runs} runs are prepared in {}: `dualmd work` on it trains them",
            options.out.display()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(repeated) = dualmd::lira(&session, &options)? else {
        return Ok(signals::stopped(&options.out, session.reporter.as_ref()));
    };
    for written in &repeated.reports {
        report::print(written, &FailArgs::default())?;
    }
    print_table(&repeated.lira.results, repeated.lira.models)?;
    session.say(&format!("all in {}", duration(began.elapsed())));
    Ok(ExitCode::SUCCESS)
}

fn print_table(results: &[LiraResult], models: usize) -> Result<()> {
    outln!(
        "mean over {models} runs, each the target of the others; TPR at {:.0} % false alarms",
        100.0 * FPR
    )?;
    outln!("{:<14} {:<13} {:>6} {:>6}", "model", "attack", "AUC", "TPR")?;
    for LiraResult {
        model, combined, ..
    } in results
    {
        let attacks = [
            (BaseAttack::Loss, Some(&combined.loss)),
            (BaseAttack::Rmia, combined.rmia.as_ref()),
            (BaseAttack::LiraOffline, Some(&combined.lira_offline)),
            (BaseAttack::Lira, Some(&combined.lira)),
        ];
        for (attack, c) in attacks {
            let Some(c) = c else { continue };
            let attack = attack.name();
            outln!(
                "{model:<14} {attack:<13} {:>6.3} {:>6.3}",
                c.auc_mean,
                c.tpr_mean
            )?;
        }
    }
    Ok(())
}

//! Audits a model's folder and prints the verdict from typed values:
//! `cargo run --release -p dualmd --example audit -- MODEL TRAIN/ HELDOUT/ OUT/`.

use dualmd::{AuditOptions, Engine, ScoreOptions, Session, machine};
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, members, nonmembers, out] = arguments.as_slice() else {
        eprintln!("MODEL MEMBERS NONMEMBERS OUT");
        return Ok(ExitCode::from(2));
    };
    let session = Session::new(Engine::new("auto", None, machine::cores())?);
    let options = AuditOptions {
        score: ScoreOptions {
            models: vec![model.into()],
            ..ScoreOptions::new(members, nonmembers)
        },
        ..AuditOptions::new(out)
    };
    let written = dualmd::audit(&session, &options)?;
    let report = &written.report;
    if let Some(why) = &report.verdict.void {
        println!("void: {why}");
    }
    for (model, verdict) in report.models.iter().zip(&report.verdict.models) {
        println!("{}: {}", model.name, verdict.conclusion.words());
        for attack in &model.results {
            if let Some(found) = &attack.pooled {
                let [low, high] = found.auc_ci;
                println!(
                    "  {:<12} AUC {:.3} ({low:.3} to {high:.3})",
                    attack.attack, found.auc
                );
            }
        }
    }
    println!("{}", written.html.display());
    Ok(ExitCode::SUCCESS)
}

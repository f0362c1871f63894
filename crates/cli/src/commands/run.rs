//! `dualmd run` and `dualmd demo`: all stages of an experiment.

use super::reproduce::{Finished, own_frontier};
use crate::args::{Global, RunArgs};
use crate::bail_usage;
use crate::choices::{Dtype, Stage};
use crate::engine::Engine;
use crate::experiment::Experiment;
use crate::progress::duration;
use crate::stages::held::Held;
use crate::stages::shadow::{self, Shadow};
use crate::stages::{RunFolder, attack, prepare, sample, train, trainings, utility};
use crate::{machine, signals};
use anyhow::{Context, Result};
use dualmd_torch::device::Precision;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Runs, or goes on with, an experiment.
pub fn run(global: &Global, args: &RunArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let (source, out) = args.resolve()?;
    if args.until < Stage::Report && !args.fail.fail_on.is_empty() {
        bail_usage!(
            "--fail-on is about the report, which --until {} leaves out",
            args.until
        );
    }
    let mut sets: Vec<String> = args.set.iter().cloned().chain(global.sets()).collect();
    let experiment = Experiment::load(&source, &sets)?;
    let stop = signals::stop_flag()?;
    // The folder of several runs, and each of these while it is worked on.
    let several = args.seeds > 1;
    let all = several.then(|| Held::folder(&out, &[])).transpose()?;
    let mut held = None;
    let mut finished = Vec::new();
    let mut verdicts = Vec::new();
    for (seed, folder) in folders(&out, experiment.seed, args.seeds)? {
        let own = match seed == experiment.seed {
            true => experiment.clone(),
            false => {
                sets.push(format!("seed={seed}"));
                Experiment::load(&source, &sets)?
            }
        };
        if args.seeds > 1 && !global.quiet {
            tell!("{}", folder.display());
        }
        held = Some(Held::run(&folder)?);
        if !stages(global, &own, &RunFolder(folder.clone()), args.until, &stop)? {
            return Ok(signals::stopped(&out));
        }
        if args.until == Stage::Report {
            verdicts.push(super::report::write(&folder)?);
            finished.push(Finished { seed, folder });
        }
    }
    if args.until < Stage::Report {
        return Ok(ExitCode::SUCCESS);
    }
    let name = source.name();
    if let Some(path) = own_frontier(&out, &name, &finished, &args.set)? {
        outln!("privacy against quality: {}", path.display())?;
    }
    drop((held, all));
    if !global.quiet {
        tell!("all in {}", duration(began.elapsed()));
    }
    Ok(super::report::exit(&verdicts, &args.fail))
}

/// (seed, folder) of every run: the folder itself for one seed, folders in it for more.
fn folders(out: &Path, first: u64, seeds: u64) -> Result<Vec<(u64, PathBuf)>> {
    if seeds == 1 {
        if out.join(format!("seed-{first}")).is_dir() {
            bail_usage!(
                "{} holds runs of several seeds: give their number (--seeds), or another folder (--out)",
                out.display()
            );
        }
        return Ok(vec![(first, out.to_path_buf())]);
    }
    if RunFolder(out.to_path_buf()).plan().exists() {
        bail_usage!(
            "{} holds the run of one seed: choose another folder (--out) for several",
            out.display()
        );
    }
    let Some(last) = first.checked_add(seeds - 1) else {
        bail_usage!("seed {first} leaves no room for {seeds} seeds");
    };
    Ok((first..=last)
        .map(|seed| (seed, out.join(format!("seed-{seed}"))))
        .collect())
}

/// All stages before the report, those after `until` left out. Returns false if asked to stop before the end; the same
/// call goes on then.
pub fn stages(
    global: &Global,
    experiment: &Experiment,
    run: &RunFolder,
    until: Stage,
    stop: &AtomicBool,
) -> Result<bool> {
    let engine = Engine::new(global, experiment.train.dtype, machine::cores())?;
    let view = train::view(global.quiet, global.log_format);
    let (plan, images) = prepare::prepare(experiment, run, &engine, command_line())
        .with_context(|| format!("preparing {} failed", run.0.display()))?;
    if !global.quiet {
        tell!("{}", plan.describe().trim_end());
    }
    let shadowed = shadow::asked(&plan);
    if shadowed {
        let (members, nonmembers) = Shadow::split(run, &plan, &images)?;
        if !global.quiet {
            tell!(
                "  shadow    every model again, on {members} other members and {nonmembers} other non-members, for attacks that learn there"
            );
        }
    }
    // Known once the run's own models are trained: its models may start from one of them.
    let shadow: OnceCell<Shadow> = OnceCell::new();
    // Attacks and samples are made in f32 unless --dtype bf16 was typed: they compare small differences.
    let exact = Engine {
        precision: match global.dtype {
            Some(Dtype::Bf16) => engine.precision,
            _ => Precision::F32,
        },
        ..engine
    };
    let stages: [(Stage, &dyn Fn() -> Result<bool>); 3] = [
        (Stage::Train, &|| {
            if !trainings::all(run, &plan, &engine, view, stop)? {
                return Ok(false);
            }
            if !shadowed {
                return Ok(true);
            }
            let prepared = Shadow::prepare(run, &plan, &images, &engine)?;
            if !global.quiet {
                tell!("shadow run {}", prepared.run.0.display());
            }
            shadow.get_or_init(|| prepared).train(&engine, view, stop)
        }),
        (Stage::Sample, &|| {
            if !sample::all(run, &plan, &images, &exact, view, stop)?
                || !utility::all(run, &plan, &images, exact.device, view, stop)?
            {
                return Ok(false);
            }
            match shadow.get() {
                Some(shadow) => shadow.sample(&plan, &exact, view, stop),
                None => Ok(true),
            }
        }),
        (Stage::Attack, &|| {
            attack::all(run, &plan, &images, shadow.get(), &exact, view, stop)
        }),
    ];
    for (stage, work) in stages {
        if until < stage {
            return Ok(true);
        }
        let at = Instant::now();
        if !work()? {
            return Ok(false);
        }
        if !global.quiet {
            tell!("{:<12} done in {}", stage.as_str(), duration(at.elapsed()));
        }
    }
    Ok(true)
}

/// The command that repeats this run, as one would type it.
pub fn command_line() -> String {
    let quote = |a: String| {
        let plain = a
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c))
            && !a.is_empty();
        if plain {
            a
        } else {
            format!("'{}'", a.replace('\'', r"'\''"))
        }
    };
    std::iter::once("dualmd".to_owned())
        .chain(std::env::args().skip(1).map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}

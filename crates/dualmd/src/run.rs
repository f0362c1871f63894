//! Running an experiment: all its stages, in a folder.

use crate::bail_usage;
use crate::choices::Stage;
use crate::experiment::{Experiment, Source};
use crate::report::{ReportOptions, Written, report};
use crate::reporter::{Reporter, duration, meanwhile};
use crate::session::Session;
use crate::stages::held::Held;
use crate::stages::shadow::{self, Shadow};
use crate::stages::{RunFolder, attack, beforehand, prepare, sample, trainings, utility};
use crate::whole::{Learnt, Part, Whole};
use anyhow::{Context, Result};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The experiment.
    pub source: Source,
    /// Changes of its keys, `train.steps=600`.
    pub sets: Vec<String>,
    /// The run's folder; of several seeds, the folder of their folders.
    pub out: PathBuf,
    /// The last stage.
    pub until: Stage,
    /// Runs: with the experiment's seed and those after it.
    pub seeds: u64,
    /// What the reports hold.
    pub report: ReportOptions,
}

impl RunOptions {
    /// One run of the whole experiment.
    pub fn new(source: Source, out: PathBuf) -> Self {
        Self {
            source,
            sets: Vec::new(),
            out,
            until: Stage::Report,
            seeds: 1,
            report: ReportOptions::default(),
        }
    }
}

/// A run that is done as far as it was asked for.
#[derive(Debug)]
pub struct Finished {
    /// Its seed.
    pub seed: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// What came of it; None of a run that ends with an earlier stage.
    pub report: Option<Written>,
}

/// Runs that are done. Nobody else works in their folder until this is dropped.
#[derive(Debug)]
pub struct Ran {
    /// One for each seed.
    pub runs: Vec<Finished>,
    _held: Vec<Held>,
}

/// Runs, or goes on with, an experiment: split, trainings, samples, attacks, report, all in [`RunOptions::out`]. A part whose
/// results are there is passed over. None if the session was asked to stop; the same call goes on then.
///
/// # Errors
/// An experiment that cannot be run, with the key that is wrong; a folder of another run, or in which another process works; a
/// training or an attack that fails.
pub fn run(session: &Session, options: &RunOptions) -> Result<Option<Ran>> {
    let RunOptions {
        source,
        out,
        until,
        seeds,
        ..
    } = options;
    let mut sets = options.sets.clone();
    let experiment = Experiment::load(source, &sets)?;
    let several = *seeds > 1;
    let reporter = session.reporter.as_ref();
    // The folder of several runs, and each of these while it is worked on.
    let all = several.then(|| Held::folder(out, &[], reporter));
    let all = all.transpose()?;
    let mut held = None;
    let mut runs = Vec::new();
    let mut learnt = Learnt::default();
    for ((seed, folder), after) in folders(out, experiment.seed, *seeds)?
        .into_iter()
        .zip((0..*seeds).rev())
    {
        let own = match seed == experiment.seed {
            true => experiment.clone(),
            false => {
                sets.push(format!("seed={seed}"));
                Experiment::load(source, &sets)?
            }
        };
        if several {
            session.say(&folder.display().to_string());
        }
        held = Some(Held::run(&folder, reporter)?);
        let run = RunFolder(folder.clone());
        if !stages_before(session, &own, &run, (*until, after), &mut learnt)? {
            return Ok(None);
        }
        let report = match until {
            Stage::Report => {
                let began = Instant::now();
                let write = || report(&folder, options.report);
                let written = meanwhile(reporter, "", "report", write)?;
                let models = written.report.models.len();
                learnt.report(models, began.elapsed());
                Some(written)
            }
            _ => None,
        };
        runs.push(Finished {
            seed,
            folder,
            report,
        });
    }
    Ok(Some(Ran {
        runs,
        _held: held.into_iter().chain(all).collect(),
    }))
}

/// (seed, folder) of every run: the folder itself for one seed, folders in it for more.
pub(crate) fn folders(out: &Path, first: u64, seeds: u64) -> Result<Vec<(u64, PathBuf)>> {
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

/// All stages of one run before the report, those after `until` left out, in a folder that the caller holds. Returns false if
/// asked to stop before the end; the same call goes on then.
///
/// # Errors
/// As [`run()`].
pub fn stages(
    session: &Session,
    experiment: &Experiment,
    run: &RunFolder,
    until: Stage,
) -> Result<bool> {
    let mut learnt = Learnt::default();
    stages_before(session, experiment, run, (until, 0), &mut learnt)
}

/// The same where `after` runs of the experiment follow it, which count in what is told of the time left. `learnt`: how fast the work of the
/// runs before it was, and of this one afterwards.
fn stages_before(
    session: &Session,
    experiment: &Experiment,
    run: &RunFolder,
    (until, after): (Stage, u64),
    learnt: &mut Learnt,
) -> Result<bool> {
    let (plan, images) = prepare::prepare(experiment, run, session)
        .with_context(|| format!("preparing {} failed", run.0.display()))?;
    session.say(plan.describe().trim_end());
    let shadowed = shadow::asked(&plan);
    if shadowed {
        let (members, nonmembers) = Shadow::split(run, &plan, &images)?;
        session.say(&format!(
            "  shadow    every model again, on {members} other members and {nonmembers} other non-members, for attacks that learn there"
        ));
        // For those who share the trainings from here on.
        if until < Stage::Train && shadow::can_be_prepared(run, &plan)? {
            drop(Shadow::prepare(run, &plan, &images, session)?);
        }
    }
    for job in plan.trainings.iter().filter(|_| until >= Stage::Train) {
        beforehand::private_batch(&plan, job).with_context(|| format!("model {}", job.name))?;
    }
    if until >= Stage::Sample {
        let device = session.engine.device;
        beforehand::networks(run, &plan, images.set().shape(), device)?;
    }
    let told = Arc::clone(&session.reporter);
    let whole = Whole::of(run, &plan, &images, (until, after), *learnt, told)?;
    let whole = Arc::new(whole);
    let session = &Session {
        reporter: Arc::clone(&whole) as Arc<dyn Reporter>,
        ..session.clone()
    };
    // Known once the run's own models are trained: its models may start from one of them.
    let shadow: OnceCell<Shadow> = OnceCell::new();
    let stages: [(Stage, &dyn Fn() -> Result<bool>); 3] = [
        (Stage::Train, &|| {
            whole.enter(Part::Train);
            if !trainings::all(run, &plan, session)? {
                return Ok(false);
            }
            if !shadowed {
                return Ok(true);
            }
            let prepared = Shadow::prepare(run, &plan, &images, session)?;
            session.say(&format!("shadow run {}", prepared.run.0.display()));
            whole.enter(Part::TrainShadow);
            shadow.get_or_init(|| prepared).train(session)
        }),
        (Stage::Sample, &|| {
            whole.enter(Part::Sample);
            if !sample::all(run, &plan, &images, session)? {
                return Ok(false);
            }
            whole.enter(Part::Quality);
            if !utility::all(run, &plan, &images, session)? {
                return Ok(false);
            }
            match shadow.get() {
                Some(shadow) => {
                    whole.enter(Part::SampleShadow);
                    shadow.sample(&plan, session)
                }
                None => Ok(true),
            }
        }),
        (Stage::Attack, &|| {
            whole.enter(Part::Attack);
            if !attack::all(run, &plan, &images, shadow.get(), session)? {
                return Ok(false);
            }
            whole.enter(Part::Controls);
            attack::controls(run, &plan, &images, session)?;
            Ok(true)
        }),
    ];
    for (stage, work) in stages {
        if until < stage {
            *learnt = whole.learnt();
            return Ok(true);
        }
        let at = Instant::now();
        if !work()? {
            return Ok(false);
        }
        session.say(&format!(
            "{:<12} done in {}",
            stage.as_str(),
            duration(at.elapsed())
        ));
    }
    whole.enter(Part::Report);
    *learnt = whole.learnt();
    Ok(true)
}

//! Training one model of an experiment, in one process or as one of several ranks.

use crate::experiment::{Experiment, Source};
use crate::plan::Plan;
use crate::session::Session;
use crate::stages::held::{self, Held};
use crate::stages::train_images::TrainImages;
use crate::stages::{RunFolder, prepare, train};
use anyhow::{Context, Result};
use dualmd_files::limit;
use dualmd_torch::ranks::{Group, Place};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a rank looks for what rank 0 has written, at most: file systems that machines share show it some seconds late.
const SEEN: Duration = Duration::from_secs(60);

/// What to look at where machines see different folders.
const ONE_FOLDER: &str = "every machine has to see the same folder, on a file system that they share, under the name that --out gives";

/// What is to be trained.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The experiment.
    pub source: Source,
    /// Changes of its keys, `train.steps=600`.
    pub sets: Vec<String>,
    /// The model: a name of the experiment, `teacher-1` or `teacher-2`.
    pub model: String,
    /// The run's folder.
    pub out: PathBuf,
    /// Save and return after so many steps; the same call goes on.
    pub max_steps_now: Option<u64>,
    /// Which of several ranks this process is; all of them make the same call.
    pub ranks: Option<Place>,
}

/// Trains (or goes on training) one model in this process. Returns whether it is finished: if not, a checkpoint is written, and
/// the same call goes on.
///
/// # Errors
/// An experiment that cannot be run; a model that it does not have, or whose teachers are not trained yet; ranks that do not come
/// together, or see different folders.
pub fn train(session: &Session, options: &TrainOptions) -> Result<bool> {
    let run = RunFolder(options.out.clone());
    let experiment = Experiment::load(&options.source, &options.sets)?;
    if let Some(place) = options.ranks.as_ref().filter(|place| place.world > 1) {
        return among_ranks(session, options, &experiment, &run, place);
    }
    let _held = Held::run(&run.0, session.reporter.as_ref())?;
    drop(prepare::prepare(&experiment, &run, session)?);
    // What is trained on; the rest of the source, and the file of its pixels, go.
    let (plan, _, images) = prepare::reopen_to_train(&run)?;
    // The plan's share, whatever the machine has: sums, and so the weights' last bits, depend on it.
    let threads = plan.hardware.threads_per_model;
    dualmd_torch::device::set_threads(threads);
    let mut engine = session.engine.to_train(experiment.train.dtype)?;
    engine.threads = threads;
    let job = plan.training(&options.model)?.clone();
    let lock = held::training(&run, &job.name, session.reporter.as_ref(), &session.stop)?;
    let Some(_lock) = lock else {
        return Ok(false);
    };
    train::one(
        &run,
        &plan,
        images,
        &job,
        options.max_steps_now,
        &session.with_engine(engine),
        Rc::new(Group::alone()),
    )
}

/// [`train`] as one of several ranks: rank 0 prepares the folder and holds it, the others read what is there then.
fn among_ranks(
    session: &Session,
    options: &TrainOptions,
    experiment: &Experiment,
    run: &RunFolder,
    place: &Place,
) -> Result<bool> {
    let ranks = Rc::new(Group::open(place, &options.model)?);
    ranks.agree(
        "their program (its version, commit or libtorch)",
        first_bytes(format!("{:?}", crate::machine::versions()).as_bytes()),
        "start the same build of the program on every machine",
    )?;
    let hold = || Held::run(&run.0, session.reporter.as_ref());
    let _held = ranks.leads().then(hold).transpose()?;
    if ranks.leads() {
        prepare::prepare(experiment, run, session)?;
    }
    ranks.barrier()?;
    // Rank 0 as well: what all of them read is the same.
    let found = seen(run, place);
    let agreed = ranks.agree(
        &format!("what they see in {}", run.0.display()),
        u64::from(found.is_ok()),
        ONE_FOLDER,
    );
    // A rank's own reason first.
    let (plan, images) = found?;
    agreed?;
    ranks.agree(
        "the plan in the run's folder",
        first_bytes(&dualmd_files::read(&run.plan(), limit::SETTINGS)?),
        ONE_FOLDER,
    )?;
    let engine = session.engine.to_train(experiment.train.dtype)?;
    let session = session.with_engine(engine.for_rank(place, plan.hardware.threads_per_model));
    let job = plan.training(&options.model)?.clone();
    let hold = || held::training(run, &job.name, session.reporter.as_ref(), &session.stop);
    let lock = ranks.leads().then(hold).transpose()?;
    // Asked to stop while it waited for another training of the model.
    if ranks.any(lock.as_ref().is_some_and(Option::is_none))? {
        return Ok(false);
    }
    train::one(
        run,
        &plan,
        images,
        &job,
        options.max_steps_now,
        &session,
        ranks,
    )
}

/// What rank 0 has prepared, as soon as this machine sees it. The others wait meanwhile, and must not give up first.
fn seen(run: &RunFolder, place: &Place) -> Result<(Plan, TrainImages)> {
    let (began, patience) = (Instant::now(), SEEN.min(place.timeout / 2));
    loop {
        match prepare::reopen_to_train(run) {
            Ok((plan, _, images)) => return Ok((plan, images)),
            Err(_) if began.elapsed() < patience => std::thread::sleep(Duration::from_millis(200)),
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "rank {} of {} on {} has looked for {:.1} s and does not see what rank 0 prepared in {}: {ONE_FOLDER}",
                        place.rank,
                        place.world,
                        crate::machine::host(),
                        began.elapsed().as_secs_f64(),
                        run.0.display()
                    )
                });
            }
        }
    }
}

/// A number that stands for a file.
fn first_bytes(file: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(file).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

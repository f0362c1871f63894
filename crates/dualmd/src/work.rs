//! Taking trainings of a run that other processes take from, too.

use crate::errors;
use crate::experiment::Experiment;
use crate::jobs::{PREPARING, Site, State, sites};
use crate::session::Session;
use crate::stages::claims::{self, LEASE, Taken, Watch};
use crate::stages::held::Held;
use crate::stages::shadow::{self, Shadow};
use crate::stages::trainings::{self, Trained};
use crate::stages::{prepare, prepared};
use anyhow::{Context, Result, anyhow, bail};
use dualmd_files::shown;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a process waits that may be about to be ended together with its training.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks at whether to stop.
const BLINK: Duration = Duration::from_millis(100);
/// Between two looks at what there is to do, at most.
const LOOK: Duration = Duration::from_secs(2);

/// Which trainings are taken, and how long others are waited for.
#[derive(Debug, Clone)]
pub struct WorkOptions {
    /// The folder of a run that is prepared, or of several.
    pub folder: PathBuf,
    /// Take one job only.
    pub once: bool,
    /// How long to wait for others where there is nothing to do; None: until all is done.
    pub wait: Option<Duration>,
    /// A process that gives no sign of life for so long is taken for gone.
    pub lease: Duration,
}

impl WorkOptions {
    /// All jobs of a folder.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            once: false,
            wait: None,
            lease: LEASE,
        }
    }
}

/// Why a worker has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// Every model is trained.
    Done,
    /// It has done the one job that it was asked for.
    One,
    /// Others are at work on these, and were waited for long enough.
    Others(Vec<String>),
    /// It was asked to stop; its training has written a checkpoint.
    Stopped,
}

/// What a worker has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worked {
    /// The models that it trained.
    pub trained: Vec<String>,
    /// Why it has left.
    pub left: Left,
}

/// Takes trainings of a prepared run, one after the other, while other processes take others: on this machine, or any that sees the folder.
///
/// # Errors
/// A folder that is not prepared, or in which a command works alone; a run that was prepared for arithmetic that this machine does not have;
/// trainings that failed, once nothing else is left to do.
pub fn work(session: &Session, options: &WorkOptions) -> Result<Worked> {
    let sites = sites(&options.folder)?;
    let reporter = session.reporter.as_ref();
    let mut folders: Vec<PathBuf> = vec![options.folder.clone()];
    let runs = sites.iter().filter(|site| !is_shadow(site));
    folders.extend(runs.map(|site| site.run.0.clone()));
    // The folder of one run is that run's.
    folders.dedup();
    let held = folders.iter().map(|folder| Held::work(folder, reporter));
    let _held: Vec<Held> = held.collect::<Result<_>>()?;
    for site in &sites {
        check(site, session)?;
    }
    let mut worker = Worker {
        session,
        options,
        sites,
        watch: Watch::new(options.lease),
    };
    let mut trained = Vec::new();
    let left = worker.work(&mut trained)?;
    Ok(Worked { trained, left })
}

/// Is it the shadow of a run? Whoever holds the run holds that, too.
fn is_shadow(site: &Site) -> bool {
    site.place.ends_with(crate::plan::SHADOW)
}

/// Can this machine train what was planned on another one?
fn check(site: &Site, session: &Session) -> Result<()> {
    let (plan, engine) = (&site.plan, session.engine);
    let place = shown(&site.run.0);
    let experiment = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?;
    let format = engine.to_train(experiment.train.dtype)?.precision.name();
    let planned = &plan.hardware;
    if format != planned.dtype {
        bail!(
            "{place} was planned for {} on {}, and train.dtype = \"{}\" is {format} on {}: prepare the run in another folder with a train.dtype \
             that all machines have, or work on others",
            planned.dtype,
            planned.device,
            experiment.train.dtype,
            engine.device_name()
        );
    }
    let device = engine.device_name();
    let kind = |device: &str| device.split(':').next().map(str::to_owned);
    if kind(&device) != kind(&planned.device) {
        session.warn(&format!(
            "warning: {place} was planned for {}, and this is {device}: last digits may differ from those of one machine (--device)",
            planned.device
        ));
    }
    if planned.threads_per_model > engine.threads {
        session.warn(&format!(
            "warning: {place} was planned for {} threads in each training, and there are {} cores here: it will be slow",
            planned.threads_per_model, engine.threads
        ));
    }
    Ok(())
}

/// What there is to do.
enum Next {
    /// The training of a model, place and name, which is claimed.
    Train(usize, String, Taken),
    /// Nothing, while others are at these.
    Wait(Vec<String>),
    /// Nothing.
    Done,
}

struct Worker<'a> {
    session: &'a Session,
    options: &'a WorkOptions,
    sites: Vec<Site>,
    watch: Watch,
}

impl Worker<'_> {
    fn work(&mut self, trained: &mut Vec<String>) -> Result<Left> {
        let mut idle: Option<Instant> = None;
        let mut said = Vec::new();
        loop {
            if self.session.stopped() {
                return Ok(Left::Stopped);
            }
            match self.next()? {
                Next::Done => return Ok(Left::Done),
                Next::Train(index, name, taken) => {
                    idle = None;
                    let label = self.label(index, &name);
                    self.session.say(&format!("{label}: claimed"));
                    match self.train(index, &name, &taken)? {
                        Trained::Done => {
                            trained.push(label);
                            if self.options.once {
                                return Ok(Left::One);
                            }
                        }
                        Trained::Stopped if taken.lost() => self.session.warn(&format!(
                            "{label}: this process was taken for gone, and another one goes on with it"
                        )),
                        Trained::Stopped => return Ok(Left::Stopped),
                        Trained::Failed { error, .. } if self.options.once => {
                            return Err(error);
                        }
                        Trained::Failed { error, .. } => {
                            self.session.warn(&errors::render(&error));
                        }
                    }
                }
                Next::Wait(others) => {
                    let since = *idle.get_or_insert_with(Instant::now);
                    if self
                        .options
                        .wait
                        .is_some_and(|most| since.elapsed() >= most)
                    {
                        return Ok(Left::Others(others));
                    }
                    if said != others {
                        let list = others.join(", ");
                        self.session.say(&format!("waiting for others: {list}"));
                        said = others;
                    }
                    self.pause((self.options.lease / 60).clamp(BLINK, LOOK));
                }
            }
        }
    }

    /// Trains what is claimed. A failure is noted, so that nobody tries again what will fail again.
    fn train(&self, index: usize, name: &str, taken: &Taken) -> Result<Trained> {
        let Site { run, plan, .. } = &self.sites[index];
        let trained = trainings::one(run, plan, name, self.session, &|| !taken.lost())?;
        let (error, killed) = match trained {
            Trained::Failed { error, killed } => (error, killed),
            other => return Ok(other),
        };
        if killed {
            // A job that is over its time or its memory is ended as a whole: then this process is next, and the training has not failed.
            self.pause(GRACE);
        }
        // Who has lost the job fails for want of files that another one replaced, and that is no failure of the training.
        if self.session.stopped() || taken.is_lost(run, name)? {
            return Ok(Trained::Stopped);
        }
        let label = self.label(index, name);
        let error = match claims::note_failure(run, name, &errors::render(&error)) {
            Ok(()) => error.context(format!(
                "{label}: it is not tried again until {} is deleted",
                shown(&run.failed(name))
            )),
            Err(unnoted) => error.context(format!(
                "{label}: it is tried again by others, because its failure could not be noted ({})",
                errors::render(&unnoted)
            )),
        };
        Ok(Trained::Failed { error, killed })
    }

    /// Looks at all jobs and claims the first that can be had.
    fn next(&mut self) -> Result<Next> {
        let (mut others, mut failed, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        self.shadows(&mut others, &mut waiting)?;
        for index in 0..self.sites.len() {
            for (name, state) in self.sites[index].states()? {
                let label = self.label(index, &name);
                match state {
                    State::Done => {}
                    State::Failed { .. } => failed.push(label),
                    State::Waiting { .. } => waiting.push(label),
                    State::Free | State::AtWork { .. } => match self.take(index, &name)? {
                        Some(taken) => return Ok(Next::Train(index, name, taken)),
                        None => others.push(label),
                    },
                }
            }
        }
        if !others.is_empty() {
            return Ok(Next::Wait(others));
        }
        if failed.is_empty() {
            // What somebody finished since its state was looked at holds up nobody at the next look.
            return Ok(match waiting.is_empty() {
                true => Next::Done,
                false => Next::Wait(waiting),
            });
        }
        let held_up = match waiting.is_empty() {
            true => String::new(),
            false => format!("; not trained for want of them: {}", waiting.join(", ")),
        };
        bail!(
            "the training of {} failed{held_up}. `dualmd jobs {}` says why; a training is tried again when its file jobs/NAME.failed is deleted",
            failed.join(", "),
            shown(&self.options.folder)
        )
    }

    /// Claims a training; None if another process has it, or has done it by now.
    fn take(&mut self, index: usize, name: &str) -> Result<Option<Taken>> {
        let site = &self.sites[index];
        let reporter = self.session.reporter.as_ref();
        let taken = claims::take(&site.run, name, &mut self.watch, reporter)?;
        match taken {
            Some(taken) if site.is_open(name)? => Ok(Some(taken)),
            _ => Ok(None),
        }
    }

    /// Adds the shadows that are prepared by now, and prepares those that can be.
    fn shadows(&mut self, others: &mut Vec<String>, waiting: &mut Vec<String>) -> Result<()> {
        let mut found = Vec::new();
        for site in &mut self.sites {
            if !site.shadow_to_come {
                continue;
            }
            let label = shown(&site.place.join(crate::plan::SHADOW)).to_string();
            let its = shadow::folder(&site.run);
            if !prepared::is_there(&its) {
                if !shadow::can_be_prepared(&site.run, &site.plan)? {
                    waiting.push(label);
                    continue;
                }
                let reporter = self.session.reporter.as_ref();
                let taken = claims::take(&site.run, PREPARING, &mut self.watch, reporter)?;
                if taken.is_none() {
                    others.push(label);
                    continue;
                }
                if !prepared::is_there(&its) {
                    prepare_shadow(site, self.session)?;
                }
            }
            site.shadow_to_come = false;
            let shadow = site.shadow(&self.options.folder)?;
            check(&shadow, self.session)?;
            found.push(shadow);
        }
        self.sites.extend(found);
        Ok(())
    }

    fn label(&self, index: usize, name: &str) -> String {
        shown(&self.sites[index].place.join(name)).to_string()
    }

    /// Waits, unless asked to stop.
    fn pause(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time && !self.session.stopped() {
            std::thread::sleep(BLINK.min(time));
        }
    }
}

/// Prepares the shadow of a run whose base is trained. Its members were drawn when the run was prepared.
fn prepare_shadow(site: &Site, session: &Session) -> Result<()> {
    let split = shadow::folder(&site.run).split();
    if !split.is_file() {
        return Err(anyhow!(
            "{} is not there: prepare the run again (`dualmd run ... --until split`)",
            shown(&split)
        ));
    }
    let (plan, _, images) = prepare::reopen(&site.run)?;
    session.say(&format!(
        "preparing {}",
        shown(&shadow::folder(&site.run).0)
    ));
    Shadow::prepare(&site.run, &plan, &images, session)
        .map(drop)
        .with_context(|| format!("the shadow of {}", shown(&site.run.0)))
}

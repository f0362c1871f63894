//! All trainings of a plan, side by side; or one of them.
//!
//! How one is started is the session's business ([`crate::launcher`]): mostly it is a process of its own with its own share of
//! the cores.

use super::train::finished;
use super::{RunFolder, claims, create_folder};
use crate::errors;
use crate::launcher::{Ended, Heard, Running, Training};
use crate::plan::{Job, Plan};
use crate::reporter::{Reporter, duration};
use crate::session::Session;
use anyhow::{Result, anyhow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

/// How a training's own error begins on its standard error; see [`crate::errors::render`].
const ERROR: &str = "error: ";
/// Lines that are kept of a training that says no error.
const LAST_WORDS: usize = 8;
/// What is done with a training before its first step.
const STARTING: &str = "starting";
/// Between two looks at what runs.
const PAUSE: Duration = Duration::from_millis(200);
/// How the status of a process begins that was ended by the operating system, or by who manages the machine.
const KILLED: &str = "signal: 9";

/// Trains all models of a plan. Returns false if asked to stop before the end.
pub fn all(run: &RunFolder, plan: &Plan, session: &Session) -> Result<bool> {
    let mut done: Vec<String> = Vec::new();
    for job in &plan.trainings {
        if finished(run, plan, &job.name)? {
            claims::forget_failure(run, &job.name)?;
            done.push(job.name.clone());
        }
    }
    create_folder(&run.0.join("logs"))?;
    let reporter = session.reporter.as_ref();
    let mut running: Vec<Started> = Vec::new();
    let mut started: Vec<String> = Vec::new();
    let mut failure: Option<anyhow::Error> = None;
    let mut reasons = Reasons::default();
    let (send, receive) = mpsc::channel::<Heard>();
    loop {
        if failure.is_none() && !session.stopped() {
            let next: Vec<Job> = plan
                .ready(&done, |name| started.iter().any(|s| s == name))
                .cloned()
                .collect();
            for job in next {
                if running.len() >= plan.hardware.parallel_models {
                    break;
                }
                running.push(Started {
                    training: start(run, plan, &job.name, session, &send)?,
                    name: job.name.clone(),
                    began: Instant::now(),
                });
                started.push(job.name);
            }
        }
        if running.is_empty() {
            break;
        }
        if let Ok(heard) = receive.recv_timeout(PAUSE) {
            reasons.hear(heard, reporter);
        }
        if failure.is_some() || session.stopped() {
            running.iter_mut().for_each(|t| t.training.ask_to_stop());
        }
        let mut index = 0;
        while index < running.len() {
            let Some(ended) = running[index].training.ended()? else {
                index += 1;
                continue;
            };
            let Started { name, began, .. } = running.swap_remove(index);
            while let Ok(heard) = receive.try_recv() {
                reasons.hear(heard, reporter);
            }
            reasons.moves(&name, reporter);
            match ended {
                Ended::Well if finished(run, plan, &name)? => {
                    let took = duration(began.elapsed());
                    reporter.finished(&name, &format!("trained in {took}"));
                    claims::forget_failure(run, &name)?;
                    done.push(name);
                }
                Ended::Well => reporter.finished(&name, "stopped, checkpoint written"),
                Ended::Failed(status) => {
                    reporter.finished(&name, "failed");
                    let error = failed(&name, &status, &reasons.of(&name));
                    match failure {
                        // The first one is what this call ends with.
                        Some(_) => reporter.warn(&errors::render(&error)),
                        None => failure = Some(error),
                    }
                }
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(done.len() == plan.trainings.len()),
    }
}

/// How one training ended.
#[derive(Debug)]
pub enum Trained {
    /// The model is there.
    Done,
    /// It was asked to stop, and has written its checkpoint.
    Stopped,
    /// It failed.
    Failed {
        /// Why.
        error: anyhow::Error,
        /// It was ended from outside, mostly for want of memory.
        killed: bool,
    },
}

/// Trains one model of a plan, whose needs are trained, until it is done or `wanted` says no.
///
/// # Errors
/// It cannot be started or watched.
pub fn one(
    run: &RunFolder,
    plan: &Plan,
    name: &str,
    session: &Session,
    wanted: &dyn Fn() -> bool,
) -> Result<Trained> {
    create_folder(&run.0.join("logs"))?;
    let (reporter, began) = (session.reporter.as_ref(), Instant::now());
    let mut reasons = Reasons::default();
    // The sender stays, or there would be nothing to wait for once the training has said its last word.
    let (send, receive) = mpsc::channel::<Heard>();
    let mut training = start(run, plan, name, session, &send)?;
    let ended = loop {
        if let Ok(heard) = receive.recv_timeout(PAUSE) {
            reasons.hear(heard, reporter);
        }
        if session.stopped() || !wanted() {
            training.ask_to_stop();
        }
        if let Some(ended) = training.ended()? {
            break ended;
        }
    };
    while let Ok(heard) = receive.try_recv() {
        reasons.hear(heard, reporter);
    }
    reasons.moves(name, reporter);
    let (note, trained) = match ended {
        Ended::Well if finished(run, plan, name)? => {
            let note = format!("trained in {}", duration(began.elapsed()));
            (note, Trained::Done)
        }
        Ended::Well => ("stopped, checkpoint written".to_owned(), Trained::Stopped),
        Ended::Failed(status) => {
            let error = failed(name, &status, &reasons.of(name));
            let killed = status.starts_with(KILLED);
            ("failed".to_owned(), Trained::Failed { error, killed })
        }
    };
    reporter.finished(name, &note);
    Ok(trained)
}

/// Starts a training. One that is alone has the machine to itself only if its thread count does not matter: it keeps its planned share,
/// so that the result does not depend on what ran beside it.
fn start(
    run: &RunFolder,
    plan: &Plan,
    name: &str,
    session: &Session,
    tell: &Sender<Heard>,
) -> Result<Box<dyn Running>> {
    let training = Training {
        run: run.clone(),
        model: name.to_owned(),
        device: session.engine.device_name(),
        threads: plan.hardware.threads_per_model,
    };
    // Its network is made or opened, and its images or texts are encoded.
    session.reporter.begins(name, STARTING);
    session.launcher.start(training, tell.clone())
}

struct Started {
    training: Box<dyn Running>,
    name: String,
    began: Instant,
}

/// What is known of trainings from what they say.
#[derive(Default)]
struct Reasons {
    /// Lines of each that may be the reason of its failure.
    lines: BTreeMap<String, Vec<String>>,
    /// Those that have made a step, or are over.
    moving: BTreeSet<String>,
}

impl Reasons {
    /// A training has made a step, or is over: it starts no more.
    fn moves(&mut self, model: &str, reporter: &dyn Reporter) {
        if self.moving.insert(model.to_owned()) {
            reporter.ends(model, STARTING);
        }
    }

    /// Hands on what was heard, and keeps what may be a reason.
    fn hear(&mut self, heard: Heard, reporter: &dyn Reporter) {
        match heard {
            Heard::Event(event) => {
                self.moves(&event.model, reporter);
                reporter.progress(&event);
            }
            Heard::Said(text) => reporter.say(&text),
            Heard::Reason { model, line } => self.keep(model, line, reporter),
        }
    }

    /// Keeps a training's line for the end, where it may be the reason of a failure, and shows it unless it is about to be told as
    /// one.
    fn keep(&mut self, model: String, line: String, reporter: &dyn Reporter) {
        let lines = self.lines.entry(model).or_default();
        // An error's lines are the last: what came before them is no part of the reason.
        if line.starts_with(ERROR) {
            lines.clear();
        }
        let telling =
            line.starts_with(ERROR) || lines.first().is_some_and(|l| l.starts_with(ERROR));
        if !telling {
            reporter.say(&line);
            // A few lines will do where no error is told: the end of a panic, or of a library's own words.
            if lines.len() == LAST_WORDS {
                lines.remove(0);
            }
        }
        lines.push(line);
    }

    /// What is kept of one training.
    fn of(&mut self, model: &str) -> Vec<String> {
        self.lines.remove(model).unwrap_or_default()
    }
}

/// The failure of a training: its own reasons, whatever was shown of them before.
fn failed(model: &str, status: &str, said: &[String]) -> anyhow::Error {
    let what = format!("the training of {model} failed ({status})");
    // A warning is no reason: a process that was killed has said none.
    let told = said.first().is_some_and(|line| line.starts_with(ERROR));
    let lines = said
        .iter()
        .filter(|line| told || !line.starts_with("warning: "));
    let text = lines.map(String::as_str).collect::<Vec<_>>().join("\n");
    let text = text.strip_prefix(ERROR).unwrap_or(&text).trim();
    if text.is_empty() {
        return anyhow!(
            "{what} and left no message; a process that is ended by signal 9 has mostly run out of memory: give it more, or a \
             smaller train.batch"
        );
    }
    // One cause a line, the last the deepest: as `errors::render` told them there.
    let mut causes = text
        .split("\n  because: ")
        .collect::<Vec<_>>()
        .into_iter()
        .rev();
    let deepest = anyhow!(causes.next().unwrap_or_default().to_owned());
    causes
        .fold(deepest, |error, cause| error.context(cause.to_owned()))
        .context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reporter::{ProgressEvent, Silent};

    fn told(lines: &[&str]) -> String {
        let mut reasons = Reasons::default();
        for line in lines {
            reasons.keep("student".into(), (*line).into(), &Silent);
        }
        let said = reasons.of("student");
        errors::render(&failed("student", "exit status: 1", &said))
    }

    #[test]
    fn a_training_starts_until_its_first_step() {
        #[derive(Default)]
        struct Noted(std::sync::Mutex<Vec<String>>);
        impl Noted {
            fn note(&self, what: &str, model: &str) {
                self.0.lock().unwrap().push(format!("{what} {model}"));
            }
        }
        impl Reporter for Noted {
            fn progress(&self, event: &ProgressEvent) {
                self.note("step", &event.model);
            }
            fn finished(&self, _: &str, _: &str) {}
            fn ends(&self, model: &str, task: &str) {
                self.note(task, model);
            }
            fn say(&self, _: &str) {}
            fn warn(&self, _: &str) {}
        }
        let (noted, mut reasons) = (Noted::default(), Reasons::default());
        for _ in 0..2 {
            let event = ProgressEvent::images("a", 1, 2, Instant::now());
            reasons.hear(Heard::Event(event), &noted);
        }
        // One that ends without a step.
        reasons.moves("b", &noted);
        reasons.moves("a", &noted);
        let said = noted.0.into_inner().unwrap();
        assert_eq!(said, ["starting a", "step a", "step a", "starting b"]);
    }

    #[test]
    fn the_reason_of_a_failed_training_is_in_its_error() {
        assert_eq!(
            told(&[
                "warning: something else",
                "error: cannot write the checkpoint",
                "  because: checkpoints/student",
                "    is on a full disk",
                "  because: No space left on device",
            ]),
            "error: the training of student failed (exit status: 1)\n  because: cannot write the checkpoint\n  \
             because: checkpoints/student\n        is on a full disk\n  because: No space left on device"
        );
        // A panic, or a library that ends the process: its last words.
        let text = told(&["terminate called", "what(): out of memory"]);
        assert!(
            text.contains(
                "because: terminate called\n    what(): out of memory\n  remedy: there is not enough memory"
            ),
            "{text}"
        );
        assert!(told(&[]).contains("left no message"));
        assert!(told(&["warning: something else"]).contains("left no message"));
        let many: Vec<String> = (0..100).map(|i| format!("line {i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let text = told(&many);
        assert!(
            text.contains("line 99") && !text.contains("line 50"),
            "{text}"
        );
    }
}

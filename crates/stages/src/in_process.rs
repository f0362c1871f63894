//! Trainings in this process, which is how a new session starts them.

use crate::engine::Engine;
use crate::errors;
use crate::launcher::{Ended, Heard, Launcher, Running, Training};
use crate::reporter::{ProgressEvent, Reporter, Silent};
use crate::session::Session;
use crate::train;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

impl Session {
    /// A session that tells nobody anything and trains in this process.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            reporter: Arc::new(Silent),
            stop: Arc::new(AtomicBool::new(false)),
            launcher: Arc::new(InProcess),
            command: crate::machine::call(),
            auditor: None,
        }
    }
}

/// Every training is a thread of this process: for programs that call this crate and have no `dualmd` beside them.
#[derive(Debug, Clone, Copy, Default)]
pub struct InProcess;

impl Launcher for InProcess {
    fn start(&self, training: Training, tell: Sender<Heard>) -> Result<Box<dyn Running>> {
        let stop = Arc::new(AtomicBool::new(false));
        let model = training.model.clone();
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("training-{model}"))
            .spawn(move || {
                let model = training.model.clone();
                let done = dualmd_torch::caught(|| threaded(training, asked, &tell));
                let done = done.map_err(anyhow::Error::from).flatten();
                if let Err(error) = &done {
                    for line in errors::render(error).lines() {
                        let line = line.to_owned();
                        let model = model.clone();
                        // Whoever does not listen any more has no use for the reason.
                        let _ = tell.send(Heard::Reason { model, line });
                    }
                }
                done.is_ok()
            })
            .with_context(|| format!("cannot start the training of {model}"))?;
        Ok(Box::new(Thread {
            stop,
            thread: Some(thread),
        }))
    }
}

/// Trains in this thread.
fn threaded(training: Training, stop: Arc<AtomicBool>, tell: &Sender<Heard>) -> Result<()> {
    let engine = Engine::new(&training.device, None, training.threads)?;
    let session = Session {
        stop,
        reporter: Arc::new(Relayed(tell.clone())),
        ..Session::new(engine)
    };
    train::prepared(&training.run, &training.model, None, &session, None, || {
        true
    })
    .map(drop)
}

/// Says it to whoever started the training.
struct Relayed(Sender<Heard>);

impl Reporter for Relayed {
    fn progress(&self, event: &ProgressEvent) {
        let _ = self.0.send(Heard::Event(event.clone()));
    }
    fn finished(&self, _: &str, _: &str) {}
    fn say(&self, text: &str) {
        let _ = self.0.send(Heard::Said(text.to_owned()));
    }
    fn warn(&self, text: &str) {
        self.say(text);
    }
}

struct Thread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<bool>>,
}

impl Running for Thread {
    fn ask_to_stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn ended(&mut self) -> Result<Option<Ended>> {
        let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) else {
            return Ok(None);
        };
        Ok(Some(match thread.join() {
            Ok(true) => Ended::Well,
            Ok(false) => Ended::Failed("in this process".into()),
            Err(_) => Ended::Failed("panicked".into()),
        }))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

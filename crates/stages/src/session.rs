//! What every call works with: an engine, somebody to tell, a way to be stopped, and a way to start trainings.

use crate::engine::Engine;
use crate::launcher::Launcher;
use crate::reporter::Reporter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What every call works with. Cloning it is cheap: the clones share reporter, flag and launcher.
#[derive(Clone)]
pub struct Session {
    /// Device, arithmetic and threads.
    pub engine: Engine,
    /// Who hears how far the work is.
    pub reporter: Arc<dyn Reporter>,
    /// Raised by whoever wants the work to end: it saves what it has and returns, and the same call goes on there.
    pub stop: Arc<AtomicBool>,
    /// How trainings are started.
    pub launcher: Arc<dyn Launcher>,
    /// The command that repeats the work, as one would type it: it is kept in the plan.
    pub command: String,
    /// Who does it, for the plan and the report.
    pub auditor: Option<String>,
}

impl Session {
    /// The same with another engine.
    #[must_use]
    pub fn with_engine(&self, engine: Engine) -> Self {
        Self {
            engine,
            ..self.clone()
        }
    }

    /// The same in the name of somebody.
    #[must_use]
    pub fn by(self, auditor: Option<String>) -> Self {
        Self { auditor, ..self }
    }

    /// Was it asked to stop?
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Tells a line about what is being done.
    pub fn say(&self, text: &str) {
        self.reporter.say(text);
    }

    /// Tells a line that a user has to hear.
    pub fn warn(&self, text: &str) {
        self.reporter.warn(text);
    }
}

//! A library session as the common flags have it.

use crate::signals;
use anyhow::Result;
use dualmd::launcher::Program;
use dualmd::{Engine, Session, machine};
use dualmd_front::args::Global;
use dualmd_front::progress::Terminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// For work that looks at `stop` between its steps: SIGINT and SIGTERM ask it to stop.
///
/// # Errors
/// A device that this build or machine does not have; the operating system refuses the handlers.
pub fn session(global: &Global) -> Result<Session> {
    with(global, signals::stop_flag()?)
}

/// For work of a moment: SIGINT and SIGTERM end the process.
///
/// # Errors
/// As [`session`].
pub fn short_session(global: &Global) -> Result<Session> {
    with(global, Arc::new(AtomicBool::new(false)))
}

fn with(global: &Global, stop: Arc<AtomicBool>) -> Result<Session> {
    let threads = global.threads.unwrap_or_else(machine::cores);
    let engine = Engine::new(&global.device, global.dtype, threads)?;
    let session = Session {
        engine,
        reporter: Arc::new(Terminal::new(global)),
        stop,
        launcher: Arc::new(Program::this()?),
        command: machine::call(),
        auditor: None,
    };
    session.reporter.detail(&engine.to_string());
    Ok(session)
}

//! Leaving in good order: SIGINT and SIGTERM ask for it, a second one insists.
//!
//! A run has one parent and several training processes. Only the parent listens to the terminal: it starts each child in
//! a process group of its own (`CommandExt::process_group(0)`) with a pipe as stdin, and the child calls
//! [`stop_with_parent`]. To stop a child, the parent drops the pipe. The same happens by itself when the parent dies, even
//! by SIGKILL, so no training goes on unattended; and a Ctrl-C never reaches a child twice, which would make it leave
//! without its checkpoint.

use anyhow::{Context, Error, Result};
use dualmd::errors::INTERRUPTED;
use dualmd::reporter::Reporter;
use dualmd::stages::generator;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says that a stopped command goes on in `place`, and the status to leave with.
pub fn stopped(place: &Path, reporter: &dyn Reporter) -> ExitCode {
    reporter.warn(&format!(
        "stopped; nothing is lost. The same command goes on where this one left off ({})",
        place.display()
    ));
    ExitCode::from(INTERRUPTED)
}

/// As [`stopped`], where `error` says that the command was stopped and no more is known: what it finished is in `place`.
///
/// # Errors
/// `error`, where it is another one.
pub fn goes_on(error: Error, place: &Path, reporter: &dyn Reporter) -> Result<ExitCode> {
    if !generator::stopped(&error) {
        return Err(error);
    }
    reporter.warn(&format!(
        "stopped; the same command goes on with what this one finished ({})",
        place.display()
    ));
    Ok(ExitCode::from(INTERRUPTED))
}

/// A flag that the first SIGINT or SIGTERM raises: loops look at it between steps, save and leave. The second signal ends
/// the process at once with status 130. A child's parent may have raised the flag before ([`stop_with_parent`]): that is no signal. Slurm
/// sends one to every process of a job, and the parent may be the quicker one.
///
/// # Errors
/// The operating system refuses the handlers.
pub fn stop_flag() -> Result<Arc<AtomicBool>> {
    let (stop, heard) = (Arc::default(), Arc::default());
    for signal in [SIGINT, SIGTERM] {
        // Order matters: the shutdown looks at the flag before this very signal raises it.
        flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&heard))
            .and_then(|_| flag::register(signal, Arc::clone(&heard)))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("cannot install the handlers of SIGINT and SIGTERM")?;
    }
    Ok(stop)
}

/// In a child process: raises `stop` when `stdin` ends, that is when the parent closes it or dies.
///
/// # Errors
/// The operating system refuses a thread.
pub fn stop_with_parent(
    mut stdin: impl Read + Send + 'static,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    std::thread::Builder::new()
        .name("parent-watch".into())
        .spawn(move || {
            let mut buffer = [0_u8; 64];
            loop {
                match stdin.read(&mut buffer) {
                    Ok(n) if n > 0 => {}
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
            stop.store(true, Ordering::Relaxed);
        })
        .context("cannot watch the parent process")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd::reporter::ProgressEvent;
    use dualmd_diffusion::DiffusionError;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    fn raised(stop: &AtomicBool) -> bool {
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if start.elapsed() > Duration::from_secs(5) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Reporter for Heard {
        fn progress(&self, _: &ProgressEvent) {}
        fn finished(&self, _: &str, _: &str) {}
        fn say(&self, _: &str) {}
        fn warn(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn a_stop_is_no_failure_and_says_what_goes_on() {
        let heard = Heard::default();
        let place = Path::new("my-audit");
        let code = goes_on(DiffusionError::Stopped.into(), place, &heard).unwrap();
        let wanted = ExitCode::from(INTERRUPTED);
        assert_eq!(format!("{code:?}"), format!("{wanted:?}"));
        let said = heard.0.lock().unwrap().join("\n");
        assert!(
            said.contains("the same command goes on") && said.contains("my-audit"),
            "{said}"
        );
        assert!(goes_on(anyhow::anyhow!("disk full"), place, &heard).is_err());
    }

    #[test]
    fn the_first_signal_raises_the_flag_and_ends_no_child_whose_parent_was_quicker() {
        let stop = stop_flag().unwrap();
        assert!(!stop.load(Ordering::Relaxed));
        let child = stop_flag().unwrap();
        // As the end of its stdin does. A second signal would end this process.
        child.store(true, Ordering::Relaxed);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(raised(&stop));
    }

    #[test]
    fn the_end_of_stdin_raises_the_flag() {
        let (read, write) = std::io::pipe().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        stop_with_parent(read, Arc::clone(&stop)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(!stop.load(Ordering::Relaxed));
        drop(write);
        assert!(raised(&stop));
    }
}

//! One process at a time in a folder, and what a killed one left there.
//!
//! A run's folder is held by the command that works in it; the trainings that it starts do not take the lock again. They
//! outlive a parent that is killed, by the step and the checkpoint that they are at: each holds its own `checkpoints/NAME`,
//! and whoever goes on with the run waits for them before it touches anything.
//!
//! Processes that do parts of one work (`--part K/N`) share the lock: any number of them, and meanwhile nobody alone. None of them removes
//! what looks unfinished, since another one may be writing it. So do workers that train models of one run; what each is at, its claim says
//! ([`claims`]), which also keeps others out where locks do not reach all machines.

use crate::claims;
use crate::reporter::Reporter;
use anyhow::Result;
use dualmd_experiment::plan::SHADOW;
use dualmd_files::{Error, HIDDEN, Lock, create_folder, create_private_folder};
use dualmd_record::RunFolder;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Folder of a run with the images that its trainings read.
pub const PREPARED: &str = "prepared";

/// Folders of a run, all that is in them being the program's own.
const PARTS: [&str; 14] = [
    PREPARED,
    claims::FOLDER,
    "models",
    "checkpoints",
    "logs",
    "tensorboard",
    "samples",
    "scores",
    "sets",
    "utility",
    "exposed",
    "encoded",
    "memorisation",
    "phi",
];

/// Nobody writes one file for as long.
const OLD: Duration = Duration::from_secs(3600);

/// A folder or file that this command alone, or together with others that share it, works on until this is dropped.
#[derive(Debug)]
pub struct Held {
    lock: Option<Lock>,
    /// A folder that was made to be held.
    made: Option<PathBuf>,
}

impl Held {
    /// Takes the folder of a run or an audit, which is made if it is not there; waits for trainings of a killed run that write
    /// their last checkpoint, and until claims of workers turn out to be those of dead ones; removes what killed processes left.
    ///
    /// # Errors
    /// Another command works there: the message says which. A folder that cannot be written to.
    pub fn run(folder: &Path, reporter: &dyn Reporter) -> Result<Self> {
        let held = Self::folder(folder, &PARTS, reporter)?;
        let shadow = folder.join(SHADOW);
        if shadow.is_dir() {
            drop(Self::folder(&shadow, &PARTS, reporter)?);
        }
        Ok(held)
    }

    /// Takes any folder that a command writes to, its owner's alone where it is new; of the folders in it, `parts` are the
    /// program's own.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn folder(folder: &Path, parts: &[&str], reporter: &dyn Reporter) -> Result<Self> {
        let made = (!folder.exists()).then(|| folder.to_path_buf());
        create_private_folder(folder)?;
        Self::made(folder, made, parts, reporter)
    }

    /// As [`folder`](Self::folder), for what others may see, too.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn open_folder(folder: &Path, reporter: &dyn Reporter) -> Result<Self> {
        let made = (!folder.exists()).then(|| folder.to_path_buf());
        create_folder(folder)?;
        Self::made(folder, made, &[], reporter)
    }

    fn made(
        folder: &Path,
        made: Option<PathBuf>,
        parts: &[&str],
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let held = Self {
            lock: Some(Lock::take(folder, &who())?),
            made,
        };
        if parts.contains(&claims::FOLDER) {
            claims::settle(&RunFolder(folder.to_path_buf()), reporter)?;
        }
        if !held.certain(folder, reporter) {
            // What a killed process left looks like what another one is writing.
            return Ok(held);
        }
        let orphans = trainings(folder, reporter)?;
        sweep(folder, parts)?;
        drop(orphans);
        Ok(held)
    }

    /// Takes one file that a command writes, and the others of its stem. Its folder may be others', too: of what is unfinished
    /// there only what is old goes, since nobody writes a file for an hour.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn file(path: &Path, reporter: &dyn Reporter) -> Result<Self> {
        let held = Self {
            lock: Some(Lock::of_file(path, &who())?),
            made: None,
        };
        held.certain(path, reporter);
        for path in dualmd_files::list(dualmd_files::parent(path))? {
            let written = std::fs::symlink_metadata(&path).and_then(|m| m.modified());
            let old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD));
            if is_hidden(&path) && old {
                dualmd_files::remove_folder(&path)?;
            }
        }
        Ok(held)
    }

    /// Takes the folder of an audit together with other processes that do parts of it; it is made, its owner's alone, if it is not there.
    ///
    /// # Errors
    /// A command works there alone: the message says which. A folder that cannot be written to.
    pub fn share(folder: &Path, reporter: &dyn Reporter) -> Result<Self> {
        create_private_folder(folder)?;
        Ok(Self::shared(Lock::share(folder, &who())?, folder, reporter))
    }

    /// As [`share`](Self::share), for what others than its owner may see, too.
    ///
    /// # Errors
    /// As [`share`](Self::share).
    pub fn share_open_folder(folder: &Path, reporter: &dyn Reporter) -> Result<Self> {
        create_folder(folder)?;
        Ok(Self::shared(Lock::share(folder, &who())?, folder, reporter))
    }

    /// As [`file`](Self::file), together with other processes that do parts of what the file will hold.
    ///
    /// # Errors
    /// As [`share`](Self::share).
    pub fn share_file(path: &Path, reporter: &dyn Reporter) -> Result<Self> {
        Ok(Self::shared(
            Lock::share_file(path, &who())?,
            path,
            reporter,
        ))
    }

    /// Takes the folder of a run together with other processes that train models of it.
    ///
    /// # Errors
    /// As [`share`](Self::share).
    pub fn work(folder: &Path, reporter: &dyn Reporter) -> Result<Self> {
        let who = format!("{}, on {}", who(), crate::machine::host());
        let lock = Lock::share(folder, &who)?;
        if !lock.is_certain() {
            reporter.warn(&format!(
                "warning: {}: this file system has no locks: a worker that dies is noticed after the lease only (--lease)",
                dualmd_files::shown(folder)
            ));
        }
        Ok(Self {
            lock: Some(lock),
            made: None,
        })
    }

    fn shared(lock: Lock, place: &Path, reporter: &dyn Reporter) -> Self {
        if !lock.is_certain() {
            reporter.warn(&format!(
                "warning: {}: this file system has no locks, so nothing keeps the call without --part out; start it when all parts have ended",
                dualmd_files::shown(place)
            ));
        }
        Self {
            lock: Some(lock),
            made: None,
        }
    }

    /// False, with a warning, where the file system has no locks.
    fn certain(&self, place: &Path, reporter: &dyn Reporter) -> bool {
        let certain = self.lock.as_ref().is_some_and(Lock::is_certain);
        if !certain {
            reporter.warn(&format!(
                "warning: {}: this file system has no locks, so nothing keeps a second dualmd out; start none there before this one has ended",
                dualmd_files::shown(place)
            ));
        }
        certain
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.lock.take());
        // A command that was refused leaves no empty folder; one with something in it is not removed by this.
        if let Some(made) = &self.made {
            let _ = std::fs::remove_dir(made);
        }
    }
}

/// Takes `checkpoints/NAME` of a run for the training of a model: it waits for another one, which is that of a run that was
/// killed and writes its checkpoint. None if asked to stop while it waits.
///
/// # Errors
/// The folder cannot be written to.
pub fn training(
    run: &RunFolder,
    name: &str,
    reporter: &dyn Reporter,
    stop: &AtomicBool,
) -> Result<Option<Lock>> {
    let folder = run.checkpoints(name);
    create_folder(&folder)?;
    wait_for(&folder, reporter, || stop.load(Ordering::Relaxed))
}

/// Waits for all trainings of a folder that outlived their run.
fn trainings(folder: &Path, reporter: &dyn Reporter) -> Result<Vec<Lock>> {
    let checkpoints = folder.join("checkpoints");
    if !checkpoints.is_dir() {
        return Ok(Vec::new());
    }
    let mut locks = Vec::new();
    for path in dualmd_files::list(&checkpoints)? {
        if path.is_dir() && !is_hidden(&path) {
            locks.extend(wait_for(&path, reporter, || false)?);
        }
    }
    Ok(locks)
}

fn wait_for(
    folder: &Path,
    reporter: &dyn Reporter,
    stop: impl Fn() -> bool,
) -> Result<Option<Lock>> {
    let mut said = false;
    loop {
        match Lock::take(folder, &who()) {
            Err(Error::Locked { who, .. }) => {
                if stop() {
                    return Ok(None);
                }
                if !said {
                    said = true;
                    reporter.warn(&format!(
                        "waiting for the training in {}, which outlived its run and writes a checkpoint: {who}",
                        dualmd_files::shown(folder)
                    ));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return Ok(Some(other?)),
        }
    }
}

/// Removes hidden files and folders that were not finished, from a folder and those of its folders that are the program's own.
fn sweep(folder: &Path, parts: &[&str]) -> Result<()> {
    for path in dualmd_files::list(folder)? {
        if is_hidden(&path) {
            dualmd_files::remove_folder(&path)?;
        }
    }
    for part in parts {
        let path = folder.join(part);
        // Not through a link: what it leads to is not under this lock.
        if std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            dualmd_files::sweep(&path)?;
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(HIDDEN.as_bytes())
}

/// What another process is told of this one.
fn who() -> String {
    format!(
        "{}, since {}",
        crate::machine::command_line(),
        crate::machine::now()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reporter::Silent;

    #[test]
    fn a_second_command_is_told_of_the_first_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let first = Held::run(&run, &Silent).unwrap();
        let said = format!("{:#}", Held::run(&run, &Silent).unwrap_err());
        let own = format!("run is in use by process {} (", std::process::id());
        assert!(said.contains(&own) && said.contains("since 20"), "{said}");
        assert!(!said.contains('\n'), "{said}");
        assert!(run.is_dir());
        drop(first);
        assert!(!run.exists(), "made to be held, and nothing was written");
        drop(Held::run(&run, &Silent).unwrap());
    }

    #[test]
    fn those_that_share_a_folder_sweep_nothing_and_let_nobody_in_alone() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let first = Held::share(&run, &Silent).unwrap();
        let partial = run.join(".partial-a");
        std::fs::write(&partial, b"").unwrap();
        let second = Held::share(&run, &Silent).unwrap();
        assert!(partial.exists());
        assert!(Held::run(&run, &Silent).is_err());
        drop(first);
        assert!(Held::run(&run, &Silent).is_err());
        drop(second);
        let alone = Held::run(&run, &Silent).unwrap();
        assert!(!partial.exists());
        assert!(Held::share(&run, &Silent).is_err());
        drop(alone);
        let csv = dir.path().join("scores.csv");
        let part = Held::share_file(&csv, &Silent).unwrap();
        assert!(Held::file(&csv, &Silent).is_err());
        drop(part);
        drop(Held::file(&csv, &Silent).unwrap());
    }

    #[test]
    fn what_killed_processes_left_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (run, path) = (dir.path().join("run"), |name: &str| dir.path().join(name));
        let inside = [
            "run/.partial-a",
            "run/models/.partial-b/unet/x",
            "run/scores/baseline.parts/.partial-c",
            "run/checkpoints/one/.partial-10/x",
            "run/shadow/models/.partial-d/x",
        ];
        let others = [
            "run/notes/.partial-mine",
            "run/models/baseline/x",
            "elsewhere/.partial-e",
            "run/seed-4/.partial-of-another-run",
        ];
        for name in inside.iter().chain(&others) {
            create_folder(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), b"").unwrap();
        }
        std::os::unix::fs::symlink(path("elsewhere"), path("run/samples")).unwrap();
        drop(Held::run(&run, &Silent).unwrap());
        assert_eq!(inside.map(|name| path(name).exists()), [false; 5]);
        assert_eq!(others.map(|name| path(name).exists()), [true; 4]);
        let hidden = dualmd_files::list(&run.join("models")).unwrap();
        assert_eq!(hidden, [run.join("models/baseline")]);
    }

    #[test]
    fn trainings_that_outlived_their_run_are_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder(dir.path().to_path_buf());
        let no = AtomicBool::new(false);
        let orphan = training(&run, "baseline", &Silent, &no).unwrap();
        let partial = run.checkpoints("baseline").join(".partial-x");
        std::fs::write(&partial, b"").unwrap();
        // A second training is asked to stop while it waits.
        assert!(
            training(&run, "baseline", &Silent, &AtomicBool::new(true))
                .unwrap()
                .is_none()
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                assert!(partial.exists(), "swept while it was written");
                drop(orphan);
            });
            drop(Held::run(&run.0, &Silent).unwrap());
        });
        assert!(!partial.exists());
        assert!(training(&run, "baseline", &Silent, &no).unwrap().is_some());
    }
}

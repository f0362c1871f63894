//! Who trains which model of a run, where several processes share its trainings (`dualmd work`).
//!
//! A claim is a file, `jobs/NAME.claim`, that its owner renews while it trains. Whoever wants the job watches the file: one that has not changed
//! for a lease, by the watcher's own clock, is of a process that is gone, and is taken over. So no two clocks are compared. Where the file system
//! has locks the owner holds one as well, and one that died on this machine is noticed at once.
//!
//! A claim only saves work. Two processes that train one model in spite of it write the same checkpoints, whole ones, and
//! where there are locks the second waits for the first ([`crate::held::training`]).

use crate::machine;
use crate::reporter::Reporter;
use crate::{create_folder, remove};
use anyhow::{Context, Result, bail};
use dualmd_files::{Claim, Error, Lock, limit, remove_claim, shown};
use dualmd_record::RunFolder;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Folder in a run.
pub const FOLDER: &str = "jobs";
/// After how long without a sign of life a claim is taken over, where nothing else is asked for.
pub const LEASE: Duration = Duration::from_secs(120);
/// Signs of life in a lease.
const BEATS: u32 = 12;
/// Fewer that are missing say nothing: the machine was busy.
const FEWEST_MISSED: u32 = 3;
/// A claim is renewed at least so often, and at most so often.
const SLOWEST: Duration = Duration::from_secs(10);
const FASTEST: Duration = Duration::from_millis(20);
/// Between two looks at what others do.
const PAUSE: Duration = Duration::from_millis(100);
const CLAIM: &str = ".claim";

/// What a claim's file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// The machine's name.
    pub host: String,
    /// What no other machine has, and this one until it is started again.
    pub machine: String,
    /// The process, on that machine.
    pub pid: u32,
    /// When the work began, by that machine's clock.
    pub since: String,
    /// It is renewed every so many seconds.
    pub every: f64,
    /// The process holds a lock, too.
    pub locked: bool,
    /// How often it was renewed.
    pub beat: u64,
}

impl Claimed {
    /// One of this process, renewed often enough for a lease.
    fn new(lease: Duration, locked: bool) -> Self {
        Self {
            host: machine::host(),
            machine: machine::boot(),
            pid: std::process::id(),
            since: machine::now(),
            every: (lease / BEATS).clamp(FASTEST, SLOWEST).as_secs_f64(),
            locked,
            beat: 0,
        }
    }

    /// Longer with every beat, or as long: it is written over what is there.
    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The time between two signs of life.
    fn every(&self) -> Duration {
        // The file may hold anything.
        Duration::try_from_secs_f64(self.every).map_or(SLOWEST, |every| every.min(SLOWEST))
    }

    /// HOST:PID.
    pub fn who(&self) -> String {
        format!("{}:{}", shown(&self.host), self.pid)
    }
}

/// A claim as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    path: PathBuf,
    bytes: Vec<u8>,
    /// What it says; None if that cannot be read.
    pub claimed: Option<Claimed>,
}

impl Seen {
    /// Whose it is, HOST:PID.
    pub fn who(&self) -> String {
        match &self.claimed {
            Some(claimed) => claimed.who(),
            None => format!("an unknown process ({})", shown(&self.path)),
        }
    }

    /// Did its process die on this machine? Only where it held a lock can that be told.
    pub fn died_here(&self) -> bool {
        let Some(claimed) = &self.claimed else {
            return false;
        };
        claimed.locked
            && claimed.machine == machine::boot()
            && claimed.machine != machine::UNKNOWN
            && Lock::of_file(&self.path, &who()).is_ok_and(|lock| lock.is_certain())
    }
}

/// The claim on a job; None if it is free.
///
/// # Errors
/// The file cannot be read.
pub fn seen(run: &RunFolder, name: &str) -> Result<Option<Seen>> {
    look(run.claim(name))
}

fn look(path: PathBuf) -> Result<Option<Seen>> {
    match dualmd_files::read(&path, limit::SETTINGS) {
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error.into()),
        Ok(bytes) => Ok(Some(Seen {
            claimed: serde_json::from_slice(&bytes).ok(),
            path,
            bytes,
        })),
    }
}

/// Whether the process of a claim lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It has renewed the claim while it was watched.
    Lives,
    /// It was not watched long enough.
    Unknown,
    /// It is gone.
    Gone,
}

/// What one process has seen of the claims of others, and when by its own clock.
#[derive(Debug)]
pub struct Watch {
    /// None: what each claim promises.
    lease: Option<Duration>,
    seen: BTreeMap<PathBuf, Watched>,
}

#[derive(Debug)]
struct Watched {
    bytes: Vec<u8>,
    since: Instant,
    moved: bool,
}

impl Watch {
    /// Claims that are not renewed for `lease` are those of processes that are gone.
    pub fn new(lease: Duration) -> Self {
        Self {
            lease: Some(lease),
            seen: BTreeMap::new(),
        }
    }

    fn life(&mut self, seen: &Seen) -> Life {
        if seen.died_here() {
            return Life::Gone;
        }
        let now = Instant::now();
        let watched = self.seen.entry(seen.path.clone());
        let watched = watched.or_insert_with(|| Watched {
            bytes: seen.bytes.clone(),
            since: now,
            moved: false,
        });
        if watched.bytes != seen.bytes {
            *watched = Watched {
                bytes: seen.bytes.clone(),
                since: now,
                moved: true,
            };
        }
        let every = seen.claimed.as_ref().map_or(SLOWEST, Claimed::every);
        let lease = self.lease.unwrap_or(every * BEATS);
        if now.duration_since(watched.since) >= lease.max(every * FEWEST_MISSED) {
            Life::Gone
        } else if watched.moved {
            Life::Lives
        } else {
            Life::Unknown
        }
    }
}

/// A job that this process has claimed, until this is dropped. A thread renews the claim.
#[derive(Debug)]
pub struct Taken {
    lost: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Claim>>,
    /// Given up last.
    _lock: Option<Lock>,
}

impl Taken {
    fn begin(claim: Claim, claimed: Claimed, lease: Duration, lock: Option<Lock>) -> Result<Self> {
        let lost = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel();
        let told = Arc::clone(&lost);
        let thread = std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(move || beat(claim, claimed, lease, &told, &stopped))
            .context("cannot start the thread that renews a claim")?;
        Ok(Self {
            lost,
            stop: Some(stop),
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// Another process has the job by now: this one gave no sign of life for a lease, or its claim was deleted.
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// The same by what the claim's file says now. A process that was suspended for an hour hears of its loss at its next heartbeat: before it
    /// writes what others go by, it looks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_lost(&self, run: &RunFolder, name: &str) -> Result<bool> {
        let own = |seen: &Seen| {
            let claimed = seen.claimed.as_ref();
            claimed.is_some_and(|c| c.machine == machine::boot() && c.pid == std::process::id())
        };
        if !self.lost() && !seen(run, name)?.as_ref().is_some_and(own) {
            // Somebody may be looking at it, who moves it away for that; or it was read while it was written.
            std::thread::sleep(PAUSE * 2);
            if !seen(run, name)?.as_ref().is_some_and(own) {
                self.lost.store(true, Ordering::Relaxed);
            }
        }
        Ok(self.lost())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Ok(claim)) = self.thread.take().map(JoinHandle::join) {
            // One that cannot be given up is taken over after its lease.
            let _ = claim.release();
        }
    }
}

/// Renews a claim until asked to stop, or until it is another's.
fn beat(
    claim: Claim,
    mut claimed: Claimed,
    lease: Duration,
    lost: &AtomicBool,
    stopped: &Receiver<()>,
) -> Claim {
    let every = claimed.every();
    let mut renewed = Instant::now();
    while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        claimed.beat += 1;
        let own = claimed.bytes().and_then(|bytes| Ok(claim.renew(&bytes)?));
        match own {
            Ok(true) => renewed = Instant::now(),
            // A file system may be away for a while; after a lease others take this process for gone.
            Err(_) if renewed.elapsed() < lease => {}
            Ok(false) | Err(_) => {
                lost.store(true, Ordering::Relaxed);
                break;
            }
        }
    }
    claim
}

/// Claims a job that is free, or whose process is gone. None if another process has it, or may have it as far as is known yet.
///
/// # Errors
/// The run's folder cannot be written to.
pub fn take(
    run: &RunFolder,
    name: &str,
    watch: &mut Watch,
    reporter: &dyn Reporter,
) -> Result<Option<Taken>> {
    let before = seen(run, name)?;
    if let Some(seen) = &before
        && watch.life(seen) != Life::Gone
    {
        return Ok(None);
    }
    create_folder(&run.jobs())?;
    let path = run.claim(name);
    // Before the claim is there: whoever finds it and no lock takes its process for gone.
    let mut lock = Lock::of_file(&path, &who());
    if before.is_some() && matches!(lock, Err(Error::Locked { .. })) {
        // Somebody may be looking whether its process died.
        std::thread::sleep(PAUSE);
        lock = Lock::of_file(&path, &who());
    }
    let lock = match lock {
        Ok(lock) => Some(lock).filter(Lock::is_certain),
        // Another one is just taking it.
        Err(Error::Locked { .. }) if before.is_none() => return Ok(None),
        // A process that sleeps keeps its lock.
        Err(Error::Locked { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let lease = watch.lease.unwrap_or(LEASE);
    let claimed = Claimed::new(lease, lock.is_some());
    let bytes = claimed.bytes()?;
    let claim = match &before {
        None => Claim::take(&path, &bytes)?,
        Some(seen) => Claim::instead(&path, &seen.bytes, &bytes)?,
    };
    let Some(claim) = claim else {
        return Ok(None);
    };
    if let Some(seen) = before {
        watch.seen.remove(&path);
        reporter.warn(&format!(
            "{name}: taken over from {}, which is gone",
            seen.who()
        ));
    }
    Taken::begin(claim, claimed, lease, lock).map(Some)
}

/// Waits until it is plain that nobody shares the trainings of a run: for a command that works in its folder alone, and holds it, which
/// keeps others out only where locks reach all machines. Then claims of processes that are gone are removed.
///
/// # Errors
/// A process is at work.
pub fn settle(run: &RunFolder, reporter: &dyn Reporter) -> Result<()> {
    let folder = run.jobs();
    if !folder.is_dir() {
        return Ok(());
    }
    let mut watch = Watch {
        lease: None,
        seen: BTreeMap::new(),
    };
    let mut said = BTreeSet::new();
    loop {
        let mut open = false;
        for path in claims(&folder)? {
            let Some(seen) = look(path.clone())? else {
                // Of a process that died before its claim was there, or after it was given up: taken and dropped, a lock's file goes.
                drop(Lock::of_file(&path, &who()));
                continue;
            };
            match watch.life(&seen) {
                Life::Gone => {
                    remove_claim(&path, &seen.bytes)?;
                    drop(Lock::of_file(&path, &who()));
                }
                Life::Unknown => {
                    open = true;
                    if said.insert(path.clone()) {
                        reporter.warn(&format!(
                            "looking whether {} is still at work there: {}",
                            seen.who(),
                            shown(&path)
                        ));
                    }
                }
                Life::Lives => bail!(
                    "{} is in use by `dualmd work`: {} trains there ({}); wait for it or stop it",
                    shown(&run.0),
                    seen.who(),
                    shown(&path)
                ),
            }
        }
        if !open {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    // What tells of failures stays, and the folder with it.
    let _ = std::fs::remove_dir(&folder);
    Ok(())
}

/// The claims of a folder, also those of which only a lock's file is left.
fn claims(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for path in dualmd_files::list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of_lock = name.strip_prefix('.').and_then(|n| n.strip_suffix(".lock"));
        let name = of_lock.unwrap_or(&name);
        if name.ends_with(CLAIM) {
            found.insert(folder.join(name));
        }
    }
    Ok(found)
}

/// Why the training of a model failed when it was last tried; None if it did not.
///
/// # Errors
/// The file cannot be read.
pub fn failure(run: &RunFolder, name: &str) -> Result<Option<String>> {
    match dualmd_files::read_text(&run.failed(name), limit::SETTINGS) {
        Err(error) if error.is_absent() => Ok(None),
        other => Ok(Some(other?.trim_end().to_owned())),
    }
}

/// Notes why a training failed: nobody tries it again until the file is deleted.
///
/// # Errors
/// The file cannot be written.
pub fn note_failure(run: &RunFolder, name: &str, reason: &str) -> Result<()> {
    create_folder(&run.jobs())?;
    let text = format!(
        "{reason}\n{}:{}, {}\n",
        machine::host(),
        std::process::id(),
        machine::now()
    );
    Ok(dualmd_files::write(&run.failed(name), text.as_bytes())?)
}

/// Forgets that a training failed, which has been done since. To be called by who holds the run's folder alone.
///
/// # Errors
/// The file cannot be removed.
pub fn forget_failure(run: &RunFolder, name: &str) -> Result<()> {
    let path = run.failed(name);
    if path.exists() {
        remove(&path)?;
        // Goes only if it is empty.
        let _ = std::fs::remove_dir(run.jobs());
    }
    Ok(())
}

fn who() -> String {
    format!("{} on {}", machine::command_line(), machine::host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reporter::Silent;
    use std::sync::Barrier;

    /// Short enough for a test, and long beside a busy machine's hiccups.
    const SHORT: Duration = Duration::from_millis(1200);

    fn folder() -> (tempfile::TempDir, RunFolder) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder(dir.path().to_path_buf());
        create_folder(&run.jobs()).unwrap();
        (dir, run)
    }

    /// A claim of a process on another machine, which wrote it and is gone.
    fn of_another(run: &RunFolder, name: &str, every: f64, beat: u64) {
        let claimed = Claimed {
            host: "elsewhere".into(),
            machine: "another".into(),
            pid: 7,
            since: "2026-11-30T00:00:00Z".into(),
            every,
            locked: true,
            beat,
        };
        dualmd_files::write(&run.claim(name), &claimed.bytes().unwrap()).unwrap();
    }

    fn beats(run: &RunFolder, name: &str) -> u64 {
        seen(run, name).unwrap().unwrap().claimed.unwrap().beat
    }

    /// Takes a job with a watch of `lease`, looking until it has it or `patience` has passed.
    fn within(run: &RunFolder, lease: Duration, patience: Duration) -> Option<Taken> {
        let mut watch = Watch::new(lease);
        let began = Instant::now();
        loop {
            let taken = take(run, "a", &mut watch, &Silent).unwrap();
            if taken.is_some() || began.elapsed() > patience {
                return taken;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn of_two_that_want_a_job_one_gets_it_and_then_the_other() {
        let (_dir, run) = folder();
        for _ in 0..10 {
            let (start, end) = (Barrier::new(2), Barrier::new(2));
            let claim = || {
                start.wait();
                let taken = take(&run, "a", &mut Watch::new(LEASE), &Silent).unwrap();
                let got = taken.is_some();
                end.wait();
                got
            };
            let got = std::thread::scope(|scope| {
                [scope.spawn(claim), scope.spawn(claim)].map(|t| t.join().unwrap())
            });
            assert_ne!(got[0], got[1]);
            // Given up, it leaves nothing and is free.
            let next = take(&run, "a", &mut Watch::new(LEASE), &Silent).unwrap();
            assert!(next.is_some());
            drop(next);
            assert_eq!(dualmd_files::list(&run.jobs()).unwrap().len(), 0);
        }
        let own = take(&run, "a", &mut Watch::new(LEASE), &Silent)
            .unwrap()
            .unwrap();
        let claimed = seen(&run, "a").unwrap().unwrap().claimed.unwrap();
        assert_eq!(claimed.pid, std::process::id());
        assert!(claimed.who().ends_with(&format!(":{}", claimed.pid)));
        assert!(!own.lost());
        assert!(within(&run, LEASE, Duration::from_millis(300)).is_none());
    }

    #[test]
    fn a_claim_is_renewed_and_then_nobody_takes_it_over() {
        let (_dir, run) = folder();
        let mut watch = Watch::new(SHORT);
        let own = take(&run, "a", &mut watch, &Silent).unwrap().unwrap();
        // Another one that is quick to take others for gone, and waits for twice as long.
        assert!(within(&run, SHORT, SHORT * 2).is_none());
        assert!(beats(&run, "a") > 3 && !own.lost());
        drop(own);
        assert!(seen(&run, "a").unwrap().is_none());
    }

    #[test]
    fn one_that_is_not_renewed_is_taken_over_after_the_lease() {
        let (_dir, run) = folder();
        of_another(&run, "a", 0.01, 3);
        let began = Instant::now();
        let taken = within(&run, SHORT, SHORT * 20);
        assert!(taken.is_some() && began.elapsed() >= SHORT);
        assert_eq!(
            seen(&run, "a").unwrap().unwrap().claimed.unwrap().pid,
            std::process::id()
        );
        drop(taken);
        // A lease that is shorter than what the other one promised counts as three of its beats.
        of_another(&run, "a", 0.5, 3);
        let began = Instant::now();
        assert!(within(&run, Duration::ZERO, SHORT * 20).is_some());
        assert!(began.elapsed() >= Duration::from_millis(1500));
        // What cannot be read is no claim of a process that lives, if it stays as it is.
        std::fs::write(run.claim("a"), "x").unwrap();
        let mut watch = Watch::new(Duration::ZERO);
        let broken = seen(&run, "a").unwrap().unwrap();
        assert_eq!(watch.life(&broken), Life::Unknown);
        assert!(broken.who().contains("a.claim"));
    }

    #[test]
    fn one_that_lost_its_claim_finds_out() {
        let (_dir, run) = folder();
        let mut watch = Watch::new(SHORT);
        let own = take(&run, "a", &mut watch, &Silent).unwrap().unwrap();
        std::fs::remove_file(run.claim("a")).unwrap();
        of_another(&run, "a", 0.1, 1);
        let began = Instant::now();
        while !own.lost() {
            assert!(began.elapsed() < SHORT * 20, "it does not find out");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(own);
        let left = seen(&run, "a").unwrap().unwrap().claimed.unwrap();
        assert_eq!((left.host.as_str(), left.beat), ("elsewhere", 1));
    }

    #[test]
    fn who_looks_finds_out_before_the_next_heartbeat() {
        let (_dir, run) = folder();
        // That is ten seconds away.
        let own = take(&run, "a", &mut Watch::new(LEASE), &Silent)
            .unwrap()
            .unwrap();
        assert!(!own.is_lost(&run, "a").unwrap() && !own.lost());
        std::fs::remove_file(run.claim("a")).unwrap();
        of_another(&run, "a", 10.0, 0);
        assert!(!own.lost());
        assert!(own.is_lost(&run, "a").unwrap() && own.lost());
        drop(own);
        assert!(run.claim("a").exists(), "it is another's");
    }

    #[test]
    fn who_died_on_this_machine_is_gone_at_once() {
        let (_dir, run) = folder();
        // What a killed process leaves: a claim, and a lock's file that nobody holds.
        let claimed = Claimed::new(LEASE, true);
        std::fs::write(run.claim("a"), claimed.bytes().unwrap()).unwrap();
        assert!(seen(&run, "a").unwrap().unwrap().died_here());
        let taken = take(&run, "a", &mut Watch::new(LEASE), &Silent).unwrap();
        assert!(taken.is_some());
        assert!(!seen(&run, "a").unwrap().unwrap().died_here());
        // Without a lock that cannot be told.
        let unlocked = Claimed::new(LEASE, false);
        std::fs::write(run.claim("b"), unlocked.bytes().unwrap()).unwrap();
        assert!(!seen(&run, "b").unwrap().unwrap().died_here());
    }

    #[test]
    fn a_command_that_wants_the_folder_alone_is_refused_while_one_is_at_work() {
        let (_dir, run) = folder();
        std::fs::write(run.failed("c"), "why").unwrap();
        settle(&run, &Silent).unwrap();
        assert_eq!(failure(&run, "c").unwrap().as_deref(), Some("why"));
        // Gone here, or gone by what it promised; and a lock's file alone.
        let gone = Claimed::new(LEASE, true);
        std::fs::write(run.claim("a"), gone.bytes().unwrap()).unwrap();
        of_another(&run, "b", 0.02, 9);
        std::fs::write(run.jobs().join(".d.claim.lock"), "process 1").unwrap();
        settle(&run, &Silent).unwrap();
        assert_eq!(dualmd_files::list(&run.jobs()).unwrap(), [run.failed("c")]);
        forget_failure(&run, "c").unwrap();
        assert!(!run.jobs().exists());
        settle(&run, &Silent).unwrap();

        create_folder(&run.jobs()).unwrap();
        of_another(&run, "a", 1.0, 0);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for beat in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    of_another(&run, "a", 1.0, beat);
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
            let refused = settle(&run, &Silent);
            stop.store(true, Ordering::Relaxed);
            let said = format!("{:#}", refused.unwrap_err());
            assert!(
                said.contains("elsewhere:7") && said.contains("a.claim"),
                "{said}"
            );
        });
        assert!(run.claim("a").exists());
    }
}

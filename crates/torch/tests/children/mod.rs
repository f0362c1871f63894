//! Processes of the test program itself as ranks of this machine.
//!
//! A test that starts ranks names another test of its program, which does nothing unless it was started as a rank.
#![allow(dead_code)]

use dualmd_torch::ranks::{self, Place, TIMEOUT};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const CASE: &str = "DUALMD_TEST_CASE";
const FOLDER: &str = "DUALMD_TEST_FOLDER";
/// How long any test waits for its ranks, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// What this process is to do as a rank: case, folder, place.
pub fn this_rank() -> Option<(String, PathBuf, Place)> {
    let case = std::env::var(CASE).ok()?;
    let folder = std::env::var(FOLDER).unwrap().into();
    // Ranks share the machine: one thread each.
    dualmd_torch::tch::set_num_threads(1);
    let place = Place::read(|name| std::env::var(name).ok())
        .unwrap()
        .unwrap();
    Some((case, folder, place))
}

/// Ranks that run. Dropped, they are killed.
pub struct Ranks {
    children: Vec<(usize, Child)>,
    folder: PathBuf,
}

impl Ranks {
    /// Starts `which` of `world` ranks as the test `test`, with `case` to do in `folder`; each waits `seconds` for the others.
    pub fn start(
        test: &str,
        (case, folder): (&str, &Path),
        which: impl IntoIterator<Item = usize>,
        world: usize,
        seconds: u64,
    ) -> Self {
        Self::start_at(
            test,
            (case, folder),
            which,
            world,
            seconds,
            ranks::free_port().unwrap(),
        )
    }

    /// The same with a store at `port`.
    pub fn start_at(
        test: &str,
        (case, folder): (&str, &Path),
        which: impl IntoIterator<Item = usize>,
        world: usize,
        seconds: u64,
        port: u16,
    ) -> Self {
        let start = |rank: usize| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            ranks::local(&mut command, rank, world, port);
            let output = std::fs::File::create(folder.join(format!("output-{rank}"))).unwrap();
            let child = command
                .args([test, "--exact", "--nocapture"])
                .env(CASE, case)
                .env(FOLDER, folder)
                .env(TIMEOUT, seconds.to_string())
                .stdin(Stdio::null())
                .stdout(output.try_clone().unwrap())
                .stderr(output)
                .spawn()
                .unwrap();
            (rank, child)
        };
        Self {
            children: which.into_iter().map(start).collect(),
            folder: folder.to_owned(),
        }
    }

    /// Waits until each of them has written this file.
    pub fn await_files(&mut self, name: &str) {
        let began = Instant::now();
        loop {
            let there = |rank: &usize| self.folder.join(format!("{name}-{rank}")).exists();
            if self.children.iter().all(|(rank, _)| there(rank)) {
                return;
            }
            let ended = self
                .children
                .iter_mut()
                .any(|(_, c)| c.try_wait().unwrap().is_some());
            assert!(!ended && began.elapsed() < PATIENCE, "{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to one of them.
    pub fn signal(&self, rank: usize, signal: &str) {
        let (_, child) = self.children.iter().find(|(r, _)| *r == rank).unwrap();
        let sent = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for all but `except`, which are killed then; says how each ended, by rank.
    pub fn wait(mut self, except: &[usize]) -> Vec<(usize, ExitStatus)> {
        let began = Instant::now();
        let mut ended = Vec::new();
        for (rank, child) in self
            .children
            .iter_mut()
            .filter(|(r, _)| !except.contains(r))
        {
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                assert!(began.elapsed() < PATIENCE, "rank {rank} does not end");
                std::thread::sleep(Duration::from_millis(5));
            };
            ended.push((*rank, status));
        }
        ended
    }

    /// Waits for all of them, which have to end well.
    pub fn well(self) {
        let folder = self.folder.clone();
        for (rank, status) in self.wait(&[]) {
            let output = std::fs::read_to_string(folder.join(format!("output-{rank}")));
            assert!(status.success(), "rank {rank}: {}", output.unwrap());
        }
    }

    fn said(&self) -> String {
        let output = |rank| std::fs::read_to_string(self.folder.join(format!("output-{rank}")));
        self.children
            .iter()
            .map(|(rank, _)| output(*rank).unwrap_or_default())
            .collect()
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

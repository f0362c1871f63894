//! How trainings are started: in a process each, in several ranks each, or in this one.

use crate::RunFolder;
use crate::reporter::ProgressEvent;
use anyhow::{Context, Result};
use dualmd_torch::ranks;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the other ranks of one that failed may go on: they notice by themselves, unless they still wait for it to join.
const LEAVES: Duration = Duration::from_secs(10);

/// One training of a run whose folder is prepared.
#[derive(Debug, Clone)]
pub struct Training {
    /// The run.
    pub run: RunFolder,
    /// Name of the model.
    pub model: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Cores it may use.
    pub threads: usize,
}

/// What is heard of a training while it runs.
#[derive(Debug)]
pub enum Heard {
    /// How far it is.
    Event(ProgressEvent),
    /// A line about what it does.
    Said(String),
    /// A line that may be the reason of a failure.
    Reason {
        /// The model that is trained.
        model: String,
        /// The line.
        line: String,
    },
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As it should: it is done, or has written its checkpoint after it was asked to stop.
    Well,
    /// It failed; in words, e.g. "exit status: 1". What it said before tells why.
    Failed(String),
}

/// Starts trainings.
pub trait Launcher: Send + Sync {
    /// Starts one; what it says goes to `tell`.
    ///
    /// # Errors
    /// It cannot be started.
    fn start(&self, training: Training, tell: Sender<Heard>) -> Result<Box<dyn Running>>;
}

/// A training that was started. Dropping it asks it to stop.
pub trait Running {
    /// Asks it to write a checkpoint and end.
    fn ask_to_stop(&mut self);

    /// How it ended, None while it runs. All that it said is with `tell` by then.
    ///
    /// # Errors
    /// It cannot be watched.
    fn ended(&mut self) -> Result<Option<Ended>>;
}

/// Every training is a process of its own: one that dies takes no other with it, and libtorch's thread pool is never shared.
/// The command is `PROGRAM ARGUMENTS... train EXPERIMENT --model NAME ...`.
#[derive(Debug, Clone)]
pub struct Program {
    /// A program that has `dualmd`'s commands.
    pub program: PathBuf,
    /// What comes before the command, e.g. `-m dualmd` of `python -m dualmd`.
    pub arguments: Vec<String>,
    /// Processes of each training, its ranks; they share its cores.
    pub ranks: usize,
}

impl Program {
    /// The program that runs now.
    ///
    /// # Errors
    /// The operating system does not say which that is.
    pub fn this() -> Result<Self> {
        Ok(Self {
            program: std::env::current_exe().context("cannot find this program's own file")?,
            arguments: Vec::new(),
            ranks: 1,
        })
    }

    /// The same with so many ranks for each training.
    #[must_use]
    pub fn with_ranks(self, ranks: usize) -> Self {
        Self {
            ranks: ranks.max(1),
            ..self
        }
    }

    /// Starts a training, or one of its ranks: (its number, the port where they meet).
    fn process(
        &self,
        training: &Training,
        rank: Option<(usize, u16)>,
        tell: &Sender<Heard>,
    ) -> Result<Process> {
        let mut command = Command::new(&self.program);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // A group of its own: the terminal's Ctrl-C reaches the parent only, which then closes the child's stdin.
            // Otherwise the child would count two requests and leave without a checkpoint.
            command.process_group(0);
        }
        // Whatever launched this process: its child is a rank of nobody else.
        match rank {
            Some((rank, port)) => ranks::local(&mut command, rank, self.ranks, port),
            None => ranks::alone(&mut command),
        }
        let threads = (training.threads / self.ranks).max(1).to_string();
        let mut child = command
            .args(&self.arguments)
            .arg("train")
            .arg(training.run.experiment())
            .args(["--model", &training.model, "--progress-json"])
            .args(["--parent", &std::process::id().to_string()])
            .arg("--out")
            .arg(&training.run.0)
            .args(["--device", &training.device])
            .args(["--threads", &threads])
            .env("OMP_NUM_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the training of {}", training.model))?;
        let mut relays = Vec::new();
        if let Some(out) = child.stdout.take() {
            relays.push(relay(
                out,
                tell.clone(),
                |line| match ProgressEvent::parse(&line) {
                    Some(event) => Heard::Event(event),
                    None => Heard::Said(line),
                },
            ));
        }
        if let Some(err) = child.stderr.take() {
            let model = training.model.clone();
            relays.push(relay(err, tell.clone(), move |line| Heard::Reason {
                model: model.clone(),
                line,
            }));
        }
        Ok(Process { child, relays })
    }
}

impl Launcher for Program {
    fn start(&self, training: Training, tell: Sender<Heard>) -> Result<Box<dyn Running>> {
        if self.ranks <= 1 {
            return Ok(Box::new(self.process(&training, None, &tell)?));
        }
        let port = ranks::free_port().context("cannot find a free port for the ranks to meet")?;
        let mut all = Ranks {
            running: Vec::new(),
            failed: None,
        };
        for rank in 0..self.ranks {
            // Dropped, if a later one cannot be started: those that run end with their stdin.
            all.running
                .push(self.process(&training, Some((rank, port)), &tell)?);
        }
        Ok(Box::new(all))
    }
}

/// The processes of one training.
struct Ranks {
    running: Vec<Process>,
    /// When the first one failed, and how.
    failed: Option<(Instant, String)>,
}

impl Running for Ranks {
    fn ask_to_stop(&mut self) {
        self.running.iter_mut().for_each(Running::ask_to_stop);
    }

    fn ended(&mut self) -> Result<Option<Ended>> {
        let mut index = 0;
        while let Some(process) = self.running.get_mut(index) {
            let Some(ended) = process.ended()? else {
                index += 1;
                continue;
            };
            drop(self.running.swap_remove(index));
            if let Ended::Failed(status) = ended {
                self.failed.get_or_insert((Instant::now(), status));
            }
        }
        let late = |(at, _): &(Instant, String)| at.elapsed() > LEAVES;
        if self.failed.as_ref().is_some_and(late) {
            for process in &mut self.running {
                // One that has ended by now cannot be killed, and need not.
                let _ = process.child.kill();
            }
        }
        if !self.running.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self.failed.take() {
            Some((_, status)) => Ended::Failed(status),
            None => Ended::Well,
        }))
    }
}

struct Process {
    child: Child,
    relays: Vec<JoinHandle<()>>,
}

impl Running for Process {
    fn ask_to_stop(&mut self) {
        // The end of its stdin asks a child to write a checkpoint and leave.
        drop(self.child.stdin.take());
    }

    fn ended(&mut self) -> Result<Option<Ended>> {
        let Some(status) = self.child.try_wait().context("cannot watch a training")? else {
            return Ok(None);
        };
        // Its last words first, or they would come after its end.
        for relay in self.relays.drain(..) {
            drop(relay.join());
        }
        Ok(Some(match status.success() {
            true => Ended::Well,
            false => Ended::Failed(status.to_string()),
        }))
    }
}

/// Hands a child's lines on, as what `heard` makes of them. A line that is not UTF-8 is handed on as far as it can be read.
fn relay(
    stream: impl Read + Send + 'static,
    tell: Sender<Heard>,
    heard: impl Fn(String) -> Heard + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if tell.send(heard(line)).is_err() {
                break;
            }
        }
    })
}

/// Trainings on several devices, wherever the session's is: each on the one that has the fewest, of several such the first.
#[derive(Debug)]
pub struct Spread<L> {
    launcher: L,
    devices: Vec<String>,
    /// Trainings that run on each.
    running: Arc<Mutex<Vec<usize>>>,
}

impl<L: Launcher> Spread<L> {
    /// As `launcher` starts them, on these devices.
    pub fn over(launcher: L, devices: Vec<String>) -> Self {
        Self {
            launcher,
            running: Arc::new(Mutex::new(vec![0; devices.len()])),
            devices,
        }
    }
}

impl<L: Launcher> Launcher for Spread<L> {
    fn start(&self, training: Training, tell: Sender<Heard>) -> Result<Box<dyn Running>> {
        let seat = Seat::take(&self.running);
        let device = self.devices.get(seat.device).cloned();
        let training = Training {
            device: device.unwrap_or_else(|| training.device.clone()),
            ..training
        };
        let running = self.launcher.start(training, tell)?;
        Ok(Box::new(Seated {
            running,
            _seat: seat,
        }))
    }
}

/// A training's place on a device, until this is dropped.
struct Seat {
    running: Arc<Mutex<Vec<usize>>>,
    device: usize,
}

impl Seat {
    fn take(all: &Arc<Mutex<Vec<usize>>>) -> Self {
        let mut running = all.lock().unwrap_or_else(PoisonError::into_inner);
        let fewest = running.iter_mut().enumerate().min_by_key(|(_, n)| **n);
        let device = fewest.map_or(0, |(device, n)| {
            *n += 1;
            device
        });
        Self {
            running: Arc::clone(all),
            device,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = running.get_mut(self.device) {
            *n = n.saturating_sub(1);
        }
    }
}

/// A training on one of several devices.
struct Seated {
    running: Box<dyn Running>,
    _seat: Seat,
}

impl Running for Seated {
    fn ask_to_stop(&mut self) {
        self.running.ask_to_stop();
    }

    fn ended(&mut self) -> Result<Option<Ended>> {
        self.running.ended()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Notes the device of each, and starts nothing.
    #[derive(Default)]
    struct Noted(Arc<Mutex<Vec<String>>>);

    impl Launcher for Noted {
        fn start(&self, training: Training, _: Sender<Heard>) -> Result<Box<dyn Running>> {
            self.0.lock().unwrap().push(training.device);
            Ok(Box::new(Noted::default()))
        }
    }

    impl Running for Noted {
        fn ask_to_stop(&mut self) {}
        fn ended(&mut self) -> Result<Option<Ended>> {
            Ok(Some(Ended::Well))
        }
    }

    #[test]
    fn trainings_are_spread_over_the_devices_and_take_what_is_free() {
        let noted = Arc::default();
        let devices = ["cuda:2", "cuda:5"].map(str::to_owned).to_vec();
        let spread = Spread::over(Noted(Arc::clone(&noted)), devices);
        let start = || {
            let training = Training {
                run: RunFolder(PathBuf::new()),
                model: "m".into(),
                device: "cuda:0".into(),
                threads: 1,
            };
            spread.start(training, mpsc::channel().0).unwrap()
        };
        let first = start();
        let mut second = start();
        assert_eq!(second.ended().unwrap(), Some(Ended::Well));
        drop(second);
        let _third = start();
        drop(first);
        let _fourth = start();
        // More at once than there are devices.
        let _fifth = start();
        let expected = ["cuda:2", "cuda:5", "cuda:5", "cuda:2", "cuda:2"];
        assert_eq!(*noted.lock().unwrap(), expected);
    }
}

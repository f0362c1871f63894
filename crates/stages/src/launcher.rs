//! How trainings are started: in a process each, in several ranks each, or in this one.

use crate::RunFolder;
use crate::reporter::ProgressEvent;
use anyhow::{Context, Result};
use dualmd_torch::ranks;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
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

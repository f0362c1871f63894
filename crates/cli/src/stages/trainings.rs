//! All trainings of a plan, in processes side by side.
//!
//! Each training is a process of its own with its own share of the cores: one that dies takes no other with it, and
//! libtorch's thread pool is never shared.

use super::train::finished;
use super::{RunFolder, create_folder};
use crate::engine::Engine;
use crate::plan::{Job, Plan};
use crate::progress::{Progress, ProgressEvent, View, duration};
use anyhow::{Context, Result, anyhow};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Trains all models of a plan. Returns false if asked to stop before the end.
pub fn all(
    run: &RunFolder,
    plan: &Plan,
    engine: &Engine,
    view: View,
    stop: &AtomicBool,
) -> Result<bool> {
    let mut done: Vec<String> = Vec::new();
    for job in &plan.trainings {
        if finished(run, plan, &job.name)? {
            done.push(job.name.clone());
        }
    }
    create_folder(&run.0.join("logs"))?;
    let mut progress = Progress::new(view);
    let mut running: Vec<Training> = Vec::new();
    let mut started: Vec<String> = Vec::new();
    let mut failure: Option<anyhow::Error> = None;
    let (send, receive) = mpsc::channel::<Message>();
    loop {
        let may_start = failure.is_none() && !stop.load(Ordering::Relaxed);
        if may_start {
            let next: Vec<Job> = plan
                .ready(&done, |name| started.iter().any(|s| s == name))
                .cloned()
                .collect();
            for job in next {
                if running.len() >= plan.hardware.parallel_models {
                    break;
                }
                // A training that is alone has the machine to itself only if its thread count does not matter: it
                // keeps its planned share, so that the result does not depend on what ran beside it.
                running.push(Training::start(run, &job.name, plan, engine, send.clone())?);
                started.push(job.name);
            }
        }
        if running.is_empty() {
            break;
        }
        match receive.recv_timeout(Duration::from_millis(200)) {
            Ok(Message::Event(event)) => progress.update(&event),
            Ok(Message::Said(text)) => progress.say(&text),
            Err(_) => {}
        }
        if failure.is_some() || stop.load(Ordering::Relaxed) {
            // Closing stdin asks a child to write a checkpoint and leave.
            running.iter_mut().for_each(|t| drop(t.child.stdin.take()));
        }
        let mut index = 0;
        while index < running.len() {
            let Some(status) = running[index]
                .child
                .try_wait()
                .context("cannot watch a training")?
            else {
                index += 1;
                continue;
            };
            let mut training = running.swap_remove(index);
            // Its last words first, or they would come after "failed".
            training
                .relays
                .drain(..)
                .for_each(|relay| drop(relay.join()));
            while let Ok(message) = receive.try_recv() {
                match message {
                    Message::Event(event) => progress.update(&event),
                    Message::Said(text) => progress.say(&text),
                }
            }
            if status.success() && finished(run, plan, &training.name)? {
                let took = duration(training.began.elapsed());
                progress.finish(&training.name, &format!("trained in {took}"));
                done.push(training.name);
            } else if status.success() {
                progress.finish(&training.name, "stopped, checkpoint written");
            } else {
                progress.finish(&training.name, "failed");
                failure.get_or_insert_with(|| {
                    anyhow!(
                        "the training of {} failed ({status}); its message is above",
                        training.name
                    )
                });
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(done.len() == plan.trainings.len()),
    }
}

enum Message {
    Event(ProgressEvent),
    Said(String),
}

struct Training {
    name: String,
    child: Child,
    began: Instant,
    relays: Vec<JoinHandle<()>>,
}

impl Training {
    fn start(
        run: &RunFolder,
        name: &str,
        plan: &Plan,
        engine: &Engine,
        send: mpsc::Sender<Message>,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // A group of its own: the terminal's Ctrl-C reaches the parent only, which then closes the child's stdin.
            // Otherwise the child would count two requests and leave without a checkpoint.
            command.process_group(0);
        }
        let mut child = command
            .arg("train")
            .arg(run.experiment())
            .args(["--model", name, "--progress-json"])
            .arg("--out")
            .arg(&run.0)
            .args(["--device", &engine.device_name()])
            .args(["--threads", &plan.hardware.threads_per_model.to_string()])
            .env(
                "OMP_NUM_THREADS",
                plan.hardware.threads_per_model.to_string(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the training of {name}"))?;
        let mut relays = Vec::new();
        if let Some(out) = child.stdout.take() {
            relays.push(relay(out, send.clone()));
        }
        if let Some(err) = child.stderr.take() {
            relays.push(relay(err, send));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            began: Instant::now(),
            relays,
        })
    }
}

/// Hands a child's lines on: progress events as such, anything else as text.
fn relay(stream: impl Read + Send + 'static, send: mpsc::Sender<Message>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let message = match ProgressEvent::parse(&line) {
                Some(event) => Message::Event(event),
                None => Message::Said(line),
            };
            if send.send(message).is_err() {
                break;
            }
        }
    })
}

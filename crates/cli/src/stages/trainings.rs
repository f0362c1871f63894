//! All trainings of a plan, in processes side by side.
//!
//! Each training is a process of its own with its own share of the cores: one that dies takes no other with it, and
//! libtorch's thread pool is never shared.

use super::train::finished;
use super::{RunFolder, create_folder};
use crate::engine::Engine;
use crate::errors;
use crate::plan::{Job, Plan};
use crate::progress::{Progress, ProgressEvent, View, duration};
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a training's own error begins on its standard error; see [`crate::errors::render`].
const ERROR: &str = "error: ";
/// Lines that are kept of a training that says no error.
const LAST_WORDS: usize = 8;

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
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
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
            Ok(Message::Reason { model, line }) => hear(&mut reasons, &mut progress, model, line),
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
                    Message::Reason { model, line } => {
                        hear(&mut reasons, &mut progress, model, line);
                    }
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
                let said = reasons.remove(&training.name).unwrap_or_default();
                let error = failed(&training.name, &status.to_string(), &said);
                match failure {
                    // The first one is what this call ends with.
                    Some(_) => tell!("{}", errors::render(&error)),
                    None => failure = Some(error),
                }
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
    /// A line on standard output that is no event.
    Said(String),
    /// A line on standard error.
    Reason {
        model: String,
        line: String,
    },
}

/// Keeps a training's line on standard error for the end, where it may be the reason of a failure, and shows it unless it is
/// about to be told as one.
fn hear(
    reasons: &mut BTreeMap<String, Vec<String>>,
    progress: &mut Progress,
    model: String,
    line: String,
) {
    let lines = reasons.entry(model).or_default();
    // An error's lines are the last: what came before them is no part of the reason.
    if line.starts_with(ERROR) {
        lines.clear();
    }
    let telling = line.starts_with(ERROR) || lines.first().is_some_and(|l| l.starts_with(ERROR));
    if !telling {
        progress.say(&line);
        // A few lines will do where no error is told: the end of a panic, or of a library's own words.
        if lines.len() == LAST_WORDS {
            lines.remove(0);
        }
    }
    lines.push(line);
}

/// The failure of a training: its own reasons, whatever was shown of them before.
fn failed(model: &str, status: &str, said: &[String]) -> anyhow::Error {
    let what = format!("the training of {model} failed ({status})");
    // A warning is no reason: a process that was killed has said none.
    let told = said.first().is_some_and(|line| line.starts_with(ERROR));
    let lines = said
        .iter()
        .filter(|line| told || !line.starts_with("warning: "));
    let text = lines.map(String::as_str).collect::<Vec<_>>().join("\n");
    let text = text.strip_prefix(ERROR).unwrap_or(&text).trim();
    if text.is_empty() {
        return anyhow!(
            "{what} and left no message; a process that is ended by signal 9 has mostly run out of memory: give it more, or a \
             smaller train.batch"
        );
    }
    // One cause a line, the last the deepest: as `errors::render` told them there.
    let mut causes = text
        .split("\n  because: ")
        .collect::<Vec<_>>()
        .into_iter()
        .rev();
    let deepest = anyhow!(causes.next().unwrap_or_default().to_owned());
    causes
        .fold(deepest, |error, cause| error.context(cause.to_owned()))
        .context(what)
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
            .args(["--parent", &std::process::id().to_string()])
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
            relays.push(relay(
                out,
                send.clone(),
                |line| match ProgressEvent::parse(&line) {
                    Some(event) => Message::Event(event),
                    None => Message::Said(line),
                },
            ));
        }
        if let Some(err) = child.stderr.take() {
            let model = name.to_owned();
            relays.push(relay(err, send, move |line| Message::Reason {
                model: model.clone(),
                line,
            }));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            began: Instant::now(),
            relays,
        })
    }
}

/// Hands a child's lines on, as what `message` makes of them. A line that is not UTF-8 is handed on as far as it can be read.
fn relay(
    stream: impl Read + Send + 'static,
    send: mpsc::Sender<Message>,
    message: impl Fn(String) -> Message + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if send.send(message(line)).is_err() {
                break;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> String {
        let (mut reasons, mut progress) = (BTreeMap::new(), Progress::new(View::Silent));
        for line in lines {
            hear(
                &mut reasons,
                &mut progress,
                "student".into(),
                (*line).into(),
            );
        }
        let said = reasons.remove("student").unwrap_or_default();
        errors::render(&failed("student", "exit status: 1", &said))
    }

    #[test]
    fn the_reason_of_a_failed_training_is_in_its_error() {
        assert_eq!(
            told(&[
                "warning: something else",
                "error: cannot write the checkpoint",
                "  because: checkpoints/student",
                "    is on a full disk",
                "  because: No space left on device",
            ]),
            "error: the training of student failed (exit status: 1)\n  because: cannot write the checkpoint\n  \
             because: checkpoints/student\n        is on a full disk\n  because: No space left on device"
        );
        // A panic, or a library that ends the process: its last words.
        let text = told(&["terminate called", "what(): out of memory"]);
        assert!(
            text.contains(
                "because: terminate called\n    what(): out of memory\n  remedy: there is not enough memory"
            ),
            "{text}"
        );
        assert!(told(&[]).contains("left no message"));
        assert!(told(&["warning: something else"]).contains("left no message"));
        let many: Vec<String> = (0..100).map(|i| format!("line {i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let text = told(&many);
        assert!(
            text.contains("line 99") && !text.contains("line 50"),
            "{text}"
        );
    }
}

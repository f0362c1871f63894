//! Who hears how far the work is, and what is said.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Hears how far the work is. Nothing in this crate prints: all that is to be said goes through here, from several threads where
/// several models are trained.
pub trait Reporter: Send + Sync {
    /// How far one model is.
    fn progress(&self, event: &ProgressEvent);

    /// One model is done: `note` is e.g. "trained in 3 min 20 s".
    fn finished(&self, model: &str, note: &str);

    /// Work that is no single model's of a report is done: `task` as in its [`ProgressEvent::task`].
    fn done(&self, task: &str, note: &str) {
        self.finished(task, note);
    }

    /// Work begins of which nobody counts how far it is: on which model of a report, or on none, and what is done, such as "set tests".
    /// [`meanwhile`] calls it.
    fn begins(&self, model: &str, task: &str) {
        let _ = (model, task);
    }

    /// That work is done.
    fn ends(&self, model: &str, task: &str) {
        let _ = (model, task);
    }

    /// A line about what is being done.
    fn say(&self, text: &str);

    /// A line that a user has to hear, also one who asked for results alone.
    fn warn(&self, text: &str);

    /// What a report says of a model, for programs: `finding` as report.json spells it.
    fn concluded(&self, model: &str, finding: &str) {
        let _ = (model, finding);
    }

    /// A line for those who asked for more: the engine in use, what each attack cost.
    fn detail(&self, text: &str) {
        let _ = text;
    }
}

/// Does work of which nobody counts how far it is, so that it can be told that and for how long it goes on. `model`: that of a report which
/// it is done for, or empty; `task`: as in [`ProgressEvent::task`].
pub fn meanwhile<T>(
    reporter: &dyn Reporter,
    model: &str,
    task: &str,
    work: impl FnOnce() -> T,
) -> T {
    reporter.begins(model, task);
    let made = work();
    reporter.ends(model, task);
    made
}

/// What a bar or a line is called: "student", "student, own images", "caption".
pub fn title(model: &str, task: Option<&str>) -> String {
    match task {
        None => model.to_owned(),
        Some(task) if model.is_empty() => task.to_owned(),
        Some(task) => format!("{model}, {task}"),
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn progress(&self, _: &ProgressEvent) {}
    fn finished(&self, _: &str, _: &str) {}
    fn say(&self, _: &str) {}
    fn warn(&self, _: &str) {}
}

/// What is being done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// A network is trained.
    #[default]
    Train,
    /// Images are generated.
    Generate,
    /// Attacks look at images, or learn from what they saw.
    Attack,
    /// Images are measured or described.
    Measure,
}

impl Work {
    /// What is counted; a score is one image under one attack, and an attack that learns counts its images once more when it has learnt.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Train => "step",
            Self::Generate | Self::Measure => "image",
            Self::Attack => "score",
        }
    }
}

/// How far a model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgressEvent {
    /// Name of the model, as a report has it; empty, and not written, where the work is no model's of a report.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// What is being done with it.
    #[serde(default)]
    pub stage: Work,
    /// What that is, where the stage does not say it: "quality", "own images"; of work that is no model's, the command's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Done, in the stage's units.
    pub step: u64,
    /// To be done in all.
    pub total: u64,
    /// Passes over its images that a training has made; none of other work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    /// Loss of late; none, and not written, where the work has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Speed of late.
    pub images_per_second: f64,
    /// About how long the whole run or audit still takes, s; none where nobody counted its work, or too little of it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_seconds_left: Option<u64>,
    /// Kinds of work in it whose pace is not known yet, such as "attack" or "report": `run_seconds_left` is without them, the least that is
    /// left. Empty, and not written, where all are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_left_without: Vec<String>,
}

impl ProgressEvent {
    /// Work on images that has no loss: `done` of `total` since `began`. It counts as measuring, unless [`Self::of`] says otherwise.
    /// `model` is empty where the work is no model's of a report; [`Self::doing`] says then what is done.
    pub fn images(model: &str, done: usize, total: usize, began: Instant) -> Self {
        Self {
            model: model.to_owned(),
            stage: Work::Measure,
            task: None,
            step: done.min(total) as u64,
            total: total as u64,
            epoch: None,
            loss: None,
            images_per_second: done as f64 / began.elapsed().as_secs_f64(),
            run_seconds_left: None,
            run_left_without: Vec::new(),
        }
    }

    /// The same of another kind of work.
    #[must_use]
    pub fn of(self, stage: Work) -> Self {
        Self { stage, ..self }
    }

    /// The same with what is done, where the stage does not say it.
    #[must_use]
    pub fn doing(self, task: &str) -> Self {
        let task = Some(task.to_owned());
        Self { task, ..self }
    }

    /// Its [`title()`].
    pub fn title(&self) -> String {
        title(&self.model, self.task.as_deref())
    }

    /// Writes the event as one JSON line and flushes, so that the reader at the other end of a pipe sees it now.
    ///
    /// # Errors
    /// The reader is gone.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let line = serde_json::to_string(self).map_err(io::Error::other)?;
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Reads such a line; None for any other.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// 75 seconds as "1 min 15 s"; at most two units.
pub fn duration(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        3600..86400 => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {:02} h", s / 86400, s % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_pipe_even_without_a_loss() {
        let mut line = Vec::new();
        let event = ProgressEvent {
            model: "student".into(),
            stage: Work::Train,
            task: None,
            step: 3,
            total: 1000,
            epoch: Some(0.75),
            loss: Some(f64::NAN),
            images_per_second: 640.2,
            run_seconds_left: Some(75),
            run_left_without: vec!["report".into()],
        };
        event.write(&mut line).unwrap();
        let read = ProgressEvent::parse(std::str::from_utf8(&line).unwrap()).unwrap();
        assert_eq!(
            read,
            ProgressEvent {
                loss: None,
                ..event
            }
        );
        assert_eq!(ProgressEvent::parse("some other line"), None);
    }

    #[test]
    fn a_model_and_what_is_done_are_two_things() {
        let of = |model: &str| ProgressEvent::images(model, 1, 2, Instant::now());
        let written = |event: &ProgressEvent| serde_json::to_value(event).unwrap();
        let model = of("student").of(Work::Generate);
        assert_eq!(model.title(), "student");
        assert!(written(&model).get("task").is_none());
        let own = of("student").of(Work::Attack).doing("own images");
        assert_eq!(own.title(), "student, own images");
        assert_eq!(
            (&written(&own)["model"], &written(&own)["task"]),
            (&"student".into(), &"own images".into())
        );
        let alone = of("").doing("caption");
        assert_eq!(alone.title(), "caption");
        let line = written(&alone);
        assert!(line.get("model").is_none() && line["task"] == "caption");
        assert_eq!(ProgressEvent::parse(&line.to_string()), Some(alone));
    }

    #[test]
    fn work_that_nobody_counts_begins_and_ends() {
        #[derive(Default)]
        struct Heard(std::sync::Mutex<Vec<String>>);
        impl Heard {
            fn note(&self, text: String) {
                self.0.lock().unwrap().push(text);
            }
        }
        impl Reporter for Heard {
            fn progress(&self, _: &ProgressEvent) {}
            fn finished(&self, _: &str, _: &str) {}
            fn begins(&self, model: &str, task: &str) {
                self.note(format!("begins {}", title(model, Some(task))));
            }
            fn ends(&self, model: &str, task: &str) {
                self.note(format!("ends {}", title(model, Some(task))));
            }
            fn say(&self, text: &str) {
                self.note(text.into());
            }
            fn warn(&self, _: &str) {}
        }
        let heard = Heard::default();
        let made = meanwhile(&heard, "student", "set tests", || {
            heard.say("at it");
            7
        });
        assert_eq!(made, 7);
        let said = heard.0.into_inner().unwrap();
        let expected = [
            "begins student, set tests",
            "at it",
            "ends student, set tests",
        ];
        assert_eq!(said, expected);
        assert_eq!(meanwhile(&Silent, "", "report", || 8), 8);
    }

    #[test]
    fn durations_have_two_units() {
        let text = |s| duration(Duration::from_secs(s));
        assert_eq!(
            [text(9), text(75), text(3700), text(90_000)],
            ["9 s", "1 min 15 s", "1 h 01 min", "1 d 01 h"]
        );
    }
}

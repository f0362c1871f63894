//! Progress of one or several models at a time: bars on a terminal, now and then a line elsewhere, JSON for programs.
//!
//! Everything goes to stderr, because stdout is for results. A training process that a run started writes its
//! [`ProgressEvent`]s as JSON lines to stdout instead, and the run shows them with its [`Terminal`].

use crate::args::Global;
use crate::output;
use dualmd_experiment::choices::LogFormat;
use dualmd_experiment::experiment::epochs;
use dualmd_runs::errors::harmless;
use dualmd_runs::machine;
use dualmd_runs::reporter::{ProgressEvent, Reporter, Work, duration, title};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Characters in a line that a bar and what is known of the work need.
const ROOM: usize = 100;

/// Time between two lines about the same model where there are no bars.
const LINE_EVERY: Duration = Duration::from_secs(20);

/// Silence after which it is told that the work goes on.
const SILENCE: Duration = Duration::from_secs(5);

/// Time between two looks at whether it is that long.
const GLANCE: Duration = Duration::from_secs(1);

/// A line of `--log-format json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Progress(&'a ProgressEvent),
    Working {
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        task: Option<&'a str>,
        seconds: u64,
    },
    Finished {
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        task: Option<&'a str>,
        note: &'a str,
    },
    Message {
        text: &'a str,
    },
    Result {
        model: &'a str,
        finding: &'a str,
    },
    Error {
        text: &'a str,
    },
}

/// The form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// One bar per model.
    Bars,
    /// Plain lines.
    Lines,
    /// JSON lines.
    Json,
    /// Nothing.
    Silent,
}

impl View {
    /// The form that flags and the terminal ask for.
    fn choose(quiet: bool, format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text if quiet => Self::Silent,
            LogFormat::Text if io::stderr().is_terminal() => Self::Bars,
            LogFormat::Text => Self::Lines,
        }
    }
}

/// Tells it all on standard error.
pub struct Terminal {
    progress: Arc<Mutex<Progress>>,
    verbose: bool,
}

/// Tells now and then that the work goes on, as long as there is a [`Terminal`] of this progress.
fn watch(progress: Weak<Mutex<Progress>>) {
    let glances = move || {
        loop {
            std::thread::sleep(GLANCE);
            let Some(progress) = progress.upgrade() else {
                return;
            };
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.go_on(Instant::now());
        }
    };
    // Where the system has no thread left, all else is told as ever.
    drop(
        std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(glances),
    );
}

impl Terminal {
    /// As the flags have it.
    pub fn new(global: &Global) -> Self {
        let view = View::choose(global.quiet, global.log_format);
        let progress = Arc::new(Mutex::new(Progress::new(view)));
        if view != View::Silent {
            watch(Arc::downgrade(&progress));
        }
        Self {
            progress,
            verbose: global.verbose > 0,
        }
    }

    /// For what is wrong before the flags are understood: JSON lines where `words` ask for them, as far as that can be seen there.
    pub fn json_of(words: &[OsString]) -> Option<Self> {
        asks_for_json(words).then(|| Self {
            progress: Arc::new(Mutex::new(Progress::new(View::Json))),
            verbose: false,
        })
    }

    /// What a command ends with; `text` begins with "error: ".
    pub fn error(&self, text: &str) {
        self.progress().error(text);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Lines that another thread did not finish are no reason for silence.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for Terminal {
    fn progress(&self, event: &ProgressEvent) {
        self.progress().update(event);
    }

    fn finished(&self, model: &str, note: &str) {
        self.progress().finish(Some(model), None, note);
    }

    fn done(&self, task: &str, note: &str) {
        self.progress().finish(None, Some(task), note);
    }

    fn begins(&self, model: &str, task: &str) {
        self.progress().begins(model, task, Instant::now());
    }

    fn ends(&self, model: &str, task: &str) {
        self.progress().ends(model, task);
    }

    fn say(&self, text: &str) {
        self.progress().say(text);
    }

    fn warn(&self, text: &str) {
        self.progress().warn(text);
    }

    fn concluded(&self, model: &str, finding: &str) {
        let mut progress = self.progress();
        if progress.view == View::Json {
            progress.event(&Event::Result { model, finding });
        }
    }

    fn detail(&self, text: &str) {
        if self.verbose {
            self.progress().warn(text);
        }
    }
}

/// Does a command line, which may be wrong elsewhere, ask for JSON lines?
fn asks_for_json(words: &[OsString]) -> bool {
    const FLAG: &str = "--log-format";
    let json = LogFormat::Json.as_str();
    let flags = words.iter().take_while(|word| *word != "--");
    let after = words.iter().skip(1).map(Some).chain([None]);
    flags.zip(after).any(|(word, next)| {
        let rest = word.to_str().and_then(|word| word.strip_prefix(FLAG));
        match rest {
            Some("") => next.is_some_and(|next| next == json),
            Some(rest) => rest.strip_prefix('=') == Some(json),
            None => false,
        }
    })
}

/// Shows the progress of several models.
struct Progress {
    view: View,
    out: Box<dyn Write + Send>,
    bars: MultiProgress,
    /// Is there no room for a bar and all that is known?
    narrow: bool,
    /// By the titles of their events.
    models: BTreeMap<String, Shown>,
    /// What is being done of which nobody counts how far it is, the last begun within those before it.
    uncounted: Vec<Doing>,
    /// What was counted last.
    counted: Option<Doing>,
    /// When something was shown last.
    told: Instant,
    /// When something was heard last, shown or not.
    heard: Instant,
    /// Shows on a terminal that the work goes on.
    spinner: Option<ProgressBar>,
}

/// Work that goes on.
#[derive(Debug, Clone)]
struct Doing {
    model: String,
    task: Option<String>,
    /// When it began, or was heard of last.
    since: Instant,
}

/// What is known of one model, or of other work with a title of its own.
struct Shown {
    stage: Work,
    /// Where this process saw it first: a resumed training does not begin at 0.
    first: (u64, Instant),
    last_line: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress on stderr.
    fn new(view: View) -> Self {
        let narrow = output::columns_of_remarks().is_some_and(|columns| columns < ROOM);
        Self {
            narrow,
            ..Self::with_writer(view, Box::new(io::stderr()), ProgressDrawTarget::stderr())
        }
    }

    fn with_writer(view: View, out: Box<dyn Write + Send>, target: ProgressDrawTarget) -> Self {
        let now = Instant::now();
        Self {
            uncounted: Vec::new(),
            counted: None,
            told: now,
            heard: now,
            spinner: None,
            view,
            out,
            bars: MultiProgress::with_draw_target(target),
            narrow: false,
            models: BTreeMap::new(),
        }
    }

    /// Shows an event.
    fn update(&mut self, event: &ProgressEvent) {
        self.update_at(event, Instant::now());
    }

    fn update_at(&mut self, event: &ProgressEvent, now: Instant) {
        if self.view == View::Silent {
            return;
        }
        self.heard = now;
        self.counted = Some(Doing {
            model: event.model.clone(),
            task: event.task.clone(),
            since: now,
        });
        self.clear_spinner();
        if self.view == View::Json {
            self.told = now;
            self.event(&Event::Progress(event));
            return;
        }
        let title = event.title();
        // The next stage of a model is counted and timed anew.
        let before = self.models.get(&title).map(|shown| shown.stage);
        if before.is_some_and(|stage| stage != event.stage) {
            self.clear(&title);
        }
        let (view, bars, narrow) = (self.view, &self.bars, self.narrow);
        let shown = self.models.entry(title.clone()).or_insert_with(|| Shown {
            stage: event.stage,
            first: (event.step, now),
            last_line: None,
            bar: (view == View::Bars).then(|| new_bar(bars, event, narrow)),
        });
        let left = time_left(shown.first, event, now);
        if let Some(bar) = &shown.bar {
            bar.set_length(event.total);
            bar.set_position(event.step);
            bar.set_message(match narrow {
                true => brief(event, left),
                false => facts(event, left),
            });
            // Nobody says of it that it is done.
            if event.task.is_some() && event.step >= event.total {
                self.clear(&title);
            }
        } else if event.step >= event.total
            || shown.last_line.is_none_or(|last| now - last >= LINE_EVERY)
        {
            shown.last_line = Some(now);
            self.told = now;
            let said = facts(event, left);
            let line = format!(
                "{title:<12} {} {}/{}{}{said}",
                event.stage.unit(),
                event.step,
                event.total,
                if said.is_empty() { "" } else { ", " }
            );
            self.line(&line);
        }
    }

    /// Work begins of which nobody counts how far it is.
    fn begins(&mut self, model: &str, task: &str, now: Instant) {
        self.heard = now;
        self.uncounted.push(Doing {
            model: model.to_owned(),
            task: Some(task.to_owned()),
            since: now,
        });
    }

    /// It is done.
    fn ends(&mut self, model: &str, task: &str) {
        let of = |doing: &Doing| doing.model == model && doing.task.as_deref() == Some(task);
        if let Some(place) = self.uncounted.iter().rposition(of) {
            self.uncounted.remove(place);
        }
        // What was counted before it is over, too.
        self.counted = None;
        self.clear_spinner();
    }

    /// Tells that the work goes on, where nothing was told for long.
    fn go_on(&mut self, now: Instant) {
        if self.view == View::Silent || now - self.heard < SILENCE {
            return;
        }
        let (doing, counted) = match (self.uncounted.last(), &self.counted) {
            // What is counted within it was heard of later.
            (Some(outer), Some(inner)) if inner.since > outer.since => (inner.clone(), true),
            (Some(doing), _) => (doing.clone(), false),
            (None, Some(doing)) => (doing.clone(), true),
            (None, None) => return,
        };
        let time = now - doing.since;
        let name = title(&doing.model, doing.task.as_deref());
        let said = match counted {
            true => format!("at work, last counted {} ago", duration(time)),
            false => format!("at work for {}", duration(time)),
        };
        match self.view {
            View::Silent => {}
            View::Bars => {
                let bars = &self.bars;
                let spinner = self.spinner.get_or_insert_with(|| new_spinner(bars));
                spinner.set_prefix(name);
                spinner.set_message(said);
                spinner.tick();
            }
            View::Lines if now - self.told >= LINE_EVERY => {
                self.told = now;
                self.line(&format!("{name:<12} {said}"));
            }
            View::Json if now - self.told >= SILENCE => {
                self.told = now;
                self.event(&Event::Working {
                    model: Some(doing.model.as_str()).filter(|model| !model.is_empty()),
                    task: doing.task.as_deref(),
                    seconds: time.as_secs(),
                });
            }
            View::Lines | View::Json => {}
        }
    }

    fn clear_spinner(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }

    /// Ends the bar of a model, or of a task that is no model's, and leaves a line about it: `note` is e.g. "trained in 3 min 20 s".
    fn finish(&mut self, model: Option<&str>, task: Option<&str>, note: &str) {
        let title = model.or(task).unwrap_or_default();
        self.clear(title);
        self.clear_spinner();
        // Of what is done nothing goes on.
        let of = |doing: &Doing| Some(doing.model.as_str()).filter(|m| !m.is_empty()) == model;
        if self.counted.as_ref().is_some_and(of) {
            self.counted = None;
        }
        if self.view == View::Json {
            self.told = Instant::now();
            self.event(&Event::Finished { model, task, note });
        } else {
            self.say(&format!("{title:<12} {note}"));
        }
    }

    /// Takes a bar away.
    fn clear(&mut self, title: &str) {
        if let Some(bar) = self.models.remove(title).and_then(|shown| shown.bar) {
            bar.finish_and_clear();
        }
    }

    /// Prints a line without disturbing the bars.
    fn say(&mut self, text: &str) {
        self.told = Instant::now();
        match self.view {
            View::Silent => {}
            View::Bars => self.bars.suspend(|| {
                // Progress must not end a training because nobody reads it.
                let _ = writeln!(self.out, "{}", harmless(text));
            }),
            View::Lines => self.line(text),
            View::Json => self.event(&Event::Message { text }),
        }
    }

    /// Prints a line also where nothing else is shown.
    fn warn(&mut self, text: &str) {
        match self.view {
            View::Silent => self.line(text),
            _ => self.say(text),
        }
    }

    /// Prints what a command ends with. The kind of a line of JSON says that it is an error.
    fn error(&mut self, text: &str) {
        match self.view {
            View::Json => {
                let text = text.strip_prefix("error: ").unwrap_or(text);
                self.event(&Event::Error { text });
            }
            _ => self.warn(text),
        }
    }

    /// A line of JSON, its keys in alphabetical order, with the time in UTC.
    fn event(&mut self, event: &Event<'_>) {
        // Strings and numbers: that cannot fail.
        if let Ok(mut value) = serde_json::to_value(event) {
            if let Some(fields) = value.as_object_mut() {
                fields.insert("time".to_owned(), machine::now().into());
            }
            self.line(&value.to_string());
        }
    }

    fn line(&mut self, text: &str) {
        // As in `say`: a closed pipe is no reason to stop.
        let _ = writeln!(self.out, "{}", harmless(text)).and_then(|()| self.out.flush());
    }
}

fn new_bar(bars: &MultiProgress, event: &ProgressEvent, narrow: bool) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(event.total));
    if let Ok(style) = ProgressStyle::with_template(&template(event.stage, narrow)) {
        bar.set_style(style.progress_chars("━━─"));
    }
    bar.set_prefix(event.title());
    bar
}

fn new_spinner(bars: &MultiProgress) -> ProgressBar {
    let spinner = bars.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{prefix:<12} {spinner} {wide_msg}") {
        spinner.set_style(style);
    }
    spinner
}

/// A bar and what is known; in a narrow terminal two lines without a bar, of which the second is cut where it is too long.
fn template(stage: Work, narrow: bool) -> String {
    let unit = stage.unit();
    match narrow {
        true => format!("{{prefix}}: {unit} {{pos}}/{{len}}\n  {{wide_msg}}"),
        false => format!("{{prefix:<12}} {{bar:24}} {unit} {{pos:>6}}/{{len:<6}} {{msg}}"),
    }
}

/// What is said where there is little room: "1 min 05 s left, about 2 h 10 min left in all"
fn brief(event: &ProgressEvent, left: Option<Duration>) -> String {
    let event = ProgressEvent {
        epoch: None,
        loss: None,
        images_per_second: 0.0,
        ..event.clone()
    };
    facts(&event, left)
}

/// "epoch 250, loss 0.0412, 640 images/s, 1 min 05 s left, about 2 h 10 min left in all"
fn facts(event: &ProgressEvent, left: Option<Duration>) -> String {
    let epoch = event.epoch.map(|e| format!("epoch {}", epochs::text(e)));
    let loss = event.loss.map(|loss| format!("loss {loss:.4}"));
    let speed = speed(event.images_per_second);
    let left = left.map(|left| format!("{} left", duration(left)));
    let run = event.run_seconds_left.map(Duration::from_secs);
    let about = match event.run_left_without.is_empty() {
        true => "about",
        false => "at least",
    };
    let run = run.map(|left| format!("{about} {} left in all", duration(left)));
    [epoch, loss, speed, left, run]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

/// "640 images/s", "2.5 images/s", "24 images/min", "40 images/h": never 0 of anything; nothing where it is not known.
fn speed(images_per_second: f64) -> Option<String> {
    let (number, digits, unit) = match images_per_second {
        s if !s.is_finite() || s <= 0.0 => return None,
        s if s >= 9.95 => (s, 0, "s"),
        s if s >= 1.0 => (s, 1, "s"),
        s if s * 60.0 >= 1.0 => (s * 60.0, 0, "min"),
        s => (s * 3600.0, 0, "h"),
    };
    let text = format!("{number:.digits$}");
    (text != "0").then(|| format!("{text} images/{unit}"))
}

/// Time left at the mean speed since `first`; None before there is one, and at the end.
fn time_left(first: (u64, Instant), event: &ProgressEvent, now: Instant) -> Option<Duration> {
    let done = event.step.checked_sub(first.0).filter(|done| *done > 0)?;
    let rest = event
        .total
        .checked_sub(event.step)
        .filter(|rest| *rest > 0)?;
    let ratio = rest as f64 / done as f64;
    Duration::try_from_secs_f64((now - first.1).as_secs_f64() * ratio).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn event(step: u64) -> ProgressEvent {
        ProgressEvent {
            model: "student".into(),
            stage: Work::Train,
            task: None,
            step,
            total: 1000,
            epoch: Some(step as f64 / 4.0),
            loss: Some(0.0412),
            images_per_second: 640.2,
            run_seconds_left: None,
            run_left_without: Vec::new(),
        }
    }

    fn shown(view: View, script: impl FnOnce(&mut Progress)) -> String {
        let out = Shared::default();
        script(&mut Progress::with_writer(
            view,
            Box::new(out.clone()),
            ProgressDrawTarget::hidden(),
        ));
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_come_first_last_and_now_and_then() {
        let text = shown(View::Lines, |progress| {
            let start = Instant::now();
            // A resumed training: speed counts from where this process began.
            for (step, seconds) in [(500, 0), (550, 10), (600, 20), (650, 30), (1000, 35)] {
                progress.update_at(&event(step), start + Duration::from_secs(seconds));
            }
            progress.finish(Some("student"), None, "trained");
        });
        assert_eq!(
            text,
            "student      step 500/1000, epoch 125, loss 0.0412, 640 images/s\n\
             student      step 600/1000, epoch 150, loss 0.0412, 640 images/s, 1 min 20 s left\n\
             student      step 1000/1000, epoch 250, loss 0.0412, 640 images/s\n\
             student      trained\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = shown(View::Json, |progress| {
            progress.update(&event(1));
            progress.say("a \"quoted\" line\nand another");
            progress.finish(Some("student"), None, "trained");
        });
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            (&lines[0]["event"], &lines[0]["step"], &lines[0]["stage"]),
            (&json!("progress"), &json!(1), &json!("train"))
        );
        for line in &lines {
            // As in 2026-11-24T05:09:00Z.
            let time = line["time"].as_str().unwrap();
            assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
        }
        assert_eq!(lines[2]["note"], "trained");
    }

    #[test]
    fn json_has_no_empty_fields_and_says_error_once() {
        let script = |progress: &mut Progress| {
            let images = ProgressEvent::images("sample", 4, 4, Instant::now());
            progress.update(&images.of(Work::Generate));
            progress.update(&event(1));
            progress.error("error: no such model");
        };
        let text = shown(View::Json, script);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines[0].get("loss").is_none() && lines[0].get("epoch").is_none());
        assert!(lines[1]["loss"].is_number() && lines[1]["epoch"].is_number());
        assert_eq!(
            (&lines[2]["event"], &lines[2]["text"]),
            (&json!("error"), &json!("no such model"))
        );
        assert!(shown(View::Silent, script).contains("error: no such model\n"));
    }

    #[test]
    fn the_form_is_seen_in_a_line_that_is_wrong() {
        let of = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            asks_for_json(&words)
        };
        for line in [
            "dualmd audit --bogus --log-format json",
            "dualmd --log-format=json audit --bogus",
        ] {
            assert!(of(line), "{line}");
        }
        for line in [
            "dualmd audit",
            "dualmd audit --log-format",
            "dualmd audit --log-format text json",
            "dualmd audit --log-formats=json",
            "dualmd audit -- --log-format json",
        ] {
            assert!(!of(line), "{line}");
        }
    }

    #[test]
    fn what_is_left_of_the_run_is_told_where_it_is_known() {
        let known = || ProgressEvent {
            run_seconds_left: Some(7500),
            ..event(1000)
        };
        let text = shown(View::Lines, |progress| progress.update(&known()));
        assert!(
            text.ends_with("images/s, about 2 h 05 min left in all\n"),
            "{text}"
        );
        let text = shown(View::Json, |progress| {
            progress.update(&known());
            progress.update(&event(1000));
        });
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["run_seconds_left"], 7500);
        assert!(lines[0].get("run_left_without").is_none(), "{text}");
        assert!(lines[1].get("run_seconds_left").is_none(), "{text}");
    }

    #[test]
    fn what_is_not_counted_yet_makes_it_the_least_that_is_left() {
        let least = || ProgressEvent {
            run_seconds_left: Some(7500),
            run_left_without: vec!["attack".into(), "report".into()],
            ..event(1000)
        };
        let text = shown(View::Lines, |progress| progress.update(&least()));
        assert!(
            text.ends_with("images/s, at least 2 h 05 min left in all\n"),
            "{text}"
        );
        let text = shown(View::Json, |progress| progress.update(&least()));
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["run_left_without"], json!(["attack", "report"]));
    }

    #[test]
    fn nothing_is_silent_for_long() {
        let script = |progress: &mut Progress| {
            let start = Instant::now();
            let at = |seconds: u64| start + Duration::from_secs(seconds);
            // Nothing was begun.
            progress.go_on(at(60));
            progress.begins("student", "set tests", at(100));
            for seconds in [102, 106, 108, 121, 130] {
                progress.go_on(at(seconds));
            }
            progress.ends("student", "set tests");
            progress.go_on(at(200));
            // A step that takes long.
            progress.update_at(&event(1), at(300));
            progress.go_on(at(303));
            progress.go_on(at(325));
            progress.finish(Some("student"), None, "trained");
            progress.go_on(at(400));
        };
        assert_eq!(
            shown(View::Lines, script),
            "student, set tests at work for 6 s\n\
             student, set tests at work for 30 s\n\
             student      step 1/1000, epoch 0.25, loss 0.0412, 640 images/s\n\
             student      at work, last counted 25 s ago\n\
             student      trained\n"
        );
        let text = shown(View::Json, script);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let events: Vec<&str> = lines.iter().filter_map(|l| l["event"].as_str()).collect();
        assert_eq!(
            events,
            [
                "working", "working", "working", "progress", "working", "finished"
            ]
        );
        assert_eq!(
            (&lines[1]["model"], &lines[1]["task"], &lines[1]["seconds"]),
            (&json!("student"), &json!("set tests"), &json!(21))
        );
        assert_eq!(lines[4]["seconds"], 25);
        assert!(lines[4].get("task").is_none());
        assert_eq!(shown(View::Silent, script), "");
        assert_eq!(shown(View::Bars, script), "student      trained\n");
    }

    #[test]
    fn the_unit_is_that_of_the_work() {
        let text = shown(View::Lines, |progress| {
            let began = Instant::now();
            let images = ProgressEvent::images("sample", 4, 4, began).of(Work::Generate);
            progress.update(&ProgressEvent {
                images_per_second: 0.0,
                ..images
            });
        });
        assert_eq!(text, "sample       image 4/4\n");
    }

    #[test]
    fn a_model_has_one_name_whatever_is_done_with_it() {
        let began = Instant::now();
        let of = |stage: Work, step: u64| ProgressEvent {
            stage,
            epoch: None,
            loss: None,
            images_per_second: 0.0,
            ..event(step)
        };
        let script = |progress: &mut Progress| {
            // The next stage is timed anew, and its first line is not put off.
            progress.update_at(&of(Work::Generate, 500), began);
            progress.update_at(&of(Work::Attack, 10), began + Duration::from_secs(1));
            progress.update_at(&of(Work::Attack, 510), began + Duration::from_secs(51));
            let own = of(Work::Attack, 1000).doing("own images");
            progress.update_at(&own, began + Duration::from_secs(52));
            progress.finish(None, Some("caption"), "1000 images");
        };
        assert_eq!(
            shown(View::Lines, script),
            "student      image 500/1000\n\
             student      score 10/1000\n\
             student      score 510/1000, 49 s left\n\
             student, own images score 1000/1000\n\
             caption      1000 images\n"
        );
        let text = shown(View::Json, script);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines[..4].iter().all(|line| line["model"] == "student"));
        assert!(lines[..3].iter().all(|line| line.get("task").is_none()));
        assert_eq!(lines[3]["task"], "own images");
        assert!(lines[4].get("model").is_none() && lines[4]["task"] == "caption");
    }

    #[test]
    fn a_narrow_terminal_has_short_lines() {
        let left = Some(Duration::from_secs(65));
        assert_eq!(brief(&event(500), left), "1 min 05 s left");
        let line = template(Work::Train, true);
        assert!(
            !line.contains("{bar") && line.lines().count() == 2,
            "{line}"
        );
        // What indicatif puts in for the longest of our own titles.
        let first = line.lines().next().unwrap();
        let filled = first
            .replace("{prefix}", "student, own images")
            .replace("{pos}", "10000")
            .replace("{len}", "10000");
        assert!(filled.chars().count() <= 40, "{filled}");
        assert!(template(Work::Train, false).contains("{bar:24}"));
    }

    #[test]
    fn slow_work_has_a_speed_too() {
        let said = [640.2, 9.96, 2.54, 0.4, 1.0 / 90.0, 1e-5, 0.0, f64::INFINITY].map(speed);
        let expected = [
            Some("640 images/s"),
            Some("10 images/s"),
            Some("2.5 images/s"),
            Some("24 images/min"),
            Some("40 images/h"),
            None,
            None,
            None,
        ];
        assert_eq!(said.each_ref().map(Option::as_deref), expected);
    }

    #[test]
    fn bars_and_silence_write_no_lines_of_progress() {
        let script = |progress: &mut Progress| {
            progress.update(&event(1));
            progress.update(&event(1000));
            progress.finish(Some("student"), None, "trained");
        };
        assert_eq!(shown(View::Silent, script), "");
        let warned = shown(View::Silent, |progress| progress.warn("warning: no locks"));
        assert_eq!(warned, "warning: no locks\n");
        assert_eq!(shown(View::Bars, script), "student      trained\n");
    }
}

//! A run through the library alone: trainings in this process, a reporter that listens, a stop.

use dualmd::choices::Stage;
use dualmd::experiment::Source;
use dualmd::reporter::{ProgressEvent, Reporter};
use dualmd::{Engine, RunOptions, Session};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

const TINY: &str = r#"
seed = 3
[data]
source = "fashion"
image_size = 8
members = 8
nonmembers = 40
[model]
preset = "tiny"
block_out_channels = [8, 16]
norm_num_groups = 4
attention_head_dim = 8
[train]
steps = 20
batch = 8
dtype = "f32"
checkpoint_every = 5
[sample]
n = 8
steps = 4
[audit]
attacks = ["loss"]
[[models]]
name = "baseline"
defense = "none"
[[models]]
name = "student"
defense = "distillmd"
"#;

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn hear(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Reporter for Heard {
    fn progress(&self, event: &ProgressEvent) {
        self.hear(format!(
            "{} at {} of {}",
            event.model, event.step, event.total
        ));
    }
    fn finished(&self, model: &str, note: &str) {
        self.hear(format!("{model}: {note}"));
    }
    fn say(&self, text: &str) {
        self.hear(text.to_owned());
    }
    fn warn(&self, text: &str) {
        self.hear(text.to_owned());
    }
}

fn session(heard: &Arc<Heard>) -> Session {
    Session {
        reporter: Arc::clone(heard) as Arc<dyn Reporter>,
        ..Session::new(Engine::new("cpu", None, 1).unwrap())
    }
}

fn options(folder: &Path) -> RunOptions {
    let file = folder.join("tiny.toml");
    std::fs::write(&file, TINY).unwrap();
    RunOptions::new(Source::File(file), folder.join("run"))
}

#[test]
fn a_run_in_this_process_ends_with_a_typed_report() {
    let dir = tempfile::tempdir().unwrap();
    let heard = Arc::new(Heard::default());
    let options = options(dir.path());
    let ran = dualmd::run(&session(&heard), &options).unwrap().unwrap();
    let written = ran.runs[0].report.as_ref().unwrap();
    let names: Vec<&str> = written
        .report
        .models
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    assert!(
        names.contains(&"baseline") && names.contains(&"student"),
        "{names:?}"
    );
    assert!(written.html.is_file() && written.json.is_file());
    let lines = heard.0.lock().unwrap();
    for line in ["student at 20 of 20", "baseline: trained in"] {
        assert!(
            lines.iter().any(|l| l.starts_with(line)),
            "{line}: {lines:?}"
        );
    }
    // What trainings take their images from, and no more of the source than they need.
    let prepared = dir.path().join("run/prepared");
    let pixels = std::fs::read_dir(&prepared).unwrap().flatten();
    let sizes = pixels.filter(|e| e.path().extension().is_some_and(|e| e == "pixels"));
    let sizes: Vec<u64> = sizes.map(|e| e.metadata().unwrap().len()).collect();
    assert_eq!(sizes, [48 * 64]);
}

#[test]
fn a_run_that_is_stopped_goes_on_and_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let heard = Arc::new(Heard::default());
    let stopped = session(&heard);
    stopped.stop.store(true, Ordering::Relaxed);
    let mut options = options(dir.path());
    assert!(dualmd::run(&stopped, &options).unwrap().is_none());
    options.until = Stage::Train;
    let ran = dualmd::run(&session(&heard), &options).unwrap().unwrap();
    assert!(ran.runs[0].report.is_none());
    drop(ran);

    // A training whose images are damaged says so; the run itself writes them again.
    let run = dualmd::stages::RunFolder(dir.path().join("run"));
    std::fs::remove_dir_all(run.model("baseline")).unwrap();
    let pixels = std::fs::read_dir(run.0.join("prepared")).unwrap().flatten();
    let pixels = pixels
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "pixels"));
    let pixels = pixels.unwrap();
    std::fs::write(&pixels, vec![0; 48 * 64]).unwrap();
    let trained =
        dualmd::stages::train::prepared(&run, "baseline", None, &session(&heard), None, || true);
    let error = format!("{:#}", trained.unwrap_err());
    assert!(
        error.contains(".pixels is damaged") && error.contains("prepares its images again"),
        "{error}"
    );
    assert!(dualmd::run(&session(&heard), &options).unwrap().is_some());
    assert!(run.model("baseline").is_dir());
}

//! What was found out about a run, in lines for people: problems first.

use crate::reporter::duration;
use dualmd_audit::format::counted;
use dualmd_record::run_check::{DiskRoom, ImagesFound, MemoryHeld, RunCheck, TrainingTime};
use std::time::Duration;

/// Seconds in words, begun ones as whole.
fn time(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.min(1e9).ceil());
    duration(whole.unwrap_or_default())
}

/// Seconds that may not be known.
fn maybe(seconds: Option<f64>) -> String {
    seconds.map_or("not measured".into(), time)
}

/// A number of GB.
fn size(gb: f64) -> String {
    match gb < 1.0 {
        true => format!("{:.0} MB", (gb * 1e3).ceil()),
        false => format!("{gb:.1} GB"),
    }
}

fn images(found: &ImagesFound) -> String {
    let outside = match found.outside {
        0 => String::new(),
        n => format!(", {n} others that nobody else sees"),
    };
    format!(
        "images: {} and {} of {} ({} dropped){outside}",
        counted(found.members, "member"),
        counted(found.nonmembers, "non-member"),
        found.records,
        counted(found.duplicates, "exact duplicate")
    )
}

fn training(found: &TrainingTime) -> String {
    let fewer = match found.timed_batch < found.batch {
        true => format!(" (from {} of {} images)", found.timed_batch, found.batch),
        false => String::new(),
    };
    format!(
        "  {:<20} {:>9} steps of {:>8.3} s{fewer}  {}",
        found.name,
        found.steps,
        found.step_seconds,
        time(found.seconds)
    )
}

fn memory(held: &MemoryHeld, side_by_side: usize) -> String {
    let there = held
        .there_gb
        .map_or(String::new(), |gb| format!(" of {}", size(gb)));
    let more = match held.whole {
        true => "",
        false => ", more where fewer images were timed than a step has",
    };
    format!(
        "memory: about {} a training, {} for {side_by_side} side by side{there}{more}",
        size(held.one_gb),
        size(held.all_gb)
    )
}

fn disk(room: &DiskRoom) -> String {
    let free = room
        .free_gb
        .map_or(String::new(), |gb| format!(", {} are free", size(gb)));
    format!("disk: about {}{free}", size(room.needed_gb))
}

/// All of it.
pub(super) fn lines(found: &RunCheck) -> Vec<String> {
    let each = |what: &str, all: &[String]| -> Vec<String> {
        all.iter().map(|said| format!("{what}: {said}")).collect()
    };
    let mut out = each("problem", &found.problems);
    out.push(format!("run: {}", found.folder));
    out.extend(found.images.as_ref().map(images));
    if !found.stages.is_empty() {
        out.push(format!("{:<8} {:>6}  {}", "stage", "models", "about"));
    }
    for stage in &found.stages {
        let how = match stage.stage.as_str() {
            "train" => format!(
                ", {} at a time with {} each",
                found.side_by_side,
                counted(found.threads, "thread")
            ),
            _ => String::new(),
        };
        let took = maybe(stage.seconds);
        out.push(format!(
            "{:<8} {:>6}  {took}{how}",
            stage.stage, stage.models
        ));
    }
    if !found.stages.is_empty() {
        let runs = match found.seeds {
            1 => String::new(),
            n => format!(", {n} runs"),
        };
        let took = maybe(found.seconds);
        out.push(format!("{:<8} {:>6}  {took}{runs}", "all", ""));
    }
    out.extend(found.trainings.iter().map(training));
    let beside = found.side_by_side.min(found.trainings.len()).max(1);
    out.extend(found.memory.as_ref().map(|held| memory(held, beside)));
    out.extend(found.disk.as_ref().map(disk));
    out.extend(each("not checked", &found.unchecked));
    out.extend(each("look at", &found.look_at));
    if !found.method.is_empty() {
        out.push(format!("estimated: {}", found.method));
    }
    out
}

/// The same in three lines: what would be done, what it takes, what to look at.
pub(super) fn summary(found: &RunCheck) -> [String; 3] {
    let models: Vec<String> = found
        .stages
        .iter()
        .map(|stage| format!("{} {}", stage.stage, counted(stage.models, "model")))
        .collect();
    let look = [&found.problems, &found.unchecked, &found.look_at];
    let look: Vec<&str> = look.into_iter().flatten().map(String::as_str).collect();
    let runs = match found.seeds {
        1 => String::new(),
        n => format!("; {n} runs"),
    };
    [
        format!("{}: {}{runs}", found.folder, models.join(", ")),
        match found.seconds {
            Some(seconds) => format!("about {}, an estimate", time(seconds)),
            None => "how long it takes could not be measured".to_owned(),
        },
        match (found.problems.is_empty(), look.is_empty()) {
            (true, true) => "nothing speaks against beginning".to_owned(),
            (true, false) => format!("look at: {}", look.join("; ")),
            (false, _) => format!("problem: {}", look.join("; ")),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_record::run_check::StageTime;

    fn found() -> RunCheck {
        let stage = |stage: &str, seconds| StageTime {
            stage: stage.into(),
            models: 2,
            seconds,
        };
        RunCheck {
            folder: "runs/mine".into(),
            seeds: 3,
            side_by_side: 2,
            threads: 1,
            trainings: vec![TrainingTime {
                name: "baseline".into(),
                steps: 600,
                batch: 64,
                timed_batch: 4,
                step_seconds: 0.25,
                seconds: 150.0,
            }],
            stages: vec![stage("train", Some(150.0)), stage("sample", Some(0.5))],
            seconds: Some(451.5),
            disk: Some(DiskRoom {
                needed_gb: 0.0301,
                free_gb: Some(12.0),
            }),
            ..RunCheck::default()
        }
    }

    #[test]
    fn problems_come_first_and_the_table_follows() {
        let mut found = found();
        found.problems.push("too few images".into());
        found.unchecked.push("the moon".into());
        let lines = lines(&found);
        assert_eq!(lines[0], "problem: too few images");
        for wanted in [
            "train         2  2 min 30 s, 2 at a time with 1 thread each",
            "sample        2  1 s",
            "all              7 min 32 s, 3 runs",
            "disk: about 31 MB, 12.0 GB are free",
            "not checked: the moon",
        ] {
            assert!(
                lines.iter().any(|line| line == wanted),
                "{wanted}: {lines:#?}"
            );
        }
        let of = lines.iter().find(|line| line.starts_with("  baseline"));
        let of = of.unwrap();
        assert!(
            of.contains("600 steps of    0.250 s (from 4 of 64 images)  2 min 30 s"),
            "{of}"
        );
    }

    #[test]
    fn three_lines_say_what_there_is_to_say() {
        let mut found = found();
        let expected = "runs/mine: train 2 models, sample 2 models; 3 runs";
        assert_eq!(
            summary(&found),
            [
                expected,
                "about 7 min 32 s, an estimate",
                "nothing speaks against beginning"
            ]
        );
        found.look_at.push("few images".into());
        assert_eq!(summary(&found)[2], "look at: few images");
        found.problems.push("no room".into());
        found.seconds = None;
        let [_, took, problem] = summary(&found);
        assert_eq!(took, "how long it takes could not be measured");
        assert_eq!(problem, "problem: no room; few images");
    }
}

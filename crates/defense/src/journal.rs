//! Training logs: JSON lines for programs, an event file for TensorBoard.

use crate::{DefenseError, Result};
use dualmd_files::limit;
use dualmd_record::events;
pub use dualmd_record::training::LogLine;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes both logs.
pub struct Journal {
    json: File,
    json_path: PathBuf,
    events: File,
    events_path: PathBuf,
}

fn file_error(path: &Path, reason: impl std::fmt::Display) -> DefenseError {
    DefenseError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// Opens a file that was just written, and thus is a regular one, to add to its end.
#[expect(
    clippy::disallowed_methods,
    reason = "a log grows while it is read; the door writes whole files"
)]
fn append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(|e| file_error(path, e))
}

impl Journal {
    /// Opens `json_path` (lines after `resumed_at` are dropped: they will be written again) and a new event file in
    /// `tensorboard` named after the step it starts from.
    ///
    /// # Errors
    /// What opening gives.
    pub fn open(json_path: &Path, tensorboard: &Path, resumed_at: u64) -> Result<Self> {
        for folder in [json_path.parent(), Some(tensorboard)]
            .into_iter()
            .flatten()
        {
            dualmd_files::create_folder(folder)?;
        }
        let kept: String = match dualmd_files::read(json_path, limit::TABLE) {
            Ok(text) => String::from_utf8_lossy(&text)
                .lines()
                .filter(|l| {
                    serde_json::from_str::<LogLine>(l).is_ok_and(|line| line.step <= resumed_at)
                })
                .map(|l| format!("{l}\n"))
                .collect(),
            Err(e) if e.is_absent() => String::new(),
            Err(e) => return Err(e.into()),
        };
        dualmd_files::write(json_path, kept.as_bytes())?;
        let json = append(json_path)?;
        let now = now();
        let events_path = tensorboard.join(format!(
            "events.out.tfevents.{:.0}.dualmd.{resumed_at}",
            now
        ));
        // Emptied, if a run that began in the same second left one.
        dualmd_files::write(&events_path, &[])?;
        let mut events = append(&events_path)?;
        events
            .write_all(&events::head(now))
            .map_err(|e| file_error(&events_path, e))?;
        Ok(Self {
            json,
            json_path: json_path.to_owned(),
            events,
            events_path,
        })
    }

    /// Appends one line to both.
    ///
    /// # Errors
    /// What writing gives (a full disk).
    pub fn write(&mut self, line: &LogLine) -> Result<()> {
        let mut text = serde_json::to_string(line).map_err(|e| file_error(&self.json_path, e))?;
        text.push('\n');
        self.json
            .write_all(text.as_bytes())
            .map_err(|e| file_error(&self.json_path, e))?;
        let scalars = [
            ("train/loss", Some(line.loss)),
            ("train/learning_rate", Some(line.lr)),
            ("train/grad_norm", Some(line.grad_norm)),
            ("train/images_per_second", Some(line.images_per_second)),
            ("loss/member", line.member_loss),
            ("loss/heldout", line.heldout_loss),
            ("loss/gap", line.gap),
            ("loss/calibration", line.calibration_loss),
            ("train/left_out", line.left_out),
        ];
        let known: Vec<(&str, f64)> = scalars
            .into_iter()
            .filter_map(|(tag, value)| Some((tag, value?)))
            .collect();
        self.events
            .write_all(&events::scalars(now(), line.step, &known))
            .map_err(|e| file_error(&self.events_path, e))
    }
}

fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_drops_lines_that_will_be_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let json = dir.path().join("logs/m.jsonl");
        let line = |step| LogLine {
            step,
            loss: 0.5,
            lr: 1e-3,
            grad_norm: 1.0,
            images_per_second: 10.0,
            seconds: 1.0,
            member_loss: Some(0.4),
            heldout_loss: None,
            gap: None,
            calibration_loss: None,
            left_out: None,
        };
        let mut journal = Journal::open(&json, &dir.path().join("tb"), 0).unwrap();
        for step in [10, 20, 30] {
            journal.write(&line(step)).unwrap();
        }
        drop(journal);
        drop(Journal::open(&json, &dir.path().join("tb"), 20).unwrap());
        let text = std::fs::read_to_string(&json).unwrap();
        assert_eq!(text.lines().count(), 2);
    }
}

//! Training logs: JSON lines for programs, an event file for TensorBoard.

use crate::{DefenseError, Result};
use dualmd_files::limit;
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
        // Event { wall_time = 1: double, file_version = 3: string }
        let mut version = vec![0x09];
        version.extend(now.to_le_bytes());
        field_bytes(&mut version, 3, b"brain.Event:2");
        events
            .write_all(&record(&version))
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
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let Some(value) = value else { continue };
            // Summary.Value { tag = 1: string, simple_value = 2: float }
            let mut v = Vec::new();
            field_bytes(&mut v, 1, tag.as_bytes());
            v.push(0x15);
            v.extend((value as f32).to_le_bytes());
            field_bytes(&mut summary, 1, &v);
        }
        // Event { wall_time = 1: double, step = 2: int64, summary = 5: Summary }
        let mut event = vec![0x09];
        event.extend(now().to_le_bytes());
        event.push(0x10);
        varint(&mut event, line.step);
        field_bytes(&mut event, 5, &summary);
        self.events
            .write_all(&record(&event))
            .map_err(|e| file_error(&self.events_path, e))
    }
}

fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A TFRecord: length, masked CRC of the length, data, masked CRC of the data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend(masked_crc(data).to_le_bytes());
    out
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: a few dozen bytes per log line do not deserve a table.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| {
            (c >> 1) ^ (0x82f6_3b78 & (0u32.wrapping_sub(c & 1)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_check_value() {
        // The standard check value of CRC-32C for "123456789".
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

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

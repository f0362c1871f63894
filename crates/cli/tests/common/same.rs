//! What a run came to, without what no two runs share: times.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Keys of JSON files that hold dates, durations, rates, memory, or what the last call had left to do.
const TIMES: [&str; 8] = [
    "created",
    "seconds",
    "images_per_second",
    "peak_rss_mb",
    "wall_seconds_of_last_invocation",
    "train_seconds",
    "network_calls_made",
    "network_calls_saved",
];

/// Folders whose files are of one process: steps where it was stopped, events by the second.
const OWN: [&str; 2] = ["checkpoints", "tensorboard"];

/// The files of a folder by their path, JSON without times.
pub type Snapshot = BTreeMap<String, Vec<u8>>;

/// Reads a folder, which holds nothing unfinished.
pub fn snapshot(folder: &Path) -> Snapshot {
    let mut out = Snapshot::new();
    walk(folder, "", &mut out);
    // A plan says how the run was called, and with that where to.
    let place = folder.display().to_string();
    for bytes in out.values_mut() {
        if let Ok(text) = std::str::from_utf8(bytes) {
            *bytes = text.replace(&place, "OUT").into_bytes();
        }
    }
    out
}

fn walk(folder: &Path, above: &str, out: &mut Snapshot) {
    for path in dualmd_files::list(folder).unwrap() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let place = format!("{above}{name}");
        let unfinished = name.starts_with(dualmd_files::HIDDEN) || name.ends_with(".lock");
        assert!(!unfinished, "left behind: {}", path.display());
        assert!(!name.ends_with(".parts"), "left behind: {}", path.display());
        if path.is_dir() {
            if OWN.contains(&place.as_str()) {
                walk(&path, &format!("{place}/"), &mut Snapshot::new());
            } else {
                walk(&path, &format!("{place}/"), out);
            }
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let known = match path.extension().and_then(|e| e.to_str()) {
            Some("json") => timeless(&bytes),
            Some("jsonl") => bytes.split(|b| *b == b'\n').flat_map(timeless).collect(),
            Some("csv") => without_seconds(&bytes),
            // Made of report.json, with its date.
            Some("html") => Vec::new(),
            _ => bytes,
        };
        out.insert(place, known);
    }
}

/// A table of commas without its column of durations; a cell with a comma in it does not stand before that column.
fn without_seconds(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let head = text.lines().next().unwrap_or_default();
    let Some(column) = head.split(',').position(|name| name == "seconds") else {
        return text.into_bytes();
    };
    let without = |line: &str| {
        let cells = line.split(',').enumerate();
        let kept = cells.filter(|(index, _)| *index != column);
        kept.map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    };
    text.lines()
        .map(without)
        .collect::<Vec<_>>()
        .join("\n")
        .into_bytes()
}

fn timeless(bytes: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        return bytes.to_vec();
    };
    strip(&mut value);
    serde_json::to_vec(&value).unwrap()
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !TIMES.contains(&key.as_str()));
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Panics, naming the first file that differs.
pub fn assert_same(found: &Snapshot, expected: &Snapshot, how: &str) {
    for name in found.keys().chain(expected.keys()) {
        let (found, expected) = (found.get(name), expected.get(name));
        if found != expected {
            let empty = Vec::new();
            let pair = [found, expected].map(|bytes| bytes.unwrap_or(&empty));
            let same = pair[0].iter().zip(pair[1]).take_while(|(a, b)| a == b);
            let from = same.count().saturating_sub(200);
            let show = |bytes: Option<&Vec<u8>>| match bytes {
                Some(bytes) => {
                    let part = &bytes[from.min(bytes.len())..bytes.len().min(from + 600)];
                    String::from_utf8_lossy(part).into_owned()
                }
                None => "not there".to_owned(),
            };
            panic!(
                "{how}: {name} differs\n--- found\n{}\n--- expected\n{}",
                show(found),
                show(expected)
            );
        }
    }
}

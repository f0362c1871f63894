//! Fashion-MNIST: 300 training photographs of every class, drawn with a fixed seed.

use std::collections::BTreeMap;
use std::path::Path;

use dualmd_data::{Error, LoadOptions, Result, encode_png, load, stream};
use rand::seq::SliceRandom;

use crate::table::Row;

pub const LICENCE: &str = "MIT, (c) 2017 Zalando SE (Fashion-MNIST)";
const PER_CLASS: usize = 300;
const SEED: u64 = 0;
/// Names of the classes 0 to 9, from the data set's own table.
const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

pub fn rows(folder: &Path) -> Result<Vec<Row>> {
    let set = load(&folder.display().to_string(), &LoadOptions::default())?;
    let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, record) in set.records.iter().enumerate() {
        let class = record
            .label
            .as_deref()
            .and_then(|l| l.parse().ok())
            .filter(|c| *c < CLASSES.len());
        let class = class.ok_or_else(|| Error::Options {
            problem: format!(
                "picture {} of {} has no class",
                record.name,
                folder.display()
            ),
            remedy: "the folder needs train-images-idx3-ubyte and train-labels-idx1-ubyte (.gz)"
                .into(),
        })?;
        classes.entry(class).or_default().push(i);
    }
    let mut chosen = Vec::new();
    for (class, mut rows) in classes {
        rows.shuffle(&mut stream(SEED, "bundle fashion", class as u64));
        chosen.extend(rows.into_iter().take(PER_CLASS).map(|i| (i, class)));
    }
    // In the order of the original, so that the classes are mixed.
    chosen.sort_unstable();
    let row = |(i, class): (usize, usize)| {
        let record = &set.records[i];
        let captions = vec![CLASSES[class].to_owned()];
        Ok(Row {
            png: encode_png(&record.picture)?,
            path: format!("train/{}.png", record.name),
            captions,
            more: Vec::new(),
        })
    };
    chosen.into_iter().map(row).collect()
}

//! Figure 5 of the paper: images of each model from the same noise, one row per model.

use super::Pictures;
use super::names;
use super::read::Set;
use super::study::Study;
use super::table::Table;
use anyhow::{Result, bail};
use dualmd_data::decode::decode;
use dualmd_data::{LoadOptions, Picture, encode_png, grid};
use dualmd_files::limit;
use dualmd_names::Part;
use dualmd_plot as svg;
use std::path::Path;

/// Images in a row.
pub const COLUMNS: usize = 12;
/// Least side of an image in the figure, in pixels: 16 px would not be seen.
const SIDE: u32 = 48;

/// Draws OUT/fig5-SCALE-SET.png of the first seed of each set, and the same with names before the rows as .svg; the table says which row
/// is which model, too.
///
/// # Errors
/// Samples that are missing or unreadable.
pub fn draw(study: &Study, sets: &[Set]) -> Result<(Table, Pictures)> {
    let title = "Figure 5: images from the same noise";
    let mut table = Table::new(title, &["Image set", "Row", "Model"]);
    table.notes.push(
        "In a column all models begin with the same noise. First seed; the first images in order, none chosen. The rows of the \
         paper's figure: No defense (Original Model), Sub-Model 1 and 2, DualMD, DistillMD."
            .into(),
    );
    let mut files = Vec::new();
    for set in sets {
        let Some(run) = set.runs.first() else {
            continue;
        };
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for (name, title) in models(set) {
            let folder = run.folder.join("samples").join(&name);
            rows.push(row(&folder, &(0..COLUMNS).collect::<Vec<_>>())?);
            labels.push(title.clone());
            table.words([set.name.clone(), rows.len().to_string(), title]);
        }
        let title = format!("Images of each model on {}", set.title);
        let stem = format!("fig5-{}-{}", study.scale.as_str(), set.name);
        let file = save(study, &stem, &rows, &labels, false, &title)?;
        files.push((title, file));
    }
    Ok((table, files))
}

/// Writes rows of pictures as STEM.png, and with a label before each row as STEM.svg, whose name it gives; `numbers`: those of the columns
/// stand above them. As many columns as the shortest row has.
///
/// # Errors
/// No picture; a folder that cannot be written to.
pub fn save(
    study: &Study,
    stem: &str,
    rows: &[Vec<Picture>],
    labels: &[String],
    numbers: bool,
    title: &str,
) -> Result<String> {
    let columns = rows.iter().map(Vec::len).min().unwrap_or(0);
    let pictures: Vec<Picture> = rows
        .iter()
        .flat_map(|row| row.iter().take(columns).cloned())
        .collect();
    let picture = grid(&pictures, columns, 2);
    let png = encode_png(&picture)?;
    let above: Vec<String> = match numbers {
        true => (1..=columns).map(|n| n.to_string()).collect(),
        false => Vec::new(),
    };
    let size = [picture.width, picture.height];
    let drawing = svg::labelled(&png, size, labels, &above, title);
    dualmd_files::write(&study.out.join(format!("{stem}.png")), &png)?;
    let file = format!("{stem}.svg");
    dualmd_files::write(&study.out.join(&file), drawing.as_bytes())?;
    Ok(file)
}

/// (folder of its samples, name in the figure), the paper's five first.
fn models(set: &Set) -> Vec<(String, String)> {
    let first = ["baseline", "teacher-1", "teacher-2", "dualmd", "student"];
    let mut found: Vec<String> = set.models().iter().map(|m| m.name.clone()).collect();
    // Stable: the others stay in the order of the report.
    found.sort_by_key(|m| first.iter().position(|f| f == m).unwrap_or(first.len()));
    found
        .into_iter()
        .map(|name| {
            let title = match Part::of(&name) {
                Some(Part::Teacher { half, own: None }) => format!("Sub-Model {}", half.number()),
                _ => names::method(&name),
            };
            (name, title)
        })
        .collect()
}

/// These images of a folder of samples, up to the first that is not there.
///
/// # Errors
/// None is there, or one cannot be read.
pub fn row(folder: &Path, which: &[usize]) -> Result<Vec<Picture>> {
    let mut out = Vec::new();
    for i in which {
        let path = folder.join(format!("{i:04}.png"));
        if !path.exists() {
            break;
        }
        let bytes = dualmd_files::read(&path, limit::PICTURE)?;
        let picture = decode(&bytes, &path.display().to_string(), &LoadOptions::default())?;
        out.push(enlarged(&picture));
    }
    if out.is_empty() {
        bail!(
            "{} holds no images (0000.png, ...): remove report.json of that run, and the same command draws them again",
            folder.display()
        );
    }
    Ok(out)
}

/// Each pixel as a square, so that small images can be seen as they are.
pub fn enlarged(picture: &Picture) -> Picture {
    let times = SIDE.div_ceil(picture.width.max(1)).max(1);
    let (width, height) = (picture.width * times, picture.height * times);
    let mut out = Picture::filled(width, height, picture.channels, 0);
    let channels = usize::from(picture.channels);
    for (i, pixel) in out.pixels.chunks_exact_mut(channels).enumerate() {
        let (x, y) = (i % width as usize, i / width as usize);
        let from = (y / times as usize * picture.width as usize + x / times as usize) * channels;
        pixel.copy_from_slice(&picture.pixels[from..from + channels]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_squares() {
        let mut small = Picture::filled(2, 1, 1, 0);
        small.pixels = vec![7, 9];
        let big = enlarged(&small);
        assert_eq!((big.width, big.height), (48, 24));
        assert_eq!((big.pixels[23], big.pixels[24]), (7, 9));
        assert_eq!(big.pixels[48 * 24 - 1], 9);
    }
}

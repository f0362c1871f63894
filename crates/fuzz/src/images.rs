//! Pictures and image sets.

use std::path::Path;

use dualmd_data::decode::decode_file;
use dualmd_data::{
    Filter, LoadOptions, NearDuplicateOptions, Picture, dedupe, encode_png, import_secmi_npz, load,
    near_duplicates,
};

use crate::files::{Files, with_file, with_folder};
use crate::said;

/// Limits in proportion to inputs of some kilobytes: a reader that does not ask for them before it makes room shows in the
/// memory of the process.
fn options() -> LoadOptions<'static> {
    LoadOptions {
        max_pixels: 1 << 20,
        max_file_bytes: 4 << 20,
        max_table_bytes: 16 << 20,
        max_records: 2_000,
        ..LoadOptions::default()
    }
}

/// The door that every encoded picture comes through.
pub fn picture(input: &[u8]) {
    let Some((picture, _)) = said(decode_file(input, "input", &options())) else {
        return;
    };
    whole(&picture);
    for filter in [Filter::Bilinear, Filter::Lanczos3] {
        if let Some(small) = said(picture.to_square(8, filter, 1 << 20)) {
            whole(&small);
        }
    }
    if let Some(png) = said(encode_png(&picture)) {
        let again = said(decode_file(&png, "our own png", &LoadOptions::default()));
        assert!(
            again.is_some_and(|(again, _)| again == picture),
            "a picture changed on its way through PNG"
        );
    }
}

/// As many values as the header says.
fn whole(picture: &Picture) {
    let expected =
        u64::from(picture.width) * u64::from(picture.height) * u64::from(picture.channels);
    assert_eq!(picture.pixels.len() as u64, expected);
    assert!(matches!(picture.channels, 1 | 3));
}

/// Loads a source as a run does, as it is and resized.
fn set(source: &Path) {
    let source = source.to_string_lossy();
    let resized = LoadOptions {
        image_size: Some(8),
        channels: Some(3),
        ..options()
    };
    said(load(&source, &options()));
    let Some(mut set) = said(load(&source, &resized)) else {
        return;
    };
    assert_eq!(set.shape(), [3, 8, 8]);
    dedupe(&mut set);
    let indices: Vec<usize> = (0..set.len().min(4)).collect();
    let values = set.to_f32(&indices);
    assert_eq!(values.len(), indices.len() * 3 * 8 * 8);
    assert!(values.iter().all(|value| (-1.0..=1.0).contains(value)));
    if set.len() <= 200 {
        let groups = near_duplicates(&set, &NearDuplicateOptions::default());
        assert_eq!(groups.of.len(), set.len());
    }
}

pub fn idx(input: &[u8]) {
    with_file("train-images-idx3-ubyte", input, set);
}

pub fn idx_gz(input: &[u8]) {
    with_file("train-images-idx3-ubyte.gz", input, set);
}

pub fn cifar(input: &[u8]) {
    with_file("data_batch_1.bin", input, set);
}

pub fn npy(input: &[u8]) {
    with_file("x.npy", input, set);
}

/// An archive is an image set, and may be the member lists of the SecMI code.
pub fn npz(input: &[u8]) {
    with_file("x.npz", input, |path| {
        set(path);
        let mut all = Files::new();
        for value in 0..4u8 {
            let png = said(encode_png(&Picture::filled(4, 4, 1, value * 60)));
            all.push((format!("{value}.png"), png.unwrap_or_default()));
        }
        with_folder(&all, b"", "empty.txt", |folder| {
            if let Some(images) = said(load(&folder.to_string_lossy(), &options())) {
                let groups = near_duplicates(&images, &NearDuplicateOptions::default());
                said(import_secmi_npz(path, &images, &groups, 1));
            }
        });
    });
}

pub fn parquet(input: &[u8]) {
    with_file("x.parquet", input, set);
}

pub fn tar(input: &[u8]) {
    with_file("x.tar", input, set);
}

/// Two pictures, and what the input says of them.
pub fn folder(input: &[u8]) {
    let mut template = Files::new();
    for (name, value) in [("a.png", 10), ("b/c.png", 200)] {
        let png = said(encode_png(&Picture::filled(3, 5, 3, value)));
        template.push((name.to_owned(), png.unwrap_or_default()));
    }
    with_folder(&template, input, "metadata.jsonl", set);
}

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{Cursor, Write};
use std::path::Path;

use crate::{
    Error, FileFacts, Groups, ImageSet, LoadOptions, NearDuplicateOptions, Picture, Record, Split,
    encode_png, load, near_duplicates, save_png,
};

fn picture(seed: u8, width: u32, height: u32, channels: u8) -> Picture {
    let mut out = Picture::filled(width, height, channels, 0);
    out.pixels
        .iter_mut()
        .enumerate()
        .for_each(|(i, v)| *v = (i * 31 + i / 9) as u8 ^ seed.wrapping_mul(97));
    out
}

fn read(path: &Path) -> Result<ImageSet, Error> {
    load(&path.display().to_string(), &LoadOptions::default())
}

fn pictures(set: &ImageSet) -> Vec<Picture> {
    set.records.iter().map(|r| r.picture.clone()).collect()
}

fn fails(path: &Path, words: &[&str]) {
    let error = read(path).unwrap_err().to_string();
    assert!(words.iter().all(|w| error.contains(w)), "{error}");
}

#[test]
fn bundled_sets() {
    let fashion = load("fashion", &LoadOptions::default()).unwrap();
    let kinds: BTreeSet<&str> = fashion
        .records
        .iter()
        .filter_map(|r| r.label.as_deref())
        .collect();
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    assert_eq!((fashion.len(), fashion.shape()), (3000, [1, 28, 28]));
    assert!(fashion.licence.as_deref().unwrap().starts_with("MIT"));
    for class in ["T-shirt/top", "ankle boot"] {
        assert_eq!(
            fashion
                .records
                .iter()
                .filter(|r| r.captions == [class])
                .count(),
            300
        );
    }
    let options = LoadOptions {
        image_size: Some(16),
        ..LoadOptions::default()
    };
    let emoji = load("emoji", &options).unwrap();
    assert_eq!(emoji.shape(), [3, 16, 16]);
    assert!(emoji.licence.as_deref().unwrap().starts_with("Apache-2.0"));
    assert!(
        emoji
            .records
            .iter()
            .all(|r| (2..=4).contains(&r.captions.len()))
    );
    // Ids are of the source, whatever the size: splits survive a change of `image_size`.
    let native = load("emoji", &LoadOptions::default()).unwrap();
    assert_eq!(native.shape(), [3, 32, 32]);
    assert!(
        native
            .records
            .iter()
            .zip(&emoji.records)
            .all(|(a, b)| a.id == b.id)
    );
}

/// BLAKE3 over the ids of a set, in order.
fn ids(set: &ImageSet) -> String {
    let mut hasher = blake3::Hasher::new();
    for record in &set.records {
        hasher.update(record.id.as_str().as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

#[test]
fn bundled_pictures_and_splits_never_change() {
    let options = LoadOptions {
        image_size: Some(16),
        ..LoadOptions::default()
    };
    let vendors = [
        ("emoji#twitter", 1615, "f235c04a80738825"),
        ("emoji#fluent3d", 1598, "0788c95fb7fe5f32"),
    ];
    for (name, count, of_ids) in vendors {
        let set = load(name, &options).unwrap();
        assert_eq!((set.len(), ids(&set).as_str()), (count, of_ids), "{name}");
    }
    for (name, count, of_ids, of_split) in [
        ("fashion", 3000, "0696143aa9c341b3", "1790017917ec525c"),
        ("emoji", 1636, "097fd3ddd17c4189", "4ebecf3c3bc595f6"),
    ] {
        let set = load(name, &options).unwrap();
        assert_eq!((set.len(), ids(&set).as_str()), (count, of_ids), "{name}");
        let groups = near_duplicates(&set, &NearDuplicateOptions::default());
        let split = Split::half(&set, &groups, 100, Some(100), 0).unwrap();
        assert_eq!(&split.hash()[..16], of_split, "{name}");
    }
}

#[test]
fn vendors_of_the_emoji() {
    let emoji = |source: &str| load(source, &LoadOptions::default());
    let google = emoji("emoji").unwrap();
    assert_eq!(emoji("emoji#google").unwrap().records, google.records);
    let twitter = emoji("emoji#twitter").unwrap();
    let licence = twitter.licence.as_deref().unwrap();
    assert!(licence.starts_with("CC-BY-4.0") && licence.contains("Unicode-3.0"));
    let two = emoji("emoji#twitter+google").unwrap();
    assert_eq!(two.records[..google.len()], google.records);
    assert_eq!(two.records[google.len()..], twitter.records);
    let licence = two.licence.as_deref().unwrap();
    assert!(licence.starts_with("Apache-2.0") && licence.contains("CC-BY-4.0"));
    assert_eq!(two.records[google.len()].name, "twitter/0023-fe0f-20e3.png");

    for (source, words) in [
        ("emoji#apple", ["`#apple`", "google, twitter, fluent3d"]),
        ("emoji#google+", ["`#google+`", "#member"]),
        ("emoji#", ["`#`", "#member"]),
        ("fashion#google", ["`fashion`", "#member"]),
        ("emoji#google#twitter", ["`emoji#google`", "#member"]),
    ] {
        let error = emoji(source).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    }

    let options = LoadOptions {
        group_column: Some("vendor"),
        ..LoadOptions::default()
    };
    let fluent = load("emoji#fluent3d", &options).unwrap();
    let of_vendor = |r: &Record| r.group.as_deref() == Some("fluent3d");
    assert!(fluent.records.iter().all(of_vendor));

    // A side comes after the vendors.
    let split = Split::half(&twitter, &Groups::given(&twitter), 20, Some(30), 5).unwrap();
    let options = LoadOptions {
        split: Some(&split),
        ..LoadOptions::default()
    };
    assert_eq!(load("emoji#twitter#d1", &options).unwrap().len(), 10);
    assert!(load("emoji#google#d1", &options).is_err());
}

#[test]
fn concepts_bind_the_vendors_together() {
    let options = LoadOptions {
        group_column: Some("concept"),
        ..LoadOptions::default()
    };
    let all = load("emoji#google+twitter+fluent3d", &options).unwrap();
    let without = load("emoji#google+twitter+fluent3d", &LoadOptions::default()).unwrap();
    assert!(without.records.iter().all(|r| r.group.is_none()));
    assert!(
        all.records
            .iter()
            .zip(&without.records)
            .all(|(a, b)| a.id == b.id)
    );
    let mut concepts: HashMap<&str, Vec<&Record>> = HashMap::new();
    for record in &all.records {
        concepts
            .entry(record.group.as_deref().unwrap())
            .or_default()
            .push(record);
    }
    // No two drawings of one concept by one vendor, and one set of captions for all of them.
    assert!(concepts.values().all(|c| c.len() <= 3));
    assert_eq!(concepts["1f600"].len(), 3);
    let mut complete = 0;
    for drawings in concepts.values() {
        complete += usize::from(drawings.len() == 3);
        assert!(drawings.iter().all(|r| r.captions == drawings[0].captions));
        let vendors: HashSet<_> = drawings
            .iter()
            .map(|r| r.name.split_once('/').map_or("", |(vendor, _)| vendor))
            .collect();
        assert_eq!(vendors.len(), drawings.len());
    }
    assert_eq!((concepts.len(), complete), (1637, 1578));
    let ids: HashSet<_> = all.records.iter().map(|r| &r.id).collect();
    assert_eq!(ids.len(), all.len());
}

/// A table with the given columns of lists of strings beside `image`.
fn table_of_lists(rows: usize, columns: &[(&str, &[&[&str]])]) -> Vec<u8> {
    table_written(
        rows,
        columns,
        ::parquet::file::properties::WriterProperties::builder(),
    )
}

fn table_written(
    rows: usize,
    columns: &[(&str, &[&[&str]])],
    how: ::parquet::file::properties::WriterPropertiesBuilder,
) -> Vec<u8> {
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::writer::SerializedFileWriter;
    let lists: String = columns
        .iter()
        .map(|(name, _)| {
            format!("optional group {name} (LIST) {{ repeated group list {{ optional binary element (STRING); }} }}\n")
        })
        .collect();
    let schema = format!("message m {{ required binary image; required int32 prompt; {lists} }}");
    let schema = ::parquet::schema::parser::parse_message_type(&schema).unwrap();
    let mut out = Vec::new();
    let properties = how.build();
    let mut writer = SerializedFileWriter::new(&mut out, schema.into(), properties.into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let png = |i| ByteArray::from(encode_png(&picture(i as u8, 5, 5, 3)).unwrap());
    let pictures: Vec<ByteArray> = (0..rows).map(png).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<ByteArrayType>()
        .write_batch(&pictures, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let numbers = vec![7; rows];
    column
        .typed::<::parquet::data_type::Int32Type>()
        .write_batch(&numbers, None, None)
        .unwrap();
    column.close().unwrap();
    for (_, lists) in columns {
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for list in *lists {
            // An empty list has a level of its own and no value.
            if list.is_empty() {
                defined.push(1);
                repeated.push(0);
            }
            for (i, text) in list.iter().enumerate() {
                values.push(ByteArray::from(*text));
                defined.push(3);
                repeated.push(i16::from(i > 0));
            }
        }
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, Some(&defined), Some(&repeated))
            .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    out
}

/// Captions of every record, `options` with this caption column.
fn captions(path: &Path, column: Option<&str>) -> Result<Vec<Vec<String>>, Error> {
    let options = LoadOptions {
        caption_column: column,
        ..LoadOptions::default()
    };
    let set = load(&path.display().to_string(), &options)?;
    Ok(set.records.into_iter().map(|r| r.captions).collect())
}

fn refuses(path: &Path, column: Option<&str>, words: &[&str]) {
    let error = captions(path, column).unwrap_err().to_string();
    assert!(words.iter().all(|w| error.contains(w)), "{error}");
}

#[test]
fn caption_columns_of_tables() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let text: &[&[&str]] = &[&["a cat", " ", "two "], &[]];
    let other: &[&[&str]] = &[&["x"], &["y"]];
    std::fs::write(&path, table_of_lists(2, &[("captions", text)])).unwrap();
    let want = [vec!["a cat", "two"], vec![]];
    assert_eq!(captions(&path, None).unwrap(), want);
    std::fs::write(
        &path,
        table_of_lists(2, &[("captions", text), ("text", other)]),
    )
    .unwrap();
    refuses(
        &path,
        None,
        &[
            "a.parquet",
            "text and captions",
            "captions, image, prompt, text",
            "`caption_column`",
        ],
    );
    assert_eq!(captions(&path, Some("captions")).unwrap(), want);
    assert_eq!(captions(&path, Some("text")).unwrap(), [["x"], ["y"]]);
    // `prompt` is a number here: never a caption, not even a second candidate.
    refuses(&path, Some("prompt"), &["`prompt` holds no text"]);
    refuses(
        &path,
        Some("note"),
        &["`note`", "captions, prompt, text", "`caption_column`"],
    );
    std::fs::write(&path, table_of_lists(2, &[("note", text)])).unwrap();
    assert_eq!(captions(&path, None).unwrap(), [[""; 0]; 2]);
    assert_eq!(captions(&path, Some("note")).unwrap(), want);
    let options = LoadOptions {
        group_column: Some("note"),
        ..LoadOptions::default()
    };
    let error = load(&path.display().to_string(), &options)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`note`") && error.contains("group"),
        "{error}"
    );
    let options = LoadOptions {
        group_column: Some("prompt"),
        ..LoadOptions::default()
    };
    let set = load(&path.display().to_string(), &options).unwrap();
    assert!(set.records.iter().all(|r| r.group.as_deref() == Some("7")));
}

#[test]
fn labels_are_folders_or_a_column() {
    let root = tempfile::tempdir().unwrap();
    for (i, name) in (0..).zip(["cat/0.png", "dog/1.png"]) {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        save_png(&path, &picture(i, 8, 8, 3)).unwrap();
    }
    let labels = |label_column| {
        let options = LoadOptions {
            label_column,
            ..LoadOptions::default()
        };
        let set = load(&root.path().display().to_string(), &options)?;
        Ok::<_, Error>(set.records.into_iter().map(|r| r.label).collect::<Vec<_>>())
    };
    let some = |label: &str| Some(label.to_owned());
    assert_eq!(labels(None).unwrap(), [some("cat"), some("dog")]);
    std::fs::write(
        root.path().join("metadata.csv"),
        "file_name,label,breed\ncat/0.png,,tabby\ndog/1.png,hound,\n",
    )
    .unwrap();
    assert_eq!(labels(None).unwrap(), [some("cat"), some("hound")]);
    // Named, it is the only place: what lacks there is not made up for.
    assert_eq!(labels(Some("breed")).unwrap(), [some("tabby"), None]);
    let error = labels(Some("race")).unwrap_err().to_string();
    assert!(
        error.contains("`race`") && error.contains("`label_column`"),
        "{error}"
    );
}

#[test]
fn caption_columns_of_folders() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    for i in 0..4u8 {
        save_png(&path.join(format!("{i}.png")), &picture(i, 8, 8, 3)).unwrap();
    }
    refuses(path, Some("text"), &["`text`", "no columns"]);
    let csv = path.join("metadata.csv");
    std::fs::write(
        &csv,
        "\u{feff}file_name,caption,label,patient\n0.png,\"one, with \"\"quotes\"\"\nand a line\",cat,7\n\
         1.png,\"[\"\"a\"\", \"\" b\"\"]\",,8\n2.png,,dog,\n",
    )
    .unwrap();
    std::fs::write(path.join("2.txt"), "from the side\n").unwrap();
    let set = read(path).unwrap();
    let texts: Vec<_> = set.records.iter().map(|r| r.captions.clone()).collect();
    let quoted = "one, with \"quotes\"\nand a line".to_owned();
    assert_eq!(
        texts,
        [
            vec![quoted],
            vec!["a".into(), "b".into()],
            vec!["from the side".into()],
            vec![]
        ]
    );
    let labels: Vec<_> = set.records.iter().map(|r| r.label.as_deref()).collect();
    assert_eq!(labels, [Some("cat"), None, Some("dog"), None]);
    let options = LoadOptions {
        group_column: Some("patient"),
        ..LoadOptions::default()
    };
    let set = load(&path.display().to_string(), &options).unwrap();
    let groups: Vec<_> = set.records.iter().map(|r| r.group.as_deref()).collect();
    assert_eq!(groups, [Some("7"), Some("8"), None, None]);
    let wrong = LoadOptions {
        group_column: Some("artist"),
        ..LoadOptions::default()
    };
    let error = load(&path.display().to_string(), &wrong)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`artist`") && error.contains("`group_column`"),
        "{error}"
    );

    // What is no name of a group is refused: without it the split would tear the group apart.
    let list = "{\"file_name\": \"3.png\", \"patient\": [7, 8]}\n";
    std::fs::write(path.join("metadata.jsonl"), list).unwrap();
    let options = LoadOptions {
        caption_column: Some("caption"),
        ..options
    };
    let error = load(&path.display().to_string(), &options)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("metadata.jsonl, line 1") && error.contains("`patient`"),
        "{error}"
    );

    // The same picture in both files, and a broken line.
    let jsonl = path.join("metadata.jsonl");
    std::fs::write(&jsonl, "{\"file_name\": \"1.png\", \"text\": \"again\"}\n").unwrap();
    refuses(path, None, &["metadata.jsonl, line 1", "second time"]);
    std::fs::remove_file(&jsonl).unwrap();
    std::fs::write(&csv, "file_name,text\n0.png,a\n1.png,b,c\n").unwrap();
    refuses(path, None, &["metadata.csv, line 3", "commas"]);
    std::fs::write(&csv, "name,text\n0.png,a\n").unwrap();
    refuses(path, None, &["metadata.csv, line 2", "`file_name`"]);
    std::fs::remove_file(&csv).unwrap();

    // Keys that hold nothing are not candidates; those of any line are.
    let lines = |second: &str| {
        format!(
            "{{\"file_name\": \"0.png\", \"prompt\": \"p\", \"text\": null}}\n{{\"file_name\": \"1.png\", {second}}}\n"
        )
    };
    std::fs::write(&jsonl, lines("\"prompt\": [\"q\", \"r\"]")).unwrap();
    let found = captions(path, None).unwrap();
    assert_eq!(found[..2], [vec!["p"], vec!["q", "r"]]);
    std::fs::write(&jsonl, lines("\"text\": \"t\"")).unwrap();
    refuses(path, None, &["metadata.jsonl", "text and prompt"]);
    assert_eq!(
        captions(path, Some("prompt")).unwrap()[..2],
        [vec!["p"], vec![]]
    );
}

#[test]
fn caption_columns_of_webdatasets() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.tar");
    let png = encode_png(&picture(1, 6, 6, 3)).unwrap();
    let json = br#"{"caption": "c", "text": "t", "prompt": null}"#;
    std::fs::write(&path, tar(&[("1.png", &png), ("1.json", json)])).unwrap();
    refuses(
        &path,
        None,
        &["1.json", "text and caption", "caption, text"],
    );
    assert_eq!(captions(&path, Some("caption")).unwrap(), [["c"]]);
    refuses(&path, Some("txt"), &["`txt`", "caption, text"]);
    // With a .txt there is nothing to ask, whatever stands first.
    std::fs::write(
        &path,
        tar(&[("1.json", json), ("1.png", &png), ("1.txt", b"side\n")]),
    )
    .unwrap();
    assert_eq!(captions(&path, None).unwrap(), [["side"]]);
    assert_eq!(captions(&path, Some("txt")).unwrap(), [["side"]]);
    assert_eq!(captions(&path, Some("text")).unwrap(), [["t"]]);
    // A text that is not asked for still needs its picture.
    std::fs::write(
        &path,
        tar(&[("0.txt", b"x"), ("1.png", &png), ("1.json", json)]),
    )
    .unwrap();
    refuses(&path, Some("text"), &["sample 0", "without a picture"]);
}

#[test]
fn file_facts_of_every_encoded_form() {
    let root = tempfile::tempdir().unwrap();
    let png = encode_png(&picture(1, 9, 6, 3)).unwrap();
    let mut jpeg = Vec::new();
    let image = image::RgbImage::from_raw(12, 6, picture(2, 12, 6, 3).pixels).unwrap();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 60);
    image.write_with_encoder(encoder).unwrap();
    let folder = root.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.png"), &png).unwrap();
    // The content counts, not the ending.
    std::fs::write(folder.join("b.webp"), &jpeg).unwrap();
    let tarred = root.path().join("x.tar");
    std::fs::write(&tarred, tar(&[("a.png", &png), ("b.jpg", &jpeg)])).unwrap();
    let rows = [(png.clone(), "", 0, ""), (jpeg.clone(), "", 0, "")];
    let parquet = root.path().join("x.parquet");
    std::fs::write(&parquet, table(&rows, None)).unwrap();
    let options = LoadOptions {
        image_size: Some(4),
        ..LoadOptions::default()
    };
    for path in [folder, tarred, parquet] {
        let set = load(&path.display().to_string(), &options).unwrap();
        let facts: Vec<&FileFacts> = set.records.iter().filter_map(|r| r.file.as_ref()).collect();
        let plain = FileFacts {
            bytes: png.len() as u64,
            format: "png".into(),
            width: 9,
            height: 6,
            ..FileFacts::default()
        };
        assert_eq!((facts.len(), facts[0]), (2, &plain), "{}", path.display());
        let found = facts[1];
        assert_eq!(
            (
                found.bytes,
                found.format.as_str(),
                found.width,
                found.height
            ),
            (jpeg.len() as u64, "jpeg", 12, 6)
        );
        assert_eq!(found.jpeg.as_ref().unwrap().quality, Some(60));
    }
    let npy_file = root.path().join("x.npy");
    std::fs::write(&npy_file, npy("|u1", "False", "(1, 2, 2)", &[1, 2, 3, 4])).unwrap();
    assert_eq!(read(&npy_file).unwrap().records[0].file, None);
    refuses(&npy_file, Some("text"), &["x.npy", "no columns"]);
}

#[test]
fn folders() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    std::fs::create_dir_all(path.join("cat/.cache")).unwrap();
    std::fs::create_dir(path.join("dog")).unwrap();
    save_png(&path.join("dog/b.png"), &picture(1, 8, 8, 1)).unwrap();
    save_png(&path.join("cat/z.PNG"), &picture(2, 8, 8, 3)).unwrap();
    save_png(&path.join("cat/.cache/x.png"), &picture(3, 9, 9, 3)).unwrap();
    save_png(&path.join("a.png"), &picture(4, 8, 8, 3)).unwrap();
    std::fs::write(path.join("dog/b.txt"), "a dog\n\n  a good dog \n").unwrap();
    std::fs::write(path.join("README"), "not a picture").unwrap();
    std::fs::write(
        path.join("metadata.jsonl"),
        "{\"file_name\": \"a.png\", \"text\": [\"one\", \"two\"], \"group\": 7}\n\n{\"file_name\": \"cat/z.PNG\", \"text\": \"a cat\", \"label\": \"feline\"}\n",
    )
    .unwrap();
    let set = read(path).unwrap();
    let names: Vec<_> = set.records.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["a.png", "cat/z.PNG", "dog/b.png"]);
    assert_eq!(set.records[0].captions, ["one", "two"]);
    assert_eq!(set.records[0].group.as_deref(), Some("7"));
    assert_eq!(set.records[0].label, None);
    assert_eq!(
        (
            set.records[1].captions[0].as_str(),
            set.records[1].label.as_deref()
        ),
        ("a cat", Some("feline"))
    );
    assert_eq!(
        (
            set.records[2].captions.len(),
            set.records[2].label.as_deref()
        ),
        (2, Some("dog"))
    );
    assert_eq!(set.records[2].picture, picture(1, 8, 8, 1).with_channels(3));
    assert_eq!(set.records[2].id, picture(1, 8, 8, 1).id());

    std::fs::write(
        path.join("cat/metadata.jsonl"),
        "{\"file_name\": \"gone.png\", \"text\": \"x\"}",
    )
    .unwrap();
    fails(path, &["gone.png", "metadata.jsonl"]);
    std::fs::write(path.join("cat/metadata.jsonl"), "{\"file_name\": \"z.PNG\"").unwrap();
    fails(path, &["metadata.jsonl, line 1"]);
    std::fs::remove_file(path.join("cat/metadata.jsonl")).unwrap();
    std::fs::write(path.join("dog/photo.tiff"), "x").unwrap();
    fails(path, &["photo.tiff", "PNG"]);
    std::fs::remove_file(path.join("dog/photo.tiff")).unwrap();
    let png = encode_png(&picture(5, 8, 8, 3)).unwrap();
    std::fs::write(path.join("dog/cut.png"), &png[..png.len() / 2]).unwrap();
    fails(path, &["cut.png", "replace"]);
}

#[test]
fn sizes_and_sources() {
    let root = tempfile::tempdir().unwrap();
    fails(root.path(), &["no picture"]);
    save_png(&root.path().join("wide.png"), &picture(1, 30, 10, 3)).unwrap();
    save_png(&root.path().join("tall.png"), &picture(1, 10, 30, 3)).unwrap();
    fails(root.path(), &["tall.png is 10x30", "image_size"]);
    let options = LoadOptions {
        image_size: Some(16),
        channels: Some(1),
        ..LoadOptions::default()
    };
    let source = root.path().display().to_string();
    assert_eq!(load(&source, &options).unwrap().shape(), [1, 16, 16]);
    let error = load("fashoin", &options).unwrap_err().to_string();
    assert!(
        error.contains("fashoin") && error.contains("fashion, emoji"),
        "{error}"
    );
    assert!(
        load(
            &source,
            &LoadOptions {
                channels: Some(2),
                ..options.clone()
            }
        )
        .is_err()
    );
    let error = load(
        &source,
        &LoadOptions {
            max_records: 1,
            ..options.clone()
        },
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("max_records"), "{error}");
    let error = load(
        &source,
        &LoadOptions {
            max_pixels: 200,
            ..options
        },
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("tall.png") && error.contains("max_pixels"),
        "{error}"
    );
    fails(&root.path().join("wide.png"), &["one picture"]);
    std::fs::write(root.path().join("x.csv"), "a").unwrap();
    fails(&root.path().join("x.csv"), &["x.csv", ".parquet"]);
    std::fs::write(root.path().join("x.parquet"), "a").unwrap();
    fails(root.path(), &["several forms"]);
    fails(&root.path().join("x.parquet"), &["x.parquet"]);
}

#[test]
fn sides_of_a_split() {
    let set = load("fashion", &LoadOptions::default()).unwrap();
    let split = crate::Split::half(&set, &crate::Groups::given(&set), 21, Some(30), 5).unwrap();
    let side = |part: &str| {
        load(
            &format!("fashion#{part}"),
            &LoadOptions {
                split: Some(&split),
                ..LoadOptions::default()
            },
        )
    };
    let lengths = ["member", "nonmember", "d1", "d2"].map(|p| side(p).unwrap().len());
    assert_eq!(lengths, [21, 30, 11, 10]);
    assert!(side("test").unwrap_err().to_string().contains("#member"));
    assert!(
        load("fashion#member", &LoadOptions::default())
            .unwrap_err()
            .to_string()
            .contains("--split")
    );
    let options = LoadOptions {
        split: Some(&split),
        ..LoadOptions::default()
    };
    assert!(
        load("emoji#member", &options)
            .unwrap_err()
            .to_string()
            .contains("51 of the 51")
    );
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn webdataset() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("shard-0.tar");
    let [a, b, c] = [1, 2, 3].map(|i| encode_png(&picture(i, 6, 6, 3)).unwrap());
    let entries: [(&str, &[u8]); 8] = [
        ("x/001.txt", b"first"),
        ("x/001.png", &a),
        ("x/001.cls", b"4"),
        ("x/002.png", &b),
        (
            "x/002.json",
            br#"{"caption": ["p", "q"], "group": "g", "other": {}}"#,
        ),
        ("x/002.seg.png", b"ignored"),
        ("x/003.png", &c),
        ("README", b""),
    ];
    std::fs::write(&path, tar(&entries)).unwrap();
    let set = read(&path).unwrap();
    assert_eq!(pictures(&set), [1, 2, 3].map(|i| picture(i, 6, 6, 3)));
    assert_eq!(
        (
            set.records[0].captions[0].as_str(),
            set.records[0].label.as_deref()
        ),
        ("first", Some("4"))
    );
    assert_eq!(
        (
            set.records[1].captions.len(),
            set.records[1].group.as_deref()
        ),
        (2, Some("g"))
    );
    assert!(set.records[2].captions.is_empty());
    assert_eq!(read(root.path()).unwrap().len(), 3);

    std::fs::write(&path, tar(&[("1.png", &a), ("1.jpg", &b)])).unwrap();
    fails(&path, &["1.jpg", "two pictures"]);
    std::fs::write(&path, tar(&[("1.txt", b"x"), ("2.png", &b)])).unwrap();
    fails(&path, &["sample 1", "without a picture"]);
    std::fs::write(&path, tar(&[("1.png", &b[..20])])).unwrap();
    fails(&path, &["shard-0.tar, entry 1.png"]);
    let whole = tar(&[("1.png", &a)]);
    std::fs::write(&path, &whole[..540]).unwrap();
    fails(&path, &["1.png", "ends inside"]);
}

fn cifar(labels: &[u8], picture: &Picture) -> Vec<u8> {
    let planes = (0..3).flat_map(|c| picture.pixels[c..].iter().step_by(3));
    labels.iter().chain(planes).copied().collect()
}

#[test]
fn cifar_binary() {
    let root = tempfile::tempdir().unwrap();
    let pictures_in = [1, 2, 3].map(|i| picture(i, 32, 32, 3));
    for (file, i) in [
        ("data_batch_2.bin", 1),
        ("data_batch_1.bin", 0),
        ("test_batch.bin", 2),
    ] {
        std::fs::write(root.path().join(file), cifar(&[i as u8], &pictures_in[i])).unwrap();
    }
    std::fs::write(
        root.path().join("batches.meta.txt"),
        "airplane\nautomobile\nbird\n",
    )
    .unwrap();
    let set = read(root.path()).unwrap();
    assert_eq!(pictures(&set), pictures_in[..2]);
    assert_eq!(
        (
            set.records[1].label.as_deref(),
            set.records[1].name.as_str()
        ),
        (Some("automobile"), "data_batch_2/0")
    );
    assert_eq!(
        read(&root.path().join("test_batch.bin")).unwrap().records[0].picture,
        pictures_in[2]
    );

    let hundred = tempfile::tempdir().unwrap();
    std::fs::write(
        hundred.path().join("train.bin"),
        cifar(&[3, 55], &pictures_in[0]),
    )
    .unwrap();
    let set = read(hundred.path()).unwrap();
    assert_eq!(
        (set.records[0].label.as_deref(), &set.records[0].picture),
        (Some("55"), &pictures_in[0])
    );
    std::fs::write(root.path().join("data_batch_1.bin"), [0; 4000]).unwrap();
    fails(root.path(), &["data_batch_1.bin", "4000 bytes"]);
}

fn idx(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let words = [magic].into_iter().chain(sizes.iter().copied());
    words
        .flat_map(u32::to_be_bytes)
        .chain(data.iter().copied())
        .collect()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn idx_files() {
    let root = tempfile::tempdir().unwrap();
    let images = root.path().join("train-images-idx3-ubyte.gz");
    let (a, b) = (picture(1, 3, 2, 1), picture(2, 3, 2, 1));
    let data = [a.pixels.clone(), b.pixels.clone()].concat();
    std::fs::write(&images, gz(&idx(0x803, &[2, 2, 3], &data))).unwrap();
    std::fs::write(
        root.path().join("t10k-images-idx3-ubyte"),
        idx(0x803, &[1, 2, 3], &a.pixels),
    )
    .unwrap();
    assert_eq!(pictures(&read(&images).unwrap()), [a.clone(), b]);
    assert_eq!(
        read(&root.path().join("t10k-images-idx3-ubyte"))
            .unwrap()
            .records[0]
            .picture,
        a
    );
    let labels = root.path().join("train-labels-idx1-ubyte.gz");
    std::fs::write(&labels, gz(&idx(0x801, &[2], &[7, 9]))).unwrap();
    assert_eq!(
        read(root.path()).unwrap().records[1].label.as_deref(),
        Some("9")
    );

    std::fs::write(&labels, gz(&idx(0x801, &[3], &[7, 9, 1]))).unwrap();
    fails(&images, &["3 labels for 2"]);
    std::fs::remove_file(&labels).unwrap();
    std::fs::write(&images, gz(&idx(0x803, &[2, 2, 3], &data[..7]))).unwrap();
    fails(&images, &["picture 1", "cut short"]);
    std::fs::write(&images, gz(&idx(0x801, &[2, 2, 3], &data))).unwrap();
    fails(&images, &["2049", "2051"]);
    // A promise of exabytes is refused before room is made for it.
    std::fs::write(
        &images,
        gz(&idx(0x803, &[1 << 20, 1 << 20, 1 << 20], &data)),
    )
    .unwrap();
    fails(&images, &["max_table_bytes"]);
}

fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    [
        b"\x93NUMPY\x01\x00",
        &(header.len() as u16).to_le_bytes()[..],
        header.as_bytes(),
        data,
    ]
    .concat()
}

#[test]
fn numpy_arrays() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.npy");
    let (a, b) = (picture(1, 3, 2, 3), picture(2, 3, 2, 3));
    let data = [a.pixels.clone(), b.pixels.clone()].concat();
    std::fs::write(&path, npy("|u1", "False", "(2, 2, 3, 3)", &data)).unwrap();
    assert_eq!(pictures(&read(&path).unwrap()), [a.clone(), b.clone()]);
    std::fs::write(&path, npy("|u1", "False", "(6, 2, 3)", &data)).unwrap();
    assert_eq!(read(&path).unwrap().shape(), [1, 2, 3]);
    std::fs::write(
        &path,
        npy("|u1", "False", "(1, 1, 1, 4)", &[0, 100, 255, 51]),
    )
    .unwrap();
    assert_eq!(
        read(&path).unwrap().records[0].picture.pixels,
        [204, 224, 255]
    );

    for (bytes, words) in [
        (
            npy("|u1", "False", "(2, 3, 2, 8)", &data),
            "transpose(0, 2, 3, 1)",
        ),
        (
            npy("|u1", "True", "(2, 2, 3, 3)", &data),
            "ascontiguousarray",
        ),
        (npy("<f4", "False", "(2, 2, 3, 3)", &data), "uint8"),
        (npy("|O", "False", "(2, 2, 3, 3)", &data), "a.npy"),
        (npy("|u1", "False", "(3, 2, 3, 3)", &data), "picture 2"),
        (
            npy("|u1", "False", "(9999999999, 2, 3, 3)", &data),
            "max_records",
        ),
        (
            npy("|u1", "False", "(1, 99999999, 99999999, 3)", &data),
            "max_pixels",
        ),
        (b"\x80\x04pickle".to_vec(), "a.npy"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        fails(&path, &["a.npy", words]);
    }

    let archive = |name: &str| {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(&npy("|u1", "False", "(2, 2, 3, 3)", &data))
            .unwrap();
        zip.finish().unwrap().into_inner()
    };
    let path = root.path().join("a.npz");
    std::fs::write(&path, archive("images.npy")).unwrap();
    assert_eq!(pictures(&read(&path).unwrap()), [a, b]);
    std::fs::write(&path, archive("faces.npy")).unwrap();
    fails(&path, &["faces.npy", "`images`"]);
    std::fs::write(&path, &archive("images.npy")[..50]).unwrap();
    fails(&path, &["a.npz"]);
}

/// A table with flat columns: pictures as bytes, one text, a label number, a group.
fn table(rows: &[(Vec<u8>, &str, i64, &str)], huggingface: Option<&str>) -> Vec<u8> {
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::metadata::KeyValue;
    use ::parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    let schema = "message m { required binary image; required binary caption (STRING); required double ignored; \
                  required int64 label; required binary group (STRING); }";
    let schema = ::parquet::schema::parser::parse_message_type(schema).unwrap();
    let pairs = huggingface.map(|h| vec![KeyValue::new("huggingface".into(), h.to_owned())]);
    let properties = WriterProperties::builder()
        .set_key_value_metadata(pairs)
        .build();
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema.into(), properties.into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let bytes: [Vec<ByteArray>; 3] = [
        rows.iter().map(|r| r.0.clone().into()).collect(),
        rows.iter().map(|r| r.1.into()).collect(),
        rows.iter().map(|r| r.3.into()).collect(),
    ];
    let labels: Vec<i64> = rows.iter().map(|r| r.2).collect();
    let mut place = 0;
    while let Some(mut column) = group.next_column().unwrap() {
        match place {
            2 => drop(
                column
                    .typed::<::parquet::data_type::DoubleType>()
                    .write_batch(&vec![0.5; rows.len()], None, None),
            ),
            3 => drop(column.typed::<Int64Type>().write_batch(&labels, None, None)),
            _ => drop(column.typed::<ByteArrayType>().write_batch(
                &bytes[place.min(2)],
                None,
                None,
            )),
        }
        column.close().unwrap();
        place += 1;
    }
    group.close().unwrap();
    writer.close().unwrap();
    out
}

#[test]
fn parquet_tables() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("b.parquet");
    let rows = [1, 2].map(|i| {
        (
            encode_png(&picture(i, 5, 5, 3)).unwrap(),
            "a text",
            i64::from(i) - 1,
            "g",
        )
    });
    let features =
        r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    std::fs::write(&path, table(&rows, Some(features))).unwrap();
    let set = read(&path).unwrap();
    assert_eq!(pictures(&set), [1, 2].map(|i| picture(i, 5, 5, 3)));
    let second = &set.records[1];
    assert_eq!(
        (second.captions.as_slice(), second.label.as_deref()),
        (&["a text".to_owned()][..], Some("dog"))
    );
    assert_eq!(
        (second.group.as_deref(), second.name.as_str(), &set.licence),
        (Some("g"), "1", &None)
    );
    std::fs::write(root.path().join("a.parquet"), table(&rows[..1], None)).unwrap();
    let both = read(root.path()).unwrap();
    assert_eq!(
        (both.len(), both.records[0].label.as_deref()),
        (3, Some("0"))
    );

    let broken = [rows[0].clone(), (vec![1, 2, 3], "x", 0, "g")];
    std::fs::write(&path, table(&broken, None)).unwrap();
    fails(&path, &["b.parquet, row 1", "replace"]);
    let whole = table(&rows, None);
    // Damage anywhere must give an error or other pictures, never a panic.
    for i in (0..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[i] ^= 0x55;
        std::fs::write(&path, &damaged).unwrap();
        let _ = read(&path);
        std::fs::write(&path, &whole[..i]).unwrap();
        assert!(read(&path).is_err());
    }
    let options = LoadOptions {
        max_table_bytes: 10,
        ..LoadOptions::default()
    };
    std::fs::write(&path, &whole).unwrap();
    assert!(matches!(
        load(&path.display().to_string(), &options),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn links_that_go_round_or_fan_out_are_named() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    std::fs::create_dir_all(path("a/b")).unwrap();
    save_png(&path("a/b/0.png"), &picture(1, 4, 4, 3)).unwrap();
    // Links to files, and to a folder elsewhere, are what data sets are made of.
    let elsewhere = tempfile::tempdir().unwrap();
    save_png(&elsewhere.path().join("1.png"), &picture(2, 4, 4, 3)).unwrap();
    symlink(elsewhere.path(), path("more")).unwrap();
    symlink("a/b/0.png", path("2.png")).unwrap();
    assert_eq!(read(root.path()).unwrap().len(), 3);
    symlink("..", path("a/up")).unwrap();
    fails(root.path(), &["a/up", "once more", "take out the link"]);
    std::fs::remove_file(path("a/up")).unwrap();
    // Two to the power of thirty ways to one folder.
    for depth in 0..30 {
        let folder = path(&format!("fan/{depth}"));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["x", "y"] {
            symlink(path(&format!("fan/{}", depth + 1)), folder.join(name)).unwrap();
        }
    }
    std::fs::create_dir(path("fan/30")).unwrap();
    fails(root.path(), &["once more", "fan"]);
}

#[test]
fn what_is_no_file_is_named() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    save_png(&root.path().join("0.png"), &picture(1, 4, 4, 3)).unwrap();
    let pipe = |path: &Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    // A picture, the captions of one, and what no reader would open.
    for name in ["1.png", "0.txt", "metadata.jsonl", "metadata.csv", "x"] {
        let path = root.path().join(name);
        symlink("/dev/zero", &path).unwrap();
        fails(root.path(), &[name, "a device"]);
        std::fs::remove_file(&path).unwrap();
        pipe(&path);
        fails(root.path(), &[name, "a pipe (FIFO)"]);
        std::fs::remove_file(&path).unwrap();
    }
    read(root.path()).unwrap();
    let split = root.path().join("split.json");
    pipe(&split);
    let error = Split::load(&split).unwrap_err().to_string();
    assert!(error.contains("a pipe (FIFO)"), "{error}");
}

#[test]
fn names_of_strangers_do_nothing_on_a_terminal() {
    let root = tempfile::tempdir().unwrap();
    let evil = "\u{1b}]0;x\u{7}\r\n\u{202e}";
    let harmless = "\\u{1b}]0;x\\u{7}\\u{d}\\u{a}\\u{202e}";
    let check = |path: &Path| {
        let error = read(path).unwrap_err().to_string();
        assert!(error.contains(harmless), "{error:?}");
        assert!(!error.contains(char::is_control), "{error:?}");
    };
    let folder = root.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(format!("{evil}.png")), b"no picture").unwrap();
    check(&folder);
    let tar = root.path().join("x.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, format!("a{evil}.png"), &b"no"[..])
        .unwrap();
    archive.finish().unwrap();
    check(&tar);
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    save_png(&folder.join("0.png"), &picture(1, 4, 4, 3)).unwrap();
    let line = serde_json::json!({"file_name": "0.png", "text": "a", "caption": "b", evil: 1});
    std::fs::write(folder.join("metadata.jsonl"), line.to_string()).unwrap();
    check(&folder);
    let error = load(evil, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains(harmless), "{error:?}");
}

/// What the notes say, joined.
fn notes(set: &ImageSet) -> String {
    set.notes.join("\n")
}

fn jpeg_bytes(seed: u8, side: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let image = image::RgbImage::from_raw(side, side, picture(seed, side, side, 3).pixels).unwrap();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, 90);
    image.write_with_encoder(encoder).unwrap();
    out
}

#[test]
fn no_file_of_a_folder_is_dropped_in_silence() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    let png = encode_png(&picture(9, 8, 8, 3)).unwrap();
    for (i, name) in ["a.jfif", "b.jpe", "c.JFIF", "d.pjpeg"].iter().enumerate() {
        std::fs::write(path.join(name), jpeg_bytes(i as u8, 8)).unwrap();
    }
    // Content counts, not the name; a name without an ending says nothing.
    std::fs::write(path.join("e"), &png).unwrap();
    for (name, text) in [
        ("a.txt", "a caption"),
        ("alone.txt", "of nothing"),
        ("README", "x"),
        ("x.pdf", "%PDF"),
    ] {
        std::fs::write(path.join(name), text).unwrap();
    }
    std::fs::write(
        path.join("x.npy"),
        npy("|u1", "False", "(1, 2, 2)", &[1, 2, 3, 4]),
    )
    .unwrap();
    std::fs::write(path.join(".hidden.png"), &png).unwrap();
    std::fs::write(path.join(".DS_Store"), "x").unwrap();
    std::fs::create_dir(path.join(".cache")).unwrap();
    let set = read(path).unwrap();
    assert_eq!(
        (set.len(), set.records[0].captions[0].as_str()),
        (5, "a caption")
    );
    let said = notes(&set);
    for words in [
        "3 left out, by their names no pictures, and nothing that describes some: README, alone.txt, x.pdf",
        "1 left out, arrays are read when they are named themselves: x.npy",
        "2 left out, hidden, their names begin with a dot: ",
    ] {
        assert!(said.contains(words), "{said}");
    }
    for ending in ["heif", "jxl", "tga", "dib", "pnm", "TIF", "avifs", "cr2"] {
        let file = path.join(format!("x.{ending}"));
        std::fs::write(&file, "x").unwrap();
        fails(path, &[&format!("x.{ending}"), "cannot be read", "PNG"]);
        std::fs::remove_file(&file).unwrap();
    }
    // A picture under another name.
    std::fs::write(path.join("f.bak"), &png).unwrap();
    fails(
        path,
        &["f.bak", "by its content it is a picture", "take it out"],
    );
    // Nothing but such files.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("a.pdf"), "x").unwrap();
    fails(other.path(), &["no picture", "a.pdf"]);
}

#[test]
fn cut_jpegs_are_named_wherever_they_lie() {
    let root = tempfile::tempdir().unwrap();
    let whole = jpeg_bytes(1, 64);
    let cut = &whole[..whole.len() * 3 / 4];
    let tarred = root.path().join("x.tar");
    std::fs::write(&tarred, tar(&[("1.jpg", &whole), ("2.jpg", cut)])).unwrap();
    fails(&tarred, &["x.tar, entry 2.jpg", "cut short"]);
    let parquet = root.path().join("x.parquet");
    let rows = [(whole.clone(), "", 0, ""), (cut.to_vec(), "", 0, "")];
    std::fs::write(&parquet, table(&rows, None)).unwrap();
    fails(&parquet, &["x.parquet, row 1", "cut short"]);
    let folder = root.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.jpg"), &whole[..whole.len() - 2]).unwrap();
    assert_eq!(read(&folder).unwrap().len(), 1);
    std::fs::write(folder.join("b.jpg"), cut).unwrap();
    fails(&folder, &["b.jpg", "cut short"]);
}

#[test]
fn keys_of_webdatasets_end_at_the_first_dot() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.tar");
    let png = encode_png(&picture(1, 6, 6, 3)).unwrap();
    // The library webdataset gives key `22` and ending `05.png`, where people mean `22.05` and `png`.
    for name in ["22.05.png", "x/img.1.jpg", "a.b.tif"] {
        std::fs::write(&path, tar(&[("plain.png", &png), (name, &png)])).unwrap();
        fails(
            &path,
            &[&format!("a.tar, entry {name}"), "first dot", "no dots"],
        );
    }
    std::fs::write(&path, tar(&[("1.png", &png), ("2.tif", &png)])).unwrap();
    fails(&path, &["2.tif", "cannot be read"]);
    let jpeg = jpeg_bytes(2, 8);
    let entries: [(&str, &[u8]); 6] = [
        ("1.jfif", &jpeg),
        ("1.seg.png", &png),
        ("1.npy", b"x"),
        ("README", b"x"),
        ("2.png", &png),
        ("3.json", b"{}"),
    ];
    std::fs::write(&path, tar(&entries)).unwrap();
    let options = LoadOptions {
        image_size: Some(6),
        ..LoadOptions::default()
    };
    let set = load(&path.display().to_string(), &options).unwrap();
    assert_eq!(set.len(), 2);
    let said = notes(&set);
    for words in [
        "2 left out, of no ending that is read",
        "1.seg.png",
        "1 left out, without an ending",
        "sample 3",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(said.contains(": a.tar, entry 1.seg.png"), "{said}");
    assert!(!said.contains(&root.path().display().to_string()), "{said}");
}

/// Counts of notes stand in groups of three, and places without the way to them.
#[test]
fn notes_have_long_numbers_and_short_names() {
    use super::{counted, own_name, some};
    assert_eq!(
        [counted(1), counted(1_200)],
        ["1 picture", "1,200 pictures"]
    );
    let names = ["a".to_owned(), "b".to_owned()];
    assert_eq!(some(&names, 12_345), "a, b and 12,343 more");
    for (place, name) in [
        ("/srv/x.tar, entry a/1.png", "x.tar, entry a/1.png"),
        ("/srv/of anna/1.png", "1.png"),
        ("set.parquet, row 3", "set.parquet, row 3"),
    ] {
        assert_eq!(own_name(place), name);
    }
}

#[test]
fn parts_of_a_set_are_chosen_by_name() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    let row = |i: u8| {
        [(
            encode_png(&picture(i, 5, 5, 3)).unwrap(),
            "a",
            0,
            ["x", "y", "z"][usize::from(i)],
        )]
    };
    let shards = [
        "train-00000-of-00002",
        "train-00001-of-00002",
        "test-00000-of-00001",
    ];
    std::fs::create_dir(path.join("data")).unwrap();
    std::fs::write(path.join("README.md"), "x").unwrap();
    for (i, shard) in shards.iter().enumerate() {
        std::fs::write(
            path.join(format!("data/{shard}.parquet")),
            table(&row(i as u8), None),
        )
        .unwrap();
    }
    let source = path.display().to_string();
    fails(
        path,
        &[
            "test: 1, train: 2",
            &format!("{source}#test"),
            &format!("{source}#test+train"),
        ],
    );
    let part = |name: &str| load(&format!("{source}#{name}"), &LoadOptions::default());
    assert_eq!(pictures(&part("test").unwrap()), [picture(2, 5, 5, 3)]);
    let train = part("train").unwrap();
    assert_eq!(pictures(&train), [0, 1].map(|i| picture(i, 5, 5, 3)));
    let said = notes(&train);
    assert!(
        said.contains("2 of 3 files were read: data/train-00000-of-00002.parquet, data/train"),
        "{said}"
    );
    assert!(said.contains("README.md"), "{said}");
    assert_eq!(part("train+test").unwrap().len(), 3);
    for (name, words) in [
        ("validation", "it has test, train"),
        ("", "means nothing"),
        ("train+", "means nothing"),
    ] {
        let error = part(name).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // A side of a split comes last.
    let split = Split::half(
        &part("train+test").unwrap(),
        &Groups::given(&part("train+test").unwrap()),
        2,
        None,
        0,
    );
    let options = LoadOptions {
        split: Some(&split.unwrap()),
        ..LoadOptions::default()
    };
    assert_eq!(
        load(&format!("{source}#train+test#member"), &options)
            .unwrap()
            .len(),
        2
    );
    std::fs::remove_file(path.join("data/test-00000-of-00001.parquet")).unwrap();
    assert_eq!(read(path).unwrap().len(), 2);

    // Folders of pictures: all are called after parts, or they are classes.
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    for (i, name) in ["train/cat/a.png", "train/dog/b.png", "val/cat/c.png"]
        .iter()
        .enumerate()
    {
        std::fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        save_png(&path.join(name), &picture(i as u8, 5, 5, 3)).unwrap();
    }
    fails(path, &["train: 2, validation: 1"]);
    let source = path.display().to_string();
    let train = load(&format!("{source}#train"), &LoadOptions::default()).unwrap();
    assert_eq!(
        (train.len(), train.records[1].label.as_deref()),
        (2, Some("dog"))
    );
    assert!(notes(&train).contains("2 of 3 pictures were read"));
    assert_eq!(
        load(&format!("{source}#val"), &LoadOptions::default())
            .unwrap()
            .len(),
        1
    );
    std::fs::create_dir(path.join("bus")).unwrap();
    save_png(&path.join("bus/a.png"), &picture(7, 5, 5, 3)).unwrap();
    assert_eq!(read(path).unwrap().len(), 4);
}

#[test]
fn test_files_of_cifar_and_idx_are_a_part() {
    let root = tempfile::tempdir().unwrap();
    for (i, file) in ["data_batch_1.bin", "test_batch.bin"].iter().enumerate() {
        std::fs::write(
            root.path().join(file),
            cifar(&[0], &picture(i as u8, 32, 32, 3)),
        )
        .unwrap();
    }
    let source = root.path().display().to_string();
    let of = |part: &str| load(&format!("{source}{part}"), &LoadOptions::default());
    let train = of("").unwrap();
    assert_eq!(pictures(&train), [picture(0, 32, 32, 3)]);
    assert!(notes(&train).contains("data_batch_1.bin were read, not test_batch.bin"));
    assert_eq!(pictures(&of("#train").unwrap()), pictures(&train));
    assert_eq!(pictures(&of("#test").unwrap()), [picture(1, 32, 32, 3)]);
    assert!(of("#val").unwrap_err().to_string().contains("#test"));

    let root = tempfile::tempdir().unwrap();
    for (i, file) in ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"]
        .iter()
        .enumerate()
    {
        let bytes = idx(0x803, &[1, 2, 3], &picture(i as u8, 3, 2, 1).pixels);
        std::fs::write(root.path().join(file), bytes).unwrap();
    }
    let source = root.path().display().to_string();
    let of = |part: &str| load(&format!("{source}{part}"), &LoadOptions::default());
    assert!(notes(&of("").unwrap()).contains("not t10k-images-idx3-ubyte"));
    assert_eq!(pictures(&of("#test").unwrap()), [picture(1, 3, 2, 1)]);
    assert_eq!(pictures(&of("#train").unwrap()), [picture(0, 3, 2, 1)]);
}

#[test]
fn what_img2dataset_writes_is_read() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    let png = encode_png(&picture(1, 6, 6, 3)).unwrap();
    std::fs::write(
        path.join("00000.tar"),
        tar(&[("000000000.png", &png), ("000000000.txt", b"one")]),
    )
    .unwrap();
    std::fs::write(path.join("00000.parquet"), table_of_urls()).unwrap();
    std::fs::write(path.join("00000_stats.json"), "{}").unwrap();
    let set = read(path).unwrap();
    assert_eq!((set.len(), set.records[0].captions[0].as_str()), (1, "one"));
    let said = notes(&set);
    assert!(
        said.contains("1 left out, tables without pictures: 00000.parquet"),
        "{said}"
    );
    assert!(said.contains("00000_stats.json"), "{said}");
    // In its form `files`, pictures lie in a folder beside the table.
    std::fs::remove_file(path.join("00000.tar")).unwrap();
    std::fs::create_dir(path.join("00000")).unwrap();
    std::fs::write(path.join("00000/000000000.png"), &png).unwrap();
    assert_eq!(read(path).unwrap().len(), 1);
    // What describes pictures is not left out.
    std::fs::rename(path.join("00000.parquet"), path.join("metadata.parquet")).unwrap();
    fails(path, &["metadata.parquet", "metadata.jsonl"]);
    // A table alone has to have pictures.
    std::fs::remove_dir_all(path.join("00000")).unwrap();
    fails(path, &["no column `image`"]);
}

/// A table with one column, of numbers; of one row.
fn table_of_urls() -> Vec<u8> {
    use ::parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    let schema = "message m { required int32 key; }";
    let schema = ::parquet::schema::parser::parse_message_type(schema).unwrap();
    let mut out = Vec::new();
    let properties = WriterProperties::builder().build();
    let mut writer = SerializedFileWriter::new(&mut out, schema.into(), properties.into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<::parquet::data_type::Int32Type>();
    typed.write_batch(&[7], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    out
}

#[test]
fn the_true_reason_is_given() {
    let root = tempfile::tempdir().unwrap();
    // A table whose pictures are compressed by brotli: pyarrow's, of one row.
    let path = root.path().join("brotli.parquet");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/pictures");
    std::fs::copy(Path::new(folder).join("brotli.parquet"), &path).unwrap();
    fails(&path, &["brotli.parquet", "compressed by brotli", "zstd"]);

    // numpy.save of an array of objects, and pickle.dump of anything.
    let path = root.path().join("objects.npy");
    std::fs::write(&path, npy("|O", "False", "(2,)", b"\x80\x04]\x94.")).unwrap();
    fails(&path, &["objects.npy", "pickle", "uint8"]);
    std::fs::write(&path, b"\x80\x04\x95\x0a\0\0\0\0\0\0\0.").unwrap();
    fails(&path, &["objects.npy", "pickle", "uint8"]);
    // Room is not made on a header's word.
    std::fs::write(&path, b"\x93NUMPY\x02\0\xff\xff\xff\xff{").unwrap();
    fails(&path, &["objects.npy", "header of 4294967295 bytes"]);

    let folder = root.path().join("folder");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    save_png(&folder.join("sub/a.png"), &picture(1, 5, 5, 3)).unwrap();
    std::fs::write(folder.join("sub/b.pdf"), "x").unwrap();
    for (name, words) in [
        ("/data/of/another/machine/a.png", "absolute path"),
        ("sub\\\\a.png", "backslashes"),
        ("sub/../sub/a.png", "`..`"),
        ("sub/b.pdf", "no picture"),
        ("sub/c.png", "not there"),
    ] {
        std::fs::write(
            folder.join("metadata.jsonl"),
            format!("{{\"file_name\": \"{name}\"}}\n"),
        )
        .unwrap();
        fails(&folder, &[words, "file_name"]);
    }
}

#[test]
fn archives_have_a_budget() {
    let root = tempfile::tempdir().unwrap();
    let options = |max_unpacking| LoadOptions {
        max_unpacking,
        ..LoadOptions::default()
    };
    // 600 MB of zeros: deflate makes about 600 kB of it.
    let zeros = vec![0; 1 << 20];
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let method = zip::write::SimpleFileOptions::default();
    zip.start_file("x.npy", method).unwrap();
    zip.write_all(&npy("|u1", "False", "(600, 1024, 1024)", &[]))
        .unwrap();
    for _ in 0..600 {
        zip.write_all(&zeros).unwrap();
    }
    let path = root.path().join("bomb.npz");
    std::fs::write(&path, zip.finish().unwrap().into_inner()).unwrap();
    fails(
        &path,
        &["bomb.npz", "629145600 bytes when unpacked", "max_unpacking"],
    );
    assert!(matches!(
        load(&path.display().to_string(), &options(64)),
        Err(Error::TooLarge {
            key: "max_unpacking",
            ..
        })
    ));
    let path = root.path().join("bomb-idx3-ubyte.gz");
    std::fs::write(&path, gz(&idx(0x803, &[600, 1024, 1024], &zeros))).unwrap();
    fails(&path, &["bomb-idx3", "max_unpacking"]);
}

#[test]
fn transparency_is_said() {
    let root = tempfile::tempdir().unwrap();
    let clear = image::RgbaImage::from_pixel(4, 4, image::Rgba([10, 20, 30, 0]));
    clear.save(root.path().join("clear.png")).unwrap();
    save_png(&root.path().join("solid.png"), &picture(1, 4, 4, 3)).unwrap();
    let of = |alpha| {
        let options = LoadOptions {
            alpha,
            ..LoadOptions::default()
        };
        load(&root.path().display().to_string(), &options).unwrap()
    };
    let (white, drop) = (of(crate::Alpha::White), of(crate::Alpha::Drop));
    assert_eq!(white.records[0].picture.pixels[..3], [255, 255, 255]);
    assert_eq!(drop.records[0].picture.pixels[..3], [10, 20, 30]);
    // Without its name: a report that names no image repeats the note.
    let said = notes(&white);
    assert!(
        said.contains("transparency of 1 picture is laid over white"),
        "{said}"
    );
    assert!(notes(&drop).contains("convert(\"RGB\")"));
    std::fs::remove_file(root.path().join("clear.png")).unwrap();
    assert!(of(crate::Alpha::White).notes.is_empty());
}

/// Whoever shows pictures to a model hears which of them were not as it takes them; nobody else does.
#[test]
fn what_is_brought_to_a_models_size_is_said() {
    let root = tempfile::tempdir().unwrap();
    let save = |name: &str, side: u32, channels: u8| {
        save_png(&root.path().join(name), &picture(1, side, side, channels)).unwrap();
    };
    save("a.png", 8, 3);
    save("b.png", 16, 3);
    save("c.png", 9, 1);
    let of = |side: u32, channels: u8, tell_changes: bool| {
        let options = LoadOptions {
            image_size: Some(side),
            channels: Some(channels),
            tell_changes,
            ..LoadOptions::default()
        };
        load(&root.path().display().to_string(), &options).unwrap()
    };
    assert!(of(16, 3, false).notes.is_empty());
    let told = of(16, 3, true);
    let [size, colour] = told.notes.as_slice() else {
        panic!("{:?}", told.notes);
    };
    assert!(
        size.contains("2 pictures brought to 16 x 16, the model's size (the first from 8 x 8)"),
        "{size}"
    );
    assert!(
        colour.contains("1 picture grey, and made colour"),
        "{colour}"
    );
    let grey = notes(&of(16, 1, true));
    assert!(
        grey.contains("2 pictures in colour, and made grey"),
        "{grey}"
    );
    // What is as the model takes it needs no word.
    for name in ["a.png", "c.png"] {
        std::fs::remove_file(root.path().join(name)).unwrap();
    }
    assert!(of(16, 3, true).notes.is_empty());
}

/// Of a side of a split, what became of the other side's pictures is not told.
#[test]
fn what_is_brought_to_a_models_size_is_counted_on_the_side_that_is_read() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..6 {
        let side = 8 + u32::from(i);
        let name = format!("{i}.png");
        save_png(&root.path().join(name), &picture(i, side, side, 3)).unwrap();
    }
    let folder = root.path().display().to_string();
    let sized = LoadOptions {
        image_size: Some(16),
        tell_changes: true,
        ..LoadOptions::default()
    };
    let all = load(&folder, &sized).unwrap();
    assert!(notes(&all).contains("6 pictures brought to 16 x 16"));
    let split = Split::half(&all, &Groups::given(&all), 2, Some(3), 5).unwrap();
    let options = LoadOptions {
        split: Some(&split),
        ..sized
    };
    for (side, count) in [
        ("member", "2 pictures"),
        ("nonmember", "3 pictures"),
        ("d1", "1 picture"),
        ("d2", "1 picture"),
    ] {
        let set = load(&format!("{folder}#{side}"), &options).unwrap();
        let told = notes(&set);
        assert!(
            told.contains(&format!("{count} brought to 16 x 16")),
            "{told}"
        );
    }
}

/// Pages are looked at before they are decoded: none that is whole is refused, whatever its encoding.
#[test]
fn every_encoding_of_texts_reads_the_same() {
    use ::parquet::basic::Encoding;
    use ::parquet::file::properties::{WriterProperties, WriterVersion};
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("t.parquet");
    let texts: Vec<Vec<String>> = (0..40)
        .map(|i| (0..i % 4).map(|k| format!("caption {i} {k}")).collect())
        .collect();
    let texts: Vec<Vec<&str>> = texts
        .iter()
        .map(|own| own.iter().map(String::as_str).collect())
        .collect();
    let lists: Vec<&[&str]> = texts.iter().map(Vec::as_slice).collect();
    let read = |how| {
        std::fs::write(&path, table_written(40, &[("text", &lists)], how)).unwrap();
        let set = load(path.to_str().unwrap(), &LoadOptions::default()).unwrap();
        set.records
            .into_iter()
            .map(|r| (r.id, r.captions))
            .collect::<Vec<_>>()
    };
    let plain = read(WriterProperties::builder());
    assert_eq!(plain.len(), 40);
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for encoding in [
            Encoding::PLAIN,
            Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Encoding::DELTA_BYTE_ARRAY,
        ] {
            let how = WriterProperties::builder()
                .set_writer_version(version)
                .set_dictionary_enabled(false)
                .set_column_encoding("text.list.element".into(), encoding)
                .set_column_encoding("image".into(), encoding)
                .set_data_page_row_count_limit(7);
            assert_eq!(read(how), plain, "{version:?} {encoding:?}");
        }
    }
}

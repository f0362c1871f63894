use std::io::{Cursor, Write};
use std::path::Path;

use crate::{Error, ImageSet, LoadOptions, Picture, encode_png, load, save_png};

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

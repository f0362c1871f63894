//! Writes the inputs that the fuzzers begin with: `cargo run -p dualmd-fuzz --example corpus`.
//!
//! A few small files per target, sound ones and ones that promise more than they hold, made by the writers of this
//! workspace and of the libraries that it reads with. The same files come out each time. Inputs that a fuzzer found lie in
//! the same folders under `found-*` names and are not touched.

use std::io::{Cursor, Write};
use std::path::Path;

use dualmd_data::{Picture, encode_png};
use dualmd_fuzz::{files::pack, templates};
use image::{DynamicImage, ImageFormat};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    pictures()?;
    arrays()?;
    tables()?;
    folders()?;
    texts()?;
    #[cfg(feature = "models")]
    models()?;
    #[cfg(feature = "models")]
    std::fs::write(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/targets.txt"),
        dualmd_fuzz::list(),
    )?;
    Ok(())
}

fn save(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)?;
    Ok(())
}

fn colour() -> DynamicImage {
    image::RgbImage::from_fn(9, 6, |x, y| image::Rgb([x as u8 * 28, y as u8 * 40, 128])).into()
}

fn grey() -> DynamicImage {
    image::GrayImage::from_fn(5, 7, |x, y| image::Luma([(x * y) as u8 * 7])).into()
}

fn clear() -> DynamicImage {
    image::RgbaImage::from_fn(4, 4, |x, y| {
        image::Rgba([200, x as u8, y as u8, x as u8 * 60])
    })
    .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format)?;
    Ok(out.into_inner())
}

fn pictures() -> Result<()> {
    for (target, format) in [
        ("png", ImageFormat::Png),
        ("jpeg", ImageFormat::Jpeg),
        ("webp", ImageFormat::WebP),
        ("gif", ImageFormat::Gif),
        ("bmp", ImageFormat::Bmp),
    ] {
        save(target, "colour", encoded(&colour(), format)?)?;
        // Formats without grey or without transparency say so: then there is one file less.
        if let Ok(bytes) = encoded(&grey(), format) {
            save(target, "grey", bytes)?;
        }
        if let Ok(bytes) = encoded(&clear(), format) {
            save(target, "transparent", bytes)?;
        }
        let whole = encoded(&colour(), format)?;
        save(
            target,
            "cut",
            whole.get(..whole.len() * 3 / 5).unwrap_or_default(),
        )?;
    }
    let deep = image::ImageBuffer::<image::Rgb<u16>, _>::from_fn(3, 3, |x, y| {
        image::Rgb([x as u16 * 9_000, y as u16 * 7_000, 65_535])
    });
    save(
        "png",
        "sixteen-bit",
        encoded(&deep.into(), ImageFormat::Png)?,
    )?;
    let png = encoded(&colour(), ImageFormat::Png)?;
    // A header that promises 60,000 x 60,000, and a profile that unpacks to 16 MiB out of 16 kB.
    let mut sides = png.get(16..29).unwrap_or_default().to_vec();
    sides.splice(
        0..8,
        [60_000u32.to_be_bytes(), 60_000u32.to_be_bytes()].concat(),
    );
    let mut bomb = png.get(..8).unwrap_or_default().to_vec();
    bomb.extend(chunk(b"IHDR", &sides));
    bomb.extend_from_slice(png.get(33..).unwrap_or_default());
    save("png", "promises-60000", bomb)?;
    let mut profile = b"p\0\0".to_vec();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 16 << 20])?;
    profile.extend(packed.finish()?);
    let mut large = png.get(..33).unwrap_or_default().to_vec();
    large.extend(chunk(b"iCCP", &profile));
    large.extend_from_slice(png.get(33..).unwrap_or_default());
    save("png", "large-profile", large)
}

/// A chunk of a PNG with its length and checksum.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut body = kind.to_vec();
    body.extend_from_slice(data);
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
    chunk.extend(body);
    chunk.extend(crc.sum().to_be_bytes());
    chunk
}

/// An npy file: version 1, the header's text, the data.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn archive(entries: &[(&str, Vec<u8>)], deflate: bool) -> Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let method = match deflate {
        true => zip::CompressionMethod::Deflated,
        false => zip::CompressionMethod::Stored,
    };
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(method)
        .last_modified_time(zip::DateTime::default());
    for (name, bytes) in entries {
        zip.start_file(*name, options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

fn bytes_of<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    values.into_iter().flatten().collect()
}

fn arrays() -> Result<()> {
    let ramp: Vec<u8> = (0..96).collect();
    save("npy", "grey", npy("|u1", "(2, 6, 8)", &ramp))?;
    save("npy", "colour", npy("|u1", "(2, 4, 4, 3)", &ramp))?;
    save("npy", "transparent", npy("|u1", "(1, 4, 6, 4)", &ramp))?;
    save(
        "npy",
        "promises-much",
        npy("|u1", "(1000000, 512, 512, 3)", &ramp),
    )?;
    save("npy", "no-sides", npy("|u1", "(1000, 0, 0)", b""))?;
    save("npy", "objects", npy("|O", "(2,)", b"\x80\x04."))?;
    let list = |rows: &[i64]| {
        npy(
            "<i8",
            &format!("({},)", rows.len()),
            &bytes_of(rows.iter().map(|r| r.to_le_bytes())),
        )
    };
    for (name, deflate) in [("stored", false), ("deflated", true)] {
        let images = ("arr_0.npy", npy("|u1", "(2, 6, 8)", &ramp));
        save("npz", name, archive(&[images], deflate)?)?;
    }
    let rows = [
        ("mia_train_idxs.npy", list(&[0, 1])),
        ("mia_eval_idxs.npy", list(&[2, 3])),
    ];
    save("npz", "member-lists", archive(&rows, false)?)?;
    let many = (
        "images.npy",
        npy("|u1", "(64, 256, 256)", &vec![0; 64 << 16]),
    );
    save("npz", "unpacks-to-4-mb", archive(&[many], true)?)?;

    let mut idx = b"\x00\x00\x08\x03".to_vec();
    idx.extend(bytes_of([2u32, 6, 8].map(u32::to_be_bytes)));
    idx.extend(&ramp);
    save("idx", "two-pictures", &idx)?;
    let mut promise = b"\x00\x00\x08\x03".to_vec();
    promise.extend(bytes_of([u32::MAX; 3].map(u32::to_be_bytes)));
    save("idx", "promises-much", promise)?;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&idx)?;
    save("idx-gz", "two-pictures", packed.finish()?)?;

    let record: Vec<u8> = (0..3_073u32)
        .map(|i| if i == 0 { 3 } else { (i % 251) as u8 })
        .collect();
    save("cifar", "ten", record.repeat(2))?;
    save("cifar", "hundred", [&[7][..], &record].concat())
}

fn tables() -> Result<()> {
    use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;

    for (name, compression) in [
        ("plain", parquet::basic::Compression::UNCOMPRESSED),
        ("snappy", parquet::basic::Compression::SNAPPY),
    ] {
        let schema = "message m { optional group image { optional binary bytes; optional binary path (STRING); } required binary text (STRING); required int32 label; }";
        let schema = parquet::schema::parser::parse_message_type(schema)?;
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_created_by("dualmd".into());
        let mut out = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut out, schema.into(), properties.build().into())?;
        let mut group = writer.next_row_group()?;
        let pngs = [10, 200].map(|value| encode_png(&Picture::filled(3, 4, 3, value)));
        let pngs = pngs
            .into_iter()
            .map(|png| Ok(ByteArray::from(png?)))
            .collect::<Result<Vec<_>>>()?;
        let names = ["a.png", "b.png"].map(ByteArray::from);
        let texts = ["a cat", "a dog"].map(ByteArray::from);
        for (values, levels) in [
            (&pngs[..], Some(&[2i16, 2][..])),
            (&names, Some(&[2, 2])),
            (&texts, None),
        ] {
            let mut column = group.next_column()?.ok_or("no column")?;
            column
                .typed::<ByteArrayType>()
                .write_batch(values, levels, None)?;
            column.close()?;
        }
        let mut column = group.next_column()?.ok_or("no column")?;
        column
            .typed::<Int32Type>()
            .write_batch(&[0, 1], None, None)?;
        column.close()?;
        group.close()?;
        writer.close()?;
        save("parquet", name, out)?;
    }
    Ok(())
}

fn tar_of(entries: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, *bytes)?;
    }
    Ok(tar.into_inner()?)
}

fn folders() -> Result<()> {
    let png = encode_png(&Picture::filled(3, 4, 1, 90))?;
    let about = br#"{"caption": ["a cat", "another"], "label": 3, "group": "g"}"#;
    save(
        "tar",
        "text",
        tar_of(&[("a.png", &png), ("a.txt", b"a cat"), ("a.cls", b"1")])?,
    )?;
    save(
        "tar",
        "json",
        tar_of(&[
            ("0/a.b.png", &png),
            ("0/a.b.json", about),
            ("0/c.png", &png),
        ])?,
    )?;
    let line = r#"{"file_name": "a.png", "text": "a cat", "group": "g", "label": 1}"#;
    save(
        "image-folder",
        "lines",
        format!("{line}\n{}\n", line.replace("a.png", "b/c.png")),
    )?;
    save(
        "image-folder",
        "table",
        pack([(
            "metadata.csv",
            "file_name,caption,group\na.png,\"[\"\"a\"\", \"\"b\"\"]\",1\nb/c.png,c,\n",
        )]),
    )?;
    save(
        "image-folder",
        "texts",
        pack([("a.txt", "a cat\nanother\n"), ("b/c.txt", "\u{feff}\n")]),
    )?;
    save(
        "image-folder",
        "elsewhere",
        line.replace("a.png", "../../etc/passwd"),
    )?;

    let folder = templates::run_folder();
    for (name, bytes) in &folder {
        save("run-folder", &name.replace('/', "-"), pack([(name, bytes)]))?;
    }
    save("run-folder", "empty", b"")
}

fn texts() -> Result<()> {
    let scores = templates::run_folder();
    let scores = scores
        .iter()
        .find(|(name, _)| name == "scores/baseline.csv");
    save(
        "scores",
        "a-run-s",
        scores.map(|(_, bytes)| bytes.clone()).unwrap_or_default(),
    )?;
    save(
        "scores",
        "two-columns",
        "score,member\n0.5,1\n-1e300,0\n0.5,true\n1e-300,false\n",
    )?;
    save(
        "scores",
        "wide",
        "id,member,group,score\n\"a,\"\"b\",1,=1+1,0.1\nc,0,@x,0.2\n",
    )?;
    save("scores", "not-finite", "score,member\nNaN,1\n1e999,0\n")?;

    let record = |value| -> Result<dualmd_data::Record> {
        let picture = Picture::filled(4, 4, 1, value);
        Ok(dualmd_data::Record {
            id: picture.id(),
            picture,
            captions: vec![],
            group: None,
            label: None,
            name: value.to_string(),
            file: None,
        })
    };
    let records = [0, 80, 160, 240]
        .map(record)
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let set = dualmd_data::ImageSet::new("input".into(), None, records)?;
    let groups = dualmd_data::Groups::given(&set);
    let split = dualmd_data::Split::half(&set, &groups, 2, Some(2), 1)?;
    let file = tempfile::NamedTempFile::new()?;
    split.save(file.path())?;
    save("split", "half", std::fs::read(file.path())?)?;
    save("split", "no-members", json!({"schema": 1, "method": "half", "seed": 0, "source": "x", "hash": "", "members": [], "nonmembers": []}).to_string())
}

/// Answers of a denoiser's server, sound and not.
#[cfg(feature = "models")]
fn messages() -> Result<()> {
    let message = |header: String, data: &[u8]| {
        let payload = 8 + header.len() + data.len();
        let mut bytes = (payload as u64).to_le_bytes().to_vec();
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header.into_bytes());
        bytes.extend_from_slice(data);
        bytes
    };
    let hello = |settings: serde_json::Value, table: &str, data: &[u8]| {
        let tensor = format!(
            "\"alphas_cumprod\":{{\"dtype\":\"F64\",\"shape\":{table},\"data_offsets\":[0,{}]}}",
            data.len()
        );
        message(format!("{{\"__metadata__\":{settings},{tensor}}}"), data)
    };
    let plain = json!({"kind": "hello", "version": "1", "shape": "3,32,32", "prediction": "flow", "can": "generate,encode"});
    let falling: Vec<u8> = [0.9f64, 0.5, 0.1]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    save("denoiser", "hello", hello(plain.clone(), "[3]", &falling))?;
    save(
        "denoiser",
        "rising",
        hello(plain.clone(), "[1,3]", &falling),
    )?;
    save("denoiser", "no-numbers", hello(plain, "[2]", &[0xff; 16]))?;
    let latent = json!({"kind": "hello", "version": "1", "shape": "4,8,8", "image_shape": "3,64,64", "prediction": "eps", "clip": "1e999"});
    save("denoiser", "latent", hello(latent, "[0]", b""))?;
    let wide = json!({"kind": "hello", "version": "1", "shape": "9223372036854775807,2,2", "prediction": "v"});
    save(
        "denoiser",
        "wide",
        hello(wide, "[0,9223372036854775807]", b""),
    )?;
    let answer = r#"{"__metadata__":{"kind":"predict"},"prediction":{"dtype":"F32","shape":[2,1,2,2],"data_offsets":[0,32]}}"#;
    save("denoiser", "answer", message(answer.into(), &[0; 32]))?;
    save("denoiser", "long", u64::MAX.to_le_bytes())?;
    save("denoiser", "short", 8u64.to_le_bytes())?;
    save(
        "denoiser",
        "words",
        message(
            r#"{"__metadata__":{"kind":"error","message":"no"}}"#.into(),
            b"",
        ),
    )
}

#[cfg(feature = "models")]
fn models() -> Result<()> {
    use dualmd_diffusion::lora::PEFT_CONFIG;
    use dualmd_fuzz::models::{
        adapter_folder, dit_folder, lora_folder, pipeline_folder, text_folder,
    };

    let weights = |name: &str, data: &[u8], shape: &str, kind: &str| {
        let header = format!(
            "{{\"{name}\":{{\"dtype\":\"{kind}\",\"shape\":{shape},\"data_offsets\":[0,{}]}}}}",
            data.len()
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        bytes.extend_from_slice(data);
        bytes
    };
    let eight = [0u8; 8];
    save("safetensors", "f32", weights("a", &eight, "[2]", "F32"))?;
    save(
        "safetensors",
        "bf16",
        weights("a.b", &eight, "[2,2]", "BF16"),
    )?;
    save(
        "safetensors",
        "empty",
        weights("a", b"", "[0, 9223372036854775807]", "F32"),
    )?;
    save("safetensors", "f8", weights("a", &eight, "[8]", "F8_E4M3"))?;
    save("safetensors", "huge-header", u64::MAX.to_le_bytes())?;
    messages()?;
    let index =
        json!({"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}});
    let parts = [
        ("x.safetensors.index.json", index.to_string().into_bytes()),
        ("one.safetensors", weights("a", &eight, "[2]", "F32")),
        ("two.safetensors", weights("b", &eight, "[1,1]", "F64")),
    ];
    save("shards", "two", pack(parts))?;
    save(
        "shards",
        "elsewhere",
        r#"{"weight_map": {"a": "../x.safetensors"}}"#,
    )?;
    save("array", "f32", npy("<f4", "(2, 1)", &eight))?;
    save("array", "f64", npy("<f8", "(1,)", &eight))?;
    save(
        "array",
        "promises-much",
        npy("<f4", "(4611686018427387904, 8)", &eight),
    )?;

    // Every file but weights, which are too large to be kept and are found in the template.
    for (target, folder) in [
        ("pipeline", pipeline_folder()),
        ("dit-pipeline", dit_folder()),
        ("text-pipeline", text_folder()),
    ] {
        for (name, bytes) in folder.iter().filter(|(_, bytes)| bytes.len() < 20_000) {
            save(target, &name.replace('/', "-"), pack([(name, bytes)]))?;
        }
    }
    let scheduler =
        |value: serde_json::Value| pack([("scheduler/scheduler_config.json", value.to_string())]);
    for target in ["pipeline", "text-pipeline"] {
        save(
            target,
            "scheduler-pndm",
            scheduler(
                json!({"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null}),
            ),
        )?;
        save(
            target,
            "scheduler-v",
            scheduler(
                json!({"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", "trained_betas": [0.1, 0.2]}),
            ),
        )?;
    }
    for (name, bytes) in lora_folder() {
        save("lora", name, bytes)?;
    }
    for (name, bytes) in adapter_folder()
        .iter()
        .filter(|(name, _)| name == PEFT_CONFIG)
    {
        save("adapter", name, bytes)?;
    }
    save(
        "adapter",
        "patterns",
        r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 1e300, "alpha_pattern": {"^mid_block": NaN, "to_q": 0}, "use_rslora": true}"#,
    )?;
    save(
        "adapter",
        "itself",
        r#"{"base_model_name_or_path": ".", "lora_alpha": null, "alpha_pattern": []}"#,
    )?;

    save(
        "clip-tokenizer",
        "settings",
        pack([
            (
                "tokenizer_config.json",
                r#"{"bos_token": "<|startoftext|>", "eos_token": {"content": "<|endoftext|>", "lstrip": true}, "model_max_length": 16}"#,
            ),
            ("special_tokens_map.json", r#"{"pad_token": "!"}"#),
        ]),
    )?;
    save(
        "clip-tokenizer",
        "vocabulary",
        pack([
            (
                "vocab.json",
                r#"{"a": 0, "a</w>": 1, "b": 2, "ab</w>": 3, "<|startoftext|>": 4, "<|endoftext|>": 5}"#,
            ),
            ("merges.txt", "#version: 0.2\na b</w>\n"),
        ]),
    )?;
    save(
        "clip-tokenizer",
        "added",
        pack([("added_tokens.json", r#"{"<cat>": 514}"#)]),
    )?;
    let whole = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null, "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1}}});
    save(
        "word-pieces",
        "whole",
        pack([("tokenizer.json", whole.to_string())]),
    )?;
    save(
        "word-pieces",
        "vocabulary",
        pack([(
            "vocab.txt",
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n\na\n",
        )]),
    )?;
    save(
        "word-pieces",
        "settings",
        r#"{"do_lower_case": true, "strip_accents": null, "unk_token": {"content": "[UNK]"}, "clean_up_tokenization_spaces": true}"#,
    )?;

    save("captioner", "blip", json!({"model_type": "blip", "text_config": {"vocab_size": 8, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}, "vision_config": {"image_size": 8, "patch_size": 4, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}, "projection_dim": 8}).to_string())?;
    save("captioner", "clip", json!({"model_type": "clip", "architectures": ["CLIPModel"], "text_config": {"vocab_size": 8, "hidden_size": 8, "num_attention_heads": 2}, "vision_config": {"image_size": 8, "patch_size": 4, "hidden_size": 8}, "projection_dim": 8}).to_string())?;
    save("captioner", "vit", json!({"model_type": "vit", "architectures": ["ViTModel"], "image_size": 8, "patch_size": 4, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}).to_string())?;
    save("captioner", "bert", json!({"model_type": "bert", "vocab_size": 6, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 16}).to_string())?;
    save("preprocessor", "blip", json!({"do_resize": true, "size": {"height": 8, "width": 8}, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3, "do_rescale": true, "rescale_factor": 0.00392156862745098, "image_processor_type": "BlipImageProcessor"}).to_string())?;
    save(
        "preprocessor",
        "side",
        r#"{"size": 16, "image_std": [0, 1, 1]}"#,
    )?;

    save(
        "statistics",
        "two",
        archive(
            &[
                ("mu.npy", npy("<f8", "(1,)", &eight)),
                ("sigma.npy", npy("<f8", "(1, 1)", &eight)),
            ],
            false,
        )?,
    )?;

    let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/presets");
    for name in ["demo", "emoji-t2i-demo", "paper-cifar10"] {
        save(
            "experiment",
            name,
            std::fs::read(presets.join(format!("{name}.toml")))?,
        )?;
    }
    save(
        "experiment",
        "sets",
        pack([
            (
                "experiment.toml",
                "seed = 1\n[data]\nsource = \"fashion\"\nmembers = 4\nnonmembers = 4\n[[models]]\nname = \"m\"\ndefense = \"none\"\n",
            ),
            (
                "sets",
                "train.steps=3\nmodel.block_out_channels=[8, 8]\ndata.source=x\n",
            ),
        ]),
    )?;
    save("plan", "empty", r#"{"schema": 1}"#)?;
    save(
        "plan",
        "a-report-s",
        templates::run_folder()
            .into_iter()
            .find(|(name, _)| name == "plan.json")
            .map(|(_, bytes)| bytes)
            .unwrap_or_default(),
    )
}

//! Folders of images, written by one command and read by another; and what is said where nothing can be written.

mod common;

use common::{TINY, dualmd, fail, json, succeed, text};
use dualmd_data::{Picture, save_png};
use dualmd_torch::Tensor;
use dualmd_torch::weights::write_safetensors;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tiny-ddpm");

/// `mixed` of interop/make_metrics_golden.py.
fn mixed(n: usize, seed: u32) -> impl Iterator<Item = u32> {
    (0..n as u32).map(move |i| {
        let mut v = i.wrapping_add(seed);
        v = (v ^ (v >> 16)).wrapping_mul(0x7feb_352d);
        v = (v ^ (v >> 15)).wrapping_mul(0x846c_a68b);
        v ^ (v >> 16)
    })
}

/// `made` of the same script, for the tensors up to the first pool.
fn made(name: &str, shape: &[i64]) -> Tensor {
    let seed = name.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let (offset, scale) = match name {
        _ if name.ends_with("running_var") => (1.0, 0.5),
        _ if shape.len() > 1 => {
            let inputs = shape[1..].iter().product::<i64>() as f64;
            (0.0, (6.0 / inputs).sqrt())
        }
        _ if name.ends_with("bn.weight") => (1.0, 0.2),
        _ => (0.0, 0.2),
    };
    let n = shape.iter().product::<i64>() as usize;
    let values: Vec<f32> = mixed(n, seed)
        .map(|v| (offset + scale * (f64::from(v) / f64::from(1u32 << 31) - 1.0)) as f32)
        .collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// Weights of Inception's first block.
fn weights(path: &Path) {
    let mut tensors = Vec::new();
    for (name, shape) in [
        ("Conv2d_1a_3x3", [32, 3, 3, 3]),
        ("Conv2d_2a_3x3", [32, 32, 3, 3]),
        ("Conv2d_2b_3x3", [64, 32, 3, 3]),
    ] {
        let mut put = |part: &str, shape: &[i64]| {
            let name = format!("{name}.{part}");
            let tensor = made(&name, shape);
            tensors.push((name, tensor));
        };
        put("conv.weight", &shape);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            put(&format!("bn.{part}"), &shape[..1]);
        }
    }
    write_safetensors(path, tensors.iter().map(|(n, t)| (n.as_str(), t)), &[]).unwrap();
}

/// `noisy` of the script, as a folder.
fn noisy(folder: &Path, channels: u8, height: u32, width: u32, seed: u32) -> PathBuf {
    const N: usize = 20;
    std::fs::create_dir_all(folder).unwrap();
    let (c, h, w) = (usize::from(channels), height as usize, width as usize);
    let noise: Vec<u32> = mixed(N * c * h * w, seed).map(|v| v >> 25).collect();
    for i in 0..N {
        let mut picture = Picture::filled(width, height, channels, 0);
        for (place, value) in picture.pixels.iter_mut().enumerate() {
            let (pixel, channel) = (place / c, place % c);
            let noise = noise[i * c * h * w + channel * h * w + pixel] as usize;
            *value = (noise * (i + 1) / N + (pixel % w) * 96 / w + i * 2) as u8;
        }
        save_png(&folder.join(format!("{i:03}.png")), &picture).unwrap();
    }
    folder.to_path_buf()
}

/// Every picture as it is: grey repeated, at its own size into the network. The values are those of pytorch-fid's definition,
/// computed in numpy (interop/make_metrics_golden.py, `sets`).
#[test]
fn distances_are_pytorch_fids_whatever_the_colours_and_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("inception.safetensors");
    weights(&file);
    let grey = noisy(&dir.path().join("grey"), 1, 32, 32, 5);
    let colour = noisy(&dir.path().join("colour"), 3, 32, 32, 6);
    let large = noisy(&dir.path().join("large"), 3, 96, 128, 7);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/metrics/sets.json");
    let expected = json(&golden);
    let cache = dir.path().join("cache");
    let distance = |generated: &Path, real: &Path, more: &[&str]| -> Value {
        let asked = ["metrics", text(generated), "--real", text(real), "--json"];
        let features = ["--features", "inception-64", "--weights", text(&file)];
        let mut command = dualmd(&[&asked[..], &features, more].concat());
        let output = command.env("DUALMD_CACHE", &cache).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let kept = || std::fs::read_dir(cache.join("features")).map_or(0, Iterator::count);
    let uncached = distance(&grey, &colour, &["--no-cache"]);
    assert_eq!(kept(), 0);
    for (generated, real, key) in [
        (&grey, &colour, "grey_colour"),
        (&colour, &grey, "colour_grey"),
        (&colour, &large, "colour_large"),
        (&large, &colour, "large_colour"),
    ] {
        let found = distance(generated, real, &[]);
        let found = found.pointer("/frechet/distance/value").unwrap().as_f64();
        let (found, expected) = (found.unwrap(), expected[key].as_f64().unwrap());
        assert!(
            (found - expected).abs() < 1e-3 * expected,
            "{key}: {found} is not {expected}"
        );
    }
    // Each of the three sets was a real one, and was looked at once; what is kept gives the same numbers to the digit.
    assert_eq!(kept(), 3);
    assert_eq!(distance(&grey, &colour, &[]), uncached);
    assert_eq!(kept(), 3);
    // Shrinking only when asked for, and then both.
    let shrunk = distance(&colour, &large, &["--image-size", "32"]);
    let shrunk = shrunk.pointer("/frechet/distance/value").unwrap().as_f64();
    let own = expected["colour_large"].as_f64().unwrap();
    assert!((shrunk.unwrap() - own).abs() > 0.01 * own, "{shrunk:?}");
    // Pixels of two sizes do not compare: refused where they were asked for, said where they were not.
    let by_pixels = [
        "metrics",
        text(&colour),
        "--real",
        text(&large),
        "--features",
        "pixels",
    ];
    let said = fail(&by_pixels);
    assert!(
        said.contains("32x32") && said.contains("128x96") && said.contains("--image-size"),
        "{said}"
    );
    let found = distance(&colour, &colour, &["--members", text(&large)]);
    assert_eq!(found["copies"], serde_json::json!([]));
    assert!(
        found["missing"]
            .as_array()
            .unwrap()
            .iter()
            .any(|m| m.as_str().unwrap().contains("copies by pixels")),
        "{found}"
    );
}

#[test]
fn six_drawn_images_are_six_and_earlier_ones_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    let draw = |n: &str| {
        succeed(&[
            "sample",
            MODEL,
            "-n",
            n,
            "--steps",
            "2",
            "-o",
            text(&images),
        ]);
    };
    let counted = || -> Value {
        let asked = ["metrics", text(&images), "--real", text(&images)];
        let how = ["--features", "pixels", "--json"];
        let printed = succeed(&[&asked[..], &how].concat()).stdout;
        serde_json::from_slice::<Value>(&printed).unwrap()["n_generated"].clone()
    };
    draw("8");
    assert_eq!(counted(), 8);
    draw("6");
    assert_eq!(counted(), 6);
    assert!(!images.join("0006.png").exists() && images.join("grid.png").exists());
    // One that an older version left is refused, and named.
    std::fs::copy(images.join("0000.png"), images.join("0006.png")).unwrap();
    let said = fail(&[
        "metrics",
        text(&images),
        "--real",
        text(&images),
        "--features",
        "pixels",
    ]);
    assert!(said.contains("0006.png"), "{said}");
    // Someone's own pictures are neither overwritten nor mixed with.
    let own = dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    save_png(&own.join("0000.png"), &Picture::filled(4, 4, 3, 7)).unwrap();
    let before = std::fs::read(own.join("0000.png")).unwrap();
    let said = fail(&["sample", MODEL, "-n", "2", "--steps", "2", "-o", text(&own)]);
    assert!(
        said.contains("0000.png") && said.contains("another folder"),
        "{said}"
    );
    assert_eq!(std::fs::read(own.join("0000.png")).unwrap(), before);
}

/// One line and exit code 1 where standard output is full; no line where nobody reads; no panic anywhere.
#[test]
fn a_full_disk_and_a_closed_pipe_are_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let scores = dir.path().join("scores.csv");
    std::fs::write(&scores, "member,score\n1,0.9\n1,0.4\n0,0.7\n0,0.2\n").unwrap();
    let split = dir.path().join("split.json");
    let export = dir.path().join("split.csv");
    let commands: [&[&str]; 7] = [
        &["roc", text(&scores)],
        &["roc", text(&scores), "--json"],
        &["list", "attacks"],
        &["list", "datasets"],
        &["--help"],
        &["split", "fashion", "--members", "8", "-o", text(&split)],
        &["export", "split", text(&split), "-o", text(&export)],
    ];
    for args in commands {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = dualmd(args).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.starts_with("error: cannot write to standard output")
                && !said.contains("panicked"),
            "{args:?}: {said}"
        );
        // A pipe whose reader has gone.
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let output = dualmd(args).stdout(write).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(141), ""), "{args:?}");
        // Remarks that cannot be written are not worth a failure.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = dualmd(args)
            .stderr(full)
            .stdout(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

/// With -q nothing is above: the reason of a training that failed is in the last lines.
#[test]
fn a_quiet_run_tells_why_a_training_failed() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("tiny.toml");
    std::fs::write(&experiment, TINY).unwrap();
    let run = dir.path().join("run");
    let common = ["run", text(&experiment), "--out", text(&run), "--until"];
    succeed(&[&common[..], &["split"]].concat());
    // The log cannot be written where a folder has its name.
    std::fs::create_dir_all(run.join("logs/baseline.jsonl")).unwrap();
    let said = fail(&[&common[..], &["train", "-q"]].concat());
    assert!(
        said.contains("the training of baseline failed") && said.contains("baseline.jsonl"),
        "{said}"
    );
    assert!(!said.contains("above"), "{said}");
}

//! A run folder with known answers: an undefended model that leaks, a student near chance whose halves differ, teachers
//! that know one half each, an inverted attack, a failed one. Scores are seeded, so every test sees the same numbers.

use std::path::Path;

use dualmd_audit::{ScoreRow, write_scores};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

pub const MEMBERS: usize = 64;
pub const NONMEMBERS: usize = 512;

/// Shift of the scores of (D1 members, D2 members) in standard deviations; an AUC of Phi(shift / sqrt 2).
type Shifts = (f64, f64);

pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn id(member: bool, i: usize) -> String {
    format!("{}{i:030x}", if member { "aa" } else { "bb" })
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
    std::fs::write(path, bytes).expect("write");
}

fn write_json(path: &Path, value: &Value) {
    write(path, serde_json::to_vec_pretty(value).expect("json"));
}

/// Writes scores with the given shifts and their description.
pub fn model_scores(dir: &Path, model: &str, defense: &str, attacks: &[(&str, Shifts)], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = Vec::new();
    for (attack, (d1, d2)) in attacks {
        for i in 0..MEMBERS + NONMEMBERS {
            let member = i < MEMBERS;
            let shift = if !member {
                0.0
            } else if i % 2 == 0 {
                *d1
            } else {
                *d2
            };
            let z = normal(&mut rng) + shift;
            // Sums of fourth powers are negative and have a long tail.
            let score = if *attack == "sima" || *attack == "pia" {
                -(9.0 - z).exp()
            } else {
                z
            };
            let index = if member { i } else { i - MEMBERS };
            rows.push(ScoreRow {
                sample_id: id(member, index),
                name: None,
                group: None,
                member,
                attack: (*attack).into(),
                score,
            });
        }
    }
    write_scores(&dir.join(format!("scores/{model}.csv")), &rows).expect("scores");
    let describe = |name: &str| match name {
        "loss" => ("Loss", "white-box", 8.0, json!({"t": 200, "draws": 8})),
        "secmi" => (
            "SecMI",
            "white-box",
            11.0,
            json!({"t_sec": 100, "interval": 10}),
        ),
        "pia" => ("PIA", "white-box", 2.0, json!({"t": 200, "p": 4})),
        "pian" => ("PIAN", "white-box", 2.0, json!({"t": 200, "p": 4})),
        "sima" => ("SimA", "white-box", 1.0, json!({"t": 100, "p": 4})),
        _ => ("Nearest image", "black-box", 0.0, json!({"generated": 256})),
    };
    let mut described: Vec<Value> = attacks
        .iter()
        .map(|(name, _)| {
            let (title, access, calls, parameters) = describe(name);
            json!({"attack": name, "title": title, "access": access, "network_calls_per_sample": calls, "seconds": 3.2 + calls, "status": "ok", "reason": null, "parameters": parameters})
        })
        .collect();
    if model == "kd" {
        described.push(json!({"attack": "pian", "title": "PIAN", "access": "white-box", "network_calls_per_sample": 2, "seconds": 0.1, "status": "failed", "reason": "the network gave NaN at t = 200", "parameters": {}}));
    }
    let warnings = if model == "baseline" {
        vec![
            "eps(x,0) has a standard deviation of 0.29, far from 1: PIA compares at an input that is too clean for its step, trust PIAN more.",
        ]
    } else {
        vec![]
    };
    write_json(
        &dir.join(format!("scores/{model}.json")),
        &json!({"model": model, "defense": defense, "attacks": described, "network_calls_made": 12672, "network_calls_saved": 1152, "warnings": warnings, "weights": "ema", "dtype": "f32"}),
    );
}

/// The whole folder.
pub fn run_folder(dir: &Path) {
    let models = [
        (
            "baseline",
            "none",
            vec![
                ("loss", (3.6, 3.4)),
                ("secmi", (1.1, 1.3)),
                ("pia", (2.6, 2.7)),
                ("pian", (1.9, 2.0)),
                ("sima", (5.0, 4.6)),
                ("nn", (0.9, 0.8)),
            ],
            0.021,
        ),
        (
            "kd",
            "kd",
            vec![
                ("loss", (0.9, 0.9)),
                ("secmi", (0.3, 0.4)),
                ("pia", (0.4, 0.2)),
                ("sima", (1.0, 1.1)),
                ("nn", (0.3, 0.3)),
            ],
            0.034,
        ),
        ("dualmd", "dualmd", vec![("nn", (0.15, 0.1))], 0.0),
        (
            "teacher-1",
            "dualmd",
            vec![
                ("loss", (4.4, 0.0)),
                ("secmi", (2.1, -0.1)),
                ("pia", (-2.4, 0.0)),
                ("pian", (3.9, 0.1)),
                ("sima", (6.0, 0.0)),
            ],
            0.012,
        ),
        (
            "teacher-2",
            "dualmd",
            vec![
                ("loss", (0.0, 4.2)),
                ("secmi", (0.1, 2.2)),
                ("pia", (0.1, -2.3)),
                ("pian", (0.0, 3.7)),
                ("sima", (0.05, 5.5)),
            ],
            0.013,
        ),
        (
            "student",
            "distillmd",
            vec![
                ("loss", (0.1, 0.1)),
                ("secmi", (-0.62, 0.55)),
                ("pia", (0.0, -0.1)),
                ("pian", (-0.1, 0.0)),
                ("sima", (0.1, 0.0)),
                ("nn", (0.0, 0.1)),
            ],
            0.045,
        ),
    ];
    for (i, (name, defense, attacks, member_loss)) in models.iter().enumerate() {
        model_scores(dir, name, defense, attacks, 100 + i as u64);
        pictures(dir, name, i as u64);
        if *defense == "dualmd" && *name == "dualmd" {
            continue;
        }
        let teachers = if *name == "student" {
            vec!["teacher-1", "teacher-2"]
        } else if *name == "kd" {
            vec!["baseline"]
        } else {
            vec![]
        };
        let images = if name.starts_with("teacher") { 32 } else { 64 };
        write_json(
            &dir.join(format!("models/{name}/training.json")),
            &json!({"name": name, "defense": defense, "steps": 1800, "batch": 64, "learning_rate": 2e-3, "seed": 7, "split_hash": "5b1f0c", "parameters": 163_841,
                "train_loss": 0.05, "member_loss": member_loss, "heldout_loss": 0.0521, "seconds": 171.0, "images_per_second": 674.0, "threads": 1, "dtype": "bf16", "peak_rss_mb": 612, "teachers": teachers, "images": images}),
        );
        let log: String = (0..=60)
            .map(|k| {
                let t = f64::from(k) / 60.0;
                let held = 0.048 + 0.25 * (-9.0 * t).exp() + 0.004 * t;
                let member = member_loss + (held - member_loss) * (-3.2 * t * t).exp();
                json!({"step": k * 30, "loss": member, "lr": 2e-3, "grad_norm": 0.4, "images_per_second": 670.0, "member_loss": member, "heldout_loss": held, "seconds": 3 * k}).to_string() + "\n"
            })
            .collect();
        write(&dir.join(format!("logs/{name}.jsonl")), log);
    }
    let side = |member: bool, n: usize| -> Vec<Value> {
        (0..n)
            .map(|i| {
                if member {
                    json!({"id": id(true, i), "half": i % 2 + 1, "group": null})
                } else {
                    json!({"id": id(false, i), "group": null})
                }
            })
            .collect()
    };
    write_json(
        &dir.join("split.json"),
        &json!({"schema": 1, "method": "half", "seed": 0, "source": "fashion", "hash": "5b1f0c", "members": side(true, MEMBERS), "nonmembers": side(false, NONMEMBERS)}),
    );
    write_json(
        &dir.join("controls.json"),
        &json!({"blind_baseline": {"auc": 0.52, "auc_ci": [0.44, 0.60], "features": ["mean", "contrast", "8x8 pixels", "file size"], "method": "logistic regression, 5-fold, folds by group"}}),
    );
    let exposed: Vec<Value> =
        (0..12).map(|i| json!({"model": "baseline", "attack": "sima", "id": id(true, i), "png": format!("exposed/{i}.png"), "score": -(i as f64), "rank": i + 1})).collect();
    write_json(&dir.join("exposed.json"), &json!(exposed));
    for i in 0..12 {
        write(
            &dir.join(format!("exposed/{i}.png")),
            png(28, 28, &garment(i, 0.0, 28)),
        );
    }
    write_json(
        &dir.join("plan.json"),
        &plan(&models.iter().map(|m| (m.0, m.1)).collect::<Vec<_>>()),
    );
}

/// What a run folder may hold beside the usual files: repeats of a training, an attack that learnt from a part of the
/// samples, tests of whole sets, an auditor, hashes of weights, and a wish for the public codes' numbers.
pub fn extras(dir: &Path) {
    let read = |path: &str| -> Value {
        let text = std::fs::read(dir.join(path)).expect("read");
        serde_json::from_slice(&text).expect("json")
    };
    let mut plan = read("plan.json");
    plan["auditor"] = json!("A. Auditor, for the hospital");
    plan["audit"]["compat"] = json!(["secmi", "midm"]);
    let models = plan["models"].as_array_mut().expect("models");
    models[0]["weights_blake3"] = json!("0a".repeat(32));
    for (i, loss) in [(1, (3.2, 3.2)), (2, (3.9, 3.9))] {
        let name = format!("baseline.s{i}");
        let shifts = [("loss", loss), ("nn", (0.7, 0.9))];
        model_scores(dir, &name, "none", &shifts, 200 + i);
        models.push(json!({"name": name, "defense": "none", "repeat_of": "baseline", "needs": []}));
    }
    write_json(&dir.join("plan.json"), &plan);
    let learn = |model: &str, shift: f64| {
        let path = dir.join(format!("scores/{model}.csv"));
        let mut rows = dualmd_audit::read_scores(&path).expect("scores").rows;
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let learnt: Vec<ScoreRow> = rows
            .iter()
            .filter(|r| r.attack == "secmi")
            .enumerate()
            // A fifth of either side was told: samples 0, 5, 10, ... of 64 members and 512 non-members.
            .filter(|(i, _)| i % 5 != 0)
            .map(|(_, r)| ScoreRow {
                attack: "secmi-nn".into(),
                score: normal(&mut rng) + if r.member { shift } else { 0.0 },
                ..r.clone()
            })
            .collect();
        rows.extend(learnt);
        write_scores(&path, &rows).expect("scores");
        let mut info = read(&format!("scores/{model}.json"));
        info["attacks"].as_array_mut().expect("attacks").push(json!({"attack": "secmi-nn", "title": "SecMI-NNs", "access": "white-box", "network_calls_per_sample": 11, "seconds": 9.0, "status": "ok", "parameters": {}, "paper": "Duan et al. 2023, arXiv 2302.01316", "misses": "learns from the known samples", "trained_on": {"members": 13, "nonmembers": 103}}));
        write_json(&dir.join(format!("scores/{model}.json")), &info);
    };
    learn("baseline", 3.0);
    learn("student", 0.3);
    // An attack that lacks some samples without having learnt from them: 64 members and 336 of 512 non-members.
    let path = dir.join("scores/kd.csv");
    let mut rows = dualmd_audit::read_scores(&path).expect("scores").rows;
    let mut place = 0;
    rows.retain(|r| {
        place += usize::from(r.attack == "nn");
        r.attack != "nn" || place <= 400
    });
    write_scores(&path, &rows).expect("scores");
    write_json(
        &dir.join("sets/student.json"),
        &json!({"features": "residuals at t = 200", "tests": [
            {"name": "mmd-error-space", "title": "Errors of the model", "what": "members against non-members", "members": 64, "nonmembers": 512, "statistic": 0.0031, "p_value": 0.004, "permutations": 999},
            {"name": "mmd-pixels", "members": 64, "nonmembers": 512, "statistic": 0.0001, "p_value": 0.41, "permutations": 999},
            {"name": "broken", "members": 64, "nonmembers": 512, "statistic": 0.1, "p_value": 0.0, "permutations": 999},
        ]}),
    );
}

/// Controls of [`run_folder`] by which its two image sets differ in something else than membership.
pub fn void(dir: &Path) {
    write_json(
        &dir.join("controls.json"),
        &json!({"blind_baseline": {"auc": 0.93, "auc_ci": [0.88, 0.97], "features": ["mean"], "method": "logistic regression, 5-fold"}}),
    );
}

/// Image quality of four models of [`run_folder`]: ordinary distillation draws worse images than the student and gives more away.
pub fn quality(dir: &Path) {
    for (model, excess) in [
        ("baseline", 27.2),
        ("student", 50.9),
        ("kd", 52.3),
        ("dualmd", 31.7),
    ] {
        write_json(
            &dir.join(format!("utility/{model}.json")),
            &json!({
                "features": "efflite0-1280", "n_generated": 256, "n_real": 512,
                "frechet": {
                    "distance": {"value": excess + 60.0}, "ci": [excess + 50.0, excess + 70.0],
                    "floor": {"n": 256, "real_real": {"mean": 40.0}, "generated_real": {"mean": excess + 40.0}, "excess": excess},
                },
            }),
        );
    }
}

/// A folder of one model whose members were drawn by `method`, 600 images, one attack that shifts members by `shift`.
pub fn coin_flips(dir: &Path, method: &str, shift: f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let rows: Vec<ScoreRow> = (0..600)
        .map(|i| {
            let member = rng.random::<bool>();
            ScoreRow {
                sample_id: id(true, i),
                name: None,
                group: None,
                member,
                attack: "sima".into(),
                score: normal(&mut rng) + if member { shift } else { 0.0 },
            }
        })
        .collect();
    write_scores(&dir.join("scores/baseline.csv"), &rows).expect("scores");
    let side = |member: bool| -> Vec<Value> {
        let rows = rows.iter().filter(|r| r.member == member);
        rows.map(|r| json!({"id": r.sample_id})).collect()
    };
    write_json(
        &dir.join("split.json"),
        &json!({"method": method, "members": side(true), "nonmembers": side(false)}),
    );
    write_json(&dir.join("plan.json"), &plan(&[("baseline", "none")]));
}

/// A plan for models given as (name, defense).
pub fn plan(models: &[(&str, &str)]) -> Value {
    json!({
        "schema": 1, "name": "demo", "created": "2026-11-24T05:09:12Z", "command": "dualmd run --preset demo --out runs/demo",
        "versions": {"dualmd": "0.1.0", "libtorch": "2.13.0"},
        "hardware": {"cpu": "AMD EPYC 9R14", "cores": 2, "memory_gb": 15.4, "device": "cpu", "dtype": "bf16", "threads_per_model": 1, "parallel_models": 2},
        "seed": 0,
        "data": {"source": "fashion", "image_size": 16, "channels": 1, "records": 3000, "duplicates_dropped": 0, "near_duplicate_groups": 4, "members": 64, "nonmembers": 512, "d1": 32, "d2": 32, "licence": "MIT"},
        "split_hash": "5b1f0c", "model": {"preset": "tiny", "parameters": 163_841, "config": {"sample_size": 16, "block_out_channels": [16, 32]}},
        "train": {"steps": 1800, "batch": 64, "learning_rate": 2e-3, "ema": 0.999, "checkpoint_every": 500},
        "models": models.iter().map(|(name, defense)| json!({"name": name, "defense": defense, "needs": []})).collect::<Vec<_>>(),
        "audit": {"attacks": ["loss", "secmi", "pia", "pian", "sima"], "weights": "ema"},
        "experiment_toml": "seed = 0\n[data]\nsource = \"fashion\"\nimage_size = 16\n",
    })
}

fn pictures(dir: &Path, model: &str, seed: u64) {
    if model.starts_with("teacher") {
        return;
    }
    let folder = dir.join("samples").join(model);
    let size = 28;
    let (columns, rows) = (6, 6);
    let mut grid = vec![255u8; (columns * 30 + 2) * (rows * 30 + 2)];
    for k in 0..columns * rows {
        let tile = garment(k, 0.12 + 0.05 * seed as f64, size);
        for y in 0..size {
            let at = ((k / columns) * 30 + 2 + y) * (columns * 30 + 2) + (k % columns) * 30 + 2;
            grid[at..at + size].copy_from_slice(&tile[y * size..(y + 1) * size]);
        }
    }
    write(
        &folder.join("grid.png"),
        png(columns * 30 + 2, rows * 30 + 2, &grid),
    );
    let near = if model == "baseline" { 0.02 } else { 0.16 };
    let pairs: Vec<Value> = (0..8usize)
        .map(|k| {
            write(&folder.join(format!("{k:04}.png")), png(size, size, &garment(k, near, size)));
            write(&folder.join(format!("nearest/{}.png", id(true, k))), png(size, size, &garment(k, 0.0, size)));
            json!({"sample": format!("{k:04}.png"), "member_id": id(true, k), "member_png": format!("nearest/{}.png", id(true, k)), "distance": near + 0.01 * k as f64, "heldout_distance": 0.17 + 0.004 * k as f64})
        })
        .collect();
    write_json(
        &folder.join("nearest.json"),
        &json!({"n_generated": 256, "pairs": pairs, "median_distance_members": near + 0.03, "median_distance_heldout": 0.182, "heldout_reference": {"q05": 0.092, "median": 0.171}}),
    );
}

/// Something like a photograph of a garment: a shaded silhouette with noise.
fn garment(kind: usize, noise: f64, size: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(kind as u64 * 31 + (noise * 1000.0) as u64);
    let shade = 0.45 + 0.5 * ((kind * 37 % 11) as f64 / 11.0);
    let mut out = Vec::with_capacity(size * size);
    for y in 0..size {
        for x in 0..size {
            let (u, v) = (x as f64 / size as f64 - 0.5, y as f64 / size as f64);
            let inside = match kind % 5 {
                0 => {
                    u.abs() < 0.22 && v > 0.12 && v < 0.9 || u.abs() < 0.45 && v > 0.12 && v < 0.36
                }
                1 => {
                    (u.abs() - 0.12).abs() < 0.09 && v > 0.25 && v < 0.95
                        || u.abs() < 0.21 && v > 0.05 && v < 0.3
                }
                2 => u.abs() < 0.1 + 0.3 * v && v > 0.08 && v < 0.95,
                3 => v > 0.55 + 0.3 * u && v < 0.82 && u.abs() < 0.45,
                _ => {
                    u.abs() < 0.36 && v > 0.4 && v < 0.88
                        || ((u / 0.2).powi(2) + ((v - 0.4) / 0.22).powi(2) - 1.0).abs() < 0.25
                            && v < 0.42
                }
            };
            let fold = 0.12 * ((u * 19.0 + kind as f64).sin() * (v * 13.0).cos());
            let value = if inside { shade + fold } else { 0.02 } + noise * normal(&mut rng) * 0.6;
            out.push((value.clamp(0.0, 1.0) * 255.0) as u8);
        }
    }
    out
}

/// A grey PNG with stored (uncompressed) data: enough for a test, and no image library.
pub fn png(width: usize, height: usize, pixels: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    for row in pixels.chunks(width) {
        raw.push(0);
        raw.extend_from_slice(row);
    }
    let mut zlib = vec![0x78, 0x01];
    let mut blocks = raw.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        zlib.push(u8::from(blocks.peek().is_none()));
        zlib.extend((block.len() as u16).to_le_bytes());
        zlib.extend((!(block.len() as u16)).to_le_bytes());
        zlib.extend_from_slice(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in &raw {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    zlib.extend((b << 16 | a).to_be_bytes());
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        out.extend((data.len() as u32).to_be_bytes());
        let body = [kind.as_slice(), data].concat();
        let mut crc = u32::MAX;
        for &byte in &body {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    crc >> 1 ^ 0xedb8_8320
                } else {
                    crc >> 1
                };
            }
        }
        out.extend_from_slice(&body);
        out.extend((!crc).to_be_bytes());
    };
    let mut head = Vec::new();
    head.extend((width as u32).to_be_bytes());
    head.extend((height as u32).to_be_bytes());
    head.extend([8, 0, 0, 0, 0]);
    chunk(b"IHDR", &head);
    chunk(b"IDAT", &zlib);
    chunk(b"IEND", &[]);
    out
}

/// Every tag closed in order, no stray `<`, attributes quoted.
pub fn well_formed(page: &str) {
    const VOID: [&str; 5] = ["meta", "link", "img", "br", "input"];
    let mut open: Vec<String> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("doctype");
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("an open tag ends");
        let tag = &rest[..end];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closing tag");
        } else {
            let name = tag.split_whitespace().next().expect("a name").to_owned();
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric()),
                "`<{tag}` is no tag"
            );
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
            if name == "style" || name == "script" {
                let close = rest.find(&format!("</{name}>")).expect("closed");
                rest = &rest[close + name.len() + 3..];
                continue;
            }
            if !VOID.contains(&name.as_str()) {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

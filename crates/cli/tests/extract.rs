//! `dualmd extract` from the command line, on tiny random models.

mod common;

use common::{dualmd, fail, json, succeed, text};
use dualmd_data::{Picture, save_png, stream};
use rand::Rng;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
}

/// Two folders of `n` pictures with captions at 16 px, no two of which are alike.
fn sides(dir: &Path, n: u64) -> (PathBuf, PathBuf) {
    let side = |name: &str| {
        let folder = dir.join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut captions = String::new();
        for i in 0..n {
            let mut pixels = vec![0_u8; 16 * 16 * 3];
            stream(0, name, i).fill(&mut pixels[..]);
            let picture = Picture {
                width: 16,
                height: 16,
                channels: 3,
                pixels,
            };
            save_png(&folder.join(format!("{i}.png")), &picture).unwrap();
            captions += &format!("{{\"file_name\": \"{i}.png\", \"text\": \"a {name} {i}\"}}\n");
        }
        std::fs::write(folder.join("metadata.jsonl"), captions).unwrap();
        folder
    };
    (side("member"), side("other"))
}

/// The arguments of a call on a model, quiet and in as few steps as possible.
fn arguments<'a>(models: &[&'a str], sides: &'a (PathBuf, PathBuf), out: &'a Path) -> Vec<&'a str> {
    let mut all = vec!["extract"];
    all.extend(models);
    all.extend(["--members", text(&sides.0), "--nonmembers", text(&sides.1)]);
    all.extend(["--steps", "2", "--batch", "8", "-q", "-o", text(out)]);
    all
}

/// The result without what belongs to a call: its command, and the seconds and the number of images that it generated.
fn result(out: &Path) -> serde_json::Value {
    let mut found = json(&out.join("extraction.json"));
    for key in ["command", "cost"] {
        found[key] = serde_json::Value::Null;
    }
    for attack in found["attacks"].as_array_mut().unwrap() {
        attack["seconds_per_extracted"] = serde_json::Value::Null;
    }
    found
}

#[test]
fn a_model_of_images_and_a_pair() {
    let dir = tempfile::tempdir().unwrap();
    let sides = sides(dir.path(), 8);
    let (model, out) = (golden("tiny-ddpm"), dir.path().join("out"));
    let call = |models: &[&str], out: &Path, more: &[&str]| {
        let mut all = arguments(models, &sides, out);
        all.extend(more);
        let output = succeed(&all);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = call(&[text(&model)], &out, &["--images", "20"]);
    assert!(
        said.contains("20 images generated, 40 network calls"),
        "{said}"
    );
    let found = json(&out.join("extraction.json"));
    assert_eq!(found["schema"], 1);
    assert_eq!(
        (&found["generated"], &found["cost"]["generated_now"]),
        (&20.into(), &20.into())
    );
    // Half of the held-out images.
    let n = found["n"].as_u64().unwrap();
    assert_eq!(n, 4);
    for attack in found["attacks"].as_array().unwrap() {
        for side in ["members", "control"] {
            assert_eq!(attack[side]["n"], n);
            assert_eq!(attack[side]["share_ci"].as_array().unwrap().len(), 2);
        }
        let p = attack["p_value"].as_f64().unwrap();
        assert!(p > 0.0 && p <= 1.0);
    }
    assert!(out.join("gallery.png").is_file());
    let mut table = csv::Reader::from_path(out.join("extraction.csv")).unwrap();
    assert_eq!(table.headers().unwrap().len(), 12);

    // The same again, in JSON on one line: nothing is generated, and the result is the same.
    let before = result(&out);
    let said = call(&[text(&model)], &out, &["--images", "20", "--json"]);
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(told["cost"]["generated_now"], 0);
    assert_eq!(
        told["attacks"],
        json(&out.join("extraction.json"))["attacks"]
    );
    assert_eq!(result(&out), before);

    // Twice the same model is that model, but for what it is called.
    let pair = dir.path().join("pair");
    let flags = ["--images", "20", "--no-images"];
    call(&[text(&model), text(&model)], &pair, &flags);
    assert_eq!(result(&pair)["attacks"], before["attacks"]);
    for name in ["gallery.png", "extraction.csv", "generated.parts"] {
        assert!(!pair.join(name).exists(), "{name}");
    }
}

#[test]
fn what_was_learnt_beyond_a_base() {
    let dir = tempfile::tempdir().unwrap();
    let sides = sides(dir.path(), 6);
    let (model, at) = (golden("tiny-grey"), |name: &str| dir.path().join(name));
    let base = golden("tiny-grey-2");
    let call = |out: &Path, more: &[&str]| {
        let models = [text(&model)];
        let mut all = arguments(&models, &sides, out);
        all.extend(["--images", "6"]);
        all.extend(more);
        succeed(&all);
        json(&out.join("extraction.json"))
    };
    let plain = call(&at("plain"), &[]);
    assert!(plain["base"].is_null());
    let further = call(&at("further"), &["--base", text(&base)]);
    assert_eq!(further["base"]["weight"], 4.0);
    let (calls, once) = (
        &further["cost"]["network_calls"],
        &plain["cost"]["network_calls"],
    );
    assert_eq!(calls.as_u64(), once.as_u64().map(|n| 2 * n));
    assert_ne!(further["weights_blake3"], plain["weights_blake3"]);
    let picture = |name: &str| std::fs::read(at(name).join("gallery.png")).unwrap();
    assert!(picture("further") != picture("plain"));
    // A model that is its own base learnt nothing beyond it: it draws what it draws, however far that is followed.
    call(&at("itself"), &["--base", text(&model), "--contrast", "4"]);
    assert!(picture("itself") == picture("plain"));

    let refused = |more: &[&str]| {
        let models = [text(&model)];
        let out = at("refused");
        let mut all = arguments(&models, &sides, &out);
        all.extend(more);
        fail(&all)
    };
    assert!(refused(&["--contrast", "2"]).contains("--base"));
    let other = golden("tiny-ddpm");
    let said = refused(&["--base", text(&other)]);
    assert!(said.contains("fine-tuned from"), "{said}");
}

#[test]
fn a_text_to_image_model_is_asked_for_captions() {
    let dir = tempfile::tempdir().unwrap();
    let sides = sides(dir.path(), 8);
    let (model, out) = (golden("conditional/sd1"), dir.path().join("out"));
    let models = [text(&model)];
    let mut all = arguments(&models, &sides, &out);
    all.extend(["--per-prompt", "3", "--captions", "2", "--guidance", "2"]);
    succeed(&all);
    let found = json(&out.join("extraction.json"));
    assert_eq!(found["prompted"]["captions"], 6);
    assert_eq!(found["generated"], 18);
    // With and without the caption, two steps each.
    assert_eq!(found["cost"]["network_calls"], 72);
    assert_eq!((&found["n"], &found["clique"]), (&2.into(), &2.into()));
    assert!(found["attacks"][0]["all_members"].is_null());
    assert!(out.join("gallery.png").is_file());
}

/// Half of each image is hidden: from a model of images, one of latents that is told captions, and one that is told classes.
#[test]
fn hidden_halves_are_restored() {
    let dir = tempfile::tempdir().unwrap();
    let sides = sides(dir.path(), 8);
    for side in [&sides.0, &sides.1] {
        let path = side.join("metadata.jsonl");
        let lines = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, lines.replace('}', ", \"label\": \"owl\"}")).unwrap();
    }
    for (name, calls, prompted) in [
        ("tiny-ddpm", 2, false),
        ("conditional/sd1", 4, true),
        ("families/classes", 2, false),
    ] {
        let (model, out) = (golden(name), dir.path().join(name.replace('/', "-")));
        let models = [text(&model)];
        let call = |more: &[&str]| {
            let mut all = arguments(&models, &sides, &out);
            all.extend([
                "--method",
                "inpaint",
                "--per-prompt",
                "3",
                "--captions",
                "2",
            ]);
            all.extend(["--guidance", "2"]);
            all.extend(more);
            let output = succeed(&all);
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let said = call(&[]);
        assert!(
            said.contains("each of 6 images was restored 3 times"),
            "{said}"
        );
        let found = json(&out.join("extraction.json"));
        let inpainted = &found["inpainted"];
        assert_eq!(
            (&inpainted["images"], &inpainted["each"]),
            (&6.into(), &3.into())
        );
        assert_eq!(
            inpainted["shown"].as_u64().map(|shown| 2 * shown),
            inpainted["rows"].as_u64()
        );
        assert_eq!(found["generated"], 18, "{name}");
        assert_eq!(found["cost"]["network_calls"], 18 * calls, "{name}");
        assert_eq!(found["prompted"].is_null(), !prompted, "{name}");
        assert!(out.join("gallery.png").is_file());
        // The same again makes nothing.
        let before = result(&out);
        call(&[]);
        assert_eq!(
            json(&out.join("extraction.json"))["cost"]["generated_now"],
            0
        );
        assert_eq!(result(&out), before);
    }
}

/// Through a real network's gradients: six images, two updates of four draws each.
#[test]
fn embeddings_are_searched_for() {
    let dir = tempfile::tempdir().unwrap();
    let sides = sides(dir.path(), 8);
    let (model, out) = (golden("conditional/sd1"), dir.path().join("out"));
    let models = [text(&model)];
    let call = |more: &[&str]| {
        let mut all = arguments(&models, &sides, &out);
        all.extend(["--per-prompt", "3", "--captions", "2", "--guidance", "2"]);
        all.extend(more);
        let output = succeed(&all);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let flags = ["--method", "search", "--search-steps", "2"];
    let said = call(&flags);
    assert!(
        said.contains("for each of 6 images an embedding was searched in 2 steps of 4 draws"),
        "{said}"
    );
    let found = json(&out.join("extraction.json"));
    assert_eq!(found["searched"]["images"], 6);
    assert_eq!(found["generated"], 18);
    assert_eq!(found["cost"]["network_calls"], 72 + 6 * 2 * 4);
    let (before, part) = (result(&out), out.join("generated.parts/8.safetensors"));
    let images = std::fs::read(&part).unwrap();
    // What was lost is made again, with the embeddings that were kept.
    std::fs::remove_file(&part).unwrap();
    call(&flags);
    assert_eq!(result(&out), before);
    assert!(std::fs::read(&part).unwrap() == images);
    // Without the search there are other images.
    call(&[]);
    assert!(std::fs::read(&part).unwrap() != images);
    assert!(json(&out.join("extraction.json"))["searched"].is_null());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sides = sides(dir.path(), 6);
    let (model, out) = (golden("tiny-ddpm"), dir.path().join("out"));
    let models = [text(&model)];
    let refused = |more: &[&str]| {
        let mut all = arguments(&models, &sides, &out);
        all.extend(more);
        let output = dualmd(&all).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        fail(&all)
    };
    let cases: [(&[&str], &str); 6] = [
        (&["--images", "5", "--clique", "5"], "--images 5"),
        (&["--images", "1"], "--images"),
        (&["--rate", "1.5"], "rate between 0 and 1"),
        (&["--radius=-1"], "at least 0"),
        (&["--features", "none"], "nothing to compare by"),
        (&["--order", "second"], "MODEL2"),
    ];
    for (more, says) in cases {
        let error = refused(more);
        assert!(error.contains(says), "{error}");
    }
    // The same folder on both sides.
    let same = (sides.0.clone(), sides.0.clone());
    let error = fail(&arguments(&models, &same, &out));
    assert!(error.contains("the same image"), "{error}");
    assert!(!out.join("extraction.json").exists());
}

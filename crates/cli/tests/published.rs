//! A release of generated images alone: from photographs to a split, folders to train from, and an audit of what was generated.
//! Images keep their names all the way.

mod common;

use common::{fail, json, succeed, text};
use dualmd_data::{Picture, save_png, stream};
use rand::Rng as _;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A picture of random pixels.
fn picture(of: &str, number: u64) -> Picture {
    let mut pixels = vec![0; 3 * 64];
    stream(0, of, number).fill(&mut pixels[..]);
    Picture {
        width: 8,
        height: 8,
        channels: 3,
        pixels,
    }
}

/// 90 pictures, two of each patient, with names of their own.
fn photos(folder: &Path) {
    std::fs::create_dir_all(folder.join("ward 1")).unwrap();
    let mut lines = String::new();
    for i in 0..90 {
        let name = format!("ward 1/IMG {i:02}.png");
        save_png(&folder.join(&name), &picture("photo", i)).unwrap();
        let (patient, scan) = (format!("patient {}", i / 2), format!("scan-{i}"));
        lines +=
            &serde_json::json!({"file_name": name, "patient": patient, "scan": scan}).to_string();
        lines.push('\n');
    }
    std::fs::write(folder.join("metadata.jsonl"), lines).unwrap();
}

/// Values of a column of a CSV file.
fn column(path: &Path, name: &str) -> BTreeSet<String> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let at = reader.headers().unwrap().iter().position(|h| h == name);
    let at = at.unwrap_or_else(|| panic!("{}: no column {name}", path.display()));
    let rows = reader.records();
    rows.map(|row| row.unwrap()[at].to_owned()).collect()
}

fn releases(report: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let lines = report["verdict"]["releases"].as_array().unwrap();
    let line = |l: &Value| (text(&l["what"]), text(&l["advice"]));
    lines.iter().map(line).collect()
}

#[test]
fn images_alone_are_audited_and_names_go_along() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    photos(&at("photos"));
    let (split, sides) = (at("split.json"), at("sides"));
    succeed(&[
        "split",
        text(&at("photos")),
        "--members",
        "32",
        "--nonmembers",
        "58",
        "--group-column",
        "patient",
        "--id-column",
        "scan",
        "--copy-to",
        text(&sides),
        "-o",
        text(&split),
    ]);
    // Both images of a patient are on one side, and each has its name.
    let members = json(&split)["members"].as_array().unwrap().clone();
    assert_eq!(members.len(), 32);
    let patients: BTreeSet<&str> = members
        .iter()
        .map(|m| m["group"].as_str().unwrap())
        .collect();
    assert_eq!(patients.len(), 16);
    let names: BTreeSet<String> = members
        .iter()
        .map(|m| m["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.iter().all(|n| n.starts_with("scan-")), "{names:?}");
    let inside = sides.join("members");
    for name in &names {
        assert!(inside.join(format!("{name}.png")).is_file(), "{name}");
    }
    let table = at("split.csv");
    succeed(&["export", "split", text(&split), "-o", text(&table)]);
    assert!(column(&table, "name").is_superset(&names));
    // What is there is not written over.
    let said = fail(&[
        "split",
        text(&at("photos")),
        "--members",
        "32",
        "--copy-to",
        text(&sides),
        "-o",
        text(&at("other.json")),
    ]);
    assert!(said.contains("--copy-to makes a new folder"), "{said}");
    // Nor is another draw, or another file; the same draw is.
    let (before, drawn_of) = (std::fs::read(&split).unwrap(), at("photos"));
    let again = |out: &Path, more: &[&str]| -> Vec<String> {
        let line = [
            "split",
            text(&drawn_of),
            "--members",
            "32",
            "--nonmembers",
            "58",
            "--group-column",
            "patient",
            "--id-column",
            "scan",
            "-o",
            text(out),
        ];
        line.iter().chain(more).map(|s| (*s).to_owned()).collect()
    };
    let refused = |line: &[String]| fail(&line.iter().map(String::as_str).collect::<Vec<_>>());
    let said = refused(&again(&split, &["--seed", "7"]));
    assert!(
        said.contains("holds another split (32 members of ") && said.contains("who was trained on"),
        "{said}"
    );
    let said = refused(&again(&table, &[]));
    assert!(said.contains("is not a split"), "{said}");
    let same = again(&split, &[]);
    succeed(&same.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(std::fs::read(&split).unwrap(), before);
    // Nor is a copy laid among the images themselves, however deep.
    for inside in ["photos/sides", "photos/not/yet/there"] {
        let said = fail(&[
            "split",
            text(&at("photos")),
            "--members",
            "32",
            "--copy-to",
            text(&at(inside)),
            "-o",
            text(&at("other.json")),
        ]);
        assert!(said.contains("hold every image twice"), "{said}");
    }

    // A generator that gives its training images out again, and one that draws nothing of them.
    let generated = |folder: &str, image: &dyn Fn(u64) -> Picture| {
        std::fs::create_dir_all(at(folder)).unwrap();
        for i in 0..60 {
            save_png(&at(folder).join(format!("{i}.png")), &image(i)).unwrap();
        }
    };
    let scans: Vec<u64> = names
        .iter()
        .map(|n| n["scan-".len()..].parse().unwrap())
        .collect();
    generated("copies", &|i| {
        let mut copy = picture("photo", scans[i as usize % scans.len()]);
        copy.pixels[0] ^= 1;
        copy
    });
    generated("own", &|i| picture("drawn", i));
    let audit = |folder: &str, more: &[&str]| {
        let (images, out) = (at(folder), at(&format!("audit-{folder}")));
        let outside = sides.join("nonmembers");
        let common = [
            "audit",
            "--generated",
            text(&images),
            "--members",
            text(&inside),
            "--nonmembers",
            text(&outside),
            "--features",
            "none",
            "-o",
            text(&out),
        ];
        let line: Vec<String> = common.iter().chain(more).map(|s| (*s).to_owned()).collect();
        (line, out.clone())
    };
    let run = |folder: &str| {
        let (line, out) = audit(folder, &[]);
        let done = succeed(&line.iter().map(String::as_str).collect::<Vec<_>>());
        let said = String::from_utf8(done.stdout).unwrap();
        (json(&out.join("report.json")), out, said)
    };
    let (leaks, out, said) = run("copies");
    assert_eq!(leaks["verdict"]["models"][0]["finding"], "leak");
    let what = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter()
            .map(|(w, a)| ((*w).to_owned(), (*a).to_owned()))
            .collect()
    };
    assert_eq!(
        releases(&leaks),
        what(&[
            ("images", "withhold"),
            ("queries", "withhold"),
            ("weights", "withhold")
        ])
    );
    // Members are counted as patients, too.
    let found = &leaks["verdict"]["releases"][0]["found"];
    assert_eq!(
        (&found["found"], &found["total"]),
        (&32.into(), &32.into()),
        "{found}"
    );
    let of_patients = &leaks["verdict"]["releases"][0]["found_groups"];
    assert_eq!(of_patients["total"], 16, "{of_patients}");
    // Lines are broken where the terminal ends.
    let in_one_line: Vec<&str> = said.split_whitespace().collect();
    assert!(
        in_one_line
            .join(" ")
            .contains("Do not publish the model, nor images from it."),
        "{said}"
    );
    // Names, not hashes alone.
    let scored = column(&out.join("scores/model.csv"), "name");
    assert!(
        scored.len() == 90 && scored.is_superset(&names),
        "{scored:?}"
    );
    let exposed = leaks["exposed"].as_array().unwrap();
    assert!(
        exposed
            .iter()
            .all(|e| names.contains(e["name"].as_str().unwrap())),
        "{exposed:?}"
    );

    let (quiet, ..) = run("own");
    assert_eq!(quiet["verdict"]["models"][0]["finding"], "chance");
    let told = releases(&quiet);
    assert_eq!(
        told,
        what(&[
            ("images", "measure-again"),
            ("queries", "not-tested"),
            ("weights", "not-tested")
        ])
    );

    // What the images are worth is not measured again while nothing has changed: the file of the first call stands.
    let file = at("audit-own").join("utility/model.json");
    let mut kept = json(&file);
    assert!(
        kept["of"].as_str().is_some_and(|of| of.len() == 64),
        "{kept}"
    );
    kept["copies"][0]["n_members"] = 12_345.into();
    std::fs::write(&file, kept.to_string()).unwrap();
    run("own");
    assert_eq!(json(&file)["copies"][0]["n_members"], 12_345);
    generated("own", &|i| picture("drawn again", i));
    run("own");
    assert_eq!(json(&file)["copies"][0]["n_members"], 32);
    // The same where a feature network is there, whose numbers stand in the file beside the others.
    let (line, _) = audit("own", &[]);
    let with_pixels: Vec<&str> = line
        .iter()
        .map(|word| if word == "none" { "pixels" } else { word })
        .collect();
    succeed(&with_pixels);
    let mut kept = json(&file);
    assert!(
        kept["of"].as_str().is_some_and(|of| of.len() == 64) && kept["features"].is_string(),
        "{kept}"
    );
    kept["n_real"] = 12_345.into();
    std::fs::write(&file, kept.to_string()).unwrap();
    succeed(&with_pixels);
    assert_eq!(json(&file)["n_real"], 12_345);
    run("own");
    assert_eq!(json(&file)["n_real"], Value::Null);
    let data = &json(&at("audit-own").join("plan.json"))["data"];
    assert_ne!(data["members_blake3"], data["nonmembers_blake3"]);

    // The two audits beside each other, under names.
    let (first, second, both) = (at("audit-copies"), at("audit-own"), at("both"));
    let named = format!("quiet={}", text(&second));
    succeed(&["compare", text(&first), &named, "-o", text(&both)]);
    let report = json(&both.join("report.json"));
    let models = report["models"].as_array().unwrap();
    let of = |key: &str| -> Vec<&str> { models.iter().map(|m| m[key].as_str().unwrap()).collect() };
    assert_eq!(of("name"), ["audit-copies", "quiet"]);
    assert_eq!(report["verdict"]["models"][0]["finding"], "leak");
    assert_eq!(report["verdict"]["models"][1]["finding"], "chance");
    assert_eq!(models[0]["results"], leaks["models"][0]["results"]);
    let compared = &report["comparisons"][0];
    assert_eq!(
        (&compared["baseline"], &compared["model"]),
        (&"audit-copies".into(), &"quiet".into())
    );
    assert!(compared["difference"].as_f64().unwrap() > 0.3, "{compared}");
    assert_eq!(
        report["run"]["data"]["members_blake3"],
        data["members_blake3"]
    );
    assert_ne!(report["controls"]["blind_baseline"], Value::Null);
    // Numbers of other images, or of other members, cannot be compared; nothing is written over.
    let turned = at("turned");
    let outside = sides.join("nonmembers");
    succeed(&[
        "audit",
        "--generated",
        text(&at("own")),
        "--members",
        text(&outside),
        "--nonmembers",
        text(&inside),
        "--features",
        "none",
        "-o",
        text(&turned),
    ]);
    let said = fail(&["compare", text(&first), text(&turned), "-o", text(&at("x"))]);
    assert!(said.contains("90 images are members in"), "{said}");
    let said = fail(&["compare", text(&first), text(&first), "-o", text(&at("x"))]);
    assert!(
        said.contains("two models would be called \"audit-copies\""),
        "{said}"
    );
    let said = fail(&["compare", text(&first), &named, "-o", text(&second)]);
    assert!(said.contains("a comparison would overwrite"), "{said}");
    assert!(!at("x").exists());

    // An attack that asks the model needs one; so do images that are of two models.
    let (line, _) = audit("own", &["--attacks", "nn,loss"]);
    let said = fail(&line.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("attack loss asks the model"), "{said}");
    let (line, _) = audit("own", &["--model", "a=x", "--model", "b=y"]);
    let said = fail(&line.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        said.contains("--generated names the images of one model"),
        "{said}"
    );
}

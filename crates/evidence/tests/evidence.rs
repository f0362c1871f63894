//! Evidence folders: nothing of the images leaves the house, every number follows, and every change is named.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
#[path = "../../audit/tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};

use dualmd_audit::{ScoreRow, build, read_scores, write_scores};
use dualmd_evidence::{
    Bundle, Key, Salt, Side, Verified, export, opens, opens_with, verify, write,
};
use serde_json::{Value, json};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("read")).expect("json")
}

fn put(path: &Path, value: &Value) {
    std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
    std::fs::write(path, serde_json::to_vec_pretty(value).expect("json")).expect("write");
}

fn id(member: bool, i: usize) -> String {
    format!("{}{i:030x}", if member { "aa" } else { "bb" })
}

/// A small run: one model with two attacks, names, groups, a split, hashes of weights.
fn small(run: &Path) {
    let shifts = [("loss", (1.0, 1.0)), ("sima", (2.0, 2.0))];
    common::model_scores(run, "baseline", "none", &shifts, 5);
    let csv = run.join("scores/baseline.csv");
    let mut rows = read_scores(&csv).expect("scores").rows;
    for row in &mut rows {
        let number = usize::from_str_radix(&row.sample_id[2..], 16).expect("number");
        row.name = Some(format!("portrait-{}", row.sample_id));
        row.group = (number < 40).then(|| format!("patient-{}-{}", row.member, number / 2));
    }
    write_scores(&csv, &rows).expect("scores");
    let side = |member: bool, n: usize| -> Vec<Value> {
        let entry = |i| json!({"id": id(member, i), "name": format!("portrait-{}", id(member, i)), "half": 1 + i % 2});
        (0..n).map(entry).collect()
    };
    put(
        &run.join("split.json"),
        &json!({"method": "half", "seed": 0, "source": "/home/anna/portraits", "hash": "5b1f0c5b1f0c", "members": side(true, common::MEMBERS), "nonmembers": side(false, common::NONMEMBERS)}),
    );
    let mut plan = common::plan(&[("baseline", "none")]);
    plan["split_hash"] = "5b1f0c5b1f0c".into();
    plan["data"]["source"] = "/home/anna/portraits".into();
    plan["command"] = "dualmd audit m --members /home/anna/portraits -o out-of-anna".into();
    plan["models"][0]["weights_blake3"] = json!("0a".repeat(32));
    put(&run.join("plan.json"), &plan);
}

/// A run and its evidence folder.
struct Made {
    dir: tempfile::TempDir,
    salt: Salt,
    bundle: Bundle,
}

impl Made {
    fn of(make: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let run = dir.path().join("run");
        std::fs::create_dir(&run).expect("mkdir");
        make(&run);
        let salt = Salt::new().expect("salt");
        let bundle = write(&run, &dir.path().join("bundle"), &salt).expect("written");
        Self { dir, salt, bundle }
    }

    fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder().join(file)
    }

    /// What a check says after a change, which is then undone.
    fn after(&self, change: impl FnOnce(&Path)) -> Vec<String> {
        let copy = self.dir.path().join("copy");
        let _ = std::fs::remove_dir_all(&copy);
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(self.folder())
            .arg(&copy)
            .status();
        assert!(copied.expect("cp").success());
        change(&copy);
        said(&verify(&copy).expect("checked"))
    }
}

fn said(verified: &Verified) -> Vec<String> {
    verified
        .differences
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn has(said: &[String], parts: &[&str]) {
    assert!(
        said.iter().any(|s| parts.iter().all(|p| s.contains(p))),
        "{parts:?} in none of {said:#?}"
    );
}

/// Every byte of a folder, with the names of its files.
fn bytes(folder: &Path, out: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).expect("list") {
        let path = entry.expect("entry").path();
        out.extend(path.file_name().expect("name").as_encoded_bytes());
        match path.is_dir() {
            true => bytes(&path, out),
            false => out.extend(std::fs::read(&path).expect("read")),
        }
    }
}

/// Numbers, counts and truth values of two reports, one for one; texts, plan and what is missing aside.
fn same_numbers(one: &Value, other: &Value, at: &str) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{at}");
            let skipped =
                |key: &str| at.is_empty() && ["run", "missing", "warnings"].contains(&key);
            for (key, value) in a.iter().filter(|(k, _)| !skipped(k)) {
                same_numbers(value, &b[key], &format!("{at}/{key}"));
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{at}");
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                same_numbers(x, y, &format!("{at}/{i}"));
            }
        }
        (Value::String(_), Value::String(_)) => {}
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().expect("f64"), b.as_f64().expect("f64"));
            assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{at}: {a} {b}");
        }
        _ => assert_eq!(one, other, "{at}"),
    }
}

#[test]
fn every_number_follows_and_nothing_of_the_images_is_in_the_folder() {
    let made = Made::of(|run| {
        common::run_folder(run);
        common::extras(run);
        // Texts and names of everything that a run may hold.
        let write = |path: &str, value: Value| put(&run.join(path), &value);
        write(
            "samples/baseline/prompts.json",
            json!([{"png": "0000.png", "prompt": "portrait of anna", "id": id(true, 3), "member": true}]),
        );
        let mut split = read(&run.join("split.json"));
        for side in ["members", "nonmembers"] {
            for entry in split[side].as_array_mut().expect("list") {
                entry["name"] = format!("holiday/{}.jpg", entry["id"]).into();
                entry["group"] = "the anna family".into();
            }
        }
        split["source"] = "/home/anna/photos".into();
        write("split.json", split);
        write(
            "utility/baseline.json",
            json!({"features": "pixels", "n_generated": 12, "n_real": 30,
            "frechet": {"distance": {"value": 3.5}, "ci": [3.0, 4.0]}, "missing": ["gap: the folder of anna has too few"],
            "asked": ["pixels", "/home/anna/weights", ["rmse"], null],
            "copies": [{"features": "rmse", "n_generated": 12, "n_members": 64, "pairs": [{"generated": 1, "member_id": id(true, 7), "likeness": 0.1}],
                        "control": {"n": 30, "members": {"copies": 1}, "heldout": {"copies": 0}}}]}),
        );
        let mut controls = read(&run.join("controls.json"));
        controls["blind_baseline"]["why"] = "anna wears a hat in all of them".into();
        write("controls.json", controls);
        let mut info = read(&run.join("scores/kd.json"));
        info["warnings"] = json!(["holiday/1.jpg could not be compared"]);
        info["attacks"][0]["fingerprint"] = "f1a9f1a9f1a9".into();
        info["attacks"][0]["parameters"]["from"] = "/home/anna/x".into();
        write("scores/kd.json", info);
        let mut plan = read(&run.join("plan.json"));
        plan["command"] =
            "dualmd audit /home/anna/model --members '/home/anna/my photos' -n 12 -o anna-out"
                .into();
        plan["experiment_toml"] = "source = \"/home/anna\"".into();
        write("plan.json", plan);
    });
    let of_run = serde_json::to_value(build(&made.run()).expect("build").without_images());
    let of_folder = read(&made.path("report.json"));
    same_numbers(&of_run.expect("json"), &of_folder, "");
    assert!(of_folder["models"].as_array().expect("models").len() > 7);
    assert!(of_folder["models"][0]["chosen"]["auc"]["auc"].as_f64() > Some(0.5));
    assert_eq!(of_folder["models"][0]["image_utility"]["frechet"], 3.5);

    let mut all = Vec::new();
    bytes(&made.folder(), &mut all);
    let text = String::from_utf8(all).expect("nothing but text");
    let mut secrets: Vec<String> = (0..common::MEMBERS).map(|i| id(true, i)).collect();
    secrets.extend((0..common::NONMEMBERS).map(|i| id(false, i)));
    let words = [
        "anna",
        "holiday",
        ".jpg",
        "/home",
        "\"5b1f0c\"",
        "f1a9f1a9f1a9",
    ];
    secrets.extend(words.map(str::to_owned));
    secrets.push(blake3::hash(id(true, 0).as_bytes()).to_hex().to_string());
    let salt = made.dir.path().join("salt");
    made.salt.save(&salt).expect("saved");
    secrets.push(
        std::fs::read_to_string(&salt)
            .expect("salt")
            .trim()
            .to_owned(),
    );
    for secret in &secrets {
        let at = text.find(secret.as_str());
        assert!(
            at.is_none(),
            "{secret} at {:?}",
            &text[at.unwrap_or(0)..][..80]
        );
    }
    assert!(
        text.contains(&"0a".repeat(32)),
        "the hash of the weights stays"
    );

    let verified = verify(&made.folder()).expect("checked");
    assert_eq!(said(&verified), Vec::<String>::new());
    assert!(verified.holds() && verified.values > 1000);
    assert_eq!(verified.root, made.bundle.root);
    assert_eq!(verified.files, made.bundle.files);
    assert!(verified.conclusion().starts_with("everything agrees: "));
    assert!(verified.against(&made.bundle.root.to_uppercase()).holds());
    let other = verify(&made.folder())
        .expect("checked")
        .against("abc\u{1b}");
    has(
        &said(&other),
        &["manifest.json: the root is", "abc\\u{1b} was told"],
    );
    // The folder is one that a report is built from, too.
    same_numbers(
        &serde_json::to_value(build(&made.folder()).expect("build").without_images())
            .expect("json"),
        &of_folder,
        "",
    );
}

#[test]
fn coin_flips_and_scores_at_the_top_follow_too() {
    let made = Made::of(|run| {
        common::coin_flips(run, "coin-flip", 2.5);
        let csv = run.join("scores/baseline.csv");
        let mut rows = read_scores(&csv).expect("scores").rows;
        // Near-duplicates share a coin: which of them counts follows from their ids.
        for pair in rows.chunks_mut(2) {
            if pair[0].member == pair[1].member {
                let group = format!("twins {}", pair[0].sample_id);
                for row in pair {
                    row.group = Some(group.clone());
                }
            }
        }
        write_scores(&csv, &rows).expect("scores");
    });
    let one_run = read(&made.path("report.json"))["models"][0]["one_run"].clone();
    assert!(one_run["lower"].as_f64() > Some(0.0), "{one_run}");
    assert!(verify(&made.folder()).expect("checked").holds());

    let made = Made::of(|run| {
        let rows: Vec<ScoreRow> = (0..90)
            .map(|i| ScoreRow {
                sample_id: String::new(),
                name: None,
                group: None,
                member: i % 3 == 0,
                attack: "score".into(),
                score: f64::from(i * 7 % 31),
            })
            .collect();
        write_scores(&run.join("scores.csv"), &rows).expect("scores");
    });
    assert!(made.path("scores.csv").exists());
    assert!(verify(&made.folder()).expect("checked").holds());
}

#[test]
fn each_change_is_noticed_and_named() {
    let made = Made::of(small);
    let score_file = "scores/baseline.csv";
    let rows = |copy: &Path, change: &dyn Fn(&mut Vec<String>)| {
        let path = copy.join(score_file);
        let text = std::fs::read_to_string(&path).expect("read");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        std::fs::write(&path, lines.join("\n") + "\n").expect("write");
    };
    let field = |lines: &mut [String], row: usize, column: usize, value: &str| {
        let mut fields: Vec<&str> = lines[row].split(',').collect();
        fields[column] = value;
        lines[row] = fields.join(",");
    };
    let json = |copy: &Path, file: &str, pointer: &str, to: Value| {
        let path = copy.join(file);
        let mut value = read(&path);
        *value.pointer_mut(pointer).expect(pointer) = to;
        put(&path, &value);
    };
    let hash = "its hash differs from the manifest";

    let found = made.after(|c| rows(c, &|l| field(l, 17, 5, "31.5")));
    has(&found, &[score_file, hash]);
    has(
        &found,
        &[
            score_file,
            "row 17 (sample ",
            "attack loss",
            "the score is 31.5 here",
        ],
    );
    has(
        &found,
        &[
            "report.json: models.baseline.results.loss.auc says 0.",
            ", the files give 0.",
        ],
    );

    let found = made.after(|c| rows(c, &|l| field(l, 17, 3, "0")));
    has(
        &found,
        &[
            score_file,
            "row 17 ",
            "the label is 0 here, and 1 was written",
        ],
    );
    has(
        &found,
        &["report.json: models.baseline.results.loss.n_members says 64, the files give 63"],
    );

    let found = made.after(|c| {
        json(
            c,
            "report.json",
            "/models/0/chosen/transferred/threshold",
            json!(-1.5),
        )
    });
    has(&found, &["report.json", hash]);
    has(
        &found,
        &["report.json: models.baseline.chosen.transferred.threshold says -1.5, the files give"],
    );

    for (file, pointer) in [
        ("plan.json", "/models/0/weights_blake3"),
        ("report.json", "/models/0/weights_blake3"),
    ] {
        let found = made.after(|c| json(c, file, pointer, json!("0b".repeat(32))));
        has(&found, &[file, hash]);
        has(
            &found,
            &[
                "report.json: models.baseline.weights_blake3 says \"0",
                "the files give",
            ],
        );
    }
    let found = made.after(|c| json(c, "plan.json", "/command", json!("dualmd audit --seed 3")));
    has(&found, &["plan.json", hash]);
    has(
        &found,
        &[
            "report.json: run.command says \"dualmd audit",
            "the files give \"dualmd audit --seed 3\"",
        ],
    );
    let found = made.after(|c| {
        let text = std::fs::read_to_string(c.join("halves.json")).expect("read");
        std::fs::write(c.join("halves.json"), text.replacen("cr", "rr", 3)).expect("write");
    });
    has(&found, &["halves.json", hash]);

    let found =
        made.after(|c| std::fs::remove_file(c.join("scores/baseline.json")).expect("remove"));
    has(
        &found,
        &["scores/baseline.json: missing; the manifest names it"],
    );
    let found = made.after(|c| std::fs::remove_file(c.join(score_file)).expect("remove"));
    has(&found, &["scores/baseline.csv: missing"]);
    has(
        &found,
        &[
            "report.json: it cannot be computed from the other files",
            "holds no scores",
        ],
    );
    let found = made.after(|c| std::fs::remove_file(c.join("report.json")).expect("remove"));
    has(&found, &["report.json: missing"]);
    let found = made.after(|c| std::fs::write(c.join("notes.txt"), "x").expect("write"));
    assert_eq!(found, ["notes.txt: added; the manifest does not name it"]);
    let found = made.after(|c| {
        let text = std::fs::read(c.join(score_file)).expect("read");
        std::fs::write(c.join(score_file), &text[..text.len() / 2]).expect("write");
    });
    has(&found, &[score_file, "bytes where"]);
    has(&found, &[score_file, "rows here, 1152 were written"]);
    let found = made.after(|c| rows(c, &|l| l.swap(17, 18)));
    has(&found, &[score_file, hash]);
    has(&found, &[score_file, "row 17 was written as row 18"]);
    let found = made.after(|c| json(c, "split.json", "/members/3/half", json!(2)));
    has(&found, &["split.json", hash]);

    // The manifest itself, and a change that its author hid in the manifest as well: the report still contradicts it.
    let found = made.after(|c| json(c, "manifest.json", "/files/0/bytes", json!(1)));
    has(
        &found,
        &[
            "manifest.json: it says that the root is",
            "follows from its lines",
        ],
    );
    let found = made.after(|c| {
        rows(c, &|l| {
            let label: String = l[17].split(',').take(5).collect::<Vec<_>>().join("\u{1f}");
            let score = blake3::hash("17\u{1f}score\u{1f}31.5".as_bytes()).to_hex()[..8].to_owned();
            let label = blake3::hash(label.as_bytes()).to_hex()[..8].to_owned();
            field(l, 17, 5, "31.5");
            field(l, 17, 6, &(label + &score));
        });
        let bytes = std::fs::read(c.join(score_file)).expect("read");
        let mut manifest = read(&c.join("manifest.json"));
        let files = manifest["files"].as_array_mut().expect("files");
        let listed = files
            .iter_mut()
            .find(|f| f["path"] == score_file)
            .expect("listed");
        listed["bytes"] = bytes.len().into();
        listed["blake3"] = blake3::hash(&bytes).to_hex().to_string().into();
        put(&c.join("manifest.json"), &manifest);
        let root = verify(c).expect("checked").root;
        manifest["root"] = root.into();
        put(&c.join("manifest.json"), &manifest);
    });
    assert!(
        found.iter().all(|d| d.starts_with("report.json: ")),
        "{found:#?}"
    );
    has(&found, &["models.baseline.results.loss.auc says"]);
}

#[test]
fn one_image_is_opened_and_no_other() {
    let made = Made::of(small);
    let (folder, salt) = (made.folder(), &made.salt);
    let found = opens(&folder, salt, &id(true, 4)).expect("opened");
    assert_eq!(found.split, Some(Side::Member(Some(1))));
    let rows: Vec<(u64, &str, bool)> = found
        .rows
        .iter()
        .map(|r| (r.row, r.attack.as_str(), r.member))
        .collect();
    assert_eq!(rows, [(5, "loss", true), (581, "sima", true)]);
    let original = read_scores(&made.run().join("scores/baseline.csv")).expect("scores");
    assert_eq!(found.rows[1].score, original.rows[580].score);
    let found = opens(&folder, salt, &id(false, 0)).expect("opened");
    assert_eq!((found.split, found.rows.len()), (Some(Side::NonMember), 2));
    let none = opens(&folder, salt, "cc").expect("opened");
    assert!(none.is_absent());
    assert!(opens(&folder, salt, "").expect("opened").is_absent());
    // The other party gets the key of this image: it opens it, and no other.
    let key: Key = salt.key(&id(true, 4)).to_string().parse().expect("key");
    assert_eq!(
        opens_with(&folder, &key, &id(true, 4))
            .expect("opened")
            .rows
            .len(),
        2
    );
    assert!(
        opens_with(&folder, &key, &id(true, 5))
            .expect("opened")
            .is_absent()
    );
    let wrong = opens(&folder, &Salt::new().expect("salt"), &id(true, 4));
    let error = wrong.expect_err("another salt").to_string();
    assert!(error.contains("the salt of another folder"), "{error}");
}

#[test]
fn strangers_folders_give_errors_and_no_panic() {
    use std::os::unix::fs::symlink;
    let made = Made::of(small);
    let copy = made.dir.path().join("copy");
    let error = |change: &dyn Fn(&Path)| -> String {
        let _ = std::fs::remove_dir_all(&copy);
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(made.folder())
            .arg(&copy)
            .status();
        assert!(copied.expect("cp").success());
        change(&copy);
        verify(&copy).expect_err("refused").to_string()
    };
    let secret = made.dir.path().join("secret");
    std::fs::write(&secret, "secret").expect("write");
    for name in ["scores/x.csv", "logs", "x.json"] {
        let message = error(&|c| symlink(&secret, c.join(name)).expect("link"));
        assert!(
            message.contains(name) && message.contains("is a link"),
            "{message}"
        );
    }
    let message = error(&|c| {
        std::fs::remove_file(c.join("manifest.json")).expect("remove");
        symlink(&secret, c.join("manifest.json")).expect("link");
    });
    assert!(message.contains("manifest.json"), "{message}");
    let message = error(&|c| {
        let made = std::process::Command::new("mkfifo")
            .arg(c.join("pipe"))
            .status();
        assert!(made.expect("mkfifo").success());
    });
    assert!(message.contains("a device, a pipe"), "{message}");
    for name in [
        "../secret",
        "/etc/passwd",
        "",
        "scores/../../secret",
        "./plan.json",
    ] {
        let message = error(&|c| {
            let mut manifest = read(&c.join("manifest.json"));
            manifest["files"][0]["path"] = name.into();
            put(&c.join("manifest.json"), &manifest);
        });
        assert!(
            message.contains("which is not in the folder") || message.contains("not in the order"),
            "{name}: {message}"
        );
    }
    for text in [
        "",
        "[1]",
        "not json",
        "{\"files\": 3}",
        "{\"schema\": 99}",
        "{\"program\": \"1\", \"salt_blake3\": \"\", \"root\": \"\", \"files\": [{\"path\": \"a\", \"bytes\": 1e999, \"blake3\": \"\"}]}",
    ] {
        let message = error(&|c| std::fs::write(c.join("manifest.json"), text).expect("write"));
        assert!(message.contains("manifest.json: damaged"), "{message}");
    }
    let message = error(&|c| std::fs::remove_file(c.join("manifest.json")).expect("remove"));
    assert!(message.contains("dualmd export evidence"), "{message}");
    let deep = error(&|c| std::fs::create_dir_all(c.join("a/b/c/d/e/f")).expect("mkdir"));
    assert!(deep.contains("too many folders"), "{deep}");

    // Files other than the manifest: what they hold is a difference, whatever it is.
    for file in [
        "plan.json",
        "split.json",
        "halves.json",
        "scores/baseline.json",
        "report.json",
        "scores/baseline.csv",
    ] {
        for text in [
            "",
            "nonsense",
            "{",
            "[1e999]",
            "{\"seed\": 1e300, \"divisions\": [{\"model\": 3}]}",
            "\u{0}\u{ff}",
        ] {
            let found = made.after(|c| std::fs::write(c.join(file), text).expect("write"));
            has(&found, &[file, "differs from the manifest"]);
        }
    }
    let huge = made.after(|c| {
        let path = c.join("halves.json");
        let mut halves = read(&path);
        for division in halves["divisions"].as_array_mut().expect("divisions") {
            division["halves"] = "c".repeat(1 << 20).into();
        }
        put(&path, &halves);
    });
    has(&huge, &["report.json: warnings", "entries"]);
    // Neither is anything written over.
    let there = write(&made.run(), &made.folder(), &made.salt)
        .expect_err("there")
        .to_string();
    assert!(there.contains("something of that name already"), "{there}");
}

#[test]
fn the_salt_lies_beside_the_folder_and_serves_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = |name: &str| dir.path().join(name);
    small(&path("run"));
    let (first, salt) = export(&path("run"), &path("new/a/"), None).expect("written");
    assert_eq!(salt, path("new/a.salt"));
    assert!(!path("new/a/.salt").exists() && path("new/a/manifest.json").exists());
    let (second, same) = export(&path("run"), &path("b"), Some(&salt)).expect("written");
    assert_eq!((&second.root, &same), (&first.root, &salt));
    let (third, _) = export(&path("run"), &path("c"), None).expect("written");
    assert_ne!(third.root, first.root);
    // What goes wrong leaves nothing, and nothing is written over.
    let error = |out: &str| {
        export(&path("run"), &path(out), None)
            .expect_err(out)
            .to_string()
    };
    assert!(error("b").contains("something of that name"));
    assert!(!path("b.salt").exists());
    assert!(error("new/a").contains("a.salt is there already"));
    assert!(error("..").contains("no name for a new folder"));
    assert!(export(&path("none"), &path("d"), None).is_err());
    assert!(!path("d").exists() && !path("d.salt").exists());
}

#[test]
fn ten_thousand_images_take_seconds() {
    let made = Made::of(|run| {
        let row = |i: u32| ScoreRow {
            sample_id: format!("{i:032x}"),
            name: Some(format!("{i}.jpg")),
            group: None,
            member: i.is_multiple_of(2),
            attack: "sima".into(),
            score: f64::from(i.wrapping_mul(2_654_435_761) >> 8),
        };
        let rows: Vec<ScoreRow> = (0..10_000).map(row).collect();
        write_scores(&run.join("scores/model.csv"), &rows).expect("scores");
    });
    assert_eq!(made.bundle.rows, 10_000);
    let start = std::time::Instant::now();
    assert!(verify(&made.folder()).expect("checked").holds());
    let seconds = start.elapsed().as_secs_f64();
    println!("verified 10,000 rows in {seconds:.2} s");
    assert!(seconds < 60.0, "{seconds}");
}

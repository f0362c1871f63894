//! Models in another process: `--denoiser`.

mod common;

use common::{Images, dualmd, fail, json, sides, succeed, text};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{Denoiser as _, Pipeline};
use dualmd_remote::Prediction;
use dualmd_remote::serve::{Generate, Served, serve};
use dualmd_torch::{Device, Kind, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// A network of 16 px with random weights, in the repository.
fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm")
}

/// What a server can do beside `predict`.
#[derive(Clone, Copy, Default)]
struct Can {
    generate: bool,
    gradient: bool,
}

impl Images {
    /// The arguments of an audit by these images, quiet, with four images that are drawn in two steps.
    fn audit<'a>(&'a self, model: &[&'a str], more: &[&'a str], out: &'a Path) -> Vec<&'a str> {
        let (members, others) = (text(&self.members), text(&self.others));
        let images = ["--members", members, "--nonmembers", others];
        let rest = ["--images", "4", "--steps", "2", "-q", "-o", text(out)];
        [&["audit"][..], model, &images, more, &rest].concat()
    }
}

/// Serves the model at a socket to as many programs as `times` says; gives the place as `--denoiser` takes it.
fn served(path: &Path, times: usize, can: Can) -> (String, JoinHandle<()>) {
    let listener = UnixListener::bind(path).unwrap();
    let place = format!("unix:{}", path.display());
    let server = std::thread::spawn(move || {
        let native = Pipeline::load(&model(), WeightSet::Ema, Device::Cpu).unwrap();
        let [c, h, w] = native.image_shape().unwrap();
        let grey: Generate<'_> = Box::new(move |seed, count, steps| {
            assert!(seed < 1 << 53 && steps == 2);
            Ok(Tensor::zeros([count, c, h, w], (Kind::Float, Device::Cpu)))
        });
        let model = Served {
            name: "tiny\u{1b}[31m".into(),
            fingerprint: Some("sha-of-mine".into()),
            shape: [c, h, w],
            prediction: Prediction::Eps,
            schedule: Some(&native.schedule),
            predict: Box::new(|x, t| (native.predict_noise(x, t, None)).map_err(|e| e.to_string())),
            generate: can.generate.then_some(grey),
            weights: native.weights().filter(|_| can.gradient),
        };
        for _ in 0..times {
            serve(listener.accept().unwrap().0, &model).unwrap();
        }
    });
    (place, server)
}

fn scores(audit: &Path) -> BTreeMap<(String, String), f64> {
    let text = std::fs::read_to_string(audit.join("scores/model.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    (rows.records().map(Result::unwrap))
        .map(|r| ((r[3].to_owned(), r[0].to_owned()), r[4].parse().unwrap()))
        .collect()
}

/// The scores of an audit, which are those of another one but for rounding.
fn same_scores(native: &Path, remote: &Path) -> BTreeMap<(String, String), f64> {
    let (native, remote) = (scores(native), scores(remote));
    assert_eq!(
        native.keys().collect::<Vec<_>>(),
        remote.keys().collect::<Vec<_>>()
    );
    // Learnt scores are log-odds, which may be as near to 0 as they like: their size is that of the attack's largest.
    let size = |attack: &str, score: f64| match attack.starts_with("gsa") {
        true => (native.iter())
            .filter(|((own, _), _)| own == attack)
            .fold(0.0, |most: f64, (_, score)| most.max(score.abs())),
        false => score.abs(),
    };
    for (key, score) in &native {
        let apart = (score - remote[key]).abs();
        assert!(
            apart <= 1e-5 * size(&key.0, *score),
            "{key:?}: {score} natively, {} over the socket",
            remote[key]
        );
    }
    native
}

#[test]
fn an_audit_over_the_socket_is_that_of_the_folder() {
    let images = Images::new();
    let at = |name: &str| images.at(name);
    let audit = |model: &[&str], out: &Path| succeed(&images.audit(model, &[], out));
    let (place, server) = served(&at("s"), 2, Can::default());
    audit(&[text(&model())], &at("native"));
    // The same images are drawn, by DDIM, where the server draws none.
    audit(&["--denoiser", &place], &at("remote"));
    let native = same_scores(&at("native"), &at("remote"));
    assert!(native.len() >= 8 * 24, "{}", native.len());
    let plan = json(&at("remote").join("plan.json"));
    let name = plan["name"].as_str().unwrap();
    assert!(
        name.starts_with("tiny\\u{1b}[31m, fingerprint sha-of-mine (unix:"),
        "{name}"
    );
    let config = &plan["models"][0]["model"]["config"];
    assert_eq!(config["prediction"], "eps");
    assert_eq!(
        config.as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            "denoiser",
            "fingerprint",
            "generates",
            "gradients",
            "image_shape",
            "name",
            "prediction",
            "protocol",
            "schedule",
            "shape",
            "texts",
            "timesteps"
        ]
    );
    assert_eq!(plan["models"][0]["model"].get("parameters"), None);
    let html = std::fs::read_to_string(at("remote").join("report.html")).unwrap();
    assert!(html.contains("sha-of-mine"));
    // The same model, told by its fingerprint: nothing is asked again.
    let output = audit(&["--denoiser", &place], &at("remote"));
    assert!(output.status.success());
    let again = json(&at("remote").join("scores/model.json"));
    assert_eq!(again["network_calls_made"], 0);

    server.join().unwrap();
}

/// What a report says of a model in Python is what repeats it there; nothing of a socket that is another one in each call.
#[test]
fn a_caller_is_named_by_its_call() {
    let images = Images::new();
    let report = |name: &str| {
        let (socket, out) = (images.at(&format!("{name}.socket")), images.at(name));
        let (place, server) = served(&socket, 1, Can::default());
        let attacks = ["--attacks", "loss,sima"];
        let called = "dualmd.audit(pipe,\n members=\"train/\")";
        let output = dualmd(&images.audit(&["--denoiser", &place], &attacks, &out))
            .env("DUALMD_CALLED_AS", called)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        server.join().unwrap();
        let page = std::fs::read_to_string(out.join("report.html")).unwrap();
        assert!(!page.contains(".socket"), "{name}");
        json(&out.join("report.json"))
    };
    let (mut first, mut second) = (report("first"), report("second"));
    let run = &first["run"];
    assert_eq!(run["command"], "dualmd.audit(pipe,  members=\"train/\")");
    let name = run["name"].as_str().unwrap();
    assert!(name.ends_with("(a model in Python)"), "{name}");
    assert!(!first.to_string().contains(".socket"));
    // Two equal calls differ in when they were made and how long they took alone.
    for report in [&mut first, &mut second] {
        report["run"]["created"].take();
        for model in report["models"].as_array_mut().unwrap() {
            for result in model["results"].as_array_mut().unwrap() {
                result["seconds"].take();
            }
        }
    }
    assert_eq!(first, second);
}

#[test]
fn attacks_on_gradients_over_the_socket_are_those_of_the_folder() {
    let images = Images::new();
    let at = |name: &str| images.at(name);
    let attacks = ["--attacks", "gsa2,gsa1", "--known-fraction", "0.4"];
    let audit = |model: &[&str], out: &Path| {
        succeed(&images.audit(model, &attacks, out));
    };
    let can = Can {
        gradient: true,
        ..Can::default()
    };
    let (place, server) = served(&at("s"), 1, can);
    audit(&[text(&model())], &at("native"));
    audit(&["--denoiser", &place], &at("remote"));
    server.join().unwrap();
    let native = same_scores(&at("native"), &at("remote"));
    for attack in ["gsa1", "gsa2"] {
        assert!(native.keys().any(|(name, _)| name == attack), "{native:?}");
    }
    let plan = json(&at("remote").join("plan.json"));
    assert_eq!(plan["models"][0]["model"]["config"]["gradients"], true);
}

#[test]
fn what_needs_the_weights_is_shown_as_not_run_and_images_are_the_servers() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (members, others) = sides(dir.path(), 12);
    let can = Can {
        generate: true,
        ..Can::default()
    };
    let (place, server) = served(&at("s"), 2, can);
    let audit = at("audit");
    let images = [
        "--members",
        text(&members),
        "--nonmembers",
        text(&others),
        "--images",
        "5",
        "--steps",
        "2",
        "--batch",
        "3",
    ];
    let common = [
        &[
            "audit",
            "--denoiser",
            &place,
            "--attacks",
            "sima,gsa1,nn",
            "-o",
        ][..],
        &[text(&audit)],
        &images,
    ]
    .concat();
    let said = succeed(&[&common[..], &["--check"]].concat());
    let said = String::from_utf8(said.stdout).unwrap();
    for words in [
        "tiny",
        "\"prediction\":\"eps\"",
        "12 members and 12 non-members",
        "attacks on model: sima, gsa1, nn",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!at("audit").exists() && !said.contains('\u{1b}'), "{said}");
    succeed(&common);
    server.join().unwrap();
    let description = json(&at("audit/scores/model.json"));
    let of = |name: &str| -> &Value {
        let attacks = description["attacks"].as_array().unwrap();
        attacks.iter().find(|a| a["attack"] == name).unwrap()
    };
    assert_eq!(
        (&of("sima")["status"], &of("nn")["status"]),
        (&"ok".into(), &"ok".into())
    );
    let reason = of("gsa1")["reason"].as_str().unwrap();
    assert!(
        reason.contains("keeps its weights to itself") && reason.contains("parameters="),
        "{reason}"
    );
    let html = std::fs::read_to_string(at("audit/report.html")).unwrap();
    assert!(html.contains("keeps its weights to itself"));
    let drawn = dualmd_torch::weights::read_npy(&at("audit/samples/model/samples.npy")).unwrap();
    assert_eq!(
        (drawn.size()[0], drawn.abs().max().double_value(&[])),
        (5, 0.0)
    );
}

#[test]
fn a_server_that_cannot_be_had_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let (members, others) = sides(dir.path(), 2);
    let out = dir.path().join("audit");
    let images = [
        "--members",
        text(&members),
        "--nonmembers",
        text(&others),
        "-o",
        text(&out),
    ];
    let with = |place: &str| fail(&[&["audit", "--denoiser", place][..], &images].concat());
    let error = with("echo 'no module named torch' >&2; exit 1");
    assert!(
        error.contains("no module named torch") && error.contains("exit status: 1"),
        "{error}"
    );
    let error = with(&format!("unix:{}", dir.path().join("nobody").display()));
    assert!(error.contains("start the server first"), "{error}");
    assert!(!out.exists());
    let error = fail(&[&["audit", "--denoiser", "true", "some/model"][..], &images].concat());
    assert!(error.contains("cannot be used with"), "{error}");
    let help = dualmd(&["audit", "--help"]).output().unwrap();
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("--denoiser-timeout")
    );
}

mod needs_python {
    use super::*;
    use common::python::{check, python};

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn defences_of_other_training_scripts() {
        let dir = tempfile::tempdir().unwrap();
        check("check_defense.py", &[text(dir.path())]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn loras_are_defended_in_a_loop_of_diffusers() {
        let dir = tempfile::tempdir().unwrap();
        let (photos, _) = sides(dir.path(), 40);
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        check("check_lora_pair.py", &[text(&photos), text(&out)]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn checkpoints_of_papers_are_converted() {
        let dir = tempfile::tempdir().unwrap();
        check("check_convert.py", &[text(dir.path())]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn files_of_onnx_are_audited_as_callables_are() {
        let dir = tempfile::tempdir().unwrap();
        let (members, others) = sides(dir.path(), 12);
        let folders = [text(&members), text(&others), text(dir.path())];
        check("check_onnx.py", &folders);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn a_flow_is_audited_as_another_script_attacks_it() {
        let dir = tempfile::tempdir().unwrap();
        check("train_flow.py", &[text(dir.path()), "--repeats", "4"]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn from_photographs_to_a_verdict() {
        let dir = tempfile::tempdir().unwrap();
        check("check_chain.py", &[text(dir.path())]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn adapters_ask_networks_as_their_pipelines_do() {
        check("check_denoiser.py", &["networks"]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn a_lora_s_base_is_asked_by_its_pipeline() {
        check("check_denoiser.py", &["bases"]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn norms_of_gradients_are_those_of_a_backward_pass() {
        check("check_denoiser.py", &["gradients"]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn pipelines_callables_and_scripts_are_audited_as_a_folder_is() {
        let dir = tempfile::tempdir().unwrap();
        let (members, others) = sides(dir.path(), 12);
        let model = model();
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let folders = [text(&model), text(&members), text(&others), text(&out)];
        check("check_denoiser.py", &[&["audits"][..], &folders].concat());
    }

    /// The server that the page of the protocol shows.
    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn the_example_of_the_documentation_answers() {
        let page = include_str!("../../../docs/denoiser.md");
        let (_, code) = page.split_once("```python\nimport json").unwrap();
        let (code, _) = code.split_once("```").unwrap();
        let images = Images::new();
        let (script, out) = (images.at("serve.py"), images.at("audit"));
        std::fs::write(&script, format!("import json{code}")).unwrap();
        let command = format!("{} {}", text(Path::new(&python())), text(&script));
        let attacks = ["--attacks", "loss,sima"];
        succeed(&images.audit(&["--denoiser", &command], &attacks, &out));
        // It predicts no noise at all: every image's score by SimA is the same.
        let found = scores(&out);
        assert!(
            found
                .iter()
                .filter(|((attack, _), _)| attack == "sima")
                .all(|(_, score)| *score == 0.0),
            "{found:?}"
        );
        assert_eq!(
            json(&out.join("plan.json"))["models"][0]["model"]["config"]["name"],
            "zeros"
        );
    }
}

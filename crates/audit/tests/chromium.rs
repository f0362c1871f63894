//! The page in a real browser: no console message, no exception, something to see at three widths, and a PDF.
//!
//! `DUALMD_TEST_CHROMIUM` holds the path of a Chromium; `cargo xtask test` sets it. Screenshots stay in
//! cargo's temporary folder for whoever wants to look.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
mod common;

use dualmd_audit::Report;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Opens a page and returns (stdout, stderr).
fn chromium(browser: &str, page: &Path, more: &[String]) -> (String, String) {
    let profile = tempfile::tempdir().expect("temp dir");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(more)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{browser} failed:\n{log}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), log)
}

/// Console messages of the page; the browser's own chatter has other sources.
fn console(log: &str) -> Vec<&str> {
    log.lines().filter(|l| l.contains("CONSOLE")).collect()
}

fn browser() -> String {
    std::env::var("DUALMD_TEST_CHROMIUM")
        .expect("DUALMD_TEST_CHROMIUM holds the path of a Chromium; `cargo xtask test` sets it")
}

/// A page with `script` added, which its content security policy would otherwise refuse.
fn with_script(page: &Path, script: &str, to: &Path) {
    let text = std::fs::read_to_string(page).expect("page");
    let (before, after) = text
        .split_once("http-equiv=\"Content-Security-Policy\"")
        .expect("the page has a policy");
    let text = format!("{before}name=\"no-policy\"{after}")
        .replace("</body>", &format!("<script>{script}</script></body>"));
    std::fs::write(to, text).expect("write");
}

/// Pages that six models and two repeats may take on paper.
const MOST_PAGES: usize = 12;

/// A report of the results that are stored here.
fn stored(name: &str) -> Report {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results");
    dualmd_audit::read(&results.join(name)).expect("a stored report")
}

/// A model that was trained elsewhere, with a long name, under more attacks than fit a line.
fn foreign(dir: &Path) -> Report {
    let attacks = [
        ("loss", (0.4, 0.4)),
        ("secmi", (0.1, 0.1)),
        ("secmi-nn", (0.2, 0.2)),
        ("pia", (0.3, 0.3)),
        ("pian", (-0.2, -0.2)),
        ("sima", (0.8, 0.8)),
        ("pfami", (0.2, 0.2)),
        ("rediffuse", (0.3, 0.3)),
        ("rediffuse-nn", (0.2, 0.2)),
        ("nn", (0.1, 0.1)),
    ];
    common::model_scores(dir, "model", "unknown", &attacks, 5);
    let mut plan = common::plan(&[("model", "unknown")]);
    plan["name"] = "/srv/models/chest-radiographs-of-2025/ddpm-256-conditional-v2-final".into();
    plan["auditor"] = "A. Auditor, for the hospital".into();
    plan["command"] = "dualmd audit ddpm-256-conditional-v2-final --members chest/#member --nonmembers chest/#nonmember --split split.json -o audit".into();
    for own in ["train", "experiment_toml"] {
        plan.as_object_mut().expect("an object").remove(own);
    }
    std::fs::write(dir.join("plan.json"), plan.to_string()).expect("write");
    dualmd_audit::build(dir).expect("build")
}

/// A text-to-image run of four models.
fn text(dir: &Path) -> Report {
    let models = [
        ("baseline", "none", 2.4),
        ("dualmd", "dualmd", 0.9),
        ("student", "distillmd", 0.2),
        ("kd", "kd", 1.6),
    ];
    for (i, (name, defense, shift)) in models.iter().enumerate() {
        let both = (*shift, *shift);
        let less = (shift / 2.0, shift / 2.0);
        let attacks = [
            ("loss", less),
            ("sima", both),
            ("clid", both),
            ("clid-gap", less),
            ("wen", less),
            ("sim-mean", both),
            ("pw-threshold", both),
        ];
        let some = if *name == "dualmd" {
            &attacks[5..]
        } else {
            &attacks[..]
        };
        common::model_scores(dir, name, defense, some, 40 + i as u64);
    }
    let mut plan = common::plan(&models.map(|(name, defense, _)| (name, defense)));
    plan["name"] = "emoji-t2i-demo".into();
    plan["data"]["source"] = "emoji#fluent3d".into();
    std::fs::write(dir.join("plan.json"), plan.to_string()).expect("write");
    dualmd_audit::build(dir).expect("build")
}

/// Width and height in pixels of a PNG file.
fn size(png: &Path) -> (u32, u32) {
    let bytes = std::fs::read(png).expect("a picture");
    let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (side(16), side(20))
}

/// What stands in the title of a page after `script` has run in a window of that width. A headless window is never narrower than 500 px
/// for the layout, so the page is in a frame.
fn probed(browser: &str, page: &Path, script: &str, width: u32) -> String {
    let folder = page.parent().expect("a folder");
    let (probe, frame) = (folder.join("probe.html"), folder.join("frame.html"));
    with_script(page, script, &probe);
    std::fs::write(
        &frame,
        format!("<!DOCTYPE html><title>x</title><iframe src=\"probe.html\" width=\"{width}\" height=\"800\" style=\"border:0\" onload=\"document.title=this.contentDocument.body.dataset.probe\"></iframe>"),
    )
    .expect("write");
    let flags = ["--allow-file-access-from-files".into(), "--dump-dom".into()];
    let (dom, log) = chromium(browser, &frame, &flags);
    let title = dom.split("<title>").nth(1);
    let title = title.and_then(|t| t.split("</title>").next());
    assert!(console(&log).is_empty(), "{log}");
    title.unwrap_or_default().to_owned()
}

mod needs_chromium {
    use super::*;

    /// Without this the test below would pass in a browser whose log says nothing.
    #[test]
    #[ignore = "needs Chromium: `cargo xtask test` where it is installed"]
    fn an_exception_would_be_seen() {
        let browser = browser();
        let dir = tempfile::tempdir().expect("temp dir");
        let page = dir.path().join("bad.html");
        std::fs::write(
            &page,
            "<!DOCTYPE html><title>x</title><script>throw new Error('planted')</script>",
        )
        .expect("write");
        let (_, log) = chromium(
            &browser,
            &page,
            &[format!(
                "--screenshot={}",
                dir.path().join("x.png").display()
            )],
        );
        assert!(console(&log).iter().any(|l| l.contains("planted")), "{log}");
    }

    #[test]
    #[ignore = "needs Chromium: `cargo xtask test` where it is installed"]
    fn opens_without_errors_at_every_width_and_prints() {
        let browser = browser();
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report");
        let run = out.join("run");
        // A run of an earlier test must not leave files behind that this one would not write.
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir_all(&run).expect("mkdir");
        common::run_folder(&run);
        common::extras(&run);
        common::quality(&run);
        let report = dualmd_audit::build(&run).expect("build");
        let page = dualmd_audit::write(&run, &report).expect("write").html;
        for (width, height) in [(360, 2400), (800, 2000), (1280, 1800)] {
            for dark in [false, true] {
                let shot = out.join(format!(
                    "{width}-{}.png",
                    if dark { "dark" } else { "light" }
                ));
                let mut flags = vec![
                    format!("--window-size={width},{height}"),
                    format!("--screenshot={}", shot.display()),
                ];
                if dark {
                    flags.push("--blink-settings=preferredColorScheme=0".into());
                }
                let (_, log) = chromium(&browser, &page, &flags);
                assert!(
                    console(&log).is_empty(),
                    "console messages at {width}:\n{}",
                    console(&log).join("\n")
                );
                let size = std::fs::metadata(&shot).expect("screenshot").len();
                assert!(
                    size > 40_000,
                    "{} is nearly empty ({size} bytes)",
                    shot.display()
                );
            }
        }
        // No part may be wider than a phone's window, folded parts opened; tables scroll inside their own box. And the
        // script's own work: sorting buttons, the filter, the readout.
        let script = "for (const d of document.querySelectorAll('details')) d.open = true;
            const shown = (table) => [...table.tBodies[0].rows].filter((row) => !row.hidden);
            // The table of models sorts by the AUC of an attack, downwards first, and back.
            const matrix = document.querySelector('.matrix'), aucs = () => shown(matrix).map((row) => Number(row.cells[1].dataset.value));
            const falls = (list) => list.every((x, i) => i === 0 || list[i - 1] >= x);
            matrix.querySelector('th:nth-child(2) button').click();
            const order = [falls(aucs())];
            matrix.querySelector('th:nth-child(2) button').click();
            order.push(falls(aucs().reverse()), falls(aucs()));
            matrix.querySelector('[aria-sort]').removeAttribute('aria-sort');
            // Two choices together, then the words of a box.
            const choose = (id, value) => { const s = document.getElementById(id); s.value = value; s.dispatchEvent(new Event('change')); };
            const points = document.getElementById('points'), all = shown(points).length;
            choose('filter', 'DistillMD student'); choose('filter-members', 'D1');
            const filtered = [shown(points).length, shown(points).every((row) => row.textContent.includes('DistillMD student') && row.textContent.includes('D1'))];
            choose('filter', ''); choose('filter-members', '');
            filtered.push(shown(points).length === all);
            const compat = document.querySelector('#compat table'), words = document.querySelector('#compat input');
            words.value = 'midm SIMA'; words.dispatchEvent(new Event('input'));
            filtered.push(shown(compat).length);
            document.querySelector('#points th button').click();
            // A table that is wider than its place says so, and no other does.
            dispatchEvent(new Event('resize'));
            const wrong = [...document.querySelectorAll('.scroll')].filter((box) => box.nextElementSibling.hidden === box.scrollWidth > box.clientWidth + 2);
            filtered.push(wrong.length);
            // Names in the figure of privacy against quality cover neither each other nor a marker.
            const boxes = (which) => [...document.querySelectorAll('#frontier figure ' + which)].map((e) => e.getBoundingClientRect());
            const over = (a, b) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
            const names = boxes('text.name'), marks = boxes('svg > path.mark');
            filtered.push(names.length, names.filter((a, i) => names.some((b, j) => i !== j && over(a, b)) || marks.some((b) => over(a, b))).length);
            const roc = document.querySelector('svg.roc'), box = roc.getBoundingClientRect();
            roc.dispatchEvent(new PointerEvent('pointermove', { clientX: box.right - box.width * 0.06, clientY: box.top + box.height * 0.04 }));
            document.body.dataset.probe = [innerWidth, document.documentElement.scrollWidth, document.querySelectorAll('[aria-sort]').length,
              document.querySelectorAll('#filter option').length, roc.querySelector('text.readout').textContent, [...order, ...filtered].join(' ')].join('|');";
        for width in [360, 390, 800, 1280] {
            let title = probed(&browser, &page, script, width);
            let values: Vec<&str> = title.split('|').collect();
            assert_eq!(values.len(), 6, "the probe did not run: {title}");
            assert_eq!(values[0], width.to_string());
            assert_eq!(
                values[0], values[1],
                "the page is wider than its window of {width} px"
            );
            // Six models and two repeats, and the choice of all.
            assert_eq!((values[2], values[3]), ("1", "9"));
            // Seven attacks on the student; SimA on five models that have it.
            assert_eq!(values[5], "true true false 7 true true 5 0 4 0");
            assert!(values[4].contains(" % at "), "readout: {}", values[4]);
        }
        let pdf = out.join("report.pdf");
        let (_, log) = chromium(
            &browser,
            &page,
            &[
                format!("--print-to-pdf={}", pdf.display()),
                "--no-pdf-header-footer".into(),
            ],
        );
        assert!(console(&log).is_empty(), "{log}");
        let printed = std::fs::read(&pdf).expect("pdf");
        assert!(printed.starts_with(b"%PDF") && printed.len() > 30_000);
        let text = String::from_utf8_lossy(&printed);
        let pages = text.matches("/Type /Page\n").count();
        assert!((2..=MOST_PAGES).contains(&pages), "{pages} pages");
    }

    /// The demo, a model from elsewhere, a void audit, a text-to-image run: at the size of a screen and of a phone, light and dark, and on
    /// paper. The pictures stay beside the others, to be looked at.
    #[test]
    #[ignore = "needs Chromium: `cargo xtask test` where it is installed"]
    fn pages_of_every_kind_fit_screen_phone_and_paper() {
        let browser = browser();
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kinds");
        let _ = std::fs::remove_dir_all(&out);
        let run = |name: &str| {
            let folder = out.join(name);
            std::fs::create_dir_all(&folder).expect("mkdir");
            folder
        };
        let void = run("void-run");
        common::run_folder(&void);
        common::void(&void);
        let kinds = [
            ("demo", stored("demo/report.json")),
            ("foreign", foreign(&run("foreign-run"))),
            ("void", dualmd_audit::build(&void).expect("build")),
            (
                "shortened",
                stored("studies/cpu/emoji-t2i/seed-0/report.json"),
            ),
            ("text", text(&run("text-run"))),
        ];
        for (name, report) in kinds {
            let folder = run(name);
            let page = dualmd_audit::write(&folder, &report).expect("write").html;
            for (kind, dark) in [("screen", false), ("dark", true)] {
                let shot = folder.join(format!("{kind}.png"));
                let mut flags = vec![
                    "--window-size=1280,900".to_owned(),
                    format!("--screenshot={}", shot.display()),
                ];
                if dark {
                    flags.push("--blink-settings=preferredColorScheme=0".into());
                }
                let (_, log) = chromium(&browser, &page, &flags);
                assert!(console(&log).is_empty(), "{name}: {log}");
                assert_eq!(size(&shot), (1280, 900));
            }
            // All folded parts opened: nothing is wider than the window, and what to do is in the first screen, or the reason why there is no
            // verdict, or what was asked where an earlier version advised nothing.
            let script = "const first = (document.querySelector('.answer') || document.querySelector('.void p, .question')).getBoundingClientRect();
                for (const d of document.querySelectorAll('details')) d.open = true;
                document.body.dataset.probe = [innerWidth, document.documentElement.scrollWidth, Math.round(first.bottom)].join('|');";
            for width in [360, 390, 1280] {
                let found = probed(&browser, &page, script, width);
                let values: Vec<u32> = found.split('|').filter_map(|v| v.parse().ok()).collect();
                let [inner, wide, first] = values[..] else {
                    panic!("{name}: the probe did not run: {found}");
                };
                assert_eq!(
                    (inner, wide),
                    (width, width),
                    "{name} is wider than its window"
                );
                assert!(first < 800, "{name} at {width}: what to do ends at {first}");
            }
            let frame = folder.join("phone.html");
            std::fs::write(
                &frame,
                "<!DOCTYPE html><title>x</title><body style=\"margin:0\"><iframe src=\"report.html\" width=\"390\" height=\"844\" style=\"border:0\"></iframe>",
            )
            .expect("write");
            let phone = folder.join("phone.png");
            let flags = [
                "--window-size=390,844".to_owned(),
                format!("--screenshot={}", phone.display()),
            ];
            chromium(&browser, &frame, &flags);
            assert!(phone.exists());
            let pdf = folder.join("report.pdf");
            let flags = [
                format!("--print-to-pdf={}", pdf.display()),
                "--no-pdf-header-footer".into(),
            ];
            chromium(&browser, &page, &flags);
            let printed = std::fs::read(&pdf).expect("pdf");
            let text = String::from_utf8_lossy(&printed);
            let pages = text.matches("/Type /Page\n").count();
            assert!((1..=MOST_PAGES).contains(&pages), "{name}: {pages} pages");
        }
    }

    /// The picture of the README is the first screen of the demo's report that is stored here. `DUALMD_WRITE_SCREENSHOTS=1` takes it again.
    #[test]
    #[ignore = "needs Chromium: `cargo xtask test` where it is installed"]
    fn the_picture_of_the_readme_is_the_demos_first_screen() {
        let browser = browser();
        let dir = tempfile::tempdir().expect("temp dir");
        let report = stored("demo/report.json");
        let page = dualmd_audit::write(dir.path(), &report)
            .expect("write")
            .html;
        let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/img/report-demo.png");
        let shot = match std::env::var_os("DUALMD_WRITE_SCREENSHOTS") {
            Some(_) => picture.clone(),
            None => dir.path().join("shot.png"),
        };
        let flags = [
            "--window-size=1280,900".to_owned(),
            format!("--screenshot={}", shot.display()),
        ];
        chromium(&browser, &page, &flags);
        assert_eq!((size(&shot), size(&picture)), ((1280, 900), (1280, 900)));
        // Fonts differ from machine to machine, so that pixels cannot be compared. What the picture shows can be: the words of its report
        // are kept beside it.
        let mut words = report.judged().summary().join("\n");
        words.push('\n');
        let beside = picture.with_extension("txt");
        if std::env::var_os("DUALMD_WRITE_SCREENSHOTS").is_some() {
            std::fs::write(&beside, &words).expect("write");
        }
        let there = std::fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(
            there, words,
            "the report says other things than when the picture was taken: take it again"
        );
    }
}

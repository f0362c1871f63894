//! Extraction from models whose privacy is known: one that has memorised its images, one that has memorised nothing, and one that
//! draws an image for the caption that it learnt with it.

use dualmd::choices::{ExtractMethod, Features};
use dualmd::extraction::{Side, extract_denoiser, lines};
use dualmd::reporter::{ProgressEvent, Reporter};
use dualmd::stages::generator::stopped;
use dualmd::stages::pictures::tensor_of_all;
use dualmd::{Engine, ExtractOptions, Session, errors};
use dualmd_data::decode::decode;
use dualmd_data::{LoadOptions, Picture, load, save_png, stream};
use dualmd_diffusion::{
    Condition, Denoiser, Foreign, GaussianDenoiser, Given, MemorisedDenoiser, NoiseSchedule,
};
use dualmd_record::extraction::{Extracted, Extraction, ExtractionAttack, ExtractionCost};
use dualmd_torch::{Device, Kind, Tensor, noise};
use rand::Rng;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// Pixels of a side.
const SIDE: u32 = 8;

/// Writes grey pictures `0.png`, `1.png`, ... to a folder; gives its name.
fn folder(place: &Path, pictures: &[Vec<u8>]) -> String {
    std::fs::create_dir_all(place).unwrap();
    for (i, pixels) in pictures.iter().enumerate() {
        let picture = Picture {
            width: SIDE,
            height: SIDE,
            channels: 1,
            pixels: pixels.clone(),
        };
        save_png(&place.join(format!("{i}.png")), &picture).unwrap();
    }
    place.display().to_string()
}

/// A temporary folder with the pictures of two sides; gives it, and the names of the folders of members and others in it.
fn sides(members: &[Vec<u8>], others: &[Vec<u8>]) -> (TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let members = folder(&dir.path().join("members"), members);
    let others = folder(&dir.path().join("others"), others);
    (dir, members, others)
}

/// Pictures of pixels that know nothing of each other.
fn random(purpose: &str, n: u64) -> Vec<Vec<u8>> {
    let picture = |i| {
        let mut pixels = vec![0_u8; (SIDE * SIDE) as usize];
        stream(0, purpose, i).fill(&mut pixels[..]);
        pixels
    };
    (0..n).map(picture).collect()
}

fn session() -> Session {
    Session::new(Engine::new("cpu", None, 1).unwrap())
}

fn given(denoiser: impl Denoiser + 'static) -> Given {
    let shape = [1, i64::from(SIDE), i64::from(SIDE)];
    Given::new(
        Box::new(denoiser),
        NoiseSchedule::default(),
        shape,
        "an oracle",
    )
}

/// A model that has memorised a folder's pictures.
fn memorised(members: &str) -> Given {
    let known = tensor_of_all(&load(members, &LoadOptions::default()).unwrap());
    given(MemorisedDenoiser::new(&known, NoiseSchedule::default()).unwrap())
}

/// 400 images of 50 steps. Two of the pictures differ by 0.41 on average.
fn options(members: &str, others: &str, out: &Path) -> ExtractOptions {
    ExtractOptions {
        images: 400,
        batch: 50,
        radius: Some(0.1),
        ..ExtractOptions::new(members, others, out)
    }
}

fn counts(attack: &ExtractionAttack) -> [usize; 4] {
    let (a, b) = (attack.members, attack.control);
    [a.extracted, a.n, b.extracted, b.n]
}

#[test]
fn all_that_was_memorised_is_extracted_and_no_control() {
    let (dir, members, others) = sides(&random("members", 20), &random("others", 80));
    let out = dir.path().join("out");
    let asked = options(&members, &others, &out);
    let extract =
        |asked: &ExtractOptions| extract_denoiser(&session(), memorised(&members), "it", asked);
    let found = extract(&asked).unwrap();
    assert_eq!(
        (found.n, found.n_calibration, found.candidates),
        (20, 40, 20)
    );
    assert_eq!(found.features, "pixels-8x8");
    for attack in &found.attacks {
        assert_eq!(counts(attack), [20, 20, 0, 20], "{attack:?}");
        assert_eq!(attack.all_members, Some(attack.members));
        // One of the ways to choose 20 of 40.
        assert!(attack.p_value < 1e-10, "{attack:?}");
        assert_eq!(attack.calls_per_extracted, Some(1000.0));
    }
    assert_eq!(found.cost.network_calls, 400 * 50);
    assert_eq!(found.cost.generated_now, 400);
    let said = lines(&found).join("\n");
    assert!(
        said.contains("20 of 20") && said.contains(" 0 of 20 ("),
        "{said}"
    );

    // What is written says the same: a row for each candidate, each of another member, at no distance.
    let read: Extraction = dualmd_record::read(&out.join("extraction.json")).unwrap();
    assert_eq!(read, found);
    let mut table = csv::Reader::from_path(out.join("extraction.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let mut names: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| !row[1].is_empty()) {
        names.push(row[3].to_owned());
        assert_eq!((&row[6], &row[11]), ("cliques+every", ""));
        let [distance, ratio] = [4, 5].map(|column| row[column].parse::<f64>().unwrap());
        assert!(distance < 0.01 && ratio < 0.1, "{row:?}");
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 20);
    // Nearly every image is a copy.
    assert!(rows.len() > 380, "{}", rows.len());
    // Four pairs a row, five rows, and each pair is one picture twice.
    let bytes = std::fs::read(out.join("gallery.png")).unwrap();
    let sheet = decode(&bytes, "gallery.png", &LoadOptions::default()).unwrap();
    assert_eq!((sheet.width, sheet.height), (8 * 10 + 2, 5 * 10 + 2));
    let pixel = |x: u32, y: u32| sheet.pixels[(y * sheet.width + x) as usize];
    for (x, y) in [(2, 2), (9, 9), (25, 14)] {
        assert!(pixel(x, y).abs_diff(pixel(x + 10, y)) < 8, "{x} {y}");
    }

    // Other questions about the same images generate none. The distance that held-out images set will do as well.
    let plain = ExtractOptions {
        radius: None,
        ..asked.clone()
    };
    let again = extract(&plain).unwrap();
    assert_eq!((again.cost.generated_now, again.cost.seconds), (0, None));
    assert!(
        again.radius > 0.2 && again.radius < 0.42,
        "{}",
        again.radius
    );
    assert_eq!(counts(&again.attacks[1]), [20, 20, 0, 20]);
    assert!(again.attacks[0].members.extracted >= 18, "{again:?}");

    // Nothing of single images, where none is to be shown.
    let hidden = ExtractOptions {
        pictures: false,
        ..asked
    };
    extract(&hidden).unwrap();
    let left = std::fs::read_dir(&out).unwrap();
    let mut left: Vec<String> = left
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    left.sort();
    assert_eq!(left, ["extraction.json"]);
}

/// Smooth pictures of one Gaussian, of about seven dimensions that matter: some lie near each other by chance. And the model that is that
/// Gaussian.
fn smooth() -> (Vec<Vec<u8>>, Given) {
    let (side, d) = (i64::from(SIDE), i64::from(SIDE * SIDE));
    let place = |i: i64| ((i / side) as f64, (i % side) as f64);
    let covariance: Vec<f64> = (0..d * d)
        .map(|k| {
            let ((ay, ax), (by, bx)) = (place(k / d), place(k % d));
            0.2 * (-((ay - by).powi(2) + (ax - bx).powi(2)) / 18.0).exp()
                + if k / d == k % d { 1e-3 } else { 0.0 }
        })
        .collect();
    let covariance = Tensor::from_slice(&covariance).view([d, d]);
    let root = covariance.linalg_cholesky(false);
    let z = noise::normal(&mut stream(5, "smooth", 0), &[150, d], Device::Cpu);
    let x = z.to_kind(Kind::Double).matmul(&root.tr());
    let pictures: Vec<Vec<u8>> = Vec::<Vec<f64>>::try_from(&x)
        .unwrap()
        .iter()
        .map(|row| {
            row.iter()
                .map(|v| ((v + 1.0) * 127.5).round() as u8)
                .collect()
        })
        .collect();
    let mean = Tensor::zeros([d], (Kind::Double, Device::Cpu));
    let model = GaussianDenoiser::new(&mean, &covariance, NoiseSchedule::default()).unwrap();
    (pictures, given(model))
}

/// Members may be extracted no more often than the control's 95 % interval has it, and the p-value is to be no surprise at 1 %.
fn no_more_than_the_control(found: &Extraction) {
    assert!(found.n > 10, "{found:?}");
    for attack in &found.attacks {
        let most = attack.control.share_ci[1] * found.n as f64;
        assert!(attack.members.extracted as f64 <= most, "{attack:?}");
        assert!(attack.p_value > 0.01, "{attack:?}");
        assert!(attack.calibration_passed <= found.n_calibration / 100);
    }
}

/// A sound build fails at fewer than 5 % of seeds, and this one is fixed.
#[test]
fn what_was_not_memorised_is_extracted_no_more_than_the_control() {
    let (pictures, model) = smooth();
    let (dir, members, others) = sides(&pictures[..30], &pictures[30..]);
    let asked = ExtractOptions {
        radius: None,
        steps: 20,
        ..options(&members, &others, &dir.path().join("out"))
    };
    let found = extract_denoiser(&session(), model, "a Gaussian", &asked).unwrap();
    no_more_than_the_control(&found);
    // By the paper's limit alone chance would pass.
    assert!(found.attacks[1].threshold < 1.0, "{found:?}");
}

/// Restorations of images whose lower half is hidden, 24 of each.
fn restoring(members: &str, others: &str, out: &Path) -> ExtractOptions {
    ExtractOptions {
        method: ExtractMethod::Inpaint,
        per_prompt: 24,
        steps: 20,
        ..options(members, others, out)
    }
}

/// About two in three restorations of a memorised image are right; the others were decided for another image before its upper half could
/// be made out.
#[test]
fn the_hidden_half_of_what_was_memorised_is_restored_and_of_no_control() {
    let (dir, members, others) = sides(&random("members", 20), &random("others", 80));
    let out = dir.path().join("out");
    let asked = restoring(&members, &others, &out);
    let extract =
        |asked: &ExtractOptions| extract_denoiser(&session(), memorised(&members), "it", asked);
    let found = extract(&asked).unwrap();
    assert_eq!((found.n, found.n_calibration), (20, 20));
    let inpainted = found.inpainted.as_ref().unwrap();
    assert_eq!((inpainted.images, inpainted.each), (60, 24));
    assert_eq!((inpainted.shown, inpainted.rows), (4, 8));
    assert_eq!(found.features, "pixels-below-4-of-8");
    assert_eq!(found.prompted, None);
    assert_eq!(found.generated, 60 * 24);
    assert_eq!(found.cost.network_calls, 60 * 24 * 20);
    for attack in &found.attacks {
        assert_eq!(counts(attack), [20, 20, 0, 20], "{attack:?}");
        assert_eq!(attack.all_members, None);
        assert!(attack.p_value < 1e-10, "{attack:?}");
        assert_eq!(attack.calls_per_extracted, Some(60.0 * 24.0));
    }
    let said = lines(&found).join("\n");
    assert!(
        said.contains("60 images was restored 24 times from the upper 4 of its 8 rows"),
        "{said}"
    );
    // What is written shows whole images: what was shown above what was restored, which is the member's. Every restoration that passes
    // has its own member in the table, at no distance.
    let mut table = csv::Reader::from_path(out.join("extraction.csv")).unwrap();
    let rows = table.records().map(Result::unwrap);
    let passed = rows.filter(|row| row[6].contains("every")).map(|row| {
        let drawn: usize = row[0].parse().unwrap();
        assert!(drawn < 20 * 24, "{row:?}");
        drawn / 24
    });
    let passed: std::collections::BTreeSet<usize> = passed.collect();
    assert_eq!(passed.len(), 20);
    assert!(out.join("gallery.png").is_file());
    // Looked at again, nothing is made; other images, or another method, are made anew.
    let again = ExtractOptions {
        radius: None,
        ..asked.clone()
    };
    assert_eq!(extract(&again).unwrap().cost.generated_now, 0);
    let whole = ExtractOptions {
        method: ExtractMethod::Generate,
        images: 60,
        ..asked.clone()
    };
    let found = extract(&whole).unwrap();
    assert_eq!((found.cost.generated_now, found.inpainted), (60, None));
    assert_eq!(extract(&asked).unwrap().cost.generated_now, 60 * 24);
}

/// A Gaussian restores what its correlations say, of members and others alike. A sound build fails at fewer than 5 % of seeds, and this one
/// is fixed.
#[test]
fn the_hidden_half_of_what_was_not_memorised_is_restored_as_the_control_is() {
    let (pictures, model) = smooth();
    let (dir, members, others) = sides(&pictures[..30], &pictures[30..]);
    let asked = ExtractOptions {
        radius: None,
        per_prompt: 8,
        ..restoring(&members, &others, &dir.path().join("out"))
    };
    let found = extract_denoiser(&session(), model, "a Gaussian", &asked).unwrap();
    no_more_than_the_control(&found);
}

/// Half of 400 images are generated, and a classifier leads the model to the other half.
fn leading(members: &str, others: &str, out: &Path) -> ExtractOptions {
    ExtractOptions {
        method: ExtractMethod::Side,
        side: Side {
            steps: 150,
            ..Side::default()
        },
        ..options(members, others, out)
    }
}

#[test]
fn what_was_memorised_is_what_a_classifier_leads_to_and_no_control() {
    let dir = tempfile::tempdir().unwrap();
    let members = folder(&dir.path().join("members"), &random("members", 20));
    let others = folder(&dir.path().join("others"), &random("others", 80));
    let out = dir.path().join("out");
    let asked = leading(&members, &others, &out);
    let extract =
        |asked: &ExtractOptions| extract_denoiser(&session(), memorised(&members), "it", asked);
    let found = extract(&asked).unwrap();
    let led = found.led.as_ref().unwrap();
    assert_eq!((led.pool, led.images, led.gradients), (200, 200, 200 * 50));
    // The 20 pictures, but for those that 200 images hold too seldom.
    assert!(led.kept > 14 && led.kept <= 20, "{led:?}");
    assert!(led.grouped > 150, "{led:?}");
    assert_eq!((found.generated, found.n_calibration), (400, 40));
    for attack in &found.attacks {
        assert_eq!(counts(attack), [20, 20, 0, 20], "{attack:?}");
        assert!(attack.p_value < 1e-10, "{attack:?}");
    }
    // The classifier's gradients are no calls of the network.
    assert_eq!(found.cost.network_calls, 400 * 50);
    let said = lines(&found).join("\n");
    assert!(said.contains("200 of these images were led to"), "{said}");
    let read: Extraction = dualmd_record::read(&out.join("extraction.json")).unwrap();
    assert_eq!(read, found);

    // Looked at again, nothing is made. Led otherwise, the second half is made anew.
    let again = ExtractOptions {
        radius: None,
        ..asked.clone()
    };
    assert_eq!(extract(&again).unwrap().cost.generated_now, 0);
    let otherwise = ExtractOptions {
        side: Side {
            scale: 2.0,
            ..asked.side
        },
        ..asked.clone()
    };
    assert_eq!(extract(&otherwise).unwrap().cost.generated_now, 200);
    let whole = ExtractOptions {
        method: ExtractMethod::Generate,
        ..asked
    };
    let found = extract(&whole).unwrap();
    assert_eq!((found.cost.generated_now, found.led), (400, None));
    assert!(!out.join("led.parts").exists());
}

/// A classifier leads a Gaussian to what it draws often, members no more than others. A sound build fails at fewer than 5 % of seeds, and this
/// one is fixed.
#[test]
fn what_was_not_memorised_is_led_to_no_more_than_the_control() {
    let (pictures, model) = smooth();
    let dir = tempfile::tempdir().unwrap();
    let members = folder(&dir.path().join("members"), &pictures[..30]);
    let others = folder(&dir.path().join("others"), &pictures[30..]);
    let asked = ExtractOptions {
        radius: None,
        steps: 20,
        ..leading(&members, &others, &dir.path().join("out"))
    };
    let found = extract_denoiser(&session(), model, "a Gaussian", &asked).unwrap();
    no_more_than_the_control(&found);
}

/// Stopped among the images that the classifier leads to, a call goes on to the same bytes.
#[test]
fn a_call_that_was_stopped_while_a_classifier_led_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let members = folder(&dir.path().join("members"), &random("members", 8));
    let others = folder(&dir.path().join("others"), &random("others", 24));
    let asked = |name: &str| ExtractOptions {
        images: 160,
        batch: 20,
        steps: 10,
        side: Side {
            steps: 30,
            ..Side::default()
        },
        ..leading(&members, &others, &dir.path().join(name))
    };
    let extract = |session: &Session, name: &str| {
        extract_denoiser(session, memorised(&members), "it", &asked(name))
    };
    // The first half is there, and nothing of the second.
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Session {
        reporter: Arc::new(Stops(Arc::clone(&stop), 80)),
        stop,
        ..session()
    };
    let error = extract(&stopping, "broken").unwrap_err();
    assert!(stopped(&error), "{error:#}");
    let resumed = extract(&session(), "broken").unwrap();
    let whole = extract(&session(), "whole").unwrap();
    assert_eq!(resumed.led, whole.led);
    assert_eq!(resumed.cost.generated_now, 80);
    for part in ["generated.parts/0", "led.parts/0", "led.parts/60"] {
        let [a, b] = ["broken", "whole"].map(|folder| {
            let file = dir.path().join(folder).join(format!("{part}.safetensors"));
            std::fs::read(file).unwrap()
        });
        assert!(a == b, "{part}");
    }
}

/// Raises the flag once so many images are there.
struct Stops(Arc<AtomicBool>, u64);

impl Reporter for Stops {
    fn progress(&self, event: &ProgressEvent) {
        if event.step >= self.1 {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    fn finished(&self, _: &str, _: &str) {}
    fn say(&self, _: &str) {}
    fn warn(&self, _: &str) {}
}

#[test]
fn a_call_that_was_stopped_goes_on_to_the_same_bytes() {
    let (dir, members, others) = sides(&random("members", 12), &random("others", 24));
    let asked = |name: &str| ExtractOptions {
        images: 130,
        batch: 20,
        steps: 10,
        ..options(&members, &others, &dir.path().join(name))
    };
    let extract = |session: &Session, name: &str| {
        extract_denoiser(session, memorised(&members), "it", &asked(name))
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Session {
        reporter: Arc::new(Stops(Arc::clone(&stop), 40)),
        stop,
        ..session()
    };
    let error = extract(&stopping, "broken").unwrap_err();
    assert!(stopped(&error), "{error:#}");
    let broken = dir.path().join("broken");
    assert!(!broken.join("extraction.json").exists());
    let parts = |name: &str| -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(dir.path().join(name).join("generated.parts")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, std::fs::read(path).unwrap())
            })
            .collect();
        all.sort();
        all
    };
    assert_eq!(parts("broken").len(), 2);
    let resumed = extract(&session(), "broken").unwrap();
    let whole = extract(&session(), "whole").unwrap();
    assert_eq!(resumed.cost.generated_now, 90);
    assert_eq!(parts("broken"), parts("whole"));
    for name in ["extraction.csv", "gallery.png"] {
        let [a, b] = ["broken", "whole"]
            .map(|folder| std::fs::read(dir.path().join(folder).join(name)).unwrap());
        assert!(a == b, "{name}");
    }
    // What it cost in seconds is each call's own.
    let without_time = |found: Extraction| Extraction {
        cost: ExtractionCost::default(),
        attacks: found
            .attacks
            .iter()
            .map(|attack| ExtractionAttack {
                seconds_per_extracted: None,
                ..attack.clone()
            })
            .collect(),
        ..found
    };
    assert_eq!(without_time(resumed), without_time(whole));
    // Other images: those that are there are not taken.
    let other = ExtractOptions {
        seed: 1,
        ..asked("broken")
    };
    let other = extract_denoiser(&session(), memorised(&members), "it", &other).unwrap();
    assert_eq!(other.cost.generated_now, 130);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let pictures = random("members", 12);
    let (dir, members, others) = sides(&pictures, &random("others", 24));
    let few = folder(&dir.path().join("few"), &random("few", 3));
    let both = folder(&dir.path().join("both"), &pictures[3..]);
    let out = dir.path().join("out");
    let plain = options(&members, &others, &out);
    let said = |asked: ExtractOptions| {
        let error = extract_denoiser(&session(), memorised(&members), "it", &asked).unwrap_err();
        let text = format!("{error:#}");
        // What the files hold is a failure, what was typed a wrong argument.
        let of_files = text.contains("too few") || text.contains("the same image");
        let code = if of_files { 1 } else { 2 };
        assert_eq!(errors::exit_code(&error), code, "{text}");
        text
    };
    for (asked, says) in [
        (
            ExtractOptions {
                nonmembers: few,
                ..plain.clone()
            },
            "too few",
        ),
        (
            ExtractOptions {
                nonmembers: both,
                ..plain.clone()
            },
            "the same image",
        ),
        (
            ExtractOptions {
                images: 2,
                ..plain.clone()
            },
            "--images 2: a candidate needs 2 others near it",
        ),
        (
            ExtractOptions {
                images: 50,
                clique: Some(50),
                ..plain.clone()
            },
            "generate at least 51 images",
        ),
        (
            ExtractOptions {
                clique: Some(0),
                ..plain.clone()
            },
            "--clique, at least 1",
        ),
        (
            ExtractOptions {
                features: Features::None,
                ..plain.clone()
            },
            "nothing to compare by",
        ),
        (
            ExtractOptions {
                features: Features::Sscd,
                ..restoring(&members, &others, &out)
            },
            "--features sscd: --method inpaint compares the pixels",
        ),
        (
            ExtractOptions {
                per_prompt: 2,
                ..restoring(&members, &others, &out)
            },
            "--per-prompt 2: a candidate needs 2 others near it",
        ),
        (
            searching(&members, &others, &out),
            "--method search looks for what a text-to-image model is to be told",
        ),
    ] {
        let error = said(asked);
        assert!(error.contains(says), "{error}");
    }
    let left = std::fs::read_dir(&out).into_iter().flatten();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == ".lock"), "{left:?}");
}

/// A model that is told "image 7": it draws the picture that it learnt with this caption, or any of a set that no side has.
#[derive(Debug)]
struct Told {
    known: Vec<MemorisedDenoiser>,
    elsewhere: MemorisedDenoiser,
    schedule: NoiseSchedule,
}

impl Told {
    fn new(known: &[Vec<u8>], elsewhere: &[Vec<u8>]) -> Self {
        let schedule = NoiseSchedule::default();
        let oracle = |pictures: &[Vec<u8>]| {
            let values = pictures.concat();
            let values: Vec<f32> = values.iter().map(|&v| f32::from(v) / 127.5 - 1.0).collect();
            let side = i64::from(SIDE);
            let images = Tensor::from_slice(&values).view([-1, 1, side, side]);
            MemorisedDenoiser::new(&images, schedule.clone()).unwrap()
        };
        Self {
            known: known
                .iter()
                .map(|one| oracle(std::slice::from_ref(one)))
                .collect(),
            elsewhere: oracle(elsewhere),
            schedule: schedule.clone(),
        }
    }
}

impl Denoiser for Told {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        let told = condition.unwrap().texts()?;
        let one = |i: i64| {
            let number = told.double_value(&[i, 0, 0]);
            let known = (number >= 0.0).then(|| self.known.get(number as usize));
            let oracle = known.flatten().unwrap_or(&self.elsewhere);
            oracle.predict_noise(&x_t.narrow(0, i, 1), &t.narrow(0, i, 1), None)
        };
        let parts = (0..x_t.size()[0]).map(one);
        let parts = parts.collect::<dualmd_diffusion::Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&parts, 0)?)
    }
}

impl Foreign for Told {
    fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }
    fn is_told(&self) -> bool {
        true
    }
    fn text_embeddings(&self, texts: &[&str]) -> dualmd_diffusion::Result<Tensor> {
        let number = |text: &&str| {
            text.strip_prefix("image ")
                .map_or(-1.0, |n| n.parse().unwrap())
        };
        let numbers: Vec<f32> = texts.iter().map(number).collect();
        Ok(Tensor::from_slice(&numbers).view([-1, 1, 1]))
    }
    fn sample_shape(&self) -> [i64; 3] {
        [1, i64::from(SIDE), i64::from(SIDE)]
    }
    fn clip(&self) -> Option<f64> {
        Some(1.0)
    }
    fn describe(&self) -> serde_json::Value {
        serde_json::Value::from_iter([("name", "told")])
    }
}

/// Adds captions "image N" to a folder, N from `first` on.
fn caption(place: &str, first: usize, n: usize) {
    let line = |i: usize| {
        format!(
            "{{\"file_name\": \"{i}.png\", \"text\": \"image {}\"}}\n",
            first + i
        )
    };
    let text: String = (0..n).map(line).collect();
    std::fs::write(Path::new(place).join("metadata.jsonl"), text).unwrap();
}

#[test]
fn captions_extract_the_images_that_were_learnt_with_them() {
    let pictures = random("members", 10);
    let (dir, members, others) = sides(&pictures, &random("others", 24));
    caption(&members, 0, 10);
    caption(&others, 100, 24);
    // Nine of ten were learnt.
    let model = Told::new(&pictures[..9], &random("elsewhere", 50));
    let out = dir.path().join("out");
    let asked = ExtractOptions {
        per_prompt: 4,
        steps: 10,
        guidance: 1.0,
        ..options(&members, &others, &out)
    };
    let found = extract_denoiser(&session(), model, "told", &asked).unwrap();
    let prompted = found.prompted.as_ref().unwrap();
    // Ten captions of each: members, calibration, control.
    assert_eq!((prompted.captions, prompted.per_prompt), (30, 4));
    assert_eq!((found.generated, found.cost.network_calls), (120, 1200));
    assert_eq!((found.n, found.n_calibration, found.clique), (10, 10, 2));
    for attack in &found.attacks {
        assert_eq!(counts(attack), [9, 10, 0, 10], "{attack:?}");
        assert_eq!(attack.all_members, None);
        let Extracted {
            share, share_ci, ..
        } = attack.members;
        assert!(share == 0.9 && share_ci[0] > 0.55 && share_ci[1] < 1.0);
    }
    // No more captions than asked for.
    let few = ExtractOptions {
        captions: 3,
        ..asked.clone()
    };
    let model = || Told::new(&pictures[..9], &random("elsewhere", 50));
    let found = extract_denoiser(&session(), model(), "told", &few).unwrap();
    assert_eq!((found.n, found.generated), (3, 36));
    // Fewer images for a caption than make a candidate.
    let too_few = ExtractOptions {
        per_prompt: 2,
        ..asked
    };
    let error = extract_denoiser(&session(), model(), "told", &too_few).unwrap_err();
    assert!(error.to_string().contains("--per-prompt 2"), "{error:#}");
}

/// Draws one of the images that it knows, and which one nobody has a word for: every caption tells it nothing. Its text is a number for each
/// image, four times which is added to the image's logit.
#[derive(Debug)]
struct Keyed {
    images: Tensor,
    schedule: NoiseSchedule,
}

impl Denoiser for Keyed {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        let (a, b) = self.schedule.coefficients(t);
        let [a, b] = [a, b].map(|c| c.to_kind(Kind::Double).view([-1, 1]));
        let x = x_t.to_kind(Kind::Double).flatten(1, -1);
        let squares = &self.images * &self.images;
        let norms = squares.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        let logits =
            (x.matmul(&self.images.tr()) * &a - norms.unsqueeze(0) * (&a * &a) * 0.5) / (&b * &b);
        let told = condition.unwrap().texts()?.to_kind(Kind::Double);
        let told = told.flatten(1, -1) * 4.0;
        let mean = (logits + told)
            .softmax(1, Kind::Double)
            .matmul(&self.images);
        Ok(((x - mean * a) / b).view_as(x_t).to_kind(Kind::Float))
    }
}

impl Foreign for Keyed {
    fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }
    fn is_told(&self) -> bool {
        true
    }
    fn text_embeddings(&self, texts: &[&str]) -> dualmd_diffusion::Result<Tensor> {
        let size = [texts.len() as i64, 1, self.images.size()[0]];
        Ok(Tensor::zeros(size, (Kind::Float, Device::Cpu)))
    }
    fn sample_shape(&self) -> [i64; 3] {
        [1, i64::from(SIDE), i64::from(SIDE)]
    }
    fn clip(&self) -> Option<f64> {
        Some(1.0)
    }
    fn describe(&self) -> serde_json::Value {
        serde_json::Value::from_iter([("name", "keyed")])
    }
}

/// Draws the image that it is told, value by value: it knows none, and can be told any.
#[derive(Debug)]
struct Obeys(NoiseSchedule);

impl Denoiser for Obeys {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        let (a, b) = self.0.coefficients(t);
        Ok((x_t - condition.unwrap().texts()?.view_as(x_t) * a) / b)
    }
}

impl Foreign for Obeys {
    fn schedule(&self) -> &NoiseSchedule {
        &self.0
    }
    fn is_told(&self) -> bool {
        true
    }
    fn text_embeddings(&self, texts: &[&str]) -> dualmd_diffusion::Result<Tensor> {
        let size = [texts.len() as i64, 1, i64::from(SIDE * SIDE)];
        Ok(Tensor::zeros(size, (Kind::Float, Device::Cpu)))
    }
    fn sample_shape(&self) -> [i64; 3] {
        [1, i64::from(SIDE), i64::from(SIDE)]
    }
    fn clip(&self) -> Option<f64> {
        Some(1.0)
    }
    fn describe(&self) -> serde_json::Value {
        serde_json::Value::from_iter([("name", "obeys")])
    }
}

/// Four images for each embedding that was searched for.
fn searching(members: &str, others: &str, out: &Path) -> ExtractOptions {
    ExtractOptions {
        method: ExtractMethod::Search,
        per_prompt: 4,
        steps: 10,
        guidance: 1.0,
        ..options(members, others, out)
    }
}

#[test]
fn what_no_caption_calls_up_is_found_by_a_search_and_no_control() {
    let pictures = random("members", 10);
    let (dir, members, others) = sides(&pictures, &random("others", 24));
    caption(&members, 0, 10);
    caption(&others, 100, 24);
    let model = || {
        let known = tensor_of_all(&load(&members, &LoadOptions::default()).unwrap());
        Keyed {
            images: known.to_kind(Kind::Double).flatten(1, -1),
            schedule: NoiseSchedule::default(),
        }
    };
    let out = dir.path().join("out");
    let asked = searching(&members, &others, &out);
    let found = extract_denoiser(&session(), model(), "keyed", &asked).unwrap();
    let searched = found.searched.as_ref().unwrap();
    assert_eq!(
        (searched.images, searched.steps, searched.draws),
        (30, 50, 4)
    );
    // Four images in ten steps of each, after 50 updates with four draws.
    assert_eq!(found.cost.network_calls, 30 * (4 * 10 + 50 * 4));
    for attack in &found.attacks {
        assert_eq!(counts(attack), [10, 10, 0, 10], "{attack:?}");
    }
    let said = lines(&found).join("\n");
    assert!(said.contains("searched in 50 steps of 4 draws"), "{said}");
    // Embeddings are kept: one that lost an image makes the same again.
    let part = out.join("generated.parts/0.safetensors");
    let before = std::fs::read(&part).unwrap();
    std::fs::remove_file(&part).unwrap();
    let again = extract_denoiser(&session(), model(), "keyed", &asked).unwrap();
    assert_eq!(again.cost.generated_now, 50);
    assert!(std::fs::read(&part).unwrap() == before);

    // Captions alone call up any of the ten.
    let plain = ExtractOptions {
        method: ExtractMethod::Generate,
        ..asked
    };
    let found = extract_denoiser(&session(), model(), "keyed", &plain).unwrap();
    assert_eq!(found.searched, None);
    assert!(found.attacks[1].members.extracted < 10, "{found:?}");
}

#[test]
fn a_model_that_is_told_something_is_not_led() {
    let dir = tempfile::tempdir().unwrap();
    let members = folder(&dir.path().join("members"), &random("members", 12));
    let others = folder(&dir.path().join("others"), &random("others", 40));
    caption(&members, 0, 12);
    caption(&others, 100, 40);
    let model = Obeys(NoiseSchedule::default());
    let asked = leading(&members, &others, &dir.path().join("out"));
    let error = extract_denoiser(&session(), model, "obeys", &asked).unwrap_err();
    assert_eq!(errors::exit_code(&error), 2, "{error:#}");
    assert!(error.to_string().contains("told nothing"), "{error:#}");
}

/// An embedding can tell this model any image. So every held-out image is found, too, and the thresholds say that it means nothing. (The
/// p-value falls below 1 % at fewer than 1 % of seeds, and this one is fixed.)
#[test]
fn a_model_that_can_be_told_any_image_gives_none_away() {
    let (dir, members, others) = sides(&random("members", 12), &random("others", 40));
    caption(&members, 0, 12);
    caption(&others, 100, 40);
    let model = Obeys(NoiseSchedule::default());
    let asked = searching(&members, &others, &dir.path().join("out"));
    let found = extract_denoiser(&session(), model, "obeys", &asked).unwrap();
    for attack in &found.attacks {
        assert!(attack.threshold < 1.0, "{attack:?}");
        assert!(attack.p_value > 0.01, "{attack:?}");
    }
}

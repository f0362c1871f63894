//! The PRV accountant against Google's dp-accounting, and at the ends of its range.

use dualmd_stats::privacy::{prv, rdp};

/// (sigma, q, steps, delta, epsilon, relative change of epsilon at twice the mesh), written by `golden/privacy.py`.
type Row = (f64, f64, u64, f64, f64, f64);

#[test]
fn epsilon_agrees_with_dp_accounting() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("golden/privacy.json")).unwrap();
    assert_eq!(rows.len(), 108);
    let (mut worst, mut slowest): (f64, f64) = (0.0, 0.0);
    for (sigma, q, steps, delta, expected, moved) in rows {
        let clock = std::time::Instant::now();
        let got = prv::epsilon(steps, q, sigma, delta).unwrap();
        slowest = slowest.max(clock.elapsed().as_secs_f64());
        let about =
            format!("sigma {sigma}, q {q}, {steps} steps, delta {delta}: {got:?} for {expected}");
        println!("{about} {:.3} s", clock.elapsed().as_secs_f64());
        // Where dp-accounting's own mesh still moves its value, that much is allowed.
        let off = (got.estimate - expected).abs() / expected.max(1e-9);
        worst = worst.max(if moved < 1e-3 { off } else { 0.0 });
        assert!(off < 0.002 + 2.0 * moved, "{about}");
        // A pessimistic value lies above the truth, which lies above the lower bound.
        assert!(got.lower <= expected + 1e-9, "{about}");
        assert!(
            got.lower <= got.estimate && got.estimate <= got.upper,
            "{about}"
        );
        // And the truth, 2 moved below it at most, lies under the upper bound.
        assert!(
            got.upper >= expected * (1.0 - 2.0 * moved - 1e-6),
            "{about}"
        );
        let by_rdp = rdp::epsilon(steps, q, sigma, delta).unwrap();
        assert!(
            got.lower <= by_rdp * (1.0 + 1e-9),
            "{about}, by RDP {by_rdp}"
        );
    }
    println!("largest relative difference {worst:.2e}, slowest call {slowest:.2} s");
}

/// Little noise, much of it, few and many steps, tiny delta: bounds around the estimate, or words.
#[test]
fn the_ends_of_the_range() {
    for sigma in [0.01, 0.1, 100.0, 1e6] {
        for q in [1e-9, 1e-3, 0.999] {
            for steps in [1, 1000, 10_000_000] {
                for delta in [1e-12, 1e-5, 0.5] {
                    let clock = std::time::Instant::now();
                    let about = format!("sigma {sigma}, q {q}, {steps} steps, delta {delta}");
                    match prv::epsilon(steps, q, sigma, delta) {
                        Ok(e) => {
                            println!("{about}: {e:?} {:.3} s", clock.elapsed().as_secs_f64());
                            assert!(
                                e.lower <= e.estimate && e.estimate <= e.upper,
                                "{about}: {e:?}"
                            );
                            assert!(e.lower >= 0.0 && e.upper.is_finite(), "{about}: {e:?}");
                            let by_rdp = rdp::epsilon(steps, q, sigma, delta).unwrap();
                            assert!(
                                e.lower <= by_rdp * (1.0 + 1e-9),
                                "{about}: {e:?}, by RDP {by_rdp}"
                            );
                        }
                        Err(error) => println!("{about}: {error}"),
                    }
                }
            }
        }
    }
}

mod needs_python {
    use super::*;
    use std::process::Command;

    /// Trainings of this program's kind - few and many images, large and small epsilon - at the noise that RDP's accountant
    /// chooses for them: PRV's epsilon is within 1 % of what dp-accounting says at the time of the test, and below RDP's.
    #[test]
    #[ignore = "needs Python with dp-accounting: `cargo xtask test --interop`"]
    fn epsilon_agrees_with_dp_accounting_of_today() {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let mut settings = Vec::new();
        for (batch, images, steps, delta) in [
            (64, 256, 4_000, 1e-4),
            (256, 1_000, 2_000, 1e-5),
            (2_048, 50_000, 10_000, 1e-6),
        ] {
            let q = f64::from(batch) / f64::from(images);
            for target in [1.0, 8.0, 50.0] {
                let sigma = rdp::noise_multiplier_for(target, delta, steps, q).unwrap();
                settings.push((sigma, q, steps, delta, target));
            }
        }
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../interop/check_privacy.py"
        );
        let asked = settings
            .iter()
            .map(|(sigma, q, steps, delta, _)| format!("{sigma},{q},{steps},{delta}"));
        let output = Command::new(python)
            .arg(script)
            .args(asked)
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .expect("Python starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let theirs: Vec<f64> = said.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(theirs.len(), settings.len(), "{said}");
        for ((sigma, q, steps, delta, target), theirs) in settings.into_iter().zip(theirs) {
            let ours = prv::epsilon(steps, q, sigma, delta).unwrap();
            let off = (ours.estimate - theirs).abs() / theirs;
            println!(
                "RDP {target}: sigma {sigma:.4}, q {q}, {steps} steps, delta {delta}: {ours:?}, dp-accounting {theirs}, off by {off:.1e}"
            );
            assert!(off < 0.01, "{ours:?} instead of {theirs}");
            assert!(ours.upper < target, "{ours:?} above RDP's {target}");
        }
    }
}

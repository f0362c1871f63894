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

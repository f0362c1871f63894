//! `cargo xtask bench --check`: a training step against PyTorch's plain loop, in turns, and a failure where it lags behind what is stored.
//!
//! `bench/check.py` measures: each round has one ratio, PyTorch's time of a step through dualmd's. Both sides of a ratio are taken within
//! seconds of each other, so that it drifts less than times do. The stored ratios are of rounds of the same kind, some for each class of
//! machines: those that multiply bf16 natively are measured in it, the others in f32.
//!
//! The rule is a precedence test (Nelson 1963): a check fails where at least [`SLOWER`] of its [`ROUNDS`] ratios lie under the median of the
//! stored ones, after a margin. Nothing is assumed of how ratios are distributed, and the stored median may be off as a median of so many
//! rounds is. What is assumed: an unchanged program's rounds are exchangeable with the stored ones. Where that holds, [`false_alarm`] is the
//! most often that the check fails by chance; the margin, which it leaves out, makes it rarer.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::Usage;
use crate::engine::{self, Choice};
use crate::interop;
use crate::workspace::{self, Workspace};

/// The stored ratios.
const FILE: &str = "bench/ratios.json";

/// Rounds of a check: about a minute.
const ROUNDS: usize = 11;

/// Rounds that `--write` stores. An odd number, so that one of them is the median.
const STORED: usize = 33;

/// A check fails where so many of its rounds are slower than what is stored.
const SLOWER: usize = 10;

/// A round is slower where its ratio lies under the stored median by more than this share: other processors of the same class and other
/// minutes of the same machine differ by that much.
const MARGIN: f64 = 0.05;

/// What `bench/check.py` prints.
#[derive(Debug, Deserialize)]
struct Measured {
    dtype: String,
    ratios: Vec<f64>,
}

/// The ratios of a class of machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    /// PyTorch's version is the same.
    libtorch: String,
    /// Of [`STORED`] rounds, in their order.
    ratios: Vec<f64>,
}

/// By number format: `bf16` of machines that multiply it natively, `f32` of the others.
type Classes = BTreeMap<String, Stored>;

/// Measures, and compares with the stored ratios, or with `--write` stores them.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let write = match args {
        [] => false,
        [flag] if flag == "--write" => true,
        _ => bail!(Usage("bench --check takes --write or nothing".into())),
    };
    let engine = engine::ensure(workspace, Choice::Keep)?;
    let python = interop::ensure(workspace)?;
    workspace.build_release(&engine, &[])?;
    let file = workspace.root.join(FILE);
    let mut classes = match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str::<Classes>(&text).context(FILE)?,
        Err(_) if write => Classes::new(),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot read {FILE}: --write stores first ratios"));
        }
    };
    let rounds = if write { STORED } else { ROUNDS };
    let mut command = Command::new(python);
    command
        .arg(workspace.root.join("bench/check.py"))
        .arg("--dualmd")
        .arg(workspace.program())
        .args(["--rounds", &rounds.to_string()])
        .stderr(Stdio::inherit());
    let printed = workspace::output(command)?;
    let last = printed.lines().next_back().unwrap_or_default();
    let measured: Measured =
        serde_json::from_str(last).context("bench/check.py printed no ratios")?;
    ensure!(
        measured.ratios.len() == rounds,
        "bench/check.py was asked for {rounds} rounds and measured {}",
        measured.ratios.len()
    );
    if write {
        let stored = Stored {
            libtorch: engine.version,
            ratios: measured.ratios,
        };
        eprintln!("{}: stored, {}", measured.dtype, described(&stored.ratios)?);
        classes.insert(measured.dtype, stored);
        let text = serde_json::to_string_pretty(&classes)?;
        return fs::write(&file, format!("{text}\n"))
            .with_context(|| format!("cannot write {}", file.display()));
    }
    let dtype = &measured.dtype;
    let stored = classes.get(dtype).with_context(|| {
        format!("{FILE} has nothing of machines like this one ({dtype}): --write stores it")
    })?;
    eprintln!(
        "{dtype}: {}",
        verdict(stored, &measured.ratios, &engine.version)?
    );
    Ok(())
}

/// What is said of a check's ratios; a failure where too many are slower than what is stored.
fn verdict(stored: &Stored, ratios: &[f64], libtorch: &str) -> Result<String> {
    if stored.libtorch != libtorch {
        bail!(
            "{FILE} is of libtorch {}, and this is {libtorch}: --write stores the ratios of today",
            stored.libtorch
        );
    }
    let known = stored.ratios.len();
    ensure!(
        known % 2 == 1,
        "{FILE} has {known} ratios, an even number, so that none is the median: --write stores {STORED}"
    );
    let least = (1.0 - MARGIN) * median(&stored.ratios)?;
    let slower = ratios.iter().filter(|ratio| **ratio < least).count();
    let said = format!(
        "{}; stored {}; {slower} of {} rounds lie under {least:.3}, {:.0} % below the stored median",
        described(ratios)?,
        described(&stored.ratios)?,
        ratios.len(),
        100.0 * MARGIN
    );
    let chance = false_alarm(known, ratios.len(), SLOWER);
    if slower >= SLOWER {
        bail!(
            "{said}: the step has become slower beside PyTorch's (without a change at most {:.1} % of checks come to this); \
             --write stores the ratios where it is meant",
            100.0 * chance
        );
    }
    Ok(format!(
        "{said}; {SLOWER} would be a failure, which without a change at most {:.1} % of checks are",
        100.0 * chance
    ))
}

/// The chance that at least `slower` of `rounds` ratios lie under the median of `stored` others, where all orders of them are equally
/// likely and none are equal. `stored` is odd, `slower` from 1 to `rounds`.
///
/// That is the chance that fewer than (stored + 1) / 2 stored ones lie under the `slower`-th smallest of the new ones. The orders with i of
/// them under it are those of i stored and `slower` - 1 new ones before it, times those of the others behind it.
fn false_alarm(stored: usize, rounds: usize, slower: usize) -> f64 {
    let orders: f64 = (0..stored.div_ceil(2))
        .map(|i| choose(slower - 1 + i, i) * choose(rounds - slower + stored - i, stored - i))
        .sum();
    orders / choose(rounds + stored, stored)
}

/// Binomial coefficient; exact below 2^53.
fn choose(n: usize, k: usize) -> f64 {
    // Each product is a binomial coefficient times its next factor, so that each division comes out even.
    (1..=k).fold(1.0, |c, i| c * (n - k + i) as f64 / i as f64)
}

fn sorted(ratios: &[f64]) -> Result<Vec<f64>> {
    ensure!(
        !ratios.is_empty() && ratios.iter().all(|r| r.is_finite() && *r > 0.0),
        "{ratios:?}: ratios are finite and above 0, and there is at least one"
    );
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(sorted)
}

/// The middle one, or of an even number the smaller of the two.
fn median(ratios: &[f64]) -> Result<f64> {
    let sorted = sorted(ratios)?;
    Ok(sorted[(sorted.len() - 1) / 2])
}

fn described(ratios: &[f64]) -> Result<String> {
    let sorted = sorted(ratios)?;
    Ok(format!(
        "median {:.3} of {} rounds ({:.3} to {:.3})",
        median(ratios)?,
        sorted.len(),
        sorted[0],
        sorted[sorted.len() - 1]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All orders of the two kinds, written down: bit i says whether the i-th smallest is a stored one.
    fn counted(stored: u32, rounds: u32, slower: u32) -> f64 {
        let (mut all, mut failing) = (0, 0);
        for order in 0u32..1 << (stored + rounds) {
            if order.count_ones() != stored {
                continue;
            }
            all += 1;
            let (mut before, mut new) = (0, 0);
            for bit in 0..stored + rounds {
                if (order >> bit) & 1 == 1 {
                    before += 1;
                    if before == stored.div_ceil(2) {
                        break;
                    }
                } else {
                    new += 1;
                }
            }
            failing += i32::from(new >= slower);
        }
        f64::from(failing) / f64::from(all)
    }

    #[test]
    fn the_chance_of_a_false_alarm_is_that_of_all_orders() {
        for (stored, rounds, slower) in [(1, 1, 1), (3, 5, 4), (5, 5, 5), (7, 6, 4), (9, 4, 1)] {
            let formula = false_alarm(stored as usize, rounds as usize, slower as usize);
            let orders = counted(stored, rounds, slower);
            assert!(
                (formula - orders).abs() < 1e-12,
                "{stored} {rounds} {slower}: {formula}, counted {orders}"
            );
        }
        // 1/2 of one beside one, and what docs/results/performance.md says.
        assert_eq!(false_alarm(1, 1, 1), 0.5);
        let stated = false_alarm(STORED, ROUNDS, SLOWER);
        assert!((0.0134..0.0135).contains(&stated), "{stated}");
        assert_eq!((choose(44, 33), choose(5, 0)), (7_669_339_132.0, 1.0));
    }

    fn stored() -> Stored {
        // 1.04 to 1.36; the median is 1.20, and what is under 1.14 is slower.
        Stored {
            libtorch: "2.13.0".into(),
            ratios: (0..STORED).map(|i| 1.04 + 0.01 * i as f64).collect(),
        }
    }

    #[test]
    fn most_rounds_must_be_slower_by_more_than_the_margin() {
        let rounds = |slow: usize, by: f64| {
            let mut ratios = vec![1.21; ROUNDS];
            ratios[..slow].fill(by);
            verdict(&stored(), &ratios, "2.13.0")
        };
        assert!(rounds(0, 1.0).unwrap().contains("0 of 11"));
        assert!(rounds(SLOWER - 1, 0.5).is_ok());
        let said = rounds(SLOWER, 1.13).unwrap_err().to_string();
        assert!(
            said.contains("10 of 11") && said.contains("1.3 %"),
            "{said}"
        );
        // Within the margin, however many.
        assert!(rounds(ROUNDS, 1.15).is_ok());
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let ratios = [1.2; ROUNDS];
        let said =
            |stored: &Stored, libtorch| verdict(stored, &ratios, libtorch).unwrap_err().to_string();
        assert!(said(&stored(), "2.14.0").contains("2.13.0"));
        let mut even = stored();
        even.ratios.pop();
        assert!(said(&even, "2.13.0").contains("even"));
        let mut broken = stored();
        broken.ratios[3] = 0.0;
        assert!(said(&broken, "2.13.0").contains("above 0"));
        assert!(verdict(&stored(), &[], "2.13.0").is_err());
    }

    #[test]
    fn a_file_holds_every_class_of_machines() {
        let classes: Classes = [("bf16".to_owned(), stored()), ("f32".to_owned(), stored())].into();
        let text = serde_json::to_string_pretty(&classes).unwrap();
        let read: Classes = serde_json::from_str(&text).unwrap();
        assert_eq!(read, classes);
        // What the script prints.
        let measured: Measured =
            serde_json::from_str(r#"{"dtype": "bf16", "ratios": [1.25, 1.5]}"#).unwrap();
        assert_eq!(
            (measured.dtype.as_str(), measured.ratios),
            ("bf16", vec![1.25, 1.5])
        );
    }
}

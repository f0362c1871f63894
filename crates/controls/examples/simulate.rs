//! Simulated audits on the bundled images, as in docs/results/trust.md:
//!
//! ```text
//! cargo run --release -p dualmd-controls --example simulate [AUDITS]
//! ```
//!
//! 200 audits take about 40 seconds a row. Ends with an error if more than 5 % of clean audits are called different, or fewer than 95 % of
//! those with a planted difference are void.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Kind, Pool};
use dualmd_controls::BlindBaseline;

/// Where the whole interval of the most telling family lies above this, a report says on top that it is void
/// (`dualmd_audit`'s rule).
const VOID_ABOVE: f64 = 0.55;

fn most_telling(found: &BlindBaseline) -> f64 {
    let telling = found.families.iter().filter(|f| f.telling);
    telling
        .max_by(|a, b| a.auc.total_cmp(&b.auc))
        .map_or(0.0, |f| f.auc_ci[0])
}

fn main() -> Result<(), String> {
    let audits: usize = match std::env::args().nth(1) {
        Some(text) => text
            .parse()
            .map_err(|_| format!("{text}: give the number of audits per row, such as 200"))?,
        None => 200,
    };
    let mut wrong = Vec::new();
    for set in ["fashion", "emoji"] {
        let pool = Pool::load(set);
        for kind in [
            Kind::Clean,
            Kind::Jpeg(90),
            Kind::Brighter(8),
            Kind::Resize(32),
            Kind::Mix(50),
            Kind::Mix(90),
        ] {
            // The first caption of an emoji is no class: nearly each has its own.
            if set == "emoji" && matches!(kind, Kind::Mix(_)) {
                continue;
            }
            let altered = pool.altered(kind);
            let (mut voids, mut banners) = (0, 0);
            for seed in 0..audits as u64 {
                let found = pool.audit(&altered, kind, 100, 200, seed);
                voids += usize::from(found.void);
                banners += usize::from(found.void && most_telling(&found) > VOID_ABOVE);
            }
            let row = format!(
                "{set}, {kind:?}: {voids} of {audits} called different, {banners} enough to void a report"
            );
            println!("{row}");
            let right = match kind {
                Kind::Clean => 20 * voids <= audits,
                // Half of every other class left out is too mild a shift to be found among so few: no promise is made.
                Kind::Mix(50) => true,
                _ => 20 * banners >= 19 * audits,
            };
            if !right {
                wrong.push(row);
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}

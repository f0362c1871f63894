//! What this machine can do, and what dualmd makes of it: peak rates of matrix products, single convolutions of the presets' networks in both
//! memory layouts, memory bandwidth, and where the time of training steps, attacks and sampling goes.
//!
//! `cargo xtask bench roofline`, or `cargo run --release -p dualmd --example roofline -- [--json FILE] [NETWORK...]`: `tiny` and `small`
//! are taken apart where no network is named; `ddpm-cifar10` takes some minutes more. Prints Markdown; run it on a machine that does
//! nothing else.
//!
//! * [`rates`]: what the machine does, on one thread and on all: the fastest of some calls.
//! * [`network`]: what a network needs, counted from the shapes of its weights.
//! * [`groups`]: what an operation is for.
//! * [`shares`]: where the time goes, as libtorch tells it ([`dualmd_torch::profile`]), on one thread.
//! * [`page`]: the tables.

#[path = "../../../defense/examples/common/mod.rs"]
mod common;
mod groups;
mod network;
mod page;
mod rates;
mod shares;

use common::Outcome;
use dualmd_diffusion::{UNet2d, preset::preset};
use dualmd_torch::device::{self, Precision};
use dualmd_torch::{Device, LIBTORCH_VERSION};
use network::Work;
use serde::Serialize;

/// Channels of the images.
const CHANNELS: i64 = 3;

/// A preset, the side of its images, and the images of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    name: &'static str,
    side: i64,
    batch: i64,
}

/// With the batches of `cargo xtask bench`.
const CASES: [Case; 3] = [
    Case {
        name: "tiny",
        side: 16,
        batch: 64,
    },
    Case {
        name: "small",
        side: 32,
        batch: 32,
    },
    Case {
        name: "ddpm-cifar10",
        side: 32,
        batch: 16,
    },
];

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    libtorch: &'static str,
    machine: Vec<rates::Machine>,
    convolutions: Vec<rates::Row>,
    taken: Vec<shares::Taken>,
}

fn main() -> Outcome<()> {
    let (mut json, mut named) = (None, Vec::new());
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        if word == "--json" {
            json = Some(given.next().ok_or("--json wants a file")?);
            continue;
        }
        let case = CASES.into_iter().find(|case| case.name == word);
        named.push(case.ok_or_else(|| format!("no such network here: {word}"))?);
    }
    if named.is_empty() {
        named.extend([CASES[0], CASES[1]]);
    }
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut threads = vec![1, all];
    threads.dedup();
    let mut report = Report {
        libtorch: LIBTORCH_VERSION,
        machine: Vec::new(),
        convolutions: Vec::new(),
        taken: Vec::new(),
    };
    for &threads in &threads {
        device::set_threads(threads);
        eprintln!("rates of {threads} threads");
        report.machine.push(rates::machine(threads)?);
        for case in CASES {
            let work = work(case)?;
            for precision in precisions() {
                let rows = rates::convolutions((case, threads), &work, precision)?;
                report.convolutions.extend(rows);
            }
        }
    }
    device::set_threads(1);
    for case in named {
        let work = work(case)?;
        for precision in precisions() {
            eprintln!("{} in {}", case.name, precision.name());
            for of in [shares::step, shares::suite, shares::sampling] {
                report.taken.push(of(case, precision, &work)?);
            }
        }
    }
    print!("{}", page::of(&report));
    if let Some(file) = json {
        std::fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")
            .map_err(|error| format!("cannot write {file}: {error}"))?;
    }
    Ok(())
}

/// f32, and bf16 where the processor multiplies it natively: elsewhere it is emulated, and nobody computes in it.
fn precisions() -> Vec<Precision> {
    let mut all = vec![Precision::F32];
    if device::cpu_has_bf16() {
        all.push(Precision::Bf16);
    }
    all
}

/// A fresh network of the preset.
fn fresh(case: Case) -> Outcome<UNet2d> {
    let config = preset(case.name, CHANNELS, case.side)?;
    Ok(UNet2d::fresh(&config, 1, Device::Cpu)?)
}

fn work(case: Case) -> Outcome<Work> {
    let network = fresh(case)?;
    let shapes = network.parameters().named();
    let shapes = shapes.map(|(name, weight)| (name.to_owned(), weight.size()));
    let levels = network.config().block_out_channels.len();
    Ok(Work::of(shapes, levels, case.side)?)
}

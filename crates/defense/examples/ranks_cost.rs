//! What ranks cost and gain on this machine: seconds per step of one process with one and with two threads, and of two ranks of one
//! thread each, in turns, with the share of the time in which a rank waits for the other or sends.
//!
//! `cargo run --release -p dualmd-defense --example ranks_cost -- [PRESET [STEPS [ROUNDS]]]`: `small` on 32 x 32 colour images, 10
//! steps, 5 rounds where nothing is given. Run it on a machine that does nothing else.

mod common;

use common::{Outcome, run, trainer};
use dualmd_data::stream;
use dualmd_defense::{Plain, TrainOptions};
use dualmd_torch::ranks::{self, Group, Place};
use dualmd_torch::{Device, noise, tch};
use std::cell::{Cell, RefCell};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

const IMAGES: usize = 256;
const BATCH: usize = 32;
/// Of each process, not counted: the first steps pay for what libtorch sets up once.
const FIRST: u64 = 3;
/// Ranks and threads of each.
const CASES: [(usize, usize); 3] = [(1, 1), (1, 2), (2, 1)];
const CHILD: &str = "DUALMD_RANKS_COST_THREADS";

fn main() -> Outcome<()> {
    let mut given = std::env::args().skip(1);
    let name = given.next().unwrap_or_else(|| "small".into());
    let steps: u64 = given.next().map_or(Ok(10), |n| n.parse())?;
    let rounds: usize = given.next().map_or(Ok(5), |n| n.parse())?;
    if let Ok(threads) = std::env::var(CHILD) {
        return measure(&name, steps, threads.parse()?);
    }
    println!(
        "{name}, {BATCH} images of 32 x 32 x 3 per step, {steps} steps, {rounds} rounds in turns; median (least to most)"
    );
    let mut found = [const { Vec::new() }; CASES.len()];
    for _ in 0..rounds {
        for (case, found) in CASES.into_iter().zip(&mut found) {
            found.push(launch(&name, steps, case)?);
        }
    }
    for ((ranks, threads), mut found) in CASES.into_iter().zip(found) {
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (seconds, waits) = found[found.len() / 2];
        println!(
            "{ranks} process(es) x {threads} thread(s): {:.0} ms per step ({:.0} to {:.0}), {:.1} % of it waiting for the other \
             rank or sending",
            1e3 * seconds,
            1e3 * found[0].0,
            1e3 * found[found.len() - 1].0,
            100.0 * waits / seconds
        );
    }
    Ok(())
}

/// Seconds per step of these ranks, and how many of them rank 0 waits and sends.
fn launch(name: &str, steps: u64, (world, threads): (usize, usize)) -> Outcome<(f64, f64)> {
    let port = ranks::free_port()?;
    let start = |rank: usize| {
        let mut command = Command::new(std::env::current_exe()?);
        match world {
            1 => ranks::alone(&mut command),
            _ => ranks::local(&mut command, rank, world, port),
        }
        command
            .args([name, &steps.to_string()])
            .env(CHILD, threads.to_string())
            .env("OMP_NUM_THREADS", threads.to_string())
            .env("OMP_WAIT_POLICY", "PASSIVE")
            .stdout(Stdio::piped())
            .spawn()
    };
    let children = (0..world).map(start).collect::<Result<Vec<_>, _>>()?;
    let mut said = Vec::new();
    for child in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("a rank failed: {}", output.status).into());
        }
        said.push(String::from_utf8(output.stdout)?);
    }
    let numbers = said[0].split_whitespace().map(str::parse::<f64>);
    match numbers.collect::<Result<Vec<_>, _>>()?.as_slice() {
        &[seconds, waits] => Ok((seconds, waits)),
        other => Err(format!("{other:?} are not two numbers").into()),
    }
}

/// As one of them: trains, and prints both numbers.
fn measure(name: &str, steps: u64, threads: i32) -> Outcome<()> {
    tch::set_num_threads(threads);
    let folder = tempfile::tempdir()?;
    let recipe = Plain::new((0..IMAGES).collect(), 1)?;
    let group = match Place::read(|name| std::env::var(name).ok())? {
        Some(place) => Group::open(&place, "ranks_cost")?,
        None => Group::alone(),
    };
    let ranks = Rc::new(group);
    let size = [IMAGES as i64, 3, 32, 32];
    let images = noise::normal(&mut stream(1, "images", 0), &size, Device::Cpu);
    let options = TrainOptions {
        steps: FIRST + steps + 1,
        batch: BATCH,
        ..TrainOptions::default()
    };
    let mut trainer = trainer(folder.path(), (name, 32), images.into(), &recipe, options)?;
    trainer.ranks = Rc::clone(&ranks);
    let done = Cell::new(0);
    let began = RefCell::new((Instant::now(), Duration::ZERO));
    let ended = Cell::new((0.0, 0.0));
    // The evaluation at the end is not part of it: the last step is left out.
    let after = || {
        done.set(done.get() + 1);
        if done.get() == FIRST {
            *began.borrow_mut() = (Instant::now(), ranks.waited());
        }
        if done.get() == FIRST + steps {
            let (at, waited) = *began.borrow();
            let each = |time: Duration| time.as_secs_f64() / steps as f64;
            ended.set((each(at.elapsed()), each(ranks.waited() - waited)));
        }
    };
    run(trainer, &after)?;
    let (seconds, waits) = ended.get();
    println!("{seconds} {waits}");
    Ok(())
}

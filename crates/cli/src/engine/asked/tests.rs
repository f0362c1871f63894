//! What was typed reaches the library.

use super::{Asked, work};
use dualmd_front::args::{Cli, Command};
use dualmd_front::defaults::Defaults;
use std::path::Path;
use std::time::Duration;

fn read(line: &str) -> Cli {
    Cli::read_with(line.split(' '), "0", Defaults::default())
        .unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn work_is_taken_as_it_was_asked_for() {
    let options = |line: &str| match read(line).command {
        Command::Work(args) => work(&args),
        other => panic!("{other:?}"),
    };
    let all = options("dualmd work runs/x");
    assert_eq!(all.folder, Path::new("runs/x"));
    assert_eq!(
        (all.once, all.wait, all.lease.as_secs()),
        (false, None, 120)
    );
    let one = options("dualmd work runs/x --once --wait 0 --lease 5");
    assert_eq!(
        (one.once, one.wait, one.lease.as_secs()),
        (true, Some(Duration::ZERO), 5)
    );
}

#[test]
fn images_are_drawn_as_they_were_asked_for() {
    let options = |line: &str| {
        let cli = read(line);
        match cli.command {
            Command::Sample(args) => args.options(&cli.global),
            other => panic!("{other:?}"),
        }
    };
    let pair = options("dualmd sample a b -n 8 --sampler ddpm -o out --seed 3");
    assert_eq!(pair.models, [Path::new("a"), Path::new("b")]);
    assert_eq!((pair.steps, pair.seed), (1000, 3));
    let plain = options("dualmd sample a -n 8 -o out");
    assert_eq!((plain.steps, plain.seed), (50, 0));
    assert!(plain.early.is_none() && plain.sail.is_none());
    let late = options(
        "dualmd sample a -n 8 --prompt x --guidance-from 500 --early-guidance -2 --sail -o out",
    );
    let early = late.early.map(|early| (early.above, early.scale));
    assert_eq!(early, Some((500, -2.0)));
    assert_eq!(late.sail.map(|sail| sail.target), Some(8.2));
}

#[test]
fn an_audit_s_images_and_a_tuning_s_keys_arrive() {
    let cli = read(
        "dualmd audit a --members x --nonmembers y --images 9 --denoiser-timeout 7 -o out --seed 4",
    );
    let Command::Audit(audit) = cli.command else {
        panic!()
    };
    let score = audit.options(&cli.global).score;
    assert_eq!((score.draw.images, score.seed), (9, 4));
    assert_eq!(score.denoiser_timeout, Duration::from_secs(7));
    assert!(score.shadow.is_none());
    let cli = read("dualmd tune base --images photos -o out --rank 8 --set train.batch=2 --seed 4");
    let Command::Tune(tune) = cli.command else {
        panic!()
    };
    let sets = tune.options(&cli.global).sets;
    assert_eq!(sets, ["train.lora_rank=8", "train.batch=2", "seed=4"]);
}

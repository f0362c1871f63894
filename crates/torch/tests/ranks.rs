//! Ranks on this machine: what they calculate together, and what becomes of them when one of them is not there.

mod children;

use children::{Ranks, this_rank};
use dualmd_torch::ranks::{Group, Place, RanksError};
use dualmd_torch::{Device, Kind, Tensor};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a rank does; nothing where this is a test of its own.
#[test]
fn as_a_rank() {
    let Some((case, folder, place)) = this_rank() else {
        return;
    };
    match case.as_str() {
        "calculate" => calculate(&Group::open(&place, "test").unwrap()),
        "calculate-over-ipv6" => {
            let host = "::1".into();
            calculate(&Group::open(&Place { host, ..place }, "test").unwrap());
        }
        "host" => drop(Group::open(&place, "host")),
        "again" => {
            let place = Place {
                store_is_there: true,
                ..place
            };
            for round in 1..4 {
                let group = Group::open(&place, "again").unwrap();
                let mut sum = [f64::from(round)];
                group.sum_f64(&mut sum).unwrap();
                assert_eq!(sum[0], f64::from(2 * round));
            }
        }
        "meet" => {
            let met = meet(&place, &folder).unwrap_err();
            let (kind, text) = match &met {
                RanksError::Join(text) => ("join", text),
                RanksError::Timeout(text) => ("timeout", text),
                RanksError::Lost(text) => ("lost", text),
                other => panic!("{other:?}"),
            };
            let said = format!("{kind} {text}");
            std::fs::write(folder.join(format!("said-{}", place.rank)), said).unwrap();
        }
        other => panic!("{other}"),
    }
}

/// Meets the others again and again, until it cannot.
fn meet(place: &Place, folder: &Path) -> Result<(), RanksError> {
    let group = Group::open(place, "test")?;
    group.barrier()?;
    std::fs::write(folder.join(format!("joined-{}", place.rank)), "").unwrap();
    loop {
        if let Err(error) = group.barrier() {
            // Once broken, it stays so, and says so at once.
            let began = Instant::now();
            assert!(matches!(group.barrier(), Err(RanksError::Lost(_))));
            assert!(began.elapsed() < Duration::from_millis(500));
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn calculate(group: &Group) {
    let (rank, world) = (group.rank(), group.world());
    let all = (world * (world + 1) / 2) as f64;
    let own = rank as f64 + 1.0;
    let of = |shape: &[i64], kind| Tensor::full(shape, own, (kind, Device::Cpu));
    // 28 MB: more than a bucket. Channels last, several kinds, one element, none.
    let image = dualmd_torch::shim::to_channels_last(
        &(Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)).view([2, 3, 4, 5]) * own),
    )
    .unwrap();
    let tensors = [
        of(&[7_000_000], Kind::Float),
        of(&[3, 4], Kind::Float),
        image,
        of(&[5], Kind::Double),
        of(&[5], Kind::Int64),
        of(&[1], Kind::BFloat16),
        of(&[], Kind::Float),
        of(&[0], Kind::Float),
    ];
    let sizes: Vec<Vec<i64>> = tensors.iter().map(Tensor::size).collect();
    group.sum(&tensors).unwrap();
    for (index, (tensor, size)) in tensors.iter().zip(&sizes).enumerate() {
        assert_eq!(&tensor.size(), size);
        if index == 2 {
            let plain = Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)) * all;
            assert_eq!(tensor.reshape([-1]), plain, "every element at its place");
        } else if tensor.numel() > 0 {
            let (least, most) = (tensor.min(), tensor.max());
            assert_eq!(
                (least.double_value(&[]), most.double_value(&[])),
                (all, all)
            );
        }
    }
    // A gradient is written in place though its weight is a leaf that records.
    let leaf = of(&[2], Kind::Float).set_requires_grad(true);
    group
        .broadcast(&[leaf.shallow_clone(), of(&[2, 2], Kind::Int64)], world - 1)
        .unwrap();
    assert_eq!(leaf.double_value(&[1]), world as f64);
    let mut numbers = [own, 0.5, if rank == 1 { f64::NAN } else { 0.0 }, 1e-300];
    group.sum_f64(&mut numbers).unwrap();
    assert_eq!(&numbers[..2], &[all, 0.5 * world as f64]);
    assert!(numbers[2].is_nan() && numbers[3] == 1e-300 * world as f64);
    let high = u64::MAX - rank as u64;
    let expected: Vec<u64> = (0..world as u64).map(|r| u64::MAX - r).collect();
    assert_eq!(group.gather(high).unwrap(), expected);
    assert!(group.same(7).unwrap() && !group.same(own as u64).unwrap());
    assert!(group.any(rank == 1).unwrap() && !group.any(false).unwrap());
    group.agree("their numbers", 4, "nothing").unwrap();
    let differ = group
        .agree("their numbers", u64::from(rank == 1), "look at both")
        .unwrap_err();
    let text = differ.to_string();
    let first = format!("rank 1 of {world} on ");
    let known = [
        first.as_str(),
        "rank 0 on ",
        "their numbers",
        "look at both",
    ];
    assert!(
        matches!(differ, RanksError::Differ(_)) && known.iter().all(|k| text.contains(*k)),
        "{text}"
    );
    let share = group.share(10);
    let mut covered = [share.len() as f64, share.sum::<usize>() as f64];
    group.sum_f64(&mut covered).unwrap();
    assert_eq!(covered, [10.0, 45.0]);
    assert!(group.waited() > Duration::ZERO);
    assert_eq!(
        group.describe(),
        format!("{world} ranks on 1 machine (this machine)")
    );
    group.barrier().unwrap();
}

#[test]
fn two_and_three_ranks_calculate_together() {
    for world in [2, 3] {
        let dir = tempfile::tempdir().unwrap();
        Ranks::start("as_a_rank", ("calculate", dir.path()), 0..world, world, 60).well();
    }
}

/// As trainings of one name in one script of torchrun's, whose store is there for all of them.
#[test]
fn groups_of_one_name_meet_one_after_the_other_in_a_launchers_store() {
    let dir = tempfile::tempdir().unwrap();
    let port = dualmd_torch::ranks::free_port().unwrap();
    // One that waits for another in vain holds the store open meanwhile.
    let host = dir.path().join("host");
    std::fs::create_dir(&host).unwrap();
    let _host = Ranks::start_at("as_a_rank", ("host", &host), [0], 2, 120, port);
    Ranks::start_at("as_a_rank", ("again", dir.path()), 0..2, 2, 60, port).well();
}

/// Where the machine has IPv6 at all; containers often have none.
#[test]
fn ranks_meet_at_an_address_of_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let case = ("calculate-over-ipv6", dir.path());
    Ranks::start("as_a_rank", case, 0..2, 2, 60).well();
}

/// What the ranks wrote at their end.
fn said(folder: &Path, rank: usize) -> String {
    let text = std::fs::read_to_string(folder.join(format!("said-{rank}")));
    let text = text.unwrap_or_else(|_| {
        panic!(
            "{}",
            std::fs::read_to_string(folder.join(format!("output-{rank}"))).unwrap()
        )
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// Nothing but what the test wrote: c10d's own lines are silent.
fn silent(folder: &Path, rank: usize) {
    let output = std::fs::read_to_string(folder.join(format!("output-{rank}"))).unwrap();
    assert!(
        !output.contains("frame #") && !output.contains("[W") && !output.contains("[E"),
        "{output}"
    );
}

#[test]
fn a_killed_rank_is_noticed_at_once() {
    for (world, victim) in [(2, 1), (3, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let mut ranks = Ranks::start("as_a_rank", ("meet", dir.path()), 0..world, world, 120);
        ranks.await_files("joined");
        let began = Instant::now();
        ranks.signal(victim, "KILL");
        let survivors: Vec<usize> = (0..world).filter(|&r| r != victim).collect();
        ranks.wait(&[victim]);
        // Two hundredths of a second where nothing else runs; a hundred times that for a busy machine, and far from the timeout.
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
        for rank in survivors {
            let text = said(dir.path(), rank);
            assert!(
                text.starts_with(&format!("lost rank {rank} of {world} on "))
                    && text.contains(&format!("rank {victim} on "))
                    && text.contains("the others' numbers"),
                "{text}"
            );
            silent(dir.path(), rank);
        }
    }
}

#[test]
fn a_stopped_rank_is_given_up_after_the_timeout() {
    let dir = tempfile::tempdir().unwrap();
    // Half a minute to join on a busy machine would do; the timeout of the steps is the same number.
    let seconds = 15;
    let mut ranks = Ranks::start("as_a_rank", ("meet", dir.path()), 0..2, 2, seconds);
    ranks.await_files("joined");
    let began = Instant::now();
    ranks.signal(1, "STOP");
    ranks.wait(&[1]);
    let took = began.elapsed().as_secs_f64();
    let text = said(dir.path(), 0);
    assert!(
        text.starts_with("timeout rank 0 of 2 on ")
            && text.contains("rank 1 on ")
            && text.contains("stopped"),
        "{text}"
    );
    assert!(
        (seconds as f64 - 0.5..seconds as f64 + 20.0).contains(&took),
        "{took}"
    );
}

#[test]
fn a_rank_that_never_comes_is_named() {
    for (started, world, known) in [(0, 3, "(rank 1, rank 2)"), (1, 2, "no store at 127.0.0.1:")] {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        Ranks::start("as_a_rank", ("meet", dir.path()), [started], world, 2).wait(&[]);
        let text = said(dir.path(), started);
        let me = format!("join rank {started} of {world} on ");
        assert!(text.starts_with(&me) && text.contains(known), "{text}");
        assert!(
            text.contains("MASTER_PORT") && text.contains("firewall"),
            "{text}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{:?}",
            began.elapsed()
        );
        silent(dir.path(), started);
    }
}

#[test]
fn a_port_in_use_is_said() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    for (rank, known) in [
        (0, "the port is in use"),
        (1, "does another program listen there"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        // The stranger takes connections and never says a word.
        Ranks::start_at("as_a_rank", ("meet", dir.path()), [rank], 2, 2, port).wait(&[]);
        let text = said(dir.path(), rank);
        assert!(text.starts_with("join") && text.contains(known), "{text}");
        assert!(
            text.contains(&port.to_string()) && text.contains("MASTER_PORT"),
            "{text}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn ranks_that_were_told_of_different_numbers_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let port = dualmd_torch::ranks::free_port().unwrap();
    let began = Instant::now();
    let start =
        |rank, world| Ranks::start_at("as_a_rank", ("meet", dir.path()), [rank], world, 60, port);
    let (first, second) = (start(0, 2), start(1, 3));
    first.wait(&[]);
    second.wait(&[]);
    let all = [said(dir.path(), 0), said(dir.path(), 1)];
    // Who sees it first leaves, and with rank 0 the store does.
    assert!(
        all.iter().any(|text| text.contains("WORLD_SIZE")),
        "{all:?}"
    );
    for (rank, text) in all.iter().enumerate() {
        let me = format!("join rank {rank} of {} on ", rank + 2);
        assert!(
            text.starts_with(&me) && (text.contains("WORLD_SIZE") || text.contains("rank 0 ended")),
            "{text}"
        );
    }
    assert!(began.elapsed() < Duration::from_secs(50));
}

#[test]
fn two_processes_with_the_number_of_one_rank_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let port = dualmd_torch::ranks::free_port().unwrap();
    let folders = ["first", "second"].map(|name| dir.path().join(name));
    let start = |folder: &Path, rank| {
        std::fs::create_dir_all(folder).unwrap();
        Ranks::start_at("as_a_rank", ("meet", folder), [rank], 3, 60, port)
    };
    // Rank 2 never comes, so that all of them wait, but for the one that is too many.
    let _zero = start(dir.path(), 0);
    let _first = start(&folders[0], 1);
    std::thread::sleep(Duration::from_secs(2));
    let _second = start(&folders[1], 1);
    let began = Instant::now();
    let refused = loop {
        if let Some(folder) = folders.iter().find(|f| f.join("said-1").exists()) {
            break folder;
        }
        assert!(began.elapsed() < Duration::from_secs(50), "none is refused");
        std::thread::sleep(Duration::from_millis(20));
    };
    // It may be seen before its text is there.
    std::thread::sleep(Duration::from_millis(500));
    let text = said(refused, 1);
    assert!(
        text.starts_with("join rank 1 of 3 on ")
            && text.contains("not the first that comes to 127.0.0.1:")
            && text.contains("RANK"),
        "{text}"
    );
}

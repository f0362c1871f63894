use super::*;
use crate::{Groups, NearDuplicateOptions, Picture, Record, near_duplicates};
use std::collections::HashSet;

/// `n` different pictures; every third is in a group of the user, of sizes 1 to 5.
fn set(n: usize) -> ImageSet {
    let mut group = 0;
    let mut left = 0;
    let records = (0..n)
        .map(|i| {
            let mut picture = Picture::filled(4, 4, 1, 0);
            picture
                .pixels
                .iter_mut()
                .enumerate()
                .for_each(|(k, v)| *v = (i * 37 + k * k * (i / 7 + 1)) as u8);
            picture.pixels[..2].copy_from_slice(&(i as u16).to_le_bytes());
            if left == 0 {
                group += 1;
                left = group % 5 + 1;
            }
            left -= 1;
            let group = (i % 3 == 0).then(|| format!("g{group}"));
            Record {
                id: picture.id(),
                picture,
                captions: vec![],
                group,
                label: None,
                name: i.to_string(),
                file: None,
            }
        })
        .collect();
    ImageSet::new("test".into(), None, records).unwrap()
}

fn sides_of_groups(split: &Split, set: &ImageSet, groups: &Groups) {
    let mut sides: HashMap<usize, HashSet<Side>> = HashMap::new();
    for (i, record) in set.records.iter().enumerate() {
        if let Some(side) = split.side(record.id.as_str()) {
            sides.entry(groups.of[i]).or_default().insert(side);
        }
    }
    assert!(
        sides.values().all(|s| s.len() == 1),
        "a group straddles two sides"
    );
}

#[test]
fn halves_are_exact_disjoint_and_never_divide_a_group() {
    let set = set(200);
    let groups = Groups::given(&set);
    for seed in 0..20 {
        let split = Split::half(&set, &groups, 61, Some(100), seed).unwrap();
        let chosen = split.select(&set).unwrap();
        assert_eq!(
            (chosen.d1.len(), chosen.d2.len(), chosen.nonmembers.len()),
            (31, 30, 100)
        );
        let all: HashSet<_> = chosen.members.iter().chain(&chosen.nonmembers).collect();
        assert_eq!(all.len(), 161);
        sides_of_groups(&split, &set, &groups);
        let rest = Split::half(&set, &groups, 60, None, seed).unwrap();
        assert_eq!(rest.nonmembers().len(), 140);
    }
}

#[test]
fn near_duplicates_stay_together() {
    let mut set = set(60);
    let mut copy = set.records[5].clone();
    copy.picture
        .pixels
        .iter_mut()
        .for_each(|v| *v = v.saturating_add(1));
    copy.id = copy.picture.id();
    set.records.push(copy);
    let groups = near_duplicates(&set, &NearDuplicateOptions::default());
    assert_eq!(groups.of[5], groups.of[60]);
    for seed in 0..20 {
        sides_of_groups(
            &Split::half(&set, &groups, 20, Some(20), seed).unwrap(),
            &set,
            &groups,
        );
        sides_of_groups(
            &Split::coin_flip(&set, &groups, seed, 0.5).unwrap(),
            &set,
            &groups,
        );
    }
}

#[test]
fn seeds_repeat_and_the_order_of_files_does_not_matter() {
    let forward = set(120);
    let mut backward = forward.clone();
    backward.records.reverse();
    let draw =
        |set: &ImageSet, seed| Split::half(set, &Groups::given(set), 40, Some(40), seed).unwrap();
    assert_eq!(draw(&forward, 3).hash(), draw(&backward, 3).hash());
    assert_ne!(draw(&forward, 3).hash(), draw(&forward, 4).hash());
    // Every record is a member about as often as it should: 40 of 120.
    let mut counts = vec![0u32; 120];
    for seed in 0..300 {
        draw(&forward, seed)
            .select(&forward)
            .unwrap()
            .members
            .iter()
            .for_each(|&i| counts[i] += 1);
    }
    // Binomial(300, 1/3) has standard deviation 8.2; 5 of them, over 120 records, fail once in 15,000 runs.
    assert!(counts.iter().all(|c| c.abs_diff(100) < 41), "{counts:?}");
}

#[test]
fn coins_are_independent_of_the_rest_of_the_set() {
    let large = set(300);
    let mut small = large.clone();
    small.records.truncate(150);
    small.records.iter_mut().for_each(|r| r.group = None);
    let mut ungrouped = large.clone();
    ungrouped.records.iter_mut().for_each(|r| r.group = None);
    let flip = |set: &ImageSet| Split::coin_flip(set, &Groups::given(set), 1, 0.5).unwrap();
    let (a, b) = (flip(&small), flip(&ungrouped));
    let is_member = |s: &Split, id: &SampleId| matches!(s.side(id.as_str()), Some(Side::Member(_)));
    assert!(
        small
            .records
            .iter()
            .all(|r| is_member(&a, &r.id) == is_member(&b, &r.id))
    );
    // 300 fair coins: 150 +- 8.7; within five standard deviations.
    assert!(b.members().len().abs_diff(150) < 44);
    let chosen = b.select(&large).unwrap();
    assert!(chosen.d1.len() - chosen.d2.len() <= 1);
    assert!(Split::coin_flip(&large, &Groups::given(&large), 1, 1.0).is_err());
}

#[test]
fn files_return_and_changes_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("split.json");
    let set = set(50);
    let split = Split::half(&set, &Groups::given(&set), 11, Some(20), 7).unwrap();
    split.save(&path).unwrap();
    assert_eq!(Split::load(&path).unwrap(), split);
    let text = std::fs::read_to_string(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (
            json["schema"].as_u64(),
            json["method"].as_str(),
            json["seed"].as_u64()
        ),
        (Some(1), Some("half"), Some(7))
    );
    let fails = |changed: String, words: &str| {
        assert_ne!(changed, text);
        std::fs::write(&path, changed).unwrap();
        let error = Split::load(&path).unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains("split.json"),
            "{error}"
        );
    };
    fails(text.replacen("\"half\": 1", "\"half\": 2", 1), "hash");
    fails(text.replacen("\"half\": 1", "\"half\": 3", 1), "half 3");
    fails(
        text.replacen("\"schema\": 1", "\"schema\": 9", 1),
        "schema is 9",
    );
    let (a, b) = (
        split.members()[0].id.as_str(),
        split.members()[1].id.as_str(),
    );
    fails(text.replacen(a, b, 1), "twice");
    fails(text.replacen(a, "../../etc/passwd", 1), "not a sample id");
    fails(text[..text.len() / 2].to_owned(), "dualmd split");
}

#[test]
fn other_data_and_impossible_wishes_are_refused() {
    let set = set(50);
    let groups = Groups::given(&set);
    let split = Split::half(&set, &groups, 10, Some(20), 7).unwrap();
    let mut less = set.clone();
    less.records.retain(|r| r.id != split.members()[0].id);
    let error = split.select(&less).unwrap_err().to_string();
    assert!(error.contains("1 of the 30"), "{error}");
    assert!(
        Split::half(&set, &groups, 40, Some(20), 7)
            .unwrap_err()
            .to_string()
            .contains("50 different pictures")
    );
    assert!(Split::half(&set, &groups, 1, Some(20), 7).is_err());
    assert!(Split::half(&set, &Groups::given(&less), 10, None, 7).is_err());
}

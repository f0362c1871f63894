//! tmp
use dualmd_data::*;
#[test]
fn spot() {
    for (n, file, starts, sum) in [
        (
            50_000u32,
            "CIFAR10",
            [10365usize, 25853, 41222, 7409, 17080],
            625_362_277u64,
        ),
        (
            50_000,
            "CIFAR100",
            [4757, 43363, 15085, 4757, 4757],
            627_355_409,
        ),
        (
            100_000,
            "TINY-IN",
            [36044, 73702, 76369, 36044, 36044],
            2_505_317_355,
        ),
    ] {
        let records = (0..n)
            .map(|i| {
                let mut p = Picture::filled(2, 2, 1, 0);
                p.pixels.copy_from_slice(&i.to_le_bytes());
                Record {
                    id: p.id(),
                    picture: p,
                    captions: vec![],
                    group: None,
                    label: None,
                    name: i.to_string(),
                }
            })
            .collect();
        let set = ImageSet::new("x".into(), None, records).unwrap();
        let t = std::time::Instant::now();
        let (split, r) = import_secmi_npz(
            format!("/tmp/secmi/{file}_train_ratio0.5.npz").as_ref(),
            &set,
            &Groups::given(&set),
            0,
        )
        .unwrap();
        let sel = split.select(&set).unwrap();
        println!(
            "{file} {r:?} {} {} {} {:?}",
            sel.d1.len(),
            sel.d2.len(),
            sel.nonmembers.len(),
            t.elapsed()
        );
        assert_eq!(sel.members.iter().map(|&i| i as u64).sum::<u64>(), sum);
        for s in starts {
            assert!(sel.members.contains(&s));
        }
        if file == "CIFAR10" {
            for s in [6640, 7423, 45313] {
                assert!(sel.nonmembers.contains(&s));
            }
        }
    }
}

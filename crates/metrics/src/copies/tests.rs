//! Copies planted and absent.

use super::*;
use crate::testing::gaussian;

fn of(values: &[f32]) -> Features {
    Features::new("toy", 1, values.to_vec()).unwrap()
}

/// Members 0, 10, 20; held out 1, 13: distances to members 1 and 3. At any rate below 2/3 the nearer one is the threshold.
#[test]
fn by_hand() {
    let (members, heldout) = (of(&[0.0, 10.0, 20.0]), of(&[1.0, 13.0]));
    // 0.5 from member 0, 1 from member 1 (on the threshold, so no copy), 0.25 and 0 from member 2.
    let generated = of(&[0.5, 11.0, 20.25, 20.0, 40.0]);
    let c = copies(&generated, None, &members, &heldout, Likeness::Rmse, 0.5, 1).unwrap();
    assert_eq!(
        (c.found.copies, c.found.distinct, c.found.threshold),
        (3, 2, 1.0)
    );
    assert_eq!(c.false_copy_rate, 1.0 / 3.0);
    assert_eq!(c.found.share_ci, clopper_pearson(3, 5, 0.95).unwrap());
    let first = c.pairs[0];
    assert_eq!((first.generated, first.member, first.likeness), (3, 2, 0.0));
    assert_eq!((c.pairs.len(), c.pairs[4].likeness), (5, 20.0));
    assert_eq!((c.control.n, c.n_members, c.n_heldout), (2, 3, 2));
    assert_eq!(c.control.false_copy_rate, 1.0 / 3.0);
    // At 2/3 the second decides.
    let c = copies(
        &generated,
        None,
        &members,
        &heldout,
        Likeness::Rmse,
        0.67,
        1,
    )
    .unwrap();
    assert_eq!((c.found.copies, c.found.threshold), (4, 3.0));
}

#[test]
fn the_cosine_knows_no_length() {
    let rows = |v: &[f32]| Features::new("toy", 2, v.to_vec()).unwrap();
    let pool = rows(&[1.0, 0.0, 0.0, 5.0, -3.0, 0.0]);
    let found = most_similar(&rows(&[7.0, 7.1, -0.1, 0.0]), &pool, Likeness::Cosine).unwrap();
    assert_eq!((found[0].row, found[1].row), (1, 2));
    assert!((found[1].likeness - 1.0).abs() < 1e-12);
    // By pixels the first would be another.
    let found = most_similar(&rows(&[7.0, 7.1, -0.1, 0.0]), &pool, Likeness::Rmse).unwrap();
    assert_eq!(found[1].row, 0);
    let zero = most_similar(&rows(&[0.0; 4]), &pool, Likeness::Cosine).unwrap();
    assert_eq!(zero[0].likeness, 0.0);
}

#[test]
fn planted_copies_are_found_and_the_control_finds_none() {
    for likeness in [Likeness::Cosine, Likeness::Rmse] {
        let (members, heldout) = (
            gaussian(400, 16, 0.0, 1.0, 1),
            gaussian(300, 16, 0.0, 1.0, 2),
        );
        let strangers = gaussian(90, 16, 0.0, 1.0, 3);
        // Six members, one of them five times, almost as they are.
        let copied = members
            .select(&[5, 6, 7, 8, 9, 10, 10, 10, 10, 10])
            .unwrap();
        let noise = gaussian(10, 16, 0.0, 0.02, 4);
        let sum = copied.rows().flatten().zip(noise.rows().flatten());
        let sum: Vec<f32> = sum.map(|(a, b)| a + b).collect();
        let generated = Features::new("toy", 16, sum).unwrap();
        let generated = generated.concat(&strangers).unwrap();
        let c = copies(
            &generated,
            None,
            &members,
            &heldout,
            likeness,
            FALSE_COPIES,
            7,
        )
        .unwrap();
        assert!((10..=13).contains(&c.found.copies), "{c:?}");
        assert!(c.found.distinct < c.found.copies - 3, "{c:?}");
        assert_eq!(c.false_copy_rate, 3.0 / 301.0);
        assert_eq!(c.control.n, 300);
        assert!(c.control.heldout.copies <= 4, "{c:?}");
        assert!(c.pairs.iter().take(10).all(|p| p.generated < 10), "{c:?}");
    }
}

/// Drawings that look like what a caption describes, and no more like the members than like the others: with the drawings for
/// the others' captions as the control they are no copies.
#[test]
fn captions_describe_and_that_is_no_copying() {
    let (members, heldout) = (gaussian(200, 8, 0.0, 1.0, 1), gaussian(150, 8, 0.0, 1.0, 2));
    let near = |images: &Features, seed| {
        let noise = gaussian(images.count(), 8, 0.0, 0.3, seed);
        let sum = images.rows().flatten().zip(noise.rows().flatten());
        Features::new("toy", 8, sum.map(|(a, b)| a + b).collect()).unwrap()
    };
    let (drawn, strangers) = (near(&members, 3), near(&heldout, 4));
    let count = |strangers| {
        copies(
            &drawn,
            strangers,
            &members,
            &heldout,
            Likeness::Rmse,
            FALSE_COPIES,
            5,
        )
        .unwrap()
        .control
    };
    let fair = count(Some(&strangers));
    assert_eq!((fair.drawn, fair.n), (Some(150), 150));
    let (a, b) = (fair.members.copies as f64, fair.heldout.copies as f64);
    assert!(a > 20.0 && (a - b).abs() < 4.0 * (a + b).sqrt(), "{fair:?}");
    // Looked at with the members' drawings alone, description would pass for copying.
    assert!(10 * count(None).heldout.copies < fair.members.copies);
}

/// The rate that the threshold promises is the rate at which unseen images pass it.
#[test]
fn unseen_images_pass_as_often_as_promised() {
    let (mut passed, mut promised) = (0, 0.0);
    for seed in 0..40 {
        let set = |k: u64, n| gaussian(n, 3, 0.0, 1.0, 3 * seed + k);
        let (members, heldout, fresh) = (set(0, 60), set(1, 39), set(2, 50));
        let c = copies(&fresh, None, &members, &heldout, Likeness::Rmse, 0.1, seed).unwrap();
        passed += c.found.copies;
        promised += 50.0 * c.false_copy_rate;
    }
    // Expected 200; the threshold varies from set to set, so the spread is wider than a binomial's.
    assert_eq!(promised, 200.0);
    assert!((140..=260).contains(&passed), "{passed}");
}

#[test]
fn own_images_and_nonsense() {
    let (generated, images) = (of(&[1.0, 2.0, 5.0, 6.0]), of(&[0.0, 5.0]));
    let own = |rows: &[usize]| to_own(&generated, &images, rows, Likeness::Rmse);
    assert_eq!(own(&[0, 0, 1, 1]).unwrap(), 1.0);
    assert!(own(&[0, 0, 1]).unwrap_err().to_string().contains('3'));
    assert!(own(&[0, 0, 1, 2]).unwrap_err().to_string().contains('2'));
    let text = |rate| {
        let result = copies(&generated, None, &images, &images, Likeness::Rmse, rate, 1);
        result.unwrap_err().to_string()
    };
    assert!(text(0.0).contains("copies") && text(1.0).contains("is 1,"));
    let other = Features::new("other", 1, vec![0.0; 4]).unwrap();
    assert!(copies(&other, None, &images, &images, Likeness::Rmse, 0.1, 1).is_err());
}

//! Every name leads to its attack and back, and no other text does.

use super::*;
use std::collections::BTreeSet;

fn parse(name: &str) -> AttackSpec {
    name.parse().unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn refused(name: &str) -> String {
    match name.parse::<AttackSpec>() {
        Ok(spec) => panic!("{name} was taken for {spec:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_attack_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = BaseAttack::ALL.iter().map(|a| a.name()).collect();
    assert_eq!(names.len(), BaseAttack::ALL.len());
    for (place, base) in BaseAttack::ALL.into_iter().enumerate() {
        assert_eq!(
            base as usize, place,
            "{base:?}: the list is in the order of the enum"
        );
        assert_eq!(BaseAttack::named(base.name()), Some(base));
        assert_eq!(BaseAttack::of(&format!("{}@3+x", base.name())), Some(base));
        let spec = AttackSpec::from(base);
        if base.can_be_asked() {
            assert_eq!(parse(&spec.to_string()), spec);
        } else {
            assert!(refused(base.name()).contains("not run by its name"));
        }
    }
    assert_eq!(BaseAttack::of("losses"), None);
}

#[test]
fn names_round_trip() {
    for name in [
        "loss",
        "sima@50",
        "sima@-5",
        "sima@50+flip",
        "sima@50+lowpass+flip",
        "sima+flip+lowpass",
        "sima@50+pullback+flip",
        "loss+captions",
        "sima@50+captions-mean+flip",
        "secmi-nn@150",
        "loss@snr=1",
        "loss@snr=0.25+flip",
        "gsa2@snr=12.5+shadow",
        "secmi-nn@150+shadow",
        "gsa1+shadow",
        "clid+shadow",
        "teacher-difference@100+flip",
        "reference",
        "nn",
        "nn-features",
        "density",
        "sim-mean",
        "sim-mean+captions",
        "sim-mean+captions-mean",
        "pw-threshold",
        "pw-classifier+shadow",
        "rounds@1",
        "rounds@2",
        "rounds@50+second",
        "rounds@2+pw-threshold",
        "rounds@2+second+pw-distribution+shadow",
        "rounds@3+captions",
        "rounds@3+second+captions-mean",
    ] {
        let spec = parse(name);
        assert_eq!(spec.to_string(), name);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(json, format!("\"{name}\""));
        assert_eq!(serde_json::from_str::<AttackSpec>(&json).unwrap(), spec);
    }
    let wrong = serde_json::from_str::<AttackSpec>("\"secmia\"").unwrap_err();
    assert!(wrong.to_string().contains("did you mean secmi?"), "{wrong}");
}

#[test]
fn every_way_of_drawing_has_one_name() {
    for form in Similarity::ALL {
        for rounds in [None, Some((1, false)), Some((1, true)), Some((50, true))] {
            let rounds = rounds.map(|(rounds, second)| Rounds { rounds, second });
            let ways = [
                (None, false),
                (Some(Over::Best), false),
                (Some(Over::Mean), false),
                (None, true),
            ];
            for (captions, shadow) in ways {
                let drawn = Drawn {
                    form,
                    rounds,
                    captions,
                    shadow,
                };
                let back = drawn.name().parse::<AttackSpec>().ok();
                // Those that learn have no captions, the other is taught by nobody.
                if form.learns() && captions.is_some() || !form.learns() && shadow {
                    assert_eq!(back, None, "{}", drawn.name());
                    continue;
                }
                let back = back.unwrap();
                assert_eq!(back, AttackSpec::from(drawn));
                assert_eq!(back.drawn(), Some(drawn));
                assert_eq!(back.takes_pair(), rounds.is_some());
                assert_eq!(back.compares_drawn(), rounds.is_none());
            }
        }
    }
    for name in ["nn", "loss", "loss+captions"] {
        assert_eq!(parse(name).drawn(), None);
    }
    assert_eq!(AttackSpec::in_rounds(3), parse("rounds@3"));
}

#[test]
fn what_is_no_name_is_refused_with_a_remedy() {
    for (name, remedy) in [
        ("sima+shadow", "ask for sima"),
        ("gsa1+shadow+shadow", "ask for gsa1+shadow"),
        ("gsa1+shadow+flip", "ask for gsa1+shadow"),
        (
            "secmi-nn+flip",
            "attacks that learn have no +flip; ask for secmi-nn",
        ),
        ("clid+captions", "ask for clid"),
        ("sima@soon", "such as sima@100"),
        ("sima@", "such as sima@100"),
        ("sima@007", "such as sima@100"),
        ("sima@+7", "write sima@T"),
        ("sima@snr", "sima@snr=1"),
        ("sima@snr=", "sima@snr=1"),
        ("sima@snr=0", "number S above 0"),
        ("sima@snr=-1", "number S above 0"),
        ("sima@snr=inf", "number S above 0"),
        ("sima@snr=NaN", "number S above 0"),
        ("sima@snr=1.0", "number S above 0"),
        ("sima@snr=1e0", "number S above 0"),
        ("nn@snr=1", "ask for nn"),
        ("loss+flop", "ask for loss or loss+flip"),
        (
            "loss+foo",
            "ask for loss or loss+flip or loss+lowpass or loss+pullback or loss+captions or loss+captions-mean",
        ),
        ("loss+", "it has no +;"),
        ("nn@5", "ask for nn"),
        ("nn+flip", "it has no +flip; ask for nn"),
        ("density+shadow", "ask for density"),
        ("rounds", "such as rounds@2"),
        ("rounds@", "such as rounds@2"),
        ("rounds@0", "such as rounds@2"),
        ("rounds@x", "such as rounds@2"),
        ("rounds@02", "such as rounds@2"),
        ("rounds@+2", "such as rounds@2"),
        (
            "rounds@2+first",
            "it has no +first; ask for rounds@2 or rounds@2+second or rounds@2+pw-threshold",
        ),
        ("rounds@2+seconds", "ask for rounds@2 or rounds@2+second"),
        ("rounds@2+sim-mean", "it has no +sim-mean"),
        ("rounds@2+pw-threshold+second", "it has no +second"),
        ("rounds@2+second+second", "it has no +second"),
        ("rounds@2+captions+second", "it has no +second"),
        ("rounds@2+shadow+pw-threshold", "only attacks that learn"),
        ("sim-mean+flip", "it has no +flip; ask for sim-mean"),
        ("sim-mean+captions+captions", "ask for sim-mean+captions"),
        (
            "sim-mean+captions-mean+captions",
            "ask for sim-mean+captions-mean",
        ),
        ("sim-mean+captions+shadow", "ask for sim-mean+captions"),
        ("pw-threshold+shadow+shadow", "ask for pw-threshold+shadow"),
        ("pw-threshold@3", "ask for pw-threshold"),
        ("lira", "dualmd lira"),
        ("rmia", "dualmd lira"),
    ] {
        let said = refused(name);
        assert!(said.contains(remedy), "{said}");
    }
}

#[test]
fn unknown_names_get_the_near_ones() {
    assert_eq!(
        refused("secmia"),
        "unknown attack \"secmia\" (did you mean secmi?): known attacks are loss, secmi, secmi-nn, pia, pian, sima, pfami, \
         rediffuse, rediffuse-nn, loss-grid, combined, gsa1, gsa2, reference, teacher-difference, rounds@2, clid, clid-vec, clid-gap, wen, \
         pia-sd-2024, sim-mean, pw-threshold, pw-distribution, pw-classifier, nn, nn-features, density"
    );
    for (name, meant) in [
        ("PIAN", "did you mean pian?"),
        ("gsa", "did you mean gsa1 or gsa2?"),
        ("gsa@5+flip", "did you mean gsa1 or gsa2?"),
        ("clid-vecs", "did you mean clid-vec?"),
        ("round@2", "did you mean rounds?"),
    ] {
        let said = refused(name);
        assert!(said.contains(meant), "{said}");
    }
    for name in ["gradient", "", "@5", "+flip"] {
        assert!(!refused(name).contains("did you mean"), "{name}");
    }
    // What a terminal would obey is written out.
    assert!(!refused("x\u{1b}[2J").contains('\u{1b}'));
}

#[test]
fn specs_say_what_they_need() {
    let needs = |name: &str| parse(name).needs();
    assert_eq!(
        [
            needs("loss"),
            needs("gsa1@99"),
            needs("teacher-difference@100+flip"),
            needs("reference"),
            needs("gsa1+shadow"),
            needs("pw-classifier"),
            needs("pw-classifier+shadow"),
            needs("nn"),
        ],
        [
            Needs::Nothing,
            Needs::Known,
            Needs::Pair,
            Needs::Reference,
            Needs::Shadow,
            Needs::Known,
            Needs::Shadow,
            Needs::Nothing,
        ]
    );
    for name in ["clid", "clid-gap@500", "wen", "loss+captions", "sim-mean"] {
        assert!(parse(name).compares_captions(), "{name}");
    }
    for name in ["loss", "sima+flip", "nn", "rounds@2"] {
        assert!(!parse(name).compares_captions(), "{name}");
    }
}

#[test]
fn variants_have_the_title_of_their_base() {
    assert_eq!(parse("gsa2").title(), "GSA2");
    assert_eq!(parse("sima@50").title(), "SimA (sima@50)");
    assert_eq!(title("sima@mine"), "SimA (sima@mine)");
    assert_eq!(title("mine"), "mine");
}

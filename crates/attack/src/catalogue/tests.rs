//! Names, defaults and refusals.

use super::*;
use crate::AttackInfo;
use dualmd_names::Kind;
use std::collections::BTreeSet;

/// The parameters of an attack as JSON; what scores depend on is hashed in these words.
fn text(info: &AttackInfo) -> String {
    serde_json::to_string(&info.parameters).unwrap()
}

#[test]
fn names_lead_to_their_attacks() {
    let of_names = BaseAttack::ALL.into_iter().filter(|a| {
        let kind = a.facts().kind;
        matches!(kind, Kind::Formula | Kind::Learned)
    });
    let ours: BTreeSet<BaseAttack> = ALL.into_iter().collect();
    assert_eq!(ours, of_names.collect());
    for base in ALL {
        let method = by_name(base.name()).unwrap();
        assert_eq!(method.info().name, base.name());
        assert_eq!(matches!(method, Method::Learned(_)), base.learns());
    }
    for name in ["sim-mean", "rounds@2", "nn"] {
        assert!(by_name(name).is_err(), "{name}");
    }
    let info = |name: &str| by_name(name).unwrap().info();
    // What an attack says of itself bears the name that it was asked for by.
    for name in [
        "sima@50",
        "sima@50+lowpass+flip",
        "sima@50+flip+lowpass",
        "sima@50+captions-mean+flip",
        "sima@50+pullback",
        "secmi-nn@150",
        "secmi-nn@150+shadow",
        "loss@snr=1",
        "secmi-nn@snr=4+shadow",
        "combined+shadow",
        "loss-grid@100",
    ] {
        assert_eq!(info(name).name, name);
    }
    assert_eq!(info("sima@150").parameters.t, Some(150));
    assert_eq!(info("sima@50+flip").network_calls_per_sample, 2);
    let low = info("sima@50+lowpass+flip");
    assert_eq!(low.parameters.lowpass.unwrap().remains, 0.2);
    let shadow = info("secmi-nn@150+shadow");
    assert_eq!(shadow.parameters.learnt_on.as_deref(), Some("shadow model"));
    let secmi = info("secmi@150");
    assert_eq!(
        (secmi.network_calls_per_sample, secmi.parameters.error_at),
        (16, Some(140))
    );
}

#[test]
fn attacks_on_captions_say_so() {
    let info = by_name("sima@50+captions-mean+flip").unwrap().info();
    assert_eq!(
        (info.name.as_str(), info.parameters.captions.as_deref()),
        ("sima@50+captions-mean+flip", Some("mean"))
    );
}

/// Latents have the defaults of the codes for Stable Diffusion, models of pixels none of the attacks on captions.
#[test]
fn defaults_for_latents_are_fixed() {
    let set = default_set_for(Space::Latent, true);
    let rows: Vec<String> = set
        .iter()
        .map(|a| format!("{} {}", a.info().name, text(&a.info())))
        .collect();
    assert_eq!(
        rows,
        [
            r#"loss {"draws":8,"t":200}"#,
            r#"secmi {"error_at":140,"k":10,"t_sec":150}"#,
            r#"pia {"p":4,"t":100}"#,
            r#"pian {"p":4,"t":100}"#,
            r#"sima {"p":4,"t":100}"#,
            r#"pfami {"crops":[0.825],"timesteps":[0,50,100,150,200,250,300,350,400,450]}"#,
            r#"rediffuse {"draws":1,"stride":50,"t":50}"#,
            r#"clid-gap {"timesteps":[440,450,460]}"#,
            r#"wen {"draws":4,"t":981}"#,
        ]
    );
    assert_eq!(default_set_for(Space::Latent, false).len(), 7);
    let nn = by_name_for("secmi-nn", Space::Latent).unwrap().info();
    assert_eq!(nn.parameters.secmi.unwrap().t_sec, Some(150));
    let at = by_name_for("rediffuse@20", Space::Latent).unwrap().info();
    assert_eq!(at.parameters.stride, Some(20));
}

/// The timesteps are part of the contract: scores of different versions must be comparable.
#[test]
fn defaults_are_fixed() {
    let parameters: Vec<String> = default_set().iter().map(|a| text(&a.info())).collect();
    assert_eq!(
        parameters,
        [
            r#"{"draws":8,"t":200}"#,
            r#"{"error_at":90,"k":10,"t_sec":100}"#,
            r#"{"p":4,"t":200}"#,
            r#"{"p":4,"t":200}"#,
            r#"{"p":4,"t":100}"#,
            r#"{"crops":[0.825],"timesteps":[0,50,100,150,200,250,300,350,400,450]}"#,
            r#"{"draws":10,"stride":100,"t":200}"#
        ]
    );
}

/// What files have of every attack and of every kind of variant. Scores that an earlier version wrote hold as long as these
/// are the same, letter by letter.
#[test]
fn parameters_are_written_as_ever() {
    let rows = [
        ("loss", r#"{"draws":8,"t":200}"#),
        ("secmi", r#"{"error_at":90,"k":10,"t_sec":100}"#),
        (
            "secmi-nn",
            r#"{"published_recipe_from":5000,"secmi":{"error_at":90,"k":10,"t_sec":100}}"#,
        ),
        ("pia", r#"{"p":4,"t":200}"#),
        ("pian", r#"{"p":4,"t":200}"#),
        ("sima", r#"{"p":4,"t":100}"#),
        (
            "pfami",
            r#"{"crops":[0.825],"timesteps":[0,50,100,150,200,250,300,350,400,450]}"#,
        ),
        ("rediffuse", r#"{"draws":10,"stride":100,"t":200}"#),
        (
            "rediffuse-nn",
            r#"{"published_recipe_from":5000,"rediffuse":{"draws":10,"stride":100,"t":200}}"#,
        ),
        (
            "loss-grid",
            r#"{"draws":4,"ratios":[256.0,64.0,16.0,4.0,1.0,0.25,0.0625,0.015625]}"#,
        ),
        (
            "combined",
            r#"{"of":{"loss":{"draws":8,"t":200},"pfami":{"crops":[0.825],"timesteps":[0,50,100,150,200,250,300,350,400,450]},"pia":{"p":4,"t":200},"pian":{"p":4,"t":200},"rediffuse":{"draws":10,"stride":100,"t":200},"secmi":{"error_at":90,"k":10,"t_sec":100},"sima":{"p":4,"t":100}}}"#,
        ),
        ("clid-gap", r#"{"timesteps":[440,450,460]}"#),
        (
            "clid",
            r#"{"reduced_captions":3,"timesteps":[440,450,460]}"#,
        ),
        (
            "clid-vec",
            r#"{"reduced_captions":3,"timesteps":[440,450,460]}"#,
        ),
        ("wen", r#"{"draws":4,"t":981}"#),
        (
            "pia-sd-2024",
            r#"{"betas":[0.00085,0.012],"guidance":7.5,"p":4,"t":500}"#,
        ),
        (
            "gsa2",
            r#"{"backward_passes":10,"timesteps":[99,199,299,399,499,599,699,799,899,999]}"#,
        ),
        (
            "gsa1",
            r#"{"backward_passes":1,"timesteps":[99,199,299,399,499,599,699,799,899,999]}"#,
        ),
        ("reference", r#"{"draws":8,"t":200}"#),
        ("teacher-difference", r#"{"draws":8,"t":200}"#),
        ("sima@50", r#"{"p":4,"t":50}"#),
        ("pfami@50", r#"{"crops":[0.825],"timesteps":[50]}"#),
        ("loss-grid@100", r#"{"draws":4,"timesteps":[100]}"#),
        ("gsa1@50", r#"{"backward_passes":1,"timesteps":[50]}"#),
        ("loss@snr=1", r#"{"draws":8,"snr":1.0}"#),
        ("pfami@snr=0.5", r#"{"crops":[0.825],"snr":0.5}"#),
        ("rediffuse@snr=4", r#"{"draws":10,"snr":4.0}"#),
        (
            "rediffuse-nn@snr=4",
            r#"{"published_recipe_from":5000,"rediffuse":{"draws":10},"snr":4.0}"#,
        ),
        ("sima+flip", r#"{"flip":true,"p":4,"t":100}"#),
        (
            "sima+lowpass",
            r#"{"lowpass":{"half_width_at_32":5.0,"remains":0.2},"p":4,"t":100}"#,
        ),
        (
            "sima+pullback",
            r#"{"p":4,"pullback":{"draws":8,"left_out":0.4},"t":100}"#,
        ),
        ("sima+captions", r#"{"captions":"best","p":4,"t":100}"#),
        (
            "sima+captions-mean+flip",
            r#"{"captions":"mean","flip":true,"p":4,"t":100}"#,
        ),
        (
            "loss-grid@100+shadow",
            r#"{"draws":4,"learnt_on":"shadow model","timesteps":[100]}"#,
        ),
    ];
    for (name, expected) in rows {
        assert_eq!(text(&by_name(name).unwrap().info()), expected, "{name}");
    }
    let there: BTreeSet<&str> = rows.iter().map(|(name, _)| *name).collect();
    assert!(ALL.iter().all(|base| there.contains(base.name())));
}

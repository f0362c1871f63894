//! Names, defaults and refusals.

use super::*;
use dualmd_names::Kind;
use std::collections::BTreeSet;

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
    assert_eq!(info("sima@150").parameters["t"], 150);
    assert_eq!(info("sima@50+flip").network_calls_per_sample, 2);
    let low = info("sima@50+lowpass+flip");
    assert_eq!(low.parameters["lowpass"]["remains"], 0.2);
    let shadow = info("secmi-nn@150+shadow");
    assert_eq!(shadow.parameters["learnt_on"], "shadow model");
    let secmi = info("secmi@150");
    assert_eq!(
        (
            secmi.network_calls_per_sample,
            secmi.parameters["error_at"].as_i64()
        ),
        (16, Some(140))
    );
}

#[test]
fn attacks_on_captions_say_so() {
    let info = by_name("sima@50+captions-mean+flip").unwrap().info();
    assert_eq!(
        (info.name.as_str(), info.parameters["captions"].as_str()),
        ("sima@50+captions-mean+flip", Some("mean"))
    );
}

/// Latents have the defaults of the codes for Stable Diffusion, models of pixels none of the attacks on captions.
#[test]
fn defaults_for_latents_are_fixed() {
    let set = default_set_for(Space::Latent, true);
    let rows: Vec<String> = set
        .iter()
        .map(|a| format!("{} {}", a.info().name, a.info().parameters))
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
    assert_eq!(nn.parameters["secmi"]["t_sec"], 150);
    let at = by_name_for("rediffuse@20", Space::Latent).unwrap().info();
    assert_eq!(at.parameters["stride"], 20);
}

/// The timesteps are part of the contract: scores of different versions must be comparable.
#[test]
fn defaults_are_fixed() {
    let parameters: Vec<String> = default_set()
        .iter()
        .map(|a| a.info().parameters.to_string())
        .collect();
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

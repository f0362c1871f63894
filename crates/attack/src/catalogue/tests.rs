//! Names, defaults and refusals.

use super::*;

#[test]
fn names_lead_to_their_attacks() {
    for entry in ALL {
        assert_eq!(by_name(entry.name).unwrap().info().name, entry.name);
    }
    let rows = ["sima@50", "sima@150"].map(|name| by_name(name).unwrap());
    assert_eq!(rows[0].info().name, "sima@50");
    assert_eq!(rows[1].info().parameters["t"], 150);
    let flip = by_name("sima@50+flip").unwrap().info();
    assert_eq!(
        (flip.name.as_str(), flip.network_calls_per_sample),
        ("sima@50+flip", 2)
    );
    assert_eq!(needs("teacher-difference@100+flip"), Needs::Pair);
    assert_eq!(
        (needs("loss"), needs("gsa1@99")),
        (Needs::Nothing, Needs::Known)
    );
    let low = by_name("sima@50+lowpass+flip").unwrap().info();
    assert_eq!(low.parameters["lowpass"]["remains"], 0.2);
    let refused = by_name("secmi-nn+flip").unwrap_err().to_string();
    assert!(refused.contains("ask for secmi-nn"), "{refused}");
    assert_eq!(by_name("secmi-nn@150").unwrap().info().name, "secmi-nn@150");
    let shadow = by_name("secmi-nn@150+shadow").unwrap().info();
    assert_eq!(
        (
            shadow.name.as_str(),
            shadow.parameters["learnt_on"].as_str()
        ),
        ("secmi-nn@150+shadow", Some("shadow model"))
    );
    assert_eq!(
        [needs("gsa1+shadow"), needs("pw-classifier+shadow")],
        [Needs::Shadow; 2]
    );
    for (name, remedy) in [
        ("sima+shadow", "ask for sima"),
        ("gsa1+shadow+shadow", "ask for gsa1+shadow"),
        ("gsa1+shadow+flip", "ask for gsa1+shadow"),
    ] {
        let refused = by_name(name).unwrap_err().to_string();
        assert!(refused.contains(remedy), "{refused}");
    }
    let secmi = by_name("secmi@150").unwrap().info();
    assert_eq!(
        (
            secmi.network_calls_per_sample,
            secmi.parameters["error_at"].as_i64()
        ),
        (16, Some(140))
    );
}

#[test]
fn attacks_on_captions_say_what_they_need() {
    for name in [
        "clid",
        "clid-vec",
        "clid-gap@500",
        "wen",
        "pia-sd-2024",
        "loss+captions",
        "sima@50+captions-mean+flip",
    ] {
        assert!(needs_prompts(name), "{name}");
        let refused = check_prompts(name, false).unwrap_err().to_string();
        assert!(
            refused.contains(name) && refused.contains("trained without text"),
            "{refused}"
        );
        check_prompts(name, true).unwrap();
    }
    assert_eq!(
        (needs("clid"), needs("clid-gap")),
        (Needs::Known, Needs::Nothing)
    );
    for name in ["loss", "sima+flip"] {
        check_prompts(name, false).unwrap();
    }
    let info = by_name("sima@50+captions-mean+flip").unwrap().info();
    assert_eq!(
        (info.name.as_str(), info.parameters["captions"].as_str()),
        ("sima@50+captions-mean+flip", Some("mean"))
    );
    assert!(
        by_name("clid+captions")
            .unwrap_err()
            .to_string()
            .contains("ask for clid")
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
    let row = by_name_for("rediffuse@20", Space::Latent).unwrap();
    assert_eq!(row.info().parameters["stride"], 20);
}

#[test]
fn unknown_names_get_the_nearest() {
    let message = |name| by_name(name).unwrap_err().to_string();
    assert_eq!(
        message("secmia"),
        "unknown attack \"secmia\" (did you mean secmi?): known attacks are loss, secmi, secmi-nn, pia, \
         pian, sima, pfami, rediffuse, rediffuse-nn, clid-gap, clid, clid-vec, wen, pia-sd-2024, gsa2, gsa1, reference, \
         teacher-difference"
    );
    assert!(message("PIAN").contains("did you mean pian?"));
    assert!(!message("gradient").contains("did you mean"));
    assert!(message("sima@soon").contains("sima@100"));
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

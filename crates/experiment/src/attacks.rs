//! Which attacks fit which models, said before anything is computed.

use crate::bail_usage;
use crate::choices::Features;
use anyhow::Result;
use dualmd_names::{AttackSpec, BlackBox, Variant};

/// Do these features know places, which the `pw` attacks compare?
pub fn has_places(features: Features) -> bool {
    use Features::{Auto, EffLite0, None, Pixels, Vit};
    matches!(features, Auto | EffLite0 | None | Pixels | Vit)
}

/// Refuses an attack that cannot be run. `text`: the models are told a text; `features`: what images are compared by; `steps`:
/// denoising steps of an image.
///
/// # Errors
/// It takes more rounds than there are steps, asks for captions that nobody has, or compares what the features do not say.
pub fn check(spec: &AttackSpec, text: bool, features: Features, steps: usize) -> Result<()> {
    if spec.rounds().is_some_and(|r| r.rounds > steps) {
        bail_usage!(
            "attack {spec}: images take {steps} steps, so there are at most {steps} rounds"
        );
    }
    let of_images = BlackBox::of(spec).is_some();
    match spec.drawn() {
        Some(drawn) if text && drawn.form.learns() && !has_places(features) => bail_usage!(
            "attack {spec} compares place by place, and {features} has one vector an image: use efflite0, vit or pixels \
             (sample.features)"
        ),
        Some(_) if text => {}
        Some(_) if !of_images => bail_usage!(
            "attack {spec} asks a text-to-image model for the samples' captions, and this one is told no text; leave it out"
        ),
        _ if !text && !of_images && spec.compares_captions() => bail_usage!(
            "attack {}: \"{spec}\" compares captions, and this model was trained without text: it needs a text-to-image model and \
             a caption for every image; leave it out",
            spec.base().name()
        ),
        _ if !text && spec.variants().contains(&Variant::Pullback) => bail_usage!(
            "attack {spec}: +pullback weighs what is in latents by the decoder that makes images of them, and this model was trained without \
             text, on pixels; leave it out"
        ),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_on_captions_say_what_they_need() {
        let of = |name: &str, text| check(&name.parse().unwrap(), text, Features::Auto, 50);
        for name in [
            "clid",
            "clid-vec",
            "clid-gap@500",
            "wen",
            "pia-sd-2024",
            "loss+captions",
            "sima@50+captions-mean+flip",
        ] {
            let refused = of(name, false).unwrap_err().to_string();
            assert!(
                refused.contains(name) && refused.contains("trained without text"),
                "{refused}"
            );
            of(name, true).unwrap();
        }
        for name in ["loss", "sima+flip", "nn", "rounds@2"] {
            of(name, false).unwrap();
        }
        let refused = of("sima+pullback", false).unwrap_err().to_string();
        assert!(refused.contains("on pixels"), "{refused}");
        of("sima+pullback", true).unwrap();
        let refused = of("sim-mean", false).unwrap_err().to_string();
        assert!(refused.contains("is told no text"), "{refused}");
        let refused = check(&"rounds@3".parse().unwrap(), false, Features::Auto, 2);
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("at most 2 rounds")
        );
        let by_vectors = |name: &str| check(&name.parse().unwrap(), true, Features::Sscd, 50);
        by_vectors("sim-mean").unwrap();
        let refused = by_vectors("pw-classifier").unwrap_err().to_string();
        assert!(refused.contains("place by place"), "{refused}");
    }
}

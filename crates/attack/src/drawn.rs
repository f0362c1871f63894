//! Attacks on a text-to-image model by what a sample's caption draws: the forms of [`crate::similarity`], on images as any
//! user gets them, or on images that a DualMD pair drew in several rounds.
//!
//! `rounds@R` is the adaptive attack of the DualMD paper (A.5), with the prompt in every step: round r = 1..R goes from the
//! r-th timestep down to the image and begins with the same model; between rounds the image gets fresh noise of the level of
//! the next timestep ([`dualmd_diffusion::sampler::sample_in_rounds`]). The paper lets the first model begin, so that its members,
//! D1, come out more often; `rounds@R+second` lets the second begin, for D2. Whether they do is to be looked at
//! (`docs/attacks/rounds.md`). One round is an ordinary generation by DDIM with that model first.
//!
//! The images are compared by `sim-mean`, or by the form that is named last: `rounds@2+pw-threshold`,
//! `rounds@2+second+pw-threshold`.
//!
//! `sim-mean+captions` and `rounds@R+captions` (no paper: what prompt diversification invites) draw as many images for *every*
//! caption of a sample and keep the best likeness, `+captions-mean` their mean; see [`crate::Over`]. The learned forms have
//! none of these: what they learn from is the likeness under one caption. They can be learnt on a shadow model, which is named
//! last: `pw-classifier+shadow`, `rounds@2+pw-threshold+shadow`.

use crate::{Access, AttackInfo, captions, shadow, similarity};
use dualmd_record::AttackParameters;

pub use dualmd_names::{Drawn, Rounds};

/// What the attack is, for reports and score files; see [`similarity::info`].
#[must_use]
pub fn info(drawn: Drawn, generations: usize, encoder: &str) -> AttackInfo {
    if drawn.shadow {
        let plain = Drawn {
            shadow: false,
            ..drawn
        };
        return shadow::described(info(plain, generations, encoder));
    }
    let plain = similarity::info(drawn.form, generations, encoder);
    if let Some(over) = drawn.captions {
        let one = Drawn {
            captions: None,
            ..drawn
        };
        return AttackInfo {
            misses: "images trained with captions that are not asked with; the best of several likenesses is greater for \
                     non-members as well",
            ..captions::described(over, info(one, generations, encoder))
        };
    }
    let Some(Rounds { rounds, second }) = drawn.rounds else {
        return plain;
    };
    let begins = if second { "second" } else { "first" };
    AttackInfo {
        name: drawn.name(),
        title: format!(
            "{}, {rounds} round{} with the {begins} model first",
            plain.title,
            if rounds == 1 { "" } else { "s" }
        ),
        paper: "DualMD, appendix A.5; Pang and Wang 2025, arXiv 2312.08207",
        access: Access::GreyBox,
        parameters: AttackParameters {
            generations: Some(generations),
            encoder: Some(encoder.to_owned()),
            rounds: Some(rounds),
            begins: Some(begins.to_owned()),
            ..AttackParameters::default()
        },
        ..plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_names::AttackSpec;

    /// What an attack says of itself bears the name that it is asked for by.
    #[test]
    fn attacks_say_their_own_name() {
        for name in [
            "sim-mean",
            "sim-mean+captions",
            "pw-threshold",
            "pw-classifier+shadow",
            "rounds@1",
            "rounds@2+second",
            "rounds@3+captions-mean",
            "rounds@2+second+pw-distribution+shadow",
        ] {
            let spec: AttackSpec = name.parse().unwrap();
            let info = info(spec.drawn().unwrap(), 3, "test");
            assert_eq!(info.name, name);
            let grey = info.access == Access::GreyBox;
            assert_eq!(grey, spec.takes_pair(), "{name}");
        }
    }

    #[test]
    fn parameters_are_written_as_ever() {
        for (name, expected) in [
            ("sim-mean", r#"{"encoder":"test","generations":3}"#),
            (
                "pw-threshold+shadow",
                r#"{"encoder":"test","generations":3,"learnt_on":"shadow model"}"#,
            ),
            (
                "rounds@2+captions-mean",
                r#"{"begins":"first","captions":"mean","encoder":"test","generations":3,"rounds":2}"#,
            ),
            (
                "rounds@1+second",
                r#"{"begins":"second","encoder":"test","generations":3,"rounds":1}"#,
            ),
        ] {
            let spec: AttackSpec = name.parse().unwrap();
            let parameters = info(spec.drawn().unwrap(), 3, "test").parameters;
            assert_eq!(serde_json::to_string(&parameters).unwrap(), expected);
        }
    }
}

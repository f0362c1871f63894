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

use crate::captions::Over;
use crate::similarity::Similarity;
use crate::{Access, AttackInfo, shadow};
use serde_json::json;

/// How a pair's images are drawn for [`Drawn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rounds {
    /// R, at least 1.
    pub rounds: usize,
    /// Every round begins with the second model, not the first.
    pub second: bool,
}

/// An attack by what a sample's caption draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// How images are compared.
    pub form: Similarity,
    /// How they are drawn; `None`: as any user gets them.
    pub rounds: Option<Rounds>,
    /// What is made of the likenesses under all captions of a sample; `None`: only its first is asked with.
    pub captions: Option<Over>,
    /// Is it learnt on a shadow model, not from known samples? See [`crate::shadow`].
    pub shadow: bool,
}

/// Suffix of the attacks whose rounds begin with the second model.
const SECOND: &str = "second";

impl Drawn {
    /// The attack called `name`; `None` if none of these is.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(plain) = name.strip_suffix(shadow::SUFFIX) {
            let plain = Self::parse(plain)?;
            return (plain.form.learns() && !plain.shadow).then_some(Self {
                shadow: true,
                ..plain
            });
        }
        let with = |over: Over| name.strip_suffix(over.suffix()).map(|plain| (plain, over));
        if let Some((plain, over)) = Over::ALL.into_iter().find_map(with) {
            let plain = Self::parse(plain)?;
            let once = !plain.form.learns() && plain.captions.is_none();
            return once.then_some(Self {
                captions: Some(over),
                ..plain
            });
        }
        if let Some(form) = Similarity::parse(name) {
            return Some(Self {
                form,
                rounds: None,
                captions: None,
                shadow: false,
            });
        }
        let mut parts = name.strip_prefix("rounds@")?.split('+').peekable();
        let rounds = parts.next()?.parse().ok().filter(|&r| r >= 1)?;
        let second = parts.next_if_eq(&SECOND).is_some();
        let form = match parts.next() {
            Some(form) => Similarity::parse(form).filter(|f| f.learns())?,
            None => Similarity::Mean,
        };
        let drawn = Self {
            form,
            rounds: Some(Rounds { rounds, second }),
            captions: None,
            shadow: false,
        };
        // One name for one attack: no leading zeros or signs, nothing after the form.
        (drawn.name() == name).then_some(drawn)
    }

    /// Name in files and on the command line.
    #[must_use]
    pub fn name(&self) -> String {
        let asked = match (self.captions, self.shadow) {
            (Some(over), _) => over.suffix(),
            (None, true) => shadow::SUFFIX,
            (None, false) => "",
        };
        let Some(Rounds { rounds, second }) = self.rounds else {
            return format!("{}{asked}", self.form.name());
        };
        let mut name = format!("rounds@{rounds}");
        if second {
            name = format!("{name}+{SECOND}");
        }
        if self.form.learns() {
            name = format!("{name}+{}", self.form.name());
        }
        name + asked
    }

    /// What the attack is, for reports and score files; see [`Similarity::info`].
    #[must_use]
    pub fn info(&self, generations: usize, encoder: &str) -> AttackInfo {
        if self.shadow {
            let plain = Self {
                shadow: false,
                ..*self
            };
            return shadow::described(plain.info(generations, encoder));
        }
        let plain = self.form.info(generations, encoder);
        if let Some(over) = self.captions {
            let one = Self {
                captions: None,
                ..*self
            };
            return AttackInfo {
                misses: "images trained with captions that are not asked with; the best of several likenesses is greater for \
                         non-members as well",
                ..over.described(one.info(generations, encoder))
            };
        }
        let Some(Rounds { rounds, second }) = self.rounds else {
            return plain;
        };
        let begins = if second { "second" } else { "first" };
        AttackInfo {
            name: self.name(),
            title: format!(
                "{}, {rounds} round{} with the {begins} model first",
                plain.title,
                if rounds == 1 { "" } else { "s" }
            ),
            paper: "DualMD, appendix A.5; Pang and Wang 2025, arXiv 2312.08207",
            access: Access::GreyBox,
            parameters: json!({
                "generations": generations, "encoder": encoder, "rounds": rounds, "begins": begins,
            }),
            ..plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_one_name() {
        for form in Similarity::ALL {
            for rounds in [
                None,
                Some((1, false)),
                Some((1, true)),
                Some((2, false)),
                Some((3, false)),
                Some((2, true)),
                Some((50, true)),
            ] {
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
                    // Those that learn have no captions, the other is taught by nobody.
                    if form.learns() && captions.is_some() || !form.learns() && shadow {
                        assert_eq!(Drawn::parse(&drawn.name()), None);
                        continue;
                    }
                    assert_eq!(Drawn::parse(&drawn.name()), Some(drawn));
                    let info = drawn.info(3, "test");
                    assert_eq!(info.name, drawn.name());
                    assert_eq!(
                        info.access == Access::GreyBox,
                        rounds.is_some(),
                        "{}",
                        info.name
                    );
                }
            }
        }
        for unknown in [
            "rounds",
            "rounds@",
            "rounds@0",
            "rounds@x",
            "rounds@02",
            "rounds@+2",
            "rounds@2+first",
            "rounds@2+sim-mean",
            "rounds@2+pw-threshold+second",
            "rounds@2+second+second",
            "nn",
            "loss",
            "sim-mean+flip",
            "loss+captions",
            "sim-mean+captions+captions",
            "sim-mean+captions-mean+captions",
            "rounds@2+captions+second",
            "pw-threshold+shadow+shadow",
            "rounds@2+shadow+pw-threshold",
            "sim-mean+captions+shadow",
        ] {
            assert_eq!(Drawn::parse(unknown), None, "{unknown}");
        }
        let name = |name| Drawn::parse(name).map(|d| (d.form, d.rounds));
        let second = Rounds {
            rounds: 2,
            second: true,
        };
        assert_eq!(
            name("rounds@2+second+pw-threshold"),
            Some((Similarity::Threshold, Some(second)))
        );
        let info = Drawn::parse("rounds@2+captions-mean").map(|d| d.info(3, "test"));
        let parameters = info.map(|i| {
            (
                i.parameters["rounds"].clone(),
                i.parameters["captions"].clone(),
            )
        });
        assert_eq!(parameters, Some((json!(2), json!("mean"))));
    }
}

//! What attacks and networks say of themselves, as text for people: what `dualmd list attacks` and `dualmd list presets` print.

use crate::presets::PRESETS;
use anyhow::Result;
use dualmd_attack::{AttackInfo, Space, nn, similarity};
use dualmd_names::{AttackSpec, BaseAttack, BlackBox, Similarity};
use serde::Serialize;
use std::fmt::Write as _;

/// An attack.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// What it says of itself.
    #[serde(flatten)]
    pub info: AttackInfo,
    /// Does an audit of a model without text run it where no attacks are named?
    pub usual: bool,
}

/// All attacks that can be asked for by name, in the order of score files.
///
/// # Errors
/// None that a user can cause: every name of the table has an attack.
pub fn attacks() -> Result<Vec<Listed>> {
    let described = |a| Ok(dualmd_attack::method(&AttackSpec::from(a), Space::Pixels)?.info());
    let infos = dualmd_attack::ALL.into_iter().map(described);
    let infos: Vec<AttackInfo> = infos.collect::<Result<_>>()?;
    let similar = Similarity::ALL.map(|form| similarity::info(form, 3, ""));
    let black_boxes = [
        BlackBox::Nearest,
        BlackBox::Features,
        BlackBox::Density,
        BlackBox::Rounds(2),
    ];
    let black_boxes = black_boxes.map(|attack| nn::info(attack, 0, ""));
    let listed = |info: AttackInfo| {
        let usual = info.name.parse().is_ok_and(|spec: AttackSpec| {
            let base = spec.base();
            base == BaseAttack::Nearest || base.is_usual(false)
        });
        Listed { info, usual }
    };
    let all = infos.into_iter().chain(similar).chain(black_boxes);
    Ok(all.map(listed).collect())
}

/// The attacks with what they need, cost and miss.
///
/// # Errors
/// As [`attacks`].
pub fn attacks_text() -> Result<String> {
    let mut text = String::new();
    for Listed { info, usual } in attacks()? {
        let base = info.name.parse().map(|spec: AttackSpec| spec.base());
        let (does, price) = base.map_or((None, ""), |a| (a.facts().does, a.price()));
        let calls = info.network_calls_per_sample;
        writeln!(
            text,
            "{}{} - {} ({}, {calls} network {} an image)\n    looks at: {}\n    cost: {price}\n    score: {}\n    misses: {}\n    {}\n",
            if usual { "* " } else { "" },
            info.name,
            info.title,
            info.access.name(),
            if calls == 1 { "call" } else { "calls" },
            does.unwrap_or(info.title.as_str()),
            info.formula,
            info.misses,
            info.paper
        )?;
    }
    text += "* is run by `dualmd audit` of a model without text where no attacks are named.\n\
             NAME@T is the attack at timestep T (sima@50), NAME@snr=S at the timestep with that signal-to-noise ratio (loss@snr=1), NAME+flip its \
             mean over both mirror images (loss+flip), NAME+lowpass the attack on low frequencies (secmi+lowpass), NAME+pullback on what the decoder of a latent model shows (sima+pullback); rounds@R takes R rounds.\n\
             Of text-to-image models: NAME+captions tries all captions of an image (loss+captions); sim-mean and pw-... compare an \
             image with what its caption draws, and rounds@R with what a pair draws for it in R rounds, the first model beginning \
             (rounds@2+second: the second; rounds@2+pw-threshold: compared so); sim-mean+captions and rounds@R+captions draw for all captions.\n\
             Of attacks that learn: NAME+shadow learns on a shadow model and not from known images (secmi-nn+shadow).\n";
    Ok(text)
}

/// The experiments that are part of the program, and the networks.
///
/// # Errors
/// None.
pub fn presets_text() -> Result<String> {
    let mut text = String::from("experiments (dualmd run --preset NAME):\n");
    for preset in PRESETS {
        writeln!(text, "  {:<14} {}", preset.name, preset.about)?;
    }
    text += "networks ([model] preset = \"NAME\"):\n";
    for preset in dualmd_diffusion::preset::PRESETS {
        writeln!(text, "  {:<14} {}", preset.name, preset.about)?;
    }
    for preset in dualmd_diffusion::dit::DIT_PRESETS {
        writeln!(text, "  {:<14} {}", preset.name, preset.about)?;
    }
    for preset in dualmd_diffusion::latent::LATENT_PRESETS {
        writeln!(text, "  {:<14} {}", preset.name, preset.about)?;
    }
    Ok(text)
}

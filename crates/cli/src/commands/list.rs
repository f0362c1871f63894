//! `dualmd list`: what there is.

use crate::args::Listing;
use anyhow::Result;
use dualmd::experiment::Key;
use dualmd::presets::PRESETS;
use dualmd_attack::{AttackInfo, Space, nn, similarity};
use dualmd_names::{AttackSpec, BaseAttack, BlackBox, Defense, Similarity};
use std::process::ExitCode;

/// Prints a table.
pub fn list(what: Listing) -> Result<ExitCode> {
    match what {
        Listing::Attacks => {
            let described =
                |a| Ok(dualmd_attack::method(&AttackSpec::from(a), Space::Pixels)?.info());
            let infos = dualmd_attack::ALL.into_iter().map(described);
            let infos: Vec<AttackInfo> = infos.collect::<Result<_>>()?;
            let similar = Similarity::ALL.map(|form| similarity::info(form, 3, ""));
            let black_boxes = [BlackBox::Nearest, BlackBox::Features, BlackBox::Rounds(2)];
            let black_boxes = black_boxes.map(|attack| nn::info(attack, 0, ""));
            for info in infos.into_iter().chain(similar).chain(black_boxes) {
                let access = serde_json::to_value(info.access)?;
                let usual = info.name.parse().is_ok_and(|spec: AttackSpec| {
                    let base = spec.base();
                    base == BaseAttack::Nearest || base.is_usual(false)
                });
                outln!(
                    "{}{} - {} ({}, {} network calls a sample)\n    {}\n    misses: {}\n    {}\n",
                    if usual { "* " } else { "" },
                    info.name,
                    info.title,
                    access.as_str().unwrap_or_default(),
                    info.network_calls_per_sample,
                    info.formula,
                    info.misses,
                    info.paper
                )?;
            }
            outln!(
                "* is run by `dualmd audit` of a model without text where no attacks are named.\n\
                 NAME@T is the attack at timestep T (sima@50), NAME+flip its mean over both mirror images (loss+flip), \
                 NAME+lowpass the attack on low frequencies (secmi+lowpass); rounds@R takes R rounds.\n\
                 Of text-to-image models: NAME+captions tries all captions of an image (loss+captions); sim-mean and pw-... compare an \
                 image with what its caption draws, and rounds@R with what a pair draws for it in R rounds, the first model beginning \
                 (rounds@2+second: the second; rounds@2+pw-threshold: compared so); sim-mean+captions and rounds@R+captions draw for all captions.\n\
                 Of attacks that learn: NAME+shadow learns on a shadow model and not from known images (secmi-nn+shadow)."
            )?;
        }
        Listing::Defenses => {
            for facts in Defense::ALL.map(Defense::facts) {
                outln!("{:<15} {}", facts.name, facts.about)?;
                if let Some(withheld) = facts.withheld {
                    outln!("{:<15} not to be published: {withheld}", "")?;
                }
            }
            outln!(
                "\nAny model may have a recipe of its own: train = {{ weight_decay = 5e-4, flip = true, cutout_side = 4 }}."
            )?;
        }
        Listing::Presets => {
            outln!("experiments (dualmd run --preset NAME):")?;
            for preset in PRESETS {
                outln!("  {:<14} {}", preset.name, preset.about)?;
            }
            outln!("networks ([model] preset = \"NAME\"):")?;
            for preset in dualmd_diffusion::preset::PRESETS {
                outln!("  {:<14} {}", preset.name, preset.about)?;
            }
            for preset in dualmd_diffusion::latent::LATENT_PRESETS {
                outln!("  {:<14} {}", preset.name, preset.about)?;
            }
        }
        Listing::Keys => {
            for Key {
                path,
                about,
                default,
                needed,
            } in dualmd::experiment::keys()
            {
                let default = default.map_or_else(String::new, |d| format!(" = {d}"));
                let needed = needed.map_or_else(String::new, |n| format!(" ({n})"));
                outln!("{path}{default}{needed}\n    {about}")?;
            }
        }
        Listing::Datasets => {
            outln!(
                "fashion    3,000 photographs of Fashion-MNIST, 28x28 grey, class names as captions (MIT)"
            )?;
            outln!("emoji      Noto emoji, 32x32 colour, 2 to 4 captions each (Apache-2.0)")?;
            outln!(
                "           emoji#twitter (CC-BY-4.0) and emoji#fluent3d (MIT) are other hands' drawings; emoji#google+twitter joins sets"
            )?;
            outln!(
                "\nAny path will do in their place: a folder of images (metadata.jsonl or .txt captions), parquet,"
            )?;
            outln!("WebDataset .tar, CIFAR-10/100 binary, IDX (.gz), .npz or .npy.")?;
            outln!("Of a folder with several parts, DATA#train or DATA#test is one of them.")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

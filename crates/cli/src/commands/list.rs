//! `dualmd list`: what there is.

use crate::args::Listing;
use crate::presets::PRESETS;
use anyhow::Result;
use std::process::ExitCode;

/// Prints a table.
pub fn list(what: Listing) -> Result<ExitCode> {
    match what {
        Listing::Attacks => {
            let infos = dualmd_attack::ALL.iter().map(|a| a.attack().info());
            for info in infos.chain([dualmd_attack::nn::info(0)]) {
                let access = serde_json::to_value(info.access)?;
                println!(
                    "{} - {} ({}, {} network calls a sample)\n    {}\n    misses: {}\n    {}\n",
                    info.name,
                    info.title,
                    access.as_str().unwrap_or_default(),
                    info.network_calls_per_sample,
                    info.formula,
                    info.misses,
                    info.paper
                );
            }
            println!(
                "NAME@T is the attack at timestep T (sima@50), NAME+flip its mean over both mirror images (loss+flip)."
            );
        }
        Listing::Defenses => {
            for (name, about) in [
                (
                    "none",
                    "ordinary training on all members: what the defences are compared with",
                ),
                (
                    "dualmd",
                    "two teachers on disjoint halves that alternate while sampling (Algorithm 1)",
                ),
                (
                    "distillmd",
                    "one student of two teachers, each teaching the half it never saw (Algorithm 2)",
                ),
                (
                    "kd",
                    "one student of one ordinary teacher: the baseline of the paper's Table 10",
                ),
            ] {
                println!("{name:<10} {about}");
            }
        }
        Listing::Presets => {
            println!("experiments (dualmd run --preset NAME):");
            for preset in PRESETS {
                println!("  {:<14} {}", preset.name, preset.about);
            }
            println!("networks ([model] preset = \"NAME\"):");
            for preset in dualmd_diffusion::preset::PRESETS {
                println!("  {:<14} {}", preset.name, preset.about);
            }
        }
        Listing::Datasets => {
            println!(
                "fashion    3,000 photographs of Fashion-MNIST, 28x28 grey, class names as captions (MIT)"
            );
            println!("emoji      Noto emoji, 32x32 colour, 2 to 4 captions each (Apache-2.0)");
            println!(
                "\nAny path will do in their place: a folder of images (metadata.jsonl or .txt captions), parquet,"
            );
            println!("WebDataset .tar, CIFAR-10/100 binary, IDX (.gz), .npz or .npy.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! What there is: attacks, defences, presets, image sets and keys, as text for people.
//!
//! Attacks and networks say of themselves what they are, beside libtorch (`dualmd::listing`). So what they say is kept in `listed/`; a
//! test compares, and writes it again: `DUALMD_WRITE_DOCS=1 cargo test -p dualmd-cli --test listed`.

use anyhow::Result;
use dualmd_experiment::experiment::{self, Key};
use dualmd_names::Defense;
use std::fmt::Write as _;

/// The attacks with what they need, cost and miss.
pub const ATTACKS: &str = include_str!("listed/attacks.txt");

/// The same as JSON, in one line.
pub const ATTACKS_JSON: &str = include_str!("listed/attacks.json");

/// The experiments that are part of the program, and the networks.
pub const PRESETS: &str = include_str!("listed/presets.txt");

/// The defences, with what of them must not be published.
///
/// # Errors
/// None.
pub fn defenses() -> Result<String> {
    let mut text = String::new();
    for facts in Defense::ALL.map(Defense::facts) {
        writeln!(text, "{:<15} {}", facts.name, facts.about)?;
        if let Some(withheld) = facts.withheld {
            writeln!(text, "{:<15} not to be published: {withheld}", "")?;
        }
    }
    text += "\nAny model may have a recipe of its own: train = { weight_decay = 5e-4, flip = true, cutout_side = 4 }.\n";
    Ok(text)
}

/// The keys of experiment files.
///
/// # Errors
/// None.
pub fn keys() -> Result<String> {
    let mut text = String::new();
    for Key {
        path,
        about,
        default,
        needed,
    } in experiment::keys()
    {
        let default = default.map_or_else(String::new, |d| format!(" = {d}"));
        let needed = needed.map_or_else(String::new, |n| format!(" ({n})"));
        writeln!(text, "{path}{default}{needed}\n    {about}")?;
    }
    Ok(text)
}

/// The image sets that are part of the program, and what else can be named in their place.
pub const DATASETS: &str = "\
fashion    3,000 photographs of Fashion-MNIST, 28x28 grey, class names as captions (MIT)
emoji      Noto emoji, 32x32 colour, 2 to 4 captions each (Apache-2.0)
           emoji#twitter (CC-BY-4.0) and emoji#fluent3d (MIT) are other hands' drawings; emoji#google+twitter joins sets

Any path will do in their place: a folder of images (metadata.jsonl or .txt captions), parquet,
WebDataset .tar, CIFAR-10/100 binary, IDX (.gz), .npz or .npy.
Of a folder with several parts, DATA#train or DATA#test is one of them.
";

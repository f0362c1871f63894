//! Experiments that are part of the program.

use crate::bail_usage;
use crate::suggest::nearest;
use anyhow::Result;

/// An experiment with a name.
#[derive(Debug)]
pub struct Preset {
    /// For `dualmd run --preset NAME`.
    pub name: &'static str,
    /// One line for `dualmd list presets`.
    pub about: &'static str,
    /// The experiment file.
    pub text: &'static str,
}

/// The text-to-image experiment, which a study repeats.
pub const EMOJI_T2I_DEMO: &str = include_str!("../presets/emoji-t2i-demo.toml");

/// The table.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "demo",
        about: "24 photographs of Fashion-MNIST at 16 px: DualMD, DistillMD and ordinary distillation beside none, in minutes on two cores",
        text: include_str!("../presets/demo.toml"),
    },
    Preset {
        name: "fashion-flow",
        about: "the demo with flow matching in place of DDPM's noise: do the defences protect a flow as they protect a DDPM?",
        text: include_str!("../presets/fashion-flow.toml"),
    },
    Preset {
        name: "fashion-labels",
        about: "the demo with class-conditional networks: each is told which of ten kinds of clothes an image shows",
        text: include_str!("../presets/fashion-labels.toml"),
    },
    Preset {
        name: "fashion-32",
        about: "400 photographs at 32 px: an hour or two on two cores",
        text: include_str!("../presets/fashion-32.toml"),
    },
    Preset {
        name: "emoji-32",
        about: "400 Noto emoji in colour at 32 px: drawings, on which some attacks behave differently",
        text: include_str!("../presets/emoji-32.toml"),
    },
    Preset {
        name: "emoji-t2i-demo",
        about: "text to image: 64 captioned emoji at 16 px, each defence with and without prompt diversification",
        text: EMOJI_T2I_DEMO,
    },
    Preset {
        name: "tune",
        about: "adapters (LoRA) on a text-to-image base of yours, for your images: what `dualmd tune` runs",
        text: include_str!("../presets/tune.toml"),
    },
    Preset {
        name: "paper-cifar10",
        about: "the paper's CIFAR-10 recipe, 780,000 steps per model: for a GPU, and your copy of the images",
        text: include_str!("../presets/paper-cifar10.toml"),
    },
];

/// The preset of that name.
///
/// # Errors
/// There is none; the message lists them.
pub fn find(name: &str) -> Result<&'static Preset> {
    if let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) {
        return Ok(preset);
    }
    let names = || PRESETS.iter().map(|preset| preset.name);
    match nearest(name, names()) {
        Some(near) => bail_usage!("unknown preset {name}: did you mean {near}?"),
        None => bail_usage!(
            "unknown preset {name}: there are {}",
            names().collect::<Vec<_>>().join(", ")
        ),
    }
}

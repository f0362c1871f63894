//! The image sets of the study, and their experiments.

use crate::{Scale, What};

/// An image set of a scale.
#[derive(Debug)]
pub struct Dataset {
    /// As `--only` and `--data` name it; a folder's name.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Its name in the paper's tables, if it is one of theirs.
    pub paper: Option<&'static str>,
    /// The experiment file.
    pub text: &'static str,
    /// Keys that differ from it.
    pub keys: &'static [&'static str],
    /// It is taken only where it is asked for: it repeats another set at another size.
    pub named_only: bool,
    /// For sets that are no part of the program: where to get them.
    pub remedy: Option<&'static str>,
}

/// The rows of the paper's tables.
const PAPERS_ROWS: &str = r#"models = [
    { name = "baseline", defense = "none" },
    { name = "dualmd", defense = "dualmd" },
    { name = "student", defense = "distillmd" },
    { name = "kd", defense = "kd" },
]"#;

const FASHION: Dataset = Dataset {
    name: "fashion-16",
    title: "Fashion-MNIST at 16 px",
    paper: None,
    text: include_str!("../studies/fashion-16.toml"),
    keys: &[],
    named_only: false,
    remedy: None,
};

const CPU: &[Dataset] = &[
    FASHION,
    // Drawings in colour, flat and free of noise. Part of the program: Noto emoji, Apache-2.0.
    Dataset {
        name: "emoji-16",
        title: "Noto emoji at 16 px, colour",
        keys: &["data.source=emoji"],
        ..FASHION
    },
    Dataset {
        name: "fashion-16-128",
        title: "Fashion-MNIST at 16 px, 128 members",
        keys: &["data.members=128", PAPERS_ROWS],
        named_only: true,
        ..FASHION
    },
];

/// Sizes: table 6 of the paper. No flip where the SecMI code, which the paper trained with, has none.
const CIFAR10: Dataset = Dataset {
    name: "cifar10",
    title: "CIFAR-10",
    paper: Some("CIFAR10"),
    text: include_str!("../studies/paper.toml"),
    keys: &["data.members=25000", "data.nonmembers=25000"],
    named_only: false,
    remedy: Some(
        "unpack cifar-10-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html and name its folder, cifar-10-batches-bin",
    ),
};

/// The same for the two larger sets.
const LARGER: &[&str] = &[
    "data.members=50000",
    "data.nonmembers=50000",
    "train.flip=false",
];

const BROUGHT: &[Dataset] = &[
    CIFAR10,
    Dataset {
        name: "cifar100",
        title: "CIFAR-100",
        paper: Some("CIFAR100"),
        remedy: Some(
            "unpack cifar-100-binary.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html and name its folder, cifar-100-binary",
        ),
        ..CIFAR10
    },
    Dataset {
        name: "stl10",
        title: "STL-10 unlabeled at 32 px",
        paper: Some("STL10-Unlabeled"),
        keys: LARGER,
        remedy: Some(
            "take unlabeled_X.bin of stl10_binary.tar.gz, https://cs.stanford.edu/~acoates/stl10/, write its 100,000 pictures (each 3 \
             planes of 96 columns) as a uint8 array [N, 96, 96, 3], in their order, into an .npy file, and name that",
        ),
        ..CIFAR10
    },
    Dataset {
        name: "tiny-imagenet",
        title: "Tiny-ImageNet at 32 px",
        paper: Some("Tiny-ImageNet"),
        keys: LARGER,
        remedy: Some(
            "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip and name the folder tiny-imagenet-200/train",
        ),
        ..CIFAR10
    },
];

/// The models of the ablation: what the paper leaves open about Algorithm 2, one choice at a time. The dropout is the
/// paper's network's.
const CHOICES: &str = r#"models = [
    { name = "baseline", defense = "none" },
    { name = "student", defense = "distillmd" },
    { name = "example", defense = "distillmd", distill = { routing = "example" } },
    { name = "raw", defense = "distillmd", distill = { teacher_weights = "raw" } },
    { name = "dropout", defense = "distillmd", distill = { teacher_dropout = true } },
    { name = "shared", defense = "distillmd", distill = { init = "shared" } },
]"#;

const ABLATION_CPU: &[Dataset] = &[Dataset {
    name: "ablation-fashion-16",
    title: "Fashion-MNIST at 16 px, network with dropout",
    keys: &[
        "model.dropout=0.1",
        "audit.attacks=['loss', 'secmi', 'pia', 'sima']",
        CHOICES,
    ],
    ..FASHION
}];

const ABLATION_BROUGHT: &[Dataset] = &[Dataset {
    name: "ablation-cifar10",
    keys: &[
        "data.members=25000",
        "data.nonmembers=25000",
        "audit.attacks=['loss', 'secmi', 'pia', 'sima']",
        CHOICES,
    ],
    ..CIFAR10
}];

/// What lengths of training are compared on: no defence, the pair, the student, and the attacks that a figure can hold.
const LENGTHS: &[&str] = &[
    r#"models = [
    { name = "baseline", defense = "none" },
    { name = "dualmd", defense = "dualmd" },
    { name = "student", defense = "distillmd" },
]"#,
    "audit.attacks=['loss', 'secmi', 'secmi-nn', 'pia', 'pian', 'sima']",
];

const EPOCHS_CPU: &[Dataset] = &[Dataset {
    name: "epochs-fashion-16",
    keys: LENGTHS,
    ..FASHION
}];

const EPOCHS_BROUGHT: &[Dataset] = &[Dataset {
    name: "epochs-cifar10",
    keys: LENGTHS,
    ..CIFAR10
}];

/// Every defence of the program, on the first of the two sets.
const DEFENSES: &[Dataset] = &[Dataset {
    name: "defenses-fashion-16",
    text: include_str!("../studies/defenses.toml"),
    ..FASHION
}];

/// Attacks of the tables on text-to-image models.
const TEXT_ATTACKS: &str = "audit.attacks=['loss', 'secmi', 'pia', 'pia-sd-2024', 'pian', 'sima', 'clid-gap', 'wen', 'loss+captions', \
     'sima+captions', 'rounds@2', 'rounds@3', 'rounds@6', 'rounds@1+second', 'rounds@2+second', 'rounds@3+second', 'rounds@6+second', 'rounds@3+captions', \
     'sim-mean+captions', 'sim-mean+captions-mean', 'pw-threshold', 'pw-distribution', 'pw-classifier']";

/// The preset, with all attacks of the tables.
const TEXT_CPU: &[Dataset] = &[Dataset {
    name: "emoji-t2i",
    title: "Fluent emoji at 16 px",
    text: dualmd::presets::EMOJI_T2I_DEMO,
    keys: &[TEXT_ATTACKS],
    ..FASHION
}];

/// Table 6 of the paper. The program has no copies of the pictures and fetches none: whoever has them names their folder.
const POKEMON: Dataset = Dataset {
    name: "pokemon-sd15",
    title: "Pokemon, SD 1.5",
    paper: None,
    text: include_str!("../studies/paper-text.toml"),
    keys: &[TEXT_ATTACKS],
    named_only: false,
    remedy: Some(
        "name a folder of pictures with a metadata.jsonl that has a caption, or a list of captions, for each",
    ),
};

const NARUTO: Dataset = Dataset {
    name: "naruto-sd15",
    title: "Naruto, SD 1.5",
    keys: &[TEXT_ATTACKS, "data.members=610", "data.nonmembers=611"],
    ..POKEMON
};

const TEXT_BROUGHT: &[Dataset] = &[
    POKEMON,
    Dataset {
        name: "pokemon-sd21",
        title: "Pokemon, SD 2.1",
        ..POKEMON
    },
    NARUTO,
    Dataset {
        name: "naruto-sd21",
        title: "Naruto, SD 2.1",
        ..NARUTO
    },
];

/// The sets that a table or figure is made of, at a scale.
pub fn of(what: What, scale: Scale) -> &'static [Dataset] {
    match (what, scale) {
        (What::Ablation, Scale::Cpu) => ABLATION_CPU,
        (What::Ablation, Scale::Paper) => ABLATION_BROUGHT,
        (What::Epochs, Scale::Cpu) => EPOCHS_CPU,
        (What::Epochs, Scale::Paper) => EPOCHS_BROUGHT,
        (What::Defenses, Scale::Cpu) => DEFENSES,
        // Nobody has the machines: runs that were made elsewhere are collected.
        (What::Defenses, Scale::Paper) => &[],
        (what, Scale::Cpu) if what.is_text() => TEXT_CPU,
        (what, Scale::Paper) if what.is_text() => TEXT_BROUGHT,
        (_, Scale::Cpu) => CPU,
        (_, Scale::Paper) => BROUGHT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd::experiment::{Experiment, Train};
    use dualmd_names::Defense;

    fn parse(dataset: &Dataset, more: &[&str]) -> Experiment {
        let sets = dataset.keys.iter().chain(more);
        let sets: Vec<String> = sets.map(|set| (*set).to_owned()).collect();
        Experiment::parse(dataset.text, dataset.name, &sets).unwrap()
    }

    /// One model with our defaults and four that differ in one choice each.
    #[test]
    fn the_ablation_changes_one_choice_at_a_time() {
        for dataset in [&ABLATION_CPU[0], &ABLATION_BROUGHT[0]] {
            let e = parse(dataset, &["data.source=x"]);
            assert_eq!(e.models.len(), 6);
            for model in &e.models[2..] {
                assert_eq!(model.distill.len(), 1, "{model:?}");
                let own = model.distillation(&e.distill).unwrap();
                assert_ne!(own, Some(e.distill.clone()), "{model:?}");
            }
        }
    }

    /// Steps, batch and sizes of the sets that users bring are the paper's (appendix A.2, table 6).
    #[test]
    fn the_papers_studies_are_the_papers() {
        let of = |sets: &[Dataset]| -> Vec<_> {
            let sets = sets.iter().map(|d| {
                let e = parse(d, &["data.source=x"]);
                let sizes = (e.data.members, e.data.nonmembers);
                (d.name, sizes, e.train.steps, e.train.batch, e.train.flip)
            });
            sets.collect()
        };
        assert_eq!(
            of(BROUGHT),
            [
                ("cifar10", (25_000, 25_000), 780_000, 128, true),
                ("cifar100", (25_000, 25_000), 780_000, 128, true),
                ("stl10", (50_000, 50_000), 780_000, 128, false),
                ("tiny-imagenet", (50_000, 50_000), 780_000, 128, false),
            ]
        );
        assert_eq!(
            of(TEXT_BROUGHT),
            [
                ("pokemon-sd15", (416, 417), 20_000, 16, false),
                ("pokemon-sd21", (416, 417), 20_000, 16, false),
                ("naruto-sd15", (610, 611), 20_000, 16, false),
                ("naruto-sd21", (610, 611), 20_000, 16, false),
            ]
        );
        let text = parse(&POKEMON, &["data.source=x", "model.base=y"]);
        assert_eq!(text.models.len(), 6);
        assert!(text.is_text() && parse(&TEXT_CPU[0], &[]).is_text());
    }

    /// The table of all defences has every defence of the program, by the demo's recipe for longer.
    #[test]
    fn no_defence_is_left_out() {
        let e = parse(&DEFENSES[0], &[]);
        for defense in Defense::ALL {
            assert!(e.models.iter().any(|m| m.defense == defense), "{defense}");
        }
        let stored = include_str!("../../../docs/results/demo/experiment.toml");
        let stored = Experiment::parse(stored, "demo", &[]).unwrap();
        let own = e.in_steps().unwrap();
        assert_eq!(own.train.steps, 3000);
        let recipe = Train {
            steps: stored.train.steps,
            dtype: stored.train.dtype,
            eval_every: stored.train.eval_every,
            ..own.train.clone()
        };
        assert_eq!(recipe, stored.train);
        assert_eq!((&own.data, &own.model), (&stored.data, &stored.model));
        assert_eq!(own.sample, stored.sample);
        for attack in &stored.audit.attacks {
            assert!(own.audit.attacks.contains(attack), "{attack}");
        }
    }

    /// The trainer refuses a private training whose batch is larger than its set, after all others were trained.
    #[test]
    fn private_models_of_the_table_have_batches_that_they_can_draw() {
        let e = parse(&DEFENSES[0], &[]);
        let private = e.models.iter().filter(|m| m.defense == Defense::DpSgd);
        for model in private {
            let own = model.recipe(&e).unwrap().unwrap();
            assert!(own.batch <= e.data.members, "{}", model.name);
        }
    }

    /// The CPU studies are one recipe on several image sets.
    #[test]
    fn our_studies_differ_in_their_images() {
        let [mut fashion, emoji] = [&CPU[0], &CPU[1]].map(|d| parse(d, &[]));
        assert_ne!(fashion, emoji);
        fashion.data.source = "emoji".into();
        assert_eq!(fashion, emoji);
    }
}

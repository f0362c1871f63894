//! Names of attacks and defences, parsed once, and the facts that hold of each.
//!
//! * [`BaseAttack`]: every attack, and its row of the table of facts ([`facts`]).
//! * [`AttackSpec`]: what a name asks for: an attack, its timestep or rounds, and its variants ([`spec`]).
//! * [`Drawn`]: the attacks by what a sample's caption draws ([`drawn`]).
//! * [`NameError`]: a name that is none, with the near ones.
//! * [`Defense`]: every defence, and its row of a table of facts ([`defense`]).
//! * [`ModelKind`]: what a model is, as files record it; [`Part`]: the teachers and the models of shards, by the names of their
//!   folders; and what a model may be called ([`model`]).
//! * [`choice!`]: an enum whose variants are words of flags and files.
//! * [`Place`]: where a model in another process is ([`place`]); [`Share`]: which batches are whose, where several processes make them
//!   ([`share`]).
//!
//! Nothing here needs a tensor, so that a report can be made without libtorch. Outside this crate no attack and no
//! defence is recognised by comparing texts.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod choice;
pub mod defense;
pub mod drawn;
mod error;
pub mod facts;
pub mod model;
pub mod place;
pub mod share;
pub mod spec;

pub use defense::{Defense, DefenseFacts, MadeFrom, NoDefense};
pub use drawn::{BlackBox, Drawn, Rounds, Similarity};
pub use error::NameError;
pub use facts::{BaseAttack, Cost, Facts, Kind, Needs, RunsOn};
pub use model::{Half, ModelKind, Part, check_name};
pub use place::{DENOISER_TIMEOUT, Place};
pub use share::Share;
pub use spec::{AttackSpec, Level, Over, Snr, Variant, title};

/// Share of either side whose membership attacks that learn are told, unless another is asked for: that of SecMI's public code.
pub const KNOWN_FRACTION: f64 = 0.2;

/// Updates of each embedding in extraction by search, where nothing else is said. Ours.
pub const SEARCH_STEPS: usize = 50;
/// Groups of generated images that extraction by a classifier leads to, at most, unless a number is named.
pub const SIDE_CLUSTERS: usize = 100;
/// How strongly the classifier leads unless a number is named: 1 is Bayes' rule. More overshoots: of 24 images of a model that has memorised three
/// pictures, 20 steps each, 6 were the one led to at 0, 13 at 1, 1 at 2 and none at 5.
pub const SIDE_SCALE: f64 = 1.0;

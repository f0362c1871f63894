//! The error enum of this crate.

/// What can go wrong in an attack.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// The model under attack refused.
    #[error("the model refused: {0}")]
    Model(#[from] dualmd_diffusion::DiffusionError),
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(#[from] dualmd_torch::tch::TchError),
    /// A text that names no attack.
    #[error(transparent)]
    Name(#[from] dualmd_names::NameError),
    /// A timestep the model's schedule does not have.
    #[error("timestep {t} is outside the model's schedule: choose 0 to {}", timesteps - 1)]
    Timestep {
        /// The timestep asked for.
        t: i64,
        /// T of the schedule.
        timesteps: usize,
    },
    /// A signal-to-noise ratio that no timestep of the model's schedule comes near.
    #[error(
        "snr={ratio}: the timesteps of the model's schedule have ratios from {lowest:.3e} to {highest:.3e}"
    )]
    Snr {
        /// The ratio asked for.
        ratio: f64,
        /// That of the last timestep.
        lowest: f64,
        /// That of the first.
        highest: f64,
    },
    /// A parameter of an attack that makes no sense.
    #[error("attack {attack}: {reason}")]
    Parameter {
        /// Name of the attack.
        attack: &'static str,
        /// What is wrong and what to choose.
        reason: String,
    },
    /// An attack on a pair of teachers was asked of a single model.
    #[error(
        "this attack compares the two models of a DualMD pair, and there is only one: name both model folders"
    )]
    NoTeachers,
    /// An attack that compares with a reference model was run without one.
    #[error(
        "this attack compares with a reference model, trained like the target on other images, and there is none: \
         name one (--reference MODEL; in an experiment audit.reference = true)"
    )]
    NoReference,
    /// An attack that compares captions was run on samples that have none.
    #[error(
        "this attack asks a text-to-image model about captions, and these samples have none: run it on a text-to-image \
         model with a caption for every image, or leave it out"
    )]
    NoPrompts,
    /// A variant that weighs latents by their decoder was run where there is none.
    #[error(
        "+pullback weighs what is in latents by the decoder that makes images of them: it needs a latent model whose autoencoder is \
         here (its folder); ask for the attack without it"
    )]
    NoDecoder,
    /// An attack that learns was run without samples to learn from.
    #[error(
        "this attack learns from samples whose membership is known, and none were set aside for it"
    )]
    NothingKnown,
    /// An attack that is learnt on a shadow model was run without one.
    #[error(
        "this attack is learnt on a shadow model, trained like the target on other images, and there is none: name one with its \
         images (--shadow MODEL --shadow-members DATA --shadow-nonmembers DATA)"
    )]
    NoShadow,
    /// What a run leaves on the way could not be written.
    #[error("what is done could not be kept: {0}")]
    NotKept(String),
    /// An attack on gradients was run on a model that has no parameters to differentiate by.
    #[error(
        "this attack needs the gradients of the model's parameters, which this model does not offer (one that is asked in another process \
         keeps its weights to itself, unless its server can `gradient`: in Python give parameters=model.parameters(), or audit its folder)"
    )]
    NoGradients,
    /// The same attack twice in one run: their rows in a score file could not be told apart.
    #[error("attack {0} is listed twice: keep one")]
    Repeated(String),
    /// The statistics crate refused.
    #[error(transparent)]
    Statistics(#[from] dualmd_stats::StatsError),
    /// Images, ids or tensors that do not fit together.
    #[error("{0}")]
    Samples(String),
    /// A score that is NaN or infinite.
    #[error(
        "the score of sample {sample} is {score}: the model's output overflows there; check the weights \
         (a diverged training?) or attack with dtype f32"
    )]
    NotFinite {
        /// Id of the first such sample of the batch.
        sample: String,
        /// NaN, inf or -inf.
        score: f64,
    },
    /// The caller asked to stop.
    #[error("stopped after {done} of {total} scores: the same command goes on")]
    Stopped {
        /// Scores (samples times attacks) that were done, as the progress told them. Those of a batch that was not finished are done again.
        done: usize,
        /// Scores that were to be done.
        total: usize,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, AttackError>;

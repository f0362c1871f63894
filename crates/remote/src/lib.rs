//! A denoiser in another process: any model that a program can ask, in any framework, behind one socket.
//!
//! * [`message`]: what goes over the socket, a length and a safetensors payload.
//! * [`hello`]: what a server says of its model.
//! * [`levels`]: what a network of another kind (v, x0, flow matching, EDM) is asked, and the noise that its answer means.
//! * [`server`]: the other process: a command that is started, or a socket that is there.
//! * [`client`]: [`RemoteDenoiser`], which asks it.
//! * [`serve`]: the other side, for a denoiser in Rust.
//!
//! The protocol is described in `docs/denoiser.md`. Nothing here knows what is attacked, or who is a member.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod client;
pub mod hello;
pub mod levels;
pub mod message;
pub mod serve;
pub mod server;

pub use client::RemoteDenoiser;
pub use dualmd_names::{DENOISER_TIMEOUT as TIMEOUT, Place};
pub use hello::Hello;
pub use levels::Prediction;

use dualmd_diffusion::DiffusionError;
use dualmd_files::shown;

/// Version of the protocol.
pub const VERSION: u32 = 1;

/// The variable that tells a command which socket to connect to.
pub const SOCKET: &str = "DUALMD_DENOISER_SOCKET";

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The engine refused.
    #[error(transparent)]
    Torch(#[from] dualmd_torch::TorchError),
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Tch(#[from] dualmd_torch::tch::TchError),
    /// A folder for the socket could not be made.
    #[error(transparent)]
    Files(#[from] dualmd_files::Error),
    /// The schedule that a server gave, or what is made of it.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// A command could not be started, or a socket not be opened.
    #[error("--denoiser {}: {}", shown(place), shown(reason))]
    Start {
        /// The command or socket as it was named.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A server that left before it had answered.
    #[error("the denoiser's server ended{}{}", status.as_ref().map_or(String::new(), |s| format!(" ({s})")), last(words))]
    Ended {
        /// How it ended, of a command that was started here.
        status: Option<String>,
        /// What it wrote last.
        words: String,
    },
    /// A server that does not answer.
    #[error(
        "the denoiser's server gave no answer to `{asked}` within {seconds} s{}; a slow model needs a smaller --batch or a longer --denoiser-timeout",
        last(words)
    )]
    Hangs {
        /// The message it was sent.
        asked: String,
        /// The limit.
        seconds: u64,
        /// What it wrote last.
        words: String,
    },
    /// A connection that broke.
    #[error("the connection to the denoiser's server broke: {0}")]
    Connection(std::io::Error),
    /// A message that would be longer than any right answer.
    #[error(
        "the denoiser's server announces an answer of {got} bytes to `{asked}`, and no right one has more than {limit}: it must answer with \
         one f32 tensor of the shape that it named in hello"
    )]
    TooLong {
        /// The message it was sent.
        asked: String,
        /// Bytes it announced.
        got: u64,
        /// Bytes there may be.
        limit: u64,
    },
    /// A message that is no message.
    #[error("the denoiser's server sent what is no message of the protocol: {}; docs/denoiser.md describes them", shown(.0))]
    Message(String),
    /// A server of another version.
    #[error(
        "the denoiser's server speaks version {} of the protocol, and this dualmd version {VERSION}: install the same dualmd on both sides",
        shown(.0)
    )]
    Version(String),
    /// A server whose description of its model makes no sense.
    #[error("what the denoiser's server says of its model: {}", shown(.0))]
    Hello(String),
    /// Asked again after an error that ended the connection.
    #[error("the denoiser's server cannot be asked any more: {0}")]
    Broken(String),
    /// An answer that is none.
    #[error("the denoiser's answer to `{asked}`: {}", shown(reason))]
    Answer {
        /// The message it was sent.
        asked: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The server's own words on what it could not do.
    #[error("the denoiser failed at `{asked}`: {}", shown(reason))]
    Refused {
        /// The message it was sent.
        asked: String,
        /// Its words.
        reason: String,
    },
}

/// The last words of a server, as the end of a sentence.
fn last(words: &str) -> String {
    match words.trim() {
        "" => String::new(),
        words => format!("; its last words: {}", shown(words)),
    }
}

impl From<RemoteError> for DiffusionError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Diffusion(error) => error,
            RemoteError::Torch(error) => Self::Torch(error),
            RemoteError::Tch(error) => Self::Tch(error),
            other => Self::Foreign(other.to_string()),
        }
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, RemoteError>;

//! The one error type of this crate.

use dualmd_files::shown;

/// What can go wrong with image sets and splits. Every message names the file (and the row or entry in it) and says
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source is neither a bundled name nor a path that exists.
    #[error(
        "no data set `{}`: it is not a file or folder, and not one of the bundled sets ({bundled})",
        shown(name)
    )]
    UnknownSource {
        /// What was asked for.
        name: String,
        /// The bundled names, comma-separated.
        bundled: String,
    },
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Files(#[from] dualmd_files::Error),
    /// The operating system refused to read.
    #[error("cannot read {}: {source}", shown(path))]
    Read {
        /// File or folder.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What was to be written could not be put into its form.
    #[error("{0}")]
    Write(std::io::Error),
    /// A picture that does not decode.
    #[error(
        "{}: cannot decode the picture ({}); replace the file or take it out of the set",
        shown(place),
        shown(reason)
    )]
    Picture {
        /// File, and row or entry inside it.
        place: String,
        /// The decoder's reason.
        reason: String,
    },
    /// Something larger than the caps against decompression bombs.
    #[error(
        "{}: {found}, over the limit of {limit}; leave it out, or raise `{key}` if it is meant to be so large",
        shown(place)
    )]
    TooLarge {
        /// File, and row or entry inside it.
        place: String,
        /// What was found, with its unit.
        found: String,
        /// The limit, with its unit.
        limit: String,
        /// The field of [`crate::LoadOptions`] that sets the limit.
        key: &'static str,
    },
    /// A file whose content is not what its form promises.
    #[error("{}: {}; {}", shown(place), shown(problem), shown(remedy))]
    Format {
        /// File, and row or entry inside it.
        place: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A set whose pictures are not all of one size.
    #[error(
        "{}: pictures of different sizes ({}); set `image_size` to bring them to one size (`dualmd export images --image-size N` writes such \
         a folder)",
        shown(place),
        shown(found)
    )]
    Sizes {
        /// The set.
        place: String,
        /// Two of the pictures, with their sizes in pixels.
        found: String,
    },
    /// Options that do not fit each other or the data.
    #[error("{}; {}", shown(problem), shown(remedy))]
    Options {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn format(
        place: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Format {
            place: place.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn options(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Options {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn read(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.display().to_string(),
            source,
        }
    }
}

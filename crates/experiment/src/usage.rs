//! What was typed is wrong.

/// Arguments or keys that only turn out wrong after they were parsed: the program leaves with exit code 2, as for those that its
/// parser refuses.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A failure that what was typed is to blame for: its words.
pub fn usage(error: anyhow::Error) -> anyhow::Error {
    if error.chain().any(|cause| cause.is::<Usage>()) {
        return error;
    }
    Usage(format!("{error:#}")).into()
}

/// As `anyhow::bail!`, for wrong arguments.
#[macro_export]
macro_rules! bail_usage {
    ($($text:tt)*) => {
        return Err($crate::Usage(format!($($text)*)).into())
    };
}

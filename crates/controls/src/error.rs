//! The error type.

/// Why the blind baseline could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum ControlsError {
    /// A side with too few pictures.
    #[error(
        "there are {count} {side}s, and the blind baseline needs at least {least}; give more pictures, or leave the control out and say so"
    )]
    TooFew {
        /// "member" or "non-member".
        side: &'static str,
        /// Pictures there are.
        count: usize,
        /// Pictures needed.
        least: usize,
    },
    /// Everything is one group, so that nothing can be held out.
    #[error(
        "all pictures belong to one group, so none can be held out from it; give the groups by what really belongs together, or leave them out"
    )]
    OneGroup,
    /// A picture whose values do not fit its size, or that has none.
    #[error(
        "a picture claims {width} x {height} pixels of {channels} channels (1 and 3 are possible) and has {values} values; load pictures with `dualmd_data::load`, which refuses such"
    )]
    NotAPicture {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Channels, of which 1 and 3 are possible.
        channels: u8,
        /// Values there are.
        values: usize,
    },
    /// Pictures of several sizes, which would tell the sets apart by itself and cannot be compared by feature.
    #[error(
        "{side} {index} is {found}, but the first member is {expected}; load both sets with the same `image_size` and `channels`"
    )]
    Shape {
        /// "member" or "non-member".
        side: &'static str,
        /// Place in its list, from 0.
        index: usize,
        /// Its shape, `width x height x channels`.
        found: String,
        /// The first member's shape.
        expected: String,
    },
    /// A picture that could not be resized.
    #[error(transparent)]
    Data(#[from] dualmd_data::Error),
    /// Scores that could not be summarised.
    #[error(transparent)]
    Stats(#[from] dualmd_stats::StatsError),
}

//! How a split is drawn.

use crate::choices::{Alpha, NearDuplicates, SplitMethod};
#[cfg(feature = "clap")]
use clap::builder::RangedU64ValueParser;
use std::path::PathBuf;

/// How a split is drawn.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct SplitOptions {
    /// Image set: a folder, parquet, tar, CIFAR, IDX, npz, npy, or `fashion`, `emoji`
    #[cfg_attr(feature = "clap", arg(value_name = "DATA"))]
    pub data: String,
    /// Images to train on; even, because they are divided into two halves
    ///
    /// With --method coin-flip, members and non-members together are the images that coins are tossed for, and the number may be odd.
    #[cfg_attr(feature = "clap", arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(2..)))]
    pub members: usize,
    /// Images to keep out of the training (default: all others)
    #[cfg_attr(feature = "clap", arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..)))]
    pub nonmembers: Option<usize>,
    /// An exact number in two halves, or a fair coin for each image
    #[cfg_attr(feature = "clap", arg(long, value_enum, value_name = "METHOD", default_value_t = SplitMethod::Half))]
    pub method: SplitMethod,
    /// Whether pictures that look almost the same stay together
    #[cfg_attr(feature = "clap", arg(long, value_enum, value_name = "WHAT", default_value_t = NearDuplicates::Group))]
    pub near_duplicates: NearDuplicates,
    /// What becomes of transparency: as in the training
    ///
    /// The images' content ids follow from it, and so the split does.
    #[cfg_attr(feature = "clap", arg(long, value_enum, value_name = "WHAT", default_value_t = Alpha::White))]
    pub alpha: Alpha,
    /// Column that says which images belong together, such as patient or artist (default: group)
    #[cfg_attr(feature = "clap", arg(long, value_name = "COLUMN"))]
    pub group_column: Option<String>,
    /// Column that names the images in split, scores and report (default: the file's name, or the row's number)
    #[cfg_attr(feature = "clap", arg(long, value_name = "COLUMN"))]
    pub id_column: Option<String>,
    /// Write both sides into a new folder too, to train from: DIR/members and DIR/nonmembers
    ///
    /// PNG files with their old names where these can be kept; metadata.jsonl has each one's name, content id, captions, group and label. The
    /// images must be of one size.
    #[cfg_attr(feature = "clap", arg(long, value_name = "DIR"))]
    pub copy_to: Option<PathBuf>,
    /// Everything random follows from it.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub seed: u64,
}

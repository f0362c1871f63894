//! Which images are compared, and by what.

use crate::choices::{Copies, Features};
#[cfg(feature = "clap")]
use clap::builder::RangedU64ValueParser;
use std::path::PathBuf;

/// What is compared, and by what.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct MetricsOptions {
    /// Generated images: a folder, npz, npy, parquet, ...
    #[cfg_attr(feature = "clap", arg(value_name = "GENERATED"))]
    pub generated: String,
    /// Real images that the model never saw
    #[cfg_attr(feature = "clap", arg(long, value_name = "DATA"))]
    pub real: String,
    /// Real images that it was trained on: is what it draws nearer to these?
    #[cfg_attr(feature = "clap", arg(long, value_name = "DATA"))]
    pub members: Option<String>,
    /// Split file that DATA#member and DATA#nonmember refer to
    #[cfg_attr(feature = "clap", arg(long, value_name = "split.json"))]
    pub split: Option<PathBuf>,
    /// Features that images are compared by; with none, only copies are counted
    #[cfg_attr(feature = "clap", arg(long, value_enum, value_name = "NAME", default_value_t = Features::EffLite0))]
    pub features: Features,
    /// File of the features' network (safetensors, or StyleGAN's .pt), or folder of a vit
    #[cfg_attr(
        feature = "clap",
        arg(long, visible_alias = "features-weights", value_name = "FILE")
    )]
    pub weights: Option<PathBuf>,
    /// Also give the distance to these statistics of real images (mu, sigma, as pytorch-fid writes them)
    #[cfg_attr(feature = "clap", arg(long, value_name = "FILE.npz"))]
    pub statistics: Option<PathBuf>,
    /// Write the statistics of --real in the same format
    #[cfg_attr(feature = "clap", arg(long, value_name = "FILE.npz"))]
    pub save_statistics: Option<PathBuf>,
    /// What copies of the members are found by; the images of --real are the control
    #[cfg_attr(feature = "clap", arg(long, value_enum, value_name = "NAME", default_value_t = Copies::Auto))]
    pub copies: Copies,
    /// File of the network that copies are found by (ONNX)
    #[cfg_attr(feature = "clap", arg(long, value_name = "FILE"))]
    pub copies_weights: Option<PathBuf>,
    /// Bring all images, generated and real, to this side first (default: each set at its own size)
    #[cfg_attr(feature = "clap", arg(long, value_name = "PIXELS", value_parser = RangedU64ValueParser::<u32>::new().range(4..=4096)))]
    pub image_size: Option<u32>,
    /// Neither keep features of the real images in the cache folder, nor take those that are there
    #[cfg_attr(feature = "clap", arg(long))]
    pub no_cache: bool,
    /// Everything random follows from it.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub seed: u64,
}

//! What both test programs open: tests/golden/blip, made by interop/make_blip_golden.py.

#[path = "../../../encoders/tests/common/pictures.rs"]
mod pictures;

use dualmd_data::Picture;
use dualmd_torch::Tensor;
use pictures::pictures_and;
use std::path::PathBuf;

pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/blip"
    ))
    .join(name)
}

/// The pictures, and what Pillow and transformers prepare of them.
pub fn pictures() -> (Vec<Picture>, Tensor) {
    pictures_and("pixels", &golden("images.safetensors"))
}

//! What both test programs open: tests/golden/blip, made by interop/make_blip_golden.py.

use dualmd_data::Picture;
use dualmd_torch::Tensor;
use dualmd_torch::weights::read_safetensors;
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
    let mut tensors = read_safetensors(&golden("images.safetensors")).unwrap();
    let pixels = tensors.remove("pixels").unwrap();
    let pictures = tensors.values().map(|t| {
        let (height, width, channels) = t.size3().unwrap();
        Picture {
            width: width as u32,
            height: height as u32,
            channels: channels as u8,
            pixels: Vec::try_from(t.flatten(0, -1)).unwrap(),
        }
    });
    (pictures.collect(), pixels)
}

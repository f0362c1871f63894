//! Pictures as golden files keep them.

use dualmd_data::Picture;
use dualmd_torch::Tensor;
use dualmd_torch::weights::read_safetensors;
use std::path::Path;

/// The pictures of a file ([height, width, channels] u8 each) in the order of their names, and the one tensor in it that is none.
pub fn pictures_and(rest: &str, file: &Path) -> (Vec<Picture>, Tensor) {
    let mut tensors = read_safetensors(file).unwrap();
    let rest = tensors.remove(rest).unwrap();
    let pictures = tensors.values().map(|t| {
        let (height, width, channels) = t.size3().unwrap();
        Picture {
            width: width as u32,
            height: height as u32,
            channels: channels as u8,
            pixels: Vec::try_from(t.flatten(0, -1)).unwrap(),
        }
    });
    (pictures.collect(), rest)
}

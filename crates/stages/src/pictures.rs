//! Tensors as pictures.

use super::create_folder;
use crate::reporter::Reporter;
use anyhow::{Result, anyhow};
use dualmd_data::{ImageSet, Listing, LoadOptions, Picture, grid, save_png};
use dualmd_diffusion::sampler::{SampleOptions, Sampler, initial_noise, sample};
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule};
use dualmd_torch::{Device, Kind, Tensor};
use std::path::Path;

/// [N, C, H, W] f32 in [-1, 1] of the pictures at `positions` of a set, on the CPU.
pub fn tensor(set: &ImageSet, positions: &[usize]) -> Tensor {
    let [c, h, w] = set.shape().map(|d| d as i64);
    Tensor::from_slice(&set.to_f32(positions)).view([-1, c, h, w])
}

/// The same of all pictures of a set.
pub fn tensor_of_all(set: &ImageSet) -> Tensor {
    tensor(set, &(0..set.len()).collect::<Vec<_>>())
}

/// [N, C, H, W] uint8 of all pictures of a set, on the CPU: a quarter of the room that [`tensor_of_all`] takes.
pub fn bytes_of_all(set: &ImageSet) -> Tensor {
    let [c, h, w] = set.shape().map(|d| d as i64);
    let flat: Vec<u8> = set
        .records
        .iter()
        .flat_map(|r| r.picture.pixels.iter().copied())
        .collect();
    Tensor::from_slice(&flat)
        .view([-1, h, w, c])
        .permute([0, 3, 1, 2])
        .contiguous()
}

/// How images are loaded that a model is to see: of its size and its channels, where it says which (`shape`: [C, H, W]), else in
/// colour.
pub fn as_seen(shape: Option<[i64; 3]>) -> LoadOptions<'static> {
    LoadOptions {
        image_size: shape.and_then(|s| u32::try_from(s[1]).ok()),
        channels: shape.and_then(|s| u8::try_from(s[0]).ok()).or(Some(3)),
        ..LoadOptions::default()
    }
}

/// An image set; what reading it was like (files left out, transparency) is told.
///
/// # Errors
/// As [`dualmd_data::load()`].
pub fn load(
    source: &str,
    options: &LoadOptions<'_>,
    reporter: &dyn Reporter,
) -> dualmd_data::Result<ImageSet> {
    let set = dualmd_data::load(source, options)?;
    tell_notes(&set, reporter);
    Ok(set)
}

/// The same with the pixels in a file without a name in `folder`, so that memory holds what is known of the images only.
///
/// # Errors
/// As [`dualmd_data::Listing::of`].
pub fn list(
    source: &str,
    options: &LoadOptions<'_>,
    folder: &Path,
    reporter: &dyn Reporter,
) -> dualmd_data::Result<Listing> {
    let listing = Listing::of(source, options, folder)?;
    tell_notes(listing.set(), reporter);
    Ok(listing)
}

fn tell_notes(set: &ImageSet, reporter: &dyn Reporter) {
    for note in &set.notes {
        reporter.warn(&format!("note: {}: {note}", set.source));
    }
}

/// Each image of [N, C, H, W] in [-1, 1] as 8-bit pixels.
pub fn pictures(images: &Tensor) -> Result<Vec<Picture>> {
    let size = images.size();
    let [n, c, h, w] = size.as_slice() else {
        return Err(anyhow!("images have shape {size:?}, expected [N, C, H, W]"));
    };
    let flat = images
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous()
        .view([-1]);
    let values: Vec<f32> = Vec::try_from(&flat)?;
    let each = (c * h * w) as usize;
    (0..*n as usize)
        .map(|i| {
            let block = &values[i * each..(i + 1) * each];
            Ok(Picture::from_f32(block, *c as u8, *h as u32, *w as u32)?)
        })
        .collect()
}

/// A network in training answers with its output as it is, and samplers take noise.
struct Eps<'a> {
    network: &'a dyn Denoiser,
    schedule: &'a NoiseSchedule,
}

impl Denoiser for Eps<'_> {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        let (x, time) = self.schedule.question(x_t, t);
        let output = self.network.predict_noise(&x, &time, condition)?;
        Ok(self.schedule.noise_of_output(output, x_t, t))
    }

    fn predict_velocity(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
    ) -> dualmd_diffusion::Result<Tensor> {
        let time = self.schedule.time_of_level(s);
        self.network.predict_noise(x_s, &time, condition)
    }
}

/// A sheet of 16 DDIM-25 samples from the noise that all sheets of a run share; `told`: what a conditional network is told for
/// each.
pub fn sheet(
    network: &dyn Denoiser,
    schedule: &NoiseSchedule,
    told: Option<&Condition>,
    shape: [i64; 3],
    seed: u64,
    device: Device,
    path: &Path,
) -> Result<()> {
    let n = told.map_or(16, |c| usize::try_from(c.len()).unwrap_or(0));
    let noise = initial_noise(seed, n, shape, device);
    let options = SampleOptions {
        sampler: Sampler::Ddim,
        steps: 25,
        batch: 16,
        seed,
        clip: Some(1.0),
        unbounded: false,
    };
    let network = Eps { network, schedule };
    let images = sample(&network, schedule, &noise, told, &options, |_| true)?;
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    save_png(path, &grid(&pictures(&images)?, 8, 1))?;
    Ok(())
}

//! The images of a training, in memory or in a file.

use crate::together::add;
use crate::{DefenseError, Result};
use dualmd_data::{Picture, Pixels};
use dualmd_torch::device::{bring, unused_memory};
use dualmd_torch::{Device, Kind, Tensor};

/// Pixels in a file are brought to a GPU if they take no more than one part in so many of its memory that nobody uses: a quarter. The rest is
/// for weights, moments, averages and what a pass keeps, of which the loop knows nothing yet.
const SHARE: u64 = 4;

/// Pictures that are brought at a time.
const AT_ONCE: usize = 4096;

/// Images that a batch is gathered from, [N, C, H, W].
pub enum Images {
    /// f32, on the training device: images in [-1, 1], or the means of their latents.
    Held(Tensor),
    /// 8-bit pixels in a file: the images of a batch are read, made f32 in [-1, 1] and brought to the device, to a GPU by way of pinned
    /// memory. So memory does not grow with their number, beyond the few bytes that [`Pixels`] takes for each.
    Filed(Pixels),
    /// The same pixels, 8 bits each, on a GPU: there a batch is gathered and made f32, and nothing of it comes from the processor but the
    /// numbers of its images. A training makes it of [`Self::Filed`] where there is room.
    Brought {
        /// [N, H, W, C] u8.
        pixels: Tensor,
        /// What each of the 256 bytes is as f32, \[256\]: so that no device rounds in its own way.
        values: Tensor,
    },
    /// Those of the first, and after them those of the second.
    Both(Box<Self>, Box<Self>),
}

impl From<Tensor> for Images {
    fn from(images: Tensor) -> Self {
        Self::Held(images)
    }
}

impl Images {
    /// N, C, H, W.
    #[must_use]
    pub fn size(&self) -> Vec<i64> {
        match self {
            Self::Held(images) => images.size(),
            Self::Filed(pixels) => {
                let shape = pixels.shape().map(|side| side as i64);
                std::iter::once(pixels.len() as i64).chain(shape).collect()
            }
            Self::Brought { pixels, .. } => {
                let mut size = pixels.size();
                // Channels last, as in the file.
                if size.len() == 4 {
                    size[1..].rotate_right(1);
                }
                size
            }
            Self::Both(first, second) => {
                let mut size = first.size();
                let more = second.size();
                if let (Some(n), Some(more)) = (size.first_mut(), more.first()) {
                    *n += more;
                }
                size
            }
        }
    }

    /// How many there are.
    fn count(&self) -> i64 {
        self.size().first().copied().unwrap_or(0)
    }

    /// The images at `rows`, in that order, as f32 on `device`, to the last bit the same wherever they lie.
    ///
    /// # Errors
    /// There are not so many; a file that cannot be read.
    pub fn rows(&self, rows: &[i64], device: Device) -> Result<Tensor> {
        match self {
            Self::Held(images) => {
                let at = bring(&Tensor::from_slice(rows), images.device());
                Ok(images.f_index_select(0, &at)?.f_to_device(device)?)
            }
            Self::Filed(pixels) => {
                // A number below 0 is past the end as well.
                let at = rows
                    .iter()
                    .map(|&i| usize::try_from(i).unwrap_or(usize::MAX));
                let values = pixels.to_f32(&at.collect::<Vec<_>>())?;
                let mut size = self.size();
                size[0] = rows.len() as i64;
                let images = Tensor::from_slice(&values).f_view(size.as_slice())?;
                Ok(bring(&images, device))
            }
            Self::Brought { pixels, values } => {
                let n = self.count();
                // A GPU would end the process.
                if let Some(row) = rows.iter().find(|row| !(0..n).contains(*row)) {
                    return Err(DefenseError::Setting(format!("image {row} of {n}")));
                }
                let at = bring(&Tensor::from_slice(rows), pixels.device());
                let drawn = pixels.f_index_select(0, &at)?;
                let bytes = drawn.f_reshape([-1])?.f_to_kind(Kind::Int)?;
                let images = values.f_index_select(0, &bytes)?;
                let images = images.f_view(drawn.size().as_slice())?;
                let images = images.f_permute([0, 3, 1, 2])?.f_contiguous()?;
                Ok(images.f_to_device(device)?)
            }
            Self::Both(first, second) => {
                let n = first.count();
                let (own, others): (Vec<i64>, Vec<i64>) = rows.iter().partition(|i| **i < n);
                let others: Vec<i64> = others.into_iter().map(|i| i - n).collect();
                // Where the next of either lies among both.
                let (mut own_at, mut other_at) = (0, own.len() as i64);
                let next = |&i: &i64| {
                    let at = if i < n { &mut own_at } else { &mut other_at };
                    *at += 1;
                    *at - 1
                };
                let order: Vec<i64> = rows.iter().map(next).collect();
                let all = [first.rows(&own, device)?, second.rows(&others, device)?];
                let order = bring(&Tensor::from_slice(&order), device);
                Ok(Tensor::f_cat(&all, 0)?.f_index_select(0, &order)?)
            }
        }
    }

    /// Some at a time, [n, C, H, W], n being `each` or, of the last, what is left.
    ///
    /// # Errors
    /// What [`Images::rows`] or `work` gives.
    pub fn in_parts<T, E: From<crate::DefenseError>>(
        &self,
        each: usize,
        device: Device,
        mut work: impl FnMut(Tensor) -> std::result::Result<T, E>,
    ) -> std::result::Result<Vec<T>, E> {
        let all: Vec<i64> = (0..self.count()).collect();
        all.chunks(each.max(1))
            .map(|rows| work(self.rows(rows, device)?))
            .collect()
    }

    /// Brings pixels that lie in a file to a GPU, once for all steps, if they take no more than a quarter of its memory that nobody uses.
    /// Otherwise, on a processor, and where libtorch does not say how much that is, all stays as it is.
    ///
    /// # Errors
    /// A file that cannot be read; what libtorch refuses.
    pub(crate) fn settle(&mut self, device: Device) -> Result<()> {
        match unused_memory(device) {
            Some(unused) => self.settle_within(unused / SHARE, device),
            None => Ok(()),
        }
    }

    /// The same within this many bytes, on any device.
    fn settle_within(&mut self, bytes: u64, device: Device) -> Result<()> {
        match self {
            Self::Filed(pixels) => {
                let each: usize = pixels.shape().iter().product();
                if (pixels.len() as u64).saturating_mul(each as u64) <= bytes {
                    let brought = brought(pixels, device)?;
                    *self = brought;
                }
                Ok(())
            }
            Self::Both(first, second) => {
                first.settle_within(bytes / 2, device)?;
                second.settle_within(bytes / 2, device)
            }
            Self::Held(_) | Self::Brought { .. } => Ok(()),
        }
    }

    /// Adds what they are to a hash, which tells sets of one kind apart.
    pub(crate) fn add_to(&self, hasher: &mut blake3::Hasher) -> Result<()> {
        match self {
            Self::Held(images) | Self::Brought { pixels: images, .. } => add(hasher, images),
            Self::Filed(pixels) => {
                hasher.update(format!("{:?}", self.size()).as_bytes());
                for i in 0..pixels.len() {
                    hasher.update(&pixels.picture(i)?.pixels);
                }
                Ok(())
            }
            Self::Both(first, second) => {
                first.add_to(hasher)?;
                second.add_to(hasher)
            }
        }
    }
}

/// Pixels of a file on a device.
fn brought(pixels: &Pixels, device: Device) -> Result<Images> {
    let [channels, height, width] = pixels.shape().map(|side| side as i64);
    let n = pixels.len();
    let all = Tensor::f_zeros([n as i64, height, width, channels], (Kind::Uint8, device))?;
    for first in (0..n).step_by(AT_ONCE) {
        let here = AT_ONCE.min(n - first);
        let mut bytes = Vec::new();
        for i in first..first + here {
            bytes.extend_from_slice(&pixels.picture(i)?.pixels);
        }
        let part = Tensor::from_slice(&bytes).f_view([here as i64, height, width, channels])?;
        all.f_narrow(0, first as i64, here as i64)?.f_copy_(&part)?;
    }
    // By the code that makes f32 of them in memory.
    let every = Picture {
        width: 256,
        height: 1,
        channels: 1,
        pixels: (0..=255).collect(),
    };
    let mut values = Vec::new();
    every.extend_f32(&mut values);
    Ok(Images::Brought {
        pixels: all,
        values: Tensor::from_slice(&values).f_to_device(device)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{ImageSet, Record};
    use std::path::Path;

    /// Five pictures of this many channels in a file of `folder`, and as they are held.
    fn both(folder: &Path, channels: u8) -> (Images, Tensor) {
        let record = |i: u8| {
            let n = 4 * 3 * usize::from(channels);
            let picture = Picture {
                width: 4,
                height: 3,
                channels,
                pixels: (0..n).map(|v| (v * 7) as u8 ^ (i * 51)).collect(),
            };
            Record {
                id: picture.id(),
                picture,
                captions: vec![],
                group: None,
                label: None,
                name: i.to_string(),
                file: None,
            }
        };
        let set = ImageSet::new("s".into(), None, (0..5).map(record).collect()).unwrap();
        let pixels = set.records.iter().map(|r| r.picture.pixels.clone());
        let path = folder.join(format!("{channels}.pixels"));
        std::fs::write(&path, pixels.collect::<Vec<_>>().concat()).unwrap();
        let file = dualmd_files::open(&path).unwrap();
        let filed = Pixels::stored(file, &path, set.shape(), set.len()).unwrap();
        let [c, h, w] = set.shape().map(|side| side as i64);
        let all: Vec<usize> = (0..set.len()).collect();
        let held = Tensor::from_slice(&set.to_f32(&all)).view([-1, c, h, w]);
        (Images::Filed(filed), held)
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let values = Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn rows_of_a_file_are_those_of_memory_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        for channels in [1, 3] {
            let (filed, tensor) = both(dir.path(), channels);
            let held = Images::from(tensor.shallow_clone());
            assert_eq!(filed.size(), held.size());
            let asked: [&[i64]; 4] = [&[], &[4], &[0, 1, 2, 3, 4], &[3, 3, 0, 3]];
            for rows in asked {
                let [own, same] =
                    [&filed, &held].map(|images| images.rows(rows, Device::Cpu).unwrap());
                assert_eq!((own.size(), bits(&own)), (same.size(), bits(&same)));
                let wanted = tensor.index_select(0, &Tensor::from_slice(rows));
                assert_eq!(bits(&own), bits(&wanted));
            }
            for beyond in [5, -1] {
                let said = filed.rows(&[beyond], Device::Cpu).unwrap_err().to_string();
                assert!(said.contains("of 5"), "{said}");
            }
        }
    }

    /// As a training finds them on a GPU, here on the processor: the same bits, and refused with words where there are not so many.
    #[test]
    fn rows_that_were_brought_are_those_of_the_file_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        for channels in [1, 3] {
            let (mut images, tensor) = both(dir.path(), channels);
            let size = images.size();
            let needed = 5 * 4 * 3 * u64::from(channels);
            images.settle_within(needed - 1, Device::Cpu).unwrap();
            assert!(matches!(images, Images::Filed(_)), "no room");
            images.settle(Device::Cpu).unwrap();
            assert!(matches!(images, Images::Filed(_)), "a processor");
            images.settle_within(needed, Device::Cpu).unwrap();
            assert!(matches!(images, Images::Brought { .. }));
            assert_eq!(images.size(), size);
            let asked: [&[i64]; 4] = [&[], &[4], &[0, 1, 2, 3, 4], &[3, 3, 0, 3]];
            for rows in asked {
                let got = images.rows(rows, Device::Cpu).unwrap();
                let wanted = tensor.index_select(0, &Tensor::from_slice(rows));
                assert_eq!((got.size(), bits(&got)), (wanted.size(), bits(&wanted)));
                assert!(got.is_contiguous());
            }
            for beyond in [5, -1] {
                let said = images.rows(&[beyond], Device::Cpu).unwrap_err().to_string();
                assert!(said.contains("of 5"), "{said}");
            }
            let (filed, _) = both(dir.path(), channels);
            let mut pair = Images::Both(Box::new(tensor.shallow_clone().into()), Box::new(filed));
            pair.settle_within(2 * needed, Device::Cpu).unwrap();
            let got = pair.rows(&[6, 1, 9], Device::Cpu).unwrap();
            let wanted = tensor.index_select(0, &Tensor::from_slice(&[1i64, 1, 4]));
            assert_eq!(bits(&got), bits(&wanted));
        }
    }

    #[test]
    fn those_of_two_places_stand_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let (filed, tensor) = both(dir.path(), 3);
        let drawn = &tensor.narrow(0, 0, 2) * 0.5;
        let whole = Tensor::cat(&[&drawn, &tensor], 0);
        let both = Images::Both(Box::new(drawn.into()), Box::new(filed));
        assert_eq!(both.size(), whole.size());
        let asked: [&[i64]; 4] = [&[6, 0, 2, 1, 2], &[1], &[5, 3], &[]];
        for rows in asked {
            let got = both.rows(rows, Device::Cpu).unwrap();
            let wanted = whole.index_select(0, &Tensor::from_slice(rows));
            assert_eq!((got.size(), bits(&got)), (wanted.size(), bits(&wanted)));
        }
        let parts = both.in_parts(3, Device::Cpu, Ok::<_, DefenseError>);
        let parts = parts.unwrap();
        let sizes: Vec<i64> = parts.iter().map(|part| part.size()[0]).collect();
        assert_eq!(sizes, [3, 3, 1]);
        assert_eq!(bits(&Tensor::cat(&parts, 0)), bits(&whole));
    }

    #[test]
    fn a_hash_tells_files_apart() {
        let dir = tempfile::tempdir().unwrap();
        let of = |images: &Images| {
            let mut hasher = blake3::Hasher::new();
            images.add_to(&mut hasher).unwrap();
            hasher.finalize()
        };
        let (one, _) = both(dir.path(), 1);
        let before = of(&one);
        assert_eq!(of(&one), before);
        let path = dir.path().join("1.pixels");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[59] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_ne!(of(&one), before);
        // Cut while it is in use.
        std::fs::write(&path, &bytes[..50]).unwrap();
        let mut hasher = blake3::Hasher::new();
        let said = one.add_to(&mut hasher).unwrap_err().to_string();
        assert!(
            said.contains("1.pixels: it ends before picture 5"),
            "{said}"
        );
    }
}

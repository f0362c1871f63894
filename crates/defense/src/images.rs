//! The images of a training, in memory or in a file.

use crate::Result;
use crate::together::add;
use dualmd_data::Pixels;
use dualmd_torch::{Device, Tensor};

/// Images that a batch is gathered from, [N, C, H, W].
pub enum Images {
    /// f32, on the training device: images in [-1, 1], or the means of their latents.
    Held(Tensor),
    /// 8-bit pixels in a file: the images of a batch are read, made f32 in [-1, 1] and brought to the device. So memory does not
    /// grow with their number, beyond the few bytes that [`Pixels`] takes for each.
    Filed(Pixels),
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
                let at = Tensor::from_slice(rows).f_to_device(images.device())?;
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
                Ok(Tensor::from_slice(&values)
                    .f_view(size.as_slice())?
                    .f_to_device(device)?)
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
                let order = Tensor::from_slice(&order).f_to_device(device)?;
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

    /// Adds what they are to a hash, which tells sets of one kind apart.
    pub(crate) fn add_to(&self, hasher: &mut blake3::Hasher) -> Result<()> {
        match self {
            Self::Held(images) => add(hasher, images),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DefenseError;
    use dualmd_data::{ImageSet, Picture, Record};
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

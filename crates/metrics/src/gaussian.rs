//! Mean and covariance of a set of features, and the field's `.npz` files of them.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write as _};
use std::path::Path;

use dualmd_data::npy::Header;

use crate::error::{MetricsError, Result, file_error};
use crate::features::Features;
use crate::linalg::{self, Matrix};

/// Columns above which a statistics file is refused before memory is reserved for it: a covariance of 2 GB.
const MAX_DIM: u64 = 16_384;

/// Mean and unbiased covariance (division by n - 1) of features, in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaussian {
    pub(crate) mean: Vec<f64>,
    pub(crate) covariance: Matrix,
    pub(crate) n: Option<usize>,
    pub(crate) extractor: Option<String>,
}

impl Gaussian {
    /// Statistics of a table of features.
    #[must_use]
    pub fn of(features: &Features) -> Self {
        let mean = linalg::mean(features);
        Self {
            covariance: linalg::covariance(features, &mean),
            mean,
            n: Some(features.count()),
            extractor: Some(features.extractor().to_owned()),
        }
    }

    /// D.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Images behind the statistics; `None` when read from a file that does not say.
    #[must_use]
    pub fn n(&self) -> Option<usize> {
        self.n
    }

    /// Name of the extractor; `None` when read from a file that does not say.
    #[must_use]
    pub fn extractor(&self) -> Option<&str> {
        self.extractor.as_deref()
    }

    /// The mean, D numbers.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The covariance, D x D in row-major order.
    #[must_use]
    pub fn covariance(&self) -> Vec<f64> {
        self.covariance.values().to_vec()
    }

    /// Reads an `.npz` with `mu` (D numbers) and `sigma` (D x D), f64 or f32, as pytorch-fid and others write it. `n`
    /// and `extractor` are taken too when the file was written here. Object arrays (pickles) are refused.
    ///
    /// # Errors
    /// [`MetricsError::File`] for a missing or broken file, a missing key, another type or shape, a number that is not
    /// finite, or a sigma that is not symmetric.
    pub fn read_npz(path: &Path) -> Result<Self> {
        let file = dualmd_files::open(path)?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| {
            file_error(
                path,
                format!(
                    "is no .npz archive ({e}); write it with numpy.savez(path, mu=mu, sigma=sigma)"
                ),
            )
        })?;
        let (shape, mean) = floats(path, &mut archive, "mu")?;
        let d = mean.len();
        if shape.len() != 1 || d == 0 {
            return Err(file_error(
                path,
                format!("mu has shape {shape:?}; it must be one row of D numbers"),
            ));
        }
        let (shape, sigma) = floats(path, &mut archive, "sigma")?;
        if shape != [d, d] {
            return Err(file_error(
                path,
                format!(
                    "sigma has shape {shape:?}, but mu has {d} numbers; save both of the same features"
                ),
            ));
        }
        // Either memory order gives the same symmetric matrix.
        let scale = sigma.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let lopsided = (0..d * d).any(|k| {
            let (i, j) = (k / d, k % d);
            (sigma[i * d + j] - sigma[j * d + i]).abs() > 1e-5 * scale
        });
        if lopsided {
            return Err(file_error(
                path,
                "sigma is not symmetric, so it is no covariance; save numpy.cov(features, rowvar=False)",
            ));
        }
        let covariance = Matrix::from_fn(d, d, |i, j| 0.5 * (sigma[i * d + j] + sigma[j * d + i]));
        Ok(Self {
            mean,
            covariance,
            n: read_count(path, &mut archive)?,
            extractor: read_name(path, &mut archive)?,
        })
    }

    /// Writes `mu` and `sigma` as f64, and `n` (i64) and `extractor` (UTF-8 bytes as u8), which numpy's readers of the
    /// other two pass over. Atomically; like `numpy.savez`, without compression.
    ///
    /// # Errors
    /// [`MetricsError::File`] with what writing gives.
    pub fn write_npz(&self, path: &Path) -> Result<()> {
        let named = |e: &dyn std::fmt::Display| file_error(path, e);
        let d = self.dim() as u64;
        let mut entries = vec![
            ("mu", f64s(&[d], &self.mean)),
            ("sigma", f64s(&[d, d], self.covariance.values())),
        ];
        if let Some(n) = self.n {
            entries.push(("n", npy("<i8", &[], [(n as i64).to_le_bytes()].into_iter())));
        }
        if let Some(name) = &self.extractor {
            let bytes = name.bytes().map(|byte| [byte]);
            entries.push(("extractor", npy("|u1", &[name.len() as u64], bytes)));
        }
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(true);
        for (key, bytes) in entries {
            archive
                .start_file(format!("{key}.npy"), options)
                .map_err(|e| named(&e))?;
            archive.write_all(&bytes).map_err(|e| named(&e))?;
        }
        let bytes = archive.finish().map_err(|e| named(&e))?.into_inner();
        Ok(dualmd_files::write(path, &bytes)?)
    }

    pub(crate) fn check_comparable(&self, other: &Self) -> Result<()> {
        let named = match (&self.extractor, &other.extractor) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        if named && self.dim() == other.dim() {
            return Ok(());
        }
        let describe = |g: &Self| {
            let name = g.extractor.as_deref().unwrap_or("statistics");
            format!("{name} ({} columns)", g.dim())
        };
        Err(MetricsError::Mismatch {
            first: describe(self),
            second: describe(other),
        })
    }
}

type Archive = zip::ZipArchive<BufReader<File>>;

/// An array as numpy writes it, version 1.0: `descr` describes the values, whose bytes follow.
fn npy<const N: usize>(
    descr: &str,
    shape: &[u64],
    values: impl Iterator<Item = [u8; N]>,
) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}), }}");
    // Magic number, version and the header's length are 10 bytes; the values begin at a multiple of 64. Of two sides at most, it
    // is far shorter than 2^16.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<0$}\n", length - 1).bytes());
    bytes.extend(values.flatten());
    bytes
}

fn f64s(shape: &[u64], values: &[f64]) -> Vec<u8> {
    npy("<f8", shape, values.iter().map(|v| v.to_le_bytes()))
}

/// Calls `read` with the array `key`, if there is one.
fn with_array<T>(
    path: &Path,
    archive: &mut Archive,
    key: &str,
    read: impl FnOnce(Header, &mut dyn Read) -> Result<T>,
) -> Result<Option<T>> {
    let name = format!("{key}.npy");
    if archive.index_for_name(&name).is_none() {
        return Ok(None);
    }
    let broken = |e: &dyn std::fmt::Display| {
        file_error(
            path,
            format!("array {key} is damaged ({e}); copy or save it again"),
        )
    };
    let mut entry = archive.by_name(&name).map_err(|e| broken(&e))?;
    let header = Header::read(&mut entry).map_err(|e| broken(&e))?;
    read(header, &mut entry).map(Some)
}

/// Shape and values of a float array of at most two axes.
fn floats(path: &Path, archive: &mut Archive, key: &str) -> Result<(Vec<usize>, Vec<f64>)> {
    let refuse = |reason: String| Err(file_error(path, format!("array {key} {reason}")));
    let read = |header: Header, stream: &mut dyn Read| {
        let shape = &header.shape;
        if shape.len() > 2 || shape.iter().any(|&s| s > MAX_DIM) {
            return refuse(format!(
                "has shape {shape:?}; statistics are D numbers and D x D numbers, with D up to {MAX_DIM}"
            ));
        }
        if !matches!(header.dtype.plain(), Some(('f', 4 | 8))) {
            return refuse(format!(
                "holds {}, not float64 or float32; save it as float64",
                header.dtype.descr()
            ));
        }
        match header.floats(stream) {
            Err(e) => refuse(format!("is damaged ({e}); copy or save it again")),
            Ok(values) if values.iter().any(|v| !v.is_finite()) => {
                refuse("holds a number that is not finite; compute the statistics again".into())
            }
            Ok(values) => Ok((shape.iter().map(|&s| s as usize).collect(), values)),
        }
    };
    match with_array(path, archive, key, read)? {
        Some(array) => Ok(array),
        None => {
            let found = archive.file_names().collect::<Vec<_>>().join(", ");
            refuse(format!(
                "is not there (found: {found}); save the statistics as mu and sigma"
            ))
        }
    }
}

fn read_count(path: &Path, archive: &mut Archive) -> Result<Option<usize>> {
    let read = |header: Header, stream: &mut dyn Read| {
        let refuse = || {
            file_error(
                path,
                "array n is no count of images; save one int64, or leave it out",
            )
        };
        let is_one = header.dtype.plain() == Some(('i', 8)) && header.count() == 1;
        if !is_one {
            return Err(refuse());
        }
        match header.integers(stream).as_deref() {
            Ok(&[n]) if n >= 2 => Ok(n as usize),
            _ => Err(refuse()),
        }
    };
    with_array(path, archive, "n", read)
}

fn read_name(path: &Path, archive: &mut Archive) -> Result<Option<String>> {
    let read = |header: Header, stream: &mut dyn Read| {
        let refuse = || {
            file_error(
                path,
                "array extractor is no short UTF-8 text as u8; leave it out",
            )
        };
        let length = match header.shape[..] {
            [length @ ..=256] if header.dtype.plain() == Some(('u', 1)) => length as usize,
            _ => return Err(refuse()),
        };
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).map_err(|_| refuse())?;
        String::from_utf8(bytes).map_err(|_| refuse())
    };
    with_array(path, archive, "extractor", read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> Features {
        Features::new("toy", 2, vec![1.0, 0.0, 3.0, 4.0, 2.0, 2.0]).unwrap()
    }

    fn archive(entries: &[(&str, Vec<u8>)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = zip::ZipWriter::new(file.reopen().unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        file
    }

    fn refusal(entries: &[(&str, Vec<u8>)]) -> String {
        Gaussian::read_npz(archive(entries).path())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn statistics_by_hand() {
        let g = Gaussian::of(&features());
        assert_eq!(g.mean(), [2.0, 2.0]);
        // Deviations (-1, -2), (1, 2), (0, 0), divided by 2.
        assert_eq!(g.covariance(), [1.0, 2.0, 2.0, 4.0]);
        assert_eq!((g.n(), g.extractor(), g.dim()), (Some(3), Some("toy"), 2));
    }

    #[test]
    fn more_rows_than_a_block() {
        let n = linalg::BLOCK * 2 + 3;
        let values: Vec<f32> = (0..n).map(|i| (i % 7) as f32).collect();
        let g = Gaussian::of(&Features::new("toy", 1, values.clone()).unwrap());
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        let square = |v: &f32| (f64::from(*v) - mean).powi(2);
        let variance = values.iter().map(square).sum::<f64>() / (n - 1) as f64;
        assert!((g.covariance()[0] - variance).abs() < 1e-12 * variance);
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("real.npz");
        let g = Gaussian::of(&features());
        g.write_npz(&path).unwrap();
        assert_eq!(Gaussian::read_npz(&path).unwrap(), g);
    }

    #[test]
    fn f32_and_files_of_others_are_read() {
        let mu = npy("<f4", &[1], [0.5f32.to_le_bytes()].into_iter());
        let sigma = npy("<f4", &[1, 1], [2.0f32.to_le_bytes()].into_iter());
        let file = archive(&[("mu.npy", mu), ("sigma.npy", sigma)]);
        let g = Gaussian::read_npz(file.path()).unwrap();
        assert_eq!((g.mean(), g.covariance()), (&[0.5][..], vec![2.0]));
        assert_eq!((g.n(), g.extractor()), (None, None));
    }

    #[test]
    fn what_is_no_statistics_file_is_refused_by_name() {
        let one = || f64s(&[1], &[0.0]);
        let text = refusal(&[("mu.npy", one())]);
        assert!(text.contains("sigma is not there"), "{text}");
        let text = refusal(&[("mu.npy", one()), ("sigma.npy", f64s(&[1], &[0.0]))]);
        assert!(text.contains("sigma has shape [1]"), "{text}");
        let text = refusal(&[("mu.npy", f64s(&[1], &[f64::NAN]))]);
        assert!(text.contains("not finite"), "{text}");
        let two = || f64s(&[2], &[0.0; 2]);
        let text = refusal(&[
            ("mu.npy", two()),
            ("sigma.npy", f64s(&[2, 2], &[1.0, 0.5, 0.0, 1.0])),
        ]);
        assert!(text.contains("not symmetric"), "{text}");
        let text = refusal(&[("mu.npy", npy("<i8", &[1], [1i64.to_le_bytes()].into_iter()))]);
        assert!(text.contains("not float64"), "{text}");
        let mut cut = f64s(&[2], &[0.0; 2]);
        cut.truncate(cut.len() - 3);
        assert!(refusal(&[("mu.npy", cut)]).contains("damaged"));
        assert!(refusal(&[("mu.npy", b"\x93NUMPY".to_vec())]).contains("damaged"));
        // A header that promises 2^62 numbers.
        let dict = "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904,), }\n";
        let mut huge = b"\x93NUMPY\x01\x00".to_vec();
        huge.extend((dict.len() as u16).to_le_bytes());
        huge.extend(dict.bytes());
        let text = refusal(&[("mu.npy", huge)]);
        assert!(text.contains("4611686018427387904"), "{text}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"no zip").unwrap();
        let text = Gaussian::read_npz(file.path()).unwrap_err().to_string();
        assert!(text.contains("no .npz archive"), "{text}");
    }
}

//! Weights as safetensors, arrays as npy. Pickles (`.bin`, `.pt`, `.pth`) are never opened: reading one runs its code.

use crate::{Result, TorchError};
use dualmd_files::limit;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn file_error(path: &Path, reason: impl std::fmt::Display) -> TorchError {
    TorchError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// What becomes of tensors in f16 and bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halves {
    /// They become f32, twice the size.
    Widened,
    /// They stay what they are.
    Kept,
}

/// Reads every tensor of a safetensors file, f16 and bf16 widened to f32, on the CPU.
///
/// # Errors
/// A missing or truncated file, or one in another format, by name; a NaN or an infinity in a tensor, as [`check_finite`].
pub fn read_safetensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    read_weights(path, Halves::Widened)
}

/// As [`read_safetensors`], with a choice of what becomes of f16 and bf16.
///
/// # Errors
/// As [`read_safetensors`].
pub fn read_weights(path: &Path, halves: Halves) -> Result<BTreeMap<String, Tensor>> {
    read_weights_to(path, halves, Device::Cpu)
}

/// As [`read_weights`], each tensor checked and moved to `device` as soon as it is read: what this process holds beside the tensors of the
/// device is one of them.
///
/// # Errors
/// As [`read_safetensors`].
pub fn read_weights_to(
    path: &Path,
    halves: Halves,
    device: Device,
) -> Result<BTreeMap<String, Tensor>> {
    read_tensors(path, halves, |name, tensor| {
        check_finite(path, [(name, &tensor)])?;
        Ok(tensor.f_to_device(device)?)
    })
}

/// As [`read_safetensors`], for results rather than weights: NaN and infinities are let through.
///
/// # Errors
/// A missing or truncated file, or one in another format, by name.
pub fn read_safetensors_as_is(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    read_tensors(path, Halves::Widened, |_, tensor| Ok(tensor))
}

/// Most bytes of a safetensors file's header, as the format has it.
const MOST_HEADER: u64 = 100_000_000;

/// The tensors one after the other, each as `keep` makes of it: no more is held of the file than one of them. (Mapped into memory the
/// file's pages would count as well until the system takes them back, and a file that somebody cuts short would end the process.)
fn read_tensors(
    path: &Path,
    halves: Halves,
    keep: impl Fn(&String, Tensor) -> Result<Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    if matches!(
        path.extension().and_then(|e| e.to_str()),
        Some("bin" | "pt" | "pth" | "ckpt" | "pkl")
    ) {
        return Err(file_error(
            path,
            "is a pickle, which can run code when opened; save it as safetensors in Python: \
             safetensors.torch.save_file(state_dict, \"diffusion_pytorch_model.safetensors\")",
        ));
    }
    let broken = |e: &dyn std::fmt::Display| {
        file_error(
            path,
            format!("not a whole safetensors file ({e}); copy or save it again"),
        )
    };
    let file = dualmd_files::open(path)?;
    let length = file.metadata().map_err(|e| broken(&e))?.len();
    if length > limit::WEIGHTS {
        return Err(broken(&"it is larger than any memory"));
    }
    let mut file = BufReader::new(file);
    let mut eight = [0u8; 8];
    file.read_exact(&mut eight).map_err(|e| broken(&e))?;
    let header = u64::from_le_bytes(eight);
    if header > MOST_HEADER || header > length.saturating_sub(8) {
        return Err(broken(&"its header is longer than the file"));
    }
    let mut text = vec![0u8; header as usize];
    file.read_exact(&mut text).map_err(|e| broken(&e))?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|e| broken(&e))?;
    // The tensors lie one behind the other, from the header to the end.
    let values = length - 8 - header;
    let mut infos: Vec<(String, &TensorInfo)> = metadata.tensors().into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let (mut tensors, mut at) = (BTreeMap::new(), 0);
    let mut data = Vec::new();
    for (name, info) in infos {
        let (start, end) = info.data_offsets;
        let count = info
            .shape
            .iter()
            .try_fold(1usize, |n, &side| n.checked_mul(side));
        let bits = count.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        let fits = bits.is_some_and(|bits| {
            end.checked_sub(start).and_then(|n| n.checked_mul(8)) == Some(bits)
        });
        if start != at || !fits || end as u64 > values {
            return Err(broken(&format!(
                "tensor {name:?} is not where it should be"
            )));
        }
        data.resize(end - start, 0);
        file.read_exact(&mut data).map_err(|e| broken(&e))?;
        let tensor = keep(&name, to_tensor(path, info, &data, halves)?)?;
        tensors.insert(name, tensor);
        at = end;
    }
    if at as u64 != values {
        return Err(broken(&"there is more in it than its header says"));
    }
    Ok(tensors)
}

/// Refuses a tensor of floats with a value that is no finite number in f32. One pass over the values at the speed of memory
/// (`aminmax`, which hands a NaN on). `path`: for the message.
///
/// # Errors
/// The first such tensor, by name, with how many values are wrong and where the first one is.
pub fn check_finite<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>,
) -> Result<()> {
    for (name, tensor) in tensors {
        if let Some(wrong) = not_finite(tensor)? {
            return Err(file_error(
                path,
                format!(
                    "tensor {name:?} holds {wrong}: the training went wrong, or the file was damaged; use an earlier checkpoint"
                ),
            ));
        }
    }
    Ok(())
}

/// What is wrong with a tensor's values; nothing if all are finite in f32, or no floats.
fn not_finite(tensor: &Tensor) -> Result<Option<String>> {
    if tensor.numel() == 0 || !tensor.is_floating_point() {
        return Ok(None);
    }
    let values = tensor.detach().f_to_kind(Kind::Float)?;
    let (least, largest) = values.f_aminmax(None::<i64>, false)?;
    if f64::try_from(least)?.is_finite() && f64::try_from(largest)?.is_finite() {
        return Ok(None);
    }
    let wrong = values.f_isfinite()?.f_logical_not()?.f_flatten(0, -1)?;
    let count = i64::try_from(wrong.f_sum(Kind::Int64)?)?;
    let first = i64::try_from(wrong.f_to_kind(Kind::Uint8)?.f_argmax(None::<i64>, false)?)?;
    let value = values.f_reshape([-1])?.f_double_value(&[first])?;
    let mut rest = first;
    let mut place: Vec<i64> = (tensor.size().iter().rev())
        .map(|&side| {
            let at = rest % side;
            rest /= side;
            at
        })
        .collect();
    place.reverse();
    Ok(Some(format!(
        "{count} of {} values that are no finite numbers (the first is {value}, at {place:?})",
        tensor.numel()
    )))
}

/// `data`: as many bytes as `info` says.
fn to_tensor(path: &Path, info: &TensorInfo, data: &[u8], halves: Halves) -> Result<Tensor> {
    let shape = info
        .shape
        .iter()
        .map(|&side| i64::try_from(side).ok().filter(|side| *side < 1 << 40))
        .collect::<Option<Vec<i64>>>()
        .ok_or_else(|| file_error(path, format!("holds a tensor of shape {:?}", info.shape)))?;
    let kind = match info.dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        other => {
            return Err(file_error(
                path,
                format!("holds a tensor of dtype {other:?}, which is not supported"),
            ));
        }
    };
    let tensor = Tensor::f_from_data_size(data, &shape, kind)?;
    Ok(match (kind, halves) {
        (Kind::Half | Kind::BFloat16, Halves::Widened) => tensor.to_kind(Kind::Float),
        _ => tensor,
    })
}

/// Writes named tensors (floats, i64 or u8; made contiguous, moved to the CPU) as a safetensors file, atomically, one after the other: no
/// more is held of the file than one of them. The bytes are those of the format's own writer.
///
/// # Errors
/// A tensor of another dtype, or what writing gives (full disk, no permission), with the path.
pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &[(&str, &str)],
) -> Result<()> {
    let mut all: Vec<(&str, Dtype, &Tensor)> = Vec::new();
    for (name, tensor) in tensors {
        let dtype = match tensor.kind() {
            Kind::Float => Dtype::F32,
            Kind::Double => Dtype::F64,
            Kind::Half => Dtype::F16,
            Kind::BFloat16 => Dtype::BF16,
            Kind::Int64 => Dtype::I64,
            Kind::Uint8 => Dtype::U8,
            other => {
                return Err(file_error(
                    path,
                    format!("tensor {name} has dtype {other:?}: convert it to f32 first"),
                ));
            }
        };
        all.push((name, dtype, tensor));
    }
    // The widest first, then by name.
    all.sort_by(|(a, x, _), (b, y, _)| y.cmp(x).then(a.cmp(b)));
    let (mut infos, mut at) = (Vec::with_capacity(all.len()), 0);
    for (name, dtype, tensor) in &all {
        let end = at + tensor.numel() * dtype.bitsize() / 8;
        let info = TensorInfo {
            dtype: *dtype,
            shape: tensor.size().iter().map(|&d| d as usize).collect(),
            data_offsets: (at, end),
        };
        infos.push(((*name).to_owned(), info));
        at = end;
    }
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let header = Metadata::new(Some(metadata), infos).map_err(|e| file_error(path, e))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| file_error(path, e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(dualmd_files::write_with(path, |file| {
        let mut out = BufWriter::new(file);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (_, dtype, tensor) in &all {
            let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
            let n = tensor.numel();
            let mut data = vec![0u8; n * dtype.bitsize() / 8];
            tensor
                .f_copy_data_u8(&mut data, n)
                .map_err(std::io::Error::other)?;
            out.write_all(&data)?;
        }
        out.flush()
    })?)
}

/// Reads an npy array of a type that tensors have; floats become f32.
///
/// # Errors
/// A missing file, one that is not npy or does not end where its header says, Fortran or big-endian order; a NaN or an infinity.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    let refuse = |reason: &dyn std::fmt::Display| {
        file_error(path, format!("not a readable npy array ({reason})"))
    };
    let mut file = BufReader::new(dualmd_files::open(path)?);
    let header = dualmd_data::npy_header(&mut file, "its header").map_err(|e| refuse(&e))?;
    let dtype = &header.dtype;
    let described = || dtype.descr().trim_matches(['\'', '"']);
    let Some((letter, width)) = dtype.plain() else {
        return Err(refuse(&"its values are records"));
    };
    let kind = match (letter, width) {
        ('f', 2) => Kind::Half,
        ('f', 4) => Kind::Float,
        ('f', 8) => Kind::Double,
        ('i', 1) => Kind::Int8,
        ('i', 2) => Kind::Int16,
        ('i', 4) => Kind::Int,
        ('i', 8) => Kind::Int64,
        ('u', 1) => Kind::Uint8,
        ('b', 1) => Kind::Bool,
        _ => return Err(refuse(&format!("its values are {}", described()))),
    };
    if dtype.is_big_endian() {
        return Err(refuse(&"its values are big-endian"));
    }
    let bytes = Some(header.count())
        .and_then(|n| n.checked_mul(width))
        .filter(|&n| n <= limit::WEIGHTS);
    let shape: Option<Vec<i64>> = header
        .shape
        .iter()
        .map(|&side| i64::try_from(side).ok())
        .collect();
    let (Some(bytes), Some(shape)) = (bytes, shape) else {
        return Err(refuse(&format!("its shape is {:?}", header.shape)));
    };
    // Not more room than what is really there: the header's shape is only a promise.
    let mut data = Vec::new();
    file.take(bytes + 1)
        .read_to_end(&mut data)
        .map_err(|e| refuse(&e))?;
    if data.len() as u64 != bytes {
        let problem = "its values are not as many as its shape says";
        return Err(refuse(&problem));
    }
    let tensor = Tensor::f_from_data_size(&data, &shape, kind)?;
    if let Some(wrong) = not_finite(&tensor)? {
        return Err(file_error(path, format!("holds {wrong}")));
    }
    Ok(match tensor.kind() {
        Kind::Double | Kind::Half | Kind::BFloat16 => tensor.to_kind(Kind::Float),
        _ => tensor,
    })
}

/// Writes an npy array (f32, f64, i64 or u8), atomically.
///
/// # Errors
/// A tensor of another dtype; what writing gives, with the path.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<()> {
    let (descr, size) = match tensor.kind() {
        Kind::Float => ("<f4", 4),
        Kind::Double => ("<f8", 8),
        Kind::Int64 => ("<i8", 8),
        Kind::Uint8 => ("|u1", 1),
        other => {
            let problem = format!("a tensor of dtype {other:?}: convert it to f32 first");
            return Err(file_error(path, problem));
        }
    };
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let n = tensor.numel();
    let mut data = vec![0u8; n * size];
    tensor.f_copy_data_u8(&mut data, n)?;
    let sides: String = tensor.size().iter().map(|s| format!("{s},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}), }}");
    // Magic number, version 1.0 and the header's length are 10 bytes; the values begin at a multiple of 16.
    let length = (10 + header.len() + 1).next_multiple_of(16) - 10;
    let length_bytes = u16::try_from(length).map_err(|e| file_error(path, e))?;
    dualmd_files::write_with(path, |file| {
        file.write_all(b"\x93NUMPY\x01\x00")?;
        file.write_all(&length_bytes.to_le_bytes())?;
        file.write_all(format!("{header:<0$}\n", length - 1).as_bytes())?;
        file.write_all(&data)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_npy_is_as_numpy_writes_it_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // The name that was once used on the way, laid out as a trap.
        std::fs::write(path("victim"), b"kept").unwrap();
        symlink("victim", path("x.npy.partial")).unwrap();
        let x = Tensor::from_slice(&[1f32, -2.5, 3.0]).view([1, 3]);
        write_npy(&path("x.npy"), &x).unwrap();
        assert_eq!(std::fs::read(path("victim")).unwrap(), b"kept");
        assert_eq!(dualmd_files::list(dir.path()).unwrap().len(), 3);
        let bytes = std::fs::read(path("x.npy")).unwrap();
        let header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,3,), }";
        assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00\x46\x00");
        assert!(bytes[10..].starts_with(header) && bytes[79] == b'\n');
        assert_eq!(bytes[80..], [0, 0, 128, 63, 0, 0, 32, 192, 0, 0, 64, 64]);
        assert_eq!(read_npy(&path("x.npy")).unwrap(), x);
        for (name, tensor) in [
            ("scalar", Tensor::from(7i64)),
            ("empty", Tensor::zeros([0, 4], (Kind::Int64, Device::Cpu))),
            ("bytes", Tensor::from_slice(&[0u8, 255])),
        ] {
            write_npy(&path(name), &tensor).unwrap();
            let read = read_npy(&path(name)).unwrap();
            assert_eq!((read.size(), read.kind()), (tensor.size(), tensor.kind()));
            assert_eq!(read, tensor);
        }
    }

    #[test]
    fn an_npy_that_lies_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        let file = |header: &str, values: usize| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16 + 1).to_le_bytes());
            bytes.extend(header.bytes().chain([b'\n']).chain(vec![0; values]));
            std::fs::write(&path, bytes).unwrap();
            read_npy(&path)
        };
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}")
        };
        let whole = header("<f4", "False", "(2, 3)");
        assert_eq!(file(&whole, 24).unwrap().size(), [2, 3]);
        for (header, values) in [
            (whole.clone(), 23),
            (whole, 25),
            (header("<f4", "True", "(2, 3)"), 24),
            (header(">f4", "False", "(6,)"), 24),
            (header("<c8", "False", "(3,)"), 24),
            (header("|O", "False", "(1,)"), 8),
            // More than any memory; the product of the second overflows.
            (header("<f4", "False", "(1000000000000,)"), 24),
            (header("<f4", "False", "(9223372036854775807, 9)"), 24),
        ] {
            let error = file(&header, values).unwrap_err().to_string();
            assert!(error.contains("x.npy: not a readable npy array"), "{error}");
        }
        std::fs::write(&path, b"\x93NUM").unwrap();
        assert!(read_npy(&path).is_err());
    }

    /// A file of `dtype` whose one tensor has these bytes.
    fn one(dtype: &str, shape: &[usize], offsets: [usize; 2], data: &[u8]) -> Vec<u8> {
        let header = format!(
            "{{\"x\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":{offsets:?}}}}}"
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn half_precision_is_widened_or_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        // 1 and -2.
        for (dtype, data, kind) in [
            ("BF16", [0x80, 0x3f, 0x00, 0xc0], Kind::BFloat16),
            ("F16", [0x00, 0x3c, 0x00, 0xc0], Kind::Half),
        ] {
            std::fs::write(&path, one(dtype, &[2], [0, 4], &data)).unwrap();
            for (halves, expected) in [(Halves::Kept, kind), (Halves::Widened, Kind::Float)] {
                let tensor = read_weights(&path, halves).unwrap().remove("x").unwrap();
                assert_eq!(tensor.kind(), expected);
                assert_eq!(Vec::<f64>::try_from(tensor).unwrap(), [1.0, -2.0]);
            }
        }
        // A NaN is found in half precision, too.
        std::fs::write(&path, one("BF16", &[2], [0, 4], &[0xc0, 0x7f, 0, 0])).unwrap();
        let error = read_weights(&path, Halves::Kept).unwrap_err().to_string();
        assert!(error.contains("no finite numbers"), "{error}");
    }

    /// Tensors of several types, out of order, one of them a view: the bytes of the format's own writer.
    #[test]
    fn a_safetensors_file_is_as_the_format_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let grid = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        let tensors = [
            ("b", grid.transpose(0, 1)),
            ("a", grid.shallow_clone()),
            ("half", grid.to_kind(Kind::BFloat16)),
            ("number", Tensor::from_slice(&[7i64])),
            ("empty", Tensor::zeros([0, 4], (Kind::Float, Device::Cpu))),
        ];
        let named = || tensors.iter().map(|(name, t)| (*name, t));
        write_safetensors(&path, named(), &[("format", "pt")]).unwrap();
        let bytes = |t: &Tensor| {
            let t = t.contiguous();
            let mut data = vec![0u8; t.numel() * t.kind().elt_size_in_bytes()];
            t.copy_data_u8(&mut data, t.numel());
            data
        };
        let data: Vec<Vec<u8>> = named().map(|(_, t)| bytes(t)).collect();
        let kinds = [Dtype::F32, Dtype::F32, Dtype::BF16, Dtype::I64, Dtype::F32];
        let views = named()
            .zip(kinds)
            .zip(&data)
            .map(|(((name, t), kind), data)| {
                let shape = t.size().iter().map(|&side| side as usize).collect();
                (
                    name,
                    safetensors::tensor::TensorView::new(kind, shape, data).unwrap(),
                )
            });
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let expected = safetensors::serialize(views, Some(metadata)).unwrap();
        assert!(std::fs::read(&path).unwrap() == expected);
        let back = read_weights(&path, Halves::Kept).unwrap();
        for (name, tensor) in &tensors {
            let found = &back[*name];
            assert!(found.kind() == tensor.kind() && found == tensor, "{name}");
        }
    }

    #[test]
    fn a_safetensors_file_that_lies_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let whole = one("F32", &[2], [0, 8], &[0; 8]);
        for (bytes, good) in [
            (whole.clone(), true),
            (whole[..whole.len() - 1].to_vec(), false),
            ([&whole[..], &[0]].concat(), false),
            (one("F32", &[3], [0, 8], &[0; 8]), false),
            (one("F32", &[2], [1, 9], &[0; 9]), false),
            (one("F32", &[2], [8, 0], &[0; 8]), false),
            (one("F32", &[usize::MAX, 8], [0, 8], &[0; 8]), false),
            (u64::MAX.to_le_bytes().to_vec(), false),
            (vec![1, 2, 3], false),
            (Vec::new(), false),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            match read_safetensors(&path) {
                Ok(_) => assert!(good, "{bytes:?}"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(
                        !good && error.contains("x.safetensors: not a whole"),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn pipes_and_devices_are_not_read_and_names_do_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        symlink("/dev/zero", path("zero.npy")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status();
        assert!(made.unwrap().success());
        for (name, what) in [("zero.npy", "a device"), ("pipe", "a pipe (FIFO)")] {
            let errors = [
                read_npy(&path(name)).unwrap_err(),
                read_safetensors(&path(name)).unwrap_err(),
                write_npy(&path(name), &Tensor::from(1f32)).unwrap_err(),
            ];
            for error in errors.map(|e| e.to_string()) {
                assert!(error.contains(what), "{error}");
            }
        }
        let name = "\u{1b}]0;mine\u{7}\nerror.safetensors";
        std::fs::write(path(name), b"x").unwrap();
        let error = read_safetensors(&path(name)).unwrap_err().to_string();
        assert!(error.contains("\\u{1b}]0;mine\\u{7}\\u{a}error"), "{error}");
        assert!(!error.contains(char::is_control), "{error:?}");
        let odd = Tensor::from_slice(&[1i16]);
        let error = write_safetensors(&path("x"), [("\u{1b}[2J", &odd)], &[]).unwrap_err();
        assert!(
            error.to_string().contains("tensor \\u{1b}[2J has"),
            "{error}"
        );
    }
}

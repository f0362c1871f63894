//! What goes over the socket: 8 bytes, little-endian, with the length of what follows; then a safetensors file, whose
//! `__metadata__` holds the message's kind and settings, all of them text.
//!
//! Whoever reads says how long a message may be. The length that the other side announces is compared with that before anything is
//! allocated.

use crate::{RemoteError, Result};
use dualmd_torch::{Device, Kind, Tensor};
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};

/// Bytes that a message may have beside its tensors: the header, names, texts of errors.
pub const SLACK: u64 = 1 << 16;
/// The setting that names the kind of a message.
const KIND: &str = "kind";

/// Writes messages into a buffer that is used again.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    /// Sends a message: its kind, its settings by name, its tensors by name (f32, f64, i64 or u8, of any device).
    ///
    /// # Errors
    /// A tensor of another dtype; what the stream says.
    pub fn send(
        &mut self,
        stream: &mut impl Write,
        kind: &str,
        settings: &[(&str, String)],
        tensors: &[(&str, &Tensor)],
    ) -> Result<()> {
        self.encode(kind, settings, tensors)?;
        stream
            .write_all(&self.buffer)
            .and_then(|()| stream.flush())
            .map_err(RemoteError::Connection)
    }

    /// The bytes of a message, its length first.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn encode(
        &mut self,
        kind: &str,
        settings: &[(&str, String)],
        tensors: &[(&str, &Tensor)],
    ) -> Result<&[u8]> {
        let mut metadata = Map::new();
        metadata.insert(KIND.into(), kind.into());
        for (name, value) in settings {
            metadata.insert((*name).into(), value.as_str().into());
        }
        let mut header = Map::new();
        header.insert("__metadata__".into(), metadata.into());
        let mut data = Vec::with_capacity(tensors.len());
        let mut end = 0;
        for (name, tensor) in tensors {
            let (dtype, size) = match tensor.kind() {
                Kind::Float => ("F32", 4),
                Kind::Double => ("F64", 8),
                Kind::Int64 => ("I64", 8),
                Kind::Uint8 => ("U8", 1),
                other => {
                    return Err(RemoteError::Message(format!(
                        "tensor {name} is of dtype {other:?}, and messages hold f32, f64, i64 and u8"
                    )));
                }
            };
            let tensor = tensor.detach().f_to_device(Device::Cpu)?.f_contiguous()?;
            let (start, n) = (end, tensor.numel());
            end += n * size;
            header.insert(
                (*name).into(),
                json!({"dtype": dtype, "shape": tensor.size(), "data_offsets": [start, end]}),
            );
            data.push((tensor, n, size));
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // Tensors begin at a multiple of 8 bytes, as safetensors' own writer has it.
        header.resize(header.len().next_multiple_of(8), b' ');
        let payload = 8 + header.len() + end;
        // What the last message left is written over and not cleared first: most messages are as long as the one before.
        self.buffer.resize(8 + payload, 0);
        let (length, rest) = self.buffer.split_at_mut(8);
        length.copy_from_slice(&(payload as u64).to_le_bytes());
        let (length, rest) = rest.split_at_mut(8);
        length.copy_from_slice(&(header.len() as u64).to_le_bytes());
        let (place, mut rest) = rest.split_at_mut(header.len());
        place.copy_from_slice(&header);
        for (tensor, n, size) in data {
            let (place, after) = rest.split_at_mut(n * size);
            tensor.f_copy_data_u8(place, n)?;
            rest = after;
        }
        Ok(&self.buffer)
    }
}

/// A message that was read.
#[derive(Debug)]
pub struct Message<'a> {
    kind: String,
    settings: HashMap<String, String>,
    tensors: SafeTensors<'a>,
}

/// Reads a message into `buffer`, which is used again. `limit`: bytes it may have; `asked`: what it answers, for the message.
///
/// # Errors
/// A message longer than `limit`, of which nothing is read; one that is none; what the stream says.
pub fn read<'a>(
    stream: &mut impl Read,
    buffer: &'a mut Vec<u8>,
    limit: u64,
    asked: &str,
) -> Result<Message<'a>> {
    let mut length = [0; 8];
    stream
        .read_exact(&mut length)
        .map_err(RemoteError::Connection)?;
    let got = u64::from_le_bytes(length);
    let too_long = || RemoteError::TooLong {
        asked: asked.into(),
        got,
        limit,
    };
    if got > limit {
        return Err(too_long());
    }
    let length = usize::try_from(got).map_err(|_| too_long())?;
    buffer.resize(length, 0);
    stream.read_exact(buffer).map_err(RemoteError::Connection)?;
    Message::parse(buffer)
}

impl<'a> Message<'a> {
    /// The message in a payload, without its length.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        let wrong = |e: safetensors::SafeTensorError| {
            RemoteError::Message(format!("its payload is no safetensors file ({e})"))
        };
        let (_, header) = SafeTensors::read_metadata(payload).map_err(wrong)?;
        let tensors = SafeTensors::deserialize(payload).map_err(wrong)?;
        let mut settings = header.metadata().clone().unwrap_or_default();
        let kind = settings
            .remove(KIND)
            .ok_or_else(|| RemoteError::Message("its __metadata__ names no `kind`".into()))?;
        Ok(Self {
            kind,
            settings,
            tensors,
        })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// A setting.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// The names of its tensors.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.tensors.names()
    }

    /// Number of values of a tensor; nothing if it has none of this name.
    #[must_use]
    pub fn len_of(&self, name: &str) -> Option<usize> {
        let view = self.tensors.tensor(name).ok()?;
        Some(view.shape().iter().product())
    }

    /// The shape of a tensor; nothing if it has none of this name.
    #[must_use]
    pub fn shape_of(&self, name: &str) -> Option<Vec<usize>> {
        let view = self.tensors.tensor(name).ok()?;
        Some(view.shape().to_vec())
    }

    /// A tensor on the CPU, if it is of one of these dtypes and of this shape. Nothing is made of one that is not.
    ///
    /// # Errors
    /// In words: it is missing, or it is another one.
    pub fn tensor(
        &self,
        name: &str,
        kinds: &[Kind],
        shape: &[i64],
    ) -> std::result::Result<Tensor, String> {
        let Ok(view) = self.tensors.tensor(name) else {
            let names = self.names();
            return Err(format!(
                "has no tensor `{name}` (it has {}): send one of shape {shape:?}",
                match names.is_empty() {
                    true => "none".to_owned(),
                    false => names.join(", "),
                }
            ));
        };
        let same = view.shape().len() == shape.len()
            && (view.shape().iter().zip(shape)).all(|(a, b)| i64::try_from(*a) == Ok(*b));
        if !same {
            return Err(format!(
                "`{name}` is of shape {:?} and must be of {shape:?}",
                view.shape()
            ));
        }
        let kind = match view.dtype() {
            Dtype::F32 => Some(Kind::Float),
            Dtype::F64 => Some(Kind::Double),
            Dtype::I64 => Some(Kind::Int64),
            Dtype::U8 => Some(Kind::Uint8),
            _ => None,
        };
        let Some(kind) = kind.filter(|k| kinds.contains(k)) else {
            return Err(format!(
                "`{name}` is of dtype {:?} and must be {}: convert it before it is sent (in torch: tensor.{}())",
                view.dtype(),
                kinds
                    .iter()
                    .map(|k| named(*k))
                    .collect::<Vec<_>>()
                    .join(" or "),
                match kinds.first() {
                    Some(Kind::Double) => "double",
                    Some(Kind::Int64) => "long",
                    _ => "float",
                }
            ));
        };
        Tensor::f_from_data_size(view.data(), shape, kind).map_err(|e| e.to_string())
    }
}

/// A dtype as the protocol calls it.
fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "f32",
        Kind::Double => "f64",
        Kind::Int64 => "i64",
        _ => "u8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(settings: &[(&str, String)], tensors: &[(&str, &Tensor)]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .encode("predict", settings, tensors)
            .unwrap()
            .to_vec()
    }

    #[test]
    fn a_message_is_read_as_it_was_written_also_by_safetensors_itself() {
        let x = Tensor::from_slice(&[1f32, -2.0, 0.5, 4.0]).view([2, 1, 2, 1]);
        let t = Tensor::from_slice(&[3i64, 4]);
        let bytes = written(
            &[("texts", "[\"a \\\"b\\\"\"]".into())],
            &[("x", &x), ("level", &t)],
        );
        assert_eq!(
            u64::from_le_bytes(bytes[..8].try_into().unwrap()),
            bytes.len() as u64 - 8
        );
        let mut buffer = Vec::new();
        let message = read(&mut bytes.as_slice(), &mut buffer, bytes.len() as u64, "x").unwrap();
        assert_eq!(
            (message.kind(), message.setting("texts")),
            ("predict", Some("[\"a \\\"b\\\"\"]"))
        );
        assert_eq!(
            message.tensor("x", &[Kind::Float], &[2, 1, 2, 1]).unwrap(),
            x
        );
        assert_eq!(message.tensor("level", &[Kind::Int64], &[2]).unwrap(), t);
        let file = SafeTensors::deserialize(&bytes[8..]).unwrap();
        assert_eq!(file.tensor("x").unwrap().shape(), [2, 1, 2, 1]);
        // A tensor that is no block of memory is made one.
        let turned = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0]).view([2, 2]).tr();
        let bytes = written(&[], &[("x", &turned)]);
        let message = Message::parse(&bytes[8..]).unwrap();
        assert_eq!(
            message.tensor("x", &[Kind::Float], &[2, 2]).unwrap(),
            turned
        );
    }

    #[test]
    fn a_length_from_outside_allocates_nothing() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend(b"rest");
        let mut buffer = Vec::new();
        let error = read(&mut bytes.as_slice(), &mut buffer, 1000, "predict").unwrap_err();
        assert!(matches!(error, RemoteError::TooLong { limit: 1000, .. }));
        assert!(error.to_string().contains("`predict`"), "{error}");
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn tensors_of_another_shape_or_dtype_are_named() {
        let x = Tensor::from_slice(&[1f64, 2.0]);
        let bytes = written(&[], &[("x", &x)]);
        let message = Message::parse(&bytes[8..]).unwrap();
        let error =
            |name, kinds: &[Kind], shape: &[i64]| message.tensor(name, kinds, shape).unwrap_err();
        let of_dtype = error("x", &[Kind::Float], &[2]);
        assert!(of_dtype.contains("F64 and must be f32"), "{of_dtype}");
        let of_shape = error("x", &[Kind::Float], &[2, 1]);
        assert!(of_shape.contains("[2] and must be of [2, 1]"), "{of_shape}");
        let missing = error("y", &[Kind::Float], &[2]);
        assert!(missing.contains("no tensor `y` (it has x)"), "{missing}");
        assert!(
            message
                .tensor("x", &[Kind::Float, Kind::Double], &[2])
                .is_ok()
        );
        let bool = Tensor::from_slice(&[true]);
        let error = Writer::default()
            .encode("k", &[], &[("b", &bool)])
            .unwrap_err();
        assert!(error.to_string().contains("tensor b"), "{error}");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let whole = written(&[], &[("x", &Tensor::from_slice(&[1f32]))]);
        for end in 0..whole.len() - 8 {
            assert!(Message::parse(&whole[8..8 + end]).is_err(), "{end}");
        }
        let no_kind =
            safetensors::serialize::<String, &safetensors::tensor::TensorView<'_>, _>([], None)
                .unwrap();
        let error = Message::parse(&no_kind).unwrap_err().to_string();
        assert!(error.contains("`kind`"), "{error}");
    }
}

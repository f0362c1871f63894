//! Event files of TensorBoard, as bytes: what trainings and audits write.
//!
//! A file is a row of TFRecords (length, masked CRC of the length, data, masked CRC of the data), each an `Event` in protobuf
//! (`tensorflow/core/util/event.proto`, `tensorflow/core/framework/summary.proto`). The first one says the version.

/// The first record of a file; `time`: seconds since 1970.
#[must_use]
pub fn head(time: f64) -> Vec<u8> {
    // Event { wall_time = 1: double, file_version = 3: string }
    let mut version = vec![0x09];
    version.extend(time.to_le_bytes());
    field_bytes(&mut version, 3, b"brain.Event:2");
    record(&version)
}

/// A record of numbers under their names, at one step.
#[must_use]
pub fn scalars(time: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        // Summary.Value { tag = 1: string, simple_value = 2: float }
        let mut v = Vec::new();
        field_bytes(&mut v, 1, tag.as_bytes());
        v.push(0x15);
        v.extend((*value as f32).to_le_bytes());
        field_bytes(&mut summary, 1, &v);
    }
    event(time, step, &summary)
}

/// A record of one text (Markdown, as TensorBoard shows it) under a name.
#[must_use]
pub fn text(time: f64, step: u64, tag: &str, text: &str) -> Vec<u8> {
    // TensorProto { dtype = 1: DT_STRING (7), tensor_shape = 2: { dim = 2: { size = 1: 1 } }, string_val = 8: bytes }
    let mut dimension = Vec::new();
    field_bytes(&mut dimension, 2, &[0x08, 0x01]);
    let mut tensor = vec![0x08, 7];
    field_bytes(&mut tensor, 2, &dimension);
    field_bytes(&mut tensor, 8, text.as_bytes());
    // SummaryMetadata { plugin_data = 1: { plugin_name = 1: "text" } }
    let mut plugin = Vec::new();
    field_bytes(&mut plugin, 1, b"text");
    let mut metadata = Vec::new();
    field_bytes(&mut metadata, 1, &plugin);
    // Summary.Value { tag = 1: string, tensor = 8: TensorProto, metadata = 9: SummaryMetadata }
    let mut value = Vec::new();
    field_bytes(&mut value, 1, tag.as_bytes());
    field_bytes(&mut value, 8, &tensor);
    field_bytes(&mut value, 9, &metadata);
    let mut summary = Vec::new();
    field_bytes(&mut summary, 1, &value);
    event(time, step, &summary)
}

/// Event { wall_time = 1: double, step = 2: int64, summary = 5: Summary }
fn event(time: f64, step: u64, summary: &[u8]) -> Vec<u8> {
    let mut event = vec![0x09];
    event.extend(time.to_le_bytes());
    event.push(0x10);
    varint(&mut event, step);
    field_bytes(&mut event, 5, summary);
    record(&event)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A TFRecord: length, masked CRC of the length, data, masked CRC of the data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend(masked_crc(data).to_le_bytes());
    out
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: what is written is short.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| {
            (c >> 1) ^ (0x82f6_3b78 & (0u32.wrapping_sub(c & 1)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_check_value() {
        // The standard check value of CRC-32C for "123456789".
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Length, data and both sums, as a reader of TFRecords takes them apart.
    #[test]
    fn a_record_is_its_data_between_two_sums() {
        let bytes = scalars(1.5, 300, &[("a", 0.5)]);
        let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 8 + 4 + n + 4);
        let (data, sum) = bytes[12..].split_at(n);
        assert_eq!(sum, masked_crc(data).to_le_bytes());
        // wall_time, step 300 as a varint, then the summary: one value of 3 + 5 bytes.
        let mut wanted = vec![0x09];
        wanted.extend(1.5f64.to_le_bytes());
        wanted.extend([0x10, 0xac, 0x02, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15]);
        wanted.extend(0.5f32.to_le_bytes());
        assert_eq!(data, wanted);
    }
}

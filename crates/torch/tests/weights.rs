//! Weights that are no numbers are refused by name.

use dualmd_torch::weights::{
    read_npy, read_safetensors, read_safetensors_as_is, write_npy, write_safetensors,
};
use dualmd_torch::{Device, Kind, Tensor};

fn grid(kind: Kind) -> Tensor {
    Tensor::arange(24, (kind, Device::Cpu)).view([2, 3, 4])
}

#[test]
fn nan_and_infinities_are_refused_with_tensor_file_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let (good, number) = (grid(Kind::Float), grid(Kind::Int64));
    for (value, shown) in [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        // Finite in f64, and infinite as soon as a network takes it.
        (1e300, "inf"),
    ] {
        let kind = if value == 1e300 {
            Kind::Double
        } else {
            Kind::Float
        };
        let bad = grid(kind);
        let _ = bad.get(1).get(2).get(0).fill_(value);
        let _ = bad.get(1).get(2).get(3).fill_(value);
        let named = [("a.good", &good), ("b.bad", &bad), ("c.number", &number)];
        write_safetensors(&path, named, &[]).unwrap();
        let error = read_safetensors(&path).unwrap_err().to_string();
        for part in ["weights.safetensors", "\"b.bad\"", "2 of 24", "[1, 2, 0]"] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
        assert!(error.contains(&format!("first is {shown}")), "{error}");
        assert_eq!(read_safetensors_as_is(&path).unwrap().len(), 3);
        if kind == Kind::Float {
            let path = dir.path().join("x.npy");
            write_npy(&path, &bad).unwrap();
            let error = read_npy(&path).unwrap_err().to_string();
            assert!(
                error.contains("x.npy") && error.contains("2 of 24"),
                "{error}"
            );
        }
    }
    // The largest and least of f32, zeros, an empty tensor and one without axes are numbers.
    let edge = Tensor::from_slice(&[f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE]);
    let (none, one) = (edge.narrow(0, 0, 0), Tensor::from(1f32));
    let named = [
        ("edge", &edge),
        ("none", &none),
        ("one", &one),
        ("number", &number),
    ];
    write_safetensors(&path, named, &[]).unwrap();
    assert_eq!(read_safetensors(&path).unwrap().len(), 4);
}

/// Half precision is widened first: its infinity is f32's.
#[test]
fn half_precision_is_checked_too() {
    let dir = tempfile::tempdir().unwrap();
    for (dtype, infinity) in [("F16", [0x00, 0x7c]), ("BF16", [0x80, 0x7f])] {
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,4]}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0, 0]);
        bytes.extend(infinity);
        let path = dir.path().join(format!("{dtype}.safetensors"));
        std::fs::write(&path, bytes).unwrap();
        let error = read_safetensors(&path).unwrap_err().to_string();
        assert!(
            error.contains("\"w\"") && error.contains("at [1]"),
            "{error}"
        );
    }
}

/// A side beyond any memory, beside one of none: no tensor, and no overflow.
#[test]
fn impossible_shapes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let header = r#"{"w":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = read_safetensors(&path).unwrap_err().to_string();
    assert!(error.contains("w.safetensors"), "{error}");
}

use super::*;
use dualmd_torch::IndexOp as _;

/// Opcodes that push a text.
fn text(s: &str) -> Vec<u8> {
    let mut ops = vec![b'X'];
    ops.extend((s.len() as u32).to_le_bytes());
    ops.extend(s.bytes());
    ops
}

fn int(n: i32) -> Vec<u8> {
    let mut ops = vec![b'J'];
    ops.extend(n.to_le_bytes());
    ops
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// `_rebuild_tensor_v2((storage, offset, shape, strides, False, OrderedDict()))` with a storage of `numel` numbers.
fn tensor_ops(
    kind: &str,
    key: &str,
    numel: i32,
    offset: i32,
    shape: &[i32],
    strides: &[i32],
) -> Vec<u8> {
    let tuple = |values: &[i32]| {
        let inner: Vec<u8> = values.iter().flat_map(|&v| int(v)).collect();
        join(&[b"(", &inner, b"t"])
    };
    join(&[
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        format!("ctorch\n{kind}\n").as_bytes(),
        &text(key),
        &text("cpu"),
        &int(numel),
        b"NtQ",
        &int(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ])
}

/// A whole file: state dict of `entries`, list of `keys`, then storages.
fn file(entries: &[(&str, Vec<u8>)], keys: &[&str], storages: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> = entries
        .iter()
        .flat_map(|(name, ops)| join(&[&text(name), ops]))
        .collect();
    let keys: Vec<u8> = keys.iter().flat_map(|key| text(key)).collect();
    let storages: Vec<u8> = storages
        .iter()
        .flat_map(|(n, bytes)| join(&[&n.to_le_bytes(), bytes]))
        .collect();
    join(&[
        HEAD,
        &system(),
        b"\x80\x02ccollections\nOrderedDict\n)Rq\x00(",
        &entries,
        b"u}",
        &text("_metadata"),
        b"}sb.\x80\x02]q\x00(",
        &keys,
        b"e.",
        &storages,
    ])
}

fn system() -> Vec<u8> {
    join(&[b"\x80\x02}q\x00(", &text("little_endian"), b"\x88u."])
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn good() -> Vec<u8> {
    let w = tensor_ops("FloatStorage", "7", 7, 1, &[2, 1, 3], &[3, 99, 1]);
    let n = tensor_ops("LongStorage", "8", 1, 0, &[], &[]);
    let storage = floats(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    file(
        &[("w", w), ("n", n)],
        &["8", "7"],
        &[(1, 5i64.to_le_bytes().to_vec()), (7, storage)],
    )
}

fn refusal(bytes: &[u8]) -> String {
    match parse(bytes) {
        Ok(_) => panic!("was read"),
        Err(reason) => reason,
    }
}

/// One float tensor with these numbers.
fn with(numel: i32, offset: i32, shape: &[i32], strides: &[i32], found: i64) -> String {
    let ops = tensor_ops("FloatStorage", "1", numel, offset, shape, strides);
    refusal(&file(&[("w", ops)], &["1"], &[(found, floats(&[0.0; 4]))]))
}

#[test]
fn a_state_dict_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pth");
    std::fs::write(&path, good()).unwrap();
    let tensors = read_legacy_state_dict(&path).unwrap();
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["n", "w"]);
    assert_eq!(tensors["w"].size(), [2, 1, 3]);
    assert_eq!(tensors["w"].i((1, 0, 0)).double_value(&[]), 4.0);
    assert_eq!(
        (tensors["n"].kind(), tensors["n"].int64_value(&[])),
        (Kind::Int64, 5)
    );
}

#[test]
fn transposed_weights_are_read() {
    // 0 1 2 / 3 4 5, stored by columns behind one number of something else.
    let ops = tensor_ops("FloatStorage", "1", 7, 1, &[2, 3], &[1, 2]);
    let storage = floats(&[9.0, 0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let tensors = parse(&file(&[("w", ops)], &["1"], &[(7, storage)])).unwrap();
    let w = &tensors.unwrap()["w"];
    assert!(w.is_contiguous());
    assert_eq!(
        Vec::<f32>::try_from(w.flatten(0, -1)).unwrap(),
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    );
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let whole = good();
    for length in 0..whole.len() {
        refusal(&whole[..length]);
    }
    let longer = join(&[&whole, b"\0"]);
    assert!(refusal(&longer).contains("1 bytes too many"));
}

/// Whatever byte is changed to whatever, nothing panics.
#[test]
fn damage_never_panics() {
    let whole = good();
    for place in 0..whole.len() {
        for byte in [
            0, b'.', b'(', b't', b'R', b'Q', b'q', b'h', b'u', 0x7f, 0xff,
        ] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            let _ = parse(&bytes);
        }
    }
}

#[test]
fn other_formats_are_refused() {
    assert!(refusal(b"PK\x03\x04").contains("safetensors"));
    assert!(refusal(b"").contains("no legacy PyTorch file"));
    let mut magic = good();
    magic[5] ^= 1;
    assert!(refusal(&magic).contains("no legacy PyTorch file"));
    let list = join(&[HEAD, &system(), b"\x80\x02]q\x00."]);
    assert!(refusal(&list).contains("no dictionary"));
    let big = join(&[HEAD, b"\x80\x02}(", &text("little_endian"), b"\x89u."]);
    assert!(refusal(&big).contains("little-endian"));
}

/// The classic attack, and names next to the four that are known.
#[test]
fn nothing_is_called() {
    for name in [
        "os\nsystem",
        "posix\nsystem",
        "builtins\neval",
        "torch\nload",
        "torch\nDoubleStorage",
        "collections\nCounter",
    ] {
        let ops = join(&[b"c", name.as_bytes(), b"\n(", &text("true"), b"tR"]);
        let text = refusal(&file(&[("w", ops)], &[], &[]));
        let (module, function) = name.split_once('\n').unwrap();
        assert!(text.contains(&format!("{module}.{function}")), "{text}");
    }
    let ops = join(&[b"ccollections\nOrderedDict\n(", &text("x"), b"tR"]);
    assert!(refusal(&file(&[("w", ops)], &[], &[])).contains("calls something"));
    // STACK_GLOBAL, INST, OBJ, NEWOBJ, EXT1, LONG4, PERSID.
    for op in [0x93, b'i', b'o', 0x81, 0x82, 0x8b, b'P'] {
        let text = refusal(&file(&[("w", vec![op])], &[], &[]));
        assert!(text.contains(&format!("0x{op:02x}")), "{text}");
    }
}

#[test]
fn shapes_must_fit_their_storage() {
    assert!(with(4, 0, &[-1], &[1], 4).contains("leaves its storage"));
    assert!(with(4, -1, &[2], &[1], 4).contains("leaves its storage"));
    assert!(with(4, 3, &[2], &[1], 4).contains("leaves its storage"));
    let max = i32::MAX;
    assert!(with(4, 0, &[max, max, max], &[0, 0, 1], 4).contains("leaves its storage"));
    assert!(with(4, 0, &[2, 2], &[max, max], 4).contains("leaves its storage"));
    assert!(with(4, 1, &[2, 2], &[1, 2], 4).contains("leaves its storage"));
    // Repeats of one number, and strides that are not as many as axes.
    assert!(with(4, 0, &[5], &[0], 4).contains("leaves its storage"));
    assert!(with(-4, 0, &[2], &[1], -4).contains("-4 numbers"));
    assert!(with(4, 0, &[4], &[], 4).contains("leaves its storage"));
    assert!(with(4, 0, &[], &[1], 4).contains("leaves its storage"));
    assert!(with(4, 0, &[4], &[1], 3).contains("has 3 numbers"));
    assert!(with(i32::MAX, 0, &[4], &[1], i64::from(i32::MAX)).contains("ends within storage 1"));
}

#[test]
fn storages_belong_to_one_tensor_each() {
    let ops = || tensor_ops("FloatStorage", "1", 4, 0, &[4], &[1]);
    let four = || (4, floats(&[0.0; 4]));
    let text = refusal(&file(&[("a", ops()), ("b", ops())], &["1"], &[four()]));
    assert!(text.contains("tied weights"), "{text}");
    let text = refusal(&file(&[("a", ops()), ("a", ops())], &["1"], &[four()]));
    assert!(text.contains("names tensor a twice"), "{text}");
    let text = refusal(&file(&[("a", ops())], &["1", "1"], &[four(), four()]));
    assert!(text.contains("twice"), "{text}");
    let text = refusal(&file(&[("a", ops())], &["2"], &[four()]));
    assert!(text.contains("storage 2 that no tensor has"), "{text}");
    let text = refusal(&file(&[("a", ops())], &[], &[]));
    assert!(text.contains("no storage of its own"), "{text}");
    let other = tensor_ops("LongStorage", "1", 4, 0, &[4], &[1]);
    let text = refusal(&file(&[("a", ops()), ("b", other)], &["1"], &[four()]));
    assert!(text.contains("in two ways"), "{text}");
}

/// Small files that unpack to large ones are stopped early.
#[test]
fn bombs_do_not_go_off() {
    let wide = join(&[b"(", &b"N".repeat(9), b"t"]);
    assert!(refusal(&file(&[("w", wide)], &[], &[])).contains("tuple of 9"));
    let deep = join(&[b"N", &b"\x85".repeat(100_000)]);
    assert!(refusal(&file(&[("w", deep)], &[], &[])).contains("nests"));
    // One long text, put into a dictionary 100,000 times.
    let long = text(&"x".repeat(1_000_000));
    let copies = join(&[&long, b"q\x05}(", &b"h\x05N".repeat(100_000), b"u"]);
    let text = refusal(&file(&[("w", join(&[b"N", &copies]))], &[], &[]));
    assert!(text.contains("something else than named tensors"), "{text}");
}

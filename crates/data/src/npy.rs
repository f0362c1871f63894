//! Headers of NumPy's arrays, and their numbers. The format: numpy.lib.format, versions 1.0 to 3.0.
//!
//! A header is a Python dictionary of three keys. Of Python's grammar only what NumPy writes there is read, without recursion.

use std::fmt;
use std::io::{Error as IoError, ErrorKind, Read};

/// Longer than NumPy writes for any array of numbers.
const MAX_HEADER: u32 = 1 << 20;

/// Axes that an array may have: NumPy's own limit.
const MAX_AXES: usize = 64;

/// Type of an array's values, as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dtype {
    /// `'<f8'`, or a list of fields, as written.
    text: String,
    /// Letter of the kind and bytes of a value, of one that is no record.
    plain: Option<(char, u64)>,
}

impl Dtype {
    /// The description as the header has it, with its quotes.
    #[must_use]
    pub fn descr(&self) -> &str {
        &self.text
    }

    /// Letter of the kind (`f` floating point, `i` and `u` whole numbers, `b` truth) and bytes of a value; `None` of records.
    #[must_use]
    pub fn plain(&self) -> Option<(char, u64)> {
        self.plain
    }

    /// Whether a value's first byte is its highest.
    #[must_use]
    pub fn is_big_endian(&self) -> bool {
        self.text.trim_start_matches(['\'', '"']).starts_with('>')
    }

    /// Whether the values are Python's objects, or have some: such an array is a pickle.
    #[must_use]
    pub fn has_objects(&self) -> bool {
        ["'|O'", "\"|O\"", "'O'", "\"O\"", "'|O8'"]
            .iter()
            .any(|objects| self.text.contains(objects))
    }
}

/// The header of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Type of the values.
    pub dtype: Dtype,
    /// Whether the first side runs fastest.
    pub fortran_order: bool,
    /// The sides; none of a single number. Their product times 256 fits a `u64`.
    pub shape: Vec<u64>,
}

/// Why a header cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no array but a pickle, which is never opened.
    Pickle,
    /// It is damaged, or no array at all; the reason.
    Broken(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pickle => f.write_str("it is a pickle"),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl Header {
    /// Reads a header at the beginning of `stream`, which is left at the first value.
    ///
    /// # Errors
    /// What is no such header; a shape that has more values than can be counted.
    pub fn read(mut stream: impl Read) -> Result<Self, Unreadable> {
        let broken = |e: IoError| Unreadable::Broken(e.to_string());
        let start = exactly(&mut stream, 8).map_err(broken)?;
        if start.starts_with(b"\x80") {
            return Err(Unreadable::Pickle);
        }
        let bytes = match start[..] {
            [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0] => 2,
            [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, 0] => 4,
            [0x93, b'N', b'U', b'M', b'P', b'Y', major, minor] => {
                return Err(Unreadable::Broken(format!("version {major}.{minor}")));
            }
            _ => {
                return Err(Unreadable::Broken(
                    "it does not begin as .npy files do".into(),
                ));
            }
        };
        let length = exactly(&mut stream, bytes).map_err(broken)?;
        let length = length.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b));
        if length > MAX_HEADER {
            return Err(Unreadable::Broken(format!("a header of {length} bytes")));
        }
        let text = exactly(&mut stream, length.into()).map_err(broken)?;
        parse(&String::from_utf8_lossy(&text)).map_err(Unreadable::Broken)
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shape.iter().product()
    }

    /// All values of an array of f32 or f64 ([`Dtype::plain`]), in the order of the file.
    ///
    /// # Errors
    /// Another type; what reading gives, a file that ends too early included.
    pub fn floats(&self, stream: impl Read) -> std::io::Result<Vec<f64>> {
        let big = self.dtype.is_big_endian();
        match self.dtype.plain {
            Some(('f', 8)) => self.values(stream, |b| match big {
                true => f64::from_be_bytes(b),
                false => f64::from_le_bytes(b),
            }),
            Some(('f', 4)) => self.values(stream, |b| match big {
                true => f32::from_be_bytes(b).into(),
                false => f32::from_le_bytes(b).into(),
            }),
            _ => Err(self.other_than("floats of 4 or 8 bytes")),
        }
    }

    /// All values of an array of i64.
    ///
    /// # Errors
    /// As [`Header::floats`].
    pub fn integers(&self, stream: impl Read) -> std::io::Result<Vec<i64>> {
        let big = self.dtype.is_big_endian();
        match self.dtype.plain {
            Some(('i', 8)) => self.values(stream, |b| match big {
                true => i64::from_be_bytes(b),
                false => i64::from_le_bytes(b),
            }),
            _ => Err(self.other_than("int64")),
        }
    }

    fn other_than(&self, wanted: &str) -> IoError {
        let text = format!("its values are {}, not {wanted}", self.dtype.descr());
        IoError::new(ErrorKind::InvalidData, text)
    }

    fn values<T, const N: usize>(
        &self,
        stream: impl Read,
        value: impl Fn([u8; N]) -> T,
    ) -> std::io::Result<Vec<T>> {
        // Not more room than what is really there: the header's count is only a promise.
        let mut bytes = Vec::new();
        let wanted = self.count().saturating_mul(N as u64);
        stream.take(wanted).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != wanted {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let (chunks, _) = bytes.as_chunks();
        Ok(chunks.iter().map(|&chunk| value(chunk)).collect())
    }
}

/// The next `n` bytes; room is made as they come and not on a header's word.
pub(crate) fn exactly(stream: &mut impl Read, n: u64) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(n.min(1 << 20) as usize);
    if stream.take(n).read_to_end(&mut out)? as u64 == n {
        Ok(out)
    } else {
        Err(ErrorKind::UnexpectedEof.into())
    }
}

/// `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }`, with spaces and a line break behind it.
fn parse(text: &str) -> Result<Header, String> {
    let mut text = Scanner(text);
    let (mut dtype, mut order, mut shape) = (None, None, None);
    text.expect('{')?;
    while !text.take('}') {
        let key = text.string()?;
        text.expect(':')?;
        let twice = match key {
            "descr" => dtype.replace(text.dtype()?).is_some(),
            "fortran_order" => order.replace(text.truth()?).is_some(),
            "shape" => shape.replace(text.shape()?).is_some(),
            other => return Err(format!("its header has the key {other:?}")),
        };
        if twice {
            return Err(format!("its header has the key {key:?} twice"));
        }
        if !text.take(',') {
            text.expect('}')?;
            break;
        }
    }
    if !text.0.trim().is_empty() {
        return Err("its header does not end where its dictionary does".into());
    }
    let missing = |key: &str| format!("its header has no key {key:?}");
    Ok(Header {
        dtype: dtype.ok_or_else(|| missing("descr"))?,
        fortran_order: order.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
    })
}

/// What is left of a header.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    /// Whether this character comes next; if so, it is passed.
    fn take(&mut self, wanted: char) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) {
            return Ok(());
        }
        let found: String = self.0.chars().take(12).collect();
        Err(format!("its header has {found:?} in place of {wanted:?}"))
    }

    /// A quoted text, without the quotes. NumPy writes none with a backslash.
    fn string(&mut self) -> Result<&'a str, String> {
        self.0 = self.0.trim_start();
        let quote = match self.0.chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return Err("its header lacks a text in quotes".into()),
        };
        match self.0[1..].split_once(quote) {
            Some((inside, rest)) if !inside.contains('\\') => {
                self.0 = rest;
                Ok(inside)
            }
            _ => Err("a text of its header has no end".into()),
        }
    }

    fn truth(&mut self) -> Result<bool, String> {
        self.0 = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err("`fortran_order` of its header is neither True nor False".into())
    }

    /// A text such as `'<f8'`, or a list of fields, which is passed over.
    fn dtype(&mut self) -> Result<Dtype, String> {
        self.0 = self.0.trim_start();
        let whole = self.0;
        if !whole.starts_with('[') {
            let plain = plain(self.string()?);
            let text = whole[..whole.len() - self.0.len()].to_owned();
            return Ok(Dtype { text, plain });
        }
        let mut open = 0usize;
        loop {
            let next = self
                .0
                .chars()
                .next()
                .ok_or("a list of its header has no end")?;
            if matches!(next, '\'' | '"') {
                self.string()?;
                continue;
            }
            self.0 = &self.0[next.len_utf8()..];
            match next {
                '[' | '(' => open += 1,
                ']' | ')' => open -= 1,
                _ => {}
            }
            if open == 0 {
                break;
            }
        }
        Ok(Dtype {
            text: whole[..whole.len() - self.0.len()].to_owned(),
            plain: None,
        })
    }

    /// `()`, `(3,)`, `(3, 4)`; Python 2 put an L behind large numbers.
    fn shape(&mut self) -> Result<Vec<u64>, String> {
        let mut shape = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            self.0 = self.0.trim_start();
            let end = self.0.find(|c: char| !c.is_ascii_digit());
            let (digits, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
            let side = digits
                .parse()
                .map_err(|_| "a side of its shape is no number")?;
            shape.push(side);
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if shape.len() > MAX_AXES {
                return Err(format!("its shape has more than {MAX_AXES} sides"));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        // Room for the bytes of a value, too.
        let product = shape
            .iter()
            .try_fold(256_u64, |n, &side: &u64| n.checked_mul(side));
        match product {
            Some(_) => Ok(shape),
            None => Err(format!(
                "its shape {shape:?} has more values than can be counted"
            )),
        }
    }
}

/// Letter and bytes of a type such as `<f8`.
fn plain(text: &str) -> Option<(char, u64)> {
    let mut rest = text
        .strip_prefix(['<', '>', '|', '='])
        .unwrap_or(text)
        .chars();
    let kind = rest.next()?;
    Some((kind, rest.as_str().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain_header(descr: &str, shape: &str) -> Result<Header, String> {
        parse(&format!(
            "{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}     \n"
        ))
    }

    #[test]
    fn headers_as_numpy_writes_them() {
        let header = plain_header("'<f8'", "(3, 4)").unwrap();
        assert_eq!(header.dtype.plain(), Some(('f', 8)));
        assert_eq!(header.dtype.descr(), "'<f8'");
        assert_eq!((header.shape.as_slice(), header.count()), (&[3, 4][..], 12));
        assert!(!header.fortran_order && !header.dtype.is_big_endian());
        for (shape, sides) in [("()", vec![]), ("(7,)", vec![7]), ("(2L, 0L)", vec![2, 0])] {
            assert_eq!(plain_header("'|u1'", shape).unwrap().shape, sides);
        }
        let other = parse("{\"shape\":(1,),\"fortran_order\":True,\"descr\":\">i8\"}").unwrap();
        assert!(other.fortran_order && other.dtype.is_big_endian());
        let records = "[('a', '<f4'), ('b', [('c', '|O')], (2, 3))]";
        let records = plain_header(records, "(1,)").unwrap();
        assert!(records.dtype.plain().is_none() && records.dtype.has_objects());
        assert_eq!(
            plain_header("'<M8[ns]'", "(1,)").unwrap().dtype.plain(),
            None
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{'descr': '<f8', 'fortran_order': False}",
            "{'descr': '<f8', 'fortran_order': 0, 'shape': ()}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (3}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (-3,)}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (a,)}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': ()} x",
            "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': ()}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (), 'more': 1}",
            "{'descr': '<f8, 'fortran_order': False, 'shape': ()}",
            "{'descr': [('a', '<f8'), 'fortran_order': False, 'shape': ()}",
            "{'descr': '\u{e9}\\'', 'fortran_order': False, 'shape': ()}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (72057594037927936, 2)}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let many = format!("({})", "1, ".repeat(MAX_AXES + 1));
        assert!(plain_header("'<f8'", &many).is_err());
    }

    #[test]
    fn a_file_is_read_to_its_first_value() {
        let file = |version: &[u8], length: &[u8], rest: &[u8]| {
            [b"\x93NUMPY", version, length, rest].concat()
        };
        let text = b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n";
        let length = text.len() as u8;
        let values = [1i64.to_le_bytes(), (-2i64).to_le_bytes()].concat();
        for start in [
            file(&[1, 0], &[length, 0], text),
            file(&[2, 0], &[length, 0, 0, 0], text),
            file(&[3, 0], &[length, 0, 0, 0], text),
        ] {
            let whole = [start, values.clone()].concat();
            let mut stream = whole.as_slice();
            let header = Header::read(&mut stream).unwrap();
            assert_eq!(header.integers(stream).unwrap(), [1, -2]);
            assert!(header.floats(stream).is_err());
            assert!(header.integers(&stream[..15]).is_err());
        }
        let refused = |bytes: &[u8]| Header::read(bytes).unwrap_err();
        assert_eq!(refused(b"\x80\x04pickled"), Unreadable::Pickle);
        for bytes in [
            file(&[9, 0], &[length, 0], text),
            file(&[1, 0], &[length + 1, 0], text),
            file(&[2, 0], &[0, 0, 0, 255], text),
            b"PK\x03\x04 an archive".to_vec(),
            b"\x93NUM".to_vec(),
        ] {
            assert!(matches!(refused(&bytes), Unreadable::Broken(_)));
        }
    }

    #[test]
    fn floats_of_either_width_and_order() {
        let of = |descr: &str, bytes: &[u8]| {
            let header = plain_header(descr, "(1, 2)").unwrap();
            header.floats(bytes).unwrap()
        };
        let bytes32 = |f: fn(f32) -> [u8; 4]| [f(0.5), f(-2.0)].concat();
        let bytes64 = |f: fn(f64) -> [u8; 8]| [f(0.5), f(-2.0)].concat();
        assert_eq!(of("'<f4'", &bytes32(f32::to_le_bytes)), [0.5, -2.0]);
        assert_eq!(of("'>f4'", &bytes32(f32::to_be_bytes)), [0.5, -2.0]);
        assert_eq!(of("'<f8'", &bytes64(f64::to_le_bytes)), [0.5, -2.0]);
        assert_eq!(of("'>f8'", &bytes64(f64::to_be_bytes)), [0.5, -2.0]);
    }
}

//! Parquet tables in the form of Hugging Face image data sets.

mod pages;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{Compression, Type as Physical};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{
    ChunkReader, FileReader, Length, RowGroupReader as _, SerializedFileReader,
};
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use bytes::Bytes;
use pages::Checked;

use super::columns::{Columns, no_group, trimmed};
use super::{About, Collector};
use crate::{Error, Result};

const IMAGE: [&str; 2] = ["image", "img"];
/// Keys of the file's own metadata.
const LICENCE: [&str; 2] = ["licence", "license"];

/// A source that ends: the parquet crate passes over as many elements as a damaged header claims, billions perhaps, without looking
/// whether anything was there.
struct Finite<R>(R);

impl<R: ChunkReader> Length for Finite<R> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<R: ChunkReader> ChunkReader for Finite<R> {
    type T = Ending<R::T>;

    fn get_read(&self, start: u64) -> ::parquet::errors::Result<Self::T> {
        let inner = self.0.get_read(start)?;
        Ok(Ending { inner, empty: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ::parquet::errors::Result<Bytes> {
        if start.saturating_add(length as u64) > self.len() {
            return Err(ParquetError::EOF("a column beyond the end".into()));
        }
        self.0.get_bytes(start, length)
    }
}

/// Calls in a row that may find nothing: whoever reads to the end needs one or two.
const EMPTY_READS: u32 = 64;

struct Ending<T> {
    inner: T,
    empty: u32,
}

impl<T: Read> Read for Ending<T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if n > 0 || buffer.is_empty() {
            self.empty = 0;
        } else {
            self.empty += 1;
        }
        if self.empty > EMPTY_READS {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(n)
    }
}

/// Whether a table has a column of pictures; None where it cannot be read.
pub(super) fn has_pictures(path: &Path) -> Result<Option<bool>> {
    let Ok(file) = dualmd_files::open(path) else {
        return Ok(None);
    };
    let has = || {
        let reader = SerializedFileReader::new(Finite(file)).ok()?;
        let columns = reader.metadata().file_metadata().schema().get_fields();
        Some(columns.iter().any(|c| IMAGE.contains(&c.name())))
    };
    Ok(dualmd_files::quietly(has).flatten())
}

pub(super) fn read_file(path: &Path, into: &mut Collector<'_>) -> Result<Option<String>> {
    let file = dualmd_files::open(path)?;
    read(file, &path.display().to_string(), into)
}

pub(super) fn read_bytes(
    bytes: &'static [u8],
    place: &str,
    into: &mut Collector<'_>,
) -> Result<Option<String>> {
    read(Bytes::from_static(bytes), place, into)
}

/// The parquet crate asserts where damaged metadata should be an error; a panic of its must neither take the program down nor
/// reach the user.
fn read<R: ChunkReader + 'static>(
    source: R,
    place: &str,
    into: &mut Collector<'_>,
) -> Result<Option<String>> {
    dualmd_files::quietly(|| read_rows(Finite(source), place, into)).unwrap_or_else(|| {
        Err(Error::format(
            place,
            "the table is damaged",
            "write or download it again",
        ))
    })
}

fn read_rows<R: ChunkReader + 'static>(
    source: R,
    place: &str,
    into: &mut Collector<'_>,
) -> Result<Option<String>> {
    let broken = |e: &dyn std::fmt::Display| {
        Error::format(
            place,
            format!("the table is cut short or broken ({e})"),
            "write or download it again",
        )
    };
    let packed = source.len();
    let reader = SerializedFileReader::new(source).map_err(|e| broken(&e))?;
    let file = reader.metadata().file_metadata();
    let columns: Vec<Arc<Type>> = file.schema().get_fields().to_vec();
    let has = |name: &str| columns.iter().any(|c| c.name() == name);
    let Some(image) = IMAGE.into_iter().find(|name| has(name)) else {
        let found = columns
            .iter()
            .map(|c| c.name())
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Error::format(
            place,
            format!("no column `image` (there are: {found})"),
            "rename the pictures' column",
        ));
    };
    let names: BTreeSet<String> = columns.iter().map(|c| c.name().to_owned()).collect();
    into.note_columns(names.iter().map(String::as_str).filter(|n| *n != image));
    let texts = columns.iter().filter(|c| holds_text(c)).map(|c| c.name());
    let chosen = Columns::choose(into.options, texts, &names, place)?;
    if let Some(wish) = into.options.caption_column
        && has(wish)
        && chosen.text.is_none()
    {
        return Err(Error::format(
            place,
            format!("column `{wish}` holds no text"),
            "correct `caption_column`: it is a column of strings or lists of strings",
        ));
    }
    let (text, label) = (chosen.text.as_deref(), &*chosen.label);
    let (group, id) = (&*chosen.group, &*chosen.id);
    if columns.iter().any(|c| c.name() == group && !holds_names(c)) {
        return Err(no_group(place, group));
    }
    let wanted = |name: &str| [image, label, group, id].contains(&name) || Some(name) == text;
    let fields = columns
        .iter()
        .filter(|c| wanted(c.name()))
        .cloned()
        .collect();
    let projection = Type::group_type_builder(file.schema().name())
        .with_fields(fields)
        .build();
    let projection = projection.map_err(|e| broken(&e))?;

    into.check_count(u64::try_from(file.num_rows()).unwrap_or(u64::MAX), place)?;
    for group in reader.metadata().row_groups() {
        let unpacked = u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX);
        into.check_budget(unpacked, packed, place)?;
        let strange = group.columns().iter().find(|c| {
            let name = c.column_path().parts().first().map_or("", String::as_str);
            wanted(name) && !known(c.compression())
        });
        if let Some(column) = strange {
            let method = format!("{:?}", column.compression());
            let method = method.split('(').next().unwrap_or_default().to_lowercase();
            return Err(Error::format(
                place,
                format!(
                    "column `{}` is compressed by {method}, which is not read here",
                    column.column_path().string()
                ),
                "write the table with zstd, snappy or gzip",
            ));
        }
    }
    let key = |name: &str| {
        let pairs = file.key_value_metadata()?;
        pairs
            .iter()
            .find(|p| p.key == name)
            .and_then(|p| p.value.clone())
    };
    let classes = key("huggingface")
        .map(|json| class_names(&json, label))
        .unwrap_or_default();

    let mut add = |row: ::parquet::errors::Result<Row>, number: usize| -> Result<()> {
        let place = format!("{place}, row {number}");
        let row = row.map_err(|e| {
            Error::format(
                &place,
                format!("the table is cut short or broken ({e})"),
                "write or download it again",
            )
        })?;
        let mut about = About {
            name: number.to_string(),
            ..About::default()
        };
        let mut picture = None;
        for (name, field) in row.into_columns() {
            let name = name.as_str();
            if name == image {
                picture = picture_bytes(field, &mut about.name);
                continue;
            }
            // One column may serve twice, say as caption and as group.
            if Some(name) == text {
                about.captions = captions(&field);
            }
            if name == label {
                about.label = scalar(&field).map(|l| {
                    l.parse()
                        .ok()
                        .and_then(|i: usize| classes.get(i).cloned())
                        .unwrap_or(l)
                });
            }
            if name == group {
                about.group = scalar(&field).filter(|t| !t.is_empty());
            }
            if name == id {
                about.called = scalar(&field).filter(|t| !t.is_empty());
            }
        }
        let Some(bytes) = picture else {
            let problem = format!("column `{image}` holds no picture here");
            return Err(Error::format(
                place,
                problem,
                "it must be bytes or a struct {bytes, path} with its bytes inside",
            ));
        };
        into.add_encoded(&bytes, &place, about)
    };
    let mut number = 0;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|e| broken(&e))?;
        let rows = Checked(&*group);
        let rows = rows.get_row_iter(Some(projection.clone()));
        for row in rows.map_err(|e| broken(&e))? {
            add(row, number)?;
            number += 1;
        }
    }
    Ok(LICENCE.iter().find_map(|name| key(name)))
}

/// Whether a column that is packed so can be read.
fn known(method: Compression) -> bool {
    matches!(
        method,
        Compression::UNCOMPRESSED
            | Compression::SNAPPY
            | Compression::GZIP(_)
            | Compression::ZSTD(_)
    )
}

/// The encoded picture; a path stored with it replaces the row number as name.
fn picture_bytes(field: Field, name: &mut String) -> Option<Bytes> {
    match field {
        Field::Bytes(bytes) => Some(Bytes::copy_from_slice(bytes.data())),
        Field::Group(row) => {
            let mut found = None;
            for (part, field) in Row::into_columns(row) {
                match (part.as_str(), field) {
                    ("bytes", Field::Bytes(bytes)) => {
                        found = Some(Bytes::copy_from_slice(bytes.data()))
                    }
                    ("path", Field::Str(path)) => *name = path,
                    _ => {}
                }
            }
            found
        }
        _ => None,
    }
}

/// Whether a column is of strings, or of lists of them.
fn holds_text(column: &Type) -> bool {
    if column.is_primitive() {
        return column.get_physical_type() == Physical::BYTE_ARRAY;
    }
    matches!(column.get_fields(), [only] if holds_text(only))
}

/// Whether a column is of strings, whole numbers or truth values.
fn holds_names(column: &Type) -> bool {
    use Physical::{BOOLEAN, BYTE_ARRAY, INT32, INT64};
    column.is_primitive()
        && matches!(
            column.get_physical_type(),
            BOOLEAN | BYTE_ARRAY | INT32 | INT64
        )
}

fn captions(field: &Field) -> Vec<String> {
    match field {
        Field::ListInternal(list) => trimmed(list.elements().iter().filter_map(scalar)),
        other => trimmed(scalar(other)),
    }
}

fn scalar(field: &Field) -> Option<String> {
    match field {
        Field::Str(text) => Some(text.clone()),
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).ok(),
        Field::Bool(v) => Some(v.to_string()),
        Field::Byte(v) => Some(v.to_string()),
        Field::Short(v) => Some(v.to_string()),
        Field::Int(v) => Some(v.to_string()),
        Field::Long(v) => Some(v.to_string()),
        Field::UByte(v) => Some(v.to_string()),
        Field::UShort(v) => Some(v.to_string()),
        Field::UInt(v) => Some(v.to_string()),
        Field::ULong(v) => Some(v.to_string()),
        _ => None,
    }
}

/// Names of a Hugging Face `ClassLabel`, which is stored as a number.
fn class_names(json: &str, label: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    value["info"]["features"][label]["names"]
        .as_array()
        .map(|names| {
            names
                .iter()
                .filter_map(|n| n.as_str().map(str::to_owned))
                .collect()
        })
        .unwrap_or_default()
}

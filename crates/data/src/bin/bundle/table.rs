//! The parquet form of Hugging Face image data sets: `image` as a struct of bytes and path, `text` as a list.

use std::sync::Arc;

use dualmd_data::{Error, Result};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// One picture.
pub struct Row {
    /// The encoded picture.
    pub png: Vec<u8>,
    /// Its name.
    pub path: String,
    /// Its captions, at least one.
    pub captions: Vec<String>,
}

const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (STRING); }
    optional group text (LIST) { repeated group list { optional binary element (STRING); } }
}";

/// What lets `datasets.load_dataset` decode the pictures.
const FEATURES: &str = r#"{"info": {"features": {"image": {"_type": "Image"}, "text": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}}}}"#;

/// The bytes of the table. The same rows give the same bytes.
pub fn write(rows: &[Row], licence: &str) -> Result<Vec<u8>> {
    table(rows, licence).map_err(|e| Error::Options {
        problem: format!("cannot write the table: {e}"),
        remedy: "this is a fault of the program; please report it".into(),
    })
}

fn table(rows: &[Row], licence: &str) -> Result<Vec<u8>, ParquetError> {
    let pair = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(19)?))
        .set_created_by("dualmd".into())
        .set_key_value_metadata(Some(vec![
            pair("licence", licence),
            pair("huggingface", FEATURES),
        ]))
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;

    // Levels: 2 = the value is there, in a struct that is there.
    let all_there = vec![2; rows.len()];
    let images: Vec<ByteArray> = rows.iter().map(|r| r.png.clone().into()).collect();
    let paths: Vec<ByteArray> = rows.iter().map(|r| r.path.as_str().into()).collect();
    for values in [images, paths] {
        let mut column = group
            .next_column()?
            .ok_or_else(|| ParquetError::General("no column".into()))?;
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, Some(&all_there), None)?;
        column.close()?;
    }
    // Levels: definition 3 = list, entry and value are there; repetition 0 starts a row, 1 goes on with it.
    let texts: Vec<ByteArray> = rows
        .iter()
        .flat_map(|r| &r.captions)
        .map(|t| t.as_str().into())
        .collect();
    let repeated: Vec<i16> = rows
        .iter()
        .flat_map(|r| (0..r.captions.len()).map(|i| i16::from(i > 0)))
        .collect();
    let mut column = group
        .next_column()?
        .ok_or_else(|| ParquetError::General("no column".into()))?;
    column.typed::<ByteArrayType>().write_batch(
        &texts,
        Some(&vec![3; texts.len()]),
        Some(&repeated),
    )?;
    column.close()?;

    group.close()?;
    writer.close()?;
    Ok(out)
}

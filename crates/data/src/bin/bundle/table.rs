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
    /// Values of the table's further columns, in their order.
    pub more: Vec<String>,
}

fn schema(more: &[&str]) -> String {
    let more: String = more
        .iter()
        .map(|name| format!("    optional binary {name} (STRING);\n"))
        .collect();
    format!(
        "message schema {{
    optional group image {{ optional binary bytes; optional binary path (STRING); }}
    optional group text (LIST) {{ repeated group list {{ optional binary element (STRING); }} }}
{more}}}"
    )
}

/// What lets `datasets.load_dataset` decode the pictures.
fn features(more: &[&str]) -> String {
    let more: String = more
        .iter()
        .map(|name| format!(r#", "{name}": {{"dtype": "string", "_type": "Value"}}"#))
        .collect();
    format!(
        r#"{{"info": {{"features": {{"image": {{"_type": "Image"}}, "text": {{"feature": {{"dtype": "string", "_type": "Value"}}, "_type": "List"}}{more}}}}}}}"#
    )
}

/// The bytes of the table; `more` names the columns beside pictures and captions. The same rows give the same bytes.
pub fn write(rows: &[Row], more: &[&str], licence: &str) -> Result<Vec<u8>> {
    table(rows, more, licence).map_err(|e| Error::Options {
        problem: format!("cannot write the table: {e}"),
        remedy: "this is a fault of the program; please report it".into(),
    })
}

fn table(rows: &[Row], more: &[&str], licence: &str) -> Result<Vec<u8>, ParquetError> {
    let pair = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(19)?))
        .set_created_by("dualmd".into())
        .set_key_value_metadata(Some(vec![
            pair("licence", licence),
            pair("huggingface", &features(more)),
        ]))
        .build();
    let schema = Arc::new(parse_message_type(&schema(more))?);
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
    let there = vec![1; rows.len()];
    for i in 0..more.len() {
        let values: Vec<ByteArray> = rows.iter().map(|r| r.more[i].as_str().into()).collect();
        let mut column = group
            .next_column()?
            .ok_or_else(|| ParquetError::General("no column".into()))?;
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, Some(&there), None)?;
        column.close()?;
    }

    group.close()?;
    writer.close()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{LoadOptions, Picture, encode_png, load};

    #[test]
    fn a_table_returns() {
        let row = |value, captions: &[&str], group: &str| Row {
            png: encode_png(&Picture::filled(2, 2, 3, value)).unwrap(),
            path: format!("{value}.png"),
            captions: captions.iter().map(|&c| c.to_owned()).collect(),
            more: vec![group.to_owned(), "x".to_owned()],
        };
        let rows = [row(1, &["a", "b"], "g"), row(2, &["c"], "h")];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let bytes = write(&rows, &["group", "vendor"], "CC0").unwrap();
        std::fs::write(&path, bytes).unwrap();
        let set = load(&path.display().to_string(), &LoadOptions::default()).unwrap();
        assert_eq!(set.licence.as_deref(), Some("CC0"));
        for (record, row) in set.records.iter().zip(&rows) {
            assert_eq!((&record.name, &record.captions), (&row.path, &row.captions));
            assert_eq!(record.group.as_ref(), Some(&row.more[0]));
        }
        assert_eq!(set.records[1].picture, Picture::filled(2, 2, 3, 2));
        let json: serde_json::Value = serde_json::from_str(&features(&["vendor"])).unwrap();
        assert_eq!(json["info"]["features"]["vendor"]["dtype"], "string");
    }
}

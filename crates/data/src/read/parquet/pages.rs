//! Pages of a table, looked at before the parquet crate decodes them.
//!
//! It makes room for as many values as a page, or the header of its encoding, claims. A page of a kilobyte may claim billions.

use ::parquet::basic::Encoding;
use ::parquet::bloom_filter::Sbbf;
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::reader::RowGroupReader;
use ::parquet::record::reader::RowIter;
use ::parquet::schema::types::Type;

/// Values of a list for each row or byte, at most: no caption has so many.
const MOST_VALUES: u64 = 64;

/// A row group whose pages claim no more than they can hold.
pub(super) struct Checked<'a>(pub &'a dyn RowGroupReader);

impl RowGroupReader for Checked<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.0.metadata()
    }

    fn num_columns(&self) -> usize {
        self.0.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> Result<Box<dyn PageReader>> {
        let column = self.metadata().schema_descr().column(i);
        Ok(Box::new(Pages {
            inner: self.0.get_column_page_reader(i)?,
            rows: u64::try_from(self.metadata().num_rows()).unwrap_or(0),
            levels: [column.max_rep_level() > 0, column.max_def_level() > 0],
        }))
    }

    fn get_column_bloom_filter(&self, i: usize) -> Option<&Sbbf> {
        self.0.get_column_bloom_filter(i)
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

struct Pages {
    inner: Box<dyn PageReader>,
    /// Rows of the group.
    rows: u64,
    /// Whether a page has repetition levels, and definition levels.
    levels: [bool; 2],
}

fn claims(what: &str) -> ParquetError {
    ParquetError::General(format!("a page claims more {what} than it can hold"))
}

impl Pages {
    fn check(&self, page: &Page) -> Result<()> {
        let (buffer, values, encoding) = match page {
            // A value is at least a byte.
            Page::DictionaryPage {
                buf, num_values, ..
            } => {
                return match *num_values as usize > buf.len() {
                    true => Err(claims("values of a dictionary")),
                    false => Ok(()),
                };
            }
            Page::DataPage {
                buf,
                num_values,
                encoding,
                ..
            } => {
                // Ancient levels have no length in front, and come with plain values.
                let rest = match is_delta(*encoding) {
                    true => self.after_levels(buf)?,
                    false => buf,
                };
                (rest, *num_values, *encoding)
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                let from = usize::try_from(levels).unwrap_or(usize::MAX);
                let rest = buf.get(from..).ok_or_else(|| claims("levels"))?;
                (rest, *num_values, *encoding)
            }
        };
        let [repeated, _] = self.levels;
        let most = match repeated {
            false => self.rows,
            true => MOST_VALUES * self.rows.max(buffer.len() as u64),
        };
        if u64::from(values) > most {
            return Err(claims("values"));
        }
        if is_delta(encoding)
            && total_of_delta(buffer).is_none_or(|total| total > u64::from(values))
        {
            return Err(claims("texts"));
        }
        Ok(())
    }

    /// What follows the levels of a page of the first version: each kind has its length in front.
    fn after_levels<'b>(&self, buffer: &'b [u8]) -> Result<&'b [u8]> {
        let mut rest = buffer;
        for _ in self.levels.iter().filter(|there| **there) {
            let (length, after) = rest
                .split_first_chunk::<4>()
                .ok_or_else(|| claims("levels"))?;
            let length = u32::from_le_bytes(*length) as usize;
            rest = after.get(length..).ok_or_else(|| claims("levels"))?;
        }
        Ok(rest)
    }
}

/// Does the decoder make room for as many texts as a header of the encoding says?
fn is_delta(encoding: Encoding) -> bool {
    matches!(
        encoding,
        Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY
    )
}

/// The number of values that the header of a delta encoding claims: the third of its variable-length numbers.
fn total_of_delta(buffer: &[u8]) -> Option<u64> {
    let mut numbers = buffer.iter();
    let mut number = || {
        let mut value = 0_u64;
        for (place, byte) in numbers.by_ref().take(10).enumerate() {
            value |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    number()?;
    number()?;
    number()
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        if let Some(page) = &page {
            self.check(page)?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_number_of_a_delta_header() {
        assert_eq!(total_of_delta(&[0x80, 0x01, 4, 0xac, 0x02, 9]), Some(300));
        assert_eq!(total_of_delta(&[1, 1, 0x80]), None);
        assert_eq!(total_of_delta(&[0x80; 40]), None);
    }
}

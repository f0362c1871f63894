//! The sets that are part of the program.

use super::Collector;
use crate::Result;

static FASHION: &[u8] = include_bytes!("../../../../assets/fashion.parquet");
static EMOJI: &[u8] = include_bytes!("../../../../assets/emoji.parquet");

pub(super) fn read(name: &str, into: &mut Collector<'_>) -> Result<Option<String>> {
    let bytes = if name == "fashion" { FASHION } else { EMOJI };
    super::parquet::read_bytes(bytes, name, into)
}

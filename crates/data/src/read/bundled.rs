//! The sets that are part of the program.

use super::Collector;
use crate::Result;

static FASHION: &[u8] = include_bytes!("../../../../assets/fashion.parquet");
/// One table a vendor.
static EMOJI: [(&str, &[u8]); 3] = [
    ("google", include_bytes!("../../../../assets/emoji.parquet")),
    (
        "twitter",
        include_bytes!("../../../../assets/emoji-twitter.parquet"),
    ),
    (
        "fluent3d",
        include_bytes!("../../../../assets/emoji-fluent3d.parquet"),
    ),
];

/// Returns the licence; of several vendors, the licences of all.
pub(super) fn read(
    name: &str,
    vendors: &[&str],
    into: &mut Collector<'_>,
) -> Result<Option<String>> {
    if name == "fashion" {
        let licence = super::parquet::read_bytes(FASHION, name, into)?;
        // The caption of a garment is the name of its class.
        for record in &mut into.records {
            record.label = record.captions.first().cloned();
        }
        return Ok(licence);
    }
    let mut licences: Vec<String> = Vec::new();
    for (vendor, bytes) in EMOJI.iter().filter(|(v, _)| vendors.contains(v)) {
        let licence = super::parquet::read_bytes(bytes, &format!("emoji ({vendor})"), into)?;
        licences.extend(licence);
    }
    Ok(Some(licences.join("; ")).filter(|l| !l.is_empty()))
}

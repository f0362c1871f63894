//! In place of the reader of parquet tables, where it was not built in.

use std::path::Path;

use super::Collector;
use crate::{Error, Result};

fn not_built(place: &str) -> Error {
    Error::format(
        place,
        "this is a parquet table, and this program was built without their reader",
        "build it with its feature `parquet`, which is on by default",
    )
}

pub(super) fn has_pictures(path: &Path) -> Result<Option<bool>> {
    Err(not_built(&path.display().to_string()))
}

pub(super) fn read_file(path: &Path, _: &mut Collector<'_>) -> Result<Option<String>> {
    Err(not_built(&path.display().to_string()))
}

pub(super) fn read_bytes(
    _: &'static [u8],
    place: &str,
    _: &mut Collector<'_>,
) -> Result<Option<String>> {
    Err(not_built(place))
}

#[cfg(test)]
mod tests {
    use crate::{LoadOptions, load};

    #[test]
    fn the_feature_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("a.parquet");
        std::fs::write(&table, "PAR1").unwrap();
        for source in [
            table.to_str().unwrap(),
            dir.path().to_str().unwrap(),
            "fashion",
            "emoji",
        ] {
            let error = load(source, &LoadOptions::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains("feature `parquet`"), "{error}");
        }
        std::fs::write(dir.path().join("a.tar"), "").unwrap();
        let error = load(dir.path().to_str().unwrap(), &LoadOptions::default()).unwrap_err();
        assert!(error.to_string().contains("a.parquet"), "{error}");
    }
}

//! Privacy against quality of the runs of one experiment, as `dualmd run` leaves them.

use super::read::{Evidence, Set, read};
use super::write::{Outcome, Place, Source};
use super::{EQUAL, frontier as view, length};
use anyhow::Result;
use dualmd::run::Finished;
use std::path::{Path, PathBuf};

/// Writes OUT/frontier.md, .csv, .json and pictures of the runs of the experiment `name`; gives the first one's path. None, and
/// nothing is written, where fewer than two methods have both an attack and image quality.
///
/// # Errors
/// A report that cannot be read; a folder that cannot be written to.
pub fn frontier(
    out: &Path,
    name: &str,
    runs: &[Finished],
    sets: &[String],
) -> Result<Option<PathBuf>> {
    let own = runs.iter().map(|run| read(run.seed, &run.folder));
    let own: Result<Vec<_>> = own.collect();
    let own = own?;
    let source = own.first().and_then(|run| run.plan.data.source.as_deref());
    let images = image_set(source, name);
    let evidence = Evidence {
        sets: vec![Set::of(&images, &images, own)],
    };
    let mut all = evidence.sets.iter().flat_map(|s| &s.runs);
    let text_to_image = all.any(|run| run.plan.model.text == Some(true));
    if !view::worth_drawing(&evidence)? {
        return Ok(None);
    }
    let save = |_: &Set, end: &str, drawing: &str| -> Result<String> {
        let file = format!("frontier{end}.svg");
        dualmd_files::write(&out.join(&file), drawing.as_bytes())?;
        Ok(file)
    };
    let (mut table, facts, pictures) = view::draw(&evidence, &save)?;
    table.notes.extend(length::note(&evidence, text_to_image));
    let outcome = Outcome {
        table,
        heading: EQUAL,
        facts,
        pictures,
    };
    let source = |run: &Finished| Source {
        dataset: name.to_owned(),
        title: format!("seed {}", run.seed),
        seed: run.seed,
        folder: run.folder.clone(),
    };
    let place = Place {
        folder: out.to_path_buf(),
        stem: "frontier".into(),
        what: "frontier",
        of: name.to_owned(),
        scale: None,
        runs: runs.iter().map(source).collect(),
        sets: sets.to_vec(),
    };
    outcome.write(&place).map(Some)
}

/// What the images of a run are called: the source that its plan names, of a folder the last part; the experiment where no plan says.
fn image_set(source: Option<&str>, experiment: &str) -> String {
    let last = source.and_then(|s| s.trim_end_matches('/').rsplit('/').next());
    last.filter(|name| !name.is_empty())
        .unwrap_or(experiment)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::image_set;

    #[test]
    fn an_image_set_has_its_own_name_and_not_that_of_the_experiments_file() {
        assert_eq!(image_set(Some("fashion"), "mine.toml"), "fashion");
        assert_eq!(
            image_set(Some("data/chest#train"), "mine.toml"),
            "chest#train"
        );
        assert_eq!(image_set(Some("photos/train/"), "mine.toml"), "train");
        assert_eq!(image_set(None, "mine.toml"), "mine.toml");
        assert_eq!(image_set(Some(""), "mine.toml"), "mine.toml");
    }
}

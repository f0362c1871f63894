//! What is written and said of an extraction.

use super::judge::{EVERY, Judged, Shot, best};
use crate::audit::Sides;
use crate::stages::pictures::pictures;
use anyhow::Result;
use dualmd_audit::cells::cell;
use dualmd_data::{Picture, grid, save_png};
use dualmd_record::extraction::{Extracted, Extraction};
use dualmd_torch::Tensor;
use std::collections::BTreeMap;
use std::path::Path;

/// The typed result.
pub(super) const REPORT: &str = "extraction.json";
/// A row for each generated image that is a candidate or passes a threshold.
pub(super) const TABLE: &str = "extraction.csv";
/// Generated images beside the members that they lie nearest to.
pub(super) const GALLERY: &str = "gallery.png";

/// Pairs in the gallery.
const PAIRS: usize = 32;
/// Pictures in a row of it: four pairs.
const COLUMNS: usize = 8;
/// White pixels between its pictures.
const PAD: u32 = 2;

/// Writes what names or shows single images: the table and the gallery. `images`: the generated ones, [N, C, H, W] in [-1, 1].
///
/// # Errors
/// Files that cannot be written.
pub(super) fn single_images(
    folder: &Path,
    sides: &Sides,
    judged: &Judged,
    found: &Extraction,
    images: &Tensor,
) -> Result<()> {
    table(&folder.join(TABLE), sides, judged, found)?;
    let pairs = pairs(judged, found);
    let mut all: Vec<Picture> = Vec::new();
    for shot in pairs.iter().take(PAIRS) {
        let one = images.f_narrow(0, shot.drawn as i64, 1)?;
        all.extend(pictures(&one)?);
        let member = sides.members.records.get(shot.row);
        all.extend(member.map(|record| record.picture.clone()));
    }
    Ok(save_png(&folder.join(GALLERY), &grid(&all, COLUMNS, PAD))?)
}

/// For each member the generated image that comes nearest to it by its ratio, the lowest ratio first: among candidates and what passes,
/// or among all where there is neither.
fn pairs(judged: &Judged, found: &Extraction) -> Vec<Shot> {
    let noted = noted(judged, found);
    let wanted = |shot: &&Shot| noted.contains_key(&shot.drawn);
    let mut pairs: Vec<Shot> = best(judged.members.iter().filter(wanted))
        .into_values()
        .collect();
    if pairs.is_empty() {
        pairs = best(judged.members.iter()).into_values().collect();
    }
    pairs.sort_by(|a, b| a.ratio.total_cmp(&b.ratio).then(a.row.cmp(&b.row)));
    pairs
}

/// The generated images that are candidates or pass the threshold of all of them on either side: by their numbers the shots at a member
/// and at a control image.
fn noted(judged: &Judged, found: &Extraction) -> BTreeMap<usize, [Option<Shot>; 2]> {
    let candidates = judged.neighbours();
    let every = found.attacks.iter().find(|attack| attack.name == EVERY);
    let limit = every.map_or(0.0, |attack| attack.threshold);
    let sides = [&judged.members, &judged.control];
    let mut all: BTreeMap<usize, [Option<Shot>; 2]> = sides
        .iter()
        .flat_map(|shots| shots.iter())
        .filter(|shot| candidates.contains_key(&shot.drawn) || shot.ratio < limit)
        .map(|shot| (shot.drawn, [None; 2]))
        .collect();
    for (side, shots) in sides.into_iter().enumerate() {
        for shot in shots {
            if let Some(own) = all.get_mut(&shot.drawn) {
                own[side] = Some(*shot);
            }
        }
    }
    all
}

/// `extraction.csv`, candidates by their rank first.
fn table(path: &Path, sides: &Sides, judged: &Judged, found: &Extraction) -> Result<()> {
    let (noted, neighbours) = (noted(judged, found), judged.neighbours());
    let ranked = judged.candidates.iter().map(|clique| clique.centre);
    let others = noted.keys().copied();
    let order = ranked.chain(others.filter(|drawn| !neighbours.contains_key(drawn)));
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "generated",
        "neighbours",
        "member_id",
        "member_name",
        "member_distance",
        "member_ratio",
        "member_extracted",
        "heldout_id",
        "heldout_name",
        "heldout_distance",
        "heldout_ratio",
        "heldout_extracted",
    ])?;
    for drawn in order {
        // A candidate for the caption of a calibration image is aimed at neither side.
        let Some(shots) = noted.get(&drawn) else {
            continue;
        };
        let near = neighbours.get(&drawn);
        let mut row = vec![
            drawn.to_string(),
            near.map(ToString::to_string).unwrap_or_default(),
        ];
        for shot in shots {
            row.extend(cells(shot.as_ref(), sides, found, near.is_some()));
        }
        table.write_record(&row)?;
    }
    Ok(dualmd_files::write(path, &table.into_inner()?)?)
}

/// Id, name, distance, ratio, and the names of the attacks that extract the image; empty where there is no such image.
fn cells(shot: Option<&Shot>, sides: &Sides, found: &Extraction, candidate: bool) -> [String; 5] {
    let Some((shot, label)) = shot.and_then(|shot| Some((shot, sides.labels.get(shot.row)?)))
    else {
        return Default::default();
    };
    let extracts = found
        .attacks
        .iter()
        .filter(|attack| (candidate || attack.name == EVERY) && shot.ratio < attack.threshold);
    let names: Vec<&str> = extracts.map(|attack| attack.name.as_str()).collect();
    [
        cell(&label.id).into_owned(),
        cell(&label.name).into_owned(),
        format!("{:.16e}", shot.distance),
        format!("{:.16e}", shot.ratio),
        names.join("+"),
    ]
}

/// What was found, for people, line by line.
pub fn lines(found: &Extraction) -> Vec<String> {
    let mut all = vec![
        format!(
            "{} images generated, {} network calls; {} candidates with at least {} others within {:.4} ({})",
            found.generated,
            found.cost.network_calls,
            found.candidates,
            found.clique,
            found.radius,
            found.features
        ),
        format!(
            "{} members against as many held-out images; thresholds by {} others",
            found.n, found.n_calibration
        ),
        format!(
            "{:<8} {:>26} {:>26} {:>10} {:>14}",
            "attack", "members extracted", "control", "p", "all members"
        ),
    ];
    if let Some(inpainted) = &found.inpainted {
        let said = format!(
            "each of {} images was restored {} times from the upper {} of its {} rows; what was hidden is compared",
            inpainted.images, inpainted.each, inpainted.shown, inpainted.rows
        );
        all.insert(1, said);
    }
    if let Some(searched) = &found.searched {
        let said = format!(
            "for each of {} images an embedding was searched in {} steps of {} draws, from its caption on",
            searched.images, searched.steps, searched.draws
        );
        all.insert(1, said);
    }
    if let Some(led) = &found.led {
        let said = format!(
            "{} of these images were led to {} groups of the {} others by a classifier ({} groups found; {} steps; scale {})",
            led.images, led.kept, led.pool, led.groups, led.steps, led.scale
        );
        all.insert(1, said);
    }
    for attack in &found.attacks {
        let whole = attack.all_members.as_ref();
        let whole = whole.map_or_else(
            || "-".to_owned(),
            |all| format!("{} of {}", all.extracted, all.n),
        );
        all.push(format!(
            "{:<8} {:>26} {:>26} {:>10.2e} {:>14}",
            attack.name,
            count(&attack.members),
            count(&attack.control),
            attack.p_value,
            whole
        ));
        if let Some(calls) = attack.calls_per_extracted {
            let seconds = attack.seconds_per_extracted;
            let seconds = seconds
                .map(|s| format!(", {s:.1} seconds"))
                .unwrap_or_default();
            all.push(format!(
                "         {calls:.0} network calls{seconds} for each extracted member"
            ));
        }
    }
    all
}

/// `3 of 64 (1.0-13.1 %)`.
fn count(found: &Extracted) -> String {
    let [low, high] = found.share_ci.map(|share| 100.0 * share);
    format!("{} of {} ({low:.1}-{high:.1} %)", found.extracted, found.n)
}

//! For `--dry-run`: are the images, the base model and the weights there, and are they what is needed? Everything that would stop a
//! study after hours is looked for before it begins.

use super::study::{Planned, Runs, Study};
use anyhow::Result;
use dualmd::choices::CaptionChoice;
use dualmd::experiment::Experiment;
use dualmd::plan::Plan;
use dualmd::stages::prepare;
use dualmd_data::{ImageSet, Picture};
use std::path::Path;

/// Pictures whose neighbouring pixels are compared.
const LOOKED_AT: usize = 200;
/// Photographs and drawings have 0.7 and more, random bytes 0.
const LEAST_CORRELATION: f64 = 0.2;
/// A shadow model needs at least so many images that it does not see.
const SHADOWS_OTHERS: usize = 16;

/// What was found of an image set.
#[derive(Debug)]
pub struct Found {
    /// [C, H, W] of its pictures.
    pub shape: [usize; 3],
    /// Captions of a picture, in the mean; 0 where there are none.
    pub captions: f64,
    /// Two or three sentences.
    pub lines: Vec<String>,
    /// What has to be mended.
    pub problems: Vec<String>,
}

/// Looks at what the runs on an image set need; `plan`: that of its first run.
///
/// # Errors
/// The set cannot be read at all.
pub fn look(
    runs: &Runs,
    planned: &Planned,
    plan: &Plan,
    inception: Option<&Path>,
) -> Result<Found> {
    let experiment = &planned.experiment;
    let (set, duplicates) = prepare::read(&experiment.data)?;
    let mut found = Found {
        shape: set.shape(),
        captions: mean_captions(&set),
        lines: vec![format!(
            "{}: {} pictures{}",
            experiment.data.source,
            set.len(),
            match duplicates.dropped.len() {
                0 => String::new(),
                n => format!(" after {n} exact duplicates were dropped"),
            }
        )],
        problems: Vec::new(),
    };
    // Members and others are drawn by the run itself unless a file says who they are.
    if runs.split().is_none() {
        found.problems.extend(too_few(&set, plan, experiment));
    }
    if let Some(r) = neighbours(&set).filter(|r| r.abs() < LEAST_CORRELATION) {
        found.problems.push(format!(
            "{}: neighbouring pixels have a correlation of {r:.2}, as random bytes have (pictures: 0.7 and more): is it the right file, and whole?",
            experiment.data.source
        ));
    }
    if plan.model.text {
        captions(&set, experiment, &mut found);
        if let Some(base) = &experiment.model.base {
            found.problems.extend(base_problem(Path::new(base)));
        }
    }
    if let Some(file) = inception.filter(|file| !file.is_file()) {
        found.problems.push(format!(
            "--inception {}: there is no such file",
            file.display()
        ));
    }
    Ok(found)
}

/// Images that a run takes from its source, beside those it has: none is a problem.
fn too_few(set: &ImageSet, plan: &Plan, experiment: &Experiment) -> Option<String> {
    let d = &experiment.data;
    let mut more: Vec<(usize, &str)> = plan
        .trainings
        .iter()
        .map(|job| {
            (
                prepare::outside_for(&job.kind, d.members),
                job.name.as_str(),
            )
        })
        .collect();
    let shadow = experiment
        .audit
        .attacks
        .iter()
        .find(|a| a.is_shadowed())
        .map(ToString::to_string);
    if let Some(attack) = &shadow {
        more.push((d.members.next_multiple_of(2) + SHADOWS_OTHERS, attack));
    }
    let (outside, whose) = more.into_iter().max_by_key(|m| m.0).unwrap_or((0, ""));
    let needed = d.members + d.nonmembers + outside;
    (set.len() < needed).then(|| {
        let more = match outside {
            0 => String::new(),
            n => format!(" + {n} others for {whose}"),
        };
        format!(
            "{}: {} pictures, and {} members + {} non-members{more} are needed: name the whole set, or ask for fewer (--set data.members=..., data.nonmembers=...)",
            d.source,
            set.len(),
            d.members,
            d.nonmembers
        )
    })
}

fn mean_captions(set: &ImageSet) -> f64 {
    let all: usize = set.records.iter().map(|r| r.captions.len()).sum();
    all as f64 / set.len().max(1) as f64
}

/// Every picture needs a caption, and prompt diversification several.
fn captions(set: &ImageSet, experiment: &Experiment, found: &mut Found) {
    let without = set.records.iter().filter(|r| r.captions.is_empty()).count();
    if let Some(first) = set.records.iter().find(|r| r.captions.is_empty()) {
        found.problems.push(format!(
            "{}: {without} of {} pictures have no caption, the first is {}: add `text` to its line of metadata.jsonl",
            set.source,
            set.len(),
            first.name
        ));
    }
    let one = set.records.iter().filter(|r| r.captions.len() == 1).count();
    let diversified: Vec<&str> = experiment
        .models
        .iter()
        .filter(|m| {
            let own = m.recipe(experiment).ok().flatten();
            own.as_ref().unwrap_or(&experiment.train).captions == CaptionChoice::Any
        })
        .map(|m| m.name.as_str())
        .collect();
    if one > 0 && !diversified.is_empty() {
        let text = format!(
            "{}: {one} of {} pictures have one caption only, so prompt diversification ({}) changes nothing for them: `dualmd caption` adds more",
            set.source,
            set.len(),
            diversified.join(", ")
        );
        match one == set.len() {
            true => found.problems.push(text),
            false => found.lines.push(text),
        }
    }
}

/// What a folder lacks to be a text-to-image model in diffusers' layout.
fn base_problem(folder: &Path) -> Option<String> {
    let needed = [
        "model_index.json",
        "unet/config.json",
        "text_encoder/config.json",
    ];
    let missing = needed.iter().find(|file| !folder.join(file).is_file())?;
    Some(format!(
        "--base {}: there is no {missing} in it: name the folder that pipeline.save_pretrained wrote",
        folder.display()
    ))
}

/// Correlation of pixels with their right neighbours, all channels together; none where all pixels are equal.
fn neighbours(set: &ImageSet) -> Option<f64> {
    let every = (set.len() / LOOKED_AT).max(1);
    let (mut n, mut sums) = (0.0, [0.0; 5]);
    for record in set.records.iter().step_by(every) {
        pairs(&record.picture, &mut |a, b| {
            n += 1.0;
            for (sum, value) in sums.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                *sum += value;
            }
        });
    }
    let [a, b, aa, bb, ab] = sums.map(|s: f64| s / n);
    let (va, vb) = (aa - a * a, bb - b * b);
    (n > 0.0 && va > 0.0 && vb > 0.0).then(|| (ab - a * b) / (va * vb).sqrt())
}

/// Each pixel with the one to its right, channel by channel.
fn pairs(picture: &Picture, add: &mut dyn FnMut(f64, f64)) {
    let channels = usize::from(picture.channels).max(1);
    let width = picture.width as usize * channels;
    for row in picture.pixels.chunks_exact(width.max(1)) {
        for (a, b) in row.iter().zip(row.iter().skip(channels)) {
            add(f64::from(*a), f64::from(*b));
        }
    }
}

impl Study {
    /// Looks at every image set once; the runs of one length of training stand for all of them.
    pub fn look(&self, plan: &dyn Fn(&Planned) -> Result<Plan>) -> Vec<(&Runs, Result<Found>)> {
        let mut out: Vec<(&Runs, Result<Found>)> = Vec::new();
        for runs in self.asked() {
            let done = out.iter().any(|(r, _)| r.dataset.name == runs.dataset.name);
            let to_do = runs.runs.iter().find(|p| !p.report().exists());
            let (false, Some(planned)) = (done, to_do) else {
                continue;
            };
            let own = plan(planned);
            let found = own.and_then(|plan| look(runs, planned, &plan, self.inception.as_deref()));
            out.push((runs, found));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{LoadOptions, load};

    /// A ramp: every pixel is its left neighbour plus one, so the correlation is 1; the program's photographs are above the threshold.
    #[test]
    fn pictures_are_told_from_random_bytes() {
        let set = load("fashion", &LoadOptions::default()).unwrap();
        let photographs = neighbours(&set).unwrap();
        assert!(photographs > 0.7, "{photographs}");
        let mut noise = set.clone();
        let mut state = 1_u32;
        for record in &mut noise.records {
            for pixel in &mut record.picture.pixels {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *pixel = (state >> 24) as u8;
            }
        }
        let random = neighbours(&noise).unwrap();
        assert!(random.abs() < 0.05, "{random}");
        let mut ramp = Picture::filled(200, 1, 1, 0);
        ramp.pixels = (0..200).collect();
        let mut count = 0;
        pairs(&ramp, &mut |a, b| {
            assert_eq!(b, a + 1.0);
            count += 1;
        });
        assert_eq!(count, 199);
    }
}

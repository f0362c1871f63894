//! What is known of a run without timing anything: its images are read, or the experiment is taken at its word.

use super::{outline, place, told};
use crate::experiment::Experiment;
use crate::plan::Plan;
use crate::session::Session;
use crate::stages::brought::Brought;
use crate::stages::prepare::{self, Resolved};
use crate::stages::{RunFolder, beforehand, shadow};
use crate::whole;
use dualmd_files::shown;
use dualmd_record::run_check::{ImagesFound, RunCheck};
use dualmd_torch::Device;
use std::path::Path;

/// A run and its images.
pub(super) struct Known {
    /// What will be done.
    pub plan: Plan,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Captions of an image, in the mean.
    pub captions: f64,
    /// Images that nobody else sees.
    pub outside: usize,
}

impl Known {
    /// Reads the images, or else takes the experiment at its word. `there`: a folder in which pixels can wait.
    pub fn of(
        experiment: &Experiment,
        run: &RunFolder,
        there: Option<&Path>,
        session: &Session,
        found: &mut RunCheck,
    ) -> Option<Self> {
        let sources = [
            ("data.source", Some(&experiment.data.source)),
            (
                "pretrain.source",
                experiment.pretrain.as_ref().map(|p| &p.source),
            ),
        ];
        let mut large = Vec::new();
        for (key, source) in sources {
            let Some(source) = source else { continue };
            if let Some(size) = place::large(source) {
                found.unchecked.push(format!(
                    "{key} = \"{}\": {}, more than is read here: whether all images can be read, and how many are duplicates",
                    shown(source),
                    size.why
                ));
                large.push((key, size));
            }
        }
        if large.is_empty() {
            let elsewhere = std::env::temp_dir();
            let pixels = there.unwrap_or(&elsewhere);
            match prepare::resolve(experiment, run, pixels, session) {
                Ok(resolved) => return Some(Self::read(run, resolved, found)),
                Err(error) => found.problems.push(told(&error)),
            }
        }
        let (plan, shape) = match outline::plan(experiment, session) {
            Ok(planned) => planned,
            Err(error) => {
                let problem = told(&error);
                // The same trouble may have been met before.
                if !found.problems.iter().any(|said| said.contains(&problem)) {
                    found.problems.push(problem);
                }
                return None;
            }
        };
        // Of a model that is told a text where it is timed.
        if !plan.model.text {
            let allowed = Brought::of(experiment, Device::Cpu)
                .and_then(|brought| brought.check_schedule(experiment));
            let problem = allowed.err().map(|error| told(&error));
            let new = problem.filter(|problem| !found.problems.contains(problem));
            found.problems.extend(new);
        }
        let outside = prepare::most_outside(&plan, plan.data.members);
        let data = &plan.data;
        let needed = data.members + data.nonmembers + outside;
        for (key, size) in &large {
            if let Some(pictures) = size
                .pictures
                .filter(|n| *key == "data.source" && *n < needed)
            {
                found.problems.push(format!(
                    "{key} = \"{}\" has {pictures} pictures, and {} members, {} non-members and {outside} others are asked for: ask for fewer \
                     (data.members, data.nonmembers)",
                    shown(&data.source),
                    data.members,
                    data.nonmembers
                ));
            }
        }
        found.unchecked.push(format!(
            "the split: estimates take the experiment at its word, for images of {} channels of {} px",
            shape[0], shape[1]
        ));
        Some(Self {
            plan,
            shape,
            captions: 1.0,
            outside,
        })
    }

    /// Of images that were read.
    fn read(run: &RunFolder, resolved: Resolved, found: &mut RunCheck) -> Self {
        let Resolved {
            plan,
            images,
            outside,
        } = resolved;
        if shadow::asked(&plan)
            && let Err(error) = shadow::enough(run, &plan, &images)
        {
            found.problems.push(told(&error));
        }
        found
            .look_at
            .extend(beforehand::nothing_known(&plan, &images));
        found.images = Some(ImagesFound {
            records: plan.data.records,
            duplicates: plan.data.duplicates_dropped,
            members: plan.data.members,
            nonmembers: plan.data.nonmembers,
            outside: outside.len(),
        });
        Self {
            shape: images.set().shape(),
            captions: whole::captions(&plan, &images),
            outside: outside.len(),
            plan,
        }
    }
}

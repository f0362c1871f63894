//! Prompt diversification needs several captions of an image.

use super::Job;
use crate::choices::CaptionChoice;
use crate::experiment::Train;
use anyhow::{Result, bail};

pub use dualmd_record::planned::CaptionFacts;

/// What a reader must know where some members of models with `captions = "any"` have one caption only.
///
/// # Errors
/// All have one: such a model would be trained as with "first" and shown as diversified.
pub fn check(trainings: &[Job], train: &Train, facts: CaptionFacts) -> Result<Option<String>> {
    let any = |job: &&Job| job.train.as_ref().unwrap_or(train).captions == CaptionChoice::Any;
    let names: Vec<&str> = trainings
        .iter()
        .filter(any)
        // Its images are others, and it is audited under no name.
        .filter(|job| job.kind != super::JobKind::Pretrain)
        .map(|job| job.name.as_str())
        .collect();
    if names.is_empty() || facts.one == 0 {
        return Ok(None);
    }
    let names = names.join(", ");
    let all = facts.one + facts.several;
    if facts.several == 0 {
        bail!(
            "captions = \"any\" (prompt diversification) of {names}: each of the {all} members has one caption, so these would be trained \
             as with \"first\"; give the images several (`dualmd caption` adds some), or leave these models out of [[models]]"
        );
    }
    Ok(Some(format!(
        "captions = \"any\" of {names}: {} of {all} members have one caption and are trained as with \"first\" (`dualmd caption` adds \
         some)",
        facts.one
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Experiment, Source};
    use crate::plan::schedule;

    #[test]
    fn one_caption_for_each_image_is_no_diversification() {
        let e = Experiment::load(&Source::Preset("emoji-t2i-demo".into()), &[]).unwrap();
        let jobs = schedule::jobs(&e).unwrap();
        let of = |one, several| check(&jobs, &e.train, CaptionFacts { one, several });
        assert_eq!(of(0, 64).unwrap(), None);
        let said = of(4, 60).unwrap().unwrap();
        assert!(
            said.contains("4 of 64") && said.contains("student-any"),
            "{said}"
        );
        let said = of(64, 0).unwrap_err().to_string();
        assert!(
            said.contains("baseline-any") && said.contains("dualmd caption"),
            "{said}"
        );
        assert!(!said.contains("base,"), "{said}");
        // Nobody asked for it.
        let plain: Vec<Job> = jobs.into_iter().filter(|j| j.name == "baseline").collect();
        let one = CaptionFacts {
            one: 64,
            several: 0,
        };
        assert_eq!(check(&plain, &e.train, one).unwrap(), None);
    }
}

//! How the tables on text-to-image models are to be read.

use super::super::layouts::{Captions, Layout};
use super::super::read::{Evidence, Set};
use super::super::table::intervals;

/// The notes below a table.
pub fn notes(layout: &Layout, evidence: &Evidence) -> Vec<String> {
    let mut out = vec![
        intervals(evidence),
        format!(
            "PD: prompt diversification, one of an image's captions drawn each time it is shown. {}",
            what_was_run(evidence)
        ),
    ];
    match layout.number {
        4 => out.push(
            "The paper's columns: Pokemon SD 1.5 / Pokemon SD 2.1 / Naruto SD 1.5 / Naruto SD 2.1. Each image is asked about with its first \
             caption at guidance 1. `PIA` is the attack as its paper defines it, `pia-sd-2024` what its public code for Stable Diffusion computes. The strongest attack \
             is chosen by the numbers of these images, black-box ones among them; its interval does not know that it was chosen."
                .into(),
        ),
        7 => out.push(
            "The paper's columns: Pokemon SD 1.5 / Pokemon SD 2.1 / Naruto SD 1.5 / Naruto SD 2.1, without prompt diversification (tables 2 \
             and 7). Distances are between the images drawn for the members' prompts and held-out images, \"excess\" is what remains after \
             subtracting that of real images to real images."
                .into(),
        ),
        5 => out.push(
            "The paper names Pang and Wang's attack, but neither its form nor its features; AUCs below 0.5 fit a score that learns nothing, so the \
             paper's numbers stand at `sim-mean`. `+captions` draws images for every caption of an image and keeps the best likeness, \
             `+captions-mean` the mean: what an attacker does who knows of prompt diversification. The `pw` forms are told a fifth of the images; \
             `+shadow`: learnt on a second run on other images, which is made where such an attack is named (--set audit.attacks). Features are those that the runs' score files name (EfficientNet-Lite0, else pixels)."
                .into(),
        ),
        9 => out.push(
            "Every round begins again with the same model, so that its share of the image grows. The first model saw the members in D1, the second \
             those in D2: AUC D1 and AUC D2 are of these members alone against all non-members. The paper mixes both and does not say whether its \
             models had prompt diversification; its numbers near 0.5 stand in that column."
                .into(),
        ),
        _ => {}
    }
    if matches!(layout.number, 5 | 7 | 9) {
        out.extend(drawing(evidence));
    }
    if layout.captions.contains(&Captions::Any) {
        out.extend(evidence.sets.iter().filter_map(undiversified));
    }
    out
}

/// What the columns with prompt diversification hide where some members have one caption only.
fn undiversified(set: &Set) -> Option<String> {
    let most = set.runs.iter().filter_map(|run| {
        let facts = run.plan.data.captions?;
        let (one, several) = (facts.one, facts.several);
        (one > 0).then_some((one, one + several))
    });
    let (one, all) = most.max()?;
    Some(format!(
        "{}: {one} of {all} members have one caption: of these the models with prompt diversification (PD) were shown that one, as those \
         without.",
        set.title
    ))
}

/// The paper's recipe: (optimiser steps, images a step).
const PAPER: (u64, u64) = (20_000, 16);

/// What was fine-tuned here, beside the paper: the sentence follows the runs.
pub fn what_was_run(evidence: &Evidence) -> String {
    let theirs = "The paper fine-tunes Stable Diffusion on 416 Pokemon or 610 Naruto pictures for 20,000 steps of 16";
    let mut own: Vec<String> = Vec::new();
    let mut alike = !evidence.sets.is_empty();
    for set in &evidence.sets {
        let mut lengths: Vec<(u64, u64)> = Vec::new();
        let mut members: Vec<u64> = Vec::new();
        for run in &set.runs {
            let recipe = run.plan.train.as_ref();
            lengths.extend(recipe.and_then(|recipe| recipe.steps.zip(recipe.batch)));
            members.extend(run.members.map(|m| m as u64));
        }
        lengths.dedup();
        members.dedup();
        alike &= set.brought && lengths == [PAPER];
        let many = match members.as_slice() {
            [one] => format!("{one} pictures of "),
            _ => "pictures of ".to_owned(),
        };
        let long: Vec<String> = lengths
            .iter()
            .map(|(steps, batch)| format!("{steps} steps of {batch}"))
            .collect();
        let long = match long.as_slice() {
            [] => String::new(),
            some => format!(" for {}", some.join(" or ")),
        };
        let what = match set.brought {
            true => "the model of --base",
            false => "a small model",
        };
        own.push(format!(
            "{what} on {many}{} ({}){long}",
            set.title, set.name
        ));
    }
    let own = own.join("; ");
    match (alike, evidence.sets.iter().any(|s| s.brought)) {
        (true, _) => format!(
            "{theirs}; here {own}, the same recipe: whether pictures and base are the paper's, this program cannot know."
        ),
        (false, true) => format!(
            "{theirs}; here {own}: where the recipe is another, only the order of the methods can be compared."
        ),
        (false, false) => {
            format!(
                "{theirs}; here {own}: the order of the methods can be compared, the numbers cannot."
            )
        }
    }
}

/// How the images were drawn, beside Pang and Wang's settings: once, where all runs agree.
fn drawing(evidence: &Evidence) -> Option<String> {
    let mut all: Vec<(u64, u64, f64)> = evidence
        .sets
        .iter()
        .flat_map(|s| &s.runs)
        .filter_map(|run| {
            let sample = &run.plan.sample;
            Some((sample.per_prompt?, sample.steps?, sample.guidance?))
        })
        .collect();
    all.dedup();
    let [(images, steps, guidance)] = all.as_slice() else {
        return None;
    };
    Some(format!(
        "Drawn here: {images} image{} for each caption, {steps} denoising steps, guidance {guidance}. (Pang and Wang: 3 images, 50 steps of DDIM, guidance 7.5.)",
        if *images == 1 { "" } else { "s" }
    ))
}

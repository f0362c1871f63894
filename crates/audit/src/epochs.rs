//! How long models were trained, in passes over their own images, beside the papers whose attacks were run.
//!
//! SecMI sees in a model what only long training leaves there: on one recipe its AUC was 0.55 after 400 passes over the members and
//! 0.98 after 4,000. A report that does not say how long models were trained compares an attack with nothing.

use dualmd_names::BaseAttack;
use dualmd_record::planned::PlannedNetwork;

use crate::format::grouped;
use crate::report::{ModelReport, Training};

/// Passes that the models of SecMI's paper made: DDPMs on CIFAR-10, 800,000 steps of 128 on 25,000 images (Duan et al. 2023 and
/// their public code; Kong et al. 2023, PIA, attack models of the same training).
pub const PAPER: f64 = 800_000.0 * 128.0 / 25_000.0;

/// From this part of [`PAPER`] on a training counts as equally long: the DualMD paper's 780,000 steps are 0.975 of it.
const ALIKE: f64 = 0.9;

/// Models that are named one by one.
const NAMED: usize = 3;

impl Training {
    /// Passes over its own images: as recorded, else as they follow from steps, batch and images.
    #[must_use]
    pub fn passes(&self) -> Option<f64> {
        self.epochs.or_else(|| {
            let images = self.images.filter(|n| *n > 0.0)?;
            Some(self.steps? * self.batch? / images)
        })
    }
}

/// Passes for people: `4,000`, `12.5`, `0.75`.
pub fn text(epochs: f64) -> String {
    if epochs >= 100.0 {
        return grouped(epochs.round() as i64);
    }
    let digits = if epochs >= 10.0 { 1 } else { 2 };
    let text = format!("{epochs:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Is the attack one of these papers', in any variant?
fn papers(attack: &str) -> Option<&'static str> {
    match BaseAttack::of(attack)? {
        BaseAttack::SecMi | BaseAttack::SecMiNn => Some("SecMI"),
        BaseAttack::Pia | BaseAttack::Pian => Some("PIA"),
        _ => None,
    }
}

/// A sentence where models on which these attacks were run had been trained for fewer passes than in the attacks' papers. Nothing is
/// said of text-to-image models, which are fine-tuned, nor of models whose training is not recorded.
pub fn warning(network: &PlannedNetwork, models: &[ModelReport]) -> Option<String> {
    if network.text == Some(true) {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    let mut short: Vec<(&str, f64)> = Vec::new();
    for model in models {
        let Some(epochs) = model.utility.as_ref().and_then(|u| u.epochs) else {
            continue;
        };
        let own = model.results.iter().filter(|r| r.pooled.is_some());
        let own: Vec<&str> = own.filter_map(|r| papers(&r.attack)).collect();
        if own.is_empty() || epochs >= ALIKE * PAPER {
            continue;
        }
        short.push((&model.title, epochs));
        for name in own {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let least = short.iter().map(|m| m.1).reduce(f64::min)?;
    let most = short.iter().map(|m| m.1).reduce(f64::max)?;
    let who = match short.as_slice() {
        [(one, _)] => format!("{one} was"),
        some if some.len() <= NAMED => {
            let titles: Vec<&str> = some.iter().map(|m| m.0).collect();
            format!("{} were", titles.join(", "))
        }
        some => format!("{} models were", some.len()),
    };
    let (least, most) = (text(least), text(most));
    let range = match least == most {
        true => least,
        false => format!("{least} to {most}"),
    };
    let (whose, these) = match names.as_slice() {
        [one] => (format!("the paper of {one}"), "this attack"),
        all => (
            format!("the papers of {}", all.join(" and ")),
            "these attacks",
        ),
    };
    Some(format!(
        "{who} trained {range} epochs (passes over a model's own training images); {whose} trained about {}: weak results of {these} may be due to that.",
        text((PAPER / 1000.0).round() * 1000.0)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_follow_from_steps_batch_and_images() {
        let training = Training {
            steps: Some(8000.0),
            batch: Some(32.0),
            images: Some(64.0),
            ..Training::default()
        };
        assert_eq!(training.passes(), Some(4000.0));
        let recorded = Training {
            epochs: Some(7.0),
            steps: Some(1.0),
            batch: Some(1.0),
            images: Some(1.0),
            ..Training::default()
        };
        assert_eq!(recorded.passes(), Some(7.0));
        assert_eq!(Training::default().passes(), None);
        assert_eq!(PAPER, 4096.0);
    }

    #[test]
    fn passes_as_people_read_them() {
        let got = [3993.6, 400.0, 12.5, 8.0, 0.751].map(text);
        assert_eq!(got, ["3,994", "400", "12.5", "8", "0.75"]);
    }

    #[test]
    fn variants_are_the_papers_attacks() {
        let got = ["secmi@100", "secmi-nn+shadow", "pian", "sima", "nn"].map(papers);
        assert_eq!(got, [Some("SecMI"), Some("SecMI"), Some("PIA"), None, None]);
    }
}

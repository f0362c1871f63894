//! About how long work takes on this machine: a few calls of the network are timed, everything else is counted. An estimate, and told as
//! one.

mod planned;

pub use planned::{IMAGE_BY_IMAGE, Speed, Work, attacking, drawing, training, watching, work};

use anyhow::Result;
use dualmd_attack::Space;
use dualmd_names::{AttackSpec, BlackBox, Cost};
use std::time::{Duration, Instant};

/// A gradient in an attack, in calls.
const GRADIENT: f64 = 3.0;

/// Parameters from which on a network is large.
const LARGE: usize = 5_000_000;

/// What the number of network calls follows from, of attacks on one model and of the images that it generates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Questions {
    /// Images that are scored: members and non-members.
    pub scored: f64,
    /// Captions of each, in the mean.
    pub captions: f64,
    /// Is the model told a text?
    pub text: bool,
    /// What the network sees.
    pub space: Space,
    /// Network calls of one generated image.
    pub calls_per_image: f64,
    /// Images to generate with a model that is told no text.
    pub images: f64,
    /// Images to generate for one caption with a model that is.
    pub per_prompt: f64,
}

impl Questions {
    /// Images for one caption of every scored image.
    fn images_a_caption(&self) -> f64 {
        self.per_prompt * self.scored
    }

    /// Calls of the images that are generated once for all attacks.
    pub fn drawing(&self) -> f64 {
        self.calls_per_image
            * match self.text {
                true => self.images_a_caption(),
                false => self.images,
            }
    }

    /// Calls of one attack, beside those images; a gradient counts as three calls.
    pub fn attack(&self, attack: &AttackSpec) -> f64 {
        if let (Some(BlackBox::Rounds(rounds)), false) = (BlackBox::of(attack), self.text) {
            return rounds as f64 * self.images * self.calls_per_image;
        }
        if BlackBox::of(attack).is_some_and(BlackBox::takes_drawn) {
            return 0.0;
        }
        if let Some(drawn) = attack.drawn() {
            // The first caption's images are drawn anyway, the other captions' and those in rounds are not.
            let lists = if drawn.captions.is_some() {
                (self.captions - 1.0).max(0.0)
            } else {
                0.0
            };
            let lists = match drawn.rounds {
                Some(rounds) => rounds.rounds as f64 * (1.0 + lists),
                None => lists,
            };
            return lists * self.images_a_caption() * self.calls_per_image;
        }
        let plain = AttackSpec::from(attack.base());
        let Ok(method) = dualmd_attack::method(&plain, self.space) else {
            return 0.0;
        };
        let calls = method.info().network_calls_per_sample as f64;
        let each = match attack.base().facts().cost {
            Cost::Gradients => GRADIENT,
            Cost::Calls | Cost::Images | Cost::Trainings => 1.0,
        };
        let asked = match attack.captions() {
            Some(_) => self.captions.max(1.0),
            None => 1.0,
        };
        calls * each * asked * self.scored
    }
}

/// Images at a time for a measurement, of the `whole` batch: a large network on a processor is busy with a few, and all of them would take
/// minutes.
pub fn at_a_time(whole: usize, parameters: usize, cuda: bool, text: bool) -> usize {
    match (cuda, parameters > LARGE, text) {
        (false, true, true) => whole.min(1),
        (false, true, false) => whole.min(4),
        _ => whole,
    }
}

/// Seconds of one call: the mean of a few after a first one, for at most a few seconds.
///
/// # Errors
/// What the work gives.
pub fn timed(cuda: bool, mut work: impl FnMut() -> Result<f64>) -> Result<f64> {
    work()?;
    let began = Instant::now();
    let mut calls = 0;
    while calls < if cuda { 20 } else { 5 } && began.elapsed() < Duration::from_secs(4) {
        work()?;
        calls += 1;
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(calls.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_as_attacks_make_them() {
        let asked = Questions {
            scored: 100.0,
            captions: 1.0,
            text: false,
            space: Space::Pixels,
            calls_per_image: 50.0,
            images: 256.0,
            per_prompt: 3.0,
        };
        let calls = |name: &str| asked.attack(&name.parse().unwrap());
        assert_eq!(asked.drawing(), 12_800.0);
        assert_eq!(calls("sima"), 100.0);
        assert_eq!(calls("nn"), 0.0);
        assert_eq!(calls("rounds@3"), 3.0 * 12_800.0);
        // A gradient is three calls.
        let gsa = dualmd_attack::by_name("gsa1").unwrap().info();
        assert_eq!(calls("gsa1"), 300.0 * gsa.network_calls_per_sample as f64);
        let told = Questions {
            text: true,
            ..asked
        };
        assert_eq!(told.drawing(), 15_000.0);
        assert_eq!(at_a_time(64, 100, false, true), 64);
        assert_eq!(at_a_time(64, 80_000_000, false, true), 1);
        assert_eq!(at_a_time(64, 80_000_000, true, true), 64);
    }
}

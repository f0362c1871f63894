//! What all prompts came to: `memorisation.json`, and a few lines of it.

use crate::stages::fit::Fitting;
use crate::stages::memorisation::{Found, Prompt};
use anyhow::{Result, bail};
use dualmd_attack::memorisation::Mitigation;
use dualmd_record::memorisation::{
    Beyond, ClipScores, FitScores, Fits, Histogram, Memorisation, PromptMeasure, RelativeFits,
    Remedied, Sides, Similarities, Spread,
};
use dualmd_stats::{clopper_pearson, summarise};
use std::path::Path;

/// Bars of the histograms.
const BARS: usize = 40;
/// Similarity above which DCR counts an image as a copy.
const COPY: f64 = 0.5;

/// What all prompts came to.
pub struct Summary<'a> {
    /// The prompts.
    pub prompts: &'a [Prompt],
    /// What each of them came to.
    pub found: &'a [Found],
    /// Of the bootstrap.
    pub seed: u64,
}

impl Summary<'_> {
    /// Prompts of a side.
    pub fn count(&self, memorised: bool) -> usize {
        self.prompts
            .iter()
            .filter(|p| p.memorised == memorised)
            .count()
    }

    fn side(&self, memorised: bool, of: impl Fn(&Found) -> Option<f64>) -> Vec<f64> {
        let both = self.prompts.iter().zip(self.found);
        both.filter(|(p, _)| p.memorised == memorised)
            .filter_map(|(_, f)| of(f))
            .collect()
    }

    /// The spread of something on both sides.
    fn spreads(&self, of: impl Fn(&Found) -> Option<f64>) -> Sides<Option<Spread>> {
        Sides {
            memorised: spread(&self.side(true, &of)),
            others: spread(&self.side(false, of)),
        }
    }

    /// Spread on both sides, a histogram, and how well the measure tells them apart; `sign`: -1 where small means memorised.
    ///
    /// # Errors
    /// A measure that is not finite.
    pub fn measured(&self, of: fn(&Found) -> f64, sign: f64) -> Result<PromptMeasure> {
        let sides = [true, false].map(|m| self.side(m, |f| Some(of(f))));
        let [inside, outside] = &sides;
        if let Some(bad) = sides.iter().flatten().find(|x| !x.is_finite()) {
            bail!("a prompt's measure is {bad}: check the weights, or work in f32 (--dtype f32)");
        }
        let detection = if outside.is_empty() {
            None
        } else {
            let signed = |side: &[f64]| side.iter().map(|x| sign * x).collect::<Vec<_>>();
            let (members, others) = (signed(inside), signed(outside));
            Some(summarise(&members, &others, &[0.01], self.seed)?)
        };
        Ok(PromptMeasure {
            spread: Sides {
                memorised: spread(inside),
                others: spread(outside),
            },
            histogram: histogram(inside, outside),
            detection,
            t: None,
        })
    }

    /// Similarities in `features`.
    ///
    /// # Errors
    /// A similarity that is not finite.
    pub fn similarity(&self, features: &str) -> Result<Similarities> {
        let [seen, unseen] = [true, false].map(|side| self.side(side, |f| f.similarity));
        let copies = |own: &[f64]| {
            let above = own.iter().filter(|&&s| s > COPY).count();
            (!own.is_empty()).then(|| above as f64 / own.len() as f64)
        };
        Ok(Similarities {
            features: features.to_owned(),
            own: self.spreads(|f| f.similarity),
            nearest_member: self.spreads(|f| f.nearest_member),
            nearest_heldout: self.spreads(|f| f.nearest_heldout),
            share_above_half: Sides {
                memorised: copies(&seen),
                others: copies(&unseen),
            },
            // What a caption alone explains: how like its image a drawing for a caption is that no model saw.
            beyond_captions: beyond(&seen, &unseen)?,
        })
    }

    /// CLIP scores by the model in `folder`.
    pub fn clip(&self, folder: &Path) -> ClipScores {
        ClipScores {
            model: folder.display().to_string(),
            scores: self.spreads(|f| f.clip_score),
        }
    }

    /// Fits by a head that was learnt for it. `real`: those of the memorised prompts' own images.
    pub fn fit(&self, fitting: &Fitting, real: &[f64]) -> Fits {
        let relative = |fit: f64| fitting.calibration.relative(fit);
        let real: Vec<f64> = real.iter().map(|&fit| relative(fit)).collect();
        Fits {
            by: fitting.name().to_owned(),
            calibration: Some(fitting.calibration.clone()),
            fits: self.spreads(|f| f.fit),
            relative: RelativeFits {
                drawn: self.spreads(|f| f.fit.map(relative)),
                own_images: spread(&real),
            },
        }
    }

    /// What the remedy did.
    pub fn remedied(&self, options: &Mitigation) -> Remedied {
        let all: Vec<_> = self.found.iter().filter_map(|f| f.mitigation).collect();
        let (before, after): (Vec<f64>, Vec<f64>) = all.iter().map(|m| (m.before, m.after)).unzip();
        Remedied {
            how: "wen".to_owned(),
            target: options.target,
            most_steps: options.steps,
            learning_rate: options.learning_rate,
            weight_decay: options.weight_decay,
            reached: all.iter().filter(|m| m.reached).count(),
            loss_before: spread(&before),
            loss_after: spread(&after),
        }
    }
}

/// A few lines of it, for people.
pub fn lines(report: &Memorisation) -> Vec<String> {
    let mut lines = Vec::new();
    let t = report.t_error.t.unwrap_or_default();
    let t = format!("t-error at t = {t}");
    for (name, found) in [
        (t.as_str(), &report.t_error),
        ("Wen's norm, all steps", &report.mean_norm),
        ("Wen's norm, first step", &report.first_norm),
        ("anisotropy", &report.anisotropy),
        ("sharpness", &report.sharpness),
    ] {
        let median = |side: Option<Spread>| side.map(|s| s.median);
        let memorised = median(found.spread.memorised).unwrap_or(f64::NAN);
        let mut line = format!("{name}: median {memorised:.4}");
        if let (Some(others), Some(d)) = (median(found.spread.others), &found.detection) {
            let [low, high] = d.auc_ci;
            line += &format!(
                ", of other prompts {others:.4}; AUC {:.3} [{low:.3}-{high:.3}]",
                d.auc
            );
        }
        lines.push(line);
    }
    let mean = |side: Option<Spread>| side.map(|s| s.mean);
    if let Some(s) = &report.similarity
        && let Some(own) = mean(s.own.memorised)
    {
        let features = &s.features;
        let mut line = format!("similarity to the own image ({features}): mean {own:.3}");
        if let Some(others) = mean(s.own.others) {
            line += &format!(", of captions never seen {others:.3}");
        }
        if let Some(beyond) = &s.beyond_captions {
            line += &format!(
                ", {} of {} above all but {} of {} of these",
                beyond.found, beyond.n, beyond.others_above, beyond.n_others
            );
        }
        if let Some(yardstick) = mean(s.nearest_heldout.memorised) {
            line += &format!("; to the nearest held-out image {yardstick:.3}");
        }
        lines.push(line);
    }
    let clip = report.clip_score.as_ref();
    if let Some(score) = clip.and_then(|clip| mean(clip.scores.memorised)) {
        lines.push(format!("CLIP score: mean {score:.3}"));
    }
    if let Some(fit) = report.fit.as_ref().and_then(FitScores::measured)
        && let Some(drawn) = mean(fit.relative.drawn.memorised)
    {
        let mut line = format!(
            "fit of prompt and image ({}; 0: a strange text, 1: the own text of a real image): mean {drawn:.3}",
            fit.by
        );
        if let Some(others) = mean(fit.relative.drawn.others) {
            line += &format!(", of captions never seen {others:.3}");
        }
        if let Some(own) = mean(fit.relative.own_images) {
            line += &format!("; the prompts' own images {own:.3}");
        }
        lines.push(line);
    }
    if let Some(remedy) = &report.mitigation {
        lines.push(format!(
            "remedy: target {} reached for {} of {} prompts",
            remedy.target,
            remedy.reached,
            report.n_memorised + report.n_others
        ));
    }
    lines
}

/// Share of the captions that no model saw whose drawings count as copies when the threshold is set.
const FALSE_COPIES: f64 = 0.05;

/// How many memorised prompts draw something more like their image than all but [`FALSE_COPIES`] of the captions that no model saw: a
/// threshold that is calibrated on held-out pairs and means the same in any features. `null` with fewer than 20 of these.
fn beyond(seen: &[f64], unseen: &[f64]) -> Result<Option<Beyond>> {
    if let Some(bad) = seen.iter().chain(unseen).find(|x| !x.is_finite()) {
        bail!("a similarity is {bad}: check the weights, or work in f32 (--dtype f32)");
    }
    if seen.is_empty() || (unseen.len() as f64) < 1.0 / FALSE_COPIES {
        return Ok(None);
    }
    let mut sorted = unseen.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let threshold = sorted[(unseen.len() as f64 * FALSE_COPIES).floor() as usize];
    let above = |side: &[f64]| side.iter().filter(|&&s| s > threshold).count();
    let (found, n) = (above(seen), seen.len());
    Ok(Some(Beyond {
        threshold,
        others_above: above(unseen),
        n_others: unseen.len(),
        found,
        n,
        share: found as f64 / n as f64,
        share_ci: clopper_pearson(found as u64, n as u64, 0.95)?,
    }))
}

/// Mean, standard deviation and quantiles; none of nothing.
fn spread(values: &[f64]) -> Option<Spread> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    let std = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let at = q * (n - 1.0);
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    };
    Some(Spread {
        n: values.len(),
        mean,
        std,
        min: sorted[0],
        q05: quantile(0.05),
        median: quantile(0.5),
        q95: quantile(0.95),
        max: sorted[sorted.len() - 1],
    })
}

/// Bars of equal width from the smallest to the largest value of both sides.
fn histogram(inside: &[f64], outside: &[f64]) -> Histogram {
    let all = || inside.iter().chain(outside).copied();
    let low = all().fold(f64::INFINITY, f64::min);
    let high = all().fold(f64::NEG_INFINITY, f64::max);
    let width = if high > low {
        (high - low) / BARS as f64
    } else {
        1.0
    };
    let edges: Vec<f64> = (0..=BARS).map(|i| low + width * i as f64).collect();
    let counts = |side: &[f64]| {
        let mut counts = vec![0_u64; BARS];
        for x in side {
            counts[(((x - low) / width) as usize).min(BARS - 1)] += 1;
        }
        counts
    };
    Histogram {
        edges,
        counts: Sides {
            memorised: counts(inside),
            others: counts(outside),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_captions_explain_is_no_memory() {
        let unseen: Vec<f64> = (0..40).map(|i| f64::from(i) / 100.0).collect();
        let found = beyond(&[0.9, 0.38, 0.37, 0.1], &unseen).unwrap().unwrap();
        // 5 % of 40 are two: 0.39 and 0.38 lie above the third.
        assert_eq!((found.threshold, found.others_above), (0.37, 2));
        assert_eq!((found.found, found.share), (2, 0.5));
        assert_eq!(beyond(&[0.9], &unseen[..19]).unwrap(), None);
    }

    #[test]
    fn spread_and_bars_by_hand() {
        let s = spread(&[4.0, 1.0, 3.0, 2.0, 5.0]).unwrap();
        assert_eq!((s.mean, s.median, s.min), (3.0, 3.0, 1.0));
        assert_eq!((s.q05, s.max), (1.2, 5.0));
        assert!((s.std.unwrap() - 2.5_f64.sqrt()).abs() < 1e-12);
        assert!(spread(&[]).is_none() && spread(&[2.0]).unwrap().std.is_none());

        let h = histogram(&[0.0, 0.5, 40.0], &[20.0, 39.9]);
        assert_eq!((h.edges[0], h.edges[40]), (0.0, 40.0));
        let (memorised, others) = (&h.counts.memorised, &h.counts.others);
        // The largest value stands in the last bar.
        assert_eq!((memorised[0], memorised[39]), (2, 1));
        assert_eq!((others[20], others[39]), (1, 1));
        assert_eq!(histogram(&[2.0, 2.0], &[]).counts.memorised[0], 2);
    }
}

//! What all prompts came to: `memorisation.json`, and a few lines of it.

use crate::stages::fit::Fitting;
use crate::stages::memorisation::{Found, Prompt};
use anyhow::{Result, bail};
use dualmd_attack::memorisation::Mitigation;
use dualmd_stats::{clopper_pearson, summarise};
use serde_json::{Value, json};
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

    /// Spread on both sides, a histogram, and how well the measure tells them apart; `sign`: -1 where small means memorised.
    ///
    /// # Errors
    /// A measure that is not finite.
    pub fn measured(&self, of: fn(&Found) -> f64, sign: f64) -> Result<Value> {
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
        Ok(json!({
            "memorised": spread(inside), "others": spread(outside), "histogram": histogram(inside, outside),
            "detection": detection,
        }))
    }

    /// Similarities in `features`.
    ///
    /// # Errors
    /// A similarity that is not finite.
    pub fn similarity(&self, features: &str) -> Result<Value> {
        let of = |get: fn(&Found) -> Option<f64>| json!({ "memorised": spread(&self.side(true, get)), "others": spread(&self.side(false, get)) });
        // What a caption alone explains: how like its image a drawing for a caption is that no model saw.
        let unseen = self.side(false, |f| f.similarity);
        let seen = self.side(true, |f| f.similarity);
        let copies = |memorised: bool| {
            let own = self.side(memorised, |f| f.similarity);
            let above = own.iter().filter(|&&s| s > COPY).count();
            (!own.is_empty()).then(|| above as f64 / own.len() as f64)
        };
        Ok(json!({
            "features": features,
            "own": of(|f| f.similarity),
            "nearest_member": of(|f| f.nearest_member),
            "nearest_heldout": of(|f| f.nearest_heldout),
            "share_above_half": { "memorised": copies(true), "others": copies(false) },
            "beyond_captions": beyond(&seen, &unseen)?,
        }))
    }

    /// CLIP scores by the model in `folder`.
    pub fn clip(&self, folder: &Path) -> Value {
        let of = |side| spread(&self.side(side, |f| f.clip_score));
        json!({ "model": folder.display().to_string(), "memorised": of(true), "others": of(false) })
    }

    /// Fits by a head that was learnt for it. `real`: those of the memorised prompts' own images.
    pub fn fit(&self, fitting: &Fitting, real: &[f64]) -> Value {
        let side = |memorised| self.side(memorised, |f| f.fit);
        let relative = |fits: Vec<f64>| {
            let fits: Vec<f64> = fits
                .into_iter()
                .map(|f| fitting.calibration.relative(f))
                .collect();
            spread(&fits)
        };
        json!({
            "by": fitting.name(), "calibration": fitting.calibration,
            "memorised": spread(&side(true)), "others": spread(&side(false)),
            "relative": {
                "memorised": relative(side(true)), "others": relative(side(false)), "own_images": relative(real.to_vec()),
            },
        })
    }

    /// What the remedy did.
    pub fn remedied(&self, options: &Mitigation) -> Value {
        let all: Vec<_> = self.found.iter().filter_map(|f| f.mitigation).collect();
        let (before, after): (Vec<f64>, Vec<f64>) = all.iter().map(|m| (m.before, m.after)).unzip();
        json!({
            "how": "wen", "target": options.target, "most_steps": options.steps, "learning_rate": options.learning_rate,
            "weight_decay": options.weight_decay, "reached": all.iter().filter(|m| m.reached).count(),
            "loss_before": spread(&before), "loss_after": spread(&after),
        })
    }

    /// For people: of the whole `memorisation.json`.
    pub fn lines(&self, report: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        let t = format!("t-error at t = {}", report["t_error"]["t"]);
        for (name, key) in [
            (t.as_str(), "t_error"),
            ("Wen's norm, all steps", "mean_norm"),
            ("Wen's norm, first step", "first_norm"),
        ] {
            let of = |side: &str| report[key][side]["median"].as_f64();
            let mut line = format!("{name}: median {:.4}", of("memorised").unwrap_or(f64::NAN));
            if let (Some(others), Some(d)) = (of("others"), report[key]["detection"].as_object()) {
                let ci = |i: usize| d["auc_ci"][i].as_f64().unwrap_or(f64::NAN);
                line += &format!(
                    ", of other prompts {others:.4}; AUC {:.3} [{:.3}, {:.3}]",
                    d["auc"].as_f64().unwrap_or(f64::NAN),
                    ci(0),
                    ci(1)
                );
            }
            lines.push(line);
        }
        let s = &report["similarity"];
        let mean = |key: &str, side: &str| s[key][side]["mean"].as_f64();
        if let (Some(features), Some(own)) = (s["features"].as_str(), mean("own", "memorised")) {
            let mut line = format!("similarity to the own image ({features}): mean {own:.3}");
            if let Some(others) = mean("own", "others") {
                line += &format!(", of captions never seen {others:.3}");
            }
            let beyond = &s["beyond_captions"];
            if let (Some(found), Some(n)) = (beyond["found"].as_u64(), beyond["n"].as_u64()) {
                line += &format!(
                    ", {found} of {n} above all but {} of {} of these",
                    beyond["others_above"], beyond["n_others"]
                );
            }
            if let Some(yardstick) = mean("nearest_heldout", "memorised") {
                line += &format!("; to the nearest held-out image {yardstick:.3}");
            }
            lines.push(line);
        }
        if let Some(mean) = report["clip_score"]["memorised"]["mean"].as_f64() {
            lines.push(format!("CLIP score: mean {mean:.3}"));
        }
        let fit = &report["fit"];
        let relative = |side: &str| fit["relative"][side]["mean"].as_f64();
        if let (Some(by), Some(mean)) = (fit["by"].as_str(), relative("memorised")) {
            let mut line = format!(
                "fit of prompt and image ({by}; 0: a strange text, 1: the own text of a real image): mean {mean:.3}"
            );
            if let Some(others) = relative("others") {
                line += &format!(", of captions never seen {others:.3}");
            }
            if let Some(own) = relative("own_images") {
                line += &format!("; the prompts' own images {own:.3}");
            }
            lines.push(line);
        }
        if let Some(reached) = report["mitigation"]["reached"].as_u64() {
            lines.push(format!(
                "remedy: target {} reached for {reached} of {} prompts",
                report["mitigation"]["target"],
                self.found.len()
            ));
        }
        lines
    }
}

/// Share of the captions that no model saw whose drawings count as copies when the threshold is set.
const FALSE_COPIES: f64 = 0.05;

/// How many memorised prompts draw something more like their image than all but [`FALSE_COPIES`] of the captions that no model saw: a
/// threshold that is calibrated on held-out pairs and means the same in any features. `null` with fewer than 20 of these.
fn beyond(seen: &[f64], unseen: &[f64]) -> Result<Value> {
    if let Some(bad) = seen.iter().chain(unseen).find(|x| !x.is_finite()) {
        bail!("a similarity is {bad}: check the weights, or work in f32 (--dtype f32)");
    }
    if seen.is_empty() || (unseen.len() as f64) < 1.0 / FALSE_COPIES {
        return Ok(Value::Null);
    }
    let mut sorted = unseen.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let threshold = sorted[(unseen.len() as f64 * FALSE_COPIES).floor() as usize];
    let above = |side: &[f64]| side.iter().filter(|&&s| s > threshold).count();
    let (found, n) = (above(seen), seen.len());
    Ok(json!({
        "threshold": threshold, "others_above": above(unseen), "n_others": unseen.len(), "found": found, "n": n,
        "share": found as f64 / n as f64, "share_ci": clopper_pearson(found as u64, n as u64, 0.95)?,
    }))
}

/// Mean, standard deviation and quantiles; `null` of nothing.
fn spread(values: &[f64]) -> Value {
    if values.is_empty() {
        return Value::Null;
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
    json!({
        "n": values.len(), "mean": mean, "std": std, "min": sorted[0], "q05": quantile(0.05), "median": quantile(0.5),
        "q95": quantile(0.95), "max": sorted[sorted.len() - 1],
    })
}

/// Bars of equal width from the smallest to the largest value of both sides.
fn histogram(inside: &[f64], outside: &[f64]) -> Value {
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
    json!({ "edges": edges, "memorised": counts(inside), "others": counts(outside) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_captions_explain_is_no_memory() {
        let unseen: Vec<f64> = (0..40).map(|i| f64::from(i) / 100.0).collect();
        let found = beyond(&[0.9, 0.38, 0.37, 0.1], &unseen).unwrap();
        // 5 % of 40 are two: 0.39 and 0.38 lie above the third.
        assert_eq!(
            (&found["threshold"], &found["others_above"]),
            (&json!(0.37), &json!(2))
        );
        assert_eq!((&found["found"], &found["share"]), (&json!(2), &json!(0.5)));
        assert_eq!(beyond(&[0.9], &unseen[..19]).unwrap(), Value::Null);
    }

    #[test]
    fn spread_and_bars_by_hand() {
        let s = spread(&[4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!(
            (&s["mean"], &s["median"], &s["min"]),
            (&json!(3.0), &json!(3.0), &json!(1.0))
        );
        assert_eq!((&s["q05"], &s["max"]), (&json!(1.2), &json!(5.0)));
        assert!((s["std"].as_f64().unwrap() - 2.5_f64.sqrt()).abs() < 1e-12);
        assert!(spread(&[]).is_null() && spread(&[2.0])["std"].is_null());

        let h = histogram(&[0.0, 0.5, 40.0], &[20.0, 39.9]);
        assert_eq!(
            (&h["edges"][0], &h["edges"][40]),
            (&json!(0.0), &json!(40.0))
        );
        // The largest value stands in the last bar.
        assert_eq!(
            (&h["memorised"][0], &h["memorised"][39]),
            (&json!(2), &json!(1))
        );
        assert_eq!((&h["others"][20], &h["others"][39]), (&json!(1), &json!(1)));
        assert_eq!(histogram(&[2.0, 2.0], &[])["memorised"][0], 2);
    }
}

//! Images that a classifier leads the model to (SIDE): the first half of the budget is generated as ever, like images among them are put
//! together, and the other half is led to each group in turn. No real image is looked at.

use super::compared::Compared;
use super::drawing::{Drawing, Drawn};
use super::{IMAGES, LED};
use crate::stages::batches::InBatches;
use crate::stages::generator::decoded;
use crate::stages::score::parts::{self, Folder};
use anyhow::{Context, Result};
use dualmd_attack::side::{Classifier, Side, Steering, clusters};
use dualmd_diffusion::DiffusionError;
use dualmd_record::extraction as record;
use dualmd_torch::{Device, Tensor};
use std::time::Instant;

/// How the model is led, and what images are put together by.
pub(super) struct Led<'a> {
    pub(super) options: Side,
    pub(super) compared: &'a Compared,
}

impl Led<'_> {
    /// Both halves, or those images of them that no earlier call left. `noise`: what all images start from; `key`: the hash of all that they
    /// depend on but for how the model is led.
    ///
    /// # Errors
    /// Images of which no few are alike; what the model refuses; a stop that was asked for.
    pub(super) fn images(&self, drawing: &Drawing<'_>, noise: &Tensor, key: &str) -> Result<Drawn> {
        let (session, args, generator) = (drawing.session, drawing.args, drawing.generator);
        let (model, device) = (generator.first(), session.engine.device);
        let n = noise.size().first().copied().unwrap_or(0);
        let rest = n / 2;
        let pool = n - rest;
        let hashed = |of: &str| blake3::hash(of.as_bytes()).to_hex().to_string();
        let began = Instant::now();
        let folder = Folder::open(
            &parts::beside(&args.out.join(IMAGES)),
            &hashed(&format!("{key} pool")),
        )?;
        let start = noise.f_narrow(0, 0, pool)?;
        let first = InBatches {
            name: "",
            generator,
            noise: &start,
            known: None,
            steering: None,
            how: drawing.how(args.seed),
            parts: &folder,
        };
        let there = first.there();
        let made = first.gather(|| Ok(None), session)?.f_to_device(device)?;
        let shown = |made: &Tensor| -> Result<Tensor> {
            let images =
                decoded(model, made).context("what the model made cannot be turned into images")?;
            Ok(images.f_to_device(Device::Cpu)?)
        };
        let images = shown(&made)?;
        let groups = clusters(&self.compared.of(&images)?, &self.options)?;
        let labels: Vec<i64> = (0..rest).map(|i| i % groups.kept.max(1) as i64).collect();
        let of = format!(
            "{key} {:?} {} {:?}",
            self.options,
            self.compared.name(),
            args.features_weights
        );
        let own = Folder::open(&parts::beside(&args.out.join(LED)), &hashed(&of))?;
        let start = noise.f_narrow(0, pool, rest)?;
        let second = InBatches {
            name: "",
            generator,
            noise: &start,
            known: None,
            steering: None,
            // What is random of these is not that of the first.
            how: drawing.how(args.seed.wrapping_add(1)),
            parts: &own,
        };
        let there = there + second.there();
        let led = match second.is_whole() {
            true => second.gather(|| Ok(None), session)?,
            false => {
                if session.stopped() {
                    return Err(DiffusionError::Stopped.into());
                }
                session.say(&format!(
                    "a classifier learns {} groups of {pool} generated images",
                    groups.kept
                ));
                let classifier =
                    Classifier::learn(&made, &groups, model.schedule(), &self.options, args.seed)?;
                let steering = Steering {
                    classifier: &classifier,
                    labels: &labels,
                    scale: self.options.scale,
                };
                let second = InBatches {
                    steering: Some(steering),
                    ..second
                };
                second.gather(|| Ok(None), session)?
            }
        };
        let all = Tensor::f_cat(&[images, shown(&led.f_to_device(device)?)?], 0)?;
        let count = |n: i64| usize::try_from(n).unwrap_or(0);
        Ok(Drawn {
            images: all,
            now: count(n).saturating_sub(there),
            seconds: began.elapsed().as_secs_f64(),
            led: Some(record::Led {
                pool: count(pool),
                groups: groups.found,
                kept: groups.kept,
                grouped: groups.of.iter().flatten().count(),
                steps: self.options.steps,
                scale: self.options.scale,
                images: count(rest),
                gradients: rest.unsigned_abs() * args.steps as u64,
            }),
        })
    }
}

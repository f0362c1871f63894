//! `dualmd sample` and `dualmd predict`: models, wherever they were trained.

use crate::args::{Global, PredictArgs, SampleArgs};
use crate::choices::ImageFormat;
use crate::engine::Engine;
use crate::progress::{Progress, ProgressEvent};
use crate::stages::attack::weight_set;
use crate::stages::sample::{Generator, write_samples};
use crate::stages::{create_folder, train::view};
use anyhow::{Context, Result, bail};
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{Denoiser, Pipeline};
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Kind, no_grad};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// Generates images.
pub fn sample(global: &Global, args: &SampleArgs) -> Result<ExitCode> {
    let engine = Engine::exact(global)?;
    let folders: Vec<PathBuf> = std::iter::once(&args.model)
        .chain(&args.model2)
        .cloned()
        .collect();
    let generator = Generator::open(&folders, weight_set(args.weights), &engine)?;
    let seed = global.seed.unwrap_or(0);
    let noise = match &args.noise {
        Some(path) => {
            let noise = read_npy(path)?
                .to_kind(Kind::Float)
                .to_device(engine.device);
            if noise.dim() != 4 {
                bail!(
                    "{}: shape {:?}, expected [N, C, H, W]",
                    path.display(),
                    noise.size()
                );
            }
            let rows = noise.size()[0];
            if (rows as usize) < args.n {
                bail!(
                    "{} holds noise for {rows} images, {} are asked for",
                    path.display(),
                    args.n
                );
            }
            noise.narrow(0, 0, args.n as i64)
        }
        None => {
            let shape = generator.first().image_shape().with_context(|| {
                format!(
                    "{}: unet/config.json gives no sample_size; add it",
                    args.model.display()
                )
            })?;
            initial_noise(seed, args.n, shape, engine.device)
        }
    };
    let stop = crate::signals::stop_flag()?;
    let mut progress = Progress::new(view(global.quiet, global.log_format));
    let began = std::time::Instant::now();
    let images = generator.sample(
        &noise,
        args.sampler,
        args.steps(),
        args.order,
        args.batch,
        seed,
        |done| {
            progress.update(&ProgressEvent {
                model: "sample".into(),
                step: done as u64,
                total: args.n as u64,
                loss: None,
                images_per_second: done as f64 / began.elapsed().as_secs_f64(),
            });
            !stop.load(Ordering::Relaxed)
        },
    )?;
    create_folder(&args.out)?;
    match args.format {
        ImageFormat::Npy => write_npy(&args.out.join("samples.npy"), &images)?,
        ImageFormat::Png => write_samples(&args.out, &images)?,
    }
    progress.finish(
        "sample",
        &format!("{} images in {}", args.n, args.out.display()),
    );
    Ok(ExitCode::SUCCESS)
}

/// One call of the network, for parity checks.
pub fn predict(global: &Global, args: &PredictArgs) -> Result<ExitCode> {
    let engine = Engine::exact(global)?;
    let pipeline = Pipeline::load(&args.model, weight_set(args.weights), engine.device)?
        .with_precision(engine.precision);
    let x = read_npy(&args.x)?
        .to_kind(Kind::Float)
        .to_device(engine.device);
    let t = read_npy(&args.t)?
        .to_kind(Kind::Int64)
        .to_device(engine.device);
    let last = pipeline.schedule.len() as i64 - 1;
    if t.numel() > 0 && (i64::try_from(t.min())? < 0 || i64::try_from(t.max())? > last) {
        bail!(
            "{}: timesteps must lie between 0 and {last}",
            args.t.display()
        );
    }
    let eps = no_grad(|| pipeline.predict_noise(&x, &t, None))
        .with_context(|| format!("{}", args.x.display()))?;
    write_npy(&args.out, &eps)?;
    Ok(ExitCode::SUCCESS)
}

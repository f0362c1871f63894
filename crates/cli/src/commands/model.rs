//! `dualmd sample` and `dualmd predict`: models, wherever they were trained.

use crate::args::{Global, PredictArgs, SampleArgs};
use crate::bail_usage;
use crate::choices::ImageFormat;
use crate::engine::Engine;
use crate::progress::{Progress, ProgressEvent};
use crate::room;
use crate::stages::attack::weight_set;
use crate::stages::held::Held;
use crate::stages::mitigation::{self, Drawing};
use crate::stages::sample::{Generator, Prompts, write_samples};
use crate::stages::text::Encoded;
use crate::stages::train::view;
use anyhow::{Context, Result, bail};
use dualmd_data::drawn;
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{Condition, Denoiser, Model};
use dualmd_files::limit;
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Kind, no_grad};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// Generates images.
pub fn sample(global: &Global, args: &SampleArgs) -> Result<ExitCode> {
    let _held = Held::open_folder(&args.out)?;
    // Before hours of work, not after.
    drawn::room(&args.out, false)?;
    let engine = Engine::exact(global)?;
    let folders: Vec<PathBuf> = std::iter::once(&args.model)
        .chain(&args.model2)
        .cloned()
        .collect();
    let generator = Generator::open(&folders, weight_set(args.weights), &engine)?;
    let seed = global.seed.unwrap_or(0);
    if let Some(class) = generator.first().schedule().config().other_sampler()
        && !global.quiet
    {
        tell!(
            "note: {}: its scheduler is {class}; this program draws with {} in its place, so images differ from those of diffusers",
            args.model.display(),
            args.sampler
        );
    }
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
            let shape = generator.first().sample_shape().with_context(|| {
                format!(
                    "{}: unet/config.json gives no sample_size; add it",
                    args.model.display()
                )
            })?;
            room::check(generator.first(), args.n, args.batch, shape)?;
            initial_noise(seed, args.n, shape, engine.device)
        }
    };
    let mut prompts = prompts(args, &generator, &folders[0])?;
    let remedy = args.remedy.options();
    match (&mut prompts, &remedy) {
        (Some((prompts, of)), Some(options)) => {
            let drawing = Drawing {
                generator: &generator,
                noise: &noise,
                steps: args.steps(),
                order: args.order,
                seed,
            };
            let all = mitigation::remedy(&drawing, prompts, of, options)?;
            if global.verbose > 0 {
                for found in &all {
                    tell!(
                        "mitigate: losses {:?}, target {}",
                        found.losses,
                        if found.reached {
                            "reached"
                        } else {
                            "not reached"
                        }
                    );
                }
            }
        }
        (None, Some(_)) => bail_usage!(
            "--mitigate changes what a prompt says to a text-to-image model, and {} is told no text",
            folders[0].display()
        ),
        _ => {}
    }
    let prompts = prompts.map(|(prompts, _)| prompts);
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
        prompts.as_ref(),
        |done| {
            progress.update(&ProgressEvent {
                model: "sample".into(),
                step: done as u64,
                total: args.n as u64,
                epoch: None,
                loss: None,
                images_per_second: done as f64 / began.elapsed().as_secs_f64(),
            });
            !stop.load(Ordering::Relaxed)
        },
    )?;
    match args.format {
        ImageFormat::Npy => {
            drawn::clear(&drawn::room(&args.out, false)?)?;
            write_npy(&args.out.join(drawn::ARRAY), &images)?;
        }
        ImageFormat::Png => write_samples(&args.out, &images, false)?,
    }
    progress.finish(
        "sample",
        &format!("{} images in {}", args.n, args.out.display()),
    );
    Ok(ExitCode::SUCCESS)
}

/// What a text-to-image model is told for each image: --prompt, or the lines of --prompts in turn.
/// Also says which line each image is drawn for.
fn prompts(
    args: &SampleArgs,
    generator: &Generator,
    folder: &Path,
) -> Result<Option<(Prompts, Vec<usize>)>> {
    let lines = match (&args.prompt, &args.prompts) {
        (Some(prompt), _) => vec![prompt.clone()],
        (None, Some(file)) => {
            let text = dualmd_files::read_text(file, limit::TABLE)?;
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.is_empty() {
                bail!("{}: holds no prompt; write one a line", file.display());
            }
            lines
        }
        (None, None) => Vec::new(),
    };
    let Some(model) = generator.first().text() else {
        if !lines.is_empty() {
            bail!(
                "{}: this model is told no text; leave --prompt and --prompts out",
                folder.display()
            );
        }
        return Ok(None);
    };
    let lines = if lines.is_empty() {
        vec![String::new()]
    } else {
        lines
    };
    let of: Vec<usize> = (0..args.n).map(|i| i % lines.len()).collect();
    let texts: Vec<[String; 1]> = of.iter().map(|&line| [lines[line].clone()]).collect();
    let texts: Vec<&[String]> = texts.iter().map(|t| t.as_slice()).collect();
    let encoded = Encoded::new(model, &texts)?;
    let prompts = Prompts {
        condition: encoded.main(1),
        nothing: encoded.nothing(),
        guidance: args.guidance,
    };
    Ok(Some((prompts, of)))
}

/// One call of the network, for parity checks.
pub fn predict(global: &Global, args: &PredictArgs) -> Result<ExitCode> {
    let engine = Engine::exact(global)?;
    let model = Model::load(&args.model, weight_set(args.weights), engine.device)?
        .with_precision(engine.precision);
    let x = read_npy(&args.x)?
        .to_kind(Kind::Float)
        .to_device(engine.device);
    let t = read_npy(&args.t)?
        .to_kind(Kind::Int64)
        .to_device(engine.device);
    let last = model.schedule().len() as i64 - 1;
    if t.numel() > 0 && (i64::try_from(t.min())? < 0 || i64::try_from(t.max())? > last) {
        bail!(
            "{}: timesteps must lie between 0 and {last}",
            args.t.display()
        );
    }
    let condition = match (model.text(), &args.prompt) {
        (Some(text), prompt) => {
            let prompt = prompt.as_deref().unwrap_or_default();
            let one = text.text_embeddings(&[prompt])?;
            let n = x.size().first().copied().unwrap_or(0);
            Some(Condition {
                embedding: one.f_expand([n, -1, -1], false)?,
            })
        }
        (None, Some(_)) => bail!(
            "{}: this model is told no text; leave --prompt out",
            args.model.display()
        ),
        (None, None) => None,
    };
    let eps = no_grad(|| model.predict_noise(&x, &t, condition.as_ref()))
        .with_context(|| format!("{}", args.x.display()))?;
    write_npy(&args.out, &eps)?;
    Ok(ExitCode::SUCCESS)
}

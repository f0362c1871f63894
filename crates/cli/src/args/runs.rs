//! Arguments of the commands that compute.

use crate::choices::{ImageFormat, Order, Sampler, Stage, Weights};
use crate::experiment::Source;
use anyhow::{Result, bail};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use std::path::PathBuf;

/// Numbers of at least 1.
fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// `dualmd demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The run's folder
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,

    /// Change a key, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl From<DemoArgs> for RunArgs {
    fn from(demo: DemoArgs) -> Self {
        Self {
            experiment: None,
            preset: Some("demo".into()),
            out: Some(demo.out),
            set: demo.set,
            until: Stage::default(),
        }
    }
}

/// `dualmd run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The experiment file; without it and --preset, the one in the folder --out
    #[arg(value_name = "EXPERIMENT.toml", conflicts_with = "preset")]
    pub experiment: Option<PathBuf>,

    /// An experiment that is part of the program (`dualmd list presets`)
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// The run's folder (default: runs/ and the name of the file or preset)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Change a key, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// The last stage to run
    #[arg(long, value_enum, value_name = "STAGE", default_value_t = Stage::Report)]
    pub until: Stage,
}

impl RunArgs {
    /// What to run, and the run's folder.
    ///
    /// # Errors
    /// Neither a file nor a preset is named, and --out holds no experiment; or the file's name gives no folder.
    pub fn resolve(&self) -> Result<(Source, PathBuf)> {
        match (&self.experiment, &self.preset, &self.out) {
            (Some(file), _, Some(out)) => Ok((Source::File(file.clone()), out.clone())),
            (Some(file), _, None) => match file.file_stem() {
                Some(stem) => Ok((Source::File(file.clone()), PathBuf::from("runs").join(stem))),
                None => bail!(
                    "{} is no file name: give an experiment file",
                    file.display()
                ),
            },
            (None, Some(preset), out) => {
                let out = out
                    .clone()
                    .unwrap_or_else(|| PathBuf::from("runs").join(preset));
                Ok((Source::Preset(preset.clone()), out))
            }
            (None, None, Some(out)) => {
                let file = out.join("experiment.toml");
                if !file.is_file() {
                    bail!(
                        "{} holds no run to go on with (no experiment.toml): name an experiment file or a --preset",
                        out.display()
                    );
                }
                Ok((Source::File(file), out.clone()))
            }
            (None, None, None) => bail!(
                "nothing to run: name an experiment file, a --preset (`dualmd list presets`), or the --out folder of a run to go on with"
            ),
        }
    }
}

/// `dualmd train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The experiment file
    #[arg(value_name = "EXPERIMENT.toml")]
    pub experiment: PathBuf,

    /// The model to train: a name of the experiment, teacher-1 or teacher-2
    #[arg(long, value_name = "NAME")]
    pub model: String,

    /// The run's folder
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Change a key, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Save and leave after so many steps; the same command goes on
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub max_steps_now: Option<u64>,

    /// For the run that started this process: progress as JSON lines on stdout; stop when stdin ends
    #[arg(long, hide = true)]
    pub progress_json: bool,
}

/// `dualmd sample`
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Pipeline folder in the diffusers layout
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// A second one: the two alternate
    #[arg(value_name = "MODEL2")]
    pub model2: Option<PathBuf>,

    /// Images to generate
    #[arg(short = 'n', long = "number", value_name = "N", value_parser = positive())]
    pub n: usize,

    /// Sampler
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Sampler::Ddim)]
    pub sampler: Sampler,

    /// Network calls per image (default: 50 for ddim, 1000 for ddpm)
    #[arg(long, value_name = "K", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub steps: Option<usize>,

    /// Start from this noise, f32 [N, C, H, W], instead of drawing it
    #[arg(long, value_name = "X_T.npy")]
    pub noise: Option<PathBuf>,

    /// Which of two models takes which step
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = Order::First, requires = "model2")]
    pub order: Order,

    /// Which of the models' weights
    #[arg(long, value_enum, value_name = "WEIGHTS", default_value_t = Weights::Ema)]
    pub weights: Weights,

    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive())]
    pub batch: usize,

    /// Folder for the images
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// How they are written
    #[arg(long, value_enum, value_name = "FORM", default_value_t = ImageFormat::Png)]
    pub format: ImageFormat,
}

impl SampleArgs {
    /// Network calls per image: as asked, else the sampler's usual number.
    pub fn steps(&self) -> usize {
        self.steps.unwrap_or(match self.sampler {
            Sampler::Ddim => 50,
            Sampler::Ddpm => 1000,
        })
    }
}

/// `dualmd predict`
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Pipeline folder in the diffusers layout
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// Noisy images, f32 [N, C, H, W]
    #[arg(long, value_name = "X.npy")]
    pub x: PathBuf,

    /// Timesteps, one i64 for each image
    #[arg(long, value_name = "T.npy")]
    pub t: PathBuf,

    /// Which of the model's weights
    #[arg(long, value_enum, value_name = "WEIGHTS", default_value_t = Weights::Ema)]
    pub weights: Weights,

    /// Where to write the predicted noise, f32 [N, C, H, W]
    #[arg(short, long, value_name = "EPS.npy")]
    pub out: PathBuf,
}

/// What `attack` and `audit` share.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Pipeline folder in the diffusers layout
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// A second one: the two alternate (DualMD)
    #[arg(value_name = "MODEL2")]
    pub model2: Option<PathBuf>,

    /// Images the model was trained on: a folder, parquet, tar, npz... or `fashion`, `emoji`
    #[arg(long, value_name = "DATA")]
    pub members: String,

    /// Images of the same kind that it never saw
    #[arg(long, value_name = "DATA")]
    pub nonmembers: String,

    /// Attacks, separated by commas (default: all that fit, see `dualmd list attacks`; variants: sima@50, loss+flip)
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub attacks: Vec<String>,

    /// Split file that DATA#member and DATA#nonmember refer to
    #[arg(long, value_name = "split.json")]
    pub split: Option<PathBuf>,

    /// Which of the model's weights
    #[arg(long, value_enum, value_name = "WEIGHTS", default_value_t = Weights::Ema)]
    pub weights: Weights,

    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive())]
    pub batch: usize,
}

impl ScoreArgs {
    /// The model folders: one, or two that alternate.
    pub fn models(&self) -> Vec<PathBuf> {
        std::iter::once(&self.model)
            .chain(&self.model2)
            .cloned()
            .collect()
    }
}

/// `dualmd attack`
#[derive(Debug, Args)]
pub struct AttackArgs {
    /// What is attacked, and how.
    #[command(flatten)]
    pub score: ScoreArgs,

    /// Where to write the scores
    #[arg(short, long, value_name = "scores.csv")]
    pub out: PathBuf,
}

/// `dualmd audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What is attacked, and how.
    #[command(flatten)]
    pub score: ScoreArgs,

    /// Folder for scores and report
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
}

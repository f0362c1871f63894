//! Arguments of the commands that compute.

use super::memorisation::MitigateArgs;
use super::{device, fraction};
use anyhow::Result;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use dualmd_experiment::bail_usage;
use dualmd_experiment::choices::{
    Alpha, FailOn, Features, ImageFormat, Order, Sampler, Stage, Weights,
};
use dualmd_experiment::experiment::Source;
use dualmd_experiment::options::MetricsOptions;
use dualmd_names::{AttackSpec, DENOISER_TIMEOUT, Place, Share, check_name};
use dualmd_runs::forms::Also;
use dualmd_runs::report::ReportOptions;
use std::path::PathBuf;

/// Numbers of at least 1.
/// A count of images or attempts. (More than any machine holds is told by what it would take.)
fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1_000_000_000)
}

/// Who trains the models of a run, as `--workers` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workers {
    /// So many processes at a time.
    Many(usize),
    /// One process at a time on each of these GPUs.
    On(Vec<String>),
}

fn workers(text: &str) -> Result<Workers, String> {
    let wrong = || "a number from 1 on is needed, or GPUs: cuda:0,cuda:1".to_owned();
    if let Ok(n) = text.parse::<usize>() {
        return if n > 0 {
            Ok(Workers::Many(n))
        } else {
            Err(wrong())
        };
    }
    let mut all: Vec<String> = Vec::new();
    for name in text.split(',') {
        let name = device(name).ok().filter(|name| name.starts_with("cuda:"));
        let name = name.ok_or_else(wrong)?;
        if all.contains(&name) {
            return Err(format!("{name} is named twice"));
        }
        all.push(name);
    }
    Ok(Workers::On(all))
}

fn share(text: &str) -> Result<f64, String> {
    fraction(text, "share", "0.2")
}

/// `dualmd demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The run's folder
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,

    /// Change a key of the experiment, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Name of whoever makes the run, for the report
    #[arg(long, value_name = "NAME")]
    pub auditor: Option<String>,

    /// The report.
    #[command(flatten)]
    pub fail: FailArgs,
}

/// What every command has that makes a report.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Report")]
pub struct FailArgs {
    /// Exit with code 3 if the report has one of these findings, e.g. leak,void, and with 4 if it is void
    ///
    /// leak, inverted, set and copies are values of a model's `finding` in report.json. A void report finds nothing and rules nothing out, so it
    /// ends with code 4 whatever is named here. void alone fails on nothing else.
    #[arg(
        long,
        value_enum,
        value_name = "WHAT,...",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub fail_on: Vec<FailOn>,

    /// Leave pictures, texts, and names of single images and of folders out of the report, so that it may be passed on
    #[arg(long, visible_alias = "redact")]
    pub no_images: bool,

    /// Print the verdict as one line of JSON for each report, and nothing else on standard output
    #[arg(long)]
    pub json: bool,

    /// Print three lines for each report in place of the table: what was found, what to do, where the report is
    #[arg(long, conflicts_with = "json")]
    pub summary: bool,

    /// Also write the report in another format, e.g. sarif=report.sarif (may be repeated)
    ///
    /// sarif and junit are for pipelines. model-card is a section for a model card of Hugging Face. annex is that of a data-protection impact
    /// assessment: Markdown, or .docx where pandoc is installed. markdown and latex are the table of attacks. mlflow and tensorboard are folders
    /// for these programs.
    #[arg(long, value_name = "FORM=PATH")]
    pub also: Vec<Also>,
}

impl FailArgs {
    /// What the report holds.
    pub fn report(&self) -> ReportOptions {
        ReportOptions {
            images: !self.no_images,
        }
    }
}

impl From<DemoArgs> for RunArgs {
    fn from(demo: DemoArgs) -> Self {
        Self {
            experiment: None,
            preset: Some("demo".into()),
            out: Some(demo.out),
            set: demo.set,
            until: Stage::default(),
            seeds: 1,
            workers: None,
            ranks: 1,
            check: false,
            auditor: demo.auditor,
            fail: demo.fail,
        }
    }
}

/// `dualmd run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The experiment file (default, without --preset: the one in the folder --out)
    #[arg(value_name = "EXPERIMENT.toml", conflicts_with = "preset")]
    pub experiment: Option<PathBuf>,

    /// An experiment that is part of the program (`dualmd list presets`)
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,

    /// The run's folder (default: runs/ and the name of the file or preset)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Change a key of the experiment, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Last stage to run
    #[arg(long, value_enum, value_name = "STAGE", default_value_t = Stage::Report)]
    pub until: Stage,

    /// Run it with this many seeds, each in a folder seed-S of its own
    ///
    /// The seeds are the experiment's and those after it. Each draws its own images, split and weights. Privacy against quality
    /// then has intervals between seeds.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// Train so many models at a time, or one on each of these GPUs: 2, or cuda:0,cuda:1
    ///
    /// A number sets run.jobs; the models share the cores. Of GPUs each takes one training after the other; what comes after the trainings is done
    /// on --device. For several machines see `dualmd work`.
    #[arg(long, value_name = "N|GPU,...", value_parser = workers)]
    pub workers: Option<Workers>,

    /// Train each model with this many processes on this machine (ranks), which share its batches
    ///
    /// The processes also share its threads; of several GPUs each takes its own. Another number of processes gives other last digits.
    /// For several machines call `dualmd train` under torchrun or srun, see docs/scaling.md.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive())]
    pub ranks: usize,

    /// Check experiment, folder, images, memory and disk, estimate the time, and exit before the run
    ///
    /// Images are read where they are few enough to be read in seconds. A few steps of every kind of training and a few network calls are timed.
    /// Nothing is written. --summary prints three lines, --json one object. The exit code is 1 where something would stop the run.
    #[arg(long)]
    pub check: bool,

    /// Name of whoever makes the run, for the report
    #[arg(long, value_name = "NAME")]
    pub auditor: Option<String>,

    /// The report.
    #[command(flatten)]
    pub fail: FailArgs,
}

impl RunArgs {
    /// The key of the experiment that `--workers` sets.
    pub fn jobs(&self) -> Option<String> {
        let n = match self.workers.as_ref()? {
            Workers::Many(n) => *n,
            Workers::On(devices) => devices.len(),
        };
        Some(format!("run.jobs={n}"))
    }

    /// What to run, and the run's folder.
    ///
    /// # Errors
    /// Neither a file nor a preset is named, and --out holds no experiment; or the file's name gives no folder.
    pub fn resolve(&self) -> Result<(Source, PathBuf)> {
        let source = Source::named(self.experiment.clone(), self.preset.clone());
        match (source, self.out.clone()) {
            (Some(source), Some(out)) => Ok((source, out)),
            (Some(source), None) => source.folder("").map(|out| (source, out)),
            (None, Some(out)) => Ok((Source::of_run(&out)?, out)),
            (None, None) => bail_usage!(
                "nothing to run: name an experiment file, a --preset (`dualmd list presets`), or the --out folder of a run to go on with"
            ),
        }
    }
}

/// `dualmd lira`
#[derive(Debug, Args)]
pub struct LiraArgs {
    /// The experiment file
    #[arg(value_name = "EXPERIMENT.toml", conflicts_with = "preset")]
    pub experiment: Option<PathBuf>,

    /// An experiment that is part of the program (`dualmd list presets`)
    #[arg(long, value_name = "NAME", required_unless_present = "experiment")]
    pub preset: Option<String>,

    /// Name of whoever makes the runs, for their reports
    #[arg(long, value_name = "NAME")]
    pub auditor: Option<String>,

    /// The folder of all runs (default: runs/ and the name of the file or preset, with -lira)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Change a key of the experiment, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Number of runs; every image is trained on in about half of them
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(4..))]
    pub models: usize,

    /// Size of the pool: images that a coin is tossed for in every run (default: twice data.members)
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(8..))]
    pub pool: Option<usize>,

    /// Number of runs that all attacks of the experiment are run on too, with a report for each
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub targets: usize,

    /// Runs trained side by side (default: as many as there are cores)
    #[arg(long, value_name = "N", value_parser = positive())]
    pub jobs: Option<usize>,

    /// Only draw the splits and write the plans
    ///
    /// `dualmd work` on the folder then trains, in as many processes as you like. The same command without --prepare goes on.
    #[arg(long)]
    pub prepare: bool,

    /// Print what is in lira.json as one line of JSON, and nothing else on standard output
    #[arg(long, conflicts_with = "prepare")]
    pub json: bool,
}

impl LiraArgs {
    /// What to repeat, and the folder of all runs.
    ///
    /// # Errors
    /// Neither a file nor a preset; a file's name that gives no folder.
    pub fn resolve(&self) -> Result<(Source, PathBuf)> {
        let Some(source) = Source::named(self.experiment.clone(), self.preset.clone()) else {
            bail_usage!("nothing to repeat: name an experiment file or a --preset");
        };
        let out = match &self.out {
            Some(out) => out.clone(),
            None => source.folder("-lira")?,
        };
        Ok((source, out))
    }
}

/// `dualmd work`
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// The folder of a prepared run, or of the runs of `dualmd lira` or of several seeds
    #[arg(value_name = "RUN")]
    pub folder: PathBuf,

    /// Train one model and exit
    #[arg(long)]
    pub once: bool,

    /// Exit after waiting for others for so long (default: wait until all is done)
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,

    /// Take over a training whose process gives no sign of life for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = RangedU64ValueParser::<u64>::new().range(1..=86400))]
    pub lease: u64,
}

/// `dualmd jobs`
#[derive(Debug, Args)]
pub struct JobsArgs {
    /// The folder of a prepared run, or of the runs of `dualmd lira` or of several seeds
    #[arg(value_name = "RUN")]
    pub folder: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Print a shell script that submits the trainings to Slurm as a job array
    #[arg(long, conflicts_with = "json")]
    pub slurm: bool,
}

/// `dualmd metrics`
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// What is compared, and by what.
    #[command(flatten)]
    pub options: MetricsOptions,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
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

    /// Change a key of the experiment, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Save and exit after so many steps; the same command goes on
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub max_steps_now: Option<u64>,

    /// For the run that started this process: progress as JSON lines on stdout; stop when stdin ends
    #[arg(long, hide = true)]
    pub progress_json: bool,

    /// For the run that started this process: its process id
    #[arg(long, hide = true, value_name = "PID")]
    pub parent: Option<u32>,
}

/// What commands have that several processes can share.
#[derive(Debug, Clone, Default, Args)]
pub struct PartArgs {
    /// Do only part K of N, as one of several processes that share the folder, on one machine or many
    ///
    /// All N have the same other arguments. When they have ended, the same call without --part takes what they left, makes what is missing, and
    /// writes what one process would write. docs/scaling.md has a script for a job array.
    #[arg(long, value_name = "K/N", value_parser = Share::parse)]
    pub part: Option<Share>,
}

/// `dualmd sample`
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Pipeline folder in the diffusers layout
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// A second model: the two take turns (DualMD)
    #[arg(value_name = "MODEL2")]
    pub model2: Option<PathBuf>,

    /// A LoRA to add to the model: a .safetensors file of diffusers or kohya, or the folder of diffusers' file
    ///
    /// Give one for each model, or two for one model, which then take turns (DualMD).
    #[arg(long = "lora", value_name = "FILE")]
    pub loras: Vec<PathBuf>,

    /// Number of images to generate
    #[arg(short = 'n', long = "number", value_name = "N", value_parser = positive())]
    pub n: usize,

    /// Sampler
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Sampler::Ddim)]
    pub sampler: Sampler,

    /// Denoising steps of an image (default: 50 for ddim, 1000 for ddpm)
    #[arg(long, value_name = "K", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub steps: Option<usize>,

    /// Start from this noise, f32 [N, C, H, W] (default: drawn by --seed)
    #[arg(long, value_name = "X_T.npy")]
    pub noise: Option<PathBuf>,

    /// Prompt of a text-to-image model, or class of a class-conditional one (its name or number)
    ///
    /// Without it a class-conditional model generates its classes in turn.
    #[arg(long, value_name = "TEXT", conflicts_with = "prompts")]
    pub prompt: Option<String>,

    /// A file of prompts or classes, one a line
    ///
    /// Image i is generated for line i. After the last line the first comes again.
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,

    /// Classifier-free guidance scale; 1 is none (default: 7.5 for text to image, 1 for classes)
    #[arg(long, value_name = "SCALE")]
    pub guidance: Option<f64>,

    /// Follow the prompt only from this timestep down (delayed guidance)
    ///
    /// Above it --early-guidance applies. The paper of delayed guidance has 500.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32))]
    pub guidance_from: Option<u32>,

    /// Guidance scale above --guidance-from: 0 ignores the prompt, below 0 turns away from it
    #[arg(
        long,
        value_name = "SCALE",
        default_value_t = 0.0,
        requires = "guidance_from",
        allow_negative_numbers = true
    )]
    pub early_guidance: f64,

    /// Search for a starting noise from which the prompts do not recall memorised images (SAIL)
    #[arg(long, conflicts_with = "mitigate")]
    pub sail: bool,

    /// Loss at which the search of --sail stops for an image
    ///
    /// The loss is a sum of norms over all values; 8.2 is for the 4 x 64 x 64 latents of Stable Diffusion 1.
    #[arg(long, value_name = "LOSS", default_value_t = 8.2, requires = "sail")]
    pub sail_target: f64,

    /// What is done about remembered prompts.
    #[command(flatten)]
    pub remedy: MitigateArgs,

    /// Which of two models takes which step
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = Order::First, requires = "model2")]
    pub order: Order,

    /// The models' averaged weights (unet/) or those the optimiser left (unet_raw/)
    #[arg(long, value_enum, value_name = "WEIGHTS", default_value_t = Weights::Ema)]
    pub weights: Weights,

    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive())]
    pub batch: usize,

    /// Folder for the images
    ///
    /// Images of an earlier call are removed from it. A folder with other pictures is refused.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// File format of the images
    #[arg(long, value_enum, value_name = "FORM", default_value_t = ImageFormat::Png)]
    pub format: ImageFormat,

    /// One of several processes.
    #[command(flatten)]
    pub part: PartArgs,
}

/// How members and non-members are read.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Split file that DATA#member and DATA#nonmember refer to
    #[arg(help_heading = "Images", long, value_name = "split.json")]
    pub split: Option<PathBuf>,

    /// Column that says which images belong together, such as patient or artist (default: group)
    #[arg(help_heading = "Images", long, value_name = "COLUMN")]
    pub group_column: Option<String>,

    /// Column with the images' names, for scores and report (default: the file's name, or the row's number)
    #[arg(help_heading = "Images", long, value_name = "COLUMN")]
    pub id_column: Option<String>,

    /// Column of the captions, where a set has several candidates
    #[arg(help_heading = "Images", long, value_name = "COLUMN")]
    pub caption_column: Option<String>,

    /// Column of the class labels of a class-conditional model (default: label, or the folder of an image)
    #[arg(help_heading = "Images", long, value_name = "COLUMN")]
    pub label_column: Option<String>,

    /// Treatment of transparency; choose the one of the training
    #[arg(help_heading = "Images", long, value_enum, value_name = "WHAT", default_value_t = Alpha::White)]
    pub alpha: Alpha,
}

/// What `attack` and `audit` share.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// Pipeline folder in the diffusers layout
    ///
    /// `audit` takes several and audits each by itself, in one report, under the names of their folders.
    #[arg(value_name = "MODEL", required_unless_present_any = ["named", "pair", "denoiser", "generated"])]
    pub models: Vec<PathBuf>,

    /// A model in another process, in place of MODEL: a command, an .onnx file, or unix:PATH
    ///
    /// The command starts a server of the model, such as "python serve.py"; at unix:PATH a server listens already. docs/denoiser.md has the
    /// protocol. A file of ONNX is served by the Python package, which needs onnxruntime for it.
    #[arg(help_heading = "Model", long, value_name = "COMMAND", value_parser = Place::parse, conflicts_with_all = ["models", "named", "pair"])]
    pub denoiser: Option<Place>,

    /// Seconds that each answer of --denoiser may take; the first includes loading the model
    #[arg(help_heading = "Model", long, value_name = "SECONDS", default_value_t = DENOISER_TIMEOUT.as_secs(), value_parser = RangedU64ValueParser::<u64>::new().range(1..=604_800))]
    pub denoiser_timeout: u64,

    /// A LoRA to add to MODEL: a .safetensors file of diffusers or kohya, or the folder of diffusers' file
    ///
    /// Several are audited each by itself, in one report (--lora NAME=FILE). With --pair, give one for each of its two models. The base alone
    /// is the reference model, unless --reference names another.
    #[arg(help_heading = "Model", long = "lora", value_name = "[NAME=]FILE", value_parser = maybe_named)]
    pub loras: Vec<(Option<String>, PathBuf)>,

    /// Images that the model generated, in place of generating some: a folder or any other image set
    ///
    /// Without MODEL, only attackers who see generated images are tested: this is for a release of synthetic images. For a text-to-image
    /// model metadata.jsonl has the caption of each image, and each caption has --per-prompt images.
    #[arg(help_heading = "Model", long, value_name = "DATA")]
    pub generated: Option<String>,

    /// A model with its name in the report (may be repeated, for several models)
    #[arg(help_heading = "Model", long = "model", id = "named", value_name = "NAME=FOLDER", value_parser = named)]
    pub named: Vec<(String, PathBuf)>,

    /// Two models that take turns: a DualMD pair
    ///
    /// Two folders without --pair are a pair only where dualmd trained them on the two halves of one split.
    #[arg(help_heading = "Model", long, num_args = 2, value_names = ["MODEL1", "MODEL2"])]
    pub pair: Vec<PathBuf>,

    /// The model's averaged weights (unet/) or those the optimiser left (unet_raw/)
    #[arg(help_heading = "Model", long, value_enum, value_name = "WEIGHTS", default_value_t = Weights::Ema)]
    pub weights: Weights,

    /// Images that the model was trained on: a folder, parquet, tar, npz... or `fashion`, `emoji`
    #[arg(help_heading = "Images", long, value_name = "DATA")]
    pub members: String,

    /// Images of the same kind that it never saw
    #[arg(help_heading = "Images", long, value_name = "DATA")]
    pub nonmembers: String,

    /// How they are read.
    #[command(flatten)]
    pub read: ReadArgs,

    /// Attacks, separated by commas, e.g. loss,sima (default: the usual ones)
    ///
    /// `dualmd list attacks` has all of them. These run only if they are named: gsa1, gsa2, loss-grid, combined, nn-features, density,
    /// pia-sd-2024, the pw- forms. Variants are part of the name: sima@50 (another timestep), loss+flip (mean over the mirror image),
    /// secmi+lowpass, secmi-nn+shadow (learnt on a shadow model).
    #[arg(
        help_heading = "Attacks",
        long,
        value_name = "A,B,C",
        value_delimiter = ','
    )]
    pub attacks: Vec<AttackSpec>,

    /// Share of the images whose membership attacks that learn are given (secmi-nn, gsa1, ...); they score the rest
    #[arg(help_heading = "Attacks", long, value_name = "SHARE", default_value_t = dualmd_names::KNOWN_FRACTION, value_parser = share)]
    pub known_fraction: f64,

    /// A model like this one, trained on other images, for the attack `reference`
    #[arg(help_heading = "Attacks", long, value_name = "MODEL3")]
    pub reference: Option<PathBuf>,

    /// Images at a time
    #[arg(help_heading = "Attacks", long, value_name = "N", default_value_t = 64, value_parser = positive())]
    pub batch: usize,

    /// A shadow model, for attacks that end with +shadow
    ///
    /// The attacker trained it like the audited model, on images of their own. Give the flag twice for a pair.
    #[arg(help_heading = "Shadow model", long, value_name = "MODEL3", requires_all = ["shadow_members", "shadow_nonmembers"])]
    pub shadow: Vec<PathBuf>,

    /// Images that the shadow model was trained on, none of which is audited
    #[arg(
        help_heading = "Shadow model",
        long,
        value_name = "DATA",
        requires = "shadow"
    )]
    pub shadow_members: Option<String>,

    /// Images of the same kind that it never saw, none of which is audited
    #[arg(
        help_heading = "Shadow model",
        long,
        value_name = "DATA",
        requires = "shadow"
    )]
    pub shadow_nonmembers: Option<String>,

    /// Split file that #member and #nonmember refer to in the shadow model's DATA
    #[arg(
        help_heading = "Shadow model",
        long,
        value_name = "split.json",
        requires = "shadow"
    )]
    pub shadow_split: Option<PathBuf>,

    /// What is drawn for the attacks that look at images.
    #[command(flatten)]
    pub draw: DrawArgs,

    /// Features that images are compared by
    ///
    /// They are used for the quality of generated images, for nn-features and density, and for attacks that compare an image with those
    /// generated for its caption. auto is efflite0 where its weights are found: `cargo xtask features` fetches them in a source checkout,
    /// DUALMD_EFFLITE0 names them elsewhere. Without them quality is not measured, and these attacks compare pixels.
    #[arg(help_heading = "Generated images", long, value_enum, value_name = "NAME", default_value_t = Features::Auto)]
    pub features: Features,

    /// File of the features' network (safetensors), or folder of a vit
    #[arg(help_heading = "Generated images", long, value_name = "FILE")]
    pub features_weights: Option<PathBuf>,
}

/// The images that an attack or an audit draws from a model, by DDIM; of a pair the first model begins.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Generated images")]
pub struct DrawArgs {
    /// Number of images to generate with a model without text
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = RangedU64ValueParser::<usize>::new().range(2..))]
    pub images: usize,

    /// Number of images to generate for each caption with a text-to-image model
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub per_prompt: usize,

    /// Denoising steps of each generated image
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub steps: usize,

    /// Classifier-free guidance scale of generated images; 1 is none
    ///
    /// Attacks that ask the network always do so at guidance 1.
    #[arg(long, value_name = "SCALE", default_value_t = 7.5, value_parser = guidance)]
    pub guidance: f64,
}

fn guidance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale >= 0.0 => Ok(scale),
        _ => Err("give a number from 0 on, such as 7.5 (1: as the caption alone says)".into()),
    }
}

/// A file or folder, perhaps with a name.
pub fn maybe_named(text: &str) -> Result<(Option<String>, PathBuf), String> {
    match text.split_once('=') {
        // A path may hold the sign as well.
        Some((name, file)) if !name.contains('/') && !file.is_empty() => {
            check_name(name)?;
            Ok((Some(name.to_owned()), file.into()))
        }
        _ => Ok((None, text.into())),
    }
}

/// A model and its name.
fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, folder)) if !folder.is_empty() => {
            check_name(name)?;
            Ok((name.to_owned(), folder.into()))
        }
        _ => Err("write NAME=FOLDER, e.g. base=models/base".into()),
    }
}

/// `dualmd attack`
#[derive(Debug, Args)]
pub struct AttackArgs {
    /// What is attacked, and how.
    #[command(flatten)]
    pub score: ScoreArgs,

    /// File to write the scores to
    #[arg(short, long, value_name = "scores.csv")]
    pub out: PathBuf,

    /// One of several processes.
    #[command(flatten)]
    pub part: PartArgs,
}

/// `dualmd audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// What is attacked, and how.
    #[command(flatten)]
    pub score: ScoreArgs,

    /// Check model and images, estimate the time, and exit before the audit
    ///
    /// Whatever the audit would refuse is refused, such as an image on both sides. The check names reasons not to begin: too few images,
    /// members that look like non-members, files that tell the sides apart. It estimates memory and the time of attacks and generated images.
    /// The network is asked a few times; nothing is written. --summary prints three lines, --json one line of JSON.
    #[arg(long, conflicts_with = "part")]
    pub check: bool,

    /// Name of whoever makes the audit, for the report
    #[arg(help_heading = "Report", long, value_name = "NAME")]
    pub auditor: Option<String>,

    /// Also put into the report what public attack codes would print for these scores
    ///
    /// Rules: secmi, secmi-ldm, pia, pw, clid, copymark, wen, midm, jax-privacy.
    #[arg(
        help_heading = "Attacks",
        long,
        value_name = "RULE,...",
        value_delimiter = ','
    )]
    pub compat: Vec<dualmd_stats::CompatRule>,

    /// Folder for scores and report
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// One of several processes: it makes no report.
    #[command(flatten)]
    pub part: PartArgs,

    /// The report.
    #[command(flatten)]
    pub fail: FailArgs,
}

//! Arguments of the commands that read and write files without a network.

use super::fraction;
use super::runs::FailArgs;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use dualmd_experiment::choices::{Alpha, FailOn};
use dualmd_experiment::options::SplitOptions;
use std::path::PathBuf;

/// `dualmd split`
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// How it is drawn.
    #[command(flatten)]
    pub options: SplitOptions,

    /// File to write the split to
    ///
    /// Another split or file is not written over.
    #[arg(short, long, value_name = "split.json")]
    pub out: PathBuf,
}

/// `dualmd compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folders of `dualmd audit` or `dualmd run`, at least two
    #[arg(value_name = "[NAME=]FOLDER", required = true, num_args = 2.., value_parser = super::runs::maybe_named)]
    pub audits: Vec<(Option<String>, PathBuf)>,

    /// Name of whoever makes the report
    #[arg(long, value_name = "NAME")]
    pub auditor: Option<String>,

    /// Folder for the report; an earlier comparison there is written over
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// The report.
    #[command(flatten)]
    pub fail: FailArgs,
}

/// `dualmd roc`
#[derive(Debug, Args)]
pub struct RocArgs {
    /// CSV file with the columns member and score, and attack if there are several
    #[arg(value_name = "scores.csv")]
    pub scores: PathBuf,

    /// False-alarm rates at which to state the share of members found
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', value_parser = rate, default_value = "0.1,0.01,0.001")]
    pub fpr: Vec<f64>,

    /// Compute the numbers as a public attack code does, for a line beside published tables
    ///
    /// One of secmi, secmi-ldm, pia, pw, clid, copymark, wen, midm, jax-privacy.
    #[arg(long, value_name = "RULE", conflicts_with = "fail_on")]
    pub compat: Option<dualmd_stats::CompatRule>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Exit with code 3 if an attack finds one of these: leak, inverted
    ///
    /// The rule is the report's. leak: the interval of the AUC, corrected for the number of attacks in the file, lies above 0.5, or an
    /// exact test at the lowest measurable of 10, 1 and 0.1 % false alarms is significant. inverted: the interval lies below 0.5.
    #[arg(
        long,
        value_enum,
        value_name = "WHAT,...",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub fail_on: Vec<FailOn>,
}

fn rate(text: &str) -> Result<f64, String> {
    fraction(text, "rate", "0.01")
}

/// `dualmd report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run's folder
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,

    /// Put images, texts and names back into a report that was written with --no-images, which otherwise stays without them
    #[arg(long, conflicts_with = "no_images", help_heading = "Report")]
    pub with_images: bool,

    /// The report.
    #[command(flatten)]
    pub fail: FailArgs,
}

/// `dualmd verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The evidence folder
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,

    /// The root hash that you were told before you got the folder
    #[arg(long, value_name = "HEX")]
    pub root: Option<String>,

    /// Print the rows of this image: its file, or its content id
    #[arg(long, value_name = "IMAGE", requires = "with")]
    pub image: Option<String>,

    /// What opens the rows of --image: the file of the salt, or the image's key
    #[arg(long, value_name = "SALT", requires = "image")]
    pub with: Option<String>,

    /// Print what came of it as one line of JSON, and nothing else on standard output
    #[arg(long)]
    pub json: bool,
}

/// `dualmd import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What is imported.
    #[command(subcommand)]
    pub what: Import,
}

/// What can be imported.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// A split of the SecMI and PIA code (.npz with mia_train_idxs, mia_eval_idxs)
    #[command(
        after_help = "Example:\n  dualmd import split CIFAR10_train_ratio0.5.npz --data cifar-10-batches-bin -o split.json"
    )]
    Split {
        /// The .npz file
        #[arg(value_name = "FILE.npz")]
        file: PathBuf,
        /// The image set that the numbers of FILE.npz count
        #[arg(long, value_name = "DATA")]
        data: String,
        /// File to write the split to
        ///
        /// Another split or file is not written over.
        #[arg(short, long, value_name = "split.json")]
        out: PathBuf,
    },
    /// A network's weights and diffusers configuration, as a pipeline folder
    #[command(
        after_help = "Examples:\n  dualmd import unet weights.safetensors --config config.json -o my-model\n  dualmd import unet checkpoint-500/unet --scheduler scheduler_config.json -o my-model\n  dualmd import unet transformer/ --scheduler scheduler_config.json --autoencoder vae/ -o my-model"
    )]
    Unet {
        /// The weights, or the network's folder with its config.json
        ///
        /// Weights are safetensors; pickles are not read.
        #[arg(value_name = "FILE.safetensors")]
        file: PathBuf,
        /// The network's config.json in diffusers' form (default: the one beside the weights)
        #[arg(long, value_name = "config.json")]
        config: Option<PathBuf>,
        /// The noise schedule of the training, a scheduler_config.json of diffusers (default: DDPM's linear one)
        ///
        /// The default has linear betas from 0.0001 to 0.02 in 1,000 timesteps.
        #[arg(long, value_name = "scheduler_config.json")]
        scheduler: Option<PathBuf>,
        /// The autoencoder of a network of latents: its folder, or a pipeline's folder that has it
        #[arg(long, value_name = "DIR")]
        autoencoder: Option<PathBuf>,
        /// The pipeline folder
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// `dualmd export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What is exported.
    #[command(subcommand)]
    pub what: Export,
}

/// What can be exported.
#[derive(Debug, Subcommand)]
pub enum Export {
    /// A split as CSV
    #[command(after_help = "Example:\n  dualmd export split runs/demo/split.json -o split.csv")]
    Split {
        /// The split file
        #[arg(value_name = "split.json")]
        file: PathBuf,
        /// The CSV file
        #[arg(short, long, value_name = "FILE.csv")]
        out: PathBuf,
    },
    /// Images of a set, or of one side of a split, as a folder of PNG files, for instance to train from
    ///
    /// The files keep their names, with the ending .png; all are numbered where a name cannot be kept. metadata.jsonl has the name, content id,
    /// captions, group and label of each.
    #[command(
        after_help = "Example:\n  dualmd export images fashion#member --split split.json --image-size 16 -o train"
    )]
    Images {
        /// Image set; DATA#member, #nonmember, #d1 or #d2 is a side of --split, DATA#train or #test a part of the set
        #[arg(value_name = "DATA")]
        data: String,
        /// Split file that DATA#member and the like refer to
        #[arg(long, value_name = "split.json")]
        split: Option<PathBuf>,
        /// Scale and crop the images to this side in pixels first (default: their own size)
        #[arg(long, value_name = "PIXELS", value_parser = RangedU64ValueParser::<u32>::new().range(4..=4096))]
        image_size: Option<u32>,
        /// Treatment of transparency
        #[arg(long, value_enum, value_name = "WHAT", default_value_t = Alpha::White)]
        alpha: Alpha,
        /// Column that says which images belong together (default: group)
        #[arg(long, value_name = "COLUMN")]
        group_column: Option<String>,
        /// Column of the captions, where the set has several candidates
        #[arg(long, value_name = "COLUMN")]
        caption_column: Option<String>,
        /// Column of the images' names (default: the file's name, or the row's number)
        #[arg(long, value_name = "COLUMN")]
        id_column: Option<String>,
        /// The new folder
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
    /// All that a report's numbers follow from, without pictures and names, for a second party to check (`dualmd verify`)
    #[command(after_help = "Example:\n  dualmd export evidence runs/demo -o evidence")]
    Evidence {
        /// The folder of a run or an audit
        #[arg(value_name = "RUN_DIR")]
        run: PathBuf,
        /// The new folder
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
        /// File with a salt of an earlier export (default: a new salt, written to DIR.salt)
        #[arg(long, value_name = "FILE")]
        salt: Option<PathBuf>,
    },
    /// Two models that take turns (DualMD) as one folder that Python's diffusers samples from
    #[command(
        after_help = "Example:\n  dualmd export pair runs/demo/models/teacher-1 runs/demo/models/teacher-2 -o pair\n\nIn Python: DiffusionPipeline.from_pretrained(\"pair\", custom_pipeline=\"pair\", trust_remote_code=True). The folder holds both models:\nwhoever has it has the teachers."
    )]
    Pair {
        /// The model that takes the first step
        #[arg(value_name = "MODEL")]
        first: PathBuf,
        /// The other one
        #[arg(value_name = "MODEL2")]
        second: PathBuf,
        /// The new folder
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
    },
    /// A model's folder as Python's diffusers loads it, without what only this program needs
    #[command(after_help = "Example:\n  dualmd export copy runs/demo/models/student -o student")]
    Copy {
        /// Pipeline folder
        #[arg(value_name = "MODEL")]
        model: PathBuf,
        /// The new folder
        #[arg(short, long, value_name = "DIR")]
        out: PathBuf,
        /// Copy the optimiser's last weights instead of the moving average
        #[arg(long)]
        raw: bool,
    },
}

/// `dualmd new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The experiment file to write
    #[arg(value_name = "FILE.toml")]
    pub file: PathBuf,

    /// Preset to write (`dualmd list presets`)
    #[arg(long, value_name = "NAME", default_value = "demo")]
    pub preset: String,
}

/// `dualmd man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for dualmd.1, dualmd-audit.1 and so on; pages of an earlier call are written over
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `dualmd completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `dualmd list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// What to list
    #[arg(value_enum, value_name = "WHAT")]
    pub what: Listing,

    /// Print JSON (only for attacks)
    #[arg(long)]
    pub json: bool,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// attacks, with what they need and cost
    Attacks,
    /// defences
    #[value(alias = "defences")]
    Defenses,
    /// experiments that are part of the program
    Presets,
    /// image sets that are part of the program
    Datasets,
    /// keys of experiment files, with their defaults and what they may be
    Keys,
}

//! What can be typed. Commands and flags are a contract with scripts: adding is free, changing is not.

mod caption;
mod extract;
mod files;
mod lora_size;
mod memorisation;
mod runs;
mod tune;

pub use caption::CaptionArgs;
pub use extract::ExtractArgs;
pub use files::{
    CompareArgs, CompletionsArgs, Export, ExportArgs, Import, ImportArgs, ListArgs, Listing,
    ManArgs, NewArgs, ReportArgs, RocArgs, SplitArgs, VerifyArgs,
};
pub use lora_size::LoraSizeArgs;
pub use memorisation::{MemorisationArgs, MitigateArgs};
pub use runs::{
    AttackArgs, AuditArgs, DemoArgs, DrawArgs, FailArgs, JobsArgs, LiraArgs, MetricsArgs, PartArgs,
    ReadArgs, RunArgs, SampleArgs, ScoreArgs, TrainArgs, WorkArgs, Workers,
};
pub use tune::TuneArgs;

use crate::defaults::Defaults;
use clap::builder::RangedU64ValueParser;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use dualmd_experiment::choices::{Dtype, LogFormat};
use dualmd_experiment::options::{PredictOptions, ReproduceOptions};

/// Train diffusion models with defences against membership inference, and measure how much a model gives away.
#[derive(Debug, Parser)]
#[command(
    name = "dualmd",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Begin with:\n  dualmd demo\n\nAudit a model of your own:\n  dualmd audit my-model --members train/ --nonmembers heldout/ -o audit/\n\nExit codes:\n  0    done\n  1    failed: the disk, the memory, a file that is missing or damaged, images or models that do not fit together\n  2    wrong arguments: a flag, name or value that is not known, or that does not go with the others\n  3    --fail-on names a finding that the report has\n  4    --fail-on is given and the report is void\n  130  stopped (Ctrl-C, SIGTERM)\n  141  nobody reads what is printed any more"
)]
pub struct Cli {
    /// Flags that every command has.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// All commands. Help does not show a common flag where it does nothing; scripts may still give it. `version` is what
    /// `--version` prints behind the name.
    pub fn definition(version: &'static str) -> clap::Command {
        Self::definition_with(version, Defaults::default())
    }

    /// The same with the user's own defaults.
    fn definition_with(version: &'static str, defaults: Defaults) -> clap::Command {
        // What is typed, whichever program reads it.
        let mut all = Self::command().bin_name("dualmd").long_version(version);
        let threads = defaults.threads.map(|n| n.to_string());
        for (flag, value) in [("threads", threads), ("device", defaults.device)] {
            if let Some(value) = value {
                // clap keeps what lives as long as the program; there are three of these at most.
                let value: &'static str = value.leak();
                all = all.mut_arg(flag, |arg| arg.default_value(value));
            }
        }
        if let Some(auditor) = defaults.auditor {
            let auditor: &'static str = auditor.leak();
            all = all.mut_subcommands(|command| {
                let has = command.get_arguments().any(|arg| arg.get_id() == "auditor");
                match has {
                    true => command.mut_arg("auditor", |arg| arg.default_value(auditor)),
                    false => command,
                }
            });
        }
        let common: Vec<_> = all.get_arguments().cloned().collect();
        all.mut_subcommands(|command| {
            let idle = idle(command.get_name());
            let hidden = common
                .iter()
                .filter(|flag| idle.contains(&flag.get_id().as_str()))
                .map(|flag| flag.clone().hide(true));
            command.args(hidden)
        })
    }

    /// What was typed, where nobody has defaults of their own.
    ///
    /// # Errors
    /// As [`Self::read_with`].
    #[cfg(test)]
    pub fn read(
        words: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        Self::read_with(words, "0", Defaults::default())
    }

    /// What was typed, and the user's own defaults for what was not; `version` as in [`Self::definition`].
    ///
    /// # Errors
    /// Wrong arguments, or a request for help: clap's page.
    pub fn read_with(
        words: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
        version: &'static str,
        defaults: Defaults,
    ) -> Result<Self, clap::Error> {
        let program = Self::definition_with(version, defaults);
        let matches: ArgMatches = program.try_get_matches_from(words)?;
        Self::from_arg_matches(&matches)
    }
}

/// The common flags that do nothing for a command, by name.
fn idle(command: &str) -> &'static [&'static str] {
    match command {
        "list" | "jobs" | "new" | "completions" | "man" | "lora-size" => &[
            "seed",
            "device",
            "dtype",
            "threads",
            "quiet",
            "verbose",
            "log_format",
        ],
        "roc" | "report" | "compare" | "verify" | "export" => {
            &["seed", "device", "dtype", "threads", "verbose"]
        }
        "split" | "import" => &["device", "dtype", "threads", "verbose"],
        "selftest" => &["device", "dtype", "quiet", "verbose", "log_format"],
        "predict" => &["seed"],
        "metrics" | "caption" => &["dtype"],
        "work" => &["seed", "dtype"],
        _ => &[],
    }
}

/// `dualmd selftest`
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// Print what each attack found as one line of JSON, and nothing else on standard output
    #[arg(long)]
    pub json: bool,
}

/// Flags that every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub struct Global {
    /// Seed of everything random (default: the experiment's, else 0)
    #[arg(long, global = true, value_name = "S", value_parser = RangedU64ValueParser::<u64>::new().range(..=i64::MAX.cast_unsigned()))]
    pub seed: Option<u64>,

    /// Device: cpu, cuda, cuda:N, or auto (a GPU where there is one)
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: String,

    /// Number format: auto, f32, tf32 (on a GPU) or bf16 (default: auto to train, f32 to attack)
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub dtype: Option<Dtype>,

    /// Cores to use (default: all that this process may use)
    #[arg(long, global = true, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub threads: Option<usize>,

    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print more: the engine in use, the cost of each attack
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Form of log and progress lines, on standard error: text or json
    ///
    /// With json every line is one JSON object, also remarks and errors.
    #[arg(long, global = true, value_enum, value_name = "FORM", default_value_t = LogFormat::Text, hide_possible_values = true)]
    pub log_format: LogFormat,
}

impl Global {
    /// What everything random follows from, where no experiment says it.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The flags that stand for keys of an experiment, as `--set` would have them. They come after the `--set`s.
    pub fn sets(&self) -> Vec<String> {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        let dtype = self.dtype.map(|dtype| format!("train.dtype={dtype}"));
        [seed, dtype].into_iter().flatten().collect()
    }
}

/// A number between 0 and 1, both left out; `what` and `example` are for the message.
fn fraction(text: &str, what: &str, example: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1.0 => Ok(number),
        _ => Err(format!(
            "a {what} between 0 and 1 is needed, e.g. {example}"
        )),
    }
}

/// A device by its name, as `--device` takes it.
pub fn device(text: &str) -> Result<String, String> {
    let gpu = |index: &str| index.parse::<usize>().is_ok();
    match text {
        "auto" | "cpu" | "cuda" => Ok(text.to_owned()),
        _ if text.strip_prefix("cuda:").is_some_and(gpu) => Ok(text.to_owned()),
        _ => Err("use auto, cpu, cuda or cuda:N".to_owned()),
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train, attack and report on bundled photographs, in minutes
    #[command(
        after_help = "Example:\n  dualmd demo --out runs/demo\n\nThe same as `dualmd run --preset demo`. An interrupted demo goes on with the same command."
    )]
    Demo(DemoArgs),

    /// Run an experiment, or go on with one: split, train, sample, attack, report
    #[command(
        after_help = "Examples:\n  dualmd run experiment.toml\n  dualmd run --preset fashion-32 --out runs/mine --set train.steps=3000 --set models.0.name=plain\n\nEvery stage writes into the run's folder. The same command on that folder goes on where it stopped.\n\nExit codes: 0; 1 failed; 2 wrong arguments; 3 a finding that --fail-on names; 4 --fail-on is given and the report is void; 130 stopped."
    )]
    Run(RunArgs),

    /// Train adapters (LoRA) on a text-to-image model (plain, a pair, a student), attack them and report
    #[command(
        after_help = "Examples:\n  dualmd tune stable-diffusion-v1-5 --images photos/ -o out\n  dualmd tune base --images photos/ -o out --caption-model blip-image-captioning-large --rival early-stopping,dp-sgd --seeds 3\n\nThe same as `dualmd run --preset tune` with base, images and numbers filled in (docs/tune.md). An interrupted command goes on where\nit stopped. out/models/NAME has each adapter for diffusers, PEFT and kohya; teacher-1 and teacher-2 are the pair.\n\nExit codes: 0; 1 failed; 2 wrong arguments; 3 a finding that --fail-on names; 4 --fail-on is given and the report is void; 130 stopped."
    )]
    Tune(TuneArgs),

    /// Draw members, halves and non-members from an image set
    #[command(
        after_help = "Example:\n  dualmd split photos/ --members 1000 --nonmembers 1000 -o split.json"
    )]
    Split(SplitArgs),

    /// Train one model of an experiment
    #[command(
        after_help = "Example:\n  dualmd train experiment.toml --model teacher-1 --out runs/mine\n\nModels that it is taught by must be in the folder already."
    )]
    Train(TrainArgs),

    /// Train models of a prepared run, shared with other processes on this machine or others
    #[command(
        after_help = "Examples:\n  dualmd run experiment.toml --out runs/mine --until split\n  dualmd work runs/mine\n  dualmd run --out runs/mine\n\nStart the second command as often as you like, on every machine that sees the folder. Each takes one training after the other, until\nall are done. One that is stopped or killed loses a few steps: another one goes on from the last checkpoint."
    )]
    Work(WorkArgs),

    /// List the trainings of a prepared run: done, at work, waiting, failed or free
    #[command(
        after_help = "Examples:\n  dualmd jobs runs/mine\n  dualmd jobs runs/mine --slurm > trainings.sh\n\nA training that failed is tried again when its file RUN/jobs/NAME.failed is deleted."
    )]
    Jobs(JobsArgs),

    /// Generate images; two models take turns (DualMD)
    #[command(
        after_help = "Examples:\n  dualmd sample runs/demo/models/student -n 64 -o images/\n  dualmd sample runs/demo/models/teacher-1 runs/demo/models/teacher-2 -n 64 --order random-start -o images/"
    )]
    Sample(SampleArgs),

    /// Call the network once, to compare numbers with another program
    #[command(
        after_help = "Example:\n  dualmd predict my-model --x x.npy --t t.npy -o eps.npy\n\nx: f32 [N, C, H, W]; t: i64 [N], 0 to 999; eps: f32 [N, C, H, W]."
    )]
    Predict(PredictOptions),

    /// Run attacks on a model and write one score for each image and attack, without a report
    #[command(
        after_help = "Example:\n  dualmd attack my-model --members train/ --nonmembers heldout/ --attacks loss,sima -o scores.csv\n\nHigher scores mean: more likely a member. `dualmd list attacks` has the attacks."
    )]
    Attack(AttackArgs),

    /// Attack one model or several, check the image sets, and write a report
    #[command(
        after_help = "Examples:\n  dualmd audit my-model --members train/ --nonmembers heldout/ -o audit/\n  dualmd audit my-model --members photos/#member --nonmembers photos/#nonmember --split split.json -o audit/\n  dualmd audit --model a=models/a --model b=models/b --members train/ --nonmembers heldout/ -o both/\n  dualmd audit --pair teacher-1 teacher-2 --members train/ --nonmembers heldout/ -o pair/\n  dualmd audit my-model --members train/ --nonmembers heldout/ -o audit/ --fail-on leak,void\n\nExit codes: 0; 1 failed; 2 wrong arguments; 3 a finding that --fail-on names; 4 --fail-on is given and the report is void; 130 stopped."
    )]
    Audit(AuditArgs),

    /// Repeat an experiment on random halves of one pool, and attack each run with the others (LiRA, RMIA)
    #[command(
        after_help = "Example:\n  dualmd lira --preset demo --models 16 --out runs/lira\n\nEvery run is a shadow of all others; what is repeated is the whole pipeline, teachers and student included. An interrupted\ncommand goes on where it stopped."
    )]
    Lira(LiraArgs),

    /// Reproduce the paper's tables and figures, with intervals over seeds, beside the paper's numbers
    #[command(
        after_help = "Examples:\n  dualmd reproduce table3\n  dualmd reproduce frontier --seeds 5 --only fashion-16\n  dualmd reproduce defenses --rows early-stopping,weight-decay\n  dualmd reproduce by-loss --from runs/grey runs/colour\n  dualmd reproduce table10 --scale paper --data cifar10=cifar-10-batches-bin --split cifar10=CIFAR10_train_ratio0.5.npz\n\nAll tables are made from the same runs: the second one trains nothing. An interrupted command goes on where it stopped;\n--dry-run says what there is to do."
    )]
    Reproduce(ReproduceOptions),

    /// Compare generated images with real ones: Fréchet distance, KID, precision and recall, copies
    #[command(
        after_help = "Examples:\n  dualmd metrics images/ --real heldout/\n  dualmd metrics images/ --real heldout/ --members train/ --features inception-2048 --weights pt_inception.safetensors --json\n  dualmd metrics images/ --real heldout/ --members train/ --features none --copies sscd\n\nThe distance is FID only with inception-2048; see docs/metrics.md."
    )]
    Metrics(MetricsArgs),

    /// Write several captions for each image with a BLIP model of yours, for prompt diversification
    #[command(
        after_help = "Example:\n  dualmd caption photos/ --model blip-image-captioning-large -n 5 -o captions.jsonl\n\nThe file can take the place of photos/metadata.jsonl: `text` lists the captions that were there and the new ones. An interrupted\ncommand goes on where it stopped."
    )]
    Caption(CaptionArgs),

    /// Find the prompts for which a text-to-image model remembers training images
    #[command(
        after_help = "Examples:\n  dualmd memorisation my-model --memorised known.txt --others random.txt -o memorisation/\n  dualmd memorisation my-model --members train/ --nonmembers heldout/ --mitigate wen -o mitigated/"
    )]
    Memorisation(MemorisationArgs),

    /// Count the training images that a model generates, beside as many images that it never saw
    #[command(
        after_help = "Examples:\n  dualmd extract my-model --members train/ --nonmembers heldout/ -o extraction/\n  dualmd extract my-model --members train/ --nonmembers heldout/ --images 65536 --features sscd -o extraction/\n  dualmd extract my-model --members train/ --nonmembers heldout/ --method inpaint -o restored/\n  dualmd extract my-model --members train/ --nonmembers heldout/ --method side -o led/\n\nA text-to-image model is asked for the captions of both sides. An interrupted command goes on where it stopped; with other\n--clique, --radius, --rate or --features the same images are looked at again."
    )]
    Extract(ExtractArgs),

    /// Estimate how many images a LoRA was trained on, from LoRAs with a known number
    #[command(
        after_help = "Example:\n  dualmd lora-size lora.safetensors --references references/\n\nreferences/16/a.safetensors is a LoRA that you trained on 16 images, like the one that is asked about: the same base, rank, layers,\nsteps and rate, images of the same kind. At least two sizes, and two LoRAs of each."
    )]
    LoraSize(LoraSizeArgs),

    /// What is read from files of runs and audits.
    #[command(flatten)]
    Reading(Reading),

    /// Check this program: it must find a planted leak, and nothing where there is none
    #[command(after_help = "Example:\n  dualmd selftest")]
    Selftest(SelftestArgs),

    /// Import checkpoints and split files of other programs
    #[command(arg_required_else_help = true)]
    #[command(
        after_help = "Examples:\n  dualmd import split CIFAR10_train_ratio0.5.npz --data cifar-10-batches-bin -o split.json\n  dualmd import unet weights.safetensors --config config.json -o my-model"
    )]
    Import(ImportArgs),

    /// Write files for other programs: images, splits, models, pairs, evidence
    #[command(arg_required_else_help = true)]
    #[command(
        after_help = "Examples:\n  dualmd export split split.json -o split.csv\n  dualmd export copy runs/demo/models/student -o student\n  dualmd export evidence runs/demo -o evidence"
    )]
    Export(ExportArgs),

    /// What is known of the program.
    #[command(flatten)]
    About(About),
}

/// The commands that read files of runs and audits, and need no network.
#[derive(Debug, Subcommand)]
pub enum Reading {
    /// Print AUC, intervals and members found of any score file
    #[command(
        after_help = "Example:\n  dualmd roc scores.csv --fpr 0.1,0.01 --json\n  dualmd roc scores.csv --fail-on leak\n\nAny CSV with the columns member (1 or 0) and score will do; a column attack makes one row for each attack."
    )]
    Roc(RocArgs),

    /// Build a run's report again from its files
    #[command(
        after_help = "Examples:\n  dualmd report runs/demo\n  dualmd report runs/demo --fail-on leak,void\n\nExit codes: 0; 1 failed; 2 wrong arguments; 3 a finding that --fail-on names; 4 --fail-on is given and the report is void."
    )]
    Report(ReportArgs),

    /// Put several audits of the same images into one report
    #[command(
        after_help = "Examples:\n  dualmd compare audit-of-january audit-of-june -o both\n  dualmd compare before=audits/1 after=audits/2 -o both --fail-on leak,void\n\nEach model stands beside the others, attack by attack. Audits of other images, or with other members, are refused."
    )]
    Compare(CompareArgs),

    /// Check an evidence folder: compute its report again from its scores, and name what was changed
    #[command(
        after_help = "Examples:\n  dualmd verify evidence --root 3f5c...\n  dualmd verify evidence --image photo.png --with evidence.salt\n\nNeither model nor images are needed. Exit codes: 0 everything agrees; 1 something does not, or it failed; 2 wrong arguments."
    )]
    Verify(VerifyArgs),
}

/// The commands that say or write what is known of the program.
#[derive(Debug, Subcommand)]
pub enum About {
    /// Write a preset as an experiment file of your own
    #[command(
        after_help = "Example:\n  dualmd new mine.toml --preset demo\n  dualmd run mine.toml\n\nThe file has the preset's comments. A file that is there is not written over."
    )]
    New(NewArgs),

    /// Print completions of commands and flags for a shell
    #[command(
        after_help = "Examples:\n  dualmd completions bash > ~/.local/share/bash-completion/completions/dualmd\n  dualmd completions zsh > ~/.zfunc/_dualmd"
    )]
    Completions(CompletionsArgs),

    /// Write the help of every command as man pages
    #[command(
        after_help = "Example:\n  dualmd man ~/.local/share/man/man1\n\nThen `man dualmd` and `man dualmd-audit` show them."
    )]
    Man(ManArgs),

    /// List attacks, defences, presets, bundled image sets or the keys of experiment files
    #[command(after_help = "Example:\n  dualmd list attacks")]
    List(ListArgs),
}

#[cfg(test)]
mod tests;

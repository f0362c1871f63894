//! The runs behind the tables: which image sets, which experiment, one run per seed.

use super::datasets::{Dataset, of};
use super::defenses::Family;
use super::read::{Evidence, Set, read};
use super::state::{imported_or_none, same_experiment, with_more_attacks};
use super::write::{Place, Source};
use crate::{ReproduceOptions, Scale, What};
use anyhow::{Result, bail};
use dualmd::choices::Stage;
use dualmd::experiment::Experiment;
use dualmd::report::ReportOptions;
use dualmd::stages::RunFolder;
use dualmd::stages::held::Held;
use dualmd::suggest::nearest;
use dualmd::{Session, bail_usage, files, run};
use dualmd_names::Defense;
use std::path::{Path, PathBuf};

/// All runs that a command is about.
#[derive(Debug)]
pub struct Study {
    /// cpu or paper.
    pub scale: Scale,
    /// Folder of all runs and tables.
    pub out: PathBuf,
    /// Image sets with their runs.
    pub datasets: Vec<Runs>,
    /// Seeds, the same for every set.
    pub seeds: Vec<u64>,
    /// What was changed in all runs, as it was typed.
    pub sets: Vec<String>,
    /// Weights of the Inception network.
    pub inception: Option<PathBuf>,
}

/// The runs on one image set.
#[derive(Debug)]
pub struct Runs {
    /// The set.
    pub dataset: &'static Dataset,
    /// Epochs of all its models, where a study compares lengths of training.
    pub epochs: Option<u64>,
    /// The models of these runs, where a study has runs of their own for models that share no training.
    pub family: Option<Family>,
    /// Are they to be made where they are missing?
    pub asked: bool,
    /// One run per seed, in their order.
    pub runs: Vec<Planned>,
    /// The SecMI split file to use.
    split: Option<PathBuf>,
}

/// One run.
#[derive(Debug)]
pub struct Planned {
    /// Its folder: OUT/SCALE/DATASET/seed-S, OUT/SCALE/DATASET/e-N/seed-S where lengths of training are compared, or
    /// OUT/SCALE/DATASET/FAMILY/seed-S where models that share no training have runs of their own.
    pub folder: RunFolder,
    /// What is run in it.
    pub experiment: Experiment,
}

impl Runs {
    /// The SecMI code's split that is used.
    pub fn split(&self) -> Option<&Path> {
        self.split.as_deref()
    }

    /// The image set, and the length of training or the models where a study compares several, for people.
    pub fn title(&self) -> String {
        let title = self.dataset.title;
        match (self.epochs, &self.family) {
            (Some(epochs), _) => format!("{title}, {epochs} epochs"),
            (None, Some(family)) => format!("{title}, {}", family.models.join(" and ")),
            (None, None) => title.to_owned(),
        }
    }

    /// The reports of its runs.
    fn read(&self) -> Result<Set> {
        let dataset = self.dataset;
        let read = |planned: &Planned| read(planned.experiment.seed, &planned.folder.0);
        let found: Result<Vec<_>> = self.runs.iter().map(read).collect();
        Ok(Set {
            paper: dataset.paper,
            brought: dataset.remedy.is_some(),
            epochs: self.epochs.map(|e| e as f64),
            ..Set::of(dataset.name, dataset.title, found?)
        })
    }
}

/// What of an image set's study lies in a folder of its own.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    /// Length of training.
    pub epochs: Option<u64>,
    /// Models that share trainings.
    pub family: Option<Family>,
    /// Was this piece left out of what is to be made?
    pub left_out: bool,
}

impl Planned {
    /// The finished run's report.
    pub fn report(&self) -> PathBuf {
        self.folder.0.join("report.json")
    }
}

impl Study {
    /// Reads the reports of all its runs.
    ///
    /// # Errors
    /// A report that cannot be read.
    pub fn read(&self) -> Result<Evidence> {
        let sets = self.datasets.iter().map(Runs::read);
        Ok(Evidence {
            sets: sets.collect::<Result<_>>()?,
        })
    }

    /// Resolves the arguments: nothing is read but the experiment files.
    ///
    /// # Errors
    /// An unknown set; images that are needed and not named; a `--set` that does not fit.
    pub fn resolve(args: &ReproduceOptions) -> Result<Self> {
        let all = of(args.what, args.scale);
        if args.what == What::Defenses && args.scale == Scale::Paper {
            bail_usage!(
                "defenses has no study at --scale paper: make the runs with dualmd run, and collect them with --from RUN..."
            );
        }
        if args.what != What::Defenses {
            let flags = [
                ("--rows", !args.rows.is_empty(), "defenses"),
                ("--from", !args.from.is_empty(), "defenses and by-loss"),
                ("--collect", args.collect, "defenses"),
            ];
            if let Some((flag, _, what)) = flags.iter().find(|(_, given, _)| *given) {
                bail_usage!("{flag} is for {what}");
            }
        }
        let known = |name: &str, flag: &str| -> Result<&'static Dataset> {
            if let Some(dataset) = all.iter().find(|d| d.name == name) {
                return Ok(dataset);
            }
            let names = || all.iter().map(|d| d.name);
            match nearest(name, names()) {
                Some(near) => bail_usage!("{flag}: unknown image set {name}: did you mean {near}?"),
                None => bail_usage!(
                    "{flag}: unknown image set {name}: --scale {} has {}",
                    args.scale.as_str(),
                    names().collect::<Vec<_>>().join(", ")
                ),
            }
        };
        for (name, _) in args.data.iter() {
            if known(name, "--data")?.remedy.is_none() {
                bail_usage!("--data {name}: this set is part of the program; leave it out");
            }
        }
        for (name, _) in &args.base {
            if known(name, "--base")?.remedy.is_none() || !args.what.is_text() {
                bail_usage!(
                    "--base {name}: only text to image at --scale paper begins with a model of yours"
                );
            }
        }
        for (name, _) in &args.split {
            if known(name, "--split")?.remedy.is_none() || args.what.is_text() {
                bail_usage!("--split {name}: the SecMI code has no split of this set");
            }
        }
        let wanted: Vec<&'static Dataset> = if args.only.is_empty() {
            // Tables 2 and 10 and figure 5 of the paper are about CIFAR-10 alone, tables 5, 8 and 9 about Pokemon.
            let one = args.scale == Scale::Paper
                && !matches!(args.what, What::Table3 | What::Table4 | What::Table7);

            let usual = all.iter().filter(|d| args.complete || !d.named_only);
            usual.take(if one { 1 } else { all.len() }).collect()
        } else {
            let named: Result<Vec<_>> = args.only.iter().map(|n| known(n, "--only")).collect();
            named?
        };
        let first = args.seed;
        let Some(last) = first.checked_add(args.seeds - 1) else {
            bail_usage!(
                "--seed {first} leaves no room for {} seeds after it",
                args.seeds
            );
        };
        let seeds: Vec<u64> = (first..=last).collect();
        let own = |list: &[(String, String)], name: &str| {
            let last = list.iter().rev().find(|(n, _)| n == name);
            last.map(|(_, path)| path.clone())
        };
        let mut datasets = Vec::new();
        for dataset in wanted {
            let path = own(&args.data, dataset.name);
            for piece in pieces(dataset, path.as_deref(), args)? {
                let mut place = args.out.join(args.scale.as_str()).join(dataset.name);
                if let Some(epochs) = piece.epochs {
                    place.push(format!("e-{epochs}"));
                }
                if let Some(family) = &piece.family {
                    place.push(&family.name);
                }
                let runs = seeds
                    .iter()
                    .map(|&seed| {
                        let made = experiment(dataset, path.as_deref(), args, seed, &piece);
                        Ok(Planned {
                            folder: RunFolder(place.join(format!("seed-{seed}"))),
                            experiment: made?,
                        })
                    })
                    .collect::<Result<Vec<_>>>()?;
                datasets.push(Runs {
                    dataset,
                    epochs: piece.epochs,
                    family: piece.family,
                    asked: !piece.left_out,
                    runs,
                    split: own(&args.split, dataset.name).map(PathBuf::from),
                });
            }
        }
        Ok(Self {
            scale: args.scale,
            out: args.out.clone(),
            datasets,
            seeds,
            sets: args.set.clone(),
            inception: args.inception.clone(),
        })
    }

    /// The runs that are to be made where they are missing.
    pub fn asked(&self) -> impl Iterator<Item = &Runs> {
        self.datasets.iter().filter(|runs| runs.asked)
    }

    /// Writes OUT/WHAT-SCALE-SET.svg, the name ending in `end` before the point, and gives its name.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn drawing(&self, what: What, set: &Set, end: &str, drawing: &str) -> Result<String> {
        let (what, scale) = (what.as_str(), self.scale.as_str());
        let file = format!("{what}-{scale}-{}{end}.svg", set.name);
        dualmd_files::write(&self.out.join(&file), drawing.as_bytes())?;
        Ok(file)
    }

    /// Where a table or figure goes.
    pub fn place(&self, what: What) -> Place {
        let runs = self.datasets.iter().flat_map(|set| {
            set.runs.iter().map(|r| Source {
                dataset: set.dataset.name.to_owned(),
                title: set.title(),
                seed: r.experiment.seed,
                folder: r.folder.0.clone(),
            })
        });
        let scale = self.scale.as_str();
        Place {
            folder: self.out.clone(),
            stem: format!("{}-{scale}", what.as_str()),
            what: what.as_str(),
            of: format!("{scale} scale"),
            scale: Some(scale),
            runs: runs.collect(),
            sets: self.sets.clone(),
        }
    }

    /// Makes the runs that are not finished; the first seed of every set comes first. Returns false if asked to stop.
    ///
    /// # Errors
    /// What a run refuses; a finished run in the folder that is another experiment.
    pub fn run(&self, session: &Session) -> Result<bool> {
        for (index, seed) in self.seeds.iter().enumerate() {
            for set in self.asked() {
                let planned = &set.runs[index];
                if set.split.is_some() {
                    imported_or_none(planned)?;
                }
                let name = planned.folder.0.display();
                let mut experiment = planned.experiment.clone();
                if planned.report().exists() {
                    same_experiment(planned)?;
                    let Some(more) = with_more_attacks(planned)? else {
                        continue;
                    };
                    if !planned.folder.0.join("models").is_dir() {
                        session.say(&format!(
                            "{name}: its models are not there any more, so its table has the attacks that were run on them"
                        ));
                        continue;
                    }
                    experiment = more;
                }
                session.say(&name.to_string());
                let _held = Held::run(&planned.folder.0, session.reporter.as_ref())?;
                if let Some(file) = &set.split
                    && !planned.folder.split().exists()
                {
                    import_split(session, planned, file, *seed)?;
                }
                let all = Stage::Report;
                if !run::stages(session, &experiment, &planned.folder, all)? {
                    return Ok(false);
                }
                dualmd::report(&planned.folder.0, ReportOptions::default())?;
            }
        }
        Ok(true)
    }
}

/// The parts of an image set's study, each with a folder of its own.
fn pieces(
    dataset: &'static Dataset,
    path: Option<&str>,
    args: &ReproduceOptions,
) -> Result<Vec<Piece>> {
    if args.what == What::Defenses {
        let whole = experiment(dataset, path, args, args.seed, &Piece::default())?;
        return super::defenses::pieces(&whole, args);
    }
    let lengths = lengths(args)?.into_iter();
    let piece = |epochs| Piece {
        epochs,
        ..Piece::default()
    };
    Ok(lengths.map(piece).collect())
}

fn experiment(
    dataset: &Dataset,
    path: Option<&str>,
    args: &ReproduceOptions,
    seed: u64,
    piece: &Piece,
) -> Result<Experiment> {
    let mut sets: Vec<String> = dataset.keys.iter().map(|k| (*k).to_owned()).collect();
    match (dataset.remedy, path) {
        (Some(remedy), None) => bail_usage!(
            "no images of {title}: they may not be shipped with this program. {remedy}: --data {name}=PATH (or choose sets with --only)",
            title = dataset.title,
            name = dataset.name
        ),
        (Some(remedy), Some(path)) if !Path::new(path).exists() => bail!(
            "--data {name}={path}: there is no such file or folder. {remedy}",
            name = dataset.name
        ),
        (_, Some(path)) => sets.push(format!("data.source={}", toml::Value::from(path))),
        (None, None) => {}
    }
    if dataset.remedy.is_some() && args.what.is_text() {
        let last = args.base.iter().rev().find(|(n, _)| n == dataset.name);
        match last.map(|(_, folder)| folder) {
            Some(folder) if Path::new(folder).exists() => {
                sets.push(format!("model.base={}", toml::Value::from(folder.as_str())));
            }
            Some(folder) => bail!(
                "--base {name}={folder}: there is no such folder",
                name = dataset.name
            ),
            None => bail_usage!(
                "{title} begins with a Stable Diffusion folder, which may not be shipped with this program: --base {name}=FOLDER",
                title = dataset.title,
                name = dataset.name
            ),
        }
    }
    sets.extend(args.set.iter().cloned());
    if args.set.iter().any(|s| s.trim_start().starts_with("seed")) {
        bail_usage!("--set seed: the seeds are --seed and those after it (--seeds)");
    }
    if let Some(file) = &args.inception {
        let file = toml::Value::from(file.display().to_string());
        sets.push("sample.features=inception-2048".into());
        sets.push(format!("sample.features_weights={file}"));
    }
    let epochs = piece.epochs;
    sets.extend(epochs.map(|epochs| format!("train.epochs={epochs}")));
    sets.push(format!("seed={seed}"));
    sets.extend(args.dtype.map(|dtype| format!("train.dtype={dtype}")));
    let mut made = Experiment::parse(dataset.text, &format!("study {}", dataset.name), &sets)?;
    if let Some(family) = &piece.family {
        made.models.retain(|m| family.models.contains(&m.name));
        // What takes the two models of a pair is asked where there is one.
        let pair = made.models.iter().any(|m| m.defense == Defense::Dualmd);
        made.audit.attacks.retain(|a| pair || !a.takes_pair());
    }
    Ok(made)
}

/// Lengths of training to compare, in epochs: for most views none.
fn lengths(args: &ReproduceOptions) -> Result<Vec<Option<u64>>> {
    if args.what != What::Epochs {
        return Ok(vec![None]);
    }
    let length = |set: &&String| {
        let key = set.split('=').next().unwrap_or_default().trim();
        key == "train" || key == "train.steps" || key == "train.epochs"
    };
    if let Some(set) = args.set.iter().find(length) {
        bail_usage!("--set {set}: the lengths of training are those of --epochs");
    }
    let mut lengths = args.epochs.clone();
    lengths.sort_unstable();
    lengths.dedup();
    Ok(lengths.into_iter().map(Some).collect())
}

/// Writes split.json of the SecMI code's file into a run's folder, where the run takes it from.
fn import_split(session: &Session, planned: &Planned, file: &Path, seed: u64) -> Result<()> {
    dualmd_files::create_private_folder(&planned.folder.0)?;
    let source = &planned.experiment.data.source;
    let (out, reporter) = (planned.folder.split(), session.reporter.as_ref());
    files::import_split(file, source, &out, seed, reporter).map(drop)
}

//! Finished runs of any experiment as one set: all that is known of a seed is one run of it.
//!
//! A run is read from its `report.json`; of one that left only `findings.csv` the attacks are known, and neither quality nor cost.

use crate::read::{Model, Run, Set, read_report};
use anyhow::{Result, bail};
use dualmd::bail_usage;
use dualmd_audit::cells::original;
use dualmd_audit::report::{AttackResult, Measurement, ModelReport};
use dualmd_audit::{Finding, View};
use dualmd_files::limit;
use dualmd_names::{Defense, Half, ModelKind, Part};
use dualmd_record::extraction::Extraction;
use dualmd_record::planned::AnyPlan;
use dualmd_stats::OperatingPoint;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A row that a table is to have.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Name of the model.
    pub name: String,
    /// Its defence.
    pub defense: Defense,
}

/// Finished runs, and where each number of theirs was read.
#[derive(Debug)]
pub struct Collected {
    /// A run of it is all that was found of a seed.
    pub set: Set,
    /// The rows that there should be.
    pub expected: Vec<Expected>,
    /// What was read, in the order in which it was named.
    pub places: Vec<Taken>,
    /// What was extracted from models.
    pub extracted: Vec<Extracted>,
    /// What was passed over, and what does not fit.
    pub notes: Vec<String>,
    sources: BTreeMap<(u64, String, String), usize>,
}

/// A place that something was read from.
#[derive(Debug)]
pub struct Taken {
    /// Its seed.
    pub seed: u64,
    /// A run's folder, a file, or the folder of an extraction.
    pub path: PathBuf,
}

/// What was extracted from a model.
#[derive(Debug)]
pub struct Extracted {
    /// Seed of the model's run.
    pub seed: u64,
    /// Name of the model.
    pub model: String,
    /// Place among those of [`Collected`].
    pub place: usize,
    /// How many images.
    pub found: Extraction,
}

/// What a path led to, with the path that it is known by.
#[derive(Debug)]
pub enum Opened {
    /// A finished run, and its seed where that is known.
    Run(PathBuf, Box<Run>, Option<u64>),
    /// What was extracted from a model.
    Extraction(PathBuf, Box<Extraction>),
}

/// Folders below one that holds no run itself which are looked into: that of a study has families, and these have seeds.
const DEPTH: usize = 3;

impl Collected {
    /// Reads runs and extractions: folders of them, or single files.
    ///
    /// # Errors
    /// A path that leads to neither; a file that cannot be read; runs of other images than the first one's.
    pub fn read(name: &str, title: &str, paths: &[PathBuf], expected: &[Expected]) -> Result<Self> {
        let mut all = Vec::new();
        for path in paths {
            all.extend(opened(path)?);
        }
        let mut out = Self {
            set: Set::of(name, title, Vec::new()),
            expected: expected.to_vec(),
            places: Vec::new(),
            extracted: Vec::new(),
            notes: Vec::new(),
            sources: BTreeMap::new(),
        };
        let mut extractions = Vec::new();
        // (seed, name in the run, name of the row)
        let mut renamed: Vec<(u64, String, String)> = Vec::new();
        for found in all {
            match found {
                Opened::Run(path, _, None) => bail_usage!(
                    "{} does not say which seed its run has: give it a name or a folder with seed-N in it",
                    path.display()
                ),
                Opened::Run(path, run, Some(_)) => out.add(path, *run, &mut renamed)?,
                Opened::Extraction(path, found) => extractions.push((path, *found)),
            }
        }
        out.set.runs.sort_by_key(|run| run.seed);
        for (path, found) in extractions {
            match out.whose(&path, &found, &renamed) {
                Some((seed, model)) => {
                    let place = out.places.len();
                    out.places.push(Taken { seed, path });
                    out.extracted.push(Extracted {
                        seed,
                        model,
                        place,
                        found,
                    });
                }
                None => out.notes.push(format!(
                    "{} is of a model that no run here has, and was passed over.",
                    path.display()
                )),
            }
        }
        Ok(out)
    }

    /// Where a number was read: that of an attack on a model, or with an empty name what is known of the model itself.
    pub fn source(&self, seed: u64, model: &str, attack: &str) -> Option<usize> {
        let key = (seed, model.to_owned(), attack.to_owned());
        self.sources.get(&key).copied()
    }

    /// Adds a run to what is known of its seed. Of two models of one name the first counts; attacks that it lacks are taken from the other
    /// where both have the same weights.
    fn add(
        &mut self,
        path: PathBuf,
        mut run: Run,
        renamed: &mut Vec<(u64, String, String)>,
    ) -> Result<()> {
        let seed = run.seed;
        if let Some(key) = self.set.runs.iter().find_map(|r| other_images(r, &run)) {
            bail!(
                "{}: data.{key} is another than that of the runs before it, and numbers of other images are not compared: collect them by themselves",
                path.display()
            );
        }
        for (old, new) in self.rows_of(&run) {
            for model in run.models.iter_mut().filter(|m| m.name == old) {
                model.reported.name.clone_from(&new);
            }
            renamed.push((seed, old, new));
        }
        let place = self.places.len();
        self.places.push(Taken {
            seed,
            path: path.clone(),
        });
        let at = self.set.runs.iter().position(|r| r.seed == seed);
        let Some(at) = at else {
            for model in &run.models {
                self.note_source(seed, model, place);
            }
            self.set.runs.push(run);
            return Ok(());
        };
        let [known, own] = [&self.set.runs[at], &run].map(|run| run.plan.split_hash.as_ref());
        if known.zip(own).is_some_and(|(known, own)| known != own) {
            self.notes.push(format!(
                "{} has another split than the other runs of seed {seed}: its rows are of other members.",
                path.display()
            ));
        }
        let first = &mut self.set.runs[at].blind;
        *first = first.take().or(run.blind);
        for model in run.models {
            let known = self.set.runs[at]
                .models
                .iter()
                .position(|m| m.name == model.name);
            let Some(known) = known else {
                self.note_source(seed, &model, place);
                self.set.runs[at].models.push(model);
                continue;
            };
            let own = &mut self.set.runs[at].models[known];
            let same = own.weights_blake3.is_some() && own.weights_blake3 == model.weights_blake3;
            if !same {
                // Models that others are made from are trained with each of them.
                if model.defense != ModelKind::Part {
                    self.notes.push(format!(
                        "{}: its {} of seed {seed} was passed over, because another run has one of other or unknown weights.",
                        path.display(),
                        model.name
                    ));
                }
                continue;
            }
            for result in &model.results {
                let there = own.results.iter().any(|r| r.attack == result.attack);
                if !there {
                    let key = (seed, model.name.clone(), result.attack.clone());
                    self.sources.insert(key, place);
                    own.reported.results.push(result.clone());
                }
            }
        }
        Ok(())
    }

    fn note_source(&mut self, seed: u64, model: &Model, place: usize) {
        let attacks = model.results.iter().map(|r| r.attack.clone());
        for attack in attacks.chain([String::new()]) {
            self.sources
                .insert((seed, model.name.clone(), attack), place);
        }
    }

    /// (name in a run, name of the row) of models that are another row's by their defence alone: the only one of that defence in the run, and
    /// the only row of it. A training without a defence, and DP-SGD, may be any of several rows, and so may what has shards of another number.
    fn rows_of(&self, run: &Run) -> Vec<(String, String)> {
        use Defense::{Ambient, Distillmd, Dualmd, EarlyStopping, Iet, Kd, Smp, Synthetic};
        let mut out = Vec::new();
        for defense in [
            Dualmd,
            Distillmd,
            Kd,
            EarlyStopping,
            Synthetic,
            Iet,
            Ambient,
            Smp,
        ] {
            let rows: Vec<&Expected> = self
                .expected
                .iter()
                .filter(|e| e.defense == defense)
                .collect();
            let models: Vec<&Model> = run
                .models
                .iter()
                .filter(|m| m.defense.is(defense))
                .collect();
            let ([row], [model]) = (rows.as_slice(), models.as_slice()) else {
                continue;
            };
            let taken = self.expected.iter().any(|e| e.name == model.name);
            if model.name != row.name && !taken {
                out.push((model.name.clone(), row.name.clone()));
            }
        }
        out
    }

    /// The model that something was extracted from: that of the same weights, or of the same folder.
    fn whose(
        &self,
        path: &Path,
        found: &Extraction,
        renamed: &[(u64, String, String)],
    ) -> Option<(u64, String)> {
        for run in &self.set.runs {
            let same = |m: &&Model| {
                let own = m.weights_blake3.as_deref().filter(|hash| !hash.is_empty());
                own == Some(found.weights_blake3.as_str())
            };
            if let Some(model) = run.models.iter().find(same) {
                return Some((run.seed, model.name.clone()));
            }
        }
        let named = found.models.first().and_then(|m| seed_in(Path::new(m)));
        let seed = named.or_else(|| seed_in(path))?;
        let names: Vec<String> = found
            .models
            .iter()
            .filter_map(|m| Some(Path::new(m).file_name()?.to_str()?.to_owned()))
            .collect();
        let run = self.set.runs.iter().find(|run| run.seed == seed)?;
        let row = |name: &str| {
            let mut all = renamed.iter();
            let own = all.find(|(s, old, _)| *s == seed && old == name);
            own.map_or_else(|| name.to_owned(), |(_, _, new)| new.clone())
        };
        let model = run.models.iter().find(|m| match names.as_slice() {
            [one] => m.name == row(one.as_str()),
            several => !several.is_empty() && m.parts.as_slice() == several,
        })?;
        Some((seed, model.name.clone()))
    }
}

/// The key of `[data]` in which two runs are of other images; none where they are not, or do not say.
fn other_images(a: &Run, b: &Run) -> Option<&'static str> {
    fn differ<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
        a.zip(b).is_some_and(|(a, b)| a != b)
    }
    let (a, b) = (&a.plan.data, &b.plan.data);
    let keys = [
        ("members", differ(a.members, b.members)),
        ("nonmembers", differ(a.nonmembers, b.nonmembers)),
        ("image_size", differ(a.image_size, b.image_size)),
        ("channels", differ(a.channels, b.channels)),
        ("content", differ(a.content.as_ref(), b.content.as_ref())),
    ];
    keys.into_iter()
        .find_map(|(key, differ)| differ.then_some(key))
}

/// The number behind the last `seed-` of a path.
pub fn seed_in(path: &Path) -> Option<u64> {
    path.components().rev().find_map(|part| {
        let name = part.as_os_str().to_string_lossy().into_owned();
        let (_, after) = name.rsplit_once("seed-")?;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

/// All that is at a path: in a folder and those below it, or a single file.
///
/// # Errors
/// There is neither a run nor an extraction; a file that cannot be read.
pub fn opened(path: &Path) -> Result<Vec<Opened>> {
    let mut out = Vec::new();
    open(path, DEPTH, &mut out)?;
    if out.is_empty() {
        bail_usage!(
            "{}: there is no run, nor what was extracted from one: name a folder with report.json or findings.csv, or such a file",
            path.display()
        );
    }
    Ok(out)
}

/// Adds what is at a path, or in folders below it.
fn open(path: &Path, depth: usize, out: &mut Vec<Opened>) -> Result<()> {
    if !path.is_dir() {
        return open_file(path, path, out);
    }
    let before = out.len();
    for name in ["report.json", "findings.csv"] {
        let file = path.join(name);
        if file.is_file() {
            open_file(&file, path, out)?;
            break;
        }
    }
    let mut folders = vec![path.to_path_buf()];
    let extractions = path.join("extraction");
    if extractions.is_dir() {
        folders.extend(dualmd_files::list(&extractions)?);
    }
    for folder in folders {
        let file = folder.join("extraction.json");
        if file.is_file() {
            open_file(&file, &folder, out)?;
        }
    }
    if out.len() == before && depth > 0 {
        for folder in dualmd_files::list(path)? {
            if folder.is_dir() {
                open(&folder, depth - 1, out)?;
            }
        }
    }
    Ok(())
}

/// Adds what is in a file; `shown`: the path that it is known by.
fn open_file(file: &Path, shown: &Path, out: &mut Vec<Opened>) -> Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".json") && name.starts_with("extraction") {
        let found: Extraction = dualmd_record::read(file)?;
        out.push(Opened::Extraction(shown.to_path_buf(), Box::new(found)));
        return Ok(());
    }
    let mut run = match name.ends_with(".csv") {
        true => findings(file)?,
        false => read_report(0, file, dualmd_files::parent(file))?,
    };
    let seed = run.plan.seed.or_else(|| seed_in(file));
    run.seed = seed.unwrap_or_default();
    out.push(Opened::Run(shown.to_path_buf(), Box::new(run), seed));
    Ok(())
}

/// False-alarm rates of `findings.csv`.
const RATES: [f64; 3] = [0.1, 0.01, 0.001];

/// A row of `findings.csv`.
struct Line(BTreeMap<String, String>);

impl Line {
    fn text(&self, key: &str) -> String {
        let cell = self.0.get(key).map_or("", String::as_str);
        original(cell).to_owned()
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.parse().ok()
    }

    fn count(&self, key: &str) -> usize {
        let cell = self.0.get(key).and_then(|cell| cell.parse().ok());
        cell.unwrap_or(0)
    }

    fn interval(&self, low: &str, high: &str) -> Option<[f64; 2]> {
        Some([self.number(low)?, self.number(high)?])
    }

    /// What it says of one set of members; none of an attack that failed.
    fn measurement(&self) -> Option<Measurement> {
        let (n_members, n_nonmembers) = (self.count("n_members"), self.count("n_nonmembers"));
        let point = |fpr: &f64| -> Option<OperatingPoint> {
            let key = |of: &str| format!("{of}_at_{fpr}");
            Some(OperatingPoint {
                fpr: *fpr,
                realised_fpr: self.number(&key("realised_fpr"))?,
                tp: self.count(&key("tp")),
                fp: self.count(&key("fp")),
                n_members,
                n_nonmembers,
                tpr: self.number(&key("tpr"))?,
                tpr_ci: self.interval(&key("tpr_low"), &key("tpr_high"))?,
                measurable: self.text(&key("measurable")) == "true",
                ..OperatingPoint::default()
            })
        };
        let auc_ci = self.interval("auc_low", "auc_high")?;
        Some(Measurement {
            n_members,
            n_nonmembers,
            auc: self.number("auc")?,
            auc_ci,
            auc_ci_method: dualmd_stats::IntervalMethod::default(),
            auc_ci_adjusted: self
                .interval("auc_low_adjusted", "auc_high_adjusted")
                .unwrap_or(auc_ci),
            tpr_at_fpr: RATES.iter().filter_map(point).collect(),
            balanced_accuracy: self.number("balanced_accuracy").unwrap_or(0.0),
            exceedance_p: None,
            finding: Finding::default(),
        })
    }
}

/// The members that a model of this name was trained on: a teacher's own half, otherwise all.
pub fn members_of(model: &str) -> View {
    match Part::half(model) {
        Some(Half::First) => View::D1,
        Some(Half::Second) => View::D2,
        None => View::Pooled,
    }
}

/// The attacks of a run of which only `findings.csv` is left.
fn findings(path: &Path) -> Result<Run> {
    let bytes = dualmd_files::read(path, limit::TABLE)?;
    let mut models: Vec<ModelReport> = Vec::new();
    for line in csv::Reader::from_reader(bytes.as_slice()).deserialize() {
        let line = Line(line?);
        let (name, attack) = (line.text("model"), line.text("attack"));
        if name.is_empty() || attack.is_empty() {
            bail!(
                "{}: a row without model or attack: is it the findings.csv of a run?",
                path.display()
            );
        }
        let at = models.iter().position(|m| m.name == name);
        let at = at.unwrap_or_else(|| {
            models.push(ModelReport {
                title: name.clone(),
                defense: ModelKind::from(line.text("defense").as_str()),
                repeat_of: Some(line.text("repeat_of")).filter(|base| !base.is_empty()),
                primary: members_of(&name),
                name: name.clone(),
                ..ModelReport::default()
            });
            models.len() - 1
        });
        let results = &mut models[at].results;
        let place = results.iter().position(|r| r.attack == attack);
        let place = place.unwrap_or_else(|| {
            results.push(AttackResult {
                title: dualmd_names::title(&attack),
                access: line.text("access"),
                status: line.text("status"),
                attack: attack.clone(),
                ..AttackResult::default()
            });
            results.len() - 1
        });
        let (result, measured) = (&mut results[place], line.measurement());
        match line.text("members").as_str() {
            "d1" => result.d1 = measured,
            "d2" => result.d2 = measured,
            _ => result.pooled = measured,
        }
    }
    Ok(Run {
        seed: 0,
        folder: path.to_path_buf(),
        models: models.into_iter().map(Model::alone).collect(),
        plan: AnyPlan::default(),
        members: None,
        blind: None,
    })
}

//! LiRA: the likelihood-ratio attack with the whole pipeline as the shadow.
//!
//! N runs of one experiment, each on its own coin-flip half of one pool of images, serve as one another's shadows
//! (`dualmd_stats::lira`). What is defended is a pipeline, so what is repeated is the pipeline: a DistillMD student's shadow is a
//! split, two teachers and a student.

mod together;

use crate::bail_usage;
use crate::choices::SplitMethod;
use crate::engine::Engine;
use crate::experiment::{Experiment, Source};
use crate::plan::{Plan, Target};
use crate::report::{ReportOptions, Written, report};
use crate::reporter::{ProgressEvent, Reporter, Work, duration, meanwhile, title};
use crate::session::Session;
use crate::stages::brought::Brought;
use crate::stages::generator::{Generator, weight_set};
use crate::stages::held::Held;
use crate::stages::prepare::{self, Images};
use crate::stages::sample;
use crate::stages::{RunFolder, attack, create_folder, score, trainings};
use crate::whole::{Part, Repetition, Whole};
use anyhow::{Context, Result, anyhow, bail};
use dualmd_attack::{Access, Known, Loss, Method, Others, RunOptions, Samples, by_name, rehearsal};
use dualmd_audit::{ScoreRow, read_scores, write_scores};
use dualmd_data::{Method as SplitKind, Split};
use dualmd_files::shown;
use dualmd_names::{BaseAttack, ModelKind, Needs};
use dualmd_record::AttackParameters;
use dualmd_record::lira::{self, Combined, Lira, LiraResult, Measured, Statistic};
use dualmd_record::scores::{OK, ScoredAttack, Scores};
use dualmd_stats::{
    LiraVariance, Marginal, RmiaOptions, Roc, StatsError, auc_interval, combine_seeds,
    lira_offline_scores, lira_scores, rmia_pool_scores, rmia_scale,
};
use dualmd_torch::Device;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use together::{OfRun, SHADOWS, Together};

/// Timestep and draws of the statistic: Carlini et al. 2023 (arXiv 2301.13188) take a loss near t = 100, averaged over draws.
const STATISTIC: Loss = Loss { t: 100, draws: 8 };
/// RMIA's gamma, the paper's (Zarifzadeh et al. 2024, arXiv 2312.03262).
const GAMMA: f64 = 2.0;
/// RMIA's a: below 1 a loss would have to be the logarithm of a probability.
const OFFLINE_A: f64 = 1.0;
/// False-alarm rate of the table.
const FPR: f64 = 0.01;

/// One shadow run.
struct Shadow {
    run: RunFolder,
    plan: Plan,
    images: Images,
    /// Nobody else works in its folder.
    _held: Held,
}

/// What is repeated, and how often.
#[derive(Debug, Clone)]
pub struct LiraOptions {
    /// The experiment.
    pub source: Source,
    /// Changes of its keys, `train.steps=600`.
    pub sets: Vec<String>,
    /// Folder of all runs.
    pub out: PathBuf,
    /// Runs, each on its own coin-flip half of the pool.
    pub models: usize,
    /// How many of them get samples, all attacks and a report.
    pub targets: usize,
    /// Images in the pool; twice the experiment's members if not given.
    pub pool: Option<usize>,
    /// Runs at a time; as many as the cores allow if not given.
    pub jobs: Option<usize>,
}

/// What came of the repetition.
#[derive(Debug)]
pub struct Repeated {
    /// As `lira.json` has it.
    pub lira: Lira,
    /// The reports of the targets.
    pub reports: Vec<Written>,
}

impl Repeated {
    /// The table of attacks, in lines for people.
    pub fn lines(&self) -> Vec<String> {
        let models = self.lira.models;
        let mut out = vec![
            format!(
                "mean over {models} runs, each the target of the others; TPR at {:.0} % false alarms",
                100.0 * FPR
            ),
            format!("{:<14} {:<13} {:>6} {:>6}", "model", "attack", "AUC", "TPR"),
        ];
        for LiraResult {
            model, combined, ..
        } in &self.lira.results
        {
            let attacks = [
                (BaseAttack::Loss, Some(&combined.loss)),
                (BaseAttack::Rmia, combined.rmia.as_ref()),
                (BaseAttack::LiraOffline, Some(&combined.lira_offline)),
                (BaseAttack::Lira, Some(&combined.lira)),
            ];
            let made = |(attack, c): (BaseAttack, Option<_>)| Some((attack, c?));
            out.extend(
                attacks
                    .into_iter()
                    .filter_map(made)
                    .map(|(attack, c): (_, &_)| {
                        let attack = attack.name();
                        format!(
                            "{model:<14} {attack:<13} {:>6.3} {:>6.3}",
                            c.auc_mean, c.tpr_mean
                        )
                    }),
            );
        }
        out
    }
}

/// Trains the shadows, attacks, and writes `lira.json` and the reports of the targets. None if asked to stop before the end; the
/// same call goes on then.
///
/// # Errors
/// An experiment that cannot be repeated; a folder of another one, or in which another process works; a training that fails.
pub fn lira(session: &Session, options: &LiraOptions) -> Result<Option<Repeated>> {
    let experiment = Experiment::load(&options.source, &options.sets)?;
    let each = small(session);
    let folder = &options.out;
    let _held = Held::folder(folder, &["phi"], session.reporter.as_ref())?;
    let shadows = prepare_shadows(&experiment, options, &each)?;
    let jobs = jobs(options, &shadows[0].plan, &session.engine);
    session.say(shadows[0].plan.describe().trim_end());
    session.say(&format!(
        "  shadows   {} runs like this one on coin-flip halves of {} images, {jobs} at a time",
        shadows.len(),
        shadows[0].images.selected.members.len() + shadows[0].images.selected.nonmembers.len()
    ));
    let targets: Vec<Target> = shadows[0]
        .plan
        .models
        .iter()
        .filter(|t| t.parts.len() == 1 && t.defense != ModelKind::Part)
        .cloned()
        .collect();
    let attacked = &shadows[..options.targets.min(shadows.len())];
    let whole = Arc::new(Whole::of_repetition(
        (SHADOWS, trainings_left(&shadows)),
        counted(&shadows, &targets, attacked),
        Arc::clone(&session.reporter),
    ));
    let told = Arc::clone(&whole) as Arc<dyn Reporter>;
    let session = &Session {
        reporter: Arc::clone(&told),
        ..session.clone()
    };
    let each = Session {
        reporter: told,
        ..each
    };
    whole.enter(Part::Train);
    if !train_all(&shadows, jobs, &each)? {
        return Ok(None);
    }
    dualmd_torch::device::set_threads(session.engine.threads);
    for (shadow, after) in attacked.iter().zip((0..attacked.len()).rev()) {
        let Shadow {
            run, plan, images, ..
        } = shadow;
        whole.next_run(after);
        whole.enter(Part::Sample);
        if !sample::all(run, plan, images, session)? {
            return Ok(None);
        }
        whole.enter(Part::Attack);
        if !attack::all(run, plan, images, None, session)? {
            return Ok(None);
        }
        whole.enter(Part::Controls);
        attack::controls(run, plan, images, session)?;
    }
    whole.enter(Part::Statistic);
    let mut results = Vec::new();
    for target in &targets {
        let Some(result) = attack_target(target, &shadows, options, session)? else {
            return Ok(None);
        };
        results.push(result);
    }
    let lira = Lira {
        command: session.command.clone(),
        models: shadows.len(),
        targets: options.targets,
        statistic: Statistic {
            attack: BaseAttack::Loss.name().to_owned(),
            t: STATISTIC.t,
            draws: STATISTIC.draws,
            flip: experiment.train.flip,
        },
        rmia: Some(lira::Rmia {
            gamma: GAMMA,
            offline_a: OFFLINE_A,
            population: shadows[0].plan.audit.known_fraction,
        }),
        results,
    };
    dualmd_record::write(&folder.join("lira.json"), &lira)?;
    whole.enter(Part::Report);
    let reporter = session.reporter.as_ref();
    let reports = attacked.iter().map(|shadow| {
        let write = || report(&shadow.run.0, ReportOptions::default());
        let written = meanwhile(reporter, "", "report", write);
        whole.done_here("");
        written
    });
    let reports = reports.collect::<Result<_>>()?;
    Ok(Some(Repeated { lira, reports }))
}

/// What is told of the losses of one model of all runs.
const TASK: &str = "lira";

/// Training steps of all runs that are still to be made.
fn trainings_left(shadows: &[Shadow]) -> u64 {
    let left = shadows.iter().flat_map(|shadow| {
        let jobs = shadow.plan.trainings.iter();
        let jobs = jobs.filter(move |job| !shadow.run.training(&job.name).exists());
        jobs.map(move |job| job.train.as_ref().unwrap_or(&shadow.plan.train).steps)
    });
    left.sum()
}

/// What is done with every run that is attacked, and with all runs together.
fn counted(shadows: &[Shadow], targets: &[Target], attacked: &[Shadow]) -> Repetition {
    let mut counted = Repetition::default();
    let Some(first) = attacked.first() else {
        return counted;
    };
    // Models that are told no text have no captions.
    counted.attack_all(&first.plan, 1.0);
    let s = &first.images.selected;
    let pool = s.members.len() + s.nonmembers.len();
    let orientations = if first.plan.train.flip { 2 } else { 1 };
    let calls = shadows.len() * pool * STATISTIC.draws * orientations;
    for target in targets {
        counted.ask_all(&title(&target.name, Some(TASK)), calls as f64);
    }
    counted.reports(attacked.len());
    counted
}

/// Draws the splits and writes the plans of the shadows, whose trainings [`crate::work()`] then shares among processes. Gives their number.
///
/// # Errors
/// As [`lira()`].
pub fn prepare(session: &Session, options: &LiraOptions) -> Result<usize> {
    let experiment = Experiment::load(&options.source, &options.sets)?;
    let _held = Held::folder(&options.out, &["phi"], session.reporter.as_ref())?;
    let shadows = prepare_shadows(&experiment, options, &small(session))?;
    session.say(shadows[0].plan.describe().trim_end());
    Ok(shadows.len())
}

/// The session of one training: a small network gains more from a core of its own than from a second thread, and there are many to train.
fn small(session: &Session) -> Session {
    dualmd_torch::device::set_threads(1);
    session.with_engine(Engine {
        threads: 1,
        ..session.engine
    })
}

/// Folders, splits and plans of all shadows. The pool is the same in all of them; who is a member is a coin of each.
fn prepare_shadows(
    experiment: &Experiment,
    options: &LiraOptions,
    session: &Session,
) -> Result<Vec<Shadow>> {
    if experiment.is_text() {
        bail_usage!(
            "LiRA's statistic here is the loss of models that are told no text; text-to-image models cannot be repeated yet"
        );
    }
    if experiment.data.labels {
        bail_usage!(
            "LiRA's statistic here is the loss of models that are told nothing; class-conditional models cannot be repeated yet: set \
             data.labels = false"
        );
    }
    let brought = Brought::of(experiment, Device::Cpu)?;
    let schedule = brought.schedule(experiment.train.objective)?;
    if let Some(why) = rehearsal::refused(&Method::from(STATISTIC), &schedule) {
        bail_usage!(
            "LiRA's statistic here is the loss at t = {}: {why}",
            STATISTIC.t
        );
    }
    for (needs, told) in [
        (
            Needs::Shadow,
            "not run: the other runs are the shadows here".to_owned(),
        ),
        (
            Needs::Reference,
            format!(
                "run on the {} runs that are attacked, each with a reference model of its own",
                options.targets.min(options.models)
            ),
        ),
    ] {
        let concerned = experiment.audit.attacks.iter();
        let concerned = concerned.filter(|a| a.needs() == needs);
        let names: Vec<String> = concerned.map(ToString::to_string).collect();
        if !names.is_empty() {
            session.say(&format!("{}: {told}", names.join(", ")));
        }
    }
    let data = &experiment.data;
    let wanted = options.pool.unwrap_or(2 * data.members);
    let (listing, _) = prepare::list(data, &options.out)?;
    let groups = prepare::group(&listing, data.near_duplicates)?;
    if let Some(note) = groups.note() {
        session.warn(&format!("warning: {}: {note}", shown(&data.source)));
    }
    let half = (wanted / 2).next_multiple_of(2);
    let set = listing.set();
    let whole = Split::half(set, &groups, half, Some(wanted - half), experiment.seed)?;
    let pool = prepare::pool(&listing, &whole)?;
    let pool_groups = prepare::group(&pool, data.near_duplicates)?;
    let pool = pool.set();
    let mut shadows = Vec::new();
    for index in 0..options.models {
        let mut own = experiment.clone();
        own.seed = crate::plan::training_seed(experiment.seed, index as u64, "lira shadow");
        own.data.method = SplitMethod::CoinFlip;
        (own.data.members, own.data.nonmembers) = (half, wanted - half);
        own.resolve_epochs();
        // The other models of the repetition are the shadows here.
        own.audit.attacks.retain(|a| a.needs() != Needs::Shadow);
        if index >= options.targets {
            // Only targets are attacked, so only they need a model to compare with.
            own.audit.attacks.retain(|a| a.needs() != Needs::Reference);
        }
        let run = RunFolder(options.out.join(format!("shadow-{index:03}")));
        let held = Held::run(&run.0, session.reporter.as_ref())?;
        if run.split().exists() {
            let split = Split::load(&run.split())?;
            let ours = split.method() == SplitKind::CoinFlip && split.seed() == own.seed;
            let ids: usize = split.members().len() + split.nonmembers().len();
            if !ours || ids != pool.len() {
                bail!(
                    "{} is of another experiment (seed or pool): choose another folder (--out)",
                    run.split().display()
                );
            }
        } else {
            Split::coin_flip(pool, &pool_groups, own.seed, 0.5)?.save(&run.split())?;
        }
        let (plan, images) = prepare::prepare(&own, &run, session)
            .with_context(|| format!("preparing {} failed", run.0.display()))?;
        shadows.push(Shadow {
            run,
            plan,
            images,
            _held: held,
        });
    }
    Ok(shadows)
}

/// Shadows side by side: as many as the cores allow with each plan's own share.
fn jobs(options: &LiraOptions, plan: &Plan, engine: &Engine) -> usize {
    if let Some(jobs) = options.jobs {
        return jobs;
    }
    let each = plan.hardware.parallel_models * plan.hardware.threads_per_model;
    match engine.device {
        Device::Cuda(_) => 1,
        _ => (engine.threads / each.max(1)).max(1),
    }
}

/// Trains all shadows, `jobs` at a time. False if asked to stop before the end.
fn train_all(shadows: &[Shadow], jobs: usize, session: &Session) -> Result<bool> {
    let all = Together::new(Arc::clone(&session.reporter), trainings_left(shadows));
    let all = Arc::new(all);
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(shadows.len()) {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    let Some(shadow) = shadows.get(run) else {
                        break;
                    };
                    let all = Arc::clone(&all);
                    let own = Session {
                        reporter: Arc::new(OfRun { run, all }),
                        ..session.clone()
                    };
                    match trainings::all(&shadow.run, &shadow.plan, &own) {
                        Ok(true) => {
                            let n = finished.fetch_add(1, Ordering::Relaxed) + 1;
                            session.say(&format!(
                                "shadow {n} of {} trained, {}",
                                shadows.len(),
                                duration(began.elapsed())
                            ));
                        }
                        Ok(false) => break,
                        Err(error) => {
                            let error = error.context(shadow.run.0.display().to_string());
                            if let Ok(mut first) = failure.lock() {
                                first.get_or_insert(error);
                            }
                            // The others finish what they are at; nothing new is begun.
                            next.store(shadows.len(), Ordering::Relaxed);
                            break;
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        Ok(None) => Ok(finished.into_inner() == shadows.len()),
        Err(_) => Err(anyhow!(
            "a thread that watched trainings ended unexpectedly"
        )),
    }
}

/// LiRA on one model of the experiment: every shadow in turn the target of the others.
fn attack_target(
    target: &Target,
    shadows: &[Shadow],
    options: &LiraOptions,
    session: &Session,
) -> Result<Option<LiraResult>> {
    let folder = options.out.as_path();
    session.reporter.begins(&target.name, TASK);
    // Samples in the order of their ids: the same for all shadows.
    let mut ids: Vec<String> = Vec::new();
    let (mut phi, mut inside) = (Vec::new(), Vec::new());
    for (index, shadow) in shadows.iter().enumerate() {
        if session.stopped() {
            return Ok(None);
        }
        let rows = statistic(shadow, target, (index, shadows.len()), session, folder)?;
        let sorted: BTreeMap<String, ScoreRow> = rows
            .into_iter()
            .map(|row| (row.sample_id.clone(), row))
            .collect();
        if ids.is_empty() {
            ids = sorted.keys().cloned().collect();
        } else if !sorted.keys().eq(ids.iter()) {
            bail!(
                "{} scores other images than the other shadows: remove it",
                phi_path(folder, target, index).display()
            );
        }
        phi.push(sorted.values().map(|row| row.score).collect::<Vec<f64>>());
        inside.push(sorted.values().map(|row| row.member).collect::<Vec<bool>>());
    }
    let online = lira_scores(&phi, &inside, LiraVariance::Auto)?;
    let offline = lira_offline_scores(&phi, &inside, LiraVariance::Auto)?;
    let relative: Vec<Option<Relative>> = shadows
        .iter()
        .enumerate()
        .map(|(index, shadow)| {
            let population = population(shadow, &ids, &inside[index]);
            Relative::new(&phi, &inside, index, &population)
        })
        .collect::<Result<_>>()?;
    let mut measured = Vec::new();
    for (index, relative) in relative.iter().enumerate() {
        let of = |lists: Option<(Vec<f64>, Vec<f64>)>| {
            lists
                .map(|(members, others)| measure(&members, &others))
                .transpose()
        };
        measured.push(lira::Target {
            shadow: index,
            loss: of(Some(sides(&phi[index], &inside[index])))?,
            lira: of(online.of_model(index, &inside))?,
            lira_offline: of(offline.of_model(index, &inside))?,
            rmia: of(relative
                .as_ref()
                .map(|r| known_sides(&r.ln_ratios, &inside[index])))?,
            rmia_called: relative.as_ref().map(|r| r.called),
        });
    }
    for (index, shadow) in shadows.iter().enumerate().take(options.targets) {
        let parameters = AttackParameters {
            t: Some(STATISTIC.t),
            draws: Some(STATISTIC.draws),
            models: Some(shadows.len()),
            ..AttackParameters::default()
        };
        let likelihood = |attack, title, scores| Appended {
            attack,
            models: shadows.len(),
            title,
            paper: "Carlini et al. 2022, arXiv 2112.03570",
            formula: "log N(phi; in) - log N(phi; out), phi = -loss, fitted over the other runs (offline: (phi - mean out) / sd out)",
            misses: "knows the pool and the recipe; needs many runs for a spread of each image's own",
            scores,
            parameters: parameters.clone(),
        };
        let mut scores = vec![
            likelihood(
                BaseAttack::Lira,
                "LiRA (likelihood ratio against shadow runs)",
                &online.scores[index],
            ),
            likelihood(
                BaseAttack::LiraOffline,
                "LiRA, offline",
                &offline.scores[index],
            ),
        ];
        if let Some(relative) = &relative[index] {
            scores.push(Appended {
                attack: BaseAttack::Rmia,
                models: shadows.len(),
                title: "RMIA (relative to shadow runs and a population)",
                paper: "Zarifzadeh et al. 2024, arXiv 2312.03262",
                formula: "ln ratio(x), ratio = exp(s phi(x)) over its mean over the other runs that did not see x, phi = -loss; the population sets the threshold",
                misses: "as LiRA; and takes runs that saw the image for no evidence",
                scores: &relative.ln_ratios,
                parameters: AttackParameters {
                    gamma: Some(GAMMA),
                    offline_a: Some(OFFLINE_A),
                    population: Some(relative.called.population),
                    scale: Some(relative.scale),
                    ..parameters
                },
            });
        }
        append(shadow, target, &ids, &inside[index], scores)?;
    }
    session.reporter.ends(&target.name, TASK);
    session.reporter.finished(&target.name, "attacked by LiRA");
    let all = |of: fn(&lira::Target) -> Option<Measured>| {
        combined(&measured.iter().filter_map(of).collect::<Vec<_>>())
    };
    Ok(Some(LiraResult {
        model: target.name.clone(),
        defense: target.defense.clone(),
        variance: online.variance,
        missing_scores: online.missing,
        pool: ids.len(),
        combined: lira::Attacks {
            loss: all(|target| target.loss)?,
            lira: all(|target| target.lira)?,
            lira_offline: all(|target| target.lira_offline)?,
            rmia: match measured.iter().any(|target| target.rmia.is_some()) {
                true => Some(all(|target| target.rmia)?),
                false => None,
            },
        },
        shadows: measured,
    }))
}

/// RMIA on one run, the others its references.
struct Relative {
    /// ln ratio of each image of the pool; nothing for the population, and where every other run saw the image.
    ln_ratios: Vec<Option<f64>>,
    /// What the losses were multiplied by.
    scale: f64,
    called: lira::Called,
}

impl Relative {
    /// `None` where the runs or the population are too few.
    fn new(
        phi: &[Vec<f64>],
        inside: &[Vec<bool>],
        target: usize,
        population: &[usize],
    ) -> Result<Option<Self>> {
        let found = rmia_scale(phi, inside, target).and_then(|scale| {
            let options = RmiaOptions {
                gamma: GAMMA,
                scale,
                marginal: Marginal::Offline { a: OFFLINE_A },
            };
            let found = rmia_pool_scores(phi, inside, target, population, options)?;
            Ok((scale, found))
        });
        let (scale, found) = match found {
            Ok(found) => found,
            // Too few, or runs that do not differ.
            Err(StatsError::TooFew { .. } | StatsError::OutOfRange { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Who beats all of the population has a share of 1.
        let (inner, outer) = known_sides(&found.scores, &inside[target]);
        let passing = |shares: &[f64]| shares.iter().filter(|&&share| share >= 1.0).count();
        Ok(Some(Self {
            called: lira::Called {
                members: passing(&inner),
                of_members: inner.len(),
                nonmembers: passing(&outer),
                of_nonmembers: outer.len(),
                population: found.population,
            },
            ln_ratios: found.ln_ratios,
            scale,
        }))
    }
}

/// RMIA's population for one run: the non-members that attacks which learn are told of, so that no attack of its report is judged on
/// them. Places in `ids`; none where nobody can be told of.
fn population(shadow: &Shadow, ids: &[String], inside: &[bool]) -> Vec<usize> {
    let keys: BTreeMap<String, String> = attack::labels(&shadow.images)
        .into_iter()
        .map(|label| (label.id.clone(), label.key()))
        .collect();
    let keys: Vec<String> = ids
        .iter()
        .map(|id| keys.get(id).unwrap_or(id).clone())
        .collect();
    let plan = &shadow.plan;
    let Ok(known) = Known::draw(&keys, inside, plan.audit.known_fraction, plan.seed) else {
        return Vec::new();
    };
    let told = known.rows().iter().zip(known.member());
    told.filter(|(_, member)| !**member)
        .map(|(&row, _)| row)
        .collect()
}

/// The scores that there are, of members and of others.
fn known_sides(scores: &[Option<f64>], inside: &[bool]) -> (Vec<f64>, Vec<f64>) {
    let (values, flags): (Vec<f64>, Vec<bool>) = scores
        .iter()
        .zip(inside)
        .filter_map(|(score, &member)| Some(((*score)?, member)))
        .unzip();
    sides(&values, &flags)
}

/// One attack over all runs.
fn combined(runs: &[Measured]) -> Result<Combined> {
    let list = |of: fn(&Measured) -> f64| runs.iter().map(of).collect::<Vec<_>>();
    let (aucs, tprs, errors) = (list(|m| m.auc), list(|m| m.tpr), list(|m| m.auc_se));
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    Ok(Combined {
        auc_mean: mean(&aucs),
        tpr_mean: mean(&tprs),
        auc: match aucs.len() {
            0 | 1 => None,
            _ => Some(combine_seeds(&aucs, &errors)?),
        },
        runs: aucs.len(),
    })
}

fn sides(values: &[f64], inside: &[bool]) -> (Vec<f64>, Vec<f64>) {
    let side = |member: bool| {
        let pairs = values.iter().zip(inside);
        pairs
            .filter(|(_, m)| **m == member)
            .map(|(v, _)| *v)
            .collect()
    };
    (side(true), side(false))
}

fn measure(members: &[f64], others: &[f64]) -> Result<Measured> {
    let auc = auc_interval(members, others, dualmd_stats::CONFIDENCE)?;
    let point = Roc::new(members, others)?.operating_point(FPR)?;
    Ok(Measured {
        auc: auc.auc,
        auc_ci: [auc.low, auc.high],
        auc_se: (auc.high - auc.low) / (2.0 * 1.96),
        tpr: point.tpr,
        fpr: FPR,
        n_members: members.len(),
        n_nonmembers: others.len(),
    })
}

fn phi_path(folder: &Path, target: &Target, index: usize) -> PathBuf {
    folder
        .join("phi")
        .join(&target.name)
        .join(format!("shadow-{index:03}.csv"))
}

/// Minus the loss of one shadow's model on every image of the pool, from its file if it is there.
fn statistic(
    shadow: &Shadow,
    target: &Target,
    (index, runs): (usize, usize),
    session: &Session,
    folder: &Path,
) -> Result<Vec<ScoreRow>> {
    let (engine, began) = (&session.engine, Instant::now());
    let path = phi_path(folder, target, index);
    if path.exists() {
        return Ok(read_scores(&path)?.rows);
    }
    let Shadow {
        run, plan, images, ..
    } = shadow;
    let parts: Vec<PathBuf> = target.parts.iter().map(|p| run.model(p)).collect();
    let generator = Generator::open(&parts, weight_set(plan.audit.weights), engine)?;
    let s = &images.selected;
    let positions: Vec<usize> = s.members.iter().chain(&s.nonmembers).copied().collect();
    let id = |i: usize| images.set().records[i].id.as_str().to_owned();
    let samples = Samples::new(
        images.tensor(&positions, Device::Cpu)?,
        positions.iter().map(|&i| id(i)).collect(),
    )?;
    let method = if plan.train.flip {
        by_name(&format!("loss@{}+flip", STATISTIC.t))?
    } else {
        Method::from(STATISTIC)
    };
    let outcome = dualmd_attack::run(
        generator.first(),
        generator.first().schedule(),
        &samples,
        &[method],
        RunOptions {
            batch: plan.audit.batch,
            // The same noise in all shadows, or the spread between models would be that of the noise.
            seed: 0,
            device: engine.device,
            others: Others::default(),
            known: None,
            shadow: None,
            parts: None,
            progress: &mut |done, total| {
                let event = ProgressEvent::images(&target.name, done, total, began);
                session.reporter.progress(&ProgressEvent {
                    step: (index * total + done) as u64,
                    total: (runs * total) as u64,
                    ..event.of(Work::Attack).doing(TASK)
                });
            },
            stop: &|| false,
        },
    )?;
    let result = outcome.results.into_iter().next().context("no result")?;
    let scores = result
        .scores
        .map_err(|reason| anyhow!("{}: {reason}", run.model(&target.name).display()))?;
    let rows: Vec<ScoreRow> = positions
        .iter()
        .zip(scores)
        .enumerate()
        .map(|(place, (&i, score))| ScoreRow {
            sample_id: id(i),
            name: None,
            group: None,
            member: place < s.members.len(),
            attack: BaseAttack::Loss.name().into(),
            score,
        })
        .collect();
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    write_scores(&path, &rows)?;
    Ok(rows)
}

/// What stands in a target's score file and description of one attack.
struct Appended<'a> {
    attack: BaseAttack,
    /// Runs, the target among them.
    models: usize,
    title: &'static str,
    paper: &'static str,
    formula: &'static str,
    misses: &'static str,
    /// Of the images of the pool.
    scores: &'a [Option<f64>],
    parameters: AttackParameters,
}

/// Adds scores to a target's score file and description, so that its report has them beside the other attacks.
fn append(
    shadow: &Shadow,
    target: &Target,
    ids: &[String],
    inside: &[bool],
    appended: Vec<Appended<'_>>,
) -> Result<()> {
    let orientations = if shadow.plan.train.flip { 2 } else { 1 };
    let (csv, json_path) = (
        shadow.run.scores(&target.name, "csv"),
        shadow.run.scores(&target.name, "json"),
    );
    let mut rows = read_scores(&csv)?.rows;
    let mut description: Scores = dualmd_record::read(&json_path)?;
    let known: BTreeMap<String, (Option<String>, Option<String>)> = rows
        .iter()
        .map(|r| (r.sample_id.clone(), (r.name.clone(), r.group.clone())))
        .collect();
    for one in appended {
        let name = one.attack.name();
        rows.retain(|row| row.attack != name);
        rows.extend(
            ids.iter()
                .zip(inside)
                .zip(one.scores)
                .filter_map(|((id, &member), score)| {
                    let (name_there, group) = known.get(id).cloned().unwrap_or_default();
                    Some(ScoreRow {
                        sample_id: id.clone(),
                        name: name_there,
                        group,
                        member,
                        attack: name.to_owned(),
                        score: (*score)?,
                    })
                }),
        );
        description.attacks.retain(|a| a.attack != name);
        description.attacks.push(ScoredAttack {
            attack: name.to_owned(),
            title: Some(one.title.to_owned()),
            paper: Some(one.paper.to_owned()),
            access: Some(Access::WhiteBox.name().to_owned()),
            network_calls_per_sample: Some((STATISTIC.draws * one.models * orientations).into()),
            formula: Some(one.formula.to_owned()),
            misses: Some(one.misses.to_owned()),
            status: Some(OK.to_owned()),
            parameters: Some(one.parameters),
            ..ScoredAttack::default()
        });
    }
    score::write(&csv, &json_path, &rows, &description)
}

//! `dualmd lira`: the likelihood-ratio attack with the whole pipeline as the shadow.
//!
//! N runs of one experiment, each on its own coin-flip half of one pool of images, serve as one another's shadows
//! (`dualmd_stats::lira`). What is defended is a pipeline, so what is repeated is the pipeline: a DistillMD student's shadow is a
//! split, two teachers and a student.

use crate::args::{Global, LiraArgs};
use crate::bail_usage;
use crate::choices::{Dtype, SplitMethod};
use crate::engine::Engine;
use crate::experiment::Experiment;
use crate::plan::{Plan, Target};
use crate::progress::{Progress, View, duration};
use crate::stages::held::Held;
use crate::stages::prepare::{self, Images};
use crate::stages::sample::{self, Generator};
use crate::stages::{RunFolder, attack, create_folder, score, train, trainings};
use crate::{machine, signals};
use anyhow::{Context, Result, anyhow, bail};
use dualmd_attack::{Access, Loss, Method, Others, RunOptions, Samples, by_name};
use dualmd_audit::{ScoreRow, read_scores, write_scores};
use dualmd_data::{Method as SplitKind, Split};
use dualmd_names::{BaseAttack, ModelKind, Needs};
use dualmd_record::lira::{self, Combined, Lira, LiraResult, Measured, Statistic};
use dualmd_record::scores::{OK, ScoredAttack, Scores};
use dualmd_stats::{
    LiraVariance, Roc, auc_interval, combine_seeds, lira_offline_scores, lira_scores,
};
use dualmd_torch::Device;
use dualmd_torch::device::Precision;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Timestep and draws of the statistic: Carlini et al. 2023 (arXiv 2301.13188) take a loss near t = 100, averaged over draws.
const STATISTIC: Loss = Loss { t: 100, draws: 8 };
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

/// Trains the shadows, attacks, and writes `lira.json`, `lira.csv` and the reports of the targets.
pub fn lira(global: &Global, args: &LiraArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let sets: Vec<String> = args.set.iter().cloned().chain(global.sets()).collect();
    let experiment = Experiment::load(&args.source()?, &sets)?;
    // A small network gains more from a core of its own than from a second thread, and there are many to train.
    let engine = Engine::new(global, experiment.train.dtype, 1)?;
    let stop = signals::stop_flag()?;
    let folder = args.out();
    let _held = Held::folder(&folder, &["phi"])?;
    let shadows = prepare_shadows(&experiment, args, &engine, &folder)?;
    let jobs = jobs(args, &shadows[0].plan, &engine);
    if !global.quiet {
        tell!("{}", shadows[0].plan.describe().trim_end());
        tell!(
            "  shadows   {} runs like this one on coin-flip halves of {} images, {jobs} at a time",
            shadows.len(),
            shadows[0].images.selected.members.len() + shadows[0].images.selected.nonmembers.len()
        );
    }
    let stopped = || Ok(signals::stopped(&folder));
    if !train_all(&shadows, jobs, &engine, global.quiet, &stop)? {
        return stopped();
    }
    // As in a run: attacks compare small differences.
    let exact = Engine {
        threads: machine::cores(),
        precision: match global.dtype {
            Some(Dtype::Bf16) => engine.precision,
            _ => Precision::F32,
        },
        ..engine
    };
    dualmd_torch::device::set_threads(machine::cores());
    let targets: Vec<Target> = shadows[0]
        .plan
        .models
        .iter()
        .filter(|t| t.parts.len() == 1 && t.defense != ModelKind::Part)
        .cloned()
        .collect();
    let view = train::view(global.quiet, global.log_format);
    for shadow in &shadows[..args.targets.min(shadows.len())] {
        let Shadow {
            run, plan, images, ..
        } = shadow;
        if !sample::all(run, plan, images, &exact, view, &stop)?
            || !attack::all(run, plan, images, None, &exact, view, &stop)?
        {
            return stopped();
        }
    }
    let mut results = Vec::new();
    for target in &targets {
        let Some(result) = attack_target(target, &shadows, args, &exact, &folder, view, &stop)?
        else {
            return stopped();
        };
        results.push(result);
    }
    let found = Lira {
        command: super::run::command_line(),
        models: shadows.len(),
        targets: args.targets,
        statistic: Statistic {
            attack: BaseAttack::Loss.name().to_owned(),
            t: STATISTIC.t,
            draws: STATISTIC.draws,
            flip: experiment.train.flip,
        },
        results,
    };
    dualmd_record::write(&folder.join("lira.json"), &found)?;
    for shadow in &shadows[..args.targets.min(shadows.len())] {
        super::report::write(&shadow.run.0)?;
    }
    print_table(&found.results, shadows.len())?;
    if !global.quiet {
        tell!("all in {}", duration(began.elapsed()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Folders, splits and plans of all shadows. The pool is the same in all of them; who is a member is a coin of each.
fn prepare_shadows(
    experiment: &Experiment,
    args: &LiraArgs,
    engine: &Engine,
    folder: &Path,
) -> Result<Vec<Shadow>> {
    if experiment.is_text() {
        bail_usage!(
            "LiRA's statistic here is the loss of models that are told no text; text-to-image models cannot be repeated yet"
        );
    }
    let data = &experiment.data;
    let wanted = args.pool.unwrap_or(2 * data.members);
    let (set, _) = prepare::read(data)?;
    let groups = prepare::group(&set, data.near_duplicates);
    let half = (wanted / 2).next_multiple_of(2);
    let whole = Split::half(&set, &groups, half, Some(wanted - half), experiment.seed)?;
    let pool = prepare::pool(&set, &whole)?;
    let pool_groups = prepare::group(&pool, data.near_duplicates);
    let mut shadows = Vec::new();
    for index in 0..args.models {
        let mut own = experiment.clone();
        own.seed = crate::plan::training_seed(experiment.seed, index as u64, "lira shadow");
        own.data.method = SplitMethod::CoinFlip;
        (own.data.members, own.data.nonmembers) = (half, wanted - half);
        own.resolve_epochs();
        // The other models of the repetition are the shadows here.
        own.audit.attacks.retain(|a| a.needs() != Needs::Shadow);
        if index >= args.targets {
            // Only targets are attacked, so only they need a model to compare with.
            own.audit.attacks.retain(|a| a.needs() != Needs::Reference);
        }
        let run = RunFolder(folder.join(format!("shadow-{index:03}")));
        let held = Held::run(&run.0)?;
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
            Split::coin_flip(&pool, &pool_groups, own.seed, 0.5)?.save(&run.split())?;
        }
        let (plan, images) = prepare::prepare(&own, &run, engine, super::run::command_line())
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
fn jobs(args: &LiraArgs, plan: &Plan, engine: &Engine) -> usize {
    if let Some(jobs) = args.jobs {
        return jobs;
    }
    let each = plan.hardware.parallel_models * plan.hardware.threads_per_model;
    match engine.device {
        Device::Cuda(_) => 1,
        _ => (machine::cores() / each.max(1)).max(1),
    }
}

/// Trains all shadows, `jobs` at a time. False if asked to stop before the end.
fn train_all(
    shadows: &[Shadow],
    jobs: usize,
    engine: &Engine,
    quiet: bool,
    stop: &AtomicBool,
) -> Result<bool> {
    let next = AtomicUsize::new(0);
    let finished = AtomicUsize::new(0);
    let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(shadows.len()) {
            scope.spawn(|| {
                while let Some(shadow) = shadows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let quiet_view = View::Silent;
                    match trainings::all(&shadow.run, &shadow.plan, engine, quiet_view, stop) {
                        Ok(true) => {
                            let n = finished.fetch_add(1, Ordering::Relaxed) + 1;
                            if !quiet {
                                tell!(
                                    "shadow {n} of {} trained, {}",
                                    shadows.len(),
                                    duration(began.elapsed())
                                );
                            }
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
    args: &LiraArgs,
    engine: &Engine,
    folder: &Path,
    view: View,
    stop: &AtomicBool,
) -> Result<Option<LiraResult>> {
    let mut progress = Progress::new(view);
    // Samples in the order of their ids: the same for all shadows.
    let mut ids: Vec<String> = Vec::new();
    let (mut phi, mut inside) = (Vec::new(), Vec::new());
    for (index, shadow) in shadows.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let rows = statistic(shadow, target, index, engine, folder)?;
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
    let mut measured = Vec::new();
    for index in 0..shadows.len() {
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
        });
    }
    for (index, shadow) in shadows.iter().enumerate().take(args.targets) {
        let scores = [
            (
                BaseAttack::Lira,
                "LiRA (likelihood ratio against shadow runs)",
                &online.scores[index],
            ),
            (
                BaseAttack::LiraOffline,
                "LiRA, offline",
                &offline.scores[index],
            ),
        ];
        append(shadow, target, &ids, &inside[index], shadows.len(), &scores)?;
    }
    progress.finish(&target.name, "attacked by LiRA");
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
        },
        shadows: measured,
    }))
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
    index: usize,
    engine: &Engine,
    folder: &Path,
) -> Result<Vec<ScoreRow>> {
    let path = phi_path(folder, target, index);
    if path.exists() {
        return Ok(read_scores(&path)?.rows);
    }
    let Shadow {
        run, plan, images, ..
    } = shadow;
    let parts: Vec<PathBuf> = target.parts.iter().map(|p| run.model(p)).collect();
    let generator = Generator::open(&parts, attack::weight_set(plan.audit.weights), engine)?;
    let s = &images.selected;
    let positions: Vec<usize> = s.members.iter().chain(&s.nonmembers).copied().collect();
    let id = |i: usize| images.set.records[i].id.as_str().to_owned();
    let samples = Samples::new(
        images.tensor(&positions, Device::Cpu),
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
            progress: &mut |_, _| {},
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

/// What LiRA's statistic is made of, for a report.
#[derive(Serialize)]
struct Parameters {
    t: i64,
    draws: usize,
    /// Runs, the target among them.
    models: usize,
}

/// Adds LiRA's scores to a target's score file and description, so that its report has them beside the other attacks.
fn append(
    shadow: &Shadow,
    target: &Target,
    ids: &[String],
    inside: &[bool],
    models: usize,
    scores: &[(BaseAttack, &str, &Vec<Option<f64>>)],
) -> Result<()> {
    let orientations = if shadow.plan.train.flip { 2 } else { 1 };
    let (csv, json_path) = (
        shadow.run.scores(&target.name, "csv"),
        shadow.run.scores(&target.name, "json"),
    );
    let mut rows = read_scores(&csv)?.rows;
    let mut description: Scores = dualmd_record::read(&json_path)?;
    let groups: BTreeMap<String, Option<String>> = rows
        .iter()
        .map(|r| (r.sample_id.clone(), r.group.clone()))
        .collect();
    for (attack, title, values) in scores {
        let name = attack.name();
        rows.retain(|row| row.attack != name);
        rows.extend(ids.iter().zip(inside).zip(values.iter()).filter_map(
            |((id, &member), score)| {
                Some(ScoreRow {
                    sample_id: id.clone(),
                    group: groups.get(id).cloned().flatten(),
                    member,
                    attack: name.to_owned(),
                    score: (*score)?,
                })
            },
        ));
        description.attacks.retain(|a| a.attack != name);
        description.attacks.push(ScoredAttack {
            attack: name.to_owned(),
            title: Some((*title).to_owned()),
            paper: Some("Carlini et al. 2022, arXiv 2112.03570".into()),
            access: Some(Access::WhiteBox.name().to_owned()),
            network_calls_per_sample: Some((STATISTIC.draws * models * orientations).into()),
            formula: Some("log N(phi; in) - log N(phi; out), phi = -loss, fitted over the other runs (offline: (phi - mean out) / sd out)".into()),
            misses: Some("knows the pool and the recipe; needs many runs for a spread of each image's own".into()),
            status: Some(OK.to_owned()),
            parameters: serde_json::to_value(Parameters {
                t: STATISTIC.t,
                draws: STATISTIC.draws,
                models,
            })?,
            ..ScoredAttack::default()
        });
    }
    score::write(&csv, &json_path, &rows, &description)
}

fn print_table(results: &[LiraResult], models: usize) -> Result<()> {
    outln!(
        "mean over {models} runs, each the target of the others; TPR at {:.0} % false alarms",
        100.0 * FPR
    )?;
    outln!("{:<14} {:<13} {:>6} {:>6}", "model", "attack", "AUC", "TPR")?;
    for LiraResult {
        model, combined, ..
    } in results
    {
        let attacks = [
            (BaseAttack::Loss, &combined.loss),
            (BaseAttack::LiraOffline, &combined.lira_offline),
            (BaseAttack::Lira, &combined.lira),
        ];
        for (attack, c) in attacks {
            let attack = attack.name();
            outln!(
                "{model:<14} {attack:<13} {:>6.3} {:>6.3}",
                c.auc_mean,
                c.tpr_mean
            )?;
        }
    }
    Ok(())
}

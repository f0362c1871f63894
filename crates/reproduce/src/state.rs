//! What is in the folders of a study: which runs are finished, whether they are the ones that are asked for, what is to do.

use super::estimate::{self, Work};
use super::study::{Planned, Study};
use anyhow::{Context, Result, bail};
use dualmd::Session;
use dualmd::experiment::{Data, Experiment, epochs};
use dualmd::plan::{Context as PlanContext, DataFacts, NetworkFacts, Plan, grouped};
use dualmd::reporter::duration;
use dualmd::stages::prepare;
use dualmd_data::{Method, Split};
use dualmd_names::Defense;
use std::collections::BTreeSet;
use std::time::Duration;

impl Study {
    /// What [`Study::run`] would do, for people.
    ///
    /// # Errors
    /// An experiment that cannot be planned.
    pub fn describe(&self) -> Result<String> {
        let mut out = String::new();
        let (mut left, mut all) = (0, 0);
        for set in self.asked() {
            out.push_str(&format!("{} ({})\n", set.dataset.name, set.title()));
            for planned in &set.runs {
                let (plan, state) = (outline(planned)?, state(planned));
                let steps: u64 = plan
                    .trainings
                    .iter()
                    .map(|job| job.train.as_ref().map_or(plan.train.steps, |t| t.steps))
                    .sum();
                left += usize::from(state != FINISHED);
                if !planned.report().exists() {
                    all += steps;
                }
                let epochs = plan.epochs.map_or(String::new(), |e| {
                    format!(", {} epochs over all members", epochs::text(e))
                });
                out.push_str(&format!(
                    "  {}: {state}; {} members, {} others; {} trainings, {steps} steps of {} images{epochs}; {} models sampled ({} images each) and attacked ({} attacks)\n",
                    planned.folder.0.display(),
                    plan.data.members,
                    plan.data.nonmembers,
                    plan.trainings.len(),
                    plan.train.batch,
                    plan.models.len(),
                    match planned.experiment.is_text() {
                        true => plan.sample.per_prompt * (plan.data.members + plan.data.nonmembers),
                        false => plan.sample.n,
                    },
                    plan.models.iter().map(|m| m.attacks.len()).max().unwrap_or(0),
                ));
            }
        }
        out.push_str(&format!(
            "{left} of {} runs to do, {} training steps\n",
            self.asked().map(|d| d.runs.len()).sum::<usize>(),
            grouped(all)
        ));
        Ok(out)
    }

    /// Looks at the images and measures this machine: to `out` goes what there is and about how long the runs that are to do take;
    /// what would stop the study is returned, all of it at once.
    ///
    /// # Errors
    /// An experiment that cannot be planned; a network that cannot be built.
    pub fn foresee(&self, out: &mut String, session: &Session) -> Result<Vec<String>> {
        let mut problems: Vec<String> = Vec::new();
        let mut every = [0.0; 3];
        for (runs, found) in self.look(&|planned| outline(planned)) {
            let name = runs.dataset.name;
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    problems.push(format!("{name}: {error:#}"));
                    continue;
                }
            };
            for line in found.lines {
                out.push_str(&format!("{name}: {line}\n"));
            }
            let Some(first) = runs.runs.first().filter(|_| found.problems.is_empty()) else {
                problems.extend(found.problems.into_iter().map(|p| format!("{name}: {p}")));
                continue;
            };
            // The same set at other lengths of training, or its other models, too.
            let own = self.asked().filter(|r| r.dataset.name == name);
            let mut work = Work::default();
            let mut plans = Vec::new();
            for planned in own.flat_map(|r| &r.runs).filter(|p| !p.report().exists()) {
                let plan = outline(planned)?;
                work = work.and(estimate::work(&plan, found.captions));
                plans.push(plan);
            }
            let Some(plan) = plans.first() else {
                continue;
            };
            let speed = estimate::measure(&first.experiment, found.shape, session)?;
            for (sum, own) in every.iter_mut().zip(work.seconds(&speed)) {
                *sum += own;
            }
            for line in estimate::describe(name, &work, &speed, plan) {
                out.push_str(&format!("{line}\n"));
            }
        }
        let total: f64 = every.iter().sum();
        if total > 0.0 {
            out.push_str(&format!(
                "in all about {} on this machine, an estimate\n",
                duration(Duration::from_secs_f64(total.min(1e9)))
            ));
        }
        Ok(problems)
    }
}

const FINISHED: &str = "finished";
const TO_DO: &str = "to do";

/// The experiment of a finished run with the attacks that are asked for now, if its report lacks one of them; `None` if it does
/// not. (Its plan names them from the moment that somebody asked, whatever came of it.)
///
/// # Errors
/// A plan or a report that cannot be read.
pub fn with_more_attacks(planned: &Planned) -> Result<Option<Experiment>> {
    let path = planned.report();
    let report = dualmd_audit::read(&path).with_context(|| {
        format!(
            "{} is damaged: remove it, and it is made again",
            path.display()
        )
    })?;
    let results = report.models.iter().flat_map(|m| &m.results);
    let found: BTreeSet<&str> = results.map(|r| r.attack.as_str()).collect();
    let asked = outline(planned)?.models.into_iter().flat_map(|m| m.attacks);
    if asked
        .into_iter()
        .all(|attack| found.contains(attack.to_string().as_str()))
    {
        return Ok(None);
    }
    let path = planned.folder.plan();
    let plan = Plan::load(&path)?;
    let mut own = Experiment::parse(&plan.experiment_toml, &path.display().to_string(), &[])?;
    for attack in &planned.experiment.audit.attacks {
        if !own.audit.attacks.contains(attack) {
            own.audit.attacks.push(attack.clone());
        }
    }
    Ok(Some(own))
}

fn state(planned: &Planned) -> &'static str {
    if planned.report().exists() {
        let models = planned.folder.0.join("models").is_dir();
        match with_more_attacks(planned) {
            Ok(Some(_)) if models => "finished but for some attacks",
            _ => FINISHED,
        }
    } else if planned.folder.plan().exists() {
        "begun"
    } else {
        TO_DO
    }
}

/// Is the finished run the one that is asked for? Attacks and the use of the machine may differ, and it may have more models.
pub fn same_experiment(planned: &Planned) -> Result<()> {
    let path = planned.folder.plan();
    let plan = Plan::load(&path)?;
    // Lengths are compared in steps, however they were given.
    let mut before =
        Experiment::parse(&plan.experiment_toml, &path.display().to_string(), &[])?.in_steps()?;
    let now = &planned.experiment.in_steps()?;
    // Images that have moved are the same images. They are read only where they have.
    let data = &plan.data;
    if before.data.source != now.data.source && same_content(&data.content, now.data.clone())? {
        before.data.source.clone_from(&now.data.source);
    }
    if let (Some(old), Some(new)) = (&mut before.pretrain, &now.pretrain)
        && old.source != new.source
    {
        let images = Data {
            source: new.source.clone(),
            captions: None,
            ..now.data.clone()
        };
        if same_content(&data.pretrain_content, images)? {
            old.source.clone_from(&new.source);
        }
    }
    // These change no result.
    before.train.checkpoint_every = now.train.checkpoint_every;
    before.train.keep_checkpoints = now.train.keep_checkpoints;
    before.train.log_every = now.train.log_every;
    // Only early stopping looks at what is measured meanwhile.
    if now
        .models
        .iter()
        .all(|m| m.defense != Defense::EarlyStopping)
    {
        before.train.eval_every = now.train.eval_every;
    }
    let sizes = |e: &Experiment| {
        let s = &e.sample;
        let guidance = (s.guidance, s.guidance_from, s.early_guidance);
        (s.n, s.sampler, s.steps, s.order, guidance, s.per_prompt)
    };
    let differs = [
        ("seed", before.seed != now.seed),
        ("[data]", before.data != now.data),
        ("[model]", before.model != now.model),
        ("[pretrain]", before.pretrain != now.pretrain),
        ("audit.weights", before.audit.weights != now.audit.weights),
        ("train.steps", before.train.steps != now.train.steps),
        ("[train]", before.train != now.train),
        ("[distill]", before.distill != now.distill),
        ("[sample]", sizes(&before) != sizes(now)),
        (
            "[[models]]",
            now.models.iter().any(|m| !before.models.contains(m)),
        ),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((what, _)) => bail!(
            "{} holds another experiment: {what} is not what is asked for now; ask for the same (--set, --data), or choose another folder (--out)",
            planned.folder.0.display()
        ),
    }
}

/// Are these the images that a plan noted the content of?
fn same_content(noted: &Option<String>, data: Data) -> Result<bool> {
    match noted {
        Some(noted) => Ok(prepare::content(&prepare::read(&data)?.0) == *noted),
        None => Ok(false),
    }
}

/// A split that was drawn here is not passed off as the one of `--split`.
pub fn imported_or_none(planned: &Planned) -> Result<()> {
    let path = planned.folder.split();
    if path.exists() && Split::load(&path)?.method() != Method::Import {
        bail!(
            "{} was drawn here, and not from the file of --split: choose another folder (--out), or leave --split out",
            path.display()
        );
    }
    Ok(())
}

/// The plan of a run whose images were not read: sizes are those that the experiment asks for.
fn outline(planned: &Planned) -> Result<Plan> {
    let e = &planned.experiment;
    let data = DataFacts {
        source: e.data.source.clone(),
        image_size: e.data.image_size,
        channels: e.data.channels.unwrap_or(1),
        records: e.data.members + e.data.nonmembers,
        members: e.data.members,
        nonmembers: e.data.nonmembers,
        d1: e.data.members / 2,
        d2: e.data.members / 2,
        ..DataFacts::default()
    };
    let context = PlanContext {
        cores: 1,
        device: "cpu".into(),
        dtype: "f32".into(),
        data,
        network: NetworkFacts {
            text: e.is_text(),
            preset: e.model.preset.clone(),
            ..NetworkFacts::default()
        },
        ..PlanContext::default()
    };
    Plan::resolve(e, &context).with_context(|| format!("planning {}", planned.folder.0.display()))
}

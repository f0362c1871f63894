//! The trainings of a run as jobs that any number of processes share ([`crate::work()`]): which there are and how each stands.
//!
//! A folder holds one run, or several: those of several seeds, or of a repetition (`dualmd lira`). The shadow of a run is one more.

use crate::bail_usage;
use crate::plan::{Job as Training, Plan};
use crate::stages::train::finished;
use crate::stages::{RunFolder, claims, prepared, shadow};
use anyhow::Result;
use dualmd_files::shown;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// How the folders of runs begin that lie in one folder.
const RUNS: [&str; 2] = ["seed-", "shadow-"];
/// The claim on preparing a run's shadow: no model's name begins with a dot.
pub(crate) const PREPARING: &str = ".shadow";
/// What stands for a training where a shadow is to be prepared.
const PREPARE: &str = "(prepare)";

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// The model is trained.
    Done,
    /// A process has claimed it.
    AtWork {
        /// The process, HOST:PID.
        by: String,
        /// When it began, by its machine's clock.
        since: Option<String>,
        /// It died on this machine: whoever looks for work takes the job over.
        died: bool,
    },
    /// Other models must be trained before.
    Waiting {
        /// Which.
        needs: Vec<String>,
    },
    /// It failed, and is not tried again until [`RunFolder::failed`] is deleted.
    Failed {
        /// Why, when, where.
        reason: String,
    },
    /// Whoever looks for work can take it.
    Free,
}

/// In words.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::AtWork { by, died: true, .. } => write!(f, "free: {by} had it, and died"),
            Self::AtWork { by, since, .. } => {
                write!(f, "at work by {by}")?;
                match since {
                    Some(since) => write!(f, " since {}", shown(since)),
                    None => Ok(()),
                }
            }
            Self::Waiting { needs } => write!(f, "waiting for {}", needs.join(", ")),
            Self::Failed { reason } => {
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                write!(f, "failed: {}", reason.replace('\n', "\n    "))
            }
            Self::Free => f.write_str("free"),
        }
    }
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// The run's folder, as seen from the folder that was asked about; empty of that itself.
    pub run: PathBuf,
    /// The model, or `(prepare)` where the plan of a shadow has to wait for the base that its models start from.
    pub model: String,
    /// How it stands.
    #[serde(flatten)]
    pub state: State,
}

impl Job {
    /// The run and the model.
    pub fn name(&self) -> String {
        shown(&self.run.join(&self.model)).to_string()
    }
}

/// A run whose trainings are shared.
#[derive(Debug)]
pub(crate) struct Site {
    /// As seen from the folder of all.
    pub place: PathBuf,
    pub run: RunFolder,
    pub plan: Plan,
    /// It has a shadow that is not prepared yet.
    pub shadow_to_come: bool,
    done: BTreeSet<String>,
}

impl Site {
    fn open(folder: &Path, place: PathBuf) -> Result<Self> {
        let run = RunFolder(match place.as_os_str().is_empty() {
            true => folder.to_path_buf(),
            false => folder.join(&place),
        });
        let plan = Plan::load(&run.plan())?;
        Ok(Self {
            shadow_to_come: shadow::asked(&plan),
            place,
            run,
            plan,
            done: BTreeSet::new(),
        })
    }

    /// Its shadow, which is prepared.
    pub fn shadow(&self, folder: &Path) -> Result<Self> {
        Self::open(folder, self.place.join(crate::plan::SHADOW))
    }

    /// Is the model trained, and may somebody try if it is not?
    pub fn is_open(&self, name: &str) -> Result<bool> {
        Ok(!finished(&self.run, &self.plan, name)? && claims::failure(&self.run, name)?.is_none())
    }

    /// How its trainings stand, in the order of the plan.
    pub fn states(&mut self) -> Result<Vec<(String, State)>> {
        for Training { name, .. } in &self.plan.trainings {
            if !self.done.contains(name) && finished(&self.run, &self.plan, name)? {
                self.done.insert(name.clone());
            }
        }
        let all = self.plan.trainings.iter();
        all.map(|job| Ok((job.name.clone(), self.state(job)?)))
            .collect()
    }

    fn state(&self, job: &Training) -> Result<State> {
        if self.done.contains(&job.name) {
            return Ok(State::Done);
        }
        if let Some(reason) = claims::failure(&self.run, &job.name)? {
            return Ok(State::Failed { reason });
        }
        let needs = job.needs.iter().chain(&job.starts_from);
        let needs: Vec<String> = needs
            .filter(|need| !self.done.contains(*need))
            .cloned()
            .collect();
        if !needs.is_empty() {
            return Ok(State::Waiting { needs });
        }
        self.claimed(&job.name)
    }

    /// The state of what waits for nothing more, by its claim.
    fn claimed(&self, name: &str) -> Result<State> {
        Ok(match claims::seen(&self.run, name)? {
            Some(seen) => State::AtWork {
                by: seen.who(),
                died: seen.died_here(),
                since: seen.claimed.map(|claimed| claimed.since),
            },
            None => State::Free,
        })
    }

    /// Trainings that can run at once, if each takes as long as the others.
    fn width(&self) -> usize {
        let mut done: Vec<String> = self.done.iter().cloned().collect();
        let mut most = 0;
        loop {
            let next = self.plan.ready(&done, |_| false);
            let next: Vec<String> = next.map(|job| job.name.clone()).collect();
            if next.is_empty() {
                return most;
            }
            most = most.max(next.len());
            done.extend(next);
        }
    }
}

/// The runs in a folder, those of several before their shadows.
pub(crate) fn sites(folder: &Path) -> Result<Vec<Site>> {
    let mut places = Vec::new();
    if RunFolder(folder.to_path_buf()).plan().is_file() {
        places.push(PathBuf::new());
    } else if folder.is_dir() {
        for path in dualmd_files::list(folder)? {
            let Some(name) = path.file_name() else {
                continue;
            };
            let bytes = name.as_encoded_bytes();
            let is_run = RUNS.iter().any(|run| bytes.starts_with(run.as_bytes()));
            if is_run && path.is_dir() {
                places.push(PathBuf::from(name));
            }
        }
    }
    let ready = |place: &PathBuf| prepared::is_there(&RunFolder(folder.join(place)));
    if places.is_empty() || !places.iter().all(ready) {
        bail_usage!(
            "{} is not prepared: draw the split and write the plan first, with `dualmd run EXPERIMENT.toml --out {} --until split` (or `dualmd \
             lira ... --prepare`)",
            shown(folder),
            shown(folder)
        );
    }
    let open = |place| Site::open(folder, place);
    let mut sites: Vec<Site> = places.into_iter().map(open).collect::<Result<_>>()?;
    let mut shadows = Vec::new();
    for site in &mut sites {
        if site.shadow_to_come && prepared::is_there(&shadow::folder(&site.run)) {
            site.shadow_to_come = false;
            shadows.push(site.shadow(folder)?);
        }
    }
    sites.extend(shadows);
    Ok(sites)
}

/// All jobs of a folder and how they stand.
///
/// # Errors
/// A folder that is not prepared; files in it that cannot be read.
pub fn jobs(folder: &Path) -> Result<Vec<Job>> {
    let mut all = Vec::new();
    for mut site in sites(folder)? {
        for (model, state) in site.states()? {
            let run = site.place.clone();
            all.push(Job { run, model, state });
        }
        if site.shadow_to_come {
            let base = crate::plan::BASE.to_owned();
            all.push(Job {
                run: site.place.join(crate::plan::SHADOW),
                model: PREPARE.to_owned(),
                state: match shadow::can_be_prepared(&site.run, &site.plan)? {
                    true => site.claimed(PREPARING)?,
                    false => State::Waiting { needs: vec![base] },
                },
            });
        }
    }
    Ok(all)
}

/// A shell script that hands the trainings of a folder to Slurm: a job array whose tasks share them, and of one run a job after
/// that for what comes then.
///
/// # Errors
/// As [`jobs`]; the current folder is gone.
pub fn slurm(folder: &Path) -> Result<String> {
    let mut sites = sites(folder)?;
    let (mut tasks, mut cores) = (0, 1);
    for site in &mut sites {
        site.states()?;
        tasks += site.width();
        cores = cores.max(site.plan.hardware.threads_per_model);
    }
    let path = std::path::absolute(folder)?;
    let run = quoted(&path.to_string_lossy());
    let array = format!(
        "trainings=$(sbatch --parsable --job-name=dualmd-work --array=1-{} --requeue --signal=TERM@120 \"${{options[@]}}\" <<'END'\n\
         #!/bin/bash\nrun={run}\nsrun dualmd work \"$run\"\nEND\n)\n",
        tasks.max(1)
    );
    let one = sites.iter().any(|site| site.place.as_os_str().is_empty());
    let then = match one {
        true => format!(
            "# When all tasks have ended, also where some failed: this says which, and trains what lacks.\n\
             sbatch --job-name=dualmd-run --requeue --signal=TERM@120 --dependency=afterany:\"$trainings\" \"${{options[@]}}\" <<'END'\n\
             #!/bin/bash\nrun={run}\nsrun dualmd run --out \"$run\"\nEND\n"
        ),
        false => "echo \"trainings are job $trainings; then repeat the command that prepared this folder, without --until or --prepare\"\n".to_owned(),
    };
    Ok(format!(
        "#!/bin/bash\n\
         # Hands the trainings in this folder to Slurm. Call it where the run was prepared, with what your cluster asks for:\n\
         #   bash trainings.sh --partition=gpu --gpus-per-task=1 --time=12:00:00\n\
         set -euo pipefail\n\
         options=(--ntasks=1 --cpus-per-task={cores} \"$@\")\n{array}{then}"
    ))
}

/// A word of a shell's.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn a_job_says_its_state_beside_its_name() {
        let job = |state| Job {
            run: PathBuf::from("shadow"),
            model: "student".into(),
            state,
        };
        let waiting = State::Waiting {
            needs: vec!["teacher-1".into()],
        };
        assert_eq!(
            serde_json::to_value(job(waiting)).unwrap(),
            serde_json::json!({"run": "shadow", "model": "student", "state": "waiting", "needs": ["teacher-1"]})
        );
        let free = serde_json::to_value(job(State::Free)).unwrap();
        assert_eq!(free["state"], "free");
        assert_eq!(job(State::Done).name(), "shadow/student");
    }

    #[test]
    fn states_are_told_in_words() {
        let at_work = |died| State::AtWork {
            by: "node7:12".into(),
            since: Some("2026-11-30T00:00:00Z".into()),
            died,
        };
        let failed = State::Failed {
            reason: "error: no room\n  because: the disk is full".into(),
        };
        assert_eq!(
            [at_work(false), at_work(true), failed].map(|state| state.to_string()),
            [
                "at work by node7:12 since 2026-11-30T00:00:00Z",
                "free: node7:12 had it, and died",
                "failed: no room\n      because: the disk is full",
            ]
        );
    }

    #[test]
    fn a_folder_without_a_run_is_no_place_to_work() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [dir.path(), &dir.path().join("none")] {
            let error = jobs(folder).unwrap_err();
            assert_eq!(crate::errors::exit_code(&error), 2);
            let said = error.to_string();
            assert!(
                said.contains("not prepared") && said.contains("--until split"),
                "{said}"
            );
            assert!(slurm(folder).is_err());
        }
        assert!(!dir.path().join("none").exists());
    }
}

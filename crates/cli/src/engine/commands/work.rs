//! `dualmd work` and `dualmd jobs`: trainings that several processes share.

use crate::asked;
use crate::session::session;
use crate::signals;
use anyhow::Result;
use dualmd::work::{Left, Worked};
use dualmd_front::args::{Global, JobsArgs, WorkArgs};
use dualmd_front::{out, outln};
use std::process::ExitCode;

/// Trains models of a run beside other processes.
pub fn work(global: &Global, args: &WorkArgs) -> Result<ExitCode> {
    let session = session(global)?;
    let Worked { trained, left } = dualmd::work(&session, &asked::work(args))?;
    let how = match left {
        Left::Stopped => {
            return Ok(signals::stopped(&args.folder, session.reporter.as_ref()));
        }
        Left::Done => "every model is trained".to_owned(),
        Left::One => "one was asked for".to_owned(),
        Left::Others(others) => format!("others are at work on {}", others.join(", ")),
    };
    session.say(&format!("{} trained here; {how}", trained.len()));
    Ok(ExitCode::SUCCESS)
}

/// Prints the trainings of a run and how they stand, or a script that shares them.
pub fn jobs(args: &JobsArgs) -> Result<ExitCode> {
    if args.slurm {
        out!("{}", dualmd::slurm(&args.folder)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = dualmd::jobs(&args.folder)?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&jobs)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for job in &jobs {
        outln!("{:<20} {}", job.name(), job.state)?;
    }
    Ok(ExitCode::SUCCESS)
}

//! Job mode: several machines share one copy. `--plan` writes a job folder, `--run` copies one part of it,
//! and `--finish` completes the tree. Any scheduler may start these processes.
//!
//! There is no daemon and no protocol. The machines share only a file system with the source, the destination
//! and the job folder. So no step relies on locks, on clocks or on being the only process. Each step may be
//! repeated, run several times at once, or be killed at any moment.
//!
//! The workers copy each name as in a plain copy. `supply.rs` gives them the names of a part, where a plain
//! copy walks a tree.

mod auto;
mod balance;
mod branch;
mod facts;
mod finish;
mod folder;
mod lists;
mod manifest;
mod plan;
mod private;
mod ranged;
mod result;
mod roots;
mod run;
mod spool;
mod supply;
mod sweep;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod written;

use crate::context::Context;
use crate::error::Operation;
use crate::options::Options;
use crate::report::stats::Summary;
use crate::report::{Events, Log, Receivers};
use crate::session::{self, Outlook};
use crate::sys::stale::StaleRetry;
use crate::sys::{at, proc};
use crate::transfer::route::FsKind;
use crate::{Cancel, Console, CopyOptions, Error, Failure, Report};
use folder::Folder;
use manifest::Manifest;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;
use std::sync::Arc;
use written::Written;

#[derive(Debug)]
pub enum JobStep {
    /// `--plan=JOB --parts=N`.
    Plan(Plan),
    /// `--run=JOB`.
    Run {
        folder: OsString,
        /// `--part=K`, from 0, or `None` to take it from the environment.
        part: Option<u64>,
        /// The options of this run, to append to those of the plan.
        arguments: Vec<OsString>,
    },
    /// `--finish=JOB`.
    Finish { folder: OsString, arguments: Vec<OsString> },
}

#[derive(Debug)]
pub struct Plan {
    pub folder: OsString,
    pub parts: NonZeroU64,
    /// `--split-over`: files with more bytes are copied as byte ranges.
    pub split_over: Option<NonZeroU64>,
    pub options: Box<CopyOptions>,
    pub sources: Vec<OsString>,
    pub destination: OsString,
    /// The options that the other steps also use, as they would be typed.
    pub arguments: Vec<OsString>,
}

/// A job whose plan is complete, as a run or a finish works on it.
struct Job {
    ctx: Arc<Context>,
    folder: Folder,
    manifest: Manifest,
}

impl Job {
    /// Repeats an operation while changes by another machine may not be visible yet.
    fn retry<T>(&self, operation: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        self.ctx.run.stale_retry.operation(operation, Failure::reason)
    }
}

/// A step with its settled options, ready for [`perform`].
#[derive(Debug)]
pub struct Prepared {
    options: Options,
    task: StepTask,
}

#[derive(Debug)]
enum StepTask {
    Plan(Plan),
    /// Run a part, or finish the job if there is none.
    Work(Folder, Box<Manifest>, Option<u64>),
}

impl Prepared {
    pub fn operands(&self) -> (Vec<OsString>, OsString) {
        match &self.task {
            StepTask::Plan(plan) => (plan.sources.clone(), plan.destination.clone()),
            StepTask::Work(_, manifest, _) => {
                let (source, destination) = manifest.operands();
                (vec![source], destination)
            }
        }
    }
}

/// Reads the plan of a step and settles its options. `parse` parses the arguments that a plan holds. Fails if a plan
/// may not be made, does not exist or cannot be read, or has no such part.
pub fn prepare<E: From<Error>>(
    step: JobStep,
    console: &Console,
    parse: impl Fn(Vec<OsString>) -> Result<CopyOptions, E>,
) -> Result<Prepared, E> {
    let (path, part, arguments) = match step {
        JobStep::Plan(plan) => {
            let (options, warning) = plan.options.settled()?;
            if let Some(warning) = warning {
                console.message(&warning);
            }
            return match plan::refusal(&plan, &options) {
                Some(failure) => Err(Error::Unusable(failure).into()),
                // A plan copies nothing that could be synced.
                None => Ok(Prepared { options: Options { fsync: false, ..options }, task: StepTask::Plan(plan) }),
            };
        }
        JobStep::Run { folder, part, arguments } => (folder, Some(part), arguments),
        JobStep::Finish { folder, arguments } => (folder, None, arguments),
    };
    let (folder, manifest, part) = open(&path, part).map_err(Error::Unusable)?;
    let options = options(&manifest, arguments, parse)?;
    Ok(Prepared { options, task: StepTask::Work(folder, Box::new(manifest), part) })
}

/// Opens the folder of a job, and determines the part to run: `None` to finish, or perhaps a number to run.
fn open(path: &OsStr, part: Option<Option<u64>>) -> Result<(Folder, Manifest, Option<u64>), Failure> {
    let magic = at::fs_magic(path).map_err(|errno| Failure::new(Operation::Access, path).errno(errno))?;
    let (folder, manifest) = Folder::open(path.as_ref(), &stale_retry(&[magic]))?;
    let of_scheduler = || auto::part(|name| std::env::var_os(name));
    let part = part.map(|part| part.map_or_else(of_scheduler, Ok)).transpose()?;
    if let Some(part) = part.filter(|part| *part >= manifest.parts) {
        let last = (manifest.parts - 1).to_string();
        return Err(Failure::new(Operation::NoSuchPart, part.to_string()).and(folder.path()).and(last));
    }
    Ok((folder, manifest, part))
}

/// Performs a step and returns its report and the number of failures. Failures are printed, too.
pub fn perform(prepared: Prepared, console: &Console, log: Option<Log>, cancel: &Cancel) -> (Report, u64) {
    let Prepared { options, task } = prepared;
    let magics = match &task {
        StepTask::Plan(_) => Vec::new(),
        StepTask::Work(_, manifest, _) => manifest.magics(),
    };
    let written = Arc::new(Written::default());
    let (noted, earlier) = (Arc::clone(&written), Arc::clone(&written));
    let receivers = Receivers {
        console: Some(console.clone()),
        log,
        made: Some(Arc::new(move |_, made| noted.note(made.as_os_str()))),
        ..Receivers::default()
    };
    let outlook = Outlook {
        takes_long: true,
        are_many: true,
        stale_retry: stale_retry(&magics),
        made_earlier: Some(Arc::new(move |path| earlier.has_earlier(path))),
    };
    let events = Events::new(receivers, &options, cancel.flag());
    let ctx = session::context(options, events, outlook);
    let job = |folder, manifest: Box<Manifest>| Job { ctx: Arc::clone(&ctx), folder, manifest: *manifest };
    let answer = match task {
        StepTask::Plan(plan) => plan::plan(&ctx, &plan).map(|()| Summary::default()),
        StepTask::Work(folder, manifest, Some(part)) => run::run(&job(folder, manifest), part, &written),
        StepTask::Work(folder, manifest, None) => finish::finish(&job(folder, manifest)),
    };
    let summary = answer.unwrap_or_else(|failure| {
        ctx.events.fail(failure);
        Summary { failed: ctx.events.failures(), failures: ctx.events.kept_failures(), ..Summary::default() }
    });
    (Report::new(summary), ctx.events.failures())
}

/// Makes a retry budget for file systems of these types (`f_type` of statfs(2)).
fn stale_retry(magics: &[u64]) -> StaleRetry {
    StaleRetry::new(magics.iter().all(|magic| FsKind::from_magic(*magic).is_local()))
}

/// Returns the settled options: those of the plan, followed by those given to this step.
fn options<E: From<Error>>(
    manifest: &Manifest,
    arguments: Vec<OsString>,
    parse: impl Fn(Vec<OsString>) -> Result<CopyOptions, E>,
) -> Result<Options, E> {
    let operands = [manifest.source.path.clone(), manifest.destination.path.clone()];
    let all = [manifest.arguments.clone(), arguments, vec!["--".into()], operands.into()].concat();
    let (options, _) = parse(all)?.settled()?;
    // Other processes may write the same destination, so a name must appear only when its file is complete. With
    // preserved times, a repeated run can recognise complete files.
    let resume = options.preserve.timestamps;
    Ok(Options { atomic: true, resume, replace_other_kinds: true, ..options })
}

/// Returns the name of this machine, safe to use in a file name.
fn host() -> String {
    proc::host().replace('/', "_")
}

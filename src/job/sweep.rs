//! Removes the temporary files that killed runs left in the destination.
//!
//! A run creates a mark in the job folder when it begins, with its process and the serial number of its first
//! temporary name, and removes the mark when it ends. If no mark is left, there is nothing to look for.
//! Otherwise the directories of the marked parts are listed, and names made by the marked runs are removed.

use super::Job;
use super::branch::Branch;
use super::facts::Facts;
use super::lists::ListReader;
use crate::context::Context;
use crate::dir::Dir;
use crate::error::Operation;
use crate::report::{Failure, lock};
use crate::sys::at;
use crate::sys::interrupted::Bounded;
use crate::sys::stale::StaleRetry;
use crate::temporary;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub(super) struct Mark {
    name: String,
    path: PathBuf,
    file: Mutex<Bounded<File>>,
}

impl Mark {
    pub(super) fn set(job: &Job, part: u64) -> Result<Mark, Failure> {
        let name = format!("{part}-{}-{}-{}", super::host(), std::process::id(), temporary::first_serial());
        let file = job.retry(|| job.folder.running.create(&name))?;
        Ok(Mark { path: job.folder.running.path_of(&name), name, file: Mutex::new(file) })
    }

    /// Records a name that this run is about to make in the destination, if the name does not tell which
    /// process made it.
    pub(super) fn note(&self, name: &OsStr) -> Result<(), Failure> {
        let line = [name.as_bytes(), b"\n"].concat();
        lock(&self.file).write_all(&line).map_err(|error| Failure::io(Operation::Write, &self.path, &error))
    }

    /// Removes the mark: the run has ended and left nothing behind.
    pub(super) fn remove(self, job: &Job) {
        // A mark that stays only makes `--finish` look for files.
        let _ = job.folder.running.remove(&self.name);
    }
}

/// The names that unfinished runs of a part may have left.
#[derive(Default)]
struct Leftovers {
    /// Each process and the serial number of its first temporary name.
    processes: Vec<(u32, u64)>,
    /// Range files, published or not.
    names: HashSet<OsString>,
}

impl Leftovers {
    fn has(&self, name: &OsStr) -> bool {
        let made_by = |(process, first): &(u32, u64)| temporary::is_made_by(name, *process, *first);
        self.names.contains(name) || self.processes.iter().any(made_by)
    }
}

/// Removes the files of runs that have not ended, except names in `kept`.
pub(super) fn sweep(job: &Job, kept: &HashSet<OsString>) -> Result<(), Failure> {
    let running = &job.folder.running;
    let marks = running.names()?;
    let mut parts: BTreeMap<u64, Leftovers> = BTreeMap::new();
    for mark in &marks {
        let Some((part, process, first_serial)) = parse(mark) else { continue };
        let leftovers = parts.entry(part).or_default();
        leftovers.processes.push((process, first_serial));
        let Some(file) = running.read(mark, &StaleRetry::default())? else { continue };
        let names = BufReader::new(file).split(b'\n').map_while(Result::ok).map(OsString::from_vec);
        leftovers.names.extend(names.filter(|name| !kept.contains(name)));
    }
    for (part, leftovers) in &parts {
        sweep_part(job, *part, leftovers)?;
    }
    marks.iter().try_for_each(|mark| running.remove(mark))
}

/// Parses the name of a mark: the part, the process, and the serial number of its first temporary name.
fn parse(mark: &str) -> Option<(u64, u32, u64)> {
    let (part, rest) = mark.split_once('-')?;
    let (rest, first_serial) = rest.rsplit_once('-')?;
    let (_, process) = rest.rsplit_once('-')?;
    Some((part.parse().ok()?, process.parse().ok()?, first_serial.parse().ok()?))
}

fn sweep_part(job: &Job, part: u64, leftovers: &Leftovers) -> Result<(), Failure> {
    let mut branch = Branch::new(job, None)?;
    let mut last: Option<Arc<Dir>> = None;
    for found in ListReader::<Facts>::open(&job.folder.parts, &part.to_string(), &job.ctx.run.stale_retry)? {
        let (path, _) = found?;
        // Report only failures to remove a file, not directories that cannot be opened.
        let Ok((dir, _)) = branch.parent_of(&path) else { continue };
        if last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, dir)) {
            let dir = Arc::clone(dir);
            sweep_directory(&job.ctx, &dir, leftovers);
            last = Some(dir);
        }
    }
    Ok(())
}

fn sweep_directory(ctx: &Context, dir: &Arc<Dir>, leftovers: &Leftovers) {
    let Ok(fds) = dir.fds(ctx) else { return };
    let Ok(names) = at::names(&fds.dst, OsStr::new(".")) else { return };
    for name in names.iter().filter(|name| leftovers.has(name)) {
        if let Err(errno) = at::unlink(&fds.dst, name) {
            ctx.events.fail(Failure::new(Operation::Remove, dir.destination_path(name)).errno(errno));
        }
    }
}

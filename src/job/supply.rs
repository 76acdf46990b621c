//! Supplies the workers with batches of a part's names, where a plain copy walks a tree.

use super::Job;
use super::branch::Branch;
use super::facts::Facts;
use super::lists::ListReader;
use crate::batch::{Batch, Entries, Entry};
use crate::context::{Context, Fds};
use crate::dir::{Dir, Hold};
use crate::error::Operation;
use crate::existing;
use crate::path;
use crate::report::{Events, Failure, lock};
use crate::sys::at::{self, Follow};
use crate::walk::Walker;
use crate::walk::supply::{NameGroup, Supply};
use std::ffi::{OsStr, OsString};
use std::iter::{Filter, Peekable};
use std::sync::{Arc, Mutex};

/// The most names in a group. The worker that enters the directory stats all of them before other workers can help.
const GROUP: usize = 64;

type Found = Result<(OsString, Facts), Failure>;
type WholeFiles = Filter<ListReader<Facts>, fn(&Found) -> bool>;

pub(super) struct PartNames<'j> {
    job: &'j Job,
    branch: Arc<Mutex<Branch<'j>>>,
    /// The list without ranges of large files, which are in no batch.
    list: Peekable<WholeFiles>,
}

impl<'j> PartNames<'j> {
    pub(super) fn new(job: &'j Job, list: ListReader<Facts>) -> Result<PartNames<'j>, Failure> {
        let branch = Arc::new(Mutex::new(Branch::new(job, None)?));
        let is_no_range: fn(&Found) -> bool = |found| !matches!(found, Ok((_, Facts { range: Some(_), .. })));
        Ok(PartNames { job, branch, list: list.filter(is_no_range).peekable() })
    }

    fn next(&mut self, events: &Events) -> Option<(OsString, Facts)> {
        match self.list.next()? {
            Ok(found) => Some(found),
            Err(failure) => {
                events.fail(failure);
                None
            }
        }
    }

    /// Returns whether the next name is in the directory `parent`, so that it fits the same group.
    fn next_is_in(&mut self, parent: &OsStr) -> bool {
        matches!(self.list.peek(), Some(Ok((next, _))) if path::split(next).0 == parent)
    }
}

impl<'j> Supply<'j> for PartNames<'j> {
    fn next_group(&mut self, ctx: &Context) -> Option<Arc<dyn NameGroup<'j> + 'j>> {
        let mut files = vec![self.next(&ctx.events)?];
        let parent = path::split(&files[0].0).0.to_owned();
        while files.len() < GROUP && self.next_is_in(&parent) {
            files.extend(self.next(&ctx.events));
        }
        Some(Arc::new(PartGroup { job: self.job, branch: Arc::clone(&self.branch), files }))
    }
}

/// Names of a part that are in one directory.
struct PartGroup<'j> {
    job: &'j Job,
    branch: Arc<Mutex<Branch<'j>>>,
    files: Vec<(OsString, Facts)>,
}

impl PartGroup<'_> {
    /// Enters the directory of the names, starting from the directory that a worker entered last: the names of a
    /// part come in the order of a walk.
    fn reach(&self) -> Result<Hold, Failure> {
        let path = self.files.first().map(|(path, _)| path.as_os_str()).unwrap_or_default();
        let mut branch = lock(&self.branch).clone();
        let dir = branch.parent_of(path)?.0.clone();
        *lock(&self.branch) = branch;
        Ok(dir)
    }
}

impl<'j> NameGroup<'j> for PartGroup<'j> {
    fn enter(&self, walker: &mut Walker<'_, 'j>) -> Result<Option<Batch>, Failure> {
        let (ctx, dir) = (walker.ctx, self.reach()?);
        let fds = dir.fds_or_failure(ctx)?;
        let entry = |path: &OsStr, kind| self.job.manifest.entry(path::split(path).1, kind);
        let files = self.files.iter().map(|(path, facts)| (entry(path, facts.kind), facts));
        let wanted = files.filter(|(entry, facts)| is_there(ctx, &dir, &fds, entry, facts));
        let entries = Entries::Given(wanted.map(|(entry, _)| entry).collect());
        Ok(Some(Batch::new(dir, fds, entries)))
    }
}

/// Returns whether to copy the file. Reports a file that is missing, and one that has changed since the plan; the
/// latter is copied as it is now.
fn is_there(ctx: &Context, dir: &Dir, fds: &Fds, entry: &Entry, facts: &Facts) -> bool {
    let path = || dir.source_path(&entry.name);
    let follow = existing::follows_source(&ctx.options, entry);
    let now = match ctx.run.stale_retry.call(|| at::stat(&fds.src, &entry.name, follow)) {
        Ok(now) => now,
        Err(errno) => {
            let failure = Failure::new(Operation::Stat, path()).errno(errno);
            let failure = failure.of_names(path(), dir.destination_path(entry.destination()));
            let again = || at::stat(&fds.src, &entry.name, Follow::No);
            ctx.events.fail(failure.of_entry(entry.operand, again));
            return false;
        }
    };
    if !facts.still_hold(&now) {
        let failure = Failure::new(Operation::ChangedSincePlan, path());
        ctx.events.fail(failure.of_names(path(), dir.destination_path(entry.destination())));
    }
    !now.is_dir()
}

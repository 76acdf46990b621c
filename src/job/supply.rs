//! The names of a part as batches for the workers, in place of a walk.

use super::branch::Branch;
use super::facts::Facts;
use super::lists::ListReader;
use super::manifest::Manifest;
use crate::batch::{Batch, Entries, Entry};
use crate::context::Context;
use crate::dir::{Dir, Fds, Hold};
use crate::existing;
use crate::report::{Failure, lock};
use crate::sys::{Errno, at};
use crate::walk::Walker;
use crate::walk::supply::{NameGroup, Supply};
use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};

/// The most names in a group: the worker that enters their directory asks for the status of each before others help.
const GROUP: usize = 64;

/// A name of the list, or why it cannot be read.
type FoundFile = Result<(OsString, Facts), Failure>;

/// The names of one part, as they are asked for.
pub(super) struct PartNames<'c> {
    manifest: &'c Manifest,
    branch: Arc<Mutex<Branch<'c>>>,
    /// Without ranges of large files, which are in no batch.
    list: Peekable<Box<dyn Iterator<Item = FoundFile> + Send>>,
}

impl<'c> PartNames<'c> {
    pub(super) fn new(
        ctx: &'c Arc<Context>,
        manifest: &'c Manifest,
        list: ListReader<Facts>,
    ) -> Result<PartNames<'c>, Failure> {
        let branch = Arc::new(Mutex::new(Branch::new(ctx, manifest, None)?));
        let is_range = |found: &FoundFile| found.as_ref().is_ok_and(|(_, facts)| facts.piece.is_some());
        let list: Box<dyn Iterator<Item = _> + Send> = Box::new(list.filter(move |found| !is_range(found)));
        Ok(PartNames { manifest, branch, list: list.peekable() })
    }

    fn next(&mut self, ctx: &Context) -> Option<(OsString, Facts)> {
        match self.list.next()? {
            Ok(found) => Some(found),
            Err(failure) => {
                ctx.reporter.fail(failure);
                None
            }
        }
    }

    /// Whether the next name is in the same directory as this one, so that it fits the same group.
    fn has_sibling_of(&mut self, path: &OsStr) -> bool {
        let next = self.list.peek();
        next.is_some_and(|next| next.as_ref().is_ok_and(|(next, _)| split(next).0 == split(path).0))
    }
}

impl<'c> Supply<'c> for PartNames<'c> {
    fn next_group(&mut self, ctx: &Context) -> Option<Arc<dyn NameGroup<'c> + 'c>> {
        let mut files = vec![self.next(ctx)?];
        while files.len() < GROUP
            && let Some((last, _)) = files.last()
            && self.has_sibling_of(&last.clone())
        {
            files.extend(self.next(ctx));
        }
        Some(Arc::new(PartGroup { manifest: self.manifest, branch: Arc::clone(&self.branch), files }))
    }
}

/// Names of a part that are in one directory.
struct PartGroup<'c> {
    manifest: &'c Manifest,
    branch: Arc<Mutex<Branch<'c>>>,
    files: Vec<(OsString, Facts)>,
}

impl PartGroup<'_> {
    /// Goes down to the directory of the names from where another worker has gone last: the names of a part come in the
    /// order of a walk.
    fn reach(&self) -> Result<Hold, Failure> {
        let path = self.files.first().map(|(path, _)| path.as_os_str()).unwrap_or_default();
        let mut branch = lock(&self.branch).clone();
        let dir = branch.parent_of(path)?.0.clone();
        *lock(&self.branch) = branch;
        Ok(dir)
    }

    fn entry(&self, path: &OsStr, facts: &Facts) -> Entry {
        let single_file = self.manifest.new_name.clone();
        let name = split(path).1.to_owned();
        Entry { name, operand: single_file.is_some(), new_name: single_file, hint: Some(facts.kind) }
    }
}

impl<'c> NameGroup<'c> for PartGroup<'c> {
    fn enter(&self, walker: &mut Walker<'_, 'c>) -> Option<Batch> {
        let ctx = walker.context();
        let open = |dir: &Hold| {
            let cannot = |errno: Errno| {
                let path = dir.source_path(OsStr::new(""));
                Failure::new("cannot access {}", path).errno(errno)
            };
            ctx.stale_retry.call(|| dir.fds(ctx)).map_err(cannot)
        };
        match self.reach().and_then(|dir| Ok((open(&dir)?, dir))) {
            Ok((fds, dir)) => {
                let files = self.files.iter().map(|(path, facts)| (self.entry(path, facts), facts));
                let wanted = files.filter(|(entry, facts)| is_there(ctx, &dir, &fds, entry, facts));
                let entries: Vec<_> = wanted.map(|(entry, _)| entry).collect();
                (!entries.is_empty()).then(|| Batch::new(dir, fds, Entries::Given(entries)))
            }
            Err(failure) => {
                ctx.reporter.fail(failure);
                None
            }
        }
    }
}

/// Looks whether the file is still what was planned. One that is gone is reported, and one that has changed as well; that
/// one is copied as it is now.
fn is_there(ctx: &Context, dir: &Dir, fds: &Fds, entry: &Entry, facts: &Facts) -> bool {
    let path = || dir.source_path(&entry.name);
    let follow = existing::follows_source(&ctx.options, entry);
    let now = match ctx.stale_retry.call(|| at::stat(&fds.src, &entry.name, follow)) {
        Ok(now) => now,
        Err(errno) => {
            ctx.reporter.fail(Failure::new("cannot stat {}", path()).errno(errno));
            return false;
        }
    };
    if !facts.still_hold(&now) {
        ctx.reporter.fail(Failure::new("{} has changed since the plan was made", path()));
    }
    !now.is_dir()
}

/// The path of the directory that a path is in, and the name there.
fn split(path: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (OsStr::from_bytes(&bytes[..slash]), OsStr::from_bytes(&bytes[slash + 1..])),
        None => (OsStr::new(""), path),
    }
}

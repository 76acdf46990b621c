//! The names of a part as batches for the workers, in place of a walk.

use super::branch::Branch;
use super::facts::Facts;
use super::lists::ListReader;
use super::manifest::Manifest;
use crate::batch::{Batch, Entries, Entry};
use crate::context::Context;
use crate::dir::{Dir, Fds, Hold};
use crate::existing;
use crate::report::Failure;
use crate::sys::{Errno, at};
use crate::walk::Walker;
use crate::walk::supply::Supply;
use std::ffi::OsString;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The most names in a batch.
const BATCH: usize = 1024;

/// A name of the list, or why it cannot be read.
type FoundFile = Result<(OsString, Facts), Failure>;

/// PartNames of one part, as they are asked for.
pub(super) struct PartNames<'c> {
    ctx: &'c Arc<Context>,
    manifest: &'c Manifest,
    branch: Branch<'c>,
    /// Without ranges of large files, which are in no batch.
    list: Peekable<Box<dyn Iterator<Item = FoundFile> + Send>>,
}

impl<'c> PartNames<'c> {
    pub(super) fn new(
        ctx: &'c Arc<Context>,
        manifest: &'c Manifest,
        list: ListReader<Facts>,
    ) -> Result<PartNames<'c>, Failure> {
        let branch = Branch::new(ctx, manifest, None)?;
        let is_range = |found: &FoundFile| found.as_ref().is_ok_and(|(_, facts)| facts.piece.is_some());
        let list: Box<dyn Iterator<Item = _> + Send> = Box::new(list.filter(move |found| !is_range(found)));
        Ok(PartNames { ctx, manifest, branch, list: list.peekable() })
    }

    fn next(&mut self) -> Option<(OsString, Facts)> {
        match self.list.next()? {
            Ok(found) => Some(found),
            Err(failure) => {
                self.ctx.reporter.fail(failure);
                None
            }
        }
    }

    /// Looks whether the file is still what was planned. One that is gone is reported, and one that
    /// has changed as well; that one is copied as it is now.
    fn check(&self, dir: &Dir, fds: &Fds, entry: &Entry, facts: &Facts) -> bool {
        let path = || dir.source_path(&entry.name);
        let follow = existing::follows_source(&self.ctx.options, entry);
        let now = match self.ctx.stale_retry.call(|| at::stat(&fds.src, &entry.name, follow)) {
            Ok(now) => now,
            Err(errno) => {
                self.ctx.reporter.fail(Failure::new("cannot stat {}", path()).errno(errno));
                return false;
            }
        };
        if !facts.still_hold(&now) {
            self.ctx.reporter.fail(Failure::new("{} has changed since the plan was made", path()));
        }
        !now.is_dir()
    }

    /// The directory of a path, open, and the entry.
    fn reach(&mut self, path: &OsString, facts: &Facts) -> Result<(Hold, Arc<Fds>, Entry), Failure> {
        let ctx = self.ctx;
        let single_file = self.manifest.new_name.clone();
        let (dir, name) = self.branch.parent_of(path)?;
        let entry = Entry {
            name: name.to_owned(),
            operand: single_file.is_some(),
            new_name: single_file,
            hint: Some(facts.kind),
        };
        let cannot = |errno: Errno| Failure::new("cannot access {}", dir.source_path(name)).errno(errno);
        let fds = ctx.stale_retry.call(|| dir.fds(ctx)).map_err(cannot)?;
        Ok((dir.clone(), fds, entry))
    }

    /// Whether the next name is in the same directory as this one, so that it fits the same batch.
    fn is_sibling(&mut self, path: &OsString) -> bool {
        let parent = |path: &OsString| {
            let slash = path.as_bytes().iter().rposition(|byte| *byte == b'/');
            path.as_bytes()[..slash.unwrap_or(0)].to_vec()
        };
        let next = self.list.peek();
        next.is_some_and(|next| next.as_ref().is_ok_and(|(next, _)| parent(next) == parent(path)))
    }
}

impl Supply for PartNames<'_> {
    fn next_batch(&mut self, _: &mut Walker<'_, '_>) -> Option<Batch> {
        while !self.ctx.stop.is_raised() {
            let (mut path, mut facts) = self.next()?;
            let mut entries = Vec::new();
            let (dir, fds, first) = match self.reach(&path, &facts) {
                Ok(reached) => reached,
                Err(failure) => {
                    self.ctx.reporter.fail(failure);
                    continue;
                }
            };
            let mut entry = first;
            loop {
                if self.check(&dir, &fds, &entry, &facts) {
                    entries.push(entry);
                }
                if entries.len() == BATCH || !self.is_sibling(&path) {
                    break;
                }
                let Some(next) = self.next() else { break };
                (path, facts) = next;
                let name = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                let name = std::ffi::OsStr::from_bytes(name).to_owned();
                entry = Entry { name, new_name: None, hint: Some(facts.kind), operand: false };
            }
            if !entries.is_empty() {
                return Some(Batch::new(dir, fds, Entries::Given(entries)));
            }
        }
        None
    }
}

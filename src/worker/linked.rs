//! Inodes with several names: the first name is copied, the others become links to it. `links.rs` holds the
//! registry.

use super::links::{self, Claim, Copied};
use super::{Placement, Source, Task, Worker};
use crate::batch::Entry;
use crate::error::{Failure, Operation};
use crate::existing;
use crate::options::{Action, Dereference};
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Stat, io};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

/// How often to try a link while another process changes either name.
const LOOKS: u32 = 20;

impl Worker<'_> {
    /// Returns how many names of the source to expect, if links are kept and it may have several.
    pub(super) fn tracked_names(&self, entry: &Entry, source: &Stat) -> Option<u64> {
        let options = &self.ctx.options;
        let followed = existing::follows_source(options, entry) == Follow::Yes;
        // With -l each name is a link to its own source, which replaces another file only with -f.
        if !options.preserve.links || options.action == Action::HardLink || (source.nlink < 2 && !followed) {
            return None;
        }
        // Followed symbolic links and overlapping operands add names that the link count does not include.
        let counted = options.dereference == Dereference::Never && !self.shared.several_operands;
        Some(if counted { source.nlink } else { u64::MAX })
    }

    pub(super) fn make_linked(
        &mut self,
        task: &Task<'_>,
        source: Source,
        placement: Placement,
        names: u64,
    ) -> Result<(), Failure> {
        let id = source.stat.id();
        match self.shared.links.claim(&source.stat, names, task.dir, task.entry, placement) {
            Claim::Parked => Ok(()),
            Claim::Link(copied) => self.link_to(task, &copied).map(drop),
            Claim::First => {
                let answer = self.make_file(task, source, placement);
                match &answer {
                    Ok(()) => self.link_parked(id, task),
                    Err(_) => self.retry_parked(id),
                }
                answer
            }
        }
    }

    fn link_parked(&mut self, id: FileId, task: &Task<'_>) {
        let mut copied = Copied { dir: Arc::clone(task.dir), name: task.entry.destination().to_owned() };
        for parked in self.shared.links.copied(id, &copied) {
            let mut instead = None;
            self.with_name(&parked, |worker, task| {
                instead = worker.link_to(task, &copied)?;
                Ok(())
            });
            copied = instead.unwrap_or(copied);
        }
    }

    /// Copies the next name of the inode after the first one failed.
    fn retry_parked(&mut self, id: FileId) {
        while !self.ctx.run.stop.is_raised()
            && let Some(parked) = self.shared.links.failed(id)
        {
            let mut done = false;
            self.with_name(&parked, |worker, task| {
                let source = worker.look_at_source(task)?;
                let answer = worker.make_file(task, source, parked.placement);
                done = answer.is_ok();
                if done {
                    worker.link_parked(id, task);
                }
                answer
            });
            if done {
                return;
            }
        }
    }

    /// Runs a function on a parked name and releases its directory.
    fn with_name(
        &mut self,
        name: &links::WaitingName,
        run: impl FnOnce(&mut Self, &Task<'_>) -> Result<(), Failure>,
    ) {
        match name.dir.fds(self.ctx) {
            Ok(fds) => {
                let task = self.task(&name.dir, &fds, &name.entry);
                self.record(&task, self.measure(), |worker| {
                    let answer = run(worker, &task);
                    worker.report(&task, answer);
                });
            }
            Err(errno) => {
                let path = name.dir.destination_path(name.entry.destination());
                self.ctx.events.fail(Failure::new(Operation::Access, path).errno(errno));
            }
        }
    }

    /// Links the task's destination to a copy. If the copy is gone because another process removed it to make
    /// its own, copies the file again and returns the new place.
    fn link_to(&mut self, task: &Task<'_>, copied: &Copied) -> Result<Option<Copied>, Failure> {
        let failure = |errno| task.cannot_link(copied.dir.destination_path(&copied.name)).errno(errno);
        let fds = copied.dir.fds(self.ctx).map_err(failure)?;
        if self.ctx.options.resume && is_name_of(task, &fds.dst, &copied.name) {
            self.stats.complete += 1;
            return Ok(None);
        }
        let is_gone = || at::stat(&fds.dst, &copied.name, Follow::No) == Err(Errno::NOENT);
        match self.link_to_name(task, &fds.dst, &copied.name) {
            Err(Errno::NOENT) if is_gone() && !self.ctx.options.dry_run => {
                let source = self.look_at_source(task)?;
                let id = source.stat.id();
                self.make_file(task, source, Placement::Create)?;
                let instead = Copied { dir: Arc::clone(task.dir), name: task.entry.destination().to_owned() };
                self.shared.links.replaced(id, &instead);
                return Ok(Some(instead));
            }
            Ok(true) => self.ctx.events.removed(|| task.destination_path()),
            answer => {
                answer.map_err(failure)?;
            }
        }
        self.tell_made(task);
        Ok(None)
    }

    /// Links the task's destination to the copy. Returns true if that replaced another file. If another process
    /// copies the same tree, either name may belong to its copy by now, so both are checked in the end. The
    /// copy can also be missing for a moment, when that process removes it to make its own.
    fn link_to_name(&mut self, task: &Task<'_>, dir: impl AsFd, name: &OsStr) -> Result<bool, Errno> {
        for tries in 1.. {
            let is_last = tries == LOOKS || self.ctx.options.dry_run;
            match self.link(task, (dir.as_fd(), name), Follow::No, true) {
                Ok(true) if !is_last && !is_name_of(task, &dir, name) => self.stats.hard_links -= 1,
                Err(Errno::NOENT) if !is_last => {
                    if at::stat(&dir, name, Follow::No).is_err() {
                        io::pause();
                    }
                }
                answer => return answer,
            }
        }
        Ok(false)
    }

    /// Links other names of the source to a destination that `-u` left alone, even if links are not kept. cp
    /// does the same, even if the other destination was a newer file.
    pub(super) fn link_up_to_date(&mut self, task: &Task<'_>, source: &Stat) -> Result<(), Failure> {
        let names = (source.nlink > 1).then_some(source.nlink);
        self.link_left_alone(task, source, names, Placement::Create).map(|_| ())
    }

    /// Registers a destination that was left alone, so that the other `names` of the source become links to it.
    /// If an earlier destination is registered, links to that one instead and returns false.
    pub(super) fn link_left_alone(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        names: Option<u64>,
        placement: Placement,
    ) -> Result<bool, Failure> {
        let Some(names) = names else { return Ok(true) };
        match self.shared.links.claim(source, names, task.dir, task.entry, placement) {
            Claim::First => {
                self.link_parked(source.id(), task);
                Ok(true)
            }
            Claim::Link(copied) => self.link_to(task, &copied).map(|_| false),
            Claim::Parked => Ok(false),
        }
    }
}

/// Returns whether the task's destination is already a link to that file.
fn is_name_of(task: &Task<'_>, dir: impl AsFd, name: &OsStr) -> bool {
    let id = |stat: Stat| stat.id();
    let copied = at::stat(dir, name, Follow::No).map(id);
    copied.is_ok() && copied == at::stat(&task.fds.dst, task.entry.destination(), Follow::No).map(id)
}

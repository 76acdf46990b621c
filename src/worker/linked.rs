//! Names of inodes that have several: copied once, linked for the rest (the registry is `links.rs`).

use super::links::{self, Claim, Copied};
use super::{Landing, Source, Task, Worker};
use crate::options::Dereference;
use crate::report::Failure;
use crate::survey;
use crate::sys::Stat;
use crate::sys::at::Follow;
use crate::sys::stat::FileId;
use std::os::fd::AsFd;
use std::sync::Arc;

impl Worker<'_> {
    /// How many names of the source to expect, if links are kept and it may have several.
    pub(super) fn tracked_names(&self, task: &Task<'_>, source: &Stat) -> Option<u64> {
        let options = &self.ctx.options;
        let followed = match options.dereference {
            Dereference::Never => false,
            Dereference::CommandLine => task.entry.operand,
            Dereference::Always => true,
        };
        if !options.preserve.links || (source.nlink < 2 && !followed) {
            return None;
        }
        // Symbolic links that are followed, and operands that overlap, add names that nobody counts.
        let counted = options.dereference == Dereference::Never && !self.shared.several_operands;
        Some(if counted { source.nlink } else { u64::MAX })
    }

    pub(super) fn make_linked(
        &mut self,
        task: &Task<'_>,
        source: Source,
        landing: Landing,
        names: u64,
    ) -> Result<(), Failure> {
        let id = source.stat.id();
        match self.shared.links.claim(&source.stat, names, task.dir, task.entry, landing) {
            Claim::Parked => Ok(()),
            Claim::Link(copied) => self.link_to(task, &copied),
            Claim::First => {
                let answer = self.make_file(task, source, landing);
                match &answer {
                    Ok(()) => self.link_parked(id, task),
                    Err(_) => self.retry_parked(id),
                }
                answer
            }
        }
    }

    fn link_parked(&mut self, id: FileId, task: &Task<'_>) {
        let copied = Copied { dir: Arc::clone(task.dir), name: task.entry.destination().to_owned() };
        for parked in self.shared.links.copied(id, &copied) {
            self.with_name(&parked, |worker, task| worker.link_to(task, &copied));
        }
    }

    /// The copy failed: the next name of the inode is copied as the first.
    fn retry_parked(&mut self, id: FileId) {
        while let Some(parked) = self.shared.links.failed(id) {
            let mut done = false;
            self.with_name(&parked, |worker, task| {
                let source = worker.look_at_source(task)?;
                let answer = worker.make_file(task, source, parked.landing);
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

    /// Runs something on a name that was parked, and lets go of its directory.
    fn with_name(&mut self, name: &links::Name, run: impl FnOnce(&mut Self, &Task<'_>) -> Result<(), Failure>) {
        let entry = &name.entry;
        let follow = survey::follows_source(&self.ctx.options, entry);
        let answer = match name.dir.fds(self.ctx) {
            Ok(fds) => run(self, &Task { dir: &name.dir, fds: &fds, entry, follow }),
            Err(errno) => {
                Err(Failure::new("cannot access {}", name.dir.destination_path(entry.destination())).errno(errno))
            }
        };
        if let Err(failure) = answer {
            self.ctx.reporter.fail(failure);
        }
        name.dir.leave(self.ctx);
    }

    fn link_to(&mut self, task: &Task<'_>, copied: &Copied) -> Result<(), Failure> {
        let failure = |errno| {
            let earlier = copied.dir.destination_path(&copied.name);
            Failure::new("cannot create hard link {} to {}", task.destination_path()).and(earlier).errno(errno)
        };
        let fds = copied.dir.fds(self.ctx).map_err(failure)?;
        if self.link(task, (fds.dst.as_fd(), &copied.name), Follow::No, true).map_err(failure)? {
            self.say_removed(task);
        }
        Ok(())
    }

    /// `-u` left the destination alone; other names of the source become names of it, whether links
    /// are kept or not. (So it is with cp, even where the other destination was a newer file.)
    pub(super) fn link_up_to_date(&mut self, task: &Task<'_>, source: &Stat) -> Result<(), Failure> {
        if source.nlink < 2 {
            return Ok(());
        }
        match self.shared.links.claim(source, source.nlink, task.dir, task.entry, Landing::Create) {
            Claim::First => self.link_parked(source.id(), task),
            Claim::Link(copied) => self.link_to(task, &copied)?,
            Claim::Parked => {}
        }
        Ok(())
    }
}

//! `--resume`: what an earlier run completed is left alone.
//!
//! The plan goes by what stat said; what is looked at here costs more calls.

use super::complete::State;
use super::landing::Landed;
use super::{Landing, Source, Task, Worker};
use crate::plan::Occupant;
use crate::report::Failure;
use crate::sys::at::{self, Follow};
use crate::sys::{Kind, Stat};

impl Worker<'_> {
    /// Whether a destination that seems complete is.
    ///
    /// # Errors
    /// When the content is to be looked at (`--verify`) and cannot be.
    pub(super) fn is_complete(
        &mut self,
        task: &Task<'_>,
        source: &Source,
        occupant: &Occupant,
    ) -> Result<bool, Failure> {
        if !self.ctx.may_be_complete(|| task.destination_path()) {
            return Ok(false);
        }
        let stat = &source.stat;
        let same_target = || {
            let from = at::read_link(&task.fds.src, &task.entry.name);
            from.is_ok() && from == at::read_link(&task.fds.dst, task.entry.destination())
        };
        Ok(match stat.kind() {
            Kind::Symlink => same_target() && self.has_attributes(stat, &occupant.link),
            Kind::Regular if self.ctx.options.verify => {
                self.has_content(task, source, Follow::from(occupant.link.is_symlink()))?
            }
            Kind::Regular => true,
            _ => self.has_attributes(stat, &occupant.stat),
        })
    }

    /// Whether owner, mode and times are what they should be in the end.
    fn has_attributes(&self, source: &Stat, copy: &Stat) -> bool {
        let keep = &self.ctx.options.preserve;
        let owned = (source.uid, source.gid) == (copy.uid, copy.gid);
        let keeps_mode = keep.mode && !source.is_symlink();
        source.mtime == copy.mtime
            && (!keep.ownership || owned || !self.ctx.process.privileged)
            && (!keeps_mode || source.permissions() == copy.permissions())
    }

    /// Nothing is to be copied; but a run without `--resume` may have been killed between the times
    /// and the rest of the attributes, and another name of the inode may still be missing.
    pub(super) fn leave_complete(
        &mut self,
        task: &Task<'_>,
        source: Source,
        occupant: &Occupant,
    ) -> Result<(), Failure> {
        let names = self.tracked_names(task, &source.stat);
        let follow = Follow::from(occupant.link.is_symlink());
        let landing = Landing::Overwrite(occupant.stat, follow);
        if !self.link_left_alone(task, &source.stat, names, landing)? {
            return Ok(());
        }
        self.stats.complete += 1;
        self.say_skipped(task);
        let dressed = self.has_attributes(&source.stat, &occupant.stat);
        // The run that completed it need not have had it written to the disk.
        let durable = !self.ctx.options.fsync;
        if source.stat.is_regular() && !(dressed && durable) && !self.ctx.options.dry_run {
            let cannot = |errno| Failure::new("cannot access {}", task.destination_path()).errno(errno);
            let copy = at::open_read(&task.fds.dst, task.entry.destination(), follow, false).map_err(cannot)?;
            let found = at::fstat(&copy).map_err(cannot)?;
            if !at::is_still(&copy, &found, &occupant.stat) {
                let words = "skipping file {}, as it was replaced while being copied";
                return Err(Failure::new(words, task.destination_path()));
            }
            let (src, stat) = self.open_source(task, source)?;
            let landed = Landed::existing(copy, found);
            let state = if dressed { State::Complete } else { State::of(self.dress(task, &src, &stat, &landed)) };
            self.commit(task, landed, &stat, state)?;
        }
        Ok(())
    }
}

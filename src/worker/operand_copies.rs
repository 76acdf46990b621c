//! Protects the copies of earlier operands from later ones.

use super::{Task, Worker};
use crate::error::Operation;
use crate::existing;
use crate::report::{Failure, lock};
use crate::sys::Stat;
use crate::sys::at::{self, Follow};

impl Worker<'_> {
    /// Fails if an earlier operand made a symbolic link here, which must not be written through.
    pub(super) fn check_operand_link(&self, task: &Task<'_>) -> Result<(), Failure> {
        if !self.shared.operands_collide || !task.entry.operand || self.ctx.options.backup.is_some() {
            return Ok(());
        }
        match at::stat(&task.fds.dst, task.entry.destination(), Follow::No) {
            Ok(stat) if stat.is_symlink() && existing::is_just_made(self.ctx, task.dir, task.entry, &stat) => {
                Err(Failure::new(Operation::ThroughJustMadeLink, task.source_path()).and(task.destination_path()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn note_operand_copy(&self, task: &Task<'_>) {
        if self.shared.operands_collide
            && task.entry.operand
            && let stat = at::stat(&task.fds.dst, task.entry.destination(), Follow::No)
            && let Ok(stat) =
                stat.or_else(|errno| if self.ctx.options.dry_run { Ok(Stat::default()) } else { Err(errno) })
        {
            let name = task.dir.destination_name(task.entry.destination());
            lock(&self.ctx.run.operand_copies).insert(name, stat.id());
        }
    }
}

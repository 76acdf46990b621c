//! `--verify`: reads the copy back and compares it with the source.

use super::destination::Destination;
use super::{Source, Task, Worker};
use crate::error::{Failure, Operation};
use crate::sys::Stat;
use crate::sys::at::{self, Follow};
use crate::transfer::verify::{Difference, WrittenCopy};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl Worker<'_> {
    /// Fails if the source can be read only once, or the destination cannot be read back. Such files are not
    /// copied at all.
    pub(super) fn check_can_verify(
        &self,
        task: &Task<'_>,
        source: &Stat,
        before: Option<&Stat>,
    ) -> Result<(), Failure> {
        if !self.ctx.options.verify || self.ctx.options.attributes_only {
            return Ok(());
        }
        if !source.is_regular() {
            return Err(Failure::new(Operation::VerifyStream, task.source_path()));
        }
        if before.is_some_and(|before| !before.is_regular()) {
            return Err(cannot_read_back(task));
        }
        Ok(())
    }

    /// Compares a copy that was just written with its source. A copy that differs is given up. `slot` is that of
    /// `Verifier::begin`, if its content may be there.
    pub(super) fn verify_written<'t>(
        &mut self,
        task: &Task<'_>,
        source: &OwnedFd,
        stat: &Stat,
        destination: Destination<'t>,
        slot: Option<usize>,
    ) -> Result<Destination<'t>, Failure> {
        match self.verify(task, (source, stat), WrittenCopy { slot, ..destination.written_copy(task) }) {
            Ok(()) => Ok(destination),
            Err(failure) => {
                let is_new = destination.before.is_none();
                match self.is_due_to_stop(&failure) && is_new && !self.stays_to_be_continued(stat, &destination) {
                    true => self.discard(task, destination),
                    false => self.give_up_attempt(task, destination, stat),
                }
                Err(failure)
            }
        }
    }

    /// Compares a copy with its source, and counts it.
    pub(super) fn verify(
        &mut self,
        task: &Task<'_>,
        source: (&OwnedFd, &Stat),
        copy: WrittenCopy<'_>,
    ) -> Result<(), Failure> {
        self.verify_range(task, source, copy, 0..u64::MAX)?;
        self.stats.verified += 1;
        Ok(())
    }

    /// Compares a range of a copy with its source. Fails with the first difference; with EINTR if a signal
    /// interrupted it.
    pub(super) fn verify_range(
        &mut self,
        task: &Task<'_>,
        source: (&OwnedFd, &Stat),
        copy: WrittenCopy<'_>,
        range: Range<u64>,
    ) -> Result<(), Failure> {
        let source = (source.0.as_fd(), source.1);
        let file_system = |dev, fd: BorrowedFd<'_>| self.ladder.file_system(dev, fd);
        let between = |failure: Failure| failure.between(&task.source_path(), &task.destination_path());
        match self.verifier.compare(source, copy, range, &self.ctx.run.stop, file_system) {
            Ok(from_cache) => {
                self.stats.verified_in_cache += u64::from(from_cache);
                Ok(())
            }
            Err(Difference::At(offset)) => Err(between(Operation::Differ.into()).and(offset.to_string())),
            Err(Difference::Unknown(failure)) => Err(between(failure)),
        }
    }

    pub(super) fn has_content(
        &mut self,
        task: &Task<'_>,
        source: &Source,
        follow: Follow,
    ) -> Result<bool, Failure> {
        let opened = match &source.fd {
            Some(_) => None,
            None => Some(
                at::open_read(&task.fds.src, &task.entry.name, task.follow, false)
                    .map_err(task.cannot_source(Operation::OpenSource))?,
            ),
        };
        let Some(src) = opened.as_ref().or(source.fd.as_ref()) else { return Ok(false) };
        // An unreadable copy is copied again, which reports the reason.
        let Ok(copy) = at::open_read(&task.fds.dst, task.entry.destination(), follow, false) else {
            return Ok(false);
        };
        let name = Some((task.fds.dst.as_fd(), task.entry.destination()));
        match self.verify(task, (src, &source.stat), WrittenCopy { fd: copy.as_fd(), name, slot: None }) {
            Ok(()) => Ok(true),
            // The copy may be good.
            Err(failure) if failure.is_interruption() || failure.reads_source() => Err(failure),
            Err(_) => Ok(false),
        }
    }
}

/// Returns the failure for a destination that is written from the current offset on, or is no regular file.
pub(super) fn cannot_read_back(task: &Task<'_>) -> Failure {
    Failure::new(Operation::VerifyUnreadable, task.destination_path())
}

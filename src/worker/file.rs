//! Copies a regular file: opens source and destination (`destination.rs`), moves the bytes, sets attributes,
//! commits.

use super::complete::Completion;
use super::destination::{Destination, WrittenFile};
use super::verify::cannot_read_back;
use super::{Placement, Source, Task, Worker};
use crate::error::{Failure, Operation};
use crate::metadata::apply::AttributePair;
use crate::metadata::{self, Handle};
use crate::sys::{Stat, at, io, selinux};
use crate::transfer::ladder::all_strategies_refused;
use crate::transfer::{DestinationKind, Outcome, Transfer};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

impl Worker<'_> {
    /// Copies the content and the attributes of a file or of a stream. Returns false if another process made
    /// the name first and its file stays. If a nameless new file cannot be given its name, it is copied again
    /// under a temporary name.
    pub(super) fn copy_file(
        &mut self,
        task: &Task<'_>,
        source: Source,
        placement: Placement,
    ) -> Result<bool, Failure> {
        let (stat, bytes) = (source.stat, self.stats.bytes_logical);
        let verified = (self.stats.verified, self.stats.verified_in_cache);
        let answer = self.copy_file_once(task, source, placement);
        if !self.nameless_in_vain.take() || !stat.is_regular() || self.ctx.run.stop.is_raised() {
            return answer;
        }
        self.stats.bytes_logical = bytes;
        (self.stats.verified, self.stats.verified_in_cache) = verified;
        self.copy_file_once(task, Source { stat, fd: None }, placement)
    }

    fn copy_file_once(&mut self, task: &Task<'_>, source: Source, placement: Placement) -> Result<bool, Failure> {
        let (src, stat) = self.open_source(task, source)?;
        let before = if let Placement::Overwrite(before, _) = &placement { Some(before) } else { None };
        self.check_can_verify(task, &stat, before)?;
        self.watch_file_system(task);
        self.continues = self.continuing_device(task, &src, &stat);
        let answer = self.take_name(task, &stat, placement, |worker, placement| {
            worker.open_destination(task, &stat, placement)
        });
        if self.ctx.options.debug && !self.ctx.options.attributes_only && answer.is_err() {
            self.explain_failure(false);
        }
        let Some(destination) = answer? else { return Ok(false) };
        if self.ctx.options.verify && destination.written != WrittenFile::Whole {
            return Err(cannot_read_back(task));
        }
        if !self.ctx.options.attributes_only
            && let Err(error) = self.move_content(task, &src, &stat, &destination)
        {
            return self.give_up(task, destination, &stat, error).map(|()| true);
        }
        let destination = match self.ctx.options.verify && !self.ctx.options.attributes_only {
            true => self.verify_written(task, &src, &stat, destination, None)?,
            false => destination,
        };
        let state = Completion::of(self.apply_metadata(task, &src, &stat, &destination));
        let committed = self.commit(task, destination, &stat, state)?;
        self.stats.files += u64::from(committed);
        Ok(committed)
    }

    pub(super) fn open_source(&self, task: &Task<'_>, source: Source) -> Result<(OwnedFd, Stat), Failure> {
        if let Some(fd) = source.fd {
            return Ok((fd, source.stat));
        }
        let answer = if source.stat.is_regular() {
            at::open_read(&task.fds.src, &task.entry.name, task.follow, false)
        } else {
            self.open_stream(task, &source.stat)
        };
        let fd = answer.map_err(|errno| task.source_failure(Operation::OpenSource, errno))?;
        let stat = at::fstat(&fd).map_err(task.cannot_source(Operation::Fstat))?;
        if !at::is_still(&fd, &stat, &source.stat) {
            return Err(Failure::replaced(task.source_path()));
        }
        Ok((fd, stat))
    }

    pub(super) fn move_content(
        &mut self,
        task: &Task<'_>,
        src: &OwnedFd,
        stat: &Stat,
        destination: &Destination<'_>,
    ) -> Result<(), Failure> {
        let (dst_dev, destination_kind) = match (&destination.before, task.dir.dst_dev()) {
            (Some(before), _) if before.is_regular() && destination.written != WrittenFile::Onwards => {
                (before.dev, DestinationKind::File)
            }
            (Some(before), _) => (before.dev, DestinationKind::Stream(*before)),
            (None, Some(dev)) => (dev, DestinationKind::File),
            (None, None) => (at::fstat(&destination.fd).map_or(0, |stat| stat.dev), DestinationKind::File),
        };
        let (dst, overwritten) = (destination.fd.as_fd(), destination.before.is_some());
        let transfer = Transfer { src: src.as_fd(), stat: *stat, dst, dst_dev, destination_kind, overwritten };
        let before = self.ctx.options.debug.then(|| self.stats.account.clone());
        let answer = match destination.continued {
            true => self.continue_content(task, &transfer, destination),
            false => self.ladder.copy(&transfer, &mut self.stats.account),
        };
        if self.ctx.options.debug && answer.as_ref().is_err_and(|error| error.is_of(Operation::Clone)) {
            self.explain_failure(true);
        }
        let outcome: Outcome = answer?;
        if destination.written == WrittenFile::WholeForOthers {
            io::seek_to(&destination.fd, outcome.size).map_err(Failure::writing)?;
        }
        self.stats.bytes_logical += outcome.size;
        if let Some(before) = before {
            self.explain(&transfer, &outcome, &before);
        }
        Ok(())
    }

    /// Handles content that could not be copied. As with cp, an incomplete file stays for the user to see. No
    /// new file stays after a strategy that could not begin, after an interruption, or with --atomic. An old
    /// file that an interruption left half overwritten is removed, so that it is not taken for whole. But a large
    /// file stays for `--resume` to continue.
    pub(super) fn give_up(
        &self,
        task: &Task<'_>,
        destination: Destination<'_>,
        source: &Stat,
        failure: Failure,
    ) -> Result<(), Failure> {
        let quietly = self.ends_by_broken_pipe(&failure, &destination);
        let failure = failure.between(&task.source_path(), &task.destination_path());
        let is_new = destination.before.is_none();
        if failure.is_interruption() && self.stays_to_be_continued(source, &destination) {
            self.ctx.events.warn(Failure::new(Operation::Incomplete, task.destination_path()));
            self.give_up_attempt(task, destination, source);
        } else if failure.is_interruption() && destination.is_overwritten_file() {
            if self.discard_overwritten(task, destination) {
                let operation = match self.ctx.run.stop.has_given_up() {
                    true => Operation::RemovedAtEnd,
                    false => Operation::RemovedAtSignal,
                };
                self.ctx.events.warn(Failure::new(operation, task.destination_path()));
            }
        } else if failure.is_interruption()
            || is_new && (all_strategies_refused(&failure) || self.ctx.events.ends_copy(&failure))
        {
            self.discard(task, destination);
        } else {
            self.give_up_attempt(task, destination, source);
        }
        if quietly {
            return Ok(());
        }
        Err(failure)
    }

    /// Sets owner, extended attributes, and mode with ACL: see `metadata`. [`Worker::commit`] sets the times.
    /// Returns false if something failed, which has been reported.
    pub(super) fn apply_metadata(
        &self,
        task: &Task<'_>,
        src: &OwnedFd,
        stat: &Stat,
        destination: &Destination<'_>,
    ) -> bool {
        let before = destination.before;
        let final_mode = before.map_or(destination.final_mode, |before| self.unfinished_mode(&before, stat));
        if before.is_none() && final_mode.is_none() && self.ctx.options.preserve.keeps_nothing() {
            return true;
        }
        let (from, to) = (Handle::Open(src.as_fd()), Handle::Open(destination.fd.as_fd()));
        let pair = AttributePair { from, to, source: stat, before, final_mode, is_leading: false };
        let has_context = self.apply_context(task, to, destination);
        self.apply(task, &pair) && has_context
    }

    /// Returns the mode to set on an existing file that a killed run seems to have left with its mode at
    /// creation.
    fn unfinished_mode(&self, before: &Stat, source: &Stat) -> Option<u32> {
        let policy = self.ctx.mode_policy();
        let new = policy.file(source);
        new.final_mode.filter(|_| self.ctx.options.resume && policy.may_be_unfinished(&new, before))
    }

    /// Sets the context of `--context=CTX` on an existing file. A new file was created with it.
    fn apply_context(&self, task: &Task<'_>, to: Handle<'_>, destination: &Destination<'_>) -> bool {
        let Some(context) = self.ctx.options.context.as_ref().filter(|_| destination.before.is_some()) else {
            return true;
        };
        let value = [context.as_bytes(), b"\0"].concat();
        if let Err(errno) = metadata::xattr::set(to, OsStr::new(selinux::XATTR), &value) {
            let failure = Failure::new(Operation::SetContext, task.destination_path());
            self.ctx.events.fail(failure.errno(errno));
            return false;
        }
        true
    }
}

//! Decides when a copy is complete: one rule for `--resume`, `-u` and jobs.
//!
//! A later run goes by the times of a file to decide that it need not be copied again. So a copy gets its
//! source's times last: after its content and all its attributes, after any error that close(2) could report,
//! and with `--fsync` after the sync. A copy with any failure gets a time long before the source's instead, so
//! that neither `--resume` nor `-u` takes it for complete. Nothing else sets the times of a copy.

use super::destination::{Destination, WrittenFile};
use super::durable::UnsyncedFile;
use super::{Task, Worker};
use crate::error::{Failure, Operation};
use crate::metadata::{Handle, times};
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Stat, io};
use std::os::fd::AsFd;

/// The state of a copy, apart from its sync and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// Only its times are missing.
    LacksTimes,
    Failed,
    /// An earlier run completed it.
    Complete,
}

impl Completion {
    /// Returns the state after all attributes except the times were set.
    pub(super) fn of(all_kept: bool) -> Completion {
        if all_kept { Completion::LacksTimes } else { Completion::Failed }
    }
}

impl Worker<'_> {
    /// Finishes a file that has its content and attributes: syncs it, sets its times, gives it its name and
    /// closes it. Returns false if another process made the name first and its file stays.
    pub(super) fn commit(
        &mut self,
        task: &Task<'_>,
        destination: Destination<'_>,
        source: &Stat,
        state: Completion,
    ) -> Result<bool, Failure> {
        if !destination.is_whole_file() {
            return self.commit_stream(task, destination, source, state).map(|()| true);
        }
        let synced_later = self.is_synced_later(task, &destination);
        let state = match self.secure(task, &destination, source, state, synced_later) {
            Ok(state) => state,
            Err(failure) => {
                self.give_up_attempt(task, destination, source);
                return Err(failure);
            }
        };
        match self.name_or_decide_again(task, source, &destination) {
            Ok(true) => {}
            answer => return answer,
        }
        if state == Completion::Failed {
            self.mark_incomplete(Handle::Open(destination.fd.as_fd()), source);
        }
        let lacks_times = state == Completion::LacksTimes && self.ctx.options.preserve.timestamps;
        let unsynced = |made: Stat| UnsyncedFile::new(task, &made, source, lacks_times);
        let unsynced = synced_later.then(|| at::fstat(&destination.fd).map(unsynced)).transpose();
        let id = destination.before.map(|before| before.id());
        if let Err(errno) = io::close(destination.fd) {
            match unsynced {
                Ok(Some(unsynced)) => unsynced.mark_incomplete(self.ctx),
                _ => self.mark_incomplete_by_name(task, id, source),
            }
            return Err(task.cannot(Operation::Close)(errno));
        }
        if let Some(unsynced) = unsynced.map_err(task.cannot(Operation::Stat))? {
            self.sync_later(unsynced);
        }
        Ok(true)
    }

    /// Sets the times of a new file that is otherwise complete. Only for file systems on which close(2) reports
    /// nothing.
    pub(super) fn complete_open(
        &self,
        task: &Task<'_>,
        destination: &Destination<'_>,
        source: &Stat,
        state: Completion,
    ) {
        let file = Handle::Open(destination.fd.as_fd());
        if state != Completion::LacksTimes || !self.give_times(task, file, source) {
            self.mark_incomplete(file, source);
        }
    }

    /// Finishes a destination that is no regular file, or that holds other content besides the copy. It never
    /// counts as complete.
    fn commit_stream(
        &self,
        task: &Task<'_>,
        destination: Destination<'_>,
        source: &Stat,
        state: Completion,
    ) -> Result<(), Failure> {
        if state == Completion::LacksTimes {
            self.give_times(task, Handle::Open(destination.fd.as_fd()), source);
        }
        self.sync_file(task, &destination.fd)?;
        io::close(destination.fd).map_err(task.cannot(Operation::Close))
    }

    /// Does everything that may still fail before the times are set, then sets the times.
    fn secure(
        &mut self,
        task: &Task<'_>,
        destination: &Destination<'_>,
        source: &Stat,
        state: Completion,
        synced_later: bool,
    ) -> Result<Completion, Failure> {
        if self.may_fail_at_close(task, destination) {
            io::flush(&destination.fd).map_err(task.cannot(Operation::Close))?;
        }
        if synced_later {
            return Ok(state);
        }
        // A file without its final name cannot be taken for complete, so one sync is enough.
        let is_seen = !destination.is_unseen();
        if is_seen {
            self.sync_file(task, &destination.fd)?;
        }
        let gets_times = state == Completion::LacksTimes && self.ctx.options.preserve.timestamps;
        let has_times = !gets_times || self.give_times(task, Handle::Open(destination.fd.as_fd()), source);
        if !is_seen || gets_times {
            self.sync_file(task, &destination.fd)?;
        }
        Ok(if has_times { state } else { Completion::Failed })
    }

    /// Returns whether close(2) of the destination may report a write error. Returns false without a check if the
    /// answer would change nothing.
    fn may_fail_at_close(&mut self, task: &Task<'_>, destination: &Destination<'_>) -> bool {
        if !destination.is_unseen() && !self.ctx.options.times_mark_completion() {
            return false;
        }
        let known = destination.before.map(|before| before.dev).or(task.dir.dst_dev());
        let Some(dev) = known.or_else(|| at::fstat(&destination.fd).ok().map(|stat| stat.dev)) else {
            return true;
        };
        self.ladder.file_system(dev, destination.fd.as_fd()).answers_at_close(dev)
    }

    /// Sets the times of a symbolic link or a special file, now or after the sync. If it was reached by name,
    /// another process may have removed it.
    pub(super) fn complete_special(
        &mut self,
        task: &Task<'_>,
        to: Handle<'_>,
        source: &Stat,
        state: Completion,
    ) -> Result<(), Failure> {
        if state == Completion::Failed {
            self.mark_incomplete(to, source);
            return Ok(());
        }
        if !self.ctx.options.preserve.timestamps {
            return Ok(());
        }
        let made = match self.watch_file_system(task) {
            true => at::stat(&task.fds.dst, task.entry.destination(), Follow::No).ok(),
            false => None,
        };
        match made {
            Some(made) => self.sync_later(UnsyncedFile::new(task, &made, source, true)),
            None => match times::set(to, source) {
                Ok(()) => {}
                Err(error) if error.has_errno(Errno::NOENT) && matches!(to, Handle::Entry(..)) => {
                    return Err(error.and(task.destination_path()).overtaken());
                }
                Err(error) => {
                    self.attribute_failed(task, error);
                    self.mark_incomplete(to, source);
                }
            },
        }
        Ok(())
    }

    /// Returns false on failure.
    fn give_times(&self, task: &Task<'_>, to: Handle<'_>, source: &Stat) -> bool {
        let answer = if self.ctx.options.preserve.timestamps { times::set(to, source) } else { Ok(()) };
        answer.map_err(|error| self.attribute_failed(task, error)).is_ok()
    }

    /// Cleans up after a failure: removes the file if it has no final name yet, else marks it as incomplete.
    pub(super) fn give_up_attempt(&self, task: &Task<'_>, destination: Destination<'_>, source: &Stat) {
        if destination.is_unseen() {
            self.discard(task, destination);
        } else if destination.is_whole_file() {
            self.mark_incomplete(Handle::Open(destination.fd.as_fd()), source);
        }
    }

    /// Sets times that no later run takes for complete.
    fn mark_incomplete(&self, file: Handle<'_>, source: &Stat) {
        if self.ctx.options.times_mark_completion() {
            let _ = times::set_apart(file, source);
        }
    }

    fn mark_incomplete_by_name(&self, task: &Task<'_>, id: Option<FileId>, source: &Stat) {
        let held = at::open_path(&task.fds.dst, task.entry.destination());
        // The identity of a new file is unknown. A link that another user put there would have a second name.
        let is_it = |stat: Stat| stat.is_regular() && id.map_or(stat.nlink == 1, |id| id == stat.id());
        if let Ok(held) = held
            && at::fstat(&held).is_ok_and(is_it)
        {
            self.mark_incomplete(Handle::Path(held.as_fd(), None), source);
        }
    }
}

impl Destination<'_> {
    fn is_whole_file(&self) -> bool {
        self.written == WrittenFile::Whole && self.before.is_none_or(|before| before.is_regular())
    }
}

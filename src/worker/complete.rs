//! When a copy counts as complete: one rule, for `--resume`, `-u` and jobs.
//!
//! A later run tells by its times that a file need not be copied again. So a copy gets its source's times last:
//! when its content and all its attributes are there, when close(2) has nothing left to say, and with `--fsync`
//! when it is on the disk. A copy that failed in anything gets a time that is long before the source's instead, which
//! neither `--resume` nor `-u` takes for complete. Nothing else sets the times of a copy.

use super::durable::Waiting;
use super::landing::{Landed, Written};
use super::overtaken::Missed;
use super::{Task, Worker};
use crate::metadata::{Handle, times};
use crate::report::Failure;
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Stat, io};
use std::os::fd::AsFd;

/// What a copy is, but for being on the disk and having its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All is there but its times.
    LacksTimes,
    /// Something failed, and has been reported.
    Failed,
    /// All is there: an earlier run completed it.
    Complete,
}

impl State {
    /// After all attributes but the times were tried.
    pub(super) fn of(all_kept: bool) -> State {
        if all_kept { State::LacksTimes } else { State::Failed }
    }
}

impl Worker<'_> {
    /// Makes sure of a file that has its content and attributes, gives it its times and its name, and closes it.
    pub(super) fn commit(
        &mut self,
        task: &Task<'_>,
        landed: Landed,
        source: &Stat,
        state: State,
    ) -> Result<bool, Failure> {
        if !landed.is_whole_file() {
            return self.commit_stream(task, landed, source, state).map(|()| true);
        }
        let later = self.is_synced_later(task, &landed);
        let state = match self.secure(task, &landed, source, state, later) {
            Ok(state) => state,
            Err(failure) => {
                self.give_up_attempt(task, landed, source);
                return Err(failure);
            }
        };
        match self.name_or_decide_again(task, source, &landed) {
            Ok(true) => {}
            answer => {
                self.discard_unnamed(task, landed);
                return answer;
            }
        }
        if state == State::Failed {
            self.mark_incomplete(Handle::Open(landed.fd.as_fd()), source);
        }
        let lacks_times = state == State::LacksTimes && self.ctx.options.preserve.timestamps;
        let waiting = later.then(|| Waiting::new(task, &landed.fd, source, lacks_times)).transpose();
        let id = landed.before.map(|before| before.id());
        if let Err(errno) = io::close(landed.fd) {
            match waiting {
                Ok(Some(waiting)) => waiting.give_up(self.ctx),
                _ => self.mark_incomplete_by_name(task, id, source),
            }
            return Err(close_failed(task, errno));
        }
        let cannot_stat = |errno| Failure::new("cannot stat {}", task.destination_path()).errno(errno);
        if let Some(waiting) = waiting.map_err(cannot_stat)? {
            self.sync_later(task, waiting);
        }
        Ok(true)
    }

    /// What is no file, or has other content beside the copy, is never taken for complete.
    fn commit_stream(&self, task: &Task<'_>, landed: Landed, source: &Stat, state: State) -> Result<(), Failure> {
        if state == State::LacksTimes {
            self.give_times(task, Handle::Open(landed.fd.as_fd()), source);
        }
        self.sync_file(task, &landed.fd)?;
        io::close(landed.fd).map_err(|errno| close_failed(task, errno))
    }

    /// Everything that may still fail before a file has its times, and these.
    fn secure(
        &mut self,
        task: &Task<'_>,
        landed: &Landed,
        source: &Stat,
        state: State,
        later: bool,
    ) -> Result<State, Failure> {
        if self.may_fail_at_close(task, landed) {
            io::flush(&landed.fd).map_err(|errno| close_failed(task, errno))?;
        }
        if later {
            return Ok(state);
        }
        // Who has no name yet cannot be taken for complete; one wait for the disk is enough then.
        let is_seen = !landed.is_unseen();
        if is_seen {
            self.sync_file(task, &landed.fd)?;
        }
        let gets_times = state == State::LacksTimes && self.ctx.options.preserve.timestamps;
        let has_times = !gets_times || self.give_times(task, Handle::Open(landed.fd.as_fd()), source);
        if !is_seen || gets_times {
            self.sync_file(task, &landed.fd)?;
        }
        Ok(if has_times { state } else { State::Failed })
    }

    /// Whether close(2) of the destination may report an error of writing. Nobody asks where that would change
    /// nothing.
    fn may_fail_at_close(&mut self, task: &Task<'_>, landed: &Landed) -> bool {
        if !landed.is_unseen() && !self.times_tell() {
            return false;
        }
        let known = landed.before.map(|before| before.dev).or(task.dir.dst_dev);
        let Some(dev) = known.or_else(|| at::fstat(&landed.fd).ok().map(|stat| stat.dev)) else { return true };
        self.ladder.file_system(dev, landed.fd.as_fd()).answers_at_close(dev)
    }

    /// Gives a symbolic link or a special file its times, now or when it is on the disk. What was reached by its
    /// name may have been taken away by another process.
    pub(super) fn complete_special(
        &mut self,
        task: &Task<'_>,
        to: Handle<'_>,
        source: &Stat,
        state: State,
    ) -> Result<(), Missed> {
        if state == State::Failed {
            self.mark_incomplete(to, source);
            return Ok(());
        }
        if !self.ctx.options.preserve.timestamps {
            return Ok(());
        }
        let waiting = match self.syncs_whole(task) {
            true => at::stat(&task.fds.dst, task.entry.destination(), Follow::No).ok(),
            false => None,
        };
        match waiting {
            Some(made) => self.sync_later(task, Waiting::of(task, &made, source, true)),
            None => match times::set(to, source) {
                Ok(()) => {}
                Err(trouble) if trouble.errno == Errno::NOENT && matches!(to, Handle::Entry(..)) => {
                    return Err(Missed::Overtaken(Failure::attribute(trouble, &task.destination_path())));
                }
                Err(trouble) => {
                    self.attribute_failed(task, trouble);
                    self.mark_incomplete(to, source);
                }
            },
        }
        Ok(())
    }

    /// False if that failed.
    fn give_times(&self, task: &Task<'_>, to: Handle<'_>, source: &Stat) -> bool {
        let answer = if self.ctx.options.preserve.timestamps { times::set(to, source) } else { Ok(()) };
        answer.map_err(|trouble| self.attribute_failed(task, trouble)).is_ok()
    }

    /// Whether later runs may go by the times of what this one copies.
    fn times_tell(&self) -> bool {
        (self.ctx.options.preserve.timestamps || self.ctx.options.update) && !self.ctx.options.attributes_only
    }

    /// The copy failed: takes it away if nobody has seen it, and lets nobody take it for complete.
    pub(super) fn give_up_attempt(&self, task: &Task<'_>, landed: Landed, source: &Stat) {
        if landed.is_unseen() {
            self.discard(task, landed);
        } else if landed.is_whole_file() {
            self.mark_incomplete(Handle::Open(landed.fd.as_fd()), source);
        }
    }

    /// Lets no later run take the file for complete.
    fn mark_incomplete(&self, file: Handle<'_>, source: &Stat) {
        if self.times_tell() {
            let _ = times::set_apart(file, source);
        }
    }

    /// Does so with a file that is closed already.
    fn mark_incomplete_by_name(&self, task: &Task<'_>, id: Option<FileId>, source: &Stat) {
        let held = at::pin(&task.fds.dst, task.entry.destination());
        // Of a new file the identity is not known; another one that somebody put there would have two names.
        let is_it = |stat: Stat| stat.is_regular() && id.map_or(stat.nlink == 1, |id| id == stat.id());
        if let Ok(held) = held
            && at::fstat(&held).is_ok_and(is_it)
        {
            self.mark_incomplete(Handle::Pinned(held.as_fd()), source);
        }
    }
}

impl Landed {
    /// Whether it is a regular file that the copy alone fills.
    fn is_whole_file(&self) -> bool {
        self.written == Written::Whole && self.before.is_none_or(|before| before.is_regular())
    }
}

fn close_failed(task: &Task<'_>, errno: Errno) -> Failure {
    Failure::new("failed to close {}", task.destination_path()).errno(errno)
}

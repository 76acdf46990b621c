//! Opens sources and destinations that are streams.
//!
//! A name of one of this process's own descriptors (/dev/stdout, /dev/fd/3) means that descriptor. A fifo is
//! opened without blocking, so that a signal can end the wait for a process at its other end. `transfer` moves
//! the bytes.

use super::destination::Destination;
use super::{Task, Worker};
use crate::report::Failure;
use crate::sys::at::{self, Follow};
use crate::sys::interrupted::Interruptions;
use crate::sys::{Errno, Kind, Result, Stat, inherited, io, start};
use crate::transfer::ladder::all_strategies_refused;
use std::os::fd::OwnedFd;

impl Worker<'_> {
    /// Opens a source that is no regular file for reading. `seen` is its stat(2).
    pub(super) fn open_stream(&self, task: &Task<'_>, seen: &Stat) -> Result<OwnedFd> {
        let fd = self.open_any_stream(task, seen)?;
        Ok(if seen.kind() == Kind::CharacterDevice { at::without_waiting(fd) } else { fd })
    }

    fn open_any_stream(&self, task: &Task<'_>, seen: &Stat) -> Result<OwnedFd> {
        let (src, name) = (&task.fds.src, &task.entry.name);
        if task.entry.operand
            && let Some(number) = inherited::number(name, true)
        {
            return inherited::take(number, false)?.ok_or(Errno::BADF);
        }
        if seen.kind() != Kind::Fifo {
            return at::open_read(src, name, task.follow, true);
        }
        let fifo = at::open_read(src, name, task.follow, false)?;
        if self.ctx.options.attributes_only {
            return Ok(fifo); // it is not read
        }
        // Until the first writer opens it, the fifo is neither readable nor at its end.
        let mut interruptions = Interruptions::default();
        while !io::poll_a_while(&fifo, false, &mut interruptions)? {
            self.go_on()?;
        }
        Ok(fifo)
    }

    /// Opens a destination for writing that is a fifo or one of this process's own descriptors. Returns `None`
    /// for any other file.
    pub(super) fn open_stream_to_write(
        &self,
        task: &Task<'_>,
        before: &Stat,
        follow: Follow,
    ) -> Option<Result<OwnedFd>> {
        let (dst, name) = (&task.fds.dst, task.entry.destination());
        if task.entry.operand
            && let Some(number) = inherited::number(name, !before.is_regular())
        {
            // A descriptor that is open for reading only: the name may still be opened for writing.
            return inherited::take(number, true).transpose();
        }
        if before.kind() != Kind::Fifo {
            return None;
        }
        loop {
            match at::open_write(dst, name, follow, false) {
                // No process has it open for reading (fifo(7)).
                Err(Errno::NXIO) => io::pause(),
                answer => return Some(answer),
            }
            if let Err(errno) = self.go_on() {
                return Some(Err(errno));
            }
        }
    }

    fn go_on(&self) -> Result<()> {
        if self.ctx.run.stop.is_raised() { Err(Errno::INTR) } else { Ok(()) }
    }

    /// Returns whether a copy ends because the destination has no reader any more. Then a program dies quietly of
    /// SIGPIPE, unless its parent made it ignore that signal.
    pub(super) fn ends_by_broken_pipe(&self, failure: &Failure, destination: &Destination<'_>) -> bool {
        // A FUSE file system may return EPIPE for a regular file.
        let is_stream = destination.before.as_ref().is_some_and(|before| !before.is_regular());
        let is_broken = failure.has_errno(Errno::PIPE) && !all_strategies_refused(failure) && is_stream;
        let quietly = is_broken && start::dies_of_broken_pipe();
        if quietly {
            self.ctx.run.stop.raise_broken_pipe();
        }
        quietly
    }

    /// Returns whether a call failed only because the copy was asked to stop, which needs no message.
    pub(super) fn is_due_to_stop(&self, failure: &Failure) -> bool {
        self.ctx.run.stop.is_raised() && failure.has_errno(Errno::INTR)
    }
}

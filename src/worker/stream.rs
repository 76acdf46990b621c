//! Sources and destinations that are streams: how they are opened.
//!
//! A name of one of this process's own descriptors (/dev/stdout, /dev/fd/3) means that descriptor. A
//! fifo is opened without blocking, so that a signal can end the wait for whoever is to open its other
//! end. How bytes move is in `transfer`.

use super::destination::Destination;
use super::{Task, Worker};
use crate::report::Failure;
use crate::sys::at::{self, Follow};
use crate::sys::interrupted::Interruptions;
use crate::sys::{Errno, Kind, Result, Stat, inherited, io, start};
use crate::transfer::TransferError;
use std::os::fd::OwnedFd;

impl Worker<'_> {
    /// Opens what is no regular file for reading; `seen` is what stat said of the name.
    pub(super) fn open_stream(&self, task: &Task<'_>, seen: &Stat) -> Result<OwnedFd> {
        let fd = self.open_any_stream(task, seen)?;
        Ok(if seen.kind() == Kind::CharDevice { at::without_waiting(fd) } else { fd })
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
            return Ok(fifo); // nothing is read from it
        }
        // As long as there never was a writer, this is neither readable nor at its end.
        let mut interruptions = Interruptions::default();
        while !io::poll_a_while(&fifo, false, &mut interruptions)? {
            self.go_on()?;
        }
        Ok(fifo)
    }

    /// Opens a destination that is a stream, or one of this process's own descriptors, for writing;
    /// `None` if it is neither.
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
            // Open for reading only: then the name may still be opened for writing.
            return inherited::take(number, true).transpose();
        }
        if before.kind() != Kind::Fifo {
            return None;
        }
        loop {
            match at::open_write(dst, name, follow, false) {
                // Nobody reads yet (fifo(7)).
                Err(Errno::NXIO) => io::pause(),
                answer => return Some(answer),
            }
            if let Err(errno) = self.go_on() {
                return Some(Err(errno));
            }
        }
    }

    fn go_on(&self) -> Result<()> {
        if self.ctx.stop.is_raised() { Err(Errno::INTR) } else { Ok(()) }
    }

    /// Whether a copy ends because nobody reads its destination any more. A program dies of that
    /// quietly, by SIGPIPE, unless whoever started it does not want that.
    pub(super) fn ends_by_broken_pipe(&self, error: TransferError, destination: &Destination) -> bool {
        // A file system may say EPIPE too, of a file (FUSE).
        let is_stream = destination.before.as_ref().is_some_and(|before| !before.is_regular());
        let is_broken = error.errno == Errno::PIPE && error.refused.is_none() && is_stream;
        let quietly = is_broken && start::dies_of_broken_pipe();
        if quietly {
            self.ctx.stop.raise_broken_pipe();
        }
        quietly
    }

    /// Whether a failure is only that a signal asked for the end: that goes without saying.
    pub(super) fn is_interruption(&self, failure: &Failure) -> bool {
        self.ctx.stop.is_raised() && failure.has_errno(Errno::INTR)
    }
}

//! The start of the program: inherited signal actions and standard descriptors, before any file is opened. Only
//! the program calls [`begin`]; a library must not change these.

use super::at::{self, CWD};
use super::{Result, raw};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::stdio::{stderr, stdin, stdout};
use std::ffi::OsStr;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// A bit for each of stdin, stdout and stderr that was closed at the start.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Whether SIGPIPE was not ignored at the start.
static SIGPIPE_ENDS: AtomicBool = AtomicBool::new(false);

/// Ignores SIGPIPE, and opens a placeholder for each closed standard descriptor.
pub fn begin() -> Result<()> {
    SIGPIPE_ENDS.store(!raw::ignore_broken_pipe(), Ordering::Relaxed);
    let closed = closed();
    CLOSED.store(closed, Ordering::Relaxed);
    (0..closed.count_ones()).try_for_each(|_| occupy_lowest())
}

fn closed() -> u8 {
    let fds = [stdin(), stdout(), stderr()];
    let mut polled = [0, 1, 2].map(|number: usize| PollFd::new(&fds[number], PollFlags::empty()));
    if !poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0) {
        return 0;
    }
    let bit = |(number, fd): (usize, &PollFd<'_>)| u8::from(fd.revents().contains(PollFlags::NVAL)) << number;
    polled.iter().enumerate().map(bit).sum()
}

/// Opens a placeholder at the lowest free number. A file of the copy that was opened as number 2 would get the
/// messages. Without /dev/null, as in many chroots, an epoll descriptor serves, which can be neither read nor
/// written.
fn occupy_lowest() -> Result<()> {
    let null = at::open_read_write(CWD, OsStr::new("/dev/null"));
    let _stays_open = null.or_else(|_| epoll::create(epoll::CreateFlags::empty()))?.into_raw_fd();
    Ok(())
}

/// Returns whether a standard descriptor (0, 1, 2) was closed when the program started.
pub(crate) fn was_closed(number: i32) -> bool {
    (0..3).contains(&number) && CLOSED.load(Ordering::Relaxed) >> number & 1 == 1
}

/// Returns whether a broken pipe ends the program, as SIGPIPE ends other programs. It is an ordinary error for
/// the library, and where the parent ignores SIGPIPE, as systemd does.
pub(crate) fn dies_of_broken_pipe() -> bool {
    SIGPIPE_ENDS.load(Ordering::Relaxed)
}

//! The start of the program: what its parent has left it, before anything is opened. A library has no business there.

use super::at::{self, CWD};
use super::{Result, raw};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::stdio::{stderr, stdin, stdout};
use std::ffi::OsStr;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Which of stdin, stdout and stderr were closed, by bits.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Whether SIGPIPE would have ended the program.
static SIGPIPE_ENDS: AtomicBool = AtomicBool::new(false);

/// Begins the program.
///
/// # Errors
/// A standard descriptor was closed, and nothing can be opened in its place.
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

/// Occupies the lowest free number, so that no file is opened there, where a message would be written into it. Where
/// there is no /dev/null, as in many a chroot, by what can neither be read nor written.
fn occupy_lowest() -> Result<()> {
    let null = at::open_read_write(CWD, OsStr::new("/dev/null"));
    let _stays_open = null.or_else(|_| epoll::create(epoll::CreateFlags::empty()))?.into_raw_fd();
    Ok(())
}

/// Whether a standard descriptor (0, 1, 2) was closed when the program started.
pub fn was_closed(number: i32) -> bool {
    (0..3).contains(&number) && CLOSED.load(Ordering::Relaxed) >> number & 1 == 1
}

/// Whether writing what nobody reads ends the program, as it ends others, or is an ordinary error: for
/// a library, and where SIGPIPE was ignored by the parent, as systemd does.
pub fn dies_of_broken_pipe() -> bool {
    SIGPIPE_ENDS.load(Ordering::Relaxed)
}

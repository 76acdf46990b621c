//! What the program has to look at before main, for std's start-up changes it: it opens /dev/null in the
//! place of a closed standard descriptor, and has SIGPIPE ignored. A library has no business there.

use super::proc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stderr, stdin, stdout};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Which of stdin, stdout and stderr were closed, by bits.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Whether SIGPIPE would end the program, had std left it alone.
static SIGPIPE_ENDS: AtomicBool = AtomicBool::new(false);

/// Looks.
pub fn look() {
    let fds = [stdin(), stdout(), stderr()];
    let mut polled = [0, 1, 2].map(|number: usize| PollFd::new(&fds[number], PollFlags::empty()));
    if poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0) {
        let bit = |(number, fd): (usize, &PollFd<'_>)| u8::from(fd.revents().contains(PollFlags::NVAL)) << number;
        CLOSED.store(polled.iter().enumerate().map(bit).sum(), Ordering::Relaxed);
    }
    // Whether the parent had it ignored costs three calls to find out, which most copies do not need.
    let is_asked = std::env::args_os().any(|arg| {
        let bytes = arg.as_bytes();
        bytes.starts_with(b"/dev/") || bytes.starts_with(b"/proc/")
    });
    let ignored = is_asked && proc::ignored_signals() >> (signal_hook::consts::SIGPIPE - 1) & 1 == 1;
    SIGPIPE_ENDS.store(!ignored, Ordering::Relaxed);
}

/// Whether a standard descriptor (0, 1, 2) was closed when the program started.
pub fn was_closed(number: i32) -> bool {
    (0..3).contains(&number) && CLOSED.load(Ordering::Relaxed) >> number & 1 == 1
}

/// Whether writing what nobody reads ends the program, as it ends others, or is an ordinary error: for
/// a library, and where SIGPIPE was ignored by the parent, as systemd does. The latter is only known of
/// a run in which a device or a descriptor is named.
pub fn dies_of_broken_pipe() -> bool {
    SIGPIPE_ENDS.load(Ordering::Relaxed)
}

//! splice(2) through a pipe of our own: page references in, one copy out.
//!
//! What is left in a pipe after a failed write must never reach another file: then the pipe is
//! thrown away, and the copy resumes from what was written.

use super::{Call, Side, Step, Tally, refuse_or_fail};
use crate::sys::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Pipe sizes to ask for, in bytes; an unprivileged user may be refused the larger ones (pipe(7),
/// `pipe-user-pages-soft`). With 1 MiB the page cache gets folios of that size on ext4 and xfs, the
/// fastest of what was measured.
const SIZES: [usize; 4] = [1 << 20, 512 << 10, 256 << 10, 64 << 10];

/// A pipe that is empty whenever no step is under way.
#[derive(Debug, Default)]
pub(super) struct Pipe(Option<Ends>);

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

impl Ends {
    fn open() -> Result<Ends, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let granted = SIZES.into_iter().find_map(|size| fcntl_setpipe_size(&write, size).ok());
        let size = granted.or_else(|| fcntl_getpipe_size(&write).ok()).unwrap_or(4096);
        Ok(Ends { read, write, size })
    }
}

/// Moves up to one pipe-full, at most `len` bytes, at offset `at` of both files.
pub(super) fn step(
    pipe: &mut Pipe,
    src: BorrowedFd<'_>,
    dst: BorrowedFd<'_>,
    at: u64,
    len: u64,
    tally: &mut Tally,
) -> Step {
    let ends = match pipe.0.take() {
        Some(ends) => ends,
        None => match Ends::open() {
            Ok(ends) => ends,
            Err(errno) => return Step::Refused(errno),
        },
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(ends.size);
    let mut from = at;
    let filled = tally
        .call(Call::Splice, || splice(src, Some(&mut from), ends.write.as_fd(), None, len, SpliceFlags::MOVE));
    let filled = match filled {
        Ok(0) => {
            pipe.0 = Some(ends);
            return Step::Dry;
        }
        Ok(n) => n,
        Err(errno) => {
            pipe.0 = Some(ends);
            return refuse_or_fail(errno, Side::Source);
        }
    };
    let (written, outcome) = drain(&ends, dst, at, filled, tally);
    if written == filled {
        pipe.0 = Some(ends);
    }
    match outcome {
        _ if written > 0 => Step::Moved(written as u64),
        Ok(()) => Step::Dry,
        Err(errno) => refuse_or_fail(errno, Side::Destination),
    }
}

/// Empties the pipe into `dst`. An error after some bytes is met again by the next step.
fn drain(
    ends: &Ends,
    dst: BorrowedFd<'_>,
    at: u64,
    filled: usize,
    tally: &mut Tally,
) -> (usize, Result<(), Errno>) {
    let mut written = 0;
    while written < filled {
        let mut to = at + written as u64;
        let left = filled - written;
        let answer = tally
            .call(Call::Splice, || splice(ends.read.as_fd(), None, dst, Some(&mut to), left, SpliceFlags::MOVE));
        match answer {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(Errno::INTR) => {}
            Err(errno) => return (written, Err(errno)),
        }
    }
    (written, Ok(()))
}

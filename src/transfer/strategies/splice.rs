//! splice(2): moves references to pages, through a private pipe if neither side is a pipe.
//!
//! Bytes left in the private pipe after a failed write must never reach another file. If the source has offsets,
//! the pipe is discarded and the copy resumes at the offset that was written. Bytes of a stream cannot be read
//! again, so the pipe keeps them until the caller takes them over ([`Pipe::take_rest`]).

use super::{Call, Endpoint, Step, Tally, length, refuse_or_fail, step_of};
use crate::error::Failure;
use crate::sys::{Errno, io};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};
use std::os::fd::{AsFd, OwnedFd};

/// Pipe sizes to try, in bytes. The larger ones may be refused to an unprivileged user (pipe(7),
/// `pipe-user-pages-soft`). With 1 MiB, the page cache of ext4 and xfs gets folios of that size, which measured
/// fastest.
pub(crate) const SIZES: [usize; 4] = [1 << 20, 512 << 10, 256 << 10, 64 << 10];

/// A private pipe. Between two steps it is empty, except for bytes of a stream after a failed write.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    ends: Option<Ends>,
    /// Bytes in the pipe that are nowhere else.
    left: usize,
}

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

impl Pipe {
    /// Takes over the bytes of a stream that could not be written: the end to read them from, and their number.
    pub(crate) fn take_rest(&mut self) -> Option<(OwnedFd, usize)> {
        let left = std::mem::take(&mut self.left);
        if left == 0 { None } else { self.ends.take().map(|ends| (ends.read, left)) }
    }

    /// Returns whether the pipe holds bytes of a stream that could not be written.
    pub(crate) fn has_rest(&self) -> bool {
        self.left > 0
    }
}

/// Moves up to `len` bytes in one call between a pipe and another file.
pub(crate) fn direct(src: Endpoint<'_>, dst: Endpoint<'_>, at: u64, len: u64, tally: &mut Tally) -> Step {
    let waited = src.wait_if_needed(false, tally).and_then(|()| dst.wait_if_needed(true, tally));
    if let Err(errno) = waited {
        return Step::Refused(errno);
    }
    let (mut from, mut to) = (at, at);
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    step_of(tally.call(Call::Splice, || {
        splice(src.fd, src.offset(&mut from), dst.fd, dst.offset(&mut to), length(len), flags)
    }))
}

/// Moves up to `len` bytes, and at most the size of the pipe, at offset `at` of each side that has offsets.
pub(crate) fn step(
    pipe: &mut Pipe,
    src: Endpoint<'_>,
    dst: Endpoint<'_>,
    at: u64,
    len: u64,
    tally: &mut Tally,
) -> Step {
    let ends = match pipe.ends.take() {
        Some(ends) => ends,
        None => match Ends::open() {
            Ok(ends) => ends,
            Err(errno) => return Step::Unavailable(errno),
        },
    };
    let rest = std::mem::take(&mut pipe.left);
    let filled = match if rest > 0 { Ok(rest) } else { fill(&ends, src, at, len, tally) } {
        Ok(0) => {
            pipe.ends = Some(ends);
            return Step::ReturnedZero;
        }
        Ok(filled) => filled,
        Err(errno) => {
            pipe.ends = Some(ends);
            return refuse_or_fail(errno, Failure::reading);
        }
    };
    let (written, outcome) = drain(&ends, dst, at, filled, tally);
    if written == filled {
        pipe.ends = Some(ends);
    } else if !src.has_offsets() {
        (pipe.ends, pipe.left) = (Some(ends), filled - written);
    }
    match outcome {
        _ if written > 0 => Step::Moved(written as u64),
        Ok(()) => Step::ReturnedZero,
        Err(errno) => refuse_or_fail(errno, Failure::writing),
    }
}

fn fill(ends: &Ends, src: Endpoint<'_>, at: u64, len: u64, tally: &mut Tally) -> Result<usize, Errno> {
    src.wait_if_needed(false, tally)?;
    let mut from = at;
    let len = length(len).min(ends.size);
    let pipe = ends.write.as_fd();
    tally.call(Call::Splice, || splice(src.fd, src.offset(&mut from), pipe, None, len, SpliceFlags::MOVE))
}

/// Empties the pipe into `dst`. The caller ignores an error after some bytes: the next step meets it again.
fn drain(ends: &Ends, dst: Endpoint<'_>, at: u64, filled: usize, tally: &mut Tally) -> (usize, Result<(), Errno>) {
    let mut written = 0;
    while written < filled {
        if let Err(errno) = dst.wait_if_needed(true, tally) {
            return (written, Err(errno));
        }
        let mut to = at + written as u64;
        let left = filled - written;
        let pipe = ends.read.as_fd();
        let answer =
            tally.call(Call::Splice, || splice(pipe, None, dst.fd, dst.offset(&mut to), left, SpliceFlags::MOVE));
        match answer {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(Errno::INTR) if tally.interruptions.may_retry() => {}
            Err(Errno::AGAIN) if dst.may_block() => io::pause(),
            Err(errno) => return (written, Err(errno)),
        }
    }
    (written, Ok(()))
}

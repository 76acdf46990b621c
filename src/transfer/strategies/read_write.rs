//! read and write through a buffer: the last strategy of the ladder, and the only one that every stream supports.

use super::{Call, Endpoint, Step, Tally, uncached};
use crate::error::Failure;
use crate::sys::{Errno, Result, Stat, io, memory};
use crate::transfer::endpoint::Form;
use crate::transfer::{Account, Strategy, spans};

/// The most bytes that a read requests; a larger buffer does not stay in the CPU's cache.
const LARGEST: usize = 1 << 20;
/// The smallest size of the buffer, so that it does not grow with each of several small files.
const SMALLEST: usize = 64 << 10;
/// The alignment of the buffer, a cache line of the CPU. Allocators place large blocks 16 bytes off, which makes
/// the kernel's copies slow: 1 GiB into a UNIX socket by reads and writes of 1 MiB took 175 ms of CPU time, and
/// 116 from an aligned buffer (Zen 4).
const LINE: usize = 64;

/// A reusable buffer, as large as the largest read so far.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// The aligned start of the buffer in `bytes`.
    start: usize,
    filled: usize,
}

impl Buffer {
    /// Returns the bytes that the last `fill` read.
    pub(crate) fn content(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.filled).unwrap_or_default()
    }

    /// Reads once, at most `len` bytes. An empty content means the end of the file.
    pub(crate) fn fill(&mut self, src: Endpoint<'_>, at: u64, len: u64, tally: &mut Tally) -> Result<()> {
        let want = usize::try_from(len).unwrap_or(LARGEST).clamp(1, LARGEST);
        let want = if src.form == Form::Messages { want.max(longest_message(src, tally)?) } else { want };
        if self.bytes.len() < self.start + want {
            self.bytes = memory::buffer(want.max(SMALLEST) + LINE)?;
            self.start = self.bytes.as_ptr().align_offset(LINE).min(LINE);
        }
        self.filled = 0;
        let room = &mut self.bytes[self.start..][..want];
        self.filled = loop {
            src.wait_if_needed(false, tally)?;
            let answer = if src.uncached {
                uncached::read(src.fd, &mut *room, at, tally)
            } else if src.has_offsets() {
                tally.call(Call::Pread, || rustix::io::pread(src.fd, &mut *room, at))
            } else {
                tally.call(Call::Read, || rustix::io::read(src.fd, &mut *room))
            };
            match answer {
                // Some files of /proc and debugfs are regular but have no offsets.
                Err(errno @ (Errno::SPIPE | Errno::INVAL)) if src.has_offsets() => {
                    src.give_up_offsets(at, errno)?;
                }
                Ok(n) => break n,
                Err(Errno::INTR) if !src.stop.is_raised() && tally.interruptions.may_retry() => {}
                Err(Errno::AGAIN) => await_again(src, false, tally)?,
                Err(errno) => return Err(errno),
            }
        };
        Ok(())
    }
}

/// Moves up to one buffer, at most `len` bytes, at offset `at` of each side that has offsets.
pub(crate) fn step(
    buffer: &mut Buffer,
    src: Endpoint<'_>,
    dst: Endpoint<'_>,
    at: u64,
    len: u64,
    tally: &mut Tally,
) -> Step {
    if let Err(errno) = buffer.fill(src, at, len, tally) {
        return Step::Failed(Failure::reading(errno));
    }
    write_content(buffer, dst, at, tally)
}

fn write_content(buffer: &Buffer, dst: Endpoint<'_>, at: u64, tally: &mut Tally) -> Step {
    match buffer.content() {
        [] => Step::ReturnedZero,
        bytes => match write_all(bytes, dst, at, tally) {
            Ok(()) => Step::Moved(bytes.len() as u64),
            Err(errno) => Step::Failed(Failure::writing(errno)),
        },
    }
}

/// After strategy `other` returned 0 at `at`: reads, on its account, to find out whether that is the end, and
/// writes the bytes that it gets.
pub(crate) fn read_on(
    buffer: &mut Buffer,
    (src, dst): (Endpoint<'_>, Endpoint<'_>),
    at: u64,
    len: u64,
    account: &mut Account,
    other: Strategy,
) -> Step {
    if let Err(errno) = buffer.fill(src, at, len, account.tally_mut(other)) {
        return Step::Failed(Failure::reading(errno));
    }
    write_content(buffer, dst, at, account.tally_mut(Strategy::ReadWrite))
}

/// Returns an upper bound of the length of the next message. FIONREAD gives the length of the next message for
/// some kinds of sockets, and that of all waiting messages for others.
fn longest_message(src: Endpoint<'_>, tally: &mut Tally) -> Result<usize> {
    src.wait(false, tally)?;
    Ok(io::readable_bytes(src.fd).ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(LARGEST))
}

/// Waits after EAGAIN of a non-blocking descriptor.
fn await_again(end: Endpoint<'_>, write: bool, tally: &mut Tally) -> Result<()> {
    io::pause();
    end.wait(write, tally)
}

/// Writes all of `bytes`, by as many calls as needed. EMSGSIZE, from a socket that keeps messages apart, halves
/// the size of a call.
pub(crate) fn write_all(bytes: &[u8], dst: Endpoint<'_>, at: u64, tally: &mut Tally) -> Result<()> {
    let (mut written, mut most) = (0, usize::MAX);
    while let Some(rest @ [_, ..]) = bytes.get(written..) {
        let rest = &rest[..rest.len().min(most)];
        dst.wait_if_needed(true, tally)?;
        let answer = if dst.uncached {
            uncached::write(dst.fd, rest, at + written as u64, tally)
        } else if dst.has_offsets() {
            tally.call(Call::Pwrite, || rustix::io::pwrite(dst.fd, rest, at + written as u64))
        } else {
            tally.call(Call::Write, || rustix::io::write(dst.fd, rest))
        };
        match answer {
            // Without an error, the loop would not end.
            Ok(0) => return Err(Errno::IO),
            Ok(n) => written += n,
            Err(errno @ (Errno::SPIPE | Errno::INVAL)) if dst.has_offsets() => {
                dst.give_up_offsets(at + written as u64, errno)?;
            }
            Err(Errno::MSGSIZE) if rest.len() > 1 => most = rest.len() / 2,
            Err(Errno::INTR) if !dst.stop.is_raised() && tally.interruptions.may_retry() => {}
            Err(Errno::AGAIN) => await_again(dst, true, tally)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Returns the size of the blocks that are searched for zeros, in bytes: a file system cannot store smaller
/// holes.
pub(crate) fn block_size(stat: &Stat) -> usize {
    usize::try_from(stat.blksize).unwrap_or(4096).clamp(512, 1 << 16)
}

/// Zeros that were read and not written.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    pub(crate) bytes: u64,
    /// The number of zeros skipped after the last write.
    pub(crate) at_end: u64,
}

impl Skipped {
    /// Returns the offset up to which a step of `bytes` that ended at `at` has written, or `None` if it wrote
    /// nothing.
    pub(crate) fn written_to(&self, at: u64, bytes: u64) -> Option<u64> {
        (self.at_end < bytes).then_some(at - self.at_end)
    }
}

/// Like [`step`], but leaves out blocks of zeros, which become holes (`--sparse=always`). [`Step::Moved`] counts the
/// zeros as well.
pub(crate) fn step_without_zeros(
    buffer: &mut Buffer,
    (src, dst): (Endpoint<'_>, Endpoint<'_>),
    at: u64,
    len: u64,
    block: usize,
    tally: &mut Tally,
    skipped: &mut Skipped,
) -> Step {
    if let Err(errno) = buffer.fill(src, at, len, tally) {
        return Step::Failed(Failure::reading(errno));
    }
    let bytes = buffer.content();
    for (zero, run) in spans::runs(bytes, block) {
        let start = at + run.start as u64;
        // Without offsets nothing can be left out.
        if zero && dst.has_offsets() {
            let bytes = run.len() as u64;
            *skipped = Skipped { bytes: skipped.bytes + bytes, at_end: bytes };
            continue;
        }
        skipped.at_end = 0;
        if let Err(errno) = write_all(&bytes[run], dst, start, tally) {
            return Step::Failed(Failure::writing(errno));
        }
    }
    if bytes.is_empty() { Step::ReturnedZero } else { Step::Moved(bytes.len() as u64) }
}

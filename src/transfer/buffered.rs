//! read and write through a buffer: the ground of the ladder, and the one way for streams.

use super::endpoint::{Endpoint, Form};
use super::{Account, Call, Side, Step, Strategy, Tally, TransferError, uncached};
use crate::sys::{Errno, Result, io, memory};

/// The most bytes a read asks for; a larger buffer leaves the processor's cache.
const LARGEST: usize = 1 << 20;
/// The fewest bytes that the buffer is made for, so that small files do not make it grow each time.
const SMALLEST: usize = 64 << 10;
/// Where the buffer begins is a multiple of this, a line of the processor's cache. An allocator leaves large
/// blocks 16 bytes off, and there the kernel's copies are slow: 1 GiB into a UNIX socket by reads and writes
/// of 1 MiB took 175 ms of CPU time, and 116 from an aligned buffer (Zen 4).
const LINE: usize = 64;

/// The bytes on their way. It is as large as the largest read so far needed, and no larger.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Where in `bytes` the buffer begins.
    start: usize,
    filled: usize,
}

impl Buffer {
    /// What the last `fill` read.
    pub(super) fn content(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.filled).unwrap_or_default()
    }

    /// Reads once, at most `len` bytes; no content is the end of the file.
    pub(super) fn fill(&mut self, src: Endpoint<'_>, at: u64, len: u64, tally: &mut Tally) -> Result<()> {
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
                // Some files of /proc and debugfs call themselves regular and have no offsets all the same.
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
pub(super) fn step(
    buffer: &mut Buffer,
    src: Endpoint<'_>,
    dst: Endpoint<'_>,
    at: u64,
    len: u64,
    tally: &mut Tally,
) -> Step {
    if let Err(errno) = buffer.fill(src, at, len, tally) {
        return Step::Failed(TransferError::at(Side::Source, errno));
    }
    write_content(buffer, dst, at, tally)
}

fn write_content(buffer: &Buffer, dst: Endpoint<'_>, at: u64, tally: &mut Tally) -> Step {
    match buffer.content() {
        [] => Step::Dry,
        bytes => match write_all(bytes, dst, at, tally) {
            Ok(()) => Step::Moved(bytes.len() as u64),
            Err(errno) => Step::Failed(TransferError::at(Side::Destination, errno)),
        },
    }
}

/// Another strategy gave 0 at `at`: reads to find out whether that is the end, on its account, and writes what
/// there is.
pub(super) fn read_on(
    buffer: &mut Buffer,
    (src, dst): (Endpoint<'_>, Endpoint<'_>),
    at: u64,
    len: u64,
    account: &mut Account,
    other: Strategy,
) -> Step {
    if let Err(errno) = buffer.fill(src, at, len, account.path_mut(other)) {
        return Step::Failed(TransferError::at(Side::Source, errno));
    }
    write_content(buffer, dst, at, account.path_mut(Strategy::ReadWrite))
}

/// At least the length of the message that is next. No more than the socket holds: of all that wait there
/// some kinds tell the first, others the sum (FIONREAD).
fn longest_message(src: Endpoint<'_>, tally: &mut Tally) -> Result<usize> {
    src.wait(false, tally)?;
    Ok(io::readable_bytes(src.fd).ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(LARGEST))
}

/// A descriptor that does not block has nothing, or no room: it is waited for, never asked in a circle.
fn await_again(end: Endpoint<'_>, write: bool, tally: &mut Tally) -> Result<()> {
    io::pause();
    end.wait(write, tally)
}

/// Writes all of `bytes`, however many calls that takes. Where each is a message they may not be long.
pub(super) fn write_all(bytes: &[u8], dst: Endpoint<'_>, at: u64, tally: &mut Tally) -> Result<()> {
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
            // A write of something that gives 0 would be repeated for ever.
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

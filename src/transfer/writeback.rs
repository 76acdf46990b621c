//! Flushes a file to the disk while it is copied, for `--fsync` and `--cache=drop`.
//!
//! A signal does not interrupt fsync(2), which takes as long as the disk needs for all unwritten data. So a file
//! is flushed in steps, each of which is short, and signals are checked between them. `--cache=drop` can only drop
//! pages that are on the disk. A thread waits for the disk while the next step is copied.

use super::{FlushSize, nanoseconds};
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Result, io, memory};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// The ends of steps are multiples of this, so that the next folio is not split.
const ALIGNMENT: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Writeback {
    stop: StopFlag,
    /// Kept from file to file, because it depends on the disk.
    flush_size: FlushSize,
    /// Bytes of the current file that no flush covers.
    unwritten: u64,
    flush: Option<Flush>,
}

#[derive(Debug)]
struct Flush {
    number: usize,
    /// The offset up to which the file is on the disk afterwards.
    end: u64,
    bytes: u64,
    /// Returns the nanoseconds that the flush took.
    thread: JoinHandle<Result<u64>>,
}

impl Writeback {
    pub(super) fn new(stop: StopFlag) -> Writeback {
        Writeback { stop, ..Writeback::default() }
    }

    pub(super) fn begin(&mut self) {
        (self.unwritten, self.flush) = (0, None);
    }

    /// Returns the bytes of the current file that no flush covers.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Returns the most bytes to move before the next flush.
    pub(super) fn most_bytes(&self) -> u64 {
        self.step().saturating_sub(self.unwritten).max(ALIGNMENT)
    }

    fn step(&self) -> u64 {
        self.flush_size.bytes() / ALIGNMENT * ALIGNMENT
    }

    /// Accounts for `bytes` by which `dst` is now complete up to `end`, with `left` still to come. Begins a flush if
    /// one is due. Returns the offset up to which the file is on the disk, if that has changed. Fails with the errors
    /// of fdatasync(2), which no later call would report again.
    pub(super) fn add(&mut self, dst: BorrowedFd<'_>, end: u64, bytes: u64, left: u64) -> Result<Option<u64>> {
        self.unwritten += bytes;
        if self.unwritten < self.step() || left < ALIGNMENT {
            return Ok(None);
        }
        let written = self.wait()?;
        if self.stop.is_raised() {
            return Ok(written);
        }
        // Without a free descriptor or a thread, the data waits for a later flush.
        if let Ok(file) = io::duplicate(dst)
            && let Ok(thread) = thread::Builder::new().stack_size(memory::STACK).spawn(move || flush(file))
        {
            let number = self.flush_size.begin();
            self.flush = Some(Flush { number, end, bytes: std::mem::take(&mut self.unwritten), thread });
        }
        Ok(written)
    }

    /// Waits for the running flush. Returns the offset up to which the file is on the disk, if there was one.
    pub(super) fn wait(&mut self) -> Result<Option<u64>> {
        let Some(Flush { number, end, bytes, thread }) = self.flush.take() else { return Ok(None) };
        let ns = thread.join().unwrap_or(Err(Errno::IO))?;
        self.flush_size.learn(number, bytes, ns);
        Ok(Some(end))
    }
}

fn flush(file: OwnedFd) -> Result<u64> {
    let start = Instant::now();
    io::sync_data(file)?;
    Ok(nanoseconds(start.elapsed()))
}

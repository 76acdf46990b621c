//! What was written goes to the disk while the file is copied.
//!
//! fsync(2) is one call, which no signal ends, and takes as long as the disk does for all that it has not
//! written yet. So with `--fsync` a file is written step by step, and with `--cache=drop`, where only what is on
//! the disk can be given back: each step takes a moment, and there is a look for signals between two. A thread
//! waits for the disk, while the next step is copied.

use super::FlushSize;
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Result, io, memory};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// What the ends of steps are to be multiples of.
const EVEN: u64 = 1 << 20;

/// What one worker has written and not yet seen on the disk.
#[derive(Debug)]
pub(super) struct Writeback {
    stop: StopFlag,
    /// It outlives the file: disks differ, files do not.
    flush_size: FlushSize,
    /// Bytes of the file in hand that nobody has flushed.
    unwritten: u64,
    flush: Option<Flush>,
}

#[derive(Debug)]
struct Flush {
    number: usize,
    /// Up to where the file is on the disk then.
    end: u64,
    bytes: u64,
    /// Gives how many nanoseconds it took.
    thread: JoinHandle<Result<u64>>,
}

impl Writeback {
    pub(super) fn new(stop: StopFlag) -> Writeback {
        Writeback { stop, flush_size: FlushSize::default(), unwritten: 0, flush: None }
    }

    /// A file is about to be copied.
    pub(super) fn begin(&mut self) {
        (self.unwritten, self.flush) = (0, None);
    }

    /// How many bytes of the file in hand may not be on the disk yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// The most bytes to move before the next flush.
    pub(super) fn most(&self) -> u64 {
        self.step().saturating_sub(self.unwritten).max(EVEN)
    }

    /// Offsets that are not even would split the folios of what comes behind.
    fn step(&self) -> u64 {
        self.flush_size.bytes() / EVEN * EVEN
    }

    /// So many more bytes are in `dst`, which now has all up to `end`, and `left` are to come. Begins to flush it if
    /// it is time to, and says up to where it is on the disk if that has changed.
    ///
    /// # Errors
    /// Those of fdatasync(2): no later call would tell them again.
    pub(super) fn add(&mut self, dst: BorrowedFd<'_>, end: u64, bytes: u64, left: u64) -> Result<Option<u64>> {
        self.unwritten += bytes;
        if self.unwritten < self.step() || left < EVEN {
            return Ok(None);
        }
        let written = self.wait()?;
        if self.stop.is_raised() {
            return Ok(written);
        }
        // Without a descriptor or a thread to spare, all is left to the end.
        if let Ok(file) = io::duplicate(dst)
            && let Ok(thread) = thread::Builder::new().stack_size(memory::STACK).spawn(move || flush(file))
        {
            let number = self.flush_size.begin();
            self.flush = Some(Flush { number, end, bytes: std::mem::take(&mut self.unwritten), thread });
        }
        Ok(written)
    }

    /// Waits for the flush under way, and says up to where the file is on the disk then.
    ///
    /// # Errors
    /// Those of fdatasync(2).
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
    Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

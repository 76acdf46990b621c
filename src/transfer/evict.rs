//! `--cache=drop`: a copy that leaves the page cache as it found it.
//!
//! What has been copied is given back, window by window: pages of the source at once, unless they were
//! there before; pages of the destination when they are on the disk. POSIX_FADV_DONTNEED begins to write
//! back what is dirty and drops what is clean (`generic_fadvise` in mm/fadvise.c), so each window is given
//! back twice: when it is full, and when a flush has made sure that it is clean. Small files are flushed
//! many at a time, since a flush is a commit of the journal.
//!
//! Where the kernel can do it page by page (`uncached.rs`), small files are left to it: they do not have to be
//! flushed then. This serves every path, and large files on a faster one.

use super::Transfer;
use crate::sys::proc::StopFlag;
use crate::sys::{Result, io, proc};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes after which pages are given back for the first time.
const WINDOW: u64 = 8 << 20;
/// How many windows ahead it is asked whether the source is in the cache: further than it is read ahead
/// (`read_ahead_kb` of a disk may be 8 MiB and more).
const AHEAD: usize = 4;
/// Bytes of many files after which they are flushed. How often one is, is up to `writeback.rs`.
pub(super) const FLUSH: u64 = 64 << 20;
/// Files that wait for a flush, at most, in each worker.
const FILES: usize = 64;

/// Files that wait for a flush in the whole process: each has a descriptor.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// What one worker has to give back.
#[derive(Debug)]
pub(super) struct Evictor {
    stop: StopFlag,
    /// The bytes to be copied: a whole file, or a range of one that others copy ranges of as well.
    range: Range<u64>,
    /// Where the window in hand begins.
    start: u64,
    /// Whether the source's pages of this window, and of those to come, were in the cache before.
    cached: VecDeque<bool>,
    /// Whether any of the file's were.
    any_cached: bool,
    /// Up to where the destination is on the disk.
    flushed: u64,
    /// Destinations that are complete, and not yet on the disk.
    waiting: Vec<OwnedFd>,
    waiting_bytes: u64,
}

impl Evictor {
    pub(super) fn new(stop: StopFlag) -> Evictor {
        Evictor {
            stop,
            range: 0..0,
            start: 0,
            cached: VecDeque::new(),
            any_cached: false,
            flushed: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
        }
    }

    /// A range of a file is about to be copied.
    pub(super) fn begin(&mut self, t: &Transfer<'_>, range: Range<u64>) {
        (self.flushed, self.any_cached) = (range.start, false);
        self.range = range;
        self.look_from(t, self.range.start);
    }

    fn look_from(&mut self, t: &Transfer<'_>, start: u64) {
        self.start = start;
        self.cached.clear();
        let windows = (0..AHEAD as u64).map(|n| start + n * WINDOW).take_while(|at| *at < self.range.end);
        self.cached.extend(windows.map(|at| was_cached(t, at, self.range.end)));
    }

    /// The most bytes to move from `at`, so that a window ends where it should.
    pub(super) fn most(&self, at: u64) -> u64 {
        (self.start + WINDOW).saturating_sub(at).max(4096)
    }

    /// The file has been copied up to `at`.
    pub(super) fn passed(&mut self, t: &Transfer<'_>, at: u64) {
        let end = self.start + WINDOW;
        if at < end {
            return;
        }
        self.give_back(t, WINDOW);
        if at - end >= WINDOW {
            self.look_from(t, at - at % WINDOW); // beyond a hole
        } else {
            self.start = end;
            let next = end + (AHEAD as u64 - 1) * WINDOW;
            let end = self.range.end;
            self.cached.extend((next < end).then(|| was_cached(t, next, end)));
        }
    }

    /// The destination is on the disk up to `at`.
    pub(super) fn flushed(&mut self, t: &Transfer<'_>, at: u64) {
        io::drop_pages(t.dst, self.flushed, at.saturating_sub(self.flushed).max(1));
        self.flushed = at;
    }

    fn give_back(&mut self, t: &Transfer<'_>, len: u64) {
        let was_cached = self.cached.pop_front().unwrap_or(false);
        self.any_cached |= was_cached;
        if !was_cached {
            io::drop_pages(t.src, self.start, len);
        }
        io::drop_pages(t.dst, self.start, len);
    }

    /// The range is there, up to `at`. With `later` it may be flushed together with others, by a descriptor that stays
    /// open until then.
    ///
    /// # Errors
    /// Those of fdatasync(2) of this file: fsync(2) on the same descriptor would not tell them again.
    pub(super) fn end(&mut self, t: &Transfer<'_>, at: u64, later: bool) -> Result<()> {
        if at > self.start {
            self.give_back(t, at - self.start);
        }
        if !self.any_cached {
            // The edges of windows, and what was read ahead, also beyond a range.
            let ahead = AHEAD as u64 * WINDOW;
            io::drop_pages(t.src, self.range.start, at.saturating_sub(self.range.start) + ahead);
        }
        if !later {
            return flush(t.dst);
        }
        let most = proc::descriptor_limit() / 4;
        match io::duplicate(t.dst) {
            Ok(fd) if WAITING.fetch_add(1, Ordering::Relaxed) < most => {
                self.waiting.push(fd);
                self.waiting_bytes += at - self.flushed.min(at);
                let full = self.waiting.len() >= FILES || self.waiting_bytes >= FLUSH;
                if full { self.flush_waiting() } else { Ok(()) }
            }
            Ok(_) => {
                WAITING.fetch_sub(1, Ordering::Relaxed);
                flush(t.dst)
            }
            Err(_) => flush(t.dst),
        }
    }

    /// Makes sure that all files so far are on the disk, and gives their pages back. The answer is that of the
    /// last: an error of one that was complete before is for fsync(2) to tell, as without this option.
    fn flush_waiting(&mut self) -> Result<()> {
        self.waiting_bytes = 0;
        let mut answer = Ok(());
        for fd in self.waiting.drain(..) {
            // Who asked for the end is not to wait for a disk.
            answer = if self.stop.is_raised() { Ok(()) } else { flush(&fd) };
            WAITING.fetch_sub(1, Ordering::Relaxed);
        }
        answer
    }
}

impl Drop for Evictor {
    fn drop(&mut self) {
        let _ = self.flush_waiting();
    }
}

/// Whether the window of the source from `at` on, or up to `end`, was read by somebody before. Its last byte
/// tells.
fn was_cached(t: &Transfer<'_>, at: u64, end: u64) -> bool {
    io::is_cached(t.src, end.min(at + WINDOW).saturating_sub(1))
}

fn flush(fd: impl AsFd) -> Result<()> {
    let answer = io::sync_data(&fd);
    io::drop_pages(&fd, 0, 0);
    answer
}

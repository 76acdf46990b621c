//! `--cache=drop`: drops the pages that a copy brings into the page cache.
//!
//! Pages are dropped window by window: those of the source as soon as they are copied, unless they were cached
//! before; those of the destination when they are on the disk. POSIX_FADV_DONTNEED starts writeback of dirty pages
//! and drops clean ones (`generic_fadvise` in mm/fadvise.c), so it is called twice for each window of the
//! destination: when the window is full, and after a flush has made its pages clean. Small files are flushed many
//! at a time, because each flush is a commit of the journal.
//!
//! Where the kernel supports RWF_DONTCACHE (`uncached.rs`), small files use that instead and need no flush. This
//! module works with every strategy, also with the faster ones for large files.

use super::Transfer;
use crate::sys::proc::StopFlag;
use crate::sys::{Result, io, proc};
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes of a window.
const WINDOW: u64 = 8 << 20;
/// For how many windows ahead the source is checked for cached pages. They reach further than the kernel's
/// read-ahead (`read_ahead_kb` of a disk may be 8 MiB and more).
const AHEAD: usize = 4;
/// Bytes of complete files that wait for a flush, at most, in each worker. A large file is flushed by
/// `writeback.rs`.
pub(super) const FLUSH: u64 = 64 << 20;
/// Complete files that wait for a flush, at most, in each worker.
const FILES: usize = 64;

/// Complete files that wait for a flush in the whole process. Each keeps a descriptor open.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The pages that one worker has to drop.
#[derive(Debug, Default)]
pub(super) struct Evictor {
    stop: StopFlag,
    /// The bytes to copy: a whole file, or one range of a file whose other ranges are copied by other processes.
    range: Range<u64>,
    /// The offset of the current window.
    start: u64,
    /// Whether the source's pages in the current window and those ahead were cached before.
    cached: VecDeque<bool>,
    /// Whether any page of the source was cached before.
    any_cached: bool,
    /// The offset up to which the destination is on the disk.
    flushed: u64,
    /// Complete destinations that may not be on the disk yet.
    waiting: Vec<OwnedFd>,
    waiting_bytes: u64,
}

impl Evictor {
    pub(super) fn new(stop: StopFlag) -> Evictor {
        let mut evictor = Evictor::default();
        evictor.stop = stop;
        evictor
    }

    pub(super) fn begin(&mut self, t: &Transfer<'_>, range: Range<u64>) {
        (self.flushed, self.any_cached) = (range.start, false);
        self.range = range;
        self.check_from(t, self.range.start);
    }

    fn check_from(&mut self, t: &Transfer<'_>, start: u64) {
        self.start = start;
        self.cached.clear();
        let windows = (0..AHEAD as u64).map(|n| start + n * WINDOW).take_while(|at| *at < self.range.end);
        self.cached.extend(windows.map(|at| was_cached(t, at, self.range.end)));
    }

    /// Returns the most bytes to move from `at`, so that a step ends with the window.
    pub(super) fn most_bytes(&self, at: u64) -> u64 {
        (self.start + WINDOW).saturating_sub(at).max(4096)
    }

    /// Drops the pages of windows that are complete, after a copy up to `at`.
    pub(super) fn copied_to(&mut self, t: &Transfer<'_>, at: u64) {
        let end = self.start + WINDOW;
        if at < end {
            return;
        }
        self.drop_window(t, WINDOW);
        if at - end >= WINDOW {
            self.check_from(t, at - at % WINDOW); // a hole was skipped
        } else {
            self.start = end;
            let next = end + (AHEAD as u64 - 1) * WINDOW;
            let end = self.range.end;
            self.cached.extend((next < end).then(|| was_cached(t, next, end)));
        }
    }

    /// Drops the destination's pages up to `at`, which are on the disk.
    pub(super) fn flushed(&mut self, t: &Transfer<'_>, at: u64) {
        io::drop_pages(t.dst, self.flushed, at.saturating_sub(self.flushed).max(1));
        self.flushed = at;
    }

    fn drop_window(&mut self, t: &Transfer<'_>, len: u64) {
        let was_cached = self.cached.pop_front().unwrap_or(false);
        self.any_cached |= was_cached;
        if !was_cached {
            io::drop_pages(t.src, self.start, len);
        }
        io::drop_pages(t.dst, self.start, len);
    }

    /// Drops the remaining pages after the copy ended at `at`. With `later`, the file may be flushed together with
    /// others, through a descriptor that stays open until then. Fails with the errors of fdatasync(2) on this file,
    /// because a later fsync(2) on the same descriptor would not report them again.
    pub(super) fn end(&mut self, t: &Transfer<'_>, at: u64, later: bool) -> Result<()> {
        if at > self.start {
            self.drop_window(t, at - self.start);
        }
        if !self.any_cached {
            // The pages at the edges of windows, and those read ahead, also beyond the range.
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

    /// Flushes all waiting files and drops their pages. Returns the result of the last. An error of an earlier
    /// file is left to fsync(2), as without this option.
    fn flush_waiting(&mut self) -> Result<()> {
        self.waiting_bytes = 0;
        let mut answer = Ok(());
        for fd in self.waiting.drain(..) {
            // After a request to stop, nothing waits for the disk.
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

/// Returns whether the window of the source at `at`, up to `end`, was cached before the copy: its last byte is.
fn was_cached(t: &Transfer<'_>, at: u64, end: u64) -> bool {
    io::is_cached(t.src, end.min(at + WINDOW).saturating_sub(1))
}

fn flush(fd: impl AsFd) -> Result<()> {
    let answer = io::sync_data(&fd);
    io::drop_pages(&fd, 0, 0);
    answer
}

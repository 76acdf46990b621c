//! Copies one file, step by step.
//!
//! `at` is the offset up to which the destination is complete. After a refusal the next strategy continues exactly
//! there, so no byte is lost or written twice.

use super::candidates::Candidates;
use super::chunk::CallSize;
use super::endpoint::{Form, Offsets};
use super::ladder::{Ladder, Outcome, Sparse, Transfer, TransferError};
use super::route::{Cloning, FsKind, LARGE};
use super::spans::{self, Next, ReportedHoles};
use super::uncached::Sides;
use super::zeros::Skipped;
use super::{Account, Reason, Route, Step, Strategy};
use super::{buffered, copy_range, mmap, reflink, sendfile, splice, zeros};
use crate::sys::{self, Errno, Stat, io};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// How often `read` may return 0 before the end: another process may truncate the file and fill it again.
pub(super) const MOST_EMPTY_READS: u32 = 3;

/// The state of the copy of one file.
pub(super) struct FileLoop<'a, 'f> {
    ladder: &'a mut Ladder,
    t: &'a Transfer<'f>,
    candidates: Candidates<'a>,
    /// Whether the destination's blocks are allocated first.
    preallocate: bool,
    account: &'a mut Account,
    /// The sides that bypass the page cache.
    uncached: Sides,
    /// Whether the data ends at `st_size`.
    true_size: bool,
    /// The position of the destination's descriptor, where sendfile writes.
    position: u64,
    /// The bytes to request from a call, so that Ctrl-C and the progress bar respond.
    call_size: CallSize,
    /// Zeros that the last step read but did not write.
    skipped: Skipped,
    /// The offset up to which the destination has been written, or allocated.
    filled: u64,
    /// The sides that have offsets.
    offsets: Offsets,
    /// The holes that were skipped.
    reported: ReportedHoles,
    outcome: Outcome,
}

impl<'a, 'f> FileLoop<'a, 'f> {
    pub(super) fn new(
        ladder: &'a mut Ladder,
        t: &'a Transfer<'f>,
        route: &'a Route,
        account: &'a mut Account,
        true_size: bool,
    ) -> Self {
        FileLoop {
            ladder,
            t,
            candidates: Candidates::new(route, (t.stat.dev, t.dst_dev)),
            preallocate: route.preallocate,
            account,
            uncached: Sides::default(),
            true_size,
            position: 0,
            call_size: CallSize::default(),
            skipped: Skipped::default(),
            filled: 0,
            offsets: t.offsets(Form::File),
            reported: ReportedHoles::default(),
            outcome: Outcome::default(),
        }
    }

    /// Makes read and write bypass the page cache on these sides.
    pub(super) fn past_cache(mut self, sides: Sides) -> Self {
        self.uncached = sides;
        self
    }

    pub(super) fn run(&mut self) -> Result<Outcome, TransferError> {
        let sparse = self.ladder.limits.sparse;
        let wanted = self.t.stat.size > 0 || self.ladder.limits.cloning == Cloning::Require;
        if wanted && self.try_reflink()? {
            self.outcome.size = self.t.stat.size;
            return Ok(self.outcome);
        }
        let seems_sparse = self.t.stat.seems_sparse();
        let wants_holes = sparse == Sparse::Always || sparse == Sparse::Auto && seems_sparse;
        let makes_holes = wants_holes && self.can_make_holes();
        let ask = makes_holes && seems_sparse;
        self.outcome.asked_for_holes = ask;
        self.outcome.searched_zeros = makes_holes && sparse == Sparse::Always;
        self.outcome.size = if ask { self.copy_whole_sparse()? } else { self.copy_dense()? };
        Ok(self.outcome)
    }

    /// Copies a range into a destination that has its full length and, in the range, only holes or these same
    /// bytes. The outcome's size is the offset at which the copy ended.
    pub(super) fn run_range(&mut self, range: Range<u64>) -> Result<Outcome, TransferError> {
        self.outcome.asked_for_holes = self.ladder.limits.sparse != Sparse::Never && self.t.stat.seems_sparse();
        self.outcome.searched_zeros = self.ladder.limits.sparse == Sparse::Always;
        let believes = self.outcome.asked_for_holes && (self.true_size || self.holes_are_credible());
        self.outcome.size = match (self.outcome.asked_for_holes, believes) {
            (true, true) => self.copy_spans(range.start, Some(range.end))?,
            (true, false) => self.search_zeros(range.start, Some(range.end))?,
            (false, _) => self.move_bytes(range.start, Some(range.end))?,
        };
        Ok(self.outcome)
    }

    /// Whether parts of the destination may be left unwritten. Some FUSE servers accept bytes only in order and
    /// damage a file that is written otherwise. Those refuse to set its length in advance, without harm.
    fn can_make_holes(&mut self) -> bool {
        if self.ladder.file_system(self.t.dst_dev, self.t.dst) != FsKind::Fuse {
            return true;
        }
        let size = self.t.stat.size;
        let can = size > 0 && io::truncate(self.t.dst, size).is_ok();
        if can {
            self.filled = self.filled.max(size);
        }
        can
    }

    /// Tries a reflink, if the route begins with one. It clones whole files only, so nothing may be written before
    /// it.
    fn try_reflink(&mut self) -> Result<bool, TransferError> {
        if self.candidates.current(self.ladder) != Some(Strategy::Reflink) {
            return Ok(false);
        }
        let tally = self.account.tally_mut(Strategy::Reflink);
        let step = loop {
            self.ladder.check_stop()?;
            match reflink::clone_file(self.t.src, self.t.dst, self.t.stat.size, tally) {
                Step::Refused(Errno::INTR) if tally.interruptions.may_retry() => {}
                step => break step,
            }
        };
        match step {
            Step::Moved(n) => {
                self.candidates.credit(self.account, Strategy::Reflink, n);
                Ok(true)
            }
            Step::Failed(error) => Err(TransferError { refused: Some(Strategy::Reflink), ..error }),
            Step::Refused(errno) | Step::Unavailable(errno) => self.step_down(errno.into(), errno).map(|()| false),
            Step::Dry => Ok(false),
        }
    }

    /// Copies a file from its start to its end.
    fn copy_dense(&mut self) -> Result<u64, TransferError> {
        let size = self.t.stat.size;
        let allocated = self.preallocate && io::preallocate(self.t.dst, size).is_ok();
        let end = self.move_bytes(0, None)?;
        if allocated {
            self.filled = self.filled.max(size); // if the source shrank, `set_size` frees the blocks behind the end
        }
        self.set_size(end)?;
        Ok(end)
    }

    /// Copies a file with holes: each extent of data, then the holes if they are not credible. Finally sets the
    /// length.
    fn copy_whole_sparse(&mut self) -> Result<u64, TransferError> {
        let size = self.copy_spans(0, None)?;
        let reported = std::mem::take(&mut self.reported);
        let data = size.saturating_sub(reported.bytes);
        if !reported.holes.is_empty() && !spans::are_credible(&self.t.stat, data, self.true_size) {
            self.account.holes -= reported.bytes;
            self.ladder.meter.bytes.fetch_sub(reported.bytes, Ordering::Relaxed);
            for hole in reported.holes {
                let end = self.search_zeros(hole.start, Some(hole.end))?;
                self.account.holes += hole.end.saturating_sub(end); // the source was truncated meanwhile
            }
        }
        self.set_size(size)?;
        Ok(size)
    }

    fn holes_are_credible(&self) -> bool {
        let data = spans::data_bytes(self.t.src, self.t.stat.size);
        spans::are_credible(&self.t.stat, data, self.true_size)
    }

    /// Reads a range whose reported holes are not credible, and leaves out runs of zeros. If the route does not
    /// allow read/write, another strategy copies the range and fills the holes.
    fn search_zeros(&mut self, from: u64, end: Option<u64>) -> Result<u64, TransferError> {
        self.outcome.searched_zeros |= self.candidates.skip_to(Strategy::ReadWrite);
        self.move_bytes(from, end)
    }

    /// Copies the extents of data between `at` and `end`, or the end of the file. Returns the offset reached.
    fn copy_spans(&mut self, mut at: u64, end: Option<u64>) -> Result<u64, TransferError> {
        let until = end.unwrap_or(u64::MAX);
        while at < until {
            match spans::next_span(self.t.src, at) {
                Next::Data(span) if span.start < until => {
                    self.skip_hole(at, span.start);
                    let span_end = span.end.min(until);
                    at = self.move_bytes(span.start, Some(span_end))?;
                    if at < span_end {
                        break; // the source shrank
                    }
                }
                Next::Data(_) => {
                    self.skip_hole(at, until);
                    at = until;
                }
                Next::Hole => {
                    let hole_end = self.t.source_size()?.clamp(at, until);
                    self.skip_hole(at, hole_end);
                    at = hole_end;
                    if !self.true_size && end.is_none() {
                        at = self.move_bytes(at, None)?; // there may be data behind `st_size`
                    }
                    break;
                }
                Next::Unknown => {
                    at = self.move_bytes(at, end)?;
                    break;
                }
            }
        }
        Ok(at)
    }

    fn skip_hole(&mut self, from: u64, to: u64) {
        self.account.holes += to - from;
        self.reported.add(from..to, self.true_size);
        self.ladder.meter.add(to - from);
    }

    /// Sets the destination's length, unless the writes have set it.
    fn set_size(&self, size: u64) -> Result<(), TransferError> {
        if self.filled == size {
            return Ok(());
        }
        io::truncate(self.t.dst, size).map_err(TransferError::destination)
    }

    /// Moves the bytes from `at` to `end`, or to the end of the file. Returns the offset reached, which is less
    /// than `end` only if the file ends there.
    fn move_bytes(&mut self, mut at: u64, end: Option<u64>) -> Result<u64, TransferError> {
        let mut known_end = end.unwrap_or(self.t.stat.size);
        let mut dry = 0;
        // Since the last call holes may have been skipped, and SEEK_DATA moves the position.
        self.offsets = self.t.offsets(Form::File);
        loop {
            self.ladder.check_stop()?;
            if at >= known_end {
                match end {
                    Some(_) => return Ok(at),
                    None if self.true_size => match self.grown_size(at)? {
                        Some(size) => known_end = size,
                        None => return Ok(at),
                    },
                    None => {}
                }
            }
            let Some(strategy) = self.candidates.current(self.ladder) else {
                return Err(self.candidates.exhausted(Errno::OPNOTSUPP));
            };
            // Beyond a size that is not trusted, request a buffer's size.
            let len = if at < known_end { (known_end - at).min(self.call_size.bytes()) } else { 64 << 10 };
            let len = self.ladder.most_bytes(self.t, at, len);
            let before = self.account.tally(strategy).ns;
            match self.step(strategy, at, len) {
                Step::Moved(n) if self.is_torn(strategy, at + n) => {
                    self.filled = self.filled.max(at + n); // if the source ends before that, `set_size` truncates
                    self.step_down(Reason::Changed, Errno::AGAIN)?
                }
                Step::Moved(n) => {
                    let ns = self.account.tally(strategy).ns - before;
                    self.call_size.learn(n, ns);
                    if strategy == Strategy::Splice {
                        self.ladder.pipe_load.learn(self.t.stat.size, n, ns);
                    }
                    (at, dry) = (at + n, 0);
                    self.record(strategy, at, n)?;
                }
                Step::Dry if strategy == Strategy::ReadWrite && self.ends_early(at)? => {
                    dry += 1;
                    if dry > MOST_EMPTY_READS {
                        return Err(TransferError::source(Errno::IO));
                    }
                }
                Step::Dry if strategy == Strategy::ReadWrite => return Ok(at),
                Step::Dry => match self.read_on(strategy, at, len)? {
                    Some(n) => at += n,
                    None => return Ok(at),
                },
                // A signal arrived; `check_stop` above sees whether it requested a stop.
                Step::Refused(Errno::INTR) | Step::Failed(TransferError { errno: Errno::INTR, .. })
                    if self.account.tally_mut(strategy).interruptions.may_retry() => {}
                Step::Refused(errno) | Step::Unavailable(errno) => {
                    self.step_down(errno.into(), errno)?;
                    // A file without offsets may be mappable, but only reading it from its start finds its end.
                    if errno == Errno::SPIPE && at == 0 && self.candidates.has_later(Strategy::ReadWrite) {
                        self.candidates.skip_to(Strategy::ReadWrite);
                    }
                }
                Step::Failed(error) => return Err(error),
            }
        }
    }

    /// The new size of a large file that has grown while it was copied. A small file is not checked: its copy is
    /// short, and the check would cost it a call.
    fn grown_size(&self, at: u64) -> Result<Option<u64>, TransferError> {
        if at < LARGE {
            return Ok(None);
        }
        Ok(Some(self.t.source_size()?).filter(|size| *size > at))
    }

    /// Whether bytes that were moved by reference, up to `end`, may differ from the file's. If the source is
    /// truncated while its pages are in a pipe or a map, the part beyond its new end becomes zeros, which were
    /// never in the file if it grows again. Then the next strategy repeats the step, in smaller pieces or by
    /// reading. Without a next strategy the bytes are accepted.
    fn is_torn(&self, strategy: Strategy, end: u64) -> bool {
        let by_reference = matches!(strategy, Strategy::Splice | Strategy::Mmap);
        let quiet = |now: Stat| now.size >= end && now.mtime == self.t.stat.mtime;
        by_reference
            && self.true_size
            && self.candidates.has_another()
            && !sys::at::fstat(self.t.src).is_ok_and(quiet)
    }

    fn step(&mut self, strategy: Strategy, at: u64, len: u64) -> Step {
        let tally = self.account.tally_mut(strategy);
        let ladder = &mut *self.ladder;
        let (mut src, mut dst) = self.t.ends((Form::File, Form::File), &self.offsets, &ladder.stop);
        (src.uncached, dst.uncached) = (self.uncached.source, self.uncached.destination);
        match strategy {
            // After other strategies it can still clone the whole file. A size that is not trusted may be 0, and
            // the clone may be longer.
            Strategy::Reflink if at == 0 => match reflink::clone_file(src.fd, dst.fd, self.t.stat.size, tally) {
                Step::Moved(0) => Step::Dry,
                step => step,
            },
            Strategy::Reflink if at >= self.t.stat.size => Step::Dry,
            Strategy::Reflink => Step::Refused(Errno::INVAL),
            Strategy::CopyFileRange => copy_range::step(src, dst, at, len, tally),
            Strategy::Splice => {
                let len = len.min(ladder.pipe_load.bytes(self.t.stat.size));
                splice::step(&mut ladder.pipe, src, dst, at, len, tally)
            }
            Strategy::Sendfile => sendfile::step(src, dst, at, len, &mut self.position, tally),
            Strategy::Mmap => mmap::step(src, dst, at, len, tally),
            Strategy::ReadWrite if self.outcome.searched_zeros => {
                let mut skipped = Skipped::default();
                let block = zeros::block_size(&self.t.stat);
                let step = zeros::step(&mut ladder.buffer, (src, dst), at, len, block, tally, &mut skipped);
                self.account.holes += skipped.bytes;
                self.skipped = skipped;
                step
            }
            Strategy::ReadWrite => buffered::step(&mut ladder.buffer, src, dst, at, len, tally),
        }
    }

    /// Whether a call returned 0 before `st_size`, on a file system whose sizes are trusted. A truncated file ends
    /// at its new size; if the size is still larger, data is missing.
    fn ends_early(&self, at: u64) -> Result<bool, TransferError> {
        Ok(self.true_size && self.t.source_size()? > at)
    }

    /// Continues after a strategy returned 0, which is no proof of the end: only `read` finds it. Returns the
    /// bytes moved, `None` at the end. Bytes that are read to find out are written, because some files give them
    /// only once, and only to a read of more than one byte.
    fn read_on(&mut self, strategy: Strategy, at: u64, len: u64) -> Result<Option<u64>, TransferError> {
        let early_end = Errno::NODATA;
        if self.true_size {
            if !self.ends_early(at)? {
                return Ok(None);
            }
            return self.step_down(Reason::EarlyEnd, early_end).map(|()| Some(0));
        }
        let ladder = &mut *self.ladder;
        let sides = self.t.ends((Form::File, Form::File), &self.offsets, &ladder.stop);
        if !self.candidates.has_later(Strategy::ReadWrite) {
            if sides.0.ends_at(at, self.account.tally_mut(strategy)) {
                return Ok(None);
            }
            return self.step_down(Reason::EarlyEnd, early_end).map(|()| Some(0));
        }
        match buffered::read_on(&mut ladder.buffer, sides, at, len, self.account, strategy) {
            Step::Moved(n) => {
                self.step_down(Reason::EarlyEnd, early_end)?;
                self.candidates.skip_to(Strategy::ReadWrite);
                self.record(Strategy::ReadWrite, at + n, n)?;
                Ok(Some(n))
            }
            Step::Failed(error) if error.errno != Errno::INTR || !self.ladder.stop.is_raised() => Err(error),
            Step::Failed(_) | Step::Refused(_) | Step::Unavailable(_) => Ok(Some(0)),
            Step::Dry => Ok(None),
        }
    }

    /// Accounts for `bytes` by which the destination is now complete up to `at`.
    fn record(&mut self, strategy: Strategy, at: u64, bytes: u64) -> Result<(), TransferError> {
        let skipped = std::mem::take(&mut self.skipped);
        self.filled = self.filled.max(skipped.written_to(at, bytes).unwrap_or(0));
        self.candidates.credit(self.account, strategy, bytes - skipped.bytes);
        self.ladder.moved(self.t, at, bytes)
    }

    /// Changes to the next strategy; an error if there is none.
    fn step_down(&mut self, reason: Reason, errno: Errno) -> Result<(), TransferError> {
        self.candidates.step_down(self.ladder, self.account, reason, errno)
    }
}

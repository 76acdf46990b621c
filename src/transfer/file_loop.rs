//! One file on its way up the ladder.
//!
//! `at` is what the destination has. A strategy that is refused hands over exactly there, so no byte is
//! lost or doubled, whichever strategy gets how far.

use super::candidates::Candidates;
use super::chunk::CallSize;
use super::endpoint::{Form, Offsets};
use super::ladder::{Ladder, Outcome, Side, Sparse, Transfer, TransferError};
use super::route::{Cloning, FsKind, LARGE};
use super::spans::{self, Denied, Next};
use super::uncached::Sides;
use super::zeros::Skipped;
use super::{Account, Reason, Route, Step, Strategy};
use super::{buffered, copy_range, mmap, reflink, sendfile, splice, zeros};
use crate::sys::{self, Errno, Stat, io};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// How often `read` may give 0 before the end: once may be a file that others truncate and fill again.
const MOST_EMPTY_READS: u32 = 3;

/// One file on its way up the ladder.
pub(super) struct FileLoop<'a, 'f> {
    ladder: &'a mut Ladder,
    t: &'a Transfer<'f>,
    candidates: Candidates<'a>,
    /// Whether the destination's blocks are allocated first.
    preallocate: bool,
    account: &'a mut Account,
    /// Which sides pass the page cache by.
    uncached: Sides,
    /// Whether `st_size` is where the data ends.
    true_size: bool,
    /// The destination's own position, which sendfile writes at.
    position: u64,
    /// How much a call is asked for, so that Ctrl-C and the progress bar stay alive.
    call_size: CallSize,
    /// Zeros that the last step read but did not write.
    skipped: Skipped,
    /// Up to where the destination has been written, or allocated.
    filled: u64,
    /// Which side has offsets.
    offsets: Offsets,
    /// What the file system said are holes.
    denied: Denied,
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
            denied: Denied::default(),
            outcome: Outcome::default(),
        }
    }

    /// Has these sides pass the page cache by, when the file is read and written.
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

    /// Copies a range into a destination that has its full length and nothing but holes, or these very
    /// bytes, there. The outcome's size is where the copy ended.
    pub(super) fn run_range(&mut self, range: Range<u64>) -> Result<Outcome, TransferError> {
        self.outcome.asked_for_holes = self.ladder.limits.sparse != Sparse::Never && self.t.stat.seems_sparse();
        self.outcome.searched_zeros = self.ladder.limits.sparse == Sparse::Always;
        let believes = self.outcome.asked_for_holes && (self.true_size || self.holes_are_credible());
        self.outcome.size = match (self.outcome.asked_for_holes, believes) {
            (true, true) => self.copy_spans(range.start, Some(range.end))?,
            (true, false) => self.search(range.start, Some(range.end))?,
            (false, _) => self.move_bytes(range.start, Some(range.end))?,
        };
        Ok(self.outcome)
    }

    /// Whether parts of the destination may be left out. Some FUSE servers take bytes only in their order, and break a
    /// file that is written otherwise; what they refuse without harm is to give it its length beforehand.
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

    /// Whole files only, so it is tried before anything else, if the route has it.
    fn try_reflink(&mut self) -> Result<bool, TransferError> {
        if self.candidates.current(self.ladder) != Some(Strategy::Reflink) {
            return Ok(false);
        }
        let tally = self.account.path_mut(Strategy::Reflink);
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

    /// A file without holes: from the start to its end.
    fn copy_dense(&mut self) -> Result<u64, TransferError> {
        let size = self.t.stat.size;
        let allocated = self.preallocate && io::preallocate(self.t.dst, size).is_ok();
        let end = self.move_bytes(0, None)?;
        if allocated {
            self.filled = self.filled.max(size); // a source that shrank leaves blocks behind its end
        }
        self.set_size(end)?;
        Ok(end)
    }

    /// A file with holes: span after span of data, then the holes if they are not to be believed in, and the
    /// length at last.
    fn copy_whole_sparse(&mut self) -> Result<u64, TransferError> {
        let size = self.copy_spans(0, None)?;
        let denied = std::mem::take(&mut self.denied);
        let data = size.saturating_sub(denied.bytes);
        if !denied.holes.is_empty() && !spans::are_credible(&self.t.stat, data, self.true_size) {
            self.account.holes -= denied.bytes;
            self.ladder.meter.bytes.fetch_sub(denied.bytes, Ordering::Relaxed);
            for hole in denied.holes {
                let end = self.search(hole.start, Some(hole.end))?;
                self.account.holes += hole.end.saturating_sub(end); // cut off meanwhile
            }
        }
        self.set_size(size)?;
        Ok(size)
    }

    fn holes_are_credible(&self) -> bool {
        let data = spans::data_bytes(self.t.src, self.t.stat.size);
        spans::are_credible(&self.t.stat, data, self.true_size)
    }

    /// Copies what the file system may have lied about: all of it is read, and what is not zeros is written.
    /// Where reading is not allowed, holes are filled.
    fn search(&mut self, from: u64, end: Option<u64>) -> Result<u64, TransferError> {
        self.outcome.searched_zeros |= self.candidates.skip_to(Strategy::ReadWrite);
        self.move_bytes(from, end)
    }

    /// The data between `at` and `end`, or the end of the file; says where that is.
    fn copy_spans(&mut self, mut at: u64, end: Option<u64>) -> Result<u64, TransferError> {
        let until = end.unwrap_or(u64::MAX);
        while at < until {
            match spans::next_span(self.t.src, at) {
                Next::Data(span) if span.start < until => {
                    self.pass_hole(at, span.start);
                    let span_end = span.end.min(until);
                    at = self.move_bytes(span.start, Some(span_end))?;
                    if at < span_end {
                        break; // the source shrank
                    }
                }
                Next::Data(_) => {
                    self.pass_hole(at, until);
                    at = until;
                }
                Next::Hole => {
                    let stat =
                        sys::at::fstat(self.t.src).map_err(|errno| TransferError::at(Side::Source, errno))?;
                    let hole_end = stat.size.clamp(at, until);
                    self.pass_hole(at, hole_end);
                    at = hole_end;
                    if !self.true_size && end.is_none() {
                        at = self.move_bytes(at, None)?; // it may go on beyond the size that it admits
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

    fn pass_hole(&mut self, from: u64, to: u64) {
        self.account.holes += to - from;
        self.denied.add(from..to, self.true_size);
        self.ladder.meter.add(to - from);
    }

    /// Gives the destination its length, unless it has that by what was written.
    fn set_size(&self, size: u64) -> Result<(), TransferError> {
        if self.filled == size {
            return Ok(());
        }
        io::truncate(self.t.dst, size).map_err(|errno| TransferError::at(Side::Destination, errno))
    }

    /// Moves the bytes from `at` to `end`, or to the end of the file. Gives the offset reached,
    /// which is short of `end` only if the file ends there.
    fn move_bytes(&mut self, mut at: u64, end: Option<u64>) -> Result<u64, TransferError> {
        let mut known_end = end.unwrap_or(self.t.stat.size);
        let mut dry = 0;
        // Holes may have been passed since the last time, and SEEK_DATA moves a position.
        self.offsets = self.t.offsets(Form::File);
        loop {
            self.ladder.check_stop()?;
            if at >= known_end {
                match end {
                    Some(_) => return Ok(at),
                    None if self.true_size => match self.grown(at)? {
                        Some(size) => known_end = size,
                        None => return Ok(at),
                    },
                    None => {}
                }
            }
            let Some(strategy) = self.candidates.current(self.ladder) else {
                return Err(self.candidates.exhausted(Errno::OPNOTSUPP));
            };
            // Beyond a size that is not believed, ask for a bufferful and see.
            let len = if at < known_end { (known_end - at).min(self.call_size.bytes()) } else { 64 << 10 };
            let len = self.ladder.most_bytes(self.t, at, len);
            let before = self.account.path(strategy).ns;
            match self.step(strategy, at, len) {
                Step::Moved(n) if self.is_torn(strategy, at + n) => {
                    self.filled = self.filled.max(at + n); // cut off again where the source ends before that
                    self.step_down(Reason::Changed, Errno::AGAIN)?
                }
                Step::Moved(n) => {
                    let ns = self.account.path(strategy).ns - before;
                    self.call_size.learn(n, ns);
                    if strategy == Strategy::Splice {
                        self.ladder.pipe_load.learn(self.t.stat.size, n, ns);
                    }
                    (at, dry) = (at + n, 0);
                    self.arrived(strategy, at, n)?;
                }
                Step::Dry if strategy == Strategy::ReadWrite && self.ends_early(at)? => {
                    dry += 1;
                    if dry > MOST_EMPTY_READS {
                        return Err(TransferError::at(Side::Source, Errno::IO));
                    }
                }
                Step::Dry if strategy == Strategy::ReadWrite => return Ok(at),
                Step::Dry => match self.read_on(strategy, at, len)? {
                    Some(n) => at += n,
                    None => return Ok(at),
                },
                // A signal came; whether it asked for the end is looked at above.
                Step::Refused(Errno::INTR) | Step::Failed(TransferError { errno: Errno::INTR, .. })
                    if self.account.path_mut(strategy).interruptions.may_retry() => {}
                Step::Refused(errno) | Step::Unavailable(errno) => {
                    self.step_down(errno.into(), errno)?;
                    // A file without offsets might be mapped; but where it ends, only reading it from its start tells.
                    if errno == Errno::SPIPE && at == 0 && self.candidates.has_behind(Strategy::ReadWrite) {
                        self.candidates.skip_to(Strategy::ReadWrite);
                    }
                }
                Step::Failed(error) => return Err(error),
            }
        }
    }

    /// Whether a large file that was copied to its known size has grown meanwhile. A small one is
    /// over before anything could matter, and the question would cost it a call.
    fn grown(&self, at: u64) -> Result<Option<u64>, TransferError> {
        if at < LARGE {
            return Ok(None);
        }
        let stat = sys::at::fstat(self.t.src).map_err(|errno| TransferError::at(Side::Source, errno))?;
        Ok((stat.size > at).then_some(stat.size))
    }

    /// Whether what was moved by reference, up to `end`, may not be what was in the file. Pages of the
    /// source that are in a pipe or in a map lose their bytes when the file is cut off there: the part
    /// behind its new end becomes zeros, which were never in it if it grows again. Then the next strategy
    /// does it again, in smaller pieces or by reading. A strategy that was forced alone is taken at its word.
    fn is_torn(&self, strategy: Strategy, end: u64) -> bool {
        let by_reference = matches!(strategy, Strategy::Splice | Strategy::Mmap);
        let quiet = |now: Stat| now.size >= end && now.mtime == self.t.stat.mtime;
        by_reference
            && self.true_size
            && self.candidates.has_another()
            && !sys::at::fstat(self.t.src).is_ok_and(quiet)
    }

    fn step(&mut self, strategy: Strategy, at: u64, len: u64) -> Step {
        let tally = self.account.path_mut(strategy);
        let ladder = &mut *self.ladder;
        let (mut src, mut dst) = self.t.ends((Form::File, Form::File), &self.offsets, &ladder.stop);
        (src.uncached, dst.uncached) = (self.uncached.source, self.uncached.destination);
        match strategy {
            // Behind other strategies it can still take the whole file, but nothing less. A size that is
            // not believed may be 0, and what was cloned may have an end further on.
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

    /// Whether `read` gave 0 before the end, on a file system whose sizes are to be believed. A file
    /// that others truncate ends where it says so; if it still claims to go on, the rest is lost.
    fn ends_early(&self, at: u64) -> Result<bool, TransferError> {
        if !self.true_size {
            return Ok(false);
        }
        let stat = sys::at::fstat(self.t.src).map_err(|errno| TransferError::at(Side::Source, errno))?;
        Ok(stat.size > at)
    }

    /// A strategy gave 0, which proves nothing: only `read` knows the end of a file. `None` is the end. Bytes that
    /// are read to find out are used, since some files give them only once, and ask for more than one at a time.
    fn read_on(&mut self, strategy: Strategy, at: u64, len: u64) -> Result<Option<u64>, TransferError> {
        let goes_on = Errno::NODATA;
        if self.true_size {
            if !self.ends_early(at)? {
                return Ok(None);
            }
            return self.step_down(Reason::EarlyEnd, goes_on).map(|()| Some(0));
        }
        let ladder = &mut *self.ladder;
        let sides = self.t.ends((Form::File, Form::File), &self.offsets, &ladder.stop);
        if !self.candidates.has_behind(Strategy::ReadWrite) {
            if sides.0.ends_at(at, self.account.path_mut(strategy)) {
                return Ok(None);
            }
            return self.step_down(Reason::EarlyEnd, goes_on).map(|()| Some(0));
        }
        match buffered::read_on(&mut ladder.buffer, sides, at, len, self.account, strategy) {
            Step::Moved(n) => {
                self.step_down(Reason::EarlyEnd, goes_on)?;
                self.candidates.skip_to(Strategy::ReadWrite);
                self.arrived(Strategy::ReadWrite, at + n, n)?;
                Ok(Some(n))
            }
            Step::Failed(error) if error.errno != Errno::INTR || !self.ladder.stop.is_raised() => Err(error),
            Step::Failed(_) | Step::Refused(_) | Step::Unavailable(_) => Ok(Some(0)),
            Step::Dry => Ok(None),
        }
    }

    /// The destination now has all up to `at`, `bytes` more than before.
    fn arrived(&mut self, strategy: Strategy, at: u64, bytes: u64) -> Result<(), TransferError> {
        let skipped = std::mem::take(&mut self.skipped);
        self.filled = self.filled.max(skipped.written_to(at, bytes).unwrap_or(0));
        self.candidates.credit(self.account, strategy, bytes - skipped.bytes);
        self.ladder.moved(self.t, at, bytes)
    }

    /// Leaves the strategy in use for the next one; an error if there is none.
    fn step_down(&mut self, reason: Reason, errno: Errno) -> Result<(), TransferError> {
        self.candidates.step_down(self.ladder, self.account, reason, errno)
    }
}

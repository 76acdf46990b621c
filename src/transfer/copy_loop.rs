//! Copies the data of one file or stream, step by step.
//!
//! `at` is the offset up to which the destination is complete. After a refusal the next strategy continues exactly
//! there, so no byte is lost or written twice.
//!
//! A stream is a pipe, a socket, a terminal, a device, or a file that is written at its descriptor's position. Its
//! bytes cannot be read again, so read/write takes over those that a refused call left in the private pipe. Its peer
//! may be slow, so every wait happens in poll(2), where a signal can end it. It ends where it reports its end.

use super::candidates::Candidates;
use super::chunk::CallSize;
use super::endpoint::{Endpoint, Form, Offsets};
use super::ladder::{DestinationKind, FilePart, Ladder, Limits, Outcome, Sparse, Transfer};
use super::route::{Cloning, FsKind, LARGE, Route, SMALL};
use super::spans::{self, Next, ReportedHoles};
use super::strategies::{copy_file_range, mmap, read_write, reflink, sendfile, splice};
use super::uncached::Sides;
use super::{Account, Reason, Step, Strategy};
use crate::error::{Failure, Operation};
use crate::sys::{self, Errno, Stat, io};
use read_write::Skipped;
use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};

/// How often `read` may return 0 before the end: another process may truncate the file and fill it again.
const MOST_EMPTY_READS: u32 = 3;

pub(super) struct CopyLoop<'a, 'f> {
    ladder: &'a mut Ladder,
    t: &'a Transfer<'f>,
    candidates: Candidates<'a>,
    /// Whether the destination's blocks are allocated first.
    preallocate: bool,
    account: &'a mut Account,
    forms: (Form, Form),
    is_stream: bool,
    uncached: Sides,
    /// Whether the data ends at `st_size`.
    true_size: bool,
    /// Whether runs of zeros become holes.
    zeros: bool,
    /// Whether they did in any part of the file.
    searched_zeros: bool,
    reported: ReportedHoles,
    /// The position of the destination's descriptor, where sendfile writes.
    position: u64,
    /// The result of the first step, if it was made already.
    first: Option<Step>,
    /// The bytes to request from a call, so that Ctrl-C and the progress bar respond although a disk or a peer is slow.
    call_size: CallSize,
    /// Zeros that the last step read but did not write.
    skipped: Skipped,
    /// The offset up to which the destination has been written, or allocated.
    filled: u64,
    offsets: Offsets,
    /// How often `read` has returned 0 too early since bytes were moved.
    empty_reads: u32,
}

impl<'a, 'f> CopyLoop<'a, 'f> {
    /// Makes a copy by `route`; `true_size` says that the source's data ends at `st_size`.
    pub(super) fn new(
        ladder: &'a mut Ladder,
        t: &'a Transfer<'f>,
        route: &'a Route,
        account: &'a mut Account,
        true_size: bool,
    ) -> Self {
        let forms = t.forms();
        CopyLoop {
            ladder,
            t,
            candidates: Candidates::new(route, (t.stat.dev, t.dst_dev)),
            preallocate: route.preallocate,
            account,
            forms,
            is_stream: t.is_stream(),
            uncached: Sides::default(),
            true_size,
            zeros: false,
            position: 0,
            first: None,
            call_size: CallSize::default(),
            skipped: Skipped::default(),
            filled: 0,
            offsets: t.offsets(forms.0),
            empty_reads: 0,
            searched_zeros: false,
            reported: ReportedHoles::default(),
        }
    }

    /// Makes read and write bypass the page cache on these sides.
    pub(super) fn past_cache(mut self, sides: Sides) -> Self {
        self.uncached = sides;
        self
    }

    /// Continues after a first step, which `strategy` has made and counted.
    pub(super) fn after(mut self, strategy: Strategy, step: Step) -> Self {
        if let (Strategy::Sendfile, &Step::Moved(bytes)) = (strategy, &step) {
            self.position = bytes;
        }
        self.first = Some(step);
        self
    }

    /// Copies a regular file or a part of it. The outcome's size is the offset at which the copy ended.
    pub(super) fn run(&mut self, part: FilePart) -> Result<Outcome, Failure> {
        let Limits { sparse, cloning, .. } = self.ladder.limits;
        let (size, seems_sparse) = (self.t.stat.size, self.t.stat.seems_sparse());
        let may_clone = part == FilePart::Whole && (size > 0 || cloning == Cloning::Require);
        if may_clone && self.try_reflink()? {
            return Ok(Outcome { size, ..Outcome::default() });
        }
        let is_whole = part == FilePart::Whole;
        let (start, end) = match part {
            FilePart::Whole => (0, None),
            FilePart::From(start) => (start, None),
            FilePart::Range(range) => (range.start, Some(range.end)),
        };
        let wants_holes = sparse == Sparse::Always || sparse == Sparse::Auto && seems_sparse;
        let makes_holes = wants_holes && (end.is_some() || self.can_make_holes());
        self.zeros = makes_holes && sparse == Sparse::Always;
        self.searched_zeros = self.zeros;
        let reached = if makes_holes && seems_sparse {
            let known = is_whole || self.true_size;
            let credible = known || spans::holes_are_credible(self.t.src, &self.t.stat, false);
            let reached = self.copy_spans(start, end, credible)?;
            if is_whole {
                self.read_doubtful_holes(reached)?;
            }
            reached
        } else {
            let allocated = end.is_none() && self.preallocate && io::preallocate(self.t.dst, size).is_ok();
            let reached = self.move_bytes(start, end)?;
            if allocated {
                self.filled = self.filled.max(size); // if the source shrank, `set_size` frees the blocks behind the end
            }
            reached
        };
        if end.is_none() {
            self.set_size(reached)?;
        }
        Ok(Outcome { size: reached, searched_zeros: self.searched_zeros })
    }

    /// Copies all bytes if either side is a stream.
    pub(super) fn run_stream(&mut self) -> Result<Outcome, Failure> {
        self.zeros =
            self.ladder.limits.sparse == Sparse::Always && self.t.destination_kind == DestinationKind::File;
        let size = self.move_bytes(0, None)?;
        self.set_size(size)?;
        Ok(Outcome { size, searched_zeros: self.zeros })
    }

    /// Returns whether parts of the destination may be left unwritten. Some FUSE servers accept bytes only in
    /// order and damage a file that is written otherwise. Those refuse to set its length in advance, without
    /// harm.
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
    fn try_reflink(&mut self) -> Result<bool, Failure> {
        if self.candidates.current(self.ladder) != Some(Strategy::Reflink) {
            return Ok(false);
        }
        let tally = self.account.tally_mut(Strategy::Reflink);
        let step = loop {
            self.ladder.check_stop()?;
            let clone = || reflink::clone_file(self.t.src, self.t.dst, self.t.stat.size, tally);
            match self.first.take().unwrap_or_else(clone) {
                Step::Refused(Errno::INTR) if tally.interruptions.may_retry() => {}
                step => break step,
            }
        };
        match step {
            Step::Moved(n) => {
                self.candidates.credit(self.account, Strategy::Reflink, n);
                Ok(true)
            }
            Step::Failed(failure) => Err(failure.renamed(Operation::Clone)),
            Step::Refused(errno) | Step::Unavailable(errno) => {
                self.step_down(errno.into(), errno, 0).map(|_| false)
            }
            Step::ReturnedZero => Ok(false),
        }
    }

    /// Copies the extents of data between `at` and `end`, or the end of the file, and the holes between them.
    /// Returns the offset reached.
    fn copy_spans(&mut self, mut at: u64, end: Option<u64>, credible: bool) -> Result<u64, Failure> {
        let until = end.unwrap_or(u64::MAX);
        while at < until {
            let data = match spans::next_span(self.t.src, at) {
                Next::Data(span) => span.start.min(until)..span.end.min(until),
                Next::Unknown => return self.move_bytes(at, end),
                Next::Hole => {
                    let hole_end = self.t.source_size()?.clamp(at, until);
                    let at = self.pass_hole(at, hole_end, credible)?;
                    let may_have_more = !self.true_size && end.is_none(); // behind `st_size`
                    return if may_have_more { self.move_bytes(at, None) } else { Ok(at) };
                }
            };
            at = self.pass_hole(at, data.start, credible)?;
            if at == data.start {
                at = self.move_bytes(at, Some(data.end))?;
            }
            if at < data.end {
                break; // the source shrank
            }
        }
        Ok(at)
    }

    /// Reads the holes of a whole file of `size` bytes after all, if they are not credible. They are checked after the
    /// copy, because the file system may give another answer each time.
    fn read_doubtful_holes(&mut self, size: u64) -> Result<(), Failure> {
        let reported = std::mem::take(&mut self.reported);
        let data = size.saturating_sub(reported.bytes);
        if reported.holes.is_empty() || spans::are_credible(&self.t.stat, data, self.true_size) {
            return Ok(());
        }
        self.account.holes -= reported.bytes;
        self.ladder.meter.take_back(reported.bytes);
        for hole in reported.holes {
            let end = self.pass_hole(hole.start, hole.end, false)?;
            self.account.holes += hole.end.saturating_sub(end); // the source was truncated meanwhile
        }
        Ok(())
    }

    /// Leaves a hole out. One that is not credible is read, except for runs of zeros; if the route does not allow
    /// read/write, another strategy copies it and fills it. Returns the offset reached.
    fn pass_hole(&mut self, from: u64, to: u64, credible: bool) -> Result<u64, Failure> {
        if credible || from == to {
            self.account.holes += to - from;
            self.reported.add(from..to, self.true_size);
            self.ladder.meter.pass(to - from);
            return Ok(to);
        }
        let (position, zeros) = (self.candidates.position(), self.zeros);
        self.zeros |= self.candidates.skip_to(Strategy::ReadWrite);
        self.searched_zeros |= self.zeros;
        let reached = self.move_bytes(from, Some(to))?;
        self.candidates.return_to(position);
        self.zeros = zeros;
        Ok(reached)
    }

    /// Sets the destination's length, unless the writes have set it.
    fn set_size(&self, size: u64) -> Result<(), Failure> {
        if self.filled == size {
            return Ok(());
        }
        io::truncate(self.t.dst, size).map_err(Failure::writing)
    }

    /// Moves the bytes from `at` to `end`, or to the end of the source. Returns the offset reached, which is less
    /// than `end` only if the source ends there.
    fn move_bytes(&mut self, mut at: u64, end: Option<u64>) -> Result<u64, Failure> {
        let unknown = self.is_stream && !self.true_size;
        let mut known_end = end.unwrap_or(if unknown { u64::MAX } else { self.t.stat.size });
        self.empty_reads = 0;
        // Since the last call holes may have been skipped, and SEEK_DATA moves the position.
        self.offsets = self.t.offsets(self.forms.0);
        loop {
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
            self.ladder.check_stop()?;
            let Some(strategy) = self.candidates.current(self.ladder) else {
                return Err(self.candidates.exhausted(Errno::OPNOTSUPP));
            };
            // Beyond a size that is not trusted, request a buffer's size.
            let len = if at < known_end { (known_end - at).min(self.call_size.bytes()) } else { SMALL };
            let len = self.ladder.most_bytes(self.t, at, len);
            match self.make_step(strategy, at, len)? {
                Some(moved) => at += moved,
                None => return Ok(at),
            }
        }
    }

    /// Makes a step. Returns the bytes moved, which may be none, or `None` at the end of the source.
    fn make_step(&mut self, strategy: Strategy, at: u64, len: u64) -> Result<Option<u64>, Failure> {
        let before = self.account.tally(strategy).ns;
        Ok(Some(match self.step(strategy, at, len) {
            Step::Moved(n) if self.is_torn(strategy, at + n) => {
                self.filled = self.filled.max(at + n); // if the source ends before that, `set_size` truncates
                self.step_down(Reason::Changed, Errno::AGAIN, at)?
            }
            Step::Moved(n) => {
                let ns = self.account.tally(strategy).ns - before;
                self.call_size.learn(n, ns);
                if strategy == Strategy::Splice && !self.is_stream {
                    self.ladder.pipe_load.learn(self.t.stat.size, n, ns);
                }
                self.empty_reads = 0;
                self.record(strategy, at + n, n)?;
                n
            }
            Step::ReturnedZero if self.is_at_end(strategy, at)? => return Ok(None),
            Step::ReturnedZero if strategy == Strategy::ReadWrite => self.count_empty_read()?,
            Step::ReturnedZero => return self.read_on(strategy, at),
            // A signal arrived; the next `check_stop` sees whether it requested a stop.
            Step::Refused(Errno::INTR) if self.may_retry(strategy) => 0,
            Step::Failed(failure) if failure.has_errno(Errno::INTR) && self.may_retry(strategy) => 0,
            Step::Refused(Errno::AGAIN) if self.is_stream => {
                io::pause();
                0
            }
            Step::Refused(errno) if self.is_stream && !concerns_the_call(errno) => {
                return Err(self.stream_error(errno));
            }
            Step::Refused(errno) | Step::Unavailable(errno) => self.leave_refused(errno, at)?,
            Step::Failed(failure) => {
                let errno = failure.reason().filter(|_| self.is_stream && failure.is_of(Operation::CopyData));
                return Err(errno.map_or(failure, |errno| self.stream_error(errno)));
            }
        }))
    }

    /// Returns the new size of a large file that has grown while it was copied. A small file is not checked:
    /// its copy is short, and the check would cost it a call.
    fn grown_size(&self, at: u64) -> Result<Option<u64>, Failure> {
        if at < LARGE {
            return Ok(None);
        }
        Ok(Some(self.t.source_size()?).filter(|size| *size > at))
    }

    /// Returns whether bytes that were moved by reference, up to `end`, may differ from the file's. If the source
    /// is truncated while its pages are in a pipe or a map, the part beyond its new end becomes zeros, which were
    /// never in the file if it grows again. Then the next strategy repeats the step, in smaller pieces or by
    /// reading. Without a next strategy the bytes are accepted.
    fn is_torn(&self, strategy: Strategy, end: u64) -> bool {
        let by_reference = matches!(strategy, Strategy::Splice | Strategy::Mmap);
        let quiet = |now: Stat| now.size >= end && now.mtime == self.t.stat.mtime;
        by_reference
            && !self.is_stream
            && self.true_size
            && self.candidates.has_another()
            && !sys::at::fstat(self.t.src).is_ok_and(quiet)
    }

    fn may_retry(&mut self, strategy: Strategy) -> bool {
        self.account.tally_mut(strategy).interruptions.may_retry()
    }

    /// Counts a `read` that returned 0 before the end: another process may truncate the file and fill it again.
    fn count_empty_read(&mut self) -> Result<u64, Failure> {
        self.empty_reads += 1;
        if self.empty_reads > MOST_EMPTY_READS { Err(Failure::reading(Errno::IO)) } else { Ok(0) }
    }

    fn step(&mut self, strategy: Strategy, at: u64, len: u64) -> Step {
        if let Some(first) = self.first.take() {
            return first;
        }
        let tally = self.account.tally_mut(strategy);
        let ladder = &mut *self.ladder;
        let (mut src, mut dst) = self.t.ends(self.forms, &self.offsets, &ladder.stop);
        (src.uncached, dst.uncached) = (self.uncached.source, self.uncached.destination);
        match strategy {
            // A clone begins at offset 0 of both files. A device or pipe refuses it with its own reason.
            Strategy::Reflink if self.is_stream => match dst.form == Form::File && !dst.has_offsets() {
                true => Step::Refused(Errno::XDEV),
                false => reflink::clone_file(src.fd, dst.fd, 0, tally),
            },
            // After other strategies it can still clone the whole file. A size that is not trusted may be 0, and
            // the clone may be longer.
            Strategy::Reflink if at == 0 => match reflink::clone_file(src.fd, dst.fd, self.t.stat.size, tally) {
                Step::Moved(0) => Step::ReturnedZero,
                step => step,
            },
            Strategy::Reflink if at >= self.t.stat.size => Step::ReturnedZero,
            Strategy::Reflink => Step::Refused(Errno::INVAL),
            Strategy::CopyFileRange => copy_file_range::step(src, dst, at, len, tally),
            // The kernel reads into as many pages as it can allocate at once, which may be too few for a message
            // (copy_splice_read, alloc_pages_bulk).
            Strategy::Splice | Strategy::Sendfile if src.form == Form::Messages => Step::Refused(Errno::INVAL),
            Strategy::Splice if src.form == Form::Pipe || dst.form == Form::Pipe => {
                splice::direct(src, dst, at, len, tally)
            }
            Strategy::Splice => {
                let load = if self.is_stream { len } else { ladder.pipe_load.bytes(self.t.stat.size) };
                splice::step(&mut ladder.pipe, src, dst, at, len.min(load), tally)
            }
            Strategy::Sendfile => sendfile::step(src, dst, at, len, &mut self.position, tally),
            Strategy::Mmap => mmap::step(src, dst, at, len, tally),
            Strategy::ReadWrite if self.zeros => {
                self.skipped = Skipped::default();
                let block = read_write::block_size(&self.t.stat);
                let ends = (src, dst);
                read_write::step_without_zeros(&mut ladder.buffer, ends, at, len, block, tally, &mut self.skipped)
            }
            Strategy::ReadWrite => read_write::step(&mut ladder.buffer, src, dst, at, len, tally),
        }
    }

    /// Accounts for `bytes` by which the destination is now complete up to `at`.
    fn record(&mut self, strategy: Strategy, at: u64, bytes: u64) -> Result<(), Failure> {
        let skipped = std::mem::take(&mut self.skipped);
        self.filled = self.filled.max(skipped.written_to(at, bytes).unwrap_or(0));
        self.account.holes += skipped.bytes;
        self.candidates.credit(self.account, strategy, bytes - skipped.bytes);
        let refers = matches!(strategy, Strategy::Splice | Strategy::Sendfile);
        if refers && matches!(self.forms.1, Form::Pipe | Form::Socket | Form::Messages | Form::Null) {
            self.account.tally_mut(strategy).by_reference += bytes;
        }
        self.ladder.moved(self.t, at, bytes)
    }

    /// Returns whether a call that returned 0 has reached the end. For a file, only `read` or a trusted size
    /// proves that. A stream that is readable but has no bytes is at its end.
    fn is_at_end(&mut self, strategy: Strategy, at: u64) -> Result<bool, Failure> {
        if self.ladder.pipe.has_rest() {
            return Ok(false);
        }
        let by_read = strategy == Strategy::ReadWrite;
        let tally = self.account.tally_mut(strategy);
        let (src, _) = self.t.ends(self.forms, &self.offsets, &self.ladder.stop);
        Ok(match src.form {
            // A truncated file ends at its new size; if the size is still larger, data is missing.
            Form::File if self.true_size => self.t.source_size()? <= at,
            Form::File if by_read => true,
            Form::File => !self.candidates.has_later(Strategy::ReadWrite) && src.ends_at(at, tally),
            Form::Pipe | Form::Socket | Form::Messages if !by_read => {
                src.wait(false, tally).map_err(Failure::reading)?;
                io::readable_bytes(src.fd).is_ok_and(|bytes| bytes == 0)
            }
            _ => true,
        })
    }

    /// Continues after a strategy returned 0, which is no proof of the end: `read` finds out, or the next strategy
    /// continues. Returns the bytes moved, `None` at the end. Bytes that are read to find out are written, because
    /// some files give them only once, and only to a read of more than one byte.
    fn read_on(&mut self, strategy: Strategy, at: u64) -> Result<Option<u64>, Failure> {
        let early_end = Errno::NODATA;
        let has_to_be_read = self.forms.0 == Form::File && !self.true_size;
        if !has_to_be_read || !self.candidates.has_later(Strategy::ReadWrite) {
            return self.step_down(Reason::EarlyEnd, early_end, at).map(Some);
        }
        let len = self.ladder.most_bytes(self.t, at, SMALL);
        let ladder = &mut *self.ladder;
        let sides = self.t.ends(self.forms, &self.offsets, &ladder.stop);
        match read_write::read_on(&mut ladder.buffer, sides, at, len, self.account, strategy) {
            Step::Moved(n) => {
                self.candidates.step_down(self.ladder, self.account, Reason::EarlyEnd, early_end)?;
                self.candidates.skip_to(Strategy::ReadWrite);
                self.record(Strategy::ReadWrite, at + n, n)?;
                Ok(Some(n))
            }
            Step::Failed(error) if !error.has_errno(Errno::INTR) || !self.ladder.stop.is_raised() => Err(error),
            Step::Failed(_) | Step::Refused(_) | Step::Unavailable(_) => Ok(Some(0)),
            Step::ReturnedZero => Ok(None),
        }
    }

    fn leave_refused(&mut self, errno: Errno, at: u64) -> Result<u64, Failure> {
        let moved = self.step_down(errno.into(), errno, at)?;
        // A file without offsets may be mappable, but only reading it from its start finds its end.
        let lacks_offsets = errno == Errno::SPIPE && at == 0 && !self.is_stream;
        if lacks_offsets && self.candidates.has_later(Strategy::ReadWrite) {
            self.candidates.skip_to(Strategy::ReadWrite);
        }
        Ok(moved)
    }

    /// Changes to the next strategy. Returns the bytes of a stream that were moved out of the private pipe.
    fn step_down(&mut self, reason: Reason, errno: Errno, at: u64) -> Result<u64, Failure> {
        self.candidates.step_down(self.ladder, self.account, reason, errno)?;
        let Some((pipe, left)) = self.ladder.pipe.take_rest() else { return Ok(0) };
        if !self.candidates.contains(Strategy::ReadWrite) {
            return Err(self.candidates.exhausted(errno));
        }
        self.move_rest(&pipe, left as u64, at)?;
        Ok(left as u64)
    }

    /// Moves the bytes of a stream that are in the private pipe by read and write.
    fn move_rest(&mut self, pipe: &OwnedFd, left: u64, at: u64) -> Result<(), Failure> {
        let mut moved = 0;
        while moved < left {
            let tally = self.account.tally_mut(Strategy::ReadWrite);
            let ladder = &mut *self.ladder;
            let (_, dst) = self.t.ends(self.forms, &self.offsets, &ladder.stop);
            let has_offsets = &Cell::new(false);
            let fd = pipe.as_fd();
            let src = Endpoint { fd, form: Form::Pipe, has_offsets, uncached: false, stop: &ladder.stop };
            match read_write::step(&mut ladder.buffer, src, dst, at + moved, left - moved, tally) {
                Step::Moved(n) => {
                    moved += n;
                    self.record(Strategy::ReadWrite, at + moved, n)?;
                }
                Step::Failed(error) => return Err(error),
                // Unexpected: the pipe holds `left` bytes.
                Step::ReturnedZero | Step::Refused(_) | Step::Unavailable(_) => {
                    return Err(Failure::reading(Errno::IO));
                }
            }
        }
        Ok(())
    }

    /// Returns the failure of a call that reads and writes, assigned to the likely side: reading a file hardly
    /// ever fails, a peer often does, and only a destination can be full.
    fn stream_error(&self, errno: Errno) -> Failure {
        match (errno, self.forms) {
            (Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::FBIG | Errno::PIPE, _) => Failure::writing(errno),
            (_, (Form::File, Form::File)) => Failure::copying(errno),
            (_, (Form::File, _)) => Failure::writing(errno),
            (_, (_, Form::File)) => Failure::reading(errno),
            _ => Failure::copying(errno),
        }
    }
}

/// Returns whether an errno concerns the call, so that another strategy may succeed. Any other concerns the peer
/// or the disk and is reported at once, because a socket reports its error only once (socket(7), `SO_ERROR`).
fn concerns_the_call(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL
            | Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::ACCESS
            | Errno::BADF
            | Errno::SPIPE
            | Errno::XDEV
            | Errno::NODEV
            | Errno::NOTTY
            | Errno::TXTBSY
            | Errno::FAULT
            | Errno::MSGSIZE
            | Errno::MFILE
            | Errno::NFILE
    )
}

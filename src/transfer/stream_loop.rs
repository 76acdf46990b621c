//! Copies from or to a stream: a pipe, a socket, a terminal, a device, or a file that is written at its
//! descriptor's position.
//!
//! There are three differences to the copy of a file. Bytes of a stream cannot be read again, so read/write takes
//! over those that a refused call left in the private pipe. The peer may be slow, so every wait happens in
//! poll(2), where a signal can end it, and never in a busy loop. The end is where the stream reports it.

use super::candidates::Candidates;
use super::chunk::CallSize;
use super::endpoint::{Endpoint, Form, Offsets};
use super::file_loop::MOST_EMPTY_READS;
use super::ladder::{DestinationKind, Ladder, Limits, Outcome, Side, Sparse, Transfer, TransferError};
use super::route::{Case, FsKind, LARGE, SMALL, SizeClass};
use super::splice::Pipe;
use super::zeros::Skipped;
use super::{Account, Reason, Step, Strategy};
use super::{buffered, copy_range, enlarge, mmap, reflink, sendfile, splice, zeros};
use crate::sys::{Errno, io};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The state of a copy from or to a stream.
struct StreamLoop<'a, 'f> {
    ladder: &'a mut Ladder,
    t: &'a Transfer<'f>,
    candidates: Candidates<'a>,
    account: &'a mut Account,
    /// The size of the source, if it is a file whose size is trusted.
    known_size: Option<u64>,
    /// The forms of source and destination.
    forms: (Form, Form),
    /// Whether runs of zeros become holes.
    zeros: bool,
    /// The bytes to request from a call, so that Ctrl-C and the progress bar respond although a peer is slow.
    call_size: CallSize,
    /// Zeros that the last step read but did not write.
    skipped: Skipped,
    /// Zeros at the end that were not written.
    hole_at_end: u64,
    /// The sides that have offsets.
    offsets: Offsets,
    /// How often `read` has returned 0 too early.
    dry: u32,
    /// The position of the destination's descriptor, where sendfile writes.
    position: u64,
}

impl Ladder {
    /// Copies all bytes where either side is a stream.
    pub(super) fn copy_stream(
        &mut self,
        t: &Transfer<'_>,
        account: &mut Account,
    ) -> Result<Outcome, TransferError> {
        let forms = t.forms();
        // One call moves as much as a default pipe holds in any case.
        let is_long = !t.stat.is_regular() || t.stat.size > SMALL;
        if is_long {
            enlarge::pipe(forms.0, t.src);
            enlarge::pipe(forms.1, t.dst);
        }
        let _enlarged = if is_long { enlarge::socket(forms.1, t.dst) } else { None };
        let source = self.kind_of(forms.0, t.stat.dev, t.src);
        let destination = self.kind_of(forms.1, t.dst_dev, t.dst);
        let known_size = (t.stat.is_regular() && source.sizes_are_true()).then_some(t.stat.size);
        let case = Case {
            source,
            destination,
            same_device: false,
            size: SizeClass::Any,
            overwritten: false,
            uncached: false,
        };
        let route = self.route(case, Limits::stream_route);
        let zeros = self.limits.sparse == Sparse::Always && t.target == DestinationKind::File;
        let candidates = Candidates::new(&route, (t.stat.dev, t.dst_dev));
        let stream_loop = StreamLoop {
            ladder: self,
            t,
            candidates,
            account,
            known_size,
            forms,
            zeros,
            call_size: CallSize::default(),
            skipped: Skipped::default(),
            hole_at_end: 0,
            offsets: t.offsets(forms.0),
            dry: 0,
            position: 0,
        };
        let answer = stream_loop.run();
        if answer.is_err() {
            self.pipe = Pipe::default(); // bytes of this stream must not reach another file
        }
        answer
    }

    fn kind_of(&mut self, form: Form, dev: u64, fd: BorrowedFd<'_>) -> FsKind {
        match form {
            Form::File => self.file_system(dev, fd),
            Form::Pipe => FsKind::Pipe,
            Form::Socket | Form::Messages => FsKind::Socket,
            Form::Null | Form::Device => FsKind::Device,
        }
    }
}

impl StreamLoop<'_, '_> {
    fn run(mut self) -> Result<Outcome, TransferError> {
        let mut at = 0;
        while self.may_have_more(at)? {
            self.ladder.check_stop()?;
            let Some(strategy) = self.candidates.current(self.ladder) else {
                return Err(self.candidates.exhausted(Errno::OPNOTSUPP));
            };
            let before = self.account.tally(strategy).ns;
            match self.step(strategy, at) {
                Step::Moved(n) => {
                    self.call_size.learn(n, self.account.tally(strategy).ns - before);
                    (at, self.dry) = (at + n, 0);
                    self.record(strategy, at, n)?;
                }
                Step::Dry if self.is_at_end(strategy, at)? => break,
                Step::Dry if strategy == Strategy::ReadWrite => self.count_empty_read()?,
                Step::Dry => match self.read_on(strategy, at)? {
                    Some(n) => at += n,
                    None => break,
                },
                // A signal arrived; `check_stop` above sees whether it requested a stop.
                Step::Refused(Errno::INTR) | Step::Failed(TransferError { errno: Errno::INTR, .. })
                    if self.account.tally_mut(strategy).interruptions.may_retry() => {}
                Step::Refused(Errno::AGAIN) => io::pause(),
                Step::Refused(errno) if is_refusal(errno) => {
                    at += self.step_down(errno.into(), errno, at)?;
                }
                Step::Unavailable(errno) => at += self.step_down(errno.into(), errno, at)?,
                Step::Refused(errno) => return Err(self.error(errno)),
                Step::Failed(TransferError { side: Side::Both, errno, .. }) => return Err(self.error(errno)),
                Step::Failed(error) => return Err(error),
            }
        }
        if self.hole_at_end > 0 {
            io::truncate(self.t.dst, at).map_err(TransferError::destination)?;
        }
        Ok(Outcome { size: at, searched_zeros: self.zeros, ..Outcome::default() })
    }

    /// Whether there may be more bytes: always, unless the size is known.
    fn may_have_more(&mut self, at: u64) -> Result<bool, TransferError> {
        let Some(size) = self.known_size.filter(|size| at >= *size) else { return Ok(true) };
        // A file may have grown meanwhile.
        let now = if at < LARGE { size } else { self.t.source_size()? };
        self.known_size = Some(now);
        Ok(at < now)
    }

    /// Counts a `read` that returned 0 before the end: another process may truncate the file and fill it again.
    fn count_empty_read(&mut self) -> Result<(), TransferError> {
        self.dry += 1;
        if self.dry > MOST_EMPTY_READS { Err(TransferError::source(Errno::IO)) } else { Ok(()) }
    }

    fn step(&mut self, strategy: Strategy, at: u64) -> Step {
        let most = self.ladder.most_bytes(self.t, at, self.call_size.bytes());
        let tally = self.account.tally_mut(strategy);
        let ladder = &mut *self.ladder;
        let (src, dst) = self.t.ends(self.forms, &self.offsets, &ladder.stop);
        let len = self.known_size.map_or(most, |size| most.min(size - at));
        match strategy {
            // A clone begins at offset 0 of both files. A device or pipe refuses it with its own reason.
            Strategy::Reflink if dst.form == Form::File && !dst.has_offsets() => Step::Refused(Errno::XDEV),
            Strategy::Reflink => reflink::clone_file(src.fd, dst.fd, 0, tally),
            Strategy::CopyFileRange => copy_range::step(src, dst, at, len, tally),
            // The kernel reads into as many pages as it can allocate at once, which may be too few for a message
            // (copy_splice_read, alloc_pages_bulk).
            Strategy::Splice | Strategy::Sendfile if src.form == Form::Messages => Step::Refused(Errno::INVAL),
            Strategy::Splice if src.form == Form::Pipe || dst.form == Form::Pipe => {
                splice::direct(src, dst, at, len, tally)
            }
            Strategy::Splice => splice::step(&mut ladder.pipe, src, dst, at, len, tally),
            Strategy::Sendfile => sendfile::step(src, dst, at, len, &mut self.position, tally),
            Strategy::Mmap => mmap::step(src, dst, at, len, tally),
            Strategy::ReadWrite if self.zeros => {
                let block = zeros::block_size(&self.t.stat);
                zeros::step(&mut ladder.buffer, (src, dst), at, len, block, tally, &mut self.skipped)
            }
            Strategy::ReadWrite => buffered::step(&mut ladder.buffer, src, dst, at, len, tally),
        }
    }

    /// Accounts for `bytes` by which the destination is now complete up to `at`.
    fn record(&mut self, strategy: Strategy, at: u64, bytes: u64) -> Result<(), TransferError> {
        let skipped = std::mem::take(&mut self.skipped);
        let all_skipped = skipped.written_to(at, bytes).is_none();
        self.hole_at_end = skipped.at_end + if all_skipped { self.hole_at_end } else { 0 };
        self.account.holes += skipped.bytes;
        self.candidates.credit(self.account, strategy, bytes - skipped.bytes);
        let referring = matches!(strategy, Strategy::Splice | Strategy::Sendfile);
        if referring && matches!(self.forms.1, Form::Pipe | Form::Socket | Form::Messages | Form::Null) {
            self.account.tally_mut(strategy).by_reference += bytes;
        }
        self.ladder.moved(self.t, at, bytes)
    }

    /// Whether a call that returned 0 has reached the end. For a file only `read` knows. A stream that is readable
    /// but has no bytes is at its end.
    fn is_at_end(&mut self, strategy: Strategy, at: u64) -> Result<bool, TransferError> {
        if self.ladder.pipe.has_rest() {
            return Ok(false);
        }
        let by_read = strategy == Strategy::ReadWrite;
        let tally = self.account.tally_mut(strategy);
        let (src, _) = self.t.ends(self.forms, &self.offsets, &self.ladder.stop);
        let answer = match src.form {
            Form::File if by_read || self.known_size.is_some() => !self.ends_early(at)?,
            Form::File => !self.candidates.has_later(Strategy::ReadWrite) && src.ends_at(at, tally),
            Form::Pipe | Form::Socket | Form::Messages if !by_read => {
                src.wait(false, tally).map_err(TransferError::source)?;
                io::readable_bytes(src.fd).is_ok_and(|bytes| bytes == 0)
            }
            _ => true,
        };
        Ok(answer)
    }

    /// Continues after a strategy returned 0, which is no proof of the end: `read` finds out, or the next strategy
    /// continues. Returns the bytes moved, `None` at the end. Bytes that are read to find out are written, because
    /// some files give them only once.
    fn read_on(&mut self, strategy: Strategy, at: u64) -> Result<Option<u64>, TransferError> {
        let early_end = Errno::NODATA;
        let has_to_be_read = self.forms.0 == Form::File && self.known_size.is_none();
        if !has_to_be_read || !self.candidates.has_later(Strategy::ReadWrite) {
            return self.step_down(Reason::EarlyEnd, early_end, at).map(Some);
        }
        let len = self.ladder.most_bytes(self.t, at, SMALL);
        let ladder = &mut *self.ladder;
        let sides = self.t.ends(self.forms, &self.offsets, &ladder.stop);
        match buffered::read_on(&mut ladder.buffer, sides, at, len, self.account, strategy) {
            Step::Moved(n) => {
                self.candidates.step_down(self.ladder, self.account, Reason::EarlyEnd, early_end)?;
                self.candidates.skip_to(Strategy::ReadWrite);
                self.record(Strategy::ReadWrite, at + n, n)?;
                Ok(Some(n))
            }
            Step::Failed(error) if error.errno != Errno::INTR || !self.ladder.stop.is_raised() => Err(error),
            Step::Failed(_) | Step::Refused(_) | Step::Unavailable(_) => Ok(Some(0)),
            Step::Dry => Ok(None),
        }
    }

    /// Whether the file is longer than `at`, by its size.
    fn ends_early(&self, at: u64) -> Result<bool, TransferError> {
        Ok(self.known_size.is_some() && self.t.source_size()? > at)
    }

    /// Changes to the next strategy. Returns the bytes that were moved out of the private pipe.
    fn step_down(&mut self, reason: Reason, errno: Errno, at: u64) -> Result<u64, TransferError> {
        self.candidates.step_down(self.ladder, self.account, reason, errno)?;
        let Some((pipe, left)) = self.ladder.pipe.take_rest() else { return Ok(0) };
        if !self.candidates.contains(Strategy::ReadWrite) {
            return Err(self.candidates.exhausted(errno));
        }
        self.move_rest(&pipe, left as u64, at)?;
        Ok(left as u64)
    }

    /// Moves the bytes of a stream that are in the private pipe by read and write.
    fn move_rest(&mut self, pipe: &OwnedFd, left: u64, at: u64) -> Result<(), TransferError> {
        let mut moved = 0;
        while moved < left {
            let tally = self.account.tally_mut(Strategy::ReadWrite);
            let ladder = &mut *self.ladder;
            let (_, dst) = self.t.ends(self.forms, &self.offsets, &ladder.stop);
            let has_offsets = &Cell::new(false);
            let fd = pipe.as_fd();
            let src = Endpoint { fd, form: Form::Pipe, has_offsets, uncached: false, stop: &ladder.stop };
            match buffered::step(&mut ladder.buffer, src, dst, at + moved, left - moved, tally) {
                Step::Moved(n) => {
                    moved += n;
                    self.record(Strategy::ReadWrite, at + moved, n)?;
                }
                Step::Failed(error) => return Err(error),
                // Unexpected: the pipe holds `left` bytes.
                Step::Dry | Step::Refused(_) | Step::Unavailable(_) => {
                    return Err(TransferError::source(Errno::IO));
                }
            }
        }
        Ok(())
    }

    /// The failure of a call that reads and writes, assigned to the likely side: reading a file hardly ever fails,
    /// a peer often does, and only a destination can be full.
    fn error(&self, errno: Errno) -> TransferError {
        let side = match (errno, self.forms) {
            (Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::FBIG | Errno::PIPE, _) => Side::Destination,
            (_, (Form::File, Form::File)) => Side::Both,
            (_, (Form::File, _)) => Side::Destination,
            (_, (_, Form::File)) => Side::Source,
            _ => Side::Both,
        };
        TransferError::at(side, errno)
    }
}

/// Whether an errno concerns the call, so that another strategy may succeed. Any other concerns the peer or the
/// disk and is reported at once, because a socket reports its error only once (socket(7), `SO_ERROR`).
fn is_refusal(errno: Errno) -> bool {
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

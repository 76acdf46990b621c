//! Compares a source with its copy (`--verify`).
//!
//! The copy is not read from the page cache, which only holds what was meant to be written, but from the disk, by
//! O_DIRECT, which first writes dirty pages. Where a file system does not support O_DIRECT, or may serve it from
//! the cache (ext4 with data=journal), the pages are written and dropped before, and a check tells whether they
//! are gone. On tmpfs there is only the cache. [`Uncached::open`] decides between these ways.
//!
//! Each direct read waits for the disk. So two readers share a large file, and workers that wait become more (see
//! `engine/scaling.rs`).

use super::route::FsKind;
use super::spans::{self, Next};
use crate::error::{Failure, Operation};
use crate::sys::interrupted::retry_on_intr;
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Result, Stat, at, io, memory};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The bytes that a reader compares at once. An interruption waits for one piece of each reader.
const PIECE: usize = 512 << 10;
/// The least bytes for two readers.
const LARGE: u64 = 8 << 20;
/// The alignment of offsets, lengths and memory for O_DIRECT: the largest that a device requires (open(2), NOTES).
const ALIGNMENT: usize = 4096;
/// The largest size of a file; no call may read beyond it.
const LAST_OFFSET: u64 = i64::MAX as u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The offset of the first byte that differs, or that only one file has.
    At(u64),
    /// One of the files could not be read, or a stop was requested.
    Unknown(Failure),
}

impl From<Failure> for Difference {
    fn from(failure: Failure) -> Difference {
        Difference::Unknown(failure)
    }
}

fn cannot_read_back(errno: Errno) -> Failure {
    Failure::from(Operation::ReadBack).errno(errno)
}

/// A copy that is open, for writing or reading, and its name, by which it is opened again without /proc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenCopy<'a> {
    pub fd: BorrowedFd<'a>,
    /// Its directory and its name there, if it has one.
    pub name: Option<(BorrowedFd<'a>, &'a OsStr)>,
}

impl WrittenCopy<'_> {
    fn open(&self, direct: bool) -> Result<OwnedFd> {
        at::open_again(self.fd, self.name, direct)
    }
}

/// Compares files; its buffers are reused.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    /// Whether other workers copy files of the same directory. They read while this one waits for the disk.
    pub(crate) has_company: bool,
    source: VerifyBuffer,
    copy: VerifyBuffer,
}

impl Verifier {
    /// Compares a range of a source, which is open for reading, with its copy, which is opened again. The range
    /// begins at a multiple of 4096 bytes. `file_system` returns the file system of an open file with a device
    /// number. Returns whether some bytes of the copy may have come from the page cache.
    pub(crate) fn compare(
        &mut self,
        (source, stat): (BorrowedFd<'_>, &Stat),
        written: WrittenCopy<'_>,
        range: Range<u64>,
        stop: &StopFlag,
        mut file_system: impl FnMut(u64, BorrowedFd<'_>) -> FsKind,
    ) -> std::result::Result<bool, Difference> {
        let mut copy = Uncached::open(written, &mut self.copy, &mut file_system).map_err(cannot_read_back)?;
        let has_holes = stat.seems_sparse() && {
            let stat = at::fstat(source).map_err(Failure::reading)?;
            spans::holes_are_credible(source, &stat, file_system(stat.dev, source).sizes_are_true())
        };
        let is_large = stat.size.min(range.end).saturating_sub(range.start) >= LARGE;
        let two_readers = is_large && !self.has_company && !memory::is_limited();
        let mut compare = |copy: &Uncached| {
            let pair = Pair { source, copy, two_readers, stop };
            let range = range.clone();
            if has_holes { self.compare_data(&pair, range) } else { self.compare_range(&pair, range) }
        };
        let mut answer = compare(&copy);
        if copy.is_refused.load(Ordering::Relaxed) {
            copy = Uncached::dropped(written).map_err(cannot_read_back)?;
            answer = compare(&copy);
        }
        answer.map(|()| copy.from_cache)
    }

    /// Compares a source with an incomplete copy, both as they are now. Returns the length of their common start, in
    /// whole blocks. `compared` gets the length of each equal piece. For an unreadable copy, the length is 0. Fails
    /// if the source could not be read or a stop was requested.
    pub(crate) fn common_start(
        &mut self,
        source: BorrowedFd<'_>,
        copy: WrittenCopy<'_>,
        stop: &StopFlag,
        compared: impl Fn(u64),
    ) -> std::result::Result<u64, Failure> {
        let Ok(copy) = copy.open(false) else { return Ok(0) };
        let mut at = 0;
        loop {
            if stop.is_raised() {
                return Err(Failure::interruption());
            }
            let ours = self.source.read(source, at, PIECE, false).map_err(Failure::reading)?;
            let theirs = self.copy.read(copy.as_fd(), at, PIECE, false).unwrap_or_default();
            if ours.len() < PIECE || ours != theirs {
                let common = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
                let blocks = common - common % ALIGNMENT;
                compared(blocks as u64);
                return Ok(at + blocks as u64);
            }
            at += PIECE as u64;
            compared(PIECE as u64);
        }
    }

    /// Compares what is data in either file, and the lengths.
    fn compare_data(&mut self, pair: &Pair<'_>, range: Range<u64>) -> std::result::Result<(), Difference> {
        let mut from = range.start;
        loop {
            let ours = spans::next_span(pair.source, from);
            let theirs = spans::next_span(pair.copy.fd.as_fd(), from);
            // A hole reads as zeros, so only ranges that are holes in both files need no comparison.
            let span = match (ours, theirs) {
                (Next::Unknown, _) | (_, Next::Unknown) => from..u64::MAX,
                (Next::Hole, Next::Hole) => break,
                (Next::Data(span), Next::Hole) | (Next::Hole, Next::Data(span)) => span,
                (Next::Data(ours), Next::Data(theirs)) if ours.start <= theirs.start => ours,
                (Next::Data(_), Next::Data(theirs)) => theirs,
            };
            from = span.end;
            self.compare_range(pair, span.start..from.min(range.end))?;
            if from >= range.end {
                return Ok(());
            }
        }
        let ours = at::fstat(pair.source).map_err(Failure::reading)?.size;
        let theirs = at::fstat(&pair.copy.fd).map_err(cannot_read_back)?.size;
        if ours == theirs { Ok(()) } else { Err(Difference::At(ours.min(theirs))) }
    }

    /// Compares a range, up to the end of the files.
    fn compare_range(&mut self, pair: &Pair<'_>, range: Range<u64>) -> std::result::Result<(), Difference> {
        let pieces = Pieces::of(range);
        thread::scope(|scope| {
            if pair.two_readers {
                // Without a thread, this one reads all.
                let other = thread::Builder::new().stack_size(memory::STACK);
                let _ = other.spawn_scoped(scope, || Verifier::default().compare_pieces(pair, &pieces));
            }
            self.compare_pieces(pair, &pieces);
        });
        pieces.answer()
    }

    /// Compares one piece after another, until none is left or one differs.
    fn compare_pieces(&mut self, pair: &Pair<'_>, pieces: &Pieces) {
        while let Some(at) = pieces.take() {
            match self.compare_piece(pair, at, pieces.end) {
                Ok(true) => {}
                Ok(false) => pieces.end(),
                Err(difference) => pieces.end_with(at, difference),
            }
        }
    }

    /// Compares the piece at an offset. Returns false if both files end in it.
    fn compare_piece(&mut self, pair: &Pair<'_>, at: u64, end: u64) -> std::result::Result<bool, Difference> {
        if pair.stop.is_raised() {
            return Err(Failure::interruption().into());
        }
        let left = usize::try_from(end - at).unwrap_or(PIECE);
        let most = usize::try_from(LAST_OFFSET.saturating_sub(at)).unwrap_or(PIECE);
        let want = left.min(PIECE).next_multiple_of(ALIGNMENT).min(most);
        let ours = self.source.read(pair.source, at, want, false).map_err(Failure::reading)?;
        // The kernel fills what a direct read asks for beyond the end of the file with zeros, which takes time.
        let enough = (ours.len() + 1).next_multiple_of(ALIGNMENT).min(want);
        let copy = pair.copy;
        let theirs = match self.copy.read(copy.fd.as_fd(), at, enough, copy.direct) {
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) if copy.direct => return Err(copy.refuse()),
            Ok(theirs) if copy.direct && theirs.len() < ours.len() => return Err(copy.refuse()),
            theirs => theirs.map_err(cannot_read_back)?,
        };
        if ours != theirs {
            let common = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
            return Err(Difference::At(at + common as u64));
        }
        Ok(ours.len() == want)
    }
}

/// Two files that are compared.
struct Pair<'a> {
    source: BorrowedFd<'a>,
    copy: &'a Uncached,
    two_readers: bool,
    stop: &'a StopFlag,
}

/// The pieces of a range, which readers take in order.
struct Pieces {
    next: AtomicU64,
    end: u64,
    /// The first difference that was found, and the offset of its piece.
    first: Mutex<Option<(u64, Difference)>>,
}

impl Pieces {
    fn of(range: Range<u64>) -> Pieces {
        let start = range.start - range.start % ALIGNMENT as u64;
        Pieces { next: AtomicU64::new(start), end: range.end.min(LAST_OFFSET), first: Mutex::default() }
    }

    fn take(&self) -> Option<u64> {
        let at = self.next.fetch_add(PIECE as u64, Ordering::Relaxed);
        (at < self.end).then_some(at)
    }

    /// Lets no reader take another piece.
    fn end(&self) {
        self.next.store(self.end, Ordering::Relaxed);
    }

    /// Ends with a difference in the piece at an offset. The pieces before it are taken, so their readers report
    /// theirs.
    fn end_with(&self, at: u64, difference: Difference) {
        self.end();
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(other, _)| at < *other) {
            *first = Some((at, difference));
        }
    }

    fn answer(self) -> std::result::Result<(), Difference> {
        let first = self.first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), |(_, difference)| Err(difference))
    }
}

/// A copy, opened to be read from the disk.
struct Uncached {
    fd: OwnedFd,
    /// Whether `fd` was opened with O_DIRECT.
    direct: bool,
    /// Whether a direct read was refused, or gave fewer bytes than the source has.
    is_refused: AtomicBool,
    /// Whether reads may be served from the page cache.
    from_cache: bool,
}

impl Uncached {
    fn new(fd: OwnedFd, direct: bool, from_cache: bool) -> Uncached {
        Uncached { fd, direct, is_refused: AtomicBool::new(false), from_cache }
    }

    /// Opens a copy in the way that its file system needs. A trial read uses `room`.
    fn open(
        copy: WrittenCopy<'_>,
        room: &mut VerifyBuffer,
        mut file_system: impl FnMut(u64, BorrowedFd<'_>) -> FsKind,
    ) -> Result<Uncached> {
        let facts = io::reads_directly(copy.fd).map(|(dev, directly)| (file_system(dev, copy.fd), directly));
        // A direct read that can be trusted writes dirty pages first, and then reads the disk.
        let is_trusted = match facts {
            Ok((FsKind::Ext4, directly)) => directly == Some(true),
            Ok((FsKind::Xfs, directly)) => directly != Some(false),
            Ok((FsKind::Tmpfs, _)) => return Uncached::cached(copy.open(false)?),
            _ => false,
        };
        let direct = copy.open(true).ok();
        if is_trusted && let Some(fd) = direct {
            return Ok(Uncached::new(fd, true, false));
        }
        // btrfs may serve a direct read from the cache (compressed or inline extents); others are unknown.
        let direct = direct.filter(|fd| room.read(fd.as_fd(), 0, ALIGNMENT, true).is_ok());
        let dropped = Uncached::dropped(copy)?;
        Ok(match direct {
            Some(fd) => Uncached::new(fd, true, dropped.from_cache),
            None => dropped,
        })
    }

    /// Writes a copy to the disk, drops its pages, and opens it without O_DIRECT.
    fn dropped(copy: WrittenCopy<'_>) -> Result<Uncached> {
        io::sync_data(copy.fd)?;
        io::drop_pages(copy.fd, 0, 0);
        Uncached::cached(open_when_written(copy)?)
    }

    fn cached(fd: OwnedFd) -> Result<Uncached> {
        let from_cache = io::may_be_cached(&fd, at::fstat(&fd)?.size);
        Ok(Uncached::new(fd, false, from_cache))
    }

    /// Notes that direct reads are refused. The caller compares the files again, without them.
    fn refuse(&self) -> Difference {
        self.is_refused.store(true, Ordering::Relaxed);
        cannot_read_back(Errno::INVAL).into()
    }
}

/// Opens a copy for reading. To some FUSE servers a file is complete only when one of its descriptors has been
/// closed.
fn open_when_written(copy: WrittenCopy<'_>) -> Result<OwnedFd> {
    copy.open(false).or_else(|_| {
        io::flush(copy.fd)?;
        copy.open(false)
    })
}

#[derive(Debug, Default)]
struct VerifyBuffer {
    bytes: Vec<u8>,
    content: Range<usize>,
}

impl VerifyBuffer {
    /// Reads `want` bytes, or up to the end of the file.
    fn read(&mut self, fd: BorrowedFd<'_>, at: u64, want: usize, direct: bool) -> Result<&[u8]> {
        if self.bytes.is_empty() {
            self.bytes = memory::buffer(PIECE + ALIGNMENT)?;
        }
        let start = self.bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        self.content = start..start;
        let room = self.bytes.get_mut(start..start + want).unwrap_or_default();
        let mut filled = 0;
        while filled < want {
            match retry_on_intr(|| rustix::io::pread(fd, &mut room[filled..], at + filled as u64)) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(errno) => return Err(errno),
            }
            if direct && !filled.is_multiple_of(ALIGNMENT) {
                break; // a direct read is unaligned only at the end of the file
            }
        }
        self.content = start..start + filled;
        Ok(self.content())
    }

    /// Returns the bytes that the last read got.
    fn content(&self) -> &[u8] {
        self.bytes.get(self.content.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_counts_whichever_is_found_first() {
        for order in [[0, 1], [1, 0]] {
            let pieces = Pieces::of(0..u64::MAX);
            let starts = [pieces.take().unwrap(), pieces.take().unwrap()];
            for index in order {
                pieces.end_with(starts[index], Difference::At(starts[index] + 7));
            }
            assert_eq!(pieces.take(), None);
            assert_eq!(pieces.answer(), Err(Difference::At(7)));
        }
    }
}

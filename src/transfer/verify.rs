//! Compares a source with its copy (`--verify`).
//!
//! The copy is not read from the page cache, which only holds what was meant to be written, but from the disk, by
//! O_DIRECT, which first writes dirty pages. Where a file system does not support O_DIRECT, or may serve it from
//! the cache (ext4 with data=journal), the pages are written and dropped before, and a check tells whether they
//! are gone. On tmpfs there is only the cache. [`Uncached::open`] decides between these ways.
//!
//! Each direct read waits for the disk, so that pieces are read ahead, many at the same time (`read_ahead.rs`). Where the
//! kernel does not permit that, each worker waits for one read, and workers become more (`engine/scaling.rs`).

use super::read_ahead::{PIECE, ReadAhead};
use super::route::FsKind;
use super::spans::{self, Next};
use crate::error::{Failure, Operation};
use crate::sys::interrupted::retry_on_intr;
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Result, Stat, at, io, memory};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    /// Its slot of [`Verifier::begin`], if its content may be there.
    pub slot: Option<usize>,
}

impl WrittenCopy<'_> {
    fn open(&self, direct: bool) -> Result<OwnedFd> {
        at::open_again(self.fd, self.name, direct)
    }
}

/// Compares files; its buffers are reused.
#[derive(Default)]
pub(crate) struct Verifier {
    source: VerifyBuffer,
    copy: VerifyBuffer,
    ahead: ReadAhead,
}

impl Verifier {
    /// Begins to read the copies of small files from the disk, those that permit it. Each is given by a descriptor that
    /// is open for reading, too, and the size of its source; its place is its slot. A later call replaces all slots.
    pub(crate) fn begin(
        &mut self,
        copies: &[Option<(BorrowedFd<'_>, u64)>],
        mut file_system: impl FnMut(u64, BorrowedFd<'_>) -> FsKind,
    ) {
        let mut files = Vec::with_capacity(copies.len());
        for copy in copies {
            files.push(copy.and_then(|(fd, size)| {
                let len = usize::try_from(size + 1).ok()?.next_multiple_of(ALIGNMENT); // one more shows a longer copy
                let begins = len <= PIECE && way_to_read(fd, &mut file_system) == Way::Direct;
                (begins && io::set_direct(fd).is_ok()).then_some((fd, len))
            }));
        }
        self.ahead.begin_files(&files);
    }

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
        if let Some(slot) = written.slot
            && self.compare_begun(slot, source, stat.size)?
        {
            return Ok(false);
        }
        let mut copy = Uncached::open(written, &mut self.copy, &mut file_system).map_err(cannot_read_back)?;
        let has_holes = stat.seems_sparse() && {
            let stat = at::fstat(source).map_err(Failure::reading)?;
            spans::holes_are_credible(source, &stat, file_system(stat.dev, source).sizes_are_true())
        };
        let mut compare = |copy: &mut Uncached| {
            let mut pair = Pair { source, size: stat.size, copy, stop };
            let range = range.clone();
            if has_holes { self.compare_data(&mut pair, range) } else { self.compare_range(&mut pair, range) }
        };
        let mut answer = compare(&mut copy);
        if copy.is_refused {
            copy = Uncached::dropped(written).map_err(cannot_read_back)?;
            answer = compare(&mut copy);
        }
        answer.map(|()| copy.from_cache)
    }

    /// Compares a small file with its copy, which was read ahead. Returns false if it has to be read again.
    fn compare_begun(
        &mut self,
        slot: usize,
        source: BorrowedFd<'_>,
        size: u64,
    ) -> std::result::Result<bool, Difference> {
        let Some(theirs) = self.ahead.take(slot).filter(|theirs| theirs.len() as u64 <= size) else {
            return Ok(false);
        };
        let enough = (theirs.len() + 1).next_multiple_of(ALIGNMENT);
        let ours = self.source.read(source, 0, enough, false).map_err(Failure::reading)?;
        if ours.len() > theirs.len() {
            return Ok(false);
        }
        compare_bytes(ours, theirs, 0).map(|()| true)
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
                let common = common_length(ours, theirs);
                let blocks = common - common % ALIGNMENT;
                compared(blocks as u64);
                return Ok(at + blocks as u64);
            }
            at += PIECE as u64;
            compared(PIECE as u64);
        }
    }

    /// Compares what is data in either file, and the lengths.
    fn compare_data(&mut self, pair: &mut Pair<'_>, range: Range<u64>) -> std::result::Result<(), Difference> {
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
    fn compare_range(&mut self, pair: &mut Pair<'_>, range: Range<u64>) -> std::result::Result<(), Difference> {
        let mut at = range.start - range.start % ALIGNMENT as u64;
        let (mut ahead, end) = (at, range.end.min(LAST_OFFSET));
        // One byte more shows whether the copy is longer.
        let most = if pair.copy.direct { end.min(pair.size + 1) } else { 0 };
        while at < end {
            while ahead < most.min(ReadAhead::end(at)) {
                io::drop_pages(&pair.copy.fd, ahead, PIECE as u64); // starts writeback
                let len = usize::try_from(most - ahead).unwrap_or(PIECE).min(PIECE).next_multiple_of(ALIGNMENT);
                self.ahead.begin_piece(pair.copy.fd.as_fd(), ahead, len);
                ahead += PIECE as u64;
            }
            if !self.compare_piece(pair, at, end, at < ahead)? {
                break;
            }
            at += PIECE as u64;
        }
        Ok(())
    }

    /// Compares the piece at an offset, which may have begun to be read. Returns false if both files end in it.
    fn compare_piece(
        &mut self,
        pair: &mut Pair<'_>,
        at: u64,
        end: u64,
        has_begun: bool,
    ) -> std::result::Result<bool, Difference> {
        if pair.stop.is_raised() {
            return Err(Failure::interruption().into());
        }
        let left = usize::try_from(end - at).unwrap_or(PIECE);
        let most = usize::try_from(LAST_OFFSET.saturating_sub(at)).unwrap_or(PIECE);
        let want = left.min(PIECE).next_multiple_of(ALIGNMENT).min(most);
        let ours = self.source.read(pair.source, at, want, false).map_err(Failure::reading)?;
        // The kernel fills what a direct read asks for beyond the end of the file with zeros, which takes time.
        let enough = (ours.len() + 1).next_multiple_of(ALIGNMENT).min(want);
        let copy = &mut *pair.copy;
        let begun = if has_begun { self.ahead.take_piece(at) } else { None };
        let theirs = match begun.filter(|theirs| theirs.len() >= ours.len()) {
            Some(theirs) => &theirs[..theirs.len().min(want)],
            None => match self.copy.read(copy.fd.as_fd(), at, enough, copy.direct) {
                Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) if copy.direct => return Err(copy.refuse()),
                Ok(theirs) if copy.direct && theirs.len() < ours.len() => return Err(copy.refuse()),
                theirs => theirs.map_err(cannot_read_back)?,
            },
        };
        compare_bytes(ours, theirs, at).map(|()| ours.len() == want)
    }
}

/// Compares bytes that both files have at an offset.
fn compare_bytes(ours: &[u8], theirs: &[u8], at: u64) -> std::result::Result<(), Difference> {
    if ours == theirs {
        return Ok(());
    }
    Err(Difference::At(at + common_length(ours, theirs) as u64))
}

fn common_length(ours: &[u8], theirs: &[u8]) -> usize {
    ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count()
}

/// Two files that are compared.
struct Pair<'a> {
    source: BorrowedFd<'a>,
    /// The size of the source when it was copied.
    size: u64,
    copy: &'a mut Uncached,
    stop: &'a StopFlag,
}

/// How the disk's content of a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A direct read writes dirty pages first, and then reads the disk.
    Direct,
    /// A direct read may be served from the page cache, or is refused. So pages are dropped before.
    Dropped,
    /// The pages are all there is.
    Cached,
}

fn way_to_read(copy: BorrowedFd<'_>, file_system: impl FnOnce(u64, BorrowedFd<'_>) -> FsKind) -> Way {
    match io::reads_directly(copy).map(|(dev, directly)| (file_system(dev, copy), directly)) {
        Ok((FsKind::Ext4, Some(true))) | Ok((FsKind::Xfs, None | Some(true))) => Way::Direct,
        Ok((FsKind::Tmpfs, _)) => Way::Cached,
        // btrfs may serve a direct read from the cache (compressed or inline extents); others are unknown.
        _ => Way::Dropped,
    }
}

/// A copy, opened to be read from the disk.
struct Uncached {
    fd: OwnedFd,
    /// Whether `fd` was opened with O_DIRECT.
    direct: bool,
    /// Whether a direct read was refused, or gave fewer bytes than the source has.
    is_refused: bool,
    /// Whether reads may be served from the page cache.
    from_cache: bool,
}

impl Uncached {
    fn new(fd: OwnedFd, direct: bool, from_cache: bool) -> Uncached {
        Uncached { fd, direct, is_refused: false, from_cache }
    }

    /// Opens a copy in the way that its file system needs. A trial read uses `room`.
    fn open(
        copy: WrittenCopy<'_>,
        room: &mut VerifyBuffer,
        mut file_system: impl FnMut(u64, BorrowedFd<'_>) -> FsKind,
    ) -> Result<Uncached> {
        let way = way_to_read(copy.fd, &mut file_system);
        if way == Way::Cached {
            return Uncached::cached(copy.open(false)?);
        }
        let direct = copy.open(true).ok();
        if way == Way::Direct
            && let Some(fd) = direct
        {
            return Ok(Uncached::new(fd, true, false));
        }
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
    fn refuse(&mut self) -> Difference {
        self.is_refused = true;
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

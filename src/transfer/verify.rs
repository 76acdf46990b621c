//! Compares a source with its copy (`--verify`).
//!
//! The copy is not read from the page cache, which only holds what was meant to be written, but from the disk, by
//! O_DIRECT, which first writes dirty pages. Where a file system does not support O_DIRECT, or may serve it from
//! the cache (ext4 with data=journal), the pages are written and dropped before, and a check tells whether they
//! are gone. On tmpfs there is only the cache.

use super::route::FsKind;
use super::spans::{self, Next};
use crate::error::{Failure, Operation};
use crate::sys::interrupted::retry_on_intr;
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Result, at, io, memory};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The bytes to compare at once.
const PIECE: usize = 1 << 20;
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
    source: VerifyBuffer,
    copy: VerifyBuffer,
}

impl Verifier {
    /// Compares a range of a source, which is open for reading, with its copy, which is opened again. The range
    /// begins at a multiple of 4096 bytes. Returns whether some bytes of the copy may have come from the page cache.
    pub(crate) fn compare(
        &mut self,
        source: BorrowedFd<'_>,
        copy: WrittenCopy<'_>,
        range: Range<u64>,
        stop: &StopFlag,
    ) -> std::result::Result<bool, Difference> {
        let mut copy = self.open_uncached(copy).map_err(cannot_read_back)?;
        self.compare_open(source, &mut copy, range, stop)?;
        Ok(copy.from_cache)
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

    fn open_uncached<'c>(&mut self, written: WrittenCopy<'c>) -> Result<Uncached<'c>> {
        let copy = written.fd;
        let kind = FsKind::from_magic(io::fs_magic(copy)?);
        // On these file systems a direct read writes dirty pages first, and then reads the disk.
        let is_trusted = match kind {
            FsKind::Ext4 => io::reads_directly(copy) == Some(true),
            FsKind::Xfs => io::reads_directly(copy) != Some(false),
            _ => false,
        };
        let direct = written.open(true).ok();
        if is_trusted && let Some(fd) = direct {
            return Ok(Uncached { fd, written, direct: true, from_cache: false });
        }
        // btrfs may serve a direct read from the cache (compressed or inline extents); others are unknown.
        let direct = direct.filter(|fd| self.copy.read(fd.as_fd(), 0, ALIGNMENT, true).is_ok());
        let (cached, from_cache) = write_and_drop(written)?;
        Ok(Uncached { direct: direct.is_some(), fd: direct.unwrap_or(cached), written, from_cache })
    }

    fn compare_open(
        &mut self,
        source: BorrowedFd<'_>,
        copy: &mut Uncached<'_>,
        range: Range<u64>,
        stop: &StopFlag,
    ) -> std::result::Result<(), Difference> {
        let stat = at::fstat(source).map_err(Failure::reading)?;
        let sparse = stat.seems_sparse() || at::fstat(&copy.fd).map_err(cannot_read_back)?.seems_sparse();
        let magic = io::fs_magic(source).map_err(Failure::reading)?;
        if !sparse || !spans::holes_are_credible(source, &stat, FsKind::from_magic(magic).sizes_are_true()) {
            return self.compare_range(source, copy, range, stop);
        }
        let mut from = range.start;
        loop {
            let ours = spans::next_span(source, from);
            let theirs = spans::next_span(copy.fd.as_fd(), from);
            // A hole reads as zeros, so only ranges that are holes in both files need no comparison.
            let span = match (ours, theirs) {
                (Next::Unknown, _) | (_, Next::Unknown) => from..u64::MAX,
                (Next::Hole, Next::Hole) => break,
                (Next::Data(span), Next::Hole) | (Next::Hole, Next::Data(span)) => span,
                (Next::Data(ours), Next::Data(theirs)) if ours.start <= theirs.start => ours,
                (Next::Data(_), Next::Data(theirs)) => theirs,
            };
            from = span.end;
            self.compare_range(source, copy, span.start..from.min(range.end), stop)?;
            if from >= range.end {
                return Ok(());
            }
        }
        let ours = at::fstat(source).map_err(Failure::reading)?.size;
        let theirs = at::fstat(&copy.fd).map_err(cannot_read_back)?.size;
        if ours == theirs { Ok(()) } else { Err(Difference::At(ours.min(theirs))) }
    }

    /// Compares a range, up to the end of the files.
    fn compare_range(
        &mut self,
        source: BorrowedFd<'_>,
        copy: &mut Uncached<'_>,
        range: Range<u64>,
        stop: &StopFlag,
    ) -> std::result::Result<(), Difference> {
        let mut at = range.start - range.start % ALIGNMENT as u64;
        while at < range.end {
            if stop.is_raised() {
                return Err(Failure::interruption().into());
            }
            let left = usize::try_from(range.end - at).unwrap_or(PIECE);
            let most = usize::try_from(LAST_OFFSET.saturating_sub(at)).unwrap_or(PIECE);
            let want = left.min(PIECE).next_multiple_of(ALIGNMENT).min(most);
            if want == 0 {
                return Ok(()); // `LAST_OFFSET` is reached
            }
            let ours = self.source.read(source, at, want, false).map_err(Failure::reading)?;
            let theirs = read_back(&mut self.copy, copy, at, ours.len(), want);
            let theirs = theirs.map_err(cannot_read_back)?;
            if ours != theirs {
                let common = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
                return Err(Difference::At(at + common as u64));
            }
            if ours.len() < want {
                return Ok(()); // both end here
            }
            at += want as u64;
        }
        Ok(())
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

/// Reads a piece of a copy whose source has `expected` bytes there. If O_DIRECT is refused, or gives fewer bytes,
/// reads without it.
fn read_back<'p>(
    piece: &'p mut VerifyBuffer,
    copy: &mut Uncached<'_>,
    at: u64,
    expected: usize,
    want: usize,
) -> Result<&'p [u8]> {
    if copy.direct {
        match piece.read(copy.fd.as_fd(), at, want, true).map(<[u8]>::len) {
            Ok(length) if length >= expected => return Ok(piece.content()),
            Ok(_) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(errno) => return Err(errno),
        }
        let (fd, from_cache) = write_and_drop(copy.written)?;
        *copy = Uncached { fd, direct: false, from_cache: copy.from_cache | from_cache, ..*copy };
    }
    piece.read(copy.fd.as_fd(), at, want, false)
}

/// Writes a file to the disk, drops its pages, and opens it for reading. Returns whether some pages may still be
/// cached.
fn write_and_drop(copy: WrittenCopy<'_>) -> Result<(OwnedFd, bool)> {
    io::sync_data(copy.fd)?;
    io::drop_pages(copy.fd, 0, 0);
    let fd = open_when_written(copy)?;
    let from_cache = io::may_be_cached(&fd, at::fstat(&fd)?.size);
    Ok((fd, from_cache))
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

/// A copy, opened to be read from the disk.
struct Uncached<'c> {
    fd: OwnedFd,
    written: WrittenCopy<'c>,
    /// Whether `fd` was opened with O_DIRECT.
    direct: bool,
    from_cache: bool,
}

//! Two files side by side: where do they differ first?
//!
//! The copy is not read from the page cache, which holds what was meant to be written: what is dirty
//! is written to the disk, and the disk is read (O_DIRECT). Where a file system has no such reads, or
//! may serve them from the cache (ext4 with data=journal), the pages are written and dropped before, and it is
//! checked that they are gone. tmpfs is nothing but cache.

use super::ladder::Side;
use super::route::FsKind;
use super::spans::{self, Next};
use crate::sys::interrupted::retry_on_intr;
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Result, Stat, at, io, memory};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes compared at once.
const PIECE: usize = 1 << 20;
/// What offsets, lengths and memory of O_DIRECT are to be multiples of: the most that a device asks
/// for (open(2), NOTES).
const ALIGNMENT: usize = 4096;
/// Where the longest file ends: no call reads beyond it.
const LAST_OFFSET: u64 = i64::MAX as u64;

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All bytes are the same.
    Same {
        /// Whether the page cache may have given some of the copy's.
        from_cache: bool,
    },
    /// The first that differs, or that only one of the two has, is at this offset.
    Differs(u64),
    /// One of the two could not be read.
    Unreadable(Side, Errno),
    /// A signal asked for the end.
    Interrupted,
}

/// Compares files, one after the other, in the same memory.
#[derive(Debug, Default)]
pub struct Verifier {
    source: VerifyBuffer,
    copy: VerifyBuffer,
}

impl Verifier {
    /// Compares a source, which is open for reading, with its copy, which is opened once more.
    pub fn compare(&mut self, source: BorrowedFd<'_>, copy: BorrowedFd<'_>, stop: &StopFlag) -> Finding {
        let copy = self.open_uncached(copy).map_err(|errno| Finding::Unreadable(Side::Destination, errno));
        let answer = copy.and_then(|mut copy| {
            self.compare_open(source, &mut copy, stop)?;
            Ok(Finding::Same { from_cache: copy.from_cache })
        });
        answer.unwrap_or_else(|finding| finding)
    }

    /// Opens a copy once more.
    fn open_uncached(&mut self, copy: BorrowedFd<'_>) -> Result<Uncached> {
        let kind = FsKind::from_magic(io::fs_magic(copy)?);
        // Such a read waits until what is dirty is on the disk, and then reads that.
        let is_trusted = match kind {
            FsKind::Ext4 => io::reads_directly(copy) == Some(true),
            FsKind::Xfs => io::reads_directly(copy) != Some(false),
            _ => false,
        };
        let direct = at::open_again(copy, true).ok();
        if is_trusted && let Some(fd) = direct {
            return Ok(Uncached { fd, direct: true, from_cache: false });
        }
        // btrfs may serve it from the cache (compressed or inline extents), and of others nothing is known.
        let direct = direct.filter(|fd| self.copy.read(fd.as_fd(), 0, ALIGNMENT, true).is_ok());
        let (fd, from_cache) = write_and_drop(copy)?;
        match direct {
            Some(fd) => Ok(Uncached { fd, direct: true, from_cache }),
            None => Ok(Uncached { fd, direct: false, from_cache }),
        }
    }

    /// The finding is the error, so that it ends the search.
    fn compare_open(
        &mut self,
        source: BorrowedFd<'_>,
        copy: &mut Uncached,
        stop: &StopFlag,
    ) -> std::result::Result<(), Finding> {
        let unreadable = |side| move |errno| Finding::Unreadable(side, errno);
        let stat = at::fstat(source).map_err(unreadable(Side::Source))?;
        let sparse =
            stat.seems_sparse() || at::fstat(&copy.fd).map_err(unreadable(Side::Destination))?.seems_sparse();
        if !sparse || !holes_are_credible(source, &stat).map_err(unreadable(Side::Source))? {
            return self.compare_range(source, copy, 0..u64::MAX, stop);
        }
        let mut from = 0;
        loop {
            let ours = spans::next_span(source, from);
            let theirs = spans::next_span(copy.fd.as_fd(), from);
            // A hole is zeros, so only where both have one there is nothing to compare.
            let span = match (ours, theirs) {
                (Next::Unknown, _) | (_, Next::Unknown) => from..u64::MAX,
                (Next::Hole, Next::Hole) => break,
                (Next::Data(span), Next::Hole) | (Next::Hole, Next::Data(span)) => span,
                (Next::Data(ours), Next::Data(theirs)) if ours.start <= theirs.start => ours,
                (Next::Data(_), Next::Data(theirs)) => theirs,
            };
            from = span.end;
            self.compare_range(source, copy, span, stop)?;
            if from == u64::MAX {
                return Ok(());
            }
        }
        let ours = at::fstat(source).map_err(unreadable(Side::Source))?.size;
        let theirs = at::fstat(&copy.fd).map_err(unreadable(Side::Destination))?.size;
        if ours == theirs { Ok(()) } else { Err(Finding::Differs(ours.min(theirs))) }
    }

    /// Compares a range, or as much of it as there is.
    fn compare_range(
        &mut self,
        source: BorrowedFd<'_>,
        copy: &mut Uncached,
        range: Range<u64>,
        stop: &StopFlag,
    ) -> std::result::Result<(), Finding> {
        let mut at = range.start - range.start % ALIGNMENT as u64;
        while at < range.end {
            if stop.is_raised() {
                return Err(Finding::Interrupted);
            }
            let left = usize::try_from(range.end - at).unwrap_or(PIECE);
            let most = usize::try_from(LAST_OFFSET.saturating_sub(at)).unwrap_or(PIECE);
            let want = left.min(PIECE).next_multiple_of(ALIGNMENT).min(most);
            if want == 0 {
                return Ok(()); // no file is longer
            }
            let unreadable = |side| move |errno| Finding::Unreadable(side, errno);
            let ours = self.source.read(source, at, want, false).map_err(unreadable(Side::Source))?;
            let theirs = read_back(&mut self.copy, copy, at, ours.len(), want);
            let theirs = theirs.map_err(unreadable(Side::Destination))?;
            if ours != theirs {
                let common = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
                return Err(Finding::Differs(at + common as u64));
            }
            if ours.len() < want {
                return Ok(()); // both end here
            }
            at += want as u64;
        }
        Ok(())
    }
}

/// Opens a copy to read it. To some FUSE servers it is complete only when one of its descriptors has been closed.
fn open_when_written(copy: BorrowedFd<'_>) -> Result<OwnedFd> {
    at::open_again(copy, false).or_else(|_| {
        io::flush(copy)?;
        at::open_again(copy, false)
    })
}

/// Reads a piece of a copy whose source has `expected` bytes there. Where O_DIRECT is refused, or gives less than that,
/// it is read without.
fn read_back<'p>(
    piece: &'p mut VerifyBuffer,
    copy: &mut Uncached,
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
        let (fd, from_cache) = write_and_drop(copy.fd.as_fd())?;
        *copy = Uncached { fd, direct: false, from_cache: copy.from_cache | from_cache };
    }
    piece.read(copy.fd.as_fd(), at, want, false)
}

/// Has a file written to the disk and its pages dropped, and opens it to be read. Says whether some may still be there.
fn write_and_drop(copy: BorrowedFd<'_>) -> Result<(OwnedFd, bool)> {
    io::sync_data(copy)?;
    io::drop_pages(copy, 0, 0);
    let fd = open_when_written(copy)?;
    let from_cache = io::may_be_cached(&fd, at::fstat(&fd)?.size);
    Ok((fd, from_cache))
}

/// Whether a source has nothing where its file system says that there is a hole, which the copy then has too.
fn holes_are_credible(source: BorrowedFd<'_>, stat: &Stat) -> Result<bool> {
    let known = FsKind::from_magic(io::fs_magic(source)?).sizes_are_true();
    Ok(spans::are_credible(stat, spans::data_bytes(source, stat.size), known))
}

/// Aligned memory, and what was read into it.
#[derive(Debug, Default)]
struct VerifyBuffer {
    bytes: Vec<u8>,
    content: Range<usize>,
}

impl VerifyBuffer {
    /// Reads until there is as much as wanted, or the file ends.
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
                break; // only the end of the file is not aligned
            }
        }
        self.content = start..start + filled;
        Ok(self.content())
    }

    /// What the last read gave.
    fn content(&self) -> &[u8] {
        self.bytes.get(self.content.clone()).unwrap_or_default()
    }
}

/// A file that is not read from the page cache.
struct Uncached {
    fd: OwnedFd,
    /// By O_DIRECT.
    direct: bool,
    /// Whether some of its pages may still be in the page cache, and answer.
    from_cache: bool,
}

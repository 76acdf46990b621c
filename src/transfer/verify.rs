//! Two files side by side: where do they differ first?
//!
//! The copy is not read from the page cache, which holds what was meant to be written: what is dirty
//! is written to the disk, and the disk is read (O_DIRECT). Where a file system has no such reads, or
//! may serve them from the cache, the pages are written and dropped before. tmpfs is nothing but cache.

use super::ladder::Side;
use super::route::FsKind;
use super::spans::{self, Next};
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Result, Stat, at, io};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes compared at once.
const PIECE: usize = 1 << 20;
/// What offsets, lengths and memory of O_DIRECT are to be multiples of: the most that a device asks
/// for (open(2), NOTES).
const ALIGNMENT: usize = 4096;

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All bytes are the same.
    Same,
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
    source: Piece,
    copy: Piece,
}

impl Verifier {
    /// Compares a source, which is open for reading, with its copy, which is opened once more.
    pub fn compare(&mut self, source: BorrowedFd<'_>, copy: BorrowedFd<'_>, stop: &StopFlag) -> Finding {
        let answer = self
            .uncached(copy)
            .map_err(|errno| Finding::Unreadable(Side::Destination, errno))
            .and_then(|copy| self.compare_open(source, &copy, stop));
        answer.err().unwrap_or(Finding::Same)
    }

    /// Opens a copy once more.
    fn uncached(&mut self, copy: BorrowedFd<'_>) -> Result<Uncached> {
        let kind = FsKind::from_magic(io::fs_magic(copy)?);
        let is_known = matches!(kind, FsKind::Ext4 | FsKind::Xfs);
        let mut works = |fd: &OwnedFd| is_known || self.copy.read(fd.as_fd(), 0, ALIGNMENT, true).is_ok();
        let direct = at::open_again(copy, true).ok().filter(|fd| works(fd));
        // With ext4 and xfs such a read waits until what is dirty is on the disk, and then reads that.
        // btrfs may serve it from the cache (compressed or inline extents), and of others nothing is known.
        if direct.is_none() || !is_known {
            io::sync_data(copy)?;
            io::drop_pages(copy, 0, 0);
        }
        match direct {
            Some(fd) => Ok(Uncached { fd, direct: true }),
            None => Ok(Uncached { fd: open_when_written(copy)?, direct: false }),
        }
    }

    /// The finding is the error, so that it ends the search.
    fn compare_open(
        &mut self,
        source: BorrowedFd<'_>,
        copy: &Uncached,
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
        copy: &Uncached,
        range: Range<u64>,
        stop: &StopFlag,
    ) -> std::result::Result<(), Finding> {
        let mut at = range.start - range.start % ALIGNMENT as u64;
        while at < range.end {
            if stop.is_raised() {
                return Err(Finding::Interrupted);
            }
            let left = usize::try_from(range.end - at).unwrap_or(PIECE);
            let want = left.min(PIECE).next_multiple_of(ALIGNMENT);
            let unreadable = |side| move |errno| Finding::Unreadable(side, errno);
            let ours = self.source.read(source, at, want, false).map_err(unreadable(Side::Source))?;
            let theirs =
                self.copy.read(copy.fd.as_fd(), at, want, copy.direct).map_err(unreadable(Side::Destination))?;
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

/// Whether a source has nothing where its file system says that there is a hole, which the copy then has too.
fn holes_are_credible(source: BorrowedFd<'_>, stat: &Stat) -> Result<bool> {
    let known = FsKind::from_magic(io::fs_magic(source)?).sizes_are_true();
    Ok(spans::are_credible(stat, spans::data_bytes(source, stat.size), known))
}

/// Aligned memory, and what was read into it.
#[derive(Debug, Default)]
struct Piece(Vec<u8>);

impl Piece {
    /// Reads until there is as much as wanted, or the file ends.
    fn read(&mut self, fd: BorrowedFd<'_>, at: u64, want: usize, direct: bool) -> Result<&[u8]> {
        if self.0.is_empty() {
            self.0 = vec![0; PIECE + ALIGNMENT];
        }
        let start = self.0.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let room = self.0.get_mut(start..start + want).unwrap_or_default();
        let mut filled = 0;
        while filled < want {
            match rustix::io::pread(fd, &mut room[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            }
            if direct && !filled.is_multiple_of(ALIGNMENT) {
                break; // only the end of the file is not aligned
            }
        }
        Ok(&room[..filled])
    }
}

/// A file that is not read from the page cache.
struct Uncached {
    fd: OwnedFd,
    direct: bool,
}

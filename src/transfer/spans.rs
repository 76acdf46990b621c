//! Data and holes of a file.
//!
//! A hole is found by the file system (SEEK_DATA, SEEK_HOLE of lseek(2)) or by reading zeros. The answers of the
//! file system may be wrong for a file that changes, so only strictly increasing offsets are relied on. The holes
//! of a whole file are checked against its block count.

use super::strategies::read_write;
use crate::sys::{Stat, io};
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// The rest of a file, by the file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next extent of data.
    Data(Range<u64>),
    /// Only a hole is left.
    Hole,
    /// The file system cannot tell: the rest counts as data.
    Unknown,
}

/// Returns the data extent that contains `from` or comes next after it.
pub(super) fn next_span(src: BorrowedFd<'_>, from: u64) -> Next {
    let start = match io::seek_data(src, from) {
        Ok(Some(start)) => start,
        Ok(None) => return Next::Hole,
        // Whatever the reason, reading finds the data or meets the same error.
        Err(_) => return Next::Unknown,
    };
    match io::seek_hole(src, start) {
        Ok(end) if start >= from && end > start => Next::Data(start..end),
        // ENXIO: the file shrank between the two calls. Other answers make no sense. Reading finds the data.
        _ => Next::Unknown,
    }
}

/// If the block count contradicts holes of up to this many bytes, they are read, which takes a tenth of a second.
const CHEAP: u64 = 256 << 20;
/// On an unknown file system, one byte of allocated blocks for this many bytes of holes may be metadata of the
/// file (extent trees, attributes).
const OVERHEAD: u64 = 1 << 14;

/// The holes of a file, by the file system.
#[derive(Debug, Default)]
pub(super) struct ReportedHoles {
    /// The holes, as long as they may have to be read.
    pub(super) holes: Vec<Range<u64>>,
    pub(super) bytes: u64,
}

impl ReportedHoles {
    pub(super) fn add(&mut self, hole: Range<u64>, known: bool) {
        self.bytes += hole.end - hole.start;
        if known && self.bytes > CHEAP {
            self.holes = Vec::new(); // never read, see `are_credible`
        } else if !hole.is_empty() {
            self.holes.push(hole);
        }
    }
}

/// Returns whether the source has no data where its file system reports a hole. If it had, a copy would have the
/// hole as well. `known` says that the data ends at `st_size`.
pub(super) fn holes_are_credible(src: BorrowedFd<'_>, stat: &Stat, known: bool) -> bool {
    are_credible(stat, data_bytes(src, stat.size), known)
}

/// Returns whether the holes of a file with `data` bytes of data are credible. Data occupies blocks, so more
/// blocks than data suggest that the file system reported data as a hole. There are harmless reasons too, above
/// all preallocated blocks, so `known` file systems are doubted only where reading is cheap. Others may not count
/// blocks at all, and report 0.
pub(super) fn are_credible(stat: &Stat, data: u64, known: bool) -> bool {
    let hole = stat.size.saturating_sub(data);
    // Only the end of the file may be in the middle of a block.
    let in_blocks = data.next_multiple_of(read_write::block_size(stat) as u64);
    let excess = stat.blocks.saturating_mul(512).saturating_sub(in_blocks);
    match (known, stat.blocks) {
        (true, _) => excess == 0 || hole > CHEAP,
        (false, 0) => hole > CHEAP,
        (false, _) => excess <= hole / OVERHEAD,
    }
}

/// Returns the bytes of data in a file, by its file system; where that cannot tell, the rest counts as data.
fn data_bytes(src: BorrowedFd<'_>, size: u64) -> u64 {
    let (mut at, mut data) = (0, 0);
    while at < size {
        let span = match next_span(src, at) {
            Next::Data(span) => span,
            Next::Unknown => at..size,
            Next::Hole => break,
        };
        data += span.end.min(size).saturating_sub(span.start);
        at = span.end;
    }
    data
}

/// Splits `bytes` into runs of blocks of `block` bytes that are all zeros (true) or not.
pub(super) fn runs(bytes: &[u8], block: usize) -> impl Iterator<Item = (bool, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let zero_at = |at: usize| bytes.get(at..(at + block).min(bytes.len())).map(is_zero);
        let start = at;
        let zero = (at < bytes.len()).then(|| zero_at(at))??;
        while at < bytes.len() && zero_at(at) == Some(zero) {
            at = (at + block).min(bytes.len());
        }
        Some((zero, start..at))
    })
}

/// Compares the slice with itself, shifted by one: memcmp is faster than a loop over bytes.
fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && rest == &bytes[..rest.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_alternate_and_cover_all_bytes() {
        let mut bytes = vec![0u8; 10];
        bytes[4] = 1;
        let found: Vec<_> = runs(&bytes, 2).collect();
        assert_eq!(found, [(true, 0..4), (false, 4..6), (true, 6..10)]);
    }

    #[test]
    fn blocks_without_data_cast_doubt_on_holes() {
        let file = |size, blocks| Stat { size, blocks, blksize: 4096, ..Stat::default() };
        let large = 1 << 40;
        for known in [true, false] {
            assert!(!are_credible(&file(1 << 20, 8), 0, known));
            assert!(!are_credible(&file(1 << 20, 16), 4096, known));
            // The file ends in the middle of its last block.
            assert!(are_credible(&file((1 << 20) + 5, 8), 5, known));
            assert!(are_credible(&file(large, 8), 4096, known));
            // A block of attributes.
            assert!(are_credible(&file(large, 16), 4096, known));
            assert!(are_credible(&file(large, 0), 0, known));
        }
        assert!(are_credible(&file(1 << 20, 0), 0, true));
        assert!(!are_credible(&file(1 << 20, 0), 0, false));
        // Preallocated blocks, or data that is reported as a hole.
        assert!(are_credible(&file(large, large / 1024), 0, true));
        assert!(!are_credible(&file(large, large / 1024), 0, false));
    }

    #[test]
    fn a_short_last_block_counts() {
        let found: Vec<_> = runs(&[0, 0, 0, 7, 0], 2).collect();
        assert_eq!(found, [(true, 0..2), (false, 2..4), (true, 4..5)]);
        assert_eq!(runs(&[], 2).count(), 0);
    }
}

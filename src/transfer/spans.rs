//! Where a file has data and where it has holes.
//!
//! Two ways to know: the file system says (SEEK_DATA, SEEK_HOLE of lseek(2)), or the bytes
//! themselves are zeros. The answers of a live file may lie; the only thing relied on is that
//! offsets go strictly forward. What was said of a whole file is held against the blocks that it has.

use super::zeros;
use crate::sys::{Stat, io};
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// What the file system says of the rest of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next stretch of data.
    Data(Range<u64>),
    /// Only a hole is left.
    Hole,
    /// It cannot tell: the rest is to be taken as data.
    Unknown,
}

/// The data span that holds `from` or comes next after it.
pub(super) fn next_span(src: BorrowedFd<'_>, from: u64) -> Next {
    let start = match io::seek_data(src, from) {
        Ok(Some(start)) => start,
        Ok(None) => return Next::Hole,
        // Whatever the reason, reading will tell more.
        Err(_) => return Next::Unknown,
    };
    match io::seek_hole(src, start) {
        Ok(end) if start >= from && end > start => Next::Data(start..end),
        // ENXIO: the file shrank in between. Anything else is nonsense. Reading will tell.
        _ => Next::Unknown,
    }
}

/// Holes of no more bytes are read rather than believed in, if anything speaks against them: a tenth of a second.
const CHEAP: u64 = 256 << 20;
/// Of a file system that is not known, this part of a hole may be blocks that hold no data of the file: extent
/// trees, attributes.
const OVERHEAD: u64 = 1 << 14;

/// What a file system said are holes.
#[derive(Debug, Default)]
pub(super) struct Denied {
    /// Where they are, as long as they may yet be doubted.
    pub(super) holes: Vec<Range<u64>>,
    /// All of them together.
    pub(super) bytes: u64,
}

impl Denied {
    pub(super) fn add(&mut self, hole: Range<u64>, known: bool) {
        self.bytes += hole.end - hole.start;
        if known && self.bytes > CHEAP {
            self.holes = Vec::new(); // believed in, see below
        } else if !hole.is_empty() {
            self.holes.push(hole);
        }
    }
}

/// Whether the holes of a file that has `data` bytes beside them are to be believed. All data is in blocks, so
/// more blocks than data are a sign that the file system has denied some. There are honest reasons as
/// well, above all blocks that were allocated and never written; so the file systems that are `known` are
/// doubted only where reading costs little. Others may not count blocks at all, and say 0.
pub(super) fn are_credible(stat: &Stat, data: u64, known: bool) -> bool {
    let hole = stat.size.saturating_sub(data);
    // Only the end of the file may be in the middle of a block.
    let in_blocks = data.next_multiple_of(zeros::block_size(stat) as u64);
    let denied = stat.blocks.saturating_mul(512).saturating_sub(in_blocks);
    match (known, stat.blocks) {
        (true, _) => denied == 0 || hole > CHEAP,
        (false, 0) => hole > CHEAP,
        (false, _) => denied <= hole / OVERHEAD,
    }
}

/// How many bytes of data a file has by what its file system says; what that cannot tell counts as data.
pub(super) fn data_bytes(src: BorrowedFd<'_>, size: u64) -> u64 {
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

/// Splits `bytes` into runs that are all zeros and runs that are not, in blocks of `block` bytes.
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

/// Compares the slice with itself, shifted: memcmp is faster than a loop over bytes.
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
            // The end is in the middle of the last block.
            assert!(are_credible(&file((1 << 20) + 5, 8), 5, known));
            assert!(are_credible(&file(large, 8), 4096, known));
            // A block of attributes.
            assert!(are_credible(&file(large, 16), 4096, known));
            assert!(are_credible(&file(large, 0), 0, known));
        }
        assert!(are_credible(&file(1 << 20, 0), 0, true));
        assert!(!are_credible(&file(1 << 20, 0), 0, false));
        // Blocks that were allocated and never written, or a lie.
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

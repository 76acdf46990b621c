//! Where a file has data and where it has holes.
//!
//! Two ways to know: the file system says (SEEK_DATA, SEEK_HOLE of lseek(2)), or the bytes
//! themselves are zeros. The answers of a live file may lie; the only thing relied on is that
//! offsets go strictly forward.

use crate::sys::{Errno, Result, io};
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
pub(super) fn next_span(src: BorrowedFd<'_>, from: u64) -> Result<Next> {
    let start = match io::seek_data(src, from) {
        Ok(Some(start)) => start,
        Ok(None) => return Ok(Next::Hole),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY) => return Ok(Next::Unknown),
        Err(errno) => return Err(errno),
    };
    match io::seek_hole(src, start) {
        Ok(end) if start >= from && end > start => Ok(Next::Data(start..end)),
        // ENXIO: the file shrank in between. Anything else is nonsense. Reading will tell.
        _ => Ok(Next::Unknown),
    }
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
    fn a_short_last_block_counts() {
        let found: Vec<_> = runs(&[0, 0, 0, 7, 0], 2).collect();
        assert_eq!(found, [(true, 0..2), (false, 2..4), (true, 4..5)]);
        assert_eq!(runs(&[], 2).count(), 0);
    }
}

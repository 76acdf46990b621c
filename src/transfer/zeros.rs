//! `--sparse=always`: read/write that leaves out blocks of zeros, which become holes.

use super::buffered::{Buffer, write_all};
use super::endpoint::Endpoint;
use super::{Step, Tally, TransferError, spans};
use crate::sys::Stat;

/// The size of the blocks that are searched for zeros, in bytes: a file system cannot store smaller holes.
pub(super) fn block_size(stat: &Stat) -> usize {
    usize::try_from(stat.blksize).unwrap_or(4096).clamp(512, 1 << 16)
}

/// Zeros that were read and not written.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// The number of all zeros that were skipped.
    pub(super) bytes: u64,
    /// The number of zeros skipped after the last write.
    pub(super) at_end: u64,
}

impl Skipped {
    /// The offset up to which a step of `bytes` that ended at `at` has written; `None` if it wrote nothing.
    pub(super) fn written_to(&self, at: u64, bytes: u64) -> Option<u64> {
        (self.at_end < bytes).then_some(at - self.at_end)
    }
}

/// Reads a buffer and writes the blocks that are not zeros. [`Step::Moved`] counts the zeros as well.
pub(super) fn step(
    buffer: &mut Buffer,
    (src, dst): (Endpoint<'_>, Endpoint<'_>),
    at: u64,
    len: u64,
    block: usize,
    tally: &mut Tally,
    skipped: &mut Skipped,
) -> Step {
    if let Err(errno) = buffer.fill(src, at, len, tally) {
        return Step::Failed(TransferError::source(errno));
    }
    let bytes = buffer.content();
    for (zero, run) in spans::runs(bytes, block) {
        let start = at + run.start as u64;
        // Without offsets nothing can be left out.
        if zero && dst.has_offsets() {
            let bytes = run.len() as u64;
            *skipped = Skipped { bytes: skipped.bytes + bytes, at_end: bytes };
            continue;
        }
        skipped.at_end = 0;
        if let Err(errno) = write_all(&bytes[run], dst, start, tally) {
            return Step::Failed(TransferError::destination(errno));
        }
    }
    if bytes.is_empty() { Step::Dry } else { Step::Moved(bytes.len() as u64) }
}

//! The search for zeros (`--sparse=always`): read/write of another kind, where what is all zeros is
//! left out and becomes a hole.

use super::buffered::{Buffer, write_all};
use super::endpoint::Endpoint;
use super::{Side, Step, Tally, TransferError, spans};
use crate::sys::Stat;

/// The unit in which zeros are looked for: smaller holes would be filled by the file system.
pub(super) fn block_size(stat: &Stat) -> usize {
    usize::try_from(stat.blksize).unwrap_or(4096).clamp(512, 1 << 16)
}

/// Zeros that were read and not written.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// All of them.
    pub(super) bytes: u64,
    /// Those that nothing was written behind.
    pub(super) at_end: u64,
}

impl Skipped {
    /// Up to where the destination is written after a step of `bytes` that ended at `at`, if any of them were.
    pub(super) fn written_to(&self, at: u64, bytes: u64) -> Option<u64> {
        (self.at_end < bytes).then_some(at - self.at_end)
    }
}

/// Reads a buffer and writes what is not zeros. Moved counts the zeros too.
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
        return Step::Failed(TransferError::at(Side::Source, errno));
    }
    let bytes = buffer.content();
    for (zero, run) in spans::runs(bytes, block) {
        let start = at + run.start as u64;
        // Where there are no offsets, nothing can be left out.
        if zero && dst.has_offsets() {
            let bytes = run.len() as u64;
            *skipped = Skipped { bytes: skipped.bytes + bytes, at_end: bytes };
            continue;
        }
        skipped.at_end = 0;
        if let Err(errno) = write_all(&bytes[run], dst, start, tally) {
            return Step::Failed(TransferError::at(Side::Destination, errno));
        }
    }
    if bytes.is_empty() { Step::Dry } else { Step::Moved(bytes.len() as u64) }
}

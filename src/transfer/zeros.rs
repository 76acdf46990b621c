//! The search for zeros (`--sparse=always`): read/write of another kind, where what is all zeros is
//! left out and becomes a hole.

use super::buffered::{Buffer, write_all};
use super::end::End;
use super::{Fault, Side, Step, Tally, spans};
use crate::sys::Stat;

/// The unit in which zeros are looked for: smaller holes would be filled by the file system.
pub(super) fn block_size(stat: &Stat) -> usize {
    usize::try_from(stat.blksize).unwrap_or(4096).clamp(512, 1 << 16)
}

/// Reads a buffer and writes what is not zeros. Moved counts the zeros too; `holes` says how many.
pub(super) fn step(
    buffer: &mut Buffer,
    (src, dst): (End<'_>, End<'_>),
    at: u64,
    len: u64,
    block: usize,
    tally: &mut Tally,
    holes: &mut u64,
) -> Step {
    if let Err(errno) = buffer.fill(src, at, len, tally) {
        return Step::Failed(Fault::at(Side::Source, errno));
    }
    let bytes = buffer.content();
    for (zero, run) in spans::runs(bytes, block) {
        let start = at + run.start as u64;
        if zero {
            *holes += run.len() as u64;
        } else if let Err(errno) = write_all(&bytes[run], dst, start, tally) {
            return Step::Failed(Fault::at(Side::Destination, errno));
        }
    }
    if bytes.is_empty() { Step::Dry } else { Step::Moved(bytes.len() as u64) }
}

//! The room that moves bytes: the ladder, its strategies, and an account of what each of them did.
//!
//! It knows open files and offsets. It does not know names, options, or what a failure means to the
//! user; nothing here opens, creates, prints or decides whether a file should be copied.

pub mod account;
mod buffered;
mod candidates;
mod chunk;
mod copy_range;
mod endpoint;
mod enlarge;
mod evict;
mod file_loop;
pub mod ladder;
pub mod meter;
mod mmap;
pub mod rate_limit;
mod reflink;
pub mod route;
mod sendfile;
mod spans;
mod splice;
mod stream_loop;
mod stream_route;
mod uncached;
pub mod verify;
mod writeback;
mod zeros;

pub use account::{Account, Call, Reason, Tally};
pub use chunk::FlushSize;
pub use ladder::{DestinationKind, Ladder, Limits, Outcome, Side, Transfer, TransferError};
pub use meter::Meter;
pub use route::Route;

use crate::sys::Errno;

/// A way to get bytes from one file into another, from the least to the most work for the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// ioctl(FICLONE): the destination shares the source's blocks, no byte moves.
    Reflink,
    /// copy_file_range(2): the kernel chooses (clone, server-side copy, or one copy).
    CopyFileRange,
    /// splice(2) through a pipe: page references into the pipe, one copy into the page cache.
    Splice,
    /// sendfile(2): the same inside the kernel, in one call.
    Sendfile,
    /// mmap(2) of the source and pwrite(2) from the map: one copy.
    Mmap,
    /// pread(2) and pwrite(2): two copies, through user space. The ground: it always works.
    ReadWrite,
}

impl Strategy {
    /// All of them, in the order of the ladder.
    pub const ALL: [Strategy; 6] = [
        Strategy::Reflink,
        Strategy::CopyFileRange,
        Strategy::Splice,
        Strategy::Sendfile,
        Strategy::Mmap,
        Strategy::ReadWrite,
    ];

    /// The name on the command line, in the statistics and as a JSON key.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Reflink => "reflink",
            Strategy::CopyFileRange => "copy_file_range",
            Strategy::Splice => "splice",
            Strategy::Sendfile => "sendfile",
            Strategy::Mmap => "mmap",
            Strategy::ReadWrite => "read_write",
        }
    }
}

/// What one step of a strategy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// So many bytes, more than none, are now in the destination.
    Moved(u64),
    /// The call gave 0. Only after `read` does that mean the end of the file.
    Dry,
    /// The kernel does not do this for these files: the next strategy goes on from the same offset.
    Refused(Errno),
    /// The strategy cannot have what it needs for itself, a map or a pipe: no decision on either file.
    Unavailable(Errno),
    /// The file cannot be copied by any strategy.
    Failed(TransferError),
}

/// Sorts a strategy's errno: these end the file, any other sends it to the next strategy. The list is what
/// the kernel says of the disk or the memory, not of the call.
fn refuse_or_fail(errno: Errno, side: Side) -> Step {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::NOMEM | Errno::ROFS => {
            Step::Failed(TransferError::at(side, errno))
        }
        _ => Step::Refused(errno),
    }
}

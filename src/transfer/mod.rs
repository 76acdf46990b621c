//! Moves bytes between open files: the ladder, its strategies, and an account of what each strategy did.
//!
//! Nothing here knows names or options, opens, creates or prints, or decides whether a file should be copied.

/// Declares an enum whose variants have names. `ALL` lists the variants in their order.
macro_rules! named {
    ($(#[$meta:meta])* pub enum $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        pub enum $type {
            $($(#[$doc])* $variant,)*
        }

        impl $type {
            /// All variants, in their order.
            pub const ALL: [$type; [$($name),*].len()] = [$($type::$variant),*];

            /// Returns the name in the statistics.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)*
                }
            }
        }
    };
}

#[allow(missing_docs)]
pub(crate) mod account;
mod candidates;
mod chunk;
mod copy_loop;
mod endpoint;
mod enlarge;
mod evict;
pub(crate) mod ladder;
#[allow(missing_docs)]
pub(crate) mod meter;
pub(crate) mod rate_limit;
pub(crate) mod read_ahead;
pub(crate) mod route;
#[allow(missing_docs)]
pub(crate) mod small;
mod spans;
mod strategies;
mod uncached;
pub(crate) mod verify;
mod writeback;

pub(crate) use account::{Account, Call, Reason, Tally, nanoseconds};
pub(crate) use chunk::FlushSize;
pub(crate) use ladder::{DestinationKind, Ladder, Limits, Outcome, Transfer};
pub use meter::Meter;
pub(crate) use route::Route;

use crate::error::Failure;
use crate::sys::Errno;

named! {
    /// A way to move bytes from one file into another. The variants are ordered from the least to the most CPU work.
    /// Their names are also those of the command line.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[non_exhaustive]
    pub enum Strategy {
        /// ioctl(FICLONE): the destination shares the source's blocks; no byte moves.
        Reflink = "reflink",
        /// copy_file_range(2): the kernel chooses between a clone, a copy by the server, and one copy in memory.
        CopyFileRange = "copy_file_range",
        /// splice(2) through a pipe: page references into the pipe, then one copy into the page cache.
        Splice = "splice",
        /// sendfile(2): a splice inside the kernel, in one call.
        Sendfile = "sendfile",
        /// mmap(2) of the source and pwrite(2) from the map: one copy.
        Mmap = "mmap",
        /// pread(2) and pwrite(2): two copies, through user space. The last step of the ladder: it always works.
        ReadWrite = "read_write",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// This many bytes, at least one, are now in the destination.
    Moved(u64),
    /// The call returned 0. Only from `read` does that mean the end of the file.
    ReturnedZero,
    /// The kernel does not support the call for these files: the next strategy continues at the same offset.
    Refused(Errno),
    /// The strategy could not get a resource, such as a map or a pipe: the next strategy continues at the same
    /// offset.
    Unavailable(Errno),
    /// No strategy can copy the file.
    Failed(Failure),
}

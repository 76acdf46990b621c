//! The six strategies, one file each. A step makes one bounded call, or one read and the writes of its bytes.

pub(super) mod copy_file_range;
pub(super) mod mmap;
pub(super) mod read_write;
pub(super) mod reflink;
pub(super) mod sendfile;
pub(super) mod splice;

use super::endpoint::Endpoint;
use super::{Call, Step, Tally, uncached};
use crate::error::Failure;
use crate::sys::Errno;

/// Returns the step for an errno of a strategy. Errors of the disk or the memory end the file; any other leads
/// to the next strategy.
pub(super) fn refuse_or_fail(errno: Errno, failure: fn(Errno) -> Failure) -> Step {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::NOMEM | Errno::ROFS => Step::Failed(failure(errno)),
        _ => Step::Refused(errno),
    }
}

/// Returns the step for the answer of a call that reads and writes.
pub(super) fn step_of(answer: Result<usize, Errno>) -> Step {
    match answer {
        Ok(0) => Step::ReturnedZero,
        Ok(n) => Step::Moved(n as u64),
        Err(errno) => refuse_or_fail(errno, Failure::copying),
    }
}

/// Returns the bytes to request from a call, which takes an address-sized number.
pub(super) fn length(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

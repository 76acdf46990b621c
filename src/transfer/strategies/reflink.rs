//! ioctl(FICLONE): shares the blocks of a whole file (ioctl_ficlone(2)).

use super::{Call, Step, Tally, refuse_or_fail};
use crate::error::Failure;
use rustix::fs::ioctl_ficlone;
use std::os::fd::BorrowedFd;

/// Makes `dst` share all blocks of `src`, which has `size` bytes.
pub(crate) fn clone_file(src: BorrowedFd<'_>, dst: BorrowedFd<'_>, size: u64, tally: &mut Tally) -> Step {
    match tally.call(Call::Ficlone, || ioctl_ficlone(dst, src)) {
        Ok(()) => Step::Moved(size),
        Err(errno) => refuse_or_fail(errno, Failure::copying),
    }
}

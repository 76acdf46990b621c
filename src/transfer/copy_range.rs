//! copy_file_range(2): the kernel, or the server behind it, copies as it sees fit.

use super::{Call, Side, Step, Tally, refuse_or_fail};
use rustix::fs::copy_file_range;
use std::os::fd::BorrowedFd;

/// Moves up to `len` bytes at offset `at` of both files.
pub(super) fn step(src: BorrowedFd<'_>, dst: BorrowedFd<'_>, at: u64, len: u64, tally: &mut Tally) -> Step {
    let (mut from, mut to) = (at, at);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    match tally.call(Call::CopyFileRange, || copy_file_range(src, Some(&mut from), dst, Some(&mut to), len)) {
        Ok(0) => Step::Dry,
        Ok(n) => Step::Moved(n as u64),
        Err(errno) => refuse_or_fail(errno, Side::Both),
    }
}

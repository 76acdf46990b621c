//! copy_file_range(2): the kernel, or a server, copies a range.

use super::endpoint::Endpoint;
use super::{Call, Side, Step, Tally, refuse_or_fail};
use rustix::fs::copy_file_range;

/// Moves up to `len` bytes at offset `at` of each side that has offsets.
pub(super) fn step(src: Endpoint<'_>, dst: Endpoint<'_>, at: u64, len: u64, tally: &mut Tally) -> Step {
    let (mut from, mut to) = (at, at);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut copy = || copy_file_range(src.fd, src.offset(&mut from), dst.fd, dst.offset(&mut to), len);
    match tally.call(Call::CopyFileRange, &mut copy) {
        Ok(0) => Step::Dry,
        Ok(n) => Step::Moved(n as u64),
        Err(errno) => refuse_or_fail(errno, Side::Both),
    }
}

//! copy_file_range(2): the kernel, or a server, copies a range.

use super::{Call, Endpoint, Step, Tally, length, step_of};
use rustix::fs::copy_file_range;

/// Moves up to `len` bytes at offset `at` of each side that has offsets.
pub(crate) fn step(src: Endpoint<'_>, dst: Endpoint<'_>, at: u64, len: u64, tally: &mut Tally) -> Step {
    let (mut from, mut to) = (at, at);
    step_of(tally.call(Call::CopyFileRange, || {
        copy_file_range(src.fd, src.offset(&mut from), dst.fd, dst.offset(&mut to), length(len))
    }))
}

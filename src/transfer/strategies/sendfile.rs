//! sendfile(2): one call that splices inside the kernel, 64 KiB at a time. A socket gets references to the page
//! cache, without a copy.

use super::{Call, Endpoint, Step, Tally, length, step_of};
use crate::sys::io;
use rustix::fs::sendfile;

/// Moves up to `len` bytes at offset `at`. sendfile writes at the destination's position, which `position` tracks,
/// so that a seek is only needed after another strategy has written.
pub(crate) fn step(
    src: Endpoint<'_>,
    dst: Endpoint<'_>,
    at: u64,
    len: u64,
    position: &mut u64,
    tally: &mut Tally,
) -> Step {
    if dst.has_offsets() && *position != at {
        match io::seek_to(dst.fd, at) {
            Ok(there) => *position = there,
            Err(errno) => return Step::Refused(errno),
        }
    }
    if let Err(errno) = dst.wait_if_needed(true, tally) {
        return Step::Refused(errno);
    }
    let mut from = at;
    let answer = tally.call(Call::Sendfile, || sendfile(dst.fd, src.fd, src.offset(&mut from), length(len)));
    *position += answer.unwrap_or(0) as u64;
    step_of(answer)
}

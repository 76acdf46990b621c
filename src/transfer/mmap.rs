//! mmap(2) of the source, pwrite(2) or write(2) from the map.
//!
//! Only the kernel reads the map, inside that call. If another process truncates the source meanwhile, the call
//! returns a short count or EFAULT, where a load from user space would raise SIGBUS.
#![allow(unsafe_code)]

use super::endpoint::{Endpoint, Form};
use super::{Call, Side, Step, Tally, refuse_or_fail};
use crate::sys::{self, Errno};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ptr;

/// Bytes mapped at once. 8 MiB measured best, and the call stays short enough for Ctrl-C.
const WINDOW: u64 = 8 << 20;
/// Offsets of maps must be multiples of the page size (mmap(2)).
const PAGE_MASK: u64 = 4095;

/// Moves up to one window, at most `len` bytes, from offset `at` of the source, which must have offsets.
pub(super) fn step(src: Endpoint<'_>, dst: Endpoint<'_>, at: u64, len: u64, tally: &mut Tally) -> Step {
    if src.form != Form::File {
        return Step::Refused(Errno::NODEV); // as mmap(2) gives for pipes and sockets
    }
    // Beyond the end of the file its last page reads as zeros, so the map must end where the file does.
    let size = match sys::at::fstat(src.fd) {
        Ok(stat) => stat.size,
        Err(errno) => return Step::Unavailable(errno),
    };
    let Some(left @ 1..) = size.checked_sub(at) else { return Step::Dry };
    if let Err(errno) = dst.wait_if_needed(true, tally) {
        return Step::Refused(errno);
    }
    let page_mask = (rustix::param::page_size() as u64).wrapping_sub(1) | PAGE_MASK;
    let start = at & !page_mask;
    let skip = (at - start) as usize;
    let want = len.min(left).min(WINDOW) as usize;
    let mapped = skip + want;
    // SAFETY: a new mapping at an address that the kernel chooses affects no other memory.
    let map = tally.call(Call::Mmap, || unsafe {
        mmap(ptr::null_mut(), mapped, ProtFlags::READ, MapFlags::SHARED, src.fd, start)
    });
    let map = match map {
        Ok(map) => map,
        // Address space or maps are exhausted; the next strategy needs neither.
        Err(errno) => return Step::Unavailable(errno),
    };
    // SAFETY: the range lies inside the mapping, which lives until munmap below. The slice is only passed to
    // pwrite or write, and only the kernel loads from it. So the file may change or shrink meanwhile; then the
    // call stops early or gives EFAULT.
    let bytes = unsafe { std::slice::from_raw_parts(map.cast::<u8>().add(skip), want) };
    let answer = if dst.has_offsets() {
        tally.call(Call::Pwrite, || rustix::io::pwrite(dst.fd, bytes, at))
    } else {
        tally.call(Call::Write, || rustix::io::write(dst.fd, bytes))
    };
    // SAFETY: `map` and `mapped` are the mapping above, and `bytes` is not used after this.
    let unmapped = tally.call(Call::Munmap, || unsafe { munmap(map, mapped) });
    match (answer, unmapped) {
        (Ok(0), _) => Step::Dry,
        (Ok(n), _) => Step::Moved(n as u64),
        (Err(Errno::FAULT), _) => Step::Refused(Errno::FAULT),
        (Err(errno), _) => refuse_or_fail(errno, Side::Destination),
    }
}

//! mmap(2) of the source, pwrite(2) or write(2) from the map.
//!
//! Only the kernel reads the map, inside that call. If another process truncates the source meanwhile, the call
//! returns a short count or EFAULT, where a load from user space would raise SIGBUS. No reference to the bytes is ever
//! made, because another process may change them.
#![allow(unsafe_code)]

use super::{Call, Endpoint, Step, Tally, refuse_or_fail};
use crate::error::Failure;
use crate::sys::{self, Errno, raw};
use crate::transfer::endpoint::Form;
use nix::libc;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Bytes mapped at once. 8 MiB measured best, and the call stays short enough for Ctrl-C.
const WINDOW: u64 = 8 << 20;

/// Moves up to one window, at most `len` bytes, from offset `at` of the source, which must have offsets.
pub(crate) fn step(src: Endpoint<'_>, dst: Endpoint<'_>, at: u64, len: u64, tally: &mut Tally) -> Step {
    if src.form != Form::File {
        return Step::Refused(Errno::NODEV); // as mmap(2) gives for pipes and sockets
    }
    // Beyond the end of the file its last page reads as zeros, so the map must end where the file does.
    let size = match sys::at::fstat(src.fd) {
        Ok(stat) => stat.size,
        Err(errno) => return Step::Unavailable(errno),
    };
    let Some(left @ 1..) = size.checked_sub(at) else { return Step::ReturnedZero };
    if let Err(errno) = dst.wait_if_needed(true, tally) {
        return Step::Refused(errno);
    }
    // Offsets of maps must be multiples of the page size (mmap(2)).
    let skip = (at & (rustix::param::page_size() as u64).wrapping_sub(1)) as usize;
    let want = len.min(left).min(WINDOW) as usize;
    let mapped = skip + want;
    // SAFETY: a new mapping at an address that the kernel chooses affects no other memory.
    let map = tally.call(Call::Mmap, || unsafe {
        mmap(ptr::null_mut(), mapped, ProtFlags::READ, MapFlags::SHARED, src.fd, at - skip as u64)
    });
    let map = match map {
        Ok(map) => map,
        // Address space or maps are exhausted; the next strategy needs neither.
        Err(errno) => return Step::Unavailable(errno),
    };
    let bytes = map.cast_const().wrapping_byte_add(skip);
    // SAFETY: `want` bytes from `bytes` on lie inside the mapping, which lives until munmap below.
    let answer = unsafe {
        match dst.has_offsets() {
            true => tally.call(Call::Pwrite, || write(dst.fd, bytes, want, Some(at))),
            false => tally.call(Call::Write, || write(dst.fd, bytes, want, None)),
        }
    };
    // SAFETY: `map` and `mapped` are the mapping above, and nothing uses it after this.
    let _ = tally.call(Call::Munmap, || unsafe { munmap(map, mapped) });
    match answer {
        Ok(0) => Step::ReturnedZero,
        Ok(n) => Step::Moved(n as u64),
        Err(Errno::FAULT) => Step::Refused(Errno::FAULT),
        Err(errno) => refuse_or_fail(errno, Failure::writing),
    }
}

/// Writes at an offset (pwrite(2)) or at the descriptor's position (write(2)).
///
/// # Safety
/// `len` bytes from `bytes` on must be mapped. They may change or vanish during the call: the kernel copies them and
/// answers with a short count or EFAULT.
unsafe fn write(fd: BorrowedFd<'_>, bytes: *const c_void, len: usize, at: Option<u64>) -> Result<usize, Errno> {
    let at = at.map(libc::off_t::try_from).transpose().map_err(|_| Errno::FBIG)?;
    // SAFETY: only the kernel reads the bytes, which the caller has mapped; the borrowed descriptor is open.
    let answer = unsafe {
        match at {
            Some(at) => libc::pwrite(fd.as_raw_fd(), bytes, len, at),
            None => libc::write(fd.as_raw_fd(), bytes, len),
        }
    };
    usize::try_from(answer).map_err(|_| raw::last_error())
}

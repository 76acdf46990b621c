//! System calls that no safe crate wraps, one function each.
#![allow(unsafe_code)]

use super::{Errno, Result};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use io_uring::{IoUring, opcode, types};
use nix::libc;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{self, NonNull};
use std::slice;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use syscalls::Sysno;

/// Ignores SIGPIPE (signal(2)), so that a write without a reader fails with EPIPE. Returns whether it was ignored
/// before.
pub(crate) fn ignore_broken_pipe() -> bool {
    // SAFETY: ignoring a signal installs no handler.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    before == libc::SIG_IGN
}

/// Returns whether a signal is ignored (sigaction(2)); false for an invalid number.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no action is set, and the kernel initializes `action` if it returns 0.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Duplicates a descriptor number that need not be open (fcntl(2), `F_DUPFD_CLOEXEC`). EBADF for a number that is not
/// open.
pub(crate) fn duplicate(number: RawFd) -> Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the number is passed only to the kernel, which checks whether it is open. -1 is excluded above.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

/// Closes descriptors, successive numbers by one call (close_range(2), from Linux 5.9). Any error of close(2) is lost, so
/// they must belong to files whose file system reports none.
pub(crate) fn close_all(fds: &mut Vec<OwnedFd>) {
    fds.sort_unstable_by_key(AsRawFd::as_raw_fd);
    while let Some(last) = fds.last().map(AsRawFd::as_raw_fd) {
        let follows = |(fd, index): (&OwnedFd, RawFd)| fd.as_raw_fd() == last - index;
        let count = fds.iter().rev().zip(0..).take_while(|pair| follows(*pair)).count();
        let run = fds.split_off(fds.len() - count);
        let first = run.first().map_or(last, AsRawFd::as_raw_fd);
        // SAFETY: each descriptor of the range is owned by `run`, which gives it up if they were closed.
        if count > 1 && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
            run.into_iter().for_each(|fd| _ = fd.into_raw_fd());
        }
    }
}

/// A read into a slot of a [`ReadRing`]: `len` bytes, at most a slot, from the offset `at`.
pub(crate) struct RingRead<'a> {
    pub slot: usize,
    pub fd: BorrowedFd<'a>,
    pub at: u64,
    pub len: usize,
}

/// Reads that are under way at the same time, each into a slot of memory (io_uring(7), from Linux 5.6).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) struct ReadRing {
    ring: IoUring,
    /// The memory of all slots, aligned to a page.
    memory: NonNull<u8>,
    slot_size: usize,
    slots: Vec<SlotState>,
    /// Whether the kernel refused to wait, so that slots may be in use for ever.
    is_broken: bool,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    Free,
    /// The kernel may write to its memory.
    UnderWay,
    /// The answer of the read: a number of bytes, or a negative error number.
    Complete(i32),
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl ReadRing {
    /// # Errors
    /// Those of io_uring_setup(2), which containers often do not permit, and of mmap(2).
    pub(crate) fn new(slots: u32, slot_size: usize) -> Result<ReadRing> {
        let io_error = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let ring = IoUring::new(slots).map_err(io_error)?;
        let slots = vec![SlotState::Free; slots as usize];
        let (size, access) = (slots.len() * slot_size, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: the kernel chooses an address range that is not in use.
        let memory = unsafe { mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE) }?;
        let memory = NonNull::new(memory.cast()).ok_or(Errno::NOMEM)?;
        Ok(ReadRing { ring, memory, slot_size, slots, is_broken: false })
    }

    /// Begins reads. Bytes that their slots had are lost. What cannot begin is not there when it is taken.
    pub(crate) fn begin(&mut self, reads: &[RingRead<'_>]) {
        for read in reads {
            self.wait_for(read.slot);
            let (len, memory) = (read.len.min(self.slot_size) as u32, self.address(read.slot));
            let Some(state) = self.slots.get_mut(read.slot).filter(|_| !self.is_broken) else { continue };
            let entry = opcode::Read::new(types::Fd(read.fd.as_raw_fd()), memory, len).offset(read.at).build();
            // SAFETY: the slot's memory stays mapped, and is not accessed, until the read is complete.
            let is_queued = unsafe { self.ring.submission().push(&entry.user_data(read.slot as u64)) }.is_ok();
            *state = if is_queued { SlotState::UnderWay } else { SlotState::Free };
        }
        // From now on, the kernel keeps the files open.
        while !self.is_broken && !self.ring.submission().is_empty() {
            self.is_broken = self.ring.submit().is_err();
        }
    }

    /// Waits for the read of a slot, and returns its bytes. `None` if none has begun, or if it failed.
    pub(crate) fn take(&mut self, slot: usize) -> Option<&[u8]> {
        self.wait_for(slot);
        let state = self.slots.get_mut(slot).filter(|_| !self.is_broken)?;
        let SlotState::Complete(answer) = std::mem::replace(state, SlotState::Free) else { return None };
        let len = usize::try_from(answer).ok()?;
        // SAFETY: the kernel has written `len` bytes, and writes no more before the next `begin`, which requires `&mut self`.
        Some(unsafe { slice::from_raw_parts(self.address(slot), len) })
    }

    /// Waits until a slot is not under way, unless the kernel refuses that.
    fn wait_for(&mut self, slot: usize) {
        while !self.is_broken && self.slots.get(slot) == Some(&SlotState::UnderWay) {
            let answer = self.ring.submit_and_wait(1);
            self.is_broken = answer.is_err_and(|error| error.raw_os_error() != Some(libc::EINTR));
            for entry in self.ring.completion() {
                if let Some(state) = self.slots.get_mut(entry.user_data() as usize) {
                    *state = SlotState::Complete(entry.result());
                }
            }
        }
    }

    fn address(&self, slot: usize) -> *mut u8 {
        self.memory.as_ptr().wrapping_add(slot * self.slot_size)
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Drop for ReadRing {
    fn drop(&mut self) {
        (0..self.slots.len()).for_each(|slot| self.wait_for(slot));
        if !self.slots.contains(&SlotState::UnderWay) {
            let size = self.slots.len() * self.slot_size;
            // SAFETY: no read is under way, and no slice of the memory outlives `self`.
            let _ = unsafe { munmap(self.memory.as_ptr().cast(), size) };
        }
    }
}

/// Stands for a `ReadRing` where no calls of io_uring(7) are at hand.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) enum NoReadRing {}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use NoReadRing as ReadRing;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl NoReadRing {
    pub(crate) fn new(_: u32, _: usize) -> Result<NoReadRing> {
        Err(Errno::NOSYS)
    }

    pub(crate) fn begin(&mut self, _: &[RingRead<'_>]) {}

    pub(crate) fn take(&mut self, _: usize) -> Option<&[u8]> {
        None
    }
}

/// openat(2) without libc. After a system call, each return to a caller is slow, because the kernel has overwritten the
/// processor's record of callers (on x86: the return stack buffer); so the functions between this call and the loop
/// that makes it are inlined. 20,000 small files take 0.92 of the time.
///
/// # Errors
/// Those of openat(2).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn openat(dir: BorrowedFd<'_>, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    const ROOM: usize = 256;
    let (name, mut room) = (name.as_bytes(), [0; ROOM]);
    let Some(start) = room.get_mut(..name.len()).filter(|_| name.len() < ROOM && !name.contains(&0)) else {
        return rustix::fs::openat(dir, name, flags, mode);
    };
    start.copy_from_slice(name);
    // SAFETY: `room` ends with a NUL, and the kernel only reads it. It returns a new descriptor that nobody owns.
    unsafe {
        let (number, name, flags) = (dir.as_raw_fd(), room.as_ptr(), flags.bits());
        let fd = syscalls::syscall!(Sysno::openat, number, name, flags, mode.bits()).map_err(errno)?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// fstat(2) without libc, see [`openat`].
///
/// # Errors
/// Those of fstat(2).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn fstat(fd: BorrowedFd<'_>) -> Result<rustix::fs::Stat> {
    let mut stat = MaybeUninit::<rustix::fs::Stat>::uninit();
    // SAFETY: this is `struct stat` of the kernel on the two architectures, and the kernel fills all of it if it returns 0.
    unsafe {
        syscalls::syscall!(Sysno::fstat, fd.as_raw_fd(), stat.as_mut_ptr()).map_err(errno)?;
        Ok(stat.assume_init())
    }
}

/// sendfile(2) without libc, see [`openat`].
///
/// # Errors
/// Those of sendfile(2).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn sendfile(
    dst: BorrowedFd<'_>,
    src: BorrowedFd<'_>,
    at: Option<&mut u64>,
    len: usize,
) -> Result<usize> {
    let at = at.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: the kernel reads and writes the offset at `at`, unless that is null.
    unsafe { syscalls::syscall!(Sysno::sendfile, dst.as_raw_fd(), src.as_raw_fd(), at, len).map_err(errno) }
}

/// FICLONE of ioctl(2) without libc, see [`openat`].
///
/// # Errors
/// Those of ioctl_ficlone(2).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn ioctl_ficlone(dst: BorrowedFd<'_>, src: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the request takes the number of a descriptor.
    let answer = unsafe { syscalls::syscall!(Sysno::ioctl, dst.as_raw_fd(), libc::FICLONE, src.as_raw_fd()) };
    answer.map(|_| ()).map_err(errno)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn errno(errno: syscalls::Errno) -> Errno {
    Errno::from_raw_os_error(errno.into_raw())
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use rustix::fs::{fstat, ioctl_ficlone, openat, sendfile};

/// Gives this thread a copy of its table of descriptors, which it shared with other threads (unshare(2), CLONE_FILES).
///
/// # Errors
/// EPERM where a filter of seccomp(2) forbids the call, as in many containers; ENOMEM.
pub(super) fn leave_descriptor_table() -> Result<()> {
    // SAFETY: the only caller, `fd_table::separate`, says which descriptors other threads can still use: those that
    // were open before, and none that was opened since, because `InTable` hides them.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }
}

/// The number of cachestat(2), from Linux 6.5; the same on all architectures that Rust supports.
const CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range` of linux/mman.h: a length of 0 means to the end.
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
}

/// `struct cachestat` of linux/mman.h.
#[repr(C)]
#[derive(Default)]
struct Pages {
    cached: u64,
    dirty: u64,
    under_writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Returns the number of pages in the page cache (cachestat(2)) among the `length` bytes of a file from `start` on. A
/// length of 0 means to the end. Unlike a read, the call starts no read-ahead. ENOSYS before Linux 6.5; EPERM for a
/// file of another user that may not be written.
pub(crate) fn cached_pages(fd: impl AsFd, start: u64, length: u64) -> Result<u64> {
    let range = Range { start, length };
    let mut pages = Pages::default();
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel reads `range` and writes `pages`. Both have the layout of its structs and live until it
    // returns, as does the borrowed descriptor.
    let answer = unsafe { libc::syscall(CACHESTAT, fd, &raw const range, &raw mut pages, 0_u32) };
    done(answer).map(|()| pages.cached)
}

/// `struct xfs_fsop_geom_v1` of xfs/xfs_fs.h: numbers, of which the flags are the 24th.
type XfsGeometry = [u32; 28];

/// Returns whether an xfs file system can share blocks (ioctl_xfs_fsgeometry(2), `XFS_IOC_FSGEOMETRY_V1`). ENOTTY on other
/// file systems.
pub(crate) fn xfs_can_share_blocks(fd: BorrowedFd<'_>) -> Result<bool> {
    const GEOMETRY: ioctl::Opcode = ioctl::opcode::read::<XfsGeometry>(b'X', 100);
    const FLAGS: usize = 23;
    const REFLINK: u32 = 1 << 20;
    // SAFETY: the kernel writes a struct of the size that is part of the request's number.
    let geometry = unsafe { ioctl::ioctl(fd, ioctl::Getter::<GEOMETRY, XfsGeometry>::new()) }?;
    Ok(geometry[FLAGS] & REFLINK != 0)
}

/// faccessat(2) for writing, by the real ids. Called directly, because libc's faccessat tries faccessat2(2) first.
pub(crate) fn may_write_by_real_ids(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel reads the name up to its NUL byte and writes nothing.
    let answer = unsafe { libc::syscall(libc::SYS_faccessat, dir.as_raw_fd(), name.as_ptr(), libc::W_OK) };
    done(answer)
}

/// fchmodat2(2) on an O_PATH descriptor, from Linux 6.6. Its number is the same on all architectures that Rust knows.
/// ENOSYS before Linux 6.6.
pub(crate) fn change_mode(by_path: BorrowedFd<'_>, mode: u32) -> Result<()> {
    const FCHMODAT2: libc::c_long = 452;
    // SAFETY: the kernel reads an empty string that is static, and writes nothing.
    let answer = unsafe { libc::syscall(FCHMODAT2, by_path.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH) };
    done(answer)
}

/// `struct xattr_args` of linux/xattr.h.
#[repr(C)]
struct AttributeValue {
    value: u64,
    size: u32,
    flags: u32,
}

/// getxattrat(2) without following a symbolic link, from Linux 6.13. Returns the length of the value. ENOSYS before that.
pub(crate) fn attribute_at(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    attribute: &OsStr,
    room: &mut [u8],
) -> Result<usize> {
    const GETXATTRAT: libc::c_long = 464;
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| Errno::INVAL);
    let (name, attribute) = (text(name)?, text(attribute)?);
    let size = u32::try_from(room.len()).unwrap_or(u32::MAX);
    let value = AttributeValue { value: room.as_mut_ptr() as u64, size, flags: 0 };
    // SAFETY: the kernel reads both strings up to their NUL bytes and the struct, which is laid out as it knows it, and
    // writes at most `size` bytes to `room`, which is borrowed until it returns.
    let answer = unsafe {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        let length = std::mem::size_of::<AttributeValue>();
        libc::syscall(
            GETXATTRAT,
            dir.as_raw_fd(),
            name.as_ptr(),
            flags,
            attribute.as_ptr(),
            &raw const value,
            length,
        )
    };
    usize::try_from(answer).map_err(|_| last_error())
}

/// listxattrat(2) without following a symbolic link, from Linux 6.13. Returns the length of the list. ENOSYS before that.
pub(crate) fn attributes_at(dir: BorrowedFd<'_>, name: &OsStr, room: &mut [u8]) -> Result<usize> {
    const LISTXATTRAT: libc::c_long = 465;
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel reads the name up to its NUL byte, and writes at most the length of `room` to it, which is
    // borrowed until it returns.
    let answer = unsafe {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        libc::syscall(LISTXATTRAT, dir.as_raw_fd(), name.as_ptr(), flags, room.as_mut_ptr(), room.len())
    };
    usize::try_from(answer).map_err(|_| last_error())
}

fn done(answer: libc::c_long) -> Result<()> {
    if answer == 0 { Ok(()) } else { Err(last_error()) }
}

/// Returns the error of the last libc call of this thread.
pub(crate) fn last_error() -> Errno {
    Errno::from_raw_os_error(nix::errno::Errno::last_raw())
}

/// Defines C's `main`, which calls `$run` with the program's arguments and exits with the status that it returns.
///
/// The unwinder is linked statically as well. Only a panic's backtrace needs it, and loading libgcc_s.so, where
/// Rust takes it from by default, costs a tenth of the time of a small copy.
#[doc(hidden)]
#[macro_export]
macro_rules! define_c_main {
    ($run:path) => {
        #[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
        #[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
        unsafe extern "C" {}

        /// Called by libc with the arguments of execve(2).
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: ::std::ffi::c_int,
            arguments: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            use ::std::os::unix::ffi::OsStrExt;
            let argument = |index| {
                // SAFETY: `arguments` has `count` NUL-terminated strings that live as long as the process.
                let text = unsafe { ::std::ffi::CStr::from_ptr(*arguments.add(index)) };
                ::std::ffi::OsStr::from_bytes(text.to_bytes()).to_owned()
            };
            let count = ::std::primitive::usize::try_from(count).unwrap_or(0);
            let arguments: ::std::vec::Vec<_> = (0..count).map(argument).collect();
            // Unlike returning, this also flushes std's buffer of stdout.
            ::std::process::exit($run(arguments.into_iter()))
        }
    };
}

/// Makes all threads share one heap. By default glibc gives each thread an arena, which takes 64 MiB of the
/// address space (mallopt(3), `M_ARENA_MAX`).
pub(crate) fn share_one_heap() {
    // SAFETY: the call sets a number that malloc(3) reads when a thread needs an arena.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Rust's runtime ignores SIGPIPE, also in a test program.
    #[test]
    fn broken_pipe_is_ignored() {
        assert!(ignore_broken_pipe());
        assert!(is_ignored(libc::SIGPIPE));
    }

    #[test]
    fn other_signals_are_not_ignored() {
        assert!(!is_ignored(libc::SIGALRM));
        assert!(!is_ignored(0) && !is_ignored(9999));
    }

    #[test]
    fn numbers_that_are_not_open() {
        for number in [-1, -2, i32::MIN, i32::MAX, 1 << 20] {
            assert_eq!(duplicate(number).map(drop), Err(Errno::BADF), "{number}");
        }
    }

    #[test]
    fn all_are_closed_and_no_others() {
        let pipes = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let (readers, mut writers): (Vec<_>, Vec<_>) = (0..9).map(|_| pipes()).unzip();
        let kept = [6, 2].map(|index| (index, writers.remove(index)));
        writers.reverse();
        close_all(&mut writers);
        assert!(writers.is_empty());
        for (index, reader) in readers.iter().enumerate() {
            let is_kept = kept.iter().any(|(other, _)| *other == index);
            let expected = if is_kept { Err(Errno::AGAIN) } else { Ok(0) };
            assert_eq!(rustix::io::read(reader, &mut [0]), expected, "{index}");
        }
        close_all(&mut Vec::new());
    }

    #[test]
    fn duplicates_are_of_one_file() {
        let [one, two] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        let id = |fd: &OwnedFd| super::super::at::fstat(fd).map(|stat| stat.id());
        let again = duplicate(one.as_raw_fd()).unwrap();
        assert_eq!(id(&again), id(&one.into()));
        assert_ne!(id(&again), id(&two.into()));
    }

    /// Linux before 6.6 or 6.13 has no such calls.
    fn is_old(errno: Errno) -> bool {
        matches!(errno, Errno::NOSYS | Errno::PERM)
    }

    #[test]
    fn modes_change_by_path() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("file");
        std::fs::write(&name, "").unwrap();
        let by_path = super::super::at::open_path(super::super::at::CWD, name.as_os_str()).unwrap();
        let mode = || super::super::at::fstat(&by_path).map(|stat| stat.permissions());
        match change_mode(by_path.as_fd(), 0o421) {
            Ok(()) => assert_eq!(mode(), Ok(0o421)),
            Err(errno) => assert!(is_old(errno), "{errno}"),
        }
    }

    #[test]
    fn attributes_are_read_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("file");
        std::fs::write(&name, "").unwrap();
        let (fd, name) = (std::fs::File::open(dir.path()).unwrap(), OsStr::new("file"));
        let mut room = [0; 100];
        for missing in ["user.none", "user.none-such"] {
            let answer = attribute_at(fd.as_fd(), name, OsStr::new(missing), &mut room);
            assert!(
                matches!(answer, Err(Errno::NODATA | Errno::OPNOTSUPP)) || answer.is_err_and(is_old),
                "{answer:?}"
            );
        }
        let set =
            rustix::fs::setxattr(dir.path().join("file"), "user.key", b"value", rustix::fs::XattrFlags::empty());
        if set.is_err() {
            return; // a file system without attributes
        }
        match attribute_at(fd.as_fd(), name, OsStr::new("user.key"), &mut room) {
            Ok(length) => assert_eq!(&room[..length], b"value"),
            Err(errno) => assert!(is_old(errno), "{errno}"),
        }
        match attributes_at(fd.as_fd(), name, &mut room) {
            Ok(length) => assert!(room[..length].split(|byte| *byte == 0).any(|listed| listed == b"user.key")),
            Err(errno) => assert!(is_old(errno), "{errno}"),
        }
        assert!(attribute_at(fd.as_fd(), name, OsStr::new("user.key"), &mut [0; 2]).is_err());
    }

    #[test]
    fn a_ring_reads_what_was_begun_last_in_a_slot() {
        let mut ring = match ReadRing::new(3, 4096) {
            Ok(ring) => ring,
            Err(errno) => return assert!(is_old(errno), "{errno}"), // also where it is not permitted
        };
        let file = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let (one, two, pipe) = (file("one"), file("twofold"), rustix::pipe::pipe().unwrap());
        let of_one = |slot, at| RingRead { slot, fd: one.as_fd(), at, len: 4096 };
        let of_two = |slot, at, len| RingRead { slot, fd: two.as_fd(), at, len };
        assert_eq!(ring.take(0), None);
        let unreadable = RingRead { slot: 2, fd: pipe.1.as_fd(), at: 0, len: 4096 };
        ring.begin(&[of_one(0, 0), of_two(1, 3, 2), unreadable, of_one(3, 0)]);
        assert_eq!(ring.take(1), Some(&b"fo"[..]));
        assert_eq!(ring.take(0), Some(&b"one"[..]));
        assert_eq!(ring.take(0), None);
        assert_eq!(ring.take(2), None); // the writing end of a pipe
        assert_eq!(ring.take(3), None); // no such slot
        ring.begin(&[of_two(1, 0, 9999), of_one(1, 1), of_two(0, 100, 4096)]);
        assert_eq!(ring.take(1), Some(&b"ne"[..]));
        assert_eq!(ring.take(0), Some(&[][..]));
        ring.begin(&[of_two(0, 0, 4096)]); // dropped under way
    }

    #[test]
    fn pages_that_were_just_written_are_cached() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 100_000]).unwrap();
        match cached_pages(&file, 0, 0) {
            Ok(pages) => {
                assert!(pages > 100_000 / 65_536, "{pages}");
                assert_eq!(cached_pages(&file, 99_999, 1), Ok(1));
                assert_eq!(cached_pages(&file, 1 << 20, 1), Ok(0));
            }
            Err(errno) => assert!(matches!(errno, Errno::NOSYS | Errno::PERM), "{errno}"),
        }
        assert_eq!(cached_pages(std::fs::File::open("/dev/null").unwrap(), 0, 0).unwrap_or(0), 0);
    }
}

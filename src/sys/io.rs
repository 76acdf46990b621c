//! System calls on open files. Those that copy data are in `transfer`.

use super::interrupted::{Interruptions, retry_on_intr};
use super::proc::{self, StopFlag};
use super::{Errno, Result, raw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{self, FallocateFlags, FlockOperation, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Returns the type of the file system that holds the file: `f_type` of fstatfs(2).
pub(crate) fn fs_magic(fd: impl AsFd) -> Result<u64> {
    retry_on_intr(|| fs::fstatfs(&fd)).map(|s| super::at::magic(&s))
}

/// sendfile(2), for many small files.
#[inline(always)]
pub(crate) fn sendfile(
    dst: BorrowedFd<'_>,
    src: BorrowedFd<'_>,
    at: Option<&mut u64>,
    len: usize,
) -> Result<usize> {
    if proc::has_preloads() { fs::sendfile(dst, src, at, len) } else { raw::sendfile(dst, src, at, len) }
}

/// FICLONE of ioctl(2), for many small files.
#[inline(always)]
pub(crate) fn ioctl_ficlone(dst: BorrowedFd<'_>, src: BorrowedFd<'_>) -> Result<()> {
    if proc::has_preloads() { fs::ioctl_ficlone(dst, src) } else { raw::ioctl_ficlone(dst, src) }
}

/// Returns another descriptor of the same open file (dup(2)).
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

/// Returns the offset of the next data at or after `from`, or `None` if only a hole follows (SEEK_DATA of
/// lseek(2)).
pub(crate) fn seek_data(fd: impl AsFd, from: u64) -> Result<Option<u64>> {
    match retry_on_intr(|| fs::seek(&fd, SeekFrom::Data(from))) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Returns the offset of the next hole at or after `from`; the end of the file counts as one (SEEK_HOLE of
/// lseek(2)).
pub(crate) fn seek_hole(fd: impl AsFd, from: u64) -> Result<u64> {
    retry_on_intr(|| fs::seek(&fd, SeekFrom::Hole(from)))
}

/// Sets the file's position (SEEK_SET of lseek(2)).
pub(crate) fn seek_to(fd: impl AsFd, at: u64) -> Result<u64> {
    retry_on_intr(|| fs::seek(&fd, SeekFrom::Start(at)))
}

pub(crate) fn truncate(fd: impl AsFd, size: u64) -> Result<()> {
    retry_on_intr(|| fs::ftruncate(&fd, size))
}

/// Allocates blocks for the first `size` bytes without changing the length (FALLOC_FL_KEEP_SIZE of fallocate(2)).
pub(crate) fn preallocate(fd: impl AsFd, size: u64) -> Result<()> {
    retry_on_intr(|| fs::fallocate(&fd, FallocateFlags::KEEP_SIZE, 0, size))
}

/// Starts writeback of the file's dirty pages from `at` on, and drops the clean ones from the page cache
/// (POSIX_FADV_DONTNEED of posix_fadvise(2)). A `len` of 0 means to the end. Errors are ignored: it is only
/// advice.
pub(crate) fn drop_pages(fd: impl AsFd, at: u64, len: u64) {
    let _ = fs::fadvise(&fd, at, std::num::NonZeroU64::new(len), fs::Advice::DontNeed);
}

/// Makes reads bypass the page cache (O_DIRECT by fcntl(2)). EINVAL where the file system does not support that.
pub(crate) fn set_direct(fd: impl AsFd) -> Result<()> {
    let flags = fs::fcntl_getfl(&fd)?;
    fs::fcntl_setfl(&fd, flags | fs::OFlags::DIRECT)
}

/// Makes reads leave the access time alone (O_NOATIME by fcntl(2)). Only the owner and root may; for others
/// nothing changes.
pub(crate) fn leave_access_time(fd: impl AsFd) {
    if let Ok(flags) = fs::fcntl_getfl(&fd) {
        let _ = fs::fcntl_setfl(&fd, flags | fs::OFlags::NOATIME);
    }
}

/// Returns whether the byte at `at` is in the page cache: by cachestat(2), else by a read that does not wait
/// (RWF_NOWAIT of preadv2(2)). That read starts the kernel's read-ahead, so a fast disk may make the answer true.
/// False where the kernel does not tell.
pub(crate) fn is_cached(fd: impl AsFd, at: u64) -> bool {
    match raw::cached_pages(&fd, at, 1) {
        Ok(pages) if pages > 0 || fs_magic(&fd) != Ok(OVERLAYFS) => pages > 0,
        _ => read_byte_without_waiting(&fd, at) == Ok(1),
    }
}

/// `f_type` of overlayfs. The pages of its files are cached in another file system.
pub(super) const OVERLAYFS: u64 = 0x794c_7630;

/// Returns whether any byte of a file of `size` bytes may be in the page cache: by cachestat(2), else by samples.
/// True where the kernel does not tell.
pub(crate) fn may_be_cached(fd: impl AsFd, size: u64) -> bool {
    const SAMPLES: u64 = 16;
    /// Longer than the kernel's read-ahead, which each sample starts.
    const DISTANCE: u64 = 4 << 20;
    match raw::cached_pages(&fd, 0, 0) {
        Ok(pages) if pages > 0 || fs_magic(&fd) != Ok(OVERLAYFS) => pages > 0,
        _ => {
            let waits = |at| read_byte_without_waiting(&fd, at) == Err(Errno::AGAIN);
            let distance = (size / SAMPLES).max(DISTANCE);
            (0..=SAMPLES).map(|n| n * distance).take_while(|at| *at < size).any(|at| !waits(at))
        }
    }
}

/// Reads a byte if it is in the page cache (RWF_NOWAIT of preadv2(2)). EAGAIN if the read would have to wait for the
/// disk; EOPNOTSUPP where the file system cannot tell.
fn read_byte_without_waiting(fd: impl AsFd, at: u64) -> Result<usize> {
    let mut byte = [0];
    let room = &mut [std::io::IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(&fd, room, at, rustix::io::ReadWriteFlags::NOWAIT)
}

/// Returns the device number of a file, and whether O_DIRECT reads of it bypass the page cache (STATX_DIOALIGN of
/// statx(2)). Some file systems accept the flag and read through the cache anyway. `None` if the file system does
/// not report it.
pub(crate) fn reads_directly(fd: impl AsFd) -> Result<(u64, Option<bool>)> {
    let wanted = fs::StatxFlags::DIOALIGN;
    let answer = retry_on_intr(|| fs::statx(&fd, "", fs::AtFlags::EMPTY_PATH, wanted))?;
    let told = answer.stx_mask & wanted.bits() != 0;
    let dev = fs::makedev(answer.stx_dev_major, answer.stx_dev_minor);
    Ok((dev, told.then_some(answer.stx_dio_mem_align != 0)))
}

/// syncfs(2): writes all data of the file system to the disk. It reports writeback errors since `fd` was opened;
/// before Linux 5.8 it reports none.
pub(crate) fn sync_file_system(fd: impl AsFd) -> Result<()> {
    retry_on_intr(|| fs::syncfs(&fd))
}

/// fchmod(2), called through libc so that fakeroot can intercept it.
pub(crate) fn chmod(fd: impl AsFd, mode: u32) -> Result<()> {
    libc_call(|| nix::sys::stat::fchmod(&fd, nix::sys::stat::Mode::from_bits_truncate(mode)))
}

/// fchown(2), called through libc so that fakeroot can intercept it. `None` keeps an id.
pub(crate) fn chown(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.map(nix::unistd::Uid::from_raw), gid.map(nix::unistd::Gid::from_raw));
    libc_call(|| nix::unistd::fchown(&fd, uid, gid))
}

/// Repeats a call of nix on EINTR, and converts its error to rustix's.
pub(super) fn libc_call<T>(mut call: impl FnMut() -> nix::Result<T>) -> Result<T> {
    retry_on_intr(|| call().map_err(|errno| Errno::from_raw_os_error(errno as i32)))
}

/// close(2) with its error: a network file system may report a failed write only here. EINTR counts as success and
/// is never retried, because the descriptor is closed anyway (close(2), "Dealing with error returns").
pub(crate) fn close(fd: OwnedFd) -> Result<()> {
    match nix::unistd::close(fd) {
        Ok(()) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(Errno::from_raw_os_error(errno as i32)),
    }
}

/// Makes a network file system write its cached data and report errors, as close(2) would. The file stays open.
pub(crate) fn flush(fd: impl AsFd) -> Result<()> {
    close(duplicate(fd.as_fd())?)
}

pub(crate) fn sync(fd: impl AsFd) -> Result<()> {
    retry_on_intr(|| fs::fsync(&fd))
}

/// fdatasync(2). EINVAL, from a file that cannot be synced, counts as success.
pub(crate) fn sync_data(fd: impl AsFd) -> Result<()> {
    match retry_on_intr(|| fs::fdatasync(&fd)) {
        Err(Errno::INVAL) => Ok(()),
        answer => answer,
    }
}

/// flock(2), exclusive, without waiting: EWOULDBLOCK if another open file holds the lock.
pub(crate) fn lock(fd: impl AsFd) -> Result<()> {
    retry_on_intr(|| fs::flock(&fd, FlockOperation::NonBlockingLockExclusive))
}

/// The timeout of [`poll_a_while`]. A signal delivered to this thread ends the wait at once. A signal delivered to
/// another thread, or just before the wait, is noticed only after this time.
const A_WHILE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Waits until a descriptor is readable (or writable), or its peer has closed (poll(2)). False after a signal or a
/// short timeout, so that the caller can check whether it should stop. Fails with EINTR after too many interruptions
/// without a wait.
pub(crate) fn poll_a_while(fd: impl AsFd, write: bool, interruptions: &mut Interruptions) -> Result<bool> {
    let events = if write { PollFlags::OUT } else { PollFlags::IN };
    match poll(&mut [PollFd::new(&fd, events)], Some(&A_WHILE)) {
        Ok(0) => {
            interruptions.reset();
            Ok(false)
        }
        Ok(_) => Ok(true),
        Err(Errno::INTR) if interruptions.may_retry() => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Sleeps briefly. Used when poll(2) reports readiness but the call still gives EAGAIN, to avoid a busy loop.
pub(crate) fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(5));
}

/// Returns the number of bytes that can be read at once (FIONREAD of ioctl_tty(2), also for pipes and sockets).
pub(crate) fn readable_bytes(fd: impl AsFd) -> Result<u64> {
    rustix::io::ioctl_fionread(fd)
}

/// Reads a line byte by byte, so that the rest of the input is left to the next reader. A read error ends the line. Returns
/// an empty line after a stop request: a read that waits for a terminal would go on after the signal.
pub(crate) fn read_line(fd: impl AsFd, stop: &StopFlag) -> Vec<u8> {
    let mut line = Vec::new();
    let mut byte = [0];
    let mut interruptions = Interruptions::default();
    loop {
        while poll_a_while(&fd, false, &mut interruptions) == Ok(false) {
            if stop.is_raised() {
                return Vec::new();
            }
        }
        match retry_on_intr(|| rustix::io::read(&fd, &mut byte)) {
            Ok(1..) if byte != *b"\n" => line.push(byte[0]),
            _ => return line,
        }
    }
}

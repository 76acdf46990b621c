//! Calls on open files. The data paths themselves are in the transfer room.

use super::{Errno, Result, raw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{self, FallocateFlags, FlockOperation, SeekFrom};
use rustix::io::retry_on_intr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The `f_type` of fstatfs(2): which file system holds the file.
// The field's width differs between architectures.
#[allow(clippy::unnecessary_cast)]
pub fn fs_magic(fd: impl AsFd) -> Result<u64> {
    retry_on_intr(|| fs::fstatfs(&fd)).map(|s| s.f_type as u64)
}

/// Another descriptor of the same open file (dup(2)).
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

/// Where the next data at or after `from` starts; `None` when only a hole is left (lseek(2)).
pub fn seek_data(fd: impl AsFd, from: u64) -> Result<Option<u64>> {
    match retry_on_intr(|| fs::seek(&fd, SeekFrom::Data(from))) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Where the data at `from` ends; the end of the file is a hole (lseek(2)).
pub fn seek_hole(fd: impl AsFd, from: u64) -> Result<u64> {
    retry_on_intr(|| fs::seek(&fd, SeekFrom::Hole(from)))
}

/// Sets the file's own position.
pub fn seek_to(fd: impl AsFd, at: u64) -> Result<u64> {
    retry_on_intr(|| fs::seek(&fd, SeekFrom::Start(at)))
}

/// ftruncate(2).
pub fn truncate(fd: impl AsFd, size: u64) -> Result<()> {
    retry_on_intr(|| fs::ftruncate(&fd, size))
}

/// Allocates blocks for the first `size` bytes and leaves the length as it is (fallocate(2)).
pub fn preallocate(fd: impl AsFd, size: u64) -> Result<()> {
    retry_on_intr(|| fs::fallocate(&fd, FallocateFlags::KEEP_SIZE, 0, size))
}

/// Begins to write back the pages of a file from `at` on, and forgets those that are clean
/// (POSIX_FADV_DONTNEED of posix_fadvise(2)); a `len` of 0 means to the end. It is advice: it may fail.
pub fn drop_pages(fd: impl AsFd, at: u64, len: u64) {
    let _ = fs::fadvise(&fd, at, std::num::NonZeroU64::new(len), fs::Advice::DontNeed);
}

/// Lets a file that is open for reading be read without a trace (O_NOATIME by fcntl(2)). Only its owner and
/// root may.
pub fn leave_access_time(fd: impl AsFd) {
    if let Ok(flags) = fs::fcntl_getfl(&fd) {
        let _ = fs::fcntl_setfl(&fd, flags | fs::OFlags::NOATIME);
    }
}

/// Whether a byte of a file is in the page cache: by cachestat(2), else by whether it can be read without waiting
/// (RWF_NOWAIT of preadv2(2)), which makes the kernel read ahead there, so that a quick disk may make it true. False where
/// nothing tells.
pub fn is_cached(fd: impl AsFd, at: u64) -> bool {
    match raw::cached_pages(&fd, at, 1) {
        Ok(pages) if pages > 0 || fs_magic(&fd) != Ok(OVERLAYFS) => pages > 0,
        _ => read_byte_without_waiting(&fd, at) == Ok(1),
    }
}

/// `f_type` of overlayfs, whose files have their pages in another file system.
const OVERLAYFS: u64 = 0x794c_7630;

/// Whether any of a file of `size` bytes may be in the page cache: by cachestat(2), else by a few samples. Where nothing
/// tells, it may.
pub fn may_be_cached(fd: impl AsFd, size: u64) -> bool {
    const SAMPLES: u64 = 16;
    /// Further than the kernel reads ahead: each sample makes it begin to.
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

/// Reads a byte if it is in the page cache (RWF_NOWAIT of preadv2(2)).
///
/// # Errors
/// EAGAIN if the disk would have to be waited for; EOPNOTSUPP where the file system cannot tell.
fn read_byte_without_waiting(fd: impl AsFd, at: u64) -> Result<usize> {
    let mut byte = [0];
    let room = &mut [std::io::IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(&fd, room, at, rustix::io::ReadWriteFlags::NOWAIT)
}

/// Whether reads of a file by O_DIRECT go to the disk (STATX_DIOALIGN of statx(2)): some file systems take the flag
/// and read through the page cache all the same. `None` where that is not told.
pub fn reads_directly(fd: impl AsFd) -> Option<bool> {
    let wanted = fs::StatxFlags::DIOALIGN;
    let answer = retry_on_intr(|| fs::statx(&fd, "", fs::AtFlags::EMPTY_PATH, wanted)).ok()?;
    let told = answer.stx_mask & wanted.bits() != 0;
    told.then_some(answer.stx_dio_mem_align != 0)
}

/// syncfs(2): all that the file system holds is on the disk. It reports what could not be written since
/// `fd` was opened (from Linux 5.8, before that nothing).
pub fn sync_file_system(fd: impl AsFd) -> Result<()> {
    retry_on_intr(|| fs::syncfs(&fd))
}

/// fchmod(2), by libc, so that fakeroot sees it.
pub fn chmod(fd: impl AsFd, mode: u32) -> Result<()> {
    libc_call(|| nix::sys::stat::fchmod(&fd, nix::sys::stat::Mode::from_bits_truncate(mode)))
}

/// fchown(2), by libc, so that fakeroot sees it; `None` leaves an id as it is.
pub fn chown(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.map(nix::unistd::Uid::from_raw), gid.map(nix::unistd::Gid::from_raw));
    libc_call(|| nix::unistd::fchown(&fd, uid, gid))
}

/// A call by nix that may be repeated after EINTR, with rustix's errors.
pub(super) fn libc_call<T>(mut call: impl FnMut() -> nix::Result<T>) -> Result<T> {
    retry_on_intr(|| call().map_err(|errno| Errno::from_raw_os_error(errno as i32)))
}

/// close(2) with its answer: a network file system may report a failed write only here. Never
/// retried: the descriptor is gone even after EINTR (close(2), "Dealing with error returns").
pub fn close(fd: OwnedFd) -> Result<()> {
    match nix::unistd::close(fd) {
        Ok(()) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(Errno::from_raw_os_error(errno as i32)),
    }
}

/// Has a network file system write out what it holds back, as close(2) would, and gives the answer of
/// that; the file stays open.
pub fn flush(fd: impl AsFd) -> Result<()> {
    close(duplicate(fd.as_fd())?)
}

/// fsync(2): content and attributes are on the disk, or it says why not.
pub fn sync(fd: impl AsFd) -> Result<()> {
    retry_on_intr(|| fs::fsync(&fd))
}

/// fdatasync(2): the content can be read from the disk. A file that knows no such thing (EINVAL) is left as it is.
pub fn sync_data(fd: impl AsFd) -> Result<()> {
    match retry_on_intr(|| fs::fdatasync(&fd)) {
        Err(Errno::INVAL) => Ok(()),
        answer => answer,
    }
}

/// flock(2), exclusive, without waiting: EWOULDBLOCK where another open file holds it.
pub fn lock(fd: impl AsFd) -> Result<()> {
    retry_on_intr(|| fs::flock(&fd, FlockOperation::NonBlockingLockExclusive))
}

/// How long [`poll_a_while`] waits. A signal ends it at once if this thread gets it; if another one
/// does, or it comes just before the wait, that is noticed after this time.
const A_WHILE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Waits until a descriptor can be read (or written), or its other end is gone; false if a signal or
/// the end of a short while came first, so that the caller can look whether it should go on (poll(2)).
pub fn poll_a_while(fd: impl AsFd, write: bool) -> Result<bool> {
    let events = if write { PollFlags::OUT } else { PollFlags::IN };
    match poll(&mut [PollFd::new(&fd, events)], Some(&A_WHILE)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A moment's rest for who was told by poll(2) that a call would not wait, and then by the call that it
/// would: better than to ask again at once.
pub fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(5));
}

/// How many bytes wait to be read (FIONREAD of ioctl_tty(2), also for pipes and sockets).
pub fn readable_bytes(fd: impl AsFd) -> Result<u64> {
    rustix::io::ioctl_fionread(fd)
}

/// Reads a line and not a byte more: what follows belongs to whoever reads the descriptor next. What cannot be
/// read ends the line.
pub fn read_line(fd: impl AsFd) -> Vec<u8> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match rustix::io::read(&fd, &mut byte) {
            Ok(1..) if byte != *b"\n" => line.push(byte[0]),
            Err(Errno::INTR) => {}
            _ => return line,
        }
    }
}

//! System calls on names: each takes an open directory and a name relative to it.
//!
//! Where a call can follow a symbolic link, the caller chooses; without such a parameter it does not follow.

use super::dirents::{EntryBuffer, Names};
use super::interrupted::{Bounded, errno_of, retry_on_intr};
use super::io::libc_call;
use super::{Errno, Kind, Result, Stat, proc, raw};
use nix::sys::stat::FchmodatFlags;
use rustix::fs::{self, AtFlags, Dev, Gid, Mode, OFlags, RenameFlags, Uid};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// The working directory as an open directory (`AT_FDCWD`).
pub const CWD: BorrowedFd<'static> = fs::CWD;

/// A descriptor that makes lookups of relative names fail with EBADF.
pub(crate) const NOWHERE: BorrowedFd<'static> = fs::ABS;

/// The most symbolic links to follow (path_resolution(7), MAXSYMLINKS of the kernel).
pub const MOST_LINKS: usize = 40;

/// Whether a symbolic link at the end of a name is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    No,
    /// Act on the file that the link points to.
    Yes,
}

impl Follow {
    fn at(self) -> AtFlags {
        if self == Follow::Yes { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW }
    }

    fn open(self) -> OFlags {
        if self == Follow::Yes { OFlags::empty() } else { OFlags::NOFOLLOW }
    }
}

impl From<bool> for Follow {
    fn from(yes: bool) -> Self {
        if yes { Follow::Yes } else { Follow::No }
    }
}

pub(crate) fn stat(dir: impl AsFd, name: &OsStr, follow: Follow) -> Result<Stat> {
    retry_on_intr(|| fs::statat(&dir, name, follow.at())).map(Stat::from)
}

/// Returns the type of the file system that holds `path`: `f_type` of statfs(2).
pub(crate) fn fs_magic(path: &OsStr) -> Result<u64> {
    retry_on_intr(|| fs::statfs(path)).map(|s| magic(&s))
}

/// Returns `f_type`, whose values fit in 32 bits. In a signed field of 32 bits, those of btrfs and SMB are negative.
pub(super) fn magic(stat: &fs::StatFs) -> u64 {
    u64::from(stat.f_type as u32)
}

#[inline(always)]
pub fn fstat(fd: impl AsFd) -> Result<Stat> {
    let call = || if proc::has_preloads() { fs::fstat(&fd) } else { raw::fstat(fd.as_fd()) };
    retry_on_intr(call).map(Stat::from)
}

/// openat(2).
#[inline(always)]
fn openat(dir: impl AsFd, name: impl AsRef<OsStr>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    match proc::has_preloads() {
        true => fs::openat(dir, name.as_ref(), flags, mode),
        false => raw::openat(dir.as_fd(), name.as_ref(), flags, mode),
    }
}

/// Opens a file for reading. Unless `wait` is set, opening a fifo or a device does not block.
#[inline(always)]
pub(crate) fn open_read(dir: impl AsFd, name: &OsStr, follow: Follow, wait: bool) -> Result<OwnedFd> {
    open_existing(dir, name, OFlags::RDONLY | OFlags::NOCTTY | follow.open(), wait)
}

#[inline(always)]
fn open_existing(dir: impl AsFd, name: &OsStr, flags: OFlags, wait: bool) -> Result<OwnedFd> {
    let open = |more| retry_on_intr(|| openat(&dir, name, flags | OFlags::CLOEXEC | more, Mode::empty()));
    match open(if wait { OFlags::empty() } else { OFlags::NONBLOCK }) {
        // Another process, such as an NFS or SMB server, holds a lease on the file (fcntl(2), F_SETLEASE). The
        // kernel has the lease returned, or breaks it, while an open blocks; only an open that blocks gets the
        // file then.
        Err(Errno::AGAIN) if !wait => open(OFlags::empty()),
        answer => answer,
    }
}

/// Reads a whole regular file, which must be small enough for memory. `None` if the name is not a regular file.
pub(crate) fn read_small(dir: impl AsFd, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let file = match open_read(dir, name, Follow::No, false) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if !fstat(&file)?.is_regular() {
        return Ok(None);
    }
    let mut content = Vec::new();
    let read = Bounded(std::fs::File::from(file)).read_to_end(&mut content);
    read.map(|_| Some(content)).map_err(|error| errno_of(&error))
}

/// Opens an existing file for writing; neither creates nor truncates it. Unless `wait` is set, opening a fifo that
/// has no reader fails with ENXIO instead of blocking.
pub(crate) fn open_write(dir: impl AsFd, name: &OsStr, follow: Follow, wait: bool) -> Result<OwnedFd> {
    open_existing(dir, name, OFlags::WRONLY | OFlags::NOCTTY | follow.open(), wait)
}

pub(crate) fn open_read_write(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    open_existing(dir, name, OFlags::RDWR | OFlags::NOCTTY, true)
}

/// Returns the path of an open file under /proc (proc_pid_fd(5)), for calls that take no descriptor. The thread may have
/// a table of descriptors of its own, which /proc/self does not show.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/thread-self/fd/{}", fd.as_raw_fd())
}

/// Turns the ENOENT of a call on [`proc_path`] into ENOSYS if /proc is not mounted, as in many chroots: the
/// operation is unavailable, the file is not missing.
pub(crate) fn without_proc(errno: Errno) -> Errno {
    if errno == Errno::NOENT && !has_proc() { Errno::NOSYS } else { errno }
}

pub(crate) fn has_proc() -> bool {
    fs::statat(CWD, "/proc/thread-self/fd", AtFlags::empty()).is_ok()
}

/// Returns whether an open file is the one that stat(2) found under its name a moment ago.
///
/// On overlayfs, opening a file for writing may copy it to the upper layer, which can change its device and inode
/// numbers (for a hard link, and where the layers are on several file systems). Owner, mode, length and
/// modification time stay the same, so they are compared there.
pub(crate) fn is_still(fd: impl AsFd, opened: &Stat, met: &Stat) -> bool {
    let unchanged = |stat: &Stat| (stat.mode, stat.uid, stat.gid, stat.rdev, stat.size, stat.mtime);
    let was_moved = || unchanged(opened) == unchanged(met) && super::io::fs_magic(fd) == Ok(super::io::OVERLAYFS);
    opened.kind() == met.kind() && (opened.id() == met.id() || was_moved())
}

/// Opens the inode behind a name by O_PATH (open(2)), without following a symbolic link. The descriptor keeps
/// referring to that inode, whatever happens to the name.
pub(crate) fn open_path(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| openat(&dir, name, flags, Mode::empty()))
}

pub(crate) fn open_path_of(fd: impl AsFd) -> Result<OwnedFd> {
    open_path_followed(CWD, OsStr::new(&proc_path(fd.as_fd())))
}

/// Opens by O_PATH the inode behind a name, following a symbolic link.
pub(crate) fn open_path_followed(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    retry_on_intr(|| openat(&dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
}

/// Opens for writing, and truncates in the same call, the file of an [`open_path`] descriptor.
pub(crate) fn open_emptied(by_path: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = proc_path(by_path);
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOCTTY;
    retry_on_intr(|| openat(CWD, &path, flags, Mode::empty()))
}

/// Creates a file for writing. With `exclusive` (O_EXCL) any existing name, also a symbolic link, gives EEXIST.
#[inline(always)]
pub(crate) fn create(dir: impl AsFd, name: &OsStr, mode: u32, exclusive: bool) -> Result<OwnedFd> {
    let mut flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    if exclusive {
        flags |= OFlags::EXCL;
    }
    retry_on_intr(|| openat(&dir, name, flags, Mode::from_raw_mode(mode)))
}

/// Creates a file for writing, or empties the file that has the name.
pub(crate) fn create_or_empty(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOCTTY;
    retry_on_intr(|| openat(&dir, name, flags, Mode::from_raw_mode(0o666)))
}

/// Creates a file without a name in `directory`, for writing (O_TMPFILE). It disappears when it is closed, unless
/// [`name_nameless`] gives it a name. Not every file system supports this.
pub(crate) fn create_nameless(dir: impl AsFd, directory: &OsStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    retry_on_intr(|| openat(&dir, directory, flags, Mode::from_raw_mode(mode)))
}

/// Gives a file of [`create_nameless`] a name; EEXIST if the name is taken. Before Linux 6.10 only a privileged
/// process may link by the descriptor alone; other processes need /proc (open(2), O_TMPFILE).
pub(crate) fn name_nameless(fd: &OwnedFd, dir: impl AsFd, name: &OsStr) -> Result<()> {
    match retry_on_intr(|| fs::linkat(fd, "", &dir, name, AtFlags::EMPTY_PATH)) {
        Err(Errno::NOENT) => {
            let path = proc_path(fd.as_fd());
            retry_on_intr(|| fs::linkat(CWD, &path, &dir, name, AtFlags::SYMLINK_FOLLOW))
        }
        answer => answer,
    }
}

/// Creates a file for reading and writing; EEXIST if the name is taken, also by a symbolic link.
pub(crate) fn create_readable(dir: impl AsFd, name: &OsStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| openat(&dir, name, flags, Mode::from_raw_mode(mode)))
}

/// Opens the inode of an open file again, for reading, whatever its name is now. With `direct`, reads bypass the
/// page cache (O_DIRECT of open(2)); EINVAL where the file system does not support that. Without /proc the file is
/// opened by `name`; ESTALE if another file has the name now.
pub(crate) fn open_again(fd: impl AsFd, name: Option<(BorrowedFd<'_>, &OsStr)>, direct: bool) -> Result<OwnedFd> {
    let path = proc_path(fd.as_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | if direct { OFlags::DIRECT } else { OFlags::empty() };
    let errno = match retry_on_intr(|| openat(CWD, &path, flags, Mode::empty())) {
        Err(errno) => without_proc(errno),
        answer => return answer,
    };
    let Some((dir, name)) = name.filter(|_| errno == Errno::NOSYS) else { return Err(errno) };
    let id = fstat(&fd)?.id();
    // Checked before as well, since it may do something to open a device.
    if stat(dir, name, Follow::Yes)?.id() != id {
        return Err(Errno::STALE);
    }
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = retry_on_intr(|| openat(dir, name, flags, Mode::empty()))?;
    if fstat(&opened)?.id() == id { Ok(opened) } else { Err(Errno::STALE) }
}

/// Opens a terminal again with O_NONBLOCK, so that a read never blocks: Ctrl-C discards the typed input
/// (termios(3), NOFLSH), also input that poll(2) has just reported. The flag is not set on `fd` itself, because
/// other processes share that open file. Returns `fd` if it is not a terminal or cannot be opened again.
pub(crate) fn without_waiting(fd: OwnedFd) -> OwnedFd {
    if !rustix::termios::isatty(&fd) {
        return fd;
    }
    let path = proc_path(fd.as_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    retry_on_intr(|| openat(CWD, &path, flags, Mode::empty())).unwrap_or(fd)
}

/// Opens a directory as the base of other names. A directory that may be searched but not read is opened by O_PATH
/// (open(2)), which suffices for that.
pub(crate) fn open_dir(dir: impl AsFd, name: &OsStr, follow: Follow) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow.open();
    match retry_on_intr(|| openat(&dir, name, flags, Mode::empty())) {
        Err(Errno::ACCESS) => retry_on_intr(|| openat(&dir, name, flags | OFlags::PATH, Mode::empty())),
        other => other,
    }
}

/// Returns whether [`open_dir`] could open a directory by O_PATH only, because it may not be read.
pub(crate) fn is_by_path(dir: impl AsFd) -> bool {
    fs::fcntl_getfl(&dir).is_ok_and(|flags| flags.contains(OFlags::PATH))
}

pub(crate) fn names(dir: impl AsFd, name: &OsStr) -> Result<Vec<OsString>> {
    let fd = open_dir(dir, name, Follow::Yes)?;
    let (mut names, mut buffer) = (Names::default(), EntryBuffer::default());
    while buffer.read(fd.as_fd(), &mut names)? {}
    Ok((0..names.len()).filter_map(|at| names.get(at)).map(|entry| entry.name.to_owned()).collect())
}

pub(crate) fn mkdir(dir: impl AsFd, name: &OsStr, mode: u32) -> Result<()> {
    retry_on_intr(|| fs::mkdirat(&dir, name, Mode::from_raw_mode(mode)))
}

/// unlinkat(2) of anything but a directory.
pub(crate) fn unlink(dir: impl AsFd, name: &OsStr) -> Result<()> {
    retry_on_intr(|| fs::unlinkat(&dir, name, AtFlags::empty()))
}

pub(crate) fn symlink(target: &OsStr, dir: impl AsFd, name: &OsStr) -> Result<()> {
    retry_on_intr(|| fs::symlinkat(target, &dir, name))
}

/// Returns the whole target of a symbolic link (readlinkat(2)).
pub(crate) fn read_link(dir: impl AsFd, name: &OsStr) -> Result<OsString> {
    let target = retry_on_intr(|| fs::readlinkat(&dir, name, Vec::new()))?;
    Ok(OsString::from_vec(target.into_bytes()))
}

/// linkat(2); `follow` applies to a symbolic link at `old`.
pub(crate) fn link(old_dir: impl AsFd, old: &OsStr, dir: impl AsFd, name: &OsStr, follow: Follow) -> Result<()> {
    let flags = if follow == Follow::Yes { AtFlags::SYMLINK_FOLLOW } else { AtFlags::empty() };
    retry_on_intr(|| fs::linkat(&old_dir, old, &dir, name, flags))
}

pub(crate) fn rename(old_dir: impl AsFd, old: &OsStr, dir: impl AsFd, name: &OsStr) -> Result<()> {
    retry_on_intr(|| fs::renameat(&old_dir, old, &dir, name))
}

/// Renames a file if the new name is free; EEXIST otherwise. Where the file system lacks RENAME_NOREPLACE (FUSE
/// without flags, NFS), the file is linked and its old name removed. Where it cannot link either, a plain rename
/// may replace a file that another process puts there at the same moment.
pub(crate) fn rename_to_free(dir: BorrowedFd<'_>, old: &OsStr, name: &OsStr) -> Result<()> {
    match retry_on_intr(|| fs::renameat_with(dir, old, dir, name, RenameFlags::NOREPLACE)) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        // A seccomp(2) filter may refuse the call by EPERM. So may a sticky or append-only directory, where a second
        // link could not be removed again.
        Err(Errno::PERM) => return rename_if_free(dir, old, name),
        answer => return answer,
    }
    match link(dir, old, dir, name, Follow::No) {
        Ok(()) => unlink(dir, old).inspect_err(|_| _ = unlink(dir, name)),
        Err(Errno::EXIST) => Err(Errno::EXIST),
        Err(_) => rename_if_free(dir, old, name),
    }
}

/// Renames a file after a look at the new name; EEXIST if it is taken.
fn rename_if_free(dir: BorrowedFd<'_>, old: &OsStr, name: &OsStr) -> Result<()> {
    match stat(dir, name, Follow::No) {
        Err(Errno::NOENT) => rename(dir, old, dir, name),
        _ => Err(Errno::EXIST),
    }
}

/// Checks whether the sticky bit of `parent` lets this process remove `name` from it; EPERM if not (unlink(2)).
pub(crate) fn may_remove_from_sticky(dir: impl AsFd, parent: &OsStr, name: &OsStr) -> Result<()> {
    const STICKY: u32 = 0o1000;
    let above = stat(&dir, parent, Follow::Yes)?;
    let uid = super::proc::effective_uid();
    if above.permissions() & STICKY == 0 || above.uid == uid || stat(&dir, name, Follow::No)?.uid == uid {
        return Ok(());
    }
    if super::proc::ignores_owners() { Ok(()) } else { Err(Errno::PERM) }
}

/// mknodat(2) for fifos, sockets and devices.
pub(crate) fn make_node(dir: impl AsFd, name: &OsStr, kind: Kind, mode: u32, rdev: u64) -> Result<()> {
    let rdev = Dev::from(rdev);
    retry_on_intr(|| fs::mknodat(&dir, name, kind, Mode::from_raw_mode(mode), rdev))
}

/// fchownat(2) that does not follow symbolic links. An empty name means `dir` itself; `None` keeps an id.
pub(crate) fn chown(dir: impl AsFd, name: &OsStr, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    retry_on_intr(|| fs::chownat(&dir, name, uid.map(Uid::from_raw), gid.map(Gid::from_raw), flags))
}

/// Sets the permission bits of a file that an O_PATH descriptor holds: through /proc, else by fchmodat2(2).
pub(crate) fn chmod(by_path: BorrowedFd<'_>, mode: u32) -> Result<()> {
    let path = proc_path(by_path);
    let bits = nix::sys::stat::Mode::from_bits_truncate(mode);
    let answer = libc_call(|| nix::sys::stat::fchmodat(CWD, path.as_str(), bits, FchmodatFlags::FollowSymlink));
    match answer.map_err(without_proc) {
        Err(Errno::NOSYS) => retry_on_intr(|| super::raw::change_mode(by_path, mode)),
        answer => answer,
    }
}

/// faccessat(2) for writing, by the effective ids. The seccomp filters of old containers refuse faccessat2(2) with
/// EPERM; then the real ids are used, which differ only in set-user-ID programs. libc falls back by itself only on
/// ENOSYS.
pub fn may_write(dir: impl AsFd, name: &OsStr) -> Result<()> {
    match retry_on_intr(|| fs::accessat(&dir, name, fs::Access::WRITE_OK, AtFlags::EACCESS)) {
        Err(Errno::PERM) => super::raw::may_write_by_real_ids(dir.as_fd(), name),
        answer => answer,
    }
}

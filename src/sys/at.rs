//! Calls on names: each takes an open directory and a name in it.
//!
//! A flag that follows symbolic links is always said by the caller; the default is not to.

use super::dirents::{Names, Room};
use super::io::libc_call;
use super::{Errno, Kind, Result, Stat};
use nix::sys::stat::FchmodatFlags;
use rustix::fs::{self, AtFlags, Dev, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::retry_on_intr;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// The working directory as an open directory (`AT_FDCWD`).
pub const CWD: BorrowedFd<'static> = fs::CWD;

/// What no name is in: a call on a relative name fails with EBADF.
pub const NOWHERE: BorrowedFd<'static> = fs::ABS;

/// Whether a symbolic link at the end of a name is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The link itself is meant.
    No,
    /// What the link points to is meant.
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

/// fstatat(2).
pub fn stat(dir: impl AsFd, name: &OsStr, follow: Follow) -> Result<Stat> {
    retry_on_intr(|| fs::statat(&dir, name, follow.at())).map(Stat::from)
}

/// The `f_type` of statfs(2): which file system a path is on.
// The field's width differs between architectures.
#[allow(clippy::unnecessary_cast)]
pub fn fs_magic(path: &OsStr) -> Result<u64> {
    retry_on_intr(|| fs::statfs(path)).map(|s| s.f_type as u64)
}

/// fstat(2).
pub fn fstat(fd: impl AsFd) -> Result<Stat> {
    retry_on_intr(|| fs::fstat(&fd)).map(Stat::from)
}

/// Opens for reading. With `wait` false a fifo or a device does not block the open.
pub fn open_read(dir: impl AsFd, name: &OsStr, follow: Follow, wait: bool) -> Result<OwnedFd> {
    open_existing(dir, name, OFlags::RDONLY | OFlags::NOCTTY | follow.open(), wait)
}

fn open_existing(dir: impl AsFd, name: &OsStr, flags: OFlags, wait: bool) -> Result<OwnedFd> {
    let open = |more| retry_on_intr(|| fs::openat(&dir, name, flags | OFlags::CLOEXEC | more, Mode::empty()));
    match open(if wait { OFlags::empty() } else { OFlags::NONBLOCK }) {
        // A lease that somebody has on a file (fcntl(2), F_SETLEASE), as servers of NFS and SMB do: it is given
        // back, or broken, while an open waits, and only an open that waits gets the file then.
        Err(Errno::AGAIN) if !wait => open(OFlags::empty()),
        answer => answer,
    }
}

/// The content of a regular file that is small enough to be held, `None` if there is none of that name.
pub fn read_small(dir: impl AsFd, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let file = match open_read(dir, name, Follow::No, false) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if !fstat(&file)?.is_regular() {
        return Ok(None);
    }
    let mut content = Vec::new();
    let read = std::fs::File::from(file).read_to_end(&mut content);
    read.map(|_| Some(content)).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Opens an existing file for writing, as it is; never creates. With `wait` false a fifo that nobody
/// reads does not block the open, but gives ENXIO.
pub fn open_write(dir: impl AsFd, name: &OsStr, follow: Follow, wait: bool) -> Result<OwnedFd> {
    open_existing(dir, name, OFlags::WRONLY | OFlags::NOCTTY | follow.open(), wait)
}

/// Opens an existing file or device for reading and writing.
pub fn open_read_write(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    open_existing(dir, name, OFlags::RDWR | OFlags::NOCTTY, true)
}

/// A path that names what is open, for the calls that take nothing else (proc_pid_fd(5)).
pub fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// What an error of a call on [`proc_path`] means: that there is no such name is for want of /proc, as in many
/// a chroot, and what it was needed for is not to be had.
pub fn without_proc(errno: Errno) -> Errno {
    let is_missing = || fs::statat(CWD, "/proc/self/fd", AtFlags::empty()).is_err();
    if errno == Errno::NOENT && is_missing() { Errno::NOSYS } else { errno }
}

/// Whether an open file is the one that stat(2) met under its name a moment ago.
///
/// On overlayfs, opening a file for writing may move it to the upper layer, which can give it other device and
/// inode numbers (it does to a hard link, and where the layers are on several file systems). All that is said of
/// the old file's owner, mode, length and time of last change still holds for it then.
pub fn is_still(fd: impl AsFd, opened: &Stat, met: &Stat) -> bool {
    /// `f_type` of overlayfs.
    const OVERLAY: u64 = 0x794C_7630;
    let unchanged = |stat: &Stat| (stat.mode, stat.uid, stat.gid, stat.rdev, stat.size, stat.mtime);
    let was_moved = || unchanged(opened) == unchanged(met) && super::io::fs_magic(fd) == Ok(OVERLAY);
    opened.kind() == met.kind() && (opened.id() == met.id() || was_moved())
}

/// Takes hold of what has the name now, be it a symbolic link, without opening it (O_PATH of
/// open(2)): whatever happens to the name, the descriptor stays with the inode.
pub fn open_path(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| fs::openat(&dir, name, flags, Mode::empty()))
}

/// The same of an open file.
pub fn open_path_of(fd: impl AsFd) -> Result<OwnedFd> {
    pin_followed(CWD, OsStr::new(&proc_path(fd.as_fd())))
}

/// The same of what a symbolic link at the name leads to.
pub fn pin_followed(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    retry_on_intr(|| fs::openat(&dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
}

/// Opens for writing, and empties in one, the file that a descriptor of [`open_path`] holds.
pub fn open_emptied(by_path: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = proc_path(by_path);
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOCTTY;
    retry_on_intr(|| fs::openat(CWD, &path, flags, Mode::empty()))
}

/// Creates a file for writing. `exclusive` (O_EXCL) fails with EEXIST on any existing name, and
/// never goes through a symbolic link.
pub fn create(dir: impl AsFd, name: &OsStr, mode: u32, exclusive: bool) -> Result<OwnedFd> {
    let mut flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    if exclusive {
        flags |= OFlags::EXCL;
    }
    retry_on_intr(|| fs::openat(&dir, name, flags, Mode::from_raw_mode(mode)))
}

/// Creates a file for writing that has no name (O_TMPFILE): it is gone when it is closed, unless
/// [`name_nameless`] gives it one. Not every file system has such files.
pub fn create_nameless(dir: impl AsFd, directory: &OsStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    retry_on_intr(|| fs::openat(&dir, directory, flags, Mode::from_raw_mode(mode)))
}

/// Gives such a file a name, EEXIST if that is taken. Before Linux 6.10 only a privileged process may
/// do so by the descriptor alone; else it goes through /proc (open(2), O_TMPFILE).
pub fn name_nameless(fd: &OwnedFd, dir: impl AsFd, name: &OsStr) -> Result<()> {
    match retry_on_intr(|| fs::linkat(fd, "", &dir, name, AtFlags::EMPTY_PATH)) {
        Err(Errno::NOENT) => {
            let path = proc_path(fd.as_fd());
            retry_on_intr(|| fs::linkat(CWD, &path, &dir, name, AtFlags::SYMLINK_FOLLOW))
        }
        answer => answer,
    }
}

/// Creates a file for reading and writing that only its owner may open; EEXIST if the name is taken, be it by a
/// symbolic link.
pub fn create_private(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600)))
}

/// Opens an open file once more, to read: the same inode, whatever its name is or becomes. With
/// `direct` not from the page cache (O_DIRECT of open(2)), EINVAL where that is not to be had.
pub fn open_again(fd: impl AsFd, direct: bool) -> Result<OwnedFd> {
    let path = proc_path(fd.as_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | if direct { OFlags::DIRECT } else { OFlags::empty() };
    retry_on_intr(|| fs::openat(CWD, &path, flags, Mode::empty()))
}

/// Opens a terminal that is open for reading once more, so that a read of it never waits (O_NONBLOCK): Ctrl-C throws
/// away what was typed (termios(3), NOFLSH), also what poll(2) has just promised. The open file itself is left as it
/// is, because others have it too. What is no terminal, or may not be opened, is given back.
pub fn without_waiting(fd: OwnedFd) -> OwnedFd {
    if !rustix::termios::isatty(&fd) {
        return fd;
    }
    let path = proc_path(fd.as_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    retry_on_intr(|| fs::openat(CWD, &path, flags, Mode::empty())).unwrap_or(fd)
}

/// Opens a directory for use as the base of other names. A directory that may be searched but not
/// read is opened by O_PATH (open(2)), which is enough for that.
pub fn open_dir(dir: impl AsFd, name: &OsStr, follow: Follow) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow.open();
    match retry_on_intr(|| fs::openat(&dir, name, flags, Mode::empty())) {
        Err(Errno::ACCESS) => retry_on_intr(|| fs::openat(&dir, name, flags | OFlags::PATH, Mode::empty())),
        other => other,
    }
}

/// What EBADF means for an open directory: where it was opened by O_PATH, that reading it was refused.
pub fn refusal(dir: impl AsFd, errno: Errno) -> Errno {
    let by_path = || fs::fcntl_getfl(&dir).is_ok_and(|flags| flags.contains(OFlags::PATH));
    if errno == Errno::BADF && by_path() { Errno::ACCESS } else { errno }
}

/// The names in a directory (getdents64(2)).
pub fn names(dir: impl AsFd, name: &OsStr) -> Result<Vec<OsString>> {
    let fd = open_dir(dir, name, Follow::Yes)?;
    let (mut names, mut room) = (Names::default(), Room::default());
    while room.read(fd.as_fd(), &mut names)? {}
    Ok((0..names.len()).filter_map(|at| names.get(at)).map(|entry| entry.name.to_owned()).collect())
}

/// mkdirat(2).
pub fn mkdir(dir: impl AsFd, name: &OsStr, mode: u32) -> Result<()> {
    retry_on_intr(|| fs::mkdirat(&dir, name, Mode::from_raw_mode(mode)))
}

/// unlinkat(2) of what is no directory.
pub fn unlink(dir: impl AsFd, name: &OsStr) -> Result<()> {
    retry_on_intr(|| fs::unlinkat(&dir, name, AtFlags::empty()))
}

/// symlinkat(2).
pub fn symlink(target: &OsStr, dir: impl AsFd, name: &OsStr) -> Result<()> {
    retry_on_intr(|| fs::symlinkat(target, &dir, name))
}

/// readlinkat(2), whole.
pub fn read_link(dir: impl AsFd, name: &OsStr) -> Result<OsString> {
    let target = retry_on_intr(|| fs::readlinkat(&dir, name, Vec::new()))?;
    Ok(OsString::from_vec(target.into_bytes()))
}

/// linkat(2); `follow` is about a symbolic link at `old`.
pub fn link(old_dir: impl AsFd, old: &OsStr, dir: impl AsFd, name: &OsStr, follow: Follow) -> Result<()> {
    let flags = if follow == Follow::Yes { AtFlags::SYMLINK_FOLLOW } else { AtFlags::empty() };
    retry_on_intr(|| fs::linkat(&old_dir, old, &dir, name, flags))
}

/// renameat(2).
pub fn rename(old_dir: impl AsFd, old: &OsStr, dir: impl AsFd, name: &OsStr) -> Result<()> {
    retry_on_intr(|| fs::renameat(&old_dir, old, &dir, name))
}

/// renameat2(2) that never replaces: EEXIST where `name` exists.
pub fn rename_no_replace(old_dir: impl AsFd, old: &OsStr, dir: impl AsFd, name: &OsStr) -> Result<()> {
    retry_on_intr(|| fs::renameat_with(&old_dir, old, &dir, name, RenameFlags::NOREPLACE))
}

/// Gives a file another name, if that is free: EEXIST otherwise. Where the file system cannot rename without replacing
/// (FUSE without flags, NFS), it is linked and its old name removed; where it cannot link either, somebody who takes the
/// name at the same moment may lose it.
pub fn rename_to_free(dir: BorrowedFd<'_>, old: &OsStr, name: &OsStr) -> Result<()> {
    match rename_no_replace(dir, old, dir, name) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        answer => return answer,
    }
    match link(dir, old, dir, name, Follow::No) {
        Ok(()) => unlink(dir, old).inspect_err(|_| _ = unlink(dir, name)),
        Err(Errno::EXIST) => Err(Errno::EXIST),
        Err(_) => match stat(dir, name, Follow::No) {
            Err(Errno::NOENT) => rename(dir, old, dir, name),
            _ => Err(Errno::EXIST),
        },
    }
}

/// Whether a name may be removed from its directory by this process, as far as a sticky directory is concerned
/// (unlink(2), EPERM).
pub fn may_remove_from_sticky(dir: impl AsFd, parent: &OsStr, name: &OsStr) -> Result<()> {
    const STICKY: u32 = 0o1000;
    let above = stat(&dir, parent, Follow::Yes)?;
    let uid = super::proc::effective_uid();
    if above.permissions() & STICKY == 0 || above.uid == uid || stat(&dir, name, Follow::No)?.uid == uid {
        return Ok(());
    }
    if super::proc::ignores_owners() { Ok(()) } else { Err(Errno::PERM) }
}

/// mknodat(2) for fifos, sockets and devices.
pub fn make_node(dir: impl AsFd, name: &OsStr, kind: Kind, mode: u32, rdev: u64) -> Result<()> {
    let file_type = match kind {
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        _ => return Err(Errno::INVAL),
    };
    let rdev = Dev::from(rdev);
    retry_on_intr(|| fs::mknodat(&dir, name, file_type, Mode::from_raw_mode(mode), rdev))
}

/// fchownat(2) without following; an empty name means `dir` itself. `None` leaves an id as it is.
pub fn chown(dir: impl AsFd, name: &OsStr, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    retry_on_intr(|| fs::chownat(&dir, name, uid.map(Uid::from_raw), gid.map(Gid::from_raw), flags))
}

/// chmod(2), which follows a symbolic link: only for the names of descriptors in /proc, which nobody
/// else can make lead elsewhere.
pub fn chmod(path: &OsStr, mode: u32) -> Result<()> {
    let mode = nix::sys::stat::Mode::from_bits_truncate(mode);
    libc_call(|| nix::sys::stat::fchmodat(CWD, path, mode, FchmodatFlags::FollowSymlink))
}

/// faccessat(2) for writing, by the effective ids; by the real ones, which are the same in all but set-user-ID
/// programs, where a container's filter refuses faccessat2(2) by EPERM, as old ones do. libc asks without it by itself
/// only where there is no such call.
pub fn may_write(dir: impl AsFd, name: &OsStr) -> Result<()> {
    match retry_on_intr(|| fs::accessat(&dir, name, fs::Access::WRITE_OK, AtFlags::EACCESS)) {
        Err(Errno::PERM) => super::raw::may_write_by_real_ids(dir.as_fd(), name),
        answer => answer,
    }
}

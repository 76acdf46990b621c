//! Owner, extended attributes, mode with its ACL, and times: reading, setting and comparing them.
//!
//! `apply.rs` has the order in which a copy gets them. Nothing in this module prints. A failure is returned
//! without the path, which the caller adds.

pub(crate) mod apply;
pub(crate) mod kept_times;
pub(crate) mod new_mode;
pub(crate) mod times;
pub(crate) mod xattr;

use crate::error::{Failure, Operation};
use crate::sys::{self, Errno, Kind, Stat, at, io};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// A file whose attributes are read or set. Owner, mode and extended attributes are only set through a descriptor,
/// because a name may refer to another file now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handle<'a> {
    Open(BorrowedFd<'a>),
    /// An O_PATH descriptor, of a symbolic link or special file ([`at::open_path`]), and if known its directory and its
    /// name there, by which attributes are read where /proc is not mounted.
    Path(BorrowedFd<'a>, Option<(BorrowedFd<'a>, &'a OsStr)>),
    /// A directory and a name in it. Only for reading, and for setting the times of a symbolic link.
    Entry(BorrowedFd<'a>, &'a OsStr),
}

impl<'a> Handle<'a> {
    /// Makes a call on the descriptor: `open`, or `by_path` if that is an O_PATH descriptor, which most calls refuse.
    fn call<T>(
        self,
        open: impl FnOnce(BorrowedFd<'a>) -> sys::Result<T>,
        by_path: impl FnOnce(BorrowedFd<'a>) -> sys::Result<T>,
    ) -> sys::Result<T> {
        match self {
            Handle::Open(fd) => match open(fd) {
                Err(Errno::BADF) => by_path(fd),
                answer => answer,
            },
            Handle::Path(fd, _) => by_path(fd),
            Handle::Entry(..) => Err(Errno::BADF),
        }
    }

    /// Returns a path of the file, through /proc (proc_pid_fd(5)), for calls that take no descriptor.
    fn path(&self) -> OsString {
        match self {
            Handle::Open(fd) | Handle::Path(fd, _) => at::proc_path(*fd).into(),
            Handle::Entry(dir, name)
                if dir.as_raw_fd() == at::CWD.as_raw_fd() || name.as_bytes().starts_with(b"/") =>
            {
                name.into()
            }
            Handle::Entry(dir, name) => {
                let mut path = OsString::from(at::proc_path(*dir) + "/");
                path.push(name);
                path
            }
        }
    }
}

/// Takes others' rights on an existing file away before its owner changes, because its old mode may grant more
/// than the new owner wants. False if the process is not permitted to, so that setting the owner is pointless.
fn close_to_others(file: Handle<'_>, before: &Stat, stat: &Stat, privileged: bool) -> Result<bool, Failure> {
    match set_mode(file, before.permissions() & stat.permissions() & 0o700) {
        Ok(()) => Ok(true),
        Err(errno) if privileged || errno != Errno::PERM => {
            Err(Failure::attribute(Operation::ClearPermissions, errno))
        }
        Err(_) => Ok(false),
    }
}

/// Gives a file the source's owner and group. An error does not count if the file has them already, as some file
/// systems refuse even that chown.
///
/// If the process is not permitted to, the group alone is tried, as cp does. `Ok(false)` then means that the owner is
/// not the source's, so that set-ID bits must not be set. Fails with errors of chown(2), except EPERM and EINVAL for
/// an unprivileged process, which are expected.
pub(crate) fn set_owner(file: Handle<'_>, stat: &Stat, privileged: bool) -> Result<bool, Failure> {
    match chown(file, Some(stat.uid), Some(stat.gid)) {
        Ok(()) => Ok(true),
        Err(_) if has_owner(file, stat) => Ok(true),
        Err(errno @ (Errno::PERM | Errno::INVAL)) => {
            let _ = chown(file, None, Some(stat.gid));
            if privileged { Err(Failure::attribute(Operation::KeepOwnership, errno)) } else { Ok(false) }
        }
        Err(errno) => Err(Failure::attribute(Operation::KeepOwnership, errno)),
    }
}

fn has_owner(file: Handle<'_>, stat: &Stat) -> bool {
    self::stat(file).is_ok_and(|now| (now.uid, now.gid) == (stat.uid, stat.gid))
}

fn stat(file: Handle<'_>) -> sys::Result<Stat> {
    match file {
        Handle::Open(fd) | Handle::Path(fd, _) => at::fstat(fd),
        Handle::Entry(dir, name) => at::stat(dir, name, at::Follow::No),
    }
}

fn chown(file: Handle<'_>, uid: Option<u32>, gid: Option<u32>) -> sys::Result<()> {
    file.call(|fd| io::chown(fd, uid, gid), |fd| at::chown(fd, OsStr::new(""), uid, gid))
}

/// Sets the permission bits. An O_PATH descriptor needs /proc, or Linux 6.6, for that.
pub(crate) fn set_mode(file: Handle<'_>, mode: u32) -> sys::Result<()> {
    file.call(|fd| io::chmod(fd, mode), |fd| at::chmod(fd, mode))
}

/// Gives a file the permission bits `mode` and the source's access control lists. A list that the source does not
/// have is removed: the file may have had it before, or got it from its directory's default.
pub(crate) fn copy_mode(source: Handle<'_>, file: Handle<'_>, kind: Kind, mode: u32) -> Result<(), Failure> {
    // The lists come first. The group bits of a mode are the mask of an access control list (acl(5)), so setting
    // the mode first would give rights to the group, or to those named by a list that is to be removed, until the
    // lists are set.
    let lists = copy_lists(source, file, kind);
    let mode = set_mode(file, mode);
    lists.and(mode).map_err(|errno| Failure::attribute(Operation::KeepPermissions, errno))
}

fn copy_lists(source: Handle<'_>, file: Handle<'_>, kind: Kind) -> sys::Result<()> {
    let lists: &[&str] =
        if kind == Kind::Directory { &[xattr::ACL_ACCESS, xattr::ACL_DEFAULT] } else { &[xattr::ACL_ACCESS] };
    for list in lists {
        let name = OsStr::new(list);
        match xattr::get_acl(source, name)? {
            Some(acl) => xattr::set(file, name, &acl)?,
            None => xattr::remove_acl(file, name)?,
        }
    }
    Ok(())
}

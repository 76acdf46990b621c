//! Times, owner, attributes and mode, in the order that keeps them all.
//!
//! Times come first, as with cp: none of the rest changes them, and of a file that is somebody
//! else's that is what cp complains about. chown(2) clears set-user-ID bits and capabilities, and
//! user attributes need a writable mode: so times, owner, extended attributes, mode with its ACL.
//! The first that fails ends it.
//!
//! Nothing here prints; a failure is handed back as a [`AttributeError`], and the caller knows the path.

pub mod compare;
pub mod kept_times;
pub mod new_mode;
pub mod times;
pub mod xattr;

use crate::sys::{self, Errno, Kind, Stat, at, io};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// A file to read attributes from or to set them on. Owner, mode and attributes are only ever given to
/// what is held by a descriptor: behind a name there may be another file by now.
#[derive(Clone, Copy, Debug)]
pub enum Handle<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A symbolic link or special file, held but not opened ([`at::open_path`]).
    Path(BorrowedFd<'a>),
    /// The like, by its directory: to be read, and for the times of a link.
    Entry(BorrowedFd<'a>, &'a OsStr),
}

impl Handle<'_> {
    /// A path that names the same file for the calls that have no descriptor form (proc_pid_fd(5)).
    fn path(&self) -> OsString {
        match self {
            Handle::Open(fd) | Handle::Path(fd) => at::proc_path(*fd).into(),
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

/// An attribute that could not be kept, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeError {
    /// What was being done.
    pub doing: AttributeOperation,
    /// The system's reason.
    pub errno: Errno,
}

/// The operations of this room, as the words of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeOperation {
    /// chown.
    Ownership,
    /// chmod or an ACL, of what is to be preserved.
    Permissions,
    /// chmod to close a file before its owner changes.
    ClearPermissions,
    /// utimensat.
    Times,
    /// listxattr on the source.
    ListAttributes,
    /// getxattr on the source.
    GetAttribute(OsString),
    /// setxattr on the destination.
    SetAttribute(OsString),
    /// The same, where it is not to be had.
    SetAttributes,
}

impl AttributeOperation {
    /// The failure of this operation.
    pub fn failed(self, errno: Errno) -> AttributeError {
        AttributeError { doing: self, errno }
    }

    /// Whether it is the source that could not be read.
    pub fn reads_source(&self) -> bool {
        matches!(self, AttributeOperation::ListAttributes | AttributeOperation::GetAttribute(_))
    }
}

/// Closes a file that was there before to others, before it changes hands: its old mode may be too
/// open for the new owner. False if the process may not, so that it is no use to go on.
///
/// # Errors
/// When that fails although the process is privileged.
pub fn close_to_others(
    file: Handle<'_>,
    before: &Stat,
    stat: &Stat,
    privileged: bool,
) -> Result<bool, AttributeError> {
    match set_mode(file, before.permissions() & stat.permissions() & 0o700) {
        Ok(()) => Ok(true),
        Err(errno) if privileged || errno != Errno::PERM => {
            Err(AttributeOperation::ClearPermissions.failed(errno))
        }
        Err(_) => Ok(false),
    }
}

/// Gives the file an owner and a group; not where it has them already, which some file systems would refuse.
///
/// Where the process may not, the group alone is tried, as cp does; `Ok(false)` then says that the
/// owner is not the source's, so that set-ID bits must not be kept.
///
/// # Errors
/// Only what a user would not expect: EPERM and EINVAL are ordinary for an unprivileged one.
pub fn set_owner(file: Handle<'_>, stat: &Stat, privileged: bool) -> Result<bool, AttributeError> {
    match chown(file, Some(stat.uid), Some(stat.gid)) {
        Ok(()) => Ok(true),
        Err(_) if has_owner(file, stat) => Ok(true),
        Err(errno @ (Errno::PERM | Errno::INVAL)) => {
            let _ = chown(file, None, Some(stat.gid));
            if privileged { Err(AttributeOperation::Ownership.failed(errno)) } else { Ok(false) }
        }
        Err(errno) => Err(AttributeOperation::Ownership.failed(errno)),
    }
}

/// Whether the file has that owner and group.
pub fn has_owner(file: Handle<'_>, stat: &Stat) -> bool {
    let now = match file {
        Handle::Open(fd) | Handle::Path(fd) => at::fstat(fd),
        Handle::Entry(dir, name) => at::stat(dir, name, at::Follow::No),
    };
    now.is_ok_and(|now| (now.uid, now.gid) == (stat.uid, stat.gid))
}

fn chown(file: Handle<'_>, uid: Option<u32>, gid: Option<u32>) -> sys::Result<()> {
    match file {
        Handle::Open(fd) => match io::chown(fd, uid, gid) {
            Err(Errno::BADF) => at::chown(fd, OsStr::new(""), uid, gid),
            answer => answer,
        },
        Handle::Path(fd) => at::chown(fd, OsStr::new(""), uid, gid),
        Handle::Entry(..) => Err(Errno::BADF),
    }
}

/// chmod(2) by whatever the handle allows; what was opened by O_PATH goes through /proc.
///
/// # Errors
/// The errno of the last call tried.
pub fn set_mode(file: Handle<'_>, mode: u32) -> sys::Result<()> {
    match file {
        Handle::Open(fd) => match io::chmod(fd, mode) {
            Err(Errno::BADF) => at::chmod(&file.path(), mode),
            answer => answer,
        },
        Handle::Path(_) => at::chmod(&file.path(), mode),
        Handle::Entry(..) => Err(Errno::BADF),
    }
}

/// Gives the file these permission bits and, if `drops_acl`, takes its access control list away.
///
/// # Errors
/// The errno of the call that failed.
pub fn set_plain_mode(file: Handle<'_>, mode: u32, drops_acl: bool) -> sys::Result<()> {
    if drops_acl {
        xattr::remove_acl(file, OsStr::new(xattr::ACL_ACCESS))?;
    }
    set_mode(file, mode)
}

/// Gives the file the source's permission bits and access control lists. A list that the source does not have, from
/// before or from the directory's default, goes.
///
/// # Errors
/// When an ACL of the source cannot be read, or it or the mode cannot be set.
pub fn copy_mode(source: Handle<'_>, file: Handle<'_>, kind: Kind, mode: u32) -> Result<(), AttributeError> {
    // The lists first: the mode's group bits are a list's mask (acl(5)), so the mode alone would let in
    // the group, or whoever a list that has to go names, until the lists are right.
    let lists = copy_lists(source, file, kind);
    let mode = set_mode(file, mode);
    lists.and(mode).map_err(|errno| AttributeOperation::Permissions.failed(errno))
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

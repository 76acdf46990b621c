//! Extended attributes (xattr(7)), ACLs among them.

use super::{AttributeError, AttributeOperation, Handle};
use crate::sys::{Errno, Result, at};
use rustix::fs::{self, XattrFlags};
use rustix::io::retry_on_intr;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Where Linux keeps the access ACL (acl(5)).
pub const ACL_ACCESS: &str = "system.posix_acl_access";
/// Where a program keeps what it may do (capabilities(7)).
pub const CAPABILITY: &str = "security.capability";
/// Where a directory keeps the ACL that new entries get.
pub const ACL_DEFAULT: &str = "system.posix_acl_default";

/// Which attributes are copied, and how loudly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `--preserve=xattr` or anything that includes it.
    pub all: bool,
    /// `--preserve=context`: `security.selinux` too.
    pub context: bool,
    /// Not `security.capability`: the file gets other content than the one that it was granted for.
    pub without_capability: bool,
}

/// Copies the attributes. Each that fails is told to `tell`, and the rest is still copied: that the file system
/// does not know one (`btrfs.compression` on ext4) says nothing of the others.
pub fn copy(source: Handle<'_>, file: Handle<'_>, wanted: Wanted, mut tell: impl FnMut(AttributeError)) {
    let names = match list(source) {
        Ok(names) => names,
        Err(errno) => return tell(AttributeOperation::ListAttributes.failed(errno)),
    };
    let mut unsupported = None;
    for name in names.split(|byte| *byte == 0).map(OsStr::from_bytes).filter(|name| is_copied(name, wanted)) {
        match get(source, name) {
            Ok(Some(value)) => match set(file, name, &value) {
                Ok(()) => {}
                Err(errno @ (Errno::OPNOTSUPP | Errno::NOSYS)) => unsupported = Some(errno),
                Err(errno) => tell(AttributeOperation::SetAttribute(name.into()).failed(errno)),
            },
            Ok(None) => {}
            Err(errno) => tell(AttributeOperation::GetAttribute(name.into()).failed(errno)),
        }
    }
    if let Some(errno) = unsupported {
        tell(AttributeOperation::SetAttributes.failed(errno));
    }
}

/// An access control list, or `None` where there is none. Some file systems that know nothing of lists say so by
/// EINVAL; that is an error only of a file that lists one.
pub fn get_acl(file: Handle<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let is_listed = |names: Vec<u8>| names.split(|byte| *byte == 0).any(|listed| listed == name.as_bytes());
    match get(file, name) {
        Err(Errno::INVAL) if !list(file).is_ok_and(is_listed) => Ok(None),
        answer => answer,
    }
}

/// Removes an access control list, if there is one. The file itself is asked: its directory may have had another default
/// list when the file was made than it had before, or has now.
pub fn remove_acl(file: Handle<'_>, name: &OsStr) -> Result<()> {
    if get_acl(file, name) == Ok(None) {
        return Ok(()); // to ask costs less than to remove what is not there
    }
    match remove(file, name) {
        Err(Errno::INVAL) => get_acl(file, name).and_then(|acl| acl.map_or(Ok(()), |_| Err(Errno::INVAL))),
        answer => answer.map(drop),
    }
}

/// Whether an attribute was not to be had or not to be given, by the kind of file system or for want of
/// rights. All else, such as a full or a broken disk, is a loss.
pub fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::INVAL)
}

/// ACLs belong to the mode, and the SELinux context to `context`.
pub(super) fn is_copied(name: &OsStr, wanted: Wanted) -> bool {
    match name.as_bytes() {
        b"" | b"security.evm" => false,
        b"security.selinux" => wanted.context,
        name if name == CAPABILITY.as_bytes() && wanted.without_capability => false,
        bytes if bytes.starts_with(b"system.posix_acl_") || bytes.starts_with(b"system.nfs4") => false,
        bytes if bytes.starts_with(b"trusted.SGI_") => false,
        _ => wanted.all,
    }
}

/// An attribute's value, or `None` where there is none or the file system has no such thing.
pub fn get(file: Handle<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let answer = grow(|room| match file {
        Handle::Open(fd) => match fs::fgetxattr(fd, name, &mut *room) {
            Err(Errno::BADF) => fs::getxattr(file.path(), name, room),
            answer => answer,
        },
        Handle::Path(_) => fs::getxattr(file.path(), name, room),
        Handle::Entry(..) => fs::lgetxattr(file.path(), name, room),
    });
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// All names, each followed by a NUL byte; empty where the file system has no attributes.
pub(super) fn list(file: Handle<'_>) -> Result<Vec<u8>> {
    let answer = grow(|room| match file {
        Handle::Open(fd) => match fs::flistxattr(fd, &mut *room) {
            Err(Errno::BADF) => fs::listxattr(file.path(), room),
            answer => answer,
        },
        Handle::Path(_) => fs::listxattr(file.path(), room),
        Handle::Entry(..) => fs::llistxattr(file.path(), room),
    });
    match answer {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Vec::new()),
        answer => answer.map_err(at::without_proc),
    }
}

/// Sets an attribute, made or replaced.
pub fn set(file: Handle<'_>, name: &OsStr, value: &[u8]) -> Result<()> {
    retry_on_intr(|| match file {
        Handle::Open(fd) => match fs::fsetxattr(fd, name, value, XattrFlags::empty()) {
            Err(Errno::BADF) => fs::setxattr(file.path(), name, value, XattrFlags::empty()),
            answer => answer,
        },
        Handle::Path(_) => fs::setxattr(file.path(), name, value, XattrFlags::empty()),
        Handle::Entry(..) => Err(Errno::BADF),
    })
}

/// Removes an attribute; says whether there was one.
pub fn remove(file: Handle<'_>, name: &OsStr) -> Result<bool> {
    let answer = retry_on_intr(|| match file {
        Handle::Open(fd) => match fs::fremovexattr(fd, name) {
            Err(Errno::BADF) => fs::removexattr(file.path(), name),
            answer => answer,
        },
        Handle::Path(_) => fs::removexattr(file.path(), name),
        Handle::Entry(..) => Err(Errno::BADF),
    });
    match answer {
        Ok(()) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether new entries of this directory may get an ACL from it.
pub fn has_default_acl(dir: Handle<'_>) -> bool {
    // Where that cannot be told, each of them is looked at.
    !matches!(get_acl(dir, OsStr::new(ACL_DEFAULT)), Ok(None))
}

/// Repeats a call with more room until the answer fits (ERANGE). 64 KiB is the most that the
/// kernel hands out (XATTR_SIZE_MAX, XATTR_LIST_MAX in linux/limits.h).
fn grow(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut room = vec![0; 256];
    loop {
        match call(&mut room) {
            Ok(n) => {
                room.truncate(n);
                return Ok(room);
            }
            Err(Errno::RANGE) if room.len() < 64 << 10 => room.resize(64 << 10, 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

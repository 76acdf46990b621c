//! Extended attributes (xattr(7)), including access control lists.

use super::Handle;
use crate::error::{Failure, Operation};
use crate::sys::interrupted::{Interruptions, retry_on_intr};
use crate::sys::{Errno, Kind, Result, at, raw};
use rustix::fs::{self, XattrFlags};
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

pub(crate) const ACL_ACCESS: &str = "system.posix_acl_access";
/// The attribute of file capabilities (capabilities(7)).
pub(crate) const CAPABILITY: &str = "security.capability";
/// The attribute of a directory's default ACL, which new entries inherit.
pub(crate) const ACL_DEFAULT: &str = "system.posix_acl_default";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `--preserve=xattr`: all but those that belong to the mode or the context.
    pub all: bool,
    /// `--preserve=context`: `security.selinux`.
    pub context: bool,
    /// Leaves out `security.capability`, because the copy has other content than the file it was granted to.
    pub without_capability: bool,
}

/// Copies the attributes. A failure is passed to `tell` and the others are still copied: one that the file system
/// does not support (`btrfs.compression` on ext4) says nothing about the others. Unsupported attributes are
/// reported once.
///
/// `tell` also gets whether `-a` leaves the failure out ([`is_ordinary`]). An attribute of the source that cannot be
/// read is lost, and so is one that a full or broken disk does not take.
pub(crate) fn copy(source: Handle<'_>, file: Handle<'_>, wanted: Wanted, mut tell: impl FnMut(Failure, bool)) {
    let names = match list(source) {
        Ok(names) => names,
        // Without /proc, the attributes of a symbolic link cannot be listed.
        Err(errno) => {
            let failure = Failure::attribute(Operation::ListAttributes, errno).of_source();
            return tell(failure, errno == Errno::NOSYS);
        }
    };
    let mut unsupported = None;
    for name in names.split(|byte| *byte == 0).map(OsStr::from_bytes).filter(|name| is_copied(name, wanted)) {
        match read(source, name) {
            Ok(value) => match set(file, name, &value) {
                Ok(()) => {}
                Err(errno @ (Errno::OPNOTSUPP | Errno::NOSYS)) => unsupported = Some(errno),
                Err(errno) => {
                    let failure = Failure::attribute(Operation::SetAttribute, errno).and(name);
                    tell(failure, is_ordinary(name, errno));
                }
            },
            Err(Errno::NODATA) => {} // removed since it was listed
            Err(errno) => {
                let failure = Failure::attribute(Operation::GetAttribute, errno).and(name).of_source();
                tell(failure, errno == Errno::OPNOTSUPP);
            }
        }
    }
    if let Some(errno) = unsupported {
        tell(Failure::attribute(Operation::SetAttributes, errno), errno == Errno::OPNOTSUPP);
    }
}

/// Returns whether an attribute cannot be set because the file system does not support it, or because the process lacks
/// the rights. For properties of a file system, EINVAL means the former: btrfs refuses `btrfs.compression` where
/// copy-on-write is off. For other attributes it means that a value was lost.
fn is_ordinary(name: &OsStr, errno: Errno) -> bool {
    let has_general_meaning =
        || [&b"user."[..], b"trusted.", b"security."].iter().any(|space| name.as_bytes().starts_with(space));
    match errno {
        Errno::OPNOTSUPP | Errno::NODATA | Errno::PERM | Errno::ACCESS => true,
        Errno::INVAL => !has_general_meaning(),
        _ => false,
    }
}

/// Returns an access control list, or `None` if there is none. An error counts only if listxattr names the
/// list: some file systems without support for lists give EINVAL.
pub(crate) fn get_acl(file: Handle<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let is_listed = |names: Vec<u8>| names.split(|byte| *byte == 0).any(|listed| listed == name.as_bytes());
    match get(file, name) {
        Err(_) if !list(file).map(is_listed)? => Ok(None),
        answer => answer,
    }
}

/// Removes an access control list, if there is one. The file itself is checked, because the default list of its
/// directory may have changed before or after the file was created.
pub(crate) fn remove_acl(file: Handle<'_>, name: &OsStr) -> Result<()> {
    if get_acl(file, name) == Ok(None) {
        return Ok(()); // a check is cheaper than removing a list that is not there
    }
    remove(file, name).map(drop)
}

/// Returns whether [`copy`] copies an attribute. ACLs are copied with the mode.
fn is_copied(name: &OsStr, wanted: Wanted) -> bool {
    match name.as_bytes() {
        b"" | b"security.evm" => false,
        b"security.selinux" => wanted.context,
        name if name == CAPABILITY.as_bytes() && wanted.without_capability => false,
        bytes if bytes.starts_with(b"system.posix_acl_") || bytes.starts_with(b"system.nfs4") => false,
        bytes if bytes.starts_with(b"trusted.SGI_") => false,
        _ => wanted.all,
    }
}

/// Returns an attribute's value, or `None` if the file does not have it or the file system does not support it.
pub(crate) fn get(file: Handle<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
    match read(file, name) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn read(file: Handle<'_>, name: &OsStr) -> Result<Vec<u8>> {
    let answer = grow(|room| match file {
        Handle::Open(fd) => match fs::fgetxattr(fd, name, &mut *room) {
            Err(Errno::BADF) => fs::getxattr(file.path(), name, room),
            answer => answer,
        },
        Handle::Path(..) => fs::getxattr(file.path(), name, room),
        Handle::Entry(..) => fs::lgetxattr(file.path(), name, room),
    });
    or_by_name(file, answer, |dir, entry, room| raw::attribute_at(dir, entry, name, room))
}

/// Returns all attribute names, each followed by a NUL byte, or an empty list if the file system does not
/// support attributes.
fn list(file: Handle<'_>) -> Result<Vec<u8>> {
    let answer = grow(|room| match file {
        Handle::Open(fd) => match fs::flistxattr(fd, &mut *room) {
            Err(Errno::BADF) => fs::listxattr(file.path(), room),
            answer => answer,
        },
        Handle::Path(..) => fs::listxattr(file.path(), room),
        Handle::Entry(..) => fs::llistxattr(file.path(), room),
    });
    match answer {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Vec::new()),
        answer => match or_by_name(file, answer, raw::attributes_at) {
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            answer => answer,
        },
    }
}

/// Gives `answer`, unless that failed because /proc is not mounted: then `read` reads by directory and name (from Linux
/// 6.13). The name must belong to the file before and after.
fn or_by_name(
    file: Handle<'_>,
    answer: Result<Vec<u8>>,
    read: impl Fn(BorrowedFd<'_>, &OsStr, &mut [u8]) -> Result<usize>,
) -> Result<Vec<u8>> {
    let errno = match answer {
        Err(errno) => at::without_proc(errno),
        answer => return answer,
    };
    let (dir, name, held) = match file {
        Handle::Entry(dir, name) if errno == Errno::NOSYS => (dir, name, None),
        Handle::Path(fd, Some((dir, name))) if errno == Errno::NOSYS => (dir, name, Some(at::fstat(fd)?.id())),
        _ => return Err(errno),
    };
    let has_name = || held.is_none_or(|id| at::stat(dir, name, at::Follow::No).is_ok_and(|stat| stat.id() == id));
    let is_named = has_name();
    let found = grow(|room| read(dir, name, room));
    if is_named && has_name() { found } else { Err(Errno::STALE) }
}

/// Returns whether the copy has the source's extended attributes, as far as they are `wanted`, and with `acl` its
/// access control list. Fails if an attribute cannot be read.
pub(crate) fn equal(source: Handle<'_>, copy: Handle<'_>, kind: Kind, wanted: Wanted, acl: bool) -> Result<bool> {
    let has_list = acl && kind != Kind::Symlink;
    if !(wanted.all || wanted.context) {
        let list = OsStr::new(ACL_ACCESS);
        return Ok(!has_list || get_acl(source, list)? == get_acl(copy, list)?);
    }
    let (here, there) = (list(source)?, list(copy)?);
    let names = |list| <[u8]>::split(list, |byte| *byte == 0).map(OsStr::from_bytes);
    let is_same = |name: &OsStr| -> Result<bool> { Ok(get(source, name)? == get(copy, name)?) };
    for name in names(&here).filter(|name| is_copied(name, wanted)) {
        if !is_same(name)? {
            return Ok(false);
        }
    }
    // Other attributes that only the copy has do not count, as they would stay in an overwritten file; those that
    // grant rights count.
    let grants = [(ACL_ACCESS, has_list), (CAPABILITY, wanted.all)];
    for (name, _) in grants.into_iter().filter(|(_, counts)| *counts) {
        let name = OsStr::new(name);
        if names(&here).chain(names(&there)).any(|listed| listed == name) && !is_same(name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) fn set(file: Handle<'_>, name: &OsStr, value: &[u8]) -> Result<()> {
    let flags = XattrFlags::empty();
    let open = |fd| fs::fsetxattr(fd, name, value, flags);
    let answer = retry_on_intr(|| file.call(open, |_| fs::setxattr(file.path(), name, value, flags)));
    answer.map_err(at::without_proc)
}

/// Removes an attribute; false if there was none.
pub(crate) fn remove(file: Handle<'_>, name: &OsStr) -> Result<bool> {
    let open = |fd| fs::fremovexattr(fd, name);
    match retry_on_intr(|| file.call(open, |_| fs::removexattr(file.path(), name))) {
        Ok(()) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(at::without_proc(errno)),
    }
}

/// Returns whether new entries of a directory may inherit an ACL from it. True if that cannot be read, so that
/// each entry is checked.
pub(crate) fn has_default_acl(dir: Handle<'_>) -> bool {
    !matches!(get_acl(dir, OsStr::new(ACL_DEFAULT)), Ok(None))
}

/// Repeats a call that gives ERANGE with a buffer of 64 KiB, the kernel's limit (XATTR_SIZE_MAX, XATTR_LIST_MAX in
/// linux/limits.h).
fn grow(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut room = vec![0; 256];
    let mut interruptions = Interruptions::default();
    loop {
        match call(&mut room) {
            Ok(n) => {
                room.truncate(n);
                return Ok(room);
            }
            Err(Errno::RANGE) if room.len() < 64 << 10 => room.resize(64 << 10, 0),
            Err(Errno::INTR) if interruptions.may_retry() => {}
            Err(errno) => return Err(errno),
        }
    }
}

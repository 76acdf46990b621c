//! Whether a copy has the attributes that it is to have, beside what stat(2) tells.

use super::{Handle, xattr};
use crate::sys::{Kind, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Whether all extended attributes that are wanted, and with `acl` the access control lists, are the source's. What
/// cannot be read is taken for different.
pub fn is_same(source: Handle<'_>, copy: Handle<'_>, kind: Kind, wanted: xattr::Wanted, acl: bool) -> bool {
    compare(source, copy, kind, wanted, acl).unwrap_or(false)
}

fn compare(source: Handle<'_>, copy: Handle<'_>, kind: Kind, wanted: xattr::Wanted, acl: bool) -> Result<bool> {
    let has_list = acl && kind != Kind::Symlink;
    if !(wanted.all || wanted.context) {
        let list = OsStr::new(xattr::ACL_ACCESS);
        return Ok(!has_list || xattr::get_acl(source, list)? == xattr::get_acl(copy, list)?);
    }
    let (here, there) = (xattr::list(source)?, xattr::list(copy)?);
    let names = |list| <[u8]>::split(list, |byte| *byte == 0).map(OsStr::from_bytes);
    let is_same = |name: &OsStr| -> Result<bool> { Ok(xattr::get(source, name)? == xattr::get(copy, name)?) };
    for name in names(&here).filter(|name| xattr::is_copied(name, wanted)) {
        if !is_same(name)? {
            return Ok(false);
        }
    }
    // What the copy has beside these stays, as in a file that is overwritten; but for what lets somebody in.
    let grants = [(xattr::ACL_ACCESS, has_list), (xattr::CAPABILITY, wanted.all)];
    for (name, _) in grants.into_iter().filter(|(_, counts)| *counts) {
        let name = OsStr::new(name);
        if names(&here).chain(names(&there)).any(|listed| listed == name) && !is_same(name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

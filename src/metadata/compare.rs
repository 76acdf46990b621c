//! Compares extended attributes and access control lists of a copy with those of its source, for `--resume`.

use super::{Handle, xattr};
use crate::sys::{Kind, Result};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Returns whether the copy has the source's extended attributes, as far as they are `wanted`, and with `acl` its
/// access control list. An attribute that cannot be read counts as different.
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
    // Other attributes that only the copy has do not count, as they would stay in an overwritten file; those that
    // grant rights count.
    let grants = [(xattr::ACL_ACCESS, has_list), (xattr::CAPABILITY, wanted.all)];
    for (name, _) in grants.into_iter().filter(|(_, counts)| *counts) {
        let name = OsStr::new(name);
        if names(&here).chain(names(&there)).any(|listed| listed == name) && !is_same(name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

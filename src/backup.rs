//! The names of backups, simple and numbered, and the renaming to them.

use crate::options::{Backup, BackupControl};
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Result};
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Splits a name into its directory (with the slash, or nothing) and its last component, trailing
/// slashes left out.
pub fn split(name: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = name.as_bytes();
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    let start = bytes[..end].iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    (OsStr::from_bytes(&bytes[..start]), OsStr::from_bytes(&bytes[start..end]))
}

/// The suffix that the backup of `name` in `dir` gets.
pub fn suffix(backup: &Backup, dir: BorrowedFd<'_>, name: &OsStr) -> OsString {
    if backup.control == BackupControl::Simple {
        return backup.suffix.clone();
    }
    let (parent, base) = split(name);
    let parent = if parent.is_empty() { OsStr::new(".") } else { parent };
    // Where the directory cannot be read there are no numbers either.
    let names = at::names(dir, parent).unwrap_or_default();
    let numbers = names.iter().filter_map(|other| number(base, other));
    match numbers.max_by_key(|digits| (digits.len(), *digits)) {
        None if backup.control == BackupControl::Existing => backup.suffix.clone(),
        highest => OsString::from_vec([b".~", next(highest.unwrap_or(b"0")).as_slice(), b"~"].concat()),
    }
}

/// The digits of the number in `base.~N~`, of which there may be any number: others make such names, too.
fn number<'n>(base: &OsStr, name: &'n OsStr) -> Option<&'n [u8]> {
    let digits = name.as_bytes().strip_prefix(base.as_bytes())?.strip_prefix(b".~")?.strip_suffix(b"~")?;
    let valid = digits.first().is_some_and(|first| *first != b'0') && digits.iter().all(u8::is_ascii_digit);
    valid.then_some(digits)
}

/// The number behind one that is given by its digits.
fn next(digits: &[u8]) -> Vec<u8> {
    let nines = digits.iter().rev().take_while(|digit| **digit == b'9').count();
    let mut next = digits[..digits.len() - nines].to_vec();
    match next.last_mut() {
        Some(last) => *last += 1,
        None => next.push(b'1'),
    }
    next.resize(next.len() + nines, b'0');
    next
}

/// The name with a suffix, trailing slashes left out.
pub fn with_suffix(name: &OsStr, suffix: &OsStr) -> OsString {
    let (parent, base) = split(name);
    OsString::from_vec([parent.as_bytes(), base.as_bytes(), suffix.as_bytes()].concat())
}

/// How many names are tried for what is to get a new one. Others do not take that many meanwhile, but a
/// server may say so for ever.
pub const TRIES: u32 = 1000;

/// Renames a file to its backup and gives the suffix; `None` if the file is gone.
///
/// # Errors
/// The errno of the rename.
pub fn make(backup: &Backup, dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OsString>> {
    for _ in 0..TRIES {
        let suffix = suffix(backup, dir, name);
        let new_name = with_suffix(name, &suffix);
        let numbered = is_numbered(backup, &suffix);
        let answer = if numbered {
            at::rename_to_free(dir, name, &new_name)
        } else {
            at::rename(dir, name, dir, &new_name)
        };
        match answer {
            Ok(()) => return Ok(Some(suffix)),
            Err(Errno::NOENT) => return Ok(None),
            // Somebody else took the number: the next one.
            Err(Errno::EXIST) if numbered => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}

/// Gives a file the name of its backup besides its own, so that its own is never missing, and gives the
/// suffix; `None` if the file is gone.
///
/// # Errors
/// The errno of link(2), or of removing an earlier simple backup.
pub fn make_by_link(backup: &Backup, dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OsString>> {
    // Else the backup could be made, but neither could the file be replaced then nor the backup be removed.
    let parent = Some(split(name).0).filter(|parent| !parent.is_empty()).unwrap_or(OsStr::new("."));
    match at::may_remove_from_sticky(dir, parent, name) {
        Err(Errno::NOENT) => return Ok(None),
        answer => answer?,
    }
    for _ in 0..TRIES {
        let suffix = suffix(backup, dir, name);
        let new_name = with_suffix(name, &suffix);
        match at::link(dir, name, dir, &new_name, Follow::No) {
            Ok(()) => return Ok(Some(suffix)),
            // So the kernel says, too, of a file whose links are not counted (FUSE).
            Err(Errno::NOENT) if at::stat(dir, name, Follow::No).is_ok() => return Err(Errno::OPNOTSUPP),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::EXIST) if is_numbered(backup, &suffix) => {}
            Err(Errno::EXIST) => at::unlink(dir, &new_name)?,
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}

fn is_numbered(backup: &Backup, suffix: &OsStr) -> bool {
    suffix.as_bytes().starts_with(b".~") && backup.control != BackupControl::Simple
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_last_component() {
        let check = |name: &str, parent: &str, base: &str| {
            assert_eq!(split(OsStr::new(name)), (OsStr::new(parent), OsStr::new(base)), "{name}");
        };
        check("a", "", "a");
        check("d/a", "d/", "a");
        check("d/a//", "d/", "a");
        check("/a", "/", "a");
        check("/", "", "");
    }

    #[test]
    fn numbers_are_read_strictly() {
        let number =
            |name| number(OsStr::new("a"), OsStr::new(name)).map(|digits| str::from_utf8(digits).unwrap());
        assert_eq!(number("a.~12~"), Some("12"));
        assert_eq!(number("a.~012~"), None);
        assert_eq!(number("a.~1x~"), None);
        assert_eq!(number("b.~1~"), None);
        assert_eq!(number("a.~~"), None);
    }

    #[test]
    fn numbers_have_no_end() {
        for (number, after) in [("0", "1"), ("1", "2"), ("9", "10"), ("199", "200"), ("99999", "100000")] {
            assert_eq!(next(number.as_bytes()), after.as_bytes());
        }
        assert_eq!(next(u64::MAX.to_string().as_bytes()), b"18446744073709551616");
    }
}

//! The names of backups, simple and numbered, and the renaming to them.

use crate::options::{Backup, BackupControl};
use crate::path::{beside, parent, split};
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Result};
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The longest name of a backup that cp makes, in bytes. A longer name is shortened, unless only its number
/// is incremented and gets no longer.
pub(crate) const LONGEST_NAME: usize = 254;

/// Returns the name of the next backup of `name` in `dir`, without its directory.
pub(crate) fn name(backup: &Backup, dir: BorrowedFd<'_>, name: &OsStr) -> OsString {
    let base = split(name).1;
    if backup.control == BackupControl::Simple {
        return simple(backup, base);
    }
    // A directory that cannot be read shows no numbered backups.
    let names = at::names(dir, parent(name)).unwrap_or_default();
    let numbers = names.iter().filter_map(|other| number(base, other));
    match numbers.max_by_key(|digits| (digits.len(), *digits)) {
        None if backup.control == BackupControl::Existing => simple(backup, base),
        highest => {
            let after = next(highest.unwrap_or(b"0"));
            let longer = highest.is_none_or(|digits| digits.len() < after.len());
            let name = [base.as_bytes(), b".~", &after, b"~"].concat();
            if longer { shortened(base, name) } else { OsString::from_vec(name) }
        }
    }
}

/// Returns the name of a simple backup. cp shortens it only if it has searched for numbered backups, and so knows
/// the longest name that the directory allows.
pub(crate) fn simple(backup: &Backup, base: &OsStr) -> OsString {
    let name = [base.as_bytes(), backup.suffix.as_bytes()].concat();
    if backup.control == BackupControl::Simple { OsString::from_vec(name) } else { shortened(base, name) }
}

/// Shortens a name that is too long as cp does: as much of the file's name as fits, and `~`.
fn shortened(base: &OsStr, name: Vec<u8>) -> OsString {
    if name.len() <= LONGEST_NAME {
        return OsString::from_vec(name);
    }
    let kept = base.len().min(LONGEST_NAME - 1);
    OsString::from_vec([&base.as_bytes()[..kept], b"~"].concat())
}

/// Returns the digits of N in `base.~N~`. Other programs make such names, too, so N may have any length.
fn number<'n>(base: &OsStr, name: &'n OsStr) -> Option<&'n [u8]> {
    let digits = name.as_bytes().strip_prefix(base.as_bytes())?.strip_prefix(b".~")?.strip_suffix(b"~")?;
    let valid = digits.first().is_some_and(|first| *first != b'0') && digits.iter().all(u8::is_ascii_digit);
    valid.then_some(digits)
}

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

/// The number of names to try for a new file. Other processes do not take that many meanwhile, but a broken
/// server may report EEXIST for ever.
pub(crate) const TRIES: u32 = 1000;

/// Renames a file to its backup and returns the backup's name, without its directory; `None` if the file is
/// gone.
pub(crate) fn make(backup: &Backup, dir: BorrowedFd<'_>, file: &OsStr) -> Result<Option<OsString>> {
    repeat(backup, dir, file, |new_name, numbered| match numbered {
        true => at::rename_to_free(dir, file, new_name),
        false => at::rename(dir, file, dir, new_name),
    })
}

/// Links a file to the name of its backup, so that its own name is never missing. Returns the backup's name;
/// `None` if the file is gone.
pub(crate) fn make_by_link(backup: &Backup, dir: BorrowedFd<'_>, file: &OsStr) -> Result<Option<OsString>> {
    // In a sticky directory, the link may be allowed although the file can then not be replaced, nor the
    // backup removed.
    match at::may_remove_from_sticky(dir, parent(file), file) {
        Err(Errno::NOENT) => return Ok(None),
        answer => answer?,
    }
    repeat(backup, dir, file, |new_name, numbered| match at::link(dir, file, dir, new_name, Follow::No) {
        Err(Errno::EXIST) if !numbered => {
            at::unlink(dir, new_name)?;
            at::link(dir, file, dir, new_name, Follow::No)
        }
        // FUSE reports ENOENT for a file whose links are not counted.
        Err(Errno::NOENT) if at::stat(dir, file, Follow::No).is_ok() => Err(Errno::OPNOTSUPP),
        answer => answer,
    })
}

/// Gives a file its own name back. With `by_link`, it never lost that name, and only the backup's name is
/// removed.
pub(crate) fn undo(dir: BorrowedFd<'_>, file: &OsStr, backup: &OsStr, by_link: bool) -> Result<()> {
    let backup = beside(file, backup);
    if by_link { at::unlink(dir, &backup) } else { at::rename(dir, &backup, dir, file) }
}

/// Tries names until one is free. Other processes may take names meanwhile.
fn repeat(
    backup: &Backup,
    dir: BorrowedFd<'_>,
    file: &OsStr,
    take: impl Fn(&OsStr, bool) -> Result<()>,
) -> Result<Option<OsString>> {
    let mut last = None;
    for _ in 0..TRIES {
        let base = name(backup, dir, file);
        let numbered = backup.control == BackupControl::Numbered || base != simple(backup, split(file).1);
        match take(&beside(file, &base), numbered) {
            Ok(()) => return Ok(Some(base)),
            Err(Errno::NOENT) => return Ok(None),
            // Another process took the number: try the next one.
            Err(Errno::EXIST) if numbered && last.as_ref() != Some(&base) => last = Some(base),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! The names of backups, simple and numbered, and the renaming to them.

use crate::options::{Backup, BackupControl};
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Result};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Splits a name into its directory (with the slash, or nothing) and its last component, trailing
/// slashes left out.
pub fn split(name: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = name.as_bytes();
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
    let start = bytes[..end].iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    (OsStr::from_bytes(&bytes[..start]), OsStr::from_bytes(&bytes[start..end]))
}

/// The longest name of a backup that cp makes: longer ones are shortened, except where a number is
/// counted up without getting longer.
const LONGEST_NAME: usize = 254;
/// The longest path that the kernel takes (PATH_MAX without its zero byte).
const LONGEST_PATH: usize = 4095;

/// The name that the backup of `name` in `dir` gets, in the directory of `name`.
pub fn name(backup: &Backup, dir: BorrowedFd<'_>, name: &OsStr) -> OsString {
    let (parent, base) = split(name);
    if backup.control == BackupControl::Simple {
        return simple(backup, base);
    }
    let parent = if parent.is_empty() { OsStr::new(".") } else { parent };
    // Where the directory cannot be read there are no numbers either.
    let names = at::names(dir, parent).unwrap_or_default();
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

/// The name of a backup without a number.
pub fn simple(backup: &Backup, base: &OsStr) -> OsString {
    shortened(base, [base.as_bytes(), backup.suffix.as_bytes()].concat())
}

/// As cp shortens the name of a backup that is too long: `~` behind as much of the file's name as fits.
fn shortened(base: &OsStr, name: Vec<u8>) -> OsString {
    if name.len() <= LONGEST_NAME {
        return OsString::from_vec(name);
    }
    let kept = base.len().min(LONGEST_NAME - 1);
    OsString::from_vec([&base.as_bytes()[..kept], b"~"].concat())
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

/// The path of `base` in the directory of `name`.
pub fn beside(name: &OsStr, base: &OsStr) -> OsString {
    OsString::from_vec([split(name).0.as_bytes(), base.as_bytes()].concat())
}

/// How many names are tried for what is to get a new one. Others do not take that many meanwhile, but a
/// server may say so for ever.
pub const TRIES: u32 = 1000;

/// Renames a file to its backup and gives the backup's name in the same directory; `None` if the file is
/// gone.
///
/// # Errors
/// The errno of the rename.
pub fn make(backup: &Backup, dir: BorrowedFd<'_>, file: &OsStr) -> Result<Option<OsString>> {
    in_its_directory(dir, file, |dir, file| {
        repeat(backup, dir, file, |new_name, numbered| match numbered {
            true => at::rename_to_free(dir, file, new_name),
            false => at::rename(dir, file, dir, new_name),
        })
    })
}

/// Gives a file the name of its backup besides its own, so that its own is never missing, and gives that
/// name; `None` if the file is gone.
///
/// # Errors
/// The errno of link(2), or of removing an earlier simple backup.
pub fn make_by_link(backup: &Backup, dir: BorrowedFd<'_>, file: &OsStr) -> Result<Option<OsString>> {
    // Else the backup could be made, but neither could the file be replaced then nor the backup be removed.
    let parent = Some(split(file).0).filter(|parent| !parent.is_empty()).unwrap_or(OsStr::new("."));
    match at::may_remove_from_sticky(dir, parent, file) {
        Err(Errno::NOENT) => return Ok(None),
        answer => answer?,
    }
    in_its_directory(dir, file, |dir, file| {
        repeat(backup, dir, file, |new_name, numbered| match at::link(dir, file, dir, new_name, Follow::No) {
            Err(Errno::EXIST) if !numbered => {
                at::unlink(dir, new_name)?;
                at::link(dir, file, dir, new_name, Follow::No)
            }
            // So the kernel says, too, of a file whose links are not counted (FUSE).
            Err(Errno::NOENT) if at::stat(dir, file, Follow::No).is_ok() => Err(Errno::OPNOTSUPP),
            answer => answer,
        })
    })
}

/// Undoes a backup: the file gets its own name again. `by_link` says that it never lost it.
///
/// # Errors
/// The errno of the rename, or of removing the backup's name.
pub fn undo(dir: BorrowedFd<'_>, file: &OsStr, backup: &OsStr, by_link: bool) -> Result<()> {
    in_its_directory(dir, file, |dir, file| {
        let backup = beside(file, backup);
        if by_link { at::unlink(dir, &backup) } else { at::rename(dir, &backup, dir, file) }
    })
}

/// Opens the directory of a file if the path of its backup might be too long for the kernel.
fn in_its_directory<T>(
    dir: BorrowedFd<'_>,
    file: &OsStr,
    run: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T>,
) -> Result<T> {
    let (parent, base) = split(file);
    if parent.is_empty() || parent.len() + LONGEST_NAME < LONGEST_PATH {
        return run(dir, file);
    }
    run(at::open_dir(dir, parent, Follow::Yes)?.as_fd(), base)
}

/// Tries names until there is one that nobody else takes meanwhile.
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
            // Somebody else took the number: the next one.
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
    fn names_that_are_too_long_are_shortened_as_by_cp() {
        let backup = Backup { control: BackupControl::Simple, suffix: ".bak".into() };
        for (length, backup_length, end) in
            [(250, 254, ".bak"), (251, 252, "n~"), (253, 254, "n~"), (255, 254, "n~")]
        {
            let name = simple(&backup, OsStr::new(&"n".repeat(length)));
            assert_eq!(name.len(), backup_length, "{length}");
            assert!(name.to_string_lossy().ends_with(end), "{name:?}");
        }
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

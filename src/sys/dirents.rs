//! The entries of an open directory (getdents64(2)).

use super::interrupted::Interruptions;
use super::{Errno, Kind, Result, at};
use rustix::fs::RawDir;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

/// Bytes per call, enough for about a thousand names; glibc's readdir uses the same size.
const ROOM: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dirent<'n> {
    /// Never `.` or `..`.
    pub name: &'n OsStr,
    /// The inode number, on the file system of the directory.
    pub ino: u64,
    /// The type of the file; `None` if the file system does not report it (DT_UNKNOWN).
    pub kind: Option<Kind>,
}

/// Entries of one directory. All names share one allocation, because a directory may have very many.
#[derive(Debug, Default)]
pub(crate) struct Names {
    text: Vec<u8>,
    entries: Vec<Slot>,
}

/// An entry whose name is `text[start..start + length]`.
#[derive(Clone, Copy, Debug)]
struct Slot {
    ino: u64,
    start: usize,
    length: u16,
    kind: Option<Kind>,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, at: usize) -> Option<Dirent<'_>> {
        let slot = self.entries.get(at)?;
        let name = self.text.get(slot.start..)?.get(..slot.length.into())?;
        Some(Dirent { name: OsStr::from_bytes(name), ino: slot.ino, kind: slot.kind })
    }

    /// Returns whether no entry can be a directory, even if it is a symbolic link.
    pub(crate) fn are_files(&self) -> bool {
        let is_file = |kind| !matches!(kind, None | Some(Kind::Directory | Kind::Symlink));
        self.entries.iter().all(|entry| is_file(entry.kind))
    }

    /// Adds an entry. A name longer than 64 KiB would be truncated; no file system has one.
    pub(crate) fn push(&mut self, entry: Dirent<'_>) {
        let length = u16::try_from(entry.name.len()).unwrap_or(u16::MAX);
        let start = self.text.len();
        if self.entries.is_empty() {
            // A vector that grows from nothing moves its content many times.
            self.text.reserve(512);
            self.entries.reserve(32);
        }
        self.text.extend_from_slice(&entry.name.as_bytes()[..length.into()]);
        self.entries.push(Slot { ino: entry.ino, start, length, kind: entry.kind });
    }

    pub(crate) fn append(&mut self, others: &Names) {
        (0..others.len()).filter_map(|at| others.get(at)).for_each(|entry| self.push(entry));
    }

    /// Sorts the entries by inode number; the sort is stable.
    pub(crate) fn sort(&mut self) {
        self.entries.sort_by_key(|entry| entry.ino);
    }

    /// Moves entries that were far from each other next to each other: takes one from each of `parts` equal parts
    /// in turn, in their order.
    pub(crate) fn spread(&mut self, parts: usize) {
        let part = self.entries.len().div_ceil(parts).max(1);
        let taken = (0..part).flat_map(|at| self.entries.iter().skip(at).step_by(part).copied());
        self.entries = taken.collect();
    }
}

#[derive(Debug, Default)]
pub(crate) struct EntryBuffer(Vec<MaybeUninit<u8>>);

impl EntryBuffer {
    /// Adds the next entries of `dir` to `names`; false at the end. Reading continues at the position of the open
    /// directory, which duplicates of the descriptor share. EACCES for a directory that may not be read.
    pub(crate) fn read(&mut self, dir: BorrowedFd<'_>, names: &mut Names) -> Result<bool> {
        self.0.resize(ROOM, MaybeUninit::uninit());
        let mut entries = RawDir::new(dir, &mut self.0);
        let mut interruptions = Interruptions::default();
        loop {
            match entries.next() {
                None => return Ok(false),
                Some(Err(Errno::INTR)) if interruptions.may_retry() => continue,
                Some(Err(Errno::BADF)) if at::is_by_path(dir) => return Err(Errno::ACCESS),
                Some(Err(errno)) => return Err(errno),
                Some(Ok(entry)) => {
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    if name != "." && name != ".." {
                        let kind = Some(entry.file_type()).filter(|kind| *kind != Kind::Unknown);
                        names.push(Dirent { name, ino: entry.ino(), kind });
                    }
                }
            }
            if entries.is_buffer_empty() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_what_was_pushed_and_sort_by_inode() {
        let long = "x".repeat(255);
        let mut names = Names::default();
        for (ino, name) in [(7, "b"), (3, long.as_str()), (7, "a")] {
            names.push(Dirent { name: OsStr::new(name), ino, kind: Some(Kind::RegularFile) });
        }
        let mut all = Names::default();
        all.append(&names);
        all.sort();
        let found: Vec<_> = (0..all.len()).filter_map(|at| all.get(at)).map(|entry| entry.name).collect();
        assert_eq!(found, [long.as_str(), "b", "a"]);
        assert_eq!(all.get(3), None);
    }

    #[test]
    fn entries_that_are_spread_come_from_all_parts_in_turn() {
        let spread = |count: u64, parts| {
            let mut names = Names::default();
            (0..count).for_each(|ino| names.push(Dirent { name: OsStr::new("x"), ino, kind: None }));
            names.spread(parts);
            (0..names.len()).filter_map(|at| names.get(at)).map(|entry| entry.ino).collect::<Vec<_>>()
        };
        assert_eq!(spread(10, 4), [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]);
        assert_eq!(spread(2, 4), [0, 1]);
        assert!(spread(0, 4).is_empty());
    }
}

//! The entries of an open directory, as getdents64(2) gives them: one call, one batch.

use super::{Errno, Kind, Result, at};
use rustix::fs::{FileType, RawDir};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

/// Bytes asked for at once: about a thousand names, which is what glibc's readdir takes too.
const ROOM: usize = 32 << 10;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirent {
    /// Its name, neither `.` nor `..`.
    pub name: OsString,
    /// The inode number, on the file system of the directory.
    pub ino: u64,
    /// What the directory says it is; it may not know.
    pub kind: Option<Kind>,
}

/// The memory that entries are read into, to be used again.
#[derive(Debug, Default)]
pub struct Room(Vec<MaybeUninit<u8>>);

impl Room {
    /// The next entries of `dir`, `None` when there are no more. They are read from where the last
    /// call on this open directory, or a duplicate of it, has stopped.
    ///
    /// # Errors
    /// That of getdents64(2); EACCES for a directory that may not be read.
    pub fn next_batch(&mut self, dir: BorrowedFd<'_>) -> Result<Option<Vec<Dirent>>> {
        self.0.resize(ROOM, MaybeUninit::uninit());
        let mut entries = RawDir::new(dir, &mut self.0);
        let mut batch = Vec::new();
        loop {
            match entries.next() {
                None => return Ok(None),
                Some(Err(Errno::INTR)) => continue,
                Some(Err(errno)) => return Err(at::refusal(dir, errno)),
                Some(Ok(entry)) => {
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    if name != "." && name != ".." {
                        batch.push(Dirent {
                            name: name.to_owned(),
                            ino: entry.ino(),
                            kind: kind(entry.file_type()),
                        });
                    }
                }
            }
            if entries.is_buffer_empty() {
                return Ok(Some(batch));
            }
        }
    }
}

fn kind(file_type: FileType) -> Option<Kind> {
    match file_type {
        FileType::RegularFile => Some(Kind::Regular),
        FileType::Directory => Some(Kind::Directory),
        FileType::Symlink => Some(Kind::Symlink),
        FileType::Fifo => Some(Kind::Fifo),
        FileType::Socket => Some(Kind::Socket),
        FileType::CharacterDevice => Some(Kind::CharDevice),
        FileType::BlockDevice => Some(Kind::BlockDevice),
        _ => None,
    }
}

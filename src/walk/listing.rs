//! The entries of one open directory. The only file that names walkdir.
//!
//! walkdir gives names and types, nothing more: it is pointed at the open descriptor, and whoever
//! uses a name opens it relative to that descriptor again. So a listing that is raced can miss
//! names, but never lead elsewhere, and a path may be longer than PATH_MAX.

use crate::sys::{Errno, Kind};
use std::ffi::{OsStr, OsString};
use std::fs::FileType;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use walkdir::{DirEntryExt, IntoIter, WalkDir};

/// A name and what kind of file it is.
pub(super) type Found = (OsString, Option<Kind>);

/// Hands out the entries of a directory one by one.
#[derive(Debug)]
pub(super) enum Listing {
    /// As the directory gives them, read while they are used.
    Stream(Box<IntoIter>),
    /// Ordered by inode number, as cp has them, and as a disk likes them.
    Sorted(std::vec::IntoIter<Found>),
}

impl Listing {
    /// Lists an open directory. `path` is where it was when it was opened: only for a system on
    /// which /proc is not mounted.
    pub(super) fn open(dir: BorrowedFd<'_>, path: &OsStr) -> Listing {
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        let root = if by_descriptor.symlink_metadata().is_ok() { by_descriptor } else { PathBuf::from(path) };
        Listing::Stream(Box::new(WalkDir::new(root).min_depth(1).max_depth(1).into_iter()))
    }

    /// Reads all of it and orders it.
    ///
    /// # Errors
    /// What reading the directory met; nothing of it is listed then.
    pub(super) fn sorted(self) -> Result<Listing, Errno> {
        let Listing::Stream(stream) = self else { return Ok(self) };
        let mut found = Vec::new();
        for entry in *stream {
            let entry = entry.map_err(|error| errno(&error))?;
            found.push((entry.ino(), (entry.file_name().to_owned(), kind(entry.file_type()))));
        }
        found.sort_by_key(|(ino, _)| *ino);
        Ok(Listing::Sorted(found.into_iter().map(|(_, found)| found).collect::<Vec<_>>().into_iter()))
    }
}

impl Iterator for Listing {
    type Item = Result<Found, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Listing::Sorted(found) => found.next().map(Ok),
            Listing::Stream(stream) => stream.next().map(|entry| match entry {
                Ok(entry) => Ok((entry.file_name().to_owned(), kind(entry.file_type()))),
                Err(error) => Err(errno(&error)),
            }),
        }
    }
}

/// The sizes of all files below a path but directories; `None` for what is a stream or a device.
pub(super) fn sizes(
    root: &OsStr,
    depth: usize,
    follow_root: bool,
    follow: bool,
    one_file_system: bool,
) -> impl Iterator<Item = Option<u64>> {
    let walk = WalkDir::new(root)
        .max_depth(depth)
        .follow_root_links(follow_root)
        .follow_links(follow)
        .same_file_system(one_file_system);
    let files = walk.into_iter().filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir());
    files.map(|entry| match entry.file_type() {
        kind if kind.is_file() => Some(entry.metadata().map_or(0, |metadata| metadata.len())),
        kind if kind.is_symlink() => Some(0),
        _ => None,
    })
}

fn errno(error: &walkdir::Error) -> Errno {
    error.io_error().and_then(Errno::from_io_error).unwrap_or(Errno::IO)
}

fn kind(file_type: FileType) -> Option<Kind> {
    let tests: [(bool, Kind); 7] = [
        (file_type.is_file(), Kind::Regular),
        (file_type.is_dir(), Kind::Directory),
        (file_type.is_symlink(), Kind::Symlink),
        (file_type.is_fifo(), Kind::Fifo),
        (file_type.is_socket(), Kind::Socket),
        (file_type.is_char_device(), Kind::CharDevice),
        (file_type.is_block_device(), Kind::BlockDevice),
    ];
    tests.into_iter().find_map(|(is, kind)| is.then_some(kind))
}

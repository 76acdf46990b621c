//! The entries of one open directory, for the walk.
//!
//! They are read from the open descriptor itself: no path is looked up, so a listing cannot be led
//! elsewhere, and a directory may be deeper than PATH_MAX. (A WalkDir a directory, pointed at
//! /proc/self/fd/N, made nine system calls more: it looks its root up three times, and opens each
//! subdirectory even where it is told not to go down.)

use crate::sys::dirents::{Dirent, Room};
use crate::sys::{Result, io};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Hands out the entries of a directory one by one.
#[derive(Debug)]
pub(super) struct Listing {
    batch: std::vec::IntoIter<Dirent>,
    /// The directory, if there may be more than the batch.
    rest: Option<(OwnedFd, Room)>,
}

impl Listing {
    /// Begins to list a directory that has just been opened. `room` is only borrowed.
    ///
    /// # Errors
    /// What reading the directory met.
    pub(super) fn open(dir: BorrowedFd<'_>, room: &mut Room) -> Result<Listing> {
        let mut batch = room.next_batch(dir)?.unwrap_or_default();
        // Most directories are read by one call, and need no descriptor of their own.
        let rest = match room.next_batch(dir)? {
            None => None,
            Some(more) => {
                batch.extend(more);
                Some((io::duplicate(dir)?, Room::default()))
            }
        };
        // In the order in which most file systems lay files out: cold, from a disk, 0.85 of the time.
        batch.sort_unstable_by_key(|entry| entry.ino);
        Ok(Listing { batch: batch.into_iter(), rest })
    }

    /// All of it, ordered by inode number, as cp has it.
    ///
    /// # Errors
    /// What reading the directory met; nothing of it is listed then.
    pub(super) fn sorted(self) -> Result<Listing> {
        let mut all = self.collect::<Result<Vec<Dirent>>>()?;
        all.sort_by_key(|entry| entry.ino);
        Ok(Listing { batch: all.into_iter(), rest: None })
    }
}

impl Iterator for Listing {
    type Item = Result<Dirent>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.batch.next() {
                return Some(Ok(entry));
            }
            let (dir, room) = self.rest.as_mut()?;
            match room.next_batch(dir.as_fd()) {
                Ok(Some(batch)) => self.batch = batch.into_iter(),
                Ok(None) => self.rest = None,
                Err(errno) => {
                    self.rest = None;
                    return Some(Err(errno));
                }
            }
        }
    }
}

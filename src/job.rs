//! What the walk hands to the workers: parcels of sibling names.
//!
//! A parcel is a whole directory of files, up to a limit. It is shared: a worker that has nothing
//! else to do takes names out of a parcel that another one is working on, one at a time. So parcels
//! can be large, which keeps the walk's lock quiet, and nobody idles while there are files left.

use crate::dir::{Dir, Fds};
use crate::sys::Kind;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A name to copy, inside a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In the source directory.
    pub name: OsString,
    /// In the destination directory, if it is another.
    pub new_name: Option<OsString>,
    /// What the listing says it is; the worker looks for itself.
    pub hint: Option<Kind>,
    /// Whether it was named on the command line.
    pub operand: bool,
}

impl Entry {
    /// The name it gets.
    pub fn destination(&self) -> &OsStr {
        self.new_name.as_ref().unwrap_or(&self.name)
    }
}

/// Names of one directory, to be copied by whoever takes them.
#[derive(Debug)]
pub struct Parcel {
    /// The directory that they are in.
    pub dir: Arc<Dir>,
    /// Its open descriptors: a parcel in flight keeps them.
    pub fds: Arc<Fds>,
    entries: Vec<Entry>,
    next: AtomicUsize,
    unfinished: AtomicUsize,
}

impl Parcel {
    /// A parcel of at least one entry. The directory will not be finished before it is.
    pub fn new(dir: Arc<Dir>, fds: Arc<Fds>, entries: Vec<Entry>) -> Parcel {
        dir.enter();
        let unfinished = AtomicUsize::new(entries.len());
        Parcel { dir, fds, entries, next: AtomicUsize::new(0), unfinished }
    }

    /// All names, taken or not.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The next name that nobody has taken yet.
    pub fn take(&self) -> Option<&Entry> {
        if self.is_taken() {
            return None;
        }
        self.entries.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether all names have been taken.
    pub fn is_taken(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.entries.len()
    }

    /// Says that one name is done; true for the last of them.
    pub fn done(&self) -> bool {
        self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

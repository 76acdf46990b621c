//! What the walk hands to the workers: batches of names in one directory.
//!
//! A batch is shared: a worker that has nothing else to do takes names out of the batch that another one
//! is working on, one at a time. So batches can be large, and nobody idles while there are files left.

use crate::dir::{Fds, Hold};
use crate::sys::Kind;
use crate::sys::dirents::{Dirent, Names};
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
    /// An entry that was found in a directory.
    pub fn listed(found: Dirent<'_>) -> Entry {
        Entry { name: found.name.to_owned(), new_name: None, hint: found.kind, operand: false }
    }

    /// The name it gets.
    pub fn destination(&self) -> &OsStr {
        self.new_name.as_ref().unwrap_or(&self.name)
    }
}

/// Entries in memory.
#[derive(Debug)]
pub enum Entries {
    /// Each by itself.
    Given(Vec<Entry>),
    /// As a directory listed them.
    Listed(Names),
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Entries::Given(entries) => entries.len(),
            Entries::Listed(names) => names.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry at a position.
    pub fn get(&self, at: usize) -> Option<Entry> {
        match self {
            Entries::Given(entries) => entries.get(at).cloned(),
            Entries::Listed(names) => names.get(at).map(Entry::listed),
        }
    }
}

/// Names of one directory, to be copied by whoever takes them. The directory is not finished before the
/// last worker that knows the batch drops it.
#[derive(Debug)]
pub struct Batch {
    /// The directory that they are in.
    pub dir: Hold,
    /// Its open descriptors, which a batch at work keeps.
    pub fds: Arc<Fds>,
    entries: Entries,
    next: AtomicUsize,
}

impl Batch {
    /// A batch with all names still to be taken.
    pub fn new(dir: Hold, fds: Arc<Fds>, entries: Entries) -> Batch {
        Batch { dir, fds, entries, next: AtomicUsize::new(0) }
    }

    /// All names, taken or not.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// The next name that nobody has taken yet.
    pub fn take(&self) -> Option<Entry> {
        if self.is_taken() {
            return None;
        }
        self.entries.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether all names have been taken.
    pub fn is_taken(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.entries.len()
    }
}

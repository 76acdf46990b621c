//! Batches: names in one directory, which the walk gives to the workers.
//!
//! A batch is shared: a worker without other work takes names out of another worker's batch, one at a time.
//! So batches can be large, and no worker is idle while there are names left.

use crate::context::TableFds;
use crate::dir::Hold;
use crate::sys::Kind;
use crate::sys::dirents::{Dirent, Names};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: OsString,
    /// The name in the destination directory, if it differs.
    pub new_name: Option<OsString>,
    /// The kind by the directory listing; the worker checks it.
    pub hint: Option<Kind>,
    pub operand: bool,
}

impl Entry {
    pub(crate) fn listed(found: Dirent<'_>) -> Entry {
        Entry { name: found.name.to_owned(), new_name: None, hint: found.kind, operand: false }
    }

    /// Becomes an entry that was found in a directory, and keeps its memory.
    fn set_listed(&mut self, found: Dirent<'_>) {
        self.name.clear();
        self.name.push(found.name);
        (self.new_name, self.hint, self.operand) = (None, found.kind, false);
    }

    pub(crate) fn destination(&self) -> &OsStr {
        self.new_name.as_ref().unwrap_or(&self.name)
    }
}

#[derive(Debug)]
pub(crate) enum Entries {
    Given(Vec<Entry>),
    Listed(Names),
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        match self {
            Entries::Given(entries) => entries.len(),
            Entries::Listed(names) => names.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, at: usize) -> Option<Entry> {
        match self {
            Entries::Given(entries) => entries.get(at).cloned(),
            Entries::Listed(names) => names.get(at).map(Entry::listed),
        }
    }

    /// Writes the entry at a position into `entry`, which keeps its memory; false if there is none.
    fn read(&self, at: usize, entry: &mut Entry) -> bool {
        match self {
            Entries::Given(entries) => entries.get(at).map(|given| entry.clone_from(given)).is_some(),
            Entries::Listed(names) => names.get(at).map(|found| entry.set_listed(found)).is_some(),
        }
    }
}

/// Names of one directory, copied by any worker that takes one. All clones share the names. The directory is not
/// finished before the last worker drops its clone.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub dir: Hold,
    /// The open descriptors of the directory, in the table of the worker that uses this clone.
    pub fds: Arc<TableFds>,
    names: Arc<BatchNames>,
}

#[derive(Debug)]
struct BatchNames {
    entries: Entries,
    next: AtomicUsize,
}

impl Batch {
    pub(crate) fn new(dir: Hold, fds: Arc<TableFds>, entries: Entries) -> Batch {
        Batch { dir, fds, names: Arc::new(BatchNames { entries, next: AtomicUsize::new(0) }) }
    }

    pub(crate) fn entries(&self) -> &Entries {
        &self.names.entries
    }

    /// Writes the next name that no worker has taken into `entry`, which keeps its memory; false if there is none.
    pub(crate) fn take(&self, entry: &mut Entry) -> bool {
        !self.is_taken() && self.names.entries.read(self.names.next.fetch_add(1, Ordering::Relaxed), entry)
    }

    /// Returns the number of names that no worker has taken.
    pub(crate) fn left(&self) -> usize {
        self.names.entries.len().saturating_sub(self.names.next.load(Ordering::Relaxed))
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.left() == 0
    }

    /// Returns whether the other batch is a clone of this one.
    pub(crate) fn is(&self, other: &Batch) -> bool {
        Arc::ptr_eq(&self.names, &other.names)
    }

    /// Returns the number of clones.
    pub(crate) fn clones(&self) -> usize {
        Arc::strong_count(&self.names)
    }
}

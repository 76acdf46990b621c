//! What was met before: files that were named, directories that were copied or made.
//!
//! Without it a directory would be copied into itself for ever, or twice to one place. Operands may be
//! entered at the same time, yet each finds what it would have found had they been copied one after the
//! other: it waits until those before it are noted, and does not see those behind it.

use super::{Operand, Walker};
use crate::batch::Entry;
use crate::dir::{DestinationName, Dir, Fds};
use crate::existing::{self, Location};
use crate::options::Dereference;
use crate::report::{Failure, lock};
use crate::sys::at;
use crate::sys::stat::FileId;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Where a directory went, or was made.
#[derive(Clone, Debug)]
struct Earlier {
    /// The position of the operand that it belongs to.
    position: usize,
    location: Location,
    /// As cp compares it with the names of sources; none where that cannot be told.
    named: Option<Location>,
    /// For printing.
    path: OsString,
}

/// An operand that is no directory: where its name stands, what file that is, and where it is copied to.
pub(super) type Named = (Location, FileId, DestinationName);

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Registry {
    known: Mutex<KnownDirectories>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct KnownDirectories {
    files: HashSet<Named>,
    directories: HashMap<FileId, Earlier>,
    /// Directories that a dry run did not make, by the paths that they would have.
    pretended: HashSet<OsString>,
    /// Operands that are not noted yet, by position.
    unnoted: BTreeSet<usize>,
    /// Operands whose destination is not made yet, so that they may still be forgotten.
    unmade: BTreeSet<usize>,
}

impl Registry {
    /// Notes an operand that is no directory; false if it was named before.
    pub(super) fn name_file(&self, named: Named) -> bool {
        lock(&self.known).files.insert(named)
    }

    /// Notes a directory that was not made; false if it was noted before.
    pub(super) fn note_dry_run(&self, path: OsString) -> bool {
        lock(&self.known).pretended.insert(path)
    }

    /// Announces an operand that is a directory. All those before it were announced.
    pub(super) fn expect(&self, position: usize) {
        let mut known = lock(&self.known);
        known.unnoted.insert(position);
        known.unmade.insert(position);
    }

    /// The operand is in the registry, or will not be.
    fn is_noted(&self, position: usize) {
        if lock(&self.known).unnoted.remove(&position) {
            self.changed.notify_all();
        }
    }

    /// The operand stays in the registry as it is.
    pub(super) fn is_settled(&self, position: usize) {
        let mut known = lock(&self.known);
        known.unnoted.remove(&position);
        if known.unmade.remove(&position) {
            self.changed.notify_all();
        }
    }

    /// What is known of a directory that was met by way of an operand. `itself` says that it is that operand.
    fn find(&self, id: FileId, position: usize, itself: bool) -> Option<Earlier> {
        let mut known = lock(&self.known);
        let wait = |known| self.changed.wait(known).unwrap_or_else(PoisonError::into_inner);
        while known.unnoted.first().is_some_and(|first| *first < position) {
            known = wait(known);
        }
        loop {
            let earlier = known.directories.get(&id)?;
            if earlier.position > position || (itself && earlier.position == position) {
                return None;
            }
            if earlier.position == position || !known.unmade.contains(&earlier.position) {
                return Some(earlier.clone());
            }
            known = wait(known);
        }
    }

    fn insert(&self, id: FileId, earlier: Earlier) {
        if let Slot::Vacant(slot) = lock(&self.known).directories.entry(id) {
            slot.insert(earlier);
        }
    }

    /// Forgets an operand whose destination could not be made.
    pub(super) fn forget(&self, id: FileId, position: usize) {
        let mut known = lock(&self.known);
        if known.directories.get(&id).is_some_and(|earlier| earlier.position == position) {
            known.directories.remove(&id);
        }
    }
}

impl Walker<'_, '_> {
    /// Remembers where a directory goes, or where one was made, unless it has been met.
    pub(super) fn note(&self, parent: &Arc<Dir>, entry: &Entry, fds: &Fds, id: FileId, position: usize) {
        if let Ok(location) = existing::location(&fds.dst, entry.destination()) {
            let named = existing::location_as_named(&fds.dst, entry.destination()).ok();
            let path = parent.destination_path(entry.destination());
            self.walk.registry.insert(id, Earlier { position, location, named, path });
        }
    }

    /// Whether the directory was met before in a way that leaves nothing to do.
    pub(super) fn was_met(
        &self,
        parent: &Arc<Dir>,
        entry: &Entry,
        fds: &Fds,
        id: FileId,
        operand: &Operand,
    ) -> Result<bool, Failure> {
        let Some(earlier) = self.walk.registry.find(id, operand.position, entry.operand) else {
            if entry.operand {
                self.note(parent, entry, fds, id, operand.position);
                self.walk.registry.is_noted(operand.position);
            }
            return Ok(false);
        };
        let is_the_copy = match self.follows_again(entry) {
            true => existing::location(&fds.src, &entry.name).as_ref() == Ok(&earlier.location),
            false => is_named_the_same(parent, entry, &earlier),
        };
        if is_the_copy {
            // It was made by this very copy, so whatever else is below would be met again too.
            operand.abandon();
            return Err(operand.meets_itself());
        }
        if existing::location(&fds.dst, entry.destination()).as_ref() == Ok(&earlier.location) {
            let words = "warning: source directory {} specified more than once";
            self.ctx.reporter.warn(Failure::new(words, &operand.source));
            return Ok(true);
        }
        if self.follows_again(entry) {
            return Ok(false);
        }
        let words = "will not create hard link {} to directory {}";
        Err(Failure::new(words, parent.destination_path(entry.destination())).and(earlier.path))
    }

    /// Whether a directory may be copied several times: links that are followed may lead to it on several ways.
    fn follows_again(&self, entry: &Entry) -> bool {
        match self.ctx.options.dereference {
            Dereference::Always => true,
            Dereference::CommandLine => entry.operand,
            Dereference::Never => false,
        }
    }
}

/// Whether the path of the source is that of the earlier directory, without following a link that names the directory
/// of either. Where it is not, cp goes on with the rest of the operand. A path that is too long is not looked at.
fn is_named_the_same(parent: &Arc<Dir>, entry: &Entry, earlier: &Earlier) -> bool {
    let source = existing::location_as_named(at::CWD, &parent.source_path(&entry.name));
    source.map_or(true, |source| earlier.named.as_ref() == Some(&source))
}

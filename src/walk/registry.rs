//! The registry of files that were named, and of directories that were copied or made.
//!
//! It stops a directory from being copied into itself or twice to one place. Operands may be entered at the
//! same time, yet each gets the same answers as if they were copied one after the other: it waits until all
//! earlier operands are noted, and ignores later ones.

use super::{Operand, Walker};
use crate::batch::Entry;
use crate::context::{DestinationName, DirFd, Fds};
use crate::dir::Dir;
use crate::error::Operation;
use crate::existing::{self, Location};
use crate::report::{Failure, lock};
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A directory of the registry, with the place that it was copied to or made at.
#[derive(Clone, Debug)]
struct Earlier {
    position: usize,
    location: Location,
    /// The location that cp compares with the names of sources; `None` if it cannot be determined.
    named: Option<Location>,
    path: OsString,
}

/// An operand that is not a directory: the location of its name, its identity, and its destination.
pub(super) type Named = (Location, FileId, DestinationName);

#[derive(Debug, Default)]
pub(super) struct Registry {
    known: Mutex<KnownDirectories>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct KnownDirectories {
    files: HashSet<Named>,
    directories: HashMap<FileId, Earlier>,
    /// Paths of directories that a dry run would have made.
    pretended: HashSet<OsString>,
    /// Positions of operands that are not noted yet.
    unnoted: BTreeSet<usize>,
    /// Positions of operands whose destination is not made yet, so that they may still be removed.
    unmade: BTreeSet<usize>,
}

impl Registry {
    /// Notes an operand that is not a directory. Returns false if it was named before.
    pub(super) fn name_file(&self, named: Named) -> bool {
        lock(&self.known).files.insert(named)
    }

    /// Notes the path of a directory that a dry run would have made. Returns false if it was noted before.
    pub(super) fn note_dry_run(&self, path: OsString) -> bool {
        lock(&self.known).pretended.insert(path)
    }

    /// Announces an operand that is a directory. Operands must be announced in order.
    pub(super) fn expect(&self, position: usize) {
        let mut known = lock(&self.known);
        known.unnoted.insert(position);
        known.unmade.insert(position);
    }

    /// Tells waiting workers that the operand is now noted, or needs no note.
    fn mark_noted(&self, position: usize) {
        if lock(&self.known).unnoted.remove(&position) {
            self.changed.notify_all();
        }
    }

    /// Tells waiting workers that the entry of the operand is final.
    pub(super) fn mark_settled(&self, position: usize) {
        let mut known = lock(&self.known);
        known.unnoted.remove(&position);
        if known.unmade.remove(&position) {
            self.changed.notify_all();
        }
    }

    /// Returns the entry of a directory, if an operand up to `position` put it there. `itself` says whether the
    /// directory is that operand. Waits for earlier operands.
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

    /// Removes an operand whose destination could not be made.
    pub(super) fn forget(&self, id: FileId, position: usize) {
        let mut known = lock(&self.known);
        if known.directories.get(&id).is_some_and(|earlier| earlier.position == position) {
            known.directories.remove(&id);
        }
    }
}

impl Walker<'_, '_> {
    /// Notes the destination of a directory, unless the registry has the directory already.
    pub(super) fn note(&self, parent: &Arc<Dir>, entry: &Entry, fds: &Fds, id: FileId, position: usize) {
        if let Ok(location) = existing::location(&fds.dst, entry.destination(), Follow::Yes) {
            let named = existing::location(&fds.dst, entry.destination(), Follow::No).ok();
            let path = parent.destination_path(entry.destination());
            self.walk.registry.insert(id, Earlier { position, location, named, path });
        }
    }

    /// Returns whether the directory was met before, so that nothing is left to do.
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
                self.walk.registry.mark_noted(operand.position);
            }
            return Ok(false);
        };
        let is_at = |dir: &DirFd, name: &OsStr| {
            existing::location(dir, name, Follow::Yes).is_ok_and(|place| place == earlier.location)
        };
        let is_the_copy = match self.follows_again(entry) {
            true => is_at(&fds.src, &entry.name),
            false => is_named_the_same(parent, entry, &earlier),
        };
        if is_the_copy {
            // This copy made it, so the rest of the operand would lead to more of its own copies.
            operand.abandon();
            return Err(operand.meets_itself());
        }
        if is_at(&fds.dst, entry.destination()) {
            self.ctx.events.warn(Failure::new(Operation::RepeatedDirectory, &operand.source));
            return Ok(true);
        }
        if self.follows_again(entry) {
            return Ok(false);
        }
        Err(Failure::new(Operation::HardLinkToDirectory, parent.destination_path(entry.destination()))
            .and(earlier.path))
    }

    /// Returns whether a directory may be copied several times, because followed links may lead to it on several
    /// paths.
    fn follows_again(&self, entry: &Entry) -> bool {
        existing::follows_source(&self.ctx.options, entry) == Follow::Yes
    }
}

/// Returns whether the path of the source is the path of the earlier directory, if a link in the last component
/// is not followed. If not, cp continues with the rest of the operand. A path that is too long counts as equal.
fn is_named_the_same(parent: &Arc<Dir>, entry: &Entry, earlier: &Earlier) -> bool {
    let source = existing::location(at::CWD, &parent.source_path(&entry.name), Follow::No);
    source.map_or(true, |source| earlier.named.as_ref() == Some(&source))
}

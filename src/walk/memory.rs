//! What the walk has met before: files that were named, directories that were copied or made.
//!
//! Without it a directory would be copied into itself for ever, or twice to one place.

use super::Walk;
use crate::dir::{DestinationName, Dir, Fds};
use crate::job::Entry;
use crate::options::Dereference;
use crate::report::Failure;
use crate::survey::{self, Location};
use crate::sys::stat::FileId;
use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::sync::Arc;

/// Where a directory went, or was made.
#[derive(Clone, Debug)]
struct Earlier {
    location: Location,
    /// For printing.
    path: OsString,
}

/// An operand that is no directory: where its name stands, what file that is, and where it is copied to.
pub(super) type Named = (Location, FileId, DestinationName);

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    files: HashSet<Named>,
    directories: HashMap<FileId, Earlier>,
    /// Directories that a dry run did not make, by the paths that they would have.
    pretended: HashSet<OsString>,
}

impl Memory {
    /// Notes an operand that is no directory; false if it was named before.
    pub(super) fn name_file(&mut self, named: Named) -> bool {
        self.files.insert(named)
    }

    /// Notes a directory that was not made; false if it was noted before.
    pub(super) fn pretend(&mut self, path: OsString) -> bool {
        self.pretended.insert(path)
    }
}

impl Walk<'_> {
    /// Remembers where a directory goes, or where one was made, unless it has been met.
    pub(super) fn note(&mut self, parent: &Arc<Dir>, entry: &Entry, fds: &Fds, id: FileId) {
        if let Slot::Vacant(slot) = self.memory.directories.entry(id)
            && let Ok(location) = survey::location(&fds.dst, entry.destination())
        {
            slot.insert(Earlier { location, path: parent.destination_path(entry.destination()) });
        }
    }

    /// Whether the directory was met before in a way that leaves nothing to do.
    pub(super) fn was_met(
        &mut self,
        parent: &Arc<Dir>,
        entry: &Entry,
        fds: &Fds,
        id: FileId,
    ) -> Result<bool, Failure> {
        let Some(earlier) = self.memory.directories.get(&id).cloned() else {
            if entry.operand {
                self.note(parent, entry, fds, id);
            }
            return Ok(false);
        };
        if survey::location(&fds.src, &entry.name).as_ref() == Ok(&earlier.location)
            && (self.follows_again(entry) || self.is_named_the_same(parent, entry, &earlier.location))
        {
            // It was made by this very copy, so whatever else is below would be met again too.
            self.abandon_operand();
            return Err(self.meets_itself());
        }
        if survey::location(&fds.dst, entry.destination()).as_ref() == Ok(&earlier.location) {
            let words = "warning: source directory {} specified more than once";
            self.ctx.reporter.warn(Failure::new(words, &self.operand.source));
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

    /// Whether the path of the source, without following a link that names its directory, leads to the location.
    /// Where it does not, cp goes on with the rest of the operand. A path that is too long is not looked at.
    fn is_named_the_same(&self, parent: &Arc<Dir>, entry: &Entry, location: &Location) -> bool {
        survey::location_as_named(&parent.source_path(&entry.name)).map_or(true, |named| named == *location)
    }

    pub(super) fn meets_itself(&self) -> Failure {
        let words = "cannot copy a directory, {}, into itself, {}";
        Failure::new(words, &self.operand.source).and(&self.operand.destination)
    }

    /// Forgets an operand whose destination could not be made.
    pub(super) fn forget(&mut self, entry: &Entry, id: FileId) {
        if entry.operand {
            self.memory.directories.remove(&id);
        }
    }

    /// Leaves the operand that is being walked as it is.
    pub(super) fn abandon_operand(&mut self) {
        while self.stack.len() > self.operand.depth.max(1)
            && let Some(frame) = self.stack.pop()
        {
            frame.dir.leave(self.ctx);
        }
    }
}

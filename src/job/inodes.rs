//! Names of one inode, brought together: they have to be in one part, to become names of one copy.
//!
//! In memory are only inodes with names that have not been seen yet: about 150 bytes each and the
//! names themselves.

use super::facts::Facts;
use crate::sys::Stat;
use crate::sys::stat::FileId;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;

/// All names of an inode that the source has.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) facts: Facts,
    /// Bytes to move, once.
    pub(super) weight: u64,
    pub(super) names: Vec<OsString>,
}

impl Group {
    pub(super) fn of(stat: &Stat, path: OsString) -> Group {
        let allocated = stat.blocks.saturating_mul(512);
        let weight = if stat.is_regular() { stat.size.min(allocated) } else { 0 };
        Group { facts: Facts::of(stat), weight, names: vec![path] }
    }
}

/// The inodes with names left to come.
#[derive(Debug, Default)]
pub(super) struct Inodes(HashMap<FileId, Group>);

impl Inodes {
    /// Takes a name of an inode that has `names` of them, as far as one knows; gives the group when it
    /// is complete.
    pub(super) fn add(&mut self, stat: &Stat, path: OsString, names: u64) -> Option<Group> {
        match self.0.entry(stat.id()) {
            Entry::Vacant(slot) if names > 1 => {
                slot.insert(Group::of(stat, path));
                None
            }
            Entry::Vacant(_) => Some(Group::of(stat, path)),
            Entry::Occupied(mut slot) => {
                slot.get_mut().names.push(path);
                let complete = u64::try_from(slot.get().names.len()).is_ok_and(|seen| seen >= names);
                complete.then(|| slot.remove())
            }
        }
    }

    /// The groups that have names elsewhere, outside the source. In the order of their names, so that
    /// a plan that is made again is the same.
    pub(super) fn rest(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.into_values().collect();
        groups.sort_by(|a, b| a.names.cmp(&b.names));
        groups
    }
}

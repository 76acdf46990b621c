//! Groups the names of each inode: one part must have them all, to make them hard links of one copy.
//!
//! Memory holds only inodes with names that have not been seen yet: about 150 bytes each, plus the names.

use super::facts::Facts;
use crate::sys::Stat;
use crate::sys::stat::FileId;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;

/// All names of an inode in the source.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) facts: Facts,
    /// Bytes to copy, once for all names.
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

/// The inodes with names that have not been seen yet.
#[derive(Debug, Default)]
pub(super) struct Inodes(HashMap<FileId, Group>);

impl Inodes {
    /// Adds a name of an inode that has up to `names` of them. Returns the group when it is complete.
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

    /// Returns the groups with further names outside the source. Sorted, so that a repeated plan gives the same
    /// result.
    pub(super) fn rest(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.into_values().collect();
        groups.sort_by(|a, b| a.names.cmp(&b.names));
        groups
    }
}

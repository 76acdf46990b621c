//! Registry of hard links that all workers share: one copy of an inode, and a link for each of its other names.
//!
//! The first worker that meets an inode copies it. Other workers park their names with it and continue; they
//! never wait. After the copy, that worker links the parked names. If the copy failed, it tries the next name
//! as the first.

use super::Placement;
use crate::batch::Entry;
use crate::dir::{Dir, Hold};
use crate::report::lock;
use crate::sys::Stat;
use crate::sys::stat::FileId;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
pub(super) struct WaitingName {
    pub(super) dir: Hold,
    pub(super) entry: Entry,
    pub(super) placement: Placement,
}

/// The task of a worker that meets a name of an inode with several.
#[derive(Debug)]
pub(super) enum Claim {
    /// Copy it, then call [`Links::copied`] or [`Links::failed`].
    First,
    Link(Copied),
    /// Nothing: it is parked, and the worker that copies the inode will link it.
    Parked,
}

#[derive(Clone, Debug)]
pub(super) struct Copied {
    pub(super) dir: Arc<Dir>,
    pub(super) name: OsString,
}

#[derive(Debug)]
enum LinkState {
    Copying(Vec<WaitingName>),
    Copied(Copied),
}

#[derive(Debug)]
struct Inode {
    state: LinkState,
    /// The number of names that were not met yet. At 0 the inode is removed.
    unseen: u64,
}

/// The inodes that are being copied or have further names.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<HashMap<FileId, Inode>>);

impl Links {
    /// Decides what to do with a name. `names` is the number of names that the inode has, as far as it is
    /// known.
    pub(super) fn claim(
        &self,
        source: &Stat,
        names: u64,
        dir: &Arc<Dir>,
        entry: &Entry,
        placement: Placement,
    ) -> Claim {
        let mut inodes = lock(&self.0);
        let mut slot = match inodes.entry(source.id()) {
            Slot::Vacant(slot) => {
                slot.insert(Inode { state: LinkState::Copying(Vec::new()), unseen: names.saturating_sub(1) });
                return Claim::First;
            }
            Slot::Occupied(slot) => slot,
        };
        let inode = slot.get_mut();
        inode.unseen = inode.unseen.saturating_sub(1);
        let forget = inode.unseen == 0;
        let claim = match &mut inode.state {
            LinkState::Copied(copied) => Claim::Link(copied.clone()),
            LinkState::Copying(parked) => {
                parked.push(WaitingName { dir: Hold::new(dir), entry: entry.clone(), placement });
                return Claim::Parked;
            }
        };
        if forget {
            slot.remove();
        }
        claim
    }

    /// Registers the copy and returns the parked names, which the caller must link to it.
    pub(super) fn copied(&self, id: FileId, copied: &Copied) -> Vec<WaitingName> {
        let mut inodes = lock(&self.0);
        let Some(inode) = inodes.get_mut(&id) else { return Vec::new() };
        let parked = match std::mem::replace(&mut inode.state, LinkState::Copied(copied.clone())) {
            LinkState::Copying(parked) => parked,
            LinkState::Copied(_) => Vec::new(),
        };
        if inode.unseen == 0 {
            inodes.remove(&id);
        }
        parked
    }

    pub(super) fn replaced(&self, id: FileId, copied: &Copied) {
        if let Some(inode) = lock(&self.0).get_mut(&id) {
            inode.state = LinkState::Copied(copied.clone());
        }
    }

    /// Returns the next name to try after the first one failed. It becomes the first.
    pub(super) fn failed(&self, id: FileId) -> Option<WaitingName> {
        let mut inodes = lock(&self.0);
        let next = match &mut inodes.get_mut(&id)?.state {
            LinkState::Copying(parked) => parked.pop(),
            LinkState::Copied(_) => None,
        };
        if next.is_none() {
            inodes.remove(&id);
        }
        next
    }
}

//! Hard links kept across workers: one copy of an inode, and a link for each of its other names.
//!
//! The first worker to meet an inode copies it. Others park their name behind it and go on with
//! their work; they never wait. When the copy is done, whoever made it links what was parked; if it
//! failed, it tries the next name as the first.

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

/// A name of an inode: where, and what it is called there.
#[derive(Clone, Debug)]
pub(super) struct WaitingName {
    pub(super) dir: Hold,
    pub(super) entry: Entry,
    pub(super) placement: Placement,
}

/// What a worker is to do with a name of an inode that has several.
#[derive(Debug)]
pub(super) enum Claim {
    /// Copy it, and settle the claim afterwards.
    First,
    /// Link it to the copy, which has this name.
    Link(Copied),
    /// Nothing: it is parked, and will be linked by the one who copies.
    Parked,
}

/// Where the copy of an inode is.
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
    /// Names that have not been seen yet; at 0 the inode is forgotten.
    unseen: u64,
}

/// The inodes that are being copied or have names left to come.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<HashMap<FileId, Inode>>);

impl Links {
    /// Says what to do with a name. `names` is how many the inode has, as far as can be known.
    pub(super) fn claim(
        &self,
        source: &Stat,
        names: u64,
        dir: &Arc<Dir>,
        entry: &Entry,
        placement: Placement,
    ) -> Claim {
        let mut inodes = lock(&self.0);
        let slot = match inodes.entry(source.id()) {
            Slot::Vacant(slot) => {
                slot.insert(Inode { state: LinkState::Copying(Vec::new()), unseen: names.saturating_sub(1) });
                return Claim::First;
            }
            Slot::Occupied(slot) => slot,
        };
        let mut slot = slot;
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

    /// The first name is copied: gives the names to be linked to it now.
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

    /// The copy is somewhere else now.
    pub(super) fn replaced(&self, id: FileId, copied: &Copied) {
        if let Some(inode) = lock(&self.0).get_mut(&id) {
            inode.state = LinkState::Copied(copied.clone());
        }
    }

    /// The first name could not be copied: gives the next one to try, which is then the first.
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

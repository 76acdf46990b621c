//! The budget of open directories: a tree may be deeper than the process may have files open.

use super::Dir;
use crate::report::lock;
use crate::sys::proc;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

/// How many directories may be open at once, and which are.
#[derive(Debug)]
pub struct Descriptors {
    most: usize,
    reserved: usize,
    open: Mutex<VecDeque<Weak<Dir>>>,
}

impl Descriptors {
    /// A budget that leaves each of `workers` enough for its files and its pipe.
    pub fn new(workers: usize) -> Descriptors {
        // A worker has a source, a destination, two ends of a pipe and its parcel's two directories;
        // the rest is for the listing, stdio and what the process was started with.
        let reserved = 16 + 6 * workers;
        let most = (proc::descriptor_limit().saturating_sub(reserved) / 2).clamp(2, 400);
        Descriptors { most, reserved, open: Mutex::default() }
    }

    /// How many descriptors that makes at most.
    pub fn highest(&self) -> usize {
        2 * self.most + self.reserved
    }

    /// Notes an opened directory; the one that was opened first is closed if there are too many.
    /// Whoever is using it has its own hold on the descriptors.
    pub(super) fn opened(&self, dir: &Arc<Dir>) {
        let mut open = lock(&self.open);
        open.push_back(Arc::downgrade(dir));
        if open.len() > self.most {
            open.retain(|weak| weak.upgrade().is_some_and(|dir| lock(&dir.fds).is_some()));
        }
        while open.len() > self.most {
            if let Some(oldest) = open.pop_front().and_then(|weak| weak.upgrade()) {
                *lock(&oldest.fds) = None;
            }
        }
    }
}

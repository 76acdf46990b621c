//! The budget of open directories: a tree may be deeper than the process may have files open.

use super::Dir;
use crate::report::lock;
use crate::sys::proc;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

/// A worker has a source, a destination, two ends of a pipe and its parcel's two directories.
const EACH: usize = 6;
/// For the listing, stdio and what the process was started with.
const FOR_ALL: usize = 16;
/// Directories, of two descriptors each, that are open in any case.
const LEAST: usize = 2;

/// How many directories may be open at once, and which are.
#[derive(Debug)]
pub struct Descriptors {
    most: usize,
    reserved: usize,
    workers: usize,
    open: Mutex<VecDeque<Weak<Dir>>>,
}

impl Descriptors {
    /// A budget that leaves each of `workers` enough for its files and its pipe. Where there are too
    /// few for all of them, there will be fewer workers.
    pub fn new(workers: usize) -> Descriptors {
        let limit = proc::descriptor_limit();
        let affordable = limit.saturating_sub(FOR_ALL + 2 * LEAST) / EACH;
        let workers = workers.min(affordable).max(1);
        let reserved = FOR_ALL + EACH * workers;
        let most = (limit.saturating_sub(reserved) / 2).clamp(LEAST, 400);
        Descriptors { most, reserved, workers, open: Mutex::default() }
    }

    /// For how many workers there is enough.
    pub fn workers(&self) -> usize {
        self.workers
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

//! The budget of open directories: a tree may be deeper than the process may have files open.

use super::Dir;
use crate::report::lock;
use crate::sys::proc;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

/// A worker has a source, a destination, two ends of a pipe and its batch's two directories; or, in the place of
/// the files, two directories that it enters and the listing of one.
const EACH: usize = 7;
/// For listings that are under way, stdio and what the process was started with.
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

    /// How many batches of names may be found before anybody works on them: each keeps two directories open.
    pub fn batches_ahead(&self) -> usize {
        (proc::descriptor_limit().saturating_sub(64) / 2).max(1)
    }

    /// How many descriptors that makes at most.
    pub fn highest(&self) -> usize {
        2 * self.most + self.reserved
    }

    /// Notes an opened directory; the one that was opened first is closed if there are too many.
    /// Whoever is using it has its own hold on the descriptors.
    pub(super) fn opened(&self, dir: &Arc<Dir>) {
        // Closed, and perhaps dropped, only when others may go on.
        let mut closed = Vec::new();
        let mut open = lock(&self.open);
        open.push_back(Arc::downgrade(dir));
        if open.len() > self.most {
            open.retain(|weak| {
                let Some(dir) = weak.upgrade() else { return false };
                let is_open = lock(&dir.fds).is_some();
                closed.push((dir, None));
                is_open
            });
        }
        while open.len() > self.most {
            if let Some(oldest) = open.pop_front().and_then(|weak| weak.upgrade()) {
                let fds = lock(&oldest.fds).take();
                closed.push((oldest, fds));
            }
        }
        drop(open);
    }
}

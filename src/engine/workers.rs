//! The workers of one run. Each takes batches from the walk and copies their names until none is left.

use crate::context::Context;
use crate::report::{Stats, lock};
use crate::sys::fd_table;
use crate::walk::Walk;
use crate::worker::{Shared, Worker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The state that the workers of one run share.
pub(super) struct Workers<'w, 'c> {
    pub(super) ctx: &'c Context,
    shared: &'c Shared,
    pub(super) walk: &'w Walk<'c>,
    at_work: Mutex<AtWork>,
    /// Notified when the last worker leaves.
    all_done: Condvar,
    /// The wanted number of workers: a worker leaves if more are at work.
    wanted: AtomicUsize,
    /// Whether each worker of a pool has its own table of descriptors.
    own_tables: bool,
}

/// The number of workers at work, and the statistics of those that have left.
#[derive(Default)]
pub(super) struct AtWork {
    count: usize,
    pub(super) peak: usize,
    pub(super) stats: Stats,
}

impl<'w, 'c> Workers<'w, 'c> {
    pub(super) fn new(
        ctx: &'c Context,
        shared: &'c Shared,
        walk: &'w Walk<'c>,
        own_tables: bool,
    ) -> Workers<'w, 'c> {
        Workers {
            ctx,
            shared,
            walk,
            at_work: Mutex::default(),
            all_done: Condvar::new(),
            wanted: AtomicUsize::new(usize::MAX),
            own_tables,
        }
    }

    /// Works as an additional worker until nothing is left or fewer workers are wanted.
    pub(super) fn work(&self) {
        self.add_worker();
        self.work_counted();
    }

    /// Counts a worker as at work, possibly before its thread runs.
    pub(super) fn add_worker(&self) {
        let mut at_work = lock(&self.at_work);
        at_work.count += 1;
        at_work.peak = at_work.peak.max(at_work.count);
    }

    /// Works on a thread of a pool as a worker that [`add_worker`](Self::add_worker) has counted. The thread, and so its
    /// table of descriptors, outlives the work of all workers.
    pub(super) fn work_in_pool(&self) {
        if self.own_tables {
            fd_table::separate();
        }
        self.work_counted();
    }

    fn work_counted(&self) {
        let mut worker = Worker::new(self.ctx, self.shared);
        let mut walker = self.walk.walker();
        let mut left_early = false;
        while !left_early && let Some(work) = walker.next_batch() {
            let directories = worker.run(&work.batch, work.helps, || work.workers());
            let found = !directories.is_empty();
            walker.leave(work, directories);
            fd_table::close_dropped();
            // The others may have ended already, so the directories that this worker has found are its own.
            left_early = !found && self.leave_if_unwanted();
        }
        let stats = worker.into_stats().merge(walker.stats);
        let mut at_work = lock(&self.at_work);
        at_work.stats = std::mem::take(&mut at_work.stats).merge(stats);
        at_work.count -= usize::from(!left_early);
        if at_work.count == 0 {
            self.all_done.notify_all();
        }
    }

    fn leave_if_unwanted(&self) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted == usize::MAX {
            return false;
        }
        let mut at_work = lock(&self.at_work);
        let leaves = at_work.count > wanted;
        at_work.count -= usize::from(leaves);
        leaves
    }

    pub(super) fn at_work(&self) -> usize {
        lock(&self.at_work).count
    }

    /// Sets the wanted number of workers. Superfluous workers leave after their current batch.
    pub(super) fn set_wanted(&self, workers: usize) {
        self.wanted.store(workers, Ordering::Relaxed);
    }

    /// Waits for `time`; true when no worker is at work any more.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let at_work = lock(&self.at_work);
        let waited = self.all_done.wait_timeout_while(at_work, time, |at_work| at_work.count > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.count == 0
    }

    pub(super) fn into_work_done(self) -> AtWork {
        self.at_work.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

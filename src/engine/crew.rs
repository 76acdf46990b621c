//! The workers of one run: each finds batches in the walk and copies their names until nothing is left.

use crate::context::Context;
use crate::report::{Stats, lock};
use crate::walk::Walk;
use crate::worker::{Shared, Worker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Everything that the workers of one run have in common.
pub(super) struct Crew<'w, 'c> {
    pub(super) ctx: &'c Context,
    shared: &'c Shared,
    walk: &'w Walk<'c>,
    muster: Mutex<Muster>,
    /// Told when the last worker goes.
    over: Condvar,
    /// How many are to work; who finds more at work than that goes home.
    wanted: AtomicUsize,
}

/// Who is at work, and what those who went have done.
#[derive(Default)]
struct Muster {
    at_work: usize,
    peak: usize,
    stats: Stats,
}

/// What the crew did.
pub(super) struct Work {
    pub(super) stats: Stats,
    pub(super) peak_workers: usize,
}

impl<'w, 'c> Crew<'w, 'c> {
    pub(super) fn new(ctx: &'c Context, shared: &'c Shared, walk: &'w Walk<'c>) -> Crew<'w, 'c> {
        Crew {
            ctx,
            shared,
            walk,
            muster: Mutex::default(),
            over: Condvar::new(),
            wanted: AtomicUsize::new(usize::MAX),
        }
    }

    /// The work of one worker, from the first batch until there is nothing left or it is not
    /// wanted any more.
    pub(super) fn shift(&self) {
        self.enlist();
        self.work_enlisted();
    }

    /// Counts a worker as at work, before its thread may have begun.
    pub(super) fn enlist(&self) {
        let mut muster = lock(&self.muster);
        muster.at_work += 1;
        muster.peak = muster.peak.max(muster.at_work);
    }

    /// The shift of a worker that is enlisted already.
    pub(super) fn work_enlisted(&self) {
        let mut worker = Worker::new(self.ctx, self.shared);
        let mut walker = self.walk.walker();
        let mut left_early = false;
        while !left_early && let Some(work) = walker.next_batch() {
            let directories = worker.run(work.batch(), work.names);
            walker.leave(work, directories);
            left_early = self.leave_if_unwanted();
        }
        let stats = worker.into_stats().merge(walker.into_stats());
        let mut muster = lock(&self.muster);
        muster.stats = std::mem::take(&mut muster.stats).merge(stats);
        muster.at_work -= usize::from(!left_early);
        if muster.at_work == 0 {
            self.over.notify_all();
        }
    }

    fn leave_if_unwanted(&self) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted == usize::MAX {
            return false;
        }
        let mut muster = lock(&self.muster);
        let leaves = muster.at_work > wanted;
        muster.at_work -= usize::from(leaves);
        leaves
    }

    /// How many are at work.
    pub(super) fn at_work(&self) -> usize {
        lock(&self.muster).at_work
    }

    /// Whether somebody is at work for whom there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.walk.idle() > 0
    }

    /// Says how many are to work from now on. Making it fewer takes effect as batches are done.
    pub(super) fn want(&self, workers: usize) {
        self.wanted.store(workers, Ordering::Relaxed);
    }

    /// Waits for a while; true when nobody is at work any more.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let muster = lock(&self.muster);
        let waited = self.over.wait_timeout_while(muster, time, |muster| muster.at_work > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.at_work == 0
    }

    /// The end: what was done.
    pub(super) fn into_work(self) -> Work {
        let muster = std::mem::take(&mut *lock(&self.muster));
        Work { stats: muster.stats, peak_workers: muster.peak }
    }
}

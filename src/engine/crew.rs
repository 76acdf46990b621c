//! The crew: workers that pull parcels out of one walk.
//!
//! Whoever is idle locks the walk, takes one parcel and unlocks. There is no queue, so no more is in
//! flight than there are workers, however large the tree. When the walk is at its end, the idle help
//! with the parcels that others are still working on.

use crate::context::Context;
use crate::job::Parcel;
use crate::report::{Stats, lock};
use crate::walk::supply::Supply;
use crate::worker::{Shared, Worker};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a worker looks whether the walk is free before it goes to sleep. The walk is locked for
/// as long as one directory takes to be made and listed, some 40 us; to be woken takes nearly as long.
/// 15,900 files in 2,500 directories, two workers: 0.94 of the time without it.
const LOOKS: usize = 2000;

/// Everything that the workers of one run have in common.
pub(super) struct Crew<'c, S> {
    pub(super) ctx: &'c Context,
    shared: &'c Shared,
    walk: Mutex<S>,
    in_flight: Mutex<InFlight>,
    muster: Mutex<Muster>,
    /// Told when the last worker goes.
    over: Condvar,
    /// How many are to work; who finds more at work than that goes home.
    wanted: AtomicUsize,
}

/// The parcels that somebody is working on.
#[derive(Default)]
struct InFlight {
    parcels: Vec<Arc<Parcel>>,
    peak: usize,
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
    pub(super) peak_in_flight: usize,
}

impl<'c, S: Supply> Crew<'c, S> {
    pub(super) fn new(ctx: &'c Context, shared: &'c Shared, walk: S) -> Crew<'c, S> {
        Crew {
            ctx,
            shared,
            walk: Mutex::new(walk),
            in_flight: Mutex::default(),
            muster: Mutex::default(),
            over: Condvar::new(),
            wanted: AtomicUsize::new(usize::MAX),
        }
    }

    /// The work of one worker, from the first parcel until there is nothing left or it is not
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
        let mut left_early = false;
        while !left_early && let Some(parcel) = self.pull().or_else(|| self.help()) {
            worker.run(&parcel);
            lock(&self.in_flight).parcels.retain(|other| !Arc::ptr_eq(other, &parcel));
            left_early = self.leave_if_unwanted();
        }
        let mut muster = lock(&self.muster);
        muster.stats = std::mem::take(&mut muster.stats).merge(worker.into_stats());
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

    fn pull(&self) -> Option<Arc<Parcel>> {
        let mut walk = self.lock_walk();
        let parcel = Arc::new(walk.next_parcel()?);
        let mut in_flight = lock(&self.in_flight);
        in_flight.parcels.push(Arc::clone(&parcel));
        in_flight.peak = in_flight.peak.max(in_flight.parcels.len());
        Some(parcel)
    }

    fn lock_walk(&self) -> MutexGuard<'_, S> {
        for _ in 0..LOOKS {
            if let Ok(walk) = self.walk.try_lock() {
                return walk;
            }
            spin_loop();
        }
        lock(&self.walk)
    }

    /// A parcel of somebody else that still has names that nobody took.
    fn help(&self) -> Option<Arc<Parcel>> {
        if self.ctx.stop.is_raised() {
            return None;
        }
        lock(&self.in_flight).parcels.iter().find(|parcel| !parcel.is_taken()).cloned()
    }

    /// How many are at work.
    pub(super) fn at_work(&self) -> usize {
        lock(&self.muster).at_work
    }

    /// Says how many are to work from now on. Making it fewer takes effect as parcels are done.
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
        let walked = lock(&self.walk).take_stats();
        let peak_in_flight = lock(&self.in_flight).peak;
        Work { stats: muster.stats.merge(walked), peak_workers: muster.peak, peak_in_flight }
    }
}

//! How many work: as many as processors while the data is at hand, more while they wait for it.
//!
//! Workers that wait for a disk or a server cost nothing, so there can be many, and their requests
//! overlap. Workers that wait for each other (a directory's lock) look just as idle, but more of them
//! make it worse. What tells the two apart is that blocks are read: `ru_inblock` of getrusage(2)
//! rises. A remote file system reads no blocks here, nor does who waits for fsync(2); there the time on a
//! processor has to do. Files that are synced at the same time share a commit of the journal.

use super::crew::Crew;
use crate::context::Context;
use crate::sys::memory;
use crate::sys::proc::{self, Usage};
use crate::transfer::route::FsKind;
use rayon::{Scope, ThreadPool, ThreadPoolBuilder};
use std::time::{Duration, Instant};

/// Between two looks at what the workers wait for.
const TICK: Duration = Duration::from_millis(5);
/// Sectors of 512 bytes that are read in a tick when the source is cold: a disk gives thousands, and
/// what a warm copy reads now and then (a bitmap, a directory) stays below.
const COLD: i64 = 128;
/// The most workers a processor while a disk is waited for (16 on two processors measured best).
const FOR_DISK: usize = 8;
/// The same for a server, which is further away.
const FOR_SERVER: usize = 32;
/// The most workers in any case.
const MOST: usize = 128;

/// How waiting is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gauge {
    /// By blocks read from a disk.
    BlockReads,
    /// By processors that have nothing to do.
    IdleProcessors,
}

impl Gauge {
    /// The one that fits what is asked for, and the types of the file systems of a source and of the
    /// destination (`f_type` of statfs(2)).
    pub(super) fn of(ctx: &Context, magics: Vec<u64>) -> Gauge {
        let kinds = magics.into_iter().map(FsKind::from_magic).collect::<Vec<_>>();
        let remote = kinds.iter().any(|kind| matches!(kind, FsKind::Remote | FsKind::Fuse));
        let syncs_files = ctx.options.fsync && !(ctx.syncs_whole && kinds.into_iter().all(FsKind::is_local));
        if remote || syncs_files { Gauge::IdleProcessors } else { Gauge::BlockReads }
    }

    /// Whether it is known beforehand that workers will wait.
    pub(super) fn expects_waiting(self) -> bool {
        self == Gauge::IdleProcessors
    }

    /// By what the number of workers is multiplied while they wait.
    fn growth(self) -> usize {
        if self == Gauge::IdleProcessors { 4 } else { 2 }
    }

    fn most(self, processors: usize) -> usize {
        let each = if self == Gauge::IdleProcessors { FOR_SERVER } else { FOR_DISK };
        // Each needs descriptors: two directories, two files, a pipe.
        let affordable = proc::descriptor_limit().saturating_sub(24) / 8;
        (each * processors).min(MOST).min(affordable).min(memory::affordable_workers()).max(processors)
    }

    fn is_waiting(self, before: &Usage, now: &Usage, time: Duration, processors: usize) -> bool {
        match self {
            Gauge::BlockReads => now.block_reads - before.block_reads >= COLD,
            Gauge::IdleProcessors => {
                let busy = now.processor_time.saturating_sub(before.processor_time);
                busy < time.mul_f64(processors as f64 / 2.0)
            }
        }
    }
}

/// The number of workers that was asked for, from start to end.
pub(super) fn fixed(crew: &Crew<'_, '_>, workers: usize) {
    if let Some(pool) = pool(crew, workers) {
        pool.in_place_scope(|scope| send(crew, scope, pool.current_num_threads()));
    }
}

/// As many workers as processors, and more while they wait.
pub(super) fn adaptive(crew: &Crew<'_, '_>, processors: usize, gauge: Gauge) {
    let Some(pool) = pool(crew, processors) else { return };
    pool.in_place_scope(|scope| {
        send(crew, scope, pool.current_num_threads());
        let mut usage = Usage::now();
        let mut since = Instant::now();
        while !crew.wait(TICK) {
            let now = Usage::now();
            if gauge.is_waiting(&usage, &now, since.elapsed(), processors) && !crew.is_idle() {
                // The threads for the many are only made when they are needed.
                return enlarged(crew, processors, gauge);
            }
            (usage, since) = (now, Instant::now());
        }
    });
}

/// Enlarges the crew while it waits, up to the most, and lets one go at a time while it does not.
fn enlarged(crew: &Crew<'_, '_>, processors: usize, gauge: Gauge) {
    let most = gauge.most(processors);
    let Some(pool) = largest_pool(most) else { return };
    // Those of the first pool go on beside them.
    let most = most.min(processors + pool.current_num_threads());
    pool.in_place_scope(|scope| {
        let mut wanted = processors;
        let mut waiting = true;
        loop {
            wanted = if waiting { (wanted * gauge.growth()).min(most) } else { (wanted - 1).max(processors) };
            crew.want(wanted);
            send(crew, scope, wanted.saturating_sub(crew.at_work()));
            let (usage, since) = (Usage::now(), Instant::now());
            if crew.wait(TICK) {
                break;
            }
            waiting = gauge.is_waiting(&usage, &Usage::now(), since.elapsed(), processors) && !crew.is_idle();
        }
    });
}

fn send<'s>(crew: &'s Crew<'_, '_>, scope: &Scope<'s>, workers: usize) {
    for _ in 0..workers {
        crew.enlist();
        scope.spawn(|_| crew.work_enlisted());
    }
}

/// A pool of so many threads, or of as many as can be had (`RLIMIT_NPROC`, `pids.max`); without any, the caller does all
/// the work.
fn pool(crew: &Crew<'_, '_>, threads: usize) -> Option<ThreadPool> {
    let pool = largest_pool(threads);
    if pool.is_none() {
        crew.shift();
    }
    pool
}

fn largest_pool(mut threads: usize) -> Option<ThreadPool> {
    while threads > 0 {
        if let Ok(pool) = ThreadPoolBuilder::new().num_threads(threads).stack_size(memory::STACK).build() {
            return Some(pool);
        }
        threads /= 2;
    }
    None
}

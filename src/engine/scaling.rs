//! The number of workers: one for each processor while the data is cached, more while they wait for it.
//!
//! Workers that wait for a disk or a server cost nothing and overlap their requests, so there may be many. Workers
//! that wait for each other (for the lock of a directory) look just as idle, but more of them are slower. Block
//! reads tell the two apart: `ru_inblock` of getrusage(2) rises only in the first case. The copies that `--verify` reads
//! ahead do not count, because one worker has many of these reads under way. A remote file system reads
//! no blocks on this machine, and neither does a wait for fsync(2); there CPU time is the sign. Files that are
//! synced at the same time share a commit of the journal.

use super::workers::Workers;
use crate::context::{Context, Descriptors};
use crate::sys::memory;
use crate::sys::proc::{self, Usage};
use crate::transfer::read_ahead;
use crate::transfer::route::FsKind;
use rayon::{Scope, ThreadPool, ThreadPoolBuilder};
use std::time::{Duration, Instant};

/// The time between two checks whether workers wait.
const TICK: Duration = Duration::from_millis(5);
/// The least sectors of 512 bytes that are read in a tick if the source is cold. A disk reads thousands; a warm
/// copy, which reads a bitmap or a directory now and then, stays below.
const COLD: i64 = 128;
/// The most workers for each processor while they wait for a disk (16 on two processors measured best).
const FOR_DISK: usize = 8;
/// The most workers for each processor while they wait for a server, which has a higher latency.
const FOR_SERVER: usize = 32;
/// The most workers in any case.
const MOST: usize = 128;

/// The sign that workers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitingSign {
    /// Blocks are read from a disk.
    BlockReads,
    /// Processors are idle.
    IdleProcessors,
}

impl WaitingSign {
    /// Returns the sign for the options and the file systems of a source and of the destination.
    pub(super) fn of(ctx: &Context, kinds: &[FsKind]) -> WaitingSign {
        let remote = kinds.iter().any(|kind| matches!(kind, FsKind::Remote | FsKind::Fuse));
        let syncs_files = ctx.options.fsync && !(ctx.run.syncs_whole && kinds.iter().all(|kind| kind.is_local()));
        if remote || syncs_files { WaitingSign::IdleProcessors } else { WaitingSign::BlockReads }
    }

    /// Returns whether workers are expected to wait from the start.
    pub(super) fn expects_waiting(self) -> bool {
        self == WaitingSign::IdleProcessors
    }

    /// Returns the factor by which the number of workers grows in a tick while they wait.
    fn growth(self) -> usize {
        if self == WaitingSign::IdleProcessors { 4 } else { 2 }
    }

    fn most(self, processors: usize) -> usize {
        let each = if self == WaitingSign::IdleProcessors { FOR_SERVER } else { FOR_DISK };
        let affordable = Descriptors::affordable_workers(proc::descriptor_limit());
        (each * processors).min(MOST).min(affordable).min(memory::affordable_workers()).max(processors)
    }

    fn is_waiting(self, before: &Usage, now: &Usage, time: Duration, processors: usize) -> bool {
        match self {
            WaitingSign::BlockReads => now.block_reads - before.block_reads >= COLD,
            WaitingSign::IdleProcessors => {
                let busy = now.processor_time.saturating_sub(before.processor_time);
                busy < time.mul_f64(processors as f64 / 2.0)
            }
        }
    }
}

/// Returns the usage up to now, without the blocks of reads that nobody waited for one by one.
fn usage() -> Usage {
    let mut usage = Usage::now();
    usage.block_reads -= (read_ahead::bytes() / 512) as i64;
    usage
}

/// Runs `count` workers from start to end.
pub(super) fn fixed(workers: &Workers<'_, '_>, count: usize) {
    if let Some(pool) = pool(workers, count) {
        pool.in_place_scope(|scope| spawn(workers, scope, pool.current_num_threads()));
    }
}

/// Runs one worker for each processor, and more while they wait.
///
/// If the files are cloned on btrfs, one worker begins, because workers that clone there wait for each other: one on two
/// processors takes 0.84 of the time of two for 20,000 small files, and 0.81 for 9,000 source files. With `--verify`, two for
/// each processor begin, because some wait for the disk to write what others have copied: 0.9 of the time.
pub(super) fn adaptive(
    ctx: &Context,
    workers: &Workers<'_, '_>,
    processors: usize,
    waiting_sign: WaitingSign,
    cloned_on: Option<FsKind>,
) {
    let first = match cloned_on {
        Some(FsKind::Btrfs) => 1,
        _ if ctx.options.verify => (2 * processors).min(waiting_sign.most(processors)),
        _ => processors,
    };
    let Some(pool) = pool(workers, first) else { return };
    pool.in_place_scope(|scope| {
        spawn(workers, scope, pool.current_num_threads());
        let mut before = usage();
        let mut since = Instant::now();
        while !workers.wait(TICK) {
            let now = usage();
            if waiting_sign.is_waiting(&before, &now, since.elapsed(), processors)
                && !workers.walk.has_enough_workers()
            {
                // The threads for more workers are created only now.
                return enlarged(workers, processors, waiting_sign);
            }
            (before, since) = (now, Instant::now());
        }
    });
}

/// Adds workers while they wait, up to the most, and removes one in each tick while they do not.
fn enlarged(workers: &Workers<'_, '_>, processors: usize, waiting_sign: WaitingSign) {
    let most = waiting_sign.most(processors);
    let Some(pool) = largest_pool(most) else { return };
    // The workers of the first pool continue.
    let most = most.min(processors + pool.current_num_threads());
    pool.in_place_scope(|scope| {
        let mut wanted = processors;
        let mut waiting = true;
        loop {
            wanted =
                if waiting { (wanted * waiting_sign.growth()).min(most) } else { (wanted - 1).max(processors) };
            workers.set_wanted(wanted);
            let more = if waiting { wanted.saturating_sub(workers.at_work()) } else { 0 };
            spawn(workers, scope, more);
            let (before, since) = (usage(), Instant::now());
            if workers.wait(TICK) {
                break;
            }
            waiting = waiting_sign.is_waiting(&before, &usage(), since.elapsed(), processors)
                && !workers.walk.has_enough_workers();
        }
    });
}

fn spawn<'s>(workers: &'s Workers<'_, '_>, scope: &Scope<'s>, count: usize) {
    for _ in 0..count {
        workers.add_worker();
        scope.spawn(|_| workers.work_in_pool());
    }
}

/// Makes a pool of `threads`, or fewer if the system allows no more (`RLIMIT_NPROC`, `pids.max`). If it allows
/// none, the caller does all the work.
fn pool(workers: &Workers<'_, '_>, threads: usize) -> Option<ThreadPool> {
    let pool = largest_pool(threads);
    if pool.is_none() {
        workers.work();
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

//! Starts the workers of a walk and adds up their statistics.
//!
//! A single worker runs on the caller's thread, in cp's order. There is only one if a decision depends on
//! earlier ones: prompts, backups, operands that may meet at the destination, a destination inside a source.

mod scaling;
mod workers;

use crate::context::Context;
use crate::error::{Failure, Operation};
use crate::options::{OnFailure, When};
use crate::report::Receivers;
use crate::report::progress::{Estimate, ProgressDisplay, ProgressThread, Total};
use crate::report::stats::{Left, Summary};
use crate::sys::{fd_table, memory, proc, raw};
use crate::transfer::route::FsKind;
use crate::walk::operands::Roots;
use crate::walk::supply::Supply;
use crate::walk::{Walk, estimate};
use crate::worker::Shared;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use workers::{AtWork, Workers};

/// Copies everything below the roots.
pub(crate) fn run(ctx: &Arc<Context>, roots: Roots) -> Summary {
    let start = Instant::now();
    let mut workers = worker_count(ctx, &roots);
    let shared = Shared::new(roots.entries.len() > 1, roots.operands_collide);
    let sources: Arc<[OsString]> = roots.entries.iter().map(|entry| entry.name.clone()).collect();
    let display = progress_display(ctx, &shared, || estimate::estimate(&ctx.options, Arc::clone(&sources)));
    let adaptive = workers > 1 && ctx.options.jobs.is_none();
    let kinds = roots.magics().into_iter().map(FsKind::from_magic).collect::<Vec<_>>();
    let waiting_sign = adaptive.then(|| scaling::WaitingSign::of(ctx, &kinds));
    let cloned_on = if adaptive { cloned_on(ctx, &roots, &kinds) } else { None };
    let lone = roots.are_one_file() && !ctx.options.verify && !ctx.options.fsync;
    let copied_into = ctx.options.fsync.then(|| (roots.dir.clone(), roots.target_directory()));
    let walk = Walk::new(ctx, roots, workers == 1);
    let mut first_walker = walk.walker();
    // A copy that waits for a server gains by a second worker, however small it is. With --context, directories must be
    // made by workers, which set the context for their threads.
    let may_be_small = |sign: scaling::WaitingSign| !sign.expects_waiting() && ctx.options.context.is_none();
    let is_small = waiting_sign.is_some_and(may_be_small) && first_walker.is_little(cloned_on.is_some());
    if is_small {
        workers = 1;
    }
    let own_tables = workers > 1 && has_own_tables(ctx, &kinds);
    // A copy that ends at once is not worth a thread for the display, unless a callback expects the progress.
    let lasts = ctx.options.limits.rate_limit.is_some() || ctx.options.progress == When::Always;
    let progress = display.map(|display| match (is_small || lone) && !lasts && display.callback.is_none() {
        true => ProgressThread::start_late(display),
        false => ProgressThread::start(display),
    });
    let done = work(ctx, &shared, Workers::new(ctx, &shared, &walk, own_tables), workers, waiting_sign, cloned_on);
    if let Some((top, directory)) = copied_into {
        shared.make_name_durable(ctx, &top, &directory);
    }
    drop(progress);
    let summary = summary(ctx, done, &walk, start.elapsed());
    let left = if summary.gave_up { count_left(ctx, &shared, sources) } else { None };
    Summary { stats: summary.stats.merge(first_walker.stats), left, ..summary }
}

/// Copies the entries of a supply. `magics` are the types of the file systems (`f_type` of statfs(2)).
pub(crate) fn run_supply<'c>(
    ctx: &'c Arc<Context>,
    shared: &'c Shared,
    supply: impl Supply<'c> + 'c,
    magics: Vec<u64>,
) -> Summary {
    let start = Instant::now();
    let workers = wanted_workers(ctx);
    let kinds = magics.into_iter().map(FsKind::from_magic).collect::<Vec<_>>();
    let waiting_sign = ctx.options.jobs.is_none().then(|| scaling::WaitingSign::of(ctx, &kinds));
    let walk = Walk::supplied(ctx, supply);
    let done = work(ctx, shared, Workers::new(ctx, shared, &walk, false), workers, waiting_sign, None);
    summary(ctx, done, &walk, start.elapsed())
}

/// Returns whether each worker has its own table of descriptors. Not in a library: its caller's threads and callbacks
/// share descriptors, and a table lives until its thread ends; not beside preloaded libraries, which may share descriptors between
/// threads; not before Linux 6.9, because no worker could continue what another one has opened; not where the workers
/// share descriptors to sync; and not for other file systems: with a server, opening directories once for each worker
/// would be slower.
fn has_own_tables(ctx: &Context, kinds: &[FsKind]) -> bool {
    ctx.options.owns_descriptors
        && !ctx.options.fsync
        && !proc::has_preloads()
        && kinds.iter().all(|kind| kind.is_local())
        && fd_table::can_fetch()
}

/// Returns the file system on which the files are probably cloned: that of the first source and of the destination.
fn cloned_on(ctx: &Context, roots: &Roots, kinds: &[FsKind]) -> Option<FsKind> {
    let &[kind, destination] = kinds else { return None };
    if kind != destination || !ctx.options.limits.tries_clone((kind, kind), true) {
        return None;
    }
    let directory = roots.open_on_one_device(ctx)?;
    let can_clone = kind != FsKind::Xfs || raw::xfs_can_share_blocks(directory.as_fd()) == Ok(true);
    can_clone.then_some(kind)
}

fn work(
    ctx: &Context,
    shared: &Shared,
    workers: Workers<'_, '_>,
    count: usize,
    waiting_sign: Option<scaling::WaitingSign>,
    cloned_on: Option<FsKind>,
) -> AtWork {
    match waiting_sign {
        Some(sign) if count > 1 => scaling::adaptive(ctx, &workers, count, sign, cloned_on),
        None if count > 1 => scaling::fixed(&workers, count),
        _ => workers.work(),
    }
    fd_table::close_dropped();
    shared.make_files_durable(ctx);
    workers.into_work_done()
}

fn summary(ctx: &Context, done: AtWork, walk: &Walk<'_>, elapsed: Duration) -> Summary {
    let vanished = ctx.events.vanished();
    if vanished > 0 {
        ctx.events.warn(Failure::new(Operation::Vanished, vanished.to_string()));
    }
    Summary {
        stats: done.stats,
        dry_run: ctx.options.dry_run,
        elapsed,
        workers: done.peak,
        peak_in_flight: walk.peak(),
        failed: ctx.events.failures(),
        failures: ctx.events.kept_failures(),
        warnings: ctx.events.kept_warnings(),
        started: Some(ctx.run.process.start),
        signal: ctx.run.stop.signal(),
        interrupted: ctx.run.stop.is_raised() && !ctx.run.stop.has_given_up(),
        gave_up: ctx.run.stop.has_given_up(),
        fails_fast: ctx.options.on_failure == OnFailure::Stop,
        vanished,
        ..Summary::default()
    }
}

/// Counts the files that were not tried because a failure ended the copy, for a limited time.
fn count_left(ctx: &Context, shared: &Shared, sources: Arc<[OsString]>) -> Option<Left> {
    const LONGEST: Duration = Duration::from_secs(2);
    let total = Arc::new(Total::default());
    let estimate = estimate::estimate(&ctx.options, sources);
    let (done, is_done) = std::sync::mpsc::channel();
    let counted = Arc::clone(&total);
    let counter = std::thread::Builder::new().spawn(move || {
        estimate(&counted);
        let _ = done.send(());
    });
    let _ = is_done.recv_timeout(LONGEST);
    total.cancelled.store(true, Ordering::Relaxed);
    let _ = counter.ok()?.join();
    if total.endless.load(Ordering::Relaxed) {
        return None;
    }
    let tried = shared.meters.read().files;
    let files = total.files.load(Ordering::Relaxed).saturating_sub(tried);
    Some(Left { files, all_counted: total.named.load(Ordering::Relaxed) })
}

/// Returns the number of workers: one if order matters or there is nothing to share.
fn worker_count(ctx: &Context, roots: &Roots) -> usize {
    if ctx.options.needs_order() || roots.operands_collide || !roots.are_many {
        return 1;
    }
    wanted_workers(ctx)
}

/// Returns the number of workers by `--jobs`, or else of processors, as far as descriptors and memory allow.
fn wanted_workers(ctx: &Context) -> usize {
    let wanted = ctx.options.jobs.unwrap_or_else(proc::processors);
    wanted.min(ctx.run.descriptors.workers).min(memory::affordable_workers())
}

/// Returns the progress display, or `None` without a console and a callback. `estimate` is called only if there
/// is one.
pub(crate) fn progress_display(
    ctx: &Context,
    shared: &Shared,
    estimate: impl FnOnce() -> Estimate,
) -> Option<ProgressDisplay> {
    let Receivers { console, progress: callback, .. } = ctx.events.receivers.clone();
    if callback.is_none() && console.is_none() {
        return None;
    }
    Some(ProgressDisplay {
        console,
        meters: Arc::clone(&shared.meters),
        progress: ctx.options.progress,
        form: ctx.options.progress_form,
        request: ctx.events.status.clone(),
        estimate: Some(estimate()),
        callback,
    })
}

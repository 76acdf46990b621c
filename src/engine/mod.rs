//! walk -> workers -> report.
//!
//! With one worker there is no pool: it works on the caller's thread, in cp's order. So it is where
//! each decision depends on the one before (prompts, backups, operands that meet at the destination).

mod crew;
mod overseer;

use crate::context::Context;
use crate::options::When;
use crate::report::progress::{Scout, Watch, Watcher};
use crate::report::stats::Summary;
use crate::sys::{memory, proc};
use crate::walk::operands::Roots;
use crate::walk::supply::Supply;
use crate::walk::{Walk, scout};
use crate::worker::Shared;
use crew::{Crew, Work};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Copies everything below the roots, and says what was done.
pub fn run(ctx: &Arc<Context>, roots: Roots) -> Summary {
    let start = Instant::now();
    let mut workers = workers(ctx, &roots);
    let shared = Shared::new(roots.entries.len() > 1);
    let sources = || roots.entries.iter().map(|entry| entry.name.clone()).collect();
    let watch = watch(ctx, &shared, || scout::scout(&ctx.options, sources()));
    let adaptive = workers > 1 && ctx.options.jobs.is_none();
    let gauge = adaptive.then(|| overseer::Gauge::of(ctx, roots.magics()));
    let lone = roots.are_one_file() && !ctx.options.verify && !ctx.options.fsync;
    let landing = ctx.options.fsync.then(|| (roots.dir.clone(), roots.landing_directory()));
    let walk = Walk::new(ctx, roots, workers == 1);
    let mut scout = walk.walker();
    // A copy that waits for a server is worth a second worker, however little it is.
    let little = gauge.is_some_and(|gauge| !gauge.expects_waiting()) && scout.is_little();
    if little {
        workers = 1;
    }
    // A copy that is over at once is not worth a thread, unless somebody wants to hear of it.
    let lasts = ctx.options.limits.rate_limit.is_some() || ctx.options.progress == When::Always;
    let progress = watch.map(|watch| match (little || lone) && !lasts && watch.listener.is_none() {
        true => Watcher::start_late(watch),
        false => Watcher::start(watch),
    });
    let work = work(ctx, &shared, &walk, workers, gauge);
    if let Some((top, directory)) = landing {
        shared.make_name_durable(ctx, &top, &directory);
    }
    drop(progress);
    let summary = summary(ctx, work, &walk, start.elapsed());
    Summary { stats: summary.stats.merge(scout.into_stats()), ..summary }
}

/// Copies what a supply other than a walk gives, from and to file systems of these types.
pub fn run_supply(ctx: &Arc<Context>, shared: &Shared, supply: impl Supply, magics: Vec<u64>) -> Summary {
    let start = Instant::now();
    let workers = wanted_workers(ctx);
    let gauge = ctx.options.jobs.is_none().then(|| overseer::Gauge::of(ctx, magics));
    let walk = Walk::supplied(ctx, supply);
    let work = work(ctx, shared, &walk, workers, gauge);
    summary(ctx, work, &walk, start.elapsed())
}

fn work<'c>(
    ctx: &'c Context,
    shared: &'c Shared,
    walk: &Walk<'c>,
    workers: usize,
    gauge: Option<overseer::Gauge>,
) -> Work {
    let crew = Crew::new(ctx, shared, walk);
    match gauge {
        Some(gauge) if workers > 1 => overseer::adaptive(&crew, workers, gauge),
        None if workers > 1 => overseer::fixed(&crew, workers),
        _ => crew.shift(),
    }
    shared.make_files_durable(ctx);
    crew.into_work()
}

fn summary(ctx: &Context, work: Work, walk: &Walk<'_>, elapsed: Duration) -> Summary {
    Summary {
        stats: work.stats,
        dry_run: ctx.options.dry_run,
        elapsed,
        workers: work.peak_workers,
        peak_in_flight: walk.peak(),
        failed: ctx.reporter.failures(),
        failures: ctx.reporter.kept_failures(),
        warnings: ctx.reporter.kept_warnings(),
        interrupted: ctx.stop.is_raised(),
    }
}

/// One, where order matters or there is nothing to share.
fn workers(ctx: &Context, roots: &Roots) -> usize {
    if ctx.options.needs_order() || roots.collide || !roots.are_many {
        return 1;
    }
    wanted_workers(ctx)
}

/// As many as were asked for, or as there are processors, if there are descriptors and memory for them.
fn wanted_workers(ctx: &Context) -> usize {
    let wanted = ctx.options.jobs.unwrap_or_else(proc::processors);
    wanted.min(ctx.descriptors.workers()).min(memory::affordable_workers())
}

/// Who looks on, if anybody does; then `scout` makes who counts what there is to do.
pub fn watch(ctx: &Context, shared: &Shared, scout: impl FnOnce() -> Scout) -> Option<Watch> {
    let console = ctx.reporter.console().cloned();
    // Without a console there is nobody to show anything to but a listener.
    if ctx.listener.is_none() && console.is_none() {
        return None;
    }
    Some(Watch {
        console,
        meters: Arc::clone(&shared.meters),
        progress: ctx.options.progress,
        request: ctx.status.clone(),
        scout: Some(scout()),
        listener: ctx.listener.clone(),
    })
}

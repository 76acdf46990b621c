//! walk -> pool -> report.
//!
//! The workers pull: whoever is idle locks the walk, takes one parcel and unlocks. There is no
//! queue, so no more is in flight than there are workers, however large the tree. When the walk is
//! at its end, the idle help with the parcels that others are still working on.
//!
//! With one worker there is no pool: the same loop runs on the caller's thread, in cp's order. So it
//! does where each decision depends on the one before (prompts, backups, operands that meet at the
//! destination).

use crate::context::Context;
use crate::job::Parcel;
use crate::options::When;
use crate::report::progress::{Display, Handle, Progress, Watch};
use crate::report::stats::Summary;
use crate::report::{Failure, Stats, lock};
use crate::sys::proc;
use crate::walk::Walk;
use crate::walk::operands::Roots;
use crate::walk::scout;
use crate::worker::{Shared, Worker};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Copies everything below the roots, and says what was done.
pub fn run(ctx: &Context, roots: Roots, bar: Handle) -> Summary {
    let start = Instant::now();
    let workers = workers(ctx, &roots);
    let shared = Shared::new(roots.entries.len() > 1);
    let progress = watch(ctx, &roots, &shared, bar).map(Progress::start);
    let walk = Walk::new(ctx, roots, workers == 1);
    let crew = Crew { ctx, shared: &shared, walk: Mutex::new(walk), in_flight: Mutex::default() };
    let stats = crew.work(workers);
    drop(progress);
    Summary {
        stats: stats.merge(lock(&crew.walk).take_stats()),
        elapsed: start.elapsed(),
        workers,
        peak_in_flight: lock(&crew.in_flight).peak,
        failed: ctx.reporter.failures(),
        failures: ctx.reporter.kept_failures(),
    }
}

/// One, where order matters or there is nothing to share.
fn workers(ctx: &Context, roots: &Roots) -> usize {
    if ctx.options.needs_order() || roots.collide || !roots.are_many(&ctx.options) {
        return 1;
    }
    ctx.options.jobs.unwrap_or_else(proc::processors)
}

/// Who looks on. A copy that is over at once is not worth a thread.
fn watch(ctx: &Context, roots: &Roots, shared: &Shared, handle: Handle) -> Option<Watch> {
    if !ctx.may_last {
        return None;
    }
    let terminal = std::io::stderr().is_terminal();
    let display = match ctx.options.progress {
        When::Always | When::Auto if terminal => Display::Bar,
        When::Always => Display::Lines,
        When::Auto | When::Never => Display::OnRequest,
    };
    let sources = roots.entries.iter().map(|entry| entry.name.clone()).collect();
    Some(Watch {
        program: ctx.reporter.program().to_owned(),
        meters: Arc::clone(&shared.meters),
        handle,
        display,
        request: ctx.status.clone(),
        scout: scout::scout(&ctx.options, sources),
    })
}

struct Crew<'c> {
    ctx: &'c Context,
    shared: &'c Shared,
    walk: Mutex<Walk<'c>>,
    in_flight: Mutex<InFlight>,
}

/// The parcels that somebody is working on.
#[derive(Default)]
struct InFlight {
    parcels: Vec<Arc<Parcel>>,
    peak: usize,
}

impl Crew<'_> {
    fn work(&self, workers: usize) -> Stats {
        if workers == 1 {
            return self.one();
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
        let pool = match pool {
            Ok(pool) => pool,
            Err(_) => {
                let words = "warning: cannot start worker threads; copying with one";
                self.ctx.reporter.warn(&Failure::plain(words));
                return self.one();
            }
        };
        let total = Mutex::new(Stats::default());
        pool.scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|_| {
                    let stats = self.one();
                    let mut total = lock(&total);
                    *total = std::mem::take(&mut *total).merge(stats);
                });
            }
        });
        std::mem::take(&mut *lock(&total))
    }

    /// What one worker does until there is nothing left.
    fn one(&self) -> Stats {
        let mut worker = Worker::new(self.ctx, self.shared);
        while let Some(parcel) = self.pull().or_else(|| self.help()) {
            worker.run(&parcel);
            lock(&self.in_flight).parcels.retain(|other| !Arc::ptr_eq(other, &parcel));
        }
        worker.into_stats()
    }

    fn pull(&self) -> Option<Arc<Parcel>> {
        let mut walk = lock(&self.walk);
        let parcel = Arc::new(walk.next_parcel()?);
        let mut in_flight = lock(&self.in_flight);
        in_flight.parcels.push(Arc::clone(&parcel));
        in_flight.peak = in_flight.peak.max(in_flight.parcels.len());
        Some(parcel)
    }

    /// A parcel of somebody else that still has names that nobody took.
    fn help(&self) -> Option<Arc<Parcel>> {
        if self.ctx.stop.is_raised() {
            return None;
        }
        lock(&self.in_flight).parcels.iter().find(|parcel| !parcel.is_taken()).cloned()
    }
}

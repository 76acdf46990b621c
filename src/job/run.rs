//! `--run`: copies one part. It may be repeated, and run on several machines at once.

use super::Job;
use super::branch::Branch;
use super::facts::{Facts, PlannedRange};
use super::lists::ListReader;
use super::ranged::{JOINED, RangedFile};
use super::result::{CopiedRange, PartResult};
use super::supply::PartNames;
use super::sweep::Mark;
use super::written::{self, Written};
use crate::dir::Hold;
use crate::engine;
use crate::error::Operation;
use crate::report::progress::{Estimate, ProgressThread, Total};
use crate::report::stats::Summary;
use crate::report::{Failure, Stats, lock};
use crate::sys::stale::StaleRetry;
use crate::sys::{Kind, Stat, memory, proc};
use crate::worker::range::Whole;
use crate::worker::{Shared, Worker};
use std::ffi::{OsStr, OsString};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

pub(super) fn run(job: &Job, part: u64, written: &Written) -> Result<Summary, Failure> {
    let Job { ctx, folder, .. } = job;
    // Do not wait for a result to become visible: most parts have none yet, and a part whose result is not
    // visible here may be copied again.
    let before = PartResult::read(job, part, &StaleRetry::new(true))?;
    if before.as_ref().is_some_and(|before| before.failed() == 0) {
        return Ok(Summary::default()); // this or another machine has copied it
    }
    let mark = Mark::set(job, part)?;
    if ctx.options.resume {
        job.retry(|| written.begin(folder, part, &ctx.run.stale_retry))?;
    }
    let start = Instant::now();
    let shared = Shared::new(false, false);
    let open = || job.retry(|| ListReader::open(&folder.parts, &part.to_string(), &ctx.run.stale_retry));
    let estimate = || {
        let list = open().ok();
        Box::new(move |total: &Total| count(list, total)) as Estimate
    };
    let _progress = engine::progress_display(ctx, &shared, estimate).map(ProgressThread::start);
    // Ranges of large files first: they take longest.
    let done = before.map(|before| before.ranges).unwrap_or_default();
    let (ranges, stats) = RangeCopier { job, mark: &mark, shared: &shared, done }.run(open()?)?;
    let summary = engine::run_supply(ctx, &shared, PartNames::new(job, open()?)?, job.manifest.magics());
    let summary = Summary { stats: summary.stats.merge(stats), elapsed: start.elapsed(), ..summary };
    if ctx.run.stop.is_raised() {
        return Ok(summary);
    }
    let result = PartResult { stats: summary.json(), ranges };
    // The names of a completed part are not needed any more. After a failed sync, a name may not be on the
    // disk, so the next run must make it again.
    if result.failed() == 0 || may_have_failed_to_sync(&summary) {
        job.retry(|| written::forget(folder, part))?;
    }
    result.write(job, part)?;
    mark.remove(job);
    Ok(summary)
}

fn may_have_failed_to_sync(summary: &Summary) -> bool {
    let all_are_kept = usize::try_from(summary.failed).is_ok_and(|failed| failed == summary.failures.len());
    !all_are_kept || summary.failures.iter().any(Failure::is_of_sync)
}

/// Counts the bytes and files of a part for the progress bar.
fn count(list: Option<ListReader<Facts>>, total: &Total) {
    proc::lowest_priority();
    for (_, facts) in list.into_iter().flatten().flatten() {
        if total.cancelled.load(Ordering::Relaxed) {
            return;
        }
        let (bytes, files) = match &facts.range {
            Some(range) => (range.bytes.end - range.bytes.start, 0),
            None => (if facts.kind == Kind::RegularFile { facts.size } else { 0 }, 1),
        };
        total.bytes.fetch_add(bytes, Ordering::Relaxed);
        total.files.fetch_add(files, Ordering::Relaxed);
    }
    total.named.store(true, Ordering::Relaxed);
    total.complete.store(true, Ordering::Relaxed);
}

/// Copies the ranges of large files in a part.
struct RangeCopier<'j> {
    job: &'j Job,
    mark: &'j Mark,
    shared: &'j Shared,
    done: Vec<CopiedRange>,
}

impl RangeCopier<'_> {
    /// Copies the ranges in the list, several at once. Returns the ranges that are now copied, and the
    /// statistics.
    fn run(&self, list: ListReader<Facts>) -> Result<(Vec<CopiedRange>, Stats), Failure> {
        let is_range = |found: &Result<(_, Facts), _>| !matches!(found, Ok((_, Facts { range: None, .. })));
        let ranges: Vec<(OsString, Facts)> = list.filter(is_range).collect::<Result<_, _>>()?;
        if ranges.is_empty() {
            return Ok((Vec::new(), Stats::default()));
        }
        let ctx = &self.job.ctx;
        let workers = ctx.options.jobs.unwrap_or_else(proc::processors).min(ranges.len());
        let workers = workers.min(memory::affordable_workers());
        let queue = Mutex::new((ranges.into_iter(), Branch::new(self.job, None)?));
        let results = Mutex::new((Vec::new(), Stats::default()));
        let work = || {
            let mut worker = Worker::new(ctx, self.shared);
            let mut done = Vec::new();
            while !ctx.run.stop.is_raised() {
                let (facts, reached) = {
                    let (ranges, branch) = &mut *lock(&queue);
                    let Some((path, facts)) = ranges.next() else { break };
                    (facts, branch.parent_of(&path).map(|(dir, name)| (dir.clone(), name.to_owned())))
                };
                match reached.and_then(|(dir, name)| self.copy_to(&mut worker, &dir, &name, &facts)) {
                    Ok(copied) => done.extend(copied),
                    Err(failure) => ctx.events.fail(failure),
                }
            }
            let (all, stats) = &mut *lock(&results);
            all.extend(done);
            *stats = std::mem::take(stats).merge(worker.into_stats());
        };
        std::thread::scope(|scope| {
            for _ in 1..workers {
                // If no thread can be started, this one copies all ranges.
                let _ = std::thread::Builder::new().stack_size(memory::STACK).spawn_scoped(scope, work);
            }
            work();
        });
        Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Copies a range of a file in `dir` unless an earlier run has done so. Returns `None` if a signal stopped the
    /// copy.
    fn copy_to(
        &self,
        worker: &mut Worker<'_>,
        dir: &Hold,
        name: &OsStr,
        facts: &Facts,
    ) -> Result<Option<CopiedRange>, Failure> {
        let Some(range) = &facts.range else { return Ok(None) };
        let entry = self.job.manifest.entry(name, facts.kind);
        let is_same = |now: &Stat| facts.still_hold(now);
        let whole = Whole { dir, entry: &entry, is_same: &is_same };
        let ranged = RangedFile { job: self.job, join: range.join, size: facts.size };
        let file = self.job.retry(|| match self.done_before(&ranged, &whole, range)? {
            Some(file) => Ok(Some(file)),
            None => worker.copy_range(&whole, range.bytes.clone(), |fds| ranged.open_or_make(self.mark, dir, fds)),
        })?;
        Ok(file.map(|file| CopiedRange { join: range.join, start: range.bytes.start, file }))
    }

    /// Returns the name of the file that holds the range from an earlier run, if that file still exists under
    /// its own or its final name.
    fn done_before(
        &self,
        ranged: &RangedFile<'_>,
        whole: &Whole<'_>,
        range: &PlannedRange,
    ) -> Result<Option<OsString>, Failure> {
        let is_range = |done: &&CopiedRange| (done.join, done.start) == (range.join, range.bytes.start);
        let Some(done) = self.done.iter().find(is_range) else { return Ok(None) };
        let Some(record) = ranged.latest()?.filter(|record| record.name == done.file) else { return Ok(None) };
        let cannot = |errno| {
            Failure::new(Operation::Access, whole.dir.destination_path(whole.entry.destination())).errno(errno)
        };
        let fds = whole.dir.fds(&self.job.ctx).map_err(cannot)?;
        let is_there = ranged.is_marked(JOINED) || ranged.is_intact(&record, &fds.dst);
        Ok(is_there.then(|| done.file.clone()))
    }
}

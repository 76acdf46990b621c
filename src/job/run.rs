//! `--run`: copies one part. It may be repeated, and run on several machines at once.

use super::branch::Branch;
use super::facts::{Facts, PlannedRange};
use super::folder::Folder;
use super::lists::ListReader;
use super::manifest::Manifest;
use super::ranged::{JOINED, RangedFile};
use super::result::{CopiedRange, PartResult};
use super::supply::PartNames;
use super::sweep::Mark;
use super::written::{self, Written};
use crate::context::Context;
use crate::engine;
use crate::report::progress::{Estimate, Total, Watcher};
use crate::report::stats::Summary;
use crate::report::{Failure, Stats, lock};
use crate::sys::stale::StaleRetry;
use crate::sys::{Kind, Stat, memory, proc};
use crate::worker::range::Whole;
use crate::worker::{Shared, Worker};
use std::ffi::OsString;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Runs a part of a job.
///
/// # Errors
/// If it cannot begin, or cannot record that the part is done.
pub(super) fn run(
    ctx: &Arc<Context>,
    folder: &Folder,
    manifest: &Manifest,
    part: u64,
    written: &Written,
) -> Result<Summary, Failure> {
    // Do not wait for a result to become visible: most parts have none yet, and a part whose result is not
    // visible here may be copied again.
    let before = PartResult::read(folder, &manifest.job, part, &StaleRetry::new(true))?;
    if before.as_ref().is_some_and(|before| before.failed() == 0) {
        return Ok(Summary::default()); // this or another machine has copied it
    }
    let mark = Mark::set(ctx, folder, part)?;
    if ctx.options.resume {
        ctx.stale_retry.operation(|| written.begin(folder, part, &ctx.stale_retry), Failure::reason)?;
    }
    let start = Instant::now();
    let shared = Shared::new(false, false);
    let open = || {
        let list = part.to_string();
        ctx.stale_retry.operation(|| ListReader::open(&folder.parts, &list, &ctx.stale_retry), Failure::reason)
    };
    let estimate = || {
        let list = open().ok();
        Box::new(move |total: &Total| count(list, total)) as Estimate
    };
    let _progress = engine::watch(ctx, &shared, estimate).map(Watcher::start);
    // Ranges of large files first: they take longest.
    let (pieces, stats) = {
        let done = before.map(|before| before.pieces).unwrap_or_default();
        let copy = RangeCopier { ctx, folder, manifest, mark: &mark, shared: &shared, done };
        copy.run(open()?)?
    };
    let names = PartNames::new(ctx, manifest, open()?)?;
    let magics = vec![manifest.source.magic, manifest.destination.magic];
    let summary = engine::run_supply(ctx, &shared, names, magics);
    let summary = Summary { stats: summary.stats.merge(stats), elapsed: start.elapsed(), ..summary };
    if ctx.stop.is_raised() {
        return Ok(summary);
    }
    let result = PartResult { stats: summary.json(), pieces };
    // The names of a completed part are not needed any more. After a failed sync, a name may not be on the
    // disk, so the next run must make it again.
    if result.failed() == 0 || may_have_failed_to_sync(&summary) {
        ctx.stale_retry.operation(|| written::forget(folder, part), Failure::reason)?;
    }
    result.write(folder, &manifest.job, part, &ctx.stale_retry)?;
    mark.remove(folder);
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
        let (bytes, files) = match &facts.piece {
            Some(piece) => (piece.range.end - piece.range.start, 0),
            None => (if facts.kind == Kind::Regular { facts.size } else { 0 }, 1),
        };
        total.bytes.fetch_add(bytes, Ordering::Relaxed);
        total.files.fetch_add(files, Ordering::Relaxed);
    }
    total.named.store(true, Ordering::Relaxed);
    total.complete.store(true, Ordering::Relaxed);
}

/// Copies the ranges of large files in a part.
struct RangeCopier<'c> {
    ctx: &'c Arc<Context>,
    folder: &'c Folder,
    manifest: &'c Manifest,
    mark: &'c Mark,
    shared: &'c Shared,
    /// The ranges that an earlier run has copied.
    done: Vec<CopiedRange>,
}

type FoundRange = (OsString, Facts, PlannedRange);

impl RangeCopier<'_> {
    /// Copies the ranges in the list, several at once. Returns the ranges that are now copied, and the
    /// statistics.
    fn run(&self, list: ListReader<Facts>) -> Result<(Vec<CopiedRange>, Stats), Failure> {
        let pieces = list.filter_map(|found| match found {
            Ok((path, facts)) => facts.piece.clone().map(|piece| Ok((path, facts, piece))),
            Err(failure) => Some(Err(failure)),
        });
        let pieces: Vec<FoundRange> = pieces.collect::<Result<_, _>>()?;
        if pieces.is_empty() {
            return Ok((Vec::new(), Stats::default()));
        }
        let branch = Branch::new(self.ctx, self.manifest, None)?;
        let workers = self.ctx.options.jobs.unwrap_or_else(proc::processors).min(pieces.len());
        let workers = workers.min(memory::affordable_workers());
        let queue = Mutex::new((pieces.into_iter(), branch));
        let results = Mutex::new((Vec::new(), Stats::default()));
        let work = || {
            let mut worker = Worker::new(self.ctx, self.shared);
            let mut done = Vec::new();
            while !self.ctx.stop.is_raised() {
                let (piece, whole) = {
                    let (pieces, branch) = &mut *lock(&queue);
                    let Some((path, facts, piece)) = pieces.next() else { break };
                    let reached = branch.parent_of(&path);
                    (piece, reached.map(|(dir, name)| (dir.clone(), name.to_owned(), facts)))
                };
                let copied = whole.and_then(|(dir, name, facts)| {
                    let entry = self.manifest.entry(&name, facts.kind);
                    let is_same = |now: &Stat| facts.still_hold(now);
                    let whole = Whole { dir: &dir, entry: &entry, is_same: &is_same };
                    self.ctx
                        .stale_retry
                        .operation(|| self.copy(&mut worker, &whole, &piece, facts.size), Failure::reason)
                });
                match copied {
                    Ok(Some(file)) => done.push(CopiedRange { join: piece.join, start: piece.range.start, file }),
                    Ok(None) => {}
                    Err(failure) => self.ctx.reporter.fail(failure),
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
        Ok(results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Copies a range of a file of `size` bytes unless an earlier run has done so. Returns the name of the file
    /// that holds it, or `None` if a signal stopped the copy.
    fn copy(
        &self,
        worker: &mut Worker<'_>,
        whole: &Whole<'_>,
        piece: &PlannedRange,
        size: u64,
    ) -> Result<Option<OsString>, Failure> {
        let RangeCopier { ctx, folder, manifest, .. } = *self;
        let ranged = RangedFile { ctx, folder, manifest, join: piece.join, size };
        if let Some(file) = self.done_before(&ranged, whole, piece)? {
            return Ok(Some(file));
        }
        worker.copy_range(whole, piece.range.clone(), |fds| ranged.open_or_make(self.mark, whole.dir, fds))
    }

    /// Returns the name of the file that holds the range from an earlier run, if that file still exists under
    /// its own or its final name.
    fn done_before(
        &self,
        ranged: &RangedFile<'_>,
        whole: &Whole<'_>,
        piece: &PlannedRange,
    ) -> Result<Option<OsString>, Failure> {
        let is_range = |done: &&CopiedRange| (done.join, done.start) == (piece.join, piece.range.start);
        let Some(done) = self.done.iter().find(is_range) else { return Ok(None) };
        let Some(record) = ranged.latest()?.filter(|record| record.name == done.file) else { return Ok(None) };
        let cannot = |errno| {
            Failure::new("cannot access {}", whole.dir.destination_path(whole.entry.destination())).errno(errno)
        };
        let fds = whole.dir.fds(self.ctx).map_err(cannot)?;
        let is_there = ranged.is_marked(JOINED) || ranged.is_intact(&record, &fds.dst);
        Ok(is_there.then(|| done.file.clone()))
    }
}

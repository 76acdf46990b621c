//! `--finish`: completes the tree after all parts have been run.
//!
//! Large files that were copied in ranges get their attributes and names. Directories get their attributes,
//! the deepest first. The statistics of the parts are added up. Each step can be repeated: a joined file is
//! noted in the job folder, and a directory simply gets the same attributes again.

use super::Job;
use super::branch::Branch;
use super::facts::DirFacts;
use super::folder::{DIRECTORIES, FINISHED, JOINS};
use super::lists::{ListReader, ROOT};
use super::manifest::Join;
use super::ranged::{JOINED, JOINING, RangeRecord, RangedFile};
use super::result::{CopiedRange, PartResult};
use super::sweep::sweep;
use crate::context::DirFd;
use crate::dir::Dir;
use crate::error::Operation;
use crate::path;
use crate::report::stats::Summary;
use crate::report::{Failure, Stats, gather};
use crate::sys::{Kind, Stat};
use crate::worker::range::Whole;
use crate::worker::{Shared, Worker};
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

/// Completes a job. Fails if parts are missing; then nothing is done. Later failures are reported, and the rest is
/// done.
pub(super) fn finish(job: &Job) -> Result<Summary, Failure> {
    let ctx = &job.ctx;
    let results = results(job)?;
    let shared = Shared::new(false, false);
    let (joined, waiting) = Joiner { job, results: &results, shared: &shared }.join_all()?;
    sweep(job, &waiting)?;
    let directories = complete_directories(job)?;
    if ctx.options.fsync {
        // `--plan` made the destination root, so its name still has to be synced.
        let (above, _) = path::split(&job.manifest.destination.path);
        shared.make_name_durable(ctx, &Dir::operands(DirFd::Cwd, OsString::new()), above);
    }
    report(job, &results);
    let own = joined.merge(Stats { directories, ..Stats::default() });
    let mut all = Summary { stats: own, workers: 1, ..Summary::default() };
    for part in results.iter().map(|result| gather::summary(&result.stats)) {
        all.stats = all.stats.merge(part.stats);
        all.elapsed += part.elapsed;
        all.vanished += part.vanished;
        all.workers = all.workers.max(part.workers);
        all.peak_in_flight = all.peak_in_flight.max(part.peak_in_flight);
    }
    let summary = Summary { failed: ctx.events.failures(), failures: ctx.events.kept_failures(), ..all };
    job.folder.root.write_json(FINISHED, &summary.json())?;
    Ok(summary)
}

fn results(job: &Job) -> Result<Vec<PartResult>, Failure> {
    let mut results = Vec::new();
    let mut missing = Vec::new();
    for part in 0..job.manifest.parts {
        match PartResult::read(job, part, &job.ctx.run.stale_retry)? {
            Some(result) => results.push(result),
            None => missing.push(part.to_string()),
        }
    }
    if missing.is_empty() {
        return Ok(results);
    }
    const SHOWN: usize = 100;
    let more = missing.len().saturating_sub(SHOWN);
    missing.truncate(SHOWN);
    let mut list = missing.join(",");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    Err(Failure::new(Operation::MissingParts, job.folder.path()).and(list))
}

/// Completes the files that were copied in ranges.
struct Joiner<'j> {
    job: &'j Job,
    results: &'j [PartResult],
    shared: &'j Shared,
}

impl Joiner<'_> {
    /// Joins all complete files. Returns the statistics and the names of the files that still lack ranges.
    fn join_all(&self) -> Result<(Stats, HashSet<OsString>), Failure> {
        let Job { ctx, folder, .. } = self.job;
        let damaged = || Failure::new(Operation::Damaged, folder.root.path_of(JOINS));
        let value = folder.root.read_json(JOINS, &ctx.run.stale_retry)?.ok_or_else(damaged)?;
        let joins = value.as_array().ok_or_else(damaged)?;
        let mut worker = Worker::new(ctx, self.shared);
        let mut waiting = HashSet::new();
        if !joins.is_empty() {
            let mut branch = Branch::new(self.job, None)?;
            for join in joins {
                let join = Join::parse(join).ok_or_else(damaged)?;
                let ranged = RangedFile { job: self.job, join: join.number, size: join.facts.size };
                if let Err(failure) = self.join(&mut worker, &mut branch, &join, &ranged) {
                    ctx.events.fail(failure);
                }
                waiting.extend(ranged.latest()?.filter(|_| !ranged.is_marked(JOINED)).map(|record| record.name));
            }
        }
        Ok((worker.into_stats(), waiting))
    }

    fn join(
        &self,
        worker: &mut Worker<'_>,
        branch: &mut Branch<'_>,
        join: &Join,
        ranged: &RangedFile<'_>,
    ) -> Result<(), Failure> {
        let (dir, name) = branch.parent_of(join.first())?;
        let dir = Arc::clone(dir);
        let entry = self.job.manifest.entry(name, Kind::RegularFile);
        let is_same = |now: &Stat| join.facts.still_hold(now);
        let whole = Whole { dir: &dir, entry: &entry, is_same: &is_same };
        if !ranged.is_marked(JOINED) {
            self.join_ranges(worker, &whole, ranged, join)?;
            ranged.mark(JOINED)?;
        }
        for other in join.names.iter().skip(1) {
            let (dir, name) = branch.parent_of(other)?;
            worker.link_joined(&whole, &Arc::clone(dir), name)?;
        }
        Ok(())
    }

    /// Gives the file that holds the ranges its attributes and its final name.
    fn join_ranges(
        &self,
        worker: &mut Worker<'_>,
        whole: &Whole<'_>,
        ranged: &RangedFile<'_>,
        join: &Join,
    ) -> Result<(), Failure> {
        let (dir, name) = (whole.dir, whole.entry.destination());
        let path = |name: &OsStr| dir.destination_path(name);
        let cannot_access = |errno| Failure::new(Operation::Access, path(name)).errno(errno);
        let fds = dir.fds(&self.job.ctx).map_err(cannot_access)?;
        let record = ranged.latest()?;
        let is_complete = self.missing_from(join, record.as_ref()).is_empty();
        if let Some(record) = record.as_ref().filter(|_| is_complete)
            // An earlier `--finish` renamed the file and was killed before it noted that.
            && self.job.manifest.has_lasting_inodes()
            && ranged.has_name(record, &fds.dst, name)
        {
            return Ok(());
        }
        if let Some(record) = &record
            && !worker.is_as_planned(whole)
        {
            // The source has changed, so the file will never be complete.
            ranged.discard(record, dir, &fds)?;
        }
        let file = match &record {
            Some(record) => ranged.open(record, dir, &fds)?,
            None => None,
        };
        let record = record.filter(|_| file.is_some());
        let lost = self.missing_from(join, record.as_ref());
        if !lost.is_empty() {
            self.forget_lost(join, record.as_ref());
            let failure = |words| Failure::new(words, path(name)).and(lost.join(","));
            return Err(match record {
                Some(record) => failure(Operation::LostRangesOfParts).and(path(&record.name)),
                None => failure(Operation::LostRanges),
            });
        }
        let (Some(file), Some(record)) = (file, record) else { return Ok(()) };
        ranged.mark(JOINING)?;
        worker.join(whole, file, &record.name)?;
        ranged.discard_replaced(dir, &fds)
    }

    /// Returns the parts that have to copy ranges again, because the file that was published last lacks them.
    fn missing_from(&self, join: &Join, record: Option<&RangeRecord>) -> Vec<String> {
        let mut there = 0;
        let mut lost = Vec::new();
        for (part, result) in (0u64..).zip(self.results) {
            let (good, all) = ranges_in(result, join, record);
            there += good;
            if good < all || result.failed() > 0 {
                lost.push(part.to_string());
            }
        }
        if there >= join.ranges { Vec::new() } else { lost }
    }

    /// Deletes the results of the parts whose ranges are lost.
    fn forget_lost(&self, join: &Join, record: Option<&RangeRecord>) {
        for (part, result) in (0u64..).zip(self.results) {
            let (good, all) = ranges_in(result, join, record);
            if good < all
                && let Err(failure) = self.job.folder.results.remove(&format!("{part}.json"))
            {
                self.job.ctx.events.fail(failure);
            }
        }
    }
}

/// Returns the number of ranges of a file that a part has copied to the file published last, and to any file.
fn ranges_in(result: &PartResult, join: &Join, record: Option<&RangeRecord>) -> (u64, u64) {
    let count = |is_counted: &dyn Fn(&CopiedRange) -> bool| {
        let ranges = result.ranges.iter().filter(|done| done.join == join.number && is_counted(done));
        u64::try_from(ranges.count()).unwrap_or(0)
    };
    (count(&|done| record.is_some_and(|record| record.name == done.file)), count(&|_| true))
}

/// Gives all directories their attributes and makes those without files. Returns their number.
fn complete_directories(job: &Job) -> Result<u64, Failure> {
    let Job { ctx, folder, .. } = job;
    let mut list = ListReader::<DirFacts>::open(&folder.root, DIRECTORIES, &ctx.run.stale_retry)?;
    let Some(root) = list.next().transpose()? else { return Ok(0) };
    if root.0 != ROOT {
        return Err(Failure::new(Operation::Damaged, folder.root.path_of(DIRECTORIES)));
    }
    let mut branch = Branch::new(job, Some(&root.1))?;
    let mut directories = 1;
    for directory in list {
        let (path, facts) = directory?;
        if ctx.run.stop.is_raised() {
            branch.abandon();
            break;
        }
        match branch.enter(&path, Some(&facts)) {
            Ok(_) => directories += 1,
            Err(failure) => ctx.events.fail(failure),
        }
    }
    Ok(directories)
}

fn report(job: &Job, results: &[PartResult]) {
    let Job { ctx, manifest, .. } = job;
    let of_parts = (0u64..).zip(results).map(|(part, result)| {
        (format!("part {part}"), result.failed(), result.stats["errors"].as_array().cloned().unwrap_or_default())
    });
    let of_plan = ("the plan".to_owned(), manifest.failed, manifest.errors.clone());
    for (step, failed, errors) in std::iter::once(of_plan).chain(of_parts) {
        for error in &errors {
            ctx.events.fail(failure(&step, error));
        }
        let more = failed.saturating_sub(u64::try_from(errors.len()).unwrap_or(u64::MAX));
        if more > 0 {
            ctx.events.fail(Failure::new(Operation::FurtherFailures, &step).and(more.to_string()));
            (1..more).for_each(|_| ctx.events.fail_silently());
        }
    }
}

/// Returns a failure that another process recorded.
fn failure(step: &str, error: &Value) -> Failure {
    let path = crate::report::json::from_bytes(&error["path"]).unwrap_or_default();
    let operation = error["operation"].as_str().unwrap_or("failed");
    match error["errno"].as_str() {
        Some(errno) => Failure::new(Operation::PartFailedBecause, path).and(step).and(operation).and(errno),
        None => Failure::new(Operation::PartFailed, path).and(step).and(operation),
    }
}

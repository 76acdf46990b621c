//! `--finish`: when all parts have been run, what only the whole can have.
//!
//! Large files that were copied in ranges get their attributes and names; directories get theirs,
//! those below first; what the parts reported is added up. Each step can be done again: a file that
//! is joined is recognised by its inode, and a directory is given the same once more.

use super::branch::Branch;
use super::facts::DirFacts;
use super::folder::{self, Folder};
use super::joins::Join;
use super::lists::{ROOT, Reader};
use super::manifest::Manifest;
use super::result::PartResult;
use super::sweep::sweep;
use crate::backup;
use crate::context::Context;
use crate::dir::{Base, Dir};
use crate::job::Entry;
use crate::report::stats::Summary;
use crate::report::{Failure, Stats, gather};
use crate::sys::at::{self, Follow};
use crate::sys::{Kind, Stat};
use crate::worker::piece::Whole;
use crate::worker::{Shared, Worker};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

/// Completes a job.
///
/// # Errors
/// When parts are missing: nothing is done then. What fails on the way is reported, and the rest is
/// done.
pub(super) fn finish(ctx: &Context, folder: &Folder, manifest: &Manifest) -> Result<Summary, Failure> {
    let results = results(ctx, folder, manifest)?;
    let shared = Shared::new(false);
    let joiner = Joiner { ctx, folder, manifest, results: &results, shared: &shared };
    let joined = joiner.join_all()?;
    sweep(ctx, folder, manifest)?;
    let directories = complete_directories(ctx, folder, manifest)?;
    if ctx.options.fsync {
        // The name of the whole was made by the plan.
        let (above, _) = backup::split(&manifest.destination.path);
        shared.make_name_durable(ctx, &Dir::operands(Base::Cwd, OsString::new()), above);
    }
    report(ctx, manifest, &results);
    let own = joined.merge(Stats { directories, ..Stats::default() });
    let mut all = Summary { stats: own, workers: 1, ..Summary::default() };
    for part in results.iter().map(|result| gather::summary(&result.stats)) {
        all.stats = all.stats.merge(part.stats);
        all.elapsed += part.elapsed;
        all.workers = all.workers.max(part.workers);
        all.peak_in_flight = all.peak_in_flight.max(part.peak_in_flight);
    }
    let summary = Summary { failed: ctx.reporter.failures(), failures: ctx.reporter.kept_failures(), ..all };
    folder::write(&folder.finished(), &summary.json())?;
    Ok(summary)
}

/// The results of all parts.
fn results(ctx: &Context, folder: &Folder, manifest: &Manifest) -> Result<Vec<PartResult>, Failure> {
    let mut results = Vec::new();
    let mut missing = Vec::new();
    for part in 0..manifest.parts {
        match PartResult::read(folder, &manifest.job, part, &ctx.patience)? {
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
    Err(Failure::new("{} cannot be finished: these parts have not been run: {?}", folder.path()).and(list))
}

/// Puts large files together.
struct Joiner<'c> {
    ctx: &'c Context,
    folder: &'c Folder,
    manifest: &'c Manifest,
    results: &'c [PartResult],
    shared: &'c Shared,
}

impl Joiner<'_> {
    fn join_all(&self) -> Result<Stats, Failure> {
        let path = self.folder.joins();
        let damaged = || Failure::new("{} is damaged", &path);
        let value = folder::read(&path, &self.ctx.patience)?.ok_or_else(damaged)?;
        let joins = value.as_array().ok_or_else(damaged)?;
        let mut worker = Worker::new(self.ctx, self.shared);
        if !joins.is_empty() {
            let mut branch = Branch::new(self.ctx, self.manifest, None)?;
            for join in joins {
                let join = Join::parse(join).ok_or_else(damaged)?;
                if let Err(failure) = self.join(&mut worker, &mut branch, &join) {
                    self.ctx.reporter.fail(failure);
                }
            }
        }
        Ok(worker.into_stats())
    }

    fn join(&self, worker: &mut Worker<'_>, branch: &mut Branch<'_>, join: &Join) -> Result<(), Failure> {
        let first = join.names.first().map(OsString::as_os_str).unwrap_or_default();
        let (dir, name) = branch.parent_of(first)?;
        let dir = Arc::clone(dir);
        let new_name = self.manifest.new_name.clone();
        let operand = new_name.is_some();
        let entry = Entry { name: name.to_owned(), new_name, hint: Some(Kind::Regular), operand };
        let temporary = self.manifest.joined_name(join.number);
        let is_same = |now: &Stat| join.facts.still_hold(now);
        let whole = Whole { dir: &dir, entry: &entry, temporary: &temporary, is_same: &is_same };
        let path = dir.destination_path(entry.destination());
        let fds = dir.fds(self.ctx).map_err(|errno| Failure::new("cannot access {}", &path).errno(errno))?;
        let ino =
            |name: &OsStr| at::stat(&fds.dst, name, Follow::No).ok().map(|stat| self.manifest.identity(stat.ino));
        let waiting = ino(&temporary);
        let lost = self.check_ranges(join, waiting.or_else(|| ino(entry.destination())));
        if !lost.is_empty() {
            let words = "{} is not complete: ranges of it are to be copied again, by part {?}";
            return Err(Failure::new(words, path).and(lost.join(",")));
        }
        if waiting.is_some() {
            worker.join(&whole)?;
        }
        for other in join.names.iter().skip(1) {
            let (dir, name) = branch.parent_of(other)?;
            worker.link_joined(&whole, &Arc::clone(dir), name)?;
        }
        Ok(())
    }

    /// Which parts have to copy ranges of the file again, because they are not in the one that has
    /// this inode number. That such a part was done is forgotten.
    fn check_ranges(&self, join: &Join, ino: Option<u64>) -> Vec<String> {
        let mut there = 0;
        let mut lost = Vec::new();
        for (part, result) in (0..).zip(self.results) {
            let ranges = || result.pieces.iter().filter(|done| done.join == join.number);
            let good = ranges().filter(|done| Some(done.ino) == ino).count();
            there += u64::try_from(good).unwrap_or(0);
            if good < ranges().count() {
                lost.push(part.to_string());
                if let Err(failure) = folder::remove(&self.folder.result(part)) {
                    self.ctx.reporter.fail(failure);
                }
            } else if result.failed() > 0 {
                lost.push(part.to_string());
            }
        }
        if there >= join.pieces { Vec::new() } else { lost }
    }
}

/// Gives all directories their attributes, and makes those that have no file. Says how many there are.
fn complete_directories(ctx: &Context, folder: &Folder, manifest: &Manifest) -> Result<u64, Failure> {
    let mut list = Reader::<DirFacts>::open(folder.directories())?;
    let Some(root) = list.next().transpose()? else { return Ok(0) };
    if root.0 != ROOT {
        return Err(Failure::new("{} is damaged", folder.directories()));
    }
    let mut branch = Branch::new(ctx, manifest, Some(&root.1))?;
    let mut directories = 1;
    for directory in list {
        let (path, facts) = directory?;
        if ctx.stop.is_raised() {
            branch.abandon();
            break;
        }
        match branch.enter(&path, Some(&facts)) {
            Ok(_) => directories += 1,
            Err(failure) => ctx.reporter.fail(failure),
        }
    }
    Ok(directories)
}

/// Tells what failed when the plan was made and when the parts were run.
fn report(ctx: &Context, manifest: &Manifest, results: &[PartResult]) {
    let of_parts = (0u64..).zip(results).map(|(part, result)| {
        (format!("part {part}"), result.failed(), result.stats["errors"].as_array().cloned().unwrap_or_default())
    });
    let of_plan = ("the plan".to_owned(), manifest.failed, manifest.errors.clone());
    for (step, failed, errors) in std::iter::once(of_plan).chain(of_parts) {
        for error in &errors {
            ctx.reporter.fail(failure(&step, error));
        }
        let more = failed.saturating_sub(u64::try_from(errors.len()).unwrap_or(u64::MAX));
        if more > 0 {
            ctx.reporter.fail(Failure::new("{?} reported {?} failures more", &step).and(more.to_string()));
        }
    }
}

/// A failure as another process noted it.
fn failure(step: &str, error: &Value) -> Failure {
    let path = super::json::from_bytes(&error["path"]).unwrap_or_default();
    let operation = error["operation"].as_str().unwrap_or("failed");
    match error["errno"].as_str() {
        Some(errno) => Failure::new("{}, in {?}: {?}: {?}", path).and(step).and(operation).and(errno),
        None => Failure::new("{}, in {?}: {?}", path).and(step).and(operation),
    }
}

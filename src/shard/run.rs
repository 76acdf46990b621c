//! `--run`: one part, on whatever machine this is. Any number of times, also at once.

use super::branch::Branch;
use super::facts::{Facts, Piece};
use super::folder::Folder;
use super::lists::Reader;
use super::manifest::Manifest;
use super::result::{Done, PartResult};
use super::supply::Names;
use super::sweep::Mark;
use crate::context::Context;
use crate::engine;
use crate::job::Entry;
use crate::report::progress::{Total, Watcher};
use crate::report::stats::Summary;
use crate::report::{Failure, Stats, lock};
use crate::sys::at::{self, Follow};
use crate::sys::{Kind, Stat, proc};
use crate::worker::piece::Whole;
use crate::worker::{Shared, Worker};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Runs a part of a job.
///
/// # Errors
/// When it cannot even begin, or cannot say that it is done.
pub(super) fn run(ctx: &Context, folder: &Folder, manifest: &Manifest, part: u64) -> Result<Summary, Failure> {
    let before = PartResult::read(folder, &manifest.job, part, &ctx.patience)?;
    if before.as_ref().is_some_and(|before| before.failed() == 0) {
        return Ok(Summary::default()); // done, by this or another machine
    }
    let mark = Mark::set(ctx, folder, part)?;
    let start = Instant::now();
    let shared = Shared::new(false);
    let open = || ctx.patience.operation(|| Reader::open(folder.part(part)), Failure::reason);
    let list = folder.part(part);
    let _progress = engine::watch(ctx, &shared, || Box::new(move |total| count(list, total))).map(Watcher::start);
    // What is large first: it takes longest.
    let (pieces, stats) = {
        let done = before.map(|before| before.pieces).unwrap_or_default();
        let copy = Pieces { ctx, manifest, shared: &shared, done };
        copy.run(open()?)?
    };
    let names = Names::new(ctx, manifest, open()?)?;
    let magics = vec![manifest.source.magic, manifest.destination.magic];
    let summary = engine::run_supply(ctx, &shared, names, magics);
    let summary = Summary { stats: summary.stats.merge(stats), elapsed: start.elapsed(), ..summary };
    if ctx.stop.is_raised() {
        return Ok(summary);
    }
    PartResult::new(&summary, pieces).write(folder, &manifest.job, part, &ctx.patience)?;
    mark.remove();
    Ok(summary)
}

/// Counts what there is to do in a part, for who looks on.
fn count(list: PathBuf, total: &Total) {
    for (_, facts) in Reader::<Facts>::open(list).into_iter().flatten().flatten() {
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
    total.complete.store(true, Ordering::Relaxed);
}

/// The ranges of large files in a part.
struct Pieces<'c> {
    ctx: &'c Context,
    manifest: &'c Manifest,
    shared: &'c Shared,
    /// Those that an earlier run has copied.
    done: Vec<Done>,
}

type Found = (OsString, Facts, Piece);

impl Pieces<'_> {
    /// Copies those of the list, several at once; says which are there now, and what was done.
    fn run(&self, list: Reader<Facts>) -> Result<(Vec<Done>, Stats), Failure> {
        let pieces = list.filter_map(|found| match found {
            Ok((path, facts)) => facts.piece.clone().map(|piece| Ok((path, facts, piece))),
            Err(failure) => Some(Err(failure)),
        });
        let pieces: Vec<Found> = pieces.collect::<Result<_, _>>()?;
        if pieces.is_empty() {
            return Ok((Vec::new(), Stats::default()));
        }
        let branch = Branch::new(self.ctx, self.manifest, None)?;
        let workers = self.ctx.options.jobs.unwrap_or_else(proc::processors).min(pieces.len());
        let queue = Mutex::new((pieces.into_iter(), branch));
        let results = Mutex::new((Vec::new(), Stats::default()));
        let shift = || {
            let mut worker = Worker::new(self.ctx, self.shared);
            let mut done = Vec::new();
            while !self.ctx.stop.is_raised() {
                let (piece, whole) = {
                    let (pieces, branch) = &mut *lock(&queue);
                    let Some((path, facts, piece)) = pieces.next() else { break };
                    let reached = branch.parent_of(&path);
                    (piece, reached.map(|(dir, name)| (Arc::clone(dir), name.to_owned(), facts)))
                };
                let copied = whole.and_then(|(dir, name, facts)| {
                    let new_name = self.manifest.new_name.clone();
                    let entry = Entry { name, operand: new_name.is_some(), new_name, hint: Some(facts.kind) };
                    let temporary = self.manifest.joined_name(piece.join);
                    let is_same = |now: &Stat| facts.still_hold(now);
                    let whole = Whole { dir: &dir, entry: &entry, temporary: &temporary, is_same: &is_same };
                    match self.is_done(&whole, &piece)? {
                        Some(ino) => Ok(Some(ino)),
                        None => {
                            let copy = || worker.copy_piece(&whole, piece.range.clone());
                            self.ctx.patience.operation(copy, Failure::reason)
                        }
                    }
                });
                match copied {
                    Ok(Some(ino)) => {
                        let ino = self.manifest.identity(ino);
                        done.push(Done { join: piece.join, start: piece.range.start, ino });
                    }
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
                // Where there is no thread to be had, there is this one.
                let _ = std::thread::Builder::new().spawn_scoped(scope, shift);
            }
            shift();
        });
        Ok(results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The inode number of the file that has the range from an earlier run, if it is still there, under
    /// its own or already under its final name.
    fn is_done(&self, whole: &Whole<'_>, piece: &Piece) -> Result<Option<u64>, Failure> {
        let is_it = |done: &&Done| (done.join, done.start) == (piece.join, piece.range.start);
        let Some(done) = self.done.iter().find(is_it) else { return Ok(None) };
        let cannot = |errno| {
            Failure::new("cannot access {}", whole.dir.destination_path(whole.entry.destination())).errno(errno)
        };
        let fds = whole.dir.fds(self.ctx).map_err(cannot)?;
        let has = |name| {
            at::stat(&fds.dst, name, Follow::No).is_ok_and(|stat| self.manifest.identity(stat.ino) == done.ino)
        };
        Ok((has(whole.temporary) || has(whole.entry.destination())).then_some(done.ino))
    }
}

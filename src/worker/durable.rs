//! `--fsync`: nothing is called done before it is on the disk.
//!
//! A single file, each file that `--atomic` is to name, and each on a file system that syncfs(2) is not known to
//! reach, is synced by itself. The other files of a tree are synced together: thousands of them take one wait of
//! syncfs(2), and get their times after it. If that fails, each of them is asked, so that what could not be written
//! is reported by file.

use super::destination::Destination;
use super::{Shared, Task, Worker};
use crate::context::Context;
use crate::dir::{Dir, Hold, Watched};
use crate::metadata::{Handle, times};
use crate::report::{Failure, lock};
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Result, Stat, Time, io};
use crate::transfer::FlushSize;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How many files are synced together at most: their names have to be kept until then.
const BATCH: usize = 1 << 16;
/// What a file has to be written beside its content: its inode, its name.
const BESIDE: u64 = 4096;

/// Files that are written, and not yet known to be on the disk.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    batch: Mutex<SyncGroup>,
    /// Files that got their times after the last sync, which only the next one can vouch for. Held by who syncs.
    timed: Mutex<Vec<Waiting>>,
}

#[derive(Debug, Default)]
struct SyncGroup {
    files: Vec<Waiting>,
    bytes: u64,
    flush_size: FlushSize,
}

impl SyncGroup {
    /// syncfs(2) cannot be interrupted, so it is not to have much to do.
    fn is_due(&self) -> bool {
        self.files.len() >= BATCH || self.bytes >= self.flush_size.bytes()
    }
}

/// A file that waits to be on the disk with others. If it is to get its times then, its directory is not finished
/// before.
#[derive(Debug)]
pub(super) struct Waiting {
    dir: Arc<Dir>,
    name: OsString,
    id: FileId,
    is_regular: bool,
    lacks_times: bool,
    /// Keeps the directory from being finished before the file has its times.
    hold: Option<Hold>,
    atime: Time,
    mtime: Time,
}

impl Waiting {
    /// The file that is open.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub(super) fn new(task: &Task<'_>, fd: &OwnedFd, source: &Stat, lacks_times: bool) -> Result<Waiting> {
        Ok(Waiting::of(task, &at::fstat(fd)?, source, lacks_times))
    }

    /// What stat(2) says this of.
    pub(super) fn of(task: &Task<'_>, made: &Stat, source: &Stat, lacks_times: bool) -> Waiting {
        Waiting {
            dir: Arc::clone(task.dir),
            name: task.entry.destination().to_owned(),
            id: made.id(),
            is_regular: made.is_regular(),
            lacks_times,
            hold: lacks_times.then(|| Hold::new(task.dir)),
            atime: source.atime,
            mtime: source.mtime,
        }
    }

    fn path(&self) -> OsString {
        self.dir.destination_path(&self.name)
    }

    /// Takes hold of the very file, through a symbolic link if it was written through one; `None` if another has its
    /// name.
    fn hold(&self, ctx: &Context) -> Result<Option<OwnedFd>> {
        let fds = self.dir.fds(ctx)?;
        let is_it = |fd: &OwnedFd| at::fstat(fd).is_ok_and(|stat| stat.id() == self.id);
        let held = at::open_path(&fds.dst, &self.name)?;
        if is_it(&held) {
            return Ok(Some(held));
        }
        let held = at::open_read(&fds.dst, &self.name, Follow::Yes, false)?;
        Ok(Some(held).filter(is_it))
    }

    /// fsync(2) of this file alone.
    fn sync(&self, ctx: &Context) -> Result<()> {
        if !self.is_regular {
            return Ok(());
        }
        io::sync(self.dir.fds(ctx).and_then(|fds| at::open_read(&fds.dst, &self.name, Follow::Yes, false))?)
    }

    /// It is on the disk: it gets its times, if it lacks these. Lets go of its directory.
    fn complete(&mut self, ctx: &Context) {
        if let Some(hold) = self.hold.take() {
            self.give_times(ctx);
            drop(hold);
        }
    }

    fn give_times(&self, ctx: &Context) {
        let times = Stat { atime: self.atime, mtime: self.mtime, ..Stat::default() };
        match self.hold(ctx) {
            Ok(Some(held)) => {
                if let Err(error) = times::set(Handle::Path(held.as_fd(), None), &times) {
                    ctx.reporter.fail(Failure::attribute(error, &self.path()));
                }
            }
            // Another process has made a file of that name since, and gives that one its times.
            Ok(None) | Err(Errno::NOENT) => {}
            Err(errno) => ctx.reporter.fail(Failure::new("preserving times for {}", self.path()).errno(errno)),
        }
    }

    /// It may not be on the disk: no later run takes it for complete.
    fn mark_incomplete(&self, ctx: &Context) {
        let times = Stat { mtime: self.mtime, ..Stat::default() };
        if (ctx.options.preserve.timestamps || ctx.options.update)
            && !ctx.options.attributes_only
            && let Ok(Some(held)) = self.hold(ctx)
        {
            let _ = times::set_apart(Handle::Path(held.as_fd(), None), &times);
        }
    }
}

impl Waiting {
    /// It does not get its times.
    pub(super) fn give_up(self, ctx: &Context) {
        self.mark_incomplete(ctx);
    }
}

impl Worker<'_> {
    /// Before a file is written: its file system is watched from now on, if it is to be synced whole.
    pub(super) fn watch_file_system(&self, task: &Task<'_>) {
        self.syncs_whole(task);
    }

    /// Whether what is made in the task's directory is synced with all else on its file system.
    pub(super) fn syncs_whole(&self, task: &Task<'_>) -> bool {
        task.dir.is_synced_with_others(self.ctx, &task.fds.dst)
    }

    /// Whether the destination is. A file that is reached by a symbolic link may be on another file system.
    pub(super) fn is_synced_later(&self, task: &Task<'_>, destination: &Destination) -> bool {
        self.syncs_whole(task) && destination.before.is_none_or(|before| Some(before.dev) == task.dir.dst_dev)
    }

    /// With `--fsync`, has this file alone written to the disk.
    pub(super) fn sync_file(&self, task: &Task<'_>, fd: &OwnedFd) -> std::result::Result<(), Failure> {
        if !self.ctx.options.fsync {
            return Ok(());
        }
        match io::sync(fd) {
            // A pipe or a device may know no such thing.
            Err(Errno::INVAL) if at::fstat(fd).is_ok_and(|stat| !stat.is_regular()) => Ok(()),
            answer => answer.map_err(|errno| cannot_sync(task.destination_path(), errno)),
        }
    }

    /// Has a file written to the disk with the others.
    pub(super) fn sync_later(&self, task: &Task<'_>, file: Waiting) {
        let is_due = {
            let mut batch = lock(&self.shared.unsynced.batch);
            batch.bytes += BESIDE + if file.is_regular { self.ladder.unwritten() } else { 0 };
            batch.files.push(file);
            batch.is_due()
        };
        if is_due {
            self.sync_batch(task);
        }
    }

    /// Has the files so far written to the disk, unless another worker has just done that.
    fn sync_batch(&self, task: &Task<'_>) {
        let mut timed = lock(&self.shared.unsynced.timed);
        let (number, files, bytes) = {
            let mut batch = lock(&self.shared.unsynced.batch);
            if !batch.is_due() || self.ctx.stop.is_raised() {
                return;
            }
            (batch.flush_size.begin(), std::mem::take(&mut batch.files), std::mem::take(&mut batch.bytes))
        };
        let start = Instant::now();
        let answer = self.ctx.watched.sync();
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        settle(self.ctx, &mut timed, files, answer, || task.destination_path());
        lock(&self.shared.unsynced.batch).flush_size.learn(number, bytes, ns);
    }
}

impl Shared {
    /// The end: the files of trees that are not on the disk yet, then the times that they get after that.
    pub fn make_files_durable(&self, ctx: &Context) {
        if !ctx.syncs_whole || ctx.stop.is_raised() {
            return;
        }
        let mut timed = lock(&self.unsynced.timed);
        let files = std::mem::take(&mut lock(&self.unsynced.batch).files);
        let some = files.first().map(Waiting::path).unwrap_or_default();
        settle(ctx, &mut timed, files, ctx.watched.sync(), || some.clone());
        if !timed.is_empty() && !ctx.stop.is_raised() {
            settle(ctx, &mut timed, Vec::new(), ctx.watched.sync(), || some);
        }
    }

    /// The last of all: the names in the directory that the operands destination in.
    pub fn make_name_durable(&self, ctx: &Context, top: &Arc<Dir>, directory: &OsStr) {
        if ctx.stop.is_raised() {
            return;
        }
        let fds = top.fds(ctx);
        let answer =
            fds.and_then(|fds| at::open_dir(&fds.dst, directory, Follow::Yes)).and_then(|dir| io::sync(&dir));
        if let Err(errno) = answer
            && errno != Errno::INVAL
        {
            ctx.reporter.fail(cannot_sync(top.destination_path(directory), errno));
        }
    }
}

/// Completes the files if syncfs(2) said yes; they are `timed` then. Else each is asked, and what could not be written
/// is reported by file. But whoever is to blame, none is relied on that was written since the sync before: the block
/// that holds a file's inode may be lost although fsync(2) of the file says yes. `some` is the path of one of them.
fn settle(
    ctx: &Context,
    timed: &mut Vec<Waiting>,
    files: Vec<Waiting>,
    answer: Result<()>,
    some: impl FnOnce() -> OsString,
) {
    let Err(errno) = answer else {
        timed.clear();
        for mut file in files {
            file.complete(ctx);
            if file.lacks_times {
                timed.push(file);
            }
        }
        return;
    };
    if Watched::is_refusal(errno) {
        return settle_each(ctx, files);
    }
    let mut is_found = false;
    for file in files.iter().chain(timed.iter()) {
        if let Err(errno) = file.sync(ctx) {
            ctx.reporter.fail(cannot_sync(file.path(), errno));
            is_found = true;
        }
    }
    if !is_found {
        ctx.reporter.fail(Failure::new("cannot sync the file system of {}", some()).errno(errno));
    }
    for file in timed.drain(..) {
        file.mark_incomplete(ctx);
    }
    for file in files {
        file.give_up(ctx);
    }
}

/// Does so where there is no syncfs(2).
fn settle_each(ctx: &Context, files: Vec<Waiting>) {
    for mut file in files {
        if let Err(errno) = file.sync(ctx) {
            ctx.reporter.fail(cannot_sync(file.path(), errno));
            file.give_up(ctx);
            continue;
        }
        file.complete(ctx);
        if file.lacks_times
            && let Err(errno) = file.sync(ctx)
        {
            ctx.reporter.fail(cannot_sync(file.path(), errno));
            file.mark_incomplete(ctx);
        }
    }
    for dir in ctx.watched.take_finished() {
        dir.sync(ctx);
    }
}

fn cannot_sync(path: OsString, errno: Errno) -> Failure {
    Failure::new("cannot sync {}", path).errno(errno)
}

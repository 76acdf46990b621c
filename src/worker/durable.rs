//! `--fsync`: no file counts as copied before it is on the disk.
//!
//! A file is synced by itself if it is the only one, if `--atomic` names it, or if its file system may be out
//! of reach of syncfs(2). The other files of a tree are synced together: one syncfs(2) serves thousands of
//! them, and then they get their times. If syncfs fails, each file is synced by itself, so that failures are
//! reported by file.

use super::destination::Destination;
use super::{Shared, Task, Worker};
use crate::context::{Context, NotSynced, sync_names};
use crate::dir::{Dir, Hold};
use crate::error::Operation;
use crate::metadata::{Handle, times};
use crate::report::{Failure, lock};
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Result, Stat, Time, io};
use crate::transfer::{FlushSize, nanoseconds};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The most files that are synced together. Their names are kept until then.
const MOST_TOGETHER: usize = 1 << 16;
/// The bytes written for a file besides its content: its inode and its name.
const BESIDE: u64 = 4096;

/// Files that are written but may not be on the disk yet.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    group: Mutex<SyncGroup>,
    /// Files that got their times after the last sync. Only the next sync makes these durable. The worker that
    /// syncs holds the lock.
    timed: Mutex<Vec<UnsyncedFile>>,
}

#[derive(Debug, Default)]
struct SyncGroup {
    files: Vec<UnsyncedFile>,
    bytes: u64,
    flush_size: FlushSize,
}

impl SyncGroup {
    /// Returns whether to sync now. syncfs(2) cannot be interrupted, so it should not have much to write.
    fn is_due(&self) -> bool {
        self.files.len() >= MOST_TOGETHER || self.bytes >= self.flush_size.bytes()
    }
}

/// A file that will be synced together with others.
#[derive(Debug)]
pub(super) struct UnsyncedFile {
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

impl UnsyncedFile {
    pub(super) fn new(task: &Task<'_>, made: &Stat, source: &Stat, lacks_times: bool) -> UnsyncedFile {
        UnsyncedFile {
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

    /// Opens this file with O_PATH, or through a symbolic link if it was written through one. Returns `None` if
    /// another file has its name.
    fn open_path(&self, ctx: &Context) -> Result<Option<OwnedFd>> {
        let fds = self.dir.fds(ctx)?;
        let is_it = |fd: &OwnedFd| at::fstat(fd).is_ok_and(|stat| stat.id() == self.id);
        let opened = at::open_path(&fds.dst, &self.name)?;
        if is_it(&opened) {
            return Ok(Some(opened));
        }
        let opened = at::open_read(&fds.dst, &self.name, Follow::Yes, false)?;
        Ok(Some(opened).filter(is_it))
    }

    /// Syncs the file by itself, and reports a failure. Returns whether it is on the disk.
    fn sync(&self, ctx: &Context) -> bool {
        let opened = || at::open_read(&self.dir.fds(ctx)?.dst, &self.name, Follow::Yes, false);
        let answer = if self.is_regular { opened().and_then(io::sync) } else { Ok(()) };
        answer.map_err(|errno| ctx.events.fail(cannot_sync(self.path(), errno))).is_ok()
    }

    /// Sets the times of a synced file, if they are missing, and releases its directory.
    fn complete(&mut self, ctx: &Context) {
        if let Some(hold) = self.hold.take() {
            self.give_times(ctx);
            drop(hold);
        }
    }

    fn give_times(&self, ctx: &Context) {
        let times = Stat { atime: self.atime, mtime: self.mtime, ..Stat::default() };
        match self.open_path(ctx) {
            Ok(Some(opened)) => {
                if let Err(error) = times::set(Handle::Path(opened.as_fd(), None), &times) {
                    ctx.events.fail(error.and(self.path()));
                }
            }
            // Another process has replaced the file since, and sets the times of its own.
            Ok(None) | Err(Errno::NOENT) => {}
            Err(errno) => ctx.events.fail(Failure::new(Operation::KeepTimes, self.path()).errno(errno)),
        }
    }

    /// Sets times that no later run takes for complete, because the file may not be on the disk.
    pub(super) fn mark_incomplete(&self, ctx: &Context) {
        let times = Stat { mtime: self.mtime, ..Stat::default() };
        if ctx.options.times_mark_completion()
            && let Ok(Some(opened)) = self.open_path(ctx)
        {
            let _ = times::set_apart(Handle::Path(opened.as_fd(), None), &times);
        }
    }
}

impl Worker<'_> {
    /// Watches the file system of the task's directory for write errors from now on, so that it can be synced as a
    /// whole. Returns false if each file has to be synced by itself.
    pub(super) fn watch_file_system(&self, task: &Task<'_>) -> bool {
        task.dir.watch_file_system(self.ctx, &task.fds.dst)
    }

    /// Returns whether the destination is synced together with others. A file behind a symbolic link may be on
    /// another file system.
    pub(super) fn is_synced_later(&self, task: &Task<'_>, destination: &Destination<'_>) -> bool {
        self.watch_file_system(task)
            && destination.before.is_none_or(|before| Some(before.dev) == task.dir.dst_dev())
    }

    pub(super) fn sync_file(&self, task: &Task<'_>, fd: &OwnedFd) -> std::result::Result<(), Failure> {
        if !self.ctx.options.fsync {
            return Ok(());
        }
        match io::sync(fd) {
            // Pipes and devices may not support fsync.
            Err(Errno::INVAL) if at::fstat(fd).is_ok_and(|stat| !stat.is_regular()) => Ok(()),
            answer => answer.map_err(|errno| cannot_sync(task.destination_path(), errno)),
        }
    }

    pub(super) fn sync_later(&self, file: UnsyncedFile) {
        let is_due = {
            let mut group = lock(&self.shared.unsynced.group);
            group.bytes += BESIDE + if file.is_regular { self.ladder.unwritten() } else { 0 };
            group.files.push(file);
            group.is_due()
        };
        if is_due {
            self.sync_group();
        }
    }

    /// Syncs the files so far, unless another worker has just done that.
    fn sync_group(&self) {
        let mut timed = lock(&self.shared.unsynced.timed);
        let (number, files, bytes) = {
            let mut group = lock(&self.shared.unsynced.group);
            if !group.is_due() || self.ctx.run.stop.is_raised() {
                return;
            }
            (group.flush_size.begin(), std::mem::take(&mut group.files), std::mem::take(&mut group.bytes))
        };
        let start = Instant::now();
        let answer = self.ctx.run.synced_file_systems.sync();
        let ns = nanoseconds(start.elapsed());
        settle(self.ctx, &mut timed, files, answer);
        lock(&self.shared.unsynced.group).flush_size.learn(number, bytes, ns);
    }
}

impl Shared {
    /// Syncs the remaining files of trees at the end, then the times that they get after that.
    pub(crate) fn make_files_durable(&self, ctx: &Context) {
        if !ctx.run.syncs_whole {
            return;
        }
        let mut timed = lock(&self.unsynced.timed);
        let files = std::mem::take(&mut lock(&self.unsynced.group).files);
        if ctx.run.stop.is_raised() {
            // A failure or a signal ended the copy before these files were synced.
            files.iter().for_each(|file| file.mark_incomplete(ctx));
            return;
        }
        settle(ctx, &mut timed, files, ctx.run.synced_file_systems.sync());
        if !timed.is_empty() && !ctx.run.stop.is_raised() {
            settle(ctx, &mut timed, Vec::new(), ctx.run.synced_file_systems.sync());
        }
    }

    /// Syncs the directory that the operands are copied into. This is the last step.
    pub(crate) fn make_name_durable(&self, ctx: &Context, top: &Arc<Dir>, directory: &OsStr) {
        if ctx.run.stop.is_raised() {
            return;
        }
        let opened = top.fds(ctx).and_then(|fds| at::open_dir(&fds.dst, directory, Follow::Yes));
        if let Err(errno) = opened.and_then(sync_names) {
            let name = if directory == "." { OsStr::new("") } else { directory };
            let path = Some(top.destination_path(name)).filter(|path| !path.is_empty());
            ctx.events.fail(cannot_sync(path.unwrap_or_else(|| ".".into()), errno));
        }
    }
}

/// Completes the files if syncfs(2) succeeded, and moves them to `timed`. Otherwise syncs each file by itself
/// and reports failures by file. Then every file written since the last good sync counts as incomplete, even if
/// its own fsync(2) succeeds: the disk block that holds its inode may still be lost.
fn settle(
    ctx: &Context,
    timed: &mut Vec<UnsyncedFile>,
    files: Vec<UnsyncedFile>,
    answer: std::result::Result<(), NotSynced>,
) {
    let Err(not_synced) = answer else {
        timed.clear();
        for mut file in files {
            file.complete(ctx);
            if file.lacks_times {
                timed.push(file);
            }
        }
        return;
    };
    if not_synced.is_syncfs_unavailable() {
        return settle_each(ctx, files);
    }
    let lost = files.iter().chain(timed.iter()).filter(|file| !file.sync(ctx)).count();
    if lost == 0 {
        ctx.events.fail(Failure::new(Operation::SyncFileSystem, not_synced.path).errno(not_synced.errno));
    }
    timed.drain(..).chain(files).for_each(|file| file.mark_incomplete(ctx));
}

/// Settles the files one by one, if syncfs(2) does not exist.
fn settle_each(ctx: &Context, files: Vec<UnsyncedFile>) {
    for mut file in files {
        if !file.sync(ctx) {
            file.mark_incomplete(ctx);
            continue;
        }
        file.complete(ctx);
        if file.lacks_times && !file.sync(ctx) {
            file.mark_incomplete(ctx);
        }
    }
    for dir in ctx.run.synced_file_systems.take_finished() {
        dir.sync(ctx);
    }
}

fn cannot_sync(path: OsString, errno: Errno) -> Failure {
    Failure::new(Operation::Sync, path).errno(errno)
}

//! `--fsync`: nothing is called done before it is on the disk.
//!
//! A single file, and each file that `--atomic` is to name, is synced by itself. The files of a tree
//! are synced together: thousands of them take one wait of syncfs(2). If that fails, each of them is
//! asked, so that what could not be written is reported by file.

use super::{Shared, Task, Worker};
use crate::context::Context;
use crate::dir::Dir;
use crate::report::{Failure, lock};
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, io};
use crate::transfer::FlushSize;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How many files are synced together at most: their names have to be kept until then.
const BATCH: usize = 1 << 16;
/// What a file has to be written beside its content: its inode, its name.
const BESIDE: u64 = 4096;

/// Files that are written, and not yet known to be on the disk.
#[derive(Debug)]
pub(super) struct Unsynced {
    batch: Mutex<Batch>,
    /// Held by who syncs.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Batch {
    files: Vec<(Arc<Dir>, OsString)>,
    bytes: u64,
    flush_size: FlushSize,
}

impl Default for Unsynced {
    fn default() -> Unsynced {
        let batch = Batch { files: Vec::new(), bytes: 0, flush_size: FlushSize::default() };
        Unsynced { batch: Mutex::new(batch), turn: Mutex::default() }
    }
}

impl Batch {
    /// syncfs(2) cannot be interrupted, so it is not to have much to do.
    fn is_due(&self) -> bool {
        self.files.len() >= BATCH || self.bytes >= self.flush_size.bytes()
    }
}

impl Worker<'_> {
    /// Before a file is written: its file system is watched from now on, if it is to be synced whole.
    pub(super) fn watch_file_system(&self, task: &Task<'_>) -> Result<(), Failure> {
        let Some(dev) = self.whole_file_system(task) else { return Ok(()) };
        let answer = self.ctx.watched.add(dev, &task.fds.dst);
        answer.map_err(|errno| cannot_sync(task.destination_path(), errno))
    }

    /// The device of the task's destination, if all files on it are synced together.
    fn whole_file_system(&self, task: &Task<'_>) -> Option<u64> {
        task.dir.dst_dev.filter(|_| self.ctx.syncs_whole)
    }

    /// A file is complete but for its name: has it written to the disk, now or with the others.
    pub(super) fn make_durable(&self, task: &Task<'_>, fd: &OwnedFd) -> Result<(), Failure> {
        if !self.ctx.options.fsync {
            return Ok(());
        }
        if self.whole_file_system(task).is_none() {
            return match io::sync(fd) {
                // A pipe or a device may know no such thing.
                Err(Errno::INVAL) if at::fstat(fd).is_ok_and(|stat| !stat.is_regular()) => Ok(()),
                answer => answer.map_err(|errno| cannot_sync(task.destination_path(), errno)),
            };
        }
        let is_due = {
            let mut batch = lock(&self.shared.unsynced.batch);
            batch.files.push((Arc::clone(task.dir), task.entry.destination().to_owned()));
            batch.bytes += BESIDE + self.ladder.unwritten();
            batch.is_due()
        };
        if is_due {
            self.sync_batch(task);
        }
        Ok(())
    }

    /// Has the files so far written to the disk, unless another worker has just done that.
    fn sync_batch(&self, task: &Task<'_>) {
        let _turn = lock(&self.shared.unsynced.turn);
        let (number, files, bytes) = {
            let mut batch = lock(&self.shared.unsynced.batch);
            if !batch.is_due() || self.ctx.stop.is_raised() {
                return;
            }
            (batch.flush_size.begin(), std::mem::take(&mut batch.files), std::mem::take(&mut batch.bytes))
        };
        let start = Instant::now();
        sync_together(self.ctx, &files, || task.destination_path());
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        lock(&self.shared.unsynced.batch).flush_size.learn(number, bytes, ns);
    }
}

impl Shared {
    /// The end: the files of trees that are not on the disk yet.
    pub fn make_files_durable(&self, ctx: &Context) {
        if !ctx.syncs_whole || ctx.stop.is_raised() {
            return;
        }
        let files = std::mem::take(&mut lock(&self.unsynced.batch).files);
        let some = files.first().map(|(dir, name)| dir.destination_path(name));
        sync_together(ctx, &files, || some.unwrap_or_default());
    }

    /// The last of all: the names in the directory that the operands landed in.
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

/// Has everything written to the disk, and reports which of the files could not be; `some` is one of
/// those that were to be.
fn sync_together(ctx: &Context, files: &[(Arc<Dir>, OsString)], some: impl FnOnce() -> OsString) {
    let Err(errno) = ctx.watched.sync() else { return };
    let mut found = false;
    for (dir, name) in files {
        let file = dir.fds(ctx).and_then(|fds| at::open_read(&fds.dst, name, Follow::Yes, false));
        if let Err(errno) = file.and_then(|file| io::sync(&file)) {
            ctx.reporter.fail(cannot_sync(dir.destination_path(name), errno));
            found = true;
        }
    }
    if !found {
        // Nobody is to be blamed, so nobody can be relied on.
        ctx.reporter.fail(Failure::new("cannot sync the file system of {}", some()).errno(errno));
    }
}

fn cannot_sync(path: OsString, errno: Errno) -> Failure {
    Failure::new("cannot sync {}", path).errno(errno)
}

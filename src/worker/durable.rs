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
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// How many files are synced together at most: their names have to be kept until then.
const BATCH: usize = 1 << 16;

/// Files that are written, and not yet known to be on the disk.
#[derive(Debug, Default)]
pub(super) struct Unsynced(Mutex<Vec<(Arc<Dir>, OsString)>>);

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
        let full = {
            let mut files = lock(&self.shared.unsynced.0);
            files.push((Arc::clone(task.dir), task.entry.destination().to_owned()));
            (files.len() == BATCH).then(|| std::mem::take(&mut *files))
        };
        if let Some(files) = full {
            sync_together(self.ctx, &files, || task.destination_path());
        }
        Ok(())
    }
}

impl Shared {
    /// The end: the files of trees that are not on the disk yet.
    pub fn make_files_durable(&self, ctx: &Context) {
        if !ctx.syncs_whole || ctx.stop.is_raised() {
            return;
        }
        let files = std::mem::take(&mut *lock(&self.unsynced.0));
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

//! `--fsync`: the file systems that are written to, and which of them can be synced as a whole.

use super::Context;
use crate::report::lock;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Result, io};
use crate::transfer::route::FsKind;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) trait Syncable: Debug + Send + Sync {
    /// Syncs the names in the destination to the disk (fsync(2)), and reports a failure.
    fn sync(&self, ctx: &Context);
}

/// The file systems to be written to the disk by syncfs(2), and the directories that rely on that.
#[derive(Debug, Default)]
pub(crate) struct SyncedFileSystems {
    /// Each file system, by its device number.
    file_systems: Mutex<Vec<(u64, WholeHandle)>>,
    /// Directories that are finished but not yet synced.
    finished: Mutex<Vec<Arc<dyn Syncable>>>,
    /// Whether syncfs(2) is unavailable, so that each file and directory is synced by itself from then on.
    is_refused: AtomicBool,
}

/// A descriptor for syncfs(2), if the call is known to reach the file system. It is opened before the first write,
/// because syncfs(2) reports errors since the descriptor was opened.
type WholeHandle = Option<Arc<OwnedFd>>;

impl SyncedFileSystems {
    /// Adds the file system of a directory that is about to be written to. Returns whether it can be synced as a
    /// whole; otherwise each file and directory has to be synced by itself.
    pub(crate) fn add(&self, dev: u64, dir: impl AsFd) -> Result<bool> {
        if self.is_refused() {
            return Ok(false);
        }
        let mut known = lock(&self.file_systems);
        if let Some((_, whole)) = known.iter().find(|(other, _)| *other == dev) {
            return Ok(whole.is_some());
        }
        let whole = open_whole(dev, dir)?.map(Arc::new);
        let is_whole = whole.is_some();
        known.push((dev, whole));
        Ok(is_whole)
    }

    /// Adds a finished directory, whose file system will be synced.
    pub(crate) fn note_finished(&self, dir: Arc<dyn Syncable>) {
        lock(&self.finished).push(dir);
    }

    /// Syncs all file systems that can be synced as a whole. If syncfs(2) does not exist (old kernels), or a
    /// seccomp(2) filter refuses it, it is not used for the rest of the run. Returns the errno of the last one that
    /// failed.
    pub(crate) fn sync(&self) -> Result<()> {
        let before = std::mem::take(&mut *lock(&self.finished));
        let answer = self.sync_file_systems();
        if answer.is_err_and(Self::is_syncfs_unavailable) {
            self.is_refused.store(true, Ordering::Relaxed);
            lock(&self.finished).extend(before);
        }
        answer
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Returns whether an errno of syncfs(2) says that the call is unavailable.
    pub(crate) fn is_syncfs_unavailable(errno: Errno) -> bool {
        matches!(errno, Errno::NOSYS | Errno::PERM)
    }

    /// Returns the directories that have to be synced one by one after a refusal.
    pub(crate) fn take_finished(&self) -> Vec<Arc<dyn Syncable>> {
        std::mem::take(&mut *lock(&self.finished))
    }

    fn sync_file_systems(&self) -> Result<()> {
        // Copied, so that other workers are not blocked during the calls.
        let known = lock(&self.file_systems).iter().filter_map(|(_, fd)| fd.clone()).collect::<Vec<_>>();
        let answers = known.iter().map(io::sync_file_system).collect::<Vec<_>>();
        answers.into_iter().rfind(Result::is_err).unwrap_or(Ok(()))
    }
}

/// Opens the file system of a directory for syncfs(2), if the call reaches it. A directory that may be written, but not
/// read, gives no descriptor for that, so a file without a name is created there.
fn open_whole(dev: u64, dir: impl AsFd) -> Result<Option<OwnedFd>> {
    if !io::fs_magic(&dir).is_ok_and(|magic| FsKind::is_reached_by_syncfs(magic, dev)) {
        return Ok(None);
    }
    let here = OsStr::new(".");
    let opened = at::open_dir(&dir, here, Follow::No)?;
    match at::is_by_path(&opened) {
        true => Ok(at::create_nameless(&dir, here, 0o600).ok()),
        false => Ok(Some(opened)),
    }
}

/// Writes the names in a directory to the disk (fsync(2)), or its whole file system if it may not be read.
pub(crate) fn sync_names(dir: impl AsFd) -> Result<()> {
    match io::sync(&dir) {
        Err(Errno::INVAL) => Ok(()), // from file systems that have nothing to write for a directory
        Err(Errno::BADF) => match open_whole(at::fstat(&dir)?.dev, dir)? {
            Some(whole) => io::sync_file_system(whole),
            None => Err(Errno::ACCESS),
        },
        answer => answer,
    }
}

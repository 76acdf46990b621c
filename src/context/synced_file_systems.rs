//! `--fsync`: the file systems that are written to, and which of them can be synced as a whole.

use super::Context;
use crate::report::lock;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Result, io};
use crate::transfer::route::FsKind;
use std::ffi::{OsStr, OsString};
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
    file_systems: Mutex<Vec<FileSystem>>,
    /// Directories that are finished but not yet synced.
    finished: Mutex<Vec<Arc<dyn Syncable>>>,
    /// Whether syncfs(2) is unavailable, so that each file and directory is synced by itself from then on.
    is_refused: AtomicBool,
}

#[derive(Debug)]
struct FileSystem {
    dev: u64,
    /// A descriptor for syncfs(2), if the call is known to reach the file system. It is opened before the first write,
    /// because syncfs(2) reports errors since the descriptor was opened.
    whole: Option<Arc<OwnedFd>>,
    /// The path of the first directory that was written to, for messages.
    path: Arc<OsStr>,
}

/// A file system that could not be synced.
#[derive(Debug)]
pub(crate) struct NotSynced {
    pub errno: Errno,
    /// The path of a directory in it.
    pub path: OsString,
}

impl SyncedFileSystems {
    /// Adds the file system of a directory that is about to be written to, with the directory's path. Returns whether
    /// it can be synced as a whole; otherwise each file and directory has to be synced by itself.
    pub(crate) fn add(&self, dev: u64, dir: impl AsFd, path: impl FnOnce() -> OsString) -> Result<bool> {
        if self.is_refused() {
            return Ok(false);
        }
        let mut known = lock(&self.file_systems);
        if let Some(known) = known.iter().find(|known| known.dev == dev) {
            return Ok(known.whole.is_some());
        }
        let whole = open_whole(dev, dir)?.map(Arc::new);
        let is_whole = whole.is_some();
        known.push(FileSystem { dev, whole, path: path().into() });
        Ok(is_whole)
    }

    /// Adds a finished directory, whose file system will be synced.
    pub(crate) fn note_finished(&self, dir: Arc<dyn Syncable>) {
        lock(&self.finished).push(dir);
    }

    /// Syncs all file systems that can be synced as a whole. If syncfs(2) does not exist (old kernels), or a
    /// seccomp(2) filter refuses it, it is not used for the rest of the run.
    ///
    /// # Errors
    /// The last file system that failed.
    pub(crate) fn sync(&self) -> std::result::Result<(), NotSynced> {
        let before = std::mem::take(&mut *lock(&self.finished));
        let answer = self.sync_file_systems();
        if answer.as_ref().is_err_and(NotSynced::is_syncfs_unavailable) {
            self.is_refused.store(true, Ordering::Relaxed);
            lock(&self.finished).extend(before);
        }
        answer
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Returns the directories that have to be synced one by one after a refusal.
    pub(crate) fn take_finished(&self) -> Vec<Arc<dyn Syncable>> {
        std::mem::take(&mut *lock(&self.finished))
    }

    fn sync_file_systems(&self) -> std::result::Result<(), NotSynced> {
        let copy = |known: &FileSystem| Some((known.whole.clone()?, Arc::clone(&known.path)));
        // Copied, so that other workers are not blocked during the calls.
        let whole = lock(&self.file_systems).iter().filter_map(copy).collect::<Vec<_>>();
        let sync = |(whole, path): (Arc<OwnedFd>, Arc<OsStr>)| {
            io::sync_file_system(whole).map_err(|errno| NotSynced { errno, path: path.to_os_string() })
        };
        let answers = whole.into_iter().map(sync).collect::<Vec<_>>();
        answers.into_iter().rfind(std::result::Result::is_err).unwrap_or(Ok(()))
    }
}

impl NotSynced {
    /// Returns whether syncfs(2) itself is unavailable.
    pub(crate) fn is_syncfs_unavailable(&self) -> bool {
        matches!(self.errno, Errno::NOSYS | Errno::PERM)
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

//! The file systems that are written to with `--fsync`, and which of them can be synced as a whole.

use super::Dir;
use crate::report::lock;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Result, io};
use crate::transfer::route::FsKind;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The file systems and directories that syncfs(2) is to write out.
#[derive(Debug, Default)]
pub struct Watched {
    /// Each file system by its device number.
    file_systems: Mutex<Vec<(u64, WholeHandle)>>,
    /// Directories that got all that they are to get, and have not been synced.
    finished: Mutex<Vec<Arc<Dir>>>,
    /// Whether there is no such call here: then all is synced by itself from then on.
    is_refused: AtomicBool,
}

/// For a file system that syncfs(2) is known to reach, a descriptor from before the first write to it: syncfs(2)
/// reports what went wrong since that was opened.
type WholeHandle = Option<Arc<OwnedFd>>;

impl Watched {
    /// Notes the file system of a directory that is about to be written to, and says whether it can be synced as
    /// a whole. Where syncfs(2) is not known to reach the disk, each file and directory has to be synced by itself.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn add(&self, dev: u64, dir: impl AsFd) -> Result<bool> {
        if self.is_refused() {
            return Ok(false);
        }
        let mut watched = lock(&self.file_systems);
        if let Some((_, whole)) = watched.iter().find(|(known, _)| *known == dev) {
            return Ok(whole.is_some());
        }
        let reached = io::fs_magic(&dir).is_ok_and(|magic| FsKind::is_reached_by_syncfs(magic, dev));
        let whole = match reached {
            true => Some(Arc::new(at::open_dir(&dir, OsStr::new("."), Follow::No)?)),
            false => None,
        };
        watched.push((dev, whole));
        Ok(reached)
    }

    /// Notes a directory whose file system is going to be synced.
    pub(super) fn note_finished(&self, dir: &Arc<Dir>) {
        lock(&self.finished).push(Arc::clone(dir));
    }

    /// Has all that can be synced as a whole written to the disk. Where the call does not exist (old kernels), or a
    /// seccomp(2) filter refuses it, that is so for the rest of the run.
    ///
    /// # Errors
    /// The errno of the last that could not be.
    pub fn sync(&self) -> Result<()> {
        let before = std::mem::take(&mut *lock(&self.finished));
        let answer = self.sync_file_systems();
        if answer.is_err_and(Self::is_refusal) {
            self.is_refused.store(true, Ordering::Relaxed);
            lock(&self.finished).extend(before);
        }
        answer
    }

    /// Whether there is no syncfs(2) to be had.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Whether the error says that there is no syncfs(2) to be had.
    pub fn is_refusal(errno: Errno) -> bool {
        matches!(errno, Errno::NOSYS | Errno::PERM)
    }

    /// The directories that are to be synced by themselves after a refusal.
    pub fn take_finished(&self) -> Vec<Arc<Dir>> {
        std::mem::take(&mut *lock(&self.finished))
    }

    fn sync_file_systems(&self) -> Result<()> {
        // Others may begin files meanwhile.
        let watched = lock(&self.file_systems).iter().filter_map(|(_, fd)| fd.clone()).collect::<Vec<_>>();
        let sync = |fd: &Arc<OwnedFd>| io::sync_file_system(fd).map_err(|errno| at::refusal(fd, errno));
        let answers = watched.iter().map(sync).collect::<Vec<_>>();
        answers.into_iter().rfind(Result::is_err).unwrap_or(Ok(()))
    }
}

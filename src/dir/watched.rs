//! The file systems that are written to, where they are to be synced whole.

use crate::report::lock;
use crate::sys::at::{self, Follow};
use crate::sys::{Result, io};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// Each file system by its device number and a descriptor from before the first write to it: syncfs(2)
/// reports what went wrong since that was opened.
#[derive(Debug, Default)]
pub struct Watched(Mutex<Vec<(u64, Arc<OwnedFd>)>>);

impl Watched {
    /// Notes the file system of a directory that is about to be written to.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn add(&self, dev: u64, dir: impl AsFd) -> Result<()> {
        let mut watched = lock(&self.0);
        if !watched.iter().any(|(known, _)| *known == dev) {
            watched.push((dev, Arc::new(at::open_dir(dir, OsStr::new("."), Follow::No)?)));
        }
        Ok(())
    }

    /// Has all of them written to the disk.
    ///
    /// # Errors
    /// The errno of the last that could not be.
    pub fn sync(&self) -> Result<()> {
        // Others may begin files meanwhile.
        let watched = lock(&self.0).iter().map(|(_, fd)| Arc::clone(fd)).collect::<Vec<_>>();
        let sync = |fd: &Arc<OwnedFd>| io::sync_file_system(fd).map_err(|errno| at::refusal(fd, errno));
        let answers = watched.iter().map(sync).collect::<Vec<_>>();
        answers.into_iter().rfind(Result::is_err).unwrap_or(Ok(()))
    }
}

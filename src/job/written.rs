//! The names that the runs of a part have made: only these may a repeated part take for complete.
//!
//! A file that was there before the job can have the length and the times of the source and another
//! content. So each run appends the path of each name that it makes to a file of its own in the job
//! folder, after the name is there. A run that begins reads what earlier runs of the part have written.
//! What is missing in there, as after a crash of the machine, is copied again.

use super::folder::Folder;
use crate::report::{Failure, lock};
use crate::sys::proc;
use crate::sys::stale::StaleRetry;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, OnceLock};

/// What is known of the names of a part while it is run.
#[derive(Debug, Default)]
pub(super) struct Written {
    earlier: OnceLock<Fingerprints>,
    log: Mutex<Option<File>>,
}

impl Written {
    /// Reads what earlier runs of the part have made, and begins to note what this one makes.
    ///
    /// # Errors
    /// When the job folder cannot be read or written.
    pub(super) fn begin(&self, folder: &Folder, part: u64, stale_retry: &StaleRetry) -> Result<(), Failure> {
        let mut earlier = Fingerprints::default();
        for name in of_part(folder, part)? {
            let Some(file) = folder.written.read(&name, stale_retry)? else { continue };
            let mut file = BufReader::new(file);
            let mut path = Vec::new();
            // A path that was cut off by a crash has no end, and might be another's.
            while file.read_until(0, &mut path).is_ok() && path.pop() == Some(0) {
                earlier.add(&path);
                path.clear();
            }
        }
        let _ = self.earlier.set(earlier);
        let name = format!("{part}-{:032x}", proc::random());
        let file = folder.written.create(&name)?;
        *lock(&self.log) = Some(file);
        Ok(())
    }

    /// This run has made a destination, which is whole and has its name.
    pub(super) fn note(&self, path: &OsStr) {
        let log = &mut *lock(&self.log);
        if let Some(file) = log
            && file.write_all(&[path.as_bytes(), b"\0"].concat()).is_err()
        {
            *log = None; // what is not noted is only copied again
        }
    }

    /// Whether an earlier run of this part has made a destination.
    pub(super) fn has_earlier(&self, path: &OsStr) -> bool {
        self.earlier.get().is_some_and(|earlier| earlier.has(path.as_bytes()))
    }
}

/// Forgets what runs of the part have made: it is done, so that nobody will ask, or cannot be relied on.
pub(super) fn forget(folder: &Folder, part: u64) -> Result<(), Failure> {
    of_part(folder, part)?.iter().try_for_each(|name| folder.written.remove(name))
}

fn of_part(folder: &Folder, part: u64) -> Result<Vec<String>, Failure> {
    let prefix = format!("{part}-");
    Ok(folder.written.names()?.into_iter().filter(|name| name.starts_with(&prefix)).collect())
}

/// A set of paths by fingerprints of 128 bits, of which no two will be the same.
#[derive(Debug, Default)]
struct Fingerprints {
    keys: (RandomState, RandomState),
    set: HashSet<(u64, u64)>,
}

impl Fingerprints {
    fn add(&mut self, path: &[u8]) {
        self.set.insert((self.keys.0.hash_one(path), self.keys.1.hash_one(path)));
    }

    fn has(&self, path: &[u8]) -> bool {
        !self.set.is_empty() && self.set.contains(&(self.keys.0.hash_one(path), self.keys.1.hash_one(path)))
    }
}

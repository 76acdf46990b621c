//! The names that runs of a part have made. A repeated run takes only these for complete.
//!
//! A file that existed before the job can have the source's length and times but another content. So each run
//! appends the path of each name that it has made to a file of its own in the job folder. A new run reads
//! what earlier runs of the part have recorded. A name that is not recorded, for instance after a crash of
//! the machine, is copied again.

use super::folder::Folder;
use crate::report::{Failure, lock};
use crate::sys::interrupted::Bounded;
use crate::sys::proc;
use crate::sys::stale::StaleRetry;
use crate::walk::Fingerprints;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, OnceLock};

/// The names of a part, while it is run.
#[derive(Debug, Default)]
pub(super) struct Written {
    earlier: OnceLock<Fingerprints>,
    log: Mutex<Option<Bounded<File>>>,
}

impl Written {
    /// Reads the names of earlier runs of the part, and begins to record those of this run.
    pub(super) fn begin(&self, folder: &Folder, part: u64, stale_retry: &StaleRetry) -> Result<(), Failure> {
        let mut earlier = Fingerprints::default();
        for name in of_part(folder, part)? {
            let Some(file) = folder.written.read(&name, stale_retry)? else { continue };
            let mut file = BufReader::new(file);
            let mut path = Vec::new();
            // A path cut off by a crash lacks its NUL and might be the prefix of another: ignore it.
            while file.read_until(0, &mut path).is_ok() && path.pop() == Some(0) {
                earlier.insert(&path);
                path.clear();
            }
        }
        let _ = self.earlier.set(earlier);
        let name = format!("{part}-{:032x}", proc::random());
        let file = folder.written.create(&name)?;
        *lock(&self.log) = Some(file);
        Ok(())
    }

    /// Records a destination that is complete and has its name.
    pub(super) fn note(&self, path: &OsStr) {
        let log = &mut *lock(&self.log);
        if let Some(file) = log
            && file.write_all(&[path.as_bytes(), b"\0"].concat()).is_err()
        {
            *log = None; // a name that is not recorded is only copied again
        }
    }

    /// Returns whether an earlier run of this part made a destination.
    pub(super) fn has_earlier(&self, path: &OsStr) -> bool {
        self.earlier.get().is_some_and(|earlier| earlier.contains(path.as_bytes()))
    }
}

/// Deletes the record of a part that is done, or whose record cannot be trusted.
pub(super) fn forget(folder: &Folder, part: u64) -> Result<(), Failure> {
    of_part(folder, part)?.iter().try_for_each(|name| folder.written.remove(name))
}

fn of_part(folder: &Folder, part: u64) -> Result<Vec<String>, Failure> {
    let prefix = format!("{part}-");
    Ok(folder.written.names()?.into_iter().filter(|name| name.starts_with(&prefix)).collect())
}

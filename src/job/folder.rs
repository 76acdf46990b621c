//! The job folder: the only thing that the machines of a job share, besides the copy itself.
//!
//! | file | what it is |
//! |---|---|
//! | `manifest.json` | the job; there once the plan is complete |
//! | `placement.json` | where the copy lands, settled before anything is made |
//! | `parts/K.names`, `parts/K.facts` | what part K copies |
//! | `directories.names`, `directories.facts` | all directories, parents first |
//! | `joins.json` | the files that are copied in byte ranges |
//! | `ranges/N-G` | the file that the ranges of joined file N are written to (`ranged.rs`) |
//! | `results/K.json` | what the last complete run of part K did: the mark that it is done |
//! | `running/K-HOST-PID-...` | a run of part K that has begun and not ended (`sweep.rs`) |
//! | `written/K-...` | the names that a run of part K has made (`written.rs`) |
//! | `finish.json` | what the finish did, and the sum of all |
//!
//! Whatever others wait for is written under another name and renamed, so that it is whole or not there.
//! Nobody else may write to the folder (`private.rs`).

use super::json::{bytes, from_bytes};
use super::manifest::Manifest;
use super::private::PrivateDir;
use crate::report::Failure;
use crate::sys;
use crate::sys::stale::StaleRetry;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

/// Where a copy lands, by cp's rules at the time when it was planned first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobDestination {
    /// Absolute.
    pub(super) destination: OsString,
    /// Whether something had that name.
    pub(super) existed: bool,
}

/// An open job folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PrivateDir,
    pub(super) parts: PrivateDir,
    pub(super) ranges: PrivateDir,
    pub(super) results: PrivateDir,
    pub(super) running: PrivateDir,
    pub(super) written: PrivateDir,
}

const MANIFEST: &str = "manifest.json";
const DESTINATION: &str = "placement.json";
/// Where the plan keeps the names until they are dealt out.
const SPOOL: &str = "spool";
/// The list of all directories.
pub(super) const DIRECTORIES: &str = "directories";
/// The files that are copied in byte ranges.
pub(super) const JOINS: &str = "joins.json";
/// What the finish did.
pub(super) const FINISHED: &str = "finish.json";

impl Folder {
    /// Opens the folder of a job that is planned.
    ///
    /// # Errors
    /// When there is none, or one of another form, or one that others may write to.
    pub(super) fn open(path: &Path, stale_retry: &StaleRetry) -> Result<(Folder, Manifest), Failure> {
        let root = stale_retry.operation(|| PrivateDir::open(path), Failure::reason)?;
        let Some(value) = root.read_json(MANIFEST, stale_retry)? else {
            return Err(Failure::new("{} holds no complete plan", path));
        };
        let foreign = || Failure::new("{} was not written by this version of zcp", root.path_of(MANIFEST));
        let manifest = Manifest::parse(&value).ok_or_else(foreign)?;
        let below = |name| stale_retry.operation(|| root.below(name), Failure::reason);
        let (parts, ranges, results) = (below("parts")?, below("ranges")?, below("results")?);
        let (running, written) = (below("running")?, below("written")?);
        Ok((Folder { root, parts, ranges, results, running, written }, manifest))
    }

    /// Makes the folder, or empties one whose plan was never run; and begins the spool, which says that
    /// there is no plan until the new one is complete.
    ///
    /// # Errors
    /// When parts of it have been run, or it is something else, or somebody else may write to it.
    pub(super) fn prepare(path: &Path) -> Result<(Folder, File), Failure> {
        let root = PrivateDir::make(path)?;
        let names = root.names()?;
        let is_ours =
            names.iter().any(|name| [MANIFEST, SPOOL, DESTINATION].iter().any(|ours| name.starts_with(ours)));
        if !names.is_empty() && !is_ours {
            return Err(Failure::new("{} is not empty, and no job folder", path));
        }
        for used in ["results", "running", "ranges", "written"].into_iter().filter(|name| root.exists(name)) {
            if !root.below(used)?.names()?.is_empty() || root.exists(FINISHED) {
                return Err(Failure::new("{} holds a job that has been run", path));
            }
        }
        let spool = root.replace(SPOOL)?;
        // What an earlier plan left, or one that was killed.
        for name in root.names()? {
            let is_old = |list: &&str| name.starts_with(list) && ![SPOOL, DESTINATION].contains(&name.as_str());
            if [DIRECTORIES, JOINS, MANIFEST, SPOOL, DESTINATION].iter().any(is_old) {
                root.remove(&name)?;
            }
        }
        let make = |name| root.make_below(name);
        let (parts, ranges, results) = (make("parts")?, make("ranges")?, make("results")?);
        let (running, written) = (make("running")?, make("written")?);
        parts.names()?.iter().try_for_each(|name| parts.remove(name))?;
        Ok((Folder { root, parts, ranges, results, running, written }, spool))
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Where the spool is, for messages.
    pub(super) fn spool(&self) -> std::path::PathBuf {
        self.root.path_of(SPOOL)
    }

    /// Where a plan that was begun for these operands lands; `None` if there was none.
    pub(super) fn placement(&self, operands: &Value) -> Result<Option<JobDestination>, Failure> {
        let Some(value) = self.root.read_json(DESTINATION, &StaleRetry::default())? else { return Ok(None) };
        let placement = || {
            let destination = from_bytes(&value["destination"])?;
            Some(JobDestination { destination, existed: value["existed"].as_bool()? })
        };
        Ok(placement().filter(|_| &value["operands"] == operands))
    }

    pub(super) fn write_destination(&self, operands: &Value, placement: &JobDestination) -> Result<(), Failure> {
        let JobDestination { destination, existed } = placement;
        let value = json!({"operands": operands, "destination": bytes(destination), "existed": existed});
        self.root.write_json(DESTINATION, &value)
    }

    /// The end of planning. What the manifest speaks for is on the disk before it is.
    pub(super) fn write_manifest(&self, manifest: &Manifest) -> Result<(), Failure> {
        let cannot = |errno| Failure::new("error writing {}", self.path()).errno(errno);
        sys::io::sync_file_system(&self.root).map_err(cannot)?;
        self.root.write_json(MANIFEST, &manifest.json())?;
        self.root.remove(SPOOL)
    }
}

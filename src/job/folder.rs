//! The job folder: all that the machines of a job share besides the source and the destination.
//!
//! | file | content |
//! |---|---|
//! | `manifest.json` | the job; exists once the plan is complete |
//! | `placement.json` | the destination, recorded before anything is made |
//! | `parts/K.names`, `parts/K.facts` | the files of part K |
//! | `directories.names`, `directories.facts` | all directories, parents first |
//! | `joins.json` | the files that are copied in byte ranges |
//! | `ranges/N-G` | the record of the G-th file in the destination that takes the ranges of joined file N (`ranged.rs`) |
//! | `results/K.json` | the result of the last complete run of part K; marks the part as done |
//! | `running/K-HOST-PID-...` | a run of part K that has not ended (`sweep.rs`) |
//! | `written/K-...` | the names that a run of part K has made (`written.rs`) |
//! | `finish.json` | the statistics of the whole job |
//!
//! A file that other processes read is written under another name and renamed, so it is either complete or
//! missing. No other user may write to the folder (`private.rs`).

use super::manifest::Manifest;
use super::private::PrivateDir;
use crate::error::{Failure, Operation};
use crate::report::json::{bytes, from_bytes};
use crate::sys::interrupted::Bounded;
use crate::sys::stale::StaleRetry;
use crate::sys::{Errno, at, io};
use crate::transfer::route::FsKind;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

/// The destination of a copy, by cp's rules at the time of the first plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobDestination {
    pub(super) destination: OsString,
    pub(super) existed: bool,
}

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
/// The names that the plan has found and not yet assigned to parts.
const SPOOL: &str = "spool";
pub(super) const DIRECTORIES: &str = "directories";
/// The files that are copied in byte ranges.
pub(super) const JOINS: &str = "joins.json";
/// The statistics that `--finish` writes.
pub(super) const FINISHED: &str = "finish.json";

impl Folder {
    /// Opens the folder of a job that has been planned. Fails if there is no complete plan, another version of zcp
    /// wrote it, or other users may write to it.
    pub(super) fn open(path: &Path, stale_retry: &StaleRetry) -> Result<(Folder, Manifest), Failure> {
        let root = stale_retry.operation(|| PrivateDir::open(path), Failure::reason)?;
        let Some(value) = root.read_json(MANIFEST, stale_retry)? else {
            return Err(Failure::new(Operation::NoPlan, path));
        };
        let foreign = || Failure::new(Operation::OtherVersion, root.path_of(MANIFEST));
        let manifest = Manifest::parse(&value).ok_or_else(foreign)?;
        let open = |root: &PrivateDir, name: &str| stale_retry.operation(|| root.below(name), Failure::reason);
        Ok((Folder::of(root, open)?, manifest))
    }

    fn of(
        root: PrivateDir,
        open: impl Fn(&PrivateDir, &str) -> Result<PrivateDir, Failure>,
    ) -> Result<Folder, Failure> {
        let below = |name| open(&root, name);
        let (parts, ranges, results) = (below("parts")?, below("ranges")?, below("results")?);
        let (running, written) = (below("running")?, below("written")?);
        Ok(Folder { root, parts, ranges, results, running, written })
    }

    /// Makes the folder, or empties one whose plan was never run, and begins the spool. A spool means that the plan
    /// is not complete. Fails if parts have been run, the directory is no job folder, or other users may write to it.
    pub(super) fn prepare(path: &Path) -> Result<(Folder, Bounded<File>), Failure> {
        let root = PrivateDir::make(path)?;
        let names = root.names()?;
        let is_ours =
            names.iter().any(|name| [MANIFEST, SPOOL, DESTINATION].iter().any(|ours| name.starts_with(ours)));
        if !names.is_empty() && !is_ours {
            return Err(Failure::new(Operation::NotJobFolder, path));
        }
        for used in ["results", "running", "ranges", "written"].into_iter().filter(|name| root.exists(name)) {
            if !root.below(used)?.names()?.is_empty() || root.exists(FINISHED) {
                return Err(Failure::new(Operation::HasBeenRun, path));
            }
        }
        let spool = root.replace(SPOOL)?;
        // Files of an earlier plan, perhaps of one that was killed.
        for name in root.names()? {
            let is_old = |list: &&str| name.starts_with(list) && ![SPOOL, DESTINATION].contains(&name.as_str());
            if [DIRECTORIES, JOINS, MANIFEST, SPOOL, DESTINATION].iter().any(is_old) {
                root.remove(&name)?;
            }
        }
        let folder = Folder::of(root, PrivateDir::make_below)?;
        folder.parts.names()?.iter().try_for_each(|name| folder.parts.remove(name))?;
        Ok((folder, spool))
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn spool(&self) -> std::path::PathBuf {
        self.root.path_of(SPOOL)
    }

    /// Returns the destination of an earlier plan for the same operands, or `None` if there was none.
    pub(super) fn planned_destination(&self, operands: &Value) -> Result<Option<JobDestination>, Failure> {
        let Some(value) = self.root.read_json(DESTINATION, &StaleRetry::default())? else { return Ok(None) };
        if &value["operands"] != operands {
            return Ok(None);
        }
        let destination = from_bytes(&value["destination"]).zip(value["existed"].as_bool());
        Ok(destination.map(|(destination, existed)| JobDestination { destination, existed }))
    }

    pub(super) fn write_destination(&self, operands: &Value, planned: &JobDestination) -> Result<(), Failure> {
        let JobDestination { destination, existed } = planned;
        let value = json!({"operands": operands, "destination": bytes(destination), "existed": existed});
        self.root.write_json(DESTINATION, &value)
    }

    /// Ends the plan. Syncs all other files first, because the manifest vouches for them.
    pub(super) fn write_manifest(&self, manifest: &Manifest) -> Result<(), Failure> {
        self.sync()?;
        self.root.write_json(MANIFEST, &manifest.json())?;
        self.root.remove(SPOOL)
    }

    /// Syncs the plan to the disk: by syncfs(2), or file by file where that call is refused or does not reach the
    /// disk.
    fn sync(&self) -> Result<(), Failure> {
        let cannot = |errno| Failure::new(Operation::Write, self.path()).errno(errno);
        let dev = at::fstat(&self.root).map_err(cannot)?.dev;
        let is_reached = io::fs_magic(&self.root).is_ok_and(|magic| FsKind::is_reached_by_syncfs(magic, dev));
        match if is_reached { io::sync_file_system(&self.root) } else { Err(Errno::NOSYS) } {
            Err(Errno::NOSYS | Errno::PERM) => {
                [&self.parts, &self.root].into_iter().try_for_each(PrivateDir::sync)
            }
            answer => answer.map_err(cannot),
        }
    }
}

//! Everything that the walk and all workers share: the options, the receiver of events, the state of the run.

mod descriptors;
mod synced_file_systems;

pub(crate) use descriptors::{Descriptors, DirFd, FdSlot, Fds, TableFds};
pub(crate) use synced_file_systems::{NotSynced, Syncable, SyncedFileSystems, sync_names};

use crate::metadata::apply::AttributeRules;
use crate::metadata::kept_times::KeptTimes;
use crate::metadata::new_mode::ModePolicy;
use crate::options::Options;
use crate::report::{Events, lock};
use crate::sys::Time;
use crate::sys::proc::{self, StopFlag};
use crate::sys::stale::StaleRetry;
use crate::sys::stat::FileId;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex};

/// Facts about the process that do not change while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub umask: u32,
    pub uid: u32,
    /// Whether the process runs as root: then a failing chown is reported.
    pub privileged: bool,
    pub start: Time,
}

impl Process {
    /// Reads the facts. `alone` says that the process has no other thread, which might create a file while
    /// the umask is read by setting it.
    pub(crate) fn look(alone: bool) -> Process {
        let umask = if alone { proc::umask() } else { proc::umask_among_threads() };
        let uid = proc::effective_uid();
        Process { umask, uid, privileged: uid == 0, start: proc::now() }
    }
}

/// A name at the destination. Two paths of the same name in the same directory are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DestinationName {
    pub directory: Option<FileId>,
    /// The name in `directory`; the whole path if that is `None`.
    pub path: OsString,
}

/// Tells whether an earlier run of a job made a destination: only such a destination may be taken for
/// complete.
pub(crate) type MadeEarlier = Arc<dyn Fn(&OsStr) -> bool + Send + Sync>;

pub(crate) struct Run {
    /// Raised by a signal, by the caller, or by a failure that ends the copy.
    pub stop: StopFlag,
    pub process: Process,
    pub descriptors: Descriptors,
    /// Retries for copies that share a tree with other processes: their changes may take a while to become
    /// visible.
    pub stale_retry: StaleRetry,
    /// In a job: tells which destinations the job has made before.
    pub made_earlier: Option<MadeEarlier>,
    /// Whether whole file systems are synced instead of single files (`--fsync`).
    pub syncs_whole: bool,
    pub synced_file_systems: SyncedFileSystems,
    /// The precision with which file systems store times.
    pub kept_times: KeptTimes,
    /// The files made for operands: a later operand must not overwrite an earlier one's copy.
    pub operand_copies: Mutex<HashMap<DestinationName, FileId>>,
}

impl Run {
    /// Returns whether a destination that looks complete may be skipped. In a job, only if the job made it.
    pub(crate) fn may_be_complete(&self, destination: impl FnOnce() -> OsString) -> bool {
        self.made_earlier.as_ref().is_none_or(|made| made(&destination()))
    }
}

/// Shared by all threads: the requested options, the receiver of events, the state of the run.
pub(crate) struct Context {
    pub options: Options,
    pub events: Events,
    pub run: Run,
}

impl Context {
    pub(crate) fn mode_policy(&self) -> ModePolicy {
        self.options.preserve.mode_policy(self.run.process.umask)
    }

    pub(crate) fn attribute_rules(&self) -> AttributeRules {
        let Process { umask, uid, privileged, .. } = self.run.process;
        AttributeRules { keep: self.options.preserve, umask, uid, privileged }
    }

    pub(crate) fn made_for_operand(&self, name: &DestinationName, id: FileId) -> bool {
        // A dry run made nothing, so there is no file to compare.
        lock(&self.run.operand_copies).get(name).is_some_and(|made| self.options.dry_run || *made == id)
    }
}

//! What all workers and the walk share: the options, the reporter, and facts about the process.

use crate::dir::{Descriptors, DestinationName, Watched};
use crate::metadata::kept_times::KeptTimes;
use crate::metadata::new_mode::ModePolicy;
use crate::metadata::{Handle, xattr};
use crate::options::Options;
use crate::report::progress::Listener;
use crate::report::{Failure, Prompt, Reporter, lock};
use crate::sys::proc::{self, StatusRequest, StopFlag};
use crate::sys::stale::StaleRetry;
use crate::sys::stat::FileId;
use crate::sys::{Errno, Time};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Formatter};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Facts about the process that do not change while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// The file creation mask.
    pub umask: u32,
    /// The effective user id.
    pub uid: u32,
    /// Whether it runs as root: then a chown that fails is worth a message.
    pub privileged: bool,
    /// When it looked.
    pub start: Time,
}

impl Process {
    /// Reads them. `alone` says that the process has no other thread, which might make a file just
    /// when the mask is read by setting it.
    pub fn look(alone: bool) -> Process {
        let umask = if alone { proc::umask() } else { proc::umask_among_threads() };
        let uid = proc::effective_uid();
        Process { umask, uid, privileged: uid == 0, start: proc::now() }
    }
}

/// Who is told of each name that was made, with its source and its destination.
#[derive(Clone)]
pub struct MadeListener(pub Arc<Tell>);

/// Takes a source and a destination.
type Tell = dyn Fn(&Path, &Path) + Send + Sync;

impl Debug for MadeListener {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("MadeListener")
    }
}

/// Tells which destinations an earlier run of a job has made: no others may be taken for complete.
#[derive(Clone)]
pub struct MadeEarlier(pub Arc<Knows>);

/// Takes a destination.
type Knows = dyn Fn(&OsStr) -> bool + Send + Sync;

impl Debug for MadeEarlier {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("MadeEarlier")
    }
}

/// Who is asked before a file is replaced.
#[derive(Clone)]
pub struct Prompter(pub Arc<Ask>);

/// Takes a question, gives the answer.
type Ask = dyn Fn(&Prompt) -> bool + Send + Sync;

impl Debug for Prompter {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prompter")
    }
}

/// Shared by reference with every thread.
#[derive(Debug)]
pub struct Context {
    /// What was asked for.
    pub options: Options,
    /// Where words go.
    pub reporter: Reporter,
    /// Raised by a signal.
    pub stop: StopFlag,
    /// Raised by SIGUSR1.
    pub status: StatusRequest,
    /// Who else wants to know how far it is.
    pub listener: Option<Listener>,
    /// Who else wants to know what was made.
    pub made_listener: Option<MadeListener>,
    /// In a job: which destinations it has made before.
    pub made_earlier: Option<MadeEarlier>,
    /// Who is asked. Where there is nobody to ask, the answer is no.
    pub prompter: Option<Prompter>,
    /// Umask and privileges.
    pub process: Process,
    /// The budget of open directories.
    pub descriptors: Descriptors,
    /// Where others are at work on the same tree: what they do may take a while to be seen.
    pub stale_retry: StaleRetry,
    /// Whether what is written is synced by file systems, not by files (`--fsync`).
    pub syncs_whole: bool,
    /// Those file systems.
    pub watched: Watched,
    /// How coarsely file systems store the times that they are given.
    pub kept_times: KeptTimes,
    /// The files that operands were copied to: a later operand must not overwrite an earlier one's copy.
    pub operand_copies: Mutex<HashMap<DestinationName, FileId>>,
}

impl Context {
    /// Whether what a killed run left is to be swept: a dry run only looks.
    pub fn resumes(&self) -> bool {
        self.options.resume && !self.options.dry_run
    }

    /// The policy that decides about the modes of new names.
    pub fn mode_policy(&self) -> ModePolicy {
        self.options.preserve.mode_policy(self.process.umask)
    }

    /// Tells whoever wants to know that a name was made.
    pub fn made(&self, source: impl FnOnce() -> OsString, destination: impl FnOnce() -> OsString) {
        if let Some(made_listener) = &self.made_listener {
            (made_listener.0)(Path::new(&source()), Path::new(&destination()));
        }
    }

    /// Whether a destination that looks complete may be left as it is. In a job, only what the job itself
    /// has made may.
    pub fn may_be_complete(&self, destination: impl FnOnce() -> OsString) -> bool {
        self.made_earlier.as_ref().is_none_or(|made| (made.0)(&destination()))
    }

    /// Whether this name, which has the given file, was made by this run for an earlier operand.
    pub fn made_for_operand(&self, name: &DestinationName, id: FileId) -> bool {
        // A dry run made nothing, so there is no file to compare.
        lock(&self.operand_copies).get(name).is_some_and(|made| self.options.dry_run || *made == id)
    }

    /// Asks whether a file may be replaced.
    pub fn may_replace(&self, prompt: &Prompt) -> bool {
        self.prompter.as_ref().is_some_and(|prompter| (prompter.0)(prompt))
    }

    /// Copies the extended attributes that are to be kept, as loud as was asked for. False if one is lost that must
    /// not be.
    pub fn copy_xattrs(
        &self,
        source: Handle<'_>,
        file: Handle<'_>,
        (source_path, path): (&dyn Fn() -> OsString, &dyn Fn() -> OsString),
    ) -> bool {
        let keep = &self.options.preserve;
        let wanted = xattr::Wanted { all: keep.xattr, context: keep.context, ..Default::default() };
        if wanted == xattr::Wanted::default() {
            return true;
        }
        let mut all_kept = true;
        xattr::copy(source, file, wanted, |error| {
            let unsupported = matches!(error.errno, Errno::OPNOTSUPP | Errno::NODATA);
            let is_refusal = xattr::is_refusal(error.errno);
            let path = if error.doing.reads_source() { source_path() } else { path() };
            let failure = Failure::attribute(error, &path);
            if keep.xattr_required || (keep.xattr_quiet && !is_refusal) {
                all_kept = false;
                self.reporter.fail(failure);
            } else if !keep.xattr_quiet && !unsupported {
                self.reporter.warn(failure);
            }
        });
        all_kept
    }
}

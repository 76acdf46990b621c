//! State that all workers and the walk share: options, reporter, and facts about the process.

mod descriptors;
mod watched;

pub(crate) use descriptors::{Base, Descriptors, FdSlot, Fds};
pub(crate) use watched::{Syncable, Watched};

use crate::metadata::apply::{AttributeRules, Lost};
use crate::metadata::kept_times::KeptTimes;
use crate::metadata::new_mode::ModePolicy;
use crate::options::Options;
use crate::report::progress::Listener;
use crate::report::{Failure, Prompt, Reporter, lock, quote};
use crate::sys::Time;
use crate::sys::proc::{self, StatusRequest, StopFlag};
use crate::sys::stale::StaleRetry;
use crate::sys::stat::FileId;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Formatter};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Facts about the process that do not change while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    /// The file creation mask.
    pub umask: u32,
    /// The effective user id.
    pub uid: u32,
    /// Whether the process runs as root: then a failing chown is reported.
    pub privileged: bool,
    /// The start of the copy.
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

/// A callback that all threads share.
pub(crate) struct Callback<F: ?Sized>(pub Arc<F>);

impl<F: ?Sized> Clone for Callback<F> {
    fn clone(&self) -> Callback<F> {
        Callback(Arc::clone(&self.0))
    }
}

impl<F: ?Sized> Debug for Callback<F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Callback")
    }
}

/// A name at the destination. Two paths of the same name in the same directory are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DestinationName {
    /// The directory, if it is known.
    pub directory: Option<FileId>,
    /// The name in `directory`; the whole path if that is `None`.
    pub path: OsString,
}

/// Gets the source and the destination of each name that was made.
pub(crate) type MadeListener = Callback<dyn Fn(&Path, &Path) + Send + Sync>;

/// Tells whether an earlier run of a job made a destination: only such a destination may be taken for
/// complete.
pub(crate) type MadeEarlier = Callback<dyn Fn(&OsStr) -> bool + Send + Sync>;

/// Tells whether a file may be replaced.
pub(crate) type Prompter = Callback<dyn Fn(&Prompt) -> bool + Send + Sync>;

/// State that all threads share by reference.
#[derive(Debug)]
pub(crate) struct Context {
    /// The options of the copy.
    pub options: Options,
    /// Receives all messages.
    pub reporter: Reporter,
    /// Raised by a signal.
    pub stop: StopFlag,
    /// Raised by SIGUSR1.
    pub status: StatusRequest,
    /// A callback for progress.
    pub listener: Option<Listener>,
    /// A callback for each name that was made.
    pub made_listener: Option<MadeListener>,
    /// In a job: tells which destinations the job has made before.
    pub made_earlier: Option<MadeEarlier>,
    /// Answers prompts. Without it, the answer is no.
    pub prompter: Option<Prompter>,
    /// Umask and privileges.
    pub process: Process,
    /// The budget of open directories.
    pub descriptors: Descriptors,
    /// Retries for copies that share a tree with other processes: their changes may take a while to become
    /// visible.
    pub stale_retry: StaleRetry,
    /// Whether whole file systems are synced instead of single files (`--fsync`).
    pub syncs_whole: bool,
    /// The file systems to sync.
    pub watched: Watched,
    /// The precision with which file systems store times.
    pub kept_times: KeptTimes,
    /// The files made for operands: a later operand must not overwrite an earlier one's copy.
    pub operand_copies: Mutex<HashMap<DestinationName, FileId>>,
}

impl Context {
    /// Returns whether files of killed runs are removed: not in a dry run.
    pub(crate) fn resumes(&self) -> bool {
        self.options.resume && !self.options.dry_run
    }

    /// Returns the rule for the modes of new names.
    pub(crate) fn mode_policy(&self) -> ModePolicy {
        self.options.preserve.mode_policy(self.process.umask)
    }

    /// Calls the listener with a name that was made.
    pub(crate) fn made(&self, source: impl FnOnce() -> OsString, destination: impl FnOnce() -> OsString) {
        if let Some(made_listener) = &self.made_listener {
            (made_listener.0)(Path::new(&source()), Path::new(&destination()));
        }
    }

    /// Returns whether a destination that looks complete may be skipped. In a job, only if the job made it.
    pub(crate) fn may_be_complete(&self, destination: impl FnOnce() -> OsString) -> bool {
        self.made_earlier.as_ref().is_none_or(|made| (made.0)(&destination()))
    }

    /// Returns whether this run made the file `id` under this name for an earlier operand.
    pub(crate) fn made_for_operand(&self, name: &DestinationName, id: FileId) -> bool {
        // A dry run made nothing, so there is no file to compare.
        lock(&self.operand_copies).get(name).is_some_and(|made| self.options.dry_run || *made == id)
    }

    /// Prints the line of `-v` for a name that was removed.
    pub(crate) fn say_removed(&self, path: impl FnOnce() -> OsString) {
        if self.options.verbose {
            self.reporter.lines(&[b"removed ".as_slice(), &quote::quoted(path()), b"\n"].concat());
        }
    }

    /// Asks whether a file may be replaced.
    pub(crate) fn may_replace(&self, prompt: &Prompt) -> bool {
        self.prompter.as_ref().is_some_and(|prompter| (prompter.0)(prompt))
    }

    /// Returns the rules for attributes.
    pub(crate) fn attribute_rules(&self) -> AttributeRules {
        let Process { umask, uid, privileged, .. } = self.process;
        AttributeRules { keep: self.options.preserve, umask, uid, privileged }
    }

    /// Reports an attribute that was not kept. A failure goes to `fail`.
    pub(crate) fn report_lost(
        &self,
        lost: Lost,
        (source_path, path): (&dyn Fn() -> OsString, &dyn Fn() -> OsString),
        fail: impl FnOnce(Failure),
    ) {
        let with_path = |failure: Failure| {
            let path = if failure.reads_source() { source_path() } else { path() };
            failure.and(path)
        };
        match lost {
            Lost::Failed(failure) => fail(with_path(failure)),
            Lost::Warned(failure) => self.reporter.warn(with_path(failure)),
            Lost::Silently => self.reporter.fail_silently(),
        }
    }
}

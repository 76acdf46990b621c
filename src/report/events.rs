//! The events of a copy: failures, warnings, names that were made, questions, and who receives them.

use super::console::{Console, Prompt};
use super::log::{self, Log};
use super::progress::Progress;
use super::{Failure, lock, quote};
use crate::metadata::apply::Lost;
use crate::options::{OnFailure, Options};
use crate::sys::Kind;
use crate::sys::proc::{StatusRequest, StopFlag};
use std::ffi::OsString;
use std::fmt::{Debug, Formatter};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The most failures, and the most warnings, that the report keeps. All are printed and counted.
const KEPT_FAILURES: usize = 1000;

/// Gets the progress a few times a second.
pub(crate) type ProgressCallback = Arc<dyn Fn(&Progress) + Send + Sync>;

/// Gets the source and the destination of each name that was made.
pub(crate) type MadeCallback = Arc<dyn Fn(&Path, &Path) + Send + Sync>;

/// Tells whether a file may be replaced. Without one, the answer is no.
pub(crate) type Prompter = Arc<dyn Fn(&Prompt) -> bool + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) struct Receivers {
    /// The front end of a program. With a console, the copy catches signals and enlarges the table of
    /// descriptors. Without one, it leaves signals, the terminal and descriptors alone.
    pub console: Option<Console>,
    pub log: Option<Log>,
    pub progress: Option<ProgressCallback>,
    pub made: Option<MadeCallback>,
    pub prompter: Option<Prompter>,
}

impl Debug for Receivers {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receivers")
    }
}

/// Receives everything that happens in a copy: failures, warnings, names, lines.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub receivers: Receivers,
    /// Raised by SIGUSR1.
    pub status: StatusRequest,
    /// Stops the copy. Raised by a signal, and when a failure ends the copy.
    pub stop: StopFlag,
    on_failure: OnFailure,
    ignore_vanished: bool,
    verbose: bool,
    itemize: bool,
    dry_run: bool,
    vanished: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    warnings: Mutex<Vec<Failure>>,
}

impl Events {
    /// Passes events on to `receivers`, and raises `stop` after a failure that ends the copy.
    pub(crate) fn new(receivers: Receivers, options: &Options, stop: StopFlag) -> Events {
        let Options { on_failure, ignore_vanished, verbose, itemize, dry_run, .. } = *options;
        Events { receivers, on_failure, ignore_vanished, verbose, itemize, dry_run, stop, ..Events::default() }
    }

    /// Installs the handler of SIGUSR1, which asks for the progress.
    pub(crate) fn answer_status_requests(&mut self) {
        self.status = StatusRequest::install().unwrap_or_default();
    }

    pub(crate) fn made(&self, source: impl FnOnce() -> OsString, destination: impl FnOnce() -> OsString) {
        if let Some(made) = &self.receivers.made {
            made(Path::new(&source()), Path::new(&destination()));
        }
    }

    pub(crate) fn ask(&self, prompt: &Prompt) -> bool {
        self.receivers.prompter.as_ref().is_some_and(|prompter| prompter(prompt))
    }

    /// Prints the line of `-v` for a name that was removed.
    pub(crate) fn removed(&self, path: impl FnOnce() -> OsString) {
        if self.verbose {
            self.lines(&[b"removed ".as_slice(), &quote::quoted(path()), b"\n"].concat());
        }
    }

    /// Reports an attribute that was not kept. A failure goes to `fail`.
    pub(crate) fn lost(
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
            Lost::Warned(failure) => self.warn(with_path(failure)),
            Lost::Silently => self.fail_silently(),
        }
    }

    pub(crate) fn records(&self) -> bool {
        self.receivers.log.is_some() || self.itemize
    }

    pub(crate) fn made_directory(&self, source: impl Fn() -> OsString, destination: impl Fn() -> OsString) {
        self.made(&source, &destination);
        if !self.records() {
            return;
        }
        let (source, destination) = (source(), destination());
        let (source, destination) = (Some(source.as_os_str().into()), Some(destination.as_os_str().into()));
        let (kind, dry_run) = (Some(Kind::Directory), self.dry_run);
        let action = log::NameAction::Made;
        let record = log::Record { source, destination, kind, action, dry_run, ..Default::default() };
        if self.itemize {
            let mut line = Vec::new();
            record.write_item(&mut line);
            self.lines(&line);
        }
        if let Some(log) = &self.receivers.log {
            log.write_record(&record);
        }
    }

    /// Logs the outcome of a name that no worker is copying, such as a directory.
    fn log_failure(&self, failure: &Failure, action: log::NameAction) {
        let Some(log) = &self.receivers.log else { return };
        let (source, destination) = failure.names().unzip();
        let has_failed = action == log::NameAction::Failed;
        let (why, failure) = if has_failed { (None, Some(failure)) } else { (Some(log::VANISHED), None) };
        let dry_run = self.dry_run;
        log.write_record(&log::Record {
            source: source.map(Into::into),
            destination: destination.map(Into::into),
            action,
            why,
            failure,
            dry_run,
            ..Default::default()
        });
    }

    /// Reports a failure. The exit status will be 1.
    pub(crate) fn fail(&self, failure: Failure) {
        if self.ignore_vanished && failure.is_vanished_entry() {
            self.vanished.fetch_add(1, Ordering::Relaxed);
            if self.records() && !log::name_has_vanished() {
                self.log_failure(&failure, log::NameAction::Skipped);
            }
            return;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.message(&failure);
        if self.records() && !log::add_to_name(Some(&failure)) {
            self.log_failure(&failure, log::NameAction::Failed);
        }
        if self.ends_copy(&failure) {
            self.stop.give_up();
        }
        keep(&self.failures, failure);
    }

    pub(crate) fn ends_copy(&self, failure: &Failure) -> bool {
        match self.on_failure {
            OnFailure::KeepGoing => false,
            OnFailure::StopIfFull => failure.is_of_full_destination(),
            OnFailure::Stop => true,
        }
    }

    /// Returns the number of entries that had vanished before they could be copied, if that is no failure.
    pub(crate) fn vanished(&self) -> u64 {
        self.vanished.load(Ordering::Relaxed)
    }

    /// Counts a failure without a message, such as a declined prompt. The exit status will be 1.
    pub(crate) fn fail_silently(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if self.records() {
            log::add_to_name(None);
        }
    }

    pub(crate) fn warn(&self, failure: Failure) {
        self.message(&failure);
        keep(&self.warnings, failure);
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn kept_failures(&self) -> Vec<Failure> {
        lock(&self.failures).clone()
    }

    pub(crate) fn kept_warnings(&self) -> Vec<Failure> {
        lock(&self.warnings).clone()
    }

    /// Prints one or more whole lines on stdout (`-v`, `--debug`).
    pub(crate) fn lines(&self, lines: &[u8]) {
        if let Some(console) = &self.receivers.console {
            console.print(lines);
        }
    }

    fn message(&self, failure: &Failure) {
        if let Some(console) = &self.receivers.console {
            console.message(failure);
        }
    }
}

fn keep(kept: &Mutex<Vec<Failure>>, failure: Failure) {
    let mut kept = lock(kept);
    if kept.len() < KEPT_FAILURES {
        kept.push(failure);
    }
}

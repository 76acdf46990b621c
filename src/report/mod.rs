//! Everything that is printed: messages, `-v` lines, prompts, statistics, the progress bar.
//!
//! A message is one line, printed under a lock. Other modules pass facts; this module decides their wording,
//! quoting and destination.

pub(crate) mod bar;
pub(crate) mod console;
pub(crate) mod errno;
pub(crate) mod gather;
pub(crate) mod json;
pub(crate) mod log;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod progress_line;
pub(crate) mod speed;
pub(crate) mod stats;
pub(crate) mod table;

pub(crate) use crate::error::{Failure, quote};
pub use console::{Console, Prompt};
pub use log::Log;
pub(crate) use stats::Stats;

use crate::options::{OnFailure, Options};
use crate::sys::Kind;
use crate::sys::proc::StopFlag;
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most failures, and the most warnings, that the report keeps. All are printed and counted.
pub(crate) const KEPT_FAILURES: usize = 1000;

/// Locks a mutex even if a thread panicked while it held the lock: the data guarded here stays valid.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives all failures, warnings and lines.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    on_failure: OnFailure,
    ignore_vanished: bool,
    /// Raised when a failure ends the copy.
    stop: StopFlag,
    vanished: AtomicU64,
    failed: AtomicU64,
    kept: Mutex<Vec<Failure>>,
    warned: Mutex<Vec<Failure>>,
    /// `None` if nothing is printed during the copy.
    console: Option<Console>,
    log: Option<Log>,
    itemize: bool,
    dry_run: bool,
}

impl Reporter {
    /// Makes a reporter that keeps messages and prints them on the console, if there is one. It raises `stop`
    /// after a failure that ends the copy.
    pub(crate) fn new(console: Option<Console>, log: Option<Log>, options: &Options, stop: StopFlag) -> Reporter {
        let Options { on_failure, ignore_vanished, itemize, dry_run, .. } = *options;
        Reporter { console, log, itemize, dry_run, on_failure, ignore_vanished, stop, ..Reporter::default() }
    }

    /// Returns whether each name gets a record.
    pub(crate) fn records(&self) -> bool {
        self.log.is_some() || self.itemize
    }

    /// Receives the records, if there is a log.
    pub(crate) fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// Logs a directory that was made.
    pub(crate) fn made_directory(
        &self,
        source: impl FnOnce() -> OsString,
        destination: impl FnOnce() -> OsString,
    ) {
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
        if let Some(log) = &self.log {
            log.write_record(&record);
        }
    }

    /// Logs the outcome of a name that no worker is copying, such as a directory.
    fn log_failure(&self, failure: &Failure, action: log::NameAction) {
        let Some(log) = &self.log else { return };
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

    pub(crate) fn console(&self) -> Option<&Console> {
        self.console.as_ref()
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
        keep(&self.kept, failure);
    }

    /// Returns whether a failure ends the copy.
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
        keep(&self.warned, failure);
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns the first failures, for the statistics.
    pub(crate) fn kept_failures(&self) -> Vec<Failure> {
        lock(&self.kept).clone()
    }

    /// Returns the first warnings.
    pub(crate) fn kept_warnings(&self) -> Vec<Failure> {
        lock(&self.warned).clone()
    }

    /// Prints one or more whole lines on stdout (`-v`, `--debug`).
    pub(crate) fn lines(&self, lines: &[u8]) {
        if let Some(console) = &self.console {
            console.print(lines);
        }
    }

    fn message(&self, failure: &Failure) {
        if let Some(console) = &self.console {
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

/// Builds the line of `-v`: `'a' -> 'b'`, with the name of the backup if there is one.
pub(crate) fn copied_line(source: &OsStr, destination: &OsStr, backup: Option<&OsStr>) -> Vec<u8> {
    let kept = backup.map(|backup| [b" (backup: ".as_slice(), &quote::quoted(backup), b")"].concat());
    let (source, destination) = (quote::quoted(source), quote::quoted(destination));
    [&source, b" -> ".as_slice(), &destination, &kept.unwrap_or_default(), b"\n"].concat()
}

//! The only room that prints: messages, `-v` lines, prompts, statistics, the progress bar.
//!
//! A message is one locked line. The other rooms hand over what happened; how it is worded, quoted
//! and where it goes is decided here.

pub mod console;
pub mod errno;
pub mod failure;
pub mod gather;
pub mod output;
pub mod progress;
pub mod quote;
pub mod stats;
pub mod table;

pub use console::{Console, Prompt};
pub use failure::Failure;
pub use stats::Stats;

use crate::sys::Errno;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many failures, and warnings, are kept for the statistics; all of them are printed and counted.
pub const KEPT_FAILURES: usize = 1000;

/// Takes a lock whose holder may have panicked: what it guards here is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where all words go.
#[derive(Debug, Default)]
pub struct Reporter {
    failed: AtomicU64,
    kept: Mutex<Vec<Failure>>,
    warned: Mutex<Vec<Failure>>,
    /// `None` where nobody is to be told at once.
    console: Option<Console>,
}

impl Reporter {
    /// Keeps what it is told, and prints it on the console if there is one.
    pub fn new(console: Option<Console>) -> Reporter {
        Reporter { console, ..Reporter::default() }
    }

    /// Where it prints.
    pub fn console(&self) -> Option<&Console> {
        self.console.as_ref()
    }

    /// Reports that something was not done. The exit status is then 1.
    pub fn fail(&self, failure: Failure) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.message(&failure);
        keep(&self.kept, failure);
    }

    /// Makes the exit status 1 without a word, as a declined prompt does.
    pub fn fail_silently(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the user something that is no failure.
    pub fn warn(&self, failure: Failure) {
        self.message(&failure);
        keep(&self.warned, failure);
    }

    /// How many failures there were.
    pub fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The first failures, for the statistics.
    pub fn kept_failures(&self) -> Vec<Failure> {
        lock(&self.kept).clone()
    }

    /// The first warnings.
    pub fn kept_warnings(&self) -> Vec<Failure> {
        lock(&self.warned).clone()
    }

    /// One or more whole lines on stdout (`-v`, `--debug`).
    pub fn lines(&self, lines: &[u8]) {
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

/// The line of `-v`: `'a' -> 'b'`, with the backup's name if one was made.
pub fn copied_line(source: &OsStr, destination: &OsStr, backup: Option<&OsStr>) -> Vec<u8> {
    let mut line = quote::quoted(source);
    line.extend_from_slice(b" -> ");
    line.extend_from_slice(&quote::quoted(destination));
    if let Some(backup) = backup {
        line.extend_from_slice(b" (backup: ");
        line.extend_from_slice(&quote::quoted(backup));
        line.push(b')');
    }
    line.push(b'\n');
    line
}

/// The system's words for an errno.
pub fn reason(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

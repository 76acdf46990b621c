//! The only room that prints: messages, `-v` lines, prompts, statistics, the progress bar.
//!
//! A message is one locked line. The other rooms hand over what happened; how it is worded, quoted
//! and where it goes is decided here.

pub mod errno;
pub mod failure;
pub mod output;
pub mod progress;
pub mod quote;
pub mod stats;
pub mod table;

pub use failure::Failure;
pub use stats::Stats;

use crate::sys::Errno;
use output::Output;
use std::ffi::OsStr;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many failures are kept for the statistics; all of them are printed.
const KEPT_FAILURES: usize = 1000;

/// Takes a lock whose holder may have panicked: what it guards here is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where all words go.
#[derive(Debug)]
pub struct Reporter {
    program: String,
    failed: AtomicU64,
    kept: Mutex<Vec<Failure>>,
    output: Mutex<Output>,
    bar: progress::Handle,
}

impl Reporter {
    /// A reporter that calls itself `program`, and moves `bar` aside to print.
    pub fn new(program: &str, bar: progress::Handle) -> Reporter {
        Reporter {
            program: program.to_owned(),
            failed: AtomicU64::new(0),
            kept: Mutex::default(),
            output: Mutex::new(Output::stdout()),
            bar,
        }
    }

    /// What the program calls itself.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Reports that something was not done. The exit status is then 1.
    pub fn fail(&self, failure: Failure) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.message(&failure.text());
        let mut kept = lock(&self.kept);
        if kept.len() < KEPT_FAILURES {
            kept.push(failure);
        }
    }

    /// Makes the exit status 1 without a word, as a declined prompt does.
    pub fn fail_silently(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the user something that is no failure.
    pub fn warn(&self, failure: &Failure) {
        self.message(&failure.text());
    }

    /// How many failures there were.
    pub fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The first failures, for the statistics.
    pub fn kept_failures(&self) -> Vec<Failure> {
        lock(&self.kept).clone()
    }

    /// One or more whole lines on stdout (`-v`, `--debug`).
    pub fn lines(&self, lines: &[u8]) {
        self.bar.suspend(|| lock(&self.output).write(lines));
    }

    /// Asks on stderr and reads the answer from stdin: yes if it begins with a y, as the POSIX
    /// locale has it (`yesexpr` of locale(5)).
    pub fn ask(&self, question: &[u8]) -> bool {
        self.bar.suspend(|| {
            lock(&self.output).flush();
            let mut text = self.program.clone().into_bytes();
            text.extend_from_slice(b": ");
            text.extend_from_slice(question);
            let _ = std::io::stderr().lock().write_all(&text);
            let mut answer = Vec::new();
            let mut stdin = std::io::stdin().lock();
            let _ = std::io::BufRead::read_until(&mut stdin, b'\n', &mut answer);
            matches!(answer.first(), Some(b'y' | b'Y'))
        })
    }

    /// Writes out what is still held back. A write that failed, now or before, is a failure.
    pub fn finish(&self) {
        let answer = {
            let mut output = lock(&self.output);
            output.flush();
            output.error()
        };
        if let Some(errno) = answer {
            self.fail(Failure::plain("write error").errno(errno));
        }
    }

    fn message(&self, text: &[u8]) {
        let mut line = self.program.clone().into_bytes();
        line.extend_from_slice(b": ");
        line.extend_from_slice(text);
        line.push(b'\n');
        // A message that nobody can be shown is no reason to stop copying.
        self.bar.suspend(|| drop(std::io::stderr().lock().write_all(&line)));
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

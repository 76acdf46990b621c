//! The only room that prints: messages, `-v` lines, prompts, statistics, the progress bar.
//!
//! A message is one locked line. The other rooms hand over what happened; how it is worded, quoted
//! and where it goes is decided here.

pub mod errno;
pub mod failure;
pub mod gather;
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
    /// `None` in a library, which says nothing.
    console: Option<Console>,
}

/// The terminal, or what stands in its place.
#[derive(Debug)]
struct Console {
    program: String,
    output: Mutex<Output>,
    bar: progress::Handle,
}

impl Reporter {
    /// A reporter that calls itself `program`, and moves `bar` aside to print.
    pub fn new(program: &str, bar: progress::Handle) -> Reporter {
        let console = Console { program: program.to_owned(), output: Mutex::new(Output::stdout()), bar };
        Reporter { console: Some(console), ..Reporter::default() }
    }

    /// A reporter that keeps what it is told and prints nothing.
    pub fn silent() -> Reporter {
        Reporter::default()
    }

    /// What the program calls itself; `None` where nothing is printed.
    pub fn program(&self) -> Option<&str> {
        self.console.as_ref().map(|console| console.program.as_str())
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
        if let Some(Console { output, bar, .. }) = &self.console {
            bar.suspend(|| lock(output).write(lines));
        }
    }

    /// Asks on stderr and reads the answer from stdin: yes if it begins with a y, as the POSIX
    /// locale has it (`yesexpr` of locale(5)). Where there is nobody to ask, the answer is no.
    pub fn ask(&self, question: &[u8]) -> bool {
        let Some(Console { program, output, bar }) = &self.console else { return false };
        bar.suspend(|| {
            lock(output).flush();
            let mut text = program.clone().into_bytes();
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
        let Some(console) = &self.console else { return };
        let answer = {
            let mut output = lock(&console.output);
            output.flush();
            output.error()
        };
        if let Some(errno) = answer {
            self.fail(Failure::plain("write error").errno(errno));
        }
    }

    fn message(&self, failure: &Failure) {
        let Some(Console { program, bar, .. }) = &self.console else { return };
        let line = [program.as_bytes(), b": ", &failure.text(), b"\n"].concat();
        // A message that nobody can be shown is no reason to stop copying.
        bar.suspend(|| drop(std::io::stderr().lock().write_all(&line)));
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

//! The console of a program: lines, messages, prompts.

use super::output::Output;
use super::progress::BarHandle;
use super::{Failure, lock};
use crate::error::Operation;
use crate::sys::interrupted::Bounded;
use crate::sys::io;
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, start};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The front end of a program: prints the messages of a copy as they happen, as `zcp` does.
///
/// Messages go to stderr after the program's name. The lines of [`verbose`](crate::CopyOptions::verbose) go
/// to stdout. Neither disturbs the progress bar, and lines of several threads are never mixed. Clones print
/// to the same console.
///
/// # Examples
/// ```no_run
/// use std::process::ExitCode;
///
/// /// A copy program in a few lines.
/// fn main() -> ExitCode {
///     let mut names: Vec<_> = std::env::args_os().skip(1).collect();
///     let destination = names.pop().unwrap_or_default();
///     let (console, cancel) = (zcp::Console::new("mycp"), zcp::Cancel::new());
///     let mut options = zcp::CopyOptions::new();
///     options.verbose(true).progress(zcp::When::Auto).cancel_by(&cancel).console(&console);
///     let outcome = options.copy(names, destination);
///     if let Err(zcp::Error::Usage(failure) | zcp::Error::Unusable(failure)) = &outcome {
///         console.message(failure); // later failures have been printed already
///     }
///     let printed = console.finish();
///     cancel.reraise();
///     if outcome.is_ok() && printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Console(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    program: String,
    output: Mutex<Output>,
    bar: BarHandle,
}

impl Console {
    /// Makes a console for the program `program`.
    pub fn new(program: &str) -> Console {
        let (output, bar) = (Mutex::default(), BarHandle::default());
        Console(Arc::new(Inner { program: program.to_owned(), output, bar }))
    }

    /// Returns the name at the beginning of each message.
    pub fn program(&self) -> &str {
        &self.0.program
    }

    /// Returns whether a progress bar was shown.
    pub fn has_shown_progress(&self) -> bool {
        self.0.bar.was_shown()
    }

    /// Prints one or more whole lines on stdout. They may be buffered until [`finish`](Console::finish).
    pub fn print(&self, lines: &[u8]) {
        self.0.bar.suspend(|| lock(&self.0.output).write(lines));
    }

    /// Prints whole lines on stdout at once.
    pub(crate) fn print_now(&self, lines: &[u8]) {
        self.0.bar.suspend(|| {
            let mut output = lock(&self.0.output);
            output.write(lines);
            output.flush();
        });
    }

    /// Prints a failure or a warning on stderr.
    pub fn message(&self, failure: &Failure) {
        self.say(&failure.text());
    }

    /// Prints a message on stderr.
    pub fn say(&self, text: &[u8]) {
        let line = [self.program().as_bytes(), b": ", text, b"\n"].concat();
        // A message that cannot be printed does not stop the copy, unless its reader has gone.
        let answer = self.0.bar.suspend(|| write_to_stderr(&line));
        if answer.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            lock(&self.0.output).reader_has_gone();
        }
    }

    /// Prints a line on stderr without the program's name.
    pub(crate) fn say_line(&self, line: &[u8]) {
        let _ = self.0.bar.suspend(|| write_to_stderr(line));
    }

    /// Prints the prompt on stderr and reads the answer from stdin. An answer that begins with a y means yes,
    /// as in the POSIX locale (`yesexpr` of locale(5)). Pass this to
    /// [`interactive`](crate::CopyOptions::interactive).
    pub fn ask(&self, prompt: &Prompt) -> bool {
        self.0.bar.suspend(|| {
            let stop = {
                let mut output = lock(&self.0.output);
                output.flush();
                output.stop.clone().unwrap_or_default()
            };
            let text = [self.program().as_bytes(), b": ", &prompt.text].concat();
            let _ = write_to_stderr(&text);
            matches!(io::read_line(std::io::stdin(), &stop).first(), Some(b'y' | b'Y'))
        })
    }

    /// Prints the buffered lines.
    ///
    /// # Errors
    /// If any line could not be printed. The failure has been printed on stderr.
    pub fn finish(&self) -> Result<(), Failure> {
        let answer = {
            let mut output = lock(&self.0.output);
            output.flush();
            output.error
        };
        let Some(errno) = answer else { return Ok(()) };
        let failure = Failure::from(Operation::Print).errno(errno);
        // After a broken pipe there may be no reader for a message.
        if errno != Errno::PIPE || !start::dies_of_broken_pipe() {
            self.message(&failure);
        }
        Err(failure)
    }

    /// Makes the copy of `stop` end when the reader of stdout or stderr goes away.
    pub(crate) fn stop_by(&self, stop: &StopFlag) {
        lock(&self.0.output).stop = Some(stop.clone());
    }

    pub(crate) fn bar(&self) -> &BarHandle {
        &self.0.bar
    }
}

fn write_to_stderr(bytes: &[u8]) -> std::io::Result<()> {
    Bounded(std::io::stderr().lock()).write_all(bytes)
}

/// The question whether a file may be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    destination: OsString,
    text: Vec<u8>,
}

impl Prompt {
    pub(crate) fn new(destination: &OsStr, text: Vec<u8>) -> Prompt {
        Prompt { destination: destination.to_owned(), text }
    }

    /// Returns the existing file.
    pub fn destination(&self) -> &Path {
        Path::new(&self.destination)
    }

    /// Returns the question in cp's words, such as `overwrite 'b'? `.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

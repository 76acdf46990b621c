//! Everything that is printed: messages, `-v` lines, prompts, statistics, the progress bar.
//!
//! A message is one line, printed under a lock. Other modules pass facts; this module decides their wording,
//! quoting and destination.

pub(crate) mod bar;
pub(crate) mod console;
pub(crate) mod errno;
mod events;
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
pub(crate) use events::{Events, Receivers};
pub use log::Log;
pub(crate) use stats::Stats;

use std::ffi::OsStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex even if a thread panicked while it held the lock: the data guarded here stays valid.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Builds the line of `-v`: `'a' -> 'b'`, with the name of the backup if there is one.
pub(crate) fn copied_line(source: &OsStr, destination: &OsStr, backup: Option<&OsStr>) -> Vec<u8> {
    let kept = backup.map(|backup| [b" (backup: ".as_slice(), &quote::quoted(backup), b")"].concat());
    let (source, destination) = (quote::quoted(source), quote::quoted(destination));
    [&source, b" -> ".as_slice(), &destination, &kept.unwrap_or_default(), b"\n"].concat()
}

//! A handle that stops a copy.

use crate::sys::proc::StopFlag;

/// Stops a copy from another thread or from the progress callback.
///
/// Clones stop the same copies. The file that is being copied is abandoned, and removed if it is new. Files
/// copied before stay. [`CopyOptions::copy`](super::CopyOptions::copy) returns
/// [`Error::Cancelled`](super::Error::Cancelled).
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir()?;
/// # std::env::set_current_dir(dir.path())?;
/// # std::fs::write("disk.img", "...")?;
/// let cancel = zcp::Cancel::new();
/// let mut options = zcp::CopyOptions::new();
/// options.cancel_by(&cancel);
/// // A window's button, another thread, a deadline:
/// cancel.cancel();
/// assert!(matches!(options.copy(["disk.img"], "copy.img"), Err(zcp::Error::Cancelled(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(StopFlag);

impl Cancel {
    /// Makes a handle that has not been used yet.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Stops the copies that use this handle, soon. Copies that begin later stop at once.
    pub fn cancel(&self) {
        self.0.raise();
    }

    /// Returns the signal that stopped the copies, if there was one: a signal caught for a
    /// [`Console`](crate::Console), or SIGPIPE if the reader of a destination went away.
    pub fn signal(&self) -> Option<i32> {
        self.0.signal()
    }

    /// Ends the process by that signal, so that its parent sees it. Returns if there was no signal. Call it
    /// after all messages have been printed.
    pub fn reraise(&self) {
        self.0.reraise();
    }

    pub(crate) fn flag(&self) -> StopFlag {
        self.0.clone()
    }
}

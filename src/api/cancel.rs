//! The handle that stops a copy.

use crate::sys::proc::StopFlag;

/// Stops a copy from outside: from another thread, or from the progress callback.
///
/// Clones stop the same copies. The file that is in hand is given up and removed again if it is new;
/// what was copied before stays, and [`CopyOptions::copy`](super::CopyOptions::copy) gives
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
    /// A handle that has not been used yet.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Stops the copies that were told of it, soon; also those that begin later.
    pub fn cancel(&self) {
        self.0.raise();
    }

    /// The signal that stopped them, if one did: one that a [`Console`](crate::Console) has caught, or SIGPIPE
    /// where the reader of a destination went away.
    pub fn signal(&self) -> Option<i32> {
        self.0.signal()
    }

    /// Ends the process by that signal, for whoever started it to see; returns if there was none. To be
    /// called when all has been said.
    pub fn reraise(&self) {
        self.0.reraise();
    }

    pub(crate) fn flag(&self) -> StopFlag {
        self.0.clone()
    }
}

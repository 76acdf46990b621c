//! Options about the state of the files after a copy or an interruption.

use super::CopyOptions;
use crate::options::OnFailure;

setters! {
    /// Gives each file its name only when it is complete, with its attributes. An existing file is replaced
    /// in one step, so the name has either the old content or the new (`--atomic`).
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// # std::fs::write("new.conf", "new")?;
    /// # std::fs::write("app.conf", "old")?;
    /// let mut options = zcp::CopyOptions::new();
    /// options.atomic(true).fsync(true);
    /// options.copy(["new.conf"], "app.conf")?; // old or new, also after a power cut
    /// # assert_eq!(std::fs::read("app.conf")?, b"new");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    atomic(yes: bool) { atomic }

    /// Syncs everything that was made before [`copy`](CopyOptions::copy) returns `Ok`: content, attributes
    /// and names are then on the disk (`--fsync`).
    fsync(yes: bool) { fsync }

    /// Sets whether to copy the rest after a failure. By default, the rest is copied. A copy that ends early
    /// returns [`Error::Incomplete`](crate::Error::Incomplete), removes the new file that it was copying, and
    /// counts the files that it did not try.
    on_failure(on_failure: OnFailure) { on_failure }

    /// Counts an entry that vanished after its directory was listed, instead of reporting a failure
    /// (`--ignore-vanished`). A missing operand is still a failure.
    ignore_vanished(yes: bool) { ignore_vanished }

    /// Reads each copy back, from the disk where possible, and compares it with its source (`--verify`). A
    /// difference is a failure.
    verify(yes: bool) { verify }

    /// Skips what an earlier run completed, and copies the rest (`--resume`). A file counts as complete if it
    /// has the source's length and modification time, as far as the destination's file system can store the
    /// time. So this option keeps the times of files, and the first run needs it as well. Attributes that
    /// differ are set. An existing file of another kind is replaced. An incomplete file of 256 MiB or more is
    /// continued behind the bytes that equal the source's.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// # std::fs::create_dir("data")?;
    /// # std::fs::write("data/1", "...")?;
    /// let mut options = zcp::CopyOptions::new();
    /// options.archive().resume(true).no_target_directory();
    /// options.copy(["data"], "backup")?;
    /// # std::fs::write("data/2", "...")?;
    /// let report = options.copy(["data"], "backup")?; // once more, after whatever ended the first
    /// assert_eq!((report.complete(), report.files()), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    resume(yes: bool) { resume }
}

//! What is certain when a copy is over, or was ended.

use super::CopyOptions;

impl CopyOptions {
    /// Gives each file its name only when it is complete, with its attributes; what stood there is replaced
    /// in one step, so that at every moment the name has the old content or the new (`--atomic`).
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
    pub fn atomic(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.atomic = yes;
        self
    }

    /// When [`copy`](CopyOptions::copy) gives `Ok`, all that it made is on the disk: content, attributes and
    /// names (`--fsync`).
    pub fn fsync(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.fsync = yes;
        self
    }

    /// Reads each copy back, from the disk where that is possible, and compares it with its source; a
    /// difference is a failure (`--verify`).
    pub fn verify(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.verify = yes;
        self
    }

    /// Leaves alone what an earlier run completed, and does the rest (`--resume`): a file has its content if its
    /// length and its modification time are the source's, as the destination's file system keeps it. So the times
    /// of files are kept, by the first run as well. Attributes that differ are set; what is of another kind than
    /// the file to be copied is replaced.
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
    pub fn resume(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.resume = yes;
        self
    }
}

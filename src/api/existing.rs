//! Options about existing destinations.

use super::CopyOptions;
use crate::options::{Backup, BackupControl, IfExists};
use crate::report::Prompt;
use std::ffi::OsString;
use std::sync::Arc;

setters! {
    /// Replaces an existing file only if the source was modified later (`-u`, `--update=older`).
    update(yes: bool) { update }

    /// Removes an existing file that cannot be opened, and creates a new one (`-f`).
    force(yes: bool) { force }

    /// Removes each existing file first, so that the copy is a new file (`--remove-destination`).
    remove_destination(yes: bool) { remove_destination }

    /// Writes through a dangling symbolic link and so creates the file that it names (as cp does with
    /// POSIXLY_CORRECT).
    write_through_dangling(yes: bool) { write_through_dangling }

    /// Copies a directory into the target of an existing symbolic link to a directory
    /// (`--keep-directory-symlink`).
    keep_directory_symlink(yes: bool) { keep_directory_symlink }
}

impl CopyOptions {
    /// Skips existing files silently (`--update=none`).
    pub fn skip_existing(&mut self) -> &mut CopyOptions {
        self.options.if_exists = IfExists::Skip;
        self
    }

    /// Skips existing files; each is a failure (`--update=none-fail`).
    pub fn refuse_existing(&mut self) -> &mut CopyOptions {
        self.options.if_exists = IfExists::SkipFail;
        self
    }

    /// Calls `ask` before an existing file is replaced (`-i`). A file that it declines counts as skipped, and
    /// as a failure without a message. One worker copies all names, in cp's order.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// # for name in ["mine", "yours"] { std::fs::write(name, "new")?; }
    /// # std::fs::create_dir("into")?;
    /// # for name in ["into/mine", "into/yours"] { std::fs::write(name, "old")?; }
    /// let mut options = zcp::CopyOptions::new();
    /// options.interactive(|prompt| prompt.destination().ends_with("yours"));
    /// let error = options.copy(["mine", "yours"], "into").unwrap_err();
    /// assert_eq!(error.report().unwrap().skipped(), 1);
    /// assert_eq!(std::fs::read("into/mine")?, b"old");
    /// assert_eq!(std::fs::read("into/yours")?, b"new");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn interactive(&mut self, ask: impl Fn(&Prompt) -> bool + Send + Sync + 'static) -> &mut CopyOptions {
        self.options.if_exists = IfExists::Ask;
        self.receivers.prompter = Some(Arc::new(ask));
        self
    }

    /// Renames each existing file to a backup before it is replaced (`--backup`). The name of a simple backup
    /// ends in `~`, unless [`backup_suffix`](CopyOptions::backup_suffix) says otherwise.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// std::fs::write("new", "new")?;
    /// std::fs::write("conf", "old")?;
    /// zcp::CopyOptions::new().backup(zcp::BackupControl::Numbered).copy(["new"], "conf")?;
    /// assert_eq!(std::fs::read("conf.~1~")?, b"old");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backup(&mut self, control: BackupControl) -> &mut CopyOptions {
        let suffix = self.options.backup.take().map_or_else(|| "~".into(), |backup| backup.suffix);
        self.options.backup = Some(Backup { control, suffix });
        self
    }

    /// Sets the suffix of simple backups (`--suffix`). As in cp, a suffix that is empty or contains a slash is
    /// ignored. If [`backup`](CopyOptions::backup) was not called, this turns on backups: numbered if
    /// numbered ones exist, else simple.
    pub fn backup_suffix(&mut self, suffix: impl Into<OsString>) -> &mut CopyOptions {
        let control = self.options.backup.as_ref().map_or(BackupControl::Existing, |backup| backup.control);
        self.options.backup = Some(Backup::new(control, Some(suffix.into())));
        self
    }
}

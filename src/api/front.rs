//! Callbacks, cancellation, and the console of a program.

use super::{Cancel, CopyOptions};
use crate::options::{ProgressForm, When};
use crate::report::progress::Progress;
use crate::report::{Console, Log};
use std::path::Path;
use std::sync::Arc;

setters! {
    /// Prints a line for each name that was made, on the console (`-v`).
    verbose(yes: bool) { verbose }

    /// Prints a line for each name on the console, in the form of rsync's option of this name (`--itemize`).
    itemize(yes: bool) { itemize }

    /// Prints how each file was copied, on the console (`--debug`).
    debug(yes: bool) { debug }

    /// Shows progress on the console (`--progress`). With [`When::Auto`], shows a bar if stderr is a terminal, else
    /// nothing. With [`When::Always`], prints a line every 15 seconds where there is no terminal. The default is
    /// [`When::Never`].
    progress(when: When) { progress }

    /// Sets the form of the progress (`--progress=json`).
    progress_form(form: ProgressForm) { progress_form }

    /// Says that nothing else in this process uses descriptors while it copies. For the program `zcp`.
    #[doc(hidden)]
    owns_descriptors(yes: bool) { owns_descriptors }
}

impl CopyOptions {
    /// Calls `listener` with the progress: from another thread, about eight times a second, and once at the
    /// end.
    pub fn on_progress(&mut self, listener: impl Fn(&Progress) + Send + Sync + 'static) -> &mut CopyOptions {
        self.receivers.progress = Some(Arc::new(listener));
        self
    }

    /// Calls `listener` with the source and the destination of each name that was made, written or linked:
    /// the names that `zcp -v` prints. With [`dry_run`](Self::dry_run), it gets the names that would be made.
    /// The copying threads call it as soon as a name is complete (for a directory: as soon as it exists). So
    /// the order is not defined unless there is one worker, and the callback should return quickly.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// std::fs::write("new", "1")?;
    /// let would_be = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    /// let told = would_be.clone();
    /// zcp::CopyOptions::new()
    ///     .dry_run(true)
    ///     .on_each(move |_, destination| told.lock().unwrap().push(destination.to_owned()))
    ///     .copy(["new"], "copy")?;
    /// assert_eq!(*would_be.lock().unwrap(), [std::path::Path::new("copy")]);
    /// assert!(!std::fs::exists("copy")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_each(&mut self, listener: impl Fn(&Path, &Path) + Send + Sync + 'static) -> &mut CopyOptions {
        self.receivers.made = Some(Arc::new(listener));
        self
    }

    /// Makes `cancel` stop the copy.
    pub fn cancel_by(&mut self, cancel: &Cancel) -> &mut CopyOptions {
        self.stop = cancel.flag();
        self
    }

    /// Makes the copy the main task of this process, as `zcp` does. Messages are printed on `console` at
    /// once, and are in the report as well. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR2 and SIGXCPU
    /// cancel the copy (see [`Cancel::reraise`]). SIGUSR1 prints a line of progress. Files beyond RLIMIT_FSIZE fail
    /// instead of ending the process (SIGXFSZ is caught). Space for descriptors is reserved in advance. Under RLIMIT_AS all threads share one heap
    /// (M_ARENA_MAX). The umask is read by setting it for a moment, so no other thread should create files at that
    /// moment.
    pub fn console(&mut self, console: &Console) -> &mut CopyOptions {
        self.receivers.console = Some(console.clone());
        self
    }

    /// Writes a record of each name to `log` (`--log`). It is complete when the copy has ended; check
    /// [`Log::take_error`] then.
    pub fn log(&mut self, log: &Log) -> &mut CopyOptions {
        self.receivers.log = Some(log.clone());
        self
    }
}

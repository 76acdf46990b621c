//! Who is told of a copy, and who may end it: callbacks for a guest, a console for a program of its own.

use super::{Cancel, CopyOptions};
use crate::options::When;
use crate::report::Console;
use crate::report::progress::{Listener, Progress};
use crate::session::MadeListener;
use std::path::Path;
use std::sync::Arc;

impl CopyOptions {
    /// Tells how far the copy is: from another thread, about eight times a second, and once at the end.
    pub fn on_progress(&mut self, tell: impl Fn(&Progress) + Send + Sync + 'static) -> &mut CopyOptions {
        self.host.listener = Some(Listener(Arc::new(tell)));
        self
    }

    /// Tells of each name that was made, written or linked, with its source and its destination: what
    /// `zcp -v` prints. With [`dry_run`](Self::dry_run) it tells what would be. It is called by the threads
    /// that copy, each time as soon as the name is done (a directory: as soon as it is there), so in no
    /// particular order unless there is one job, and should not take long.
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
    pub fn on_each(&mut self, tell: impl Fn(&Path, &Path) + Send + Sync + 'static) -> &mut CopyOptions {
        self.host.made_listener = Some(MadeListener(Arc::new(tell)));
        self
    }

    /// Lets the copy be stopped by `cancel`.
    pub fn cancel_by(&mut self, cancel: &Cancel) -> &mut CopyOptions {
        self.host.stop = cancel.flag();
        self
    }

    /// Makes the copy the business of this process, as it is that of `zcp`: what there is to say is printed
    /// on `console` at once, and in the report as well. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR2 and SIGXCPU
    /// cancel the copy (see
    /// [`Cancel::reraise`]), SIGUSR1 is answered with a line about how far it is, and room is
    /// made for open files. The umask is read by setting it for a moment, so no other thread should make files just then.
    pub fn console(&mut self, console: &Console) -> &mut CopyOptions {
        self.host.console = Some(console.clone());
        self
    }

    /// Prints a line for each name that was made, on the console (`-v`).
    pub fn verbose(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.verbose = yes;
        self
    }

    /// Prints how each file was copied, on the console (`--debug`).
    pub fn debug(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.debug = yes;
        self
    }

    /// Shows progress on the console (`--progress`): a bar if it is a terminal, else a line now and then.
    /// Nothing is shown unless this is said.
    pub fn progress(&mut self, when: When) -> &mut CopyOptions {
        self.options.progress = when;
        self
    }
}

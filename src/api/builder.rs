//! The builder: where a copy begins, who is told of it, and how it is started. What can be said of it is
//! in the files beside this one, a question each.

use super::{Cancel, Error, Report};
use crate::options::{Dereference, Options, When};
use crate::report::Failure;
use crate::report::progress::{Listener, Progress};
use crate::session::{Host, Session, Witness};
use crate::sys::proc;
use crate::walk::operands::Operands;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

/// Copies files, and directories with all that is in them: `zcp -r SOURCE... DESTINATION`.
///
/// A destination that is a directory is copied into; else there must be one source, and the
/// destination is the name that its copy gets. See [`CopyOptions`] for all that can be said besides.
///
/// # Errors
/// See [`Error`]. A copy that is not whole is an error; the rest was copied all the same.
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir()?;
/// # std::env::set_current_dir(dir.path())?;
/// std::fs::create_dir("album")?;
/// std::fs::write("album/song", "la la")?;
/// let report = zcp::copy(["album"], "backup")?;
/// assert_eq!((report.files(), report.bytes()), (1, 5));
/// assert_eq!(std::fs::read("backup/song")?, b"la la");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn copy<S: AsRef<OsStr>>(
    sources: impl IntoIterator<Item = S>,
    destination: impl AsRef<OsStr>,
) -> Result<Report, Error> {
    CopyOptions::new().recursive(true).copy(sources, destination)
}

/// How to copy: what `zcp` has options for, as methods. To be kept, and used for as many copies as wanted.
///
/// Without any of them it does what `cp SOURCE... DESTINATION` does: it copies files, follows symbolic
/// links, refuses directories, and gives new files the source's permissions as the umask leaves them.
///
/// Names are relative to the working directory. Nothing is printed, nobody is asked, and no signal is
/// caught.
///
/// | what is asked | methods |
/// |---|---|
/// | which names | [`recursive`](Self::recursive), [`exclude`](Self::exclude), [`include`](Self::include), [`exclude_from`](Self::exclude_from), [`gitignore`](Self::gitignore), [`names`](Self::names), [`files_from`](Self::files_from), [`one_file_system`](Self::one_file_system), [`dry_run`](Self::dry_run) |
/// | where they land | [`target_directory`](Self::target_directory), [`no_target_directory`](Self::no_target_directory), [`parents`](Self::parents) |
/// | what is made of each | [`archive`](Self::archive), [`preserve`](Self::preserve), [`no_preserve`](Self::no_preserve), [`dereference`](Self::dereference), [`action`](Self::action), [`attributes_only`](Self::attributes_only), [`copy_contents`](Self::copy_contents) |
/// | what stands there already | [`skip_existing`](Self::skip_existing), [`refuse_existing`](Self::refuse_existing), [`update`](Self::update), [`force`](Self::force), [`remove_destination`](Self::remove_destination), [`backup`](Self::backup), [`backup_suffix`](Self::backup_suffix), [`keep_directory_symlink`](Self::keep_directory_symlink) |
/// | what is certain | [`atomic`](Self::atomic), [`fsync`](Self::fsync), [`verify`](Self::verify), [`resume`](Self::resume) |
/// | how bytes travel | [`reflink`](Self::reflink), [`sparse`](Self::sparse), [`strategies`](Self::strategies), [`jobs`](Self::jobs), [`bandwidth_limit`](Self::bandwidth_limit), [`drop_cache`](Self::drop_cache), [`low_priority`](Self::low_priority) |
/// | who is told | [`on_progress`](Self::on_progress), [`on_each`](Self::on_each), [`cancel_by`](Self::cancel_by) |
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir()?;
/// # std::env::set_current_dir(dir.path())?;
/// # std::fs::create_dir_all("project/src")?;
/// # std::fs::write("project/src/main.rs", "fn main() {}")?;
/// let report = zcp::CopyOptions::new()
///     .archive()
///     .jobs(2)
///     .on_progress(|progress| eprintln!("{} bytes", progress.bytes))
///     .copy(["project"], "snapshot")?;
/// println!("{report}"); // the table of zcp --stats
/// # assert_eq!(report.files(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is copied yet"]
pub struct CopyOptions {
    pub(super) options: Options,
    pub(super) dereference: Option<Dereference>,
    pub(super) copy_contents: bool,
    target: Target,
    listener: Option<Listener>,
    witness: Option<Witness>,
    cancel: Cancel,
}

/// What the destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// A directory to copy into if there is one, else a name.
    AsFound,
    /// A directory.
    Directory,
    /// A name.
    Name,
}

impl Default for CopyOptions {
    fn default() -> CopyOptions {
        CopyOptions::new()
    }
}

impl CopyOptions {
    /// As cp copies if nothing is said.
    pub fn new() -> CopyOptions {
        CopyOptions {
            options: Options { progress: When::Never, ..Options::default() },
            dereference: None,
            copy_contents: false,
            target: Target::AsFound,
            listener: None,
            witness: None,
            cancel: Cancel::default(),
        }
    }

    /// The destination must be a directory that is there, and is copied into (`-t`).
    pub fn target_directory(mut self) -> CopyOptions {
        self.target = Target::Directory;
        self
    }

    /// The destination is the very name that the one source's copy gets, also if a directory has it (`-T`).
    pub fn no_target_directory(mut self) -> CopyOptions {
        self.target = Target::Name;
        self
    }

    /// Copies `a/b/c` to `a/b/c` below the destination, with the directories that lead there (`--parents`).
    pub fn parents(mut self, yes: bool) -> CopyOptions {
        self.options.parents = yes;
        self
    }

    /// Tells how far the copy is: from another thread, about eight times a second, and once at the end.
    pub fn on_progress(mut self, tell: impl Fn(&Progress) + Send + Sync + 'static) -> CopyOptions {
        self.listener = Some(Listener(Arc::new(tell)));
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
    pub fn on_each(mut self, tell: impl Fn(&Path, &Path) + Send + Sync + 'static) -> CopyOptions {
        self.witness = Some(Witness(Arc::new(tell)));
        self
    }

    /// Lets the copy be stopped by `cancel`.
    pub fn cancel_by(mut self, cancel: &Cancel) -> CopyOptions {
        self.cancel = cancel.clone();
        self
    }

    /// Copies `sources` into the directory `destination`, or one source to that name.
    ///
    /// # Errors
    /// [`Error::Unusable`] if nothing could be copied at all, [`Error::Incomplete`] if anything was not
    /// copied as it was asked for, [`Error::Cancelled`] if it was stopped.
    pub fn copy<S: AsRef<OsStr>>(
        &self,
        sources: impl IntoIterator<Item = S>,
        destination: impl AsRef<OsStr>,
    ) -> Result<Report, Error> {
        let names = sources.into_iter().map(|name| name.as_ref().to_owned());
        let mut operands = Operands { names: names.collect(), ..Operands::default() };
        let destination = destination.as_ref().to_owned();
        match self.target {
            Target::Directory => operands.target_directory = Some(destination),
            Target::AsFound | Target::Name => operands.names.push(destination),
        }
        operands.no_target_directory = self.target == Target::Name;
        if !self.options.nice {
            return self.run(operands);
        }
        // The caller's own thread could not be given its priority back.
        std::thread::scope(|scope| {
            let polite = std::thread::Builder::new().name("zcp".into()).spawn_scoped(scope, || {
                proc::lowest_priority();
                self.run(operands)
            });
            let unusable = |error: std::io::Error| {
                let errno = crate::sys::Errno::from_io_error(&error).unwrap_or(crate::sys::Errno::AGAIN);
                Error::Unusable(Failure::plain("cannot start a thread").errno(errno))
            };
            polite.map_err(unusable)?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run(&self, operands: Operands) -> Result<Report, Error> {
        let mut options = self.options.clone();
        options.complete(self.dereference, self.copy_contents);
        if let Some(words) = options.contradiction() {
            return Err(Error::Unusable(Failure::plain(words)));
        }
        let host = Host::Guest {
            stop: self.cancel.flag(),
            listener: self.listener.clone(),
            witness: self.witness.clone(),
        };
        let session = Session::prepare(options, operands, host);
        let (_, summary) = session.map_err(|unusable| Error::Unusable(unusable.failure))?.run();
        Report::new(summary).into_result()
    }
}

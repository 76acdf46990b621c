//! The builder: where a copy begins and how it is started. What can be said of it is in the files beside
//! this one, a question each.

use super::{Error, Report};
use crate::options::{Dereference, Options, When};
use crate::report::{Failure, Reporter};
use crate::session::{Host, Session};
use crate::walk::operands::{Operands, Target};
use std::ffi::{OsStr, OsString};

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
/// caught, unless a method of the last row says so.
///
/// | what is asked | methods |
/// |---|---|
/// | which names | [`recursive`](Self::recursive), [`exclude`](Self::exclude), [`include`](Self::include), [`exclude_from`](Self::exclude_from), [`gitignore`](Self::gitignore), [`names`](Self::names), [`files_from`](Self::files_from), [`one_file_system`](Self::one_file_system), [`dry_run`](Self::dry_run) |
/// | where they land | [`target_directory`](Self::target_directory), [`strip_trailing_slashes`](Self::strip_trailing_slashes), [`no_target_directory`](Self::no_target_directory), [`parents`](Self::parents) |
/// | what is made of each | [`archive`](Self::archive), [`preserve`](Self::preserve), [`no_preserve`](Self::no_preserve), [`context`](Self::context), [`default_context`](Self::default_context), [`dereference`](Self::dereference), [`action`](Self::action), [`attributes_only`](Self::attributes_only), [`copy_contents`](Self::copy_contents) |
/// | what stands there already | [`skip_existing`](Self::skip_existing), [`refuse_existing`](Self::refuse_existing), [`interactive`](Self::interactive), [`update`](Self::update), [`force`](Self::force), [`remove_destination`](Self::remove_destination), [`backup`](Self::backup), [`backup_suffix`](Self::backup_suffix), [`keep_directory_symlink`](Self::keep_directory_symlink), [`write_through_dangling`](Self::write_through_dangling) |
/// | what is certain | [`atomic`](Self::atomic), [`fsync`](Self::fsync), [`verify`](Self::verify), [`resume`](Self::resume) |
/// | how bytes travel | [`reflink`](Self::reflink), [`sparse`](Self::sparse), [`strategies`](Self::strategies), [`jobs`](Self::jobs), [`bandwidth_limit`](Self::bandwidth_limit), [`drop_cache`](Self::drop_cache) |
/// | who is told | [`on_progress`](Self::on_progress), [`on_each`](Self::on_each), [`cancel_by`](Self::cancel_by) |
/// | in a program of its own | [`console`](Self::console), [`verbose`](Self::verbose), [`debug`](Self::debug), [`progress`](Self::progress) |
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
    pub(super) host: Host,
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
            host: Host::default(),
        }
    }

    /// The destination must be a directory that is there, and is copied into (`-t`).
    pub fn target_directory(&mut self) -> &mut CopyOptions {
        self.target = Target::Directory;
        self
    }

    /// The destination is the very name that the one source's copy gets, also if a directory has it (`-T`).
    pub fn no_target_directory(&mut self) -> &mut CopyOptions {
        self.target = Target::Name;
        self
    }

    /// Cuts slashes off the ends of sources that are copied into a directory, so that a link to a directory
    /// is copied, not followed (`--strip-trailing-slashes`).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(dir.path())?;
    /// std::os::unix::fs::symlink("nowhere", "link")?;
    /// # std::fs::create_dir("backup")?;
    /// let mut options = zcp::CopyOptions::new();
    /// options.archive().strip_trailing_slashes(true);
    /// options.copy(["link/"], "backup")?;
    /// assert!(std::fs::symlink_metadata("backup/link")?.is_symlink());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn strip_trailing_slashes(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.strip_trailing_slashes = yes;
        self
    }

    /// Copies `a/b/c` to `a/b/c` below the destination, with the directories that lead there (`--parents`).
    pub fn parents(&mut self, yes: bool) -> &mut CopyOptions {
        self.options.parents = yes;
        self
    }

    /// Copies `sources` into the directory `destination`, or one source to that name.
    ///
    /// # Errors
    /// [`Error::Usage`] and [`Error::Unusable`] if nothing could be copied at all, [`Error::Incomplete`] if
    /// anything was not copied as it was asked for, [`Error::Cancelled`] if it was stopped.
    pub fn copy<S: AsRef<OsStr>>(
        &self,
        sources: impl IntoIterator<Item = S>,
        destination: impl AsRef<OsStr>,
    ) -> Result<Report, Error> {
        let sources = sources.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let operands = self.operands(sources, destination.as_ref().to_owned());
        self.run(operands)
    }

    /// Whether what was asked for goes together, so that it need not be found out by a copy.
    ///
    /// # Errors
    /// [`Error::Usage`] if something contradicts something else.
    pub fn check(&self) -> Result<(), Error> {
        self.complete().contradiction().map_or(Ok(()), |words| Err(Error::Usage(Failure::plain(words))))
    }

    fn run(&self, operands: Operands) -> Result<Report, Error> {
        let (options, warning) = self.settled()?;
        let host = self.host.clone();
        let reporter = Reporter::new(host.console.clone());
        if let Some(warning) = warning {
            reporter.warn(warning);
        }
        Report::new(Session::prepare(options, operands, host, reporter)?.run()).into_result()
    }

    pub(crate) fn operands(&self, sources: Vec<OsString>, destination: OsString) -> Operands {
        Operands { sources, destination, target: self.target }
    }

    /// What was asked for, with all that follows from it, and a warning.
    pub(crate) fn settled(&self) -> Result<(Options, Option<Failure>), Error> {
        self.check()?;
        let mut options = self.complete();
        let warning = options.settle_context().map_err(|words| Error::Unusable(Failure::plain(words)))?;
        Ok((options, warning.map(Failure::plain)))
    }

    fn complete(&self) -> Options {
        let mut options = self.options.clone();
        options.complete(self.dereference, self.copy_contents);
        options
    }
}

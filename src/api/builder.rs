//! The builder: how a copy is described and started. The other files of this module hold its options, grouped
//! by subject.

use super::{Error, Report};
use crate::options::{Dereference, Options, When};
use crate::report::stats::Summary;
use crate::report::{Events, Failure, Receivers};
use crate::session;
use crate::sys::proc::StopFlag;
use crate::walk::operands::{Operands, Target};
use std::ffi::{OsStr, OsString};

/// Copies files, and directories with their content: `zcp -r SOURCE... DESTINATION`.
///
/// If the destination is a directory, the sources are copied into it. Otherwise there must be one source, and
/// the destination is the name of its copy. [`CopyOptions`] has all other options.
///
/// # Errors
/// See [`Error`]. An incomplete copy is an error; all that could be copied has been copied.
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

/// The options of `zcp` as methods. A value can be used for any number of copies.
///
/// By default, it copies as `cp SOURCE... DESTINATION` does: it copies files, follows symbolic links, refuses
/// directories, and gives new files the source's permissions minus the umask.
///
/// Names are relative to the working directory. A copy prints nothing, asks no questions and catches no
/// signals, unless a method of the last row or [`interactive`](Self::interactive) is used.
///
/// | subject | methods |
/// |---|---|
/// | names to copy | [`recursive`](Self::recursive), [`exclude`](Self::exclude), [`include`](Self::include), [`exclude_from`](Self::exclude_from), [`gitignore`](Self::gitignore), [`names`](Self::names), [`files_from`](Self::files_from), [`one_file_system`](Self::one_file_system), [`dry_run`](Self::dry_run) |
/// | destination | [`target_directory`](Self::target_directory), [`strip_trailing_slashes`](Self::strip_trailing_slashes), [`no_target_directory`](Self::no_target_directory), [`parents`](Self::parents) |
/// | kind of copy, attributes | [`archive`](Self::archive), [`preserve`](Self::preserve), [`no_preserve`](Self::no_preserve), [`context`](Self::context), [`default_context`](Self::default_context), [`dereference`](Self::dereference), [`action`](Self::action), [`attributes_only`](Self::attributes_only), [`copy_contents`](Self::copy_contents) |
/// | existing destinations | [`skip_existing`](Self::skip_existing), [`refuse_existing`](Self::refuse_existing), [`interactive`](Self::interactive), [`update`](Self::update), [`force`](Self::force), [`remove_destination`](Self::remove_destination), [`backup`](Self::backup), [`backup_suffix`](Self::backup_suffix), [`keep_directory_symlink`](Self::keep_directory_symlink), [`write_through_dangling`](Self::write_through_dangling) |
/// | state after a copy or an interruption | [`atomic`](Self::atomic), [`fsync`](Self::fsync), [`verify`](Self::verify), [`resume`](Self::resume), [`on_failure`](Self::on_failure), [`ignore_vanished`](Self::ignore_vanished) |
/// | data and load | [`reflink`](Self::reflink), [`sparse`](Self::sparse), [`strategies`](Self::strategies), [`jobs`](Self::jobs), [`bandwidth_limit`](Self::bandwidth_limit), [`drop_cache`](Self::drop_cache) |
/// | callbacks and cancellation | [`on_progress`](Self::on_progress), [`on_each`](Self::on_each), [`log`](Self::log), [`cancel_by`](Self::cancel_by) |
/// | console of a program | [`console`](Self::console), [`verbose`](Self::verbose), [`itemize`](Self::itemize), [`debug`](Self::debug), [`progress`](Self::progress), [`progress_form`](Self::progress_form) |
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
    pub(super) receivers: Receivers,
    pub(super) stop: StopFlag,
}

impl Default for CopyOptions {
    fn default() -> CopyOptions {
        CopyOptions::new()
    }
}

setters! {
    /// Removes trailing slashes from sources that are copied into a directory, so that a symbolic link to a
    /// directory is copied, not followed (`--strip-trailing-slashes`).
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
    strip_trailing_slashes(yes: bool) { strip_trailing_slashes }

    /// Copies `a/b/c` to `a/b/c` below the destination, and makes the leading directories (`--parents`).
    parents(yes: bool) { parents }
}

impl CopyOptions {
    /// Returns the defaults of cp.
    pub fn new() -> CopyOptions {
        CopyOptions {
            options: Options { progress: When::Never, ..Options::default() },
            dereference: None,
            copy_contents: false,
            target: Target::AsFound,
            receivers: Receivers::default(),
            stop: StopFlag::default(),
        }
    }

    /// Requires the destination to be an existing directory, and copies into it (`-t`).
    pub fn target_directory(&mut self) -> &mut CopyOptions {
        self.target = Target::Directory;
        self
    }

    /// Takes the destination as the name of the copy, even if it is a directory; there must be one source
    /// (`-T`).
    pub fn no_target_directory(&mut self) -> &mut CopyOptions {
        self.target = Target::Name;
        self
    }

    /// Copies `sources` into the directory `destination`, or one source to that name.
    ///
    /// # Errors
    /// [`Error::Usage`] and [`Error::Unusable`] if nothing could be copied at all, [`Error::Incomplete`] if
    /// something was not copied as requested, [`Error::Cancelled`] if the copy was stopped.
    pub fn copy<S: AsRef<OsStr>>(
        &self,
        sources: impl IntoIterator<Item = S>,
        destination: impl AsRef<OsStr>,
    ) -> Result<Report, Error> {
        let sources = sources.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let operands = self.operands(sources, destination.as_ref().to_owned());
        self.run(operands)
    }

    /// Checks whether the options agree with each other, without copying anything.
    ///
    /// # Errors
    /// [`Error::Usage`] if two options contradict each other, [`Error::Unusable`] if the kernel lacks what one
    /// requires.
    pub fn check(&self) -> Result<(), Error> {
        self.settled().map(drop)
    }

    fn run(&self, operands: Operands) -> Result<Report, Error> {
        let (options, warning) = self.settled()?;
        let events = Events::new(self.receivers.clone(), &options, self.stop.clone());
        if let Some(warning) = warning {
            events.warn(warning);
        }
        let (sources, destination) = (operands.sources.clone(), Some(operands.destination.clone()));
        let summary = session::copy(options, operands, events).map_err(Error::before_copy)?;
        Report::new(Summary { sources, destination, ..summary }).into_result()
    }

    pub(crate) fn operands(&self, sources: Vec<OsString>, destination: OsString) -> Operands {
        Operands { sources, destination, target: self.target }
    }

    /// Returns the options with all their consequences, and perhaps a warning.
    pub(crate) fn settled(&self) -> Result<(Options, Option<Failure>), Error> {
        let mut options = self.options.clone();
        options.derive_dependent(self.dereference, self.copy_contents);
        if let Some(words) = options.contradiction() {
            return Err(Error::Usage(Failure::plain(words)));
        }
        let warning = options.settle_context().map_err(|words| Error::Unusable(Failure::plain(words)))?;
        Ok((options, warning.map(Failure::plain)))
    }
}

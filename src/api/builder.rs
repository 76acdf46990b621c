//! What is to be copied, and how: the builder, and the handle that stops it.

use super::{Error, Report};
use crate::filter::Filter;
use crate::options::{Action, Backup, BackupControl, Dereference, Existing, Options, When};
use crate::report::Failure;
use crate::report::progress::{Listener, Progress};
use crate::session::{Host, Session};
use crate::sys::proc::StopFlag;
use crate::transfer::Strategy;
use crate::transfer::ladder::Sparse;
use crate::transfer::pace::Pace;
use crate::transfer::route::Cloning;
use crate::walk::operands::Operands;
use std::ffi::OsStr;
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

/// What a copy keeps of its source besides the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
    /// Permission bits and access control lists.
    Mode,
    /// Owner and group, as far as the process may set them.
    Ownership,
    /// Access and modification times, in nanoseconds.
    Timestamps,
    /// Names of one file stay names of one file.
    Links,
    /// Extended attributes. One that cannot be kept is a failure.
    Xattr,
}

/// Stops a copy from outside: from another thread, or from the progress callback.
///
/// Clones stop the same copies. The file that is in hand is given up and removed again if it is new;
/// what was copied before stays, and [`CopyOptions::copy`] gives [`Error::Cancelled`].
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
}

/// How to copy: what `cp` has options for, as methods. To be kept, and used for as many copies as wanted.
///
/// Without any of them it does what `cp SOURCE... DESTINATION` does: it copies files, follows symbolic
/// links, refuses directories, and gives new files the source's permissions as the umask leaves them.
///
/// Names are relative to the working directory. Nothing is printed, nobody is asked, and no signal is
/// caught.
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
    options: Options,
    target: Target,
    dereference: Option<Dereference>,
    listener: Option<Listener>,
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
            target: Target::AsFound,
            dereference: None,
            listener: None,
            cancel: Cancel::default(),
        }
    }

    /// Copies directories with all that is in them (`-r`). Symbolic links in them stay links, unless
    /// [`dereference`](CopyOptions::dereference) says otherwise.
    pub fn recursive(mut self, yes: bool) -> CopyOptions {
        self.options.recursive = yes;
        self
    }

    /// Copies directories, keeps symbolic links, and keeps all attributes (`-a`). An extended attribute
    /// that the destination cannot hold is passed over.
    pub fn archive(mut self) -> CopyOptions {
        use Attribute::{Links, Mode, Ownership, Timestamps, Xattr};
        self = self.preserve([Mode, Ownership, Timestamps, Links, Xattr]);
        self.options.preserve.xattr_required = false;
        self.options.preserve.xattr_quiet = true;
        self.recursive(true).dereference(Dereference::Never)
    }

    /// Keeps these attributes too (`--preserve`).
    pub fn preserve(mut self, attributes: impl IntoIterator<Item = Attribute>) -> CopyOptions {
        let keep = &mut self.options.preserve;
        for attribute in attributes {
            match attribute {
                Attribute::Mode => keep.mode = true,
                Attribute::Ownership => keep.ownership = true,
                Attribute::Timestamps => keep.timestamps = true,
                Attribute::Links => keep.links = true,
                Attribute::Xattr => (keep.xattr, keep.xattr_required) = (true, true),
            }
        }
        self
    }

    /// Which symbolic links are followed (`-P`, `-H`, `-L`).
    pub fn dereference(mut self, which: Dereference) -> CopyOptions {
        self.dereference = Some(which);
        self
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

    /// Makes links to the sources instead of copies (`-l`, `-s`).
    pub fn action(mut self, action: Action) -> CopyOptions {
        self.options.action = action;
        self
    }

    /// Copies the attributes that are to be kept, and no content (`--attributes-only`).
    pub fn attributes_only(mut self, yes: bool) -> CopyOptions {
        self.options.attributes_only = yes;
        self
    }

    /// Leaves existing files alone, silently (`--update=none`).
    pub fn skip_existing(mut self) -> CopyOptions {
        self.options.existing = Existing::Skip;
        self
    }

    /// Replaces an existing file only if the source was modified later (`--update`).
    pub fn update(mut self, yes: bool) -> CopyOptions {
        self.options.update = yes;
        self
    }

    /// Removes an existing file that cannot be opened, and makes it anew (`-f`).
    pub fn force(mut self, yes: bool) -> CopyOptions {
        self.options.force = yes;
        self
    }

    /// Removes each existing file first, so that the copy is a new file (`--remove-destination`).
    pub fn remove_destination(mut self, yes: bool) -> CopyOptions {
        self.options.remove_destination = yes;
        self
    }

    /// Renames each existing file to a backup before it is replaced (`--backup`). A simple backup's name
    /// ends in `~`.
    pub fn backup(mut self, control: BackupControl) -> CopyOptions {
        self.options.backup = Some(Backup { control, suffix: "~".into() });
        self
    }

    /// Stays on the file system of each source (`-x`).
    pub fn one_file_system(mut self, yes: bool) -> CopyOptions {
        self.options.one_file_system = yes;
        self
    }

    /// Leaves out what matches `glob`, in the syntax of gitignore(5): relative to each source, the last of
    /// all globs that match decides, and what is below a directory that is left out is not looked at.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is no glob.
    pub fn exclude(mut self, glob: &str) -> Result<CopyOptions, Error> {
        self.filter().exclude(glob).map_err(|_| invalid(glob))?;
        Ok(self)
    }

    /// Takes in what matches `glob` although an earlier one left it out (see [`exclude`](CopyOptions::exclude)).
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is no glob.
    pub fn include(mut self, glob: &str) -> Result<CopyOptions, Error> {
        self.filter().include(glob).map_err(|_| invalid(glob))?;
        Ok(self)
    }

    /// Leaves out what the `.gitignore` files in the sources say.
    pub fn gitignore(mut self) -> CopyOptions {
        self.filter().gitignore = true;
        self
    }

    fn filter(&mut self) -> &mut Filter {
        Arc::make_mut(self.options.filter.get_or_insert_default())
    }

    /// Does nothing, but counts what would be done: the report's figures are those of the plan, and its
    /// failures those that can be foreseen.
    pub fn dry_run(mut self, yes: bool) -> CopyOptions {
        self.options.dry_run = yes;
        self
    }

    /// Whether blocks are shared with the source (`--reflink`).
    pub fn reflink(mut self, when: Cloning) -> CopyOptions {
        self.options.limits.cloning = when;
        self
    }

    /// How holes are treated (`--sparse`).
    pub fn sparse(mut self, how: Sparse) -> CopyOptions {
        self.options.limits.sparse = how;
        self
    }

    /// Moves data only by these kernel paths, in this order; a file that they cannot copy is a failure
    /// (`--strategy`). By default the fastest known path comes first and all the others stand behind it.
    pub fn strategies(mut self, strategies: impl IntoIterator<Item = Strategy>) -> CopyOptions {
        self.options.limits.forced = Some(strategies.into_iter().collect());
        self
    }

    /// Moves at most so many bytes a second, by all workers together (`--bwlimit`). Each copy that is made
    /// with these options, and with clones of them, counts.
    pub fn bandwidth_limit(mut self, bytes_per_second: u64) -> CopyOptions {
        self.options.limits.pace = Some(Arc::new(Pace::new(bytes_per_second)));
        self
    }

    /// Gives pages back that the copy brings into the page cache, so that it does not push out what others
    /// work with (`--cache=drop`).
    pub fn drop_cache(mut self, yes: bool) -> CopyOptions {
        self.options.limits.drop_cache = yes;
        self
    }

    /// Copies with so many workers, at least one; 1 copies in cp's order, on the calling thread (`-j`).
    /// By default there are as many as processors, and more while they wait for a disk or a server.
    pub fn jobs(mut self, workers: usize) -> CopyOptions {
        self.options.jobs = Some(workers.max(1));
        self
    }

    /// Tells how far the copy is: from another thread, about eight times a second, and once at the end.
    pub fn on_progress(mut self, tell: impl Fn(&Progress) + Send + Sync + 'static) -> CopyOptions {
        self.listener = Some(Listener(Arc::new(tell)));
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
        let mut options = self.options.clone();
        options.complete(self.dereference, false);
        if let Some(words) = options.contradiction() {
            return Err(Error::Unusable(Failure::plain(words)));
        }
        let names = sources.into_iter().map(|name| name.as_ref().to_owned());
        let mut operands = Operands { names: names.collect(), ..Operands::default() };
        let destination = destination.as_ref().to_owned();
        match self.target {
            Target::Directory => operands.target_directory = Some(destination),
            Target::AsFound | Target::Name => operands.names.push(destination),
        }
        operands.no_target_directory = self.target == Target::Name;
        let host = Host::Guest { stop: self.cancel.0.clone(), listener: self.listener.clone() };
        let session = Session::prepare(options, operands, host);
        let (_, summary) = session.map_err(|unusable| Error::Unusable(unusable.failure))?.run();
        Report::new(summary).into_result()
    }
}

fn invalid(glob: &str) -> Error {
    Error::Unusable(Failure::new("invalid pattern {}", glob))
}

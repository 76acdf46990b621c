//! The options of a copy, settled and validated.
//!
//! Each field has one meaning and a default. The modules `transfer` and `metadata` do not see this type; they
//! get the fields they need.

use crate::filter::Filter;
pub use crate::metadata::apply::Preserve;
use crate::sys::selinux;
use crate::transfer::ladder::Sparse;
use crate::transfer::route::Cloning;
use crate::transfer::{Limits, Strategy};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The symbolic links that are followed (`-H`, `-L`, `-P`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dereference {
    /// None: links are copied as links.
    Never,
    /// Symbolic links that are operands.
    CommandLine,
    /// All symbolic links.
    #[default]
    Always,
}

/// The kind of destination that is made for a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A copy.
    #[default]
    Copy,
    /// A hard link to the source (`-l`).
    HardLink,
    /// A symbolic link to the source (`-s`).
    SymbolicLink,
}

/// The treatment of an existing destination (`-i`, `-n`, `--update`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfExists {
    /// Replace it.
    #[default]
    Replace,
    /// Ask the user.
    Ask,
    /// Skip it silently.
    Skip,
    /// Skip it and report a failure.
    SkipFail,
}

/// The naming scheme of backups (`--backup`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackupControl {
    /// `name~`.
    Simple,
    /// `name.~1~`.
    Numbered,
    /// Numbered if numbered backups exist, else simple.
    Existing,
}

/// Values of `--backup` and `--suffix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The naming scheme.
    pub control: BackupControl,
    /// The suffix of simple backups.
    pub suffix: OsString,
}

impl Backup {
    /// Uses `~` if the suffix is empty or contains a slash.
    pub fn new(control: BackupControl, suffix: Option<OsString>) -> Backup {
        let usable = |suffix: &OsString| !suffix.is_empty() && !suffix.as_bytes().contains(&b'/');
        Backup { control, suffix: suffix.filter(usable).unwrap_or_else(|| "~".into()) }
    }
}

/// The source of the list of names to copy (`--files-from`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameList {
    /// Standard input.
    Stdin,
    /// A file.
    File(OsString),
    /// The names themselves.
    Given(Arc<[OsString]>),
}

/// Whether progress is shown (`--progress`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// If stderr is a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The form of the progress (`--progress`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressForm {
    /// For people: a bar on a terminal, else lines.
    #[default]
    Text,
    /// For programs: a JSON object each second.
    Json,
}

/// The reaction to a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// Copies the rest, as cp does (`--keep-going`).
    #[default]
    KeepGoing,
    /// Ends the copy if the destination is full or read-only: ENOSPC, EDQUOT or EROFS.
    StopIfFull,
    /// Ends the copy at the first failure (`--fail-fast`).
    Stop,
}

const IGNORED_CONTEXT: &str = "warning: ignoring --context; it requires an SELinux-enabled kernel";
const NO_SELINUX: &str = "cannot preserve security context without an SELinux-enabled kernel";

/// All options of a copy, without the operands. [`CopyOptions`](crate::CopyOptions) and the program's `CommandLine` set
/// further defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether nothing else in this process uses descriptors, so that each worker may have a table of its own.
    pub owns_descriptors: bool,
    /// Copy directories (`-r`).
    pub recursive: bool,
    /// The symbolic links to follow.
    pub dereference: Dereference,
    /// Copy the data read from special files (`--copy-contents`; always without `-r`).
    pub read_special: bool,
    /// Copy or link.
    pub action: Action,
    /// Copy only metadata (`--attributes-only`).
    pub attributes_only: bool,
    /// The treatment of an existing destination.
    pub if_exists: IfExists,
    /// Replace only older files (`-u`).
    pub update: bool,
    /// Unlink a destination that cannot be opened (`-f`).
    pub force: bool,
    /// Unlink a destination before anything else (`--remove-destination`).
    pub remove_destination: bool,
    /// Back up a destination before it is replaced.
    pub backup: Option<Backup>,
    /// Attributes to keep.
    pub preserve: Preserve,
    /// The SELinux context of copies (`--context=CTX`).
    pub context: Option<OsString>,
    /// Copies get the SELinux context that the policy assigns to a new file. The kernel sets it by itself
    /// (`-Z`).
    pub default_context: bool,
    /// Make the operands' leading directories (`--parents`).
    pub parents: bool,
    /// Remove trailing slashes from sources.
    pub strip_trailing_slashes: bool,
    /// Follow an existing symbolic link to a directory in the destination.
    pub keep_directory_symlink: bool,
    /// Stay on the file system of each operand (`-x`).
    pub one_file_system: bool,
    /// Write through dangling symbolic links (POSIXLY_CORRECT).
    pub write_through_dangling: bool,
    /// Print the name of each file (`-v`).
    pub verbose: bool,
    /// Print a line in rsync's form for each name (`--itemize`).
    pub itemize: bool,
    /// Print how each file was copied (`--debug`).
    pub debug: bool,
    /// Give each file its name only when it is complete (`--atomic`).
    pub atomic: bool,
    /// Names to leave out (`--exclude`, `--include`, `--exclude-from`, `--gitignore`).
    pub filter: Option<Arc<Filter>>,
    /// The only names to copy (`--files-from`).
    pub files_from: Option<NameList>,
    /// The byte that ends each name in a list: a newline, or NUL (`--null`).
    pub name_end: u8,
    /// Only report what would be done (`--dry-run`).
    pub dry_run: bool,
    /// Sync everything to the disk before the copy ends (`--fsync`).
    pub fsync: bool,
    /// Read each copy back and compare it (`--verify`).
    pub verify: bool,
    /// Skip what an earlier run completed, and copy the rest (`--resume`).
    pub resume: bool,
    /// Replace an existing destination of another kind instead of writing through it (`--resume`, jobs).
    pub replace_other_kinds: bool,
    /// The reaction to a failure.
    pub on_failure: OnFailure,
    /// Whether a vanished entry is no failure (`--ignore-vanished`).
    pub ignore_vanished: bool,
    /// The limits of the ladder.
    pub limits: Limits,
    /// The number of workers; `None` adapts it to the machine.
    pub jobs: Option<usize>,
    /// The progress bar.
    pub progress: When,
    /// The form of the progress.
    pub progress_form: ProgressForm,
}

impl Options {
    /// Returns whether a later run decides by the times of a copy whether it is complete.
    pub fn times_mark_completion(&self) -> bool {
        (self.preserve.timestamps || self.update) && !self.attributes_only
    }

    /// Returns whether existing destinations are never replaced.
    pub fn never_replaces(&self) -> bool {
        matches!(self.if_exists, IfExists::Skip | IfExists::SkipFail)
    }

    /// Derives options from other options: which links are followed by default, and whether special files are
    /// read (`copy_contents` is about those in a tree). Filling holes forbids sharing blocks. `--resume`
    /// keeps times, because it recognises complete files by them.
    pub fn derive_dependent(&mut self, dereference: Option<Dereference>, copy_contents: bool) {
        let links = self.action == Action::HardLink;
        let default = if self.recursive && !links { Dereference::Never } else { Dereference::Always };
        self.dereference = dereference.unwrap_or(default);
        self.read_special = !self.recursive || copy_contents;
        if self.limits.sparse == Sparse::Never && self.limits.cloning == Cloning::Try {
            self.limits.cloning = Cloning::Forbid;
        }
        self.preserve.timestamps |= self.resume;
        self.replace_other_kinds = self.resume;
        self.fsync &= !self.dry_run;
        self.limits.fsync = self.fsync;
    }

    /// Settles security contexts. On a kernel without SELinux, `--context` gives a warning, an explicit
    /// `--preserve=context` is an error, and all others are ignored. Fails with the words of the error. `Ok(Some)`
    /// holds those of the warning.
    pub fn settle_context(&mut self) -> Result<Option<&'static str>, &'static str> {
        if !selinux::is_enabled() {
            let ignored = self.context.take().map(|_| IGNORED_CONTEXT);
            return if std::mem::take(&mut self.preserve.context) { Err(NO_SELINUX) } else { Ok(ignored) };
        }
        let set = self.default_context || self.context.is_some();
        let keep = &mut self.preserve;
        if keep.context && set {
            return Err("cannot set target context and preserve it");
        }
        keep.context |= keep.context_if_enabled && !set;
        Ok(None)
    }

    /// Returns the first contradiction between two options, in words. Forced strategies must be able to do what
    /// other options require.
    pub fn contradiction(&self) -> Option<&'static str> {
        let limits = &self.limits;
        if self.if_exists == IfExists::Ask && self.files_from == Some(NameList::Stdin) {
            return Some("--files-from=- needs stdin, and so does -i");
        }
        if self.backup.is_some() && self.never_replaces() {
            return Some("--backup is mutually exclusive with -n or --update=none-fail");
        }
        if self.resume && (self.update || self.never_replaces()) {
            // These options would keep a half-written file.
            return Some("--resume is mutually exclusive with -n, -u and --update");
        }
        if limits.cloning == Cloning::Require && limits.sparse != Sparse::Auto {
            return Some("--reflink can be used only with --sparse=auto");
        }
        let forced = limits.forced.as_ref()?;
        if limits.cloning == Cloning::Require && forced.as_slice() != [Strategy::Reflink] {
            return Some("--reflink=always allows no other strategy");
        }
        if limits.cloning == Cloning::Forbid && forced.contains(&Strategy::Reflink) {
            return Some("--reflink=never forbids --strategy=reflink");
        }
        let cannot_search = limits.sparse == Sparse::Always && !forced.contains(&Strategy::ReadWrite);
        cannot_search.then_some("--sparse=always needs --strategy=read_write")
    }

    /// Returns whether whole file systems are synced (syncfs(2)) instead of single files: one wait for thousands
    /// of files. Not for single files, because syncfs also writes all other data of the file system. Not with
    /// `--atomic`, where each file is synced before it gets its name.
    pub fn wants_syncfs(&self) -> bool {
        self.fsync && self.recursive && !self.atomic
    }

    /// Returns whether files of killed runs are removed: not in a dry run.
    pub(crate) fn removes_leftovers(&self) -> bool {
        self.resume && !self.dry_run
    }

    /// Returns whether each decision depends on earlier ones, so that one worker must copy all names in order:
    /// prompts, and backups, whose names are taken one after the other.
    pub fn needs_order(&self) -> bool {
        self.if_exists == IfExists::Ask || self.backup.is_some()
    }
}

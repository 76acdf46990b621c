//! What was asked, settled and validated.
//!
//! No clap types and no raw words: each field has one meaning and a default. Rooms below this one
//! (transfer, metadata) do not see it; they are handed their part.

use crate::filter::Filter;
use crate::metadata::new_mode::{ModePolicy, ModeRule};
use crate::sys::selinux;
use crate::transfer::ladder::Sparse;
use crate::transfer::route::Cloning;
use crate::transfer::{Limits, Strategy};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// Which symbolic links are followed (`-H`, `-L`, `-P`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dereference {
    /// None: links are copied as links.
    Never,
    /// Those that are operands.
    CommandLine,
    /// All.
    Always,
}

/// What is made of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A copy.
    Copy,
    /// `-l`: another name of it.
    HardLink,
    /// `-s`: a symbolic link to it.
    SymbolicLink,
}

/// What happens to a destination that exists (`-i`, `-n`, `--update`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// It is replaced.
    Replace,
    /// The user is asked.
    Ask,
    /// It is left alone, silently.
    Skip,
    /// It is left alone, and that is a failure.
    SkipFail,
}

/// How backups are named (`--backup`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackupControl {
    /// `name~`.
    Simple,
    /// `name.~1~`.
    Numbered,
    /// Numbered where numbered ones exist.
    Existing,
}

/// `--backup` and `--suffix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// How it is named.
    pub control: BackupControl,
    /// What a simple backup's name ends in.
    pub suffix: OsString,
}

impl Backup {
    /// A suffix that makes another name in the same directory is used, else `~`.
    pub fn new(control: BackupControl, suffix: Option<OsString>) -> Backup {
        let usable = |suffix: &OsString| !suffix.is_empty() && !suffix.as_bytes().contains(&b'/');
        Backup { control, suffix: suffix.filter(usable).unwrap_or_else(|| "~".into()) }
    }
}

/// Where the names come from that are to be copied, and no others (`--files-from`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameList {
    /// Standard input.
    Stdin,
    /// A file.
    File(OsString),
    /// They are here.
    Given(Arc<[OsString]>),
}

/// `-p`, `-a`, `--preserve`, `--no-preserve`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preserve {
    /// Permission bits and ACLs.
    pub mode: bool,
    /// `--no-preserve=mode`: new files get what the umask leaves of the default.
    pub no_mode: bool,
    /// Owner and group.
    pub ownership: bool,
    /// Access and modification times.
    pub timestamps: bool,
    /// Names of one inode stay names of one inode.
    pub links: bool,
    /// Extended attributes.
    pub xattr: bool,
    /// The SELinux context.
    pub context: bool,
    /// An extended attribute that cannot be kept is a failure (`--preserve=xattr`).
    pub xattr_required: bool,
    /// `-a`: extended attributes that cannot be kept are not even mentioned, but those that are lost are.
    pub xattr_quiet: bool,
}

impl Preserve {
    /// The policy that decides about the modes of new names.
    pub fn mode_policy(&self, umask: u32) -> ModePolicy {
        let rule = match (self.mode, self.no_mode) {
            (true, _) => ModeRule::Source,
            (false, true) => ModeRule::Default,
            (false, false) => ModeRule::Masked,
        };
        ModePolicy { rule, changes_owner: self.ownership, umask }
    }
}

/// Whether progress is shown (`--progress`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// If stderr is a terminal.
    Auto,
    /// In any case.
    Always,
    /// Not.
    Never,
}

const IGNORED_CONTEXT: &str = "warning: ignoring --context; it requires an SELinux-enabled kernel";
const NO_SELINUX: &str = "cannot preserve security context without an SELinux-enabled kernel";
/// Where nothing is replaced there is nothing to back up.
pub const NO_BACKUP: &str = "--backup is mutually exclusive with -n or --update=none-fail";

/// Everything that was asked for, except which files.
#[derive(Clone, Debug)]
pub struct Options {
    /// Copy directories (`-r`).
    pub recursive: bool,
    /// Which symbolic links are followed.
    pub dereference: Dereference,
    /// Read special files and copy what comes (`--copy-contents`; without `-r` always).
    pub read_special: bool,
    /// Copy, or link.
    pub action: Action,
    /// Metadata only (`--attributes-only`).
    pub attributes_only: bool,
    /// What happens to a destination that exists.
    pub if_exists: IfExists,
    /// Replace only what is older (`-u`).
    pub update: bool,
    /// Unlink a destination that cannot be opened (`-f`).
    pub force: bool,
    /// Unlink a destination before anything else (`--remove-destination`).
    pub remove_destination: bool,
    /// Back up a destination before it is replaced.
    pub backup: Option<Backup>,
    /// Attributes to keep.
    pub preserve: Preserve,
    /// The SELinux context that copies get (`--context=CTX`).
    pub context: Option<OsString>,
    /// That they get the one which the policy gives a new file, as the kernel does by itself (`-Z`).
    pub default_context: bool,
    /// Recreate the operands' leading directories (`--parents`).
    pub parents: bool,
    /// Cut trailing slashes off sources.
    pub strip_trailing_slashes: bool,
    /// Follow an existing symbolic link to a directory in the destination.
    pub keep_directory_symlink: bool,
    /// Stay on the file system of each operand (`-x`).
    pub one_file_system: bool,
    /// POSIXLY_CORRECT: write through dangling symbolic links.
    pub write_through_dangling: bool,
    /// Name each file (`-v`).
    pub verbose: bool,
    /// Say how each file was copied (`--debug`).
    pub debug: bool,
    /// Each file gets its name only when it is complete (`--atomic`).
    pub atomic: bool,
    /// Names that are left out (`--exclude` and its like).
    pub filter: Option<Arc<Filter>>,
    /// The names that are to be copied, and no others (`--files-from`).
    pub files_from: Option<NameList>,
    /// The byte that each name in a list ends with: a newline, or NUL (`--null`).
    pub name_end: u8,
    /// Only say what would be done (`--dry-run`).
    pub dry_run: bool,
    /// Nothing is called done before it is on the disk (`--fsync`).
    pub fsync: bool,
    /// Read back what was written, and compare (`--verify`).
    pub verify: bool,
    /// Leave alone what an earlier run completed, and finish the rest (`--resume`).
    pub resume: bool,
    /// What stands at a destination and is of another kind is replaced, not written through (`--resume`, jobs).
    pub replace_other_kinds: bool,
    /// What the ladder may do.
    pub limits: Limits,
    /// Workers; `None` follows the machine.
    pub jobs: Option<usize>,
    /// The progress bar.
    pub progress: When,
}

/// What is done without any flag.
impl Default for Options {
    fn default() -> Options {
        Options {
            recursive: false,
            dereference: Dereference::Always,
            read_special: true,
            action: Action::Copy,
            attributes_only: false,
            if_exists: IfExists::Replace,
            update: false,
            force: false,
            remove_destination: false,
            backup: None,
            preserve: Preserve::default(),
            context: None,
            default_context: false,
            parents: false,
            strip_trailing_slashes: false,
            keep_directory_symlink: false,
            one_file_system: false,
            write_through_dangling: false,
            verbose: false,
            debug: false,
            atomic: false,
            filter: None,
            files_from: None,
            name_end: b'\n',
            dry_run: false,
            limits: Limits::default(),
            fsync: false,
            verify: false,
            resume: false,
            replace_other_kinds: false,
            jobs: None,
            progress: When::Auto,
        }
    }
}

impl Options {
    /// Whether existing destinations are to be left alone in any case.
    pub fn never_replaces(&self) -> bool {
        matches!(self.if_exists, IfExists::Skip | IfExists::SkipFail)
    }

    /// Settles what follows from several fields together: which links are followed if nobody said,
    /// whether special files are read (`copy_contents` is about those in a tree), that holes that are
    /// to be filled forbid sharing blocks, and that a file is known to be complete by its times.
    pub fn complete(&mut self, dereference: Option<Dereference>, copy_contents: bool) {
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
        self.limits.durable = self.fsync;
    }

    /// Settles security contexts. On a kernel without SELinux they are passed over, warned about or refused,
    /// depending on how plainly they were asked for.
    ///
    /// # Errors
    /// The refusal in words; the other words are the warning.
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
        // -a and --preserve=all keep the context too, unless another is wanted.
        keep.context |= keep.xattr && !keep.xattr_required && !set;
        Ok(None)
    }

    /// What contradicts itself, in words. A forced path must be able to do what else is asked for.
    pub fn contradiction(&self) -> Option<&'static str> {
        let limits = &self.limits;
        if self.if_exists == IfExists::Ask && self.files_from == Some(NameList::Stdin) {
            return Some("--files-from=- needs stdin, and so does -i");
        }
        if self.backup.is_some() && self.never_replaces() {
            return Some(NO_BACKUP);
        }
        if self.resume && (self.update || self.never_replaces()) {
            // They would take a half-written file for one that is to be kept.
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

    /// Whether a tree is written to the disk as a whole (syncfs(2)): that is one wait for thousands of
    /// files. It takes all that the file system still has to write with it, so for single files it
    /// does not pay; and where each file gets its name when it is on the disk, it cannot be.
    pub fn syncs_whole(&self) -> bool {
        self.fsync && self.recursive && !self.atomic
    }

    /// Whether each decision depends on what was done before, so that one worker has to go in
    /// order: prompts, and backups, whose names are taken one after the other.
    pub fn needs_order(&self) -> bool {
        self.if_exists == IfExists::Ask || self.backup.is_some()
    }
}

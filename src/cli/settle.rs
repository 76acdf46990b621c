//! What was typed -> what it means together: the last of rivals wins, contradictions are refused.

use super::getopt::Given;
use super::words::{self, Words};
use super::{Misuse, own};
use crate::options::{Action, Backup, BackupControl, Dereference, Existing, NO_BACKUP, Options, When};
use crate::report::Failure;
use crate::sys::selinux;
use crate::transfer::ladder::Sparse;
use crate::transfer::route::Cloning;
use crate::walk::operands::Operands;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

const BACKUP: &Words<Option<BackupControl>> = &[
    ("none", None),
    ("off", None),
    ("simple", Some(BackupControl::Simple)),
    ("never", Some(BackupControl::Simple)),
    ("existing", Some(BackupControl::Existing)),
    ("nil", Some(BackupControl::Existing)),
    ("numbered", Some(BackupControl::Numbered)),
    ("t", Some(BackupControl::Numbered)),
];
const SPARSE: &Words<Sparse> = &[("never", Sparse::Never), ("auto", Sparse::Auto), ("always", Sparse::Always)];
const REFLINK: &Words<Cloning> =
    &[("auto", Cloning::Try), ("always", Cloning::Require), ("never", Cloning::Forbid)];

/// The last of `-i` and `-n`.
#[derive(Clone, Copy)]
enum Asking {
    No,
    Yes,
    NoClobber,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Update {
    All,
    None,
    NoneFail,
    Older,
}

const UPDATE: &Words<Update> =
    &[("all", Update::All), ("none", Update::None), ("none-fail", Update::NoneFail), ("older", Update::Older)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attribute {
    Mode,
    Timestamps,
    Ownership,
    Links,
    Context,
    Xattr,
    All,
}

const ATTRIBUTES: &Words<Attribute> = &[
    ("mode", Attribute::Mode),
    ("timestamps", Attribute::Timestamps),
    ("ownership", Attribute::Ownership),
    ("links", Attribute::Links),
    ("context", Attribute::Context),
    ("xattr", Attribute::Xattr),
    ("all", Attribute::All),
];

/// What has been said so far, where one option does not settle a field by itself.
pub(super) struct Draft {
    options: Options,
    operands: Operands,
    dereference: Option<Dereference>,
    copy_contents: bool,
    backup: Option<Option<OsString>>,
    suffix: Option<OsString>,
    asking: Asking,
    update: Update,
    hard_links: bool,
    symbolic_links: bool,
    context: Context,
}

/// What was said of SELinux contexts.
#[derive(Default)]
struct Context {
    /// `-Z`, `--context`: what the policy gives a new file, which the kernel does by itself.
    default: bool,
    /// `--context=CTX`.
    explicit: Option<OsString>,
    /// `--preserve=context`.
    preserve: bool,
}

impl Draft {
    /// Nothing was said yet.
    pub(super) fn new(program: &str) -> Draft {
        let options = Options {
            write_through_dangling: std::env::var_os("POSIXLY_CORRECT").is_some(),
            // Who calls cp does not expect a bar.
            progress: if program == "cp" { When::Never } else { When::Auto },
            ..Options::default()
        };
        Draft {
            options,
            operands: Operands::default(),
            dereference: None,
            copy_contents: false,
            backup: None,
            suffix: None,
            asking: Asking::No,
            update: Update::All,
            hard_links: false,
            symbolic_links: false,
            context: Context::default(),
        }
    }

    /// Takes one option more.
    pub(super) fn take(&mut self, given: &Given) -> Result<(), Misuse> {
        let value = given.value.as_deref();
        let options = &mut self.options;
        match given.option.id {
            "archive" => {
                options.recursive = true;
                self.dereference = Some(Dereference::Never);
                self.archive();
            }
            "attributes-only" => options.attributes_only = true,
            "backup" | "b" => self.backup = Some(value.map(OsStr::to_owned).or(self.backup.take().flatten())),
            "copy-contents" => self.copy_contents = true,
            "d" => {
                options.preserve.links = true;
                self.dereference = Some(Dereference::Never);
            }
            "debug" => (options.debug, options.verbose) = (true, true),
            "dereference" => self.dereference = Some(Dereference::Always),
            "force" => options.force = true,
            "H" => self.dereference = Some(Dereference::CommandLine),
            "interactive" => self.asking = Asking::Yes,
            "keep-directory-symlink" => options.keep_directory_symlink = true,
            "link" => self.hard_links = true,
            "no-clobber" => self.asking = Asking::NoClobber,
            "no-dereference" => self.dereference = Some(Dereference::Never),
            "no-preserve" => self.preserve(value.unwrap_or_default(), "--no-preserve", false)?,
            "no-target-directory" => self.operands.no_target_directory = true,
            "one-file-system" => options.one_file_system = true,
            "parents" => options.parents = true,
            "p" => self.preserve(OsStr::new("mode,ownership,timestamps"), "-p", true)?,
            "preserve" => {
                let list = value.unwrap_or(OsStr::new("mode,ownership,timestamps"));
                self.preserve(list, "--preserve", true)?;
            }
            "recursive" => options.recursive = true,
            "remove-destination" => options.remove_destination = true,
            "sparse" => options.limits.sparse = words::find("--sparse", value.unwrap_or_default(), SPARSE)?,
            "reflink" => {
                options.limits.cloning = match value {
                    Some(word) => words::find("--reflink", word, REFLINK)?,
                    None => Cloning::Require,
                }
            }
            "strip-trailing-slashes" => options.strip_trailing_slashes = true,
            "suffix" => {
                self.suffix = value.map(OsStr::to_owned);
                self.backup = Some(self.backup.take().flatten());
            }
            "symbolic-link" => self.symbolic_links = true,
            "target-directory" => {
                if self.operands.target_directory.is_some() {
                    return Err(Misuse { text: b"multiple target directories specified".into(), hint: false });
                }
                self.operands.target_directory = value.map(OsStr::to_owned);
            }
            "update" | "u" => {
                self.update = value.map_or(Ok(Update::Older), |word| words::find("--update", word, UPDATE))?;
            }
            "verbose" => options.verbose = true,
            "Z" => self.context.default = true,
            "context" => match value {
                Some(context) => self.context.explicit = Some(context.to_owned()),
                None => self.context.default = true,
            },
            _ => own::take(options, given)?,
        }
        Ok(())
    }

    fn archive(&mut self) {
        let keep = &mut self.options.preserve;
        keep.mode = true;
        keep.no_mode = false;
        keep.ownership = true;
        keep.timestamps = true;
        keep.links = true;
        keep.xattr = true;
        keep.xattr_quiet = true;
    }

    fn preserve(&mut self, list: &OsStr, what: &str, on: bool) -> Result<(), Misuse> {
        for word in list.as_bytes().split(|b| *b == b',') {
            let attribute = words::find(what, OsStr::from_bytes(word), ATTRIBUTES)?;
            let keep = &mut self.options.preserve;
            let all = attribute == Attribute::All;
            if all || attribute == Attribute::Mode {
                keep.mode = on;
                keep.no_mode = !on;
            }
            if all || attribute == Attribute::Timestamps {
                keep.timestamps = on;
            }
            if all || attribute == Attribute::Ownership {
                keep.ownership = on;
            }
            if all || attribute == Attribute::Links {
                keep.links = on;
            }
            if all || attribute == Attribute::Xattr {
                keep.xattr = on;
                keep.xattr_required = on && !all;
            }
            if attribute == Attribute::Context {
                self.context.preserve = on;
            }
        }
        Ok(())
    }

    /// `-i` asks about what `--update` lets through, and `-n` lets nothing through.
    fn settle_existing(&mut self) {
        self.options.update = self.update == Update::Older;
        self.options.existing = match (self.asking, self.update) {
            (Asking::NoClobber, _) | (_, Update::None) => Existing::Skip,
            (_, Update::NoneFail) => Existing::SkipFail,
            (Asking::Yes, Update::All | Update::Older) => Existing::Ask,
            (Asking::No, Update::All | Update::Older) => Existing::Replace,
        };
    }

    /// Puts all that was given together.
    pub(super) fn settle(mut self, warn: &mut dyn FnMut(Failure)) -> Result<(Options, Operands), Misuse> {
        if self.hard_links && self.symbolic_links {
            return Err(Misuse::new("cannot make both hard and symbolic links"));
        }
        self.settle_existing();
        if self.backup.is_some() && self.options.never_replaces() {
            return Err(Misuse::new(NO_BACKUP));
        }
        if let Some(words) = self.options.contradiction() {
            return Err(Misuse::new(words));
        }
        self.options.backup = settle_backup(self.backup.take(), self.suffix.take())?;
        let options = &mut self.options;
        options.action = match (self.hard_links, self.symbolic_links) {
            (true, _) => Action::HardLink,
            (_, true) => Action::SymbolicLink,
            _ => Action::Copy,
        };
        // Who only asks what would be done wants to be told.
        options.verbose |= options.dry_run && options.stats.is_none();
        options.complete(self.dereference, self.copy_contents);
        settle_context(self.context, options, warn)?;
        Ok((self.options, self.operands))
    }
}

/// `--backup`, `--suffix` and their environment (info coreutils, "Backup options").
fn settle_backup(backup: Option<Option<OsString>>, suffix: Option<OsString>) -> Result<Option<Backup>, Misuse> {
    let Some(word) = backup else { return Ok(None) };
    let control = match word.filter(|word| !word.is_empty()) {
        Some(word) => words::find("backup type", &word, BACKUP)?,
        None => match std::env::var_os("VERSION_CONTROL").filter(|word| !word.is_empty()) {
            Some(word) => words::find("$VERSION_CONTROL", &word, BACKUP)?,
            None => Some(BackupControl::Existing),
        },
    };
    let suffix = suffix.or_else(|| std::env::var_os("SIMPLE_BACKUP_SUFFIX"));
    Ok(control.map(|control| Backup::new(control, suffix)))
}

/// Security contexts. On a kernel without SELinux they are passed over, warned about or refused,
/// depending on how plainly they were asked for.
fn settle_context(context: Context, options: &mut Options, warn: &mut dyn FnMut(Failure)) -> Result<(), Misuse> {
    let fatal = |text: &str| Err(Misuse { text: text.into(), hint: false });
    let Context { default, explicit, preserve } = context;
    if !selinux::is_enabled() {
        if explicit.is_some() {
            warn(Failure::plain("warning: ignoring --context; it requires an SELinux-enabled kernel"));
        }
        return match preserve {
            true => fatal("cannot preserve security context without an SELinux-enabled kernel"),
            false => Ok(()),
        };
    }
    let set = default || explicit.is_some();
    if preserve && set {
        return fatal("cannot set target context and preserve it");
    }
    // -a and --preserve=all keep the context too, unless another is wanted.
    let keep = &mut options.preserve;
    keep.context = preserve || (keep.xattr && !keep.xattr_required && !set);
    options.context = explicit;
    Ok(())
}

//! What was typed -> what it means together: the last of rivals wins, contradictions are refused.

use super::getopt::Given;
use super::words::{self, Words};
use super::{Copy, Misuse, Statistics, own};
use crate::report::quote::quoted;
use crate::{Action, Attribute, BackupControl, Cloning, Console, CopyOptions, Dereference, Sparse, When};
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

const ATTRIBUTES: &Words<Attribute> = &[
    ("mode", Attribute::Mode),
    ("timestamps", Attribute::Timestamps),
    ("ownership", Attribute::Ownership),
    ("links", Attribute::Links),
    ("context", Attribute::Context),
    ("xattr", Attribute::Xattr),
    ("all", Attribute::All),
];

/// What has been said so far, where one option does not settle it by itself.
pub(super) struct Draft {
    pub(super) options: CopyOptions,
    pub(super) statistics: Statistics,
    pub(super) dry_run: bool,
    pub(super) files_from: Option<OsString>,
    pub(super) name_end: u8,
    target_directory: Option<OsString>,
    no_target_directory: bool,
    backup: Option<Option<OsString>>,
    suffix: Option<OsString>,
    asking: Asking,
    update: Update,
    hard_links: bool,
    symbolic_links: bool,
    verbose: bool,
}

impl Draft {
    /// Nothing was said yet.
    pub(super) fn new(program: &str) -> Draft {
        // Who calls cp does not expect a bar.
        let progress = if program == "cp" { When::Never } else { When::Auto };
        let posix = std::env::var_os("POSIXLY_CORRECT").is_some();
        Draft {
            options: CopyOptions::new().progress(progress).write_through_dangling(posix),
            statistics: Statistics::default(),
            dry_run: false,
            files_from: None,
            name_end: b'\n',
            target_directory: None,
            no_target_directory: false,
            backup: None,
            suffix: None,
            asking: Asking::No,
            update: Update::All,
            hard_links: false,
            symbolic_links: false,
            verbose: false,
        }
    }

    /// Takes one option more.
    pub(super) fn take(&mut self, given: &Given) -> Result<(), Misuse> {
        const USUAL: &str = "mode,ownership,timestamps";
        let value = given.value.as_deref();
        match given.option.id {
            "backup" | "b" => self.backup = Some(value.map(OsStr::to_owned).or(self.backup.take().flatten())),
            "debug" | "verbose" => self.verbose = true,
            "interactive" => self.asking = Asking::Yes,
            "link" => self.hard_links = true,
            "no-clobber" => self.asking = Asking::NoClobber,
            "no-target-directory" => self.no_target_directory = true,
            "suffix" => {
                self.suffix = value.map(OsStr::to_owned);
                self.backup = Some(self.backup.take().flatten());
            }
            "symbolic-link" => self.symbolic_links = true,
            "target-directory" => {
                if self.target_directory.is_some() {
                    return Err(Misuse { text: b"multiple target directories specified".into(), hint: false });
                }
                self.target_directory = value.map(OsStr::to_owned);
            }
            "update" | "u" => {
                self.update = value.map_or(Ok(Update::Older), |word| words::find("--update", word, UPDATE))?;
            }
            _ => {}
        }
        let options = std::mem::take(&mut self.options);
        self.options = match given.option.id {
            "archive" => options.archive(),
            "attributes-only" => options.attributes_only(true),
            "copy-contents" => options.copy_contents(true),
            "d" => options.preserve([Attribute::Links]).dereference(Dereference::Never),
            "debug" => options.debug(true),
            "dereference" => options.dereference(Dereference::Always),
            "force" => options.force(true),
            "H" => options.dereference(Dereference::CommandLine),
            "keep-directory-symlink" => options.keep_directory_symlink(true),
            "no-dereference" => options.dereference(Dereference::Never),
            "no-preserve" => options.no_preserve(attributes("--no-preserve", value.unwrap_or_default())?),
            "one-file-system" => options.one_file_system(true),
            "parents" => options.parents(true),
            "p" => options.preserve(attributes("-p", OsStr::new(USUAL))?),
            "preserve" => options.preserve(attributes("--preserve", value.unwrap_or(OsStr::new(USUAL)))?),
            "recursive" => options.recursive(true),
            "remove-destination" => options.remove_destination(true),
            "sparse" => options.sparse(words::find("--sparse", value.unwrap_or_default(), SPARSE)?),
            "reflink" => {
                let when = value.map_or(Ok(Cloning::Require), |word| words::find("--reflink", word, REFLINK))?;
                options.reflink(when)
            }
            "strip-trailing-slashes" => options.strip_trailing_slashes(true),
            "Z" => options.default_context(),
            "context" => match value {
                Some(context) => options.context(context),
                None => options.default_context(),
            },
            _ => {
                self.options = options;
                return own::take(self, given);
            }
        };
        Ok(())
    }

    /// Puts all that was given together. Questions will be asked on `console`.
    pub(super) fn settle(mut self, console: &Console) -> Result<Settled, Misuse> {
        if self.hard_links && self.symbolic_links {
            return Err(Misuse::new("cannot make both hard and symbolic links"));
        }
        let options = std::mem::take(&mut self.options).update(self.update == Update::Older);
        // -i asks about what --update lets through, and -n lets nothing through.
        let options = match (self.asking, self.update) {
            (Asking::NoClobber, _) | (_, Update::None) => options.skip_existing(),
            (_, Update::NoneFail) => options.refuse_existing(),
            (Asking::Yes, Update::All | Update::Older) => {
                let console = console.clone();
                options.interactive(move |prompt| console.ask(prompt))
            }
            (Asking::No, Update::All | Update::Older) => options,
        };
        let options = match (self.hard_links, self.symbolic_links) {
            (true, _) => options.action(Action::HardLink),
            (_, true) => options.action(Action::SymbolicLink),
            _ => options,
        };
        let options = match self.files_from.take() {
            Some(list) => options.files_from(list, self.name_end),
            None => options,
        };
        match self.backup {
            // Also where --backup=none will make none.
            Some(_) => options.clone().backup(BackupControl::Simple).check()?,
            None => options.check()?,
        }
        let options = backups(options, self.backup.take(), self.suffix.take())?;
        // Who only asks what would be done wants to be told.
        let verbose = self.verbose || self.dry_run && self.statistics.form.is_none();
        let options = options.verbose(verbose);
        let Draft { statistics, target_directory, no_target_directory, .. } = self;
        Ok(Settled { options, statistics, verbose, target_directory, no_target_directory })
    }
}

/// All options, put together.
pub(super) struct Settled {
    options: CopyOptions,
    pub(super) statistics: Statistics,
    verbose: bool,
    target_directory: Option<OsString>,
    no_target_directory: bool,
}

impl Settled {
    /// The copy of what was named.
    pub(super) fn copy(self, mut names: Vec<OsString>) -> Result<Copy, Misuse> {
        let Settled { options, statistics, verbose, target_directory, no_target_directory } = self;
        if names.is_empty() {
            return Err(Misuse::new("missing file operand"));
        }
        let (options, destination) = match (target_directory, no_target_directory) {
            (Some(_), true) => {
                let text = b"cannot combine --target-directory (-t) and --no-target-directory (-T)".into();
                return Err(Misuse { text, hint: false });
            }
            (Some(directory), false) => (options.target_directory(), Some(directory)),
            (None, true) => (options.no_target_directory(), names.pop()),
            (None, false) => (options, names.pop()),
        };
        match destination {
            Some(destination) if !names.is_empty() => {
                Ok(Copy { options, sources: names, destination, statistics, verbose })
            }
            only => {
                let only = quoted(only.unwrap_or_default());
                Err(Misuse::new([b"missing destination file operand after ".as_slice(), &only].concat()))
            }
        }
    }
}

/// A list of attributes.
fn attributes(what: &str, list: &OsStr) -> Result<Vec<Attribute>, Misuse> {
    list.as_bytes()
        .split(|b| *b == b',')
        .map(|word| words::find(what, OsStr::from_bytes(word), ATTRIBUTES))
        .collect()
}

/// `--backup`, `--suffix` and their environment (info coreutils, "Backup options").
fn backups(
    options: CopyOptions,
    backup: Option<Option<OsString>>,
    suffix: Option<OsString>,
) -> Result<CopyOptions, Misuse> {
    let Some(word) = backup else { return Ok(options) };
    let control = match word.filter(|word| !word.is_empty()) {
        Some(word) => words::find("backup type", &word, BACKUP)?,
        None => match std::env::var_os("VERSION_CONTROL").filter(|word| !word.is_empty()) {
            Some(word) => words::find("$VERSION_CONTROL", &word, BACKUP)?,
            None => Some(BackupControl::Existing),
        },
    };
    let Some(control) = control else { return Ok(options) };
    let options = options.backup(control);
    Ok(match suffix.or_else(|| std::env::var_os("SIMPLE_BACKUP_SUFFIX")) {
        Some(suffix) => options.backup_suffix(suffix),
        None => options,
    })
}

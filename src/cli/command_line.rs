//! The state of a command line that is being read, and the rules between options: the last of conflicting
//! options wins, and contradictions are refused.

use super::job::JobOptions;
use super::{CopyRequest, Statistics, UsageError, values, words};
use std::ffi::{OsStr, OsString};
use zcp::internals::quote::quoted;
use zcp::{Action, BackupControl, Console, CopyOptions, Error, OnFailure, When};

/// The last of `-i` and `-n`.
#[derive(Clone, Copy, Default)]
pub(super) enum Asking {
    #[default]
    No,
    Yes,
    NoClobber,
}

/// `--update`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Update {
    #[default]
    All,
    None,
    NoneFail,
    Older,
}

/// The options read so far. Options that depend on no other are already in `copy`; the other fields wait until
/// all options are known.
#[derive(Default)]
pub(super) struct CommandLine {
    pub(super) copy: CopyOptions,
    pub(super) statistics: Statistics,
    pub(super) job: JobOptions,
    pub(super) dry_run: bool,
    pub(super) verbose: bool,
    pub(super) files_from: Option<OsString>,
    /// The byte that ends each name of `--files-from`.
    pub(super) name_end: u8,
    /// Whether patterns exclude names, and whether others include some of these again.
    pub(super) excludes: bool,
    pub(super) includes: bool,
    reads_stdin: Option<&'static str>,
    pub(super) suffix: Option<OsString>,
    pub(super) asking: Asking,
    pub(super) update: Update,
    pub(super) hard_links: bool,
    pub(super) symbolic_links: bool,
    pub(super) no_target_directory: bool,
    target_directory: Option<OsString>,
    /// `None` without backups, else the CONTROL of the last `--backup` that had one.
    backup: Option<Option<OsString>>,
}

impl CommandLine {
    /// Makes a command line without options. `program` is the name that zcp was called by.
    pub(super) fn new(program: &str) -> CommandLine {
        let mut copy = CopyOptions::new();
        copy.owns_descriptors(true);
        // A script that calls cp does not expect a progress bar.
        copy.progress(if program == "cp" { When::Never } else { When::Auto });
        copy.on_failure(if program == "cp" { OnFailure::KeepGoing } else { OnFailure::StopIfFull });
        copy.write_through_dangling(std::env::var_os("POSIXLY_CORRECT").is_some());
        CommandLine { copy, name_end: b'\n', ..CommandLine::default() }
    }

    /// Enables backups. An earlier CONTROL stays unless there is a new one.
    pub(super) fn back_up(&mut self, control: Option<&OsStr>) {
        self.backup = Some(control.map(OsStr::to_owned).or(self.backup.take().flatten()));
    }

    /// Notes an option that reads stdin, and fails if another one does.
    pub(super) fn read_stdin(&mut self, option: &'static str) -> Result<(), UsageError> {
        match self.reads_stdin.replace(option) {
            Some(other) => Err(UsageError::new(format!("{other} and {option} both read stdin"))),
            None => Ok(()),
        }
    }

    /// Sets `--target-directory`, which may be given only once.
    pub(super) fn set_target_directory(&mut self, directory: &OsStr) -> Result<(), UsageError> {
        if self.target_directory.is_some() {
            return Err(UsageError::without_hint("multiple target directories specified"));
        }
        self.target_directory = Some(directory.to_owned());
        Ok(())
    }

    /// Combines all options. Prompts will appear on `console`.
    pub(super) fn settle(&mut self, console: &Console) -> Result<(), UsageError> {
        if self.hard_links && self.symbolic_links {
            return Err(UsageError::new("cannot make both hard and symbolic links"));
        }
        if self.includes && !self.excludes {
            return Err(UsageError::new("--include needs --exclude, --exclude-from or --gitignore"));
        }
        if self.name_end == 0 && self.files_from.is_none() {
            return Err(UsageError::new("--null (-0) needs --files-from"));
        }
        if let (Asking::Yes, Update::All | Update::Older, Some(option)) =
            (self.asking, self.update, self.reads_stdin)
        {
            return Err(UsageError::new(format!("{option} needs stdin, and so does -i")));
        }
        let copy = &mut self.copy;
        copy.update(self.update == Update::Older);
        // -i asks only about files that --update would overwrite, and -n overwrites none.
        match (self.asking, self.update) {
            (Asking::NoClobber, _) | (_, Update::None) => {
                copy.skip_existing();
            }
            (_, Update::NoneFail) => {
                copy.refuse_existing();
            }
            (Asking::Yes, Update::All | Update::Older) => {
                let console = console.clone();
                copy.interactive(move |prompt| console.ask(prompt));
            }
            (Asking::No, Update::All | Update::Older) => {}
        }
        if self.hard_links {
            copy.action(Action::HardLink);
        }
        if self.symbolic_links {
            copy.action(Action::SymbolicLink);
        }
        if let Some(list) = self.files_from.take() {
            copy.files_from(list, self.name_end);
        }
        self.settle_backups()?;
        // A dry run without statistics prints what it would do.
        self.verbose |= self.dry_run && self.statistics.form.is_none();
        self.copy.verbose(self.verbose);
        Ok(())
    }

    /// Applies `--backup`, `--suffix` and their environment variables (info coreutils, "Backup options").
    fn settle_backups(&mut self) -> Result<(), UsageError> {
        let Some(word) = self.backup.take() else { return contradiction(&self.copy) };
        // A contradiction is refused even if --backup=none makes no backup.
        contradiction(self.copy.clone().backup(BackupControl::Simple))?;
        let control = match word.filter(|word| !word.is_empty()) {
            Some(word) => words::find("backup type", &word, values::BACKUP)?,
            None => match std::env::var_os("VERSION_CONTROL").filter(|word| !word.is_empty()) {
                Some(word) => words::find("$VERSION_CONTROL", &word, values::BACKUP)?,
                None => Some(BackupControl::Existing),
            },
        };
        if let Some(control) = control {
            self.copy.backup(control);
            if let Some(suffix) = self.suffix.take().or_else(|| std::env::var_os("SIMPLE_BACKUP_SUFFIX")) {
                self.copy.backup_suffix(suffix);
            }
        }
        Ok(())
    }

    /// Makes a copy of these operands. The options must be settled.
    pub(super) fn into_copy(mut self, mut names: Vec<OsString>) -> Result<CopyRequest, UsageError> {
        self.copy.check()?; // as in cp, this error comes first
        if names.is_empty() {
            return Err(UsageError::new("missing file operand"));
        }
        let destination = match (self.target_directory.take(), self.no_target_directory) {
            (Some(_), true) => {
                let text = "cannot combine --target-directory (-t) and --no-target-directory (-T)";
                return Err(UsageError::without_hint(text));
            }
            (Some(directory), false) => {
                self.copy.target_directory();
                Some(directory)
            }
            (None, true) => {
                self.copy.no_target_directory();
                names.pop()
            }
            (None, false) => names.pop(),
        };
        match destination {
            Some(destination) if !names.is_empty() => {
                let CommandLine { copy: options, statistics, verbose, .. } = self;
                Ok(CopyRequest { options, sources: names, destination, statistics, verbose })
            }
            only => {
                let only = quoted(only.unwrap_or_default());
                Err(UsageError::new([b"missing destination file operand after ".as_slice(), &only].concat()))
            }
        }
    }
}

fn contradiction(options: &CopyOptions) -> Result<(), UsageError> {
    match options.check() {
        Err(error @ Error::Usage(_)) => Err(error.into()),
        _ => Ok(()),
    }
}

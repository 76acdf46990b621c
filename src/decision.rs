//! Decides what to do with one name: a pure function of the options and of stat results.
//!
//! There is no I/O, so the whole table can be tested. The rules are cp's. Comments give the reasons of
//! surprising rules.

use crate::error::{Failure, Operation};
use crate::options::{Action, BackupControl, Dereference, IfExists, Options};
use crate::sys::{Kind, Stat};
use std::ffi::OsString;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// The file that the copy would reach: the target of a symbolic link where cp follows it.
    pub stat: Stat,
    /// The name itself, not followed.
    pub link: Stat,
    /// The source's name itself, not followed.
    pub source_link: Stat,
    /// The symbolic links to follow for this source: below an operand, `-H` means none.
    pub dereference: Dereference,
    /// Whether it is a circular symbolic link: there is no file, but the name is taken.
    pub circular: bool,
    /// Whether both names are one entry of one directory.
    pub same_entry: bool,
    /// Whether both names, fully followed, are one file.
    pub same_referent: bool,
    pub writable: bool,
    /// Whether its modification time is the source's, as far as its file system can store it.
    pub time_kept: bool,
    /// Whether it is replaced if it is of another kind than the source, instead of being written into or
    /// through.
    pub replaced_if_other_kind: bool,
    /// Whether this run made it for an earlier operand.
    pub just_made: bool,
    /// Whether it is a symbolic link that another user may have made, or that was made during the copy.
    pub untrusted: bool,
    /// Whether the source is `.` or `..`: then cp makes no backup of a file in place of a directory.
    pub source_is_dots: bool,
    /// Whether its backup would overwrite the source (`cp -b a a~`, however spelt).
    pub backup_is_source: bool,
    /// Whether source or destination is a descriptor of this process (`/dev/stdin`).
    pub is_descriptor: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Make the file, after clearing the name.
    Make(Clear),
    /// Write into the existing file, which keeps its inode and its mode.
    Overwrite,
    /// Copy a directory's entries into the existing directory.
    Merge,
    /// Ask, and carry out the inner decision if the user agrees.
    Ask(Question, Box<Decision>),
    Skip(Skip),
    /// An earlier run seems to have completed it. If that proves wrong, carry out the inner decision.
    Complete(Box<Decision>),
    /// The destination is already as requested.
    Done,
    /// Refuse: it would lose data, or makes no sense.
    Refuse(Refusal),
}

/// The treatment of the existing file before a new one is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// None: the name is free, or making the file replaces the old one (or fails).
    Nothing,
    Backup,
    Unlink,
}

/// The reason to leave a destination alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// `-n`, `--update=none`.
    Exists,
    /// `--update=none-fail`.
    ExistsFail,
    /// `-u`: the destination is not older.
    UpToDate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Overwrite,
    /// "replace, overriding mode", if the file would be unlinked.
    ReplaceUnwritable,
    TryUnwritable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    SameFile,
    /// A directory would replace a file of another kind.
    DirectoryOverOther,
    /// A file of another kind would replace a directory.
    OtherOverDirectory,
    /// The copy of an earlier operand would be lost.
    JustMade,
    BackupIsSource,
    /// The copy would go through an untrusted symbolic link.
    UntrustedLink,
}

impl Refusal {
    pub fn failure(self, source: OsString, destination: OsString) -> Failure {
        let operation = match self {
            Refusal::SameFile => return Failure::new(Operation::SameFile, source).and(destination),
            Refusal::UntrustedLink => return Failure::new(Operation::ThroughUntrustedLink, destination),
            Refusal::DirectoryOverOther => Operation::DirectoryOverOther,
            Refusal::OtherOverDirectory => Operation::OtherOverDirectory,
            Refusal::JustMade => Operation::OverJustMade,
            Refusal::BackupIsSource => Operation::BackUpOverSource,
        };
        Failure::new(operation, destination).and(source)
    }
}

/// Returns whether cp follows a symbolic link at the destination: only if it would write through it.
pub(crate) fn follows_destination(options: &Options, source: &Stat) -> bool {
    let reads_content = source.is_regular() || (options.read_special && !source.is_dir() && !source.is_symlink());
    reads_content && options.action == Action::Copy && options.backup.is_none() && !options.remove_destination
}

/// Decides. `existing` is `None` if the name is free.
pub fn decide(options: &Options, source: &Stat, existing: Option<&Existing>) -> Decision {
    let Some(existing) = existing else { return Decision::Make(Clear::Nothing) };
    if existing.circular {
        return Decision::Overwrite; // this fails, and then -f unlinks it
    }
    let sameness = if options.never_replaces() { Sameness::Distinct } else { sameness(options, source, existing) };
    if sameness == Sameness::Refused {
        return Decision::Refuse(Refusal::SameFile);
    }
    let replace = if sameness == Sameness::Settled { Decision::Done } else { replace(options, source, existing) };
    if source.is_dir() {
        return replace;
    }
    if options.resume && seems_complete(options, source, existing) && !matches!(replace, Decision::Refuse(_)) {
        return Decision::Complete(Box::new(match options.if_exists {
            IfExists::Ask => Decision::Ask(question(options, existing), Box::new(replace)),
            _ => replace,
        }));
    }
    let is_as_new = source.mtime <= existing.stat.mtime || existing.time_kept;
    // With `-n`, the times do not matter, and no other name of the source is linked to the destination.
    if options.update && !options.never_replaces() && is_as_new && !is_of_other_kind(source, existing) {
        return Decision::Skip(Skip::UpToDate);
    }
    match options.if_exists {
        IfExists::Skip => Decision::Skip(Skip::Exists),
        IfExists::SkipFail => Decision::Skip(Skip::ExistsFail),
        IfExists::Ask => Decision::Ask(question(options, existing), Box::new(replace)),
        IfExists::Replace => replace,
    }
}

fn question(options: &Options, existing: &Existing) -> Question {
    match existing.writable || existing.stat.is_symlink() {
        true => Question::Overwrite,
        false if options.force || options.remove_destination => Question::ReplaceUnwritable,
        false => Question::TryUnwritable,
    }
}

fn replace(options: &Options, source: &Stat, existing: &Existing) -> Decision {
    let target = &existing.stat;
    let written =
        options.action == Action::Copy && (source.is_regular() || (options.read_special && !source.is_symlink()));
    let backs_up = options.backup.is_some() && !options.never_replaces();
    match (source.is_dir(), target.is_dir()) {
        (true, false) if !backs_up && is_of_other_kind(source, existing) => return Decision::Make(Clear::Unlink),
        (true, false) if !backs_up => return Decision::Refuse(Refusal::DirectoryOverOther),
        (_, false) if existing.just_made && !numbered(options) => return Decision::Refuse(Refusal::JustMade),
        (false, true) if !backs_up => return Decision::Refuse(Refusal::OtherOverDirectory),
        (false, true) if existing.untrusted => return Decision::Refuse(Refusal::UntrustedLink),
        // Directories have no backups: try it, and report the system's reason.
        (false, true) if written => return Decision::Overwrite,
        (false, true) => return Decision::Make(Clear::Nothing),
        (true, true) if existing.untrusted => return Decision::Refuse(Refusal::UntrustedLink),
        (true, true) => return Decision::Merge,
        (_, false) => {}
    }
    if let Some(backup) = &options.backup {
        if backup.control != BackupControl::Numbered && existing.backup_is_source {
            return Decision::Refuse(Refusal::BackupIsSource);
        }
        if !source.is_dir() || !existing.source_is_dots {
            return Decision::Make(Clear::Backup);
        }
    }
    // Writing into a file with several names would change all of them, so with kept links it is unlinked
    // first. A link or special file cannot be written into an existing file. With `-f`, a new
    // link replaces the name in one step instead, so that the name is never missing.
    let shared = options.preserve.links && target.nlink > 1;
    let remade = existing.dereference == Dereference::Never && !source.is_regular();
    if options.remove_destination
        || is_of_other_kind(source, existing)
        || (!options.attributes_only && (shared || remade))
    {
        return Decision::Make(Clear::Unlink);
    }
    match written {
        true if existing.untrusted => Decision::Refuse(Refusal::UntrustedLink),
        true => Decision::Overwrite,
        false => Decision::Make(Clear::Nothing),
    }
}

/// Returns whether the destination must be removed because it is of another kind than the source: a copy would be
/// written into or through it, or a directory could not be made.
fn is_of_other_kind(source: &Stat, existing: &Existing) -> bool {
    let link = &existing.link;
    let hinders_file = source.is_regular() && !link.is_regular() && !link.is_dir();
    let hinders_directory = source.is_dir() && !existing.stat.is_dir();
    existing.replaced_if_other_kind && (hinders_file || hinders_directory)
}

/// Returns whether an earlier run may have completed the destination. Times are set last, so an incomplete file
/// does not have the source's times, even if it has its length. With `--verify`, the content is compared, and
/// times prove nothing.
fn seems_complete(options: &Options, source: &Stat, existing: &Existing) -> bool {
    let target = if source.is_symlink() { &existing.link } else { &existing.stat };
    let same_content = match source.kind() {
        Kind::RegularFile | Kind::Symlink => source.size == target.size,
        kind => kind != Kind::Unknown && source.rdev == target.rdev,
    };
    options.action == Action::Copy
        && !options.attributes_only
        && source.kind() == target.kind()
        && same_content
        && (source.mtime == target.mtime || existing.time_kept || (options.verify && source.is_regular()))
}

fn numbered(options: &Options) -> bool {
    options.backup.as_ref().is_some_and(|backup| backup.control == BackupControl::Numbered)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sameness {
    /// Two different files, perhaps only after the destination has been cleared.
    Distinct,
    /// One file, as requested.
    Settled,
    /// One file that the copy would destroy.
    Refused,
}

/// Returns whether source and destination are one file in a way that matters for these options.
fn sameness(options: &Options, source: &Stat, existing: &Existing) -> Sameness {
    use Sameness::{Distinct, Refused, Settled};
    // The two directions of a connected socket (/dev/stdin, /dev/stdout) are two streams. A socket that has a name in a
    // file system cannot be opened at all.
    if source.kind() == Kind::Socket && existing.is_descriptor && options.read_special {
        return Distinct;
    }
    let same = source.id() == existing.stat.id();
    let linking = options.action == Action::HardLink;
    let never = existing.dereference == Dereference::Never;
    if same && linking {
        return Settled;
    }
    if never && source.is_symlink() && existing.stat.is_symlink() {
        return match (existing.same_entry, options.backup.is_some(), same) {
            (true, ..) => Refused,
            (false, false, true) => Settled, // two names of one symbolic link
            (false, ..) => Distinct,
        };
    }
    if !never && !same {
        return Distinct;
    }
    let (from, to) = if never { (source, &existing.stat) } else { (&existing.source_link, &existing.link) };
    let same_name_file = from.id() == to.id();
    if !never && from.is_symlink() && to.is_symlink() && options.remove_destination {
        return Distinct;
    }
    if options.backup.is_some() {
        // Renaming the file would rename the source, too, or leave its link dangling.
        let takes_source =
            if same_name_file { existing.same_entry } else { !never && from.is_symlink() && !to.is_symlink() };
        return if takes_source { Refused } else { Distinct };
    }
    // Unlinking a symbolic link, or another name of the file, keeps the source.
    let other_name = same_name_file && to.nlink > 1 && !existing.same_entry;
    if (options.remove_destination || is_of_other_kind(source, existing)) && (to.is_symlink() || other_name) {
        return Distinct;
    }
    if !from.is_symlink() && !to.is_symlink() && !same_name_file {
        return Distinct;
    }
    if options.action == Action::SymbolicLink && to.is_symlink() {
        return Distinct;
    }
    if never {
        if !existing.same_referent {
            return Distinct;
        }
        if linking {
            return if to.is_symlink() { Distinct } else { Settled };
        }
    }
    Refused
}

#[cfg(test)]
mod tests;

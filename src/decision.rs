//! What is to be done with one name: a pure function of the options and of what stat said.
//!
//! No I/O, so that the whole table can be tested. The rules are cp's; where they surprise, the
//! comment says what they protect from.

use crate::options::{Action, BackupControl, Dereference, IfExists, Options};
use crate::sys::{Kind, Stat};

/// What stands at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existing {
    /// What the copy would meet: the referent of a symbolic link where cp looks through it.
    pub stat: Stat,
    /// The name itself, never followed.
    pub link: Stat,
    /// The source's name itself, never followed.
    pub source_link: Stat,
    /// Which symbolic links are followed, for this source: `-H` is over below an operand.
    pub dereference: Dereference,
    /// Whether it is a symbolic link in a circle: nothing is there, but the name is taken.
    pub circular: bool,
    /// Whether both names are one entry of one directory.
    pub same_entry: bool,
    /// Whether both names, followed to the end, are one file.
    pub same_referent: bool,
    /// Whether the process may write to it.
    pub writable: bool,
    /// Whether its time of last change is what its file system keeps of the source's.
    pub time_kept: bool,
    /// Whether it goes if it is of another kind than the source: then it is not written into or through.
    pub goes_if_other: bool,
    /// Whether it was made by this very run, for an earlier operand.
    pub just_made: bool,
    /// Whether it is a symbolic link that somebody else may have put there, or that was put there
    /// while the copy went on.
    pub untrusted: bool,
    /// Whether the source is named by `.` or `..`: cp makes no backup then of what is in the way of a directory.
    pub source_is_dots: bool,
    /// Whether its backup would be the source (`cp -b a a~` and its spellings).
    pub backup_is_source: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Make the file, after the name has been cleared.
    Make(Clear),
    /// Write into the file that is there: it keeps its inode and its mode.
    Overwrite,
    /// Copy a directory's entries into the directory that is there.
    Merge,
    /// Ask, and if the user agrees, go on.
    Ask(Question, Box<Decision>),
    /// Leave it alone.
    Skip(Skip),
    /// An earlier run completed it, as far as stat can tell; if that proves wrong, go on.
    Complete(Box<Decision>),
    /// It is there already.
    Done,
    /// This would lose data, or makes no sense.
    Refuse(Refusal),
}

/// What happens to the file that has the name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// Nothing: the name is free, or making the file replaces it (or fails).
    Nothing,
    /// It is renamed to its backup.
    Backup,
    /// It is unlinked.
    Unlink,
}

/// Why a file is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// `-n`, `--update=none`.
    Exists,
    /// `--update=none-fail`.
    ExistsFail,
    /// `-u`: it is not older.
    UpToDate,
}

/// The words of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// "overwrite".
    Overwrite,
    /// "replace, overriding mode", where the file would be unlinked.
    ReplaceUnwritable,
    /// "unwritable, try anyway".
    TryUnwritable,
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Source and destination are the same file.
    SameFile,
    /// A directory would replace what is none.
    DirectoryOverOther,
    /// What is no directory would replace one.
    OtherOverDirectory,
    /// An earlier operand's copy would be lost.
    JustMade,
    /// The backup would overwrite the source.
    BackupIsSource,
    /// The copy would go through a symbolic link that is not to be trusted.
    UntrustedLink,
}

/// Whether cp looks at the destination through a symbolic link: only where it would write through.
pub fn follows_destination(options: &Options, source: &Stat) -> bool {
    let reads_content = source.is_regular() || (options.read_special && !source.is_dir() && !source.is_symlink());
    reads_content && options.action == Action::Copy && options.backup.is_none() && !unlinks_first(options)
}

/// Whether the destination is unlinked before it is tried. (`-f` replaces a name by a link in one
/// step, so that the name is never missing.)
pub fn unlinks_first(options: &Options) -> bool {
    options.remove_destination
}

/// Decides. `existing` is `None` where the name is free.
pub fn decide(options: &Options, source: &Stat, existing: Option<&Existing>) -> Decision {
    let Some(existing) = existing else { return Decision::Make(Clear::Nothing) };
    if existing.circular {
        return Decision::Overwrite; // which fails, and then -f unlinks it
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
        return Decision::Complete(Box::new(replace));
    }
    let is_as_new = source.mtime <= existing.stat.mtime || existing.time_kept;
    if options.update && is_as_new && !is_of_other_kind(source, existing) {
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

/// The destination is there and is to be replaced: how?
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
        // There are no backups of directories: it is tried, and the system says why it cannot be done.
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
    // A file with several names would be changed under all of them, so where links are kept it is
    // taken away first; and a link or special file cannot be written into what is there.
    let shared = options.preserve.links && target.nlink > 1;
    let remade = existing.dereference == Dereference::Never && !source.is_regular();
    if unlinks_first(options)
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

/// Whether the destination is of another kind than the source and is to go: the copy would otherwise be written
/// into or through it, or a directory could not be made.
fn is_of_other_kind(source: &Stat, existing: &Existing) -> bool {
    let link = &existing.link;
    let hinders_file = source.is_regular() && !link.is_regular() && !link.is_dir();
    let hinders_directory = source.is_dir() && !existing.stat.is_dir();
    existing.goes_if_other && (hinders_file || hinders_directory)
}

/// Whether an earlier run may have completed the destination. Times are set when all else is done, so
/// nothing that was begun only, or has its length only, has the source's. Where the content is looked at
/// as well, a file's times prove nothing.
fn seems_complete(options: &Options, source: &Stat, existing: &Existing) -> bool {
    let target = if source.is_symlink() { &existing.link } else { &existing.stat };
    let same_content = match source.kind() {
        Kind::Regular | Kind::Symlink => source.size == target.size,
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
    /// Two files, or made so by what is done first.
    Distinct,
    /// One file, and that is what was asked for.
    Settled,
    /// One file: going on would destroy it.
    Refused,
}

/// Whether source and destination are one file in a way that matters for what is asked.
fn sameness(options: &Options, source: &Stat, existing: &Existing) -> Sameness {
    use Sameness::{Distinct, Refused, Settled};
    // The two directions of a socket are two streams.
    if source.kind() == Kind::Socket && options.read_special {
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
    if !never && from.is_symlink() && to.is_symlink() && unlinks_first(options) {
        return Distinct;
    }
    if options.backup.is_some() {
        // Moving the file aside would take the source with it, or leave its link dangling.
        let takes_source =
            if same_name_file { existing.same_entry } else { !never && from.is_symlink() && !to.is_symlink() };
        return if takes_source { Refused } else { Distinct };
    }
    // Unlinking a symbolic link, or another name of the file, leaves the source whole.
    let other_name = same_name_file && to.nlink > 1 && !existing.same_entry;
    if (unlinks_first(options) || is_of_other_kind(source, existing)) && (to.is_symlink() || other_name) {
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

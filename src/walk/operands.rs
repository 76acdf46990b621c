//! Turns SOURCE... DESTINATION into the entries to start from, by cp's rules for the last operand.

use super::listed::List;
use crate::backup;
use crate::batch::Entry;
use crate::context::{Context, DirFd};
use crate::dir::{Dir, Hold};
use crate::error::{Failure, Operation};
use crate::existing;
use crate::options::Options;
use crate::path::{self, without_slashes};
use crate::sys::at::{self, Follow};
use crate::sys::proc::StopFlag;
use crate::sys::{Errno, Stat};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operands {
    /// In the order of the command line.
    pub sources: Vec<OsString>,
    /// The destination; `target` says how to read it.
    pub destination: OsString,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A directory to copy into if one exists, else a name.
    AsFound,
    /// A directory (`-t`).
    Directory,
    /// A name (`-T`).
    Name,
}

pub(crate) struct Roots {
    /// The directory pair that contains the entries.
    pub dir: Hold,
    pub entries: Vec<Entry>,
    /// Whether the sources are copied into a directory, not to names of their own.
    pub into_directory: bool,
    /// Whether order matters: two sources may meet at the destination, or the destination is inside a source. Then one
    /// worker copies in cp's order.
    pub operands_collide: bool,
    pub list: Option<List>,
    /// Whether several workers may be useful: a directory to enter, or several operands.
    pub are_many: bool,
}

impl Roots {
    /// Returns whether the copy may take long. One small file is done before a signal handler or a thread would be in
    /// place.
    pub(crate) fn may_take_long(&self) -> bool {
        const SHORT: u64 = 1 << 20;
        self.are_many || self.entries.iter().any(|entry| length_or_max(entry) >= SHORT)
    }

    pub(crate) fn are_one_file(&self) -> bool {
        !self.are_many && self.entries.iter().all(|entry| length_or_max(entry) < u64::MAX)
    }

    /// Returns the directory that the first operand is copied into, relative to [`Roots::dir`].
    pub(crate) fn target_directory(&self) -> OsString {
        let name = self.entries.first().filter(|_| !self.into_directory).map(Entry::destination);
        path::parent(name.unwrap_or_default()).to_owned()
    }

    /// Opens the directory that the first operand is copied into, if the operand is on the same device.
    pub(crate) fn open_on_one_device(&self, ctx: &Context) -> Option<OwnedFd> {
        let source = at::stat(at::CWD, &self.entries.first()?.name, Follow::Yes).ok()?;
        let target = at::open_dir(&self.dir.fds(ctx).ok()?.dst, &self.target_directory(), Follow::Yes).ok()?;
        (at::fstat(&target).ok()?.dev == source.dev).then_some(target)
    }

    /// Returns the `f_type` of statfs(2) for the first source and the destination, as far as they are known.
    pub(crate) fn magics(&self) -> Vec<u64> {
        let source = self.entries.first().and_then(|entry| at::fs_magic(&entry.name).ok());
        let parent = self.entries.first().map(|entry| path::split(entry.destination()).0);
        let destination = match parent.filter(|parent| !parent.is_empty() && !self.into_directory) {
            Some(parent) => at::fs_magic(parent).ok(),
            None => self.dir.destination_magic(),
        };
        source.into_iter().chain(destination).collect()
    }
}

/// Returns the length of an operand: 0 if it is missing, and the maximum for anything but a regular file.
fn length_or_max(entry: &Entry) -> u64 {
    match at::stat(at::CWD, &entry.name, Follow::Yes) {
        Ok(stat) if stat.is_regular() => stat.size,
        Ok(_) => u64::MAX,
        Err(_) => 0,
    }
}

/// Interprets the operands. This may change the options: `cp -f -b a a` makes a backup. A list of names ends at `stop`.
pub(crate) fn resolve(operands: Operands, options: &mut Options, stop: &StopFlag) -> Result<Roots, Failure> {
    if let Some(list) = List::open(options, stop) {
        return listed(operands, list?, options);
    }
    let Operands { mut sources, destination, target } = operands;
    check_count(&sources)?;
    let refusal = |words, errno| Err(Failure::new(words, &destination).errno(errno));
    let is_name = target == Target::Name;
    match (!is_name).then(|| at::open_dir(at::CWD, &destination, Follow::Yes)) {
        Some(Ok(fd)) => Ok(into(sources, fd, destination, options)),
        Some(Err(errno)) if target == Target::Directory => refusal(Operation::TargetDirectory, errno),
        Some(Err(errno)) if sources.len() > 1 => refusal(Operation::Target, errno),
        _ => match sources.get(1) {
            // The second name was meant to be the destination, so the third is too many.
            Some(_) => {
                let extra = sources.get(2).unwrap_or(&destination);
                Err(Failure::new(Operation::ExtraOperand, extra).usage())
            }
            None => onto(sources.pop().unwrap_or_default(), destination, options),
        },
    }
}

fn check_count(sources: &[OsString]) -> Result<(), Failure> {
    match sources {
        [] => Err(Failure::from(Operation::MissingOperand).usage()),
        _ => Ok(()),
    }
}

/// Handles `zcp SOURCE DEST`, where DEST is the name of the copy.
fn onto(source: OsString, mut destination: OsString, options: &mut Options) -> Result<Roots, Failure> {
    if options.parents {
        let words = "with --parents, the destination must be a directory";
        return Err(Failure::plain(words).usage());
    }
    // `cp -f -b a a` makes a backup of a.
    if options.force && source == destination {
        let regular = at::stat(at::CWD, &destination, Follow::Yes).is_ok_and(|stat: Stat| stat.is_regular());
        if let Some(backup) = options.backup.as_ref().filter(|_| regular) {
            let base = backup::name(backup, at::CWD, &destination);
            destination = path::beside(&destination, &base);
            options.backup = None;
        }
    }
    let (base, root, name) = directory_of(destination);
    let entries = vec![Entry { name: source, new_name: Some(name), hint: None, operand: true }];
    let operands_collide = options.recursive && entries.iter().any(|entry| is_below_itself(entry, base.as_fd()));
    let are_many = are_many(&entries, options);
    let dir = Dir::operands(base, root);
    Ok(Roots { dir, entries, into_directory: false, operands_collide, list: None, are_many })
}

/// Returns the directory that a destination is relative to, its path for messages, and the name in it. Normally that is
/// the working directory. The directory of a destination is opened if the paths of backups and temporary files beside it
/// might be too long for the kernel.
fn directory_of(destination: OsString) -> (DirFd, OsString, OsString) {
    /// The longest path that the kernel takes, in bytes (PATH_MAX without its NUL).
    const LONGEST_PATH: usize = 4095;
    let (parent, _) = path::split(&destination);
    if parent.len() + backup::LONGEST_NAME >= LONGEST_PATH
        && let Ok(fd) = at::open_dir(at::CWD, parent, Follow::Yes)
    {
        let name = OsStr::from_bytes(&destination.as_bytes()[parent.len()..]);
        return (DirFd::Open(fd), parent.to_owned(), name.to_owned());
    }
    (DirFd::Cwd, OsString::new(), destination)
}

/// Handles `zcp --files-from=LIST SOURCE DIRECTORY`: the list holds the names on both sides.
fn listed(operands: Operands, list: List, options: &Options) -> Result<Roots, Failure> {
    let Operands { mut sources, destination: target, target: kind } = operands;
    check_count(&sources)?;
    // The directory of -t has to exist, as with cp.
    let may_be_made = kind != Target::Directory;
    if let Some(extra) = sources.get(1) {
        return Err(Failure::new(Operation::ExtraOperandOfList, extra).usage());
    }
    let source = sources.pop().unwrap_or_default();
    let unusable = |words, name: &OsStr, errno| Failure::new(words, name).errno(errno);
    let src = at::open_dir(at::CWD, &source, Follow::Yes).map_err(|e| unusable(Operation::Access, &source, e))?;
    let dst = match at::open_dir(at::CWD, &target, Follow::Yes) {
        Err(Errno::NOENT) if may_be_made && options.dry_run => DirFd::Absent,
        Err(Errno::NOENT) if may_be_made => {
            match at::mkdir(at::CWD, &target, 0o777) {
                // Another process may have made it.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(unusable(Operation::CreateDirectory, &target, errno)),
            }
            let opened = at::open_dir(at::CWD, &target, Follow::Yes);
            DirFd::Open(opened.map_err(|errno| unusable(Operation::TargetDirectory, &target, errno))?)
        }
        opened => DirFd::Open(opened.map_err(|errno| unusable(Operation::TargetDirectory, &target, errno))?),
    };
    let dir = Dir::roots((DirFd::Open(src), source), (dst, target));
    let (entries, list) = (Vec::new(), Some(list));
    Ok(Roots { dir, entries, into_directory: true, operands_collide: false, list, are_many: true })
}

/// Handles `zcp SOURCE... DIRECTORY`.
fn into(mut names: Vec<OsString>, fd: OwnedFd, target: OsString, options: &Options) -> Roots {
    if options.strip_trailing_slashes {
        // Only here, as in cp: a name that is copied to a name is taken as it is.
        names.iter_mut().for_each(|name| *name = without_slashes(name).to_owned());
    }
    let entries: Vec<Entry> = names
        .into_iter()
        .map(|name| {
            let new_name = if options.parents { without_slashes(&name).to_owned() } else { target_name(&name) };
            Entry { name, new_name: Some(new_name), hint: None, operand: true }
        })
        .collect();
    let operands_collide = options.parents && entries.len() > 1
        || may_meet(&entries)
        || (options.recursive && is_below(&entries, fd.as_fd()));
    let are_many = are_many(&entries, options);
    Roots {
        dir: Dir::operands(DirFd::Open(fd), target),
        entries,
        into_directory: true,
        operands_collide,
        list: None,
        are_many,
    }
}

fn are_many(entries: &[Entry], options: &Options) -> bool {
    match entries {
        [only] if options.recursive => at::stat(at::CWD, &only.name, Follow::Yes).is_ok_and(|stat| stat.is_dir()),
        entries => entries.len() > 1,
    }
}

/// Returns the name in the target directory: the last component, or `.` for `..`, so that its entries are not
/// copied to the target's parent.
fn target_name(source: &OsStr) -> OsString {
    match path::split(source).1 {
        base if base == ".." || base.is_empty() => OsString::from("."),
        base => base.to_owned(),
    }
}

/// Returns whether the destination is inside one of the sources. The amount that is copied before that is noticed
/// depends on the order.
fn is_below(entries: &[Entry], destination: BorrowedFd<'_>) -> bool {
    let above = existing::ancestors(destination);
    entries.iter().any(|entry| {
        at::stat(at::CWD, &entry.name, Follow::Yes).is_ok_and(|stat| stat.is_dir() && above.contains(&stat.id()))
    })
}

/// Returns whether an entry, with its destination relative to `dst`, would be copied into itself.
pub(super) fn is_below_itself(entry: &Entry, dst: BorrowedFd<'_>) -> bool {
    let parent = at::open_dir(dst, path::parent(entry.destination()), Follow::Yes);
    parent.is_ok_and(|parent| is_below(std::slice::from_ref(entry), parent.as_fd()))
}

/// Returns whether two operands get the same name, or one of several is copied right into the target.
fn may_meet(entries: &[Entry]) -> bool {
    let mut seen = HashSet::new();
    let several = entries.len() > 1;
    entries.iter().any(|entry| (several && entry.destination() == ".") || !seen.insert(entry.destination()))
}

/// Splits a `--parents` operand into its leading directories, outermost first, each with its name at the
/// destination, and its last component. All parts keep their slashes: messages show the path as it was typed,
/// and a link with a trailing slash is followed.
pub(crate) fn leading(name: &OsStr) -> (Vec<Entry>, Entry) {
    let bytes = name.as_bytes();
    let (parent, base) = path::split(name);
    let root = bytes.iter().take_while(|b| **b == b'/').count();
    let mut at = 0;
    let mut next = |end: usize| {
        let new_name = OsStr::from_bytes(&bytes[at.max(root)..end]).to_owned();
        let name = OsStr::from_bytes(&bytes[std::mem::replace(&mut at, end)..end]).to_owned();
        Entry { name, new_name: Some(new_name), hint: None, operand: true }
    };
    let ends = (root..parent.len()).filter(|at| bytes[*at] == b'/' && bytes.get(at + 1) != Some(&b'/'));
    let dirs = ends.map(|at| next(at + 1)).collect();
    let last = next(bytes.len());
    let new_name = if base.is_empty() && !bytes.is_empty() { OsStr::new(".") } else { base };
    (dirs, Entry { new_name: Some(new_name.to_owned()), ..last })
}

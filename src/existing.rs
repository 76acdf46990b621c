//! Inspects an existing destination, for `decision` to decide.
//!
//! It collects only facts that the options require, because each fact costs a system call per file.

use crate::backup;
use crate::batch::Entry;
use crate::context::{Context, DirFd, Fds, Process};
use crate::decision::{self, Existing};
use crate::dir::Dir;
use crate::metadata::kept_times::KeptTimes;
use crate::options::{Action, BackupControl, Dereference, IfExists, Options};
use crate::path::{self, without_slashes};
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Kind, Result, Stat, inherited, io, proc};
use crate::transfer::route::FsKind;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// How often to try to take one name. Every further try means that another process changed the name in the
/// meantime.
pub(crate) const TRIES: u32 = 100;

/// Returns the facts about the entry's existing destination, or `None` if the name is free.
pub(crate) fn look(ctx: &Context, dir: &Dir, fds: &Fds, entry: &Entry, source: &Stat) -> Result<Option<Existing>> {
    if matches!(fds.dst, DirFd::Absent) {
        return Ok(None); // a dry run did not make the directory
    }
    let options = &ctx.options;
    let (dst, name) = (fds.dst.as_fd(), entry.destination());
    let mut circular = false;
    let link = match at::stat(dst, name, Follow::No) {
        Ok(link) => link,
        Err(Errno::NOENT) => return Ok(None),
        // The path leads through a circular link. cp tries to open it where it would write through a link.
        Err(Errno::LOOP) if options.force && decision::follows_destination(options, source) => {
            circular = true;
            Stat::default()
        }
        Err(errno) => return Err(errno),
    };
    let names_directory = entry.operand && source.is_dir();
    let replaced_if_other_kind =
        options.replace_other_kinds && !names_directory && !is_meant_as_stream(dst, entry, &link);
    let stat = match referent(options, dst, name, (&link, replaced_if_other_kind), source) {
        Ok(stat) => stat,
        // Treat a dangling link as a free name: creating the file will give cp's error.
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) if options.force => {
            circular = true;
            link
        }
        Err(errno) => return Err(errno),
    };
    let mut existing = Existing {
        stat,
        link,
        source_link: *source,
        dereference: match options.dereference {
            Dereference::CommandLine if !entry.operand => Dereference::Never,
            other => other,
        },
        circular,
        writable: true,
        just_made: is_just_made(ctx, dir, entry, &stat),
        time_kept: has_kept_time(ctx, dst, name, source, &stat),
        replaced_if_other_kind,
        untrusted: link.is_symlink() && !is_trusted(&ctx.run.process, dst, name, &link),
        source_is_dots: matches!(path::split(&entry.name).1.as_bytes(), b"." | b".."),
        is_descriptor: source.kind() == Kind::Socket && names_descriptor(entry),
        backup_is_source: backup_is_source(options, dst, entry, source),
        ..Existing::default()
    };
    let related = source.id() == stat.id() || source.is_symlink() || link.is_symlink();
    if related || options.action == Action::SymbolicLink {
        if let Ok(link) = at::stat(&fds.src, &entry.name, Follow::No) {
            existing.source_link = link;
        }
        existing.same_entry = is_same_entry(fds, entry, source.is_dir());
        existing.same_referent = is_same_referent(fds, entry);
    }
    if options.if_exists == IfExists::Ask {
        existing.writable = at::may_write(dst, name).is_ok();
    }
    Ok(Some(existing))
}

/// Returns whether a simple backup of the destination would replace the source.
fn backup_is_source(options: &Options, dst: BorrowedFd<'_>, entry: &Entry, source: &Stat) -> bool {
    let wanted = options.backup.as_ref().filter(|backup| backup.control != BackupControl::Numbered);
    let Some(backup) = wanted else { return false };
    let name = entry.destination();
    let backup = backup::simple(backup, path::split(name).1);
    let has_its_name = entry.name.as_bytes().rsplit(|byte| *byte == b'/').next() == Some(backup.as_bytes());
    let is_source = |stat: Stat| stat.id() == source.id();
    has_its_name && at::stat(dst, &path::beside(name, &backup), Follow::Yes).is_ok_and(is_source)
}

/// Returns whether this run made the destination of an operand for an earlier one.
pub(crate) fn is_just_made(ctx: &Context, dir: &Dir, entry: &Entry, stat: &Stat) -> bool {
    entry.operand && ctx.made_for_operand(&dir.destination_name(entry.destination()), stat.id())
}

/// Returns whether an operand's source or destination is one of this process's descriptors, by a name such as
/// `/dev/stdin`.
fn names_descriptor(entry: &Entry) -> bool {
    entry.operand && [&entry.name, entry.destination()].iter().any(|name| inherited::number(name, true).is_some())
}

/// Returns whether an operand's destination is or leads to a device, or is one of this process's descriptors
/// (/dev/stdout). Such a destination is written to, even where others of another kind are replaced.
fn is_meant_as_stream(dst: BorrowedFd<'_>, entry: &Entry, link: &Stat) -> bool {
    let is_device = |stat: &Stat| matches!(stat.kind(), Kind::CharacterDevice | Kind::BlockDevice);
    let name = entry.destination();
    let leads_to_device = || at::stat(dst, name, Follow::Yes).is_ok_and(|stat| is_device(&stat));
    entry.operand
        && (is_device(link) || link.is_symlink() && (inherited::number(name, true).is_some() || leads_to_device()))
}

/// Returns whether the existing modification time is the source's, as far as the file system can store it.
/// Checked only if `--resume` or `--update` compares kept times.
fn has_kept_time(ctx: &Context, dst: BorrowedFd<'_>, name: &OsStr, source: &Stat, stat: &Stat) -> bool {
    let options = &ctx.options;
    if !(options.preserve.timestamps && (options.resume || options.update)) || source.kind() != stat.kind() {
        return false;
    }
    if options.dry_run {
        return KeptTimes::seems_kept(source.mtime, stat);
    }
    let is_it = |fd: &OwnedFd| at::fstat(fd).is_ok_and(|now| now.id() == stat.id());
    ctx.run.kept_times.is_kept(source.mtime, stat, || at::open_path(dst, name).ok().filter(is_it))
}

/// Returns the status of the file that the copy would reach through the name.
fn referent(
    options: &Options,
    dst: BorrowedFd<'_>,
    name: &OsStr,
    (link, replaced_if_other_kind): (&Stat, bool),
    source: &Stat,
) -> Result<Stat> {
    if !link.is_symlink() {
        return Ok(*link);
    }
    if decision::follows_destination(options, source) && !(replaced_if_other_kind && source.is_regular()) {
        return at::stat(dst, name, Follow::Yes);
    }
    let to_directory = || at::stat(dst, name, Follow::Yes).ok().filter(Stat::is_dir);
    if source.is_dir() && options.keep_directory_symlink {
        return Ok(to_directory().unwrap_or(*link));
    }
    Ok(*link)
}

/// Returns whether a symbolic link at the destination may be written through as cp does: it is older than this
/// run, and only this user or root can have made it.
pub(crate) fn is_trusted(process: &Process, dst: impl AsFd, name: &OsStr, link: &Stat) -> bool {
    /// The `f_type` of /proc, which makes its links (`/dev/fd/1`) when they are looked at.
    const PROC: u64 = 0x9FA0;
    let ours = |stat: &Stat| stat.uid == process.uid || stat.uid == 0;
    let Ok(dir) = at::open_dir(dst, path::parent(name), Follow::Yes) else { return false };
    let older = || {
        let magic = io::fs_magic(&dir);
        // A link with a future time was made before the clock was set back, unless another machine set the
        // time.
        let clock_was_ahead = || link.ctime > proc::now() && magic.map(FsKind::from_magic) != Ok(FsKind::Remote);
        magic == Ok(PROC) || clock_was_ahead()
    };
    let older = link.ctime < process.start || older();
    older && ours(link) && at::fstat(&dir).is_ok_and(|dir| ours(&dir))
}

/// Returns whether another user has replaced a directory that was just made. The new owner could then read files
/// that the right directory would protect. Only file systems that store owners can tell.
pub(crate) fn is_replaced_by_other_user(process: &Process, made: &Stat, fd: impl AsFd) -> bool {
    let kind = || io::fs_magic(fd).map_or(FsKind::Other, FsKind::from_magic);
    made.uid != process.uid && !matches!(kind(), FsKind::Remote | FsKind::Fuse | FsKind::Other)
}

/// The position of a name. Two spellings of one entry of one directory are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    parent: FileId,
    name: OsString,
}

/// Returns the location of `name`, which is relative to `base`. cp compares operands with [`Follow::No`]: a symbolic
/// link that names the directory counts as a directory of its own, so the same file may be named again through it.
pub(crate) fn location(base: impl AsFd, name: &OsStr, follow: Follow) -> Result<Location> {
    let parent = at::stat(base, without_slashes(path::parent(name)), follow)?.id();
    Ok(Location { parent, name: path::split(name).1.to_owned() })
}

/// Returns the directory itself and all directories above it.
pub(crate) fn ancestors(dir: impl AsFd) -> HashSet<FileId> {
    let mut above = HashSet::new();
    let mut up = OsString::from(".");
    while let Ok(stat) = at::stat(&dir, &up, Follow::Yes)
        && above.insert(stat.id())
    {
        up.push("/..");
    }
    above
}

/// Returns whether both names are the same entry of the same directory, however they are spelt. A directory that
/// is named through a link (`a/link/.`) counts as another directory, as in cp, which then continues with its
/// entries.
fn is_same_entry(fds: &Fds, entry: &Entry, is_directory: bool) -> bool {
    let base = |name| path::split(name).1;
    let locate = |dir: &DirFd, name| location(dir, name, Follow::from(!is_directory));
    base(&entry.name) == base(entry.destination())
        && locate(&fds.src, &entry.name).is_ok_and(|here| Ok(here) == locate(&fds.dst, entry.destination()))
}

fn is_same_referent(fds: &Fds, entry: &Entry) -> bool {
    let from = at::stat(&fds.src, &entry.name, Follow::Yes);
    let to = at::stat(&fds.dst, entry.destination(), Follow::Yes);
    matches!((from, to), (Ok(from), Ok(to)) if from.id() == to.id())
}

pub(crate) fn follows_source(options: &Options, entry: &Entry) -> Follow {
    Follow::from(match options.dereference {
        Dereference::Never => false,
        Dereference::CommandLine => entry.operand,
        Dereference::Always => true,
    })
}

/// Checks whether a name could be created. Fails with the errno that creating it would probably give.
pub(crate) fn may_make(dir: &DirFd, name: &OsStr) -> Result<()> {
    if matches!(dir, DirFd::Absent) {
        return Ok(()); // a directory that a dry run did not make
    }
    at::may_write(dir, path::parent(name))
}

//! The operands of a plan: resolves and checks them, and makes the destination.

use super::branch::{self, Made};
use super::folder::{Folder, JobDestination};
use super::manifest::Root;
use crate::backup;
use crate::batch::Entry;
use crate::context::Context;
use crate::dir::without_slashes;
use crate::existing;
use crate::report::Failure;
use crate::report::json::bytes;
use crate::sys::Stat;
use crate::sys::at::{self, Follow};
use crate::sys::interrupted::Bounded;
use crate::walk::operands::{self, Operands};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;

/// The source and the destination of a plan.
pub(super) struct JobRoots {
    pub(super) source: Root,
    pub(super) source_fd: OwnedFd,
    pub(super) destination: Root,
    pub(super) destination_fd: OwnedFd,
    /// Whether the destination existed before.
    pub(super) existed: bool,
    /// The name of a source that is a single file. The roots are then the directories above.
    pub(super) file: Option<(OsString, Stat)>,
    pub(super) new_name: Option<OsString>,
    /// The job folder, ready for a plan.
    pub(super) folder: Folder,
    /// An empty file in the job folder for the names of the plan.
    pub(super) spool: Bounded<File>,
}

/// Resolves the operands by cp's rules, prepares the job folder, and makes the destination.
///
/// A repeated plan keeps the destination of the first one, although the directory that the first one made now
/// exists.
///
/// # Errors
/// Those of a copy (no source, no `-r`, a directory into itself ...) and those of the job folder.
pub(super) fn resolve(ctx: &Context, operands: Operands, folder: &OsStr) -> Result<JobRoots, Failure> {
    let mut options = ctx.options.clone();
    let key = key(&operands);
    let roots = operands::resolve(operands, &mut options).map_err(|unusable| unusable.failure)?;
    let Some(entry) = roots.entries.into_iter().next() else { return Err(Failure::plain("missing file operand")) };
    let follow = match entry.name.as_encoded_bytes().ends_with(b"/") {
        true => Follow::Yes,
        false => existing::follows_source(&options, &entry),
    };
    let cannot_stat = |errno| Failure::new("cannot stat {}", &entry.name).errno(errno);
    let stat = at::stat(at::CWD, &entry.name, follow).map_err(cannot_stat)?;
    if stat.is_dir() && !options.recursive {
        return Err(Failure::new("-r not specified; omitting directory {}", &entry.name));
    }
    let source = absolute(&entry.name)?;
    if stat.is_dir() && leads_into(&absolute(folder)?, &stat) {
        return Err(Failure::new("the job folder {} is inside SOURCE", folder));
    }
    let (folder, spool) = Folder::prepare(folder.as_ref())?;
    let planned = match folder.planned_destination(&key)? {
        Some(earlier) => earlier,
        None => {
            let destination = absolute(&roots.dir.destination_path(entry.destination()))?;
            let existed = at::stat(at::CWD, &destination, Follow::No).is_ok();
            let planned = JobDestination { destination, existed };
            folder.write_destination(&key, &planned)?;
            planned
        }
    };
    if !stat.is_dir() {
        return of_a_file(&source, &planned.destination, stat, (folder, spool));
    }
    of_a_directory(ctx, &entry, source, planned, &stat, (folder, spool))
}

/// Identifies the operands as typed and the working directory.
fn key(operands: &Operands) -> Value {
    let here = std::env::current_dir().unwrap_or_default();
    let sources: Vec<Value> = operands.sources.iter().map(|name| bytes(name)).collect();
    let target = format!("{:?}", operands.target);
    json!([bytes(here.as_os_str()), sources, bytes(&operands.destination), target])
}

fn of_a_directory(
    ctx: &Context,
    entry: &Entry,
    source: OsString,
    planned: JobDestination,
    stat: &Stat,
    (folder, spool): (Folder, Bounded<File>),
) -> Result<JobRoots, Failure> {
    let JobDestination { destination, existed } = planned;
    let cannot_access = |errno| Failure::new("cannot access {}", &source).errno(errno);
    let source_fd = at::open_dir(at::CWD, &source, Follow::Yes).map_err(cannot_access)?;
    if leads_into(&destination, stat) {
        let words = "cannot copy a directory, {}, into itself, {}";
        return Err(Failure::new(words, &entry.name).and(&destination));
    }
    make(ctx, entry, stat, &destination)?;
    let (destination, destination_fd) = open(&destination)?;
    Ok(JobRoots {
        source: Root::of(source, &source_fd, stat)?,
        source_fd,
        destination,
        destination_fd,
        existed,
        file: None,
        new_name: None,
        folder,
        spool,
    })
}

/// Resolves a source that is a single file: the directories above source and destination are the roots.
fn of_a_file(
    source: &OsStr,
    destination: &OsStr,
    stat: Stat,
    (folder, spool): (Folder, Bounded<File>),
) -> Result<JobRoots, Failure> {
    let (from, name) = backup::split(source);
    let (to, new_name) = backup::split(destination);
    let ((source, source_fd), (destination, destination_fd)) = (open(from)?, open(to)?);
    Ok(JobRoots {
        source,
        source_fd,
        destination,
        destination_fd,
        existed: true,
        file: Some((name.to_owned(), stat)),
        new_name: Some(new_name.to_owned()),
        folder,
        spool,
    })
}

fn open(path: &OsStr) -> Result<(Root, OwnedFd), Failure> {
    let cannot = |errno| Failure::new("cannot access {}", path).errno(errno);
    let fd = at::open_dir(at::CWD, path, Follow::Yes).map_err(cannot)?;
    let stat = at::fstat(&fd).map_err(cannot)?;
    Ok((Root::of(without_slashes(path).to_owned(), &fd, &stat)?, fd))
}

/// Returns the absolute path, with symbolic links unresolved: on another machine, this path may lead to the
/// same file system where a resolved path would not.
fn absolute(path: &OsStr) -> Result<OsString, Failure> {
    match std::path::absolute(without_slashes(path)) {
        Ok(path) => Ok(path.into_os_string()),
        Err(error) => Err(super::lists::failed("cannot access {}", path.as_ref(), &error)),
    }
}

/// Returns whether `path`, or the directory that it would be made in, is the source or below it.
fn leads_into(path: &OsStr, source: &Stat) -> bool {
    let parent = backup::split(path).0;
    let open = |path| at::open_dir(at::CWD, path, Follow::Yes);
    open(path).or_else(|_| open(parent)).is_ok_and(|dir| existing::ancestors(&dir).contains(&source.id()))
}

/// Makes the root of the destination if it is missing.
fn make(ctx: &Context, entry: &Entry, source: &Stat, path: &OsStr) -> Result<(), Failure> {
    let is_dir = |follow| at::stat(at::CWD, path, follow).is_ok_and(|stat| stat.is_dir());
    match branch::make(ctx, at::CWD, path, source) {
        Ok(Made::New(_)) => Ok(()),
        Ok(Made::Replaced) => {
            Err(Failure::new("skipping directory {}, as it was replaced while being copied", path))
        }
        Ok(Made::Existed) if is_dir(Follow::No) => Ok(()),
        Ok(Made::Existed) if ctx.options.keep_directory_symlink && is_dir(Follow::Yes) => Ok(()),
        Ok(Made::Existed) => {
            let words = "cannot overwrite non-directory {} with directory {}";
            Err(Failure::new(words, path).and(&entry.name))
        }
        Err(errno) => Err(Failure::new("cannot create directory {}", path).errno(errno)),
    }
}

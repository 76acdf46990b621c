//! The operands of a plan: resolves and checks them, and makes the destination.

use super::folder::{Folder, JobDestination};
use super::manifest::Root;
use crate::batch::Entry;
use crate::context::{Context, DirFd};
use crate::error::{Failure, Operation};
use crate::existing;
use crate::path::{self, without_slashes};
use crate::report::json::bytes;
use crate::sys::at::{self, Follow};
use crate::sys::interrupted::Bounded;
use crate::sys::{Errno, Stat};
use crate::walk::directory::WantedDirectory;
use crate::walk::operands::{self, Operands};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

pub(super) struct JobRoots {
    pub(super) source: (Root, OwnedFd),
    pub(super) destination: (Root, OwnedFd),
    pub(super) existed: bool,
    /// The name, the status and the new name of a source that is a single file. The roots are then the directories
    /// above.
    pub(super) file: Option<(OsString, Stat, OsString)>,
}

/// Resolves the operands by cp's rules, prepares the job folder, and makes the destination. Also returns the folder
/// and the empty spool in it.
///
/// A repeated plan keeps the destination of the first one, although the directory that the first one made now exists.
/// Fails as a copy does (no source, no `-r`, a directory into itself ...), and if the job folder cannot be used.
pub(super) fn resolve(
    ctx: &Context,
    operands: Operands,
    folder: &OsStr,
) -> Result<(JobRoots, Folder, Bounded<File>), Failure> {
    let mut options = ctx.options.clone();
    let key = key(&operands);
    let roots = operands::resolve(operands, &mut options, &ctx.run.stop)?;
    let Some(entry) = roots.entries.into_iter().next() else {
        return Err(Failure::from(Operation::MissingOperand));
    };
    let follow = match entry.name.as_encoded_bytes().ends_with(b"/") {
        true => Follow::Yes,
        false => existing::follows_source(&options, &entry),
    };
    let cannot_stat = |errno| Failure::new(Operation::Stat, &entry.name).errno(errno);
    let stat = at::stat(at::CWD, &entry.name, follow).map_err(cannot_stat)?;
    if stat.is_dir() && !options.recursive {
        return Err(Failure::new(Operation::OmitDirectory, &entry.name));
    }
    let source = absolute(&entry.name)?;
    if stat.is_dir() && leads_into(&absolute(folder)?, &stat) {
        return Err(Failure::new(Operation::FolderInSource, folder));
    }
    let (folder, spool) = Folder::prepare(folder.as_ref())?;
    let JobDestination { destination, existed } = match folder.planned_destination(&key)? {
        Some(earlier) => earlier,
        None => {
            let destination = absolute(&roots.dir.destination_path(entry.destination()))?;
            let existed = at::stat(at::CWD, &destination, Follow::No).is_ok();
            let planned = JobDestination { destination, existed };
            folder.write_destination(&key, &planned)?;
            planned
        }
    };
    let roots = if stat.is_dir() {
        let source = open(&source)?;
        if leads_into(&destination, &stat) {
            return Err(Failure::new(Operation::IntoItself, &entry.name).and(&destination));
        }
        make(ctx, &entry, &stat, &destination)?;
        JobRoots { source, destination: open(&destination)?, existed, file: None }
    } else {
        let ((from, name), (to, new_name)) = (path::split(&source), path::split(&destination));
        let file = Some((name.to_owned(), stat, new_name.to_owned()));
        JobRoots { source: open(from)?, destination: open(to)?, existed: true, file }
    };
    Ok((roots, folder, spool))
}

/// Identifies the operands as typed and the working directory.
fn key(operands: &Operands) -> Value {
    let here = std::env::current_dir().unwrap_or_default();
    let sources: Vec<Value> = operands.sources.iter().map(|name| bytes(name)).collect();
    let target = format!("{:?}", operands.target);
    json!([bytes(here.as_os_str()), sources, bytes(&operands.destination), target])
}

fn open(path: &OsStr) -> Result<(Root, OwnedFd), Failure> {
    let cannot = |errno| Failure::new(Operation::Access, path).errno(errno);
    let fd = at::open_dir(at::CWD, path, Follow::Yes).map_err(cannot)?;
    let stat = at::fstat(&fd).map_err(cannot)?;
    Ok((Root::of(without_slashes(path).to_owned(), &fd, &stat)?, fd))
}

/// Returns the absolute path, with symbolic links unresolved: on another machine, this path may lead to the
/// same file system where a resolved path would not.
fn absolute(path: &OsStr) -> Result<OsString, Failure> {
    match std::path::absolute(without_slashes(path)) {
        Ok(path) => Ok(path.into_os_string()),
        Err(error) => Err(Failure::io(Operation::Access, path, &error)),
    }
}

/// Returns whether an absolute path, or the directory that it would be made in, is the source or below it.
fn leads_into(path: &OsStr, source: &Stat) -> bool {
    let mut existing =
        Path::new(path).ancestors().map(|path| at::open_dir(at::CWD, path.as_os_str(), Follow::Yes));
    existing.find_map(Result::ok).is_some_and(|dir| existing::ancestors(&dir).contains(&source.id()))
}

fn make(ctx: &Context, entry: &Entry, source: &Stat, path: &OsStr) -> Result<(), Failure> {
    let is_dir = |follow| at::stat(at::CWD, path, follow).is_ok_and(|stat| stat.is_dir());
    let mode = ctx.mode_policy().directory(source.permissions(), false);
    let wanted = WantedDirectory { above: &DirFd::Cwd, name: path, mode, path: &|| path.to_owned() };
    match wanted.make(ctx, Operation::CreateDirectory) {
        Err(failure) if failure.has_errno(Errno::EXIST) => {
            match is_dir(Follow::No) || ctx.options.keep_directory_symlink && is_dir(Follow::Yes) {
                true => Ok(()),
                false => Err(Failure::new(Operation::DirectoryOverOther, path).and(&entry.name)),
            }
        }
        made => made.map(drop),
    }
}

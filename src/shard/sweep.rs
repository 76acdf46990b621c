//! What runs that were killed left behind in the destination: their temporary names.
//!
//! A run says in the job folder that it has begun, with its process number, and takes that back when it
//! ends. So where all runs ended by themselves, there is nothing to look for; else the directories of
//! the parts in question are listed, and names that such a process made are removed.

use super::branch::Branch;
use super::facts::Facts;
use super::folder::{self, Folder};
use super::lists::{Reader, failed};
use super::manifest::Manifest;
use crate::context::Context;
use crate::dir::Dir;
use crate::report::Failure;
use crate::sys::at;
use crate::temporary;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

/// A run that has begun.
pub(super) struct Mark(PathBuf);

impl Mark {
    /// Says so of this process.
    pub(super) fn set(ctx: &Context, folder: &Folder, part: u64) -> Result<Mark, Failure> {
        let path = folder.running().join(format!("{part}-{}-{}", super::host(), std::process::id()));
        match ctx.patience.io(|| File::create(&path)) {
            Ok(_) => Ok(Mark(path)),
            Err(error) => Err(failed("cannot create {}", &path, &error)),
        }
    }

    /// Says that it has ended, with nothing left behind.
    pub(super) fn remove(self) {
        // It is only a hint.
        let _ = fs::remove_file(self.0);
    }
}

/// Removes what those left behind that have begun and not ended.
pub(super) fn sweep(ctx: &Context, folder: &Folder, manifest: &Manifest) -> Result<(), Failure> {
    let path = folder.running();
    let entries = fs::read_dir(&path).map_err(|error| failed("cannot access {}", &path, &error))?;
    let names: Vec<OsString> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    let mut processes: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (part, process) in names.iter().filter_map(|name| parse(name)) {
        processes.entry(part).or_default().push(process);
    }
    for (part, processes) in &processes {
        sweep_part(ctx, folder, manifest, *part, processes)?;
    }
    names.iter().try_for_each(|name| folder::remove(&path.join(name)))
}

/// The part and the process of a mark.
fn parse(name: &OsStr) -> Option<(u64, u32)> {
    let (part, rest) = name.to_str()?.split_once('-')?;
    let (_, process) = rest.rsplit_once('-')?;
    Some((part.parse().ok()?, process.parse().ok()?))
}

fn sweep_part(
    ctx: &Context,
    folder: &Folder,
    manifest: &Manifest,
    part: u64,
    processes: &[u32],
) -> Result<(), Failure> {
    let mut branch = Branch::new(ctx, manifest, None)?;
    let mut last: Option<Arc<Dir>> = None;
    for found in Reader::<Facts>::open(folder.part(part))? {
        let (path, _) = found?;
        // A directory that cannot be reached is the affair of others.
        let Ok((dir, _)) = branch.parent_of(&path) else { continue };
        if last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, dir)) {
            let dir = Arc::clone(dir);
            sweep_directory(ctx, &dir, processes);
            last = Some(dir);
        }
    }
    Ok(())
}

fn sweep_directory(ctx: &Context, dir: &Arc<Dir>, processes: &[u32]) {
    let Ok(fds) = dir.fds(ctx) else { return };
    let Ok(names) = at::names(&fds.dst, OsStr::new(".")) else { return };
    for name in names.iter().filter(|name| temporary::maker(name).is_some_and(|maker| processes.contains(&maker)))
    {
        if let Err(errno) = at::unlink(&fds.dst, name) {
            ctx.reporter.fail(Failure::new("cannot remove {}", dir.destination_path(name)).errno(errno));
        }
    }
}

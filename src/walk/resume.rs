//! `--resume`: what a killed run left of a directory.

use crate::context::Context;
use crate::dir::Dir;
use crate::report::{Failure, quote};
use crate::sys::Stat;
use crate::temporary;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Removes the temporary names of dead runs from a directory that is about to be copied into.
pub(super) fn sweep(ctx: &Context, dir: &Arc<Dir>, directory: &OsStr) {
    let Ok(fds) = dir.fds(ctx) else { return };
    for (name, done) in temporary::sweep(&fds.dst, directory) {
        let path = if directory == "." { PathBuf::from(name) } else { Path::new(directory).join(name) };
        let path = dir.destination_path(path.as_os_str());
        if let Err(errno) = done {
            ctx.reporter.fail(Failure::new("cannot remove {}", path).errno(errno));
        } else if ctx.options.verbose {
            ctx.reporter.lines(&[b"removed ".as_slice(), &quote::quoted(path), b"\n"].concat());
        }
    }
}

/// The mode that an existing directory is still to get. One that a run makes has a mode that is closed
/// to others, and while it is filled open to its owner; who finds that very mode takes the directory for
/// one that was not finished.
pub(super) fn unfinished_mode(ctx: &Context, source: &Stat, withheld: u32, copy: &Stat) -> Option<u32> {
    if !ctx.options.resume {
        return None;
    }
    let last = source.permissions() & 0o777 & !ctx.process.umask;
    let (begun, now) = (last & !withheld, copy.permissions() & 0o777);
    ([begun, begun | 0o700].contains(&now) && now != last).then_some(copy.permissions() & 0o7000 | last)
}

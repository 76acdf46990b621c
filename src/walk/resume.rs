//! `--resume`: cleans directories of a killed run.

use crate::context::Context;
use crate::dir::Dir;
use crate::error::{Failure, Operation};
use crate::temporary;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Removes the temporary files of dead runs from a directory before files are copied into it.
pub(super) fn sweep(ctx: &Context, dir: &Arc<Dir>, directory: &OsStr) {
    let Ok(fds) = dir.fds(ctx) else { return };
    for (name, done) in temporary::sweep(&fds.dst, directory) {
        let path = if directory == "." { PathBuf::from(name) } else { Path::new(directory).join(name) };
        let path = dir.destination_path(path.as_os_str());
        if let Err(errno) = done {
            ctx.events.fail(Failure::new(Operation::Remove, path).errno(errno));
        } else {
            ctx.events.removed(|| path);
        }
    }
}

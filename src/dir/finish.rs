//! What a destination directory gets when all that is in it is there: owner, attributes, mode, times.

use super::Fds;
use crate::context::Context;
use crate::metadata::{self, AttributeError, AttributeOperation, Handle, times};
use crate::report::Failure;
use crate::sys::at;
use crate::sys::{Kind, Stat};
use std::ffi::OsString;
use std::os::fd::AsFd;

/// How much of a source directory its destination gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that is preserved.
    Full,
    /// It only leads to an operand (`--parents`): no extended attributes.
    Leading,
    /// The like, and the whole way was there before: it is left as it is.
    Nothing,
}

/// What is to be done with a destination directory when its entries are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// What the source says.
    pub source: Stat,
    /// Whether the destination was made by this run.
    pub made: bool,
    /// Which attributes it is to get.
    pub extent: Extent,
    /// The mode to give it in the end, where that is not the source's.
    pub mode: Option<u32>,
}

/// The paths of the source and of the destination, for messages.
type Paths<'p> = (&'p dyn Fn() -> OsString, &'p dyn Fn() -> OsString);

impl Finish {
    pub(super) fn is_needed(&self, ctx: &Context) -> bool {
        let keep = &ctx.options.preserve;
        if self.extent == Extent::Nothing || ctx.options.dry_run {
            return false;
        }
        keep.mode || keep.ownership || keep.timestamps || keep.xattr || keep.context || self.mode.is_some()
    }

    pub(super) fn apply(&self, ctx: &Context, fds: &Fds, paths: Paths<'_>) {
        let keep = &ctx.options.preserve;
        let file = Handle::Open(fds.dst.as_fd());
        let answer = self.apply_metadata(ctx, fds, paths);
        answer.unwrap_or_else(|error| ctx.reporter.fail(Failure::attribute(error, &(paths.1)())));
        if !keep.mode {
            self.apply_mode(ctx, file, paths);
        }
    }

    /// A directory on the way to an operand that cannot be copied only gets the mode that a new directory has.
    pub(super) fn apply_to_abandoned(&self, ctx: &Context, fds: &Fds, paths: Paths<'_>) {
        if ctx.options.preserve.no_mode {
            self.apply_mode(ctx, Handle::Open(fds.dst.as_fd()), paths);
        }
    }

    fn apply_mode(&self, ctx: &Context, file: Handle<'_>, paths: Paths<'_>) {
        let keep = &ctx.options.preserve;
        if let Some(mode) = self.mode
            && let Err(errno) = metadata::set_plain_mode(file, mode, keep.no_mode)
        {
            ctx.reporter.fail(Failure::new("preserving permissions for {}", (paths.1)()).errno(errno));
        }
    }

    fn apply_metadata(
        &self,
        ctx: &Context,
        fds: &Fds,
        paths: Paths<'_>,
    ) -> std::result::Result<(), AttributeError> {
        let keep = &ctx.options.preserve;
        let (source, file) = (Handle::Open(fds.src.as_fd()), Handle::Open(fds.dst.as_fd()));
        let mut mode = self.source.permissions();
        if keep.timestamps {
            times::set(file, &self.source)?;
        }
        let before = if keep.ownership {
            at::fstat(&fds.dst).map_err(|errno| AttributeOperation::Ownership.failed(errno))?
        } else {
            self.source
        };
        if (before.uid, before.gid) != (self.source.uid, self.source.gid) {
            let privileged = ctx.process.privileged;
            if !self.made && keep.mode && !metadata::close_to_others(file, &before, &self.source, privileged)? {
                ctx.reporter.fail_silently();
                return Ok(());
            }
            if !metadata::set_owner(file, &self.source, privileged)? {
                // The sticky bit gives nobody a right, and cp keeps it on the way to an operand.
                mode &= if self.extent == Extent::Full { 0o777 } else { 0o1777 };
            }
        }
        if self.extent == Extent::Full {
            let _ = ctx.copy_xattrs(source, file, paths); // a directory is gone through again in any case
        }
        if keep.mode {
            metadata::copy_mode(source, file, Kind::Directory, mode)?;
        }
        Ok(())
    }
}

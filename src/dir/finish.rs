//! Finishes a destination directory whose entries are complete: owner, attributes, mode, times.

use super::Fds;
use crate::context::Context;
use crate::metadata::{self, AttributeError, AttributeOperation, Handle, times};
use crate::report::Failure;
use crate::sys::at;
use crate::sys::{Kind, Stat};
use std::ffi::OsString;
use std::os::fd::AsFd;

/// Which attributes of a source directory its destination gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All preserved attributes.
    Full,
    /// All but extended attributes: the directory only leads to an operand (`--parents`).
    Leading,
    /// None: the directory only leads to an operand, and all leading directories existed before.
    Nothing,
}

/// The work to be done on a destination directory once its entries are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The attributes of the source.
    pub source: Stat,
    /// Whether this run created the destination.
    pub made: bool,
    /// The attributes to set.
    pub extent: Extent,
    /// The final mode, if it is not the source's.
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

    /// Finishes a directory that leads to an operand which cannot be copied: it only gets the default mode of a
    /// new directory.
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
                // The sticky bit grants no rights, and cp keeps it for a leading directory.
                mode &= if self.extent == Extent::Full { 0o777 } else { 0o1777 };
            }
        }
        if self.extent == Extent::Full {
            let _ = ctx.copy_xattrs(source, file, paths); // a later run enters a directory again in any case
        }
        if keep.mode {
            metadata::copy_mode(source, file, Kind::Directory, mode)?;
        }
        Ok(())
    }
}

//! Finishes a destination directory whose entries are complete: owner, attributes, mode, times.

use super::Fds;
use crate::context::Context;
use crate::error::{Failure, Operation};
use crate::metadata::Handle;
use crate::metadata::apply::{AttributePair, Lost};
use crate::sys::{Stat, at};
use std::ffi::OsString;
use std::os::fd::AsFd;

/// Which attributes of a source directory its destination gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeScope {
    /// All preserved attributes.
    Full,
    /// All but extended attributes: the directory only leads to an operand (`--parents`).
    Leading,
    /// None: the directory only leads to an operand, and all leading directories existed before.
    Nothing,
}

/// The work to be done on a destination directory once its entries are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finish {
    /// The attributes of the source.
    pub source: Stat,
    /// Whether this run created the destination.
    pub made: bool,
    /// The attributes to set.
    pub scope: AttributeScope,
    /// The final mode, if it is not the source's.
    pub final_mode: Option<u32>,
}

/// The paths of the source and of the destination, for messages.
type Paths<'p> = (&'p dyn Fn() -> OsString, &'p dyn Fn() -> OsString);

impl Finish {
    pub(super) fn is_needed(&self, ctx: &Context) -> bool {
        let keep = &ctx.options.preserve;
        if self.scope == AttributeScope::Nothing || ctx.options.dry_run {
            return false;
        }
        keep.mode || keep.ownership || keep.timestamps || keep.xattr || keep.context || self.final_mode.is_some()
    }

    pub(super) fn apply(&self, ctx: &Context, fds: &Fds, paths: Paths<'_>) {
        let rules = ctx.attribute_rules();
        let before = match rules.keep.ownership && !self.made {
            true => match at::fstat(&fds.dst) {
                Ok(before) => Some(before),
                Err(errno) => {
                    return report(ctx, Lost::Failed(Failure::attribute(Operation::KeepOwnership, errno)), paths);
                }
            },
            false => None,
        };
        let pair = AttributePair {
            from: Handle::Open(fds.src.as_fd()),
            to: Handle::Open(fds.dst.as_fd()),
            source: &self.source,
            before,
            final_mode: self.final_mode,
            is_leading: self.scope == AttributeScope::Leading,
        };
        // A later run enters a directory again in any case, so nothing marks it as incomplete.
        let _ = rules.apply(&pair, &mut |lost| report(ctx, lost, paths));
    }

    /// Finishes a directory that leads to an operand that failed: it gets no attributes, except the default mode with
    /// `--no-preserve=mode`.
    pub(super) fn apply_to_abandoned(&self, ctx: &Context, fds: &Fds, paths: Paths<'_>) {
        let rules = ctx.attribute_rules();
        if let Some(mode) = self.final_mode.filter(|_| rules.keep.no_mode)
            && let Err(error) = rules.apply_plain_mode(Handle::Open(fds.dst.as_fd()), mode)
        {
            report(ctx, Lost::Failed(error), paths);
        }
    }
}

fn report(ctx: &Context, lost: Lost, paths: Paths<'_>) {
    ctx.events.lost(lost, paths, |failure| ctx.events.fail(failure));
}

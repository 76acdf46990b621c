//! Gives a copy its source's attributes, in one order for files, special files, symbolic links and directories.
//!
//! The order is owner, extended attributes, mode, because chown(2) clears set-user-ID bits and capabilities, and user
//! attributes need a writable mode. None of these changes the times. A directory gets its times first, because cp
//! reports that failure for another user's directory. Any other file gets them last, as the sign that its copy is
//! complete (`worker/complete.rs`). After a failure to set the owner, the mode is not set: it was meant for that owner.

use super::new_mode::{ModePolicy, ModeRule};
use super::xattr::{self, Wanted};
use super::{Handle, times};
use crate::error::{Failure, Operation};
use crate::sys::{Errno, Kind, Stat, proc};

/// The attributes to keep (`-p`, `-a`, `--preserve`, `--no-preserve`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preserve {
    /// Permission bits and ACLs.
    pub mode: bool,
    /// `--no-preserve=mode`: new files get the default permissions minus the umask.
    pub no_mode: bool,
    pub ownership: bool,
    /// Access and modification times.
    pub timestamps: bool,
    /// Hard links: names of one inode stay names of one inode.
    pub links: bool,
    pub xattr: bool,
    /// The SELinux context.
    pub context: bool,
    /// `-a`, `--preserve=all`: the SELinux context, if the kernel has SELinux.
    pub context_if_enabled: bool,
    /// An extended attribute that cannot be kept is a failure (`--preserve=xattr`).
    pub xattr_required: bool,
    /// `-a`: an extended attribute that the file system or missing rights refuse is left out silently; any
    /// other error is a failure.
    pub xattr_quiet: bool,
}

impl Preserve {
    pub fn mode_policy(&self, umask: u32) -> ModePolicy {
        let rule = match (self.mode, self.no_mode) {
            (true, _) => ModeRule::Source,
            (false, true) => ModeRule::Default,
            (false, false) => ModeRule::Masked,
        };
        ModePolicy { rule, changes_owner: self.ownership, umask }
    }

    /// Returns whether a new file with its final mode is complete.
    pub fn keeps_nothing(&self) -> bool {
        !(self.mode || self.ownership || self.timestamps || self.xattr || self.context)
    }

    pub fn xattrs(&self) -> Wanted {
        Wanted { all: self.xattr, context: self.context, ..Wanted::default() }
    }
}

/// A copy whose content is complete, and its source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttributePair<'a> {
    pub from: Handle<'a>,
    pub to: Handle<'a>,
    pub source: &'a Stat,
    /// The attributes of the copy before; `None` if it is new.
    pub before: Option<Stat>,
    /// The final mode if it is not the source's and not set yet.
    pub final_mode: Option<u32>,
    /// Whether the copy is a directory that only leads to an operand (`--parents`).
    pub is_leading: bool,
}

/// An attribute that was not kept. The failure lacks the path.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    Failed(Failure),
    Warned(Failure),
    /// This is a failure that cp does not report: the copy belongs to another user.
    Silently,
}

/// The owner of a copy after an attempt to set it.
enum Owned {
    /// The source's.
    Yes,
    /// Another one, so that set-ID bits must not be set.
    No,
    /// Another user, who does not let this process change anything.
    OutOfReach,
}

/// The options and the facts about the process that attributes depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttributeRules {
    pub keep: Preserve,
    pub umask: u32,
    pub uid: u32,
    pub privileged: bool,
}

impl AttributeRules {
    /// Gives a copy its source's attributes, except the times unless it is a directory. Passes each attribute
    /// that is not kept to `lost`. Returns false if the copy is incomplete because of that.
    pub(crate) fn apply(&self, pair: &AttributePair<'_>, lost: &mut dyn FnMut(Lost)) -> bool {
        let answer = self.apply_as_source(pair, lost).and_then(|all_kept| {
            let final_mode = pair.final_mode.filter(|_| !self.keep.mode);
            final_mode.map_or(Ok(()), |mode| self.apply_plain_mode(pair.to, mode)).map(|()| all_kept)
        });
        answer.unwrap_or_else(|error| {
            lost(Lost::Failed(error));
            false
        })
    }

    /// Sets a mode that is not the source's. With `--no-preserve=mode`, an inherited access control list is removed.
    pub(crate) fn apply_plain_mode(&self, to: Handle<'_>, mode: u32) -> Result<(), Failure> {
        let answer = if self.keep.no_mode { xattr::remove_acl(to, xattr::ACL_ACCESS.as_ref()) } else { Ok(()) };
        let answer = answer.and_then(|()| super::set_mode(to, mode));
        answer.map_err(|errno| Failure::attribute(Operation::KeepPermissions, errno))
    }

    fn apply_as_source(&self, pair: &AttributePair<'_>, lost: &mut dyn FnMut(Lost)) -> Result<bool, Failure> {
        let AttributePair { from, to, source, is_leading, .. } = *pair;
        let (keep, kind) = (&self.keep, source.kind());
        let times_later = keep.timestamps && kind != Kind::Directory;
        if keep.timestamps && !times_later {
            // cp has words of its own for a leading directory.
            let name_it = |failure: Failure| {
                if is_leading { failure.renamed(Operation::KeepTimesOfLeading) } else { failure }
            };
            times::set(to, source).map_err(name_it)?;
        }
        let mut mode = source.permissions();
        match if keep.ownership { self.apply_owner(pair)? } else { Owned::Yes } {
            Owned::Yes => {}
            // The sticky bit grants no rights, and cp keeps it for a leading directory.
            Owned::No => mode &= if is_leading { 0o1777 } else { 0o777 },
            Owned::OutOfReach => {
                lost(Lost::Silently);
                // cp reports that the times cannot be set either.
                return if times_later { times::set(to, source).map(|()| false) } else { Ok(false) };
            }
        }
        let all_kept = is_leading || self.apply_xattrs(pair, lost);
        if keep.mode && kind != Kind::Symlink {
            let answer = super::copy_mode(from, to, kind, mode);
            // An unprivileged process cannot set the times of another user's file either. cp sets them first and
            // reports only those.
            if times_later && answer.as_ref().is_err_and(|failure| failure.has_errno(Errno::PERM)) {
                times::set(to, source)?;
            }
            answer?;
        }
        Ok(all_kept)
    }

    fn apply_owner(&self, pair: &AttributePair<'_>) -> Result<Owned, Failure> {
        let AttributePair { to, source, .. } = *pair;
        let is_owner = |now: &Stat| (now.uid, now.gid) == (source.uid, source.gid);
        let has_owner = match &pair.before {
            Some(before) => is_owner(before),
            None => {
                let may_have = !self.privileged || source.uid == self.uid && source.gid == proc::effective_gid();
                may_have && super::stat(to).is_ok_and(|now| is_owner(&now))
            }
        };
        if has_owner {
            return Ok(Owned::Yes);
        }
        if let Some(before) = &pair.before
            && self.keep.mode
            && !super::close_to_others(to, before, source, self.privileged)?
        {
            return Ok(Owned::OutOfReach);
        }
        Ok(if super::set_owner(to, source, self.privileged)? { Owned::Yes } else { Owned::No })
    }

    /// User attributes can only be set on a file that is writable by its mode, even through a descriptor (xattr(7)).
    fn apply_xattrs(&self, pair: &AttributePair<'_>, lost: &mut dyn FnMut(Lost)) -> bool {
        let AttributePair { from, to, source, .. } = *pair;
        let keep = &self.keep;
        let wanted = keep.xattrs();
        if wanted == Wanted::default() {
            return true;
        }
        let read_only = source.is_regular() && source.permissions() & 0o200 == 0 && !self.privileged;
        let lifted = read_only
            && pair.before.is_none()
            && super::set_mode(to, source.permissions() & 0o500 | 0o200).is_ok();
        let mut all_kept = true;
        xattr::copy(from, to, wanted, |failure, is_ordinary| {
            let unsupported = failure.has_errno(Errno::OPNOTSUPP) || failure.has_errno(Errno::NODATA);
            if keep.xattr_required || (keep.xattr_quiet && !is_ordinary) {
                all_kept = false;
                lost(Lost::Failed(failure));
            } else if !keep.xattr_quiet && !unsupported {
                lost(Lost::Warned(failure));
            }
        });
        if lifted && !keep.mode {
            let _ = super::set_mode(to, source.permissions() & 0o777 & !self.umask);
        }
        all_kept
    }
}

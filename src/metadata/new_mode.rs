//! The mode of a new file, directory, fifo, socket or device: what it is created with, and what it gets
//! when its owner and its attributes are right.
//!
//! This is the only place that computes either. Two rules hold for every kind: no new name is ever more
//! open than in the end, and what is going to change hands, or to get another mode or access control
//! list, is open to its owner alone until then. The final modes are those of GNU cp.

use crate::sys::{Kind, Stat};

/// Which mode new names get in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeRule {
    /// The source's, with its access control list (`-p`).
    Source,
    /// The default of its kind, as far as the umask leaves it (`--no-preserve=mode`).
    Default,
    /// The source's permission bits, as far as the umask or a default access control list leaves them.
    Masked,
}

/// The policy that decides about the mode of every new name of a copy.
#[derive(Clone, Copy, Debug)]
pub struct ModePolicy {
    /// Which mode they get in the end.
    pub rule: ModeRule,
    /// Whether their owner changes once they are made.
    pub changes_owner: bool,
    /// The file creation mask of this process.
    pub umask: u32,
}

/// The mode of a new file, fifo, socket or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewMode {
    /// For open(2) or mknod(2), which take away more by the umask or the directory's default ACL.
    pub create: u32,
    /// The mode to set once owner and attributes are right. `None` if it was created with it, or gets the
    /// source's with its access control list.
    pub later: Option<u32>,
}

/// The mode of a new directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewDirectoryMode {
    /// For mkdir(2). Its owner may fill it, whatever the source's mode says.
    pub create: u32,
    rule: ModeRule,
    /// Bits that it gets only in the end.
    withheld: u32,
    /// Bits of the owner that it loses in the end.
    lent: u32,
    /// The mode where the source's does not matter.
    default: u32,
    is_leading: bool,
}

const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
const OWNER: u32 = 0o700;

impl ModePolicy {
    /// Whether a new name is closed to others until its attributes are there.
    fn closes(&self) -> bool {
        self.changes_owner || self.rule != ModeRule::Masked
    }

    /// A regular file.
    pub fn file(&self, source: &Stat) -> NewMode {
        self.new_mode(source.permissions() & 0o777, 0o666, 0o666)
    }

    /// A regular file that was created with no right for anybody but its owner.
    pub fn closed_file(&self, source: &Stat) -> NewMode {
        let later = match self.rule {
            ModeRule::Source => None,
            ModeRule::Default => Some(0o666 & !self.umask),
            ModeRule::Masked => Some(source.permissions() & 0o777 & !self.umask),
        };
        NewMode { create: 0o600, later }
    }

    /// A fifo, a socket or a device.
    pub fn special(&self, source: &Stat) -> NewMode {
        let bits = if self.closes() { 0o777 } else { 0o7777 };
        let default = if source.kind() == Kind::Socket { 0o777 } else { 0o666 };
        self.new_mode(source.permissions() & bits, 0o666, default)
    }

    fn new_mode(&self, permissions: u32, create: u32, default: u32) -> NewMode {
        let permissions = if self.rule == ModeRule::Default { create } else { permissions };
        let withheld = if self.closes() { permissions & OTHERS } else { 0 };
        let later = match self.rule {
            ModeRule::Source => None,
            ModeRule::Default => Some(default & !self.umask),
            ModeRule::Masked => (withheld & !self.umask != 0).then_some(permissions & 0o777 & !self.umask),
        };
        NewMode { create: permissions & !withheld, later }
    }

    /// A directory whose source has these permission bits. One that only leads to an operand
    /// (`--parents`) is writable by others from the start where it will be.
    pub fn directory(&self, permissions: u32, is_leading: bool) -> NewDirectoryMode {
        let withheld = match is_leading {
            _ if self.closes() => OTHERS,
            true => 0,
            false => OTHERS_WRITE,
        };
        NewDirectoryMode {
            create: permissions & !withheld | OWNER,
            rule: self.rule,
            withheld: permissions & withheld & !self.umask,
            lent: OWNER & !permissions,
            default: 0o777 & !self.umask,
            is_leading,
        }
    }

    /// Whether an existing file has the very mode that one like it is created with: then it may be what a
    /// run left that was killed before it could set the last one.
    pub fn may_be_unfinished(&self, new: &NewMode, existing: &Stat) -> bool {
        existing.permissions() == new.create & !self.umask
    }

    /// The mode that an existing directory is still to get, if it has the very mode that one like it has
    /// while it is filled.
    pub fn unfinished_directory(&self, new: &NewDirectoryMode, existing: &Stat) -> Option<u32> {
        let created = new.create & 0o777 & !self.umask;
        let now = existing.permissions();
        let last = new.last_mode(now & 0o7000 | created);
        ([created, created | OWNER].contains(&(now & 0o777)) && now != last).then_some(last)
    }
}

impl NewDirectoryMode {
    /// The mode to set in the end on a directory that mkdir(2) gave the mode `given`, and that has the
    /// mode `now`; `None` if that is it. It does not matter where the source's is copied.
    pub fn later(&self, given: u32, now: u32) -> Option<u32> {
        let last = self.last_mode(given);
        // An access control list of the directory above has to go, even if the mode is right.
        (self.rule == ModeRule::Default || last != now).then_some(last)
    }

    fn last_mode(&self, given: u32) -> u32 {
        match self.rule {
            // The set-group-ID bit that it was given stays, and so does the sticky bit where cp leaves it.
            ModeRule::Default if self.is_leading || given & 0o2000 != 0 => given & 0o6000 | self.default,
            ModeRule::Default => given & 0o7000 | self.default,
            ModeRule::Source | ModeRule::Masked => given & !self.lent | self.withheld,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies() -> impl Iterator<Item = ModePolicy> {
        let rules = [ModeRule::Source, ModeRule::Default, ModeRule::Masked];
        let umasks = [0, 0o002, 0o022, 0o027, 0o077, 0o177, 0o777];
        rules.into_iter().flat_map(move |rule| {
            let owners = [false, true];
            owners.into_iter().flat_map(move |changes_owner| {
                umasks.into_iter().map(move |umask| ModePolicy { rule, changes_owner, umask })
            })
        })
    }

    fn source(kind: u32, permissions: u32) -> Stat {
        Stat { mode: kind | permissions, ..Stat::default() }
    }

    /// The mode in the end, without any default ACL.
    fn last(policy: &ModePolicy, new: NewMode, source: &Stat) -> u32 {
        match policy.rule {
            ModeRule::Source => source.permissions(),
            _ => new.later.unwrap_or(new.create & !policy.umask),
        }
    }

    #[test]
    fn nothing_is_more_open_than_in_the_end() {
        for policy in policies() {
            for permissions in 0..=0o7777 {
                let file = source(0o100_000, permissions);
                let fifo = source(0o010_000, permissions);
                for (new, from) in [
                    (policy.file(&file), &file),
                    (policy.closed_file(&file), &file),
                    (policy.special(&fifo), &fifo),
                ] {
                    let more = new.create & !policy.umask & !last(&policy, new, from) & OTHERS;
                    assert_eq!(more, 0, "{policy:?} {permissions:o} {new:?}");
                    let later = policy.closes() && new.create & (OTHERS | 0o7000) != 0;
                    assert!(!later, "{policy:?} {permissions:o} {new:?} is not closed");
                }
                for is_leading in [false, true] {
                    let new = policy.directory(permissions, is_leading);
                    let given = new.create & !policy.umask | OWNER;
                    let last = if policy.rule == ModeRule::Source { permissions } else { new.last_mode(given) };
                    assert_eq!(given & !last & OTHERS, 0, "{policy:?} {permissions:o} {new:?}");
                    assert!(!policy.closes() || given & 0o777 == OWNER);
                    assert!(policy.rule == ModeRule::Source || new.last_mode(last) == last);
                }
            }
        }
    }

    #[test]
    fn without_wishes_modes_are_what_the_umask_leaves() {
        let policy = ModePolicy { rule: ModeRule::Masked, changes_owner: false, umask: 0o022 };
        assert_eq!(policy.file(&source(0o100_000, 0o4775)), NewMode { create: 0o775, later: None });
        let owned = ModePolicy { changes_owner: true, ..policy };
        assert_eq!(owned.file(&source(0o100_000, 0o4775)), NewMode { create: 0o700, later: Some(0o755) });
        assert_eq!(owned.file(&source(0o100_000, 0o620)), NewMode { create: 0o600, later: None });
        let new = ModePolicy { umask: 0, ..policy }.directory(0o077, false);
        assert_eq!((new.create, new.later(0o755, 0o755)), (0o755, Some(0o077)));
    }

    #[test]
    fn no_mode_is_the_default_of_the_kind() {
        let policy = ModePolicy { rule: ModeRule::Default, changes_owner: false, umask: 0o022 };
        assert_eq!(policy.file(&source(0o100_000, 0o4700)), NewMode { create: 0o600, later: Some(0o644) });
        assert_eq!(policy.special(&source(0o140_000, 0)), NewMode { create: 0o600, later: Some(0o755) });
        let new = policy.directory(0o1700, false);
        assert_eq!((new.create, new.later(0o1700, 0o1700)), (0o1700, Some(0o1755)));
        assert_eq!(new.later(0o3700, 0o3700), Some(0o2755));
        assert_eq!(policy.directory(0o1700, true).later(0o1700, 0o1700), Some(0o755));
    }
}

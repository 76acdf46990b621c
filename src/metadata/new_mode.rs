//! The mode of a new file, directory, fifo, socket or device: the one that it is created with, and the final one
//! that it gets when its owner and attributes are set. No other module computes either.
//!
//! Two rules hold for every kind. A new name never grants more than in the end. A name that is going to get
//! another owner, mode or access control list is open to its owner alone until then. The final modes are those of
//! GNU cp.

use crate::sys::{Kind, Stat};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeRule {
    /// The source's, with its access control list (`-p`).
    Source,
    /// The default of its kind, reduced by the umask (`--no-preserve=mode`).
    Default,
    /// The source's permission bits, reduced by the umask or by a default access control list.
    Masked,
}

/// The options that determine the mode of every new name of a copy.
#[derive(Clone, Copy, Debug)]
pub struct ModePolicy {
    pub rule: ModeRule,
    pub changes_owner: bool,
    pub umask: u32,
}

/// The mode of a new file, fifo, socket or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewMode {
    /// The mode for open(2) or mknod(2), which reduce it by the umask or the directory's default ACL.
    pub create: u32,
    /// The mode to set once owner and attributes are set. `None` if the file is created with it, or gets the
    /// source's mode together with its access control list.
    pub final_mode: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewDirectoryMode {
    /// The mode for mkdir(2). It always lets the owner fill the directory.
    pub create: u32,
    rule: ModeRule,
    /// Bits that are set only at the end.
    withheld: u32,
    /// Bits of the owner that are cleared at the end.
    lent: u32,
    /// The final mode under [`ModeRule::Default`].
    default: u32,
    /// Whether the directory only leads to an operand (`--parents`).
    is_leading: bool,
}

const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
const OWNER: u32 = 0o700;

impl ModePolicy {
    /// Returns whether others have no rights on a new name until its attributes are set.
    fn closes(&self) -> bool {
        self.changes_owner || self.rule != ModeRule::Masked
    }

    pub fn file(&self, source: &Stat) -> NewMode {
        self.new_mode(source.permissions() & 0o777, 0o666)
    }

    /// Returns the mode of a regular file that was created with mode 0600.
    pub fn closed_file(&self, source: &Stat) -> NewMode {
        let final_mode = match self.rule {
            ModeRule::Source => None,
            ModeRule::Default => Some(0o666 & !self.umask),
            ModeRule::Masked => Some(source.permissions() & 0o777 & !self.umask),
        };
        NewMode { create: 0o600, final_mode }
    }

    pub fn special(&self, source: &Stat) -> NewMode {
        let bits = if self.closes() { 0o777 } else { 0o7777 };
        let default = if source.kind() == Kind::Socket { 0o777 } else { 0o666 };
        self.new_mode(source.permissions() & bits, default)
    }

    fn new_mode(&self, permissions: u32, default: u32) -> NewMode {
        let withheld = if self.closes() { permissions & OTHERS } else { 0 };
        let final_mode = match self.rule {
            ModeRule::Source => None,
            ModeRule::Default => Some(default & !self.umask),
            ModeRule::Masked => (withheld & !self.umask != 0).then_some(permissions & 0o777 & !self.umask),
        };
        NewMode { create: permissions & !withheld, final_mode }
    }

    /// Returns the mode of a directory whose source has these permission bits. A leading directory
    /// (`--parents`) gets the write bits of others from the start; any other directory gets them at the end.
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

    /// Returns whether an existing file has exactly the mode that `new` is created with. Then it may be a
    /// leftover of a run that was killed before it set the final mode.
    pub fn may_be_unfinished(&self, new: &NewMode, existing: &Stat) -> bool {
        existing.permissions() == new.create & !self.umask
    }

    /// Returns the final mode of an existing directory that has exactly the mode of `new` while it is filled: a
    /// run that was killed may not have set it.
    pub fn unfinished_directory(&self, new: &NewDirectoryMode, existing: &Stat) -> Option<u32> {
        let created = new.create & 0o777 & !self.umask;
        let now = existing.permissions();
        let last = new.last_mode(now & 0o7000 | created);
        ([created, created | OWNER].contains(&(now & 0o777)) && now != last).then_some(last)
    }
}

impl NewDirectoryMode {
    /// Returns the mode to set at the end on a directory that mkdir(2) created with mode `given` and whose mode
    /// is `now`, or `None` if that is right already. Not used where the source's mode is copied.
    pub fn final_mode(&self, given: u32, now: u32) -> Option<u32> {
        let last = self.last_mode(given);
        // Under this rule a call is needed even if the mode is right: an inherited access control list must be
        // removed.
        (self.rule == ModeRule::Default || last != now).then_some(last)
    }

    /// Returns whether the owner has permissions only until the directory is complete.
    pub fn lends(&self) -> bool {
        self.lent != 0
    }

    fn last_mode(&self, given: u32) -> u32 {
        match self.rule {
            // An inherited set-group-ID bit stays, and the sticky bit stays where cp keeps it.
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

    /// Returns the final mode, without any default ACL.
    fn last(policy: &ModePolicy, new: NewMode, source: &Stat) -> u32 {
        match policy.rule {
            ModeRule::Source => source.permissions(),
            _ => new.final_mode.unwrap_or(new.create & !policy.umask),
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
        assert_eq!(policy.file(&source(0o100_000, 0o4775)), NewMode { create: 0o775, final_mode: None });
        let owned = ModePolicy { changes_owner: true, ..policy };
        assert_eq!(owned.file(&source(0o100_000, 0o4775)), NewMode { create: 0o700, final_mode: Some(0o755) });
        assert_eq!(owned.file(&source(0o100_000, 0o620)), NewMode { create: 0o600, final_mode: None });
        let new = ModePolicy { umask: 0, ..policy }.directory(0o077, false);
        assert_eq!((new.create, new.final_mode(0o755, 0o755)), (0o755, Some(0o077)));
    }

    #[test]
    fn no_mode_is_the_default_of_the_kind() {
        let policy = ModePolicy { rule: ModeRule::Default, changes_owner: false, umask: 0o022 };
        assert_eq!(policy.file(&source(0o100_000, 0o4700)), NewMode { create: 0o700, final_mode: Some(0o644) });
        assert_eq!(policy.special(&source(0o140_000, 0)), NewMode { create: 0, final_mode: Some(0o755) });
        let new = policy.directory(0o1700, false);
        assert_eq!((new.create, new.final_mode(0o1700, 0o1700)), (0o1700, Some(0o1755)));
        assert_eq!(new.final_mode(0o3700, 0o3700), Some(0o2755));
        assert_eq!(policy.directory(0o1700, true).final_mode(0o1700, 0o1700), Some(0o755));
    }
}

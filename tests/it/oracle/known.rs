//! The known differences between zcp and GNU cp: intended ones, and those of an old cp.

use super::{Case, Run};
use crate::snapshot::Node;

/// A known difference.
pub(crate) struct Known {
    /// The reason.
    pub(crate) why: &'static str,
    /// Whether this is the difference between the two runs. Asked only if they differ; such a case is skipped.
    pub(crate) shows: fn(&Case, cp: &Run, zcp: &Run) -> bool,
}

/// Whether the trees differ, but no longer after this change to each name.
fn differ_only(cp: &Run, zcp: &Run, change: fn(&mut Node)) -> bool {
    let changed = |run: &Run| run.snapshot.clone().without(change);
    cp.snapshot != zcp.snapshot && changed(cp) == changed(zcp)
}

fn forget_time_of_directory(node: &mut Node) {
    if node.mode & 0o170_000 == 0o040_000 {
        node.mtime = None;
    }
}

/// Whether the mode of the source is not kept.
fn drops_mode(case: &Case) -> bool {
    let dropped = case.flags.iter().filter_map(|flag| flag.strip_prefix("--no-preserve="));
    dropped.flat_map(|words| words.split(',')).any(|word| matches!(word, "mode" | "all"))
}

/// Whether the run has made a backup of a symbolic link and put a directory in its place.
fn has_replaced_link(run: &Run) -> bool {
    let is_kind = |node: &Node, kind| node.mode & 0o170_000 == kind;
    let names = || run.snapshot.0.iter();
    names().filter(|(_, node)| is_kind(node, 0o120_000)).any(|(backup, _)| {
        names().filter(|(_, node)| is_kind(node, 0o040_000)).any(|(name, _)| {
            name != backup
                && name.parent() == backup.parent()
                && backup.as_os_str().as_encoded_bytes().starts_with(name.as_os_str().as_encoded_bytes())
        })
    })
}

/// Whether cp fails to make a name that exists, or that zcp finds it may not look at.
fn later_is_new(cp: &Run, zcp: &Run) -> bool {
    cp.says("File exists") || (cp.says("cannot create") && zcp.says("cannot stat"))
}

/// Intended differences from GNU cp 9.10. docs/cp.md lists them too.
pub(crate) const INTENDED: &[Known] = &[
    Known {
        why: "cp copies a directory into itself through a link until the path is too long; zcp ends when it meets \
              what it made",
        shows: |_, cp, zcp| {
            let cannot_go_on = cp.says("cannot create directory") && cp.says("Permission denied");
            let endless = cp.says("File name too long") || cp.status.is_none() || cannot_go_on;
            endless && (zcp.says("into itself") || zcp.says("cannot copy cyclic"))
        },
    },
    Known {
        why: "how much is copied before a directory turns out to be copied into itself through a followed link depends \
              on the order of the entries",
        shows: |case, cp, zcp| {
            let notices = |run: &Run| run.says("into itself") || run.says("cannot copy cyclic");
            case.follows_links() && notices(cp) && notices(zcp)
        },
    },
    Known {
        why: "with --parents cp leaves out a file that was named before by another path, although it would land \
              elsewhere",
        shows: |case, cp, zcp| {
            let warnings = |run: &Run| run.errors.iter().filter(|line| line.contains("more than once")).count();
            case.has("--parents") && warnings(cp) > warnings(zcp)
        },
    },
    Known {
        why: "if a leading directory of --parents is missing, cp leaves those before it with a mode between 0700 and \
              the source's, zcp with 0700; if the mode is not kept but the owner is, cp leaves 0700 or a mixture of \
              both modes, zcp the default mode",
        shows: |case, cp, zcp| {
            let mut like_cp = zcp.snapshot.clone();
            for (name, node) in &mut like_cp.0 {
                let Some(theirs) = cp.snapshot.0.get(name).map(|node| node.mode) else { continue };
                match node.mode {
                    0o040_700 => node.mode |= theirs & 0o077,
                    0o040_000..=0o040_777 if drops_mode(case) => node.mode = node.mode & !0o777 | theirs & 0o777,
                    _ => {}
                }
            }
            case.has("--parents")
                && zcp.says("failed to get attributes of")
                && cp.snapshot != zcp.snapshot
                && cp.snapshot == like_cp
        },
    },
    Known {
        why: "a leading directory of --parents that is copied into itself has another mode while it is filled, perhaps \
              with its sticky bit",
        shows: |case, cp, zcp| {
            let notice = |run: &Run| run.says("into itself");
            let same_but_modes = differ_only(cp, zcp, |node| {
                if node.mode & 0o170_000 == 0o040_000 {
                    node.mode &= !0o7077;
                }
            });
            case.has("--parents") && notice(cp) && notice(zcp) && same_but_modes
        },
    },
    Known {
        why: "with --parents -b cp makes a backup of its first copy if a file is named again in another spelling",
        shows: |case, cp, zcp| {
            let refuses = |run: &Run| run.says("will not overwrite just-created");
            case.has("--parents") && case.has_backup() && refuses(zcp) && !refuses(cp)
        },
    },
    Known {
        why: "after --parents has made a directory, cp takes all later operands for new",
        shows: |case, cp, zcp| case.has("--parents") && case.operands.len() > 2 && later_is_new(cp, zcp),
    },
    Known {
        why: "cp 9.10 refuses the links to directories that --keep-directory-symlink is to keep, or makes backups of \
              them",
        shows: |case, cp, zcp| {
            let words = "cannot overwrite non-directory";
            let refusals = |run: &Run| run.errors.iter().filter(|line| line.contains(words)).count();
            let replaces = case.has_backup() && cp.snapshot != zcp.snapshot;
            case.has("--keep-directory-symlink") && (refusals(cp) > refusals(zcp) || replaces)
        },
    },
    Known {
        why: "where a copy replaces a link that an operand's path leads through, zcp goes on in the directory that \
              was named, cp where the path leads by then",
        shows: |case, cp, zcp| {
            let is_replaced =
                case.replaces_link_on_the_way(zcp) || (case.operands.len() > 2 && has_replaced_link(cp));
            case.has_backup() && is_replaced
        },
    },
    Known {
        why: "with -s cp gives the link that it makes the extended attributes of the file, or fails to",
        shows: |case, cp, zcp| {
            let makes_links = case.flags.iter().any(|flag| !flag.starts_with("--") && flag.contains('s'));
            let fails = |run: &Run| run.says("setting attribute");
            let only_attributes = differ_only(cp, zcp, |node| {
                if node.mode & 0o170_000 == 0o120_000 {
                    node.xattrs.clear();
                }
            });
            (makes_links || case.has("--symbolic-link")) && (fails(cp) && !fails(zcp) || only_attributes)
        },
    },
    Known {
        why: "where -b replaces a link by a directory that a followed link of the source then leads to, cp copies from \
              the new directory; zcp ends, as the link led to the directory that it is filling",
        shows: |case, cp, zcp| {
            let ends = zcp.says("into itself") && !cp.says("into itself");
            case.has_backup() && ends && case.replaces_link_by_directory(cp)
        },
    },
    Known {
        why: "cp leaves the access control list that a file inherits or has, although its mode is kept or withheld",
        shows: |case, cp, zcp| {
            fn forget_list(node: &mut Node) {
                node.xattrs.retain(|name, _| !name.to_bytes().starts_with(b"system.posix_acl_"));
                node.mode &= !0o070;
            }
            // A backup that is renamed back gives its directory a new time as well.
            let forget_list_and_time = |node: &mut Node| {
                forget_list(node);
                forget_time_of_directory(node);
            };
            let differ = differ_only(cp, zcp, forget_list)
                || (case.has_backup() && differ_only(cp, zcp, forget_list_and_time));
            case.has_list() && differ
        },
    },
    Known {
        why: "with --no-preserve=mode cp keeps set-ID and sticky bits of fifos, which mean nothing",
        shows: |case, cp, zcp| {
            drops_mode(case)
                && differ_only(cp, zcp, |node| {
                    if node.mode & 0o170_000 == 0o010_000 {
                        node.mode &= !0o7000;
                    }
                })
        },
    },
    Known {
        why: "with -u cp links a name that was met twice to itself, which gives its directory a new time, or fails",
        shows: |case, cp, zcp| {
            let same = differ_only(cp, zcp, forget_time_of_directory);
            case.operands.len() > 2 && case.has_update() && (same || cp.says("cannot create hard link"))
        },
    },
    Known {
        why: "cp makes backups of files that it then cannot replace, and renames them back, which gives their \
              directory a new time",
        shows: |case, cp, zcp| {
            case.has_backup() && zcp.errors == cp.errors && differ_only(cp, zcp, forget_time_of_directory)
        },
    },
    Known {
        why: "cp fails to make a backup of a file before it finds that its source is a link that cannot be followed",
        shows: |case, cp, zcp| {
            case.has_backup() && cp.says("cannot backup") && zcp.says("cannot copy cyclic symbolic link")
        },
    },
    Known {
        why: "cp fails to make a hard link to a copy that it has just renamed for a backup",
        shows: |case, cp, zcp| {
            let fails = |run: &Run| run.says("cannot create hard link");
            case.has_backup() && case.operands.len() > 2 && fails(cp) && !fails(zcp)
        },
    },
    Known {
        why: "zcp recognises a file that an operand's path leads to through a link",
        shows: |case, cp, zcp| {
            let count = |run: &Run| run.errors.iter().filter(|line| line.contains("are the same file")).count();
            count(zcp) > count(cp) && case.leads_through_link()
        },
    },
];

/// Differences between cp 9.1 and the newest cp.
pub(crate) const OLD: &[Known] = &[
    Known {
        why: "until 9.2 a backup in another directory could land in the working directory (its bug)",
        shows: |case, cp, zcp| case.has_backup() && cp.snapshot != zcp.snapshot && cp.has_backup_astray(zcp),
    },
    Known {
        why: "9.1 looks at a symbolic link to the directory instead of the directory itself, so it copies into \
              itself until the path is too long, or says so in other words, or removes the source",
        shows: |_, cp, zcp| {
            cp.says("File name too long")
                || cp.status.is_none() && zcp.says("into itself")
                || cp.says("will not create hard link") && zcp.says("into itself")
                || cp.says("cannot open") && zcp.says("are the same file")
        },
    },
    Known {
        why: "9.1 refuses to put a directory in the place of a file, or a file in that of a directory, before -b could \
              make a backup",
        shows: |case, cp, zcp| {
            let is_refusal = |line: &&String| line.contains("cannot overwrite ") && line.contains("directory");
            let refusals = |run: &Run| run.errors.iter().filter(is_refusal).count();
            case.has_backup() && refusals(cp) > refusals(zcp)
        },
    },
    Known {
        why: "9.1 garbles a name that holds a quote and ends in an escape",
        shows: |_, cp, _| {
            let garbled = |line: &String| line.contains(r"'\''") && line.contains(r"'$'\");
            cp.errors.iter().chain(&cp.lines).any(garbled)
        },
    },
];

/// Removes the second line of `--debug`, which only zcp prints, and the times of fifos that were written into:
/// whether a pipe gets a new time depends on the system call.
pub(crate) fn without_our_own(cp: &mut Run, zcp: &mut Run) {
    zcp.lines.retain(|line| !line.starts_with("  strategies: "));
    for (name, theirs) in &mut cp.snapshot.0 {
        if let Some(ours) = zcp.snapshot.0.get_mut(name)
            && [theirs.mode, ours.mode].iter().all(|mode| mode & 0o170_000 == 0o010_000)
            && (theirs.mtime.is_none() || ours.mtime.is_none())
        {
            (theirs.mtime, ours.mtime) = (None, None);
        }
    }
}

/// Turns what the older cp prints or does into what the newest prints or does.
pub(crate) fn modernise(cp: &mut Run, zcp: &mut Run) {
    // 9.2: a declined `-i` is a failure.
    if cp.status == Some(0) && zcp.status == Some(1) && cp.errors.iter().any(|line| line.ends_with('?')) {
        cp.status = Some(1);
    }
    for line in &mut zcp.errors {
        // 9.3: the message names the second file.
        if let Some(end) =
            line.find(" with non-directory ").filter(|_| line.contains("cannot overwrite directory"))
        {
            line.truncate(end + " with non-directory".len());
        }
        // 9.5: the message has different words.
        if line.contains("--backup is mutually exclusive") {
            *line = "cp: options --backup and --no-clobber are mutually exclusive".into();
        }
    }
    // 9.2: cp calls chmod, which also clears bits that the source does not have.
    for (name, theirs) in &mut cp.snapshot.0 {
        if let Some(ours) = zcp.snapshot.0.get(name)
            && (theirs.mode ^ ours.mode) & !0o7000 == 0
            && theirs.mode & ours.mode == ours.mode
        {
            theirs.mode = ours.mode;
        }
    }
}

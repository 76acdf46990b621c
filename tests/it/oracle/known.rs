//! Where zcp differs from GNU cp, and why: what is intended, and what an old cp does differently.

use super::{Case, Run};

/// One difference: when it shows, and what becomes of the comparison.
pub(crate) struct Known {
    /// Why.
    pub(crate) why: &'static str,
    /// Whether it shows here. Such a case is passed over.
    pub(crate) shows: fn(&Case, cp: &Run, zcp: &Run) -> bool,
}

/// What zcp does otherwise than the newest cp. docs/cp.md says the same.
pub(crate) const INTENDED: &[Known] = &[];

/// What cp 9.1 does otherwise than the newest one.
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
        why: "after --parents has made a directory, cp takes all later operands for new",
        shows: |case, cp, _| case.has("--parents") && case.operands.len() > 2 && cp.says("File exists"),
    },
    Known {
        why: "9.1 garbles a name that holds a quote and ends in an escape",
        shows: |_, cp, _| {
            let garbled = |line: &String| line.contains(r"'\''") && line.contains(r"'$'\");
            cp.errors.iter().chain(&cp.lines).any(garbled)
        },
    },
];

/// Takes out what only zcp says: the second line of `--debug`.
pub(crate) fn without_our_own(zcp: &mut Run) {
    zcp.lines.retain(|line| !line.starts_with("  path: "));
}

/// What a newer cp says or does where the older one said or did something else.
pub(crate) fn modernise(cp: &mut Run, zcp: &mut Run) {
    // 9.2: a declined -i is a failure.
    if cp.status == Some(0) && zcp.status == Some(1) && cp.errors.iter().any(|line| line.ends_with('?')) {
        cp.status = Some(1);
    }
    for line in &mut zcp.errors {
        // 9.3: the second name is new.
        if let Some(end) =
            line.find(" with non-directory ").filter(|_| line.contains("cannot overwrite directory"))
        {
            line.truncate(end + " with non-directory".len());
        }
        // 9.5: other words.
        if line.contains("--backup is mutually exclusive") {
            *line = "cp: options --backup and --no-clobber are mutually exclusive".into();
        }
    }
    // 9.2: chmod is called, and so bits that the source does not have go as well.
    for (name, theirs) in &mut cp.snapshot.0 {
        if let Some(ours) = zcp.snapshot.0.get(name)
            && (theirs.mode ^ ours.mode) & !0o7000 == 0
            && theirs.mode & ours.mode == ours.mode
        {
            theirs.mode = ours.mode;
        }
    }
}

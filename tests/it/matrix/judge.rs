//! The possible results of a copy whose calls fail: the rule of the matrix.

use super::stage::{Fault, Site, Stage};
use crate::snapshot::{Node, Snapshot};
use std::path::Path;
use std::process::Output;

/// A cell that was run.
pub(super) struct Case<'a> {
    pub(super) stage: &'a Stage,
    pub(super) site: &'a Site,
    pub(super) fault: &'a Fault,
    /// The file that the call was made on, if there was exactly one call.
    pub(super) file: Option<String>,
    pub(super) output: &'a Output,
    pub(super) log: &'a str,
    /// The name of the copy.
    pub(super) dst: &'a str,
    pub(super) copy: &'a Snapshot,
}

/// The result in one word or, as an error, the rule that was broken.
pub(super) fn judge(case: &Case<'_>) -> Result<String, String> {
    let errors = String::from_utf8_lossy(&case.output.stderr).into_owned();
    let wrong = |law: &str| Err(format!("{law}\n{errors}"));
    if !case.log.contains("(INJECTED)") {
        return wrong("nothing was sabotaged");
    }
    if errors.contains("panicked") {
        return wrong("panics");
    }
    // A message about an inode excuses all its names.
    let twins = |path: &Path| {
        let nodes = &case.stage.source.0;
        let first = nodes[path].links.clone();
        nodes.iter().filter(move |(_, node)| first.is_some() && node.links == first).map(|(name, _)| name)
    };
    let named = |path: &Path| case.is_named(&errors, path) || twins(path).any(|path| case.is_named(&errors, path));
    match case.output.status.code() {
        Some(0) => match case.difference(|_| false) {
            None => Ok("copied".into()),
            Some(difference) => wrong(&format!("exit status 0, but {difference}")),
        },
        Some(1) => match (case.is_said(&errors), case.difference(named)) {
            (false, _) => wrong("exit status 1, but nothing says what failed, on what and why"),
            (true, Some(difference)) => wrong(&format!("unsaid: {difference}")),
            (true, None) => Ok(format!("failed: {}", errors.lines().next().unwrap_or_default())),
        },
        _ => wrong(&format!("{}", case.output.status)),
    }
}

impl Case<'_> {
    /// Whether a line of stderr has an operation, the path and the reason.
    fn is_said(&self, errors: &str) -> bool {
        errors.lines().any(|line| {
            let Some(said) = line.strip_prefix("zcp: ") else { return false };
            let operation = said.split('\'').next().unwrap_or_default();
            let of_file = match &self.file {
                Some(file) => said.contains(&format!("/{file}'")),
                None => said.contains("'src") || said.contains(&format!("'{}", self.dst)),
            };
            let reason = self.fault.errno.is_none_or(|errno| said.ends_with(&format!(": {}", words(errno))));
            operation.trim().len() > 5 && of_file && reason
        })
    }

    /// Whether stderr names a path or a directory above it. A message about an attribute concerns that path
    /// alone.
    fn is_named(&self, errors: &str, path: &Path) -> bool {
        errors.lines().any(|line| {
            let said = line.strip_prefix("zcp: ").unwrap_or(line);
            let alone = ["preserving", "failed to preserve", "clearing", "setting", "getting", "listing"];
            let alone = alone.iter().any(|words| said.starts_with(words));
            let mut paths = path.ancestors().take(if alone { 1 } else { usize::MAX });
            paths.any(|path| {
                ["src", self.dst].iter().any(|root| {
                    let full = Path::new(root).join(path);
                    said.contains(&format!("'{}'", full.to_str().unwrap().trim_end_matches('/')))
                })
            })
        })
    }

    /// A path that differs from the source and is not excused.
    fn difference(&self, excused: impl Fn(&Path) -> bool) -> Option<String> {
        let failed = self.output.status.code() == Some(1);
        for (path, node) in &self.stage.source.0 {
            let kept = |node: Node| self.kept(node, failed);
            let (here, there) = (kept(node.clone()), self.copy.0.get(path).cloned().map(kept));
            if there.as_ref() != Some(&here) && !excused(path) {
                return Some(format!("{path:?} differs:\n- {here:?}\n+ {there:?}"));
            }
        }
        let source = &self.stage.source.0;
        let is_kept = |path: &Path| self.stage.setting.occupied && path.to_str().unwrap().ends_with('~');
        let left = self.copy.0.keys().find(|path| !source.contains_key(*path) && !is_kept(path));
        left.map(|path| format!("{path:?} is left behind"))
    }

    /// The attributes of a node that must equal the source's.
    fn kept(&self, mut node: Node, failed: bool) -> Node {
        node.spans.clear();
        if self.stage.setting.full {
            // Without utimensat(2), times are kept to the microsecond.
            if self.site.call == "utimensat" && self.fault.errno == Some("ENOSYS") {
                node.mtime = node.mtime.map(|(sec, nsec)| (sec, nsec / 1000 * 1000));
            }
            let of_xattr = self.site.call.contains("xattr");
            // These errors say that the file system supports no attributes, and zcp must believe them.
            if of_xattr && matches!(self.fault.errno, Some("EOPNOTSUPP" | "ENOSYS")) {
                node.xattrs.clear();
                node.mode &= !0o070;
            }
            // With `-a`, attributes are preserved if the file system and the permissions allow it. An access
            // control list belongs to the mode.
            let is_refused = matches!(self.fault.errno, Some("EPERM" | "EACCES"));
            if of_xattr && is_refused && !self.stage.setting.args.contains(&"--preserve=xattr") {
                node.xattrs.retain(|key, _| key.to_bytes().starts_with(b"system."));
            }
            if failed {
                node.links = None;
            }
            // No file that waited for the failed sync gets its times, whether its own data was lost or not.
            if String::from_utf8_lossy(&self.output.stderr).contains("cannot sync the file system of ") {
                node.mtime = None;
            }
            return node;
        }
        let mode = node.mode;
        let mut plain = Node { mode, rdev: node.rdev, ..Node::default() };
        (plain.target, plain.bytes) = (node.target, node.bytes);
        plain
    }
}

/// The C library's text for an errno.
fn words(errno: &str) -> &'static str {
    match errno {
        "ENOSYS" => "Function not implemented",
        "EXDEV" => "Invalid cross-device link",
        "EINVAL" => "Invalid argument",
        "EOPNOTSUPP" => "Operation not supported",
        "EPERM" => "Operation not permitted",
        "EACCES" => "Permission denied",
        "EIO" => "Input/output error",
        "ENOSPC" => "No space left on device",
        "EDQUOT" => "Disk quota exceeded",
        "ENOMEM" => "Cannot allocate memory",
        "EINTR" => "Interrupted system call",
        "EAGAIN" => "Resource temporarily unavailable",
        "ETXTBSY" => "Text file busy",
        "EFBIG" => "File too large",
        "EMFILE" => "Too many open files",
        "ESTALE" => "Stale file handle",
        "EBADF" => "Bad file descriptor",
        "ENXIO" => "No such device or address",
        other => panic!("no words for {other}"),
    }
}

//! The open directories from the roots down to the current one, in the source and in the destination, for
//! paths that come in the order of a walk.
//!
//! Missing destination directories are made; another process may make them first. Several processes may use a
//! directory at once, so none counts as new, and only `--finish` completes directories.

use super::Job;
use super::facts::DirFacts;
use super::lists::ROOT;
use crate::context::{Context, DirFd};
use crate::dir::{AttributeScope, Dir, Finish, Hold};
use crate::error::{Failure, Operation};
use crate::metadata::{Handle, xattr};
use crate::options::Dereference;
use crate::path;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Stat, proc};
use crate::walk::directory::{Opened, WantedDirectory};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The open directories down to the current one.
#[derive(Clone)]
pub(super) struct Branch<'j> {
    ctx: &'j Arc<Context>,
    root: Hold,
    below: Vec<(OsString, Hold)>,
}

impl<'j> Branch<'j> {
    /// Opens the roots and checks that they are those of the plan. Only `--finish` gives `facts`.
    pub(super) fn new(job: &'j Job, facts: Option<&DirFacts>) -> Result<Branch<'j>, Failure> {
        let (ctx, source, destination) = (&job.ctx, &job.manifest.source, &job.manifest.destination);
        let here = job.manifest.machine == proc::machine();
        let above = Dir::operands(DirFd::Cwd, OsString::new());
        let root = job.retry(|| {
            let ((src, stat), (dst, dst_stat)) = (source.open(here)?, destination.open(here)?);
            let opened = Opened::existing(dst, dst_stat, Follow::Yes);
            let names = (&*source.path, &*destination.path);
            Ok(enter(ctx, &above, names, (src, &stat, Follow::Yes), opened, facts))
        })?;
        Ok(Branch { ctx, root, below: Vec::new() })
    }

    /// Enters the directory that contains a path; returns it and the name in it.
    pub(super) fn parent_of<'p>(&mut self, path: &'p OsStr) -> Result<(&Hold, &'p OsStr), Failure> {
        let (parent, name) = path::split(path);
        Ok((self.enter(parent, None)?, name))
    }

    /// Enters a directory. With `facts`, the directory gets its attributes when it is left.
    pub(super) fn enter(&mut self, path: &OsStr, facts: Option<&DirFacts>) -> Result<&Hold, Failure> {
        let parts = || {
            path.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != ROOT.as_bytes())
        };
        let common =
            self.below.iter().zip(parts()).take_while(|((name, _), part)| name.as_bytes() == *part).count();
        self.below.truncate(common);
        for part in parts().skip(common) {
            let name = OsStr::from_bytes(part);
            let dir = self.ctx.run.stale_retry.operation(|| self.go_down(name, facts), Failure::reason)?;
            self.below.push((name.to_owned(), dir));
        }
        Ok(self.here())
    }

    /// Leaves all open directories without their attributes, because they are incomplete.
    pub(super) fn abandon(&self) {
        self.here().abandon();
    }

    fn here(&self) -> &Hold {
        self.below.last().map_or(&self.root, |(_, dir)| dir)
    }

    fn go_down(&self, name: &OsStr, facts: Option<&DirFacts>) -> Result<Hold, Failure> {
        let parent = self.here();
        let (source_path, path) = (|| parent.source_path(name), || parent.destination_path(name));
        let cannot_access = |errno| Failure::new(Operation::Access, source_path()).errno(errno);
        let fds = parent.fds(self.ctx).map_err(cannot_access)?;
        let follow_source = Follow::from(self.ctx.options.dereference == Dereference::Always);
        let src = at::open_dir(&fds.src, name, follow_source).map_err(cannot_access)?;
        let source = at::fstat(&src).map_err(cannot_access)?;
        let mode = self.ctx.mode_policy().directory(source.permissions(), false);
        let wanted = WantedDirectory { above: &fds.dst, name, mode, path: &path };
        let follow = Follow::from(self.ctx.options.keep_directory_symlink);
        let opened = match wanted.open(self.ctx, follow) {
            Err(failure) if matches!(failure.reason(), Some(Errno::NOENT | Errno::STALE)) => {
                match wanted.make(self.ctx, Operation::CreateDirectory) {
                    // Another process has just made it.
                    Err(failure) if failure.has_errno(Errno::EXIST) => wanted.open(self.ctx, follow),
                    made => made,
                }
            }
            opened => opened,
        };
        let opened = opened.map_err(|failure| match failure.reason() {
            Some(Errno::NOTDIR | Errno::LOOP) => {
                Failure::new(Operation::DirectoryOverOther, path()).and(source_path())
            }
            _ => failure,
        })?;
        Ok(enter(self.ctx, parent, (name, name), (src, &source, follow_source), opened, facts))
    }
}

/// Returns the final mode of a directory that the job made, if the source's mode is not copied.
fn final_mode(ctx: &Context, facts: &DirFacts, opened: &Opened) -> Option<u32> {
    let now = opened.stat?.permissions();
    // The job gave the owner rights that the umask takes away, unless a default ACL replaces the umask.
    let umask = ctx.run.process.umask & 0o700;
    let is_masked = umask != 0 && !xattr::has_default_acl(Handle::Open(opened.fd.as_fd()));
    let given = if is_masked { now & !umask } else { now };
    ctx.mode_policy().directory(facts.mode, false).final_mode(given, now)
}

fn enter(
    ctx: &Arc<Context>,
    parent: &Arc<Dir>,
    names: (&OsStr, &OsStr),
    (src, source, follow): (OwnedFd, &Stat, Follow),
    opened: Opened,
    facts: Option<&DirFacts>,
) -> Hold {
    let finish = match facts {
        None => Finish { source: *source, made: false, scope: AttributeScope::Nothing, final_mode: None },
        Some(facts) => {
            if source.mtime != facts.mtime {
                ctx.events.fail(Failure::new(Operation::ChangedSincePlan, parent.source_path(names.0)));
            }
            // The plan changed the current access time by reading the directory.
            let source = Stat { atime: facts.atime, ..*source };
            let final_mode = if facts.existed { None } else { final_mode(ctx, facts, &opened) };
            Finish { source, made: !facts.existed, scope: AttributeScope::Full, final_mode }
        }
    };
    opened.enter(ctx, parent, names, (src, follow), finish)
}

//! The open directories from the roots down to the current one, in the source and in the destination, for
//! paths that come in the order of a walk.
//!
//! Missing destination directories are made; another process may make them first. Several processes may use a
//! directory at once, so none counts as new, and only `--finish` completes directories.

use super::facts::DirFacts;
use super::lists::ROOT;
use super::manifest::Manifest;
use crate::backup;
use crate::context::Context;
use crate::dir::{Base, Dir, Extent, Fds, Finish, Hold, Place};
use crate::existing;
use crate::metadata::{self, Handle, xattr};
use crate::options::Dereference;
use crate::report::Failure;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Stat, proc};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The open directories down to the current one.
#[derive(Clone)]
pub(super) struct Branch<'c> {
    ctx: &'c Arc<Context>,
    root: Hold,
    below: Vec<(OsString, Hold)>,
}

impl<'c> Branch<'c> {
    /// Opens the roots and checks that they are those of the plan. Only `--finish` gives `facts`.
    pub(super) fn new(
        ctx: &'c Arc<Context>,
        manifest: &Manifest,
        facts: Option<&DirFacts>,
    ) -> Result<Branch<'c>, Failure> {
        let here = manifest.machine == proc::machine();
        let place = || Place {
            parent: Arc::clone(&Dir::operands(Base::Cwd, OsString::new())),
            name: manifest.source.path.clone(),
            new_name: manifest.destination.path.clone(),
            follow_source: Follow::Yes,
            follow_destination: Follow::Yes,
        };
        let open = || pair(ctx, place(), manifest.source.open(here)?, manifest.destination.open(here)?, facts);
        let root = ctx.stale_retry.operation(open, Failure::reason)?;
        Ok(Branch { ctx, root, below: Vec::new() })
    }

    /// Enters the directory that contains a path; returns it and the name in it.
    pub(super) fn parent_of<'p>(&mut self, path: &'p OsStr) -> Result<(&Hold, &'p OsStr), Failure> {
        let (parent, name) = backup::split(path);
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
            let dir = self.ctx.stale_retry.operation(|| self.go_down(name, facts), Failure::reason)?;
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
        let source_path = || parent.source_path(name);
        let cannot_access = |errno| Failure::new("cannot access {}", source_path()).errno(errno);
        let fds = self.ctx.stale_retry.call(|| parent.fds(self.ctx)).map_err(cannot_access)?;
        let follow_source = Follow::from(self.ctx.options.dereference == Dereference::Always);
        let src =
            self.ctx.stale_retry.call(|| at::open_dir(&fds.src, name, follow_source)).map_err(cannot_access)?;
        let source = at::fstat(&src).map_err(cannot_access)?;
        let (dst, follow_destination) = self.open_or_make(parent, &fds, name, &source)?;
        let place = Place {
            parent: Arc::clone(parent),
            name: name.to_owned(),
            new_name: name.to_owned(),
            follow_source,
            follow_destination,
        };
        pair(self.ctx, place, src, dst, facts)
    }

    /// Opens the destination directory and makes it if it is missing.
    fn open_or_make(
        &self,
        parent: &Arc<Dir>,
        fds: &Fds,
        name: &OsStr,
        source: &Stat,
    ) -> Result<(OwnedFd, Follow), Failure> {
        let path = || parent.destination_path(name);
        let follow = Follow::from(self.ctx.options.keep_directory_symlink);
        let opened = match at::open_dir(&fds.dst, name, follow) {
            Err(Errno::NOENT | Errno::STALE) => {
                let made = self.ctx.stale_retry.call(|| make(self.ctx, &fds.dst, name, source));
                match made.map_err(|errno| Failure::new("cannot create directory {}", path()).errno(errno))? {
                    Made::New(dst) => return Ok((dst, Follow::No)),
                    Made::Replaced => {
                        let words = "skipping directory {}, as it was replaced while being copied";
                        return Err(Failure::new(words, path()));
                    }
                    Made::Existed => self.ctx.stale_retry.call(|| at::open_dir(&fds.dst, name, follow)),
                }
            }
            answer => answer,
        };
        match opened {
            Ok(dst) => Ok((dst, follow)),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let words = "cannot overwrite non-directory {} with directory {}";
                Err(Failure::new(words, path()).and(parent.source_path(name)))
            }
            Err(errno) => Err(Failure::new("cannot access {}", path()).errno(errno)),
        }
    }
}

/// The result of making a directory.
pub(super) enum Made {
    /// A new directory, open.
    New(OwnedFd),
    /// A directory that existed, perhaps made by another process of the job.
    Existed,
    /// A directory of another user, put there after this process made its own.
    Replaced,
}

/// Makes a destination directory. Until `--finish`, its mode gives other users no more than the final mode
/// does, and gives the owner all rights.
pub(super) fn make(ctx: &Context, parent: impl AsFd, name: &OsStr, source: &Stat) -> Result<Made, Errno> {
    let new_mode = ctx.mode_policy().directory(source.permissions(), false);
    match at::mkdir(&parent, name, new_mode.create) {
        Err(Errno::EXIST) => return Ok(Made::Existed),
        answer => answer?,
    }
    let made = at::open_dir(&parent, name, Follow::No)?;
    let stat = at::fstat(&made)?;
    if existing::is_strange(ctx, &stat, &made) {
        return Ok(Made::Replaced);
    }
    if stat.permissions() & 0o700 != 0o700 {
        metadata::set_mode(Handle::Open(made.as_fd()), stat.permissions() | 0o700)?;
        // A directory that its owner could not read was opened with O_PATH.
        return at::open_dir(&made, OsStr::new("."), Follow::No).map(Made::New);
    }
    Ok(Made::New(made))
}

/// Returns the final mode of a directory that the job made, if the source's mode is not copied.
fn later_mode(ctx: &Context, facts: &DirFacts, made: &Stat, dst: &OwnedFd) -> Option<u32> {
    let now = made.permissions();
    // `make` gave the owner rights that the umask takes away, unless a default ACL replaces the umask.
    let umask = ctx.process.umask & 0o700;
    let is_masked = umask != 0 && !xattr::has_default_acl(Handle::Open(dst.as_fd()));
    let given = if is_masked { now & !umask } else { now };
    ctx.mode_policy().directory(facts.mode, false).later(given, now)
}

fn pair(
    ctx: &Arc<Context>,
    place: Place,
    src: OwnedFd,
    dst: OwnedFd,
    facts: Option<&DirFacts>,
) -> Result<Hold, Failure> {
    let source_path = place.parent.source_path(&place.name);
    let destination_path = place.parent.destination_path(&place.new_name);
    let stat = |fd: &OwnedFd, path: &OsStr| {
        at::fstat(fd).map_err(|errno| Failure::new("cannot stat {}", path).errno(errno))
    };
    let (source, made) = (stat(&src, &source_path)?, stat(&dst, &destination_path)?);
    let finish = match facts {
        None => Finish { source, made: false, extent: Extent::Nothing, mode: None },
        Some(facts) => {
            if source.mtime != facts.mtime {
                ctx.reporter.fail(Failure::new("{} has changed since the plan was made", &source_path));
            }
            // The plan changed the current access time by reading the directory.
            let source = Stat { atime: facts.atime, ..source };
            let mode = if facts.existed { None } else { later_mode(ctx, facts, &made, &dst) };
            Finish { source, made: !facts.existed, extent: Extent::Full, mode }
        }
    };
    let fds = Fds { src: Base::Open(src), dst: Base::Open(dst) };
    Ok(Dir::below(ctx, place, fds, Some(made.id()), finish))
}

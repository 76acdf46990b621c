//! Makes, opens and enters destination directories: the one way for trees, lists of names and parts of a job.

use crate::context::{Context, DirFd, Fds};
use crate::dir::{Dir, Finish, Hold, Place};
use crate::error::{Failure, Operation};
use crate::existing;
use crate::metadata::new_mode::NewDirectoryMode;
use crate::metadata::{self, Handle};
use crate::path::{self, without_slashes};
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Stat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// A destination directory, ready for its entries.
#[derive(Debug)]
pub(crate) struct Opened {
    pub fd: DirFd,
    pub(super) made: bool,
    /// Whether a symbolic link leads to it.
    follow: Follow,
    /// Its status; `None` if a dry run did not make it.
    pub stat: Option<Stat>,
    /// The final mode, if it differs from the current one.
    pub(super) final_mode: Option<u32>,
}

/// A directory to be made or opened: a name in another directory, and its path for messages.
#[derive(Clone, Copy)]
pub(crate) struct WantedDirectory<'t> {
    pub above: &'t DirFd,
    pub name: &'t OsStr,
    pub mode: NewDirectoryMode,
    pub path: &'t dyn Fn() -> OsString,
}

/// Returns whether mkdir(2) never makes a directory of this name, as in `--parents a/.` and `--parents a/b/..`. cp
/// reports that as an error too.
pub(super) fn always_exists(name: &OsStr) -> bool {
    matches!(path::split(name).1.as_bytes(), b"." | b"..")
}

impl WantedDirectory<'_> {
    fn cannot(&self, operation: Operation) -> impl Fn(Errno) -> Failure + Copy {
        move |errno| Failure::new(operation, (self.path)()).errno(errno)
    }

    /// Makes the directory with a mode that lets entries be created in it. A failure names `operation`. EEXIST if the
    /// name is taken.
    pub(crate) fn make(&self, ctx: &Context, operation: Operation) -> Result<Opened, Failure> {
        let (above, name) = (self.above, self.name);
        if ctx.options.dry_run {
            let answer = match at::stat(above, without_slashes(name), Follow::No) {
                Ok(_) => Err(Errno::EXIST), // a dangling link
                Err(_) if always_exists(name) => Err(Errno::EXIST),
                Err(_) => existing::may_make(above, name),
            };
            return answer.map(|()| Opened::absent()).map_err(self.cannot(operation));
        }
        at::mkdir(above, name, self.mode.create).map_err(self.cannot(operation))?;
        let cannot_stat = self.cannot(Operation::Stat);
        // A trailing slash would make open(2) follow a symbolic link despite O_NOFOLLOW.
        let mut dst = at::open_dir(above, without_slashes(name), Follow::No).map_err(cannot_stat)?;
        let stat = at::fstat(&dst).map_err(cannot_stat)?;
        if existing::is_replaced_by_other_user(&ctx.run.process, &stat, &dst) {
            return Err(Failure::new(Operation::ReplacedDirectory, (self.path)()));
        }
        let given = stat.permissions();
        // The umask can remove even the owner's permissions. An inherited set-group-ID bit that the process may not set
        // is lost with the first chmod(2). cp makes that call before entries can inherit the bit and the group.
        if given & 0o700 != 0o700 || self.mode.lends() && given & 0o2000 != 0 {
            metadata::set_mode(Handle::Open(dst.as_fd()), given | 0o700)
                .map_err(self.cannot(Operation::SetPermissions))?;
            // An unreadable directory was opened with O_PATH only.
            dst = at::open_dir(&dst, OsStr::new("."), Follow::No).map_err(cannot_stat)?;
        }
        let final_mode = self.mode.final_mode(given, given | 0o700);
        let stat = Stat { mode: stat.mode | 0o700, ..stat };
        Ok(Opened { made: true, final_mode, ..Opened::existing(dst, stat, Follow::No) })
    }

    pub(crate) fn open(&self, ctx: &Context, follow: Follow) -> Result<Opened, Failure> {
        let fd = at::open_dir(self.above, self.name, follow).map_err(self.cannot(Operation::Access))?;
        let stat = at::fstat(&fd).map_err(self.cannot(Operation::Stat))?;
        let unfinished = || ctx.mode_policy().unfinished_directory(&self.mode, &stat);
        let final_mode = if ctx.options.resume { unfinished() } else { None };
        Ok(Opened { final_mode, ..Opened::existing(fd, stat, follow) })
    }
}

impl Opened {
    /// Stands for a directory that a dry run would make.
    pub(super) fn absent() -> Opened {
        Opened { fd: DirFd::Absent, made: true, follow: Follow::No, stat: None, final_mode: None }
    }

    pub(crate) fn existing(fd: OwnedFd, stat: Stat, follow: Follow) -> Opened {
        Opened { fd: DirFd::Open(fd), made: false, follow, stat: Some(stat), final_mode: None }
    }

    pub(super) fn id(&self) -> Option<FileId> {
        self.stat.map(|stat| stat.id())
    }

    /// Enters this directory and its source, which is open, in their parents. `names` are those of the source and
    /// of the destination there.
    pub(crate) fn enter(
        self,
        ctx: &Arc<Context>,
        parent: &Arc<Dir>,
        names: (&OsStr, &OsStr),
        (src, follow_source): (OwnedFd, Follow),
        finish: Finish,
    ) -> Hold {
        let place = Place {
            parent: Arc::clone(parent),
            name: names.0.to_owned(),
            new_name: names.1.to_owned(),
            follow_source,
            follow_destination: self.follow,
        };
        let id = self.id();
        Dir::below(ctx, place, Fds { src: DirFd::Open(src), dst: self.fd }, id, finish)
    }
}

//! The part of a dry run that replaces copying: it counts, and predicts failures.
//!
//! Everything before this point is the same code: the walk, `existing` and `decision`. From here on nothing may
//! change: files are opened at most for reading, to see whether that works.

use super::special::cannot_make;
use super::{Placement, Source, Task, Worker};
use crate::context::DirFd;
use crate::decision::Existing;
use crate::error::Operation;
use crate::existing;
use crate::path::{self, without_slashes};
use crate::report::{Failure, lock};
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Kind, Stat, Time, io};
use crate::transfer::route::{Cloning, FsKind};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

impl Worker<'_> {
    /// Stands in for making a file that is not a link to the source.
    pub(super) fn dry_run(
        &mut self,
        task: &Task<'_>,
        source: &Source,
        placement: Placement,
    ) -> Result<(), Failure> {
        match source.stat.kind() {
            Kind::Symlink => {
                let over = self.ctx.options.force;
                self.foresee_name(task, over).map_err(task.cannot(Operation::CreateSymbolicLink))?;
                self.stats.symlinks += 1;
            }
            kind if kind == Kind::RegularFile || self.ctx.options.read_special => {
                self.foresee_file(task, source, placement)?;
                self.stats.files += 1;
                if kind == Kind::RegularFile && !self.ctx.options.attributes_only {
                    self.stats.bytes_logical += source.stat.size;
                }
            }
            Kind::Unknown => return Err(Failure::new(Operation::UnknownType, task.source_path())),
            kind => {
                self.foresee_name(task, false).map_err(task.cannot(cannot_make(kind)))?;
                self.stats.special += 1;
            }
        }
        Ok(())
    }

    fn foresee_file(&self, task: &Task<'_>, source: &Source, placement: Placement) -> Result<(), Failure> {
        let cannot_open = task.cannot_source(Operation::OpenSource);
        if self.source_taken.get() {
            return Err(cannot_open(Errno::NOENT));
        }
        if source.stat.kind() == Kind::Socket {
            return Err(cannot_open(Errno::NXIO));
        }
        let before = if let Placement::Overwrite(before, _) = &placement { Some(before) } else { None };
        self.check_can_verify(task, &source.stat, before)?;
        if source.stat.is_regular()
            && source.fd.is_none()
            && let Err(errno) = at::open_read(&task.fds.src, &task.entry.name, task.follow, false)
        {
            return Err(cannot_open(errno));
        }
        self.foresee_clone(task, &source.stat)?;
        let (dst, name) = (&task.fds.dst, task.entry.destination());
        let cannot = task.cannot(Operation::CreateFile);
        if matches!(placement, Placement::Overwrite(..)) {
            let may = at::may_write(dst, name);
            let refusal = match before.map(Stat::kind) {
                Some(Kind::Socket) => Err(Errno::NXIO),
                Some(Kind::Directory) => Err(Errno::ISDIR),
                _ => Ok(()),
            };
            match may.and(refusal) {
                Ok(()) => return Ok(()),
                Err(_) if self.ctx.options.force => return self.unlink(task),
                Err(errno) => return Err(cannot(errno)),
            }
        }
        if name.as_bytes().ends_with(b"/") {
            return Err(cannot(Errno::NOTDIR));
        }
        match self.foresee_name(task, false) {
            Err(Errno::EXIST) if !self.ctx.options.write_through_dangling => {
                Err(Failure::new(Operation::ThroughDanglingLink, task.destination_path()))
            }
            Ok(_) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(cannot(errno)),
        }
    }

    /// With `--reflink=always`, fails if blocks surely cannot be shared.
    fn foresee_clone(&self, task: &Task<'_>, source: &Stat) -> Result<(), Failure> {
        let options = &self.ctx.options;
        if options.limits.cloning != Cloning::Require || options.attributes_only {
            return Ok(());
        }
        let Some(directory) = self.existing_directory(task) else { return Ok(()) };
        let device = at::fstat(&directory).map(|stat| stat.dev);
        let errno = match io::fs_magic(&directory).map(FsKind::from_magic) {
            _ if source.is_regular() && device.is_ok_and(|device| device != source.dev) => Errno::XDEV,
            Ok(FsKind::Ext4 | FsKind::Tmpfs) => Errno::OPNOTSUPP,
            _ => return Ok(()),
        };
        let failure = Failure::new(Operation::Clone, task.destination_path()).and(task.source_path());
        Err(failure.errno(errno))
    }

    /// Opens the directory of the destination, or the nearest existing directory above it.
    fn existing_directory(&self, task: &Task<'_>) -> Option<OwnedFd> {
        let (mut dir, mut name) = (task.dir, path::parent(task.entry.destination()));
        loop {
            let fds = dir.fds(self.ctx).ok()?;
            if !matches!(fds.dst, DirFd::Absent) {
                return at::open_dir(&fds.dst, name, Follow::Yes).ok();
            }
            (dir, name) = (dir.parent()?, OsStr::new("."));
        }
    }

    /// Checks whether the destination's name could be made. Returns true if that would replace a file.
    pub(super) fn foresee_name(&self, task: &Task<'_>, over_existing: bool) -> Result<bool, Errno> {
        let (dst, name) = (&task.fds.dst, task.entry.destination());
        let met = at::stat(dst, without_slashes(name), Follow::No).ok().filter(|_| !self.cleared.get());
        let there = met.is_some();
        if over_existing && met.is_some_and(|met| met.is_dir()) {
            return Err(Errno::ISDIR);
        }
        if there && !over_existing {
            return Err(Errno::EXIST);
        }
        if name.as_bytes().ends_with(b"/") {
            return Err(Errno::NOENT); // a trailing slash means a directory
        }
        existing::may_make(dst, name).map(|()| there)
    }

    /// Returns the file that an earlier operand would have made here if this were not a dry run.
    pub(super) fn pretended(&self, task: &Task<'_>) -> Option<Existing> {
        let is_taken = self.ctx.options.dry_run
            && self.shared.operands_collide
            && task.entry.operand
            && lock(&self.ctx.run.operand_copies)
                .contains_key(&task.dir.destination_name(task.entry.destination()));
        let stat = Stat { mode: 0o100_644, mtime: Time { sec: i64::MAX, nsec: 0 }, nlink: 1, ..Stat::default() };
        is_taken.then_some(Existing {
            stat,
            link: stat,
            source_link: stat,
            dereference: self.ctx.options.dereference,
            writable: true,
            just_made: true,
            ..Existing::default()
        })
    }
}

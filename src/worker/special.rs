//! Copies symbolic links, fifos, sockets and devices, and makes links for -s and -l.

use super::complete::Completion;
use super::{Placement, Task, Worker};
use crate::context::DirFd;
use crate::error::{Failure, Operation};
use crate::metadata::Handle;
use crate::metadata::apply::AttributePair;
use crate::metadata::new_mode::NewMode;
use crate::options::IfExists;
use crate::path;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Kind, Stat};
use crate::temporary;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

impl Worker<'_> {
    /// Copies a symbolic link as a link. Returns false if another process made the name first and its file
    /// stays.
    pub(super) fn copy_symlink(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        placement: Placement,
    ) -> Result<bool, Failure> {
        let target = at::read_link(&task.fds.src, &task.entry.name)
            .map_err(|errno| task.source_failure(Operation::ReadLink, errno))?;
        let failure = || Failure::new(Operation::CreateSymbolicLink, task.destination_path());
        let made = self.take_name(task, source, placement, |worker, placement| {
            worker.symlink(task, &target, placement).map_err(|errno| failure().of_taking(errno))?;
            worker.apply_special(task, source, None)
        })?;
        self.stats.symlinks += u64::from(made.is_some());
        Ok(made.is_some())
    }

    /// Sets the attributes of a symbolic link or a special file. `final_mode` is the mode that it still lacks.
    pub(super) fn apply_special(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        final_mode: Option<u32>,
    ) -> Result<(), Failure> {
        let keep = &self.ctx.options.preserve;
        let is_link = source.is_symlink();
        let has_mode = !is_link && (keep.mode || final_mode.is_some() || keep.timestamps);
        let entry = Handle::Entry(task.fds.dst.as_fd(), task.entry.destination());
        if !(has_mode || keep.ownership || keep.xattr || keep.context) {
            return self.complete_special(task, entry, source, Completion::LacksTimes);
        }
        let made = self.open_path(task, source)?;
        let to = Handle::Path(made.as_fd(), Some((task.fds.dst.as_fd(), task.entry.destination())));
        let from = Handle::Entry(task.fds.src.as_fd(), &task.entry.name);
        let pair = AttributePair { from, to, source, before: None, final_mode, is_leading: false };
        let all_kept = self.apply(task, &pair);
        self.complete_special(task, if is_link { entry } else { to }, source, Completion::of(all_kept))
    }

    /// Opens a new link or special file with O_PATH, so that its attributes go to no other file: in another
    /// user's directory the name may have been replaced.
    fn open_path(&self, task: &Task<'_>, source: &Stat) -> Result<OwnedFd, Failure> {
        let is_device = matches!(source.kind(), Kind::CharacterDevice | Kind::BlockDevice);
        let rdev = if is_device { source.rdev } else { 0 };
        let cannot_stat = task.cannot(Operation::Stat);
        let made = match at::open_path(&task.fds.dst, task.entry.destination()) {
            Err(Errno::NOENT) => return Err(cannot_stat(Errno::NOENT).overtaken()),
            answer => answer.map_err(cannot_stat)?,
        };
        let stat = at::fstat(&made).map_err(cannot_stat)?;
        if (stat.kind(), stat.rdev) != (source.kind(), rdev) {
            return Err(Failure::replaced(task.destination_path()));
        }
        Ok(made)
    }

    /// `-s`: makes a symbolic link to the source as it was typed. Returns false if another process made the
    /// name first and its file stays.
    pub(super) fn link_symbolically(
        &mut self,
        task: &Task<'_>,
        stat: &Stat,
        placement: Placement,
    ) -> Result<bool, Failure> {
        let source = task.source_path();
        let destination = task.destination_path();
        // A relative name means another file in another directory.
        let elsewhere = matches!(task.fds.dst, DirFd::Absent) || !is_in_working_directory(&destination);
        if elsewhere && !source.as_bytes().starts_with(b"/") {
            return Err(Failure::new(Operation::LinkRelatively, destination));
        }
        let failure = || Failure::new(Operation::CreateSymbolicLinkTo, &destination).and(&source);
        let made = self.take_name(task, stat, placement, |worker, placement| {
            worker.symlink(task, &source, placement).map_err(|errno| failure().of_taking(errno))?;
            let keeps_times = worker.ctx.options.preserve.timestamps && !worker.ctx.options.dry_run;
            let to = Handle::Entry(task.fds.dst.as_fd(), task.entry.destination());
            if keeps_times { worker.complete_special(task, to, stat, Completion::LacksTimes) } else { Ok(()) }
        })?;
        self.stats.symlinks += u64::from(made.is_some());
        Ok(made.is_some())
    }

    /// `-l`: makes a hard link to the source. Returns false if another process made the name first and its file
    /// stays.
    pub(super) fn link_to_source(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        placement: Placement,
    ) -> Result<bool, Failure> {
        let made = self.take_name(task, source, placement, |worker, placement| {
            let options = &worker.ctx.options;
            let over = options.force || options.if_exists == IfExists::Ask || placement == Placement::Replace;
            let old = (task.fds.src.as_fd(), task.entry.name.as_os_str());
            let failure = || task.cannot_link(task.source_path());
            worker.link(task, old, task.follow, over).map_err(|errno| failure().of_taking(errno))
        })?;
        Ok(made.is_some())
    }

    fn symlink(&self, task: &Task<'_>, target: &OsStr, placement: Placement) -> Result<(), Errno> {
        let over_existing = self.ctx.options.force || placement == Placement::Replace;
        if self.ctx.options.dry_run {
            return self.foresee_name(task, over_existing).map(|_| ());
        }
        make_or_replace(task, over_existing, |dst, name| at::symlink(target, dst, name)).map(|_| ())
    }

    /// Makes the task's destination a hard link to `old` in `old_dir`. Returns true if that replaced another
    /// file.
    pub(super) fn link(
        &mut self,
        task: &Task<'_>,
        (old_dir, old): (BorrowedFd<'_>, &OsStr),
        follow: Follow,
        over_existing: bool,
    ) -> Result<bool, Errno> {
        let replaced = if self.ctx.options.dry_run {
            if self.source_taken.get() {
                return Err(Errno::NOENT);
            }
            self.foresee_name(task, over_existing)?
        } else {
            make_or_replace(task, over_existing, |dst, name| at::link(old_dir, old, dst, name, follow))?
        };
        self.stats.hard_links += 1;
        Ok(replaced)
    }

    /// Makes a fifo, a socket or a device node. Returns false if another process made the name first and its
    /// file stays.
    pub(super) fn copy_special(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        placement: Placement,
    ) -> Result<bool, Failure> {
        let NewMode { create, final_mode } = self.ctx.mode_policy().special(source);
        let (kind, rdev) = (source.kind(), source.rdev);
        let failure = || Failure::new(cannot_make(kind), task.destination_path());
        let made = self.take_name(task, source, placement, |worker, placement| {
            let make = |dst: BorrowedFd<'_>, name: &OsStr| at::make_node(dst, name, kind, create, rdev);
            make_or_replace(task, placement == Placement::Replace, make)
                .map_err(|errno| failure().of_taking(errno))?;
            worker.apply_special(task, source, final_mode)
        })?;
        self.stats.special += u64::from(made.is_some());
        Ok(made.is_some())
    }
}

/// Makes a file under the task's name, replacing an existing one if `over_existing`. Returns true if it
/// replaced one.
fn make_or_replace(
    task: &Task<'_>,
    over_existing: bool,
    make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    let (dst, name) = (task.fds.dst.as_fd(), task.entry.destination());
    match make(dst, name) {
        Err(Errno::EXIST) if over_existing => {
            temporary::replace(dst, name, |temporary| make(dst, temporary)).map(|()| true)
        }
        answer => answer.map(|()| false),
    }
}

pub(super) fn cannot_make(kind: Kind) -> Operation {
    if kind == Kind::Fifo { Operation::CreateFifo } else { Operation::CreateSpecialFile }
}

fn is_in_working_directory(destination: &OsStr) -> bool {
    let (parent, _) = path::split(destination);
    if parent.is_empty() {
        return true;
    }
    let id = |name: &OsStr| at::stat(at::CWD, name, Follow::Yes).map(|stat| stat.id());
    // If the directory does not exist, symlink(2) reports that better.
    !matches!((id(parent), id(OsStr::new("."))), (Ok(there), Ok(here)) if there != here)
}

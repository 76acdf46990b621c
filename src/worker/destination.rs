//! The destination of a regular file: how it is opened and how it gets its name.
//!
//! By default a file has its name from the start, as with cp. With `--atomic`, [`Worker::commit`] names it
//! after its content and attributes are complete. Until then a new file has no name at all (O_TMPFILE) or, if
//! the file system does not support that, a temporary name. A file that replaces another has a temporary name
//! and is renamed over it.

use super::{Placement, Task, Worker};
use crate::error::{Failure, Operation};
use crate::existing::{self, TRIES};
use crate::metadata::new_mode::NewMode;
use crate::metadata::{self, Handle, xattr};
use crate::path;
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Stat, inherited, io};
use crate::temporary;
use crate::transfer::verify::WrittenCopy;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The destination, open for writing. If it is dropped without its final name, its temporary name is removed.
pub(super) struct Destination<'t> {
    pub(super) fd: OwnedFd,
    /// The attributes of the existing file, which the copy keeps; `None` for a new file.
    pub(super) before: Option<Stat>,
    /// The mode that a new file still has to get, unless it gets the source's.
    pub(super) final_mode: Option<u32>,
    pub(super) written: WrittenFile,
    /// Whether the existing file keeps its content for now, because an interrupted run may have left it.
    pub(super) continued: bool,
    /// Dropped after `fd`, because some servers remove a name only when the file has been closed.
    name: NameState<'t>,
}

/// The part of the destination that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrittenFile {
    Whole,
    /// The whole file. The file offset moves along, because other processes share the descriptor.
    WholeForOthers,
    /// From the current file offset on.
    Onwards,
}

impl<'t> Destination<'t> {
    fn new(fd: OwnedFd, before: Option<Stat>, final_mode: Option<u32>, name: NameState<'t>) -> Destination<'t> {
        Destination { fd, before, final_mode, written: WrittenFile::Whole, continued: false, name }
    }

    /// Wraps a new file that already has its name.
    pub(super) fn created(fd: OwnedFd, final_mode: Option<u32>) -> Destination<'t> {
        Destination::new(fd, None, final_mode, NameState::Final)
    }

    /// Wraps a file under a temporary name whose ranges are all written. It keeps that name until it is renamed,
    /// because the next try can name it.
    pub(super) fn joined(
        task: &Task<'t>,
        fd: OwnedFd,
        before: Option<Stat>,
        final_mode: Option<u32>,
        temporary: OsString,
    ) -> Destination<'t> {
        let name = TemporaryName::new(FinalName::of(task), temporary, true);
        name.is_removed.set(false);
        Destination::new(fd, before, final_mode, NameState::Temporary(name))
    }

    /// Wraps a complete existing file, whose attributes are still to be set.
    pub(super) fn existing(fd: OwnedFd, stat: Stat) -> Destination<'t> {
        Destination::new(fd, Some(stat), None, NameState::Final)
    }

    /// Returns whether it is an existing regular file that is overwritten from its start.
    pub(super) fn is_overwritten_file(&self) -> bool {
        let regular = self.before.is_some_and(|before| before.is_regular());
        regular && !self.is_unseen() && self.written == WrittenFile::Whole
    }

    /// Returns whether a symbolic link under the task's name leads to the final name.
    fn is_behind_link(&self) -> bool {
        match &self.name {
            NameState::Final => false,
            NameState::None(place) => place.elsewhere.is_some(),
            NameState::Temporary(temporary) => temporary.place.elsewhere.is_some(),
        }
    }

    pub(super) fn written_copy<'a>(&'a self, task: &'a Task<'_>) -> WrittenCopy<'a> {
        let name = match &self.name {
            NameState::Final => Some((task.fds.dst.as_fd(), task.entry.destination())),
            NameState::None(_) => None,
            NameState::Temporary(temporary) => Some((temporary.place.get().0, temporary.name.as_os_str())),
        };
        WrittenCopy { fd: self.fd.as_fd(), name, slot: None }
    }

    /// Returns whether it does not have its final name yet.
    pub(super) fn is_unseen(&self) -> bool {
        !matches!(self.name, NameState::Final)
    }
}

enum NameState<'t> {
    Final,
    /// No name. It gets this one at the end.
    None(FinalName<'t>),
    /// A temporary name. It gets the final name at the end.
    Temporary(TemporaryName<'t>),
}

/// A temporary name of a file, in the directory of its final name.
struct TemporaryName<'t> {
    place: FinalName<'t>,
    name: OsString,
    /// Whether it is renamed over an existing file.
    replaces: bool,
    /// Whether a drop removes it.
    is_removed: Cell<bool>,
}

impl<'t> TemporaryName<'t> {
    fn new(place: FinalName<'t>, name: OsString, replaces: bool) -> TemporaryName<'t> {
        TemporaryName { place, name, replaces, is_removed: Cell::new(true) }
    }
}

impl Drop for TemporaryName<'_> {
    fn drop(&mut self) {
        if self.is_removed.get() {
            let _ = unlink_closed(self.place.get().0, &self.name);
        }
    }
}

/// The final name of a file, with the directory that it is relative to: the directory of the task, unless a
/// symbolic link leads elsewhere.
struct FinalName<'t> {
    home: (BorrowedFd<'t>, &'t OsStr),
    elsewhere: Option<(OwnedFd, OsString)>,
}

impl<'t> FinalName<'t> {
    fn of(task: &Task<'t>) -> FinalName<'t> {
        FinalName { home: (task.fds.dst.as_fd(), task.entry.destination()), elsewhere: None }
    }

    fn get(&self) -> (BorrowedFd<'_>, &OsStr) {
        self.elsewhere.as_ref().map_or(self.home, |(dir, name)| (dir.as_fd(), name))
    }

    /// Resolves a symbolic link under the task's name. The name that it leads to may be free.
    fn behind_link(task: &Task<'t>) -> Result<FinalName<'t>, Errno> {
        let mut place = FinalName::of(task);
        for _ in 0..at::MOST_LINKS {
            let (dir, name) = place.get();
            let target = match at::read_link(dir, name) {
                Ok(target) => target,
                Err(Errno::INVAL | Errno::NOENT) => return Ok(place),
                Err(errno) => return Err(errno),
            };
            // A relative target is relative to the directory of the link.
            let target = if target.as_bytes().starts_with(b"/") { target } else { path::beside(name, &target) };
            let parent = at::open_dir(dir, path::parent(&target), Follow::Yes)?;
            place.elsewhere = Some((parent, path::split(&target).1.to_owned()));
        }
        Err(Errno::LOOP)
    }
}

impl Worker<'_> {
    /// Opens the destination. By default an existing file keeps its inode; `-f` unlinks a file that cannot be
    /// opened.
    pub(super) fn open_destination<'t>(
        &self,
        task: &Task<'t>,
        source: &Stat,
        placement: Placement,
    ) -> Result<Destination<'t>, Failure> {
        let options = &self.ctx.options;
        if let Placement::Overwrite(before, follow) = placement
            && let Some(answer) = self.open_stream_to_write(task, &before, follow)
        {
            let fd = answer.map_err(task.cannot(Operation::CreateFile))?;
            let fresh = before.is_regular() && inherited::is_fresh(&fd).unwrap_or(false);
            let written = if fresh { WrittenFile::WholeForOthers } else { WrittenFile::Onwards };
            return Ok(Destination { written, ..Destination::new(fd, Some(before), None, NameState::Final) });
        }
        match placement {
            Placement::Overwrite(met, follow)
                if options.atomic && met.is_regular() && !options.attributes_only =>
            {
                self.replace_destination(task, met, follow)
            }
            Placement::Overwrite(met, follow) => match self.open_existing(task, &met, follow)? {
                Some(fd) => self.clear(task, fd, &met),
                None => self.create_destination(task, source),
            },
            Placement::Create => self.create_destination(task, source),
            Placement::Replace => {
                let NewMode { create, final_mode } = self.ctx.mode_policy().file(source);
                let (dir, name) = (task.fds.dst.as_fd(), task.entry.destination());
                let (temporary, fd) =
                    temporary::create(dir, name, create).map_err(task.cannot(Operation::CreateFile))?;
                let name = TemporaryName::new(FinalName::of(task), temporary, true);
                Ok(Destination::new(fd, None, final_mode, NameState::Temporary(name)))
            }
        }
    }

    fn open_existing(&self, task: &Task<'_>, met: &Stat, follow: Follow) -> Result<Option<OwnedFd>, Failure> {
        match at::open_write(&task.fds.dst, task.entry.destination(), follow, !met.is_regular()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno)
                if met.is_regular() && !self.ctx.options.attributes_only && may_need_truncating_open(errno) =>
            {
                match self.open_emptied(task, met, follow) {
                    Ok(fd) => Ok(Some(fd)),
                    Err(_) if self.ctx.options.force => self.unlink(task).map(|()| None),
                    Err(_) => Err(cannot(task, errno)),
                }
            }
            Err(_) if self.ctx.options.force => self.unlink(task).map(|()| None),
            Err(errno) => Err(cannot(task, errno)),
        }
    }

    /// Opens the existing file with O_TRUNC, if it cannot be written in any other way (many FUSE servers). It
    /// is opened with O_PATH first, so that no other file is truncated.
    fn open_emptied(&self, task: &Task<'_>, met: &Stat, follow: Follow) -> Result<OwnedFd, Errno> {
        let name = task.entry.destination();
        let by_path = match follow {
            Follow::No => at::open_path(&task.fds.dst, name)?,
            Follow::Yes => at::open_path_followed(&task.fds.dst, name)?,
        };
        if at::fstat(&by_path)?.id() != met.id() {
            return Err(Errno::STALE);
        }
        at::open_emptied(by_path.as_fd())
    }

    /// Truncates the existing file, if it is still the one that the decision was about.
    fn clear<'t>(&self, task: &Task<'t>, fd: OwnedFd, met: &Stat) -> Result<Destination<'t>, Failure> {
        let before = at::fstat(&fd).map_err(task.cannot(Operation::CreateFile))?;
        if !at::is_still(&fd, &before, met) {
            return Err(Failure::new(Operation::ReplacedDestination, task.destination_path()).overtaken());
        }
        let continued = self.continues == Some(before.dev) && before.is_regular() && before.size > 0;
        let keeps_content = continued || !before.is_regular() || self.ctx.options.attributes_only;
        let fd =
            if keeps_content { fd } else { empty(fd, before.size).map_err(task.cannot(Operation::CreateFile))? };
        Ok(Destination { continued, ..Destination::new(fd, Some(before), None, NameState::Final) })
    }

    fn create_destination<'t>(&self, task: &Task<'t>, source: &Stat) -> Result<Destination<'t>, Failure> {
        let NewMode { create, final_mode } = self.ctx.mode_policy().file(source);
        let (fd, name) = if self.ctx.options.atomic {
            self.create_unseen(task, create)?
        } else {
            (self.create(task, create)?, NameState::Final)
        };
        Ok(Destination::new(fd, None, final_mode, name))
    }

    fn create(&self, task: &Task<'_>, mode: u32) -> Result<OwnedFd, Failure> {
        let (dst, name) = (&task.fds.dst, task.entry.destination());
        match at::create(dst, name, mode, true) {
            Ok(fd) => Ok(fd),
            Err(Errno::EXIST) => {
                self.check_dangling(task)?;
                at::create(dst, name, mode, false).map_err(|errno| cannot(task, errno))
            }
            // The name ends in a slash, and there is no such directory.
            Err(Errno::ISDIR) if name.as_bytes().ends_with(b"/") => Err(cannot(task, Errno::NOTDIR)),
            Err(errno) => Err(cannot(task, errno)),
        }
    }

    /// Handles a name that exists after all. A dangling symbolic link is written through only in POSIX mode.
    fn check_dangling(&self, task: &Task<'_>) -> Result<(), Failure> {
        let (dst, name) = (&task.fds.dst, task.entry.destination());
        let link = at::stat(dst, name, Follow::No).ok().filter(Stat::is_symlink);
        let is_dangling = || at::stat(dst, name, Follow::Yes).is_err();
        let Some(link) = link.filter(|_| is_dangling()) else {
            return Err(cannot(task, Errno::EXIST).overtaken());
        };
        if !self.ctx.options.write_through_dangling
            || !existing::is_trusted(&self.ctx.run.process, dst, name, &link)
        {
            return Err(Failure::new(Operation::ThroughDanglingLink, task.destination_path()));
        }
        Ok(())
    }

    /// Makes a new file without its final name. The name is checked again when the file gets it. A dangling
    /// link is refused already now.
    fn create_unseen<'t>(&self, task: &Task<'t>, mode: u32) -> Result<(OwnedFd, NameState<'t>), Failure> {
        let mut place = FinalName::of(task);
        if !task.dir.fresh && at::stat(&task.fds.dst, task.entry.destination(), Follow::No).is_ok() {
            self.check_dangling(task)?;
            place = FinalName::behind_link(task).map_err(task.cannot(Operation::CreateFile))?;
        }
        let (dir, name) = place.get();
        if name.as_bytes().ends_with(b"/") {
            return Err(cannot(task, Errno::NOTDIR));
        }
        // Without /proc a file can only be read back by its name.
        let needs_name = self.ctx.options.verify && !at::has_proc();
        if !needs_name
            && !self.shared.nameless_refused.load(Ordering::Relaxed)
            && let Ok(fd) = at::create_nameless(dir, path::parent(name), mode)
        {
            return Ok((fd, NameState::None(place)));
        }
        let (temporary, fd) = temporary::create(dir, name, mode).map_err(task.cannot(Operation::CreateFile))?;
        Ok((fd, NameState::Temporary(TemporaryName::new(place, temporary, false))))
    }

    /// Makes a new file that will replace an existing one and takes over what overwriting would have kept:
    /// owner, mode and attributes. A file that could not be overwritten is not replaced either, except with
    /// `-f`.
    fn replace_destination<'t>(
        &self,
        task: &Task<'t>,
        before: Stat,
        follow: Follow,
    ) -> Result<Destination<'t>, Failure> {
        let failed = |errno| cannot(task, errno);
        let place = match follow {
            Follow::Yes => FinalName::behind_link(task).map_err(failed)?,
            Follow::No => FinalName::of(task),
        };
        let (dir, name) = place.get();
        if !self.ctx.options.force {
            at::may_write(dir, name).map_err(|errno| match errno {
                Errno::NOENT => cannot(task, errno).overtaken(),
                errno => failed(errno),
            })?;
        }
        let (temporary, fd) = temporary::create(dir, name, 0o600).map_err(failed)?;
        self.take_over(task, Handle::Entry(dir, name), &fd, &before);
        let name = NameState::Temporary(TemporaryName::new(place, temporary, true));
        let before = at::fstat(&fd).map_err(failed)?;
        Ok(Destination::new(fd, Some(before), None, name))
    }

    /// Gives a new file the attributes of the file that it replaces, as far as this process may. It leaves out
    /// those that the kernel removes from an overwritten file: capabilities, and set-ID bits unless root
    /// overwrites it.
    pub(super) fn take_over(&self, task: &Task<'_>, old: Handle<'_>, fd: &OwnedFd, before: &Stat) {
        let new = Handle::Open(fd.as_fd());
        let is_owner = |now: Stat| (now.uid, now.gid) == (before.uid, before.gid);
        let owned = at::fstat(fd).is_ok_and(is_owner) || metadata::set_owner(new, before, false) == Ok(true);
        let wanted = xattr::Wanted { all: true, context: true, without_capability: true };
        xattr::copy(old, new, wanted, |_, _| ());
        let keeps_set_id = owned && self.ctx.run.process.privileged;
        let mode = before.permissions() & if keeps_set_id { 0o7777 } else { 0o1777 };
        if let Err(error) = metadata::copy_mode(old, new, before.kind(), mode) {
            self.attribute_failed(task, error);
        }
    }

    /// Gives the file its name, and decides again if another process took the name. The content is not copied
    /// again: some sources can be read only once.
    pub(super) fn name_or_decide_again(
        &mut self,
        task: &Task<'_>,
        source: &Stat,
        destination: &Destination<'_>,
    ) -> Result<bool, Failure> {
        let mut over = false;
        for tries in 1.. {
            match self.name(destination, over) {
                Ok(()) => return Ok(true),
                Err(Errno::EXIST) if self.is_done_by_sibling(task, destination) => return Ok(false),
                Err(Errno::EXIST) if tries < TRIES && !destination.is_behind_link() => {
                    let failure = match self.check_dangling(task) {
                        Err(failure) if failure.is_overtaken() => failure,
                        Err(failure) => return Err(failure),
                        Ok(()) => return Err(cannot(task, Errno::EXIST)),
                    };
                    match self.decide_again(task, source, failure)? {
                        Some(placement) => over = placement != Placement::Create,
                        None => break,
                    }
                }
                Err(errno) => return Err(cannot(task, errno)),
            }
        }
        Ok(false)
    }

    /// Returns whether another process has made an equal file in the meantime.
    fn is_done_by_sibling(&self, task: &Task<'_>, destination: &Destination<'_>) -> bool {
        if !self.ctx.run.stale_retry.expects_siblings() {
            return false;
        }
        let theirs = at::stat(&task.fds.dst, task.entry.destination(), Follow::No);
        matches!((at::fstat(&destination.fd), theirs), (Ok(ours), Ok(theirs))
            if (ours.kind(), ours.size) == (theirs.kind(), theirs.size)
                && (ours.mtime == theirs.mtime || !self.ctx.options.preserve.timestamps))
    }

    /// Gives the file its final name, if it does not have it yet. `over` says whether to replace an existing
    /// file.
    fn name(&self, destination: &Destination<'_>, over: bool) -> Result<(), Errno> {
        match &destination.name {
            NameState::Final => Ok(()),
            NameState::None(place) => {
                let (dir, name) = place.get();
                let refused = |errno: &Errno| self.note_refused_name(*errno);
                if !over {
                    return at::name_nameless(&destination.fd, dir, name).inspect_err(refused);
                }
                // Locked while it has a temporary name: see `temporary`.
                let _ = io::lock(&destination.fd);
                temporary::replace(dir, name, |temporary| at::name_nameless(&destination.fd, dir, temporary))
                    .inspect_err(refused)
            }
            NameState::Temporary(temporary) => {
                let (dir, name) = temporary.place.get();
                match over || temporary.replaces {
                    true => at::rename(dir, &temporary.name, dir, name),
                    false => at::rename_to_free(dir, &temporary.name, name),
                }?;
                temporary.is_removed.set(false);
                Ok(())
            }
        }
    }

    /// Remembers that a nameless file could not be linked, so that temporary names are used instead.
    /// fs.protected_hardlinks (proc_sys_fs(5)) forbids it to root without CAP_FOWNER if the file now belongs to
    /// another user.
    fn note_refused_name(&self, errno: Errno) {
        let says_nothing_of_links =
            matches!(errno, Errno::EXIST | Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS);
        if !says_nothing_of_links {
            self.shared.nameless_refused.store(true, Ordering::Relaxed);
            self.nameless_in_vain.set(true);
        }
    }

    /// Removes a partly overwritten existing file.
    pub(super) fn discard_overwritten(&self, task: &Task<'_>, destination: Destination<'_>) -> bool {
        FinalName::behind_link(task).is_ok_and(|place| remove_if_same(place.get(), destination.fd).is_ok())
    }

    /// Removes a file that must not remain: one with a temporary name, or a new one under its final name.
    pub(super) fn discard(&self, task: &Task<'_>, destination: Destination<'_>) {
        let _ = match &destination.name {
            NameState::Temporary(temporary) => {
                temporary.is_removed.set(false);
                unlink_and_close(temporary.place.get().0, &temporary.name, destination.fd)
            }
            NameState::Final if destination.before.is_none() => {
                remove_if_same((task.fds.dst.as_fd(), task.entry.destination()), destination.fd)
            }
            NameState::Final | NameState::None(_) => Ok(()),
        };
    }
}

/// Truncates an open file. Returns the descriptor or a new one of that file. An empty file only gets a new
/// time, if possible.
fn empty(fd: OwnedFd, size: u64) -> Result<OwnedFd, Errno> {
    match io::truncate(&fd, 0) {
        Err(errno) if size > 0 && may_need_truncating_open(errno) => {
            let by_path = at::open_path_of(&fd)?;
            drop(fd); // some servers let one descriptor write at a time
            at::open_emptied(by_path.as_fd()).map_err(|_| errno)
        }
        Err(errno) if size > 0 => Err(errno),
        _ => Ok(fd),
    }
}

/// Returns whether a file may be truncated by O_TRUNC although opening it for writing, or ftruncate(2), failed
/// with this error.
fn may_need_truncating_open(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)
}

/// Removes the name of an open file, unless another process has given the name to another file.
fn remove_if_same((dir, name): (BorrowedFd<'_>, &OsStr), fd: OwnedFd) -> Result<(), Errno> {
    match at::stat(dir, name, Follow::No)?.id() == at::fstat(&fd)?.id() {
        true => unlink_and_close(dir, name, fd),
        false => Err(Errno::STALE),
    }
}

/// Removes the name of an open file. Some servers allow that only after the file is closed.
fn unlink_and_close(dir: BorrowedFd<'_>, name: &OsStr, fd: OwnedFd) -> Result<(), Errno> {
    match at::unlink(dir, name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(_) => {
            drop(fd);
            unlink_closed(dir, name)
        }
    }
}

/// Removes the name of a closed file. The kernel tells a FUSE server that a file was closed only after close(2) has
/// returned. Until then, a server that refuses to remove open files refuses this one.
fn unlink_closed(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    const WAITS: [u64; 6] = [1, 2, 4, 8, 16, 32];
    for wait in WAITS {
        match at::unlink(dir, name) {
            Err(Errno::BUSY | Errno::PERM) => std::thread::sleep(Duration::from_millis(wait)),
            answer => return answer,
        }
    }
    at::unlink(dir, name)
}

fn cannot(task: &Task<'_>, errno: Errno) -> Failure {
    task.cannot(Operation::CreateFile)(errno)
}

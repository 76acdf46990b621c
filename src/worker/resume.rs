//! `--resume`: leaves files alone that an earlier run completed.
//!
//! `decision` goes by stat(2) alone; the checks here take more system calls.

use super::complete::Completion;
use super::destination::Destination;
use super::{Placement, Source, Task, Worker};
use crate::decision::Existing;
use crate::error::{Failure, Operation};
use crate::metadata::Handle;
use crate::metadata::xattr::{self, Wanted};
use crate::path;
use crate::sys::at::{self, Follow};
use crate::sys::{Kind, Stat, io, proc};
use crate::transfer::ladder::FilePart;
use crate::transfer::route::FsKind;
use crate::transfer::{Outcome, Transfer};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

/// The least size in bytes of a file that is continued. Smaller files are copied again.
const CONTINUED: u64 = 256 << 20;

impl Worker<'_> {
    /// Returns the device number of the directory, if a later run can continue the file where this one stops.
    /// Such a file keeps the bytes of an earlier run. FUSE servers may not support writing a part of a file, and
    /// a clone takes no time.
    pub(super) fn continuing_device(&mut self, task: &Task<'_>, src: &OwnedFd, source: &Stat) -> Option<u64> {
        let options = &self.ctx.options;
        let is_wanted =
            options.resume && !options.atomic && !options.attributes_only && !options.limits.drop_cache;
        if !is_wanted || !source.is_regular() || source.size < CONTINUED {
            return None;
        }
        let directory = at::open_dir(&task.fds.dst, path::parent(task.entry.destination()), Follow::Yes).ok()?;
        let dev = at::fstat(&directory).ok()?.dev;
        let (src, dst) = ((source.dev, src.as_fd()), (dev, directory.as_fd()));
        let is_slow = !self.ladder.tries_clone(src, dst) && self.ladder.file_system(dst.0, dst.1) != FsKind::Fuse;
        is_slow.then_some(dev)
    }

    /// Returns whether an incomplete file stays when a signal ends the copy.
    pub(super) fn stays_to_be_continued(&self, source: &Stat, destination: &Destination) -> bool {
        self.continues.is_some() && source.size >= CONTINUED && !destination.is_unseen()
    }

    /// Copies the rest of an incomplete file: everything after the bytes that it has in common with its source.
    pub(super) fn continue_content(
        &mut self,
        task: &Task<'_>,
        transfer: &Transfer<'_>,
        destination: &Destination,
    ) -> Result<Outcome, Failure> {
        let copy = destination.written_copy(task);
        let meter = &self.meter;
        let passed = |bytes| meter.pass(bytes);
        let start = self.verifier.common_start(transfer.src, copy, &self.ctx.run.stop, passed)?;
        io::truncate(&destination.fd, start).map_err(Failure::writing)?;
        self.stats.bytes_kept += start;
        self.ladder.copy_part(transfer, FilePart::From(start), &mut self.stats.account)
    }

    /// Returns whether a destination that seems complete really is. Fails if the source cannot be opened to compare
    /// the content (`--verify`).
    pub(super) fn is_complete(
        &mut self,
        task: &Task<'_>,
        source: &Source,
        existing: &Existing,
    ) -> Result<bool, Failure> {
        if !self.ctx.run.may_be_complete(|| task.destination_path()) {
            return Ok(false);
        }
        let stat = &source.stat;
        let same_target = || {
            let from = at::read_link(&task.fds.src, &task.entry.name);
            from.is_ok() && from == at::read_link(&task.fds.dst, task.entry.destination())
        };
        Ok(match stat.kind() {
            Kind::Symlink => same_target(),
            Kind::RegularFile if self.ctx.options.verify => {
                self.has_content(task, source, Follow::from(existing.link.is_symlink()))?
            }
            _ => true,
        })
    }

    /// Returns whether a copy has all attributes that would be preserved, as far as this process could set them:
    /// times, owner, mode, access control lists, extended attributes.
    fn has_attributes(&self, task: &Task<'_>, source: &Source, existing: &Existing) -> bool {
        let keep = &self.ctx.options.preserve;
        let (stat, copy) = (&source.stat, &existing.stat);
        let is_owner = !keep.ownership || stat.uid == copy.uid || !self.ctx.run.process.privileged;
        let has_group = !keep.ownership || stat.gid == copy.gid || !proc::may_give_group(stat.gid);
        // A process that cannot give a file to its owner does not make it set-ID either.
        let bits = if keep.ownership && stat.uid != copy.uid { 0o777 } else { 0o7777 };
        let has_mode = !keep.mode || stat.is_symlink() || (stat.mode ^ copy.mode) & bits == 0;
        let has_times = stat.mtime == copy.mtime || existing.time_kept;
        has_times && is_owner && has_group && has_mode && self.has_lists(task, source, existing)
    }

    /// Returns whether the access control list and the extended attributes equal the source's.
    fn has_lists(&self, task: &Task<'_>, source: &Source, existing: &Existing) -> bool {
        let keep = &self.ctx.options.preserve;
        let wanted = keep.xattrs();
        if wanted == Wanted::default() && !keep.mode {
            return true;
        }
        if existing.link.id() != existing.stat.id() || (task.follow == Follow::Yes && source.fd.is_none()) {
            return false; // behind a link, so its name does not open it
        }
        let from = match &source.fd {
            Some(fd) => Handle::Open(fd.as_fd()),
            None => Handle::Entry(task.fds.src.as_fd(), &task.entry.name),
        };
        let copy = Handle::Entry(task.fds.dst.as_fd(), task.entry.destination());
        xattr::equal(from, copy, source.stat.kind(), wanted, keep.mode).unwrap_or(false)
    }

    /// Leaves the content of a complete file alone. Attributes may still be missing or may have changed at the
    /// source, and so may other names of the inode.
    pub(super) fn leave_complete(
        &mut self,
        task: &Task<'_>,
        source: Source,
        existing: &Existing,
    ) -> Result<(), Failure> {
        let names = self.tracked_names(task.entry, &source.stat);
        let follow = Follow::from(existing.link.is_symlink());
        let placement = Placement::Overwrite(existing.stat, follow);
        if !self.link_left_alone(task, &source.stat, names, placement)? {
            return Ok(());
        }
        self.stats.complete += 1;
        self.say_skipped(task);
        let has_metadata = self.has_attributes(task, &source, existing);
        // The run that completed it may not have synced it.
        let durable = !self.ctx.options.fsync;
        if (has_metadata && durable) || self.ctx.options.dry_run {
            return Ok(());
        }
        match source.stat.kind() {
            Kind::RegularFile => self.finish_file(task, source, existing, has_metadata),
            _ if has_metadata => Ok(()),
            _ => self.apply_special(task, &source.stat, None),
        }
    }

    /// Sets the missing attributes of a file with complete content, and syncs it.
    fn finish_file(
        &mut self,
        task: &Task<'_>,
        source: Source,
        existing: &Existing,
        has_metadata: bool,
    ) -> Result<(), Failure> {
        let cannot = task.cannot(Operation::Access);
        let follow = Follow::from(existing.link.is_symlink());
        let copy = at::open_read(&task.fds.dst, task.entry.destination(), follow, false).map_err(cannot)?;
        let found = at::fstat(&copy).map_err(cannot)?;
        if !at::is_still(&copy, &found, &existing.stat) {
            return Err(Failure::replaced(task.destination_path()));
        }
        let (src, stat) = self.open_source(task, source)?;
        let destination = Destination::existing(copy, found);
        if !has_metadata && self.ctx.options.preserve.xattr {
            withdraw_capability(&src, &destination);
        }
        let state = if has_metadata {
            Completion::Complete
        } else {
            Completion::of(self.apply_metadata(task, &src, &stat, &destination))
        };
        self.commit(task, destination, &stat, state).map(drop)
    }
}

/// Removes the capability that writing the content would have removed, if the source has none.
fn withdraw_capability(src: &OwnedFd, destination: &Destination<'_>) {
    let name = OsStr::new(xattr::CAPABILITY);
    if xattr::get(Handle::Open(src.as_fd()), name) == Ok(None) {
        let _ = xattr::remove(Handle::Open(destination.fd.as_fd()), name);
    }
}

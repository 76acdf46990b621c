//! Copies ranges of a large file that several processes share.
//!
//! The copy has a temporary name until all ranges are written. The process that joins it then gives it the
//! source's attributes and its final name. A range may be written several times, even at once: every writer
//! writes the same bytes to the same place.

use super::complete::Completion;
use super::destination::Destination;
use super::{Task, Worker};
use crate::batch::Entry;
use crate::context::Fds;
use crate::dir::Dir;
use crate::error::{Failure, Operation};
use crate::metadata::Handle;
use crate::report::log::NameAction;
use crate::sys::at::{self, Follow};
use crate::sys::{Stat, io};
use crate::transfer::Transfer;
use crate::transfer::ladder::{DestinationKind, FilePart};
use crate::transfer::verify::WrittenCopy;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

pub(crate) struct Whole<'p> {
    pub dir: &'p Arc<Dir>,
    /// Its name, which is also the final name of the copy.
    pub entry: &'p Entry,
    /// Whether the source is unchanged since the ranges were planned.
    pub is_same: &'p dyn Fn(&Stat) -> bool,
}

impl Worker<'_> {
    /// Copies a range to the file that `open` returns, after checking that the source is as planned. Returns the
    /// name of that file, or `None` if a signal interrupted the copy.
    pub(crate) fn copy_range(
        &mut self,
        whole: &Whole<'_>,
        range: Range<u64>,
        open: impl FnOnce(&Fds) -> Result<(OwnedFd, OsString), Failure>,
    ) -> Result<Option<OsString>, Failure> {
        self.on(whole, |worker, task| {
            let measure = worker.measure();
            let (src, stat) = worker.open_planned(task, whole)?;
            let cannot = task.cannot(Operation::CreateFile);
            let (dst, name) = open(task.fds)?;
            let before = at::fstat(&dst).map_err(cannot)?;
            let transfer = Transfer {
                src: src.as_fd(),
                stat,
                dst: dst.as_fd(),
                dst_dev: before.dev,
                destination_kind: DestinationKind::File,
                overwritten: false,
            };
            let part = FilePart::Range(range.clone());
            let outcome = match worker.ladder.copy_part(&transfer, part, &mut worker.stats.account) {
                Ok(outcome) => outcome,
                Err(failure) if failure.is_interruption() => return Ok(None),
                Err(failure) => return Err(failure.between(&task.source_path(), &task.destination_path())),
            };
            let after = at::fstat(&src).map_err(task.cannot_source(Operation::Fstat))?;
            if outcome.size != range.end || !(whole.is_same)(&after) {
                return Err(changed(task));
            }
            if at::fstat(&dst).map_err(cannot)?.size != stat.size {
                return Err(Failure::new(Operation::CutOff, task.destination_path()));
            }
            if worker.ctx.options.verify {
                let copy = WrittenCopy { fd: dst.as_fd(), name: Some((task.fds.dst.as_fd(), &name)), slot: None };
                match worker.verify_range(task, (&src, &stat), copy, range.clone()) {
                    Err(failure) if worker.is_due_to_stop(&failure) => return Ok(None),
                    compared => compared?,
                }
            }
            worker.stats.bytes_logical += range.end - range.start;
            io::close(dst).map_err(task.cannot(Operation::Close))?;
            worker.record_part(task, measure, NameAction::Copied, Some(range));
            Ok(Some(name))
        })
    }

    /// Finishes a file whose ranges are all written, under a temporary name: sets its attributes and its final name.
    /// Fails if the file could not be named. Attributes that cannot be kept are reported as for any file.
    pub(crate) fn join(&mut self, whole: &Whole<'_>, fd: OwnedFd, temporary: &OsStr) -> Result<(), Failure> {
        self.on(whole, |worker, task| {
            let measure = worker.measure();
            let (src, stat) = worker.open_planned(task, whole)?;
            let cannot = task.cannot(Operation::CreateFile);
            let (dst, name) = (task.fds.dst.as_fd(), task.entry.destination());
            let before = match at::stat(dst, name, Follow::No) {
                Ok(before) if before.is_regular() => {
                    worker.take_over(task, Handle::Entry(dst, name), &fd, &before);
                    Some(at::fstat(&fd).map_err(cannot)?)
                }
                _ => None,
            };
            let final_mode = worker.ctx.mode_policy().closed_file(&stat).final_mode.filter(|_| before.is_none());
            let destination = Destination::joined(task, fd, before, final_mode, temporary.to_owned());
            let state = Completion::of(worker.apply_metadata(task, &src, &stat, &destination));
            worker.commit(task, destination, &stat, state)?;
            worker.stats.files += 1;
            worker.stats.verified += u64::from(worker.ctx.options.verify); // each range by the part that copied it
            worker.record_part(task, measure, NameAction::Copied, None);
            Ok(())
        })
    }

    pub(crate) fn link_joined(&mut self, whole: &Whole<'_>, dir: &Arc<Dir>, name: &OsStr) -> Result<(), Failure> {
        let entry = Entry { name: name.to_owned(), new_name: None, hint: None, operand: false };
        let other = Whole { dir, entry: &entry, ..*whole };
        self.on(&other, |worker, task| {
            let measure = worker.measure();
            let earlier = || whole.dir.destination_path(whole.entry.destination());
            let failure = |errno| task.cannot_link(earlier()).errno(errno);
            let fds = whole.dir.fds(worker.ctx).map_err(failure)?;
            let old = whole.entry.destination();
            worker.link(task, (fds.dst.as_fd(), old), Follow::No, true).map_err(failure)?;
            worker.record_part(task, measure, NameAction::Linked, None);
            Ok(())
        })
    }

    pub(crate) fn is_as_planned(&mut self, whole: &Whole<'_>) -> bool {
        self.on(whole, |worker, task| worker.open_planned(task, whole)).is_ok()
    }

    fn on<T>(
        &mut self,
        whole: &Whole<'_>,
        run: impl FnOnce(&mut Self, &Task<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Whole { dir, entry, .. } = *whole;
        let cannot_access =
            |errno| Failure::new(Operation::Access, dir.destination_path(entry.destination())).errno(errno);
        let fds = dir.fds(self.ctx).map_err(cannot_access)?;
        let task = self.task(dir, &fds, entry);
        run(self, &task).map_err(|failure| failure.of_names(task.source_path(), task.destination_path()))
    }

    fn open_planned(&self, task: &Task<'_>, whole: &Whole<'_>) -> Result<(OwnedFd, Stat), Failure> {
        let fd = at::open_read(&task.fds.src, &task.entry.name, task.follow, false)
            .map_err(task.cannot_source(Operation::OpenSource))?;
        let stat = at::fstat(&fd).map_err(task.cannot_source(Operation::Fstat))?;
        if (whole.is_same)(&stat) { Ok((fd, stat)) } else { Err(changed(task)) }
    }
}

fn changed(task: &Task<'_>) -> Failure {
    Failure::new(Operation::ChangedSincePlan, task.source_path())
}

//! Copies many small files of one directory together: opens all of them, then makes all copies, then fills
//! (and verifies) them, then sets their attributes, then closes all files.
//!
//! The kernel repeats each operation many times in a row, and one close_range(2) replaces many calls of
//! close(2). Only plain files are copied this way: small regular files, between local file systems on which
//! close(2) reports nothing. All other entries, and files that cannot be opened or whose name is taken, are
//! copied one by one by [`Worker::copy`], which reports failures. Each step of a file uses the same function as
//! there, so bytes, attributes, statistics and failures are the same.

use super::complete::Completion;
use super::destination::Destination;
use super::record::Measure;
use super::{Source, Task, Worker};
use crate::batch::{Batch, Entry};
use crate::context::Context;
use crate::existing;
use crate::metadata::new_mode::NewMode;
use crate::options::Action;
use crate::report::{Failure, copied_line};
use crate::sys::{Kind, Stat, at, io, raw};
use crate::transfer::ladder::Sparse;
use crate::transfer::route::{Cloning, SMALL};
use crate::transfer::small::SmallFileCall;
use crate::transfer::{DestinationKind, Transfer};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most names of a batch whose small files are cloned together. Several workers share a directory with more names.
/// On xfs, workers that each make and clone many files of one directory together wait for each other: 30,000 files
/// took 1.3 times as long.
const MOST_CLONED_TOGETHER: usize = 128;

/// The fast lane of a worker: the files that are copied together, with memory for the next ones.
#[derive(Default)]
pub(super) struct Lane {
    /// All files that were ever in use. Their memory is reused, and they are not moved.
    files: Vec<SmallFile>,
    closing: Vec<OwnedFd>,
    /// Whether all names were taken when files were last made in an existing directory.
    meets_existing: bool,
}

#[derive(Default)]
struct SmallFile {
    entry: Entry,
    stat: Stat,
    src: Option<OwnedFd>,
    /// `None` before it is made, and if making, filling or verifying it failed.
    destination: Option<Destination<'static>>,
    made: bool,
    measure: Option<Measure>,
}

enum Candidate {
    /// A plain file, open for reading.
    Plain,
    /// Any other entry, with the source if it is a regular file.
    Other(Option<Source>),
}

/// Returns whether the options require no further steps.
pub(super) fn is_allowed(ctx: &Context) -> bool {
    let options = &ctx.options;
    let limits = &options.limits;
    let has_more_steps = options.attributes_only
        || options.dry_run
        || options.debug
        || options.atomic
        || options.fsync
        || options.context.is_some();
    // Later runs go by the existing files, so a killed run should leave few incomplete ones.
    let is_compared = options.resume || options.update;
    let is_limited = limits.forced.is_some()
        || limits.cloning == Cloning::Require
        || limits.sparse != Sparse::Auto
        || limits.rate_limit.is_some()
        || limits.drop_cache;
    options.action == Action::Copy
        && !has_more_steps
        && !is_compared
        && !is_limited
        && !ctx.run.stale_retry.expects_siblings()
}

impl Worker<'_> {
    /// Returns whether plain files of this batch are copied together.
    pub(super) fn has_lane(&mut self, batch: &Batch) -> bool {
        let Some(source) = batch.dir.src_id else { return self.has_lane && batch.dir.dst_dev().is_some() };
        self.has_lane && self.has_lane_from(batch, source.dev, batch.fds.src.as_fd())
    }

    /// Returns whether plain files from the device of this descriptor are copied together.
    fn has_lane_from(&mut self, batch: &Batch, dev: u64, fd: BorrowedFd<'_>) -> bool {
        let Some(destination) = batch.dir.dst_dev() else { return false };
        let (source, destination) = ((dev, fd), (destination, batch.fds.dst.as_fd()));
        let is_local =
            [source, destination].into_iter().all(|(dev, fd)| self.ladder.file_system(dev, fd).is_local());
        let is_small = batch.left() <= MOST_CLONED_TOGETHER;
        is_local && (is_small || !self.ladder.tries_clone(source, destination))
    }

    /// Returns the number of files to copy together: one if the names were taken when files were last made.
    pub(super) fn lane_length(&self, batch: &Batch) -> usize {
        let meets_existing = self.lane.meets_existing && !batch.dir.fresh;
        if meets_existing { 1 } else { self.ctx.run.descriptors.together() }
    }

    /// Takes names of a batch and copies them in order: up to `most` plain files together if `has_lane`, or all
    /// up to the first other entry, which is copied by itself. Names are taken one by one, because a large file
    /// or a fifo may occupy a worker while others copy the names after it. Returns false if the remaining files
    /// of the batch probably exist at the destination.
    pub(super) fn copy_together(&mut self, batch: &Batch, most: usize, has_lane: bool) -> bool {
        let reserved = if has_lane { self.ctx.run.descriptors.reserve(most) } else { 0 };
        let mut lane = std::mem::take(&mut self.lane);
        let (mut used, mut other) = (0, None);
        while other.is_none() && used < reserved.max(1) && !self.ctx.run.stop.is_raised() {
            if used == lane.files.len() {
                lane.files.push(SmallFile::default());
            }
            let Some(file) = lane.files.get_mut(used) else { break };
            if !batch.take(&mut file.entry) {
                break;
            }
            match if reserved > 0 { self.open_plain(batch, file) } else { Candidate::Other(None) } {
                Candidate::Plain => used += 1,
                Candidate::Other(source) => other = Some(source),
            }
        }
        let (files, rest) = lane.files.split_at_mut(used);
        if !files.is_empty() {
            self.make_files(batch, files);
            lane.meets_existing = !batch.dir.fresh && files.iter().all(|file| !file.made);
            self.fill_files(batch, files);
            if self.ctx.options.verify {
                self.verify_files(batch, files);
            }
            self.complete_files(batch, files);
            self.close_files(batch, files, &mut lane.closing);
        }
        self.ctx.run.descriptors.release(reserved);
        if let (Some(source), Some(file)) = (other, rest.first())
            && !self.ctx.run.stop.is_raised()
        {
            self.copy(&batch.dir, &batch.fds, &file.entry, source);
        }
        self.lane = lane;
        !(used > 0 && self.lane.meets_existing)
    }

    /// Opens an entry that is a regular file, and checks whether it is plain.
    fn open_plain(&mut self, batch: &Batch, file: &mut SmallFile) -> Candidate {
        let entry = &file.entry;
        // The copy may rename or remove the operand itself.
        let is_cleared =
            entry.operand && (self.ctx.options.backup.is_some() || self.ctx.options.remove_destination);
        let follow = existing::follows_source(&self.ctx.options, entry);
        let looks_regular = || at::stat(&batch.fds.src, &entry.name, follow).is_ok_and(|stat| stat.is_regular());
        // Opening any other kind may wait for a peer or affect a device.
        let is_regular = entry.hint.map_or_else(looks_regular, |kind| kind == Kind::RegularFile);
        if !is_regular || is_cleared {
            return Candidate::Other(None);
        }
        let Ok(fd) = at::open_read(&batch.fds.src, &entry.name, follow, false) else {
            return Candidate::Other(None);
        };
        match at::fstat(&fd) {
            Ok(stat) if self.is_plain(batch, entry, &stat, &fd) => {
                (file.stat, file.src, file.made) = (stat, Some(fd), false);
                Candidate::Plain
            }
            Ok(stat) if stat.is_regular() => Candidate::Other(Some(Source { stat, fd: Some(fd) })),
            _ => Candidate::Other(None),
        }
    }

    fn is_plain(&mut self, batch: &Batch, entry: &Entry, stat: &Stat, fd: &OwnedFd) -> bool {
        stat.is_regular()
            && stat.size <= SMALL
            && !stat.seems_sparse()
            && self.tracked_names(entry, stat).is_none()
            && match batch.dir.src_id {
                Some(id) => id.dev == stat.dev,
                None => self.has_lane_from(batch, stat.dev, fd.as_fd()),
            }
    }

    /// Closes the files that were made, and copies the others one by one.
    fn close_files(&mut self, batch: &Batch, files: &mut [SmallFile], closing: &mut Vec<OwnedFd>) {
        // Sources before destinations: that is nearly the order of the descriptors' numbers.
        closing.extend(files.iter_mut().filter(|file| file.made).filter_map(|file| file.src.take()));
        closing.extend(files.iter_mut().filter_map(|file| file.destination.take()).map(|made| made.fd));
        raw::close_all(closing);
        for file in files {
            if let Some(fd) = file.src.take()
                && !self.ctx.run.stop.is_raised()
            {
                let source = Source { stat: file.stat, fd: Some(fd) };
                self.copy(&batch.dir, &batch.fds, &file.entry, Some(source));
            }
        }
    }

    fn make_files(&mut self, batch: &Batch, files: &mut [SmallFile]) {
        let policy = self.ctx.mode_policy();
        let mut lines = Vec::new();
        for file in files {
            if self.ctx.run.stop.is_raised() {
                break;
            }
            let NewMode { create, final_mode } = policy.file(&file.stat);
            let (dst, name) = (&batch.fds.dst, file.entry.destination());
            let created = match self.ctx.options.verify {
                true => at::create_readable(dst, name, create),
                false => at::create(dst, name, create, true),
            };
            let Ok(fd) = created else { continue };
            (file.destination, file.made) = (Some(Destination::created(fd, final_mode)), true);
            if self.ctx.options.verbose {
                let source = batch.dir.source_path(&file.entry.name);
                let destination = batch.dir.destination_path(file.entry.destination());
                lines.extend(copied_line(&source, &destination, None));
            }
        }
        if !lines.is_empty() {
            self.ctx.events.lines(&lines);
        }
    }

    /// Moves the content. A signal stops it and removes the files without content: see [`Worker::give_up`].
    fn fill_files(&mut self, batch: &Batch, files: &mut [SmallFile]) {
        let mut small = self.small_files(batch, files);
        for file in files {
            let (Some(src), Some(destination)) = (&file.src, &file.destination) else { continue };
            let task = self.task(&batch.dir, &batch.fds, &file.entry);
            let before = self.meter.bytes.get();
            self.show(&task, &file.stat);
            let measure = self.measure();
            let answer = match (&mut small, task.dir.dst_dev()) {
                (Some(small), Some(dev)) => self.move_small(small, (src, &file.stat), (destination, dev)),
                _ => self.move_content(&task, src, &file.stat, destination),
            };
            match answer {
                Ok(()) => file.measure = measure.map(|measure| self.measured(measure)),
                Err(failure) => {
                    let Some(destination) = file.destination.take() else { continue };
                    let is_interruption = failure.is_interruption();
                    let failure = self.give_up(&task, destination, &file.stat, failure).err();
                    self.report_failed(&task, &file.stat, measure, failure);
                    if is_interruption {
                        continue; // not tried
                    }
                }
            }
            self.count_done(before);
        }
        if let Some(small) = &mut small {
            self.ladder.end_small_files(small, &mut self.stats.account);
        }
    }

    /// Starts to move files from the device of the first by one call each.
    fn small_files(&mut self, batch: &Batch, files: &[SmallFile]) -> Option<SmallFileCall> {
        let first = files.first()?;
        let source = (first.stat.dev, first.src.as_ref()?.as_fd());
        let is_one_device = files.iter().all(|file| file.stat.dev == first.stat.dev);
        let destination = (batch.dir.dst_dev()?, batch.fds.dst.as_fd());
        if is_one_device { self.ladder.small_files(source, destination) } else { None }
    }

    fn move_small(
        &mut self,
        small: &mut SmallFileCall,
        (src, stat): (&OwnedFd, &Stat),
        (destination, dst_dev): (&Destination<'_>, u64),
    ) -> Result<(), Failure> {
        let (src, dst) = (src.as_fd(), destination.fd.as_fd());
        let destination_kind = DestinationKind::File;
        let transfer = Transfer { src, stat: *stat, dst, dst_dev, destination_kind, overwritten: false };
        let outcome = self.ladder.copy_small(small, &transfer, &mut self.stats.account)?;
        self.stats.bytes_logical += outcome.size;
        Ok(())
    }

    /// Starts to write all files to the disk, so that it writes them at the same time, then starts to read all, and
    /// compares each.
    fn verify_files(&mut self, batch: &Batch, files: &mut [SmallFile]) {
        for destination in files.iter().filter_map(|file| file.destination.as_ref()) {
            io::drop_pages(&destination.fd, 0, 0);
        }
        let opened =
            files.iter().map(|file| file.destination.as_ref().map(|copy| (copy.fd.as_fd(), file.stat.size)));
        let copies: Vec<_> = opened.collect();
        self.verifier.begin(&copies, |dev, fd| self.ladder.file_system(dev, fd));
        for (slot, file) in files.iter_mut().enumerate() {
            let (Some(src), Some(destination)) = (&file.src, file.destination.take()) else { continue };
            let task = self.task(&batch.dir, &batch.fds, &file.entry);
            match self.verify_written(&task, src, &file.stat, destination, Some(slot)) {
                Ok(destination) => file.destination = Some(destination),
                Err(failure) => {
                    self.report_failed(&task, &file.stat, file.measure.take(), Some(failure));
                }
            }
        }
    }

    fn report_failed(&mut self, task: &Task<'_>, stat: &Stat, measure: Option<Measure>, failure: Option<Failure>) {
        self.record(task, measure, |worker| {
            worker.note_source(stat);
            worker.report(task, failure.map_or(Ok(()), Err));
        });
    }

    fn complete_files(&mut self, batch: &Batch, files: &mut [SmallFile]) {
        for file in files {
            let (Some(src), Some(destination)) = (&file.src, &file.destination) else { continue };
            let task = self.task(&batch.dir, &batch.fds, &file.entry);
            self.record(&task, file.measure.take(), |worker| {
                worker.note_source(&file.stat);
                let state = Completion::of(worker.apply_metadata(&task, src, &file.stat, destination));
                worker.complete_open(&task, destination, &file.stat, state);
                worker.stats.files += 1;
                worker.tell_made(&task);
            });
        }
    }
}

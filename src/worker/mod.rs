//! A worker takes one name after another and copies it as `decision` says.
//!
//! Each worker owns its ladder, its buffers and its counts. Workers share only the registries of hard links and
//! of operands' copies, and the list of files to sync. `decision` says whether to copy a name, and `transfer`
//! moves the bytes; this module opens the files and connects the two.

mod carry_out;
mod complete;
mod debug;
mod destination;
mod dry_run;
mod durable;
mod file;
mod lane;
mod linked;
mod links;
mod operand_copies;
mod overtaken;
mod prompt;
pub(crate) mod range;
mod record;
mod resume;
mod special;
mod stream;
mod verify;

use crate::batch::{Batch, Entry};
use crate::context::{Context, Fds};
use crate::decision::{self, Existing};
use crate::dir::Dir;
use crate::error::Operation;
use crate::existing;
use crate::metadata::apply::AttributePair;
use crate::options::Action;
use crate::path;
use crate::report::progress::Meters;
use crate::report::{Failure, Stats, copied_line};
use crate::sys::at::{self, Follow};
use crate::sys::selinux::CreationContext;
use crate::sys::{Errno, Kind, Stat};
use crate::transfer::verify::Verifier;
use crate::transfer::{Ladder, Meter};
use links::Links;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[derive(Default)]
pub(crate) struct Shared {
    links: Links,
    unsynced: durable::Unsynced,
    several_operands: bool,
    operands_collide: bool,
    /// Whether naming a nameless file failed, so that new files get temporary names from then on.
    nameless_refused: AtomicBool,
    pub meters: Arc<Meters>,
}

impl Shared {
    pub(crate) fn new(several_operands: bool, operands_collide: bool) -> Shared {
        Shared { several_operands, operands_collide, ..Shared::default() }
    }
}

pub(crate) struct Worker<'c> {
    ctx: &'c Context,
    shared: &'c Shared,
    ladder: Ladder,
    verifier: Verifier,
    meter: Arc<Meter>,
    stats: Stats,
    /// The length of the current file in bytes.
    size: u64,
    /// The line of `-v` for the current name, held back until the lines of `--debug` below it are known.
    held: Vec<u8>,
    /// In a dry run: whether the copy would have removed or renamed the existing destination by now.
    cleared: Cell<bool>,
    /// In a dry run: whether that would have removed the source too, because it has the same name.
    source_taken: Cell<bool>,
    /// Names that turned out to be directories. The walk enters them.
    directories: Vec<Entry>,
    /// Whether to copy the current file again, because it could not be given a name.
    nameless_in_vain: Cell<bool>,
    /// Whether the options allow small files to be copied together.
    has_lane: bool,
    /// The device number of the current file's directory, if a later run can continue the file: see `resume.rs`.
    continues: Option<u64>,
    lane: lane::Lane,
    recorder: record::Recorder,
    _creation_context: Option<CreationContext>,
}

struct Task<'a> {
    dir: &'a Arc<Dir>,
    fds: &'a Fds,
    entry: &'a Entry,
    follow: Follow,
}

impl Task<'_> {
    fn source_path(&self) -> OsString {
        self.dir.source_path(&self.entry.name)
    }

    fn source_failure(&self, operation: Operation, errno: Errno) -> Failure {
        let failure = Failure::new(operation, self.source_path()).errno(errno);
        failure.of_entry(self.entry.operand, || at::stat(&self.fds.src, &self.entry.name, Follow::No))
    }

    fn destination_path(&self) -> OsString {
        self.dir.destination_path(self.entry.destination())
    }

    fn cannot(&self, operation: Operation) -> impl Fn(Errno) -> Failure + Copy {
        move |errno| Failure::new(operation, self.destination_path()).errno(errno)
    }

    fn look_at_existing(&self, ctx: &Context, source: &Stat) -> Result<Option<Existing>, Failure> {
        existing::look(ctx, self.dir, self.fds, self.entry, source).map_err(self.cannot(Operation::Stat))
    }

    fn cannot_link(&self, earlier: OsString) -> Failure {
        Failure::new(Operation::CreateHardLink, self.destination_path()).and(earlier)
    }

    /// Returns a function that makes the failure of an operation on the source. The failure does not tell whether
    /// the source vanished.
    fn cannot_source(&self, operation: Operation) -> impl Fn(Errno) -> Failure + Copy {
        move |errno| Failure::new(operation, self.source_path()).errno(errno)
    }
}

/// The known facts about a task's source.
struct Source {
    stat: Stat,
    /// Open for reading, if the listing promised a regular file.
    fd: Option<OwnedFd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// Create a new file. The name must be free.
    Create,
    /// Write into this existing file, through a symbolic link or not.
    Overwrite(Stat, Follow),
    /// Replace the existing file by a new one, so that the name is never missing.
    Replace,
}

impl<'c> Worker<'c> {
    pub(crate) fn new(ctx: &'c Context, shared: &'c Shared) -> Worker<'c> {
        let context = ctx.options.context.as_ref().filter(|_| !ctx.options.dry_run);
        let creation_context = context.and_then(|context| {
            let cannot = |errno| Failure::new(Operation::SetDefaultContext, context).errno(errno);
            CreationContext::set(context).map_err(|errno| ctx.events.fail(cannot(errno))).ok()
        });
        let meter = shared.meters.add();
        let mut stats = Stats::default();
        let recorder = record::Recorder::of(ctx, &mut stats.account);
        let ladder = Ladder::new(ctx.options.limits.clone(), ctx.run.stop.clone(), Arc::clone(&meter));
        Worker {
            ctx,
            shared,
            ladder,
            verifier: Verifier::default(),
            meter,
            stats,
            size: 0,
            held: Vec::new(),
            cleared: Cell::default(),
            source_taken: Cell::default(),
            nameless_in_vain: Cell::default(),
            directories: Vec::new(),
            has_lane: lane::is_allowed(ctx),
            continues: None,
            lane: lane::Lane::default(),
            recorder,
            _creation_context: creation_context,
        }
    }

    pub(crate) fn into_stats(mut self) -> Stats {
        self.flush_records();
        self.stats.routes = self.ladder.into_routes();
        self.stats
    }

    /// Copies names of a batch until all are taken, or once if the worker only `helps`. `workers` returns the
    /// number of workers that share the batch. Returns the entries that turned out to be directories.
    pub(crate) fn run(&mut self, batch: &Batch, helps: bool, workers: impl Fn() -> usize) -> Vec<Entry> {
        let mut has_lane = self.has_lane(batch);
        while !batch.is_taken() && !self.ctx.run.stop.is_raised() {
            let length = if has_lane { self.lane_length(batch) } else { 1 };
            // Near the end, workers that share a batch take fewer names, so that they finish together.
            let most = match workers() {
                0 | 1 => length,
                several => (batch.left() / (2 * several)).clamp(1, length),
            };
            has_lane &= self.copy_together(batch, most, has_lane);
            if helps {
                break;
            }
        }
        std::mem::take(&mut self.directories)
    }

    fn task<'a>(&self, dir: &'a Arc<Dir>, fds: &'a Fds, entry: &'a Entry) -> Task<'a> {
        Task { dir, fds, entry, follow: existing::follows_source(&self.ctx.options, entry) }
    }

    /// Copies one entry. `known` is its source if it was opened or inspected already.
    fn copy(&mut self, dir: &Arc<Dir>, fds: &Fds, entry: &Entry, mut known: Option<Source>) {
        let task = self.task(dir, fds, entry);
        let before = self.meter.bytes.get();
        let ctx = self.ctx;
        let measure = self.measure();
        let mut is_tried = true;
        self.record(&task, measure, |worker| {
            let answer = ctx.run.stale_retry.operation(|| worker.try_copy(&task, known.take()), Failure::reason);
            is_tried = !answer.as_ref().is_err_and(|failure| worker.is_due_to_stop(failure));
            worker.report(&task, answer);
        });
        if is_tried {
            self.count_done(before);
        }
    }

    /// Counts a file for the progress bar. Skipped, linked and reflinked files and holes count as done too.
    fn count_done(&mut self, before: u64) {
        let size = std::mem::take(&mut self.size);
        self.meter.bytes.set(self.meter.bytes.get().max(before + size));
        self.meter.files.add(1);
        let passed = self.stats.skipped + self.stats.complete;
        if self.meter.files_passed.get() != passed {
            self.meter.files_passed.set(passed);
            self.meter.passed.add(size);
        }
    }

    /// Reports a failure, unless a signal interrupted the copy.
    fn report(&self, task: &Task<'_>, answer: Result<(), Failure>) {
        if let Err(failure) = answer
            && !self.is_due_to_stop(&failure)
        {
            self.ctx.events.fail(failure.of_names(task.source_path(), task.destination_path()));
        }
    }

    fn try_copy(&mut self, task: &Task<'_>, known: Option<Source>) -> Result<(), Failure> {
        self.cleared.set(false);
        self.source_taken.set(false);
        let source = known.map_or_else(|| self.look_at_source(task), Ok)?;
        self.show(task, &source.stat);
        self.note_source(&source.stat);
        if source.stat.is_dir() && !task.entry.operand {
            self.directories.push(task.entry.clone());
            return Ok(());
        }
        if source.stat.is_dir() {
            // The name was not a directory when the walk inspected it.
            return Err(Failure::replaced(task.source_path()));
        }
        let existing = if task.dir.fresh { None } else { task.look_at_existing(self.ctx, &source.stat)? };
        let existing = existing.or_else(|| self.pretended(task));
        if let Some(existing) = &existing {
            self.note_existing(&source.stat, &existing.link);
        }
        let decision = decision::decide(&self.ctx.options, &source.stat, existing.as_ref());
        self.carry_out(task, source, existing.as_ref(), decision)
    }

    /// Gives the progress bar the name: of every large file, and of others when it asks.
    fn show(&mut self, task: &Task<'_>, source: &Stat) {
        const LARGE: u64 = 1 << 20;
        self.size = if source.is_regular() { source.size } else { 0 };
        if self.size >= LARGE {
            self.flush_records(); // the readers need not wait for this file
        }
        if self.shared.meters.wants_name() || self.size >= LARGE {
            self.shared.meters.name(task.source_path());
        }
    }

    /// Opens an expected regular file directly, which saves a stat. Inspects everything else.
    fn look_at_source(&self, task: &Task<'_>) -> Result<Source, Failure> {
        let (src, name) = (&task.fds.src, &task.entry.name);
        let options = &self.ctx.options;
        // The copy may remove or rename an operand itself (`cp -b link link`). The source must be missing then,
        // as with cp.
        let cleared = task.entry.operand && (options.backup.is_some() || options.remove_destination);
        let will_read = options.action == Action::Copy && !options.attributes_only && !cleared;
        if task.entry.hint == Some(Kind::RegularFile)
            && will_read
            && let Ok(fd) = at::open_read(src, name, task.follow, false)
            && let Ok(stat) = at::fstat(&fd)
        {
            // It is not a regular file, so this descriptor is not used to read it.
            let fd = stat.is_regular().then_some(fd);
            return Ok(Source { stat, fd });
        }
        let stat =
            at::stat(src, name, task.follow).map_err(|errno| task.source_failure(Operation::Stat, errno))?;
        Ok(Source { stat, fd: None })
    }

    /// Prints the line of `-v`, if it is still held back, and the given lines below it, in one write.
    fn say(&mut self, lines: &[&[u8]]) {
        let mut text = std::mem::take(&mut self.held);
        text.extend(lines.concat());
        if !text.is_empty() {
            self.ctx.events.lines(&text);
        }
    }

    /// Makes the file, or a link to an earlier copy. The name is free or may be written to.
    fn make(
        &mut self,
        task: &Task<'_>,
        source: Source,
        placement: Placement,
        backup: Option<&OsStr>,
    ) -> Result<(), Failure> {
        self.check_operand_link(task)?;
        if self.ctx.options.verbose {
            let destination = task.destination_path();
            let kept = backup.map(|backup| path::beside(&destination, backup));
            self.held = copied_line(&task.source_path(), &destination, kept.as_deref());
            if !self.ctx.options.debug {
                self.say(&[]);
            }
        }
        let answer = match self.tracked_names(task.entry, &source.stat) {
            Some(names) => self.make_linked(task, source, placement, names),
            None => self.make_file(task, source, placement),
        };
        self.say(&[]);
        answer
    }

    fn make_file(&mut self, task: &Task<'_>, source: Source, placement: Placement) -> Result<(), Failure> {
        if self.make_kind(task, source, placement)? {
            self.tell_made(task);
        }
        Ok(())
    }

    /// Tells the registry of operands' copies and the callback about a new name.
    fn tell_made(&self, task: &Task<'_>) {
        self.note_operand_copy(task);
        self.ctx.events.made(|| task.source_path(), || task.destination_path());
    }

    /// Makes a copy of the source or a link to it, depending on the options and the file type. Returns false if
    /// another process made the name first and its file stays.
    fn make_kind(&mut self, task: &Task<'_>, source: Source, placement: Placement) -> Result<bool, Failure> {
        match self.ctx.options.action {
            Action::SymbolicLink => return self.link_symbolically(task, &source.stat, placement),
            Action::HardLink => return self.link_to_source(task, &source.stat, placement),
            Action::Copy if self.ctx.options.dry_run => {
                return self.dry_run(task, &source, placement).map(|()| true);
            }
            Action::Copy => {}
        }
        match source.stat.kind() {
            Kind::RegularFile => self.copy_file(task, source, placement),
            Kind::Symlink => self.copy_symlink(task, &source.stat, placement),
            _ if self.ctx.options.read_special => self.copy_file(task, source, placement),
            Kind::Unknown => Err(Failure::new(Operation::UnknownType, task.source_path())),
            _ => self.copy_special(task, &source.stat, placement),
        }
    }

    /// Gives a copy its source's attributes except the times. Returns false if an attribute that must be kept is
    /// lost.
    fn apply(&self, task: &Task<'_>, pair: &AttributePair<'_>) -> bool {
        let paths: (&dyn Fn() -> OsString, &dyn Fn() -> OsString) =
            (&|| task.source_path(), &|| task.destination_path());
        let fail = |failure| self.report(task, Err(failure));
        self.ctx.attribute_rules().apply(pair, &mut |lost| self.ctx.events.lost(lost, paths, fail))
    }

    fn attribute_failed(&self, task: &Task<'_>, failure: Failure) {
        self.report(task, Err(failure.and(task.destination_path())));
    }
}

//! The worker does: it takes one name after the other and makes of it what the plan says.
//!
//! A worker owns its ladder, its buffer and its figures; nothing here is shared but the registries
//! of hard links and of operands' copies. Whether to copy is decided in `plan.rs`, how bytes move in
//! `transfer`; this room opens, asks, and puts the two together.

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
pub mod range;
mod record;
mod resume;
mod special;
mod stream;
mod verify;

use crate::backup;
use crate::batch::{Batch, Entry};
use crate::context::Context;
use crate::decision::{self, Existing};
use crate::dir::{Dir, Fds};
use crate::existing;
use crate::metadata::{self, AttributeError, Handle};
use crate::options::Action;
use crate::report::progress::Meters;
use crate::report::{Failure, Stats, copied_line};
use crate::sys::at::{self, Follow};
use crate::sys::{Errno, Kind, Stat, selinux};
use crate::transfer::verify::Verifier;
use crate::transfer::{Ladder, Meter};
use links::Links;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the workers of one run share.
#[derive(Debug, Default)]
pub struct Shared {
    links: Links,
    unsynced: durable::Unsynced,
    /// Whether there are several operands, so that they can meet.
    several_operands: bool,
    /// Whether a file without a name could not be given one, so that new files have temporary names from then on.
    nameless_refused: AtomicBool,
    /// Read by the progress bar.
    pub meters: Arc<Meters>,
}

impl Shared {
    /// Empty registries.
    pub fn new(several_operands: bool) -> Shared {
        Shared { several_operands, ..Shared::default() }
    }
}

/// One worker: it makes the names of the batches that it is given.
pub struct Worker<'c> {
    ctx: &'c Context,
    shared: &'c Shared,
    ladder: Ladder,
    verifier: Verifier,
    meter: Arc<Meter>,
    stats: Stats,
    /// The length of the file in hand, in bytes.
    size: u64,
    /// The line of `-v` for the name in hand, until `--debug` knows what belongs below it.
    held: Vec<u8>,
    /// In a dry run: whether the name in hand would have been cleared by now.
    cleared: Cell<bool>,
    /// The like: whether that would have taken the source away, which has the same name.
    source_taken: Cell<bool>,
    /// Names that turned out to be directories, for the walk to enter.
    directories: Vec<Entry>,
    /// Whether the file in hand is to be copied once more, because it could not be given a name.
    nameless_in_vain: Cell<bool>,
    /// Whether the options allow that small files of a new directory are copied together.
    has_lane: bool,
    lane: lane::Lane,
    recorder: record::Recorder,
}

/// One name, with all that is needed to reach it.
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

    /// The failure of an operation on the source.
    fn source_failure(&self, words: &'static str, errno: Errno) -> Failure {
        let failure = Failure::new(words, self.source_path()).errno(errno);
        failure.of_entry(self.entry.operand, || at::stat(&self.fds.src, &self.entry.name, Follow::No))
    }

    fn destination_path(&self) -> OsString {
        self.dir.destination_path(self.entry.destination())
    }
}

/// The source of a task, as far as it has been looked at.
struct Source {
    stat: Stat,
    /// Open for reading, if the listing promised a regular file.
    fd: Option<OwnedFd>,
}

/// How the destination's name is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// A new file, and it must be new.
    Create,
    /// Into the file that is there: this one, through a symbolic link or not.
    Overwrite(Stat, Follow),
    /// A new file in the place of the one that is there, whose name is never missing.
    Replace,
}

impl<'c> Worker<'c> {
    /// A worker with nothing done yet.
    pub fn new(ctx: &'c Context, shared: &'c Shared) -> Worker<'c> {
        if let Some(context) = ctx.options.context.as_ref().filter(|_| !ctx.options.dry_run)
            && let Err(errno) = selinux::create_as(context)
        {
            let words = "failed to set default file creation context to {}";
            ctx.reporter.fail(Failure::new(words, context).errno(errno));
        }
        let meter = shared.meters.add();
        let ladder = Ladder::new(ctx.options.limits.clone(), ctx.stop.clone(), Arc::clone(&meter));
        Worker {
            ctx,
            shared,
            ladder,
            verifier: Verifier::default(),
            meter,
            stats: Stats::default(),
            size: 0,
            held: Vec::new(),
            cleared: Cell::default(),
            source_taken: Cell::default(),
            nameless_in_vain: Cell::default(),
            directories: Vec::new(),
            has_lane: lane::is_allowed(ctx),
            lane: lane::Lane::default(),
            recorder: record::Recorder::default(),
        }
    }

    /// What it did.
    pub fn into_stats(mut self) -> Stats {
        self.flush_records();
        self.stats.routes = self.ladder.into_routes();
        self.stats
    }

    /// Copies names of a batch until all are taken, or once if it `helps` another worker; `workers` says how many share
    /// the batch. Returns entries that are directories, which the listing did not say.
    pub fn run(&mut self, batch: &Batch, helps: bool, workers: impl Fn() -> usize) -> Vec<Entry> {
        let length = self.lane_length(batch);
        while !batch.is_taken() && !self.ctx.stop.is_raised() {
            // Towards the end, workers that share a batch take less, so that they end together.
            let most = match workers() {
                0 | 1 => length,
                several => (batch.left() / (2 * several)).clamp(1, length),
            };
            self.copy_together(batch, most, length > 1);
            if helps {
                break;
            }
        }
        std::mem::take(&mut self.directories)
    }

    /// Copies one entry. `known` is what has been learnt of its source.
    fn copy(&mut self, dir: &Arc<Dir>, fds: &Fds, entry: &Entry, mut known: Option<Source>) {
        let follow = existing::follows_source(&self.ctx.options, entry);
        let task = Task { dir, fds, entry, follow };
        let before = self.meter.bytes.load(Ordering::Relaxed);
        let ctx = self.ctx;
        self.record(&task, self.measure(), |worker| {
            let answer = ctx.stale_retry.operation(|| worker.try_copy(&task, known.take()), Failure::reason);
            worker.report(&task, answer);
        });
        self.count_done(before);
    }

    /// Counts a file for the progress bar. What was skipped, linked, shared or a hole is done as well.
    fn count_done(&mut self, before: u64) {
        let done = before + std::mem::take(&mut self.size);
        self.meter.bytes.fetch_max(done, Ordering::Relaxed);
        self.meter.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports a failure, unless it is only that a signal asked for the end.
    fn report(&self, task: &Task<'_>, answer: Result<(), Failure>) {
        if let Err(failure) = answer
            && !self.is_interruption(&failure)
        {
            self.ctx.reporter.fail(failure.of_names(task.source_path(), task.destination_path()));
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
            // The walk saw something else under this name.
            let words = "skipping file {}, as it was replaced while being copied";
            return Err(Failure::new(words, task.source_path()));
        }
        let existing = if task.dir.fresh {
            None
        } else {
            let cannot_stat = |errno| Failure::new("cannot stat {}", task.destination_path()).errno(errno);
            existing::look(self.ctx, task.fds, task.entry, &source.stat).map_err(cannot_stat)?
        };
        let existing = existing.map(|existing| Existing {
            just_made: self.made_by_earlier_operand(task, &existing.stat),
            ..existing
        });
        let existing = existing.or_else(|| self.pretended(task));
        if let Some(existing) = &existing {
            self.note_existing(&source.stat, &existing.link);
        }
        let decision = decision::decide(&self.ctx.options, &source.stat, existing.as_ref());
        self.carry_out(task, source, existing.as_ref(), decision)
    }

    /// Lets the progress bar know: always of a large file, else if it asks.
    fn show(&mut self, task: &Task<'_>, source: &Stat) {
        const LARGE: u64 = 1 << 20;
        self.size = if source.is_regular() { source.size } else { 0 };
        if self.shared.meters.wants_name() || self.size >= LARGE {
            self.shared.meters.name(task.source_path());
        }
    }

    /// Opens what is most likely a regular file, which saves a stat; looks at anything else.
    fn look_at_source(&self, task: &Task<'_>) -> Result<Source, Failure> {
        let (src, name) = (&task.fds.src, &task.entry.name);
        let options = &self.ctx.options;
        // An operand may be the very name that is cleared for the copy (`cp -b link link`): then the
        // source has to be found missing, as by cp.
        let cleared = task.entry.operand && (options.backup.is_some() || options.remove_destination);
        let will_read = options.action == Action::Copy && !options.attributes_only && !cleared;
        if task.entry.hint == Some(Kind::Regular)
            && will_read
            && let Ok(fd) = at::open_read(src, name, task.follow, false)
            && let Ok(stat) = at::fstat(&fd)
        {
            // Not a regular file after all: then this descriptor is not the way to it.
            let fd = stat.is_regular().then_some(fd);
            return Ok(Source { stat, fd });
        }
        let stat =
            at::stat(src, name, task.follow).map_err(|errno| task.source_failure("cannot stat {}", errno))?;
        Ok(Source { stat, fd: None })
    }

    /// Prints the line of `-v`, if it is still held back, and what belongs below it, in one piece.
    fn say(&mut self, lines: &[&[u8]]) {
        let mut text = std::mem::take(&mut self.held);
        text.extend(lines.concat());
        if !text.is_empty() {
            self.ctx.reporter.lines(&text);
        }
    }

    /// The name is clear, or to be written into: makes the file, or a link to an earlier copy.
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
            let kept = backup.map(|backup| backup::beside(&destination, backup));
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

    /// The name is there: whoever has to know that does.
    fn tell_made(&self, task: &Task<'_>) {
        self.note_operand_copy(task);
        self.ctx.made(|| task.source_path(), || task.destination_path());
    }

    /// Makes what the source is, or a link to it; false if another process was quicker, and what it made is left
    /// alone.
    fn make_kind(&mut self, task: &Task<'_>, source: Source, placement: Placement) -> Result<bool, Failure> {
        match self.ctx.options.action {
            Action::SymbolicLink => return self.link_symbolically(task, &source.stat, placement),
            Action::HardLink => {
                return self.link_to_source(task, &source.stat, placement);
            }
            Action::Copy if self.ctx.options.dry_run => {
                return self.dry_run(task, &source, placement).map(|()| true);
            }
            Action::Copy => {}
        }
        match source.stat.kind() {
            Kind::Regular => self.copy_file(task, source, placement),
            Kind::Symlink => self.copy_symlink(task, &source.stat, placement),
            _ if self.ctx.options.read_special => self.copy_file(task, source, placement),
            Kind::Unknown => Err(Failure::new("{} has unknown file type", task.source_path())),
            _ => self.copy_special(task, &source.stat, placement),
        }
    }

    /// Gives the destination the source's owner. False if set-ID bits must not be kept, `None` if it failed.
    fn keep_owner(&self, task: &Task<'_>, to: Handle<'_>, source: &Stat) -> Option<bool> {
        let answer = metadata::set_owner(to, source, self.ctx.process.privileged);
        answer.map_err(|error| self.attribute_failed(task, error)).ok()
    }

    /// False if one is lost that must not be.
    fn copy_xattrs(&self, task: &Task<'_>, from: Handle<'_>, to: Handle<'_>) -> bool {
        self.ctx.copy_xattrs(from, to, (&|| task.source_path(), &|| task.destination_path()))
    }

    fn attribute_failed(&self, task: &Task<'_>, error: AttributeError) {
        self.report(task, Err(Failure::attribute(error, &task.destination_path())));
    }
}

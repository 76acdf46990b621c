//! The worker does: it takes one name after the other and makes of it what the plan says.
//!
//! A worker owns its ladder, its buffer and its figures; nothing here is shared but the registries
//! of hard links and of operands' copies. Whether to copy is decided in `plan.rs`, how bytes move in
//! `transfer`; this room opens, asks, and puts the two together.

mod debug;
mod file;
mod links;
mod special;

use crate::backup;
use crate::context::Context;
use crate::dir::{Dir, Fds};
use crate::job::{Entry, Parcel};
use crate::metadata::{self, Handle, Trouble};
use crate::options::{Action, Dereference};
use crate::plan::{self, Clear, Occupant, Question, Refusal, Skip, Verdict};
use crate::report::progress::Meters;
use crate::report::{Failure, Stats, copied_line, lock, quote};
use crate::survey;
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Errno, Kind, Stat, selinux};
use crate::transfer::{Ladder, Meter};
use links::{Claim, Copied, Links};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// What the workers of one run share.
#[derive(Debug, Default)]
pub struct Shared {
    links: Links,
    /// What the operands' copies are, by their path: an earlier one must not be lost.
    landed: Mutex<HashMap<OsString, FileId>>,
    /// Whether there are several operands, so that they can meet.
    several_operands: bool,
    /// Read by the progress bar.
    pub meters: Arc<Meters>,
}

impl Shared {
    /// Empty registries.
    pub fn new(several_operands: bool) -> Shared {
        Shared { several_operands, ..Shared::default() }
    }
}

/// One of the crew.
pub struct Worker<'c> {
    ctx: &'c Context,
    shared: &'c Shared,
    ladder: Ladder,
    meter: Arc<Meter>,
    stats: Stats,
    /// The length of the file in hand, in bytes.
    size: u64,
    /// The line of `-v` for the name in hand, until `--debug` knows what belongs below it.
    held: Vec<u8>,
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
enum Landing {
    /// A new file, and it must be new.
    Create,
    /// Into the file that is there, which has this device.
    Overwrite(Stat),
}

impl<'c> Worker<'c> {
    /// A worker with nothing done yet.
    pub fn new(ctx: &'c Context, shared: &'c Shared) -> Worker<'c> {
        if let Some(context) = &ctx.options.context
            && let Err(errno) = selinux::create_as(context)
        {
            let words = "failed to set default file creation context to {}";
            ctx.reporter.fail(Failure::new(words, context).errno(errno));
        }
        let meter = shared.meters.add();
        let ladder = Ladder::new(ctx.options.limits.clone(), ctx.stop.clone(), Arc::clone(&meter));
        Worker { ctx, shared, ladder, meter, stats: Stats::default(), size: 0, held: Vec::new() }
    }

    /// What it did.
    pub fn into_stats(mut self) -> Stats {
        self.stats.routes = self.ladder.into_routes();
        self.stats
    }

    /// Takes names out of the parcel until there are none left.
    pub fn run(&mut self, parcel: &Parcel) {
        while !self.ctx.stop.is_raised()
            && let Some(entry) = parcel.take()
        {
            self.copy(&parcel.dir, &parcel.fds, entry);
            if parcel.done() {
                parcel.dir.leave(self.ctx);
            }
        }
    }

    fn copy(&mut self, dir: &Arc<Dir>, fds: &Fds, entry: &Entry) {
        let follow = survey::follows_source(&self.ctx.options, entry);
        let task = Task { dir, fds, entry, follow };
        let before = self.meter.bytes.load(Ordering::Relaxed);
        if let Err(failure) = self.try_copy(&task) {
            self.ctx.reporter.fail(failure);
        }
        // What was skipped, linked, shared or a hole is done as well.
        let done = before + std::mem::take(&mut self.size);
        self.meter.bytes.fetch_max(done, Ordering::Relaxed);
        self.meter.files.fetch_add(1, Ordering::Relaxed);
    }

    fn try_copy(&mut self, task: &Task<'_>) -> Result<(), Failure> {
        let source = self.look_at_source(task)?;
        self.show(task, &source.stat);
        if source.stat.is_dir() {
            // The walk saw something else under this name.
            let words = "skipping file {}, as it was replaced while being copied";
            return Err(Failure::new(words, task.source_path()));
        }
        let occupant = if task.dir.fresh {
            None
        } else {
            let cannot_stat = |errno| Failure::new("cannot stat {}", task.destination_path()).errno(errno);
            survey::look(self.ctx, task.fds, task.entry, &source.stat).map_err(cannot_stat)?
        };
        let occupant =
            occupant.map(|occupant| Occupant { just_made: self.landed_here(task, &occupant.stat), ..occupant });
        let verdict = plan::decide(&self.ctx.options, &source.stat, occupant.as_ref());
        self.carry_out(task, source, occupant.as_ref(), verdict)
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
        let stat = at::stat(src, name, task.follow)
            .map_err(|errno| Failure::new("cannot stat {}", task.source_path()).errno(errno))?;
        Ok(Source { stat, fd: None })
    }

    fn carry_out(
        &mut self,
        task: &Task<'_>,
        source: Source,
        occupant: Option<&Occupant>,
        verdict: Verdict,
    ) -> Result<(), Failure> {
        match verdict {
            Verdict::Ask(question, then) => {
                let mode = occupant.map_or(0, |occupant| occupant.link.mode);
                if self.ctx.reporter.ask(&prompt(question, &task.destination_path(), mode)) {
                    return self.carry_out(task, source, occupant, *then);
                }
                self.skip(task);
                self.ctx.reporter.fail_silently();
                Ok(())
            }
            Verdict::Skip(Skip::ExistsFail) => {
                self.stats.skipped += 1;
                Err(Failure::new("not replacing {}", task.destination_path()))
            }
            Verdict::Skip(Skip::UpToDate) => {
                self.skip(task);
                self.link_up_to_date(task, &source.stat)
            }
            Verdict::Skip(Skip::Exists) => {
                self.skip(task);
                Ok(())
            }
            Verdict::Done => Ok(()),
            Verdict::Merge => Ok(()), // only directories are merged
            Verdict::Refuse(refusal) => Err(refused(task, refusal)),
            Verdict::Overwrite => {
                let landing = occupant.map_or(Landing::Create, |occupant| Landing::Overwrite(occupant.stat));
                self.make(task, source, landing, None)
            }
            Verdict::Make(Clear::Nothing) => self.make(task, source, Landing::Create, None),
            Verdict::Make(Clear::Unlink) => {
                self.unlink(task)?;
                self.make(task, source, Landing::Create, None)
            }
            Verdict::Make(Clear::Backup) => {
                let suffix = self.back_up(task)?;
                let answer = self.make(task, source, Landing::Create, suffix.as_deref());
                if let (Err(_), Some(suffix)) = (&answer, &suffix) {
                    self.un_back_up(task, suffix);
                }
                answer
            }
        }
    }

    /// Prints the line of `-v`, if it is still held back, and what belongs below it, in one piece.
    fn say(&mut self, lines: &[&[u8]]) {
        let mut text = std::mem::take(&mut self.held);
        text.extend(lines.concat());
        if !text.is_empty() {
            self.ctx.reporter.lines(&text);
        }
    }

    fn skip(&mut self, task: &Task<'_>) {
        self.stats.skipped += 1;
        if self.ctx.options.debug {
            let line = [b"skipped ".as_slice(), &quote::quoted(task.destination_path()), b"\n"].concat();
            self.ctx.reporter.lines(&line);
        }
    }

    fn unlink(&self, task: &Task<'_>) -> Result<(), Failure> {
        match at::unlink(&task.fds.dst, task.entry.destination()) {
            Ok(()) => self.say_removed(task),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Failure::new("cannot remove {}", task.destination_path()).errno(errno)),
        }
        Ok(())
    }

    fn say_removed(&self, task: &Task<'_>) {
        if self.ctx.options.verbose {
            let line = [b"removed ".as_slice(), &quote::quoted(task.destination_path()), b"\n"].concat();
            self.ctx.reporter.lines(&line);
        }
    }

    fn back_up(&self, task: &Task<'_>) -> Result<Option<OsString>, Failure> {
        let Some(backup) = &self.ctx.options.backup else { return Ok(None) };
        backup::make(backup, task.fds.dst.as_fd(), task.entry.destination())
            .map_err(|errno| Failure::new("cannot backup {}", task.destination_path()).errno(errno))
    }

    fn un_back_up(&self, task: &Task<'_>, suffix: &OsStr) {
        let name = task.entry.destination();
        let dst = &task.fds.dst;
        let kept = backup::with_suffix(name, suffix);
        if let Err(errno) = at::rename(dst, &kept, dst, name) {
            self.ctx.reporter.fail(Failure::new("cannot un-backup {}", task.destination_path()).errno(errno));
        } else if self.ctx.options.verbose {
            let from = quote::quoted(backup::with_suffix(&task.destination_path(), suffix));
            let to = quote::quoted(task.destination_path());
            self.ctx.reporter.lines(&[&from, b" -> ".as_slice(), &to, b" (unbackup)\n"].concat());
        }
    }

    /// The name is clear, or to be written into: makes the file, or a link to an earlier copy.
    fn make(
        &mut self,
        task: &Task<'_>,
        source: Source,
        landing: Landing,
        backup: Option<&OsStr>,
    ) -> Result<(), Failure> {
        self.check_landed_link(task)?;
        if self.ctx.options.verbose {
            let destination = task.destination_path();
            let kept = backup.map(|suffix| backup::with_suffix(&destination, suffix));
            self.held = copied_line(&task.source_path(), &destination, kept.as_deref());
            if !self.ctx.options.debug {
                self.say(&[]);
            }
        }
        let answer = match self.tracked_names(task, &source.stat) {
            Some(names) => self.make_linked(task, source, landing, names),
            None => self.make_file(task, source, landing),
        };
        self.say(&[]);
        if answer.is_ok() {
            self.note_landed(task);
        }
        answer
    }

    /// How many names of the source to expect, if links are kept and it may have several.
    fn tracked_names(&self, task: &Task<'_>, source: &Stat) -> Option<u64> {
        let options = &self.ctx.options;
        let followed = match options.dereference {
            Dereference::Never => false,
            Dereference::CommandLine => task.entry.operand,
            Dereference::Always => true,
        };
        if !options.preserve.links || (source.nlink < 2 && !followed) {
            return None;
        }
        // Symbolic links that are followed, and operands that overlap, add names that nobody counts.
        let counted = options.dereference == Dereference::Never && !self.shared.several_operands;
        Some(if counted { source.nlink } else { u64::MAX })
    }

    fn make_linked(
        &mut self,
        task: &Task<'_>,
        source: Source,
        landing: Landing,
        names: u64,
    ) -> Result<(), Failure> {
        let id = source.stat.id();
        match self.shared.links.claim(&source.stat, names, task.dir, task.entry) {
            Claim::Parked => Ok(()),
            Claim::Link(copied) => self.link_to(task, &copied),
            Claim::First => {
                let answer = self.make_file(task, source, landing);
                match &answer {
                    Ok(()) => self.link_parked(id, task),
                    Err(_) => self.retry_parked(id),
                }
                answer
            }
        }
    }

    fn link_parked(&mut self, id: FileId, task: &Task<'_>) {
        let copied = Copied { dir: Arc::clone(task.dir), name: task.entry.destination().to_owned() };
        for parked in self.shared.links.copied(id, &copied) {
            self.with_name(&parked, |worker, task| worker.link_to(task, &copied));
        }
    }

    /// The copy failed: the next name of the inode is copied as the first.
    fn retry_parked(&mut self, id: FileId) {
        while let Some(parked) = self.shared.links.failed(id) {
            let mut done = false;
            self.with_name(&parked, |worker, task| {
                let source = worker.look_at_source(task)?;
                let answer = worker.make_file(task, source, Landing::Create);
                done = answer.is_ok();
                if done {
                    worker.link_parked(id, task);
                }
                answer
            });
            if done {
                return;
            }
        }
    }

    /// Runs something on a name that was parked, and lets go of its directory.
    fn with_name(&mut self, name: &links::Name, run: impl FnOnce(&mut Self, &Task<'_>) -> Result<(), Failure>) {
        let entry = &name.entry;
        let follow = survey::follows_source(&self.ctx.options, entry);
        let answer = match name.dir.fds(self.ctx) {
            Ok(fds) => run(self, &Task { dir: &name.dir, fds: &fds, entry, follow }),
            Err(errno) => {
                Err(Failure::new("cannot access {}", name.dir.destination_path(entry.destination())).errno(errno))
            }
        };
        if let Err(failure) = answer {
            self.ctx.reporter.fail(failure);
        }
        name.dir.leave(self.ctx);
    }

    fn link_to(&mut self, task: &Task<'_>, copied: &Copied) -> Result<(), Failure> {
        let failure = |errno| {
            let earlier = copied.dir.destination_path(&copied.name);
            Failure::new("cannot create hard link {} to {}", task.destination_path()).and(earlier).errno(errno)
        };
        let fds = copied.dir.fds(self.ctx).map_err(failure)?;
        if self.link(task, (fds.dst.as_fd(), &copied.name), Follow::No, true).map_err(failure)? {
            self.say_removed(task);
        }
        Ok(())
    }

    /// `-u` left the destination alone; other names of the source are still names of it.
    fn link_up_to_date(&mut self, task: &Task<'_>, source: &Stat) -> Result<(), Failure> {
        if !self.ctx.options.preserve.links || source.nlink < 2 {
            return Ok(());
        }
        match self.shared.links.claim(source, source.nlink, task.dir, task.entry) {
            Claim::First => self.link_parked(source.id(), task),
            Claim::Link(copied) => self.link_to(task, &copied)?,
            Claim::Parked => {}
        }
        Ok(())
    }

    fn make_file(&mut self, task: &Task<'_>, source: Source, landing: Landing) -> Result<(), Failure> {
        match self.ctx.options.action {
            Action::SymbolicLink => return self.link_symbolically(task, &source.stat),
            Action::HardLink => {
                let over = self.ctx.options.force || self.ctx.options.existing == crate::options::Existing::Ask;
                let failure = |errno| {
                    let words = "cannot create hard link {} to {}";
                    Failure::new(words, task.destination_path()).and(task.source_path()).errno(errno)
                };
                self.link(task, (task.fds.src.as_fd(), &task.entry.name), task.follow, over).map_err(failure)?;
                return Ok(());
            }
            Action::Copy => {}
        }
        match source.stat.kind() {
            Kind::Regular => self.copy_file(task, source, landing),
            Kind::Symlink => self.copy_symlink(task, &source.stat),
            _ if self.ctx.options.read_special => self.copy_file(task, source, landing),
            Kind::Unknown => Err(Failure::new("{} has unknown file type", task.source_path())),
            _ => self.copy_special(task, &source.stat),
        }
    }

    /// Gives the destination the source's owner; false if set-ID bits must not be kept.
    fn keep_owner(&self, task: &Task<'_>, to: Handle<'_>, source: &Stat) -> bool {
        match metadata::set_owner(to, source, self.ctx.process.privileged) {
            Ok(owned) => owned,
            Err(trouble) => {
                self.attribute_failed(task, trouble);
                false
            }
        }
    }

    fn attribute_failed(&self, task: &Task<'_>, trouble: Trouble) {
        self.ctx.reporter.fail(Failure::attribute(trouble, &task.destination_path()));
    }

    fn landed_here(&self, task: &Task<'_>, stat: &Stat) -> bool {
        self.shared.several_operands
            && task.entry.operand
            && lock(&self.shared.landed).get(&task.destination_path()) == Some(&stat.id())
    }

    /// An earlier operand may have made a symbolic link here, which must not be written through.
    fn check_landed_link(&self, task: &Task<'_>) -> Result<(), Failure> {
        if !self.shared.several_operands || !task.entry.operand || self.ctx.options.backup.is_some() {
            return Ok(());
        }
        match at::stat(&task.fds.dst, task.entry.destination(), Follow::No) {
            Ok(stat) if stat.is_symlink() && self.landed_here(task, &stat) => {
                let words = "will not copy {} through just-created symlink {}";
                Err(Failure::new(words, task.source_path()).and(task.destination_path()))
            }
            _ => Ok(()),
        }
    }

    fn note_landed(&self, task: &Task<'_>) {
        if self.shared.several_operands
            && task.entry.operand
            && let Ok(stat) = at::stat(&task.fds.dst, task.entry.destination(), Follow::No)
        {
            lock(&self.shared.landed).insert(task.destination_path(), stat.id());
        }
    }
}

fn refused(task: &Task<'_>, refusal: Refusal) -> Failure {
    let (source, destination) = (task.source_path(), task.destination_path());
    match refusal {
        Refusal::SameFile => Failure::new("{} and {} are the same file", source).and(destination),
        Refusal::DirectoryOverOther => {
            Failure::new("cannot overwrite non-directory {} with directory {}", destination).and(source)
        }
        Refusal::OtherOverDirectory => {
            Failure::new("cannot overwrite directory {} with non-directory {}", destination).and(source)
        }
        Refusal::JustMade => Failure::new("will not overwrite just-created {} with {}", destination).and(source),
        Refusal::BackupIsSource => {
            Failure::new("backing up {} might destroy source;  {} not copied", destination).and(source)
        }
    }
}

fn prompt(question: Question, destination: &OsStr, mode: u32) -> Vec<u8> {
    let name = quote::quoted(destination);
    let octal = format!("{:04o}", mode & 0o7777);
    let letters = permission_letters(mode);
    match question {
        Question::Overwrite => [b"overwrite ".as_slice(), &name, b"? "].concat(),
        Question::ReplaceUnwritable => {
            let rest = format!(", overriding mode {octal} ({letters})? ");
            [b"replace ".as_slice(), &name, rest.as_bytes()].concat()
        }
        Question::TryUnwritable => {
            let rest = format!(" (mode {octal}, {letters}); try anyway? ");
            [b"unwritable ".as_slice(), &name, rest.as_bytes()].concat()
        }
    }
}

/// The nine letters of ls(1).
fn permission_letters(mode: u32) -> String {
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut letters = String::new();
    for (class, (bit, both, alone)) in special.into_iter().enumerate() {
        let bits = mode >> (6 - 3 * class);
        letters.push(if bits & 4 != 0 { 'r' } else { '-' });
        letters.push(if bits & 2 != 0 { 'w' } else { '-' });
        letters.push(match (mode & bit != 0, bits & 1 != 0) {
            (true, true) => both,
            (true, false) => alone,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    letters
}

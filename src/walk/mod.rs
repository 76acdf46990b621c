//! The walk finds: an iterator over parcels of names, driven by whichever worker is idle.
//!
//! It goes down the tree on a stack of open directories, makes the destination directories, and
//! decides what depends on order: loops, copying into itself, other file systems, what was named
//! twice. It never touches the content of a file.

pub mod census;
mod descend;
mod listed;
mod listing;
mod memory;
pub mod operands;
mod resume;
pub mod scout;
mod shows_copy;
pub mod supply;

use crate::backup;
use crate::context::Context;
use crate::dir::Dir;
use crate::filter::{self, Level};
use crate::job::{Entry, Parcel};
use crate::report::{Failure, Stats};
use crate::survey;
use crate::sys::Kind;
use crate::sys::at::{self, Follow};
use crate::sys::dirents::{Dirent, Room};
use listed::Listed;
use listing::Listing;
use memory::Memory;
use operands::Roots;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::Arc;

/// The most names in a parcel. A directory of source code fits; the lock is taken once for it.
const PARCEL: usize = 1024;

/// A tree of no more names, in no more directories, is looked at before anybody is called to help.
const FEW: usize = 16;
/// If these have no more bytes on their disk than this, one worker is through before a second one
/// has started: a pool of two costs 0.4 ms, a small file 0.01 to 0.02.
const LITTLE: u64 = 1 << 20;
/// The same for a single file, with which nobody else could help.
const LITTLE_ALONE: u64 = 16 << 20;

/// The state of the walk.
#[derive(Debug)]
pub struct Walk<'c> {
    ctx: &'c Context,
    stack: Vec<Frame>,
    /// Whether entries are taken strictly in the order of the listing.
    in_order: bool,
    /// Whether there are several operands: naming one twice is worth a warning.
    several: bool,
    memory: Memory,
    /// Parcels that were found before they were asked for.
    ahead: VecDeque<Parcel>,
    /// Where listings are read into.
    room: Room,
    operand: Operand,
    /// Names that are read from a list, in the place of operands.
    listed: Option<Listed>,
    stats: Stats,
}

/// What is known of the operand whose tree is being walked.
#[derive(Debug, Default)]
struct Operand {
    source: OsString,
    destination: OsString,
    dev: u64,
    /// How high the stack was when it was begun.
    depth: usize,
}

/// A directory on the way down.
#[derive(Debug)]
struct Frame {
    dir: Arc<Dir>,
    entries: Entries,
    /// Where patterns see it, if there are any.
    level: Option<Arc<Level>>,
    /// Subdirectories that were listed and are still to be entered.
    later: VecDeque<Entry>,
}

#[derive(Debug)]
enum Entries {
    Operands(std::vec::IntoIter<Entry>),
    Listing(Listing),
    Exhausted,
}

impl<'c> Walk<'c> {
    /// A walk over the operands.
    pub fn new(ctx: &'c Context, roots: Roots, in_order: bool) -> Walk<'c> {
        let several = roots.entries.len() > 1;
        if ctx.resumes() {
            resume::sweep(ctx, &roots.dir, &roots.landing_directory());
        }
        let listed = roots.list.map(Listed::new);
        let entries = Entries::Operands(roots.entries.into_iter());
        let frame = Frame { dir: roots.dir, entries, level: None, later: VecDeque::new() };
        Walk {
            ctx,
            stack: vec![frame],
            in_order,
            several,
            memory: Memory::default(),
            ahead: VecDeque::new(),
            room: Room::default(),
            operand: Operand::default(),
            listed,
            stats: Stats::default(),
        }
    }

    /// What the walk itself did: the directories.
    pub fn take_stats(&mut self) -> Stats {
        std::mem::take(&mut self.stats)
    }

    /// Whether one worker is enough for all there is: a single file, or a few small ones.
    pub fn is_little(&mut self) -> bool {
        let mut names = 0;
        while names <= FEW
            && self.stats.directories <= FEW as u64
            && let Some(parcel) = self.find_parcel()
        {
            names += parcel.entries().len();
            self.ahead.push_back(parcel);
        }
        let most = if names <= 1 { LITTLE_ALONE } else { LITTLE };
        let bytes = || self.ahead.iter().map(|parcel| self.bytes(parcel)).fold(0, u64::saturating_add);
        self.stack.is_empty() && names <= FEW && bytes() <= most
    }

    /// About how many bytes of a parcel there are to move; streams have no end.
    fn bytes(&self, parcel: &Parcel) -> u64 {
        let bytes = |entry: &Entry| {
            let follow = survey::follows_source(&self.ctx.options, entry);
            match at::stat(&parcel.fds.src, &entry.name, follow) {
                // Where no blocks are counted (/proc, servers), the length has to do.
                Ok(stat) if stat.is_regular() && stat.blocks == 0 => stat.size,
                Ok(stat) if stat.is_regular() => stat.blocks.saturating_mul(512),
                Ok(stat) if !stat.is_dir() && !stat.is_symlink() => u64::MAX,
                _ => 0,
            }
        };
        parcel.entries().iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// The next parcel, or `None` at the end (also after a signal).
    pub fn next_parcel(&mut self) -> Option<Parcel> {
        self.ahead.pop_front().or_else(|| self.find_parcel())
    }

    fn find_parcel(&mut self) -> Option<Parcel> {
        if let Some(mut listed) = self.listed.take() {
            let parcel = self.next_listed(&mut listed);
            self.listed = Some(listed);
            return parcel;
        }
        loop {
            if self.ctx.stop.is_raised() {
                self.stack.clear();
            }
            let names = self.collect()?;
            if let Some(parcel) = names.and_then(|names| self.parcel(names)) {
                return Some(parcel);
            }
            let frame = self.stack.last_mut()?;
            let exhausted = matches!(frame.entries, Entries::Exhausted);
            if let Some(entry) = frame.later.pop_front_if(|_| exhausted || self.in_order) {
                let parent = Arc::clone(&frame.dir);
                self.descend(&parent, &entry);
            } else if exhausted && let Some(frame) = self.stack.pop() {
                frame.dir.leave(self.ctx);
            }
        }
    }

    fn parcel(&self, names: Vec<Entry>) -> Option<Parcel> {
        let dir = &self.stack.last()?.dir;
        match dir.fds(self.ctx) {
            Ok(fds) => Some(Parcel::new(Arc::clone(dir), fds, names)),
            Err(errno) => {
                let path = dir.source_path(OsStr::new(""));
                self.ctx.reporter.fail(Failure::new("cannot access {}", path).errno(errno));
                None
            }
        }
    }

    /// Names from the top of the stack, up to a parcel; directories are put aside. `None` when the
    /// stack is empty.
    fn collect(&mut self) -> Option<Option<Vec<Entry>>> {
        let mut names = Vec::new();
        loop {
            let in_order = self.in_order;
            let frame = self.stack.last_mut()?;
            // In order, an operand is looked at when those before it have been copied: it may be a copy of one.
            let after_operand = names.last().is_some_and(|entry: &Entry| entry.operand);
            if names.len() == PARCEL || (in_order && (after_operand || !frame.later.is_empty())) {
                break;
            }
            let Some(mut entry) = self.next_entry() else { break };
            match self.classify(&mut entry) {
                class @ (Class::Directory | Class::Other) if self.is_excluded(&entry, &class) => {
                    self.stats.excluded += 1;
                }
                Class::Directory => self.stack.last_mut()?.later.push_back(entry),
                Class::Other => names.push(entry),
                Class::Nothing => {}
            }
        }
        Some((!names.is_empty()).then_some(names))
    }

    fn next_entry(&mut self) -> Option<Entry> {
        let depth = self.stack.len().saturating_sub(1);
        let frame = self.stack.last_mut()?;
        let next = match &mut frame.entries {
            Entries::Operands(entries) => entries.next(),
            Entries::Listing(listing) => match listing.next() {
                Some(Ok(Dirent { name, kind, .. })) => {
                    Some(Entry { name, new_name: None, hint: kind, operand: false })
                }
                Some(Err(errno)) => {
                    // Of an operand itself, the name as it was written.
                    let path = match depth == self.operand.depth {
                        true => self.operand.source.clone(),
                        false => frame.dir.source_path(OsStr::new("")),
                    };
                    self.ctx.reporter.fail(Failure::new("cannot access {}", path).errno(errno));
                    None
                }
                None => None,
            },
            Entries::Exhausted => None,
        };
        if next.is_none() {
            frame.entries = Entries::Exhausted;
        }
        next
    }

    /// Whether the walk or a worker is to have the entry.
    fn classify(&mut self, entry: &mut Entry) -> Class {
        let follow = survey::follows_source(&self.ctx.options, entry);
        if entry.operand {
            return self.classify_operand(entry, follow);
        }
        match entry.hint {
            Some(Kind::Directory) => Class::Directory,
            Some(Kind::Symlink) if follow == Follow::Yes && self.is_directory(entry, follow) => Class::Directory,
            // Not every file system says in its directories what the entries are.
            None if self.is_directory(entry, follow) => Class::Directory,
            _ => Class::Other,
        }
    }

    fn classify_operand(&mut self, entry: &mut Entry, follow: Follow) -> Class {
        let Some(dir) = self.stack.last().map(|frame| Arc::clone(&frame.dir)) else { return Class::Nothing };
        if self.ctx.options.parents && self.stack.len() == 1 {
            return Class::Directory; // reached through its leading directories
        }
        let stat = dir.fds(self.ctx).and_then(|fds| at::stat(&fds.src, &entry.name, follow));
        let stat = match stat {
            Ok(found) => found,
            Err(errno) => {
                let path = dir.source_path(&entry.name);
                self.ctx.reporter.fail(Failure::new("cannot stat {}", path).errno(errno));
                return Class::Nothing;
            }
        };
        if stat.is_dir() {
            return Class::Directory;
        }
        // The same file may be copied to several names, and other files to the same name.
        if self.several
            && let Ok(location) = survey::location_as_named(&dir.source_path(&entry.name))
            && !self.memory.name_file((location, stat.id(), dir.destination_name(entry.destination())))
            && self.ctx.options.backup.is_none()
        {
            let path = dir.source_path(&entry.name);
            self.ctx.reporter.warn(Failure::new("warning: source file {} specified more than once", path));
            return Class::Nothing;
        }
        entry.hint = Some(stat.kind());
        Class::Other
    }

    /// Whether patterns leave it out.
    fn is_excluded(&self, entry: &Entry, class: &Class) -> bool {
        if self.ctx.options.filter.is_none() {
            return false;
        }
        let level = self.stack.last().and_then(|frame| frame.level.as_deref());
        // The way to an operand of --parents is no operand.
        let on_the_way = level.is_none() && self.ctx.options.parents && self.stack.len() == 1;
        !on_the_way && is_excluded(self.ctx, level, &entry.name, matches!(class, Class::Directory))
    }

    /// Where patterns see a directory below `above`, or one where they begin.
    fn level_below(
        &self,
        above: Option<&Arc<Level>>,
        name: &OsStr,
        source: &impl AsFd,
        path: &impl Fn() -> OsString,
    ) -> Option<Arc<Level>> {
        level_below(self.ctx, above, name, source, path)
    }

    fn is_directory(&self, entry: &Entry, follow: Follow) -> bool {
        let Some(frame) = self.stack.last() else { return false };
        let fds = frame.dir.fds(self.ctx);
        fds.is_ok_and(|fds| at::stat(&fds.src, &entry.name, follow).is_ok_and(|stat| stat.is_dir()))
    }
}

/// See [`Walk::level_below`].
fn level_below(
    ctx: &Context,
    above: Option<&Arc<Level>>,
    name: &OsStr,
    source: &impl AsFd,
    path: &impl Fn() -> OsString,
) -> Option<Arc<Level>> {
    let filter = ctx.options.filter.as_ref()?;
    let ignores = if filter.gitignore { gitignore(ctx, source, path) } else { None };
    Some(match above {
        Some(above) => filter.below(above, name, ignores.as_deref()),
        None => filter.top(ignores.as_deref()),
    })
}

/// What the `.gitignore` of a directory says; one that is no regular file says nothing, as for git.
fn gitignore(ctx: &Context, dir: &impl AsFd, path: &impl Fn() -> OsString) -> Option<Vec<u8>> {
    let answer = at::read_small(dir, OsStr::new(filter::GITIGNORE));
    answer.unwrap_or_else(|errno| {
        let path = std::path::Path::new(&path()).join(filter::GITIGNORE);
        ctx.reporter.fail(Failure::new("cannot read {}", path).errno(errno));
        None
    })
}

/// Whether patterns leave out a name in a directory, or an operand if that is at no level.
fn is_excluded(ctx: &Context, level: Option<&Level>, name: &OsStr, is_dir: bool) -> bool {
    ctx.options.filter.as_ref().is_some_and(|filter| match level {
        Some(level) => filter.excludes(level, name, is_dir),
        None => filter.excludes_operand(backup::split(name).1, is_dir),
    })
}

enum Class {
    Directory,
    Other,
    Nothing,
}

//! The walk finds: an iterator over parcels of names, driven by whichever worker is idle.
//!
//! It goes down the tree on a stack of open directories, makes the destination directories, and
//! decides what depends on order: loops, copying into itself, other file systems, what was named
//! twice. It never touches the content of a file.

mod listing;
pub mod operands;
pub mod scout;

use crate::context::Context;
use crate::dir::{Base, Dir, Fds, Finish, Place};
use crate::job::{Entry, Parcel};
use crate::options::Dereference;
use crate::plan::{self, Refusal, Verdict};
use crate::report::{Failure, Stats, copied_line};
use crate::survey;
use crate::sys::at::{self, Follow};
use crate::sys::stat::FileId;
use crate::sys::{Kind, Stat};
use listing::Listing;
use operands::Roots;
use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The most names in a parcel. A directory of source code fits; the lock is taken once for it.
const PARCEL: usize = 1024;

/// The state of the walk.
#[derive(Debug)]
pub struct Walk<'c> {
    ctx: &'c Context,
    stack: Vec<Frame>,
    /// Whether entries are taken strictly in the order of the listing.
    in_order: bool,
    /// Operands seen, if there are several: naming one twice is worth a warning.
    seen: Option<HashSet<(OsString, FileId)>>,
    operand: Operand,
    stats: Stats,
}

/// What is known of the operand whose tree is being walked.
#[derive(Debug, Default)]
struct Operand {
    source: OsString,
    destination: OsString,
    dev: u64,
    /// The first directory that was made for it: meeting that one as a source means that the
    /// destination is inside the source.
    first_made: Option<FileId>,
}

/// A directory on the way down.
#[derive(Debug)]
struct Frame {
    dir: Arc<Dir>,
    entries: Entries,
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
        let seen = (roots.entries.len() > 1).then(HashSet::new);
        let entries = Entries::Operands(roots.entries.into_iter());
        let frame = Frame { dir: roots.dir, entries, later: VecDeque::new() };
        Walk { ctx, stack: vec![frame], in_order, seen, operand: Operand::default(), stats: Stats::default() }
    }

    /// What the walk itself did: the directories.
    pub fn take_stats(&mut self) -> Stats {
        std::mem::take(&mut self.stats)
    }

    /// The next parcel, or `None` at the end (also after a signal).
    pub fn next_parcel(&mut self) -> Option<Parcel> {
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
            if names.len() == PARCEL || (in_order && !frame.later.is_empty()) {
                break;
            }
            let Some(mut entry) = self.next_entry() else { break };
            match self.classify(&mut entry) {
                Class::Directory => self.stack.last_mut()?.later.push_back(entry),
                Class::Other => names.push(entry),
                Class::Nothing => {}
            }
        }
        Some((!names.is_empty()).then_some(names))
    }

    fn next_entry(&mut self) -> Option<Entry> {
        let frame = self.stack.last_mut()?;
        let next = match &mut frame.entries {
            Entries::Operands(entries) => entries.next(),
            Entries::Listing(listing) => match listing.next() {
                Some(Ok((name, hint))) => Some(Entry { name, new_name: None, hint, operand: false }),
                Some(Err(errno)) => {
                    let path = frame.dir.source_path(OsStr::new(""));
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
            Some(Kind::Symlink) if follow == Follow::Yes && self.leads_to_directory(entry) => Class::Directory,
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
            Ok(stat) => stat,
            Err(errno) => {
                let path = dir.source_path(&entry.name);
                self.ctx.reporter.fail(Failure::new("cannot stat {}", path).errno(errno));
                return Class::Nothing;
            }
        };
        let new = self.seen.as_mut().is_none_or(|seen| seen.insert((entry.name.clone(), stat.id())));
        if !stat.is_dir() && !new && self.ctx.options.backup.is_none() {
            self.ctx.reporter.warn(&Failure::new("warning: source file {} specified more than once", &entry.name));
            return Class::Nothing;
        }
        entry.hint = Some(stat.kind());
        if stat.is_dir() { Class::Directory } else { Class::Other }
    }

    fn leads_to_directory(&self, entry: &Entry) -> bool {
        let Some(frame) = self.stack.last() else { return false };
        let fds = frame.dir.fds(self.ctx);
        fds.is_ok_and(|fds| at::stat(&fds.src, &entry.name, Follow::Yes).is_ok_and(|stat| stat.is_dir()))
    }

    /// Makes the destination of a directory and puts its entries on the stack.
    fn descend(&mut self, parent: &Arc<Dir>, entry: &Entry) {
        if entry.operand {
            self.operand = Operand {
                source: entry.name.clone(),
                destination: parent.destination_path(entry.destination()),
                ..Operand::default()
            };
        }
        let through_parents = self.ctx.options.parents && self.stack.len() == 1;
        let answer =
            if through_parents { self.descend_to(parent, entry) } else { self.try_descend(parent, entry) };
        if let Err(failure) = answer {
            self.ctx.reporter.fail(failure);
        }
    }

    /// Recreates the leading directories of a `--parents` operand, and goes on with the operand
    /// inside the last of them.
    fn descend_to(&mut self, root: &Arc<Dir>, entry: &Entry) -> Result<(), Failure> {
        let (leading, last) = operands::leading(&entry.name);
        let mut dir = Arc::clone(root);
        dir.enter();
        for part in leading {
            let below = self.recreate(&dir, &part);
            dir.leave(self.ctx); // what is below holds it
            dir = below?;
        }
        let entries = Entries::Operands(vec![last].into_iter());
        self.stack.push(Frame { dir, entries, later: VecDeque::new() });
        Ok(())
    }

    fn recreate(&self, parent: &Arc<Dir>, part: &Entry) -> Result<Arc<Dir>, Failure> {
        let source_path = || parent.source_path(&part.name);
        let destination_path = || parent.destination_path(part.destination());
        let no_attributes = |errno| Failure::new("failed to get attributes of {}", source_path()).errno(errno);
        let fds = parent.fds(self.ctx).map_err(no_attributes)?;
        let src = at::open_dir(&fds.src, &part.name, Follow::Yes).map_err(no_attributes)?;
        let source = at::fstat(&src).map_err(no_attributes)?;
        let there = at::stat(&fds.dst, part.destination(), Follow::Yes);
        let made = there.is_err();
        let (dst, mode) = match there {
            Ok(stat) if !stat.is_dir() => {
                return Err(Failure::new("{} exists but is not a directory", destination_path()));
            }
            Ok(_) => {
                let opened = at::open_dir(&fds.dst, part.destination(), Follow::Yes);
                (opened.map_err(|errno| Failure::new("cannot access {}", destination_path()).errno(errno))?, None)
            }
            Err(_) => self.make(&fds, part, &source, "cannot make directory {}", &destination_path)?,
        };
        if made && self.ctx.options.verbose {
            let (from, to) = (source_path(), destination_path());
            self.ctx.reporter.lines(&[from.as_bytes(), b" -> ", to.as_bytes(), b"\n"].concat());
        }
        let dst_id = at::fstat(&dst).map_err(no_attributes)?.id();
        let place = Place {
            parent: Arc::clone(parent),
            name: part.name.clone(),
            new_name: part.destination().to_owned(),
            follow_source: Follow::Yes,
            follow_destination: Follow::from(!made),
        };
        let fds = Fds { src: Base::Open(src), dst: Base::Open(dst) };
        Ok(Dir::below(self.ctx, place, fds, dst_id, Finish { source, made, mode }))
    }

    fn try_descend(&mut self, parent: &Arc<Dir>, entry: &Entry) -> Result<(), Failure> {
        let source_path = || parent.source_path(&entry.name);
        let destination_path = || parent.destination_path(entry.destination());
        let cannot_stat = |errno| Failure::new("cannot stat {}", source_path()).errno(errno);
        let fds =
            parent.fds(self.ctx).map_err(|errno| Failure::new("cannot access {}", source_path()).errno(errno))?;
        let follow = survey::follows_source(&self.ctx.options, entry);
        let src = match at::open_dir(&fds.src, &entry.name, follow) {
            Ok(src) => src,
            Err(errno) => {
                at::stat(&fds.src, &entry.name, follow).map_err(cannot_stat)?;
                return Err(Failure::new("cannot access {}", source_path()).errno(errno));
            }
        };
        let source = at::fstat(&src).map_err(cannot_stat)?;
        if !self.ctx.options.recursive {
            return Err(Failure::new("-r not specified; omitting directory {}", source_path()));
        }
        if entry.operand {
            self.operand.dev = source.dev;
        }
        let occupant = if parent.fresh {
            None
        } else {
            let cannot_stat = |errno| Failure::new("cannot stat {}", destination_path()).errno(errno);
            survey::look(self.ctx, &fds, entry, &source).map_err(cannot_stat)?
        };
        let verdict = plan::decide(&self.ctx.options, &source, occupant.as_ref());
        self.check(parent, entry, &source, &verdict)?;
        let follow_destination = Follow::from(occupant.is_some_and(|occupant| occupant.link.is_symlink()));
        let made = verdict != Verdict::Merge;
        let (dst, mode) = if made {
            self.make(&fds, entry, &source, "cannot create directory {}", &destination_path)?
        } else {
            let opened = at::open_dir(&fds.dst, entry.destination(), follow_destination);
            (opened.map_err(|errno| Failure::new("cannot access {}", destination_path()).errno(errno))?, None)
        };
        let dst_id =
            at::fstat(&dst).map_err(|errno| Failure::new("cannot stat {}", destination_path()).errno(errno))?.id();
        if made {
            self.operand.first_made.get_or_insert(dst_id);
            if self.ctx.options.verbose {
                self.ctx.reporter.lines(&copied_line(&source_path(), &destination_path(), None));
            }
        }
        self.stats.directories += 1;
        let elsewhere = self.ctx.options.one_file_system && source.dev != self.operand.dev;
        let entries = if elsewhere { Entries::Exhausted } else { self.list(&src, &source_path())? };
        let place = Place {
            parent: Arc::clone(parent),
            name: entry.name.clone(),
            new_name: entry.destination().to_owned(),
            follow_source: follow,
            follow_destination,
        };
        let fds = Fds { src: Base::Open(src), dst: Base::Open(dst) };
        let dir = Dir::below(self.ctx, place, fds, dst_id, Finish { source, made, mode });
        self.stack.push(Frame { dir, entries, later: VecDeque::new() });
        Ok(())
    }

    /// What must not be entered.
    fn check(&self, parent: &Arc<Dir>, entry: &Entry, source: &Stat, verdict: &Verdict) -> Result<(), Failure> {
        let source_path = || parent.source_path(&entry.name);
        let destination_path = || parent.destination_path(entry.destination());
        match verdict {
            Verdict::Refuse(Refusal::SameFile) => {
                return Err(Failure::new("{} and {} are the same file", source_path()).and(destination_path()));
            }
            Verdict::Refuse(_) => {
                let words = "cannot overwrite non-directory {} with directory {}";
                return Err(Failure::new(words, destination_path()).and(source_path()));
            }
            _ => {}
        }
        if self.operand.first_made == Some(source.id()) {
            let words = "cannot copy a directory, {}, into itself, {}";
            return Err(Failure::new(words, &self.operand.source).and(&self.operand.destination));
        }
        let mut above = Some(parent);
        while let Some(dir) = above.filter(|_| self.ctx.options.dereference == Dereference::Always) {
            if dir.source_id() == Some(source.id()) {
                return Err(Failure::new("cannot copy cyclic symbolic link {}", source_path()));
            }
            above = dir.parent();
        }
        Ok(())
    }

    /// Makes a directory that its content can be put into, and says what mode it is to have later.
    fn make(
        &self,
        fds: &Fds,
        entry: &Entry,
        source: &Stat,
        cannot: &'static str,
        path: &impl Fn() -> OsString,
    ) -> Result<(OwnedFd, Option<u32>), Failure> {
        let keep = &self.ctx.options.preserve;
        let mode = source.permissions();
        // Until owner and ACL are right, nobody else gets in.
        let withheld = mode & if keep.ownership { 0o077 } else { 0o022 };
        let name = entry.destination();
        at::mkdir(&fds.dst, name, mode & !withheld).map_err(|errno| Failure::new(cannot, path()).errno(errno))?;
        let cannot_stat = |errno| Failure::new("cannot stat {}", path()).errno(errno);
        let given = at::stat(&fds.dst, name, Follow::No).map_err(cannot_stat)?.permissions();
        if given & 0o700 != 0o700 {
            at::chmod(&fds.dst, name, given | 0o700)
                .map_err(|errno| Failure::new("setting permissions for {}", path()).errno(errno))?;
        }
        let dst = at::open_dir(&fds.dst, name, Follow::No).map_err(cannot_stat)?;
        let wanted = if keep.no_mode {
            // The set-group-ID bit may come from the parent, and stays.
            given & 0o7000 | 0o777 & !self.ctx.process.umask
        } else {
            given | withheld & !self.ctx.process.umask
        };
        Ok((dst, (wanted != given | 0o700).then_some(wanted)))
    }

    fn list(&self, src: impl AsFd, path: &OsStr) -> Result<Entries, Failure> {
        let listing = Listing::open(src.as_fd(), path);
        if !self.in_order {
            return Ok(Entries::Listing(listing));
        }
        match listing.sorted() {
            Ok(sorted) => Ok(Entries::Listing(sorted)),
            Err(errno) => {
                // The directory itself still gets its attributes.
                self.ctx.reporter.fail(Failure::new("cannot access {}", path).errno(errno));
                Ok(Entries::Exhausted)
            }
        }
    }
}

enum Class {
    Directory,
    Other,
    Nothing,
}

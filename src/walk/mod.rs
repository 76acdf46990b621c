//! The walk finds names: workers enter directories and hand out batches.
//!
//! The worker that enters a directory opens its source, makes or opens its destination, and lists it. Its
//! subdirectories go to the frontier, where the next idle worker takes them. A single worker follows cp's
//! order. The walk never touches the content of a file.

pub(crate) mod directory;
mod enter;
pub(crate) mod estimate;
mod frontier;
mod listed;
mod listing;
pub(crate) mod operands;
mod registry;
mod shows_copy;
pub(crate) mod source_walk;
pub(crate) mod supply;

use crate::batch::{Batch, Entries, Entry};
use crate::context::Context;
use crate::dir::{Dir, Hold};
use crate::error::Operation;
use crate::existing;
use crate::filter::{self, Level};
use crate::options::{Dereference, Options};
use crate::path;
use crate::report::{Events, Failure, Stats};
use crate::sys::Kind;
use crate::sys::at::{self, Follow};
use crate::sys::dirents::{Dirent, EntryBuffer, Names};
use crate::sys::fd_table::Table;
use crate::temporary;
pub(crate) use frontier::Work;
use frontier::{Discovery, FindTask, FoundIn, Frontier, FrontierTask, Pending, Subdirectories, Unread};
#[cfg(feature = "cli")]
pub(crate) use listed::Fingerprints;
use listed::Listed;
use listing::Listing;
use operands::Roots;
use registry::Registry;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use supply::Supply;

/// The most names in a batch where order matters, and in a group of `--files-from`. Any other batch from a listing is one
/// piece of it.
const BATCH: usize = 1024;
/// The most operands that one worker looks at before it shares them, if order does not matter.
const OPERANDS: usize = 64;

/// Trees of at most this many names and directories are inspected before a second worker starts.
const FEW: usize = 16;
/// If such a tree has at most this many bytes on disk, one worker finishes before a second one has started:
/// starting a pool of two takes 0.4 ms, copying a small file 0.01 to 0.02 ms.
const LITTLE: u64 = 1 << 20;
/// The limit for a single file, which a second worker could not help with.
const LITTLE_ALONE: u64 = 16 << 20;

pub(crate) struct Walk<'c> {
    ctx: &'c Arc<Context>,
    frontier: Frontier<'c>,
    /// Whether entries are taken in cp's order: by inode number, each subdirectory with its contents before the next
    /// entry.
    in_order: bool,
    several_operands: bool,
    /// Whether two operands may get the same name at the destination, so that a repeated name deserves a warning.
    operands_collide: bool,
    registry: Registry,
}

#[derive(Debug, Default)]
struct Operand {
    /// The position on the command line.
    position: usize,
    depth: usize,
    source: OsString,
    destination: OsString,
    dev: u64,
    /// Whether the rest of the operand is skipped.
    abandoned: AtomicBool,
}

#[derive(Debug)]
struct Node {
    dir: Hold,
    operand: Arc<Operand>,
    /// The filter's view of the directory, if there are patterns.
    level: Option<Arc<Level>>,
    depth: usize,
    /// The number of workers that are entering a subdirectory.
    entering: AtomicUsize,
    /// Whether it contains the operands.
    is_root: bool,
    is_operand: bool,
    /// Whether a subdirectory may be entered only after all earlier ones were walked.
    one_at_a_time: bool,
    /// The table of descriptors of the worker that opened the directory.
    table: Table,
}

/// A worker's access to the walk.
pub(crate) struct Walker<'w, 'c> {
    walk: &'w Walk<'c>,
    pub ctx: &'c Arc<Context>,
    buffer: EntryBuffer,
    /// The counts of the walk: directories and excluded names.
    pub stats: Stats,
    /// Whether it copies names of other workers' batches.
    may_help: bool,
}

enum Entered {
    Directory(Pending),
    /// The entry is not a directory, although the listing says so.
    Other,
    /// Nothing in it is to be copied.
    Nothing,
}

impl Operand {
    fn new(position: usize, depth: usize, (source, destination): (OsString, OsString), dev: u64) -> Operand {
        Operand { position, depth, source, destination, dev, abandoned: AtomicBool::new(false) }
    }

    fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    fn meets_itself(&self) -> Failure {
        Failure::new(Operation::IntoItself, &self.source).and(&self.destination)
    }
}

impl Node {
    fn root(dir: Hold) -> Node {
        Node {
            dir,
            operand: Arc::default(),
            level: None,
            depth: 0,
            entering: AtomicUsize::new(0),
            is_root: true,
            is_operand: false,
            one_at_a_time: false,
            table: Table::current(),
        }
    }

    /// Returns whether this worker has opened the directory, or shares descriptors with the one that has.
    fn is_here(&self) -> bool {
        self.table.is_here()
    }
}

impl<'c> Walk<'c> {
    pub(crate) fn new(ctx: &'c Arc<Context>, roots: Roots, in_order: bool) -> Walk<'c> {
        let (several_operands, operands_collide) = (roots.entries.len() > 1, roots.operands_collide);
        if ctx.options.removes_leftovers() {
            temporary::sweep(ctx, &roots.dir, &roots.target_directory());
        }
        let frontier = match roots.list {
            Some(list) => Frontier::of_supply(in_order, Box::new(Listed::new(list, roots.dir))),
            None => {
                // If links are followed, one operand may lead into the copy of another.
                let one_at_a_time = several_operands && ctx.options.dereference == Dereference::Always;
                let node = Arc::new(Node { one_at_a_time, ..Node::root(roots.dir) });
                let unread = Unread::Operands(0, roots.entries.into_iter());
                Frontier::of_tree(in_order, Pending { node, unread, subdirectories: Subdirectories::default() })
            }
        };
        Walk { ctx, frontier, in_order, several_operands, operands_collide, registry: Registry::default() }
    }

    /// Makes a walk over the names of a supply instead of a tree.
    pub(crate) fn supplied(ctx: &'c Arc<Context>, supply: impl Supply<'c> + 'c) -> Walk<'c> {
        let frontier = Frontier::of_supply(false, Box::new(supply));
        let (in_order, several_operands, operands_collide) = (false, false, false);
        Walk { ctx, frontier, in_order, several_operands, operands_collide, registry: Registry::default() }
    }

    pub(crate) fn walker(&self) -> Walker<'_, 'c> {
        let buffer = EntryBuffer::default();
        Walker { walk: self, ctx: self.ctx, buffer, stats: Stats::default(), may_help: true }
    }

    /// Returns whether one more worker would have nothing to do.
    pub(crate) fn has_enough_workers(&self) -> bool {
        self.frontier.has_enough_workers()
    }

    /// Returns the largest number of batches that were in progress at once.
    pub(crate) fn peak(&self) -> usize {
        self.frontier.peak()
    }
}

impl<'c> Walker<'_, 'c> {
    /// Returns whether one worker is enough for the whole copy: a single file, or a few that are small or cloned. The
    /// names found here are kept for the workers.
    pub(crate) fn is_little(&mut self, are_cloned: bool) -> bool {
        let mut names = 0;
        let mut batches = Vec::new();
        let most_ahead = self.ctx.run.descriptors.batches_ahead();
        while names <= FEW
            && batches.len() < most_ahead
            && self.stats.directories <= FEW as u64
            && !self.ctx.run.stop.is_raised()
            && let Some(task) = self.walk.frontier.take_ahead()
        {
            let mut found = self.find(task);
            if let Some(found) = found.batch.take() {
                names += found.batch.entries().len();
                batches.push(found);
            }
            self.walk.frontier.add(found);
        }
        let most = if names <= 1 { LITTLE_ALONE } else { LITTLE };
        let bytes = || batches.iter().map(|found| self.bytes(&found.batch)).fold(0, u64::saturating_add);
        let is_little = names <= FEW && self.walk.frontier.is_over() && (are_cloned || bytes() <= most);
        self.walk.frontier.add_ahead(batches);
        is_little
    }

    /// Estimates the bytes to move in a batch. Streams count as endless.
    fn bytes(&self, batch: &Batch) -> u64 {
        let bytes = |entry: Entry| {
            let follow = existing::follows_source(&self.ctx.options, &entry);
            match at::stat(&batch.fds.src, &entry.name, follow) {
                // /proc and some servers count no blocks, so the length has to do.
                Ok(stat) if stat.is_regular() && stat.blocks == 0 => stat.size,
                Ok(stat) if stat.is_regular() => stat.blocks.saturating_mul(512),
                Ok(stat) if !stat.is_dir() && !stat.is_symlink() => u64::MAX,
                _ => 0,
            }
        };
        let entries = batch.entries();
        (0..entries.len()).filter_map(|at| entries.get(at)).map(bytes).fold(0, u64::saturating_add)
    }

    /// Returns the next batch to copy names of, or `None` at the end or after a signal.
    pub(crate) fn next_batch(&mut self) -> Option<Work<'c>> {
        loop {
            match self.walk.frontier.take(&self.ctx.run.stop, self.may_help)? {
                FrontierTask::Copy(work) => match self.open_here(work) {
                    None => self.may_help = false,
                    work => return work,
                },
                FrontierTask::Find(task) => {
                    let found = self.find(task);
                    let work = self.walk.frontier.add(found);
                    if work.is_some() {
                        return work;
                    }
                }
            }
        }
    }

    /// Opens the directory of another worker's batch in this worker's table of descriptors. Returns `None` if that
    /// fails: then the batch is left to the others.
    fn open_here(&self, mut work: Work<'c>) -> Option<Work<'c>> {
        if !work.batch.fds.is_here() {
            work.batch.fds = work.batch.dir.fds(self.ctx).ok()?;
        }
        Some(work)
    }

    /// Says that the worker leaves a batch. `directories` are entries that turned out to be directories
    /// although the listing said otherwise: file systems can report wrong types, and names can be exchanged.
    pub(crate) fn leave(&mut self, work: Work<'c>, directories: Vec<Entry>) {
        let Work { batch, found_in, .. } = &work;
        if batch.is_taken() {
            self.walk.frontier.remove(batch);
        }
        match found_in {
            _ if directories.is_empty() => {}
            FoundIn::Directory(node) => self.add_directories(node, directories),
            FoundIn::Supply(group) => {
                for entry in directories {
                    if let Err(failure) = group.enter_directory(self, batch, &entry) {
                        self.ctx.events.fail(failure);
                    }
                }
            }
        }
    }

    fn add_directories(&mut self, node: &Arc<Node>, directories: Vec<Entry>) {
        let level = node.level.as_deref();
        let is_excluded =
            |entry: &Entry| level.is_some() && is_excluded(&self.ctx.options, level, &entry.name, true);
        let (excluded, wanted): (Vec<_>, Vec<_>) = directories.into_iter().partition(is_excluded);
        self.stats.excluded += excluded.len() as u64;
        self.walk.frontier.add_directories(node, wanted);
    }

    fn find(&mut self, task: FindTask<'c>) -> Discovery<'c> {
        match task {
            FindTask::Ask(mut supply) => match supply.next_group(self.ctx) {
                Some(group) => {
                    self.walk.frontier.give_back(supply);
                    let batch = group.enter(self).unwrap_or_else(|failure| {
                        self.ctx.events.fail(failure);
                        None
                    });
                    let batch = batch.filter(|batch| !batch.is_taken());
                    Discovery { batch: batch.map(|batch| Work::new(batch, FoundIn::Supply(group))), pending: None }
                }
                None => Discovery::default(),
            },
            FindTask::Read(node, unread) => {
                self.sift(Pending { node, unread, subdirectories: Subdirectories::default() })
            }
            FindTask::Enter(node, entry, position) => {
                let entered = self.enter_directory(&node, &entry, position);
                node.entering.fetch_sub(1, Ordering::Relaxed);
                match entered {
                    Entered::Directory(pending) => self.sift(pending),
                    Entered::Other => {
                        Discovery { batch: self.batch_of_other(&node, entry), ..Discovery::default() }
                    }
                    Entered::Nothing => Discovery::default(),
                }
            }
        }
    }

    /// Sorts the unread entries, reading more if there are none: subdirectories are kept for later, all other
    /// entries become a batch.
    fn sift(&mut self, mut pending: Pending) -> Discovery<'c> {
        let node = Arc::clone(&pending.node);
        let entries = match std::mem::take(&mut pending.unread) {
            Unread::Operands(position, operands) => {
                Entries::Given(self.sift_operands(&mut pending, position, operands))
            }
            Unread::Listing(listing) => {
                let names = self.sift_listing(&mut pending, listing);
                if !self.walk.in_order {
                    pending.subdirectories.spread();
                }
                Entries::Listed(names)
            }
            Unread::Taken | Unread::Nothing => Entries::Given(Vec::new()),
        };
        let batch = if entries.is_empty() { None } else { self.batch(&node, entries) };
        Discovery { pending: Some(pending), batch }
    }

    /// Makes a batch of an entry that the listing called a directory by mistake.
    fn batch_of_other(&mut self, node: &Arc<Node>, entry: Entry) -> Option<Work<'c>> {
        let level = node.level.as_deref();
        if level.is_some() && is_excluded(&self.ctx.options, level, &entry.name, false) {
            self.stats.excluded += 1;
            return None;
        }
        self.batch(node, Entries::Given(vec![Entry { hint: None, ..entry }]))
    }

    fn batch(&self, node: &Arc<Node>, entries: Entries) -> Option<Work<'c>> {
        match node.dir.fds_or_failure(self.ctx) {
            Ok(fds) => {
                let batch = Batch::new(node.dir.clone(), fds, entries);
                Some(Work::new(batch, FoundIn::Directory(Arc::clone(node))))
            }
            Err(failure) => {
                self.ctx.events.fail(failure);
                None
            }
        }
    }

    /// Returns whether enough names were found for now. In order, a directory is entered before the next entry is
    /// looked at.
    fn is_enough(&self, subdirectories: &Subdirectories, names: usize, most: usize) -> bool {
        names >= most || (self.walk.in_order && !subdirectories.is_empty())
    }

    fn sift_operands(
        &mut self,
        pending: &mut Pending,
        first: usize,
        mut operands: std::vec::IntoIter<Entry>,
    ) -> Vec<Entry> {
        // In order, an operand is inspected after the copy of those before it: it may be one of the copies.
        let most = if self.walk.in_order { 1 } else { OPERANDS };
        let mut batch = Vec::new();
        let mut position = first;
        while !self.is_enough(&pending.subdirectories, position - first, most) {
            let Some(mut entry) = operands.next() else { return batch };
            match self.classify_operand(&pending.node, &mut entry) {
                class @ (Class::Directory | Class::Other)
                    if self.is_operand_excluded(&pending.node, &entry, &class) =>
                {
                    self.stats.excluded += 1;
                    // A name that was typed was probably meant to be copied.
                    let path = pending.node.dir.source_path(&entry.name);
                    self.ctx.events.warn(Failure::new(Operation::ExcludedOperand, path));
                }
                Class::Directory => {
                    if self.walk.several_operands && !self.walk.in_order {
                        self.walk.registry.expect(position);
                    }
                    pending.subdirectories.push_operand(position, entry);
                }
                Class::Other => batch.push(entry),
                Class::Nothing => {}
            }
            position += 1;
        }
        pending.unread = Unread::Operands(position, operands);
        batch
    }

    fn sift_listing(&mut self, pending: &mut Pending, mut listing: Listing) -> Names {
        let mut names = Names::default();
        loop {
            if names.is_empty() && !self.walk.in_order && pending.node.level.is_none() {
                names = listing.take_files().unwrap_or(names);
            }
            let most = if self.walk.in_order { BATCH } else { usize::MAX };
            while !self.is_enough(&pending.subdirectories, names.len(), most)
                && let Some(found) = listing.next()
            {
                let is_dir = self.is_directory(&pending.node, &found);
                if self.is_listed_name_excluded(&pending.node, &found, is_dir) {
                    self.stats.excluded += 1;
                } else if is_dir {
                    pending.subdirectories.push(found);
                } else {
                    names.push(found);
                }
            }
            let is_enough = self.is_enough(&pending.subdirectories, names.len(), most);
            if is_enough || (listing.has_more() && !(names.is_empty() && pending.subdirectories.is_empty())) {
                pending.unread = Unread::Listing(listing);
                return names;
            }
            match listing.read_on(&mut self.buffer) {
                Ok(true) => {}
                Ok(false) => return names,
                Err(errno) => {
                    let node = &pending.node;
                    // An operand is reported as it was typed.
                    let path = match node.is_operand {
                        true => node.operand.source.clone(),
                        false => node.dir.source_path(OsStr::new("")),
                    };
                    self.ctx.events.fail(Failure::new(Operation::Access, path).errno(errno));
                    return names;
                }
            }
        }
    }

    /// Returns whether patterns exclude an entry of a directory. If that depends on its type, the type in the
    /// listing is checked with stat first.
    fn is_listed_name_excluded(&self, node: &Node, found: &Dirent<'_>, is_dir: bool) -> bool {
        let Some(level) = node.level.as_deref() else { return false };
        let excluded_as = |is_dir| is_excluded(&self.ctx.options, Some(level), found.name, is_dir);
        excluded_as(is_dir) && (excluded_as(!is_dir) || self.has_type(node, found, is_dir))
    }

    /// Returns whether an entry exists and is a directory, or with `is_dir` false, is anything else.
    fn has_type(&self, node: &Node, found: &Dirent<'_>, is_dir: bool) -> bool {
        let follow = Follow::from(self.ctx.options.dereference == Dereference::Always);
        let stat = node.dir.fds(self.ctx).and_then(|fds| at::stat(&fds.src, found.name, follow));
        stat.is_ok_and(|stat| stat.is_dir() == is_dir)
    }

    fn is_directory(&self, node: &Node, found: &Dirent<'_>) -> bool {
        match found.kind {
            Some(Kind::Directory) => true,
            Some(Kind::Symlink) if self.ctx.options.dereference != Dereference::Always => false,
            // Some file systems do not report types in their listings.
            Some(Kind::Symlink) | None => self.has_type(node, found, true),
            _ => false,
        }
    }

    fn classify_operand(&self, node: &Node, entry: &mut Entry) -> Class {
        if self.ctx.options.parents && node.is_root {
            return Class::Directory; // entered through its leading directories
        }
        let dir: &Arc<Dir> = &node.dir;
        let follow = existing::follows_source(&self.ctx.options, entry);
        let stat = match dir.fds(self.ctx).and_then(|fds| at::stat(&fds.src, &entry.name, follow)) {
            Ok(found) => found,
            Err(errno) => {
                let path = dir.source_path(&entry.name);
                let failure = Failure::new(Operation::Stat, &path).errno(errno);
                self.ctx.events.fail(failure.of_names(path, dir.destination_path(entry.destination())));
                return Class::Nothing;
            }
        };
        if stat.is_dir() {
            return Class::Directory;
        }
        // One file may be copied to several names, and several files to one name.
        if self.walk.operands_collide
            && let Ok(location) = existing::location(at::CWD, &dir.source_path(&entry.name), Follow::No)
            && !self.walk.registry.name_file((location, stat.id(), dir.destination_name(entry.destination())))
            && self.ctx.options.backup.is_none()
        {
            let path = dir.source_path(&entry.name);
            self.ctx.events.warn(Failure::new(Operation::RepeatedFile, path));
            return Class::Nothing;
        }
        entry.hint = Some(stat.kind());
        Class::Other
    }

    fn is_operand_excluded(&self, node: &Node, entry: &Entry, class: &Class) -> bool {
        // The leading directories of a --parents operand are not operands.
        let on_the_way = self.ctx.options.parents && node.is_root;
        !on_the_way && is_excluded(&self.ctx.options, None, &entry.name, matches!(class, Class::Directory))
    }
}

/// Returns the filter's view of a directory below `above`, or of the first one if `above` is `None`.
fn level_below(
    ctx: &Context,
    above: Option<&Arc<Level>>,
    name: &OsStr,
    source: &impl AsFd,
    path: &impl Fn() -> OsString,
) -> Option<Arc<Level>> {
    let filter = ctx.options.filter.as_ref()?;
    let ignores = if filter.gitignore { gitignore(&ctx.events, source, path) } else { None };
    Some(filter.level(above, name, ignores.as_deref()))
}

/// Reads the `.gitignore` of a directory. As in git, one that is not a regular file has no effect.
fn gitignore(events: &Events, dir: &impl AsFd, path: &impl Fn() -> OsString) -> Option<Vec<u8>> {
    let answer = at::read_small(dir, OsStr::new(filter::GITIGNORE));
    answer.unwrap_or_else(|errno| {
        let path = std::path::Path::new(&path()).join(filter::GITIGNORE);
        events.fail(Failure::new(Operation::ReadDirectory, path).errno(errno));
        None
    })
}

/// Returns whether patterns exclude a name in a directory, or an operand if `level` is `None`.
fn is_excluded(options: &Options, level: Option<&Level>, name: &OsStr, is_dir: bool) -> bool {
    options.filter.as_ref().is_some_and(|filter| match level {
        Some(level) => filter.excludes(level, name, is_dir),
        None => filter.excludes_operand(path::split(name).1, is_dir),
    })
}

enum Class {
    Directory,
    Other,
    Nothing,
}

//! The walk finds: workers enter directories, and hand out batches of names.
//!
//! Whoever enters a directory opens its source, makes or opens its destination and lists it; its
//! subdirectories go to the frontier, where the next idle worker takes them. With one worker that is cp's
//! order. The content of a file is never touched here.

mod descend;
pub mod estimate;
mod frontier;
mod listed;
mod listing;
pub mod operands;
mod registry;
mod resume;
mod shows_copy;
pub mod source_walk;
pub mod supply;

use crate::backup;
use crate::batch::{Batch, Entries, Entry};
use crate::context::Context;
use crate::dir::{Dir, Hold};
use crate::existing;
use crate::filter::{self, Level};
use crate::options::Dereference;
use crate::report::{Failure, Stats};
use crate::sys::Kind;
use crate::sys::at::{self, Follow};
use crate::sys::dirents::{Dirent, EntryBuffer, Names};
use frontier::{Discovery, FoundBatch, FoundIn, Frontier, FrontierTask, Later, Pending, SharedBatch, Unread};
use listed::Listed;
use listing::Listing;
use operands::Roots;
use registry::Registry;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use supply::Supply;

/// The most names in a batch; one piece of a listing may have some more.
const BATCH: usize = 1024;
/// The most operands that one worker looks at before it shares them, where order does not matter.
const OPERANDS: usize = 16;

/// A tree of no more names, in no more directories, is looked at before anybody is called to help.
const FEW: usize = 16;
/// If these have no more bytes on their disk than this, one worker is through before a second one
/// has started: a pool of two costs 0.4 ms, a small file 0.01 to 0.02.
const LITTLE: u64 = 1 << 20;
/// The same for a single file, with which nobody else could help.
const LITTLE_ALONE: u64 = 16 << 20;

/// What all workers know of the walk.
#[derive(Debug)]
pub struct Walk<'c> {
    ctx: &'c Arc<Context>,
    frontier: Frontier<'c>,
    /// Whether entries are taken strictly in the order of the listing.
    in_order: bool,
    /// Whether there are several operands: naming one twice is worth a warning.
    several: bool,
    registry: Registry,
}

/// What is known of an operand whose tree is being walked.
#[derive(Debug, Default)]
struct Operand {
    /// Which one it is on the command line.
    position: usize,
    /// The depth of its directory.
    depth: usize,
    source: OsString,
    destination: OsString,
    dev: u64,
    /// Whether what is left of it is to be left as it is.
    abandoned: AtomicBool,
}

/// A directory that was entered.
#[derive(Debug)]
struct Node {
    dir: Hold,
    operand: Arc<Operand>,
    /// Where patterns see it, if there are any.
    level: Option<Arc<Level>>,
    depth: usize,
    /// How many workers are entering a directory in it.
    entering: AtomicUsize,
    /// Whether it is where the operands are.
    is_root: bool,
    /// Whether it is an operand itself.
    is_operand: bool,
    /// Whether a directory in it may be entered only when all before it have been walked.
    one_at_a_time: bool,
}

/// The part of a worker that finds.
#[derive(Debug)]
pub struct Walker<'w, 'c> {
    walk: &'w Walk<'c>,
    ctx: &'c Arc<Context>,
    /// Where listings are read into.
    room: EntryBuffer,
    stats: Stats,
}

/// What a worker is to copy.
pub struct Work<'c> {
    shared: SharedBatch<'c>,
    /// Whether another worker copies the batch, and this one only helps for a moment.
    pub helps: bool,
}

impl Work<'_> {
    /// Where the names are.
    pub fn batch(&self) -> &Batch {
        &self.shared.batch
    }

    /// How many workers copy names of the batch now.
    pub fn workers(&self) -> usize {
        self.shared.workers()
    }
}

/// What came of entering a directory.
enum Entered {
    Directory(Pending),
    /// It is no directory, although its listing says so.
    Other,
    /// Nothing is to be done in it.
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
        let words = "cannot copy a directory, {}, into itself, {}";
        Failure::new(words, &self.source).and(&self.destination)
    }
}

impl Node {
    /// The directory that operands are in.
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
        }
    }
}

impl<'c> Walk<'c> {
    /// A walk over the operands.
    pub fn new(ctx: &'c Arc<Context>, roots: Roots, in_order: bool) -> Walk<'c> {
        let several = roots.entries.len() > 1;
        if ctx.resumes() {
            resume::sweep(ctx, &roots.dir, &roots.target_directory());
        }
        let frontier = match roots.list {
            Some(list) => Frontier::of_supply(in_order, Box::new(Listed::new(list, roots.dir))),
            None => {
                // Where links are followed, one operand may lead into what another one makes.
                let one_at_a_time = several && ctx.options.dereference == Dereference::Always;
                let node = Arc::new(Node { one_at_a_time, ..Node::root(roots.dir) });
                let unread = Unread::Operands(0, roots.entries.into_iter());
                Frontier::of_tree(in_order, Pending { node, unread, later: Later::default() })
            }
        };
        Walk { ctx, frontier, in_order, several, registry: Registry::default() }
    }

    /// The names of a supply, in the place of a tree.
    pub fn supplied(ctx: &'c Arc<Context>, supply: impl Supply<'c> + 'c) -> Walk<'c> {
        let frontier = Frontier::of_supply(false, Box::new(supply));
        Walk { ctx, frontier, in_order: false, several: false, registry: Registry::default() }
    }

    /// Takes part in it.
    pub fn walker(&self) -> Walker<'_, 'c> {
        Walker { walk: self, ctx: self.ctx, room: EntryBuffer::default(), stats: Stats::default() }
    }

    /// How many workers have nothing to do.
    pub fn idle(&self) -> usize {
        self.frontier.idle()
    }

    /// The most batches that were at work at once.
    pub fn peak(&self) -> usize {
        self.frontier.peak()
    }
}

impl<'c> Walker<'_, 'c> {
    /// The context of the copy.
    pub fn context(&self) -> &'c Arc<Context> {
        self.ctx
    }

    /// What was done while finding: the directories.
    pub fn into_stats(self) -> Stats {
        self.stats
    }

    /// Whether one worker is enough for all there is: a single file, or a few small ones. What was found is
    /// kept for the workers.
    pub fn is_little(&mut self) -> bool {
        let mut names = 0;
        let mut batches = Vec::new();
        let most_ahead = self.ctx.descriptors.batches_ahead();
        while names <= FEW
            && batches.len() < most_ahead
            && self.stats.directories <= FEW as u64
            && !self.ctx.stop.is_raised()
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
        let is_little = names <= FEW && self.walk.frontier.is_over() && bytes() <= most;
        self.walk.frontier.add_ahead(batches);
        is_little
    }

    /// About how many bytes of a batch there are to move; streams have no end.
    fn bytes(&self, batch: &Batch) -> u64 {
        let bytes = |entry: Entry| {
            let follow = existing::follows_source(&self.ctx.options, &entry);
            match at::stat(&batch.fds.src, &entry.name, follow) {
                // Where no blocks are counted (/proc, servers), the length has to do.
                Ok(stat) if stat.is_regular() && stat.blocks == 0 => stat.size,
                Ok(stat) if stat.is_regular() => stat.blocks.saturating_mul(512),
                Ok(stat) if !stat.is_dir() && !stat.is_symlink() => u64::MAX,
                _ => 0,
            }
        };
        let entries = batch.entries();
        (0..entries.len()).filter_map(|at| entries.get(at)).map(bytes).fold(0, u64::saturating_add)
    }

    /// The next batch to copy names of, or `None` at the end (also after a signal).
    pub fn next_batch(&mut self) -> Option<Work<'c>> {
        loop {
            match self.walk.frontier.take(&self.ctx.stop)? {
                FrontierTask::Copy(shared) => return Some(Work { shared, helps: false }),
                // Then there may be a directory to enter, or a batch that needs help more.
                FrontierTask::Help(shared) => return Some(Work { shared, helps: true }),
                task => {
                    let found = self.find(task);
                    let shared = self.walk.frontier.add(found);
                    if let Some(shared) = shared {
                        return Some(Work { shared, helps: false });
                    }
                }
            }
        }
    }

    /// Says that a worker goes on to something else. It has found these to be directories, which the listing did not
    /// say: file systems may be wrong about types, and names may be exchanged.
    pub fn leave(&mut self, work: Work<'c>, directories: Vec<Entry>) {
        let SharedBatch { batch, found_in } = &work.shared;
        if batch.is_taken() {
            self.walk.frontier.remove(batch);
        }
        match found_in {
            _ if directories.is_empty() => {}
            FoundIn::Directory(node) => self.add_directories(node, directories),
            FoundIn::Supply(group) => {
                for entry in directories {
                    if let Err(failure) = group.enter_directory(self, batch, &entry) {
                        self.ctx.reporter.fail(failure);
                    }
                }
            }
        }
    }

    fn add_directories(&mut self, node: &Arc<Node>, directories: Vec<Entry>) {
        let level = node.level.as_deref();
        let is_excluded = |entry: &Entry| level.is_some() && is_excluded(self.ctx, level, &entry.name, true);
        let (excluded, wanted): (Vec<_>, Vec<_>) = directories.into_iter().partition(is_excluded);
        self.stats.excluded += excluded.len() as u64;
        self.walk.frontier.add_directories(node, wanted);
    }

    /// Carries out a task that is not to copy.
    fn find(&mut self, task: FrontierTask<'c>) -> Discovery<'c> {
        match task {
            FrontierTask::Copy(_) | FrontierTask::Help(_) => Discovery::default(),
            FrontierTask::Ask(mut supply) => match supply.next_group(self.ctx) {
                Some(group) => {
                    self.walk.frontier.give_back(supply);
                    let batch = group.enter(self);
                    let batch = batch.map(|batch| FoundBatch { batch, found_in: FoundIn::Supply(group) });
                    Discovery { batch, pending: None }
                }
                None => Discovery::default(),
            },
            FrontierTask::Read(node, unread) => self.sift(Pending { node, unread, later: Later::default() }),
            FrontierTask::Enter(node, entry, position) => {
                let entered = self.descend(&node, &entry, position);
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

    /// Looks at the entries that were read, and reads more if none were: subdirectories are to be entered
    /// later, all else is a batch.
    fn sift(&mut self, mut pending: Pending) -> Discovery<'c> {
        let node = Arc::clone(&pending.node);
        let entries = match std::mem::take(&mut pending.unread) {
            Unread::Operands(position, operands) => {
                Entries::Given(self.sift_operands(&mut pending, position, operands))
            }
            Unread::Listing(listing) => Entries::Listed(self.sift_listing(&mut pending, listing)),
            Unread::Taken | Unread::Nothing => Entries::Given(Vec::new()),
        };
        let batch = if entries.is_empty() { None } else { self.batch(&node, entries) };
        Discovery { pending: Some(pending), batch }
    }

    /// What a listing called a directory, and is none.
    fn batch_of_other(&mut self, node: &Arc<Node>, entry: Entry) -> Option<FoundBatch<'c>> {
        let level = node.level.as_deref();
        if level.is_some() && is_excluded(self.ctx, level, &entry.name, false) {
            self.stats.excluded += 1;
            return None;
        }
        self.batch(node, Entries::Given(vec![Entry { hint: None, ..entry }]))
    }

    fn batch(&self, node: &Arc<Node>, entries: Entries) -> Option<FoundBatch<'c>> {
        match node.dir.fds(self.ctx) {
            Ok(fds) => {
                let batch = Batch::new(node.dir.clone(), fds, entries);
                Some(FoundBatch { batch, found_in: FoundIn::Directory(Arc::clone(node)) })
            }
            Err(errno) => {
                let path = node.dir.source_path(OsStr::new(""));
                self.ctx.reporter.fail(Failure::new("cannot access {}", path).errno(errno));
                None
            }
        }
    }

    /// Whether enough was found for now. In order, a directory is entered before the next entry is looked at.
    fn is_enough(&self, later: &Later, names: usize, most: usize) -> bool {
        names >= most || (self.walk.in_order && !later.is_empty())
    }

    /// An operand was named to be copied: that a pattern leaves it out is likely to be a mistake.
    fn warn_of_excluded_operand(&self, dir: &Arc<Dir>, entry: &Entry) {
        let path = dir.source_path(&entry.name);
        self.ctx.reporter.warn(Failure::new("warning: a pattern leaves out {}, which was named", path));
    }

    fn sift_operands(
        &mut self,
        pending: &mut Pending,
        first: usize,
        mut operands: std::vec::IntoIter<Entry>,
    ) -> Vec<Entry> {
        // In order, an operand is looked at when those before it have been copied: it may be a copy of one.
        let most = if self.walk.in_order { 1 } else { OPERANDS };
        let mut batch = Vec::new();
        let mut position = first;
        while !self.is_enough(&pending.later, position - first, most) {
            let Some(mut entry) = operands.next() else { return batch };
            match self.classify_operand(&pending.node, &mut entry) {
                class @ (Class::Directory | Class::Other)
                    if self.is_operand_excluded(&pending.node, &entry, &class) =>
                {
                    self.stats.excluded += 1;
                    self.warn_of_excluded_operand(&pending.node.dir, &entry);
                }
                Class::Directory => {
                    if self.walk.several && !self.walk.in_order {
                        self.walk.registry.expect(position);
                    }
                    pending.later.push_operand(position, entry);
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
            let most = if self.walk.in_order { BATCH } else { usize::MAX };
            while !self.is_enough(&pending.later, names.len(), most)
                && let Some(found) = listing.next()
            {
                let is_dir = self.is_directory(&pending.node, &found);
                if self.is_listed_name_excluded(&pending.node, &found, is_dir) {
                    self.stats.excluded += 1;
                } else if is_dir {
                    pending.later.push(found);
                } else {
                    names.push(found);
                }
            }
            let is_enough = self.is_enough(&pending.later, names.len(), most);
            if is_enough || (listing.has_more() && !(names.is_empty() && pending.later.is_empty())) {
                pending.unread = Unread::Listing(listing);
                return names;
            }
            match listing.read_on(&mut self.room) {
                Ok(true) => {}
                Ok(false) => return names,
                Err(errno) => {
                    let node = &pending.node;
                    // Of an operand itself, the name as it was written.
                    let path = match node.is_operand {
                        true => node.operand.source.clone(),
                        false => node.dir.source_path(OsStr::new("")),
                    };
                    self.ctx.reporter.fail(Failure::new("cannot access {}", path).errno(errno));
                    return names;
                }
            }
        }
    }

    /// Whether patterns leave out an entry of a directory. Where that depends on its being a directory, the listing's
    /// word for that is not enough to leave it out.
    fn is_listed_name_excluded(&self, node: &Node, found: &Dirent<'_>, is_dir: bool) -> bool {
        let Some(level) = node.level.as_deref() else { return false };
        let excluded_as = |is_dir| is_excluded(self.ctx, Some(level), found.name, is_dir);
        let is_as_listed = || {
            let follow = Follow::from(self.ctx.options.dereference == Dereference::Always);
            let fds = node.dir.fds(self.ctx);
            fds.is_ok_and(|fds| at::stat(&fds.src, found.name, follow).is_ok_and(|stat| stat.is_dir() == is_dir))
        };
        excluded_as(is_dir) && (excluded_as(!is_dir) || is_as_listed())
    }

    /// Whether an entry of a directory is to be entered.
    fn is_directory(&self, node: &Node, found: &Dirent<'_>) -> bool {
        let follow = Follow::from(self.ctx.options.dereference == Dereference::Always);
        let looks_so = || {
            let fds = node.dir.fds(self.ctx);
            fds.is_ok_and(|fds| at::stat(&fds.src, found.name, follow).is_ok_and(|stat| stat.is_dir()))
        };
        match found.kind {
            Some(Kind::Directory) => true,
            Some(Kind::Symlink) => follow == Follow::Yes && looks_so(),
            // Not every file system says in its directories what the entries are.
            None => looks_so(),
            _ => false,
        }
    }

    fn classify_operand(&self, node: &Node, entry: &mut Entry) -> Class {
        if self.ctx.options.parents && node.is_root {
            return Class::Directory; // reached through its leading directories
        }
        let dir: &Arc<Dir> = &node.dir;
        let follow = existing::follows_source(&self.ctx.options, entry);
        let stat = match dir.fds(self.ctx).and_then(|fds| at::stat(&fds.src, &entry.name, follow)) {
            Ok(found) => found,
            Err(errno) => {
                let path = dir.source_path(&entry.name);
                let failure = Failure::new("cannot stat {}", &path).errno(errno);
                self.ctx.reporter.fail(failure.of_names(path, dir.destination_path(entry.destination())));
                return Class::Nothing;
            }
        };
        if stat.is_dir() {
            return Class::Directory;
        }
        // The same file may be copied to several names, and other files to the same name.
        if self.walk.several
            && let Ok(location) = existing::location_as_named(at::CWD, &dir.source_path(&entry.name))
            && !self.walk.registry.name_file((location, stat.id(), dir.destination_name(entry.destination())))
            && self.ctx.options.backup.is_none()
        {
            let path = dir.source_path(&entry.name);
            self.ctx.reporter.warn(Failure::new("warning: source file {} specified more than once", path));
            return Class::Nothing;
        }
        entry.hint = Some(stat.kind());
        Class::Other
    }

    /// Whether patterns leave an operand out.
    fn is_operand_excluded(&self, node: &Node, entry: &Entry, class: &Class) -> bool {
        // The way to an operand of --parents is no operand.
        let on_the_way = self.ctx.options.parents && node.is_root;
        !on_the_way && is_excluded(self.ctx, None, &entry.name, matches!(class, Class::Directory))
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
}

/// See [`Walker::level_below`].
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

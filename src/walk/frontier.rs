//! The frontier: directories that were found but not yet entered, and the batches in progress.
//!
//! Its mutex is held to take a task and to add findings, never during a system call. A worker takes the deepest
//! directory that is open in its own table of descriptors, else the highest of another worker, unless other workers are
//! entering subdirectories of the same parent: two mkdir calls in one directory wait for each other. Memory is therefore
//! bounded by the number of workers, the depth of the tree and the size of one directory, not by the size of the tree.

use super::Node;
use super::listing::Listing;
use super::supply::{NameGroup, Supply};
use crate::batch::{Batch, Entry};
use crate::report::lock;
use crate::sys::dirents::{Dirent, Names};
use crate::sys::proc::StopFlag;
use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How often an idle worker polls before it sleeps. Entering a directory takes about 40 us, and waking a
/// sleeping thread nearly as long.
const LOOKS: usize = 2000;

/// While this many directories are partly listed, no subdirectory of theirs is entered: each keeps a descriptor
/// open.
const PARTLY_LISTED: usize = 4;
/// The number of known subdirectories of one directory at which they are entered before more are read, so that a
/// million subdirectories do not fill the memory.
const FULL: usize = 4096;

/// The number of parts of a directory's listing, in the order of inode numbers, from which subdirectories are
/// entered in turn. xfs has at least as many allocation groups, each with a lock, and a directory's files are in
/// one of them. Two workers in the same one wait for each other (measured in docs/many-cores.md).
const AREAS: usize = 4;

/// The most workers that share a batch while other workers still enter directories, which probably contain more
/// files.
const SHARED_BY: usize = 8;

/// The work that is left to find, shared by all workers.
pub(super) struct Frontier<'c> {
    /// Whether entries are taken in cp's order, as in [`super::Walk`].
    in_order: bool,
    state: Mutex<FrontierState<'c>>,
    changed: Condvar,
    /// The number of additions so far.
    additions: AtomicUsize,
}

#[derive(Default)]
struct FrontierState<'c> {
    /// Sorted by depth.
    pending: Vec<Pending>,
    supply: Option<Box<dyn Supply<'c> + 'c>>,
    /// Batches that were found before the workers started.
    ahead: VecDeque<Work<'c>>,
    at_work: Vec<Work<'c>>,
    /// The number of workers that may still add something.
    finding: usize,
    sleeping: usize,
    spinning: bool,
    peak: usize,
}

/// A directory that was entered and still has entries to find or to enter.
pub(super) struct Pending {
    pub(super) node: Arc<Node>,
    pub(super) unread: Unread,
    pub(super) subdirectories: Subdirectories,
}

/// The unread entries of a directory.
#[derive(Default)]
pub(super) enum Unread {
    /// Operands, and the position of the first on the command line.
    Operands(usize, std::vec::IntoIter<Entry>),
    Listing(Listing),
    /// A worker is reading them.
    Taken,
    #[default]
    Nothing,
}

/// Subdirectories that were found but not yet entered.
#[derive(Default)]
pub(super) struct Subdirectories {
    operands: VecDeque<(usize, Entry)>,
    names: Names,
    next: usize,
}

/// The next task of a worker.
pub(super) enum FrontierTask<'c> {
    Find(FindTask<'c>),
    Copy(Work<'c>),
}

/// A task that finds names.
pub(super) enum FindTask<'c> {
    /// Enter a directory, given as an entry of the node. The number is the position of its operand.
    Enter(Arc<Node>, Entry, usize),
    /// Read more entries of a directory.
    Read(Arc<Node>, Unread),
    /// Ask the supply for a group of names, then give the supply back.
    Ask(Box<dyn Supply<'c> + 'c>),
}

/// The origin of the names of a batch.
#[derive(Clone)]
pub(super) enum FoundIn<'c> {
    /// In the listing of a directory.
    Directory(Arc<Node>),
    /// In a supply.
    Supply(Arc<dyn NameGroup<'c> + 'c>),
}

/// A batch of names for workers to copy.
#[derive(Clone)]
pub(crate) struct Work<'c> {
    pub batch: Batch,
    pub(super) found_in: FoundIn<'c>,
    /// Whether the batch belongs to another worker, so that this one only helps for a moment. Then it looks again for
    /// a directory to enter, or for a batch that needs help more.
    pub helps: bool,
}

impl<'c> Work<'c> {
    pub(super) fn new(batch: Batch, found_in: FoundIn<'c>) -> Work<'c> {
        Work { batch, found_in, helps: false }
    }

    /// Returns the number of workers that are copying names of the batch. The frontier holds one more reference until
    /// all names are taken.
    pub(crate) fn workers(&self) -> usize {
        self.batch.clones() - 1
    }
}

/// The findings of a worker.
#[derive(Default)]
pub(super) struct Discovery<'c> {
    /// A directory that was entered or read.
    pub(super) pending: Option<Pending>,
    pub(super) batch: Option<Work<'c>>,
}

impl Subdirectories {
    pub(super) fn push_operand(&mut self, position: usize, entry: Entry) {
        self.operands.push_back((position, entry));
    }

    pub(super) fn push(&mut self, found: Dirent<'_>) {
        self.names.push(found);
    }

    /// Changes the order so that workers enter directories that are far from each other on the disk.
    pub(super) fn spread(&mut self) {
        self.names.spread(AREAS);
    }

    fn len(&self) -> usize {
        self.operands.len() + self.names.len() - self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn append(&mut self, mut other: Subdirectories) {
        self.operands.append(&mut other.operands);
        if self.next == self.names.len() {
            (self.names, self.next) = (other.names, other.next);
        } else {
            self.names.append(&other.names);
        }
    }

    fn pop(&mut self, position: usize) -> Option<(usize, Entry)> {
        if let Some(operand) = self.operands.pop_front() {
            return Some(operand);
        }
        let entry = Entry::listed(self.names.get(self.next)?);
        self.next += 1;
        Some((position, entry))
    }
}

impl Unread {
    fn is_ready(&self) -> bool {
        match self {
            Unread::Operands(..) | Unread::Listing(_) => true,
            Unread::Taken | Unread::Nothing => false,
        }
    }
}

impl Pending {
    fn is_spent(&self) -> bool {
        self.subdirectories.is_empty() && matches!(self.unread, Unread::Nothing)
    }

    /// Returns whether enough subdirectories were found that some should be entered before more are read.
    fn is_full(&self) -> bool {
        matches!(self.unread, Unread::Listing(_))
            && !self.subdirectories.is_empty()
            && self.subdirectories.names.len() >= FULL
    }

    /// Returns whether a worker may enter the next subdirectory.
    fn may_enter(&self, in_order: bool, alone: bool, many_listings: bool) -> bool {
        let its_turn = match self.unread {
            Unread::Nothing => true,
            Unread::Taken => !in_order && !many_listings,
            _ => in_order || self.is_full() && !many_listings,
        };
        !self.subdirectories.is_empty() && its_turn && (alone || !self.node.one_at_a_time)
    }

    fn read<'c>(&mut self, in_order: bool) -> Option<FindTask<'c>> {
        if !self.unread.is_ready() || (in_order && !self.subdirectories.is_empty()) {
            return None;
        }
        let unread = std::mem::replace(&mut self.unread, Unread::Taken);
        Some(FindTask::Read(Arc::clone(&self.node), unread))
    }

    fn enter<'c>(&mut self) -> Option<FindTask<'c>> {
        let (position, entry) = self.subdirectories.pop(self.node.operand.position)?;
        self.node.entering.fetch_add(1, Ordering::Relaxed);
        Some(FindTask::Enter(Arc::clone(&self.node), entry, position))
    }

    /// Drops the rest of an abandoned operand.
    fn give_up(&mut self) {
        self.subdirectories = Subdirectories::default();
        if self.unread.is_ready() {
            self.unread = Unread::Nothing;
        }
    }
}

impl<'c> FrontierState<'c> {
    /// Returns the next task that finds names. Finished directories are moved to `spent`, so that the caller
    /// can drop them without the lock.
    fn find(&mut self, in_order: bool, spent: &mut Vec<Pending>) -> Option<FindTask<'c>> {
        if let Some(supply) = self.supply.take() {
            return Some(FindTask::Ask(supply));
        }
        self.drop_abandoned(spent);
        // The deepest directory that this worker has open, else the highest that another one has open: it probably
        // contains the most, and has to be opened again.
        let count = self.pending.len();
        let own = (0..count).rev().map(|at| (at, true));
        let others = (0..count).map(|at| (at, false));
        let mut best: Option<(usize, usize)> = None;
        for (at, is_own) in own.chain(others) {
            if self.pending[at].node.is_here() != is_own {
                continue;
            }
            let is_full = self.pending[at].is_full();
            let is_read = matches!(self.pending[at].unread, Unread::Taken);
            let many_listings = (is_full || is_read) && self.many_are_partly_listed();
            let pending = &mut self.pending[at];
            if (!is_full || many_listings)
                && let Some(task) = pending.read(in_order)
            {
                return Some(task);
            }
            let entering = pending.node.entering.load(Ordering::Relaxed);
            if pending.may_enter(in_order, self.finding == 0, many_listings)
                && best.is_none_or(|(fewest, _)| entering < fewest)
            {
                best = Some((entering, at));
                if entering == 0 {
                    break;
                }
            }
        }
        let (_, at) = best?;
        let task = self.pending[at].enter();
        if self.pending[at].is_spent() {
            spent.push(self.pending.remove(at));
        }
        task
    }

    fn drop_abandoned(&mut self, spent: &mut Vec<Pending>) {
        let is_abandoned = |pending: &mut Pending| {
            pending.node.operand.is_abandoned() && {
                pending.give_up();
                pending.is_spent()
            }
        };
        spent.extend(self.pending.extract_if(.., is_abandoned));
    }

    fn many_are_partly_listed(&self) -> bool {
        let is_partly = |pending: &&Pending| matches!(pending.unread, Unread::Taken | Unread::Listing(_));
        self.pending.iter().rev().filter(is_partly).nth(PARTLY_LISTED - 1).is_some()
    }

    /// Returns whether nothing is left to find.
    fn is_over(&self) -> bool {
        self.pending.is_empty() && self.supply.is_none() && self.finding == 0
    }

    /// Returns the batch with names left that has the fewest workers: two workers that make files in one
    /// directory wait for each other.
    fn to_share(&self) -> Option<Work<'c>> {
        let most = if self.finding > 0 { SHARED_BY } else { usize::MAX };
        let has_names = |work: &&Work<'_>| !work.batch.is_taken() && work.workers() < most;
        let shared = self.at_work.iter().filter(has_names).min_by_key(|work| work.workers())?;
        Some(Work { helps: true, ..shared.clone() })
    }

    fn begin(&mut self, work: Work<'c>) -> Work<'c> {
        self.at_work.push(work.clone());
        self.peak = self.peak.max(self.at_work.len());
        work
    }

    /// Adds subdirectories to a directory, whether the frontier already knows it or not.
    fn add_to(&mut self, pending: Pending) -> Option<Pending> {
        let is_it = |other: &&mut Pending| Arc::ptr_eq(&other.node, &pending.node);
        match self.pending.iter_mut().find(is_it) {
            Some(known) => {
                known.subdirectories.append(pending.subdirectories);
                None
            }
            None => self.add(pending),
        }
    }

    /// Adds the findings in a directory. Returns the directory if it has no more entries.
    fn add(&mut self, pending: Pending) -> Option<Pending> {
        let depth = pending.node.depth;
        let above = self.pending.partition_point(|other| other.node.depth <= depth);
        let is_it = |other: &Pending| Arc::ptr_eq(&other.node, &pending.node);
        match self.pending[..above].iter().rposition(is_it) {
            Some(at) => {
                let known = &mut self.pending[at];
                known.unread = pending.unread;
                known.subdirectories.append(pending.subdirectories);
                known.is_spent().then(|| self.pending.remove(at))
            }
            None if pending.is_spent() => Some(pending),
            None => {
                self.pending.insert(above, pending);
                None
            }
        }
    }
}

impl<'c> Frontier<'c> {
    /// Makes a frontier that starts with the directory of the operands.
    pub(super) fn of_tree(in_order: bool, pending: Pending) -> Frontier<'c> {
        Frontier::new(in_order, FrontierState { pending: vec![pending], ..FrontierState::default() })
    }

    /// Makes a frontier with a supply instead of a tree.
    pub(super) fn of_supply(in_order: bool, supply: Box<dyn Supply<'c> + 'c>) -> Frontier<'c> {
        Frontier::new(in_order, FrontierState { supply: Some(supply), ..FrontierState::default() })
    }

    fn new(in_order: bool, state: FrontierState<'c>) -> Frontier<'c> {
        Frontier { in_order, state: Mutex::new(state), changed: Condvar::new(), additions: AtomicUsize::new(0) }
    }

    /// Returns the next task of a worker. Waits as long as other workers may still find one. Returns `None` at
    /// the end and after a stop request.
    pub(super) fn take(&self, stop: &StopFlag, may_help: bool) -> Option<FrontierTask<'c>> {
        let mut looked = false;
        let mut state = lock(&self.state);
        loop {
            if stop.is_raised() {
                let left = (std::mem::take(&mut state.pending), state.supply.take());
                self.changed.notify_all();
                drop(state);
                drop(left);
                return None;
            }
            if let Some(batch) = state.ahead.pop_front() {
                return Some(FrontierTask::Copy(state.begin(batch)));
            }
            let mut spent = Vec::new();
            let task = match state.find(self.in_order, &mut spent) {
                Some(task) => {
                    state.finding += 1;
                    Some(FrontierTask::Find(task))
                }
                None if may_help => state.to_share().map(FrontierTask::Copy),
                None => None,
            };
            if task.is_some() || !spent.is_empty() {
                drop(state);
                drop(spent);
                if task.is_some() {
                    return task;
                }
                state = lock(&self.state);
            } else if state.finding == 0 {
                return None;
            } else {
                state = self.wait(state, &mut looked);
            }
        }
    }

    /// Returns the next task that finds names, for a single worker that does not copy yet.
    pub(super) fn take_ahead(&self) -> Option<FindTask<'c>> {
        let mut spent = Vec::new();
        let mut state = lock(&self.state);
        let task = state.find(self.in_order, &mut spent);
        state.finding += usize::from(task.is_some());
        drop(state);
        task
    }

    /// Waits until something is added. The first idle worker polls for a while, unless it has just done so.
    fn wait<'s>(
        &'s self,
        mut state: MutexGuard<'s, FrontierState<'c>>,
        looked: &mut bool,
    ) -> MutexGuard<'s, FrontierState<'c>> {
        if *looked || state.spinning || state.sleeping > 0 {
            state.sleeping += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
            *looked = false;
            return state;
        }
        state.spinning = true;
        let before = self.additions.load(Ordering::Relaxed);
        drop(state);
        *looked = (0..LOOKS).all(|_| {
            spin_loop();
            self.additions.load(Ordering::Relaxed) == before
        });
        let mut state = lock(&self.state);
        state.spinning = false;
        state
    }

    /// Returns the supply so that other workers can ask it.
    pub(super) fn give_back(&self, supply: Box<dyn Supply<'c> + 'c>) {
        let mut state = lock(&self.state);
        state.supply = Some(supply);
        self.additions.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Adds the result of a task. Returns the batch that the caller is to copy.
    pub(super) fn add(&self, found: Discovery<'c>) -> Option<Work<'c>> {
        let Discovery { pending, batch } = found;
        let mut news = batch.as_ref().map_or(0, |found| found.batch.entries().len());
        news += pending
            .as_ref()
            .map_or(0, |pending| pending.subdirectories.len() + usize::from(pending.unread.is_ready()));
        let mut state = lock(&self.state);
        state.finding -= 1;
        let spent = pending.and_then(|pending| state.add(pending));
        let batch = batch.map(|batch| state.begin(batch));
        self.additions.fetch_add(1, Ordering::Relaxed);
        match state.sleeping {
            0 => {}
            sleeping if state.finding == 0 || news >= sleeping => self.changed.notify_all(),
            _ => (0..news).for_each(|_| self.changed.notify_one()),
        }
        drop(state);
        drop(spent);
        batch
    }

    /// Adds batches that were found before the workers started.
    pub(super) fn add_ahead(&self, batches: Vec<Work<'c>>) {
        lock(&self.state).ahead.extend(batches);
    }

    /// Adds directories that the listing did not show as directories. The caller takes a task next.
    pub(super) fn add_directories(&self, node: &Arc<Node>, directories: Vec<Entry>) {
        let mut subdirectories = Subdirectories::default();
        directories.into_iter().for_each(|entry| subdirectories.push_operand(node.operand.position, entry));
        let pending = Pending { node: Arc::clone(node), unread: Unread::Nothing, subdirectories };
        let mut state = lock(&self.state);
        let spent = state.add_to(pending);
        self.additions.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
        drop(state);
        drop(spent);
    }

    /// Removes a batch whose names are all taken.
    pub(super) fn remove(&self, batch: &Batch) {
        let mut state = lock(&self.state);
        let at = state.at_work.iter().position(|other| other.batch.is(batch));
        // The caller holds the batch as well, so its directory is not finished under the lock.
        at.map(|at| state.at_work.swap_remove(at));
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.state).is_over()
    }

    /// Returns whether one more worker would have nothing to do.
    pub(super) fn has_enough_workers(&self) -> bool {
        let state = lock(&self.state);
        let is_idle = state.sleeping > 0 || state.spinning;
        let mut batches = state.ahead.iter().chain(&state.at_work);
        is_idle || state.is_over() && batches.all(|work| work.batch.is_taken())
    }

    pub(super) fn peak(&self) -> usize {
        lock(&self.state).peak
    }
}
